"""Agents in processes of their own: they play as they would in this one, whatever happens to their processes."""

import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from twin import Twin

import crossplay
from crossplay.agents import make_agent
from crossplay.agents.context import Context, NeedsTrust
from crossplay.kernel import Block, CrossplayError, Stop, columns, loop, make_batch, make_env, play
from crossplay.wire.channel import Gone

WORKERS = Path(__file__).parent / "workers"
KITCHEN = {"horizon": 30}


@pytest.fixture
def made():
    """Makes worker agents, and ends their processes."""
    context = Context(trust=True, folder=WORKERS)

    def make(*words, **options):
        return make_agent({"type": "worker", "command": ["python", "steady.py", *words], **options}, context, "worker")

    yield make
    for close in context.closing:
        close()


def kitchen(agent, block=0, mate="chef"):
    env = make_env("kitchen/cramped_room", KITCHEN)
    return play(env, {env.seats[0]: agent, env.seats[1]: make_agent(mate)}, Block(5, block))


@pytest.mark.parametrize("state", ["none", "memo", "own"])
def test_a_worker_plays_as_the_same_rule_in_this_process(made, state):
    worker, twin = made(state), Twin()
    for block in range(3):
        there, here = loop(kitchen(worker, block)), loop(kitchen(twin, block))
        assert there.world == here.world
        assert there.counts["p0"].get("error", 0) == 0


def test_columns_and_single_rows_give_the_same_episodes(made):
    worker = made("none")
    env = make_batch("kitchen/cramped_room", 4, KITCHEN)
    lineup = {env.seats[0]: worker, env.seats[1]: make_agent("chef")}
    ats = [Block(5, b) for b in range(9)]
    found = dict(columns(env, lineup, ats))
    for at in ats:
        assert found[at].world == loop(kitchen(worker, at.block)).world
        assert found[at].world == loop(kitchen(Twin(), at.block)).world


def test_usage_and_counters_of_a_worker_stand_beside_the_score(made):
    outcome = loop(kitchen(made("memo")))
    counts = outcome.counts["p0"]
    assert counts["mended"] == outcome.ticks
    assert (counts["calls"], counts["tok_in"], counts["tok_out"]) == tuple(n * outcome.ticks for n in (1, 2, 3))


def test_a_failing_row_is_a_counted_fault_and_the_worker_goes_on(made):
    outcome = loop(kitchen(made("own", "fail=5")))
    assert outcome.status == "horizon"
    [fault] = [e for e in outcome.events if e[3] == "fault"]
    assert fault[0] == 4 and b"a planted failure" in fault[-2]


def test_asking_again_where_it_may_help(made):
    outcome = loop(kitchen(made("own", "again=5")))
    assert outcome.counts["p0"].get("error", 0) == 0 and not [e for e in outcome.events if e[3] == "fault"]


def test_a_dead_worker_voids_the_episode_and_is_started_again(made):
    worker = made("own", "die=10")
    outcome = loop(kitchen(worker))
    assert outcome.status == "void" and "exit code 9" in outcome.detail
    assert loop(kitchen(worker)).status == "void"
    assert worker.link.deaths == 2 and worker.link.started == 2


def test_a_worker_that_remembers_nothing_is_asked_again_after_a_restart(made):
    worker = made("none", "die=10")
    env = make_batch("kitchen/cramped_room", 1, KITCHEN)
    [(_, outcome)] = columns(env, {env.seats[0]: worker, env.seats[1]: make_agent("chef")}, [Block(5, 0)])
    assert outcome.status == "horizon" and worker.link.deaths >= 2
    assert outcome.world == loop(kitchen(Twin(), 0)).world


@pytest.mark.parametrize("state", ["own", "memo"])
def test_who_still_holds_the_last_connection_does_not_bind_for_the_next_process(made, state):
    worker, here = made(state), loop(kitchen(Twin(), 1)).world
    loop(kitchen(worker))
    old = worker.link.channel
    os.kill(worker.link._child.pid, signal.SIGKILL)
    with pytest.raises(Gone):
        old.ask(worker.link.bind(old), 10.0)
    assert worker.link.channel is not old  # somebody else started the next one meanwhile
    latest, overtaken = worker._channel, iter((False, True))  # between the first time it is asked for and the next

    async def channel():
        return old if next(overtaken, False) else await latest()

    worker._channel = channel
    assert loop(kitchen(worker)).status == "void"
    outcome = loop(kitchen(worker, 1))
    assert worker.link.deaths == 1 and "SIGKILL" in worker.link.reasons[0]
    assert outcome.world == here and outcome.counts["p0"].get("error", 0) == 0


