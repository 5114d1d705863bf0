"""What is checked of the primitives' algebra, against what."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from scipy.stats import binom, binomtest

from crossplay.gallery.agent_primitives import algebra
from crossplay.gallery.agent_primitives.study import Settings, played
from crossplay.gallery.entry import Claim, Entry, Figure, Finding, Mechanism

__all__ = ["ENTRY", "check"]

LEVEL = 0.999
PRIMITIVES = ("review", "select", "plan")
ORDER = {"roles": {"solver": "m0", "critic": "m1", "selector": "m2", "planner": "m3"}}


def check(settings: Settings) -> list[Finding]:
    """All findings of the mechanism."""
    return [*_compositions(settings), *_known(settings), *_gain(settings)]


def _composition(steps: tuple[str, ...], rounds: int = 1, by: str = "selector") -> dict[str, Any]:
    return {"name": "compose", "steps": list(steps), "rounds": rounds, "by": by, "rationale": False, **ORDER}


def _words(s: Settings) -> list[tuple[str, ...]]:
    """All rows of primitives up to the depth."""
    return [w for k in range(1, s.depth + 1) for w in itertools.product(PRIMITIVES, repeat=k)]


def _compositions(s: Settings) -> list[Finding]:
    """Every composition asks whom the algebra says, showing what it says, in as many calls."""
    words = [(w, r) for w in _words(s) for r in ((1, 2) if w == ("review",) else (1,))]
    wrong = miscounted = 0
    for word, rounds in words:
        found = played(s, _composition(word, rounds), s.members, s.shapes).shapes
        wanted = algebra.composed(word, s.members, rounds=rounds)
        wrong += any(shape != wanted for shape in found)
        miscounted += any(len(shape) != algebra.calls(word, s.members, rounds) for shape in found)
    return [
        Finding(
            "compositions", f"all {len(words)} rows of up to {s.depth} primitives: who speaks, in what form, seeing which posts",
            wrong == 0, float(wrong), "no composition differs", "the algebra written apart from the protocols", n=len(words),
        ),
        Finding(
            "calls", "calls of a composition are the sum of its parts: review 1 + 2 rounds, select n + 1, plan 2",
            miscounted == 0, float(miscounted), "no composition differs", "closed form", n=len(words),
        ),
    ]  # fmt: skip


def _known(s: Settings) -> list[Finding]:
    """Primitives against protocols that are known by other names, question by question."""
    n = s.members
    select = _composition(("select",), by="rule")
    pairs = (
        ("select is vote", "a selection by rule is the vote: same asks, same answers", select, {"name": "vote"},
         algebra.vote(n)),
        ("plan is a pipeline", "a plan and its execution are a pipeline of two stages",
         _composition(("plan",)), _pipeline("m3", "m0"), algebra.pipeline((3, 0))),
    )  # fmt: skip
    found = []
    for name, says, ours, theirs, shape in pairs:
        a, b = (played(s, p, n, 100) for p in (ours, theirs))
        same = a.values == b.values and bool((a.chosen == b.chosen).all()) and a.shapes == b.shapes
        found.append(Finding(
            name, says, same and all(x == shape for x in a.shapes), float(np.mean(a.chosen == b.chosen)),
            "every post, its value and the answer equal", "the other protocol, and its shape by hand", n=100,
        ))  # fmt: skip
    review = played(s, _composition(("review",)), n, s.shapes).shapes
    stages = played(s, _pipeline("m0", "m1", "m0"), n, s.shapes).shapes
    same = all([x[::2] for x in a] == [x[::2] for x in b] for a, b in zip(review, stages, strict=True))
    refined = [(0, False, ()), (1, True, (0,)), (0, False, (0, 1))]
    found.append(Finding(
        "review is self-refine", "a review is draft, feedback on it, and a revision that sees both; as a pipeline of three stages",
        same and all(x == refined for x in review), float(same), "speakers and visibility equal",
        "self-refine by hand; pipeline (whose first stage speaks in words)", n=s.shapes,
    ))  # fmt: skip
    debates = [algebra.debate(n, r) for r in (1, 2)]
    real = all(played(s, {"name": "debate", "rounds": r, "rationale": False}, n, s.shapes).shapes == [d] * s.shapes
               for r, d in zip((1, 2), debates, strict=True))  # fmt: skip
    covered = sum(algebra.composed(w, n, by) in debates for w in _words(s) for by in ("selector", "rule"))
    found.append(Finding(
        "debate is none", "debate is NOT a composition of the three: after a selection everybody sees the chosen answer only, "
        "in a debate all of them", covered == 0 and real, float(covered), f"no row of up to {s.depth} primitives has its shape",
        "enumeration of all rows", n=2 * len(_words(s)),
    ))  # fmt: skip
    return found


def _pipeline(*members: str) -> dict[str, Any]:
    return {"name": "pipeline", "stages": [{"do": "your part", "member": m, "sees": "all"} for m in members]}


def _gain(s: Settings) -> list[Finding]:
    """What selection by rule is worth, and where it is worth nothing."""
    protocol = {**_composition(("select",), by="rule"), "roles": {}}
    team = played(s, protocol, s.solvers, s.n)
    chance = float(binom.sf(s.solvers // 2, s.solvers, s.skill))
    test = binomtest(int(team.right.sum()), s.n, chance)
    low, high = test.proportion_ci(LEVEL)
    clones = played(_clones(s), protocol, s.solvers, 200)
    one = played(_clones(s), protocol, 1, 200)
    deaf = played(s, _composition(("review", "review", "plan")), s.members, 200)
    alone = played(s, {"name": "vote"}, s.members, 200)
    drafts = [v[0] for v in alone.values]
    return [
        Finding(
            "selection gains", f"{s.solvers} solvers with errors of their own, each right with {s.skill:g}: the selection is right "
            f"as often as the binomial majority",
            low <= chance <= high and low > s.skill, float(team.right.mean()), f"{chance:.4f} in the interval, all above {s.skill:g}",
            "binomial tail, exact interval of 99.9 %", low, high, n=s.n,
        ),
        Finding(
            "clones", "selection among clones that share their error changes no answer", bool((clones.chosen == one.chosen).all()),
            float(np.mean(clones.chosen != one.chosen)), "no answer differs", "one of them alone", null=True, n=200,
        ),
        Finding(
            "deaf", "reviews and plans change no answer of a solver that does not listen", list(deaf.chosen) == drafts,
            float(np.mean(deaf.chosen != np.array(drafts))), "no answer differs", "the solver alone", null=True, n=200,
        ),
    ]  # fmt: skip


def _clones(s: Settings) -> Settings:
    return Settings(own=False, silent=s.silent, skill=s.skill, root=s.root)


ENTRY = Entry(
    name="agent_primitives",
    title="Agent primitives: review, selection, planning",
    source="arXiv 2602.03695",
    about="Three parts from which teams are composed (protocols `compose`, `review`, `select`, `plan`). Here they pass text; the "
    "algebra is checked with scripted members, and what a computed prefix saves the next agent is measured on local weights.",
    claims=(
        Claim("Review, voting and selection, and planning and execution compose to known multi-agent systems.", (0,)),
        Claim("Handing over computed state instead of text saves time and tokens (measured here: prefixes, not latent states).", (1,)),
    ),
    figures=(
        Figure("+12.0 to 16.5 % accuracy over single agents, five open models, eight benchmarks", "P"),
        Figure("3 to 4 times fewer tokens and less latency than text-based multi-agent systems; 1.3 to 1.6 times a single agent", "P"),
        Figure("GPQA-Diamond 53.2 %, against 33.6 to 40.2 % of earlier methods", "P"),
    ),
    settings=Settings,
    check=check,
    mechanisms=(
        Mechanism("members see posts", {"silent": True}, ("compositions", "plan is a pipeline", "review is self-refine")),
        Mechanism("errors of their own", {"own": False}, ("selection gains",)),
    ),
    missing="latent hand-over: states of several agents concatenated and read by another. It needs the caches of one model's layers "
    "with positions moved, which llama.cpp's server offers for whole prefixes alone; so one agent can go on from another's prefix, two "
    "prefixes cannot be joined. The organizer that picks primitives per question from a pool is a model of its own.",
)  # fmt: skip
