"""Checks of requests and answers: each exactly once, by id, several in flight, cancelled, late."""

from __future__ import annotations

import time

from crossplay.wire.check.case import Case, done, refused, rows_of, same
from crossplay.wire.check.line import Failed
from crossplay.wire.messages import Acts, Error

__all__ = ["cancel", "deadline", "ids", "inflight", "ping"]

MANY = 16


def ping(case: Case) -> str:
    """Ping is answered with ok, in and outside of episodes."""
    line = case.line
    done(line.ask("ping"), "ping")
    play = case.begin(line, "ping")
    case.act(line, [play], [0])
    done(line.ask("ping"), "ping within an episode")
    case.end(line, play)
    return "ok"


def ids(case: Case) -> str:
    """Each request is answered exactly once, under its own id, whatever the order and size of ids."""
    line = case.line
    play = case.begin(line, "ids")
    asked = [(1 << 40) + 7, 1_000_003, (1 << 40) + 1, 1_000_001, 70_000, (1 << 33) + 5]
    frames = []
    for i, number in enumerate(asked):
        verb = "ping" if i % 2 else "act"
        fields = case.fields([play], [i]) if verb == "act" else {}
        frames.append(line.frame({"t": verb, "id": number, **fields}))
        line.expect(number, verb)
    line.raw(b"".join(frames))
    for i, number in enumerate(asked):
        answer = line.answer(number)
        done(answer, "ping") if i % 2 else rows_of(answer, 1)
    case.end(line, play)
    done(line.ask("ping"), "ping")
    line.quiet(0.15)
    return f"{len(asked)} requests, {len(asked)} answers"


def inflight(case: Case) -> str:
    """Many acts may be open at once; their answers are those of acts one by one."""
    line = case.line
    one = [case.begin(line, f"flight {i}", i) for i in range(MANY)]
    single = [case.act(line, [p], [0])[0] for p in one]
    case.end(line, *one)
    plays = [case.begin(line, f"flight {i}", i) for i in range(MANY)]
    numbers = [line.open("act", **case.fields([p], [0])) for p in plays]
    values = [rows_of(line.answer(n), 1)[0] for n in numbers]
    case.end(line, *plays)
    if case.hello.deterministic and not same(single, values):
        raise Failed("with many requests open the values differ from those one by one: answers are mixed up")
    return f"{MANY} acts open at once"


def cancel(case: Case) -> str:
    """A cancelled request is still answered once; cancelling what is not open does nothing."""
    line = case.line
    play = case.begin(line, "cancel")
    fields = [case.fields([play], [t]) for t in range(3)]
    numbers = [line.number() for _ in fields]
    frames = [line.frame({"t": "act", "id": n, **f}) for n, f in zip(numbers, fields, strict=True)]
    for n in numbers:
        line.expect(n, "act")
    before = len(case.wrong.get("ids", ()))
    gone = [line.frame({"t": "cancel", "id": numbers[2]}), line.frame({"t": "cancel", "id": 999_999_999})]
    line.raw(b"".join([*frames, *gone]))
    for n in numbers[:2]:
        rows_of(line.answer(n), 1)
    last = line.answer(numbers[2])
    if not isinstance(last, Acts):
        refused(last, "a cancelled act", "CANCELLED")
    line.send({"t": "cancel", "id": numbers[0]})
    line.quiet(0.05)
    done(line.ask("ping"), "ping")
    case.end(line, play)
    noted = case.wrong.get("ids", [])
    if len(noted) > before:
        told = noted[before:]
        del noted[before:]
        raise Failed(f"{told[0]}: a cancel has no answer of its own")
    return "answered once, " + ("before it was cancelled" if isinstance(last, Acts) else "with CANCELLED")


def deadline(case: Case) -> str:
    """An act that says how long its answer is waited for is answered in that time, or with DEADLINE."""
    line = case.line
    play = case.begin(line, "deadline")
    limit = case.deadline
    began = time.monotonic()
    answer = line.ask("act", **case.fields([play], [0]), deadline_ms=int(1000 * limit))
    took = time.monotonic() - began
    in_time = took <= limit + case.slack
    if isinstance(answer, Error):
        refused(answer, "an act with a deadline", "DEADLINE")
    numbers = [line.open("act", **case.fields([play], [t]), deadline_ms=1) for t in range(6)]
    late = 0
    for number in numbers:
        found = line.answer(number)
        if isinstance(found, Error):
            refused(found, "an act with a deadline of 1 ms", "DEADLINE")
            late += 1
    done(line.ask("ping"), "ping")
    case.end(line, play)
    if not in_time:
        raise Failed(
            f"answers {took:.1f} s after an act that is waited for {limit:g} s: answer error DEADLINE by then, or be faster "
            "(a study takes it as a timeout and counts it)"
        )
    return f"in time; of 6 acts with 1 ms, {late} are answered with DEADLINE"
