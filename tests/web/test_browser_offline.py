"""Nothing comes from elsewhere: what every page asks for goes to the server that it came from, and what would not is noticed."""

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from everywhere import PAGES, places_of, unfold

import crossplay.web
from conftest import Window, serving

pytestmark = pytest.mark.full
STATIC = Path(crossplay.web.__file__).parent / "static"


@pytest.fixture(scope="module")
def served(own_runs):
    yield from serving(own_runs())


@pytest.fixture(scope="module")
def places(served):
    return places_of(served)


@pytest.mark.parametrize("name", PAGES)
def test_all_that_a_page_asks_for_is_ours(browse, served, places, name):
    window = browse(served)
    asked = []
    window.page.on("request", lambda request: asked.append(request.url))
    window.page.on("websocket", lambda socket: asked.append(socket.url))
    page = window.open(places[name], name)
    unfold(page)
    for tab in page.get_by_role("tab").all()[:12]:
        tab.click()
    page.wait_for_timeout(500)
    if name == "runs_compare":
        window.forgive("400")
    ours = urlsplit(served).netloc
    assert len(asked) > 5
    assert [url for url in asked if urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).netloc != ours] == []
    fonts = page.evaluate("[...document.fonts].map((f) => f.family)")
    assert fonts == []  # those of the system


def test_what_goes_elsewhere_is_noticed(chromium, served):
    """The test above is able to fail: a picture of another host is seen by it, and by every window of these tests."""
    window = Window(chromium, served)
    window.context.route(re.compile("elsewhere"), lambda route: route.fulfill(status=200, body="x"))
    window.page.set_content('<img src="http://elsewhere.test/x.png">')
    window.page.wait_for_timeout(200)
    assert [t for t in window.close() if "another host: http://elsewhere.test/x.png" in t]


def test_the_browser_refuses_what_goes_elsewhere(chromium, served):
    window = Window(chromium, served)
    page = window.open("/", "runs")
    told = page.evaluate("fetch('http://127.0.0.2:9/').then(() => 'came', (e) => 'refused')")
    page.evaluate("""() => { const i = document.createElement("img"); i.src = "http://127.0.0.2:9/x.png"; document.body.append(i);
      const s = document.createElement("script"); s.textContent = "document.body.dataset.ran = 1"; document.body.append(s); }""")
    page.wait_for_timeout(200)
    assert told == "refused" and page.locator("body[data-ran]").count() == 0
    troubles = " ".join(window.close())
    assert troubles.count("Content Security Policy") >= 3, troubles


def test_no_file_of_the_page_names_another_host():
    known = {"http://www.w3.org/2000/svg"}
    for file in STATIC.rglob("*"):
        if file.suffix in (".js", ".css", ".html", ".svg"):
            text = re.sub(r"(?m)^\s*(//|\*).*$", "", file.read_text())
            named = set(re.findall(r"""https?://[a-zA-Z0-9.-]+[^\s"'`)<>]*""", text)) - known
            assert not [n for n in named if re.search(r"://[a-z0-9-]+\.[a-z]{2,}", n)], (file.name, named)
            assert "@import" not in text and not re.search(r"url\((?!#|data:)", text), file.name
