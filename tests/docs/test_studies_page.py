"""docs/studies.md lists every key of a study file, with its default, and nothing else."""

from __future__ import annotations

import tomllib

import msgspec
import pytest
from doc_pages import DOCS, fences, pages, rows

from crossplay.kernel import Channel, Conduct, CrossplayError
from crossplay.study import spec
from crossplay.study.people import People
from crossplay.study.spec import Controls, EnvSpec, LineupSpec, Question, Study, parse_study
from crossplay.study.stage import Stage

PAGE = DOCS / "studies.md"
HEAD = set(Study.__struct_fields__) - set(spec._TABLES) - {"base"}  # base: where the file lies, not a key
TABLES = {
    "study": HEAD,
    "environments": set(EnvSpec.__struct_fields__),
    "lineups": set(LineupSpec.__struct_fields__),
    "questions": set(Question.__struct_fields__),
    "controls": set(Controls.__struct_fields__),
    "conduct": set(Conduct.__struct_fields__),
    "conduct.mail": set(Channel.__struct_fields__),
    "budget": set(spec._BUDGET),
    "people": set(People.__struct_fields__),
    "agents": {"type", "skills", "options", "path"},
}


@pytest.mark.parametrize("table", TABLES)
def test_every_key_is_listed_and_no_other(table):
    assert {line[0].strip("`") for line in rows(PAGE, table)} == TABLES[table]


def test_every_table_has_its_section():
    headings = {line.removeprefix("## ") for line in PAGE.read_text().splitlines() if line.startswith("## ")}
    assert {"study", *spec._TABLES} <= headings


MINIMAL = {"environments": ["spread"], "lineups": {"a": ["a"]}, "agents": {"a": "noop"}}


def test_the_keys_are_those_that_the_reader_takes():
    """Each listed key of [study] is read; an unlisted one is refused with the nearest."""
    for key in HEAD - {"template", "metric", "baseline"}:
        default = {"blocks": 20}.get(key, getattr(parse_study(MINIMAL), key))
        parse_study({**MINIMAL, "study": {key: default}})
    with pytest.raises(CrossplayError, match=r'study\.blocs: unknown key\. Did you mean "blocks"'):
        parse_study({**MINIMAL, "study": {"blocs": 3}})


@pytest.mark.parametrize(
    ("table", "made"),
    [
        ("study", parse_study(MINIMAL)),
        ("controls", Controls()),
        ("conduct", Conduct()),
        ("conduct.mail", Channel()),
        ("people", People()),
        ("environments", EnvSpec("x")),
        ("lineups", LineupSpec(["x"])),
    ],
)
def test_the_defaults_are_those_of_the_code(table, made):
    values = msgspec.to_builtins(made, enc_hook=str)
    for key, _, default, _ in rows(PAGE, table):
        key = key.strip("`")
        if not default.startswith("`"):
            continue  # said in words
        want = tomllib.loads(f"x = {default.strip('`')}")["x"]
        have = values[key]
        if (table, key) == ("conduct", "mail"):
            have = have["mode"]
        if (table, key) == ("study", "blocks"):
            have = len(have)
        assert (list(have) if isinstance(have, tuple) else have) == want, f"{table}.{key}"


def _examples():
    for page in pages():
        for block in fences(page, "toml"):
            if "environments" in block.text and not block.title:
                yield pytest.param(block.text, id=f"{page.name}:{block.line}")


@pytest.mark.parametrize("text", _examples())
def test_every_example_is_a_study(text):
    """Whole studies can be staged; parts are completed with what they leave out."""
    data = tomllib.loads(text)
    if "lineups" in data or data.get("study", {}).get("template"):
        stage = Stage(parse_study(data))
        stage.check()
        assert stage.cells
    else:
        parse_study({**data, "agents": {"a": "noop"}, "lineups": {"a+a": ["a", "a"]}})


@pytest.mark.parametrize("page", pages(), ids=lambda p: p.name)
def test_every_toml_block_is_toml(page):
    for block in fences(page, "toml"):
        tomllib.loads(block.text)
