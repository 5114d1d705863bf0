"""Decisions as rows of a frame, and answers as the engine takes them: pure functions."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crossplay.kernel import Action, Fault, Msg, Observation, Usage
from crossplay.wire.channel import Channel
from crossplay.wire.frames import WireError
from crossplay.wire.messages import Act, Acts, Seat

__all__ = ["Row", "act_message", "plain_values", "read_acts"]

LONGEST = 1 << 16  # characters of a rationale
MOST = 1 << 53  # of a counter
TAKEN = frozenset(
    ("timeout", "invalid", "error", "void", "late", "held", "decisions", "calls", "tok_in", "tok_out", "cpu_us")
)
"""Counters of the engine: a worker may not add to them by name."""


class Row:
    """One decision that waits to be sent, on the connection where its episode was begun."""

    __slots__ = ("channel", "ep", "future", "obs", "seat", "view")

    def __init__(
        self, obs: Observation, seat: Seat, ep: int, view: Any, channel: Channel, future: asyncio.Future[Any]
    ) -> None:
        self.obs, self.seat, self.ep, self.view, self.channel, self.future = obs, seat, ep, view, channel, future


def act_message(number: int, rows: Sequence[Row]) -> Act:
    """One act of these rows, as columns."""
    first = rows[0]
    arrays = first.seat.view in ("array", "image")
    message = Act(
        id=number,
        ep=[r.ep for r in rows],
        slot=[r.seat.slot for r in rows],
        tick=[r.obs.tick for r in rows],
        obs=np.stack([r.view for r in rows]) if arrays else [r.view for r in rows],
    )
    masks = [r.obs.legal for r in rows]
    if any(m is not None for m in masks):
        sizes = {None if m is None else len(m) for m in masks}
        message.legal = np.array(masks, bool) if len(sizes) == 1 else [None if m is None else list(m) for m in masks]
    rewards = [r.obs.reward for r in rows]
    if any(rewards):
        message.reward = np.array(rewards, np.float64)
    if any(r.obs.memo is not None for r in rows):
        message.memo = [r.obs.memo for r in rows]
    for i, row in enumerate(rows):
        obs = row.obs
        if obs.last is not None and obs.last[1] != "own":
            message.last[i] = list(obs.last)
        if obs.inbox:
            message.inbox[i] = [[m.dst, m.body, m.channel, m.src, m.tick] for m in obs.inbox]
        if obs.brief or obs.wants:
            message.brief[i] = {"text": obs.brief, "wants": list(obs.wants)}
    return message


def plain_values(message: Any, rows: int) -> np.ndarray | None:
    """int64[rows] where an answer is nothing but one whole number for each row; None where it says more, or less."""
    if type(message) is not Acts:
        return None
    if message.faults or message.says or message.confidence or message.why or message.usage or message.counts:
        return None
    values = message.values
    if type(values) is list:
        if len(values) != rows:
            return None
        for value in values:
            if type(value) is not int:
                return None
    elif not isinstance(values, np.ndarray) or values.shape != (rows,) or values.dtype.kind not in "iu":
        return None
    try:
        return np.array(values, np.int64)
    except OverflowError:
        return None


def read_acts(message: Any, rows: int) -> list[Action | Fault | WireError]:
    """The answer of each row; a `WireError` where asking again may help, a fault where this row is wrong.

    Raises `WireError` where the whole answer is none: of another kind, or for another number of rows.
    """
    if not isinstance(message, Acts):
        raise WireError("BAD_VALUE", f"an act is answered with acts, not {type(message).__name__.lower()}")
    values = message.values
    if isinstance(values, np.ndarray) and values.ndim < 2:
        values = values.tolist()
    if not isinstance(values, (list, tuple, np.ndarray)) or len(values) != rows:
        raise WireError("BAD_VALUE", f"values hold not one answer for each of {rows} rows")
    found: list[Action | Fault | WireError] = []
    for i in range(rows):
        try:
            found.append(_row(message, values, i))
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            found.append(Fault("error", f"BAD_VALUE: {str(error)[:200]}"))
    return found


def _row(message: Acts, values: Any, i: int) -> Action | Fault | WireError:
    says = [Msg(str(m[0]), m[1], str(m[2]) if len(m) > 2 else "main") for m in message.says.get(i, ())]
    if i in message.faults:
        code, text, *again = message.faults[i]
        said = f"{str(text)[:500]}"
        return (
            WireError(str(code), said, True) if again == [True] else Fault("error", f"{str(code)[:40]}: {said}", says)
        )
    why = message.why.get(i)
    if why is not None and not (isinstance(why, str) and len(why) <= LONGEST):
        raise ValueError(f"a rationale is text of up to {LONGEST} characters")
    action = Action(values[i], says, _share(message.confidence.get(i)), why)
    if message.memo is not None:
        action.memo = message.memo[i]
    if i in message.usage:
        action.usage = Usage(*(_number(n) for n in message.usage[i][:4]))
    if i in message.counts:
        action.counts = _counts(message.counts[i])
    return action


def _share(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not (math.isfinite(value) and 0 <= value <= 1):
        raise ValueError(f"confidence {value!r} does not lie in [0, 1]")
    return float(value)


def _counts(given: Mapping[Any, Any]) -> dict[str, int]:
    for name in given:
        if not isinstance(name, str) or name in TAKEN or name.startswith("link_") or len(name) > 40:
            raise ValueError(f"{str(name)[:40]!r} is no name for a counter of a worker")
    return {name: _number(n) for name, n in given.items()}


def _number(value: Any) -> int:
    """A count as it may be summed and stored; raises `ValueError`."""
    if not isinstance(value, (int, float)) or not 0 <= value <= MOST:
        raise ValueError(f"{value!r} is no count")
    return int(value)
