"""Checkpoints that execute nothing: arrays as safetensors, everything else as JSON beside them.

    NAME.safetensors   the arrays
    NAME.json          format, framework, what it was trained on, settings, sha256 of the arrays

Nothing is ever unpickled. Files of other kinds are refused by name.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .worker import Refused

__all__ = ["FORMAT", "PICKLED", "load", "prune", "save"]

FORMAT = 1
# Files that can run code when they are opened, or that often hold some which can.
PICKLED = (".zip", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".bin", ".joblib", ".tar", ".npz", ".npy")


def save(path: Path, arrays: Mapping[str, Any], about: Mapping[str, Any]) -> Path:
    """Write NAME.safetensors and NAME.json, each whole; returns the path of the first. `path` is NAME."""
    from safetensors.numpy import save as encode

    weights = path.with_name(path.name + ".safetensors")
    weights.parent.mkdir(parents=True, exist_ok=True)
    content = encode({k: np.asarray(v, order="C") for k, v in arrays.items()})
    digest = hashlib.sha256(content).hexdigest()
    text = json.dumps({"format": FORMAT, **about, "sha256": digest}, indent=2) + "\n"
    _put(weights, content)
    _put(path.with_name(path.name + ".json"), text.encode())
    return weights


def _put(path: Path, content: bytes) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def load(path: Any, framework: str = "") -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """(arrays, about) of a checkpoint: its .safetensors file, or the name without suffix.

    Raises `Refused` BAD_VALUE for other kinds of files, another framework, arrays that are not those described.
    """
    from safetensors.numpy import load as decode

    at = Path(path)
    if at.suffix.lower() in PICKLED:
        raise Refused(
            "BAD_VALUE",
            "%s: files of this kind can run code when they are opened, so they are not read here; export the policy to "
            "safetensors and JSON (crossplay_worker.weights.save) in the interpreter that wrote it" % at.name,
        )
    name = at.with_suffix("") if at.suffix in (".safetensors", ".json") else at
    weights, beside = (name.with_name(name.name + suffix) for suffix in (".safetensors", ".json"))
    try:
        about = json.loads(beside.read_text("utf-8"))
        content = weights.read_bytes()
    except OSError as error:
        raise Refused("BAD_VALUE", "checkpoint: cannot read %s (%s)" % (error.filename, error.strerror)) from None
    except ValueError as error:
        raise Refused("BAD_VALUE", "checkpoint: %s is not JSON (%s)" % (beside.name, error)) from None
    if not isinstance(about, dict) or about.get("format") != FORMAT:
        raise Refused("BAD_VALUE", "checkpoint: %s is not of format %d" % (beside.name, FORMAT))
    if framework and about.get("framework") != framework:
        raise Refused(
            "BAD_VALUE", "checkpoint: %s is of %s, not of %s" % (name.name, about.get("framework"), framework)
        )
    if hashlib.sha256(content).hexdigest() != about.get("sha256"):
        raise Refused("BAD_VALUE", "checkpoint: %s is not the file that %s describes" % (weights.name, beside.name))
    try:
        return decode(content), about
    except Exception as error:  # whatever the library says of a broken file
        raise Refused("BAD_VALUE", "checkpoint: %s is not safetensors (%s)" % (weights.name, error)) from None


def prune(folder: Path, keep: int = 3) -> None:
    """Remove all but the newest checkpoints of a folder; their names are numbers of steps."""
    found = sorted((int(p.stem), p) for p in folder.glob("*.safetensors") if p.stem.isdigit())
    for _, path in found[:-keep]:
        path.with_suffix(".json").unlink(missing_ok=True)
        path.unlink(missing_ok=True)
