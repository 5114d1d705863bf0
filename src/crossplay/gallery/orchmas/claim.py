"""What is checked of OrchMAS: accuracy and asks against closed forms, every episode against an enumeration.

Turn t names the right expert with chance h_t; a wrong one overclaims with chance e and is believed. With r_1 = 1:

    r_(t+1) = r_t (1 - h_t) (1 - e)              the chance that turn t + 1 comes to be needed
    F_T     = sum over t <= T of r_t h_t         the right expert is believed; e = 0, h_t = p: 1 - (1 - p)^T
    accuracy = F_T a + (1 - F_T) g               a in the field, g outside
    asks    = 2 t + 2 where turn t < T is believed (order and report per turn, one order to stop, the answer), else 2 T + 1

h_t = skill as long as there are wrong experts left, 1 after; by chance, 1 / (experts that were not asked).
"""

from __future__ import annotations

import math

import msgspec
import numpy as np

from crossplay.gallery.entry import Claim, Entry, Figure, Finding, Mechanism
from crossplay.gallery.orchmas.study import Runs, Settings, kind_of, orchestrated, routed, single
from crossplay.kernel import key, pick, uniform
from crossplay.measure.stats import paired_t

__all__ = ["ENTRY", "Expected", "check", "episode", "expected"]

WIDE = 3.29  # standard deviations: two-sided chance .001


# -- references ------------------------------------------------------------------------------------
class Expected(msgspec.Struct, frozen=True):
    """found: chance that the right expert is believed. accuracy. asks: [(number, chance), ...] of a re-planning team."""

    found: float
    accuracy: float
    asks: tuple[tuple[int, float], ...]

    @property
    def mean_asks(self) -> float:
        """Asks on average."""
        return sum(n * p for n, p in self.asks)

    @property
    def sd_asks(self) -> float:
        """Standard deviation of the asks of one question."""
        return math.sqrt(sum(p * (n - self.mean_asks) ** 2 for n, p in self.asks))


def expected(s: Settings, turns: int, by_chance: bool = False) -> Expected:
    """The closed form above."""
    reach, found, asks = 1.0, 0.0, []
    for t in range(1, min(turns, s.kinds) + 1):
        left = s.kinds - t + 1
        hit = 1.0 if left == 1 else 1 / left if by_chance else s.skill
        believed = reach * (hit + (1 - hit) * s.overclaim)
        asks.append((2 * t + 2 if t < turns else 2 * turns + 1, believed))
        found += reach * hit
        reach -= believed
    asks.append((2 * turns + 1, reach))
    return Expected(found, found * s.expert + (1 - found) * s.outside, tuple(asks))


def episode(question: str, s: Settings, turns: int) -> tuple[str, int]:
    """(who is believed, asks) of one question with re-planning, without a team."""
    right, tried = kind_of(question, s.kinds), list[int]()
    for t in range(turns):
        others = sorted(set(range(s.kinds)) - {right} - set(tried))
        hit = not others or uniform(key("assign", question), t, 0) < s.skill
        tried.append(right if hit else others[pick(key("assign", question), len(others), t, 1)])
        if hit or uniform(key("claim", question), tried[-1]) < s.overclaim:
            return f"expert{tried[-1]}", 2 * t + 4 if t + 1 < turns else 2 * turns + 1
    return f"expert{tried[-1]}", 2 * turns + 1


# -- tier 0 ------------------------------------------------------------------------------------------
def check(settings: Settings) -> list[Finding]:
    """Scripted orchestrators and experts against closed forms and the enumeration."""
    s, n = settings, settings.blocks
    team = orchestrated(s, n)
    turning = team if s.replan else orchestrated(s, n, replan=True)
    once = orchestrated(s, n, replan=False, turns=1)
    planned = orchestrated(s, n, replan=False)
    return [
        _enumerated(s, turning),
        _near("accuracy", "the team is right with chance F a + (1 - F) g", turning.right, expected(s, s.turns).accuracy),
        _asks(s, turning),
        *_sweep(s),
        _repairs(s, team, once),
        _near("one assignment", "a plan of one assignment is right with chance p a + (1 - p) g", once.right, expected(s, 1).accuracy),
        _chance(s, routed(s, n)),
        _knows(s, once),
        _at_once(s, turning, planned),
        _equal(s),
    ]  # fmt: skip


def _near(name: str, says: str, right: np.ndarray, p: float) -> Finding:
    """A share against its closed form, by the binomial standard deviation."""
    n, value = len(right), float(right.mean())
    half = WIDE * math.sqrt(p * (1 - p) / n)
    return Finding(
        name,
        says,
        abs(value - p) <= half,
        value,
        f"{p:.3f} +- {half:.3f}",
        "closed form",
        value - half,
        value + half,
        n=n,
    )


def _enumerated(s: Settings, turning: Runs) -> Finding:
    reference = [episode(q, s, s.turns) for q in turning.questions]
    wrong = sum(a != b for a, b in zip(reference, zip(turning.who, turning.asks.tolist(), strict=True), strict=True))
    return Finding(
        "every episode", "who is believed, and after how many asks, is as enumerated", wrong == 0, wrong,
        "= 0 episodes otherwise", "enumeration question by question, without a team", n=len(reference),
    )  # fmt: skip


def _asks(s: Settings, turning: Runs) -> Finding:
    e = expected(s, s.turns)
    value, half = float(turning.asks.mean()), WIDE * e.sd_asks / math.sqrt(len(turning.asks))
    return Finding(
        "asks", "re-planning costs two asks a turn, one to stop early, and the answer",
        abs(value - e.mean_asks) <= half + 1e-9, value,
        f"{e.mean_asks:.3f} +- {half:.3f}; all at once: {s.turns + 2}", "closed form", value - half, value + half,
        n=len(turning.asks),
    )  # fmt: skip


