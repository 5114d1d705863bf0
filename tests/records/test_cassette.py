"""The cassette: nothing paid is lost, nothing answered is sent again, no byte changes unseen."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.kernel import CrossplayError, Usage
from crossplay.records.cassette import Call, Cassette, Damaged, Missing, call_key, verify_cassette

ADDRESS = (7, "toy@1?n=2#wait", 3, 0, "p0", 5, (1, "critic"))


def call(i=0, address=ADDRESS, k=0, body=b"what is asked"):
    digest = i.to_bytes(16, "big")
    return Call(call_key(digest, address, k), digest, "m", address, k, body)


def fill(path, n=40):
    with Cassette(path) as c:
        for i in range(n):
            address = (7, "toy@1", i // 10, 0, "p0", i % 10, ())
            row = c.intend(call(i, address)).result()
            c.answer(row, f"answer {i}".encode(), Usage(1, 10, 2, 3)).result()


def test_life_of_a_call(tmp_path):
    path = tmp_path / "cassette" / "cassette.sqlite"
    with Cassette(path) as c:
        assert c.get(call().key) is None
        row = c.intend(call()).result()
        assert c.get(call().key).status == "intent"
        c.answer(row, b"up", Usage(1, 10, 2, 3), attempts=3, doubtful=1).result()
    with Cassette(path) as c:
        kept = c.get(call().key)
        assert (kept.status, kept.reply, kept.usage) == ("answered", b"up", Usage(1, 10, 2, 3))
        assert (kept.attempts, kept.doubtful, kept.call) == (3, 1, call())
        assert kept.episode == ADDRESS[:4]
        assert kept.idempotency == row.idempotency
        assert c.spent() == {"m": Usage(2, 10, 2, 3)}  # one sending may have been paid in vain
    assert not verify_cassette(path)


def test_an_intent_without_answer_keeps_its_idempotency_key_and_is_doubtful(tmp_path):
    path = tmp_path / "c.sqlite"
    with Cassette(path) as c:
        first = c.intend(call()).result()
    with Cassette(path) as c:
        again = c.intend(call()).result()
        assert again.idempotency == first.idempotency
        assert (again.attempts, again.doubtful) == (2, 1)
        c.answer(again, b"x", Usage(1)).result()
        assert c.counts() == {"answered": 1, "maybe_paid_twice": 1}


def test_withdraw_forgets_what_was_never_sent_and_keeps_what_may_be_paid(tmp_path):
    with Cassette(tmp_path / "c.sqlite") as c:
        c.withdraw(c.intend(call(1)).result()).result()
        assert c.get(call(1).key) is None
        c.withdraw(c.intend(call(2)).result(), doubtful=1).result()
        kept = c.get(call(2).key)
        assert (kept.status, kept.doubtful) == ("intent", 1)


def test_strict_reads_and_never_writes(tmp_path):
    path = tmp_path / "c.sqlite"
    with pytest.raises(Missing, match="does not exist"):
        Cassette(path, "strict")
    fill(path, 3)
    before = path.read_bytes()
    with Cassette(path, "strict") as c:
        assert len(list(c.rows())) == len(c) == 3
        with pytest.raises(Missing):
            c.intend(call(99))
    assert path.read_bytes() == before


def test_strict_reads_a_run_that_was_killed(tmp_path):
    """The log of a killed process has not been folded in; what it committed is there all the same."""
    path = tmp_path / "c.sqlite"
    code = f"""
        import os, signal
        from crossplay.kernel import Usage
        from crossplay.records.cassette import Call, Cassette, call_key
        c = Cassette({str(path)!r})
        a = (0, "toy@1", 0, 0, "p0", 0, ())
        row = c.intend(Call(call_key(b"d" * 16, a, 0), b"d" * 16, "m", a, 0, b"body")).result()
        c.answer(row, b"yes", Usage(1)).result()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=False)
    with Cassette(path, "strict") as c:
        assert [r.reply for r in c.rows()] == [b"yes"]
    assert not verify_cassette(path)


