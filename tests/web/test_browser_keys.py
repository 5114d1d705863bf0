"""The whole way by keys alone: from the runs to a step of an episode and back, with nothing but Tab, Enter, Space and arrows."""

import re

import pytest

from conftest import serving

pytestmark = pytest.mark.full

HERE = """() => { const e = document.activeElement; const name = e.getAttribute("aria-label") || e.labels?.[0]?.textContent || e.textContent || e.value || "";
  const s = getComputedStyle(e), b = e.getBoundingClientRect(); const ring = (s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 1);
  return { name: name.trim().replace(/\\s+/g, " ").slice(0, 60), role: e.getAttribute("role") || e.tagName.toLowerCase(), ring, seen: b.width > 0 && b.bottom > 0 && b.top < innerHeight }; }"""


@pytest.fixture(scope="module")
def served(own_runs):
    yield from serving(own_runs())


class Keys:
    """A person without a mouse, who sees the ring around what has the focus."""

    def __init__(self, page):
        self.page = page
        self.pressed = 0

    def press(self, key, times=1):
        for _ in range(times):
            self.page.keyboard.press(key)
            self.pressed += 1

    def to(self, name, key="Tab", most=60):
        """Tab until what has the focus has this name; it and all before it are seen to have the focus."""
        for _ in range(most):
            self.press(key)
            now = self.page.evaluate(HERE)
            if now["role"] != "body":
                assert now["ring"] and now["seen"], now
            if re.fullmatch(name, now["name"]):
                return now
        raise AssertionError(f"{name!r} was not reached in {most} steps; the last one was {now}")

    def enter(self, ready):
        self.press("Enter")
        self.page.wait_for_selector(f"body[data-ready={ready}]")


def test_from_the_runs_to_a_step_and_back(browse, served):
    page = browse(served).open("/", "runs")
    keys = Keys(page)
    keys.to("kitchen")
    keys.enter("study")
    assert page.evaluate("document.activeElement.id") == "main"  # keys go on from the content, not from the menu again
    assert page.title() == "kitchen \u00b7 Crossplay"
    keys.to("Answers")  # tabs are one stop; arrows go through them
    keys.press("ArrowRight")
    assert page.evaluate(HERE)["name"] == "Scores"
    page.locator("figure svg.plot").wait_for()
    keys.press("End")
    assert page.evaluate(HERE)["name"] == "About"
    keys.press("Home")
    keys.to("Episodes", "Shift+Tab")
    keys.enter("episodes")
    keys.to("return")
    keys.press("Enter")  # sorts, and the button keeps the focus
    page.wait_for_selector("th[aria-sort=descending]")
    assert page.evaluate(HERE)["name"].startswith("return")
    first = page.locator("tbody tr").first.get_by_role("link").inner_text()
    keys.to(first)
    keys.enter("episode")
    keys.to("Tick")
    keys.press("ArrowRight", 3)
    page.get_by_role("heading", name="Tick 3", exact=True).wait_for()
    keys.press("Shift+ArrowRight")
    page.get_by_role("heading", name="Tick 13", exact=True).wait_for()
    keys.press("r")
    page.wait_for_url(re.compile("step=(?!13)"))
    keys.press("End")
    page.get_by_role("heading", name=re.compile("After the last move")).wait_for()
    keys.press("Home")
    page.get_by_role("heading", name="Tick 0", exact=True).wait_for()
    keys.press("Space")
    page.get_by_role("button", name="Pause").wait_for()
    keys.press("Space")
    page.get_by_role("button", name="Play", exact=True).wait_for()
    keys.to(r"p0 \(.*", most=40)
    keys.press("ArrowRight")
    assert page.evaluate(HERE)["name"].startswith("p1 (")
    for name, ready in (("Episodes", "episodes"), ("kitchen", "study"), ("Runs", "runs")):
        page.evaluate(
            "document.querySelector('nav.crumbs').scrollIntoView()"
        )  # as the browser does for what is tabbed to
        keys.to(name, "Shift+Tab")
        keys.enter(ready)
    assert keys.pressed < 250


def test_a_table_wider_than_a_phone_is_scrolled_by_keys(browse, served):
    page = browse(served, width=360).open("/runs/kitchen", "study")
    page.locator(".scroll.more-right").first.wait_for()
    keys = Keys(page)
    found = keys.to(r"kitchen: mean of block means.*", most=40)
    assert found["role"] == "group"
    keys.press("ArrowRight", 4)
    page.locator(".scroll.more-left").first.wait_for()


def test_arrows_in_a_field_or_a_wide_table_do_not_move_the_replay(browse, served):
    page = browse(served).open("/runs/kitchen/compare", "compare")
    field = page.get_by_role("spinbutton", name="Tick")
    field.focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Home")
    assert page.get_by_role("slider").input_value() == "0"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("Tab")
    page.wait_for_url(re.compile("step=1"))
