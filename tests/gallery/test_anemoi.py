"""Anemoi: closed forms and the enumeration by hand, scripted members, the judge on synthetic results."""

import msgspec
import numpy as np
import pytest

from crossplay.gallery.anemoi import claim
from crossplay.gallery.anemoi.study import LEVELS, Settings, kind_of, prompts, study, threads


@pytest.mark.parametrize(("replan", "p"), [("nobody", 0.48), ("workers", 0.7824), ("planner", 0.5934)])
def test_the_closed_form(replan, p):
    assert claim.accuracy(Settings(), replan) == pytest.approx(p)


def test_gains_vanish_where_they_must():
    for s in (Settings(skill=1.0), Settings(outside=0.9), Settings(critic=0.0), Settings(notice=0.0)):
        assert claim.accuracy(s, "workers") == pytest.approx(claim.accuracy(s, "nobody"))
    s = Settings(notice=0.3)
    assert claim.accuracy(s, "workers") == pytest.approx(claim.accuracy(s, "planner"))


@pytest.mark.parametrize("replan", ["workers", "planner", "nobody"])
def test_every_episode_is_as_enumerated(replan):
    s = Settings(replan=replan, kinds=3, skill=0.5)
    runs = threads(s, 60)
    for q, said, asks in zip(runs.questions, runs.said, runs.asks, strict=True):
        e = claim.episode(q, s, replan)
        assert (e.said, e.asks) == (said, asks)


def test_one_episode_by_hand():
    """The first question whose plan is changed: who answers, what is shown, who votes."""
    s = Settings()
    runs = threads(s, 30)
    i = next(i for i, q in enumerate(runs.questions) if claim.episode(q, s, "workers").votes)
    posts, q = runs.posts[i], runs.questions[i]
    right = f"w{kind_of(q['id'], s.kinds)}"
    acts = [(p["member"], p["act"]) for p in posts]
    first = posts[0]["value"]["to"][0]
    waiting = [f"w{k}" for k in range(4) if f"w{k}" != first]
    assert acts[:3] == [("planner", "plan"), (first, "answer"), ("critic", "mark")] and first != right
    assert acts[3:6] == [(w, "change") for w in waiting] and acts[6:8] == [(right, "answer"), ("critic", "mark")]
    assert [m for m, act in acts[8:]] == ["planner", "critic", "w0", "w1", "w2", "w3"]
    assert posts[6]["sees"] == [] and runs.votes[i]["accepted"] == [right]
    assert posts[6]["value"] == runs.said[i]


def test_prompts_pass_one_way():
    runs = prompts(Settings(), 10)
    assert set(runs.asks) == {3} and [p["act"] for p in runs.posts[0]] == ["plan", "work", "answer"]


def test_all_may_change_the_plan():
    runs = threads(Settings(), 20, replan="all")
    asked = {p["member"] for posts in runs.posts for p in posts if p["act"] == "change"}
    assert "planner" in asked and "w1" in asked and "critic" not in asked


def test_the_judge_compares_with_its_controls(tmp_path):
    import crossplay

    plan = study(["m"], LEVELS[1], 30)
    plan["environments"] = {"task": {"name": "qa/synthetic", "options": {"quality": 0.9, "channels": 4}}}
    weak, strong = {"type": "answerer", "channel": 1, "skill": 0.4}, {"type": "answerer", "skill": 0.85}
    plan["agents"] |= dict.fromkeys(("one", "planner", "critic"), weak) | dict.fromkeys(
        ("solver", "checker", "worker"), strong
    )
    plan["lineups"].pop("threads")
    plan["lineups"].pop("prompts")  # they ask in forms that an answerer does not know; vote stands for them
    for name in ("threads", "prompts"):
        plan["agents"][name] = {"type": "team", "members": ["solver", "one"], "protocol": "vote"}
    plan["lineups"] = {n: [n] for n in ("threads", "prompts", "one", "worker")}
    result = crossplay.run(plan, tmp_path / "run")
    found = {f.name: f for f in claim.judge(result, tmp_path / "run")}
    assert set(found) == {"over prompts", "over the planner", "over a worker"}  # no tokens, so no price
    assert found["over prompts"].value == 0 and not found["over prompts"].holds and found["over a worker"].n == 30


def test_shown_counts_what_the_record_counts():
    s = msgspec.structs.replace(Settings(), kinds=3, skill=0.2)
    for summary in ("lines", "none"):
        runs = threads(s, 40, summary=summary)
        sizes = [
            claim.shown_of(e := claim.episode(q, s, "workers"), e.asks > 3, s, summary, int(p[0]["value"]["to"][0][1:]))
            for q, p in zip(runs.questions, runs.posts, strict=True)
        ]
        assert sizes == [v["shown"] for v in runs.votes] and np.ptp(sizes) > 0
