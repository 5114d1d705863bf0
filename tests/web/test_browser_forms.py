"""The page of new studies in a browser: filled in by hand, told what is wrong, pasted into, started, stopped, gone on with."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.full
SLOW = 60_000


def field(page, place):
    return page.locator(f'[data-place="{place}"]').locator("input, select, textarea").first


def ready(page):
    expect(page.locator(".said .badge")).to_have_text("ready", timeout=SLOW)


def filled(page):
    """A small study, as somebody fills it in."""
    expect(page.locator("#add-env")).to_be_enabled(timeout=SLOW)
    page.select_option("#add-env", "kitchen/cramped_room")
    expect(page.get_by_text("2 seats: p0, p1")).to_be_visible(timeout=SLOW)
    page.select_option("#add-agent", "chef")
    page.select_option("#add-agent", "random")
    field(page, "study.blocks").fill("3")
    field(page, "study.margin").fill("5")
    page.get_by_text(re.compile(r"^Options \(\d+\)")).first.click()
    field(page, "environments.kitchen/cramped_room.options.horizon").fill("30")


def test_a_study_is_filled_in_and_played(browse, own_address):
    page = browse(own_address).open("/new", "new_study")
    filled(page)
    field(page, "study.name").fill("My study")
    expect(page.locator("#run-name")).to_have_value("my-study")
    ready(page)
    text = page.locator("#toml")
    expect(text).to_have_value(re.compile(r'name = "My study"'))
    expect(text).to_have_value(re.compile(r"horizon = 30"))
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text("my-study is finished.")).to_be_visible(timeout=SLOW)
    page.get_by_role("link", name="Open the run").click()
    page.wait_for_selector('body[data-ready="study"]')
    expect(page.get_by_role("heading", level=1)).to_contain_text("My study")


def test_what_is_wrong_is_said_at_its_field_while_it_is_typed(browse, own_address):
    page = browse(own_address).open("/new", "new_study")
    filled(page)
    ready(page)
    horizon = field(page, "environments.kitchen/cramped_room.options.horizon")
    horizon.fill("0")
    expect(horizon).to_have_attribute("aria-invalid", "true")
    expect(horizon).to_be_focused()
    expect(page.locator(".problems")).to_contain_text("horizon")
    expect(page.get_by_role("button", name="Start")).to_be_disabled()
    horizon.fill("20")
    expect(horizon).not_to_have_attribute("aria-invalid", "true")
    ready(page)
    page.get_by_role("button", name="Add a lineup").click()
    field(page, "study.template").select_option("")
    seat = field(page, "lineups.chef+random.seats.1")
    expect(seat).to_have_value("random")
    seat.select_option("chef")
    ready(page)
    expect(page.locator("#toml")).to_have_value(re.compile(r'seats = \[\s*"chef",\s*"chef",?\s*\]'))


def test_pasted_text_fills_the_form_and_says_what_it_cannot_show(browse, own_address):
    page = browse(own_address).open("/new", "new_study")
    page.locator("#toml").fill(
        '# kept\nenvironments = ["spread"]\n[study]\nname = "pasted"\nmargin = 1\nblocks = [1, 2]\n[agents.a]\ntype = "random"\n'
        '[lineups]\nall = ["a", "a", "a"]\n[conduct]\ntimeout = ["noop"]\n'
    )
    ready(page)
    expect(field(page, "study.name")).to_have_value("pasted")
    expect(field(page, "lineups.all.seats.2")).to_have_value("a")
    expect(page.get_by_text("Kept, but to be changed only as text: study.blocks, conduct.timeout.")).to_be_visible()
    expect(page.locator("#toml")).to_have_value(re.compile("^# kept"))
    field(page, "study.margin").fill("2")
    expect(page.locator("#toml")).to_have_value(re.compile(r"margin = 2"))
    expect(page.locator("#toml")).to_have_value(re.compile(r'timeout = \[\s*"noop"'))
    page.reload()
    page.wait_for_selector('body[data-ready="new_study"]')
    expect(field(page, "study.name")).to_have_value("pasted")  # a draft outlives a reload


def test_code_is_refused_with_a_way_out(browse, own_address):
    page = browse(own_address).open("/new", "new_study")
    page.locator("#toml").fill(
        'environments = ["spread"]\n[study]\nmargin = 1\n[agents]\na = "python:mine:Agent"\n[lineups]\nx = ["a", "a", "a"]\n'
    )
    expect(page.locator(".problems")).to_contain_text("only from the command line", timeout=SLOW)
    expect(page.get_by_text("--trust")).to_be_visible()
    expect(page.get_by_role("button", name="Start")).to_be_disabled()
    page.locator(".problems button").first.press("Enter")
    expect(field(page, "agents.a.type")).to_be_focused()


def test_a_run_is_stopped_and_gone_on_with(browse, own_address):
    page = browse(own_address).open("/new", "new_study")
    page.locator("#toml").fill(
        'environments = ["kitchen/cramped_room"]\n[study]\nname = "long"\nmargin = 1\nblocks = 3000\n[agents]\na = "chef"\n'
        '[lineups]\nx = ["a", "a"]\n[controls]\nfloor = false\n'
    )
    ready(page)
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text(re.compile(r"long: [1-9]\d* of 3,000 episodes"))).to_be_visible(timeout=SLOW)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_text("long was stopped; what is finished is kept.")).to_be_visible(timeout=SLOW)
    page.get_by_role("link", name="Open the run").click()
    page.wait_for_selector('body[data-ready="study"]')
    expect(page.get_by_role("link", name="New study from this")).to_have_attribute("href", "/new?run=long")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_role("button", name="Stop")).to_be_visible(timeout=SLOW)
    page.get_by_role("button", name="Stop").click()
    expect(page.get_by_role("button", name="Go on")).to_be_visible(timeout=SLOW)


def test_a_study_begins_with_that_of_a_run(browse, own_address):
    page = browse(own_address).open("/new?run=kitchen", "new_study")
    expect(page.locator("#run-name")).to_have_value("kitchen-2")
    expect(page.locator('[aria-label="lineup policy+chef"]')).to_be_visible()
    ready(page)


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits(browse, own_address, width, dark):
    page = browse(own_address, width=width, dark=dark).open("/new", "new_study")
    filled(page)
    ready(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for unnamed in page.locator("input, select, textarea, button").all():
        assert unnamed.evaluate("e => Boolean(e.labels?.length || e.ariaLabel || e.textContent.trim())"), unnamed


def test_a_world_without_defaults_is_written_as_text_and_checked(browse, own_address):
    """Its form cannot be made before its options are known; the rest of the page goes on."""
    page = browse(own_address)
    page.open("/new", "new_study")
    page.page.locator("#toml").fill(
        '[study]\nmargin = 1\nblocks = 2\n[environments.game]\nname = "matrix/custom"\n'
        "options = { payoff = [[[1, 1], [0, 0]], [[0, 0], [1, 1]]], rounds = 3 }\n"
        '[agents.a]\ntype = "random"\n[lineups]\nall = ["a", "a"]\n'
    )
    ready(page.page)
    expect(page.page.get_by_text("2 episodes.")).to_be_visible()
    expect(field(page.page, "lineups.all.seats.1")).to_have_value("a")
    page.forgive("400")


def test_edits_during_a_check_are_checked_once_and_the_last_one_stands(browse, own_address, monkeypatch):
    import threading
    import time

    from crossplay.web.service import forms

    real, lock, going, most, seen = forms.checked, threading.Lock(), [0], [0], []

    def slow(desk, body):
        with lock:
            going[0] += 1
            most[0] = max(most[0], going[0])
            seen.append(body.study.get("study", {}).get("margin"))
        time.sleep(0.7)
        try:
            return real(desk, body)
        finally:
            with lock:
                going[0] -= 1

    page = browse(own_address).open("/new", "new_study")
    filled(page)
    ready(page)
    monkeypatch.setattr(forms, "checked", slow)
    for margin in range(11, 17):
        field(page, "study.margin").fill(str(margin))
        page.wait_for_timeout(350)
    expect(page.locator("#toml")).to_have_value(re.compile(r"margin = 16"), timeout=SLOW)
    ready(page)
    assert most == [1] and seen[-1] == 16 and len(seen) < 6, (most, seen)
