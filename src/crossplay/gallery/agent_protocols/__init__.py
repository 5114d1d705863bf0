"""The survey of agent protocols: one rule over the wire, MCP, A2A and HTTP, on the same blocks."""
