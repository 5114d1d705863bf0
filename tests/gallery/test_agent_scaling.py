"""Scaling and diversity: the references by themselves, teams as read, the judge on made-up runs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import entropy

from crossplay.gallery.agent_scaling import claim, reference, verdict
from crossplay.gallery.agent_scaling.study import LEVELS, Case, answers, control, right, study
from crossplay.gallery.recorded import Talked
from crossplay.measure.diversity import effective_channels
from crossplay.measure.stats.results import Estimate, Interval
from crossplay.study.spec import parse_study


def case(**changes) -> Case:
    base = {"skill": 0.62, "options": 4, "r": 0.85, "channels": 16, "shared": 0.0, "calibration": 1.0, "questions": 40}
    return Case(**base | {"root": 5, "members": 4} | changes)


@pytest.mark.parametrize(("rho", "n"), [(0.0, 5), (0.3, 2), (0.8, 7), (0.95, 30)])
def test_closed_form_is_the_spectrum(rho: float, n: int) -> None:
    gram = (1 - rho) * np.eye(n) + rho
    assert reference.kstar(rho, n) == pytest.approx(2 ** entropy(np.linalg.eigvalsh(gram) / n, base=2))
    rows = reference.equicorrelated(rho, n)
    assert rows @ rows.T == pytest.approx(gram, abs=1e-9)
    assert float(effective_channels(rows)) == pytest.approx(reference.kstar(rho, n))


def test_published_way_of_growing() -> None:
    """K* of noisy clones at 2, 4, 8, 16, 64: it does not level off."""
    found = [round(reference.kstar(0.8, n), 2) for n in (2, 4, 8, 16, 64)]
    assert found == [1.38, 1.80, 2.24, 2.69, 3.71]


def test_one_voter_and_the_ceiling() -> None:
    plain, weighted = reference.votes(0.62, 4, 0.5, 1, 100_000, 3)
    assert plain == weighted == pytest.approx(0.62, abs=0.006)
    assert reference.ceiling(0.62, 4, 1.0, 16) == pytest.approx(0.62)
    assert reference.ceiling(0.62, 4, 0.3, 16) > reference.votes(0.62, 4, 0.3, 16, 50_000, 1)[1] - 0.006


def test_two_voters_by_plurality_are_one() -> None:
    plain, weighted = reference.votes(0.62, 4, 0.0, 2, 100_000, 4)
    assert plain == pytest.approx(0.62, abs=0.006) and weighted > 0.7


def test_conditions_of_equal_worlds_meet_the_same_questions() -> None:
    clones, different = answers(case(channels=1)), answers(case())
    assert (clones.truth == different.truth).all()
    assert (clones.choices[:, 0] == different.choices[:, 0]).all() and (clones.choices != different.choices).any()
    assert clones.seen.shape == (40, 4, 4)


def test_the_played_vote_is_the_counted_one_where_nothing_is_tied() -> None:
    a = answers(case(questions=80))
    counts = (a.choices[..., None] == np.arange(4)).sum(1)
    clear = (counts == counts.max(1, keepdims=True)).sum(1) == 1
    assert clear.any() and (right(a, 4, "plurality")[clear] == a.team[clear]).all()


def test_evidence_keeps_each_member_apart() -> None:
    a = answers(case())
    x = claim.evidence(a, 3, batch=20)
    assert x.shape == (2, 3, 80) and (x[1, 2] == a.seen[20:, 2].ravel()).all()


@pytest.mark.parametrize("level", LEVELS, ids=lambda x: x.name)
def test_studies_are_read(level) -> None:
    plan = parse_study(study(["a", "b", "c"], level, 8))
    assert plan.agents["mixed"].options["members"] == ["m0", "m1", "m2"]
    assert plan.agents["clones of m1"].options["size"] == 3
    assert set(parse_study(control(["a", "b"], level, 8)).lineups) >= {"m0", "m1"}


def test_a_gain_counts_only_above_the_best(monkeypatch) -> None:
    class Row:
        def __init__(self, lineup: str) -> None:
            self.lineup = lineup

    class Result:
        rows = [Row(n) for n in ("mixed", "clones of m0", "clones of m1", "mixed equal cost")]

    gains = {"clones of m0": 0.3, "clones of m1": 0.02, "mixed equal cost": 0.2}

    def paired(result, a, b):
        v = gains[b]
        return Estimate(v, Interval(v - 0.1, v + 0.1, 0.95, "t", 60), 60)

    monkeypatch.setattr(verdict, "paired", paired)
    monkeypatch.setattr(verdict, "talks", lambda folder, name: iter(()))
    found = {f.name: f for f in verdict.judge(Result(), None)}
    assert found["mixed above clones of m0"].holds and not found["mixing helps"].holds
    assert found["mixing helps"].reference == "the best control: clones of m1"


def test_words_of_answers() -> None:
    posts = [{"id": 0}, {"id": 1, "fault": "x"}, {"id": 2}]
    t = Talked(0, posts, {}, {0: True, 2: False}, {0: 1, 2: 3}, {0: "a fox", 2: "a tram"})
    assert verdict.texts_of(t) == ["a fox", "a tram"]
    assert 1 < verdict._kstar([t])[0] <= 2
