"""What is checked of "Who am I": what coders recover of planted habits, against closed forms and permutations.

Rates, with phatic p and the chance r of a trait: p of messages are phatic, (1 - p) r q carry the trait, q being the chance
that it can be said at all (somebody to agree with, an error to react to).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from crossplay.gallery.entry import Claim, Entry, Figure, Finding, Mechanism
from crossplay.gallery.who_am_i.study import (
    HABITS,
    SEATS,
    SERIES,
    TRAITS,
    Chats,
    Habits,
    Settings,
    chats,
    coded,
    habits,
    heard_shares,
    noisy,
    second,
)
from crossplay.kernel import generator, key
from crossplay.measure.agreement import cohen_kappa
from crossplay.measure.profiles import PermutationTest, mean_cosine, profiles_differ
from crossplay.measure.stats import mean_t

__all__ = ["ENTRY", "check", "kappa_law", "mirrored_rates", "planted_rates", "possible", "slope"]

WIDE = 3.29  # standard deviations: two-sided chance .001
MANY = 4.5  # the same for the largest of some 80
SOCIAL = slice(1, None)  # the five habits among the six traits


# -- references ------------------------------------------------------------------------------------
def possible(series: str, error: bool = True) -> np.ndarray:
    """float[6]: the chance that each trait can be said, after the first round.

    Where the order is drawn each round, nobody else speaks between two turns with chance 1/7 * 1/7, and whoever errs does not
    with chance 1/2 * 1/2. In isolation nobody is heard.
    """
    q = np.ones(len(TRAITS))
    if series == "E":
        q[TRAITS.index("agree")] = 1 - 1 / SEATS**2
        q[TRAITS.index("comp")] = 3 / 4
    if series == "F":
        q[TRAITS.index("agree")] = q[TRAITS.index("comp")] = 0.0
    if not error:
        q[TRAITS.index("comp")] = 0.0
    return q


def planted_rates(speakers: Sequence[Habits], q: np.ndarray) -> np.ndarray:
    """float[seats, 6]: the rate of each trait in the messages of each speaker."""
    rows = []
    for h in speakers:
        own = np.array([getattr(h, t) for t in TRAITS])
        rows.append(np.concatenate([own[:1], (1 - h.phatic) * own[1:]]) * q)
    return np.array(rows)


def mirrored_rates(own: Sequence[float], phatic: float, mirror: float, rounds: int, anyone: bool = True) -> np.ndarray:
    """float[seats, rounds]: the expected rate of one trait where speakers in fixed order take over what they hear.

    E f[r, i] = (1 - phatic) ((1 - m) own_i + m mean of E f over the others since the own last turn), exact, because it is linear;
    own_i where nobody was heard. anyone: false for a trait that needs somebody heard, so that the first cannot show it.
    """
    n = len(own)
    f = np.zeros((n, rounds))
    for r in range(rounds):
        for i in range(n):
            before = [*(f[i + 1 :, r - 1] if r else []), *f[:i, r]]
            chance = (1 - mirror) * own[i] + mirror * float(np.mean(before)) if before else own[i]
            f[i, r] = (1 - phatic) * chance if before or anyone else 0.0
    return f


def kappa_law(ones: int, zeros: int, noise: float) -> tuple[float, float]:
    """(mean, standard deviation) of kappa between a right coder and one who flips each code with chance noise, over all
    numbers of flips among so many ones and zeros of the right coder.
    """
    from scipy.stats import binom

    n = ones + zeros
    missed, added = np.arange(ones + 1)[:, None], np.arange(zeros + 1)[None]
    chance = binom.pmf(missed, ones, noise) * binom.pmf(added, zeros, noise)
    other = ones - missed + added
    by_chance = (ones * other + zeros * (n - other)) / n**2
    kappa = (1 - (missed + added) / n - by_chance) / (1 - by_chance)
    mean = float((chance * kappa).sum())
    return mean, math.sqrt(float((chance * (kappa - mean) ** 2).sum()))


def slope(flags: np.ndarray, shares: np.ndarray, mirrored: Sequence[int]) -> tuple[float, float]:
    """(slope, standard error) of flags on shares, float[runs, seats, rounds, 6], within speaker and trait.

    Standard error by runs (sandwich): sqrt(sum over runs of (sum of x u)^2) / sum x^2, times sqrt(runs / (runs - 1)).
    """
    x, y = shares[..., mirrored], flags[..., mirrored].astype(float)
    y = np.where(np.isnan(x), np.nan, y)
    x = x - np.nanmean(x, axis=(0, 2), keepdims=True)
    y = y - np.nanmean(y, axis=(0, 2), keepdims=True)
    square = np.nansum(x * x)
    b = float(np.nansum(x * y) / square)
    by_run = np.nansum(x * (y - b * x), axis=(1, 2, 3))
    n = len(by_run)
    return b, float(math.sqrt((by_run**2).sum() * n / (n - 1)) / square)


# -- tier 0 ------------------------------------------------------------------------------------------
def check(settings: Settings) -> list[Finding]:
    """Scripted speakers of known habits, read back."""
    s = settings
    speakers = habits(s)
    alike = habits(s, spread=0.0)
    a = chats("A", speakers, s.runs, error=s.error, root=s.root)
    b = chats("B", alike, s.runs, error=s.error, root=s.root)
    f = chats("F", speakers, s.runs, error=s.error, root=s.root)
    return [
        *_planted(s, speakers, a),
        *_coders(s, a),
        *_differ(s, a, b),
        *_similar(s, speakers, alike, a, b),
        *_isolation(s, speakers, a, f),
        *_same(s, speakers, a),
        *_mirroring(s),
        *_errors(s, speakers, a),
    ]


def _later(found: Chats) -> np.ndarray:
    """Flags after the first round, in which not everything can be said."""
    return found.flags[:, :, 1:]


def _ends(e: Any) -> tuple[float, float]:
    """The interval of an estimate; the value itself where nothing varies."""
    return (e.interval.low, e.interval.high) if e.interval else (e.value, e.value)


def _planted(s: Settings, speakers: Sequence[Habits], a: Chats) -> list[Finding]:
    found = []
    e = chats("E", speakers, s.runs, error=s.error, root=s.root)
    j = chats("J", speakers, max(2, s.runs // 3), error=s.error, root=s.root)
    for series, played in (("A", a), ("E", e), ("J", j)):
        rates, n = _later(played).mean((0, 2)), _later(played)[..., 0].size // SEATS
        p = planted_rates(speakers, possible(series, s.error))
        with np.errstate(divide="ignore", invalid="ignore"):
            z = np.where(p > 0, (rates - p) / np.sqrt(p * (1 - p) / n), np.where(rates > 0, np.inf, 0.0))
        worst = float(np.abs(z).max())
        found.append(
            Finding(
                f"planted rates, {series}", f"series {series} ({SERIES[series].about}): each speaker shows each trait at its "
                "planted rate", worst <= MANY, worst, f"largest of {z.size} deviations <= {MANY} standard deviations",
                "closed form (1 - p) r q, binomial", n=n,
            )
        )  # fmt: skip
    return found


def _coders(s: Settings, a: Chats) -> list[Finding]:
    """The second coder reads by other rules; its slips are a setting."""
    clean = coded(a.texts, second)
    differ = int((clean != a.flags).sum())
    codes = noisy(clean, s.noise, s.root)
    lows, worst = [], 0.0
    for k in range(len(TRAITS)):
        one, two = a.flags[..., k].reshape(-1).astype(int), codes[..., k].reshape(-1).astype(int)
        if not one.any():
            continue  # nothing to agree on
        kappa = cohen_kappa(one, two, reps=0).value or 0.0
        mean, sd = kappa_law(int(one.sum()), int((1 - one).sum()), s.noise)
        worst = max(worst, abs(kappa - mean) / sd if sd else float(kappa != mean))
        lows.append(kappa - WIDE * sd)
    both = int((a.flags & codes).sum())
    marked = int(a.flags.sum())
    half = WIDE * math.sqrt(s.noise * (1 - s.noise) / marked)
    n = a.flags[..., 0].size
    return [
        Finding(
            "two readings", "without slips, both coders find the same in every message", differ == 0, differ,
            "= 0 codes that differ", "planted sentences against the shape of sentences", null=True, n=n,
        ),
        Finding(
            "kappa", "the agreement of the coders is that of a right one and one who slips", worst <= MANY, worst,
            f"largest of {len(lows)} deviations <= {MANY} standard deviations",
            "Cohen's kappa over all numbers of slips", n=n,
        ),
        Finding(
            "coders agree", "for every trait the coders agree well beyond chance", min(lows) > 0.5, min(lows),
            f"smallest kappa less {WIDE} standard deviations > 0.5", "0, as by chance", n=n,
        ),
        Finding(
            "labels of both", "labels that both coders give keep 1 - e of what is there",
            abs(both / marked - (1 - s.noise)) <= half, both / marked, f"{1 - s.noise:g} +- {half:.3f}",
            "closed form, binomial", both / marked - half, both / marked + half, n=marked,
        ),
    ]  # fmt: skip


@lru_cache(maxsize=64)
def _test(found: Chats, distance: str, exchanges: int, root: int) -> PermutationTest:
    flags = _later(found)[..., SOCIAL]
    runs, seats, rounds, k = flags.shape
    run, seat, _ = np.indices((runs, seats, rounds)).reshape(3, -1)
    return profiles_differ(
        flags.reshape(-1, k), seat, run, key=key("profiles", root), distance=distance, exchanges=exchanges,  # type: ignore[arg-type]
    )  # fmt: skip


def _differ(s: Settings, a: Chats, b: Chats) -> list[Finding]:
    found = []
    for distance in ("cosine", "jensen-shannon"):
        t = _test(a, distance, 999, s.root)
        found.append(
            Finding(
                f"profiles differ, {distance}", "speakers of different habits have profiles further apart than exchanged "
                "messages", t.p <= 0.001, t.p, "p <= 0.001: none of 999 exchanges reaches it",
                "permutation of speakers within a run", n=_later(a)[..., 0].size,
            )
        )  # fmt: skip
    t = _test(b, "cosine", 999, s.root)
    alike = Finding(
        "homogeneous", "profiles of seven times the same speaker lie no further apart than exchanged messages", t.p > 0.001,
        t.p, "p > 0.001", "permutation of speakers within a run", null=True, n=_later(b)[..., 0].size,
    )  # fmt: skip
    return [*found, alike, _calibrated()]


@lru_cache(maxsize=1)
def _calibrated() -> Finding:
    """Many small homogeneous groups, each a test of its own. It concerns the test, so no setting changes it."""
    from scipy.stats import kstest

    alike, groups = habits(Settings(), spread=0.0), range(1000, 1020)
    p = [_test(chats("B", alike, 2, root=g), "cosine", 199, g).p for g in groups]
    found = float(kstest(p, "uniform").pvalue)
    return Finding(
        "false alarms", f"over {len(p)} homogeneous groups, the p-values of that test are uniform", found > 0.001, found,
        "p > 0.001", "Kolmogorov and Smirnov's test", null=True, n=len(p),
    )  # fmt: skip


def _simulated(rates: Sequence[Habits], q: np.ndarray, rounds: int, root: int) -> tuple[float, float]:
    """(mean, standard deviation) of a run's mean cosine between profiles, by drawing messages without any chat."""
    rng = generator(key("similarity", root))
    times = 2000
    phatic = rng.random((times, SEATS, rounds, 1)) < np.array([h.phatic for h in rates])[None, :, None, None]
    own = np.array([[getattr(h, t) for t in HABITS] for h in rates]) * q[SOCIAL]
    carried = (rng.random((times, SEATS, rounds, len(HABITS))) < own[None, :, None]) & ~phatic
    similar = mean_cosine(carried.mean(2))
    return float(similar.mean()), float(similar.std())


