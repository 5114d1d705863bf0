"""The experiment: questions of several kinds, a worker for each, and a planner that often names the wrong one.

All of it is synthetic, on `qa/synthetic`. The kind of a question follows from its id. The worker of kind k reads channel k,
which is clear, where the question is of its kind, and channel kinds + k, which is not, elsewhere. The planner names the
right worker with chance `skill`; the critic sees that a worker was the wrong one with chance `critic`; a worker whose
kind it is notices that with chance `notice`. The trial's studies stand at the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import msgspec
import numpy as np

from crossplay import Action, Agent, Block, CrossplayError, Fault, Observation, loop, make_env, play
from crossplay.gallery.entry import Level
from crossplay.kernel import key, pick, uniform, unpack
from crossplay.teams import make_team

__all__ = [
    "LEVELS",
    "PLAN",
    "Runs",
    "Settings",
    "control",
    "kind_of",
    "noticed",
    "prompts",
    "seen_wrong",
    "study",
    "threads",
]

PLAN = (
    "The member named here answers the question and says what speaks for it; everybody else waits until it is called."
)
"""The words of every plan."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Four kinds of questions and a weak planner."""

    kinds: int = 4  # kinds of questions, and workers
    options: int = 4  # choices of a question
    expert: float = 0.9  # accuracy of a worker in its field
    outside: float = 0.3  # accuracy of a worker elsewhere
    skill: float = 0.3  # chance that the planner names the right worker
    critic: float = 0.9  # chance that the critic sees that a worker was the wrong one
    notice: float = 0.8  # chance that a worker notices a question of its field
    replan: Literal["workers", "planner", "nobody"] = "workers"  # who may change the plan
    summary: Literal["lines", "none"] = "lines"  # what is left of a part of the discussion that is closed
    blocks: int = 180  # questions; a gain of .30 is then found with power above .99
    sweep: int = 120  # questions of each cell of a sweep
    root: int = 1


# -- chance, addressed by the question -------------------------------------------------------------------
def kind_of(question: str, kinds: int) -> int:
    """The kind of a question, from its id."""
    return int(question, 16) % kinds


def named(question: str, s: Settings, asked: Sequence[int], turn: int) -> int:
    """The worker that the planner names among those who were not asked yet."""
    right = kind_of(question, s.kinds)
    wrong = [w for w in range(s.kinds) if w not in asked and w != right]
    stream = key("named", question)
    if right not in asked and (not wrong or uniform(stream, turn, 0) < s.skill):
        return right
    return wrong[pick(stream, len(wrong), turn, 1)]


def seen_wrong(question: str, worker: int, s: Settings) -> bool:
    """Whether the critic is uncertain of this worker's answer."""
    return worker != kind_of(question, s.kinds) and uniform(key("critic", question), worker) < s.critic


def noticed(question: str, worker: int, s: Settings) -> bool:
    """Whether a worker notices that the question is of its field."""
    return worker == kind_of(question, s.kinds) and uniform(key("notice", question), worker) < s.notice


# -- who plays -------------------------------------------------------------------------------------------
_JUDGED = re.compile(r"Judge the answer of w(\d+): ")
_CANDIDATE = re.compile(r"^([A-Z])\) ([A-Z])$", re.M)
_EARLIER = re.compile(r"w\d+: ([A-Z]) \((accept|uncertain)\)")


