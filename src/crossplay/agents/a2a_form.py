"""The form in which a seat is asked over A2A, and how an answer is read. Pure functions, no network.

A question is a text for whoever reads texts, and one JSON object for programs. Agents that declare the
extension `EXTENSION` on their card get a third thing inside the object, "exact": the same as MessagePack, with
whole numbers, arrays, the seat's random stream and what the agent remembers, none of which JSON carries
(numbers of a data part are doubles).
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from crossplay.agents.open_turn import game_of
from crossplay.agents.prompt import MEMBER_TEXTS, TEXTS, Unreadable, choices, find_json, read_choice, read_value, talked
from crossplay.kernel import ActionSpec, Block, Msg, Observation, Usage, pack, seat_key, unpack

__all__ = [
    "EXTENSION",
    "FORM",
    "Answer",
    "exact_question",
    "packed",
    "plain",
    "question",
    "read_answer",
    "spec_form",
    "spec_of",
    "told",
    "unpacked",
    "whole",
]

EXTENSION = "urn:crossplay:seat:1"
"""What an agent's card declares when it reads and writes the exact part."""
FORM = 1
"""Version of the question's form."""
LONGEST = 2000
"""Characters of what is said with a move that are kept."""
MESSAGES = 64
"""Messages with one move at most, in the exact part."""
SAID = 8192
"""Characters of a rationale, and bytes of a message on average, at most, in the exact part."""
WHOLE = 1 << 53

WORDS = {
    "names": 'Answer with the name of one of the possible actions, or with {"value": NAME}.',
    "text": 'Answer with the text of your move, or with {"value": TEXT}.',
    "data": 'Answer with {"value": DATA}, DATA being JSON that fits this schema: ',
    "more": ' The object may also hold "say" (the others hear it) and "confidence" (0 to 1).',
    "past": "So far you have answered (turn: answer, reward):",
}


# -- questions -------------------------------------------------------------------------------------
def question(obs: Observation, views: Sequence[str], turn: int, rules: bool, known: str = "") -> dict[str, Any]:
    """The JSON object of a request. views: what to send of what the seat may know; turn: questions before this one.

    known: the environment that the agent is served for: it has the options, which nobody else is told.
    """
    found: dict[str, Any] = {
        "crossplay": FORM,
        "env": obs.env_id if obs.env_id == known else game_of(obs.env_id),
        "seat": obs.seat,
        "tick": obs.tick,
        "turn": turn,
        "spec": spec_form(obs.spec),
        "views": {name: plain(obs.view(name)) for name in reversed(views)},  # the first is the one that was used
        "inbox": [_letter(m) for m in obs.inbox],
        "audience": list(obs.audience),
        "reward": obs.reward,
    }
    if rules and obs.rules:
        found["rules"] = obs.rules
    if obs.spec.kind == "names" and obs.legal is not None:
        found["legal"] = list(obs.names())
    if obs.last is not None:
        found["last"] = {"value": _named(obs.last[0], obs.spec), "origin": obs.last[1]}
    if obs.brief:
        found["brief"] = obs.brief
    if obs.wants:
        found["wants"] = list(obs.wants)
    if obs.deadline is not None:
        found["seconds"] = obs.deadline
    return found


def exact_question(obs: Observation, views: Sequence[str], memo: Any) -> str:
    """What JSON cannot carry of a request, as base64 of MessagePack. memo: what the agent remembers, packed."""
    root, _, block, replicate, seat, _, path = obs.ordinal
    return packed(
        {
            # The stream that it has in process. Whoever tries all small roots finds the root in it.
            "key": seat_key(Block(root, block, replicate), seat),
            "path": list(path),
            "memo": memo,
            "rules": obs.rules,  # with every question: whoever holds no state forgets them
            "views": {name: obs.view(name) for name in reversed(views)},
            "legal": None if obs.legal is None else [bool(ok) for ok in obs.legal],
            "inbox": [[m.dst, m.body, m.channel, m.src, m.tick] for m in obs.inbox],
            "last": None if obs.last is None else list(obs.last),
            "spec": spec_form(obs.spec),
            "seat_spec": None if obs.spec is obs.seat_spec else spec_form(obs.seat_spec),
            "reward": obs.reward,
        }
    )


