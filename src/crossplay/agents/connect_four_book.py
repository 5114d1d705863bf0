"""The openings of connect four: one best column for the positions in which solving takes too long to wait for.

The book is made by the solver and holds positions that a player who follows it can meet, whatever the other does:

    python -m crossplay.agents.connect_four_book book.json --first 6 --second 5

A position stands in it once for itself and its mirror image, as mine + full in base 36 (see `connect_four`).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from crossplay.agents.connect_four import BOARD, BOTTOM, COLUMNS, mirrored, place, solve, table, threats

__all__ = ["build", "look_up"]


def _name(mine: int, full: int) -> tuple[str, bool]:
    """(name of the position or of its mirror image, whether it is the image)."""
    key, image = mine + full, mirrored(mine) + mirrored(full)
    number, text = min(key, image), ""
    while number:
        number, digit = divmod(number, 36)
        text = "0123456789abcdefghijklmnopqrstuvwxyz"[digit] + text
    return text or "0", image < key


@cache
def _book() -> dict[str, int]:
    found: dict[str, int] = json.loads(files("crossplay.agents").joinpath("connect_four_book.json").read_text("utf-8"))
    return found


def look_up(mine: int, full: int) -> int | None:
    """A best column, where the book has the position."""
    name, image = _name(mine, full)
    column = _book().get(name)
    return None if column is None else COLUMNS - 1 - column if image else column


def _after(mine: int, full: int, column: int) -> tuple[int, int] | None:
    """The position after a move; None where the column is full, or the other could win at once (no book needed)."""
    stone = place(full, column)
    if not stone or threats(mine, full) & stone:
        return None
    mine, full = mine ^ full, full | stone
    return None if threats(mine, full) & (full + BOTTOM) & BOARD else (mine, full)


def _met(
    book: dict[str, int], start: list[tuple[int, int]], known: Any, keep: Callable[[], object]
) -> Iterator[list[tuple[int, int]]]:
    """The positions of one own move after the other, each solved once; adds them to the book, and keeps it."""
    while True:
        replies: dict[str, tuple[int, int]] = {}
        for mine, full in start:
            name, image = _name(mine, full)
            if name not in book:
                found = solve(mine, full, 1 << 62, all_best=False, target=1, known=known)
                if found.value < 1:
                    found = solve(mine, full, 1 << 62, all_best=False, known=known)
                column = min(found.best, key=lambda c: abs(c - 3))
                book[name] = COLUMNS - 1 - column if image else column
                print(len(book), name, found, file=sys.stderr, flush=True)
                keep()
            column = COLUMNS - 1 - book[name] if image else book[name]
            theirs = _after(mine, full, column)
            for answer in range(COLUMNS) if theirs else ():
                assert theirs is not None
                again = _after(theirs[0], theirs[1], answer)
                if again:
                    replies.setdefault(_name(*again)[0], again)
        yield list(replies.values())
        start = list(replies.values())


def build(path: Path, first: int, second: int, table_bits: int = 24) -> dict[str, int]:
    """Solve the openings of both players, up to the plies `first` and `second`; goes on with what `path` holds."""
    book: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    known = table(table_bits)

    def keep() -> None:
        path.write_text(json.dumps(book, indent=0, sort_keys=True) + "\n")

    for start, last in (([(0, 0)], first), ([p for c in range(4) if (p := _after(0, 0, c))], second)):
        ply = 0 if start == [(0, 0)] else 1
        for _ in _met(book, start, known, keep):
            ply += 2
            if ply > last:
                break
    return book


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Make the book of openings of connect four.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--first", type=int, default=6)
    parser.add_argument("--second", type=int, default=5)
    parser.add_argument("--table-bits", type=int, default=24)
    given = parser.parse_args()
    build(given.path, given.first, given.second, given.table_bits)
