"""Rooms over REST: make one, look at it, invite people, take seats and hand them back, go on after a kill."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading
from typing import Annotated, Any, Literal

import msgspec

from crossplay.web.api import Route
from crossplay.web.desk import Conflict, Desk, Forbidden, NotFound, TooMany
from crossplay.web.gate import trial
from crossplay.web.play.clock import Buckets, Lateness
from crossplay.web.play.record import FOLDER, Kept, RoomSpec, unfinished
from crossplay.web.play.room import OVER, Room
from crossplay.web.play.seats import Tally

__all__ = ["ROUTES", "Hall", "hall"]

OPEN = 64
"""Rooms that are open at a time."""
KEPT = 100
"""Rooms that are remembered after their end."""
PATIENCE_S = 3.0
"""Until rooms are kept as they stand, when the server ends."""


class Hall:
    """All rooms of a server. joins: how often whoever has the link of a seat may use it: 120 times at once, 4 a second
    in the long run; wrong ones are counted for their client (`crossplay.web.gate.trial`).
    """

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.rooms: dict[str, Room] = {}
        self.joins = Buckets(4.0, 120.0)
        self.opening = 0
        self.resuming: set[str] = set()
        self.loop: asyncio.AbstractEventLoop | None = None  # on which the rooms live
        desk.closing.append(self.close)

    def room(self, name: str) -> Room:
        """An open or remembered room."""
        if name not in self.rooms:
            raise NotFound("there is no such room, or it was not opened again since the server was started")
        return self.rooms[name]

    def add(self, room: Room) -> Room:
        """Remember a room; of those that are over, the oldest are forgotten."""
        if self.loop is None:
            # What was loaded by now stays: it need not be looked through again and again, for 70 ms each time, while
            # people play.
            gc.collect()
            gc.freeze()
        self.rooms[room.name], self.loop = room, asyncio.get_running_loop()
        over = [n for n, r in self.rooms.items() if r.status in OVER]
        for name in over[: max(0, len(over) - KEPT)]:
            del self.rooms[name]
        return room

    def space(self) -> None:
        """Raise `TooMany` where no room is left."""
        if sum(r.status not in OVER for r in self.rooms.values()) + self.opening >= OPEN:
            raise TooMany(f"{OPEN} rooms are open; close one first")

    def knock(self, room: str, seat: str) -> None:
        """Whoever has the link of this seat uses it. Raises `TooMany`."""
        if not self.joins.take(f"{room} {seat}"):
            raise TooMany("too many tries; wait a minute")

    def left(self) -> dict[str, tuple[str, Kept]]:
        """Rooms on disk that are not over and not open: room -> (run, what is kept). Reads files."""
        found = {}
        for run in self.desk.run_names():
            kept = unfinished(self.desk.run_folder(run))
            if kept is None:
                continue
            here = self.rooms.get(kept.room)
            if here is None or here.status == "stopped":
                found[kept.room] = (run, kept)
        return found

    def close(self) -> None:
        """The server ends: every episode that is being played is kept as it stands. From any thread."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:  # another thread than that of the rooms
            if self.loop is not None and self.loop.is_running():  # else they have ended with it
                done = threading.Event()
                self.loop.call_soon_threadsafe(self._close)
                self.loop.call_soon_threadsafe(done.set)
                done.wait(PATIENCE_S)
            return
        self._close()

    def _close(self) -> None:
        for room in self.rooms.values():
            room.close("the server ended")


def hall(desk: Desk) -> Hall:
    """The hall of a desk."""
    return desk.part("play", Hall)


# -- what is answered ----------------------------------------------------------------------------------------
class Invite(msgspec.Struct):
    """A way into a seat. link: for whoever is to sit there; its token stands behind "#", so that it reaches no log."""

    seat: str
    link: str
    token: str


class SeatView(msgspec.Struct):
    """A seat as the owner sees it.

    who: "person", or the agent's name. person: a person is waited for. taken: from its agent, for now. stands_in: the agent plays
    in the place of a person who is gone for good. here: somebody is connected. tally: what became of the answers that came. skipped: moments that a slow connection was not sent.
    """

    seat: str
    who: str
    agent: str
    person: bool
    taken: bool
    here: bool
    ready: bool
    consent: bool
    tally: Tally
    skipped: int = 0
    stands_in: bool = False


