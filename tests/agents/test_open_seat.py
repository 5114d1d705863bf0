"""Open seats without any protocol: the mailbox, on one event loop and across threads."""

import asyncio
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.agents import make_agent
from crossplay.agents.open_mailbox import Mailbox
from crossplay.agents.open_seat import OpenSeat
from crossplay.agents.open_turn import Refused, read_answer, turn_of
from crossplay.kernel import (
    ActionSpec,
    Agent,
    Block,
    CrossplayError,
    Env,
    Observation,
    Stop,
    aio,
    loop,
    make_env,
    pack,
    play,
    recorded,
    unpack,
)
from crossplay.kernel.obs import Scope


class Secrets(Env):
    """Each seat holds a number that the other may not know; both act at once and hear each other."""

    name, seats, horizon, mailed = "test/secrets", ("a", "b"), 3, True
    views, rules, metrics = ("data", "text"), "Name your number or keep quiet.", {"named": "how often"}
    SPEC = ActionSpec("names", names=("quiet", "name", "never"), noop=0)

    def reset(self, key, task=None):
        self.key, self.tick, self.named = key, 0, 0

    def ended(self):
        return "horizon" if self.tick >= self.horizon else None

    def to_act(self):
        return self.seats

    def spec(self, seat):
        return self.SPEC

    def legal(self, seat):
        return (True, True, False)

    def audience(self, seat):
        return tuple(s for s in self.seats if s != seat)

    def data(self, seat):
        return {"secret": f"secret-of-{seat}-{self.key.hex()[:8]}", "tick": self.tick}

    def step(self, actions, mail):
        self.tick += 1
        self.named += sum(actions.values())
        return [float(actions[s]) for s in self.seats]

    def score(self):
        return {"named": float(self.named)}

    def snapshot(self):
        return pack([self.key, self.tick, self.named])

    def restore(self, b):
        self.key, self.tick, self.named = unpack(b)


class Quiet(Agent):
    name = "quiet"

    def act(self, obs):
        return 0


class Listener(Agent):
    """Keeps what it hears."""

    name = "listener"

    def __init__(self):
        self.heard = []

    def act(self, obs):
        self.heard += [(m.src, m.body) for m in obs.inbox]
        return 0


async def first_legal(box, moves=None, **more):
    """A party that takes the first legal action until all is over; returns the states it was told."""
    states = []
    with box.contact(client="test"):
        while moves is None or moves > 0:
            state, turn = await box.observe(5)
            states.append(state)
            if state["status"] == "over":
                break
            if turn is not None:
                box.answer(turn.names()[0], turn=turn.id, **more)
                moves = None if moves is None else moves - 1
    return states


def episode(seat, env=None, other=None, block=1, clock="wait"):
    env = env or Secrets()
    env.clock = clock
    first, second = env.seats
    return play(env, {first: seat, second: other or Quiet()}, Block(7, block))


async def together(seat, *episodes, party=first_legal):
    """Play the episodes side by side, with a party; (outcomes, what the party was told)."""
    playing = asyncio.create_task(party(seat.mailbox))
    outcomes = await asyncio.gather(*(aio(e) for e in episodes))
    seat.mailbox.finish()
    return outcomes, await playing


# -- playing ---------------------------------------------------------------------------------------
def test_a_partys_episode_is_that_of_a_script_and_replays():
    seat = OpenSeat("guest")
    env = make_env("kitchen/cramped_room", {"horizon": 12})
    (outcome,), states = asyncio.run(together(seat, episode(seat, env, make_agent("chef"))))
    script = play(
        make_env("kitchen/cramped_room", {"horizon": 12}),
        {"p0": make_agent("first-legal"), "p1": make_agent("chef")},
        Block(7, 1),
    )
    assert outcome.world == loop(script).world  # whoever answers: the world is the same
    again = play(make_env("kitchen/cramped_room", {"horizon": 12}), recorded(outcome.trace(), env.seats), Block(7, 1))
    assert loop(again).world == outcome.world
    assert [s["status"] for s in states] == ["your_turn"] * 12 + ["episode_over", "over"]
    assert states[-2]["ended"] == "horizon" and states[-1]["episodes_finished"] == 1