def told(obs: Observation, first: bool, past: Sequence[Sequence[Any]] = ()) -> str:
    """The text of a request. first: with role and rules. past: own answers [turn, answer, reward] to be told again."""
    parts = []
    if first:
        parts += [TEXTS["role"], f"Rules:\n{obs.rules.strip()}" if obs.rules else "", f"Your seat: {obs.seat}"]
    if past:
        parts.append("\n".join([WORDS["past"], *(f"{turn}: {answer}, {reward:g}" for turn, answer, reward in past)]))
    heard = [f"{m.src}: {m.body}" for m in obs.inbox if m.channel != "team"]
    if heard:
        parts.append("\n".join(["Said to you:", *heard]))
    if "text" in obs.views:
        parts.append(f"Now (turn {obs.tick}):\n{obs.view('text').strip()}")
    parts.append(talked(obs))
    if obs.spec.kind == "names":
        parts.append("\n".join(["Possible now:", *(f"- {name}" for name in obs.names())]))
    parts.append(obs.brief)
    how = WORDS["names" if obs.spec.kind == "names" else "text" if obs.spec.kind == "text" else "data"]
    if obs.spec.kind in ("data", "box"):
        how += msgspec.json.encode(obs.spec.json_schema(), order="deterministic").decode()
    if "rationale" in obs.wants:
        how += f' Add "rationale": {MEMBER_TEXTS["field_reason"].format(words=60)}.'
    return "\n\n".join(p for p in [*parts, how + WORDS["more"]] if p)


def _letter(m: Msg) -> dict[str, Any]:
    return {"from": m.src, "to": m.dst, "channel": m.channel, "tick": m.tick, "body": plain(m.body)}


def _named(value: Any, spec: ActionSpec) -> Any:
    """A canonical value as people write it."""
    if spec.kind == "names" and isinstance(value, int) and 0 <= value < len(spec.names):
        return spec.names[value]
    return plain(value)


# -- forms of specifications -----------------------------------------------------------------------
def spec_form(spec: ActionSpec) -> dict[str, Any]:
    """A specification as JSON data; the inverse of `spec_of`."""
    form: dict[str, Any] = {"kind": spec.kind}
    if spec.kind == "names":
        form["names"] = list(spec.names)
    elif spec.kind == "box":
        form |= {"shape": list(spec.shape), "low": _bound(spec.low), "high": _bound(spec.high)}
    elif spec.kind == "text":
        form["max_len"] = spec.max_len
    else:
        form["schema"] = spec.schema
    if spec.noop is not None:
        form["noop"] = plain(spec.noop)
    return form


def spec_of(form: Mapping[str, Any]) -> ActionSpec:
    """The specification of a form that may have been through doubles. Raises ValueError, TypeError, KeyError."""
    kind = form["kind"]
    noop = form.get("noop")
    if kind == "names":
        names = tuple(str(n) for n in form["names"])
        return ActionSpec("names", names=names, noop=None if noop is None else int(noop))
    if kind == "box":
        shape = tuple(int(n) for n in form["shape"])
        if math.prod(shape) > 1_000_000 or any(n < 0 for n in shape):
            raise ValueError(f"a box of shape {shape}")
        return ActionSpec("box", shape=shape, low=_open(form["low"], -math.inf), high=_open(form["high"], math.inf), noop=noop)  # fmt: skip
    if kind == "text":
        return ActionSpec("text", max_len=int(form.get("max_len", 4096)), noop=noop)
    if kind == "data":
        schema = form.get("schema")
        return ActionSpec("data", schema=whole(schema) if schema is not None else None, noop=noop)
    raise ValueError(f"an action of kind {kind!r}")


def _bound(value: Any) -> Any:
    """Numbers of a bound, null where it is open."""
    if isinstance(value, (tuple, list)):
        return [_bound(v) for v in value]
    return float(value) if math.isfinite(value) else None


def _open(value: Any, infinite: float) -> Any:
    if isinstance(value, list):
        return tuple(_open(v, infinite) for v in value)
    return infinite if value is None else float(value)


# -- plain data, packed data -----------------------------------------------------------------------
def plain(value: Any) -> Any:
    """MessagePack data as JSON data for reading: arrays as lists, keys as text, what JSON cannot hold as text."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > WHOLE:
        return str(value)
    return value


def whole(value: Any, schema: Mapping[str, Any] | None = None) -> Any:
    """JSON data that has been through doubles with its whole numbers whole again, but where a schema says number."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= WHOLE:
        return value if schema is not None and schema.get("type") == "number" else int(value)
    if isinstance(value, Mapping):
        known = (schema or {}).get("properties", {})
        return {k: whole(v, known.get(k)) for k, v in value.items()}
    if isinstance(value, list):
        return [whole(v, (schema or {}).get("items")) for v in value]
    return value


