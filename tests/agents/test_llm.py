"""`llm` and `vlm`: what is shown, how answers are read, what is counted, and that seats do not wait for each other."""

import asyncio
import contextlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossplay.agents import Context, Llm, make_agent
from crossplay.agents.llm import OPTIONS, Settings
from crossplay.agents.prompt import Choices, Unreadable, find_json, labels, read_choice
from crossplay.kernel import (
    ActionSpec,
    Block,
    Conduct,
    CrossplayError,
    Env,
    Lineup,
    aio,
    loop,
    pack,
    pick,
    play,
    unpack,
)  # fmt: skip
from crossplay.models import Door, Reply, ScriptedBackend
from crossplay.models.loopback import FAKE_VLM, Loopback
from crossplay.records.cassette import Cassette

MOVES = ("left", "right", "stay put", "stay")


class Bands(Env):
    """Each tick one of four bands is lit; naming it pays. Four seats at once."""

    name, horizon, rules = "bands", 4, "Name the band that is lit."
    views = ("data", "text", "image")
    masked = False
    hearing = False

    def __init__(self, seats=("p0", "p1", "p2", "p3"), spec=None):
        self.seats = seats
        self._spec = spec or ActionSpec("names", MOVES, noop=3)

    def reset(self, key, task=None):
        self.key, self.t, self.total = key, 0, 0.0
        self.heard = []

    @property
    def lit(self):
        return pick(self.key, 4, self.t, 0)

    def to_act(self):
        return self.seats

    def ended(self):
        return "horizon" if self.t >= self.horizon else None

    def spec(self, seat):
        return self._spec

    def legal(self, seat):
        return [True, False, True, True] if self.masked and self._spec.kind == "names" else None

    def audience(self, seat):
        return tuple(s for s in self.seats if s != seat) if self.hearing else ()

    def data(self, seat):
        return {"lit": self.lit}

    def view_image(self, data):
        image = np.full((4, 16, 3), 20, np.uint8)
        image[:, data["lit"] * 4 : data["lit"] * 4 + 4] = 250
        return image

    def step(self, actions, mail):
        hits = [float(a == self.lit) if isinstance(a, int) else 0.0 for a in actions.values()]
        self.t, self.total = self.t + 1, self.total + sum(hits)
        self.heard += [m.body for m in mail]
        return hits

    def score(self):
        return {"hits": self.total}

    def snapshot(self):
        return pack([self.key, self.t, self.total])

    def restore(self, snapshot):
        self.key, self.t, self.total = unpack(snapshot)


def scripted(answer=None, **options):
    """A door whose model "m" answers by a function of the request."""
    return Door({"m": ScriptedBackend("m", answer, **options)})


def run(env, agent, block=0, driver=None, conduct=None):
    episode = play(env, Lineup(dict.fromkeys(env.seats, agent)), Block(0, block), conduct or Conduct())
    return loop(episode) if driver == "loop" else asyncio.run(aio(episode))


def user_texts(door):
    return [unpack(r.call.request)["messages"][-1]["text"] for r in door.cassette.rows()]


def answers(outcome, seat=0):
    return [e[5] for e in outcome.events if e[3] == "act" and e[1] == seat]


# -- what is shown ---------------------------------------------------------------------------------
def test_static_text_first_state_last():
    door = scripted()
    run(Bands(("p0",)), Llm(door.model("m")))
    asked = [unpack(r.call.request) for r in door.cassette.rows()]
    systems = {a["messages"][0]["text"] for a in asked}
    assert len(systems) == 1
    (system,) = systems
    assert "Name the band that is lit." in system
    assert "A) left\nB) right\nC) stay put\nD) stay" in system
    assert system.endswith("Your seat: p0")
    last = asked[-1]["messages"][-1]["text"]
    assert last.startswith("Your last turns (turn: action, reward):\n0: ")
    assert last.splitlines()[-1].startswith("lit: ")
    assert len({a["seed"] for a in asked}) == 4
    assert all(a["template"] for a in asked)
    assert asked[0]["grammar"] == 'root ::= "A" | "B" | "C" | "D"'
    assert asked[0]["max_tokens"] == 1


def test_the_mask_is_shown_and_enforced():
    env = Bands(("p0",))
    env.masked = True
    door = scripted()
    outcome = run(env, Llm(door.model("m")))
    assert all(t.endswith("Possible now: A, C, D") for t in user_texts(door))
    assert 1 not in answers(outcome)
    assert "fault" not in {e[3] for e in outcome.events}


