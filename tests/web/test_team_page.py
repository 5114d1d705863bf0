"""The inside of a team as the page reads it: decisions in brief, one whole, by key or tick; what is not scored says why."""

import pytest
from starlette.testclient import TestClient

from crossplay.study.runner import run_study
from crossplay.study.spec import parse_study
from crossplay.study.stage import Stage
from crossplay.web.app import make_app
from crossplay.web.desk import Desk, NotFound
from crossplay.web.service.teams import TeamQuery, episode_team, unjudged

STUDY = {
    "study": {"name": "one", "blocks": 4, "root": 3, "margin": 0.05},
    "environments": ["qa/synthetic"],
    "controls": {"equal_cost": False, "floor": False, "ceiling": False, "single": False},
    "agents": {
        "a": {"type": "believer", "calibration": 4.0},
        "b": {"type": "believer", "channel": 1},
        "inner": {"type": "team", "members": ["a", "b"], "protocol": {"name": "debate", "rounds": 1}},
        "nested": {"type": "team", "members": ["inner", "a"], "protocol": {"name": "debate", "rounds": 1}},
    },
    "lineups": {"nested": ["nested"], "a": ["a"]},
}


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    stage = Stage(parse_study(STUDY), root)
    run_study(stage, root / "one")
    stage.close()
    return Desk(root)


def test_an_episode_shows_its_decisions_and_the_first_one_whole(desk):
    found = episode_team(desk, "one", "nested:1", TeamQuery())
    assert [d.team for d in found.decisions] == ["nested", "inner", "inner"]
    assert found.decision.key == found.decisions[0].key == "0/solver"
    assert len(found.decision.posts) == found.decisions[0].posts == 4
    assert found.decision.vote.right is found.decisions[0].right is (found.score["accuracy"] == 1.0)


def test_a_decision_is_found_by_its_key_or_its_tick(desk):
    heads = episode_team(desk, "one", "nested:1", TeamQuery()).decisions
    for head in heads:
        assert episode_team(desk, "one", "nested:1", TeamQuery(decision=head.key)).decision.key == head.key
    assert episode_team(desk, "one", "nested:1", TeamQuery(tick=0)).decision.key == heads[0].key
    assert episode_team(desk, "one", "nested:1", TeamQuery(tick=99)).decision.key == heads[-1].key
    with pytest.raises(NotFound, match="0/solver/0/0/0"):
        episode_team(desk, "one", "nested:1", TeamQuery(decision="0/solver/0/0/9"))


def test_an_episode_without_a_team_has_no_decision(desk):
    found = episode_team(desk, "one", "a:1", TeamQuery())
    assert (found.decisions, found.decision) == ([], None)


def test_looking_runs_no_programs_and_asks_no_servers():
    assert "programs" in unjudged("qa/humaneval") and "server" in unjudged("agentgym:http://127.0.0.1:1")
    assert unjudged("qa/synthetic") == unjudged("qa/humaneval-like") == ""


def test_over_http(desk):
    with TestClient(make_app(desk), base_url="http://127.0.0.1:8765") as client:
        where = "/api/v1/runs/one/episodes/nested:1/team"
        assert client.get(where).json()["decision"]["members"][0]["name"] == "inner"
        assert client.get(where, params={"tick": -1}).status_code == 422
        assert client.get(where, params={"decision": "x"}).status_code == 404
        assert client.get(where.replace("nested:1", "nobody:1")).status_code == 404
        assert client.get(where.replace("/one/", "/..~one/")).status_code == 404


def test_the_ledgers_of_a_run_score_nothing_again_that_reaches_further(desk, monkeypatch):
    from crossplay.web.service import teams
    from crossplay.web.service.study import show_teams

    assert show_teams(desk, "one").teams[0].ledger.members[0].right is not None
    monkeypatch.setitem(teams.OUTSIDE, "qa/synthetic", "nothing is run to be looked at")
    desk._kept.clear()
    ledger = show_teams(desk, "one").teams[0].ledger
    assert ledger.members[0].right is None and "run to be looked at" in ledger.truth