def test_too_many_deaths_stop_the_run(made):
    worker = made("own", "die=1", restarts=1)
    loop(kitchen(worker))
    loop(kitchen(worker))
    with pytest.raises(Stop, match="went away 2 times; the last time it ended with exit code 9"):
        loop(kitchen(worker))


def test_a_hanging_worker_is_a_timeout_then_ended(made):
    worker = made("own", "hang=3", timeout=0.2)
    outcome = loop(kitchen(worker))
    faults = [e for e in outcome.events if e[3] == "fault"]
    assert outcome.status == "void" and b"timeout" in faults[0][-2]
    assert worker.link.deaths == 1


def test_a_late_answer_is_dropped_and_counted(made):
    worker = made("own", "nap3=0.5", timeout=0.4)
    outcome = loop(kitchen(worker))
    assert outcome.status == "horizon" and worker.link.deaths == 0
    faults = [e for e in outcome.events if e[3] == "fault"]
    assert [f[0] for f in faults] == [2] and b"timeout" in faults[0][-2]
    assert outcome.counts["p0"]["late"] == 1


def test_a_worker_that_cannot_come_back_stops_the_run(made, tmp_path):
    worker = made("own", "die=3", f"once={tmp_path / 'started'}")
    assert loop(kitchen(worker)).status == "void"
    with pytest.raises(Stop, match="will not start twice.*it had gone away: it ended with exit code 9"):
        loop(kitchen(worker))


def test_its_memory_is_saved_and_goes_on_in_another_process(made):
    worker, other = made("own", snapshots=True), made("own", snapshots=True)
    episode = kitchen(worker)
    states = []
    loop(episode, on_tick=lambda e: states.append(e.memos[0]))
    assert [s for s in states if s is not None][-1] == 29
    from crossplay.kernel.obs import Observation

    obs = Observation(episode.scopes[0], "begin", 12, memo=12)
    obs.agent = other
    import asyncio

    async def later():
        await other.begin(obs)
        act = Observation(episode.scopes[0], "act", 12, None)
        act.agent = other
        return await other.act(act)

    answer = asyncio.run(later())
    assert answer.memo == 13 and answer.value == Observation(episode.scopes[0], "act", 12).pick(6)


# -- many at once --------------------------------------------------------------------------------------------
def together(agent, episodes):
    """Outcomes of episodes that are played at the same time."""
    import asyncio

    from crossplay.kernel import aio

    async def all_of():
        return await asyncio.gather(*(aio(e) for e in episodes))

    return asyncio.run(all_of())


def test_lineups_side_by_side_do_not_share_the_memory_of_a_worker(made):
    worker = made("own")
    alone = [loop(kitchen(worker, 0, mate)).world for mate in ("chef", "random")]
    outcomes = together(worker, [kitchen(worker, 0, mate) for mate in ("chef", "random")])
    assert [o.world for o in outcomes] == alone
    assert not worker._begun


def test_columns_know_their_seats(made):
    worker = made("none", "byseat=1")
    env = make_batch("kitchen/cramped_room", 2, KITCHEN)
    [(_, there)] = columns(env, dict.fromkeys(env.seats, worker), [Block(5, 0)])
    single = make_env("kitchen/cramped_room", KITCHEN)
    assert there.world == loop(play(single, dict.fromkeys(single.seats, worker), Block(5, 0))).world


def test_columns_keep_what_single_rows_keep(made):
    worker = made("none", "odd=1")
    env = make_batch("kitchen/cramped_room", 4, KITCHEN)
    lineup = {env.seats[0]: worker, env.seats[1]: make_agent("chef")}
    found = dict(columns(env, lineup, [Block(5, b) for b in range(4)]))
    for block in range(4):
        there, here = found[Block(5, block)], loop(kitchen(worker, block))
        assert there.world == here.world
        assert there.counts["p0"]["mended"] == 30 and there.counts["p0"]["invalid"] > 0
        same = ("mended", "invalid", "calls", "tok_in", "tok_out")
        assert {k: there.counts["p0"].get(k) for k in same} == {k: here.counts["p0"].get(k) for k in same}


