"""The log of a cassette: what it holds survives SIGKILL, no byte changes unseen, folding changes nothing."""

import asyncio
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.kernel import Usage
from crossplay.kernel.types import Stop
from crossplay.records import _cassette_ahead
from crossplay.records._cassette_log import HEAD, SHARED, frame, log_path, read_log, scan
from crossplay.records.cassette import Call, Cassette, Damaged, call_key, verify_cassette


def call(i, body=b"what is asked"):
    digest, address = i.to_bytes(16, "big"), (7, "toy@1", i // 10, 0, "p0", i % 10, ())
    return Call(call_key(digest, address, 0), digest, "m", address, 0, body)


def ask(c, i, reply=None):
    row = c.intend(call(i)).result()
    return row if reply is None else c.answer(row, reply, Usage(1, 10, 2, 3)).result()


def folded(path):
    """What SQLite alone holds."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return dict(db.execute("SELECT key, status FROM calls"))


def said(path):
    """What a reader finds: number of the call -> (status, reply, attempts, doubtful)."""
    with Cassette(path, "strict") as c:
        return {int.from_bytes(r.call.digest, "big"): (r.status, r.reply, r.attempts, r.doubtful) for r in c.rows()}


def killed(code, *args):
    """Run a child that kills itself."""
    start = f"""
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        from test_cassette_log import *
        path = Path({str(args[0])!r})
    """
    text = textwrap.dedent(start) + textwrap.dedent(code)
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    return done.stdout


# -- the file ----------------------------------------------------------------------------------------
values = (
    st.none()
    | st.integers(-(2**62), 2**62)
    | st.text(max_size=9)
    | st.binary(max_size=40)
    | st.floats(width=32, allow_nan=False)
)
parts = st.lists(st.binary(max_size=20) | st.tuples(st.binary(max_size=20), values, values), min_size=1, max_size=3)


def written(records):
    return HEAD + b"".join(frame(n, r) for n, r in enumerate(records))


@given(st.lists(parts, max_size=6), st.data())
@settings(deadline=None)
def test_what_is_written_comes_back_up_to_where_it_was_cut(records, data):
    raw = written(records)
    assert scan(raw).rows == {
        k: v for r in records for k, v in [(p, None) if isinstance(p, bytes) else (p[0], p) for p in r]
    }
    cut = data.draw(st.integers(0, len(raw)))
    whole = sum(len(written(records[: n + 1])) <= cut for n in range(len(records)))
    found = scan(raw[:cut])
    assert not found.damage and found.records == whole
    assert found.rows == scan(written(records[:whole])).rows
    assert found.torn == max(0, cut - len(written(records[:whole])))


def test_every_flipped_byte_of_a_log_is_found():
    raw = written([[(b"key %d" % n, n, "text", b"reply")] for n in range(4)])
    for at in range(len(raw)):
        for flip in (1, 0x80, 0xFF):
            bad = bytearray(raw)
            bad[at] ^= flip
            found = scan(bytes(bad))
            if at == SHARED:  # says that others write as well, and no more
                assert found == scan(raw)
            else:
                assert found.damage, at
                assert {k: v for k, v in found.rows.items() if v == scan(raw).rows[k]} == found.rows
                assert len(found.rows) == (4 if at < len(HEAD) else 3)


def test_a_record_that_was_taken_out_is_missed_and_zeros_at_the_end_are_no_record():
    records = [frame(n, [b"key %d" % n]) for n in range(4)]
    assert scan(HEAD + records[0] + records[2] + records[3]).damage
    assert scan(HEAD + b"".join(records[1:])).damage
    assert not scan(HEAD + b"".join(records)).damage
    padded = scan(HEAD + b"".join(records) + bytes(500))
    assert not padded.damage and padded.torn == 500 and padded.records == 4


# -- kills -------------------------------------------------------------------------------------------
def test_a_kill_between_append_and_fold_loses_nothing(tmp_path):
    path = tmp_path / "c.sqlite"
    code = """
        c = Cassette(path)
        for i in range(20):
            ask(c, i, b"answer %d" % i)
        ask(c, 20)
        c.withdraw(ask(c, 21)).result()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    killed(code, path)
    expected = {i: ("answered", b"answer %d" % i, 1, 0) for i in range(20)} | {20: ("intent", None, 1, 0)}
    assert folded(path) == {} and said(path) == expected  # all of it stands in the log
    assert not verify_cassette(path) and verify_cassette(path).rows == 21
    with Cassette(path, "strict") as c:
        assert len(c) == 21 and c.counts() == {"answered": 20, "intent": 1, "maybe_paid_twice": 0}
        assert c.find(call(3)).reply == b"answer 3" and c.find(call(21)) is None
        key = c.get(call(20).key).idempotency
    assert log_path(path).exists()
    with Cassette(path) as c:
        assert not log_path(path).exists() and len(folded(path)) == 21
        again = ask(c, 20)
        assert (again.idempotency, again.attempts, again.doubtful) == (key, 2, 1)
        c.answer(again, b"late", Usage(1)).result()
    assert sorted(f.name for f in tmp_path.iterdir()) == ["c.seal", "c.sqlite"]
    assert said(path) == expected | {20: ("answered", b"late", 2, 1)} and not verify_cassette(path)


@pytest.mark.parametrize("moment", ["before the new log", "before it takes its place"])
def test_a_kill_between_fold_and_the_new_log_folds_once_more_to_the_same(tmp_path, moment):
    path = tmp_path / "c.sqlite"
    name = "Log._renew" if moment == "before the new log" else "Path.replace"
    code = f"""
        from crossplay.records._cassette_ahead import Log
        c = Cassette(path)
        for i in range(30):
            ask(c, i, b"answer %d" % i)
        ask(c, 30)
        c.withdraw(ask(c, 31)).result()
        def die(*_):
            os.kill(os.getpid(), signal.SIGKILL)
        {name} = die
        c._ahead().fold(False)
    """
    killed(code, path)
    expected = {i: ("answered", b"answer %d" % i, 1, 0) for i in range(30)} | {30: ("intent", None, 1, 0)}
    assert len(folded(path)) == 30 and read_log(path).records == 63
    assert said(path) == expected
    for _ in range(2):
        with Cassette(path) as c:
            assert c.counts() == {"answered": 30, "intent": 1, "maybe_paid_twice": 0}
        assert said(path) == expected and not verify_cassette(path)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["c.seal", "c.sqlite"]


def test_a_record_that_a_kill_cut_short_was_never_written(tmp_path):
    path = tmp_path / "c.sqlite"
    killed("c = Cassette(path); ask(c, 1, b'yes'); ask(c, 2, b'no'); os.kill(os.getpid(), signal.SIGKILL)", path)
    raw = log_path(path).read_bytes()
    log_path(path).write_bytes(raw[:-3])
    expected = {1: ("answered", b"yes", 1, 0), 2: ("intent", None, 1, 0)}
    assert said(path) == expected and not verify_cassette(path)
    with Cassette(path) as c:
        assert ask(c, 2).doubtful == 1
        c.answer(ask(c, 3), b"more", Usage(1)).result()
    assert not verify_cassette(path)


operations = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from(["ask", "answer", "fail", "withdraw", "fold", "all"])), max_size=10
)


