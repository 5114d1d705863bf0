"""Settings and experiments: one team of sixteen per condition, read at every size, and the trial's studies."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from crossplay import Action, Agent, Block, Observation, loop, make_agent, make_env, play
from crossplay.gallery.agent_scaling import reference
from crossplay.gallery.entry import Level
from crossplay.kernel import key, unpack
from crossplay.measure.ballots import Ballots
from crossplay.measure.rulebook import make_rule
from crossplay.teams import make_team

__all__ = ["LEVELS", "RULES", "SIZES", "Answers", "Case", "Seen", "Settings", "answers", "control", "right", "study"]

SIZES = (1, 2, 4, 8, 16)
ALL = 16
"""Channels of every question."""
RULES: dict[str, dict[str, Any]] = {
    "plurality": {"name": "plurality"},
    "confidence": {"name": "confidence", "prior": "uniform"},
}


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The experiment.

    skill: solo accuracy of every member, in every condition; options: of a question. clones: correlation of the
    errors of two members that read the same channel; personas: the same with more noise of their own.
    channels: how many channels the different members share out (1: they are clones). shared: correlation of the
    channels' errors.
    questions: per condition. calibration: of confidence, 1: exact, 0: says nothing. root: of all questions.
    """

    skill: float = 0.62
    options: int = 4
    clones: float = 0.85
    personas: float = 0.5
    channels: int = 16
    shared: float = 0.0
    calibration: float = 1.0
    questions: int = 600
    root: int = 0


class Case(msgspec.Struct, frozen=True):
    """One condition. r: share of a member's error that its channel makes; channels, shared: as in the settings.

    Conditions of equal r and shared are played on the same questions, whatever channels their members read.
    """

    skill: float
    options: int
    r: float
    channels: int
    shared: float
    calibration: float
    questions: int
    root: int
    members: int = 16

    @property
    def rho(self) -> float:
        """Correlation of the errors of two members (of different channels, where there are several)."""
        return self.r if self.channels == 1 else self.r * self.shared


class Seen(Agent):
    """An answerer that notes what it perceived, so that its evidence can be embedded."""

    views = ("data",)

    def __init__(self, inner: Agent) -> None:
        self.inner, self.name = inner, inner.name

    def act(self, obs: Observation) -> Any:
        """The inner agent's answer."""
        answer = self.inner.act(obs)
        if isinstance(answer, Action):
            obs.note("note", {"seen": answer.memo})
        return answer

    def check(self, env: Any, seat: str) -> None:
        """Plays what the inner agent plays."""
        self.inner.check(env, seat)


class Answers(msgspec.Struct, frozen=True, eq=False):
    """One condition. choices: int[Q, N], confidences: [Q, N], seen: [Q, N, m], truth: int[Q], team: [Q], whether the
    whole team's plurality, as it was played, was right.
    """

    choices: np.ndarray
    confidences: np.ndarray
    seen: np.ndarray
    truth: np.ndarray
    team: np.ndarray


@lru_cache(maxsize=32)
def answers(case: Case) -> Answers:
    """Every question is answered once by the whole team; smaller teams are its first members."""
    d = reference.distance(case.skill, case.options) / np.sqrt(case.r)
    quality = reference.accuracy(float(d), case.options)
    options = {
        "channels": ALL,
        "options": case.options,
        "quality": quality,
        "correlation": case.shared,
    }
    env: Any = make_env("qa/synthetic", options)
    made = {"correlation": case.r, "calibration": case.calibration}
    members = [Seen(make_agent({"type": f"answerer:{i % case.channels}", **made})) for i in range(case.members)]
    team = make_team(members, {"name": "vote", "confidence": True})
    found: list[list[Any]] = [[] for _ in range(5)]
    for block in range(case.questions):
        outcome = loop(play(env, {"solver": team}, Block(case.root, block)))
        events = outcome.trace()
        posts = [unpack(e.note) for e in events if e.kind == "post"]
        row = (
            [p["value"] for p in posts],
            [p["confidence"] for p in posts],
            [unpack(e.note)["seen"] for e in events if e.kind == "note"],
            env.question.answer,
            outcome.score["accuracy"],
        )
        for column, value in zip(found, row, strict=True):
            column.append(value)
    env.close()
    return Answers(*map(np.array, found))


def right(a: Answers, n: int, rule: str) -> np.ndarray:
    """float[Q]: whether the first n members were right by that rule, counted on their recorded answers."""
    ballots = Ballots(choices=a.choices[:, :n], confidences=a.confidences[:, :n])
    decision = make_rule(RULES[rule])(ballots, a.seen.shape[2], key=key("agent scaling", rule))
    return (decision.winner == a.truth).astype(float)


# -- the trial -----------------------------------------------------------------------------------------------

LEVELS = (
    Level("analogies", "multiple choice of the third level", {"env": "qa/choice", "level": 3}),
    Level("odd-one-out", "multiple choice of the second level", {"env": "qa/choice", "level": 2}),
    Level("groups", "multiple choice of the first level", {"env": "qa/choice", "level": 1}),
    Level("sums", "word problems with numbers of two digits", {"env": "qa/arithmetic", "level": 2}),
)
MODELS = ("qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b", "smollm2-135m")


def _base(models: Sequence[str], level: Level, n: int) -> dict[str, Any]:
    options = dict(level.options)
    name = options.pop("env")
    return {
        "study": {"name": f"scaling-{level.name}", "blocks": n, "root": 21, "metric": "accuracy", "margin": 0.05},
        "environments": {"task": {"name": name, "options": options}},
        "agents": {f"m{i}": {"type": f"llm:{m}", "temperature": 1.0} for i, m in enumerate(models)},
    }


def control(models: Sequence[str], level: Level, n: int) -> dict[str, Any]:
    """One answer of each model, a random answer, a constant letter, and the scholar. `single`: the first model."""
    plan = _base(models, level, n)
    plan["lineups"] = {name: [name] for name in plan["agents"]}
    if level.options["env"] == "qa/choice":
        plan["agents"]["constant"] = {"type": "first-legal"}
        plan["lineups"]["always A"] = {"seats": ["constant"], "role": "constant letter"}
    return plan


def study(models: Sequence[str], level: Level, n: int) -> dict[str, Any]:
    """One answer of each model (mixed), beside a team of clones of each of them, equally many votes; the study
    adds the best single member at the mixed team's tokens and cost.

    Letters are weighted by confidence. Answers in words are counted as they are: asked for a JSON object with
    a confidence, small models at temperature 1 write so many that cannot be read that nothing else is measured.
    """
    plan = _base(models, level, n)
    size = len(models) if len(models) > 1 else 3
    weighted = level.options["env"] == "qa/choice"
    protocol = {"name": "vote", "rule": RULES["confidence" if weighted else "plurality"], "confidence": weighted}
    members = [f"m{i}" for i in range(len(models))]
    plan["agents"]["mixed"] = {"type": "team", "members": members, "protocol": protocol}
    plan["lineups"] = {"mixed": ["mixed"]}
    for member in members:
        name = f"clones of {member}"
        plan["agents"][name] = {"type": "team", "members": [member], "size": size, "protocol": protocol}
        plan["lineups"][name] = {"seats": [name], "role": "clones"}
    plan["study"]["baseline"] = "clones of m0"
    plan["controls"] = {"dev": max(10, n // 4)}
    return plan
