"""Simulated participants of a study at the page: they play by scripts and answer by drawing, over the service functions."""

from __future__ import annotations

import asyncio
import json

import msgspec

from crossplay.kernel.seeds import key, pick
from crossplay.study.tables import result_of
from crossplay.study.verify import load_run
from crossplay.web.play import take_part as api
from crossplay.web.play.people import Inviting, invite_participants
from crossplay.web.play.rooms import hall
from crossplay.web.play.take_part import Coming, Doing, Sitting
from crossplay.web.play.tickets import panels

FILE = """
environments = ["matrix/stag_hunt"]
[study]
name = "hunt"
description = "Simulated participants."
margin = 0.25
root = 3
baseline = "me+nice"
[agents]
me = "person"
nice = "strategy:tit_for_tat"
nasty = "strategy:always_hare"
odd = "random"
[lineups]
"me+nice" = ["me", "nice"]
"me+nasty" = ["me", "nasty"]
"me+odd" = ["me", "odd"]
[controls]
ceiling = false
[people]
participants = 6
blocks = 2
title = "A hunt"
consent = "Your moves are recorded without your name."
instructions = "Hunt the stag together, or a hare alone."
practice = { seats = ["me", "odd"], blocks = 1 }
breaks = { every = 2, seconds = 0 }
patience = 60
[[people.questions]]
name = "fair"
ask = "It was fair."
[[people.questions]]
name = "again"
ask = "With whom again?"
kind = "choice"
choices = "partners"
when = "end"
[[people.questions]]
name = "words"
ask = "Anything else?"
kind = "text"
when = "end"
required = false
"""

SHORT = FILE.replace("blocks = 2", "blocks = 1").replace('practice = { seats = ["me", "odd"], blocks = 1 }\n', "")
"""The same without practice, and with one episode with each partner."""


def go(work):
    return asyncio.run(asyncio.wait_for(work, 100))


def ticket(session):
    return session.link.rpartition("#ticket=")[2]


def take_part(desk, name):
    return api.take_part(desk, Coming(name))


def do_step(desk, name, at, agree=None, answers=None):
    return api.do_step(desk, Doing(name, at, agree, answers or {}))


def seat_of_part(desk, name, at):
    return api.seat_of_part(desk, Sitting(name, at))


def leave_part(desk, name):
    return api.leave_part(desk, Coming(name))


class Simulated:
    """A participant who plays by a script and answers by drawing. shown: everything that the server said to them."""

    def __init__(self, desk, number, name):
        self.desk, self.number, self.ticket = desk, number, name
        self.shown, self.kinds = [], []

    async def whole(self, until=None):
        """Go on to the end, or until a step of that kind has been done so often: (kind, times)."""
        while True:
            part = await take_part(self.desk, self.ticket)
            self.shown.append(msgspec.to_builtins(part))
            if part.kind in ("thanks", "over"):
                return part
            await self.step(part)
            self.kinds.append(part.kind)
            if until and self.kinds.count(until[0]) == until[1]:
                return part

    async def step(self, part):
        if part.kind in ("practice", "play"):
            await self.play(part)
            return
        answers = {}
        for q in part.questions:
            n = len(q.labels) or len(q.choices)
            if n:
                answers[q.name] = 1 + pick(key("simulated", self.number, part.at, q.name), n)
        agree = True if part.kind == "consent" else None
        await do_step(self.desk, self.ticket, part.at, agree, answers)

    async def play(self, part, moves=None):
        """To the end of the game, or so many moves. The moves depend on tick and step alone."""
        given = await seat_of_part(self.desk, self.ticket, part.at)
        room = hall(self.desk).rooms[given.room]
        line = room.join(given.seat, given.token, ("data",))
        room.ready(given.seat)
        played = 0
        while messages := await line.next():
            for message in messages:
                told = json.loads(message)
                self.shown.append(told)
                if told["kind"] == "closed":
                    room.leave(line)
                    await asyncio.wait({room._task})
                    for panel in panels(self.desk).open.values():
                        await asyncio.gather(*panel.finishing)
                    return
                if told["kind"] == "state" and told["turn"]:
                    move = pick(key("move", self.number), 2, told["tick"], part.at)
                    room.answer(given.seat, told["turn"], ("stag", "hare")[move])
                    played += 1
                    if moves is not None and played == moves:
                        room.leave(line)
                        return


async def everybody(desk, numbers=6, **how):
    view = invite_participants(desk, "hunt.toml", Inviting(numbers))
    people = [Simulated(desk, s.number, ticket(s)) for s in view.sessions]
    await asyncio.gather(*(p.whole(**how) for p in people))
    return people


def result(folder):
    run, study = load_run(folder)
    with run:
        return result_of(run, study)
