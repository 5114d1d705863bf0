"""New studies: forms out of schemas, drafts checked while they are written, runs started from the page."""

from __future__ import annotations

import os
import shutil
import threading
import time
import tomllib
from pathlib import Path

import msgspec
import pytest
import tomli_w
from starlette.testclient import TestClient

import crossplay
from crossplay.kernel import CrossplayError
from crossplay.web import aside as aside_module
from crossplay.web.app import make_app
from crossplay.web.aside import aside
from crossplay.web.desk import Conflict, Desk, Forbidden, NotFound, TooMany
from crossplay.web.service import forms, launch, tasks
from crossplay.web.service.forms import Text, Written
from crossplay.web.service.launch import Launch
from crossplay.web.warm import warm

DILEMMA = {
    "study": {"name": "dilemma", "blocks": 3, "margin": 0.5, "template": "crossplay"},
    "environments": {"game": {"name": "matrix/prisoners_dilemma", "options": {"rounds": 8}}},
    "agents": {"tft": {"type": "strategy:tit_for_tat"}, "coin": {"type": "strategy:random(0.4)"}},
}
ENDLESS = """# a comment that stays
[study]
name = "long"
blocks = 4000
margin = 1
[environments.spread]
name = "spread"
[agents.any]
type = "random"
[lineups]
all = { seats = ["any", "any", "any"] }
"""


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    found = Desk(tmp_path_factory.mktemp("forms"))
    yield found
    found.close()


@pytest.fixture
def own(tmp_path):
    """A desk for what is written."""
    found = Desk(tmp_path)
    yield found
    found.close()


def until(true, seconds=60.0):
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def ended(desk, task):
    return until(lambda: (t := tasks.task(desk, task.id, tasks.Log())).state != "running" and t)


def digests(folder):
    with crossplay.open_run(folder) as run:
        return {(r.id, r.lineup, r.block, r.world, r.mind) for r in run.records()}


def begun(folder):
    """What is there of a run that is being made."""
    try:
        return digests(folder)
    except CrossplayError:
        return set()


# -- schemas ------------------------------------------------------------------------------------------------------
def test_environments_are_listed_with_why_one_cannot_be_used(desk):
    found = {f.family: f for f in forms.environments(desk).families}
    assert "cramped_room" in found["kitchen"].names and found["kitchen"].expert == "chef"
    assert found["gym"].open and not found["kitchen"].open
    assert all(f.names or f.open or f.about or f.error for f in found.values())


def test_every_environment_of_ours_has_a_form(desk):
    names = [f"{f.family}/{n}" for f in forms.environments(desk).families for n in f.names[:2] if f.family in OURS]
    assert len(names) > 8
    for name in [*names, "spread", "einstein"]:
        form = forms.environment(desk, name)
        assert form.seats and form.views and form.options["type"] == "object", name
        for option, prop in form.options["properties"].items():
            assert prop.get("description"), (name, option)
            assert "default" in prop, (name, option)


OURS = ("kitchen", "pitch", "matrix", "qa", "agentsnet", "chat", "maze")


def test_a_form_of_an_environment_that_may_not_be_named_is_refused(desk):
    for name in ("gym:os:Game-v0", "kitchen/nowhere", "nothing", "agentgym:http://127.0.0.1:9"):
        with pytest.raises(CrossplayError):
            forms.environment(desk, name)


def test_agents_have_schemas_and_say_what_may_follow_their_type(desk):
    found = forms.agents(desk)
    by = {f.type: f for f in found.agents}
    assert by["llm"].after == "model" and by["verified"].after == "agent" and by["node"].names[0] == "local"
    assert by["llm"].options["properties"]["temperature"]["maximum"] == 5
    assert not by["python"].plain and not by["worker"].plain
    assert "path" in by["policy"].elsewhere
    assert "smollm2-135m" in {m.name for m in found.models}


def test_studies_to_begin_with_are_fine(desk):
    found = forms.studies(desk)
    assert {t.name for t in found.templates} == {"mix", "crossplay"}
    assert set(found.head["properties"]) | {"cassette"} == {
        "name", "root", "blocks", "replicates", "metric", "margin", "level", "baseline", "template", "concurrency", "description", "cassette",
    }  # fmt: skip
    for example in found.examples:
        draft = forms.validate(desk, Written(toml=example.toml))
        assert not [p for p in draft.problems if p.refused or "not on this machine" not in p.text], example.name


