"""Commits of the cassette: on event loops, from threads, in order, and never lost."""

import asyncio
import sqlite3
import threading
import zlib

import pytest

from crossplay.records._cassette_rows import SHORT, squeeze, unsqueeze
from crossplay.records._cassette_writer import FOLD, Writer

ADD = "INSERT INTO t (n) VALUES (?)"


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "t.sqlite"
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE t (n INTEGER)")
    db.close()
    return path


def open_writer(path, durable=False):
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    return Writer(db, threading.Lock(), durable)


def kept(path):
    with sqlite3.connect(path) as db:
        return [n for (n,) in db.execute("SELECT n FROM t ORDER BY rowid")]


@pytest.mark.parametrize("durable", [False, True])
def test_what_one_turn_submits_is_committed_before_anybody_goes_on(file, durable):
    writer = open_writer(file, durable)

    async def one(n):
        assert await writer.submit([(ADD, (n,))], n) == n
        assert n in kept(file)

    async def main():
        await asyncio.gather(*map(one, range(50)))

    asyncio.run(main())
    assert kept(file) == list(range(50))
    assert durable or writer.commits == 1
    asyncio.run(one(50))  # another event loop
    assert writer.submit([(ADD, (51,))], "value").result() == "value"  # and none
    writer.close()
    assert kept(file) == list(range(52))


def test_a_waiter_that_leaves_takes_no_write_with_it(file):
    writer = open_writer(file)

    async def main():
        async def wait():
            await writer.submit([(ADD, (1,))], None)

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        await writer.submit([(ADD, (2,))], None)

    asyncio.run(main())
    assert kept(file) == [1, 2]
    writer.close()


def test_a_loop_that_ends_at_once_leaves_its_writes_to_the_end(file):
    writer = open_writer(file)
    loop = asyncio.new_event_loop()

    def submit():
        writer.submit([(ADD, (1,))], None)
        loop.stop()

    loop.call_soon(submit)
    loop.run_forever()
    loop.close()
    writer.close()
    assert kept(file) == [1]


def test_order_is_kept_while_another_process_holds_the_file(file):
    writer = open_writer(file)
    other = sqlite3.connect(file, isolation_level=None)

    async def main():
        other.execute("BEGIN IMMEDIATE")
        commits = [writer.submit([(ADD, (0,))], 0, now=True)]
        await asyncio.sleep(0.01)
        commits += [writer.submit([(ADD, (n,))], n) for n in range(1, 5)]
        await asyncio.sleep(0.01)
        assert not any(c.ready for c in commits)
        other.execute("ROLLBACK")
        assert [await c for c in commits] == list(range(5))

    asyncio.run(main())
    writer.close()
    assert kept(file) == list(range(5))


def test_an_error_is_heard_by_those_of_its_commit_and_no_others(file):
    writer = open_writer(file)

    async def main():
        good = writer.submit([(ADD, (1,))], None, now=True)
        bad = writer.submit([("INSERT INTO nowhere VALUES (1)", ())], None)
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            await bad
        assert await good is None
        await writer.submit([(ADD, (2,))], None)

    asyncio.run(main())
    writer.close()
    assert kept(file) == [1, 2]


def test_the_log_is_folded_into_the_file(file):
    writer = open_writer(file)
    for n in range(FOLD + 1):
        writer.submit([(ADD, (n,))], None).result()
    writer.close()
    assert len(kept(file)) == FOLD + 1
    assert writer._unfolded <= 1


@pytest.mark.parametrize("request_", [b"", b"x", b"\0", b"a" * SHORT, b"a" * (SHORT + 1), bytes(range(256)) * 40])
def test_requests_come_back_as_they_were_in_either_form(request_):
    assert unsqueeze(squeeze(request_)) == request_
    for window in range(9, 16):  # as version 1 kept them
        packer = zlib.compressobj(6, zlib.DEFLATED, window)
        assert unsqueeze(packer.compress(request_) + packer.flush()) == request_
