"""The conformance kit of workers: `check_worker(start)` tries what every worker must keep, and reports by name.

`line` holds one connection, `case` the worker under check and its episodes, `samples` seats and observations;
`greeting`, `episodes`, `fields`, `answers`, `streams`, `chance` and `sharing` hold the checks, one function each.
How a process is started is the caller's: any language, any interpreter.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from crossplay.kernel.registry import nearest
from crossplay.kernel.types import CrossplayError
from crossplay.wire.check import answers, chance, episodes, fields, greeting, sharing, streams
from crossplay.wire.check.case import Case, Seats, Start
from crossplay.wire.check.line import Failed, Process, Skipped, Trouble
from crossplay.wire.check.samples import Sample

__all__ = ["CHECKS", "Finding", "Process", "Sample", "Seats", "Start", "check_worker"]

CHECKS: dict[str, tuple[Callable[[Case], str], tuple[str, ...]]] = {
    "hello": (greeting.hello, ()),
    "bind": (greeting.bind, ("hello",)),
    "reset": (episodes.reset, ("bind",)),
    "act": (episodes.act, ("bind", "reset")),
    "ping": (answers.ping, ("act",)),
    "ids": (answers.ids, ("ping",)),
    "values": (episodes.values, ("act",)),
    "same-seed": (chance.same_seed, ("act",)),
    "same-key": (chance.again, ("same-seed",)),
    "interleaved": (chance.interleaved, ("same-key",)),
    "batch": (episodes.batch, ("interleaved",)),
    "many-rows": (episodes.many_rows, ("batch",)),
    "memo": (episodes.travelling_memo, ("interleaved",)),
    "save-load": (episodes.save_load, ("interleaved",)),
    "in-flight": (answers.inflight, ("interleaved", "ids")),
    "cancel": (answers.cancel, ("ids",)),
    "deadline": (answers.deadline, ("ids",)),
    "extras": (episodes.extras, ("act",)),
    "feedback": (episodes.feedback, ("ids",)),
    "unknown-verb": (fields.unknown_verb, ("act",)),
    "unknown-keys": (fields.unknown_keys, ("act",)),
    "unequal-columns": (fields.unequal, ("ping",)),
    "wrong-types": (fields.wrong_types, ("unequal-columns",)),
    "invalid-input": (fields.invalid_input, ("act",)),
    "errors": (fields.errors, ("unknown-verb", "wrong-types")),
    "outside-episodes": (episodes.outside, ("act",)),
    "rebind": (greeting.rebind, ("act",)),
    "bad-seats": (greeting.bad_seats, ("rebind",)),
    "chatter": (streams.chatter, ("act",)),
    "partial-frames": (streams.partial, ("ids", "ping")),
    "json": (streams.json_codec, ("same-key",)),
    "shared-memory": (sharing.shared, ("batch",)),
    "stale-slots": (sharing.stale, ("shared-memory",)),
    "pipes": (sharing.pipes, ("partial-frames", "batch", "unknown-keys")),
    "memory": (streams.memory, ("act",)),
    "at-rest": (streams.rest, ("act",)),
    "older-minor": (greeting.older_minor, ("act",)),
    "other-major": (greeting.other_major, ("hello",)),
    "kill": (greeting.kill, ("act",)),
    "vanish": (greeting.vanish, ("kill",)),
    "bye": (greeting.bye, ("bind",)),
    "garbage": (streams.garbage, ("kill",)),
    "oversized": (streams.oversized, ("garbage",)),
    "frames": (streams.frames, ("hello",)),
}
"""Every check, by name: what tries it (it returns what was seen), and the checks that must have passed before."""

_SEATLESS = frozenset(("hello", "other-major", "unknown-verb", "garbage", "oversized", "bye", "frames"))


class Finding(msgspec.Struct, frozen=True):
    """What one check found. text: what was seen, what to do, or why it was skipped."""

    name: str
    status: Literal["ok", "failed", "skipped"]
    text: str = ""


def check_worker(
    start: Start,
    seats: Seats | None = None,
    *,
    config: Mapping[str, Any] | None = None,
    only: Sequence[str] | None = None,
    patience: float = 20.0,
    start_s: float = 60.0,
    exit_s: float = 5.0,
    deadline: float = 2.0,
    say: Callable[[str], None] | None = None,
) -> list[Finding]:
    """What every check found about the worker that `start` starts, in the order of `CHECKS`.

    seats: gives the seats, with observations, for a worker's hello (default: made-up ones).
    config: options of the agent, sent with bind. only: names of checks; those they need are tried as well, and are
    among the findings where they failed. Seconds: patience, of an answer; start_s, from start to hello; exit_s, to
    end; deadline, of an act that has one. say: told the name of each check before it is tried.
    """
    for name in only or ():
        if name not in CHECKS:
            raise CrossplayError(f'unknown check "{name}".{nearest(name, CHECKS)}')
    wanted = _with_needs(only) if only else set(CHECKS)
    case = Case(start, seats, patience, start_s)
    case.exit_s, case.deadline, case.config = exit_s, deadline, dict(config or {})
    found: dict[str, Finding] = {}
    with contextlib.closing(case):
        for name in CHECKS:
            if name in wanted:
                if say is not None:
                    say(name)
                found[name] = _tried(name, case, found)
                case.tidy()
    for name, notes in case.wrong.items():
        if notes and name in found and found[name].status != "failed":
            found[name] = Finding(name, "failed", "; ".join(notes[:4]))
    return [f for f in found.values() if not only or f.name in only or f.status == "failed"]


def _with_needs(only: Sequence[str]) -> set[str]:
    wanted, queue = set(), list(only)
    while queue:
        name = queue.pop()
        if name not in wanted:
            wanted.add(name)
            queue += CHECKS[name][1]
    return wanted


def _tried(name: str, case: Case, found: dict[str, Finding]) -> Finding:
    run, needs = CHECKS[name]
    missing = next((n for n in needs if n in found and (found[n].status == "failed" or _cut(found[n]))), None)
    if missing is not None:
        return Finding(
            name, "skipped", f"{missing} failed" if found[missing].status == "failed" else f"{_CUT}{missing}"
        )
    if name not in _SEATLESS and case._hello is not None and "agent" not in case.hello.roles:
        return Finding(name, "skipped", "it fills no seats")
    try:
        seen = run(case)
        notes = case.wrong.get(name)
        return Finding(name, "failed", "; ".join(notes[:4])) if notes else Finding(name, "ok", seen)
    except Skipped as reason:
        return Finding(name, "skipped", str(reason))
    except Trouble as reason:
        return Finding(name, "failed", str(reason))
    except CrossplayError:
        raise  # it cannot be started, or there are no such seats
    except Exception as reason:  # whatever a foreign worker makes of it
        if case._line is not None:
            case._line.usable = False  # the next check begins with a fresh one
        return Finding(
            name, "failed", str(reason) if isinstance(reason, Failed) else f"{type(reason).__name__}: {reason}"
        )


_CUT = "not tried, as was "


def _cut(finding: Finding) -> bool:
    """Whether it was skipped because something that it needs had failed."""
    return finding.status == "skipped" and (finding.text.endswith(" failed") or finding.text.startswith(_CUT))
