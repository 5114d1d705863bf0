"""`a2a:URL`: agents made with the official SDK fill seats; their manners, their absence, the record."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("a2a")

from a2a_beside import choose, small
from a2a_remote import remote

from crossplay.agents.a2a_form import packed, unpacked
from crossplay.agents.a2a_line import _cleaned
from crossplay.kernel import Action, Agent, Block, CrossplayError, Stop, aio, loop, make_env, pack, play, unpack
from crossplay.models import Door
from crossplay.records.cassette import Cassette

HERE = Path(__file__).parent


class Rule(Agent):
    """The small agent's rule, in process."""

    views = ("text",)

    def act(self, obs):
        name = choose(obs.view("text"), obs.names())
        return Action(name)


def game(name="matrix/prisoners_dilemma", **options):
    return make_env(name, {"rounds": 6, **options} if name.startswith("matrix") else options)


def episode(env, agent, other=None, block=0):
    first, *rest = env.seats
    return play(env, {first: agent, **dict.fromkeys(rest, other or Rule())}, Block(3, block))


def played(url, env=None, other=None, door=None, block=0, **options):
    agent, close = remote(url, door, **options)
    try:
        return loop(episode(env or game(), agent, other, block))
    finally:
        close()


@pytest.fixture(scope="module")
def plain():
    with small("data") as (url, executor):
        yield url, executor


@pytest.mark.parametrize("manner", ["data", "text", "task", "slow", "repair", "rest", "old"])
def test_an_agent_with_any_manners_plays_as_the_same_rule_does_in_process(manner):
    with small(manner) as (url, executor):
        there = played(url)
    here = loop(episode(game(), Rule()))
    assert there.world == here.world and there.score == here.score
    counts = there.counts["row"]
    assert counts["decisions"] == 6
    assert counts["a2a_calls"] == (12 if manner == "repair" else 6)
    assert counts.get("repair", 0) == (6 if manner == "repair" else 0)
    assert len({context for context, *_ in executor.asked}) == 1  # one conversation for one episode and seat


def test_the_kitchen_is_played_alike_too(plain):
    env = make_env("kitchen/cramped_room", {"horizon": 15})
    assert played(plain[0], env).world == loop(episode(make_env("kitchen/cramped_room", {"horizon": 15}), Rule())).world


def test_a_question_tells_the_rules_once_and_no_more_than_the_seat_may_know(plain):
    url, executor = plain
    executor.asked.clear()
    env = game()
    played(url, env)
    texts = [text for _, _, text, _ in executor.asked]
    assert env.rules.strip() in texts[0] and not any(env.rules.strip() in text for text in texts[1:])
    data = executor.asked[1][3]
    assert data["views"]["data"] and data["views"]["text"] and data["tick"] == 1 and data["turn"] == 1
    assert data["last"]["value"] in env.spec(env.seats[0]).names
    assert "exact" not in data and "key" not in data  # the seed is nobody's business


def test_two_episodes_have_two_contexts_even_in_one_block(plain):
    url, executor = plain
    executor.asked.clear()
    played(url), played(url)
    assert len({context for context, *_ in executor.asked}) == 2


def test_confidence_and_words_come_along():
    heard = []

    class Listener(Rule):
        def act(self, obs):
            heard.extend(m.body for m in obs.inbox)
            return super().act(obs)

    with small("talk") as (url, _):
        outcome = played(url, game(rounds=3), Listener())
    mine = [unpack(e.note) for e in outcome.trace() if e.kind == "act" and e.seat == 0]
    assert [note["confidence"] for note in mine] == [0.5] * 3
    assert len(heard) == 2 and all(text.startswith("I go ") for text in heard)


