"""Experiments with people over REST, as the owner of the server sees them: links, who is where, who left, what was answered."""

from __future__ import annotations

import asyncio
import threading
from typing import Annotated, Any, Literal

import msgspec

from crossplay.kernel import CrossplayError
from crossplay.kernel.seeds import key
from crossplay.study.people import is_person, order_of, partners
from crossplay.study.runner import run_study
from crossplay.study.sessions import Asked, Attendance, Session, asked_of, attendance_of, name_of, opened
from crossplay.study.spec import Study
from crossplay.study.stage import Stage
from crossplay.study.verify import load_run
from crossplay.web.api import Route
from crossplay.web.desk import Conflict, Desk, NotFound
from crossplay.web.play.panel import Panel, Panels, panels, partner_ticket, ticket_of

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
    """A study with people. name: for addresses. run: its run, "" where there is none yet. wanted, complete: sessions."""

    name: str
    title: str
    run: str
    wanted: int
    complete: int
    open: bool


class PeopleStudies(msgspec.Struct):
    """All studies with people in the served folder."""

    studies: list[PeopleStudy]


class SessionView(msgspec.Struct):
    """A participant. status: invited, declined, going, left, complete. doing: in words. done, steps: of their session.
    order: the partners as they meet them. episodes: finished ones that count. again: episodes that were begun anew after
    an interruption. here: heard of in the last seconds. link: their way in, without the host. room: where they play now, to be
    watched (which is noted in the record).
    """

    participant: str
    number: int
    status: Literal["invited", "declined", "going", "left", "complete"]
    doing: str
    done: int
    steps: int
    order: list[str]
    episodes: int
    again: int
    here: bool
    link: str
    room: str = ""


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
        except CrossplayError:
            continue  # its own page says what is wrong with it
        there = (folder / "manifest.sqlite").is_file()
        if there and name.endswith(".toml"):
            continue  # it stands there as a run
        complete = sum(s.status == "complete" for s in _sessions(here, study, run, there))
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
    panels(desk).panel(study, make=True)
    return _view(desk, study)


async def close_sessions(desk: Desk, study: str) -> PeopleView:
    """Close it, so that its run can be used by others. Links stay good: whoever opens one opens it again."""
    here = panels(desk)
    panel = await asyncio.to_thread(here.opened, study)
    if panel is not None:
        if panel.playing:
            raise Conflict("somebody is playing; wait until the game is over, or end the session")
        del here.open[panel.name]
        for number in list(panel.rooms):
            panel.rooms.pop(number).close("the owner closed the sessions", final=True)
        await asyncio.to_thread(panel.close)
    return await asyncio.to_thread(_view, desk, study)


def invite_participants(desk: Desk, study: str, body: Inviting) -> PeopleView:
    """Make new participants, each with a link; opens the study."""
    _free(desk, study)
    here = panels(desk)
    panel = here.panel(study, make=True)
    try:
        for _ in range(int(body.count)):
            here.learn(panel.name, panel.study, [panel.sessions.invite(panel.people.participants)])
    except CrossplayError as error:
        raise Conflict(str(error)) from error
    return _view(desk, study)


async def end_session(desk: Desk, study: str, number: int) -> PeopleView:
    """End a session that will not be finished. What is finished stays in the tables, and its place is free again."""
    panel = await asyncio.to_thread(panels(desk).panel, study, True)
    session = panel.sessions.get(number)
    if session is None:
        raise NotFound(f"there is no participant {number}")
    if session.status in ("complete", "left", "declined"):
        raise Conflict(f"{name_of(number)} is {session.status} already")
    await asyncio.to_thread(panel.sessions.note, number, "left", {"by": "owner"})
    panel.end(session)
    return await asyncio.to_thread(_view, desk, study)


def play_rest(desk: Desk, study: str) -> PeopleView:
    """Play the lineups without people (floor, ceiling, pairs of agents), while no session is open."""
    here, resting = panels(desk), _resting(desk)
    _free(desk, study)
    spec, run, folder = here.study_of(study)
    panel = here.opened(study)
    if panel is not None:
        if panel.playing:
            raise Conflict("somebody is playing; wait until nobody is")
        del here.open[run]
        panel.close()

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
    return _view(desk, study)


def _free(desk: Desk, study: str) -> None:
    """Raise where the lineups without people are being played."""
    _, run, _ = panels(desk).study_of(study)
    thread = _resting(desk).going.get(run)
    if thread is not None and thread.is_alive():
        raise Conflict("the lineups without people are being played; wait until that is done")


def _sessions(here: Panels, study: Study, run: str, there: bool) -> list[Session]:
    panel = here.open.get(run)
    if panel is not None:
        return panel.sessions.all()
    if not there:
        return []
    folder, _ = load_run(here.desk.run_folder(run))
    with folder:
        return opened(folder, study)


def _view(desk: Desk, name: str) -> PeopleView:
    here, resting = panels(desk), _resting(desk)
    study, run, folder = here.study_of(name)
    assert study.people is not None
    thread = resting.going.get(run)
    going = thread is not None and thread.is_alive()
    panel = here.open.get(run)
    there = (folder / "manifest.sqlite").is_file()
    problem = resting.failed.get(run, "")
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
    sessions = _sessions(here, study, run, there)
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
        beside=_beside(here, run, study, panel),
        asked=asked_of(study, sessions),
    )


def _beside(here: Panels, run: str, study: Study, panel: Panel | None) -> list[PartnerLink]:
    people, found = study.people, []
    for agent, spec in study.agents.items():
        if people is None or not is_person(spec) or agent == people.participant:
            continue
        room = panel.beside.get(agent, (0, None))[1] if panel is not None else None
        there = room is not None and any(s.agent == agent and s.line is not None for s in room.seats.values())
        found.append(PartnerLink(agent, there, f"/take-part/{partner_ticket(here.key, run, agent)}"))
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
    if panel is not None:
        at, script = panel.at(s)
        steps = len(script) - 1
        step = script[at]
        place = f" with partner {step.place}" if step.place and step.kind in ("play", "questions") else ""
        doing = WORDS[step.kind] + place if s.status in ("going", "invited", "complete") else s.status
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
        link=f"/take-part/{ticket_of(here.key, run, str(s.number))}",
        room=panel.rooms[s.number].name if panel is not None and panel.in_room(s.number) else "",
    )


ROUTES = [
    Route("GET", "/people", people_studies),
    Route("GET", "/people/{study}", people_study),
    Route("POST", "/people/{study}/open", open_sessions),
    Route("POST", "/people/{study}/close", close_sessions),
    Route("POST", "/people/{study}/invite", invite_participants),
    Route("POST", "/people/{study}/rest", play_rest),
    Route("POST", "/people/{study}/sessions/{number}/end", end_session),
]
