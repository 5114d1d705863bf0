"""`Study`: what a study file says, checked key by key.

Errors name the file, the key and the nearest valid value. The resolved study (templates
expanded, defaults written out) is what a run stores and what its digest names.
"""

from __future__ import annotations

import math
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from crossplay.kernel import Channel, Conduct, CrossplayError, nearest
from crossplay.records.entry import study_digest
from crossplay.study.people import People, blocks_of, read_people

__all__ = ["AgentSpec", "Cell", "Controls", "EnvSpec", "LineupSpec", "Question", "Study", "load_study", "parse_study"]


MOST = 1_000_000
"""Blocks of a study, and replicates: more are a mistake, and would only fill the memory of whoever reads it."""
ORDERS = 50_000
"""Seat orders of a lineup."""


class EnvSpec(msgspec.Struct):
    """An environment of the study: registered name, options, clock."""

    name: str
    options: dict[str, Any] = {}
    clock: str = "wait"


class AgentSpec(msgspec.Struct):
    """An agent of the study: entry-point type and its options."""

    type: str
    options: dict[str, Any] = {}


class LineupSpec(msgspec.Struct):
    """Which agent fills which seat, in seat order.

    orders: "given" or "all" (every distinct seat order is a lineup of its own; the table shows
    their mean per block). blocks: how many of the study's blocks (the first ones), None: all.
    """

    seats: list[str]
    orders: str = "given"
    blocks: int | None = None
    shared_memory: bool = False
    mail: str | None = None  # overrides conduct.mail.mode: "off" is the zero-message control
    role: str = ""  # "control: floor", "control: ceiling", "control: zero-message", "solo", "dev", ...
    dev: int | None = None  # plays so many blocks beside the study's: the split that chooses members


class Controls(msgspec.Struct):
    """What a study shows beside its lineups (invariant 8). False: switched off, and marked."""

    floor: str | bool = "random"
    ceiling: str | bool = True  # the name of an agent; True: the environment's expert, if it names one
    zero_message: bool = True
    equal_cost: bool = True  # teams: first votes, silent, and the best single member at equal tokens and cost
    dev: int = 20  # blocks of the split that says which member is the best
    single: bool = True  # teams of one model: the same roles in one conversation (with equal_cost)


class Question(msgspec.Struct):
    """One comparison beside the family with the baseline; a family of its own.

    ask: the question in words, answered with the verdict. candidate, baseline: lineups.
    """

    candidate: str
    baseline: str
    ask: str = ""


class Cell(msgspec.Struct, frozen=True):
    """One environment met by one lineup: seats are agent names in seat order."""

    env: str
    group: str
    lineup: str
    seats: tuple[str, ...]
    blocks: tuple[int | str, ...]
    shared_memory: bool
    mail: str | None
    role: str = ""

    @property
    def name(self) -> str:
        """The lineup's name in a run: the agents in seat order, and what else tells it from another."""
        marks = [f"{self.mail} mail"] if self.mail else []
        marks += ["shared memory"] if self.shared_memory else []
        marks += ["dev"] if self.role == "dev" else []
        return self.lineup + "".join(f" [{mark}]" for mark in marks)

    @property
    def key(self) -> str:
        """The cell's name in a run."""
        return f"{self.env} | {self.name}"