@pytest.mark.parametrize(
    ("manner", "fault", "says"),
    [
        ("nonsense", "invalid", "no move"),
        ("failed", "error", "failed"),
        ("error", "error", "out of order"),
        ("html", "error", "JSON"),
        ("list", "error", "Invalid JSON-RPC"),
        ("huge", "error", "longer than"),
        ("packed", "error", "compressed"),
        ("hang", "timeout", "no answer within"),
    ],
)
def test_bad_manners_are_faults_that_are_counted(manner, fault, says):
    with small(manner) as (url, _):
        env = game(rounds=2)
        outcome = played(url, env, timeout=0.3 if manner == "hang" else 20.0)
    counts = outcome.counts[env.seats[0]]
    assert counts[fault] == 2 and outcome.status in ("terminal", "horizon")
    faults = [e for e in outcome.trace() if e.kind == "fault"]
    assert all(says in str(e.note) for e in faults) and len(faults) == 2


def test_an_agent_that_asks_for_time_gets_it_and_that_is_counted():
    with small("later") as (url, _):
        env = game(rounds=1)
        outcome = played(url, env)
    assert outcome.counts[env.seats[0]]["retry"] == 2 and "error" not in outcome.counts[env.seats[0]]


def test_a_wrong_token_ends_the_run_instead_of_an_episode(monkeypatch):
    monkeypatch.setenv("A2A_TEST", "hush-hush-token-1234")
    with small("refuse") as (url, _), pytest.raises(Stop, match="token is missing or wrong"):
        played(url, token_env="A2A_TEST")


def test_a_token_does_not_come_into_the_record_even_if_the_agent_says_it(monkeypatch, tmp_path):
    monkeypatch.setenv("A2A_TEST", "hush-hush-token-1234")
    door = Door({}, Cassette(tmp_path / "c.sqlite"))
    with small("leak") as (url, _):
        agent, close = remote(url, door, token_env="A2A_TEST")
        env = game(rounds=2)
        agent.check(env, env.seats[0])
        outcome = loop(episode(env, agent))
        close()
    asyncio.run(door.aclose())
    stored = b"".join(p.read_bytes() for p in tmp_path.iterdir())
    assert b"redacted" in stored and b"hush-hush" not in stored
    assert "says [redacted]" in agent.manifest()["card"]["description"]
    assert "hush-hush" not in repr(agent.manifest()) and "hush-hush" not in repr(outcome.events)


def test_a_token_is_cut_out_of_keys_and_of_the_exact_part_which_stays_readable():
    memo = pack({"n": 1, "said": "hush-hush-token-1234"})
    part = {
        "value": 0,
        "hush-hush-token-1234": [1],
        "exact": packed({"rationale": "hush-hush-token-1234", "memo": memo}),
    }
    [found] = _cleaned("hush-hush-token-1234", [part])
    assert list(found) == ["value", "[redacted]", "exact"]
    exact = unpacked(found["exact"])
    assert exact["rationale"] == "[redacted]" and unpack(exact["memo"]) == {"n": 1, "said": "*" * 20}
    assert _cleaned("another", [part]) == [part]


def test_a_token_is_not_sent_to_an_address_that_only_the_card_names(monkeypatch):
    monkeypatch.setenv("A2A_TEST", "hush-hush-token-1234")
    with small("data", where="http://127.0.0.1:9/") as (url, _):
        agent, close = remote(url, token_env="A2A_TEST")
        env = game()
        with pytest.raises(CrossplayError, match="a token is not sent there"):
            agent.check(env, env.seats[0])
        close()


def test_what_a_seat_sees_goes_to_another_address_of_the_card_only_with_trust():
    with small("data") as (there, executor), small("data", where=f"{there}/") as (url, _):
        with pytest.raises(CrossplayError, match="its card names another address.*allow it with --trust"):
            agent, close = remote(url)
            agent.check(game(), "row")
        close()
        assert "its card names another address" in repr(played(url, game(rounds=1)).events)
        assert not executor.asked
        assert played(url, game(rounds=1), trust=True).status == "horizon" and executor.asked


