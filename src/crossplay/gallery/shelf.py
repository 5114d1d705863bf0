"""Where entries are found: by entry points, so that a package of its own may add some."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from crossplay.gallery.entry import Entry
from crossplay.kernel import entries, load

__all__ = ["entry", "folder_of", "kept", "names", "readme"]


def names() -> tuple[str, ...]:
    """All entries, sorted."""
    return entries("gallery")


def entry(name: str) -> Entry:
    """The entry of that name; an error names the nearest."""
    found: Entry = load("gallery", name, "gallery entry")
    return found


def folder_of(name: str) -> Path:
    """The folder of an entry, with its README and what is kept of its runs."""
    check = entry(name).check
    package = check.__module__.rpartition(".")[0]
    return Path(str(resources.files(package)))


def readme(name: str) -> str:
    """The entry's README."""
    return (folder_of(name) / "README.md").read_text("utf-8")


def kept(name: str) -> list[dict[str, Any]]:
    """The verdicts of kept trials (`kept/*.json`), with the path of the calls behind each."""
    found = []
    for file in sorted((folder_of(name) / "kept").glob("*.json")):
        verdict = msgspec.json.decode(file.read_bytes())
        calls = file.with_suffix(".mcz")
        found.append({**verdict, "file": file.name, "calls": str(calls) if calls.is_file() else None})
    return found
