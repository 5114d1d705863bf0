"""Locks that the system drops when their holder dies, and the slots of GPUs that jobs claim with them."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from crossplay.kernel import CrossplayError

__all__ = ["Held", "claim", "gpus", "held", "slots_folder"]


class Held:
    """Holds `path` until `release`, or until the process dies; raises `BlockingIOError` where another one does.

    Locks of open files (flock): the descriptor is not inherited by started programs, so no worker keeps it.
    """

    def __init__(self, path: Path) -> None:
        import fcntl

        path.parent.mkdir(parents=True, exist_ok=True)
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._fd)
            raise BlockingIOError(f"{path} is held") from None
        os.ftruncate(self._fd, 0)
        os.write(self._fd, f"process {os.getpid()}\n".encode())

    def release(self) -> None:
        """Let the next one in."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def held(path: Path) -> bool:
    """Whether some process holds it (asked with a shared lock, so that those who ask do not meet each other)."""
    import fcntl

    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(fd)


def gpus() -> tuple[str, ...]:
    """The slots of this machine: CROSSPLAY_GPUS ("0,1"), else the numbers of the NVIDIA devices there are."""
    declared = os.environ.get("CROSSPLAY_GPUS")
    if declared is not None:
        found = tuple(name.strip() for name in declared.split(",") if name.strip())
        if bad := [name for name in found if not re.fullmatch(r"[\w.-]{1,60}", name)]:
            raise CrossplayError(f"CROSSPLAY_GPUS: {bad[0]!r} is no name of a slot (letters, digits, _ . -)")
        return found
    with contextlib.suppress(OSError):
        return tuple(sorted(p.name[6:] for p in Path("/dev").glob("nvidia[0-9]*") if p.name[6:].isdigit()))
    return ()


def slots_folder() -> Path:
    """Where the locks of the slots are: one folder per machine and user (CROSSPLAY_SLOTS names another one)."""
    given = os.environ.get("CROSSPLAY_SLOTS")
    return Path(given) if given else Path.home() / ".cache" / "crossplay" / "slots"


def claim(
    count: int, names: Sequence[str], folder: Path, waits: Callable[[], bool] = lambda: True
) -> list[tuple[str, Held]]:
    """`count` slots, all of them or none, as (name, lock).

    Waits while `waits()` says so; then, and where the machine has too few, `CrossplayError`.
    """
    if count > len(names):
        raise CrossplayError(
            f"{count} GPU slot{'s' * (count > 1)} asked for; this machine has {', '.join(names) or 'none'}"
        )
    while True:
        taken: list[tuple[str, Held]] = []
        for name in names:
            if len(taken) == count:
                break
            with contextlib.suppress(BlockingIOError):
                taken.append((name, Held(folder / f"{name}.lock")))
        if len(taken) == count:
            return taken
        for _, lock in taken:
            lock.release()
        if not waits():
            raise CrossplayError("no GPU slot became free")
        time.sleep(0.2)
