"""Verification of a run: seals, then the recorded actions, then the agents themselves.

`actions` plays every episode again from its trace. `agents` asks the deterministic agents again as
well, with models read from the cassette; people and outside agents stay recorded. Only installed
entry points are loaded, never code that a run names, unless it is trusted.
"""

from __future__ import annotations

import asyncio
import inspect
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from crossplay.agents.context import NeedsTrust
from crossplay.kernel import (
    Action,
    Agent,
    Block,
    CrossplayError,
    Event,
    Fault,
    Held,
    Lineup,
    Observation,
    Outcome,
    aio,
    loop,
    play,
    recorded,
)
from crossplay.records import EpisodeRecord, RunFolder, check_seals
from crossplay.records.errors import Damaged
from crossplay.records.identity import machine
from crossplay.study.chunks import Chunk, play_chunk, waits
from crossplay.study.spec import Cell, Study, parse_study
from crossplay.study.stage import Stage

__all__ = ["Finding", "Verified", "load_run", "verify"]

LEVELS = ("seals", "actions", "agents")
TOLERANCE = 1e-9  # of rewards, where the run was made on another processor family or lock


class Finding(msgspec.Struct):
    """Something that is not as recorded. episode: its id in hex, or "" for a file of the run."""

    episode: str
    where: str
    what: str


class Verified(msgspec.Struct):
    """What a verification found. exact: equal bits; else within the tolerance of another machine."""

    level: str
    episodes: int
    findings: list[Finding]
    replayed: int = 0
    reexecuted: int = 0
    recorded_only: dict[str, str] = {}
    exact: bool = True

    @property
    def ok(self) -> bool:
        """Whether everything is as recorded."""
        return not self.findings


def load_run(folder: Path) -> tuple[RunFolder, Study]:
    """An existing run, open to read, and its resolved study."""
    run = RunFolder.open(folder)
    try:
        first, *others = (_parse(text) for text in run.studies().values())
    except (tomllib.TOMLDecodeError, CrossplayError) as error:
        run.close()
        raise CrossplayError(f"{folder}/study.toml: {error}") from None
    try:
        _whole(run)
    except CrossplayError:
        run.close()
        raise
    for other in others:  # a merged run: the lineups of all its studies stand in one table
        pairs: tuple[tuple[Any, Any], ...] = (
            (first.environments, other.environments),
            (first.agents, other.agents),
            (first.lineups, other.lineups),
        )
        for mine, more in pairs:
            for name, spec in more.items():
                mine.setdefault(name, spec)
        if first.people is not None and other.people is not None and first.people.blocks != other.people.blocks:
            run.close()
            raise CrossplayError(f"{folder}: its studies number the blocks of participants otherwise (people.blocks)")
        if first.people is not None and other.people is not None and first.root != other.root:
            run.close()
            raise CrossplayError(
                f"{folder}: its studies have different roots ({first.root}, {other.root}), so participant 1 of one is "
                "another person in other worlds than participant 1 of the other, and they would be averaged; keep the runs apart"
            )
        first.people = first.people or other.people
        first.blocks += [b for b in other.blocks if b not in first.blocks]
    return run, first


def _whole(run: RunFolder) -> None:
    """Raise where the manifest does not hold what a study writes into it: readers rely on that."""
    for source in run.sources():
        for part in ("agents", "models"):
            if not _tables(source.get(part, {})):
                raise Damaged(f"{run.path}/manifest.sqlite is damaged: the {part} of a source are no tables")
    for c in run.cells():
        seats = c.extra.get("seats", [])
        words = all(isinstance(c.extra.get(k), str) for k in ("env", "group"))
        about = all(isinstance(c.extra.get(k, {}), dict) for k in ("metrics", "seat_metrics"))
        if not words or not about or not isinstance(seats, list) or not set(map(str, seats)) <= set(c.agents):
            raise Damaged(f'{run.path}/manifest.sqlite is damaged: the cell "{c.name[:80]}" is not one of a study')


def _tables(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(table, dict) for table in value.values())


def _parse(text: str) -> Study:
    return parse_study(tomllib.loads(text))


