"""What a room leaves on disk: its study and run folder, made as the study runner makes them, and what it needs to go on after a kill.

RUN/room/state.json: who may sit where (hashes of tokens), what was agreed to, how far it is. RUN/room/snapshot: the
episode that is being played, as the engine resumes it. Both are written beside and moved in place.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from crossplay.kernel import Block, CrossplayError, entries, load, make_env, nearest, split_name
from crossplay.kernel.conduct import parse_clock
from crossplay.models.catalog import known as known_models
from crossplay.records import RunFolder
from crossplay.study.plain import ONLY, Problem, agent_problems, env_problems
from crossplay.study.runner import open_run
from crossplay.study.spec import Cell, EnvSpec, Study, parse_study
from crossplay.study.stage import Stage
from crossplay.study.templates import expert_of
from crossplay.web.desk import Conflict, Forbidden
from crossplay.web.play.seats import Person

__all__ = [
    "FOLDER",
    "PERSON",
    "SEATED",
    "Game",
    "Keeper",
    "Kept",
    "Play",
    "RoomSpec",
    "Shelved",
    "allowed",
    "allowed_env",
    "game_of",
    "installed",
    "name_for",
    "new_game",
    "reopened",
    "study_of",
    "unfinished",
    "warm",
]

PERSON = "person"
"""The name of the agent of all seats for people, and the word that says so in a `RoomSpec`."""
FOLDER = "room"
REFUSED = ("python", "worker", "open", "person", "human", "a2a")
"""Types that run code, start processes, ask other machines or need a terminal."""
SEATED = ("open", "person")
"""Types whose seats people take here: those of rooms, and those of studies with participants."""
CLOCKS = {"deadline": (0.01, 86_400.0), "tick": (0.01, 60.0)}
"""Seconds, and ticks a second, that a room may have."""
LONGEST = 20_000  # characters of a consent text


class RoomSpec(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a room plays, and with whom.

    environment: its name, e.g. "kitchen/cramped_room"; options: of it. clock: "wait", "deadline:SECONDS" or
    "tick:HZ" (another environment id). seats: seat -> "person", the type of an installed agent ("chef"), or a table
    {"type": ..., options}; a seat that is left out gets the environment's expert, or random. block, root: which
    start; episodes: how many games, in blocks that follow. study: the name of the run. title, consent: shown in the waiting room;
    where there is a text of consent, everybody agrees to it before play. conduct: what is served when an answer is
    late or wrong, as in a study file. blind: people are not told which agents play beside them. countdown_s: between the last one's "ready" and the first tick (default: 3 at
    the clock tick, else 0). takeover: who may take a seat from an agent: "owner", or "people" with a link of the room.
    """

    environment: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    options: dict[str, Any] = {}
    clock: Annotated[str, msgspec.Meta(max_length=40)] = "wait"
    seats: dict[str, str | dict[str, Any]] = {}
    block: Annotated[int, msgspec.Meta(ge=0, le=1 << 40)] | Annotated[str, msgspec.Meta(max_length=200)] = 0
    root: Annotated[int, msgspec.Meta(ge=-(1 << 62), le=1 << 62)] = 0
    episodes: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1
    study: Annotated[str, msgspec.Meta(max_length=100)] = ""
    title: Annotated[str, msgspec.Meta(max_length=200)] = ""
    consent: Annotated[str, msgspec.Meta(max_length=LONGEST)] = ""
    conduct: dict[str, Any] = {}
    blind: bool = False
    countdown_s: Annotated[float, msgspec.Meta(ge=0, le=60)] | None = None
    takeover: Literal["owner", "people"] = "owner"


class Play(msgspec.Struct):
    """One episode of a room: a cell of its study in a block. extra: kept with the episode, e.g. the participant."""

    cell: Cell
    at: Block
    attempt: int = 0
    extra: dict[str, Any] = {}


