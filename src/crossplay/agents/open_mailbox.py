"""`Mailbox`: where the engine leaves the requests to an open seat, and fronts fetch and answer them.

It knows no protocol: MCP, A2A, HTTP and the page are fronts on it. Engine and fronts may live on different
event loops and threads; all state is behind one lock, and whoever waits is woken on its own loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from crossplay.agents.open_turn import MESSAGES, WORDS, Refused, Turn, plain, read_answer
from crossplay.kernel import Action, Fault, Msg, Stop

__all__ = ["Mailbox", "Place"]

KEPT = 4
"""Finished episodes whose history can still be read."""


class Place(msgspec.Struct, eq=False):
    """A seat of an episode that the party plays. env: kept so that its identity stays the episode's."""

    episode: int
    seat: str
    game: str
    rules: str
    env: Any
    tick: int = -1
    total: float = 0.0
    late: int = 0
    history: list[dict[str, Any]] = []
    party: dict[str, Any] | None = None


class Mailbox:
    """The requests to one party. name: of the agent, for messages.

    at_once: episodes that the party plays side by side. grace: seconds after which a party that was heard of
    and is gone leaves an episode void. turn: seconds after which an unanswered turn is a timeout, so that a party
    that looks and never answers holds nothing for ever. wait: seconds for which the run waits for a party to come
    (back) at the start of an episode; then the run stops, to be resumed. refusals: wrong answers to one turn until it is lost.
    expected: how many episodes there will be, where somebody knows.
    """

    def __init__(
        self,
        name: str = "open",
        *,
        at_once: int = 1,
        grace: float = 300.0,
        wait: float = 600.0,
        refusals: int = 5,
        turn: float = 600.0,
    ) -> None:
        self.name = name
        self.at_once, self.grace, self.wait_s, self.refusals = at_once, grace, wait, refusals
        self.turn_s = turn
        self.expected: int | None = None
        self.party: dict[str, Any] = {}
        self.over = False
        self.finished = self.void = 0
        self.told = threading.Event()  # the party has been told that all is over
        self._gone = ""  # why nobody will come any more
        self._lock = threading.RLock()
        self._version = 0
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []  # woken in this order
        self._present, self._seen = 0, float("-inf")
        self._queue: deque[int] = deque()  # episodes that wait for the party, by identity
        self._playing: dict[int, int] = {}  # episode's identity -> its number
        self._places: dict[tuple[int, str], Place] = {}
        self._past: deque[Place] = deque(maxlen=KEPT)
        self._open: dict[int, tuple[Turn, Place]] = {}  # in order of opening
        self._news: deque[dict[str, Any]] = deque(maxlen=64)
        self._episodes = self._turns = 0

    # -- the engine's side -------------------------------------------------------------------------------
    async def enter(self, env: Any, seat: str, game: str, rules: str) -> Place:
        """The place of a seat in an episode: at once where it is open, else when the party is free and there.

        Raises `Stop` where nobody comes.
        """
        group = id(env)
        key = (group, seat)
        if (place := self._places.get(key)) is not None:
            return place
        self.line_up(env)
        try:
            while True:
                with self._lock:
                    version = self._version
                    if self._admit(group):
                        break
                await self._changes(version)
        except BaseException:
            with self._lock, contextlib.suppress(ValueError):
                self._queue.remove(group)
            raise
        await self._somebody(seat)
        with self._lock:
            return self._places.setdefault(key, Place(self._playing[group], seat, game, rules, env, history=[]))

    def line_up(self, env: Any) -> None:
        """Take the episode's place in the queue. Before anything is awaited, so that the queues of several parties
        hold their episodes in one order, and none of them waits for another in a circle.
        """
        with self._lock:
            if id(env) not in self._playing and id(env) not in self._queue:
                self._queue.append(id(env))

    def _number(self) -> int:
        self._episodes += 1
        return self._episodes

    def _admit(self, group: int) -> bool:
        """Whether an episode may begin: it plays already, or it is the first in the queue and there is room."""
        self._still()
        if group in self._playing:
            return True
        if self._queue[0] != group or len(self._playing) >= self.at_once:
            return False
        self._queue.popleft()
        self._playing[group] = self._number()
        self._changed()
        return True

    def _still(self) -> None:
        if self._gone:
            raise Stop(f"{self.name}: {self._gone}; the run can be resumed")
        if self.over:
            raise Stop(f"{self.name}: its mailbox is closed; the run can be resumed")

    async def _somebody(self, seat: str) -> None:
        """Wait until the party is there."""
        began = time.monotonic()
        while True:
            with self._lock:
                self._still()
                version, now = self._version, time.monotonic()
                if self._present or now - self._seen <= self.grace:
                    return
            left = began + self.wait_s - now
            if left <= 0:
                raise Stop(
                    f"{self.name}: nobody has come to the open seat {seat} in {self.wait_s:g} s; the run can be resumed"
                )
            await self._changes(version, left)

    def publish(self, place: Place, make: Any) -> Turn:
        """Open a turn; make(number, place) -> Turn."""
        with self._lock:
            self._turns += 1
            turn: Turn = make(self._turns, place)
            _complete(place.history, turn)
            self._open[turn.id] = (turn, place)
            self._changed()
            return turn

    async def settled(self, turn: Turn) -> Action | Fault:
        """The answer to a turn; a void where the party has been gone for `grace` seconds, a timeout after `turn_s`."""
        while True:
            with self._lock:
                if turn.answer is not None:
                    return turn.answer
                self._still()
                version, now = self._version, time.monotonic()
                gone, late = self._grace_left(turn, now), turn.opened + self.turn_s - now
                if gone <= 0:
                    return Fault("void", f"the party of the open seat has been gone for {self.grace:g} s")
                if late <= 0:
                    return Fault("timeout", f"the party of the open seat gave no answer in {self.turn_s:g} s")
            await self._changes(version, min(gone, late))

    def _grace_left(self, turn: Turn, now: float) -> float:
        """Seconds until the party counts as gone; without end while it is here."""
        return math.inf if self._present else max(turn.opened, self._seen) + self.grace - now

    def withdraw(self, turn: Turn) -> None:
        """The turn is over, answered or not."""
        with self._lock:
            if self._open.pop(turn.id, None) is not None:
                self._changed()

    def leave_place(self, env: Any, seat: str, status: str, reward: float) -> None:
        """The episode of a place has ended."""
        with self._lock:
            place = self._places.pop((id(env), seat), None)
            if place is None:
                return
            place.total += reward
            if place.history:
                place.history[-1].setdefault("reward", reward)
            self._past.append(place)
            place.env = None
            if not any(group == id(env) for group, _ in self._places):
                self._playing.pop(id(env), None)
                if status == "void":
                    self.void += 1
                else:
                    self.finished += 1
            news = {"episode": place.episode, "seat": place.seat, "environment": place.game, "ended": status}
            if status == "void":
                news["note"] = "this episode does not count; it is played again from its start"
            self._news.append({"status": "episode_over", **news, "total_reward": place.total})
            self._changed()

    def finish(self) -> None:
        """All is over: whoever waits is told so."""
        with self._lock:
            self.over = True
            self._changed()

    def farewell(self, seconds: float) -> None:
        """`finish`, and wait so long until the party has heard it, where there is one to hear it."""
        self.finish()
        if not self._gone and (self._present or self._seen > float("-inf")):
            self.told.wait(seconds)

    # -- the fronts' side --------------------------------------------------------------------------------
    def arrive(self, **party: Any) -> None:
        """The party is here until `depart`. party: who it says it is; kept in the trace."""
        with self._lock:
            self._present += 1
            if party:
                self.party = party
            self._changed()

    def depart(self) -> None:
        """The party may be gone: its time of grace begins, unless it is here in another way as well."""
        with self._lock:
            self._present -= 1
            self._seen = time.monotonic()
            self._changed()

    @contextlib.contextmanager
    def contact(self, **party: Any) -> Iterator[None]:
        """The party is here while this is open."""
        self.arrive(**party)
        try:
            yield
        finally:
            self.depart()

    def leave(self, why: str) -> None:
        """The party is gone and cannot come back: the run stops where it stands, unless all is over."""
        with self._lock:
            if not self.over:
                self._gone = why
                self._changed()

    async def observe(self, seconds: float = 0.0) -> tuple[dict[str, Any], Turn | None]:
        """(state, turn or None), as soon as there is one of: the end of an episode, a turn, the end of all.

        Its "status" is "episode_over" (told once), "your_turn", "over", or after so many seconds "waiting".
        """
        until = time.monotonic() + seconds
        while True:
            with self._lock:
                version = self._version
                if self._news:
                    return {**self._news.popleft(), **self._tally()}, None
                if self._open:
                    turn, _ = next(iter(self._open.values()))
                    return {"status": "your_turn", **turn.shown()}, turn
                if self.over:
                    self.told.set()
                    return self.state(), None
                left = until - time.monotonic()
                if left <= 0:
                    return self.state(), None
            await self._changes(version, left)

    def turn(self, number: int | None = None) -> Turn:
        """The open turn of that number (None: the one open longest); `Refused` where there is none."""
        return self._turn(number)[0]

    def _turn(self, number: int | None) -> tuple[Turn, Place]:
        with self._lock:
            found = next(iter(self._open.values()), None) if number is None else self._open.get(number)
            if found is not None:
                return found
            if self.over:
                raise Refused("all episodes are over; there is nothing left to answer.")
            if number is not None and number <= self._turns:
                for place in self._places.values():
                    place.late += any(h["turn"] == number and "answer" not in h for h in place.history)
                raise Refused(f"turn {number} is over; observe shows what is open now.")
            if number is not None:
                raise Refused(f"there is no turn {number}; observe shows what is open now.")
            raise Refused("it is not your turn; observe waits until it is.")

    def answer(
        self,
        value: Any,
        *,
        turn: int | None = None,
        say: Sequence[tuple[str, str]] = (),
        confidence: float | None = None,
        rationale: str | None = None,
    ) -> Turn:
        """Answer a turn. say: (seat or "*", text) each. Raises `Refused`, and a wrong answer does not end the turn."""
        with self._lock:
            found, place = self._turn(turn)
            if confidence is not None and not 0.0 <= confidence <= 1.0:
                raise Refused(f"confidence {confidence} must lie in 0..1.")
            if rationale is not None and len(rationale) > WORDS:
                raise Refused(f"a rationale of {len(rationale)} characters; at most {WORDS}.")
            said = self._words(found, say)
            try:
                read = read_answer(found, value)
            except Refused as wrong:
                raise self._wrong(found, place, str(wrong)) from None
            found.said += said
            self._close(found, place, Action(read, found.said, confidence, rationale))
            return found

    def _wrong(self, turn: Turn, place: Place, text: str) -> Refused:
        turn.refused += 1
        if turn.refused < self.refusals:
            return Refused(f"{text} Nothing was played; answer again (wrong answer {turn.refused} of {self.refusals}).")
        self._close(turn, place, Fault("invalid", text, turn.said))
        return Refused(
            f"{text} That was wrong answer {turn.refused} of {self.refusals}: the turn is lost, and a move is "
            "played for you.",
            lost=True,
        )

    def _close(self, turn: Turn, place: Place, answer: Action | Fault) -> None:
        turn.answer = answer
        self._open.pop(turn.id, None)
        if place.history and isinstance(answer, Action):
            value = answer.value
            row = next((h for h in reversed(place.history) if h["turn"] == turn.id), None)
            if row is not None:
                row["answer"] = turn.spec.names[value] if turn.spec.kind == "names" else plain(value)
                if answer.messages:
                    row["said"] = [{"to": m.dst, "body": m.body} for m in answer.messages]
        self._changed()

    def say(self, text: str, to: str = "*", *, turn: int | None = None) -> Turn:
        """Say something with the next answer to a turn; `Refused` where nobody would hear it."""
        with self._lock:
            found, _ = self._turn(turn)
            found.said += self._words(found, [(to, text)])
            return found

    def _words(self, turn: Turn, say: Sequence[tuple[str, str]]) -> list[Msg]:
        said = []
        for to, text in say:
            if not turn.audience:
                raise Refused("nobody can hear this seat now.")
            if to != "*" and to not in turn.audience:
                raise Refused(f'"{to}" cannot hear this seat; who can: {", ".join(turn.audience)}, or * for all.')
            if len(text) > WORDS:
                raise Refused(f"a message of {len(text)} characters; at most {WORDS}.")
            said.append(Msg(to, text))
        if len(turn.said) + len(said) > MESSAGES:
            raise Refused(f"at most {MESSAGES} messages a turn.")
        return said

    def state(self) -> dict[str, Any]:
        """Where the party stands: episodes finished and left, the open turn, the episodes it plays now."""
        with self._lock:
            status = "over" if self.over and not self._open else "your_turn" if self._open else "waiting"
            places = [
                {"episode": p.episode, "seat": p.seat, "environment": p.game, "total_reward": p.total}
                for p in self._places.values()
            ]
            found = {"status": status, **self._tally(), "playing": places}
            if self._open:
                found["turn"] = next(iter(self._open))
            return found

    def _tally(self) -> dict[str, Any]:
        """Episodes finished, void (played again), and left where that is known."""
        left = None if self.expected is None else max(0, self.expected - self.finished)
        return {"episodes_finished": self.finished, "episodes_void": self.void, "episodes_left": left}

    def history(self, episode: int | None = None) -> list[dict[str, Any]]:
        """The party's own turns of an episode (None: the one it plays or played last), as it was shown them."""
        with self._lock:
            places = [*self._past, *self._places.values()]
            if episode is None and places:
                turn_place = next(iter(self._open.values()), (None, places[-1]))[1]
                episode = turn_place.episode
            return [dict(h) for p in places if p.episode == episode for h in p.history]

    def rules(self) -> dict[str, str]:
        """The rules of the games that the party has met, by name."""
        with self._lock:
            return {p.game: p.rules for p in [*self._past, *self._places.values()]}

    # -- waiting -----------------------------------------------------------------------------------------
    def _changed(self) -> None:
        """Wake all who wait (the lock is held)."""
        self._version += 1
        waiters, self._waiters = self._waiters, []
        for loop, future in waiters:
            with contextlib.suppress(RuntimeError):  # its loop is closed: nobody waits there any more
                loop.call_soon_threadsafe(_wake, future)

    async def _changes(self, version: int, seconds: float | None = None) -> None:
        """Wait until something is other than at that version, or so long."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        with self._lock:
            if version != self._version:
                return
            self._waiters.append((loop, future))
        try:
            await asyncio.wait_for(future, seconds)
        except TimeoutError:
            pass
        finally:
            with self._lock, contextlib.suppress(ValueError):
                self._waiters.remove((loop, future))


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _complete(history: list[dict[str, Any]], turn: Turn) -> None:
    """Add a turn to the history, and to the turn before what came of it."""
    if history and turn.last is not None and turn.tick > history[-1]["tick"]:
        history[-1].setdefault("played", turn.last)
        history[-1].setdefault("reward", turn.reward)
    row: Mapping[str, Any] = {"turn": turn.id, "tick": turn.tick, "shown": turn.shown()}
    history.append(dict(row))
