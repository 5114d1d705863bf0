"""The kit is Python 3.9, and interpreters for workers are made with it."""

from __future__ import annotations

import ast
import json
import shutil
import sys
from pathlib import Path

import pytest

from crossplay.cli.worker_envs import interpreter, worker_env_create, worker_env_list
from crossplay.cli.workers import starter
from crossplay.kernel import CrossplayError
from crossplay.wire.check import check_worker

ROOT = Path(__file__).parents[2]
KIT = sorted([*(ROOT / "worker/src").rglob("*.py"), *(ROOT / "worker/examples").rglob("*.py")])
OTHERS = {"gymnasium", "pettingzoo"}  # optional ones are imported where they are needed
NEWER = {"strict", "slots", "kw_only"}  # keywords of zip and dataclass that 3.9 does not know


def names(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", KIT, ids=names)
def test_the_kit_is_python_3_9(path):
    text = path.read_text()
    tree = ast.parse(text, feature_version=(3, 9))
    lazy = any(isinstance(n, ast.ImportFrom) and n.module == "__future__" for n in tree.body)
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Match), f"{path}:{node.lineno}: match"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("zip", "dataclass"):
            assert not NEWER & {k.arg for k in node.keywords}, f"{path}:{node.lineno}: a keyword of 3.10"
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("isinstance", "issubclass")
        ):
            assert not isinstance(node.args[1], ast.BinOp), f"{path}:{node.lineno}: a union at run time"
        for hint in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            union = hint is not None and any(isinstance(n, ast.BinOp) for n in ast.walk(hint))
            assert not union or lazy, f"{path}:{hint.lineno}: a union that is read at run time"


def test_the_core_of_the_kit_needs_numpy_and_msgspec_alone():
    own = {"crossplay_worker", "numpy", "msgspec", "__future__"}
    for name in ("__init__", "worker", "frames", "arrays", "messages", "seeds"):
        path = ROOT / f"worker/src/crossplay_worker/{name}.py"
        for node in ast.parse(path.read_text()).body:
            found = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                found = [node.module]
            for module in found:
                top = module.split(".")[0]
                assert top in own or top in sys.stdlib_module_names, f"{path}: {module}"


def test_this_interpreter_and_files_are_found():
    here = "{}.{}.{}".format(*sys.version_info[:3])
    assert interpreter("") == (sys.executable, here)
    assert interpreter(here)[1] == here
    assert interpreter(sys.executable) == (sys.executable, here)


def test_what_is_not_there_is_said_with_what_is():
    with pytest.raises(CrossplayError, match=r'no interpreter "3\.99" was found \(here: .*3\.'):
        interpreter("3.99")
    with pytest.raises(CrossplayError, match="no interpreter"):
        interpreter("/nowhere/python")


def test_versions_are_not_mixed_up(tmp_path, monkeypatch):
    fake = tmp_path / "python3.1"
    fake.write_text("#!/bin/sh\necho 3.10.4\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    with pytest.raises(CrossplayError, match="no interpreter"):
        interpreter("3.1")  # 3.10 begins with the same letters
    old = tmp_path / "python3.8"
    old.write_text("#!/bin/sh\necho 3.8.18\n")
    old.chmod(0o755)
    with pytest.raises(CrossplayError, match=r"3\.8\.18; the worker kit needs 3\.9"):
        interpreter("3.8")


def test_wrong_names_and_files_are_refused_before_anything_is_made(tmp_path):
    for name in ("", "../x", "a b", ".hidden", "-r"):
        with pytest.raises(CrossplayError, match="is no name"):
            worker_env_create(name, folder=tmp_path)
    with pytest.raises(CrossplayError, match="there is no file"):
        worker_env_create("x", requirements=tmp_path / "none.txt", folder=tmp_path)
    (tmp_path / "there").mkdir()
    with pytest.raises(CrossplayError, match="is there already"):
        worker_env_create("there", folder=tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["there"]


def test_environments_are_listed(tmp_path, capsys):
    place = tmp_path / "sb3"
    (place / "bin").mkdir(parents=True)
    (place / "pyvenv.cfg").write_text("version = 3.10.4\n")
    (place / "bin/python").symlink_to(sys.executable)
    (tmp_path / "no environment").mkdir()
    assert worker_env_list(folder=tmp_path, json=True) == 0
    [found] = json.loads(capsys.readouterr().out)
    assert (found["name"], found["state"]) == ("sb3", "not made by Crossplay")
    (place / "crossplay.json").write_text('{"python": "3.10.4", "packages": ["sb3==2"], "kit": "x"}')
    assert worker_env_list(folder=tmp_path) == 0
    told = capsys.readouterr().out
    assert "ready" in told and "sb3==2" in told
    assert worker_env_list(folder=tmp_path / "nothing") == 0


@pytest.mark.full
@pytest.mark.parametrize("version", ["3.9", "3.13"])
def test_workers_run_in_interpreters_of_their_own(version, tmp_path, capsys, monkeypatch):
    try:
        interpreter(version)
    except CrossplayError as error:
        pytest.skip(str(error))
    shutil.copytree(ROOT / "worker/examples", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    try:
        assert worker_env_create("own", python=version, package=("idna",), json=True) == 0
    except CrossplayError as error:
        if "pip could not install" in str(error):
            pytest.skip(f"packages cannot be had here: {error}")
        raise
    made = json.loads(capsys.readouterr().out)
    assert made["python"].startswith(version) and {"numpy", "msgspec", "idna"} <= set(made["installed"])
    found = check_worker(starter((made["interpreter"], "examples/python_worker.py"), tmp_path), deadline=10.0)
    assert {f.name: f.text for f in found if f.status == "failed"} == {}


@pytest.mark.full
def test_half_an_environment_is_removed(tmp_path):
    with pytest.raises(CrossplayError, match="pip could not install"):
        worker_env_create("half", package=("crossplay-there-is-no-such-package==99",), folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
