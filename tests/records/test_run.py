"""A run folder: what is put is there, as it was, from the buffer and from parts."""

import asyncio
import math
import time

import polars as pl
import pytest
from run_helpers import STUDY, full_record, make_run, outcome, record

from crossplay.kernel import CrossplayError
from crossplay.records import Cell, EpisodeRecord, RunError, RunFolder, check_seals, episode_id, study_digest


def rows(r):
    return [tuple(e) for e in r.events]


def test_what_is_put_is_there_from_the_buffer_and_from_parts(tmp_path):
    records = [record(b, r) for b in range(3) for r in range(2)]
    with RunFolder.create(tmp_path / "run", STUDY, {"sampling": {"t": 0.7}}) as run:
        for r in records:
            run.put(r)
            assert [tuple(e) for e in run.events(r.id)] == rows(r)
        assert not list((tmp_path / "run" / "trace").iterdir())
    with RunFolder.open(tmp_path / "run") as run:
        assert len(list((tmp_path / "run" / "trace").iterdir())) == 1
        for r in records:
            again = run.outcome(r.id)
            assert again.events == rows(r)
            assert (again.world, again.mind, again.score, again.counts) == (r.world, r.mind, r.score, r.counts)
            assert (again.status, again.totals, again.ticks) == (r.status, tuple(r.totals), r.ticks)
        assert run.done() == {("walk", b, r) for b in range(3) for r in range(2)}
        assert run.study_toml == STUDY and run.study_digest == study_digest(STUDY)
        identity = run.identity()
        assert identity["sampling"] == {"t": 0.7}
        assert all(identity[k] for k in ("crossplay", "python", "cpu", "platform", "lock_digest", "packages"))


def test_the_table_of_episodes(tmp_path):
    records = make_run(tmp_path / "run")
    with RunFolder.open(tmp_path / "run") as run:
        frame = run.episodes()
        assert frame["episode"].to_list() == [r.id for r in records] and frame["episode"].dtype == pl.UInt64
        assert frame["score.coins"].to_list() == [r.score.get("coins") for r in records]
        assert frame["block"].dtype == pl.Int64 and frame["totals"].to_list() == [list(r.totals) for r in records]
        assert frame["world"].to_list() == [r.world.hex() for r in records]
        assert [c.name for c in run.cells()] == ["inner", "talk", "walk"]
        assert run.cells()[0].agents == {"a": "team"}
        trace = run.frame()
        assert trace.columns[0] == "episode" and len(trace) == frame["rows"].sum()
        one = run.frame([records[-1].id])
        assert set(one["episode"]) == {records[-1].id} and one["calls"].sum() == 1
        files = pl.read_parquet(tmp_path / "run" / "trace" / "*.parquet")
        assert files.sort("episode", "tick").equals(trace.sort("episode", "tick"))


def test_the_id_has_64_bits_of_every_part():
    base = ("d", 1, "e", "l", 2, 3, 0)
    others = [("x", 1, "e", "l", 2, 3, 0), ("d", 0, "e", "l", 2, 3, 0), ("d", 1, "f", "l", 2, 3, 0)]
    others += [("d", 1, "e", "m", 2, 3, 0), ("d", 1, "e", "l", "2", 3, 0), ("d", 1, "e", "l", 2, 0, 0)]
    ids = {episode_id(*names) for names in [base, *others, (*base[:-1], 1)]}
    assert len(ids) == 8 and all(0 <= i < 2**64 for i in ids)
    assert episode_id(*base) == 15990315600135471148  # ids of older runs depend on it


def test_named_blocks_and_numbers_keep_their_types(tmp_path):
    records = [record("q7"), record(7), record("7")]
    with RunFolder.create(tmp_path / "run", STUDY) as run:
        run.put_many(records)
        assert run.done() == {("walk", "q7", 0), ("walk", 7, 0), ("walk", "7", 0)}
        assert run.episodes()["block"].to_list() == ["q7", "7", "7"]
        assert [r.block for r in run.records()] == ["q7", 7, "7"]
        with pytest.raises(CrossplayError, match=f"root {2**63} does not fit"):
            run.put(record(0, root=2**63))


def test_void_episodes_are_kept_and_their_place_stays_open(tmp_path):
    void, again = record(0), record(0, attempt=1)
    void.status = "void"
    with RunFolder.create(tmp_path / "run", STUDY) as run:
        run.put(void)
        assert run.done() == set() and run.attempts() == {("walk", 0, 0): 1}
        run.put(again)
        assert run.done() == {("walk", 0, 0)} and run.attempts() == {("walk", 0, 0): 2} and len(run) == 2


