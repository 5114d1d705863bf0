"""Lineups beside each other: which episodes are taken, and that they part where their records part."""

import itertools

import pytest
from starlette.testclient import TestClient

from crossplay.study.verify import load_run
from crossplay.web.app import make_app
from crossplay.web.desk import Desk

KITCHEN = "/api/v1/runs/kitchen/compare"


@pytest.fixture(scope="module")
def client(runs):
    with TestClient(make_app(Desk(runs)), base_url="http://127.0.0.1:8765") as found:
        yield found


@pytest.fixture(scope="module")
def played(runs):
    """(lineup, block) -> events."""
    run, _ = load_run(runs / "kitchen")
    with run:
        return {(r.lineup, r.block): (r, run.events(r.id)) for r in run.records()}


def moves(events):
    return [[e.value for e in events if e.kind == "act" and e.tick == t] for t in range(100)]


def test_they_part_where_their_moves_part(client, played):
    found = client.get(
        KITCHEN, params={"block": 2, "lineups": ["policy+policy", "policy+chef", "policy+random"]}
    ).json()
    assert [lane["lineup"] for lane in found["lanes"]] == ["policy+policy", "policy+chef", "policy+random"]
    base = moves(played["policy+policy", 2][1])
    firsts = []
    for lane in found["lanes"][1:]:
        other = moves(played[lane["lineup"], 2][1])
        apart = [t for t in range(100) if base[t] != other[t]]
        assert lane["apart"]["at"] == apart and lane["apart"]["ticks"] == 100
        assert min(lane["apart"]["moves"].values()) == apart[0]
        firsts.append(lane["apart"]["first"])
    assert found["lanes"][0]["apart"] is None and found["first"] == min(firsts)
    for lane in found["lanes"]:
        record, events = played[lane["lineup"], 2]
        sums = list(itertools.accumulate(e.rewards[0] for e in events if e.kind == "step"))
        assert [tuple(p) for p in lane["paid"]["p0"]] == [
            (t, s) for t, s in enumerate(sums) if (t == 0 and s) or (t and s != sums[t - 1])
        ]
        assert lane["score"]["return"] == record.score["return"]


def test_nothing_said_is_the_baseline_and_another(client):
    found = client.get(KITCHEN).json()
    assert found["lanes"][0]["group"] == "policy+policy" and len(found["lanes"]) == 2
    assert found["choices"]["blocks"] == ["0", "1", "2", "3", "4", "5"] and found["metric"] == "return"
    assert {"policy+chef", "chef+policy"} < set(found["choices"]["lineups"])


def test_one_episode_is_put_beside_the_baseline(client, played):
    mine = f"{played['policy+random', 4][0].id:016x}"
    found = client.get(KITCHEN, params={"episodes": mine}).json()
    assert [lane["lineup"] for lane in found["lanes"]] == ["policy+policy", "policy+random"] and found["block"] == "4"
    base = f"{played['policy+policy', 4][0].id:016x}"
    lanes = client.get(KITCHEN, params={"episodes": base}).json()["lanes"]
    assert lanes[0]["id"] == base and len(lanes) == 2


def test_a_lineup_by_its_name_in_the_study(client):
    found = client.get(KITCHEN, params={"block": 0, "lineups": ["policy+policy", "chef+policy"]}).json()
    assert found["lanes"][1]["group"] == "policy+chef"
    typed = client.get(f"{KITCHEN}?block=0&lineups=policy+policy&lineups=chef+policy").json()  # "+" is a space there
    assert typed == found


@pytest.mark.parametrize(
    "query, status, said",
    [
        ({"block": "99"}, 404, "block"),
        ({"lineups": "nobody"}, 404, "nobody"),
        ({"replicates": 7}, 404, "replicate 7"),
        ({"env": "moon"}, 404, "moon"),
        ({"episodes": "0000000000000000"}, 404, "no episode"),
        ({"replicates": "x"}, 422, ""),
        ({"lineups": [f"a{i}" for i in range(9)]}, 400, "at most 8"),
    ],
)
def test_what_is_not_there_is_named(client, query, status, said):
    answer = client.get(KITCHEN, params=query)
    assert answer.status_code == status and said in answer.json()["error"]


def test_episodes_of_different_blocks_are_not_compared(client, played):
    ids = [f"{played['policy+policy', b][0].id:016x}" for b in (0, 1)]
    answer = client.get(KITCHEN, params={"episodes": ids})
    assert answer.status_code == 400 and "one block" in answer.json()["error"]


def test_replicates_of_one_lineup(tmp_path):
    import crossplay

    crossplay.run(
        {
            "study": {"name": "again", "blocks": 1, "replicates": 3, "margin": 10},
            "environments": {"kitchen": {"name": "kitchen/cramped_room", "options": {"horizon": 12}}},
            "agents": {"random": "random"},
            "lineups": {"random+random": ["random", "random"]},
        },
        out=tmp_path / "again",
    )
    with TestClient(make_app(Desk(tmp_path)), base_url="http://127.0.0.1:8765") as client:
        found = client.get(
            "/api/v1/runs/again/compare", params={"lineups": "random+random", "replicates": [0, 2]}
        ).json()
    assert [lane["replicate"] for lane in found["lanes"]] == [0, 2]
    assert found["choices"]["replicates"] == [0, 1, 2] and found["lanes"][1]["apart"]["first"] is not None