def _similar(
    s: Settings, speakers: Sequence[Habits], alike: Sequence[Habits], a: Chats, b: Chats
) -> list[Finding]:  # fmt: skip
    """The published measure, and how much of it is counting noise."""
    found, means = [], []
    for series, who, played in (("A", speakers, a), ("B", alike, b)):
        flags = _later(played)[..., SOCIAL]
        similar = mean_cosine(flags.mean(2))
        mean, sd = _simulated(who, possible(series, s.error), flags.shape[2], s.root)
        half = WIDE * sd / math.sqrt(len(similar))
        value = float(similar.mean())
        means.append(similar)
        found.append(
            Finding(
                f"similarity, {series}", f"the mean cosine between the profiles of a run of series {series} is that of the "
                "planted habits, ten messages each", abs(value - mean) <= half, value, f"{mean:.3f} +- {half:.3f}",
                "messages drawn by the planted rates without any chat", value - half, value + half, n=len(similar),
            )
        )  # fmt: skip
    e = mean_t(means[1] - means[0], 0.99)
    low, high = _ends(e)
    above = Finding(
        "alike are more alike", "a homogeneous group is more similar than a mixed one", low > 0, e.value,
        "lower end > 0", "series B minus A, run by run", low, high, n=len(means[0]),
    )  # fmt: skip
    return [*found, above]