def test_a_sealed_file_that_is_only_read_keeps_every_byte(tmp_path):
    path = tmp_path / "cassette.sqlite"
    fill(path, 3)
    before = {f.name: f.read_bytes() for f in tmp_path.iterdir()}
    with Cassette(tmp_path) as one, Cassette(tmp_path) as two:  # the folder names the file
        assert len(one) == len(two) == 3
    assert {f.name: f.read_bytes() for f in tmp_path.iterdir()} == before
    with Cassette(path) as one, Cassette(path) as two:
        one.intend(call(77)).result()
        two.intend(call(78)).result()
        assert not (tmp_path / "cassette.seal").exists()
        assert len(one) == len(two) == 5
    assert verify_cassette(path).rows == 5
    assert not verify_cassette(path)


def test_rows_come_in_structural_order(tmp_path):
    with Cassette(tmp_path / "c.sqlite") as c:
        for i in (3, 0, 2, 1):
            c.intend(call(i, (0, "toy@1", 0, 0, "p0", i, ()))).result()
        assert [r.call.address[5] for r in c.rows()] == [0, 1, 2, 3]


@given(at=st.integers(0), flip=st.integers(1, 255))
@settings(max_examples=60, deadline=None)
def test_any_flipped_byte_is_found(tmp_path_factory, at, flip):
    folder = tmp_path_factory.getbasetemp() / "sealed"
    path = folder / "c.sqlite"
    if not path.exists():
        fill(path)
    good = path.read_bytes()
    bad = bytearray(good)
    bad[at % len(bad)] ^= flip
    copy = folder / "bad.sqlite"
    copy.write_bytes(bad)
    (folder / "bad.seal").write_bytes((folder / "c.seal").read_bytes())
    assert verify_cassette(copy)
    with pytest.raises(Damaged):
        Cassette(copy)
    copy.unlink()


def test_damage_names_the_episode(tmp_path):
    path = tmp_path / "c.sqlite"
    fill(path)
    raw = bytearray(path.read_bytes())
    where = raw.index(b"answer 23")
    raw[where] ^= 1
    path.write_bytes(raw)
    damage = verify_cassette(path)
    assert damage.episodes == [(7, "toy@1", 2, 0)]
    assert len(damage.calls) == 1
    assert damage.rows == 39
    with Cassette(path, "strict") as c, pytest.raises(Damaged, match="damaged"):
        list(c.rows())


def test_damage_of_an_open_run_is_found_by_row_seals(tmp_path):
    path = tmp_path / "c.sqlite"
    fill(path)
    (tmp_path / "c.seal").unlink()
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"answer 5")] ^= 1
    path.write_bytes(raw)
    damage = verify_cassette(path)
    assert damage.episodes == [(7, "toy@1", 0, 0)]


def test_a_removed_row_and_a_damaged_seal_are_found(tmp_path):
    import sqlite3

    path = tmp_path / "c.sqlite"
    fill(path)
    db = sqlite3.connect(path)
    db.execute("DELETE FROM calls WHERE digest = ?", ((12).to_bytes(16, "big"),))
    db.commit()
    db.close()
    assert verify_cassette(path).episodes == [(7, "toy@1", 1, 0)]
    seal = tmp_path / "c.seal"
    seal.write_bytes(seal.read_bytes()[:-1] + b"x")
    assert "c.seal is damaged" in verify_cassette(path).file


def test_seal_depends_on_every_row(tmp_path):
    with Cassette(tmp_path / "c.sqlite") as c:
        c.intend(call(0)).result()
        one = c.seal()
        c.intend(call(1)).result()
        assert c.seal() != one


def test_newer_format_is_refused(tmp_path):
    import sqlite3

    path = tmp_path / "c.sqlite"
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(CrossplayError, match="format 99"):
        Cassette(path)
    path.write_bytes(b"this is not a database at all" * 100)
    with pytest.raises(Damaged, match="cannot be read"):
        Cassette(path)


