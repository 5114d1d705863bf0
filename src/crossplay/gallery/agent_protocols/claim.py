"""What is checked of the protocols: the same worlds, messages counted, and what a lost, silent or wrong party leads to.

References: the same rule in this process, whose faults are injected where the party's happen; and messages by hand, for n
blocks of T decisions and a party that answers at once:

    wire   n T + 3              frames of the worker: hello, bound, an answer each, bye
    mcp    n (T + 1) + 1 + 2    requests: an answer each, one `observe` a block and one at the end; discovery, tools
    a2a    n T + 1              a message each; the card
    http   n (T + 1) + 1        a step each, create or reset a block, close
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from crossplay.gallery.agent_protocols.study import Blocks, Settings
from crossplay.gallery.agent_protocols.ways import WAYS, Job, Played, jobs
from crossplay.gallery.entry import Claim, Entry, Finding, Mechanism

__all__ = ["ENTRY", "MESSAGES", "check"]

MESSAGES = {
    "wire": lambda n, t: n * t + 3,
    "mcp": lambda n, t: n * (t + 1) + 3,
    "a2a": lambda n, t: n * t + 1,
    "http": lambda n, t: n * (t + 1) + 1,
}
"""Messages of n blocks of t decisions, by hand."""
OTHER_VERSION = 9
SILENT, WRONG, KILLED = 100, 101, 102
"""The blocks in which a party misbehaves."""
CLOCKED = ("wire", "mcp", "a2a")
"""The ways that know a clock; the form of HTTP environments has none."""


def check(settings: Settings) -> list[Finding]:
    """All findings; parties are started, killed and waited for as the settings say."""
    s = settings
    got = jobs(_wanted(s))
    found = [f for way in WAYS for f in (_same(s, way, got), _messages(s, way, got))]
    found.append(_without_chance(s, got))
    found += [_killed(s, way, got) for way in WAYS]
    found += [_silent(s, way, got) for way in CLOCKED]
    found += [_late(way, got) for way in ("wire", "mcp")]
    found.append(_waits(s, got))
    found += [_wrong(s, way, got) for way in ("wire", "a2a", "http")]
    return [*found, _asked_again(s, got), _versions(got)]


# -- what is played ------------------------------------------------------------------------------------
def _only(s: Settings, *names: str) -> Settings:
    """The settings that a job depends on, so that it is played once where the others change."""
    usual = msgspec.structs.asdict(Settings())
    kept = {n: getattr(s, n) for n in (*names, "blocks", "rounds", "at", "root")}
    return Settings(**{**usual, **kept})


def _good(s: Settings) -> Blocks:
    return (*((b, "") for b in range(s.blocks)), (s.blocks, "none"))


def _bad() -> Blocks:
    return ((SILENT, "hang"), (WRONG, "wrong"))


def _wanted(s: Settings) -> dict[str, Job]:
    good = _only(s, "chance")
    wanted: dict[str, Job] = {"good": ("process", _only(s), _good(s), 0.0, "")}
    for way in WAYS:
        wanted[f"good {way}"] = (way, _only(s, "chance", "speaks") if way == "wire" else good, _good(s), 0.0, "counted")
        # Where parties are told of blocks by their order alone, one that is played again stands in the plan again.
        twice: Blocks = ((KILLED, "die"),) * (2 if way == "mcp" else 1)
        wanted[f"killed {way}"] = (way, _only(s, "plays"), twice, 0.0, "")
        # Without a clock, and without a second chance for a wrong answer, a setting changes nothing.
        by = {"mcp": ("deadline", "patience", "refusals"), "http": ("patience",)}.get(way, ("deadline", "patience"))
        wanted[f"bad {way}"] = (way, _only(s, *by), _bad(), s.deadline if way in CLOCKED else 0.0, "")
    clocked = _only(s, "deadline", "patience")
    wanted["injected"] = ("process", clocked, _bad(), s.deadline, "")
    wanted["injected, no clock"] = ("process", _only(s), _bad(), 0.0, "")
    calm: Blocks = ((SILENT, ""), (WRONG, ""), (KILLED, ""))
    wanted["calm"] = ("process", clocked, calm, s.deadline, "")
    wanted["calm, no clock"] = ("process", _only(s), calm, 0.0, "")
    other = msgspec.structs.replace(s, speaks=OTHER_VERSION)
    wanted["versions"] = ("wire", _only(other, "speaks"), ((0, ""),), 0.0, "")
    return wanted


# -- findings ------------------------------------------------------------------------------------------
Got = Mapping[str, Played]


def _other(a: list[str], b: list[str]) -> int:
    """Blocks whose worlds differ, or were never played to their end."""
    return sum(not x or x != y for x, y in zip(a, b, strict=True))


def _says(p: Played) -> str:
    return f" ({p.error})" if p.error else ""


def _same(s: Settings, way: str, got: Got) -> Finding:
    p, n = got[f"good {way}"], s.blocks
    other = _other(p.world[:n], got["good"].world[:n])
    return Finding(
        f"same worlds: {way}", "the digests of all episodes are those of the same rule in this process" + _says(p), other == 0, other,
        "= 0 blocks otherwise", "the rule in process", n=n,
    )  # fmt: skip


def _without_chance(s: Settings, got: Got) -> Finding:
    """A rule that uses no chance plays alike whatever chance its party has."""
    other = sum(
        _other(got[f"good {way}"].world[s.blocks :], got["good"].world[s.blocks :])
        for way in WAYS
        if not got[f"good {way}"].error
    )
    return Finding(
        "no chance, no difference", "without chance the rule plays the same world everywhere, whether the chance of its party is the seat's or its own",
        other == 0, other, "= 0 episodes otherwise", "the rule in process", null=True, n=len(WAYS),
    )  # fmt: skip


def _messages(s: Settings, way: str, got: Got) -> Finding:
    p = got[f"good {way}"]
    wanted = MESSAGES[way](s.blocks + 1, s.rounds)
    decisions = (s.blocks + 1) * s.rounds
    each = f"{(p.asked + p.answered) / decisions:.0f} bytes a decision both ways"
    return Finding(
        f"messages: {way}", f"messages for {s.blocks + 1} blocks, counted on the way ({each})", p.messages == wanted, p.messages,
        f"= {wanted}", "by hand (docstring)", n=decisions,
    )  # fmt: skip


def _killed(s: Settings, way: str, got: Got) -> Finding:
    """Void, nothing answered in its place, and the block played again as if nothing had been."""
    p = got[f"killed {way}"]
    wrong = _other(p.world, got["calm, no clock"].world[2:]) + (p.status[:1] != [["void", "horizon"]]) + any(p.served)
    counted = p.late == 1 if way == "http" else True
    return Finding(
        f"killed: {way}",
        "a party killed in its turn leaves its episode void, nothing is played for it, and the block played again is the undisturbed one"
        + ("; the server counts the episode as left" if way == "http" else ""),
        wrong == 0 and counted, wrong + (not counted), "= 0 things otherwise", "the rule in process, not killed", n=1,
    )  # fmt: skip


def _silent(s: Settings, way: str, got: Got) -> Finding:
    p, reference = got[f"bad {way}"], got["injected"]
    wrong = (
        _other(p.world[:1], reference.world[:1])
        + (_count(p, 0, "timeout") != 1)
        + (p.served[:1] != reference.served[:1])
    )
    return Finding(
        f"silent: {way}", "a party silent over the deadline is one timeout, answered by the conduct and said so; what it says late is not taken for the next turn",
        wrong == 0, wrong, "= 0 things otherwise", "a timeout injected in process at the same tick", n=s.rounds,
    )  # fmt: skip


def _late(way: str, got: Got) -> Finding:
    p = got[f"bad {way}"]
    late = p.late if way == "wire" else _count(p, 0, "late")
    return Finding(
        f"late: {way}", "the late answer is dropped and counted", late == 1, late, "= 1", "one answer was late", n=1
    )


def _waits(s: Settings, got: Got) -> Finding:
    """A clean negative of the form: there is no clock, so silence is waited for."""
    p = got["bad http"]
    wrong = _other(p.world[:1], got["calm, no clock"].world[:1]) + bool(_count(p, 0, "timeout")) + any(p.served[:1])
    return Finding(
        "no clock: http", "over HTTP environments the world waits: silence is no timeout, nothing is played for it",
        wrong == 0, wrong, "= 0 things otherwise", "the undisturbed rule in process", null=True, n=s.rounds,
    )  # fmt: skip


def _wrong(s: Settings, way: str, got: Got) -> Finding:
    p, reference = got[f"bad {way}"], got["injected, no clock" if way == "http" else "injected"]
    wrong = (
        _other(p.world[1:], reference.world[1:])
        + (_count(p, 1, "invalid") != 1)
        + (p.served[1:] != reference.served[1:])
    )
    return Finding(
        f"wrong: {way}", "an answer that the seat does not accept is counted as invalid, and the conduct's move is said to be that",
        wrong == 0, wrong, "= 0 things otherwise", "the same answer in process", n=s.rounds,
    )  # fmt: skip


def _asked_again(s: Settings, got: Got) -> Finding:
    p = got["bad mcp"]
    wrong = _other(p.world[1:], got["calm"].world[1:2]) + (_count(p, 1, "refused") != 1) + any(p.served[1:])
    return Finding(
        "asked again: mcp", "a wrong answer is refused in words, counted, and made good in the same turn", wrong == 0, wrong,
        "= 0 things otherwise", "the undisturbed rule in process", n=s.rounds,
    )  # fmt: skip


def _versions(got: Got) -> Finding:
    p = got["versions"]
    refused = "VERSION" in p.error.upper() and not p.status
    return Finding(
        "other version: wire", f"a worker of another major version is refused before anything is played: {p.error[:160]}", refused,
        int(refused), "= 1", "the rule of versions in docs/wire.md", n=1,
    )  # fmt: skip


def _count(p: Played, block: int, name: str) -> int:
    return p.counts[block].get(name, 0) if block < len(p.counts) else -1


def _same_of(*ways: str) -> tuple[str, ...]:
    return tuple(f"same worlds: {w}" for w in ways)


ENTRY = Entry(
    name="agent_protocols",
    title="A survey of AI agent protocols: the same agent through four of them",
    source="A Survey of AI Agent Protocols, arXiv 2504.16736; protocols through their official SDKs (mcp, a2a-sdk)",
    about="The survey sorts protocols by two axes (context-oriented or between agents; general or of a domain) and compares them along seven "
    "dimensions. Here one rule fills a seat in process, as a worker on the wire, as an MCP client of an open seat, as an A2A agent, and as a "
    "client of an HTTP environment, on the same blocks: what it costs, and what happens when the party dies, is silent, is late or is wrong. "
    "The page on protocols has the table.",
    claims=(
        Claim("Protocols differ in efficiency, scalability, security, reliability, extensibility, operability and interoperability (a survey: no result of its own that could be reproduced).", ()),
        Claim("Ours, not the survey's: through which protocol an agent is asked changes nothing of what is played, and no failure of it is answered silently.", (0,)),
    ),
    figures=(),
    settings=Settings,
    check=check,
    mechanisms=(
        Mechanism("the seat's chance is agreed", {"chance": "own"}, _same_of(*WAYS)),
        Mechanism("the world has a clock", {"deadline": 0.0}, ("silent: wire", "silent: mcp", "silent: a2a")),
        Mechanism("void blocks are played again", {"plays": 1}, tuple(f"killed: {w}" for w in WAYS)),
        Mechanism("a wrong answer is refused first", {"refusals": 1}, ("asked again: mcp",)),
        Mechanism("both sides speak one version", {"speaks": OTHER_VERSION}, ("same worlds: wire", "messages: wire")),
    ),
    missing="ANP, Agora and ACP: no implementation of them is used, so they are placed by their published specifications and not measured. "
    "Time is measured and kept beside this entry, never judged by a check. Encryption, discovery over networks and many machines are not measured.",
)  # fmt: skip
