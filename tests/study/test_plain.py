"""What a study from elsewhere may say: plain data and what is made of it, whatever it is wrapped in."""

from __future__ import annotations

import copy
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from crossplay.agents.context import HOLDS, options, options_schema, plain
from crossplay.kernel import CrossplayError, entries, load
from crossplay.study.drafts import agent_forms, check_draft
from crossplay.study.plain import ONLY, plain_problems
from crossplay.study.problems import place_of, problems
from crossplay.study.spec import parse_study
from crossplay.study.stage import Stage

ROOT = Path(__file__).parents[2]
LOCAL = {"a2a", "human", "open", "python", "worker"}
"""Types that start only from the command line."""


def judged(agent: Any = "random", env: Any = "matrix/prisoners_dilemma", **more: Any) -> list[Any]:
    """The problems of a small study with one odd thing in it."""
    data = {
        "environments": {"e": env if isinstance(env, dict) else {"name": env}},
        "agents": {"a": agent},
        "lineups": {"a": ["a", "a"]},
        **more,
    }
    return plain_problems(parse_study(data))


def test_the_types_that_only_the_command_line_starts():
    assert {f.type for f in agent_forms() if not f.plain} == LOCAL


@pytest.mark.parametrize(
    "agent",
    [
        "python:evil:Agent",
        "python/evil:Agent",
        "worker",
        "worker:mine",
        "human",
        "open",
        "open:mcp",
        "a2a:http://127.0.0.1:9",
        "a2a:https://elsewhere.example",
        "verified:python:evil:Agent",
        "verified:verified:verified:worker",
        "equal:python:evil:Agent",
        "single:a2a:http://127.0.0.1:9",
        "policy:../secret",
        "policy:/etc/passwd",
        "policy:runs/mine",
        "llm:https://api.elsewhere.example/v1#model",
        "llm:http://127.0.0.1@elsewhere.example/v1#model",
        "llm:http://user:word@127.0.0.1/v1",
        "vlm:http://169.254.169.254/latest",
        {"type": "worker", "command": ["python", "-c", "1"], "python": "/bin/sh"},
        {"type": "random", "options": {"type": "python:evil:Agent"}},
        {"type": "chef", "options": {"type": "worker", "command": "sh"}},
        {"type": "policy", "path": "runs/mine"},
        {"type": "relay", "first": "random", "then": "python:evil:Agent"},
        {"type": "relay", "first": {"type": "worker", "command": "sh"}, "then": "random"},
        {"type": "verified", "agent": {"type": "verified", "agent": "human"}},
        {"type": "team", "members": ["random", "python:evil:Agent"]},
        {"type": "team", "members": [{"type": "team", "members": [{"type": "open:mcp", "client": "sh"}]}]},
        {"type": "team", "members": ["random"], "guards": ["python:evil:Guard"]},
        {"type": "team", "members": ["random"], "guards": [{"name": "python:evil:Guard"}]},
        {"type": "llm:scripted", "tools": ["python:evil:tool"]},
        {"type": "llm:scripted", "tools": ["mcp:sh -c id"]},
        {"type": "llm:scripted", "tools": [{"mcp": "http://127.0.0.1:9", "token": "HOME"}]},
        {"type": "llm:scripted", "guards": ["length", "python:evil:Guard"]},
        {"type": "llm", "model": "http://elsewhere.example/v1"},
        {"type": "openspiel-bot:uci", "params": {"binary_path": "/bin/sh"}},
        {"type": "random", "skills": True, "options": {"type": "human"}},
    ],
    ids=str,
)
def test_agents_that_may_lead_to_code_files_or_addresses_are_refused(agent):
    found = judged(agent)
    assert any(p.refused and ONLY in p.text for p in found), found
    assert all(p.place[:2] == ["agents", "a"] for p in found)


