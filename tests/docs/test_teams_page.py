"""docs/teams.md says what teams do: options, protocols with their settings and defaults, topologies, examples."""

from __future__ import annotations

import contextlib
import inspect
import io
import tomllib

import pytest
from doc_pages import DOCS, fences, rows

from crossplay.kernel import entries
from crossplay.study.api import run
from crossplay.study.equal import DEV, EQUAL, ROUND0, SILENT
from crossplay.study.spec import parse_study
from crossplay.study.stage import Stage
from crossplay.teams.protocols.common import Settings
from crossplay.teams.team import make_protocol, team
from crossplay.teams.topology import TOPOLOGIES

PAGE = DOCS / "teams.md"
COMMON = Settings.__struct_fields__
SAME = ("review", "select", "plan")  # `compose` with one step


def told(heading):
    """First cell (without backticks) -> the other cells of a table."""
    return {line[0].strip("`"): [c.strip("`") for c in line[1:]] for line in rows(PAGE, heading)}


def shown(value):
    """A default as the page writes it."""
    if value is None:
        return "none"
    return (
        f'"{value}"'
        if isinstance(value, str)
        else str(value).lower()
        if isinstance(value, bool)
        else str(value).replace("'", '"')
    )


def own(name):
    made = make_protocol(name)
    return {f: shown(getattr(made, f)) for f in made.__struct_fields__ if f not in COMMON}


def test_every_option_of_a_team_is_listed_with_its_default():
    assert {n: line[0] for n, line in told("Options").items()} == {
        n: shown(p["default"]) for n, p in team.options.items()
    }


def test_every_protocol_and_no_other_is_listed_with_its_roles():
    table = told("Protocols")
    assert set(table) == set(entries("teams"))
    for name in set(table) - {"review", "select"}:  # theirs are those of `compose`
        assert table[name][1] == ", ".join(make_protocol(name).parts), name


def test_the_common_settings_have_these_defaults():
    made = make_protocol("vote")
    assert {n: line[0] for n, line in told("all protocols").items()} == {f: shown(getattr(made, f)) for f in COMMON}
    text = PAGE.read_text().split("`rationale` is true by default in ")[1].split(". A rule")[0]
    wants = {n for n in entries("teams") if make_protocol(n).rationale}
    assert {w for w in entries("teams") if f"`{w}`" in text} == wants


@pytest.mark.parametrize("name", sorted(set(entries("teams")) - set(SAME)))
def test_every_setting_is_listed_with_its_default(name):
    assert {n: line[0] for n, line in told(name).items()} == own(name)


@pytest.mark.parametrize("name", SAME)
def test_primitives_take_the_settings_of_compose(name):
    assert set(own(name)) == set(own("compose"))


def test_every_topology_is_listed_with_its_settings():
    table = told("Topologies")
    assert list(table) == list(TOPOLOGIES)
    for name, make in TOPOLOGIES.items():
        known = list(inspect.signature(make).parameters)[1:]
        assert [s for s in known if f"`{s}`" in rows_of(name)] == known, name
        assert rows_of(name).count("`") == 2 * len(known) + 2 * (name == "sparse"), name


def rows_of(name):
    return next(" ".join(line[1:]) for line in rows(PAGE, "Topologies") if line[0] == f"`{name}`")


def test_the_example_prints_what_it_says():
    [block] = fences(PAGE, "python")
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(block.text, {})
    assert out.getvalue().strip() == block.text.split("# ")[-1].strip()


def test_the_example_study_runs_with_its_controls(tmp_path):
    [block] = [b for b in fences(PAGE, "toml") if b.title == "team.toml"]
    data = tomllib.loads(block.text)
    found = run(data, tmp_path / "run")
    lineups = Stage(parse_study(data)).study.lineups
    roles = {s.role: name for name, s in lineups.items()}
    for pattern, line in told("Controls").items():
        name = pattern.replace("NAME", "debate").replace("MEMBER", "strong")
        assert lineups[name].role == line[0] and line[0] in (ROUND0, SILENT, DEV, *EQUAL.values()), name
    assert len(roles) == 5 + 3 and {r.lineup for r in found.rows} >= {n for n, s in lineups.items() if s.role != DEV}
    assert all(r.costs.fallbacks == 0 for r in found.rows)
