"""Kept trials replay from their calls, without the models, to the verdict that is shown."""

from pathlib import Path

import msgspec
import pytest

from crossplay.gallery import names
from crossplay.gallery.running import run_trial
from crossplay.gallery.shelf import entry, kept

KEPT = [(n, t) for n in names() for t in kept(n)]


def test_some_trial_is_kept():
    assert KEPT


@pytest.mark.parametrize(("name", "trial"), KEPT, ids=[f"{n}-{t['file']}" for n, t in KEPT])
def test_a_kept_trial_replays_to_its_verdict(name, trial, tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSPLAY_HOME", str(tmp_path / "home"))  # no model of this machine is found
    assert trial["calls"], f"{trial['file']}: its calls are not kept"
    said = []
    again = run_trial(
        entry(name),
        tmp_path / "runs",
        models=trial["models"],
        tier=trial["tier"],
        n=trial["n"],
        answers=Path(trial["calls"]),
        say=said.append,
    )
    assert again.verdict == trial["verdict"]
    assert msgspec.json.decode(msgspec.json.encode(again.steps)) == trial["steps"]
