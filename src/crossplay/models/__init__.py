"""Floor 2, models: generators behind agents. A model is not an agent.

Lives here: Request and Reply, the backends (HTTP endpoint, local weights, scripted double), the
catalogue of local files, prices, budgets, rates, and the door through which agents ask.
Lives elsewhere: the cassette's file (records), prompts and parsing (agents), tables of cost (measure).
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "Backend",
    "Budget",
    "BudgetSpent",
    "Capabilities",
    "Door",
    "HttpBackend",
    "LocalBackend",
    "Message",
    "Model",
    "ModelDown",
    "ModelError",
    "Picture",
    "Reply",
    "Request",
    "ScriptedBackend",
    "Tool",
    "ToolCall",
]

_WHERE = {
    "Budget": "budget",
    "Door": "door",
    "HttpBackend": "http",
    "LocalBackend": "local",
    "Model": "door",
    "ScriptedBackend": "scripted",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"{__name__}.{_WHERE.get(name, 'types')}"), name)
    globals()[name] = found  # agents import these names at every call: found once, they cost nothing
    return found
