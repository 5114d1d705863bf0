"""Helpers of the tests of teams: a small question with turns, scripted members, traces."""

from __future__ import annotations

import asyncio

from crossplay.kernel import Action, ActionSpec, Agent, Block, Env, Fault, loop, pack, pick, play, unpack
from crossplay.teams import make_team

NAMES = ("ape", "bee", "cat", "dog")


class Quiz(Env):
    """One of four names is right, drawn from the key at each turn; nobody is told. Heard by nobody."""

    name, seats, horizon = "test/quiz", ("p0",), 1
    rules, metrics = "Name the animal.", {"right": "share of right answers"}
    SPEC = ActionSpec("names", names=NAMES)

    def __init__(self, turns=1):
        self.horizon = turns
        self.options = {"turns": turns}

    def reset(self, key, task=None):
        self.key, self.tick, self.right = key, 0, 0
        self.truth = pick(key, 4, 0, 0)

    def to_act(self):
        return self.seats

    def ended(self):
        return "terminal" if self.tick >= self.horizon else None

    def spec(self, seat):
        return self.SPEC

    def data(self, seat):
        return {"turn": self.tick}

    def step(self, actions, mail):
        won = [float(actions[s] == self.truth) for s in self.seats]
        self.right += int(sum(won))
        self.tick += 1
        self.truth = pick(self.key, 4, self.tick, 0)
        return won

    def score(self):
        return {"right": self.right / self.horizon}

    def snapshot(self):
        return pack([self.key, self.tick, self.right, self.truth])

    def restore(self, b):
        self.key, self.tick, self.right, self.truth = unpack(b)


class Words(Quiz):
    """The same with free text as the answer, compared without case and blanks; "..." says nothing."""

    name, SPEC = "test/words", ActionSpec("text")

    def canonical(self, value):
        return None if value == "..." else value.strip().casefold()

    def step(self, actions, mail):
        self.tick += 1
        return [0.0]


class Member(Agent):
    """Answers by a function of the request; remembers how often it was asked; keeps what it was asked."""

    def __init__(self, name, answer, memo=False):
        self.name, self.answer, self.memo, self.asked = name, answer, memo, []

    def act(self, obs):
        self.asked.append(seen(obs))
        given = self.answer(obs) if callable(self.answer) else self.answer
        if self.memo:
            count = (obs.memo or 0) + 1
            given = given if isinstance(given, (Action, Fault)) else Action(given)
            if isinstance(given, Action):
                given.memo = count
        return given


class Late(Member):
    """The same, after a wait drawn from its path: answers of a wave arrive in another order than they were asked."""

    replays = True

    async def act(self, obs):
        await asyncio.sleep(pick(obs.key("late"), 5, obs.tick) / 2000)
        return Member.act(self, obs)


def seen(obs):
    """What a member is told: path, brief, form, wants, and of each post who said what."""
    posts = [(m.src, m.body["act"], m.body["value"], m.tick) for m in obs.inbox if m.channel == "team"]
    return {"path": obs.path, "brief": obs.brief, "kind": obs.spec.kind, "wants": obs.wants, "posts": posts}


def sides(obs, **by_kind):
    """An answer for asks in other forms than the seat's: text, a judgement, whatever the schema allows."""
    if obs.spec.kind == "text":
        return by_kind.get("text", f"words of {obs.path}")
    if obs.spec.kind == "data":
        return by_kind.get("data", obs.spec.draw(obs.key("side"), obs.tick))
    return by_kind.get("names", obs.pick(len(obs.spec.names)))


def any_form(own):
    """A member's answer: `own` in the seat's form, something that fits in any other."""

    def answer(obs):
        if obs.spec is not obs.seat_spec:
            return sides(obs)
        return own(obs) if callable(own) else own

    return answer


def members(*answers, kind=Member, **more):
    """One member a, b, c, ... per answer."""
    return [kind("abcdefghijklmnop"[i], a, **more) for i, a in enumerate(answers)]


def decide(team, at=Block(1, 1), env=None, **more):  # noqa: B008
    """The outcome of one quiz, the team alone in its seat."""
    return loop(play(env or Quiz(), {"p0": team}, at, **more))


def team_of(answers, protocol="vote", topology=None, **more):
    """A team of scripted members."""
    given = [a if isinstance(a, Agent) else Member("abcdefghijklmnop"[i], a) for i, a in enumerate(answers)]
    return make_team(given, protocol, topology, **more)


def posts(outcome, tick=None):
    """The posts of a trace, in the order of their ids."""
    rows = [unpack(e.note) for e in outcome.trace() if e.kind == "post" and tick in (None, e.tick)]
    return sorted(rows, key=lambda p: p["id"]) if tick is not None or outcome.ticks == 1 else rows


def vote(outcome, tick=0):
    """The record of the decision of a tick."""
    return next(unpack(e.note) for e in outcome.trace() if e.kind == "vote" and e.tick == tick)


def played(outcome, tick=0):
    """(name that was played, origin) at a tick."""
    row = next(e for e in outcome.trace() if e.kind == "act" and e.tick == tick)
    return NAMES[row.value], row.origin


def fault(outcome, tick=0):
    """Kind and detail of the fault of a tick."""
    note = next(unpack(e.note) for e in outcome.trace() if e.kind == "fault" and e.tick == tick)
    return f"{note['kind']}: {note['detail']}"
