"""`qa`: questions with answers that can be checked, asked of one seat.

`asking` is the environment, `question` what a source of questions gives, `extract` reads answers out
of text. Sources: `synthetic`, `arithmetic`, `choice` (ours), `gym` (reasoning-gym), `humaneval`, `table`
(files) and `hub` (known benchmarks).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from crossplay.envs._options import option_schema, settle
from crossplay.envs.qa import arithmetic, choice, gym, hub, humaneval, synthetic, table
from crossplay.envs.qa.asking import COMMON, PERMUTE, Asking
from crossplay.envs.qa.question import Source
from crossplay.kernel.env import Env
from crossplay.kernel.registry import nearest
from crossplay.kernel.types import CrossplayError

__all__ = ["Asking", "family"]


class _Kind(NamedTuple):
    """How a source is made of its options, which ones it takes, and who solves it."""

    make: Callable[[Mapping[str, Any]], Source]
    options: Mapping[str, Mapping[str, Any]]
    expert: str | None = None


_KINDS: dict[str, _Kind] = {
    "synthetic": _Kind(synthetic.Synthetic, synthetic.OPTIONS, "scholar"),
    "arithmetic": _Kind(arithmetic.Arithmetic, arithmetic.OPTIONS, "scholar"),
    "choice": _Kind(choice.Choice, {**choice.OPTIONS, "permute": PERMUTE}, "scholar"),
    "humaneval": _Kind(humaneval.HumanEval, humaneval.OPTIONS),
    "file": _Kind(table.file_source, {**table.OPTIONS, "permute": PERMUTE}),
    **{n: _Kind(partial(hub.source, n), {**hub.options_of(n), "permute": PERMUTE}) for n in hub.BENCHMARKS},
}


def _kind(rest: str) -> _Kind:
    """The questions of that name; those of reasoning-gym are looked up in the package."""
    if rest.startswith("gym/"):
        task = rest.removeprefix("gym/")
        settings = gym.options_of(task)
        return _Kind(lambda full: gym.Gym(task, _changed(full, settings)), settings)
    if rest not in _KINDS:
        raise CrossplayError(f'qa: unknown questions "{rest}".{nearest(rest, [*_KINDS, "gym/TASK"])}')
    return _KINDS[rest]


def _changed(full: Mapping[str, Any], settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The settings of a generator that are off their default."""
    return {n: full[n] for n, rule in settings.items() if full[n] != rule["default"]}


class _Family:
    summary = "Questions with checkable answers: own generators, reasoning-gym, HumanEval, files, known benchmarks."

    def names(self) -> Sequence[str]:
        """The parts after `qa/`; `gym/TASK` stands for the tasks of reasoning-gym (`crossplay.envs.qa.gym.tasks`)."""
        return (*_KINDS, "gym/TASK")

    def plain(self, rest: str) -> bool:
        """Whether it is a task of reasoning-gym."""
        return rest.startswith("gym/") and rest.removeprefix("gym/") in gym.tasks()

    def expert(self, rest: str) -> str | None:
        """The scripted agent that solves these questions, where there is one."""
        return _kind(rest).expert

    def schema(self, rest: str) -> dict[str, Any]:
        """JSON schema of the options."""
        return option_schema({**_kind(rest).options, **COMMON})

    def make(self, rest: str, options: Mapping[str, Any]) -> Env:
        """A fresh environment."""
        kind = _kind(rest)
        full, off = settle(f"qa/{rest}", self.schema(rest), options)
        source = kind.make(full)
        if isinstance(source, table.Table):  # what the rows say makes the game, not where they lie
            off = {**off, "data": source.digest}
            off.pop("path", None)
        return Asking(f"qa/{rest}", source, full, off)

    def batch(self, rest: str, width: int, options: Mapping[str, Any]) -> None:
        """Questions have no array form."""


family = _Family()
