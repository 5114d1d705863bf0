"""People play in a real browser: what keys did equals its headless replay, two browsers, taking over, by touch."""

import re
import subprocess
import sys
import time

import httpx
import pytest

from conftest import serving
from crossplay.agents import make_agent
from crossplay.kernel import Action, Agent, Block, Lineup, loop, make_env, play
from crossplay.records import RunFolder
from crossplay.study.verify import verify
from crossplay.web.play.seats import turn_number

pytestmark = pytest.mark.full
KEYS = {
    "north": "ArrowUp",
    "south": "ArrowDown",
    "east": "ArrowRight",
    "west": "ArrowLeft",
    "stay": ".",
    "interact": "Space",
}
POLICY = "policy:kitchen/cramped_room-1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("played")


@pytest.fixture(scope="module")
def there(folder):
    yield from serving(folder)


@pytest.fixture
def room(there):
    """Opens rooms: room(horizon=..., seats=..., ...) -> (the owner's view, links by seat)."""

    def make(horizon, seats, **more):
        spec = {
            "environment": "kitchen/cramped_room",
            "options": {"horizon": horizon},
            "seats": seats,
            "countdown_s": 0,
        }
        answer = httpx.post(f"{there}/api/v1/rooms", json={**spec, **more}, timeout=60)
        assert answer.status_code == 200, answer.text
        told = answer.json()
        return told["room"], {invite["seat"]: invite["link"] for invite in told["invites"]}

    return make


def ended(there, room):
    """The owner's view of a room that is over."""
    for _ in range(200):
        view = httpx.get(f"{there}/api/v1/rooms/{room['room']}").json()
        if view["status"] in ("over", "stopped"):
            return view
        time.sleep(0.05)
    raise AssertionError(view)


class Notes(Agent):
    """An agent whose moves are written down, by name."""

    def __init__(self, inner):
        self.inner, self.views, self.moves = inner, inner.views, []

    def act(self, obs):
        action = self.inner.act(obs)
        value = action.value if isinstance(action, Action) else action
        self.moves.append(value if isinstance(value, str) else obs.spec.names[value])
        return action


class Repeats(Agent):
    """Plays given moves."""

    def __init__(self, moves):
        self.moves = moves

    def act(self, obs):
        return self.moves[obs.tick]


def headless(horizon, seats, block=0):
    """The same game without a page."""
    return loop(play(make_env("kitchen/cramped_room", {"horizon": horizon}), Lineup(seats), Block(0, block)))


def sit(browse, there, link, **options):
    """A window in a seat that is ready to play."""
    window = browse(there, **options)
    page = window.open(link, "play")
    page.get_by_role("button", name="I am ready").click()
    return page


def press(page, tick, move):
    """Play a move when it is the seat's turn at that tick of the first game."""
    page.wait_for_selector(f'body[data-turn="{turn_number(1, tick)}"]')
    page.keyboard.press(KEYS[move])


