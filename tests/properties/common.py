"""The registry of properties, and what they share."""

from __future__ import annotations

from crossplay.kernel import (
    Agent,
    Block,
    loop,
    play,
)
from more_worlds import Weather, case
from worlds import Walk

_BY_INVARIANT: dict[int, list] = {}
_ABOVE: dict[int, list] = {}
CASES = range(15)


def invariant(number):
    def keep(function):
        _BY_INVARIANT.setdefault(number, []).append(function)
        return function

    return keep


def of(number):
    return _BY_INVARIANT[number]


def above(number):
    """Register a property of invariant `number` that something above the kernel keeps."""

    def keep(function):
        _ABOVE.setdefault(number, []).append(function)
        return function

    return keep


def of_above(number):
    return _ABOVE[number]


def walk():
    return Walk(1).single()


def run(i, driver=loop, **more):
    make, lineup, at, conduct = case(i)
    return driver(play(make(), lineup, at, conduct, **more))


def acting(episode):
    return bool(episode._open) and episode._open[0].op == "act"


class Scripted(Agent):
    """Plays a list of answers."""

    def __init__(self, answers, name="scripted"):
        self.answers, self.name = answers, name

    def act(self, obs):
        return self.answers[obs.tick % len(self.answers)]


def weather(m=(0, 1, 2), n=(1, 0), at=Block(1, 1), env=Weather, **more):  # noqa: B008
    return loop(play(env(), {"m": Scripted(m, more.pop("name", "s")), "n": Scripted(n)}, at, **more))
