"""What a study may name that comes from elsewhere: plain data, and installed things that are made of plain data.

An allow-list by declaration. An environment counts whose name its family lists (`names`, `plain`), an agent whose
factory says so (`crossplay.agents.context.plain`), a model whose backend finds nothing against it. Of their options:
numbers, truth values, choices, and text where the option says what it holds. All else (code, commands, files, keys,
addresses) starts only from the command line, and is named here with its place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import msgspec

from crossplay.kernel import CrossplayError, entries, load, nearest, split_name
from crossplay.study.spec import EnvSpec, Study

__all__ = ["ONLY", "Problem", "agent_problems", "env_problems", "plain_problems"]

ONLY = "it starts only from the command line: crossplay run FILE"
DEEPEST = 16  # agents within agents
_GENERAL = ("type", "skills", "facets")  # options of every agent


class Problem(msgspec.Struct, frozen=True):
    """Something wrong in a study. place: keys from the top, e.g. ["agents", "chef", "temperature"]. text: what, in a
    sentence. refused: it is right, but a study from elsewhere may not say it.
    """

    place: list[str | int]
    text: str
    refused: bool = False


Place = tuple[str | int, ...]


def plain_problems(study: Study) -> list[Problem]:
    """What keeps a study from being plain data, and what of its names and options is unknown."""
    found: list[Problem] = []
    if study.cassette:
        found.append(_no(("study", "cassette"), f'the cassette "{study.cassette}" is a file'))
    for label, env in study.environments.items():
        found += env_problems(env, ("environments", label))
    for name, table in study.models.items():
        found += _table_problems(name, table, ("models", name))
    seen = _Seen(study)
    for name, agent in study.agents.items():
        found += seen.agent({"type": agent.type, **agent.options}, ("agents", name))  # as a stage makes it
    floor = study.controls.floor
    if isinstance(floor, str):
        found += seen.agent(floor, ("controls", "floor"))
    return found


# -- environments ----------------------------------------------------------------------------------------
def env_problems(spec: EnvSpec, place: Place = ()) -> list[Problem]:
    """What keeps an environment from being named by a study from elsewhere."""
    family, rest = split_name(spec.name)
    try:
        found = load("envs", family, "environment")
        names = tuple(found.names())
        if hasattr(found, "code") and found.code(rest):
            return [_no(place, f'"{spec.name}" is code or an address')]
        open_ended = hasattr(found, "plain")
        if rest and rest not in names and not (open_ended and found.plain(rest)):
            if not names and not open_ended:
                return [_no(place, f'"{spec.name}" is an address, or code')]
            if open_ended:
                found.schema(rest)  # raises, with the nearest name
            hint = nearest(rest, names)
            return [Problem([*place, "name"], f'"{spec.name}" is no environment that is known here.{hint}')]
        schema = found.schema(rest)
    except CrossplayError as error:
        return [Problem([*place, "name"], str(error))]
    except Exception as error:  # whatever a library says of its own constructors
        return [Problem([*place, "name"], f'"{spec.name}": {type(error).__name__}: {error}')]
    problems: list[Problem] = []
    known: Mapping[str, Any] = schema.get("properties", {})
    for name, value in spec.options.items():
        at = (*place, "options", name)
        if name not in known and schema.get("additionalProperties", True) is False:
            problems.append(Problem([*at], f'unknown option "{name}".{nearest(name, known)}'))
        else:
            problems += _data(value, known.get(name, {}), at)
    return problems


# -- models ------------------------------------------------------------------------------------------------
def _table_problems(name: str, table: Mapping[str, Any], place: Place) -> list[Problem]:
    kind = table.get("backend")
    if not isinstance(kind, str) or kind not in entries("models"):
        said = "missing" if kind is None else f"unknown ({kind!r})"
        return [Problem([*place, "backend"], f"the backend is {said}.{nearest(str(kind), entries('models'))}")]
    try:
        judge = getattr(load("models", kind, "backend"), "plain", None)
    except CrossplayError as error:
        return [Problem([*place, "backend"], str(error))]
    rest = {k: v for k, v in table.items() if k != "backend"}
    against = f"the backend {kind}" if judge is None else judge(name, rest)
    return [_no(place, against)] if against else []


def _model_problems(name: Any, study: Study, place: Place) -> list[Problem]:
    from crossplay.models.catalog import known, named

    if not isinstance(name, str):
        return [Problem([*place], f"a model is named by text, not {type(name).__name__}")]
    if name in study.models or name.partition(":")[0] == "scripted" or named(name) is not None:
        return []
    if name.startswith(("http://", "https://")):
        return _table_problems(name, {"backend": "http", "url": name.partition("#")[0]}, place)
    return [Problem([*place], f'unknown model "{name}".{nearest(name, [*study.models, *known(), "scripted"])}')]


def agent_problems(given: str | Mapping[str, Any], place: Place = ()) -> list[Problem]:
    """What keeps an agent (a type, or a table with type and options) from being named from elsewhere, outside of any study."""
    return list(_Seen(Study("", {}, {}, {})).agent(given, place))


# -- agents ------------------------------------------------------------------------------------------------
class _Seen:
    """The agents of a study, looked through with all that they are made of."""

    def __init__(self, study: Study) -> None:
        self.study = study

    def agent(self, given: Any, place: Place, depth: int = 0) -> Iterator[Problem]:
        """Problems of an agent: a type, or a table with type and options."""
        table = {"type": given} if isinstance(given, str) else given
        if not isinstance(table, Mapping) or not isinstance(table.get("type"), str):
            yield Problem([*place], 'an agent is a type, or a table with "type"')
            return
        if depth > DEEPEST:
            yield Problem([*place], f"agents are nested more than {DEEPEST} deep")
            return
        kind = table["type"]
        family, rest = split_name(kind)
        try:
            factory = load("agents", family, "agent type")
        except CrossplayError as error:
            yield Problem([*place, "type"], str(error))
            return
        if not hasattr(factory, "plain"):
            yield _no((*place, "type"), f'"{kind}" may run code or commands, read files or open addresses')
            return
        yield from self._rest(factory.plain, kind, rest, place, depth)
        declared: Mapping[str, Any] = getattr(factory, "options", {})
        for name, value in table.items():
            if name in _GENERAL:
                if name == "facets" and not _worded(value):
                    yield Problem([*place, name], "facets are a table of words")
            elif name not in declared:
                yield Problem([*place, name], f'unknown option "{name}".{nearest(name, declared) or " It takes none."}')
            else:
                yield from self._option(value, declared[name], (*place, name), depth)

    def _rest(self, rule: Any, kind: str, rest: str, place: Place, depth: int) -> Iterator[Problem]:
        """What follows a type."""
        if not rest or rule == "words":
            return
        if rule == "model":
            yield from _model_problems(rest, self.study, (*place, "type"))
        elif rule == "agent":
            yield from self._member(rest, (*place, "type"), depth)
        else:
            names = tuple(rule() if callable(rule) else rule)
            if rest not in names:
                text = f'"{kind}": there is no "{rest}" that is known here.{nearest(rest, names)}'
                outside = any(c in rest for c in "/\\:.")  # it may be a file or an address
                yield Problem([*place, "type"], f"{text} Else {ONLY}" if outside else text, outside)

    def _member(self, given: Any, place: Place, depth: int) -> Iterator[Problem]:
        """An agent that others are made of: one of the study by its name, a type, or a table."""
        if isinstance(given, str) and given in self.study.agents:
            return
        yield from self.agent(given, place, depth + 1)

    def _option(self, value: Any, prop: Mapping[str, Any], place: Place, depth: int) -> Iterator[Problem]:
        if value is None or ("default" in prop and _same(value, prop["default"])):
            return
        match prop.get("holds"):
            case "agent":
                many = value if isinstance(value, (list, tuple)) else [value]
                for i, one in enumerate(many):
                    yield from self._member(one, (*place, i) if many is value else place, depth)
            case "model":
                yield from _model_problems(value, self.study, place)
            case "tools" | "guards" as what:
                yield from _named(value, what, place)
            case "protocol" | "topology" as what:
                yield from _table(value, what, place)
            case _:
                yield from _data(value, prop, place)


def _named(value: Any, what: Literal["tools", "guards"], place: Place) -> Iterator[Problem]:
    """Tools and guards: those that are installed, by name; a guard may be a table with settings."""
    from crossplay.agents.guards import GUARDS
    from crossplay.agents.tools import BUILT_IN

    names = BUILT_IN if what == "tools" else (*GUARDS, *entries("guards"))
    if not isinstance(value, (list, tuple)):
        yield Problem([*place], f"{what} are a list")
        return
    for i, one in enumerate(value):
        name = one.get("name") if what == "guards" and isinstance(one, Mapping) else one
        if not isinstance(name, str):
            yield _no((*place, i), "a server or a command")
        elif name.startswith(("python:", "mcp:")):
            yield _no((*place, i), f'"{name}" is code or a command')
        elif name not in names:
            yield Problem([*place, i], f'unknown {what.rstrip("s")} "{name}".{nearest(name, names)}')
        elif isinstance(one, Mapping) and not _worded(one):
            yield _no((*place, i), "settings that are no plain words and numbers")


def _table(value: Any, what: str, place: Place) -> Iterator[Problem]:
    """A protocol or a topology: a name, or a table of plain words and numbers. Which names there are its maker says."""
    if not isinstance(value, (str, Mapping)) or not _worded(value):
        yield Problem([*place], f"a {what} is a name, or a table of plain words and numbers")
        return
    name = value if isinstance(value, str) else value.get("name", "")
    if what == "protocol" and name and name not in entries("teams"):
        yield Problem([*place], f'unknown protocol "{name}".{nearest(str(name), entries("teams"))}')


# -- values ------------------------------------------------------------------------------------------------
def _data(value: Any, prop: Mapping[str, Any], place: Place) -> Iterator[Problem]:
    """Numbers, truth values and choices; text where it is plain words; lists and tables of these. They also fit."""
    from crossplay.kernel import ActionSpec, Invalid

    if value is None or ("default" in prop and _same(value, prop["default"])):
        return
    try:
        ActionSpec("data", schema={k: v for k, v in prop.items() if k not in ("default", "holds")}).check(value)
    except Invalid as error:
        yield Problem([*place], f"{place[-1]} = {_shown(value)}: {str(error).removeprefix('value: ')}")
        return
    if not _may_be(value, prop):
        yield _no(place, f"{place[-1]} = {_shown(value)} is text that may name a file or code")


def _may_be(value: Any, prop: Mapping[str, Any]) -> bool:
    words = {"holds": "words"} if prop.get("holds") == "words" else {}
    if isinstance(value, str):
        return bool(words) or value in prop.get("enum", ())
    if isinstance(value, (list, tuple)):
        return all(_may_be(v, words or prop.get("items", {})) for v in value)
    if isinstance(value, Mapping):
        return all(_may_be(v, words or prop.get("properties", {}).get(k, {})) for k, v in value.items())
    return value is None or isinstance(value, (bool, int, float))


def _worded(value: Any) -> bool:
    """Whether it is made of plain words, numbers, lists and tables, none of which names code or a command."""
    if isinstance(value, str):
        return not value.lstrip().startswith(("python:", "mcp:"))
    if isinstance(value, (list, tuple)):
        return all(map(_worded, value))
    if isinstance(value, Mapping):
        return all(_worded(k) and _worded(v) for k, v in value.items())
    return value is None or isinstance(value, (bool, int, float))


def _same(a: Any, b: Any) -> bool:
    """Equal and of one type: 1 is not true."""
    return type(a) is type(b) and bool(a == b)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _no(place: Place, what: str) -> Problem:
    return Problem([*place], f"{what}; {ONLY}", True)
