"""What the door keeps of a call before it is made, and what it says where a record is missing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal

import msgspec

from crossplay.kernel.obs import Observation
from crossplay.kernel.types import CrossplayError, Usage, pack, unpack
from crossplay.models.prices import Price
from crossplay.models.types import IMAGE_TOKENS, Reply
from crossplay.records.cassette import Address, Call, Cassette, Row

__all__ = [
    "NOTED",
    "TWICE",
    "Asked",
    "Done",
    "Kind",
    "ToolError",
    "address_of",
    "bound_of",
    "given",
    "missing",
    "note_counts",
    "redacted",
]

Kind = Literal["model", "tool", "person"]

TWICE: dict[Kind, str] = {
    "model": "maybe_paid_twice",
    "tool": "maybe_done_twice",
    "person": "maybe_asked_twice",
}
"""The counter of sendings that were in flight at a kill, by what was called."""


class ToolError(CrossplayError):
    """A tool, or a person, gave no result. It is recorded and raised again in every replay.

    kind: the name of the error.
    """

    exit_code = 3

    def __init__(self, message: str, kind: str = "error") -> None:
        super().__init__(message)
        self.kind = kind


class Done(msgspec.Struct, gc=False):
    """How a sending ended. reply: what the cassette keeps, of an error [kind, text]."""

    reply: bytes
    failed: bool = False
    usage: Usage = msgspec.field(default_factory=Usage)
    cached: int = 0
    attempts: int = 1
    doubtful: int = 0


class Asked(msgspec.Struct, gc=False):
    """A call that has no answer yet, and how to get one.

    send(idempotency key). bound: tokens in and out at most; None where no budget counts it. gate:
    whose calls are limited together, and how many at a time; None for no limit. sampled: an equal call may be answered
    otherwise. same: declared to answer equal calls equally, so that one sending serves all.
    harmless: may be made again after a kill without being counted. bare(reply): the reply as it is
    kept for a call that borrows it: nothing spent.
    """

    call: Call
    kind: Kind
    send: Callable[[str], Awaitable[Done]]
    bound: tuple[int, int] | None = None
    gate: tuple[str, int] | None = None
    price: Callable[[], Price | None] = lambda: None
    sampled: bool = True
    same: bool = False
    harmless: bool = False
    bare: Callable[[bytes], bytes] = bytes


def bound_of(request: bytes) -> tuple[int, int]:
    """Upper bounds (tokens in, tokens out) of a canonical request: a token is a byte at least."""
    body = unpack(request)
    pictures = sum(len(m.get("images", ())) for m in body.get("messages", ()))
    return len(request) + 16 * len(body.get("messages", ())) + IMAGE_TOKENS * pictures, body.get("max_tokens", 0)


def redacted(value: Any, redact: Callable[[str], str]) -> Any:
    """Plain data with every text in it redacted."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {redacted(k, redact): redacted(v, redact) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(v, redact) for v in value]
    return value


def address_of(at: Observation) -> Address:
    """The structural address; calls of begin and end are told from those of act at the same tick."""
    place = at.ordinal
    return place if at.op == "act" else (*place[:-1], ({"begin": -1, "end": -2}[at.op], *place[-1]))


def missing(cassette: Cassette, call: Call) -> str:
    """What strict replay looked for, and how it differs from what stands in its place."""
    root, env_id, block, replicate, seat, tick, path = call.address
    where = f"{env_id}, root {root}, block {block}, replicate {replicate}, seat {seat}, tick {tick}"
    who = call.model if call.model.startswith(("tool:", "person:")) else f'model "{call.model}"'
    where += f", path {'/'.join(map(str, path))}" if path else ""
    text = f"cassette: no answer of {who} to this request at {where}"
    record = cassette if cassette.fork is None else cassette.fork.base
    there = [r for r in record.at(call.address) if r.call.k == call.k]
    if not there:
        return f"{text}, and nothing else was asked there. Was the run recorded with these agents?"
    return f"{text}. What was asked there differs {_difference(unpack(call.request), unpack(there[0].call.request))}"


def _difference(now: Any, then: Any, where: str = "") -> str:
    """The first place where two canonical requests differ."""
    if isinstance(now, dict) and isinstance(then, dict):
        for name in sorted(now.keys() | then.keys()):
            if now.get(name) != then.get(name):
                return _difference(now.get(name), then.get(name), f"{where}.{name}" if where else name)
    if isinstance(now, list) and isinstance(then, list):
        if len(now) != len(then):
            return f"in {where}: {len(now)} items now, {len(then)} then"
        for i, (a, b) in enumerate(zip(now, then, strict=True)):
            if a != b:
                return _difference(a, b, f"{where}[{i}]")
    if isinstance(now, str) and isinstance(then, str):
        same = next((i for i, (a, b) in enumerate(zip(now, then, strict=False)) if a != b), min(len(now), len(then)))
        start = max(0, same - 20)
        return f"in {where} from character {same}: {now[start : same + 40]!r} now, {then[start : same + 40]!r} then"
    return f"in {where}: {now!r} now, {then!r} then"


NOTED: dict[Kind, str] = {"model": "model", "tool": "tool", "person": "tool"}
"""The kind of note that a call leaves in the trace."""


def note_counts(row: Row, at: Observation, kind: Kind) -> None:
    """Count on the handle how a settled call came about."""
    if row.attempts != 1:
        if row.attempts > 1:
            at.count("retry", row.attempts - 1)
        else:
            at.count({"shared": "shared_answers", "hit": "content_hits", "given": "given_answers"}[row.borrowed])
    if row.doubtful:
        at.count(TWICE[kind], row.doubtful)


def given(who: str, text: str) -> bytes:
    """A text as the answer that the cassette keeps for a call to `who`; of tools and people it is read as
    JSON where it is JSON.
    """
    if not who.startswith(("tool:", "person:")):
        return msgspec.msgpack.encode(Reply(text=text, usage=Usage()))
    try:
        return pack(msgspec.json.decode(text))
    except msgspec.DecodeError:
        return pack(text)
