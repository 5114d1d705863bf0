"""Engine overhead over a bare loop around the same environment, events and chains on."""

from __future__ import annotations

import asyncio

import numpy as np

from benchmarks.measure import Row, interleaved, row
from crossplay.kernel import ActionSpec, Agent, BatchEnv, Block, Env, aio, columns, loop, make_batch, play

TICKS = 1000


class Nothing(Env):
    """The cheapest environment there can be: what is left is the engine."""

    name, views = "bench/nothing", ("data",)
    SPEC = ActionSpec("names", names=("a", "b"), noop=0)

    def __init__(self, n: int, ticks: int) -> None:
        self.seats = tuple(f"s{i}" for i in range(n))
        self.horizon, self._rewards = ticks, (0.0,) * n

    def reset(self, key, task=None):
        self.t = 0

    def to_act(self):
        return self.seats

    def ended(self):
        return "horizon" if self.t >= self.horizon else None

    def spec(self, seat):
        return self.SPEC

    def data(self, seat):
        return {}

    def step(self, actions, mail):
        self.t += 1
        return self._rewards

    def score(self):
        return {"x": 0.0}

    def fingerprint(self):
        return self.t


class One(Agent):
    """Answers 1."""

    name = "one"

    def act(self, obs):
        return 1


class Later(Agent):
    """Answers 1, asynchronously, without waiting."""

    name = "later"

    async def act(self, obs):
        return 1


class Same(Agent):
    """Columnar: answers 0."""

    name = "same"

    def act_array(self, obs, legal, keys, tick, memo):
        return np.zeros(len(tick), np.int64), None


def _bare(n: int, ticks: int, agent: One) -> None:
    env = Nothing(n, ticks)
    env.reset(b"")
    while env.ended() is None:
        env.step({s: agent.act(None) for s in env.to_act()}, ())


def decisions() -> list[Row]:
    """CPU us per decision over the bare loop, for 1, 2 and 4 seats; asyncio reported."""
    rows = []
    one, later = One(), Later()
    for n in (1, 2, 4):
        seats = Nothing(n, 1).seats
        bare, engine = interleaved(
            lambda n=n: _bare(n, TICKS, one),
            lambda n=n, s=seats: loop(play(Nothing(n, TICKS), dict.fromkeys(s, one))),
            15,
        )
        rows.append(_per_decision(f"engine: per decision, {n} seat{'s' * (n > 1)}, def", bare, engine, n, "<= 5"))
    seats = Nothing(2, 1).seats
    bare, engine = interleaved(
        lambda: _bare(2, TICKS, one), lambda: asyncio.run(aio(play(Nothing(2, TICKS), dict.fromkeys(seats, later)))), 7
    )
    rows.append(_per_decision("engine: per decision, 2 seats, async def", bare, engine, 2, "reported"))
    return rows


def _per_decision(name: str, bare: list[float], engine: list[float], n: int, bar: str) -> Row:
    scale = 1e6 / (TICKS * n)
    over = [(e - b) * scale for b, e in zip(bare, engine, strict=True)]
    return row(
        name,
        (min(engine) - min(bare)) * scale,
        "us CPU",
        bar,
        over,
        min(bare) * scale,
        [b * scale for b in bare],
        "bare loop, us per decision",
    )


def episodes() -> Row:
    """CPU us of an episode of one decision over the bare loop, less the decision itself."""
    one = One()
    k = 300

    def bare() -> None:
        for _ in range(k):
            _bare(1, 1, one)

    def engine() -> None:
        for _ in range(k):
            loop(play(Nothing(1, 1), {"s0": one}))

    b, e = interleaved(bare, engine, 12)
    over = [(y - x) / k * 1e6 for x, y in zip(b, e, strict=True)]
    value = (min(e) - min(b)) / k * 1e6 - 5
    return row(
        "engine: per episode beside 5 us per decision",
        value,
        "us CPU",
        "<= 20",
        over,
        min(b) / k * 1e6,
        [x / k * 1e6 for x in b],
        "bare loop, us per episode",
    )


def recording() -> Row:
    """CPU us per env-step that records and chains add to the columnar path: kitchen, B = 512."""
    width, ticks = 512, 400
    same = Same()
    env = _batch("kitchen/cramped_room", width)
    ats = [Block(0, b) for b in range(width)]
    everything = np.arange(width)
    zeros = np.zeros((width, 2), np.int64)

    def bare() -> None:
        env.reset(everything, [bytes(16)] * width)
        for t in range(ticks):
            env.legal()
            obs = np.concatenate([env.obs_array(0, everything), env.obs_array(1, everything)])
            values, _ = same.act_array(obs, None, None, np.full(2 * width, t), None)
            assert len(values) == 2 * width
            env.step(zeros)

    def engine() -> None:
        for _ in columns(env, {"p0": same, "p1": same}, ats):
            pass

    b, e = interleaved(bare, engine, 7, warm=1)
    scale = 1e6 / (width * ticks)
    over = [(y - x) * scale for x, y in zip(b, e, strict=True)]
    return row(
        "engine: columnar, recording and chains",
        (min(e) - min(b)) * scale,
        "us CPU per env-step",
        "<= 0.4",
        over,
        min(b) * scale,
        [x * scale for x in b],
        "same views, actions and steps without the engine, us per env-step",
    )


def _batch(name: str, width: int, **options: object) -> BatchEnv:
    env = make_batch(name, width, options)
    assert env is not None
    return env


def rows() -> list[Row]:
    """All rows of the engine."""
    return [*decisions(), episodes(), recording()]