class Study(msgspec.Struct):
    """Environments x lineups x blocks x replicates, and the questions asked of the result.

    root: seed of everything. metric: which score is compared (None: the environment's first).
    margin: differences within it count as tied. baseline: the lineup all others are compared with.
    """

    name: str
    environments: dict[str, EnvSpec]
    agents: dict[str, AgentSpec]
    lineups: dict[str, LineupSpec]
    root: int = 0
    blocks: list[int | str] = msgspec.field(default_factory=lambda: list(range(20)))
    replicates: int = 1
    metric: str | None = None
    margin: float = 0.0
    level: float = 0.95
    baseline: str | None = None
    template: str | None = None
    concurrency: int = 8
    conduct: Conduct = msgspec.field(default_factory=Conduct)
    models: dict[str, dict[str, Any]] = {}
    budget: dict[str, float] = {}
    questions: list[Question] = []
    controls: Controls = msgspec.field(default_factory=Controls)
    people: People | None = None
    cassette: str = ""  # an exported cassette beside the file: its answers are read, nothing is sent; not stored
    base: Path = Path()  # the folder of the study file, for files that agents name; not stored
    description: str = ""

    def cells(self, seats: Mapping[str, Sequence[str]]) -> list[Cell]:
        """All cells. seats: environment label -> its seats.

        Raises where a lineup does not fit, and where two lineups play the same seat order: an episode
        counts for one of them.
        """
        found: dict[str, Cell] = {}
        for label in self.environments:
            names = seats[label]
            self.check_seats(label, names)
            for group, spec in self.lineups.items():
                blocks = self.blocks_of(spec)
                for order in seat_orders(spec):
                    cell = Cell(label, group, "+".join(order), order, blocks, spec.shared_memory, spec.mail, spec.role)
                    other = found.setdefault(cell.key, cell)
                    if other is not cell:
                        raise CrossplayError(
                            f'lineups."{group}" and lineups."{other.group}" both play {cell.name}; '
                            'leave one of them out, or set orders = "given"'
                        )
        return list(found.values())

    def blocks_of(self, spec: LineupSpec) -> tuple[int | str, ...]:
        """The blocks that a lineup plays: the study's, the first of them, or those of the dev split."""
        if spec.dev is not None:
            first = 1 + max((b for b in self.blocks if isinstance(b, int)), default=-1)
            return tuple(range(first, first + spec.dev))
        return tuple(self.blocks if spec.blocks is None else self.blocks[: spec.blocks])

    @property
    def planned(self) -> int:
        """How many episodes are to be played in all."""
        each = (len(self.blocks_of(s)) * orders_of(s) for s in self.lineups.values())
        return sum(each) * self.replicates * len(self.environments)

    def check_seats(self, label: str, names: Sequence[str]) -> None:
        """Raise CrossplayError where a lineup does not fill the seats of an environment."""
        for group, spec in self.lineups.items():
            if len(spec.seats) != len(names):
                raise CrossplayError(
                    f'lineups."{group}": {len(spec.seats)} agents ({", ".join(spec.seats)}) for the '
                    f"{len(names)} seats of {self.environments[label].name} ({', '.join(names)})"
                )

    def to_dict(self) -> dict[str, Any]:
        """The resolved study as plain data, without what is unset."""
        data = msgspec.to_builtins(self, enc_hook=str)
        del data["base"], data["cassette"]
        return _without_none(data)

    def digest(self) -> str:
        """64 hexadecimal digits that name the study as it is written out."""
        return study_digest(self.toml())

    def toml(self) -> str:
        """The resolved study as TOML; reading it back gives an equal study."""
        import tomli_w

        data = self.to_dict()
        head = {k: data.pop(k) for k in list(data) if k not in _TABLES}
        return tomli_w.dumps({"study": head, **data})


_TABLES = ("environments", "agents", "models", "lineups", "questions", "conduct", "budget", "controls", "people")
_BUDGET = ("calls", "tokens", "money", "wall_s")


def seat_orders(spec: LineupSpec) -> list[tuple[str, ...]]:
    """The ordered lineups of a group. Raises where there are more than anybody could play."""
    if spec.orders == "given":
        return [tuple(spec.seats)]
    if orders_of(spec) > ORDERS:
        raise CrossplayError(
            f"the {len(spec.seats)} seats of {'+'.join(spec.seats)[:200]} have more than {ORDERS:,} orders: "
            'set orders = "given" and name those that matter as lineups of their own'
        )
    return list(_orders(tuple(spec.seats)))


