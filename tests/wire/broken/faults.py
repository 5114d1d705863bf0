"""Workers with one planted fault each. check: which check names it. also: what else may fail, where it cannot but.

Those whose fault is that something does not come are `Waited`: their checks are given little patience.
"""

from __future__ import annotations

import mmap
import os
import random
import select
import threading
import time

import numpy as np
from broken.little import Bad, Little, plain

from crossplay.kernel.seeds import pick
from crossplay.wire.frames import BadFrame
from crossplay.wire.messages import Acts, Error, Ok

FAULTS: dict[str, type[Little]] = {}


def planted(check, *also):
    def keep(cls):
        cls.check, cls.also = check, frozenset(also)
        FAULTS[cls.__name__] = cls
        return cls

    return keep


class Waited(Little):
    """Its fault is that something does not come."""


class Memo(Little):
    """The same without memory of its own: what it remembers travels."""

    state, saves, wants_feedback = "memo", False, False


# -- greeting and end ------------------------------------------------------------------------------------


@planted("hello")
class SaysNonsense(Little):
    def hello(self):
        hello = super().hello()
        hello.state = "sometimes"
        return hello


@planted("hello")
class TalksBeforeItIsWelcomed(Little):
    def run(self):
        self.send(self.hello())
        self.send(Acts(id=1, values=[0]))
        self.hello = lambda: Ok(id=2)
        super().run()


@planted("hello")
class SpeaksAnotherMajor(Little):
    version = [2, 0]


@planted("hello")
class NeverSaysHello(Waited):
    def run(self):
        time.sleep(60)


@planted("hello")
class WritesToStandardOutputAlone(Waited):
    def write(self, data):
        os.write(1, data)


@planted("other-major")
class IgnoresTheVersion(Waited):
    def agree(self, version):
        pass


@planted("other-major")
class EndsWithAnotherCode(Little):
    def agree(self, version):
        if version[0] != 1:
            os._exit(1)


@planted("older-minor")
class WantsItsOwnMinor(Little):
    def agree(self, version):
        if version != [1, 1]:
            os._exit(3)


@planted("bye")
class EndsByeWithAnError(Little):
    bye_code = 2


@planted("bye")
class StaysAfterBye(Waited):
    def on_bye(self, message):
        self.send(Ok(id=message.id))
        time.sleep(60)


@planted("kill", "pipes")
class NeverEndsAtEof(Waited):
    def gone(self):
        time.sleep(60)


@planted("vanish", "pipes")
class HangsInAFrameThatIsCutOff(Waited):
    def bodies(self):
        found = super().bodies()
        if not found and self.buffer:
            time.sleep(60)
        return found


# -- seats -----------------------------------------------------------------------------------------------


@planted("bind")
class RefusesAllSeats(Little):
    def on_bind(self, message):
        raise Bad("BAD_SPACE", "not these")


@planted("rebind")
class BindsOnce(Little):
    def on_bind(self, message):
        if self.seats and len(message.seats) > len(self.seats):
            raise Bad("BAD_STATE", "bound already")
        return super().on_bind(message)


@planted("bad-seats")
class DiesAtSeatsItCannotPlay(Little):
    def on_bind(self, message):
        try:
            return super().on_bind(message)
        except Bad:
            os._exit(1)


# -- frames ----------------------------------------------------------------------------------------------


@planted("frames", "bind")
class PrintsIntoTheSocket(Little):
    def on_bind(self, message):
        self.write(b"loading weights... 100%\n")
        return super().on_bind(message)


@planted("frames")
class SendsTooLargeAFrame(Little):
    def on_act(self, message):
        answer = super().on_act(message)
        if plain(message.tick)[0] == 50:
            self.write((1 << 30).to_bytes(4, "little"))
        return answer


@planted("frames", "act")
class AnswersWithWhatIsNoMessage(Little):
    def on_act(self, message):
        answer = super().on_act(message)
        self.write(self.codec.frame({"t": "acts", "id": answer.id, "values": answer.values, "faults": [1]}))


@planted("chatter")
class PrintsFrames(Little):
    def write(self, data):
        if self.requests:
            os.write(1, data)
        super().write(data)


