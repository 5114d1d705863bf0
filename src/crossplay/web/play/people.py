"""Experiments with people over REST, as the owner of the server sees them: links, who is where, who left, what was answered."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec

from crossplay.kernel import CrossplayError
from crossplay.kernel.seeds import key
from crossplay.records.cassette import Cassette
from crossplay.study.people import order_of, partners, partners_beside
from crossplay.study.runner import run_study
from crossplay.study.sessions import (
    Asked,
    Attendance,
    Session,
    Sessions,
    Status,
    asked_of,
    attendance_of,
    kept_in,
    name_of,
    worlds_of_all,
)
from crossplay.study.spec import Study, load_study, parse_study
from crossplay.study.stage import Stage
from crossplay.study.verify import load_run
from crossplay.study.withdraw import withdraw
from crossplay.web.api import Route
from crossplay.web.desk import Conflict, Desk, NotFound
from crossplay.web.play.panel import Panel
from crossplay.web.play.tickets import Panels, link_of, panels

__all__ = ["ROUTES"]

WORDS = {
    "consent": "reads the consent",
    "instructions": "reads the instructions",
    "practice": "practises",
    "play": "plays",
    "questions": "answers questions",
    "break": "has a break",
    "thanks": "has finished",
}


# -- what the owner sees -------------------------------------------------------------------------------------
class PeopleStudy(msgspec.Struct):
    """A study with people. name: for addresses. run: its run, "" where there is none yet. wanted, complete: sessions.
    problem: why it cannot be read, or "".
    """

    name: str
    title: str
    run: str
    wanted: int
    complete: int
    open: bool
    problem: str = ""


class PeopleStudies(msgspec.Struct):
    """All studies with people in the served folder."""

    studies: list[PeopleStudy]


class SessionView(msgspec.Struct):
    """A participant. status: see `crossplay.study.sessions.Session`. doing: in words. done, steps: of their session.
    order: the partners as they meet them. episodes: finished ones that count. again: episodes that were begun anew after
    an interruption; resumed: how often one was gone on with. here: heard of in the last seconds. link: their way in, without
    the host. room: where they play now, to be watched (which is noted in the record).
    """

    participant: str
    number: int
    status: Status
    doing: str
    done: int
    steps: int
    order: list[str]
    episodes: int
    again: int
    here: bool
    link: str
    room: str = ""
    resumed: int = 0


class PartnerLink(msgspec.Struct):
    """A partner who is a person. agent: whom they play. here: in a game now. link: their way in, without the host."""

    agent: str
    here: bool
    link: str


class PeopleView(msgspec.Struct):
    """A study with people, as its owner sees it. run: the name of its run, once it is there. open: whether participants can
    come. attendance: who took part. rest, resting: episodes without people that are still to be played; whether they
    are being played now. invite: how many more participants can be invited. problem: why it cannot be opened, or "". beside: partners who are people. asked: what participants answered so far.
    """

    name: str
    title: str
    description: str
    run: str
    open: bool
    partners: list[str]
    environments: list[str]
    orders: list[list[str]]
    attendance: Attendance
    sessions: list[SessionView]
    rest: int
    resting: bool
    invite: int
    problem: str = ""
    beside: list[PartnerLink] = []
    asked: list[Asked] = []


class Inviting(msgspec.Struct, forbid_unknown_fields=True):
    """count: new participants."""

    count: Annotated[float, msgspec.Meta(ge=1, le=500, multiple_of=1)] = 1


class Resting:
    """Lineups without people, played by the server while no session is open."""

    def __init__(self, desk: Desk) -> None:
        self.going: dict[str, threading.Thread] = {}
        self.failed: dict[str, str] = {}


def _resting(desk: Desk) -> Resting:
    return desk.part("people-rest", Resting)


def people_studies(desk: Desk) -> PeopleStudies:
    """All studies with people: study files in the served folder, and runs."""
    here, found = panels(desk), []
    for name in here.names():
        try:
            study, run, folder = here.study_of(name)
        except CrossplayError as error:
            found.append(PeopleStudy(name, name.replace("~", " / "), "", 0, 0, False, str(error)[:500]))
            continue
        there = (folder / "manifest.sqlite").is_file()
        if there and name.endswith(".toml"):
            continue  # it stands there as a run
        complete = sum(s.status == "complete" for s in _sessions(here, study, run, there).all())
        assert study.people is not None
        title = study.people.title or study.name
        found.append(
            PeopleStudy(name, title, run if there else "", study.people.participants, complete, run in here.open)
        )
    return PeopleStudies(found)


def people_study(desk: Desk, study: str) -> PeopleView:
    """A study with people: who was invited, who is where, how far they are, who left; with the links of all sessions."""
    return _view(desk, study)


def open_sessions(desk: Desk, study: str) -> PeopleView:
    """Open a study for its participants: its run is made, or gone on with."""
    _free(desk, study)
    _same(panels(desk), study)
    panels(desk).panel(study, make=True)
    return _view(desk, study)


async def close_sessions(desk: Desk, study: str) -> PeopleView:
    """Close it, so that its run can be used by others. Links stay good: whoever opens one opens it again."""
    here = panels(desk)
    panel = await asyncio.to_thread(here.opened, study)
    if panel is not None:
        if panel.playing:
            raise Conflict("somebody is playing; wait until the game is over, or end the session")
        await here.put_away(panel)
    return await asyncio.to_thread(_view, desk, study)


def invite_participants(desk: Desk, study: str, body: Inviting) -> PeopleView:
    """Make new participants, each with a link; opens the study."""
    _free(desk, study)
    here = panels(desk)
    _same(here, study)
    panel = here.panel(study, make=True)
    try:
        for _ in range(int(body.count)):
            with panel.turn():
                panel.sessions.invite(panel.people.participants, secrets.token_hex(8))
    except CrossplayError as error:
        raise Conflict(str(error)) from error
    finally:
        here.learn(panel.name, panel.study, panel.sessions)
    return _view(desk, study)


async def end_session(desk: Desk, study: str, number: int) -> PeopleView:
    """End a session that will not be finished. What is finished stays in the tables, and its place is free again."""
    panel = await asyncio.to_thread(panels(desk).panel, study, True)
    session = panel.sessions.get(number)
    if session is None:
        raise NotFound(f"there is no participant {number}")

    def work() -> None:
        panel.finish(session)
        with panel.turn():
            if session.status not in ("invited", "going"):
                raise Conflict(f"{name_of(number)} is {session.status} already")
            panel.sessions.note(number, "left", {"by": "owner"})

    await asyncio.to_thread(work)
    panel.end(session)
    return await asyncio.to_thread(_view, desk, study)


async def withdraw_participant(desk: Desk, study: str, number: int) -> PeopleView:
    """Remove everything that is recorded of a participant who withdraws the consent: episodes, practice, answers, texts.

    The run is written anew without them; that there was such a participant, and how much was removed, stays. Their place in
    the orders is free again. This cannot be undone, and other copies of the run have to be treated likewise.
    """
    here = panels(desk)
    _free(desk, study)
    _, run, folder = await asyncio.to_thread(here.study_of, study)
    panel = await asyncio.to_thread(here.opened, study)
    if panel is not None:
        if any(panel.in_room(n) for n in panel.rooms if n != number):
            raise Conflict("somebody is playing; wait until nobody is")
        session = panel.sessions.get(number)
        if session is not None:
            panel.end(session)
        await here.put_away(panel)

    def work() -> None:
        with here.aside(run):
            if not (folder / "manifest.sqlite").is_file():
                raise NotFound("nobody has taken part yet")
            withdraw(folder, number)

    await asyncio.to_thread(work)
    return await asyncio.to_thread(_view, desk, study)


async def play_rest(desk: Desk, study: str) -> PeopleView:
    """Play the lineups without people (floor, ceiling, pairs of agents), while no session is open."""
    here, resting = panels(desk), _resting(desk)
    _free(desk, study)
    spec, run, folder = await asyncio.to_thread(here.study_of, study)
    panel = await asyncio.to_thread(here.opened, study)
    if panel is not None:
        busy = [name_of(s.number) for s in panel.sessions.all() if s.status == "going" and panel.here(s.number)]
        if busy or panel.playing:
            raise Conflict(f"somebody is in a session ({', '.join(busy) or 'playing'}); wait until nobody is")
        await here.put_away(panel)

    def work() -> None:
        try:
            stage = Stage(spec, folder)
            stage.check()
            run_study(stage, folder)
        except Exception as error:
            resting.failed[run] = str(error)[:300]

    resting.failed.pop(run, None)
    thread = resting.going[run] = threading.Thread(target=work, name=f"rest of {run}", daemon=True)
    thread.start()
    return await asyncio.to_thread(_view, desk, study)


def _free(desk: Desk, study: str) -> None:
    """Raise where the lineups without people are being played."""
    _, run, _ = panels(desk).study_of(study)
    thread = _resting(desk).going.get(run)
    if thread is not None and thread.is_alive():
        raise Conflict("the lineups without people are being played; wait until that is done")


def _sessions(here: Panels, study: Study, run: str, there: bool) -> Sessions:
    panel = here.open.get(run)
    if panel is not None:
        return panel.sessions
    if not there:
        return Sessions(Cassette(), study.root)
    folder, _ = load_run(here.desk.run_folder(run))
    with folder:
        return kept_in(folder, study)


def _same(here: Panels, name: str) -> None:
    """Raise where the study file is not what its run began with."""
    if changed := _changed(here, name, here.study_of(name)[2]):
        raise Conflict(changed)


def _changed(here: Panels, name: str, folder: Path) -> str:
    """What to say where a study file is not what its run began with; "" where it is, or where there is no run yet."""
    file, began = here.file_of(name), folder / "study.toml"
    if file is None or not began.is_file():
        return ""

    def look() -> str:
        known = parse_study(tomllib.loads(began.read_text("utf-8")), folder)
        try:
            now = Stage(load_study(file)).study
        except CrossplayError as error:
            return f"{file.name} was changed since its run began, and cannot be used now: {error}"
        if msgspec.structs.replace(now, budget=known.budget).digest() == known.digest():
            return ""
        return (
            f"{file.name} was changed since its run began. Those who were invited go on with what the run {folder.name} holds, "
            "and nobody else is invited; change the file back, or give it another name (study.name) to begin another run"
        )

    stamp = [(p.stat().st_size, p.stat().st_mtime_ns) for p in (file, began)]
    return here.desk.kept(("people file", name), stamp, look)


def _view(desk: Desk, name: str) -> PeopleView:
    here, resting = panels(desk), _resting(desk)
    study, run, folder = here.study_of(name)
    assert study.people is not None
    thread = resting.going.get(run)
    going = thread is not None and thread.is_alive()
    panel = here.open.get(run)
    there = (folder / "manifest.sqlite").is_file()
    problem = resting.failed.get(run, "") or _changed(here, name, folder)
    if there:
        study, _, _ = here.study_of(run)
    cells, rest = [], []
    if panel is not None:
        study, cells, rest = panel.study, panel.cells, panel.rest
    else:
        try:
            stage = Stage(study)
            study = stage.study
            mine = partners(study)
            cells, rest = [c for c in stage.cells if c.group in mine], [c for c in stage.cells if c.group not in mine]
        except CrossplayError as error:
            problem = str(error)
    kept = _sessions(here, study, run, there)
    sessions = kept.all()
    rest = worlds_of_all(study, rest, sessions)
    done = _done(here, run, panel, there)
    groups = {c.key: c.group for c in cells}
    attendance = attendance_of(study, sessions, ((groups[c], b) for c, b, _ in done if c in groups))
    people, met = study.people, partners(study)
    assert people is not None
    k = key("people", study.root)
    orders = [[met[i] for i in order_of(len(met), slot, people.order, k)] for slot in range(people.participants)]
    taken = sum(s.status in ("invited", "going", "complete") for s in sessions)
    return PeopleView(
        name=name,
        title=people.title or study.name,
        description=study.description,
        run=run if there else "",
        open=panel is not None,
        partners=met,
        environments=[e.name + (f", {e.clock}" if e.clock != "wait" else "") for e in study.environments.values()],
        orders=orders,
        attendance=attendance,
        sessions=[_session(here, run, panel, s, orders, attendance, done, groups) for s in sessions],
        rest=sum((c.key, b, r) not in done for c in rest for b in c.blocks for r in range(study.replicates)),
        resting=going,
        invite=max(0, people.participants - taken),
        problem=problem,
        beside=_beside(here, run, study, panel, kept),
        asked=asked_of(study, sessions),
    )


def _beside(here: Panels, run: str, study: Study, panel: Panel | None, kept: Sessions) -> list[PartnerLink]:
    if panel is None and not kept.all():
        return []  # their links are made when the study is opened
    found = []
    for agent in partners_beside(study):
        room = panel.beside.get(agent, (0, None))[1] if panel is not None else None
        there = room is not None and any(s.agent == agent and s.line is not None for s in room.seats.values())
        found.append(PartnerLink(agent, there, link_of(here.ticket_of_partner(run, agent, kept))))
    return found


def _done(here: Panels, run: str, panel: Panel | None, there: bool) -> set[Any]:
    if panel is not None:
        return set(panel.done)
    if not there:
        return set()
    folder, _ = load_run(here.desk.run_folder(run))
    with folder:
        return set(folder.done())


def _session(
    here: Panels,
    run: str,
    panel: Panel | None,
    s: Session,
    orders: list[list[str]],
    attendance: Attendance,
    done: set[Any],
    groups: dict[str, str],
) -> SessionView:
    at, steps = 0, 0
    doing: str = s.status
    if panel is not None and s.status != "withdrawn":
        with contextlib.suppress(Conflict):
            panel.finish(s)
        at, script = panel.at(s)
        steps = len(script) - 1
        step = script[at]
        place = f" with partner {step.place}" if step.place and step.kind in ("play", "questions") else ""
        doing = WORDS[step.kind] + place if s.status in ("going", "invited", "complete") else s.status
        if missing := panel.waits_for(s.number):
            doing += f", waits for {', '.join(missing)}"
    finished = attendance.incomplete.get(name_of(s.number), attendance.episodes if s.status == "complete" else 0)
    return SessionView(
        participant=name_of(s.number),
        number=s.number,
        status=s.status,
        doing=doing,
        done=at,
        steps=steps,
        order=orders[s.slot] if s.slot < len(orders) else [],
        episodes=finished,
        again=s.again,
        here=panel is not None and panel.here(s.number),
        link=link_of(here.ticket_of(run, s)),
        room=panel.rooms[s.number].name if panel is not None and panel.in_room(s.number) else "",
        resumed=s.resumed,
    )


ROUTES = [
    Route("GET", "/people", people_studies),
    Route("GET", "/people/{study}", people_study),
    Route("POST", "/people/{study}/open", open_sessions),
    Route("POST", "/people/{study}/close", close_sessions),
    Route("POST", "/people/{study}/invite", invite_participants),
    Route("POST", "/people/{study}/rest", play_rest),
    Route("POST", "/people/{study}/sessions/{number}/end", end_session),
    Route("POST", "/people/{study}/sessions/{number}/withdraw", withdraw_participant),
]
