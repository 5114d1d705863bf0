"""Looking into damaged parts: in a process of its own, because a Parquet reader that is given damaged
bytes may ask for any amount of memory or abort.

Run as a module it reads a list of (path, slices) from standard input and answers, file by file, which
episodes differ; `differing` starts it and survives its death.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec

from crossplay.records.parts import Slice, checked, read_slice, read_table

__all__ = ["differing"]

_MEMORY = 8 << 30  # bytes of address space
_SECONDS = 120  # per part; a sound one takes well under one second

Job = tuple[str, list[Slice]]


def differing(jobs: Sequence[tuple[Path, Sequence[Slice]]]) -> list[set[int]]:
    """For each damaged part the episodes whose rows no longer match their seals (all where the
    reader failed). An empty set: every row is still as it was.
    """
    todo: list[Job] = [(str(path), list(slices)) for path, slices in jobs]
    found: list[set[int]] = []
    while len(found) < len(todo):
        rest = todo[len(found) :]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "crossplay.records.salvage"],
                input=msgspec.msgpack.encode(rest),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                timeout=_SECONDS * len(rest),
                check=False,
            )
            answers = done.stdout
        except subprocess.TimeoutExpired as late:
            answers = late.stdout or b""
        got = _frames(answers)[: len(rest)]
        found += [set(g) for g in got]
        if len(got) < len(rest):  # it died on the next one
            found.append({s.episode for s in rest[len(got)][1]})
    return found


def _frames(data: bytes) -> list[list[int]]:
    frames, at = [], 0
    while at + 4 <= len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if end > len(data):
            break
        frames.append(msgspec.msgpack.decode(data[at + 4 : end], type=list[int]))
        at = end
    return frames


def _differing(path: Path, slices: Sequence[Slice]) -> list[int]:
    """Episodes of one file that differ; where the whole cannot be read, slice by slice."""
    bad = []
    try:
        ids, table = read_table(path)
    except BaseException:  # the reader's panics are no ordinary exceptions
        for where in slices:
            try:
                read_slice(path, where)
            except BaseException:
                bad.append(where.episode)
        return bad
    for where in slices:
        try:
            checked(ids, table, where, where.first)
        except ValueError:
            bad.append(where.episode)
    return bad


def _main(source: BinaryIO, sink: BinaryIO) -> None:
    try:
        import resource
    except ImportError:
        pass
    else:
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        if hard == resource.RLIM_INFINITY or hard > _MEMORY:
            resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, hard))
    for path, slices in msgspec.msgpack.decode(source.read(), type=list[Job]):
        answer = msgspec.msgpack.encode(_differing(Path(path), slices))
        sink.write(len(answer).to_bytes(4, "little") + answer)
        sink.flush()


if __name__ == "__main__":
    _main(sys.stdin.buffer, sys.stdout.buffer)
