"""Removing a participant who withdraws the consent: the run is written anew without them, and says that somebody withdrew.

    withdraw(Path("runs/people"), 7)     # everything of p07

What stays is one line: that there was a participant of this number, which place in the orders they had, and how much was removed.
"""

from __future__ import annotations

import glob
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from crossplay.kernel import CrossplayError, unpack
from crossplay.kernel.types import Usage, pack
from crossplay.records import EpisodeRecord, RunFolder
from crossplay.records.cassette import Row
from crossplay.records.errors import explained
from crossplay.records.lock import Lock
from crossplay.records.without import without
from crossplay.study.people import People
from crossplay.study.sessions import PLACE, WITHDRAWN, Sessions, call_of, kept_in, name_of
from crossplay.study.spec import Study
from crossplay.study.verify import load_run

__all__ = ["GAMES", "PRACTICE", "Withdrawn", "settle", "withdraw"]

PRACTICE = "practice"
"""The folder below a run that holds the run of the practice episodes."""
ANEW = ("manifest.sqlite", "manifest.sqlite-wal", "manifest.sqlite-shm", "trace", "cassette", "lock", PRACTICE)
"""What is written anew, or belongs to it."""
MADE = ("report.html", "export")
"""What was made of the run, with what is to be removed in it."""
GAMES = "games"
"""The folder with games that were cut off, one for each participant."""
OLD, NEW = ".before", ".without."
"""What the run is called beside itself, while it is written anew."""


class Withdrawn(msgspec.Struct, frozen=True):
    """What was removed. episodes: of the run and of its practice. answers: steps of the session. calls: of models, in
    these episodes. files: what had been made of the run and has to be made again.
    """

    participant: str
    episodes: int
    answers: int
    calls: int
    files: tuple[str, ...] = ()


def withdraw(folder: Path, number: int) -> Withdrawn:
    """Remove everything that a closed run holds of a participant. Afterwards it verifies as before.

    Raises CrossplayError where there is no such participant, or somebody has the run open for writing. Copies of the run,
    and what was made of it elsewhere, have to be treated likewise. A kill leaves the run as it was, or without them.
    """
    folder = folder.resolve()
    settle(folder)
    lock = Lock(folder / "lock")
    try:
        run, study = load_run(folder)
        with run:
            if study.people is None:
                raise CrossplayError(f"{folder}: a run without participants")
            sessions = kept_in(run, study)
            _check(sessions, number, folder)
            for left in folder.parent.glob(f".{glob.escape(folder.name)}{NEW}*"):  # by a kill
                shutil.rmtree(left)
            work = Path(tempfile.mkdtemp(prefix=f".{folder.name}{NEW}", dir=folder.parent))
            try:
                done = _written(run, study, study.people, sessions, number, work)
                _take_along(folder, work)
                shutil.rmtree(work / GAMES / done.participant, ignore_errors=True)
                _swap(folder, work)
                return done
            except BaseException:
                shutil.rmtree(work, ignore_errors=True)
                raise
    finally:
        lock.release()


def settle(folder: Path) -> None:
    """End what a kill in the middle of a withdrawal left: the old run goes, or comes back where there is no new one yet."""
    old = folder.with_name(f".{folder.name}{OLD}")
    if old.is_dir():
        if folder.exists():
            shutil.rmtree(old)
        else:
            old.rename(folder)


def _check(sessions: Sessions, number: int, folder: Path) -> None:
    session = sessions.get(number)
    if session is None:
        known = ", ".join(name_of(s.number) for s in sessions.all()[:20]) or "nobody"
        raise CrossplayError(f"{folder}: there is no participant {number}; there is {known}")
    if session.status == "withdrawn" and len(session.answers) == 1:
        raise CrossplayError(f"{folder}: {name_of(number)} has withdrawn already, and nothing of theirs is here")


def _written(run: RunFolder, study: Study, people: People, sessions: Sessions, number: int, work: Path) -> Withdrawn:
    session = sessions.get(number)
    assert session is not None
    name, me = name_of(number), people.participant
    cells = {c.name for c in run.cells() if me in c.agents.values()}
    mine = _blocks(number, people.blocks)

    def theirs(record: EpisodeRecord) -> bool:
        return record.block in mine and (record.cell in cells or record.extra.get("participant") == name)

    episodes = sum(theirs(r) for r in run.records() if r.status != "void")
    answers = sum(step not in ("invited", WITHDRAWN) for step in session.answers)
    said = {"slot": session.slot, "mark": session.mark, "episodes": episodes, "answers": answers}
    before = session.answers.get(WITHDRAWN)
    if before is not None:  # brought back by a merge
        said = {**said, **{k: max(said[k], before.get(k, 0)) for k in ("episodes", "answers")}}
    call = call_of(study.root, number, name, WITHDRAWN)
    now = time.time()
    last = Row(call, "answered", pack(said), Usage(), 1, 0, "withdrawn", now, now)

    def person(row: Row) -> bool:
        return bool(row.call.address[1] == PLACE and row.call.address[2] == number)

    keep_call = _others(run, mine, theirs, person)
    _, calls = without(run, work, lambda r: not theirs(r), keep_call, [last])
    calls -= len(session.answers)
    practised = 0
    if (run.path / PRACTICE / "manifest.sqlite").is_file():
        with RunFolder.open(run.path / PRACTICE) as practice:
            before_count = _blocks(number, people.practice.blocks)

            def practised_by(record: EpisodeRecord) -> bool:
                return record.block in before_count or record.extra.get("participant") == name

            (work / PRACTICE).mkdir()
            keep = _others(practice, before_count, practised_by, lambda _: False)
            practised, more = without(practice, work / PRACTICE, lambda r: not practised_by(r), keep)
            calls += more
    files = tuple(f for f in MADE if (run.path / f).exists())
    return Withdrawn(name, episodes + practised, answers, max(0, calls), files)


def _blocks(number: int, each: int) -> range:
    return range((number - 1) * each, number * each)


def _others(
    run: RunFolder,
    blocks: Sequence[int],
    theirs: Callable[[EpisodeRecord], bool],
    person: Callable[[Row], bool],
) -> Callable[[Row], bool]:
    """Which calls stay: all but those of the person, and but those of models in their blocks that no other episode met."""
    rest = [r.id for r in run.records() if r.block in blocks and not theirs(r)]
    met = set(_met(run, rest))

    def stays(row: Row) -> bool:
        if person(row):
            return False
        env_id, block = row.call.address[1:3]
        return env_id == PLACE or block not in blocks or row.call.key.hex() in met

    return stays


def _met(run: RunFolder, episodes: Iterable[int]) -> Iterable[str]:
    """The calls whose answers these episodes met."""
    for episode in episodes:
        for event in run.events(episode):
            note = unpack(event.note) if event.note else None
            if isinstance(note, dict) and isinstance(note.get("call"), str):
                yield note["call"]


def _take_along(folder: Path, work: Path) -> None:
    """What else lies in the folder of the run comes along, but for what was made of it."""
    for path in folder.iterdir():
        if path.name in (*ANEW, *MADE) or (work / path.name).exists():
            continue
        with explained(work, "write the run anew"):
            if path.is_dir() and not path.is_symlink():
                shutil.copytree(path, work / path.name, symlinks=True)
            else:
                shutil.copy2(path, work / path.name, follow_symlinks=False)


def _swap(folder: Path, work: Path) -> None:
    """The new run takes the place of the old one, which is removed."""
    old = folder.with_name(f".{folder.name}{OLD}")
    with explained(folder, "write the run anew"):
        work.chmod(0o755)
        folder.rename(old)
        work.rename(folder)
        shutil.rmtree(old)
