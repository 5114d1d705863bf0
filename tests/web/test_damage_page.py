"""Runs that are not as they were written: each route says so, and no other run suffers."""

import re
import shutil
import sqlite3
import zlib

import pytest
from starlette.testclient import TestClient

import crossplay
from conftest import STUDIES
from crossplay.web.app import make_app, tables
from crossplay.web.desk import Desk

HERE = "http://127.0.0.1:8765"
ODD = ["null", "[]", '{"a": 1}', '{"p0": []}', '"text"', "[[", b"\xff", "", -1, 2**62, 1e300]
COLUMNS = {
    "cells": ["cell", "env_id", "lineup", "agents", "extra"],
    "sources": ["study", "identity"],
    "episodes": [
        "episode", "cell", "lineup", "root", "block", "replicate", "attempt", "status", "detail", "score", "totals",
        "ticks", "world", "mind", "counts", "wall_s", "extra", "source", "rows", "seal", "part", "first",
    ],
    "meta": ["value"],
    "buffer": ["rows"],
}  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """A small run with a team, whose pages use all that a manifest holds."""
    study = {**STUDIES["team"], "study": {**STUDIES["team"]["study"], "blocks": 2}, "controls": {"dev": 2}}
    folder = tmp_path_factory.mktemp("sound") / "team"
    crossplay.run(study, out=folder)
    return folder


@pytest.fixture(scope="module")
def routes(sound):
    """Everything that can be asked of a run."""
    with crossplay.open_run(sound) as run:
        episode = f"{run.records()[1].id:016x}"
    known = {"run": "team", "episode": episode, "plot": "scores"}
    told = [r.path for r in tables()[0] if r.method == "GET" and "{run}" in r.path]
    return ["/runs", *(re.sub(r"{(\w+)}", lambda m: known[m[1]], path) for path in told)]


def change(folder, statement, *values):
    with sqlite3.connect(folder / "manifest.sqlite") as db:
        db.execute(statement, values)
    db.close()


def ask(root, routes):
    """{path: (status, words)} of all routes, from a server that knows nothing yet."""
    desk = Desk(root)
    with TestClient(make_app(desk), base_url=HERE, raise_server_exceptions=False) as client:
        found = {path: client.get(f"/api/v1{path}") for path in routes}
    desk.close()
    return {path: (a.status_code, a.text) for path, a in found.items()}


@pytest.mark.parametrize("table", [*COLUMNS, "parts"])
def test_lost_rows_are_said(sound, routes, tmp_path, table):
    run = shutil.copytree(sound, tmp_path / "team")
    change(run, f"DELETE FROM {table}")
    for path, (status, words) in ask(tmp_path, routes).items():
        assert status < 500 and status != 422, (path, words)


@pytest.mark.parametrize(("table", "column"), [(t, c) for t, found in COLUMNS.items() for c in found])
def test_values_that_are_none_are_said(sound, routes, tmp_path, table, column):
    """Every column holds something odd, in one row: another for each, the same every time."""
    odd = ODD[zlib.crc32(f"{table}.{column}".encode()) % len(ODD)]
    run = shutil.copytree(sound, tmp_path / "team")
    one = {"cells": "cell", "meta": "key"}.get(table, "rowid")
    try:
        change(run, f"UPDATE {table} SET {column} = ? WHERE {one} IN (SELECT {one} FROM {table} LIMIT 1)", odd)
    except sqlite3.IntegrityError:
        pytest.skip("SQLite itself refuses this value here")
    for path, (status, words) in ask(tmp_path, routes).items():
        assert status < 500 and status != 422, (path, odd, words)


def test_one_damaged_run_hides_no_other(sound, tmp_path):
    for name in ("good", "odd"):
        shutil.copytree(sound, tmp_path / name)
    change(tmp_path / "odd", 'UPDATE sources SET identity = \'{"agents": {"weak": 3}, "models": []}\'')
    answers = ask(tmp_path, ["/runs", "/workers", "/models", "/gallery", "/people", "/rooms"])
    assert {path: status for path, (status, _) in answers.items()} == dict.fromkeys(answers, 200)
    assert '"run":"good"' in answers["/runs"][1] and '"state":"damaged"' in answers["/runs"][1]


def test_an_error_of_our_own_is_said_in_words_and_not_taken_for_damage(sound, tmp_path, monkeypatch, caplog):
    from crossplay.web.service import runs

    shutil.copytree(sound, tmp_path / "team")
    monkeypatch.setattr(runs, "_marks", lambda *_: 1 // 0)
    ((status, words),) = ask(tmp_path, ["/runs/team"]).values()
    assert status == 500 and "ZeroDivisionError" in words and "Traceback" not in words
    assert "GET /api/v1/runs/team" in caplog.text and "ZeroDivisionError" in caplog.text


def test_a_run_that_vanishes_while_it_is_read_is_not_there(sound, tmp_path, monkeypatch):
    from crossplay.web.service import runs

    run = shutil.copytree(sound, tmp_path / "team")
    real = runs.Shelf.look

    def look(self, name):
        found = real(self, name)
        shutil.rmtree(run, ignore_errors=True)
        return found

    monkeypatch.setattr(runs.Shelf, "look", look)
    ((status, words),) = ask(tmp_path, ["/runs/team"]).values()
    assert status == 404 and "study.toml" in words
