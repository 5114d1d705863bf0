"""Worlds that are wrong in one way each, and the check of the kit that must refuse them."""

from __future__ import annotations

import random

import numpy as np

from crossplay.kernel import ActionSpec
from more_worlds import Weather

BROKEN: list[tuple[str, str, object, object]] = []


def breaks(name, match):
    """An object world (a subclass of Fair) that one check must refuse, with a message that matches."""

    def keep(world):
        BROKEN.append((name, match, world, None))
        return world

    return keep


class Fair(Weather):
    """Weather with the array view and skills, as a world should be."""

    name, mailed = "test/fair", False
    views = ("data", "text", "array", "image")

    def legal(self, seat):
        return [True, True, self.tick % 2 == 0]

    def view_array(self, data):
        return np.array([data["tick"], data["rain"], data["won"]], np.float32)

    def array_shape(self, seat):
        return (3,)

    def view_image(self, data):
        return np.full((4, 4, 3), data["rain"] % 256, np.uint8)

    def omits(self, view):
        return "all but the rain" if view == "image" else ""

    class skills:
        names = ("wait", "bet")

        @staticmethod
        def describe(skill):
            return ("does nothing", "gambles until it wins")[skill]

        @staticmethod
        def legal(data):
            return [True, data["tick"] < 10]

        @staticmethod
        def step(data, skill, state):
            return skill, (state or 0) + 1, skill == 0

    def text(self):
        return f"rain {self.rain}"


@breaks("identity", "is not name@version")
class BareId(Fair):
    id = "test/fair"


@breaks("identity", "different names")
class TwinSeats(Fair):
    seats = ("m", "m")


@breaks("identity", "hold or noop")
class Pairing(Fair):
    idle = "sleep"


@breaks("determinism", "part after tick 0")
class Counts(Fair):
    played = 0

    def step(self, actions, mail):
        Counts.played += 1
        return [Counts.played * 1.0, 0.0]


@breaks("determinism", "part at the start in data")
class GlobalStart(Fair):
    def reset(self, key, task=None):
        super().reset(key)
        self.rain = random.randrange(1000)


@breaks("determinism", "global generator")
class GlobalDraw(Fair):
    def step(self, actions, mail):
        np.random.random()  # noqa: NPY002
        return super().step(actions, mail)


@breaks("resets", "after other episodes")
class Leaks(Fair):
    def reset(self, key, task=None):
        won = getattr(self, "won", 0)
        super().reset(key)
        self.won = won


@breaks("interleaving", "beside another instance")
class Shares(Fair):
    board: dict = {}

    def reset(self, key, task=None):
        super().reset(key)
        self.board.clear()

    def step(self, actions, mail):
        self.board[self.tick] = self.board.get(self.tick, 0) + 1
        self.won += self.board[self.tick]
        return super().step(actions, mail)


@breaks("streams", "one and the same")
class KeyIgnored(Fair):
    def reset(self, key, task=None):
        super().reset(b"0" * 16)


@breaks("snapshots", "another state after restore")
class ForgetsScore(Fair):
    def restore(self, b):
        super().restore(b)
        self.won = 0


@breaks("snapshots", "another state")
class ForgetsKey(Fair):
    def restore(self, b):
        key = getattr(self, "key", b"?" * 16)
        super().restore(b)
        self.key = key


@breaks("snapshots", "not bytes")
class LivingSnapshot(Fair):
    def snapshot(self):
        return [self.key, self.tick, self.wet, self.won, self.rain]

    def restore(self, b):
        self.key, self.tick, self.wet, self.won, self.rain = b

    def fingerprint(self):
        return self.tick


@breaks("snapshots", "parts after tick 0 in data")
class HiddenGenerator(Fair):
    def reset(self, key, task=None):
        super().reset(key)
        self.chance = np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))

    def step(self, actions, mail):
        if not hasattr(self, "chance"):
            self.chance = np.random.Generator(np.random.Philox(1))
        rewards = super().step(actions, mail)
        self.rain = int(self.chance.integers(1000))
        return rewards


@breaks("fingerprint", "not an integer")
class BytesPrint(Fair):
    def fingerprint(self):
        return self.snapshot()


@breaks("fingerprint", "same fingerprint")
class ShortPrint(Fair):
    def fingerprint(self):
        return self.tick // 2


