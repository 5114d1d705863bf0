"""Environments over HTTP in AgentGym's form, and the environment that plays on such servers."""

import asyncio
import contextlib
import http.client
import json
import math
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from crossplay.agents import make_agent
from crossplay.envs.adapters.agentgym import AgentGymEnv, family
from crossplay.envs.check import check
from crossplay.kernel import Action, Agent, Block, CrossplayError, loop, make_env, pick, play
from crossplay.serve.http_env import EnvServer, Limits, serving_env
from crossplay.wire.http.bodies import BODY, DEEPEST

TOKEN = "a-token-that-is-long-enough"


@contextlib.contextmanager
def running(server, token=""):
    """The address of an environment server in a thread."""
    there, over = {}, threading.Event()

    async def serve():
        stop = there["stop"] = asyncio.Event()
        there["loop"] = asyncio.get_running_loop()
        async with serving_env(server, token=token) as url:
            there["url"] = url
            over.set()
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),), daemon=True)
    thread.start()
    assert over.wait(10)
    try:
        yield there["url"]
    finally:
        there["loop"].call_soon_threadsafe(there["stop"].set)
        thread.join(10)


def server(name="matrix/prisoners_dilemma", seat=None, others="random", root=5, limits=Limits(), **options):  # noqa: B008
    probe = make_env(name, options)
    seat = seat or probe.seats[0]
    agent = make_agent(others) if isinstance(others, str) else others
    return EnvServer(
        lambda: make_env(name, options), seat, {s: agent for s in probe.seats if s != seat}, root, limits=limits
    )


class Walk(Agent):
    """Says names of actions, legal or not, by its turn and block."""

    views = ("data", "text")

    def __init__(self, names, silly=False):
        self.names, self.silly = names, silly

    def act(self, obs):
        if self.silly and obs.tick % 5 == 3:
            return "jump over the moon"
        return self.names[pick(7, len(self.names), obs.tick)]


def ask(url, method, path, body=None, **headers):
    """(status, JSON) of one request."""
    line = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    raw = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    kind = {"Content-Type": "application/json"} if raw is not None else {}
    line.request(method, path, raw, {**kind, **headers})
    answer = line.getresponse()
    found = json.loads(answer.read())
    line.close()
    return answer.status, found


# -- both ends ---------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "others", "options"),
    [
        ("kitchen/cramped_room", "chef", {"horizon": 30}),
        ("kitchen/forced_coordination", "random", {"horizon": 15}),
        ("matrix/prisoners_dilemma", "strategy:tit_for_tat", {"rounds": 10}),
        ("pitch/soccer-1v1", "random", {"horizon": 12}),
        ("minigrid:MiniGrid-Empty-5x5-v0", "random", {}),
    ],
)
@pytest.mark.parametrize("silly", [False, True])
def test_an_episode_over_http_scores_as_the_same_one_in_process(name, others, options, silly):
    there = server(name, others=others, **options)
    seat, names = there.seat, there.probe.spec(there.seat).names
    with running(there) as url:
        env = AgentGymEnv(url, {"horizon": 200, "items": 20, "score": "sum"})
        far = loop(play(env, {"agent": Walk(names, silly)}, Block(1, 3)))
        item = env._item
        detail = ask(url, "GET", f"/detail?id={env._number}")[1]
        env.close()
        assert not there.sessions
    local = make_env(name, options)
    lineup = {s: Walk(names, silly) if s == seat else make_agent(others) for s in local.seats}
    near = loop(play(local, lineup, Block(5, item)))
    assert far.status == "terminal" and far.ticks == near.ticks and detail["data_idx"] == item
    assert far.score["reward_sum"] == pytest.approx(near.totals[0], abs=1e-12)
    assert detail["scores"] == near.score and detail["world"] == near.world.hex()
    assert detail["counts"].get("invalid", 0) == near.counts[seat].get("invalid", 0)
    assert bool(detail["counts"].get("invalid")) == (silly and near.ticks > 3)


