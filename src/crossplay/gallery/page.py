"""The page that lists all entries: what each is, what holds at which tier, with figures and commands."""

from __future__ import annotations

from typing import Any

from crossplay.gallery.entry import Entry
from crossplay.gallery.shelf import entry, kept, names

__all__ = ["page"]

_HEAD = """# Gallery

Published multi-agent systems as small, checkable experiments. This page is generated: `crossplay gallery page FILE`.

- **Mechanism** (tier 0): scripted or synthetic agents, against an independent reference, with a null where the effect must
  vanish, and failing when the mechanism is switched off: `crossplay gallery check`. It says nothing about language models.
- **Trial** (tier 1: small local models; tier 2: any endpoint): `crossplay gallery run NAME --tier 1`. Single-agent control,
  floor and ceiling come first; a control within 10 points of either is `not measurable with this model`. Kept trials replay
  without the models: `crossplay gallery run NAME --replay`.

Figures of the publications carry their source: A abstract, S published source, P public page.
"""


def page() -> str:
    """The page as Markdown."""
    found = [entry(n) for n in names()]
    lines = [_HEAD, "| entry | system | mechanism | trials with models |", "|---|---|---|---|"]
    for e in found:
        trials = "<br>".join(_short(t) for t in kept(e.name)) or "none kept"
        parts = ", ".join(m.name for m in e.mechanisms)
        lines.append(f"| [{e.name}](#{e.name}) | {e.title} | checked: {parts} | {trials} |")
    for e in found:
        lines += ["", *_section(e)]
    return "\n".join(lines) + "\n"


def _section(e: Entry) -> list[str]:
    lines = [f"## {e.name}", "", f"{e.title}. Source: {e.source}.", "", e.about, ""]
    lines += [f"- Claim: {c.text} {_tiers(c.tiers)}" for c in e.claims]
    lines += [f"- Published figure [{f.mark}]: {f.text}" for f in e.figures]
    if e.missing:
        lines.append(f"- Not here: {e.missing}")
    for t in kept(e.name):
        lines += ["", *_trial(t)]
    return lines


def _tiers(tiers: tuple[int, ...]) -> str:
    return f"(spoken of at tier {', '.join(map(str, tiers))})" if tiers else "(not tried here)"


def _short(t: dict[str, Any]) -> str:
    return f"tier {t['tier']}, {', '.join(t['models'])}: {t['verdict']}"


def _trial(t: dict[str, Any]) -> list[str]:
    sha = ", ".join(f"{m} {i['sha256'][:12]}" for m, i in t["identities"].items() if i.get("sha256"))
    lines = [f"**Trial** of {t['date']}, tier {t['tier']}, {t['n']} blocks, {', '.join(t['models'])}"
             + (f" (sha256 {sha})" if sha else "") + f", on {t['cpu']}: `{t['command']}`", ""]  # fmt: skip
    lines += [
        "| level | single agent | floor | ceiling | smallest effect found | verdict |",
        "|---|---|---|---|---|---|",
    ]
    for s in t["steps"]:
        three = [f"{v[0]:.3f} [{v[1]:.3f}, {v[2]:.3f}]" for v in (s["single"], s["floor"], s["ceiling"])]
        mde = "" if s["mde"] is None else f"{s['mde']:.3f}"
        lines.append(f"| {s['level']}: {s['about']} | {three[0]} | {three[1]} | {three[2]} | {mde} | {s['verdict']} |")
    lines.append("")
    for s in t["steps"]:
        for f in s["findings"]:
            value = f"{f['value']:.3f}" + ("" if f["low"] is None else f" [{f['low']:.3f}, {f['high']:.3f}]")
            lines.append(f"- {'Holds' if f['holds'] else 'Does not hold'}: {f['says']} ({value}; {f['bound']})")
        for lineup, share in s.get("spoiled", {}).items():
            lines.append(
                f"- Mind: in {lineup}, {share:.0%} of the decisions were not the models' own (no usable answer)"
            )
    return lines
