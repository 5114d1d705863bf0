"""The entry point of open seats, where the installed package does not name it yet."""

from importlib.metadata import EntryPoint

from crossplay.kernel import registry


def wire():
    """Make `open` a type of agent."""
    registry._group("agents").setdefault(
        "open", EntryPoint("open", "crossplay.serve.open:open_seat", "crossplay.agents")
    )