@breaks("fingerprint", "looking at the world changed it")
class Shy(Fair):
    def data(self, seat):
        self.won += 1
        return super().data(seat)


@breaks("data", "not MessagePack data")
class ObjectData(Fair):
    def data(self, seat):
        return {**super().data(seat), "world": self}


@breaks("data", "asked twice")
class MovingData(Fair):
    asked = 0

    def data(self, seat):
        self.asked += 1
        return {**super().data(seat), "asked": self.asked}


@breaks("data", "give copies")
class LentData(Fair):
    def reset(self, key, task=None):
        super().reset(key)
        self.board = np.zeros(3)

    def restore(self, b):
        super().restore(b)
        self.board = np.zeros(3)

    def step(self, actions, mail):
        self.board += 1
        return super().step(actions, mail)

    def data(self, seat):
        return {**super().data(seat), "board": self.board}


@breaks("equal-views", "not a function of data")
class Peeks(Fair):
    def view_text(self, data):
        return super().view_text(data) + f" {getattr(self, 'wet', '')}"


@breaks("equal-views", "on a new instance")
class NeedsState(Fair):
    def view_array(self, data):
        return np.array([self.tick, data["rain"], data["won"]], np.float32)


@breaks("view-shapes", "array_shape says")
class WrongShape(Fair):
    def array_shape(self, seat):
        return (4,)


@breaks("view-shapes", "not a finite number")
class NanView(Fair):
    def view_array(self, data):
        return np.array([np.nan, 0, 0], np.float32)


@breaks("view-shapes", "it was")
class ChangingType(Fair):
    def view_array(self, data):
        return np.zeros(3, np.float32 if data["tick"] % 2 else np.float64)


@breaks("view-shapes", "not uint8")
class FloatImage(Fair):
    def view_image(self, data):
        return np.zeros((4, 4, 3))


@breaks("view-shapes", "not readable text")
class Mute(Fair):
    def view_text(self, data):
        return "  "


@breaks("view-shapes", "does not exist")
class AnyView(Fair):
    def view(self, seat, name):
        return super().view(seat, name if name in self.views else "data")


@breaks("view-shapes", "expected data and any of")
class OddViews(Fair):
    views = ("text", "smell")

    def view_smell(self, data):
        return "rain"


@breaks("omits", "the view looked the same when rain")
class Blind(Fair):
    def view_array(self, data):
        return np.array([data["tick"], 0, data["won"]], np.float32)


@breaks("omits", "complete information set")
class PartData(Fair):
    def omits(self, view):
        return "something"


@breaks("spaces", "different names")
class TwinNames(Fair):
    SPEC = ActionSpec("names", names=("stay", "stay", "go"))


@breaks("spaces", "noop")
class NoSuchNoop(Fair):
    SPEC = ActionSpec("names", names=("stay", "gamble", "double"), noop=3)


@breaks("spaces", "changed at tick")
class MovingSpec(Fair):
    def spec(self, seat):
        return ActionSpec("names", names=("stay", "gamble", "double"), noop=min(getattr(self, "tick", 0), 2))


@breaks("spaces", "does not fit json_schema|is refused")
class WrongSchema(Fair):
    class Spec(ActionSpec, frozen=True):
        def json_schema(self):
            return {"type": "integer"}

    SPEC = Spec("names", names=("stay", "gamble", "double"))


@breaks("illegal-actions", "is accepted")
class Lenient(Fair):
    class Spec(ActionSpec, frozen=True):
        def check(self, value, legal=None):
            return 0 if value is None else super().check(value, legal)

    SPEC = Spec("names", names=("stay", "gamble", "double"))


@breaks("illegal-actions", "the masked")
class MaskBlind(Fair):
    class Spec(ActionSpec, frozen=True):
        def check(self, value, legal=None):
            return super().check(value)

    SPEC = Spec("names", names=("stay", "gamble", "double"))


@breaks("illegal-actions", "no link of the conduct")
class Stuck(Fair):
    def legal(self, seat):
        return [False, False, False]

    SPEC = ActionSpec("names", names=("stay", "gamble", "double"), noop=0)


@breaks("masks", "no move is legal")
class Locked(Fair):
    def legal(self, seat):
        return [False] * 3


@breaks("masks", "2 flags for 3 names")
class ShortMask(Fair):
    def legal(self, seat):
        return [True, True]


