"""Invariants 3, 5 and 6, as far as the run folder, the cassette, the runner and the door keep them."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing, contextmanager

import msgspec
import pytest

from crossplay.agents.scripts import matrix
from crossplay.kernel import ActionSpec, Block, Env, Event, Observation, Usage
from crossplay.kernel.obs import Scope
from crossplay.models import Door, Message, Reply, Request
from crossplay.models.types import Capabilities
from crossplay.records import EpisodeRecord, RunFolder, check_seals
from crossplay.records.cassette import Cassette, Damaged, verify_cassette
from crossplay.records.manifest import ALL, row_seal
from crossplay.records.parts import file_digest
from crossplay.study.verify import verify
from properties.common import above
from properties.played import Vanishes, VanishesWaiting, copied, digests, finished, folder, plain, play, tables


@contextmanager
def _manifest(path):
    with closing(sqlite3.connect(path / "manifest.sqlite", isolation_level=None)) as db:
        yield db


def _first(path):
    """The id of the first episode of a run."""
    with RunFolder.open(path) as run:
        return run.records()[0].id


def _named(path):
    """The episodes that a check of the seals names."""
    return {e for damage in check_seals(path) for e in damage.episodes}


# -- 3: verify ----------------------------------------------------------------------------------------------


@above(3)
def a_changed_byte_that_no_row_needs_is_found():
    """The digest of a part covers all its bytes, also those that reading does not look at."""
    assert check_seals(finished()) == []
    with copied(finished()) as path:
        part = path / "trace" / "part-00000.parquet"
        data = part.read_bytes()
        at = data.rindex(b"Polars")  # who wrote the file; of equal length, and of no consequence
        part.write_bytes(data[:at] + b"Solari" + data[at + 6 :])
        found = [(d.file, len(d.episodes)) for d in check_seals(path)]
        assert found == [("trace/part-00000.parquet", 42)]


@above(3)
def rows_that_are_not_those_written_are_found():
    """A part that was written anew, its digest with it, still has to hold the rows that were sealed."""
    import polars as pl

    with copied(finished()) as path:
        part, victim = path / "trace" / "part-00000.parquet", _first(path)
        wrong = (pl.col("episode") == victim) & (pl.col("tick") == 1) & (pl.col("kind") == "act")
        frame = pl.read_parquet(part)
        frame = frame.with_columns(value=pl.when(wrong).then(1 - pl.col("value")).otherwise(pl.col("value")))
        frame.write_parquet(part)
        with _manifest(path) as db:
            db.execute("UPDATE parts SET sha256 = ?, bytes = ?", (file_digest(part), part.stat().st_size))
        assert _named(path) == {victim}


@above(3)
def a_changed_score_is_found_and_its_episode_named():
    with copied(finished()) as path:
        victim = _first(path)
        with _manifest(path) as db:
            db.execute("UPDATE episodes SET score = replace(score, '\"rounds\":6', '\"rounds\":7') WHERE seq = 1")
        assert _named(path) == {victim}


@above(3)
def an_episode_that_was_taken_out_is_missed():
    with copied(finished()) as path:
        with _manifest(path) as db:
            db.execute("DELETE FROM episodes WHERE seq = 42")
        assert any("41 episodes where 42 were written" in d.what for d in check_seals(path))


@above(3)
def an_episode_with_a_seal_of_its_own_is_found():
    """A row that was changed and sealed again fits itself, but not the run."""
    with copied(finished()) as path:
        with _manifest(path) as db:
            db.execute("UPDATE episodes SET status = 'terminal' WHERE seq = 1")
            values = db.execute(f"SELECT {ALL} FROM episodes WHERE seq = 1").fetchone()
            db.execute("UPDATE episodes SET row_seal = ? WHERE seq = 1", (row_seal(values),))
        assert any("together" in d.what for d in check_seals(path))


@above(3)
def a_changed_call_is_found_and_named():
    """Damage to a call is found by the row's own seal: on use as well, when the seal file says nothing."""
    with folder() as path:
        _ask(path, 3)
        file = path / "cassette.sqlite"
        with closing(sqlite3.connect(file, isolation_level=None)) as db:
            (key,) = db.execute("SELECT key FROM calls ORDER BY key LIMIT 1").fetchone()
            db.execute("UPDATE calls SET tok_in = tok_in + 1 WHERE key = ?", (key,))
        damage = verify_cassette(file)
        assert damage.calls == [key.hex()] and damage.rows == 2 and damage.file
        with Cassette(file, "strict") as cassette, pytest.raises(Damaged, match=key.hex()):
            cassette.get(key)


