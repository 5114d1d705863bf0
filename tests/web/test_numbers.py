"""Every number of the result pages is the one of the command line, and every drawing shows the numbers of its CSV."""

import csv
import io
import re
import xml.etree.ElementTree as ET

import msgspec
import pytest
import small

from crossplay.cli import studies as cli
from crossplay.study import svg
from crossplay.study.page import to_csv
from crossplay.study.plots import PLOTS, difference_words, estimate_words
from crossplay.study.tables import Result
from crossplay.web.service.runs import EpisodesQuery, list_episodes, show_run
from crossplay.web.service.study import PlotQuery, ResultQuery, plot_csv, show_plot, show_result, show_teams

RUNS = ["kitchen", "dilemma", "team"]


def make(root):
    for name in RUNS:
        getattr(small, name)(root / name)


folder, desk, client = small.fixtures(make)


@pytest.fixture
def shown(folder, capsys):
    """What `crossplay show --json` prints of a run."""

    def show(run, *words, **options) -> Result:
        assert cli.show(folder / run, *words, json=True, **options) == 0
        return msgspec.json.decode(capsys.readouterr().out, type=Result)

    return show


@pytest.mark.parametrize("run", RUNS)
def test_the_result_is_that_of_the_command_line(desk, shown, run):
    view, by_hand = show_result(desk, run, ResultQuery(scores=True)), shown(run)
    assert msgspec.to_builtins(view.result) == msgspec.to_builtins(by_hand)
    for r in by_hand.rows:
        assert view.means[f"{r.env}/{r.lineup}"] == estimate_words(r.summary.mean, by_hand.digits)
        if r.comparison is not None:
            assert view.differences[f"{r.env}/{r.lineup}"] == difference_words(r.comparison, by_hand.digits)
    assert [s.sentence for s in view.said if s.kind == "question"] == [a.sentence for a in by_hand.answers]
    means = {r.lineup: r.summary.mean.value for r in by_hand.rows}
    assert {s.candidate for s in view.said if s.kind == "best"} == {n for n in means if means[n] == max(means.values())}


@pytest.mark.parametrize("run", RUNS)
def test_the_command_line_prints_the_same_words(desk, folder, capsys, monkeypatch, run):
    monkeypatch.setenv("COLUMNS", "400")
    assert cli.show(folder / run) == 0
    printed = " ".join(capsys.readouterr().out.replace("−", "-").split())
    view = show_result(desk, run, ResultQuery())
    for r in view.result.rows:
        assert r.lineup in printed
        assert (
            f"{r.summary.mean.value:.2f}" in printed
            or f"{r.summary.mean.value:.3f}" in printed
            or estimate_words(r.summary.mean, view.digits).replace("−", "-") in printed
        ), (r.lineup, printed)


@pytest.mark.parametrize("run", RUNS)
def test_heads_and_episodes_add_up_to_the_result(desk, shown, run):
    head, by_hand = show_run(desk, run), shown(run)
    rows = list_episodes(desk, run, EpisodesQuery(limit=500)).rows
    assert len(rows) == head.row.episodes + head.row.void and head.row.planned == by_hand.planned
    assert head.row.episodes == by_hand.episodes == sum(c.done for c in head.cells)
    for name in ("decisions", "calls", "tok_in", "tok_out", "fallbacks", "invalid"):
        told = getattr(head.costs, name)
        if name in ("calls", "tok_in", "tok_out", "fallbacks", "invalid", "decisions"):
            assert told == sum(getattr(r, name) for r in rows), name
    for r in by_hand.rows:
        mine = [e for e in rows if (e.env, e.lineup) == (r.env, r.lineup)]
        assert len(mine) == r.summary.episodes
        for name in ("decisions", "calls", "tok_in", "tok_out", "fallbacks", "invalid"):
            assert sum(getattr(e, name) for e in mine) == getattr(r.costs, name), (r.lineup, name)
        blocks: dict[str, list[float]] = {}
        for e in mine:
            blocks.setdefault(e.block, []).append(e.value)
        means = [sum(v) / len(v) for v in blocks.values()]
        assert sum(means) / len(means) == pytest.approx(r.summary.mean.value)


def test_ledgers_are_those_of_the_command_line(desk, folder, capsys):
    from crossplay.cli.teams import team

    assert team(folder / "team", json=True) == 0
    by_hand = msgspec.json.decode(capsys.readouterr().out)
    assert msgspec.to_builtins([t.ledger for t in show_teams(desk, "team").teams]) == by_hand


# -- drawings --------------------------------------------------------------------------------------------------
def table(desk, run, plot):
    return list(csv.DictReader(io.StringIO(plot_csv(desk, run, plot, PlotQuery()).content.decode())))


def drawn(desk, run, plot):
    text = show_plot(desk, run, plot, PlotQuery()).svg
    return ET.fromstring(re.sub(r' xmlns="[^"]+"', "", text))


