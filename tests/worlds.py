"""Small worlds and agents for the tests of the kernel: one for each shape a game can have."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from crossplay.kernel import Action, ActionSpec, Agent, BatchEnv, Env, Fault, Msg, draw, pack, pick, unpack

MOVES = ActionSpec("names", names=("stay", "left", "right", "up", "down"), noop=0)


class Walk(BatchEnv):
    """Seats walk on a ring of cells; standing on a coin that chance places pays. Simultaneous."""

    name, horizon, views = "test/walk", 20, ("data", "text", "array")
    action_spec = MOVES
    seats = ("a", "b", "c")
    metrics = {"coins": "coins taken by all seats"}

    def layout(self):
        return [("tick", "i4", ()), ("pos", "i4", (3,)), ("coin", "i4", ()), ("taken", "i4", ()), ("pay", "f8", (3,))]

    def start(self, rows):
        for i in range(3):
            self.f.pos[rows, i] = pick(self.keys[rows], 16, 0, i)
        self.f.coin[rows] = pick(self.keys[rows], 16, 0, 9)

    def step(self, actions):
        f = self.f
        f.tick += 1
        f.pos[:] = (f.pos + (actions == 2) - (actions == 1)) % 16
        hit = f.pos == f.coin[:, None]
        rewards = hit.astype(np.float64)
        f.pay += rewards
        f.taken += hit.any(axis=1)
        new = pick(self.keys, 16, f.tick, 9)
        f.coin[:] = np.where(hit.any(axis=1), new, f.coin)
        return rewards, np.where(f.tick >= self.horizon, 2, 0).astype(np.uint8)

    def ended(self, row):
        return 2 if self.f.tick[row] >= self.horizon else 0

    def legal(self):
        mask = np.ones((self.B, 3, 5), bool)
        mask[:, :, 3] = (self.f.pos % 2) == 0  # "up" is legal on even cells only
        return mask

    def data(self, row, seat):
        return {
            "tick": int(self.f.tick[row]),
            "me": int(self.f.pos[row, seat]),
            "pos": self.f.pos[row].tolist(),
            "coin": int(self.f.coin[row]),
        }

    def obs_array(self, seat, rows=None):
        rows = np.arange(self.B) if rows is None else rows
        f = self.f
        return np.concatenate(
            [f.tick[rows, None], f.pos[rows, seat][:, None], f.pos[rows], f.coin[rows, None]], axis=1
        ).astype(np.float32)

    def view_array(self, data):
        return np.array([data["tick"], data["me"], *data["pos"], data["coin"]], np.float32)

    def array_shape(self, seat):
        return (6,)

    def score(self, row):
        return {"coins": float(self.f.taken[row])}


class Nim(Env):
    """Take 1 to 3 of a heap; who takes the last one wins. Turn-based with a mask."""

    name, views, metrics = "test/nim", ("data", "text"), {"first": "1 when the first seat wins"}
    seats = ("first", "second")
    SPEC = ActionSpec("names", names=("take1", "take2", "take3"))

    def reset(self, key, task=None):
        self.heap, self.turn = 11 + pick(key, 10, 0, 0), 0

    def to_act(self):
        return (self.seats[self.turn % 2],)

    def ended(self):
        return "terminal" if self.heap == 0 else None

    def spec(self, seat):
        return self.SPEC

    def legal(self, seat):
        return [self.heap > k for k in range(3)]

    def data(self, seat):
        return {"heap": self.heap}

    def step(self, actions, mail):
        seat = self.seats[self.turn % 2]
        self.heap -= actions[seat] + 1
        self.turn += 1
        pay = (1.0 if self.heap == 0 else 0.0) * (1 if seat == "first" else -1)
        return (pay, -pay)

    def score(self):
        return {"first": float(self.heap == 0 and self.turn % 2 == 1)}

    def snapshot(self):
        return pack([self.heap, self.turn])

    def restore(self, b):
        self.heap, self.turn = unpack(b)


class Talk(Env):
    """Each seat holds a number; the best answer is the sum, which only mail can tell."""

    name, views, horizon, mailed = "test/talk", ("data", "text"), 4, True
    seats = ("x", "y", "z")
    SPEC = ActionSpec(
        "data",
        schema={"type": "object", "properties": {"guess": {"type": "number"}}, "required": ["guess"]},
        noop={"guess": 0},
    )

    def reset(self, key, task=None):
        self.numbers, self.tick, self.heard, self.err = [pick(key, 50, 0, i) for i in range(3)], 0, 0, 0.0

    def to_act(self):
        return self.seats

    def ended(self):
        return "horizon" if self.tick >= self.horizon else None

    def spec(self, seat):
        return self.SPEC

    def audience(self, seat):
        return tuple(s for s in self.seats if s != seat)

    def data(self, seat):
        return {"mine": self.numbers[self.seats.index(seat)], "tick": self.tick}

    def step(self, actions, mail):
        self.tick += 1
        self.heard += len(mail)
        goal = sum(self.numbers)
        pay = [-abs(goal - actions[s]["guess"]) for s in self.seats]
        self.err = -sum(pay)
        return pay

    def score(self):
        return {"error": self.err, "heard": float(self.heard)}

    def snapshot(self):
        return pack([self.numbers, self.tick, self.heard, self.err])

    def restore(self, b):
        self.numbers, self.tick, self.heard, self.err = unpack(b)


class Uniform(Agent):
    """Uniform over legal actions, from the seat's own stream."""

    name, kind = "uniform", "random"

    def act(self, obs):
        return obs.spec.draw(obs.key("uniform"), obs.tick, obs.legal)


