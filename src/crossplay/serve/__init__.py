"""Floor 8, serve: seats, agents and environments offered over MCP, A2A and HTTP.

Lives here: the servers, their tokens and limits, and how an outside party takes an open seat.
Does not: the page (web, a sibling), adapters that let outside agents play here (agents), and no
code that a request names is ever run.
"""