class RoomView(msgspec.Struct):
    """A room as its owner sees it.

    run: the name of its run. status: waiting, starting, playing, between, over, stopped, or left (on disk, to be
    opened again). why: what stopped it. unkept: why it could not be gone on with if the server were killed now, or "". episode: number of the one that is (or was last) played. results: of those that are over. late: how
    late ticks were (clock tick).
    """

    room: str
    run: str
    title: str
    environment: str
    clock: str
    status: Literal["waiting", "starting", "playing", "between", "over", "stopped", "left"]
    why: str
    episode: int
    episodes: int
    tick: int
    made: float
    seats: list[SeatView] = []
    watchers: int = 0
    results: list[dict[str, Any]] = []
    late: Lateness | None = None
    unkept: str = ""


class RoomMade(msgspec.Struct):
    """A new room, and one invitation per seat for a person."""

    room: RoomView
    invites: list[Invite]


class RoomList(msgspec.Struct):
    """All rooms, the newest first, those that can be gone on with among them."""

    rooms: list[RoomView]


def view_of(desk: Desk, room: Room) -> RoomView:
    """A room as its owner sees it."""
    told = room.told()
    seats = []
    for s in room.seats.values():
        who = "person" if s.manned else s.agent
        skipped = s.line.skipped if s.line is not None else 0
        here = s.line is not None
        seats.append(
            SeatView(s.name, who, s.agent, s.person, s.taken, here, s.ready, s.consent, s.tally, skipped, s.stands_in)
        )
    run = "~".join(room.folder.resolve().relative_to(desk.root).parts) or "."
    return RoomView(
        room=room.name,
        run=run,
        title=told["title"],
        environment=room.env.name,
        clock=room.env.clock,
        status=room.status,
        why=room.why,
        episode=room.number,
        episodes=told["episodes"],
        tick=room.episode.tick if room.episode is not None else 0,
        made=room.made,
        seats=seats,
        watchers=len(room.watchers),
        results=room.results[-100:],
        late=room.beat.told() if room.beat is not None else None,
        unkept=room.keeping.problem,
    )


def _left(run: str, kept: Kept, when: float) -> RoomView:
    spec = kept.spec
    return RoomView(
        kept.room, run, spec.title or spec.study or run, spec.environment, spec.clock, "left",
        "it was cut off when the server ended", 0, spec.episodes, 0, when,
    )  # fmt: skip


def link_of(room: str, seat: str, token: str) -> str:
    """The address of a seat, without the host."""
    from urllib.parse import quote

    return f"/play/{room}#seat={quote(seat, safe='')}&token={token}"


# -- services --------------------------------------------------------------------------------------------------


async def rooms(desk: Desk) -> RoomList:
    """All rooms: open, over, and those that were cut off and can be gone on with."""
    here = hall(desk)

    def left() -> list[RoomView]:
        found = []
        for run, kept in here.left().values():
            with contextlib.suppress(OSError, NotFound):  # removed at this moment
                when = (desk.run_folder(run) / FOLDER / "state.json").stat().st_mtime
                found.append(_left(run, kept, when))
        return found

    gone = await asyncio.to_thread(left)
    known = [view_of(desk, r) for r in here.rooms.values() if not any(g.room == r.name for g in gone)]
    return RoomList(sorted([*known, *gone], key=lambda r: -r.made))


async def create_room(desk: Desk, body: RoomSpec) -> RoomMade:
    """Open a room. Answers with the owner's view and one invitation per seat for a person.

    Agents are installed types; those that run code, start processes or call other machines are refused, and models
    are those of this machine's catalogue. The run folder is made at once, below the served folder.
    """
    here = hall(desk)
    here.space()
    here.opening += 1
    try:
        room = here.add(await Room.create(desk, body))
    finally:
        here.opening -= 1
    invites = []
    for name, seat in room.seats.items():
        if seat.person:
            token = room.invite(name)
            invites.append(Invite(name, link_of(room.name, name, token), token))
    await room.keeping.written()  # a link that was given opens its seat also after a kill
    return RoomMade(view_of(desk, room), invites)


async def room(desk: Desk, room: str) -> RoomView:
    """One room."""
    return view_of(desk, hall(desk).room(room))


class Closing(msgspec.Struct, forbid_unknown_fields=True):
    """final: nobody is offered to go on with the episode that is cut off."""

    final: bool = False


async def close_room(desk: Desk, room: str, body: Closing) -> RoomView:
    """Close a room now. What is finished is kept."""
    found = hall(desk).room(room)
    found.close(final=body.final)
    return view_of(desk, found)


async def start_room(desk: Desk, room: str) -> RoomView:
    """Begin without waiting for everybody: at a clock that waits, seats without a person wait; at others the conduct serves."""
    found = hall(desk).room(room)
    if found.status not in ("waiting", "between"):
        raise Conflict(f"the room is {found.status}")
    found.start()
    return view_of(desk, found)