def test_many_writes_share_commits(tmp_path):
    with Cassette(tmp_path / "c.sqlite") as c:
        futures = [c.intend(call(i)) for i in range(500)]
        assert all(f.result().status == "intent" for f in futures)
        assert c._writer.commits < 500


def test_a_failed_commit_reaches_every_caller(tmp_path):
    with Cassette(tmp_path / "c.sqlite") as c:
        bad = c._writer.submit([("INSERT INTO nowhere VALUES (1)", ())], None)
        with pytest.raises(Exception, match="no such table"):
            bad.result()
        assert c.intend(call()).result().status == "intent"  # the writer goes on


addresses = st.tuples(
    st.integers(0, 2**40),
    st.text(max_size=12),
    st.integers(-(2**40), 2**40) | st.text(max_size=8),
    st.integers(0, 99),
    st.text(max_size=8),
    st.integers(0, 2**31),
    st.lists(st.integers(0, 99) | st.text(max_size=5), max_size=4).map(tuple),
)


@given(a=addresses, b=addresses, k=st.integers(0, 5))
@settings(max_examples=200)
def test_keys_are_equal_only_for_equal_addresses(a, b, k):
    digest = b"\x01" * 16
    assert (call_key(digest, a, k) == call_key(digest, b, k)) == (a == b)
    assert call_key(digest, a, k) != call_key(digest, a, k + 1)
    assert call_key(digest, a, k) != call_key(b"\x02" * 16, a, k)


@given(a=addresses)
@settings(max_examples=50, deadline=None)
def test_any_address_comes_back(a):
    with Cassette(None) as c:
        c.intend(call(1, a)).result()
        assert next(c.rows()).call.address == a
        assert [r.call.address for r in c.at(a)] == [a]


# -- SIGKILL, with a real server and real processes ------------------------------------------------
WORKER = """
import asyncio, sys
from crossplay.kernel import Block, Env, Observation, ActionSpec
from crossplay.kernel.obs import Scope
from crossplay.models import Door, Message, Request
from crossplay.records.cassette import Cassette

class Toy(Env):
    name, seats = "toy", ("p0",)
    def spec(self, seat): return ActionSpec("text")

async def main(url, path, calls, at_once):
    door = Door({"m": {"backend": "http", "url": url, "model": "hash", "paid": False, "concurrency": at_once}}, Cassette(path))
    async def one(i):
        obs = Observation(Scope(Toy(), "toy@1", Block(0, i), "p0"), "act", 0)
        [reply] = await door.model("m").generate([Request(messages=(Message("user", f"question {i}"),))], at=obs)
        return reply.text
    texts = await asyncio.gather(*(one(i) for i in range(calls)))
    print("\\n".join(texts), door.cassette.counts(), flush=True)
    await door.aclose()

asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
"""


def test_after_sigkill_no_answered_call_is_sent_again(tmp_path):
    from crossplay.models.loopback import Loopback

    path, calls, at_once, kills = tmp_path / "c.sqlite", 24, 4, 2

    def start(server):
        args = [sys.executable, "-c", WORKER, server.url, str(path), str(calls), str(at_once)]
        return subprocess.Popen(args, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})

    with Loopback(latency_s=0.05) as server:
        answered_before = 0
        for kill in range(kills):
            process = start(server)
            wanted = answered_before + 6
            for _ in range(2000):
                if len(server.requests) >= wanted + kill or process.poll() is not None:
                    break
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            process.wait()
            time.sleep(0.1)  # requests that were on their way arrive
            with Cassette(path, "strict") as c:
                answered = {r.idempotency for r in c.rows() if r.status == "answered"}
                flying = sum(r.status == "intent" for r in c.rows())
            assert flying <= at_once
            seen = dict(server.keys)
            answered_before = len(server.requests)
        process = start(server)
        process.communicate(timeout=60)
        assert process.returncode == 0
        for key in answered:
            assert server.keys[key] == seen[key], "an answered call was sent again"
        assert len(server.keys) == calls, "each call has one idempotency key"
        again = sum(n - 1 for n in server.keys.values())
        assert again <= kills * at_once
    with Cassette(path, "strict") as c:
        counts = c.counts()
        assert counts["answered"] == calls
        assert counts["maybe_paid_twice"] >= again
        assert counts["maybe_paid_twice"] <= kills * at_once
    assert not verify_cassette(path)


