"""What endpoints do wrong: each ends within its time, is counted, and is seen."""

import asyncio
import time

import pytest
from asked import handle, request

from crossplay.models import Budget, Door, HttpBackend, Message, ModelDown, ModelError, Request
from crossplay.models.answer import checked_usage
from crossplay.models.loopback import Loopback, Said
from crossplay.models.transport import seconds_to_wait

WAYS = [(api, stream) for api in ("chat", "responses") for stream in (False, True)]
FAST = {"backend": "http", "model": "hash", "paid": False, "base_s": 0.001, "attempts": 2, "timeout_s": 0.3}
LONG = "a text long enough to be cut in two"
SCHEMA = {"type": "object", "properties": {"action": {"enum": ["A", "B"]}}, "required": ["action"]}


def ask(server, asked=None, at=None, **options):
    """(reply or error, door): one call through the door, so that counts and records are seen too."""
    door = Door({"m": {**FAST, "url": server.url, **options}}, budget=Budget(tokens=1_000_000))

    async def run():
        try:
            [reply] = await door.model("m").generate([asked or request()], at=at or handle())
            return reply
        except ModelError as error:
            return error
        finally:
            await door.model("m").backend.aclose()

    return asyncio.run(run()), door


WRONG = {
    "500": (500, "server", 0),
    "429": (Said(status=429, headers={"Retry-After": "0"}), "rate", 0),
    "hang": (Said(wait_s=30), "timeout", 2),
    "disconnect": ("disconnect", "disconnect", 2),
    "not JSON": (Said(raw=b"<html>busy</html>"), "malformed", 2),
    "half a JSON": (Said(raw=b'{"choices":[{"mess'), "malformed", 2),
    "not text": (Said(raw=b"\xff\xfe\x00"), "malformed", 2),
    "another JSON": ({"data": []}, "malformed", 2),
    "a list": (Said(raw=b"[]"), "malformed", 2),
    "empty choices": ({"choices": [], "output": []}, "malformed", 2),
    "no message": ({"choices": [{"index": 0}], "output": None}, "malformed", 2),
    "nameless call": (
        {"choices": [{"message": {"tool_calls": [{"id": "c"}]}}], "output": [{"type": "function_call"}]},
        "malformed",
        2,
    ),
    "error inside 200": ({"error": {"message": "overloaded", "code": 503}}, "server", 0),
    "rate inside 200": ({"error": {"message": "slow down", "code": "rate_limit_exceeded"}}, "rate", 0),
}


@pytest.mark.parametrize(("api", "stream"), WAYS)
@pytest.mark.parametrize("name", WRONG)
def test_trouble_that_stays_ends_in_a_counted_error(name, api, stream):
    said, kind, doubtful = WRONG[name]
    began = time.monotonic()
    with Loopback(script=lambda n, body: said) as server:
        at = handle()
        error, door = ask(server, at=at, api=api, stream=stream)
        assert len(server.requests) == 2
    assert time.monotonic() - began < 10
    assert isinstance(error, ModelError)
    assert (error.kind, error.attempts, error.doubtful) == (kind, 2, doubtful)
    assert "\n" not in str(error)
    assert at.counts == {"retry": 1, **({"maybe_paid_twice": 2} if doubtful else {})}
    assert [row.status for row in door.cassette.rows()] == ["error"]


@pytest.mark.parametrize(("api", "stream"), WAYS)
@pytest.mark.parametrize("name", WRONG)
def test_trouble_that_passes_is_a_counted_retry(name, api, stream):
    with Loopback(script=[WRONG[name][0], "fine"]) as server:
        at = handle()
        reply, _ = ask(server, at=at, api=api, stream=stream)
    assert (reply.text, reply.attempts) == ("fine", 2)
    assert at.counts["retry"] == 1


@pytest.mark.parametrize("end", ["abort", "close"])
@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_truncated_stream_is_never_an_answer(api, end):
    """Cut after every number of events: only the whole answer is taken, and only as a whole."""
    with Loopback() as server:
        for cut in (0, 1, 2, 5, len(LONG), len(LONG) + 1):
            server.script = lambda n, body, cut=cut: Said(text=LONG, cut=cut, end=end)
            error, _ = ask(server, request(f"{cut}"), api=api, stream=True, attempts=1)
            assert isinstance(error, ModelError), cut
            assert (error.kind, error.doubtful) == ("disconnect", 1), cut
        server.script = lambda n, body: Said(text=LONG, cut=len(LONG) + 2, end=end)
        reply, _ = ask(server, request("all"), api=api, stream=True, attempts=1)
        if end == "close":  # the last word has come; only the figures after it are lost
            assert (reply.text, reply.estimated) == (LONG, api == "chat")


