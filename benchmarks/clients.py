"""What one model call costs a client: `python clients.py CLIENT URL` prints CPU seconds as JSON.

Runs in any interpreter that has the client, without crossplay; the standard library is all that is
imported at the top. Every client is written once, in the plain way of its documentation: tracing and
retries as they come, connections kept, as many of them as calls in flight.

Two shapes. `one`: a call after the other. `debate`: 64 questions at once, each asked of 5 agents in
3 rounds; from the second on, each agent reads what the others said. So 320 calls are in flight.
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

QUESTIONS, AGENTS, ROUNDS = 64, 5, 3
CALLS = {"one": 256, "debate": QUESTIONS * AGENTS * ROUNDS}
SYSTEM = "You are a careful debater. Read what the others said, then answer with A or B and one reason."
Ask = Callable[[str, int], Awaitable[str]]


def prompt(question: int, agent: int, said: list[str]) -> str:
    """What an agent reads in a round."""
    others = "\n".join(f"Agent {i}: {text}" for i, text in enumerate(said) if i != agent)
    return f"Question {question}: which option keeps the balance, A or B?\n{others}"


async def debate(ask: Ask, question: int, rounds: int = ROUNDS) -> list[str]:
    """The answers of the last round."""
    said: list[str] = []
    for _ in range(rounds):
        said = list(await asyncio.gather(*(ask(prompt(question, a, said), a) for a in range(AGENTS))))
    return said


# -- clients: each gives (one call, one debate, close) -----------------------------------------------
def bare(url: str) -> tuple[Ask, Any, Any]:
    """aiohttp and msgspec, nothing else."""
    import aiohttp
    import msgspec

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=QUESTIONS * AGENTS))
    address, headers = f"{url}/chat/completions", {"Content-Type": "application/json"}

    async def ask(text: str, seed: int) -> str:
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
        body = {"model": "hash", "messages": messages, "max_tokens": 64, "temperature": 0.7, "seed": seed}
        async with session.post(address, data=msgspec.json.encode(body), headers=headers) as response:
            answer = msgspec.json.decode(await response.read())
        assert answer["usage"]["completion_tokens"] > 0
        return answer["choices"][0]["message"]["content"]

    return ask, debate, session.close


def backend(url: str, **options: Any) -> tuple[Ask, Any, Any]:
    """Crossplay's endpoint backend."""
    from crossplay.models import HttpBackend, Message, Request

    model = HttpBackend("m", url=url, model="hash", paid=False, concurrency=QUESTIONS * AGENTS, **options)
    system = Message("system", SYSTEM)

    async def ask(text: str, seed: int) -> str:
        asked = Request(messages=(system, Message("user", text)), max_tokens=64, temperature=0.7, seed=seed)
        [reply] = await model.generate([asked], [f"{seed}"])
        assert reply.usage.tok_out > 0
        return reply.text

    return ask, debate, model.aclose


def stream(url: str) -> tuple[Ask, Any, Any]:
    """The backend, with answers in pieces."""
    return backend(url, stream=True)


def door(url: str) -> tuple[Ask, Any, Any]:
    """The backend behind the door: budget, cassette on disk with intent and answer, notes on the handle."""
    import tempfile
    from pathlib import Path

    from crossplay.kernel import ActionSpec, Block, Env, Observation
    from crossplay.kernel.obs import Scope
    from crossplay.models import Budget, Door, Message, Request
    from crossplay.records.cassette import Cassette

    class Quiet(Env):
        name, seats, rules = "quiet", ("p0",), ""

        def spec(self, seat):
            return ActionSpec("text")

    folder = tempfile.TemporaryDirectory()
    table = {"backend": "http", "url": url, "model": "hash", "paid": False, "concurrency": QUESTIONS * AGENTS}
    here = Door({"m": table}, Cassette(Path(folder.name) / "cassette"), Budget(tokens=10**12))
    model, system, env, count = here.model("m"), Message("system", SYSTEM), Quiet(), iter(range(10**9))

    async def ask(text: str, seed: int) -> str:
        asked = Request(messages=(system, Message("user", text)), max_tokens=64, temperature=0.7, seed=seed)
        at = Observation(Scope(env, "quiet@1", Block(0, next(count), 0), "p0"), "act", 0)
        [reply] = await model.generate([asked], at=at)
        return reply.text

    async def close() -> None:
        await here.aclose()
        folder.cleanup()

    return ask, debate, close


