"""The door: cassette before model, budget before sending, one note per call, in structural order."""

import asyncio

import pytest
from asked import handle, request

from crossplay.kernel import CrossplayError, Stop, unpack
from crossplay.models import Budget, BudgetSpent, Door, ModelDown, ModelError, Reply, ScriptedBackend
from crossplay.records.cassette import Cassette, Missing


def door_of(cassette=None, budget=None, **options):
    return Door({"m": ScriptedBackend("m", **options)}, cassette, budget)


def ask(door, *requests, at=None):
    return asyncio.run(door.model("m").generate(list(requests), at=at or handle()))


def backend(door):
    return door.model("m").backend


def test_answer_is_recorded_and_used_again():
    door = door_of(answers=("up", "down"))
    first, again = handle(), handle()
    [a] = ask(door, request(), at=first)
    [b] = ask(door, request(), at=again)
    assert a == b
    assert backend(door).calls == 1
    assert first.notes == again.notes  # usage included: a replay costs in the tables what the record cost
    [(path, kind, data, usage)] = first.notes
    assert (path, kind, data["text"], usage.calls) == ((), "model", a.text, 1)
    assert set(data) == {"model", "call", "text", "finish"}


def test_address_and_repetition_are_part_of_the_key():
    door = door_of()
    at = handle()
    ask(door, request(), request(), at=at)  # the same twice at one address: two samples
    assert backend(door).calls == 2
    ask(door, request(), at=handle(tick=1))
    ask(door, request(), at=handle(block=2))
    ask(door, request(), at=handle(seat="p1"))
    ask(door, request(), at=handle(replicate=1))
    ask(door, request(), at=handle(op="begin"))
    ask(door, request(), at=handle().child(1, 2))
    assert backend(door).calls == 8
    ask(door, request(), request(), at=handle())
    assert backend(door).calls == 8


def test_equal_addresses_in_flight_are_sent_once():
    door = door_of(latency_s=0.02)

    async def both():
        model = door.model("m")
        return await asyncio.gather(*(model.generate([request()], at=handle()) for _ in range(3)))

    replies = asyncio.run(both())
    assert backend(door).calls == 1
    assert replies[0] == replies[1] == replies[2]


@pytest.mark.parametrize("at_once", [1, 8, 64])
def test_same_rows_at_any_concurrency(at_once):
    """Keys come from structure, so the cassette holds the same calls whatever the order of arrival."""
    door = door_of(concurrency=at_once, latency_s=0.001)

    async def run():
        model = door.model("m")
        return await asyncio.gather(
            *(model.generate([request(f"q{i % 3}"), request("same")], at=handle(tick=i)) for i in range(30))
        )

    texts = [[r.text for r in replies] for replies in asyncio.run(run())]
    rows = [(r.call.key, r.reply) for r in door.cassette.rows()]
    assert backend(door).most_flying <= at_once
    once = test_same_rows_at_any_concurrency.__dict__.setdefault("first", (texts, rows))
    assert (texts, rows) == once


def test_strict_never_sends(tmp_path):
    door = door_of(Cassette(tmp_path / "c.sqlite"))
    [kept] = ask(door, request("known"))
    asyncio.run(door.aclose())
    strict = door_of(Cassette(tmp_path / "c.sqlite", "strict"), down=True)
    asyncio.run(strict.ready(["m"]))  # nothing is asked, so nothing has to be there
    assert ask(strict, request("known")) == [kept]
    with pytest.raises(Missing, match=r"messages\[1\]\.text from character 0: 'unknown' now, 'known' then"):
        ask(strict, request("unknown"))
    with pytest.raises(Missing, match="tick 9, and nothing else was asked there"):
        ask(strict, request("known"), at=handle(tick=9))
    assert issubclass(Missing, Stop)


def test_a_call_that_failed_for_good_fails_again_in_replay(tmp_path):
    at = handle()
    door = door_of(Cassette(tmp_path / "c.sqlite"), error_rate=1.0)
    with pytest.raises(ModelError, match="scripted failure"):
        ask(door, request(), at=at)
    asyncio.run(door.aclose())
    for mode in ("record", "strict"):
        other = door_of(Cassette(tmp_path / "c.sqlite", mode), error_rate=1.0)
        again = handle()
        with pytest.raises(ModelError, match="scripted failure") as caught:
            ask(other, request(), at=again)
        assert caught.value.kind == "server"
        assert again.notes == at.notes
        assert other.model("m").backend.calls == 0
        other.cassette.close()


def test_down_stops_the_run_and_leaves_no_record():
    door = door_of(down=True)
    with pytest.raises(ModelDown, match="down") as caught:
        ask(door, request())
    assert isinstance(caught.value, Stop)
    assert caught.value.exit_code == 3
    assert len(door.cassette) == 0
    with pytest.raises(ModelDown):
        asyncio.run(door.ready(["m"]))


def test_notes_come_in_the_order_of_requests():
    class Backwards(ScriptedBackend):
        async def generate(self, requests, keys=()):
            await asyncio.sleep(0.02 if "first" in requests[0].messages[1].text else 0)
            return [Reply(text=requests[0].messages[1].text)]

    door = Door({"m": Backwards("m")})
    at = handle()
    ask(door, request("first"), request("second"), at=at)
    assert [n[2]["text"] for n in at.notes] == ["first", "second"]


