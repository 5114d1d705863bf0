"""The page in a real browser on loopback: how soon it can be used, pictures a second, paging through 100,000 episodes, keys.

Server and browser are processes of their own, as a user has them. Pages are opened in a fresh context each time, so nothing
is cached by the browser. The yardsticks are the browser's own: how long it takes to open a
bare answer of the same server, how many frames it makes, how long a bare `fetch` of the same rows takes. Without Chromium and
Playwright the rows say that they were not run.
"""

from __future__ import annotations

import json
import math
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.measure import Row, median, row
from benchmarks.tables import large_run

VISITS, TURNS, KEYS = 5, 40, 40
USABLE_S, PICTURES, ANSWERS_MS = 1.5, 30, 100
"""Bars: until a page can be used; pictures a second; until what was asked for is on the screen (p95)."""
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
KITCHEN = {
    "study": {"blocks": 2, "margin": 10, "baseline": "policy+policy"},
    "environments": {"kitchen": "kitchen/cramped_room"},
    "agents": {"policy": "policy:kitchen/cramped_room-1", "chef": "chef"},
    "lineups": {"policy+policy": ["policy", "policy"], "policy+chef": ["policy", "chef"]},
}
COUNTER = """
window.counted = { drawn: [], frames: [] };
const put = CanvasRenderingContext2D.prototype.putImageData;
CanvasRenderingContext2D.prototype.putImageData = function (...given) {
  counted.drawn.push(performance.now()); return put.apply(this, given);
};
const count = (now) => { counted.frames.push(now); requestAnimationFrame(count); };
requestAnimationFrame(count);
"""
TURN = """
async (name) => {
  const button = [...document.querySelectorAll("button")].find((b) => b.textContent.startsWith(name) && !b.disabled);
  const first = () => document.querySelector("tbody tr a.id").getAttribute("href"), before = first();
  const begin = performance.now();
  button.click();
  await new Promise((done) => {
    const seen = new MutationObserver(() => { if (first() !== before) { seen.disconnect(); done(); } });
    seen.observe(document.querySelector("tbody"), { childList: true, subtree: true });
  });
  await new Promise(requestAnimationFrame);
  return performance.now() - begin;
}
"""
FETCH = """
async (where) => { const begin = performance.now(); await (await fetch(where)).json(); return performance.now() - begin; }
"""
PRESS = """
async (key) => {
  const drawn = counted.drawn.length, begin = performance.now();
  document.dispatchEvent(new KeyboardEvent("keydown", { key, code: key, bubbles: true }));
  for (let k = 0; k < 300 && counted.drawn.length === drawn; k++) await new Promise(requestAnimationFrame);
  return counted.drawn.length === drawn ? null : counted.drawn[drawn] - begin;
}
"""


