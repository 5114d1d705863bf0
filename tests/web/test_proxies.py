"""The page behind real proxies, with the configurations that docs/deploying.md shows: what is tried is what stands there.

Only ports, addresses and the certificate are put in. The proxy and `crossplay serve` run as ordinary processes on loopback.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from conftest import TOKEN
from crossplay.web.gate import OWNER_TRIES
from crossplay.web.play.lines import apart

pytestmark = pytest.mark.full

DOCS = Path(__file__).parents[2] / "docs" / "deploying.md"
NAME = "play.example.org"
ROOM = {"environment": "kitchen/cramped_room", "options": {"horizon": 3}, "countdown_s": 0, "seats": {"p0": "person"}}


def shown(kind: str) -> str:
    """The example of this kind in the docs."""
    return re.search(rf"```{kind}\n(.*?)```", DOCS.read_text(), re.S)[1]


def put(text: str, *parts: tuple[str, str]) -> str:
    """The text with parts of it replaced; each must be there."""
    for old, new in parts:
        assert old in text, f"docs/deploying.md does not say {old!r}"
        text = text.replace(old, new)
    return text


def free() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@contextlib.contextmanager
def process(command, ready, **options):
    """A process, from the moment that `ready(process)` holds until the end of the block."""
    found = subprocess.Popen([str(c) for c in command], **options)
    try:
        for _ in range(600):
            if ready(found):
                break
            assert found.poll() is None, f"{command[0]} ended: {found.stderr.read() if found.stderr else ''}"
            time.sleep(0.05)
        else:
            pytest.fail(f"{command[0]} does not answer")
        yield found
    finally:
        found.send_signal(signal.SIGINT if "crossplay" in map(str, command) else signal.SIGTERM)
        try:
            found.wait(20)
        except subprocess.TimeoutExpired:
            found.kill()
            found.wait()


def listens(port):
    def ready(_):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    return ready


class Site:
    """The page as a browser elsewhere reaches it: by name and TLS. source: the address that it is called from."""

    def __init__(self, port: int, trust: ssl.SSLContext, folder: Path, direct: int) -> None:
        self.port, self.trust, self.folder, self.direct = port, trust, folder, direct
        self.origin = f"https://{NAME}:{port}"

    def line(self, source: str = "127.0.0.1") -> ssl.SSLSocket:
        """A connection."""
        plain = socket.create_connection(("127.0.0.1", self.port), 20, source_address=(source, 0))
        return self.trust.wrap_socket(plain, server_hostname=NAME)

    def ask(self, method, path, body=None, source="127.0.0.1", host="", **headers):
        """(status, headers, body) of a request."""
        asked = http.client.HTTPConnection(NAME, self.port, timeout=20)
        asked.sock = self.line(source)
        said = {"Host": host or f"{NAME}:{self.port}", **{k.replace("_", "-"): v for k, v in headers.items()}}
        if body is not None:
            body = body if isinstance(body, bytes) else json.dumps(body).encode()
            said["Content-Type"] = "application/json"
        asked.request(method, path, body, said)
        answer = asked.getresponse()
        found = answer.status, answer.headers, answer.read()
        asked.close()
        return found

    def owner(self) -> dict[str, str]:
        return {"authorization": f"Bearer {TOKEN}"}

    def socket(self, path, origin=None, **headers):
        """A WebSocket."""
        return connect(
            f"wss://{NAME}:{self.port}{path}", sock=socket.create_connection(("127.0.0.1", self.port), 20),
            ssl=self.trust, server_hostname=NAME, origin=origin or self.origin, additional_headers=headers, open_timeout=20,
        )  # fmt: skip

    def room(self, **more):
        """A new room: its name and its first invitation."""
        status, _, said = self.ask("POST", "/api/v1/rooms", {**ROOM, **more}, **self.owner())
        assert status == 200, said
        found = json.loads(said)
        return found["room"]["room"], found["invites"][0]


@contextlib.contextmanager
def nginx(folder: Path, port: int, page: int):
    """nginx with the server of the docs; gives what trusts its certificate."""
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        pytest.skip("nginx is not installed: sudo apt-get install nginx")
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificate, is not installed")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", "key.pem", "-out",
         "cert.pem", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    server = put(
        shown("nginx"),
        ("listen 443 ssl;", f"listen 127.0.0.1:{port} ssl;"),
        ("http://127.0.0.1:8765", f"http://127.0.0.1:{page}"),
        (f"/etc/letsencrypt/live/{NAME}/fullchain.pem", str(folder / "cert.pem")),
        (f"/etc/letsencrypt/live/{NAME}/privkey.pem", str(folder / "key.pem")),
    )
    own = "".join(f"{n}_temp_path {folder}/{n};\n" for n in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;\n" if os.geteuid() == 0 else ""  # the folders of tests are open to their account alone
    (folder / "nginx.conf").write_text(
        f"{user}daemon off;\npid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\naccess_log {folder}/access.log;\n{own}{server}\n}}\n"
    )
    with process([program, "-p", folder, "-c", folder / "nginx.conf"], listens(port), stderr=subprocess.PIPE):
        yield ssl.create_default_context(cafile=str(folder / "cert.pem"))


@contextlib.contextmanager
def caddy(folder: Path, port: int, page: int):
    """Caddy with the lines of the docs, and with an authority of its own instead of one on the internet."""
    program = shutil.which("caddy")
    if program is None:
        pytest.skip("caddy is not installed: sudo apt-get install caddy")
    lines = put(shown("caddy"), ("127.0.0.1:8765", f"127.0.0.1:{page}"))
    own = f"admin off\nhttp_port {free()}\nhttps_port {port}\nlocal_certs\nskip_install_trust\ndefault_bind 127.0.0.1\n"
    (folder / "Caddyfile").write_text(f"{{\n{own}}}\n{lines}")
    homes = {name: str(folder) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    root = folder / "caddy" / "pki" / "authorities" / "local" / "root.crt"

    def ready(_):
        if not root.is_file():
            return False
        with contextlib.suppress(OSError):
            trust = ssl.create_default_context(cafile=str(root))
            with (
                socket.create_connection(("127.0.0.1", port), 5) as plain,
                trust.wrap_socket(plain, server_hostname=NAME),
            ):
                return True
        return False

    command = [program, "run", "--config", folder / "Caddyfile", "--adapter", "caddyfile"]
    with (folder / "caddy.log").open("w") as log, process(command, ready, env={**os.environ, **homes}, stderr=log):
        yield ssl.create_default_context(cafile=str(root))


@contextlib.contextmanager
def served(folder: Path):
    """The real command, as the docs start it; gives its port."""
    line = next(line for line in shown("sh").splitlines() if line.startswith("crossplay serve runs "))
    words = [*line.split()[1:], "--port", "0"]
    words[1] = str(folder / "runs")
    said = folder / "said"
    with said.open("w") as out:
        env = {**os.environ, "CROSSPLAY_TOKEN": TOKEN}
        command = [sys.executable, "-m", "crossplay", *words]
        with process(command, lambda _: "Ctrl-C" in said.read_text(), env=env, stdout=out, stderr=subprocess.PIPE):
            yield int(re.search(r"http://127\.0\.0\.1:(\d+)/", said.read_text())[1])


@pytest.fixture(scope="module", params=[nginx, caddy], ids=["nginx", "caddy"])
def site(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("proxy")
    port = free()
    with served(folder) as page, request.param(folder, port, page) as trust:
        yield Site(port, trust, folder, page)


def test_the_page_loads(site):
    status, headers, body = site.ask("GET", "/")
    assert status == 200 and b"<html" in body and "default-src 'self'" in headers["content-security-policy"]
    status, headers, body = site.ask("GET", "/static/js/main.js")
    assert status == 200 and "javascript" in headers["content-type"]
    again = site.ask("GET", "/static/js/main.js", if_none_match=headers["etag"])
    assert again[0] == 304 and "default-src 'self'" in again[1]["content-security-policy"]


def test_logging_in_sets_a_cookie_for_tls_alone(site):
    assert json.loads(site.ask("GET", "/api/v1/who")[2]) == {"owner": False, "token": True}
    assert site.ask("GET", "/api/v1/runs")[0] == 401
    assert site.ask("POST", "/api/v1/login", {"token": "a wrong one"}, origin=site.origin)[0] == 401
    for origin in ({"origin": site.origin}, {}):
        status, headers, _ = site.ask("POST", "/api/v1/login", {"token": TOKEN}, **origin)
        cookie = headers["set-cookie"].lower()
        assert status == 200 and "secure" in cookie and "httponly" in cookie and "samesite=strict" in cookie
    shown = headers["set-cookie"].partition(";")[0]
    status, headers, body = site.ask("GET", "/api/v1/runs", cookie=shown)
    assert status == 200 and "rows" in json.loads(body) and headers["cache-control"] == "no-store"


def test_events_come_when_they_happen(site):
    line = site.line()
    line.sendall(
        f"GET /api/v1/events HTTP/1.1\r\nHost: {NAME}:{site.port}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode()
    )

    def until(word):
        heard = b""
        while word not in heard:
            more = line.recv(65536)  # a proxy that collects what is sent gives nothing here until it times out
            assert more, heard
            heard += more
        return heard

    assert b" 200 " in until(b'"hello"')
    site.room()
    until(b'"kind":"run"')
    line.close()


@pytest.mark.parametrize("view", ["image", "text"])
def test_a_game_is_played(site, view):
    room, invite = site.room()
    assert "#" in invite["link"]
    status, _, body = site.ask("GET", invite["link"].partition("#")[0])
    assert status == 200 and b"<html" in body
    pictures, texts, end = 0, 0, None
    with site.socket(f"/ws/play/{room}") as game:
        game.send(json.dumps({"seat": invite["seat"], "token": invite["token"], "views": [view]}))
        game.send(json.dumps({"ready": True}))
        while end is None:
            message = game.recv(timeout=20)
            if isinstance(message, bytes):
                message, picture = apart(message)
                pictures += bool(picture)
            told = json.loads(message)
            texts += bool(told.get("text"))
            if told["kind"] == "state" and told["turn"]:
                game.send(json.dumps({"turn": told["turn"], "value": "stay"}))
            end = told if told["kind"] == "end" else None
    assert end["status"] == "horizon"
    assert (pictures, texts) == ((4, 0) if view == "image" else (0, 4))


def test_a_seat_is_for_whoever_has_its_link(site):
    room, invite = site.room()
    with site.socket(f"/ws/play/{room}") as game:
        game.send(json.dumps({"seat": invite["seat"], "token": "another"}))
        with contextlib.suppress(Exception):
            while True:
                game.recv(timeout=20)
        assert game.close_code == 1008
    with pytest.raises(InvalidStatus) as refused, site.socket(f"/ws/play/{room}", origin="https://evil.example"):
        pass
    assert refused.value.response.status_code == 403
    with pytest.raises(InvalidStatus), site.socket("/ws/replay/x/1"):
        pass


def test_pages_of_other_sites_are_refused(site):
    for origin in ("https://evil.example", f"http://{NAME}:{site.port}", f"https://{NAME}", "null"):
        assert site.ask("POST", "/api/v1/login", {"token": TOKEN}, origin=origin)[0] == 403
    assert site.ask("GET", "/api/v1/who", origin=site.origin)[0] == 200


def test_other_names_are_refused(site):
    status, _, body = site.ask("GET", "/", host="evil.example")
    assert b"<html" not in body and (status == 421 or not body)


def test_bodies_over_the_limit_are_refused(site):
    def body(size):
        return b'{"token": "' + b"x" * size + b'"}'

    assert site.ask("POST", "/api/v1/login", body(5 << 20), **site.owner())[0] == 413
    assert site.ask("POST", "/api/v1/login", body((4 << 20) - 100), source="127.0.0.8", **site.owner())[0] == 401


def test_large_answers_come_whole(site):
    study = f'[study]\nname = "large"\nmargin = 1\ndescription = "{"long " * 200_000}"\n'
    found = [site.ask("POST", "/api/v1/studies/parse", {"toml": study}, **site.owner())]
    asked = http.client.HTTPConnection("127.0.0.1", site.direct, timeout=20)
    body = json.dumps({"toml": study})
    asked.request("POST", "/api/v1/studies/parse", body, {"Content-Type": "application/json", **site.owner()})
    answer = asked.getresponse()
    found.append((answer.status, answer.headers, answer.read()))
    asked.close()
    assert [f[0] for f in found] == [200, 200]
    assert found[0][2] == found[1][2] and len(found[0][2]) > 1_000_000


def test_who_guesses_is_one_client_whatever_it_says_and_nobody_else_is(site):
    """Clients are told apart by the address from which the proxy was called."""
    codes = []
    for n in range(OWNER_TRIES[0] + 3):
        made_up = {"x_forwarded_for": f"10.0.{n}.1", "x_real_ip": f"10.0.{n}.1", "forwarded": f"for=10.0.{n}.1"}
        codes.append(site.ask("POST", "/api/v1/login", {"token": f"guess {n}"}, source="127.0.0.66", **made_up)[0])
    assert codes[: OWNER_TRIES[0]] == [401] * OWNER_TRIES[0] and codes[-1] == 429
    for made_up in ({}, {"x_forwarded_for": "127.0.0.67"}):
        assert site.ask("POST", "/api/v1/login", {"token": TOKEN}, source="127.0.0.66", **made_up)[0] == 429
    shoved = {"x_forwarded_for": "127.0.0.66"}
    assert site.ask("POST", "/api/v1/login", {"token": TOKEN}, source="127.0.0.67", **shoved)[0] == 200
    assert site.ask("POST", "/api/v1/login", {"token": TOKEN}, source="127.0.0.1")[0] == 200


def test_the_proxy_keeps_no_link_in_its_log(site):
    if not (site.folder / "access.log").is_file():
        pytest.skip("this proxy keeps no log unless it is told to")
    room, invite = site.room()
    site.ask("GET", invite["link"].partition("#")[0])  # as browsers do
    with site.socket(f"/ws/play/{room}") as game:
        game.send(json.dumps({"seat": invite["seat"], "token": invite["token"]}))
        game.recv(timeout=20)
    kept = (site.folder / "access.log").read_text() + (site.folder / "error.log").read_text()
    assert room in kept and invite["token"] not in kept and TOKEN not in kept