@above(3)
def a_call_that_was_taken_out_is_missed():
    with folder() as path:
        _ask(path, 3)
        with closing(sqlite3.connect(path / "cassette.sqlite", isolation_level=None)) as db:
            db.execute("DELETE FROM calls WHERE block = ?", (msgspec.msgpack.encode(2),))
        assert verify_cassette(path / "cassette.sqlite").episodes == [(0, "quiet@1", 2, 0)]


@above(3)
def a_changed_byte_of_the_log_is_found_and_named():
    """What a killed run leaves is checked as well: each record of the log carries checksums."""
    with folder() as path, folder() as image:
        flying = Counting(seen=lambda keys: shutil.copytree(path, image, dirs_exist_ok=True))
        asked(flying, [_handle(0)], Cassette(path))
        assert not verify_cassette(image / "cassette.sqlite")
        log = image / "cassette.log"
        log.write_bytes(log.read_bytes().replace(b"counting", b"counted.", 1))
        damage = verify_cassette(image / "cassette.sqlite")
        assert damage.file and damage.episodes == [(0, "quiet@1", 0, 0)]
        with pytest.raises(Damaged):
            Cassette(image)


@contextmanager
def _told(change):
    """A run in which what is stored of block 1 of one lineup differs from what was played, and is sealed."""
    original = EpisodeRecord.of

    def of(*arguments, **more):
        kept = original(*arguments, **more)
        return change(kept) if (kept.lineup, kept.block) == ("random+tft", 1) else kept

    with folder() as path, pytest.MonkeyPatch.context() as patch:
        patch.setattr(EpisodeRecord, "of", staticmethod(of))
        play(tables({"random+tft": ["random", "tft"]}, blocks=3), path)
        patch.undo()
        yield path


def _changes(**fields):
    return lambda record: msgspec.structs.replace(record, **{k: f(getattr(record, k)) for k, f in fields.items()})


def _finds(path, level="actions"):
    found = verify(path, level)
    return [f.what.partition(":")[0] for f in found.findings]


@above(3)
def actions_tell_another_reward():
    """The totals that were stored are not those that the recorded moves earn."""
    assert verify(plain(), "agents").ok
    with _told(_changes(totals=lambda t: [t[0], t[1] + 1.0])) as path:
        assert _finds(path, "seals") == [] and _finds(path) == ["block 1"]


@above(3)
def actions_tell_another_score():
    with _told(_changes(score=lambda s: {**s, "payoff": s["payoff"] + 1})) as path:
        assert _finds(path) == ["block 1"]


@above(3)
def actions_tell_another_ending():
    with _told(_changes(status=lambda s: "terminal")) as path:
        assert _finds(path) == ["block 1"]


@above(3)
def actions_tell_another_world():
    with _told(_changes(world=lambda w: bytes(32))) as path:
        assert _finds(path) == ["block 1"]


@above(3)
def actions_tell_rows_of_another_world():
    """The rows that pictures and exports are made from hold the rewards and fingerprints of the world."""

    def change(record):
        rows = [Event(*e) for e in record.events]
        at = next(i for i, e in enumerate(rows) if e.kind == "step" and e.tick == 2)
        rows[at] = rows[at]._replace(rewards=tuple(r + 1.0 for r in rows[at].rewards))
        return msgspec.structs.replace(record, events=rows)

    with _told(change) as path:
        assert _finds(path, "seals") == [] and _finds(path) == ["block 1"]


