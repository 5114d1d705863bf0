"""Scripted members of teams: `reflector`, which scores exchanges, and `debater`, which is talked round by chance.

Synthetic, both: they know nothing but the clues of `qa/synthetic`. A reflector that knew the right answer
would be dishonest, since nobody is shown it; this one reads clues of its own, so what it can tell right from
wrong is a setting of the environment (the quality of its channels), and it fails as any clue does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crossplay.agents.context import options, plain, quick
from crossplay.agents.scripts.qa import _answer, _channel, _posts, _source
from crossplay.kernel import Action, Agent, Fault, Observation, uniform

__all__ = ["Debater", "Reflector", "debater", "reflector"]


class Reflector(Agent):
    """Scores the answers that it is shown by a clue that no other member reads.

    score = round(10 * share of the shown answers that are the option its clue favours). With options of
    two, it calls a right answer right with chance r, the quality of its channel; of two exchanges, one
    that ended right and one that ended wrong, it ranks both rightly with chance r.

    channels: how many channels it has, from `channel` on. The k-th judgement of round t (t from 1) reads
    channel + ((t - 1) * asks + k) mod channels: with as many channels as judgements each is independent of
    the others, with one channel all of a question rest on the same clue.
    """

    def __init__(self, channel: int, channels: int, asks: int) -> None:
        """The options of the factory `reflector`."""
        self.channel, self.channels, self.asks = channel, channels, asks
        self.name = f"reflector({channel})"

    def act(self, obs: Observation) -> Action | Fault:
        """A judgement of the answers in the inbox; an answer of its own where it is asked for one."""
        data = obs.view("data")
        if obs.spec.kind != "data":
            return _answer(obs, _largest(data["clues"][self.channel]), 0.5, f"channel {self.channel}")
        round, _, k = obs.path[-3:]
        at = self.channel + ((max(round, 1) - 1) * self.asks + k) % self.channels
        clue = data["clues"][at]
        shown = [option for _, option, _ in _posts(obs, len(clue))]
        if not shown:
            return Fault("invalid", "it scores answers, and is shown none")
        agree = sum(option == _largest(clue) for option in shown)
        return Action({"score": int(0.5 + 10 * agree / len(shown)), "reason": f"by the clue of channel {at}"})

    def check(self, env: Any, seat: str) -> None:
        """Plays `qa/synthetic` with such channels."""
        _source(env, "reflector", self.channel + self.channels - 1)

    def manifest(self) -> dict[str, Any]:
        """Kind and all options."""
        return {
            "kind": self.kind,
            "name": self.name,
            "synthetic": True,
            "channels": self.channels,
            "asks": self.asks,
        }


class Debater(Agent):
    """Believes one clue, and in an exchange takes over another's answer by chance (a voter model).

    First answer: the option its channel favours. Shown others' answers, it draws one of them evenly, and with
    probability `openness` makes it its own. openness 0 is a member whom nobody talks round. Two debaters of
    one openness pull each other equally hard, right or wrong: in the mean over draws, an exchange leaves the
    number of right answers as it was.
    """

    def __init__(self, channel: int, openness: float) -> None:
        """The options of the factory `debater`."""
        self.channel, self.openness = channel, openness
        self.name = f"debater({channel})"

    def act(self, obs: Observation) -> Action | Fault:
        """Its own answer, or that of the one who talked it round; the answer goes into the memo."""
        clue = obs.view("data")["clues"][self.channel]
        at = _largest(clue) if obs.memo is None else obs.memo
        others = [option for id, option, _ in _posts(obs, len(clue)) if id not in _own(obs)]
        if others:
            stream, address = obs.key("talk"), obs.tick  # the path tells rounds apart
            if uniform(stream, address, 0) < self.openness:
                at = others[int(uniform(stream, address, 1) * len(others))]
        return _answer(obs, at, 0.5, f"channel {self.channel}", memo=at)

    def check(self, env: Any, seat: str) -> None:
        """Plays `qa/synthetic` with such a channel."""
        _source(env, "debater", self.channel)

    def manifest(self) -> dict[str, Any]:
        """Kind and all options."""
        return {"kind": self.kind, "name": self.name, "synthetic": True, "openness": self.openness}


def _largest(numbers: Sequence[float]) -> int:
    return max(range(len(numbers)), key=numbers.__getitem__)


def _own(obs: Observation) -> set[int]:
    """Ids of the posts that are its own."""
    return {m.body["id"] for m in obs.inbox if m.channel == "team" and m.body.get("own")}


_CHANNEL = {
    "type": "integer",
    "minimum": 0,
    "maximum": 63,
    "default": 0,
    "description": "The (first) channel it reads.",
}


@options(
    channel=_CHANNEL,
    channels={"type": "integer", "minimum": 1, "maximum": 64, "default": 1, "description": "How many channels it has."},
    asks={"type": "integer", "minimum": 1, "default": 1, "description": "Judgements in a round, where there are several channels."},
)  # fmt: skip
@plain("words")
@quick
def reflector(rest: str, options: Mapping[str, Any], context: Any) -> Agent:
    """A synthetic judge of exchanges, for qa/synthetic: `reflector`, or `reflector:5` for channel 5."""
    return Reflector(**{**options, "channel": _channel("reflector", rest, options["channel"])})


@options(
    channel=_CHANNEL,
    openness={"type": "number", "minimum": 0.0, "maximum": 1.0, "default": 0.5, "description": "Chance to take over an answer that it is shown."},
)  # fmt: skip
@plain("words")
@quick
def debater(rest: str, options: Mapping[str, Any], context: Any) -> Agent:
    """A synthetic member that others talk round by chance: `debater`, or `debater:3` for channel 3."""
    return Debater(**{**options, "channel": _channel("debater", rest, options["channel"])})
