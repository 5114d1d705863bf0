"""The shell of the page in a real browser: the menu by keyboard, what is not there, the token."""

import pytest

from conftest import TOKEN, serving

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def guarded(runs):
    yield from serving(runs, token=TOKEN)


def test_what_is_not_there_is_said_in_words(browse, address):
    window = browse(address)
    page = window.open("/no/such/page", "error")
    assert page.get_by_role("heading", level=1).inner_text() == "Not here"
    assert page.get_by_role("alert").is_visible()


def test_the_owner_comes_in_with_the_token_and_stays(browse, guarded):
    window = browse(guarded)
    page = window.open("/", "login")
    page.get_by_label("token").fill("a wrong one")
    page.keyboard.press("Enter")
    page.get_by_text("the token is wrong").wait_for()
    window.forgive("401")
    page.get_by_label("token").fill(TOKEN)
    page.keyboard.press("Enter")
    window.wait("runs")
    page.reload()
    window.wait("runs")


def test_a_link_brings_the_token_and_it_leaves_the_address(browse, guarded):
    window = browse(guarded)
    page = window.open(f"/#token={TOKEN}", "runs")
    assert TOKEN not in page.url
