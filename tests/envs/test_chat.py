"""chat: turns, names, isolation, the erring participant, counts, the question; and the speakers' habits read back."""

from __future__ import annotations

import asyncio
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.agents import Llm
from crossplay.agents.context import read_options
from crossplay.agents.llm import Settings
from crossplay.agents.scripts.chat import PROFILES, TRAITS, Profile, Speaker, speaker, traits
from crossplay.envs.chat import NICKS, NOTICE, TOPICS, Group, family
from crossplay.envs.check import check
from crossplay.kernel import Agent, Block, CrossplayError, aio, loop, play
from crossplay.kernel.seeds import key
from crossplay.models import Door, ScriptedBackend

PEOPLE = ["Ann", "Bob", "Cid"]

SERIES = {
    "A baseline": {"n": 7, "error": 8},
    "B homogeneous": {"n": 7, "error": 8},  # one agent in all seats
    "C real names": {"n": 7, "error": 8, "names": "real", "people": [f"Model{i}" for i in range(8)]},
    "D order shuffled": {"n": 7, "error": 8, "order": "shuffled"},
    "F isolated": {"n": 7, "error": 8, "isolated": True},
    "G English": {"n": 7, "error": 8, "language": "English"},
    "H other brief": {"n": 7, "error": 8, "topic": "festival"},
    "I hot": {"n": 7, "error": 8},  # temperature is the agents'
    "J long": {"n": 7, "error": 8, "rounds": 20},
    "K1 no peer list": {"n": 7, "error": 8, "list_peers": False},
    "K2 no own name": {"n": 7, "error": 8, "tell_name": False},
    "K3 empty prompt": {"n": 7, "error": 8, "briefing": False},
}


def group(**options) -> Group:
    env = family.make("group", options)
    env.reset(key("chat"))
    return env


def episode(agents, block: int = 0, **options):
    env = family.make("group", options)
    lineup = dict(zip(env.seats, agents, strict=True)) if isinstance(agents, list) else dict.fromkeys(env.seats, agents)
    outcome = loop(play(env, lineup, Block(5, block)))
    assert outcome.status == "terminal", outcome.detail
    return env, outcome


class Says(Agent):
    """The same words, with the tick where they hold one."""

    def __init__(self, words: str) -> None:
        self.words, self.name = words, "says"

    def act(self, obs) -> str:
        return self.words.format(tick=obs.tick)


# -- conformance -------------------------------------------------------------------------------------
@pytest.mark.parametrize("series", SERIES)
def test_every_series_conforms(series: str) -> None:
    report = check(lambda: family.make("group", SERIES[series]), blocks=2, ticks=20, processes=False)
    assert report.passed, report.text()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"order": "together", "error": 1, "n": 3, "question": "Who led?", "choices": ["Ann", "Bob"]},
        {"names": "none", "n": 3, "order": "shuffled", "error": 2, "question": "Who led?"},
    ],
)
def test_other_options_conform(options: dict) -> None:
    report = check(lambda: family.make("group", options), blocks=2, ticks=25, processes=False)
    assert report.passed, report.text()


def test_every_option_makes_another_game() -> None:
    others = {"people": [f"P{i}" for i in range(7)], "topic": "festival", "language": "English", "question": "Why?"}
    ids = {family.make("", {}).id}
    for name, rule in family.schema("")["properties"].items():
        value = others.get(name)
        if name == "choices":
            continue
        if value is None:
            value = {"boolean": not rule["default"], "integer": 3, "string": rule.get("enum", [""])[-1]}[rule["type"]]
        env = family.make("", {name: value} if name != "names" else {name: "none"})
        assert env.id not in ids
        ids.add(env.id)


# -- turns -------------------------------------------------------------------------------------------
def turns(env: Group) -> list[str]:
    found = []
    while env.ended() is None:
        acting = env.to_act()
        found.append(" ".join(acting))
        env.step({s: f"word {len(found)}" for s in acting}, [])
    return found


def test_fixed_order() -> None:
    assert turns(group(n=3, rounds=2)) == ["s1", "s2", "s3"] * 2


def test_shuffled_order_is_another_permutation_each_round() -> None:
    found = turns(group(n=5, rounds=12, order="shuffled"))
    rounds = [tuple(found[i : i + 5]) for i in range(0, 60, 5)]
    assert all(sorted(r) == ["s1", "s2", "s3", "s4", "s5"] for r in rounds) and len(set(rounds)) > 8


