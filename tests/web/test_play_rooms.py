"""Rooms: what people play is recorded as any run, equals its headless replay, and shows each seat its own views only."""

import asyncio
import json
import threading
import time

import pytest
from guests import Guest, Script, cycle, go, headless, kitchen, over, record_of

from crossplay.agents import make_agent
from crossplay.agents.open_turn import Refused, plain
from crossplay.kernel import Action, Agent, Block, Held, load, make_env, unpack
from crossplay.study.verify import verify
from crossplay.web.desk import Conflict, Desk, Forbidden
from crossplay.web.play.record import RoomSpec, unfinished
from crossplay.web.play.room import Room


def test_two_people_play_and_it_equals_the_same_moves_headless(tmp_path):
    spec = kitchen(block=3, root=5)

    async def work():
        room = await Room.create(Desk(tmp_path), spec)
        guests = [Guest(room, "p0", moves=cycle(0)), Guest(room, "p1", ("image",), moves=cycle(1))]
        assert room.status == "waiting"
        room.ready("p0")
        assert room.status == "waiting", "both are waited for"
        room.ready("p1")
        await over(room)
        assert room.status == "over"
        assert guests[0].seen[-1]["kind"] == "closed"
        assert len(guests[1].pictures) >= 1
        assert guests[0].states[-1]["turn"] is None, "the last moment is shown"
        for name in ("p0", "p1"):
            tally = room.seats[name].tally
            assert (tally.received, tally.played) == (12, 12)
        return room.folder

    go(work)
    folder = tmp_path / "play-kitchen-cramped_room"
    record, events = record_of(folder)
    alone = headless(spec, [Script(0), Script(1)])
    assert record.world == alone.world
    assert record.score == alone.score
    assert list(record.totals) == list(alone.totals)
    assert next(e.view for e in events if e.kind == "act" and e.seat == 1) == "image"
    assert verify(folder, "agents").ok
    assert unfinished(folder) is None


def test_a_person_sees_the_views_of_the_seat_and_nothing_else(tmp_path):
    seen = {}

    async def work():
        room = await Room.create(Desk(tmp_path), kitchen(seats={"p0": "person", "p1": "chef"}))
        guest = Guest(room, "p0", ("text", "data", "image"), moves=cycle(2))
        room.ready("p0")
        await over(room)
        seen["states"] = [s for s in guest.states if s["turn"]]
        seen["room"] = next(m for m in guest.seen if m["kind"] == "room")

    go(work)
    _, events = record_of(tmp_path / "play-kitchen-cramped_room")
    env = make_env("kitchen/cramped_room", {"horizon": 12})
    env.start(Block())
    by_tick = {}
    for e in events:
        if e.kind == "act":
            by_tick.setdefault(e.tick, {})[env.seats[e.seat]] = e.value
    shown = {s["tick"]: s for s in seen["states"]}
    for tick in range(12):
        if tick in shown:
            assert shown[tick]["text"] == env.view("p0", "text")
            assert shown[tick]["data"] == plain(env.view("p0", "data"))
        env.step(by_tick[tick], [])
    allowed = {
        "kind",
        "tick",
        "turn",
        "last",
        "reward",
        "audience",
        "episode",
        "total",
        "tally",
        "text",
        "data",
        "legal",
    }
    assert all(set(s) <= allowed for s in shown.values())
    assert len(shown) >= 10
    assert seen["room"]["answer"]["names"] == list(env.spec("p0").names)


def test_blind_rooms_do_not_say_which_agent_plays(tmp_path):
    async def work():
        room = await Room.create(Desk(tmp_path), kitchen(seats={"p0": "person", "p1": "chef"}, blind=True))
        assert "chef" not in json.dumps(room.told("p0"))
        open_room = await Room.create(Desk(tmp_path), kitchen(seats={"p0": "person", "p1": "chef"}))
        assert "chef" in json.dumps(open_room.told("p0"))
        room.close()
        open_room.close()
        await asyncio.sleep(0.2)

    go(work)


def test_consent_comes_first_and_nothing_personal_is_kept(tmp_path):
    async def work():
        room = await Room.create(Desk(tmp_path), kitchen(consent="Moves are recorded.", seats={"p0": "person"}))
        guest = Guest(room, "p0", moves=cycle(0))
        with pytest.raises(Conflict, match="agree"):
            room.ready("p0")
        room.ready("p0", consent=True)
        await over(room)
        assert guest.seen[0]["consent"] == "Moves are recorded."

    go(work)
    kept = (tmp_path / "play-kitchen-cramped_room" / "room" / "state.json").read_text()
    assert set(json.loads(kept)["seats"]["p0"]) == {"token", "taken", "ready", "consent", "stands_in"}