# -- drafts ------------------------------------------------------------------------------------------------------
def test_a_draft_is_resolved_planned_and_written(desk):
    draft = forms.validate(desk, Written(study=DILEMMA))
    assert draft.problems == []
    study = crossplay.parse_study(tomllib.loads(draft.resolved))
    assert draft.digest == study.digest() and draft.seats == {"game": ["row", "column"]}
    assert [x.name for x in draft.lineups if not x.role] == ["tft+tft", "tft+coin", "coin+tft", "coin+coin"]
    assert draft.plan.episodes == sum(r.episodes for r in draft.plan.rows) == 3 * len(draft.lineups)
    assert draft.metric in draft.metrics
    assert tomllib.loads(draft.toml) == DILEMMA


def test_the_plan_is_that_of_the_command_line(desk, tmp_path, capsys):
    from crossplay.cli.studies import run
    from crossplay.study.plan import Plan

    study = {**DILEMMA, "agents": {**DILEMMA["agents"], "model": {"type": "llm:scripted", "temperature": 0.5}}}
    draft = forms.validate(desk, Written(study=study))
    assert draft.problems == [] and draft.plan.calls > 0
    file = tmp_path / "study.toml"
    file.write_text(draft.toml)
    assert run(file, plan=True, json=True) == 0
    assert msgspec.json.decode(capsys.readouterr().out, type=Plan) == draft.plan


def test_problems_have_places_and_hints(desk):
    study = {
        "study": {"blocks": 3, "margin": 1, "metric": "scores"},
        "environments": {"k": {"name": "kitchen/cramped_room", "options": {"horizn": 3}}},
        "agents": {"a": {"type": "chf"}, "b": {"type": "python:mine:Agent"}},
        "lineups": {"a": {"seats": ["a", "a"]}},
    }
    draft = forms.validate(desk, Written(study=study))
    found = {tuple(p.place): p for p in draft.problems}
    assert '"horizon"' in found["environments", "k", "options", "horizn"].text
    assert '"chef"' in found["agents", "a", "type"].text
    assert found["agents", "b", "type"].refused and "command line" in found["agents", "b", "type"].text
    del study["agents"]["b"], study["environments"]["k"]["options"]
    study["agents"]["a"]["type"] = "chef"
    draft = forms.validate(desk, Written(study=study))
    [metric] = draft.problems
    assert metric.place == ["study", "metric"] and "soups" in metric.text
    assert draft.seats == {"k": ["p0", "p1"]}, "the form shows seats although something is wrong"


def test_what_cannot_be_read_hides_nothing_else(desk):
    study = {
        "study": {"blocks": "many"},
        "environments": {"k": {"name": "kitchen/cramped_rom"}, "odd": 3},
        "agents": {"a": {"type": "worker", "command": "sh"}, "b": 3},
        "lineups": {"a": {"seats": ["a", "nobody"]}},
    }
    found = {tuple(p.place): p.refused for p in forms.validate(desk, Written(study=study)).problems}
    assert found.keys() == {
        ("study", "blocks"), ("environments", "odd"), ("environments", "k", "name"), ("agents", "b"), ("agents", "a", "type"),
    }  # fmt: skip
    assert found["agents", "a", "type"]


def test_text_fills_the_form_and_keeps_what_it_has_no_field_for(desk):
    text = """
environments = ["spread"]
lineups = ["a+a+a"]
[study]
margin = 1
[agents]
a = { type = "relay", options = { at = 2 }, first = "random", then = "noop" }
[conduct]
timeout = ["noop"]
[models.m]
backend = "scripted"
"""
    draft = forms.parse(desk, Text(text))
    assert draft.problems == [] and draft.toml == text
    assert draft.study["environments"] == {"spread": {"name": "spread"}}
    assert draft.study["agents"]["a"] == {"type": "relay", "at": 2, "first": "random", "then": "noop"}
    assert draft.study["lineups"] == {"a+a+a": {"seats": ["a", "a", "a"]}}
    assert draft.study["conduct"] == {"timeout": ["noop"]} and "m" in draft.study["models"]
    one, two = (forms.validate(desk, w) for w in (Written(toml=text), Written(study=draft.study)))
    assert one.problems == [] and one.digest == two.digest, "the long form is the same study"


def test_a_resolved_study_is_said_shorter_and_stays_the_same(desk):
    resolved = forms.validate(desk, Written(study=DILEMMA)).resolved
    read = forms.parse(desk, Text(resolved)).study
    assert read["study"]["blocks"] == 3 and not read["conduct"] and "questions" not in read
    assert all(set(lineup) <= {"seats", "role"} for lineup in read["lineups"].values())
    again = forms.validate(desk, Written(study=read))
    assert again.problems == [] and again.resolved == resolved


