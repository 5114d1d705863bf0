"""Team, gallery, models and workers in a real browser: by keyboard, by deep link, on a phone; a check that is run."""

import re
import sys

import pytest
from test_gallery_page import tiny  # noqa: F401

from conftest import serving
from crossplay.jobs.registry import Spec, State, create

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def team(runs):
    """Where the team of the first debate is, below the server's address."""
    import crossplay

    with crossplay.open_run(runs / "team") as run:
        record = next(r for r in run.records() if r.lineup == "debate")
    return f"/runs/team/episodes/{record.id:016x}/team"


def test_rounds_are_stepped_by_keys_and_kept_in_the_address(browse, address, team):
    page = (window := browse(address)).open(f"{team}?round=0", "team")
    said = page.locator("p[aria-live]")
    assert "nobody was shown the words of another" in said.inner_text()
    assert page.locator("path.said").count() == 0 and page.locator("path.may").count() == 3
    page.keyboard.press("ArrowRight")
    page.locator("path.said").first.wait_for(state="attached")
    assert page.locator("path.said").count() == 3 and "was shown the words of" in said.inner_text()
    assert "round=1" in page.url
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")  # there is no further round
    assert "round=2" in page.url and page.get_by_label("Next round").is_disabled()
    page.reload()
    window.wait("team")
    assert page.locator("th[aria-current]").inner_text() == "Round 2"


def test_a_member_is_picked_by_key_and_its_posts_stand_alone(browse, address, team):
    page = browse(address).open(f"{team}?round=1", "team")
    assert page.locator("article.post").count() == 3
    member = page.locator("g.member").first
    member.focus()
    page.keyboard.press("Enter")
    assert page.locator("article.post").count() == 1
    assert page.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    page.keyboard.press("Escape")
    assert page.locator("article.post").count() == 3


def test_the_vote_the_cost_and_the_transcript_are_told(browse, address, team):
    page = browse(address).open(team, "team")
    assert (
        page.locator("table.tally tbody tr").count() >= 1 and "Decided:" in page.locator("[role=tabpanel]").inner_text()
    )
    page.get_by_role("tab", name="Cost").click()
    assert page.locator("[role=tabpanel] tbody tr").count() == 4
    page.get_by_role("tab", name="Transcript").click()
    assert page.locator("[role=tabpanel] .line").count() == 9
    page.locator("[role=tabpanel] .line a").first.click()
    page.wait_for_url(re.compile(r"/episodes/\w+\?step=0"))


@pytest.mark.parametrize("where", ["team", "/gallery", "/gallery/mallm", "/models", "/workers"])
def test_nothing_is_cut_off_on_a_small_phone(browse, address, team, where):
    page = browse(address, width=360, dark=True).open(team if where == "team" else where)
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    assert page.get_by_role("heading", level=1).count() == 1


def test_an_entry_is_checked_and_the_check_outlives_the_page(browse, tmp_path, tiny):  # noqa: F811
    (tmp_path / "runs").mkdir()
    for base in serving(tmp_path / "runs"):
        page = (window := browse(base)).open("/gallery", "gallery")
        page.get_by_label("Filter entries").fill("one and one")
        assert page.locator("article.card").count() == 1
        page.get_by_role("link", name="Tiny").click()
        window.wait("gallery_entry")
        page.get_by_role("button", name="Run the check").click()
        page.locator(".task").get_by_text("crossplay gallery check tiny").wait_for()
        page.reload()
        window.wait("gallery_entry")
        page.get_by_text("mechanism: 2 of 2 findings hold").wait_for(timeout=60_000)
        page.get_by_role("tab", name="Check").click()
        assert "fails as it must: adds" in page.locator("[role=tabpanel]").inner_text()


def test_a_job_is_shown_with_its_curve_and_what_cannot_be_done_from_here(browse, tmp_path):
    folder = create(tmp_path / "jobs", Spec(id="mine", name="own", command=[sys.executable, "mine.py"], env="spread"))
    folder.write(State(state="cancelled", step=20, attempt=1))
    (folder.path / "events.jsonl").write_text(
        "".join(f'{{"kind": "metrics", "step": {i}, "return": {i}}}\n' for i in range(1, 4))
    )
    for base in serving(tmp_path):
        page = browse(base).open("/workers", "workers")
        page.get_by_role("button", name="mine").click()
        job = page.locator("section.job")
        job.locator("svg.curve").wait_for()
        assert "goes on only from the command line, because its command is its own" in job.inner_text()
        assert job.get_by_role("button", name="Go on").count() == 0 and "job=mine" in page.url
