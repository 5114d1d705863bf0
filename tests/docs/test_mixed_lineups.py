"""Any mix in one study: a trained policy, language and vision models (doubles), a script, random, no-op."""

from __future__ import annotations

import crossplay
from crossplay import Block, loop, make_env, play

MIX = {
    "environments": {"small": {"name": "kitchen/cramped_room", "options": {"horizon": 40}}},
    "study": {"name": "mixed", "blocks": 2, "margin": 20},
    "agents": {
        "rl": "policy:kitchen/cramped_room-1",
        "llm": {"type": "llm:scripted", "skills": True},
        "vlm": "vlm:scripted",
        "chef": "chef",
        "random": "random",
        "noop": "noop",
    },
    "lineups": ["rl+rl", "rl+llm", "rl+vlm", "llm+vlm", "vlm+rl", "rl+random", "rl+noop", "llm+chef"],
}


def test_every_mix_of_the_matrix_plays_and_verifies(tmp_path):
    result = crossplay.run(MIX, tmp_path / "run")
    rows = {row.lineup: row for row in result.rows}
    assert set(MIX["lineups"]) <= set(rows)
    assert {row.summary.blocks for row in rows.values()} == {2}
    for name, row in rows.items():
        assert (row.costs.calls > 0) == ("lm" in name), name
        assert row.costs.fallbacks == 0
    kinds = {k for row in rows.values() for k in row.kinds}
    assert {"policy", "llm", "vlm", "script", "random"} <= kinds
    found = crossplay.verify(tmp_path / "run", "agents")
    assert found.ok
    assert found.reexecuted == found.episodes == result.episodes


def test_each_seat_reads_its_own_view_of_one_state(tmp_path):
    """Arrays for the policy, words for the language model (data for a skill that runs), pictures for the vision model."""
    crossplay.run(MIX, tmp_path / "run")
    read = {}
    with crossplay.open_run(tmp_path / "run") as run:
        for record in run.records():
            for e in run.events(record.id):
                if e.kind == "act" and e.view:
                    read.setdefault(e.agent, set()).add(e.view)
    assert read == {"rl": {"array"}, "llm": {"text of skills", "data"}, "vlm": {"image"}, "chef": {"data"}}


def test_a_language_model_plays_chess():
    """Legal moves by name; a double answers every question with a label that was offered."""
    env = make_env("pettingzoo:classic/chess_v6")
    lineup = {"player_0": crossplay.make_agent("llm:scripted"), "player_1": crossplay.make_agent("random")}
    outcome = loop(play(env, lineup, Block(root=7)))
    counts = outcome.counts["player_0"]
    assert outcome.status == "terminal"
    assert counts["calls"] + counts.get("forced", 0) == counts["decisions"] > 5
    assert not [name for name in counts if name.startswith("link_")]
