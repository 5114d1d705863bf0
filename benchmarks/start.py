"""Start-up, and the size of a trace."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import Row, median, row


def _cpu_of(command: list[str]) -> tuple[float, float]:
    """(wall, CPU) seconds of a command."""
    before, began = os.times(), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - began, cpu


def start() -> list[Row]:
    """`crossplay --help`, and `import crossplay` over bare Python."""
    script = str(Path(sys.executable).with_name("crossplay"))
    helps, bares, imports = [], [], []
    for _ in range(9):
        bares.append(_cpu_of([sys.executable, "-c", "pass"]))
        helps.append(_cpu_of([script, "--help"]))
        imports.append(_cpu_of([sys.executable, "-c", "import crossplay"]))
    bare = [b[1] for b in bares]
    over = [(i[1] - b) * 1000 for i, b in zip(imports, bare, strict=True)]
    return [
        row(
            "start: crossplay --help",
            median([h[0] for h in helps]),
            "s",
            "<= 0.3",
            [h[0] for h in helps],
            median([b[0] for b in bares]),
            [b[0] for b in bares],
            "python -c pass, s",
        ),
        row(
            "start: import crossplay over bare Python",
            median(over),
            "ms CPU",
            "<= 50",
            over,
            median(bare) * 1000,
            [b * 1000 for b in bare],
            "python -c pass, ms CPU",
        ),
    ]


STUDY = """
environments = ["kitchen/cramped_room"]
[study]
name = "trace"
blocks = 128
margin = 1
[agents]
script = "chef"
[lineups]
"script+script" = ["script", "script"]
[controls]
floor = false
"""


def trace() -> Row:
    """Compressed bytes per step that a trace of two scripts in the kitchen takes on disk."""
    import tomllib

    from crossplay.study.runner import run_study
    from crossplay.study.spec import parse_study
    from crossplay.study.stage import Stage

    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(parse_study(tomllib.loads(STUDY)))
        run_study(stage, Path(folder) / "run")
        size = sum(p.stat().st_size for p in (Path(folder) / "run" / "trace").glob("*.parquet"))
    steps = 128 * 400
    value = size / steps
    return row("trace: kitchen with scripts, 128 episodes", value, "bytes per step", "<= 16", [value], 0.0, [], "")


def demo() -> Row:
    """Wall seconds of `crossplay demo`: play, verify, report; the model's weights are here already."""
    from crossplay.models.catalog import pull

    pull("smollm2-135m")
    script = str(Path(sys.executable).with_name("crossplay"))
    with tempfile.TemporaryDirectory() as folder:
        wall, cpu = _cpu_of([script, "demo", "--out", str(Path(folder) / "demo")])
    return row("start: crossplay demo, installation apart", wall, "s", "<= 300", [wall], cpu, [cpu], "its CPU seconds")


def rows() -> list[Row]:
    """All rows of start-up and storage."""
    return [*start(), trace(), demo()]
