"""Folders of small runs, a desk on them and a client of the page: for tests of services, which change nothing in them."""

import shutil
import tomllib

import pytest
from starlette.testclient import TestClient

from conftest import PEOPLE, TEAM
from crossplay import parse_study
from crossplay.records import RunFolder
from crossplay.records.cassette import Cassette
from crossplay.study.runner import stored_cell
from crossplay.study.sessions import Sessions
from crossplay.study.stage import Stage
from crossplay.web.app import make_app
from crossplay.web.desk import Desk
from study import reported


def kitchen(folder):
    """A study of questions with its answer."""
    return shutil.copytree(reported.kitchen(), folder)


def dilemma(folder):
    """A tournament."""
    return shutil.copytree(reported.dilemma(), folder)


def team(folder):
    """A debate with its controls."""
    return reported.play({**TEAM, "study": {**TEAM["study"], "blocks": 5}, "controls": {"dev": 3}}, folder)


def fixtures(make):
    """(folder, desk, client): what `make` puts into a folder, once per module."""

    @pytest.fixture(scope="module", name="folder")
    def folder_of(tmp_path_factory):
        root = tmp_path_factory.mktemp("runs")
        make(root)
        return root

    @pytest.fixture(name="desk")
    def desk_of(folder):
        found = Desk(folder)
        yield found
        found.close()

    @pytest.fixture(name="client")
    def client_of(folder):
        with TestClient(make_app(Desk(folder)), base_url="http://127.0.0.1:8765") as found:
            yield found

    return folder_of, desk_of, client_of


def people(folder):
    """A run of a study with people in which nothing was played yet."""
    stage = Stage(parse_study(tomllib.loads(PEOPLE)))
    stage.check()
    identity = {
        "agents": {"chef": {"kind": "script"}, "me": {"kind": "human"}, "policy": {"kind": "policy"}},
        "models": {},
    }
    with RunFolder.create(folder, stage.study.toml(), identity) as run:
        run.add_cells([stored_cell(stage, cell) for cell in stage.cells])
    stage.close()
    return folder


def answered(folder, number, answers):
    """A participant agrees and answers: step -> what."""
    with RunFolder.open(folder) as run:
        study = parse_study(tomllib.loads(run.study_toml))
        path = run.cassette_path
    path.parent.mkdir(exist_ok=True)
    with Cassette(path, mode="record") as cassette:
        sessions = Sessions(cassette, study.root)
        while sessions.get(number) is None:
            sessions.invite(4)
        for step, answer in {"consent": {"agree": True}, **answers}.items():
            sessions.note(number, step, answer)