def packed(value: Any) -> str:
    """MessagePack as base64 text."""
    return base64.b64encode(pack(value)).decode()


def unpacked(text: Any) -> Any:
    """The inverse of `packed`; `Unreadable` where it is none."""
    try:
        return unpack(base64.b64decode(text, validate=True))
    except (TypeError, ValueError, binascii.Error, RecursionError, msgspec.DecodeError) as error:
        raise Unreadable(f"its exact part cannot be read ({type(error).__name__})") from None


# -- answers ---------------------------------------------------------------------------------------
class Answer(msgspec.Struct):
    """What came back, checked for form but not for rules. fault: (kind, detail) instead of a value.

    memo: packed, of agents with the extension; counts: what the agent counted on its side.
    """

    value: Any = None
    messages: tuple[Msg, ...] = ()
    confidence: float | None = None
    rationale: str | None = None
    fault: tuple[str, str] | None = None
    usage: Usage | None = None
    memo: bytes | None = None
    counts: dict[str, int] = {}


def read_answer(data: Sequence[Any], text: str, obs: Observation, exact: bool) -> Answer:
    """The answer in data parts or, where they hold none, in the text; raises `Unreadable`."""
    found = next((d for d in data if isinstance(d, Mapping) and ("value" in d or "fault" in d)), None)
    if found is None and "{" in text:
        try:
            written = find_json(text[text.index("{") :])
        except Unreadable:
            written = None
        if isinstance(written, dict) and "value" in written:
            found = written
    if found is None:
        return _from_text(text, obs)
    answer = _exactly(unpacked(found["exact"])) if exact and "exact" in found else _plainly(found, obs)
    said = found.get("say") if not answer.messages else None
    if isinstance(said, str) and said.strip() and obs.audience:
        answer.messages = (Msg("*", said.strip()[:LONGEST]),)
    return answer


def _from_text(text: str, obs: Observation) -> Answer:
    if obs.spec.kind == "names":
        return Answer(read_choice(text, choices(obs, rotate=False)))
    return Answer(read_value(text, obs.spec))


def _plainly(found: Mapping[str, Any], obs: Observation) -> Answer:
    """The answer of an agent that writes JSON."""
    fault = found.get("fault")
    if isinstance(fault, Mapping):
        return Answer(fault=(str(fault.get("kind", "error")), str(fault.get("detail", ""))[:500]))
    value, spec = found.get("value"), obs.spec
    if spec.kind == "names":
        value = whole(value)
    elif spec.kind == "data":
        value = whole(value, spec.schema)
    elif spec.kind == "box" and not isinstance(value, list):
        raise Unreadable("expected numbers in lists")
    why = found.get("rationale")
    return Answer(value, (), _sure(found.get("confidence")), why[:LONGEST] if isinstance(why, str) else None)


def _sure(value: Any) -> float | None:
    """A confidence, where it is one."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1
    return float(value) if known else None


class _Exact(msgspec.Struct, forbid_unknown_fields=True):
    """The exact part of an answer."""

    value: Any = None
    messages: list[tuple[str, Any, str]] = []
    confidence: float | None = None
    rationale: str | None = None
    fault: tuple[str, str] | None = None
    usage: tuple[int, int, int, int] = (0, 0, 0, 0)
    memo: bytes | None = None
    counts: dict[str, int] = {}


def _exactly(found: Any) -> Answer:
    """The answer of an agent with the extension."""
    try:
        e = msgspec.convert(found, _Exact, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        raise Unreadable(f"its exact part is not of the form ({error})") from None
    usage = Usage(*e.usage) if any(e.usage) and min(e.usage) >= 0 else None
    counts = {k[:40]: n for k, n in list(e.counts.items())[:32] if 0 < n < WHOLE}
    if len(e.messages) > MESSAGES or len(pack(e.messages)) > MESSAGES * SAID:
        raise Unreadable(f"its exact part says more than {MESSAGES} messages or {MESSAGES * SAID} bytes")
    why = None if e.rationale is None else e.rationale[:SAID]
    said = tuple(Msg(*m) for m in e.messages)
    return Answer(e.value, said, _sure(e.confidence), why, e.fault, usage, e.memo, counts)
