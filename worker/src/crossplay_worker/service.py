"""One worker on one connection: what each message does, and what is answered."""

from __future__ import annotations

import sys
import time
import traceback
from typing import Any

import numpy as np

from .arrays import Stale
from .connection import Connection
from .frames import WireError
from .messages import Act, Acts, Bind, Bye, End, Error, Feedback, Load, Ok, Ping, Reset, Save, Seat
from .worker import Action, Batch, Episode, Obs, Refused, Worker, overrides

__all__ = ["Service"]


class Service:
    """The state of one worker on one connection."""

    def __init__(self, worker: Worker, conn: Connection) -> None:
        self.worker, self.conn = worker, conn
        self.seats: dict[int, Seat] = {}
        self.episodes: dict[int, Episode] = {}
        self.batched = overrides(worker, "act_batch")

    def serve(self) -> None:
        """Handle requests until the engine says bye or is gone."""
        while True:
            found = self.conn.next()
            if found is None:
                return
            came, message, read = found
            if type(message) is Act and not self.conn.queue and not self.conn.cancelled:
                self.conn.send(self.handle(message, came, read))
                continue
            number = getattr(message, "id", 0)
            if (number and self.conn.queue) or number in self.conn.cancelled:
                self.conn.take(False)
            if number in self.conn.cancelled:
                self.conn.cancelled.discard(number)
                self.conn.send(Error(id=number, code="CANCELLED", message="given up before it began"))
                continue
            answer = self.handle(message, came, read)
            if answer is not None:
                self.conn.send(answer)
            if isinstance(message, Bye):
                return

    def handle(self, message: Any, came: float, read: list[tuple[int, int]]) -> Any:
        """The answer to a message (None: it has none). No exception of the worker's code gets out."""
        try:
            if type(message) is Act:
                if message.deadline_ms and came and (time.monotonic() - came) * 1000 > message.deadline_ms:
                    raise Refused("DEADLINE", "it waited longer than it may")
                if read and self.worker.state == "own":
                    read = self._copied(message, read)
                answer = self.act(message)
                if read and self.conn.codec.ring is not None:
                    self.conn.codec.ring.check(read)  # what was read in place is still what was sent
                return answer
            verb = _VERBS.get(type(message))
            if verb is None:
                raise Refused("UNSUPPORTED", type(message).__name__.lower() + " is not for workers")
            return verb(self, message)
        except WireError as error:
            return self._error(message, error.code, error.message, error.retry)
        except Stale as error:
            return self._error(message, "BAD_FRAME", str(error), True)
        except Exception as error:
            said = type(error).__name__ + ": " + str(error)
            return self._error(message, "INTERNAL", said[:500], False, traceback.format_exc()[-4000:])

    def _copied(self, message: Act, read: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Columns out of shared memory, for workers that may keep what they have seen: slots are written again."""
        for name in ("obs", "legal", "reward", "memo", "ep", "tick"):
            column = getattr(message, name)
            if isinstance(column, np.ndarray):
                setattr(message, name, np.array(column))
        if self.conn.codec.ring is not None:
            self.conn.codec.ring.check(read)
        return []

    def _error(self, to: Any, code: str, message: str, retry: bool, detail: Any = None) -> Any:
        number = getattr(to, "id", 0)
        if not number:
            print("crossplay-worker:", code, message, file=sys.stderr)
            return None
        return Error(id=number, code=code, message=message, retry=retry, detail=detail)

    def seat(self, slot: int) -> Seat:
        """The seat of a slot."""
        seat = self.seats.get(slot)
        if seat is None:
            raise Refused("BAD_STATE", "slot %d is not bound" % slot)
        return seat

    def bind(self, message: Bind) -> Any:
        """Seats, and the configuration."""
        seats = {**self.seats, **{s.slot: s for s in message.seats}}
        self.worker.bind(list(seats.values()), message.config)
        self.seats = seats
        return Ok(id=message.id)

    def reset(self, message: Reset) -> Any:
        """Episodes begin."""
        if not len(message.ep) == len(message.slot) == len(message.key):
            raise Refused("BAD_VALUE", "reset: columns of unequal length")
        for ep, slot, key in zip(message.ep, message.slot, message.key):
            episode = Episode(ep, self.seat(slot), key)
            self.worker.begin(episode)
            self.episodes[ep] = episode
        return Ok(id=message.id)

    def columns(self, message: Act, one: bool) -> int:
        """The number of rows; refuses what is no column, and columns of unequal length. Lists where the worker reads
        arrays (JSON has nothing else) become arrays.
        """
        obs = message.obs
        if one and type(obs) is np.ndarray and obs.ndim and message.legal is message.reward is message.memo is None:
            # The common case: one seat, arrays, nothing else.
            ep, tick = message.ep, message.tick
            if type(ep) is type(tick) is list and len(ep) == len(tick) == len(obs):
                return len(ep)
        count = -1
        for name in _COLUMNS:
            column = getattr(message, name)
            if (name == "slot" and one) or (column is None and name in _OPTIONAL):
                continue
            if type(column) is not list and (type(column) is not np.ndarray or not column.ndim):
                raise Refused("BAD_VALUE", "act: " + name + " is no column")
            if count < 0:
                count = len(column)
            elif len(column) != count:
                raise Refused("BAD_VALUE", "act: %d of ep, %d of %s" % (count, len(column), name))
        if type(message.legal) is list:
            masks = [None if m is None else np.asarray(m, bool) for m in message.legal]
            whole = count and all(m is not None and m.shape == masks[0].shape for m in masks)
            message.legal = np.array(masks) if whole else masks
        if type(message.obs) is list and count:
            seat = self.seats.get(message.slot if one else message.slot[0])
            if seat is not None and seat.view in ("array", "image"):
                try:
                    message.obs = np.asarray(message.obs, seat.dtype or None)
                except (TypeError, ValueError) as error:
                    raise Refused("BAD_VALUE", "act: obs: " + str(error)) from None
        return count

    def rows(self, message: Act) -> list[Obs]:
        """The rows of an act, one by one."""
        count = len(message.ep)
        slots = [message.slot] * count if isinstance(message.slot, int) else _list(message.slot)
        found = []
        free = self.worker.state != "own"
        for row, (ep, slot, tick, view) in enumerate(zip(_list(message.ep), slots, _list(message.tick), message.obs)):
            episode = Episode(ep, self.seat(slot), b"") if free else self.episodes.get(ep)
            if episode is None:
                raise Refused("BAD_STATE", "act outside an episode: %d was not begun, or is over" % ep)
            obs = Obs(episode, tick, view)
            if message.legal is not None:
                obs.legal = message.legal[row]
            if message.reward is not None:
                obs.reward = float(message.reward[row])
            if message.memo is not None:
                obs.memo = message.memo[row]
            found.append(obs)
        for name in ("last", "inbox", "brief"):
            for row, value in getattr(message, name).items():
                if not 0 <= row < count:
                    raise Refused("BAD_VALUE", "act: %s of row %d of %d" % (name, row, count))
                setattr(found[row], name, value)
        return found

    def act(self, message: Act) -> Any:
        """The answers to all rows."""
        one = isinstance(message.slot, int)
        count = self.columns(message, one)
        if one:
            self.seat(message.slot)
        acts = Acts(id=message.id, values=[])
        if self.batched:
            batch = Batch(message, self.rows)
            if self.worker.state == "own" or not one:
                batch.rows  # noqa: B018  (all seats and episodes exist)
            answers = self.worker.act_batch(batch)
            values = answers[0] if isinstance(answers, tuple) else answers
            if len(values) != count:
                raise Refused("INTERNAL", "act_batch: %d answers to %d rows" % (len(values), count))
            if isinstance(answers, tuple):  # (values, memo)
                acts.values, acts.memo = answers
                return acts
            if isinstance(answers, np.ndarray):
                acts.values = answers if answers.ndim > 1 or count > 16 else answers.tolist()
                return acts
        else:
            answers = [self._one(obs) for obs in self.rows(message)]
        memo = None
        for row, answer in enumerate(answers):
            if isinstance(answer, WireError):
                acts.faults[row] = [answer.code, answer.message, answer.retry]
                answer = None
            elif isinstance(answer, Action):
                try:
                    memo = self._more(acts, row, answer, memo, count)
                    answer = answer.value
                except (TypeError, ValueError) as error:
                    acts.says.pop(row, None)
                    acts.faults[row] = ["INTERNAL", "an Action of this worker: %s" % error]
                    answer = None
            acts.values.append(answer.item() if isinstance(answer, np.generic) else answer)
        acts.memo = memo
        return acts

    def _one(self, obs: Obs) -> Any:
        """One row; where the worker's code fails, it is the fault of this row alone."""
        try:
            return self.worker.act(obs)
        except WireError as error:
            return error
        except Exception as error:
            traceback.print_exc()
            return Refused("INTERNAL", (type(error).__name__ + ": " + str(error))[:500])

    def _more(self, acts: Acts, row: int, answer: Action, memo: Any, count: int) -> Any:
        if answer.says:
            acts.says[row] = [["*", s, "main"] if isinstance(s, str) else list(s) for s in answer.says]
        if answer.confidence is not None:
            acts.confidence[row] = float(answer.confidence)
        if answer.why is not None:
            acts.why[row] = answer.why
        if answer.usage is not None:
            acts.usage[row] = list(answer.usage)
        if answer.counts:
            acts.counts[row] = answer.counts
        if answer.memo is not None:
            memo = memo or [None] * count
            memo[row] = answer.memo
        return memo

    def told(self, message: Feedback) -> None:
        """What actions led to."""
        ended = message.ended or [""] * len(message.ep)
        for ep, reward, end in zip(_list(message.ep), _list(message.reward), ended):
            if ep in self.episodes:
                self.worker.feedback_of(self.episodes[ep], float(reward), end)

    def end(self, message: End) -> Any:
        """Episodes are over."""
        status = message.status or [""] * len(message.ep)
        for ep, how in zip(message.ep, status):
            episode = self.episodes.pop(ep, None)
            if episode is not None:
                self.worker.end(episode, how)
        return Ok(id=message.id)

    def save(self, message: Save) -> Any:
        """What is remembered of an episode."""
        episode = self.episodes.get(message.ep)
        if episode is None:
            raise Refused("BAD_STATE", "save: episode %d was not begun, or is over" % message.ep)
        return Ok(id=message.id, data=self.worker.save(episode))

    def load(self, message: Load) -> Any:
        """An episode goes on from what was saved."""
        episode = Episode(message.ep, self.seat(message.slot), message.key)
        self.worker.load(episode, message.data)
        self.episodes[message.ep] = episode
        return Ok(id=message.id)

    def alive(self, message: Any) -> Any:
        """Somebody is there."""
        return Ok(id=message.id)


_VERBS: dict[type, Any] = {
    Bind: Service.bind,
    Reset: Service.reset,
    Feedback: Service.told,
    End: Service.end,
    Save: Service.save,
    Load: Service.load,
    Ping: Service.alive,
    Bye: Service.alive,
}


_COLUMNS = ("ep", "slot", "tick", "obs", "legal", "reward", "memo")
_OPTIONAL = frozenset(("legal", "reward", "memo"))


def _list(column: Any) -> list[Any]:
    return column.tolist() if isinstance(column, np.ndarray) else list(column)
