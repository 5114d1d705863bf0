"""Scripted members of teams: what a reflector may know, and who is talked round."""

from __future__ import annotations

import pytest

from crossplay.agents.scripts.teams import Debater, Reflector, debater, reflector
from crossplay.kernel import Block, CrossplayError, loop, make_env, play, unpack
from crossplay.teams import make_team

OPTIONS = {"options": 2, "channels": 8, "quality": [0.6] * 4 + [0.8] * 4}


def posts(team, block, options=OPTIONS):
    env = make_env("qa/synthetic", options)
    outcome = loop(play(env, {env.seats[0]: team}, Block(0, block)))
    return sorted((unpack(e.note) for e in outcome.trace() if e.kind == "post"), key=lambda p: p["id"])


def graph(openness, channels=4, **more):
    members = [Debater(i, openness) for i in range(4)]
    protocol = {"name": "graph", "rounds": 2, "epsilon": 0.5, **more}
    return make_team([Reflector(4, channels, 2), *members], protocol)


def test_a_score_is_the_share_of_answers_that_the_clue_favours():
    env = make_env("qa/synthetic", OPTIONS)
    for block in range(30):
        env.start(Block(0, block))
        clues = env.view("solver", "data")["clues"]
        said = posts(graph(0.5), block)
        for k, post in enumerate(p for p in said if p["act"] == "reflect"):
            clue = clues[4 + k]  # two judgements a round, each on the next channel
            favoured = clue.index(max(clue))
            shown = [said[i]["value"] for i in post["sees"]]
            assert post["value"]["score"] == 10 * sum(v == favoured for v in shown) / len(shown)


def test_a_reflector_of_one_channel_reads_it_each_time():
    reasons = {p["value"]["reason"] for p in posts(graph(0.5, channels=1), 0) if p["act"] == "reflect"}
    assert reasons == {"by the clue of channel 4"}


def test_openness_is_the_chance_to_take_over_another_answer():
    changed = asked = 0
    for block in range(150):
        said = posts(graph(0.3), block)
        last = {}
        for p in said:
            if p["act"] == "improve":
                other = next(said[i] for i in p["sees"] if said[i]["member"] != p["member"])
                mine = last[p["member"]]
                if other["value"] != mine:
                    asked, changed = asked + 1, changed + (p["value"] != mine)
            if p["act"] != "reflect":
                last[p["member"]] = p["value"]
    assert abs(changed / asked - 0.3) < 4 * (0.3 * 0.7 / asked) ** 0.5


def test_alone_or_closed_a_debater_keeps_its_answer():
    assert all(len({p["value"] for p in posts(graph(0.0), b) if p["member"] == "debater(0)"}) == 1 for b in range(20))


def test_a_discussion_ends_when_no_pair_is_left():
    """Every pair is cut at its first meeting; the record does not count a round in which nobody met."""
    env = make_env("qa/synthetic", {"options": 2, "channels": 8, "quality": 0.6})
    team = make_team(
        [Reflector(4, 1, 1), *(Debater(i, 0.0) for i in range(3))],
        {"name": "graph", "rounds": 9, "start": 0.2, "eta": 0.0, "cut": 0.2},
    )
    outcome = loop(play(env, {env.seats[0]: team}, Block(0, 0)))
    [vote] = [unpack(e.note) for e in outcome.trace() if e.kind == "vote"]
    assert (vote["rounds"], vote["meetings"]) == (10, 9)
    team = make_team(team.members, {"name": "graph", "rounds": 9, "start": 0.1, "cut": 0.2})
    outcome = loop(play(env, {env.seats[0]: team}, Block(0, 0)))
    [vote] = [unpack(e.note) for e in outcome.trace() if e.kind == "vote"]
    assert (vote["rounds"], vote["meetings"]) == (1, 0)


def test_options_and_channels_are_checked():
    assert debater("3", {"channel": 0, "openness": 0.5}, None).channel == 3
    assert reflector("", {"channel": 5, "channels": 2, "asks": 1}, None).channels == 2
    env = make_env("qa/synthetic", OPTIONS)
    with pytest.raises(CrossplayError, match="8 channels"):
        Reflector(6, 3, 1).check(env, "solver")
    with pytest.raises(CrossplayError, match="channel"):
        debater("x", {"channel": 0, "openness": 0.5}, None)