def orders_of(spec: LineupSpec) -> int:
    """How many ordered lineups a group has; from `ORDERS` on they are not counted any further."""
    if spec.orders == "given":
        return 1
    found, placed = 1, 0
    for equal in Counter(spec.seats).values():
        for k in range(1, equal + 1):
            placed += 1
            found = found * placed // k  # as many as there are ways to place these among those before
            if found > ORDERS:
                return ORDERS + 1
    return found


def _orders(seats: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Every distinct order once, those first in which earlier seats come first."""
    if not seats:
        yield ()
    for agent in dict.fromkeys(seats):
        i = seats.index(agent)
        for rest in _orders(seats[:i] + seats[i + 1 :]):
            yield agent, *rest


def _without_none(data: Any) -> Any:
    if isinstance(data, dict):
        return {k: _without_none(v) for k, v in data.items() if v is not None}
    if isinstance(data, (list, tuple)):
        return [_without_none(v) for v in data]
    return data


def load_study(path: str | Path) -> Study:
    """Read a study file; raises CrossplayError that names file, key and value."""
    file = Path(path)
    try:
        data = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise CrossplayError(f"{file}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise CrossplayError(f"{file}: not valid TOML: {error}") from None
    try:
        return parse_study(data, base=file.parent)
    except CrossplayError as error:
        raise CrossplayError(f"{file}: {error}") from None


def parse_study(data: Mapping[str, Any], base: Path | None = None) -> Study:
    """A study from plain data (the tables of a study file). base: what relative paths start from."""
    reader = _Reader(base)
    reader.known("", data, ("study", *_TABLES))
    head = reader.table("study", data.get("study", {}))
    fields = (
        "name",
        "root",
        "blocks",
        "replicates",
        "metric",
        "margin",
        "level",
        "baseline",
        "template",
        "concurrency",
        "description",
        "cassette",
    )
    reader.known("study", head, fields)
    environments = reader.environments(data.get("environments"))
    agents = reader.agents(data.get("agents", {}))
    people = read_people(reader.table("people", data["people"]), agents) if "people" in data else None
    study = Study(
        name=reader.value("study.name", head.get("name", "study"), str),
        environments=environments,
        agents=agents,
        lineups={},
        root=reader.value("study.root", head.get("root", 0), int),
        blocks=reader.blocks(head.get("blocks", 20)) if people is None else reader.participants(people, head),
        replicates=reader.at_least("study.replicates", head.get("replicates", 1), 1),
        metric=reader.value("study.metric", head.get("metric"), str, None),
        margin=float(reader.value("study.margin", head.get("margin", 0.0), (int, float))),
        level=float(reader.value("study.level", head.get("level", 0.95), (int, float))),
        baseline=reader.value("study.baseline", head.get("baseline"), str, None),
        template=reader.choice("study.template", head.get("template"), ("mix", "crossplay"), None),
        concurrency=reader.at_least("study.concurrency", head.get("concurrency", 8), 1),
        conduct=reader.conduct(data.get("conduct", {})),
        models={
            k: dict(reader.table(f"models.{k}", v)) for k, v in reader.table("models", data.get("models", {})).items()
        },
        budget=reader.budget(data.get("budget", {})),
        controls=reader.controls(data.get("controls", {}), people),
        people=people,
        description=reader.value("study.description", head.get("description", ""), str),
        cassette=reader.value("study.cassette", head.get("cassette", ""), str),
        base=base or Path(),
    )
    if not 0 <= study.margin < math.inf or not 0.5 <= study.level < 1:
        raise CrossplayError(
            f"study.margin = {study.margin} must be a number from 0 on and study.level = {study.level} must lie in 0.5..1"
        )
    study.lineups = reader.lineups(data.get("lineups", {}), study)
    study.questions = reader.questions(data.get("questions", []))
    return study


class _Reader:
    """Reads tables; every complaint names its key."""

    def __init__(self, base: Path | None) -> None:
        self.base = base

    def known(self, where: str, table: Mapping[str, Any], names: Iterable[str]) -> None:
        names = tuple(names)
        for key in table:
            if key not in names:
                place = f"{where}.{key}" if where else key
                raise CrossplayError(f"{place}: unknown key.{nearest(key, names)}")

    def table(self, where: str, value: Any) -> Mapping[str, Any]:
        if not isinstance(value, Mapping):
            raise CrossplayError(f"{where}: expected a table, got {value!r}")
        return value

    def value(self, where: str, value: Any, kind: type | tuple[type, ...], default: Any = ...) -> Any:
        if value is None and default is not ...:
            return default
        if not isinstance(value, kind) or isinstance(value, bool) or value != value:  # nan is no number
            names = kind.__name__ if isinstance(kind, type) else " or ".join(k.__name__ for k in kind)
            raise CrossplayError(f"{where} = {value!r}: expected {names}")
        return value

    def at_least(self, where: str, value: Any, low: int) -> int:
        number: int = self.value(where, value, int)
        if number < low:
            raise CrossplayError(f"{where} = {number}: at least {low}")
        return self.at_most(where, number)

    def at_most(self, where: str, number: int) -> int:
        if number > MOST:
            raise CrossplayError(f"{where} = {number}: at most {MOST:,}")
        return number

    def flag(self, where: str, value: Any) -> bool:
        if not isinstance(value, bool):
            raise CrossplayError(f"{where} = {value!r}: expected true or false")
        return value

    def choice(self, where: str, value: Any, allowed: tuple[str, ...], default: Any = ...) -> Any:
        if value is None and default is not ...:
            return default
        if value not in allowed:
            raise CrossplayError(f"{where} = {value!r}: not one of these.{nearest(str(value), allowed)}")
        return value

    def blocks(self, value: Any) -> list[int | str]:
        if isinstance(value, list):
            if not value or len(set(map(str, value))) != len(value):
                raise CrossplayError("study.blocks: a list of blocks must not be empty or name one twice")
            return [self.value(f"study.blocks[{i}]", b, (int, str)) for i, b in enumerate(value)]
        return list(range(self.at_least("study.blocks", value, 1)))

    def participants(self, people: People, head: Mapping[str, Any]) -> list[int | str]:
        self.at_most("people.participants times people.blocks", people.participants * people.blocks)
        made: list[int | str] = list(blocks_of(people))
        if "blocks" in head and self.blocks(head["blocks"]) != made:
            raise CrossplayError(
                f"study.blocks: leave it out; people.participants = {people.participants} and people.blocks = "
                f"{people.blocks} make the blocks 0 to {len(made) - 1}"
            )
        return made

    def environments(self, value: Any) -> dict[str, EnvSpec]:
        if isinstance(value, list):
            value = {str(v): {"name": v} for v in value}
        if isinstance(value, str):
            value = {value: {"name": value}}
        if not isinstance(value, Mapping) or not value:
            raise CrossplayError('environments: name at least one, e.g. environments = ["kitchen/cramped_room"]')
        found = {}
        for label, table in value.items():
            if isinstance(table, str):
                table = {"name": table}
            where = f'environments."{label}"'
            self.known(where, self.table(where, table), ("name", "options", "clock"))
            options = dict(self.table(f"{where}.options", table.get("options", {})))
            name = self.value(f"{where}.name", table.get("name", label), str)
            found[label] = EnvSpec(name, options, self.value(f"{where}.clock", table.get("clock", "wait"), str))
        return found

    def agents(self, value: Any) -> dict[str, AgentSpec]:
        found = {}
        for name, table in self.table("agents", value).items():
            where = f"agents.{name}"
            if isinstance(table, str):
                table = {"type": table}
            table = dict(self.table(where, table))
            options = dict(table.pop("options", {})) | {k: v for k, v in table.items() if k != "type"}
            kind = self.value(f"{where}.type", table.get("type", name), str)
            if self.base is not None and isinstance(options.get("path"), str):
                beside = self.base / options["path"]
                if beside.exists():
                    options["path"] = str(beside.resolve())
            if "+" in name:
                raise CrossplayError(f"{where}: an agent's name must not contain +, which joins the names of a lineup")
            found[name] = AgentSpec(kind, options)
        return found

    def conduct(self, value: Any) -> Conduct:
        table = dict(self.table("conduct", value))
        self.known("conduct", table, Conduct.__struct_fields__)
        if isinstance(table.get("mail"), str):
            table["mail"] = {"mode": table["mail"]}
        if "mail" in table:
            self.known("conduct.mail", self.table("conduct.mail", table["mail"]), Channel.__struct_fields__)
        for key in ("timeout", "invalid", "error"):
            for i, link in enumerate(self.value(f"conduct.{key}", table.get(key, []), list)):
                self.choice(f"conduct.{key}[{i}]", link, ("repeat", "noop", "random", "fail"))
        try:
            return msgspec.convert(table, Conduct)
        except msgspec.ValidationError as error:
            raise CrossplayError(f"conduct: {error}") from None

    def budget(self, value: Any) -> dict[str, float]:
        table = self.table("budget", value)
        self.known("budget", table, _BUDGET)
        found = {k: float(self.value(f"budget.{k}", v, (int, float))) for k, v in table.items()}
        for k, v in found.items():
            if not 0 <= v < float("inf"):
                raise CrossplayError(f"budget.{k} = {v:g}: a limit is a number from 0 on; leave the key out for none")
        return found

    def controls(self, value: Any, people: People | None) -> Controls:
        table = self.table("controls", value)
        if people is not None:  # they would be further partners: the time of participants is spent on what is asked for
            table = {"zero_message": False, "equal_cost": False, **table}
        self.known("controls", table, Controls.__struct_fields__)
        try:
            found = msgspec.convert(dict(table), Controls)
        except msgspec.ValidationError as error:
            raise CrossplayError(f"controls: {error}") from None
        self.at_most("controls.dev", found.dev)
        return found

    def questions(self, value: Any) -> list[Question]:
        found = []
        for i, table in enumerate(self.value("questions", value, list)):
            where = f"questions[{i}]"
            self.known(where, self.table(where, table), Question.__struct_fields__)
            for key in ("candidate", "baseline"):
                self.value(f"{where}.{key}", table.get(key), str)
            found.append(Question(table["candidate"], table["baseline"], str(table.get("ask", ""))))
        return found

    def lineups(self, value: Any, study: Study) -> dict[str, LineupSpec]:
        found: dict[str, LineupSpec] = {}
        if isinstance(value, list):
            value = {str(v): str(v).split("+") for v in value}
        for name, entry in self.table("lineups", value).items():
            where = f'lineups."{name}"'
            table = {"seats": entry} if isinstance(entry, list) else dict(self.table(where, entry))
            self.known(where, table, LineupSpec.__struct_fields__)
            seats = self.value(f"{where}.seats", table.get("seats", name.split("+")), list)
            for i, agent in enumerate(seats):
                if self.value(f"{where}[{i}]", agent, str) not in study.agents:
                    raise CrossplayError(f'{where}[{i}]: unknown agent "{agent}".{nearest(str(agent), study.agents)}')
            orders: Any = table.get("orders", "given")
            self.choice(f"{where}.orders", "all" if orders == "both" else orders, ("given", "all"))
            blocks: Any = table.get("blocks")
            if blocks is not None and self.at_least(f"{where}.blocks", blocks, 1) > len(study.blocks):
                raise CrossplayError(f"{where}.blocks = {blocks}: the study has {len(study.blocks)} blocks")
            mail = self.choice(f"{where}.mail", table.get("mail"), ("on", "off", "shuffle"), None)
            found[name] = LineupSpec(
                list(seats),
                "all" if orders == "both" else orders,
                blocks,
                self.flag(f"{where}.shared_memory", table.get("shared_memory", False)),
                mail,
                self.value(f"{where}.role", table.get("role", ""), str),
                None if table.get("dev") is None else self.at_least(f"{where}.dev", table["dev"], 1),
            )
        return found
