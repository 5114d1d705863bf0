"""OneFlow: a team's roles in one conversation that only grows, and what a prefix cache makes of it."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossplay.agents.basic import Random
from crossplay.agents.llm import Llm, Settings, Vlm
from crossplay.kernel import Block, CrossplayError, aio, make_env, play
from crossplay.models import Door
from crossplay.models.scripted import ScriptedBackend
from crossplay.teams.single import Conversation, as_single, kv_cost, prefixes
from crossplay.teams.team import make_team

PROTOCOLS = [
    "vote",
    {"name": "vote", "rule": "borda"},
    {"name": "debate", "rounds": 2},
    {"name": "debate", "rounds": 1, "paradigm": "memory"},
    {"name": "debate", "rounds": 1, "pool": {"candidates": 5}},
    "relay",
    {"name": "pipeline", "stages": [{"do": "think"}, {"do": "check"}, {"do": "answer"}]},
    "review",
    "select",
    "plan",
    "verify",
    {"name": "refine", "rounds": 1},
    {"name": "orchestrate", "turns": 2},
    {"name": "tree", "depth": 1, "breadth": 2},
    "route",
    {"name": "graph", "rounds": 1},
]


class Kept(ScriptedBackend):
    """A scripted model that keeps what it was asked."""

    def __init__(self, name="kept", **options):
        super().__init__(name, **options)
        self.requests = []

    async def generate(self, requests, keys=()):
        self.requests += requests
        return await super().generate(requests, keys)

    def _reply(self, request):
        """Words that a double makes up hold no number; these do, so that open questions get an answer."""
        reply = super()._reply(request)
        reply.text = {"ok": "answer: 7"}.get(reply.text, reply.text.replace('"answer":"ok"', '"answer":"answer: 7"'))
        return reply


def models(*backends):
    door = Door({b.name: b for b in backends})
    return [door.model(b.name) for b in backends]


def asked(team, env="qa/synthetic", block=3, seed=0):
    env = make_env(env)
    return asyncio.run(aio(play(env, {env.seats[0]: team}, Block(seed, block))))


def group(protocol, backend, n=3, **settings):
    [model] = models(backend)
    members = [Llm(model, Settings(instructions=f"You are specialist {i}.", **settings)) for i in range(n)]
    return make_team(members, protocol, names=[f"m{i}" for i in range(n)], name="t")


@pytest.mark.parametrize("protocol", PROTOCOLS, ids=str)
@pytest.mark.parametrize("env", ["qa/synthetic", "qa/arithmetic"])
def test_every_request_is_the_one_before_its_answer_and_one_more_turn(protocol, env):
    backend = Kept()
    outcome = asked(as_single(group(protocol, backend)), env)
    assert outcome.status in ("terminal", "horizon"), outcome.detail
    assert len(backend.requests) > 1
    for before, after in zip(backend.requests, backend.requests[1:], strict=False):
        n = len(before.messages)
        assert after.messages[:n] == before.messages
        assert after.messages[n].role == "assistant"
        assert [m.role for m in after.messages[n:]] == ["assistant", "user"]
    assert not outcome.counts[next(iter(outcome.counts))].get("error")


@pytest.mark.parametrize("protocol", ["vote", {"name": "debate", "rounds": 2}, "review", "plan"], ids=str)
def test_the_protocol_is_the_teams_own(protocol):
    def posts(team):
        rows = [e for e in asked(team).trace() if e.kind == "post"]
        return [e.path for e in rows]

    team = group(protocol, Kept())
    assert posts(as_single(team)) == posts(team)


def test_posts_rules_and_the_question_stand_in_the_conversation_once():
    backend = Kept()
    asked(as_single(group({"name": "debate", "rounds": 2}, backend)))
    texts = [m.text for m in backend.requests[-1].messages]
    whole = "\n".join(texts)
    question = make_env("qa/synthetic")
    question.start(Block(0, 3))
    assert whole.count(question.view("solver", "text").strip()) == 1
    assert "What your team has said" not in whole
    assert whole.count("Rules:") == 1
    for i in range(3):
        assert f"m{i}" not in texts[0] and f"specialist {i}" not in texts[0]  # roles come as turns
        assert whole.count(f"You are specialist {i}.") == 3  # once per ask of that role


def test_unreadable_answers_are_asked_again_in_the_same_conversation():
    backend = Kept(malformed_rate=1.0, capabilities={"grammar": False, "json_schema": False})
    outcome = asked(as_single(group("vote", backend)))
    assert outcome.counts["solver"]["repair"] == 3
    for before, after in zip(backend.requests, backend.requests[1:], strict=False):
        assert after.messages[: len(before.messages)] == before.messages


def test_tools_are_united_and_the_conversation_still_only_grows():
    from crossplay.agents.context import Context
    from crossplay.agents.tools import make_toolbox

    backend = Kept()
    [model] = models(backend)
    box = make_toolbox(["calculator"], Context())
    team = make_team([Llm(model, tools=box), Llm(model)], "relay", names=["a", "b"])
    outcome = asked(as_single(team), "qa/arithmetic")
    assert outcome.counts["solver"]["tool_calls"] >= 1
    for before, after in zip(backend.requests, backend.requests[1:], strict=False):
        assert after.messages[: len(before.messages)] == before.messages
        assert after.tools == before.tools != ()


def test_the_same_block_gives_the_same_run_and_another_another():
    digests = {
        (b, t): asked(as_single(group({"name": "debate", "rounds": 1}, Kept())), block=b).mind
        for b in (1, 2)
        for t in range(2)
    }
    assert digests[1, 0] == digests[1, 1] != digests[2, 0]


def test_inside_another_team_the_conversation_goes_on():
    backend = Kept()
    inner = as_single(group("relay", backend, 2))
    other = group("vote", Kept("other"), 1).members[0]
    asked(make_team([inner, other], {"name": "debate", "rounds": 1}, names=["inner", "other"]))
    first, last = backend.requests[0], backend.requests[-1]
    assert len(backend.requests) == 4
    assert last.messages[: len(first.messages)] == first.messages
    kept = Conversation(last.messages[0], last.messages[1:])
    assert Conversation.of(kept.stored()).rest == kept.rest


def test_what_has_no_single_form_is_said():
    one, two = models(Kept("one"), Kept("two"))
    with pytest.raises(CrossplayError, match='a and b have two models, "one" and "two"'):
        as_single(make_team([Llm(one), Llm(two)], "vote", names=["a", "b"]))
    with pytest.raises(CrossplayError, match="b is a random"):
        as_single(make_team([Llm(one), Random()], "vote", names=["a", "b"]))
    with pytest.raises(CrossplayError, match="differ"):
        as_single(make_team([Llm(one), Vlm(one)], "vote", names=["a", "b"]))
    with pytest.raises(CrossplayError, match="silent"):
        as_single(make_team([Llm(one)], "vote", silent=True))


# -- the cost model --------------------------------------------------------------------------------
def test_two_calls_by_hand():
    # prompts 100 and 160 with answers 20 and 10: of the second prompt 120 tokens stood there before.
    found = kv_cost([100, 160], [20, 10], prefixes([100, 160], [20, 10]), 2.0, 10.0, 0.5)
    assert (found.prompt, found.prefix, found.out) == (260, 120, 30)
    assert found.separate == 2 * 260 + 10 * 30
    assert found.conversation == 0.5 * 120 + 2 * 140 + 10 * 30


CALLS = st.lists(st.tuples(st.integers(1, 10**5), st.integers(0, 10**4)), max_size=12)


@given(CALLS, st.floats(0, 9), st.floats(0, 9), st.floats(0, 1))
def test_the_cache_never_costs_more_and_without_one_both_are_equal(calls, p_in, p_out, share):
    prompts, outs = [c[0] for c in calls], [c[1] for c in calls]
    prefix = prefixes(prompts, outs)
    assert all(0 <= s <= p for s, p in zip(prefix, prompts, strict=True))
    with_cache = kv_cost(prompts, outs, prefix, p_in, p_out, share * p_in)
    assert with_cache.conversation <= with_cache.separate * (1 + 1e-12) + 1e-9
    assert kv_cost(prompts, outs, prefix, p_in, p_out).conversation == pytest.approx(with_cache.separate)
    slow = sum(share * p_in * s + p_in * (p - s) + p_out * o for p, s, o in zip(prompts, prefix, outs, strict=True))
    assert with_cache.conversation == pytest.approx(slow)


def test_a_prefix_longer_than_its_prompt_is_refused():
    with pytest.raises(CrossplayError, match="part of its prompt"):
        kv_cost([10], [1], [11], 1, 1)
