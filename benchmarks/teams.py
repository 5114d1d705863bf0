"""The team layer: CPU per message of a debate, beside a bare loop on the same stub transport, in process.

5 members, 3 rounds (the first answers and two of exchange), plurality; 15 messages a question. Scripted
members answer at once; the others are llm agents on a double that answers at once, at concurrency 64.
The bare loops make the same calls and count the same votes, without posts, notes, visibility and records.
"""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.measure import Row, interleaved, row

MEMBERS, ROUNDS, QUESTIONS, AT_ONCE, REPEATS = 5, 3, 200, 64, 10
MESSAGES = QUESTIONS * MEMBERS * ROUNDS
BAR = "<= 50"


def _world() -> Any:
    from crossplay.kernel import ActionSpec, Env

    class Quiet(Env):
        name, seats, rules = "quiet", ("p0",), "Which one is it? " * 20
        _spec = ActionSpec("names", names=("ape", "bee", "cat", "dog"))

        def spec(self, seat: str) -> ActionSpec:
            return self._spec

        def data(self, seat: str) -> dict[str, int]:
            return {"question": 1}

    return Quiet()


def _handles(env: Any) -> Iterator[Any]:
    """A fresh request per question."""
    from crossplay.kernel import Block, Observation
    from crossplay.kernel.obs import Scope

    for q in range(QUESTIONS):
        yield Observation(Scope(env, "quiet@1", Block(0, q), "p0"), "act", 0)


def _scripted() -> tuple[Callable[[], object], Callable[[], object]]:
    """(a debate of scripted members, the same calls in a bare loop)."""
    from crossplay.kernel import Action, Agent
    from crossplay.teams import make_team

    class Says(Agent):
        def __init__(self, i: int) -> None:
            self.name, self.said = f"m{i}", Action(i % 2, confidence=0.8, rationale="I looked and so I say.")

        def act(self, obs: Any) -> Any:
            return self.said

    env, members = _world(), [Says(i) for i in range(MEMBERS)]
    team = make_team(members, {"name": "debate", "rounds": ROUNDS - 1})

    def debates() -> None:
        for obs in _handles(env):
            assert team.act(obs).value == 0

    def bare() -> None:
        for obs in _handles(env):
            votes = [m.act(obs).value for _ in range(ROUNDS) for m in members][-MEMBERS:]
            assert Counter(votes).most_common(1)[0][0] == 0

    return debates, bare


def _recorder() -> Any:
    """An llm member that keeps what it is asked, and what it asks."""
    from crossplay.agents.llm import Llm

    class Recorder(Llm):
        handles: list[Any]
        requests: list[tuple[tuple[int, ...], Any]]

        async def act(self, obs: Any) -> Any:
            self.handles.append(obs)
            return await super().act(obs)

        def _request(self, obs: Any, *rest: Any) -> Any:
            request = super()._request(obs, *rest)
            self.requests.append((obs.path, request))
            return request

    return Recorder


def _models() -> tuple[Callable[[], object], Callable[[], object], Callable[[], object]]:
    """(a debate of llm members, the same members asked in a bare loop, the same requests through the door alone)."""
    from crossplay.agents.llm import Llm, Settings
    from crossplay.models import Door, ScriptedBackend
    from crossplay.teams import make_team

    env, recorder = _world(), _recorder()
    asked: list[list[tuple[tuple[int, ...], Any]]] = []

    def backend() -> Any:
        return ScriptedBackend("m", answer=lambda r: '{"reason": "so it is", "action": "B"}', concurrency=1024)

    def members(door: Any) -> list[Any]:
        return [Llm(door.model("m"), Settings(temperature=1.0), f"m{i}") for i in range(MEMBERS)]

    async def at_once(play: Callable[[Any, int], Any]) -> None:
        source = iter(enumerate(_handles(env)))

        async def worker() -> None:
            for q, obs in source:
                await play(obs, q)

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))

    def debates() -> None:
        team: Any = make_team(members(Door({"m": backend()})), {"name": "debate", "rounds": ROUNDS - 1})
        asyncio.run(at_once(lambda obs, q: team.act(obs)))

    def agents() -> None:
        """The members themselves, in the order and with the requests of the debate: all but the team layer."""
        mine = members(Door({"m": backend()}))

        async def play(obs: Any, q: int) -> None:
            for r in range(ROUNDS):
                handles = []
                for path, brief, wants, inbox in seen[q][r]:
                    handle = obs.child(*path)
                    handle.brief, handle.wants, handle.inbox = brief, wants, inbox
                    handles.append(handle)
                await asyncio.gather(*(m.act(h) for m, h in zip(mine, handles, strict=True)))

        asyncio.run(at_once(play))

    def door() -> None:
        model = Door({"m": backend()}).model("m")

        async def play(obs: Any, q: int) -> None:
            for r in range(ROUNDS):
                some = asked[q][r * MEMBERS : (r + 1) * MEMBERS]
                await asyncio.gather(*(model.generate([request], at=obs.child(*path)) for path, request in some))

        asyncio.run(at_once(play))

    seen = []
    for obs in _handles(env):
        handles: list[Any] = []
        asked.append([])
        mine = [recorder(m.model, m.settings, m.name) for m in members(Door({"m": backend()}))]
        for m in mine:
            m.handles, m.requests = handles, asked[-1]
        asyncio.run(make_team(mine, {"name": "debate", "rounds": ROUNDS - 1}).act(obs))
        rounds = [handles[r * MEMBERS : (r + 1) * MEMBERS] for r in range(ROUNDS)]
        seen.append([[(h.path, h.brief, h.wants, h.inbox) for h in some] for some in rounds])
    gc.freeze()  # what was recorded is no garbage of what is measured
    return debates, agents, door


def _over(name: str, bar: str, whole: Callable[[], object], bare: Callable[[], object], what: str) -> Row:
    """CPU us per message above the bare loop: the least of each of the interleaved rounds, because what runs beside
    them only adds; samples: every round against its own.
    """
    first, second = interleaved(whole, bare, REPEATS)
    over = [(a - b) / MESSAGES * 1e6 for a, b in zip(first, second, strict=True)]
    beside = [b / MESSAGES * 1e6 for b in second]
    return row(
        name, (min(first) - min(second)) / MESSAGES * 1e6, "us CPU per message", bar, over, min(beside), beside, what
    )


def rows() -> list[Row]:
    """The team layer over a bare loop: scripted members, llm members; and all of an llm team over the door."""
    debates, bare = _scripted()
    team, agents, door = _models()
    return [
        _over("team layer CPU per message over a bare loop, scripted members", BAR, debates, bare, "bare loop, us"),
        _over("team layer CPU per message over a bare loop, llm members", BAR, team, agents, "members alone, us"),
        _over("llm team CPU per message over the door alone", "reported", team, door, "door alone, us"),
    ]
