"""What is checked of Static-DRA: asks, leaves and facts against the cost model, an exact enumeration and a chain.

Breadths b_1 = breadth, b_i = decay(b_(i-1)); a tree whose parts do not overlap splits w_i = b_1 ... b_i nodes:

    asks = (1 + w_1 + ... + w_(k-1)) splits + w_k leaves + 1 answer,     k = depth, or less where b_i < 1
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np

from crossplay.gallery.entry import Claim, Entry, Figure, Finding, Mechanism
from crossplay.gallery.static_dra.study import (
    ALONE,
    WHOLE,
    Settings,
    Trees,
    in_flight,
    parts_of,
    research,
)
from crossplay.measure.stats import paired_t

__all__ = ["ENTRY", "Tree", "chain", "check", "enumerated", "widths"]

WIDE = 3.29  # standard deviations: two-sided chance .001
DECAYS = ("halve", "minus2", "none")


# -- references ------------------------------------------------------------------------------------
def widths(depth: int, breadth: int, decay: str) -> list[int]:
    """Nodes per level where no part overlaps, from the root's 1 on; the last are the leaves."""
    found = [1]
    while depth > 0 and breadth >= 1:
        found.append(found[-1] * breadth)
        breadth = breadth // 2 if decay == "halve" else breadth - 2 if decay == "minus2" else breadth
        depth -= 1
    return found


def asks_of(levels: list[int]) -> int:
    """Splits, leaves and the answer."""
    return sum(levels[:-1]) + levels[-1] + 1 if len(levels) > 1 else 1


class Tree(msgspec.Struct, frozen=True):
    """One enumerated episode. leaves: the topics that are looked up; fell_back: branches all of whose parts were taken."""

    splits: int
    leaves: tuple[str, ...]
    fell_back: int


def enumerated(library: str, s: Settings, depth: int, share: bool) -> Tree:
    """The whole tree of a library by recursion on levels, without a team; no budget."""
    levels, breadth, taken = [(WHOLE, frozenset[str]())], s.breadth, set[str]()
    leaves: list[str] = []
    splits = fell_back = 0
    for _ in range(depth):
        if breadth < 1:
            break
        splits += len(levels)
        shown = frozenset(taken)
        below = []
        for task, branch in levels:
            known = taken if share else set(branch)
            named = parts_of(library, task, breadth, sorted(shown if share else branch), s.overlap, s.common)
            new = [p for i, p in enumerate(named) if p not in known and p not in named[:i]]
            taken.update(new)
            below += [(p, branch | frozenset(new)) for p in new]
            if not new:
                fell_back += 1
                leaves.append(task)
        levels = below
        breadth = breadth // 2 if s.decay == "halve" else breadth - 2 if s.decay == "minus2" else breadth
    leaves += [task for task, _ in levels if task != WHOLE]
    return Tree(splits, tuple(leaves), fell_back)


def chain(nodes: int, slots: int, overlap: float, common: int, share: bool) -> np.ndarray:
    """Chances float[leaves + 1] of so many leaves below `nodes` nodes of `slots` parts each: an exact Markov chain.

    A part is the node's own with chance 1 - overlap, else one of `common` topics, which counts once (share) or once
    per node; a node without a new part is a leaf itself. State: (common topics taken, leaves so far).
    """
    most = nodes * slots
    now = np.zeros((common + 1, most + 1))
    now[0, 0] = 1.0
    for _ in range(nodes):
        if not share:  # the next branch knows nothing of this one
            now = np.vstack([now.sum(0), np.zeros((common, most + 1))])
        here = np.zeros((2, common + 1, most + 1))  # whether this node has a new part
        here[0] = now
        for _ in range(slots):
            after = np.zeros_like(here)
            for k in range(common + 1):
                grown = here[:, k].sum(0)
                after[:, k] += here[:, k] * overlap * k / common
                after[1, k, 1:] += grown[:-1] * (1 - overlap)
                if k < common:
                    after[1, k + 1, 1:] += grown[:-1] * overlap * (common - k) / common
            here = after
        now = here[1]
        now[:, 1:] += here[0][:, :-1]
    return now.sum(0)


# -- tier 0 ------------------------------------------------------------------------------------------
def check(settings: Settings) -> list[Finding]:
    """Scripted researchers against the cost model, the enumeration and the chain."""
    s = settings
    plain = msgspec.structs.replace(s, overlap=0.0)
    sure = msgspec.structs.replace(plain, skill=1.0)
    shared, apart = (research(s, s.blocks, share=share) for share in (True, False))
    own = shared if s.share else apart
    grid, grown = _grid(sure)
    return [
        grid,
        _size("published size", "the published code's tree of depth 2 and breadth 5 has 15 leaves", plain, s.decay, 15),
        _size("halved size", "as its text describes it, with breadth halved per level, it would have 10", plain, "halve", 10),
        _same_decay(plain),
        _enumerated(s, own),
        _repeats(own),
        *_chained(s, shared, apart),
        _nothing_new(s, shared, apart),
        _found(plain),
        _gain(plain),
        grown,
        _at_once(s),
        *_budget(sure),
    ]  # fmt: skip


