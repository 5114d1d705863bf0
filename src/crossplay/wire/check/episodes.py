"""Checks of play: episodes begin, rows are answered, values fit, batches equal rows; what is not allowed now is refused."""

from __future__ import annotations

import numpy as np

from crossplay.wire.check.case import Case, done, refused, same
from crossplay.wire.check.line import Failed, Skipped
from crossplay.wire.check.samples import fits, spec_of
from crossplay.wire.messages import Acts, Error, Ok

__all__ = [
    "act",
    "batch",
    "extras",
    "feedback",
    "many_rows",
    "outside",
    "reset",
    "save_load",
    "travelling_memo",
    "values",
]

ROWS = 7
MOST = 512


def reset(case: Case) -> str:
    """Episodes begin, several at once, and end."""
    if not case.own:
        raise Skipped(f"state {case.hello.state}: episodes are not begun")
    line = case.line
    seats = [s.seat.slot for s in case.samples] * 2
    numbers = [900_000 + i for i in range(len(seats))]
    done(line.ask("reset", ep=numbers, slot=seats, key=[bytes([i]) * 16 for i in range(len(seats))]), "reset")
    done(line.ask("end", ep=numbers, status=["terminal"] * len(numbers)), "end")
    return f"{len(seats)} episodes in one reset"


def act(case: Case) -> str:
    """One row is answered with one value."""
    line = case.line
    play = case.begin(line, "act")
    for tick in range(3):
        case.act(line, [play], [tick])
    case.end(line, play)
    return "one value for one row"


def values(case: Case) -> str:
    """All values fit the seat's action specification."""
    line = case.line
    count, against, reason = 0, 0, ""
    for slot, sample in enumerate(case.samples):
        spec = spec_of(sample.seat)
        play = case.begin(line, f"values {slot}", slot)
        for tick in range(min(24, 4 * len(sample.views))):
            value = case.act(line, [play], [tick])[0]
            bad, masked = fits(spec, value, sample.at(play.offset + tick)[1])
            if bad:
                raise Failed(f"seat {sample.seat.seat}, tick {tick}: {bad}")
            count += 1
            against += bool(masked)
            reason = masked or reason
        case.end(line, play)
    note = f"; {against} are not legal there ({reason}): a study counts them as invalid" if against else ""
    return f"{count} values fit{note}"


def batch(case: Case) -> str:
    """N rows are answered with n values; where it is deterministic, with those of n single rows."""
    rows = min(ROWS, case.hello.batch)
    if rows < 2:
        raise Skipped("it takes one row at a time")
    line = case.line
    alone = [case.begin(line, f"batch {i}", i) for i in range(rows)]
    single = [[case.act(line, [p], [t])[0] for p in alone] for t in range(3)]
    case.end(line, *alone)
    together = [case.begin(line, f"batch {i}", i) for i in range(rows)]
    at_once = [case.act(line, together, [t] * rows) for t in range(3)]
    turned = case.act(line, together[::-1], [3] * rows)
    case.end(line, *together)
    if not case.hello.deterministic:
        return f"{rows} rows; not compared, it does not say that it is deterministic"
    if not same(single, at_once):
        tick, row = next((t, r) for t in range(3) for r in range(rows) if not same(single[t][r], at_once[t][r]))
        raise Failed(
            f"row {row} of {rows} is {at_once[tick][row]!r}, alone it is {single[tick][row]!r} (tick {tick}): rows must not "
            "depend on each other (a padded width helps where matrix products round differently)"
        )
    again = [case.begin(line, f"batch {i}", i) for i in range(rows)]
    straight = [case.act(line, again, [t] * rows) for t in range(4)][-1]
    case.end(line, *again)
    if not same(straight[::-1], turned):
        raise Failed("the order of the rows changes their values")
    mine = [case.begin(line, f"batch {i}") for i in range(rows)]
    each = [case.act(line, mine, [t] * rows) for t in range(2)]
    case.end(line, *mine)
    mine = [case.begin(line, f"batch {i}") for i in range(rows)]
    slot = mine[0].sample.seat.slot
    if not same(each, [case.act(line, mine, [t] * rows, slot=slot) for t in range(2)]):
        raise Failed("one number as the slot of all rows gives other values than a column of it")
    case.end(line, *mine)
    return f"{rows} rows equal {rows} single rows, in any order"


def many_rows(case: Case) -> str:
    """As many rows as it says it takes, up to 512."""
    rows = min(MOST, case.hello.batch)
    if rows <= ROWS:
        raise Skipped(f"it takes {rows} rows at most")
    line = case.line
    plays = [case.begin(line, f"many {i}", i) for i in range(rows)] if not case.own else _begun(case, rows)
    case.act(line, plays, [0] * rows)
    case.end(line, *plays)
    return f"{rows} rows in one act"


def _begun(case: Case, rows: int) -> list:
    """So many episodes by one reset."""
    line, plays = case.line, []
    was = case.hello.state
    case.hello.state = "memo"  # the plays are made without a request for each
    try:
        plays = [case.begin(line, f"many {i}", i) for i in range(rows)]
    finally:
        case.hello.state = was
    for i, play in enumerate(plays):
        play.ep = 500_000 + i
    done(line.ask("reset", ep=[p.ep for p in plays], slot=[p.sample.seat.slot for p in plays], key=[p.key for p in plays]), "reset")  # fmt: skip
    return plays