def test_a_wrong_row_is_its_own_fault_however_many_travel_with_it(made):
    worker = made("own", "badrow=1")
    alone = [loop(kitchen(worker, b)) for b in range(6)]
    at_once = together(worker, [kitchen(worker, b) for b in range(6)])
    assert [o.world for o in at_once] == [o.world for o in alone]
    errors = sum(o.counts["p0"].get("error", 0) for o in alone)
    assert errors > 0 and errors == sum(o.counts["p0"].get("error", 0) for o in at_once)


def test_rows_that_are_too_many_for_a_frame_go_in_several(made):
    worker = made("own")
    alone = [loop(kitchen(worker, b)).world for b in range(6)]
    worker.link.channel.codec.limit = 2 * 5000
    assert [o.world for o in together(worker, [kitchen(worker, b) for b in range(6)])] == alone


def test_one_late_frame_does_not_end_the_worker_however_many_rows_it_had(made):
    worker = made("own", "nap3=0.5", timeout=0.4)
    outcomes = together(worker, [kitchen(worker, b) for b in range(3)])
    assert [o.status for o in outcomes] == ["horizon"] * 3 and worker.link.deaths == 0


# -- what is refused ------------------------------------------------------------------------------------
def test_commands_named_by_files_need_trust():
    with pytest.raises(NeedsTrust, match="--trust"):
        make_agent({"type": "worker", "command": ["python", "steady.py"]}, Context(folder=WORKERS))


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["no-such-program"], 'there is no program "no-such-program"'),
        (["python", "-c", "print('hello there')"], "ended by itself .* hello there"),
        (["python", "-c", "raise SystemExit('broken import')"], "exit code 1; it printed last: broken import"),
        ([], "give either command"),
    ],
)
def test_a_worker_that_does_not_come_up_says_why(command, text):
    with pytest.raises(CrossplayError, match=text):
        make_agent({"type": "worker", "command": command}, Context(trust=True, folder=WORKERS))


def test_seats_it_cannot_play_are_refused_before_anything_is_spent(made):
    env = make_env("kitchen/cramped_room")
    with pytest.raises(CrossplayError, match="BAD_SPACE: it plays nothing today"):
        made("own", config={"refuse": True}).check(env, "p0")
    with pytest.raises(CrossplayError, match="it reads smell; .*offers data"):
        made("own", "smell=1").check(env, "p0")


# -- from elsewhere ---------------------------------------------------------------------------------------
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


def test_a_worker_from_elsewhere_needs_the_token(monkeypatch):
    address = f"tcp://127.0.0.1:{free_port()}"
    with pytest.raises(CrossplayError, match="needs a token"):
        make_agent({"type": "worker", "listen": address}, Context(trust=True))
    monkeypatch.setenv("SEAT_TOKEN", "right")
    started = []

    def come():
        for token in ("wrong", "right"):
            env = {**os.environ, "CROSSPLAY_ADDRESS": address, "CROSSPLAY_TOKEN": token}
            for _ in range(100):  # until the engine listens
                child = subprocess.Popen(
                    [sys.executable, str(WORKERS / "steady.py"), "own"], env=env, stderr=subprocess.PIPE, text=True
                )
                if token == "right":
                    break
                err = child.communicate()[1]
                if "refused" in err and "TOKEN" in err:
                    started.append(child.returncode)
                    break
                time.sleep(0.05)
            started.append(child)

    thread = threading.Thread(target=come)
    thread.start()
    context = Context(trust=True)
    worker = make_agent({"type": "worker", "listen": address, "token_env": "SEAT_TOKEN"}, context, "worker")
    thread.join()
    assert started[0] == 4
    assert loop(kitchen(worker)).world == loop(kitchen(Twin())).world
    assert "right" not in str(worker.manifest())
    for close in context.closing:
        close()
    assert started[-1].wait(5) == 0


