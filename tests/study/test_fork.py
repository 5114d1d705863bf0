"""Forks: strict to the step, one answer replaced, live after it, in a run of its own."""

import json
import tomllib

import msgspec
import pytest
from study_files import study

from crossplay.cli import main
from crossplay.kernel import CrossplayError, Stop
from crossplay.models.loopback import Loopback
from crossplay.records import RunFolder
from crossplay.records.cassette import Cassette
from crossplay.study.fork import find_step, fork
from crossplay.study.runner import run_study
from crossplay.study.spec import parse_study
from crossplay.study.stage import Stage
from crossplay.study.verify import verify

GAME = """
[study]
name = "game"
blocks = 2
margin = 0.5
[environments.game]
name = "matrix/prisoners_dilemma"
options = { rounds = 5 }
[agents]
llm = { type = "llm", model = "double", temperature = 0.5 }
tft = "strategy:tit_for_tat"
[models.double]
backend = "http"
url = "URL"
model = "double"
paid = false
[lineups]
"llm+tft" = ["llm", "tft"]
"llm+llm" = ["llm", "llm"]
[controls]
floor = false
ceiling = false
"""


@pytest.fixture(scope="module")
def played(tmp_path_factory):
    """A run that was played against an endpoint that is gone, and the study's text."""
    folder = tmp_path_factory.mktemp("fork")
    with Loopback() as endpoint:
        text = GAME.replace("URL", endpoint.url)
        run_study(Stage(study(text)), folder / "run")
        asked = len(endpoint.requests)
    assert asked > 20
    return folder / "run", endpoint.port


def again(port, script=None):
    """The endpoint once more, where the run says that it is."""
    return Loopback(port=port, script=script)


def other(said):
    return "B" if said.strip() == "A" else "A"


def said_at(run, step):
    """What the model said at a step of block 0."""
    with RunFolder.open(run) as folder:
        record = next(r for r in folder.records() if r.lineup == "llm+tft" and r.block == 0)
        found = find_step(folder.events(record.id), seats_of(run), step)
    with Cassette(run / "cassette", "strict") as c:
        return msgspec.msgpack.decode(c.get(bytes.fromhex(found.call)).reply)["text"]


def seats_of(run):
    with RunFolder.open(run) as folder:
        return folder.cells()[0].extra["seats"]


def test_a_replaced_answer_changes_what_follows_and_nothing_before(played, tmp_path):
    run, port = played
    a, b = seats_of(run)
    before = {f: f.read_bytes() for f in sorted(run.rglob("*")) if f.is_file() and f.name != "lock"}
    text = other(said_at(run, f"2/{a}"))
    with again(port, lambda n, body: "A") as endpoint:
        found = fork(run, f"llm+tft:0:2/{a}", text, tmp_path / "out")
        assert len(endpoint.requests) == 2  # ticks 3 and 4; nothing before is sent
    assert found.parted == 2 and found.moves[0][0] == 2
    assert found.moves[0][1][a] != found.moves[0][2][a] and found.moves[0][1][b] == found.moves[0][2][b]
    assert found.moves[1][2][b] == found.moves[0][2][a]  # tit for tat answers what was really played
    assert found.child.counts[a]["given_answers"] == 1
    assert {f: f.read_bytes() for f in sorted(run.rglob("*")) if f.is_file() and f.name != "lock"} == before
    with RunFolder.open(tmp_path / "out") as child:
        [record] = child.records()
        about = child.sources()[record.source]["fork"]
        assert (about["run"], about["episode"], about["step"]) == ("run", f"{found.parent.id:016x}", f"2/{a}")
        assert about["with"] == text and about["world"] == found.parent.world.hex()
        assert child.cells()[0].extra["fork"] == about
        assert parse_study(tomllib.loads(next(iter(child.studies().values())))).name == "game-fork"
    # The new run is whole: its agents, asked again with nothing to send to, do the same.
    checked = verify(tmp_path / "out", "agents")
    assert checked.ok and checked.reexecuted == 1, checked.findings