def test_text_that_is_no_toml_says_where(desk):
    draft = forms.parse(desk, Text("[study\nname = 1"))
    assert "not valid TOML" in draft.problems[0].text and "line 1" in draft.problems[0].text and draft.study == {}
    assert forms.validate(desk, Written(toml="x = [")).problems
    with pytest.raises(CrossplayError, match="at most"):
        forms.parse(desk, Text("#" * (forms.LONGEST + 1)))
    with pytest.raises(CrossplayError, match="either"):
        forms.validate(desk, Written())


def test_nested_text_is_an_error_and_no_crash(desk):
    for text in (
        "x = " + "[" * 3000,
        "[a" + ".a" * 3000 + "]",
        "[study]\nblocks = 1e400",
        "study = 9223372036854775808",
        "a = " + "9" * 5000,
        "[study]\nblocks = 1000000000",
        "[study]\nmargin = inf",
        "[lineups]\na = { seats = ['a'], dev = 1000000000 }",
    ):
        for read in (forms.parse(desk, Text(text)), forms.validate(desk, Written(toml=text))):
            assert read.problems and msgspec.json.decode(msgspec.json.encode(read))


def test_numbers_that_a_browser_would_round_are_not_rounded_in_silence(desk):
    text = tomli_w.dumps({**DILEMMA, "study": {**DILEMMA["study"], "root": 2**53 + 1}})
    for draft in (forms.parse(desk, Text(text)), forms.validate(desk, Written(toml=text))):
        assert [p.place for p in draft.problems] == [["study", "root"]] and "digits" in draft.problems[0].text
    exact = forms.validate(desk, Written(toml=text.replace(str(2**53 + 1), str(2**53 - 1))))
    assert exact.problems == []


# -- beside the server --------------------------------------------------------------------------------------------
def _die(how):
    os._exit(how)


def test_what_ends_its_process_is_an_error_and_the_next_is_answered(own, monkeypatch):
    with pytest.raises(CrossplayError, match="ended the process"):
        aside(own, _die, 3)
    assert aside(own, len, "abc") == 3
    monkeypatch.setattr(aside_module, "SECONDS", 0.3)
    with pytest.raises(CrossplayError, match="longer than"):
        aside(own, time.sleep, 30)
    monkeypatch.setattr(aside_module, "SECONDS", 60.0)
    assert aside(own, len, "abcd") == 4
    with pytest.raises(CrossplayError, match="ValueError"):
        aside(own, int, "x")


def wrapped(size):
    """As an adapter says what a library could not make."""
    try:
        return bytearray(size)
    except MemoryError as error:
        raise CrossplayError(f"it cannot be made: {error}") from error


def test_what_takes_all_memory_is_an_error_and_the_next_is_answered(own, monkeypatch):
    monkeypatch.setattr(aside_module, "MEMORY", 1 << 30)
    with pytest.raises(CrossplayError, match="more memory than"):
        aside(own, bytearray, 2 << 30)
    with pytest.raises(CrossplayError, match="more memory than"):
        aside(own, wrapped, 2 << 30)
    assert len(aside(own, bytearray, 1 << 10)) == 1 << 10
    assert aside(own, len, "abcde") == 5


def test_few_wait_for_the_process_beside_so_that_others_are_answered(own):
    assert aside(own, len, "it is there") == 11
    beside, got = own.parts["aside"], []
    threads = [threading.Thread(target=lambda: got.append(aside(own, len, "abc"))) for _ in range(aside_module.WAITING)]
    with beside._turn:
        for thread in threads:
            thread.start()
        until(lambda: beside._waiting == aside_module.WAITING)
        with pytest.raises(TooMany):
            aside(own, len, "abc")
    for thread in threads:
        thread.join()
    assert got == [3] * len(threads) and aside(own, len, "abcd") == 4, "nobody is counted who has gone"


SERVER = """
import sys
from pathlib import Path
from crossplay.web.aside import aside
from crossplay.web.desk import Desk
import os
if __name__ == "__main__":
    print(aside(Desk(Path(".")), os.getpid), flush=True)
    sys.stdin.read()
"""


