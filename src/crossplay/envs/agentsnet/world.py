"""`Network`: rounds of messages between neighbours, then one answer of everybody, scored together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from crossplay.envs._options import option_schema, settle
from crossplay.envs.agentsnet import scores
from crossplay.envs.agentsnet.graphs import FAMILIES, diameter, draw_graph, neighbours, widest
from crossplay.envs.agentsnet.people import NAMES
from crossplay.kernel.env import Ended, Env
from crossplay.kernel.seeds import key, pick
from crossplay.kernel.types import ActionSpec, CrossplayError, Msg, pack, unpack

__all__ = ["PASS", "TASKS", "Network", "budget", "schema"]

PASS = "pass"
"""The action of a message round, in which only messages count; as an answer: no answer."""

TASKS: dict[str, tuple[str, str]] = {
    "consensus": (
        "All agree on one value.",
        "Everybody answers with a value. It counts only if all answers are the same value{valid}.",
    ),
    "leader_election": (
        "Together you elect a single leader.",
        "Everybody says whether they are the leader, Yes or No. It counts only if exactly one says Yes.",
    ),
    "coloring": (
        "You split into groups so that neighbours are never in the same group.",
        "Everybody names the group they are in. There is one group more than the most neighbours that anybody "
        "has. The share of pairs of neighbours in different groups counts.",
    ),
    "matching": (
        "You form pairs of neighbours.",
        "Everybody names the neighbour they form a pair with, or says None if all neighbours are in other pairs. "
        "Both of a pair must name each other, and two neighbours must not both say None. The share of people who "
        "are in order counts.",
    ),
    "vertex_cover": (
        "You choose coordinators so that of any two neighbours at least one is a coordinator.",
        "Everybody says whether they are a coordinator, Yes or No. What counts is the share of pairs of "
        "neighbours with a coordinator, times the share of coordinators who are needed: those with a neighbour "
        "who is none.",
    ),
}
"""Task -> (the aim, what is answered and what counts)."""

_SCORES = {
    "score": "score of the task, 0 to 1",
    "solved": "1 if the score is 1, else 0",
    "normalised": "(score - floor) / (1 - floor): 0 is chance, 1 is solved",
    "floor": "exact expected score of answers drawn without a word on this graph",
    "answered": "share of seats that gave an answer",
    "delivered": "messages that arrived, per seat",
    "rounds": "rounds of messages",
    "diameter": "longest of all shortest paths in the graph",
}


def schema(task: str) -> dict[str, Any]:
    """JSON schema of the options of a task."""
    properties: dict[str, dict[str, Any]] = {
        "n": {
            "type": "integer",
            "minimum": 4,
            "maximum": len(NAMES),
            "default": 8,
            "description": "Number of people, each a seat.",
        },
        "family": {
            "type": "string",
            "enum": list(FAMILIES),
            "default": "ws",
            "description": "Graphs: ws (Watts-Strogatz, 4 neighbours, p = 0.4), ba (Barabasi-Albert, m = 2) or delaunay.",
        },
        "rounds": {
            "type": "integer",
            "minimum": 1,
            "maximum": 1000,
            "default": None,
            "description": "Rounds of messages; not given: the published budget (see the page of the family).",
        },
        "abstain": {
            "type": "boolean",
            "default": False,
            "description": f'Whether "{PASS}" is allowed as an answer; conduct then serves it for a missing or unreadable one.',
        },
    }
    if task == "consensus":
        properties["private_inputs"] = {
            "type": "boolean",
            "default": False,
            "description": "Everybody holds a value of their own, and the agreed one must be somebody's.",
        }
        properties["values"] = {
            "type": "integer",
            "minimum": 3,
            "maximum": 100,
            "default": 16,
            "description": "With private inputs: how many values there are; two of them are held.",
        }
    return option_schema(properties)


def budget(task: str, n: int, across: int) -> int:
    """The published number of rounds: 4, 5, 6 for up to 4, 8, 16 people in coloring, matching and
    vertex cover; 2 * diameter + 1 in the other tasks and for more people. across: the diameter.
    """
    if n > 16 or task in ("consensus", "leader_election"):
        return 2 * across + 1
    return 4 if n <= 4 else 5 if n <= 8 else 6


class Network(Env):
    """n people in a graph drawn from the block. Ticks 0..rounds-1 carry messages, the next one is the answer.

    What is said travels by the engine's mail, to neighbours only, so every channel mode works. The
    action of a message round is `PASS`, the only legal one; at the answer the options are legal.
    """

    views = ("data", "text")
    mailed = True

    def __init__(self, task: str, options: Mapping[str, Any]) -> None:
        """task: of `TASKS`. Raises CrossplayError on wrong options."""
        self.name, self.task = f"agentsnet/{task}", task
        full, self.options = settle(self.name, schema(task), options)
        if "values" in options and not full["private_inputs"]:
            raise CrossplayError(f"{self.name}: option values = {options['values']}: it needs private_inputs = true")
        self.n, self.graph, self.given = full["n"], full["family"], full["rounds"]
        self.abstain, self.private = full["abstain"], bool(full.get("private_inputs"))
        self.values = full["values"] if self.private else 2
        self.seats = NAMES[: self.n]
        self.horizon = (self.given or budget(task, self.n, widest(self.n))) + 1
        self.action_spec = ActionSpec(kind="names", names=(PASS, *self._answers()), noop=0)
        self.metrics = _SCORES
        self.rules = self._rules()
        self._index = {s: i for i, s in enumerate(self.seats)}
        self.key = b""

    def _answers(self) -> tuple[str, ...]:
        """Every answer that somebody could give."""
        if self.task == "consensus":
            return tuple(str(v) for v in range(self.values))
        if self.task == "coloring":
            return tuple(f"Group {i + 1}" for i in range(self.n))
        return (*self.seats, "None") if self.task == "matching" else ("Yes", "No")

    def _rules(self) -> str:
        aim, answer = TASKS[self.task]
        valid = " that somebody was given at the start" if self.private else ""
        lines = [
            f"{self.n} people are tied in a network. Everybody has another name. {aim}",
            "You can talk with your neighbours only; they talk with theirs, and so on.",
            "Messages go out in rounds: all write at the same time, and read what was written in the next round.",
            f'While messages go out the only action is "{PASS}". After the last round all answer at the same time.',
            answer.format(valid=valid),
        ]
        if self.private:
            lines.append(f"At the start everybody is given a value of 0 to {self.values - 1}.")
        return "\n".join(lines)

    # -- the game ----------------------------------------------------------------------------------
    def reset(self, key: bytes, task: Any = None) -> None:
        """Draw the graph, and the inputs where there are any."""
        self.key = key
        self._draw(key)
        self.tick = 0
        self.answers: list[str | None] = [None] * self.n
        self.heard: list[list[list[list[Any]]]] = [[] for _ in self.seats]  # seat, round, [source, body]
        self.delivered = 0

    def _draw(self, k: bytes) -> None:
        """What follows from the key alone."""
        self.edges = draw_graph(k, self.graph, self.n)
        self.tied = neighbours(self.edges, self.n)
        self.across = diameter(self.tied)
        self.groups = 1 + max(map(len, self.tied))
        self.rounds = self.given or budget(self.task, self.n, self.across)
        self.inputs = self._inputs(k) if self.private else None
        self._floor: float | None = None

    def _inputs(self, k: bytes) -> list[str]:
        """Each seat holds one of two values drawn for the block."""
        stream = key(k, "inputs")
        first = pick(stream, self.values, 0)
        second = (first + 1 + pick(stream, self.values - 1, 1)) % self.values
        return [str((first, second)[pick(stream, 2, 2, i)]) for i in range(self.n)]

    def to_act(self) -> tuple[str, ...]:
        """Everybody, at every tick."""
        return self.seats

    def ended(self) -> Ended:
        """Once all have answered."""
        return "terminal" if self.tick > self.rounds else None

    def spec(self, seat: str) -> ActionSpec:
        """`PASS` and all answers that somebody could give."""
        return self.action_spec

    def legal(self, seat: str) -> list[bool]:
        """`PASS` alone while messages go out; then the seat's options."""
        names = self.action_spec.names
        if self.tick < self.rounds:
            return [True] + [False] * (len(names) - 1)
        if self.task == "coloring":
            return [self.abstain] + [i < self.groups for i in range(len(names) - 1)]
        if self.task == "matching":
            near = self.tied[self._index[seat]]
            return [self.abstain] + [i in near or i == self.n for i in range(len(names) - 1)]
        return [self.abstain] + [True] * (len(names) - 1)

    def audience(self, seat: str) -> tuple[str, ...]:
        """The neighbours; nobody once messages have ended."""
        if self.tick >= self.rounds:
            return ()
        return tuple(self.seats[j] for j in self.tied[self._index[seat]])

    def step(self, actions: Mapping[str, int], mail: Sequence[Msg]) -> Sequence[float]:
        """Messages arrive; at the last tick the answers are taken, and everybody earns the score."""
        last = self.tick == self.rounds
        for box in self.heard:
            box.append([])
        for m in mail:
            self.heard[self._index[m.dst]][-1].append([m.src, m.body])
        self.delivered += len(mail)
        if last:
            names = self.action_spec.names
            self.answers = [None if actions[s] == 0 else names[actions[s]] for s in self.seats]
        self.tick += 1
        return (self._score(),) * self.n if last else (0.0,) * self.n

    # -- scores ------------------------------------------------------------------------------------
    def _score(self) -> float:
        if self.task == "consensus":
            return scores.consensus(self.answers, self.inputs)
        if self.task == "leader_election":
            return scores.leader_election(self.answers)
        if self.task == "coloring":
            return scores.coloring(self.answers, self.edges)
        if self.task == "matching":
            return scores.matching(self.answers, self.tied, self.seats)
        return scores.vertex_cover(self.answers, self.edges, self.tied)

    def score(self) -> Mapping[str, float]:
        """The task's score, also against chance; what was answered and heard."""
        score = self._score()
        if self._floor is None:
            self._floor = scores.floor(self.task, self.tied, self.values, self.inputs)
        return {
            "score": score,
            "solved": float(score == 1.0),
            "normalised": (score - self._floor) / (1.0 - self._floor),
            "floor": self._floor,
            "answered": sum(a is not None for a in self.answers) / self.n,
            "delivered": self.delivered / self.n,
            "rounds": float(self.rounds),
            "diameter": float(self.across),
        }

    # -- what a seat may know ----------------------------------------------------------------------
    def data(self, seat: str) -> dict[str, Any]:
        """Own name, neighbours and input, the round, the options, and everything heard so far."""
        i = self._index[seat]
        return {
            "task": self.task,
            "name": seat,
            "n": self.n,
            "neighbours": [self.seats[j] for j in self.tied[i]],
            "groups": self.groups if self.task == "coloring" else None,
            "input": self.inputs[i] if self.inputs is not None else None,
            "values": self.values if self.task == "consensus" else None,
            "round": self.tick,
            "rounds": self.rounds,
            "heard": [[list(m) for m in box] for box in self.heard[i]],
        }

    def view_text(self, data: Mapping[str, Any]) -> str:
        """Who one is, what was heard round by round, and what is to be done now; it grows at its end."""
        near = data["neighbours"]
        lines = [f"You are {data['name']}. Your neighbours: {', '.join(near)}."]
        if data["groups"] is not None:
            lines.append(f"There are {data['groups']} groups: Group 1 to Group {data['groups']}.")
        if data["input"] is not None:
            lines.append(f"You were given the value {data['input']}.")
        rounds = data["rounds"]
        lines.append(f"Messages go out in {rounds} round{'s' if rounds > 1 else ''}.")
        for r, box in enumerate(data["heard"]):
            if r < rounds or box:
                lines.append(f"Written in round {r + 1}:" if r < rounds else "After the last round:")
            lines += [f"- {src}: {_shown(body)}" for src, body in box]
            wrote = {src for src, _ in box}
            silent = [name for name in near if name not in wrote] if r < rounds else []
            lines += [f"- nothing from {', '.join(silent)}"] if silent else []
        return "\n".join([*lines, _now(data["round"], rounds)])

    def omits(self, view: str) -> str:
        """What a view leaves out of data."""
        return "whether a message was text or other data" if view == "text" else ""

    def text(self) -> str:
        """The edges and the answers, for spectators."""
        ties = ", ".join(f"{self.seats[u]}-{self.seats[v]}" for u, v in self.edges)
        said = ", ".join(f"{s}: {a}" for s, a in zip(self.seats, self.answers, strict=True) if a is not None)
        return f"round {min(self.tick, self.rounds)} of {self.rounds}\n{ties}" + (f"\nanswers: {said}" if said else "")

    # -- engine ------------------------------------------------------------------------------------
    def snapshot(self) -> bytes:
        """Key, tick, answers and everything heard; the graph follows from the key."""
        return pack([self.key, self.tick, self.answers, self.heard, self.delivered])

    def restore(self, snapshot: bytes) -> None:
        """The inverse."""
        k, self.tick, self.answers, self.heard, self.delivered = unpack(snapshot)
        if k != self.key:
            self._draw(k)
        self.key = k


def _now(r: int, rounds: int) -> str:
    """What is to be done at a tick."""
    if r > rounds:
        return "Now: all have answered."
    if r == rounds:
        return "Now: no more messages. Give your answer."
    last = " It is the last one before the answer." if r == rounds - 1 else ""
    return f"Now: round {r + 1} of {rounds}. Write to your neighbours.{last}"


def _shown(body: Any) -> str:
    """A message body as text; further lines are indented, so that nobody can write a line of somebody else."""
    return body.replace("\n", "\n    ") if isinstance(body, str) else msgspec.json.encode(body).decode()
