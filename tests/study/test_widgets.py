"""Results and episodes in notebooks: what they show is the result's, stands by itself, and runs nothing."""

from __future__ import annotations

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

import crossplay
from crossplay.kernel import CrossplayError
from crossplay.study.plots import difference_words, estimate_words, verdict_words

EVIL = '<img src="http://elsewhere.example/x" onerror="run()">'
STUDY = {
    "study": {"name": f"cooks {EVIL}", "blocks": 3, "margin": 10, "baseline": "chef+chef"},
    "environments": {"kitchen": {"name": "kitchen/cramped_room", "options": {"horizon": 40}}},
    "agents": {"chef": "chef", "random": "random", EVIL: "random"},
    "lineups": {
        "chef+chef": ["chef", "chef"],
        "mixed": {"seats": ["chef", "random"], "orders": "all"},
        EVIL: ["chef", EVIL],
    },
    "controls": {"ceiling": False},
}
VOID = {"img", "br", "meta", "link", "input", "hr"}


class _Reader(HTMLParser):
    """Tags with their attributes; complains of what is not closed."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open[-3:])
        self.open.pop()


def read(html: str) -> list[tuple[str, dict[str, str | None]]]:
    """The tags of a text that stands by itself: well-formed, no scripts, nothing from elsewhere."""
    reader = _Reader()
    reader.feed(html)
    assert not reader.open
    for tag, attributes in reader.tags:
        assert tag not in ("script", "iframe", "object", "embed", "link", "base", "form"), tag
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "xlink:href", "action"):
                assert value is not None and value.startswith(("data:", "#")), (tag, name, value)
    style = re.search(r"<style>(.*?)</style>", html, re.S)
    assert style is not None and "@import" not in style[1] and "url(" not in style[1]
    return reader.tags


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    where = tmp_path_factory.mktemp("widgets") / "run"
    crossplay.run(STUDY, where)
    return where


def test_a_result_shows_what_it_says(folder):
    result = crossplay.result(folder)
    found = result._repr_mimebundle_()
    assert set(found) == {"text/plain", "text/html"}
    html = found["text/html"]
    tags = read(html)
    for row in result.rows:
        assert estimate_words(row.summary.mean, result.digits) in html
        assert estimate_words(row.summary.mean, result.digits) in found["text/plain"]
        if row.comparison is not None:
            assert difference_words(row.comparison, result.digits) in html
            assert f'verdict {row.comparison.verdict}">{verdict_words(row.comparison)}<' in html
    assert sum(tag == "svg" and "plot" in (a.get("class") or "") for tag, a in tags) >= 2
    assert "prefers-color-scheme: dark" in html and 'data-jp-theme-light="false"' in html
    assert EVIL not in html and "&lt;img src=" in html


def test_styles_stay_in_their_box(folder):
    style = re.search(r"<style>(.*?)</style>", crossplay.result(folder)._repr_html_(), re.S)[1]
    depth, top = 0, []
    for part in re.split(r"([{}])", re.sub(r"/\*.*?\*/", "", style, flags=re.S)):
        if part == "{":
            depth += 1
        elif part == "}":
            depth -= 1
        elif depth == 0 and part.strip():
            top.append(part.strip())
    assert depth == 0
    assert all(".crossplay-box" in rule or rule.startswith("@media") for rule in top), top


def test_an_episode_shows_its_frames(folder):
    from PIL import Image

    episode = crossplay.episode(folder, "chef+chef:1")
    html = episode._repr_mimebundle_()["text/html"]
    images = [a["src"] for tag, a in read(html) if tag == "img"]
    strip = [i for i in images if i.startswith("data:image/png")]
    [moving] = [i for i in images if i.startswith("data:image/gif")]
    assert len(strip) == 8
    assert all(a.get("alt") for tag, a in read(html) if tag == "img")
    animation = Image.open(io.BytesIO(base64.b64decode(moving.partition(",")[2])))
    assert animation.n_frames > 10
    shown = list(episode.frames())
    assert [f.tick for f in shown] == list(range(41))
    assert all(frame.caption.split(";")[0].replace("'", "&#x27;") in html for frame in shown)
    assert episode.events().height > 40
    assert f"{episode.record.score['return']:g}" in html


def test_an_episode_without_pictures_is_shown_in_words(tmp_path):
    crossplay.run(
        {
            "study": {"blocks": 2, "margin": 0.1},
            "environments": ["einstein"],
            "agents": {"planner": "reasoner"},
            "lineups": {"a": ["planner", "planner"]},
            "controls": {"floor": False, "ceiling": False},
        },
        tmp_path / "run",
    )
    html = crossplay.episode(tmp_path / "run")._repr_html_()
    tags = read(html)
    assert not [a for tag, a in tags if tag == "img"]
    assert sum(tag == "pre" for tag, _ in tags) > 1 and 'class="strip words"' in html


def test_long_episodes_are_thinned(folder, monkeypatch):
    from crossplay.study import widgets

    monkeypatch.setattr(widgets, "PAGES", 10)
    monkeypatch.setattr(widgets, "LINES", 8)
    html = crossplay.episode(folder, "chef+chef:1")._repr_html_()
    assert "Animation (every 5 ticks)" in html
    read(html)


def test_an_unknown_episode_names_the_nearest(folder):
    with pytest.raises(CrossplayError, match="chef"):
        crossplay.episode(folder, "chef+cheff:0")


def test_the_example_notebook_stores_no_outputs():
    book = json.loads((Path(__file__).parents[2] / "examples" / "notebook.ipynb").read_text("utf-8"))
    assert book["nbformat"] == 4
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None


@pytest.mark.full
def test_the_example_notebook_runs(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    client = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    book = nbformat.read(Path(__file__).parents[2] / "examples" / "notebook.ipynb", as_version=4)
    nbformat.validate(book)
    client.NotebookClient(book, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown = [o for c in book.cells if c.cell_type == "code" for o in c.outputs if o.output_type == "execute_result"]
    html = [o.data["text/html"] for o in shown if "crossplay-box" in o.data.get("text/html", "")]
    assert len(html) == 2, "a result and an episode"
    for text in html:
        read(text)
    assert not [o for c in book.cells if c.cell_type == "code" for o in c.outputs if o.output_type == "error"]
