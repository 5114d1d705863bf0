"""How the rule is asked: in this process, and through each protocol. `job` plays a plan in one way, `jobs` several at a time.

Parties are processes of their own, but for clients that need not be killed (MCP, HTTP), which are threads. Servers that
several jobs use stand until nobody has used them for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import msgspec

import crossplay
from crossplay import Agent, Block, CrossplayError, Observation
from crossplay.agents import Context
from crossplay.gallery.agent_protocols.peers import Peer, Standing, Tap, free_port, python
from crossplay.gallery.agent_protocols.player import play_http, play_mcp
from crossplay.gallery.agent_protocols.study import ENV, OTHER, SEAT, Blocks, Rule, Served, Settings, party, plan_of

__all__ = ["WAYS", "Job", "Played", "job", "jobs", "needed"]

How = Literal["", "counted", "apart"]
"""counted: messages and bytes are counted on the way; apart: clients are processes, too."""
WAYS = ("wire", "mcp", "a2a", "http")
"""Through which protocols the seat is filled from outside; "process" is the reference."""
HERE = Path(__file__).parent
NEEDS = {"wire": "crossplay_worker", "mcp": "mcp", "a2a": "a2a", "http": "crossplay_worker"}


class Played(msgspec.Struct):
    """What came of a plan. Per block the plays of it, the last of which counts.

    world: digest, "" where it never ended. status: of each play. counts: of the seat in the last play. served: origins
    of moves that were not the party's, in all plays. took: microseconds per decision, as the side that waits sees it (the
    engine; over HTTP the client). seconds: from the first question of each block to its end. messages: on the connection (0 where they were
    not counted). asked, answered: bytes to the party, and from it. late: answers that came too late, as the connection counts them. error: why nothing was played.
    """

    world: list[str] = []
    status: list[list[str]] = []
    counts: list[dict[str, int]] = []
    served: list[list[str]] = []
    took: list[list[int]] = []
    seconds: float = 0.0
    messages: int = 0
    asked: int = 0
    answered: int = 0
    late: int = 0
    calls: int = 0
    error: str = ""


def needed(way: str) -> None:
    """Load the package of a protocol, in one thread alone; `CrossplayError` where it is not installed."""
    if find_spec(NEEDS[way]) is None:
        add = {"mcp": "the extra crossplay[mcp]", "a2a": "the extra crossplay[a2a]"}.get(
            way, "the package crossplay-worker"
        )
        problem = CrossplayError(f"agent_protocols: {NEEDS[way]} is not installed; add {add}")
        problem.exit_code = 3
        raise problem
    import_module(NEEDS[way])


# -- playing -------------------------------------------------------------------------------------------
class _Other(Agent):
    """The random player of the other seat; notes when it is asked, which is when the first seat is."""

    name = "other"

    def __init__(self) -> None:
        self.random = crossplay.make_agent("random")
        self.asked: list[float] = []

    def act(self, obs: Observation) -> Any:
        """A random action."""
        self.asked.append(time.perf_counter())
        return self.random.act(obs)


class Table:
    """The engine's side: the environment, the other player, and the plays of a plan's blocks."""

    def __init__(self, s: Settings, plan: Mapping[str, Any], name: str, clock: float, width: int) -> None:
        """width: blocks that are played side by side, where nobody misbehaves."""
        self.s, self.plan, self.name, self.width = s, plan, name, width
        pace = f"deadline:{clock:g}" if clock else "wait"
        self.envs = [crossplay.make_env(ENV, {"rounds": s.rounds}, pace) for _ in range(width)]
        self.env = self.envs[0]
        self.other = _Other()
        self.played = Played()

    def play(self, agent: Agent, again: Callable[[], None] = lambda: None) -> Played:
        """Each block until it is not void, `plays` times at most. again(): brings a lost party back."""
        agent.check(self.env, SEAT)
        blocks = list({b["block"]: b for b in self.plan["blocks"]}.values())
        if self.width > 1:
            asyncio.run(self._side_by_side(agent, [b["block"] for b in blocks]))
            return self.played
        for at in blocks:
            self._block(agent, at, again)
        return self.played

    async def _side_by_side(self, agent: Agent, blocks: list[int]) -> None:
        for i in range(0, len(blocks), self.width):
            pairs = zip(self.envs, blocks[i : i + self.width], strict=False)
            games = [crossplay.play(env, {SEAT: agent, OTHER: self.other}, Block(self.s.root, b)) for env, b in pairs]
            for outcome in await asyncio.gather(*map(crossplay.aio, games)):
                self._note(outcome, [outcome.status], [])
        self.played.seconds = time.perf_counter() - self.other.asked[0]

    def _note(self, outcome: Any, statuses: list[str], served: list[str]) -> None:
        """Write down the last play of a block."""
        found = self.played
        found.world.append(outcome.world.hex() if outcome.status != "void" else "")
        found.counts.append(dict(outcome.counts.get(SEAT, {})))
        found.status.append(statuses)
        found.served.append(served)
        found.took.append([e.wall_us for e in outcome.trace() if e.kind == "act" and e.seat == 0])

    def _block(self, agent: Agent, at: Mapping[str, Any], again: Callable[[], None]) -> None:
        statuses: list[str] = []
        origins: list[str] = []
        go = Path(self.plan["folder"], f"{self.name}.go")

        def on_tick(episode: Any) -> None:
            if at["manner"] == "hang" and episode.tick > at["at"]:
                go.touch()

        self.other.asked.clear()
        for attempt in range(self.s.plays):
            if attempt:
                again()
            game = crossplay.play(self.env, {SEAT: agent, OTHER: self.other}, Block(self.s.root, at["block"]))
            outcome = asyncio.run(crossplay.aio(game, on_tick))
            statuses.append(outcome.status)
            moves = [e for e in outcome.trace() if e.kind == "act" and e.seat == 0]
            origins += [e.origin for e in moves if e.origin != "own"]
            if outcome.status != "void":
                break
        self.played.seconds += time.perf_counter() - self.other.asked[0]
        self._note(outcome, statuses, origins)


@contextlib.contextmanager
def _made(agent: Mapping[str, Any], name: str) -> Iterator[Any]:
    """An agent by its table, freed at the end."""
    context = Context(trust=True, closing=[])
    try:
        yield crossplay.make_agent(agent, context, name)
    finally:
        while context.closing:
            context.closing.pop()()


def _process(s: Settings, plan: dict[str, Any], file: Path, clock: float, how: How, width: int) -> Played:
    return Table(s, plan, "process", clock, width).play(Rule(party(plan, "process"), injects=True))


def _wire(s: Settings, plan: dict[str, Any], file: Path, clock: float, how: How, width: int) -> Played:
    """A worker of the kit: the engine's own child, or, where messages are counted, one that connects to a socket."""
    table, words = Table(s, plan, "wire", clock, width), python(HERE / "player.py", "wire", file)
    if how != "counted":
        with _made({"type": "worker", "command": words, "restarts": 3}, "wire") as agent:
            played = table.play(agent)
            channel = agent.link.channel
            played.asked, played.answered, played.late = channel.sent, channel.received, agent.link.late + channel.late
        return played
    engine, door = f"{plan['folder']}/engine", f"{plan['folder']}/door"
    counter = Tap(engine, door, wire=True)
    peer = Peer("env", f"CROSSPLAY_ADDRESS=unix:{door}", *words)
    try:
        with _made({"type": "worker", "listen": f"unix:{engine}", "start_timeout": 60}, "wire") as agent:
            played = table.play(agent)
        peer.wait()
    finally:
        peer.end()
        counter.close()
    played.messages, played.answered, played.asked = counter.answered, counter.up, counter.down
    return played