@pytest.mark.parametrize("cut", [0.0, 0.3, 0.99])
def test_a_truncated_body_is_never_an_answer(cut):
    with Loopback(script=lambda n, body: Said(text=LONG, cut=cut)) as server:
        error, _ = ask(server)
    assert (error.kind, error.doubtful) == ("disconnect", 2)


@pytest.mark.parametrize(("api", "stream"), [("chat", True), ("responses", True)])
def test_wrong_events(api, stream):
    for raw, kind in ((b"data: {nonsense\n\n", "malformed"), (b'data: {"error":{"message":"x"}}\n\n', "server")):
        with Loopback(
            script=lambda n, body, raw=raw: Said(raw=raw, headers={"Content-Type": "text/event-stream"})
        ) as s:
            error, _ = ask(s, api=api, stream=stream)
        assert error.kind == kind


@pytest.mark.parametrize(("api", "stream"), WAYS)
def test_an_empty_text_is_an_answer_and_a_broken_schema_is_marked(api, stream):
    with Loopback(script=["", "Let me think.", '{"action":"C"}', '{"action":"A"}']) as server:
        reply, _ = ask(server, api=api, stream=stream)
        assert (reply.text, reply.doubt, reply.usage.calls) == ("", "", 1)
        for doubt in ("schema", "schema", ""):
            asked = request("A) up\nB) down", json_schema=SCHEMA)
            reply, _ = ask(server, asked, api=api, stream=stream, capabilities={"json_schema": True})
            assert reply.doubt == doubt


@pytest.mark.parametrize(("api", "stream"), WAYS)
def test_an_answer_without_end_is_no_answer(api, stream, monkeypatch):
    monkeypatch.setattr("crossplay.models.transport.MOST_BYTES", 1 << 20)
    with Loopback(script=lambda n, body: "long " * 300_000) as server:
        error, _ = ask(server, api=api, stream=False, attempts=1, timeout_s=10)
        assert (error.kind, error.doubtful) == ("malformed", 1)
        assert "longer than 1 MiB" in str(error)
        server.script = lambda n, body: Said(
            raw=b"data: {}\n\n" * 150_000, headers={"Content-Type": "text/event-stream"}
        )
        error, _ = ask(server, api=api, stream=True, attempts=1, timeout_s=10)
    assert error.kind == "malformed"


# -- usage that cannot be right ----------------------------------------------------------------------
LIES = [(-5, 1, 0), (10, -1, 0), (10**12, 1, 0), (10, 10**12, 0), (0, 1, 0), (10, 0, 0), (10, 1, 11), (10, 1, -1)]
LIES += [("10", 1, 0), (None, 1, 0), (10, 1.5, 0), (True, 1, 0), (float("1e300"), 1, 0), (10, [], 0)]


@pytest.mark.parametrize("lie", LIES, ids=repr)
@pytest.mark.parametrize(("api", "stream"), WAYS)
def test_a_lie_about_usage_costs_the_upper_bound(lie, api, stream):
    names = ("input", "output") if api == "responses" else ("prompt", "completion")
    detail = {f"{names[0]}_tokens_details": {"cached_tokens": lie[2]}}
    usage = {f"{names[0]}_tokens": lie[0], f"{names[1]}_tokens": lie[1], **detail}
    asked = request(max_tokens=5)
    with Loopback(script=lambda n, body: Said(text="fine", usage=usage)) as server:
        at = handle()
        reply, door = ask(server, asked, at=at, api=api, stream=stream)
    assert (reply.text, reply.doubt, reply.estimated, reply.cached) == ("fine", "usage", True, 0)
    assert (reply.usage.tok_in, reply.usage.tok_out) == asked.bound()
    assert (door.budget.spent.tok_in, door.budget.spent.tok_out) == asked.bound()
    assert (at.counts["usage_estimated"], at.counts["usage_doubted"]) == (1, 1)


def test_what_is_a_possible_usage():
    assert checked_usage((5, 0, None), False, (10, 4)) == (5, 0, 0)
    assert checked_usage((5.0, 4, 5), True, (10, 4)) == (5, 4, 5)
    assert checked_usage((10, 4, 0), True, (10, 4)) == (10, 4, 0)
    assert checked_usage((11, 4, 0), True, (10, 4)) is None
    assert checked_usage((5, 5, 0), True, (10, 4)) is None


@pytest.mark.parametrize("usage", ["many", [1, 2], 7])
def test_usage_that_is_no_table(usage):
    with Loopback(script=[Said(text="fine", usage=usage)]) as server:
        reply, _ = ask(server)
    assert (reply.doubt, reply.usage.tok_out) == ("usage", 256)