def test_memory_window_grows_at_its_end():
    env = Bands(("p0",))
    env.horizon = 9
    door = scripted()
    run(env, Llm(door.model("m"), Settings(memory=2)))
    pasts = [[line for line in t.splitlines() if line[:1].isdigit()] for t in user_texts(door)]
    assert [len(p) for p in pasts] == [0, 1, 2, 3, 2, 3, 2, 3, 2]
    turns = [[int(line.split(":")[0]) for line in p] for p in pasts]
    assert turns[3] == [0, 1, 2]
    assert turns[4] == [2, 3]
    door = scripted()
    run(Bands(("p0",)), Llm(door.model("m"), Settings(memory=0)))
    assert not any("last turns" in t for t in user_texts(door))


def test_rotation_is_drawn_per_turn_and_undone():
    env = Bands(("p0",))
    env.horizon = 12
    door = scripted(lambda request: "A")  # a model with a position bias
    outcome = run(env, Llm(door.model("m"), Settings(rotate=True, memory=0)))
    firsts = [t.split("A) ")[1].splitlines()[0] for t in user_texts(door)]
    assert len(set(firsts)) > 1
    assert answers(outcome) == [MOVES.index(name) for name in firsts]


def test_more_actions_than_letters():
    names = tuple(f"move {i}" for i in range(60))
    door = scripted(lambda request: "57")
    outcome = run(Bands(("p0",), ActionSpec("names", names, noop=0)), Llm(door.model("m")))
    assert answers(outcome) == [56] * 4
    assert labels(53)[-1] == "53"
    assert labels(52)[-1] == "z"


def test_nothing_to_decide_costs_nothing():
    class Forced(Bands):
        def legal(self, seat):
            return [False, False, True, False]

    door = scripted()
    outcome = run(Forced(("p0",)), Llm(door.model("m")))
    assert answers(outcome) == [2] * 4
    assert outcome.counts["p0"]["forced"] == 4
    assert len(door.cassette) == 0


# -- reading answers -------------------------------------------------------------------------------
SHOWN = Choices((0, 1, 2, 3), MOVES, ("A", "B", "C", "D"), True, True)


@pytest.mark.parametrize(
    ("text", "index"),
    [
        ("B", 1), ("b", 1), (" B.\n", 1), ("(B)", 1), ("**B**", 1), ("B) right", 1), ("B: go right", 1), ("`D`", 3),
        ("right", 1), ("Right.", 1), ('"stay put"', 2), ("stay", 3), ("Answer: B", 1), ("The answer is C.", 2),
        ("I will go right because it is closer.", 1), ("I stay put here", 2), ("My choice: D, since it is safe", 3),
        ('{"action": "B"}', 1), ('```json\n{"action": "stay put"}\n```', 2), ('{"why": "x", "action": "D"}', 3),
        ("A good move. Answer: B", 1), ("Option A is bad. Answer: B", 1),
    ],
)  # fmt: skip
def test_what_can_be_read(text, index):
    assert read_choice(text, SHOWN) == index


@pytest.mark.parametrize(
    "text", ["", "E", "hmm", "A good move", "left or right", "{", '{"action": "up"}', "leftover", "AB"]
)
def test_what_cannot_be_read(text):
    with pytest.raises(Unreadable):
        read_choice(text, SHOWN)


@given(st.text(max_size=60))
def test_reading_never_fails_in_another_way(text):
    with contextlib.suppress(Unreadable):
        assert read_choice(text, SHOWN) in range(4)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)
    )
)
def test_json_is_found_in_prose(value):
    wrapped = [value]
    assert find_json(f"Sure, here it is:\n```json\n{json.dumps(wrapped)}\n```\nDone.") == wrapped


def test_repair_is_bounded_and_counted():
    door = scripted(
        lambda r: "B" if "cannot be used" in r.messages[-1].text else "well, well", capabilities={"grammar": False}
    )
    outcome = run(Bands(("p0",)), Llm(door.model("m")))
    assert answers(outcome) == [1] * 4
    counts = outcome.counts["p0"]
    assert (counts["repair"], counts["parse_fail"], counts["calls"]) == (4, 4, 8)
    repaired = [t for t in user_texts(door) if "cannot be used" in t]
    assert len(repaired) == 4
    assert "it names none of the options" in repaired[0]


