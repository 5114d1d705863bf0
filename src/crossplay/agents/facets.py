"""Facets: what an agent is made of, in the words of two surveys, so that results can be sliced by structure.

brain, perception, action: "The rise and potential of large language model based agents" (Xi et al. 2023, arXiv
2309.07864). Modules of a core agent, and active against passive: LLM-Agent-UMF (Hassouna et al. 2024, arXiv
2409.11393): an active core agent has planning, memory and profile; a passive one only carries out.

All of it is computed from the manifest by the rules below; a table `facets = {...}` on an agent overrides it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from crossplay.kernel import CrossplayError, nearest

if TYPE_CHECKING:
    from crossplay.kernel import Agent

__all__ = ["VOCABULARY", "Facet", "agent_facets", "check_facets", "described"]


class Facet(NamedTuple):
    """The words that a facet may hold: one of them, or a list (many)."""

    words: tuple[str, ...]
    many: bool = False


VOCABULARY: dict[str, Facet] = {
    "brain": Facet(("model", "network", "script", "person", "team", "chance")),
    "perception": Facet(("data", "array", "text", "image", "messages"), many=True),
    "action": Facet(("choice", "words", "tools", "skills"), many=True),
    "modules": Facet(("planning", "memory", "profile", "action", "security"), many=True),
    "core": Facet(("active", "passive")),
}
"""Facets of any agent."""

_BRAINS = {
    "llm": "model",
    "vlm": "model",
    "policy": "network",
    "human": "person",
    "team": "team",
    "random": "chance",
}


def agent_facets(manifest: Mapping[str, Any], views: Sequence[str] = ("data",)) -> dict[str, Any]:
    """The facets of an agent by its manifest; views: those it reads.

    brain: by its kind. perception: its views; models and people also read messages. action: it chooses; words where
    it may speak; tools, skills where it has them. modules: planning where words are reasoned in (models, people,
    teams), or tools or skills are chosen from; memory where it remembers own turns; profile where it is told who it
    is; security where it has guards. core: active with planning, memory and profile together.
    """
    kind = str(manifest.get("kind", "script"))
    settings: Mapping[str, Any] = manifest.get("settings") or {}
    thinks = kind in ("llm", "vlm", "human", "team")
    tools, skills = bool(manifest.get("tools")), bool(manifest.get("skilled"))
    speaks = kind in ("human", "team") or bool(settings.get("talk"))
    remembers = kind == "human" or bool(settings.get("memory", kind == "team")) or bool(manifest.get("recurrent"))
    has = {
        "planning": thinks or tools or skills,
        "memory": remembers,
        "profile": thinks,
        "action": True,
        "security": bool(manifest.get("guards")),
    }
    does = {"choice": True, "words": speaks, "tools": tools, "skills": skills}
    sees = [v for v in VOCABULARY["perception"].words if v in views or (v == "messages" and thinks)]
    return {
        "brain": _BRAINS.get(kind, "script"),
        "perception": sees,
        "action": [name for name, yes in does.items() if yes],
        "modules": [name for name, yes in has.items() if yes],
        "core": "active" if has["planning"] and has["memory"] and has["profile"] else "passive",
    }


def check_facets(given: Any, vocabulary: Mapping[str, Facet], where: str = "facets") -> dict[str, Any]:
    """The facets that somebody declares, or `CrossplayError` with the nearest word."""
    if not isinstance(given, Mapping):
        raise CrossplayError(f'{where} = {given!r} must be a table, e.g. facets = {{ core = "active" }}')
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name not in vocabulary:
            raise CrossplayError(f'{where}: unknown facet "{name}".{nearest(str(name), vocabulary)}')
        words, many = vocabulary[name]
        listed = value if isinstance(value, (list, tuple)) and many else [value]
        for word in listed:
            if word not in words:
                raise CrossplayError(f'{where}.{name}: unknown word "{word}".{nearest(str(word), words)}')
        found[name] = list(listed) if many else value
    return found


def described(manifest: Mapping[str, Any], agent: Agent) -> dict[str, Any]:
    """A manifest with the facets of its agent: computed where it has none, and what was declared on top."""
    declared = getattr(agent, "facets", None) or {}
    found = manifest.get("facets") or agent_facets(manifest, agent.views)
    return {**manifest, "facets": {**found, **declared}}
