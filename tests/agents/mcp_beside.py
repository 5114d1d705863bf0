"""An MCP server for tests: over stdio when run, over HTTP when imported."""

import os
import time

from mcp.server.mcpserver import MCPServer
from mcp_types import ToolAnnotations

server = MCPServer("beside")


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
def add(a: int, b: int) -> int:
    """Adds two whole numbers."""
    return a + b


@server.tool()
def fails(why: str) -> str:
    """Raises."""
    raise ValueError(why)


@server.tool()
def waits(seconds: float) -> str:
    """Sleeps."""
    time.sleep(seconds)
    return "woke"


@server.tool()
def dies() -> str:
    """Ends the server."""
    os._exit(3)


@server.tool(name="dotted.name/odd")
def odd() -> str:
    """Which process and which secret."""
    return f"{os.getpid()} {os.environ.get('CROSSPLAY_TEST_TOKEN', 'none')}"


if __name__ == "__main__":
    server.run("stdio")
