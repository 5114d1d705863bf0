"""The experiment: questions of several kinds, a scripted expert for each, and an orchestrator that half knows who is who.

All of it is synthetic, on `qa/synthetic`. The kind of a question follows from its id. The expert of kind k
reads channel k, which is clear, where the question is of its kind, and channel kinds + k, which is not, elsewhere.
It says whether the question is of its field; outside of it, it overclaims by chance. The orchestrator names the right
expert with chance `skill` a turn, never one whom it asked before, and believes whoever claims the field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from crossplay import Action, Agent, Block, CrossplayError, Fault, Observation, loop, make_env, play
from crossplay.kernel import key, pick, uniform, unpack
from crossplay.teams import make_team

__all__ = ["Expert", "Orchestrator", "Runs", "Settings", "answer", "kind_of", "orchestrated", "routed", "single"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Four kinds of questions, three turns."""

    kinds: int = 4  # kinds of questions, and experts
    options: int = 4  # choices of a question
    expert: float = 0.9  # accuracy of an expert in its field
    outside: float = 0.3  # accuracy of an expert elsewhere
    skill: float = 0.6  # chance that the orchestrator names the right expert, each turn
    overclaim: float = 0.1  # chance that an expert claims a question that is not of its field
    turns: int = 3  # assignments at most
    replan: bool = True  # false: all assignments are made at once, before anything is reported
    blocks: int = 300  # questions; re-planning's gain of 0.18 is then found with power above .99
    sweep: int = 150  # questions of each cell of a sweep
    root: int = 1


# -- who answers -----------------------------------------------------------------------------------
def kind_of(question: str, kinds: int) -> int:
    """The kind of a question, from its id."""
    return int(question, 16) % kinds


def _largest(clue: Sequence[float]) -> str:
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[max(range(len(clue)), key=clue.__getitem__)]


class Expert(Agent):
    """Answers by the clue that it can read, and says whether the question is of its field."""

    def __init__(self, field: int, settings: Settings) -> None:
        """field: the kind that it knows."""
        self.field, self.settings = field, settings
        self.name = f"expert{field}"

    def act(self, obs: Observation) -> Action | Fault:
        """The option that the clue favours; as a report where words are asked for."""
        data, s = obs.view("data"), self.settings
        own = kind_of(data["id"], s.kinds) == self.field
        letter = _largest(data["clues"][self.field + (0 if own else s.kinds)])
        if obs.spec.kind == "names":
            return Action(letter)
        claims = own or uniform(key("claim", data["id"]), self.field) < s.overclaim
        return Action(f"{letter}; {'my field' if claims else 'not my field'}")


class Orchestrator(Agent):
    """Assigns, believes the first who claims the field, else the last. skill: None: names whom it did not ask yet by chance."""

    name = "orchestrator"

    def __init__(self, settings: Settings, skill: float | None) -> None:
        """settings: kinds is read."""
        self.settings, self.skill = settings, skill

    def act(self, obs: Observation) -> Action | Fault:
        """An assignment, all assignments, or the answer."""
        data, s = obs.view("data"), self.settings
        reports = [(m.src, m.body["value"]) for m in obs.inbox if m.body["act"] == "work"]
        if obs.spec.kind == "names":
            return Action(_believed(reports)[0])
        right, asked = kind_of(data["id"], s.kinds), [int(src.removeprefix("expert")) for src, _ in reports]
        schema = obs.spec.schema or {}
        if schema.get("type") == "object":
            done = bool(reports) and reports[-1][1].endswith("; my field")
            return Action(self._order(data["id"], right, asked) if not done else {"to": "answer", "instruction": ""})
        if schema.get("type") != "array":
            raise CrossplayError(f"orchestrator: asked for a form that it does not know: {schema}")
        plan: list[dict[str, str]] = []
        for _ in range(min(schema["maxItems"], s.kinds)):
            plan.append(self._order(data["id"], right, asked))
            asked.append(int(plan[-1]["to"].removeprefix("expert")))
        return Action(plan)

    def _order(self, question: str, right: int, asked: Sequence[int]) -> dict[str, str]:
        free = [w for w in range(self.settings.kinds) if w not in asked] or list(range(self.settings.kinds))
        wrong = [w for w in free if w != right]
        stream, turn = key("assign", question), len(asked)
        chance = 1 / len(free) if self.skill is None else self.skill
        if right in free and (not wrong or uniform(stream, turn, 0) < chance):
            chosen = right
        else:
            chosen = wrong[pick(stream, len(wrong), turn, 1)]
        return {"to": f"expert{chosen}", "instruction": "Answer the question, and say whether it is of your field."}


def _believed(reports: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """(letter, who) of the first report that claims the field, else of the last one."""
    who, said = next((r for r in reports if r[1].endswith("; my field")), reports[-1])
    found = re.match(r"([A-Z]); ", said)
    if found is None:
        raise CrossplayError(f"orchestrator: {who} reported {said!r}")
    return found[1], who


# -- playing ------------------------------------------------------------------------------------------
class Runs(msgspec.Struct):
    """n questions. right: float[n], whether the answer is; asks: int[n]; questions: their ids; who: who was believed."""

    right: np.ndarray
    asks: np.ndarray
    questions: list[str]
    who: list[str]


def answer(settings: Settings, agent: Agent, blocks: int) -> Runs:
    """Let an agent, a team of such or an expert alone, answer so many questions."""
    s = settings
    quality = [s.expert] * s.kinds + [s.outside] * s.kinds
    env = make_env("qa/synthetic", {"options": s.options, "channels": 2 * s.kinds, "quality": quality})
    right, asks, questions, who = [], [], [], []
    for block in range(blocks):
        outcome = loop(play(env, {"solver": agent}, Block(s.root, block)))
        posts = [unpack(e.note) for e in outcome.trace() if e.kind == "post"]
        reports = [(p["member"], p["value"]) for p in posts if p["act"] == "work"]
        right.append(outcome.score["accuracy"])
        asks.append(len(posts) or 1)
        questions.append(env.data("solver")["id"])
        who.append(_believed(reports)[1] if reports else "")
    env.close()
    return Runs(np.array(right), np.array(asks), questions, who)


def orchestrated(settings: Settings, blocks: int, by_chance: bool = False, **changes: Any) -> Runs:
    """The team answers so many questions. changes: turns and replan, over those of the settings."""
    given: Mapping[str, Any] = {"turns": settings.turns, "replan": settings.replan, **changes}
    lead = Orchestrator(settings, None if by_chance else settings.skill)
    members = [lead, *(Expert(k, settings) for k in range(settings.kinds))]
    return answer(settings, make_team(members, {"name": "orchestrate", **given}), blocks)


def routed(settings: Settings, blocks: int) -> Runs:
    """The control: one expert drawn by the engine's router answers."""
    members = [Expert(k, settings) for k in range(settings.kinds)]
    return answer(settings, make_team(members, {"name": "route", "by": "random"}), blocks)


def single(settings: Settings, blocks: int) -> Runs:
    """One expert answers everything alone."""
    return answer(settings, Expert(0, settings), blocks)