def test_strangers_who_say_nothing_do_not_shut_the_worker_out(monkeypatch):
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    monkeypatch.setenv("SEAT_TOKEN", "right")
    silent = []

    def come():
        while len(silent) < 6:
            try:
                silent.append(socket.create_connection(("127.0.0.1", port)))
            except OSError:
                time.sleep(0.05)
        env = {**os.environ, "CROSSPLAY_ADDRESS": address, "CROSSPLAY_TOKEN": "right"}
        silent.append(subprocess.Popen([sys.executable, str(WORKERS / "steady.py"), "own"], env=env))

    thread = threading.Thread(target=come)
    thread.start()
    context = Context(trust=True)
    options = {"type": "worker", "listen": address, "token_env": "SEAT_TOKEN", "start_timeout": 20.0}
    worker = make_agent(options, context, "worker")
    thread.join()
    assert loop(kitchen(worker)).world == loop(kitchen(Twin())).world
    for close in context.closing:
        close()
    for one in silent[:-1]:
        one.close()
    assert silent[-1].wait(5) == 0


# -- killed -------------------------------------------------------------------------------------------------
STUDY = """
[environments.a]
name = "kitchen/cramped_room"
options = { horizon = 40 }
[study]
name = "killed"
blocks = BLOCKS
margin = 1.0
concurrency = 4
[agents.w]
type = "worker"
command = ["PYTHON", "STEADY", "own", "pids=PIDS", "nap=0.001"]
restarts = 1000
[agents.chef]
type = "chef"
[lineups]
mixed = ["w", "chef"]
"""


def study_file(folder, blocks):
    folder.mkdir()
    text = (
        STUDY.replace("BLOCKS", str(blocks))
        .replace("PYTHON", sys.executable)
        .replace("STEADY", str(WORKERS / "steady.py"))
    )
    (folder / "study.toml").write_text(text.replace("PIDS", str(folder / "pids")))
    return folder / "study.toml"


def last_pid(folder):
    try:
        return int((folder / "pids").read_text().split()[-1])
    except (OSError, IndexError):
        return 0


def played(file):
    """(table, what each block came to) of a study, played until no block is missing."""
    for _ in range(20):  # a sitting gives up on a block after three void plays; the next goes on
        try:
            result = crossplay.run(file, file.parent / "run", trust=True).to_dict()
        except CrossplayError as error:  # a sitting whose worker dies at once says so, and plays nothing
            if "before hello" not in str(error):
                raise
            continue
        if result["episodes"] == result["planned"]:
            break
    with crossplay.open_run(file.parent / "run") as run:
        ends = {(r.lineup, r.block): (r.world, r.mind) for r in run.records() if r.status != "void"}
    rows = [{k: row[k] for k in ("env", "lineup", "summary", "comparison", "orders")} for row in result["rows"]]
    return rows, ends


def compare(tmp_path, blocks, kills):
    """A run whose worker is killed so often, beside one that is left alone."""
    file = study_file(tmp_path / "hurt", blocks)
    over, killed = threading.Event(), []

    def kill():
        rng = random.Random(7)
        while len(killed) < kills and not over.is_set():
            time.sleep(0.05 + 0.15 * rng.random())
            pid = last_pid(file.parent)
            if pid and pid not in killed and alive(pid):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        hurt = played(file)
    finally:
        over.set()
        thread.join()
    assert len(killed) == kills
    whole = played(study_file(tmp_path / "whole", blocks))
    assert hurt[1] == whole[1] and len(whole[1]) == 3 * blocks
    assert hurt[0] == whole[0]


def test_a_worker_killed_at_random_moments_changes_nothing(tmp_path):
    compare(tmp_path, 12, 4)


@pytest.mark.full
def test_a_worker_killed_twenty_times_changes_nothing(tmp_path):
    compare(tmp_path, 100, 20)


def test_no_orphan_is_left_when_the_engine_is_killed(tmp_path):
    file = study_file(tmp_path / "orphan", 2000)
    text = file.read_text().replace('"own"', '"own", "nap=30"').replace(', "nap=0.001"', "")
    file.write_text(text)
    command = [sys.executable, "-m", "crossplay", "run", str(file), "--out", str(tmp_path / "run"), "--trust"]
    engine = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    until = time.monotonic() + 60
    while not last_pid(file.parent) and time.monotonic() < until:
        time.sleep(0.05)
    pid = last_pid(file.parent)
    assert pid and alive(pid)
    time.sleep(0.5)  # it sleeps in its first decision now
    engine.kill()
    engine.wait()
    until = time.monotonic() + 5
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive(pid)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
