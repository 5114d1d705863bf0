"""The values that travel between environments, agents and the engine."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from crossplay.kernel.seeds import draw, pick, uniform

__all__ = [
    "Action",
    "ActionSpec",
    "CrossplayError",
    "Failed",
    "Fault",
    "Held",
    "Invalid",
    "Msg",
    "Stale",
    "Stop",
    "Usage",
    "pack",
    "storable",
    "unpack",
]


class CrossplayError(Exception):
    """A mistake of the user or of the outside world, with a message that says what to do.

    exit_code: what the command line returns (2: bad input, 3: something outside is missing).
    """

    exit_code = 2


class Stop(CrossplayError):
    """Raised inside an agent to end the whole run: budget spent, endpoint gone, cassette entry
    missing. Never turned into a fault, so that nothing is substituted for an answer that can still
    be had; the run resumes where it stood.
    """

    exit_code = 3


class Invalid(ValueError):
    """A value that is not a legal action here; the text says why."""


class Stale(RuntimeError):
    """A handle was read after its tick."""


class Msg(msgspec.Struct, array_like=True):
    """One message between seats. dst: a seat or "*" (everybody in the audience)."""

    dst: str
    body: Any
    channel: str = "main"
    src: str = ""
    tick: int = -1


class Usage(msgspec.Struct):
    """What was spent: calls, tokens, and for local models CPU microseconds. Money is analysis.

    wall_us: how long it took, where that is worth a column (tools); in no count and no chain.
    """

    calls: int = 0
    tok_in: int = 0
    tok_out: int = 0
    cpu_us: int = 0
    wall_us: int = 0

    def add(self, other: Usage) -> None:
        """Add another usage to this one."""
        self.calls += other.calls
        self.tok_in += other.tok_in
        self.tok_out += other.tok_out
        self.cpu_us += other.cpu_us
        self.wall_us += other.wall_us


class Action(msgspec.Struct):
    """An agent's answer. `act` may also return the bare value.

    value: what `ActionSpec.check` accepts. messages: what is said, also when the move is invalid.
    confidence: in [0, 1]. memo: what the agent wants to find in `obs.memo` next time in this seat
    of this episode (None: unchanged); MessagePack data and numpy arrays. counts: added to the seat's
    counters, as `obs.count` does where there is a handle.
    """

    value: Any
    messages: Sequence[Msg] = ()
    confidence: float | None = None
    rationale: str | None = None
    usage: Usage | None = None
    memo: Any = None
    counts: Mapping[str, int] | None = None


FaultKind = Literal["timeout", "invalid", "error", "void"]


class Fault(msgspec.Struct):
    """An answer that did not come (timeout, error), may not be played (invalid), or a seat whose
    worker is gone (void: the episode is replayed in the same block).
    """

    kind: FaultKind
    detail: str = ""
    messages: Sequence[Msg] = ()


class Failed(Exception):
    """Raised inside an agent: `fault` is the answer to everything it was asked at once (its worker is gone)."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.detail)
        self.fault = fault


class Held(msgspec.Struct, frozen=True):
    """At `tick` pace nothing has come from a seat yet: the environment's idle rule is played.
    Recorded with origin "held"; not a fault.
    """


