"""`qa/choice`: multiple choice about everyday facts, words and numbers, generated from the tables below.

Levels: 1 a member of a group among strangers, the larger number; 2 the odd one out, opposites, places,
and sequences, with near distractors; 3 analogies of opposites and sequences with growing steps.
The choices of a question are listed by alphabet or by size, which says nothing of the answer, and
are permuted per block unless `permute = false`.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from crossplay.envs.qa.question import Question, Source, content_id
from crossplay.kernel.seeds import permutation, pick
from crossplay.kernel.types import CrossplayError

__all__ = ["GROUPS", "OPPOSITES", "OPTIONS", "PLACES", "Choice", "solve"]

GROUPS: dict[str, tuple[str, ...]] = {
    "an animal": ("horse", "rabbit", "sparrow", "salmon", "spider", "goat", "whale", "beetle", "fox", "camel"),
    "a fruit": ("apple", "banana", "cherry", "grape", "lemon", "pear", "plum", "mango", "peach", "melon"),
    "a tool": ("hammer", "screwdriver", "saw", "chisel", "wrench", "pliers", "axe", "drill", "file", "spade"),
    "a colour": ("red", "blue", "green", "yellow", "purple", "brown", "pink", "grey", "black", "white"),
    "a vehicle": ("car", "bicycle", "lorry", "tram", "aeroplane", "ferry", "tractor", "scooter", "train", "canoe"),
    "a part of the body": ("elbow", "knee", "shoulder", "ankle", "chin", "thumb", "heel", "neck", "hip", "ear"),
    "a piece of clothing": ("shirt", "trousers", "scarf", "glove", "sock", "hat", "coat", "skirt", "belt", "jacket"),
    "a musical instrument": ("violin", "flute", "drum", "trumpet", "piano", "harp", "guitar", "oboe", "cello", "banjo"),
    "a piece of furniture": (
        "table",
        "chair",
        "sofa",
        "wardrobe",
        "desk",
        "stool",
        "bed",
        "shelf",
        "bench",
        "cupboard",
    ),
    "a kind of weather": ("rain", "snow", "fog", "hail", "wind", "thunder", "drizzle", "frost", "sleet", "sunshine"),
}
OPPOSITES: tuple[tuple[str, str], ...] = (
    ("hot", "cold"),
    ("big", "small"),
    ("fast", "slow"),
    ("early", "late"),
    ("full", "empty"),
    ("heavy", "light"),
    ("high", "low"),
    ("wet", "dry"),
    ("strong", "weak"),
    ("rich", "poor"),
    ("young", "old"),
    ("open", "closed"),
    ("loud", "quiet"),
    ("sharp", "blunt"),
    ("thick", "thin"),
    ("near", "far"),
    ("deep", "shallow"),
    ("clean", "dirty"),
)
PLACES: dict[str, str] = {
    "a book": "a library",
    "a nurse": "a hospital",
    "a pillow": "a bedroom",
    "a cow": "a farm",
    "a whale": "the sea",
    "a cactus": "a desert",
    "an actor": "a theatre",
    "a judge": "a court",
    "a baker": "a bakery",
    "a blackboard": "a classroom",
    "a monk": "a monastery",
    "a pilot": "a cockpit",
    "a coffin": "a graveyard",
    "a mechanic": "a garage",
}
OPTIONS: dict[str, dict[str, Any]] = {
    "level": {
        "type": "integer",
        "minimum": 1,
        "maximum": 3,
        "default": 1,
        "description": "1 groups and larger numbers, 2 odd one out, opposites, places, sequences, 3 analogies, growing steps.",
    },
    "options": {
        "type": "integer",
        "minimum": 2,
        "maximum": 8,
        "default": 4,
        "description": "Choices per question.",
    },
}
Made = tuple[str, str, list[str]]  # (question, right choice, wrong choices)


def _some(k: bytes, things: Sequence[Any], n: int, slot: int) -> list[Any]:
    """N different ones of things, drawn."""
    return [things[i] for i in permutation(k, len(things), slot)[:n]]


def _group(k: bytes, n: int) -> Made:
    """A member among members of other groups."""
    groups = _some(k, list(GROUPS), n, 10)
    words = [GROUPS[g][pick(k, len(GROUPS[g]), 11, i)] for i, g in enumerate(groups)]
    return f"Which of these is {groups[0]}?", words[0], words[1:]


def _larger(k: bytes, n: int) -> Made:
    numbers = sorted(_some(k, range(10, 100), n, 10))
    if pick(k, 2, 11):
        return "Which number is the largest?", str(numbers[-1]), [str(x) for x in numbers[:-1]]
    return "Which number is the smallest?", str(numbers[0]), [str(x) for x in numbers[1:]]


def _odd(k: bytes, n: int) -> Made:
    """All but one of a group."""
    inside, outside = _some(k, list(GROUPS), 2, 10)
    wrong = _some(k, GROUPS[inside], n - 1, 11)
    return f"Which of these is not {inside}?", GROUPS[outside][pick(k, len(GROUPS[outside]), 12)], wrong


def _pairs(k: bytes, n: int) -> list[tuple[str, str]]:
    """N pairs of opposites, each turned or not."""
    return [(b, a) if pick(k, 2, 13, i) else (a, b) for i, (a, b) in enumerate(_some(k, OPPOSITES, n, 12))]


def _opposite(k: bytes, n: int) -> Made:
    (word, right), *others = _pairs(k, n)
    return f"Which word means the opposite of {word}?", right, [b for _, b in others]


def _place(k: bytes, n: int) -> Made:
    thing, *others = _some(k, list(PLACES), n, 10)
    return f"Where would you most likely find {thing}?", PLACES[thing], [PLACES[t] for t in others]


def _after(k: bytes, n: int, growing: bool) -> Made:
    """The next of five numbers; wrong ones lie near it."""
    start, step = 1 + pick(k, 20, 10), 2 + pick(k, 8, 11)
    growth = 1 + pick(k, 3, 12) if growing else 0
    line = [start]
    for i in range(5):
        line.append(line[-1] + step + growth * i)
    near = [d for d in range(-9, 10) if d and line[5] + d > line[4] - 9]
    wrong = [line[5] + d for d in _some(k, near, n - 1, 13)]
    shown = ", ".join(map(str, line[:5]))
    return f"Which number comes next: {shown}?", str(line[5]), [str(w) for w in wrong]


def _sequence(k: bytes, n: int) -> Made:
    return _after(k, n, growing=False)


def _growing(k: bytes, n: int) -> Made:
    return _after(k, n, growing=True)


def _analogy(k: bytes, n: int) -> Made:
    """A is to b as c is to its opposite; one wrong choice is b."""
    (a, b), (c, right), *others = _pairs(k, n + 1)
    wrong = [b, *(y for _, y in others)][: n - 1]
    return f"{a} is to {b} as {c} is to which word?", right, wrong


_LEVELS: dict[int, tuple[Callable[[bytes, int], Made], ...]] = {
    1: (_group, _larger),
    2: (_odd, _opposite, _place, _sequence),
    3: (_analogy, _growing),
}


class Choice(Source):
    """Everyday facts, words and numbers."""

    reads = "choice"
    rules = "One of the choices is right."

    def __init__(self, options: Mapping[str, Any]) -> None:
        """options: of `OPTIONS`."""
        self.level, self.letters = options["level"], options["options"]

    def drawn(self, k: bytes) -> Question:
        """A question at a key."""
        makers = _LEVELS[self.level]
        text, right, wrong = makers[pick(k, len(makers), 0)](k, self.letters)
        choices = sorted([right, *wrong], key=lambda c: (int(c), c) if c.lstrip("-").isdigit() else (0, c))
        if len(set(choices)) != self.letters:
            raise CrossplayError(f"qa/choice: two equal choices in {text!r}: {choices}")
        return Question(content_id(text, choices), text, choices.index(right), tuple(choices))


_TURNED = {**dict(OPPOSITES), **{b: a for a, b in OPPOSITES}}


def solve(text: str, choices: Sequence[str]) -> int | None:
    """The place of the right choice, by the tables and the words of the question alone; None: not one of ours."""
    found = _meant(text, choices)
    return choices.index(found) if found in choices else None


def _meant(text: str, choices: Sequence[str]) -> str | None:
    if match := re.fullmatch(r"Which of these is (not )?(.+)\?", text):
        members = GROUPS.get(match[2], ())
        fitting = [c for c in choices if (c in members) != bool(match[1])]
        return fitting[0] if len(fitting) == 1 else None
    if match := re.fullmatch(r"Which number is the (largest|smallest)\?", text):
        return (max if match[1] == "largest" else min)(choices, key=int)
    if match := re.fullmatch(r"Which word means the opposite of (\w+)\?", text):
        return _TURNED.get(match[1])
    if match := re.fullmatch(r"\w+ is to \w+ as (\w+) is to which word\?", text):
        return _TURNED.get(match[1])
    if match := re.fullmatch(r"Where would you most likely find (.+)\?", text):
        return PLACES.get(match[1])
    if match := re.fullmatch(r"Which number comes next: ([\d, ]+)\?", text):
        line = [int(x) for x in match[1].split(",")]
        steps = [b - a for a, b in itertools.pairwise(line)]
        return str(line[-1] + 2 * steps[-1] - steps[-2])
    return None