def test_an_answer_that_stays_unreadable_is_a_counted_fault():
    door = scripted(lambda r: "well, well", capabilities={"grammar": False})
    outcome = run(Bands(("p0",)), Llm(door.model("m"), Settings(repairs=2)), conduct=Conduct(invalid=("noop",)))
    assert answers(outcome) == [3] * 4
    counts = outcome.counts["p0"]
    assert (counts["repair"], counts["parse_fail"]) == (8, 12)
    assert {e[9] for e in outcome.events if e[3] == "act"} == {"noop"}
    assert sum(e[3] == "fault" for e in outcome.events) == 4


def test_a_failed_call_is_a_fault_and_a_dead_endpoint_stops():
    outcome = run(Bands(("p0",)), Llm(scripted(error_rate=1.0).model("m")))
    assert sum(e[3] == "fault" for e in outcome.events) == 4
    from crossplay.models import ModelDown

    for driver in ("loop", "aio"):
        with pytest.raises(ModelDown):
            run(Bands(("p0",)), Llm(scripted(down=True).model("m")), driver=driver)


def test_forms_of_answers():
    with Loopback() as server:
        table = {"backend": "http", "url": server.url, "model": "hash", "paid": False}
        free = Door({"m": table})
        schema = Door({"m": {**table, "capabilities": {"json_schema": True}}})
        run(Bands(("p0",)), Llm(free.model("m")), driver="loop")
        run(Bands(("p0",)), Llm(schema.model("m")), driver="loop")
        first, *_, last = server.requests
    assert "response_format" not in first
    assert last["response_format"]["json_schema"]["schema"]["properties"]["action"]["enum"] == ["A", "B", "C", "D"]
    assert "JSON object" in last["messages"][0]["content"]
    assert "grammar" not in last


@pytest.mark.parametrize(
    ("spec", "answer", "value"),
    [
        (ActionSpec("text", max_len=5), "  hello world", "hello"),
        (ActionSpec("data", schema={"type": "object", "required": ["bid"]}), 'I say {"bid": 3}', {"bid": 3}),
    ],
)
def test_text_and_data(spec, answer, value):
    outcome = run(Bands(("p0",), spec), Llm(scripted(lambda r: answer).model("m")))
    payloads = [unpack(e[6]) for e in outcome.events if e[3] == "act"]
    assert payloads == [value] * 4


def test_box():
    spec = ActionSpec("box", low=-1.0, high=1.0, shape=(2,))
    outcome = run(Bands(("p0",), spec), Llm(scripted(lambda r: "[0.5, -1]").model("m")))
    assert all(e[9] == "own" for e in outcome.events if e[3] == "act")
    outcome = run(Bands(("p0",), spec), Llm(scripted(lambda r: "[0.5, 7]").model("m")))
    assert outcome.counts["p0"]["parse_fail"] == 8


def test_talk_reaches_the_others():
    env = Bands(("p0", "p1"))
    env.hearing = True
    door = scripted(lambda r: '{"say": "hello there", "action": "B"}')
    outcome = run(env, Llm(door.model("m"), Settings(talk=True)))
    assert answers(outcome) == [1] * 4
    assert "hello there" in env.heard
    assert any("Said to you:\np1: hello there" in t for t in user_texts(door))
    silent = Bands(("p0", "p1"))
    door = scripted()
    run(silent, Llm(door.model("m"), Settings(talk=True)))  # nobody can hear: no words are asked for
    assert all('"say"' not in unpack(r.call.request)["messages"][0]["text"] for r in door.cassette.rows())


def test_confidence_is_the_models_own():
    class Sure(ScriptedBackend):
        async def generate(self, requests, keys=()):
            assert requests[0].top_logprobs == 20
            return [Reply("B", logprobs=[[("B", float(np.log(0.6))), ("The", -1.0), (" A", float(np.log(0.2)))]])]

    door = Door({"m": Sure("m", capabilities={"logprobs": True})})
    agent = Llm(door.model("m"), Settings(confidence=True))
    seen = []
    act = agent.act

    async def spy(obs):
        seen.append(await act(obs))
        return seen[-1]

    agent.act = spy
    run(Bands(("p0",)), agent)
    assert [a.confidence for a in seen] == pytest.approx([0.75] * 4)


# -- seats, drivers, replay ------------------------------------------------------------------------
def test_four_seats_of_a_tick_are_asked_at_once():
    with Loopback(latency_s=0.2) as server:
        door = Door({"m": {"backend": "http", "url": server.url, "model": "hash", "paid": False}})
        env = Bands()
        env.horizon = 2
        run(env, Llm(door.model("m")))
        assert server.most_flying == 4
        assert len(server.requests) == 8