class Member(Agent):
    """Planner, critic or worker. field: of a worker, -1: none."""

    def __init__(self, name: str, settings: Settings, field: int = -1) -> None:
        """settings: all chances are read from them."""
        self.name, self.settings, self.field = name, settings, field

    def act(self, obs: Observation) -> Action | Fault:
        """One answer, by the form that is asked for."""
        data, s = obs.view("data"), self.settings
        question = data["id"]
        if obs.spec is obs.seat_spec:
            return Action(self._answer(obs, data))
        if obs.spec.kind == "text":  # work that was ordered by a prompt
            return Action(_letter(data, self.field, s))
        if obs.spec.kind == "data":
            return Action(self._plan(obs, question))
        if "accept" in obs.spec.names:
            judged = _JUDGED.search(obs.brief)
            if judged is None:
                raise CrossplayError(f"{self.name}: asked in words that it does not know: {obs.brief[:80]!r}")
            return Action("uncertain" if seen_wrong(question, int(judged[1]), s) else "accept")
        if "nobody" in obs.spec.names:
            return Action(self._change(obs, question))
        return Action(_ballot(obs))

    def _answer(self, obs: Observation, data: Mapping[str, Any]) -> str:
        """A worker by its clue; who concludes, what was reported last."""
        if self.field >= 0:
            return _letter(data, self.field, self.settings)
        return str([m.body["value"] for m in obs.inbox if m.body["act"] == "work"][-1])

    def _plan(self, obs: Observation, question: str) -> Any:
        worker = f"w{named(question, self.settings, (), 0)}"
        if (obs.spec.schema or {}).get("type") == "array":  # orders by prompts
            return [{"to": worker, "instruction": PLAN}]
        return {"plan": PLAN, "to": [worker]}

    def _change(self, obs: Observation, question: str) -> str:
        """A worker proposes itself where it notices its field; the planner names another one."""
        if self.field >= 0:
            return self.name if noticed(question, self.field, self.settings) else "nobody"
        free = [int(n[1:]) for n in obs.spec.names[1:]]
        asked = [w for w in range(self.settings.kinds) if w not in free]
        return f"w{named(question, self.settings, asked, len(asked))}"


def _letter(data: Mapping[str, Any], field: int, s: Settings) -> str:
    """The option that the clue of a worker favours."""
    own = kind_of(data["id"], s.kinds) == field
    clue = data["clues"][field + (0 if own else s.kinds)]
    return "ABCDEFGHIJKLMNOPQRSTUVWXYZ"[max(range(len(clue)), key=clue.__getitem__)]


def _ballot(obs: Observation) -> str:
    """The candidate that was accepted last; where none was, the one that was given last."""
    marked = _EARLIER.findall(obs.brief)
    answers = [m.body for m in obs.inbox if m.body["act"] == "answer"]
    marks = [m.body["text"] for m in obs.inbox if m.body["act"] == "mark"]
    letters = obs.seat_spec.names
    marked += [(letters[a["value"]], m) for a, m in zip(answers, marks, strict=True)]
    accepted = [letter for letter, mark in marked if mark == "accept"]
    label = {answer: k for k, answer in _CANDIDATE.findall(obs.brief)}
    return label[(accepted or [letter for letter, _ in marked])[-1]]


# -- playing ---------------------------------------------------------------------------------------------
class Runs(msgspec.Struct):
    """n questions. right: float[n]; asks, said: int[n], the answers as numbers; questions: what is known of them; posts, votes:
    the records of the team.
    """

    right: np.ndarray
    asks: np.ndarray
    said: np.ndarray
    questions: list[dict[str, Any]]
    posts: list[list[dict[str, Any]]]
    votes: list[dict[str, Any]]

    @property
    def asks_per_solved(self) -> float:
        """Asks of all questions per question that was answered rightly."""
        return float(self.asks.sum() / self.right.sum())


def threads(settings: Settings, blocks: int, **changes: Any) -> Runs:
    """Planner, critic and workers in threads. changes: of the protocol's settings, over those given."""
    s = settings
    return _run(
        s, blocks, msgspec.msgpack.encode({"name": "threads", "replan": s.replan, "summary": s.summary, **changes})
    )


def prompts(settings: Settings, blocks: int) -> Runs:
    """The same planner and workers where the planner orders by prompts, once, and answers by what came back."""
    return _run(settings, blocks, msgspec.msgpack.encode({"name": "orchestrate", "replan": False, "turns": 1}))


