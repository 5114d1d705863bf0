"""The experiment: errands that need crafts, agents with cards of what they can do, an organiser without any craft.

All of it is synthetic. An errand needs one craft; in the harder kind, whoever has that craft needs two other ones and
knows which, and nobody else does. Agents are scripted: they search by the words that they were given, invite the best
that was found, hand on the work, and put together what comes back. The trial's studies stand at the end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

import msgspec
import numpy as np

from crossplay import Action, ActionSpec, Agent, Block, CrossplayError, Env, Fault, Msg, Observation, loop, play
from crossplay.gallery.entry import Level
from crossplay.kernel import draw, key, pack, pick, uniform, unpack
from crossplay.teams import make_team

__all__ = ["LEVELS", "Errand", "Person", "Runs", "Settings", "answer_of", "cards", "control", "needs", "run", "study"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Twelve crafts; cards that keep silent about their agent's craft in three of ten cases."""

    crafts: int = 12  # kinds of work; as many agents have each of them as `holders` says
    holders: int = 1
    mute: float = 0.3  # chance that a card does not name the craft
    decline: float = 0.4  # chance that an invitation is declined, where declining is what is measured
    by: Literal["words", "random"] = "words"  # how the registry is searched
    depth: int = 1  # how deep groups may be nested
    attempts: int = 4  # to form a group: a search, then invitations
    k: int = 3  # results of a search
    blocks: int = 120  # errands of a cell; a share of .7 is then known to +- .14 (two-sided .001)
    searches: int = 1000  # registries of the recall alone
    root: int = 1


# -- the task ------------------------------------------------------------------------------------------
def craft(i: int) -> str:
    """The word for a craft."""
    return f"craft{i}"


def piece(errand: str, i: int) -> str:
    """What the holder of a craft contributes to an errand: four hexadecimal digits."""
    return f"{draw(key('piece', errand), i) & 0xFFFF:04x}"


def needs(errand: str, crafts: int, hard: bool) -> tuple[int, ...]:
    """The craft of an errand, and where it is hard, two others that only a holder of the first knows to be needed."""
    first = pick(key("needs", errand), crafts, 0)
    if not hard:
        return (first,)
    others = [i for i in range(crafts) if i != first]
    second = others.pop(pick(key("needs", errand), len(others), 1))
    return first, second, others[pick(key("needs", errand), len(others), 2)]


def answer_of(errand: str, crafts: int, hard: bool) -> str:
    """All pieces in order."""
    return "".join(piece(errand, i) for i in needs(errand, crafts, hard))


class Errand(Env):
    """One seat answers with the pieces of an errand. What is shown names the first craft that it needs."""

    name = "gallery/errand"
    version = 1
    seats = ("organiser",)
    horizon = 1
    views = ("data", "text")
    rules = "Find out the code of the errand and answer with it."
    metrics = {"solved": "whether the answer is the code of the errand"}

    def __init__(self, crafts: int, hard: bool) -> None:
        """hard: two more crafts are needed than the one that is named."""
        self.crafts, self.hard = crafts, hard
        self.options = {"crafts": crafts, "hard": hard}

    def reset(self, key: bytes, task: Any = None) -> None:
        """The errand of that key."""
        self.key: bytes = key
        self.said: str | None = None

    def to_act(self) -> tuple[str, ...]:
        """The organiser."""
        return self.seats

    def ended(self) -> Literal["terminal"] | None:
        """After the answer."""
        return None if self.said is None else "terminal"

    def spec(self, seat: str) -> ActionSpec:
        """A text."""
        return ActionSpec("text", max_len=200)

    def data(self, seat: str) -> dict[str, Any]:
        """The errand and the craft that it is known to need."""
        errand = self.key.hex()
        return {
            "errand": errand,
            "craft": craft(needs(errand, self.crafts, self.hard)[0]),
            "done": self.said is not None,
        }

    def step(self, actions: Mapping[str, Any], mail: Sequence[Msg]) -> Sequence[float]:
        """Compare with the code."""
        self.said = str(actions[self.seats[0]])
        return [self.score()["solved"]]

    def score(self) -> Mapping[str, float]:
        """1 where the code is right."""
        return {"solved": float(self.said == answer_of(self.key.hex(), self.crafts, self.hard))}

    def snapshot(self) -> bytes:
        """Key and answer."""
        return pack([self.key, self.said])

    def restore(self, snapshot: bytes) -> None:
        """The inverse."""
        self.key, self.said = unpack(snapshot)


# -- the agents ----------------------------------------------------------------------------------------
_GOAL = re.compile(r"for (the task|[\w ]+?)(?:\.|, led by)")
_LISTED = re.compile(r"^- (\w+):", re.M)
_TO = re.compile(r"\((\w+)\):")
_TEAM = re.compile(r"^You are in a team \(([^)]*)\)")
_WORK = re.compile(r"(?:given this work|member of a team|what was asked for): ([\w ]+)")