def _grid(sure: Settings) -> tuple[Finding, Finding]:
    """All depths 0 to 3, breadths 1 to 6 and decays: one episode each."""
    wrong, n, facts = 0, 0, {}
    for decay in DECAYS:
        for depth in range(4):
            for breadth in range(1, 7):
                if decay == "none" and breadth**depth > 64:
                    continue
                r = research(sure, 1, depth=depth, breadth=breadth, decay=decay)
                levels = widths(depth, breadth, decay)
                expected = (asks_of(levels), levels[-1] if len(levels) > 1 else 0, levels[-1])
                wrong += (int(r.asks[0]), int(r.leaves[0]), int(r.facts[0])) != expected
                facts[decay, depth, breadth] = r.facts[0]
                n += 1
    falls = sum(facts.get((c, d + i, b + 1 - i), np.inf) < v for (c, d, b), v in facts.items() for i in (0, 1))
    cost = Finding(
        "cost model", "asks, leaves and facts follow the product of the breadths", wrong == 0, wrong,
        "= 0 settings otherwise", "closed form", n=n,
    )  # fmt: skip
    return cost, Finding(
        "grows", "one level or one part more never covers less", falls == 0, falls, "= 0 steps down",
        "all neighbours in depth and breadth", n=n,
    )  # fmt: skip


def _size(name: str, says: str, plain: Settings, decay: Any, leaves: int) -> Finding:
    found = int(research(plain, 1, depth=2, breadth=5, decay=decay).leaves[0])
    return Finding(name, says, found == leaves, found, f"= {leaves}", "closed form: 5 * 3 and 5 * 2", n=1)


def _same_decay(plain: Settings) -> Finding:
    found = {int(research(plain, 1, depth=1, decay=d).leaves[0]) for d in DECAYS}
    return Finding(
        "one level", "with one level of splitting it does not matter how breadth shrinks", found == {plain.breadth},
        len(found) - 1, "= 0 other numbers of leaves", "the first split has all the breadth", null=True, n=len(DECAYS),
    )  # fmt: skip


def _enumerated(s: Settings, own: Trees) -> Finding:
    wrong = 0
    for i, library in enumerate(own.libraries):
        tree = enumerated(library, s, s.depth, s.share)
        found = (own.splits[i], own.leaves[i], own.topics[i], own.asks[i])
        asks = tree.splits + len(tree.leaves) + 1
        wrong += found != (tree.splits, len(tree.leaves), len(set(tree.leaves)), asks)
    return Finding(
        "every episode", "splits, leaves, distinct topics and asks are those of the enumerated tree", wrong == 0, wrong,
        "= 0 episodes otherwise", "enumeration level by level, without a team", n=len(own.libraries),
    )  # fmt: skip


def _repeats(own: Trees) -> Finding:
    twice = float((own.leaves - own.topics).mean())
    return Finding(
        "no topic twice", "no topic is looked up twice, because parts are compared with those of all branches", twice == 0,
        twice, "= 0 look-ups per episode", "distinct topics among the leaves", n=len(own.leaves),
    )  # fmt: skip


def _chained(s: Settings, shared: Trees, apart: Trees) -> list[Finding]:
    """Leaves of the published tree, both ways, against the chain; it describes the last of two levels."""
    found = []
    first, last = s.breadth, widths(2, s.breadth, s.decay)[-1] // s.breadth
    for name, share, trees in (("leaves, shared", True, shared), ("leaves, apart", False, apart)):
        p = chain(first, last, s.overlap, s.common, share)
        mean = float(p @ np.arange(len(p)))
        half = WIDE * math.sqrt(float(p @ (np.arange(len(p)) - mean) ** 2) / len(trees.leaves))
        value = float(trees.leaves.mean())
        says = "with topics of all branches compared" if share else "with topics compared within a branch alone"
        found.append(
            Finding(
                name, f"{says}, the mean number of look-ups is that of the chain", abs(value - mean) <= half, value,
                f"{mean:.3f} +- {half:.3f}", "exact Markov chain of overlapping parts", value - half, value + half,
                n=len(trees.leaves),
            )
        )  # fmt: skip
    return found


def _nothing_new(s: Settings, shared: Trees, apart: Trees) -> Finding:
    """Only where no branch fell back to being a leaf itself: there the same topics are looked up."""
    kept = [i for i, x in enumerate(shared.libraries) if not enumerated(x, s, s.depth, True).fell_back]
    differ = int((shared.facts[kept] != apart.facts[kept]).sum())
    return Finding(
        "repeats find nothing", "look-ups that repeat a topic cost asks and add no fact", differ == 0, differ,
        "= 0 episodes with other facts", "the same libraries with topics shared and not", null=True, n=len(kept),
    )  # fmt: skip


