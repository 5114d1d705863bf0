"""From free talk to the path that both agreed on, without a model.

A message is read once into a `Said` (who agrees, refuses, claims the goal; which moves and cells its
proposals name, in order). A replay then keeps one pending proposal: it joins the path when the other
seat agrees and does not refuse. Coordinates are read under the convention of their writer; the
conventions of the seats are those that fit what was said best (stated order, the known start and
goal, cells that continue the path). Walls play no part in that choice, so the reading helps nobody.

What it cannot read: cells named by words ("the corner"), conditions ("if you see no wall, go up").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from typing import NamedTuple

from crossplay.envs.maze.grid import STEPS, Cell, step

__all__ = ["Convention", "Reading", "Said", "agreed_path", "claims_end", "moves_in", "read", "said"]

Token = "str | tuple[int, int]"

_AGREE = re.compile(
    r"\b(agree|agreed|yes|yep|ok|okay|sure|confirm|confirmed|accept|accepted|sounds good|works for me)\b", re.I
)
_REFUSE = re.compile(r"\b(no|nope|not|disagree|reject|refuse|instead|cannot|can't|don't|won't)\b", re.I)
_NO_TROUBLE = re.compile(r"\bno\s+(wall|problem|objection|obstacle|issue)s?\b", re.I)
_DONE = re.compile(
    r"\b(reached|arrived at)\s+(the\s+)?goal\b|\bgoal\s+(is|has been)\s+reached\b|"
    r"\b(we are|we're|i am|i'm)\s+(now\s+)?(at|on)\s+(the\s+)?goal\b",
    re.I,
)
_NOT_YET = re.compile(r"\b(not|until|when|once|if|before|after|n't)\b", re.I)
_MOVING = re.compile(
    r"\b(move|go|going|step|head|take|propose|path|route|then|next|let'?s|let us|walk|suggest|continue|proceed)\b|->|→",
    re.I,
)
_BLOCKED = re.compile(r"\b(cannot|can't|not|don't|walls?|blocked)\b", re.I)
_FILLER = re.compile(r"\b(and|now|agreed|agree|ok|okay|yes|sure|to|from|first|again|please)\b|[\s,:>\-→]+", re.I)
_WORD = r"up|down|left|right|north|south|east|west"
_NUMBER = {"once": 1, "one": 1, "twice": 2, "two": 2, "three": 3, "four": 4, "five": 5}
_TOKEN = re.compile(
    r"[(\[]\s*(?P<p>\d+)\s*[,;]\s*(?P<q>\d+)\s*[)\]]"
    rf"|(?:\b(?P<before>\d+|one|two|three|four|five)\s*(?:steps?|cells?|times|squares?|x)?\s+)?\b(?i:(?P<word>{_WORD}))(?:wards?)?\b"
    r"(?:\s*(?:(?P<after>\d+|one|two|three|four|five)\s*(?:times|steps?|cells?|squares?)|x\s*(?P<times>\d+)|(?P<often>once|twice))\b)?"
    r"|\b(?P<letters>[UDLR](?:[\s,>\-]*[UDLR])*)\b"
)
_MEANS = {
    "north": "up",
    "south": "down",
    "west": "left",
    "east": "right",
    "U": "up",
    "D": "down",
    "L": "left",
    "R": "right",
}
_MARK = re.compile(r"\b(start|goal)\b[^()\[\].;!?\n]{0,20}[(\[]\s*(\d+)\s*,\s*(\d+)\s*[)\]]", re.I)
_ORDER = re.compile(r"\(\s*(row|column|col|x|y|r|c)\s*,\s*(row|column|col|x|y|r|c)\s*\)", re.I)
_MOST = 99  # of one repeated move


class Convention(NamedTuple):
    """How a seat writes cells. row_first: (row, column) rather than (column, row); base: of the first line, 0 or 1;
    top: rows are counted from the top.
    """

    row_first: bool = True
    base: int = 0
    top: bool = True

    def cell(self, pair: tuple[int, int], size: int) -> Cell:
        """(row, column) from 0 at the top left; may lie outside the grid."""
        p, q = (x - self.base for x in pair)
        row, column = (p, q) if self.row_first else (q, p)
        return (row if self.top else size - 1 - row), column


CONVENTIONS = tuple(Convention(*parts) for parts in product((True, False), (0, 1), (True, False)))
"""All of them, the most usual first: it is taken where several fit equally."""


class Sentence(NamedTuple):
    """A sentence that proposes something. tokens: moves by name and written pairs, in order."""

    agrees: bool
    tokens: tuple[str | tuple[int, int], ...]


class Said(NamedTuple):
    """One message, read once. marks: ("start" or "goal", written pair); row_first: a stated order, or None."""

    agrees: bool
    refuses: bool
    done: bool
    row_first: bool | None
    marks: tuple[tuple[str, tuple[int, int]], ...]
    sentences: tuple[Sentence, ...]


class Reading(NamedTuple):
    """What a talk agrees on. path: agreed moves; pending: (seat, moves) proposed and unanswered; refused: (cell, first
    move) of proposals that were refused; conventions: per seat; fit: how well they fit.
    """

    path: tuple[str, ...]
    pending: tuple[int, tuple[str, ...]] | None
    refused: tuple[tuple[Cell, str], ...]
    conventions: tuple[Convention, ...]
    fit: int


@lru_cache(4096)
def said(text: str) -> Said:
    """A message as its parts."""
    clear = _NO_TROUBLE.sub(" ", text)
    order = _ORDER.search(text)
    row_first = None
    if order and {order[1][0].lower(), order[2][0].lower()} in ({"r", "c"}, {"x", "y"}):
        row_first = order[1][0].lower() in "ry"
    done, sentences = False, []
    for sentence in re.split(r"[.!?;\n]+", clear):
        if _DONE.search(sentence):
            done |= not _NOT_YET.search(sentence)
            continue
        tokens = tuple(_tokens(sentence))
        if tokens and _proposes(sentence):
            sentences.append(Sentence(bool(_AGREE.search(sentence)), tokens))
    marks = tuple((m[1].lower(), (int(m[2]), int(m[3]))) for m in _MARK.finditer(text))
    return Said(bool(_AGREE.search(clear)), bool(_REFUSE.search(clear)), done, row_first, marks, tuple(sentences))


def moves_in(text: str) -> tuple[str, ...]:
    """All moves that a text names, in order: what a grader's answer means. Written cells are passed over."""
    return tuple(t for t in _tokens(text) if isinstance(t, str))


