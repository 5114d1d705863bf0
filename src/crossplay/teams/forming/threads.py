"""Threads: who may read what, and who waits. A message store with visibility, without I/O.

After the threads of Anemoi (arXiv 2508.17068): a thread has participants; what is said in it is seen by those who
take part in it, and mentions name who has to react; a closed thread is its summary from then on, for everybody
who took part. `step(board, move) -> (board, effects)` is a pure function; the moves alone give the board back. Waiting
is a state of the board: `ready(board)` names who has something to do, and nobody else has to be asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from crossplay.kernel import CrossplayError
from crossplay.teams.forming.machine import Refused, counted

__all__ = ["Board", "Effect", "Line", "Move", "Note", "Thread", "mentions", "ready", "size", "start", "step", "visible"]

Type = Literal["open", "post", "add", "remove", "close", "read", "wait"]
replace = msgspec.structs.replace


class Thread(msgspec.Struct, frozen=True):
    """One thread. people: who takes part now, and where it is closed, who did then. summary: what is left of a closed one."""

    id: int
    name: str
    by: str
    people: tuple[str, ...]
    closed: bool = False
    summary: str = ""


class Note(msgspec.Struct, frozen=True):
    """What was said. id: place among all that was said. ref: the host's number of it, -1: none."""

    id: int
    thread: int
    src: str
    text: str
    mentions: tuple[str, ...] = ()
    ref: int = -1


class Move(msgspec.Struct, frozen=True, omit_defaults=True):
    """What somebody does. who: participants (open), mentioned (post), added or removed. text: the name of a thread that is
    opened, what is posted, the summary of a thread that is closed.
    """

    src: str
    type: Type
    thread: int = -1
    text: str = ""
    who: tuple[str, ...] = ()
    ref: int = -1


class Board(msgspec.Struct, frozen=True):
    """Everything. seen: agent -> how much had been said when it read last. waiting: who wants to be asked when it is
    mentioned, and not before. refused: reason -> moves.
    """

    people: tuple[str, ...]
    threads: tuple[Thread, ...] = ()
    notes: tuple[Note, ...] = ()
    seen: dict[str, int] = {}
    waiting: tuple[str, ...] = ()
    refused: dict[str, int] = {}


class Effect(msgspec.Struct, frozen=True):
    """What a move brought about. who: those concerned: participants, mentioned, or whose move was refused."""

    kind: Literal["refused", "opened", "posted", "changed", "closed"]
    thread: int = -1
    who: tuple[str, ...] = ()
    text: str = ""


class Line(msgspec.Struct, frozen=True):
    """One thing that an agent may read: a note of an open thread, or the summary of a closed one (note: -1)."""

    thread: int
    text: str
    src: str = ""
    note: int = -1
    ref: int = -1


def start(people: Sequence[str]) -> Board:
    """A board without threads."""
    if len(set(people)) != len(people) or not people:
        raise CrossplayError(f"threads: the people {list(people)} must be there, each once")
    return Board(tuple(people))


# -- reading -----------------------------------------------------------------------------------------
def visible(board: Board, agent: str) -> tuple[Line, ...]:
    """What an agent may read now, threads in the order of their opening: open ones that it takes part in, whole; closed
    ones that it took part in to the end, as their summaries.
    """
    found: list[Line] = []
    for t in board.threads:
        if agent not in t.people:
            continue
        if t.closed:
            found.append(Line(t.id, t.summary))
        else:
            found += [Line(t.id, n.text, n.src, n.id, n.ref) for n in board.notes if n.thread == t.id]
    return tuple(found)


def size(board: Board, agent: str) -> int:
    """Characters of all that an agent may read now."""
    return sum(len(line.text) for line in visible(board, agent))


def mentions(board: Board, agent: str) -> tuple[Note, ...]:
    """Notes that mention an agent and were posted since it read last, in threads that it can still read."""
    mine = {t.id for t in board.threads if agent in t.people and not t.closed}
    return tuple(n for n in board.notes[board.seen.get(agent, 0) :] if agent in n.mentions and n.thread in mine)


