"""The section of the report on participants: who took part, and what they answered."""

from __future__ import annotations

from html import escape

from crossplay.study.page import badge, details, table
from crossplay.study.plots import difference_words, estimate_words, verdict_words
from crossplay.study.sessions import Asked
from crossplay.study.tables import Result

__all__ = ["participants"]


def participants(result: Result) -> str:
    """Attendance, then one table per question; "" where the study has no participants."""
    a = result.attendance
    if a is None:
        return ""
    rows = [
        ("wanted", str(a.wanted)),
        ("took part", str(a.took_part)),
        ("complete", str(a.complete)),
        ("left before the end", str(a.left)),
        ("not finished yet", str(a.going)),
        ("declined", str(a.declined)),
        *([("links taken back before they were used", str(a.unused))] if a.unused else []),
        *([("withdrew, and had everything of theirs removed", str(a.withdrawn))] if a.withdrawn else []),
    ]
    found = table("Participants", ("", ">participants"), rows)
    if a.incomplete:
        unfinished = [(escape(name), f"{k} of {a.episodes}") for name, k in a.incomplete.items()]
        found += table("Incomplete sessions, whose finished episodes count", ("participant", ">episodes"), unfinished)
    return found + "".join(_asked(result, q) for q in result.asked)


def _asked(result: Result, q: Asked) -> str:
    parts = [f"<h3>{escape(q.ask)}</h3>"]
    scored = [r for r in q.rows if r.summary is not None]
    if scored:
        bounds = "" if q.low is None or q.high is None else f" ({q.low:g} to {q.high:g})"
        head = (
            "lineup",
            f">{q.name} [{result.level:.0%}]",
            f">difference [Holm {result.level:.0%}]",
            "",
            ">participants",
        )
        lines = []
        for r in scored:
            assert r.summary is not None
            c = r.comparison
            said = "" if c is None else f"{badge(verdict_words(c))}"
            by = "" if c is None else escape(difference_words(c, 2))
            lines.append(
                (escape(r.lineup or "all"), escape(estimate_words(r.summary.mean, 2)), by, said, str(r.answers))
            )
        parts.append(table(f"{q.name}{bounds}: mean over participants", head, lines))
    for r in q.rows:
        about = r.lineup or "all"
        if r.counts:
            counts = [(escape(k), str(n)) for k, n in sorted(r.counts.items(), key=lambda kv: (-kv[1], kv[0]))]
            parts.append(table(f"{q.ask} ({about})", ("answer", ">participants"), counts))
        if r.texts:
            said = "".join(f"<li><b>{escape(name)}</b>: {escape(text)}</li>" for name, text in r.texts.items())
            parts.append(details(f"{len(r.texts)} texts ({about})", f"<ul>{said}</ul>"))
    return "".join(parts)