@planted("partial-frames")
class WantsTheWholeLengthAtOnce(Little):
    def receive(self):
        data = super().receive()
        if data and len(self.buffer) + len(data) < 4:
            raise BadFrame("half a length")
        return data


@planted("ids")
class LosesTheSecondOfTwoFrames(Waited):
    def bodies(self):
        found = super().bodies()
        return found[:1] if self.seats else found


@planted("oversized")
class TakesFramesOfAnySize(Waited):
    def allow(self, need):
        pass


@planted("garbage")
class DropsWhatItCannotRead(Waited):
    def unreadable(self, error):
        if error.id:
            super().unreadable(error)


@planted("garbage")
class CrashesAtGarbage(Little):
    def bodies(self):
        try:
            return super().bodies()
        except BadFrame:
            os.abort()

    def unreadable(self, error):
        if not error.id:
            os.abort()
        super().unreadable(error)


@planted("json")
class ReadsNoJson(Little):
    def welcome(self, message):
        super().welcome(message)
        if message.codec == "json":
            self.look = lambda seen, obs: 1


# -- fields ----------------------------------------------------------------------------------------------


@planted("unknown-verb")
class SilentAtUnknownVerbs(Waited):
    def unreadable(self, error):
        if error.code != "UNSUPPORTED":
            super().unreadable(error)


@planted("unknown-verb")
class DiesAtUnknownVerbs(Little):
    def unreadable(self, error):
        if error.code == "UNSUPPORTED":
            os._exit(1)
        super().unreadable(error)


@planted("unknown-keys")
class RefusesUnknownKeys(Little):
    def one(self, body):
        if b"because" in body:
            return self.send(Error(id=self.codec.message(body).id, code="BAD_VALUE", message="a key too many"))
        return super().one(body)


@planted("unequal-columns")
class PlaysUnequalColumns(Little):
    def equal(self, message):
        for name in ("ep", "tick", "obs"):
            if not isinstance(getattr(message, name), (list, np.ndarray)):
                raise Bad("BAD_VALUE", name)
        rows = min(len(message.ep), len(message.tick), len(message.obs))
        return rows if isinstance(message.slot, int) else min(rows, len(message.slot))


@planted("wrong-types")
class DiesAtWrongTypes(Little):
    def unreadable(self, error):
        if error.code == "BAD_VALUE":
            os._exit(1)
        super().unreadable(error)


@planted("invalid-input")
class DiesAtInvalidObservations(Little):
    def look(self, seen, obs):
        try:
            return super().look(seen, obs)
        except (TypeError, ValueError):
            os._exit(1)


@planted("errors")
class SaysWhatIsWrongInItsOwnCodes(Little):
    def send(self, message):
        if isinstance(message, Error) and message.code == "BAD_VALUE":
            message.code = "E_WRONG"
        super().send(message)


SaysWhatIsWrongInItsOwnCodes.also = frozenset(("unequal-columns",))


@planted("errors")
class SaysNothingAboutErrors(Little):
    def send(self, message):
        if isinstance(message, Error):
            message.message = ""
        super().send(message)


@planted("extras")
class TripsOverMessages(Little):
    def on_act(self, message):
        return Error(id=message.id, code="INTERNAL", message="tripped") if message.inbox else super().on_act(message)


# -- answers ---------------------------------------------------------------------------------------------


@planted("ids")
class AnswersTwice(Little):
    def on_act(self, message):
        answer = super().on_act(message)
        self.send(answer)
        return answer


@planted("ids", "act")
class AnswersUnderAnotherId(Little):
    def on_act(self, message):
        answer = super().on_act(message)
        answer.id += 1000
        return answer


@planted("ids")
class AnswersTheLastRequest(Waited):
    """Without looking at ids: what is open at the end of the read gets the answers."""

    def bodies(self):
        found = super().bodies()
        self.last = 0
        for body in found:
            try:
                self.last = getattr(self.codec.message(body), "id", 0)
            except BadFrame:
                self.last = 0
        return found

    def send(self, message):
        if getattr(message, "id", 0) and self.last:
            message.id = self.last
        super().send(message)


