"""`play`: one episode as a generator without I/O. It yields requests and receives answers.

Drivers (loop, asyncio, batch, replay) differ only in how they get answers; the digests, counts and
events are the same for all of them. That equality is the most important test of the kernel.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import msgspec

from crossplay.kernel.agent import Agent
from crossplay.kernel.chain import WorldChain, mind_link, mind_start, open_record, packed_struct, world_start
from crossplay.kernel.conduct import Conduct, parse_clock
from crossplay.kernel.env import Env
from crossplay.kernel.events import FLAG_MIND, FLAG_PARTIAL, FLAG_WORLD, WORLD, Event
from crossplay.kernel.mail import Mail
from crossplay.kernel.obs import DEAD, Observation, Scope
from crossplay.kernel.seeds import Block, env_key, key
from crossplay.kernel.settle import Settled, settle
from crossplay.kernel.types import Action, ActionSpec, CrossplayError, Fault, Usage, pack, unpack

__all__ = ["Episode", "Lineup", "Outcome", "play"]

Requests = list[Observation]
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
    events: list[Row]
    detail: str = ""

    def trace(self) -> list[Event]:
        """The events as named rows."""
        return [Event(*row) for row in self.events]


def play(
    env: Env,
    lineup: Lineup | Mapping[str, Agent],
    at: Block = Block(),  # noqa: B008 (frozen)
    conduct: Conduct = Conduct(),  # noqa: B008 (frozen)
    *,
    task: Any = None,
    resume: bytes | None = None,
) -> Episode:
    """An episode, ready for a driver: `outcome = loop(play(env, {"p0": a, "p1": b}, Block(root=7)))`.

    resume: a snapshot made by `Episode.snapshot`, to go on from (resume, branch, counterfactual).
    Raises CrossplayError when the lineup does not fill the seats.
    """
    return Episode(env, lineup if isinstance(lineup, Lineup) else Lineup(dict(lineup)), at, conduct, task, resume)


class Episode:
    """One play of one environment by one lineup in one block."""

    def __init__(
        self, env: Env, lineup: Lineup, at: Block, conduct: Conduct, task: Any = None, resume: bytes | None = None
    ) -> None:
        check_seats(env.id, env.seats, lineup)
        self.env, self.lineup, self.at, self.conduct, self.task = env, lineup, at, conduct, task
        self.agents: list[Agent] = [lineup.seats[s] for s in env.seats]
        self.clock = parse_clock(env.clock)
        self.tick = 0
        n = len(env.seats)
        self.memos: list[Any] = [None] * n
        self.last: list[tuple[Any, str] | None] = [None] * n
        self.since: list[float] = [0.0] * n  # reward since the seat's last request
        self.totals: list[float] = [0.0] * n
        self.counts: list[dict[str, int]] = [{} for _ in range(n)]
        self.events: list[Row] = []
        self.mail = Mail(conduct.mail, env.seats, key("mail", at.root, env.id, at.block))
        self.chain = WorldChain(world_start(env.id, env.seats, at))
        self.mind = mind_start()
        self.outcome: Outcome | None = None
        self._resume = resume
        self._handoffs: list[tuple[int, Agent]] = []
        self._late: list[Row] = []
        self._open: Requests | None = None  # the first requests of a tick, while they are open
        self._index = {s: i for i, s in enumerate(env.seats)}
        self.requests: Generator[Requests, Sequence[Any], Outcome] = self._run()

    # -- public --------------------------------------------------------------------------------------
    def seat(self, seat: str, agent: Agent) -> None:
        """Hand a seat over. Asked for during tick t, it takes effect at tick t + 1."""
        if seat not in self._index:
            raise CrossplayError(f"{self.env.id}: no seat {seat!r}; it has {', '.join(self.env.seats)}")
        self._handoffs.append((self._index[seat], agent))

    def snapshot(self) -> bytes:
        """Environment + memos + mail + tick (+ chains and counts): whatever going on needs.

        Taken while the requests of a tick are open; the resumed episode asks that tick again.
        """
        if self._open is None:
            raise CrossplayError("a snapshot can be taken only while the first requests of a tick are open")
        # Building the requests took their rewards and inboxes; they belong to the tick asked again.
        since, mail = list(self.since), self.mail.state()
        for obs in self._open:
            i = self._index[obs.seat]
            since[i] = obs.reward
            mail[0][i] = [[m.dst, m.body, m.channel, m.src, m.tick] for m in obs.inbox] + mail[0][i]
        return pack(
            {
                "format": 1,
                "env_id": self.env.id,
                "at": [self.at.root, self.at.block, self.at.replicate],
                "env": self.env.snapshot(),
                "tick": self.tick,
                "memos": self.memos,
                "last": [None if x is None else list(x) for x in self.last],
                "since": since,
                "totals": self.totals,
                "counts": self.counts,
                "mail": mail,
                "world": [self.chain.digest, self.chain.pending],
                "mind": self.mind,
                "agents": [a.name for a in self.agents],
                "events": [list(e) for e in self.events],
            }
        )

    def late(self, seat: str, tick: int, detail: str = "") -> None:
        """Note an answer that came after its tick: dropped, counted, in no chain."""
        i = self._index[seat]
        self._count(i, "late")
        self._late.append(_row(tick, i, 0, "late", agent=self.agents[i].name, note=pack({"detail": detail})))

    # -- the generator ---------------------------------------------------------------------------------
    def _run(self) -> Generator[Requests, Sequence[Any], Outcome]:
        try:
            return (yield from self._episode())
        except _Ended as end:
            return self._finish(end.status, end.detail)
        finally:
            self._open = None

    def _episode(self) -> Generator[Requests, Sequence[Any], Outcome]:
        env = self.env
        self._guard(self._start)
        names, n, index = env.seats, len(env.seats), self._index
        scopes = self._scopes = self._guard(lambda: [Scope(env, env.id, self.at, s) for s in names])
        yield from self._begin(range(n), handoff=False)
        waves = self._waves()
        deadline = (
            self.clock[1] if self.clock[0] == "deadline" else (1.0 / self.clock[1] if self.clock[0] == "tick" else None)
        )
        structs = {k: packed_struct(k, n) for k in range(n + 1)}
        agents, memos, last, since, totals = self.agents, self.memos, self.last, self.since, self.totals
        events, chain, mail, idle = self.events, self.chain, self.mail, env.idle
        fingerprint, step, legal_of, to_act, ended_of = env.fingerprint, env.step, env.legal, env.to_act, env.ended
        isfinite = math.isfinite
        while True:
            try:
                ended = ended_of()
                acting = to_act() if ended is None else ()
                legals = [legal_of(s) for s in acting]
            except Exception as error:
                raise _Ended("env-fault", _say(error)) from error
            if ended is not None:
                return self._finish(ended, "")
            if self._handoffs:
                yield from self._hand_over()
            tick = self.tick
            actions: dict[str, Any] = {}
            first_row = len(events)
            played: list[tuple[int, Any]] = []
            packed = True
            for wave in waves(acting) if waves else (acting,):
                requests: Requests = []
                for seat in wave:
                    i = index[seat]
                    obs = Observation(
                        scopes[i],
                        "act",
                        tick,
                        legals[acting.index(seat)],
                        mail.take(i),
                        last[i],
                        since[i],
                        memos[self._memo_slot[i]],
                        deadline,
                    )
                    obs.agent = agents[i]
                    since[i] = 0.0
                    requests.append(obs)
                self._open = requests if not played else None
                answers = yield requests
                for obs, answer in zip(requests, answers, strict=True):
                    i = index[obs._scope.seat]
                    spec: ActionSpec = obs.spec
                    legal = obs.legal
                    if (
                        type(answer) is Action
                        and answer.messages == ()
                        and answer.usage is None
                        and answer.confidence is None
                        and answer.rationale is None
                    ):
                        memo, value = answer.memo, answer.value
                    else:
                        memo, value = None, answer
                    # The common case: a valid index of a name, nothing else to record.
                    if (
                        type(value) is int
                        and spec.kind == "names"
                        and 0 <= value < len(spec.names)
                        and (legal is None or legal[value])
                    ):
                        events.append(
                            (
                                tick,
                                i,
                                0,
                                "act",
                                (),
                                value,
                                None,
                                None,
                                None,
                                "own",
                                obs.view_used,
                                agents[i].name,
                                0,
                                0,
                                0,
                                obs.wall_us,
                                b"",
                                FLAG_WORLD,
                            )
                        )
                        last[i] = (value, "own")
                        if memo is not None:
                            memos[self._memo_slot[i]] = memo
                    else:
                        value = self._settle(obs, i, answer, idle)
                        if type(value) is not int:
                            packed = False
                    actions[names[i]] = value
                    played.append((i, value))
                    life = obs._life
                    if life is not None:
                        self._inner(obs, i, answer)
                        life.alive = False
                    else:
                        obs._life = DEAD
            self._open = None
            if waves:  # asked in another order than they are recorded
                played.sort(key=lambda p: p[0])
                events[first_row:] = sorted(events[first_row:], key=lambda e: e[1])
            delivered = mail.deliver(tick) if mail.waiting else []
            try:
                rewards = step(actions, delivered)
                print_ = fingerprint()
            except Exception as error:
                raise _Ended("env-fault", _say(error)) from error
            if len(rewards) != n or not all(map(isfinite, rewards)):
                raise _Ended("env-fault", f"tick {tick}: rewards {list(rewards)} for {n} seats")
            row_rewards = tuple(r + 0.0 for r in rewards)
            for i in range(n):
                r = row_rewards[i]
                since[i] += r
                totals[i] += r
            if packed and not delivered:
                flat: list[int] = []
                for p in played:
                    flat += p
                chain.add(structs[len(played)].pack(0, tick, *flat, *row_rewards, print_))
            else:
                chain.add(open_record(tick, played, delivered, row_rewards, print_))
                for k, m in enumerate(delivered):
                    events.append(
                        _row(
                            tick,
                            WORLD,
                            k,
                            "mail",
                            payload=pack([m.src, m.dst, m.channel, m.tick, m.body]),
                            flags=FLAG_WORLD,
                        )
                    )
            events.append(
                (
                    tick,
                    WORLD,
                    len(delivered),
                    "step",
                    (),
                    None,
                    None,
                    row_rewards,
                    print_,
                    "",
                    "",
                    "",
                    0,
                    0,
                    0,
                    0,
                    b"",
                    FLAG_WORLD,
                )
            )
            self.tick = tick + 1

    def _start(self) -> None:
        env = self.env
        if self._resume is None:
            env.reset(env_key(self.at, env.id), self.task)
            return
        state = unpack(self._resume)
        if state["env_id"] != env.id or state["at"] != [self.at.root, self.at.block, self.at.replicate]:
            raise CrossplayError(f"the snapshot is of {state['env_id']} at {state['at']}, not of {env.id} at {self.at}")
        env.restore(state["env"])
        self.tick = state["tick"]
        self.memos[:] = state["memos"]
        self.last[:] = [None if x is None else (x[0], x[1]) for x in state["last"]]
        self.since[:], self.totals[:] = state["since"], state["totals"]
        self.counts[:] = [dict(c) for c in state["counts"]]
        self.mail.load(state["mail"])
        self.chain = WorldChain(*state["world"])
        self.mind = state["mind"]
        self.events[:] = [tuple(tuple(x) if isinstance(x, list) else x for x in e) for e in state["events"]]

    def _guard(self, call: Any) -> Any:
        try:
            return call()
        except CrossplayError:
            raise
        except Exception as error:
            raise _Ended("env-fault", _say(error)) from error

    def _waves(self) -> Any:
        """Which seat reads whose memo; with shared memory, seats of one agent come one after the other."""
        n = len(self.agents)
        self._memo_slot = list(range(n))
        if not self.lineup.shared_memory:
            return None
        first: dict[int, int] = {}
        for i, agent in enumerate(self.agents):
            self._memo_slot[i] = first.setdefault(id(agent), i)

        def split(acting: tuple[str, ...]) -> list[tuple[str, ...]]:
            waves: list[list[str]] = []
            turn: dict[int, int] = {}
            for seat in acting:
                slot = self._memo_slot[self._index[seat]]
                k = turn.get(slot, 0)
                turn[slot] = k + 1
                if k == len(waves):
                    waves.append([])
                waves[k].append(seat)
            return [tuple(w) for w in waves] or [()]

        return split

    def _begin(self, which: Sequence[int], handoff: bool) -> Generator[Requests, Sequence[Any], None]:
        """Seat rows, and begin requests for the agents that want them."""
        self._waves()
        asked: Requests = []
        for i in which:
            agent = self.agents[i]
            if self._resume is None or handoff or unpack(self._resume)["agents"][i] != agent.name:
                self.events.append(_row(self.tick, i, 0, "seat", agent=agent.name, origin="handoff" if handoff else ""))
            if type(agent).begin is Agent.begin:
                continue
            obs = Observation(
                self._scopes[i], "begin", self.tick, memo=self.memos[self._memo_slot[i]], last=self.last[i]
            )
            obs.agent = agent
            if handoff or self._resume is not None:
                obs.history = [
                    Event(*e)
                    for e in self.events
                    if e[1] == i or (e[3] == "mail" and unpack(e[6])[1] == self.env.seats[i])
                ]
            asked.append(obs)
        if not asked:
            return
        answers = yield asked
        for obs, answer in zip(asked, answers, strict=True):
            i = self._index[obs.seat]
            if isinstance(answer, Fault):
                if answer.kind == "void":
                    raise _Ended("void", answer.detail)
                self._count(i, "begin_fault")
                self.events.append(
                    _row(
                        self.tick,
                        i,
                        1,
                        "fault",
                        origin="begin",
                        agent=self.agents[i].name,
                        note=pack({"kind": answer.kind, "detail": answer.detail}),
                    )
                )
            elif answer is not None and self.memos[self._memo_slot[i]] is None:
                self.memos[self._memo_slot[i]] = answer.memo if isinstance(answer, Action) else answer
            self._inner(obs, i, answer)
            obs.close()

    def _hand_over(self) -> Generator[Requests, Sequence[Any], None]:
        changes, self._handoffs = self._handoffs, []
        for i, agent in changes:
            if type(agent) is not type(self.agents[i]) or agent.kind != self.agents[i].kind:
                self.memos[self._memo_slot[i]] = None  # a memo means something only to its own kind
            self.agents[i] = agent
            self._count(i, "handoffs")
            yield from self._begin([i], handoff=True)

    def _settle(self, obs: Observation, i: int, answer: Any, idle: str) -> Any:
        """The slow path: faults, messages, usage, values that are not names."""
        tick, agent = obs.tick, self.agents[i]
        done: Settled = settle(answer, obs.spec, obs.legal, self.conduct, self._scopes[i].key, tick, self.last[i], idle)
        if done.origin == "void":
            raise _Ended("void", f"seat {obs.seat}: {done.fault.detail if done.fault else ''}")
        usage, note = Usage(), b""
        if isinstance(answer, Action):
            usage = answer.usage or usage
            extra = {
                k: v for k, v in (("confidence", answer.confidence), ("rationale", answer.rationale)) if v is not None
            }
            note = pack(extra) if extra else b""
        events, value = self.events, done.value
        if done.origin != "fail":
            is_name = type(value) is int and obs.spec.kind == "names"
            events.append(
                _row(
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
        for name, k in (
            ("calls", usage.calls),
            ("tok_in", usage.tok_in),
            ("tok_out", usage.tok_out),
            ("cpu_us", usage.cpu_us),
        ):
            if k:
                self._count(i, name, k)
        if done.fault is not None:
            self._count(i, done.fault.kind)
            self._count(i, "link_" + done.origin)
            events.append(
                _row(
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
            self._count(i, "held")
        if done.messages:
            for k, m in enumerate(done.messages):
                events.append(_row(tick, i, 2 + k, "msg", payload=pack([m.dst, m.channel, m.body]), agent=agent.name))
            self.mail.say(
                i, done.messages, tick, lambda: self.env.audience(obs.seat), lambda name, k: self._count(i, name, k)
            )
        if done.memo is not None:
            self.memos[self._memo_slot[i]] = done.memo
        if done.origin == "fail":
            raise _Ended(f"forfeit:{obs.seat}", done.fault.detail if done.fault else "")
        self.last[i] = (value, done.origin)
        return value

    def _inner(self, obs: Observation, i: int, answer: Any) -> None:
        """Notes and counters of a handle: recorded also when the answer did not come in time."""
        for name, k in obs.counts.items():
            self._count(i, name, k)
        partial = isinstance(answer, Fault) and answer.kind in ("timeout", "error", "void")
        ords: dict[tuple[int, ...], int] = {}
        for path, kind, data, usage in sorted(obs.notes, key=lambda note: note[0]):
            k = ords.get(path, 2000 if not path else 0)
            ords[path] = k + 1
            use = usage or Usage()
            for name, amount in (
                ("calls", use.calls),
                ("tok_in", use.tok_in),
                ("tok_out", use.tok_out),
                ("cpu_us", use.cpu_us),
            ):
                if amount:
                    self._count(i, name, amount)
            self.events.append(
                _row(
                    obs.tick,
                    i,
                    k,
                    kind,
                    path=path,
                    agent=self.agents[i].name,
                    calls=use.calls,
                    tok_in=use.tok_in,
                    tok_out=use.tok_out,
                    note=pack(data),
                    flags=FLAG_PARTIAL if partial else FLAG_MIND,
                )
            )
            if not partial:
                self.mind = mind_link(self.mind, obs.tick, i, path, k, kind, data)

    def _count(self, i: int, name: str, k: int = 1) -> None:
        counts = self.counts[i]
        counts[name] = counts.get(name, 0) + k

    def _finish(self, status: str, detail: str) -> Outcome:
        env = self.env
        try:
            score = dict(env.forfeit_score(status[8:]) if status.startswith("forfeit:") else env.score())
        except Exception as error:
            score, detail = {}, detail or _say(error)
            status = status if status.startswith(("void", "env-fault")) else "env-fault"
        self.events += self._late
        self.events.append(
            _row(
                self.tick,
                WORLD,
                0,
                "end",
                origin=status,
                note=pack({"score": score, "detail": detail}),
                flags=FLAG_WORLD,
            )
        )
        decisions = [0] * len(env.seats)
        for e in self.events:
            if e[3] == "act":
                decisions[e[1]] += 1
        for i, d in enumerate(decisions):
            self.counts[i]["decisions"] = d
        self.outcome = Outcome(
            status,
            {k: float(v) for k, v in score.items()},
            tuple(self.totals),
            self.tick,
            self.chain.end(status),
            self.mind,
            {s: dict(sorted(c.items())) for s, c in zip(env.seats, self.counts, strict=True)},
            self.events,
            detail,
        )
        return self.outcome


class _Ended(Exception):
    """Leaves the loop with a status."""

    def __init__(self, status: str, detail: str) -> None:
        super().__init__(status)
        self.status, self.detail = status, detail


def check_seats(env_id: str, seats: Sequence[str], lineup: Lineup) -> None:
    """Raise CrossplayError unless the lineup fills exactly the seats."""
    missing = [s for s in seats if s not in lineup.seats]
    extra = [s for s in lineup.seats if s not in seats]
    if missing or extra:
        said = (f" no agent for {', '.join(missing)};" if missing else "") + (
            f" unknown seat {', '.join(extra)};" if extra else ""
        )
        raise CrossplayError(f"{env_id}: the lineup does not fill the seats:{said} the seats are {', '.join(seats)}")


def _say(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def _row(
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
