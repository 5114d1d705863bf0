"""Probing: what is found is what the endpoint does, whatever its table says."""

import asyncio

import msgspec
import pytest

from crossplay.models import HttpBackend, LocalBackend, ModelDown, ModelError, catalog
from crossplay.models.loopback import Loopback
from crossplay.models.probe import Probe, probe, record, recorded
from crossplay.models.scripted import ScriptedBackend
from crossplay.models.types import Capabilities


def completion(body, text, *, cached=0, tokens=None, **choice):
    words = sum(len(str(m["content"]).split()) for m in body["messages"])
    usage = {
        "prompt_tokens": words + 5 if tokens is None else tokens,
        "completion_tokens": min(2, body["max_tokens"]),
        "prompt_tokens_details": {"cached_tokens": cached},
    }
    said = {"role": "assistant", "content": text} | choice.pop("message", {})
    return {
        "model": "able-1",
        "choices": [{"index": 0, "message": said, "finish_reason": "stop", **choice}],
        "usage": usage,
    }


def able(number, body):
    """An endpoint that can do everything."""
    if "response_format" in body:
        return completion(body, '{"colour": "teal"}')
    if "grammar" in body:
        return completion(body, "teal")
    if "tools" in body:
        call = {"id": "1", "type": "function", "function": {"name": "pick_colour", "arguments": '{"colour": "teal"}'}}
        return completion(body, "", message={"content": None, "tool_calls": [call]})
    if body.get("logprobs"):
        rows = [{"token": t, "logprob": p} for t, p in (("a", -0.2), ("b", -2.0), ("c", -4.0))]
        return completion(body, "a", logprobs={"content": [{**rows[0], "top_logprobs": rows}]})
    if "seed" in body:
        return completion(body, f"story {body['seed']}")
    if "Two." in str(body["messages"]):
        return completion(body, "x", cached=1200)
    return completion(body, "hello")


def plain(number, body):
    """One that takes every field and heeds none; it tells another story each time, and counts nothing right."""
    return completion(body, f"story {number}", tokens=7)


def asked(script, **table):
    with Loopback(script=script) as server:
        backend = HttpBackend("m", url=server.url, model="m", paid=False, **table)

        async def run():
            try:
                return await probe(backend)
            finally:
                await backend.aclose()

        return asyncio.run(run()), server.requests


def verdicts(found):
    return {f.name: f.found for f in found.findings}


def test_an_endpoint_that_can_do_everything():
    found, _ = asked(able)
    assert verdicts(found) == {
        "json_schema": "yes",
        "grammar": "yes",
        "logprobs": "yes",
        "seed": "yes",
        "tools": "yes",
        "images": "no",
        "prompt cache": "yes",
        "usage": "yes",
    }
    assert found.found == Capabilities(
        grammar=True, json_schema=True, logprobs=True, seed=True, images=False, tools=True
    )
    assert found.served == "able-1"
    assert found.usage.calls == 10
    assert found.broken() == []


def test_an_endpoint_that_ignores_what_it_is_asked():
    found, _ = asked(plain, capabilities={"json_schema": True, "grammar": True, "seed": False})
    assert set(verdicts(found).values()) == {"no"}
    assert found.found == Capabilities(seed=False)
    assert found.broken() == ["json_schema", "grammar"]


def test_an_endpoint_that_refuses():
    def refuse(number, body):
        return 400 if number else "hello"

    found, requests = asked(refuse)
    assert verdicts(found)["json_schema"] == verdicts(found)["tools"] == "no"
    assert "status 400" in found.findings[0].said
    assert len(requests) <= 10  # refusals are not repeated


def test_pictures_are_sent_where_they_are_declared_and_judged_by_what_was_seen():
    """The double decodes both pictures and answers from their pixels; a blind one is found out."""
    with Loopback() as server:
        table = {"url": server.url, "model": "fake-vlm", "paid": False, "capabilities": {"images": True}}
        seeing = asyncio.run(_pictures(table))
    assert seeing == "yes"
    blind, _ = asked(lambda number, body: completion(body, "A"), capabilities={"images": True})
    assert verdicts(blind)["images"] == "unclear"
    unasked, requests = asked(able)
    assert not any("image_url" in str(r) for r in requests)
    assert verdicts(unasked)["images"] == "no"


async def _pictures(table):
    from crossplay.models import probe as module

    backend = HttpBackend("m", **table)
    try:
        return (await module._images(module._Asker(backend), True))[0]
    finally:
        await backend.aclose()


def test_a_model_that_does_not_answer_cannot_be_probed():
    with pytest.raises(ModelError, match="status 400"):
        asked(lambda number, body: 400)
    with pytest.raises(ModelDown):
        asyncio.run(probe(HttpBackend("m", url="http://127.0.0.1:9/v1", model="m", attempts=1)))


def test_what_was_found_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSPLAY_HOME", str(tmp_path))
    assert recorded() == {}
    found, _ = asked(able)
    record(found)
    record(msgspec.structs.replace(found, model="other"))
    assert recorded()["m"] == found
    assert set(recorded()) == {"m", "other"}
    (tmp_path / "models" / "probes.json").write_text("{")
    from crossplay.kernel import CrossplayError

    with pytest.raises(CrossplayError, match=r"probes.json: .*correct or remove it"):
        recorded()


def test_the_scripted_double_and_the_real_weights():
    found = asyncio.run(probe(ScriptedBackend("s")))
    assert isinstance(found, Probe)
    assert verdicts(found)["json_schema"] == verdicts(found)["grammar"] == "yes"
    assert verdicts(found)["logprobs"] == "no"
    pytest.importorskip("xllamacpp")
    try:
        catalog.pull("smollm2-135m")
    except ModelDown as error:
        pytest.skip(str(error))
    real = asyncio.run(probe(LocalBackend("smollm2-135m", context=512)))
    assert real.found == LocalBackend.capabilities
    assert verdicts(real)["prompt cache"] == verdicts(real)["usage"] == "yes"
