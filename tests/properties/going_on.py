"""Invariants 2 and 3: snapshots, branches, replay."""

from __future__ import annotations

from crossplay.kernel import (
    Block,
    Channel,
    Conduct,
    key,
    loop,
    pick,
    play,
    recorded,
)
from more_worlds import Chatty, Weather, case
from properties.common import CASES, Scripted, acting, invariant, run
from worlds import Uniform, state


@invariant(2)
def resumed_episodes_equal_whole_ones():
    """From a snapshot at a drawn tick, with mail under way, memos and counts, fresh agents go on alike."""
    for i in CASES:
        make, lineup, at, conduct = case(i)
        shots = []
        whole = loop(
            play(make(), lineup, at, conduct), lambda e, s=shots: s.append(e.snapshot()) if acting(e) else None
        )
        assert state(whole) == state(run(i)), f"case {i}: taking snapshots changed the episode"
        for j in {0, pick(key("cut", i), len(shots)), len(shots) - 1}:
            fresh = case(i)
            again = loop(play(fresh[0](), fresh[1], at, conduct, resume=shots[j]))
            assert state(again) == state(whole), f"case {i}: resumed at tick {j}"


@invariant(2)
def a_snapshot_keeps_mail_and_memos():
    """Mail that waits, and mail that was handed out with requests not yet answered, is in the snapshot."""
    for delay in (0, 1, 2):
        conduct = Conduct(mail=Channel(delay=delay))
        shots = []
        lineup = {"m": Chatty(), "n": Chatty()}
        whole = loop(
            play(Weather(), lineup, Block(1), conduct), lambda e, s=shots: s.append(e.snapshot()) if acting(e) else None
        )
        assert whole.counts["m"]["said"] > 2
        for shot in shots:
            assert state(
                loop(play(Weather(), {"m": Chatty(), "n": Chatty()}, Block(1), conduct, resume=shot))
            ) == state(whole)


@invariant(2)
def branches_part_and_leave_the_trunk_alone():
    shots = []
    trunk = loop(
        play(Weather(), {"m": Chatty(), "n": Uniform()}, Block(6)),
        lambda e: shots.append(e.snapshot()) if acting(e) else None,
    )
    before = bytes(shots[5])
    branch = loop(play(Weather(), {"m": Scripted([2]), "n": Uniform()}, Block(6), resume=shots[5]))
    assert shots[5] == before and branch.world != trunk.world
    a, b = ([(e.tick, e.seat, e.value) for e in o.trace() if e.kind == "act" and e.tick < 5] for o in (trunk, branch))
    assert a == b
    assert state(loop(play(Weather(), {"m": Chatty(), "n": Uniform()}, Block(6), resume=shots[5]))) == state(trunk)


REPLAYED = ("invalid", "error", "timeout", "said", "bad_address", "cut", "erased", "decisions", "held")


def _counted(outcome):
    return {
        seat: {k: v for k, v in counts.items() if k in REPLAYED or k.startswith("link_")}
        for seat, counts in outcome.counts.items()
    }


@invariant(3)
def replay_needs_no_agent():
    """The recorded moves, faults and words give the same world, totals and counts, whoever played."""
    faulty = 0
    for i in CASES:
        make, _, at, conduct = case(i)
        first = run(i)
        again = loop(play(make(), recorded(first.trace(), make().seats), at, conduct))
        assert (again.world, again.totals, again.score, again.status) == (
            first.world,
            first.totals,
            first.score,
            first.status,
        ), i
        assert _counted(again) == _counted(first), i
        faulty += sum(e.kind == "fault" for e in first.trace())
    assert faulty > 20


@invariant(3)
def replay_shows_a_changed_move():
    """One recorded move changed, and the digest is another one."""
    first = run(3)
    rows = first.trace()
    moves = [j for j, e in enumerate(rows) if e.kind == "act" and e.value is not None and e.origin == "own"]
    assert moves
    for j in (moves[0], moves[len(moves) // 2], moves[-1]):
        make, _, at, conduct = case(3)
        names = len(make().SPEC.names)
        changed = [*rows[:j], rows[j]._replace(value=(rows[j].value + 1) % names), *rows[j + 1 :]]
        assert loop(play(make(), recorded(changed, make().seats), at, conduct)).world != first.world