def claims_end(talk: Sequence[Sequence[object]], alone: bool = False) -> bool:
    """Whether the last message agrees with the one before that the goal is reached (alone: says so)."""
    if not talk:
        return False
    last = said(str(talk[-1][1]))
    if alone:
        return last.done
    if len(talk) < 2 or talk[-2][0] == talk[-1][0] or not said(str(talk[-2][1])).done:
        return False
    return (last.done or last.agrees) and not last.refuses


def agreed_path(
    talk: Sequence[Sequence[object]], start: Cell, goal: Cell, size: int, alone: bool = False
) -> tuple[str, ...]:
    """The moves that both seats agreed on. talk: [seat index, text] in order; alone: every proposal counts."""
    return read(talk, start, goal, size, alone).path


def read(talk: Sequence[Sequence[object]], start: Cell, goal: Cell, size: int, alone: bool = False) -> Reading:
    """The talk under the conventions that fit it best."""
    parts = [(int(seat), said(str(text))) for seat, text in talk]  # type: ignore[call-overload]
    written = {
        seat for seat, s in parts if s.marks or any(not isinstance(t, str) for x in s.sentences for t in x.tokens)
    }
    seats = range(max([seat for seat, _ in parts], default=0) + 1)
    choices = [CONVENTIONS if seat in written else CONVENTIONS[:1] for seat in seats]
    readings = (_replay(parts, chosen, start, goal, size, alone) for chosen in product(*choices))
    return max(readings, key=lambda r: r.fit)  # the first of equals