@planted("cancel")
class AnswersACancel(Little):
    def on_cancel(self, message):
        return Error(id=message.id, code="CANCELLED", message="as asked")


@planted("feedback", "ids")
class AnswersFeedback(Little):
    def on_feedback(self, message):
        return Ok(id=987_654)


@planted("deadline")
class SleepsPastTheDeadline(Little):
    def on_act(self, message):
        if 100 <= message.deadline_ms < 10_000:
            time.sleep(message.deadline_ms / 1000 + 1.2)
        return super().on_act(message)


@planted("ping")
class DropsPingsInEpisodes(Waited):
    def on_ping(self, message):
        return None if self.episodes else super().on_ping(message)


# -- play ------------------------------------------------------------------------------------------------


@planted("act")
class Hangs(Waited):
    def on_act(self, message):
        time.sleep(60)


@planted("act")
class DiesInAct(Little):
    def on_act(self, message):
        os._exit(7)


@planted("act")
class AnswersWithAnotherVerb(Little):
    """As workers with a dialect of their own."""

    def on_act(self, message):
        return Ok(id=message.id, data=super().on_act(message).values)


@planted("act")
class ReportsUsageInWords(Little):
    def on_act(self, message):
        answer = super().on_act(message)
        answer.usage = {0: ["12 tokens"]}
        return answer


@planted("act")
class SpeaksOfRowsThatThereAreNot(Little):
    def on_act(self, message):
        answer = super().on_act(message)
        answer.why = {len(answer.values): "because"}
        return answer


@planted("batch")
class GivesARowTooFew(Little):
    def on_act(self, message):
        answer = super().on_act(message)
        if len(answer.values) > 1:
            answer.values.pop()
        return answer


@planted("batch")
class LetsRowsDependOnEachOther(Little):
    def on_act(self, message):
        answer = super().on_act(message)
        if len(answer.values) > 1:
            answer.values = [answer.values[-1], *answer.values[1:]]
        return answer


@planted("batch")
class KnowsNoSlotForAllRows(Little):
    def on_act(self, message):
        if isinstance(message.slot, int):
            raise Bad("BAD_VALUE", "slot")
        return super().on_act(message)


@planted("many-rows")
class TakesFewerRowsThanItSays(Little):
    def equal(self, message):
        rows = super().equal(message)
        if rows > 32:
            raise Bad("BAD_VALUE", "too many rows")
        return rows


@planted("values")
class AnswersOutsideTheSpace(Little):
    def choose(self, key, tick, seen, seat, legal):
        return len(seat.spec["names"]) if tick == 17 else super().choose(key, tick, seen, seat, legal)


@planted("same-seed")
class DrawsFromTheClock(Little):
    def choose(self, key, tick, seen, seat, legal):
        return random.SystemRandom().randrange(len(seat.spec["names"]))


@planted("same-seed")
class DrawsFromItsProcess(Little):
    def choose(self, key, tick, seen, seat, legal):
        return pick(key ^ os.getpid(), len(seat.spec["names"]), tick, 0)


@planted("same-key")
class DrawsFromTheNumberOfTheEpisode(Little):
    def begin(self, ep, slot, key):
        super().begin(ep, slot, key)
        self.episodes[ep][1] ^= ep


@planted("same-key")
class KeepsWhatWasSeenInTheLastEpisode(Little):
    seen = 0

    def begin(self, ep, slot, key):
        super().begin(ep, slot, key)
        self.episodes[ep][2] = self.seen

    def look(self, seen, obs):
        self.seen = super().look(seen, obs)
        return self.seen


@planted("interleaved")
class MixesUpEpisodes(Little):
    """One memory for all: fine as long as they are played one after the other."""

    seen = 0

    def begin(self, ep, slot, key):
        super().begin(ep, slot, key)
        self.seen = 0

    def look(self, seen, obs):
        self.seen = super().look(self.seen, obs)
        return self.seen


@planted("outside-episodes")
class PlaysOutsideEpisodes(Little):
    def episode(self, ep):
        return self.episodes.setdefault(ep, [0, 0, 0])


PlaysOutsideEpisodes.also = frozenset(("save-load",))


