"""What is checked of scaling and diversity, against what, and how the claim is tried with models."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from crossplay.gallery.agent_scaling import reference
from crossplay.gallery.agent_scaling.study import (
    LEVELS,
    MODELS,
    RULES,
    SIZES,
    Answers,
    Case,
    Settings,
    answers,
    control,
    right,
    study,
)
from crossplay.gallery.agent_scaling.verdict import judge
from crossplay.gallery.entry import Claim, Entry, Figure, Finding, Mechanism, Trial
from crossplay.gallery.plays import paired_bootstrap
from crossplay.gallery.recorded import bounds
from crossplay.kernel import key
from crossplay.measure.diversity import Diversity, effective_channels, kstar_per_question, shuffled_per_question
from crossplay.measure.stats.intervals import mean_t

__all__ = ["ENTRY", "check", "evidence"]

Z = 4.0  # of the largest of many comparisons with a reference
SIMULATED = 20_000
BATCH, FEW = 100, 20


def check(settings: Settings) -> list[Finding]:
    """All findings of the mechanism."""
    cases = _cases(settings)
    return [
        *_vectors(),
        *_kstar(cases),
        *_votes(settings, cases),
        *_headline(cases),
        *_correlations(cases),
        _prefix(cases["different"]),
    ]


def _cases(s: Settings) -> dict[str, Case]:
    """The conditions by name, from most alike to most different."""
    base = (s.calibration, s.questions, s.root)
    return {
        "clones": Case(s.skill, s.options, s.clones, 1, s.shared, *base),
        "joined": Case(s.skill, s.options, s.clones, s.channels, 0.99, *base),
        "near": Case(s.skill, s.options, s.clones, s.channels, 0.8, *base),
        "personas": Case(s.skill, s.options, s.personas, 1, s.shared, *base),
        "apart": Case(s.skill, s.options, s.clones, s.channels, 0.3, *base),
        "different": Case(s.skill, s.options, s.clones, s.channels, s.shared, *base),
        "different personas": Case(s.skill, s.options, s.personas, s.channels, s.shared, *base),
    }


def evidence(a: Answers, n: int, batch: int = BATCH) -> np.ndarray:
    """[batches, n, D]: what each of the first n members perceived over a batch of questions, as one text's vector.

    One question's evidence has as few dimensions as it has options, which would cap K*; a batch has room.
    """
    q, _, m = a.seen.shape
    whole = q // batch
    return a.seen[: whole * batch, :n].reshape(whole, batch, n, m).swapaxes(1, 2).reshape(whole, n, batch * m)


@lru_cache(maxsize=128)
def _diversity(case: Case, n: int) -> Diversity:
    return kstar_per_question(evidence(answers(case), n))


# -- K* ------------------------------------------------------------------------------------------------------


def _vectors() -> list[Finding]:
    """K* of constructed vectors against the spectrum 1 + (N - 1) rho once, 1 - rho N - 1 times."""
    grid = [(rho, n) for rho in (0.0, 0.5, 0.8, 0.95) for n in (2, 4, 8, 16, 64)]
    off = max(abs(float(effective_channels(reference.equicorrelated(r, n))) - reference.kstar(r, n)) for r, n in grid)
    grow = max(
        abs(math.log2(reference.kstar(r, 2.0**41) / reference.kstar(r, 2.0**40)) - (1 - r)) for r in (0.5, 0.8, 0.95)
    )
    flat = abs(float(effective_channels(reference.equicorrelated(1.0, 16))) - 1)
    return [
        Finding("K* of equal cosines", "K* of equicorrelated vectors is that of their spectrum", off < 1e-6, off,
                "largest error < 1e-6", "closed form", n=len(grid)),
        Finding("K* does not level off", "K* of noisy clones grows on, in the long run as N^(1 - rho)", grow < 0.05, grow,
                "exponent within .05 of 1 - rho at N = 2^40", "limit of the closed form", n=3),
        Finding("K* of copies", "exact copies have K* = 1 at any number", flat < 1e-6, flat, "error < 1e-6", "closed form",
                null=True, n=1),
    ]  # fmt: skip


def _kstar(cases: dict[str, Case]) -> list[Finding]:
    worst, kish = 0.0, 0.0
    for case in cases.values():
        rho = reference.likeness(case.skill, case.options, case.rho)
        for n in SIZES[1:]:
            d = _diversity(case, n)
            worst = max(worst, abs(float(np.mean(d.kstar)) / reference.kstar(rho, n) - 1))
            kish = max(kish, abs(float(np.mean(d.kish)) / reference.kish(rho, n) - 1))
    clones, different = (_diversity(cases[c], 16) for c in ("clones", "different"))
    gain = math.log2(float(np.mean(clones.kstar)) / float(np.mean(_diversity(cases["clones"], 8).kstar)))
    share = float(np.mean(clones.share) / np.mean(_diversity(cases["clones"], 2).share))
    mixed = {
        c: float(np.mean(kstar_per_question(evidence(answers(cases[c]), 16, FEW)).kstar))
        / float(shuffled_per_question(evidence(answers(cases[c]), 16, FEW), key("shuffled", c), 10).mean)
        for c in ("clones", "different")
    }
    n = len(clones.kstar)
    return [
        Finding("K* measured", "K* of the members' evidence is that of their cosine, in every condition and size",
                worst < 0.04, worst, "largest relative error < 4 %", "closed form at the expected cosine", n=n),
        Finding("Kish measured", "and so is Kish's effective number", kish < 0.04, kish, "largest relative error < 4 %",
                "n / (1 + (n - 1) rho)", n=n),
        Finding("clones: K* grows, K*/N falls", "from 8 to 16 clones K* still grows, while K*/N falls", gain > 0.05 and share < 0.35,
                gain, "growth exponent > .05; K*/N at 16 below .35 of that at 2", "measured", n=n),
        Finding("different: K*/N", "different members keep most of their channels", float(np.mean(different.share)) > 0.6,
                float(np.mean(different.share)), "K*/N > .6 at 16", "measured", n=n),
        Finding("shuffled baseline", "what clones share is in the questions: shuffled over questions, their K* is that of strangers",
                mixed["clones"] < 0.3 and mixed["different"] > 0.7, mixed["clones"],
                f"clones' K* below .3 of the shuffled one (different members: {mixed['different']:.2f}, above .7)",
                "each member's evidence in a random order of batches", n=n),
    ]  # fmt: skip


# -- accuracy ------------------------------------------------------------------------------------------------


def _votes(s: Settings, cases: dict[str, Case]) -> list[Finding]:
    """Every accuracy against a simulation, and against what pooled evidence allows."""
    worst, above = 0.0, -1.0
    for case in cases.values():
        for n in SIZES:
            simulated = reference.votes(case.skill, case.options, case.rho, n, SIMULATED, 1)
            top = reference.ceiling(case.skill, case.options, case.rho, n)
            for rule, p in zip(("plurality", "confidence"), simulated, strict=True):
                value = float(right(answers(case), n, rule).mean())
                se = math.sqrt(p * (1 - p) * (1 / s.questions + 1 / SIMULATED)) + 1e-3
                worst = max(worst, abs(value - p) / se)
                above = max(above, (value - top) / (math.sqrt(top * (1 - top) / s.questions) + 1e-3))
    two = answers(cases["different"])
    solo = np.mean([(two.choices[:, i] == two.truth) for i in (0, 1)], axis=0)
    e = mean_t(right(two, 2, "plurality") - solo)
    low, high = bounds(e)
    return [
        Finding("votes are the simulated ones", "accuracy of both votes, in every condition and size, is the simulated one",
                worst < Z, worst, f"largest gap below {Z:g} standard errors", f"{SIMULATED} simulated questions", n=s.questions),
        Finding("ceiling", "no vote is better than all evidence added up: solo distance times sqrt(Kish)", above < Z, above,
                f"highest excess below {Z:g} standard errors", "closed form of the pooled evidence", n=s.questions),
        Finding("two by plain majority", "a plain majority of two different members gains nothing over one: it is a draw of the two",
                low <= 0 <= high and max(-low, high) < 0.05, e.value, "interval holds 0, inside +-.05",
                "mean of the two alone", low, high, null=True, n=e.n),
    ]  # fmt: skip


def _headline(cases: dict[str, Case]) -> list[Finding]:
    clones, different = answers(cases["clones"]), answers(cases["different"])
    two = right(different, 2, "confidence")
    found = []
    p = max(paired_bootstrap(two, right(clones, 16, rule)) for rule in RULES)
    e = mean_t(two - right(clones, 16, "confidence"))
    low, high = bounds(e)
    found.append(
        Finding("two different, sixteen alike", "two different members with a vote weighted by confidence beat sixteen clones",
                p < 0.01 and low > 0, e.value, f"p < .01 against both votes of the clones ({p:.4f})",
                "paired bootstrap over the same questions", low, high, n=e.n)
    )  # fmt: skip
    more = {c: mean_t(right(answers(cases[c]), 16, "plurality") - right(answers(cases[c]), 4, "plurality"))
            for c in ("clones", "different")}  # fmt: skip
    low, high = bounds(more["clones"])
    found.append(
        Finding("clones level off", "twelve more clones add little to four", high < 0.05, more["clones"].value, "upper end < .05",
                "same questions", low, high, n=e.n)
    )  # fmt: skip
    low, high = bounds(more["different"])
    found.append(
        Finding("different members go on gaining", "twelve more different members add much to four", low > 0.1,
                more["different"].value, "lower end > .1", "same questions", low, high, n=e.n)
    )  # fmt: skip
    joined = answers(cases["joined"])
    gap = right(joined, 16, "plurality").mean() - right(clones, 16, "plurality").mean()
    band = 1.96 * math.sqrt(2 * 0.25 / len(clones.truth))
    p = paired_bootstrap(right(joined, 2, "confidence"), right(joined, 16, "confidence"))
    found.append(
        Finding("different in name only", "members of different channels that err together do no better than clones, and two of them "
                "do not match sixteen", abs(gap) < band and p > 0.01, float(gap), f"within +-{band:.3f}; p = {p:.2f} > .01",
                "clones, other questions of the same kind", float(gap - band), float(gap + band), null=True, n=len(clones.truth))
    )  # fmt: skip
    return found


def _correlations(cases: dict[str, Case]) -> list[Finding]:
    """K* and accuracy where only diversity differs, and where only the size does."""
    names = ("clones", "near", "personas", "apart", "different")
    within = []
    for n in SIZES[2:]:
        k = [float(np.mean(_diversity(cases[c], n).kstar)) for c in names]
        hit = [float(right(answers(cases[c]), n, "confidence").mean()) for c in names]
        within.append(float(spearmanr(k, hit).statistic))
    clones = cases["clones"]
    sizes = [float(np.mean(_diversity(clones, n).kstar)) for n in SIZES]
    hits = [reference.ceiling(clones.skill, clones.options, clones.rho, n) for n in SIZES]
    across = float(spearmanr(sizes, hits).statistic)
    alone = []
    for n in SIZES[1:]:
        a = answers(clones)
        k = kstar_per_question(evidence(a, n, FEW)).kstar
        hit = right(a, n, "confidence")[: len(k) * FEW].reshape(-1, FEW).mean(1)
        alone.append(float(np.corrcoef(k, hit)[0, 1]))
    mean, band = float(np.mean(alone)), 1.96 / math.sqrt(len(k) - 3)
    return [
        Finding("K* foretells accuracy at a fixed size", "with the number of members fixed, K* orders the conditions by accuracy",
                min(within) >= 0.9, min(within), "Spearman >= .9 at 4, 8 and 16 members", "five conditions", n=len(names)),
        Finding("size alone explains clones", "over sizes K* of clones goes with the accuracy that their evidence allows, although nothing but the size differs: with "
                "the size fixed, nothing is left", across >= 0.9 and abs(mean) < band, mean,
                f"Spearman over sizes {across:.2f} >= .9; mean correlation within a size inside +-{band:.2f}",
                f"batches of {FEW} questions, one condition", null=True, n=len(k)),
    ]  # fmt: skip


def _prefix(case: Case) -> Finding:
    """A smaller team really played answers as the first members of the larger one."""
    fields: dict[str, Any] = {f: getattr(case, f) for f in case.__struct_fields__}
    small = answers(Case(**fields | {"members": 4, "questions": 60}))
    whole = answers(case)
    same = float((small.choices == whole.choices[:60, :4]).mean())
    return Finding("smaller teams", "the first members of a team answer as a team of their own does", same == 1.0, same, "all answers equal",
                   "a team of four, played", n=small.choices.size)  # fmt: skip


ENTRY = Entry(
    name="agent_scaling",
    title="Understanding Agent Scaling in LLM-Based Multi-Agent Systems via Diversity",
    source="arXiv 2602.03794; code MIT, SafeRL-Lab/Agent-Scaling (K* as it computes it)",
    about="Answerers of equal skill, alike or different, in teams of 1 to 16; K*, the number of effective channels, beside "
    "Kish's effective number; votes plain and weighted by confidence.",
    claims=(
        Claim("Two diverse agents can match or exceed sixteen homogeneous ones.", (0,)),
        Claim("Homogeneous teams level off early, because their answers are correlated.", (0,)),
        Claim("K*, computed without labels, goes with accuracy.", (0,)),
        Claim(
            "A team of different small models beats every clone team of its members and its best member at equal cost.",
            (1, 2),
        ),
    ),
    figures=(Figure("2 diverse agents match or exceed the performance of 16 homogeneous agents", "A"),),
    settings=Settings,
    check=check,
    mechanisms=(
        Mechanism(
            "different channels",
            {"channels": 1},
            ("two different, sixteen alike", "different members go on gaining", "different: K*/N", "shuffled baseline"),
        ),
        Mechanism("clones err together", {"clones": 0.3}, ("two different, sixteen alike", "clones level off")),
        Mechanism(
            "calibrated confidence",
            {"calibration": 0.0},
            ("two different, sixteen alike", "votes are the simulated ones"),
        ),
    ),
    trial=Trial(LEVELS, control, "m0", study, judge, MODELS, n=200, n_control=60),
    missing="personas of language models as a level of their own, and the published encoder; the trial's K* is that of a small static one",
)
