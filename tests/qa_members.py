"""Helpers of the tests on `qa`: options with defaults, the kit on unwired names, a panel of members."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint
from typing import Any

from crossplay.agents.context import read_options
from crossplay.kernel import Action, Agent, Block, Msg, Observation, loop, play, registry


def made(factory: Any, rest: str = "", **options: Any) -> Agent:
    """An agent of a factory, its options checked and filled in."""
    return factory(rest, read_options(factory.options, options, factory.__name__), None)


def wired() -> None:
    """Registers the family where the installed package does not name it yet."""
    registry._group("envs").setdefault("qa", EntryPoint("qa", "crossplay.envs.qa:family", "crossplay.envs"))


class Panel(Agent):
    """Asks its members at once, for several rounds in which each hears all others; answers with the first's.

    What they answered is kept in `rounds`: [round][member] -> Action.
    """

    name = "panel"

    def __init__(self, members: Sequence[Agent], rounds: int = 1) -> None:
        self.members, self.n = members, rounds
        self.rounds: list[list[Action]] = []
        self.truth = -1

    def act(self, obs: Observation) -> Action:
        self.rounds = []
        memos: list[Any] = [None] * len(self.members)
        posts: list[Msg] = []
        for r in range(self.n):
            answers = []
            for i, member in enumerate(self.members):
                mail = [m for m in posts if m.src != str(i)]
                answer = member.act(obs.for_member((i, r), inbox=mail, memo=memos[i]))
                memos[i] = answer.memo
                answers.append(answer)
            posts = [Msg("*", _body(r * len(answers) + i, a), "team", str(i), r) for i, a in enumerate(answers)]
            self.rounds.append(answers)
        return self.rounds[-1][0]


def _body(number: int, answer: Action) -> Mapping[str, Any]:
    return {"id": number, "act": "answer", "text": "", "value": answer.value, "confidence": answer.confidence}


def asked(env: Any, agent: Agent, block: int, root: int = 0) -> Any:
    """The outcome of one question; env keeps the question."""
    return loop(play(env, {"solver": agent}, Block(root, block)))