def _goal(brief: str) -> str:
    found = _GOAL.search(brief)
    if found is None:
        raise CrossplayError(f"a request in words that the agent does not know: {brief[:80]!r}")
    return found[1]


class Person(Agent):
    """Leads or works, as it is asked. craft: what it can do, -1: nothing."""

    def __init__(self, name: str, craft: int, settings: Settings, hard: bool, decline: float) -> None:
        """decline: chance that it declines an invitation, drawn per errand."""
        self.name, self.craft, self.settings, self.hard, self.decline = name, craft, settings, hard, decline

    def act(self, obs: Observation) -> Action | Fault:
        """One answer, by the form that is asked for."""
        if obs.spec.kind == "names":
            return Action(self._choice(obs))
        if obs.spec.kind == "data":
            properties = (obs.spec.schema or {})["properties"]
            return Action(self._invite(obs) if "query" in properties else self._speak(obs))
        if obs.spec is obs.seat_spec:
            return Action(self._gathered(obs).get(obs.view("data")["craft"], "unknown"))
        return Action(self._report(obs))

    def _own(self, obs: Observation) -> bool:
        return self.craft == needs(obs.view("data")["errand"], self.settings.crafts, self.hard)[0]

    def _choice(self, obs: Observation) -> str:
        """Accept or decline; alone or with a team."""
        if "accept" in obs.spec.names:
            chance = uniform(key("decline", obs.view("data")["errand"], self.name))
            return "decline" if chance < self.decline else "accept"
        return "team" if self.hard and self._own(obs) else "alone"

    def _wanted(self, obs: Observation, goal: str) -> str:
        """The crafts to look for: the one that the errand names; the other two, where a holder of the first leads."""
        data = obs.view("data")
        if goal == "the task":
            return str(data["craft"])
        return " ".join(craft(i) for i in needs(data["errand"], self.settings.crafts, self.hard)[1:])

    def _invite(self, obs: Observation) -> dict[str, Any]:
        goal = _goal(obs.brief)
        wanted = self._wanted(obs, goal)
        form = (obs.spec.schema or {})["properties"]
        if "Your search found" not in obs.brief and "search" in form["do"]["enum"]:
            return {"do": "search", "query": wanted, "names": []}
        free = form["names"]["items"]["enum"]
        found = [n for n in _LISTED.findall(obs.brief) if n in free] or free
        return {"do": "team_up", "query": "", "names": found[: len(wanted.split())]}

    def _speak(self, obs: Observation) -> dict[str, Any]:
        """Give the work to everybody in turn, wait for all, conclude."""
        team = _TEAM.search(obs.brief)
        allowed = (obs.spec.schema or {})["properties"]["do"]["enum"]
        given = [_TO.findall(m.body["text"])[0] for m in obs.inbox if m.body["act"] == "speak" and m.body["own"]]
        free = [] if team is None else [n for n in team[1].split(", ")[1:] if n not in given]
        if free and "assign_async" in allowed:
            return {"do": "assign_async", "to": free[0], "text": self._wanted(obs, _goal(obs.brief))}
        return {"do": allowed[-1], "to": "" if team is None else team[1].split(", ")[0], "text": ""}

    def _gathered(self, obs: Observation) -> dict[str, str]:
        """Craft -> what was reported of it."""
        said = [m.body["value"] for m in obs.inbox if m.body["act"] in ("work", "conclusion")]
        return dict(part.split("=") for text in said for part in text.split() if "=" in part)

    def _report(self, obs: Observation) -> str:
        """Work: the piece of its craft where that is asked for. A conclusion: the pieces, put together."""
        asked = _WORK.search(obs.brief)
        if asked is None:
            raise CrossplayError(f"{self.name}: asked in words that it does not know: {obs.brief[:80]!r}")
        errand = obs.view("data")["errand"]
        own = craft(self.craft)
        wanted = [obs.view("data")["craft"]] if asked[1] == "the task" else asked[1].split()
        if own not in wanted:
            return "not my craft"
        pieces = [piece(errand, self.craft)]
        if "Sum up" in obs.brief:
            found = self._gathered(obs)
            pieces += [found.get(craft(i), "????") for i in needs(errand, self.settings.crafts, self.hard)[1:]]
        return f"{own}={''.join(pieces)}"


# -- playing -------------------------------------------------------------------------------------------
def cards(settings: Settings, block: int, mute: float) -> dict[str, str]:
    """Name -> what its card says: the craft, or with chance mute nothing of it."""
    s, found = settings, {}
    for i in range(s.crafts * s.holders):
        hidden = uniform(key("card", s.root, block), i) < mute
        found[f"p{i}"] = "An agent." if hidden else f"An agent with {craft(i % s.crafts)}."
    return found


