"""The command line as a user meets it: one clear line, exit codes that mean something."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from crossplay.records import RunFolder

CROSSPLAY = str(Path(sys.executable).with_name("crossplay"))
STUDY = """
[study]
name = "small"
blocks = 3
margin = 1
baseline = "tft+tft"
[environments.game]
name = "matrix/stag_hunt"
[agents]
tft = "strategy:tit_for_tat"
random = "random"
[lineups]
"tft+tft" = ["tft", "tft"]
"tft+random" = { seats = ["tft", "random"], orders = "both" }
"""


def run(*words, cwd=None, **how):
    done = subprocess.run([CROSSPLAY, *map(str, words)], capture_output=True, text=True, cwd=cwd, timeout=120, **how)
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    base = tmp_path_factory.mktemp("cli")
    (base / "study.toml").write_text(STUDY)
    assert run("run", "study.toml", "--out", "run", cwd=base).returncode == 0
    return base


def test_a_study_from_plan_to_report(folder):
    plan = run("run", "study.toml", "--plan", cwd=folder)
    assert plan.returncode == 0 and "nothing is spent yet" in plan.stdout
    shown = run("show", "run", cwd=folder)
    assert "tft+random" in shown.stdout and "difference [Holm" in shown.stdout
    data = json.loads(run("show", "run", "--json", cwd=folder).stdout)
    assert data["episodes"] == data["planned"] == 12
    assert run("verify", "run", "--level", "agents", cwd=folder).returncode == 0
    assert run("report", "run", cwd=folder).returncode == 0 and (folder / "run" / "report.html").exists()
    assert run("export", "run", "--to", "csv", cwd=folder).returncode == 0
    again = run("run", "study.toml", "--out", "run", cwd=folder)
    assert again.returncode == 0


def test_damage_exits_1_and_names_the_episode(folder, tmp_path):
    import shutil

    copy = tmp_path / "run"
    shutil.copytree(folder / "run", copy)
    (part,) = (copy / "trace").glob("*.parquet")
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    found = run("verify", copy)
    assert found.returncode == 1 and "DAMAGED" in found.stdout
    assert json.loads(run("verify", copy, "--json").stdout)["findings"][0]["episode"]


def test_files_that_were_written_as_json(folder, tmp_path):
    done = run("export", folder / "run", "--out", tmp_path / "csv", "--json")
    assert [Path(p).name for p in json.loads(done.stdout)] == ["episodes.csv", "comparisons.csv", "events.csv"]
    done = run("report", folder / "run", "--out", tmp_path / "r.html", "--json")
    assert json.loads(done.stdout) == [str(tmp_path / "r.html")]


def test_the_package_is_a_command():
    done = subprocess.run([sys.executable, "-m", "crossplay", "--version"], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.strip()


def test_merge_joins_and_refuses(folder, tmp_path):
    (tmp_path / "more.toml").write_text(STUDY.replace("blocks = 3", "blocks = [7, 8]"))
    assert run("run", "more.toml", "--out", "more", cwd=tmp_path).returncode == 0
    joined = run("merge", folder / "run", "more", "--out", "both", cwd=tmp_path)
    assert joined.returncode == 0, joined.stderr
    assert run("verify", "both", "--level", "agents", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("change", "said", "code"),
    [
        (('"matrix/stag_hunt"', '"matrx/stag_hunt"'), 'Did you mean "matrix"', 2),
        (('"matrix/stag_hunt"', '"pettingzoo:classic/conect_four_v3"'), "connect_four_v3", 2),
        (('"strategy:tit_for_tat"', '"stratgy:tit_for_tat"'), 'Did you mean "strategy"', 2),
        (('["tft", "tft"]', '["tft"]'), "1 agents (tft) for the 2 seats", 2),
        (("[agents]", "[agents"), "not valid TOML", 2),
        (('random = "random"', 'random = { type = "llm", model = "smollm3" }'), "unknown model", 2),
        (
            (
                'random = "random"',
                'random = { type = "llm", model = "m" }\n[models.m]\nbackend = "local"\nfile = "/nowhere/x.gguf"',
            ),
            "x.gguf",
            3,
        ),
        (
            (
                'random = "random"',
                'random = { type = "llm", model = "m" }\n[models.m]\nbackend = "http"\nurl = "http://127.0.0.1:9/v1"\nmodel = "m"\npaid = false',
            ),
            "127.0.0.1:9",
            3,
        ),
        (('random = "random"', 'random = "policy:kitchen/cramped_room-1"'), "was trained", 2),
    ],
)
def test_bad_input_is_one_line(tmp_path, change, said, code):
    assert change[0] in STUDY
    (tmp_path / "study.toml").write_text(STUDY.replace(*change, 1))
    done = run("run", "study.toml", "--out", "run", cwd=tmp_path)
    assert done.returncode == code, done.stderr
    lines = [x for x in done.stderr.strip().split("\n") if x.startswith("crossplay: ")]
    assert len(lines) == 1 and said in lines[0], done.stderr
    if code == 2:  # what is wrong stands in the file
        assert lines[0].startswith("crossplay: study.toml: "), done.stderr


def test_words_that_are_not_commands():
    done = run("rnu")
    assert done.returncode == 2 and "rnu" in done.stderr
    assert run("show").returncode == 2
    assert run("show", "/nowhere").returncode in (2, 3)
    assert run("verify", "/nowhere").returncode in (2, 3)
    assert run("env", "show", "kitchen/cramped_rom").returncode == 2


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "study.toml").write_text(STUDY)
    (tmp_path / "file").write_text("")
    done = run("run", "study.toml", "--out", "file/run", cwd=tmp_path)
    assert done.returncode == 3 and "file/run" in done.stderr


@pytest.mark.parametrize(("room", "some"), [(200_000, True), (60_000, False)])
def test_a_full_disk_keeps_what_had_finished(tmp_path, room, some):
    """The room ends among the episodes, or while the run is made, which then begins anew."""
    (tmp_path / "study.toml").write_text(STUDY.replace("blocks = 3", "blocks = 100"))

    def limit():
        import signal

        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    done = run("run", "study.toml", "--out", "run", cwd=tmp_path, preexec_fn=limit)
    assert done.returncode == 3 and "the disk is full" in done.stderr
    if some:
        assert run("verify", "run", cwd=tmp_path).returncode == 0
        with RunFolder.open(tmp_path / "run") as kept:
            assert 0 < len(list(kept.records())) < 400
    assert run("run", "study.toml", "--out", "run", cwd=tmp_path).returncode == 0
    with RunFolder.open(tmp_path / "run") as whole:
        assert len(list(whole.records())) == 400


def test_lists_and_doctor():
    assert {r["family"] for r in json.loads(run("env", "list", "--json").stdout)} >= {
        "kitchen",
        "pitch",
        "spread",
        "matrix",
        "gym",
    }
    assert "chef" in run("agent", "list").stdout
    assert "smollm2-135m" in run("models", "list").stdout
    assert json.loads(run("doctor", "--json").stdout)["extras"]
    assert run("doctor", "--endpoint", "http://127.0.0.1:9/v1").returncode == 3
    shown = json.loads(run("env", "show", "kitchen/cramped_room", "--json").stdout)
    assert shown["seats"] == ["p0", "p1"] and "cooking" in shown["options"]
    checked = run("env", "check", "matrix/chicken")
    assert checked.returncode == 0, checked.stdout


def test_help_loads_nothing_heavy():
    code = "import sys; sys.argv = ['crossplay', '--help']\nfrom crossplay.cli import main\ntry:\n    main()\nexcept SystemExit: pass\n"
    code += "print([m for m in ('numpy', 'torch', 'polars', 'aiohttp', 'scipy') if m in sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert done.stderr.strip() == "[]"