@breaks("masks", "not True or False")
class NumberMask(Fair):
    def legal(self, seat):
        return [1, 1, 0]


@breaks("turns", "in seat order")
class Backwards(Fair):
    def to_act(self):
        return self.seats[::-1]


@breaks("turns", "some seats in seat order")
class Nobody(Fair):
    def to_act(self):
        return () if self.tick == 3 else self.seats


@breaks("turns", "`seat_ends` is False")
class LostSeat(Fair):
    def out(self, seat):
        return "terminal" if seat == "n" and self.tick > 3 else self.ended()


@breaks("turns", "came back")
class Returns(Fair):
    seat_ends = True

    def out(self, seat):
        return "terminal" if seat == "n" and self.tick == 3 else self.ended()

    def to_act(self):
        return ("m",) if self.tick == 3 else self.seats

    def step(self, actions, mail):
        return super().step({"n": 0, **actions}, mail)


@breaks("turns", "a seat is not out")
class Left(Fair):
    seat_ends = True

    def out(self, seat):
        return None


@breaks("rewards", "for 2 seats")
class OneReward(Fair):
    def step(self, actions, mail):
        return super().step(actions, mail)[:1]


@breaks("rewards", "nan")
class NanReward(Fair):
    def step(self, actions, mail):
        super().step(actions, mail)
        return [float("nan"), 0.0]


@breaks("scores", "is empty")
class NoScore(Fair):
    def score(self):
        return {}


@breaks("scores", "not described")
class SecretScore(Fair):
    def score(self):
        return {"luck": 1.0}


@breaks("scores", "not a finite number")
class InfiniteScore(Fair):
    def score(self):
        return {"wet": 1.0 / self.tick if self.tick else float("inf"), "won": 0.0}


@breaks("scores", "forfeit_score")
class NoForfeit(Fair):
    def forfeit_score(self, seat):
        return {}


@breaks("scores", "other entries")
class ChangingScore(Fair):
    def score(self):
        return {"wet": 0.0} if self.tick > 2 else {"wet": 0.0, "won": 0.0}


@breaks("ends", "still running after 12")
class Endless(Fair):
    def ended(self):
        return None


@breaks("ends", "cut at tick 9")
class EarlyCut(Fair):
    def ended(self):
        return "horizon" if self.tick >= 9 else None


@breaks("ends", "ended at the start")
class Stillborn(Fair):
    def ended(self):
        return "terminal"


@breaks("ends", "yet `horizon` is None")
class SecretHorizon(Fair):
    horizon = None

    def ended(self):
        return "horizon" if self.tick >= 12 else None


@breaks("mail", "a tuple of other seats")
class HearsItself(Fair):
    def audience(self, seat):
        return self.seats


@breaks("mail", "mail changes the world")
class ReadsMail(Fair):
    def step(self, actions, mail):
        self.won += len(mail)
        return super().step(actions, mail)


class _Skills(Fair.skills):
    pass


@breaks("skills", "one at least True")
class NoSkillNow(Fair):
    class skills(_Skills):
        legal = staticmethod(lambda data: [False, False])


@breaks("skills", "not a pure function")
class CountingSkill(Fair):
    class skills(_Skills):
        steps = 0

        @classmethod
        def step(cls, data, skill, state):
            cls.steps += 1
            return skill, cls.steps, False


@breaks("skills", "outside 0..2")
class WildSkill(Fair):
    class skills(_Skills):
        step = staticmethod(lambda data, skill, state: (7, None, True))


@breaks("skills", "different names and a description")
class DumbSkills(Fair):
    class skills(_Skills):
        describe = staticmethod(lambda skill: "")


@breaks("spectators", "`rules` is empty")
class Unruly(Fair):
    rules = ""


@breaks("spectators", r"picture\(\) is float64")
class GreyPicture(Fair):
    def picture(self):
        return np.zeros((3, 3))


@breaks("played", "env-fault: RuntimeError: tick 5")
class Collapses(Fair):
    def step(self, actions, mail):
        if self.tick == 5:
            raise RuntimeError("tick 5")
        return super().step(actions, mail)


@breaks("played", "gives another episode")
class OncePlayed(Fair):
    plays = 0

    def reset(self, key, task=None):
        super().reset(key)
        OncePlayed.plays += 1
        self.won = OncePlayed.plays
