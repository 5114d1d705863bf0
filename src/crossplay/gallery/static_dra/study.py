"""The experiment: a library whose topics form a tree, researchers who look one topic up per ask, and the team.

All of it is synthetic. A look-up returns the code of a topic; an answer earns one point per topic whose
code it states. The researchers are scripted: they look up what they are asked for, once, and nothing else.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from crossplay import Action, ActionSpec, Agent, Block, CrossplayError, Env, Fault, Msg, Observation, aio, loop, play
from crossplay.kernel import draw, key, pack, pick, uniform, unpack
from crossplay.teams import make_team

__all__ = ["Library", "Researcher", "Settings", "Trees", "code_of", "in_flight", "parts_of", "research"]

Decay = Literal["halve", "minus2", "none"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The published setting (depth 2, breadth 5) on a library of topics."""

    depth: int = 2  # levels of splitting
    breadth: int = 5  # parts of the first split
    decay: Decay = "minus2"  # how breadth shrinks per level; minus2 is what the published code does
    share: bool = True  # false: topics are compared within a branch alone, as in the published code
    most: int = 12  # asks that the team with a budget may make
    overlap: float = 0.4  # chance that a part below the first level is one of the common topics
    common: int = 6  # how many common topics there are
    skill: float = 0.9  # chance that a topic can be found
    blocks: int = 120  # libraries; a mean of leaves is then known to about 0.1
    root: int = 1


# -- the task ----------------------------------------------------------------------------------------
def code_of(library: str, topic: str) -> str:
    """What is known about a topic: six hexadecimal digits."""
    return f"{draw(key('code', library, topic)) & 0xFFFFFF:06x}"


class Library(Env):
    """One seat writes an answer: lines `topic = code`. Score: topics whose code is right, each counted once."""

    name = "gallery/library"
    version = 1
    seats = ("researcher",)
    horizon = 1
    views = ("data", "text")
    rules = (
        "Answer with one line per topic that you know about: topic = code. Every topic with its right code is a point."
    )
    metrics = {
        "facts": "topics of the answer with their right code",
        "wrong": "other lines of the answer",
    }

    def reset(self, key: bytes, task: Any = None) -> None:
        """Open the library of that key."""
        self.key: bytes = key
        self.answer: str | None = None

    @property
    def library(self) -> str:
        """The name of the library: all that may be looked up follows from it."""
        return self.key.hex()

    def to_act(self) -> tuple[str, ...]:
        """The researcher."""
        return self.seats

    def ended(self) -> Literal["terminal"] | None:
        """After the answer."""
        return None if self.answer is None else "terminal"

    def spec(self, seat: str) -> ActionSpec:
        """A text."""
        return ActionSpec("text", max_len=20_000)

    def data(self, seat: str) -> dict[str, Any]:
        """The library; what is in it can be looked up."""
        return {"library": self.library, "answered": self.answer is not None}

    def step(self, actions: Mapping[str, Any], mail: Sequence[Msg]) -> Sequence[float]:
        """Take the answer; the reward is its score."""
        self.answer = str(actions[self.seats[0]])
        return [self.score()["facts"]]

    def score(self) -> Mapping[str, float]:
        """Right topics, and lines that are none."""
        lines = [x.strip() for x in (self.answer or "").splitlines() if x.strip()]
        found = [x.partition(" = ") for x in lines]
        right = [topic for topic, _, code in found if code == code_of(self.library, topic)]
        return {"facts": float(len(set(right))), "wrong": float(len(lines) - len(right))}

    def snapshot(self) -> bytes:
        """Key and answer."""
        return pack([self.key, self.answer])

    def restore(self, snapshot: bytes) -> None:
        """The inverse."""
        self.key, self.answer = unpack(snapshot)


# -- who researches ------------------------------------------------------------------------------------
WHOLE = "the whole task"
ALONE = "1"
"""The topic that an answer without any parts is about."""
_SPLIT = re.compile(r"^The task is: (?P<task>.*)\n(?:.*)Already taken: (?P<taken>.*)$", re.S)
_TOPIC = re.compile(r"[^:=]*[^:= ]")
_PART = re.compile(r"Answer this part of the task only: (?P<task>.*)$", re.S)


def parts_of(library: str, task: str, breadth: int, taken: Sequence[str], overlap: float, common: int) -> list[str]:
    """The parts of a task, at most breadth: the i-th is its own i-th sub-topic or, below the first level, with chance
    overlap one of the common topics, unless that is known to be taken.
    """
    parts = []
    for i in range(breadth):
        own = str(i + 1) if task == WHOLE else f"{task}.{i + 1}"
        other = f"common {pick(key('common', library, task), common, i) + 1}"
        shared = task != WHOLE and uniform(key("overlap", library, task), i) < overlap
        parts.append(other if shared and other not in taken else own)
    return parts


