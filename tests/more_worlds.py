"""More worlds, agents and whole random cases (world, lineup, conduct, block) for the properties."""

from __future__ import annotations

import asyncio

import numpy as np

import worlds
from crossplay.kernel import Action, ActionSpec, Agent, Block, Channel, Conduct, Env, Msg, Usage, key, pack, unpack
from crossplay.kernel import pick as kernel_pick
from worlds import Counter, Nim, Rows, Slow, Sum, Talk, Troubled, Uniform, Walk

pick = kernel_pick  # worlds draw through this name, so that a mutation can put another one in its place


class Weather(Env):
    """It rains or not, whatever the seats do; a gamble draws as often as its seat likes. Simultaneous."""

    name, horizon, seats, mailed = "test/weather", 12, ("m", "n"), True
    metrics, rules = {"wet": "ticks with rain", "won": "gambles won"}, "Stay, or gamble on a coin."
    SPEC = ActionSpec("names", names=("stay", "gamble", "double"), noop=0)

    def reset(self, key, task=None):
        self.key, self.tick, self.wet, self.won = key, 0, 0, 0
        self.rain = pick(self.key, 1000, 0, 0)

    def to_act(self):
        return self.seats

    def ended(self):
        return "horizon" if self.tick >= self.horizon else None

    def spec(self, seat):
        return self.SPEC

    def audience(self, seat):
        return tuple(s for s in self.seats if s != seat)

    def data(self, seat):
        return {"tick": self.tick, "rain": self.rain, "won": self.won}

    def step(self, actions, mail):
        pay = [0.0, 0.0]
        for i, seat in enumerate(self.seats):
            for throw in range(actions[seat]):  # the number of draws depends on what is done
                pay[i] += pick(self.key, 2, self.tick, 10 + 10 * i + throw)
        self.won += int(sum(pay))
        self.tick += 1
        self.rain = pick(self.key, 1000, self.tick, 0)
        self.wet += self.rain < 500
        return pay

    def score(self):
        return {"wet": float(self.wet), "won": float(self.won)}

    def snapshot(self):
        return pack([self.key, self.tick, self.wet, self.won, self.rain])

    def restore(self, b):
        self.key, self.tick, self.wet, self.won, self.rain = unpack(b)


class Sea(Env):
    """Two boats choose a course (a box) by turns; the reward is how far they get. Values are no names."""

    name, horizon, seats = "test/sea", 7, ("port", "star")
    metrics, rules = {"far": "distance sailed"}, "Sail."
    SPEC = ActionSpec("box", low=-1.0, high=1.0, shape=(2,), noop=(0.0, 0.0))

    def reset(self, key, task=None):
        self.tick, self.at = 0, [float(pick(key, 9, 0, i)) for i in range(4)]

    def to_act(self):
        return (self.seats[self.tick % 2],)

    def ended(self):
        return "horizon" if self.tick >= self.horizon else None

    def spec(self, seat):
        return self.SPEC

    def audience(self, seat):
        return tuple(s for s in self.seats if s != seat)

    def data(self, seat):
        return {"tick": self.tick, "at": np.array(self.at)}

    def step(self, actions, mail):
        i = self.tick % 2
        dx, dy = actions[self.seats[i]]
        self.at[2 * i] += float(dx)
        self.at[2 * i + 1] += float(dy)
        self.tick += 1
        pay = [0.0, 0.0]
        pay[i] = float(dx)
        return pay

    def score(self):
        return {"far": float(sum(self.at))}

    def snapshot(self):
        return pack([self.tick, self.at])

    def restore(self, b):
        self.tick, self.at = unpack(b)


class Chatty(Agent):
    """Does everything an answer can: words, notes of members, usage, confidence, a memo."""

    name = "chatty"

    def begin(self, obs):
        return {"heard": [], "asked": 0}

    def act(self, obs):
        memo = {"heard": [*obs.memo["heard"], *(m.body for m in obs.inbox)], "asked": obs.memo["asked"] + 1}
        for member in reversed(range(obs.pick(3, slot=2))):
            obs.child(member, 0).note("model", {"said": obs.pick(100, slot=3)}, Usage(calls=1, tok_in=5 + member))
        if obs.pick(3, slot=4) == 0:
            obs.count("repairs")
        words = [Msg("*", f"{obs.seat} {obs.tick} {memo['asked']}")] if obs.pick(2, slot=5) else []
        value = obs.spec.draw(obs.key("chatty", len(memo["heard"])), obs.tick, obs.legal)
        return Action(value, words, confidence=0.5, usage=Usage(tok_out=2), memo=memo)


class Team(Agent):
    """Async: members answer in an order that chance decides, and each notes what it said."""

    name, kind = "team", "team"

    async def act(self, obs):
        async def member(i):
            child = obs.child(i)
            for _ in range(child.pick(4, slot=1)):
                await asyncio.sleep(0)
            child.note("model", {"member": i, "says": child.pick(9)}, Usage(calls=1))
            return child.pick(9)

        votes = await asyncio.gather(*(member(i) for i in range(3)))
        return obs.spec.draw(obs.key("team", *votes), obs.tick, obs.legal)


ALL = {
    "walk": lambda: Walk(1).single(),
    "nim": Nim,
    "talk": Talk,
    "weather": Weather,
    "sea": Sea,
}
CONDUCTS = (
    Conduct(),
    Conduct(mail=Channel(delay=1)),
    Conduct(mail=Channel(mode="shuffle")),
    Conduct(mail=Channel(noise=0.4, delay=2)),
    Conduct(mail=Channel(capacity=5)),
    Conduct(mail=Channel(mode="off")),
    Conduct(invalid=("repeat", "random"), error=("repeat", "noop", "random")),
    Conduct(invalid=("fail",)),
)


def case(i):
    """(make, lineup, block, conduct) number i: worlds in turn, the rest drawn."""
    k = key("case", i)
    name = tuple(ALL)[i % len(ALL)]
    make = ALL[name]
    pool = [Uniform, Troubled, Slow, Chatty, Team, {"walk": Rows, "nim": Counter, "talk": Sum}.get(name, Chatty)]
    shared = Chatty()
    lineup = {}
    for j, seat in enumerate(make().seats):
        kind = pool[kernel_pick(k, len(pool), 0, j)]
        lineup[seat] = shared if kind is Chatty else kind()
    conduct = CONDUCTS[kernel_pick(k, len(CONDUCTS), 1)]
    return make, lineup, Block(kernel_pick(k, 5, 2), kernel_pick(k, 50, 3), kernel_pick(k, 3, 4)), conduct


__all__ = ["ALL", "CONDUCTS", "Chatty", "Sea", "Team", "Weather", "case", "worlds"]
