"""The shipped example replays strictly from its cassette, without the model, and verifies."""

from pathlib import Path

import crossplay

EXAMPLE = Path(__file__).parents[2] / "examples" / "debate-vs-vote.toml"


def test_debate_against_the_vote_and_the_single_model_at_equal_tokens(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSPLAY_HOME", str(tmp_path / "home"))  # no model of this machine is found
    result = crossplay.run(EXAMPLE, tmp_path / "run")
    rows = {r.lineup: r for r in result.rows}
    assert result.baseline == "debate equal tokens" and rows["debate"].comparison is not None
    assert [a.comparison.baseline for a in result.answers] == ["debate equal tokens", "debate first votes"]
    spent = {name: r.costs.tok_in + r.costs.tok_out for name, r in rows.items()}
    assert 0.8 * spent["debate"] < spent["debate equal tokens"] <= spent["debate"]
    assert {d.lineup for d in result.diversity} == {"debate", "debate first votes", "debate silent"}
    assert all(1 < d.kstar < 3 for d in result.diversity)
    assert crossplay.verify(tmp_path / "run", "agents").ok