def test_a_front_may_live_on_another_thread_and_loop():
    seat = OpenSeat("guest")
    told = []
    front = threading.Thread(target=lambda: told.extend(asyncio.run(first_legal(seat.mailbox))))
    front.start()
    outcome = loop(episode(seat))  # this driver gives each request to a loop of its own
    seat.mailbox.finish()
    front.join(10)
    assert outcome.status == "horizon" and outcome.counts["a"]["decisions"] == 3
    assert [s["tick"] for s in told if s["status"] == "your_turn"] == [0, 1, 2]


def test_who_played_is_noted_once():
    seat = OpenSeat("guest")
    (outcome,), _ = asyncio.run(together(seat, episode(seat)))
    notes = [unpack(e.note) for e in outcome.trace() if e.kind == "note"]
    assert notes == [{"party": {"client": "test"}}]


def test_what_is_said_reaches_the_other_seat_with_the_move():
    seat, other = OpenSeat("guest"), Listener()

    async def talk(box):
        with box.contact():
            await box.observe(5)
            box.say("good morning")
            box.answer("quiet", say=[("b", "and good night")], confidence=0.5, rationale="why not")
            await first_legal(box, 2)

    (outcome,), _ = asyncio.run(together(seat, episode(seat, other=other), party=talk))
    assert other.heard == [("a", "good morning"), ("a", "and good night")]
    act = next(e for e in outcome.trace() if e.kind == "act" and e.seat == 0)
    assert unpack(act.note) == {"confidence": 0.5, "rationale": "why not"}


def test_the_party_is_told_rewards_and_what_was_played_for_it():
    seat = OpenSeat("guest")

    async def name_it(box):
        found = []
        with box.contact():
            for _ in range(4):
                state, turn = await box.observe(5)
                found.append(state)
                if turn is not None:
                    box.answer("name")
        return found

    _, states = asyncio.run(together(seat, episode(seat), party=name_it))
    assert states[1]["last"] == {"value": "name", "origin": "own"} and states[1]["reward"] == 1.0
    assert states[2]["total_reward"] == 2.0 and states[3]["total_reward"] == 3.0
    rows = seat.mailbox.history(1)
    assert [(r["answer"], r["reward"]) for r in rows] == [("name", 1.0)] * 3


def test_skills_are_offered_where_the_seat_is_wrapped():
    agent = make_agent({"type": "chef"})  # the environment's own skills need no other agent
    from crossplay.agents import Skilled

    seat = OpenSeat("guest")
    env = make_env("kitchen/cramped_room", {"horizon": 12})
    wrapped = Skilled(seat)
    wrapped.check(env, "p0")
    (outcome,), states = asyncio.run(together(seat, play(env, {"p0": wrapped, "p1": agent}, Block(7, 1))))
    shown = [s for s in states if s["status"] == "your_turn"]
    assert 0 < len(shown) < 12 and set(shown[0]["answer"]["legal"]) <= set(env.skills.names)
    assert "skill" in seat.mailbox.rules()["kitchen/cramped_room@1"] and outcome.status == "horizon"


def test_a_member_of_a_team_may_sit_outside():
    from crossplay.teams import make_team

    seat = OpenSeat("guest")
    team = make_team([seat, Quiet(), Quiet()], {"name": "debate", "rounds": 1})
    (outcome,), states = asyncio.run(together(seat, episode(team)))
    mine = [s for s in states if s["status"] == "your_turn"]
    assert outcome.status == "horizon" and len(mine) == 6  # an answer and one more after the debate, at three ticks
    assert any(m["channel"] == "team" for s in mine for m in s["inbox"]) and all("brief" in s for s in mine[1::2])


# -- wrong answers ---------------------------------------------------------------------------------
def test_wrong_answers_are_refused_named_and_counted_and_cost_no_turn():
    seat = OpenSeat("guest")

    async def clumsy(box):
        with box.contact():
            _, turn = await box.observe(5)
            with pytest.raises(
                Refused, match=r'unknown action \'quit\'\. Did you mean "quiet"\? Legal now: quiet, name'
            ):
                box.answer("quit")
            with pytest.raises(Refused, match="not legal now"):
                box.answer("never")
            with pytest.raises(Refused, match="there is no turn 99"):
                box.answer("quiet", turn=99)
            for said, why in (([("c", "x")], "cannot hear"), ([("*", "x" * 9000)], "9000 characters")):
                with pytest.raises(Refused, match=why):
                    box.answer("quiet", say=said)
            with pytest.raises(Refused, match="confidence 2"):
                box.answer("quiet", confidence=2)
            assert box.turn().id == turn.id
            box.answer("name")
            with pytest.raises(Refused, match=r"not your turn|turn 1 is over"):
                box.answer("name", turn=turn.id)
            await first_legal(box, 2)

    (outcome,), _ = asyncio.run(together(seat, episode(seat), party=clumsy))
    assert outcome.counts["a"]["refused"] == 2 and "invalid" not in outcome.counts["a"]
    assert outcome.score == {"named": 1.0}


