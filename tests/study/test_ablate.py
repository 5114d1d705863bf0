"""Credit of members: properties of Shapley values, and coalitions of real runs under common chance."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossplay.cli.teams import ablate as ablate_command
from crossplay.cli.teams import team as team_command
from crossplay.kernel import CrossplayError, unpack
from crossplay.kernel.seeds import key
from crossplay.records import RunFolder
from crossplay.records.cassette import Cassette
from crossplay.study.ablate import ablate, ablation
from crossplay.study.api import result, run
from crossplay.study.credit import (
    all_coalitions,
    draw_orders,
    left_out,
    of_orders,
    sampled_shapley,
    shapley,
    stability,
    win_rate,
)
from crossplay.study.spec import parse_study


def random_game(n, blocks, seed):
    rng = np.random.default_rng(seed)
    return {c: rng.normal(size=blocks) for c in all_coalitions(n)}


def by_enumeration(values, n):
    """Shapley's definition: the mean over all n! orders, without any formula for weights."""
    total = np.zeros((n, len(values[frozenset()])))
    for order in itertools.permutations(range(n)):
        for k, i in enumerate(order):
            total[i] += values[frozenset(order[: k + 1])] - values[frozenset(order[:k])]
    return total / math.factorial(n)


@given(st.integers(1, 5), st.integers(0, 10**6))
def test_exact_values_are_the_mean_over_all_orders_and_add_up(n, seed):
    values = random_game(n, 3, seed)
    found = shapley(values, n)
    np.testing.assert_allclose(found, by_enumeration(values, n), atol=1e-12)
    np.testing.assert_allclose(found.sum(0), values[frozenset(range(n))] - values[frozenset()], atol=1e-12)


@given(st.integers(2, 5), st.integers(0, 10**6))
def test_members_that_add_the_same_earn_the_same_and_dummies_nothing(n, seed):
    rng = np.random.default_rng(seed)
    worth = {(s, t): rng.normal(size=2) for s in range(n) for t in (0, 1, 2)}
    # Members 0 and 1 count alike; member n (added) never changes anything.
    values = {c: worth[len(c - {0, 1, n}), len(c & {0, 1})] for c in all_coalitions(n + 1)}
    found = shapley(values, n + 1)
    np.testing.assert_allclose(found[0], found[1], atol=1e-12)
    np.testing.assert_allclose(found[n], 0, atol=1e-12)


@given(st.integers(2, 7), st.integers(1, 9), st.integers(0, 10**6))
def test_sampled_values_add_up_whatever_orders_were_drawn(n, draws, seed):
    orders = draw_orders(n, draws, key("t", seed))
    assert len(orders) == draws and all(sorted(o) == list(range(n)) for o in orders)
    values = random_game(n, 2, seed)
    needed = {c: values[c] for c in of_orders(orders)}
    found, _ = sampled_shapley(needed, orders)
    np.testing.assert_allclose(found.sum(0), values[frozenset(range(n))] - values[frozenset()], atol=1e-12)


def test_sampled_values_come_near_the_exact_ones_as_their_error_says():
    n = 6
    values = random_game(n, 4, 1)
    exact = shapley(values, n).mean(1)
    far = []
    for seed in range(40):
        found, error = sampled_shapley(values, draw_orders(n, 60, key("s", seed)))
        far.append((found.mean(1) - exact) / error)
    far = np.array(far)
    assert abs(far.mean()) < 0.25  # unbiased
    assert 0.8 < far.std() < 1.3  # and off by about its standard error
    everything = list(itertools.permutations(range(4)))
    small = random_game(4, 2, 3)
    np.testing.assert_allclose(sampled_shapley(small, everything)[0], shapley(small, 4), atol=1e-12)


def test_orders_are_seeded():
    assert draw_orders(5, 6, key("a")) == draw_orders(5, 6, key("a")) != draw_orders(5, 6, key("b"))
    with pytest.raises(CrossplayError, match="at least 1"):
        draw_orders(3, 0, key("a"))


def test_win_rates_and_kinds_by_hand():
    whole, without = np.array([1.0, 0.0, 1.0, 1.0]), np.array([0.0, 1.0, 1.0, 0.0])
    assert win_rate(whole, without) == (1 + 0 + 0.5 + 1) / 4
    rates = {"m1": {"a": 0.9, "b": 0.4}, "m2": {"a": 0.8, "b": 0.9}}
    a, b = stability(rates)
    assert (a.kind, b.kind) == ("universal", "conditional")
    assert a.sd == pytest.approx(np.std([0.9, 0.8], ddof=1))
    with pytest.raises(CrossplayError, match="at least two"):
        stability({"m1": {"a": 1.0}})


# -- runs ----------------------------------------------------------------------------------------------
CONTROLS = {"equal_cost": False, "floor": False, "ceiling": False}


