"""docs/cli.md is what the commands say of themselves."""

from cli_page import PAGE, page


def test_the_page_is_what_the_commands_say():
    assert PAGE.read_text("utf-8") == page(), "run: python tests/docs/cli_page.py"