def test_too_many_wrong_answers_lose_the_turn_as_an_invalid_move():
    seat = OpenSeat("guest", Mailbox(refusals=3))

    async def stubborn(box):
        with box.contact():
            for _ in range(3):
                await box.observe(5)
                for k in range(3):
                    with pytest.raises(Refused, match="the turn is lost" if k == 2 else "answer again") as refused:
                        box.answer("nonsense")
                    assert refused.value.lost == (k == 2)

    (outcome,), _ = asyncio.run(together(seat, episode(seat), party=stubborn))
    assert outcome.counts["a"]["invalid"] == 3 and outcome.counts["a"]["refused"] == 9
    assert outcome.counts["a"]["link_noop"] == 3 and outcome.status == "horizon"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
_SPECS = [
    ActionSpec("names", names=("up", "down"), noop=0),
    ActionSpec("text", max_len=5),
    ActionSpec("box", low=-1.0, high=1.0, shape=(2,)),
    ActionSpec("data", schema={"type": "object", "properties": {"n": {"type": "integer", "minimum": 0}}, "required": ["n"]}),
]  # fmt: skip


class Any1(Env):
    name, seats, horizon, views = "test/any", ("a",), 1, ("data",)
    options: dict = {}

    def __init__(self, spec):
        self._spec = spec

    def spec(self, seat):
        return self._spec

    def data(self, seat):
        return {}


def turn_for(spec):
    return turn_of(Observation(Scope(Any1(spec), "test/any@1", Block(), "a"), "act", 0), 1, 1, 0.0, ("data",))


@given(st.sampled_from(_SPECS), _JSON)
@settings(max_examples=200)
def test_whatever_a_party_sends_is_canonical_or_refused_in_words(spec, value):
    turn = turn_for(spec)
    try:
        read = read_answer(turn, value)
    except Refused as refused:
        assert str(refused).strip()
    else:
        assert pack(spec.check(read)) == pack(read)


@given(st.lists(st.sampled_from(["good", "bad", "stale", "say", "leave", "look"]), max_size=30))
@settings(max_examples=60, deadline=None)
def test_whatever_a_party_does_the_trace_holds_its_answers_and_nothing_else(deeds):
    seat, refusals = OpenSeat("guest", Mailbox(refusals=3)), 3
    taken, wrong = [], [0]

    async def party(box):
        row, answered = 0, None
        for deed in [*deeds, *["good"] * 3]:
            with box.contact():
                _, turn = await box.observe(5)
                if turn is None:
                    return
                if deed == "good":
                    taken.append(1)
                    box.answer("name", turn=turn.id)
                    row, answered = 0, turn
                elif deed == "bad":
                    row, wrong[0] = row + 1, wrong[0] + 1
                    with pytest.raises(Refused) as refused:
                        box.answer("nonsense", turn=turn.id)
                    assert refused.value.lost == (row == refusals)
                    if refused.value.lost:
                        taken.append(0)
                        row, answered = 0, turn
                elif deed == "stale" and answered is not None:
                    with pytest.raises(Refused):
                        box.answer("name", turn=answered.id)
                elif deed == "say" and len(turn.said) < 16:
                    box.say("hello")

    (outcome,), _ = asyncio.run(together(seat, episode(seat), party=party))
    played = [e.value for e in outcome.trace() if e.kind == "act" and e.seat == 0]
    assert outcome.status == "horizon" and played == taken[:3]
    assert outcome.counts["a"].get("refused", 0) == wrong[0]
    assert outcome.counts["a"].get("invalid", 0) == taken[:3].count(0)
    assert loop(play(Secrets(), recorded(outcome.trace(), Secrets.seats), Block(7, 1))).world == outcome.world


@pytest.mark.parametrize("spec", _SPECS)
def test_nesting_without_end_is_refused(spec):
    deep = []
    for _ in range(3000):
        deep = [deep]
    for value in (deep, "[" * 100_000):
        with pytest.raises(Refused):
            read_answer(turn_for(spec), value)


