"""Agents of this package served over A2A: to the official client, to our own, and to nobody else."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest

pytest.importorskip("a2a")

import httpx
from a2a.client import ClientConfig, ClientFactory
from a2a.helpers import get_data_parts, get_text_parts, new_data_part, new_message, new_text_part
from a2a.types.a2a_pb2 import Role, SendMessageRequest
from a2a.utils.errors import A2AError
from a2a_remote import remote

from crossplay.agents import make_agent
from crossplay.kernel import Action, Agent, Block, CrossplayError, Msg, Usage, loop, make_env, play
from crossplay.models import Door
from crossplay.records.cassette import Cassette
from crossplay.serve.a2a_agent import a2a_house
from crossplay.serve.answering import Answering, Limits
from crossplay.serve.asked import Malformed, question_of
from crossplay.wire.http.bodies import BODY, DEEPEST

TOKEN = "a-token-that-is-long-enough"


@contextmanager
def served(agent, token="", local=None, **limits):
    agent = make_agent(agent) if isinstance(agent, str) else agent
    answering = Answering(agent, Limits(**limits), local)
    house = a2a_house(answering, token=token, env=local.id if local is not None else "")
    house.open()
    try:
        yield f"http://{house.authority}", answering
    finally:
        house.close()


def both(name, who, token="", options=None, conduct=None, local=False, **asked):
    """(outcome in process, outcome over A2A) with the same agent in all seats."""
    env = make_env(name, options or {})
    at = Block(5, 2)
    here = loop(play(env, dict.fromkeys(env.seats, make_agent(who) if isinstance(who, str) else who), at))
    with served(who, token, make_env(name, options or {}) if local else None) as (url, _):
        agent, close = remote(url, **asked)
        try:
            for seat in env.seats:
                agent.check(env, seat)
            there = loop(play(env, dict.fromkeys(env.seats, agent), at))
        finally:
            close()
    return here, there


# -- the same play -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "who", "options"),
    [
        ("kitchen/cramped_room", "policy:kitchen/cramped_room-1", {"horizon": 20}),
        ("kitchen/cramped_room", "chef", {"horizon": 12}),
        ("kitchen/coordination_ring", "random", {"horizon": 10}),
        ("spread", "scout", {"horizon": 8}),
        ("matrix/prisoners_dilemma", "strategy:tit_for_tat", {"rounds": 8}),
        ("qa/synthetic", "scholar", {}),
    ],
)
def test_an_agent_plays_the_same_game_over_a2a_as_in_process(name, who, options):
    here, there = both(name, make_agent(who), options=options)
    assert there.world == here.world and there.score == here.score
    assert not any("error" in c or "invalid" in c for c in there.counts.values())


def test_a_team_of_members_plays_the_same_game_too():
    from crossplay.teams import make_team

    team = make_team([make_agent("random"), make_agent("random"), make_agent("first-legal")], "vote")
    here, there = both("matrix/rock_paper_scissors", team, options={"rounds": 8})
    assert there.world == here.world


def test_a_member_of_a_team_may_be_somewhere_else():
    from crossplay.teams import make_team

    env = make_env("matrix/rock_paper_scissors", {"rounds": 5})
    with served("random") as (url, _):
        agent, close = remote(url)
        outcomes = []
        for member in (agent, make_agent("random")):
            team = make_team([member, member, make_agent("random")], {"name": "debate", "rounds": 1})
            outcomes.append(loop(play(env, dict.fromkeys(env.seats, team), Block(5, 2))))
        close()
    assert outcomes[0].world == outcomes[1].world


def test_a_skilled_agent_needs_the_environment_at_the_server_and_then_plays_the_same():
    from crossplay.agents import Skilled

    who = Skilled(make_agent("random"))
    here, there = both("kitchen/cramped_room", who, options={"horizon": 12}, local=True)
    assert there.world == here.world


class Counter(Agent):
    """Remembers how often it was asked, spends, speaks and counts."""

    views = ("data",)

    def begin(self, obs):
        return {"n": 100}

    def act(self, obs):
        n = obs.memo["n"] + 1
        obs.count("thoughts")
        obs.note("note", {"n": n}, Usage(calls=1, tok_in=2, tok_out=3))
        return Action(n % 2, [Msg("*", f"turn {n}")], 0.25, "because", memo={"n": n, "big": np.arange(3)})


def test_memo_words_confidence_usage_and_counts_come_back():
    here, there = both("matrix/prisoners_dilemma", Counter(), options={"rounds": 4})
    assert there.world == here.world
    assert there.counts["row"]["remote_thoughts"] == here.counts["row"]["thoughts"] == 4
    for outcome in (here, there):
        acts = [e for e in outcome.trace() if e.kind == "act"]
        assert all(b"confidence" in e.note and b"rationale" in e.note for e in acts)
    spent = [(sum(e.tok_in for e in o.trace()), sum(e.tok_out for e in o.trace())) for o in (here, there)]
    assert spent[0] == spent[1] == (16, 24)


def test_an_agent_that_is_started_anew_goes_on_where_it_was_for_the_client_keeps_its_memo():
    """Episodes go on with recorded answers; what the agent remembered is handed back to it."""
    door, env = Door(), make_env("matrix/prisoners_dilemma", {"rounds": 6})
    whole = loop(play(env, dict.fromkeys(env.seats, Counter()), Block(1)))
    with served(Counter()) as (url, _):
        port = int(url.rpartition(":")[2])
        agent, close = remote(url, door, retries=0)

        class Quits(Exception):
            pass

        def stop(episode):
            if episode.tick == 3:
                raise Quits

        with pytest.raises(Quits):
            loop(play(env, dict.fromkeys(env.seats, agent), Block(1)), on_tick=stop)
        close()
    answering = Answering(Counter())
    house = a2a_house(answering, port=port)
    house.open()
    agent, close = remote(url, door, retries=0)
    again = loop(play(env, dict.fromkeys(env.seats, agent), Block(1)))
    close(), house.close()
    assert again.world == whole.world


def test_a_replay_needs_no_agent(tmp_path):
    door, env = Door({}, Cassette(tmp_path / "c.sqlite")), make_env("matrix/prisoners_dilemma", {"rounds": 4})
    with served(Counter()) as (url, _):
        agent, close = remote(url, door)
        first = loop(play(env, dict.fromkeys(env.seats, agent), Block(1)))
        close()
    asyncio.run(door.aclose())
    strict = Door({}, Cassette(tmp_path / "c.sqlite", "strict"))
    agent, close = remote(url, strict)
    again = loop(play(env, dict.fromkeys(env.seats, agent), Block(1)))
    asyncio.run(strict.aclose())
    assert (again.world, again.mind, again.counts) == (first.world, first.mind, first.counts)


def test_a_study_is_played_verified_and_replayed_with_the_agent_gone(tmp_path):
    import crossplay

    with served("policy:kitchen/cramped_room-1") as (url, _):
        study = {
            "study": {"name": "far", "blocks": 2, "margin": 1.0},
            "environments": {"k": {"name": "kitchen/cramped_room", "options": {"horizon": 10}}},
            "agents": {"far": {"type": f"a2a:{url}"}, "near": {"type": "chef"}},
            "lineups": {"far+near": {"seats": ["far", "near"]}},
            "controls": {"floor": False, "ceiling": False, "zero_message": False},
        }
        crossplay.run(study, out=tmp_path / "run")
    from crossplay.study.verify import verify

    found = verify(tmp_path / "run", "agents")
    assert found.ok and found.reexecuted == found.episodes > 0


# -- the official client ---------------------------------------------------------------------------
def asked(url, *parts, context="c1", message=None, token=""):
    """The answer's (data parts, texts) through the SDK's own client."""

    async def ask():
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with httpx.AsyncClient(headers=headers) as http:
            client = await ClientFactory(ClientConfig(httpx_client=http)).create_from_url(url)
            sent = new_message(list(parts), context_id=context, role=Role.ROLE_USER)
            if message:
                sent.message_id = message
            async for event in client.send_message(SendMessageRequest(message=sent)):
                assert event.HasField("message")
                return get_data_parts(event.message.parts), get_text_parts(event.message.parts)

    return asyncio.run(ask())


FORK = {
    "crossplay": 1,
    "spec": {"kind": "names", "names": ["left", "right", "stay"]},
    "views": {"text": "a fork", "data": {"n": 3}},
}


def question(**more):
    return new_data_part({**FORK, **more})


class Turn(Agent):
    """Counts its turns in its memo."""

    views = ("text", "data")

    def act(self, obs):
        assert obs.view("data") == {"n": 3} and type(obs.view("data")["n"]) is int
        n = (obs.memo or 0) + 1
        return Action(n % 2, memo=n)


def test_the_official_client_is_answered_in_data_and_in_text():
    with served(Turn()) as (url, answering):
        assert asked(url, question()) == ([{"value": "right"}], ["right"])
        assert asked(url, question(turn=1)) == ([{"value": "left"}], ["left"])  # the context remembers
        assert asked(url, question(), context="c2")[1] == ["right"]  # another does not know
        assert len(answering) == 2


def test_the_same_message_is_answered_once():
    with served(Turn()) as (url, _):
        answers = [asked(url, question(turn=i), message="m1")[1] for i in range(3)]
        assert answers == [["right"]] * 3 and asked(url, question(turn=1), message="m2")[1] == ["left"]


def test_legal_names_and_an_illegal_answer():
    class Stubborn(Agent):
        def act(self, obs):
            return 0

    with served(Stubborn()) as (url, _):
        assert asked(url, question(legal=["left"]))[1] == ["left"]
        [found], _ = asked(url, question(legal=["stay"]))
        assert found["fault"]["kind"] == "invalid" and "not legal" in found["fault"]["detail"]


def test_a_policy_reads_an_array_in_either_form():
    env = make_env("kitchen/cramped_room")
    env.start(Block(1))
    seat = env.seats[0]
    array, names = env.view(seat, "array"), list(env.spec(seat).names)
    policy = make_agent({"type": "policy:kitchen/cramped_room-1", "sample": False})
    import base64

    packed = {
        "dtype": array.dtype.str,
        "shape": list(array.shape),
        "base64": base64.b64encode(array.tobytes()).decode(),
    }
    with served(policy) as (url, _):
        answers = [
            asked(url, new_data_part({"spec": {"kind": "names", "names": names}, "views": {"array": view}}))[1]
            for view in (packed, array.tolist())
        ]
    logits, _ = policy.logits(
        np.log1p(np.abs(array.ravel()[None])).astype(np.float32) * np.sign(array.ravel()[None]), None
    )
    assert answers[0] == answers[1] and answers[0][0] in names and np.isfinite(logits).all()


def test_a_message_of_text_alone_is_put_to_agents_that_answer_texts():
    class Echo(Agent):
        views = ("text",)

        def act(self, obs):
            return obs.view("text").upper()

    with served(Echo()) as (url, _):
        assert asked(url, new_text_part("hello"))[1] == ["HELLO"]
    with served("random") as (url, _), pytest.raises(A2AError, match="reads data"):
        asked(url, new_text_part("hello"))


@pytest.mark.parametrize(
    ("part", "says"),
    [
        (new_data_part([1, 2]), "must be an object"),
        (new_data_part({"crossplay": 2, "spec": {"kind": "text"}}), "form 2 is not known"),
        (new_data_part({"spec": {"kind": "dance"}}), "kind 'dance'"),
        (new_data_part({"spec": {"kind": "names"}}), "KeyError"),
        (new_data_part({"spec": {"kind": "box", "shape": [10**9], "low": 0, "high": 1}}), "a box of shape"),
        (new_data_part({"spec": {"kind": "names", "names": ["a"]}, "legal": ["b"]}), "none of the actions"),
        (new_data_part({"spec": {"kind": "text"}, "tick": "late"}), "tick"),
        (
            new_data_part({"spec": {"kind": "text"}, "views": {"array": {"dtype": "O", "shape": [1], "base64": ""}}}),
            "objects",
        ),
        (new_data_part({"spec": {"kind": "text"}, "views": {"text": 3}}), "not text"),
        (new_data_part({"spec": {"kind": "text"}, "exact": "!!"}), "exact part"),
        (new_data_part({"spec": {"kind": "text"}, "exact": "gA=="}), "key"),
        (new_data_part({"spec": {"kind": "text"}, "turn": 3}), "not known here"),
        (new_text_part(" "), "neither"),
    ],
)
def test_questions_that_are_none_are_refused_in_one_line(part, says):
    with served(Turn()) as (url, _), pytest.raises(A2AError, match=says):
        asked(url, part)


def test_what_an_agent_needs_and_does_not_get_is_a_fault_that_says_so():
    with served("policy:kitchen/cramped_room-1") as (url, _):
        [found], _ = asked(url, question())
        assert found["fault"]["kind"] == "error" and "no view 'array'" in found["fault"]["detail"]
        with pytest.raises(A2AError, match="answers names only"):
            asked(url, new_data_part({"spec": {"kind": "text"}, "views": {"text": "x"}}))


def test_a_schema_that_is_none_harms_nobody():
    class Says(Agent):
        def act(self, obs):
            return {"a": 1}

    with served(Says()) as (url, _):
        [found], _ = asked(
            url, new_data_part({"spec": {"kind": "data", "schema": {"type": "quux"}}, "views": {"data": 1}})
        )
        assert found["fault"]["kind"] == "error"


def test_contexts_are_limited_in_number_and_age():
    with served(Turn(), contexts=2, age_s=3600) as (url, answering):
        for name in ("a", "b", "c"):
            asked(url, question(), context=name)
        assert len(answering) == 2
        with pytest.raises(A2AError, match="not known here"):
            asked(url, question(turn=1), context="a")  # never answered as if it were new
        now = answering._clock()
        answering._clock = lambda: now + 4000
        asked(url, question(), context="d")
        assert len(answering) == 1


@pytest.mark.parametrize("n", [1, 3])
def test_at_its_limit_a_server_forgets_no_conversation_that_goes_on(n):
    async def talk():
        answering = Answering(Turn(), Limits(contexts=n))
        for turn in range(3):
            for c in range(n):
                await answering.answer(question_of(FORK | {"turn": turn}), f"c{c}", f"{c}-{turn}")
        await answering.answer(question_of(FORK), "new", "m")
        with pytest.raises(Malformed, match="not known here"):  # the longest unused has gone
            await answering.answer(question_of(FORK | {"turn": 3}), "c0", "0-3")

    asyncio.run(talk())


def test_a_context_that_would_keep_too_much_is_forgotten():
    async def talk():
        answering = Answering(Turn(), Limits(bytes=4096))
        await answering.answer(question_of(FORK | {"rules": "r" * 5000}), "c", "1")
        assert len(answering) == 0
        with pytest.raises(Malformed, match="not known here"):
            await answering.answer(question_of(FORK | {"turn": 1}), "c", "2")

    asyncio.run(talk())


def test_nothing_is_kept_of_a_message_but_the_context():
    with served(Turn()) as (url, answering):
        for i in range(5):
            asked(url, question(turn=i))
        assert len(answering) == 1


# -- the door ----------------------------------------------------------------------------------------
def post(url, body, **headers):
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def announced(url, headers, chunks=()):
    """The status of a request whose body is too long, read before the server hangs up."""
    line = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    line.putrequest("POST", "/")
    for name, value in {"Content-Type": "application/json", **headers}.items():
        line.putheader(name, value)
    line.endheaders()
    with contextlib.suppress(OSError):
        for chunk in chunks:
            line.send(b"%x\r\n%s\r\n" % (len(chunk), chunk))
    status = line.getresponse().status
    line.close()
    return status


def rpc(**part):
    message = {"messageId": "1", "role": "ROLE_USER", "contextId": "c", "parts": [part]}
    return json.dumps({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}).encode()


GOOD = rpc(data={"spec": {"kind": "names", "names": ["a", "b"]}, "views": {"data": {"n": 3}, "text": "x"}})


def test_who_may_ask_and_how_much():
    version = {"A2A-Version": "1.0"}
    with served(Turn(), token=TOKEN) as (url, _):
        good = {**version, "Authorization": f"Bearer {TOKEN}"}
        assert post(url, GOOD, **good)[0] == 200 and b'"value":"b"' in post(url, GOOD, **good)[1]
        assert post(url, GOOD, **version)[0] == 401
        assert post(url, GOOD, **version, Authorization="Bearer wrong-token-wrong-token")[0] == 401
        assert post(url, GOOD, **good, Host="evil.example")[0] == 421
        assert post(url, GOOD, **good, Origin="http://evil.example")[0] == 403
        assert post(url, GOOD, **{**good, "Content-Type": "text/plain"})[0] == 415
        assert post(url, GOOD, **good, **{"Content-Encoding": "gzip"})[0] == 415
        assert announced(url, {**good, "Content-Length": str(BODY + 1)}) == 413
        assert announced(url, {**good, "Transfer-Encoding": "chunked"}, [b"[" * (1 << 20)] * 5) == 413
        assert post(url, b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1), **good)[0] == 400
        status, answer = post(url, b"{not json", **good)
        assert status == 200 and b"-32700" in answer  # JSON-RPC's own word for it
        with urllib.request.urlopen(f"{url}/.well-known/agent-card.json", timeout=10) as card:
            assert "bearer" in json.loads(card.read())["securitySchemes"]


def test_our_client_brings_the_token_and_is_told_where_it_is_wrong(monkeypatch):
    monkeypatch.setenv("A2A_TEST", TOKEN)
    here, there = both("matrix/prisoners_dilemma", Counter(), TOKEN, {"rounds": 2}, token_env="A2A_TEST")
    assert here.world == there.world


def test_another_address_than_loopback_needs_a_token():
    from crossplay.wire.http.guard import token_from

    with pytest.raises(CrossplayError, match="needs a token"):
        token_from("", "0.0.0.0", "--host")


def test_old_clients_are_answered_in_the_old_way():
    message = {
        "messageId": "1",
        "role": "user",
        "contextId": "c",
        "parts": [{"kind": "data", "data": json.loads(GOOD)["params"]["message"]["parts"][0]["data"]}],
    }
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"message": message}}).encode()
    with served(Turn()) as (url, _):
        status, answer = post(url, body)
    found = json.loads(answer)["result"]
    assert status == 200 and found["kind"] == "message" and {"value": "b"} in [p.get("data") for p in found["parts"]]


def test_the_card_says_what_the_agent_can_answer():
    with served("policy:kitchen/cramped_room-1") as (url, _):
        with urllib.request.urlopen(f"{url}/.well-known/agent-card.json", timeout=10) as answer:
            card = json.loads(answer.read())
    assert [s["id"] for s in card["skills"]] == ["answer-names"]
    [extension] = card["capabilities"]["extensions"]
    assert extension["uri"] == "urn:crossplay:seat:1" and extension["params"]["views"] == ["array"]


def test_a_served_agent_killed_in_the_middle_voids_the_episode():
    code = (
        "from crossplay.serve.a2a_agent import a2a_house; from crossplay.serve.answering import Answering;"
        "from crossplay.agents import make_agent; import time;"
        "h = a2a_house(Answering(make_agent('random'))); h.open(); print(h.authority, flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    env = make_env("matrix/prisoners_dilemma", {"rounds": 6})
    agent, close = remote(f"http://{process.stdout.readline().strip()}", retries=0)

    def kill(episode):
        if episode.tick == 2:
            os.kill(process.pid, signal.SIGKILL)
            process.wait()

    try:
        outcome = loop(play(env, dict.fromkeys(env.seats, agent), Block(1)), on_tick=kill)
    finally:
        process.kill()
        process.wait()
        close()
    assert outcome.status == "void" and outcome.ticks == 2


def test_a_language_model_is_served_with_its_usage_and_nothing_is_kept_here():
    from crossplay.agents.context import Context
    from crossplay.serve.staging import quiet_door

    context = Context(door=quiet_door())
    env = make_env("matrix/prisoners_dilemma", {"rounds": 3})
    with served(make_agent("llm:scripted", context)) as (url, _):
        agent, close = remote(url)
        outcome = loop(play(env, dict.fromkeys(env.seats, agent), Block(1)))
        close()
    here = loop(play(env, dict.fromkeys(env.seats, make_agent("llm:scripted")), Block(1)))
    assert outcome.world == here.world
    assert sum(e.tok_in for e in outcome.trace()) == sum(e.tok_in for e in here.trace()) > 0
    assert not context.door.cassette.spent()


def test_the_card_says_where_others_reach_it():
    answering = Answering(make_agent("random"))
    with pytest.raises(CrossplayError, match="--address"):
        a2a_house(answering, "0.0.0.0", token=TOKEN)
    house = a2a_house(answering, token=TOKEN, address="http://agents.example:80")
    house.open()
    try:
        line = http.client.HTTPConnection(house.authority, timeout=10)
        line.request("GET", "/.well-known/agent-card.json", headers={"Host": "agents.example:80"})
        card = json.loads(line.getresponse().read())
    finally:
        house.close()
    assert card["supportedInterfaces"][0]["url"] == "http://agents.example:80/"


def test_rules_that_were_told_once_are_known_in_the_whole_context():
    class Reads(Agent):
        views = ("text",)

        def act(self, obs):
            return obs.names()[len(obs.rules)]

    with served(Reads()) as (url, _):
        assert [asked(url, question(**more))[1] for more in ({"rules": "xx"}, {"turn": 1})] == [["stay"], ["stay"]]
        assert asked(url, question(), context="c2")[1] == ["left"]


@pytest.mark.parametrize(
    ("who", "env", "local", "says"),
    [
        ("policy:kitchen/cramped_room-1", "qa/arithmetic", None, "answers names; .* wants"),
        ("policy:kitchen/cramped_room-1", "qa/synthetic", None, "reads array; qa/synthetic@1.* offers"),
        ("random", "matrix/chicken", "matrix/stag_hunt", "is served for matrix/stag_hunt@1"),
    ],
)
def test_what_cannot_work_is_heard_of_before_anything_is_played(who, env, local, says):
    env = make_env(env)
    with served(who, local=make_env(local) if local else None) as (url, _):
        agent, close = remote(url)
        with pytest.raises(CrossplayError, match=says):
            agent.check(env, env.seats[0])
        close()


def test_a_memo_that_is_none_is_refused():
    from crossplay.agents.a2a_form import packed

    spec = {"kind": "names", "names": ["a", "b"]}
    bad = packed({"key": b"k" * 16, "views": {}, "spec": spec, "memo": b"\xc1"})
    with served(Turn()) as (url, _), pytest.raises(A2AError, match="memo cannot be read"):
        asked(url, new_data_part({"spec": spec, "exact": bad}))


def test_many_episodes_at_once_are_each_their_own():
    from crossplay.kernel.drivers import aio_many

    env = make_env("matrix/prisoners_dilemma", {"rounds": 3})
    with served(Counter()) as (url, answering):
        agent, close = remote(url)
        found = {}
        episodes = [
            play(make_env("matrix/prisoners_dilemma", {"rounds": 3}), dict.fromkeys(env.seats, agent), Block(1, b))
            for b in range(10)
        ]
        asyncio.run(aio_many(episodes, 5, lambda e, o: found.setdefault(e.at.block, o)))
        close()
        assert len(answering) == 20
    for block, outcome in found.items():
        assert outcome.world == loop(play(env, dict.fromkeys(env.seats, Counter()), Block(1, block))).world