def test_the_process_beside_ends_with_a_server_that_is_killed(tmp_path):
    import subprocess
    import sys

    file = tmp_path / "server.py"
    file.write_text(SERVER)
    with subprocess.Popen(
        [sys.executable, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        other = int(server.stdout.readline())
        os.kill(other, 0)
        server.kill()
    until(lambda: not alive(other))


def alive(process):
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


# -- starting ------------------------------------------------------------------------------------------------------
def test_a_run_from_the_page_is_that_of_the_command_line(own, tmp_path):
    from crossplay.cli.studies import run

    started = launch.launch(own, Launch("mine", study=DILEMMA))
    assert (started.run, started.file) == ("mine", "mine.toml")
    assert "--trust" not in started.task.command
    assert ended(own, started.task).state == "done"
    assert run(own.root / "mine.toml", out_=tmp_path / "by-hand") == 0
    assert digests(own.root / "mine") == digests(tmp_path / "by-hand")
    assert (own.root / "mine" / "study.toml").read_bytes() == (tmp_path / "by-hand" / "study.toml").read_bytes()
    for taken in (Launch("mine", study=DILEMMA), Launch("mine", toml=ENDLESS)):
        with pytest.raises(Conflict, match="mine"):
            launch.launch(own, taken)
    with pytest.raises(Conflict, match="finished"):
        launch.resume(own, "mine")
    with pytest.raises(Conflict, match="not played from here"):
        launch.stop(own, "mine")


@pytest.mark.full
def test_a_run_is_stopped_and_gone_on_with(own, tmp_path):
    started = launch.launch(own, Launch("long", toml=ENDLESS))
    assert (own.root / "long.toml").read_text() == ENDLESS
    with pytest.raises(Conflict):
        launch.launch(own, Launch("long", toml=ENDLESS))
    until(lambda: begun(own.root / "long"))
    with pytest.raises(Conflict, match="is being played"):
        launch.resume(own, "long")
    launch.stop(own, "long")
    assert ended(own, started.task).state == "stopped"
    kept = digests(own.root / "long")
    assert 0 < len(kept) < 4000
    again = launch.resume(own, "long")
    until(lambda: len(digests(own.root / "long")) > len(kept))
    launch.stop(own, "long")
    ended(own, again.task)
    assert kept < digests(own.root / "long")


@pytest.mark.parametrize(
    "change",
    [
        {"agents": {"tft": "python:mine:Agent"}},
        {"agents": {"tft": {"type": "strategy", "options": {"type": "worker", "command": "sh"}}}},
        {"agents": {"tft": {"type": "team", "members": [{"type": "verified:python:mine:Agent"}]}}},
        {"environments": {"game": {"name": "gym:os:Game-v0"}}},
        {"models": {"m": {"backend": "http", "url": "http://127.0.0.1:9/v1", "key_env": "HOME"}}},
        {"controls": {"floor": "python:mine:Agent"}},
        {"study": {**DILEMMA["study"], "cassette": "../answers.mcz"}},
    ],
    ids=str,
)
def test_what_only_the_command_line_starts_is_forbidden(own, change):
    with pytest.raises(Forbidden, match="command line"):
        launch.launch(own, Launch("bad", study={**DILEMMA, **change}))
    assert not list(own.root.iterdir()) and not tasks.tasks(own).tasks


def test_what_is_wrong_is_not_started(own):
    for study, word in (
        ({**DILEMMA, "agents": {"a": "nobody"}}, "nobody"),
        ({}, "either"),
        ({"study": {"blocks": 0}}, "blocks"),
    ):
        with pytest.raises(CrossplayError, match=word):
            launch.launch(own, Launch("bad", study=study))
    people = {**DILEMMA, "agents": {"me": "person", "tft": "strategy"}, "lineups": {"x": ["me", "tft"]}}
    with pytest.raises(CrossplayError, match="people play"):
        launch.launch(own, Launch("bad", study=people))
    assert not list(own.root.iterdir())


def test_what_could_not_be_started_leaves_nothing_behind(own, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(tasks, "AT_ONCE", 0)
        with pytest.raises(TooMany):
            launch.launch(own, Launch("mine", study=DILEMMA))
    assert not (own.root / "mine.toml").exists(), "nor is it in the way of the next try"
    other = {**DILEMMA, "study": {**DILEMMA["study"], "blocks": 2}}
    assert ended(own, launch.launch(own, Launch("mine", study=other)).task).state == "done"


def test_one_of_two_who_start_the_same_at_once_starts_it(own):
    begin, got = threading.Barrier(4), []

    def start():
        begin.wait()
        try:
            got.append(launch.launch(own, Launch("mine", study=DILEMMA)).task)
        except Conflict as error:
            got.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [task] = [g for g in got if not isinstance(g, Conflict)]
    assert ended(own, task).state == "done" and (own.root / "mine.toml").is_file()


@pytest.mark.parametrize("name", ["gallery", "Models", "jobs"])
def test_folders_for_other_things_are_no_names_of_runs(own, name):
    with pytest.raises(Conflict, match="other things"):
        launch.launch(own, Launch(name, study=DILEMMA))


def test_a_study_with_people_is_not_gone_on_with_as_if_nobody_played(own):
    from conftest import PEOPLE
    from crossplay.records import RunFolder
    from crossplay.study.stage import Stage

    stage = Stage(crossplay.parse_study(tomllib.loads(PEOPLE)))
    RunFolder.create(own.root / "partners", stage.study.toml()).close()
    stage.close()
    with pytest.raises(CrossplayError, match="people play"):
        launch.resume(own, "partners")


def test_files_of_others_are_not_written_over(own, tmp_path):
    (own.root / "taken.toml").write_text("# mine")
    with pytest.raises(Conflict, match=r"taken\.toml"):
        launch.launch(own, Launch("taken", study=DILEMMA))
    elsewhere = tmp_path / "elsewhere.txt"
    (own.root / "link.toml").symlink_to(elsewhere)
    with pytest.raises(Conflict):
        launch.launch(own, Launch("link", study=DILEMMA))
    assert (own.root / "taken.toml").read_text() == "# mine" and not elsewhere.exists()
    (own.root / "folder").mkdir()
    with pytest.raises(Conflict, match="folder"):
        launch.launch(own, Launch("folder", study=DILEMMA))


def test_a_run_that_names_code_is_not_gone_on_with_from_here(own, tmp_path):
    crossplay.run({**DILEMMA, "study": {**DILEMMA["study"], "blocks": 2}}, out=own.root / "theirs")
    file = own.root / "theirs" / "study.toml"
    with crossplay.open_run(own.root / "theirs") as run:
        assert run.records()
    shutil.copytree(own.root / "theirs", own.root / "open")
    text = file.read_text("utf-8").replace("strategy:tit_for_tat", "python:mine:Agent")
    (own.root / "open" / "study.toml").write_text(text)
    real = launch.shelf_of

    class Shelf:
        def look(self, name):
            watch, progress = real(own).look(name)
            progress.state = "open"
            return watch, progress

    launch.shelf_of = lambda desk: Shelf()
    try:
        with pytest.raises(Forbidden, match="command line"):
            launch.resume(own, "open")
    finally:
        launch.shelf_of = real
    with pytest.raises(NotFound):
        launch.resume(own, "nowhere")


def test_the_routes(desk):
    with TestClient(make_app(desk), base_url="http://127.0.0.1:8765") as client:
        api = "/api/v1"
        assert client.get(f"{api}/schemas/environments/kitchen%2Fcramped_room").json()["seats"] == ["p0", "p1"]
        assert client.get(f"{api}/schemas/environments/gym:os:X").status_code == 400
        assert client.get(f"{api}/schemas/agents").json()["agents"]
        assert client.get(f"{api}/schemas/studies").json()["controls"]["properties"]["floor"]
        assert client.post(f"{api}/studies/parse", json={"toml": "a = 1"}).json()["problems"]
        assert client.post(f"{api}/studies/validate", json={"study": DILEMMA}).json()["problems"] == []
        for name in ("../x", "", ".x", "a/b", "a~b", "x" * 81, "a\n"):
            answer = client.post(f"{api}/studies/start", json={"name": name, "study": DILEMMA})
            assert answer.status_code == (400 if name == "a\n" else 422), name
        bad = {**DILEMMA, "agents": {"a": "python:mine:Agent"}}
        assert client.post(f"{api}/studies/start", json={"name": "x", "study": bad}).status_code == 403
        assert client.post(f"{api}/runs/nowhere/stop").status_code == 404
        assert client.post(f"{api}/runs/nowhere/resume").status_code == 404


def test_what_the_form_waits_for_is_loaded_beforehand(tmp_path, monkeypatch):
    desk = Desk(tmp_path)
    warm(desk).join(60)
    monkeypatch.setattr(forms, "aside", None)  # nothing is asked anew
    assert "kitchen" in {family.family for family in forms.environments(desk).families}
    desk.close()
