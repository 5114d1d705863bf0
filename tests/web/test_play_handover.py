"""Seats change hands: taken from agents and given back at any moment, given to an agent where a person is gone for good."""

import asyncio

import pytest
from guests import Guest, Script, cycle, go, headless, kitchen, over, record_of

from crossplay.agents import make_agent
from crossplay.agents.open_turn import Refused
from crossplay.kernel import Agent, CrossplayError, unpack
from crossplay.study.api import result
from crossplay.study.verify import verify
from crossplay.web.desk import Conflict, Desk, Forbidden
from crossplay.web.play.record import unfinished
from crossplay.web.play.room import Room

BESIDE = {"p0": "person", "p1": "chef"}
FOLDER = "play-kitchen-cramped_room"


def stay(told):
    return "stay"


def seated(events, seat):
    """(tick, who) of the rows that say who sits."""
    return [(e.tick, e.agent) for e in events if e.kind == "seat" and e.seat == seat]


def who(events, seat):
    """Who acted, tick by tick."""
    return [e.agent for e in events if e.kind == "act" and e.seat == seat]


async def began(tmp_path, **more):
    """A room in its first tick, and the person in p0, who does nothing yet."""
    room = await Room.create(Desk(tmp_path), kitchen(**{"seats": BESIDE, **more}))
    guest = Guest(room, "p0")
    room.ready("p0", consent=True)
    return room, guest, await guest.turn(0)


# -- taken, and given back -------------------------------------------------------------------------------------
def test_a_link_that_is_opened_twice_in_one_tick_is_one_handover(tmp_path):
    async def work():
        room, guest, turn = await began(tmp_path)
        token = room.take("p1")
        room.join("p1", token)
        Guest(room, "p1", token=token, moves=stay)
        guest.moves = stay
        room.answer("p0", turn, "stay")
        await over(room)

    go(work)
    record, events = record_of(tmp_path / FOLDER)
    assert seated(events, 1) == [(0, "chef"), (1, "person")]
    assert record.counts["p1"]["handoffs"] == 1
    assert record.extra["handed"] == {"p1": [[1, "person"]]}


def test_a_seat_that_was_taken_for_no_tick_at_all_is_not_handed_over(tmp_path):
    async def work():
        room, guest, turn = await began(tmp_path)
        room.join("p1", room.take("p1"))
        room.give_back("p1")
        guest.moves = stay
        room.answer("p0", turn, "stay")
        await over(room)

    go(work)
    record, events = record_of(tmp_path / FOLDER)
    assert seated(events, 1) == [(0, "chef")]
    assert not {"handed", "stand_ins"} & set(record.extra)
    assert "by_hand" not in record.counts["p1"]
    alone = headless(kitchen(), [Stays(), make_agent("chef")])
    assert record.world == alone.world, "the agent kept its memory"


class Stays(Agent):
    """Stays."""

    name = "stays"

    def act(self, obs):
        return "stay"


def test_an_answer_that_was_given_stands_when_the_seat_is_handed_back(tmp_path):
    async def work():
        room, guest, turn = await began(tmp_path)
        taker = Guest(room, "p1", token=room.take("p1"))
        room.answer("p0", turn, "stay")
        room.answer("p1", await taker.turn(1), "west")
        await asyncio.sleep(0.02)
        room.give_back("p1")
        guest.moves = stay
        room.answer("p0", await guest.turn(1), "stay")
        await over(room)
        assert room.seats["p1"].tally.played == 1

    go(work)
    record, events = record_of(tmp_path / FOLDER)
    assert who(events, 1)[:3] == ["chef", "person", "chef"]
    assert record.extra["handed"] == {"p1": [[1, "person"], [2, "chef"]]}
    assert verify(tmp_path / FOLDER, "agents").ok


