"""How far runs are, their episodes in pages, and who writes them: without reading twice what is known."""

import math
import os
import shutil
import socket
import sqlite3

import msgspec
import polars as pl
import pytest
import reported
from taking_part import simulate

from crossplay.kernel import CrossplayError
from crossplay.records import RunFolder
from crossplay.records.cassette import Cassette
from crossplay.records.lock import Lock, writer_of
from crossplay.study.costs import LINKS, spent_of
from crossplay.study.listing import COLUMNS, Listing
from crossplay.study.progress import Watch, stamp_of
from crossplay.study.sessions import Sessions
from crossplay.study.tables import result_of
from crossplay.study.values import metric_of
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


def test_what_was_spent_counts_each_call_once_also_of_episodes_that_have_not_ended(copied):
    watch = Watch(copied)
    whole = watch.look()
    assert whole.spent.calls == whole.costs.calls > 20
    assert whole.spent.tokens == whole.costs.tok_in + whole.costs.tok_out
    _keep(copied, 0)
    cut = Watch(copied).look()
    assert (cut.episodes, cut.costs.calls, cut.spent) == (0, 0, whole.spent)
    envs = {cell.env_id for cell in watch.cells.values()}
    costs = msgspec.structs.replace(whole.costs, calls=3 * whole.costs.calls, tok_cached=whole.costs.tok_in)
    ((name, model),) = watch.sources[-1]["models"].items()
    price = {"input": 4.0, "output": 8.0, "cache_read": 1.0}
    priced = {"models": {name: {**model, "priced": "x", "price": price}}}
    spent = spent_of(copied / "cassette" / "cassette.sqlite", costs, priced, envs)
    assert (spent.calls, spent.tokens) == (whole.spent.calls, whole.spent.tokens), (
        "answers that are met again are not paid again"
    )
    assert spent.money == pytest.approx((whole.costs.tok_in + 8 * whole.costs.tok_out) / 1e6)
    assert spent_of(copied / "cassette" / "cassette.sqlite", costs, {}, envs).money is None
    other = spent_of(copied / "cassette" / "cassette.sqlite", costs, priced, {"another"})
    assert other.calls == costs.calls, "answers that were imported for other environments are not its own"
    assert spent_of(None, costs, {}, envs).calls == costs.calls, "a run that keeps no calls knows those of its episodes"


def test_calls_of_episodes_that_have_not_ended_are_not_taken_for_shared_answers(copied):
    def notes():
        run, study = load_run(copied)
        with run:
            return [note for note in result_of(run, study).notes if "sent in all" in note]

    assert notes() == []
    with sqlite3.connect(copied / "cassette" / "cassette.sqlite") as db:  # a tool that was asked is no model
        db.execute("CREATE TEMP TABLE one AS SELECT * FROM calls LIMIT 1")
        db.execute("UPDATE one SET model = 'tool:clock', key = randomblob(length(key))")
        db.execute("INSERT INTO calls SELECT * FROM one")
    db.close()
    assert notes() == []
    with sqlite3.connect(copied / "manifest.sqlite") as db:
        db.execute("DELETE FROM episodes WHERE seq = (SELECT max(seq) FROM episodes WHERE counts LIKE '%calls%')")
    (note,) = notes()
    assert note.startswith("53 calls") and "episodes that have not ended" in note and "several lineups" not in note


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
    assert asked == [6, 6, 0], "the last one that is known is looked at again"


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
    watch._rest = math.inf  # as after calls that took long to add up
    shutil.rmtree(copied)
    shutil.copytree(reported.dilemma(), copied)
    assert watch.look() == Watch(copied).look()


def test_a_run_goes_on_while_somebody_writes_it(copied):
    _keep(copied, 3)
    assert writer_of(copied) == "" and Watch(copied).look().state == "open"
    lock = Lock(copied / "lock")
    assert writer_of(copied) == "here" and Watch(copied).look().state == "going"
    with pytest.raises(CrossplayError, match="already open"):  # looking has not dropped the lock
        Lock(copied / "lock")
    lock.release()
    assert writer_of(copied) == ""


