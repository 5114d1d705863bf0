"""Who holds which ticket, and the open study (`Panel`) that it belongs to.

A ticket is 128 bits that only this server can make. It stands behind "#" in a link and is sent in the body of requests, so
that neither this server nor a proxy before it finds it in an address. The run holds what tells it from the ticket of the
same participant in another run of the same name (`Session.mark`), and nothing that lets somebody in.
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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from crossplay.kernel import CrossplayError
from crossplay.records.cassette import Cassette
from crossplay.study.people import partners_beside
from crossplay.study.sessions import Session, Sessions
from crossplay.study.spec import Study, load_study, parse_study
from crossplay.web.desk import Conflict, Desk, NotFound, TooMany
from crossplay.web.gate import trial
from crossplay.web.play.clock import Buckets
from crossplay.web.play.panel import Panel

__all__ = ["KEY", "Panels", "link_of", "panels"]

KEY = ".tickets.key"
"""What tickets are made with, in the served folder; no run holds it, so that runs can be given away."""
LARGEST = 1 << 20
"""Bytes of a study file that is looked into."""


def ticket_of(secret: bytes, run: str, who: str, mark: str = "") -> str:
    """128 bits that only this server can make."""
    text = "\0".join([run, who, mark] if mark else [run, who])
    digest = hmac.new(secret, text.encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest[:16]).decode().rstrip("=")


class Panels:
    """All panels of a server, opened by the owner, or by a participant who comes back after it was started again."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self.open: dict[str, Panel] = {}
        self.tickets: dict[str, tuple[str, int | str]] = {}
        self.knocks = Buckets(5.0, 60.0)
        self.looked: dict[str, Any] = {}  # run -> sizes and times of its files, when its tickets were learnt
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
            if not run or "~" in run or any(c in run for c in "/\\\0") or run.startswith(".") or run.endswith(".toml"):
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
            if path.stat().st_size > LARGEST:
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
        started anew. Wrong tickets count for the client that sends them, right ones for themselves alone: a class behind one
        address gets in, and somebody there who guesses keeps nobody out.
        """
        with self._lock:
            if ticket not in self.tickets:
                with trial(self.desk, "ticket", ticket):
                    self._look()
                    if ticket not in self.tickets:
                        raise NotFound("this link leads to no session; please ask whoever sent it to you")
            if not self.knocks.take(ticket):
                raise TooMany("too fast; wait a moment")
            run, number = self.tickets[ticket]
            try:
                panel = self.open.get(run) or self.panel(run, make=True)
            except CrossplayError as error:  # what is wrong names files, and partners
                raise Conflict(
                    "the study cannot be opened now; try again in a minute, and if that does not help, tell whoever sent you "
                    "the link"
                ) from error
            if isinstance(number, str):
                return panel, number
            session = panel.sessions.get(number)
            if session is None:
                raise NotFound("this link leads to no session (any more)")
            panel.seen[number] = time.monotonic()
            return panel, session

    def _look(self) -> None:
        """Learn the tickets of all sessions on disk that changed, at most once a second."""
        if time.monotonic() - self._looked < 1.0:
            return
        self._looked = time.monotonic()
        for run in self.desk.run_names():
            folder = self.desk.run_folder(run)
            file, stamp = folder / "cassette" / "cassette.sqlite", _stamp(folder)
            if run in self.open or self.looked.get(run) == stamp:
                continue
            if not file.is_file() or not self._has_people(folder / "study.toml"):
                self.looked[run] = stamp
                continue
            with contextlib.suppress(CrossplayError):  # what could not be read is looked at again
                study, _, _ = self.study_of(run)
                with Cassette(file, mode="strict") as cassette:
                    self.learn(run, study, Sessions(cassette, study.root))
                self.looked[run] = stamp
        for panel in self.open.values():
            self.learn(panel.name, panel.study, panel.sessions)

    def learn(self, run: str, study: Study, sessions: Sessions) -> None:
        """Remember the tickets of these sessions, and of partners who are people."""
        for agent in partners_beside(study):
            self.tickets[self.ticket_of_partner(run, agent, sessions)] = (run, agent)
        for session in sessions.all():
            self.tickets[self.ticket_of(run, session)] = (run, session.number)

    def ticket_of(self, run: str, session: Session) -> str:
        """The ticket of a participant."""
        return ticket_of(self.key, run, str(session.number), session.mark)

    def ticket_of_partner(self, run: str, agent: str, sessions: Sessions) -> str:
        """The ticket of a partner who is a person."""
        return ticket_of(self.key, run, f"partner {agent}", sessions.mark_of(agent))

    # -- the end -----------------------------------------------------------------------------------------
    async def put_away(self, panel: Panel) -> None:
        """Close a panel, so that others can use its run. On the event loop; whoever comes meanwhile waits, and opens it again."""
        panel.stop_rooms("the owner closed the sessions")
        await asyncio.to_thread(self._put_away, panel)

    def _put_away(self, panel: Panel) -> None:
        with self.aside(panel.name):
            pass

    @contextlib.contextmanager
    def aside(self, run: str) -> Iterator[None]:
        """While nobody has the run open, and whoever comes waits. Blocks: call it in a thread."""
        with self._lock:
            panel = self.open.pop(run, None)
            if panel is not None:
                panel.close()
            yield

    def close(self) -> None:
        """The server ends."""
        for panel in self.open.values():
            panel.close()
        self.open.clear()


def link_of(ticket: str) -> str:
    """The address for whoever holds a ticket, without the host."""
    return f"/take-part#ticket={ticket}"


def _stamp(folder: Path) -> Any:
    """Sizes and times of what tickets are learnt from."""
    found = []
    for name in ("study.toml", "cassette/cassette.sqlite", "cassette/cassette.log", "cassette/cassette.sqlite-wal"):
        with contextlib.suppress(OSError):
            at = (folder / name).stat()
            found.append((name, at.st_size, at.st_mtime_ns))
    return found


def panels(desk: Desk) -> Panels:
    """The panels of a desk."""
    return desk.part("people", Panels)
