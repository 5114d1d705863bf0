"""The one plug-in mechanism: entry-point groups `crossplay.{envs,agents,models,...}`.

An entry of `crossplay.envs` loads to an object with the methods of `EnvFamily`; an entry of
`crossplay.agents` to a callable `make(rest, options, context) -> Agent`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Protocol

from crossplay.kernel.batch import BatchEnv
from crossplay.kernel.env import Env
from crossplay.kernel.types import CrossplayError

__all__ = ["EnvFamily", "entries", "load", "make_batch", "make_env", "nearest", "split_name"]


class EnvFamily(Protocol):
    """What an entry of the group `crossplay.envs` loads to."""

    summary: str
    expert: str | None  # type of the scripted agent that studies show as the ceiling (may be absent)

    # code(rest) -> bool, where there is one: whether the name loads code of the user's, which a study
    # may only do with --trust.
    # plain(rest) -> bool, where there is one: whether the name, though it is none of names(), is that of an
    # installed environment and leads to no code, file or address, so that a study from elsewhere may say it.

    def names(self) -> Sequence[str]:
        """The parts after the family name, e.g. ("cramped_room", ...); () when open-ended."""
        ...

    def make(self, rest: str, options: Mapping[str, Any]) -> Env:
        """A fresh environment, or `CrossplayError` naming the nearest valid value."""
        ...

    def batch(self, rest: str, width: int, options: Mapping[str, Any]) -> BatchEnv | None:
        """The same as a BatchEnv of `width` rows, where the family has one."""
        ...

    def schema(self, rest: str) -> dict[str, Any]:
        """JSON schema of the options (an object; each property has a description and default).

        What a study from elsewhere may set: numbers, truth values, choices (`enum`), and text only where the
        property says that it is plain words (`holds = "words"`).
        """
        ...


@cache
def _group(group: str) -> dict[str, EntryPoint]:
    return {e.name: e for e in entry_points(group=f"crossplay.{group}")}


def entries(group: str) -> tuple[str, ...]:
    """Names registered in a group ("envs", "agents", ...), sorted."""
    return tuple(sorted(_group(group)))


def nearest(word: str, known: Iterable[str]) -> str:
    """The hint ` Did you mean "x"? Known: a, b.` for an unknown word."""
    names = list(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.5)
    shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
    return (f' Did you mean "{close[0]}"?' if close else "") + (f" Known: {shown}." if names else "")


def load(group: str, name: str, what: str = "") -> Any:
    """The object behind an entry point, or an error that names the nearest one."""
    found = _group(group).get(name)
    if found is None:
        what = what or group.rstrip("s")
        raise CrossplayError(f'unknown {what} "{name}".{nearest(name, entries(group))}')
    try:
        return found.load()
    except ImportError as error:
        raise CrossplayError(
            f'{group}: "{name}" needs a package that is not installed ({error}); see `crossplay doctor`'
        ) from error


def split_name(name: str) -> tuple[str, str]:
    """("pettingzoo", "classic/chess_v6") for "pettingzoo:classic/chess_v6"; "/" splits as ":" does."""
    for i, c in enumerate(name):
        if c in ":/":
            return name[:i], name[i + 1 :]
    return name, ""


def make_env(name: str, options: Mapping[str, Any] | None = None, clock: str = "wait") -> Env:
    """The environment of that name, e.g. "kitchen/cramped_room" with {"horizon": 200}."""
    from crossplay.kernel.conduct import parse_clock

    parse_clock(clock)
    family, rest = split_name(name)
    env: Env = load("envs", family, "environment").make(rest, options or {})
    env.clock = clock
    return env


def make_batch(name: str, width: int, options: Mapping[str, Any] | None = None) -> BatchEnv | None:
    """The environment as `width` rows of arrays, or None where it has no array form."""
    family, rest = split_name(name)
    return load("envs", family, "environment").batch(rest, width, options or {})
