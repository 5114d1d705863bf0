"""Static-DRA: the closed form, the chain and the enumeration against slow references; the library as an environment."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import crossplay
from crossplay import Block, CrossplayError
from crossplay.gallery.static_dra import study
from crossplay.gallery.static_dra.claim import ENTRY, asks_of, chain, enumerated, widths
from crossplay.gallery.static_dra.study import Library, Settings, code_of, in_flight, parts_of, research


def test_library_conforms():
    report = crossplay.check(Library)
    assert all(f.passed for f in report.findings), [f for f in report.findings if not f.passed]


def test_widths_by_growing_the_tree():
    def grow(depth: int, breadth: int, decay: str) -> int:
        if depth == 0 or breadth < 1:
            return 1
        less = {"halve": breadth // 2, "minus2": breadth - 2, "none": breadth}[decay]
        return sum(grow(depth - 1, less, decay) for _ in range(breadth))

    for depth, breadth, decay in itertools.product(range(5), range(1, 7), ("halve", "minus2", "none")):
        assert widths(depth, breadth, decay)[-1] == grow(depth, breadth, decay)
    assert widths(2, 5, "minus2") == [1, 5, 15] and widths(2, 5, "halve") == [1, 5, 10]
    assert asks_of([1, 5, 15]) == 22 and asks_of([1]) == 1


def _by_listing(nodes: int, slots: int, overlap: float, common: int, share: bool) -> np.ndarray:
    """All outcomes of all parts, one by one: own (0) or common topic 1 .. common."""
    found = np.zeros(nodes * slots + 1)
    for outcome in itertools.product(range(common + 1), repeat=nodes * slots):
        chance = np.prod([1 - overlap if x == 0 else overlap / common for x in outcome])
        taken: set[int] = set()
        leaves = 0
        for i in range(nodes):
            if not share:
                taken = set()
            new = 0
            for x in outcome[i * slots : (i + 1) * slots]:
                if x == 0 or x not in taken:
                    new += 1
                    taken |= {x} - {0}
            leaves += new or 1
        found[leaves] += chance
    return found


@pytest.mark.parametrize("share", [True, False])
@pytest.mark.parametrize(("nodes", "slots", "common"), [(1, 3, 2), (3, 2, 2), (2, 3, 3), (3, 2, 1)])
def test_chain_by_listing_all_outcomes(nodes, slots, common, share):
    p = chain(nodes, slots, 0.4, common, share)
    np.testing.assert_allclose(p, _by_listing(nodes, slots, 0.4, common, share), atol=1e-12)
    assert p.sum() == pytest.approx(1)


def test_chain_without_overlap_is_certain():
    p = chain(5, 3, 0.0, 6, True)
    assert p[15] == pytest.approx(1)


@pytest.mark.parametrize("share", [True, False])
def test_three_levels_equal_the_enumeration(share):
    s = Settings(depth=3, breadth=4, decay="none", overlap=0.5, common=9, share=share)
    r = research(s, 6)
    for i, library in enumerate(r.libraries):
        tree = enumerated(library, s, 3, share)
        assert (r.splits[i], r.leaves[i], r.topics[i]) == (tree.splits, len(tree.leaves), len(set(tree.leaves)))
    assert (r.leaves == r.topics).all() == share


def test_topics_shown_as_taken_are_not_named_again():
    free = parts_of("x", "1", 40, [], 1.0, 2)
    told = parts_of("x", "1", 40, ["common 1"], 1.0, 2)
    assert set(free) == {"common 1", "common 2"}
    assert told == [f"1.{i + 1}" if part == "common 1" else part for i, part in enumerate(free)]


def test_a_fact_counts_once_and_wrong_lines_are_counted():
    env = Library()
    env.start(Block(1, 0))
    right = f"1 = {code_of(env.library, '1')}"
    env.step({"researcher": f"{right}\n{right}\n2 = 000000\nnothing"}, [])
    assert env.score() == {"facts": 1.0, "wrong": 2.0}


def test_asks_in_flight_are_those_of_a_level():
    assert in_flight(Settings(overlap=0.0, decay="halve")) == (10, 4)
    assert in_flight(Settings(overlap=0.0, depth=0)) == (1, 1)


def test_unknown_words_of_a_split_are_an_error(monkeypatch):
    monkeypatch.setattr(study, "_SPLIT", study.re.compile("other words"))
    env = Library()
    env.start(Block(1, 0))
    with pytest.raises(CrossplayError, match="words that it does not know"):
        _split_alone(env)


def _split_alone(env):
    class Obs:
        spec = crossplay.ActionSpec("data", schema={"type": "array", "maxItems": 2})
        brief = "The task is: x"

        def view(self, name):
            return env.data("researcher")

    study.Researcher("splitter", Settings()).act(Obs())


def test_entry_states_only_marked_figures():
    assert {f.mark for f in ENTRY.figures} <= {"A", "S", "P"} and ENTRY.trial is None