def test_a_cancelled_agent_leaves_its_paid_answer_in_the_cassette():
    door = door_of(latency_s=0.05)
    at = handle()

    async def cut():
        task = asyncio.create_task(door.model("m").generate([request()], at=at))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [n[2].get("cut") for n in at.notes] == [True]
        await door.drain()

    asyncio.run(cut())
    assert door.cassette.counts()["answered"] == 1
    ask(door, request())
    assert backend(door).calls == 1


def test_budget_is_checked_before_sending():
    door = door_of(budget=Budget(calls=2))
    ask(door, request("1"), at=handle(1))
    ask(door, request("2"), at=handle(2))
    with pytest.raises(BudgetSpent, match="calls = 2 would be passed"):
        ask(door, request("3"), at=handle(3))
    assert backend(door).calls == 2
    assert len(door.cassette) == 2  # no intent of what was not sent
    ask(door, request("1"), at=handle(1))  # what is known stays free


def test_budget_holds_under_concurrency():
    door = door_of(budget=Budget(calls=5), latency_s=0.01)

    async def rush():
        model = door.model("m")
        return await asyncio.gather(
            *(model.generate([request()], at=handle(tick=i)) for i in range(20)), return_exceptions=True
        )

    done = asyncio.run(rush())
    assert sum(isinstance(d, BudgetSpent) for d in done) == 15
    assert backend(door).calls == 5


def test_budget_counts_what_a_killed_run_has_spent(tmp_path):
    door = door_of(Cassette(tmp_path / "c.sqlite"))
    ask(door, request("1"))
    asyncio.run(door.aclose())
    resumed = door_of(Cassette(tmp_path / "c.sqlite"), Budget(calls=1))
    with pytest.raises(BudgetSpent):
        ask(resumed, request("2"))


def test_secrets_never_reach_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("TOY_KEY", "sk-very-secret-value")

    class Leaky(ScriptedBackend):
        secrets = ("sk-very-secret-value",)

        async def generate(self, requests, keys=()):
            return [Reply(text="your key is sk-very-secret-value")]

    path = tmp_path / "c.sqlite"
    door = Door({"m": Leaky("m")}, Cassette(path), redact=lambda t: t.replace("Ada", "[name]"))
    [reply] = ask(door, request("I am Ada and my key is sk-very-secret-value"))
    assert reply.text == "your key is [redacted]"
    row = next(door.cassette.rows())
    assert unpack(row.call.request)["messages"][1]["text"] == "I am [name] and my key is [redacted]"
    asyncio.run(door.aclose())
    assert b"very-secret" not in path.read_bytes()


def test_embeddings_go_through_the_cassette():
    door = door_of()
    at = handle()

    async def embed():
        return await door.model("m").embed(["red cat", "red dog", "stock market"], at=at)

    a, b, c = asyncio.run(embed())
    assert sum(x * y for x, y in zip(a, b, strict=True)) > sum(x * y for x, y in zip(a, c, strict=True))
    assert at.notes[0][2]["embedded"] == 3
    before = len(door.cassette)
    at2 = handle()
    asyncio.run(door.model("m").embed(["red cat", "red dog", "stock market"], at=at2))
    assert len(door.cassette) == before


def test_unknown_models_name_the_nearest():
    with pytest.raises(CrossplayError, match=r'unknown model "smollm2-135". Did you mean "smollm2-135m"'):
        Door().model("smollm2-135")
    with pytest.raises(CrossplayError, match='Did you mean "main"'):
        Door({"main": {"backend": "scripted"}}).model("mian")
    with pytest.raises(CrossplayError, match=r'unknown backend "htp". Did you mean "http"'):
        Door({"m": {"backend": "htp"}}).model("m")
    with pytest.raises(CrossplayError, match='"backend" is missing'):
        Door({"m": {}}).model("m")
    with pytest.raises(CrossplayError, match=r'models.m: unknown option "latency". Did you mean "latency_s"'):
        Door({"m": {"backend": "scripted", "latency": 1}}).model("m")
    with pytest.raises(CrossplayError, match="latency_s"):
        Door({"m": {"backend": "scripted", "latency_s": "fast"}}).model("m")


def test_what_is_stored_is_the_canonical_request_and_its_key_follows_from_it():
    """The door packs a model's identity once; the bytes, and so the keys of older cassettes, stay the same."""
    import hashlib

    from crossplay.kernel import pack
    from crossplay.models import Message, Request
    from crossplay.models.types import Tool
    from crossplay.records.cassette import call_key

    door = door_of(answers=("ä", "b"))
    tool = Tool("look", "looks", {"type": "object", "properties": {"z": {"type": "string"}, "a": {"type": "number"}}})
    asked = [
        request("plain"),
        request("sampled", temperature=0.7, seed=3, top_p=0.5, stop=("x", "y"), template="t"),
        request("limited", json_schema={"type": "object", "b": 1, "a": [1.5, None]}),
        Request(messages=(Message("user", "tools"),), tools=(tool,), tool_choice="look"),
    ]
    at = handle(tick=3).child(1, 2)
    ask(door, *asked, at=at)
    rows = {r.call.request: r for r in door.cassette.rows()}
    for one in asked:
        body = pack(one.canonical(backend(door).identity()))
        digest = hashlib.blake2b(body, digest_size=16).digest()
        assert rows[body].call.key == call_key(digest, at.ordinal, 0)
