"""What is checked of the collaboration gap: every episode against a flood fill, and the closed form of success.

A pair solves a maze when its cells are read rightly, which the opener brings about with chance s, or when
rows taken for columns lead to the goal as well: success = s + (1 - s) W, W being the share of such mazes.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

import crossplay
from crossplay.gallery.collaboration_gap.study import LINEUPS, Settings, Walks, agents, control, study, walk
from crossplay.gallery.entry import Claim, Entry, Figure, Finding, Level, Mechanism, Trial
from crossplay.measure.stats import paired_t, wilson

__all__ = ["ENTRY", "check", "judge", "solved_though_swapped"]

WIDE = 3.29  # standard deviations: two-sided chance .001


# -- reference -------------------------------------------------------------------------------------
def solved_though_swapped(own: np.ndarray, ends: np.ndarray) -> bool:
    """Whether start and goal hang together over cells that are open and that the opener takes to be open.

    own: int8[2, n, n], the maps of opener and partner (-1 hidden, 0 open, 1 wall); ends: int[2, 2].
    What the opener cannot see it takes to be open where the partner sees the mirrored cell open.
    """
    opener, partner = own
    really = np.where(opener < 0, partner, opener) == 0
    believed = np.where(opener < 0, partner.T, opener) == 0
    return _joined(really & believed, ends)


def _joined(free: np.ndarray, ends: np.ndarray) -> bool:
    """Flood fill by dilation until nothing grows."""
    reached = np.zeros_like(free)
    reached[tuple(ends[0])] = free[tuple(ends[0])]
    while True:
        wide = np.pad(reached, 1)
        grown = free & (reached | wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:])
        if (grown == reached).all():
            return bool(reached[tuple(ends[1])])
        reached = grown


# -- tier 0 ----------------------------------------------------------------------------------------
def check(settings: Settings) -> list[Finding]:
    """Scripted talkers against the enumeration and the closed form."""
    who = agents(settings)
    found = {name: walk(settings, [who[a] for a in seats], settings.blocks) for name, seats in LINEUPS.items()}
    swapped = [
        solved_though_swapped(o, e) for o, e in zip(found["weak, weak"].own, found["weak, weak"].ends, strict=True)
    ]
    w = np.array(swapped)
    return [
        *(_solo(settings, who["weak"], solo) for solo in ("full", "merged")),
        _enumerated(found, w),
        *(_closed(name, s, found[name], w) for name, s in (("weak, weak", settings.weak), ("strong, strong", settings.strong))),
        *_effects(settings, found, w),
        *_nulls(settings, who["weak"], found),
    ]  # fmt: skip


def _solo(settings: Settings, weak: Any, solo: str) -> Finding:
    won = walk(settings, [weak], settings.simple, solo=solo).success
    says = "whoever has the whole map" if solo == "full" else "whoever has both masked maps"
    return Finding(
        f"alone, {solo}", f"{says} solves every maze alone", bool(won.all()), float(won.mean()), "= 1",
        "by construction: half maps that together show all", n=len(won),
    )  # fmt: skip


def _enumerated(found: dict[str, Walks], w: np.ndarray) -> Finding:
    wrong = sum(int((x.success != (x.stated | w)).sum()) for x in found.values())
    return Finding(
        "every episode", "a maze is solved exactly when cells are read rightly or the swapped reading leads there too",
        wrong == 0, wrong, "= 0 episodes otherwise", "flood fill over cells open and taken to be open",
        n=sum(len(x.success) for x in found.values()),
    )  # fmt: skip


def _closed(name: str, s: float, walks: Walks, w: np.ndarray) -> Finding:
    """The mazes are given, so only grounding is chance: variance s (1 - s) sum (1 - W)^2 / n^2."""
    n, value = len(w), float(walks.success.mean())
    expected = s + (1 - s) * float(w.mean())
    half = WIDE * math.sqrt(s * (1 - s) * float((~w).sum())) / n
    return Finding(
        f"success of {name}", f"the pair {name} succeeds with chance s + (1 - s) W", abs(value - expected) <= half, value,
        f"{expected:.3f} +- {half:.3f}", "closed form, W enumerated", value - half, value + half, n=n,
    )  # fmt: skip


def _effects(settings: Settings, found: dict[str, Walks], w: np.ndarray) -> list[Finding]:
    won = {name: x.success.astype(float) for name, x in found.items()}
    gap = wilson(int((1 - won["weak, weak"]).sum()), len(w), 0.99).interval
    order = paired_t(won["strong, weak"], won["weak, strong"], 0.99, (-1.0, 1.0))
    span = won["strong, strong"].mean() - won["weak, weak"].mean()
    gain = float((won["relayed, weak"].mean() - won["weak, weak"].mean()) / span) if span > 0 else math.nan
    expected = (settings.strong - settings.weak) * (1 - float(w.mean()))
    assert gap is not None and order.interval is not None
    return [
        Finding(
            "gap", "two weak ones together fall far behind each of them alone", gap.low > 0.4,
            1.0 - float(won["weak, weak"].mean()), "lower end > 0.4", "solo, which is 1", gap.low, gap.high, n=len(w),
        ),
        Finding(
            "order effect", "the mixed pair succeeds where the strong one begins", order.interval.low >= 0.4, order.value,
            f"lower end >= 0.4; closed form (s - s') (1 - W) = {expected:.3f}", "the same mazes in the other order",
            order.interval.low, order.interval.high, n=len(w),
        ),
        Finding(
            "relay gain", "a strong first turn closes the gap between the weak and the strong pair", gain >= 0.9, gain,
            ">= 0.9", "(relayed - weak pair) / (strong pair - weak pair); 1 if only the opening matters", n=len(w),
        ),
    ]  # fmt: skip


def _nulls(settings: Settings, weak: Any, found: dict[str, Walks]) -> list[Finding]:
    other = int((found["strong, strong"].success != found["strong, weak"].success).sum())
    named = walk(settings, [weak, weak], settings.simple, words=True).success
    return [
        Finding(
            "who answers", "who sits in the second seat changes no episode, because only the opener grounds", other == 0,
            other, "= 0 episodes otherwise", "the same mazes, block by block", null=True, n=settings.blocks,
        ),
        Finding(
            "no convention, no gap", "where cells are named as seen from the start, the gap is 0", bool(named.all()),
            1.0 - float(named.mean()), "= 0", "solo, which is 1", null=True, n=len(named),
        ),
    ]  # fmt: skip


# -- tiers 1 and 2 -----------------------------------------------------------------------------------
def judge(result: Any, folder: Any) -> list[Finding]:
    """The gap (against the control study beside the folder), the order effect and the relay gain, with intervals."""
    won = {x.lineup: np.array(x.values) for x in result.scores}
    beside = Path(folder).with_name(Path(folder).name + "-control")
    alone = {x.lineup: np.array(x.values) for x in crossplay.result(beside).scores} if beside.is_dir() else {}
    found = [
        _gap(name, alone[name], won[f"{name}, {name}"])
        for name in ("strong", "weak")
        if name in alone and f"{name}, {name}" in won
    ]
    if "weak, strong" in won:
        found.append(
            _paired(
                "order effect",
                "the mixed pair does better where the strong model begins",
                won["strong, weak"],
                won["weak, strong"],
            )
        )
    if "relayed, weak" in won:
        found.append(
            _paired("relay", "two strong opening turns lift the weak pair", won["relayed, weak"], won["weak, weak"])
        )
    talk = _paired("talk", "what is said helps the strong pair", won["strong, strong"], won["strong, strong, silent"])
    return [*found, talk]  # fmt: skip


def _gap(name: str, alone: np.ndarray, pair: np.ndarray) -> Finding:
    """Two environments, so other mazes: independent shares, Newcombe's interval from two of Wilson's."""
    one, two = wilson(int(alone.sum()), len(alone)), wilson(int(pair.sum()), len(pair))
    assert one.interval is not None and two.interval is not None
    value = one.value - two.value
    low = value - math.hypot(one.value - one.interval.low, two.interval.high - two.value)
    high = value + math.hypot(one.interval.high - one.value, two.value - two.interval.low)
    return Finding(
        f"gap, {name}", f"the {name} model does worse with itself than alone", low > 0, value, "lower end > 0",
        "alone with both maps, other mazes of the same kind", low, high, n=len(pair),
    )  # fmt: skip


def _paired(name: str, says: str, a: np.ndarray, b: np.ndarray) -> Finding:
    """Without an interval (one maze) nothing is shown."""
    e = paired_t(a, b, 0.95, (-1.0, 1.0))
    low, high = (e.interval.low, e.interval.high) if e.interval else (None, None)
    return Finding(
        name, says, low is not None and low > 0, e.value, "lower end > 0", "paired by maze", low, high, n=len(a)
    )


_EASY = {"size": 3, "density": 0.2, "words": True}
ENTRY = Entry(
    name="collaboration_gap",
    title="The Collaboration Gap",
    source="The Collaboration Gap, arXiv 2511.02687; no code was found, none is used here",
    about="Two walk one marker through a maze. Each sees half of the map, and a move counts only if both agree. "
    "Compared are a model alone with both half maps, a pair of the same model, both orders of a mixed pair, and a weak "
    "pair whose first turns a strong model plays (relay).",
    claims=(
        Claim("Models that solve mazes well alone drop sharply when they work with a copy of themselves.", (1, 2)),
        Claim("Who begins decides: the strong model should open.", (1, 2)),
        Claim("Relay, a strong model that opens before a weak one takes over, closes much of the gap.", (1, 2)),
    ),
    figures=(Figure("32 models were studied alone, in equal and in mixed pairs.", "A"),),
    settings=Settings,
    check=check,
    mechanisms=(
        Mechanism("a convention is needed", {"words": True}, ("gap", "order effect", "relay gain", "every episode")),
        Mechanism("one talker grounds worse", {"weak": 0.95}, ("gap", "order effect", "relay gain")),
        Mechanism("the strong one opens", {"opens": 0}, ("relay gain",)),
        Mechanism("what is said arrives", {"mail": "off"}, ("every episode", "success of strong, strong", "relay gain")),
    ),
    trial=Trial(
        levels=(
            Level("6x6", "the published maze: 6 x 6, paths of 7 to 9 steps, coordinates", {"turns": 50}),
            Level("3x3-words", "3 x 3, paths of 2 or 3 steps, fewer walls, cells named as seen from the start",
                  {**_EASY, "shortest": 2, "longest": 3, "turns": 14}),
            Level("3x3-steps", "3 x 3, paths of 1 or 2 steps", {**_EASY, "shortest": 1, "longest": 2, "turns": 10}),
            Level("3x3-step", "3 x 3, the goal is the next cell", {**_EASY, "shortest": 1, "longest": 1, "turns": 8}),
        ),
        control=control,
        single="strong",
        study=study,
        judge=judge,
        models=("qwen2.5-coder-1.5b", "qwen2.5-coder-0.5b"),
        n=40,
        n_control=30,
        effect=0.2,
    ),
    missing="The third model that reads free talk: in maze/joint moves are agreed on by name, so nothing has to be read. "
    "maze/talk with grader = \"seat\" is that protocol; it costs more calls and is not tried here.",
)  # fmt: skip
