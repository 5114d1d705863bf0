"""A small deterministic A2A agent made with the official SDK alone, with manners on demand; and servers in threads.

As a command: python a2a_beside.py PORT MANNER.
"""

import asyncio
import contextlib
import socket
import sys
import threading
import time

import uvicorn
from a2a.helpers import (
    get_data_parts,
    get_message_text,
    new_data_artifact,
    new_data_part,
    new_message,
    new_task_from_user_message,
    new_text_message,
)
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import a2a_pb2 as t
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

RAW = ("html", "huge", "hang", "refuse", "packed", "list", "later")


def choose(text, names):
    """The action for a state: any rule that depends on all of it."""
    return names[sum(text.encode()) % len(names)]


class Small(AgentExecutor):
    def __init__(self, manner):
        self.manner, self.asked = manner, []

    async def execute(self, context, event_queue):
        [data], text = get_data_parts(context.message.parts), get_message_text(context.message)
        self.asked.append((context.context_id, context.message.message_id, text, data))
        names = data.get("legal") or data["spec"].get("names", ["a"])
        name = choose(data["views"].get("text", text), names)
        manner = self.manner
        if manner == "repair":  # wrong at first, right when told
            manner = "text" if text.startswith("That cannot be used") else "nonsense"
        if manner == "text":
            await event_queue.enqueue_event(
                new_text_message(f"After some thought: {name}!", context_id=context.context_id)
            )
        elif manner == "nonsense":
            await event_queue.enqueue_event(new_text_message("Let us see.", context_id=context.context_id))
        elif manner == "error":
            raise RuntimeError("out of order")
        elif manner in ("task", "failed", "slow"):
            await event_queue.enqueue_event(new_task_from_user_message(context.message))
            updater = TaskUpdater(event_queue, context.task_id, context.context_id)
            await updater.start_work()
            if manner == "slow":
                await asyncio.sleep(0.02)
            if manner == "failed":
                await updater.failed(updater.new_agent_message([t.Part(text="no idea")]))
                return
            artifact = new_data_artifact("answer", {"value": name, "confidence": 0.75})
            await updater.add_artifact(list(artifact.parts), name="answer")
            await updater.complete()
        else:
            said = {"talk": f"I go {name}", "leak": "my token is hush-hush-token-1234"}.get(manner)
            answer = {"value": name, "confidence": 0.5, **({"say": said, f"of {said}": 1} if said else {})}
            parts = [new_data_part(answer)]
            await event_queue.enqueue_event(new_message(parts, context_id=context.context_id))

    async def cancel(self, context, event_queue):
        raise NotImplementedError


def card(url, where="", manner=""):
    binding, version = ("HTTP+JSON" if manner == "rest" else "JSONRPC"), ("0.3" if manner == "old" else "1.0")
    return t.AgentCard(
        name="small",
        description="Answers by a rule" + (" and says hush-hush-token-1234" if manner == "leak" else ""),
        version="1",
        supported_interfaces=[t.AgentInterface(url=where or url, protocol_binding=binding, protocol_version=version)],
        capabilities=t.AgentCapabilities(streaming=False),
        default_input_modes=["text/plain", "application/json"],
        default_output_modes=["application/json"],
        skills=[t.AgentSkill(id="s", name="s", description="s", tags=["s"])],
    )


def application(url, manner, where=""):
    executor = Small(manner)
    mine = card(url, where, manner)
    handler = DefaultRequestHandler(agent_executor=executor, task_store=InMemoryTaskStore(), agent_card=mine)
    calls = []

    async def raw(request):
        calls.append(request)
        if manner == "html":
            return Response("<html>welcome</html>", media_type="application/json")
        if manner == "list":
            return JSONResponse([1, 2])
        if manner == "huge":
            return PlainTextResponse("x" * (5 << 20), media_type="application/json")
        if manner == "packed":
            return Response(b"\x1f\x8b", headers={"content-encoding": "gzip"}, media_type="application/json")
        if manner == "refuse":
            return PlainTextResponse("no", status_code=401)
        if manner == "later" and len(calls) > 2:
            return JSONResponse(
                {
                    "jsonrpc": "2.0",
                    "id": 1,
                    "result": {
                        "message": {"messageId": "1", "role": "ROLE_AGENT", "parts": [{"data": {"value": "cooperate"}}]}
                    },
                }
            )
        if manner == "later":
            return PlainTextResponse("busy", status_code=503)
        await asyncio.sleep(30)

    routes = create_agent_card_routes(mine)
    if manner in RAW:
        routes.append(Route("/", raw, methods=["POST"]))
    elif manner == "rest":
        routes += create_rest_routes(handler)
    else:
        routes += create_jsonrpc_routes(handler, "/", enable_v0_3_compat=manner == "old")
    app = Starlette(routes=routes)
    return app, executor


class Thread:
    """An ASGI application, or anything with an address, in a thread of its own."""

    def __init__(self, make, port=0):
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(("127.0.0.1", port))
        self.url = f"http://127.0.0.1:{self.sock.getsockname()[1]}"
        app, self.executor = make(self.url)
        self.server = uvicorn.Server(
            uvicorn.Config(app, log_level="critical", lifespan="off", timeout_graceful_shutdown=1)
        )
        self.server.capture_signals = contextlib.nullcontext
        self.thread = threading.Thread(target=self.server.run, args=([self.sock],), daemon=True)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.005)

    def close(self):
        self.server.force_exit = self.server.should_exit = True
        self.thread.join(5)
        self.sock.close()


@contextlib.contextmanager
def small(manner="data", where=""):
    """(address, executor) of a small agent."""
    thread = Thread(lambda url: application(url, manner, where))
    try:
        yield thread.url, thread.executor
    finally:
        thread.close()


if __name__ == "__main__":
    running = Thread(lambda url: application(url, sys.argv[2]), int(sys.argv[1]))
    print(running.url, flush=True)
    running.thread.join()
