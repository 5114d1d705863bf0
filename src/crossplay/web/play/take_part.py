"""A participant's session over REST: what comes next, and what they did. All that is needed is the ticket in the link.

The ticket stands behind "#" in the link and in the body of every request here, never in an address, so that no log holds it.
What a participant is told never names a partner, a lineup or the study: steps are numbers, partners are places.
"""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any, Literal

import msgspec

from crossplay.kernel import CrossplayError
from crossplay.study.people import Ask, Step, partners, read_answers
from crossplay.study.sessions import Session
from crossplay.web.api import Route
from crossplay.web.desk import Conflict, Desk, TooMany
from crossplay.web.gate import vouch
from crossplay.web.play.panel import Panel
from crossplay.web.play.room import Room
from crossplay.web.play.rooms import link_of
from crossplay.web.play.tickets import panels

__all__ = ["ROUTES"]


class Question(msgspec.Struct):
    """A question. labels: of a likert question, lowest first, answered with its number from 1; choices: what can be chosen
    (of partners: answered with the number). low, high: of a number.
    """

    name: str
    ask: str
    kind: Literal["likert", "number", "choice", "partner", "text"]
    required: bool
    labels: list[str] = []
    choices: list[str] = []
    low: float | None = None
    high: float | None = None


class Part(msgspec.Struct):
    """Where a participant is. kind: what to do now; "over" when the session has ended; "waiting": a partner who is a person, until
    a participant needs them (they have no steps: steps = 0). at, steps: how far. text: to be read.
    partner, partners: which partner it is; game, games: which episode with this one. open: whether that game is open now; where
    it was and is not, it was cut off, and its seat is to be asked for again. seconds: that a break lasts at least, from now.
    leave: whether the session can be ended here.
    """

    title: str
    kind: Literal["consent", "instructions", "practice", "play", "questions", "break", "thanks", "over", "waiting"]
    at: int
    steps: int
    text: str = ""
    partner: int = 0
    partners: int = 0
    game: int = 0
    games: int = 0
    open: bool = False
    questions: list[Question] = []
    seconds: int = 0
    leave: bool = True


Ticket = Annotated[str, msgspec.Meta(max_length=64)]


class Coming(msgspec.Struct, forbid_unknown_fields=True):
    """Who asks. ticket: what stands behind "#" in the link."""

    ticket: Ticket


class Sitting(msgspec.Struct, forbid_unknown_fields=True):
    """ticket: who asks. at: the step that is meant."""

    ticket: Ticket
    at: Annotated[float, msgspec.Meta(ge=0, le=1e6, multiple_of=1)]


class Doing(msgspec.Struct, forbid_unknown_fields=True):
    """What a participant did. ticket: who. at: the step that is meant; another one than is due changes nothing. agree: to the
    consent. answers: by the names of the questions.
    """

    ticket: Ticket
    at: Annotated[float, msgspec.Meta(ge=0, le=1e6, multiple_of=1)]
    agree: bool | None = None
    answers: dict[str, Any] = {}


class SeatGiven(msgspec.Struct):
    """A way into the game that is due. link: of the play page, without the host."""

    room: str
    seat: str
    token: str
    link: str


async def take_part(desk: Desk, body: Coming) -> Part:
    """Where the session of this ticket is, and what comes next."""
    panel, who = await asyncio.to_thread(panels(desk).guest, body.ticket)
    return _partner(panel, who) if isinstance(who, str) else await asyncio.to_thread(_part, panel, who)


async def do_step(desk: Desk, body: Doing) -> Part:
    """Do what is due: agree, go on, answer. Answers with what comes next."""

    def work() -> Part:
        panel, session = panels(desk).guest(body.ticket)
        if isinstance(session, str):
            return _partner_agrees(panel, session, body.agree)
        with panel.turn():
            at, script = panel.at(session)
            if body.at == at and session.status in ("invited", "going"):
                _do(panel, session, script[at], body)
        return _part(panel, session)

    return await asyncio.to_thread(work)


async def seat_of_part(desk: Desk, body: Sitting) -> SeatGiven:
    """The seat in the game that is due: a new link, the one before is worth nothing from now on."""
    panel, session = await asyncio.to_thread(panels(desk).guest, body.ticket)
    if isinstance(session, str):
        return _seat_beside(desk, panel, session)
    at, script = await asyncio.to_thread(panel.at, session)
    step = script[at]
    if session.status != "going" or body.at != at or step.kind not in ("play", "practice"):
        raise Conflict("no game is due now")
    try:
        room, seat = await panel.play(session, step)
    except Conflict:
        raise
    except TooMany as error:
        raise TooMany("too many games are being played now; try again in a minute") from error
    except CrossplayError as error:  # what is wrong may name partners
        raise Conflict("the game cannot be opened now; please tell whoever sent you the link") from error
    return _seat(desk, room, seat)


async def leave_part(desk: Desk, body: Coming) -> Part:
    """End the session here, for good. What is finished is kept."""
    panel, session = await asyncio.to_thread(panels(desk).session, body.ticket)

    def work() -> None:
        panel.finish(session)
        with panel.turn():
            if session.status in ("invited", "going"):
                panel.sessions.note(session.number, "left", {"by": "participant"})

    await asyncio.to_thread(work)
    panel.end(session)
    return await asyncio.to_thread(_part, panel, session)


