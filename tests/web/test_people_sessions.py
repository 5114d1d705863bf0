"""Sessions of participants: from the link to the thanks, over the service functions. The participants here are simulated.

They play by scripts and answer by drawing; what the tables say of them is compared with scipy over participants.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from scipy import stats
from starlette.testclient import TestClient

from crossplay.kernel import CrossplayError
from crossplay.kernel.seeds import key, pick
from crossplay.records import RunFolder, check_seals
from crossplay.study.spec import load_study
from crossplay.study.tables import result_of
from crossplay.study.verify import load_run, verify
from crossplay.web.app import make_app
from crossplay.web.desk import Conflict, Desk, NotFound
from crossplay.web.play.panel import KEY
from crossplay.web.play.people import (
    Inviting,
    close_sessions,
    end_session,
    invite_participants,
    open_sessions,
    people_studies,
    people_study,
    play_rest,
)
from crossplay.web.play.rooms import hall
from crossplay.web.play.take_part import Doing, do_step, leave_part, seat_of_part, take_part

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


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "hunt.toml").write_text(FILE)
    return tmp_path


def go(work):
    return asyncio.run(asyncio.wait_for(work, 100))


def ticket(session):
    return session.link.rpartition("/")[2]


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
        await do_step(self.desk, self.ticket, Doing(part.at, agree, answers))

    async def play(self, part, moves=None):
        given = await seat_of_part(self.desk, self.ticket, Doing(part.at))
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


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole study: six simulated participants at once, and the lineups without people."""
    root = tmp_path_factory.mktemp("people")
    (root / "hunt.toml").write_text(FILE)
    desk = Desk(root)
    people = go(everybody(desk))
    play_rest(desk, "hunt.toml")
    for thread in desk.parts["people-rest"].going.values():
        thread.join()
    view = people_study(desk, "hunt.toml")
    desk.close()
    return root / "hunt", people, view


def result(folder):
    run, study = load_run(folder)
    with run:
        return result_of(run, study)


def test_six_simulated_participants_give_the_paired_t_of_scipy(finished):
    folder, _, view = finished
    found = result(folder)
    with RunFolder.open(folder) as run:
        records = [r for r in run.records() if "participant" in r.extra]
    values = {}
    for r in records:
        values.setdefault(r.lineup, {}).setdefault(r.extra["participant"], []).append(_metric(r, found.metric))
    assert all(sorted(by) == [f"p0{n}" for n in range(1, 7)] for by in values.values())
    assert all(len(v) == 2 for by in values.values() for v in by.values())
    for row in found.rows:
        if row.lineup not in ("me+nasty", "me+odd"):
            continue
        mine, base = ([np.mean(values[c][p]) for p in sorted(values[c])] for c in (row.lineup, "me+nice"))
        test = stats.ttest_rel(mine, base)
        assert row.comparison.units == 6
        assert row.comparison.difference == pytest.approx(np.mean(mine) - np.mean(base))
        assert row.comparison.p == pytest.approx(test.pvalue, rel=1e-9)
        assert row.comparison.interval.low == pytest.approx(test.confidence_interval(0.95).low, rel=1e-9)
    fair = next(q for q in found.asked if q.name == "fair")
    assert [r.answers for r in fair.rows] == [6, 6, 6]
    assert sum(next(q for q in found.asked if q.name == "again").rows[0].counts.values()) == 6
    assert "6 of 6 participants took part: 6 complete" in found.notes
    assert found.episodes == found.planned == 36 + 12
    assert {s.status for s in view.sessions} == {"complete"}
    assert (view.rest, view.invite, view.attendance.complete) == (0, 0, 6)


def _metric(record, metric):
    names = [n for n in record.score if n == metric or n.startswith(metric)]
    return record.score[names[0]] if names else record.totals[0]


def test_the_run_verifies_and_practice_is_a_run_of_its_own(finished):
    folder, _, _ = finished
    assert verify(folder, "agents").ok
    assert check_seals(folder / "practice") == []
    with RunFolder.open(folder / "practice") as practice, RunFolder.open(folder) as run:
        assert len(practice.records()) == 6
        assert all(r.extra["practice"] for r in practice.records())
        assert not any(r.extra.get("practice") for r in run.records())
    assert verify(folder / "practice").ok