@pytest.mark.parametrize(
    "env",
    [
        "gym:evil:Game-v0",
        "gym:os:CartPole-v1",
        "pettingzoo:evil",
        "agentgym:http://127.0.0.1:9",
        "agentgym:http://elsewhere.example",
        {"name": "qa/file", "options": {"path": "/etc/passwd"}},
        {"name": "qa/gsm8k", "options": {"path": "rows.jsonl"}},
        {"name": "qa/gsm8k", "options": {"subset": "../main"}},
    ],
    ids=str,
)
def test_environments_that_may_lead_to_code_files_or_addresses_are_refused(env):
    if not isinstance(env, dict) and env.startswith("pettingzoo"):
        pytest.importorskip("pettingzoo")
        env = "pettingzoo:json"  # a module that is there
    [found] = judged(env=env)
    assert found.refused and found.place[:2] == ["environments", "e"], found


@pytest.mark.parametrize(
    "env",
    [
        {"name": "openspiel:bargaining", "options": {"instances_file": "/etc/passwd"}},
        pytest.param({"name": "textarena:Taboo-v0", "options": {"data_path": "/etc/passwd"}}, marks=pytest.mark.full),
    ],
    ids=lambda e: e["name"],
)
def test_text_options_of_other_libraries_are_refused(env):
    pytest.importorskip({"o": "pyspiel", "t": "textarena"}[env["name"][0]])
    [found] = judged(env=env)
    assert found.refused and found.place[-1] in ("instances_file", "data_path")


def test_wrappers_of_other_modules_environments_are_not_known():
    pytest.importorskip("gymnasium")
    [found] = judged(env={"name": "gym:GymV21Environment-v0", "options": {"env_id": "evil:Game"}})
    assert found.place == ["environments", "e", "name"]


@pytest.mark.parametrize(
    ("table", "word"),
    [
        ({"backend": "http", "url": "https://api.elsewhere.example/v1"}, "beyond"),
        ({"backend": "http", "url": "http://127.0.0.1:9/v1", "key_env": "HOME"}, "keys"),
        ({"backend": "http", "url": "http://user@127.0.0.1/v1"}, "keys"),
        ({"backend": "http", "url": "file:///etc/passwd"}, "beyond"),
        ({"backend": "http", "url": "http://[::1"}, "read"),
        ({"backend": "http"}, "beyond"),
        ({"backend": "local", "file": "/etc/passwd"}, "none of the known"),
        ({"backend": "local", "file": ["smollm2-135m"]}, "none of the known"),
        ({"backend": "wordllama"}, "backend"),
    ],
    ids=str,
)
def test_models_with_keys_files_or_distant_endpoints_are_refused(table, word):
    [found] = judged(models={"m": table})
    assert found.refused and found.place == ["models", "m"] and word in found.text


def test_other_ways_into_a_study_are_refused():
    assert [p.place for p in judged(controls={"floor": "python:evil:Agent"})] == [["controls", "floor", "type"]]
    [cassette] = judged(study={"cassette": "/etc/passwd"})
    assert cassette.refused and cassette.place == ["study", "cassette"]


@pytest.mark.parametrize(
    "agent",
    [
        "random",
        "strategy:random(0.3)",
        "policy:kitchen/cramped_room-1",
        "llm:scripted",
        "llm:smollm2-135m",
        "llm:http://localhost:8000/v1#model",
        "team:vote",
        {"type": "llm:scripted", "tools": ["calculator"], "guards": ["privacy", {"name": "length", "most": 5}]},
        {"type": "llm", "model": "m", "instructions": "python: write none; /etc/passwd is a path"},
        {
            "type": "team",
            "members": ["a", {"type": "team", "members": ["random", "strategy:always_defect"]}],
            "protocol": {"name": "debate", "rounds": 2},
            "topology": {"name": "star", "hub": 1},
            "names": ["x", "y"],
        },
        {"type": "relay", "first": "random", "then": "noop", "at": 3, "skills": True},
    ],
    ids=str,
)
def test_what_is_plain_is_let_through(agent):
    assert judged(agent, models={"m": {"backend": "http", "url": "http://127.0.0.1:9/v1", "paid": False}}) == []