def test_the_same_answer_again_is_the_same_episode(played, tmp_path):
    """With nothing changed and an endpoint that repeats itself, a fork is its parent."""
    run, port = played
    a, _ = seats_of(run)
    with again(port):
        found = fork(run, f"llm+tft:0:1/{a}", said_at(run, f"1/{a}"), tmp_path / "out")
    assert found.child.world == found.parent.world and found.parted is None


def test_a_move_is_replaced_where_the_seat_asked_nobody(played, tmp_path):
    run, port = played
    _, b = seats_of(run)
    with again(port, lambda n, body: "A"):
        first = fork(run, f"llm+tft:0:1/{b}", "defect", tmp_path / "one")
        second = fork(run, f"llm+tft:0:1/{b}", "cooperate", tmp_path / "two")
    assert first.moves[0][2][b] == "defect" and second.moves[0][2][b] == "cooperate"
    for folder in ("one", "two"):
        checked = verify(tmp_path / folder, "agents")
        assert checked.ok and not checked.reexecuted and "by hand" in next(iter(checked.recorded_only.values()))
    with pytest.raises(CrossplayError, match='--with "defekt": unknown action.*Did you mean "defect"'):
        fork(run, f"llm+tft:0:1/{b}", "defekt", tmp_path / "three")


def test_one_of_several_calls_of_a_seat(tmp_path):
    """An answer that could not be read was asked for again: two calls at one place."""
    with Loopback(script=lambda n, body: "hm" if n == 0 else "A") as endpoint:
        one = (
            GAME.replace("URL", endpoint.url)
            .replace('"llm+llm" = ["llm", "llm"]', "")
            .replace("blocks = 2", "blocks = 1")
        )
        run_study(Stage(study(one)), tmp_path / "run")
        a, _ = seats_of(tmp_path / "run")
        with pytest.raises(CrossplayError, match=f"several calls there; this seat made 0/{a}#1, 0/{a}#2 at this tick"):
            fork(tmp_path / "run", f"llm+tft:0:0/{a}", "B", tmp_path / "out")
        sent = len(endpoint.requests)
        second = fork(tmp_path / "run", f"llm+tft:0:0/{a}#2", "B", tmp_path / "second")
        assert len(endpoint.requests) == sent + 4  # the first call was read from the record
        first = fork(tmp_path / "run", f"llm+tft:0:0/{a}#1", "B", tmp_path / "first")
        assert len(endpoint.requests) == sent + 8  # what could be read at once is not asked for again
    assert (first.said_then, second.said_then) == ("hm", "A")
    assert (first.child.counts[a].get("repair", 0), second.child.counts[a]["repair"]) == (0, 1)
    assert first.child.world == second.child.world != first.parent.world
    assert verify(tmp_path / "first", "agents").ok and verify(tmp_path / "second", "agents").ok


