"""Questions and answers as forms: what goes out comes in again, and what is none is refused without harm."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.agents.a2a_form import (
    MESSAGES,
    SAID,
    exact_question,
    packed,
    plain,
    question,
    read_answer,
    spec_form,
    spec_of,
    told,
    unpacked,
    whole,
)
from crossplay.agents.prompt import Unreadable
from crossplay.kernel import ActionSpec, Agent, Block, CrossplayError, Msg, Observation, make_env, pack, unpack
from crossplay.kernel.obs import Scope
from crossplay.kernel.seeds import env_key
from crossplay.serve.asked import Asked, Malformed, Question, observation, question_of
from crossplay.wire.http.bodies import DEEPEST, too_deep

SPECS = [
    ActionSpec("names", names=("a", "b", "c"), noop=1),
    ActionSpec("box", shape=(2,), low=-1.0, high=(0.5, 1.0)),
    ActionSpec("box", shape=(2, 3)),
    ActionSpec("text", max_len=50),
    ActionSpec("data", schema={"type": "object", "properties": {"n": {"type": "integer", "minimum": 0}}}),
]
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)


def through_doubles(value):
    """What JSON's numbers make of data: all of them floats."""
    if isinstance(value, dict):
        return {k: through_doubles(v) for k, v in value.items()}
    if isinstance(value, list):
        return [through_doubles(v) for v in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def asked(name="kitchen/cramped_room", seat=0, tick=3, **options):
    env = make_env(name, options)
    at = Block(9, 4, 1)
    env.start(at)
    scope = Scope(env, env.id, at, env.seats[seat])
    obs = Observation(
        scope, "act", tick, env.legal(env.seats[seat]), [Msg("*", {"n": 1}, "main", "p1", 2)], (1, "own"), 0.5
    )
    return obs, env


@pytest.mark.parametrize("spec", SPECS)
def test_a_specification_comes_back_also_through_doubles(spec):
    assert spec_of(spec_form(spec)) == spec
    back = spec_of(through_doubles(spec_form(spec)))
    assert back == spec and back.json_schema() == spec.json_schema()


@given(PLAIN)
def test_whole_numbers_are_whole_again(value):
    assert whole(through_doubles(value)) == value
    assert pack(whole(through_doubles(value))) == pack(value)


@given(PLAIN | st.floats() | st.binary(max_size=5) | st.integers(0, 2**63))
def test_packed_data_comes_back_to_the_bit_and_plain_data_is_json(value):
    import json

    assert pack(unpacked(packed({"x": value}))) == pack({"x": value})
    json.dumps(plain(value), allow_nan=False)


@pytest.mark.parametrize(
    "name", ["kitchen/cramped_room", "matrix/prisoners_dilemma", "spread", "qa/synthetic", "pitch/soccer-2v2"]
)
def test_an_exact_question_gives_the_very_observation(name):
    obs, env = asked(name)
    views = [v for v in ("data", "array", "text") if v in env.views]
    obs.brief, obs.wants = "hurry", ("confidence",)
    data = {**question(obs, views, 2, False), "views": {}, "exact": exact_question(obs, views, pack({"m": 7}))}
    q = question_of(through_doubles(data))
    other = observation(q, Agent(), "context", unpack(q.memo))
    assert (other.seat, other.tick, other.spec, other.rules) == (obs.seat, obs.tick, obs.spec, obs.rules)
    assert other.names() == obs.names() if obs.spec.kind == "names" else True
    assert (other.last, other.reward, other.memo) == (obs.last, obs.reward, {"m": 7})
    assert [(m.body, m.src, m.tick) for m in other.inbox] == [({"n": 1}, "p1", 2)]
    assert (other.brief, other.wants, other.audience) == (obs.brief, obs.wants, obs.audience)
    for view in views:
        assert pack(other.view(view)) == pack(obs.view(view))
    assert (
        other.key() == obs.key() and other.key("x", 1) == obs.key("x", 1) and other.pick(1000, 3) == obs.pick(1000, 3)
    )
    assert other.child(2, 1).key("y") == obs.child(2, 1).key("y")


def test_a_question_names_neither_root_nor_the_environments_key():
    obs, env = asked()
    text = str(question(obs, ("data",), 0, True)) + str(unpacked(exact_question(obs, ("data",), None)))
    key = env_key(Block(9, 4, 1), env.id)
    assert key.hex() not in text and repr(key) not in text and "root" not in text


def test_options_are_told_to_an_agent_that_has_them_alone():
    obs, env = asked(horizon=20)
    assert "?" in env.id and question(obs, ("data",), 0, True)["env"] == "kitchen/cramped_room@1"
    assert question(obs, ("data",), 0, True, env.id)["env"] == env.id


def test_a_plain_question_serves_readers_of_data_text_and_arrays():
    obs, _env = asked()
    q = question_of(through_doubles(question(obs, ("text", "data", "array"), 0, True)))
    other = observation(q, Agent(), "c", None)
    assert other.view("text") == obs.view("text") and other.view("data") == plain(obs.view("data"))
    np.testing.assert_allclose(other.view("array"), obs.view("array"), rtol=1e-6)
    assert other.last == (1, "own") and not q.exact
    with pytest.raises(CrossplayError, match="no view 'image'"):
        other.view("image")


def test_two_contexts_have_two_streams():
    obs, _ = asked()
    q = question_of(question(obs, ("data",), 0, True))
    assert observation(q, Agent(), "a", None).key() != observation(q, Agent(), "b", None).key()
    assert observation(q, Agent(), "a", None).key() == observation(q, Agent(), "a", None).key()


def test_a_local_environment_gives_what_was_not_sent():
    obs, _env = asked()
    data = {**question(obs, ("data",), 0, True), "exact": exact_question(obs, ("data",), None)}
    bare = Asked(question_of(data))
    full = Asked(question_of(data), make_env("kitchen/cramped_room"))
    assert bare.skills is None and full.skills is not None
    assert "array" not in bare.views and np.array_equal(full.view(obs.seat, "array"), obs.view("array"))


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            [
                "crossplay",
                "env",
                "seat",
                "tick",
                "turn",
                "spec",
                "rules",
                "views",
                "legal",
                "inbox",
                "audience",
                "last",
                "reward",
                "brief",
                "wants",
                "seconds",
                "exact",
            ]
        ),
        PLAIN | st.floats(),
        max_size=5,
    )
)
def test_whatever_comes_is_a_question_or_is_refused(data):
    try:
        q = question_of(data)
    except Malformed as error:
        assert str(error)
    else:
        assert isinstance(q, Question)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_whatever_stands_in_the_exact_part_is_read_or_refused(raw):
    import base64

    with pytest.raises(Malformed):
        question_of({"spec": {"kind": "text"}, "exact": base64.b64encode(raw).decode()})


