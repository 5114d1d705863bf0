"""What a run says: its result as data, its plots as drawings and numbers, the ledgers of its teams."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from crossplay.kernel import CrossplayError, nearest
from crossplay.study.across import MOST, Across, Played, across
from crossplay.study.inside import inside_of
from crossplay.study.inside_page import sentences
from crossplay.study.named import lineup_words, of_all
from crossplay.study.page import to_csv
from crossplay.study.plots import PLOTS, Plot, difference_words, estimate_words, plot_of, verdict_words
from crossplay.study.progress import stamp_of, whole_stamp
from crossplay.study.spec import Study
from crossplay.study.svg import standing_alone
from crossplay.study.tables import NO_MARGIN, Result, result_of
from crossplay.study.values import metrics_of
from crossplay.study.verdicts import sentence
from crossplay.study.verify import load_run
from crossplay.teams.ledger import TeamLedger
from crossplay.web.api import Download, Route
from crossplay.web.desk import Desk, NotFound
from crossplay.web.service.teams import unjudged

__all__ = ["ROUTES", "Loaded", "load"]

PlotName = Literal["scores", "differences", "payoff", "profiles", "cost", "faults"]
Text = Annotated[str, msgspec.Meta(max_length=200)]
VALUES = 2_000_000
"""Block means of results that are remembered."""


class Loaded(msgspec.Struct):
    """A run read once: its result, its study, its environments' ids, names of its metrics, manifests of its agents."""

    result: Result
    study: Study
    env_ids: dict[str, str]
    metrics: dict[str, str]
    agents: dict[str, Any]
    plots: dict[tuple[str, str], Plot | None] = {}


def load(desk: Desk, run: str, metric: str = "") -> Loaded:
    """A run's result as it is now, remembered until the run changes; by the metric of its study, or another of its.

    Raises `NotFound`, and CrossplayError for a metric that it does not have or a run that cannot be read.
    """
    folder = desk.run_folder(run)
    return desk.kept(
        ("result", folder, metric), lambda: whole_stamp(folder), lambda: _load(folder, metric), VALUES, _size
    )


def _size(found: Loaded) -> int:
    return sum(len(s.values) for s in found.result.scores)


def _load(folder: Path, metric: str) -> Loaded:
    run, study = load_run(folder)
    with run:
        metrics = metrics_of(run)
        if metric and metric not in metrics:
            raise CrossplayError(f'{folder.name} has no metric "{metric[:80]}".{nearest(metric[:80], metrics)}')
        if metric and metric != study.metric:  # the margin is in units of the study's own metric
            study = msgspec.structs.replace(study, metric=metric, margin=NO_MARGIN)
        ids = {str(c.extra.get("env", "")): c.env_id for c in run.cells()}
        return Loaded(result_of(run, study), study, ids, metrics, of_all(run.sources()))


# -- the result ----------------------------------------------------------------------------------------------
class Said(msgspec.Struct):
    """One thing that a run says, in a sentence. kind: "question" (of the study), "comparison" (with the baseline) or
    "best" (the highest mean). ask: the question. verdict: better, worse, tied, underpowered or "".
    word: the verdict in a word or two. candidate: the lineup it is about.
    """

    env: str
    kind: str
    sentence: str
    ask: str = ""
    verdict: str = ""
    word: str = ""
    candidate: str = ""
    marks: list[str] = []


class ResultView(msgspec.Struct):
    """A result: sentences first, then the tables that they come from.

    result: `crossplay.result` as data (its per-block scores are left out unless asked for). words: lineup of an
    environment (ENV/LINEUP) -> who sits there, in words. means, differences: the same lineups -> numbers in words.
    digits: decimal places that show the metric. metrics: what else can be asked for, with what it means.
    plots: names of plots, and what they are called. warnings: why to read the intervals with care.
    """

    said: list[Said]
    result: Result
    words: dict[str, str]
    means: dict[str, str]
    differences: dict[str, str]
    environments: list[str]
    digits: int
    metrics: dict[str, str]
    plots: dict[str, str]
    warnings: list[str]


