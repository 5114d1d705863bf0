"""What factories of agents are given, and how they say which options they take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from crossplay.kernel import ActionSpec, CrossplayError, Invalid, nearest

if TYPE_CHECKING:
    from crossplay.kernel import Agent
    from crossplay.models import Door, Model

__all__ = ["Context", "NeedsTrust", "options", "read_options"]

Factory = TypeVar("Factory", bound=Callable[..., Any])


class NeedsTrust(CrossplayError):
    """Code or a command that a file names was not allowed: the local command line must say --trust."""


class Context(msgspec.Struct, dict=True):
    """Where agents are made.

    door: the models of the run (None: a door without records, made when first asked). folder: of
    the study file, for files that agents name. trust: whether code named on the command line may run.
    agents: name -> agent of the study (None: only types are known), for agents made of others.
    fit: (team, by) -> what equal-cost controls are to play, measured on a run (None: outside of one).
    closing: called, in any order, when the run that made the agents is over.
    """

    door: Any = None
    folder: Path = Path()
    trust: bool = False
    agents: Any = None
    fit: Any = None
    closing: list[Callable[[], None]] = []

    def agent(self, given: str | Mapping[str, Any]) -> Agent:
        """Another agent: one of the study by its name, or of a type or table of its own."""
        from crossplay.agents import make_agent

        if isinstance(given, str) and self.agents is not None:
            found: Agent | None = self.agents(given)
            if found is not None:
                return found
        return make_agent(given, self, given if isinstance(given, str) else "")

    def model(self, name: str) -> Model:
        """The model of that name."""
        if self.door is None:
            from crossplay.models import Door

            self.door = Door()
        door: Door = self.door
        return door.model(name)


def options(**properties: Mapping[str, Any]) -> Callable[[Factory], Factory]:
    """Declare the options of a factory: name -> JSON schema property with default and description.

    @options(temperature={"type": "number", "minimum": 0, "default": 0.0, "description": "..."})
    def llm(rest, options, context): ...

    `make_agent` then refuses unknown names and wrong values with one line, and fills in defaults;
    forms and `crossplay list` read `factory.options`.
    """

    def mark(factory: Factory) -> Factory:
        factory.options = {name: dict(p) for name, p in properties.items()}  # type: ignore[attr-defined]
        return factory

    return mark


def read_options(properties: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The given options with the defaults of the others; `CrossplayError` names the nearest valid key."""
    for name, value in given.items():
        if name not in properties:
            raise CrossplayError(f'{where}: unknown option "{name}".{nearest(name, properties) or " It takes none."}')
        schema = {k: v for k, v in properties[name].items() if k not in ("default", "description")}
        try:
            ActionSpec("data", schema=schema).check(value)
        except Invalid as error:
            raise CrossplayError(f"{where}: {name} = {value!r}: {str(error).removeprefix('value: ')}") from None
    return {name: given.get(name, p.get("default")) for name, p in properties.items()}