def verify(
    folder: Path, level: str = "actions", *, trust: bool = False, on_episode: Callable[[int, int], None] | None = None
) -> Verified:
    """Check a run folder at a level: "seals", "actions" or "agents" (each includes the ones before).

    on_episode(done, total) is for progress. Raises CrossplayError when there is nothing to check.
    """
    if level not in LEVELS:
        raise CrossplayError(f'--level "{level}" is not one of {", ".join(LEVELS)}')
    findings = [Finding(_name(e), d.file, d.what) for d in check_seals(folder) for e in (d.episodes or [""])]
    run = RunFolder.open(folder)
    with run:
        records = [r for r in run.records() if r.status not in ("void", "env-fault")]
        result = Verified(level, len(records), findings)
        if level == "seals" or findings:
            return result
        sources = run.sources()
        done = 0
        for digest, text in run.studies().items():
            stage = Stage(_parse(text), folder, strict=True, trust=trust)
            mine = [r for r in records if sources[r.source]["study"] == digest]
            _check_ids(stage, mine)
            cells = {c.key: c for c in stage.cells}
            for record in mine:
                _actions(stage, cells[record.cell], run, record, result, _same_machine(sources[record.source]))
                done += 1
                if on_episode is not None:
                    on_episode(done, len(records))
            if level == "agents" and result.ok:
                _agents(stage, cells, mine, run, result)
            stage.close()
        return result


def _same_machine(source: dict[str, Any]) -> bool:
    """Whether bits must be equal: the same processor family and the same packages."""
    here = machine()
    return all(source.get(name) == here.get(name) for name in ("cpu", "lock_digest"))


def _name(episode: Any) -> str:
    return f"{episode:016x}" if isinstance(episode, int) else str(episode)


def _check_ids(stage: Stage, records: list[EpisodeRecord]) -> None:
    """The installed environments must be the very ones of the run."""
    cells = {c.key: c for c in stage.cells}
    for cell, env_id in {(r.cell, r.env_id) for r in records}:
        if cell not in cells:
            raise CrossplayError(f"the run has a cell that its study does not name: {cell}")
        here = stage.probes[cells[cell].env].id
        if here != env_id:
            raise CrossplayError(f"the run was played in {env_id}; what is installed here is {here}")


def _actions(stage: Stage, cell: Cell, run: RunFolder, record: EpisodeRecord, result: Verified, exact: bool) -> None:
    """Play the recorded joint actions again."""
    env = stage.env(cell.env)
    env.clock = "wait"  # replay has no clock; the id of the run's clock stays in the chain
    env._id = record.env_id  # type: ignore[attr-defined]
    events = run.events(record.id)
    at = Block(record.root, record.block, record.replicate)
    lineup = Lineup(recorded(events, env.seats).seats, cell.shared_memory)
    outcome = loop(play(env, lineup, at, stage.conduct(cell)))
    result.replayed += 1
    if what := _difference(record, events, outcome):
        if not exact and _close(record, outcome):
            result.exact = False
        else:
            result.findings.append(Finding(_name(record.id), record.cell, f"block {record.block}: {what}"))
    env.close()


def _difference(record: EpisodeRecord, events: list[Event], outcome: Outcome) -> str:
    """Where a replay leaves the record, or "". The rows are compared too: pictures and exports are made from them."""
    before, after = _steps(events), _steps(outcome.trace())
    for tick in sorted(before.keys() | after.keys()):
        if before.get(tick) != after.get(tick):
            return f"the first difference is at tick {tick}"
    if outcome.status != record.status:
        return f"ended {outcome.status}, recorded was {record.status}"
    if outcome.world != record.world:
        return "the moves differ"
    if list(outcome.totals) != list(record.totals):
        return f"the rewards add up to {list(outcome.totals)}, recorded was {list(record.totals)}"
    if outcome.score != record.score:
        return f"the score is {outcome.score}, recorded was {record.score}"
    return ""


def _steps(events: Iterable[Event]) -> dict[int, Any]:
    """Fingerprint and rewards of each tick."""
    return {e.tick: (e.fingerprint, tuple(e.rewards or ())) for e in events if e.kind == "step"}


def _close(record: EpisodeRecord, outcome: Outcome) -> bool:
    """Whether only the last bits of float worlds differ (another processor family)."""
    if outcome.status != record.status or outcome.ticks != record.ticks or outcome.score.keys() != record.score.keys():
        return False
    pairs = [
        *zip(outcome.totals, record.totals, strict=True),
        *((outcome.score[k], record.score[k]) for k in record.score),
    ]
    return any(a != b for a, b in pairs) and all(abs(a - b) <= TOLERANCE * max(1.0, abs(b)) for a, b in pairs)