def test_a_writer_in_another_process_is_seen_and_a_dead_one_is_not(copied):
    here = socket.gethostname()
    for said, expected in (
        (f"process {os.getppid()} on {here}\n", "here"),
        (f"process {os.getpid()} on {here}\n", ""),  # another process had this number before us
        (f"process 4194304 on {here}\n", ""),
        (f"process {10**30} on {here}\n", ""),
        (f"process {'9' * 5000} on {here}\n", ""),
        ("process 1 on another-machine.example\n", "elsewhere"),
        ("nonsense", ""),
        ("", ""),
    ):
        (copied / "lock").write_text(said)
        assert writer_of(copied) == expected, said


def test_of_a_writer_on_another_machine_only_changes_are_believed(copied, monkeypatch):
    """Whatever the clocks of that machine, and of the server of the files, say."""
    held = _keep(copied, 3)
    (copied / "lock").write_text("process 1 on another-machine.example\n")
    now = [1000.0]
    monkeypatch.setattr("crossplay.study.progress.time.monotonic", lambda: now[0])
    watch = Watch(copied)
    assert watch.look().state == "open", "it may have been left long ago"
    for written in (1.0, 4e9):  # a clock that stands at 1970, one that is a century ahead
        _give_back(copied, [held.pop(0)])
        os.utime(copied / "manifest.sqlite", (written, written))
        assert watch.look().state == "going", written
        now[0] += 100
        assert watch.look().state == "going"
        now[0] += 100
        assert watch.look().state == "open", "nothing has changed for long"


def test_a_run_that_is_played_again_from_the_beginning_is_counted_anew(copied):
    """Deleted and begun again: the same study, the same ids; only the seconds of its episodes are others."""
    watch, listing = Watch(copied), Listing(copied)
    assert (watch.look().episodes, listing.update().height) == (20, 20)
    with sqlite3.connect(copied / "manifest.sqlite") as db:
        db.execute("DELETE FROM episodes WHERE seq > 5")
        db.execute("UPDATE episodes SET wall_s = wall_s + 100")
    db.close()
    again = watch.look()
    assert (again.episodes, again.costs.wall_s) == (5, Watch(copied).look().costs.wall_s)
    assert listing.update().equals(Listing(copied).update()) and listing.update().height == 5


def test_what_others_hold_of_a_run_stands_still_while_it_grows(copied):
    held = _keep(copied, 7)
    watch = Watch(copied)
    before = watch.look()
    told = {agent: dict(found) for agent, found in before.costs.by_agent.items()}
    _give_back(copied, held)
    watch.look()
    assert before.costs.by_agent == told


def test_trouble_that_passes_is_not_taken_for_damage(copied, monkeypatch):
    from crossplay.records.errors import RunError

    def busy(*_, **__):
        raise RunError("too many open files")

    watch = Watch(copied)
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "open", busy)
        assert watch.look().state == "damaged"
    assert watch.look().state == "done", "the files are as they were"


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE sources SET identity = '[]'",
        """UPDATE sources SET identity = '{"agents": {"chef": 3}}'""",
        """UPDATE sources SET identity = '{"agents": [], "models": 3}'""",
        "UPDATE cells SET extra = 'null'",
        "UPDATE cells SET extra = '{}'",
        """UPDATE cells SET agents = '{"p0": []}'""",
        "UPDATE episodes SET counts = 'null'",
        """UPDATE episodes SET counts = '{"p0": {"calls": "x"}}'""",
        "UPDATE episodes SET wall_s = 'long'",
        "UPDATE episodes SET cell = 'nowhere' WHERE seq = 5",
        "UPDATE episodes SET status = x'ff00'",
        "DELETE FROM cells",
        "DELETE FROM sources",
    ],
)
def test_no_damage_is_raised_by_a_look(copied, sql):
    with sqlite3.connect(copied / "manifest.sqlite") as db:
        db.execute(sql)
    db.close()
    found = Watch(copied).look()
    assert (found.state == "damaged") == bool(found.why)


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


def test_a_study_with_people_is_done_when_as_many_as_wanted_came_to_the_end(tmp_path):
    """Two who left have played as many episodes as one who did not: counted by episodes nobody would be missing."""
    simulate(tmp_path / "run", leaves={2: 9, 4: 9}, numbers=7)
    watch = Watch(tmp_path / "run")
    before = watch.look()
    assert before.episodes >= before.planned and before.state == "open"
    with Cassette(tmp_path / "run/cassette") as cassette:
        kept = Sessions(cassette, 3)
        kept.note(kept.invite(6).number, "thanks", {})
        assert watch.look().state == "done", "an answer that stands in the log"