def test_options_are_checked_and_a_file_may_not_send_secrets_away(monkeypatch):
    monkeypatch.setenv("A2A_TEST", "hush-hush-token-1234")
    with pytest.raises(CrossplayError, match="no address"):
        remote("localhost")
    with pytest.raises(CrossplayError, match="no password"):
        remote("http://me:pw@127.0.0.1:1")
    with pytest.raises(CrossplayError, match='"smell" is none of'):
        remote("http://127.0.0.1:1", views=["smell"])
    with pytest.raises(CrossplayError, match="allow it with --trust"):
        remote("https://agents.example", token_env="A2A_TEST")
    with pytest.raises(CrossplayError, match="NO_SUCH_TOKEN holds no token"):
        remote("http://127.0.0.1:1", token_env="NO_SUCH_TOKEN")


def test_an_address_where_nobody_is_is_heard_of_at_plan_time():
    agent, close = remote("http://127.0.0.1:9", retries=0)
    env = game()
    with pytest.raises(CrossplayError, match="cannot be reached") as error:
        agent.check(env, env.seats[0])
    assert error.value.exit_code == 3
    close()


def test_the_manifest_tells_the_card(plain):
    agent, close = remote(plain[0])
    env = game()
    agent.check(env, env.seats[0])
    assert agent.manifest()["card"]["name"] == "small" and agent.manifest()["agent"] == f"a2a:{plain[0]}"
    close()


# -- the record ------------------------------------------------------------------------------------
def test_a_run_is_replayed_without_the_agent(tmp_path):
    door = Door({}, Cassette(tmp_path / "c.sqlite"))
    with small("data") as (url, _):
        first = played(url, door=door)
    asyncio.run(door.aclose())
    strict = Door({}, Cassette(tmp_path / "c.sqlite", "strict"))
    agent, close = remote(url, strict)
    env = game()
    agent.check(env, env.seats[0])  # nobody is called
    again = loop(episode(env, agent))
    asyncio.run(strict.aclose())
    close()
    assert (again.world, again.mind, again.counts) == (first.world, first.mind, first.counts)


def test_faults_are_replayed_as_faults(tmp_path):
    door = Door({}, Cassette(tmp_path / "c.sqlite"))
    with small("failed") as (url, _):
        first = played(url, door=door)
    asyncio.run(door.aclose())
    strict = Door({}, Cassette(tmp_path / "c.sqlite", "strict"))
    again = played(url, door=strict)
    asyncio.run(strict.aclose())
    assert (again.world, again.mind, again.counts) == (first.world, first.mind, first.counts)


class Grim(Agent):
    """Defects from a tick on."""

    def __init__(self, since):
        self.since = since

    def act(self, obs):
        return 1 if obs.tick >= self.since else 0


def test_where_answers_come_from_the_record_the_agent_is_told_what_it_said(plain):
    url, executor = plain
    door = Door()
    played(url, other=Grim(9), door=door)
    executor.asked.clear()
    outcome = played(url, other=Grim(3), door=door)  # equal until the other one defects
    first = executor.asked[0]
    assert first[3]["tick"] == 4 and "So far you have answered" in first[2] and game().rules.strip() in first[2]
    assert all("So far you have answered" not in text for _, _, text, _ in executor.asked[1:])
    assert len(executor.asked) == 2 and outcome.counts["row"]["decisions"] == 6


def test_an_equal_question_after_another_conversation_is_asked_again(plain):
    url, executor = plain
    door = Door()

    class Early(Grim):
        def act(self, obs):
            return 1 if obs.tick == 0 else 0

    played(url, other=Grim(9), door=door)
    executor.asked.clear()
    played(url, other=Early(9), door=door)
    assert [asked[3]["tick"] for asked in executor.asked] == [1, 2, 3, 4, 5]


# -- an agent that dies ----------------------------------------------------------------------------
def begin(port, manner="data"):
    process = subprocess.Popen(
        [sys.executable, str(HERE / "a2a_beside.py"), str(port), manner], stdout=subprocess.PIPE, text=True
    )
    return process, process.stdout.readline().strip()


