"""Paradigms and rules: the references by hand, votes of synthetic members, what the judge reads from runs."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from crossplay.gallery.mallm import claim, reference, verdict
from crossplay.gallery.mallm import study as made
from crossplay.gallery.mallm.study import LEVELS, Case, Settings, control, study, talks_of
from crossplay.gallery.recorded import Talked
from crossplay.measure.answers import inequality
from crossplay.study.spec import parse_study


def test_paradigms_by_hand() -> None:
    """Three members, one round: (member, (writer, which of its posts) that it sees)."""
    first = [(0, []), (1, []), (2, [])]
    old = [(0, 0), (1, 0), (2, 0)]
    assert reference.expected_sees("collective", 3, 1, 1) == [*first, (0, old), (1, old), (2, old)]
    assert reference.expected_sees("memory", 3, 1, 1)[3:] == [
        (0, old), (1, [(0, 1), (1, 0), (2, 0)]), (2, [(0, 1), (1, 1), (2, 0)])
    ]  # fmt: skip
    assert reference.expected_sees("relay", 3, 1, 1)[3:] == [(0, [(2, 0)]), (1, [(0, 1)]), (2, [(1, 1)])]
    assert reference.expected_sees("report", 3, 1, 1)[3:] == [(0, old), (1, [(0, 1), (1, 0)]), (2, [(0, 1), (2, 0)])]
    assert reference.expected_sees("debate", 3, 1, 2)[6:] == [
        (1, [(0, 1), (1, 1), (2, 1)]), (2, [(0, 1), (1, 1), (2, 1)])
    ]  # fmt: skip


def test_rules_by_hand() -> None:
    assert reference.consensus([0, 0, 1], Fraction(66, 100)) == 0
    assert reference.consensus([0, 0, 1, 1], Fraction(1, 2)) == -1
    assert reference.consensus([0, 0, 1, 2], Fraction(1, 2), strict=True) == -1
    assert reference.plurality([2, 1, 2, 1, 0]) == {1, 2}
    assert reference.approval([[1, 1, 0], [0, 1, 0]]) == {1}
    assert reference.cumulative([[2, 0], [1, 3]]) == {0}
    assert reference.borda([[0, 1, 2], [1, 2, 0], [1, 0, 2]]) == {1}


@pytest.mark.parametrize(("n", "words"), [(2, 3), (4, 5), (7, 1)])
def test_gini_of_one_loud_member(n: int, words: int) -> None:
    assert reference.gini_of_one_loud(n, words) == pytest.approx(float(inequality([words] + [1] * (n - 1))))


def test_points_are_shared_out_whole() -> None:
    assert made._shares([1, 1, 1], 25) == [9, 8, 8]
    assert made._shares([0.9, 0.1], 25) == [23, 2]
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert sum(made._shares(list(rng.random(5)), 25)) == 25


def test_members_vote_in_every_form() -> None:
    s = Settings(n=40, rounds=0, quality=0.4)
    for rule, kind in (("approval", str), ("borda", str), ("cumulative", int)):
        votes = [p for t in talks_of(Case(s, rule=rule)) for p in t.posts if p["act"] == "vote"]
        assert votes and not any("fault" in p for p in votes)
        assert all(isinstance(x, kind) for p in votes for x in p["value"])
    ranked = [(t, p) for t in talks_of(Case(s, rule="borda")) for p in t.posts if p["act"] == "vote"]
    assert all(len(p["value"]) == len(t.vote["candidates"]) for t, p in ranked)  # a ranking names all


def test_provenance_is_a_graph_of_posts() -> None:
    nx = pytest.importorskip("networkx")
    [talk] = talks_of(Case(Settings(n=1, rounds=2)))
    above = claim.provenance(talk)
    g = nx.DiGraph((seen, p["id"]) for p in talk.posts for seen in p["sees"])
    assert len(above) == 12 and above[4] == {0, 1, 2, 3}
    assert all(above[node] == nx.ancestors(g, node) for node in g)


@pytest.mark.parametrize("level", LEVELS, ids=lambda x: x.name)
def test_studies_are_read(level) -> None:
    plan = parse_study(study(["m"], level, 8))
    assert [x for x in plan.lineups if not plan.lineups[x].role] == ["collective"]
    assert parse_study(control(["m"], level, 8)).lineups["always A"].role == "constant letter"


def test_turns_of_recorded_talks() -> None:
    def post(i, r, member, **more):
        return {"id": i, "round": r, "member": member, "act": "answer", "value": 0, **more}

    posts = [post(0, 0, "a"), post(1, 0, "b"), post(2, 1, "a"), post(3, 1, "b", fault="error: x")]
    said = [Talked(0, posts, {}, {0: False, 1: True, 2: True}, {0: 3, 1: 1, 2: 1})]
    choices, truth = verdict.turns_of(said)
    assert choices.tolist() == [[[0, 1], [1, 1]]] and truth.tolist() == [1]  # who fails keeps the last word
    nobody = [Talked(0, posts[:2], {}, {0: False, 1: False}, {0: 3, 1: 1})]
    assert verdict.turns_of(nobody)[1].tolist() == [-2]
