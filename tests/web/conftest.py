"""What the tests of the page share: a folder of small runs, a server, a browser that forgives nothing.

`runs`, `address` live as long as the session; `chromium` as long as a module, because the browser's driver keeps an
event loop running in the main thread; `browse` opens windows and, at the end, fails a test whose windows saw an error in
the console, a request that failed, an answer of 500 or more, or a request to another host.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import crossplay

BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
TOKEN = "a-token-of-many-letters"

KITCHEN = {
    "study": {
        "name": "kitchen",
        "description": "A trained policy with itself, with a script and with a random partner.",
        "blocks": 6,
        "margin": 10,
        "baseline": "policy+policy",
    },
    "environments": {"kitchen": {"name": "kitchen/cramped_room", "options": {"horizon": 100}}},
    "agents": {"policy": "policy:kitchen/cramped_room-1", "chef": "chef", "random": "random"},
    "lineups": {
        "policy+policy": ["policy", "policy"],
        "policy+chef": {"seats": ["policy", "chef"], "orders": "all"},
        "policy+random": ["policy", "random"],
    },
    "questions": [{"candidate": "policy+chef", "baseline": "policy+policy", "ask": "Is a script a good partner?"}],
}
TEAM = {
    "study": {"name": "team", "blocks": 6, "margin": 0.1, "description": "Three answerers debate in a ring."},
    "environments": {"questions": {"name": "qa/synthetic"}},
    "agents": {
        "weak": {"type": "answerer", "channel": 0, "skill": 0.35},
        "strong": {"type": "answerer", "channel": 1, "skill": 0.6},
        "debate": {
            "type": "team",
            "members": ["weak", "strong", "strong"],
            "protocol": {"name": "debate", "rounds": 2, "rule": "confidence"},
            "topology": "ring",
        },
    },
    "lineups": {"debate": ["debate"]},
    "controls": {"dev": 6},
}
FALLBACKS = {
    "study": {"name": "fallbacks", "blocks": 3, "margin": 10, "description": "A talker whose words often break off."},
    "environments": {"kitchen": {"name": "kitchen/cramped_room", "options": {"horizon": 40}}},
    "models": {"double": {"backend": "scripted", "malformed_rate": 0.4}},
    "agents": {"chef": "chef", "talker": {"type": "llm:double", "skills": True}},
    "lineups": {"chef+talker": ["chef", "talker"], "chef+chef": ["chef", "chef"]},
}
DILEMMA = {
    "study": {"name": "dilemma", "blocks": 3, "margin": 0.5, "template": "crossplay", "metric": "payoff_row"},
    "environments": {"game": {"name": "matrix/prisoners_dilemma", "options": {"rounds": 8}}},
    "agents": {"tft": "strategy:tit_for_tat", "bad": "strategy:always_defect", "coin": "strategy:random"},
}
PEOPLE = """
[environments.kitchen]
name = "kitchen/cramped_room"
options = { horizon = 40 }
[study]
name = "partners"
description = "With whom do people cook best?"
margin = 5
baseline = "me+chef"
[agents]
me = "person"
chef = "chef"
policy = "policy:kitchen/cramped_room-1"
[lineups]
"me+chef" = ["me", "chef"]
"me+policy" = ["me", "policy"]
[people]
participants = 4
blocks = 1
title = "Cooking together"
consent = "Your moves are recorded, without your name."
instructions = "Cook onion soup: three onions, a plate, and to the counter."
practice = { seats = ["me", "chef"], blocks = 1 }
[[people.questions]]
name = "fair"
ask = "My partner did a fair share."
[[people.questions]]
name = "again"
ask = "With whom would you cook again?"
kind = "choice"
choices = "partners"
when = "end"
"""
"""A study with people, as a file in the folder of runs."""
STUDIES = {"kitchen": KITCHEN, "team": TEAM, "fallbacks": FALLBACKS, "games~dilemma": DILEMMA}
"""Runs by the names that they have in addresses."""


def make_runs(folder: Path) -> Path:
    """Play the studies of `STUDIES` into a folder; about ten seconds."""
    for name, study in STUDIES.items():
        crossplay.run(study, out=folder.joinpath(*name.split("~")))
    (folder / "partners.toml").write_text(PEOPLE)
    return folder


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Path:
    """A folder of runs: kitchen, team, fallbacks, games/dilemma. Tests add to it, and change nothing in it."""
    return make_runs(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="session")
def own_runs(runs, tmp_path_factory) -> Callable[[], Path]:
    """Makes a copy of the runs, for tests that write."""
    return lambda: Path(shutil.copytree(runs, tmp_path_factory.mktemp("own") / "runs"))


def serving(folder: Path, **options: Any) -> Iterator[str]:
    """The page on a socket of its own: its address."""
    from crossplay.web.app import make_app
    from crossplay.web.desk import Desk
    from crossplay.wire.http.house import House

    desk = Desk(folder)
    house = House(make_app(desk, **options), "127.0.0.1", 0, sockets=True, extra="web")
    house.open()
    try:
        yield f"http://{house.authority}"
    finally:
        desk.close()
        house.close()


@pytest.fixture(scope="session")
def address(runs) -> Iterator[str]:
    """Where the page on `runs` is served, to look at."""
    yield from serving(runs)


@pytest.fixture(scope="session")
def own_address(own_runs) -> Iterator[str]:
    """Where the page on a copy of the runs is served, for tests that play and start things."""
    yield from serving(own_runs())


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser."""
    from playwright.sync_api import sync_playwright

    assert BROWSER, "the second ring needs a browser: sudo apt-get install chromium"
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=QUIET)
        yield browser
        browser.close()


