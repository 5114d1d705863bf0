"""A run written anew without some of its episodes and calls, as if they had never been recorded.

Nothing of what is left out is in the new files: they are written from the beginning, not emptied in places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from crossplay.records.entry import EpisodeRecord, to_json
from crossplay.records.errors import Damaged
from crossplay.records.merge import copy_episodes
from crossplay.records.parts import cassette_file, write_file
from crossplay.records.run import RunFolder

if TYPE_CHECKING:
    from crossplay.records.cassette import Row

__all__ = ["without"]


def without(
    run: RunFolder,
    target: Path,
    keep: Callable[[EpisodeRecord], bool],
    keep_call: Callable[[Row], bool],
    more: Iterable[Row] = (),
) -> tuple[int, int]:
    """Write what is to be kept of a run that is open to read to an empty folder; (episodes, calls) that were left out.

    more: calls to be kept beside. Every row is checked against its seal on the way; a damaged run is refused.
    """
    from crossplay.records.cassette import Cassette, verify_cassette

    records = run.records()
    kept = [r for r in records if keep(r)]
    sources = [(known.pop("study"), to_json(known)) for known in run.sources()]
    with RunFolder.create(target, run.study_toml, sources=sources) as out:
        for digest, text in run.studies().items():
            if digest != run.study_digest:
                write_file(target / f"study-{digest}.toml", text.encode())
        out.add_cells(run.cells())
        copy_episodes(run, kept, range(len(sources)), out)
    file, dropped = cassette_file(run.path), 0
    if file is not None:
        if verify_cassette(file):
            raise Damaged(f"{file}: it is damaged; `crossplay verify` names the calls")
        with Cassette(file, "strict") as old, Cassette(target / "cassette" / "cassette.sqlite") as new:
            for row in old.rows():
                if keep_call(row):
                    new.keep([row]).result()
                else:
                    dropped += 1
            new.keep(list(more)).result()
    with RunFolder.open(target, write=True, same_source=True):
        pass  # notes the cassette
    return len(records) - len(kept), dropped
