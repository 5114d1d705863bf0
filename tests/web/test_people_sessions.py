"""Sessions of participants: from the link to the thanks, over the service functions. The participants here are simulated.

They play by scripts and answer by drawing; what the tables say of them is compared with scipy over participants.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from participants import FILE, Simulated, do_step, everybody, go, leave_part, result, seat_of_part, take_part, ticket
from scipy import stats
from starlette.testclient import TestClient

from crossplay.kernel import CrossplayError, unpack
from crossplay.records import RunFolder, check_seals, merge
from crossplay.records.cassette import Cassette
from crossplay.study.export import export_run
from crossplay.study.spec import load_study
from crossplay.study.verify import verify
from crossplay.web.app import make_app
from crossplay.web.desk import Conflict, Desk, NotFound
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
from crossplay.web.play.tickets import KEY


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "hunt.toml").write_text(FILE)
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A whole study: six simulated participants at once, and the lineups without people."""
    root = tmp_path_factory.mktemp("people")
    (root / "hunt.toml").write_text(FILE)
    desk = Desk(root)

    async def work():
        people = await everybody(desk)
        desk.parts["people"].open["hunt"].seen.clear()  # they have gone
        await play_rest(desk, "hunt.toml")
        return people

    people = go(work())
    for thread in desk.parts["people-rest"].going.values():
        thread.join()
    view = people_study(desk, "hunt.toml")
    desk.close()
    return root / "hunt", people, view


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


def test_the_consent_is_kept_word_for_word_and_the_run_joins_and_is_exported(finished, tmp_path):
    folder, people, _ = finished
    with Cassette(folder / "cassette", "strict") as cassette:
        rows = [r for r in cassette.of_env("people") if r.call.address[4] == "consent"]
    assert len(rows) == len(people)
    for row in rows:
        assert unpack(row.call.request)["question"] == "Your moves are recorded without your name."
        assert row.call.digest == hashlib.blake2b(row.call.request, digest_size=16).digest()
    merge(folder, folder, tmp_path / "both")
    both, one = result(tmp_path / "both"), result(folder)
    assert (both.asked, both.attendance, both.episodes) == (one.asked, one.attendance, one.episodes)
    export_run(folder, "parquet", tmp_path / "out")
    answers = pl.read_parquet(tmp_path / "out" / "answers.parquet")
    fair = answers.filter(question="fair").group_by("lineup").agg(pl.col("score").mean()).sort("lineup")
    assert dict(fair.iter_rows()) == {
        r.lineup: pytest.approx(r.summary.mean.value) for q in one.asked if q.name == "fair" for r in q.rows
    }
    participants = pl.read_parquet(tmp_path / "out" / "participants.parquet")
    assert participants["episodes"].to_list() == participants["of"].to_list() == [6] * 6


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
            await seat_of_part(desk, first.ticket, over.at)
        part = await do_step(desk, second.ticket, 0, False)
        assert part.kind == "over"
        assert "nothing is recorded" in part.text
        await end_session(desk, "hunt.toml", 3)
        with pytest.raises(Conflict, match="p03 is unused already"):
            await end_session(desk, "hunt.toml", 3)
        view = invite_participants(desk, "hunt.toml", Inviting(3))
        assert [s.status for s in view.sessions] == ["left", "declined", "unused", *["invited"] * 6]
        assert [s.order for s in view.sessions[6:]] == [s.order for s in view.sessions[:3]]
        await asyncio.gather(*(Simulated(desk, s.number, ticket(s)).whole() for s in view.sessions[3:]))

    go(work())
    desk.close()
    found = result(folder / "hunt")
    a = found.attendance
    assert (a.took_part, a.complete, a.left, a.declined, a.unused) == (7, 6, 1, 1, 1)
    assert a.incomplete == {"p01": 3}
    assert (
        "7 of 6 participants took part: 6 complete, 1 left before the end, 1 declined, 1 taken back unused"
        in found.notes
    )
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
        assert (part.kind, part.partner, part.game, part.open) == ("play", 2, 1, False)
        await person.play(part, moves=3)  # gone in the middle
        assert (await take_part(desk, name)).open
        given = await seat_of_part(desk, name, part.at)  # a reload: the same game, another token
        room = hall(desk).rooms[given.room]
        assert room.status == "playing"
        line = room.join(given.seat, given.token)
        room.leave(line)
        tick = room.episode.tick
        desk.close()
        await asyncio.sleep(0)
        await asyncio.wait({room._task})
        return part, tick

    before, tick = go(begin())
    assert tick == 3
    assert result(folder / "hunt").attendance.going == 1
    again = Desk(folder)

    async def rest():
        part = await take_part(again, name)
        assert (part.kind, part.at, part.open) == (before.kind, before.at, False)
        assert "goes on where it was" in part.text
        person = Simulated(again, 1, name)
        await person.play(part)
        ticks = [m["tick"] for m in person.shown if m.get("kind") == "state" and m["turn"]]
        assert ticks[0] == tick, "it goes on from its snapshot"
        await person.whole()
        (session,) = people_study(again, "hunt").sessions
        assert (session.status, session.again, session.resumed, session.episodes) == ("complete", 0, 1, 6)

    go(rest())
    again.close()
    with RunFolder.open(folder / "hunt") as run:
        assert [r.extra["begun"] for r in run.records()] == [1] * 6
        cut = [r for r in run.records() if "resumed" in r.extra]
        assert [r.extra["resumed"] for r in cut] == [1]
        acts = [e for e in run.events(cut[0].id) if e.kind == "act" and e.seat == 0]
        assert len({e.tick for e in acts}) == len(acts) == cut[0].ticks
        assert {e.origin for e in acts} == {"own"}
    assert not (folder / "hunt" / "games").exists()
    assert any(n.endswith("from where they were cut off, so often: 1") for n in result(folder / "hunt").notes)
    assert verify(folder / "hunt", "agents").ok


