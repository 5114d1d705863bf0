"""Trainers by name: which command runs them, in which interpreter."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from crossplay.jobs.interpreters import interpreters
from crossplay.jobs.registry import Spec
from crossplay.kernel import CrossplayError, nearest
from crossplay.kernel.registry import load
from crossplay.study.plain import env_problems
from crossplay.study.spec import EnvSpec

__all__ = ["KNOWN", "command", "installed", "kit"]

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


def installed(spec: Spec) -> str:
    """What a job names beyond a trainer that is installed here and plain data; "" where that is all.

    So a job that lies in a folder may be gone on with by whoever did not start it: nothing of its own is run.
    """
    known = {sys.executable, *(str(Path(i.interpreter).absolute()) for i in interpreters())}
    modules = {f"crossplay_worker.frameworks.{name}" for name in KNOWN}
    if (
        len(spec.command) != 3
        or spec.command[0] not in known
        or spec.command[1] != "-m"
        or spec.command[2] not in modules
    ):
        return "its command is its own"
    if spec.variables not in ({}, kit()):
        return "it sets variables of the environment"
    if spec.fill is not None and not (isinstance(spec.fill, str) and _plain(spec.fill)):
        return "agents that fill its seats may run code or read files"
    problems = env_problems(EnvSpec(spec.env, spec.options))
    return problems[0].text if problems else ""


def _plain(agent: str) -> bool:
    """Whether an agent by this name, without more, is made of what is installed."""
    try:
        return ":" not in agent and hasattr(load("agents", agent), "plain")
    except CrossplayError:
        return False