def test_a_whole_kitchen_episode_by_keys_beside_a_policy(browse, there, folder, room):
    """The moves are those of the scripted chef, so that soups are delivered."""
    horizon = 90
    chef = Notes(make_agent({"type": "chef"}))
    alone = headless(horizon, {"p0": chef, "p1": make_agent({"type": POLICY})}, 1)
    made, links = room(horizon, {"p0": "person", "p1": POLICY}, block=1, study="by-keys")
    page = sit(browse, there, links["p0"])
    for tick, move in enumerate(chef.moves):
        press(page, tick, move)
    page.get_by_role("heading", name="Game 1 is over").wait_for()
    view = ended(there, made)
    assert view["status"] == "over" and view["results"][0]["score"] == dict(alone.score)
    assert alone.score["return"] > 0, "somebody cooked"
    run = folder / view["run"]
    with RunFolder.open(run) as opened:
        record = opened.records()[0]
        assert record.world == alone.world
        assert record.counts["p0"].get("refused", 0) == 0
    again = headless(horizon, {"p0": Repeats(chef.moves), "p1": make_agent({"type": POLICY})}, 1)
    assert again.world == alone.world
    command = [sys.executable, "-m", "crossplay", "verify", str(run), "--level", "agents"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


def test_two_browsers_in_one_game(browse, there, folder, room):
    horizon = 16
    first = ["east", "interact", "west", "south"] * 4
    second = ["north", "interact", "stay", "west"] * 4
    made, links = room(horizon, {"p0": "person", "p1": "person"}, study="two")
    one = sit(browse, there, links["p0"])
    one.get_by_text("Waiting for p1").wait_for()
    two = sit(browse, there, links["p1"], dark=True)
    for tick in range(horizon):
        press(one, tick, first[tick])
        press(two, tick, second[tick])
    for page in (one, two):
        page.get_by_role("heading", name="Game 1 is over").wait_for()
    view = ended(there, made)
    alone = headless(horizon, {"p0": Repeats(first), "p1": Repeats(second)})
    with RunFolder.open(folder / view["run"]) as opened:
        assert opened.records()[0].world == alone.world
    assert verify(folder / view["run"], "agents").ok


def test_a_seat_is_taken_over_and_handed_back(browse, there, folder, room):
    horizon = 12
    made, links = room(horizon, {"p0": "person", "p1": "chef"}, study="taken")
    page = sit(browse, there, links["p0"])
    for tick in range(3):
        press(page, tick, "stay")
    page.wait_for_selector(f'body[data-turn="{turn_number(1, 3)}"]')
    owner = browse(there).open(f"/play/{made['room']}", "play")
    owner.get_by_role("button", name="Take over").click()
    owner.wait_for_url(re.compile("seat=p1"))
    owner.wait_for_selector("body[data-ready=play]")
    for tick in range(3, 8):
        press(page, tick, "stay")
        if tick > 3 or owner.locator(f'body[data-turn="{turn_number(1, tick)}"]').count():
            press(owner, tick, "north")
    page.wait_for_selector(f'body[data-turn="{turn_number(1, 8)}"]')
    owner.get_by_role("button", name="Hand back").click()
    owner.get_by_role("button", name="Take over").wait_for()
    for tick in range(8, horizon):
        press(page, tick, "stay")
    page.get_by_role("heading", name="Game 1 is over").wait_for()
    view = ended(there, made)
    with RunFolder.open(folder / view["run"]) as opened:
        record = opened.records()[0]
    assert record.ticks == horizon
    episode = f"{there}/api/v1/runs/{view['run']}/episodes/{record.id:016x}"
    ticks = httpx.get(f"{episode}/ticks").json()["ticks"]
    second = [next(m["action"] for m in t["moves"] if m["seat"] == "p1") for t in ticks[:horizon]]
    assert second[4:8] == ["north"] * 4 and second[:3] + second[8:] != ["north"] * 7
    assert verify(folder / view["run"], "actions").ok


def test_by_touch_on_a_phone(browse, there, folder, room):
    made, links = room(4, {"p0": "person", "p1": "chef"}, study="touched")
    page = sit(browse, there, links["p0"], width=390)
    for tick, move in enumerate(["west", "interact", "east", "stay"]):
        page.wait_for_selector(f'body[data-turn="{turn_number(1, tick)}"]')
        page.get_by_role("button", name=move, exact=True).tap()
    page.get_by_role("heading", name="Game 1 is over").wait_for()
    alone = headless(4, {"p0": Repeats(["west", "interact", "east", "stay"]), "p1": make_agent({"type": "chef"})})
    with RunFolder.open(folder / ended(there, made)["run"]) as opened:
        assert opened.records()[0].world == alone.world


def test_a_room_is_made_on_the_page_and_its_link_sits_somebody_down(browse, there):
    page = browse(there).open("/play", "rooms")
    page.get_by_text("2 seats").wait_for()
    page.get_by_role("button", name="Open the room").click()
    page.get_by_role("heading", name="The room is open").wait_for()
    link = page.get_by_label("Link for p0").input_value()
    guest = browse(there).open(link.removeprefix(there), "play")
    guest.get_by_role("button", name="I am ready").wait_for()
    page.get_by_text("p0: person (here)").wait_for()