def test_an_equal_episode_is_stored_once_and_another_one_is_refused(tmp_path):
    with RunFolder.create(tmp_path / "run", STUDY) as run:
        run.put(record(0))
        run.put(record(0))
        other = record(0)
        other.world = b"x" * 32
        with pytest.raises(CrossplayError, match="already stored, with another digest"):
            run.put(other)
        second = record(0, study="another")
        with pytest.raises(CrossplayError, match="already holds a finished episode"):
            run.put(second)
        with pytest.raises(CrossplayError, match="already stored"):
            run.put_many([record(1), other, record(2)])  # the good ones are stored all the same
        assert [r.block for r in run.records()] == [0, 1, 2]
    assert check_seals(tmp_path / "run") == []


def test_cells_cannot_change_their_meaning(tmp_path):
    cell = Cell("walk", "test/walk", "some", {"a": "x"}, {"group": "main"})
    with RunFolder.create(tmp_path / "run", STUDY) as run:
        run.add_cells([cell])
        run.add_cells([cell])
        run.put(record(0))
        with pytest.raises(CrossplayError, match='cell "walk" is test/walk with some'):
            run.add_cells([Cell("walk", "test/walk", "some", {"a": "y"})])
        with pytest.raises(CrossplayError, match="cannot become test/walk with others"):
            run.put(record(1, lineup="others"))
        assert run.cells() == [cell]


def test_numbers_that_are_not_finite_and_numpy_scalars(tmp_path):
    import numpy as np

    r = record(0)
    r.score = {"coins": math.nan, "time": np.float64(2.5), "n": np.int64(3)}
    r.counts = {"a": {"decisions": np.int64(2)}}
    with RunFolder.create(tmp_path / "run", STUDY) as run:
        run.put(r)
        (again,) = run.records()
        assert math.isnan(again.score.pop("coins")) and again.score == {"n": 3.0, "time": 2.5}
        assert again.counts == {"a": {"decisions": 2}}


def test_episodes_submitted_together_share_commits(tmp_path):
    async def play(run, records):
        before = time.perf_counter()
        await asyncio.gather(*(run.aput(r) for r in records))
        return time.perf_counter() - before

    records = [record(b) for b in range(40)]
    with RunFolder.create(tmp_path / "run", STUDY) as run:
        commits = []
        run._manifest.db.set_trace_callback(lambda sql: commits.append(sql) if sql == "COMMIT" else None)
        asyncio.run(play(run, records))
        assert len(run) == 40 and 1 <= len(commits) <= 10
        future = run.submit(record(0, 1))
        future.result(timeout=30)
        assert run.record(record(0, 1).id).replicate == 1
        bad = record(0)
        bad.mind = b"?" * 32
        good, refused = run.submit(record(50)), run.submit(bad)
        with pytest.raises(CrossplayError, match="already stored"):
            refused.result(timeout=30)
        good.result(timeout=30)
        left = [run.submit(record(b)) for b in range(60, 64)]
    assert all(f.done() and f.exception() is None for f in left)  # closing commits what waits
    with RunFolder.open(tmp_path / "run") as run:
        assert len(run) == 46
    with pytest.raises(RunError, match="not open for writing"):
        run.put(record(0))


def test_a_reader_follows_a_writer_through_compaction(tmp_path):
    with RunFolder.create(tmp_path / "run", STUDY, part_episodes=4) as run, RunFolder.open(tmp_path / "run") as reader:
        for b in range(10):
            r = record(b)
            run.put(r)
            assert [tuple(e) for e in reader.events(r.id)] == rows(r)
            assert [e for e, _ in reader.tables()] == [x.id for x in run.records()]
        assert len(list((tmp_path / "run" / "trace").glob("part-*.parquet"))) == 2
        assert check_seals(reader) == []
    assert check_seals(tmp_path / "run") == []


def test_reading_a_closed_run_changes_and_adds_no_file(tmp_path):
    make_run(tmp_path / "run")
    before = {f: f.stat().st_mtime_ns for f in (tmp_path / "run").rglob("*")}
    with RunFolder.open(tmp_path / "run") as run:
        run.episodes(), run.frame(), check_seals(run)
        assert {f: f.stat().st_mtime_ns for f in (tmp_path / "run").rglob("*")} == before
    assert {f.name for f in (tmp_path / "run").iterdir()} == {"lock", "manifest.sqlite", "study.toml", "trace"}


