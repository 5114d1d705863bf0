"""What if: a recorded episode is replayed to a step, one answer there is replaced, and it goes on live.

Before the step everything is as recorded and nothing is sent; after it agents are asked anew. Only
installed entry points that are the very ones of the run are loaded, and what a run names beside
them (code, files, endpoints, keys) only where the command line trusts it. See `fork`.
"""

from __future__ import annotations

import asyncio
import inspect
import shutil
import time
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from crossplay.kernel import (
    Action,
    ActionSpec,
    Agent,
    Block,
    CrossplayError,
    Event,
    Fault,
    Held,
    Invalid,
    Lineup,
    Observation,
    Outcome,
    aio,
    nearest,
    play,
    recorded,
    unpack,
)
from crossplay.records import EpisodeRecord, RunFolder
from crossplay.records.entry import to_json
from crossplay.records.identity import machine
from crossplay.study.chunks import record_of
from crossplay.study.frames import find_episode
from crossplay.study.runner import identity, stored_cell
from crossplay.study.spec import Cell, parse_study
from crossplay.study.stage import Stage
from crossplay.wire import is_loopback

if TYPE_CHECKING:
    from crossplay.records.cassette import Call

__all__ = ["Forked", "Step", "fork"]

NAMED = ("file", "path", "command", "key_env")
"""Options of a model that name something outside: never followed from a run alone."""


class Step(msgspec.Struct, frozen=True):
    """Where an answer is replaced: a seat's move at a tick, or, with a call, one call inside it."""

    tick: int
    seat: str
    path: tuple[int, ...] = ()
    call: str = ""
    who: str = ""

    def __str__(self) -> str:
        return "/".join(map(str, (self.tick, self.seat, *self.path)))


class Forked(msgspec.Struct):
    """Both sides of a fork: the episode as it was, and as it went on.

    then, now: what an answer, the moves and the end of each were; moves: by tick from the step on,
    (tick, moves then, moves now). parted: the first tick whose moves differ, or None.
    """

    step: Step
    text: str
    folder: Path
    parent: EpisodeRecord
    child: EpisodeRecord
    said_then: str
    moves: list[tuple[int, dict[str, str], dict[str, str]]]
    parted: int | None


def fork(folder: Path, asked: str, text: str, out: Path, *, trust: bool = False) -> Forked:
    """Fork an episode: EPISODE:TICK, EPISODE:TICK/SEAT or EPISODE:TICK/SEAT/PATH (a call inside a seat).

    EPISODE: as in `find_episode`. text: the answer that takes the place of the recorded one: a model's
    words, a tool's result (JSON or text), or, where the seat asked nobody, the move itself. out: the
    new run folder, which names its parent. Several calls at one place are told apart by #1, #2, ...

    Raises CrossplayError when the step is not in the episode, when what is installed is not what
    played, or when the replay leaves the record before the step; Stop when a model cannot be asked.
    """
    episode, colon, where = asked.rpartition(":")
    if not colon:
        raise CrossplayError(
            f'--fork "{asked}": expected EPISODE:STEP, where STEP is TICK, TICK/SEAT or TICK/SEAT/PATH'
        )
    if RunFolder.begun(out):
        raise CrossplayError(f"{out}: holds a run already; name a new folder")
    run = RunFolder.open(folder)
    with run:
        digest = run.study_digest
        record = find_episode(run, parse_study(tomllib.loads(run.studies()[digest])), episode)
        if record.status in ("void", "env-fault"):
            raise CrossplayError(f"episode {record.id:016x} ended in {record.status}; there is nothing to go on from")
        source = run.sources()[record.source]
        study = parse_study(tomllib.loads(run.studies()[source["study"]]))
        stage = Stage(study, trust=trust, only={record.cell})
        cell = _cell(stage, record)
        if not trust:
            _check_models(study.models)
            _check_source(source)
        events = run.events(record.id)
        step = find_step(events, stage.seats[cell.env], where)
        fresh = not out.exists()
        door = _door(stage, run, step, text, out)
        try:
            _check_agents(stage, cell, source)
            return _play(stage, cell, run, record, events, step, text, out, source["study"])
        finally:
            stage.close()
            door.cassette.fork.base.close()
            if fresh and not RunFolder.begun(out):
                _clear(out)


def _clear(out: Path) -> None:
    """Remove what a refused fork made, unless it holds calls: those are there for the next try."""
    from crossplay.records.cassette import Cassette

    with Cassette(out / "cassette", "strict") as kept:
        held = len(kept)
    if not held:
        shutil.rmtree(out)


