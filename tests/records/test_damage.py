"""One changed byte, wherever it lies, is found and its episodes are named."""

import random
import shutil
import sqlite3

import polars as pl
import pytest
from run_helpers import make_run, record

from crossplay.kernel import CrossplayError
from crossplay.records import Damaged, RunFolder, check_seals
from crossplay.records.check import manifest_damage
from crossplay.records.manifest import row_seal
from crossplay.records.parts import Slice
from crossplay.records.reading import Reading
from crossplay.records.salvage import differing


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A closed run of 9 episodes in three parts, and the ids of its episodes in order."""
    path = tmp_path_factory.mktemp("sound") / "run"
    return path, [r.id for r in make_run(path)]


@pytest.fixture
def run(sound, tmp_path):
    shutil.copytree(sound[0], tmp_path / "run")
    return tmp_path / "run"


def flip(path, at, mask=0xFF):
    data = bytearray(path.read_bytes())
    data[at] ^= mask
    path.write_bytes(data)


def test_a_sound_run_has_no_damage(sound):
    assert check_seals(sound[0]) == []
    with RunFolder.open(sound[0]) as run:
        assert check_seals(run) == []


def test_every_flipped_byte_of_a_part_is_found_and_names_its_episodes(sound, run):
    ids, chance = sound[1], random.Random(5)
    for n in range(2):
        where = []
        for part in range(3):
            shutil.copy(sound[0] / "trace" / f"part-{part:05d}.parquet", run / "trace")
            path = run / "trace" / f"part-{part:05d}.parquet"
            where.append(0 if n == 0 else chance.randrange(path.stat().st_size))
            flip(path, where[-1], 1 << chance.randrange(8))
        found = {d.file: d for d in check_seals(run)}
        for part in range(3):
            damage = found[f"trace/part-{part:05d}.parquet"]
            assert set(damage.episodes) <= set(ids[3 * part : 3 * part + 3]) and damage.episodes, where


def test_any_byte_of_a_part_can_be_flipped_without_harm_to_the_reader(sound, tmp_path):
    """150 copies, each with one other bit: the reader's panics, aborts and appetites stay outside."""
    chance, jobs = random.Random(6), []
    data = (sound[0] / "trace" / "part-00001.parquet").read_bytes()
    with RunFolder.open(sound[0]) as run:
        rows = run._query("SELECT episode, first, rows, seal FROM episodes WHERE part = 'part-00001.parquet'")
    slices = [Slice(int(e, 16), f, n, s) for e, f, n, s in rows]
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    for i in range(150):
        at = chance.randrange(len(data)) if i % 2 else chance.randrange(footer, len(data))
        copy = tmp_path / f"{i}.parquet"
        copy.write_bytes(data)
        flip(copy, at, 1 << chance.randrange(8))
        jobs.append((copy, slices))
    answers = differing(jobs)
    assert len(answers) == 150 and all(a <= {s.episode for s in slices} for a in answers)
    assert sum(bool(a) for a in answers) > 40  # statistics and the like harm no row


def test_only_the_episodes_whose_rows_differ_are_named(sound, run):
    path = run / "trace" / "part-00001.parquet"
    victim = sound[1][4]
    frame = pl.read_parquet(path)
    wrong = (pl.col("episode") == victim) & (pl.col("tick") == 1)
    frame.with_columns(wall_us=pl.when(wrong).then(pl.col("wall_us") + 1).otherwise(pl.col("wall_us"))).write_parquet(
        path
    )
    assert [(d.file, d.episodes) for d in check_seals(run)] == [("trace/part-00001.parquet", (victim,))]
    with RunFolder.open(run) as folder:
        assert folder.events(sound[1][0])
        with pytest.raises(Damaged, match=r"part-00001\.parquet is damaged"):
            folder.events(victim)
        with pytest.raises(Damaged):
            folder.frame()


def test_bytes_that_parquet_does_not_read_make_all_episodes_suspect(sound, run):
    path = run / "trace" / "part-00002.parquet"
    pl.read_parquet(path).write_parquet(path, compression="snappy")  # the same rows in other bytes
    (damage,) = check_seals(run)
    assert damage.episodes == tuple(sound[1][6:9]) and "all rows still match" in damage.what


def test_a_missing_part_is_found(sound, run):
    (run / "trace" / "part-00000.parquet").unlink()
    (damage,) = check_seals(run)
    assert damage.episodes == tuple(sound[1][:3]) and "missing" in damage.what


