"""Settings and experiments: believers that debate, pools of first answers, and the trial's studies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from crossplay import Action, Agent, Block, Observation, loop, make_agent, make_env, play
from crossplay.gallery.entry import Level
from crossplay.kernel import uniform, unpack
from crossplay.measure.stats.power import blocks_for_tie
from crossplay.teams import make_team

__all__ = [
    "JUDGES",
    "LEVELS",
    "POOL",
    "Case",
    "Settings",
    "Stated",
    "control",
    "debates",
    "equivalence_blocks",
    "study",
]


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The experiment.

    members, rounds, options: of the debate; concentration: weight of a first belief in answers of others.
    quality: accuracy of the clue. vanilla: c of the debate that is tested for a martingale. small: the c at
    which that test must fail, on both sides. strong: the c of the effect. margin: of the equivalence test, with
    this power. informed: share of stated confidences that come from the belief (0: all drawn apart from it).
    candidates, by: of the pool. n: blocks of the statements without an equivalence test.
    The pool is tried where answers are many and first beliefs weigh little (see `POOL`).
    """

    members: int = 5
    rounds: int = 2
    options: int = 4
    quality: float = 0.7
    concentration: float = 20.0
    vanilla: float = 0.0
    small: float = 0.2
    strong: float = 1.0
    margin: float = 0.005
    power: float = 0.8
    informed: float = 1.0
    candidates: int = 10
    by: str = "answer"
    n: int = 400
    root: int = 0


POOL: dict[str, Any] = {"options": 6, "quality": 0.5, "concentration": 2.0}
"""Where the pool is tried: six options, so that more answers are possible than members, and light first beliefs."""
JUDGES = 12
"""Channels that only a knowing confidence reads: together they leave little doubt."""


class Stated(Agent):
    """A believer that states another confidence than its own, in a share of its answers.

    informed: share of answers that keep the believer's own source of confidence; in the others the
    confidence is 1 / (1 + exp(-c u)) with u uniform in -1 .. 1, drawn apart from belief and answer: the
    weights stay as unequal, and tell nothing. knowing: u = 2 P - 1, with P the chance of the answer given all
    clues of the question, as a verifier that reads more than the members would say.
    """

    views = ("data",)

    def __init__(self, inner: Agent, c: float, informed: float = 1.0, knowing: bool = False) -> None:
        self.inner, self.c, self.informed, self.knowing = inner, c, informed, knowing
        self.name = inner.name

    def act(self, obs: Observation) -> Any:
        """The inner agent's answer, with its confidence or another."""
        answer = self.inner.act(obs)
        if not isinstance(answer, Action):
            return answer
        k = obs.key("stated")
        if uniform(k, obs.tick, 0) >= self.informed:
            u = 2 * uniform(k, obs.tick, 1) - 1
        elif self.knowing:
            u = 2 * _chance(obs.view("data"), "ABCDEFGHIJ".index(answer.value)) - 1
        else:
            return answer
        return msgspec.structs.replace(answer, confidence=1 / (1 + math.exp(-self.c * u)))

    def check(self, env: Any, seat: str) -> None:
        """Plays what the inner agent plays."""
        self.inner.check(env, seat)


def _chance(data: Any, at: int) -> float:
    """Chance of an option given all clues, which are independent: proportional to exp(sum of d x)."""
    evidence = np.array(data["distances"]) @ np.array(data["clues"])
    mass = np.exp(evidence - evidence.max())
    return float(mass[at] / mass.sum())


class Case(msgspec.Struct, frozen=True):
    """One condition of the debate; equal cases are played once. candidates: 0: no pool."""

    members: int
    rounds: int
    options: int
    quality: float
    concentration: float
    c: float
    informed: float
    n: int
    root: int
    candidates: int = 0
    by: str = "answer"
    knowing: bool = False


class Debates(msgspec.Struct, frozen=True, eq=False):
    """n debates of T rounds of N members, and what they started from.

    beliefs: [n, T, N, m] behind the answers of rounds 1 .. T, after the belief `first` [n, N, m] of round 0.
    answers: int[n, T + 1, N] with confidences alike; where there is a pool, those of round 0 are the ones kept of
    candidates int[n, C]. truth: int[n]. right: [n], whether the team was.
    """

    first: np.ndarray
    beliefs: np.ndarray
    answers: np.ndarray
    confidences: np.ndarray
    candidates: np.ndarray
    truth: np.ndarray
    right: np.ndarray

    @property
    def in_truth(self) -> np.ndarray:
        """Belief in the right option, mean over members, [n, T + 1]."""
        whole = np.concatenate([self.first[:, None], self.beliefs], axis=1)
        return np.take_along_axis(whole, self.truth[:, None, None, None], 3)[..., 0].mean(2)

    @property
    def change(self) -> np.ndarray:
        """What the debate did to the mean belief in the right option, [n]."""
        return self.in_truth[:, -1] - self.in_truth[:, 0]


