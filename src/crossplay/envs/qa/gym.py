"""`qa/gym/TASK`: the generators of reasoning-gym, seeded by the block, graded by their own scorers.

Settings of a generator are options under its own names. An answer is what stands in the last
<answer>...</answer>, else after "answer:", else all of the text. Some scorers evaluate the answer as
Python or SymPy in this process; what could do more than state a value is not passed on to them (it
is counted as unreadable, with the problem `refused`).
"""

from __future__ import annotations

import dataclasses
import os
import random
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np

from crossplay.envs.qa import extract
from crossplay.envs.qa.question import Grade, Question, Source, content_id
from crossplay.kernel.registry import nearest
from crossplay.kernel.seeds import pick
from crossplay.kernel.types import CrossplayError

__all__ = ["HASHED", "Gym", "options_of", "safe_answer", "survey", "tasks"]

# Tasks whose scorer calls eval() on the answer, and those that give it to SymPy's parser (which does as well).
_LISTS = ("binary_matrix", "n_queens", "spiral_matrix", "string_insertion")
_FORMULAS = ("countdown", "intermediate_integration", "polynomial_multiplication", "puzzle24", "simple_integration")
_FUNCTIONS = {
    *("sin", "cos", "tan", "sec", "csc", "cot", "asin", "acos", "atan", "sinh", "cosh", "tanh"),
    *("exp", "log", "ln", "sqrt", "pi", "C", "E"),
}
# Their questions follow the order of sets of texts, so that another process would ask others (a test looks for more).
HASHED = (
    *("codeio", "intermediate_integration", "isomorphic_strings", "knight_swap", "polynomial_multiplication"),
    *("ransom_note", "word_ladder"),
)
_NOT_OPTIONS = ("seed", "size")


def _library() -> Any:
    """The package, or an error that says how to get it."""
    try:
        import reasoning_gym.factory as factory
    except ImportError as error:
        missing = CrossplayError(f"qa/gym needs the package reasoning-gym ({error}): pip install reasoning-gym")
        missing.exit_code = 3
        raise missing from None
    return factory


@cache
def tasks() -> tuple[str, ...]:
    """The names of all generators, those that do not work with their defaults included (see `survey`)."""
    return tuple(sorted(_library().DATASETS))


def _config(task: str) -> Any:
    """The dataclass of a generator's settings."""
    if task not in tasks():
        raise CrossplayError(f'qa/gym: unknown task "{task}".{nearest(task, tasks())}')
    return _library().DATASETS[task][1]


@cache
def options_of(task: str) -> dict[str, dict[str, Any]]:
    """The settings of a generator as option schemas: those with plain defaults."""
    found: dict[str, dict[str, Any]] = {}
    for field in dataclasses.fields(_config(task)):
        default = field.default
        if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if field.name in _NOT_OPTIONS or default is dataclasses.MISSING:
            continue
        value = _plain(default)
        if value is _UNPLAIN:
            continue
        kind = {bool: "boolean", int: "integer", float: "number", str: "string"}.get(type(value))
        schema = {"default": value, "description": f"Setting {field.name} of the generator {task}."}
        found[field.name] = {"type": kind, **schema} if kind else schema
    return found


_UNPLAIN = object()
_LOCK = threading.Lock()


