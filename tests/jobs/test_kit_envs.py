"""Our environments in a foreign trainer: over a process of the engine, as Gymnasium's and as PettingZoo's."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from crossplay_worker import envs, gym, zoo
from crossplay_worker.frames import WireError

from crossplay.jobs.envserver import here
from crossplay.kernel import Block, make_env

ENGINE = [sys.executable, "-m", "crossplay"]


@pytest.fixture(scope="module")
def engine():
    """One engine process for all tests of this module."""
    line = envs.start(ENGINE)
    yield line
    line.close()
    assert line.process.returncode == 0


def rolled(rows, ticks=12):
    found = []
    state = rows.reset(range(rows.rows), range(rows.rows))
    for tick in range(ticks):
        found.append((state.obs, state.reward, state.ended, state.score))
        state = rows.step({s: np.full(rows.rows, tick % 5) for s in rows.trained})
    return found


def test_the_process_and_this_interpreter_give_the_same(engine):
    one = rolled(envs.make("spread", rows=3, root=5, crossplay=engine))
    two = rolled(envs.make("spread", rows=3, root=5, crossplay=here()))
    for (obs, reward, *rest), (obs2, reward2, *rest2) in zip(one, two, strict=True):
        assert rest == rest2 and obs.keys() == obs2.keys() and reward.keys() == reward2.keys()
        assert all(np.array_equal(obs[s], obs2[s]) and obs[s].flags.writeable for s in obs)
        assert all(np.array_equal(reward[s], reward2[s]) for s in reward)


def test_large_observations_go_through_shared_memory(engine):
    rows = envs.make("spread", rows=6, view="image", root=2, crossplay=engine)
    before = engine.conn.codec.ring.generations[:]
    seen = []
    take = engine.conn.codec.ring.get
    engine.conn.codec.ring.get = lambda data: seen.append(1) or take(data)
    state = rows.reset(range(6), range(6))
    engine.conn.codec.ring.get = take
    assert before is not None and len(seen) == 3, "three seats, 6 pictures each"
    env = make_env("spread")
    for row in (0, 5):
        env.start(Block(2, row))
        for seat in env.seats:
            assert np.array_equal(state.obs[seat][row], env.view(seat, "image"))
    kept = {s: state.obs[s].copy() for s in rows.trained}
    for tick in range(20):  # slots are used again and again
        rows.step({s: np.full(6, tick % 5) for s in rows.trained})
    assert all(np.array_equal(kept[s], state.obs[s]) for s in kept), "what was read stays as it was"
    rows.close()


def test_tracks_start_over_and_keep_books(engine):
    tracks = envs.Tracks(envs.make("matrix/stag_hunt", rows=2, options={"rounds": 3}, crossplay=engine))
    assert (tracks.K, tracks.seats) == (4, ["row", "column"])
    step = tracks.reset()
    for _ in range(3):
        assert not step.ended.any()
        step = tracks.step([0, 0, 0, 1])
        assert step.reward.tolist() == [4, 4, 0, 3]
    assert step.ended.all() and step.cut.all() and sorted(step.final) == [0, 1, 2, 3]
    assert tracks.block == 4 and not np.array_equal(step.final[0], step.obs[0])
    assert [(r, m, n) for r, m, n, _ in tracks.take_finished()] == [([12, 12], 12, 3), ([0, 9], 4.5, 3)]
    assert tracks.take_finished() == []
    mean = envs.Tracks(envs.make("matrix/stag_hunt", rows=1, crossplay=engine), reward="mean")
    mean.reset()
    assert mean.step([0, 1]).reward.tolist() == [1.5, 1.5]


def test_tracks_that_start_over_in_the_next_step(engine):
    given = {"rows": 2, "options": {"rounds": 2}, "crossplay": engine}
    same, late = (envs.Tracks(envs.make("matrix/stag_hunt", **given), restart=r) for r in ("same", "next"))
    first, second = same.reset(), late.reset()
    assert np.array_equal(first.obs, second.obs)
    for _ in range(2):
        first, second = same.step([0, 1, 1, 0]), late.step([0, 1, 1, 0])
    assert second.ended.all() and np.array_equal(second.obs[0], first.final[0])
    second = late.step([0, 0, 0, 0])
    assert not second.ended.any() and not second.reward.any() and np.array_equal(second.obs, first.obs)
    assert same.take_finished() == late.take_finished()


def test_what_tracks_cannot_be(engine):
    with pytest.raises(ValueError, match="one after the other"):
        envs.Tracks(envs.make("openspiel:tic_tac_toe", crossplay=engine))
    with pytest.raises(ValueError, match="array or image"):
        envs.Tracks(envs.make("spread", view="text", crossplay=engine))
    with pytest.raises(WireError, match='Did you mean "spread"'):
        envs.make("spraed", crossplay=engine)
    with pytest.raises(WireError, match="agent_0"):
        envs.make("spread", seat="agent_7", fill="random", crossplay=engine)
    with pytest.raises(WireError, match="there is no program"):
        envs.make("spread", crossplay="/nowhere/crossplay")
    rows = envs.make("spread", crossplay=engine)
    rows.reset([0], [0])
    with pytest.raises(WireError, match="BAD_VALUE"):
        rows.step({"agent_0": [object()]})
    rows.close()
    with pytest.raises(AttributeError):
        rows.reset([0], [0])


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["spread", "kitchen/cramped_room", "gym:Pendulum-v1", "openspiel:tic_tac_toe"])
def test_gymnasiums_own_check(engine, name):
    from gymnasium.utils.env_checker import check_env

    env = gym.make(name, crossplay=engine, illegal="replace", options={"horizon": 20} if "kitchen" in name else None)
    check_env(env, skip_render_check=True)
    env.close()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["spread", "matrix/stag_hunt", "pitch/soccer-1v1"])
def test_pettingzoos_own_checks(engine, name):
    from pettingzoo.test import parallel_api_test, parallel_seed_test

    parallel_api_test(zoo.parallel(name, crossplay=engine), num_cycles=60)
    parallel_seed_test(lambda: zoo.parallel(name, crossplay=engine), num_cycles=20)


def test_a_seat_of_a_game_of_turns(engine):
    env = gym.make("openspiel:tic_tac_toe", seat="p1", fill={"p0": "first-legal"}, crossplay=engine)
    _, info = env.reset(seed=3)
    assert info["action_mask"].tolist() == [0] + [1] * 8 and env.action_masks().sum() == 8
    with pytest.raises(WireError, match="not legal"):
        env.step(0)
    total = 0.0
    for cell in (4, 2, 6):  # a diagonal, while the other takes 0, 1, 3
        _, reward, over, cut, info = env.step(cell)
        total += reward
    assert over and not cut and total == 1.0 and info["score"]["return_p1"] == 1.0
    env.close()


def test_illegal_moves_are_replaced_only_when_asked_and_counted(engine):
    env = gym.make("openspiel:tic_tac_toe", fill={"p1": "first-legal"}, illegal="replace", crossplay=engine)
    env.reset(seed=0)
    env.step(4)
    _, _, _, _, info = env.step(4)
    assert info["replaced"] == 1
    env.close()


def test_seeds_name_the_episodes_of_a_study(engine):
    env = gym.make("spread", crossplay=engine)
    mine = make_env("spread")
    for block in (0, 1):
        obs, _ = env.reset(seed=11) if block == 0 else env.reset()
        mine.start(Block(11, block))
        assert np.array_equal(obs, mine.view("agent_0", "array"))
    obs, _ = env.reset(options={"block": 40})
    mine.start(Block(11, 40))
    assert np.array_equal(obs, mine.view("agent_0", "array"))
    env.close()


def test_vectors_of_gymnasium(engine):
    from gymnasium.vector import AutoresetMode

    vec = gym.make_vec("matrix/stag_hunt", rows=2, options={"rounds": 2}, crossplay=engine)
    assert vec.num_envs == 4 and vec.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
    obs, _ = vec.reset()
    assert obs in vec.observation_space
    vec.step(np.zeros(4, int))
    obs, _, over, cut, info = vec.step(np.zeros(4, int))
    assert cut.all() and not over.any() and info["_final_obs"].all()
    assert not np.array_equal(info["final_obs"][0], obs[0])
    one = gym.make_vec("openspiel:tic_tac_toe", rows=3, seats="p0", crossplay=engine)
    _, info = one.reset()
    assert one.num_envs == 3 and info["action_mask"].shape == (3, 9)


def test_training_blocks_are_met_by_no_study():
    roots = {envs.train_root(seed) for seed in range(200)}
    assert len(roots) == 200 and min(roots) > 1 << 32 and max(roots) < 1 << 63


def test_an_engine_that_dies_is_named():
    line = envs.start(ENGINE)
    rows = envs.make("spread", crossplay=line)
    line.process.send_signal(signal.SIGKILL)
    with pytest.raises(WireError, match=r"the engine is gone \(exit code -9\)"):
        rows.reset([0], [0])
    line.close()
    with pytest.raises(WireError, match="CROSSPLAY_FD"):
        Wrong = [sys.executable, "-c", "import sys; print('no CROSSPLAY_FD for me', file=sys.stderr); sys.exit(2)"]
        envs.Started(Wrong)


def test_an_engine_ends_with_its_trainer():
    script = (
        "import sys, os, time\nfrom crossplay_worker import envs\n"
        "line = envs.start([sys.executable, '-m', 'crossplay'])\n"
        "print(line.process.pid, flush=True)\ntime.sleep(60)\n"
    )
    trainer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    pid = int(trainer.stdout.readline())
    trainer.kill()
    trainer.wait()
    until = time.monotonic() + 10
    while time.monotonic() < until and alive(pid):
        time.sleep(0.02)
    assert not alive(pid)


def alive(pid):
    try:  # a zombie whose parent does not wait counts as gone
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_command_says_who_starts_it():
    clean = {k: v for k, v in os.environ.items() if not k.startswith("CROSSPLAY_")}
    done = subprocess.run([*ENGINE, "worker", "envs"], capture_output=True, text=True, env=clean)
    assert done.returncode == 2 and "crossplay_worker.envs.make" in done.stderr
    done = subprocess.run(
        [*ENGINE, "worker", "envs"], capture_output=True, text=True, env=clean | {"CROSSPLAY_FD": "99"}
    )
    assert done.returncode == 2 and "no open descriptor" in done.stderr