def _mcp(s: Settings, plan: dict[str, Any], file: Path, clock: float, how: How, width: int) -> Played:
    """A client of an open seat. One that dies is a process; whoever comes in its place, and where not asked otherwise all, are threads."""
    port = free_port()
    counter = Tap(("127.0.0.1", port))  # it also waits for the server, which starts with the first episode
    url = f"http://127.0.0.1:{counter.at[1]}/mcp"
    # A thread that comes in the place of a process must not die as that did: it would take this process with it.
    calm = [{**b, "manner": "" if b["manner"] == "die" else b["manner"]} for b in plan["blocks"]]
    mine = party({**plan, "blocks": calm}, "mcp")
    dies = any(b["manner"] == "die" for b in plan["blocks"])
    seat = {
        "type": "open:mcp",
        "http": f"127.0.0.1:{port}",
        "views": ["text"],
        "wait": 60,
        "grace": 2.0 if dies else 60,
        "refusals": s.refusals,
        "at_once": width,
    }
    apart = dies or how == "apart"
    direct = f"http://127.0.0.1:{port}/mcp" if how == "apart" else url
    peer = Peer(*python(HERE / "player.py", "mcp", file, direct)) if apart else None
    calls: list[int] = []
    threads: list[threading.Thread] = []

    def come() -> None:
        def run() -> None:
            calls.append(asyncio.run(play_mcp(url, mine)))

        threads.append(threading.Thread(target=run, daemon=True))
        threads[-1].start()

    try:
        with _made(seat, "mcp") as agent:
            if not apart:
                come()
            played = Table(s, plan, "mcp", clock, width).play(agent, come)
        for one in threads:
            one.join(20)
    finally:
        if peer is not None:
            peer.end()
        counter.close()
    played.calls, (played.messages, _, played.answered, played.asked) = sum(calls), counter.counts()
    return played


