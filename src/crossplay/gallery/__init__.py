"""Floor 7, the gallery: one folder per published system, on the public API only.

Lives here: per entry `study.py` (settings and the experiment), `claim.py` (what is checked, against
what) and `README.md`; beside them the frame that lists, checks and runs entries.
Does not: engine code, or a reproduction claimed from a check of a mechanism.
"""

from __future__ import annotations

from typing import Any

__all__ = ["Claim", "Entry", "Figure", "Finding", "Level", "Mechanism", "Trial", "check_entry", "entry", "names"]

_WHERE = {"check_entry": "checking", "entry": "shelf", "names": "shelf"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_WHERE.get(name, 'entry')}"), name)
