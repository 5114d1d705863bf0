"""`Question` and `Source`: what is asked, and where the questions of an environment come from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from crossplay.envs.qa import extract
from crossplay.kernel.seeds import draw, key
from crossplay.kernel.types import CrossplayError

__all__ = ["SHARES", "SPLITS", "UNREAD", "Grade", "Question", "Reads", "Source", "content_id", "split_of"]

SPLITS = ("train", "dev", "test", "all")
SHARES = {"train": 0.6, "dev": 0.2, "test": 0.2}  # of the items, by a hash of their id
UNREAD = ("empty", "nothing", "ambiguous", "refused")
"""Problems of answers that nothing could be read from."""
Reads = Literal["choice", "number", "yesno", "words", "code", "text"]


class Question(msgspec.Struct, frozen=True):
    """One question. id: what names it, equal wherever it comes up. choices: () for open questions.

    answer: the right one; the index into `choices`, else text. known: what else the seat may know
    (joins its data). scores: facts told beside the score (level, difficulty). hidden: what grading needs.
    """

    id: str
    text: str
    answer: Any
    choices: tuple[str, ...] = ()
    known: Mapping[str, Any] = {}
    scores: Mapping[str, float] = {}
    hidden: Any = None


class Grade(msgspec.Struct, frozen=True, array_like=True):
    """What an answer earned. credit in 0..1 (1: right); problem: of reading it ("" when it was read)."""

    credit: float
    read: str = ""
    problem: str = ""
    detail: str = ""


class Source:
    """Questions of one kind: a finite list (`size` says how many) or a generator (`size` is None).

    A subclass sets `reads` and `letters` (the most choices of any question), and implements `item`
    (lists) or `drawn` (generators).
    """

    version: int = 1
    reads: Reads = "number"
    letters: int = 0  # of multiple-choice questions; 0: answers are open
    size: int | None = None
    rules: str = ""
    metrics: Mapping[str, str] = {}  # of `Question.scores`, and of partial credit
    counted: Mapping[str, str] = {}  # other problems of answers -> the metric that counts them
    partial: bool = False  # whether answers can earn a part of the credit
    exact: bool = True
    max_len: int = 4096
    permutes: bool = True  # whether the order of the choices says nothing and may be permuted
    tolerance: float = 1e-6  # relative, between numbers

    def item(self, index: int) -> Question:
        """The question of that number, from 0."""
        raise NotImplementedError

    def named(self, item: str) -> int:
        """The number of the question of that id, or `CrossplayError`."""
        raise CrossplayError(f"questions here have no list; {item!r} names none")

    def drawn(self, k: bytes) -> Question:
        """The question at a key."""
        raise NotImplementedError

    def canonical(self, value: Any) -> Any:
        """What votes compare: the answer that a text gives, or None where none can be read."""
        return self.read(value).value if isinstance(value, str) else value

    def read(self, text: str) -> extract.Read:
        """The answer of a text, by the rule of `reads`."""
        if self.reads == "number":
            return extract.number(text)
        if self.reads == "yesno":
            return extract.yes_no(text)
        if self.reads == "words":
            return extract.words(text)
        if self.reads == "code":
            return extract.code(text)
        return extract.Read(text.strip(), "only") if text.strip() else extract.Read(None, "", "empty")

    def grade(self, question: Question, text: str) -> Grade:
        """What an open answer earns."""
        read = self.read(text)
        if read.value is None:
            return Grade(0.0, "", read.problem, ", ".join(read.candidates)[:200])
        right = self.read(str(question.answer)).value
        same = extract.same_number(read.value, right, self.tolerance) if self.reads == "number" and right else False
        return Grade(float(same or read.value == right), read.value[:200])

    def view(self, data: Mapping[str, Any]) -> str:
        """Further lines of the text view, from `Question.known` as it stands in data."""
        return ""

    def omits(self, view: str) -> str:
        """What a view leaves out of `Question.known`."""
        return ""


def content_id(*parts: Any) -> str:
    """12 hexadecimal digits that name a question by what it says."""
    return hashlib.blake2b(repr(parts).encode(), digest_size=6).hexdigest()


def split_of(item: str, seed: int = 0) -> str:
    """Which split an item belongs to: "train" (60 %), "dev" or "test" (20 % each), by a hash of its id."""
    u = draw(key("qa split", seed, item)) * 2.0**-64
    return "train" if u < SHARES["train"] else "dev" if u < SHARES["train"] + SHARES["dev"] else "test"


def letters_of(n: int) -> tuple[str, ...]:
    """The names A, B, C, ... of so many choices, at most 26."""
    return tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[:n])


def lettered(choices: Sequence[str]) -> str:
    """One line per choice: "A. ..."."""
    return "\n".join(f"{name}. {c}" for name, c in zip(letters_of(len(choices)), choices, strict=True))
