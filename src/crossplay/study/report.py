"""The report of a run: one HTML file that opens offline and holds everything it shows.

Answers come first, then scores, plots with their numbers, faults, costs, controls, pictures of
replayed episodes, and what is needed to play the run again. No script, no outside reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from crossplay.kernel import CrossplayError
from crossplay.measure.stats.results import Comparison
from crossplay.records import RunFolder
from crossplay.study.evidence import again, price_note, provenance, replays
from crossplay.study.inside_page import inside_teams
from crossplay.study.named import agent_words, lineup_words, of_all
from crossplay.study.page import badge, details, download, facts, figure, page, section, table
from crossplay.study.people_page import participants
from crossplay.study.plots import (
    ALONE,
    VERDICTS,
    Plot,
    cost_plot,
    difference_words,
    differences_plot,
    estimate_words,
    payoff_plot,
    scores_plot,
    verdict_words,
)
from crossplay.study.spec import Study
from crossplay.study.tables import Payoff, Result, Row, result_of
from crossplay.study.verdicts import Answer, over
from crossplay.study.verify import load_run

__all__ = ["report_html", "write_report"]

FILES = {"scores": "scores", "differences": "paired differences", "payoff": "payoff", "cost": "cost"}
ONE = "deterministic, n = 1"
FOLD = 16  # lineups above which a plot is folded away
MANY = 8  # comparisons that are spelled out; more are gathered
GATHERED = {
    "better": "are better than {baseline}",
    "worse": "are worse than {baseline}",
    "tied": "are tied with {baseline} within the margin of {margin}",
    "underpowered": "cannot be told apart from {baseline}",
    ALONE: "have no interval beside {baseline}, because one of the two always plays the same episode",
}


def write_report(run: Path, out: Path | None = None) -> Path:
    """Write the report of a run folder (default: report.html in it); where it was written."""
    folder, study = load_run(run)
    with folder:
        text = report_html(folder, study)
    path = out or run / "report.html"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    except OSError as error:
        raise CrossplayError(f"{path}: {error.strerror or error}") from None
    return path


def report_html(run: RunFolder, study: Study) -> str:
    """The report of an open run and its resolved study."""
    result = result_of(run, study)
    sources = run.sources()
    agents, models = of_all(sources), of_all(sources, "models")
    sections = {
        "answers": ("Answers", _answers(result)),
        "asked": ("What was asked", _asked(study, result, agents, run)),
        "scores": ("Scores", _scores(result, study, agents)),
        "differences": ("Paired differences, block by block", _differences(result)),
        "people": ("Participants", participants(result)),
        "payoff": ("Payoff matrix", "".join(_payoff(p, result) for p in result.payoffs)),
        "distinct": ("Distinct episodes", _distinct(result)),
        "faults": ("Fallbacks and invalid actions", _faults(result, study)),
        "cost": ("Cost", _cost(result, models)),
        "teams": ("Inside the teams", inside_teams(run, study)),
        "controls": ("Controls and notes", _controls(result)),
        "replay": ("Replay", replays(run, study, result)),
        "provenance": ("Where it comes from", provenance(run, agents)),
        "again": ("Play it again", again(run, study)),
    }
    links = "".join(f'<li><a href="#{k}">{escape(t)}</a></li>' for k, (t, html) in sections.items() if html)
    head = [
        f"<header>\n<h1>{escape(study.name)}</h1>",
        f"<p>{escape(study.description)}</p>" if study.description else "",
        f'<p class="soft">{escape(", ".join(study.environments))}: {result.episodes} of {result.planned} planned '
        f"episodes, {len(study.blocks)} blocks, root seed {study.root}.</p>",
        f'<nav aria-label="Sections"><ul>{links}</ul></nav>\n</header>\n<main>',
    ]
    body = [section(k, t, html) for k, (t, html) in sections.items()]
    return page(f"{study.name}: Crossplay report", [*head, *body, "</main>"])


# -- words and numbers -----------------------------------------------------------------------------------
def _verdict(c: Comparison, digits: int) -> str:
    """What a comparison says, as a sentence in HTML."""
    a, b = f"<b>{escape(c.candidate)}</b>", f"<b>{escape(c.baseline)}</b>"
    by, blocks = f"{difference_words(c, digits)} {escape(c.metric)}", over(c)
    match c.verdict:
        case _ if c.adjusted_interval is None:
            said = f"{a} and {b} differ by {by} {blocks}, without an interval: their episodes do not vary."
        case "better":
            said = f"{a} is better than {b}: {by} {blocks}."
        case "worse":
            said = f"{a} is worse than {b}: {by} {blocks}."
        case "tied":
            said = f"{a} and {b} are tied within the margin of {c.margin:g}: {by} {blocks}."
        case _:
            need = f" About {c.episodes_needed:,} episodes per lineup would settle it." if c.episodes_needed else ""
            said = f"{a} and {b} cannot be told apart: {by} {blocks}.{need}"
    marks = "".join(f" {badge(m)}" for m in c.marks)
    return f"{_word(c)} {said}{marks}"


def _word(c: Comparison) -> str:
    """The verdict as a label."""
    return f'<span class="verdict {c.verdict}">{verdict_words(c)}</span>'


def _envs(result: Result) -> list[str]:
    return list(dict.fromkeys(r.env for r in result.rows))


def _heading(result: Result, env: str) -> str:
    """The environment's name where there are several."""
    return f"<h3>{escape(env)}</h3>" if len(_envs(result)) > 1 else ""