@given(operations)
@settings(max_examples=15, deadline=None)
def test_a_kill_at_any_moment_leaves_what_was_committed(tmp_path_factory, steps):
    """Images of the files after every step, against a plain account of what was done."""
    folder = tmp_path_factory.mktemp("any")
    path, rows, expected = folder / "live" / "c.sqlite", {}, {}
    with Cassette(path) as c:
        for n, (i, step) in enumerate(steps):
            if step in ("fold", "all"):
                if c._ahead() is not None:
                    c._ahead().fold(step == "all")
            elif step == "ask":
                if expected.get(i, ("intent",))[0] != "intent":
                    continue
                rows[i] = ask(c, i)
                sent = expected[i][2] + 1 if i in expected else 1
                expected[i] = ("intent", None, sent, sent - 1)
            elif expected.get(i, ("",))[0] == "intent":
                row, before = rows[i], expected[i]
                if step == "withdraw":
                    c.withdraw(row).result()
                    if before[2] == 1:
                        del expected[i]
                else:
                    (c.answer if step == "answer" else c.fail)(row, b"%d" % n, Usage(1)).result()
                    expected[i] = ("answered" if step == "answer" else "error", b"%d" % n, *before[2:])
            image = folder / f"{n}"
            shutil.copytree(path.parent, image)
            assert said(image / "c.sqlite") == expected == said(path)  # killed here, or still at it
            with Cassette(image) as resumed:
                assert {r.call.key: r.status for r in resumed.rows()} == folded(resumed.path)
            assert said(image / "c.sqlite") == expected and not verify_cassette(image / "c.sqlite")
    assert said(path) == expected and not log_path(path).exists()