class Counter(Agent):
    """Remembers how often it was asked (memo) and lets it decide."""

    name = "counter"

    def begin(self, obs):
        return 0

    def act(self, obs):
        n = obs.memo
        legal = [i for i in range(len(obs.spec.names)) if obs.legal is None or obs.legal[i]]
        return Action(legal[(n + obs.pick(2)) % len(legal)], memo=n + 1)


class Sum(Agent):
    """Tells its number and adds up what it hears."""

    name = "sum"

    def act(self, obs):
        seen = dict(obs.memo or {})
        seen[obs.seat] = obs.view("data")["mine"]
        for m in obs.inbox:
            seen[m.src] = m.body
        return Action(
            {"guess": sum(seen.values())}, messages=[Msg("*", seen[obs.seat])] if obs.tick == 0 else (), memo=seen
        )


class Troubled(Agent):
    """Wrong in every way there is, by turns: what conduct is for."""

    name = "troubled"

    def act(self, obs):
        match obs.pick(7, slot=5):
            case 0:
                raise RuntimeError("boom")
            case 1:
                return float("nan")
            case 2:
                return 99
            case 3:
                return None
            case 4:
                return Fault("timeout", "said so")
            case 5:
                return Action("nowhere", messages=[Msg("*", "words stand"), Msg("nobody", "lost")])
        return obs.spec.draw(obs.key("t"), obs.tick, obs.legal)


class Slow(Agent):
    """Async; finishes after a number of turns of the event loop that chance decides."""

    name, kind = "slow", "remote"

    async def act(self, obs):
        for _ in range(obs.pick(4, slot=8)):
            await asyncio.sleep(0)
        obs.child(1).note("model", {"said": obs.tick})
        return obs.spec.draw(obs.key("s"), obs.tick, obs.legal)


class Rows(Agent):
    """Columnar: acts on arrays, and its single answer is a row of the same function."""

    name, views, kind = "rows", ("array",), "policy"

    def act_array(self, obs, legal, keys, tick, memo):
        n = 5
        count = np.zeros((len(obs), 1), np.int64) if memo is None else memo
        want = (
            obs[:, 1].astype(np.int64) + obs[:, 5].astype(np.int64) + draw(keys, tick).astype(np.int64) + count[:, 0]
        ) % n
        if legal is not None:
            want = np.where(legal[np.arange(len(want)), want], want, 0)
        return want, count + 1

    def act_batch(self, group):
        obs = np.stack([o.view("array") for o in group])
        legal = None if group[0].legal is None else np.array([o.legal for o in group])
        keys = np.array([int.from_bytes(o.key()[:8], "little") for o in group], np.uint64)
        memo = np.array([[0] if o.memo is None else o.memo for o in group], np.int64)
        values, memos = self.act_array(obs, legal, keys, np.array([o.tick for o in group]), memo)
        return [Action(int(v), memo=m.tolist()) for v, m in zip(values, memos, strict=True)]


def state(outcome: Any) -> tuple:
    """What must be equal for all drivers: everything but wall time."""
    events = [e[:15] + e[16:] for e in outcome.events]
    return (
        outcome.status,
        outcome.score,
        outcome.totals,
        outcome.ticks,
        outcome.world,
        outcome.mind,
        outcome.counts,
        events,
    )
