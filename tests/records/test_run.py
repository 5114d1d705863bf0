"""A run folder: what is put is there, as it was, from the buffer and from parts."""

import pytest

from crossplay.kernel import Block, CrossplayError, loop, play
from crossplay.records import EpisodeRecord, RunFolder, episode_id
from worlds import Counter, Rows, Uniform, Walk

STUDY = '[study]\nname = "test"\n'


def outcome(block=0, replicate=0):
    return loop(play(Walk(1).single(), {"a": Uniform(), "b": Counter(), "c": Rows()}, Block(1, block, replicate)))


def record(block=0, replicate=0, cell="walk", **extra):
    where = {"study": "s", "cell": cell, "env_id": "test/walk", "lineup": "u+c+r", "at": Block(1, block, replicate)}
    return EpisodeRecord.of(outcome(block, replicate), **(where | extra))


def test_what_is_put_is_there_from_the_buffer_and_from_parts(tmp_path):
    records = [record(b, r) for b in range(3) for r in range(2)]
    with RunFolder.create(tmp_path / "run", STUDY, {"sampling": {"t": 0.7}}) as run:
        for r in records:
            run.put(r)
            assert run.events(r.id) == [tuple(e) for e in r.events]
        assert not list((tmp_path / "run" / "trace").iterdir())
    with RunFolder.open(tmp_path / "run") as run:
        assert len(list((tmp_path / "run" / "trace").iterdir())) == 1
        for r in records:
            again = run.outcome(r.id)
            assert again.events == list(r.events)
            assert (again.world, again.mind, again.score, again.counts) == (r.world, r.mind, r.score, r.counts)
        assert run.done() == {("walk", b, r) for b in range(3) for r in range(2)}
        assert run.study_toml == STUDY and run.identity()["sampling"] == {"t": 0.7}
        frame = run.episodes()
        assert frame["episode"].to_list() == [r.id for r in records]
        assert frame["score.coins"].to_list() == [r.score["coins"] for r in records]


def test_the_id_has_64_bits_of_every_part():
    base = ("d", 1, "e", "l", 2, 3, 0)
    others = [("x", 1, "e", "l", 2, 3, 0), ("d", 0, "e", "l", 2, 3, 0), ("d", 1, "f", "l", 2, 3, 0)]
    others += [("d", 1, "e", "m", 2, 3, 0), ("d", 1, "e", "l", "2", 3, 0), ("d", 1, "e", "l", 2, 0, 0)]
    ids = {episode_id(*names) for names in [base, *others, (*base[:-1], 1)]}
    assert len(ids) == 8 and all(0 <= i < 2**64 for i in ids)
    assert episode_id(*base) == episode_id(*base)


def test_a_second_writer_and_a_second_creation_are_refused(tmp_path):
    with RunFolder.create(tmp_path / "run", STUDY):
        with pytest.raises(CrossplayError, match="one writer"):
            RunFolder.open(tmp_path / "run", write=True)
        with RunFolder.open(tmp_path / "run") as reader:
            assert len(reader) == 0
    with pytest.raises(CrossplayError, match="holds a run already"):
        RunFolder.create(tmp_path / "run", STUDY)