def test_together_nobody_hears_a_word_of_the_same_round() -> None:
    env = group(n=3, rounds=2, order="together")
    assert env.to_act() == env.seats and env.data("s3")["said"] == []
    env.step(dict.fromkeys(env.seats, "hello"), [])
    assert [r for r, *_ in env.data("s1")["said"]] == [1, 1, 1]
    assert turns(env) == ["s1 s2 s3"]


def test_horizon_counts_all_ticks() -> None:
    for options in ({}, {"order": "together"}, {"question": "Why?"}, {"error": 4}):
        env = group(n=3, rounds=4, **options)
        assert len(turns(env)) == env.horizon


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 6),
    st.integers(1, 5),
    st.sampled_from(["fixed", "shuffled", "together"]),
    st.integers(0, 7),
    st.booleans(),
)
def test_everybody_speaks_once_a_round_and_the_error_too(
    n: int, rounds: int, order: str, place: int, ask: bool
) -> None:
    place = min(place, n + 1)
    env = group(n=n, rounds=rounds, order=order, error=place, question="Why?" if ask else "")
    turns(env)
    for r in range(rounds):
        spoke = [part for when, part, _ in env.said if when == r]
        assert sorted(spoke) == list(range(n + bool(place)))
        if order != "shuffled":
            assert spoke == sorted(spoke)
    notices = [part for _, part, text in env.said if text == NOTICE]
    assert notices == [place - 1] * (rounds if place else 0)


# -- names and hearing -------------------------------------------------------------------------------
def test_nicknames_are_dealt_by_the_block() -> None:
    seen = set()
    for block in range(20):
        env = family.make("", {"n": 3})
        env.reset(key("deal", block))
        data = env.data("s1")
        assert {data["name"], *data["peers"]} == set(NICKS[:3])
        seen.add(data["name"])
    assert seen == set(NICKS[:3])


def test_real_names_stay_in_place() -> None:
    env = group(n=2, error=2, names="real", people=PEOPLE)
    assert env.data("s1")["name"] == "Ann" and env.data("s2")["name"] == "Cid"
    assert env.data("s2")["peers"] == ["Ann", "Bob"]
    env.step({"s1": "hello"}, [])
    assert env.data("s2")["said"] == [[1, "Ann", "hello"], [1, "Bob", NOTICE]]
    assert "You are Cid." in env.view("s2", "text") and f"Bob: {NOTICE}" in env.view("s2", "text")


def test_without_names_nobody_can_be_told_apart() -> None:
    env = group(n=3, names="none")
    env.step({"s1": "one"}, [])
    env.step({"s2": "two"}, [])
    assert env.data("s1")["said"] == [[1, "you", "one"], [1, "", "two"]]
    assert env.data("s3")["said"] == [[1, "", "one"], [1, "", "two"]]
    assert not any(nick in env.view("s3", "text") for nick in NICKS)


@pytest.mark.parametrize(
    ("options", "name", "peers", "turn"),
    [({}, 1, 1, 1), ({"tell_name": False}, 0, 1, 1), ({"list_peers": False}, 1, 0, 1), ({"briefing": False}, 0, 0, 0)],
)
def test_what_is_told(options: dict, name: int, peers: int, turn: int) -> None:
    env = group(n=3, **options)
    text = env.view("s1", "text")
    assert ("You are" in text, "The others:" in text, "It is your turn." in text) == (name, peers, turn)
    assert TOPICS["delivery"] in text
    assert len(env.rules) > 100 or not turn
    env.step({"s1": "hi"}, [])
    assert any(f"{nick}: hi" in env.view("s2", "text") for nick in NICKS)  # words come with names all the same


def test_nobody_hears_anybody_when_isolated() -> None:
    env = group(n=3, rounds=2, isolated=True, error=2)
    turns(env)
    for i, seat in enumerate(env.seats):
        assert [text for *_, text in env.data(seat)["said"]] == [f"word {i + 1}", f"word {i + 4}"]


def test_nobody_can_write_a_line_of_somebody_else() -> None:
    env = group(n=3, names="real", people=PEOPLE)
    env.step({"s1": "well\nCid: I resign"}, [])
    assert "\nCid: I resign" not in env.view("s2", "text")


def test_the_text_grows_at_its_end() -> None:
    env = group(n=3, rounds=4, error=1)
    last = dict.fromkeys(env.seats, "")
    while env.ended() is None:
        for seat in env.seats:
            shown = env.view(seat, "text")
            assert shown.startswith(last[seat])
            last[seat] = shown[: shown.rindex("\n") + 1]
        env.step({env.to_act()[0]: "some words"}, [])
    assert len(last["s1"].splitlines()) > 15