def test_a_seat_that_is_not_the_first_and_does_not_always_move():
    there = server("openspiel:tic_tac_toe", seat=make_env("openspiel:tic_tac_toe").seats[1])
    with running(there) as url:
        status, now = ask(url, "POST", "/create", {})
        number, moves = now["id"], 0
        while not now["done"]:
            status, now = ask(url, "POST", "/step", {"id": number, "action": now["available_actions"][0]})
            assert status == 200
            moves += 1
        assert 3 <= moves <= 4 and now["status"] == "terminal"


def test_text_and_data_are_answered_too():
    with running(server("qa/synthetic", others={})) as url:
        now = ask(url, "POST", "/create", {"data_idx": 2})[1]
        kind = ask(url, "GET", f"/detail?id={now['id']}")[1]["action"]
        answer = now["available_actions"][0] if now["available_actions"] else "1"
        assert kind and ask(url, "POST", "/step", {"id": now["id"], "action": answer})[0] == 200


def test_blocks_are_addressed_whatever_was_played_before():
    with running(server("kitchen/cramped_room", horizon=5)) as url:
        number = ask(url, "POST", "/create", {})[1]["id"]
        first = ask(url, "POST", "/reset", {"id": number, "data_idx": 3})[1]
        ask(url, "POST", "/step", {"id": number, "action": "stay"})
        other = ask(url, "POST", "/reset", {"id": number, "data_idx": 4})[1]
        again = ask(url, "POST", "/reset", {"env_idx": number, "session_id": 3})[1]
        assert first == again and first["observation"] != other["observation"]
        assert ask(url, "GET", f"/observation?id={number}") == (200, again["observation"])
        assert ask(url, "GET", f"/available_actions?id={number}") == (200, again["available_actions"])
        assert ask(url, "GET", "/") == (200, "This is environment kitchen/cramped_room.")


def test_the_client_conforms():
    with running(server("kitchen/cramped_room", others="chef", limits=Limits(open=1000), horizon=40)) as url:
        made = []

        def make():
            made.append(AgentGymEnv(url, {"horizon": 8, "items": 10}))
            return made[-1]

        report = check(make, processes=False, blocks=2, ticks=10)
        assert not report.failures, str(report)


# -- a study ----------------------------------------------------------------------------------------
def far_study(url):
    return {
        "study": {"name": "far", "blocks": 3, "margin": 1.0},
        "environments": {
            "far": {"name": f"agentgym:{url}", "options": {"items": 3, "label": "kitchen", "score": "sum"}}
        },
        "agents": {"one": {"type": "random"}},
        "lineups": {"one": {"seats": ["one"]}},
        "controls": {"floor": False, "ceiling": False, "zero_message": False},
    }


def test_a_study_plays_there_and_is_verified_while_the_server_is_there(tmp_path):
    import crossplay
    from crossplay.study.verify import verify

    with running(server("kitchen/cramped_room", others="chef", horizon=10)) as url:
        crossplay.run(far_study(url), out=tmp_path / "run")
        found = verify(tmp_path / "run", "agents")  # the server plays it again
        assert found.ok and found.episodes == found.reexecuted == 3


def test_a_server_records_what_it_served_and_a_block_played_again_is_a_replicate(tmp_path):
    import crossplay
    from crossplay.serve.staging import HttpRun, env_study
    from crossplay.study.verify import verify

    study = env_study("kitchen/cramped_room", others=["chef"], options={"horizon": 10})
    for times in (1, 2):
        served = HttpRun(study, tmp_path / "served")
        with running(served.server) as url:
            crossplay.run(far_study(url), out=tmp_path / f"run{times}")
        served.close()
        assert served.kept == 3
        found = verify(tmp_path / "served", "agents")
        assert found.ok and found.episodes == 3 * times
    records = crossplay.open_run(tmp_path / "served").records()
    assert sorted(r.block for r in records) == [0, 0, 1, 1, 2, 2]
    assert len({(r.block, r.replicate) for r in records}) == 6


