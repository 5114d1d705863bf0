"""Internet of Agents: the references by hand, the scripted agents, the judge on synthetic results."""

import numpy as np
import pytest

import crossplay
from crossplay.gallery.internet_of_agents import claim
from crossplay.gallery.internet_of_agents.study import (
    ABOUT,
    LEVELS,
    TURNED,
    Errand,
    Settings,
    answer_of,
    cards,
    needs,
    piece,
    run,
    study,
)
from crossplay.teams.forming import Card, Registry


def test_the_second_bm25_by_hand():
    assert claim.bm25_of("cat", ["cat dog", "bee ape"]) == pytest.approx([0.6931471805599453, 0.0])


def test_the_environment_conforms():
    report = crossplay.check(lambda: Errand(5, True))
    assert all(f.passed for f in report.findings), [f for f in report.findings if not f.passed]


def test_errands_and_their_answers():
    first, second, third = needs("e", 5, True)
    assert needs("e", 5, False) == (first,) and len({first, second, third}) == 3
    assert answer_of("e", 5, True) == piece("e", first) + piece("e", second) + piece("e", third)


def test_cards_keep_silent_by_chance():
    s = Settings()
    said = np.mean(["craft" in t for b in range(200) for t in cards(s, b, 0.3).values()])
    assert said == pytest.approx(0.7, abs=0.03)
    assert all("craft" in t for t in cards(s, 1, 0.0).values())


def test_a_nested_group_finds_what_only_its_leader_knows_to_be_needed():
    r = run(Settings(crafts=6), 4, hard=True)
    for vote, errand in zip(r.votes, r.errands, strict=True):
        outer, inner = vote["groups"]
        first, *others = needs(errand, 6, True)
        assert outer["members"] == ["lead", f"p{first}"] and inner["leader"] == f"p{first}" and inner["depth"] == 1
        assert set(inner["members"]) == {f"p{i}" for i in (first, *others)}
    assert (r.solved == 1).all() and set(r.asks) == {19}


def test_a_log_with_a_message_changed_is_another_one():
    vote = run(Settings(crafts=6), 1, hard=True).votes[0]
    assert claim.replayed(vote) == (True, 0, len(vote["messages"]))
    vote["messages"][-1]["text"] = "something else"
    assert claim.replayed(vote)[0] is False


def test_the_trials_descriptions_are_found_by_the_words_of_its_questions():
    from crossplay import Block, make_env

    registry = {
        a: Registry([Card(n, t) for n, t in about.items()]) for a, about in (("own", ABOUT), ("turned", TURNED))
    }
    hits = dict.fromkeys(registry, 0)
    for level in LEVELS:
        env = make_env("qa/arithmetic", level.options)
        for block in range(40):
            env.start(Block(43, block))
            for a, r in registry.items():
                hits[a] += r.search(env.view("solver", "text"), 1)[0].name == "mathematician"
    assert hits["own"] > 110 and hits["turned"] < 10
    assert set(TURNED) == set(ABOUT) and all(TURNED[n] != ABOUT[n] for n in ABOUT)


def scripted(right_team, right_one):
    """The study of the trial with synthetic members: the same lineups, judged on made results."""
    plan = study(["m"], LEVELS[1], 30)
    plan["environments"] = {"task": {"name": "qa/synthetic", "options": {"quality": 0.9, "channels": 4}}}
    strong, weak = {"type": "answerer", "skill": right_team}, {"type": "answerer", "channel": 1, "skill": right_one}
    plan["agents"] |= {
        "organiser": weak,
        "mathematician": strong,
        "poet": weak,
        "translator": weak,
        "specialist": strong,
        "one": weak,
    }
    return plan


def test_the_judge_compares_with_its_controls(tmp_path):

    result = crossplay.run(scripted(0.85, 0.4), tmp_path / "run")
    found = {f.name: f for f in claim.judge(result, tmp_path / "run")}
    assert set(found) == {
        "over one",
        "cards matter",
        "declining repairs",
        "close to the specialist",
        "found by its card",
        "found by another's card",
        "found as others declined",
    }
    assert found["over one"].low is not None and found["over one"].n == 30
    assert found["found by its card"].value == 0  # such members answer no invitation
