"""What a model can really do: one tiny call for each capability, asked live and never of a cassette."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal

import msgspec
import numpy as np

from crossplay.kernel.types import CrossplayError, Usage
from crossplay.models.catalog import models_folder
from crossplay.models.types import Backend, Capabilities, Message, ModelError, Picture, Reply, Request, Tool

__all__ = ["Finding", "Probe", "probe", "record", "recorded"]

HELLO = "Say hello."
TEAL = {
    "type": "object",
    "properties": {"colour": {"enum": ["teal"]}},
    "required": ["colour"],
    "additionalProperties": False,
}
PREFIX_WORDS = 1300
"""Words of the shared beginning; endpoints cache prompts from 1024 tokens on, local weights any."""
LOCAL_WORDS = 84

Verdict = Literal["yes", "no", "unclear"]


class Finding(msgspec.Struct, frozen=True):
    """One capability. said: what was seen, in a few words."""

    name: str
    found: Verdict
    said: str = ""


class Probe(msgspec.Struct):
    """All findings about a model. when: day; declared: what its table says; usage, tok_cached: what
    asking took.
    """

    model: str
    identity: dict[str, Any]
    served: str
    when: str
    declared: Capabilities
    findings: list[Finding]
    usage: Usage
    tok_cached: int = 0

    @property
    def found(self) -> Capabilities:
        """As the table of the model should say it: what was seen to work."""
        yes = {f.name for f in self.findings if f.found == "yes"}
        return Capabilities(**{name: name in yes for name in Capabilities.__struct_fields__})

    def broken(self) -> list[str]:
        """Capabilities that are declared and were seen not to work."""
        return [f.name for f in self.findings if f.found == "no" and getattr(self.declared, f.name, False)]


async def probe(backend: Backend, progress: Callable[[int, int, str], None] | None = None) -> Probe:
    """Ask for everything once. Afterwards the backend offers all capabilities; use another for work.

    Pictures are sent only where the model is declared to read them. Raises `ModelError` or
    `ModelDown` when it does not even answer a plain request.
    """
    declared = backend.capabilities
    backend.capabilities = Capabilities(**dict.fromkeys(Capabilities.__struct_fields__, True))
    asker = _Asker(backend)
    hello = await asker(HELLO, max_tokens=3)
    if isinstance(hello, ModelError):
        raise hello
    steps: list[tuple[str, Callable[[], Any]]] = [
        ("json_schema", lambda: _schema(asker)),
        ("grammar", lambda: _grammar(asker)),
        ("logprobs", lambda: _logprobs(asker)),
        ("seed", lambda: _seed(asker)),
        ("tools", lambda: _tools(asker)),
        ("images", lambda: _images(asker, declared.images)),
        ("prompt cache", lambda: _cache(asker, bool(getattr(backend, "local", False)))),
        ("usage", lambda: _truthful(asker, hello)),
    ]
    findings = []
    for i, (name, step) in enumerate(steps):
        if progress is not None:
            progress(i, len(steps), name)
        found, said = await step()
        findings.append(Finding(name, found, said))
    day = time.strftime("%Y-%m-%d", time.gmtime())
    return Probe(backend.name, backend.identity(), hello.served, day, declared, findings, asker.usage, asker.tok_cached)


class _Asker:
    """Asks, keeps the sum of what it cost, and remembers the longest prompt for the check of usage."""

    def __init__(self, backend: Backend) -> None:
        self.backend, self.usage, self.tok_cached = backend, Usage(), 0
        self.long: tuple[int, Reply] | None = None

    async def __call__(
        self, text: str, images: tuple[Picture, ...] = (), max_tokens: int = 32, **settings: Any
    ) -> Reply | ModelError:
        request = Request(messages=(Message("user", text, images),), max_tokens=max_tokens, **settings)
        try:
            [reply] = await self.backend.generate([request])
        except ModelError as error:
            return error
        if isinstance(reply, ModelError):
            self.usage.add(Usage(calls=reply.attempts))
        else:
            self.usage.add(reply.usage)
            self.tok_cached += reply.cached
        return reply


def _words(error: ModelError) -> str:
    return " ".join(str(error).split())[:100]


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return None


async def _schema(ask: _Asker) -> tuple[Verdict, str]:
    reply = await ask(HELLO, json_schema=TEAL)
    if isinstance(reply, ModelError):
        return "no", _words(reply)
    held = _json(reply.text) == {"colour": "teal"}
    return ("yes", "the answer keeps to it") if held else ("no", f"answered {reply.text[:40]!r} in spite of it")


async def _grammar(ask: _Asker) -> tuple[Verdict, str]:
    reply = await ask(HELLO, grammar='root ::= "teal"')
    if isinstance(reply, ModelError):
        return "no", _words(reply)
    held = reply.text.strip() == "teal"
    return ("yes", "the answer keeps to it") if held else ("no", f"answered {reply.text[:40]!r} in spite of it")


async def _logprobs(ask: _Asker) -> tuple[Verdict, str]:
    reply = await ask(HELLO, max_tokens=2, top_logprobs=3)
    if isinstance(reply, ModelError):
        return "no", _words(reply)
    if not reply.logprobs:
        return "no", "none came"
    if any(value > 1e-6 for row in reply.logprobs for _, value in row):
        return "no", "a log probability is above 0"
    least = min(len(row) for row in reply.logprobs)
    return ("yes" if least >= 3 else "unclear"), f"{least} alternatives a token of 3 asked for"


async def _seed(ask: _Asker) -> tuple[Verdict, str]:
    texts = []
    for seed in (1, 1, 2):
        reply = await ask("Tell me a short story about a stone.", max_tokens=12, temperature=1.0, seed=seed)
        if isinstance(reply, ModelError):
            return "no", _words(reply)
        texts.append(reply.text)
    if texts[0] != texts[1]:
        return "no", "equal seeds gave different texts"
    if texts[0] == texts[2]:
        return "unclear", "another seed gave the same text"
    return "yes", "equal seeds gave equal texts, another seed another one"


async def _tools(ask: _Asker) -> tuple[Verdict, str]:
    tool = Tool("pick_colour", "Picks a colour.", TEAL)
    reply = await ask("Pick the colour teal.", tools=(tool,), tool_choice="required", max_tokens=48)
    if isinstance(reply, ModelError):
        return "no", _words(reply)
    if not reply.tool_calls:
        return "no", f"no call, but {reply.text[:40]!r}"
    call = reply.tool_calls[0]
    if call.name != tool.name or not isinstance(_json(call.arguments), dict):
        return "unclear", f"called {call.name} with {call.arguments[:40]!r}"
    return "yes", f"called {call.name}"


async def _images(ask: _Asker, declared: bool) -> tuple[Verdict, str]:
    if not declared:
        return "no", "not declared, so no picture was sent"
    wanted, said = "", ""
    for side, letter in ((slice(0, 32), "A"), (slice(32, 64), "B")):
        pixels = np.zeros((64, 64, 3), np.uint8)
        pixels[:, side] = 255
        question = "Which half of this picture is bright?\nA) left\nB) right\nAnswer with one letter."
        reply = await ask(question, (Picture.of(pixels),), max_tokens=4)
        if isinstance(reply, ModelError):
            return "no", _words(reply)
        wanted, said = wanted + letter, said + (reply.text.strip()[:1].upper() or "-")
    return (
        ("yes", "told a bright left half from a bright right one")
        if said == wanted
        else (
            "unclear",
            f"accepts pictures, but answered {said} where {wanted} is right",
        )
    )


async def _cache(ask: _Asker, local: bool) -> tuple[Verdict, str]:
    words = LOCAL_WORDS if local else PREFIX_WORDS
    rules = "Rules: " + "stay on the path and keep left " * (words // 7)
    reply: Reply | ModelError | None = None
    for end in ("One.", "Two."):
        reply = await ask(f"{rules}\n{end}", max_tokens=1)
        if isinstance(reply, ModelError):
            return "no", _words(reply)
        ask.long = words // 7 * 7, reply
    assert isinstance(reply, Reply)
    told = f"{reply.cached} of {reply.usage.tok_in} tokens of a repeated beginning"
    return ("yes", told) if reply.cached else ("no", told)


async def _truthful(ask: _Asker, hello: Reply) -> tuple[Verdict, str]:
    """Tokens can be known from outside only roughly: English has 0.7 to 4 a word, whatever the tokenizer."""
    if hello.estimated or "usage" in hello.doubt:
        return "no", "no tokens are reported" if not hello.doubt else "the tokens reported are impossible"
    if not 1 <= hello.usage.tok_out <= 3:
        return "no", f"{hello.usage.tok_out} tokens of answer where 3 were allowed"
    if ask.long is None:
        return "unclear", "the long prompt was not answered"
    words, reply = ask.long
    more = reply.usage.tok_in - hello.usage.tok_in
    if not 0.7 * words <= more <= 4 * words:
        return "no", f"{words} more words are reported as {more} more tokens"
    return "yes", f"{words} more words are {more} more tokens"


def record(found: Probe) -> None:
    """Keep a probe in the models folder, under the model's name."""
    folder = models_folder()
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "probes.json"
    content = msgspec.json.encode(recorded() | {found.model: found})
    part = file.with_suffix(".part")
    part.write_bytes(msgspec.json.format(content, indent=2))
    part.replace(file)


def recorded() -> dict[str, Probe]:
    """Name -> what its last probe found."""
    file = models_folder() / "probes.json"
    if not file.is_file():
        return {}
    try:
        return msgspec.json.decode(file.read_bytes(), type=dict[str, Probe])
    except msgspec.MsgspecError as error:
        raise CrossplayError(f"{file}: {error}; correct or remove it") from None