def ready(board: Board) -> tuple[str, ...]:
    """Who has something to do: all who do not wait, and who wait and are mentioned."""
    return tuple(p for p in board.people if p not in board.waiting or mentions(board, p))


# -- the step ----------------------------------------------------------------------------------------
Step = tuple[Board, tuple[Effect, ...]]


def step(board: Board, m: Move) -> Step:
    """The board after a move, and what it brought about. A refused move is counted by its reason, no more."""
    try:
        if m.src not in board.people:
            raise Refused("unknown", f"{m.src} is not on the board")
        if any(w not in board.people for w in m.who) or len(set(m.who)) != len(m.who):
            raise Refused("unknown", f"{', '.join(m.who)}: not all are on the board, or one stands twice")
        return _HANDLERS[m.type](board, m)
    except Refused as why:
        after = replace(board, refused=counted(board.refused, why.code))
        return after, (Effect("refused", m.thread, (m.src,), f"{why.code}: {why}"),)


def _thread(board: Board, m: Move) -> Thread:
    """The open thread of a move, whose sender must take part in it."""
    if not 0 <= m.thread < len(board.threads):
        raise Refused("thread", f"there is no thread {m.thread}")
    found = board.threads[m.thread]
    if m.src not in found.people:
        raise Refused("outside", f"{m.src} takes no part in thread {m.thread}")
    if found.closed:
        raise Refused("closed", f"thread {m.thread} is closed")
    return found


def _put(board: Board, thread: Thread) -> Board:
    return replace(board, threads=(*board.threads[: thread.id], thread, *board.threads[thread.id + 1 :]))


def _opening(board: Board, m: Move) -> Step:
    people = tuple(dict.fromkeys((m.src, *m.who)))
    new = Thread(len(board.threads), m.text, m.src, people)
    return replace(board, threads=(*board.threads, new)), (Effect("opened", new.id, people, m.text),)


def _post(board: Board, m: Move) -> Step:
    thread = _thread(board, m)
    if not set(m.who) <= set(thread.people):
        raise Refused("mention", f"{', '.join(m.who)}: not all take part in thread {m.thread}")
    note = Note(len(board.notes), thread.id, m.src, m.text, m.who, m.ref)
    return replace(board, notes=(*board.notes, note)), (Effect("posted", thread.id, m.who, m.text),)


def _add(board: Board, m: Move) -> Step:
    thread = _thread(board, m)
    if not m.who or set(m.who) & set(thread.people):
        raise Refused("participants", f"{', '.join(m.who)}: they must be named, and take no part yet")
    after = replace(thread, people=(*thread.people, *m.who))
    return _put(board, after), (Effect("changed", thread.id, after.people),)


def _remove(board: Board, m: Move) -> Step:
    thread = _thread(board, m)
    left = tuple(p for p in thread.people if p not in m.who)
    if not m.who or not set(m.who) <= set(thread.people) or not left:
        raise Refused("participants", f"{', '.join(m.who)}: they must be named and take part, and somebody has to stay")
    return _put(board, replace(thread, people=left)), (Effect("changed", thread.id, left),)


def _close(board: Board, m: Move) -> Step:
    after = replace(_thread(board, m), closed=True, summary=m.text)
    return _put(board, after), (Effect("closed", after.id, after.people, m.text),)


def _read(board: Board, m: Move) -> Step:
    """All that may be read is read: mentions up to here are answered or let be, and whoever waited waits no more."""
    seen = dict(sorted({**board.seen, m.src: len(board.notes)}.items()))
    return replace(board, seen=seen, waiting=tuple(p for p in board.waiting if p != m.src)), ()


def _wait(board: Board, m: Move) -> Step:
    return replace(board, waiting=tuple(p for p in board.people if p in board.waiting or p == m.src)), ()


_HANDLERS: dict[str, Callable[[Board, Move], Step]] = {
    "open": _opening,
    "post": _post,
    "add": _add,
    "remove": _remove,
    "close": _close,
    "read": _read,
    "wait": _wait,
}