class Game(msgspec.Struct):
    """What a room plays: the episodes, one after the other, of a study whose run is open for writing.

    own: whether the room closes run and stage when it is over.
    """

    stage: Stage
    run: RunFolder
    plays: list[Play]
    own: bool = True


# -- what may sit in a room --------------------------------------------------------------------------------
def allowed(given: str | Mapping[str, Any], where: str) -> dict[str, Any]:
    """The table of an agent that may play in a room; `Forbidden` for what runs code, calls out, reads files or is no model of here."""
    table = {"type": given} if isinstance(given, str) else dict(given)
    for text in _texts(table):
        family, rest = split_name(text)
        if family in REFUSED and (family in entries("agents")):
            raise Forbidden(f"{where}: {family} agents start from the command line only, never from a page")
        if family in ("llm", "vlm") and rest not in known_models():
            raise Forbidden(f'{where}: "{rest}" is no model of this machine.{nearest(rest, known_models())}')
    for name in _keys(table):
        if name in ("path", "tools", "command", "url", "model", "models"):
            raise Forbidden(f'{where}: the option "{name}" cannot be given from a page')
    kind = table.get("type", "")
    if not isinstance(kind, str) or split_name(kind)[0] not in entries("agents"):
        raise CrossplayError(f"{where}: unknown type {kind!r}.{nearest(str(kind), installed())}")
    _refuse(agent_problems(table), where)
    return table


def allowed_env(name: str, options: Mapping[str, Any] | None = None) -> None:
    """Raise `Forbidden` for environments that are code, files or addresses, `CrossplayError` for unknown names and options."""
    family, _ = split_name(name)
    if family not in entries("envs"):
        raise CrossplayError(f'unknown environment "{name[:80]}".{nearest(family, entries("envs"))}')
    _refuse(env_problems(EnvSpec(name, dict(options or {}))), name[:80])


def _refuse(problems: Sequence[Problem], where: str) -> None:
    """Raise the first of the problems of something that was named from elsewhere."""
    for problem in problems:
        place = ".".join(map(str, problem.place))
        said = f"{where}: {f'{place}: ' if place else ''}{problem.text}"[:600]
        if problem.refused:
            raise Forbidden(f"{said.removesuffix(ONLY)}it is used from the command line only, never from a page")
        raise CrossplayError(said)


def installed() -> list[str]:
    """Families of agents that may be named in a room."""
    return [n for n in entries("agents") if n not in REFUSED and hasattr(load("agents", n, "agent"), "plain")]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _texts(item)


