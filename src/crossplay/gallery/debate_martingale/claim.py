"""What is checked of debate as a martingale, against what, and how the claim is tried with models."""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from crossplay.gallery.debate_martingale import reference
from crossplay.gallery.debate_martingale.study import (
    LEVELS,
    POOL,
    Case,
    Debates,
    Settings,
    control,
    debates,
    equivalence_blocks,
    study,
)
from crossplay.gallery.debate_martingale.verdict import judge
from crossplay.gallery.entry import Claim, Entry, Finding, Mechanism, Trial
from crossplay.measure.answers import covered
from crossplay.measure.calibration import calibration
from crossplay.measure.stats.intervals import mean_t
from crossplay.measure.stats.results import Estimate

__all__ = ["ENTRY", "check"]

Z = 3.29  # of a 99.9 % band, for comparisons with a reference
SIMULATED = 50_000


def check(settings: Settings) -> list[Finding]:
    """All findings of the mechanism."""
    s = settings
    n = equivalence_blocks(s.margin, reference.variance_bound(s.members, s.rounds, s.concentration), s.power)
    base = Case(s.members, s.rounds, s.options, s.quality, s.concentration, s.vanilla, s.informed, n, s.root)
    return [
        *_martingale(s, base),
        *_urn(s, base),
        *_confidence(s, base),
        *_coverage(s),
        *_pool(s),
    ]


def _with(case: Case, **changes: Any) -> Case:
    return Case(**{f: getattr(case, f) for f in case.__struct_fields__} | changes)


def _interval(e: Estimate) -> tuple[float, float]:
    return (e.interval.low, e.interval.high) if e.interval else (e.value, e.value)


def _finding(name: str, says: str, e: Estimate, holds: bool, bound: str, ref: str, null: bool = False) -> Finding:
    low, high = _interval(e)
    return Finding(name, says, holds, e.value, bound, ref, low, high, null, e.n)


# -- the martingale, by equivalence --------------------------------------------------------------------------


def _martingale(s: Settings, base: Case) -> list[Finding]:
    inside = f"95 % interval inside +-{s.margin:g}, n = {base.n} from the variance bound"
    outside = f"95 % interval not inside +-{s.margin:g} and without 0, same n"
    ref = "theory: at equal weights the mean belief is a martingale"
    vanilla = mean_t(debates(base).change)
    apart = mean_t(debates(_with(base, c=s.small, informed=0.0)).change)
    found = [
        _finding("martingale", "debate with equal weights leaves the mean belief in the right answer where it was",
                 vanilla, _inside(vanilla, s.margin), inside, ref, null=True),
        _finding("luck moves nothing", "weights that are as unequal but drawn apart from the answers (AUROC .5) move nothing",
                 apart, _inside(apart, s.margin), inside, ref, null=True),
    ]  # fmt: skip
    for sign, word in ((1, "calibrated"), (-1, "anti-calibrated")):
        e = mean_t(debates(_with(base, c=sign * s.small)).change)
        low, high = _interval(e)
        moved = not _inside(e, s.margin) and (low > 0 if sign > 0 else high < 0)
        found.append(
            _finding(f"the test rejects {word}", f"the same test rejects at c = {sign * s.small:+g} ({word} confidence)",
                     e, moved, outside, "theory: a submartingale above 0, a supermartingale below")
        )  # fmt: skip
    return found


def _inside(e: Estimate, margin: float) -> bool:
    low, high = _interval(e)
    return -margin < low and high < margin


# -- the urn against a second implementation -----------------------------------------------------------------


def _urn(s: Settings, base: Case) -> list[Finding]:
    strong = debates(_with(base, c=s.strong, n=s.n))
    off = max(_path_error(d, base.concentration) for d in (debates(base), strong))
    small = debates(_with(base, members=3, rounds=2, options=2, concentration=4.0, c=s.strong, n=120))
    gap = mean_t(small.in_truth[:, -1] - _enumerated(small.first.tobytes(), small.truth.tobytes(), s.strong))
    still = float(np.abs(_enumerated(small.first.tobytes(), small.truth.tobytes(), 0.0) - small.in_truth[:, 0]).max())
    mean = mean_t(strong.change)
    expected, sd = _simulated(s.quality, s.options, s.members, s.rounds, s.concentration, s.strong)
    band = Z * math.hypot(mean.se or 0.0, sd / math.sqrt(SIMULATED))
    apart = abs(mean.value - expected)
    return [
        Finding("beliefs are the urn's", "along the recorded answers, every recorded belief is that of the urn",
                off < 1e-9, off, "largest error < 1e-9", "the urn written a second time", n=base.n + s.n),
        _finding("enumeration", f"with c = {s.strong:g}, the mean belief after two rounds of three members is that of all paths",
                 gap, abs(gap.value) < Z * (gap.se or 0.0), f"within {Z} standard errors of 0",
                 "exact enumeration of 64 paths per question"),
        Finding("enumeration at c = 0", "over all paths the urn itself leaves the mean belief where it was",
                still < 1e-12, still, "largest change < 1e-12", "exact enumeration", null=True, n=120),
        Finding("size", f"at c = {s.strong:g} the belief moves as far as in an independent simulation",
                apart < band, mean.value, f"within {band:.4f} of {expected:.4f}",
                f"{SIMULATED} simulated debates", n=s.n),
    ]  # fmt: skip


