"""The rows of an episode told tick by tick as plain values: moves, words, faults, what went on inside seats, rewards."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from crossplay.kernel import WORLD, Event, unpack
from crossplay.kernel.events import FLAG_PARTIAL
from crossplay.study.export import plain
from crossplay.study.frames import standing_out

__all__ = ["Fault", "Inside", "Late", "Move", "Said", "Tick", "action_words", "marks", "tick_of"]

INSIDE = ("model", "tool", "post", "vote", "note")


class Move(msgspec.Struct):
    """What a seat did. action: in words; value: the same as data. origin: "own", or the link that was served instead
    ("repeat", "noop", "random"), or "held" (nothing new came in time). view: what the agent asked to see, "" where
    that is not recorded. wall_ms: until its answer came. calls, tok_in, tok_out: of the answer itself; calls to
    models are also told under `inside`. rationale, confidence: what the agent said about its move.
    """

    seat: str
    agent: str
    action: str
    value: Any
    origin: str
    view: str
    wall_ms: float
    calls: int = 0
    tok_in: int = 0
    tok_out: int = 0
    rationale: str | None = None
    confidence: float | None = None


class Fault(msgspec.Struct):
    """An answer that was missing or wrong. kind: "timeout", "invalid", "error" ...; served: the link that took its place."""

    seat: str
    kind: str
    detail: str
    served: str


class Said(msgspec.Struct):
    """A message between seats. dst: "*" for all who may hear it; tick: when it was said; body: any data."""

    src: str
    dst: str
    channel: str
    body: Any
    tick: int


class Inside(msgspec.Struct):
    """Something inside a seat. kind: "model" (a call), "tool", "post" (of a team's member), "vote" or "note".

    path: which member, round ...; call: the key of the call in the cassette, "" where it is none; text: what was
    answered or said; data: all that was noted. partial: noted by an answer that did not come in time.
    """

    seat: str
    kind: str
    path: list[int]
    call: str
    model: str
    text: str
    data: Any
    calls: int
    tok_in: int
    tok_out: int
    wall_ms: float
    partial: bool


class Late(msgspec.Struct):
    """An answer that came after its tick: dropped and counted."""

    seat: str
    agent: str
    detail: str


class Tick(msgspec.Struct):
    """One tick. seated: seat -> agent that sits down or takes over now. said: spoken now; heard: delivered now.

    rewards: by seat, what the moves brought; null where the tick was not played to its end. fingerprint: of the state
    after it, in hex. ended: how the episode ended, in its last tick alone.
    """

    tick: int
    seated: dict[str, str] = {}
    moves: list[Move] = []
    faults: list[Fault] = []
    said: list[Said] = []
    heard: list[Said] = []
    inside: list[Inside] = []
    late: list[Late] = []
    rewards: dict[str, float] | None = None
    fingerprint: str = ""
    ended: str = ""


def tick_of(
    tick: int, rows: Iterable[Event], seats: Sequence[str], names: Mapping[str, Sequence[str]] | None = None
) -> Tick:
    """What happened at a tick. names: seat -> names of its actions, where they are known."""
    found = Tick(tick)
    for e in rows:
        seat = "" if e.seat >= len(seats) else seats[e.seat]
        if e.kind == "act":
            found.moves.append(_move(e, seat, (names or {}).get(seat, ())))
        elif e.kind == "fault":
            note = unpack(e.note)
            found.faults.append(Fault(seat, str(note["kind"]), str(note["detail"]), e.origin))
        elif e.kind == "msg":
            dst, channel, body = unpack(e.payload or b"\xc0")
            found.said.append(Said(seat, dst, channel, plain(body), tick))
        elif e.kind == "mail":
            src, dst, channel, when, body = unpack(e.payload or b"\xc0")
            found.heard.append(Said(src, dst, channel, plain(body), when))
        elif e.kind in INSIDE:
            found.inside.append(_inside(e, seat))
        elif e.kind == "late":
            found.late.append(Late(seat, e.agent, str(unpack(e.note).get("detail", "")) if e.note else ""))
        elif e.kind == "seat":
            found.seated[seat] = e.agent
        elif e.kind == "step":
            found.rewards = dict(zip(seats, map(float, e.rewards or ()), strict=False))
            found.fingerprint = f"{e.fingerprint or 0:016x}"
        elif e.kind == "end" and e.seat == WORLD:
            found.ended = e.origin
    return found


def _move(e: Event, seat: str, names: Sequence[str]) -> Move:
    value = e.value if e.payload is None else unpack(e.payload)
    note = unpack(e.note) if e.note else {}
    why = note.get("rationale")
    return Move(
        seat, e.agent, action_words(value, names), plain(value), e.origin, e.view, e.wall_us / 1000,
        e.calls, e.tok_in, e.tok_out, None if why is None else str(why), note.get("confidence"),
    )  # fmt: skip


def action_words(value: Any, names: Sequence[str] = ()) -> str:
    """An action in words. names: what the numbers are called, where it is a number of a name."""
    if isinstance(value, int) and not isinstance(value, bool):
        return names[value] if 0 <= value < len(names) else f"action {value}"
    if isinstance(value, np.ndarray):
        return np.array2string(value, precision=3, threshold=64)
    return value if isinstance(value, str) else msgspec.json.encode(plain(value)).decode()


def _inside(e: Event, seat: str) -> Inside:
    data = unpack(e.note) if e.note else {}
    table = data if isinstance(data, dict) else {}
    text = table.get("text", "")
    return Inside(
        seat, e.kind, list(e.path), str(table.get("call", "")), str(table.get("model", "")),
        text if isinstance(text, str) else str(text), plain(data), e.calls, e.tok_in, e.tok_out,
        e.wall_us / 1000, bool(e.flags & FLAG_PARTIAL),
    )  # fmt: skip


def marks(events: Sequence[Event]) -> dict[str, list[int]]:
    """The ticks worth a look, by what happened there; kinds without a tick are left out.

    fallback: a link was served in the place of an own move; held: nothing new came in time; fault; reward: one that
    stands out; message: something was said; call: a model or tool was asked; post: of a team's member; handoff; late.
    """
    found: dict[str, set[int]] = {}
    for e in events:
        kind = {
            "fault": "fault",
            "msg": "message",
            "model": "call",
            "tool": "call",
            "post": "post",
            "late": "late",
        }.get(e.kind)
        if e.kind == "act" and e.origin != "own":
            kind = "held" if e.origin == "held" else "fallback"
        elif e.kind == "seat" and e.origin == "handoff":
            kind = "handoff"
        if kind:
            found.setdefault(kind, set()).add(e.tick)
    if stands_out := standing_out(events):
        found["reward"] = set(stands_out)
    order = ("fallback", "held", "fault", "reward", "message", "call", "post", "handoff", "late")
    return {kind: sorted(found[kind]) for kind in order if kind in found}
