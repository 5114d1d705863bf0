"""One prompt outside studies: which backend a name means, what is free the second time, what it cost."""

import asyncio

import pytest

from crossplay.kernel import CrossplayError
from crossplay.models import Door, Message, ModelError, Request, ScriptedBackend
from crossplay.models.bench import LEVELS, bench
from crossplay.models.direct import ask, connect
from crossplay.models.loopback import Loopback
from crossplay.models.types import Capabilities
from crossplay.records.cassette import Cassette


def question(text="What is it?", **settings):
    return Request(messages=(Message("user", text),), **settings)


def run(door, *requests, name="m"):
    async def go():
        try:
            return await ask(door, name, requests)
        finally:
            await door.aclose()

    return asyncio.run(go())


def test_names_addresses_and_tables():
    assert connect("scripted").name == "scripted"
    table = {"backend": "http", "url": "http://127.0.0.1:1/v1", "model": "real", "paid": False}
    assert connect("m", {"m": table}).served == "real"
    near = connect("http://localhost:8000/v1#tiny", wants=Capabilities(json_schema=True, images=True))
    assert (near.served, near.priced) == ("tiny", "")
    assert near.capabilities == Capabilities(json_schema=True, images=True)
    far = connect("https://api.example.org/v1#gpt-4.1-nano", key_env="MY_KEY")
    assert far.priced == "gpt-4.1-nano"  # another machine's model has a price, or is said to have none
    with pytest.raises(CrossplayError, match=r"does not say which model: write https://api.example.org/v1#MODEL"):
        connect("https://api.example.org/v1")
    with pytest.raises(CrossplayError, match='unknown model "mine". Did you mean "mina"'):
        connect("mine", {"mina": table})
    with pytest.raises(CrossplayError, match='unknown model "smollm2-135n". Did you mean "smollm2-135m"'):
        connect("smollm2-135n")


def test_the_same_question_again_is_free_and_fresh_asks_again(tmp_path):
    file = tmp_path / "calls" / "cassette.sqlite"
    price = {"input": 1.0, "output": 2.0}

    def door(mode="record"):
        return Door({"m": ScriptedBackend("m", price=price)}, Cassette(file, mode=mode))

    first = run(door(), question(), question(seed=2))
    again = run(door(), question(), question(seed=2))
    assert (first.sent, again.sent) == (2, 0)
    assert again.replies == first.replies
    u = [r.usage for r in first.replies]
    assert first.cost.usd == pytest.approx(sum(x.tok_in * 1.0 + x.tok_out * 2.0 for x in u) / 1e6)
    more = run(door(), question(), question(seed=2), question(seed=3))
    assert more.sent == 1
    fresh = run(door("refresh"), question())
    assert fresh.sent == 1
    assert run(door(), question()).sent == 0


def test_n_answers_are_n_calls():
    door = Door({"m": ScriptedBackend("m")})
    asked = run(door, *[question(temperature=1.0)] * 3)
    assert asked.sent == 3
    assert len(asked.replies) == 3


def test_models_of_one_name_at_two_addresses_do_not_answer_for_each_other(tmp_path):
    file = tmp_path / "cassette.sqlite"
    texts = []
    for said in ("from one", "from two"):
        with Loopback(script=lambda number, body, said=said: said) as server:
            backend = connect(f"{server.url}#same")
            texts.append(run(Door({"m": backend}, Cassette(file)), question()).replies[0].text)
    assert texts == ["from one", "from two"]


def test_an_unknown_price_is_said_and_never_nothing():
    with Loopback(script=lambda number, body: "hi") as server:
        table = {"backend": "http", "url": server.url, "model": "nobody-7b"}
        asked = run(Door({"m": connect("m", {"m": table})}), question())
        assert asked.cost.usd is None
        assert 'no price is known for model "nobody-7b"' in asked.cost.unpriced
        free = run(Door({"m": connect(f"{server.url}#nobody-7b")}), question())
        assert (free.cost.usd, free.cost.unpriced, free.cost.price) == (0.0, "", None)


def test_cached_tokens_are_charged_as_such():
    usage = {"prompt_tokens": 1000, "completion_tokens": 10, "prompt_tokens_details": {"cached_tokens": 800}}
    said = {"choices": [{"message": {"content": "x"}, "finish_reason": "stop"}], "usage": usage}
    price = {"input": 2.0, "output": 8.0, "cache_read": 0.5}
    with Loopback(script=lambda number, body: said) as server:
        table = {"backend": "http", "url": server.url, "model": "m", "price": price}
        asked = run(Door({"m": connect("m", {"m": table})}), question("word " * 1200))
    assert asked.replies[0].cached == 800
    assert asked.cost.usd == pytest.approx((200 * 2.0 + 800 * 0.5 + 10 * 8.0) / 1e6)


def test_an_error_that_was_kept_says_so(tmp_path):
    file = tmp_path / "cassette.sqlite"
    with Loopback(script=lambda number, body: 400) as server:
        for hint in (False, True):
            with pytest.raises(ModelError, match="status 400") as caught:
                run(Door({"m": connect(f"{server.url}#m")}, Cassette(file)), question())
            assert ("--fresh asks again" in str(caught.value)) == hint
        assert len(server.requests) == 1


def test_bench_counts_what_it_sent():
    """All that is sent is in the figures, so many at a time as is said, and no prompt was seen before."""
    with Loopback(latency_s=0.02) as server:
        backend = connect(f"{server.url}#m")
        steps = []

        async def go():
            try:
                return await bench(backend, 2, 16, 8, progress=lambda done, total, what: steps.append((done, total)))
            finally:
                await backend.aclose()

        found = asyncio.run(go())
        assert found.usage.calls == len(server.requests) == 1 + 2 * 6 + 2 * sum(LEVELS)
        assert server.most_flying == max(LEVELS)
    assert [level.at_once for level in found.levels] == list(LEVELS)
    assert found.prompt_s.low <= found.prompt_s.median <= found.prompt_s.high
    assert found.prompt_s.n == 2
    assert found.prompt_cpu is None  # nobody told CPU time
    assert steps[-1] == (2 * (6 + len(LEVELS)),) * 2
    prompts = [r["messages"][0]["content"] for r in server.requests]
    assert len({p.split()[0] for p in prompts}) == 1 + 2 + 2 + 2 * sum(LEVELS)  # none begins as another measure's did
    short = asyncio.run(bench(ScriptedBackend("s"), 1, 16, 8, at_once=3))
    assert [level.at_once for level in short.levels] == [1, 2]
    with pytest.raises(CrossplayError, match="repeats 0"):
        asyncio.run(bench(ScriptedBackend("s"), 0))
