"""`Desk`: what all service functions share: the folder of runs, what is open, who is told of changes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from crossplay.kernel import CrossplayError, nearest

__all__ = ["Conflict", "Desk", "Forbidden", "NotFound", "TooMany"]

T = TypeVar("T")
KEPT = 64  # results that are remembered


class NotFound(CrossplayError):
    """There is no such thing (HTTP 404)."""


class Forbidden(CrossplayError):
    """Not for whoever asks (HTTP 403)."""


class Conflict(CrossplayError):
    """Not in this state (HTTP 409)."""


class TooMany(CrossplayError):
    """Too often, or too many at once (HTTP 429)."""


class Desk:
    """Shared by all requests; thread-safe.

    root: the folder whose sub-folders are runs (or one run itself). Nothing outside of it is read or written.
    closing: called in reverse order when the server ends.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.closing: list[Callable[[], Any]] = []
        self.parts: dict[str, Any] = {}  # state of service modules, by module: see `part`
        self._kept: OrderedDict[Any, tuple[Any, Any]] = OrderedDict()
        self._lock = threading.RLock()

    def run_folder(self, name: str) -> Path:
        """The folder of a run by its name: its path below `root`, with "~" between parts; the root's own name where it is a run.

        Raises `NotFound`, also for whatever leads out of the root.
        """
        try:
            if name == self.root.name and (self.root / "manifest.sqlite").is_file():
                return self.root
            path = self.root.joinpath(*name.split("~")).resolve()
            if self.root in path.parents and (path / "manifest.sqlite").is_file():
                return path
        except (OSError, ValueError):  # names that no file can have
            pass
        raise NotFound(f'there is no run "{name[:80]}".{nearest(name[:80], self.run_names())}')

    def run_names(self) -> list[str]:
        """Names of all runs, sorted. Folders are looked into three deep."""
        if (self.root / "manifest.sqlite").is_file():
            return [self.root.name]  # "." would vanish from addresses
        found = []
        for pattern in ("*/manifest.sqlite", "*/*/manifest.sqlite", "*/*/*/manifest.sqlite"):
            inside = [
                p.parent for p in self.root.glob(pattern) if self.root in p.resolve().parents
            ]  # not what links lead to
            found += ["~".join(p.relative_to(self.root).parts) for p in inside]
        return sorted(name for name in found if _sayable(name))

    def part(self, name: str, make: Callable[[Desk], T]) -> T:
        """The state of a service module, made when it is first needed."""
        with self._lock:
            if name not in self.parts:
                self.parts[name] = make(self)
            found: T = self.parts[name]
            return found

    def kept(self, key: Any, stamp: Any, make: Callable[[], T]) -> T:
        """What `make` gives, remembered under `key` as long as `stamp` (sizes and times of files) stays the same."""
        with self._lock:
            if key in self._kept and self._kept[key][0] == stamp:
                self._kept.move_to_end(key)
                found: T = self._kept[key][1]
                return found
        made = make()
        with self._lock:
            self._kept[key] = (stamp, made)
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return made

    def close(self) -> None:
        """End what service modules opened."""
        for close in reversed(self.closing):
            close()
        self.closing.clear()


def _sayable(name: str) -> bool:
    """Whether it can be said in an address: file names may be bytes that are no text."""
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False
