"""Runs for the tests of records: small, with every column of the trace in use."""

from crossplay.kernel import Block, loop, pack, play
from crossplay.kernel.events import COLUMNS, Event
from crossplay.records import EpisodeRecord, RunFolder
from worlds import Counter, Rows, Sum, Talk, Uniform, Walk

STUDY = '[study]\nname = "test"\n'


def outcome(block=0, replicate=0, world="walk", root=1):
    at = Block(root, block, replicate)
    if world == "talk":
        return loop(play(Talk(), {s: Sum() for s in "xyz"}, at))
    return loop(play(Walk(1).single(), {"a": Uniform(), "b": Counter(), "c": Rows()}, at))


def record(block=0, replicate=0, world="walk", root=1, study="s", **extra):
    where = {"study": study, "cell": world, "env_id": f"test/{world}", "lineup": "some", "attempt": 0}
    where |= {"at": Block(root, block, replicate), "wall_s": 0.5, "extra": {"paired": "events"}}
    return EpisodeRecord.of(outcome(block, replicate, world, root), **(where | extra))


def full_record(block):
    """An episode whose rows use every column, as seats with teams and models do."""
    r = record(block, cell="inner", lineup="team", agents={"a": "team"})
    r.events = [
        *r.events[:2],
        (0, 1, 0, "model", (0, 2), None, None, None, None, "", "", "team", 1, 90, 12, 4_000, pack({"t": 1.5}), 2),
        (0, 1, 1, "vote", (1,), None, pack([1, "x"]), None, None, "", "text", "team", 0, 0, 0, 0, b"", 6),
        *r.events[2:],
    ]
    return r


def make_run(path, blocks=4, part_episodes=3, **kept):
    """A closed run of 2 * blocks + 1 episodes in parts of `part_episodes`; returns its records."""
    records = [record(b, world=w) for b in range(blocks) for w in ("walk", "talk")] + [full_record(0)]
    with RunFolder.create(path, STUDY, {"sampling": {"t": 0.7}}, part_episodes=part_episodes, **kept) as run:
        run.put_many(records)
    return records


DEFAULT = Event(0, 0, 0, "act")
NAMES = [name for name, _ in COLUMNS]
