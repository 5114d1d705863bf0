"""Studies whose agents call tools: verified without calling any, without trust told so, sessions ended."""

import sys
from pathlib import Path

import pytest
from study_files import study

from crossplay.agents.context import NeedsTrust
from crossplay.models.loopback import Loopback
from crossplay.records import RunFolder
from crossplay.study.runner import run_study
from crossplay.study.stage import Stage
from crossplay.study.verify import verify

TOOLS = """
environments = ["matrix/prisoners_dilemma"]
[study]
name = "tools"
blocks = 2
margin = 0.5
metric = "reward"
[agents]
random = "random"
asks = { type = "llm:double", tools = ["calculator", "python:count_beside:count"], guards = ["privacy"] }
pair = { type = "team:vote", members = ["asks", "random"], guards = ["prompt"] }
[models.double]
backend = "scripted"
[lineups]
"asks+random" = ["asks", "random"]
"pair+random" = ["pair", "random"]
"random+random" = ["random", "random"]
"""


@pytest.fixture
def beside(tmp_path, monkeypatch):
    (tmp_path / "count_beside.py").write_text(
        "made = []\ndef count(word: str) -> int:\n    '''Counts letters.'''\n    made.append(word)\n    return len(word)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("count_beside", None)
    yield tmp_path
    sys.modules.pop("count_beside", None)


def test_tools_in_a_study_are_recorded_and_verified_without_calling(beside):
    text = study(TOOLS)
    text.base = beside
    stage = Stage(text, trust=True)
    stage.check()
    run_study(stage, beside / "run")
    import count_beside

    made = list(count_beside.made)
    with RunFolder.open(beside / "run") as run:
        agents = run.identity()["agents"]
        counts = [c for r in run.records() for c in r.counts.values()]
    assert agents["asks"]["tools"]["given"][0] == "calculator" and agents["asks"]["guards"][0]["name"] == "privacy"
    assert agents["pair"]["facets"]["modules"][-1] == "security"
    assert sum(c.get("tool_calls", 0) for c in counts) > 0
    found = verify(beside / "run", "agents", trust=True)
    assert found.ok and not [k for k in found.recorded_only if "asks" in k], found
    assert count_beside.made == made


def test_without_trust_nothing_is_made_and_verify_says_why(beside):
    text = study(TOOLS)
    text.base = beside
    with pytest.raises(NeedsTrust, match=r"agents\.\"?asks.*--trust"):
        Stage(text).check()
    stage = Stage(text, trust=True)
    run_study(stage, beside / "run")
    found = verify(beside / "run", "agents")
    assert found.ok
    assert all("--trust" in why for cell, why in found.recorded_only.items() if "asks" in cell or "pair" in cell)
    assert {cell for cell in found.recorded_only if "asks" in cell}


@pytest.mark.full
def test_a_server_of_tools_lives_as_long_as_the_run(tmp_path):
    pytest.importorskip("mcp")
    server = Path(__file__).parents[1] / "agents" / "mcp_beside.py"
    text = study(
        TOOLS.replace(
            'tools = ["calculator", "python:count_beside:count"]',
            f'tools = [{{ mcp = "{sys.executable} {server}", name = "beside" }}], tool_calls = 1',
        )
    )
    stage = Stage(text, trust=True)
    stage.check()
    run_study(stage, tmp_path / "run")
    assert not stage._closing
    found = verify(tmp_path / "run", "agents", trust=True)
    assert found.ok and not found.recorded_only, found


def test_an_endpoint_with_native_tools_plays_and_replays(tmp_path):
    text = TOOLS.replace('"python:count_beside:count"', "").replace('backend = "scripted"', ENDPOINT)
    with Loopback() as endpoint:
        stage = Stage(study(text.replace("URL", endpoint.url)))
        stage.check()
        run_study(stage, tmp_path / "run")
        assert any("tools" in r for r in map(str, endpoint.requests))
    found = verify(tmp_path / "run", "agents")
    assert found.ok and not found.recorded_only, found


ENDPOINT = """backend = "http"
url = "URL"
model = "double"
paid = false
capabilities = { tools = true }"""
