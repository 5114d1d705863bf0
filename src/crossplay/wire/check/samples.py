"""Seats and observations to try a worker with: made up here, or given by the caller from a real environment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from crossplay.kernel.seeds import key, pick, uniform
from crossplay.kernel.types import ActionSpec, Invalid
from crossplay.wire.messages import Hello, Seat

__all__ = ["Sample", "fits", "made", "spec_of"]

NAMES = ["left", "right", "up", "down", "stay"]
WIDTH = 12  # floats of a made-up array view
SIDE = 16  # pixels of a made-up image
COUNT = 48  # observations of each seat


class Sample(msgspec.Struct, frozen=True):
    """A seat, and observations that it may meet.

    views: one per observation, of the seat's view (arrays of one shape, texts, data). legal: a mask over the
    names for each, or None; empty: all legal everywhere.
    """

    seat: Seat
    views: Sequence[Any]
    legal: Sequence[Any] = ()

    def at(self, n: int) -> tuple[Any, Any]:
        """The n-th observation and its mask, round and round."""
        return self.views[n % len(self.views)], self.legal[n % len(self.legal)] if len(self.legal) else None


def made(hello: Hello) -> list[Sample]:
    """Two seats of the first view and action kind that the worker names."""
    view = next((v for v in hello.views if v in ("array", "text", "data", "image")), "data")
    kind = hello.kinds[0] if hello.kinds else "names"
    return [_made(slot, view, kind) for slot in range(2)]


def _made(slot: int, view: str, kind: str) -> Sample:
    shape = {"array": [WIDTH], "image": [SIDE, SIDE, 3]}.get(view, [])
    dtype = {"array": "<f4", "image": "|u1"}.get(view, "")
    seat = Seat(
        slot=slot, seat=f"seat{slot}", agent="checked", env="check/made-up@1", view=view, spec=_spec(kind), shape=shape,
        dtype=dtype, rules="A made-up world: any legal action will do.", horizon=COUNT,
    )  # fmt: skip
    k = key("worker check", slot)
    legal = [_mask(k, n) for n in range(COUNT)] if kind == "names" else ()
    return Sample(seat, [_view(k, view, n) for n in range(COUNT)], legal)


def _spec(kind: str) -> dict[str, Any]:
    if kind == "names":
        return {"kind": kind, "names": list(NAMES), "noop": len(NAMES) - 1}
    if kind == "box":
        return {"kind": kind, "shape": [2], "low": [-1.0, -1.0], "high": [1.0, 1.0]}
    if kind == "text":
        return {"kind": kind, "max_len": 200}
    return {"kind": "data", "schema": {"type": "object"}}


def _mask(k: bytes, n: int) -> list[bool] | None:
    """None on every fourth; on the others at least one name is legal."""
    if n % 4 == 0:
        return None
    mask = [bool(pick(k, 2, n, i)) for i in range(len(NAMES))]
    mask[pick(k, len(NAMES), n, 99)] = True
    return mask


def _view(k: bytes, view: str, n: int) -> Any:
    if view == "array":
        return np.array([uniform(k, n, i) for i in range(WIDTH)], np.float32)
    if view == "image":
        return np.random.Generator(np.random.Philox(n + 1000 * k[0])).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    if view == "text":
        return f"Tick {n}. You stand at {pick(k, 9, n, 0)}, the goal is at {pick(k, 9, n, 1)}."
    return {"tick": n, "here": pick(k, 9, n, 0), "goal": pick(k, 9, n, 1), "far": uniform(k, n, 2)}


def spec_of(seat: Seat) -> ActionSpec:
    """The seat's action specification as the engine has it."""
    data = {k: v for k, v in seat.spec.items() if k in ActionSpec.__struct_fields__}
    for side in ("low", "high"):
        if isinstance(data.get(side), list):
            data[side] = tuple(float(x) for x in data[side])
    return msgspec.convert(data, ActionSpec, strict=False)


def fits(spec: ActionSpec, value: Any, legal: Any) -> tuple[str, str]:
    """(what is wrong with the value, what the mask has against it); "" where nothing is."""
    if isinstance(value, np.generic):
        value = value.item()
    try:
        spec.check(value)
    except Invalid as error:
        return str(error), ""
    try:
        spec.check(value, legal)
    except Invalid as error:
        return "", str(error)
    return "", ""