def test_wrong_and_old_tokens_open_nothing(tmp_path):
    async def work():
        room = await Room.create(Desk(tmp_path), kitchen())
        old = room.invite("p0")
        token = room.invite("p0")
        for seat, given in (("p0", old), ("p0", ""), ("p1", token), ("p9", token), ("p0", token + "x")):
            with pytest.raises(Forbidden):
                room.join(seat, given)
        first = room.join("p0", token)
        second = room.join("p0", token)
        assert first.closed[0] == 4002, "the newest connection of a seat is the one"
        assert second.closed is None
        assert token not in (room.folder / "room" / "state.json").read_text()
        room.close()
        await asyncio.sleep(0.1)

    go(work)


def test_a_seat_whose_person_is_gone_waits_and_goes_on_with_the_same_link(tmp_path):
    async def work():
        room = await Room.create(Desk(tmp_path), kitchen(seats={"p0": "person", "p1": "noop"}))
        guest = Guest(room, "p0")
        room.ready("p0")
        turn = await guest.turn(0)
        room.answer("p0", turn, "north")
        await guest.turn(1)
        room.leave(guest.line)
        await asyncio.sleep(0.05)
        assert room.episode.tick == 1
        assert room.status == "playing"
        back = Guest(room, "p0", moves=cycle(0), token=guest.token)
        await over(room)
        assert back.states[0]["tick"] == 1, "what is open is shown to whoever comes back"

    go(work)
    record, _ = record_of(tmp_path / "play-kitchen-cramped_room")
    assert record.counts["p0"]["decisions"] == 12
    assert not any("timeout" in c or "held" in c for c in record.counts.values())


def test_late_foreign_and_wrong_answers_are_refused_and_counted(tmp_path):
    async def work():
        room = await Room.create(Desk(tmp_path), kitchen(seats={"p0": "person", "p1": "noop"}))
        guest = Guest(room, "p0")
        room.ready("p0")
        turn = await guest.turn(0)
        for number, value in ((turn + 1, "north"), (turn - 1, "north"), (turn, "fly"), (turn, ["north"])):
            with pytest.raises(Refused):
                room.answer("p0", number, value)
        guest.moves = cycle(1)
        room.answer("p0", turn, "north")
        await over(room)
        assert room.seats["p0"].tally.refused == 4

    go(work)
    record, _ = record_of(tmp_path / "play-kitchen-cramped_room")
    assert record.counts["p0"]["refused"] == 4
    assert "invalid" not in record.counts["p0"], "nothing was played for a refused answer"


def test_ticks_go_on_gaps_are_held_and_a_late_key_counts_for_the_next_tick(tmp_path):
    spec = kitchen(clock="tick:40", seats={"p0": "person", "p1": "noop"}, options={"horizon": 10})

    def moves(told):
        return "north" if told["tick"] in (2, 5) else None

    async def work():
        room = await Room.create(Desk(tmp_path), spec)
        guest = Guest(room, "p0", moves=moves)
        room.ready("p0")
        turn = await guest.turn(7)
        room.answer("p0", turn - 1, "west")  # pressed before tick 7 was seen: it counts for tick 7
        room.answer("p0", turn, "east")  # a newer one of the same tick takes its place
        await over(room)
        tally = room.seats["p0"].tally
        assert (tally.received, tally.played, tally.replaced) == (4, 3, 1)
        assert room.beat.told().ticks == 9
        return room

    go(work)
    folder = tmp_path / "play-kitchen-cramped_room"
    record, events = record_of(folder)
    own = {e.tick: e.value for e in events if e.kind == "act" and e.seat == 0 and e.origin == "own"}
    held = [e.tick for e in events if e.kind == "act" and e.seat == 0 and e.origin == "held"]
    assert own == {2: 0, 5: 0, 7: 2}
    assert held == [0, 1, 3, 4, 6, 8, 9]
    assert record.counts["p0"]["held"] == 7
    assert record.counts["p0"]["replaced"] == 1
    assert record.env_id.endswith("#tick:40")
    assert verify(folder, "actions").ok

    class Again(Agent):
        def act(self, obs):
            return Action(own[obs.tick]) if obs.tick in own else Action(Held())

    assert headless(spec, [Again(), make_agent("noop")]).world == record.world