# -- time ----------------------------------------------------------------------------------------------
def test_retry_after_in_seconds_is_waited_for():
    with Loopback(script=[Said(status=429, headers={"Retry-After": "0.4"}), "fine"]) as server:
        reply, _ = ask(server)
        assert server.times[1] - server.times[0] >= 0.39
    assert (reply.text, reply.attempts) == ("fine", 2)


def test_retry_after_as_a_date_is_measured_by_the_endpoints_clock():
    day = "Wed, 21 Oct 2015 07:28:{:02d} GMT"
    assert seconds_to_wait({"Retry-After": day.format(30), "Date": day.format(0)}) == 30
    assert seconds_to_wait({"Retry-After": day.format(0), "Date": day.format(30)}) == 0
    assert seconds_to_wait({"Retry-After": day.format(0)}) == 0
    assert seconds_to_wait({"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}) > 1e9
    for nonsense in ("", "soon", "-3", "nan", "inf", "1e999", "9" * 400, "Wed, 99 Oct 2015 07:28:00 GMT"):
        assert seconds_to_wait({"Retry-After": nonsense}) == 0


def test_a_wait_beyond_the_deadline_is_an_error_now():
    with Loopback(script=lambda n, body: Said(status=429, headers={"Retry-After": "3600"})) as server:
        began = time.monotonic()
        error, _ = ask(server, deadline_s=5.0, attempts=4)
        assert len(server.requests) == 1
    assert time.monotonic() - began < 4
    assert (error.kind, error.attempts) == ("rate", 1)
    assert "deadline_s = 5 is over before it may be sent again (the endpoint asks to wait 3600 s)" in str(error)


def test_the_deadline_holds_for_all_attempts_together():
    with Loopback(script=lambda n, body: Said(wait_s=30)) as server:
        began = time.monotonic()
        error, _ = ask(server, timeout_s=0.4, deadline_s=0.6, attempts=50)
        assert 2 <= len(server.requests) <= 3
    assert time.monotonic() - began < 5
    assert error.kind == "timeout"


@pytest.mark.parametrize("api", ["chat", "responses"])
def test_a_stream_that_hangs_halfway_ends_in_time(api):
    with Loopback(script=lambda n, body: Said(text=LONG, cut=7, end="stall")) as server:
        error, _ = ask(server, api=api, stream=True)
    assert (error.kind, error.attempts) == ("timeout", 2)


# -- elsewhere -----------------------------------------------------------------------------------------
def test_a_redirect_is_not_followed_with_the_key():
    with Loopback(script=lambda n, body: Said(status=307, headers={"Location": "http://elsewhere/v1"})) as server:
        error, _ = ask(server)
        assert len(server.requests) == 1
    assert error.kind == "request"
    assert "redirected to http://elsewhere/v1" in str(error)


def test_no_such_model_or_path_stops_the_run():
    with Loopback(script=lambda n, body: 404) as server, pytest.raises(ModelDown, match="status 404"):
        ask(server)


def test_proxies_come_from_the_environment_and_never_for_loopback(monkeypatch):
    from crossplay.models.transport import _proxy

    monkeypatch.setenv("https_proxy", "http://me:word@proxy.example:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    url, auth = _proxy("https://api.example/v1")
    assert (str(url), auth.login, auth.password) == ("http://proxy.example:3128", "me", "word")
    assert _proxy("https://inside.example/v1") == _proxy("http://127.0.0.1:1/v1") == (None, None)


def test_a_schema_that_no_model_was_sent_is_no_doubt():
    with Loopback(script=["words"]) as server:
        reply, _ = ask(server, request(json_schema=SCHEMA))
    assert reply.doubt == ""


def test_attempts_of_many_calls_do_not_meet_again():
    backend = HttpBackend("m", url="http://127.0.0.1:9/v1", base_s=1.0)
    from crossplay.models.http import _Call

    pauses = []
    for i in range(50):
        call = _Call(backend, "/chat/completions", b"", f"key{i}", 1)
        call.attempts = 1
        assert call._backoff() == call._backoff()
        pauses.append(call._backoff())
    assert len(set(pauses)) == 50
    assert 0.5 <= min(pauses) < 0.6
    assert 0.9 < max(pauses) <= 1.0


def test_requests_that_share_a_message_share_nothing_else():
    with Loopback() as server:
        messages = (Message("user", "A) a\nB) b\nC) c"),)
        replies = [ask(server, Request(messages=messages, seed=i))[0].text for i in range(12)]
    assert len(set(replies)) > 1