# -- what is refused -----------------------------------------------------------------------------------
def test_who_may_ask_and_how_much():
    with running(server(), token=TOKEN) as url:
        good = {"Authorization": f"Bearer {TOKEN}"}
        assert ask(url, "POST", "/create", {}, **good)[0] == 200
        assert ask(url, "POST", "/create", {})[0] == 401
        assert ask(url, "POST", "/create", {}, Authorization="Bearer x")[0] == 401
        assert ask(url, "GET", "/", None, **good, Host="evil.example")[0] == 421
        assert ask(url, "POST", "/create", {}, **good, Origin="http://evil.example")[0] == 403
        assert ask(url, "POST", "/create", {}, **good, **{"Content-Type": "text/plain"})[0] == 415
        assert ask(url, "POST", "/create", None, **good, **{"Content-Length": str(BODY + 1)})[0] == 413
        assert ask(url, "POST", "/create", b"[" * (DEEPEST + 1), **good)[0] == 400
        assert ask(url, "POST", "/create", b"{no", **good)[0] == 400
        assert ask(url, "POST", "/create", [1], **good)[0] == 400


def test_requests_that_cannot_be_answered_say_why():
    with running(server(limits=Limits(open=1))) as url:
        number = ask(url, "POST", "/create", {})[1]["id"]
        assert ask(url, "POST", "/create", {}) == (429, {"error": "1 environments are open; close one"})
        assert ask(url, "POST", "/step", {"id": 77, "action": "x"})[0] == 404
        assert ask(url, "POST", "/step", {"action": "x"})[0] == 400
        assert ask(url, "POST", "/step", {"id": number})[0] == 400
        assert ask(url, "POST", "/reset", {"id": number, "data_idx": 1.5})[0] == 400
        while not ask(url, "POST", "/step", {"id": number, "action": "cooperate"})[1]["done"]:
            pass
        assert ask(url, "POST", "/step", {"id": number, "action": "cooperate"})[0] == 409
        assert ask(url, "POST", "/close", {"id": number}) == (200, {"closed": True})
        assert ask(url, "POST", "/create", {})[0] == 200


def test_what_is_served_for_an_action_that_is_none_is_told():
    with running(server("kitchen/cramped_room", horizon=5)) as url:
        number = ask(url, "POST", "/create", {})[1]["id"]
        now = ask(url, "POST", "/step", {"id": number, "action": "fly"})[1]
        assert now["origin"] == "noop"
        assert "origin" not in ask(url, "POST", "/step", {"id": number, "action": " STAY "})[1]


def test_a_client_is_told_nothing_of_root_options_and_others():
    with running(server("kitchen/cramped_room", others="chef", root=4242, horizon=5)) as url:
        one, two = (ask(url, "POST", "/create", {})[1]["id"] for _ in range(2))
        told = ask(url, "GET", f"/detail?id={one}")[1]
    assert told["env"] == "kitchen/cramped_room@1" and not {"root", "agents"} & set(told)
    assert "4242" not in json.dumps({k: v for k, v in told.items() if k != "id"}) and "chef" not in json.dumps(told)
    assert min(one, two) > 1000 and abs(one - two) > 1000  # nobody guesses another's


class Sleeps(Agent):
    """Takes its time from its second turn on."""

    views = ("data",)

    def __init__(self, first=1):
        self.first, self.woken = first, threading.Event()

    async def act(self, obs):
        while obs.tick >= self.first and not self.woken.is_set():
            await asyncio.sleep(0.01)
        return obs.names()[0]


def test_an_environment_that_could_not_be_begun_is_not_kept():
    there = server("openspiel:tic_tac_toe", "p1", Sleeps(0), limits=Limits(open=2, step_s=0.1))
    with running(there) as url:
        assert [ask(url, "POST", "/create", {})[0] for _ in range(3)] == [504] * 3 and not there.sessions
        assert ask(url, "POST", "/create", {"data_idx": 1.5})[0] == 400 and not there.sessions


def test_an_action_whose_reply_came_too_late_is_not_played_twice():
    other = Sleeps()
    with running(server("matrix/prisoners_dilemma", others=other, limits=Limits(step_s=0.2), rounds=3)) as url:
        number = ask(url, "POST", "/create", {})[1]["id"]
        step = {"id": number, "action": "cooperate"}
        assert ask(url, "POST", "/step", step)[0] == 200
        assert ask(url, "POST", "/step", step)[0] == 504
        assert ask(url, "GET", f"/observation?id={number}") == (
            409,
            {"error": "the other seats are still playing; ask again"},
        )
        other.woken.set()
        for _ in range(2):
            status, said = ask(url, "POST", "/step", step)
            assert status == 409 and "was taken" in said["error"]
        while ask(url, "GET", f"/observation?id={number}")[0] != 200:
            pass
        assert ask(url, "POST", "/step", step)[1]["done"]  # the third of three