def rows() -> list[Row]:
    """Pages, pictures, paging, keys."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        found = None
    if found is None:
        why = "not run: no Chromium, or no Playwright"
        return [row("page: in a browser", math.nan, why, "reported", [], 0.0, [], why)]
    import crossplay

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        crossplay.run(KITCHEN, out=folder / "kitchen")
        large_run(folder / "large", 20, 5000)
        with _server(folder) as base, sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=found, args=QUIET)
            rows = [*_usable(browser, base), _pictures(browser, base), *_paging(browser, base), _keys(browser, base)]
            browser.close()
    return rows


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    """The page on a folder, in a process of its own."""
    command = [sys.executable, "-m", "crossplay", "serve", str(folder), "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        found = re.search(r"http://[\d.:]+", server.stdout.readline())
        assert found, "the server did not say where it is"
        yield found.group()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(20)


@contextmanager
def _window(browser: Any, count: bool = False) -> Iterator[Any]:
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    if count:
        context.add_init_script(COUNTER)
    page = context.new_page()
    page.set_default_timeout(60_000)
    yield page
    context.close()


def _open(page: Any, where: str) -> float:
    """Seconds until the page says that it can be used."""
    begin = time.perf_counter()
    page.goto(where)
    page.wait_for_selector("body[data-ready]")
    return time.perf_counter() - begin


def _visits(browser: Any, where: str, ours: bool = True, visits: int = VISITS) -> list[float]:
    taken = []
    for _ in range(visits):
        with _window(browser) as page:
            begin = time.perf_counter()
            if ours:
                _open(page, where)
            else:
                page.goto(where)
            taken.append(time.perf_counter() - begin)
    return taken


def _usable(browser: Any, base: str) -> list[Row]:
    """Each page: the median of visits, and the first since the server was started, which reads what the others find read."""
    bare = _visits(browser, f"{base}/api/v1/runs", ours=False)
    pages = {
        "runs": "/",
        "a run": "/runs/kitchen",
        "an episode": "/runs/kitchen/episodes/policy+chef:0?step=40",
        "lineups side by side": "/runs/kitchen/compare",
        "gallery": "/gallery",
        "new study": "/new?example=mixed-kitchen",
        "play": "/play",
        "a run of 100,000 episodes": "/runs/large",
        "100,000 episodes": "/runs/large/episodes",
    }
    found = []
    what = "a bare answer of the same server in the same browser, s"
    for name, where in pages.items():
        first = _visits(browser, base + where, visits=1)
        taken = _visits(browser, base + where)
        for title, samples in ((name, taken), (f"{name}, the first time", first)):
            bar = "reported" if samples is first and "100,000" in name else f"<= {USABLE_S}"
            found.append(row(f"page: usable, {title}", median(samples), "s", bar, samples, median(bare), bare, what))
    return found


def _pictures(browser: Any, base: str) -> Row:
    """An episode of 400 ticks, played at 60 a second on every screen of its page."""
    with _window(browser, count=True) as page:
        _open(page, f"{base}/runs/kitchen/episodes/policy+chef:0")
        page.get_by_label("Speed").select_option("60")
        page.evaluate("counted.drawn.length = counted.frames.length = 0")
        page.get_by_role("button", name="Play", exact=True).click()
        while int(page.get_by_role("slider").input_value()) < 390:
            page.wait_for_timeout(50)
        drawn, frames = page.evaluate("[counted.drawn, counted.frames]")
        screens = page.locator("canvas").count()
    seconds = (drawn[-1] - drawn[0]) / 1000
    made = sum(drawn[0] <= f <= drawn[-1] for f in frames) / seconds
    gaps = [1000 / (b - a) for a, b in zip(drawn[::screens], drawn[screens::screens], strict=False) if b > a]
    rate = (len(drawn) / screens - 1) / seconds
    title = f"page: pictures a second on each of {screens} screens, 60 ticks a second"
    return row(title, rate, "a second", f">= {PICTURES}", gaps, made, [], "frames that the browser made a second")


def _paging(browser: Any, base: str) -> list[Row]:
    """Next page, a far page, another order: until the rows are on the screen."""
    with _window(browser) as page:
        _open(page, f"{base}/runs/large/episodes")
        rows = f"{base}/api/v1/runs/large/episodes?limit=50&offset="
        turns, bare = [], []
        for k in range(TURNS):
            turns.append(page.evaluate(TURN, "Next"))
            bare.append(page.evaluate(FETCH, rows + str(50 * (k + 1))))
        orders = [page.evaluate(TURN, "payoff_row") for _ in range(TURNS // 4)]
        _open(page, f"{base}/runs/large/episodes?from=99000")
        far = [page.evaluate(TURN, name) for _ in range(TURNS // 4) for name in ("Next", "Back")]
    what = "a bare fetch of the same rows, p95, ms"
    return [
        row(f"page: {title}, p95", _p95(taken), "ms", f"<= {ANSWERS_MS}", taken, _p95(bare), bare, what)
        for title, taken in (
            ("next 50 of 100,000 episodes", turns),
            ("the same near the end", far),
            ("100,000 episodes in another order", orders),
        )
    ]


def _keys(browser: Any, base: str) -> Row:
    """A person cooks beside a policy; the game waits for them: from the key to the picture that it made."""
    import urllib.request

    body = {
        "environment": "kitchen/cramped_room",
        "options": {"horizon": 400},
        "seats": {"p0": "person", "p1": "policy:kitchen/cramped_room-1"},
    }
    asked = urllib.request.Request(
        f"{base}/api/v1/rooms", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    made = json.loads(urllib.request.urlopen(asked).read())
    with _window(browser, count=True) as page:
        _open(page, base + made["invites"][0]["link"])
        page.get_by_role("button", name="I am ready").click()
        page.get_by_text("It is your turn.").wait_for()
        page.wait_for_timeout(500)
        taken = []
        for k in range(KEYS):
            taken.append(page.evaluate(PRESS, ("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown")[k % 4]))
            page.wait_for_timeout(60)
        frame = 1000 / 60
    assert all(t is not None for t in taken), "a key without a picture"
    title = "play: from a key to the picture it made, beside a policy, p95"
    return row(title, _p95(taken), "ms", f"<= {ANSWERS_MS}", taken, frame, [], "one frame of the browser, ms")


def _p95(taken: list[float]) -> float:
    return sorted(taken)[min(len(taken) - 1, int(0.95 * len(taken)))]
