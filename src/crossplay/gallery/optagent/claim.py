"""What is checked of the learnt graph, against what, and how the claim is tried with models."""

from __future__ import annotations

from typing import Any

from scipy.signal import lfilter
from scipy.stats import binomtest

from crossplay.gallery.entry import Claim, Entry, Figure, Finding, Mechanism, Trial
from crossplay.gallery.optagent import exact
from crossplay.gallery.optagent.study import LEVELS, Discussions, Settings, control, discussions, study
from crossplay.measure.stats.intervals import mean_t

__all__ = ["ENTRY", "check", "judge"]

LEVEL = 0.999
"""Of intervals that compare with an exact value: one in a thousand misses it by chance."""


def check(settings: Settings) -> list[Finding]:
    """All findings of the mechanism."""
    learnt = _played(settings, "graph")
    random = _played(settings, "graph", eta=0.0, epsilon=1.0, reflector=0.5)  # no score counts
    blind = _played(settings, "graph", reflector=0.5)
    debate = _played(settings, "debate")
    return [
        _values(settings, learnt),
        _tells(settings, learnt),
        *_enumerated(settings, learnt, random, blind, debate),
        *_hypothesis(settings, learnt, debate),
        *_nulls(settings, learnt),
        *_larger(settings),
    ]


def _played(s: Settings, kind: str, **changes: Any) -> Discussions:
    """The small team's discussions; what a debate does not have does not tell its plays apart."""
    known = {"reflector": s.reflector, "eta": s.eta, "epsilon": s.epsilon, "cut": s.cut} | changes
    if kind == "debate":
        known = {"reflector": 0.5, "eta": 0.0, "epsilon": 0.0, "cut": 0.0}
    return discussions(
        kind, s.debaters, s.rounds, s.meetings, s.competence, s.openness, **known, n=s.n, root=s.root
    )  # fmt: skip


# -- values ------------------------------------------------------------------------------------------


def _values(s: Settings, learnt: Discussions) -> Finding:
    """The values at the end against a linear filter of the recorded scores."""
    worst, n = 0.0, 0
    for met, values in zip(learnt.meetings, learnt.values, strict=True):
        for pair, value in values.items():
            scores = [score for who, _, score in met if who == pair]
            wanted = 0.5
            if scores:
                run, _ = lfilter([s.eta], [1.0, s.eta - 1.0], scores, zi=[(1.0 - s.eta) * 0.5])
                wanted = float(run[-1])
            worst, n = max(worst, abs(value - wanted)), n + 1
    return Finding(
        "values", "the value of every pair is the exponential mean of its scores: q <- q + eta (score - q) from 1/2 on",
        worst < 1e-9, worst, "largest difference below 1e-9", "scipy.signal.lfilter on the recorded scores", n=n,
    )  # fmt: skip


def _tells(s: Settings, learnt: Discussions) -> Finding:
    """First meetings after which both agree: does the value rise exactly when both are right?"""
    told, n = 0.0, 0
    for met in learnt.meetings:
        _, (a, b), score = met[0]
        if a == b:
            moved = s.eta * (score - 0.5)
            told, n = told + (0.5 if moved == 0 else float((moved > 0) == a)), n + 1
    test = binomtest(round(told), n, s.reflector)
    low, high = test.proportion_ci(LEVEL)
    return Finding(
        "tells", "after one meeting the value of a pair that agrees says whether it agrees on the right answer",
        low > 0.5 and low <= s.reflector <= high, told / n, f"above 1/2, and {s.reflector:g} inside the interval",
        "the reflector's accuracy r, exact binomial interval of 99.9 %", low, high, n=n,
    )  # fmt: skip


# -- enumeration -------------------------------------------------------------------------------------


def _law(s: Settings, minority: bool = False, **changes: float) -> exact.Law:
    known = {"reflector": s.reflector, "eta": s.eta, "epsilon": s.epsilon, "cut": s.cut} | changes
    return exact.learnt(exact.started(s.debaters, s.competence, minority), s.rounds, s.openness, **known)


def _debated(s: Settings, minority: bool = False) -> exact.Law:
    return exact.debated(exact.started(s.debaters, s.competence, minority), s.rounds, s.openness)


