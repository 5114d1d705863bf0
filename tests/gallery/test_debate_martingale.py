"""Debate as a martingale: the reference against closed forms, what is read from traces, the judge's recount."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crossplay.gallery.debate_martingale import claim, reference, verdict
from crossplay.gallery.debate_martingale.study import (
    LEVELS,
    Case,
    Settings,
    control,
    debates,
    equivalence_blocks,
    study,
)
from crossplay.gallery.recorded import Talked
from crossplay.study.spec import parse_study


def case(**changes) -> Case:
    base = {
        "members": 5,
        "rounds": 2,
        "options": 4,
        "quality": 0.7,
        "concentration": 20.0,
        "c": 0.0,
        "informed": 1.0,
        "n": 30,
        "root": 3,
    }
    return Case(**base | changes)


def test_enumeration_is_the_urn_by_hand() -> None:
    """One member, two options, one round: it hears itself; E[belief] by hand."""
    p, k, c = 0.8, 2.0, 1.0
    w = [math.exp(c * (2 * p - 1)), math.exp(c * (1 - 2 * p))]
    by_hand = p * (k * p + w[0]) / (k + w[0]) + (1 - p) * k * p / (k + w[1])
    assert reference.enumerated(np.array([[p, 1 - p]]), 1, k, c)[0] == pytest.approx(by_hand)


@pytest.mark.parametrize("c", [-1.0, 0.0, 0.7])
def test_simulation_and_enumeration_agree(c: float) -> None:
    """Same clues of no worth: all first beliefs uniform, so by symmetry nothing moves whatever c is."""
    change = reference.simulated(0.0, 3, 2, 2, 2.0, c, 20_000, 1)
    assert abs(change.mean()) < 4 * change.std() / math.sqrt(20_000)
    assert reference.enumerated(np.full((2, 3), 1 / 3), 2, 2.0, c) == pytest.approx([1 / 3] * 3)


def test_the_variance_bound_holds_and_is_near() -> None:
    bound = reference.variance_bound(5, 2, 20.0)
    change = reference.simulated(0.0, 2, 5, 2, 20.0, 0.0, 40_000, 2)
    assert 0.85 * bound < change.var() <= bound * 1.02
    assert equivalence_blocks(0.005, bound, 0.8) == pytest.approx(bound * (1.96 + 1.2816) ** 2 / 0.005**2, rel=0.01)


def test_distinct_answers_and_coverage_by_enumeration() -> None:
    import itertools

    counts = np.bincount([len(set(d)) for d in itertools.product(range(3), repeat=4)], minlength=4) / 81
    assert reference.distinct_shares(4, 3) == pytest.approx(counts)
    assert reference.pool_coverage(5, 10, 5) == pytest.approx(1 - 0.8**10)
    assert reference.pool_coverage(5, 10, 10) < 1 - 0.9**10


def test_traces_hold_the_debate() -> None:
    d = debates(case(c=1.0))
    assert d.beliefs.shape == (30, 2, 5, 4) and d.answers.shape == (30, 3, 5)
    assert np.allclose(d.first.sum(-1), 1) and np.allclose(d.beliefs.sum(-1), 1)
    assert claim._path_error(d, 20.0) < 1e-12
    assert claim._path_error(d, 19.0) > 1e-3  # and it can fail


def test_pool_keeps_different_candidates() -> None:
    d = debates(case(rounds=0, candidates=10, options=3))
    for asked, kept in zip(d.candidates, d.answers[:, 0], strict=True):
        assert set(kept) == set(asked)
    pooled = debates(case(candidates=10, n=10))
    assert claim._path_error(pooled, 20.0) < 1e-12


def test_knowing_confidence_tells_more() -> None:
    own, knowing = (claim._auroc(debates(case(c=1.0, n=80, knowing=k)))[0] for k in (False, True))
    assert knowing > own > 0.7


@pytest.mark.parametrize("level", LEVELS, ids=lambda x: x.name)
def test_studies_are_read(level) -> None:
    for make in (control, study):
        assert parse_study(make(["smollm2-135m"], level, 5)).lineups["one"].seats == ["one"]


def test_recount_weighs_by_confidence() -> None:
    posts = [
        {"id": 0, "round": 0, "member": "a", "act": "answer", "value": 1, "confidence": 0.55},
        {"id": 1, "round": 0, "member": "b", "act": "answer", "value": 1, "confidence": 0.55},
        {"id": 2, "round": 0, "member": "c", "act": "answer", "value": 0, "confidence": 0.99},
    ]
    said = [Talked(0, posts, {}, {0: False, 1: False, 2: True}, {0: 1, 1: 1, 2: 0})]
    assert verdict.recount(said, "plurality").tolist() == [0.0]
    assert verdict.recount(said, "confidence").tolist() == [1.0]


def test_settings_are_the_experiment() -> None:
    assert claim.ENTRY.configured({"vanilla": 0.2}) == Settings(vanilla=0.2)
