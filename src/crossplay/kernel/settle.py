"""`settle`: from an answer to the move that is played. The only place where a move is replaced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from crossplay.kernel.conduct import Conduct
from crossplay.kernel.seeds import key
from crossplay.kernel.types import Action, ActionSpec, Fault, Held, Invalid, Msg, Usage, pack, storable, unpack

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
        value, memo = answer.value, answer.memo
        if answer.messages or answer.usage is not None:
            messages, wrong = _words(answer.messages or ())
            if answer.usage is not None and not isinstance(answer.usage, Usage):
                wrong = f"usage is a {type(answer.usage).__name__}, not a Usage"
            if wrong and not isinstance(value, (Fault, Held)):
                value = Fault("invalid", wrong, messages)
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
    detail = storable(fault.detail) if isinstance(fault.detail, str) else ""
    if fault.kind == "void":
        return Settled(None, "void", Fault("void", detail), (), None)
    said = _words(fault.messages)[0] if fault.kind == "invalid" else ()
    if fault.kind not in ("timeout", "invalid", "error"):
        fault = Fault("error", f"unknown kind of fault {str(fault.kind)[:40]!r}; {detail}")
    else:
        fault = Fault(fault.kind, detail, said)
    played, link = _serve(getattr(conduct, fault.kind), spec, legal, seat_key, tick, last)
    # The memo of an answer whose move was invalid stands, as its words do: the agent did think it.
    return Settled(played, link, fault, said, memo)


def _words(messages: Any) -> tuple[list[Msg], str]:
    """(what can be said, as a trace gives it back; what is wrong with the rest)."""
    good: list[Msg] = []
    wrong = ""
    for m in messages if isinstance(messages, (list, tuple)) else (messages,):
        if not isinstance(m, Msg) or not isinstance(m.dst, str) or not isinstance(m.channel, str):
            wrong = f"a message is a {type(m).__name__}, not a Msg to a seat"
            continue
        try:
            dst, body, channel = unpack(pack((m.dst, m.body, m.channel)))
        except (TypeError, ValueError, OverflowError, RecursionError):
            dst, body, channel = storable(m.dst), storable(m.body), storable(m.channel)
        good.append(Msg(dst, body, channel))
    return good, wrong


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
