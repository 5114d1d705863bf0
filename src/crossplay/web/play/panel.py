"""`Panel`: an open study with people: its run, its sessions, the rooms in which participants play.

One panel per run, held by `Panels` (tickets.py). All that a participant does is a step of their session
(`study.people.steps`), kept before the next one is shown, so that a reload or a server that starts again goes on
where they were. An episode that is cut off goes on from its snapshot, with the same participant; only where its people were gone
for longer than the study's patience it is begun anew. Both are counted.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from crossplay.kernel import Block, unpack
from crossplay.kernel.seeds import key
from crossplay.records import EpisodeRecord, RunFolder
from crossplay.study.people import (
    People,
    Step,
    order_of,
    partners,
    partners_beside,
    people_of,
    practice_study,
    steps,
)
from crossplay.study.runner import open_run
from crossplay.study.sessions import Session, Sessions, name_of
from crossplay.study.spec import Study
from crossplay.study.stage import Stage
from crossplay.study.withdraw import GAMES, PRACTICE, settle
from crossplay.web.desk import Conflict, Desk
from crossplay.web.play.record import Game, Keeper, Kept, Play, RoomSpec, Shelved, warm
from crossplay.web.play.room import Room
from crossplay.web.play.rooms import hall

__all__ = ["Panel", "Shelf"]

WATCH_S = 1.0
"""Seconds between two looks at who is there."""
GONE_S = 3.0
"""After which a game whose clock runs on is put aside, because one of its people is gone; a reload takes less."""
STOP_S = 3.0
"""Until games are put aside, when the server ends."""
OVER = ("over", "stopped")


class Shelf(Keeper):
    """Where the game of one participant lies while it is played, so that it goes on after a kill: nothing but its snapshot.

    began: called once, when there is something to lose.
    """

    def __init__(self, folder: Path, began: Callable[[], None] = lambda: None) -> None:
        super().__init__(folder)
        self.folder, self._began, self._noted, self._tick, self._ended = folder, began, False, -1, False

    def write(self, kept: Kept, shelved: Shelved | None) -> None:
        """Keep a newer snapshot. On disk when this returns. Tokens of rooms are not kept: people come with their tickets."""
        if shelved is None:
            return
        with self._lock:
            if self._ended or shelved.tick < self._tick:
                return
            self._begin()
            self._tick = shelved.tick
            self.folder.mkdir(parents=True, exist_ok=True)
            content = msgspec.msgpack.encode(shelved)
            self._put("snapshot", hashlib.sha256(content).digest() + content)

    def begin(self) -> None:
        """It has begun, also where it was over before anything was kept."""
        with self._lock:
            self._begin()

    def _begin(self) -> None:
        if not self._noted:
            self._noted = True
            self._began()

    def read(self) -> Shelved | None:
        """What lies here; None where nothing does, or something damaged."""
        try:
            whole = (self.folder / "snapshot").read_bytes()
            if hashlib.sha256(whole[32:]).digest() != whole[:32]:
                return None
            return msgspec.msgpack.decode(whole[32:], type=Shelved)
        except (OSError, msgspec.MsgspecError):
            return None

    def clear(self) -> None:
        """The game is over."""
        with self._lock:
            self._clear()

    def end(self) -> None:
        """Nobody goes on with it, whatever is written from now on."""
        with self._lock:
            self._ended = True
            self._clear()

    def _clear(self) -> None:
        (self.folder / "snapshot").unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.folder.rmdir()
            self.folder.parent.rmdir()


class Panel:
    """An open study with people. name: of its run. rooms: number of a participant -> the room they play in now."""

    def __init__(self, desk: Desk, name: str, study: Study, folder: Path) -> None:
        """Opens the run for writing, or makes it; raises `CrossplayError` that says what is wrong with the study."""
        self.desk, self.name, self.folder = desk, name, folder
        settle(folder)
        self.stage = Stage(study, folder)
        try:
            self.stage.check()
            warm(self.stage)
            self.run = open_run(self.stage, folder)
            try:
                self.sessions = Sessions(self.stage.door.cassette, self.stage.study.root)
            except BaseException:
                self.run.close()
                raise
        except BaseException:
            self.stage.close()
            raise
        self.study = self.stage.study
        assert self.study.people is not None
        self.people: People = self.study.people
        if not self.sessions.all():  # a new run
            for agent in partners_beside(self.study):
                self.sessions.expect(agent, secrets.token_hex(8))
        self.cells = [c for c in self.stage.cells if people_of(self.study, c)]
        self.rest = [c for c in self.stage.cells if not people_of(self.study, c)]
        self.done = set(self.run.done())
        apart = practice_study(self.study)
        self.practice = Stage(apart) if apart is not None else None
        self.practice_run: RunFolder | None = None
        self.practice_done: set[Any] = set()
        self.rooms: dict[int, Room] = {}
        self.beside: dict[str, tuple[int, Room | None]] = {}  # partners who are people: games so far, the room now
        self.seen: dict[int, float] = {}
        self.breaks: dict[tuple[int, str], float] = {}  # when a break was first shown
        self.busy: set[int] = set()
        self.put_aside: dict[int, float] = {}  # since when a game waits for people who are gone
        self.loop: asyncio.AbstractEventLoop | None = None  # on which the rooms live
        self.shut = False
        self._lock = threading.RLock()
        self._turn = threading.RLock()
        self._shelves: dict[int, Shelf] = {}
        self.finishing: set[asyncio.Task[None]] = set()  # what is noted when a game is over
        self._watching: asyncio.Task[None] | None = None

    # -- where a participant is --------------------------------------------------------------------------
    def script(self, session: Session) -> list[Step]:
        """All steps of a session."""
        practice = self.practice.cells if self.practice is not None else []
        return steps(self.study, self.cells, practice, session.number, session.slot)

    def met(self, session: Session) -> list[str]:
        """The partners of a session in order."""
        names = partners(self.study)
        return [names[i] for i in order_of(len(names), session.slot, self.people.order, key("people", self.study.root))]

    def at(self, session: Session) -> tuple[int, list[Step]]:
        """(index of the step that is next, all steps); the last one stays when all is done."""
        script = self.script(session)
        for i, step in enumerate(script):
            if not self._is_done(session, step):
                return i, script
        return len(script) - 1, script

    def _is_done(self, session: Session, step: Step) -> bool:
        if step.kind == "play":
            return (step.cell, step.block, 0) in self.done
        if step.kind == "practice":
            self._open_practice()
            return (step.cell, step.block, 0) in self.practice_done
        return step.name in session.answers

    def _open_practice(self) -> None:
        with self._lock:
            if self.practice is None or self.practice_run is not None:
                return
            self.practice.record_in(self.folder / PRACTICE)
            self.practice_run = open_run(self.practice, self.folder / PRACTICE)
            self.practice_done = set(self.practice_run.done())

    @contextlib.contextmanager
    def turn(self) -> Iterator[None]:
        """One after the other: whoever looks where a session is and notes what was done there. `Conflict` once it is closed."""
        with self._turn:
            if self.shut:
                raise Conflict("the study is being closed; try again in a moment")
            yield

    def finish(self, session: Session) -> None:
        """Note that a session is complete, once everything is done, whether or not its participant saw the thanks."""
        with self.turn():
            if session.status == "going":
                at, script = self.at(session)
                if script[at].kind == "thanks":
                    self.sessions.note(session.number, "thanks", {})

    def _finish_soon(self, session: Session, shelf: Shelf) -> None:
        def work() -> None:
            with contextlib.suppress(Conflict), self.turn():
                shelf.begin()
                self.finish(session)

        task = asyncio.get_running_loop().create_task(asyncio.to_thread(work))
        self.finishing.add(task)
        task.add_done_callback(self.finishing.discard)

    # -- rooms -------------------------------------------------------------------------------------------
    def room_of(self, number: int, step: Step) -> Room | None:
        """The open room of a participant, if it is that of this step."""
        room = self.rooms.get(number)
        if room is None or room.status in OVER:
            return None
        plays = room.game.plays
        return room if plays and (plays[0].cell.key, plays[0].at.block) == (step.cell, step.block) else None

    def room_beside(self, agent: str) -> tuple[int, Room | None]:
        """(how many games this partner has been called to, the one they are called to now, if any).

        They are called to games whose participant is there, so that nobody waits for a partner who waits elsewhere.
        """
        count, room = self.beside.get(agent, (0, None))
        if room is not None and room.status not in OVER:
            return count, room
        for one in self.rooms.values():
            wanted = any(s.agent == agent and s.line is None for s in one.seats.values())
            there = any(s.agent == self.people.participant and s.line is not None for s in one.seats.values())
            if wanted and there and one.status not in OVER and one is not room:
                self.beside[agent] = (count + 1, one)
                return self.beside[agent]
        return count, None

    def waits_for(self, number: int) -> list[str]:
        """The partners who are people for whom a participant waits, who is there."""
        room = self.rooms.get(number)
        if room is None or room.status in OVER:
            return []
        people = [s for s in room.seats.values() if s.person]
        if any(s.agent == self.people.participant and s.line is None for s in people):
            return []
        return [s.agent for s in people if s.line is None]

    async def play(self, session: Session, step: Step) -> tuple[Room, str]:
        """(the room of an episode, the participant's seat in it); made where there is none. On the event loop."""
        room = self.room_of(session.number, step)
        if room is None:
            if session.number in self.busy:
                raise Conflict("this game is being opened; try again in a moment")
            self.busy.add(session.number)
            try:
                room = await self._made(session, step)
            finally:
                self.busy.discard(session.number)
        me = next(s for s, seat in room.seats.items() if seat.agent == self.people.participant)
        return room, me

    async def _made(self, session: Session, step: Step) -> Room:
        here = hall(self.desk)
        here.space()
        old = self.rooms.pop(session.number, None)
        if old is not None:
            old.close("another game has begun", final=True)
        practice = step.kind == "practice"
        stage, run = (self.practice, self.practice_run) if practice else (self.stage, self.run)
        assert stage is not None and run is not None
        cell = next(c for c in stage.cells if c.key == step.cell)
        at = Block(stage.study.root, step.block, 0)
        number, begun = session.number, session.begun(step.name)
        shelf = self.shelf(number)

        def look() -> tuple[int, Shelved | None]:
            with self.turn():
                tried = run.attempts().get((cell.key, step.block, 0), 0)
                return tried, self._shelved(number, shelf, stage, Play(cell, at, tried))

        tried, shelved = await asyncio.to_thread(look)
        if shelved is None or not begun:
            shelved, begun = None, begun + 1
            note = f"begun/{step.name}/{begun}"
        else:
            note = f"resumed/{step.name}/{session.resumed + 1}"
        shelf = self._shelves[number] = Shelf(shelf.folder, lambda: self._begun(number, note))
        extra = {"participant": name_of(number), "place": step.place, "begun": begun}
        if practice:
            extra = {"participant": name_of(number), "practice": True}
        if shelved is not None:
            extra["resumed"] = 1 + sum(n.startswith(f"resumed/{step.name}/") for n in session.answers)
        env = self.study.environments[cell.env]
        spec = RoomSpec(environment=env.name, clock=env.clock, title=self.people.title or "Play", blind=True)

        def recorded(record: EpisodeRecord) -> None:
            done = self.practice_done if practice else self.done
            done.add(record.place)
            self._finish_soon(session, shelf)

        if self.shut or session.status != "going":  # meanwhile it was closed, or the session ended
            raise Conflict("the study is being closed, or this session has ended")
        game = Game(stage, run, [Play(cell, at, tried, extra)], own=False)
        room = Room(secrets.token_hex(8), game, spec, keep=shelf, shelved=shelved, on_record=recorded)
        self.loop, self.rooms[number] = asyncio.get_running_loop(), here.add(room)
        self.put_aside.pop(number, None)
        if self._watching is None or self._watching.done():
            self._watching = self.loop.create_task(self._watch())
        return room

    def _begun(self, number: int, note: str) -> None:
        if not self.shut:
            self.sessions.note(number, note, {})

    def shelf(self, number: int) -> Shelf:
        """Where the game of a participant lies when it is cut off."""
        if number not in self._shelves:
            self._shelves[number] = Shelf(self.folder / GAMES / name_of(number))
        return self._shelves[number]

    def goes_on(self, number: int) -> bool:
        """Whether a game of this participant was cut off and can be gone on with."""
        late = time.monotonic() - self.put_aside.get(number, float("inf")) > self.people.patience
        return not late and not self.in_room(number) and (self.shelf(number).folder / "snapshot").is_file()

    def _shelved(self, number: int, shelf: Shelf, stage: Stage, play: Play) -> Shelved | None:
        """The snapshot from which this very episode goes on; one of another episode, or one that cannot be read, is put away."""
        found = shelf.read() if self.goes_on(number) else None
        if found is not None:
            meant = (play.cell.key, play.at.root, play.at.block, play.at.replicate, play.attempt)
            env = stage.env(play.cell.env)
            try:
                if (found.cell, found.root, found.block, found.replicate, found.attempt) == meant:
                    env.restore(unpack(found.snapshot)["env"])
                    return found
            except Exception:  # worlds of others may fail in any way, e.g. one of another version
                found = None
            finally:
                env.close()
        shelf.clear()
        return None

    async def _watch(self) -> None:
        """Look after games whose people are gone: at a clock that runs on they are put aside, to go on when all are there; after
        the study's patience they end, and are begun anew.
        """
        gone: dict[int, float] = {}
        while self.rooms and not self.shut:
            await asyncio.sleep(min(WATCH_S, self.people.patience / 3))
            now = time.monotonic()
            for number, room in list(self.rooms.items()):
                if room.status in OVER:
                    del self.rooms[number]
                    gone.pop(number, None)
                    continue
                if not self._left_alone(room):
                    gone.pop(number, None)
                    continue
                since = gone.setdefault(number, now)
                if now - since > self.people.patience:
                    room.close("somebody was away for too long", final=True)
                    self.shelf(number).end()
                    self._shelves.pop(number)
                elif room.pace != "wait" and room.status == "playing" and now - since > GONE_S:
                    room.close("it goes on when everybody is here again")
                    self.put_aside[number] = since

    def _left_alone(self, room: Room) -> bool:
        """Whether the participant is gone, or somebody in the middle of a game."""
        me = self.people.participant
        missing = [s for s in room.seats.values() if s.person and s.line is None]
        return any(s.agent == me or room.status == "playing" for s in missing)

    def in_room(self, number: int) -> bool:
        """Whether a participant has a game open."""
        room = self.rooms.get(number)
        return room is not None and room.status not in OVER

    @property
    def playing(self) -> bool:
        """Whether a game is open."""
        return any(self.in_room(number) for number in self.rooms)

    def here(self, number: int) -> bool:
        """Whether a participant was heard of lately."""
        room = self.rooms.get(number)
        mine = room is not None and any(
            s.line is not None for s in room.seats.values() if s.agent == self.people.participant
        )
        return mine or time.monotonic() - self.seen.get(number, float("-inf")) < 15.0

    def end(self, session: Session) -> None:
        """A participant has left, or is told to have. On the event loop."""
        room = self.rooms.pop(session.number, None)
        if room is not None:
            room.close("the session has ended", final=True)
        self.shelf(session.number).end()
        self._shelves.pop(session.number)

    # -- the end -----------------------------------------------------------------------------------------
    def stop_rooms(self, why: str) -> None:
        """Put all games aside as they stand. On the event loop."""
        for room in self.rooms.values():
            room.close(why)

    def close(self) -> None:
        """Put the runs away; what is finished is in them, and what is not goes on from where it is. From any thread."""
        if self.shut:
            return
        _on(self.loop, lambda: self.stop_rooms("the server ended"))
        with self._turn:
            self.shut = True
        for stage, run in ((self.practice, self.practice_run), (self.stage, self.run)):
            if stage is not None:
                _close(stage)
            if run is not None:
                run.close()


def _on(loop: asyncio.AbstractEventLoop | None, work: Callable[[], None]) -> None:
    """Do this on the event loop of the rooms; nothing where that has ended, and all rooms with it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # another thread than that of the rooms
        if loop is not None and loop.is_running():
            done = threading.Event()
            loop.call_soon_threadsafe(work)
            loop.call_soon_threadsafe(done.set)
            done.wait(STOP_S)
        return
    work()


def _close(stage: Stage) -> None:
    """Close a stage from wherever this is called: its own loop must not be asked from inside another."""
    thread = threading.Thread(target=stage.close)
    thread.start()
    thread.join()
