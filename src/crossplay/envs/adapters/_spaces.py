"""Gymnasium spaces in the words of the house: action specifications, plain observations, text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from crossplay.kernel.types import ActionSpec, CrossplayError

__all__ = ["array_of", "array_shape", "describe", "plain", "spec_of"]

ToNative = Callable[[Any], Any]


def spec_of(space: Any, names: Sequence[str] | None = None, noop: Any = None) -> tuple[ActionSpec, ToNative]:
    """(the specification of an action space, a function from canonical values to the library's).

    Discrete -> names; Box -> box; Text -> text; MultiDiscrete, MultiBinary, Dict, Tuple -> data.
    """
    kind = type(space).__name__
    if kind == "Discrete":
        n, first = int(space.n), int(space.start)
        given = tuple(names) if names is not None and len(names) == n else tuple(str(first + i) for i in range(n))
        return ActionSpec(kind="names", names=given, noop=noop), lambda v: first + v
    if kind == "Box":
        low, high = space.low.astype(np.float64), space.high.astype(np.float64)
        spec = ActionSpec(kind="box", low=_bound(low), high=_bound(high), shape=space.shape)
        return spec, _box_to_native(space)
    if kind == "Text":
        return ActionSpec(kind="text", max_len=int(space.max_length)), _text_to_native(space)
    schema, back = _schema(space)
    return ActionSpec(kind="data", schema=schema), back


def _bound(values: np.ndarray) -> float | tuple[float, ...]:
    flat = values.ravel()
    if not flat.size or (flat == flat[0]).all():
        return float(flat[0]) if flat.size else 0.0
    return tuple(flat.tolist())


def _box_to_native(space: Any) -> ToNative:
    def back(value: Any) -> np.ndarray:
        array = np.asarray(value, np.float64).reshape(space.shape)
        if space.dtype.kind in "iu":
            array = np.rint(array)
        # Rounding to the library's type may step over its own bounds.
        return np.clip(array.astype(space.dtype), space.low, space.high)

    return back


def _text_to_native(space: Any) -> ToNative:
    filler = space.character_list[0] if space.character_list else " "
    return lambda value: str(value).ljust(int(space.min_length), filler)


def _schema(space: Any) -> tuple[dict[str, Any], ToNative]:
    """JSON schema of a space and the way back from JSON data."""
    kind = type(space).__name__
    if kind == "Discrete":
        low = int(space.start)
        return {"type": "integer", "minimum": low, "maximum": low + int(space.n) - 1}, int
    if kind == "MultiBinary":
        n = int(np.prod(space.shape))
        schema = {
            "type": "array",
            "items": {"type": "integer", "minimum": 0, "maximum": 1},
            "minItems": n,
            "maxItems": n,
        }
        return schema, lambda v: np.array(v, space.dtype).reshape(space.shape)
    if kind == "MultiDiscrete":
        sizes, starts = space.nvec.ravel(), np.broadcast_to(space.start, space.nvec.shape).ravel()
        props = {
            f"d{i}": {"type": "integer", "minimum": int(s), "maximum": int(s + n - 1)}
            for i, (n, s) in enumerate(zip(sizes, starts, strict=True))
        }
        back = lambda v: np.array([v[name] for name in props], space.dtype).reshape(space.nvec.shape)  # noqa: E731
        return _object(props), back
    if kind == "Box":
        n = int(np.prod(space.shape))
        item: dict[str, Any] = {"type": "number"}
        if np.isfinite(space.low).all():
            item["minimum"] = float(space.low.min())
        if np.isfinite(space.high).all():
            item["maximum"] = float(space.high.max())
        return {"type": "array", "items": item, "minItems": n, "maxItems": n}, _box_to_native(space)
    if kind == "Text":
        return {"type": "string", "maxLength": int(space.max_length)}, _text_to_native(space)
    if kind in ("Dict", "Tuple"):
        parts = dict(space.spaces) if kind == "Dict" else {f"d{i}": s for i, s in enumerate(space.spaces)}
        inner = {str(name): _schema(part) for name, part in parts.items()}

        def back(value: Any) -> Any:
            found = {name: inner[str(name)][1](value[str(name)]) for name in parts}
            return found if kind == "Dict" else tuple(found.values())

        return _object({name: schema for name, (schema, _) in inner.items()}), back
    raise CrossplayError(
        f"action spaces of type {kind} cannot be answered; known: Discrete, Box, MultiDiscrete, MultiBinary, Text, Dict, Tuple"
    )


def _object(props: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": props, "required": list(props), "additionalProperties": False}


def plain(value: Any) -> Any:
    """A native observation as MessagePack data: arrays stay, -0.0 becomes 0.0, tuples become lists."""
    if isinstance(value, np.ndarray) and value.ndim:
        return value + 0.0 if value.dtype.kind == "f" else value.copy()
    if isinstance(value, (np.generic, np.ndarray)):
        return value.item()
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


def array_shape(space: Any) -> tuple[int, ...] | None:
    """Length of the flattened observation, or None where a part has no fixed size."""
    kind = type(space).__name__
    if kind in ("Box", "MultiBinary"):
        return (int(np.prod(space.shape)),)
    if kind == "Discrete":
        return (int(space.n),)
    if kind == "MultiDiscrete":
        return (int(space.nvec.sum()),)
    if kind in ("Dict", "Tuple"):
        shapes = [array_shape(s) for s in _parts(space).values()]
        known = [s[0] for s in shapes if s is not None]
        return (sum(known),) if known else None
    return None


def _parts(space: Any) -> dict[Any, Any]:
    return dict(space.spaces) if type(space).__name__ == "Dict" else dict(enumerate(space.spaces))


def array_of(space: Any, value: Any) -> np.ndarray:
    """float32[n]: numbers as they are, choices one-hot, texts left out; in the order of the space."""
    kind = type(space).__name__
    if kind in ("Box", "MultiBinary"):
        return np.asarray(value, np.float32).ravel()
    if kind == "Discrete":
        return (np.arange(space.n) == int(value) - int(space.start)).astype(np.float32)
    if kind == "MultiDiscrete":
        start = np.broadcast_to(space.start, space.nvec.shape).ravel()
        chosen = np.asarray(value, np.int64).ravel() - start
        return np.concatenate([np.arange(n) == c for n, c in zip(space.nvec.ravel(), chosen, strict=True)]).astype(
            np.float32
        )
    if kind in ("Dict", "Tuple"):
        found = [array_of(part, value[name]) for name, part in _parts(space).items() if array_shape(part) is not None]
        return np.concatenate(found) if found else np.zeros(0, np.float32)
    return np.zeros(0, np.float32)


def describe(value: Any, depth: int = 0) -> str:
    """An observation as readable lines; numbers to three digits after the point."""
    if isinstance(value, np.ndarray):
        if value.dtype == bool:
            value = value.astype(np.int8)
        if value.ndim <= 1:
            return ", ".join(f"{v:.3f}" if value.dtype.kind == "f" else str(v) for v in np.atleast_1d(value).tolist())
        return np.array2string(
            value, threshold=20_000, precision=3, separator=" ", suppress_small=True, max_line_width=200
        )
    if isinstance(value, Mapping):
        pad = "  " * depth
        return "\n".join(f"{pad}{k}: {_inline(v, depth)}" for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(describe(v, depth) for v in value)
    if isinstance(value, float):
        return f"{value:.3f}"
    return str(value)


def _inline(value: Any, depth: int) -> str:
    nested = isinstance(value, Mapping) or (isinstance(value, np.ndarray) and value.ndim > 1)
    return ("\n" if nested else "") + describe(value, depth + 1)
