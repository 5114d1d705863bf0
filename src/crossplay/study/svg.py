"""Plots as SVG text: pure functions of plain values, no script, no outside reference.

Horizontal places are percentages and everything else is pixels, so that a plot fills any width and
its letters keep their size, on a phone as on paper. Colours are CSS classes (`t-...` for the tone of a
mark), which the page defines for light and dark; every meaning has a shape or a word besides.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from html import escape
from itertools import pairwise
from typing import NamedTuple

from crossplay.study.page import drawn

__all__ = [
    "SERIES",
    "Bar",
    "Curve",
    "Dot",
    "Share",
    "Strip",
    "cost_score",
    "curves",
    "heatmap",
    "intervals",
    "number",
    "shares",
    "standing_alone",
    "strips",
    "ticks",
]

LEFT, RIGHT = 3.0, 97.0  # per cent of the width that data may use
LINE = 17  # pixels of a line of text
JITTER = (0, -5, 5, -2, 3, -4, 2, -6, 6)  # pixels, by turns, so that equal values stay visible
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
SERIES = 8  # curves that can be told apart: so many colours and dashes (`.s1` to `.s8`)
TOGETHER = 46  # letters of a label and its value that fit one line on a phone


class Bar(NamedTuple):
    """A value with its interval. low, high: None where there is none; note: the value in words."""

    label: str
    value: float
    low: float | None
    high: float | None
    tone: str = "plain"
    note: str = ""


class Strip(NamedTuple):
    """Paired differences of one lineup: one point per block, their mean and its interval."""

    label: str
    points: Sequence[tuple[str, float]]
    mean: float
    low: float | None
    high: float | None
    tone: str = "plain"
    note: str = ""


class Dot(NamedTuple):
    """A lineup in the plane of cost and score."""

    label: str
    cost: float
    score: float
    low: float | None
    high: float | None
    tone: str = "plain"


class Curve(NamedTuple):
    """A share that falls with a threshold, in steps: share[i] holds from tau[i] to tau[i + 1]. low, high: its band, or none."""

    label: str
    tau: Sequence[float]
    share: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


class Share(NamedTuple):
    """A part of a whole, 0..1, with the words beside it. over: whether it is above the limit."""

    label: str
    share: float
    note: str
    over: bool = False


def number(value: float, digits: int | None = None) -> str:
    """A number for a label: `digits` places, or up to four significant ones, all of those before the point; the minus is a
    real one.
    """
    if not math.isfinite(value):
        return "-"
    if digits is None and 9999.5 <= abs(value) < 1e15:
        text = f"{value:,.0f}"
        return text.replace("-", "\N{MINUS SIGN}")
    text = f"{value:.{digits}f}" if digits is not None else f"{value:.4g}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "\N{MINUS SIGN}") if "e" not in text else text


def ticks(low: float, high: float, n: int = 5) -> list[float]:
    """About n round numbers that cover low..high (steps of 1, 2 or 5 times a power of ten)."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return [0.0, 1.0]
    if high - low <= max(1e-9 * max(abs(low), abs(high)), 1e-300):  # also where a step would be no float
        room = abs(low) * 0.1 if abs(low) > 1e-290 else 1.0
        low, high = low - room, high + room
    raw = (high - low) / max(1, n - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((s * power for s in (1, 2, 5) if s * power >= raw * (1 - 1e-9)), 10 * power)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


class _Scale:
    """Values to per cent of the width."""

    def __init__(self, values: Sequence[float], n: int = 5, left: float = LEFT) -> None:
        self.left = left
        finite = [v for v in values if math.isfinite(v)] or [0.0]
        self.ticks = ticks(min(finite), max(finite), n)
        self.low, self.high = self.ticks[0], self.ticks[-1]

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.left + (RIGHT - self.left) * min(1.0, max(0.0, share))

    def axis(self, top: float, bottom: float, unit: str) -> list[str]:
        """Grid lines from top to bottom with their numbers, and the unit, below."""
        out = []
        for i, t in enumerate(self.ticks):
            x = self(t)
            long = len(number(t)) > 3  # at an end it would stick out
            ends = {0: "start" if x < 2 * LEFT else "middle", len(self.ticks) - 1: "end"}
            anchor = ends.get(i, "middle") if long else "middle"
            at = {"start": 0.0, "end": 100.0}.get(anchor, x)
            out.append(f'<line class="grid" x1="{x:.2f}%" x2="{x:.2f}%" y1="{top}" y2="{bottom}"/>')
            out.append(f'<text class="tick" x="{at:.2f}%" y="{bottom + 15}" text-anchor="{anchor}">{number(t)}</text>')
        out.append(f'<text class="unit" x="50%" y="{bottom + 33}" text-anchor="middle">{escape(unit)}</text>')
        return out


def _svg(title: str, height: float, parts: Sequence[str], width: int = 0, kind: str = "plot") -> str:
    style = f' style="min-width:{width}px"' if width else ""
    name = escape(title, quote=True)
    return (
        f'<svg class="{kind}" role="img" aria-label="{name}" width="100%" height="{height:g}"{style}>'
        f"<title>{name}</title>{''.join(parts)}</svg>"
    )


def _row(label: str, note: str, top: float) -> tuple[list[str], float]:
    """The words of a row, and where its marks may begin."""
    parts = [f'<text class="label" x="0" y="{top + 13}">{escape(_cut(label))}</text>']
    if not note:
        return parts, top + LINE
    two = len(label) + len(note) > TOGETHER
    y = top + 13 + (LINE if two else 0)
    place = 'x="0"' if two else 'x="100%" text-anchor="end"'
    parts.append(f'<text class="note" {place} y="{y}">{escape(note)}</text>')
    return parts, top + LINE * (2 if two else 1)


def _cut(label: str) -> str:
    return label if len(label) <= TOGETHER else label[: TOGETHER - 1] + "\N{HORIZONTAL ELLIPSIS}"


def _whisker(scale: _Scale, value: float, low: float | None, high: float | None, y: float, tone: str) -> list[str]:
    """An interval with its value; an open diamond where there is no interval."""
    x = scale(value)
    if low is None or high is None:
        return [f'<g class="t-{tone}">{_diamond(x, y)}</g>']
    a, b = scale(low), scale(high)
    ends = "".join(
        f'<line class="cap" x1="{p:.2f}%" x2="{p:.2f}%" y1="{y - 5}" y2="{y + 5}"/>' for p in ((a, b) if b > a else ())
    )
    return [
        f'<g class="t-{tone}"><line class="whisker" x1="{a:.2f}%" x2="{b:.2f}%" y1="{y}" y2="{y}"/>{ends}'
        f'<circle class="dot" cx="{x:.2f}%" cy="{y}" r="5.5"/></g>'
    ]


def _diamond(x: float, y: float) -> str:
    return f'<svg x="{x:.2f}%" y="{y}" overflow="visible"><path class="open" d="M0 -6.5 6.5 0 0 6.5 -6.5 0Z"/></svg>'


def _bounds(rows: Sequence[Bar | Strip]) -> list[float]:
    return [v for r in rows for v in (r.low, r.high) if v is not None]


def _band(scale: _Scale, margin: float, zero: bool, top: float, bottom: float) -> list[str]:
    """The margin within which differences count as tied, and the line of no difference."""
    out = []
    if margin > 0:
        a, b = scale(-margin), scale(margin)
        out.append(f'<rect class="band" x="{a:.2f}%" y="{top}" width="{b - a:.2f}%" height="{bottom - top}"/>')
    if zero:
        x = scale(0.0)
        out.append(f'<line class="zero" x1="{x:.2f}%" x2="{x:.2f}%" y1="{top}" y2="{bottom}"/>')
    return out


def intervals(rows: Sequence[Bar], title: str, unit: str, *, differences: bool = False, margin: float = 0.0) -> str:
    """One line per row: dot and interval. differences: 0 is marked, with the band of the margin."""
    values = [r.value for r in rows] + _bounds(rows) + ([0.0, -margin, margin] if differences else [])
    scale = _Scale(values)
    parts: list[str] = []
    y = 4.0
    for r in rows:
        words, at = _row(r.label, r.note, y)
        parts += [*words, *_whisker(scale, r.value, r.low, r.high, at + 9, r.tone)]
        y = at + 27
    under = scale.axis(4, y, unit) + _band(scale, margin, differences, 4, y)
    return _svg(title, y + 40, [*under, *parts])


def strips(rows: Sequence[Strip], title: str, unit: str, margin: float = 0.0) -> str:
    """Per-block paired differences: a point per block; above them mean and interval."""
    values = [v for r in rows for _, v in r.points] + [r.mean for r in rows] + _bounds(rows)
    scale = _Scale([*values, 0.0, -margin, margin])
    parts: list[str] = []
    y = 4.0
    for r in rows:
        words, at = _row(r.label, r.note, y)
        parts += words
        for k, (name, v) in enumerate(r.points):
            parts.append(
                f'<circle class="point" cx="{scale(v):.2f}%" cy="{at + 29 + JITTER[k % len(JITTER)]}" r="3.5">'
                f"<title>block {escape(name)}: {number(v)}</title></circle>"
            )
        parts += _whisker(scale, r.mean, r.low, r.high, at + 10, r.tone)
        y = at + 47
    under = scale.axis(4, y, unit) + _band(scale, margin, True, 4, y)
    return _svg(title, y + 40, [*under, *parts])


def heatmap(names: Sequence[str], values: Sequence[Sequence[float | None]], title: str, digits: int = 1) -> str:
    """A payoff matrix: first seat by row, second by column; darker is more, each cell says its number."""
    n = len(names)
    finite = [v for row in values for v in row if v is not None and math.isfinite(v)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
    longest = max(map(len, names), default=0)
    slanted = longest > (8 if n > 4 else 14)
    head, cell = (22.0 + 4.2 * min(longest, 20) if slanted else 26.0), 34.0
    label = min(32.0, 8.0 + 1.1 * longest)  # per cent for the names of the rows
    wide = (100.0 - label) / n
    parts = []
    for j, name in enumerate(names):
        x = label + wide * (j + 0.5)
        words = f"{escape(_short(name, 20))}<title>{escape(name)}</title>"
        parts.append(
            f'<svg x="{x:.2f}%" y="{head - 8}" overflow="visible"><text class="tick" transform="rotate(-40)">{words}</text></svg>'
            if slanted
            else f'<text class="tick" x="{x:.2f}%" y="16" text-anchor="middle">{words}</text>'
        )
    for i, row in enumerate(values):
        y = head + cell * i
        parts.append(
            f'<text class="tick" x="0" y="{y + 21}">{escape(_short(names[i], 20))}<title>{escape(names[i])}</title></text>'
        )
        for j, v in enumerate(row):
            x = label + wide * j
            shade = 0 if v is None else 1 + round(6 * (v - low) / (high - low)) if high > low else 3
            said = "not played" if v is None else number(v, digits)
            parts.append(
                f'<g class="h{shade}"><rect x="{x:.2f}%" y="{y}" width="{wide - 0.4:.2f}%" height="{cell - 2}" rx="3"/>'
                f'<text x="{x + wide / 2:.2f}%" y="{y + 21}" text-anchor="middle">{"" if v is None else said}</text>'
                f"<title>{escape(names[i])} then {escape(names[j])}: {said}</title></g>"
            )
    return _svg(title, head + cell * n + 4, parts, width=120 + 62 * n if n > 3 else 0, kind="plot heat")


def _short(name: str, room: int) -> str:
    return name if len(name) <= room else name[: room - 1] + "\N{HORIZONTAL ELLIPSIS}"


def cost_score(dots: Sequence[Dot], title: str, cost_unit: str, score_unit: str, frontier: Sequence[int] = ()) -> str:
    """Cost against score: dots with intervals, numbered in the order given, with their labels below.

    frontier: which of them, by rising cost, a dashed staircase joins: each is the best score for its cost.
    """
    across = _Scale([0.0, *(d.cost for d in dots)], left=12.0)
    heights = [v for d in dots for v in (d.score, d.low, d.high) if v is not None]
    upright = _Scale(heights)
    top, bottom = 22.0, 262.0

    def up(v: float) -> float:
        share = (v - upright.low) / (upright.high - upright.low)
        return bottom - 8 - (bottom - top - 16) * share

    parts = across.axis(top, bottom, cost_unit)
    parts.append(f'<text class="unit" x="0" y="13">{escape(score_unit)}</text>')
    for t in upright.ticks:
        y = up(t)
        parts.append(f'<line class="grid" x1="{across.left}%" x2="{RIGHT}%" y1="{y:.1f}" y2="{y:.1f}"/>')
        place = f'x="{across.left}%" dx="-9" y="{y + 4:.1f}" text-anchor="end"'
        parts.append(f'<text class="tick" {place}>{number(t)}</text>')
    for i, j in zip(frontier, [*frontier[1:], None], strict=False):
        a, y = across(dots[i].cost), up(dots[i].score)
        b = RIGHT if j is None else across(dots[j].cost)
        parts.append(f'<line class="zero" x1="{a:.2f}%" x2="{b:.2f}%" y1="{y:.1f}" y2="{y:.1f}"/>')
        if j is not None:
            parts.append(f'<line class="zero" x1="{b:.2f}%" x2="{b:.2f}%" y1="{y:.1f}" y2="{up(dots[j].score):.1f}"/>')
    taken: list[tuple[float, float]] = []
    for k, d in enumerate(dots, 1):
        x, y = across(d.cost), up(d.score)
        if d.low is not None and d.high is not None:
            parts.append(
                f'<line class="whisker t-{d.tone}" x1="{x:.2f}%" x2="{x:.2f}%" y1="{up(d.low):.1f}" y2="{up(d.high):.1f}"/>'
            )
        parts.append(
            f'<g class="t-{d.tone}"><circle class="dot" cx="{x:.2f}%" cy="{y:.1f}" r="5.5">'
            f"<title>{escape(d.label)}: {number(d.cost)}, {number(d.score)}</title></circle></g>"
        )
        word = y
        while any(abs(a - x) < 5 and abs(b - word) < 13 for a, b in taken):
            word += 13
        taken.append((x, word))
        right = x < 85
        place = 'dx="9" text-anchor="start"' if right else 'dx="-9" text-anchor="end"'
        parts.append(f'<text class="mark" x="{x:.2f}%" y="{word + 4:.1f}" {place}>{k}</text>')
    parts += _legend([d.label for d in dots], bottom + 44)
    return _svg(title, bottom + 44 + LINE * len(dots), parts)


def _legend(labels: Sequence[str], top: float, lines: bool = False) -> list[str]:
    """The labels of numbered marks, one a line; with a piece of their curve where the marks are curves."""
    found = []
    for k, label in enumerate(labels, 1):
        y = top + LINE * (k - 1)
        found.append(f'<text class="mark" x="0" y="{y + 13}">{k}</text>')
        if lines:
            found.append(f'<line class="s{k} line" x1="18" x2="54" y1="{y + 9}" y2="{y + 9}"/>')
        found.append(f'<text class="note" x="{62 if lines else 24}" y="{y + 13}">{escape(_cut(label))}</text>')
    return found


def curves(rows: Sequence[Curve], title: str, unit: str, share_unit: str) -> str:
    """Falling steps with bands, numbered in the order given, with their labels below; `SERIES` of them at most."""
    across = _Scale([v for r in rows for v in r.tau], left=12.0)
    top, bottom = 22.0, 262.0
    tall = bottom - top
    parts = across.axis(top, bottom, unit)
    parts.append(f'<text class="unit" x="0" y="13">{escape(share_unit)}</text>')
    for t in (0, 0.25, 0.5, 0.75, 1):
        y = bottom - tall * t
        parts.append(f'<line class="grid" x1="{across.left}%" x2="{RIGHT}%" y1="{y:.1f}" y2="{y:.1f}"/>')
        place = f'x="{across.left}%" dx="-9" y="{y + 4:.1f}" text-anchor="end"'
        parts.append(f'<text class="tick" {place}>{t:.0%}</text>')
    # Lines between two places in per cent need a picture of their own, stretched to the width.
    box = f'x="{across.left}%" y="{top}" width="{RIGHT - across.left}%" height="{tall}" viewBox="0 0 1000 {tall:g}"'
    bands, lines, words = [], [], []
    taken: list[tuple[float, float]] = []
    for k, r in enumerate(rows[:SERIES], 1):
        xs = [10 * (across(v) - across.left) * 100 / (RIGHT - across.left) for v in r.tau]
        if r.low and r.high:
            outline = [*_steps(xs, r.high, tall), *reversed(_steps(xs, r.low, tall))]
            bands.append(f'<path class="s{k} fill" d="M{" ".join(outline)}Z"/>')
        said = f"<title>{escape(r.label)}</title>"
        lines.append(
            f'<path class="s{k} line" d="M{" ".join(_steps(xs, r.share, tall))}" vector-effect="non-scaling-stroke">{said}</path>'
        )
        x, y = _room([(across(v), bottom - tall * s) for v, s in zip(r.tau, r.share, strict=True)], taken)
        taken.append((x, y))
        words.append(f'<text class="mark" x="{x:.2f}%" y="{y - 5:.1f}" dx="3">{k}</text>')
    drawn = f'<svg {box} preserveAspectRatio="none" overflow="visible">{"".join(bands)}{"".join(lines)}</svg>'
    legend = _legend([r.label for r in rows[:SERIES]], bottom + 44, lines=True)
    return _svg(title, bottom + 44 + LINE * len(rows[:SERIES]), [*parts, drawn, *words, *legend])


def _steps(xs: Sequence[float], shares: Sequence[float], tall: float) -> list[str]:
    """Corners of a curve that keeps each value until the next place."""
    found: list[str] = []
    before: float | None = None
    for x, s in zip(xs, shares, strict=True):
        y = tall * (1 - s)
        if before is not None:
            found.append(f"{x:.1f},{before:.1f}")
        found.append(f"{x:.1f},{y:.1f}")
        before = y
    return found


def _room(places: Sequence[tuple[float, float]], taken: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The place of a curve, nearest to its middle, where a number stands clear of the others."""
    heights = [y for _, y in places]
    middle = (min(heights) + max(heights)) / 2
    falls = [(x, y + share * (z - y)) for (_, y), (x, z) in pairwise(places) for share in (0.5, 0.35, 0.65, 0.2, 0.8)]
    for x, y in sorted([*places, *falls], key=lambda p: abs(p[1] - middle)):
        if all(abs(a - x) > 3 or abs(b - y) > 13 for a, b in taken):
            return x, y
    return places[len(places) // 2]


def shares(rows: Sequence[Share], title: str, unit: str, limit: float) -> str:
    """One bar per row from 0, and the limit as a dashed line; what is over it says so in its words."""
    scale = _Scale([0.0, limit, *(r.share for r in rows)])
    parts: list[str] = []
    y = 4.0
    for r in rows:
        words, at = _row(r.label, r.note, y)
        wide = scale(r.share) - scale(0.0)
        tone = "worse" if r.over else "plain"
        bar = (
            f'<rect class="bar" x="{scale(0.0):.2f}%" y="{at + 4}" width="{max(wide, 0.15):.2f}%" height="10" rx="2"/>'
        )
        parts += [*words, f'<g class="t-{tone}">{bar}</g>']
        y = at + 25
    x = scale(limit)
    under = [*scale.axis(4, y, unit), f'<line class="zero" x1="{x:.2f}%" x2="{x:.2f}%" y1="4" y2="{y}"/>']
    return _svg(title, y + 40, [*under, *parts])


@functools.cache
def _alone() -> str:
    """What a page defines, for a drawing without one: light, on white."""
    words = '"Segoe UI",Roboto,"DejaVu Sans",sans-serif'
    return f"svg {{ color: #1d2125; background: #fff; font-family: system-ui,{words}; }}\n{drawn()}"


def standing_alone(drawing: str, width: int = 900, styled: bool = True) -> str:
    """A drawing of this module as XML of its own: with a name space, and (styled) with colours and a width in pixels.

    Names may hold characters that XML has no way to write; a sign stands for each.
    """
    head, rest = _UNWRITABLE.sub("\N{REPLACEMENT CHARACTER}", drawing).split(">", 1)
    head += ' xmlns="http://www.w3.org/2000/svg">'
    if not styled:  # a page may refuse styles in markup: how wide it must be stands as data
        return head.replace('style="min-width:', 'data-wide="') + rest
    return head.replace('width="100%"', f'width="{width}"') + f"<style>{_alone()}</style>{rest}"
