"""Entry points of this room, where the installed package does not name them yet."""

from importlib.metadata import EntryPoint

from crossplay.agents import make_agent
from crossplay.agents.context import Context
from crossplay.kernel import registry


def wire():
    registry._group("agents").setdefault("a2a", EntryPoint("a2a", "crossplay.agents.a2a:a2a", "crossplay.agents"))
    registry._group("envs").setdefault(
        "agentgym", EntryPoint("agentgym", "crossplay.envs.adapters.agentgym:family", "crossplay.envs")
    )


def remote(url, door=None, **options):
    """(an agent at the address, what closes it)."""
    wire()
    context = Context(door=door, closing=[])
    agent = make_agent({"type": f"a2a:{url}", **options}, context)
    return agent, lambda: [close() for close in context.closing]