@planted("outside-episodes")
class PlaysOnAfterTheEnd(Little):
    def on_end(self, message):
        return Ok(id=message.id)


@planted("outside-episodes")
class PlaysBeforeItIsBound(Little):
    def seat(self, slot):
        from crossplay.wire.messages import Seat

        if not self.seats:
            return Seat(slot=slot, seat="?", agent="?", env="?", view="array", spec={"kind": "names", "names": ["a"]})
        return super().seat(slot)

    def episode(self, ep):
        return [0, 0, 0] if not self.seats else super().episode(ep)


@planted("save-load")
class SavesHalf(Little):
    def on_save(self, message):
        return Ok(id=message.id, data=self.episode(message.ep)[2] // 2)


@planted("save-load")
class LoadsOnlyWhatItSaved(Little):
    saved = False

    def on_save(self, message):
        self.saved = True
        return super().on_save(message)

    def on_load(self, message):
        if not self.saved:
            raise Bad("BAD_STATE", "not from here")
        return super().on_load(message)


@planted("same-key")
class RemembersBesideItsMemo(Memo):
    calls = 0

    def look(self, seen, obs):
        self.calls += 1
        return super().look(seen, obs) + (self.calls if seen else 0)


@planted("memo")
class PutsAHandleIntoItsMemo(Memo):
    """What it remembers stays here; the memo only says where."""

    kept: dict[int, int] = {0: 0}

    def look(self, seen, obs):
        self.kept[len(self.kept)] = super().look(self.kept.get(seen, 0), obs)
        return len(self.kept) - 1

    def choose(self, key, tick, seen, seat, legal):
        return super().choose(key, tick, self.kept[seen], seat, legal)


@planted("memo")
class GivesNoMemo(Memo):
    def on_act(self, message):
        answer = super().on_act(message)
        answer.memo = None
        return answer


# -- shared memory, memory, rest --------------------------------------------------------------------------


class Unchecked(Little):
    """Reads slots without a look at their generations."""

    def welcome(self, message):
        super().welcome(message)
        if self.codec.ring is not None:
            self.codec.ring.check = lambda read: None


@planted("stale-slots")
class ReadsStaleSlots(Unchecked):
    pass


@planted("shared-memory")
class ReadsAnotherPartOfTheSlot(Unchecked):
    def on_act(self, message):
        if self.codec.ring is not None:
            message.obs = np.roll(np.asarray(message.obs), 1, axis=-1)
        return super().on_act(message)


@planted("memory")
class Leaks(Little):
    kept: list = []

    def on_act(self, message):
        fresh = mmap.mmap(-1, 1 << 14)  # not what the allocator still holds
        fresh.write(bytes(1 << 13) + os.urandom(1 << 13))
        self.kept.append(fresh)
        return super().on_act(message)


@planted("at-rest")
class WaitsBusily(Little):
    def receive(self):
        while not select.select([self.reads], [], [], 0)[0]:
            pass
        return super().receive()


# -- pipes -------------------------------------------------------------------------------------------------


@planted("pipes")
class IgnoresThePipes(Waited):
    def go_over(self):
        pass


@planted("pipes")
class AnswersOverTheSocket(Little):
    def go_over(self):
        self.reads = self.piped[0]


@planted("pipes")
class EndsWithItsSocket(Little):
    """As where the thread that looks whether the engine is there goes on looking at the socket."""

    def go_over(self):
        before = self.reads
        self.reads, self.writes = self.piped
        threading.Thread(target=lambda: os.read(before, 1) or os._exit(0), daemon=True).start()


@planted("pipes")
class StaysWhenThePipesClose(Waited):
    def gone(self):
        time.sleep(60 if self.reads in self.piped else 0)
        super().gone()


@planted("pipes")
class LosesTheSecondPieceOfAFrame(Waited):
    def receive(self):
        data = super().receive()
        if self.reads in self.piped and self.buffer:
            return self.receive()
        return data


@planted("pipes")
class DrawsOtherwiseOverPipes(Little):
    def choose(self, key, tick, seen, seat, legal):
        return super().choose(key, tick + (self.reads in self.piped), seen, seat, legal)
