"""What the page must not do: be reached from elsewhere unasked, read outside its folder, say 500, tell tokens."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import unquote_to_bytes

import msgspec
import pytest
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

import crossplay
from conftest import TOKEN
from crossplay.web.api import PREFIX
from crossplay.web.app import make_app, tables
from crossplay.web.desk import Desk
from crossplay.web.service import tasks

SECRET = "a-description-that-nobody-may-read"
HERE = "http://127.0.0.1:8765"


# -- asking as no client would: paths as they are written, nothing made harmless on the way ------------------


def ask(app, method, raw, body=b"", headers=()):
    """(status, headers, body) of a request. Streams are read until their first part, or for half a second."""
    path, _, query = raw.partition("?")
    said = [(b"host", b"127.0.0.1:8765"), *headers]
    if body:
        said += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote_to_bytes(path).decode("utf-8", "replace"),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": said,
        "client": ("127.0.0.1", 5555),
        "server": ("127.0.0.1", 8765),
    }
    found = {"status": 0, "headers": {}, "body": b""}

    async def one():
        given, first = False, asyncio.Event()

        async def receive():
            nonlocal given
            if not given:
                given = True
                return {"type": "http.request", "body": body, "more_body": False}
            await asyncio.sleep(3600)

        async def send(message):
            if message["type"] == "http.response.start":
                found["status"] = message["status"]
                found["headers"] = {k.decode().lower(): v.decode() for k, v in message["headers"]}
            else:
                found["body"] += message.get("body", b"")
                if message.get("body") and message.get("more_body"):
                    first.set()

        asked = asyncio.ensure_future(app(scope, receive, send))
        heard = asyncio.ensure_future(first.wait())
        await asyncio.wait({asked, heard}, return_when=asyncio.FIRST_COMPLETED, timeout=30)
        heard.cancel()
        if asked.done():
            asked.result()
        else:
            asked.cancel()
        await asyncio.gather(asked, heard, return_exceptions=True)

    asyncio.run(one())
    return found["status"], found["headers"], found["body"]


class NoChild:
    """In the place of processes that tasks start: nothing runs."""

    def __init__(self, command, env, **_):
        raise crossplay.CrossplayError("nothing is started here")


@pytest.fixture
def app(runs, tmp_path, monkeypatch):
    """The page on a folder beside which lies what nobody may read."""
    monkeypatch.setattr(tasks, "Child", NoChild)
    shutil.copytree(runs, tmp_path / "runs")
    outside = tmp_path / "outside"
    shutil.copytree(runs / "team", outside)
    text = (outside / "study.toml").read_text()
    (outside / "study.toml").write_text(re.sub(r"(?m)^description = .*$", f'description = "{SECRET}"', text))
    (tmp_path / "runs" / "linked").symlink_to(outside)
    (tmp_path / "secret.txt").write_text(SECRET)
    desk = Desk(tmp_path / "runs")
    yield make_app(desk)
    desk.close()


def hostile(outside: Path) -> list[str]:
    """Parts of paths, as they are written in an address."""
    there = str(outside)
    return [
        "..",
        ".",
        "~",
        "%2e%2e",
        "..%2foutside",
        "%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "..~outside",
        "%2e%2e~outside",
        "kitchen~..~..~outside",
        "~~outside",
        "..%5coutside",
        "linked",
        there.replace("/", "%2f"),
        there.replace("/", "~"),
        "%00",
        "kitchen%00",
        "%0a%0d",
        "%ff%fe",
        "%f0%9f%8d%b2",
        "%252e%252e",
        "-1",
        "9" * 400,
        "9" * 5000,
        "a" * 5000,
        "~".join("a" * 60 for _ in range(100)),
        "'%22%3Cscript%3E",
        "kitchen%3Ftick=1",
        "$%7bx%7d",
    ]


def sample(app) -> dict[str, str]:
    """A value that exists, for parts of paths by name."""
    _, _, body = ask(app, "GET", f"{PREFIX}/runs/kitchen/episodes")
    rows = next(v for v in msgspec.json.decode(body).values() if isinstance(v, list) and v)
    return {"run": "kitchen", "episode": str(rows[0].get("id", rows[0].get("episode"))), "plot": "scores", "room": "x"}


def address(route, values: dict[str, str], **given: str) -> str:
    """The path of a route with its parts filled in; "x" for those that nothing is known of."""
    known = {**values, **given}
    return PREFIX + re.sub(r"{(\w+)(:\w+)?}", lambda part: known.get(part[1], "x"), route.path)


def test_no_path_leads_out_and_none_is_a_500(app, tmp_path):
    good, bad = sample(app), hostile(tmp_path / "outside")
    asked = 0
    for route in tables()[0]:
        names = [n.partition(":")[0] for n in re.findall(r"{([^}]+)}", route.path)]
        for broken in names:
            for value in bad:
                path = address(route, good, **{broken: value})
                status, _, body = ask(app, route.method, path, b"{}" if route.method != "GET" else b"")
                asked += 1
                assert 200 <= status < 500, (route.method, path[:200], body[:300])
                assert SECRET.encode() not in body and b"root:x:" not in body, (route.method, path[:200])
    assert asked > 100


def test_what_lies_outside_is_in_no_list(app):
    for path in ("/runs", "/events"):
        status, _, body = ask(app, "GET", PREFIX + path)
        assert status == 200 and SECRET.encode() not in body


@pytest.mark.parametrize(
    "raw",
    [
        "/../secret.txt",
        "/static/../../../secret.txt",
        "/static/%2e%2e/%2e%2e/app.py",
        "/static//etc/passwd",
        "/static/%00",
        "/static/" + "a" * 5000,
        "/%00",
        "/runs/..%2f..%2fsecret.txt",
    ],
)
def test_files_outside_the_static_ones_are_not_served(app, raw):
    status, _, body = ask(app, "GET", raw)
    assert status < 500 and SECRET.encode() not in body and b"root:x:" not in body and b"def make_app" not in body


def test_query_values_that_make_no_sense_are_no_500(app):
    good = sample(app)
    values = ["", "..", "%00", "-1", "1e400", "nan", "9" * 30, "%ff", "[]", "true", "%22", "a" * 3000]
    for route in tables()[0]:
        query = route.shape().query
        if query is None or route.method != "GET":
            continue
        path = address(route, good)
        for field, value in itertools.product(msgspec.structs.fields(query), values):
            status, _, body = ask(app, "GET", f"{path}?{field.encode_name}={value}")
            assert 200 <= status < 500, (path, field.name, value[:40], body[:300])
        assert ask(app, "GET", f"{path}?no_such_option=1")[0] in (404, 422)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"null",
        b'"x"',
        b"{",
        b"\xff",
        b"1e999",
        b'{"a":' * 63 + b"1" + b"}" * 63,
        b'{"\\ud800": 1}',
        b'{"study": "\\u0000"}',
    ],
)
def test_bodies_that_make_no_sense_are_no_500(app, body):
    good = sample(app)
    for route in tables()[0]:
        if route.method != "GET":
            path = address(route, good)
            status, _, said = ask(app, route.method, path, body)
            assert 200 <= status < 500, (route.method, path, said[:300])
    status, _, said = ask(app, "POST", f"{PREFIX}/login", body)
    assert status in (200, 422), said


def test_deep_and_large_bodies_are_refused(app):
    deep = b"[" * 100 + b"]" * 100
    assert ask(app, "POST", f"{PREFIX}/login", deep)[0] == 400
    assert ask(app, "POST", f"{PREFIX}/login", b'"' + b"x" * (5 << 20) + b'"')[0] == 413
    assert ask(app, "PUT", f"{PREFIX}/login", b'"' + b"x" * (5 << 20) + b'"')[0] == 413


def test_names_that_are_no_text_are_left_out(tmp_path, runs):
    shutil.copytree(runs / "team", tmp_path / os.fsdecode(b"\xff\xfe"))
    shutil.copytree(runs / "team", tmp_path / "研究")
    app = make_app(Desk(tmp_path))
    status, _, body = ask(app, "GET", f"{PREFIX}/runs")
    assert status == 200 and "研究" in body.decode()
    for route in tables()[0]:
        if route.kind == "text/csv" and "{run}" in route.path:
            path = address(route, {}, run="%E7%A0%94%E7%A9%B6", plot="scores")
            assert ask(app, route.method, path)[0] < 500


# -- headers -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "raw", "headers", "status"),
    [
        ("GET", "/", (), 200),
        ("GET", "/static/js/main.js", (), 200),
        ("GET", "/static/nothing.js", (), 404),
        ("GET", f"{PREFIX}/nothing", (), 404),
        ("GET", f"{PREFIX}/login", (), 405),
        ("DELETE", f"{PREFIX}/runs", (), 405),
        ("PATCH", f"{PREFIX}/runs", (), 405),
        ("POST", f"{PREFIX}/login", [(b"content-type", b"text/plain"), (b"content-length", b"2")], 415),
        ("POST", f"{PREFIX}/login", [(b"content-length", b"99999999999")], 413),
        ("GET", f"{PREFIX}/runs", [(b"origin", b"http://elsewhere.example")], 403),
    ],
)
def test_every_answer_has_the_headers(app, method, raw, headers, status):
    found, said, _ = ask(app, method, raw, headers=headers)
    assert found == status
    policy = said["content-security-policy"]
    assert "unsafe-inline" not in policy.partition("script-src")[2] and "frame-ancestors 'none'" in policy
    assert ("sandbox" in policy) == raw.startswith("/api/")
    assert said["x-content-type-options"] == "nosniff" and said["referrer-policy"] == "no-referrer"
    assert said["cross-origin-opener-policy"] == said["cross-origin-resource-policy"] == "same-origin"
    assert "access-control-allow-origin" not in said


# -- who may ask: Host (rebinding), Origin (CSRF), tokens, also of WebSockets ---------------------------------


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:8765", "", "[::2]:1"]
)
def test_a_name_that_was_bound_to_this_machine_by_others_is_refused(runs, host):
    for token in ("", TOKEN):
        with TestClient(make_app(Desk(runs), token=token), base_url=HERE) as client:
            for path in ("/", "/static/app.css", f"{PREFIX}/who", f"{PREFIX}/runs"):
                assert client.get(path, headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://127.0.0.1:9999",
        "https://localhost",
        "file://",
        "http://127.0.0.1:8765.evil.example",
    ],
)
def test_pages_of_other_sites_change_nothing(runs, origin):
    with TestClient(make_app(Desk(runs)), base_url=HERE) as client:
        for route in tables()[0]:
            path = PREFIX + re.sub(r"{[^}]+}", "x", route.path)
            assert client.request(route.method, path, headers={"origin": origin}).status_code == 403


def test_a_form_of_another_site_cannot_send_a_body(runs):
    """A browser sends these kinds without asking first; old ones even without an Origin."""
    with TestClient(make_app(Desk(runs)), base_url=HERE) as client:
        for route in tables()[0]:
            if route.method != "POST":
                continue
            path = PREFIX + re.sub(r"{[^}]+}", "x", route.path)
            for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
                assert client.post(path, content=b"{}", headers={"content-type": kind}).status_code == 415


def test_nothing_that_changes_something_is_a_get():
    changing = re.compile("create|start|stop|close|take_(?!part)|give|invite|resume|run_|save|remove|delete|join")
    assert not [r.name for r in tables()[0] if r.method == "GET" and changing.match(r.name)]


def sockets(access):
    return [path for path, _, found in tables()[1] if found == access]


def knock(client, path, **headers):
    """The code by which a WebSocket is refused before it is open; None where it opens."""
    try:
        with client.websocket_connect(path, headers=headers):
            return None
    except WebSocketDisconnect as refused:
        return refused.code


@pytest.mark.parametrize("path", [re.sub(r"{[^}]+}", "x", p) for p, _, _ in tables()[1]])
def test_websockets_are_refused_to_other_sites_and_hosts(runs, path):
    with TestClient(make_app(Desk(runs)), base_url=HERE) as client:
        assert knock(client, path, origin="http://evil.example") == 1008
        assert knock(client, path, origin="null") == 1008
        assert knock(client, path, host="evil.example") == 1008
        assert knock(client, path, cookie="crossplay=x") == 1008, "a browser always says where a page comes from"


def test_websockets_of_the_owner_need_the_token(runs):
    found = sockets("owner")
    with TestClient(make_app(Desk(runs), token=TOKEN), base_url=HERE) as client:
        for path in found:
            path = re.sub(r"{[^}]+}", "x", path)
            assert knock(client, path) == 1008
            assert knock(client, path, origin=HERE) == 1008
            assert knock(client, path, authorization="Bearer wrong") == 1008
            assert knock(client, path, authorization=f"Bearer {TOKEN}") != 1008 or path.endswith("x")
    assert found, "episodes are shown through one"


def test_the_cookie_is_not_the_token_and_opens_only_here(runs):
    names = ["play.example"]
    with TestClient(make_app(Desk(runs), token=TOKEN, names=names), base_url="https://play.example") as client:
        answer = client.post(f"{PREFIX}/login", json={"token": TOKEN}, headers={"origin": "https://play.example"})
        said = answer.headers["set-cookie"].lower()
        assert TOKEN not in said and "secure" in said and "httponly" in said and "samesite=strict" in said
        assert client.get(f"{PREFIX}/who").json()["owner"]
        assert "crossplay" in client.cookies
        kept = client.cookies["crossplay"]
        client.cookies.clear()
        assert not client.get(f"{PREFIX}/who", headers={"cookie": f"crossplay={TOKEN}"}).json()["owner"]
        assert client.get(f"{PREFIX}/who", headers={"cookie": f"crossplay={kept}"}).json()["owner"]
        for wrong in ('crossplay="', "crossplay=\xff", "crossplay=" + "a" * 4000, "=;;=,", f"crossplay={kept}x"):
            answer = client.get(f"{PREFIX}/who", headers={"cookie": wrong.encode("latin-1")})
            assert answer.status_code == 200 and not answer.json()["owner"]


def test_tokens_in_any_script_work(runs):
    token = "ein-schlüssel-鍵-der-länge"
    with TestClient(make_app(Desk(runs), token=token), base_url=HERE) as client:
        assert client.post(f"{PREFIX}/login", json={"token": token}).status_code == 200
        assert client.get(f"{PREFIX}/who").json()["owner"]
        client.cookies.clear()
        assert client.get(f"{PREFIX}/who", headers={"authorization": f"Bearer {token}".encode()}).json()["owner"]


# -- the real command --------------------------------------------------------------------------------------


def command(*words, token=None, **options):
    env = {k: v for k, v in os.environ.items() if k != "CROSSPLAY_TOKEN"}
    if token is not None:
        env["CROSSPLAY_TOKEN"] = token
    return subprocess.Popen(
        [sys.executable, "-m", "crossplay", "serve", *map(str, words)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.mark.parametrize(
    ("words", "token"),
    [
        (["--host", "0.0.0.0"], None),
        (["--host", "::"], None),
        (["--name", "play.example"], None),
        (["--host", "0.0.0.0", "--name", "localhost"], None),
        (["--name", "localhost", "--name", "play.example"], None),
        (["--host", "0.0.0.0", "--token-env", "CROSSPLAY_TOKEN"], "short"),
        (["--host", "0.0.0.0", "--token-env", "CROSSPLAY_TOKEN"], ""),
    ],
)
def test_beyond_this_machine_it_is_not_served_without_a_token(tmp_path, words, token):
    process = command(tmp_path, "--port", "0", *words, token=token)
    try:
        said, errors = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:  # it serves
        process.kill()
        pytest.fail(f"served: {process.communicate()}")
    assert process.returncode and "token" in (errors + said).lower() and "http://" not in said
    assert "Traceback" not in errors


def test_interrupted_in_the_middle_of_a_game_it_ends_in_order(tmp_path):
    process = command(tmp_path, "--port", "0")
    try:
        where = re.search(r"http://[\d.:]+/", process.stdout.readline()).group()
        kitchen = {"environment": "kitchen/cramped_room", "seats": {"p0": "person"}}
        request = urllib.request.Request(
            f"{where}api/v1/rooms", msgspec.json.encode(kitchen), {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            made = msgspec.json.decode(answer.read())
        assert made["room"]["status"] == "waiting"
    finally:
        process.send_signal(2)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0 and not errors


def test_the_command_serves_on_loopback_and_tells_no_token(tmp_path):
    process = command(tmp_path, "--port", "0", "--token-env", "CROSSPLAY_TOKEN", token=TOKEN)
    try:
        line = process.stdout.readline()
        where = re.search(r"http://127\.0\.0\.1:\d+/", line)
        assert where, line
        for path, headers in (
            ("api/v1/who", {"Authorization": f"Bearer {TOKEN}"}),
            ("api/v1/runs", {"Authorization": f"Bearer {TOKEN}"}),
            ("api/v1/runs/none", {"Authorization": f"Bearer {TOKEN}"}),
            (f"?token={TOKEN}", {}),
            ("api/v1/runs", {"Authorization": f"Bearer {TOKEN}x"}),
        ):
            request = urllib.request.Request(where.group() + path, headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=20) as answer:
                    assert TOKEN not in answer.read().decode("utf-8", "replace")
            except urllib.error.HTTPError as refused:
                assert refused.code in (401, 404) and TOKEN not in refused.read().decode()
    finally:
        process.send_signal(2)
        try:
            said, errors = process.communicate(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    assert TOKEN not in line + said + errors and "Traceback" not in errors
    assert not any(TOKEN.encode() in f.read_bytes() for f in tmp_path.rglob("*") if f.is_file())