# -- sections ----------------------------------------------------------------------------------------------
def _answers(result: Result) -> str:
    digits = result.digits
    parts = []
    for env in _envs(result):
        rows = [r for r in result.rows if r.env == env]
        lines = [_answer(a) for a in result.answers if a.env == env]
        compared = [r.comparison for r in rows if r.comparison]
        each = [f'<li class="{c.verdict}">{_verdict(c, digits)}</li>' for c in compared]
        lines += each if len(each) <= MANY else _grouped(compared)
        best = max(r.summary.mean.value for r in rows)
        tops = [r for r in rows if r.summary.mean.value == best]
        names = " and ".join(f"<b>{escape(r.lineup)}</b>" + (f" ({escape(r.role)})" if r.role else "") for r in tops)
        said = f"{estimate_words(tops[0].summary.mean, digits)} {result.metric}"
        lines.append(f"<li>Highest mean of the lineups: {names}, {escape(said)}.</li>")
        parts.append(_heading(result, env) + '<ul class="answers">' + "".join(lines) + "</ul>")
        if len(each) > MANY:
            parts.append(details("Every comparison in words", '<ul class="answers">' + "".join(each) + "</ul>"))
    few = sorted({w for r in result.rows if r.summary.mean.n > 1 for w in r.summary.warnings})
    if few:
        parts.append('<p class="note">Read with care: ' + "; ".join(escape(w) for w in few) + ".</p>")
    if result.episodes < result.planned:
        parts.append(
            f'<p class="note"><span class="flag">Unfinished:</span> {result.episodes} of {result.planned} planned '
            "episodes are in; the same command goes on.</p>"
        )
    return "".join(parts) or '<p class="note">No episode with a score yet.</p>'


def _answer(a: Answer) -> str:
    """A question of the study with its answer."""
    c = a.comparison
    marks = "".join(f" {badge(m)}" for m in c.marks)
    return f'<li class="{c.verdict}"><b>{escape(a.ask)}</b> {_word(c)} {escape(a.sentence)}{marks}</li>'


def _grouped(compared: Sequence[Comparison]) -> list[str]:
    """Many comparisons with one baseline, gathered by their verdict."""
    found = []
    for verdict, said in GATHERED.items():
        chosen = [c for c in compared if verdict_words(c) == VERDICTS.get(verdict, verdict)]
        names = [f"<b>{escape(c.candidate)}</b>" for c in chosen]
        if names:
            verdict = chosen[0].verdict
            word = _word(chosen[0])
            head = said.format(baseline=f"<b>{escape(compared[0].baseline)}</b>", margin=f"{compared[0].margin:g}")
            found.append(
                f'<li class="{verdict}">{word} {len(names)} of {len(compared)} {head}: {", ".join(names)}.</li>'
            )
    return found


