"""Markdown as plain structure: headings, paragraphs, lists, code, tables. What is written is text; nothing becomes HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Literal

import msgspec

__all__ = ["Part", "Section", "sections"]

_HEAD = re.compile(r"(#{1,6})\s+(.*)")
_ITEM = re.compile(r"\s{0,3}(?:[-*+]|\d+[.)])\s+(.*)")


class Part(msgspec.Struct):
    """kind: p (a paragraph in `lines`, joined), list (one item a line), code (lines as they are), table (rows of cells, the
    first is the head). Text may hold `code`, **strong** and [words](address) as written.
    """

    kind: Literal["p", "list", "code", "table"]
    lines: list[str] = []
    rows: list[list[str]] = []


class Section(msgspec.Struct):
    """A heading with what stands under it. level: 1 for the title; 0 for what stands before any heading."""

    level: int
    title: str
    parts: list[Part]


def sections(text: str) -> list[Section]:
    """The sections of a text in order."""
    found = [Section(0, "", [])]
    for block in _blocks(text.splitlines()):
        head = _HEAD.fullmatch(block[0]) if len(block) == 1 else None
        if head:
            found.append(Section(len(head[1]), head[2].strip(), []))
        else:
            found[-1].parts.append(_part(block))
    return [s for s in found if s.title or s.parts]


def _blocks(lines: list[str]) -> Iterator[list[str]]:
    """Lines that belong together: headings alone, fenced code with its fences, else what no empty line parts."""
    block: list[str] = []
    fenced = False
    for line in lines:
        fence = line.lstrip().startswith("```")
        ends = not fenced and (not line.strip() or fence or _HEAD.fullmatch(line))
        if ends and block:
            yield block
            block = []
        if fenced and fence:
            yield [*block, line]
            block, fenced = [], False
        elif _HEAD.fullmatch(line) and not fenced:
            yield [line]
        elif fence or fenced or line.strip():
            fenced = fenced or fence
            block.append(line)
    if block:
        yield block


def _part(block: list[str]) -> Part:
    if block[0].lstrip().startswith("```"):
        closed = block[-1].lstrip().startswith("```") and len(block) > 1
        return Part("code", block[1:-1] if closed else block[1:])
    if all(line.lstrip().startswith("|") for line in block):
        rows = [[c.strip() for c in line.strip().strip("|").split("|")] for line in block]
        return Part("table", rows=[r for r in rows if not all(re.fullmatch(r":?-+:?", c) for c in r)])
    if _ITEM.fullmatch(block[0]):
        items: list[str] = []
        for line in block:
            item = _ITEM.fullmatch(line)
            if item:
                items.append(item[1].strip())
            else:
                items[-1] += f" {line.strip()}"
        return Part("list", items)
    return Part("p", [" ".join(line.strip() for line in block)])