@pytest.mark.parametrize(
    ("agent", "place", "hint"),
    [
        ("chf", ["type"], '"chef"'),
        ("node:locl", ["type"], '"local"'),
        ("llm:smollm2-135", ["type"], '"smollm2-135m"'),
        ({"type": "llm:scripted", "temprature": 1}, ["temprature"], '"temperature"'),
        ({"type": "llm:scripted", "temperature": 9}, ["temperature"], "bounds"),
        ({"type": "llm:scripted", "temperature": "hot"}, ["temperature"], "expected number"),
        ({"type": "llm:scripted", "tools": ["calculater"]}, ["tools", 0], '"calculator"'),
        ({"type": "team", "members": ["random"], "protocol": "debat"}, ["protocol"], '"debate"'),
        ({"type": "team", "members": ["randm"]}, ["members", 0, "type"], '"random"'),
    ],
    ids=str,
)
def test_what_is_wrong_is_named_with_its_place_and_the_nearest(agent, place, hint):
    [found] = judged(agent)
    assert found.place == ["agents", "a", *place] and hint in found.text and not found.refused


def test_options_of_environments_are_named_with_their_place():
    [name] = judged(env="kitchen/cramed_room")
    assert name.place == ["environments", "e", "name"] and '"cramped_room"' in name.text
    [option] = judged(env={"name": "kitchen/cramped_room", "options": {"horizn": 3}})
    assert option.place == ["environments", "e", "options", "horizn"] and '"horizon"' in option.text
    [value] = judged(env={"name": "kitchen/cramped_room", "options": {"horizon": "long"}})
    assert "expected integer" in value.text and not value.refused


def test_a_type_says_itself_that_it_is_plain(monkeypatch):
    """As somebody else's package would: without the mark it is refused, with it forms offer it."""
    from crossplay.kernel import registry

    @options(size={"type": "integer", "default": 1, "description": "how large"}, file={"type": "string", "default": ""})
    def theirs(rest, options, context):
        """Somebody's agent."""

    class Entry:
        def load(self):
            return theirs

    found = {**registry._group("agents"), "theirs": Entry()}
    real = registry._group
    monkeypatch.setattr(registry, "_group", lambda group: found if group == "agents" else real(group))
    assert judged("theirs")[0].refused
    plain(("small", "large"))(theirs)
    assert judged("theirs:small") == [] and judged({"type": "theirs", "size": 2}) == []
    assert judged({"type": "theirs", "file": "/etc/passwd"})[0].refused
    assert judged("theirs:huge")[0].place == ["agents", "a", "type"]
    [form] = [f for f in agent_forms() if f.type == "theirs"]
    assert (form.plain, form.after, form.names, form.elsewhere) == (True, "names", ["small", "large"], ["file"])
    assert options_schema(theirs)["properties"]["size"]["default"] == 1


def test_what_options_hold_is_one_of_a_few_words():
    for kind in entries("agents"):
        for name, prop in (getattr(load("agents", kind), "options", None) or {}).items():
            assert prop.get("holds", "words") in HOLDS, (kind, name)


RICH = """
[study]
name = "rich"
description = "words"
blocks = 2
margin = 0.1
template = "mix"
[environments.e]
name = "matrix/prisoners_dilemma"
options = { rounds = 3, actions = ["cooperate", "defect"] }
[agents.plain]
type = "strategy:tit_for_tat"
[agents.relay]
type = "relay"
first = "plain"
then = { type = "random" }
[agents.team]
type = "team"
members = ["plain", { type = "team", members = ["random"], protocol = "vote" }]
protocol = { name = "debate", rounds = 1, rule = "plurality", roles = {} }
topology = { name = "ring" }
names = ["one", "two"]
[agents.model]
type = "llm:m"
instructions = "be brief"
tools = ["calculator"]
guards = [{ name = "length", most = 100 }]
[models.m]
backend = "scripted"
answers = ["A"]
[lineups]
"a" = { seats = ["plain", "relay"], role = "solo", mail = "off" }
[controls]
floor = "random"
ceiling = false
equal_cost = false
[conduct]
timeout = ["noop"]
[[questions]]
candidate = "a"
baseline = "a"
ask = "why?"
"""
TRICKS = (
    "python:evil_module_here:Thing", "verified:python:evil_module_here:Thing", "gym:evil_module_here:X-v0",
    "pettingzoo:evil_module_here", "worker", "mcp:touch evil", "../evil", "evil_module_here:Thing",
)  # fmt: skip


