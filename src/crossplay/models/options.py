"""Options of backends, from the tables of a study file or the command line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from crossplay.kernel.registry import nearest
from crossplay.kernel.types import CrossplayError

__all__ = ["read_options"]

T = TypeVar("T", bound=msgspec.Struct)


def read_options(kind: type[T], options: Mapping[str, Any], where: str) -> T:
    """The options as a Struct, or one line that names the key, the value and the nearest valid key."""
    known = [f.name for f in msgspec.structs.fields(kind)]
    for name in options:
        if name not in known:
            raise CrossplayError(f'{where}: unknown option "{name}".{nearest(name, known)}')
    try:
        return msgspec.convert(dict(options), kind)
    except msgspec.ValidationError as error:
        raise CrossplayError(f"{where}: {error}") from None
