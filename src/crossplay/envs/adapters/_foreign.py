"""`Foreign`: what all adapted object environments share; and the import of optional packages."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from crossplay.kernel.env import Env
from crossplay.kernel.registry import nearest
from crossplay.kernel.seeds import key64
from crossplay.kernel.types import CrossplayError, Msg, pack, unpack

__all__ = ["Foreign", "check_keywords", "keyword_schema", "missing", "need", "seed31"]


_FAMILIES = ("gymnasium", "pettingzoo", "mpe2", "minigrid", "pyspiel")  # what the extra installs


def need(module: str, family: str, extra: str = "") -> ModuleType:
    """An optional package, or a `CrossplayError` that says how to install it.

    family: for the message. extra: what to install where a game needs more than `crossplay[families]`.
    """
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")  # standard output is not the libraries' to write on
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing(family, error, module, extra) from error


def own_module(module: str, name: str, known: Iterable[str] = ()) -> ModuleType:
    """A module of the user's, named in the environment's name; importing it runs its code.

    It is installed, or lies where the command was started.
    """
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        return importlib.import_module(module)
    except (ImportError, ValueError) as error:
        hint = nearest(name.partition(":")[2], known)
        raise CrossplayError(f'{name}: no module "{module}" can be imported ({error}).{hint}') from error


def missing(family: str, error: ImportError, module: str = "", extra: str = "") -> CrossplayError:
    """The error to raise for a package that is not installed."""
    name = (error.name or module).partition(".")[0]
    install = "crossplay[families]" if name in _FAMILIES or not extra else extra
    problem = CrossplayError(f"{family}: the package {name} is missing; pip install '{install}'")
    problem.exit_code = 3
    return problem


def seed31(key: bytes) -> int:
    """31 bits of a key: what older seeding functions accept."""
    return key64(key) & 0x7FFFFFFF


class Foreign(Env):
    """An environment of another library. A subclass implements `_start`, `_advance`, data, spec,
    to_act, ended and score.

    Its inside cannot be read, so a snapshot is the key and the actions so far, and restoring
    plays them again; the fingerprint covers what the library gave back, never the view that an
    agent happened to read.
    """

    paired = "start"

    def __init__(self) -> None:
        self.key = b""
        self._log: list[list[Any]] = []
        self._rewards: Sequence[float] = ()

    # -- to implement ------------------------------------------------------------------------------
    def _start(self, seed: int) -> None:
        """Begin an episode with a seed of 31 bits."""
        raise NotImplementedError

    def _advance(self, actions: Mapping[str, Any]) -> Sequence[float]:
        """Play canonical values; rewards in seat order."""
        raise NotImplementedError

    def _native(self) -> Any:
        """What the library returned at this tick: observations of all live seats, masks, ends (MessagePack data)."""
        raise NotImplementedError

    # -- provided ------------------------------------------------------------------------------------
    def reset(self, key: bytes, task: Any = None) -> None:
        """Start the episode with 31 bits of the key as the library's seed."""
        self.key = key
        self._log = []
        self._rewards = (0.0,) * len(self.seats)
        self._start(seed31(key))

    def step(self, actions: Mapping[str, Any], mail: Sequence[Msg]) -> Sequence[float]:
        """Play the actions of all seats in to_act()."""
        self._log.append([actions[seat] for seat in self.to_act()])
        self._rewards = self._advance(actions)
        return self._rewards

    def snapshot(self) -> bytes:
        """The key and all actions so far."""
        return pack((self.key, self._log))

    def restore(self, snapshot: bytes) -> None:
        """Reset and play the recorded actions again (as long as the episode was)."""
        key, log = unpack(snapshot)
        self.reset(key)
        for values in log:
            self.step(dict(zip(self.to_act(), values, strict=True)), ())

    def fingerprint(self) -> int:
        """64 bits of what the library returned at this tick."""
        native = pack((len(self._log), self._native(), [float(r) + 0.0 for r in self._rewards]))
        return int.from_bytes(hashlib.blake2b(native, digest_size=8).digest(), "little")


_SIMPLE = {bool: "boolean", int: "integer", float: "number", str: "string"}


def keyword_schema(call: Callable[..., Any], hidden: Sequence[str] = ()) -> tuple[dict[str, Any], bool]:
    """(JSON schema properties of the keyword parameters of a constructor, whether it takes others too)."""
    props: dict[str, Any] = {}
    more = False
    try:
        parameters = inspect.signature(call).parameters
    except (TypeError, ValueError):
        return {}, True
    for name, parameter in parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            more = True
        elif parameter.kind not in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL) and name not in (
            "self",
            "render_mode",
            *hidden,
        ):
            default = None if parameter.default is parameter.empty else parameter.default
            prop: dict[str, Any] = {"description": f"{name}, as the library defines it.", "default": default}
            if type(default) in _SIMPLE:
                prop["type"] = _SIMPLE[type(default)]
            elif default is not None and not isinstance(default, (list, dict)):
                continue  # not something a form or a study file can say
            props[name] = prop
    return props, more


def check_keywords(env: str, options: Mapping[str, Any], props: Mapping[str, Any], more: bool) -> dict[str, Any]:
    """The options off their default; an unknown one is an error unless the constructor takes any."""
    for name, value in options.items():
        if name not in props and not more:
            raise CrossplayError(f'{env}: unknown option "{name}" (value {value!r}).{nearest(name, props)}')
    return {k: v for k, v in options.items() if k not in props or v != props[k].get("default")}
