"""The report: one file, nothing from outside, every text escaped, numbers equal to the tables."""

from __future__ import annotations

import base64
import csv
import io
import math
import re
from html.parser import HTMLParser

import pytest
import reported
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.kernel import CrossplayError
from crossplay.study import svg
from crossplay.study.page import to_csv
from crossplay.study.report import write_report
from crossplay.study.tables import result_of
from crossplay.study.verify import load_run

VOID = {"meta", "img", "br", "link", "hr", "input"}


class Page(HTMLParser):
    """Every tag with its attributes, the text by tag, and whether tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-1:]}"
        self.open.pop()

    def handle_data(self, data):
        self.texts.append((self.open[-1] if self.open else "", data))

    @property
    def words(self) -> str:
        return " ".join(" ".join(t for tag, t in self.texts if tag != "style").split())


@pytest.fixture(scope="module", params=["kitchen", "dilemma"])
def both(request, tmp_path_factory):
    """(run folder, report text, parsed report)."""
    folder = getattr(reported, request.param)()
    path = write_report(folder, tmp_path_factory.mktemp("report") / "r.html")
    text = path.read_text("utf-8")
    return folder, text, Page(text)


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory):
    path = write_report(reported.kitchen(), tmp_path_factory.mktemp("report") / "k.html")
    return Page(path.read_text("utf-8"))


def test_well_formed_with_all_sections(both):
    _, text, page = both
    assert page.open == [] and text.startswith("<!doctype html>")
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    links = [a["href"][1:] for t, a in page.tags if t == "a" and a.get("href", "").startswith("#")]
    assert set(links) <= set(ids)
    for section in ("answers", "asked", "scores", "differences", "distinct", "faults", "cost", "replay", "provenance"):
        assert section in links


def test_nothing_comes_from_outside(both):
    _, text, page = both
    for tag, attrs in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "embed", "base", "form", "audio", "video", "source")
        for name, value in attrs.items():
            assert not name.startswith("on"), f"{tag} {name}"
            if name in ("src", "href", "srcset", "xlink:href", "data", "action", "poster"):
                assert value.startswith(("data:", "#")), f"{tag} {name}={value[:60]}"
    style = "".join(t for tag, t in page.texts if tag == "style")
    assert "url(" not in style and "@import" not in style
    assert "http://" not in text and "https://" not in text
    policy = next(a["content"] for t, a in page.tags if t == "meta" and a.get("http-equiv"))
    assert "default-src 'none'" in policy


def test_names_cannot_leave_their_place(kitchen):
    assert reported.NASTY in kitchen.words
    assert "Do words <help>?" in kitchen.words and "A </style><img src=x> description." in kitchen.words
    images = [a for t, a in kitchen.tags if t == "img"]
    assert images and all(a["src"].startswith("data:image/png;base64,") and a["alt"] for a in images)


def test_numbers_are_those_of_the_tables(both):
    folder, _, page = both
    run, study = load_run(folder)
    with run:
        result = result_of(run, study)
    digits = 1 if "kitchen" in str(folder) else 2
    for row in result.rows:
        m = row.summary.mean
        assert svg.number(m.value, digits if m.value >= 50 or digits == 2 else 2) in page.words
        if m.interval is not None:
            assert f", {svg.number(m.interval.high, 2)}]" in page.words
        assert f"{row.summary.distinct} of {row.summary.episodes}" in page.words


def test_answers_come_first_and_say_what_is_not_shown(kitchen):
    heads = [t for tag, t in kitchen.texts if tag == "h2"]
    assert heads[0] == "Answers"
    assert "fewer than 10" in kitchen.words


def test_scripted_random_and_doubles_are_named_so(kitchen):
    assert "scripted stand-in, no model" in kitchen.words
    assert "scripted and random" in kitchen.words
    assert "scripted and language model (scripted stand-in)" in kitchen.words
    assert "trained" not in kitchen.words


def test_deterministic_cells_get_no_interval_and_no_verdict(tmp_path):
    page = Page(write_report(reported.dilemma(), tmp_path / "d.html").read_text("utf-8"))
    assert "3.00 (deterministic, n = 1)" in page.words
    assert "have no interval beside" in page.words or "their episodes do not vary" in page.words
    assert "Payoff matrix" in page.words


def test_the_study_travels_with_its_report(both):
    folder, _, page = both
    link = next(a["href"] for t, a in page.tags if t == "a" and a.get("download") == "study.toml")
    assert base64.b64decode(link.partition("base64,")[2]) == (folder / "study.toml").read_bytes()
    assert f"crossplay run {folder.name}/study.toml --out {folder.name}-again" in page.words
    assert f"crossplay verify {folder.name} --level agents" in page.words


def test_plots_come_with_their_numbers(both):
    folder, _, page = both
    plots = [a for t, a in page.tags if t == "svg" and "plot" in a.get("class", "")]
    assert len(plots) >= 3 and all(a["role"] == "img" and a["aria-label"] for a in plots)
    files = [a for t, a in page.tags if t == "a" and a.get("download", "").endswith(".csv")]
    assert len(files) == len(plots)
    run, study = load_run(folder)
    with run:
        scores = {s.lineup: dict(zip(s.blocks, s.values, strict=True)) for s in result_of(run, study).scores}
    link = next(a["href"] for a in files if "paired" in a["download"])
    rows = list(csv.DictReader(io.StringIO(base64.b64decode(link.partition("base64,")[2]).decode())))
    assert rows
    for row in rows:
        want = scores[row["lineup"]][int(row["block"])] - scores[study.baseline][int(row["block"])]
        assert math.isclose(float(row["difference"]), want)


def test_same_run_same_report(tmp_path):
    a = write_report(reported.dilemma(), tmp_path / "a.html").read_bytes()
    assert a == write_report(reported.dilemma(), tmp_path / "b.html").read_bytes()


def test_report_lands_in_the_run_and_complains_clearly(tmp_path):
    assert write_report(reported.dilemma()) == reported.dilemma() / "report.html"
    with pytest.raises(CrossplayError, match="manifest"):
        write_report(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(CrossplayError, match="file"):
        write_report(reported.dilemma(), tmp_path / "file" / "r.html")


numbers = st.floats(-1e9, 1e9, allow_nan=False)


@given(numbers, numbers, st.integers(2, 8))
def test_ticks_cover_what_they_should(a, b, n):
    low, high = min(a, b), max(a, b)
    found = svg.ticks(low, high, n)
    assert found == sorted(set(found)) and 2 <= len(found) <= 2 * n + 3
    slack = 1e-6 * max(1.0, abs(low), abs(high))
    assert found[0] <= low + slack and found[-1] >= high - slack


def test_ticks_of_numbers_that_are_hardly_any():
    for low, high in ((5e-324, 5e-324), (0.0, 5e-324), (-1e-323, 1e-322), (1e-310, 2e-310)):
        found = svg.ticks(low, high)
        assert found[0] <= low and found[-1] >= high and len(found) <= 13


@settings(deadline=None)
@given(st.lists(st.tuples(st.text(max_size=60), numbers, st.none() | numbers), min_size=1, max_size=6), st.booleans())
def test_any_plot_is_well_formed_and_inside_its_width(rows, differences):
    bars = [svg.Bar(a, v, w, None if w is None else w + 1, "plain", a) for a, v, w in rows]
    strips = [svg.Strip(a, [(a, v), ("1", v + 1)], v, w, None if w is None else w + 1, "tied", a) for a, v, w in rows]
    dots = [svg.Dot(a, abs(v), v, w, None if w is None else w + 1) for a, v, w in rows]
    names = [a for a, _, _ in rows]
    grid = [[None if w is None else v for _, v, w in rows] for _ in rows]
    for text in (
        svg.intervals(bars, "t <&>", "u", differences=differences, margin=1.0),
        svg.strips(strips, "t", "u", 0.5),
        svg.cost_score(dots, "t", "c", "s", range(len(dots))),
        svg.heatmap(names, grid, "t"),
        svg.curves(
            [svg.Curve(a, sorted({v, v + 1}), [0.5, 0.25][: len({v, v + 1})]) for a, v, _ in rows], "t", "u", "s"
        ),
        svg.shares([svg.Share(a, abs(v) / 1e9, a, differences) for a, v, _ in rows], "t", "u", 0.05),
    ):
        page = Page(text)
        assert page.open == []
        for place in re.findall(r'(?:x|x1|x2|cx)="(-?[\d.]+)%"', text):
            assert 0.0 <= float(place) <= 100.0
        assert "nan" not in text.partition("<text")[0]


def test_csv_is_no_formula():
    assert to_csv(("a", "b"), [("=1+1", -2.0), ("@x", "plain")]) == "a,b\n'=1+1,-2.0\n'@x,plain\n"


@pytest.mark.parametrize(("value", "text"), [(-0.001, "0.0"), (-2.5, "−2.5"), (math.nan, "-"), (0.0, "0.0")])
def test_numbers_read_well(value, text):
    assert svg.number(value, 1) == text
