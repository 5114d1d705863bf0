"""The one place for output of the command line: tables, lines, JSON, progress."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

__all__ = ["fail", "line", "print_json", "progress", "table", "wrote"]


def line(text: str = "") -> None:
    """One plain line on standard output."""
    print(text)


def fail(text: str) -> None:
    """One plain line on standard error."""
    print(f"crossplay: {text}", file=sys.stderr)


def print_json(data: Any) -> None:
    """Indented JSON on standard output."""
    import msgspec

    print(msgspec.json.format(msgspec.json.encode(data), indent=2).decode())


def wrote(paths: Sequence[Any], json: bool) -> None:
    """The files that a command wrote: a line each, or one JSON list."""
    if json:
        print_json([str(path) for path in paths])
        return
    for path in paths:
        line(f"wrote {path}")


def console() -> Any:
    """The terminal, as wide as it is (140 columns where there is none)."""
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 140, highlight=False, soft_wrap=False)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], note: str = "") -> None:
    """An aligned table. A column whose name begins with ">" is right-aligned; note: the last line."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    found = Table(title=escape(title), box=box.SIMPLE_HEAD, title_justify="left", title_style="bold", pad_edge=False)
    for i, column in enumerate(columns):
        right = column.startswith(">")
        found.add_column(
            column.lstrip(">"), justify="right" if right else "left", overflow="fold", no_wrap=right or i == 0
        )
    for row in rows:
        found.add_row(*(escape(c) for c in row))
    console().print(found)
    if note:
        line(note)


@contextlib.contextmanager
def progress(what: str) -> Iterator[tuple[Callable[[int, int], None], Callable[[str], None]]]:
    """A progress bar on standard error with rate and time left: (set(done, total), say(note)).

    Where standard error is no terminal, a line every ten seconds.
    """
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    if not sys.stderr.isatty():
        with _lines(what) as calls:
            yield calls
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, note="")
        yield (
            lambda done, total: bar.update(task, completed=done, total=total),
            lambda note: bar.update(task, note=note),
        )


@contextlib.contextmanager
def _lines(what: str) -> Iterator[tuple[Callable[[int, int], None], Callable[[str], None]]]:
    import time

    last = [time.monotonic()]
    note = [""]

    def update(done: int, total: int) -> None:
        now = time.monotonic()
        if now - last[0] >= 10 or (done == total and now - last[0] >= 1):
            last[0] = now
            print(f"{what}: {done} of {total}{'  ' + note[0] if note[0] else ''}", file=sys.stderr)

    yield update, lambda text: note.__setitem__(0, text)