def test_resuming_with_other_models_names_a_new_source(tmp_path):
    with RunFolder.create(tmp_path / "run", STUDY, {"models": {"m": "sha-1"}}) as run:
        run.put(record(0))
    with RunFolder.open(tmp_path / "run", write=True) as run:
        run.put(record(1))
    with RunFolder.open(tmp_path / "run", write=True, identity={"models": {"m": "sha-2"}}) as run:
        run.put(record(2))
        assert [run.identity(r.source)["models"]["m"] for r in run.records()] == ["sha-1", "sha-1", "sha-2"]
    assert check_seals(tmp_path / "run") == []


def test_a_kill_between_a_part_and_its_commit_leaves_the_buffer(tmp_path, monkeypatch):
    path = tmp_path / "run"
    run = RunFolder.create(path, STUDY)
    run.put_many([record(b) for b in range(3)])
    monkeypatch.setattr(run, "_transaction", lambda write: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run.compact()
    (path / "trace" / ".part-00000.parquet.tmp").write_bytes(b"half")
    assert [f.name for f in (path / "trace").glob("part*")] == ["part-00000.parquet"]
    assert check_seals(path) == []
    monkeypatch.undo()
    super(RunFolder, run).close()
    run._writer.release()
    with RunFolder.open(path, write=True) as run:
        assert not list((path / "trace").iterdir()) and len(run) == 3
    assert check_seals(path) == [] and len(list((path / "trace").iterdir())) == 1


def test_a_part_the_writer_of_parquet_got_wrong_is_not_relied_on(tmp_path, monkeypatch):
    with RunFolder.create(tmp_path / "run", STUDY) as run:
        run.put(record(0))
        with monkeypatch.context() as patch:
            patch.setattr(pl, "read_parquet", lambda source: pl.DataFrame({"episode": [1]}))
            with pytest.raises(RunError, match="nothing was moved"):
                run.compact()
        assert rows(record(0))[0] == tuple(run.events(record(0).id)[0])


def test_an_episode_without_rows(tmp_path):
    r = record(0)
    r.events = ()
    with RunFolder.create(tmp_path / "run", STUDY) as run:
        run.put(r)
    with RunFolder.open(tmp_path / "run") as run:
        assert run.events(r.id) == [] and run.frame().height == 0
    assert check_seals(tmp_path / "run") == []


def test_a_second_writer_and_a_second_creation_are_refused(tmp_path):
    with RunFolder.create(tmp_path / "run", STUDY):
        with pytest.raises(CrossplayError, match="one writer"):
            RunFolder.open(tmp_path / "run", write=True)
        with RunFolder.open(tmp_path / "run") as reader:
            assert len(reader) == 0
            with pytest.raises(RunError, match="not open for writing"):
                reader.put(record(0))
    with pytest.raises(CrossplayError, match="holds a run already"):
        RunFolder.create(tmp_path / "run", STUDY)
    with pytest.raises(RunError, match="not a run folder"):
        RunFolder.open(tmp_path / "nothing")
    with RunFolder.open(tmp_path / "run") as run, pytest.raises(CrossplayError, match="no episode 0000000000000005"):
        run.events(5)
    with RunFolder.open(tmp_path / "run") as run, pytest.raises(CrossplayError, match="no episode 0000000000000005"):
        list(run.tables([5]))


def test_a_newer_format_is_refused_in_one_line(tmp_path):
    import sqlite3

    make_run(tmp_path / "run", blocks=1)
    db = sqlite3.connect(tmp_path / "run" / "manifest.sqlite")
    db.execute("UPDATE meta SET value = '99' WHERE key = 'format'")
    db.commit()
    db.close()
    with pytest.raises(RunError, match="format 99 is newer"):
        RunFolder.open(tmp_path / "run")


def test_put_outcome_fills_in_the_study(tmp_path):
    with RunFolder.create(tmp_path / "run", STUDY) as run:
        from crossplay.kernel import Block

        r = run.put_outcome(outcome(2), cell="c", env_id="e", lineup="l", at=Block(1, 2), agents={"a": "x"})
        assert r.id == episode_id(run.study_digest, 1, "e", "l", 2, 0)
        assert run.cells() == [Cell("c", "e", "l", {"a": "x"})]
        run.put(full_record(1))
        assert {type(x) for x in run.records()} == {EpisodeRecord}