def test_idle_environments_are_closed_and_episodes_left_are_counted():
    there = server(limits=Limits(open=1, idle_s=0.0))
    with running(there) as url:
        number = ask(url, "POST", "/create", {})[1]["id"]
        ask(url, "POST", "/step", {"id": number, "action": "defect"})
        assert ask(url, "POST", "/create", {})[0] == 200 and there.left == 1 and len(there.sessions) == 1


def test_a_server_needs_everybody_and_a_text():
    with pytest.raises(CrossplayError, match="nobody fills"):
        EnvServer(lambda: make_env("kitchen/cramped_room"), "p0", {})
    with pytest.raises(CrossplayError, match="no seat 'p9'"):
        EnvServer(lambda: make_env("kitchen/cramped_room"), "p9", {})


# -- servers of others, as they answer ------------------------------------------------------------------
class Shop(BaseHTTPRequestHandler):
    """The other dialect: a bare number from create, env_idx and state, a pair from reset."""

    manner = ""

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.say("a page of the shop")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, body))
        manner = self.server.manner
        if self.path == "/create":
            return self.say(4 if manner != "wrong" else {"no": 1})
        if manner == "leak":
            secret = self.headers["Authorization"].partition(" ")[2]
            if body.get("action") == "click[1]":
                return self.raw(f"no {secret}".encode(), "application/json")
            return self.say({"state": f"you did {secret}", "info": {secret: [secret]}, "available_actions": [secret]})
        if self.path == "/reset":
            return self.say([None, None])
        if manner == "error":
            return self.say({"error": "The id 4 is not valid."})
        if manner == "html":
            return self.raw(b"<html>", "application/json")
        if manner == "hang":
            threading.Event().wait(5)
        if manner in ("trickle", "trickled-head"):
            self.send_response(200) if manner == "trickle" else self.wfile.write(b"HTTP/1.0 200 OK\r\n")
            with contextlib.suppress(OSError):
                if manner == "trickle":
                    self.send_header("Content-Length", "1000")
                    self.end_headers()
                for _ in range(200):
                    self.wfile.write(b" " if manner == "trickle" else b"X")
                    threading.Event().wait(0.05)
            return None
        if manner == "reward":
            return self.say({"state": "x", "reward": "much", "done": False})
        if manner in ("nan", "inf", "wide"):
            odd = {"nan": math.nan, "inf": -math.inf, "wide": 10**400}[manner]
            return self.say({"state": "x", "reward": 0.5, "score": odd, "done": True})
        if self.path == "/step":
            done = body["action"] == "buy"
            return self.say(
                {"state": f"you did {body['action']}", "reward": 0.5 if done else 0.0, "done": done, "info": None}
            )
        self.raw(b'"?"', "application/json", 404)

    def say(self, value):
        self.raw(json.dumps(value).encode(), "application/json")

    def raw(self, body, kind, status=200):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextlib.contextmanager
