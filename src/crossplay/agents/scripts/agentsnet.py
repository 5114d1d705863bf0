"""`node:METHOD`: scripted players of `agentsnet`, which talk to their neighbours only.

`local` (the default) repeats one small step of a classic distributed algorithm per round; `gather`
sends every tie it learns onward and solves the task alone once it knows the network; `random` and
`constant` say nothing. Messages are words `key=value`, so that they stand noise and can be read.

Sources: Linial 1992, "Locality in distributed graph algorithms", SIAM J. Computing 21 (rounds and
what can be known in them); Luby 1986, "A simple parallel algorithm for the maximal independent set
problem", SIAM J. Computing 15 (random ranks).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crossplay.agents.context import options, plain, quick
from crossplay.kernel.agent import Agent
from crossplay.kernel.obs import Observation
from crossplay.kernel.registry import nearest
from crossplay.kernel.seeds import draw, key, pick, uniform
from crossplay.kernel.types import Action, CrossplayError, Msg

__all__ = ["METHODS", "Node", "node"]

Data = Mapping[str, Any]
State = dict[str, Any]
News = Mapping[str, Mapping[str, str]]  # neighbour -> what its last message says


class _Rule:
    """One task: what is remembered, how it changes with what is heard, what is said and answered."""

    def start(self, data: Data, obs: Observation) -> State:
        """What a node knows before the first message."""
        raise NotImplementedError

    def hear(self, state: State, data: Data, news: News) -> None:
        """Change state by the messages of one round."""
        raise NotImplementedError

    def say(self, state: State, data: Data) -> Mapping[str, Any]:
        """The message of a round: words, each with a value without spaces."""
        raise NotImplementedError

    def answer(self, state: State, data: Data) -> str:
        """The answer after the last round."""
        raise NotImplementedError


class _Flood(_Rule):
    """The first name in the alphabet, and the value its owner holds, spread by one step per round."""

    def start(self, data: Data, obs: Observation) -> State:
        """Own name; own input, or a value drawn by chance."""
        own = data["input"] if data["input"] is not None else str(pick(obs.key("value"), data["values"] or 2))
        return {"first": data["name"], "value": own}

    def hear(self, state: State, data: Data, news: News) -> None:
        """Take over what comes from an earlier name, if it is a value of this task."""
        known = {str(v) for v in range(data["values"] or 2)}
        for said in news.values():
            if said.get("first", state["first"]) < state["first"] and said.get("value") in known:
                state["first"], state["value"] = said["first"], said["value"]

    def say(self, state: State, data: Data) -> Mapping[str, Any]:
        """The first name so far and its value."""
        return state

    def answer(self, state: State, data: Data) -> str:
        """Whether it is one's own name; or the value."""
        if data["task"] == "consensus":
            return str(state["value"])
        return "Yes" if state["first"] == data["name"] else "No"


class _Ranked(_Rule):
    """Every node has a rank, known to its neighbours after one round; the lower rank gives way."""

    mark: str

    def start(self, data: Data, obs: Observation) -> State:
        """A rank drawn by chance; few neighbours first, which wins more nodes of an independent set."""
        rank = len(data["neighbours"]) * 100_000 + pick(obs.key("rank"), 100_000)
        return {"rank": rank, "seen": {}, self.mark: self.first(data, obs)}

    def first(self, data: Data, obs: Observation) -> Any:
        """The mark before anything was heard."""
        raise NotImplementedError

    def next(self, state: State, data: Data, above: Sequence[str], all_: Sequence[str]) -> Any:
        """The new mark, given the last marks of neighbours of better rank, and of all."""
        raise NotImplementedError

    def hear(self, state: State, data: Data, news: News) -> None:
        """Keep the last mark of each neighbour, and give way to better ranks."""
        for src, said in news.items():
            if said.get("rank", "").isdigit() and self.mark in said:
                state["seen"][src] = [int(said["rank"]), said[self.mark]]
        own = (state["rank"], data["name"])
        above = [mark for src, (rank, mark) in state["seen"].items() if (rank, src) < own]
        state[self.mark] = self.next(state, data, above, [mark for _, mark in state["seen"].values()])

    def say(self, state: State, data: Data) -> Mapping[str, Any]:
        """Rank and mark."""
        return {"rank": state["rank"], self.mark: state[self.mark]}


class _Colour(_Ranked):
    """A random colour; whoever shares it with a neighbour of better rank takes a free one."""

    mark = "group"

    def first(self, data: Data, obs: Observation) -> str:
        """A group by chance."""
        return str(1 + pick(obs.key("group"), data["groups"]))

    def next(self, state: State, data: Data, above: Sequence[str], all_: Sequence[str]) -> str:
        """The own group while nobody of better rank has it, else one that no neighbour has."""
        if state["group"] not in above:
            return state["group"]
        groups = [str(g + 1) for g in range(data["groups"])]
        turned = groups[state["rank"] % len(groups) :] + groups[: state["rank"] % len(groups)]
        return next((g for g in turned if g not in all_), next((g for g in turned if g not in above), state["group"]))

    def answer(self, state: State, data: Data) -> str:
        """The group."""
        return f"Group {state['group']}"


