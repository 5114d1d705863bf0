"""`qa`: questions with answers that can be checked, asked of one seat.

`asking` is the environment, `question` what a source of questions gives, `extract` reads answers out
of text. Sources: `synthetic`, `arithmetic`, `choice` (ours).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from crossplay.envs._options import option_schema, settle
from crossplay.envs.qa import arithmetic, choice, synthetic
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
}


class _Family:
    summary = "Questions with checkable answers: own generators, reasoning-gym, HumanEval, files, known benchmarks."

    def names(self) -> Sequence[str]:
        """The parts after `qa/`."""
        return tuple(_KINDS)

    def expert(self, rest: str) -> str | None:
        """The scripted agent that solves these questions, where there is one."""
        return self._kind(rest).expert

    def _kind(self, rest: str) -> _Kind:
        kind = _KINDS.get(rest)
        if kind is None:
            raise CrossplayError(f'qa: unknown questions "{rest}".{nearest(rest, _KINDS)}')
        return kind

    def schema(self, rest: str) -> dict[str, Any]:
        """JSON schema of the options."""
        return option_schema({**self._kind(rest).options, **COMMON})

    def make(self, rest: str, options: Mapping[str, Any]) -> Env:
        """A fresh environment."""
        kind = self._kind(rest)
        full, off = settle(f"qa/{rest}", self.schema(rest), options)
        return Asking(f"qa/{rest}", kind.make(full), full, off)

    def batch(self, rest: str, width: int, options: Mapping[str, Any]) -> None:
        """Questions have no array form."""


family = _Family()
