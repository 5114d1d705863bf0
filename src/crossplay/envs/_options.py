"""Options of an environment: checked against their JSON schema, defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crossplay.kernel.registry import nearest
from crossplay.kernel.types import ActionSpec, CrossplayError, Invalid

__all__ = ["option_schema", "settle"]


def option_schema(properties: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """An object schema whose properties each carry a description and a default."""
    return {"type": "object", "properties": {k: dict(v) for k, v in properties.items()}, "additionalProperties": False}


def settle(env: str, schema: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(every option with its value, those off their default) for the options given.

    env: the name for error messages. Raises `CrossplayError` naming the key, the value and the
    nearest known key. A property with no "type" is taken as it is.
    """
    known: Mapping[str, Any] = schema.get("properties", {})
    full = {name: prop.get("default") for name, prop in known.items()}
    off: dict[str, Any] = {}
    for name, value in given.items():
        if name not in known:
            raise CrossplayError(f'{env}: unknown option "{name}" (value {value!r}).{nearest(name, known)}')
        try:
            if value is not None or full[name] is not None:
                ActionSpec(kind="data", schema=dict(known[name])).check(value)
        except Invalid as error:
            reason = str(error).removeprefix("value: ")
            raise CrossplayError(
                f"{env}: option {name} = {value!r}: {reason}. {known[name].get('description', '')}"
            ) from None
        full[name] = value
        if value != known[name].get("default"):
            off[name] = value
    return full, off
