"""Floor 8, serve: seats, agents and environments offered over MCP, A2A and HTTP. Not built yet.

Will live here: the servers, their tokens and limits, and how an outside agent takes an open seat.
Will not: the page (web, a sibling), adapters that let outside agents play here (agents), and no
code that a request names is ever run.
"""
