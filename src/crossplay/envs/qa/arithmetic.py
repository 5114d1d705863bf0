"""`qa/arithmetic`: word problems of one or two steps, with whole numbers, in three levels.

Kinds: add, sub, mul, and mul_sub (multiply, then subtract). Each kind has several wordings; names,
things and numbers are drawn. No number of a problem is its answer, so that copying never pays.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from crossplay.envs.qa.question import Question, Source, content_id
from crossplay.kernel.seeds import pick
from crossplay.kernel.types import CrossplayError

__all__ = ["KINDS", "OPTIONS", "Arithmetic", "solve"]

_NAMES = ("Ada", "Bela", "Chidi", "Dora", "Emil", "Fatima", "Goran", "Hana", "Ivo", "Jun", "Kofi", "Lena")
_THINGS = ("apples", "books", "coins", "stamps", "marbles", "cards", "shells", "buttons", "pencils", "stones")
_BOXES = ("boxes", "bags", "crates", "baskets", "drawers", "jars")

KINDS: dict[str, tuple[str, ...]] = {
    "add": (
        "{who} has {a} {things} and gets {b} more. How many {things} does {who} have now?",
        "A shelf holds {a} {things} on the left and {b} {things} on the right. How many {things} does it hold?",
        "{who} found {a} {things} in the morning and {b} {things} in the evening. How many {things} did {who} find that day?",
    ),
    "sub": (
        "{who} has {a} {things} and gives away {b} of them. How many {things} does {who} have left?",
        "There were {a} {things} on the table. {who} took {b} away. How many {things} are still on the table?",
        "{who} owns {a} {things}, {other} owns {b} fewer. How many {things} does {other} own?",
    ),
    "mul": (
        "{who} fills {a} {boxes} with {b} {things} each. How many {things} are there in all?",
        "One of the {boxes} holds {b} {things}. How many {things} do {a} such {boxes} hold?",
        "Every day {who} collects {b} {things}. How many {things} does {who} collect in {a} days?",
    ),
    "mul_sub": (
        "{who} buys {a} {boxes} with {b} {things} each and then loses {c} {things}. How many {things} are left?",
        "There are {a} {boxes} of {b} {things}. {who} takes out {c} {things}. How many {things} stay inside?",
        "{who} collects {b} {things} on each of {a} days and gives {c} of them to {other}. How many {things} does {who} keep?",
    ),
}
_RANGES = {  # level: (terms of sums, factors, the number of groups)
    1: ((2, 9), (2, 9), (2, 5)),
    2: ((11, 99), (3, 12), (3, 12)),
    3: ((101, 999), (12, 99), (11, 49)),
}
OPTIONS: dict[str, dict[str, Any]] = {
    "level": {
        "type": "integer",
        "minimum": 1,
        "maximum": 3,
        "default": 2,
        "description": "Size of the numbers: 1 one digit, 2 two digits, 3 three digits and products of two digits.",
    },
    "kind": {
        "type": "string",
        "enum": ["all", *KINDS],
        "default": "all",
        "description": "Which problems: add, sub, mul, mul_sub (two steps), or all of them in equal shares.",
    },
}


class Arithmetic(Source):
    """Word problems with whole numbers as answers."""

    reads = "number"
    rules = "A word problem with whole numbers."
    metrics = {"steps": "steps of calculation that the problem needs, 1 or 2"}

    def __init__(self, options: Mapping[str, Any]) -> None:
        """options: of `OPTIONS`."""
        self.level, self.kind = options["level"], options["kind"]

    def drawn(self, k: bytes) -> Question:
        """A problem at a key."""
        kinds = tuple(KINDS) if self.kind == "all" else (self.kind,)
        kind = kinds[pick(k, len(kinds), 0)]
        wordings = KINDS[kind]
        who = pick(k, len(_NAMES), 2)
        numbers, answer = self._numbers(k, kind)
        text = wordings[pick(k, len(wordings), 1)].format(
            who=_NAMES[who],
            other=_NAMES[(who + 1 + pick(k, len(_NAMES) - 1, 3)) % len(_NAMES)],
            things=_THINGS[pick(k, len(_THINGS), 4)],
            boxes=_BOXES[pick(k, len(_BOXES), 5)],
            **numbers,
        )
        steps = {"steps": 2.0 if kind == "mul_sub" else 1.0}
        return Question(content_id(text), text, str(answer), scores=steps)

    def _numbers(self, k: bytes, kind: str) -> tuple[dict[str, int], int]:
        """(the numbers of the wording, the answer), redrawn until the answer is positive and none of them."""
        terms, factors, groups = _RANGES[self.level]
        for i in range(1000):
            a, b = (
                (_within(k, terms, 6, i), _within(k, terms, 7, i))
                if kind in ("add", "sub")
                else (_within(k, groups, 6, i), _within(k, factors, 7, i))
            )
            numbers = {"a": a, "b": b}
            answer = a + b if kind == "add" else a - b if kind == "sub" else a * b
            if kind == "mul_sub":
                numbers["c"] = _within(k, (1, max(1, min(a * b - 1, terms[1]))), 8, i)
                answer -= numbers["c"]
            if answer > 0 and answer not in numbers.values():
                return numbers, answer
        raise CrossplayError(f"qa/arithmetic: no numbers for {kind} at level {self.level}")


def _within(k: bytes, bounds: tuple[int, int], *counters: int) -> int:
    return bounds[0] + pick(k, bounds[1] - bounds[0] + 1, *counters)


def _pattern(wording: str) -> re.Pattern[str]:
    """A wording as a pattern over its numbers; names and things are any word, the same where they come again."""
    out, seen = "", set()
    for part in re.split(r"(\{\w+\})", wording):
        name = part[1:-1]
        if not part.startswith("{"):
            out += re.escape(part)
        elif name in seen:
            out += f"(?P={name})"
        else:
            seen.add(name)
            out += rf"(?P<{name}>{r'[0-9]+' if len(name) == 1 else '[A-Za-z]+'})"
    return re.compile(out)


def solve(text: str) -> int | None:
    """The answer of a problem of `KINDS`, from its words alone; None for any other text."""
    for kind, wordings in KINDS.items():
        for wording in wordings:
            match = _pattern(wording).fullmatch(text)
            if match:
                a, b = int(match["a"]), int(match["b"])
                if kind == "mul_sub":
                    return a * b - int(match["c"])
                return {"add": a + b, "sub": a - b, "mul": a * b}[kind]
    return None