def test_every_participant_met_all_partners_in_balanced_orders(finished):
    folder, people, view = finished
    assert sorted(tuple(s.order) for s in view.sessions) == sorted({tuple(o) for o in view.orders})
    with RunFolder.open(folder) as run:
        played = {}
        for r in sorted(run.records(), key=lambda r: r.extra.get("place", 0)):
            if "participant" in r.extra:
                played.setdefault(r.extra["participant"], []).append(r.lineup)
    for s in view.sessions:
        assert played[s.participant] == [lineup for lineup in s.order for _ in range(2)]
    for p in people:
        assert p.kinds == [
            *("consent", "instructions", "practice"),
            *("play", "play", "questions", "play", "play", "questions", "break", "play", "play", "questions"),
            "questions",
        ]


def test_participants_are_told_nothing_of_who_their_partners_are(finished):
    _, people, _ = finished
    for person in people:
        said = json.dumps([m for m in person.shown if m.get("kind") != "state"])
        for word in ("nice", "nasty", "odd", "strategy", "tit_for_tat", "me+", '"hunt"'):
            assert word not in said, word


def test_nothing_in_the_run_says_who_or_lets_somebody_in(finished):
    folder, people, _ = finished
    everything = b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())
    for person in people:
        assert person.ticket.encode() not in everything
    assert (folder.parent / KEY).stat().st_mode & 0o077 == 0
    assert (folder.parent / KEY).read_bytes() not in everything
    assert b"127.0.0.1" not in everything


def test_somebody_who_leaves_is_counted_and_their_place_is_free_again(folder):
    desk = Desk(folder)

    async def work():
        view = invite_participants(desk, "hunt.toml", Inviting(6))
        with pytest.raises(Conflict, match="all 6 places are taken"):
            invite_participants(desk, "hunt.toml", Inviting(1))
        first, second = (Simulated(desk, s.number, ticket(s)) for s in view.sessions[:2])
        await first.whole(until=("play", 3))
        over = await leave_part(desk, first.ticket)
        assert (over.kind, over.leave) == ("over", False)
        assert (await take_part(desk, first.ticket)).kind == "over"
        with pytest.raises(Conflict, match="no game is due"):
            await seat_of_part(desk, first.ticket, Doing(over.at))
        part = await do_step(desk, second.ticket, Doing(0, False))
        assert part.kind == "over"
        assert "nothing is recorded" in part.text
        await end_session(desk, "hunt.toml", 3)
        with pytest.raises(Conflict, match="p03 is declined already"):
            await end_session(desk, "hunt.toml", 3)
        view = invite_participants(desk, "hunt.toml", Inviting(3))
        assert [s.status for s in view.sessions] == ["left", "declined", "declined", *["invited"] * 6]
        assert [s.order for s in view.sessions[6:]] == [s.order for s in view.sessions[:3]]
        await asyncio.gather(*(Simulated(desk, s.number, ticket(s)).whole() for s in view.sessions[3:]))

    go(work())
    desk.close()
    found = result(folder / "hunt")
    a = found.attendance
    assert (a.took_part, a.complete, a.left, a.declined) == (7, 6, 1, 2)
    assert a.incomplete == {"p01": 3}
    assert "7 of 6 participants took part: 6 complete, 1 left before the end, 2 declined" in found.notes
    units = sorted(r.summary.mean.n for r in found.rows)
    assert units[-1] == 7, "what p01 finished is in the tables"
    assert verify(folder / "hunt").ok


