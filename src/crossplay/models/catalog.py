"""Model files on this machine: which are known, where they lie, and whether they are what they should be."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["known", "models_folder"]


def models_folder() -> Path:
    """$CROSSPLAY_HOME/models, or ~/.cache/crossplay/models."""
    home = os.environ.get("CROSSPLAY_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "crossplay") / "models"


def known() -> dict[str, str]:
    """TEMP."""
    return {}
