"""Cassettes as files to send: written from a run, brought back into one, or replayed as they are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossplay.kernel.types import CrossplayError
from crossplay.records._cassette_pack import SUFFIX, Packed, write_packed
from crossplay.records._cassette_rows import same_answer
from crossplay.records.cassette import Cassette, Row

__all__ = ["SUFFIX", "export_cassette", "import_cassette", "read_header"]

GROUP = 1000
"""Rows of one commit of an import."""


def export_cassette(
    source: Path | str | Cassette, file: Path | str, about: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Write a cassette (a file, its folder, or an open one) as one file; returns the file's header.

    about: what the header says beside, by name (study, prices). Every row is checked against its seal
    on the way. Equal rows and an equal `about` give an equal file.
    """
    target = Path(file)
    if target.suffix != SUFFIX:
        raise CrossplayError(f"{target}: an exported cassette ends in {SUFFIX}")
    if isinstance(source, Cassette):
        return write_packed(source.rows(), target, about or {})
    with Cassette(source, "strict") as cassette:
        return write_packed(cassette.rows(), target, about or {})


def read_header(file: Path | str) -> dict[str, Any]:
    """The first line of an exported cassette: format, rows, seal, digests of study and price table."""
    return Packed.open(Path(file)).header


def import_cassette(file: Path | str, target: Path | str) -> int:
    """Bring an exported cassette into another (a file, or the folder of one; made where it is missing).

    Every seal is checked before anything is written. Returns how many rows were new. A call that has
    another answer in the target is refused, and nothing is written then; one that differs in its cost alone is no other.
    """
    rows = list(Packed.open(Path(file)).rows())
    with Cassette(target) as out:
        new = [row for row in rows if _is_new(row, out.get(row.call.key), file)]
        for start in range(0, len(new), GROUP):
            out.keep(new[start : start + GROUP]).result()
    return len(new)


def _is_new(row: Row, known: Row | None, file: Path | str) -> bool:
    if known is None or (known.status == "intent" and row.status != "intent"):
        return True
    if row.status != "intent" and not same_answer(known, row):
        _, env_id, block, _, seat, tick, _ = row.call.address
        raise CrossplayError(
            f"cannot import {file}: the call {row.call.key.hex()} (environment {env_id}, block {block}, seat {seat}, "
            f"tick {tick}) has another answer here; import into an empty folder"
        )
    return False