# -- where ---------------------------------------------------------------------------------------------
def find_step(events: Sequence[Event], seats: Sequence[str], text: str) -> Step:
    """The step that a text names, or an error that lists what there is."""
    place, _, number = text.partition("#")
    first, *rest = place.split("/")
    if not first.isdigit() or (number and not number.isdigit()):
        raise CrossplayError(f'step "{text}": expected TICK, TICK/SEAT or TICK/SEAT/PATH, such as 3/{seats[0]}')
    tick = int(first)
    acted = [e for e in events if e.tick == tick and e.kind in ("act", "fault") and e.seat < len(seats)]
    if not acted:
        last = max(e.tick for e in events if e.kind in ("act", "fault", "step"))
        raise CrossplayError(f'step "{text}": nobody was asked at tick {tick}; the episode has the ticks 0 to {last}')
    there = list(dict.fromkeys(seats[e.seat] for e in acted))
    seat = rest.pop(0) if rest and not _is_path(rest[:1]) else ""
    if seat and seat not in there:
        raise CrossplayError(f'step "{text}": seat "{seat}" was not asked at tick {tick}.{nearest(seat, there)}')
    if not seat and len(there) > 1:
        raise CrossplayError(f'step "{text}": several seats were asked; say {_listed(f"{tick}/{s}" for s in there)}')
    seat = seat or there[0]
    if not _is_path(rest):
        raise CrossplayError(f'step "{text}": a path is made of whole numbers, got "{"/".join(rest)}"')
    return _call_at(
        events, seats.index(seat), Step(tick, seat, tuple(map(int, rest))), bool(rest), int(number or 0), text
    )


def _call_at(events: Sequence[Event], seat: int, step: Step, exact: bool, number: int, text: str) -> Step:
    """The step with the call that it means, where the seat called anybody."""
    notes = [
        (tuple(e.path), unpack(e.note))
        for e in events
        if e.tick == step.tick and e.seat == seat and e.kind in ("model", "tool") and e.note
    ]
    calls = [(path, n) for path, n in notes if isinstance(n, Mapping) and n.get("call") and "embedded" not in n]
    here = [c for c in calls if c[0] == step.path] if exact else calls
    if not exact and not calls:
        return step
    if not here or (len(here) > 1 and not number) or number > len(here):
        known: list[str] = []
        for path, _ in calls:
            name = str(msgspec.structs.replace(step, path=path))
            known.append(name + (f"#{1 + sum(k.partition('#')[0] == name for k in known)}"))
        what = "no call" if not here else "several calls" if not number else f"no call {number}"
        raise CrossplayError(f'step "{text}": {what} there; this seat made {_listed(known) or "none"} at this tick')
    path, note = here[max(0, number - 1)]
    who = next(
        f"{kind}{note[name]}"
        for name, kind in (("model", ""), ("tool", "tool:"), ("person", "person:"))
        if name in note
    )
    return msgspec.structs.replace(step, path=path, call=note["call"], who=who)


def _is_path(parts: Sequence[str]) -> bool:
    return all(p.isdigit() for p in parts)


def _listed(names: Any, most: int = 12) -> str:
    found = list(names)
    return ", ".join(found[:most]) + (f", ... ({len(found)})" if len(found) > most else "")


