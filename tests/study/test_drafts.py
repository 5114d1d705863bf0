"""Drafts: what a form holds, its text and the study read from it are the same study, whatever is written into it."""

import math
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.kernel import CrossplayError
from crossplay.study.drafts import (
    EXACT,
    agent_forms,
    check_draft,
    draft_of_text,
    long_form,
    to_toml,
    too_deep,
    too_exact,
)
from crossplay.study.spec import parse_study

WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SCALARS = st.one_of(
    st.booleans(), st.integers(-EXACT, EXACT), st.floats(allow_nan=False, allow_infinity=False), WORDS
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(WORDS, inner, max_size=4)),
    max_leaves=12,
)
NAMES = WORDS.filter(lambda w: "+" not in w)


@st.composite
def studies(draw):
    """A study that reads: any names and options, in the short and in the long form of its tables."""
    agents = draw(st.lists(NAMES, min_size=1, max_size=3, unique=True))
    options = st.dictionaries(WORDS.filter(lambda w: w not in ("type", "options", "path")), VALUES, max_size=3)
    of_agents = {}
    for name in agents:
        given = draw(options)
        of_agents[name] = draw(
            st.sampled_from(["random", {"type": "random", **given}, {"type": "random", "options": given}])
        )
    lineups = {}
    for name in draw(st.lists(WORDS, max_size=3, unique=True)):
        seats = draw(st.lists(st.sampled_from(agents), min_size=1, max_size=3))
        lineups[name] = draw(
            st.sampled_from([seats, {"seats": seats}, {"seats": seats, "orders": "all", "role": "solo"}])
        )
    env = draw(st.one_of(st.just("spread"), st.fixed_dictionaries({"name": WORDS}, optional={"options": options})))
    study = {
        "environments": draw(st.sampled_from([{"a world": env}, ["spread"], "spread"])),
        "agents": of_agents,
        "lineups": lineups,
        "study": draw(
            st.fixed_dictionaries(
                {},
                optional={
                    "name": WORDS, "description": WORDS, "blocks": st.one_of(st.integers(1, 9), st.just([3, 1, "x"])),
                    "margin": st.floats(0, 1e6), "root": st.integers(0, EXACT), "metric": WORDS,
                },
            )
        ),
    }  # fmt: skip
    if draw(st.booleans()):
        study["conduct"] = {"timeout": ["repeat", "noop"], "fault_limit": 0.25}
    if draw(st.booleans()):
        study["questions"] = [{"candidate": draw(WORDS), "baseline": draw(WORDS), "ask": draw(WORDS)}]
    return study


@settings(max_examples=60, deadline=None)
@given(studies())
def test_the_form_its_text_and_the_file_are_one_study(study):
    wanted = parse_study(study).digest()
    text = to_toml(study)
    read = draft_of_text(text)
    assert parse_study(tomllib.loads(text)).digest() == wanted
    assert parse_study(read.study).digest() == wanted, "what the form shows"
    assert parse_study(tomllib.loads(to_toml(read.study))).digest() == wanted, "what the form writes"
    assert long_form(read.study) == read.study, "reading it once more changes nothing"


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(WORDS, VALUES, max_size=4))
def test_any_data_is_judged_and_never_an_exception(data):
    for draft in (check_draft(data, plan=False), draft_of_text(to_toml(data))):
        assert draft.problems and all(p.text for p in draft.problems)


@settings(max_examples=60, deadline=None)
@given(WORDS)
def test_any_text_is_judged_and_never_an_exception(text):
    assert draft_of_text(text).problems


def test_numbers_too_deep_and_too_exact_are_found_wherever_they_are():
    deep: list = []
    for _ in range(200):
        deep = [deep]
    assert too_deep({"a": deep}) and not too_deep({"a": [[[]]]})
    assert [p.place for p in too_exact({"a": [1, {"b": 2**53}], "c": -(2**60), "d": True, "e": EXACT})] == [["a", 1, "b"], ["c"]]  # fmt: skip


FORMS = {f.type: f for f in agent_forms()}


def values_of(prop):
    """Values that a field of a form can hold, by its schema."""
    low, high = prop.get("minimum", -5), prop.get("maximum", 5)
    match prop.get("enum") or prop.get("type"):
        case list() as choices:
            return choices
        case "integer":
            return [math.ceil(max(low, -5)), math.floor(min(high, 5))]
        case "number":
            return [max(low, -5), min(high, 5), (max(low, -5) + min(high, 5)) / 2]
        case "boolean":
            return [True, False]
        case "string" if prop.get("holds") == "words":
            return ["", "words", 'of "any" kind\n']
    return [prop["default"]] if prop.get("default") is not None else []


@pytest.mark.parametrize("kind", FORMS)
def test_what_the_form_of_an_agent_can_hold_is_written_and_read_as_it_is(kind):
    form = FORMS[kind]
    assert not form.error and form.options["type"] == "object"
    told = {name: values_of(prop) for name, prop in form.options["properties"].items() if name not in form.elsewhere}
    for i in range(max(map(len, told.values()), default=1)):
        table = {"type": kind, **{name: found[i % len(found)] for name, found in told.items() if found}}
        study = {
            "environments": {"x": {"name": "spread"}},
            "agents": {"a": table},
            "lineups": {"a": {"seats": ["a"] * 3}},
        }
        text = to_toml(study)
        assert tomllib.loads(text) == study
        assert parse_study(tomllib.loads(text)).digest() == parse_study(study).digest()
        assert draft_of_text(text).study["agents"]["a"] == table
        draft = check_draft(study, plan=False)
        if not form.plain:
            assert any(p.refused for p in draft.problems)
        for p in draft.problems:  # what a schema allows may still not go together; it is said at its place
            assert p.text and (p.place[:2] in (["agents", "a"], ["study", "margin"], ["lineups", "a"], []) or p.refused)


def test_an_unknown_agent_or_world_is_a_problem_at_its_place():
    draft = check_draft({"environments": {"x": "nowhere"}, "agents": {"a": "nobody"}, "lineups": {"a": ["a"]}})
    assert {("environments", "x", "name"), ("agents", "a", "type")} <= {tuple(p.place) for p in draft.problems}
    with pytest.raises(CrossplayError):
        parse_study({})
