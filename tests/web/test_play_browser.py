"""Play in a real browser: keys, a second person, boards, taking over, from the links that people get."""

import json
import urllib.request

import pytest

from crossplay.kernel import Block, Lineup, loop, make_env, play
from crossplay.kernel.agent import Agent
from crossplay.records import RunFolder
from crossplay.study.verify import verify
from crossplay.web.app import make_app
from crossplay.web.desk import Desk
from crossplay.wire.http.house import House

pytestmark = pytest.mark.full
KEYS = {
    "ArrowUp": "north",
    "ArrowLeft": "west",
    "Space": "interact",
    "ArrowDown": "south",
    "ArrowRight": "east",
    ".": "stay",
}


@pytest.fixture
def served(tmp_path):
    house = House(make_app(Desk(tmp_path)), "127.0.0.1", 0, sockets=True)
    house.open()
    yield f"http://{house.authority}"
    house.close()


@pytest.fixture
def browser():
    sync = pytest.importorskip("playwright.sync_api")
    with sync.sync_playwright() as p:
        found = p.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield found
        found.close()


def opened(served, **spec):
    request = urllib.request.Request(
        f"{served}/api/v1/rooms", json.dumps(spec).encode(), {"content-type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def sat(browser, served, invite):
    page = browser.new_context().new_page()
    page.troubles = []
    page.on("pageerror", lambda error: page.troubles.append(str(error)))
    page.goto(served + invite["link"])
    page.click(".lobby button.main")
    return page


def turn(page, tick, episode=1):
    page.wait_for_selector(f"body[data-turn='{episode * 1_000_000 + tick}']")


class Script(Agent):
    def __init__(self, names):
        self.names = names

    def act(self, obs):
        return self.names[obs.tick % len(self.names)]


def test_a_kitchen_is_played_with_keys_beside_a_policy(browser, served, tmp_path):
    ticks, agent = 24, "policy:kitchen/cramped_room-1"
    made = opened(
        served,
        environment="kitchen/cramped_room",
        options={"horizon": ticks},
        seats={"p0": "person", "p1": agent},
        block=4,
    )
    page = sat(browser, served, made["invites"][0])
    keys = list(KEYS)
    for tick in range(ticks):
        turn(page, tick)
        page.keyboard.press(keys[tick % len(keys)])
    page.wait_for_selector("body[data-over='over']")
    assert page.locator(".result").count() == 1
    assert page.locator("canvas").is_visible()
    assert not page.troubles
    folder = tmp_path / made["room"]["run"]
    from crossplay.agents import make_agent

    env = make_env("kitchen/cramped_room", {"horizon": ticks})
    alone = loop(play(env, Lineup({"p0": Script(list(KEYS.values())), "p1": make_agent(agent)}), Block(0, 4)))
    with RunFolder.open(folder) as run:
        record = run.records()[0]
    assert record.world == alone.world
    assert record.score == alone.score
    assert verify(folder, "agents").ok


def test_two_browsers_talk_and_play_and_a_key_is_changed(browser, served):
    made = opened(
        served, environment="kitchen/cramped_room", options={"horizon": 3}, seats={"p0": "person", "p1": "person"}
    )
    one, two = (sat(browser, served, invite) for invite in made["invites"])
    turn(one, 0)
    one.fill("#say", "I take the onions")
    one.keyboard.press("Enter")
    one.click("summary:has-text('Keys')")
    one.click("button[aria-label='Another key for north']")
    one.keyboard.press("i")
    one.locator("h1").click()
    one.keyboard.press("i")
    two.keyboard.press("ArrowLeft")
    two.wait_for_selector(".talk li:has-text('I take the onions')")
    for tick in (1, 2):
        for page in (one, two):
            turn(page, tick)
            page.locator("[data-action='east']").dispatch_event("pointerdown", {"pointerId": 1})
            page.locator("[data-action='east']").dispatch_event("pointerup", {"pointerId": 1})
    for page in (one, two):
        page.wait_for_selector("body[data-over='over']")


def test_the_owner_lets_an_agent_play_for_somebody_who_is_gone(browser, served, tmp_path):
    ticks = 6
    made = opened(
        served,
        environment="kitchen/cramped_room",
        options={"horizon": ticks},
        seats={"p0": "person", "p1": "person"},
        consent="What you do here is recorded.",
    )
    pages = []
    for invite in made["invites"]:
        page = browser.new_context().new_page()
        page.goto(served + invite["link"])
        page.wait_for_selector("#agree")
        pages.append(page)
    one, two = pages
    one.check("#agree")
    two.wait_for_timeout(50)
    two.check("#agree")  # somebody else came and went since: the box is as it was left
    assert one.is_checked("#agree")
    for page in pages:
        page.click(".lobby button.main")
    for page in pages:
        turn(page, 0)
        page.keyboard.press("ArrowUp")
    turn(two, 1)
    two.context.close()
    owner = browser.new_context().new_page()
    owner.goto(f"{served}/play/{made['room']['room']}")
    owner.click("li:has-text('p1') button:has-text('Let an agent play')")
    owner.fill("#stand-in", "cheff")
    owner.click("text=Give p1 to the agent")
    owner.wait_for_selector("#told .bad:has-text('chef')")
    owner.fill("#stand-in", "chef")
    owner.keyboard.press("Enter")
    owner.wait_for_selector("li:has-text('chef in the place of a person')")
    for tick in range(1, ticks):
        turn(one, tick)
        one.keyboard.press("ArrowDown")
    one.wait_for_selector("body[data-over='over']")
    owner.wait_for_selector("body[data-over='over']")
    with RunFolder.open(tmp_path / made["room"]["run"]) as run:
        record = run.records()[0]
    assert record.extra["handed"] == {"p1": [[1, "chef"]]}
    assert verify(tmp_path / made["room"]["run"], "agents").ok


def test_who_takes_a_seat_in_the_middle_of_a_game_agrees_first(browser, served):
    made = opened(
        served,
        environment="kitchen/cramped_room",
        options={"horizon": 4},
        seats={"p0": "person", "p1": "chef"},
        consent="What you do here is recorded.",
    )
    page = browser.new_context().new_page()
    page.goto(served + made["invites"][0]["link"])
    page.check("#agree")
    page.click(".lobby button.main")
    turn(page, 0)
    owner = browser.new_context().new_page()
    owner.goto(f"{served}/play/{made['room']['room']}")
    owner.click("text=Take over")
    owner.click("text=Play from here on")
    owner.wait_for_selector("#told .bad:has-text('agree')")
    owner.check("#agree")
    owner.click("text=Play from here on")
    owner.wait_for_selector("#agree", state="detached")
    page.keyboard.press("ArrowUp")
    for tick in (1, 2, 3):
        for each in (page, owner):
            turn(each, tick)
            each.keyboard.press("ArrowDown")
    page.wait_for_selector("body[data-over='over']")


def test_boards_are_clicked_and_a_seat_is_taken_and_handed_back(browser, served):
    pytest.importorskip("pyspiel")
    made = opened(served, environment="openspiel/tic_tac_toe", seats={"p0": "person", "p1": "first-legal"})
    page = sat(browser, served, made["invites"][0])
    turn(page, 0)
    owner = browser.new_context().new_page()
    owner.goto(f"{served}/play/{made['room']['room']}")
    owner.click("text=Take over")
    owner.wait_for_selector(".board button")
    page.locator(".board button").nth(4).click()
    turn(owner, 1)
    owner.locator(".board button").nth(8).click()
    turn(page, 2)
    owner.click("text=Hand back")
    page.locator(".board button").nth(2).click()
    turn(page, 4)
    page.locator(".board button").nth(6).click()
    page.wait_for_selector("body[data-over='over']")
    assert (
        "terminal" in page.locator(".result").inner_text() or "rules ended it" in page.locator(".result").inner_text()
    )
