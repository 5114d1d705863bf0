"""How a run meets its cassette: asked live, read from a shipped file, asked anew, or kept nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

import msgspec

from crossplay.kernel import CrossplayError, nearest
from crossplay.records.cassette import Cassette
from crossplay.records.cassette_file import import_cassette

__all__ = ["Calls", "open_cassette"]

How = Literal["record", "strict", "lenient", "refresh", "off"]


class Calls(msgspec.Struct, frozen=True):
    """how: mode of the cassette, see `Cassette`. source: an exported file (.mcz); its answers are brought
    into the run first. shared_prefix: the study declares that equal first questions may share sampled answers.
    """

    how: How = "record"
    source: Path | None = None
    shared_prefix: bool = False

    def __post_init__(self) -> None:
        if self.how not in get_args(How):
            raise CrossplayError(f'--calls "{self.how}": unknown mode.{nearest(self.how, get_args(How))}')
        if self.source is not None and not self.source.exists():
            raise CrossplayError(f"{self.source}: the cassette does not exist")
        if self.source is not None and self.how in ("refresh", "off"):
            raise CrossplayError(
                f'--calls {self.how} asks everything anew; it reads no other cassette ("{self.source}")'
            )


def open_cassette(folder: Path, calls: Calls) -> Cassette:
    """The cassette of a run folder, with the answers of the source in it."""
    target = folder / "cassette"
    if calls.source is not None:
        import_cassette(_packed(calls.source), target)
    return Cassette(target, mode=calls.how, shared=calls.shared_prefix)


def _packed(source: Path) -> Path:
    if source.suffix != ".mcz":
        raise CrossplayError(f"{source}: name an exported cassette (.mcz): crossplay cassette export RUN FILE")
    return source
