"""Writes data/kitchen-overcooked-1.1.0.json: what the reference package says, for the first ring.

Run it by hand with the interpreter that test_kitchen_reference.py sets up:
    python tests/envs/kitchen_record.py .venvs/overcooked/bin/python
Per layout: one digit per action (both players of a step side by side), for each step four bytes
of a digest of the driver's line, in hex, and some lines in full, so that a difference can be read,
with digests of both players' features (base64 of int8[W, H, 26]).
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
FIXTURE = HERE / "data" / "kitchen-overcooked-1.1.0.json"


def short(line: list[Any]) -> str:
    """Eight hex digits that stand for a line of the driver."""
    return hashlib.blake2b(json.dumps(line).encode(), digest_size=4).hexdigest()


def record(python: str) -> None:
    from kitchen_moves import episodes

    from crossplay.envs.kitchen import LAYOUTS

    out = {}
    for layout in LAYOUTS:
        played = [episodes(layout, 3, 300)[2], episodes(layout, 5, 300)[4]]
        job = {"layout": layout, "episodes": played, "every": 50}
        done = subprocess.run(
            [python, HERE / "kitchen_reference_driver.py", "step"],
            input=json.dumps(job), capture_output=True, text=True, check=True,
        )  # fmt: skip
        printed = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
        lines = [line[:6] for line in printed]
        out[layout] = [
            {
                "actions": "".join(f"{a}{b}" for a, b in episode),
                "digests": "".join(short(line) for line in lines[i * 301 : (i + 1) * 301]),
                "full": {str(t): lines[i * 301 + t] for t in range(50, 301, 50)},
                "features": {str(t): [short(f) for f in printed[i * 301 + t][6]] for t in range(50, 301, 50)},
            }
            for i, episode in enumerate(played)
        ]
    FIXTURE.parent.mkdir(exist_ok=True)
    FIXTURE.write_text(json.dumps(out, indent=0, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    record(sys.argv[1])
