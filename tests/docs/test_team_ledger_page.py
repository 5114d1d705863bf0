"""docs/team-ledger.md prints what its commands give, and names what there is."""

from __future__ import annotations

import tomllib

import pytest
from doc_pages import DOCS, fences, rows

from crossplay.study.ablate import ablate
from crossplay.study.credit import stability
from crossplay.study.spec import parse_study

PAGE = DOCS / "team-ledger.md"
PANEL = {
    "study": {"name": "who-counts", "blocks": 60, "root": 1, "margin": 0.05},
    "environments": ["qa/synthetic"],
    "agents": {
        "one": {"type": "answerer", "channel": 0},
        "two": {"type": "answerer", "channel": 0},
        "other": {"type": "answerer", "channel": 1},
        "panel": {"type": "team", "members": ["one", "two", "other"], "protocol": "vote"},
    },
    "lineups": {"panel": ["panel"]},
}


def shown(estimate):
    return f"{estimate.value:.3f} [{estimate.interval.low:.3f}, {estimate.interval.high:.3f}]"


def test_the_printed_credits_are_those_of_the_study(tmp_path):
    without = ablate(parse_study(PANEL), "panel", tmp_path / "a").games[0]
    fair = ablate(parse_study(PANEL), "panel", tmp_path / "b", draws=20).games[0]
    table = [line for line in PAGE.read_text().splitlines() if line.startswith(("| first", "| second", "| with clue"))]
    for line, a, b in zip(table, without.members, fair.members, strict=True):
        assert [shown(a.credit), shown(b.credit)] == [c.strip() for c in line.split("|")[2:4]]
    assert f"accuracy {fair.whole:.2f}, nobody {fair.nobody:.2f}" in PAGE.read_text()


def test_the_agent_of_the_page_is_what_single_takes():
    from crossplay.kernel import load

    [block] = fences(PAGE, "toml")
    agents = tomllib.loads(block.text)["agents"]
    kind, _, team = agents["alone"]["type"].partition(":")
    assert team in agents and load("agents", kind, "agent").options.keys() == {"of"}


def test_commands_options_and_limit_are_as_printed():
    import inspect

    from crossplay.cli import teams

    said = PAGE.read_text()
    options = set(inspect.signature(teams.ablate).parameters) | set(inspect.signature(teams.team).parameters)
    for word in ("shapley", "model", "nobody", "limit", "lineup", "json"):
        assert f"--{word}" in said and word in options
    assert f"({inspect.signature(stability).parameters['limit'].default})" in said
    assert len(rows(PAGE, "The ledger")) == 12


@pytest.mark.parametrize("line", rows(PAGE, "The ledger"), ids=lambda r: r[0][:30])
def test_the_terms_of_the_page_are_columns(line):
    from pathlib import Path

    from crossplay.cli import teams
    from crossplay.study import inside_page

    source = (Path(teams.__file__).read_text() + Path(inside_page.__file__).read_text()).lower()
    for term in (t.strip().lower() for t in line[0].split(",")):
        words = {"share": "share", "...": "", "never": "never", "rounds until agreement": "rounds on average"}.get(
            term, term
        )
        assert words in source, term
