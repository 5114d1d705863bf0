"""The collaboration gap: its flood fill against networkx, and its judge on made-up results."""

from __future__ import annotations

from types import SimpleNamespace

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import crossplay
from crossplay.gallery.collaboration_gap.claim import ENTRY, check, judge, solved_though_swapped
from crossplay.gallery.collaboration_gap.study import LINEUPS, Settings, agents, walk
from crossplay.measure.stats import wilson


@given(st.integers(0, 10_000), st.integers(3, 8))
def test_the_flood_fill_equals_networkx(seed: int, size: int) -> None:
    """Random maps: every cell is seen by exactly one, start and goal by both."""
    rng = np.random.default_rng(seed)
    walls = rng.random((size, size)) < 0.35
    ends = np.array([[0, 0], [size - 1, size - 1]])
    walls[0, 0] = walls[-1, -1] = False
    hidden = rng.random((size, size)) < 0.5
    own = np.stack([np.where(hidden, -1, walls), np.where(~hidden, -1, walls)]).astype(np.int8)
    for map_ in own:
        map_[0, 0] = map_[-1, -1] = 0
    graph = nx.grid_2d_graph(size, size)
    for cell in list(graph):
        told = own[1][cell[::-1]] == 0
        if walls[cell] or not (own[0][cell] == 0 or (own[0][cell] == -1 and told)):
            graph.remove_node(cell)
    assert solved_though_swapped(own, ends) == nx.has_path(graph, (0, 0), (size - 1, size - 1))


def test_a_talker_who_always_or_never_grounds() -> None:
    few = Settings(strong=1.0, weak=0.0, blocks=30)
    who = agents(few)
    sure = walk(few, [who["strong"], who["weak"]], 30)
    never = walk(few, [who["weak"], who["strong"]], 30)
    assert sure.success.all() and sure.stated.all() and not never.stated.any()
    swapped = [solved_though_swapped(o, e) for o, e in zip(never.own, never.ends, strict=True)]
    assert never.success.tolist() == swapped and 0 < sum(swapped) < 30


def test_the_effect_grows_with_grounding() -> None:
    """Success of an equal pair is linear in the chance of grounding; the check finds that for other chances, too."""
    found = {f.name: f for f in check(Settings(strong=0.9, weak=0.5, blocks=60, simple=4))}
    assert found["every episode"].holds and found["success of weak, weak"].holds and found["relay gain"].holds
    assert not found["gap"].holds, "half a grounding is no gap above 0.4"


def result(**means: float) -> SimpleNamespace:
    """40 blocks, a lineup succeeds in the first share of them."""
    scores = [
        SimpleNamespace(lineup=name.replace("_", ", "), values=[float(b < 40 * m) for b in range(40)])
        for name, m in means.items()
    ]
    return SimpleNamespace(scores=scores)


def test_the_judge_reads_effects_and_does_not_invent_them(tmp_path) -> None:
    one = dict.fromkeys(("strong_strong", "strong_weak", "weak_strong", "weak_weak", "relayed_weak"), 0.5)
    flat = judge(result(**one, strong_strong_silent=0.5), tmp_path / "level")
    assert not any(f.holds for f in flat) and {f.name for f in flat} == {"order effect", "relay", "talk"}
    some = {**one, "strong_weak": 0.9, "weak_strong": 0.3, "weak_weak": 0.2, "relayed_weak": 0.8}
    found = {f.name: f for f in judge(result(**some, strong_strong_silent=0.1), tmp_path / "level")}
    assert all(f.holds for f in found.values())
    assert found["order effect"].value == pytest.approx(0.6) and found["relay"].value == pytest.approx(0.6)


def test_the_gap_is_read_from_the_control_beside_the_run(tmp_path) -> None:
    """A script alone is sure, so a pair that wins half has a gap of a half; Newcombe's interval by hand."""
    level = ENTRY.trial.levels[1]
    plan = ENTRY.trial.control(("m",), level, 20)
    plan["agents"]["strong"] = {"type": "talker"}
    crossplay.run(plan, tmp_path / "level-control")
    half = result(strong_strong=0.5, strong_strong_silent=0.5)
    [gap, talk] = judge(half, tmp_path / "level")
    assert gap.name == "gap, strong" and gap.holds and gap.value == 0.5 and not talk.holds
    assert gap.low == pytest.approx(
        0.5 - np.hypot(1 - 20 / (20 + 1.96**2), wilson(20, 40).interval.high - 0.5), abs=1e-3
    )
    one = result(strong_strong=1.0, strong_strong_silent=0.0)
    for scores in one.scores:
        scores.values = scores.values[:1]
    assert not any(f.holds for f in judge(one, tmp_path / "none")), "one maze shows nothing"


@pytest.mark.parametrize("models", [("m1", "m2"), ("m1",)])
def test_the_studies_are_valid_and_the_controls_have_their_roles(models) -> None:
    for level in ENTRY.trial.levels:
        pairs = crossplay.parse_study(ENTRY.trial.study(models, level, 8))
        alone = crossplay.parse_study(ENTRY.trial.control(models, level, 8))
        assert ENTRY.trial.single in alone.lineups and len(alone.blocks) == 8
        assert set(pairs.lineups) >= (set(LINEUPS) if len(models) == 2 else {"strong, strong"})
        assert pairs.lineups["strong, strong, silent"].role == "control: zero-message"
        for env in (pairs, alone):
            spec = env.environments["maze"]
            assert len(crossplay.make_env(spec.name, spec.options).seats) == (2 if env is pairs else 1)
