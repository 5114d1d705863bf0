"""Folders of small runs, a desk on them and a client of the page: for tests of services, which change nothing in them."""

import shutil

import pytest
from starlette.testclient import TestClient

from conftest import TEAM
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
