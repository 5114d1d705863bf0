"""The documentation of the page: its examples of the API work as they are written, its pictures are there and small."""

import re
import shlex
import shutil
from pathlib import Path

import httpx
import pytest

from conftest import serving

DOCS = Path(__file__).parents[2] / "docs"
TEXT = (DOCS / "page.md").read_text()
CURLS = re.findall(r"(?m)^curl (.+)$", TEXT)


@pytest.fixture(scope="module")
def there(runs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(runs / "kitchen", folder / "demo")
    yield from serving(folder)


def asked(words):
    """(method, address, headers, body) of a curl command as the docs write it."""
    method, headers, body, where = "GET", {}, None, ""
    words = iter(shlex.split(words))
    for word in words:
        if word == "-X":
            method = next(words)
        elif word == "-H":
            name, _, value = next(words).partition(": ")
            headers[name] = value
        elif word == "-d":
            body = next(words)
        elif word == "-o":
            next(words)
        elif word != "-N":
            where = word
    return method, where, headers, body


@pytest.mark.parametrize("words", CURLS)
def test_the_examples_work(there, words):
    method, where, headers, body = asked(words)
    assert where.startswith("http://127.0.0.1:8765/")
    where = where.replace("http://127.0.0.1:8765", there)
    with httpx.stream(method, where, headers=headers, content=body, timeout=60) as answer:
        assert answer.status_code == 200, answer.read()
        if "-N" in words:
            assert next(answer.iter_lines())
        else:
            assert answer.read()


def test_the_pictures_are_there_and_small():
    found = [DOCS / name for name in re.findall(r"!\[[^\]]+\]\((pictures/page/[^)]+)\)", TEXT)]
    assert len(found) >= 12
    assert sum(path.stat().st_size for path in found) < 1_500_000
    assert {p.name for p in found} == {p.name for p in (DOCS / "pictures" / "page").iterdir()}


def test_every_page_of_the_menu_is_told_of():
    main = (DOCS.parent / "src" / "crossplay" / "web" / "static" / "js" / "main.js").read_text()
    for name in re.findall(r'\["/[a-z]*", "([^"]+)"\]', main):
        assert re.search(name, TEXT, re.IGNORECASE), name