def _found(plain: Settings) -> Finding:
    r = research(plain, plain.blocks)
    n = int(r.leaves.sum()) or len(r.facts)  # an answer without parts looks one topic up
    value, half = float(r.facts.sum()) / n, WIDE * math.sqrt(plain.skill * (1 - plain.skill) / n)
    return Finding(
        "facts found", "each look-up of a topic of its own succeeds with the researcher's skill",
        abs(value - plain.skill) <= half, value, f"{plain.skill:g} +- {half:.3f}", "closed form, binomial",
        value - half, value + half, n=n,
    )  # fmt: skip


def _gain(plain: Settings) -> Finding:
    tree, alone = research(plain, plain.blocks), research(plain, plain.blocks, depth=0)
    e = paired_t(tree.facts, alone.facts, 0.999)
    low, high = (e.interval.low, e.interval.high) if e.interval else (e.value, e.value)
    expected = plain.skill * (widths(plain.depth, plain.breadth, plain.decay)[-1] - 1)
    return Finding(
        "gain", f"splitting covers more than one look-up of topic {ALONE}", low > 0, e.value,
        f"lower end > 0; closed form skill (leaves - 1) = {expected:.2f}", "the same libraries with depth 0", low, high,
        n=plain.blocks,
    )  # fmt: skip


def _at_once(s: Settings) -> Finding:
    plain = msgspec.structs.replace(s, overlap=0.0)
    levels = widths(s.depth, s.breadth, s.decay)
    most, waves = in_flight(plain)
    return Finding(
        "at once", "siblings are asked together: waves are levels and the answer, not asks",
        1 < most == max(levels) and waves == len(levels) + 1, most,
        f"= {max(levels)} in flight, more than 1, in {len(levels) + 1} waves", "the widest level", n=1,
    )  # fmt: skip


def _budget(sure: Settings) -> list[Finding]:
    """What a budget of asks leaves: whole levels, as many as fit."""
    levels = widths(sure.depth, sure.breadth, sure.decay)
    steps = [asks_of(levels[: i + 1]) for i in range(len(levels))]
    wrong, facts = 0, []
    for most in range(2, steps[-1] + 3):
        r = research(sure, 1, most=most)
        wrong += int(r.asks[0]) != max(a for a in steps if a <= most)
        facts.append(float(r.facts[0]))
    r = research(sure, 1, most=sure.most)
    return [
        Finding(
            "pruned", "a budget of asks leaves as many whole levels as fit, and more budget never covers less",
            wrong == 0 and all(a <= b for a, b in pairwise(facts)), wrong, "= 0 budgets otherwise",
            "closed form of each depth", n=len(facts),
        ),
        Finding(
            "within budget", "the team with a budget of 12 asks stays within it, and still splits",
            1 < int(r.asks[0]) <= 12, float(r.asks[0]), "2 to 12 asks", "the budget", n=1,
        ),
    ]  # fmt: skip


ENTRY = Entry(
    name="static_dra",
    title="Static-DRA, a hierarchical deep research agent of fixed depth and breadth",
    source="arXiv 2512.03887; its published code was read for the shape of the tree, none is used here",
    about="A supervisor splits a task into parts, parts into parts, to a fixed depth and breadth; each leaf is researched, and "
    "the sections flow together. Here the team protocol `tree` is measured on libraries of topics: what a tree costs, "
    "what it covers, and what two faults of the published code cost.",
    claims=(
        Claim("Two numbers that the user chooses, depth and breadth, trade the quality of a report against its cost."),
    ),
    figures=(
        Figure("At depth 2 and breadth 5 the code grows at most 5 * 3 = 15 leaves: it takes 2 from the breadth per level, "
               "while its text says that breadth is halved.", "S"),
        Figure("The list of known topics begins anew in each branch, so that the check for repeated ones never sees siblings.", "S"),
        Figure("Leaves are researched one after the other.", "S"),
    ),
    settings=Settings,
    check=check,
    mechanisms=(
        Mechanism("the task is split", {"depth": 0}, ("gain", "at once", "within budget")),
        Mechanism("into several parts", {"breadth": 1}, ("gain", "at once")),
        Mechanism("branches know of each other's topics", {"share": False}, ("no topic twice",)),
        Mechanism("breadth shrinks by two", {"decay": "none"}, ("published size",)),
        Mechanism("a budget prunes the tree", {"most": 1000}, ("within budget",)),
    ),
    missing="The web search, the language models that write sections, and the judged quality of reports (DeepResearch Bench): "
    "nothing here says how good a report is. The original asks apart whether a task can be split and whether a topic is new; "
    "here a split is one ask that may name no parts, and topics are compared as words.",
)  # fmt: skip
