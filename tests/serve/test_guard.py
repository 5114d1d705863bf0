"""Who may talk to a server here: tokens, hosts, origins."""

import asyncio
import http.client
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossplay.kernel import CrossplayError
from crossplay.wire import is_loopback
from crossplay.wire.http.guard import AT_ONCE, Guard, split_address, token_from
from crossplay.wire.http.house import House


async def inside(scope, receive, send):
    while scope["type"] == "lifespan":
        await send({"type": f"{(await receive())['type']}.complete"})
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"in"})


def status(guard, **headers):
    """The status of a request with these headers."""
    sent = []

    async def send(message):
        sent.append(message)

    named = [(k.encode(), v.encode()) for k, v in headers.items()]
    asyncio.run(guard({"type": "http", "headers": named}, None, send))
    return sent[0]["status"]


@pytest.mark.parametrize(
    ("headers", "want"),
    [
        ({"host": "127.0.0.1:8765"}, 200),
        ({"host": "localhost:8765"}, 200),
        ({"Host": "[::1]:8765"}, 200),
        ({"host": "127.0.0.1:8765", "origin": "http://127.0.0.1:8765"}, 200),
        ({"host": "evil.example"}, 421),  # a name that was bound to this address (DNS rebinding)
        ({"host": "localhost.evil.example:8765"}, 421),
        ({}, 421),
        ({"host": "127.0.0.1:8765", "origin": "http://evil.example"}, 403),
        ({"host": "127.0.0.1:8765", "origin": "http://127.0.0.1:9999"}, 403),
        ({"host": "127.0.0.1:8765", "origin": "null"}, 403),
    ],
)
def test_loopback_answers_its_own_names_and_pages_only(headers, want):
    assert status(Guard(inside, "127.0.0.1"), **headers) == want


TOKEN = "a-token-of-enough-characters"


@pytest.mark.parametrize(
    ("given", "want"),
    [(f"Bearer {TOKEN}", 200), (f"bearer {TOKEN}", 200), (f"Bearer {TOKEN}x", 401), (f"Basic {TOKEN}", 401), ("", 401)],
)
def test_a_token_is_asked_for_everywhere(given, want):
    guard = Guard(inside, "0.0.0.0", TOKEN)
    headers = {"host": "somewhere.example:1", **({"authorization": given} if given else {})}
    assert status(guard, **headers) == want


@given(st.binary(max_size=40))
def test_no_other_token_is_taken(token):
    guard = Guard(inside, "127.0.0.1", TOKEN)
    right = token.strip() == TOKEN.encode()
    verdict = guard.verdict({b"host": b"127.0.0.1:1", b"authorization": b"Bearer " + token})
    assert (verdict[0] == 0) == right


def test_further_names_can_be_given():
    assert status(Guard(inside, "192.0.2.1", TOKEN, ["lab.example"]), host="lab.example:1") == 401
    assert status(Guard(inside, "192.0.2.1", TOKEN), host="lab.example:1") == 421


def test_off_loopback_a_token_is_needed_and_named(monkeypatch):
    monkeypatch.delenv("SEAT_TOKEN", raising=False)
    assert token_from("", "127.0.0.1", "x") == "" == token_from("", "localhost", "x")
    for host in ("0.0.0.0", "192.0.2.1", "lab.example"):
        with pytest.raises(CrossplayError, match="needs a token of 16 characters"):
            token_from("", host, "x")
    with pytest.raises(CrossplayError, match="SEAT_TOKEN is not set"):
        token_from("SEAT_TOKEN", "127.0.0.1", "x")
    monkeypatch.setenv("SEAT_TOKEN", "short")
    with pytest.raises(CrossplayError, match="16 characters"):
        token_from("SEAT_TOKEN", "0.0.0.0", "x")
    monkeypatch.setenv("SEAT_TOKEN", TOKEN)
    assert token_from("SEAT_TOKEN", "0.0.0.0", "x") == TOKEN


@pytest.mark.parametrize(
    ("text", "want"),
    [("8765", ("127.0.0.1", 8765)), (":0", ("127.0.0.1", 0)), ("h:1", ("h", 1)), ("[::1]:80", ("::1", 80))],
)
def test_addresses(text, want):
    assert split_address(text) == want


@pytest.mark.parametrize("text", ["", "host", "h:port", "h:99999"])
def test_addresses_that_are_none(text):
    with pytest.raises(CrossplayError, match="expected HOST:PORT"):
        split_address(text)


def test_requests_of_strangers_take_nobodys_place_and_those_that_pass_are_limited():
    async def main():
        leave = asyncio.Event()

        async def slow(scope, receive, send):
            await leave.wait()
            await inside(scope, receive, send)

        guard = Guard(slow, "127.0.0.1", "the-token-of-this-test")

        async def one(token):
            headers = [(b"host", b"127.0.0.1:1"), (b"authorization", b"Bearer " + token)]
            said = []

            async def send(message):
                said.append(message)

            await guard({"type": "http", "headers": headers}, None, send)
            return said[0]["status"]

        waiting = [asyncio.create_task(one(b"the-token-of-this-test")) for _ in range(AT_ONCE)]
        await asyncio.sleep(0)
        over, stranger = await one(b"the-token-of-this-test"), await one(b"x")
        leave.set()
        return over, stranger, set(await asyncio.gather(*waiting)), await one(b"the-token-of-this-test")

    assert asyncio.run(main()) == (503, 401, {200}, 200)


def test_silent_connections_do_not_shut_out_the_party():
    pytest.importorskip("uvicorn")
    house = House(Guard(inside, "127.0.0.1", "the-token-of-this-test"), "127.0.0.1", 0)
    house.open()
    silent = [socket.create_connection(("127.0.0.1", house.port)) for _ in range(100)]
    try:
        line = http.client.HTTPConnection("127.0.0.1", house.port, timeout=10)
        line.request("GET", "/", headers={"Authorization": "Bearer the-token-of-this-test"})
        assert line.getresponse().status == 200
        line.close()
    finally:
        for one in silent:
            one.close()
        house.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "::1", "localhost"])
def test_what_only_this_machine_reaches(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", None, "0.0.0.0", "10.0.0.1", "localhost.example", "127.0.0.1.example", "127.1"])
def test_what_others_may_reach(host):
    assert not is_loopback(host)
