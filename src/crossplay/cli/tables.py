"""How a result looks in a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossplay.cli import out

if TYPE_CHECKING:
    from crossplay.study.tables import Result

__all__ = ["print_result", "print_slices"]


def print_result(result: Result, folder: Path) -> None:
    """Scores and paired differences, costs and faults, answers, notes, what to do next."""
    for env in dict.fromkeys(r.env for r in result.rows):
        rows = [r for r in result.rows if r.env == env]
        _scores(result, env, rows)
        _costs(rows)
        _diversity([d for d in result.diversity if d.env == env])
    for payoff in result.payoffs:
        played = sum(cell is not None for line in payoff.cells for cell in line)
        if len(payoff.agents) > 2 and 2 * played > len(payoff.agents) ** 2:
            _payoff(payoff, result.metric)
    _asked(result)
    for answer in result.answers:
        out.line(f"{answer.ask} {answer.sentence}")
    for note in result.notes:
        out.line(f"note: {note}")
    if result.attendance is not None and result.attendance.complete < result.attendance.wanted:
        page = f"crossplay serve {folder.parent}"
        out.line(f"people are needed for the rest: {page}, then the page /people/{folder.name} makes their links")
    elif result.episodes < result.planned:
        out.line(f"unfinished: {result.episodes} of {result.planned} episodes; run the study again to go on")
    out.line(f"Next: crossplay report {folder}, or crossplay verify {folder} --level agents")


def _asked(result: Result) -> None:
    """What participants answered: scores with intervals over participants, choices and texts with their numbers."""
    for q in result.asked:
        rows = [r for r in q.rows if r.summary is not None]
        lines = []
        for r in rows:
            c = r.comparison
            i = c.adjusted_interval if c is not None else None
            by = (
                ""
                if c is None
                else f"{c.difference:+.2f} " + (f"[{i.low:.2f}, {i.high:.2f}]" if i else f"({_why(c.marks)})")
            )
            mean = estimate(r.summary.mean, 2) if r.summary is not None else ""
            lines.append(("  " + (r.lineup or "all"), mean, by, "" if c is None else c.verdict, str(r.answers)))
        bounds = "" if q.low is None or q.high is None else f", {q.low:g} to {q.high:g}"
        percent = f"{result.level:.0%}"
        columns = ("lineup", f">{q.name} [{percent}]", f">difference [Holm {percent}]", "verdict", ">participants")
        if rows:
            out.table(f"Asked: {q.ask} ({q.name}{bounds})", columns, lines)
        for r in q.rows:
            about = f" about {r.lineup}" if r.lineup else ""
            if r.counts:
                out.line(f"Asked{about}: {q.ask} " + ", ".join(f"{k}: {n}" for k, n in sorted(r.counts.items())))
            if r.texts:
                out.line(f"Asked{about}: {q.ask} {len(r.texts)} texts; --json shows them")


def _diversity(teams: list[Any]) -> None:
    """K* of the teams, one mode a table."""
    if not teams:
        return
    lines = []
    for d in teams:
        k = f"{d.kstar:.2f}" + ("" if d.low is None else f" [{d.low:.2f}, {d.high:.2f}]")
        numbers = (f"{d.share:.2f}", f"{d.kish:.2f}", f"{d.shuffled:.2f}", str(d.questions))
        lines.append(("  " + d.lineup, str(d.members), k, *numbers))
    columns = ("lineup", ">members", ">K* [95%]", ">K*/N", ">Kish N", ">K* shuffled", ">questions")
    out.table(f"Diversity inside the teams (K*, {teams[0].mode}, {teams[0].encoder})", columns, lines)


def print_slices(result: Result, manifests: Mapping[str, Any], facet: str, json: bool = False) -> None:
    """The lineups by a facet of their agents, each slice with its mean."""
    from crossplay.study.slices import slice_by, slice_mean

    found = [(s, slice_mean(s, result.scores, result.level)) for s in slice_by(result.rows, manifests, facet)]
    if json:
        slices = [
            {"env": s.env, "value": s.value, "lineups": s.lineups, "episodes": s.episodes, "mean": mean}
            for s, mean in found
        ]
        out.print_json({"by": facet, "metric": result.metric, "slices": slices})
        return
    for env in dict.fromkeys(s.env for s, _ in found):
        lines = [
            (
                "  " + s.value,
                "no common block" if mean is None else estimate(mean),
                f"{s.episodes:,}",
                ", ".join(s.lineups),
            )
            for s, mean in found
            if s.env == env
        ]
        columns = (facet, f">{result.metric} [{result.level:.0%}]", ">episodes", "lineups")
        out.table(f"{result.name}: {env} by {facet}", columns, lines)
    out.line(
        "A slice is a mean over its lineups inside each block; lineups that differ in more than one facet are not compared by it."
    )


def estimate(e: Any, digits: int = 1) -> str:
    """`106.7 [88.3, 125.0]`, or the value with the reason why it has no interval."""
    if e.interval is None:
        return f"{e.value:.{digits}f} ({e.mark or 'no interval'})"
    return f"{e.value:.{digits}f} [{e.interval.low:.{digits}f}, {e.interval.high:.{digits}f}]"


def _why(marks: Sequence[str]) -> str:
    """Why a difference has no interval."""
    return next((m for m in ("deterministic, n = 1", "n = 1", "no variation") if m in marks), "no interval")


def _scores(result: Result, env: str, rows: list[Any]) -> None:
    best = max((r.summary.mean.value for r in rows), default=None)
    lines, n = [], result.digits
    for r in rows:
        s, c = r.summary, r.comparison
        mark = "* " if r.summary.mean.value == best else "  "
        difference, verdict = ("baseline", "") if r.lineup == result.baseline else ("", "")
        if c is not None:
            i = c.adjusted_interval
            difference = f"{c.difference:+.{n}f} " + (f"[{i.low:.{n}f}, {i.high:.{n}f}]" if i else f"({_why(c.marks)})")
            verdict = c.verdict
        marks = [m for m in s.marks if m != s.mean.mark]  # that one stands beside the value already
        if c is not None and c.episodes_needed:
            marks.append(f"needs {c.episodes_needed} episodes")
        if s.mean.n < 10 and s.mean.interval:
            marks.append("few participants" if s.mean.n < s.blocks else "few blocks")
        lines.append(
            (
                mark + r.lineup,
                r.role.removeprefix("control: "),
                estimate(s.mean, n),
                difference,
                verdict,
                f"{s.distinct}/{s.episodes}",
                str(s.blocks),
                ", ".join(marks),
            )
        )
    percent = f"{result.level:.0%}"
    columns = (
        "lineup",
        "role",
        f">{result.metric} [{percent}]",
        f">difference [Holm {percent}]",
        "verdict",
        ">distinct",
        ">blocks",
        "marks",
    )
    out.table(f"{result.name}: {env} ({result.metric}: {result.metric_help})", columns, lines)


def _costs(rows: list[Any]) -> None:
    lines = []
    for r in rows:
        c = r.costs
        money = "?" if c.money is None else f"{c.money:.2f}"
        flag = "! over the limit" if c.flagged else ""
        lines.append(
            (
                "  " + r.lineup,
                f"{c.decisions:,}",
                f"{c.fallback_share:.1%}",
                f"{c.invalid:,}",
                f"{c.repairs:,}",
                f"{c.errors + c.timeouts:,}",
                f"{c.calls:,}",
                f"{c.tok_in:,}",
                f"{c.tok_out:,}",
                f"{c.cpu_s:.1f}",
                money,
                flag,
            )
        )
    columns = (
        "lineup",
        ">decisions",
        ">fallbacks",
        ">invalid",
        ">repairs",
        ">errors",
        ">calls",
        ">tokens in",
        ">tokens out",
        ">model CPU s",
        ">USD",
        "",
    )
    out.table("Costs and faults, all episodes of a lineup", columns, lines)


def _payoff(payoff: Any, metric: str) -> None:
    rows = [
        (name, *("" if c is None else estimate(c.mean) for c in line))
        for name, line in zip(payoff.agents, payoff.cells, strict=True)
    ]
    out.table(
        f"Payoff matrix: {metric}, first seat by row, second by column", ("", *(f">{a}" for a in payoff.agents)), rows
    )