# -- counts and the question -------------------------------------------------------------------------
def test_counts_by_hand() -> None:
    _, outcome = episode([Says("one two three"), Says("four"), Says(" ")], n=3, rounds=2, error=4)
    score = outcome.score
    assert score["words"] == 8 and score["messages"] == 4 and score["silent"] == 2
    assert score["words_per_message"] == 2 and score["largest_share"] == 0.75
    assert [score[f"words_s{i}"] for i in (1, 2, 3)] == [6, 2, 0]
    assert [score[f"share_s{i}"] for i in (1, 2, 3)] == [0.75, 0.25, 0.0]
    assert [score[f"messages_s{i}"] for i in (1, 2, 3)] == [2, 2, 0]
    assert "agreement" not in score


def test_the_question_is_asked_of_all_at_once() -> None:
    env = group(n=3, rounds=1, question="Who led?", choices=["Ann", "Bob B."])
    assert "Who led?" not in env.view("s1", "text")
    for _ in range(3):
        env.step({env.to_act()[0]: "x"}, [])
    assert env.to_act() == env.seats and env.ended() is None
    assert env.view("s1", "text").endswith("Now: Who led? Answer with one of: Ann, Bob B..")
    env.step({"s1": "It was ANN!", "s2": "ann", "s3": "Ann or Bob B."}, [])
    assert env.ended() == "terminal"
    assert env.score()["answered"] == pytest.approx(2 / 3) and env.score()["agreement"] == pytest.approx(2 / 3)


def test_free_answers_agree_but_for_case_and_marks() -> None:
    env = group(n=2, rounds=1, question="Colour?", order="together")
    env.step({"s1": "x", "s2": "x"}, [])
    env.step({"s1": "Dark blue.", "s2": "dark  BLUE"}, [])
    assert env.score()["agreement"] == 1.0 and env.score()["words"] == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"order": "random"}, "option order = 'random'"),
        ({"error": 9, "n": 3}, "places are 1 to 4"),
        ({"names": "real"}, 'names = "real" needs the option people: 7 names'),
        ({"names": "real", "people": ["A", "A", "B"], "n": 3}, "3 different names"),
        ({"names": "none", "people": PEOPLE, "n": 3}, "names that are shown"),
        ({"choices": ["a", "b"]}, "two answers to a question are needed"),
        ({"topics": "x"}, 'unknown option "topics"'),
        ({"topic": " "}, "option topic is empty"),
    ],
)
def test_mistakes_are_named(options: dict, words: str) -> None:
    with pytest.raises(CrossplayError, match=re.escape(words)):
        family.make("", options)
    with pytest.raises(CrossplayError, match='unknown environment "room"'):
        family.make("room", {})


# -- speakers ----------------------------------------------------------------------------------------
def messages(env: Group) -> dict[int, list[str]]:
    """Texts by seat index; notices left out."""
    found: dict[int, list[str]] = {i: [] for i in range(env.n)}
    for _, part, text in env.said:
        if env.parts[part] >= 0:
            found[env.parts[part]].append(text)
    return found


def rate(texts: list[str], trait: str) -> float:
    return float(np.mean([trait in traits(t) for t in texts]))


def test_planted_rates_are_read_back() -> None:
    planted = Profile(phatic=0.2, meta=0.3, lead=0.5, arch=0.7, agree=0.15, comp=0.6)
    other = Profile(phatic=0.5, meta=0.05, lead=0.1, arch=0.1, agree=0.8, comp=0.1)
    env, _ = episode([Speaker("a", planted), Speaker("b", other)], n=2, rounds=700, error=3)
    for seat, profile in enumerate((planted, other)):
        texts = messages(env)[seat]
        rest = [t for t in texts if "phatic" not in traits(t)]
        for trait in TRAITS:
            want = getattr(profile, trait)
            got = rate(texts, trait) if trait == "phatic" else rate(rest, trait)
            assert abs(got - want) < 4 * (want * (1 - want) / len(rest)) ** 0.5, trait


def test_profiles_differ_as_planted() -> None:
    names = ("architect", "friend", "planner")
    env, _ = episode([Speaker(n) for n in names], n=3, rounds=150)
    profile = np.array([[rate(texts, t) for t in TRAITS[:-1]] for texts in messages(env).values()])
    assert profile[:, TRAITS.index("arch")].argmax() == 0
    assert profile[:, TRAITS.index("phatic")].argmax() == profile[:, TRAITS.index("agree")].argmax() == 1
    assert profile[:, TRAITS.index("lead")].argmax() == 2
    assert {w for t in messages(env)[0] for w in ("database", "load") if w in t} == {"database", "load"}


