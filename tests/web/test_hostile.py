"""Connections that mean no good, over real sockets: silent ones, slow ones, those that send what has two meanings."""

import contextlib
import json
import socket
import struct
import threading
import time
import zlib

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.frames import Frame, Opcode
from websockets.sync.client import connect

from conftest import TOKEN
from crossplay.web.app import make_app
from crossplay.web.desk import Desk
from crossplay.web.service import events
from crossplay.wire.http import crowd, house
from crossplay.wire.http.bodies import GUESTS, Bounded, too_deep
from crossplay.wire.http.house import FRAME, House

HEADERS = {
    "content-security-policy", "x-content-type-options", "referrer-policy", "cross-origin-opener-policy",
    "cross-origin-resource-policy", "cache-control",
}  # fmt: skip


@contextlib.contextmanager
def opened(app):
    found = House(app, "127.0.0.1", 0, sockets=True, extra="web")
    found.open()
    try:
        yield found
    finally:
        found.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page, with a token."""
    desk = Desk(tmp_path_factory.mktemp("runs"))
    with opened(make_app(desk, token=TOKEN)) as found:
        found.desk = desk
        yield found
    desk.close()


@pytest.fixture
def hasty(monkeypatch):
    """Limits that are reached soon."""
    for name, value in {"EVERY": 0.02, "HEAD_S": 0.3, "BODY_S": 0.3, "STALL_S": 0.3}.items():
        monkeypatch.setattr(crowd, name, value)


class Inside:
    """An application that answers with what it is told to, and remembers how requests went on."""

    def __init__(self):
        self.answer, self.ended = [b"in"], []

    async def __call__(self, scope, receive, send):
        if scope["type"] == "lifespan":
            while (kind := (await receive())["type"]) != "lifespan.shutdown":
                await send({"type": f"{kind}.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            while (message := await receive())["type"] != "websocket.disconnect":
                text = message.get("text") or message["bytes"]
                await send({"type": "websocket.send", "text": "x" * (1 << 20) if text == "much" else str(len(text))})
            self.ended.append(message["type"])
            return
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.ended.append(message["type"])
                return
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for part in self.answer:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body"})
        self.ended.append("answered")


@pytest.fixture
def inside():
    app = Inside()
    with opened(app) as found:
        found.app = app
        yield found


def reach(found, size=0):
    made = socket.socket()
    if size:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)
    made.settimeout(20)
    made.connect(("127.0.0.1", found.port))
    return made


def heard(line):
    """All that is said until the other side ends."""
    said = b""
    with contextlib.suppress(ConnectionError):
        while more := line.recv(65536):
            said += more
    line.close()
    return said


def asked(found, raw):
    """All answers to these bytes, until the server ends the connection: (status, headers, body) of the first, and how many."""
    line = reach(found)
    line.sendall(raw)
    said = heard(line)
    head, _, body = said.partition(b"\r\n\r\n")
    first, *rest = head.decode("latin-1").split("\r\n")
    headers = {k.lower(): v for k, _, v in (r.partition(": ") for r in rest)}
    return int(first.split()[1]) if said else 0, headers, body, said.count(b"HTTP/1.1 ")


def raw(method, target, *headers, body=b"", version="1.1", end=True):
    """The bytes of a request that is the last one on its connection."""
    lines = [f"{method} {target} HTTP/{version}", *headers]
    if not any(h.lower().startswith("host") for h in headers):
        lines.append("Host: 127.0.0.1:8765")
    return "\r\n".join([*lines, *(["Connection: close"] if end else []), "", ""]).encode("latin-1") + body


def until(holds):
    for _ in range(1000):
        if holds():
            return True
        time.sleep(0.02)
    return False


# -- those who say nothing, or take nothing ----------------------------------------------------------------------


def test_silent_connections_make_room_for_those_who_ask(monkeypatch):
    monkeypatch.setattr(house, "CONNECTIONS", 12)
    with opened(Inside()) as found, connect(f"ws://127.0.0.1:{found.port}/") as game:
        game.send("x")
        assert game.recv() == "1"
        silent = [reach(found) for _ in range(40)]
        for n, line in enumerate(silent):  # some have begun to say something, and never go on
            with contextlib.suppress(OSError):
                line.sendall(
                    b"GET / HTTP/1.1\r\nHost: x\r\n"
                    if n % 2
                    else b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1"
                )
        for _ in range(5):
            assert asked(found, raw("GET", "/"))[0] == 200
        game.send("of them nobody who plays")
        assert game.recv() == "24"
        for line in silent:
            line.close()


def test_websockets_over_which_nothing_comes_make_room_too(monkeypatch):
    monkeypatch.setattr(house, "CONNECTIONS", 6)
    with opened(Inside()) as found:
        address = f"ws://127.0.0.1:{found.port}/"
        with contextlib.ExitStack() as stack:
            playing = stack.enter_context(connect(address))
            playing.send("here")
            assert playing.recv() == "4"
            for _ in range(10):
                stack.enter_context(connect(address))
            playing.send("still here")
            assert playing.recv() == "10"


def test_where_all_are_busy_whoever_comes_has_to_wait(monkeypatch):
    monkeypatch.setattr(house, "CONNECTIONS", 2)
    with opened(Inside()) as found, contextlib.ExitStack() as stack:
        for _ in range(2):
            game = stack.enter_context(connect(f"ws://127.0.0.1:{found.port}/"))
            game.send("x")
            assert game.recv() == "1"
        assert heard(reach(found)) == b""
        game.send("xx")
        assert game.recv() == "2"


def trickle(line, text=b"x"):
    """Say a little, again and again, in the background."""

    def go_on():
        with contextlib.suppress(OSError):
            while True:
                line.sendall(text)
                time.sleep(0.05)

    threading.Thread(target=go_on, daemon=True).start()


def test_a_head_that_never_ends_is_not_waited_for(hasty, inside):
    for begin in (b"", b"GET / HTTP/1.1\r\nX: "):
        line = reach(inside)
        line.sendall(begin)
        if begin:
            trickle(line)
        assert heard(line) == b""
    again = reach(inside)
    again.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT")
    assert heard(again).count(b"HTTP/1.1 200") == 1, "nor for the second one"


@pytest.mark.parametrize("upgrade", [(), ("Connection: Upgrade", "Upgrade: websocket")])
def test_a_head_that_is_too_long_is_no_request_also_where_it_comes_at_once(inside, upgrade):
    fitting = f"X: {'x' * (crowd.HEAD - 200)}"
    assert asked(inside, raw("GET", "/", fitting))[0] == 200
    many = [f"X-{i}: {'x' * 100}" for i in range(crowd.HEAD // 100)]
    for headers in ([fitting, fitting], many):
        status, answered, _, answers = asked(inside, raw("GET", "/", *headers, *upgrade, end=not upgrade))
        assert (status, answers) == (400, 1) and answered["cache-control"] == "no-store"
    assert asked(inside, raw("GET", "/" + "x" * crowd.HEAD))[0] == 400
    assert inside.app.ended == ["answered"]


def test_a_body_that_never_ends_is_not_waited_for(hasty, inside):
    line = reach(inside)
    line.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n")
    trickle(line)
    assert heard(line) == b""
    assert until(lambda: inside.app.ended == ["http.disconnect"])


def test_an_answer_that_nobody_takes_is_not_kept(hasty, inside):
    inside.app.answer = [bytes(1 << 20)] * 64
    line = reach(inside, size=4096)
    line.sendall(raw("GET", "/"))
    assert until(lambda: inside._crowd.lines), "it is there"
    assert until(lambda: not inside._crowd.lines), "and is ended"
    line.close()


def test_a_last_answer_that_nobody_takes_ends_too(hasty, inside):
    """The server has closed it already and only waits until all is sent."""
    inside.app.answer = [bytes(32 << 20)]
    line = reach(inside, size=4096)
    line.sendall(raw("GET", "/"))
    assert until(lambda: inside.app.ended) and until(lambda: not inside._crowd.lines)
    line.close()


def test_who_reads_slowly_gets_everything(hasty, inside):
    inside.app.answer = [bytes(1 << 20)] * 4
    line = reach(inside, size=65536)
    line.sendall(raw("GET", "/"))
    said, steps = b"", 0
    while more := line.recv(1 << 17):
        said, steps = said + more, steps + 1
        time.sleep(0.02)
    assert len(said) > 4 << 20 and steps > 20
    line.close()


def test_a_game_in_which_nobody_reads_ends(hasty, inside):
    line = reach(inside, size=4096)
    line.sendall(UPGRADE.replace(b"permessage-deflate", b"x"))
    assert b" 101 " in line.recv(4096)
    line.sendall(frame(Opcode.TEXT, b"much") * 16)
    assert until(lambda: not inside._crowd.lines)
    line.close()


# -- WebSockets ----------------------------------------------------------------------------------------------

UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)


def frame(opcode, data=b"", fin=True, packed=False):
    made = Frame(opcode, data, fin).serialize(mask=True)
    return bytes([made[0] | 0x40 * packed]) + made[1:]


def code_of(found, *frames):
    """The code by which a WebSocket is closed after these bytes; what was said before."""
    line = reach(found)
    line.sendall(UPGRADE)
    said = b""
    while b"\r\n\r\n" not in said:
        said += line.recv(1)
    with contextlib.suppress(ConnectionError):
        for data in frames:
            line.sendall(data)
    said = heard(line)
    place = said.rfind(b"\x88")
    return struct.unpack("!H", said[place + 2 : place + 4])[0] if place >= 0 else None


def packed(data):
    """As permessage-deflate sends it."""
    made = zlib.compressobj(wbits=-12)
    return (made.compress(data) + made.flush(zlib.Z_SYNC_FLUSH))[:-4]


def test_messages_in_parts_are_put_together(inside):
    with connect(f"ws://127.0.0.1:{inside.port}/") as game:
        game.send(["a", "bc", "", "def"])
        assert game.recv() == "6"
        game.send("x" * 60_000)
        assert game.recv() == "60000"


def test_messages_without_end_are_refused(inside):
    assert code_of(inside, frame(Opcode.TEXT, b"x" * (FRAME + 1))) == 1009
    halves = [frame(Opcode.TEXT, b"x" * 40_000, False), frame(Opcode.CONT, b"x" * 40_000, False)]
    assert code_of(inside, *halves) == 1009
    empty = [frame(Opcode.TEXT, b"", False), frame(Opcode.CONT, b"", False) * 10_000]
    assert code_of(inside, *empty) == 1008


def test_a_small_message_that_unpacks_to_a_large_one_is_refused(inside):
    bomb = packed(bytes(50 << 20))
    assert len(bomb) < FRAME
    assert code_of(inside, frame(Opcode.TEXT, bomb, packed=True)) == 1009
    assert code_of(inside, frame(Opcode.TEXT, bomb[:9000], False, True), frame(Opcode.CONT, bomb[9000:])) == 1009
    assert code_of(inside, frame(Opcode.TEXT, b"\xff" * 100, packed=True)) == 1002


def test_pings_without_end_are_refused(inside):
    assert code_of(inside, frame(Opcode.PING, b"x" * 125) * 5000) == 1008
    assert code_of(inside, frame(Opcode.PONG) * 5000) == 1008


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (b"\x81\x01x", 1002),
        (frame(Opcode.CONT, b"x"), 1002),
        (frame(Opcode.TEXT, b"\xff\xfe"), 1007),
        (b"\x83\x80\0\0\0\0", 1002),
        (b"\x81\xff" + b"\x7f" + b"\xff" * 7 + b"\0\0\0\0", 1009),
        (b"\x09\x80\0\0\0\0", 1002),
    ],
    ids=["not masked", "continues nothing", "no UTF-8", "unknown kind", "longer than all memory", "a ping in parts"],
)
def test_frames_that_are_none_end_it_and_nobody_else(inside, bad, code):
    assert code_of(inside, bad) == code
    assert asked(inside, raw("GET", "/"))[0] == 200


# -- HTTP that is none, or two things at once ------------------------------------------------------------------

SECOND = b"GET /second HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


TWOFOLD = [
    raw("POST", "/", "Content-Length: 0", "Content-Length: 44", body=SECOND, end=False),
    raw("POST", "/", "Content-Length: 0, 44", body=SECOND, end=False),
    raw("POST", "/", "Content-Length: 44", "Transfer-Encoding: chunked", body=b"0\r\n\r\n" + SECOND),
    raw("POST", "/", "Transfer-Encoding: chunked, identity", body=b"0\r\n\r\n" + SECOND, end=False),
    raw("POST", "/", "Transfer-Encoding: identity", "Content-Length: 0", body=SECOND, end=False),
    raw("POST", "/", "Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + SECOND, end=False),
    raw("POST", "/", "Transfer-Encoding:\x0bchunked", body=b"0\r\n\r\n" + SECOND, end=False),
    raw("POST", "/", "Transfer-Encoding : chunked", body=b"0\r\n\r\n" + SECOND, end=False),
    raw("POST", "/", "Content-Length: +0", body=SECOND, end=False),
    raw("POST", "/", "Content-Length: -1", body=SECOND, end=False),
    raw("POST", "/", "Content-Length: 0x0", body=SECOND, end=False),
    raw("POST", "/", "Content-Length: 4_4", body=SECOND, end=False),
    raw("POST", "/", "Content-Length: " + "9" * 5000, body=SECOND, end=False),
    raw("POST", "/", "Transfer-Encoding: chunked", body=b"-1\r\n\r\n" + SECOND, end=False),
    raw("POST", "/", "Transfer-Encoding: chunked", body=b"0x1\r\nx\r\n0\r\n\r\n" + SECOND, end=False),
    raw("POST", "/", "Transfer-Encoding: chunked", body=b"f" * 40 + b"\r\nx\r\n0\r\n\r\n" + SECOND, end=False),
    raw("GET", "/", "Host: 127.0.0.1", "Host: evil.example", end=False),
    raw("GET", "/", "X: a\r\n b\x00c", end=False),
    raw("GET", "/", "X\x00: a", end=False),
    raw("GET", "/", ": a", end=False),
    raw("GET", "/", "no colon", end=False),
    raw("GET", "/ x", end=False),
    raw("GET", "", end=False),
    raw("G\x00T", "/", end=False),
    raw("GET", "/\xff", end=False),
    raw("GET", "/", version="1.10", end=False),
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET /\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\r\n\r\n",
    b"\r\n" * 100 + b"\x00\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
    b"GET /" + b"y" * 200_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
]


@pytest.mark.parametrize("request_", TWOFOLD, ids=range(len(TWOFOLD)))
def test_what_has_two_meanings_has_none(page, request_):
    status, headers, _, answers = asked(page, request_)
    assert status in (400, 413, 421, 501) and answers == 1, "what follows is not taken for a request"
    assert headers["x-content-type-options"] == "nosniff" and "content-security-policy" in headers


def test_the_same_length_twice_is_one(page):
    assert asked(page, raw("POST", "/api/v1/login", "Content-Length: 2", "Content-Length: 2", body=b"{}"))[0] == 415
    assert asked(page, raw("GET", "/api/v1/who", "x: " + "y" * 8000))[0] == 200


def test_requests_one_after_the_other_are_all_answered(page):
    three = raw("GET", "/api/v1/who", end=False) * 2 + raw("GET", "/api/v1/who")
    assert asked(page, three)[3] == 3


# -- methods, targets, ranges ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method", ["FOO", "TRACE", "CONNECT", "OPTIONS", "PATCH", "DELETE", "PROPFIND", "get", "M-SEARCH"]
)
@pytest.mark.parametrize(
    "target", ["/", "/api/v1/runs", "/api/v1/nothing", "/static/app.css", "/ws/play/x", "*", "host:443"]
)
def test_other_methods_are_refused_in_the_usual_way(page, method, target):
    status, headers, _, _ = asked(page, raw(method, target))
    assert status in (404, 405, 401), (method, target)
    assert set(headers) >= HEADERS, (method, target)


@pytest.mark.parametrize(
    "target",
    [
        "http://evil.example/api/v1/who", "http://127.0.0.1:8765/api/v1/runs", "*", "//evil.example/static/app.css",
        "///etc/passwd", "/static/..\\..\\app.py", "/static/..%5c..%5capp.py", "/static/%2e%2e/%2e%2e/app.py",
        "/static/%2e%2e%2f%2e%2e%2fapp.py", "/static//etc/passwd", "/static/%00", "/static/app.css%00.js", "/%00",
        "/static/js/../../app.py", "/static/js", "/static/js/", "/static", "/static/.", "/static/..", "/%ff%fe", "/%",
        "/%zz", "/static/%c0%ae%c0%ae/app.py", "/api/v1/../../static/app.css", "/api%2fv1%2fruns", "/API/v1/runs",
        "/api/v1/runs/", "//api/v1/runs", "/api//v1/runs", "/api/v1/runs;x=y", "/api/v1/runs%20", "/api/v1/runs%00", "?", "?x",
    ],
)  # fmt: skip
def test_no_way_of_writing_a_path_leads_elsewhere(page, target):
    status, headers, body, answers = asked(page, raw("GET", target))
    assert answers == 1 and status < 500
    assert b"root:x:" not in body and b"def make_app" not in body and b'"rows"' not in body
    if status not in (400,):
        assert set(headers) >= HEADERS
    assert not headers.get("location", "").startswith(("//", "http://evil"))


def test_files_are_sent_in_part_and_not_again(page):
    status, headers, body, _ = asked(page, raw("GET", "/static/app.css", "Range: bytes=0-9"))
    assert status == 206 and len(body) == 10 and set(headers) >= HEADERS
    size = int(headers["content-range"].rpartition("/")[2])
    again = asked(page, raw("GET", "/static/app.css", f"If-None-Match: {headers['etag']}"))
    assert again[0] == 304 and set(again[1]) >= HEADERS and again[1]["cache-control"] == "no-cache"
    assert asked(page, raw("GET", "/static/app.css", f"Range: bytes={size}-"))[0] == 416
    many = "Range: bytes=" + ",".join(f"{n}-{n}" for n in range(0, 3000, 2))
    assert len(asked(page, raw("GET", "/static/app.css", many))[2]) < 1 << 20
    same = "Range: bytes=" + ",".join(["0-"] * 2000)
    assert len(asked(page, raw("GET", "/static/app.css", same))[2]) < 4 * size
    for bad in (
        "bytes=-",
        "bytes=9-1",
        "bytes=a-b",
        "lines=1-2",
        "bytes=-0",
        "bytes=0-99999999999999999999",
        "bytes=,,,",
    ):
        assert asked(page, raw("GET", "/static/app.css", f"Range: {bad}"))[0] in (200, 206, 400, 416), bad


def test_the_head_of_a_stream_is_all_of_it(page):
    """Or it would go on for nobody, in the place of somebody who listens."""
    token = f"Authorization: Bearer {TOKEN}"
    status, headers, body, _ = asked(page, raw("HEAD", "/api/v1/events", token))
    assert status == 200 and body == b"" and headers["content-type"].startswith("text/event-stream")
    watcher = page.desk.part("events", events.Watcher)
    assert until(lambda: not watcher.listeners)
    assert asked(page, raw("HEAD", "/"))[0] == 200 == asked(page, raw("HEAD", "/static/app.css"))[0]
    assert asked(page, raw("HEAD", "/", "Content-Length: 99999999999"))[0] == 413
    assert asked(page, raw("HEAD", "/api/v1/runs"))[0] == 401 and asked(page, raw("HEAD", "/api/v1/who"))[2] == b""


def test_answers_of_the_api_are_kept_by_nobody(page):
    for path in ("/api/v1/who", "/api/v1/runs", "/api/v1/nothing", "/api/v1/openapi.json", "/api/v1/take-part"):
        assert asked(page, raw("GET", path))[1]["cache-control"] == "no-store", path
        assert asked(page, raw("GET", path, f"Authorization: Bearer {TOKEN}"))[1]["cache-control"] == "no-store", path
    assert asked(page, raw("POST", "/api/v1/login", "Origin: http://evil.example"))[1]["cache-control"] == "no-store"


# -- bodies --------------------------------------------------------------------------------------------------


def sent(found, size, *headers):
    body = json.dumps({"token": "x" * (size - 13)}).encode()
    json_kind = ("Content-Type: application/json", f"Content-Length: {len(body)}")
    return asked(found, raw("POST", "/api/v1/login", *json_kind, *headers, body=body))


def test_guests_send_little_and_are_told_so_though_they_sent_all(page):
    status, headers, body, answers = sent(page, GUESTS + 1)
    assert (status, answers) == (413, 1) and str(GUESTS) in body.decode() and set(headers) >= HEADERS
    assert sent(page, GUESTS)[0] == 401
    owner = f"Authorization: Bearer {TOKEN}"
    assert sent(page, 2 << 20, owner)[0] == 401
    assert sent(page, 12 << 20, owner)[0] == 413
    assert (
        asked(page, raw("POST", "/api/v1/login", "Content-Length: 4", "Content-Encoding: gzip", body=b"\x1f\x8b\0\0"))[
            0
        ]
        == 415
    )


def test_chunks_count_too(page):
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    body = chunk * 8 + b"0\r\n\r\n"
    kind = ("Content-Type: application/json", "Transfer-Encoding: chunked")
    assert asked(page, raw("POST", "/api/v1/login", *kind, body=body))[0] == 413


def one_by_one(body):
    """How deep, said slowly."""
    depth, deepest, quoted, escaped = 0, 0, False, False
    for c in body:
        if escaped:
            escaped = False
        elif quoted:
            escaped, quoted = c == 0x5C, c != 0x22
        elif c == 0x22:
            quoted = True
        else:
            depth += (c in b"[{") - (c in b"]}")
            deepest = max(deepest, depth)
    return deepest


@pytest.mark.parametrize("n", range(40))
def test_depth_is_counted_as_a_reader_counts_it(n):
    from crossplay.kernel.seeds import key, pick

    drawn = bytes(b'[[[[[{{{"\\]}a\n'[pick(key(n, "byte"), 14, i)] for i in range(500))
    for body in (drawn, drawn.replace(b'"', b""), b'"' + drawn, b"[" * n * 3 + drawn):
        assert too_deep(body) == (one_by_one(body) > 64)


def test_whoever_leaves_in_the_middle_of_a_body_leaves_nothing(inside):
    inside.app, app = Bounded(inside.app), inside.app
    line = reach(inside)
    line.sendall(raw("POST", "/", "Content-Type: application/json", "Content-Length: 100", body=b"{"))
    line.close()
    assert until(lambda: not inside._crowd.lines) and app.ended in ([], ["http.disconnect"])


def test_answers_after_a_refused_websocket(page):
    with pytest.raises(Exception, match="403"), connect(f"ws://127.0.0.1:{page.port}/ws/replay/x/1"):
        pass
    with connect(f"ws://127.0.0.1:{page.port}/ws/play/x") as game, contextlib.suppress(ConnectionClosed):
        game.send("[" * 20_000)
        game.recv()
    assert game.close_code == 1008