def test_an_agent_killed_in_the_middle_voids_the_episode_which_is_played_to_its_end_by_the_next():
    process, url = begin(0)
    door = Door()
    agent, close = remote(url, door, retries=1, timeout=10.0)
    whole = loop(episode(game(), Rule()))

    class Killer(Rule):
        def act(self, obs):
            if obs.tick == 3:
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
            return super().act(obs)

    try:
        broken = loop(episode(game(), agent, Killer()))
        assert broken.status == "void" and "cannot be reached" in broken.detail
        process, again = begin(int(url.rpartition(":")[2]))
        assert again == url
        outcome = loop(episode(game(), agent))
        assert outcome.status == whole.status and outcome.world == whole.world
    finally:
        process.kill()
        process.wait()
        close()


def test_a_hanging_agent_misses_the_deadline_of_the_clock():
    with small("hang") as (url, _):
        agent, close = remote(url, timeout=0.4)
        env = game(rounds=2)
        env.clock = "deadline:0.1"

        async def run():
            outcome = await aio(episode(env, agent))
            await agent.door.drain()  # what was asked is answered, and kept, when nobody waits for it
            return outcome

        outcome = asyncio.run(run())
        close()
    assert outcome.counts[env.seats[0]]["timeout"] == 2


def test_a_far_agent_needs_trust_but_for_its_record(tmp_path):
    with pytest.raises(CrossplayError, match="what a seat sees to agents.example"):
        remote("https://agents.example")
    Cassette(tmp_path / "c.sqlite").close()
    agent, _ = remote(
        "https://agents.example", Door({}, Cassette(tmp_path / "c.sqlite", "strict")), token_env="NO_SUCH"
    )
    assert agent.name == "a2a:https://agents.example"


RUN = """
import json, sys
import crossplay
crossplay.run(json.loads(sys.argv[1]), out=sys.argv[2])
"""


@pytest.mark.full
def test_a_killed_run_goes_on_without_asking_again_what_was_answered(tmp_path):
    import json
    import time

    import crossplay
    from crossplay.study.verify import verify

    with small("data") as (url, executor):
        study = {
            "study": {"name": "far", "blocks": 8, "margin": 1.0, "concurrency": 3},
            "environments": {"m": {"name": "matrix/prisoners_dilemma", "options": {"rounds": 12}}},
            "agents": {"far": {"type": f"a2a:{url}"}, "rnd": {"type": "random"}},
            "lineups": {"far+rnd": {"seats": ["far", "rnd"]}},
            "controls": {"floor": False, "ceiling": False, "zero_message": False},
        }
        command = [sys.executable, "-c", RUN, json.dumps(study), str(tmp_path / "run")]
        process = subprocess.Popen(command)
        until = time.monotonic() + 30
        while len(executor.asked) < 40 and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        before = len(executor.asked)
        assert 40 <= before < 96
        assert subprocess.run(command).returncode == 0
        assert 96 <= len(executor.asked) <= 96 + 3  # asked again: what was in flight, at most the concurrency
        crossplay.run(study, out=tmp_path / "whole")
    found = verify(tmp_path / "run", "agents")
    assert found.ok and found.episodes == 8
    worlds = [
        {(r.cell.rpartition("|")[2], r.block): r.world for r in crossplay.open_run(tmp_path / name).records()}
        for name in ("run", "whole")
    ]
    assert worlds[0] == worlds[1]


def test_an_agent_that_trickles_is_late(monkeypatch):
    """Time counts for the whole of a message and of a card, not for each byte."""
    import socket
    import threading

    listener = socket.create_server(("127.0.0.1", 0))

    def trickle():
        with contextlib.suppress(OSError):
            while True:
                line, _ = listener.accept()
                line.recv(4096)
                line.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n")
                for _ in range(100):
                    line.sendall(b" ")
                    threading.Event().wait(0.05)

    threading.Thread(target=trickle, daemon=True).start()
    agent, close = remote(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.3, retries=0)
    env = game()
    with pytest.raises(CrossplayError, match="no answer within 0.3 s"):
        agent.check(env, env.seats[0])
    close()
    listener.close()