class ActionSpec(msgspec.Struct, frozen=True):
    """What a seat may answer; static and shared, the dynamic mask is `Env.legal`.

    kind: "names" (one of `names`; canonical value: its index), "box" (float64[shape] within
    low..high), "text" (str up to max_len characters), "data" (JSON data that fits `schema`).
    noop: the index (names) or value that does nothing, if there is one.
    """

    kind: Literal["names", "box", "text", "data"]
    names: tuple[str, ...] = ()
    low: float | tuple[float, ...] = -math.inf
    high: float | tuple[float, ...] = math.inf
    shape: tuple[int, ...] = ()
    schema: dict[str, Any] | None = None
    max_len: int = 4096
    noop: Any = None

    def check(self, value: Any, legal: Sequence[bool] | None = None) -> Any:
        """The canonical value, or `Invalid`. legal: mask over names, True where allowed."""
        if self.kind == "names":
            return self._check_name(value, legal)
        if self.kind == "box":
            return self._check_box(value)
        if self.kind == "text":
            if not isinstance(value, str):
                raise Invalid(f"expected text, got {type(value).__name__}")
            if len(value) > self.max_len:
                raise Invalid(f"text of {len(value)} characters, at most {self.max_len}")
            return _canonical(value)
        return self._check_data(value)

    def _check_name(self, value: Any, legal: Sequence[bool] | None) -> int:
        if isinstance(value, str):
            try:
                index = self.names.index(value)
            except ValueError:
                raise Invalid(f"unknown action {value[:60]!r}") from None
        elif isinstance(value, (int, np.integer)) and not isinstance(value, bool):
            index = int(value)
            if not 0 <= index < len(self.names):
                raise Invalid(f"action {index} outside 0..{len(self.names) - 1}")
        else:
            raise Invalid(f"expected an action name or index, got {type(value).__name__}")
        if legal is not None and not legal[index]:
            raise Invalid(f"action {self.names[index]!r} is not legal now")
        return index

    def _check_box(self, value: Any) -> np.ndarray:
        try:
            array = np.array(value, dtype=np.float64)
        except (TypeError, ValueError):
            raise Invalid("expected numbers") from None
        if array.shape != self.shape:
            raise Invalid(f"expected shape {self.shape}, got {array.shape}")
        if not np.isfinite(array).all():
            raise Invalid("a number is not finite")
        low, high = self.bounds()
        if (array < low).any() or (array > high).any():
            raise Invalid("a number lies outside the box")
        return array + 0.0  # -0.0 and 0.0 have other bytes

    def _check_data(self, value: Any) -> Any:
        try:
            value = _canonical(value)
        except RecursionError:
            raise Invalid("nested too deep") from None
        if self.schema is not None:
            _check_schema(value, self.schema, "value")
        return value

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest value of a box, each float64[shape]."""
        n = math.prod(self.shape)
        low = np.broadcast_to(np.asarray(self.low, np.float64).ravel(), (n,))
        high = np.broadcast_to(np.asarray(self.high, np.float64).ravel(), (n,))
        return low.reshape(self.shape), high.reshape(self.shape)

    def draw(self, key: bytes, tick: int, legal: Sequence[bool] | None = None) -> Any:
        """A random legal value at address (key, tick): uniform over names, over a bounded box."""
        if self.kind == "names":
            if legal is None:
                return pick(key, len(self.names), tick, 0)
            allowed = [i for i, ok in enumerate(legal) if ok]
            if not allowed:
                raise Invalid("no action is legal")
            return allowed[pick(key, len(allowed), tick, 0)]
        if self.kind == "box":
            low, high = self.bounds()
            # Where a side is open, the draw stays within 1 of the closed side or of 0.
            low = np.where(np.isfinite(low), low, np.minimum(-1.0, high - 1.0))
            high = np.where(np.isfinite(high), high, np.maximum(1.0, low + 1.0))
            u = np.array([uniform(key, tick, i) for i in range(math.prod(self.shape))])
            u = u.reshape(self.shape)
            return np.clip(low * (1.0 - u) + high * u, low, high) + 0.0
        if self.kind == "text":
            letters = "abcdefghijklmnopqrstuvwxyz "
            n = min(self.max_len, 16)
            return "".join(letters[pick(key, len(letters), tick, i)] for i in range(n))
        return _draw_schema(key, tick, self.schema or {"type": "null"})

    def json_schema(self) -> dict[str, Any]:
        """The JSON schema of a value, as shown to models and forms."""
        if self.kind == "names":
            return {"type": "string", "enum": list(self.names)}
        if self.kind == "text":
            return {"type": "string", "maxLength": self.max_len}
        if self.kind == "data":
            return self.schema or {}
        schema: dict[str, Any] = {"type": "number"}
        if isinstance(self.low, float) and math.isfinite(self.low):
            schema["minimum"] = self.low
        if isinstance(self.high, float) and math.isfinite(self.high):
            schema["maximum"] = self.high
        for n in reversed(self.shape):
            schema = {"type": "array", "items": schema, "minItems": n, "maxItems": n}
        return schema


def _canonical(value: Any) -> Any:
    """A copy of JSON data as a trace gives it back: lists, sorted keys, no -0.0. Raises `Invalid`."""
    if isinstance(value, float):
        if not math.isfinite(value):
            raise Invalid("a number is not finite")
        return float(value) + 0.0
    if isinstance(value, str):
        if not value.isascii() and value != value.encode("utf-8", "replace").decode("utf-8"):
            raise Invalid("text with half a character (a lone surrogate)")
        return value
    if isinstance(value, Mapping):
        if not all(isinstance(k, str) for k in value):
            raise Invalid("keys must be text")
        return {_canonical(k): _canonical(value[k]) for k in sorted(value)}
    if isinstance(value, (list, tuple)):
        return [_canonical(v) for v in value]
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        raise Invalid("a whole number of more than 64 bits")
    if value is not None and not isinstance(value, (bool, int)):
        raise Invalid(f"not JSON data: {type(value).__name__}")
    return value


_JSON_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list, tuple),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}


def _check_schema(value: Any, schema: Mapping[str, Any], where: str) -> None:
    """The part of JSON Schema that action schemas use: type, enum, bounds, items, properties."""
    kind = schema.get("type")
    if kind is not None:
        good = isinstance(value, _JSON_TYPES[kind]) and not (kind in ("integer", "number") and isinstance(value, bool))
        if not good:
            raise Invalid(f"{where}: expected {kind}, got {type(value).__name__}")
    if "enum" in schema and value not in schema["enum"]:
        raise Invalid(f"{where}: {value!r} is not one of {schema['enum']}")
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if number and not schema.get("minimum", -math.inf) <= value <= schema.get("maximum", math.inf):
        raise Invalid(f"{where}: {value} lies outside its bounds")
    if isinstance(value, str) and len(value) > schema.get("maxLength", math.inf):
        raise Invalid(f"{where}: text too long")
    if isinstance(value, (list, tuple)):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf):
            raise Invalid(f"{where}: wrong number of items")
        for i, item in enumerate(value):
            if "items" in schema:
                _check_schema(item, schema["items"], f"{where}[{i}]")
    if isinstance(value, Mapping):
        known = schema.get("properties", {})
        for name in schema.get("required", ()):
            if name not in value:
                raise Invalid(f"{where}: {name!r} is missing")
        for name, item in value.items():
            if name in known:
                _check_schema(item, known[name], f"{where}.{name}")
            elif schema.get("additionalProperties", True) is False:
                raise Invalid(f"{where}: unknown key {name!r}")


def _open_bounds(schema: Mapping[str, Any], width: int) -> tuple[float, float]:
    """The bounds of a number; an open side lies `width` from the other, or at 0 and `width`."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is None:
        low = 0 if high is None or high >= 0 else high - width
    return low, max(low, width) if high is None and low <= 0 else low + width if high is None else high


