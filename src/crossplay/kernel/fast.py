"""`jit`: loops compiled by numba where the extra `fast` is installed, interpreted elsewhere.

One source for both, so the rules cannot differ; numba is imported at the first call, not before.
"""

from __future__ import annotations

import functools
import os
import types
from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["compiled", "jit"]

F = TypeVar("F", bound=Callable[..., Any])


@functools.cache
def compiled() -> bool:
    """Whether loops are compiled here (numba is installed and CROSSPLAY_FAST is not 0)."""
    from importlib.util import find_spec

    return os.environ.get("CROSSPLAY_FAST", "1") != "0" and find_spec("numba") is not None


def jit(function: F) -> F:
    """Compile a loop over arrays at its first call (nopython, no fastmath, cached on disk).

    Jitted functions may call other jitted module-level functions.
    """
    state: list[Callable[..., Any]] = []

    @functools.wraps(function)
    def call(*args: Any) -> Any:
        if not state:
            state.append(_build(function) if compiled() else function)
        return state[0](*args)

    call.__crossplay_jit__ = function  # type: ignore[attr-defined]
    return call  # type: ignore[return-value]


@functools.cache
def _build(function: Callable[..., Any]) -> Callable[..., Any]:
    import numba

    names = dict(function.__globals__)
    for used in function.__code__.co_names:
        inner = getattr(names.get(used), "__crossplay_jit__", None)
        if inner is not None:
            names[used] = _build(inner)
    clone = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__, function.__closure__)
    clone.__module__, clone.__qualname__ = function.__module__, function.__qualname__
    return numba.njit(clone, cache=True, fastmath=False, boundscheck=False)
