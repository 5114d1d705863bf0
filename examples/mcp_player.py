"""Play an open seat as an MCP client, with the official SDK.

    crossplay run examples/open-seat.toml --trust                 a study that starts this player by itself

    crossplay seat mcp kitchen/cramped_room --seat p0 --http 127.0.0.1:8765
    python examples/mcp_player.py --url http://127.0.0.1:8765/mcp --rule random --seed 1

    python examples/mcp_player.py --rule first -- crossplay seat mcp matrix/stag_hunt --seat row --episodes 3

The address and the token may also stand in CROSSPLAY_SEAT_URL and CROSSPLAY_SEAT_TOKEN. What is chosen depends on
the seed, the episode and the tick alone, so that a study with this player can be repeated.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import os
from typing import Any

from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared._httpx_utils import create_mcp_http_client


def draw(n: int, *address: Any) -> int:
    """A number in [0, n) that depends on the address alone."""
    digest = hashlib.sha256(repr(address).encode()).digest()
    return int.from_bytes(digest[:8], "little") % n


def choose(turn: dict[str, Any], rule: str, seed: int) -> Any:
    """The answer to a turn: a legal name, or the simplest value of the schema."""
    answer = turn["answer"]
    if answer["kind"] == "names":
        legal = answer["legal"]
        return legal[0] if rule == "first" else legal[draw(len(legal), seed, turn["episode"], turn["tick"])]
    return simplest(answer["schema"])


def simplest(schema: dict[str, Any]) -> Any:
    """A small value that fits a JSON schema of the kinds that environments use."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type")
    if kind == "object":
        known = schema.get("properties", {})
        return {name: simplest(known.get(name, {})) for name in schema.get("required", known)}
    if kind == "array":
        return [simplest(schema.get("items", {})) for _ in range(schema.get("minItems", 0))]
    if kind in ("number", "integer"):
        return min(max(0, schema.get("minimum", 0)), schema.get("maximum", 0))
    return {"string": "", "boolean": False}.get(str(kind))


async def play(client: Client, rule: str, seed: int, say: str, most: int | None) -> int:
    """Play until all is over, or for so many moves; returns the number of moves."""
    moves = 0
    state = (await client.call_tool("observe")).structured_content
    while state["status"] != "over" and moves != most:
        if state["status"] == "your_turn":
            move = {"action": choose(state, rule, seed), "turn": state["turn"]}
            if say and state["audience"]:
                move["say"] = say
            state = (await client.call_tool("act", move)).structured_content
            moves += 1
        else:  # waiting, the end of an episode, or an answer that was refused
            state = (await client.call_tool("observe")).structured_content
    return moves


async def main() -> None:
    """Connect over HTTP, or start the command after `--` and talk to it over stdio."""
    parser = argparse.ArgumentParser(description="Play an open seat as an MCP client.")
    parser.add_argument("--url", default=os.environ.get("CROSSPLAY_SEAT_URL", ""))
    parser.add_argument("--rule", choices=("first", "random"), default="random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--say", default="", help="said with every move, where somebody hears")
    parser.add_argument("--moves", type=int, help="leave after so many moves")
    parser.add_argument("command", nargs="*", help="after --: the command that serves a seat over stdio")
    given = parser.parse_args()
    if given.command:
        server: Any = StdioServerParameters(command=given.command[0], args=given.command[1:])
    else:
        token = os.environ.get("CROSSPLAY_SEAT_TOKEN")
        headers = {"Authorization": f"Bearer {token}"} if token else None
        server = streamable_http_client(given.url, http_client=create_mcp_http_client(headers=headers))
    async with Client(server) as client:
        print(f"{await play(client, given.rule, given.seed, given.say, given.moves)} moves")


if __name__ == "__main__":
    asyncio.run(main())