def test_steps_come_in_order_and_once(folder):
    desk = Desk(folder)

    async def work():
        view = invite_participants(desk, "hunt.toml", Inviting(1))
        name = ticket(view.sessions[0])
        with pytest.raises(Conflict, match="no game is due"):
            await seat_of_part(desk, name, 0)
        with pytest.raises(CrossplayError, match="say whether you agree"):
            await do_step(desk, name, 0)
        assert (await do_step(desk, name, 5, True)).kind == "consent"  # another step than is due
        assert (await do_step(desk, name, 0, True)).kind == "instructions"
        assert (await do_step(desk, name, 0, True)).kind == "instructions"  # pressed twice
        part = await do_step(desk, name, 1)
        assert part.kind == "practice"
        with pytest.raises(Conflict, match="play the game"):
            await do_step(desk, name, 2)
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

        def ask(where, **body):
            return client.post(f"/api/v1/take-part{where}", json=body)

        assert client.get("/api/v1/people").status_code == 401
        assert client.post("/api/v1/people/hunt.toml/invite", json={"count": 1}).status_code == 401
        owner = {"authorization": "Bearer " + "t" * 20}
        made = client.post("/api/v1/people/hunt.toml/invite", json={"count": 2}, headers=owner)
        assert made.status_code == 200, made.text
        page, _, name = made.json()["sessions"][0]["link"].partition("#ticket=")
        assert page == "/take-part"
        assert ask("", ticket=name).json()["kind"] == "consent"
        assert ask("/step", ticket=name, at=0, agree=True).json()["kind"] == "instructions"
        assert ask("/step", ticket=name, at=1, nme=1).status_code == 422
        assert ask("/step", at=1).status_code == 422
        assert ask("/leave", ticket=name).json()["kind"] == "over"
        assert ask("", ticket="none").status_code == 404
        assert client.get(f"/api/v1/take-part/{name}").status_code == 404, "there is no way that has it in the address"
        assert client.post("/api/v1/people/hunt.toml/invite", json={"count": 0}, headers=owner).status_code == 422


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
        name = ticket(partner)
        assert (partner.agent, (await take_part(desk, name)).kind) == ("nasty", "consent")
        with pytest.raises(Conflict, match="nobody needs a partner now"):
            await seat_of_part(desk, name, 0)
        assert (await do_step(desk, name, 0, True)).kind == "waiting"
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
        given = await seat_of_part(desk, person.ticket, part.at)
        await person.play(part, moves=2)
        room = hall(desk).rooms[given.room]
        await asyncio.wait_for(room.closed(), 10)
        assert "away for too long" in room.why
        part = await take_part(desk, person.ticket)
        await person.play(part)
        assert (await take_part(desk, person.ticket)).at == part.at + 1
        assert people_study(desk, "hunt").sessions[0].again == 1

    go(work())
    desk.close()
