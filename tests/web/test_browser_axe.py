"""Every page before axe-core, the rules for accessibility that others wrote (Deque, MPL-2.0; it comes with axe-playwright-python
and is used by this test alone): light and dark, wide and 360 pixels, with all that is folded away opened.

What WCAG 2 A and AA ask for has to hold without an exception; of the other rules, all but those in `NOT_ASKED`.
"""

import shutil

import pytest
from everywhere import PAGES, places_of, unfold

from conftest import serving

axe = pytest.importorskip("axe_playwright_python.base", reason="axe-playwright-python brings axe-core")
pytestmark = pytest.mark.full

NOT_ASKED: dict[str, str] = {}
"""Rules beyond WCAG 2 AA that do not hold, and why."""
ASKED = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
RUN = """async (tags) => {
  await new Promise((done) => setTimeout(done, 150));
  const found = await axe.run(document, { runOnly: { type: "tag", values: tags }, resultTypes: ["violations"] });
  return found.violations.flatMap((v) => v.nodes.slice(0, 4).map((n) => [v.id, v.impact, n.target.join(" "), (n.failureSummary || "").split("\\n").slice(1).join("; ").slice(0, 300), n.html.slice(0, 160)]));
}"""


@pytest.fixture(scope="module")
def served(own_runs):
    folder = own_runs()
    shutil.copytree(folder / "kitchen", folder / "kitchen-2")
    yield from serving(folder)


@pytest.fixture(scope="module")
def places(served):
    return places_of(served)


def found(page) -> str:
    """What axe finds on a page as it is now, in light and dark, wide and narrow."""
    if not page.evaluate("Boolean(window.axe)"):
        page.evaluate(axe.AXE_SCRIPT)
    unfold(page)
    troubles = set()
    for width, dark in ((1280, False), (1280, True), (360, True), (360, False)):
        page.set_viewport_size({"width": width, "height": 800})
        page.emulate_media(color_scheme="dark" if dark else "light", reduced_motion="reduce")
        for rule, impact, where, why, html in page.evaluate(RUN, ASKED):
            if rule not in NOT_ASKED:
                how = f"{width} px, {'dark' if dark else 'light'}"
                troubles.add(f"{rule} ({impact}; {how}) {where}: {why}\n      {html}")
    return "\n".join(sorted(troubles))


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing(browse, served, places, name):
    window = browse(served)
    page = window.open(places[name], name)
    page.wait_for_timeout(600)
    assert not found(page)
    if name == "runs_compare":  # these two share nothing, which is said; two that do:
        window.forgive("400")
        window.open("/compare?runs=kitchen&runs=kitchen-2", name)
        assert not found(page)
    if name in ("study", "team", "gallery_entry"):
        for tab in page.locator("[role=tablist]").last.get_by_role("tab").all():
            tab.click()
            page.wait_for_timeout(400)
            told = found(page)
            assert not told, f"{tab.inner_text()}: {told}"


@pytest.mark.parametrize(
    "where", ["/runs/team?tab=teams", "/runs/fallbacks?tab=faults", "/people", "/runs/team/compare"]
)
def test_axe_finds_nothing_elsewhere(browse, served, places, where):
    page = browse(served).open(where)
    page.wait_for_timeout(600)
    assert not found(page)


def test_axe_is_able_to_find_something(browse, served):
    page = browse(served).open("/models", "models")
    page.evaluate("""() => {
      document.querySelector("h1").style.color = "rgb(200, 200, 200)";
      document.querySelector("main button").replaceChildren();
      document.querySelector("main button").removeAttribute("aria-label");
    }""")
    told = found(page)
    assert "color-contrast" in told and "button-name" in told