@above(3)
def agents_tell_another_mind():
    """What happened inside the seats is compared where agents are asked again, and only there."""
    with _told(_changes(mind=lambda m: bytes(32))) as path:
        assert _finds(path) == [] and _finds(path, "agents") == ["block 1"]


@above(3)
def agents_are_asked_again():
    """An agent that answers otherwise today is found, though its recorded moves still replay."""
    with pytest.MonkeyPatch.context() as patch:
        rule = matrix.STRATEGIES["tit_for_tat"]
        patch.setitem(matrix.STRATEGIES, "tit_for_tat", lambda data, obs, p: 1 - rule(data, obs, p))
        assert _finds(plain()) == []
        found = verify(plain(), "agents")
        assert found.reexecuted == 6 and len({f.episode for f in found.findings}) == 6


# -- 5: nothing lost ------------------------------------------------------------------------------------------


@above(5)
def an_episode_is_reported_after_its_commit():
    """Whoever is told of an episode finds it in the run, from outside."""
    with folder() as path:
        told = []

        def reported(record):
            with RunFolder.open(path) as run:
                assert run.record(record.id, missing_ok=True) is not None, "reported before its commit"
            told.append(record.id)

        play(tables({"random+tft": {"seats": ["random", "tft"], "orders": "all"}}), path, on_episode=reported)
        assert len(told) == len(set(told)) == 8


class Quiet(Env):
    """A world in which there is something to say."""

    name, seats, rules = "quiet", ("p0", "p1"), "Say something."

    def spec(self, seat):
        return ActionSpec("text")


def _handle(block):
    return Observation(Scope(Quiet(), "quiet@1", Block(0, block), "p0"), "act", 0)


def _request(temperature=0.7):
    return Request(messages=(Message("user", "hello"),), temperature=temperature)


class Counting:
    """A backend that keeps what reaches it. seen: called with each idempotency key when it is sent."""

    name, priced, concurrency = "counting", "", 8
    capabilities = Capabilities()

    def __init__(self, repeats=False, seen=None):
        self.repeats, self.seen, self.sent, self.keys = repeats, seen, 0, []

    def identity(self):
        return {"backend": "counting"}

    async def generate(self, requests, keys=()):
        self.sent += len(requests)
        self.keys += keys
        text = str(self.sent)
        await asyncio.sleep(0.001)
        if self.seen is not None:
            self.seen(keys)
        return [Reply(text=text, finish="stop", usage=Usage(1, 10, 1, 500)) for _ in requests]

    async def ready(self):
        pass

    async def aclose(self):
        pass


def asked(backend, handles, cassette=None, temperature=0.7, used=None):
    """The answers that equal requests at these handles get. used: called when an answer is in the agent's hands."""
    door = Door({"counting": backend}, cassette)

    async def one(handle):
        (reply,) = await door.model("counting").generate([_request(temperature)], at=handle)
        if used is not None:
            used(reply.text)
        return reply.text

    async def go():
        try:
            return await asyncio.gather(*map(one, handles))
        finally:
            await door.aclose()

    return asyncio.run(go())


def _ask(path, calls):
    return asked(Counting(), [_handle(b) for b in range(calls)], Cassette(path))


def _stored(path, status):
    """What another process reads of the cassette now: idempotency key -> reply."""
    with Cassette(path, "strict") as cassette:
        return {row.idempotency: row.reply for row in cassette.rows() if row.status == status}


@above(5)
def a_call_is_logged_before_it_is_sent():
    with folder() as path:
        logged = []
        backend = Counting(seen=lambda keys: logged.extend(k in _stored(path, "intent") for k in keys))
        asked(backend, [_handle(b) for b in range(4)], Cassette(path))
        assert logged == [True] * 4


@above(5)
def an_answer_is_committed_before_it_is_used():
    with folder() as path:
        kept = []

        def used(text):
            kept.append(any(msgspec.msgpack.decode(r)["text"] == text for r in _stored(path, "answered").values()))

        asked(Counting(), [_handle(b) for b in range(4)], Cassette(path), used=used)
        assert kept == [True] * 4