class Researcher(Agent):
    """Splitter, worker or writer, as it is asked. A topic can be found with chance skill, for all who look it up."""

    def __init__(self, name: str, settings: Settings) -> None:
        """settings: overlap, common and skill are read."""
        self.name, self.settings = name, settings

    def act(self, obs: Observation) -> Action | Fault:
        """Parts, what is known about one part, or the answer."""
        library = obs.view("data")["library"]
        if obs.spec.kind == "data":
            return self._split(obs, library)
        if asked := _PART.search(obs.brief):
            return Action(self._look_up(library, asked["task"]) or f"{asked['task']}: nothing found")
        posts = [m.body for m in obs.inbox if m.channel == "team" and m.body["act"] == "part"]
        lines = [p["value"] for p in posts if " = " in p["value"]]
        return Action("\n".join(dict.fromkeys(lines)) if posts else self._look_up(library, ALONE))

    def _split(self, obs: Observation, library: str) -> Action:
        asked = _SPLIT.search(obs.brief)
        if asked is None or obs.spec.schema is None:
            raise CrossplayError(f"{self.name}: a request to split in words that it does not know: {obs.brief[:80]!r}")
        s, taken = self.settings, asked["taken"].split("; ")
        return Action(parts_of(library, asked["task"], obs.spec.schema["maxItems"], taken, s.overlap, s.common))

    def _look_up(self, library: str, topic: str) -> str:
        found = uniform(key("found", library, topic)) < self.settings.skill
        return f"{topic} = {code_of(library, topic)}" if found else ""


class _Waiting(Researcher):
    """The same, but each answer takes a turn of the event loop; busy[0]: asks in flight, busy[1]: the most so far."""

    def __init__(self, name: str, settings: Settings, busy: list[int]) -> None:
        super().__init__(name, settings)
        self.busy = busy

    async def act(self, obs: Observation) -> Action | Fault:  # type: ignore[override]
        self.busy[0] += 1
        self.busy[1] = max(self.busy)
        await asyncio.sleep(0)
        self.busy[0] -= 1
        return super().act(obs)


# -- playing ---------------------------------------------------------------------------------------------
class Trees(msgspec.Struct):
    """n episodes. asks, splits, leaves: int[n], all asks and those to split and to answer a part. topics:
    int[n], distinct topics among the leaves. facts: float[n], the score. waves: int[n], rounds one after the other.
    libraries: the libraries' names.
    """

    asks: np.ndarray
    splits: np.ndarray
    leaves: np.ndarray
    topics: np.ndarray
    facts: np.ndarray
    waves: np.ndarray
    libraries: list[str]


def _team(settings: Settings, members: Sequence[Agent], changes: Mapping[str, Any]) -> Agent:
    s = settings
    tree = {"name": "tree", "depth": s.depth, "breadth": s.breadth, "decay": s.decay, "share": s.share, "most": 1000}
    return make_team(members, {**tree, **changes})


def research(settings: Settings, blocks: int, **changes: Any) -> Trees:
    """Play so many libraries. changes: of the protocol's settings, over those given; most is 1000 unless changed."""
    members = [Researcher(role, settings) for role in ("splitter", "worker", "writer")]
    team, env = _team(settings, members, changes), Library()
    rows: list[tuple[Any, ...]] = []
    libraries = []
    for block in range(blocks):
        outcome = loop(play(env, {"researcher": team}, Block(settings.root, block)))
        events = outcome.trace()
        posts = [unpack(e.note) for e in events if e.kind == "post"]
        leaves = [_TOPIC.match(p["value"])[0] for p in posts if p["act"] == "part"]  # type: ignore[index]
        splits = len(posts) - len(leaves) - 1
        waves = len({p["round"] for p in posts})
        rows.append((len(posts), splits, len(leaves), len(set(leaves)), outcome.score["facts"], waves))
        libraries.append(env.library)
    names = ("asks", "splits", "leaves", "topics", "facts", "waves")
    found = {name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}
    return Trees(**found, libraries=libraries)


def in_flight(settings: Settings, **changes: Any) -> tuple[int, int]:
    """(the most asks in flight at a time, waves) of one episode whose members have to be waited for."""
    busy = [0, 0]
    members = [_Waiting(role, settings, busy) for role in ("splitter", "worker", "writer")]
    outcome = asyncio.run(
        aio(play(Library(), {"researcher": _team(settings, members, changes)}, Block(settings.root, 0)))
    )
    return busy[1], len({unpack(e.note)["round"] for e in outcome.trace() if e.kind == "post"})