def openai(url: str) -> tuple[Ask, Any, Any]:
    """The openai client."""
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=url, api_key="none")

    async def ask(text: str, seed: int) -> str:
        messages: Any = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": text}]
        answer = await client.chat.completions.create(
            model="hash", messages=messages, max_tokens=64, temperature=0.7, seed=seed
        )
        return answer.choices[0].message.content or ""

    return ask, debate, client.close


def pydantic_ai(url: str) -> tuple[Ask, Any, Any]:
    """pydantic-ai: one Agent, `run` for each turn."""
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    model = OpenAIChatModel("hash", provider=OpenAIProvider(base_url=url, api_key="none"))
    agent = Agent(model, instructions=SYSTEM)

    async def ask(text: str, seed: int) -> str:
        settings: Any = {"max_tokens": 64, "temperature": 0.7, "seed": seed}
        return (await agent.run(text, model_settings=settings)).output

    return ask, debate, None


def langgraph(url: str) -> tuple[Ask, Any, Any]:
    """langgraph with langchain-openai: five agents as nodes of a graph that goes round three times."""
    import operator
    from typing import Annotated, TypedDict

    from langchain_core.messages import HumanMessage, SystemMessage
    from langchain_openai import ChatOpenAI
    from langgraph.graph import END, START, StateGraph

    model = ChatOpenAI(model="hash", base_url=url, api_key="none", max_tokens=64, temperature=0.7)
    system = SystemMessage(SYSTEM)

    async def ask(text: str, seed: int) -> str:
        return str((await model.ainvoke([system, HumanMessage(text)], seed=seed)).content)

    State = TypedDict(  # noqa: UP013
        "State", {"question": int, "said": list, "round": int, "rounds": int, "new": Annotated[list, operator.add]}
    )

    def agent(a: int) -> Any:
        async def node(state: Any) -> dict[str, Any]:
            text = await ask(prompt(state["question"], a, state["said"]), a)
            return {"new": [(state["round"], a, text)]}

        return node

    def join(state: Any) -> dict[str, Any]:
        mine = sorted(n for n in state["new"] if n[0] == state["round"])
        return {"said": [text for *_, text in mine], "round": state["round"] + 1}

    names = [f"agent{a}" for a in range(AGENTS)]
    graph = StateGraph(State)
    for a, name in enumerate(names):
        graph.add_node(name, agent(a))
        graph.add_edge(START, name)
    graph.add_node("join", join)
    graph.add_edge(names, "join")
    graph.add_conditional_edges("join", lambda s: names if s["round"] < s["rounds"] else END, [*names, END])
    app = graph.compile()

    async def whole(ask: Ask, question: int, rounds: int = ROUNDS) -> list[str]:
        start = {"question": question, "said": [], "round": 0, "rounds": rounds, "new": []}
        return (await app.ainvoke(start))["said"]

    return ask, whole, None


CLIENTS = {f.__name__: f for f in (bare, backend, stream, door, openai, pydantic_ai, langgraph)}


async def measure(client: str, url: str) -> dict[str, float]:
    """CPU seconds of each shape, after connections were opened and code was warm; peak memory in MiB."""
    ask, whole, close = CLIENTS[client](url)
    found: dict[str, float] = {}
    for text in ("warm", "warmer", "hot"):
        await ask(text, 0)
    gc.collect()
    began = time.process_time()
    for i in range(CALLS["one"]):
        await ask(prompt(i, 0, []), i)
    found["one"] = time.process_time() - began
    await asyncio.gather(*(whole(ask, q, 1) for q in range(QUESTIONS)))
    gc.collect()
    began, wall = time.process_time(), time.perf_counter()
    answers = await asyncio.gather(*(whole(ask, q) for q in range(QUESTIONS)))
    found["debate"], found["wall"] = time.process_time() - began, time.perf_counter() - wall
    assert all(len(a) == AGENTS and all(a) for a in answers)
    found["mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    if close is not None:
        await close()
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(measure(*sys.argv[1:3]))))