def _replay(
    parts: Sequence[tuple[int, Said]],
    conventions: tuple[Convention, ...],
    start: Cell,
    goal: Cell,
    size: int,
    alone: bool,
) -> Reading:
    path: list[str] = []
    refused: list[tuple[Cell, str]] = []
    pending: tuple[int, tuple[str, ...]] | None = None
    at, fit = start, 0
    for seat, message in parts:
        way = conventions[seat]
        fit += sum(
            2 if way.cell(pair, size) == (start if what == "start" else goal) else -2 for what, pair in message.marks
        )
        if message.row_first is not None:
            fit += 5 if message.row_first == way.row_first else -5
        agreed: tuple[str, ...] = ()
        before = at
        if pending is not None and pending[0] != seat:
            if message.refuses:
                refused.append((at, pending[1][0]))
                pending = None
            elif message.agrees:
                agreed, pending = pending[1], None
                path += agreed
                at = _follow(at, agreed)
        new: list[str] = []
        for sentence in message.sentences:
            moves, points = _proposed(sentence, agreed, before, _follow(at, new), way, size)
            fit += points
            new += moves
        if new and alone:
            path, at = path + new, _follow(at, new)
        elif new:
            pending = (seat, tuple(new))
    return Reading(tuple(path), pending, tuple(refused), conventions, fit)


def _proposed(
    sentence: Sentence, agreed: tuple[str, ...], before: Cell, at: Cell, way: Convention, size: int
) -> tuple[list[str], int]:
    """(new moves, fit): a sentence of agreement may first repeat what was agreed, from where that began."""
    if sentence.agrees and agreed:
        again, points = _resolve(sentence.tokens, before, way, size)
        if tuple(again[: len(agreed)]) == agreed:
            return again[len(agreed) :], points
        if agreed[: len(again)] == tuple(again):
            return [], points
    return _resolve(sentence.tokens, at, way, size)


def _resolve(tokens: Sequence[str | tuple[int, int]], at: Cell, way: Convention, size: int) -> tuple[list[str], int]:
    """(moves, fit): a written cell is a move when it is next to where the moves so far lead."""
    moves: list[str] = []
    fit = 0
    for token in tokens:
        if isinstance(token, str):
            moves.append(token)
            at = step(at, token)
            continue
        cell = way.cell(token, size)
        found = next((m for m in STEPS if step(at, m) == cell), None)
        if found is not None:
            moves.append(found)
            at = cell
        fit += 1 if found is not None or cell == at else -1
    return moves, fit


def _follow(at: Cell, moves: Sequence[str]) -> Cell:
    for move in moves:
        at = step(at, move)
    return at


def _proposes(sentence: str) -> bool:
    """Whether the moves in a sentence are a proposal: a verb of moving and nothing in the way, or nothing but moves."""
    if _MOVING.search(sentence):
        return not _BLOCKED.search(sentence)
    return not _FILLER.sub("", _TOKEN.sub(" ", sentence)).strip()


def _tokens(text: str) -> list[str | tuple[int, int]]:
    found: list[str | tuple[int, int]] = []
    for m in _TOKEN.finditer(text):
        if m["p"] is not None:
            found.append((int(m["p"]), int(m["q"])))
        elif m["letters"] is not None:
            found += [_MEANS[c] for c in m["letters"] if c in _MEANS]
        else:
            word = m["word"].lower()
            often = next((m[g] for g in ("before", "after", "times", "often") if m[g]), "1")
            count = _NUMBER.get(often) or int(often)
            found += [_MEANS.get(word, word)] * min(count, _MOST)
    return found