def places(data: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where texts stand."""
    if isinstance(data, dict):
        return [p for k, v in data.items() for p in places(v, (*at, k))]
    if isinstance(data, list):
        return [p for k, v in enumerate(data) for p in places(v, (*at, k))]
    return [at] if isinstance(data, str) else []


@pytest.mark.parametrize("trick", TRICKS)
def test_no_text_anywhere_in_a_study_runs_code(trick, tmp_path, monkeypatch):
    """Whatever text of a study is replaced: it is refused, or wrong, or nothing but words."""
    (tmp_path / "evil_module_here.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\nThing = 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    data = tomllib.loads(RICH)
    assert check_draft(data, plan=False).problems == []
    for place in places(data):
        changed = copy.deepcopy(data)
        inside = changed
        for part in place[:-1]:
            inside = inside[part]
        inside[place[-1]] = trick
        draft = check_draft(changed, plan=False)
        if draft.problems:
            continue
        words = {"name", "description", "instructions", "ask", "role", "names", "actions", "answers"}
        assert words & set(map(str, place)), (place, draft.resolved)
        Stage(parse_study(changed, base=tmp_path)).check()
    assert not (tmp_path / "ran").exists() and "evil_module_here" not in sys.modules


# -- all that is wrong ------------------------------------------------------------------------------------------
def test_problems_are_found_part_by_part():
    data = {
        "study": {"blocks": 0, "margn": 1, "replicates": 1},
        "environments": {"good": {"name": "spread"}, "bad": {"nam": "x"}},
        "agents": {"a": "random", "b+c": "random"},
        "lineups": {"x": ["a", "nobody"], "y": ["a"]},
        "budget": {"cals": 3},
        "controls": {"floor": [], "dev": 5},
    }
    found = {tuple(p.place): p.text for p in problems(data)}
    assert set(found) == {
        ("study", "blocks"), ("study", "margn"), ("environments", "bad"), ("agents", "b+c"), ("budget", "cals"), ("controls", "floor"),
    }  # fmt: skip
    assert 'Did you mean "margin"' in found["study", "margn"]
    data["study"] = {"blocks": 3}
    assert ("lineups", "x") in {tuple(p.place) for p in problems(data)}


def test_no_problems_means_that_it_can_be_read():
    for file in [*(ROOT / "examples").glob("*.toml"), *(ROOT / "src/crossplay/study/studies").glob("*.toml")]:
        data = tomllib.loads(file.read_text("utf-8"))
        assert problems(data) == [], file
        parse_study(data)


@pytest.mark.parametrize(
    "data",
    [{}, {"study": 3}, {"environments": 5}, {"environments": {"a": 3}}, {"agents": [1]}, {"lineups": {"a": 3}}, {"odd": 1},
     {"environments": ["spread"], "questions": {"a": 1}}, {"environments": {"a": None}}, {"study": {"blocks": [[]]}}, {"models": {"m": 3}}],
    ids=str,
)  # fmt: skip
def test_odd_data_is_a_problem_and_no_crash(data):
    draft = check_draft(data)
    assert draft.problems and all(p.text for p in draft.problems)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('agents."a b": unknown option "x"', ["agents", "a b"]),
        ("agents.chef: wrong", ["agents", "chef"]),
        ("study.margin = -1 must not", ["study", "margin"]),
        ("questions[1].candidate: unknown", ["questions", 1]),
        ("lineups: name at least one", ["lineups"]),
        ("the endpoint is gone", []),
        ("studying is hard", []),
    ],
)
def test_the_place_in_an_error(text, place):
    assert place_of(text) == place


def test_trust_is_never_given():
    with pytest.raises(CrossplayError, match="trust"):
        Stage(parse_study({"environments": ["spread"], "agents": {"a": "python:evil:A"}, "lineups": {"a": ["a", "a", "a"]}, "study": {"margin": 1}})).check()  # fmt: skip
