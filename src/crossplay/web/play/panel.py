"""`Panel`: an open study with people: its run, its sessions, the rooms in which participants play.

One panel per run, held by `Panels`; participants come with a ticket, a number nobody can guess. All that a participant does is
a step of their session (`study.people.steps`), kept before the next one is shown, so that a reload or a
server that starts again goes on where they were. An episode that was cut off is begun anew, and counted.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import os
import secrets
import threading
import time
import tomllib
from pathlib import Path
from typing import Any

from crossplay.kernel import Block, CrossplayError
from crossplay.kernel.seeds import key
from crossplay.records import EpisodeRecord, RunFolder
from crossplay.records.cassette import Cassette
from crossplay.study.people import People, Step, is_person, order_of, partners, people_of, practice_study, steps
from crossplay.study.runner import open_run
from crossplay.study.sessions import Session, Sessions, name_of
from crossplay.study.spec import Study, load_study, parse_study
from crossplay.study.stage import Stage
from crossplay.web.desk import Conflict, Desk, NotFound, TooMany
from crossplay.web.play.clock import Buckets
from crossplay.web.play.record import Game, Play, RoomSpec
from crossplay.web.play.room import Room
from crossplay.web.play.rooms import hall

__all__ = ["Panel", "Panels", "panels"]

KEY = ".tickets.key"
"""What tickets are made with, in the served folder; no run holds it, so that runs can be given away."""
WATCH_S = 2.0
"""Seconds between two looks at who is there."""
PRACTICE = "practice"
"""The folder below a run that holds the practice episodes."""


class Panel:
    """An open study with people. name: of its run. rooms: number of a participant -> the room they play in now."""

    def __init__(self, desk: Desk, name: str, study: Study, folder: Path) -> None:
        """Opens the run for writing, or makes it; raises `CrossplayError` that says what is wrong with the study."""
        self.desk, self.name, self.folder = desk, name, folder
        self.stage = Stage(study, folder)
        try:
            self.stage.check()
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
        self.shut = False
        self._lock = threading.RLock()
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

    # -- rooms -------------------------------------------------------------------------------------------
    def room_of(self, number: int, step: Step) -> Room | None:
        """The open room of a participant, if it is that of this step."""
        room = self.rooms.get(number)
        if room is None or room.status in ("over", "stopped"):
            return None
        plays = room.game.plays
        return room if plays and (plays[0].cell.key, plays[0].at.block) == (step.cell, step.block) else None

    @property
    def people_beside(self) -> list[str]:
        """The agents that are people and not the participant."""
        mine = {s for c in self.cells for s in c.seats}
        return [n for n, a in self.study.agents.items() if is_person(a) and n in mine and n != self.people.participant]

    def room_beside(self, agent: str) -> tuple[int, Room | None]:
        """(how many games this partner has been called to, the one they are called to now, if any)."""
        count, room = self.beside.get(agent, (0, None))
        if room is not None and room.status not in ("over", "stopped"):
            return count, room
        for one in self.rooms.values():
            wanted = any(s.agent == agent and s.line is None for s in one.seats.values())
            if wanted and one.status not in ("over", "stopped") and one is not room:
                self.beside[agent] = (count + 1, one)
                return self.beside[agent]
        return count, None

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
        begun = 1 + sum(name.startswith(f"begun/{step.name}/") for name in session.answers)
        await asyncio.to_thread(self.sessions.note, session.number, f"begun/{step.name}/{begun}", {})
        extra = {"participant": name_of(session.number), "place": step.place, "begun": begun}
        if practice:
            extra = {"participant": name_of(session.number), "practice": True}
        tried = run.attempts().get((cell.key, step.block, 0), 0)
        play = Play(cell, Block(stage.study.root, step.block, 0), tried, extra)
        env = self.study.environments[cell.env]
        spec = RoomSpec(environment=env.name, clock=env.clock, title=self.people.title or "Play", blind=True)

        def recorded(record: EpisodeRecord) -> None:
            done = self.practice_done if practice else self.done
            done.add(record.place)

        room = Room(secrets.token_hex(8), Game(stage, run, [play], own=False), spec, keep=False, on_record=recorded)
        self.rooms[session.number] = here.add(room)
        if self._watching is None or self._watching.done():
            self._watching = asyncio.get_running_loop().create_task(self._watch())
        return room

    async def _watch(self) -> None:
        """Close rooms whose participant has been gone for too long; they begin the episode anew when they come back."""
        gone: dict[int, float] = {}
        while self.rooms and not self.shut:
            await asyncio.sleep(min(WATCH_S, self.people.patience / 3))
            now = time.monotonic()
            for number, room in list(self.rooms.items()):
                if room.status in ("over", "stopped"):
                    del self.rooms[number]
                    gone.pop(number, None)
                    continue
                if not self._left_alone(room):
                    gone.pop(number, None)
                elif now - gone.setdefault(number, now) > self.people.patience:
                    room.close("nobody was there for too long", final=True)

    def _left_alone(self, room: Room) -> bool:
        """Whether the participant is gone, or somebody in the middle of a game."""
        me = self.people.participant
        missing = [s for s in room.seats.values() if s.person and s.line is None]
        return any(s.agent == me or room.status == "playing" for s in missing)

    def in_room(self, number: int) -> bool:
        """Whether a participant has a game open."""
        room = self.rooms.get(number)
        return room is not None and room.status not in ("over", "stopped")

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

    # -- the end -----------------------------------------------------------------------------------------
    def close(self) -> None:
        """Put the runs away; what is finished is in them."""
        if self.shut:
            return
        self.shut = True
        for room in self.rooms.values():
            with contextlib.suppress(RuntimeError):  # no event loop any more: nothing plays
                room.close("the server ended", final=True)
        for stage, run in ((self.practice, self.practice_run), (self.stage, self.run)):
            if stage is not None:
                _close(stage)
            if run is not None:
                run.close()


def _close(stage: Stage) -> None:
    """Close a stage from wherever this is called: its own loop must not be asked from inside another."""
    thread = threading.Thread(target=stage.close)
    thread.start()
    thread.join()


def ticket_of(secret: bytes, run: str, who: str) -> str:
    """128 bits that only this server can make."""
    digest = hmac.new(secret, f"{run}\0{who}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")


def partner_ticket(secret: bytes, run: str, agent: str) -> str:
    """The ticket of a person who is a partner."""
    return ticket_of(secret, run, f"partner {agent}")


class Panels:
    """All panels of a server, opened by the owner, or by a participant who comes back after it was started again."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.open: dict[str, Panel] = {}
        self.tickets: dict[str, tuple[str, int | str]] = {}
        self.knocks = Buckets(5.0, 60.0)
        self.wrong = Buckets(1.0, 30.0)
        self._lock = threading.RLock()
        self._looked = float("-inf")
        self._key: bytes | None = None
        desk.closing.append(self.close)

    @property
    def key(self) -> bytes:
        """What tickets are made with; made once, readable by nobody else."""
        with self._lock:
            if (self.desk.root / "manifest.sqlite").is_file():
                raise Conflict("one run is served here; serve the folder above it to have people take part")
            if self._key is None:
                path = self.desk.root / KEY
                with contextlib.suppress(FileExistsError):
                    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                    with os.fdopen(handle, "wb") as file:
                        file.write(secrets.token_bytes(32))
                self._key = path.read_bytes()
                if len(self._key) != 32:
                    raise CrossplayError(f"{path}: not a key of this server; remove it, and make new links")
            return self._key

    # -- studies -----------------------------------------------------------------------------------------
    def file_of(self, name: str) -> Path | None:
        """The study file of that name below the served folder ("~" between parts), or None. `NotFound` for ways out of it."""
        if not name.endswith(".toml") or "\0" in name:
            return None
        try:
            path = self.desk.root.joinpath(*name.split("~")).resolve()
            if self.desk.root in path.parents and path.is_file():
                return path
        except (OSError, ValueError):
            pass  # a name that no file can have
        raise NotFound(f'there is no study "{name[:80]!a}"')

    def study_of(self, name: str) -> tuple[Study, str, Path]:
        """(study with people, name of its run, folder of its run) of a study file or a run; the run may not be there yet."""
        file = self.file_of(name)
        if file is not None:
            study = load_study(file)
            run = study.name
            if not run or "~" in run or any(c in run for c in "/\\\0") or run.startswith("."):
                raise CrossplayError(f'study.name = "{run}": its run is a folder of that name; give it a simpler one')
            folder = self.desk.root / run
        else:
            folder = self.desk.run_folder(name)
            study, run = parse_study(tomllib.loads((folder / "study.toml").read_text("utf-8")), folder), name
        if study.people is None:
            raise NotFound(f'"{name[:80]}" is a study without people (it has no table [people])')
        return study, run, folder

    def names(self) -> list[str]:
        """Study files and runs with people, as they are named in addresses; files whose run is there stand once, as the run."""
        runs = [r for r in self.desk.run_names() if self._has_people(self.desk.run_folder(r) / "study.toml")]
        files = []
        for path in sorted([*self.desk.root.glob("*.toml"), *self.desk.root.glob("*/*.toml")]):
            beside = (path.parent / "manifest.sqlite").exists()
            if not beside and self._has_people(path):
                files.append("~".join(path.relative_to(self.desk.root).parts))
        return [*runs, *files]

    def _has_people(self, path: Path) -> bool:
        try:
            if path.stat().st_size > 1 << 20:
                return False
            return "people" in tomllib.loads(path.read_text("utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            return False

    def panel(self, name: str, make: bool = False) -> Panel:
        """The open panel of a study; with `make` it is opened. Blocks: call it in a thread."""
        with self._lock:
            study, run, folder = self.study_of(name)
            if run not in self.open:
                if not make:
                    raise Conflict("these sessions are not open; open them first")
                self.open[run] = Panel(self.desk, run, study, folder)
            return self.open[run]

    def opened(self, name: str) -> Panel | None:
        """The panel of a study where it is open."""
        _, run, _ = self.study_of(name)
        return self.open.get(run)

    # -- participants ------------------------------------------------------------------------------------
    def session(self, ticket: str) -> tuple[Panel, Session]:
        """The session of a participant's ticket. `NotFound`, `TooMany`."""
        panel, who = self.guest(ticket)
        if isinstance(who, str):
            raise NotFound("this is the link of a partner, who has no session")
        return panel, who

    def guest(self, ticket: str) -> tuple[Panel, Session | str]:
        """Whose ticket it is: a participant's session, or the agent whom a partner plays. Opens the panel where the server was
        started anew.
        """
        if not self.knocks.take(ticket[:40]):
            raise TooMany("too fast; wait a moment")
        with self._lock:
            if ticket not in self.tickets:
                if not self.wrong.take("all"):
                    raise TooMany("too many wrong links; wait a minute")
                self._look()
            if ticket not in self.tickets:
                raise NotFound("this link leads to no session; please ask whoever sent it to you")
            run, number = self.tickets[ticket]
            try:
                panel = self.panel(run, make=True)
            except CrossplayError as error:  # what is wrong names files, and partners
                raise Conflict("the study cannot be opened now; please tell whoever sent you the link") from error
            if isinstance(number, str):
                return panel, number
            session = panel.sessions.get(number)
            if session is None:
                raise NotFound("this link leads to no session (any more)")
            panel.seen[number] = time.monotonic()
            return panel, session

    def _look(self) -> None:
        """Learn the tickets of all sessions on disk, at most once a second."""
        if time.monotonic() - self._looked < 1.0:
            return
        self._looked = time.monotonic()
        for run in self.desk.run_names():
            folder = self.desk.run_folder(run)
            if run in self.open or not self._has_people(folder / "study.toml"):
                continue
            with contextlib.suppress(CrossplayError):
                study, _, _ = self.study_of(run)
                file = folder / "cassette" / "cassette.sqlite"
                if file.is_file():
                    with Cassette(file, mode="strict") as cassette:
                        self.learn(run, study, Sessions(cassette, study.root).all())
        for panel in self.open.values():
            self.learn(panel.name, panel.study, panel.sessions.all())

    def learn(self, run: str, study: Study, sessions: list[Session]) -> None:
        """Remember the tickets of these sessions, and of partners who are people."""
        for agent, spec in study.agents.items():
            if is_person(spec) and study.people is not None and agent != study.people.participant:
                self.tickets[partner_ticket(self.key, run, agent)] = (run, agent)
        for session in sessions:
            self.tickets[ticket_of(self.key, run, str(session.number))] = (run, session.number)

    def close(self) -> None:
        """The server ends."""
        for panel in self.open.values():
            panel.close()
        self.open.clear()


def panels(desk: Desk) -> Panels:
    """The panels of a desk."""
    return desk.part("people", Panels)
