"""Strangers with links that are none, and researchers who change, close and remove things while people take part."""

from __future__ import annotations

import asyncio
import itertools
import json
import shutil
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from participants import SHORT, Simulated, do_step, go, result, seat_of_part, take_part, ticket
from starlette.testclient import TestClient

from crossplay.kernel import CrossplayError, unpack
from crossplay.kernel.seeds import key
from crossplay.models.loopback import Loopback
from crossplay.records import RunFolder
from crossplay.records.cassette import Cassette
from crossplay.study.people import order_of
from crossplay.study.sessions import Sessions
from crossplay.study.verify import verify
from crossplay.web.app import make_app
from crossplay.web.desk import Conflict, Desk, Forbidden, NotFound, TooMany
from crossplay.web.gate import trial
from crossplay.web.play.people import (
    Inviting,
    close_sessions,
    invite_participants,
    people_studies,
    people_study,
    play_rest,
    withdraw_participant,
)
from crossplay.web.play.rooms import hall
from crossplay.web.play.tickets import KEY, panels
from crossplay.wire.http.clients import now_from


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "hunt.toml").write_text(SHORT)
    return tmp_path


# -- strangers and links -------------------------------------------------------------------------------------
def test_a_class_behind_one_address_gets_in_whatever_somebody_there_guesses(folder):
    desk = Desk(folder)
    (folder / "hunt.toml").write_text(SHORT.replace("participants = 6", "participants = 60"))
    view = invite_participants(desk, "hunt.toml", Inviting(60))
    desk.close()
    again = Desk(folder)  # it knows no ticket by heart

    async def work():
        now_from("192.0.2.7")
        codes = Counter()
        for n in range(300):
            try:
                await take_part(again, f"guess{n}")
            except (NotFound, TooMany) as error:
                codes[type(error).__name__] += 1
        assert codes["TooMany"] > 100
        parts = await asyncio.gather(*(take_part(again, ticket(s)) for s in view.sessions for _ in range(2)))
        assert {p.kind for p in parts} == {"consent"}
        with pytest.raises(TooMany):
            with trial(again, "seat", "x"):
                raise Forbidden("")
        now_from("198.51.100.1")
        with pytest.raises(NotFound):
            await take_part(again, "mistyped")

    go(work())
    again.close()


def test_a_participant_sits_down_beside_a_guesser(folder):
    """The ticket got in; the token of the seat that it was given had not been seen before, and was not heard."""
    with TestClient(make_app(Desk(folder)), base_url="http://127.0.0.1:8765") as client:
        made = client.post("/api/v1/people/hunt.toml/invite", json={"count": 1}).json()
        name = made["sessions"][0]["link"].partition("#ticket=")[2]

        def ask(where, **body):
            return client.post(f"/api/v1/take-part{where}", json=body)

        ask("/step", ticket=name, at=0, agree=True)
        ask("/step", ticket=name, at=1)
        assert {ask("", ticket=f"guess{n}").status_code for n in range(150)} == {404, 429}
        given = ask("/seat", ticket=name, at=2).json()
        with client.websocket_connect(f"ws://127.0.0.1:8765/ws/play/{given['room']}") as line:
            line.send_json({"seat": given["seat"], "token": given["token"]})
            assert line.receive_json()["seat"] == given["seat"]


def test_one_ticket_that_asks_without_end_slows_down_itself_alone(folder):
    desk = Desk(folder)

    async def work():
        first, second = map(ticket, invite_participants(desk, "hunt.toml", Inviting(2)).sessions)
        with pytest.raises(TooMany, match="too fast"):
            for _ in range(200):
                await take_part(desk, first)
        assert (await take_part(desk, second)).kind == "consent"

    go(work())
    desk.close()


def test_the_link_of_a_pilot_opens_nothing_in_the_study_that_follows(folder):
    """The ticket was made of the run's name and a number: that of a deleted pilot was that of p01 in the study proper."""
    text = SHORT.replace('nasty = "strategy:always_hare"', 'nasty = "person"')
    (folder / "hunt.toml").write_text(text.replace("[people]\n", '[people]\nparticipant = "me"\n'))
    desk = Desk(folder)
    pilot = invite_participants(desk, "hunt.toml", Inviting(1))
    desk.close()
    shutil.rmtree(folder / "hunt")
    desk = Desk(folder)
    view = invite_participants(desk, "hunt.toml", Inviting(1))
    assert (folder / KEY).is_file()
    for old, new in ((pilot.sessions[0], view.sessions[0]), (pilot.beside[0], view.beside[0])):
        assert ticket(old) != ticket(new)
        with pytest.raises(NotFound):
            go(take_part(desk, ticket(old)))
        assert go(take_part(desk, ticket(new))).kind == "consent"
    desk.close()
    desk = Desk(folder)
    assert go(take_part(desk, ticket(view.sessions[0]))).kind == "consent", "after the server was started again, too"
    desk.close()