# -- answers -----------------------------------------------------------------------------------------
def test_answers_in_data_in_text_and_in_json_within_text():
    obs, _ = asked()
    names = obs.spec.names
    assert read_answer([{"value": names[2], "confidence": 0.5}], "", obs, False).value == names[2]
    assert read_answer([3, {"other": 1}, {"value": 2.0}], names[1], obs, False).value == 2
    assert read_answer([], f"I take {names[3]}.", obs, False).value == 3
    assert read_answer([], f'Well: {{"value": "{names[1]}", "say": "hi"}}', obs, False).value == names[1]
    with pytest.raises(Unreadable):
        read_answer([], "no idea", obs, False)


@pytest.mark.parametrize("sure", [True, -0.1, 1.5, "sure", None, float("nan")])
def test_what_is_no_confidence_is_none(sure):
    obs, _ = asked()
    assert read_answer([{"value": 1, "confidence": sure}], "", obs, False).confidence is None


@pytest.mark.parametrize(
    "exact",
    [
        "?",
        "gA",
        packed([1]),
        packed({"value": 1, "more": 1}),
        packed({"value": 1, "usage": [1, 2]}),
        packed({"messages": [["*", "x"]]}),
        packed({"memo": "text"}),
    ],
)
def test_an_exact_answer_that_is_none_is_unreadable(exact):
    obs, _ = asked()
    with pytest.raises(Unreadable):
        read_answer([{"value": 1, "exact": exact}], "", obs, True)
    assert read_answer([{"value": 1, "exact": exact}], "", obs, False).value == 1  # others may write what they like


def exactly(**more):
    obs, _ = asked()
    return read_answer([{"value": 0, "exact": packed({"value": 0, **more})}], "", obs, True)


@pytest.mark.parametrize("sure", [17.0, -0.1, float("nan"), float("inf")])
def test_what_is_no_confidence_is_none_in_the_exact_part_too(sure):
    assert exactly(confidence=sure).confidence is None and exactly(confidence=0.5).confidence == 0.5


def test_words_of_the_exact_part_are_bounded():
    assert len(exactly(rationale="r" * 100_000).rationale) == SAID
    for many in ([["*", "x", "main"]] * (MESSAGES + 1), [["*", "x" * (SAID * MESSAGES), "main"]]):
        with pytest.raises(Unreadable, match="says more than"):
            exactly(messages=many)


def test_a_text_tells_first_and_then_what_is_new():
    obs, env = asked()
    first, later = told(obs, True), told(obs, False)
    assert env.rules.strip() in first and env.rules.strip() not in later and obs.view("text").strip() in later
    assert "p1: {'n': 1}" in later and "Possible now:" in later


# -- bodies ------------------------------------------------------------------------------------------
@given(st.integers(0, 2 * DEEPEST), st.text(max_size=20))
def test_nesting_is_counted_outside_of_texts(depth, text):
    import json

    value = text + '[{"\\'
    for i in range(depth):
        value = [value] if i % 2 else {"[": value}
    assert too_deep(json.dumps(value).encode()) == (depth > DEEPEST)