class ResultQuery(msgspec.Struct):
    """metric: another one than the study's; then no margin counts as tied. scores: with the mean score of every block."""

    metric: Text = ""
    scores: bool = False


def show_result(desk: Desk, run: str, query: ResultQuery) -> ResultView:
    """What a run says: answers in sentences, scores with intervals, paired differences with verdicts, costs, controls."""
    found = load(desk, run, query.metric)
    result = found.result
    digits = result.digits
    keys = [(f"{r.env}/{r.lineup}", r) for r in result.rows]
    environments = list(dict.fromkeys(r.env for r in result.rows))
    return ResultView(
        [s for env in environments for s in _said(result, env)],
        result if query.scores else msgspec.structs.replace(result, scores=[]),
        {k: lineup_words(r, found.study, found.agents) for k, r in keys},
        {k: estimate_words(r.summary.mean, digits) for k, r in keys},
        {k: difference_words(r.comparison, digits) for k, r in keys if r.comparison is not None},
        environments,
        digits,
        found.metrics,
        PLOTS,
        sorted({w for r in result.rows if r.summary.mean.n > 1 for w in r.summary.warnings}),
    )


def _said(result: Result, env: str) -> list[Said]:
    said = []
    for a in result.answers:
        if a.env == env:
            c = a.comparison
            said.append(
                Said(env, "question", a.sentence, a.ask, c.verdict, verdict_words(c), c.candidate, list(c.marks))
            )
    rows = [r for r in result.rows if r.env == env]
    for r in rows:
        if r.comparison is not None:
            c = r.comparison
            plain = sentence(c)
            for prefix in ("Yes: ", "No: ", "Not shown: ", "No answer: "):  # nothing was asked
                plain = plain.removeprefix(prefix)
            said.append(Said(env, "comparison", plain, "", c.verdict, verdict_words(c), c.candidate, list(c.marks)))
    best = max(r.summary.mean.value for r in rows)
    for r in (r for r in rows if r.summary.mean.value == best):
        mean = f"{estimate_words(r.summary.mean, result.digits)} {result.metric}"
        role = f" ({r.role})" if r.role else ""
        said.append(Said(env, "best", f"Highest mean: {r.lineup}{role}, {mean}.", candidate=r.lineup))
    return said


# -- plots ---------------------------------------------------------------------------------------------------
class PlotQuery(msgspec.Struct):
    """env: of which environment of the study (default: its first). metric: another one than the study's.
    inline: for a page that has the colours; otherwise the drawing stands by itself.
    """

    env: Text = ""
    metric: Text = ""
    inline: bool = False


class PlotView(msgspec.Struct):
    """A plot for a page. svg: the drawing, without colours of its own; "" where there is nothing to draw.

    said: how to read it, or why there is none. legend: of its numbered marks, in order.
    """

    plot: str
    env: str
    title: str
    said: str
    svg: str
    legend: list[str]


EMPTY = {
    "scores": "No episode has a score yet.",
    "differences": "There is nothing to compare: the study names no baseline, or it has no scores yet.",
    "payoff": "No environment with two seats was played by several agents.",
    "profiles": "No episode has a score yet.",
    "cost": "No lineup called a model, so there is no cost to set against the score.",
    "faults": "No agent has decided anything yet.",
}


def _plot(desk: Desk, run: str, plot: str, query: PlotQuery) -> tuple[str, Plot | None]:
    """(environment, the plot, or None where there is nothing to draw)."""
    found = load(desk, run, query.metric)
    known = list(found.study.environments)
    env = query.env or known[0]
    if env not in known:
        raise CrossplayError(f'{run} has no environment "{env[:80]}".{nearest(env[:80], known)}')
    slot = (plot, env)
    if slot not in found.plots:
        found.plots[slot] = plot_of(found.result, plot, env, found.study.conduct.fault_limit)
    return env, found.plots[slot]