def tables(path):
    """Everything the manifest says, or None when it cannot be read."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    db.text_factory = bytes
    try:
        names = [n.decode() for (n,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
        return {n: db.execute(f"SELECT * FROM {n}").fetchall() for n in names}
    except sqlite3.Error:
        return None
    finally:
        db.close()


def test_a_schema_that_is_no_text_any_more_is_damage(run):
    """SQLite then complains in bytes that are no text either."""
    path = run / "manifest.sqlite"
    data = path.read_bytes()
    assert b"CREATE TABLE episodes" in data
    path.write_bytes(data.replace(b"CREATE TABLE episodes", b"CREATE T\xccBLE episodes", 1))
    with pytest.raises(Damaged, match=r"manifest\.sqlite is damaged"):
        RunFolder.open(run)
    assert any(d.file == "manifest.sqlite" for d in check_seals(run))


def test_totals_in_capital_letters_are_damage(run):
    db = sqlite3.connect(run / "manifest.sqlite")
    with db:
        db.execute("UPDATE totals SET value = upper(value) WHERE name = 'seals'")
    db.close()
    assert any(d.file == "manifest.sqlite" for d in check_seals(run))


def test_any_flipped_byte_of_the_manifest_is_found_or_changes_nothing(sound, run):
    path, chance = run / "manifest.sqlite", random.Random(7)
    data, truth, found = path.read_bytes(), tables(path), 0
    used = [i for i, b in enumerate(data) if b]
    for i in range(120):
        path.write_bytes(data)
        flip(path, used[chance.randrange(len(used))] if i % 6 else i // 6, 1 << chance.randrange(8))
        if check_seals(run):
            found += 1
        else:
            assert tables(path) == truth
    assert found > 60


def test_every_byte_of_an_episode_entry_is_sealed(sound, run):
    path, victim = run / "manifest.sqlite", sound[1][5]
    data = path.read_bytes()
    with RunFolder.open(run) as folder:
        row = folder._query("SELECT * FROM episodes WHERE episode = ?", (f"{victim:016x}",))[0]
    start = data.index(f"{victim:016x}{row[2]}".encode())
    end = data.index(row[-3].encode(), start) + 64
    shutil.rmtree(run / "trace")
    positions = range(start, end, 7)
    named = 0
    for at in positions:
        path.write_bytes(data)
        flip(path, at, 0x01)
        damage = [d for d in check_seals(run) if d.file == "manifest.sqlite"]
        assert damage, at
        named += any(victim in d.episodes for d in damage)
    assert named >= 0.9 * len(positions)  # a flip within the id itself cannot name the old one


def test_a_score_changed_with_a_fitting_row_seal_is_still_found(run):
    """Who recomputes the seal of the row is found by the sum over all of them."""
    db = sqlite3.connect(run / "manifest.sqlite")
    from crossplay.records.manifest import ALL

    values = list(db.execute(f"SELECT {ALL} FROM episodes WHERE seq = 2").fetchone())
    values[10] = '{"coins":1e9}'
    db.execute("UPDATE episodes SET score = ?, row_seal = ? WHERE seq = 2", (values[10], row_seal(values)))
    db.commit()
    db.close()
    assert [d.what for d in check_seals(run)] == ["the episodes together do not match the run's seal"]


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM episodes WHERE seq = 3",
        "UPDATE cells SET lineup = 'other'",
        "UPDATE sources SET identity = '{}'",
        "UPDATE meta SET value = '2020' WHERE key = 'created'",
        "UPDATE episodes SET part = NULL WHERE seq = 1",
        "UPDATE episodes SET first = 7 WHERE seq = 2",
        "UPDATE episodes SET part = 'part-00009.parquet' WHERE seq = 2",
        "UPDATE parts SET sha256 = '00'",
        "UPDATE totals SET value = '8' WHERE name = 'episodes'",
        "DROP INDEX once",
        "DROP TABLE totals",
        "DROP TABLE parts",
    ],
)
def test_changes_by_sql_are_found(run, sql):
    db = sqlite3.connect(run / "manifest.sqlite")
    db.execute(sql)
    db.commit()
    db.close()
    damage = check_seals(run)
    assert damage and all(str(d).count("\n") == 0 for d in damage)


def test_another_study_is_found(run):
    (run / "study.toml").write_text("[study]\n")
    assert [(d.file, d.episodes) for d in check_seals(run)] == [("study.toml", ())]


def test_flipped_bytes_of_buffered_rows_name_their_episode(tmp_path):
    run = RunFolder.create(tmp_path / "run", "")
    records = [record(b) for b in range(3)]
    run.put_many(records)
    run._manifest.db.execute("VACUUM")  # no old copies of a page beside the live one
    blob = run._query("SELECT rows FROM buffer WHERE seq = 2")[0][0]
    Reading.close(run)  # as after a kill: nothing moved, nothing tidied
    run._writer.release()
    run._writer = None
    path = tmp_path / "run" / "manifest.sqlite"
    start, chance = path.read_bytes().index(blob[:400]), random.Random(8)
    assert check_seals(tmp_path / "run") == []
    for _ in range(40):
        at = start + chance.randrange(400)
        flip(path, at, mask := 1 << chance.randrange(8))
        (damage,) = check_seals(tmp_path / "run")
        assert damage.episodes == (records[1].id,) and damage.what.startswith("buffer: ")
        flip(path, at, mask)


@pytest.mark.parametrize("content", [b"", b"SQLite format 3\x00", b"no database" * 100])
def test_a_manifest_that_is_none_is_one_clear_line(run, content):
    (run / "manifest.sqlite").write_bytes(content)
    damage = check_seals(run)
    assert damage and all(d.file == "manifest.sqlite" for d in damage[:1])
    with pytest.raises(CrossplayError, match=r"manifest\.sqlite is damaged") as error:
        RunFolder.open(run)
    assert error.value.exit_code == 1 and "\n" not in str(error.value)


@pytest.mark.parametrize("table", ["cells", "sources"])
def test_a_lost_row_of_what_episodes_belong_to_is_found(sound, run, table):
    assert manifest_damage(run) == []
    db = sqlite3.connect(run / "manifest.sqlite")
    with db:
        db.execute(f"DELETE FROM {table}")
    db.close()
    found = manifest_damage(run)
    assert {e for d in found if "lost" in d.what for e in d.episodes} == set(sound[1])
    assert all(d.file == "manifest.sqlite" for d in found) and check_seals(run) == found