def test_drivers_agree_and_strict_replay_is_identical(tmp_path):
    outcomes = [run(Bands(), Llm(scripted().model("m")), 3, driver) for driver in ("loop", "aio")]
    door = Door({"m": ScriptedBackend("m")}, Cassette(tmp_path / "c.sqlite"))
    outcomes.append(run(Bands(), Llm(door.model("m")), 3))
    asyncio.run(door.aclose())
    strict = Door({"m": ScriptedBackend("m", down=True)}, Cassette(tmp_path / "c.sqlite", "strict"))
    outcomes.append(run(Bands(), Llm(strict.model("m")), 3))
    assert len({o.world for o in outcomes}) == 1
    assert len({o.mind for o in outcomes}) == 1
    assert all(o.counts == outcomes[0].counts for o in outcomes)
    assert run(Bands(), Llm(scripted().model("m")), 4).world != outcomes[0].world


def test_fake_vlm_answers_from_pixels():
    """The path of pictures: environment, view, PNG, endpoint, label. Nothing is said about VLMs by it."""
    with Loopback() as server:
        table = {
            "backend": "http",
            "url": server.url,
            "model": FAKE_VLM,
            "paid": False,
            "capabilities": {"images": True},
        }
        context = Context(door=Door({FAKE_VLM: table}))
        agent = make_agent({"type": f"vlm:{FAKE_VLM}"}, context, "fake-vlm")
        for block in range(3):
            outcome = run(Bands(("p0",)), agent, block)
            assert outcome.score["hits"] == 4.0
        texts = json.dumps(server.requests)
    assert "lit: " not in texts  # it is shown the picture and not told
    with pytest.raises(CrossplayError, match=r"images = true"):
        make_agent("vlm:m", Context(door=scripted(capabilities={"images": False}))).check(Bands(), "p0")
    noview = Bands()
    noview.views = ("data",)
    with pytest.raises(CrossplayError, match="no image view"):
        agent.check(noview, "p0")


# -- making agents ---------------------------------------------------------------------------------
def test_options_are_those_of_the_settings():
    assert set(OPTIONS) == {"model", "tools", "tool_calls", "tool_seconds", "guards", *Settings.__struct_fields__}
    for name, default in zip(Settings.__struct_fields__, Settings.__struct_defaults__, strict=True):
        assert OPTIONS[name]["default"] == default
        assert OPTIONS[name]["description"]


def test_make_agent():
    context = Context(door=scripted())
    agent = make_agent({"type": "llm:m", "temperature": 0.0, "rotate": True}, context, "talker")
    assert (agent.name, agent.settings.temperature, agent.settings.rotate) == ("talker", 0.0, True)
    assert agent.manifest()["model"]["name"] == "m"
    assert make_agent({"type": "llm", "model": "m"}, context).name == "llm:m"
    for table, says in [
        ({"type": "llmm:m"}, 'agents."x": unknown agent "llmm". Did you mean "llm"'),
        ({"type": "llm"}, "no model is named"),
        ({"type": "llm:n"}, 'unknown model "n"'),
        ({"type": "llm:m", "temprature": 1}, 'agents."x": unknown option "temprature". Did you mean "temperature"'),
        ({"type": "llm:m", "temperature": "hot"}, "temperature = 'hot': expected number"),
        ({"type": "llm:m", "temperature": 9}, "lies outside its bounds"),
        ({"type": "llm:m", "skills": "yes"}, "must be true or false"),
        ({}, '"type" is missing'),
    ]:
        with pytest.raises(CrossplayError) as caught:
            make_agent(table, context, "x")
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)


def test_skills_are_chosen_by_name():
    class Skills:
        names = ("go left twice", "wait")

        def describe(self, skill):
            return f"it is skill {skill}"

        def legal(self, data):
            return [True, True]

        def step(self, data, skill, state):
            if skill == 1:
                return 3, None, True
            n = state or 0
            return 0, n + 1, n == 1

    env = Bands(("p0",))
    env.skills = Skills()
    door = scripted(lambda r: "A")
    outcome = run(env, make_agent({"type": "llm:m", "skills": True}, Context(door=door), "slow"))
    assert answers(outcome) == [0, 0, 0, 0]
    assert outcome.counts["p0"]["calls"] == 2
    system = unpack(next(door.cassette.rows()).call.request)["messages"][0]["text"]
    assert "A) go left twice\nB) wait" in system
    assert system.count("it is skill 0") == 1


def test_light_import():
    import subprocess
    import sys

    code = "import sys, crossplay.agents, crossplay.models; print([m for m in ('numpy', 'aiohttp', 'rich', 'PIL', 'xllamacpp') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
