"""Settings and experiments: synthetic members that discuss in five paradigms, and the trial's studies."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from crossplay import Action, Agent, Block, Observation, loop, make_agent, make_env, play
from crossplay.gallery.entry import Level
from crossplay.gallery.mallm.reference import PARADIGMS
from crossplay.kernel import unpack
from crossplay.teams import make_team

__all__ = ["FORMS", "LEVELS", "RULES", "Case", "Panelist", "Settings", "Talk", "control", "study", "talks_of"]

FORMS = ("approval", "cumulative", "borda")
"""Rules that ask for a vote of their own."""
RULES: tuple[dict[str, Any], ...] = (
    {"name": "plurality"},
    {"name": "majority"},
    {"name": "supermajority", "share": 0.66},
    {"name": "unanimity"},
    {"name": "hybrid", "until": 3, "few": 2, "share": 0.75},
)
POINTS = 25


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The experiment.

    members, rounds: of a discussion; inner: exchanges of the paradigm "debate" in a round. options, quality:
    of the questions. topology: "" for each paradigm's own, or one name for all. calibration: c of the members'
    confidence, by which they weigh each other. loud: words of the first member, as a multiple of the others'.
    """

    members: int = 4
    rounds: int = 3
    inner: int = 2
    options: int = 4
    quality: float = 0.6
    topology: str = ""
    calibration: float = 2.0
    loud: int = 5
    n: int = 150
    root: int = 0


class Case(msgspec.Struct, frozen=True):
    """One discussion's settings; equal cases are played once. rule: of the protocol; stop: at its first decision."""

    settings: Settings
    paradigm: str = "collective"
    rule: str = "plurality"
    stop: bool = False


class Panelist(Agent):
    """A believer that votes in any form, and says its reason `loud` times over.

    approval: every candidate above chance; ranking: by belief; points: belief in whole shares of the total.
    """

    views = ("data",)

    def __init__(self, inner: Agent, loud: int = 1) -> None:
        self.inner, self.loud, self.name = inner, loud, inner.name

    def act(self, obs: Observation) -> Any:
        """The believer's answer, or a vote from its belief."""
        if obs.spec.kind == "data":
            return Action(_vote(obs))
        answer = self.inner.act(obs)
        if isinstance(answer, Action) and answer.rationale:
            return msgspec.structs.replace(answer, rationale=" ".join([answer.rationale] * self.loud))
        return answer

    def check(self, env: Any, seat: str) -> None:
        """Plays what the inner agent plays."""
        self.inner.check(env, seat)


def _vote(obs: Observation) -> list[Any]:
    listed = re.findall(r"^([A-Z])\) ([A-Z])$", obs.brief, re.MULTILINE)
    alpha = np.array(obs.memo["alpha"])
    belief = {label: float(alpha[ord(option) - 65] / alpha.sum()) for label, option in listed}
    order = sorted(belief, key=lambda x: -belief[x])
    if obs.spec.schema["items"]["type"] == "integer":  # type: ignore[index]
        return _shares(list(belief.values()), POINTS)
    if obs.brief.lstrip().endswith("letters.") and "Rank all" in obs.brief:
        return order
    return [x for x in order if belief[x] >= 1 / len(alpha)] or order[:1]


def _shares(amounts: Sequence[float], total: int) -> list[int]:
    """Whole numbers in proportion that add up to total (largest remainders)."""
    exact = np.array(amounts) / sum(amounts) * total
    found = np.floor(exact).astype(int)
    for i in np.argsort(found - exact, kind="stable")[: total - found.sum()]:
        found[i] += 1
    return [int(x) for x in found]


class Talk(msgspec.Struct, frozen=True, eq=False):
    """One discussion. posts: as recorded, in order; vote: what was counted; truth: the right option; right: the team's."""

    posts: list[dict[str, Any]]
    vote: dict[str, Any]
    truth: int
    right: bool


@lru_cache(maxsize=64)
def talks_of(case: Case) -> list[Talk]:
    """Play n discussions and read them from the trace. Members answer what they find most likely: only others
    can change their minds.
    """
    s = case.settings
    base = {"correlation": 1.0, "sample": False, "calibration": s.calibration}
    members = [
        Panelist(make_agent({"type": f"believer:{i}", **base}), s.loud if i == 0 else 1) for i in range(s.members)
    ]
    rule: Any = {"name": case.rule, **({"total": POINTS} if case.rule == "cumulative" else {})}
    protocol = {"name": "debate", "paradigm": case.paradigm, "rounds": s.rounds, "inner": s.inner, "rule": rule,
                "confidence": True, "stop": case.stop}  # fmt: skip
    team = make_team(members, protocol, s.topology or None)
    env: Any = make_env("qa/synthetic", {"channels": s.members, "options": s.options, "quality": s.quality})
    found = []
    for block in range(s.n):
        outcome = loop(play(env, {"solver": team}, Block(s.root, block)))
        events = outcome.trace()
        posts = sorted((unpack(e.note) for e in events if e.kind == "post"), key=lambda p: p["id"])
        [vote] = [unpack(e.note) for e in events if e.kind == "vote"]
        found.append(Talk(posts, vote, env.question.answer, outcome.score["accuracy"] == 1))
    env.close()
    return found


# -- the trial -----------------------------------------------------------------------------------------------

LEVELS = (
    Level("analogies", "multiple choice of the third level", {"level": 3}),
    Level("odd-one-out", "multiple choice of the second level", {"level": 2}),
    Level("groups", "multiple choice of the first level", {"level": 1}),
)


def _base(models: Sequence[str], level: Level, n: int) -> dict[str, Any]:
    return {
        "study": {"name": f"paradigms-{level.name}", "blocks": n, "root": 31, "metric": "accuracy", "margin": 0.05},
        "environments": {"task": {"name": "qa/choice", "options": level.options}},
        "agents": {"one": {"type": f"llm:{models[0]}", "temperature": 0.8}, "constant": {"type": "first-legal"}},
    }


def control(models: Sequence[str], level: Level, n: int) -> dict[str, Any]:
    """One answer, a random one, a constant letter, and the scholar."""
    plan = _base(models, level, n)
    plan["lineups"] = {"one": ["one"], "always A": {"seats": ["constant"], "role": "constant letter"}}
    return plan


def study(models: Sequence[str], level: Level, n: int) -> dict[str, Any]:
    """Three members and two rounds in every paradigm, beside the vote of the same first answers. The first paradigm
    has the controls of the study (silent, one conversation, equal tokens and cost).
    """
    plan = _base(models, level, n)
    del plan["agents"]["constant"]
    team = {"type": "team", "members": ["one"], "size": 3}
    plan["lineups"] = {}
    for paradigm in PARADIGMS:
        protocol = {"name": "debate", "paradigm": paradigm, "rounds": 2, "inner": 1, "rationale": False}
        plan["agents"][paradigm] = {**team, "protocol": protocol}
        plan["lineups"][paradigm] = {"seats": [paradigm], "role": "" if paradigm == PARADIGMS[0] else "paradigm"}
    plan["study"]["baseline"] = f"{PARADIGMS[0]} first votes"
    plan["controls"] = {"dev": 1}
    return plan