def _team(case: Case) -> Any:
    base = {"correlation": 1.0, "concentration": case.concentration, "calibration": case.c}
    members = [make_agent({"type": f"believer:{i}", **base}) for i in range(case.members)]
    pool = {"pool": {"candidates": case.candidates, "by": case.by}} if case.candidates else {}
    protocol = {"name": "debate", "rounds": case.rounds, "rationale": False, "confidence": True, **pool}
    return make_team([Stated(b, case.c, case.informed, case.knowing) for b in members], protocol)


@lru_cache(maxsize=64)
def debates(case: Case) -> Debates:
    """Play n debates, each member with a clue of its own, and read everything from the trace."""
    team, n, shape = _team(case), case.n, (case.rounds + 1, case.members)
    channels = case.members + JUDGES * case.knowing
    env: Any = make_env("qa/synthetic", {"channels": channels, "options": case.options, "quality": case.quality})
    found: list[list[Any]] = [[] for _ in range(7)]
    for block in range(n):
        outcome = loop(play(env, {"solver": team}, Block(case.root, block)))
        events = outcome.trace()
        notes = [unpack(e.note)["belief"] for e in events if e.kind == "note"]
        posts = sorted((unpack(e.note) for e in events if e.kind == "post"), key=lambda p: p["id"])
        asked = [p for p in posts if p["act"] == "candidate"]
        said = posts[len(asked) :]
        sure = {p["id"]: p["confidence"] for p in asked}
        row = (
            notes[: len(notes) - case.rounds * case.members],
            notes[len(notes) - case.rounds * case.members :],
            [p["value"] for p in said],
            [sure[p["adopted"]] if "adopted" in p else p["confidence"] for p in said],
            [p["value"] for p in asked],
            env.question.answer,
            outcome.score["accuracy"],
        )
        for column, value in zip(found, row, strict=True):
            column.append(value)
    env.close()
    first, beliefs, answers, confidences, candidates, truth, right = map(np.array, found)
    return Debates(
        first[:, _owners(case)],
        beliefs.reshape(n, *(case.rounds, case.members), case.options),
        answers.reshape(n, *shape),
        confidences.reshape(n, *shape),
        candidates,
        truth,
        right,
    )


def _owners(case: Case) -> list[int]:
    """Where each member's own first belief stands among the notes of round 0 (in the order of their paths)."""
    per = [len(range(i, case.candidates, case.members)) or 1 for i in range(case.members)]
    return [sum(per[:i]) for i in range(case.members)]


def equivalence_blocks(margin: float, variance: float, power: float) -> int:
    """Blocks at which the 95 % interval of no change lies inside the margin with that power."""
    return blocks_for_tie(margin, math.sqrt(variance), 0.95, power)


# -- the trial -----------------------------------------------------------------------------------------------

LEVELS = (
    Level("sums", "word problems with numbers of two digits", {"env": "qa/arithmetic", "level": 2}),
    Level("small-sums", "word problems with numbers of one digit", {"env": "qa/arithmetic", "level": 1}),
    Level("odd-one-out", "multiple choice of the second level, a letter", {"env": "qa/choice", "level": 2}),
    Level("groups", "multiple choice of the first level, a letter", {"env": "qa/choice", "level": 1}),
)


def _base(models: Sequence[str], level: Level, n: int) -> dict[str, Any]:
    options = dict(level.options)
    name = options.pop("env")
    model = models[0]
    return {
        "study": {"name": f"debate-{level.name}", "blocks": n, "root": 11, "metric": "accuracy", "margin": 0.05},
        "environments": {"task": {"name": name, "options": options}},
        "agents": {"one": {"type": f"llm:{model}", "temperature": 0.8, "words": 40}},
    }


def control(models: Sequence[str], level: Level, n: int) -> dict[str, Any]:
    """One sample of the model, a random answer, and the scholar."""
    plan = _base(models, level, n)
    plan["lineups"] = {"one": ["one"]}
    return plan


def study(models: Sequence[str], level: Level, n: int) -> dict[str, Any]:
    """Three members, one round of debate with stated confidence, beside the vote of its first answers and the
    model alone at equal tokens and cost (the study's own controls).
    """
    plan = _base(models, level, n)
    words = not str(level.options["env"]).endswith("choice")
    debate = {"name": "debate", "rounds": 1, "rationale": words, "confidence": True}
    plan["agents"]["debate"] = {"type": "team", "members": ["one"], "size": 3, "protocol": debate}
    plan["study"]["baseline"] = "debate first votes"
    plan["lineups"] = {"debate": ["debate"], "one": ["one"]}
    plan["controls"] = {"dev": 1}
    return plan
