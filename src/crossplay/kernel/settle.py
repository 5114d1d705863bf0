"""`settle`: from an answer to the move that is played. The only place where a move is replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from crossplay.kernel.conduct import Conduct
from crossplay.kernel.seeds import key
from crossplay.kernel.types import Action, ActionSpec, Fault, Held, Invalid, Msg

__all__ = ["Settled", "settle"]


class Settled(NamedTuple):
    """What is played. origin: "own", "held", a link of the conduct, or "fail" (forfeit) or "void"."""

    value: Any
    origin: str
    fault: Fault | None
    messages: Sequence[Msg]
    memo: Any


def settle(
    answer: Any,
    spec: ActionSpec,
    legal: Sequence[bool] | None,
    conduct: Conduct,
    seat_key: bytes,
    tick: int,
    last: tuple[Any, str] | None,
    idle: str = "noop",
) -> Settled:
    """The move for an answer: an Action, a bare value, a Fault or Held.

    A fault serves the links of its chain in order; random draws are addressed by (seat key, tick),
    so all drivers agree. Words stand when a move is invalid; a timeout or an error has none.
    """
    memo: Any = None
    messages: Sequence[Msg] = ()
    value = answer
    if isinstance(answer, Action):
        value, messages, memo = answer.value, answer.messages, answer.memo
    if isinstance(value, Held):
        links: tuple[str, ...] = ("repeat", "noop", "random") if idle == "hold" else ("noop", "repeat", "random")
        value, _ = _serve(links, spec, legal, seat_key, tick, last)
        return Settled(value, "held", None, messages, memo)
    if not isinstance(value, Fault):
        try:
            return Settled(spec.check(value, legal), "own", None, messages, memo)
        except Invalid as error:
            value = Fault("invalid", str(error), messages)
    fault = value
    if fault.kind == "void":
        return Settled(None, "void", fault, (), None)
    said = fault.messages if fault.kind == "invalid" else ()
    played, link = _serve(getattr(conduct, fault.kind), spec, legal, seat_key, tick, last)
    # The memo of an answer whose move was invalid stands, as its words do: the agent did think it.
    return Settled(played, link, fault, said, memo)


def _serve(
    links: Sequence[str],
    spec: ActionSpec,
    legal: Sequence[bool] | None,
    seat_key: bytes,
    tick: int,
    last: tuple[Any, str] | None,
) -> tuple[Any, str]:
    for link in links:
        try:
            if link == "repeat" and last is not None:
                return spec.check(last[0], legal), link
            if link == "noop" and spec.noop is not None:
                return spec.check(spec.noop, legal), link
            if link == "random":
                return spec.check(spec.draw(key(seat_key, "fallback"), tick, legal), legal), link
            if link == "fail":
                break
        except Invalid:
            continue
    return None, "fail"