def _a2a(s: Settings, plan: dict[str, Any], file: Path, clock: float, how: How, width: int) -> Played:
    """An agent that another process serves; it has a server of its own where that is to be killed, or measured."""
    agent = {"retries": 0, "timeout": 30}
    if how == "apart" or any(b["manner"] == "die" for b in plan["blocks"]):
        server, port = Path(plan["folder"], "server"), free_port()
        server.mkdir()
        (server / PLANS).write_text(json.dumps([plan]))
        peers = [_a2a_server(server, port, port)]

        def come() -> None:
            peers.append(_a2a_server(server, port, port))
            peers[-1].says("answers at")

        try:
            peers[0].says("answers at")
            with _made({"type": f"a2a:http://127.0.0.1:{port}", **agent}, "a2a") as found:
                return Table(s, plan, "a2a", clock, width).play(found, come)
        finally:
            for peer in peers:
                peer.end()
    with _A2A.used() as server:
        plans = json.loads((server / PLANS).read_text()) if (server / PLANS).exists() else []
        _replace(server / PLANS, json.dumps([plan, *plans]))
        before = _A2A.tap.counts()
        with _made({"type": f"a2a:http://127.0.0.1:{_A2A.tap.at[1]}", **agent}, "a2a") as found:
            played = Table(s, plan, "a2a", clock, width).play(found)
        played.messages, _, played.asked, played.answered = (
            n - m for n, m in zip(_A2A.tap.counts(), before, strict=True)
        )
    return played


def _a2a_server(folder: Path, port: int, shown: int) -> Peer:
    """`crossplay serve-agent` with the rule. shown: the port that its card names."""
    (folder / "a2a.toml").write_text(
        f'environments = ["{ENV}"]\n[study]\nname = "served"\nblocks = 1\n'
        f'[agents.rule]\ntype = "python:{Served.__module__}:Served"\nplans = "{folder / PLANS}"\n'
        '[lineups]\nrule = ["rule", "rule"]\n[controls]\nfloor = false\nceiling = false\n'
    )
    address = f"http://127.0.0.1:{shown}"
    return Peer(
        *python(
            "-m",
            "crossplay",
            "serve-agent",
            "rule",
            "--study",
            folder / "a2a.toml",
            "--trust",
            "--port",
            port,
            "--address",
            address,
        )
    )


def _replace(file: Path, text: str) -> None:
    """Write so that nobody reads half of it."""
    other = file.with_suffix(".new")
    other.write_text(text)
    other.replace(file)


def _http(s: Settings, plan: dict[str, Any], file: Path, clock: float, how: How, width: int) -> Played:
    """A client of an environment that another process serves; there is no clock in this form.

    Where the client is to be killed the server keeps a record, so that it tells how many episodes were left.
    """
    if any(b["manner"] == "die" for b in plan["blocks"]):
        server = _http_server(s.root, s.rounds, Path(plan["folder"], "http"))
        try:
            played = _http_played(s, plan, file, _port(server), apart=True)
        finally:
            end = server.end()
        played.late = sum(int(line.partition(", ")[2].split()[0]) for line in end if " left unfinished" in line)
        return played
    standing = _http_standing(s.root, s.rounds)
    with standing.used():
        if width > 1:
            return _http_side_by_side(plan, standing.port, width)
        if how != "counted":
            return _http_played(s, plan, file, standing.port, apart=how == "apart")
        counter = Tap(("127.0.0.1", standing.port))
        played = _http_played(s, plan, file, counter.at[1])
        counter.close()
    played.messages, _, played.answered, played.asked = counter.counts()
    return played


def _http_side_by_side(plan: dict[str, Any], port: int, width: int) -> Played:
    """As many clients as blocks side by side, each a thread with an environment of its own."""
    began, played = time.perf_counter(), Played()
    with ThreadPoolExecutor(width) as pool:
        mine, url = party(plan, "http"), f"http://127.0.0.1:{port}"
        for replies in pool.map(lambda i: play_http(url, mine, [i]), range(len(plan["blocks"]))):
            _http_note(played, replies[0], [replies[0]["status"]])
    played.seconds = time.perf_counter() - began
    return played


