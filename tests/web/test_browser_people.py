"""A whole session in a browser: the owner makes a link, a participant goes from the consent to the thanks."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossplay.records import RunFolder
from crossplay.study.tables import result_of
from crossplay.study.verify import load_run, verify
from crossplay.web.app import make_app
from crossplay.web.desk import Desk
from crossplay.wire.http.house import House

pytestmark = pytest.mark.full
EXAMPLE = Path(__file__).parents[2] / "examples" / "people.toml"


@pytest.fixture
def served(tmp_path):
    text = EXAMPLE.read_text().replace('clock = "tick:5"\n', "").replace("horizon = 200", "horizon = 5")
    (tmp_path / "people.toml").write_text(text.replace("blocks = 2", "blocks = 1"))
    desk = Desk(tmp_path)
    house = House(make_app(desk), "127.0.0.1", 0, sockets=True)
    house.open()
    yield f"http://{house.authority}", tmp_path, desk
    house.close()
    desk.close()


@pytest.fixture
def browser():
    sync = pytest.importorskip("playwright.sync_api")
    with sync.sync_playwright() as p:
        chromium = p.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield chromium
        chromium.close()


def page_of(browser, trouble):
    page = browser.new_page()
    page.set_default_timeout(15_000)
    page.on("pageerror", lambda e: trouble.append(str(e)))
    page.on("console", lambda m: trouble.append(m.text) if m.type == "error" else None)
    return page


def part(page):
    return page.evaluate("document.body.dataset.part")


def test_a_session_from_the_link_to_the_thanks(served, browser):
    base, folder, _ = served
    trouble = []
    owner = page_of(browser, trouble)
    owner.goto(f"{base}/people/people.toml")
    owner.get_by_role("button", name="Make links").click()
    owner.get_by_role("button", name="Copy the link of p01").wait_for()
    link = owner.evaluate("fetch('/api/v1/people/people.toml').then((r) => r.json()).then((v) => v.sessions[0].link)")

    guest = page_of(browser, trouble)
    asked = []
    guest.on("request", lambda r: asked.append(r.url))
    guest.on("websocket", lambda w: asked.append(w.url))
    guest.goto(base + link)
    guest.get_by_role("button", name="I agree and take part").click()
    guest.get_by_role("button", name="Go on").click()
    seen, reloaded = [], False
    while True:
        due = [f"body[data-part={k}]" for k in ("practice", "play", "questions", "break", "thanks")]
        guest.wait_for_selector(", ".join(due))
        kind = part(guest)
        seen.append(kind)
        if kind == "thanks":
            break
        if kind in ("practice", "play"):
            guest.get_by_role("button", name="Open the").click()
            guest.get_by_role("button", name="I am ready").click()
            if not reloaded:  # in the middle of a game: the same link goes on with it
                guest.wait_for_selector("body[data-turn]:not([data-turn=''])")
                guest.keyboard.press("ArrowUp")
                guest.reload()
                guest.get_by_role("button", name="Open the").click()
                reloaded = True
            for _ in range(40):
                if part(guest) == "played":
                    break
                guest.keyboard.press("ArrowLeft")
                guest.wait_for_timeout(100)
            assert guest.evaluate("location.href") == base + link
            guest.get_by_role("button", name="Next game").or_(guest.get_by_role("button", name="Go on")).click()
        elif kind == "questions":
            guest.get_by_role("button", name="Send and go on").click()
            assert part(guest) == "questions"
            assert guest.get_by_text("Please answer this.").first.is_visible()
            for group in guest.locator("fieldset").all():
                group.locator("input").nth(1).check()
            form = guest.locator("form").element_handle()
            guest.get_by_role("button", name="Send and go on").click()
            form.wait_for_element_state("hidden")
        else:
            guest.get_by_role("button", name="Go on").click()
            guest.wait_for_selector("body:not([data-part=break])")
    visit = ["play", "questions"]
    assert seen == ["practice", *visit, "break", *visit, "break", *visit, "questions", "thanks"]
    owner.get_by_text("complete", exact=True).wait_for()
    assert not trouble
    assert any("/ws/play/" in url for url in asked)
    ticket = link.partition("#ticket=")[2]
    assert not [url for url in asked if ticket in url.partition("#")[0]], "it is in no address that is asked for"
    run, study = load_run(folder / "people")
    with run:
        found = result_of(run, study)
    assert found.attendance.complete == 1
    assert found.episodes == 3
    with RunFolder.open(folder / "people") as run:
        assert {r.extra["begun"] for r in run.records()} == {1}
        assert any(e.kind == "act" and e.origin == "own" for e in run.events(run.records()[0].id))
    assert verify(folder / "people").ok


def test_a_game_that_is_cut_off_goes_on_and_what_was_recorded_can_be_removed(served, browser):
    base, folder, desk = served
    trouble = []
    owner = page_of(browser, trouble)
    owner.goto(f"{base}/people/people.toml")
    owner.get_by_label("New participants").fill("2")
    owner.get_by_role("button", name="Make links").click()
    owner.get_by_role("button", name="Copy the link of p02").wait_for()
    links = owner.evaluate(
        "fetch('/api/v1/people/people.toml').then((r) => r.json()).then((v) => v.sessions.map((s) => s.link))"
    )
    guest = page_of(browser, trouble)
    guest.goto(f"{base}/take-part")
    guest.get_by_role("heading", name="This page needs its link").wait_for()
    for link in links[::-1]:  # in the same window: only what stands behind "#" differs
        with guest.expect_response("**/api/v1/take-part"):
            guest.goto(base + link)
        guest.get_by_role("button", name="I agree and take part").wait_for()
    guest.get_by_role("button", name="I agree and take part").click()
    guest.get_by_role("button", name="Go on").click()
    guest.get_by_role("button", name="Open the practice game").click()
    guest.get_by_role("button", name="I am ready").click()
    guest.wait_for_selector("body[data-turn]:not([data-turn=''])")
    guest.keyboard.press("ArrowUp")
    guest.wait_for_selector("body[data-turn='1000001']")
    panel = desk.parts["people"].open["people"]
    panel.loop.call_soon_threadsafe(panel.stop_rooms, "the server ended")
    guest.get_by_text("The game was cut off.").wait_for()
    guest.get_by_role("button", name="Back to the game").click()
    guest.get_by_text("It goes on where it was.").wait_for()
    guest.get_by_role("button", name="Open the practice game").click()
    guest.get_by_role("button", name="I am ready").click()
    guest.wait_for_selector("body[data-turn='1000001']")
    guest.get_by_role("button", name="Stop here").click()
    guest.get_by_role("button", name="Stop", exact=True).click()
    guest.get_by_role("heading", name="This session has ended").wait_for()
    owner.get_by_role("button", name="Remove all of p01").click()
    owner.get_by_role("button", name="Remove for good").click()
    owner.get_by_text("withdrawn", exact=True).wait_for()
    guest.reload()
    guest.get_by_text("what was recorded of it was removed").wait_for()
    assert not trouble
    assert verify(folder / "people").ok
