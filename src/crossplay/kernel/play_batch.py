"""`play_batch`: the columnar generator. Array agents get columns, all others handles on rows.

It keeps the same books as `play` (the same `settle`, chains, counts and rows); a row that needs
anything but a valid name takes the scalar path for that seat and tick.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from crossplay.kernel.agent import Agent
from crossplay.kernel.batch import ENDED, BatchEnv, Single
from crossplay.kernel.book import Book, Ending, Lineup, Outcome, mail_rows, row, say
from crossplay.kernel.chain import WorldChain, open_record, record_dtype, world_digest
from crossplay.kernel.conduct import Conduct
from crossplay.kernel.drivers import _fault
from crossplay.kernel.events import FLAG_WORLD
from crossplay.kernel.obs import Observation, Scope
from crossplay.kernel.packed import Packed
from crossplay.kernel.seeds import Block, env_key, key64
from crossplay.kernel.types import CrossplayError, Failed, Fault, Msg, Stop

__all__ = ["Ask", "Columns", "play_batch"]


class Columns(NamedTuple):
    """One request to an array agent: k decisions at once.

    obs: [k, *shape]; legal: bool[k, n] or None; keys: uint64[k] (first 64 bits of the seat keys);
    tick: int64[k]; memo: [k, m] or None (a fresh episode's memo is zeros).
    Answer: (values int64[k], memo or None), or an exception.
    """

    agent: Any
    obs: np.ndarray
    legal: np.ndarray | None
    keys: np.ndarray
    tick: np.ndarray
    memo: np.ndarray | None


class Ask(NamedTuple):
    """What is asked at once, and the episodes that ended since the last time."""

    columns: list[Columns]
    handles: list[Observation]
    finished: list[tuple[Block, Outcome]]


class _Row(Book):
    """The books of one row."""

    def __init__(self, env: Single, lineup: Lineup, at: Block, conduct: Conduct) -> None:
        super().__init__(env, lineup, at, conduct)
        self.scopes = [Scope(env, env.id, at, s) for s in env.seats]
        self.head = 0  # rows made before the first tick
        self.special: dict[int, bytes] = {}  # records of ticks with mail, by tick


def play_batch(
    env: BatchEnv,
    lineup: Lineup | Mapping[str, Agent],
    ats: Sequence[Block],
    conduct: Conduct = Conduct(),  # noqa: B008 (frozen)
) -> Generator[Ask, tuple[list[Any], list[Any]], list[tuple[Block, Outcome]]]:
    """Episodes of one lineup in many blocks, env.B at a time; rows are refilled as they end.

    Yields `Ask`; receives (answers to its columns, answers to its handles). Returns the episodes
    that ended last. Lineups with shared memory or a clock go through `play`.
    """
    lineup = lineup if isinstance(lineup, Lineup) else Lineup(dict(lineup))
    if lineup.shared_memory:
        raise CrossplayError(f"{env.id}: a lineup with shared memory is asked in seat order; use play()")
    return _Batch(env, lineup, ats, conduct).run()


class _Batch:
    """The state of a play_batch."""

    def __init__(self, env: BatchEnv, lineup: Lineup, ats: Sequence[Block], conduct: Conduct) -> None:
        self.env, self.lineup, self.conduct = env, lineup, conduct
        self.n, self.B = len(env.seats), env.B
        self.id = env.id
        self.faces = [Single(env, b) for b in range(self.B)]
        agents = [lineup.seats.get(s) for s in env.seats]
        self.arrays: dict[int, tuple[Any, list[int]]] = {}  # agent id -> (agent, its seats)
        self.others: list[int] = []
        for i, agent in enumerate(agents):
            if agent is not None and hasattr(agent, "seated"):  # it is told which seat the columns are of
                seated = agent.seated(self.faces[0], env.seats[i])
                self.arrays[id(seated)] = (seated, [i])
            elif agent is not None and hasattr(agent, "act_array"):
                self.arrays.setdefault(id(agent), (agent, []))[1].append(i)
            else:
                self.others.append(i)
        self.queue = iter(ats)
        self.books: list[_Row | None] = [None] * self.B
        self.finished: list[tuple[Block, Outcome]] = []
        self.dtype = record_dtype(self.n, self.n)
        # Records as opaque bytes: numpy copies structured items field by field, these in one piece.
        self.rec = np.zeros((self.B, env.horizon or 256), f"V{self.dtype.itemsize}")
        self.line = np.zeros(self.B, self.dtype)
        self.line["act"]["seat"] = np.arange(self.n)
        self.tick = np.zeros(self.B, np.int64)
        self.seat_keys = np.zeros((self.B, self.n), np.uint64)
        self.keys_of: np.ndarray | None = None  # the live rows whose keys are stacked
        self.stacked: dict[int, np.ndarray] = {}
        self.live, self.changed = np.zeros(0, np.int64), True
        self.since = np.zeros((self.B, self.n))
        self.memos: dict[int, np.ndarray | None] = dict.fromkeys(self.arrays)

    def run(self) -> Generator[Ask, tuple[list[Any], list[Any]], list[tuple[Block, Outcome]]]:
        """Fill rows, ask, settle, step, until no block is left."""
        yield from self._fill(range(self.B))
        while True:
            live = self._live()
            if not len(live):
                return self._handed()
            legal = self.env.legal()
            columns = self._columns(live, legal)
            handles = self._handles(live, legal)
            answers = yield Ask(columns, handles, self._handed())
            actions = np.zeros((self.B, self.n), np.int64)
            ended: dict[int, Ending] = {}
            self._take_columns(live, legal, columns, answers[0], actions, ended)
            self._take_handles(handles, answers[1], actions, ended)
            yield from self._step(live, actions, ended)

    def _live(self) -> np.ndarray:
        """The rows that hold an episode; found anew only after a change."""
        if self.changed:
            self.live = np.array([b for b in range(self.B) if self.books[b] is not None], np.int64)
            self.changed = False
        return self.live

    def _handed(self) -> list[tuple[Block, Outcome]]:
        done, self.finished = self.finished, []
        return done

    # -- rows ----------------------------------------------------------------------------------------
    def _fill(self, rows: Sequence[int]) -> Generator[Ask, tuple[list[Any], list[Any]], None]:
        """Start the next blocks in these rows; a block that cannot begin ends at once."""
        while rows:
            started = [b for b in rows if self._open(b)]
            keys = [env_key(self._book(b).at, self.id) for b in started]
            try:
                self.env.reset(started, keys)
            except Exception:
                self._reset_alone(started, keys)
                started = [b for b in started if self.books[b] is not None]
            for b in started:
                self.faces[b]._ended = None
                book = self._book(b)
                try:
                    yield from self._begin(book)
                except Ending as end:
                    self._close(b, end.status, end.detail)
                book.head = len(book.events)
            rows = [b for b in rows if b in started and self.books[b] is None]

    def _reset_alone(self, rows: Sequence[int], keys: Sequence[bytes]) -> None:
        """One row after the other, so that an environment that fails at a start ends one episode."""
        for b, key in zip(rows, keys, strict=True):
            try:
                self.env.reset([b], [key])
            except Exception as error:
                self._close(b, "env-fault", say(error))

    def _book(self, b: int) -> _Row:
        book = self.books[b]
        assert book is not None
        return book

    def _open(self, b: int) -> bool:
        """Fresh books for the next block in row b; False when no block is left."""
        at = next(self.queue, None)
        self.books[b] = None
        if at is None:
            return False
        book = self.books[b] = _Row(self.faces[b], self.lineup, at, self.conduct)
        self.tick[b] = 0
        self.since[b] = 0.0
        for memo in self.memos.values():
            if memo is not None:
                memo[b] = 0
        self.seat_keys[b] = [key64(scope.key) for scope in book.scopes]
        return True

    def _begin(self, book: _Row) -> Generator[Ask, tuple[list[Any], list[Any]], None]:
        asked = []
        for i, agent in enumerate(book.agents):
            book.events.append(row(0, i, 0, "seat", agent=agent.name))
            if type(agent).begin is not Agent.begin:
                obs = Observation(book.scopes[i], "begin", 0)
                obs.agent = agent
                asked.append(obs)
        if asked:
            answers = yield Ask([], asked, [])
            book.begun(asked, answers[1])

    def _close(self, b: int, status: str, detail: str) -> None:
        """Book the episode of row b and free the row."""
        book = self._book(b)
        ticks = book.tick = int(self.tick[b])
        status, score, detail = book.final_score(status, detail)
        records = self.rec[b, :ticks].tobytes()
        # Added up tick by tick, as `play` does: another order of sums has other last bits.
        paid = np.cumsum(np.frombuffer(records, self.dtype)["rewards"], axis=0)
        totals = tuple(paid[-1].tolist()) if ticks else (0.0,) * self.n
        size = self.dtype.itemsize
        if book.special:
            chain = WorldChain(book.start)
            for t in range(ticks):
                chain.add(book.special.get(t) or records[t * size : (t + 1) * size])
            world = chain.end(status)
        else:
            world = world_digest(book.start, records, size, status)
        book.events += book.late_rows
        book.events.append(book.end_row(status, score, detail))
        cut = {e[1] for e in book.events if e[3] == "act" and e[0] == ticks}
        for i in range(self.n):
            book.counts[i]["decisions"] = ticks + (i in cut)
        views = ["array" if i not in self.others else "" for i in range(self.n)]
        events = Packed(records, self.n, [a.name for a in book.agents], views, book.events, book.head)
        outcome = Outcome(
            status,
            score,
            totals,
            ticks,
            world,
            book.mind,
            book.summary(),
            events,
            detail,
        )
        self.finished.append((book.at, outcome))
        self.books[b] = None

    # -- asking ----------------------------------------------------------------------------------------
    def _columns(self, live: np.ndarray, legal: np.ndarray | None) -> list[Columns]:
        asked = []
        for slot, (agent, seats) in self.arrays.items():
            obs = [self.env.obs_array(i, live) for i in seats]
            mask = None if legal is None else [legal[live, i] for i in seats]
            memo = self.memos[slot]
            asked.append(
                Columns(
                    agent,
                    _stack(obs),
                    None if mask is None else _stack(mask),
                    self._keys(slot, live, seats),
                    np.tile(self.tick[live], len(seats)),
                    None if memo is None else _stack([memo[live, j] for j in range(len(seats))]),
                )
            )
        return asked

    def _keys(self, slot: int, live: np.ndarray, seats: list[int]) -> np.ndarray:
        """The seat keys of an agent's decisions; stacked anew only after a change of rows."""
        if self.keys_of is not live:
            self.keys_of, self.stacked = live, {}
        if slot not in self.stacked:
            self.stacked[slot] = _stack([self.seat_keys[live, i] for i in seats])
        return self.stacked[slot]

    def _handles(self, live: np.ndarray, legal: np.ndarray | None) -> list[Observation]:
        asked = []
        for b in live.tolist() if self.others else ():
            book = self._book(b)
            for i in self.others:
                mask = None if legal is None else legal[b, i].tolist()
                obs = Observation(
                    book.scopes[i],
                    "act",
                    int(self.tick[b]),
                    mask,
                    book.mail.take(i),
                    book.last[i],
                    float(self.since[b, i]),
                    book.memos[i],
                )
                obs.agent = book.agents[i]
                self.since[b, i] = 0.0
                asked.append(obs)
        return asked

    # -- settling ----------------------------------------------------------------------------------------
    def _take_columns(
        self,
        live: np.ndarray,
        legal: np.ndarray | None,
        asked: list[Columns],
        answers: list[Any],
        actions: np.ndarray,
        ended: dict[int, Ending],
    ) -> None:
        names = len(self.env.action_spec.names)
        k = len(live)
        for (slot, (_, seats)), request, answer in zip(self.arrays.items(), asked, answers, strict=True):
            try:
                values, memo, odd = _sound(answer, len(request.keys))
            except Failed as error:
                n = len(request.keys)
                values, memo, odd = np.full(n, -1, np.int64), None, dict.fromkeys(range(n), error.fault)
            except Exception:
                values, memo, odd = _one_by_one(request)
            if memo is not None:
                memo, odd = self._fitting(slot, memo, odd, len(values))
            good = (values >= 0) & (values < names)
            if request.legal is not None:
                good &= request.legal[np.arange(len(values)), np.where(good, values, 0)]
            if odd:
                good[list(odd)] = False
            if memo is not None:
                kept = self.memos[slot]
                if kept is None:
                    kept = self.memos[slot] = np.zeros((self.B, len(seats), *memo.shape[1:]), memo.dtype)
                for j in range(len(seats)):
                    kept[live, j] = memo[j * k : (j + 1) * k]
            for j, i in enumerate(seats):
                actions[live, i] = np.where(good[j * k : (j + 1) * k], values[j * k : (j + 1) * k], 0)
            for at in np.flatnonzero(~good).tolist():
                b, i = int(live[at % k]), seats[at // k]
                bad = odd[at] if at in odd else int(values[at])
                self._settle(b, i, bad, None if legal is None else legal[b, i].tolist(), actions, ended)

    def _fitting(
        self, slot: int, memo: np.ndarray, odd: dict[int, Any], rows: int
    ) -> tuple[np.ndarray | None, dict[int, Any]]:
        """A memo of the shape that the agent's memos have here, of a type that holds both; else all its rows are faults."""
        kept = self.memos[slot]
        if kept is None:
            return memo, odd
        if memo.shape[1:] != kept.shape[2:]:
            text = f"a memo of shape {memo.shape[1:]} after one of {kept.shape[2:]}"
            return None, dict.fromkeys(range(rows), Fault("error", text))
        both = np.result_type(kept, memo)
        if both != kept.dtype:
            self.memos[slot] = kept.astype(both)
        return memo, odd

    def _settle(self, b: int, i: int, answer: Any, legal: Any, actions: np.ndarray, ended: dict[int, Ending]) -> None:
        """The scalar path for one seat of one row."""
        book = self._book(b)
        t = int(self.tick[b])
        if t:
            book.last[i] = (int(self.rec[b, t - 1 : t].view(self.dtype)["act"]["value"][0, i]), "own")
        obs = Observation(book.scopes[i], "act", t, legal)
        obs.agent, obs.view_used = book.agents[i], "array"
        try:
            actions[b, i] = book.settle(obs, i, answer, self.faces[b].idle)
        except Ending as end:
            if end.before(ended.get(b)):
                ended[b] = end

    def _take_handles(
        self, asked: list[Observation], answers: list[Any], actions: np.ndarray, ended: dict[int, Ending]
    ) -> None:
        if not asked:
            return
        per = len(self.others)
        for j, (obs, answer) in enumerate(zip(asked, answers, strict=True)):
            i = self.others[j % per]
            b = obs._scope.env.row  # type: ignore[attr-defined]
            book = self._book(b)
            try:
                actions[b, i] = book.take(obs, i, answer, self.faces[b].idle)
            except Ending as end:
                if end.before(ended.get(b)):
                    ended[b] = end

    # -- stepping ----------------------------------------------------------------------------------------
    def _step(
        self, live: np.ndarray, actions: np.ndarray, ended: dict[int, Ending]
    ) -> Generator[Ask, tuple[list[Any], list[Any]], None]:
        closed = []
        if ended:
            for b, end in ended.items():
                self._cut_tick(b, actions[b])
                self._close(b, end.status, end.detail)
                closed.append(b)
            live = np.array([b for b in live.tolist() if b not in ended], np.int64)
        if len(live):
            try:
                rewards, code = self.env.step(actions)
                prints = self.env.fingerprint()
            except Exception as error:
                for b in live.tolist():
                    self._close(b, "env-fault", say(error))
                closed += live.tolist()
            else:
                closed += self._record(live, actions, rewards + 0.0, code, prints)
        if closed:
            self.changed = True
            yield from self._fill(closed)

    def _record(
        self, live: np.ndarray, actions: np.ndarray, rewards: np.ndarray, code: np.ndarray, prints: np.ndarray
    ) -> list[int]:
        """The records of a tick; the rows that ended with it."""
        t = self.tick[live]
        if int(t.max()) >= self.rec.shape[1]:
            wider = np.zeros((self.B, self.rec.shape[1] * 2), self.rec.dtype)
            wider[:, : self.rec.shape[1]] = self.rec
            self.rec = wider
        finite = np.isfinite(rewards.sum()) or np.isfinite(rewards).all()
        bad = [] if finite else [b for b in live.tolist() if not np.isfinite(rewards[b]).all()]
        everything = len(live) == self.B
        act, pay = (actions, rewards) if everything else (actions[live], rewards[live])
        line = self.line[: len(live)]  # one contiguous record per row, then one scatter
        line["tick"], line["act"]["value"], line["rewards"] = t, act, pay
        line["fp"] = prints if everything else prints[live]
        self.rec[live, t] = line.view(self.rec.dtype)
        if self.others:
            self.since[live] += pay
            self._mail(live, actions, rewards, prints)
        closed = []
        for b in bad:
            self._close(b, "env-fault", f"tick {int(self.tick[b])}: rewards {rewards[b].tolist()} for {self.n} seats")
            closed.append(b)
        self.tick[live] += 1
        for b in live[code[live] > 0].tolist():
            if b not in closed:
                self.faces[b]._ended = ENDED[int(code[b])]
                self._close(b, str(ENDED[int(code[b])]), "")
                closed.append(b)
        return closed

    def _mail(self, live: np.ndarray, actions: np.ndarray, rewards: np.ndarray, prints: np.ndarray) -> None:
        for b in live.tolist():
            book = self._book(b)
            if book.mail.waiting:
                t = int(self.tick[b])
                delivered: list[Msg] = book.mail.deliver(t)
                if delivered:
                    played = list(enumerate(actions[b].tolist()))
                    book.special[t] = open_record(t, played, delivered, rewards[b].tolist(), int(prints[b]))
                    book.events += mail_rows(t, delivered)

    def _cut_tick(self, b: int, actions: np.ndarray) -> None:
        """The plain acts of a tick that was settled but never stepped, as rows."""
        book = self._book(b)
        t = int(self.tick[b])
        there = {e[1] for e in book.events if e[0] == t and e[3] in ("act", "fault")}
        for i, agent in enumerate(book.agents):
            if i not in there:
                value = int(actions[i])
                book.events.append(
                    (
                        t,
                        i,
                        0,
                        "act",
                        (),
                        value,
                        None,
                        None,
                        None,
                        "own",
                        "array",
                        agent.name,
                        0,
                        0,
                        0,
                        0,
                        b"",
                        FLAG_WORLD,
                    )
                )


def _stack(parts: list[np.ndarray]) -> np.ndarray:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _sound(answer: Any, k: int) -> tuple[np.ndarray, np.ndarray | None, dict[int, Any]]:
    """(values int[k], memo, what is odd by row) of an answer to k decisions; raises when it has another form.

    Values that are no integers are odd in every row: `settle` judges them one by one, as `play` does.
    """
    if isinstance(answer, BaseException):
        raise answer
    if not isinstance(answer, tuple) or len(answer) != 2:
        raise ValueError(f"act_array must answer (values, memo), got {type(answer).__name__}")
    values, memo = np.asarray(answer[0]), answer[1]
    if values.shape != (k,):
        raise ValueError(f"act_array gave values of shape {values.shape} for {k} decisions")
    if memo is not None and (not isinstance(memo, np.ndarray) or memo.ndim == 0 or len(memo) != k):
        raise ValueError(f"act_array gave a memo of {np.shape(memo)} for {k} decisions")
    if values.dtype.kind not in "iu":
        return np.zeros(k, np.int64), memo, dict(enumerate(values.tolist()))
    return values, memo, {}


def _one_by_one(request: Columns) -> tuple[np.ndarray, np.ndarray | None, dict[int, Any]]:
    """Row by row after an act_array that raised, so that a fault never depends on the width."""
    values = np.zeros(len(request.keys), np.int64)
    memos: list[np.ndarray | None] = []
    odd: dict[int, Any] = {}
    for r in range(len(values)):
        at = slice(r, r + 1)
        legal = None if request.legal is None else request.legal[at]
        memo = None if request.memo is None else request.memo[at]
        try:
            answer = request.agent.act_array(request.obs[at], legal, request.keys[at], request.tick[at], memo)
            value, new, strange = _sound(answer, 1)
            values[r] = value[0]
            if strange:
                odd[r] = strange[0]
            memos.append(new)
        except Stop:
            raise
        except Exception as error:
            odd[r] = _fault(error)
            memos.append(memo)
    shape = next((m for m in memos if m is not None), None)
    if shape is None:
        return values, None, odd
    return values, np.concatenate([np.zeros_like(shape) if m is None else m for m in memos]), odd
