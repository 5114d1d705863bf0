"""Floor 3, agents: decision-makers that fill seats.

Lives here: scripted, llm, vlm, human, policy and remote agents, and wrappers such as `Skilled`.
Does not: models (below), teams (above), anything that decides who sits where (study).

An entry point of the group `crossplay.agents` is a function `make(rest, options, context) -> Agent`:
rest is what follows the type ("llm:smollm2-135m" -> "smollm2-135m"), options a mapping, context a
`Context`. It declares its options with the decorator `crossplay.agents.context.options`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossplay.agents.context import Context
    from crossplay.kernel import Agent

__all__ = ["Context", "FirstLegal", "Human", "Llm", "Noop", "Random", "Skilled", "Vlm", "make_agent"]

_WHERE = {
    "Context": "context",
    "FirstLegal": "basic",
    "Human": "human",
    "Llm": "llm",
    "Noop": "basic",
    "Random": "basic",
    "Skilled": "skilled",
    "Vlm": "llm",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def make_agent(spec: Mapping[str, Any] | str, context: Context | None = None, name: str = "") -> Agent:
    """The agent of a table such as {"type": "llm:smollm2-135m", "temperature": 0.7, "skills": true}.

    spec: the table, or just the type. name: what the run calls it (default: the type). `skills`
    wraps it, so that it chooses among the environment's skills instead of primitive actions; `facets`
    overrides what the manifest says of its structure.
    Errors name the key, the value and the nearest valid one.
    """
    import copy

    from crossplay.agents.context import Context, read_options
    from crossplay.kernel import Agent, CrossplayError, load
    from crossplay.kernel.registry import split_name

    table = {"type": spec} if isinstance(spec, str) else dict(spec)
    where = f'agents."{name}"' if name else "agent"
    kind = table.pop("type", None)
    skills = table.pop("skills", False)
    facets = table.pop("facets", None)
    if not isinstance(kind, str):
        raise CrossplayError(f'{where}: "type" is missing, e.g. type = "random"')
    if not isinstance(skills, bool):
        raise CrossplayError(f"{where}: skills = {skills!r} must be true or false")
    family, rest = split_name(kind)
    try:
        factory = load("agents", family, "agent")
    except CrossplayError as error:
        raise CrossplayError(f"{where}: {error}") from error
    declared = getattr(factory, "options", None)
    given = table if declared is None else read_options(declared, table, where)
    try:
        agent = factory(rest, given, context or Context())
    except CrossplayError as error:
        text = str(error)
        if name and not text.startswith(where):
            raise type(error)(f"{where}: {text}") from error
        raise
    if not isinstance(agent, Agent):
        raise CrossplayError(f'{where}: type "{kind}" gave a {type(agent).__name__}, not an agent')
    if name and agent.name != name:
        agent = copy.copy(agent)  # a ready-made object may stand under two names
        agent.name = name
    if facets is not None:
        from crossplay.agents.facets import VOCABULARY, check_facets

        agent = copy.copy(agent)
        agent.facets = check_facets(facets, getattr(agent, "vocabulary", VOCABULARY), f"{where}: facets")
    if skills:
        from crossplay.agents.skilled import Skilled

        agent = Skilled(agent)
        agent.name = name or agent.name
    return agent
