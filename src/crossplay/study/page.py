"""Pieces of a page in HTML: every text is escaped here, nothing is referenced from outside."""

from __future__ import annotations

import base64
import csv
import functools
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib import resources
from pathlib import Path

__all__ = [
    "LOOK", "badge", "colours", "data_uri", "details", "download", "drawn", "facts", "figure", "page", "section", "styles",
    "table", "to_csv",
]  # fmt: skip

FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How words begin that a spreadsheet takes for a formula."""

LOOK = Path(__file__).with_name("look.css")
"""The one sheet with the colours and the rules of drawings; the page of `crossplay serve` links it too."""


@functools.cache
def _look() -> tuple[str, str, str]:
    """Of that sheet: the colours of light, those of dark, the rules of drawings."""
    text = re.sub(r"/\* (?!Drawings).*?\*/", "", LOOK.read_text("utf-8"), flags=re.DOTALL)
    head, _, rules = text.partition("/* Drawings */")
    light, dark = re.findall(r":root \{(.*?)\}", head, flags=re.DOTALL)
    return " ".join(light.split()), " ".join(dark.split()), rules.strip()


def colours(dark: bool = False) -> str:
    """The colours as declarations, for a place of their own."""
    return _look()[int(dark)]


def drawn() -> str:
    """The rules of drawings with the colours of light written into them, for drawings that stand alone."""
    light, _, rules = _look()
    known = dict(re.findall(r"--([a-z]+): ([^;]+);", light))
    return re.sub(r"var\(--([a-z]+)\)", lambda found: known[found[1]], rules)


def styles() -> str:
    """The sheets of the report."""
    layout = resources.files("crossplay.study").joinpath("report.css").read_text("utf-8")
    return LOOK.read_text("utf-8") + layout


def page(title: str, body: Iterable[str]) -> str:
    """A whole document: one file, styles inside, no script; the policy in it forbids any loading."""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>{escape(title)}</title>\n<style>\n{styles()}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def section(key: str, title: str, *parts: str) -> str:
    """A section with its heading; nothing where no part has anything."""
    inside = [p for p in parts if p]
    if not inside:
        return ""
    return (
        f'<section id="{key}" aria-labelledby="{key}-h">\n<h2 id="{key}-h">{escape(title)}</h2>\n'
        + "\n".join(inside)
        + "\n</section>"
    )


def table(caption: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that scrolls sideways on its own. Cells are HTML; the first of a row is its heading.

    A column whose name begins with ">" is right-aligned.
    """
    right = [c.startswith(">") for c in columns]

    def cell(i: int, html: str) -> str:
        mark = ' class="r"' if right[i] else ""
        return f'<th scope="row"{mark}>{html}</th>' if i == 0 else f"<td{mark}>{html}</td>"

    head = "".join(
        f'<th scope="col"{" class=r" if r else ""}>{escape(c.lstrip(">"))}</th>'
        for c, r in zip(columns, right, strict=True)
    )
    body = "\n".join("<tr>" + "".join(cell(i, c) for i, c in enumerate(row)) + "</tr>" for row in rows)
    return (
        f'<p class="tcap" aria-hidden="true">{escape(caption)}</p>\n'
        f'<div class="scroll" role="region" aria-label="{escape(caption)}" tabindex="0">'
        f'<table aria-label="{escape(caption)}">\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'
    )


def facts(pairs: Mapping[str, str]) -> str:
    """Names with what they are (HTML)."""
    return '<dl class="facts">' + "".join(f"<dt>{escape(k)}</dt><dd>{v}</dd>" for k, v in pairs.items() if v) + "</dl>"


def details(summary: str, inside: str) -> str:
    """Something folded away."""
    return f"<details><summary>{escape(summary)}</summary>\n{inside}\n</details>"


def badge(text: str) -> str:
    """A small label."""
    return f'<span class="badge">{escape(text)}</span>'


def data_uri(kind: str, data: bytes) -> str:
    """Data as an address of its own."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def to_csv(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """CSV whose words no spreadsheet takes for a formula."""
    lines = []
    for row in (columns, *rows):
        out = io.StringIO()
        words = [f"'{v}" if isinstance(v, str) and v.lstrip(" \n")[:1] in FORMULA else v for v in row]
        csv.writer(out, lineterminator="\r\n").writerow(words)  # so a return inside of a word is quoted too
        lines.append(out.getvalue().removesuffix("\r\n"))
    return "\n".join([*lines, ""])


def download(name: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """The numbers behind a plot: a folded table and a CSV to keep."""
    link = data_uri("text/csv;charset=utf-8", to_csv(columns, rows).encode())
    shown = [[_cell(v) for v in row] for row in rows]
    found = table(name, [c if i == 0 else f">{c}" for i, c in enumerate(columns)], shown)
    file = "".join(c if c.isalnum() else "-" for c in name.lower()) + ".csv"
    return details(
        "The numbers", f'{found}\n<p class="download"><a download="{file}" href="{link}">Download as CSV</a></p>'
    )


def _cell(value: object) -> str:
    if value is None:
        return ""
    return escape(f"{value:.6g}" if isinstance(value, float) else str(value))


def figure(caption: str, plot: str, numbers: str = "") -> str:
    """A plot with what it shows in words (HTML) above, and its numbers below."""
    return f"<figure><figcaption>{caption}</figcaption>\n{plot}\n{numbers}</figure>"
