"""The party on the other side: one rule for answers, and what it takes to be asked over each protocol.

Runs as a script in a process of its own (`python player.py wire|mcp|http PLAN ...`), with the worker kit and the SDK of
the protocol alone; Crossplay itself is not imported there. The rule reads every byte of the text that a seat is shown, so a
view that does not arrive whole plays another game.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import socket
import sys
import time
import urllib.request
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

__all__ = ["WRONG", "Party", "play_http", "play_mcp"]

WRONG = "lava"
"""An answer that no seat accepts."""


class Party:
    """The rule, and when it misbehaves.

    plan: root, seat, folder, patience; blocks: in the order of play, each {block, chance, manner, at}. chance: "seat" (the
    seat's own addressed draws), "own" (other ones) or "none"; at tick `at` it dies, hangs or answers wrong, by its manner.
    pick(key, n, tick, slot) and key_of(root, block, seat): the draws, from the kernel or from the kit, which are equal.
    """

    def __init__(
        self, plan: Mapping[str, Any], pick: Callable[..., int], key_of: Callable[..., bytes], name: str
    ) -> None:
        self.plan, self.pick, self.name = plan, pick, name
        self.key_of = key_of
        self.known: dict[int, Mapping[str, Any]] = {_short(self.key(b["block"])): b for b in plan["blocks"]}

    def key(self, block: int) -> bytes:
        """The seat's stream of chance in a block, as far as the party was told the root."""
        return self.key_of(self.plan["root"], block, self.plan["seat"])

    def knows(self, key: Any) -> bool:
        """Whether the plan holds the block of this stream of chance."""
        return _short(key) in self.known

    def block(self, key: Any) -> Mapping[str, Any]:
        """What the plan says of it."""
        return self.known[_short(key)]

    def answer(self, key: Any, tick: int, text: str, names: Sequence[str], attempt: int = 0) -> str:
        """The answer to one question. key: 16 bytes, or their first 64 bits; attempt: 1 where it is asked again."""
        at = self.block(key)
        if at["manner"] and at["at"] == tick and not attempt:
            if at["manner"] == "wrong":
                return WRONG
            self.misbehave(at["manner"])
        drawn = self.draw(at["chance"], key, len(names), tick)
        return names[(drawn + zlib.crc32(text.strip().encode())) % len(names)]

    def draw(self, chance: str, key: Any, n: int, tick: int) -> int:
        """A number in [0, n) by the chance that the plan names."""
        if chance == "none":
            return 0
        if chance == "own":
            key = hashlib.blake2b(self.name.encode(), digest_size=16).digest()
        return int(self.pick(key, n, tick, 0))

    def misbehave(self, manner: str) -> None:
        """Die at once (once in all), or say nothing until the others have gone on."""
        if manner == "die":
            marker = Path(self.plan["folder"], f"{self.name}.died")
            if not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        elif manner == "hang":
            until = time.monotonic() + self.plan["patience"]
            go = Path(self.plan["folder"], f"{self.name}.go")
            while time.monotonic() < until and not go.exists():
                time.sleep(0.01)


def _short(key: Any) -> int:
    return int.from_bytes(key[:8], "little") if isinstance(key, bytes) else int(key)


# -- Model Context Protocol ----------------------------------------------------------------------------
async def play_mcp(url: str, party: Party) -> int:
    """Fill an open seat through the official SDK until all is over; the calls of tools that it took."""
    from mcp import Client
    from mcp.client.streamable_http import streamable_http_client

    calls = attempt = 0
    async with Client(streamable_http_client(url)) as client:

        async def call(tool: str, given: dict[str, Any]) -> dict[str, Any]:
            nonlocal calls
            calls += 1
            found: dict[str, Any] = (await client.call_tool(tool, given)).structured_content
            return found

        state = await call("observe", {})
        while state["status"] != "over":
            if state["status"] != "your_turn":
                state = await call("observe", {})
                continue
            # The seat's number of the episode stands for the block: which that is, the protocol does not say.
            key = party.key(party.plan["blocks"][state["episode"] - 1]["block"])
            given = party.answer(key, state["tick"], state["text"], state["answer"]["legal"], attempt)
            turn = state["turn"]
            state = await call("act", {"action": given, "turn": turn})
            attempt = int(state["status"] == "refused" and not state["turn_lost"] and state["now"] == "your_turn")
    return calls


# -- HTTP environments ---------------------------------------------------------------------------------
def play_http(
    url: str, party: Party, numbers: Sequence[int], say: Callable[[str], None] = lambda _: None
) -> list[dict[str, Any]]:
    """Play the planned blocks of those numbers; per block the last reply, with what each step took (microseconds)."""

    def post(route: str, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{url}/{route}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    found: list[dict[str, Any]] = []
    number = None
    for i in numbers:
        first = time.perf_counter()
        block = party.plan["blocks"][i]["block"]
        where = {"data_idx": block}
        state = post("create", where) if number is None else post("reset", {"id": number, **where})
        number = state.get("id", number)
        tick, origins, took = 0, [], []
        while not state["done"]:
            given = party.answer(party.key(block), tick, state["observation"], state["available_actions"])
            began = time.perf_counter_ns()
            state = post("step", {"id": number, "action": given})
            took.append((time.perf_counter_ns() - began) // 1000)
            origins += [state["origin"]] if "origin" in state else []
            tick += 1
        found.append({**state, "origins": origins, "took": took, "seconds": time.perf_counter() - first})
        say(json.dumps(found[-1]))
    post("close", {"id": number})
    return found


# -- the wire --------------------------------------------------------------------------------------------
def serve_wire(party: Party) -> None:
    """A worker of the kit, until the engine says bye."""
    import crossplay_worker.worker as kit

    class Player(kit.Worker):
        name, version, views, kinds, deterministic = "player", "1", ("text",), ("names",), True

        def act(self, obs: kit.Obs) -> str:
            return party.answer(obs.key, obs.tick, obs.view, obs.names())

    kit.MAJOR = party.plan["speaks"] or kit.MAJOR  # another major version than the kit's is for who wants to be refused
    kit.run(Player())


def _there(url: str, seconds: float = 30.0) -> None:
    """Wait until somebody listens: a seat is served from the first episode on."""
    parts, until = urlsplit(url), time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            socket.create_connection((parts.hostname, parts.port), 1.0).close()
            return
        except OSError:
            time.sleep(0.02)


def _main(kind: str, plan: str, *rest: str) -> None:
    from crossplay_worker import seeds

    party = Party(
        json.loads(Path(plan).read_text()),
        seeds.pick,
        lambda root, block, seat: seeds.seat_key(seeds.Block(root, block), seat),
        kind,
    )
    if kind == "wire":
        serve_wire(party)
    elif kind == "mcp":
        _there(rest[0])
        print(asyncio.run(play_mcp(rest[0], party)))
    else:
        play_http(rest[0], party, [int(i) for i in rest[1].split(",")], lambda line: print(line, flush=True))


if __name__ == "__main__":
    _main(*sys.argv[1:])