def test_an_error_that_names_partners_is_not_told_to_participants(folder, monkeypatch):
    desk = Desk(folder)

    async def work():
        view = invite_participants(desk, "hunt.toml", Inviting(1))
        person = Simulated(desk, 1, ticket(view.sessions[0]))
        await person.whole(until=("instructions", 1))
        part = await take_part(desk, person.ticket)
        panel = panels(desk).open["hunt"]

        def broken(*_):
            raise CrossplayError('agents.nasty: the model of "me+nasty" is gone')

        monkeypatch.setattr(panel.stage, "models", broken)
        await person.play(part)
        (room,) = hall(desk).rooms.values()
        assert (room.status, "me+nasty" in room.why) == ("stopped", True), "the owner sees it"
        monkeypatch.setattr(panel.run, "attempts", broken)
        with pytest.raises(Conflict) as said:
            await seat_of_part(desk, person.ticket, part.at)
        told = json.dumps(person.shown) + str(said.value)
        assert "nasty" not in told
        assert "something went wrong" in told

    go(work())
    desk.close()


# -- the researcher ------------------------------------------------------------------------------------------
def test_a_study_file_that_was_changed_invites_nobody_and_those_invited_go_on(folder):
    desk = Desk(folder)

    async def work():
        view = invite_participants(desk, "hunt.toml", Inviting(1))
        (folder / "hunt.toml").write_text(SHORT.replace("Hunt the stag together", "Hunt alone"))
        for _ in range(2):  # while it is open, and when it was closed
            changed = people_study(desk, "hunt.toml")
            assert "hunt.toml was changed since its run began" in changed.problem
            with pytest.raises(Conflict, match="was changed since its run began"):
                invite_participants(desk, "hunt.toml", Inviting(1))
            await close_sessions(desk, "hunt")
        person = Simulated(desk, 1, ticket(view.sessions[0]))
        await person.whole(until=("consent", 1))
        assert "stag together" in (await take_part(desk, person.ticket)).text
        assert people_study(desk, "hunt").problem == ""
        assert invite_participants(desk, "hunt", Inviting(1)).sessions[1].number == 2, "its run invites as it began"

    go(work())
    desk.close()


def test_a_file_that_cannot_be_read_is_listed_with_what_is_wrong(folder):
    (folder / "bad.toml").write_text(SHORT.replace('me = "person"', 'me = "persn"'))
    desk = Desk(folder)
    found = {s.name: s.problem for s in people_studies(desk).studies}
    assert found["hunt.toml"] == ""
    assert "person" in found["bad.toml"]
    desk.close()


def test_whoever_comes_while_it_is_closed_waits_and_goes_on(folder):
    """The run was being put away when a participant opened it: they were told to tell whoever sent the link."""
    desk = Desk(folder)

    async def work():
        view = invite_participants(desk, "hunt.toml", Inviting(3))
        names = [ticket(s) for s in view.sessions]
        old = panels(desk).open["hunt"]

        async def come(name):
            found = []
            for _ in range(20):
                found.append((await take_part(desk, name)).kind)
                await asyncio.sleep(0.005)
            return found

        async def close():
            for _ in range(4):
                await close_sessions(desk, "hunt")
                await asyncio.sleep(0.02)

        *kinds, _ = await asyncio.gather(*(come(n) for n in names), close(), return_exceptions=True)
        flat = list(itertools.chain.from_iterable(k if isinstance(k, list) else [str(k)] for k in kinds))
        assert set(flat) <= {"consent", "the study is being closed; try again in a moment"}
        session = old.sessions.get(1)
        with pytest.raises(Conflict, match="being closed"):
            with old.turn():
                pass
        with pytest.raises(Conflict, match="being closed"):
            await old.play(session, next(s for s in old.script(session) if s.kind == "play"))
        assert (await do_step(desk, names[0], 0, True)).kind == "instructions"

    go(work())
    desk.close()


def test_lineups_without_people_are_played_when_nobody_is_in_a_session(folder):
    desk = Desk(folder)

    async def work():
        view = invite_participants(desk, "hunt.toml", Inviting(1))
        person = Simulated(desk, 1, ticket(view.sessions[0]))
        await person.whole(until=("consent", 1))
        with pytest.raises(Conflict, match=r"somebody is in a session \(p01\)"):
            await play_rest(desk, "hunt")

    go(work())
    desk.close()