def _partner(panel: Panel, agent: str) -> Part:
    """Where a partner is who is a person."""
    title, people = panel.people.title or "Study", panel.people
    if not panel.sessions.agreed(agent):
        return Part(title, "consent", 0, 0, people.consent, leave=False)
    count, room = panel.room_beside(agent)
    if room is None:
        return Part(title, "waiting", 2 * count + 1, 0, "You are called when somebody needs a partner.", leave=False)
    return Part(title, "play", 2 * count, 0, people.instructions, open=True, leave=False)


def _partner_agrees(panel: Panel, agent: str, agree: bool | None) -> Part:
    """What a partner says to the consent. Of somebody who does not agree nothing is kept, not even that."""
    if agree and not panel.sessions.agreed(agent):
        panel.sessions.agree(agent, panel.people.consent)
    if agree is False and not panel.sessions.agreed(agent):
        text = "You did not agree, so you play no game, and nothing is recorded. You can close this page."
        return Part(panel.people.title or "Study", "over", 0, 0, text, leave=False)
    return _partner(panel, agent)


def _seat_beside(desk: Desk, panel: Panel, agent: str) -> SeatGiven:
    _, room = panel.room_beside(agent)
    if room is None or not panel.sessions.agreed(agent):
        raise Conflict("nobody needs a partner now")
    return _seat(desk, room, next(s for s, one in room.seats.items() if one.agent == agent))


def _seat(desk: Desk, room: Room, seat: str) -> SeatGiven:
    """A new link for a seat, for somebody whose ticket is right."""
    token = room.invite(seat)
    vouch(desk, room.name, seat, token)
    return SeatGiven(room.name, seat, token, link_of(room.name, seat, token))


def _do(panel: Panel, session: Session, step: Step, body: Doing) -> None:
    people, note = panel.people, panel.sessions.note
    if step.kind == "consent":
        if body.agree is None:
            raise CrossplayError("say whether you agree")
        note(session.number, step.name, {"agree": body.agree}, people.consent)
    elif step.kind == "questions":
        asked = people.asked("partner" if step.partner else "end")
        answers = read_answers(asked, body.answers, panel.met(session))
        note(session.number, step.name, answers, [q.ask for q in asked])
    elif step.kind == "break":
        left = _break_left(panel, session, step)
        if left > 0:
            raise Conflict(f"the break lasts {left} more seconds")
        note(session.number, step.name, {})
    elif step.kind == "instructions":
        note(session.number, step.name, {}, people.instructions)
    else:
        raise Conflict("play the game; the session goes on when it is over")


def _break_left(panel: Panel, session: Session, step: Step) -> int:
    """Whole seconds that a break has to last still, from when it was first shown."""
    began = panel.breaks.setdefault((session.number, step.name), time.monotonic())
    return max(0, round(began + panel.people.breaks.seconds - time.monotonic()))


AGAIN = "Your game was cut off. It goes on where it was."
GONE = {
    "left": "Your session has ended. You can close this page.",
    "unused": "Your session has ended. You can close this page.",
    "declined": "You did not agree, so nothing is recorded of what you would do. You can close this page.",
    "withdrawn": "Your session has ended, and what was recorded of it was removed. You can close this page.",
}


def _part(panel: Panel, session: Session) -> Part:
    people = panel.people
    title = people.title or "Study"
    panel.finish(session)
    at, script = panel.at(session)
    step = script[at]
    part = Part(title, step.kind, at, len(script) - 1, partners=len(partners(panel.study)))  # type: ignore[arg-type]
    if session.status in GONE:
        part.kind, part.text, part.leave = "over", GONE[session.status], False
        return part
    if step.kind in ("play", "practice"):
        part.open = panel.room_of(session.number, step) is not None
    part.partner, part.game, part.games = step.place, step.part, step.of
    match step.kind:
        case "consent":
            part.text = people.consent
        case "instructions":
            part.text = people.instructions
        case "practice":
            mine = [s for s in script if s.kind == "practice"]
            part.game, part.games = mine.index(step) + 1, len(mine)
            part.text = "This game is for practice and does not count."
            if panel.goes_on(session.number):
                part.text += "\n\n" + AGAIN
        case "play":
            part.text = AGAIN if panel.goes_on(session.number) else ""
        case "break":
            part.text = people.breaks.text or "Take a break. Go on when you are ready."
            part.seconds = _break_left(panel, session, step)
        case "questions":
            asked = people.asked("partner" if step.partner else "end")
            part.questions = [_question(q, len(panel.met(session))) for q in asked]
        case "thanks":
            part.text, part.leave = people.thanks or "Thank you for taking part. You can close this page.", False
    return part


def _question(q: Ask, met: int) -> Question:
    if q.kind == "choice" and isinstance(q.choices, str):
        return Question(q.name, q.ask, "partner", q.required, choices=[f"Partner {k}" for k in range(1, met + 1)])
    return Question(q.name, q.ask, q.kind, q.required, list(q.labels), list(q.choices), q.low, q.high)


ROUTES = [
    Route("POST", "/take-part", take_part, "guest"),
    Route("POST", "/take-part/step", do_step, "guest"),
    Route("POST", "/take-part/seat", seat_of_part, "guest"),
    Route("POST", "/take-part/leave", leave_part, "guest"),
]