def test_blocking_writer_does_not_block_the_loop(tmp_path):
    """While a durable write waits for the file's lock, the event loop goes on."""
    import sqlite3

    path = tmp_path / "c.sqlite"

    async def main():
        c = Cassette(path, durable=True)
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        future = asyncio.ensure_future(c.intend(call()))
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert not future.done()
        other.execute("ROLLBACK")
        other.close()
        assert (await future).status == "intent"
        c.close()

    asyncio.run(main())


def test_whoever_holds_the_file_does_not_hold_up_the_log(tmp_path):
    import sqlite3

    path = tmp_path / "c.sqlite"
    with Cassette(path) as c:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        row = c.intend(call()).result()
        assert c.answer(row, b"yes", Usage(1)).ready
        assert c.get(call().key).reply == b"yes"
        other.execute("ROLLBACK")
        other.close()
    with Cassette(path, "strict") as c:
        assert c.get(call().key).reply == b"yes"


def test_an_older_file_without_its_index_of_episodes_is_replayed(tmp_path):
    import sqlite3

    path = tmp_path / "c.sqlite"
    fill(path)
    (tmp_path / "c.seal").unlink()
    with sqlite3.connect(path) as db:
        db.execute("DROP INDEX by_episode")
    with Cassette(path, "strict") as c:
        for i in range(40):
            address = (7, "toy@1", i // 10, 0, "p0", i % 10, ())
            assert c.find(call(i, address)).reply == f"answer {i}".encode()
        assert c.find(call(99)) is None


def test_strict_replay_keeps_a_bounded_number_of_rows_in_memory(tmp_path):
    from crossplay.records._cassette_shelf import Shelf

    path = tmp_path / "c.sqlite"
    fill(path)
    with Cassette(path, "strict") as c:
        shelf = c._shelf = Shelf(c._fetcher(), room=20)
        for i in [*range(40), *range(40)]:  # four episodes of ten rows, twice round
            address = (7, "toy@1", i // 10, 0, "p0", i % 10, ())
            assert c.find(call(i, address)).reply == f"answer {i}".encode()
            assert sum(map(len, shelf._episodes.values())) == shelf._held <= 20


def test_an_episode_with_a_damaged_row_is_not_replayed(tmp_path):
    path = tmp_path / "c.sqlite"
    fill(path)
    raw = bytearray(path.read_bytes())
    raw[raw.index(b"answer 23")] ^= 1
    path.write_bytes(raw)
    with Cassette(path, "strict") as c:
        assert c.find(call(3, (7, "toy@1", 0, 0, "p0", 3, ()))).reply == b"answer 3"
        with pytest.raises(Damaged, match="damaged"):
            c.find(call(25, (7, "toy@1", 2, 0, "p0", 5, ())))


def test_indexes_are_made_when_first_needed_or_at_the_end(tmp_path):
    import sqlite3

    def there(path):
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
            return {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'index' AND sql != ''")}

    path = tmp_path / "c.sqlite"
    with Cassette(path) as c:
        row = c.answer(c.intend(call(1)).result(), b"yes", Usage(1)).result()
        assert there(path) == set()
        assert c.same(call(1).digest).reply == row.reply
        assert there(path) == {"by_digest", "by_episode"}
        c.intend(call(2)).result()
    assert there(path) == {"by_digest", "by_episode"}
    other = tmp_path / "d.sqlite"
    fill(other, 3)
    assert there(other) == {"by_digest", "by_episode"}
    before = other.read_bytes()
    with Cassette(other) as c:
        assert c.same(b"none" * 4) is None
    assert other.read_bytes() == before
