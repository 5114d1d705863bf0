"""What a trainer tells, written down as it comes: events.jsonl, and TensorBoard's files."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any

import msgspec

from crossplay.wire.messages import Event

__all__ = ["Book", "read"]

LARGEST = 1 << 16  # bytes of one event
KINDS = ("metrics", "checkpoint", "heartbeat", "log")


class Book:
    """The events of one job. Numbers begin anew with each attempt; a gap is a lost event and counted.

    What cannot be written down is a line that says so. board: why there are no TensorBoard files, or "".
    """

    def __init__(self, folder: Path, attempt: int) -> None:
        self._file = (folder / "events.jsonl").open("ab", buffering=0)
        self.attempt, self.seq, self.lost, self.count = attempt, 0, 0, 0
        self.board = ""
        self._writer: Any = None
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            self.board = "no TensorBoard files: the package tensorboardX is not installed (the extra jobs)"
        else:
            self._writer = SummaryWriter(str(folder / "tensorboard"), flush_secs=5)

    def add(self, event: Event) -> dict[str, Any]:
        """Write an event down; what is left of its data: of metrics the finite numbers (others are kept as text in the
        file alone), of what cannot be kept nothing.
        """
        if event.seq > self.seq + 1:
            self.lost += event.seq - self.seq - 1
        self.seq = max(self.seq, event.seq)
        self.count += 1
        kind = event.kind if event.kind in KINDS else "log"
        data = self._numbers(event.data) if kind == "metrics" else dict(event.data)
        odd = {str(k)[:80]: str(v)[:80] for k, v in event.data.items()} if kind == "metrics" else {}
        line = {"at": round(time.time(), 3), "attempt": self.attempt, "seq": event.seq, "kind": kind, **odd, **data}
        try:
            text = msgspec.json.encode(line)
        except (TypeError, ValueError):
            text = b""
        if not text or len(text) > LARGEST:
            kind, data = "log", {}
            told = {"text": f"an event of kind {event.kind[:40]!r} that cannot be kept ({len(text)} bytes)"}
            text = msgspec.json.encode({**{k: line[k] for k in ("at", "attempt", "seq")}, "kind": "log", **told})
        self._file.write(text + b"\n")
        if kind == "metrics" and self._writer is not None:
            for name, value in data.items():
                if name != "step":
                    self._writer.add_scalar(name, value, data.get("step", 0))
        return data

    def _numbers(self, data: Any) -> dict[str, Any]:
        """Metrics: names and finite numbers alone."""
        return {
            str(k)[:80]: v
            for k, v in data.items()
            if isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v)
        }

    def close(self) -> None:
        """Flush and close."""
        self._file.close()
        if self._writer is not None:
            self._writer.close()


def read(folder: Path, last: int = 0) -> list[dict[str, Any]]:
    """The events of a job (the last ones, where `last` is given); a line cut short by a crash is left out."""
    try:
        lines = (folder / "events.jsonl").read_bytes().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines[-last:] if last else lines:
        try:
            found.append(msgspec.json.decode(line))
        except msgspec.DecodeError:
            continue
    return found