# -- trust ---------------------------------------------------------------------------------------------
def _check_models(models: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse models by which a run could reach something outside: endpoints, files, keys."""
    from crossplay.models.catalog import known

    for name, table in models.items():
        far = [
            f"{option} = {str(table[option])!r}" for option in NAMED if table.get(option) not in (None, "", *known())
        ]
        if _far(str(table.get("url", ""))):
            far.insert(0, f"url = {str(table['url'])!r}")
        if far:
            raise CrossplayError(f"models.{name}: the run names {far[0]}; add --trust to use it from this command line")


def _far(url: str) -> bool:
    """Whether an address is not on this machine."""
    host = urlsplit(url).hostname
    return host is not None and not is_loopback(host)


def _check_source(source: Mapping[str, Any]) -> None:
    """The release that played must be the one that goes on."""
    here = machine()["crossplay"]
    if source.get("crossplay") != here:
        raise CrossplayError(
            f"the episode was played by crossplay {source.get('crossplay')}, this is {here}; add --trust to go on with it"
        )


def _check_agents(stage: Stage, cell: Cell, source: Mapping[str, Any]) -> None:
    """The agents must be those that played: equal in all that a run keeps of them."""
    for name in dict.fromkeys(cell.seats):
        then, now = source.get("agents", {}).get(name, {}), stage.agent(name).manifest()
        if fields := [k for k in now if to_json(then.get(k)) != to_json(now[k])]:
            raise CrossplayError(
                f"agents.{name}: what is installed here is not what played (it differs in {', '.join(fields)}), "
                "so the episode cannot be replayed up to the step"
            )
        for model in now.get("models", ()) if not stage.trust else ():
            if _far(model):
                raise CrossplayError(
                    f"agents.{name}: the run names {model!r}; add --trust to use it from this command line"
                )


def _cell(stage: Stage, record: EpisodeRecord) -> Cell:
    cell = next((c for c in stage.cells if c.key == record.cell), None)
    if cell is None:
        raise CrossplayError(f"the run has a cell that its study does not name: {record.cell}")
    here = stage.probes[cell.env].id
    if here != record.env_id:
        raise CrossplayError(f"the episode was played in {record.env_id}; what is installed here is {here}")
    return cell


def _door(stage: Stage, run: RunFolder, step: Step, text: str, out: Path) -> Any:
    """The door of a fork: the parent's cassette up to the step, the new run's from there on."""
    from crossplay.models import Door
    from crossplay.models.door import given
    from crossplay.records.cassette import Cassette, Fork

    there = run.cassette_path.is_file()
    base = Cassette(run.cassette_path, "strict") if there else Cassette(None)
    at = Fork(base, step.tick)
    if step.call:
        row = base.get(bytes.fromhex(step.call))
        if row is None:
            raise CrossplayError(f"{run.path}: the cassette does not hold the call {step.call} of step {step}")
        call: Call = row.call
        at = Fork(base, step.tick, step.seat, tuple(call.address[6]), call.key, given(step.who, text))
    door = Door(stage.study.models, Cassette(out / "cassette", "fork", fork=at))
    stage.use(door)
    return door


# -- playing -------------------------------------------------------------------------------------------
def _play(
    stage: Stage,
    cell: Cell,
    run: RunFolder,
    record: EpisodeRecord,
    events: list[Event],
    step: Step,
    text: str,
    out: Path,
    parent: str,
) -> Forked:
    env = stage.env(cell.env)
    env.clock = "wait"  # nobody is hurried after the step; misses before it are served as recorded
    env._id = record.env_id  # type: ignore[attr-defined]
    at = Block(record.root, record.block, record.replicate)
    given = None if step.call else (step.seat, value_of(env.spec(step.seat), text))
    lineup = _until(stage.lineup(cell), recorded(events, env.seats), step.tick, given)
    began = time.perf_counter()
    outcome = asyncio.run(_finish(stage, play(env, lineup, at, stage.conduct(cell))))
    wall = time.perf_counter() - began
    _check_prefix(events, outcome, step)
    about = {
        "run": run.path.name,
        "study": parent,
        "episode": f"{record.id:016x}",
        "world": record.world.hex(),
        "step": str(step),
        "call": step.call,
        "with": text,
    }
    child = _write(stage, cell, at, outcome, wall, out, about)
    now = [Event(*e) for e in outcome.events]
    names = {s: env.spec(s) for s in env.seats}
    moves = _both(_moves(events, names), _moves(now, names), step.tick)
    parted = next((t for t, a, b in moves if a != b), None)
    env.close()
    return Forked(step, text, out, record, child, _said(events, env.seats, step), moves, parted)


async def _finish(stage: Stage, episode: Any) -> Outcome:
    """Play, then settle what is still in flight, so that the cassette is closed before the run."""
    try:
        return await aio(episode)
    finally:
        await stage.aclose()


def _until(lineup: Lineup, record: Lineup, tick: int, given: tuple[str, Any] | None) -> Lineup:
    """The lineup that answers as recorded up to a tick. Seats that share a memory go on sharing it."""
    one = {id(agent): Until(agent, record.seats, tick, given) for agent in lineup.seats.values()}
    return Lineup({s: one[id(agent)] for s, agent in lineup.seats.items()}, lineup.shared_memory, lineup.name)


class Until(Agent):
    """An agent that is asked again up to a tick where it can only repeat itself (it computes, or its
    models are read from the cassette), and answers by the record where it might not (people, outside).
    """

    def __init__(self, agent: Agent, record: Mapping[str, Agent], tick: int, given: tuple[str, Any] | None) -> None:
        self.agent, self.record, self.tick, self.given = agent, record, tick, given
        self.name, self.views, self.kind, self.deterministic = agent.name, agent.views, agent.kind, agent.deterministic
        self.repeats = agent.deterministic or _readable(agent.manifest())

    def begin(self, obs: Observation) -> Any:
        """As the agent begins."""
        return self.agent.begin(obs)

    async def act(self, obs: Observation) -> Any:
        """The recorded answer, the given one, or the agent's."""
        given = self.given is not None and (obs.seat, obs.tick) == (self.given[0], self.tick)
        then = self.record[obs.seat].act(obs) if obs.tick <= self.tick else None
        if then is not None and not given and (not self.repeats or _missed(then)):
            return then
        answer = await self._ask(obs) if self.repeats or not given else None
        if not given or self.given is None:
            return answer
        obs.count("given_answers")
        return Action(self.given[1], memo=answer.memo if isinstance(answer, Action) else None)

    async def _ask(self, obs: Observation) -> Any:
        batch = getattr(self.agent, "act_batch", None)
        answer = batch([obs])[0] if batch is not None else self.agent.act(obs)
        return await answer if inspect.isawaitable(answer) else answer

    def end(self, obs: Observation) -> Any:
        """As the agent ends."""
        return self.agent.end(obs)


def _readable(manifest: Mapping[str, Any]) -> bool:
    """Whether all that an agent asks stands in the cassette: models, and no person or outsider among members."""
    members = manifest.get("members", {})
    inside = members.values() if isinstance(members, Mapping) else ()
    outside = manifest.get("kind") in ("human", "remote", "open")
    return not outside and bool(manifest.get("models")) and all(_computed(m) or _readable(m) for m in inside)


def _computed(manifest: Mapping[str, Any]) -> bool:
    """Whether a member asks nobody."""
    return not manifest.get("models") and manifest.get("kind") not in ("human", "remote", "open")


def _missed(then: Any) -> bool:
    """Whether an answer was late: its time is over in the replay as well."""
    return (isinstance(then, Fault) and then.kind == "timeout") or (
        isinstance(then, Action) and isinstance(then.value, Held)
    )


def value_of(spec: ActionSpec, text: str) -> Any:
    """The action that a text means: a name, an index, JSON, or the text itself."""
    value: Any = text
    if spec.kind != "text" and text not in spec.names:
        try:
            value = msgspec.json.decode(text)
        except msgspec.DecodeError:
            value = text
    try:
        return spec.check(value)
    except Invalid as error:
        hint = nearest(text, spec.names) if spec.kind == "names" else ""
        raise CrossplayError(f'--with "{text}": {error}.{hint}') from None


def _check_prefix(events: Sequence[Event], outcome: Outcome, step: Step) -> None:
    """Raise unless the replay came to the step as the record did."""
    then = {e.tick: (e.fingerprint, tuple(e.rewards or ())) for e in events if e.kind == "step"}
    now = {
        e.tick: (e.fingerprint, tuple(e.rewards or ())) for e in map(Event._make, outcome.events) if e.kind == "step"
    }
    for tick in range(step.tick):
        if then.get(tick) != now.get(tick):
            raise CrossplayError(
                f"the replay leaves the record at tick {tick}, before step {step}; crossplay verify says more"
            )


def _write(
    stage: Stage, cell: Cell, at: Block, outcome: Outcome, wall: float, out: Path, about: dict[str, Any]
) -> EpisodeRecord:
    """The new run: one episode, and what it was forked from."""
    study = stage.study
    stage.study = msgspec.structs.replace(
        study, name=f"{study.name}-fork", blocks=[at.block], replicates=at.replicate + 1, base=study.base
    )
    stored = stored_cell(stage, cell)
    with RunFolder.create(out, stage.study.toml(), {**identity(stage), "fork": about}) as run:
        run.add_cells([msgspec.structs.replace(stored, extra={**stored.extra, "fork": about})])
        record = record_of(stage, cell, at, outcome, 0, wall)
        run.put_many([record])
    return record


# -- side by side --------------------------------------------------------------------------------------
def _moves(events: Sequence[Event], specs: Mapping[str, ActionSpec]) -> dict[int, dict[str, str]]:
    """What each seat did at each tick."""
    seats = list(specs)
    found: dict[int, dict[str, str]] = {}
    for e in events:
        if e.kind == "act" and e.seat < len(seats):
            found.setdefault(e.tick, {})[seats[e.seat]] = _shown(e, specs[seats[e.seat]])
    return found


def _shown(e: Event, spec: ActionSpec) -> str:
    value = unpack(e.payload) if e.payload is not None else e.value
    shown = spec.names[value] if spec.kind == "names" and isinstance(value, int) else str(value)
    return " ".join(shown.split()) + ("" if e.origin == "own" else f" ({e.origin})")


def _both(
    then: Mapping[int, dict[str, str]], now: Mapping[int, dict[str, str]], tick: int
) -> list[tuple[int, dict[str, str], dict[str, str]]]:
    return [(t, then.get(t, {}), now.get(t, {})) for t in sorted({*then, *now}) if t >= tick]


def _said(events: Sequence[Event], seats: Sequence[str], step: Step) -> str:
    """The recorded answer that was replaced."""
    for e in events:
        if e.tick != step.tick or e.seat >= len(seats) or seats[e.seat] != step.seat:
            continue
        note = unpack(e.note) if e.note else None
        if step.call and isinstance(note, Mapping) and note.get("call") == step.call:
            return str(note.get("text", note.get("result", "")))
    return ""