def _plain(value: Any) -> Any:
    """JSON data, or `_UNPLAIN`."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        parts = [_plain(v) for v in value]
        return _UNPLAIN if any(p is _UNPLAIN for p in parts) else parts
    return _UNPLAIN


@contextmanager
def _own_chance(seed: int) -> Iterator[None]:
    """The global generators, which some tasks draw from or seed, at a state of this seed; put back afterwards."""
    with _LOCK:
        before, before_numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            random.setstate(before)
            np.random.set_state(before_numpy)  # noqa: NPY002


class Gym(Source):
    """One generator of reasoning-gym."""

    reads = "text"
    partial = True
    max_len = 16384
    counted = {"scorer": "scorer_error"}
    metrics = {"scorer_error": "answers at which the task's own scorer broke (they score 0)"}

    def __init__(self, task: str, settings: Mapping[str, Any]) -> None:
        """settings: of the generator, off their defaults."""
        if task in HASHED and os.environ.get("PYTHONHASHSEED") != "0":
            raise CrossplayError(
                f"qa/gym/{task}: its questions depend on the process that draws them; set PYTHONHASHSEED=0 for all processes"
            )
        self.task, self.settings = task, dict(settings)
        self.rules = f"A puzzle of the kind {task.replace('_', ' ')}. The answer may be put into <answer>...</answer>."
        self._one(0)

    def _one(self, seed: int) -> tuple[Any, dict[str, Any]]:
        """(data set of one item, its item), or what broke."""
        library = _library()
        try:
            with _own_chance(seed):
                made = library.create_dataset(self.task, seed=seed, size=1, **self.settings)
                return made, made[0]
        except Exception as error:
            raise CrossplayError(
                f"qa/gym/{self.task}: the generator broke: {type(error).__name__}: {str(error)[:200]}"
                + (f" (settings: {self.settings})" if self.settings else "")
            ) from None

    def drawn(self, k: bytes) -> Question:
        """The item at the generator's seed pick(k, 2**31 - 1)."""
        seed = pick(k, 2**31 - 1, 0)
        made, item = self._one(seed)
        answer = item["answer"]
        return Question(
            content_id(item["question"]), item["question"], "" if answer is None else str(answer), hidden=(made, item)
        )

    def read(self, text: str) -> extract.Read:
        """What stands between answer tags, after "answer:", or everything."""
        return extract.tagged(text)

    def grade(self, question: Question, text: str) -> Grade:
        """The score of the task's own scorer, 0 to 1."""
        read = self.read(text)
        if read.value is None:
            return Grade(0.0, "", read.problem)
        if not safe_answer(self.task, read.value):
            return Grade(0.0, read.value[:200], "refused", "the scorer would evaluate this as a program")
        made, item = question.hidden
        try:
            credit = float(made.score_answer(read.value, item))
        except Exception as error:
            return Grade(0.0, read.value[:200], "scorer", f"{type(error).__name__}: {str(error)[:200]}")
        return Grade(min(1.0, max(0.0, credit)), read.value[:200])


def safe_answer(task: str, answer: str) -> bool:
    """Whether a scorer that evaluates answers may be given this one: numbers, lists, formulas, and nothing that runs."""
    if task in _LISTS:
        return len(answer) <= 4000 and re.fullmatch(r"[\w\s\[\],.'\"#-]*", answer) is not None and "__" not in answer
    if task in _FORMULAS:
        words = set(re.findall(r"[^\W\d]\w*", answer))
        powers = re.findall(r"(?:\*\*|\^)\s*\(?\s*-?\s*(\d+)", answer)
        return (
            len(answer) <= 500
            and re.fullmatch(r"[\w\s+*/^().,|-]*", answer, re.ASCII) is not None
            and all(len(w) == 1 or w in _FUNCTIONS for w in words)
            and re.search(r"(?<!\d)\.|\.(?!\d)", answer) is None  # a dot stands between digits alone
            and all(len(p) <= 2 for p in powers)
            and re.search(r"(?:\*\*|\^)[^+*/-]*(?:\*\*|\^)", answer) is None
            and len(powers) <= 12
        )
    return True


def survey(names: Sequence[str] | None = None) -> dict[str, str]:
    """Every task with "" where it works with its defaults and its scorer accepts its own answer, else what is wrong."""
    found = {}
    for task in names or tasks():
        try:
            made, item = Gym(task, {})._one(1)
            answer = item["answer"]
            credit = None if answer is None else float(made.score_answer(answer, item))
            found[task] = "" if credit is None or credit >= 1 else f"its scorer gives its own answer {credit:g}"
        except CrossplayError as error:
            found[task] = str(error)
        except Exception as error:
            found[task] = f"{type(error).__name__}: {error}"
    return found
