"""Action sequences for the conformance tests: random, and a scripted cook who errs now and then."""

from __future__ import annotations

from crossplay.agents.scripts.kitchen import Chef
from crossplay.envs.kitchen import family
from crossplay.kernel import Action, Agent, Block, Observation, loop, play

NOISE = (0, 5, 10, 20, 30, 40, 60, 80, 100)
"""Percent of random actions, one episode after the other."""


class Sloppy(Agent):
    """A chef with a share of random actions, so that useless moves and useful work both occur."""

    def __init__(self, percent: int) -> None:
        self.percent, self.chef, self.name = percent, Chef(), f"sloppy-{percent}"

    def act(self, obs: Observation) -> Action | int:
        planned = self.chef.act(obs)
        # Two in five slips are an interact: random walks alone hardly ever use anything.
        slip = (0, 1, 2, 3, 4, 5, 5, 5)[obs.pick(8, slot=11)]
        return Action(slip, memo=planned.memo) if obs.pick(100, slot=10) < self.percent else planned


def episodes(layout: str, count: int, length: int) -> list[list[list[int]]]:
    """`count` sequences of `length` joint actions, played under the interact rule from the standard start."""
    out = []
    for block in range(count):
        env = family.make(layout, {"cooking": "interact", "start": "standard", "horizon": length})
        agent = Sloppy(NOISE[block % len(NOISE)])
        outcome = loop(play(env, {"p0": agent, "p1": agent}, Block(0, block)))
        acts = [e[5] for e in outcome.events if e[3] == "act"]
        out.append([list(pair) for pair in zip(acts[::2], acts[1::2], strict=True)])
    return out