def _isolation(s: Settings, speakers: Sequence[Habits], a: Chats, f: Chats) -> list[Finding]:
    """Speakers who react to nobody: all that isolation changes is what can be said."""
    own = [TRAITS.index(t) for t in ("phatic", "meta", "lead", "arch")]
    differ = int((a.flags[..., own] != f.flags[..., own])[:, :, :].any(-1).sum())
    rates = planted_rates(speakers, possible("F", s.error))
    chances = [np.array([getattr(h, t) for t in HABITS]) for h in speakers]
    found = []
    for name, played, series in (("heard", a, "A"), ("isolated", f, "F")):
        q = possible(series, s.error)[SOCIAL]
        p = float(np.mean([(1 - h.phatic) * (1 - np.prod(1 - c * q)) for h, c in zip(speakers, chances, strict=True)]))
        any_ = _later(played)[..., SOCIAL].any(-1)
        half = WIDE * math.sqrt(p * (1 - p) / any_.size)
        value = float(any_.mean())
        found.append(
            Finding(
                f"coded share, {name}", f"{'where all hear all' if name == 'heard' else 'in isolation'}, messages carry a trait as "
                "often as the planted chances say", abs(value - p) <= half, value, f"{p:.3f} +- {half:.3f}",
                "closed form (1 - p) (1 - product of (1 - r q))", value - half, value + half, n=any_.size,
            )
        )  # fmt: skip
    impossible = int(f.flags[..., [TRAITS.index("agree"), TRAITS.index("comp")]].sum())
    return [
        *found,
        Finding(
            "isolation by definition", "whoever is isolated agrees with nobody and reacts to no error, whatever its habits",
            impossible == 0 and rates[:, TRAITS.index("agree")].max() == 0, impossible, "= 0 such messages",
            "nobody is heard", n=f.flags[..., 0].size,
        ),
        Finding(
            "isolation, nothing else", "where nobody reacts to anybody, isolation changes no other code of any message",
            differ == 0, differ, "= 0 messages otherwise", "series F against A, message by message", null=True,
            n=f.flags[..., 0].size,
        ),
    ]  # fmt: skip


