"""What people in a room are told and shown, and what its owner who watches sees: plain messages and `Shot`s."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import msgspec

from crossplay.kernel import Env
from crossplay.records import EpisodeRecord
from crossplay.web.play.record import PERSON
from crossplay.web.play.seats import Seat, Shot

if TYPE_CHECKING:
    from crossplay.web.play.room import Room

__all__ = ["known", "result_of", "told", "world"]


def told(room: Room, name: str | None = None, *, whole: bool = True) -> dict[str, Any]:
    """A room in words that everybody in it may know. name: of the seat that is told. whole: with the rules and the form of
    answer of that seat, which stay the same.
    """
    env, spec = room.env, room.spec
    found: dict[str, Any] = {
        "kind": "room",
        "room": room.name,
        "title": spec.title or env.name.replace("_", " "),
        "environment": env.name,
        "clock": env.clock,
        "pace": room.pace,
        "speed": room.speed,
        "views": [v for v in ("image", "text", "data") if v in env.views],
        "status": room.status,
        "why": room.broken or room.why,
        "episode": room.number,
        "episodes": room.episodes,
        "seats": [_seat(room, s) for s in room.seats.values()],
    }
    if name is None:
        return {**found, "watching": True}
    seat = room.seats[name]
    found |= {"seat": name, "agreed": seat.consent, "takeover": spec.takeover == "people"}
    if not whole:
        return found
    return found | {"rules": env.rules, "consent": spec.consent, "answer": _form(env, name)}


def _seat(room: Room, s: Seat) -> dict[str, Any]:
    return {
        "seat": s.name,
        "who": PERSON if s.manned else "agent" if room.spec.blind else s.agent,
        "here": s.line is not None,
        "ready": s.ready,
        "taken": s.taken,
        "person": s.person,
        "stands_in": s.stands_in,
    }


def _form(env: Env, name: str) -> dict[str, Any]:
    """How a seat answers."""
    form = env.spec(name)
    found: dict[str, Any] = {
        "kind": form.kind,
        "names": list(form.names),
        "noop": form.names[form.noop] if form.kind == "names" and form.noop is not None else None,
        "shape": list(form.shape),
        "schema": form.json_schema() if form.kind != "names" else None,
        "max_len": form.max_len,
    }
    if form.kind == "box":
        low, high = form.bounds()
        finite = {"low": low.tolist(), "high": high.tolist()}
        found |= {k: msgspec.json.decode(msgspec.json.encode(v)) for k, v in finite.items()}
    return found


def known(env: Env, seat: str, obs: Any = None) -> Any:
    """What a seat may know now, asked or not; None in worlds that do not tell it everywhere."""
    with contextlib.suppress(Exception):
        return obs.view("data") if obs is not None else env.data(seat)
    return None


def world(room: Room, env: Env, tick: int, totals: list[float]) -> Shot:
    """The whole world, for the owner who watches."""
    facts = {"episode": room.number, "totals": dict(zip(room.seats, totals, strict=True))}
    picture, text = None, ""
    with contextlib.suppress(Exception):
        picture, text = env.picture(), env.text()
    return Shot(tick, env, None, 0, facts, picture, text, world=True)


def result_of(room: Room, record: EpisodeRecord) -> dict[str, Any]:
    """How an episode ended."""
    return {
        "kind": "end",
        "episode": room.number,
        "status": record.status,
        "score": record.score,
        "ticks": record.ticks,
        "totals": dict(zip(room.seats, record.totals, strict=True)),
    }