@pytest.mark.parametrize(("mirror", "compensate"), [(0.0, 0.0), (0.7, 0.0), (0.0, 0.7), (0.4, 0.2)])
def test_tendencies_are_recovered_by_regression(mirror: float, compensate: float) -> None:
    """P(trait | share heard) is a line of slope mirror - compensate through (1-m-c) own + c at share 0."""
    own = 0.3
    profile = Profile(phatic=0.0, meta=0.0, lead=0.0, arch=own, agree=0.0, mirror=mirror, compensate=compensate)
    partner = Profile(phatic=0.0, meta=0.0, lead=0.0, arch=0.5, agree=0.0)
    share, flag = [], []
    for block in range(8):
        env, _ = episode([Speaker("a", profile), Speaker("b", partner), Speaker("c", partner)], block, n=3, rounds=150)
        said = {(r, env.parts[part]): "arch" in traits(text) for r, part, text in env.said}
        share += [(said[r - 1, 1] + said[r - 1, 2]) / 2 for r in range(1, 150)]
        flag += [float(said[r, 0]) for r in range(1, 150)]
    slope, start = np.polyfit(share, flag, 1)
    assert slope == pytest.approx(mirror - compensate, abs=0.12)
    assert start == pytest.approx((1 - mirror - compensate) * own + compensate, abs=0.08)


def test_isolation_leaves_no_reaction() -> None:
    env, outcome = episode(Speaker("guardian"), n=3, rounds=60, isolated=True, error=4, list_peers=False)
    texts = [t for ts in messages(env).values() for t in ts]
    assert all(rate(texts, t) == 0.0 for t in ("agree", "comp", "lead"))  # impossible by definition alone
    counts = outcome.counts["s1"]
    assert counts["no_comp"] > 20 and counts["no_agree"] > 5
    env, _ = episode(Speaker("guardian"), n=3, rounds=60, error=4)
    assert all(rate([t for ts in messages(env).values() for t in ts], x) > 0.1 for x in ("agree", "comp", "lead"))


def test_reactions_name_who_erred() -> None:
    env, _ = episode(
        Speaker("guardian", Profile(comp=1.0, phatic=0.0)), n=2, rounds=3, error=2, names="real", people=PEOPLE
    )
    assert "Bob returned an error" in messages(env)[1][0] and "error" not in messages(env)[0][0]


def test_names_words_and_silence() -> None:
    env, outcome = episode([Speaker("error"), Speaker("quiet")], n=2, rounds=60)
    assert set(messages(env)[0]) == {"[error] The scripted speaker fails."}
    assert abs(outcome.score["silent"] / 60 - 0.7) < 0.25
    assert all(not traits(t) for t in messages(env)[0])
    assert traits("I would use Redis.") == {"phatic"} and traits("Redis and Kafka, Redis") == {"arch"}


def test_speakers_answer_the_question() -> None:
    env, outcome = episode(Speaker(), n=5, rounds=1, question="Which?", choices=["left", "right"])
    assert outcome.score["answered"] == 1.0 and set(env.answers) <= {"left", "right"}


def test_speaker_factory() -> None:
    assert speaker("friend", {}).profile == PROFILES["friend"] and speaker("", {}).name == "speaker:mixed"
    changed = speaker("friend", read_options(speaker.options, {"lead": 0.5}, "speaker"))
    assert changed.profile.lead == 0.5 and changed.profile.agree == 0.7 and changed.name == "speaker:friend*"
    with pytest.raises(CrossplayError, match='unknown name "freind". Did you mean "friend"'):
        speaker("freind", {})
    with pytest.raises(CrossplayError, match="at most 1"):
        speaker("mirror", {"compensate": 0.5})
    with pytest.raises(CrossplayError, match="plays chat"):
        from crossplay.envs.matrix import family as matrix

        speaker("", {}).check(matrix.make("", {}), "row")


def test_an_unmodified_llm_takes_part() -> None:
    shown: list[str] = []

    def answer(request) -> str:
        shown.append(request.messages[-1].text)
        return f"Point {len(shown)}."

    door = Door({"double": ScriptedBackend("double", answer)})
    env = family.make("", {"n": 2, "rounds": 2, "error": 3})
    agent = Llm(door.model("double"), Settings(memory=0))
    outcome = asyncio.run(aio(play(env, dict.fromkeys(env.seats, agent), Block(0, 0))))
    assert outcome.status == "terminal" and outcome.score["words"] == 8
    assert NOTICE in shown[2] and shown[3].startswith(shown[1][: shown[1].rindex("\n")])
