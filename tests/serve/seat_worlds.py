"""A world with pictures and secrets, and how the tests of served seats play it."""

from __future__ import annotations

import asyncio
import contextlib

import numpy as np

from crossplay.agents.open_mailbox import Mailbox
from crossplay.agents.open_seat import OpenSeat
from crossplay.kernel import ActionSpec, Agent, Block, Env, aio, pack, play, unpack


class Secrets(Env):
    """Each seat holds a secret of its own; both act at once, hear each other, and see a picture."""

    name, seats, horizon, mailed = "test/secrets", ("a", "b"), 3, True
    views, rules, metrics = ("data", "text", "image"), "Name your number or keep quiet.", {"named": "how often"}
    SPEC = ActionSpec("names", names=("quiet", "name", "never"), noop=0)

    def reset(self, key, task=None):
        self.key, self.tick, self.named = key, 0, 0

    def ended(self):
        return "horizon" if self.tick >= self.horizon else None

    def to_act(self):
        return self.seats

    def spec(self, seat):
        return self.SPEC

    def legal(self, seat):
        return (True, True, False)

    def audience(self, seat):
        return tuple(s for s in self.seats if s != seat)

    def data(self, seat):
        return {"secret": f"secret-of-{seat}", "tick": self.tick, "numbers": np.arange(3)}

    def view_image(self, data):
        return np.full((4, 5, 3), data["tick"], np.uint8)

    def step(self, actions, mail):
        self.tick += 1
        self.named += sum(actions.values())
        return [float(actions[s]) for s in self.seats]

    def score(self):
        return {"named": float(self.named)}

    def snapshot(self):
        return pack([self.key, self.tick, self.named])

    def restore(self, b):
        self.key, self.tick, self.named = unpack(b)


class Listener(Agent):
    """Keeps what it hears."""

    name = "listener"

    def __init__(self):
        self.heard = []

    def act(self, obs):
        self.heard += [m.body for m in obs.inbox]
        return 0


def open_seat(**options):
    """An open seat that knows the world."""
    views = options.pop("views", ("text", "data"))
    seat = OpenSeat("guest", Mailbox(**options), views=views)
    seat.check(Secrets(), "a")
    return seat


@contextlib.asynccontextmanager
async def playing(*seats, other=None, block=1):
    """One episode beside what the test does; closes the mailboxes when it has ended. Yields the task."""

    async def study():
        env = Secrets()
        filled = [*seats, *([other or Listener()] * (2 - len(seats)))]
        outcome = await aio(play(env, dict(zip(env.seats, filled, strict=True)), Block(7, block)))
        for seat in seats:
            seat.mailbox.finish()
        return outcome

    task = asyncio.create_task(study())
    try:
        yield task
    finally:
        for seat in seats:
            seat.mailbox.leave("the test is over")
        await asyncio.wait([task])