@lru_cache(maxsize=8)
def _enumerated(first: bytes, truth: bytes, c: float) -> np.ndarray:
    """Exact final mean belief in the right option of each question, for three members, two rounds and two options."""
    beliefs = np.frombuffer(first).reshape(-1, 3, 2)
    return np.array(
        [reference.enumerated(f, 2, 4.0, c)[y] for f, y in zip(beliefs, np.frombuffer(truth, int), strict=True)]
    )


@lru_cache(maxsize=8)
def _simulated(
    quality: float, m: int, members: int, rounds: int, concentration: float, c: float
) -> tuple[float, float]:
    """(mean, standard deviation) of the change of the mean belief in simulated debates."""
    d = reference.simulated(_distance(quality, m), m, members, rounds, concentration, c, SIMULATED, 1)
    return float(d.mean()), float(d.std())


def _path_error(d: Debates, concentration: float) -> float:
    """Largest gap between recorded beliefs and the urn's along the recorded answers, over the first 200 debates."""
    worst = 0.0
    for i in range(min(200, len(d.truth))):
        weights = d.confidences[i] / (1 - d.confidences[i])
        urn = reference.along(d.first[i], d.answers[i, :-1], weights[:-1], concentration)
        worst = max(worst, float(np.abs(urn[1:] - d.beliefs[i]).max()))
    return worst


def _distance(quality: float, m: int) -> float:
    """The distance at which one of m normal numbers is the largest with chance `quality` (quadrature, root)."""
    t = np.linspace(-10, 20, 6001)

    def accuracy(d: float) -> float:
        return float(np.trapezoid(norm.pdf(t - d) * norm.cdf(t) ** (m - 1), t))

    return float(brentq(lambda d: accuracy(d) - quality, 0.0, 10.0))


# -- confidence ----------------------------------------------------------------------------------------------


def _confidence(s: Settings, base: Case) -> list[Finding]:
    cs = (-s.strong, -s.small, s.vanilla, s.small, s.strong)
    plays = [debates(_with(base, c=c, n=s.n if abs(c) >= s.strong else base.n)) for c in cs]
    change = [p.change[: s.n] for p in plays]
    steps = [mean_t(b - a) for a, b in itertools.pairwise(change)]
    least = min(steps, key=lambda e: _interval(e)[0])
    found = [
        _finding("monotone in c", f"the more confidence tells (c = {', '.join(f'{c:g}' for c in cs)}), the further the belief moves",
                 least, _interval(least)[0] > 0, "every step between neighbours above 0 (95 %); the least is shown",
                 "theory: order of c")
    ]  # fmt: skip
    apart = debates(_with(base, c=s.small, informed=0.0))
    for name, d, sign in (("above", plays[4], 1), ("below", plays[0], -1), ("at", apart, 0)):
        area, n = _auroc(d)
        tells = sign * (area - 0.5) > 0.05 if sign else abs(area - 0.5) < Z * math.sqrt(1 / (3 * n))
        e = mean_t(d.change)
        low, high = _interval(e)
        follows = low > 0 if sign > 0 else high < 0 if sign < 0 else _inside(e, s.margin)
        word = {1: "gains", -1: "loses", 0: "moves nothing"}[sign]
        found.append(
            Finding(f"AUROC {name} .5", f"confidence whose AUROC is {name} .5 {word}", tells and follows, area,
                    f"AUROC {name} .5, and a change of belief of that sign (95 %): {e.value:+.4f} [{low:.4f}, {high:.4f}]",
                    "sign of AUROC - .5", null=sign == 0, n=n)
        )  # fmt: skip
    return found


def _auroc(d: Debates) -> tuple[float, int]:
    """(AUROC of the first answers' confidence, answers)."""
    right = (d.answers[:, 0] == d.truth[:, None]).ravel()
    blocks = np.repeat(np.arange(len(d.truth)), d.answers.shape[2])
    return calibration(d.confidences[:, 0].ravel(), right, blocks).auroc or 0.5, right.size


# -- the pool of first answers -------------------------------------------------------------------------------


def _coverage(s: Settings) -> list[Finding]:
    """Members that know nothing answer uniformly, so that coverage has a closed form."""
    found = []
    for m in (5, 3, 10):
        case = Case(s.members, 0, m, 1 / m, 2.0, 0.0, 1.0, s.n, s.root, s.candidates, s.by)
        d = debates(case)
        share = float(covered(d.answers[:, 0], d.truth).mean())
        few = m <= s.members
        p = 1 - (1 - 1 / m) ** s.candidates if few else reference.pool_coverage(s.members, s.candidates, m)
        plain = 1 - (1 - 1 / m) ** s.members
        band = Z * math.sqrt(p * (1 - p) / s.n)
        form = "1 - (1 - p)^C" if few else "E[min(distinct, N)] / m: more answers than members cap it"
        found.append(
            Finding(f"coverage, {m} answers",
                    f"of {s.candidates} candidates the {s.members} most different hold the right answer as often as the formula "
                    f"says (without a pool: {plain:.3f})",
                    abs(share - p) < band and p - band > plain - 1e-9, share, f"{p:.4f} +- {band:.4f}", form, n=s.n)
        )  # fmt: skip
    return found


