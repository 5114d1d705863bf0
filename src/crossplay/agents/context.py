"""What factories of agents are given, and how they say which options they take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec

from crossplay.kernel import ActionSpec, CrossplayError, Invalid, nearest

if TYPE_CHECKING:
    from crossplay.kernel import Agent
    from crossplay.models import Door, Model

__all__ = ["HOLDS", "Context", "NeedsTrust", "options", "options_schema", "plain", "quick", "read_options"]

Factory = TypeVar("Factory", bound=Callable[..., Any])


HOLDS = ("words", "agent", "model", "tools", "guards", "protocol", "topology")
"""What the keyword `holds` of an option may say: plain words, or the names of such things (one, or a list)."""


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
    forms and `crossplay list` read `factory.options`. A property that takes text also says what the text
    is (`holds`, one of `HOLDS`), or it can be given in a file on this machine only: see `plain`.
    """

    def mark(factory: Factory) -> Factory:
        factory.options = {name: dict(p) for name, p in properties.items()}  # type: ignore[attr-defined]
        return factory

    return mark


def plain(
    rest: Literal["words", "agent", "model"] | Sequence[str] | Callable[[], Sequence[str]] = (),
) -> Callable[[Factory], Factory]:
    """Declare that a factory makes its agent of plain data, so that a study from elsewhere may name it.

    Then nothing that a study can say of it runs code or a command, reads a file, opens an address, shows the value
    of a variable or waits at a terminal, but through options that say so (`holds`). rest: what may follow the type:
    those names (or those that a function gives), plain words, an agent, or a model.
    """

    def mark(factory: Factory) -> Factory:
        factory.plain = rest  # type: ignore[attr-defined]
        return factory

    return mark


def quick(factory: Factory) -> Factory:
    """Declare that the agents of a factory answer within a millisecond or so, and wait for nothing.

    Where people play in real time such agents are asked on the event loop itself, which costs less; all others think
    in a thread of their own there, so that they hold up no other game.
    """
    factory.quick = True  # type: ignore[attr-defined]
    return factory


def options_schema(factory: Any) -> dict[str, Any]:
    """The options of a factory as the JSON schema of an object, for forms; of undeclared ones nothing is known."""
    declared: Mapping[str, Any] | None = getattr(factory, "options", None)
    properties = {name: dict(p) for name, p in (declared or {}).items()}
    return {"type": "object", "properties": properties, "additionalProperties": declared is None}


def read_options(properties: Mapping[str, Mapping[str, Any]], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The given options with the defaults of the others; `CrossplayError` names the nearest valid key."""
    for name, value in given.items():
        if name not in properties:
            raise CrossplayError(f'{where}: unknown option "{name}".{nearest(name, properties) or " It takes none."}')
        schema = {k: v for k, v in properties[name].items() if k not in ("default", "description", "holds")}
        try:
            ActionSpec("data", schema=schema).check(value)
        except Invalid as error:
            raise CrossplayError(f"{where}: {name} = {value!r}: {str(error).removeprefix('value: ')}") from None
    return {name: given.get(name, p.get("default")) for name, p in properties.items()}