class _Cover(_Ranked):
    """Whoever has no neighbour of better rank outside the cover stays outside; the others are the cover.

    Those outside form a maximal independent set, so the cover is complete and every member is needed.
    """

    mark = "coordinator"

    def first(self, data: Data, obs: Observation) -> str:
        """Outside."""
        return "no"

    def next(self, state: State, data: Data, above: Sequence[str], all_: Sequence[str]) -> str:
        """Yes, beside a better one who is outside."""
        return "yes" if "no" in above else "no"

    def answer(self, state: State, data: Data) -> str:
        """Yes in the cover."""
        return "Yes" if state["coordinator"] == "yes" else "No"


class _Pair(_Rule):
    """Everybody points to the best free neighbour; two who point at each other are a pair.

    Ties are ordered by a draw from both names, the same at both ends: the best free tie of all is
    always chosen from both ends, so the greedy maximal matching of that order grows every round.
    """

    def start(self, data: Data, obs: Observation) -> State:
        """Everybody is free."""
        state: State = {"pair": "", "taken": []}
        return state | {"point": self._best(state, data)}

    def _best(self, state: State, data: Data) -> str:
        own = data["name"]
        free = [name for name in data["neighbours"] if name not in state["taken"]]
        return min(free, key=lambda name: draw(key("tie", *sorted((own, name)))), default="")

    def hear(self, state: State, data: Data, news: News) -> None:
        """Make a pair of mutual pointers; forget the neighbours who are in another pair."""
        own = data["name"]
        said = news.get(state["point"], {})
        if not state["pair"] and own in (said.get("point"), said.get("pair")):
            state["pair"] = state["point"]
        state["taken"] += [s for s, m in news.items() if m.get("pair", own) != own and s not in state["taken"]]
        if not state["pair"]:
            state["point"] = self._best(state, data)

    def say(self, state: State, data: Data) -> Mapping[str, Any]:
        """The partner, or at whom one points."""
        if state["pair"]:
            return {"pair": state["pair"]}
        return {"point": state["point"]} if state["point"] else {}

    def answer(self, state: State, data: Data) -> str:
        """The partner; else the best neighbour who may be free; else None."""
        return state["pair"] or state["point"] or "None"


class _Gather(_Rule):
    """Every tie and value that is new is sent on; the task is solved on the network that is known."""

    def start(self, data: Data, obs: Observation) -> State:
        """The own ties, and the own value."""
        own = data["name"]
        value = _Flood().start(data, obs)["value"]
        fresh = ["-".join(sorted((own, name))) for name in data["neighbours"]] + [f"{own}:{value}"]
        return {"known": list(fresh), "fresh": fresh}

    def hear(self, state: State, data: Data, news: News) -> None:
        """Keep what was not known."""
        known = set(state["known"])
        heard = {fact for said in news.values() for fact in said.get("facts", "").split(",") if fact}
        state["fresh"] = sorted(heard - known)
        state["known"] += state["fresh"]

    def say(self, state: State, data: Data) -> Mapping[str, Any]:
        """What was new in the last round."""
        return {"facts": ",".join(state["fresh"])} if state["fresh"] else {}

    def answer(self, state: State, data: Data) -> str:
        """The own part of the solution that everybody finds who knows the same network."""
        own, task = data["name"], data["task"]
        ties = sorted(tuple(fact.split("-")) for fact in state["known"] if fact.count("-") == 1)
        values = dict(fact.split(":") for fact in state["known"] if fact.count(":") == 1)
        people = sorted({*values, *(name for tie in ties for name in tie)})
        near: dict[str, set[str]] = {name: set() for name in people}
        for a, b in ties:
            near[a].add(b)
            near[b].add(a)
        if task in ("consensus", "leader_election"):
            first = min(values)
            return values[first] if task == "consensus" else "Yes" if first == own else "No"
        if task == "matching":
            return _greedy_pairs(ties).get(own, "None")
        if task == "vertex_cover":
            return "No" if own in _greedy_outside(people, near) else "Yes"
        return f"Group {1 + min(_greedy_groups(people, near)[own], data['groups'] - 1)}"


def _greedy_pairs(ties: Sequence[Sequence[str]]) -> dict[str, str]:
    """A maximal matching: ties in order, unless an end is taken."""
    pair: dict[str, str] = {}
    for a, b in ties:
        if a not in pair and b not in pair:
            pair[a], pair[b] = b, a
    return pair


def _greedy_outside(people: Sequence[str], near: Mapping[str, set[str]]) -> set[str]:
    """A maximal independent set: people in order, unless a neighbour is in it."""
    outside: set[str] = set()
    for name in people:
        if not near[name] & outside:
            outside.add(name)
    return outside


def _greedy_groups(people: Sequence[str], near: Mapping[str, set[str]]) -> dict[str, int]:
    """The lowest group that no earlier neighbour has; at most the largest degree."""
    group: dict[str, int] = {}
    for name in people:
        used = {group[other] for other in near[name] if other in group}
        group[name] = next(g for g in range(len(people)) if g not in used)
    return group