def _agents(
    stage: Stage, cells: dict[str, Cell], records: list[EpisodeRecord], run: RunFolder, result: Verified
) -> None:
    """Ask the agents again: deterministic ones are computed, models are read from the cassette."""
    by_cell: dict[str, list[EpisodeRecord]] = {}
    for record in records:
        by_cell.setdefault(record.cell, []).append(record)
    forked = {c.name for c in run.cells() if "fork" in c.extra and not c.extra["fork"]["call"]}
    for key, found in by_cell.items():
        cell = cells[key]
        if why := "a move was given by hand in a fork" if key in forked else _opaque(stage, cell):
            result.recorded_only[key] = why
            continue
        if by_hand := [r for r in found if _handed_over(run, r)]:
            result.recorded_only[key] = f"a seat was handed over by hand in {len(by_hand)} of {len(found)} episodes"
            found = [r for r in found if r not in by_hand]
        wanted = {(r.block, r.replicate): r for r in found}
        for at, outcome in _again(stage, cell, found, run):
            record = wanted[at.block, at.replicate]
            result.reexecuted += 1
            what = _difference(record, run.events(record.id), outcome)
            if not what and outcome.mind != record.mind:
                what = "what happened inside the seats differs (mind chain)"
            if what:
                result.findings.append(Finding(_name(record.id), key, f"block {record.block}: asked again, {what}"))


def _handed_over(run: RunFolder, record: EpisodeRecord) -> bool:
    """Whether somebody else than the lineup says took a seat in the middle of an episode."""
    if not any("handoffs" in counts for counts in record.counts.values()):  # relays count theirs too, inside a seat
        return False
    return any(e.kind == "seat" and e.origin == "handoff" for e in run.events(record.id))


def _opaque(stage: Stage, cell: Cell) -> str:
    """Why a cell's agents cannot be asked again, or ""."""
    for name in cell.seats:
        spec = stage.study.agents[name]
        if spec.type.startswith("python:") and not stage.trust:
            return f"{name} is code of its own; --trust asks it again"
        try:
            agent = stage.agent(name)
        except NeedsTrust as error:
            return str(error)
        if not (agent.deterministic or agent.replays):
            return f"{name} ({agent.kind}) can only be replayed"
    return ""


def _again(stage: Stage, cell: Cell, records: list[EpisodeRecord], run: RunFolder) -> Iterator[tuple[Block, Outcome]]:
    ats = [Block(r.root, r.block, r.replicate) for r in records]
    if not waits(stage, cell):
        for record in play_chunk(stage, Chunk(cell.key, tuple(ats))):
            at = Block(record.root, record.block, record.replicate)
            yield (
                at,
                Outcome(
                    record.status,
                    record.score,
                    tuple(record.totals),
                    record.ticks,
                    record.world,
                    record.mind,
                    record.counts,
                    [tuple(e) for e in record.events],
                    record.detail,
                ),
            )
        return
    for at, record in zip(ats, records, strict=True):
        env = stage.env(cell.env)
        lineup = stage.lineup(cell)
        if env.clock != "wait":
            env.clock = "wait"  # a miss is a recorded fact, served again; the id keeps the clock of the run
            env._id = record.env_id  # type: ignore[attr-defined]
            lineup = _in_time(lineup, recorded(run.events(record.id), env.seats))
        yield at, asyncio.run(aio(play(env, lineup, at, stage.conduct(cell))))
        env.close()


def _in_time(lineup: Lineup, record: Lineup) -> Lineup:
    """The lineup, asked wherever the record says that it answered in time."""
    one = {id(agent): InTime(agent, record.seats) for agent in lineup.seats.values()}  # seats may share its memory
    return Lineup({s: one[id(agent)] for s, agent in lineup.seats.items()}, lineup.shared_memory, lineup.name)


class InTime(Agent):
    """Asks an agent again, but for the ticks at which the record says that its time was over."""

    def __init__(self, agent: Agent, record: Mapping[str, Agent]) -> None:
        self.agent, self.record = agent, record
        self.name, self.views, self.kind, self.deterministic = agent.name, agent.views, agent.kind, agent.deterministic

    def begin(self, obs: Observation) -> Any:
        """As the agent begins."""
        return self.agent.begin(obs)

    async def act(self, obs: Observation) -> Any:
        """The recorded miss, or the agent's answer."""
        then = self.record[obs.seat].act(obs)
        if isinstance(then, Fault) and then.kind == "timeout":
            return then
        if isinstance(then, Action) and isinstance(then.value, Held):
            return then
        batch = getattr(self.agent, "act_batch", None)
        answer = batch([obs])[0] if batch is not None else self.agent.act(obs)
        return await answer if inspect.isawaitable(answer) else answer

    def end(self, obs: Observation) -> Any:
        """As the agent ends."""
        return self.agent.end(obs)