def test_after_the_deadline_the_conduct_serves(tmp_path):
    spec = kitchen(
        clock="deadline:0.05",
        options={"horizon": 4},
        seats={"p0": "person", "p1": "noop"},
        conduct={"timeout": ["noop"]},
    )

    async def work():
        room = await Room.create(Desk(tmp_path), spec)
        guest = Guest(room, "p0", moves=lambda told: "west" if told["tick"] == 1 else None)
        room.ready("p0")
        await over(room)
        assert 0 < guest.states[0]["left"] <= 0.05, "the time that is left is told"
        after = next(s for s in guest.states if s["tick"] == 1)
        assert after["last"] == {"value": "stay", "origin": "noop"}, "what was played for the seat is told"

    go(work)
    record, events = record_of(tmp_path / "play-kitchen-cramped_room")
    assert [e.origin for e in events if e.kind == "act" and e.seat == 0] == ["noop", "own", "noop", "noop"]
    assert record.counts["p0"]["timeout"] == 3


@pytest.mark.parametrize("clock", ["wait", "tick:40"])
def test_a_seat_is_taken_from_its_agent_and_handed_back(tmp_path, clock):
    spec = kitchen(clock=clock, seats={"p0": "person", "p1": "chef"}, options={"horizon": 30})

    async def work():
        room = await Room.create(Desk(tmp_path), spec)
        first = Guest(room, "p0", moves=lambda told: "stay" if room.status == "playing" and told["tick"] < 5 else None)
        room.ready("p0")
        await first.turn(5)
        token = room.take("p1")
        with pytest.raises(Conflict):
            room.take("p1")
        taker = Guest(room, "p1", token=token, moves=lambda told: "stay" if told["tick"] < 12 else None)
        first.moves = lambda told: "stay"
        if clock == "wait":
            room.answer("p0", await first.turn(5), "stay")
        await taker.turn(12)
        room.give_back("p1")
        with pytest.raises(Forbidden):
            room.join("p1", token)
        assert taker.line.closed[0] == 4001
        await over(room)

    go(work)
    folder = tmp_path / "play-kitchen-cramped_room"
    record, events = record_of(folder)
    seated = [(e.tick, e.agent, e.origin) for e in events if e.kind == "seat" and e.seat == 1]
    assert [(agent, origin) for _, agent, origin in seated] == [
        ("chef", ""),
        ("person", "handoff"),
        ("chef", "handoff"),
    ]
    taken, back = seated[1][0], seated[2][0]
    assert 6 <= taken < back <= 14
    if clock == "wait":
        assert (taken, back) == (6, 12), "the clock waits: the very turn is the agent's again"
    who = {e.tick: e.agent for e in events if e.kind == "act" and e.seat == 1}
    assert all(who[t] == ("person" if taken <= t < back else "chef") for t in range(30))
    assert record.counts["p1"]["handoffs"] == 2
    checked = verify(folder, "agents")
    assert checked.ok
    assert "by hand" in " ".join(checked.recorded_only.values()) or checked.recorded_only


def test_agents_alone_with_a_handover_are_not_asked_again(tmp_path):
    async def work():
        room = await Room.create(Desk(tmp_path), kitchen(seats={"p0": "chef", "p1": "chef"}, clock="tick:40"))
        token = room.take("p1")
        room.start()
        Guest(room, "p1", token=token, moves=lambda told: "stay")
        await over(room)

    go(work)
    checked = verify(tmp_path / "play-kitchen-cramped_room", "agents")
    assert checked.ok
    assert checked.reexecuted == 0
    assert "handed over by hand" in next(iter(checked.recorded_only.values()))


def test_an_agent_may_not_be_taken_twice_nor_a_person_be_taken_over(tmp_path):
    async def work():
        room = await Room.create(Desk(tmp_path), kitchen(seats={"p0": "person", "p1": "chef"}))
        with pytest.raises(Conflict):
            room.take("p0")
        with pytest.raises(Conflict):
            room.give_back("p1")
        with pytest.raises(Conflict):
            room.invite("p1")
        room.close()
        await asyncio.sleep(0.1)

    go(work)


def test_messages_reach_the_other_seat_with_the_next_move(tmp_path):
    async def work():
        room = await Room.create(Desk(tmp_path), kitchen())
        one, two = Guest(room, "p0"), Guest(room, "p1", moves=cycle(0))
        room.ready("p0")
        room.ready("p1")
        turn = await one.turn(0)
        room.say("p0", "I take the onions")
        room.answer("p0", turn, "stay")
        heard = await two.until(lambda m: m["kind"] == "heard")
        assert (heard["from"], heard["body"]) == ("p0", "I take the onions")
        one.moves = cycle(1)
        room.answer("p0", await one.turn(1), "stay")
        await over(room)

    go(work)
    _, events = record_of(tmp_path / "play-kitchen-cramped_room")
    assert [unpack(e.payload)[2] for e in events if e.kind == "msg"] == ["I take the onions"]


