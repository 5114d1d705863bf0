"""Runs, a run's answers and plots, its episodes and runs side by side, in a real browser."""

import csv
import shutil
import sqlite3
import xml.etree.ElementTree as ET

import pytest
from PIL import Image

from conftest import serving

pytestmark = pytest.mark.full


def test_runs_are_filtered_and_two_are_compared(browse, own_runs):
    folder = own_runs()
    shutil.copytree(folder / "games" / "dilemma", folder / "again")
    for where in serving(folder):
        window = browse(where)
        page = window.open("/", "runs")
        page.get_by_role("link", name="again").wait_for()
        assert page.locator("tbody tr").count() == 5
        page.get_by_role("searchbox", name="Filter").fill("tft")
        page.get_by_text("1 to 2 of 2").wait_for()
        assert page.get_by_role("button", name="Compare").is_disabled()
        page.get_by_label("Compare again").check()
        page.get_by_label("Compare games~dilemma").check()
        page.get_by_role("button", name="Compare 2 runs").click()
        window.wait("runs_compare")
        assert "3 blocks were met by all of them" in page.locator("main").inner_text()
        window.open("/compare?runs=again&runs=kitchen", "runs_compare")
        assert "measured by different things" in page.get_by_role("alert").inner_text()
        window.forgive("400")


def test_a_run_answers_first_and_its_tabs_stay_in_the_address(browse, address):
    window = browse(address)
    page = window.open("/runs/kitchen", "study")
    assert "Is a script a good partner?" in page.locator(".answers li").first.inner_text()
    assert page.get_by_role("row", name="policy+chef").count() == 1
    for name in ("Scores", "Differences", "Payoff", "Profiles"):
        page.get_by_role("tab", name=name).click()
        page.locator("figure svg.plot").wait_for()
        assert page.locator("figure svg.plot").get_attribute("aria-label").startswith("kitchen: ")
        assert f"tab={name.lower()}" in page.url
    page.get_by_role("tab", name="Profiles").press("ArrowRight")
    page.get_by_text("No lineup called a model").wait_for()
    window.open("/runs/kitchen?tab=about&metric=soups", "study")
    assert page.get_by_role("tab", name="About").get_attribute("aria-selected") == "true"
    assert "[study]" in page.locator("pre").inner_text()


def test_too_many_fallbacks_are_seen_without_looking_for_them(browse, address):
    window = browse(address)
    page = window.open("/", "runs")
    flags = page.get_by_text("many fallbacks")
    flags.wait_for()
    assert flags.count() == 1 and page.locator("tr", has=flags).get_by_role("link", name="fallbacks").count() == 1
    window.open("/runs/fallbacks", "study")
    page.locator(".note", has_text="the conduct moved for an agent in more than 5%").wait_for()


def test_answers_inside_a_team_are_named_as_its_move_is(browse, address):
    window = browse(address)
    page = window.open("/runs/team/episodes/debate:0", "episode")
    page.get_by_text("A team sits here").wait_for()
    name = page.locator("td.move").inner_text()
    posts = page.locator(".words li", has_text="answer")
    said = [text.split(": ")[1].split()[0] for text in posts.all_inner_texts() if ": " in text]
    assert name in said and not any(text.isdigit() for text in said) and len(said) >= 3
    window.open("/runs/kitchen/episodes/chef+policy:0", "episode")
    assert "Lineup policy+chef. kitchen: 100 ticks" in page.locator("p.quiet").first.inner_text()


def test_plots_are_taken_away_as_picture_and_numbers(browse, address, tmp_path):
    page = browse(address).open("/runs/kitchen?tab=profiles", "study")
    for kind in ("SVG", "PNG", "CSV"):
        with page.expect_download() as started:
            page.locator("figure").get_by_text(kind, exact=True).click()
        started.value.save_as(tmp_path / f"plot.{kind.lower()}")
    root = ET.parse(tmp_path / "plot.svg").getroot()
    lines = [e for e in root.iter() if "line" in (e.get("class") or "") and e.tag.endswith("path")]
    assert len({e.get("stroke") for e in lines}) == len(lines) > 2  # the colours of the page went with it
    picture = Image.open(tmp_path / "plot.png").convert("RGB")
    assert picture.width > 800 and len(picture.getcolors(1 << 24)) > 20
    rows = list(csv.reader((tmp_path / "plot.csv").open()))
    assert rows[0][0] == "lineup" and len(rows) > 10


def test_episodes_are_sorted_filtered_and_lead_on(browse, address):
    window = browse(address)
    page = window.open("/runs/kitchen/episodes?lineup=policy%2Bchef", "episodes")
    page.get_by_text("1 to 12 of 12").wait_for()
    page.get_by_role("button", name="return").click()
    page.locator("th[aria-sort=descending]").wait_for()
    assert "sort=value" in page.url
    values = [float(v) for v in page.locator("tbody tr td:nth-child(4)").all_inner_texts()]
    assert values == sorted(values, reverse=True)
    page.get_by_label("Lineup").select_option("")
    page.get_by_text("of 36").wait_for()
    page.get_by_role("searchbox", name="Filter").fill("nothing like it")
    page.get_by_text("No episode fits").wait_for()
    page.get_by_role("searchbox", name="Filter").fill("random")
    page.locator("tbody a").first.click()
    window.wait("episode")


def test_a_run_grows_while_it_is_looked_at(browse, own_runs):
    folder = own_runs()
    manifest = folder / "kitchen" / "manifest.sqlite"
    with sqlite3.connect(manifest) as db:
        held = db.execute("SELECT * FROM episodes WHERE seq > 9").fetchall()
        db.execute("DELETE FROM episodes WHERE seq > 9")
    db.close()
    for where in serving(folder):
        runs, study, episodes = browse(where), browse(where), browse(where)
        runs.open("/", "runs").get_by_text("9 of 36 episodes").wait_for()
        study.open("/runs/kitchen", "study").get_by_text("9 of 36 episodes").wait_for()
        episodes.open("/runs/kitchen/episodes", "episodes").get_by_text("1 to 9 of 9").wait_for()
        runs.page.wait_for_timeout(1500)  # the first look only remembers
        with sqlite3.connect(manifest) as db:
            db.executemany(f"INSERT INTO episodes VALUES ({', '.join('?' * len(held[0]))})", held)
        db.close()
        runs.page.get_by_text("36 episodes", exact=True).wait_for()
        study.page.get_by_text("36 episodes", exact=True).wait_for()
        assert study.page.locator(".badge").first.inner_text() == "done"
        episodes.page.get_by_role("button", name="Show 27 new").click()
        episodes.page.get_by_text("1 to 36 of 36").wait_for()


PLACES = (
    "/", "/runs/kitchen", "/runs/kitchen?tab=differences", "/runs/kitchen?tab=payoff", "/runs/kitchen?tab=about",
    "/runs/fallbacks?tab=faults", "/runs/fallbacks?tab=cost", "/runs/team?tab=teams", "/runs/team/episodes",
)  # fmt: skip


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("where", PLACES)
def test_nothing_is_wider_than_a_phone(browse, address, where, dark):
    page = browse(address, width=360, dark=dark).open(where)
    page.wait_for_timeout(100)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
