"""Helpers of the tests of models: a handle to ask at, and a plain request."""

from crossplay.kernel import ActionSpec, Block, Env, Observation
from crossplay.kernel.obs import Scope
from crossplay.models import Message, Request


class Quiet(Env):
    name, seats, rules = "quiet", ("p0", "p1"), "Say something."
    views = ("data", "text")

    def spec(self, seat):
        return ActionSpec("text")

    def data(self, seat):
        return {"seat": seat}


def handle(tick=0, block=1, seat="p0", op="act", replicate=0):
    return Observation(Scope(Quiet(), "quiet@1", Block(0, block, replicate), seat), op, tick)


def request(text="hello", **settings):
    return Request(messages=(Message("system", "rules"), Message("user", text)), **settings)
