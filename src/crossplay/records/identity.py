"""Who played: version, code, packages, interpreter and processor of this process."""

from __future__ import annotations

import hashlib
import platform
import subprocess
import sys
from functools import cache
from importlib.metadata import distributions, version
from pathlib import Path
from typing import Any

__all__ = ["machine"]


@cache
def _machine() -> tuple[tuple[str, Any], ...]:
    packages = sorted({f"{d.name.lower()}=={d.version}" for d in distributions() if d.name})
    sha, dirty = _git()
    return (
        ("crossplay", version("crossplay")),
        ("git_sha", sha),
        ("git_dirty", dirty),
        ("packages", packages),
        ("lock_digest", hashlib.sha256("\n".join(packages).encode()).hexdigest()),
        ("python", platform.python_version()),
        ("implementation", sys.implementation.name),
        ("platform", platform.platform()),
        ("machine", platform.machine()),
        ("cpu", _cpu()),
    )


def machine() -> dict[str, Any]:
    """What identifies the code and the machine (read once per process).

    lock_digest: sha256 over the sorted `name==version` of every installed package, so that two runs
    with equal digests ran the same packages, whichever file locked them.
    """
    return dict(_machine())


def _git() -> tuple[str | None, bool | None]:
    """(commit, whether tracked files differ) of the checkout the package runs from; else (None, None)."""
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists():
        return None, None
    try:
        sha = _run(root, "rev-parse", "HEAD")
        return sha, bool(_run(root, "status", "--porcelain", "--untracked-files=no"))
    except (OSError, subprocess.SubprocessError):
        return None, None


def _run(root: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, timeout=20, check=True)
    return done.stdout.strip()


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