def _pool(s: Settings) -> list[Finding]:
    base = Case(s.members, 2, c=0.0, informed=1.0, n=s.n, root=s.root, candidates=s.candidates, by=s.by, **POOL)
    strong = 2 * s.strong
    found = []
    says = {
        "pool alone": "without confidence, starting from the most different answers costs belief in the right one",
        "pool with own confidence": "with the members' own confidence it costs as well: honest confidence does not repair it",
        "pool with knowing confidence": "only with a confidence that knows more than the members does it pay",
    }
    for (name, words), c, knowing, sign in zip(
        says.items(), (0.0, strong, strong), (False, False, True), (-1, -1, 1), strict=True
    ):
        case = _with(base, c=c, knowing=knowing)
        e = mean_t(debates(case).in_truth[:, -1] - debates(_with(case, by="random")).in_truth[:, -1])
        low, high = _interval(e)
        ref = _simulated_gain(_with(case, by="", root=0))
        band = Z * (e.se or 0.0) + 0.004
        sided = low > 0 if sign > 0 else high < 0
        found.append(
            _finding(name, words, e, sided and abs(e.value - ref) < band,
                     f"{'above' if sign > 0 else 'below'} 0 (95 %), and within {band:.3f} of {ref:+.3f}",
                     "paired with a random choice of the same candidates; simulated debates")
        )  # fmt: skip
    d, drawn = debates(base), debates(_with(base, by="random"))
    led = _plurality_right(d)
    e = mean_t(d.right[led] - drawn.right[led])
    found.append(
        _finding("pool alone, plurality right", "where the plurality of the candidates is right, the pool alone lowers the vote's accuracy",
                 e, _interval(e)[1] < 0, "below 0 (95 %)", "paired with a random choice of the same candidates")
    )  # fmt: skip
    return found


@lru_cache(maxsize=8)
def _simulated_gain(case: Case) -> float:
    d = _distance(case.quality, case.options)
    args = (d, case.options, case.members, case.candidates, case.rounds, case.concentration, case.c, SIMULATED)
    a, b = (reference.simulated_pool(*args, different=x, knowing=case.knowing, seed=1) for x in (True, False))
    return float(a.mean() - b.mean())


def _plurality_right(d: Debates) -> np.ndarray:
    """bool[n]: whether the right answer alone leads among the candidates."""
    m = d.first.shape[2]
    counts = (d.candidates[..., None] == np.arange(m)).sum(1)
    own = counts[np.arange(len(counts)), d.truth]
    counts[np.arange(len(counts)), d.truth] = -1
    return own > counts.max(1)


ENTRY = Entry(
    name="debate_martingale",
    title="Demystifying Multi-Agent Debate: The Role of Confidence and Diversity",
    source="arXiv 2601.19921 (ACL Findings 2026); the published code carries no licence and was not used",
    about="Believers (Polya urns) answer, hear each other and shift. With equal weights the mean belief in the right answer "
    "is a martingale, so debate cannot beat its own first vote in expectation; what confidence adds depends on "
    "whether it tells right from wrong.",
    claims=(
        Claim("Debate with uniform updates leaves the expected belief in the right answer unchanged.", (0,)),
        Claim("Confidence that correlates with being right makes it rise.", (0, 1)),
        Claim("A diversity-aware first pool raises coverage; alone it does not help.", (0,)),
        Claim(
            "Debate of a small model does not beat the vote of its first answers or the model alone at equal tokens.",
            (1,),
        ),
    ),
    figures=(),
    settings=Settings,
    check=check,
    mechanisms=(
        Mechanism("equal weights", {"vanilla": 0.2}, ("martingale",)),
        Mechanism(
            "confidence that tells",
            {"informed": 0.0},
            (
                "the test rejects calibrated",
                "the test rejects anti-calibrated",
                "monotone in c",
                "AUROC above .5",
                "AUROC below .5",
                "size",
            ),
        ),
        Mechanism(
            "choice of different answers",
            {"by": "random"},
            (
                "coverage, 5 answers",
                "coverage, 3 answers",
                "coverage, 10 answers",
                "pool alone",
                "pool with knowing confidence",
            ),
        ),
    ),
    trial=Trial(LEVELS, control, "one", study, judge, ("qwen2.5-coder-0.5b",), n=60, n_control=60),
    missing="training of calibrated confidence (reinforcement learning with adapters) and the published figures, whose cells "
    "were not available to us",
)
