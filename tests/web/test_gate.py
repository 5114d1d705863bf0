"""The door of the page: Host, Origin, token, headers, limits; and that the description is one."""

import pytest
from starlette.testclient import TestClient

from crossplay.web.app import make_app, tables
from crossplay.web.desk import Desk

TOKEN = "a-token-of-many-letters"


@pytest.fixture
def client(tmp_path):
    with TestClient(make_app(Desk(tmp_path)), base_url="http://127.0.0.1:8765") as found:
        yield found


@pytest.fixture
def guarded(tmp_path):
    app = make_app(Desk(tmp_path), token=TOKEN, names=["play.example"])
    with TestClient(app, base_url="http://play.example") as found:
        yield found


def test_the_page_and_its_files_are_served(client):
    for path in ("/", "/runs/anything", "/static/js/main.js", "/static/app.css"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert "default-src 'self'" in answer.headers["content-security-policy"]
    assert client.get("/api/v1/nothing").status_code == 404


@pytest.mark.parametrize("path", ["/static/../app.py", "/static/..%2f..%2fapp.py", "/static/%2e%2e/app.py"])
def test_no_path_leads_out_of_the_static_files(client, path):
    assert "make_app" not in client.get(path).text


def test_other_hosts_and_origins_are_refused(client):
    assert client.get("/", headers={"host": "evil.example"}).status_code == 421
    assert client.post("/api/v1/login", headers={"origin": "http://evil.example"}).status_code == 403
    assert client.get("/api/v1/who", headers={"origin": "http://127.0.0.1:8765"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("play.example", 200),
        ("PLAY.Example:8443", 200),
        ("127.0.0.1:1", 200),
        ("[::1]:8765", 200),
        ("[::1]", 200),
        ("play.example.", 421),
        ("play.example@evil.example", 421),
        ("evil.example#play.example", 421),
        ("play.example, evil.example", 421),
        ("play.example evil.example", 421),
        ("[play.example", 421),
        ("[::1].evil.example", 421),
        ("[::ffff:127.0.0.1]", 421),
        ("127.1", 421),
        ("2130706433", 421),
        ("0.0.0.0:8765", 421),
        ("", 421),
    ],
)
def test_only_names_that_are_ours_are_answered(guarded, host, status):
    assert guarded.get("/", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("host", "origin", "status"),
    [
        ("play.example", "https://play.example", 200),
        ("play.example:443", "https://play.example", 200),  # as some proxies write it
        ("play.example:80", "http://play.example", 200),
        ("play.example", "HTTPS://PLAY.example", 200),
        ("play.example:80", "https://play.example", 403),
        ("play.example", "https://play.example:8443", 403),
        ("play.example", "https://play.example.evil.example", 403),
        ("play.example", "https://evil.example/play.example", 403),
        ("play.example", "ftp://play.example", 403),
        ("play.example", "chrome-extension://play.example", 403),
        ("play.example", "play.example", 403),
        ("play.example", "://play.example", 403),
        ("play.example", "null", 403),
        ("play.example", "", 403),
    ],
)
def test_only_pages_of_ours_may_ask(guarded, host, origin, status):
    assert guarded.get("/api/v1/who", headers={"host": host, "origin": origin}).status_code == status


def test_a_request_without_a_host_has_no_page_of_ours(tmp_path):
    """Where any name is answered: "null" must not equal nothing."""
    with TestClient(make_app(Desk(tmp_path), "0.0.0.0", TOKEN), base_url="http://any.example") as client:
        for origin in ("null", "", "x", "http://"):
            assert client.get("/api/v1/who", headers={"host": "", "origin": origin}).status_code == 403
        assert client.get("/api/v1/who", headers={"origin": "http://any.example"}).status_code == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_pages_of_other_sites_embed_and_load_nothing(client, site):
    """Without an Origin too, as pictures and scripts are asked for; a link to the page may be followed."""
    said = {"sec-fetch-site": site}
    for path in ("/", "/static/app.css", "/api/v1/runs", "/api/v1/openapi.json"):
        assert (
            client.get(path, headers={**said, "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"}).status_code
            == 403
        )
        framed = {**said, "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
        assert client.get(path, headers=framed).status_code == 403
        visit = {**said, "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
        assert client.get(path, headers=visit).status_code == 200
        for own in ("same-origin", "none"):
            assert client.get(path, headers={"sec-fetch-site": own, "sec-fetch-mode": "cors"}).status_code == 200


def test_the_token_opens_what_is_the_owners(guarded):
    assert guarded.get("/api/v1/who").json() == {"owner": False, "token": True}
    assert guarded.post("/api/v1/login", json={"token": "wrong"}).status_code == 401
    answer = guarded.post("/api/v1/login", json={"token": TOKEN})
    assert answer.status_code == 200
    assert (
        "httponly" in answer.headers["set-cookie"].lower() and "samesite=strict" in answer.headers["set-cookie"].lower()
    )
    assert guarded.get("/api/v1/who").json()["owner"]
    guarded.cookies.clear()
    assert guarded.get("/api/v1/who", headers={"authorization": f"Bearer {TOKEN}"}).json()["owner"]


def test_every_route_of_the_owner_needs_the_token(guarded):
    for route in tables()[0]:
        if route.access == "owner":
            answer = guarded.request(route.method, "/api/v1" + route.path.replace("{", "").replace("}", ""), json={})
            assert answer.status_code == 401, route


def test_the_description_names_every_route(client):
    said = client.get("/api/v1/openapi.json").json()
    assert said["openapi"].startswith("3.1")
    for route in tables()[0]:
        assert route.method.lower() in said["paths"]["/api/v1" + route.path.replace(":path}", "}")], route


def test_bodies_have_limits(client):
    assert (
        client.post("/api/v1/login", content=b"x" * (5 << 20), headers={"content-type": "application/json"}).status_code
        == 413
    )
    assert client.post("/api/v1/login", content=b"{}", headers={"content-type": "text/plain"}).status_code == 415