@above(5)
def after_a_kill_only_calls_in_flight_are_sent_again():
    """The files as they lie at the moment of a kill: two calls answered, one in flight."""
    with folder() as path, folder() as image:
        first = Counting()
        asked(first, [_handle(0), _handle(1)], Cassette(path))
        flying = Counting(seen=lambda keys: shutil.copytree(path, image))
        asked(flying, [_handle(2)], Cassette(path))
        again = Counting()
        cassette = Cassette(image)
        assert cassette.counts() == {"answered": 2, "intent": 1, "maybe_paid_twice": 0}
        handles = [_handle(b) for b in range(3)]
        asked(again, handles, cassette)
        assert again.keys == flying.keys, "answered calls stay, the other has the same key"
        assert [h.counts.get("maybe_paid_twice", 0) for h in handles] == [0, 0, 1]
        with Cassette(image, "strict") as after:
            assert after.counts() == {"answered": 3, "maybe_paid_twice": 1}
            assert after.spent()["counting"].calls == 4


class Enough(Exception):
    """Somebody stops the run."""


@above(5)
def a_run_goes_on_where_it_stood():
    """A run that was stopped plays what is missing, each episode once, and equals an undisturbed one."""
    data = tables({"random+tft": {"seats": ["random", "tft"], "orders": "all"}}, blocks=9, replicates=3)
    with folder() as calm, folder() as path:
        whole = digests(play(data, calm))
        told = []

        def stop(record):
            told.append(record.place)
            if len(told) == 9:
                raise Enough

        with pytest.raises(Enough):
            play(data, path, on_episode=stop)
        with RunFolder.open(path) as run:
            before = [r.place for r in run.records()]
        assert set(told) <= set(before) and len(before) < len(whole) == 54
        rest = []
        after = play(data, path, on_episode=lambda record: rest.append(record.place))
        assert set(rest) == whole.keys() - set(before) and len(rest) == len(set(rest))
        assert digests(after) == whole and len(after) == 54 and check_seals(path) == []


@above(5)
def void_episodes_are_played_again():
    """In the same block, with its own name, in this sitting and in a later one; none is counted."""
    data = tables({"vanishes+tft": ["vanishes", "tft"]}, agents={"vanishes": "random"}, blocks=3)
    calm = None
    cases = [(Vanishes, n) for n in (0, 1, 2, 3, 4, 7)] + [(VanishesWaiting, n) for n in (2, 4)]
    for kind, times in cases:
        with folder() as path:
            for sitting in range(times // 3 + 1):
                records = play(data, path, {"vanishes": kind(max(0, times - 3 * sitting))})
            voids = [r.attempt for r in records if r.status == "void"]
            assert voids == list(range(times)), "void episodes are kept, and numbered"
            calm = calm or digests(records)
            assert digests(r for r in records if r.status != "void") == calm


# -- 6: counted honestly -----------------------------------------------------------------------------------------


@above(6)
def only_declared_and_greedy_answers_are_shared():
    """Equal requests are sent once where the model is declared to repeat itself and is asked greedily."""
    for repeats, temperature, sent in ((True, 0.0, 1), (True, 1.0, 5), (False, 0.0, 5), (False, 1.0, 5)):
        backend, handles = Counting(repeats), [_handle(b) for b in range(5)]
        texts = asked(backend, handles, temperature=temperature)
        assert backend.sent == len(set(texts)) == sent
        assert sum(h.counts.get("shared_answers", 0) for h in handles) == 5 - sent


@above(6)
def a_shared_answer_is_paid_once():
    """It has a row of its own, which nobody paid for."""
    with folder() as path:
        asked(Counting(True), [_handle(b) for b in range(5)], Cassette(path), temperature=0.0)
        with Cassette(path, "strict") as cassette:
            assert len(cassette) == 5 and cassette.spent()["counting"] == Usage(1, 10, 1, 500)
