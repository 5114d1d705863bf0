"""How far runs are, their episodes in pages, and who writes them: without reading twice what is known."""

import os
import shutil
import socket
import sqlite3

import polars as pl
import pytest
import reported

from crossplay.kernel import CrossplayError
from crossplay.records import RunFolder
from crossplay.records.lock import Lock, written_now
from crossplay.study.listing import COLUMNS, Listing
from crossplay.study.progress import Watch, stamp_of
from crossplay.study.tables import LINKS, metric_of, result_of
from crossplay.study.verify import load_run


@pytest.fixture
def copied(tmp_path):
    return shutil.copytree(reported.kitchen(), tmp_path / "run")


def _keep(folder, first):
    """Cut a run back to its first episodes, as a run looks that is still played."""
    with sqlite3.connect(folder / "manifest.sqlite") as db:
        held = db.execute("SELECT * FROM episodes WHERE seq > ?", (first,)).fetchall()
        db.execute("DELETE FROM episodes WHERE seq > ?", (first,))
    db.close()
    return held


def _give_back(folder, held):
    with sqlite3.connect(folder / "manifest.sqlite") as db:
        db.executemany(f"INSERT INTO episodes VALUES ({', '.join('?' * len(held[0]))})", held)
    db.close()


def test_a_finished_run_is_done_and_its_costs_are_those_of_its_table(copied):
    watch = Watch(copied)
    progress = watch.look()
    run, study = load_run(copied)
    with run:
        result = result_of(run, study)
    assert (progress.state, progress.episodes, progress.planned) == ("done", result.episodes, result.planned)
    for name in ("decisions", "calls", "tok_in", "tok_out", "fallbacks", "invalid"):
        assert getattr(progress.costs, name) == sum(getattr(r.costs, name) for r in result.rows), name
    assert progress.costs.wall_s == pytest.approx(sum(r.costs.wall_s for r in result.rows))
    assert sum(k for s in progress.cells.values() for k in s.values()) == result.episodes


def test_only_new_episodes_are_read(copied, monkeypatch):
    whole = Watch(copied).look()
    held = _keep(copied, 7)
    watch, listing = Watch(copied), Listing(copied)
    assert (watch.look().state, watch.look().episodes, listing.update().height) == ("open", 7, 7)
    asked = []
    stored = RunFolder.stored
    monkeypatch.setattr(
        RunFolder, "stored", lambda self, names, after=0: asked.append(after) or stored(self, names, after)
    )
    before = stamp_of(copied)
    _give_back(copied, held)
    assert stamp_of(copied) != before
    grown = watch.look()
    assert (grown.state, grown.episodes, grown.costs, grown.cells) == ("done", whole.episodes, whole.costs, whole.cells)
    assert listing.update().equals(Listing(copied).update())
    assert asked == [7, 7, 0]


def test_what_cannot_be_read_is_damaged_and_says_why(tmp_path, copied):
    (tmp_path / "manifest.sqlite").write_bytes(b"no database at all")
    found = Watch(tmp_path).look()
    assert found.state == "damaged" and "not a database" in found.why
    (copied / "study.toml").write_text("[study\n")
    found = Watch(copied).look()
    assert found.state == "damaged" and "study.toml" in found.why
    assert Watch(tmp_path / "nowhere").look().state == "damaged"


def test_another_run_in_the_same_place_is_counted_anew(copied):
    watch = Watch(copied)
    watch.look()
    shutil.rmtree(copied)
    shutil.copytree(reported.dilemma(), copied)
    assert watch.look() == Watch(copied).look()


def test_a_run_goes_on_while_somebody_writes_it(copied):
    _keep(copied, 3)
    assert not written_now(copied) and Watch(copied).look().state == "open"
    lock = Lock(copied / "lock")
    assert written_now(copied) and Watch(copied).look().state == "going"
    with pytest.raises(CrossplayError, match="already open"):  # looking has not dropped the lock
        Lock(copied / "lock")
    lock.release()
    assert not written_now(copied)


def test_a_writer_in_another_process_is_seen_and_a_dead_one_is_not(copied):
    here = socket.gethostname()
    for said, expected in (
        (f"process {os.getppid()} on {here}\n", True),
        (f"process {os.getpid()} on {here}\n", False),  # another process had this number before us
        (f"process 4194304 on {here}\n", False),
        (f"process {10**30} on {here}\n", False),
        ("process 1 on another-machine.example\n", True),  # the run was changed just now
        ("nonsense", False),
        ("", False),
    ):
        (copied / "lock").write_text(said)
        assert written_now(copied) is expected, said
    (copied / "lock").write_text("process 1 on another-machine.example\n")
    os.utime(copied / "manifest.sqlite", (1, 1))
    assert not written_now(copied)


# -- the table of episodes -----------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def listing():
    found = Listing(reported.kitchen())
    found.update()
    return found


def test_the_table_holds_what_the_records_say(listing):
    run, study = load_run(reported.kitchen())
    with run:
        value = metric_of(run, study)
        records = run.records()
        rows = listing.page(limit=500).rows
        assert [r["episode"] for r in rows] == [f"{r.id:016x}" for r in records]
        assert [r["value"] for r in rows] == [value(r) for r in records]
        for row, record in zip(rows, records, strict=True):
            assert row["scores"] == record.score
            assert row["fallbacks"] == sum(c.get(k, 0) for c in record.counts.values() for k in LINKS)
            assert row["tok_in"] == sum(c.get("tok_in", 0) for c in record.counts.values())
            assert set(row) == {*COLUMNS, "scores"}


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("sort", ["seq", "block", "lineup", "value", "calls", "wall_s", "score.return"])
def test_pages_put_together_are_the_sorted_table(listing, sort, down):
    whole = listing.page(sort=sort, down=down, limit=500).rows
    cut = [r for i in range(0, len(whole), 7) for r in listing.page(sort=sort, down=down, offset=i, limit=7).rows]
    assert cut == whole and len({r["seq"] for r in whole}) == len(whole) == 20
    keys = [int(r["block"]) if sort == "block" else r["scores"]["return"] if "." in sort else r[sort] for r in whole]
    assert keys == sorted(keys, reverse=down)
    assert listing.page(sort=sort, down=down, offset=10**9).rows == []


def test_filters_leave_what_fits(listing):
    talkers = listing.page(lineup="chef+talker", limit=500)
    assert talkers.total == 4 and {r["lineup"] for r in talkers.rows} == {"chef+talker"}
    assert listing.page(search="TALKER horizon").total == 4
    assert listing.page(search="talker forfeit").total == 0
    assert listing.page(search=talkers.rows[0]["episode"][:9]).total == 1
    assert listing.page(lineup="chef+talker", block="1").total == 1
    assert listing.page(search="ch.f").total == 0  # words, no pattern
    assert listing.page(search='<script>alert("x")</script>').total > 0
    assert sum(listing.shares("lineup").values()) == 20
    with pytest.raises(CrossplayError, match='no column "valeu".*value'):
        listing.page(sort="valeu")


def test_blocks_are_sorted_as_numbers(tmp_path):
    found = Listing(reported.dilemma())
    found.frame = pl.concat([found.update()] * 5).with_columns(
        seq=pl.int_range(1, pl.len() + 1, dtype=pl.Int64), block=pl.int_range(pl.len()).cast(pl.String)
    )
    found.frame = found.frame.with_columns(pl.col("block").cast(pl.Int64).alias("order.block"))
    blocks = [r["block"] for r in found.page(sort="block", limit=500).rows]
    assert blocks == [str(i) for i in range(len(blocks))] and len(blocks) > 11
