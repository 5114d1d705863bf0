"""A debate replayed from its exported cassette with the endpoint gone: equal digests at any concurrency."""

import pytest
from test_killed_teams import STUDY

import crossplay
from crossplay.kernel import CrossplayError
from crossplay.models.loopback import Loopback
from crossplay.records.cassette_file import export_cassette
from crossplay.study.calls import Calls
from crossplay.study.spec import load_study


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """(study file, exported cassette, digests) of a run at concurrency 8, whose endpoint has gone."""
    folder = tmp_path_factory.mktemp("replayed")
    file = folder / "study.toml"
    with Loopback(latency_s=0.002) as endpoint:
        text = STUDY.replace("URL", endpoint.url).replace("BLOCKS", "10").replace("CONTROLS", "[controls]\ndev = 3\n")
        file.write_text(text.replace("concurrency = 64\n\n[models", "concurrency = 8\n\n[models"))
        crossplay.run(file, folder / "live")
    export_cassette(folder / "live" / "cassette" / "cassette.sqlite", folder / "calls.mcz", {})
    return file, folder / "calls.mcz", digests(folder / "live")


def digests(folder):
    with crossplay.open_run(folder) as run:
        return {(r.cell, r.block): (r.world, r.mind, dict(r.score)) for r in run.records()}


@pytest.mark.parametrize("concurrency", [1, 8, 64])
def test_strict_replay_is_identical_at_any_concurrency(recorded, tmp_path, concurrency):
    file, calls, before = recorded
    study = load_study(file)
    study.concurrency = concurrency
    crossplay.run(study, tmp_path / "again", calls=Calls("strict", calls))
    assert digests(tmp_path / "again") == before
    assert crossplay.verify(tmp_path / "again", "agents").ok


def test_a_study_that_names_its_cassette_needs_no_models(recorded, tmp_path):
    file, calls, before = recorded
    study = load_study(file)
    study.cassette, study.base = calls.name, calls.parent
    crossplay.run(study, tmp_path / "again")
    assert digests(tmp_path / "again") == before
    study.agents["solver"].options["words"] = 12  # another question is not in the record, and nothing is sent for it
    with pytest.raises(CrossplayError, match="cassette: no answer"):
        crossplay.run(study, tmp_path / "other")


def test_lenient_and_off(recorded, tmp_path):
    file, calls, _ = recorded
    with pytest.raises(CrossplayError, match="strickt"):
        Calls("strickt")
    with pytest.raises(CrossplayError, match="asks everything anew"):
        Calls("off", calls)
    study = load_study(file)
    crossplay.run(study, tmp_path / "lenient", calls=Calls("lenient", calls))  # the endpoint is gone: all hits
    with pytest.raises(CrossplayError, match="Is the server running"):
        crossplay.run(study, tmp_path / "off", calls=Calls("off"))
