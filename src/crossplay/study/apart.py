"""Where two episodes of one block part: the first tick at which moves, messages, rewards or the state differ.

Pure functions of the recorded rows. Chance is addressed by tick and not consumed, so two episodes that made the
same moves are in the same state; what differs first is what somebody did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from crossplay.kernel import Event
from crossplay.study.replay import by_tick
from crossplay.study.ticks import Said, Tick, tick_of

__all__ = ["Apart", "Difference", "first_apart"]

LISTED = 200


class Difference(msgspec.Struct):
    """One thing that differs at a tick. kind: "move", "words" (said), "reward", "state" or "end". seat: "" for the
    world. one, other: in words; "" where there was nothing.
    """

    tick: int
    kind: str
    seat: str
    one: str
    other: str


class Apart(msgspec.Struct):
    """Where two episodes part. first: the first tick at which anything differs, null where nothing does.

    moves: seat -> its first other move; words: seat -> the first time it said something else. state, rewards: the
    first tick after whose moves they differ. ended: the tick at which one was over and the other went on. ticks: how
    many both have; other_moves: seat -> at how many of these it moved otherwise. at: those ticks, of all seats.
    differences: the first of them one by one, `more` of them left out.
    """

    first: int | None
    moves: dict[str, int]
    words: dict[str, int]
    state: int | None
    rewards: int | None
    ended: int | None
    ticks: int
    other_moves: dict[str, int]
    at: list[int]
    differences: list[Difference]
    more: int = 0


def first_apart(
    one: Sequence[Event],
    other: Sequence[Event],
    seats: Sequence[str],
    names: Mapping[str, Sequence[str]] | None = None,
    listed: int = LISTED,
) -> Apart:
    """Compare the rows of two episodes with the same seats. names: seat -> names of its actions, for the words."""
    rows = by_tick(one), by_tick(other)
    ends = [max((t for t, es in r.items() if any(e.kind == "step" for e in es)), default=-1) for r in rows]
    both = min(ends) + 1
    found = Apart(None, {}, {}, None, None, None, both, {}, [], [])
    told: list[Difference] = []
    # One tick more than both have: there the moves of an episode that was forfeited stand, or one has ended.
    for tick in range(both + 1):
        a, b = (tick_of(tick, r.get(tick, ()), seats, names) for r in rows)
        here = _moves(a, b, found) + _words(a, b, found)
        if tick < both:
            here += _world(a, b, found)
        elif a.ended != b.ended:
            found.ended = tick if ends[0] != ends[1] else None
            here.append(Difference(tick, "end", "", a.ended, b.ended))
        told += here
    found.first = min((d.tick for d in told), default=None)
    found.differences, found.more = told[:listed], max(0, len(told) - listed)
    return found


def _moves(a: Tick, b: Tick, found: Apart) -> list[Difference]:
    one, other = ({m.seat: m for m in t.moves} for t in (a, b))
    here: list[Difference] = []
    if not one or not other:  # over: not a move, but an end
        return here
    for seat in dict.fromkeys([*one, *other]):
        mine, theirs = one.get(seat), other.get(seat)
        if mine is not None and theirs is not None and mine.value == theirs.value:
            continue
        found.moves.setdefault(seat, a.tick)
        found.other_moves[seat] = found.other_moves.get(seat, 0) + 1
        if not found.at or found.at[-1] != a.tick:
            found.at.append(a.tick)
        here.append(Difference(a.tick, "move", seat, mine.action if mine else "", theirs.action if theirs else ""))
    return here


def _words(a: Tick, b: Tick, found: Apart) -> list[Difference]:
    one, other = _by_seat(a.said), _by_seat(b.said)
    here: list[Difference] = []
    for seat in dict.fromkeys([*one, *other]):
        mine, theirs = one.get(seat, []), other.get(seat, [])
        if mine != theirs:
            found.words.setdefault(seat, a.tick)
            here.append(Difference(a.tick, "words", seat, *(" / ".join(map(_text, x)) for x in (mine, theirs))))
    return here


def _by_seat(said: Sequence[Said]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for m in said:
        found.setdefault(m.src, []).append([m.dst, m.channel, m.body])
    return found


def _text(said: Any) -> str:
    body = said[2]
    return body if isinstance(body, str) else msgspec.json.encode(body).decode()


def _world(a: Tick, b: Tick, found: Apart) -> list[Difference]:
    here: list[Difference] = []
    if a.rewards != b.rewards:
        found.rewards = a.tick if found.rewards is None else found.rewards
        here.append(Difference(a.tick, "reward", "", _paid(a), _paid(b)))
    if a.fingerprint != b.fingerprint and found.state is None:  # from then on it differs nearly always
        found.state = a.tick
        here.append(Difference(a.tick, "state", "", a.fingerprint, b.fingerprint))
    return here


def _paid(tick: Tick) -> str:
    return ", ".join(f"{seat} {reward:g}" for seat, reward in (tick.rewards or {}).items())