def _asked(study: Study, result: Result, agents: dict[str, dict[str, Any]], run: RunFolder) -> str:
    ids = {c.extra.get("env", ""): c.env_id for c in run.cells()}
    found = facts(
        {
            "metric": f"{escape(result.metric)}: {escape(result.metric_help)}" if result.metric_help else result.metric,
            "margin": f"{result.margin:g}: smaller differences count as tied",
            "baseline": escape(result.baseline),
            "intervals": f"{result.level:.0%}, over blocks; comparisons with the baseline are one "
            "family, adjusted by Holm's steps",
            "blocks": f"{len(study.blocks)}, met by all lineups; {study.replicates} replicate"
            + ("s" if study.replicates > 1 else "")
            + f" each; root seed {study.root}",
            "environments": "; ".join(f"<code>{escape(ids.get(e, e))}</code>" for e in study.environments),
        }
    )
    who = table(
        "The agents, and what they are",
        ("agent", "what it is", "type"),
        [
            (
                escape(name),
                escape(agent_words(name, study, agents)),
                f"<code>{escape(spec.type)}</code>",
            )
            for name, spec in study.agents.items()
        ],
    )
    return found + who


def _scores(result: Result, study: Study, agents: dict[str, dict[str, Any]]) -> str:
    digits = result.digits
    parts = []
    for env in _envs(result):
        rows = [r for r in result.rows if r.env == env]
        best = max(r.summary.mean.value for r in rows)
        lines = []
        for r in rows:
            c = r.comparison
            top = ' <span aria-label="highest mean">★</span>' if r.summary.mean.value == best else ""
            verdict = "baseline" if r.lineup == result.baseline else ""
            if c is not None:
                verdict = _word(c)
            marks = [m for m in r.summary.marks if m != r.summary.mean.mark] + [
                "over the fault limit"
            ] * r.costs.flagged
            words = f"<small>{escape(lineup_words(r, study, agents))}</small>"
            names = f"{escape(r.lineup)}{top}<br>{words}" + "".join(f" {badge(m)}" for m in marks)
            lines.append(
                (
                    names,
                    escape(estimate_words(r.summary.mean, digits)),
                    escape(difference_words(c, digits)) if c else "",
                    verdict,
                    f"{r.summary.blocks}",
                    f"{r.summary.episodes}",
                )
            )
        columns = (
            "lineup",
            f">{result.metric} [{result.level:.0%}]",
            ">difference [Holm]",
            "verdict",
            ">blocks",
            ">episodes",
        )
        found = table(f"{env}: mean of block means, and paired difference from {result.baseline}", columns, lines)
        parts += [
            _heading(result, env),
            found,
            _foldable(len(rows), _drawn(scores_plot(result, env))),
            _orders(rows, env, digits),
        ]
    return "".join(parts)


def _drawn(plot: Plot | None, before: str = "", after: str = "") -> str:
    """A plot in its figure, with its numbers to keep."""
    if plot is None:
        return ""
    numbers = download(f"{plot.env} {FILES[plot.name]}", plot.columns, plot.rows)
    return figure(escape(plot.said), before + plot.svg + after, numbers)


def _foldable(rows: int, plot: str) -> str:
    """A plot or table, folded away where it would fill the page."""
    return plot if rows <= FOLD else details(f"All {rows} lineups", plot)


def _orders(rows: Sequence[Row], env: str, digits: int) -> str:
    """Lineups whose seats were filled in several orders, one by one."""
    lines = [
        (escape(r.lineup), escape(name), escape(estimate_words(s.mean, digits)), f"{s.distinct}/{s.episodes}")
        for r in rows
        for name, s in r.orders.items()
    ]
    if not lines:
        return ""
    found = table(f"{env}: each seat order alone", ("lineup", "order", ">mean", ">distinct"), lines)
    return details("Seat orders, one by one", found)


def _differences(result: Result) -> str:
    parts = []
    for env in _envs(result):
        plot = differences_plot(result, env)
        if plot is not None:
            compared = sum(r.env == env and r.comparison is not None for r in result.rows)
            parts += [_heading(result, env), _foldable(compared, _drawn(plot))]
    return "".join(parts)


def _payoff(payoff: Payoff, result: Result) -> str:
    plot = payoff_plot(result, payoff.env)
    title = escape(plot.title) if plot is not None else ""
    return _drawn(plot, f'<div class="scroll heatbox" tabindex="0" role="region" aria-label="{title}">', "</div>")


