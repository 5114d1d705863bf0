"""Einstein puzzles: enumeration, search and rejection formulas against other computations; the judge on real runs of scripts."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import crossplay
from crossplay.gallery.einstein.claim import ENTRY, judge, least_turns, placements, refusals, won_in_silence
from crossplay.gallery.einstein.study import Start


def game(seed: int, blocks: int) -> Start:
    """Any tree of relations, any split of them, blocks split evenly."""
    rng = np.random.default_rng(seed)
    goal = rng.integers(0, 4, blocks)
    tree = nx.random_labeled_tree(blocks, seed=int(rng.integers(1 << 30)))
    relations = [[int(min(e)), int(max(e)), int(goal[min(e)] ^ goal[max(e)])] for e in tree.edges]
    who = rng.integers(0, 3, len(relations))
    known = tuple([r for r, w in zip(relations, who, strict=True) if w in (me, 2)] for me in (0, 1))
    at = rng.permutation(4 + (np.arange(blocks) + rng.integers(2)) % 2)  # as even as can be
    return Start(tuple(map(int, at)), int(goal[0]), known)


@given(st.integers(0, 10_000), st.sampled_from([4, 5]))
@settings(max_examples=60)
def test_a_tree_of_relations_leaves_one_placement(seed: int, blocks: int) -> None:
    """And half a tree leaves four for every further part: parts counted by networkx."""
    start = game(seed, blocks)
    assert len(placements(blocks, start.ground, [*start.known[0], *start.known[1]])) == 1
    graph = nx.Graph([(a, b) for a, b, _ in start.known[0]])
    graph.add_nodes_from(range(blocks))
    parts = nx.number_connected_components(graph)
    assert len(placements(blocks, start.ground, start.known[0])) == 4 ** (parts - 1)


def test_silence_by_hand() -> None:
    """Block 0 at the bottom left; block 1 is at its place's other row. Who owns it does not know, or does."""
    knows = Start((4, 4), 2, ([[0, 1, 2]], [[0, 1, 2]]))
    assert won_in_silence(knows), "the first hands block 1 over, the second places it"
    assert not won_in_silence(Start((4, 4), 2, ([[0, 1, 2]], []))), "the second cannot tell where it belongs"
    assert not won_in_silence(Start((4, 4), 2, ([], [[0, 1, 2]]))), "the first cannot tell whose it is"


@given(st.integers(0, 10_000), st.sampled_from([4, 5]))
@settings(max_examples=60)
def test_the_search_equals_the_formula(seed: int, blocks: int) -> None:
    """max(2 m1 - 1, 2 m2), m being the moves that each must make; true for evenly split blocks."""
    start = game(seed, blocks)
    (goal,) = placements(blocks, start.ground, [*start.known[0], *start.known[1]])
    moves = [0, 0]
    for at, place in zip(start.at, goal, strict=True):
        moves[at - 4] += 1
        moves[1 - (at - 4)] += int((place >= 2) != (at == 4))
    assert least_turns(start) == max(2 * moves[0] - 1, 2 * moves[1])


@pytest.mark.parametrize("x", [0.0, 0.2, 0.7, 1.0])
@pytest.mark.parametrize("k", [1, 2, 5])
def test_refusals_equal_the_sum_over_all_outcomes(x: float, k: int) -> None:
    total, square, none = 0.0, 0.0, 0.0
    for outcome in itertools.product((True, False), repeat=k):  # refused or not, candidate by candidate
        chance = float(np.prod([x if r else 1 - x for r in outcome]))
        refused = next((i for i, r in enumerate(outcome) if not r), k)
        total, square, none = total + chance * refused, square + chance * refused**2, none + chance * (refused == k)
    (mean, variance), (never, spread) = refusals(np.array([x, x]), k)
    assert (mean, never) == pytest.approx((2 * total, 2 * none))
    assert (variance, spread) == pytest.approx((2 * (square - total**2), 2 * none * (1 - none)))


def as_scripts(noise: float, verified: bool) -> dict:
    """The study of the trial with noisy reasoners in the place of models."""
    level = ENTRY.trial.levels[1]
    plan = ENTRY.trial.study(("m",), level, 30)
    plan["agents"]["model"] = {"type": "reasoner", "guess": True, "noise": noise}
    if not verified:
        plan["agents"]["verified"] = {"type": "reasoner", "guess": True, "noise": noise}
    return plan


@pytest.mark.parametrize("verified", [True, False])
def test_the_judge_on_runs_of_scripts(tmp_path, verified: bool) -> None:
    result = crossplay.run(as_scripts(0.4, verified), tmp_path / "run")
    found = {f.name: f for f in judge(result, tmp_path / "run")}
    assert found["silence, success"].holds and found["silence, success"].n == 30
    assert found["silence, wrong moves"].holds, "guessers in silence"
    assert found["verifier, provide"].holds == verified
    assert found["verifier, wrong moves, provide"].holds == verified


def test_the_control_has_its_floor_and_ceiling() -> None:
    for level in ENTRY.trial.levels:
        plan = crossplay.parse_study(ENTRY.trial.control(("m",), level, 5))
        roles = {s.role for s in plan.lineups.values()}
        assert roles == {"", "control: floor", "control: ceiling"} and ENTRY.trial.single in plan.lineups
