"""One sheet of colours: the report, notebooks, drawings that stand alone and the page all use it, and it is fit for every kind
of colour vision.
"""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

import crossplay.study
import crossplay.web
from crossplay.study import page, svg, widgets

STUDY, STATIC = Path(crossplay.study.__file__).parent, Path(crossplay.web.__file__).parent / "static"
SERIES = [f"s{k}" for k in range(1, svg.SERIES + 1)]
TONES = ["t-plain", "t-base", "t-control", "t-worse", "t-tied"]  # better is drawn as plain, underpowered as control

# Machado, Oliveira and Fernandes (2009), severity 1, for linear RGB. Both, and tritanopia.
MATRICES = {
    "normal": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def variables(dark):
    return dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6});", page.colours(dark)))


def colour(name, dark):
    """What a class of the sheet draws in."""
    rules = page.LOOK.read_text()
    found = re.search(rf"\.{name}\b[^{{}}]*{{ color: var\(--([a-z]+)\)", rules)
    return variables(dark)[found[1]]


def linear(text):
    v = np.array([int(text[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def lab(text, sight):
    """CIE L*a*b* (D65) of a colour as it is seen."""
    rgb = np.clip(np.asarray(MATRICES[sight]) @ linear(text), 0, 1)
    xyz = (
        np.array(
            [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
        )
        @ rgb
    )
    t = xyz / [0.95047, 1.0, 1.08883]
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def apart(one, other, sight):
    """CIE 1976 difference: about 2.3 is just noticeable."""
    return float(np.linalg.norm(lab(one, sight) - lab(other, sight)))


def contrast(one, other):
    a, b = sorted((float(linear(c) @ [0.2126, 0.7152, 0.0722]) for c in (one, other)), reverse=True)
    return (a + 0.05) / (b + 0.05)


def test_the_report_notebooks_and_drawings_use_the_sheet():
    sheet = page.LOOK.read_text()
    assert sheet in page.page("title", [])
    assert page.colours() in widgets._framed([]) and sheet in widgets._framed([])
    alone = svg.standing_alone(svg.intervals([svg.Bar("a", 1.0, 0.5, 1.5)], "title", "unit"))
    assert page.drawn() in alone and "var(" not in alone
    assert f"--blue: {variables(False)['blue']}" in sheet and variables(False)["blue"] in page.drawn()


def test_the_page_links_the_sheet_that_the_report_embeds(tmp_path):
    client = pytest.importorskip("starlette.testclient")
    from crossplay.web.app import make_app
    from crossplay.web.desk import Desk

    app = make_app(Desk(tmp_path))
    web = client.TestClient(app, base_url="http://127.0.0.1:8765")
    assert '<link rel="stylesheet" href="/static/look.css">' in web.get("/").text
    found = web.get("/static/look.css")
    assert found.status_code == 200 and found.headers["content-type"].startswith("text/css")
    assert found.text == page.LOOK.read_text()


def test_no_other_sheet_names_a_colour():
    sheets = [STUDY / "report.css", STATIC / "app.css", *(STATIC / "css").glob("*.css")]
    assert len(sheets) > 5
    for sheet in sheets:
        text = re.sub(r"@media print \{.*?\n\}", "", sheet.read_text(), flags=re.DOTALL)  # ink on paper
        text = re.sub(r"\.strip img \{[^}]*\}", "", text)  # pictures stand on white
        assert not re.findall(r"#[0-9a-fA-F]{3,8}\b(?=[^{]*[;}])|\b(?:rgb|hsl)a?\((?!0 0 0 /)", text), sheet.name
        assert not re.search(r"--(?:ink|paper|blue|orange|green|grey|red|fifth|sixth|eighth|soft):", text), sheet.name


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("sight", MATRICES)
def test_any_two_marks_differ_for_every_kind_of_colour_vision(sight, dark):
    for names in (SERIES, TONES):
        shown = {name: colour(name, dark) for name in names}
        pairs = itertools.combinations(shown, 2)  # not neighbours alone: any two may cross
        near = [(a, b, round(apart(shown[a], shown[b], sight), 1)) for a, b in pairs]
        assert [n for n in near if n[2] < 10] == []


def test_red_and_green_of_equal_lightness_would_be_found():
    assert apart("#d62728", "#2ca02c", "normal") > 100 > 10 > apart("#d62728", "#2ca02c", "deuteranopia")


@pytest.mark.parametrize("sight", MATRICES)
def test_the_steps_of_a_heat_map_rise_for_every_kind_of_colour_vision(sight):
    steps = re.findall(r"\.h([1-7]) rect \{ fill: (#[0-9a-f]{6})", page.LOOK.read_text())
    assert [k for k, _ in steps] == list("1234567")
    light = [lab(c, sight)[0] for _, c in steps]
    assert all(b - a > 5 for a, b in itertools.pairwise(light))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_marks_stand_out_from_the_paper(dark):
    paper, panel = variables(dark)["paper"], variables(dark)["panel"]
    for name in SERIES + TONES:
        assert contrast(colour(name, dark), paper) >= 3, name
    for name in ("ink", "soft", "link", "blue", "orange", "green", "red"):  # these are letters too
        assert min(contrast(variables(dark)[name], ground) for ground in (paper, panel)) >= 4.5, name
    for ground in (paper, panel):
        assert contrast(variables(dark)["edge"], ground) >= 3  # the rim of fields
    assert contrast(variables(dark)["on"], variables(dark)["blue"]) >= 4.5


def test_no_curve_is_told_by_its_colour_alone():
    rules = page.LOOK.read_text()
    dashes = {k: m[1] if (m := re.search(rf"\.line\.{k} {{ stroke-dasharray: ([^;]+)", rules)) else "" for k in SERIES}
    assert len(set(dashes.values())) == len(SERIES)
    drawn = svg.curves([svg.Curve(f"lineup {k}", [0, 1], [1, 0]) for k in range(8)], "t", "u", "s")
    assert all(drawn.count(f">{k}</text>") >= 2 for k in range(1, 9))  # at the curve, and in the legend
    assert all(f">lineup {k}</text>" in drawn for k in range(8))


def test_every_mark_of_a_plot_has_its_words():
    rows = [svg.Bar(f"lineup {t}", 1.0, 0.5, 1.5, t, f"{t}!") for t in ("plain", "base", "better", "worse", "tied")]
    for drawn in (
        svg.intervals(rows, "t", "u"),
        svg.strips([svg.Strip(r.label, [("0", 1.0)], 1.0, 0.5, 1.5, r.tone, r.note) for r in rows], "t", "u"),
        svg.cost_score([svg.Dot(r.label, k, 1.0, 0.5, 1.5, r.tone) for k, r in enumerate(rows)], "t", "c", "s"),
    ):
        assert all(r.label in drawn for r in rows)
