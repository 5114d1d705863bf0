"""Pictures of every page: light and dark, wide and on a phone, to be looked at; and those of the tour in the docs.

    python tests/web/shots.py [--only NAME ...] [--out build/shots] [--docs]

Prints, for each page, the seconds from the first byte asked for until it says that it is ready: the median of five
visits with a fresh browser context each, in this very process beside the server. --docs writes docs/pictures/page/.
"""

from __future__ import annotations

import argparse
import io
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import httpx

import crossplay
from conftest import BROWSER, KITCHEN, QUIET, TOKEN, Window, make_runs, serving

DOCS = Path(__file__).resolve().parents[2] / "docs" / "pictures" / "page"
WIDE, PHONE = 1280, 390
VISITS = 5
COLOURS = 128
"""Of a picture in the docs."""


class Page:
    """A page to be shot. where: its address; after: what is done before the shot; docs: whether it is in the tour."""

    def __init__(
        self,
        name: str,
        where: str,
        ready: str,
        after: Callable[[Any], None] | None = None,
        docs: bool = True,
        tall: int = 1100,
    ) -> None:
        self.name, self.where, self.ready, self.after, self.docs, self.tall = name, where, ready, after, docs, tall


def pages(base: str, guarded: str) -> Iterator[Page]:
    """All pages, with what is made for them: a room in which is played, an invitation."""
    api = httpx.Client(base_url=f"{base}/api/v1", timeout=60)

    def ask(method: str, where: str, body: Any = None) -> Any:
        answer = api.request(method, where, json=body)
        answer.raise_for_status()
        return answer.json()

    def episode(run: str, lineup: str) -> str:
        rows = ask("GET", f"/runs/{run}/episodes")["rows"]
        return str(next(row["episode"] for row in rows if row["lineup"] == lineup))

    yield Page("runs", "/", "runs", tall=560)
    yield Page("study", "/runs/kitchen", "study", tall=1500)
    for tab in ("scores", "differences", "payoff", "profiles", "cells", "about"):
        yield Page(f"study-{tab}", f"/runs/kitchen?tab={tab}", "study", settle, docs=False)
    yield Page("study-teams", "/runs/team?tab=teams", "study", settle, docs=False)
    yield Page("study-cost", "/runs/fallbacks?tab=cost", "study", settle, docs=False)
    yield Page("study-faults", "/runs/fallbacks?tab=faults", "study", settle, docs=False)
    yield Page("study-team", "/runs/team", "study", docs=False)
    yield Page("study-fallbacks", "/runs/fallbacks", "study", docs=False)
    yield Page("episodes", "/runs/kitchen/episodes", "episodes", tall=900)
    yield Page("episode", f"/runs/kitchen/episodes/{episode('kitchen', 'policy+chef')}?step=32", "episode", settle)
    yield Page(
        "episode-model",
        f"/runs/fallbacks/episodes/{episode('fallbacks', 'chef+talker')}?step=3&seat=p1",
        "episode",
        settle,
        docs=False,
    )
    yield Page("compare", "/runs/kitchen/compare", "compare", settle)
    yield Page("team", f"/runs/team/episodes/{episode('team', 'debate')}/team", "team", settle)
    yield Page("runs-compare", "/compare?runs=kitchen&runs=kitchen-again", "runs_compare", docs=False)
    yield Page("gallery", "/gallery", "gallery")
    yield Page("gallery-entry", "/gallery/agent_scaling", "gallery_entry")
    yield Page("models", "/models", "models", tall=900)
    yield Page("workers", "/workers", "workers", tall=900)
    yield Page("new-study-empty", "/new", "new_study", settle, docs=False)
    yield Page("new-study", "/new?example=mixed-kitchen", "new_study", checked, tall=1300)
    kitchen = {"environment": "kitchen/cramped_room", "title": "Soup for two", "options": {"horizon": 200}}
    made = ask(
        "POST",
        "/rooms",
        {
            **kitchen,
            "seats": {"p0": "person", "p1": "chef"},
            "study": "soup",
            "consent": "Your moves are recorded, without your name.",
        },
    )
    yield Page("rooms", "/play", "rooms")
    yield Page("waiting-room", made["invites"][0]["link"], "play", settle, docs=False)
    played = ask(
        "POST",
        "/rooms",
        {**kitchen, "seats": {"p0": "person", "p1": "policy:kitchen/cramped_room-1"}, "study": "soup-2"},
    )
    yield Page("play", played["invites"][0]["link"], "play", cook)
    yield Page("room", f"/play/{made['room']['room']}", "play", settle, docs=False)
    if any(p["name"] == "partners.toml" for p in ask("GET", "/people")["studies"]):
        ask("POST", "/people/partners.toml/open")
        invited = ask("POST", "/people/partners.toml/invite", {"count": 2})
        yield Page("people", "/people", "people", docs=False)
        yield Page("people-study", "/people/partners.toml", "people")
        yield Page("take-part", invited["sessions"][0]["link"], "take_part", settle)
    yield Page("login", f"{guarded}/", "login", docs=False)
    yield Page("missing", "/no/such/page", "error", docs=False)


