"""Interpreters of workers: the virtual environments of a folder, and what each was made of."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Literal

import msgspec

__all__ = ["FOLDER", "NOTE", "Interpreter", "binary_of", "interpreters"]

FOLDER = Path(".venvs")
NOTE = "crossplay.json"  # in each environment: what it was made of


class Interpreter(msgspec.Struct):
    """One environment. interpreter: its file. python: version. packages, requirements: it was made for. kit: where its
    worker kit came from, "" for one that Crossplay did not make. installed: package -> version, when it was made.
    """

    name: str
    interpreter: str
    state: Literal["ready", "its interpreter is gone", "not made by Crossplay"]
    python: str = "?"
    packages: list[str] = []
    requirements: str = ""
    kit: str = ""
    installed: dict[str, str] = {}


class _Note(msgspec.Struct):
    python: str = "?"
    packages: list[str] = []
    requirements: str = ""
    kit: str = ""
    installed: dict[str, str] = {}


def interpreters(folder: Path = FOLDER) -> list[Interpreter]:
    """The environments of a folder by name."""
    found = []
    for place in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not (place / "pyvenv.cfg").is_file():
            continue
        binary, note = binary_of(place), _Note()
        with contextlib.suppress(OSError, msgspec.MsgspecError):  # nobody wrote down what it was made of
            note = msgspec.json.decode((place / NOTE).read_bytes(), type=_Note)
        state: Literal["ready", "its interpreter is gone", "not made by Crossplay"] = "not made by Crossplay"
        if note.kit:
            state = "ready" if binary.exists() else "its interpreter is gone"
        found.append(Interpreter(place.name, str(binary), state, **msgspec.structs.asdict(note)))
    return found


def binary_of(place: Path) -> Path:
    """The interpreter of an environment."""
    return place / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
