"""Trainers by name: which command runs them, in which interpreter."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from crossplay.kernel import CrossplayError, nearest

__all__ = ["KNOWN", "command", "kit"]

KNOWN = {
    "sb3": "Stable-Baselines3 and SB3-Contrib",
    "cleanrl": "PPO in one file, in the manner of CleanRL (torch)",
    "rllib": "Ray RLlib",
    "skrl": "skrl",
}


def command(name: str, python: str = "") -> list[str]:
    """How to start a trainer: one of `KNOWN`, or a Python file. python: its interpreter; default: `.venvs/NAME`
    where there is one, else this interpreter.
    """
    own = name.endswith(".py")
    if not own and name not in KNOWN:
        raise CrossplayError(f'train: unknown worker "{name}".{nearest(name, KNOWN)} Or name a file: --worker mine.py')
    if own and not Path(name).is_file():
        raise CrossplayError(f"train: there is no file {name}")
    beside = Path(".venvs") / name / "bin" / "python"
    interpreter = (
        Path(python).expanduser() if python else beside if not own and beside.exists() else Path(sys.executable)
    )
    if not interpreter.exists():
        raise CrossplayError(f"train: there is no interpreter {interpreter}")
    # Not resolved: an interpreter of a virtual environment is a link, and finds its packages by its own place.
    start = str(interpreter.absolute())
    return [start, str(Path(name).resolve())] if own else [start, "-m", f"crossplay_worker.frameworks.{name}"]


def kit() -> dict[str, str]:
    """PYTHONPATH with the worker kit, where it lies in a folder of its own (a checkout); else it has to be installed
    in the framework's interpreter: nothing else of this one is shown to it.
    """
    found = importlib.util.find_spec("crossplay_worker")
    if found is None or not found.submodule_search_locations:
        return {}
    folder = Path(next(iter(found.submodule_search_locations))).parent
    return {} if folder.name in ("site-packages", "dist-packages") else {"PYTHONPATH": str(folder)}