def settle(page: Any) -> None:
    """Let pictures come."""
    page.wait_for_timeout(1200)


def checked(page: Any) -> None:
    """Let the study be checked."""
    page.get_by_text("ready", exact=True).wait_for(timeout=60_000)
    settle(page)


def cook(page: Any) -> None:
    """Say that one is ready, and play some ticks."""
    ready = page.get_by_role("button", name="I am ready")
    if ready.count():
        ready.click()
    for key in ("ArrowUp", "Space", "ArrowRight", "Space", "ArrowLeft"):
        page.wait_for_timeout(350)
        page.keyboard.press(key)
    page.wait_for_timeout(700)


def compressed(shot: bytes) -> bytes:
    """A picture for the docs: three quarters of the size, few colours."""
    from PIL import Image

    picture = Image.open(io.BytesIO(shot)).convert("RGB")
    picture = picture.resize((picture.width * 3 // 4, picture.height * 3 // 4), Image.Resampling.LANCZOS)
    small = picture.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    out = io.BytesIO()
    small.save(out, "PNG", optimize=True)
    return out.getvalue()


def shoot(browser: Any, base: str, page: Page, out: Path, docs: bool) -> list[str]:
    """All pictures of one page; what went wrong."""
    troubles = []
    for width in (WIDE, PHONE):
        for dark in (False, True):
            window = Window(browser, base if page.where.startswith("/") else page.where, width, dark)
            name = f"{page.name}-{'wide' if width == WIDE else 'phone'}-{'dark' if dark else 'light'}"
            try:
                found = window.open(page.where if page.where.startswith("/") else "/")
                if page.after is not None:
                    page.after(found)
                found.screenshot(path=out / f"{name}.png", full_page=True)
                if docs and page.docs and width == WIDE and not dark:
                    found.set_viewport_size({"width": WIDE, "height": page.tall})
                    found.wait_for_timeout(300)
                    (DOCS / f"{page.name}.png").write_bytes(compressed(found.screenshot()))
                if found.locator("body").get_attribute("data-ready") != page.ready:
                    window.troubles.append(f"it is {found.locator('body').get_attribute('data-ready')}")
                wider = found.evaluate("document.documentElement.scrollWidth - innerWidth")
                if wider > 0:
                    window.troubles.append(f"{wider} pixels wider than the window")
            except Exception as error:  # the other pages are shot all the same
                window.troubles.append(str(error).partition("\n")[0])
            troubles += [f"{name}: {trouble}" for trouble in window.close()]
    return troubles


def seconds(browser: Any, base: str, page: Page) -> float:
    """Until the page is ready: the median over visits."""
    taken = []
    for _ in range(VISITS):
        window = Window(browser, base if page.where.startswith("/") else page.where)
        begin = time.perf_counter()
        window.open(page.where if page.where.startswith("/") else "/")
        taken.append(time.perf_counter() - begin)
        window.close()
    return statistics.median(taken)


def main() -> int:
    """Make the pictures; 1 where a page had troubles."""
    from playwright.sync_api import sync_playwright

    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--only", nargs="*", default=[])
    options.add_argument("--out", type=Path, default=Path("build/shots"))
    options.add_argument("--docs", action="store_true")
    options.add_argument("--time", action="store_true", help="times alone, no pictures")
    given = options.parse_args()
    given.out = given.out.resolve()
    given.out.mkdir(parents=True, exist_ok=True)
    DOCS.mkdir(parents=True, exist_ok=True)
    troubles: list[str] = []
    folder = make_runs(Path(tempfile.mkdtemp(prefix="crossplay-shots-")))
    crossplay.run(
        {**KITCHEN, "study": {**KITCHEN["study"], "name": "kitchen-again", "root": 1}}, out=folder / "kitchen-again"
    )
    os.chdir(folder)  # interpreters of workers are looked for where the server was started
    logging.getLogger("httpx").setLevel(logging.WARNING)
    ours = serving(folder)
    other = serving(folder, token=TOKEN)
    base, guarded = next(ours), next(other)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=BROWSER, args=QUIET)
        for page in pages(base, guarded):
            if given.only and page.name not in given.only:
                continue
            if given.time:
                sys.stdout.write(f"{page.name:16} ready in {seconds(browser, base, page):.2f} s\n")
            else:
                found = shoot(browser, base, page, given.out, given.docs)
                sys.stdout.write(f"{page.name:16} {'; '.join(found) or 'fine'}\n")
                troubles += found
            sys.stdout.flush()
        browser.close()
    for served in (ours, other):
        next(served, None)  # the server ends
    return 1 if troubles else 0


if __name__ == "__main__":
    sys.exit(main())
