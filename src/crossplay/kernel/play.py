"""`play`: one episode as a generator without I/O. It yields requests and receives answers.

Drivers (loop, asyncio, batch, replay) differ only in how they get answers; the digests, counts and
events are the same for all of them. That equality is the most important test of the kernel.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from math import isfinite
from typing import Any

from crossplay.kernel.agent import Agent
from crossplay.kernel.book import Book, Ending, Lineup, Outcome, mail_rows, row, say
from crossplay.kernel.chain import WorldChain, open_record, packed_struct
from crossplay.kernel.conduct import Conduct, parse_clock
from crossplay.kernel.env import Env
from crossplay.kernel.events import FLAG_WORLD, WORLD, Event
from crossplay.kernel.obs import Observation, Scope
from crossplay.kernel.seeds import Block
from crossplay.kernel.types import CrossplayError, Msg, pack, unpack

__all__ = ["Episode", "Lineup", "Outcome", "play"]

Requests = list[Observation]


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


class Episode(Book):
    """One play of one environment by one lineup in one block."""

    def __init__(
        self, env: Env, lineup: Lineup, at: Block, conduct: Conduct, task: Any = None, resume: bytes | None = None
    ) -> None:
        super().__init__(env, lineup, at, conduct)
        self.task = task
        self.clock = parse_clock(env.clock)
        self.chain = WorldChain(self.start)
        self.outcome: Outcome | None = None
        self._resume = resume
        self._handoffs: list[tuple[int, Agent]] = []
        self._open: Requests | None = None  # the first requests of a tick, while they are open
        n = len(env.seats)
        self._structs = [packed_struct(k, n) for k in range(n + 1)]
        self._all_names = False
        self.requests: Generator[Requests, Sequence[Any], Outcome] = self._run()

    # -- public --------------------------------------------------------------------------------------
    def seat(self, seat: str, agent: Agent) -> None:
        """Hand a seat over. Asked for during tick t, it takes effect at tick t + 1.

        Of several wishes for a seat in one tick the last one counts; whoever sits there by then stays, with their memo.
        """
        if seat not in self.index:
            raise CrossplayError(f"{self.env.id}: no seat {seat!r}; it has {', '.join(self.env.seats)}")
        i = self.index[seat]
        self._handoffs = [wish for wish in self._handoffs if wish[0] != i]
        if agent is not self.agents[i]:
            self._handoffs.append((i, agent))

    @property
    def open(self) -> Sequence[Observation]:
        """The first requests of the tick that is asked now; () outside of one. For whoever shows or stores it."""
        return self._open or ()

    def snapshot(self) -> bytes:
        """Environment + memos + mail + tick (+ chains and counts): whatever going on needs.

        Taken while the requests of a tick are open; the resumed episode asks that tick again.
        """
        if self._open is None:
            raise CrossplayError("a snapshot can be taken only while the first requests of a tick are open")
        # Building the requests took their rewards and inboxes; they belong to the tick asked again.
        since, mail = list(self.since), self.mail.state()
        for obs in self._open:
            i = self.index[obs.seat]
            since[i] = obs.reward
            mail[0][i] = [[m.dst, m.body, m.channel, m.src, m.tick] for m in obs.inbox] + mail[0][i]
        state = {
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
            "events": self.events,  # tuples are packed as lists are, without a copy of each
            "late": self.late_rows,
        }
        try:
            return pack(state)
        except TypeError as error:
            raise CrossplayError(f"a memo cannot be stored: {error}") from None

    def late(self, seat: str, tick: int, detail: str = "") -> None:
        """Note an answer that came after its tick: dropped, counted, in no chain."""
        i = self.index[seat]
        self.count(i, "late")
        self.late_rows.append(row(tick, i, 0, "late", agent=self.agents[i].name, note=pack({"detail": detail})))

    # -- the generator ---------------------------------------------------------------------------------
    def _run(self) -> Generator[Requests, Sequence[Any], Outcome]:
        try:
            return (yield from self._episode())
        except Ending as end:
            return self.finish(end.status, end.detail)
        finally:
            self._open = None

    def _episode(self) -> Generator[Requests, Sequence[Any], Outcome]:
        env, mail = self.env, self.mail
        self._guard(self._start)
        self.scopes = self._guard(lambda: [Scope(env, env.id, self.at, s) for s in env.seats])
        self._all_names = all(scope.spec.kind == "names" for scope in self.scopes)
        yield from self._begin(range(len(env.seats)), handoff=False)
        waves = self._waves()
        kind, pace = self.clock
        deadline = None if kind == "wait" else pace if kind == "deadline" else 1.0 / pace
        legal_of, to_act, ended_of = env.legal, env.to_act, env.ended
        while True:
            try:
                ended = ended_of()
                acting = to_act() if ended is None else ()
                legals = {s: legal_of(s) for s in acting}
            except Exception as error:
                raise Ending("env-fault", say(error)) from error
            if ended is not None:
                return self.finish(ended, "")
            if self._handoffs:
                yield from self._hand_over()
            actions: dict[str, Any] = {}
            played: list[tuple[int, Any]] = []
            first_row = len(self.events)
            for wave in waves(acting) if waves else (acting,):
                requests = self._ask(wave, legals, deadline)
                self._open = requests if not played else None
                answers = yield requests
                self._take(requests, answers, actions, played)
            self._open = None
            if waves:  # asked in another order than they are recorded
                played.sort(key=lambda p: p[0])
                self.events[first_row:] = sorted(self.events[first_row:], key=lambda e: e[1])
            self._step(actions, played, mail.deliver(self.tick) if mail.waiting else [])

    def _ask(self, wave: Sequence[str], legals: Mapping[str, Any], deadline: float | None) -> Requests:
        """The requests of a tick; what a seat has earned and received goes with them."""
        index, since, slot, inbox, tick = self.index, self.since, self.memo_slot, self.mail.inbox, self.tick
        requests: Requests = []
        for seat in wave:
            i = index[seat]
            memo = self.memos[slot[i]]
            mail = self.mail.take(i) if inbox[i] else ()
            obs = Observation(self.scopes[i], "act", tick, legals[seat], mail, self.last[i], since[i], memo, deadline)
            obs.agent = self.agents[i]
            since[i] = 0.0
            requests.append(obs)
        return requests

    def _take(
        self, requests: Requests, answers: Sequence[Any], actions: dict[str, Any], played: list[tuple[int, Any]]
    ) -> None:
        """Settle the answers of a tick, in seat order. All are recorded before one of them ends the episode."""
        index, idle, take = self.index, self.env.idle, self.take
        first: Ending | None = None
        for obs, answer in zip(requests, answers, strict=True):
            seat = obs._scope.seat
            i = index[seat]
            try:
                actions[seat] = value = take(obs, i, answer, idle)
            except Ending as end:
                first = end if end.before(first) else first
            else:
                played.append((i, value))
        if first is not None:
            raise first

    def _step(self, actions: dict[str, Any], played: list[tuple[int, Any]], delivered: list[Msg]) -> None:
        """One step of the environment, its record in the world chain, its rows."""
        env, tick, since, totals = self.env, self.tick, self.since, self.totals
        try:
            rewards = tuple([r + 0.0 for r in env.step(actions, delivered)])  # -0.0 and 0.0 have other bytes
            fingerprint = env.fingerprint()
        except Exception as error:
            raise Ending("env-fault", say(error)) from error
        # The sum is finite when all are; the exact test is for sums that overflow.
        if len(rewards) != len(since) or not (isfinite(sum(rewards)) or all(map(isfinite, rewards))):
            raise Ending("env-fault", f"tick {tick}: rewards {list(rewards)} for {len(since)} seats")
        for i, r in enumerate(rewards):
            if r:
                since[i] += r
                totals[i] += r
        if not delivered and self._all_names:
            flat: list[int] = []
            for p in played:
                flat += p
            packed = self._structs[len(played)].pack(0, tick, *flat, *rewards, fingerprint)
            self.chain.add(packed)
        else:
            self.chain.add(open_record(tick, played, delivered, rewards, fingerprint))
            self.events += mail_rows(tick, delivered)
        ord_ = len(delivered)
        self.events.append(
            (tick, WORLD, ord_, "step", (), None, None, rewards, fingerprint, "", "", "", 0, 0, 0, 0, b"", FLAG_WORLD)
        )
        self.tick = tick + 1

    def _start(self) -> None:
        env = self.env
        if self._resume is None:
            env.start(self.at, self.task)
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
        self.events[:], self.late_rows[:] = (
            [tuple(tuple(x) if isinstance(x, list) else x for x in e) for e in state.get(name, [])]
            for name in ("events", "late")
        )

    def _guard(self, call: Any) -> Any:
        try:
            return call()
        except CrossplayError:
            raise
        except Exception as error:
            raise Ending("env-fault", say(error)) from error

    def _waves(self) -> Any:
        """Which seat reads whose memo; with shared memory, seats of one agent come one after the other."""
        n = len(self.agents)
        self.memo_slot = list(range(n))
        if not self.lineup.shared_memory:
            return None
        first: dict[int, int] = {}
        for i, agent in enumerate(self.agents):
            self.memo_slot[i] = first.setdefault(id(agent), i)

        def split(acting: tuple[str, ...]) -> list[tuple[str, ...]]:
            waves: list[list[str]] = []
            turn: dict[int, int] = {}
            for seat in acting:
                slot = self.memo_slot[self.index[seat]]
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
                self.events.append(row(self.tick, i, 0, "seat", agent=agent.name, origin="handoff" if handoff else ""))
            if type(agent).begin is Agent.begin:
                continue
            obs = Observation(self.scopes[i], "begin", self.tick, memo=self.memos[self.memo_slot[i]], last=self.last[i])
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
        self.begun(asked, (yield asked))

    def _hand_over(self) -> Generator[Requests, Sequence[Any], None]:
        changes, self._handoffs = self._handoffs, []
        for i, agent in changes:
            if type(agent) is not type(self.agents[i]) or agent.kind != self.agents[i].kind:
                self.memos[self.memo_slot[i]] = None  # a memo means something only to its own kind
            self.agents[i] = agent
            self.count(i, "handoffs")
            yield from self._begin([i], handoff=True)

    def finish(self, status: str, detail: str) -> Outcome:
        """Close the books."""
        status, score, detail = self.final_score(status, detail)
        self.events += self.late_rows
        self.events.append(self.end_row(status, score, detail))
        decisions = [0] * len(self.env.seats)
        for e in self.events:
            if e[3] == "act":
                decisions[e[1]] += 1
        for i, d in enumerate(decisions):
            self.counts[i]["decisions"] = d
        world = self.chain.end(status)
        self.outcome = Outcome(
            status, score, tuple(self.totals), self.tick, world, self.mind, self.summary(), self.events, detail
        )
        return self.outcome
