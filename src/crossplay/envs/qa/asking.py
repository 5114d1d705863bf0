"""`Asking`: the environment around a source of questions. One seat, `solver`, one answer or several turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crossplay.envs.qa import extract
from crossplay.envs.qa.question import SPLITS, UNREAD, Grade, Question, Source, lettered, letters_of, split_of
from crossplay.kernel.env import Ended, Env
from crossplay.kernel.registry import nearest
from crossplay.kernel.seeds import key, permutation, pick
from crossplay.kernel.types import ActionSpec, CrossplayError, Msg, pack, unpack

__all__ = ["COMMON", "PERMUTE", "Asking"]

COMMON: dict[str, dict[str, Any]] = {
    "turns": {
        "type": "integer",
        "minimum": 1,
        "maximum": 20,
        "default": 1,
        "description": "How many answers may be given; after a wrong one the seat is told so.",
    },
    "split": {
        "type": "string",
        "enum": list(SPLITS),
        "default": "all",
        "description": "Which questions are asked: train (60 %), dev or test (20 % each) or all, by a hash of their ids.",
    },
    "split_seed": {
        "type": "integer",
        "minimum": 0,
        "maximum": 2**31,
        "default": 0,
        "description": "Seed of the hash that splits the questions.",
    },
}
PERMUTE: dict[str, Any] = {
    "type": "boolean",
    "default": True,
    "description": "Show the choices in an order drawn from the block (false: the order of the source).",
}
_DRAWS = 2000  # tries to draw a question of the split; the chance of none is below 0.8 ** 2000
_SEAT = "solver"
_COUNTED_LETTERS = 8  # up to so many choices, the share of each letter is a metric


class Asking(Env):
    """One question per episode, put to the seat `solver`.

    Multiple choice has actions A, B, ...; open questions take text, read by `envs.qa.extract`.
    The reward is the credit of each answer. The episode ends with a right answer or the last turn.
    """

    seats = (_SEAT,)
    views = ("data", "text")

    def __init__(self, name: str, source: Source, full: Mapping[str, Any], off: Mapping[str, Any]) -> None:
        """source: where questions come from; full: all options, off: those off their default."""
        self.name, self.source, self.options = name, source, dict(off)
        self.version, self.exact = source.version, source.exact
        self.turns: int = full["turns"]
        self.horizon = self.turns
        self.permute: bool = bool(full.get("permute", False)) and source.permutes
        self._split, self._seed = full["split"], full["split_seed"]
        self._chosen = self._members()
        self.items = None if source.size is None else len(self._chosen)
        self._spec = _spec(source)
        self.rules = _rules(source, self.turns)
        self.metrics = _metrics(source, self.turns)
        self.seat_metrics = {"accuracy": {_SEAT: "accuracy"}}
        self._key, self._task = b"", None
        self._question: Question | None = None
        self._order: list[int] = []
        self._given: list[tuple[Any, Grade]] = []

    def _members(self) -> Sequence[int]:
        """The numbers of the questions of this split, in order."""
        size = self.source.size
        if size is None:
            return ()
        if self._split == "all":
            found: Sequence[int] = range(size)
        else:
            found = [i for i in range(size) if split_of(self.source.item(i).id, self._seed) == self._split]
        if not found:
            raise CrossplayError(f"{self.name}: no question in split = {self._split!r} of {size}")
        return found

    # -- the game --------------------------------------------------------------------------------
    def reset(self, key: bytes, task: Any = None) -> None:
        """Ask the question of that number (or id), or one drawn from the key."""
        self._key, self._task = key, task
        self._question = self._pose(key, task)
        n = len(self._question.choices)
        self._order = permutation(_stream(key, "order"), n) if self.permute else list(range(n))
        self._given = []

    def _pose(self, k: bytes, task: Any) -> Question:
        source = self.source
        if source.size is None:
            if task is not None:
                raise CrossplayError(f"{self.name}: questions are drawn from the block; it has no item {task!r}")
            for i in range(_DRAWS):
                question = source.drawn(_stream(k, "question", i) if i else _stream(k, "question"))
                if self._split == "all" or split_of(question.id, self._seed) == self._split:
                    return question
            raise CrossplayError(
                f"{self.name}: {_DRAWS} draws gave no question of split = {self._split!r}; are there so few?"
            )
        if isinstance(task, str):
            return source.item(self._by_id(task))
        at = pick(_stream(k, "item"), len(self._chosen)) if task is None else int(task)
        if not 0 <= at < len(self._chosen):
            raise CrossplayError(f"{self.name}: no item {at}; there are {len(self._chosen)}, from 0")
        return source.item(self._chosen[at])

    def _by_id(self, item: str) -> int:
        """The number of the question of that id; it must be of the split."""
        index = self.source.named(item)
        if index not in self._chosen:
            raise CrossplayError(f"{self.name}: item {item!r} is not in split = {self._split!r}")
        return index

    @property
    def question(self) -> Question:
        """The question of this episode."""
        if self._question is None:
            raise CrossplayError(f"{self.name}: no question was asked yet; reset comes first")
        return self._question

    def to_act(self) -> tuple[str, ...]:
        """The solver."""
        return self.seats

    def ended(self) -> Ended:
        """Terminal after a right answer or the last turn."""
        return "terminal" if self._right or len(self._given) >= self.turns else None

    @property
    def _right(self) -> bool:
        return bool(self._given) and self._given[-1][1].credit >= 1.0

    def spec(self, seat: str) -> ActionSpec:
        """Letters, or text."""
        return self._spec

    def legal(self, seat: str) -> Sequence[bool] | None:
        """Questions with fewer choices than others leave letters over."""
        n = len(self.question.choices)
        return None if n == len(self._spec.names) else [i < n for i in range(len(self._spec.names))]

    def step(self, actions: Mapping[str, Any], mail: Sequence[Msg]) -> Sequence[float]:
        """Grade the answer; the reward is its credit."""
        value = actions[_SEAT]
        question = self.question
        if self._spec.kind == "names":
            right = self._order[value] == question.answer
            grade = Grade(float(right), self._spec.names[value])
        else:
            grade = self.source.grade(question, value)
        self._given.append((value, grade))
        return [grade.credit]

    def canonical(self, value: Any) -> Any:
        """What votes compare: the index of a letter, of a text the answer it gives; None: unreadable."""
        names = self._spec.names
        if not names:
            return self.source.canonical(value)
        if isinstance(value, str):
            letter = extract.letter(value, names).value
            return None if letter is None else names.index(letter)
        return value

    def score(self) -> Mapping[str, float]:
        """Accuracy first; then what kept an answer from counting, and facts about the question."""
        grades = [g for _, g in self._given]
        found = {"accuracy": float(self._right)}
        if self.source.partial:
            found["credit"] = max((g.credit for g in grades), default=0.0)
        if self.turns > 1:
            found["first_try"] = float(bool(grades) and grades[0].credit >= 1.0)
            found["turns"] = float(len(grades))
        if self._spec.kind == "names":
            if len(self._spec.names) <= _COUNTED_LETTERS:
                chosen = self._given[-1][0] if self._given else None
                found.update({f"chose_{n}": float(i == chosen) for i, n in enumerate(self._spec.names)})
        else:
            found["unreadable"] = float(sum(g.problem in UNREAD for g in grades))
            found["ambiguous"] = float(sum(g.problem == "ambiguous" for g in grades))
        for problem, name in self.source.counted.items():
            found[name] = float(sum(g.problem == problem for g in grades))
        return {**found, **(self._question.scores if self._question is not None else {})}

    # -- what a seat may know --------------------------------------------------------------------
    def data(self, seat: str) -> dict[str, Any]:
        """The question, its choices as shown, earlier answers and the time."""
        question = self.question
        names = self._spec.names
        return {
            "question": question.text,
            "choices": [question.choices[i] for i in self._order],
            "reads": self.source.reads,
            "turn": len(self._given),
            "turns": self.turns,
            "wrong": [names[v] if names else v for v, g in self._given if g.credit < 1.0],
            **unpack(pack(question.known)),
        }

    def view_text(self, data: Mapping[str, Any]) -> str:
        """The question, one line per choice, and what was wrong so far."""
        lines = [data["question"]]
        if data["choices"]:
            lines.append(lettered(data["choices"]))
        more = self.source.view(data)
        lines += [more] if more else []
        if data["turns"] > 1:
            lines.append(f"Answer {data['turn'] + 1} of at most {data['turns']}.")
        lines += [f"Not right: {w}" for w in data["wrong"]]
        return "\n".join(lines)

    def omits(self, view: str) -> str:
        """The text leaves out what the source says it does."""
        return self.source.omits(view) if view != "data" else ""

    def text(self) -> str:
        """The question with the right answer and what was answered."""
        if self._question is None:
            return ""
        question = self._question
        right = letters_of(26)[self._order.index(question.answer)] if question.choices else question.answer
        given = [self._spec.names[v] if self._spec.names else v for v, _ in self._given]
        return "\n".join([self.view_text(self.data(_SEAT)), f"Right: {right}", *(f"Answered: {g}" for g in given)])

    # -- engine ----------------------------------------------------------------------------------
    def snapshot(self) -> bytes:
        """The address of the question and the answers so far with their grades."""
        return pack([self._key, self._task, [[v, g] for v, g in self._given]])

    def restore(self, snapshot: bytes) -> None:
        """Ask the same question again and take the grades as they were given."""
        k, task, given = unpack(snapshot)
        self.reset(k, task)
        self._given = [(v, Grade(*g)) for v, g in given]


def _stream(k: bytes, *names: Any) -> bytes:
    return key(k, *names)


def _spec(source: Source) -> ActionSpec:
    if source.letters:
        if not 2 <= source.letters <= 26:
            raise CrossplayError(f"multiple choice takes 2 to 26 choices, got {source.letters}")
        return ActionSpec(kind="names", names=letters_of(source.letters))
    return ActionSpec(kind="text", max_len=source.max_len)


_HOW = {
    "number": 'The answer is a number. Close with "answer: " and the number.',
    "yesno": "Answer yes or no.",
    "words": "Answer with a few words alone.",
    "code": "Answer with the program alone.",
    "text": "Answer with the asked-for text alone.",
    "choice": "Answer with one letter.",
}


def _rules(source: Source, turns: int) -> str:
    lines = [source.rules, _HOW["choice" if source.letters else source.reads]]
    if turns > 1:
        lines.append(f"At most {turns} answers may be given; after a wrong one you are told so.")
    return "\n".join(line for line in lines if line)


def _metrics(source: Source, turns: int) -> dict[str, str]:
    found = {"accuracy": "share of questions that were answered right, 0 to 1"}
    if source.partial:
        found["credit"] = "the most credit of any answer, 0 to 1 (1: right)"
    if turns > 1:
        found["first_try"] = "share of questions that the first answer had right, 0 to 1"
        found["turns"] = "answers given"
    if source.letters and source.letters <= _COUNTED_LETTERS:
        found.update(
            {f"chose_{n}": f"share of last answers that chose {n}, 0 to 1" for n in letters_of(source.letters)}
        )
    elif not source.letters:
        found["unreadable"] = "answers that no answer could be read from (they score 0)"
        found["ambiguous"] = "answers that gave several; part of unreadable"
    return {**found, **source.metrics}


def known_item(where: str, item: str, ids: Sequence[str]) -> int:
    """The place of an id, or an error that names the nearest."""
    try:
        return ids.index(item)
    except ValueError:
        raise CrossplayError(f"{where}: no item {item!r}.{nearest(item, ids)}") from None