class _Silent(_Rule):
    """Says nothing."""

    def hear(self, state: State, data: Data, news: News) -> None:
        """Nothing changes."""

    def say(self, state: State, data: Data) -> Mapping[str, Any]:
        """Nothing."""
        return {}

    def answer(self, state: State, data: Data) -> str:
        """What was chosen at the start."""
        return str(state["answer"])


class _Random(_Silent):
    """An answer by chance: uniform, but Yes with chance 1/n in leader election (the floor of the scores)."""

    def start(self, data: Data, obs: Observation) -> State:
        """The draw."""
        stream, task = obs.key("answer"), data["task"]
        if task == "consensus":
            return {"answer": str(pick(stream, data["values"]))}
        if task == "coloring":
            return {"answer": f"Group {1 + pick(stream, data['groups'])}"}
        if task == "matching":
            known = [*data["neighbours"], "None"]
            return {"answer": known[pick(stream, len(known))]}
        chance = 0.5 if task == "vertex_cover" else 1.0 / data["n"]
        return {"answer": "Yes" if uniform(stream) < chance else "No"}


class _Constant(_Silent):
    """The same answer of everybody: 0, No, Group 1, the first neighbour, Yes in vertex cover."""

    def start(self, data: Data, obs: Observation) -> State:
        """By task."""
        fixed = {"consensus": "0", "leader_election": "No", "coloring": "Group 1", "vertex_cover": "Yes"}
        return {"answer": fixed.get(data["task"]) or data["neighbours"][0]}


_LOCAL: dict[str, _Rule] = {
    "consensus": _Flood(),
    "leader_election": _Flood(),
    "coloring": _Colour(),
    "matching": _Pair(),
    "vertex_cover": _Cover(),
}
METHODS = ("local", "gather", "random", "constant")


class Node(Agent):
    """A scripted player of one method; `noisy` is the chance that a message of its own is not sent."""

    def __init__(self, method: str = "local", noisy: float = 0.0, talk: bool = True) -> None:
        """method: of `METHODS`. talk: whether it sends messages at all."""
        self.method, self.noisy, self.talk = method, noisy, talk
        self.name = f"node:{method}" + (f"(noisy={noisy:g})" if noisy else "") + ("" if talk else "(silent)")

    def act(self, obs: Observation) -> Action:
        """Messages to neighbours while there are rounds, then the answer."""
        data = obs.view("data")
        rule = self._rule(data["task"])
        state = obs.memo if obs.memo is not None else rule.start(data, obs)
        if data["round"] > 0:
            rule.hear(state, data, {m.src: _read(m.body) for m in obs.inbox})
        if data["round"] == data["rounds"]:
            return Action(rule.answer(state, data))
        said = " ".join(f"{k}={v}" for k, v in rule.say(state, data).items())
        return Action("pass", self._messages(obs, data["neighbours"], said), memo=state)

    def _rule(self, task: str) -> _Rule:
        other = {"gather": _Gather, "random": _Random, "constant": _Constant}.get(self.method)
        return other() if other else _LOCAL[task]

    def _messages(self, obs: Observation, near: Sequence[str], said: str) -> list[Msg]:
        """One message for each neighbour, but for those that are dropped."""
        if not said or not self.talk:
            return []
        if not self.noisy:
            return [Msg(name, said) for name in near]
        stream = obs.key("noisy")
        sent = [Msg(name, said) for i, name in enumerate(near) if uniform(stream, obs.tick, i) >= self.noisy]
        obs.count("dropped", len(near) - len(sent))
        return sent

    def check(self, env: Any, seat: str) -> None:
        """Plays `agentsnet` only."""
        if not env.name.startswith("agentsnet/"):
            raise CrossplayError(f"node: plays agentsnet, not {env.id}")

    def manifest(self) -> dict[str, Any]:
        """Kind, name, method, noise and whether it talks."""
        return {"kind": self.kind, "name": self.name, "method": self.method, "noisy": self.noisy, "talk": self.talk}


def _read(body: Any) -> dict[str, str]:
    """The words `key=value` of a message; other words, and what is not text, say nothing."""
    words = body.split() if isinstance(body, str) else ()
    return {k: v for k, _, v in (word.partition("=") for word in words) if v}


@options(
    talk={"type": "boolean", "default": True, "description": "send messages; said aloud, studies add a lineup without"},
    noisy={
        "type": "number",
        "minimum": 0,
        "maximum": 1,
        "default": 0.0,
        "description": "chance that a message to a neighbour is not sent",
    },
)
@plain(METHODS)
@quick
def node(rest: str, options: Mapping[str, Any], context: Any = None) -> Agent:
    """A scripted player of `agentsnet`; rest: local (default), gather, random or constant."""
    method = rest or "local"
    if method not in METHODS:
        raise CrossplayError(f'node: unknown method "{method}".{nearest(method, METHODS)}')
    return Node(method, float(options.get("noisy", 0.0)), bool(options.get("talk", True)))