def _run(s: Settings, blocks: int, protocol: bytes) -> Runs:
    return _played(msgspec.structs.replace(s, replan="workers", summary="lines", blocks=0, sweep=0), blocks, protocol)


@lru_cache(maxsize=128)
def _played(s: Settings, blocks: int, protocol: bytes) -> Runs:
    table = msgspec.msgpack.decode(protocol)
    quality = [s.expert] * s.kinds + [s.outside] * s.kinds
    env = make_env("qa/synthetic", {"options": s.options, "channels": 2 * s.kinds, "quality": quality})
    aside = [Member("critic", s)] if table["name"] == "threads" else []
    team = make_team([Member("planner", s), *aside, *(Member(f"w{k}", s, k) for k in range(s.kinds))], table)
    found = Runs(np.zeros(blocks), np.zeros(blocks, np.int64), np.zeros(blocks, np.int64), [], [], [])
    for block in range(blocks):
        outcome = loop(play(env, {"solver": team}, Block(s.root, block)))
        events = outcome.trace()
        posts = sorted((unpack(e.note) for e in events if e.kind == "post"), key=lambda p: p["id"])
        found.right[block], found.asks[block] = outcome.score["accuracy"], len(posts)
        found.said[block] = next(e.value for e in events if e.kind == "act")
        found.posts.append(posts)
        found.votes.append(next(unpack(e.note) for e in events if e.kind == "vote"))
        found.questions.append(env.data("solver"))
    env.close()
    return found


# -- the trial -------------------------------------------------------------------------------------------
LEVELS = (
    Level("big-sums", "word problems with numbers of three digits", {"level": 3}),
    Level("sums", "word problems with numbers of two digits", {"level": 2}),
    Level("small-sums", "word problems with numbers of one digit", {"level": 1}),
)


def control(models: Sequence[str], level: Level, n: int) -> dict[str, Any]:
    """One plain answer of the planner's model, a random answer, and the scholar."""
    return {
        "study": {
            "name": f"anemoi-{level.name}", "blocks": n, "root": 47, "metric": "accuracy", "margin": 0.1, "concurrency": 1,
        },
        "environments": {"task": {"name": "qa/arithmetic", "options": dict(level.options)}},
        "agents": {"one": {"type": f"llm:{models[0]}", "temperature": 0.0}},
        "lineups": {"one": ["one"]},
    }  # fmt: skip


def study(models: Sequence[str], level: Level, n: int) -> dict[str, Any]:
    """The first model plans (and marks), the second one works. threads: workers may change the plan, all vote; prompts: the
    planner orders once and concludes; the planner's model and a worker, each alone.
    """
    plan = control(models, level, n)
    asked = {"temperature": 0.0, "max_tokens": 80}
    weak, strong = f"llm:{models[0]}", f"llm:{models[-1]}"
    agents = plan["agents"]
    agents["planner"] = {"type": weak, **asked, "max_tokens": 120, "instructions": "You plan in few words."}
    agents["critic"] = {"type": weak, **asked, "instructions": "You find mistakes in sums."}
    agents["solver"] = {"type": strong, **asked, "instructions": "You work step by step and are brief."}
    agents["checker"] = {"type": strong, **asked, "instructions": "You estimate first, then calculate; be brief."}
    agents["worker"] = {"type": strong, "temperature": 0.0}
    workers = ["solver", "checker"]
    about = {"solver": "works step by step", "checker": "estimates, then calculates"}
    agents["threads"] = {
        "type": "team", "members": ["planner", "critic", *workers], "protocol": {"name": "threads", "about": about},
    }  # fmt: skip
    agents["prompts"] = {
        "type": "team", "members": ["planner", *workers], "protocol": {"name": "orchestrate", "replan": False, "turns": 2},
    }  # fmt: skip
    plan["study"]["baseline"] = "threads"
    plan["lineups"] = {name: [name] for name in ("threads", "prompts", "one", "worker")}
    plan["controls"] = {"equal_cost": False}
    return plan