def test_numbers_and_data_may_come_as_json_text():
    assert read_answer(turn_for(_SPECS[2]), "[0.5, -1]").tolist() == [0.5, -1.0]
    assert read_answer(turn_for(_SPECS[3]), '{"n": 3}') == {"n": 3}
    with pytest.raises(Refused, match='must fit {"type":"object"'):
        read_answer(turn_for(_SPECS[3]), "three")


# -- clocks, silence, absence ----------------------------------------------------------------------
def test_silence_is_a_timeout_of_the_clock_and_a_late_answer_is_refused_and_counted():
    seat = OpenSeat("guest")

    async def slow(box):
        with box.contact():
            state, turn = await box.observe(5)
            assert 0 < state["deadline_s"] <= 0.6
            while (await box.observe(5))[1].id == turn.id:
                await asyncio.sleep(0.01)
            with pytest.raises(Refused, match="turn 1 is over"):
                box.answer("name", turn=turn.id)
            box.answer("name")
            await first_legal(box, 1)

    (outcome,), _ = asyncio.run(together(seat, episode(seat, clock="deadline:0.6"), party=slow))
    assert outcome.counts["a"]["timeout"] == 1 and outcome.counts["a"]["late"] == 1
    assert outcome.status == "horizon" and outcome.score == {"named": 1.0}


def test_at_tick_pace_what_has_not_come_is_held():
    seat = OpenSeat("guest")

    async def once(box):
        with box.contact():
            await box.observe(5)
            box.answer("name")
            while (await box.observe(5))[0]["status"] != "over":
                await asyncio.sleep(0.02)

    (outcome,), _ = asyncio.run(together(seat, episode(seat, clock="tick:5"), party=once))
    assert outcome.score == {"named": 1.0} and outcome.counts["a"]["held"] == 2
    assert "timeout" not in outcome.counts["a"]


def test_a_party_that_is_gone_leaves_the_episode_void_and_plays_it_again():
    seat = OpenSeat("guest", Mailbox(grace=0.1, wait=5))
    box = seat.mailbox

    async def study():
        playing = asyncio.create_task(first_legal(box, 1))  # one move, and it is gone
        first = await aio(episode(seat))
        await playing
        again = asyncio.create_task(first_legal(box))
        second = await aio(episode(seat))
        box.finish()
        return first, second, await again

    first, second, told = asyncio.run(study())
    assert first.status == "void" and "gone for 0.1 s" in first.detail
    assert told[0]["ended"] == "void" and "played again" in told[0]["note"] and told[0]["episodes_void"] == 1
    assert second.status == "horizon" and [s["tick"] for s in told if s["status"] == "your_turn"] == [0, 1, 2]


def test_a_party_that_only_looks_misses_its_turns_and_holds_nothing():
    seat = OpenSeat("guest", Mailbox(grace=0.3, turn=0.1))

    async def looks():
        while True:
            with seat.mailbox.contact(client="test"):
                await seat.mailbox.observe(0.02)
            await asyncio.sleep(0.02)

    async def study():
        looking = asyncio.create_task(looks())
        outcome = await asyncio.wait_for(aio(episode(seat)), 20)
        looking.cancel()
        return outcome

    outcome = asyncio.run(study())
    assert outcome.status == "horizon" and outcome.counts["a"]["timeout"] == 3


def test_nobody_comes_stops_the_run_instead_of_playing_for_the_party():
    seat = OpenSeat("guest", Mailbox(wait=0.1))
    with pytest.raises(Stop, match="guest: nobody has come to the open seat a in 0.1 s; the run can be resumed"):
        asyncio.run(aio(episode(seat)))


def test_a_party_that_cannot_come_back_stops_the_run():
    seat = OpenSeat("guest")

    async def leaving():
        playing = asyncio.create_task(aio(episode(seat)))
        await first_legal(seat.mailbox, 1)
        seat.mailbox.leave("the client has closed the connection")
        await playing

    with pytest.raises(Stop, match="the client has closed the connection"):
        asyncio.run(leaving())


def test_the_clock_does_not_run_while_the_party_is_awaited():
    seat = OpenSeat("guest")

    async def late(box):
        await asyncio.sleep(0.8)
        return await first_legal(box)

    (outcome,), _ = asyncio.run(together(seat, episode(seat, clock="deadline:0.6"), party=late))
    assert "timeout" not in outcome.counts["a"]


