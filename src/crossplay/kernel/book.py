"""`Book`: the books of one episode: counts, memos, mail, chains, rows. Shared by `play` and `play_batch`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from crossplay.kernel.agent import Agent
from crossplay.kernel.chain import mind_link, mind_start, world_start
from crossplay.kernel.conduct import Conduct
from crossplay.kernel.env import Env
from crossplay.kernel.events import FLAG_MIND, FLAG_PARTIAL, FLAG_WORLD, WORLD, Event
from crossplay.kernel.mail import Mail
from crossplay.kernel.obs import DEAD, Observation, Scope
from crossplay.kernel.seeds import Block
from crossplay.kernel.settle import Settled, settle
from crossplay.kernel.types import Action, ActionSpec, CrossplayError, Fault, Held, Msg, Usage, pack, storable

__all__ = ["Book", "Ending", "Lineup", "Outcome", "check_seats", "mail_rows", "row", "say"]

Row = tuple[Any, ...]


class Lineup(msgspec.Struct):
    """Which agent fills which seat. The other seat order is another lineup.

    shared_memory: seats that name the same agent share one memo and are asked in seat order.
    """

    seats: dict[str, Agent]
    shared_memory: bool = False
    name: str = ""


class Outcome(msgspec.Struct):
    """How an episode ended.

    status: "terminal", "horizon", "forfeit:SEAT" (counted, with the declared score), "env-fault",
    or "void" (replayed in the same block). totals: sum of rewards in seat order. counts: per seat,
    name of a counter -> number. events: rows in the order of `Event`'s fields.
    """

    status: str
    score: dict[str, float]
    totals: tuple[float, ...]
    ticks: int
    world: bytes
    mind: bytes
    counts: dict[str, dict[str, int]]
    events: Iterable[Row]
    detail: str = ""

    def trace(self) -> list[Event]:
        """The events as named rows."""
        return [Event(*row) for row in self.events]


class Book:
    """What the engine keeps of one episode, whoever drives it."""

    def __init__(self, env: Env, lineup: Lineup, at: Block, conduct: Conduct) -> None:
        env_id = env.id
        check_seats(env_id, env.seats, lineup)
        n = len(env.seats)
        self.env, self.lineup, self.at, self.conduct = env, lineup, at, conduct
        self.agents: list[Agent] = [lineup.seats[s] for s in env.seats]
        self.index = {s: i for i, s in enumerate(env.seats)}
        self.scopes: list[Scope] = []
        self.tick = 0
        self.memos: list[Any] = [None] * n
        self.memo_slot = list(range(n))  # whose memo a seat reads (shared memory)
        self.last: list[tuple[Any, str] | None] = [None] * n
        self.since: list[float] = [0.0] * n  # reward since the seat's last request
        self.totals: list[float] = [0.0] * n
        self.counts: list[dict[str, int]] = [{} for _ in range(n)]
        self.events: list[Row] = []
        self.late_rows: list[Row] = []
        self.mail = Mail(conduct.mail, env.seats, ("mail", at.root, env_id, at.block))
        self.start = world_start(env_id, env.seats)
        self.mind = mind_start()

    def take(self, obs: Observation, i: int, answer: Any, idle: str) -> Any:
        """Settle one answer, record it, close its handle; the value that is played."""
        spec: ActionSpec = obs.spec
        value, memo = answer, None
        if type(answer) is Action and _bare(answer):
            value, memo = answer.value, answer.memo
        try:
            # The common case: a valid index of a name and nothing else to record.
            if type(value) is int and spec.kind == "names" and _fits(value, spec, obs.legal):
                name, view, wall, tick = obs.agent.name, obs.view_used, obs.wall_us, obs.tick
                self.events.append(
                    (tick, i, 0, "act", (), value, None, None, None, "own", view, name, 0, 0, 0, wall, b"", FLAG_WORLD)
                )
                self.last[i] = (value, "own")
                if memo is not None:
                    self.memos[self.memo_slot[i]] = memo
                return value
            return self.settle(obs, i, answer, idle)
        finally:
            life = obs._life
            if life is None:
                obs._life = DEAD
            else:
                self.inner(obs, i, answer)
                life.alive = False

    def begun(self, asked: Sequence[Observation], answers: Sequence[Any]) -> None:
        """Take the answers to begin requests: first memos, and what went wrong."""
        for obs, answer in zip(asked, answers, strict=True):
            i = self.index[obs.seat]
            slot = self.memo_slot[i]
            if isinstance(answer, Fault):
                if answer.kind == "void":
                    raise Ending("void", answer.detail)
                self.count(i, "begin_fault")
                note = pack({"kind": str(answer.kind), "detail": storable(answer.detail)})
                self.events.append(row(self.tick, i, 1, "fault", origin="begin", agent=self.agents[i].name, note=note))
            elif answer is not None and self.memos[slot] is None:
                self.memos[slot] = answer.memo if isinstance(answer, Action) else answer
            self.inner(obs, i, answer)
            obs.close()

    def settle(self, obs: Observation, i: int, answer: Any, idle: str) -> Any:
        """The slow path: faults, messages, usage, values that are not names."""
        tick, agent = obs.tick, self.agents[i]
        done: Settled = settle(answer, obs.spec, obs.legal, self.conduct, self.scopes[i].key, tick, self.last[i], idle)
        if done.origin == "void":
            raise Ending("void", f"seat {obs.seat}: {done.fault.detail if done.fault else ''}", i)
        usage, note = Usage(), b""
        if isinstance(answer, Action):
            usage = answer.usage if isinstance(answer.usage, Usage) else usage
            sure = answer.confidence
            if sure is not None and not _is_share(sure):
                sure = None
                self.count(i, "bad_confidence")
            extra = {k: v for k, v in (("confidence", sure), ("rationale", answer.rationale)) if v is not None}
            note = pack(storable(extra)) if extra else b""
        events, value = self.events, done.value
        if done.origin != "fail":
            is_name = type(value) is int and obs.spec.kind == "names"
            events.append(
                row(
                    tick,
                    i,
                    0,
                    "act",
                    value=value if is_name else None,
                    payload=None if is_name else pack(value),
                    origin=done.origin,
                    view=obs.view_used,
                    agent=agent.name,
                    calls=usage.calls,
                    tok_in=usage.tok_in,
                    tok_out=usage.tok_out,
                    wall_us=obs.wall_us,
                    note=note,
                    flags=FLAG_WORLD,
                )
            )
        if isinstance(answer, Action) and answer.counts:
            for name, k in answer.counts.items():
                self.count(i, name, k)
        for name, k in (
            ("calls", usage.calls),
            ("tok_in", usage.tok_in),
            ("tok_out", usage.tok_out),
            ("cpu_us", usage.cpu_us),
        ):
            if k:
                self.count(i, name, k)
        if done.fault is not None:
            self.count(i, done.fault.kind)
            self.count(i, "link_" + done.origin)
            events.append(
                row(
                    tick,
                    i,
                    1,
                    "fault",
                    origin=done.origin,
                    agent=agent.name,
                    note=pack({"kind": done.fault.kind, "detail": done.fault.detail[:2000]}),
                )
            )
        elif done.origin == "held":
            self.count(i, "held")
        if done.messages:
            for k, m in enumerate(done.messages):
                events.append(row(tick, i, 2 + k, "msg", payload=pack([m.dst, m.channel, m.body]), agent=agent.name))
            self.mail.say(
                i, done.messages, tick, lambda: self.env.audience(obs.seat), lambda name, k: self.count(i, name, k)
            )
        if done.memo is not None:
            self.memos[self.memo_slot[i]] = done.memo
        if done.origin == "fail":
            raise Ending(f"forfeit:{obs.seat}", done.fault.detail if done.fault else "", i)
        self.last[i] = (value, done.origin)
        return value

    def inner(self, obs: Observation, i: int, answer: Any) -> None:
        """Notes and counters of a handle: recorded also when the answer did not come in time."""
        for name, k in obs.counts.items():
            self.count(i, name, k)
        # What stood in the notes when the clock cut an answer off depends on the clock: no part of the chain.
        partial = isinstance(answer, Held) or (
            isinstance(answer, Fault) and answer.kind in ("timeout", "error", "void")
        )
        ords: dict[tuple[int, ...], int] = {}
        for path, kind, data, usage in sorted(obs.notes, key=lambda note: note[0]):
            k = ords.get(path, 2000 if not path else 0)
            ords[path] = k + 1
            use, data = usage or Usage(), storable(data)
            for name, amount in (
                ("calls", use.calls),
                ("tok_in", use.tok_in),
                ("tok_out", use.tok_out),
                ("cpu_us", use.cpu_us),
            ):
                if amount:
                    self.count(i, name, amount)
            self.events.append(
                row(
                    obs.tick,
                    i,
                    k,
                    kind,
                    path=path,
                    agent=self.agents[i].name,
                    calls=use.calls,
                    tok_in=use.tok_in,
                    tok_out=use.tok_out,
                    wall_us=use.wall_us,
                    note=pack(data),
                    flags=FLAG_PARTIAL if partial else FLAG_MIND,
                )
            )
            if not partial:
                self.mind = mind_link(self.mind, obs.tick, i, path, k, kind, data)

    def count(self, i: int, name: str, k: int = 1) -> None:
        """Add to a counter of a seat."""
        counts = self.counts[i]
        counts[name] = counts.get(name, 0) + k

    def summary(self) -> dict[str, dict[str, int]]:
        """The counters per seat, names sorted."""
        return {s: dict(sorted(c.items())) for s, c in zip(self.env.seats, self.counts, strict=True)}

    def end_row(self, status: str, score: dict[str, float], detail: str) -> Row:
        """The last row of a trace."""
        return row(
            self.tick, WORLD, 0, "end", origin=status, note=pack({"score": score, "detail": detail}), flags=FLAG_WORLD
        )

    def final_score(self, status: str, detail: str) -> tuple[str, dict[str, float], str]:
        """(status, score, detail): a score that cannot be computed, or is no finite number, is an environment fault."""
        try:
            found = self.env.forfeit_score(status[8:]) if status.startswith("forfeit:") else self.env.score()
            score = {k: float(v) for k, v in found.items()}
            if wrong := [k for k, v in score.items() if not math.isfinite(v)]:
                raise ValueError(f"the score {wrong[0]} is {score[wrong[0]]}")
            return status, score, detail
        except Exception as error:
            kept = status if status.startswith(("void", "env-fault")) else "env-fault"
            return kept, {}, detail or say(error)


class Ending(Exception):
    """Leaves an episode with a status. seat: the index of the seat that caused it."""

    def __init__(self, status: str, detail: str, seat: int = -1) -> None:
        super().__init__(status)
        self.status, self.detail, self.seat = status, detail, seat

    def before(self, other: Ending | None) -> bool:
        """Whether this one decides: void before forfeit, then the lower seat."""
        if other is None:
            return True
        return (self.status != "void", self.seat) < (other.status != "void", other.seat)


def check_seats(env_id: str, seats: Sequence[str], lineup: Lineup) -> None:
    """Raise CrossplayError unless the lineup fills exactly the seats."""
    missing = [s for s in seats if s not in lineup.seats]
    extra = [s for s in lineup.seats if s not in seats]
    if missing or extra:
        said = (f" no agent for {', '.join(missing)};" if missing else "") + (
            f" unknown seat {', '.join(extra)};" if extra else ""
        )
        raise CrossplayError(f"{env_id}: the lineup does not fill the seats:{said} the seats are {', '.join(seats)}")


def say(error: BaseException) -> str:
    """One line that says what went wrong."""
    return f"{type(error).__name__}: {error}"[:500]


def row(
    tick: int,
    seat: int,
    ord_: int,
    kind: str,
    *,
    path: tuple[int, ...] = (),
    value: int | None = None,
    payload: bytes | None = None,
    origin: str = "",
    view: str = "",
    agent: str = "",
    calls: int = 0,
    tok_in: int = 0,
    tok_out: int = 0,
    wall_us: int = 0,
    note: bytes = b"",
    flags: int = 0,
) -> Row:
    """A row in the order of `Event`'s fields, for the kinds without rewards and fingerprint."""
    return (
        tick,
        seat,
        ord_,
        kind,
        path,
        value,
        payload,
        None,
        None,
        origin,
        view,
        agent,
        calls,
        tok_in,
        tok_out,
        wall_us,
        note,
        flags,
    )


def mail_rows(tick: int, delivered: Iterable[Msg]) -> list[Row]:
    """The rows of the messages delivered at a tick."""
    return [
        row(tick, WORLD, k, "mail", payload=pack([m.src, m.dst, m.channel, m.tick, m.body]), flags=FLAG_WORLD)
        for k, m in enumerate(delivered)
    ]


def _is_share(value: Any) -> bool:
    """Whether it is a number in [0, 1]."""
    try:
        return not isinstance(value, (bool, str, bytes)) and 0.0 <= float(value) <= 1.0
    except (TypeError, ValueError, OverflowError):
        return False


def _bare(answer: Action) -> bool:
    """Whether an Action holds nothing but a value and a memo."""
    return (
        not answer.messages
        and answer.usage is None
        and answer.confidence is None
        and answer.rationale is None
        and answer.counts is None
    )


def _fits(value: int, spec: ActionSpec, legal: Sequence[bool] | None) -> bool:
    return 0 <= value < len(spec.names) and (legal is None or bool(legal[value]))
