"""What changes while a page is not looked at shows when it is looked at again; a run's page says what participants answered."""

import shutil
import sqlite3
import time

import pytest
import small

from crossplay.web.app import make_app
from crossplay.web.desk import Desk
from crossplay.wire.http.house import House

pytestmark = pytest.mark.full

SEEN = """hidden => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


@pytest.fixture(scope="session")
def sound(tmp_path_factory):
    """Runs to copy: made before the browser's driver keeps an event loop in this thread."""
    root = tmp_path_factory.mktemp("news")
    small.dilemma(root / "games")
    small.people(root / "partners")
    small.answered(root / "partners", 1, {"questions/me+chef": {"fair": 4}, "questions": {"again": "me+policy"}})
    return root


@pytest.fixture
def served(sound, tmp_path):
    """(folder, desk, address) of a server of its own."""
    shutil.copytree(sound, tmp_path, dirs_exist_ok=True)
    desk = Desk(tmp_path)
    house = House(make_app(desk), "127.0.0.1", 0, sockets=True, extra="web")
    house.open()
    yield tmp_path, desk, f"http://{house.authority}"
    desk.close()
    house.close()


def until(true):
    end = time.monotonic() + 20
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def listening(desk):
    return len(desk.parts["events"].listeners) if "events" in desk.parts else 0


def cut(folder, first):
    with sqlite3.connect(folder / "manifest.sqlite") as db:
        db.execute("DELETE FROM episodes WHERE seq > ?", (first,))
    db.close()


def test_pages_that_nobody_sees_hold_no_connection_and_are_up_to_date_when_seen(browse, served):
    folder, desk, where = served
    window = browse(where)
    for path, name in (("/", "runs"), ("/runs/games", "study"), ("/runs/games/episodes", "episodes")):
        page = window.open(path, name)
        until(lambda: listening(desk) == 1)
        page.evaluate(SEEN, True)
        until(lambda: listening(desk) == 0)
        if name == "episodes":  # some come
            shutil.rmtree(folder / "games")
            small.dilemma(folder / "games")
        else:
            cut(folder / "games", 12 if name == "runs" else 9)
        page.evaluate(SEEN, False)
        if name == "episodes":
            page.get_by_role("button", name="Show").wait_for()
        else:
            page.get_by_text("12 of" if name == "runs" else "9 of").first.wait_for()


def test_a_stream_that_was_refused_is_asked_for_again(browse, served, monkeypatch):
    from crossplay.web.service import events

    _, desk, where = served
    monkeypatch.setattr(events, "LISTENERS", 0)
    window = browse(where)
    page = window.open("/", "runs")
    until(lambda: window.troubles)
    window.forgive("429")
    monkeypatch.setattr(events, "LISTENERS", 9)
    page.evaluate(SEEN, False)  # as ten seconds would do
    until(lambda: listening(desk) == 1)


def test_what_participants_answered_stands_with_the_result(browse, served):
    page = browse(served[2]).open("/runs/partners?tab=people", "study")
    page.get_by_text("My partner did a fair share.").wait_for()
    said = page.locator("main").inner_text()
    assert "1 took part" in said and "me+policy: 1" in said
    assert page.get_by_role("tab", name="Participants").get_attribute("aria-selected") == "true"
    other = browse(served[2]).open("/runs/games", "study")
    assert other.get_by_role("tab", name="Participants").count() == 0
