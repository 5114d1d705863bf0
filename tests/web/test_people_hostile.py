"""Participants and partners who do what they should not: twice, at once, too late, or never."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading

import pytest
from participants import SHORT, Simulated, do_step, go, leave_part, result, seat_of_part, take_part, ticket
from starlette.testclient import TestClient

from crossplay.kernel import CrossplayError
from crossplay.records import RunFolder
from crossplay.records.cassette import Cassette
from crossplay.study.verify import verify
from crossplay.web.app import make_app
from crossplay.web.desk import Conflict, Desk, Forbidden
from crossplay.web.play.people import (
    Inviting,
    end_session,
    invite_participants,
    people_study,
)
from crossplay.web.play.rooms import hall
from crossplay.web.play.tickets import panels

KITCHEN = (
    SHORT.replace('environments = ["matrix/stag_hunt"]\n', "")
    .replace('nice = "strategy:tit_for_tat"', 'nice = "chef"')
    .replace('nasty = "strategy:always_hare"', 'nasty = "noop"')
    + '[environments.kitchen]\nname = "kitchen/cramped_room"\nclock = "tick:20"\noptions = { horizon = 60 }\n'
)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "hunt.toml").write_text(SHORT)
    return tmp_path


def together(*works):
    """All at once, in threads; what each gave, or raised."""
    gate, found = threading.Barrier(len(works)), [None] * len(works)

    def run(i, work):
        gate.wait(10)
        try:
            found[i] = work()
        except Exception as error:
            found[i] = error

    threads = [threading.Thread(target=run, args=(i, w)) for i, w in enumerate(works)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(30)
    return found


# -- one participant, twice ----------------------------------------------------------------------------------
def test_the_same_answers_from_two_devices_at_once_are_kept_once_and_name_nobody(folder, monkeypatch):
    """Both had looked which step is due before either was kept: the second was told what is kept under whose name."""
    desk = Desk(folder)
    view = invite_participants(desk, "hunt.toml", Inviting(1))
    name = ticket(view.sessions[0])
    go(Simulated(desk, 1, name).whole(until=("play", 1)))
    part = go(take_part(desk, name))
    assert part.kind == "questions"
    panel = panels(desk).open["hunt"]
    looked, at = threading.Barrier(2), panel.at

    def slowly(session):
        found = at(session)
        with contextlib.suppress(threading.BrokenBarrierError):
            looked.wait(0.3)
        return found

    monkeypatch.setattr(panel, "at", slowly)
    send = lambda: go(do_step(desk, name, part.at, None, {"fair": 2}))  # noqa: E731
    both = together(send, send)
    monkeypatch.undo()
    assert [getattr(b, "kind", b) for b in both] == ["play", "play"]
    assert "me+" not in json.dumps([str(b) for b in both])
    assert len(panel.sessions.get(1).answers["questions/" + panel.met(panel.sessions.get(1))[0]]) == 1
    desk.close()


def test_two_devices_in_one_game_the_newer_one_plays(folder):
    desk = Desk(folder)

    async def work():
        view = invite_participants(desk, "hunt.toml", Inviting(1))
        person = Simulated(desk, 1, ticket(view.sessions[0]))
        await person.whole(until=("instructions", 1))
        part = await take_part(desk, person.ticket)
        both = await asyncio.gather(
            *(seat_of_part(desk, person.ticket, part.at) for _ in range(2)), return_exceptions=True
        )
        assert sum(isinstance(b, Conflict) for b in both) <= 1, "one opens the game, the other is asked to try again"
        first = await seat_of_part(desk, person.ticket, part.at)
        room = hall(desk).rooms[first.room]
        line = room.join(first.seat, first.token)
        second = await seat_of_part(desk, person.ticket, part.at)
        assert (second.room, len([r for r in hall(desk).rooms.values() if r.status == "waiting"])) == (first.room, 1)
        assert line.closed[0] == 4003
        with pytest.raises(Forbidden):
            room.join(first.seat, first.token)
        await person.play(part)

    go(work())
    desk.close()


def test_leaving_while_the_game_is_being_opened_opens_none(folder, monkeypatch):
    desk = Desk(folder)

    async def work():
        view = invite_participants(desk, "hunt.toml", Inviting(1))
        person = Simulated(desk, 1, ticket(view.sessions[0]))
        await person.whole(until=("instructions", 1))
        part = await take_part(desk, person.ticket)
        panel = panels(desk).open["hunt"]
        look, opening, go_on = panel._shelved, asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def slowly(*args):
            loop.call_soon_threadsafe(opening.set)
            go_on.wait(10)
            return look(*args)

        monkeypatch.setattr(panel, "_shelved", slowly)
        seat = asyncio.create_task(seat_of_part(desk, person.ticket, part.at))
        await opening.wait()
        left = asyncio.create_task(leave_part(desk, person.ticket))
        await asyncio.sleep(0.05)
        go_on.set()
        assert (await left).kind == "over"
        # Whichever came first: nobody plays in a session that has ended.
        await asyncio.gather(seat, return_exceptions=True)
        assert not panel.playing
        with pytest.raises(Conflict):
            await seat_of_part(desk, person.ticket, part.at)

    go(work())
    desk.close()


def test_whoever_did_everything_is_complete_without_seeing_the_thanks(folder):
    """They closed the page when the last game was over: they were 'going' for ever, and ending that made them 'left'."""
    text = SHORT[: SHORT.index("[[people.questions]]")]
    (folder / "hunt.toml").write_text(text)
    desk = Desk(folder)

    async def work():
        view = invite_participants(desk, "hunt.toml", Inviting(1))
        person = Simulated(desk, 1, ticket(view.sessions[0]))
        await person.whole(until=("play", 3))
        with pytest.raises(Conflict, match="p01 is complete already"):
            await end_session(desk, "hunt", 1)
        (session,) = people_study(desk, "hunt").sessions
        assert (session.status, session.episodes) == ("complete", 3)
        assert (await take_part(desk, person.ticket)).kind == "thanks", "a finished ticket used again"
        with pytest.raises(Conflict, match="no game is due"):
            await seat_of_part(desk, person.ticket, 0)

    go(work())
    desk.close()
    assert result(folder / "hunt").attendance.complete == 1


NONSENSE = [
    {"fair": []}, {"fair": {}}, {"fair": "3"}, {"fair": 0}, {"fair": 6}, {"fair": 2.5}, {"fair": True},
    {"fair": -1}, {"fair": 1e300}, {"fair": 10**400}, {"fair": None}, {}, {"fair": 3, "again": 1}, {"FAIR": 3}, {"": 3},
    {"\u0000": 3}, {"x" * 100_000: 3}, {"fair": "x" * 100_000}, {"fair": [[[[[[3]]]]]]},
]  # fmt: skip


def test_nonsense_is_refused_in_words_and_nothing_of_it_is_kept(folder):
    with TestClient(make_app(Desk(folder)), base_url="http://127.0.0.1:8765") as client:
        link = client.post("/api/v1/people/hunt.toml/invite", json={"count": 1}).json()["sessions"][0]["link"]
        name = link.partition("#ticket=")[2]

        def ask(where, **body):
            return client.post(f"/api/v1/take-part{where}", json={"ticket": name, **body})

        ask("/step", at=0, agree=True)
        ask("/step", at=1)
        for at in (-1, 1.5, 1e9, "2", None, True, [], 10**400):
            assert ask("/step", at=at).status_code == 422
        for wrong in ("", "x" * 65, 7, None, [], {}, name[:-1], name + "A", name.lower(), "\u0000", "../..", "é"):
            code = client.post("/api/v1/take-part", json={"ticket": wrong}).status_code
            assert code in (404, 422), wrong
        raw = client.post(
            "/api/v1/take-part/step",
            content=b'{"ticket": "%s", "at": 2, "answers": {"fair": "\\ud800"}}' % name.encode(),
            headers={"content-type": "application/json"},
        )
        assert raw.status_code in (400, 409, 422)
        assert ask("").json()["kind"] == "play"


@pytest.mark.parametrize("given", NONSENSE, ids=[str(n) for n in range(len(NONSENSE))])
def test_answers_of_other_kinds_are_no_answers(folder, given):
    from crossplay.study.people import read_answers
    from crossplay.study.spec import load_study

    asked = load_study(folder / "hunt.toml").people.asked("partner")
    with pytest.raises(CrossplayError) as said:
        read_answers(asked, given, ["a", "b"])
    assert len(str(said.value)) < 400


# -- time and absence ----------------------------------------------------------------------------------------
def kitchen(folder, patience="60"):
    (folder / "hunt.toml").write_text(KITCHEN.replace("patience = 60", f"patience = {patience}"))
    return Desk(folder)


async def cook(desk, person, part, leaves_at=None, room_of=None):
    """Play at a clock that runs on; leave at a tick, or stay to the end. The room."""
    given = await seat_of_part(desk, person.ticket, part.at)
    room = hall(desk).rooms[given.room]
    line = room.join(given.seat, given.token, ("text",))
    room.ready(given.seat)
    while messages := await line.next():
        for message in messages:
            told = json.loads(message) if isinstance(message, str) else json.loads(_apart(message))
            if told["kind"] == "closed":
                room.leave(line)
                await asyncio.gather(*panels(desk).open["hunt"].finishing)
                return room
            if told["kind"] == "state" and told["turn"]:
                person.shown.append(told)
                if leaves_at is not None and told["tick"] >= leaves_at:
                    room.leave(line)
                    return room
                room.answer(given.seat, told["turn"], "stay")
    return room


def _apart(message):
    from crossplay.web.play.lines import apart

    return apart(message)[0]


def quick(monkeypatch):
    import crossplay.web.play.panel as panel_of

    monkeypatch.setattr(panel_of, "WATCH_S", 0.05)
    monkeypatch.setattr(panel_of, "GONE_S", 0.2)


def test_a_clock_that_runs_on_waits_for_whoever_has_gone(folder, monkeypatch):
    """It ran to its end with nobody at the keys, and the episode counted as theirs."""
    quick(monkeypatch)
    desk = kitchen(folder)

    async def work():
        view = invite_participants(desk, "hunt.toml", Inviting(1))
        person = Simulated(desk, 1, ticket(view.sessions[0]))
        await person.whole(until=("instructions", 1))
        part = await take_part(desk, person.ticket)
        room = await cook(desk, person, part, leaves_at=10)
        await asyncio.wait_for(room.closed(), 10)
        assert room.status == "stopped"
        now = await take_part(desk, person.ticket)
        assert (now.at, now.open) == (part.at, False)
        assert "goes on where it was" in now.text
        person.shown.clear()
        assert (await cook(desk, person, now)).status == "over"
        assert 10 < person.shown[0]["tick"] < 30
        (session,) = people_study(desk, "hunt").sessions
        assert (session.again, session.resumed, session.episodes) == (0, 1, 1)

    go(work())
    desk.close()
    with RunFolder.open(folder / "hunt") as run:
        (record,) = run.records()
        assert (record.ticks, record.extra["begun"], record.extra["resumed"]) == (60, 1, 1)
        held = [e.tick for e in run.events(record.id) if e.kind == "act" and e.seat == 0 and e.origin == "held"]
    assert len(held) < 30, "the ticks until it was seen that they had gone"
    assert verify(folder / "hunt", "agents").ok


def test_whoever_comes_back_too_late_begins_anew(folder, monkeypatch):
    quick(monkeypatch)
    desk = kitchen(folder, "1")

    async def work():
        view = invite_participants(desk, "hunt.toml", Inviting(1))
        person = Simulated(desk, 1, ticket(view.sessions[0]))
        await person.whole(until=("instructions", 1))
        part = await take_part(desk, person.ticket)
        room = await cook(desk, person, part, leaves_at=5)
        await asyncio.wait_for(room.closed(), 10)
        panels(desk).open["hunt"].put_aside[1] -= 2  # seconds go by
        now = await take_part(desk, person.ticket)
        assert (now.open, now.text) == (False, "")
        person.shown.clear()
        await cook(desk, person, now)
        assert person.shown[0]["tick"] == 0
        (session,) = people_study(desk, "hunt").sessions
        assert (session.again, session.resumed, session.episodes) == (1, 0, 1)

    go(work())
    desk.close()
    assert any(n.endswith("(what was cut off is not kept): 1") for n in result(folder / "hunt").notes)


def test_opening_a_game_and_not_beginning_it_is_no_interruption(folder):
    """The waiting room was closed with the server, and that counted as an episode that was cut off."""
    for _ in range(3):
        desk = Desk(folder)

        async def work(desk=desk):
            view = people_study(desk, "hunt" if (folder / "hunt").exists() else "hunt.toml")
            if not view.sessions:
                view = invite_participants(desk, "hunt.toml", Inviting(1))
            person = Simulated(desk, 1, ticket(view.sessions[0]))
            if (await take_part(desk, person.ticket)).kind == "consent":
                await person.whole(until=("instructions", 1))
            part = await take_part(desk, person.ticket)
            await seat_of_part(desk, person.ticket, part.at)

        go(work())
        desk.close()
    a = result(folder / "hunt").attendance
    assert (a.again, a.resumed, a.cut) == (0, 0, 0)


def test_whoever_leaves_in_the_middle_leaves_nothing_in_the_tables_and_is_counted(folder):
    desk = Desk(folder)

    async def work():
        view = invite_participants(desk, "hunt.toml", Inviting(1))
        person = Simulated(desk, 1, ticket(view.sessions[0]))
        await person.whole(until=("play", 1))
        await person.step(await take_part(desk, person.ticket))
        await person.play(await take_part(desk, person.ticket), moves=3)
        await leave_part(desk, person.ticket)

    go(work())
    desk.close()
    found = result(folder / "hunt")
    a = found.attendance
    assert (a.left, a.incomplete, a.cut, found.episodes) == (1, {"p01": 1}, 1, 1)
    assert "incomplete sessions, with how many of 3 episodes each are in the tables: p01 1" in found.notes
    assert any(n.startswith("episodes in the middle of which a participant left for good") for n in found.notes)
    assert not (folder / "hunt" / "games").exists()


@pytest.mark.parametrize("how", ["bytes", "world", "gone"])
def test_a_game_that_cannot_be_gone_on_with_begins_anew(folder, how):
    desk = Desk(folder)

    async def begin():
        view = invite_participants(desk, "hunt.toml", Inviting(1))
        person = Simulated(desk, 1, ticket(view.sessions[0]))
        await person.whole(until=("instructions", 1))
        await person.play(await take_part(desk, person.ticket), moves=3)
        desk.close()
        return person.ticket

    name = go(begin())
    file = folder / "hunt" / "games" / "p01" / "snapshot"
    whole = file.read_bytes()
    if how == "bytes":
        file.write_bytes(whole[:-5] + b"00000")
    elif how == "world":  # as another version of the world would have it
        import hashlib

        from crossplay.kernel import pack, unpack

        state = unpack(whole[32:])
        inner = {**unpack(state["snapshot"]), "env": b"nothing of ours"}
        content = pack({**state, "snapshot": pack(inner)})
        file.write_bytes(hashlib.sha256(content).digest() + content)
    else:
        file.unlink()
    again = Desk(folder)

    async def rest():
        person = Simulated(again, 1, name)
        await person.play(await take_part(again, name))
        assert next(m["tick"] for m in person.shown if m.get("kind") == "state") == 0
        (session,) = people_study(again, "hunt").sessions
        assert (session.again, session.resumed, session.episodes) == (1, 0, 1)

    go(rest())
    again.close()
    with RunFolder.open(folder / "hunt") as run:
        assert [r.extra["begun"] for r in run.records()] == [2]


# -- partners who are people ---------------------------------------------------------------------------------
def paired(folder):
    text = SHORT.replace('nasty = "strategy:always_hare"', 'nasty = "person"')
    (folder / "hunt.toml").write_text(text.replace("[people]\n", '[people]\nparticipant = "me"\norder = "given"\n'))
    return Desk(folder)


async def to_partner(desk, person):
    """Up to the game with the partner who is a person."""
    await person.whole(until=("play", 1))
    await person.step(await take_part(desk, person.ticket))
    part = await take_part(desk, person.ticket)
    assert part.kind == "play"
    return part


def test_a_partner_who_never_comes_is_waited_for_in_sight_of_the_owner(folder):
    desk = paired(folder)

    async def work():
        view = invite_participants(desk, "hunt.toml", Inviting(2))
        person = Simulated(desk, 1, ticket(view.sessions[0]))
        part = await to_partner(desk, person)
        given = await seat_of_part(desk, person.ticket, part.at)
        room = hall(desk).rooms[given.room]
        line = room.join(given.seat, given.token)
        room.ready(given.seat)
        assert room.status == "waiting"
        first, _ = people_study(desk, "hunt").sessions
        assert first.doing == "plays with partner 2, waits for nasty"
        assert (await leave_part(desk, person.ticket)).kind == "over"
        assert line.closed
        assert people_study(desk, "hunt").attendance.incomplete == {"p01": 1}

    go(work())
    desk.close()
    assert verify(folder / "hunt").ok


def test_a_partner_is_called_to_whoever_is_there(folder):
    """They were called to the first game that was open, and waited there for somebody who had gone."""
    desk = paired(folder)

    async def work():
        view = invite_participants(desk, "hunt.toml", Inviting(2))
        people = [Simulated(desk, s.number, ticket(s)) for s in view.sessions]
        parts = [await to_partner(desk, p) for p in people]
        given = [await seat_of_part(desk, p.ticket, part.at) for p, part in zip(people, parts, strict=True)]
        rooms = [hall(desk).rooms[g.room] for g in given]
        rooms[1].join(given[1].seat, given[1].token)  # the first has opened the game, and gone
        name = ticket(view.beside[0])
        assert (await do_step(desk, name, 0, True)).kind == "play"
        called = await seat_of_part(desk, name, 0)
        assert called.room == given[1].room

    go(work())
    desk.close()


def test_a_partner_who_does_not_agree_plays_nothing_and_leaves_no_trace(folder):
    desk = paired(folder)

    async def work():
        view = invite_participants(desk, "hunt.toml", Inviting(1))
        name = ticket(view.beside[0])
        over = await do_step(desk, name, 0, False)
        assert (over.kind, over.leave) == ("over", False)
        with pytest.raises(Conflict, match="nobody needs a partner"):
            await seat_of_part(desk, name, 0)
        assert (await take_part(desk, name)).kind == "consent"

    go(work())
    desk.close()
    with Cassette(folder / "hunt" / "cassette", "strict") as cassette:
        assert [r.call.address[4] for r in cassette.of_env("people") if r.call.address[2] == "nasty"] == ["invited"]


def test_two_people_go_on_together_after_the_server_was_started_again(folder):
    desk = paired(folder)
    names = []

    async def two(desk, person, partner, moves):
        """Both play so many moves, or to the end."""
        part = await take_part(desk, person.ticket)
        mine = asyncio.create_task(person.play(part, moves))
        while (called := await take_part(desk, partner.ticket)).kind != "play":
            await asyncio.sleep(0.01)
        await asyncio.gather(mine, partner.play(called, moves))

    async def begin():
        view = invite_participants(desk, "hunt.toml", Inviting(1))
        person, partner = Simulated(desk, 1, ticket(view.sessions[0])), Simulated(desk, 9, ticket(view.beside[0]))
        await do_step(desk, partner.ticket, 0, True)
        await to_partner(desk, person)
        await two(desk, person, partner, 4)
        names.extend([person.ticket, partner.ticket])
        desk.close()

    go(begin())
    again = Desk(folder)

    async def rest():
        person, partner = Simulated(again, 1, names[0]), Simulated(again, 9, names[1])
        await two(again, person, partner, None)
        for one in (person, partner):
            assert next(m["tick"] for m in one.shown if m.get("kind") == "state" and m["turn"]) in (3, 4)
        (session,) = people_study(again, "hunt").sessions
        assert (session.again, session.resumed, session.episodes) == (0, 1, 2)

    go(rest())
    again.close()
    with RunFolder.open(folder / "hunt") as run:
        record = run.records()[-1]
        assert {e.origin for e in run.events(record.id) if e.kind == "act"} == {"own"}
    assert verify(folder / "hunt", "agents").ok