def test_two_seats_are_given_back_in_one_tick(tmp_path):
    async def work():
        room = await Room.create(Desk(tmp_path), kitchen(seats={"p0": "chef", "p1": "chef"}))
        takers = [Guest(room, name, token=room.take(name)) for name in ("p0", "p1")]
        room.start()
        for taker in takers:
            await taker.turn(0)
        room.give_back("p0")
        room.give_back("p1")
        await over(room)

    go(work)
    record, events = record_of(tmp_path / FOLDER)
    assert set(who(events, 0) + who(events, 1)) == {"chef"}
    assert record.extra["handed"] == {name: [[0, "person"], [0, "chef"]] for name in ("p0", "p1")}
    assert verify(tmp_path / FOLDER, "agents").ok


def test_what_somebody_did_not_say_yet_is_not_said_by_whoever_comes_next(tmp_path):
    async def work():
        room, guest, turn = await began(tmp_path)
        first = Guest(room, "p1", token=room.take("p1"))
        room.answer("p0", turn, "stay")
        await first.turn(1)
        room.say("p1", "a secret of the first one")
        room.give_back("p1")
        Guest(room, "p1", token=room.take("p1"), moves=stay)
        guest.moves = stay
        room.answer("p0", await guest.turn(1), "stay")
        await over(room)

    go(work)
    _, events = record_of(tmp_path / FOLDER)
    assert not [unpack(e.payload) for e in events if e.kind == "msg"]
    assert who(events, 1)[-1] == "person"


def test_whoever_comes_with_a_new_link_agrees_anew_also_in_a_seat_that_is_taken(tmp_path):
    async def work():
        room = await Room.create(Desk(tmp_path), kitchen(seats=BESIDE, consent="Moves are recorded."))
        old = Guest(room, "p0")
        with pytest.raises(Conflict, match="agree"):
            room.ready("p0")
        room.invite("p0")
        assert old.line.closed[0] == 4003
        guest = Guest(room, "p0")
        with pytest.raises(Conflict, match="agree"):
            room.ready("p0")
        room.ready("p0", consent=True)
        turn = await guest.turn(0)
        taker = Guest(room, "p1", token=room.take("p1"), moves=stay)
        told = await taker.until(lambda m: m["kind"] == "room")
        assert (told["consent"], told["agreed"]) == ("Moves are recorded.", False)
        room.answer("p0", turn, "stay")
        turn = await guest.turn(1)
        assert not taker.states[-1]["turn"], "whoever has not agreed is shown the game, and does not play"
        with pytest.raises(Conflict, match="agree"):
            room.ready("p1")
        room.ready("p1", consent=True)
        guest.moves = stay
        room.answer("p0", turn, "stay")
        await over(room)

    go(work)
    _, events = record_of(tmp_path / FOLDER)
    assert who(events, 1) == ["chef"] * 2 + ["person"] * 10


def test_nobody_plays_without_having_agreed_also_where_the_game_began_without_them(tmp_path):
    async def work():
        room = await Room.create(Desk(tmp_path), kitchen(seats={"p0": "person", "p1": "noop"}, consent="As you like."))
        guest = Guest(room, "p0")
        room.start()
        turn = await guest.turn(0)
        for act in (lambda: room.answer("p0", turn, "stay"), lambda: room.say("p0", "hello")):
            with pytest.raises(Refused, match="agree"):
                act()
        room.ready("p0", consent=True)
        guest.moves = stay
        room.answer("p0", turn, "stay")
        await over(room)

    go(work)
    record, _ = record_of(tmp_path / FOLDER)
    assert record.counts["p0"]["refused"] == 1


