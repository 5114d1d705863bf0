"""OrchMAS: the closed form against the listing of all outcomes, experts alone, plans, and forms that nobody knows."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

import crossplay
from crossplay import Block, CrossplayError
from crossplay.gallery.orchmas.claim import ENTRY, episode, expected
from crossplay.gallery.orchmas.study import Expert, Orchestrator, Settings, answer, kind_of, orchestrated


def _listed(s: Settings, turns: int, by_chance: bool) -> tuple[float, float]:
    """(found, mean asks) by listing hit or miss and claim or not of every turn, in exact fractions."""
    p, e = Fraction(s.skill).limit_denominator(100), Fraction(s.overclaim).limit_denominator(100)
    found = asks = Fraction(0)
    for outcome in itertools.product([(True, True), (False, True), (False, False)], repeat=turns):
        chance, end = Fraction(1), None
        for t, (hit, claims) in enumerate(outcome):
            left = s.kinds - t
            h = Fraction(1) if left <= 1 else Fraction(1, left) if by_chance else p
            chance *= h if hit else (1 - h) * (e if claims else 1 - e)
            if claims:
                end = (t, hit)
                break
        # what comes after the end is free: count every prefix once
        rest = outcome[end[0] + 1 :] if end else ()
        if any(x != (True, True) for x in rest):
            continue
        found += chance * (end is not None and end[1])
        t = end[0] if end else turns
        asks += chance * (2 * t + 4 if t + 1 < turns else 2 * turns + 1)
    return float(found), float(asks)


@pytest.mark.parametrize("by_chance", [False, True])
@pytest.mark.parametrize("turns", [1, 2, 3, 4])
@pytest.mark.parametrize("overclaim", [0.0, 0.1, 1.0])
def test_closed_form_by_listing_all_outcomes(turns, overclaim, by_chance):
    s = Settings(overclaim=overclaim)
    e = expected(s, turns, by_chance)
    assert (e.found, e.mean_asks) == pytest.approx(_listed(s, turns, by_chance))
    assert sum(p for _, p in e.asks) == pytest.approx(1)
    assert e.accuracy == pytest.approx(e.found * s.expert + (1 - e.found) * s.outside)


def test_without_overclaims_it_is_the_geometric_law():
    s = Settings(overclaim=0.0, kinds=9)
    for turns in range(1, 8):
        assert expected(s, turns).found == pytest.approx(1 - 0.4**turns)
        assert expected(s, turns, by_chance=True).found == pytest.approx(turns / 9)


def test_an_expert_knows_its_field():
    s = Settings()
    runs = answer(s, Expert(2, s), 240)
    own = np.array([kind_of(q, s.kinds) == 2 for q in runs.questions])
    assert 30 < own.sum() < 90 and (runs.asks == 1).all()
    assert runs.right[own].mean() > 0.75 > 0.5 > runs.right[~own].mean()


@pytest.mark.parametrize("turns", [1, 2, 5])
def test_every_number_of_turns_is_as_enumerated(turns):
    s = Settings(overclaim=0.3, skill=0.3)
    runs = orchestrated(s, 25, turns=turns)
    assert [episode(q, s, turns) for q in runs.questions] == list(zip(runs.who, runs.asks.tolist(), strict=True))


def test_a_plan_names_everybody_once_at_most():
    s = Settings()
    runs = orchestrated(s, 10, turns=6, replan=False)
    assert set(runs.asks) == {s.kinds + 2}


def test_a_form_that_is_not_known_is_an_error():
    env = crossplay.make_env("qa/synthetic", {"channels": 8})
    env.start(Block(1, 0))

    class Obs:
        spec = crossplay.ActionSpec("data", schema={"type": "string"})
        inbox = ()

        def view(self, name):
            return env.data("solver")

    with pytest.raises(CrossplayError, match="form that it does not know"):
        Orchestrator(Settings(), 0.5).act(Obs())


def test_entry_states_only_marked_figures():
    assert {f.mark for f in ENTRY.figures} <= {"A", "P"} and ENTRY.trial is None and "GRPO" in ENTRY.missing