class Runs(msgspec.Struct):
    """n errands. solved: float[n]; asks, waves: int[n]; votes: the records of the groups; errands: their ids."""

    solved: np.ndarray
    asks: np.ndarray
    waves: np.ndarray
    votes: list[dict[str, Any]]
    errands: list[str]


def run(
    settings: Settings, blocks: int, *, hard: bool = False, mute: float = 0.0, decline: float = 0.0, **changes: Any
) -> Runs:
    """The team runs so many errands, each with cards of its own. changes: of the protocol's settings."""
    s = settings
    table = {"name": "forming", "by": s.by, "k": s.k, "depth": s.depth, "attempts": s.attempts, "turns": 8, "most": 200}
    packed = msgspec.msgpack.encode({**table, **changes})
    return _run(Settings(crafts=s.crafts, holders=s.holders, root=s.root), blocks, hard, mute, decline, packed)


@lru_cache(maxsize=128)
def _run(s: Settings, blocks: int, hard: bool, mute: float, decline: float, protocol: bytes) -> Runs:
    env, table = Errand(s.crafts, hard), msgspec.msgpack.decode(protocol)
    rows: list[tuple[float, int, int]] = []
    votes, errands = [], []
    for block in range(blocks):
        about = cards(s, block, mute)
        people = [Person(n, i % s.crafts, s, hard, decline) for i, n in enumerate(about)]
        team = make_team([Person("lead", -1, s, hard, 0.0), *people], {**table, "about": about})
        outcome = loop(play(env, {"organiser": team}, Block(s.root, block)))
        events = outcome.trace()
        posts = [unpack(e.note) for e in events if e.kind == "post"]
        votes.append(next(unpack(e.note) for e in events if e.kind == "vote"))
        rows.append((outcome.score["solved"], len(posts), len({p["round"] for p in posts})))
        errands.append(env.key.hex())
    solved, asks, waves = (np.array(column) for column in zip(*rows, strict=True))
    return Runs(solved, asks, waves, votes, errands)


# -- the trial -----------------------------------------------------------------------------------------
LEVELS = (
    Level("big-sums", "word problems with numbers of three digits", {"level": 3}),
    Level("sums", "word problems with numbers of two digits", {"level": 2}),
    Level("small-sums", "word problems with numbers of one digit", {"level": 1}),
)
ABOUT = {
    "mathematician": "Solves word problems: how many are there in all, how many are left, with whole numbers.",
    "poet": "Writes poems, songs and stories in any style.",
    "translator": "Translates letters and documents into other languages.",
}
TURNED = dict(zip(ABOUT, [*list(ABOUT.values())[1:], next(iter(ABOUT.values()))], strict=True))
"""The same descriptions, each of somebody else."""


def _base(models: Sequence[str], level: Level, n: int) -> dict[str, Any]:
    return {
        "study": {
            "name": f"internet-of-agents-{level.name}", "blocks": n, "root": 43, "metric": "accuracy", "margin": 0.1,
            "concurrency": 1,
        },
        "environments": {"task": {"name": "qa/arithmetic", "options": dict(level.options)}},
        "agents": {"one": {"type": f"llm:{models[0]}", "temperature": 0.0}},
    }  # fmt: skip


def control(models: Sequence[str], level: Level, n: int) -> dict[str, Any]:
    """One plain answer of the organiser's model, a random answer, and the scholar."""
    plan = _base(models, level, n)
    plan["lineups"] = {"one": ["one"]}
    return plan


def study(models: Sequence[str], level: Level, n: int) -> dict[str, Any]:
    """The first model organises; the second one is the mathematician among a poet and a translator of the first model.
    team: one invitation, by their cards; turned: the same with each other's cards; asked on: those cards, and three invitations;
    the organiser and the specialist alone.
    """
    plan = _base(models, level, n)
    asked = {"temperature": 0.0, "max_tokens": 80}
    agents = plan["agents"]
    agents["organiser"] = {"type": f"llm:{models[0]}", **asked}
    agents["mathematician"] = {"type": f"llm:{models[-1]}", **asked, "instructions": "You are good at sums. Be brief."}
    agents["poet"] = {"type": f"llm:{models[0]}", **asked, "instructions": "You are a poet. Be brief."}
    agents["translator"] = {"type": f"llm:{models[0]}", **asked, "instructions": "You are a translator. Be brief."}
    agents["specialist"] = {"type": f"llm:{models[-1]}", "temperature": 0.0}
    members = ["organiser", *ABOUT]
    for name, about, attempts in (("team", ABOUT, 1), ("turned", TURNED, 1), ("asked on", TURNED, 3)):
        table = {"name": "forming", "lead": "engine", "depth": 0, "attempts": attempts, "about": about}
        agents[name] = {"type": "team", "members": members, "protocol": table}
    plan["study"]["baseline"] = "team"
    plan["lineups"] = {name: [name] for name in ("team", "turned", "asked on", "one", "specialist")}
    plan["controls"] = {"equal_cost": False}
    return plan