def test_a_closed_room_goes_on_where_it_was(tmp_path):
    spec = kitchen(episodes=2)

    async def before():
        room = await Room.create(Desk(tmp_path), spec)
        one, two = Guest(room, "p0", moves=cycle(0)), Guest(room, "p1", moves=cycle(1))
        room.ready("p0")
        room.ready("p1")
        await one.until(lambda m: m["kind"] == "end")
        one.moves = lambda told: cycle(0)(told) if told["tick"] < 6 else None
        room.ready("p0")
        room.ready("p1")
        await one.until(lambda m: m["kind"] == "state" and m["episode"] == 2 and m["tick"] == 6)
        room.close("the server ended")
        await asyncio.wait({room._task})
        tokens.update(p0=one.token, p1=two.token)

    async def after():
        folder = tmp_path / "play-kitchen-cramped_room"
        kept = unfinished(folder)
        assert kept is not None
        room = await Room.reopen(folder, kept)
        one = Guest(room, "p0", moves=cycle(0), token=tokens["p0"])
        Guest(room, "p1", moves=cycle(1), token=tokens["p1"])
        room.ready("p0")
        room.ready("p1")
        await over(room)
        assert min(s["tick"] for s in one.states) == 6
        assert room.number == 2
        assert room.told("p0")["episodes"] == 2

    tokens = {}
    go(before)
    go(after)
    folder = tmp_path / "play-kitchen-cramped_room"
    for n in (0, 1):
        record, _ = record_of(folder, n)
        assert record.world == headless(kitchen(block=n), [Script(0), Script(1)]).world
    assert verify(folder).ok
    assert unfinished(folder) is None


def test_whoever_watches_is_noted(tmp_path):
    async def work():
        room = await Room.create(Desk(tmp_path), kitchen(seats={"p0": "person"}))
        guest = Guest(room, "p0", moves=cycle(0))
        line = room.watch(("image", "text"))
        room.ready("p0")
        await over(room)
        assert guest.states
        got = await line.next()
        assert any(isinstance(m, bytes) for m in got)

    go(work)
    record, _ = record_of(tmp_path / "play-kitchen-cramped_room")
    assert record.extra["watched"] is True


def test_boards_are_played_in_turn(tmp_path):
    pytest.importorskip("pyspiel")
    spec = RoomSpec(environment="openspiel/tic_tac_toe", seats={"p0": "person", "p1": "first-legal"}, countdown_s=0.0)
    script = iter(["x(1,1)", "x(2,0)", "x(0,2)"])

    async def work():
        room = await Room.create(Desk(tmp_path), spec)
        guest = Guest(room, "p0", ("text",), moves=lambda told: next(script))
        room.ready("p0")
        await over(room)
        assert "x(1,1)" not in guest.states[-2]["legal"] if "legal" in guest.states[-2] else True

    go(work)
    record, _ = record_of(tmp_path / "play-openspiel-tic_tac_toe")
    assert record.status == "terminal"
    assert record.totals[0] == 1.0


def test_agents_that_think_for_long_hold_up_nobody(tmp_path, monkeypatch):
    """A second room goes on ticking while an agent of the first one thinks, and its moves are its own."""
    monkeypatch.setattr(load("agents", "chef"), "quick", False)
    where = []
    chef = type(make_agent("chef"))
    thinks = "act_batch" if hasattr(chef, "act_batch") else "act"
    before = getattr(chef, thinks)

    def slow(self, given):
        where.append(threading.current_thread() is threading.main_thread())
        time.sleep(0.005)
        return before(self, given)

    monkeypatch.setattr(chef, thinks, slow)

    async def work():
        room = await Room.create(Desk(tmp_path), kitchen(seats={"p0": "person", "p1": "chef"}))
        Guest(room, "p0", moves=cycle(0))
        room.ready("p0")
        await over(room)

    go(work)
    assert where
    assert not any(where)
    monkeypatch.undo()
    record, _ = record_of(tmp_path / "play-kitchen-cramped_room")
    assert record.world == headless(kitchen(), [Script(0), make_agent("chef")]).world
    assert record.counts["p1"]["decisions"] == 12


def test_dialogue_is_played_in_words(tmp_path):
    spec = RoomSpec(environment="qa/arithmetic", seats={"solver": "person"}, countdown_s=0.0)

    async def work():
        room = await Room.create(Desk(tmp_path), spec)
        guest = Guest(room, "solver", ("text",), moves=lambda told: "the answer is 7")
        room.ready("solver")
        await over(room)
        assert "?" in guest.states[0]["text"]

    go(work)
    assert verify(tmp_path / "play-qa-arithmetic").ok