def _sweep(s: Settings) -> list[Finding]:
    """1 - (1 - p)^T: experts who know their field, from one turn to as many as there are experts."""
    honest = msgspec.structs.replace(s, overclaim=0.0)
    found = []
    for turns in range(1, s.kinds + 1):
        p = 1.0 if turns == s.kinds else 1 - (1 - s.skill) ** turns
        runs = orchestrated(honest, s.sweep, replan=True, turns=turns)
        share = np.array([w == f"expert{kind_of(q, s.kinds)}" for w, q in zip(runs.who, runs.questions, strict=True)])
        says = f"with {turns} turns the right expert is found with chance 1 - (1 - p)^T"
        says += ", here 1, since nobody else is left" if turns == s.kinds else ""
        found.append(_near(f"found in {turns}", says, share, p))
    return found


def _repairs(s: Settings, team: Runs, once: Runs) -> Finding:
    e = paired_t(team.right, once.right, 0.99, (-1.0, 1.0))
    low, high = (e.interval.low, e.interval.high) if e.interval else (e.value, e.value)
    closed = expected(s, s.turns).accuracy - expected(s, 1).accuracy
    return Finding(
        "re-planning repairs", "what is reported repairs first assignments that were wrong", low > 0, e.value,
        f"lower end > 0; closed form (F_T - p) (a - g) = {closed:.3f}", "the first assignment alone, same questions",
        low, high, n=len(once.right),
    )  # fmt: skip


def _chance(s: Settings, routed_: Runs) -> Finding:
    mean = (s.expert + (s.kinds - 1) * s.outside) / s.kinds
    return _near(
        "router by chance", "an expert drawn by chance is right with chance (a + (K - 1) g) / K", routed_.right, mean
    )


def _knows(s: Settings, once: Runs) -> Finding:
    drawn = orchestrated(s, s.blocks, by_chance=True, replan=False, turns=1)
    e = paired_t(once.right, drawn.right, 0.99, (-1.0, 1.0))
    low, high = (e.interval.low, e.interval.high) if e.interval else (e.value, e.value)
    closed = expected(s, 1).accuracy - expected(s, 1, by_chance=True).accuracy
    return Finding(
        "who is who", "an orchestrator that knows the experts assigns better than chance", low > 0, e.value,
        f"lower end > 0; closed form (p - 1/K) (a - g) = {closed:.3f}", "the same with assignments drawn uniformly",
        low, high, n=len(once.right),
    )  # fmt: skip


def _at_once(s: Settings, turning: Runs, planned: Runs) -> Finding:
    """A clean negative: what re-planning gains is gained by asking all those experts at once as well."""
    other = int((turning.right != planned.right).sum())
    return Finding(
        "as good at once", "a plan that asks as many experts at once is right and wrong in the same episodes, for "
        f"{s.turns + 2} asks", other == 0 and bool((planned.asks == min(s.turns, s.kinds) + 2).all()), other,
        "= 0 episodes otherwise", "the same assignments and reports without feedback", null=True, n=len(planned.right),
    )  # fmt: skip


def _equal(s: Settings) -> Finding:
    alike = msgspec.structs.replace(s, outside=s.expert)
    team, alone = orchestrated(alike, s.blocks), single(alike, s.blocks)
    e = paired_t(team.right, alone.right, 0.999, (-1.0, 1.0))
    low, high = (e.interval.low, e.interval.high) if e.interval else (e.value, e.value)
    return Finding(
        "equal experts", "where all know all kinds equally well, orchestration adds nothing", low <= 0 <= high, e.value,
        "interval (.999) holds 0", "one of them alone", low, high, null=True, n=s.blocks,
    )  # fmt: skip


ENTRY = Entry(
    name="orchmas",
    title="OrchMAS, orchestrated reasoning with heterogeneous expert agents",
    source="arXiv 2603.03005; its public repository could not be had, so this follows the published description alone",
    about="A first model orchestrates: each turn it names a role with an instruction, a second model executes it, and by what "
    "comes back the first re-plans or answers. Here the team protocol `orchestrate` is measured with scripted experts of "
    "one kind of question each: what re-planning repairs, what it costs, and when it adds nothing.",
    claims=(
        Claim("Re-planning by intermediate feedback repairs wrong decisions and beats fixed workflows."),
        Claim("Heterogeneous experts under an orchestrator beat existing multi-agent systems."),
    ),
    figures=(
        Figure("Two tiers: an orchestration model that plans and re-plans, an execution model that plays the roles.", "A"),
        Figure("The orchestrator is trained with action-level GRPO on rewards for form and answer.", "P"),
    ),
    settings=Settings,
    check=check,
    mechanisms=(
        Mechanism("it re-plans", {"replan": False, "turns": 1}, ("re-planning repairs",)),
        Mechanism("experts know their field", {"overclaim": 1.0}, ("re-planning repairs",)),
        Mechanism("experts differ", {"outside": 0.9}, ("re-planning repairs", "who is who")),
        Mechanism("the orchestrator knows them", {"skill": 0.25}, ("who is who",)),
    ),
    missing="The training of the orchestrator (GRPO): the protocol takes any agent that answers its form, a trained one too, but "
    "none is trained here. Roles that are made up for a task, the refinement of prompts, and the published benchmarks and results.",
)  # fmt: skip