def _enumerated(
    s: Settings, learnt: Discussions, random: Discussions, blind: Discussions, debate: Discussions
) -> list[Finding]:
    """Accuracy of four discussions, in all questions and where a minority was right, as enumerated."""
    cases = (
        ("learnt graph", learnt, _law(s), _law(s, True)),
        ("random meetings", random, _law(s, eta=0.0, epsilon=1.0), _law(s, True, eta=0.0, epsilon=1.0)),
        ("blind reflector", blind, _law(s, reflector=0.5), _law(s, True, reflector=0.5)),
        ("full debate", debate, _debated(s), _debated(s, True)),
    )
    found = []
    for name, played, law, minority in cases:
        within, values = True, []
        for right, wanted in ((played.right, law), (played.right[played.minority], minority)):
            chance = min(exact.majority(wanted)[0], 1.0)
            values.append((right.mean(), chance))
            within &= binomtest(int(right.sum()), len(right), chance).pvalue > 1 - LEVEL
        (seen, chance), (seen_few, chance_few) = values
        found.append(Finding(
            f"enumerated: {name}", f"the {name} of {s.debaters} is as accurate as every draw enumerated says "
            f"({chance:.4f} in all; where a minority is right {seen_few:.3f} against {chance_few:.4f})",
            within, float(seen), "exact binomial p > .001 for both", "exact enumeration of all draws, no engine",
            n=len(played.right),
        ))  # fmt: skip
    return found


def _hypothesis(s: Settings, learnt: Discussions, debate: Discussions) -> list[Finding]:
    """What the graph should beat, for the small team: the exact differences, and what was played."""
    p = s.competence
    vote = p * p * (3 - 2 * p)
    in_all = exact.majority(_law(s))[0] - max(vote, exact.majority(_debated(s))[0])
    few = exact.majority(_law(s, True))[0] - exact.majority(_debated(s, True))[0]
    gained = mean_t(learnt.right.astype(float) - debate.right, 0.95)
    low, high = _ends(gained)
    return [
        Finding(
            "small: beats both", f"{s.debaters} debaters: the learnt graph is right more often than the vote ({vote:.4f}) and "
            "than full debate; exact difference to the better one", in_all > 0.005, in_all, "above .005",
            "exact enumeration; vote p^2 (3 - 2p)",
        ),
        Finding(
            "small: minority", f"{s.debaters} debaters, where one of them is right: exact gain over full debate (the vote of "
            "first answers is always wrong there)", few > 0.005, few, "above .005", "exact enumeration",
        ),
        Finding(
            "small: played", f"{s.debaters} debaters: the learnt graph beats full debate as played", low > 0, gained.value,
            "95 % interval above 0", "the same questions", low, high, n=gained.n,
        ),
    ]  # fmt: skip


# -- where the effect must vanish --------------------------------------------------------------------


def _nulls(s: Settings, learnt: Discussions) -> list[Finding]:
    """Symmetric persuasion conserves the right answers; scores by chance are as good as no scores."""
    change = mean_t(learnt.last.mean(1) - learnt.first.mean(1), LEVEL)
    low, high = _ends(change)
    kept = abs(exact.majority(_law(s))[1] - s.competence)
    blind = exact.majority(_law(s, reflector=0.5))[0]
    unlearnt = exact.majority(_law(s, eta=0.0, epsilon=1.0))[0]
    p = s.competence
    return [
        Finding(
            "conserved", "who meets whom moves no right answer in or out: each exchange pulls both ways equally, so the "
            "expected share of right members stays, however well the reflector scores (only how they cluster changes)",
            low <= 0 <= high and kept < 1e-9, change.value, "0 inside the 99.9 % interval, and exactly 0 by enumeration",
            "a martingale; exact enumeration", low, high, null=True, n=change.n,
        ),
        Finding(
            "blind", "with a reflector by chance (r = 1/2) the learnt graph is no better than random meetings",
            abs(blind - unlearnt) < 0.005, blind - unlearnt, "within .005 of 0, exactly", "exact enumeration", null=True,
        ),
        Finding(
            "not the vote", "at r = 1/2 the graph does NOT equal the vote, as we had supposed: talk without information costs "
            "what voting gains, since errors become common", blind < p * p * (3 - 2 * p) - 0.005, blind - p * p * (3 - 2 * p),
            "below -.005", "exact enumeration; p^2 (3 - 2p)",
        ),
    ]  # fmt: skip


# -- a larger team -----------------------------------------------------------------------------------