def outside(case: Case) -> str:
    """Act before bind, outside an episode and after its end is refused with BAD_STATE."""
    line = case.fresh(bound=False)
    sample = case.samples[0]
    obs = [sample.at(0)[0]]
    slot = sample.seat.slot
    refused(line.ask("act", ep=[1], slot=[slot], tick=[0], obs=obs), "act before bind", "BAD_STATE")
    if not case.own:
        return f"refused before bind; state {case.hello.state} has no episodes to be outside of"
    refused(line.ask("reset", ep=[1], slot=[slot], key=[bytes(16)]), "reset before bind", "BAD_STATE")
    line = case.line
    play = case.begin(line, "outside")
    never = {**case.fields([play], [0]), "ep": np.array([777_777], np.uint64)}
    _no_episode(line.ask("act", **never), "act in an episode that was never begun")
    case.act(line, [play], [0])
    case.end(line, play)
    _no_episode(line.ask("act", **case.fields([play], [1])), "act in an episode that has ended")
    return "BAD_STATE before bind, before reset, after end"


def _no_episode(answer: object, what: str) -> None:
    """BAD_STATE for the whole act, or for the row."""
    if isinstance(answer, Acts) and answer.faults and next(iter(answer.faults.values()))[:1] == ["BAD_STATE"]:
        return
    refused(answer, what, "BAD_STATE")


def extras(case: Case) -> str:
    """What comes beside the observation does no harm: reward, last, inbox, brief, deadline."""
    line = case.line
    play = case.begin(line, "extras")
    case.act(line, [play], [0])
    case.act(
        line, [play], [1], reward=np.array([0.5]), last={0: [0, "noop"]}, deadline_ms=60_000,
        inbox={0: [["seat0", {"id": 1, "text": "hello", "act": "answer"}, "team", "b", 0], ["*", "hi", "main", "seat1", 0]]},
        brief={0: {"text": "be short", "wants": ["confidence", "rationale"]}},
    )  # fmt: skip
    case.end(line, play)
    return "reward, last, inbox, brief and a deadline"


def feedback(case: Case) -> str:
    """Feedback is taken without an answer."""
    if not case.hello.feedback:
        raise Skipped("it wants none")
    line = case.line
    play = case.begin(line, "feedback")
    for tick in range(3):
        case.act(line, [play], [tick])
        line.send(
            {
                "t": "feedback",
                "ep": np.array([play.ep], np.uint64),
                "reward": np.array([1.0]),
                "ended": ["" if tick < 2 else "terminal"],
            }
        )
    case.end(line, play)
    done(line.ask("ping"), "ping")
    return "3 times, without an answer"


def travelling_memo(case: Case) -> str:
    """A memo that comes back continues the episode; another episode's rows do not change it."""
    if case.hello.state != "memo":
        raise Skipped(f"state {case.hello.state}: no memo travels")
    line = case.line
    play = case.begin(line, "memo")
    case.act(line, [play], [0])
    if play.memo is None:
        raise Failed('state is "memo", but no memo came with the acts: return one, or say state "none"')
    kept = play.memo
    first = case.act(line, [play], [1])[0]
    other = case.begin(line, "memo beside", 1)
    case.act(line, [other], [0])
    play.memo = kept
    second = case.act(line, [play], [1])[0]
    if case.hello.deterministic and not same(first, second):
        raise Failed(
            f"the same memo and observation give {first!r}, then {second!r}: something is remembered beside the memo"
        )
    with case.other() as elsewhere:
        there = case.begin(elsewhere, "memo")
        there.memo = kept
        third = case.act(elsewhere, [there], [1])[0]
    if case.hello.deterministic and not same(first, third):
        raise Failed(f"a memo taken to another process gives {third!r}, not {first!r}")
    return "continues here and in another process"


def save_load(case: Case) -> str:
    """What is saved continues under another number, here and in another process, as the episode itself goes on."""
    if not case.hello.saves:
        raise Skipped("it does not save")
    line = case.line
    play = case.begin(line, "saved")
    case.played(line, play, 5)
    data = done(line.ask("save", ep=play.ep), "save")
    onward = case.played(line, play, 5, 5)
    refused(line.ask("save", ep=888_888), "save of an episode that was never begun", "BAD_STATE")
    for where in ("here", "in another process"):
        target = line if where == "here" else case.fresh()
        twin = case.begin(target, "twin", offset=play.offset) if case.own else play
        number = 600_000
        answer = target.ask("load", ep=number, slot=play.sample.seat.slot, key=play.key, data=data)
        if not isinstance(answer, Ok):
            raise Failed(
                f"load {where} is answered with {answer.code} {answer.message}"
                if isinstance(answer, Error)
                else f"load {where}: no ok"
            )
        before, play.ep = play.ep, number
        again = case.played(target, play, 5, 5)
        play.ep = before
        if case.hello.deterministic and not same(onward, again):
            raise Failed(f"what was saved goes on {where} with {again}, the episode itself with {onward}")
        if case.own:
            target.ask("end", ep=[number, twin.ep], status=["terminal", "terminal"])
    case.end(line, play)
    return "goes on here and in another process"
