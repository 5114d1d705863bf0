"""Any agent as an A2A agent: its card, and answers to messages, through the official SDK (extra `a2a`).

A message holds a question in the form of `agents/a2a_form.py` in a data part; a message of text alone is put to
agents that answer texts. Answers are single messages: nothing of them is kept but the context's memo.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import crossplay
from crossplay.agents.a2a_form import EXTENSION
from crossplay.kernel import ActionSpec, Agent, CrossplayError
from crossplay.serve.answering import Answering, Busy
from crossplay.serve.asked import Malformed, Question, question_of
from crossplay.wire.http.bodies import Bounded
from crossplay.wire.http.guard import Guard, is_wildcard
from crossplay.wire.http.house import House

__all__ = ["a2a_app", "a2a_house", "card_of"]

CARD = "/.well-known/agent-card.json"
KINDS = {
    "names": "chooses one of the named actions that are possible now",
    "text": "answers with a text",
    "data": "answers with JSON data that fits a schema",
    "box": "answers with numbers within bounds",
}


def card_of(agent: Agent, url: str, secured: bool, env: str = "") -> Any:
    """The agent's card: one skill per kind of action that it answers. env: the only environment it is served for."""
    from a2a.types import a2a_pb2 as t

    kinds = [k for k in KINDS if not agent.needs or k in agent.needs]
    where = f" in {env}" if env else ""
    skills = [
        t.AgentSkill(
            id=f"answer-{kind}",
            name=f"Fill a seat: {kind}",
            description=f"Fills a seat{where} and {KINDS[kind]}.",
            tags=["crossplay", "seat", kind, *([env] if env else [])],
            input_modes=["application/json"],
            output_modes=["application/json", "text/plain"],
        )
        for kind in kinds
    ]
    extension = t.AgentExtension(
        uri=EXTENSION, description="Reads and writes the exact part of questions and answers", required=False
    )
    extension.params.update({"views": list(agent.views), "kind": agent.kind, "env": env})
    card = t.AgentCard(
        name=agent.name,
        description=f"A Crossplay agent of kind {agent.kind}. It answers questions put to a seat{where}.",
        version=crossplay.__version__,
        supported_interfaces=[
            t.AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="1.0"),
            t.AgentInterface(url=url, protocol_binding="JSONRPC", protocol_version="0.3"),
        ],
        capabilities=t.AgentCapabilities(streaming=False, push_notifications=False, extensions=[extension]),
        default_input_modes=["application/json", "text/plain"],
        default_output_modes=["application/json", "text/plain"],
        skills=skills,
    )
    if secured:
        bearer = t.HTTPAuthSecurityScheme(scheme="bearer")
        card.security_schemes["bearer"].CopyFrom(t.SecurityScheme(http_auth_security_scheme=bearer))
        card.security_requirements.append(t.SecurityRequirement(schemes={"bearer": t.StringList()}))
    return card


def _executor(answering: Answering) -> Any:
    from a2a.helpers import get_data_parts, get_text_parts, new_data_part, new_message, new_text_part
    from a2a.server.agent_execution import AgentExecutor
    from a2a.utils.errors import InternalError, InvalidParamsError, UnsupportedOperationError

    class Executor(AgentExecutor):
        """One message in, one message out."""

        async def execute(self, context: Any, event_queue: Any) -> None:
            parts = context.message.parts
            try:
                question = _question(get_data_parts(parts), get_text_parts(parts), answering.agent)
                found = await answering.answer(question, context.context_id, context.message.message_id)
            except Malformed as error:
                raise InvalidParamsError(str(error)) from error
            except Busy as error:
                raise InternalError(f"later: {error}") from error
            except CrossplayError as error:
                raise InternalError(str(error)) from error
            said = str(found.get("value", found.get("fault", {}).get("detail", "")))
            parts = [new_text_part(said, "text/plain"), new_data_part(found, "application/json")]
            await event_queue.enqueue_event(new_message(parts, context_id=context.context_id))

        async def cancel(self, context: Any, event_queue: Any) -> None:
            raise UnsupportedOperationError("answers are single messages; there is no task to cancel")

    return Executor()


def _question(data: list[Any], texts: list[str], agent: Agent) -> Question:
    """The question of a message's parts; raises `Malformed`."""
    objects = [d for d in data if isinstance(d, dict)]
    if data and not objects:
        raise Malformed("a data part must be an object")
    if objects:
        return question_of(objects[0])
    text = "\n".join(texts).strip()
    if not text:
        raise Malformed("the message holds neither a data part nor a text")
    if "text" not in agent.views or (agent.needs and "text" not in agent.needs):
        raise Malformed(
            f'{agent.name} reads {", ".join(agent.views)}: send a data part {{"crossplay": 1, "spec": ..., "views": ...}}'
        )
    spec = ActionSpec("text", max_len=1 << 16)
    return Question(spec, spec, turn=0, views={"text": text})


def a2a_app(
    answering: Answering, card: Any, host: str = "127.0.0.1", token: str = "", names: Sequence[str] = ()
) -> Any:
    """The ASGI application, behind its checks. The card needs no token, so that clients learn that the rest does.

    names: by which it is called, beside the host.
    """
    from a2a.server.request_handlers import DefaultRequestHandler
    from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes
    from a2a.server.tasks import InMemoryTaskStore
    from starlette.applications import Starlette

    handler = DefaultRequestHandler(
        agent_executor=_executor(answering), task_store=InMemoryTaskStore(), agent_card=card
    )

    @contextlib.asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        yield
        await handler.aclose()
        answering.close()

    rpc = create_jsonrpc_routes(handler, "/", enable_v0_3_compat=True)
    app = Bounded(Starlette(routes=[*create_agent_card_routes(card, card_url=CARD), *rpc], lifespan=lifespan))
    known, anybody = Guard(app, host, token, names), Guard(app, host, "", names)

    async def asgi(scope: Any, receive: Any, send: Any) -> None:
        await (anybody if scope.get("path") == CARD else known)(scope, receive, send)

    return asgi


def a2a_house(
    answering: Answering, host: str = "127.0.0.1", port: int = 0, token: str = "", env: str = "", address: str = ""
) -> House:
    """A server of the agent, ready to `open`. port 0: any free one. token: "" for none. env: as for `card_of`.

    address: where others reach it, as the card says it; needed where the host stands for all addresses.
    """
    if is_wildcard(host) and not address:
        raise CrossplayError(
            f"--host {host}: the card must say where others reach it; name it with --address http://NAME:PORT"
        )
    try:
        import a2a.server.routes  # noqa: F401
        import sse_starlette  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        problem = CrossplayError(f"serving over A2A needs {error.name}; add it with the extra crossplay[a2a]")
        problem.exit_code = 3
        raise problem from error
    logging.getLogger("a2a").setLevel(logging.CRITICAL)  # a question that is refused is the asker's affair
    house = House(None, host, port)
    url = f"{address.rstrip('/') or f'http://{house.authority}'}/"
    card = card_of(answering.agent, url, bool(token), env)
    house.app = a2a_app(answering, card, host, token, [urlsplit(url).hostname or host])
    return house
