"""The REST API as its description says it, under generated requests: no 500, answers of the described form, nothing without the token.

Every operation of the description is asked, none is left out. Those that start processes run against a recorder in the
place of `Child` (no process is started; what would have been is checked to be a command of ours). Everything else is real: a
folder with runs, rooms that are opened and played, seats that are taken.
"""

from __future__ import annotations

import shutil
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings

from conftest import TOKEN

schemathesis = pytest.importorskip("schemathesis", reason="comes with the packages of the tests")

from schemathesis.generation import GenerationMode  # noqa: E402
from schemathesis.python.asgi import get_client  # noqa: E402

from crossplay.web.app import make_app, tables  # noqa: E402
from crossplay.web.desk import Desk  # noqa: E402
from crossplay.web.openapi import openapi  # noqa: E402
from crossplay.web.service import tasks  # noqa: E402

ASKED: Counter[str] = Counter()
"""How often an operation was asked by a test of this module, by names such as "GET /api/v1/runs"."""
GOOD: Counter[str] = Counter()
"""How often it answered with what was asked for."""


class Recorder:
    """In the place of a process: it is written down, and is over at once."""

    started: list[list[str]] = []

    def __init__(self, command, env, **_):
        Recorder.started.append(list(command))
        self.pid, self.process = 0, self

    def wait(self, timeout=None):
        return 0

    def signal(self, *_):
        return None

    def close(self, *_):
        return None


def config(examples: int, **phases) -> schemathesis.Config:
    return schemathesis.Config.from_dict(
        {
            "seed": 20,
            "request-timeout": 3.0,
            # 400 says in words what a schema cannot: names that are not known, options that exclude each other.
            "checks": {"positive_data_acceptance": {"expected-statuses": ["2xx", 400, 401, 403, 404, 409, 429]}},
            "headers": {"Authorization": f"Bearer {TOKEN}"},
            "generation": {"max-examples": examples, "deterministic": True, "no-shrink": True},
            "phases": phases,
        }
    )


class Served:
    """The application that the module's fixture makes: the description is read before there is one."""

    app = None

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)


SERVED = Served()


KNOWN: dict[str, list[str]] = {}
"""Values that exist, for parts of paths by name."""
QUERY = {"runs": ["kitchen", "kitchen-again"], "tick": 0, "seat": "p0"}
"""Values that exist, for options of queries by name."""


@pytest.fixture(scope="module", autouse=True)
def served(runs, tmp_path_factory):
    """The application, with a room that is open, a study with people, an invitation to it, and a task."""
    folder = tmp_path_factory.mktemp("fuzz") / "runs"
    shutil.copytree(runs, folder)
    shutil.copytree(runs / "kitchen", folder / "kitchen-again")
    patch = pytest.MonkeyPatch()
    patch.setattr(tasks, "Child", Recorder)
    desk = Desk(folder)
    SERVED.app = make_app(desk, token=TOKEN, names=["testserver", "localhost"])
    KNOWN.update(found(ask, desk))
    yield
    desk.close()
    patch.undo()


def ask(method, path, body=None):
    """An answer of the application, in the event loop in which it is tried."""
    with get_client(SERVED) as client:
        answer = client.request(
            method, f"/api/v1{path}", json=body, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60
        )
    assert answer.status_code == 200, (path, answer.text)
    return answer.json()


def found(ask, desk):
    """Names of what is there."""
    kitchen = {"environment": "kitchen/cramped_room", "options": {"horizon": 30}, "clock": "tick:20"}
    room = ask("POST", "/rooms", {**kitchen, "seats": {"p0": "person"}})
    study = ask("GET", "/people")["studies"][0]["name"]
    ask("POST", f"/people/{study}/open")
    invited = ask("POST", f"/people/{study}/invite", {"count": 2})
    episodes = [row["episode"] for run in ("kitchen", "team") for row in ask("GET", f"/runs/{run}/episodes")["rows"]]
    return {
        "run": ["kitchen", "team", "fallbacks", "games~dilemma"],
        "episode": [str(e) for e in episodes],
        "plot": list(ask("GET", "/runs/kitchen/result")["plots"]),
        "name": ["kitchen/cramped_room", "qa/synthetic"],
        "room": [room["room"]["room"]],
        "seat": ["p0", "p1"],
        "study": [study],
        "number": ["1"],
        "ticket": [s["link"].rpartition("#ticket=")[2] for s in invited["sessions"]],
        "task": [tasks.start(desk, "models list", "all", ["models", "list", "--json"]).id],
        "entry": [e["name"] for e in ask("GET", "/gallery")["entries"]],
    }


def described(examples: int, **phases):
    """The description, with how it is tried."""
    found = schemathesis.openapi.from_dict(openapi(tables()[0]), config=config(examples, **phases))
    found.app = SERVED
    return found


def whole(value):
    """Plain data in which 10.0 is 10, as JavaScript writes it: the same to JSON Schema, not to a reader of integers."""
    if isinstance(value, dict):
        return {name: whole(inside) for name, inside in value.items()}
    if isinstance(value, list):
        return [whole(inside) for inside in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def hold(case):
    """Ask and compare; of the requests that are right by the description, two of three are about what is there."""
    operation = f"{case.method} {case.operation.path}"
    ASKED[operation] += 1
    if ASKED[operation] % 3 and case.meta is not None and case.meta.generation.mode is GenerationMode.POSITIVE:
        there = {n: KNOWN[n][ASKED[operation] % len(KNOWN[n])] for n in case.path_parameters or {} if KNOWN.get(n)}
        case.path_parameters = {**(case.path_parameters or {}), **there}
        if isinstance(case.body, dict) and "ticket" in case.body:
            case.body["ticket"] = KNOWN["ticket"][ASKED[operation] % len(KNOWN["ticket"])]
        if ASKED[operation] % 3 == 1:  # nothing but what must be said
            needed = {p.name: p.is_required for p in case.operation.query}
            given = {n: v for n, v in (case.query or {}).items() if needed.get(n)}
            case.query = {**given, **{n: QUERY[n] for n in needed if n in QUERY}}
    case.body = whole(case.body)
    answer = case.call_and_validate()
    GOOD[operation] += answer.status_code < 300


@described(5).parametrize()
def test_the_api_is_as_described(case):
    hold(case)


@pytest.mark.full
@described(150).parametrize()
def test_the_api_is_as_described_at_length(case):
    hold(case)


def asked_here(operation):
    """Some requests that are right by the description."""

    @settings(max_examples=4, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def ask_some(case):
        hold(case)

    ask_some()


def test_every_operation_was_asked_and_only_our_commands_would_have_started():
    for result in described(5).get_all_operations():  # those that another process asked, or none
        operation = result.ok()
        if not GOOD[f"{operation.method.upper()} {operation.path}"]:
            asked_here(operation)
    assert {f"{r.method} /api/v1{r.path}".replace(":path}", "}") for r in tables()[0]} <= set(ASKED)
    never = [
        f"{r.method} {r.path}" for r in tables()[0] if not GOOD[f"{r.method} /api/v1{r.path}".replace(":path}", "}")]
    ]
    never.remove("GET /workers/jobs/{job}")  # there is no job here
    assert not [operation for operation in never if operation.startswith("GET ")]
    for command in Recorder.started:
        assert command[1:3] == ["-m", "crossplay"] and command[3] in tasks.COMMANDS and "--trust" not in command
