"""What the pages claim about the project is so: modules, agents, options, lines of the MOSAIC table, links."""

from __future__ import annotations

import ast
import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest
import yaml
from doc_pages import DOCS, ROOT, pages, rows

SOURCE = ROOT / "src" / "crossplay"
TESTS = ROOT / "tests"
PLANNED = ("society", "search")
MOSAIC = DOCS / "mosaic.md"
TABLES = (
    "Workers",
    "Environment families",
    "Operators and modes",
    "Training, telemetry, storage, pages, resources",
)
STATUSES = ("have", "better", "other issue", "dropped")


# -- the MOSAIC table ------------------------------------------------------------------------------------
def _lines():
    return [line for table in TABLES for line in rows(MOSAIC, table)]


def test_at_most_a_tenth_of_the_mosaic_lines_are_dropped():
    counts = Counter(line[1] for line in _lines())
    assert set(counts) == set(STATUSES)
    assert counts["dropped"] <= counts.total() / 10
    assert counts.total() >= 60


@pytest.mark.parametrize("line", _lines(), ids=lambda line: line[0][:40])
def test_a_mosaic_line_names_what_shows_it(line):
    feature, status, here, shown = line
    named = re.findall(r"`([^`]+\.py)(?:::(\w+))?`", shown)
    assert here, feature
    if status not in ("have", "better"):
        assert not shown, f"{feature}: {status}, but shown by {shown}"
        rooms = ("families", "workers", "teams", "jobs", "page")
        assert status == "dropped" or any(here.startswith(r) for r in rooms), f"{feature}: name the room"
        return
    assert named, f"{feature}: {status} without a test"
    for file, function in named:
        path = TESTS / file
        assert path.is_file(), f"{feature}: no tests/{file}"
        if function:
            assert re.search(rf"^(async )?def {function}\(", path.read_text(), re.M), f"{file} has no {function}"


# -- the architecture page -------------------------------------------------------------------------------
def _modules():
    for path in sorted(SOURCE.rglob("*.py")):
        if path.name not in ("__init__.py", "__main__.py"):
            yield path.relative_to(SOURCE).as_posix()


def test_every_module_is_named_in_the_architecture():
    """By its path, or below its package's path by its name."""
    text = (DOCS / "architecture.md").read_text()
    for module in _modules():
        package, _, name = module.rpartition("/")
        lines = [line for line in text.splitlines() if f"`{package}/`" in line and f"{name}`" in line]
        assert f"`{module}`" in text or lines, f"docs/architecture.md does not name {module}"


def test_the_architecture_names_no_module_that_is_gone():
    text = (DOCS / "architecture.md").read_text()
    floors = {p.name for p in SOURCE.iterdir() if p.is_dir()}
    for name in re.findall(r"`(\w+/[\w/]+\.py)`", text):
        root = ROOT if name.startswith("tests/") else SOURCE
        assert name.split("/")[0] not in floors or (root / name).is_file(), f"{name} is gone"


def test_what_is_not_built_is_said_to_be_so():
    """A package without modules is on the list; one that has some is not."""
    text = (DOCS / "architecture.md").read_text().split("## What is not built yet")[1]
    for package in sorted(p for p in SOURCE.iterdir() if p.is_dir() and (p / "__init__.py").exists()):
        empty = not [f for f in package.rglob("*.py") if f.name != "__init__.py"]
        assert (f"`{package.name}`" in text.split("\n\n")[1]) == empty, package.name
        assert (package.name in PLANNED) == empty, package.name


@pytest.mark.parametrize("package", sorted(p.name for p in SOURCE.iterdir() if (p / "__init__.py").exists()))
def test_every_package_says_what_lives_there(package):
    found = ast.get_docstring(ast.parse((SOURCE / package / "__init__.py").read_text()))
    assert found
    assert len(found.splitlines()) >= 4


# -- agents ----------------------------------------------------------------------------------------------
def test_every_agent_type_is_listed():
    registered = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["crossplay.agents"]
    assert {line[0].strip("`") for line in rows(DOCS / "agents.md", "Agents")} == set(registered)


@pytest.mark.parametrize(("heading", "name"), [("llm and vlm", "llm"), ("llm and vlm", "vlm"), ("policy", "policy")])
def test_every_option_of_an_agent_is_listed_with_its_default(heading, name):
    from crossplay.kernel import load

    declared = load("agents", name).options
    listed = {line[0].strip("`"): line[1] for line in rows(DOCS / "agents.md", heading)}
    assert set(listed) == set(declared)
    for option, default in listed.items():
        if default.startswith("`"):
            assert tomllib.loads(f"x = {default.strip('`')}")["x"] == declared[option]["default"], option


def test_every_extra_is_listed():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {line[0].strip("`") for line in rows(DOCS / "quickstart.md", "Install")} == set(extras)
    from crossplay.cli.looking import ADDS, EXTRAS

    assert EXTRAS.keys() == ADDS.keys() == set(extras)  # what `crossplay doctor` looks for


# -- the site --------------------------------------------------------------------------------------------
def _nav(entry):
    if isinstance(entry, str):
        return [entry]
    return [
        page for value in entry.values() for e in (value if isinstance(value, list) else [value]) for page in _nav(e)
    ]


def test_every_page_is_in_the_navigation():
    nav = [page for e in yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"] for page in _nav(e)]
    assert sorted(nav) == sorted(p.relative_to(DOCS).as_posix() for p in DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", pages(), ids=lambda p: p.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_site_builds_without_a_warning(tmp_path, caplog):
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path / "site"), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    assert (tmp_path / "site" / "index.html").exists()
    assert not [r.message for r in caplog.records if r.name.startswith("mkdocs") and r.levelname == "WARNING"]


def test_pages_speak_of_no_machine():
    """Paths of somebody's machine have no place in the project's text."""
    for page in pages():
        for path in re.findall(r"(?<![\w.])/(?:home|root|tmp|work|Users)/", page.read_text()):
            raise AssertionError(f"{page.relative_to(ROOT)}: {path}")


def test_changelog_names_the_version():
    import crossplay

    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert crossplay.__version__ == declared
    assert f"## {declared}" in Path(ROOT / "CHANGELOG.md").read_text()
