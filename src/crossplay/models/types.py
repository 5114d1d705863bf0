"""The values that travel between agents and models: Request, Reply, and what may go wrong."""

from __future__ import annotations

import hashlib
import math
import re
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import msgspec
import numpy as np

from crossplay.kernel.registry import nearest
from crossplay.kernel.types import CrossplayError, Stop, Usage

__all__ = [
    "Backend",
    "BudgetSpent",
    "Capabilities",
    "Message",
    "ModelDown",
    "ModelError",
    "Picture",
    "Reply",
    "Request",
    "Tool",
    "ToolCall",
]

IMAGE_TOKENS = 4096
"""Upper bound, in tokens, that the budget reserves for one picture."""
CHOICES = ("auto", "none", "required")
"""What tool_choice may say beside the name of a tool."""
_json = msgspec.json.encode


class ModelError(CrossplayError):
    """One call failed for good, after its retries. It is recorded and replayed as it was.

    kind: "timeout", "rate", "server", "disconnect" (the connection broke before the whole answer was
    here), "request" (the endpoint refuses the request) or "malformed" (what came is no answer).
    attempts: times it was sent; doubtful: of these, the ones that may have been answered and paid.
    """

    exit_code = 3

    def __init__(self, message: str, kind: str = "server", attempts: int = 1, doubtful: int = 0) -> None:
        super().__init__(message)
        self.kind, self.attempts, self.doubtful = kind, attempts, doubtful


class ModelDown(Stop):
    """The model cannot be asked at all: file missing, endpoint down, key rejected.

    Never recorded as an answer; it ends the run, which resumes where it stood.
    doubtful: sendings that may have been paid.
    """

    def __init__(self, message: str, doubtful: int = 0) -> None:
        super().__init__(message)
        self.doubtful = doubtful


class BudgetSpent(Stop):
    """The next call could go over the budget, so it was not sent; the run ends and can resume."""


class Picture(msgspec.Struct, frozen=True):
    """An image as its pixels: height x width x RGB, one byte each, so that equal pictures hash equally."""

    height: int
    width: int
    pixels: bytes

    def __post_init__(self) -> None:
        if len(self.pixels) != self.height * self.width * 3 or not self.pixels:
            raise CrossplayError(f"picture: {len(self.pixels)} bytes are not {self.height} x {self.width} x 3")

    @classmethod
    def of(cls, array: np.ndarray) -> Picture:
        """The picture of a uint8[height, width, 3] array."""
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
            raise CrossplayError(f"picture: expected uint8[height, width, 3], got {array.dtype}{list(array.shape)}")
        return cls(array.shape[0], array.shape[1], np.ascontiguousarray(array).tobytes())

    def digest(self) -> list[Any]:
        """[height, width, sha256 of the pixels]: how it stands in a record."""
        return [self.height, self.width, hashlib.sha256(self.pixels).hexdigest()]

    def png(self) -> bytes:
        """The picture as a PNG file (8-bit RGB, no filter). Source: the PNG specification, RFC 2083."""
        line = self.width * 3
        rows = b"".join(b"\0" + self.pixels[y * line : (y + 1) * line] for y in range(self.height))

        def chunk(name: bytes, data: bytes) -> bytes:
            return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

        head = struct.pack(">IIBBBBB", self.width, self.height, 8, 2, 0, 0, 0)
        return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


class Tool(msgspec.Struct, frozen=True):
    """Something a model may call. parameters: the JSON schema of its arguments, an object."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", self.name) or self.name in CHOICES:
            raise CrossplayError(
                f'tool "{self.name}": a name is 1 to 64 of A-Z a-z 0-9 _ -, and none of {", ".join(CHOICES)}'
            )


class ToolCall(msgspec.Struct, frozen=True):
    """A model's wish to call a tool. id: the endpoint's; arguments: JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str = "{}"


