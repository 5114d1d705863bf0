"""What a run writes: policy, settings, curve, progress, and the state from which it resumes.

Every file is written whole and then put in place, so that a killed run leaves the previous version.
The state holds arrays and JSON, nothing that can execute.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["csv_text", "put", "put_arrays", "put_json", "read_arrays", "read_rows"]


def put(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def put_json(path: Path, data: Any) -> None:
    """Write JSON that people can read."""
    put(path, (json.dumps(data, indent=2, ensure_ascii=False) + "\n").encode())


def put_arrays(path: Path, arrays: Mapping[str, np.ndarray], note: Any = None) -> str:
    """Write arrays as safetensors, with a JSON note in the header; returns the file's sha256."""
    from safetensors.numpy import save

    metadata = None if note is None else {"crossplay": json.dumps(note, sort_keys=True)}
    content = save({k: np.ascontiguousarray(v) for k, v in arrays.items()}, metadata)
    put(path, content)
    return hashlib.sha256(content).hexdigest()


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], Any]:
    """(arrays, note) of a file of `put_arrays`."""
    from safetensors import safe_open

    with safe_open(path, "np") as file:
        note = json.loads((file.metadata() or {}).get("crossplay", "null"))
        return {name: file.get_tensor(name) for name in file.keys()}, note  # noqa: SIM118 (not a dict)


def csv_text(rows: Sequence[Mapping[str, Any]]) -> bytes:
    """Rows as CSV; numbers by `repr`, so that reading gives the same bits; None is empty."""
    out = io.StringIO()
    if rows:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(rows[0])
        writer.writerows(["" if v is None else repr(v) for v in row.values()] for row in rows)
    return out.getvalue().encode()


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a CSV file of numbers; whole numbers as int, empty cells as None."""

    def number(text: str) -> Any:
        if not text:
            return None
        with contextlib.suppress(ValueError):
            return int(text)
        return float(text)

    with path.open(newline="") as file:
        return [{k: number(v) for k, v in row.items()} for row in csv.DictReader(file)]