def _keys(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        yield from (str(k) for k in value)
        for item in value.values():
            yield from _keys(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _keys(item)


# -- the study of a room -----------------------------------------------------------------------------------
def study_of(spec: RoomSpec, seats: tuple[str, ...], expert: str) -> Study:
    """The study that a room plays: one lineup, its blocks, no controls.

    seats: of the environment. expert: the type that fills seats which are not named.
    """
    for seat in spec.seats:
        if seat not in seats:
            raise CrossplayError(f'seats: {spec.environment} has no seat "{seat[:40]}".{nearest(seat, seats)}')
    kind, speed = parse_clock(spec.clock)
    slowest, fastest = CLOCKS.get(kind, (0.0, 0.0))
    if not slowest <= speed <= fastest:
        raise CrossplayError(f'clock "{spec.clock}": in rooms it is wait, deadline:0.01 to 86400, or tick:0.01 to 60')
    if isinstance(spec.block, str) and spec.episodes > 1:
        raise CrossplayError(f'block = "{spec.block[:40]}" names one block: episodes must be 1')
    agents: dict[str, Any] = {}
    filled = []
    for seat in seats:
        given = spec.seats.get(seat, expert)
        if given == PERSON:
            agents[PERSON] = {"type": "open", "kind": "human", "views": ["image", "text", "data"]}
            filled.append(PERSON)
            continue
        table = allowed(given, f"seats.{seat}")
        name = name_for(table, agents)
        agents[name] = table
        filled.append(name)
    first = spec.block
    blocks = [first] if isinstance(first, str) else list(range(first, first + spec.episodes))
    return parse_study(
        {
            "study": {
                "name": spec.study or "play-" + slug(spec.environment),
                "root": spec.root,
                "blocks": blocks,
            },
            "environments": {
                spec.environment: {"name": spec.environment, "clock": spec.clock, "options": spec.options}
            },
            "agents": agents,
            "lineups": {"+".join(filled): {"seats": filled}},
            "controls": {"floor": False, "ceiling": False, "zero_message": False, "equal_cost": False},
            "conduct": spec.conduct,
        }
    )


def name_for(table: Mapping[str, Any], taken: Mapping[str, Any]) -> str:
    """The name of an agent: its type, numbered where another table of that type has the name already. taken: name -> table."""
    first = found = str(table["type"]).replace("+", "-")
    k = 2
    while found == PERSON or (found in taken and taken[found] != table):
        found, k = f"{first}-{k}", k + 1
    return found


def slug(name: str) -> str:
    """A name that a folder can have."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "-_") else "-" for c in name)[:80].strip("-") or "study"


def free_folder(root: Path, name: str) -> Path:
    """A new folder below `root`: the name, or name-2, name-3 ...; nobody else is given the same one."""
    if (root / "manifest.sqlite").is_file():
        raise Conflict("one run is served here; serve a folder of runs to play")
    found, k = root / slug(name), 2
    while True:
        with contextlib.suppress(FileExistsError):
            found.mkdir()
            return found
        found, k = root / f"{slug(name)}-{k}", k + 1


def new_game(root: Path, spec: RoomSpec) -> Game:
    """The game of a new room in a folder of its own; what cannot be made leaves none. Blocks: call it in a thread."""
    allowed_env(spec.environment, spec.options)
    try:
        probe = make_env(spec.environment, spec.options, spec.clock)
        try:
            seats = probe.seats
        finally:
            probe.close()
        study = study_of(spec, seats, expert_of(spec.environment) or "random")
        folder = free_folder(root, study.name)
        try:
            return game_of(study, folder)
        except BaseException:
            with contextlib.suppress(OSError):
                folder.rmdir()
            raise
    except (CrossplayError, OSError):
        raise
    except Exception as error:  # worlds of others say in their own way that an option is wrong
        raise CrossplayError(f"{spec.environment}: {type(error).__name__}: {error}"[:500]) from error


def game_of(study: Study, folder: Path) -> Game:
    """The run of a room's study, new or gone on with, and the episodes that are left. Blocks: call it in a thread."""
    stage = Stage(study, folder)
    try:
        for name, spec in stage.study.agents.items():
            if spec.type == "open":
                stage.fill(name, Person(name))
        stage.check()
        warm(stage)
        run = open_run(stage, folder)
    except BaseException:
        stage.close()
        raise
    done, tried = run.done(), run.attempts()
    plays = [
        Play(cell, Block(stage.study.root, block, replicate), tried.get((cell.key, block, replicate), 0))
        for cell in stage.cells
        for block in cell.blocks
        for replicate in range(stage.study.replicates)
        if (cell.key, block, replicate) not in done
    ]
    return Game(stage, run, plays)


def warm(stage: Stage) -> None:
    """One step and one picture of each environment, so that what is compiled or loaded at first use stalls no tick."""
    for label in stage.probes:
        env = stage.env(label)
        with contextlib.suppress(Exception):  # what fails here fails in the episode, where it is told
            env.start(Block())
            for seat in env.to_act():
                env.view(seat, "image" if "image" in env.views else "text")
            draws = {s: env.spec(s).draw(b"\0" * 16, 0, env.legal(s)) for s in env.to_act()}
            env.step({s: env.spec(s).check(v, env.legal(s)) for s, v in draws.items()}, [])
            env.fingerprint()
        env.close()


# -- going on after a kill ---------------------------------------------------------------------------------
class KeptSeat(msgspec.Struct):
    """What is kept of a seat: the hash of its token, and what was said in the waiting room. Nothing about who.

    stands_in: the agent (as a table) that plays in the place of its person, {} where none does.
    """

    token: str = ""
    taken: bool = False
    ready: bool = False
    consent: bool = False
    stands_in: dict[str, Any] = {}


class Kept(msgspec.Struct):
    """The state of a room on disk. status: "open", or "over" when nothing is left to resume. order: counts what was kept."""

    room: str
    spec: RoomSpec
    seats: dict[str, KeptSeat]
    status: str = "open"
    order: int = 0
    format: int = 1


class Shelved(msgspec.Struct):
    """The episode that is being played: which, the engine's snapshot, who sits there.

    sat: seat -> the name of the agent that sat there, "" a person. taken: the same in an older format, the seats of agents in which
    people sat. resumed: how often it was gone on with before.
    """

    cell: str
    root: int
    block: int | str
    replicate: int
    attempt: int
    episode: int
    tick: int
    snapshot: bytes
    taken: list[str] = []
    sat: dict[str, str] = {}
    resumed: int = 0
    format: int = 1


class Keeper:
    """Writes state and snapshots of one room; from any thread, one at a time. What is older than what stands there is not written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / FOLDER
        self._lock = threading.Lock()
        self._order, self._moment = -1, (-1, -1)

    def write(self, kept: Kept, shelved: Shelved | None) -> None:
        """Keep the state and, where there is one, a newer snapshot. On disk when this returns."""
        with self._lock:
            self.folder.mkdir(parents=True, exist_ok=True)
            if shelved is not None and (moment := (shelved.episode, shelved.tick)) >= self._moment:
                self._put("snapshot", msgspec.msgpack.encode(shelved))
                self._moment = moment
            if kept.order > self._order:
                self._put("state.json", msgspec.json.format(msgspec.json.encode(kept), indent=1))
                self._order = kept.order

    def _put(self, name: str, content: bytes) -> None:
        path = self.folder / name
        with path.with_suffix(".tmp").open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        path.with_suffix(".tmp").replace(path)

    def clear(self) -> None:
        """The episode of the snapshot is over; none of it is written any more."""
        with self._lock:
            self._moment = (self._moment[0] + 1, -1)
            (self.folder / "snapshot").unlink(missing_ok=True)


def unfinished(folder: Path) -> Kept | None:
    """What a run folder keeps of a room that is not over; None where there is none."""
    try:
        kept = msgspec.json.decode((folder / FOLDER / "state.json").read_bytes(), type=Kept)
    except (OSError, msgspec.MsgspecError):
        return None
    return kept if kept.status == "open" else None


def reopened(folder: Path) -> tuple[Game, Shelved | None]:
    """The game of a room that was cut off, and the episode it was in. Blocks: call it in a thread.

    A run is data: what could not be named in a new room cannot be named by it either.
    """
    import tomllib

    study = parse_study(tomllib.loads((folder / "study.toml").read_text("utf-8")))
    if study.models or study.cassette:
        raise Forbidden(f"{folder.name}: it names models or a cassette; no room does")
    for env in study.environments.values():
        allowed_env(env.name, env.options)
    for name, spec in study.agents.items():
        if spec.type != "open":
            allowed({"type": spec.type, **spec.options}, f"agents.{name}")
    game = game_of(study, folder)
    try:
        content = (folder / FOLDER / "snapshot").read_bytes()
    except OSError:
        return game, None
    try:
        found = msgspec.msgpack.decode(content, type=Shelved)
    except msgspec.MsgspecError as error:
        game.stage.close()
        game.run.close()
        raise CrossplayError(
            f"{folder.name}/{FOLDER}/snapshot is damaged ({error}); remove it, and the episode begins anew"
        ) from error
    first = game.plays[0] if game.plays else None
    if first is None or (found.cell, found.block, found.replicate, found.attempt) != (
        first.cell.key,
        first.at.block,
        first.at.replicate,
        first.attempt,
    ):
        return game, None  # of an episode that was committed when the server was killed
    return game, found
