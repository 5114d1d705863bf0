"""K* of the teams of a run: clones that say the same are one channel, members that differ are more."""

import pytest

import crossplay

pytest.importorskip("wordllama", reason="sentence vectors are an extra: crossplay[embed]")


def study(members, **protocol):
    return {
        "environments": ["qa/synthetic"],
        "study": {"name": "diverse", "blocks": 12, "margin": 0.1},
        "agents": {
            "one": {"type": "answerer", "correlation": 1.0},
            "two": {"type": "answerer", "channel": 1, "correlation": 1.0},
            "team": {"type": "team", "members": members, "protocol": {"name": "debate", "rounds": 1, **protocol}},
        },
        "lineups": {"team": ["team"]},
    }


def test_clones_are_one_channel_and_unlike_members_more(tmp_path):
    same = {d.lineup: d for d in crossplay.run(study(["one", "one", "one"]), tmp_path / "same").diversity}
    unlike = {d.lineup: d for d in crossplay.run(study(["one", "two"]), tmp_path / "unlike").diversity}
    clones = same["team first votes"]
    assert clones.members == 3 and clones.questions == 12
    assert clones.kstar == pytest.approx(1.0, abs=1e-6) and clones.kish == pytest.approx(1.0, abs=1e-5)
    assert clones.shuffled > 1.05  # their texts differ between questions
    assert unlike["team first votes"].kstar > 1.05
    assert all(d.mode == "per_question_agent" and d.encoder == "wordllama" for d in (*same.values(), *unlike.values()))
    assert not any("equal" in name or "dev" in name for name in same)


def test_without_the_encoder_there_is_a_note(tmp_path, monkeypatch):
    monkeypatch.setattr("crossplay.study.diverse.find_spec", lambda name: None)
    result = crossplay.run(study(["one", "two"]), tmp_path / "run")
    assert not result.diversity
    assert any("crossplay[embed]" in note for note in result.notes)