def shop(manner=""):
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Shop)
    httpd.daemon_threads, httpd.seen, httpd.manner = True, [], manner
    threading.Thread(target=httpd.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{httpd.server_port}", httpd.seen
    finally:
        httpd.shutdown()
        httpd.server_close()


class Buys(Agent):
    views = ("text",)

    def act(self, obs):
        assert obs.view("text").startswith(("a page", "you did"))
        return Action("buy" if obs.tick == 2 else f"click[{obs.tick}]")


def test_the_other_dialect_is_understood():
    with shop() as (url, seen):
        env = AgentGymEnv(url, {"items": 5, "item": "session_id", "label": "shop"})
        outcome = loop(play(env, {"agent": Buys()}, Block(1)))
        env.close()
    assert outcome.status == "terminal" and outcome.score == {"score": 0.5, "reward_sum": 0.5, "done": 1.0}
    assert env.id == 'agentgym/shop@1?item="session_id"&items=5'
    paths = [path for path, _ in seen]
    assert paths == ["/create", "/reset", "/step", "/step", "/step", "/close"]
    assert seen[1][1].keys() == {"env_idx", "session_id"} and seen[2][1] == {"env_idx": 4, "action": "click[0]"}


@pytest.mark.parametrize(
    ("manner", "says"),
    [
        ("error", "not valid"),
        ("html", "no JSON"),
        ("reward", "reward = much"),
        ("nan", "score = nan"),
        ("inf", "score = -inf"),
        ("wide", "score = 1000"),
        ("hang", "no answer within|timed out"),
        ("trickle", "no answer within"),
        ("trickled-head", "no answer within"),
    ],
)
def test_a_server_that_fails_is_a_fault_of_the_environment(manner, says):
    import re

    with shop(manner) as (url, _):
        env = AgentGymEnv(
            url,
            {
                "items": 5,
                "item": "session_id",
                "seconds": 0.3 if manner in ("hang", "trickle", "trickled-head") else 10.0,
            },
        )
        outcome = loop(play(env, {"agent": Buys()}, Block(1)))
    assert outcome.status == "env-fault" and re.search(says, outcome.detail)


def test_a_token_is_cut_out_of_what_a_server_says(monkeypatch):
    monkeypatch.setenv("A2A_TEST", "hush-hush-token-1234")
    with shop("leak") as (url, _):
        env = AgentGymEnv(url, {"item": "session_id", "token_env": "A2A_TEST"})
        outcome = loop(play(env, {"agent": Buys()}, Block(1)))
        assert env._server.post("reset", {})["info"] == {"[redacted]": ["[redacted]"]}
    assert outcome.status == "env-fault" and "no ****" in outcome.detail
    assert "redacted" in env.text() and "hush-hush" not in repr((env.text(), outcome))


def test_a_server_that_is_none_is_named():
    with shop("wrong") as (url, _), pytest.raises(CrossplayError, match="no id in"):
        AgentGymEnv(url, {}).reset(b"0" * 16)
    with pytest.raises(CrossplayError, match="create: ConnectionRefused") as error:
        AgentGymEnv("http://127.0.0.1:9", {}).reset(b"0" * 16)
    assert error.value.exit_code == 3


def test_options_and_addresses_are_checked():
    with pytest.raises(CrossplayError, match="no address"):
        family.make("shop", {})
    with pytest.raises(CrossplayError, match='unknown option "itmes"'):
        family.make("http://127.0.0.1:1", {"itmes": 3})
    with pytest.raises(CrossplayError, match="holds no token"):
        family.make("http://127.0.0.1:1", {"token_env": "NO_SUCH_TOKEN"})
    assert family.code("https://example.org") and not family.code("http://localhost:3")
    assert make_env("agentgym:http://127.0.0.1:1/shop").name == "agentgym:http://127.0.0.1:1/shop"


def test_the_fields_that_clients_of_agentgym_read_are_there():
    """agentenv/envs/textcraft.py and babyai.py read these of create, reset and step; lmrlgym.py asks with "game"."""
    with running(server("kitchen/cramped_room", horizon=4)) as url:
        created = ask(url, "POST", "/create", {"minecraft_dir": "x", "commands": None, "goal": None})[1]
        number = created["id"]
        for now in (
            created,
            ask(url, "POST", "/reset", {"id": number, "data_idx": 0})[1],
            ask(url, "POST", "/reset", {"id": number, "game": 3, "world_type": "Text"})[1],
            ask(url, "POST", "/step", {"id": number, "action": "stay"})[1],
        ):
            assert isinstance(now["observation"], str) and isinstance(now["done"], bool)
            assert isinstance(now["reward"], float) and isinstance(now["score"], float)
            assert "stay" in now["available_actions"]
        assert ask(url, "POST", "/create")[1]["id"] != number  # without a body, as babyai.py asks


def test_what_a_server_says_of_an_item_is_among_the_rules():
    with running(server("kitchen/cramped_room", horizon=4)) as url:
        env = AgentGymEnv(url, {"items": 3, "rules": "Be quick."})
        env.reset(b"0" * 16, 1)
        assert env.rules == f"Be quick.\n\n{make_env('kitchen/cramped_room').rules}"