def test_a_session_goes_on_after_a_reload_and_after_the_server_was_started_again(folder):
    desk = Desk(folder)
    name = ""

    async def begin():
        nonlocal name
        view = invite_participants(desk, "hunt.toml", Inviting(1))
        name = ticket(view.sessions[0])
        person = Simulated(desk, 1, name)
        await person.whole(until=("play", 2))
        part = await take_part(desk, name)
        assert part.kind == "questions"
        await person.step(part)
        part = await take_part(desk, name)
        assert (part.kind, part.partner, part.game) == ("play", 2, 1)
        await person.play(part, moves=3)  # gone in the middle
        given = await seat_of_part(desk, name, Doing(part.at))  # a reload: the same game, another token
        room = hall(desk).rooms[given.room]
        assert room.status == "playing"
        line = room.join(given.seat, given.token)
        room.leave(line)
        desk.close()
        await asyncio.sleep(0)
        await asyncio.wait({room._task})
        return part

    before = go(begin())
    assert result(folder / "hunt").attendance.going == 1
    again = Desk(folder)

    async def rest():
        part = await take_part(again, name)
        assert (part.kind, part.at) == (before.kind, before.at)
        person = Simulated(again, 1, name)
        await person.whole()
        view = people_study(again, "hunt")
        assert (view.sessions[0].status, view.sessions[0].again, view.sessions[0].episodes) == ("complete", 1, 6)

    go(rest())
    again.close()
    with RunFolder.open(folder / "hunt") as run:
        assert sorted(r.extra["begun"] for r in run.records()) == [1, 1, 1, 1, 1, 2]
    assert any("begun anew" in note and note.endswith(": 1") for note in result(folder / "hunt").notes)
    assert verify(folder / "hunt").ok


def test_steps_come_in_order_and_once(folder):
    desk = Desk(folder)

    async def work():
        view = invite_participants(desk, "hunt.toml", Inviting(1))
        name = ticket(view.sessions[0])
        with pytest.raises(Conflict, match="no game is due"):
            await seat_of_part(desk, name, Doing(0))
        with pytest.raises(CrossplayError, match="say whether you agree"):
            await do_step(desk, name, Doing(0))
        assert (await do_step(desk, name, Doing(5, True))).kind == "consent"  # another step than is due
        assert (await do_step(desk, name, Doing(0, True))).kind == "instructions"
        assert (await do_step(desk, name, Doing(0, True))).kind == "instructions"  # pressed twice
        part = await do_step(desk, name, Doing(1))
        assert part.kind == "practice"
        with pytest.raises(Conflict, match="play the game"):
            await do_step(desk, name, Doing(2))
        with pytest.raises(NotFound, match="leads to no session"):
            await take_part(desk, "A" * 22)
        view = people_study(desk, "hunt.toml")
        assert view.sessions[0].doing == "practises"
        assert (view.open, view.run, view.rest, view.invite) == (True, "hunt", 12, 5)
        await close_sessions(desk, "hunt.toml")
        assert not people_study(desk, "hunt").open
        assert (await take_part(desk, name)).kind == "practice", "a link opens it again"

    go(work())
    desk.close()


def test_what_is_no_study_with_people_is_not_found(folder):
    desk = Desk(folder)
    (folder / "plain.toml").write_text(
        'environments = ["spread"]\nagents = {a = "noop"}\nlineups = {x = ["a", "a", "a"]}\n'
    )
    for name in ("plain.toml", "..~x.toml", "nothing.toml", "hunt", "~~etc~passwd.toml", "", "\0.toml"):
        with pytest.raises(NotFound):
            people_study(desk, name)
    assert [s.name for s in people_studies(desk).studies] == ["hunt.toml"]
    (folder / "bad.toml").write_text(FILE.replace('"person"', '"persn"'))
    with pytest.raises(CrossplayError, match="no agent is a person"):
        open_sessions(desk, "bad.toml")
    (folder / "own.toml").write_text(FILE.replace('"hunt"', '"own"').replace('nice = "', 'nice = "python:x.py:f" #'))
    assert "--trust" in people_study(desk, "own.toml").problem or open_refused(desk)
    desk.close()


def open_refused(desk):
    with pytest.raises(CrossplayError, match="--trust"):
        open_sessions(desk, "own.toml")
    return True