def scale(svg):
    """Per cent of the width -> value, from two ticks with their numbers."""
    lines = [line for line in svg.iter("line") if line.get("class") == "grid" and line.get("x1") == line.get("x2")]
    words = [t for t in svg.iter("text") if t.get("class") == "tick"][: len(lines)]
    at = [float(line.get("x1").rstrip("%")) for line in lines]
    value = [float(t.text.replace("\N{MINUS SIGN}", "-").replace(",", "")) for t in words]
    return lambda x: value[0] + (x - at[0]) * (value[-1] - value[0]) / (at[-1] - at[0])


def places(svg, kind, what="cx"):
    return [float(e.get(what).rstrip("%")) for e in svg.iter("circle") if e.get("class") == kind]


def test_means_are_drawn_where_the_table_says(desk):
    rows, svg = table(desk, "kitchen", "scores"), drawn(desk, "kitchen", "scores")
    value = scale(svg)
    step = value(0.02) - value(0.0)  # what is lost by writing two places
    dots = [float(e.get("cx").rstrip("%")) if e.tag == "circle" else float(e.get("x").rstrip("%"))
            for e in svg.iter() if e.get("class") == "dot" or (e.tag == "svg" and e.get("x"))]  # fmt: skip
    assert [value(x) for x in dots] == pytest.approx([float(r["mean"]) for r in rows], abs=step)
    ends = [
        (float(e.get("x1").rstrip("%")), float(e.get("x2").rstrip("%")))
        for e in svg.iter("line")
        if e.get("class") == "whisker"
    ]
    told = [(float(r["low"]), float(r["high"])) for r in rows if r["low"]]
    assert [pytest.approx(t, abs=step) for t in told] == [(value(a), value(b)) for a, b in ends]


def test_differences_are_drawn_where_the_table_says(desk):
    rows, svg = table(desk, "kitchen", "differences"), drawn(desk, "kitchen", "differences")
    value = scale(svg)
    points = [value(x) for x in places(svg, "point")]
    assert points == pytest.approx([float(r["difference"]) for r in rows], abs=value(0.02) - value(0.0))


@pytest.mark.parametrize("run", RUNS)
def test_payoffs_and_shares_are_written_as_the_table_says(desk, run):
    if show_plot(desk, run, "payoff", PlotQuery()).svg:
        svg, digits = drawn(desk, run, "payoff"), show_result(desk, run, ResultQuery()).digits
        said = [t.text for g in svg.iter("g") for t in g.iter("title")]
        for r in table(desk, run, "payoff"):
            value = f"{float(r['mean']):.{digits}f}".replace("-", "\N{MINUS SIGN}")
            assert f"{r['first seat']} then {r['second seat']}: {value}" in said
    faults = table(desk, run, "faults")
    assert all(float(r["share"]) == pytest.approx(int(r["fallbacks"]) / max(1, int(r["decisions"]))) for r in faults)


@pytest.mark.parametrize("plot", PLOTS)
def test_tables_hold_the_numbers_of_the_result(desk, shown, plot):
    by_hand = shown("kitchen")
    for r in table(desk, "kitchen", plot):
        row = next((x for x in by_hand.rows if x.lineup == r.get("lineup")), None)
        if row is None:
            continue
        if plot == "scores":
            assert float(r["mean"]) == row.summary.mean.value and int(r["units"]) == row.summary.mean.n
        elif plot == "cost":
            spent = row.costs.tok_in + row.costs.tok_out
            assert float(r["tokens per episode"]) == pytest.approx(spent / row.summary.episodes)
        elif plot == "faults":
            assert int(r["fallbacks"]) <= row.costs.fallbacks


ODD = "".join(map(chr, range(0x20))) + "\x7f\x85<&\"'\ud800\ufffe\uffff\U0001f372"


def test_drawings_can_be_read_whatever_stands_in_names():
    bar = svg.Bar(ODD, 1.0, 0.5, 1.5, "plain", ODD)
    for styled in (True, False):
        text = svg.standing_alone(svg.intervals([bar], ODD, ODD), styled=styled)
        said = [t.text or "" for t in ET.fromstring(text.encode()).iter("{http://www.w3.org/2000/svg}text")]
        assert any("<&\"'" in t and "\U0001f372" in t for t in said) and "<script" not in text


def test_no_word_of_a_table_is_a_formula():
    names = ["=HYPERLINK(1)", "+1", "-1", "@x", "\t=1", "\r=1", " =1", "\n=1", "fine", "a=b", ""]
    text = to_csv(names, [names, [-1.5, 2, None], ["a\r=1+1\n=2"]])
    rows = list(csv.reader(io.StringIO(text, newline="")))
    for name, *found in zip(names, *rows[:2], strict=True):
        assert set(found) == {name if name in ("fine", "a=b", "") else f"'{name}"}
    assert rows[2:] == [["-1.5", "2", ""], ["a\r=1+1\n=2"]], "what is inside of quotes begins no line of the table"
