"""Endpoints, against a server on loopback that is slow, failing or wrong on demand."""

import asyncio
import base64
import socket

import numpy as np
import pytest
from asked import handle, request

from crossplay.kernel import CrossplayError, Stop
from crossplay.models import Capabilities, Door, HttpBackend, Message, ModelDown, ModelError, Picture, Request
from crossplay.models.loopback import FAKE_VLM, Loopback, brightest_band, picture_of

FAST = {"backend": "http", "model": "hash", "paid": False, "base_s": 0.001}


def door_of(server, **options):
    return Door({"m": {**FAST, "url": server.url, **options}})


def ask(door, *requests, at=None):
    async def run():
        try:
            return await door.model("m").generate(list(requests), at=at or handle())
        finally:
            await door.model("m").backend.aclose()

    return asyncio.run(run())


def test_a_call_and_what_is_sent():
    with Loopback() as server:
        [reply] = ask(
            door_of(server), request("A) up\nB) down"[2:], temperature=0.5, seed=7, stop=("x",), max_tokens=9)
        )
        [body] = server.requests
    assert body["model"] == "hash"
    assert body["messages"][0] == {"role": "system", "content": "rules"}
    assert (body["temperature"], body["seed"], body["stop"], body["max_tokens"]) == (0.5, 7, ["x"], 9)
    assert "top_p" not in body
    assert "response_format" not in body
    assert reply.usage.calls == 1
    assert reply.usage.tok_in > 0
    assert not reply.estimated
    assert list(server.keys.values()) == [1]
    assert "" not in server.keys


def test_capabilities_decide_what_is_asked_for():
    schema = {"type": "object", "properties": {"action": {"enum": ["A", "B"]}}, "required": ["action"]}
    with Loopback() as server:
        door = door_of(server, capabilities={"json_schema": True, "logprobs": True, "seed": False})
        ask(door, request("A) up\nB) down", json_schema=schema, top_logprobs=5, seed=1))
        ask(door_of(server), request("x", json_schema=schema, top_logprobs=5))
        ask(door_of(server, max_tokens_field="max_completion_tokens", extra={"top_k": 3}), request("x"))
        first, second, third = server.requests
    assert first["response_format"]["json_schema"]["schema"] == schema
    assert (first["logprobs"], first["top_logprobs"]) == (True, 5)
    assert "seed" not in first
    assert "response_format" not in second
    assert "logprobs" not in second
    assert third["max_completion_tokens"] == 256
    assert third["top_k"] == 3


def test_four_calls_overlap():
    with Loopback(latency_s=0.2) as server:
        ask(door_of(server), *(request(f"{i}") for i in range(4)))
        assert server.most_flying == 4


def test_concurrency_is_a_limit():
    with Loopback(latency_s=0.02) as server:
        ask(door_of(server, concurrency=3), *(request(f"{i}") for i in range(12)))
        assert server.most_flying == 3


@pytest.mark.parametrize("problem", [429, 500, 503, "disconnect"])
def test_passing_trouble_is_tried_again_with_one_key(problem):
    at = handle()
    with Loopback(script=lambda n, body: problem if n < 2 else "fine") as server:
        door = door_of(server)
        [reply] = ask(door, request(), at=at)
        assert list(server.keys.values()) == [3]
    assert (reply.text, reply.attempts) == ("fine", 3)
    doubtful = 2 if problem == "disconnect" else 0
    assert reply.doubtful == doubtful  # a broken connection may hide a paid answer
    assert at.counts == {"retry": 2, **({"maybe_paid_twice": 2} if doubtful else {})}
    again = handle()
    ask(door, request(), at=again)
    assert again.counts == at.counts  # replay counts the same


@pytest.mark.parametrize(("problem", "kind"), [(429, "rate"), (500, "server"), ("disconnect", "disconnect")])
def test_lasting_trouble_is_an_error_after_bounded_attempts(problem, kind):
    with Loopback(script=lambda n, body: problem) as server:
        with pytest.raises(ModelError) as caught:
            ask(door_of(server, attempts=3), request())
        assert len(server.requests) == 3
    assert (caught.value.kind, caught.value.attempts) == (kind, 3)


def test_a_refused_request_is_not_repeated():
    with Loopback(script=lambda n, body: 400) as server:
        with pytest.raises(ModelError, match="status 400: scripted status 400") as caught:
            ask(door_of(server), request())
        assert len(server.requests) == 1
    assert caught.value.kind == "request"


def test_time_out():
    with Loopback(latency_s=5) as server, pytest.raises(ModelError, match=r"no answer in 0.05 s") as caught:
        ask(door_of(server, timeout_s=0.05, attempts=2), request())
    assert (caught.value.kind, caught.value.doubtful) == ("timeout", 2)


@pytest.mark.parametrize("answer", [{"choices": []}, {"nothing": 1}, {"choices": [{"message": None}]}])
def test_what_is_no_completion_is_malformed(answer):
    with Loopback(script=lambda n, body: answer) as server, pytest.raises(ModelError) as caught:
        ask(door_of(server), request())
    assert caught.value.kind == "malformed"


