"""Learning curves as SVG, from the curve.csv files of runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from crossplay.kernel import CrossplayError
from crossplay.train.files import put, read_rows

__all__ = ["draw_curves", "read_curve"]

_WIDTH, _HEIGHT = 640, 360
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 120, 40, 48
_COLOURS = ("#1b6ca8", "#c8553d", "#3c8d5a", "#8a5fb0", "#b58900", "#5c6770")  # told apart in grey by their labels


def read_curve(path: Path | str) -> list[dict[str, Any]]:
    """The rows of a curve.csv: numbers, None where there is nothing to say."""
    path = Path(path)
    if not path.is_file():
        raise CrossplayError(f"curves: there is no file {path}")
    return read_rows(path)


def draw_curves(
    curves: Mapping[str, Sequence[Mapping[str, Any]]],
    out: Path | str,
    *,
    title: str,
    column: str = "return",
    unit: str = "return of an episode",
    marks: Mapping[str, float] | None = None,
) -> Path:
    """Draw one line per run (label -> rows of its curve.csv) over the steps of the environment.

    marks: horizontal lines, label -> height, such as a goal or a random player. Returns `out`.
    """
    lines = {
        label: [(r["env_steps"], r[column]) for r in rows if r.get(column) is not None]
        for label, rows in curves.items()
    }
    points = [p for line in lines.values() for p in line]
    if not points:
        raise CrossplayError(f'curves: no run has a column "{column}"')
    heights = [y for _, y in points] + list((marks or {}).values())
    ticks_x, ticks_y = _ticks(0.0, max(x for x, _ in points)), _ticks(min([0.0, *heights]), max([0.0, *heights]))
    end = max(x for x, _ in points)
    ticks_x = [x for x in ticks_x if x <= end]
    frame = (ticks_x[0], end, ticks_y[0], ticks_y[-1])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" font-size="12" fill="#222">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="#fff"/>',
        f'<text x="{_LEFT}" y="22" font-size="14" font-weight="bold">{escape(title)}</text>',
    ]
    parts += _axes(frame, ticks_x, ticks_y, unit)
    for label, height in (marks or {}).items():
        _, y = _place(frame, (frame[0], height))
        parts.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#888" stroke-dasharray="5 4"/>'
        )
        parts.append(f'<text x="{_WIDTH - _RIGHT + 6}" y="{y + 4:.1f}" fill="#666">{escape(label)}</text>')
    parts += _lines(frame, lines)
    put(Path(out), "\n".join([*parts, "</svg>", ""]).encode())
    return Path(out)


def _lines(frame: tuple[float, ...], lines: Mapping[str, Sequence[tuple[float, float]]]) -> list[str]:
    parts = []
    for i, (label, line) in enumerate(lines.items()):
        colour = _COLOURS[i % len(_COLOURS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (_place(frame, p) for p in line))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>')
        y = _HEIGHT - _BOTTOM - 8 - 16 * (len(lines) - 1 - i)
        x = _WIDTH - _RIGHT + 6
        parts.append(f'<line x1="{x}" x2="{x + 16}" y1="{y - 4}" y2="{y - 4}" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<text x="{x + 22}" y="{y}">{escape(label)}</text>')
    return parts


def _axes(frame: tuple[float, ...], ticks_x: Sequence[float], ticks_y: Sequence[float], unit: str) -> list[str]:
    bottom, right = _HEIGHT - _BOTTOM, _WIDTH - _RIGHT
    parts = []
    for x in ticks_x:
        at, _ = _place(frame, (x, frame[2]))
        parts.append(f'<text x="{at:.1f}" y="{bottom + 18}" text-anchor="middle">{_short(x)}</text>')
    for y in ticks_y:
        _, at = _place(frame, (frame[0], y))
        parts.append(f'<line x1="{_LEFT}" x2="{right}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e4e4e4"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{at + 4:.1f}" text-anchor="end">{_short(y)}</text>')
    middle = (_TOP + bottom) / 2
    parts.append(
        f'<text x="{(_LEFT + right) / 2:.0f}" y="{_HEIGHT - 10}" text-anchor="middle">steps of the environment</text>'
    )
    parts.append(
        f'<text x="16" y="{middle:.0f}" text-anchor="middle" transform="rotate(-90 16 {middle:.0f})">{escape(unit)}</text>'
    )
    return parts


def _place(frame: tuple[float, ...], point: tuple[float, float]) -> tuple[float, float]:
    """A point of the data on the page."""
    x0, x1, y0, y1 = frame
    x = _LEFT + (point[0] - x0) / (x1 - x0) * (_WIDTH - _LEFT - _RIGHT)
    y = _HEIGHT - _BOTTOM - (point[1] - y0) / (y1 - y0) * (_HEIGHT - _TOP - _BOTTOM)
    return x, y


def _ticks(low: float, high: float) -> list[float]:
    """About five round numbers that cover low..high."""
    span = max(high - low, 1e-9)
    size = 10.0 ** len(str(int(span))) / 1000 if span >= 1 else 1e-3
    step = next(s for k in range(20) for s in (size * 10**k, 2 * size * 10**k, 5 * size * 10**k) if span / s <= 6)
    first, last = int(low // step), -int(-high // step)
    return [i * step for i in range(first, max(last, first + 1) + 1)]


def _short(x: float) -> str:
    """1500000 as 1.5 M."""
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if abs(x) >= size:
            return f"{x / size:g}{letter}"
    return f"{x:.10g}"