def _same(s: Settings, speakers: Sequence[Habits], a: Chats) -> list[Finding]:
    """Names, brief, language and prompt mean nothing to scripted speakers, so the pipeline must find nothing."""
    differ, n, names = 0, 0, [k for k, v in SERIES.items() if v.same]
    for series in names:
        other = chats(series, speakers, s.few, error=s.error, root=s.root)
        differ += int((_later(other) != _later(a)[: s.few]).any(-1).sum())
        n += _later(other)[..., 0].size
    return [
        Finding(
            "names and prompts", f"series {', '.join(names)}: what speakers cannot notice changes no code after the first round",
            differ == 0, differ, "= 0 messages otherwise", "series A, message by message", null=True, n=n,
        )
    ]  # fmt: skip


def _mirroring(s: Settings) -> list[Finding]:
    """Speakers who take over what they hear: recovered from transcripts alone, and not found where nobody heard anything."""
    from scipy.stats import t as student

    phatic = 0.1
    # Who reacts to errors is left out: that chance is not mirrored.
    speakers = tuple(Habits(phatic, h.meta, h.lead, h.arch, h.agree, 0.0) for h in habits(s, spread=1.0))
    taken = [TRAITS.index(t) for t in ("meta", "lead", "arch", "agree")]
    own = [TRAITS.index(t) for t in ("meta", "lead", "arch")]  # what can be said in isolation
    heard = chats("F" if s.isolated else "A", speakers, s.mirrored, mirror=s.mirror, error=s.error, root=s.root)
    alone = chats("F", speakers, s.mirrored, mirror=0.6, error=s.error, root=s.root)
    wide = float(student.ppf(0.9995, s.mirrored - 1))
    b, se = slope(heard.flags, heard_shares(heard), taken)
    b0, se0 = slope(alone.flags, heard_shares(alone), own)
    planted = (1 - phatic) * 0.6
    rounds = heard.flags.shape[2]
    worst = 0.0
    for k in taken:
        expected = mirrored_rates(
            [getattr(h, TRAITS[k]) for h in speakers], phatic, s.mirror, rounds, TRAITS[k] != "agree"
        )
        by_run = heard.flags[..., k].mean((1, 2))
        error = float(by_run.std(ddof=1)) / math.sqrt(len(by_run))
        apart = abs(float(by_run.mean()) - float(expected.mean()))
        worst = max(worst, apart / error if error else math.inf)  # a trait that nobody ever shows
    limit = float(student.ppf(1 - 0.0005 / len(taken), s.mirrored - 1))
    return [
        Finding(
            "mirroring", "how far speakers take over what they hear is recovered from what was said alone",
            b - wide * se > 0 and abs(b - planted) <= wide * se, b,
            f"{planted:g} +- {wide * se:.3f}, lower end > 0", "closed form (1 - p) m; slope within speakers, errors by run",
            b - wide * se, b + wide * se, n=s.mirrored,
        ),
        Finding(
            "mirrored rates", "rates in chats with mirroring are those of the exact recursion", worst <= limit, worst,
            f"largest of {len(taken)} deviations <= {limit:.2f} standard errors (t of {s.mirrored - 1})",
            "linear recursion of expectations", n=s.mirrored,
        ),
        Finding(
            "mirroring of nothing", "the same speakers in isolation do not follow what others said and they did not hear",
            abs(b0) <= wide * se0, b0, f"0 +- {wide * se0:.3f}", "slope on what was said elsewhere", b0 - wide * se0,
            b0 + wide * se0, null=True, n=s.mirrored,
        ),
    ]  # fmt: skip


