"""All that is wrong with the data of a study, each with its place: for forms, which show many things at a time.

`parse_study` stops at the first; here each part is read on its own, by the same reader.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from crossplay.kernel import CrossplayError
from crossplay.study.plain import Place, Problem
from crossplay.study.spec import parse_study

__all__ = ["place_of", "problems"]

_ANY: dict[str, Any] = {"environments": {"any": "any"}}  # what every study needs; names are not looked up here
_WHOLE = ("conduct", "budget", "controls")


def problems(data: Mapping[str, Any]) -> list[Problem]:
    """What `parse_study` would complain of, part by part; () means that it reads the whole."""
    found = list(_parts(data))
    if not found:
        try:
            parse_study(data)
        except CrossplayError as error:
            found = [Problem(place_of(str(error)), str(error))]
        except (TypeError, ValueError, AttributeError, RecursionError) as error:  # data of an unexpected form
            found = [Problem([], f"this is no study: {type(error).__name__}: {error}")]
    return found


def _parts(data: Mapping[str, Any]) -> Iterator[Problem]:
    head = data.get("study", {})
    if isinstance(head, Mapping):
        for key, value in head.items():
            yield from _tried(("study", key), {**_ANY, "study": {key: value}})
    blocks = head.get("blocks", 20) if isinstance(head, Mapping) else 20
    environments = data.get("environments")
    if isinstance(environments, Mapping) and environments:
        for label, table in environments.items():
            yield from _tried(("environments", label), {"environments": {label: table}})
    agents = data.get("agents", {})
    if isinstance(agents, Mapping):
        for name, table in agents.items():
            yield from _tried(("agents", name), {**_ANY, "agents": {name: table}})
    for part in _WHOLE:
        table = data.get(part, {})
        if isinstance(table, Mapping):
            for key, value in table.items():
                yield from _tried((part, key), {**_ANY, part: {key: value}})
    lineups = data.get("lineups", {})
    if isinstance(lineups, Mapping) and isinstance(agents, Mapping):
        some = {str(name): "random" for name in agents if "+" not in str(name)}
        for name, table in lineups.items():
            one = {**_ANY, "study": {"blocks": blocks}, "agents": some, "lineups": {name: table}}
            if not list(_tried((), {**_ANY, "study": {"blocks": blocks}})):
                yield from _tried(("lineups", name), one)


def _tried(place: Place, data: Mapping[str, Any]) -> Iterator[Problem]:
    try:
        parse_study(data)
    except CrossplayError as error:
        yield Problem([*place], str(error))
    except (TypeError, ValueError, AttributeError, RecursionError) as error:
        yield Problem([*place], f"{type(error).__name__}: {error}")


_PLACE = re.compile(
    r'(?P<part>study|environments|agents|lineups|models|questions|conduct|budget|controls)'
    r'(?:\.(?:"(?P<quoted>[^"]+)"|(?P<word>[\w-]+))|\[(?P<index>\d+)\])?'
)  # fmt: skip


def place_of(text: str) -> list[str | int]:
    """Where in a study an error text says that it is: `agents."a": ...` is ["agents", "a"]; [] where it does not say."""
    match = _PLACE.match(text)
    if match is None or text[match.end() : match.end() + 1] not in (":", " ", ".", "[", ""):
        return []
    found: list[str | int] = [match["part"]]
    if match["quoted"] or match["word"]:
        found.append(match["quoted"] or match["word"])
    elif match["index"]:
        found.append(int(match["index"]))
    return found
