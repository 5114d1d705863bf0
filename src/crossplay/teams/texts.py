"""The words in which teams ask their members. Their digest is part of each team's manifest."""

from __future__ import annotations

import hashlib

from crossplay.kernel import pack

__all__ = ["BRIEFS", "TEMPLATE"]

BRIEFS = {
    "answer": "",
    "improve": "Your team mates' answers are shown above. Check them against your own reasoning, then give the answer "
    "that you now believe is right. Keep yours where theirs do not convince you.",
    "again": "Check your reasoning once more, then give the answer that you now believe is right.",
    "draft": "Write a first answer to the task; others will build on it.",
    "continue": "The member before you handed the task over; what it wrote is shown above. Take it on from there and "
    "give the answer.",
    "critique": "Examine the last answer above. Say in at most three sentences what is wrong or unsupported in it, or that "
    "you found nothing wrong.",
    "revise": "A reviewer examined your answer; the review is above. Correct what it rightly finds, then give your answer.",
    "plan": "Do not solve the task yet. Write a plan of at most {steps} short steps, one per line, that leads to the answer.",
    "execute": "Carry out the plan above step by step, then give the answer.",
    "select": "Several answers are shown above. Decide which one is right and give it as yours.",
    "approve": "Candidates:\n{candidates}\nName every candidate that may be right, as a JSON list of their letters.",
    "rank": "Candidates:\n{candidates}\nRank all candidates from the most to the least likely to be right, as a JSON list "
    "of their letters.",
    "points": "Candidates:\n{candidates}\nShare out {points} points among the candidates by how likely each is to be right, "
    "as a JSON list of {n} whole numbers in the order shown.",
    "judge": "You are the judge. The candidates are:\n{candidates}\nName the one that is right by its letter.",
    "score": "Judge this answer to the task: {answer}\nGive a score from 0 (surely wrong) to 10 (surely right) and the reason "
    "in one sentence.",
    "verify": "Judge the last answer above: accept it only if you find it right. Give a score from 0 (surely wrong) to 10 "
    "(surely right) and the reason in one sentence.",
    "retry": "Your last answer was not accepted; the reason is above. Give another answer.",
    "orchestrate": "You lead a team of specialists: {workers}. They see only what you write to them. Decide what is done "
    "next: name one of them and what it shall do, or say that you are ready to answer. Turn {turn} of {turns}.",
    "assign": "You lead a team of specialists: {workers}. They see only what you write to them. Write out all assignments "
    "now, at most {turns}, each to one of them.",
    "work": "{instruction}",
    "conclude": "What your team found is shown above. Give the final answer to the task.",
    "split": "The task is: {task}\nCan it be split into parts that can be answered apart from each other, none covering "
    "another, all together covering the task? List at most {breadth} such parts, or none if it is best answered whole. "
    "Already taken: {taken}",
    "part": "Answer this part of the task only: {task}",
    "stage": "{instruction}",
    "gate": "Judge whether the last contribution above does what was asked: {instruction}\nAccept it or not, with the "
    "reason in one sentence.",
    "route": "Do not solve the task. Decide which member of your team is best suited to it:\n{workers}",
    "design": "Do not solve the task yet. Say how it should be approached and what a right answer must satisfy.",
    "generate": "Follow the design above and give the answer.",
    "suggest": "The last answer was not accepted; the reason is above. Say in at most three sentences how to repair it.",
    "back": "Decide what has to be done again: the design, or only the answer.",
    "correct": "Follow the suggestion above and give the corrected answer.",
    "structure": "Give the final answer in exactly the form that the task asks for.",
    "reflect": "Two members exchanged the arguments above. Score from 0 to 10 how well the answers survived being "
    "challenged and how coherent they are, with the reason in one sentence.",
}
TEMPLATE = hashlib.blake2b(pack(BRIEFS), digest_size=8).hexdigest()
"""Digest of the briefs, for the record."""
