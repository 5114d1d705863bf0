"""An agent at an address, outside of studies."""

from crossplay.agents import make_agent
from crossplay.agents.context import Context


def remote(url, door=None, trust=False, **options):
    """(an agent at the address, what closes it)."""
    context = Context(door=door, trust=trust, closing=[])
    agent = make_agent({"type": f"a2a:{url}", **options}, context)
    return agent, lambda: [close() for close in context.closing]
