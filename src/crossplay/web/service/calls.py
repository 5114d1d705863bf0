"""What agents asked of models, tools and people at a tick, and what they were answered: from the run's cassette."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import msgspec

from crossplay.kernel import CrossplayError, Usage, unpack
from crossplay.models.types import Reply
from crossplay.records.cassette import Cassette, Row
from crossplay.records.parts import cassette_file
from crossplay.study.export import plain
from crossplay.study.ticks import Inside, tick_of
from crossplay.web.api import Route
from crossplay.web.desk import Desk
from crossplay.web.story import story_of

__all__ = ["ROUTES", "CallTold", "Calls", "CallsQuery", "Prompt", "calls"]

SHOWN = ("text", "role", "images", "tool_calls", "tool_call_id")


class CallsQuery(msgspec.Struct):
    """tick: which one. seat: of this seat alone, "" of all."""

    tick: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] = 0
    seat: Annotated[str, msgspec.Meta(max_length=200)] = ""


class Prompt(msgspec.Struct):
    """One message of a conversation, redacted as stored. images: height, width and sha256 of each picture that was shown."""

    role: str
    text: str
    images: list[Any] = []
    tool_calls: list[Any] = []


class CallTold(msgspec.Struct):
    """One call. kind: "model", "tool" or "person". name: of the model, tool or person. path: which member of a team.

    prompt: what a model was asked, "" roles never stand there. arguments: of a tool, or the question to a person.
    settings: temperature, max_tokens and what else the request said. answer: the text, or the result as JSON. finish:
    why a model stopped. wanted: calls of tools that a model asked for. error: why there is no answer. borrowed: ""
    where it was sent, else how the answer came about ("shared": an equal request of this run, "hit": of another
    cassette, "given": by hand in a fork). wait_ms: from asking to answer, null where nothing was sent. sent: how
    often; doubtful: sendings that may have been paid without an answer. missing: why nothing is known of the call.
    """

    key: str
    kind: str
    name: str
    seat: str
    path: list[int]
    prompt: list[Prompt] = []
    arguments: Any = None
    settings: dict[str, Any] = {}
    answer: str = ""
    finish: str = ""
    wanted: list[Any] = []
    error: str = ""
    borrowed: str = ""
    tok_in: int = 0
    tok_out: int = 0
    cached: int = 0
    cpu_ms: float = 0.0
    wait_ms: float | None = None
    sent: int = 0
    doubtful: int = 0
    missing: str = ""


class Calls(msgspec.Struct):
    """The calls of a tick, in the order of seats and members."""

    tick: int
    calls: list[CallTold]


def calls(desk: Desk, run: str, episode: str, query: CallsQuery) -> Calls:
    """Prompts and answers of a tick, as they are stored: keys and secrets were removed before that."""
    story = story_of(desk, run, episode)
    told = tick_of(query.tick, story.ticks.get(query.tick, ()), story.seats)
    asked = [i for i in told.inside if i.call and query.seat in ("", i.seat)]
    if not asked:
        return Calls(query.tick, [])
    with _Shelf(story.folder) as shelf:
        return Calls(query.tick, [_told(i, *shelf.look(i.call)) for i in asked])


class _Shelf:
    """The cassette of a run, open to read; "" or why there is none."""

    def __init__(self, folder: Path) -> None:
        self.cassette: Cassette | None = None
        self.why = "the run keeps no calls"
        if path := cassette_file(folder):
            try:
                self.cassette = Cassette(path, mode="strict")
            except CrossplayError as error:
                self.why = str(error)

    def __enter__(self) -> _Shelf:
        return self

    def __exit__(self, *_: object) -> None:
        if self.cassette is not None:
            self.cassette.close()

    def look(self, key: str) -> tuple[Row | None, str]:
        """(the row of a key, "" or why there is none)."""
        if self.cassette is None:
            return None, self.why
        try:
            row = self.cassette.get(bytes.fromhex(key))
        except (CrossplayError, ValueError) as error:
            return None, str(error)
        return row, "" if row is not None else "the cassette holds no such call"


def _told(inside: Inside, row: Row | None, why: str) -> CallTold:
    data = inside.data if isinstance(inside.data, dict) else {}
    kind = next((k for k in ("tool", "person") if k in data), "model")
    found = CallTold(inside.call, kind, str(data.get(kind, inside.model)), inside.seat, inside.path, missing=why)
    found.answer, found.finish = inside.text, str(data.get("finish", ""))
    found.error = str(data.get("error", ""))
    found.tok_in, found.tok_out = inside.tok_in, inside.tok_out
    if row is None:
        return found
    try:
        _asked(found, unpack(row.call.request))
        _answered(found, row)
    except (ValueError, TypeError, KeyError, msgspec.MsgspecError) as error:
        found.missing = f"it is stored in a form that is not known here: {error}"
    return found


def _asked(found: CallTold, request: Any) -> None:
    if found.kind != "model":
        found.arguments = plain(request.get("arguments"))
        return
    if "embed" in request:
        found.arguments = plain(request["embed"])
        return
    for message in request.get("messages", ()):
        found.prompt.append(
            Prompt(
                str(message.get("role", "")), str(message.get("text", "")),
                plain(message.get("images", [])), plain(message.get("tool_calls", [])),
            )
        )  # fmt: skip
    said = {k: plain(v) for k, v in request.items() if k not in ("model", "messages")}
    found.settings = {k: v for k, v in said.items() if v not in (None, [], "", 0) or k == "temperature"}


def _answered(found: CallTold, row: Row) -> None:
    used: Usage = row.usage
    found.cpu_ms = used.cpu_us / 1000
    found.sent, found.doubtful, found.borrowed = row.attempts, row.doubtful, row.borrowed
    if row.settled is not None and row.attempts:
        found.wait_ms = max(0.0, (row.settled - row.asked) * 1000)
    if row.reply is None:
        found.missing = "it was sent and has no answer yet"
    elif row.status == "error":
        kind, text = unpack(row.reply)
        found.error = f"{kind}: {text}"
    elif found.kind == "model":
        reply = msgspec.msgpack.decode(row.reply, type=Reply)
        found.answer, found.finish, found.cached = reply.text, reply.finish, reply.cached
        found.wanted = [{"name": c.name, "arguments": c.arguments} for c in reply.tool_calls]
    else:
        found.answer = msgspec.json.encode(plain(unpack(row.reply))).decode()


ROUTES = [Route("GET", "/runs/{run}/episodes/{episode}/calls", calls)]
