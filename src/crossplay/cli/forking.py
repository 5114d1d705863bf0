"""`crossplay replay --fork`: an episode as it was beside the one that went on otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crossplay.cli import out

__all__ = ["show_fork"]

SHOWN = 12  # ticks of the two sides in the terminal; all are in the JSON


def show_fork(run: Path, asked: str, text: str | None, folder: Path | None, trust: bool, json: bool) -> int:
    """Fork, then print both outcomes side by side."""
    from crossplay.kernel.types import CrossplayError
    from crossplay.study.fork import fork

    if text is None:
        raise CrossplayError('--fork needs --with "TEXT": the answer that takes the place of the recorded one')
    found = fork(run, asked, text, folder or _fresh(run), trust=trust)
    if json:
        out.print_json(_plain(found))
        return 0
    then, now = found.parent, found.child
    rows: list[tuple[str, str, str]] = [
        ("episode", f"{then.id:016x}", f"{now.id:016x}"),
        ("answer", _cut(found.said_then), _cut(found.text)),
        ("ended", f"{then.status} after {then.ticks}", f"{now.status} after {now.ticks}"),
    ]
    rows += [(f"score {name}", _number(then.score.get(name)), _number(now.score.get(name))) for name in _names(found)]
    rows.append(("reward", *(", ".join(f"{r:g}" for r in side.totals) for side in (then, now))))
    moves = [(f"tick {t}", _move(a), _move(b)) for t, a, b in found.moves if a != b]
    out.table(f"Forked at {found.step}", ("", "as recorded", "as forked"), rows)
    if moves:
        rest = f"{len(moves) - SHOWN} more ticks differ; --json has all" if len(moves) > SHOWN else ""
        out.table("Moves that differ", ("", "as recorded", "as forked"), moves[:SHOWN], rest)
    else:
        out.line("No move differs.")
    out.line(f"recorded in {found.folder}: crossplay replay {found.folder}, or crossplay verify {found.folder}")
    return 0


def _names(found: Any) -> list[str]:
    return list(dict.fromkeys([*found.parent.score, *found.child.score]))


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _cut(text: str, most: int = 60) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else line[: most - 3] + "..."


def _move(moves: dict[str, str]) -> str:
    return ", ".join(f"{seat}: {_cut(move, 30)}" for seat, move in moves.items()) or "(over)"


def _plain(found: Any) -> dict[str, Any]:
    sides = {
        name: {
            "episode": f"{side.id:016x}",
            "status": side.status,
            "ticks": side.ticks,
            "score": side.score,
            "rewards": list(side.totals),
            "world": side.world.hex(),
            "counts": side.counts,
        }
        for name, side in (("recorded", found.parent), ("forked", found.child))
    }
    moves = [{"tick": t, "recorded": a, "forked": b} for t, a, b in found.moves]
    answer = {"recorded": found.said_then, "forked": found.text}
    return {
        "folder": str(found.folder),
        "step": str(found.step),
        "call": found.step.call,
        "answer": answer,
        **sides,
        "parted": found.parted,
        "moves": moves,
    }


def _fresh(run: Path) -> Path:
    """RUN-fork-1 beside the run, or the next number that is free."""
    n = 1
    while (folder := run.parent / f"{run.name}-fork-{n}").exists():
        n += 1
    return folder