def scripted(members, protocol="vote", blocks=24):
    return {
        "study": {"name": "t", "blocks": blocks, "root": 5, "margin": 0.05},
        "environments": ["qa/synthetic"],
        "agents": {
            "good": {"type": "scholar"},
            "noise": "random",
            "fair": {"type": "answerer", "channel": 1},
            "team": {"type": "team", "members": members, "protocol": protocol},
        },
        "lineups": {"team": ["team"]},
        "controls": CONTROLS,
    }


def answers(folder):
    """(lineup, block, member) -> the first answer it posted."""
    found = {}
    with RunFolder.open(folder) as opened:
        for r in opened.records():
            for e in opened.events(r.id):
                if e.kind == "post":
                    note = unpack(e.note)
                    found.setdefault((r.lineup, r.block, note["member"]), (note["value"], e.path))
    return found


def test_members_keep_their_answers_and_places_when_others_leave(tmp_path):
    study = parse_study(scripted(["noise", "fair", "noise"]))
    credit = ablate(study, "team", tmp_path / "run")
    seen = answers(tmp_path / "run")
    assert {k[0] for k in seen} == {"team", "team without noise", "team without fair", "team without noise#2"}
    for (_, block, member), answer in seen.items():
        assert answer == seen["team", block, member]
    assert ("team without fair", 0, "fair") not in seen
    [game] = credit.games
    assert [m.member for m in game.members] == ["noise", "fair", "noise#2"]


def test_who_carries_the_team_is_found_and_noise_is_not(tmp_path):
    study = parse_study(scripted(["good", "good", "noise"], blocks=40))
    credit = ablate(study, "team", tmp_path / "run", draws=10)
    [game] = credit.games
    good, again, noise = game.members
    assert game.exact
    assert sum(m.credit.value for m in game.members) == pytest.approx(game.whole - game.nobody)
    assert good.comparison.verdict == again.comparison.verdict == "better"
    assert good.credit.value > noise.credit.value + 0.1
    # The two scholars see the same and say the same; only how ties are drawn tells them apart.
    assert abs(good.credit.value - again.credit.value) < 0.1


def test_without_a_member_is_that_very_team(tmp_path):
    """The value of a coalition is the score of a study of its own with those members."""
    credit = ablate(parse_study(scripted(["good", "noise"])), "team", tmp_path / "all", draws=1)
    own = scripted(["good", "noise"])
    own["agents"]["team"]["members"] = ["good"]
    alone = run(own, tmp_path / "one").scores[0].values
    with_all = run(scripted(["good", "noise"]), tmp_path / "two").scores[0].values
    [game] = credit.games
    scores = {s.lineup: s.values for s in result(tmp_path / "all").scores}
    assert scores["team without noise"] == alone
    assert scores["team"] == with_all
    assert game.whole == pytest.approx(np.mean(with_all))
    values = {frozenset(): scores["nobody"], frozenset({0}): alone, frozenset({1}): scores["team without good"]}
    values = {c: np.array(v) for c, v in values.items()} | {frozenset({0, 1}): np.array(with_all)}
    np.testing.assert_allclose([m.credit.value for m in game.members], shapley(values, 2).mean(1))
    assert left_out(values, 2).shape == (2, 24)


LLM = {"type": "llm:m1", "temperature": 0.9}


def with_models(protocol="vote", blocks=6):
    return {
        "study": {"name": "t", "blocks": blocks, "root": 5, "margin": 0.05},
        "environments": ["qa/synthetic"],
        "agents": {
            "x": LLM | {"instructions": "Be brief."},
            "y": LLM,
            "z": LLM | {"instructions": "Doubt."},
            "team": {"type": "team", "members": ["x", "y", "z"], "protocol": protocol},
        },
        "lineups": {"team": ["team"]},
        "models": {"m1": {"backend": "scripted"}, "m2": {"backend": "scripted"}},
        "controls": CONTROLS,
    }


def test_answers_that_coalitions_share_are_paid_once(tmp_path):
    ablate(parse_study(with_models()), "team", tmp_path / "run", draws=4)
    with Cassette(tmp_path / "run" / "cassette", mode="strict") as cassette:
        assert len(cassette) == 3 * 6  # members x blocks; eight coalitions ask nothing more
    assert any("18 calls were sent in all" in note for note in result(tmp_path / "run").notes)


def test_a_team_of_one_model_has_its_conversation_beside_it(tmp_path):
    def roles(**changes):
        study = with_models({"name": "debate", "rounds": 1}, blocks=2) | {"controls": {"dev": 2} | changes}
        study["agents"]["other"] = {"type": "llm:m2"}
        study["agents"]["mixed"] = {"type": "team", "members": ["x", "other"]}
        study["lineups"]["mixed"] = ["mixed"]
        found = run(study, tmp_path / f"run{len(changes)}")
        return {r.lineup: (r.role, r.costs.calls) for r in found.rows}

    found = roles()
    assert found["team single"] == ("control: one conversation", found["team"][1])
    assert "mixed single" not in found
    assert "team single" not in roles(single=False)


