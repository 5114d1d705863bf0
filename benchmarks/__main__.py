"""`python -m benchmarks [--out FILE] [--only WORD] [--frameworks]`: print the rows, write them as JSON."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(name, "1")

GROUPS = ("engine", "stepping", "training", "start", "calls", "replay", "teams", "wire", "page", "tables", "browser")


def main() -> int:
    """Run the groups in turn; 0 when every bar holds, else 1."""
    import msgspec

    from crossplay.cli import out

    parser = argparse.ArgumentParser(prog="benchmarks")
    parser.add_argument("--out", type=Path, default=Path("build/bench.json"))
    parser.add_argument("--only", default="")
    parser.add_argument("--frameworks", action="store_true", help="install other frameworks and measure their calls")
    options = parser.parse_args()
    found = []
    for group in GROUPS:
        if options.only in group:
            print(f"measuring {group} ...", file=sys.stderr)
            more = {"frameworks": options.frameworks} if group == "calls" else {}
            found += importlib.import_module(f"benchmarks.{group}").rows(**more)
    lines = [
        (
            r.name,
            f"{r.value:,.4g} {r.unit}",
            r.bar,
            "holds" if r.holds else "MISSED",
            f"{r.against:,.4g}",
            "" if r.ratio is None else f"{r.ratio:.3g}",
            str(r.n),
        )
        for r in found
    ]
    out.table("Benchmarks", ("name", ">value", ">bar", "", ">against", ">ratio", ">n"), lines)
    out.line("against: the baseline of the same run; what it is, and every raw sample, stands in the file")
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_bytes(msgspec.json.format(msgspec.json.encode(found), indent=1))
    missed = sum(not r.holds for r in found)
    out.line(f"wrote {options.out}: {len(found) - missed} of {len(found)} bars hold")
    return 0 if not missed else 1


if __name__ == "__main__":
    sys.exit(main())
