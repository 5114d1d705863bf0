"""Runs written by older versions are read, checked and joined by this one.

tests/data/run-v1 was written once, by `write_fixture` below at format 1, and is never written again:
when the format changes, a new fixture is added beside it.
"""

import json
import shutil
from pathlib import Path

import pytest
from run_helpers import STUDY, full_record, record

from crossplay.kernel import Usage
from crossplay.records import EpisodeRecord, Merged, RunFolder, check_seals, merge
from crossplay.records.cassette import Call, Cassette, call_key
from crossplay.records.reading import Reading
from crossplay.records.table import seal

DATA = Path(__file__).parent.parent / "data"


def write_fixture(path):
    """Six episodes in two parts, two in the buffer, as a run that was killed; and what it holds."""
    identity = {"crossplay": "0.1.0", "cpu": "any", "models": {"m": "sha-1"}, "sampling": {"temperature": 0.7}}
    from crossplay.records import study_digest
    from crossplay.records.entry import to_json

    sources = [(study_digest(STUDY), to_json(identity))]
    run = RunFolder.create(path, STUDY, sources=sources, part_episodes=3)
    run.put_many([record(b, world=w) for b in range(3) for w in ("walk", "talk")])
    void = record(3)
    void.status = "void"
    run.put_many([full_record("q7"), void])
    expected = {"episodes": json.loads(run.episodes().write_json()), "rows": digests(run)}
    run.path.with_name(path.name + ".json").write_text(json.dumps(expected, indent=1) + "\n")
    Reading.close(run)
    run._writer.release()
    call = Call(
        call_key(b"d" * 16, (1, "test/walk", 0, 0, "a", 0, ()), 0),
        b"d" * 16,
        "m",
        (1, "test/walk", 0, 0, "a", 0, ()),
        0,
        b"?",
    )
    with Cassette(path / "cassette" / "cassette.sqlite") as cassette:
        cassette.answer(cassette.intend(call).result(), b"!", Usage(1, 2, 3)).result()
    (path / "lock").unlink()


def digests(run):
    return {f"{r.id:016x}": seal(repr([tuple(e) for e in run.events(r.id)]).encode()) for r in run.records()}


@pytest.fixture
def old(tmp_path):
    shutil.copytree(DATA / "run-v1", tmp_path / "run")
    return tmp_path / "run"


def test_a_run_of_format_1_is_read_as_it_was_written(old):
    expected = json.loads((DATA / "run-v1.json").read_text())
    with RunFolder.open(old) as run:
        assert json.loads(run.episodes().write_json()) == expected["episodes"]
        assert digests(run) == expected["rows"] and len(expected["rows"]) == 8
        assert run.identity()["models"] == {"m": "sha-1"} and run.study_toml == STUDY
        assert len(run.done()) == 7 and [c.name for c in run.cells()] == ["inner", "talk", "walk"]
    assert check_seals(old) == []


def test_a_run_of_format_1_goes_on_and_joins(old, tmp_path):
    with RunFolder.open(old, write=True) as run:
        run.put(record(3, attempt=1))
        assert run.records()[-1].source == 1  # another machine
    assert check_seals(old) == []
    with RunFolder.open(old) as run:
        assert len(run) == 9 and all(isinstance(r, EpisodeRecord) for r in run.records())
    shutil.copytree(DATA / "run-v1", tmp_path / "copy")
    assert merge(tmp_path / "copy", old, tmp_path / "out") == Merged(8, 1, 8)
    assert check_seals(tmp_path / "out") == []