# -- an agent in the place of a person ----------------------------------------------------------------------------
def test_an_agent_plays_on_where_a_person_is_gone_for_good(tmp_path):
    async def work():
        room, guest, _ = await began(tmp_path, seats={"p0": "person", "p1": "noop"})
        guest.moves = lambda told: cycle(0)(told) if told["tick"] < 4 else None
        room.answer("p0", await guest.turn(0), cycle(0)({"tick": 0}))
        await guest.turn(4)
        room.leave(guest.line)
        await room.hand_over("p0", "chef")
        with pytest.raises(Forbidden):
            room.join("p0", guest.token)
        await over(room)
        told = room.told()["seats"][0]
        assert (told["who"], told["person"], told["stands_in"]) == ("chef", False, True)

    go(work)
    folder = tmp_path / FOLDER
    record, events = record_of(folder)
    assert who(events, 0) == ["person"] * 4 + ["chef"] * 8, "the turn that was open is the agent's"
    assert seated(events, 0) == [(0, "person"), (4, "chef")]
    assert record.lineup == "person+noop", "the lineup is what it was"
    assert record.extra["handed"] == {"p0": [[4, "chef"]]}
    stand_in = record.extra["stand_ins"]["p0"]
    assert (stand_in["agent"], stand_in["table"], stand_in["manifest"]["kind"]) == ("chef", {"type": "chef"}, "script")
    assert not any("timeout" in counts for counts in record.counts.values())
    checked = verify(folder, "agents")
    assert checked.ok
    assert checked.replayed == 1
    lines = result(folder).notes
    assert any("handed over by hand in 1 episode" in line for line in lines), lines

    class Both(Script):
        """A person's moves, then the chef's."""

        chef = make_agent("chef")

        def act(self, obs):
            return super().act(obs) if obs.tick < 4 else self.chef.act(obs)

    assert headless(kitchen(), [Both(0), make_agent("noop")]).world == record.world


@pytest.mark.parametrize("clock", ["tick:50", "deadline:0.05"])
def test_at_clocks_that_do_not_wait_it_plays_from_the_next_tick_on(tmp_path, clock):
    async def work():
        room, guest, _ = await began(tmp_path, clock=clock, conduct={"timeout": ["noop"]})
        turn = await guest.turn(2)
        await room.hand_over("p0", {"type": "noop"})
        assert guest.line.closed[0] == 4005
        with pytest.raises(Refused):
            room.answer("p0", turn, "stay")
        await over(room)

    go(work)
    _, events = record_of(tmp_path / FOLDER)
    assert set(who(events, 0)[:3]) == {"person"}
    (_, first), (handed, then) = seated(events, 0)
    assert (first, then) == ("person", "noop")
    assert handed >= 3
    assert set(who(events, 0)[handed:]) == {"noop"}
    assert all(e.origin == "own" for e in events if e.kind == "act" and e.seat == 0 and e.tick >= handed)
    assert verify(tmp_path / FOLDER, "agents").ok


def test_it_stays_in_the_games_that_follow_and_its_seat_can_be_taken(tmp_path):
    async def work():
        room = await Room.create(Desk(tmp_path), kitchen(episodes=2))
        guest = Guest(room, "p0", moves=stay)
        room.ready("p0")
        assert room.status == "waiting", "p1 is waited for"
        await room.hand_over("p1", "chef")
        await guest.until(lambda m: m["kind"] == "end")
        assert room.status == "between"
        taker = Guest(room, "p1", token=room.take("p1"), moves=stay)
        room.ready("p0")
        await taker.turn(3)
        room.give_back("p1")
        await over(room)

    go(work)
    first, events = record_of(tmp_path / FOLDER)
    assert who(events, 1) == ["chef"] * 12
    assert first.extra["handed"] == {"p1": [[0, "chef"]]}
    second, events = record_of(tmp_path / FOLDER, 1)
    assert second.extra["handed"] == {"p1": [[4, "chef"]]}, (
        "whoever took the seat before it began was there from its beginning"
    )
    assert who(events, 1) == ["person"] * 4 + ["chef"] * 8
    assert verify(tmp_path / FOLDER, "agents").ok