def _errors(s: Settings, speakers: Sequence[Habits], a: Chats) -> list[Finding]:
    comp = TRAITS.index("comp")
    rate = _later(a)[..., comp].mean((1, 2))
    e = mean_t(rate, 0.99)
    low, high = _ends(e)
    quiet = chats("A", speakers, s.few, error=False, root=s.root)
    seated = chats("A", (*speakers[:-1], None), s.few, error=False, root=s.root)
    broken = sum(x != "terminal" for x in seated.ended) + seated.faults
    strange = int(seated.flags[:, -1].sum())
    reacting = int(seated.flags[:, :-1, :, comp].sum())
    return [
        Finding(
            "reaction to errors", "where a participant errs each round, others step in", low > 0, e.value, "lower end > 0",
            "share of messages, by run", low, high, n=len(rate),
        ),
        Finding(
            "no error, no reaction", "where nobody errs, nobody steps in", int(quiet.flags[..., comp].sum()) == 0,
            float(quiet.flags[..., comp].sum()), "= 0 messages", "the same speakers", null=True, n=quiet.flags[..., 0].size,
        ),
        Finding(
            "an erring seat", "a seat that only returns errors breaks no run: it shows no trait, and the others react",
            broken == 0 and strange == 0 and reacting > 0, float(broken), "= 0 runs cut or faults, its profile empty",
            "all turns are played", n=s.few,
        ),
    ]  # fmt: skip


ENTRY = Entry(
    name="who_am_i",
    title="Who Am I, and Who Else Is Here? Behavioural profiles of models in group chats",
    source="arXiv 2604.00026; no published code or transcripts are used here",
    about="Seven models and one participant that always errs talk about a brief in a group chat, in twelve series that change names, "
    "prompts, order, hearing and the mix of models; coders label each message, and profiles of agents are compared. Here the "
    "whole path, from chat to verdict, is measured with scripted speakers whose habits are planted. "
    "Nothing in it is about language models.",
    claims=(
        Claim("Models in a group keep profiles of their own, and a mixed group is less alike than a homogeneous one."),
        Claim("Behaviour is social: in isolation far fewer messages carry a trait."),
        Claim("Models react to a participant that fails."),
    ),
    figures=(
        Figure("12 series, 208 runs, 13,786 messages.", "P"),
        Figure("Kappa of the two coders per code: .938, .773, .712, .730, .700, .856.", "P"),
        Figure("Mean cosine between profiles: baseline .56 [.48, .65], homogeneous .85, real names .77, empty prompt .89.", "P"),
        Figure("A trait is carried by 64.3 % of messages in the group and by 4.2 % in isolation.", "P"),
    ),
    settings=Settings,
    check=check,
    mechanisms=(
        Mechanism(
            "speakers differ", {"spread": 0.0},
            ("profiles differ, cosine", "profiles differ, jensen-shannon", "alike are more alike"),
        ),
        Mechanism("speakers mirror", {"mirror": 0.0}, ("mirroring",)),
        Mechanism("they hear each other", {"isolated": True}, ("mirroring", "mirrored rates")),
        Mechanism("the second coder reads", {"noise": 0.5}, ("coders agree",)),
        Mechanism("somebody errs", {"error": False}, ("reaction to errors",)),
    ),
    missing="Language models: there is no score, so no single-agent control, floor or ceiling, and no trial; `plan` and `transcripts` "
    "make and read the studies of all series for any models. Series I (hot) has no counterpart in scripted speakers. The coders "
    "read planted sentences; free text needs coders of its own.",
)  # fmt: skip
