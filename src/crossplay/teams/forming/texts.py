"""The words in which groups and threads ask their members."""

from __future__ import annotations

import hashlib

from crossplay.kernel import pack

__all__ = ["TEMPLATE", "WORDS"]

WORDS = {
    "task": "the task",
    "team_up": "You form a team for {goal}. This is attempt {attempt} of {attempts}. {found}{gone}{how}",
    "team_up_any": "Either search for people, in words that describe what they must be able to do, or name whom to invite.",
    "team_up_last": "Name whom to invite now.",
    "found": "Your search found:\n{listed}\n",
    "found_nobody": "Your search found nobody.\n",
    "gone": "These declined: {names}. ",
    "reply": "{leader} invites you to a team for {goal}. Accept if you can contribute, else decline.",
    "speak": "You are in a team ({members}) for {goal}, led by {leader}. Say what happens next: {how}. "
    'Put your words into "text"; "to" names whom it is for. {left} turns are left.',
    "discussion": "discussion: say something, and who speaks next",
    "assign_sync": "assign_sync: give work to a member and wait for its report",
    "assign_async": "assign_async: give work to a member and go on talking",
    "proposal": 'proposal: let all vote on the "options"',
    "pause": "pause: wait for all work that was given out",
    "conclude": "conclude: end the discussion, and who writes the conclusion",
    "alone": "You were given this work: {what}\nWill you do it alone, or form a team of your own for it?",
    "work": "Your work, as a member of a team: {what}\nReport what you find.",
    "vote": "Your team votes:\n{listed}\nChoose one.",
    "sum_up": "Your team has done its work, shown above. Sum up what was asked for: {what}",
    "final": "What your team found is shown above. Give the final answer to the task.",
    "plan": "You plan for a team; do not solve the task. The members are:\n{workers}\nWrite in at most three short lines how the "
    "task is to be done, and name those who shall do it.",
    "answer": "You are named in the plan. Do what it asks of you and answer the task.",
    "mark": "Judge the answer of {who}: {answer}\nAccept it only if you are sure that it is right; otherwise say uncertain.",
    "change": "No answer was accepted. Who shall take the task on next? Name a member, yourself included, or nobody.",
    "close": "This part of the discussion is closed. Sum up in at most two sentences what was found.",
    "ballot": "The team is about to submit. Candidates:\n{listed}\nChoose the one that is right.",
    "earlier": "Earlier, in short: {lines}",
}
TEMPLATE = hashlib.blake2b(pack(WORDS), digest_size=8).hexdigest()
"""Digest of the words, for the record."""
