"""Joining runs: what both hold is stored once, what contradicts is refused, nothing else changes."""

import pytest
from run_helpers import STUDY, record

from crossplay.kernel import CrossplayError, Usage
from crossplay.kernel.types import pack, unpack
from crossplay.records import Cell, Damaged, EpisodeRecord, Merged, RunFolder, check_seals, merge
from crossplay.records.cassette import Call, Cassette, call_key


def write(path, records, study=STUDY, identity=None, cells=()):
    with RunFolder.create(path, study, identity, part_episodes=3) as run:
        run.add_cells(cells)
        run.put_many(records)
    return path


def contents(path):
    with RunFolder.open(path) as run:
        return {r.id: (r.cell, r.place, r.status, r.score, r.world, run.table(r.id).encode()) for r in run.records()}


def test_two_halves_of_a_study_are_the_whole(tmp_path):
    a = write(tmp_path / "a", [record(b) for b in range(5)], identity={"models": {"m": "sha-1"}})
    b = write(tmp_path / "b", [record(b) for b in range(3, 8)], identity={"models": {"m": "sha-2"}})
    assert merge(a, b, tmp_path / "out") == Merged(5, 3, 2)
    both = contents(tmp_path / "out")
    assert both == {**contents(b), **contents(a)} and len(both) == 8
    assert check_seals(tmp_path / "out") == [] and check_seals(a) == []
    with RunFolder.open(tmp_path / "out") as run:
        played = {r.block: run.identity(r.source)["models"]["m"] for r in run.records()}
        assert played == {i: "sha-1" if i < 5 else "sha-2" for i in range(8)}
        assert run.study_toml == STUDY and len(run.studies()) == 1
        assert len(run.frame()) == sum(r for r in run.episodes()["rows"])
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a", "b", "out"]


def test_merging_a_run_with_itself_changes_nothing(tmp_path):
    a = write(tmp_path / "a", [record(b, world=w) for b in range(2) for w in ("walk", "talk")])
    assert merge(a, a, tmp_path / "out") == Merged(4, 0, 4)
    assert contents(a) == contents(tmp_path / "out")


def test_other_studies_that_met_the_same_blocks_keep_their_texts(tmp_path):
    other = '[study]\nname = "other"\n'
    a = write(tmp_path / "a", [record(0)])
    b = write(tmp_path / "b", [record(0, study="o", world="talk"), record(0, study="o")], study=other)
    assert merge(a, b, tmp_path / "out") == Merged(1, 1, 1)  # the same episode under another id is the same
    with RunFolder.open(tmp_path / "out") as run:
        assert list(run.studies().values()) == [STUDY, other]
        assert {r.cell: run.identity(r.source)["study"] for r in run.records()}["talk"] == list(run.studies())[1]
    assert check_seals(tmp_path / "out") == []
    (name,) = (tmp_path / "out").glob("study-*.toml")
    name.write_text("changed")
    assert [d.file for d in check_seals(tmp_path / "out")] == [name.name]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"world": b"x" * 32}, "world digest"),
        ({"mind": b"x" * 32}, "mind digest"),
        ({"score": {"coins": 99.0}}, "score"),
        ({"status": "forfeit:a"}, "status"),
        ({"id": 5, "status": "env-fault"}, "status"),
    ],
)
def test_contradicting_episodes_are_refused_and_named(tmp_path, change, said):
    other = record(1)
    for name, value in change.items():
        setattr(other, name, value)
    a, b = write(tmp_path / "a", [record(0), record(1)]), write(tmp_path / "b", [other])
    with pytest.raises(CrossplayError, match=rf'cell "walk", root 1, block 1, replicate 0 .*\({said}\)') as error:
        merge(a, b, tmp_path / "out")
    assert "other replicates" in str(error.value)
    assert sorted(f.name for f in tmp_path.iterdir()) == ["a", "b"]


def test_another_root_or_replicate_is_another_place(tmp_path):
    a = write(tmp_path / "a", [record(0)])
    b = write(tmp_path / "b", [record(0, root=2), record(0, replicate=1)])
    assert merge(a, b, tmp_path / "out") == Merged(1, 2, 0)


def test_a_cell_that_means_something_else_is_refused(tmp_path):
    a = write(tmp_path / "a", [], cells=[Cell("c", "e", "l", {"p": "x"})])
    b = write(tmp_path / "b", [], cells=[Cell("c", "e", "l", {"p": "y"})])
    with pytest.raises(CrossplayError, match=r'cell "c" is e with l {"p":"y"} there, and e with l {"p":"x"}'):
        merge(a, b, tmp_path / "out")