async def resume_room(desk: Desk, room: str) -> RoomView:
    """Open a room again that was cut off. People come back with their links; the episode goes on from its snapshot.

    A room that is open stays as it is.
    """
    here = hall(desk)
    if room in here.resuming:
        raise Conflict("this room is being opened; look again in a moment")
    here.resuming.add(room)
    try:
        before = here.rooms.get(room)
        if before is not None and before.status not in OVER:
            return view_of(desk, before)
        if before is not None:
            await before.gone()  # it may be letting go of its run
        left = await asyncio.to_thread(here.left)
        if room not in left:
            raise NotFound("there is nothing left of such a room to go on with")
        here.space()
        run, kept = left[room]
        here.opening += 1
        try:
            found = here.add(await Room.reopen(desk.run_folder(run), kept))
        finally:
            here.opening -= 1
        return view_of(desk, found)
    finally:
        here.resuming.discard(room)


async def invite_person(desk: Desk, room: str, seat: str) -> Invite:
    """A new link for a person's seat; the one before is worth nothing from now on."""
    found = hall(desk).room(room)
    token = found.invite(seat)
    await found.keeping.written()
    return Invite(seat, link_of(room, seat, token), token)


async def take_seat(desk: Desk, room: str, seat: str) -> Invite:
    """Take the seat of an agent: whoever opens the link plays from the next tick on, until the seat is handed back."""
    found = hall(desk).room(room)
    token = found.take(seat)
    await found.keeping.written()
    return Invite(seat, link_of(room, seat, token), token)


async def give_back_seat(desk: Desk, room: str, seat: str) -> RoomView:
    """Hand a taken seat back to its agent."""
    found = hall(desk).room(room)
    found.give_back(seat)
    await found.keeping.written()
    return view_of(desk, found)


class StandIn(msgspec.Struct, forbid_unknown_fields=True):
    """Who is to play in a person's place. agent: the type of an installed agent ("chef"), or a table {"type": ..., options}."""

    agent: Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | dict[str, Any]


async def hand_over_seat(desk: Desk, room: str, seat: str, body: StandIn) -> RoomView:
    """Let an agent play in the place of a person who is gone for good, from the next tick on (or at once, where the game waits for them).

    Their link is worth nothing any more. The record of the episode names the agent and says from which tick on it
    played, and a note under the tables says that episodes of this lineup were not played by the lineup alone. Whoever is to sit there
    later takes the seat over from the agent.
    """
    found = hall(desk).room(room)
    await found.hand_over(seat, body.agent)
    await found.keeping.written()
    return view_of(desk, found)


class Holder(msgspec.Struct, forbid_unknown_fields=True):
    """Who asks: a seat and its token. other: the seat that is meant, where it is another one."""

    seat: str
    token: str
    other: str = ""


def _holder(desk: Desk, room: str, body: Holder) -> Room:
    """The room, for whoever holds a token of it."""
    here = hall(desk)
    with trial(desk, room, body.seat, body.token):
        found = here.rooms.get(room)
        if found is None:
            raise Forbidden("this link is not valid for a seat of this room (any more)")
        found.check(body.seat, body.token)
    here.knock(room, body.seat)
    return found


async def guest_take(desk: Desk, room: str, body: Holder) -> Invite:
    """Take another seat from its agent, with the token of one's own, where the room allows it."""
    found = _holder(desk, room, body)
    if found.spec.takeover != "people":
        raise Forbidden("in this room only the owner hands seats over")
    token = found.take(body.other)
    await found.keeping.written()
    return Invite(body.other, link_of(room, body.other, token), token)


async def guest_give_back(desk: Desk, room: str, body: Holder) -> None:
    """Hand one's own (taken) seat back to its agent."""
    _holder(desk, room, body).give_back(body.seat)


ROUTES = [
    Route("GET", "/rooms", rooms),
    Route("POST", "/rooms", create_room),
    Route("GET", "/rooms/{room}", room),
    Route("POST", "/rooms/{room}/close", close_room),
    Route("POST", "/rooms/{room}/start", start_room),
    Route("POST", "/rooms/{room}/resume", resume_room),
    Route("POST", "/rooms/{room}/seats/{seat}/invite", invite_person),
    Route("POST", "/rooms/{room}/seats/{seat}/take", take_seat),
    Route("POST", "/rooms/{room}/seats/{seat}/give-back", give_back_seat),
    Route("POST", "/rooms/{room}/seats/{seat}/hand-over", hand_over_seat),
    Route("POST", "/play/{room}/take", guest_take, "guest"),
    Route("POST", "/play/{room}/give-back", guest_give_back, "guest"),
]
