"""A small A2A agent made with the official SDK alone (`pip install "a2a-sdk[http-server]" uvicorn`).

    python examples/a2a_agent.py --port 9100
    crossplay play kitchen/cramped_room --with a2a:http://127.0.0.1:9100

It reads the data part of a question and answers with the action that it has chosen least often in this context.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from typing import Any

import uvicorn
from a2a.helpers import get_data_parts, new_data_part, new_message, new_text_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
from a2a.server.tasks import InMemoryTaskStore
from a2a.types.a2a_pb2 import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from starlette.applications import Starlette


class Even(AgentExecutor):
    """Does everything equally often."""

    def __init__(self) -> None:
        self.chosen: dict[str, Counter[str]] = defaultdict(Counter)

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        """One question, one answer."""
        found = [d for d in get_data_parts(context.message.parts) if isinstance(d, dict) and "spec" in d]
        if not found or found[0]["spec"]["kind"] != "names":
            await event_queue.enqueue_event(new_text_message("I can only choose among names."))
            return
        data: dict[str, Any] = found[0]
        names = data.get("legal") or data["spec"]["names"]
        chosen = self.chosen[context.context_id]
        name = min(names, key=lambda n: (chosen[n], names.index(n)))
        chosen[name] += 1
        answer = {"value": name, "confidence": 1 / len(names)}
        await event_queue.enqueue_event(new_message([new_data_part(answer)], context_id=context.context_id))

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        """There is nothing to cancel."""


def application(url: str) -> Starlette:
    """The agent behind its card."""
    card = AgentCard(
        name="even",
        description="Does everything equally often.",
        version="1",
        supported_interfaces=[AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="1.0")],
        capabilities=AgentCapabilities(),
        default_input_modes=["application/json"],
        default_output_modes=["application/json"],
        skills=[AgentSkill(id="choose", name="Choose", description="Chooses among names.", tags=["seat"])],
    )
    handler = DefaultRequestHandler(agent_executor=Even(), task_store=InMemoryTaskStore(), agent_card=card)
    return Starlette(routes=[*create_agent_card_routes(card), *create_jsonrpc_routes(handler, "/")])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9100)
    port = parser.parse_args().port
    uvicorn.run(application(f"http://127.0.0.1:{port}/"), host="127.0.0.1", port=port, log_level="warning")