def show_plot(desk: Desk, run: str, plot: PlotName, query: PlotQuery) -> PlotView:
    """A plot with its words, for a page."""
    env, found = _plot(desk, run, plot, query)
    if found is None:
        return PlotView(plot, env, PLOTS[plot], EMPTY[plot], "", [])
    drawn = standing_alone(found.svg, styled=False) if found.svg else ""
    return PlotView(plot, env, found.title, found.said, drawn, list(found.legend))


def plot_svg(desk: Desk, run: str, plot: PlotName, query: PlotQuery) -> Download:
    """A plot as SVG: a file of its own, or (inline) for a page that has the colours."""
    _, found = _plot(desk, run, plot, query)
    if found is None or not found.svg:
        raise NotFound(EMPTY[plot] if found is None else found.said)
    text = standing_alone(found.svg, styled=not query.inline)
    name = "" if query.inline else f"{run}-{found.env}-{plot}.svg"
    return Download(text.encode(), "image/svg+xml", name)


def plot_csv(desk: Desk, run: str, plot: PlotName, query: PlotQuery) -> Download:
    """The numbers behind a plot as CSV: all of them, also where the drawing leaves some out."""
    _, found = _plot(desk, run, plot, query)
    if found is None:
        raise NotFound(EMPTY[plot])
    return Download(to_csv(found.columns, found.rows).encode(), "text/csv", f"{run}-{found.env}-{plot}.csv")


# -- teams ---------------------------------------------------------------------------------------------------
class Team(msgspec.Struct):
    """A team in one lineup: its ledger, and its single numbers in sentences."""

    ledger: TeamLedger
    said: list[str]


class Teams(msgspec.Struct):
    """The teams of a run, controls that are teams among them."""

    teams: list[Team]


def show_teams(desk: Desk, run: str) -> Teams:
    """Who did what inside the teams of a run: asks, words, tokens, money, answers that changed, agreement."""
    folder = desk.run_folder(run)

    def read() -> Teams:
        opened, study = load_run(folder)
        with opened:
            left = {label: why for label, spec in study.environments.items() if (why := unjudged(spec.name))}
            return Teams([Team(t, sentences(t)) for t in inside_of(opened, study, unjudged=left)])

    return desk.kept(("teams", folder), lambda: stamp_of(folder), read)


# -- runs side by side ---------------------------------------------------------------------------------------
class CompareQuery(msgspec.Struct):
    """runs: names of 2 to 8 runs, the one that the others are compared with first. metric: another one than their studies'."""

    runs: list[Text]
    metric: Text = ""


def compare_runs(desk: Desk, query: CompareQuery) -> Across:
    """Several runs side by side: the environments and blocks they share, their scores and costs, what changed.

    Lineups of one name are compared, paired where the blocks are the same worlds. Runs that share no environment or
    are measured by different things are refused.
    """
    if len(set(query.runs)) < len(query.runs):
        raise CrossplayError("a run stands twice; name different ones to compare")
    if not 2 <= len(query.runs) <= MOST:
        raise CrossplayError(f"{len(query.runs)} runs: expected 2 to {MOST} different ones to compare")
    found = {run: load(desk, run, query.metric) for run in query.runs}
    return across(
        {
            run: Played(x.result, x.study.root, x.env_ids, x.agents, {k: s.seats for k, s in x.study.lineups.items()})
            for run, x in found.items()
        }
    )


ROUTES = [
    Route("GET", "/compare", compare_runs),
    Route("GET", "/runs/{run}/result", show_result),
    Route("GET", "/runs/{run}/teams", show_teams),
    Route("GET", "/runs/{run}/plots/{plot}.svg", plot_svg, kind="image/svg+xml"),
    Route("GET", "/runs/{run}/plots/{plot}.csv", plot_csv, kind="text/csv"),
    Route("GET", "/runs/{run}/plots/{plot}", show_plot),
]