@pytest.mark.parametrize(
    "protocol",
    [
        {"name": "debate", "rounds": 1},
        "relay",
        {"name": "pipeline", "stages": [{"do": "a", "member": "x"}, {"do": "b", "member": "y"}, {"do": "c", "member": "z"}]},
        {"name": "verify", "roles": {"proposer": "y", "verifier": "x"}},
        {"name": "orchestrate", "turns": 1},
        {"name": "route", "by": "words", "about": {"x": "sums", "y": "letters"}},
        "review",
    ],
    ids=str,
)  # fmt: skip
def test_every_coalition_plays_every_protocol(protocol, tmp_path):
    credit = ablate(parse_study(with_models(protocol, blocks=2)), "team", tmp_path / "run", draws=2)
    assert credit.games[0].exact
    with RunFolder.open(tmp_path / "run") as opened:
        for r in opened.records():
            assert r.status in ("terminal", "horizon"), r.detail
            paths = {e.path[1] for e in opened.events(r.id) if e.kind == "post"}
            name = r.lineup
            if " of " in name or " without " in name:
                absent = {i for i, m in enumerate("xyz") if (m in name.split(" ", 2)[2]) == (" without " in name)}
                assert not paths & absent, (name, paths)


def test_a_stage_falls_out_with_its_member(tmp_path):
    stages = [{"do": "one", "member": "x"}, {"do": "two", "member": "y"}, {"do": "three", "member": "z"}]
    ablate(parse_study(with_models({"name": "pipeline", "stages": stages}, 1)), "team", tmp_path / "run")
    order = {}
    with RunFolder.open(tmp_path / "run") as opened:
        for r in opened.records():
            order[r.lineup] = [unpack(e.note)["member"] for e in opened.events(r.id) if e.kind == "post"]
    assert order["team"] == ["x", "y", "z"]
    assert order["team without y"] == ["x", "z"]
    assert order["team without z"] == ["x", "y"]


def test_several_models_tell_universal_from_conditional(tmp_path):
    credit = ablate(parse_study(with_models()), "team", tmp_path / "run", models=["m1", "m2"])
    assert [g.model for g in credit.games] == ["m1", "m2"]
    assert {s.member for s in credit.stability} == {"x", "y", "z"}
    for s in credit.stability:
        wins = [m.win for g in credit.games for m in g.members if m.member == s.member]
        assert s.sd == pytest.approx(np.std(wins, ddof=1))
    with RunFolder.open(tmp_path / "run") as opened:
        models = {
            (r.lineup, unpack(e.note)["model"])
            for r in opened.records()
            for e in opened.events(r.id)
            if e.kind == "model"
        }
    assert all(("@m1" in lineup) == (model == "m1") for lineup, model in models)


def test_many_members_are_sampled(tmp_path):
    study = parse_study(scripted(["good", "noise", "noise", "noise", "noise"], blocks=6))
    plan = ablation(study, "team", draws=4)
    assert len(plan.games[0].orders) == 4 and len(plan.games[0].coalitions) <= 4 * 4 + 2
    assert ablation(study, "team", draws=4).games[0].orders == plan.games[0].orders
    credit = ablate(study, "team", tmp_path / "run", draws=4)
    [game] = credit.games
    assert not game.exact
    assert sum(m.credit.value for m in game.members) == pytest.approx(game.whole - game.nobody)
    assert all(m.error is not None for m in game.members)


def test_wrong_names_are_said():
    study = parse_study(scripted(["good", "noise"]))
    with pytest.raises(CrossplayError, match='unknown agent "taem"'):
        ablation(study, "taem")
    with pytest.raises(CrossplayError, match="members are left out of teams"):
        ablation(study, "good")
    with pytest.raises(CrossplayError, match="none of the members"):
        ablation(study, "team", models=["m"])
    with pytest.raises(CrossplayError, match="one member"):
        ablation(parse_study(scripted(["good"])), "team")


def test_the_commands_print_tables_and_json(tmp_path, capsys, monkeypatch):
    import json

    import tomli_w

    monkeypatch.chdir(tmp_path)
    file = tmp_path / "study.toml"
    file.write_text(tomli_w.dumps(scripted(["good", "fair", "noise"], {"name": "debate", "rounds": 1}, blocks=6)))
    assert ablate_command(file, "team", plan=True) == 0
    assert not (tmp_path / "runs").exists()
    assert ablate_command(file, "team", members=True) == 0
    said = capsys.readouterr().out
    assert "left out one at a time" in said and "whole team" in said
    folder = tmp_path / "runs" / "t-team-credit"
    assert ablate_command(file, "team", json=True) == 0  # everything is there: nothing is played again
    assert {m["member"] for m in json.loads(capsys.readouterr().out)["games"][0]["members"]} == {
        "good",
        "fair",
        "noise",
    }
    assert team_command(folder) == 0
    said = capsys.readouterr().out
    assert "members of team" in said and "Rounds" in said and "Gini" in said
    assert team_command(folder, lineup="team", json=True) == 0
    [found] = json.loads(capsys.readouterr().out)
    assert found["decisions"] == 6 and len(found["members"]) == 3
    with pytest.raises(CrossplayError, match="not both"):
        ablate_command(file, "team", members=True, shapley=3)