def test_steps_that_are_not_there_say_what_is(played, tmp_path):
    run, _ = played
    a, b = seats_of(run)
    for asked, message in (
        ("llm+tft:0", "expected EPISODE:STEP|no episode"),
        ("llm+tft:0:1", f"several seats were asked; say 1/{a}, 1/{b}"),
        ("llm+tft:0:99", "the episode has the ticks 0 to 4"),
        (f"llm+tft:0:1/{a}x", f'Did you mean "{a}"'),
        (f"llm+tft:0:1/{a}/3", f"this seat made 1/{a}#1 at this tick"),
        (f"llm+tft:0:1/{b}/3", "this seat made none"),
        ("llm+tft:0:one", "expected TICK"),
        ("llm+nobody:0:1", "no episode"),
    ):
        with pytest.raises(CrossplayError, match=message):
            fork(run, asked, "A", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_endpoint_that_is_gone_stops_the_fork_and_it_goes_on_where_it_stood(played, tmp_path):
    run, port = played
    a, _ = seats_of(run)
    text = other(said_at(run, f"2/{a}"))
    with pytest.raises(Stop):
        fork(run, f"llm+tft:0:2/{a}", text, tmp_path / "b")
    assert not (tmp_path / "b" / "manifest.sqlite").exists()
    with again(port, lambda n, body: "A"):
        found = fork(run, f"llm+tft:0:2/{a}", text, tmp_path / "b")
    assert found.child.ticks == 5


def test_a_fork_that_is_refused_leaves_no_folder(tmp_path):
    text = GAME.replace('llm = { type = "llm", model = "double", temperature = 0.5 }', 'llm = "random"')
    run_study(Stage(study(text.replace("URL", "http://127.0.0.1:9/v1"))), tmp_path / "run")
    with pytest.raises(CrossplayError, match='"sulk"'):
        fork(tmp_path / "run", "llm+tft:0:1/row", "sulk", tmp_path / "fork")
    assert not (tmp_path / "fork").exists()
    (tmp_path / "mine").mkdir()
    with pytest.raises(CrossplayError, match='"sulk"'):
        fork(tmp_path / "run", "llm+tft:0:1/row", "sulk", tmp_path / "mine")
    assert (tmp_path / "mine").is_dir(), "a folder that was there stays"


def test_a_run_is_not_trusted(played, tmp_path):
    """What a run names beside installed entry points is not followed without --trust."""
    run, port = played
    a, _ = seats_of(run)
    source = tomllib.loads((run / "study.toml").read_text())
    for change, message in (
        ({"url": "http://example.com/v1"}, "models.double: the run names url"),
        ({"key_env": "HOME"}, "models.double: the run names key_env"),
    ):
        spec = json.loads(json.dumps(source))
        spec["models"]["double"] |= change
        folder = tmp_path / next(iter(change))
        _rewritten(run, folder, spec)
        with pytest.raises(CrossplayError, match=message):
            fork(folder, f"llm+tft:0:1/{a}", "A", tmp_path / "out")
    spec = json.loads(json.dumps(source))
    spec["agents"]["llm"]["temperature"] = 0.9  # not what played
    _rewritten(run, tmp_path / "warm", spec)
    with pytest.raises(CrossplayError, match="agents.llm: what is installed here is not what played .*settings"):
        fork(tmp_path / "warm", f"llm+tft:0:1/{a}", "A", tmp_path / "out")
    assert not list(tmp_path.glob("out/manifest.sqlite"))
    with again(port, lambda n, body: "A"):  # the command line may say that it is
        assert fork(tmp_path / "key_env", f"llm+tft:0:1/{a}", "A", tmp_path / "out", trust=True).child.ticks == 5


def _rewritten(run, folder, spec):
    """A run as somebody might send it: the same episodes under a changed study."""
    text = parse_study(spec).toml()
    said = {k: v for k, v in RunFolder.open(run).sources()[0].items() if k != "study"}
    with RunFolder.open(run) as then, RunFolder.create(folder, text, said) as now:
        now.add_cells(then.cells())
        records = list(then.records())
        now.put_tables([(r, dict(then.tables([r.id]))[r.id]) for r in records])
    (folder / "cassette").mkdir()
    for f in (run / "cassette").iterdir():
        (folder / "cassette" / f.name).write_bytes(f.read_bytes())


def call(capsys, *tokens):
    with pytest.raises(SystemExit) as ended:
        main([str(t) for t in tokens])
    shown = capsys.readouterr()
    return int(ended.value.code or 0), shown.out, shown.err


def test_the_command_line_shows_both_sides(played, tmp_path, capsys):
    run, port = played
    a, _ = seats_of(run)
    text = other(said_at(run, f"2/{a}"))
    with again(port, lambda n, body: "A"):
        code, shown, _ = call(
            capsys, "replay", run, "--fork", f"llm+tft:0:2/{a}", "--with", text, "--out", tmp_path / "o"
        )
        assert code == 0 and "as recorded" in shown and "as forked" in shown and "Moves that differ" in shown
        words = ["replay", run, "--fork", f"llm+tft:0:2/{a}", "--with", text, "--out", tmp_path / "p", "--json"]
        code, shown, _ = call(capsys, *words)
    data = json.loads(shown)
    assert code == 0 and data["parted"] == 2 and data["answer"] == {"recorded": other(text), "forked": text}
    assert data["recorded"]["episode"] != data["forked"]["episode"] and data["forked"]["ticks"] == 5
    code, _, error = call(capsys, "replay", run, "--fork", f"llm+tft:0:2/{a}")
    assert code == 2 and "--with" in error
    code, _, error = call(capsys, "replay", run, "--fork", f"llm+tft:0:2/{a}", "--with", "A", "--out", tmp_path / "p")
    assert code == 2 and "holds a run already" in error


def test_a_cassette_is_exported_and_imported_from_the_command_line(played, tmp_path, capsys):
    run, _ = played
    code, shown, _ = call(capsys, "cassette", "export", run, tmp_path / "x.mcz", "--json")
    header = json.loads(shown)["header"]
    with RunFolder.open(run) as folder:
        assert code == 0 and header["study"] == folder.study_digest and len(header["prices"]) == 64
    code, shown, _ = call(capsys, "cassette", "import", tmp_path / "x.mcz", tmp_path / "new")
    assert code == 0 and f"{header['rows']} new calls" in shown
    # A study that is played into that folder sends nothing: its endpoint is gone.
    stage = Stage(parse_study(tomllib.loads((run / "study.toml").read_text())), tmp_path / "new", strict=True)
    run_study(stage, tmp_path / "new")
    with RunFolder.open(run) as then, RunFolder.open(tmp_path / "new") as now:
        assert [(r.id, r.world, r.mind) for r in then.records()] == [(r.id, r.world, r.mind) for r in now.records()]
    assert verify(tmp_path / "new", "agents").ok
    code, shown, _ = call(capsys, "cassette", "import", tmp_path / "x.mcz", run)
    assert code == 0 and "0 new calls" in shown and verify(run, "seals").ok
    code, _, error = call(capsys, "cassette", "export", run, tmp_path / "x.zip")
    assert code == 2 and ".mcz" in error


def test_a_call_inside_a_team_is_replaced_and_the_others_of_its_round_stay(tmp_path):
    """Members of one round answer side by side: replacing one leaves the others as recorded."""
    with Loopback() as endpoint:
        text = GAME.replace("URL", endpoint.url).replace('"llm+llm" = ["llm", "llm"]', "")
        text = text.replace(
            "[models.double]", '[agents.trio]\ntype = "team"\nmembers = ["llm", "llm", "llm"]\n[models.double]'
        )
        text = text.replace('"llm+tft" = ["llm", "tft"]', '"trio+tft" = ["trio", "tft"]')
        text = text.replace("[controls]", "[controls]\nzero_message = false\nequal_cost = false")
        run_study(Stage(study(text)), tmp_path / "run")
        a, _ = seats_of(tmp_path / "run")
        with pytest.raises(CrossplayError, match="several calls there; this seat made 1/") as caught:
            fork(tmp_path / "run", f"trio+tft:0:1/{a}", "B", tmp_path / "out")
        named = str(caught.value).partition("made ")[2].partition(" at this tick")[0].split(", ")
        assert len(named) == 3 and len(set(named)) == 3
        sent = len(endpoint.requests)
        found = fork(tmp_path / "run", f"trio+tft:0:{named[1]}", "B", tmp_path / "out")
        assert len(endpoint.requests) == sent + 3 * 3  # the rounds of ticks 2 to 4, none of tick 1
    assert found.step.path and found.child.counts[a]["given_answers"] == 1
    assert verify(tmp_path / "out", "agents").ok