class Window:
    """One window of the browser, by itself: no cookies of others.

    page: Playwright's. troubles: what went wrong, in words; a test that causes trouble itself takes it out by `forgive`.
    """

    def __init__(self, browser: Any, base: str, width: int = 1280, dark: bool = False, **options: Any) -> None:
        self.base, self.troubles = base.rstrip("/"), list[str]()
        options.setdefault("viewport", {"width": width, "height": 844 if width < 600 else 800})
        if width < 600:
            options.setdefault("has_touch", True)
        self.context = browser.new_context(color_scheme="dark" if dark else "light", **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(15_000)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.troubles.append(f"error: {error}"))
        self.page.on("request", self._asked)
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._answered)
        self.page.on("websocket", lambda socket: self._elsewhere(socket.url))

    def open(self, where: str = "/", ready: str | None = None) -> Any:
        """Go to a page of ours and wait until it is ready (of the name `ready`, where given)."""
        self.page.goto(self.base + where)
        self.wait(ready)
        return self.page

    def wait(self, ready: str | None = None) -> None:
        """Wait until the page is ready."""
        self.page.wait_for_selector(f'body[data-ready="{ready}"]' if ready else "body[data-ready]")

    def forgive(self, *words: str) -> None:
        """Take out troubles that hold one of these words; there must be one for each."""
        for word in words:
            assert any(word in t for t in self.troubles), (word, self.troubles)
        self.troubles = [t for t in self.troubles if not any(word in t for word in words)]

    def close(self) -> list[str]:
        """Close it; the troubles."""
        self.context.close()
        return self.troubles

    def _said(self, message: Any) -> None:
        if message.type == "error":
            where = (message.location or {}).get("url", "")
            self.troubles.append(f"console: {message.text} ({where})")

    def _asked(self, request: Any) -> None:
        self._elsewhere(request.url)

    def _elsewhere(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.netloc != urlsplit(self.base).netloc:
            self.troubles.append(f"another host: {url}")

    def _failed(self, request: Any) -> None:
        if "ERR_ABORTED" not in (request.failure or ""):  # what a page that is left no longer waits for
            self.troubles.append(f"failed: {request.url}: {request.failure}")

    def _answered(self, answer: Any) -> None:
        if answer.status >= 500:
            self.troubles.append(f"{answer.status}: {answer.url}")


@pytest.fixture
def browse(chromium) -> Iterator[Callable[..., Window]]:
    """Opens windows: browse(address, width=1280, dark=False) -> `Window`."""
    windows: list[Window] = []

    def make(base: str, **options: Any) -> Window:
        windows.append(Window(chromium, base, **options))
        return windows[-1]

    yield make
    troubles = [trouble for window in windows for trouble in window.close()]
    assert not troubles, "\n".join(troubles)