def test_routes_answer_and_guests_need_no_more_than_their_link(folder):
    with TestClient(make_app(Desk(folder), token="t" * 20), base_url="http://127.0.0.1:8765") as client:
        assert client.get("/api/v1/people").status_code == 401
        assert client.post("/api/v1/people/hunt.toml/invite", json={"count": 1}).status_code == 401
        owner = {"authorization": "Bearer " + "t" * 20}
        made = client.post("/api/v1/people/hunt.toml/invite", json={"count": 2}, headers=owner)
        assert made.status_code == 200, made.text
        link = made.json()["sessions"][0]["link"]
        assert client.get(f"/api/v1{link}").json()["kind"] == "consent"
        done = client.post(f"/api/v1{link}/step", json={"at": 0, "agree": True})
        assert done.json()["kind"] == "instructions"
        assert client.post(f"/api/v1{link}/step", json={"at": 1, "nme": 1}).status_code == 422
        assert client.post(f"/api/v1{link}/leave", json={}).json()["kind"] == "over"
        assert client.get("/api/v1/take-part/none").status_code == 404
        assert client.post("/api/v1/people/hunt.toml/invite", json={"count": 0}, headers=owner).status_code == 422
        codes = {client.get(f"/api/v1/take-part/x{n}").status_code for n in range(40)}
        assert codes == {404, 429}


def test_the_example_is_a_study():
    example = Path(__file__).parents[2] / "examples" / "people.toml"
    assert load_study(example).people.participants == 12


def test_a_partner_may_be_another_person(folder):
    """Somebody with a partner's link agrees, waits, and is called to the games of every participant."""
    text = FILE.replace('nasty = "strategy:always_hare"', 'nasty = "person"').replace(
        "participants = 6", "participants = 2"
    )
    (folder / "hunt.toml").write_text(text.replace("[people]\n", '[people]\nparticipant = "me"\n'))
    desk = Desk(folder)

    async def beside(name, games):
        """The partner: plays what they are called to."""
        for _ in range(games):
            while (part := await take_part(desk, name)).kind != "play":
                await asyncio.sleep(0.01)
            await Simulated(desk, 99, name).play(part)

    async def work():
        view = invite_participants(desk, "hunt.toml", Inviting(2))
        (partner,) = view.beside
        name = partner.link.rpartition("/")[2]
        assert (partner.agent, (await take_part(desk, name)).kind) == ("nasty", "consent")
        with pytest.raises(Conflict, match="nobody needs a partner now"):
            await seat_of_part(desk, name, Doing(0))
        assert (await do_step(desk, name, Doing(0, True))).kind == "waiting"
        people = [Simulated(desk, s.number, ticket(s)) for s in view.sessions]
        await asyncio.gather(*(p.whole() for p in people), beside(name, 4))
        assert (await take_part(desk, name)).kind == "waiting"

    go(work())
    desk.close()
    found = result(folder / "hunt")
    assert found.attendance.complete == 2
    with RunFolder.open(folder / "hunt") as run:
        mine = [r for r in run.records() if r.lineup == "me+nasty"]
        assert len(mine) == 4
        assert {e.origin for r in mine for e in run.events(r.id) if e.kind == "act"} == {"own"}
    assert verify(folder / "hunt").ok


def test_a_game_whose_participant_is_gone_for_too_long_begins_anew(folder):
    (folder / "hunt.toml").write_text(FILE.replace("patience = 60", "patience = 1"))
    desk = Desk(folder)

    async def work():
        view = invite_participants(desk, "hunt.toml", Inviting(1))
        person = Simulated(desk, 1, ticket(view.sessions[0]))
        await person.whole(until=("practice", 1))
        part = await take_part(desk, person.ticket)
        given = await seat_of_part(desk, person.ticket, Doing(part.at))
        await person.play(part, moves=2)
        room = hall(desk).rooms[given.room]
        await asyncio.wait_for(room.closed(), 10)
        assert "nobody was there" in room.why
        part = await take_part(desk, person.ticket)
        await person.play(part)
        assert (await take_part(desk, person.ticket)).at == part.at + 1
        assert people_study(desk, "hunt").sessions[0].again == 1

    go(work())
    desk.close()
