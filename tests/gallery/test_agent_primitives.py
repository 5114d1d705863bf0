"""The algebra of the primitives: shapes by hand, faults that are found, and the measurement's reading."""

from __future__ import annotations

import json

import networkx as nx
import pytest

from crossplay.gallery.agent_primitives import algebra
from crossplay.gallery.agent_primitives.claim import _composition, check
from crossplay.gallery.agent_primitives.measure import KEPT, task
from crossplay.gallery.agent_primitives.study import Settings, played


def test_shapes_by_hand():
    assert algebra.composed(["review"], 4) == [(0, False, ()), (1, True, (0,)), (0, False, (0, 1))]
    assert algebra.composed(["plan"], 4) == [(3, True, ()), (0, False, (0,))]
    assert algebra.composed(["select"], 3) == [(0, False, ()), (1, False, ()), (2, False, ()), (2, False, (0, 1, 2))]
    plan_review = algebra.composed(["plan", "review"], 4)
    assert plan_review[2:] == [(0, False, (1,)), (1, True, (1, 2)), (0, False, (2, 3))]


@pytest.mark.parametrize("steps", [["review"], ["plan", "select"], ["select", "review", "plan"]])
def test_what_is_seen_came_before_and_all_leads_to_the_answer(steps):
    shape = algebra.composed(steps, 4)
    graph = nx.DiGraph((seen, i) for i, (_, _, sees) in enumerate(shape) for seen in sees)
    assert nx.is_directed_acyclic_graph(graph)
    assert nx.ancestors(graph, len(shape) - 1) == set(range(len(shape) - 1))


def test_the_whole_shape_is_compared():
    """Another order of steps, or of roles, is another shape."""
    s = Settings()
    real = played(s, _composition(("plan", "review")), s.members, 1).shapes[0]
    assert real == algebra.composed(("plan", "review"), s.members)
    assert real != algebra.composed(("review", "plan"), s.members)
    swapped = {
        **_composition(("plan", "review")),
        "roles": {"solver": "m1", "critic": "m0", "selector": "m2", "planner": "m3"},
    }
    assert played(s, swapped, s.members, 1).shapes[0] != real


def test_silence_and_clones_are_found():
    wrong = {f.name for f in check(Settings(silent=True, own=False, n=300)) if not f.holds}
    assert {"compositions", "plan is a pipeline", "review is self-refine", "selection gains"} <= wrong


def test_tasks_share_no_prefix():
    assert len({task(i)[:12] for i in range(40)}) == 40


@pytest.mark.parametrize("file", sorted(KEPT.glob("*.json")), ids=lambda f: f.stem)
def test_what_is_kept_adds_up(file):
    kept = json.loads(file.read_text("utf-8"))
    prefix, slots = kept["prefix"], kept["slots"]
    for way, rows in prefix["rows"].items():
        assert len(rows) == prefix["n"]
        assert prefix["mean"][way][1] == pytest.approx(sum(r[1] for r in rows) / len(rows))
    saved = [a[2] - b[2] for a, b in zip(prefix["rows"]["apart"], prefix["rows"]["prefix"], strict=True)]
    assert prefix["cpu_s saved per call"][0] == pytest.approx(sum(saved) / len(saved))
    assert slots["mean"] == pytest.approx([sum(c) / slots["n"] for c in zip(*slots["rows"], strict=True)])
    assert len(kept["sha256"]) == 64 and kept["command"].endswith(str(prefix["n"]))
