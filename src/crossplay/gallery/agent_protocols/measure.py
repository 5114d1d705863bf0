"""What each way costs: `python -m crossplay.gallery.agent_protocols.measure [--kept] [PAGE]`.

Writes `kept/measured/figures.json` with all samples, and the tables of the page between its marks. All ways play the same blocks in
turns, several rounds, so that what else the machine does falls on all of them; parties are processes of their own (side by side, clients
of HTTP are threads). Times say something about one machine; checks never look at them. --kept: nothing is measured, the
page is written from the kept figures.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from crossplay import CrossplayError
from crossplay.gallery.agent_protocols.claim import check
from crossplay.gallery.agent_protocols.study import Blocks, Settings
from crossplay.gallery.agent_protocols.ways import WAYS, job

__all__ = ["BEGIN", "END", "FIGURES", "kept", "measured", "table", "written"]

FIGURES = Path(__file__).parent / "kept" / "measured" / "figures.json"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
ROUNDS, BLOCKS, WIDTH = 5, 4, 16
NAMES = {
    "process": "in process",
    "wire": "the wire",
    "mcp": "MCP, streamable HTTP",
    "a2a": "A2A, JSON-RPC",
    "http": "HTTP environment",
}


def measured(rounds: int = ROUNDS, blocks: int = BLOCKS, width: int = WIDTH, decisions: int = 20) -> dict[str, Any]:
    """Samples of all ways, in turns. decisions: of a block; width: blocks side by side."""
    s = Settings(rounds=decisions)
    ways: dict[str, dict[str, Any]] = {w: {"took_us": [], "seconds": [], "beside_s": []} for w in NAMES}
    many: Blocks = tuple((b, "") for b in range(2 * width))
    for i in range(rounds):
        some: Blocks = tuple((b, "") for b in range(i * blocks, (i + 1) * blocks))
        reference = job("process", s, some).world
        for way, found in ways.items():
            one = job(way, s, some, how="apart")
            beside = job(way, s, many, how="apart", width=width)
            if one.world != reference or beside.world != job("process", s, many).world:
                raise CrossplayError(f"agent_protocols: {way} plays other worlds {one.error}{beside.error}")
            found["took_us"].append([t for block in one.took for t in block])
            found["seconds"].append(round(one.seconds, 4))
            found["beside_s"].append(round(beside.seconds, 4))
    for way in WAYS:
        counted = job(way, s, some, how="counted")
        ways[way] |= {"messages": counted.messages, "asked": counted.asked, "answered": counted.answered}
    findings = {f.name: f.holds for f in check(Settings())}
    packages = {p: version(p) for p in ("crossplay", "mcp", "a2a-sdk", "uvicorn", "aiohttp")}
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "command": "python -m crossplay.gallery.agent_protocols.measure docs/protocols.md",
        "machine": f"{platform.machine()} {platform.system()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "load": round(os.getloadavg()[0], 1),
        "packages": packages,
        "rounds": rounds,
        "blocks": blocks,
        "decisions": decisions,
        "width": width,
        "beside": 2 * width,
        "ways": ways,
        "findings": findings,
    }


def kept() -> dict[str, Any]:
    """The kept figures."""
    found: dict[str, Any] = json.loads(FIGURES.read_text())
    return found


def row(figures: Mapping[str, Any], way: str) -> dict[str, float]:
    """The summary of a way: milliseconds, ratios (median over rounds of ratios within a round), decisions a second."""
    found, base = figures["ways"][way], figures["ways"]["process"]
    took = np.concatenate([np.array(r, np.float64) for r in found["took_us"]]) / 1e3
    ratios = [np.median(a) / np.median(b) for a, b in zip(found["took_us"], base["took_us"], strict=True)]
    one = figures["blocks"] * figures["decisions"]
    beside = figures["beside"] * figures["decisions"]
    return {
        "n": float(len(took)),
        "median": float(np.median(took)),
        "p95": float(np.quantile(took, 0.95)),
        "ratio": float(np.median(ratios)),
        "per_s": float(np.median(one / np.array(found["seconds"]))),
        "beside": float(np.median(beside / np.array(found["beside_s"]))),
        "messages": found.get("messages", 0) / one,
        "asked": found.get("asked", 0) / one,
        "answered": found.get("answered", 0) / one,
    }


def table(figures: Mapping[str, Any]) -> str:
    """The tables of the page, as Markdown."""
    f = figures
    lines = [
        f"{f['date']}, `{f['command']}`, {f['machine']}, load average {f['load']:g} (a machine shared with other work); "
        + ", ".join(f"{name} {v}" for name, v in f["packages"].items())
        + f". {f['rounds']} rounds in turns, {f['rounds'] * f['blocks'] * f['decisions']} decisions a way; ratios are within a round.",
        "",
        f"| way | median (ms) | 95 % (ms) | times in process | decisions/s, one block at a time | decisions/s, {f['width']} blocks side by side "
        "| messages a decision | bytes a decision, to the party | from it |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for way, name in NAMES.items():
        r = row(f, way)
        counted = (
            [f"{r['messages']:.2f}", f"{r['asked']:.0f}", f"{r['answered']:.0f}"]
            if way != "process"
            else ["0", "0", "0"]
        )
        times = [
            f"{r['median']:.2f}",
            f"{r['p95']:.2f}",
            f"{r['ratio']:.0f}",
            f"{r['per_s']:.0f}",
            f"{r['beside']:.0f}",
        ]
        lines.append(f"| {name} | {' | '.join([*times, *counted])} |")
    lines += ["", "| what happens | " + " | ".join(NAMES[w] for w in WAYS) + " |", "|---|---|---|---|---|"]
    for what, kind in (
        ("the same worlds as in process", "same worlds"),
        ("killed in its turn: void, nothing played for it, the block played again", "killed"),
        ("silent: one timeout, answered by the conduct", "silent"),
        ("a late answer is dropped and counted", "late"),
        ("a wrong answer: counted, the conduct's move", "wrong"),
        ("a wrong answer: refused, and asked again in the same turn", "asked again"),
    ):
        lines.append(f"| {what} | " + " | ".join(_held(f["findings"], kind, w) for w in WAYS) + " |")
    return "\n".join(lines)


def _held(findings: Mapping[str, bool], kind: str, way: str) -> str:
    name = f"{kind}: {way}"
    if name in findings:
        return "holds" if findings[name] else "FAILS"
    return {
        ("silent", "http"): "no clock: the world waits",
        ("late", "http"): "no clock",
        ("late", "a2a"): "never read: the request was given up",
        ("wrong", "mcp"): "refused first (next row)",
        (
            "asked again",
            "a2a",
        ): "not here: the server found it wrong itself; agents without our extension are asked again",
    }.get((kind, way), "no")


def written(page: str, figures: Mapping[str, Any]) -> str:
    """The page with the tables between its marks."""
    head, found, rest = page.partition(BEGIN)
    _, closed, tail = rest.partition(END)
    if not found or not closed:
        raise CrossplayError(f"the page has no marks {BEGIN} and {END}")
    return f"{head}{BEGIN}\n\n{table(figures)}\n\n{END}{tail}"


def main(*given: str) -> None:
    """Measure and keep the figures, or take the kept ones; write the pages."""
    if "--kept" not in given:
        FIGURES.parent.mkdir(parents=True, exist_ok=True)
        FIGURES.write_text(json.dumps(measured(), separators=(",", ":")).replace('},"', '},\n"') + "\n")
    for page in (Path(p) for p in given if p != "--kept"):
        page.write_text(written(page.read_text(), kept()))
    print(table(kept()))


if __name__ == "__main__":
    main(*sys.argv[1:])