class Message(msgspec.Struct, frozen=True):
    """One turn of a conversation. images: shown after the text.

    tool_calls: what an assistant called. A message of role "tool" is the result of one call, whose
    id it names as tool_call_id.
    """

    role: Literal["system", "user", "assistant", "tool"]
    text: str
    images: tuple[Picture, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""

    def __post_init__(self) -> None:
        if (self.role == "tool") != bool(self.tool_call_id):
            raise CrossplayError(
                f'message: role "{self.role}" and tool_call_id "{self.tool_call_id}" do not go together'
            )
        if self.tool_calls and self.role != "assistant":
            raise CrossplayError(f'message: only an assistant calls tools, not role "{self.role}"')

    def canonical(self, redact: Callable[[str], str]) -> dict[str, Any]:
        """Plain data for a record; what has to do with tools stands there only where tools were used."""
        plain: dict[str, Any] = {
            "role": self.role,
            "text": redact(self.text),
            "images": [i.digest() for i in self.images] if self.images else [],
        }
        if self.tool_calls:
            plain["tool_calls"] = [[c.id, c.name, redact(c.arguments)] for c in self.tool_calls]
        if self.tool_call_id:
            plain["tool_call_id"] = self.tool_call_id
        return plain

    def bound(self) -> int:
        """Upper bound of its tokens: a token is a byte at least, plus 16 for the message and each call."""
        text = self.text
        size = (len(text) if text.isascii() else len(text.encode())) + 16
        if self.images or self.tool_calls or self.tool_call_id:
            calls = sum(len(f"{c.id}{c.name}{c.arguments}".encode()) + 16 for c in self.tool_calls)
            size += len(self.tool_call_id.encode()) + IMAGE_TOKENS * len(self.images) + calls
        return size


class Capabilities(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model can be asked for beyond text.

    grammar: GBNF; json_schema: answers forced into a schema; logprobs; seed; images; tools.
    """

    grammar: bool = False
    json_schema: bool = False
    logprobs: bool = False
    seed: bool = True
    images: bool = False
    tools: bool = False


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of a model, complete: nothing else may influence the answer.

    temperature >= 0; max_tokens >= 1; top_p in (0, 1]; seed: for sampling, 31 bits; stop: texts
    that end the answer; grammar (GBNF) or json_schema constrain it; top_logprobs: alternatives
    to report per token; template: digest of the prompt template, for the record; tools: what may
    be called; tool_choice: "auto", "none", "required", or the name of the one to call.
    """

    messages: tuple[Message, ...]
    temperature: float = 0.0
    max_tokens: int = 256
    top_p: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()
    grammar: str | None = None
    json_schema: dict[str, Any] | None = None
    top_logprobs: int = 0
    template: str = ""
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"

    def __post_init__(self) -> None:
        if not self.messages:
            raise CrossplayError("request: messages are empty")
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise CrossplayError(f"request: temperature {self.temperature} must be 0 or more")
        if self.max_tokens < 1 or self.top_logprobs < 0:
            raise CrossplayError(
                f"request: max_tokens {self.max_tokens}, top_logprobs {self.top_logprobs} are too small"
            )
        if not 0 < self.top_p <= 1:
            raise CrossplayError(f"request: top_p {self.top_p} must lie in (0, 1]")
        if self.grammar is not None and self.json_schema is not None:
            raise CrossplayError("request: give a grammar or a JSON schema, not both")
        if self.tools or self.tool_choice != "auto":
            self._check_tools()

    def _check_tools(self) -> None:
        names = [t.name for t in self.tools]
        if len(set(names)) < len(names):
            raise CrossplayError(f"request: two tools have one name ({', '.join(names)})")
        if self.tool_choice not in (*CHOICES, *names):
            raise CrossplayError(
                f'request: unknown tool_choice "{self.tool_choice}".{nearest(self.tool_choice, names)}'
            )
        if not names and self.tool_choice != "auto":
            raise CrossplayError(f'request: tool_choice "{self.tool_choice}" without tools')

    def canonical(self, identity: Mapping[str, Any], redact: Callable[[str], str] = str) -> dict[str, Any]:
        """Plain data that is equal for equal requests: what the cassette hashes and stores.

        identity: which model this is (served name, sha256 of a file, settings that change answers;
        never an address or a key). redact: applied to every text before it is hashed. Pictures
        stand as the sha256 of their pixels.
        """
        plain: dict[str, Any] = {
            "model": dict(identity),
            "messages": [m.canonical(redact) for m in self.messages],
            "temperature": float(self.temperature) + 0.0,
            "max_tokens": self.max_tokens,
            "top_p": float(self.top_p),
            "seed": self.seed,
            "stop": list(self.stop),
            "grammar": self.grammar,
            "json_schema": self.json_schema,
            "top_logprobs": self.top_logprobs,
            "template": self.template,
        }
        if self.tools:  # only then, so that requests without tools keep the keys they always had
            plain["tools"] = [[t.name, redact(t.description), t.parameters] for t in self.tools]
            plain["tool_choice"] = self.tool_choice
        return plain

    def bound(self) -> tuple[int, int]:
        """Upper bounds (tokens in, tokens out): a token is a byte at least, plus 16 a message.

        Tools count by their JSON. So does a schema, which some endpoints put into the prompt.
        """
        tok_in = 0
        for message in self.messages:
            tok_in += message.bound()
        if self.tools or self.json_schema is not None:
            for extra in (*self.tools, self.json_schema):
                if extra is not None:
                    tok_in += len(_json(extra)) + 16
        return tok_in, self.max_tokens


class Reply(msgspec.Struct):
    """What a model answered.

    finish: "stop", "length" or the endpoint's word. usage: tokens, and CPU time of local models.
    cached: tokens of the prompt that the endpoint read from its own cache. served: the name, and
    version where given, that the endpoint says answered. logprobs: per token, the alternatives
    with their natural log probability, the chosen one first. attempts: times it was sent;
    doubtful: of these, earlier ones that may have been answered and paid. estimated: the endpoint
    reported no tokens, or impossible ones, so usage holds their upper bound. tool_calls: what the
    model wants called, in its order. doubt: words, with spaces between, for what cannot be right in
    this answer: "usage" (impossible token figures), "schema" (asked for a JSON schema, which the
    text breaks).
    """

    text: str
    finish: str = "stop"
    usage: Usage = msgspec.field(default_factory=Usage)
    cached: int = 0
    served: str = ""
    logprobs: list[list[tuple[str, float]]] | None = None
    attempts: int = 1
    doubtful: int = 0
    estimated: bool = False
    tool_calls: list[ToolCall] = msgspec.field(default_factory=list)
    doubt: str = ""


@runtime_checkable
class Backend(Protocol):
    """A place where text is generated. Two methods do the work; the rest describes it.

    name: as agents know it. capabilities: what may be asked for. concurrency: calls at a time.
    priced: the name under which the price table knows it, or "" where nothing is paid. repeats:
    declared to answer equal greedy requests (temperature 0) equally, so that one sending serves all.
    """

    name: str
    capabilities: Capabilities
    concurrency: int
    priced: str
    repeats: bool

    def identity(self) -> dict[str, Any]:
        """What tells this model from others in a record; no address, no key, nothing to load."""
        ...

    async def generate(self, requests: Sequence[Request], keys: Sequence[str] = ()) -> list[Reply | ModelError]:
        """One reply, or the error it ended with, per request, in order. keys: for idempotency."""
        ...

    async def embed(self, texts: Sequence[str]) -> list[list[float]]:
        """One vector per text."""
        ...

    async def ready(self) -> None:
        """Raise `ModelDown` with one clear line when it cannot be asked."""
        ...

    async def aclose(self) -> None:
        """Free connections, threads and memory."""
        ...