def _draw_schema(key: bytes, tick: int, schema: Mapping[str, Any], slot: int = 0) -> Any:
    if "enum" in schema:
        return schema["enum"][pick(key, len(schema["enum"]), tick, slot)]
    kind = schema.get("type", "null")
    if kind == "boolean":
        return bool(pick(key, 2, tick, slot))
    if kind == "integer":
        low, high = _open_bounds(schema, 100)
        low, high = math.ceil(low), math.floor(high)
        return min(low + pick(key, min(high - low + 1, (1 << 31) - 1), tick, slot), high)
    if kind == "number":
        low, high = _open_bounds(schema, 1)
        u = uniform(key, tick, slot)
        return min(max(low * (1.0 - u) + high * u, low), high) + 0.0
    if kind == "array":
        n = int(schema.get("minItems", 0))
        return [_draw_schema(key, tick, schema.get("items", {}), draw(slot, i + 1)) for i in range(n)]
    if kind == "object":
        names = schema.get("required", tuple(schema.get("properties", ())))
        props = schema.get("properties", {})
        return {name: _draw_schema(key, tick, props.get(name, {}), draw(slot, i + 1)) for i, name in enumerate(names)}
    return "" if kind == "string" else None


# One binary form for everything the engine stores: MessagePack, numpy arrays as extension 1.
def _ext(obj: Any) -> Any:
    if isinstance(obj, np.ndarray):
        data = np.asarray(obj, order="C")  # ascontiguousarray would make a list of one of a lone number
        return msgspec.msgpack.Ext(1, _plain.encode((data.dtype.str, data.shape, data.tobytes())))
    if isinstance(obj, np.generic):
        return obj.item()
    raise TypeError(f"cannot store {type(obj).__name__}; use MessagePack data or numpy arrays")


def _unext(code: int, data: memoryview) -> Any:
    if code != 1:
        raise ValueError(f"unknown extension {code}")
    dtype, shape, raw = msgspec.msgpack.decode(data)
    return np.frombuffer(raw, dtype=np.dtype(dtype)).reshape(shape).copy()


_plain = msgspec.msgpack.Encoder()
_packer = msgspec.msgpack.Encoder(enc_hook=_ext, order="deterministic")
_unpacker = msgspec.msgpack.Decoder(ext_hook=_unext)


def pack(value: Any) -> bytes:
    """Deterministic MessagePack of data and numpy arrays (extension 1: dtype, shape, bytes)."""
    return _packer.encode(value)


def storable(value: Any) -> Any:
    """The nearest plain data to whatever an agent or library gave: half characters become "?",
    and what cannot be stored is named by its type.
    """
    try:
        pack(value)
    except (TypeError, ValueError, OverflowError, RecursionError):
        pass
    else:
        return value
    try:
        if isinstance(value, str):
            return value.encode("utf-8", "replace").decode("utf-8")
        if isinstance(value, Mapping):
            return {str(storable(k)): storable(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [storable(v) for v in value]
    except RecursionError:
        pass
    return f"<{type(value).__name__}>"


def unpack(data: bytes) -> Any:
    """The inverse of `pack` (tuples come back as lists)."""
    return _unpacker.decode(data)
