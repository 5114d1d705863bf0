"""The words in which teams ask their members. Their digest is part of each team's manifest."""

from __future__ import annotations

import hashlib

from crossplay.kernel import pack

__all__ = ["BRIEFS", "TEMPLATE"]

BRIEFS = {
    "answer": "",
    "improve": "Your team mates' answers are shown above. Check them against your own reasoning, then give the answer "
    "that you now believe is right. Keep yours where theirs do not convince you.",
    "refine": "Improve on the answer above: keep what is right, correct what is wrong, then give the full answer.",
    "critique": "Examine the answer above. Say in at most three sentences what is wrong or unsupported in it, or that you "
    "found nothing wrong.",
    "revise": "A reviewer examined your answer; the review is above. Correct what it rightly finds, then give your answer.",
    "plan": "Do not solve the task yet. Write a plan of at most {steps} short steps, one per line, that leads to the answer.",
    "execute": "Carry out this plan step by step, then give the answer.",
    "select": "Several answers are shown above. Decide which one is right and give it as yours.",
    "approve": "Candidates:\n{candidates}\nName every candidate that may be right, as a JSON list of their letters.",
    "rank": "Candidates:\n{candidates}\nRank all candidates from the most to the least likely to be right, as a JSON list "
    "of their letters.",
    "points": "Candidates:\n{candidates}\nShare out {points} points among the candidates by how likely each is to be right, "
    "as a JSON list of {n} whole numbers in the order shown.",
    "choose": "Candidates:\n{candidates}\nName the candidate that is most likely right by its letter.",
    "judge": "You are the judge. The candidates are:\n{candidates}\nName the one that is right by its letter.",
    "score": "Judge how likely this answer is to be right, from 0 (surely wrong) to 10 (surely right):\n{candidate}",
}
TEMPLATE = hashlib.blake2b(pack(BRIEFS), digest_size=8).hexdigest()
"""Digest of the briefs, for the record."""