def test_endpoint_down_is_one_clear_line_and_stops():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{s.getsockname()[1]}/v1"
    door = Door({"m": {**FAST, "url": url, "attempts": 2}})
    with pytest.raises(ModelDown, match=rf'model "m": no answer from {url} .*Is the server running\?') as caught:
        ask(door, request())
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, Stop)
    assert caught.value.exit_code == 3
    assert len(door.cassette) == 0
    with pytest.raises(ModelDown, match="Is the server running"):
        asyncio.run(door.ready(["m"]))


def test_keys_come_from_the_environment_and_stay_there(monkeypatch, tmp_path):
    monkeypatch.delenv("TOY_KEY", raising=False)
    with Loopback(key="sk-12345678") as server:
        with pytest.raises(ModelDown, match="environment variable TOY_KEY holds no key"):
            ask(door_of(server, key_env="TOY_KEY"), request())
        monkeypatch.setenv("TOY_KEY", "sk-wrong-key")
        with pytest.raises(ModelDown, match="status 401: wrong key; the key is read from TOY_KEY"):
            ask(door_of(server, key_env="TOY_KEY"), request())
        monkeypatch.setenv("TOY_KEY", "sk-12345678")
        door = door_of(server, key_env="TOY_KEY")
        ask(door, request("my key is sk-12345678"))
        asyncio.run(door.ready(["m"]))
    for row in door.cassette.rows():
        assert b"sk-12345678" not in row.call.request + row.reply
        assert b"127.0.0.1" not in row.call.request


def test_address_is_no_part_of_the_key():
    with Loopback() as one, Loopback() as two:
        door = door_of(one)
        [a] = ask(door, request())
        other = Door({"m": {**FAST, "url": two.url}}, door.cassette)
        [b] = ask(other, request())
        assert a == b
        assert not two.requests


def test_usage_that_is_not_reported_is_bounded_and_counted():
    answer = {"choices": [{"message": {"content": "ok"}, "finish_reason": "stop"}]}
    at = handle()
    with Loopback(script=lambda n, body: answer) as server:
        [reply] = ask(door_of(server), request(max_tokens=5), at=at)
    assert reply.estimated
    assert reply.usage.tok_out == 5
    assert at.counts == {"usage_estimated": 1}


def test_pictures_travel_as_png_and_fake_vlm_reads_their_pixels():
    for band in range(3):
        array = np.zeros((4, 9, 3), np.uint8)
        array[:, band * 3 : band * 3 + 3] = 200
        message = Message("user", "A) left\nB) middle\nC) right", (Picture.of(array),))
        with Loopback() as server:
            door = door_of(server, model=FAKE_VLM, capabilities={"images": True})
            [reply] = ask(door, Request(messages=(message,)))
            content = server.requests[0]["messages"][0]["content"]
        np.testing.assert_array_equal(picture_of(content), array)
        assert base64.b64decode(content[1]["image_url"]["url"].split(",")[1])[:4] == b"\x89PNG"
        assert brightest_band(array, 3) == band
        assert reply.text == "ABC"[band]
    blind = HttpBackend("m", url="http://127.0.0.1:9/v1", paid=False)
    [error] = asyncio.run(blind.generate([Request(messages=(message,))]))
    assert "images = true" in str(error)


def test_embeddings():
    with Loopback() as server:
        door = door_of(server)

        async def run():
            try:
                return await door.model("m").embed(["a", "b c"], at=handle())
            finally:
                await door.model("m").backend.aclose()

        assert asyncio.run(run()) == [[1.0, 0.0, 1.0], [3.0, 1.0, 1.0]]


def test_one_backend_in_several_event_loops():
    with Loopback() as server:
        door = door_of(server)
        texts = [asyncio.run(door.model("m").generate([request()], at=handle(tick=i)))[0].text for i in range(3)]
        assert len(set(texts)) == 1


def test_a_name_can_be_an_address():
    with Loopback() as server:
        door = Door()
        [reply] = asyncio.run(door.model(f"{server.url}#hash").generate([request()], at=handle()))
        assert reply.text == "ok"
        assert server.requests[0]["model"] == "hash"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"url": "localhost:8000"}, "is not like http"),
        ({"url": "http://user:pw@host/v1"}, "keys go to key_env"),
        ({}, "url"),
        ({"url": "http://h/v1", "attempts": 0}, "must be positive"),
        ({"url": "http://h/v1", "deadline_s": 0}, "must be positive"),
        ({"url": "http://h/v1", "timeout_s": float("nan")}, "must be positive"),
        ({"url": "http://h/v1", "rpm": 0}, "must be positive"),
        ({"url": "http://h/v1", "api": "respones"}, "api"),
        ({"url": "http://h/v1", "schema_style": "json"}, "schema_style"),
        ({"url": "http://h/v1", "api": "responses", "capabilities": {"grammar": True}}, "takes no grammar"),
        ({"url": "http://h/v1", "capabilities": {"jsonschema": True}}, "jsonschema"),
    ],
)
def test_wrong_options(options, says):
    with pytest.raises(CrossplayError, match=says):
        HttpBackend("m", **options)
    assert Capabilities().seed