def _distinct(result: Result) -> str:
    lines = []
    for r in result.rows:
        s = r.summary
        known = s.distinct if s.distinct is not None else s.episodes
        said = "all different" if known == s.episodes else ONE if known == 1 and s.episodes > 1 else "some are repeats"
        lines.append((escape(r.lineup), escape(r.env), f"{known} of {s.episodes}", said))
    alone = sum(1 for line in lines if line[-1] == ONE)
    note = (
        "<p>Episodes are told apart by the digest of everything that happened in the world. Repeats carry no "
        "new information: a lineup whose episodes are all one gets no interval."
        + (f" That is so for {alone} of {len(lines)} lineups.</p>" if alone else "</p>")
    )
    columns = ("lineup", "environment", ">distinct", "what it means")
    return note + _foldable(len(lines), table("Distinct episodes", columns, lines))


def _faults(result: Result, study: Study) -> str:
    lines = []
    for r in result.rows:
        c = r.costs
        flag = ' <span class="flag">over the limit</span>' if c.flagged else ""
        ended = ", ".join(f"{escape(k)} {v}" for k, v in sorted(r.statuses.items()))
        lines.append(
            (
                escape(r.lineup) + _where(result, r),
                f"{c.decisions:,}",
                f"{c.fallbacks:,} ({c.fallback_share:.1%}){flag}",
                *(f"{k:,}" for k in (c.invalid, c.repairs, c.timeouts, c.errors, c.held)),
                ended,
            )
        )
    columns = (
        "lineup",
        ">decisions",
        ">fallbacks",
        ">invalid",
        ">repairs",
        ">timeouts",
        ">errors",
        ">held",
        "how episodes ended",
    )
    note = (
        "<p>A fallback is a move that the conduct served because an agent's own did not come or was not "
        f"legal; nothing is substituted silently. A lineup is flagged when more than {study.conduct.fault_limit:.0%} "
        "of the decisions of one of its agents were fallbacks. A repair is an answer that had to be asked for again.</p>"
    )
    return note + _foldable(len(lines), table("Summed over seats and episodes", columns, lines)) + _per_agent(result)


def _where(result: Result, row: Row) -> str:
    return f"<br><small>{escape(row.env)}</small>" if len(_envs(result)) > 1 else ""


def _per_agent(result: Result) -> str:
    names: list[str] = sorted({k for r in result.rows for c in r.costs.by_agent.values() for k in c})
    lines = [
        (escape(r.lineup), escape(agent), *(f"{counts.get(k, 0):,}" for k in names))
        for r in result.rows
        for agent, counts in r.costs.by_agent.items()
    ]
    found = table("Counters of each agent in each lineup", ("lineup", "agent", *(f">{n}" for n in names)), lines)
    return details("Every counter, agent by agent", found)


def _cost(result: Result, models: dict[str, dict[str, Any]]) -> str:
    lines = []
    calls = any(r.costs.calls for r in result.rows)
    for r in result.rows:
        c = r.costs
        money = "no price" if c.money is None else f"{c.money:,.4f}" if 0 < c.money < 1 else f"{c.money:,.2f}"
        lines.append(
            (
                escape(r.lineup) + _where(result, r),
                *(f"{k:,}" for k in (r.summary.episodes, c.calls, c.tok_in, c.tok_out)),
                f"{c.cpu_s:,.1f}",
                money,
                f"{c.wall_s:,.1f}",
            )
        )
    columns = ("lineup", ">episodes", ">model calls", ">tokens in", ">tokens out", ">model CPU s", ">USD", ">wall s")
    found = _foldable(len(lines), table("What all episodes of a lineup spent", columns, lines))
    if not calls:
        return found + '<p class="soft">No lineup called a model, so there is no cost to set against the score.</p>'
    found += "".join(_drawn(cost_plot(result, env)) for env in _envs(result))
    return found + price_note(models)


def _controls(result: Result) -> str:
    digits = result.digits
    lines = [
        f"<li>{escape(r.role.removeprefix('control: '))}: <b>{escape(r.lineup)}</b>"
        f"{f' in {escape(r.env)}' if len(_envs(result)) > 1 else ''}, "
        f"{escape(estimate_words(r.summary.mean, digits))}</li>"
        for r in result.rows
        if r.role
    ]
    lines += [f"<li>{escape(note)}</li>" for note in result.notes]
    return "<ul>" + "".join(lines) + "</ul>" if lines else ""