def test_a_room_that_was_cut_off_remembers_who_stands_in(tmp_path):
    """Also where the newest snapshot is older than the handover."""

    async def before():
        room = await Room.create(Desk(tmp_path), kitchen())
        one, two = Guest(room, "p0"), Guest(room, "p1")
        room.ready("p0")
        room.ready("p1")
        one.moves = two.moves = lambda told: "stay" if told["tick"] < 3 else None
        await two.turn(3)
        old = room._shelf()
        await room.hand_over("p1", "chef")
        one.moves = lambda told: "stay" if told["tick"] < 6 else None
        room.answer("p0", await one.turn(3), "stay")
        await one.turn(6)
        room.close("the server ended")
        await room.gone()
        keeper = type(room.keeping.keeper)(room.folder)  # as if the newer snapshots had not reached the disk
        keeper.write(room.kept(1000), old)
        tokens["p0"] = one.token

    async def again():
        folder = tmp_path / FOLDER
        room = await Room.reopen(folder, unfinished(folder))
        assert room.seats["p1"].stands_in
        one = Guest(room, "p0", token=tokens["p0"], moves=stay)
        room.ready("p0")
        await over(room)
        assert one.states[0]["tick"] == 3

    tokens = {}
    go(before)
    go(again)
    record, events = record_of(tmp_path / FOLDER)
    assert who(events, 1) == ["person"] * 3 + ["chef"] * 9
    assert record.extra["handed"] == {"p1": [[3, "chef"]]}, "the handover after the snapshot is one, too"
    assert record.extra["resumed"] == 1
    assert record.extra["stand_ins"]["p1"]["agent"] == "chef"
    assert verify(tmp_path / FOLDER, "agents").ok


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ("python:os:system", Forbidden, "command line"),
        ({"type": "worker", "command": ["sh"]}, Forbidden, "command line"),
        ("policy:/etc/passwd", Forbidden, "command line"),
        ("person", Forbidden, "command line"),
        ("cheff", CrossplayError, "chef"),
        ("scholar", CrossplayError, "scholar"),
        ({"type": "chef", "speed": 3}, CrossplayError, "speed"),
        ({}, CrossplayError, "type"),
    ],
)
def test_who_cannot_stand_in_changes_nothing(tmp_path, given, error, words):
    async def work():
        room, guest, turn = await began(tmp_path)
        with pytest.raises(error, match=words):
            await room.hand_over("p0", given)
        with pytest.raises(Conflict, match="an agent plays"):
            await room.hand_over("p1", "chef")
        assert guest.line.closed is None
        room.answer("p0", turn, "stay")
        room.close(final=True)
        await room.gone()
        with pytest.raises(Conflict, match="closed"):
            await room.hand_over("p0", "chef")

    go(work)


def test_an_agent_of_the_same_name_beside_it_is_not_handed_over(tmp_path):
    """The chef in p1 and the one that takes p0's place are one agent; p1 stays as it is."""

    async def work():
        room, guest, turn = await began(tmp_path)
        room.answer("p0", turn, "stay")
        await guest.turn(1)
        await room.hand_over("p0", "chef")
        await over(room)

    go(work)
    record, _ = record_of(tmp_path / FOLDER)
    assert record.extra["handed"] == {"p0": [[1, "chef"]]}
    assert "handoffs" not in record.counts["p1"]


def test_an_agent_that_is_named_as_one_of_the_study_is_that_one_and_others_have_names_of_their_own(tmp_path):
    async def work():
        spec = kitchen(seats={"p0": "person", "p1": {"type": "policy:kitchen/cramped_room-1", "sample": True}})
        room = await Room.create(Desk(tmp_path), spec)
        await room.hand_over("p0", "policy:kitchen/cramped_room-1")
        name = room.seats["p1"].agent
        assert room.seats["p0"].agent == name + "-2", "another table, another name"
        room.start()
        await over(room)

    go(work)
    record, events = record_of(tmp_path / FOLDER)
    assert set(who(events, 0)) == {"policy:kitchen/cramped_room-1-2"}
    assert record.extra["stand_ins"]["p0"]["table"] == {"type": "policy:kitchen/cramped_room-1"}