def test_a_void_episode_gives_way(tmp_path):
    void = record(0)
    void.status, void.world = "void", b"v" * 32
    retried = EpisodeRecord(**{f: getattr(record(0), f) for f in void.__struct_fields__})
    retried.attempt, retried.id = 1, 77
    a = write(tmp_path / "a", [void, retried])
    b = write(tmp_path / "b", [record(0)])
    assert merge(b, a, tmp_path / "one") == Merged(1, 0, 2)
    merge(write(tmp_path / "v", [void]), b, tmp_path / "two")
    assert [s for _, _, s, *_ in contents(tmp_path / "two").values()] == [record(0).status]


def test_a_damaged_run_is_refused(tmp_path):
    a, b = write(tmp_path / "a", [record(0)]), write(tmp_path / "b", [record(1)])
    part = b / "trace" / "part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    with pytest.raises(Damaged, match="is damaged"):
        merge(a, b, tmp_path / "out")
    with pytest.raises(CrossplayError, match="exists already"):
        merge(a, b, a)


def tape(folder, block, reply):
    address = (1, "test/walk", block, 0, "a", 0, ())
    call = Call(call_key(b"d" * 16, address, 0), b"d" * 16, "m", address, 0, b"request")
    with Cassette(folder / "cassette" / "cassette.sqlite") as cassette:
        cassette.answer(cassette.intend(call).result(), reply, Usage(1, 2, 3)).result()
    RunFolder.open(folder, write=True, same_source=True).close()
    return call.key


def test_cassettes_are_joined_call_by_call(tmp_path):
    a, b = write(tmp_path / "a", [record(0)]), write(tmp_path / "b", [record(0), record(1)])
    keys = [tape(a, 0, b"yes"), tape(b, 0, b"yes"), tape(b, 1, b"no")]
    merge(a, b, tmp_path / "out")
    with Cassette(tmp_path / "out" / "cassette" / "cassette.sqlite", "strict") as cassette:
        assert len(cassette) == 2 and [cassette.get(k).reply for k in keys] == [b"yes", b"yes", b"no"]
    assert check_seals(tmp_path / "out") == []
    with RunFolder.open(tmp_path / "out") as run:
        assert run.cassette_path.is_file()


def test_an_answer_that_cost_another_time_is_the_same_answer(tmp_path):
    a, b = write(tmp_path / "a", [record(0)]), write(tmp_path / "b", [record(0), record(1)])
    first, again = ({"text": "yes", "usage": {"tok_out": 1, "cpu_us": n}} for n in (7, 8))
    key = tape(a, 0, pack(first))
    tape(b, 0, pack(again)), tape(b, 1, pack(again))
    merge(a, b, tmp_path / "out")
    with Cassette(tmp_path / "out" / "cassette" / "cassette.sqlite", "strict") as cassette:
        assert len(cassette) == 2 and unpack(cassette.get(key).reply) == first
    assert check_seals(tmp_path / "out") == []
    other = write(tmp_path / "other", [record(1)])
    tape(other, 0, pack({**first, "text": "no"}))
    with pytest.raises(CrossplayError, match="another answer"):
        merge(a, other, tmp_path / "never")


def test_one_call_with_two_answers_is_refused_unless_cassettes_are_left_out(tmp_path):
    a, b = write(tmp_path / "a", [record(0)]), write(tmp_path / "b", [record(1)])
    tape(a, 0, b"yes"), tape(b, 0, b"no")
    with pytest.raises(CrossplayError, match=r"block 0, seat a, tick 0. has another answer"):
        merge(a, b, tmp_path / "out")
    merge(a, b, tmp_path / "out", cassette=False)
    assert not (tmp_path / "out" / "cassette").exists()


def test_damage_of_the_cassette_names_the_episodes(tmp_path):
    import sqlite3

    a = write(tmp_path / "a", [record(0), record(1), record(1, world="talk")])
    tape(a, 1, b"yes")
    file = a / "cassette" / "cassette.sqlite"
    assert check_seals(a) == []
    data = file.read_bytes()
    db = sqlite3.connect(file)
    db.execute("UPDATE calls SET reply = ?", (b"no!",))
    db.commit()
    db.close()
    (damage,) = check_seals(a)
    assert damage.episodes == (record(1).id,) and damage.file == "cassette/cassette.sqlite"
    file.write_bytes(data)
    assert check_seals(a) == []
    file.unlink()
    file.with_suffix(".seal").unlink()
    assert [str(d) for d in check_seals(a)] == ["cassette: is gone; the run was closed with one"]