# -- several episodes ------------------------------------------------------------------------------
@pytest.mark.parametrize(("at_once", "first"), [(1, [1, 1, 1]), (3, [1, 2, 3])])
def test_episodes_queue_for_the_party(at_once, first):
    seat = OpenSeat("guest", Mailbox(at_once=at_once))
    seat.mailbox.expected = 3
    outcomes, told = asyncio.run(together(seat, *(episode(seat, block=b) for b in range(3))))
    shown = [s["episode"] for s in told if s["status"] == "your_turn"]
    assert shown[:3] == first and sorted(shown) == [1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert (shown == sorted(shown)) == (at_once == 1)
    assert [o.status for o in outcomes] == ["horizon"] * 3
    ends = [s for s in told if s["status"] == "episode_over"]
    assert sorted(s["episode"] for s in ends) == [1, 2, 3] and ends[-1]["episodes_left"] == 0
    if at_once == 1:
        assert [s["episodes_left"] for s in ends] == [2, 1, 0]


def test_one_party_may_fill_two_seats_of_one_episode():
    seat = OpenSeat("guest")
    (outcome,), told = asyncio.run(together(seat, episode(seat, other=seat)))
    assert outcome.status == "horizon"
    assert [(s["tick"], s["seat"]) for s in told if s["status"] == "your_turn"] == [
        (t, s) for t in range(3) for s in ("a", "b")
    ]
    assert told[-1]["episodes_finished"] == 1


def test_two_parties_with_queues_of_their_own_do_not_block_each_other():
    one, two = OpenSeat("one"), OpenSeat("two")

    async def study():
        parties = [asyncio.create_task(first_legal(s.mailbox)) for s in (one, two)]
        outcomes = await asyncio.gather(*(aio(episode(one, other=two, block=b)) for b in range(4)))
        for s in (one, two):
            s.mailbox.finish()
        await asyncio.gather(*parties)
        return outcomes

    assert [o.status for o in asyncio.run(asyncio.wait_for(study(), 20))] == ["horizon"] * 4


# -- fair information ------------------------------------------------------------------------------
def test_nothing_that_a_party_can_read_holds_another_seats_data():
    one, two = OpenSeat("one"), OpenSeat("two")

    async def study():
        parties = [asyncio.create_task(first_legal(s.mailbox)) for s in (one, two)]
        await aio(episode(one, other=two))
        for s in (one, two):
            s.mailbox.finish()
        return await asyncio.gather(*parties)

    told = asyncio.run(study())
    for mine, (seat, states) in zip("ab", zip((one, two), told, strict=True), strict=True):
        readable = repr(
            [states, seat.mailbox.history(), seat.mailbox.history(1), seat.mailbox.state(), seat.mailbox.rules()]
        )
        assert f"secret-of-{mine}-" in readable
        assert f"secret-of-{'b' if mine == 'a' else 'a'}-" not in readable
        assert "root" not in readable and Block(7, 1).block not in (s.get("block") for s in states)


def test_options_of_the_world_are_not_told():
    """They may hold what a seat is not to know, and what is to be known stands in the rules and the views."""
    seat, env = OpenSeat("guest"), Secrets()
    env.options = {"traitor": "b"}
    _, told = asyncio.run(together(seat, episode(seat, env)))
    assert "traitor" in env.id and "traitor" not in repr([told, seat.mailbox.history(1), seat.mailbox.rules()])
    assert told[0]["environment"] == "test/secrets@1"


def test_a_seat_shows_only_the_views_it_was_given():
    seat = OpenSeat("guest", views=("text",))
    (outcome,), told = asyncio.run(together(seat, episode(seat)))
    assert "data" not in told[0] and "secret-of-a" in told[0]["text"]
    assert {e.view for e in outcome.trace() if e.kind == "act" and e.seat == 0} == {"text"}
    assert seat.manifest()["view"] == "text"


@pytest.mark.parametrize(
    ("given", "why"), [({"kind": "person"}, "kind"), ({"views": ["array"]}, "no view"), ({"views": []}, "empty")]
)
def test_options_that_cannot_be_are_named(given, why):
    with pytest.raises(CrossplayError, match=why):
        OpenSeat("guest", **given)


def test_an_answer_is_an_action_like_any_other():
    seat = OpenSeat("guest")
    (outcome,), _ = asyncio.run(together(seat, episode(seat)))
    acts = [e for e in outcome.trace() if e.kind == "act" and e.seat == 0]
    assert [e.origin for e in acts] == ["own"] * 3 and all(e.agent == "guest" for e in acts)
