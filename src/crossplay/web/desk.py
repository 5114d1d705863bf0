"""`Desk`: what all service functions share: the folder of runs, what is open, who is told of changes."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from crossplay.kernel import CrossplayError, nearest

__all__ = ["Conflict", "Desk", "Forbidden", "NotFound", "TooMany"]

T = TypeVar("T")
KEPT = 64
"""Things of one kind that are remembered, where whoever keeps them says nothing else."""
FILES = ("manifest.sqlite", "manifest.sqlite-wal", "study.toml", "lock", "trace", "cassette")
"""Of a run, by which it could lead elsewhere."""
DEEP = 3
"""Levels of folders that are looked through for runs."""


class NotFound(CrossplayError):
    """There is no such thing (HTTP 404)."""


class Forbidden(CrossplayError):
    """Not for whoever asks (HTTP 403)."""


class Conflict(CrossplayError):
    """Not in this state (HTTP 409)."""


class TooMany(CrossplayError):
    """Too often, or too many at once (HTTP 429)."""


class _Kept(NamedTuple):
    """Something that is remembered."""

    stamp: Any
    value: Any
    weight: int


class _Turn:
    """Who is making something, and how many wait for it."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.users = 0


class Desk:
    """Shared by all requests; thread-safe.

    root: the folder whose sub-folders are runs (or one run itself). Nothing outside of it is read or written.
    closing: called in reverse order when the server ends.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        self.closing: list[Callable[[], Any]] = []
        self.parts: dict[str, Any] = {}  # state of service modules, by module: see `part`
        self._kept: dict[Any, OrderedDict[Any, _Kept]] = {}  # by kind, so that many small things push no large one out
        self._turns: dict[Any, _Turn] = {}
        self._lock = threading.RLock()

    def run_folder(self, name: str) -> Path:
        """The folder of a run by its name: its path below `root`, with "~" between parts; the root's own name where it is a run.

        A folder whose own name holds "~" is found where no path reads like it. Raises `NotFound`, also for whatever leads out of the root.
        """
        try:
            if name == self.root.name and (self.root / "manifest.sqlite").is_file():
                return self.root
            path = self.root.joinpath(*name.split("~")).resolve()
            if self.root in path.parents and self._is_run(path):
                return path
            if "~" in name:  # of the folder itself
                return dict(self.runs())[name]
        except (KeyError, OSError, ValueError, RuntimeError):  # no such name; no file can have it; a circle of links
            pass
        raise NotFound(f'there is no run "{name[:80]}".{nearest(name[:80], self.run_names())}')

    def run_names(self) -> list[str]:
        """Names of all runs, sorted."""
        return [name for name, _ in self.runs()]

    def runs(self, most: int | None = None) -> list[tuple[str, Path]]:
        """(name, folder) of all runs, sorted by name; of the last `most`. What goes away meanwhile is left out.

        Folders are looked into three deep; what links lead to outside is no run here.
        """
        if (self.root / "manifest.sqlite").is_file():
            return [(self.root.name, self.root)]  # "." would vanish from addresses
        by_name = dict(sorted(self._runs(self.root, (), True), key=lambda run: len(run[1].parts)))  # a~b below a/b
        found = sorted((name, path) for name, path in by_name.items() if _sayable(name))
        return found if most is None else found[-most:]

    def _runs(self, folder: Path, above: tuple[str, ...], plain: bool) -> Iterator[tuple[str, Path]]:
        """Runs below a folder. plain: no link on the way. What may not be read is left out."""
        try:
            with os.scandir(folder) as found:
                inside = [e for e in found if _is_folder(e)]
        except OSError:
            return
        for entry in inside:
            path, names = Path(entry.path), (*above, entry.name)
            straight = plain and not entry.is_symlink()
            if (straight or self._within(path)) and self._is_run(path):
                yield "~".join(names), path if straight else path.resolve()
            if len(names) < DEEP:
                yield from self._runs(path, names, straight)

    def _is_run(self, folder: Path) -> bool:
        """Whether a folder is a run all of whose files lie below the root: they may be links, too."""
        if not (folder / "manifest.sqlite").is_file():
            return False
        return all(self._within(path) for path in map(folder.joinpath, FILES) if path.is_symlink())

    def _within(self, path: Path) -> bool:
        """Whether a path lies below the root, wherever links lead."""
        try:
            return self.root in path.resolve().parents
        except (OSError, RuntimeError):  # a circle of links
            return False

    def damage(self, name: str) -> str:
        """What of a run is not as it was written, in a line; "" where nothing is, or nothing can be said."""
        from crossplay.records.check import manifest_damage

        try:
            found = manifest_damage(self.run_folder(name))
        except CrossplayError:
            return ""
        more = f", and {len(found) - 1} more; crossplay verify names them" if len(found) > 1 else ""
        return f"{name} is damaged: {found[0]}{more}" if found else ""

    def part(self, name: str, make: Callable[[Desk], T]) -> T:
        """The state of a service module, made when it is first needed."""
        with self._lock:
            if name not in self.parts:
                self.parts[name] = make(self)
            found: T = self.parts[name]
            return found

    def kept(
        self, key: Any, stamp: Any, make: Callable[[], T], room: int = KEPT, weigh: Callable[[T], int] = lambda _: 1
    ) -> T:
        """What `make` gives, remembered under `key` as long as `stamp` stays the same; whoever comes meanwhile waits for it.

        key: (kind, ...) or a kind alone. stamp: sizes and times of files, or a function that tells them. room: how
        much is remembered of that kind, by weight; what was not asked for longest goes first, the newest stays.
        """
        kind = key[0] if isinstance(key, tuple) else key
        now = stamp if callable(stamp) else lambda: stamp
        with self._lock:
            found = self._known(kind, key, now())
        if found is not None:
            value: T = found.value
            return value
        with self._turn(key):
            at = now()  # of what is there when one's turn has come, but before it is read
            with self._lock:
                found = self._known(kind, key, at)
            if found is not None:
                return found.value  # type: ignore[no-any-return]
            made = make()
            with self._lock:
                shelf = self._kept.setdefault(kind, OrderedDict())
                shelf.pop(key, None)
                shelf[key] = _Kept(at, made, max(1, weigh(made)))
                while len(shelf) > 1 and sum(k.weight for k in shelf.values()) > room:
                    shelf.popitem(last=False)
            return made

    def _known(self, kind: Any, key: Any, stamp: Any) -> _Kept | None:
        shelf = self._kept.get(kind, OrderedDict())
        found = shelf.get(key)
        if found is None or found.stamp != stamp:
            return None
        shelf.move_to_end(key)
        return found

    @contextmanager
    def _turn(self, key: Any) -> Iterator[None]:
        """One at a time who makes the thing of a key."""
        with self._lock:
            turn = self._turns.setdefault(key, _Turn())
            turn.users += 1
        try:
            with turn.lock:
                yield
        finally:
            with self._lock:
                turn.users -= 1
                if not turn.users:
                    del self._turns[key]

    def close(self) -> None:
        """End what service modules opened."""
        for close in reversed(self.closing):
            close()
        self.closing.clear()


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _sayable(name: str) -> bool:
    """Whether it can be said in an address: file names may be bytes that are no text."""
    try:
        return bool(name.encode())
    except UnicodeEncodeError:
        return False
