"""From the list of runs to a step of an episode and a comparison, by clicks; a check of the gallery from its page."""

import re

import httpx
import pytest

pytestmark = pytest.mark.full


def column(page, number):
    """The texts of a column of the table."""
    return [row.locator("td").nth(number).inner_text() for row in page.locator("main tbody tr").all()]


def test_a_run_is_opened_sorted_scrubbed_and_compared(browse, address):
    page = browse(address).open("/", "runs")
    page.get_by_role("link", name="kitchen", exact=True).click()
    page.wait_for_selector("body[data-ready=study]")
    page.get_by_text("Is a script a good partner?").wait_for()
    page.get_by_role("link", name="Episodes", exact=True).click()
    page.wait_for_selector("body[data-ready=episodes]")
    heads = page.locator("main thead th").all_inner_texts()
    place = next(i for i, text in enumerate(heads) if text.strip().startswith("return"))
    button = page.locator("main thead th").nth(place).get_by_role("button")
    button.click()
    page.wait_for_selector("th[aria-sort=descending]")
    falling = [float(text.replace("\u2212", "-")) for text in column(page, place)]
    assert falling == sorted(falling, reverse=True) and falling[0] > falling[-1]
    button.click()
    page.wait_for_selector("th[aria-sort=ascending]")
    page.wait_for_timeout(500)
    rising = [float(text.replace("\u2212", "-")) for text in column(page, place)]
    assert rising == sorted(falling)
    page.locator("main tbody tr").first.get_by_role("link").first.click()
    page.wait_for_selector("body[data-ready=episode]")
    page.get_by_role("slider").fill("20")
    page.get_by_role("heading", name="Tick 20", exact=True).wait_for()
    page.wait_for_url(re.compile("step=20"))
    page.keyboard.press("ArrowRight")
    page.get_by_role("heading", name="Tick 21", exact=True).wait_for()
    page.get_by_role("link", name="Compare with others of this block").click()
    page.wait_for_selector("body[data-ready=compare]")
    page.get_by_role("heading", name=re.compile("side by side")).wait_for()
    assert page.locator("canvas").count() >= 2
    page.go_back()
    page.wait_for_selector("body[data-ready=episode]")
    page.get_by_role("heading", name=re.compile("Tick 2[01]")).wait_for()


def test_a_check_of_the_gallery_is_run_from_its_page(browse, own_address):
    page = browse(own_address).open("/gallery/who_am_i", "gallery_entry")
    page.get_by_role("button", name="Run the check").click()
    for _ in range(600):
        told = httpx.get(f"{own_address}/api/v1/gallery/who_am_i").json()
        if told["head"]["check"] is not None and told["head"]["going"] is None:
            break
        page.wait_for_timeout(200)
    assert told["head"]["check"]["ok"], told["head"]
    page.get_by_text("findings hold").first.wait_for(timeout=20_000)
