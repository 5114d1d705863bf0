"""How pages look, where it can be told: nothing of another page's style is left, wide tables show that they go on, and come apart
into cards or keep their first column on a phone; places are found again.
"""

import re

import pytest
from everywhere import PAGES, places_of, unfold

from conftest import serving

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def served(own_runs):
    yield from serving(own_runs())


@pytest.fixture(scope="module")
def places(served):
    return places_of(served)


# Only what rules can say: sizes follow from the window and the texts.
STYLES = """() => [...document.querySelectorAll("main .page, main .page *")].map((e) => { const s = getComputedStyle(e); return [e.tagName + "." + e.className, s.display, s.paddingTop, s.paddingRight, s.marginTop, s.fontWeight, s.color, s.position].join(" "); })"""


@pytest.mark.parametrize("name", ["gallery", "models", "rooms", "people", "compare"])
def test_a_page_looks_the_same_whatever_was_seen_before(browse, served, places, name):
    fresh = browse(served).open(places[name], name)
    fresh.wait_for_timeout(500)
    window = browse(served)
    page = window.open("/new", "new_study")
    for before in ("team", "episode", "play", "people", name):
        page.evaluate("(where) => import('/static/js/main.js').then((m) => m.go(where))", places[before])
        window.wait(before)
    page.wait_for_timeout(500)
    assert page.evaluate(STYLES) == fresh.evaluate(STYLES)


def test_every_window_says_which_page_it_is(browse, served, places):
    titles = {}
    window = browse(served)
    for name in PAGES:
        page = window.open(places[name], name)
        titles[name] = page.title()
        if name == "runs_compare":  # these two share nothing, which is said
            window.forgive("400")
    assert all(title.strip() and title != "Crossplay" for title in titles.values()), titles
    assert len(set(titles.values())) > 12, titles


WIDE = """() => [...document.querySelectorAll("main .scroll")].filter((e) => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1).map((e) => {
  const mask = getComputedStyle(e).maskImage, cell = e.querySelector("tbody > tr > :first-child"), s = getComputedStyle(cell);
  const before = cell.getBoundingClientRect().left; e.scrollLeft = 60; const after = cell.getBoundingClientRect().left; e.scrollLeft = 0;
  return { what: e.textContent.slice(0, 30), fades: mask.includes("gradient"), stays: Math.abs(before - after) < 2, covers: s.backgroundColor !== "rgba(0, 0, 0, 0)", reached: e.tabIndex === 0, named: Boolean(e.getAttribute("aria-label")) }; })"""


@pytest.mark.parametrize("where", ["study", "episodes", "compare", "models", "people", "workers", "gallery_entry"])
def test_a_table_that_goes_on_shows_it_and_keeps_its_first_column(browse, served, places, where):
    page = browse(served, width=360).open(places[where], where)
    if where == "gallery_entry":
        page.get_by_role("tab", name="Trials").click()
    unfold(page)
    page.wait_for_timeout(500)
    found = page.evaluate(WIDE)
    assert where == "workers" or found
    for table in found:
        assert all(table.values()), table


def test_the_runs_come_apart_into_cards_on_a_phone(browse, served):
    page = browse(served, width=360).open("/", "runs")
    assert page.evaluate("[...document.querySelectorAll('.scroll')].every((e) => e.scrollWidth <= e.clientWidth + 1)")
    assert page.get_by_role("row").count() >= 5 and page.get_by_role("columnheader").count() == 5
    page.get_by_role("button", name="Run", exact=True).click()
    page.wait_for_selector("th[aria-sort]")
    box = page.get_by_role("link", name="kitchen", exact=True).bounding_box()
    tick = page.get_by_label("Compare kitchen").bounding_box()
    assert tick["x"] + tick["width"] <= box["x"] and min(tick["width"], tick["height"]) >= 20


def test_who_comes_back_finds_the_place(browse, served):
    window = browse(served)
    page = window.open("/runs/kitchen/episodes", "episodes")
    page.locator("tbody a").nth(30).scroll_into_view_if_needed()
    page.evaluate("scrollTo(0, 400)")
    page.locator("tbody a").nth(20).click()
    window.wait("episode")
    assert page.evaluate("scrollY") == 0
    page.go_back()
    window.wait("episodes")
    for _ in range(50):
        if page.evaluate("scrollY") == 400:
            break
        page.wait_for_timeout(50)
    assert page.evaluate("scrollY") == 400


@pytest.mark.parametrize("name", ["compare", "episode"])
def test_a_page_that_is_left_writes_into_no_other_address(browse, served, places, name):
    window = browse(served)
    page = window.open(places[name], name)
    page.keyboard.press("ArrowRight")
    page.get_by_role("link", name="Gallery").click()  # at once: the step is not in the address yet
    window.wait("gallery")
    page.go_back()
    window.wait(name)
    page.get_by_role("button", name="Play", exact=True).click()
    page.wait_for_timeout(300)
    page.get_by_role("link", name="Models").click()  # while it plays
    window.wait("models")
    page.wait_for_timeout(500)
    assert page.url == f"{served}/models"


def test_a_page_of_a_table_stays_in_the_address(browse, served):
    window = browse(served)
    page = window.open("/runs/kitchen/episodes?from=30", "episodes")
    page.get_by_text("31 to 36 of 36").wait_for()
    page.get_by_role("button", name="Back").click()
    page.get_by_text("1 to 36 of 36").wait_for()
    assert "from" not in page.url
    window.open("/runs/kitchen/episodes?from=5000", "episodes")  # such a page is no more
    page.get_by_text("1 to 36 of 36").wait_for()


def test_the_tab_that_was_chosen_last_is_shown(browse, served):
    page = browse(served).open("/runs/kitchen", "study")
    slow = []
    page.route(re.compile("/plots/payoff"), lambda route: slow.append(route))  # its answer comes late
    page.get_by_role("tab", name="Payoff").click()
    page.get_by_text("Loading ...").wait_for()
    page.get_by_role("tab", name="About").click()
    page.get_by_text("The study, as resolved").wait_for()
    slow[0].continue_()
    page.wait_for_timeout(600)
    assert page.get_by_role("heading", name="The study, as resolved").is_visible()
    page.get_by_role("tab", name="Payoff").click()
    page.locator("figure svg.plot").wait_for()


def test_the_skip_link_does_not_make_the_page_anew(browse, served):
    page = browse(served).open("/new", "new_study")
    page.evaluate("document.querySelector('main .page').dataset.mark = 'mine'")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_timeout(400)
    assert page.locator(".page[data-mark=mine]").count() == 1


def test_settings_are_named_in_words_with_their_units(browse, served):
    page = browse(served).open("/new", "new_study")
    page.get_by_label("Time (seconds)").wait_for()
    labels = [text.strip() for text in page.locator("main label").all_inner_texts()]
    assert labels and not [text for text in labels if "_" in text or text.endswith(" s") or text[:1].islower()]