def test_the_owner_removes_somebody_who_withdraws_while_others_go_on(folder):
    desk = Desk(folder)

    async def work():
        view = invite_participants(desk, "hunt.toml", Inviting(2))
        first, second = (Simulated(desk, s.number, ticket(s)) for s in view.sessions)
        await first.whole()
        await second.whole(until=("play", 1))
        await second.step(await take_part(desk, second.ticket))
        await second.play(await take_part(desk, second.ticket), moves=3)
        with pytest.raises(Conflict, match="somebody is playing"):
            await withdraw_participant(desk, "hunt", 1)
        panels(desk).open["hunt"].stop_rooms("cut off")
        held = view.sessions[0].order
        after = await withdraw_participant(desk, "hunt", 1)
        assert [s.status for s in after.sessions] == ["withdrawn", "going"]
        assert (after.invite, after.attendance.withdrawn) == (5, 1)
        over = await take_part(desk, first.ticket)
        assert (over.kind, "was removed" in over.text, over.leave) == ("over", True, False)
        second.shown.clear()
        await second.play(await take_part(desk, second.ticket))
        assert next(m["tick"] for m in second.shown if m.get("kind") == "state") == 3, "what is theirs is left alone"
        await second.whole()
        third = invite_participants(desk, "hunt", Inviting(1)).sessions[2]
        assert (third.number, third.order) == (3, held)
        with pytest.raises(CrossplayError, match="p01 has withdrawn already"):
            await withdraw_participant(desk, "hunt", 1)
        with pytest.raises(CrossplayError, match="there is no participant 9"):
            await withdraw_participant(desk, "hunt", 9)

    go(work())
    desk.close()
    found = result(folder / "hunt")
    assert (found.attendance.complete, found.episodes) == (1, 3)
    assert verify(folder / "hunt", "agents").ok
    again = Desk(folder)
    assert people_study(again, "hunt").sessions[0].status == "withdrawn"
    again.close()


def test_what_models_were_asked_beside_somebody_goes_with_them_and_what_others_met_stays(folder):
    with Loopback() as endpoint:
        model = f'[models.double]\nbackend = "http"\nurl = "{endpoint.url}"\nmodel = "double"\npaid = false\n'
        text = SHORT.replace('odd = "random"', 'odd = { type = "llm", model = "double", temperature = 0.5 }')
        text = text.replace('"me+odd" = ["me", "odd"]', '"me+odd" = ["me", "odd"]\n"odd+odd" = ["odd", "odd"]')
        (folder / "hunt.toml").write_text(text.replace("participants = 6", "participants = 2") + model)
        desk = Desk(folder)

        async def work():
            view = invite_participants(desk, "hunt.toml", Inviting(2))
            await asyncio.gather(*(Simulated(desk, s.number, ticket(s)).whole() for s in view.sessions))
            panels(desk).open["hunt"].seen.clear()
            await play_rest(desk, "hunt")
            for thread in desk.parts["people-rest"].going.values():
                await asyncio.to_thread(thread.join)
            before = calls(folder)
            assert {"me+odd", "odd+odd"} <= {r.lineup for r in records(folder)}
            await withdraw_participant(desk, "hunt", 1)
            return before

        before = go(work())
        desk.close()
    after = calls(folder)
    kept = {r.id for r in records(folder)}
    with RunFolder.open(folder / "hunt") as run:
        met = {unpack(e.note)["call"] for i in kept for e in run.events(i) if e.kind == "model"}
    assert set(after) == met < set(before)
    assert set(after.values()) == {0, 1}, "what the pair of models met in the same block stays"
    found = verify(folder / "hunt", "agents")  # the endpoint is gone
    assert found.ok, found.findings
    assert found.reexecuted > 0


def records(folder):
    with RunFolder.open(folder / "hunt") as run:
        return run.records()


def calls(folder):
    """The calls to models of a run, with their blocks."""
    with Cassette(folder / "hunt" / "cassette", "strict") as cassette:
        return {r.call.key.hex(): r.call.address[2] for r in cassette.rows() if r.call.address[1] != "people"}


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_orders_are_balanced_over_the_complete_sessions_whoever_dropped_out(data):
    """Each place of the orders belongs to one complete session in the end: drop-outs are replaced in theirs."""
    wanted = data.draw(st.sampled_from([6, 12]))
    with Cassette() as cassette:
        kept, complete = Sessions(cassette, 3), []
        while len(complete) < wanted:
            try:
                for _ in range(data.draw(st.integers(1, wanted))):
                    kept.invite(wanted)
            except CrossplayError:
                pass
            open_now = [s for s in kept.all() if s.status in ("invited", "going")]
            for session in open_now:
                fate = data.draw(st.sampled_from(["complete", "complete", "left", "declined", "waits"]))
                if fate == "declined":
                    kept.note(session.number, "consent", {"agree": False})
                elif fate != "waits":
                    kept.note(session.number, "consent", {"agree": True}) if session.status == "invited" else None
                    kept.note(session.number, "thanks" if fate == "complete" else "left", {})
                    complete += [session] if fate == "complete" else []
    orders = [order_of(3, s.slot, "counterbalanced", key("people", 3)) for s in complete]
    for place in range(3):
        assert set(Counter(o[place] for o in orders).values()) == {wanted // 3}
    after = Counter(pair for o in orders for pair in itertools.pairwise(o))
    assert len(after) == 6
    assert len(set(after.values())) == 1