def _larger(s: Settings) -> list[Finding]:
    """With all pairs meeting in every round: what is praised stays together, what is wrong moves on."""
    common = (s.many, s.rounds, s.many // 2, s.competence, s.openness)
    graph = discussions("graph", *common, s.reflector, s.eta, s.epsilon, s.cut, s.n_many, s.root)
    debate = discussions("debate", *common, 0.5, 0.0, 0.0, 0.0, s.n_many, s.root)
    voted = graph.first.mean(1) > 0.5
    lost = mean_t(graph.right.astype(float) - voted, 0.95)
    low, high = _ends(lost)
    pairs = s.many // 2
    share = float((graph.heard + graph.judged).sum() / debate.heard.sum())
    wanted = 4 * pairs * s.rounds / (s.many * (s.many - 1) * s.rounds)
    return [
        Finding(
            "larger: not the vote", f"{s.many} debaters in {pairs} meetings a round: the hypothesis does NOT hold, the graph is "
            "worse than the vote of its first answers (good pairs are kept together, so the wrong ones do the moving)",
            high < 0, lost.value, "95 % interval below 0", "the same first answers", low, high, n=lost.n,
        ),
        Finding(
            "messages", f"{s.many} debaters: posts read in the graph, those read by the reflector included, per post read in "
            "full debate", abs(share - wanted) < 1e-9 and share <= 0.5, share, f"{wanted:.3f} exactly, at most .5",
            "4 meetings / (n (n - 1)) per round, counted from the trace", n=s.n_many,
        ),
    ]  # fmt: skip


def _ends(estimate: Any) -> tuple[float, float]:
    i = estimate.interval
    return (i.low, i.high) if i is not None else (estimate.value, estimate.value)


# -- the trial ---------------------------------------------------------------------------------------

ASKED = (
    ("debate", "the learnt graph is more accurate than full debate"),
    ("vote", "the learnt graph is more accurate than the vote of the same first answers"),
    ("random meetings", "the learnt graph is more accurate than random meetings: what the learning adds"),
    ("constant", "the learnt graph is more accurate than one letter always"),
)


def judge(result: Any, folder: Any) -> list[Finding]:
    """Paired differences of the learnt graph to the others, and what was spent."""
    rows = {r.lineup: r for r in result.rows}
    found = []
    for name, says in ASKED:
        c = rows[name].comparison
        low, high = (-c.interval.high, -c.interval.low) if c.interval else (-c.difference, -c.difference)
        found.append(Finding(
            f"over {name}", f"{says}{_power(low, high)}", low > 0, -c.difference, "95 % interval of the paired difference above 0",
            name, low, high, n=c.blocks,
        ))  # fmt: skip
    spent, other = rows["learnt"].costs, rows["debate"].costs
    share = (spent.tok_in + spent.tok_out) / max(1, other.tok_in + other.tok_out)
    found.append(Finding(
        "tokens", "the learnt graph, its reflector included, costs at most half the tokens of full debate", share <= 0.5,
        share, "at most .5", "tokens in and out of all calls", n=rows["learnt"].summary.blocks,
    ))  # fmt: skip
    return found


def _power(low: float, high: float) -> str:
    return " (underpowered: the interval holds 0 and .1)" if low <= 0 and high >= 0.1 else ""


ENTRY = Entry(
    name="optagent",
    title="OPTAGENT: learnt debate graphs",
    source="arXiv 2510.18032 (AACL Findings 2025); no public code found",
    about="Pairs of members debate, a reflector scores each exchange, and the scores decide which pairs meet next "
    "(protocol `graph`, epsilon-greedy). Scripted debaters of known competence, a reflector with clues of its own.",
    claims=(
        Claim("A debate graph that is learnt from a reflector's scores beats full debate and voting.", (0, 1, 2)),
        Claim("It needs fewer messages than full debate.", (0, 1, 2)),
    ),
    figures=(Figure("the answer of the graph is the majority over all agents", "A"),),
    settings=Settings,
    check=check,
    mechanisms=(
        Mechanism("scores move values", {"eta": 0.0}, ("tells", "small: beats both", "small: minority")),
        Mechanism("the reflector knows something", {"reflector": 0.5}, ("tells", "small: beats both", "small: minority")),
    ),
    trial=Trial(
        levels=LEVELS,
        control=control,
        single="one",
        study=study,
        judge=judge,
        models=("qwen2.5-coder-0.5b",),
        n=30,
        n_control=60,
        effect=0.2,
    ),
    missing="the agent that chooses edits of the graph in words and the feedback in members' memories: edges are chosen "
    "epsilon-greedily on scores; forced decoding of three first answers each.",
)  # fmt: skip