def _http_played(s: Settings, plan: dict[str, Any], file: Path, port: int, apart: bool = False) -> Played:
    """All blocks by a client, and what one that died has left by the next. apart: clients are processes."""
    url, last = f"http://127.0.0.1:{port}", {b["block"]: i for i, b in enumerate(plan["blocks"])}
    found: dict[int, Any] = {}
    statuses: dict[int, list[str]] = {b: [] for b in last}
    for _ in range(s.plays):
        rest = [i for b, i in last.items() if b not in found]
        if not rest:
            break
        if apart:
            client = Peer(*python(HERE / "player.py", "http", file, url, ",".join(map(str, rest))))
            client.wait()
            replies = [json.loads(line) for line in client.end() if line.startswith("{")]
        else:
            replies = play_http(url, party(plan, "http"), rest)
        for i, reply in zip(rest, replies, strict=False):
            block = plan["blocks"][i]["block"]
            found[block] = reply
            statuses[block].append(reply["status"])
        if len(replies) < len(rest):  # the server never hears of its end; for us it is void
            statuses[plan["blocks"][rest[len(replies)]]["block"]].append("void")
    played = Played()
    for block in last:
        nothing = {"world": "", "counts": {}, "origins": [], "took": [], "seconds": 0.0}
        _http_note(played, found.get(block, nothing), statuses[block])
    return played


def _http_note(played: Played, reply: Mapping[str, Any], statuses: list[str]) -> None:
    played.world.append(reply["world"])
    played.counts.append(reply["counts"])
    played.status.append(statuses)
    played.served.append(reply["origins"])
    played.took.append(reply["took"])
    played.seconds += reply["seconds"]


def _http_server(root: int, rounds: int, out: Path | None = None) -> Peer:
    """`crossplay serve-env`. What nobody uses for `--idle` seconds is given up when somebody new comes."""
    words = ["-m", "crossplay", "serve-env", ENV, "--seat", SEAT, "--with", f"{OTHER}=random"]
    words += ["--option", f"rounds={rounds}", "--root", str(root)]
    return Peer(*python(*words, *(("--out", out, "--idle", 0.05) if out else ())))


def _port(server: Peer) -> int:
    return int(server.says("at http://").rpartition(":")[2].partition(".")[0])


class _A2aStanding(Standing):
    """The agent's server, behind a counter whose address its card names."""

    def start(self, folder: Path) -> Peer:
        port = free_port()
        self.tap = Tap(("127.0.0.1", port))
        peer = _a2a_server(folder, port, self.tap.at[1])
        peer.says("answers at")
        return peer


class _HttpStanding(Standing):
    """The environment's server."""

    def __init__(self, root: int, rounds: int) -> None:
        super().__init__()
        self.root, self.rounds, self.port = root, rounds, 0

    def start(self, folder: Path) -> Peer:
        peer = _http_server(self.root, self.rounds)
        self.port = _port(peer)
        return peer


PLANS = "plans.json"
_A2A = _A2aStanding()
_http_standing = lru_cache(maxsize=4)(_HttpStanding)


_HOW: dict[str, Callable[..., Played]] = {"process": _process, "wire": _wire, "mcp": _mcp, "a2a": _a2a, "http": _http}


def job(way: str, s: Settings, blocks: Blocks, clock: float = 0.0, how: How = "", width: int = 1) -> Played:
    """Play those blocks in one of the ways, so many side by side. What cannot start is `error`."""
    if way != "process":
        needed(way)
    with tempfile.TemporaryDirectory(prefix="protocols-") as folder:
        plan = plan_of(s, blocks, folder)
        file = Path(folder, "plan.json")
        file.write_text(json.dumps(plan))
        try:
            return _HOW[way](s, plan, file, clock, how, width)
        except CrossplayError as error:
            return Played(error=str(error), world=[""] * len({b for b, _ in blocks}))


Job = tuple[str, Settings, Blocks, float, How]
"""The first arguments of `job`."""


@lru_cache(maxsize=256)
def _once(*given: Any) -> Played:
    return job(*given)


def jobs(wanted: Mapping[str, Job]) -> dict[str, Played]:
    """Several at a time, each once in this process: name -> what came of it."""
    for way in sorted({w for w, *_ in wanted.values()} - {"process"}):
        needed(way)
    with ThreadPoolExecutor(5) as pool:
        return dict(zip(wanted, pool.map(lambda w: _once(*w), wanted.values()), strict=True))