# -- damage ------------------------------------------------------------------------------------------
def test_damage_to_the_log_is_found_and_named(tmp_path):
    path = tmp_path / "c.sqlite"
    killed(
        "c = Cassette(path); [ask(c, i, b'answer %d' % i) for i in range(25)]; os.kill(os.getpid(), signal.SIGKILL)",
        path,
    )
    raw = bytearray(log_path(path).read_bytes())
    raw[raw.index(b"answer 13")] ^= 1
    log_path(path).write_bytes(raw)
    damage = verify_cassette(path)
    assert damage.calls == [call(13).key.hex()] and damage.episodes == [(7, "toy@1", 1, 0)]
    assert "c.log" in damage.file and "record 27" in damage.file
    for mode in ("record", "strict", "refresh"):
        with pytest.raises(Damaged, match=r"c\.log.*record 27"), Cassette(path, mode) as c:
            list(c.rows())
    assert bytes(raw) == log_path(path).read_bytes()  # nobody made it undone
    log_path(path).unlink()
    with Cassette(path) as c:
        assert len(c) == 0


# -- no room -----------------------------------------------------------------------------------------
FULL = """
    import asyncio, resource
    from crossplay.kernel import ActionSpec, Block, Env, Observation
    from crossplay.kernel.obs import Scope
    from crossplay.models import Door, Message, Request
    from crossplay.models.scripted import ScriptedBackend

    class Toy(Env):
        name, seats = "toy", ("p0",)
        def spec(self, seat): return ActionSpec("text")

    class Counting(ScriptedBackend):
        sent = 0
        async def generate(self, requests, keys):
            Counting.sent += 1
            return await super().generate(requests, keys)

    door = Door({"m": Counting("m")}, Cassette(path))

    async def one(i):
        obs = Observation(Scope(Toy(), "toy@1", Block(0, i), "p0"), "act", 0)
        return await door.model("m").generate([Request(messages=(Message("user", "question " * 50),))], at=obs)

    async def main():
        await one(0)
        size = log_path(path).stat().st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 300, resource.RLIM_INFINITY))
        sent = Counting.sent
        for _ in range(3):
            try:
                await one(1)
            except Stop as error:
                print(type(error).__name__, error)
        assert Counting.sent == sent, "sent though it is not logged"
        assert log_path(path).stat().st_size == size, "half a record stays"
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        await one(2)
        assert Counting.sent == sent + 1
        print(len(door.cassette))

    asyncio.run(main())
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_without_room_for_the_intent_nothing_is_sent(tmp_path):
    """A limit on the size of files stands for a full disk: the system writes a part, then refuses."""
    told = killed(FULL, tmp_path / "c.sqlite").splitlines()
    assert [t.split()[0] for t in told] == ["Unkept"] * 3 + ["2"]
    assert "Make room, then resume" in told[0]
    assert not verify_cassette(tmp_path / "c.sqlite")
    assert {status for status, *_ in said(tmp_path / "c.sqlite").values()} == {"answered"}


def test_an_answer_without_room_is_not_used(tmp_path, monkeypatch):
    with Cassette(tmp_path / "c.sqlite") as c:
        row = ask(c, 1)
        monkeypatch.setattr(_cassette_ahead.os, "write", lambda fd, data: 5)
        commit = c.answer(row, b"yes", Usage(1))
        with pytest.raises(Stop, match="Make room"):
            commit.result()
        with pytest.raises(Stop, match="Make room"):
            asyncio.run(asyncio.wait_for(_value(commit), 5))
        monkeypatch.undo()
        assert c.get(call(1).key).status == "intent"
        c.answer(row, b"yes", Usage(1)).result()
    assert said(tmp_path / "c.sqlite") == {1: ("answered", b"yes", 1, 0)}


async def _value(commit):
    return await commit


# -- several -----------------------------------------------------------------------------------------
def test_whoever_writes_as_well_ends_the_log_and_both_see_all(tmp_path):
    path = tmp_path / "c.sqlite"
    with Cassette(path) as one, Cassette(path) as two:
        ask(one, 1, b"one")
        flying = ask(one, 2)
        assert log_path(path).exists() and folded(path) == {}
        assert two.find(call(1)).reply == b"one" and len(two) == 2  # of the log
        ask(two, 3, b"two")
        assert one.find(call(3)).reply == b"two", "what another wrote is seen"
        assert not log_path(path).exists() and len(folded(path)) == 3
        one.answer(flying, b"late", Usage(1)).result()
        assert two.find(call(2)).reply == b"late"
        assert one.counts() == two.counts() == {"answered": 3, "maybe_paid_twice": 0}
    assert said(path) == {1: ("answered", b"one", 1, 0), 2: ("answered", b"late", 1, 0), 3: ("answered", b"two", 1, 0)}
    assert not verify_cassette(path) and (tmp_path / "c.seal").exists()


def test_what_another_answered_is_not_made_an_intent_again(tmp_path):
    path = tmp_path / "c.sqlite"
    with Cassette(path) as one, Cassette(path) as two:
        flying = ask(one, 1)
        again = ask(two, 1)  # as if the first had been killed
        assert (again.idempotency, again.attempts, again.doubtful) == (flying.idempotency, 2, 1)
        two.answer(again, b"two", Usage(1)).result()
        assert one.get(call(1).key).reply == b"two"
    assert said(path) == {1: ("answered", b"two", 2, 1)}


def test_the_log_of_a_killed_process_is_taken_over_by_one_that_lives(tmp_path):
    path = tmp_path / "c.sqlite"
    with Cassette(path) as c:
        killed("c = Cassette(path); ask(c, 1, b'yes'); ask(c, 2); os.kill(os.getpid(), signal.SIGKILL)", path)
        assert c.find(call(1)).reply == b"yes" and folded(path) == {}
        assert ask(c, 2).attempts == 2
        assert c.find(call(1)).reply == b"yes"
    assert said(path) == {1: ("answered", b"yes", 1, 0), 2: ("intent", None, 2, 1)}
    assert not verify_cassette(path)


def test_a_reader_beside_the_writer_sees_every_commit_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(_cassette_ahead, "RECORDS", 7)  # so that folding goes on in the background
    path = tmp_path / "c.sqlite"
    with Cassette(path) as c:
        ask(c, 0, b"0")
        with Cassette(path, "strict") as reader:
            for i in range(1, 60):
                ask(c, i)
                assert len(reader) == i + 1
                c.answer(c.get(call(i).key), b"%d" % i, Usage(1)).result()
                assert reader.get(call(i).key).reply == b"%d" % i
                assert reader.counts()["answered"] == i + 1
        for _ in range(1000):
            if len(folded(path)) > 20:  # without being asked to
                break
            time.sleep(0.01)
        else:
            raise AssertionError("nothing was folded in the background")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_process_writes_nothing_and_leaves_the_lock(tmp_path):
    path = tmp_path / "c.sqlite"
    with Cassette(path) as c:
        ask(c, 1, b"yes")
        child = os.fork()
        if not child:
            try:
                c.intend(call(2)).result()
            except Stop:
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        with Cassette(path) as other:  # the log is still held
            assert other._logs.begin() is None
        ask(c, 3, b"no")
    assert sorted(said(path)) == [1, 3]


def test_without_locks_and_when_durable_there_is_no_log(tmp_path, monkeypatch):
    for name, durable in (("durable", True), ("unlocked", False)):
        if name == "unlocked":
            monkeypatch.setattr(_cassette_ahead, "fcntl", None)
        path = tmp_path / name / "c.sqlite"
        with Cassette(path, durable=durable) as c:
            ask(c, 1, b"yes")
            assert not log_path(path).exists() and len(folded(path)) == 1
        assert said(path) == {1: ("answered", b"yes", 1, 0)}


@pytest.mark.parametrize(("number", "heard"), [(28, True), (19, False)])
def test_a_log_that_cannot_be_made_is_heard_when_the_disk_is_full_and_else_not_needed(
    tmp_path, monkeypatch, number, heard
):
    path = tmp_path / "c.sqlite"

    def refused(*_, **__):
        raise OSError(number, os.strerror(number))

    with Cassette(path) as c:
        monkeypatch.setattr(_cassette_ahead.mmap, "mmap", refused)
        if heard:
            with pytest.raises(Stop, match="No space left"):
                ask(c, 1)
        else:
            ask(c, 1, b"yes")
            assert len(folded(path)) == 1
        assert not log_path(path).exists()
        monkeypatch.undo()
        ask(c, 2, b"no")
    assert sorted(said(path)) == ([2] if heard else [1, 2])
    assert sorted(f.name for f in tmp_path.iterdir()) == ["c.seal", "c.sqlite"]


def test_equal_requests_find_an_answer_that_is_only_logged(tmp_path):
    with Cassette(tmp_path / "c.sqlite") as c:
        first = ask(c, 1, b"yes")
        assert c.same(call(1).digest).call == first.call and folded(c.path) == {}
        shared = Call(b"other key", call(1).digest, "m", (7, "toy@1", 9, 0, "p0", 0, ()), 0, b"what is asked")
        c.share(shared, b"yes")
        c._ahead().fold(True)
        assert c.same(call(1).digest).call == first.call
        assert c.same(call(5).digest) is None
