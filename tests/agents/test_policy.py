"""Trained policies: equal bits at any batch, masks kept, clear refusals; every shipped one included."""

import csv
import hashlib
import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from crossplay.agents import make_agent
from crossplay.agents.context import Context
from crossplay.agents.policy import SHIPPED, PolicyAgent, shipped
from crossplay.kernel import Block, CrossplayError, batch, columns, loop, make_batch, make_env, pick, play

NAMES = shipped()
WIDTHS = (1, 7, 64)


def views(agent, rows=199):
    """Views and keys of an environment along a random play, as that policy gets them."""
    about = agent.about
    env = make_batch(about["env"], 8, about["options"])
    env.reset(range(8), [bytes([b]) * 16 for b in range(8)])
    keys = np.arange(8 * len(env.seats), dtype=np.uint64).reshape(8, -1)
    seen = []
    for t in range(60):
        seen += [env.obs_array(i) for i in range(len(env.seats))]
        env.step(pick(keys, len(env.action_spec.names), t))
    seen = np.concatenate(seen)
    return seen[:: len(seen) // rows][:rows]


def made(folder, shape=(9,), actions=("a", "b", "c"), hidden=(16, 24), recurrent=True, sample=True, env="walk", seed=0):
    """A policy with random weights."""
    rng, sizes = np.random.default_rng(seed), (int(np.prod(shape)), *hidden)
    tensors = {}
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        tensors |= {f"layers.{i}.weight": rng.normal(size=(b, a)) / np.sqrt(a), f"layers.{i}.bias": rng.normal(size=b)}
    if recurrent:
        m = hidden[-1]
        tensors |= {f"cell.weight_{k}": rng.normal(size=(3 * m, m)) / np.sqrt(m) for k in ("ih", "hh")}
        tensors |= {f"cell.bias_{k}": rng.normal(size=3 * m) for k in ("ih", "hh")}
    tensors |= {"head.weight": rng.normal(size=(len(actions), hidden[-1])), "head.bias": rng.normal(size=len(actions))}
    path = folder / "made.safetensors"
    save_file({k: v.astype(np.float32) for k, v in tensors.items()}, path)
    network = {"hidden": list(hidden), "activation": "tanh", "recurrent": recurrent, "squash": False}
    about = {
        "format": 1, "env": env, "version": 1, "options": {}, "shape": list(shape), "actions": list(actions), "network": network,
        "sample": sample, "algorithm": "none", "seed": seed, "env_steps": 0, "config": {}, "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }  # fmt: skip
    path.with_suffix(".json").write_text(json.dumps(about))
    return PolicyAgent(path)


def same_at_all_widths(agent, x, memo=None):
    whole, kept = agent.logits(x, memo)
    for width in (*WIDTHS, 13):
        parts = [
            agent.logits(x[a : a + width], None if memo is None else memo[a : a + width])
            for a in range(0, len(x), width)
        ]
        assert np.concatenate([p[0] for p in parts]).tobytes() == whole.tobytes()
        if kept is not None:
            assert np.concatenate([p[1] for p in parts]).tobytes() == kept.tobytes()
    order = np.random.default_rng(1).permutation(len(x))
    turned, _ = agent.logits(x[order], None if memo is None else memo[order])
    assert turned.tobytes() == whole[order].tobytes()


# -- what is shipped -------------------------------------------------------------------------------------
def test_what_is_shipped():
    assert [n for n in NAMES if n.startswith("kitchen/cramped_room")] == [
        f"kitchen/cramped_room-{s}" for s in range(1, 6)
    ]
    assert "pitch/soccer-1v1-1" in NAMES


@pytest.mark.parametrize("name", NAMES)
def test_shipped_files(name):
    weights, about = SHIPPED / f"{name}.safetensors", json.loads((SHIPPED / f"{name}.json").read_text())
    assert weights.stat().st_size < 300_000
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == about["sha256"]
    assert name == f"{about['env']}-{about['seed']}" and about["config"]["seed"] == about["seed"]
    with (SHIPPED / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert int(rows[-1]["env_steps"]) == about["env_steps"]
    assert about["trial"]["blocks"] >= 100


@pytest.mark.parametrize("name", NAMES)
def test_shipped_have_equal_bits_at_any_batch(name):
    from crossplay.agents.policy import flat

    agent = make_agent(f"policy:{name}")
    same_at_all_widths(agent, flat(views(agent), agent.about["network"]["squash"]))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sample", [True, False])
def test_shipped_play_equally_under_all_drivers(name, sample):
    agent = make_agent({"type": f"policy:{name}", "sample": sample})
    options = {**agent.about["options"], "horizon": 25}
    env = agent.about["env"]
    lineup = dict.fromkeys(make_env(env, options).seats, agent)
    ats = [Block(3, b) for b in range(70)]
    want = {at: loop(play(make_env(env, options), lineup, at)).world for at in ats[:5]}
    for width in WIDTHS:
        got = {at: outcome.world for at, outcome in columns(make_batch(env, width, options), lineup, ats[: width + 6])}
        assert {at: got[at] for at in ats[:5]} == want
    episodes = [play(make_env(env, options), lineup, at) for at in ats[:5]]
    assert sorted(outcome.world for _, outcome in batch(episodes, 3)) == sorted(want.values())


@pytest.mark.parametrize("name", NAMES)
def test_shipped_see_what_they_were_trained_on(name):
    """When this fails the array view of the environment has changed: train and ship again."""
    from crossplay.train import view_digest

    about = json.loads((SHIPPED / f"{name}.json").read_text())
    assert view_digest(about["env"], about["options"]) == about["views"]


def test_kitchen_policy_cooks():
    agent = make_agent("policy:kitchen/cramped_room-1")
    scores = [
        o.score["return"]
        for _, o in columns(
            make_batch("kitchen/cramped_room", 10), {"p0": agent, "p1": agent}, [Block(1, b) for b in range(10)]
        )
    ]
    assert np.mean(scores) >= 160


def test_playing_imports_no_torch():
    code = "import sys; from crossplay.agents import make_agent; make_agent('policy:kitchen/cramped_room-1'); from crossplay.train import PPO, evaluate; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )


# -- any policy ------------------------------------------------------------------------------------------
def test_memory_has_equal_bits_at_any_batch(tmp_path):
    agent, rng = made(tmp_path), np.random.default_rng(0)
    x = rng.normal(size=(150, 9)).astype(np.float32)
    same_at_all_widths(agent, x)
    _, memo = agent.logits(x, None)
    assert memo.shape == (150, 24) and memo.dtype == np.float32
    same_at_all_widths(agent, x, memo)
    np.testing.assert_array_equal(agent.logits(x, np.zeros_like(memo))[0], agent.logits(x, None)[0])
    assert (agent.logits(x, memo)[0] != agent.logits(x, None)[0]).any()


@pytest.mark.parametrize("sample", [True, False])
def test_masks(tmp_path, sample):
    agent, rng = made(tmp_path, sample=sample, recurrent=False), np.random.default_rng(0)
    x, keys, tick = rng.normal(size=(500, 9)), rng.integers(0, 2**63, 500).astype(np.uint64), np.arange(500)
    legal = rng.random((500, 3)) < 0.4
    legal[np.arange(500), rng.integers(0, 3, 500)] = True
    values, memo = agent.act_array(x, legal, keys, tick, None)
    assert memo is None and legal[np.arange(500), values].all()
    free, _ = agent.act_array(x, None, keys, tick, None)
    np.testing.assert_array_equal(agent.act_array(x, np.ones((500, 3), bool), keys, tick, None)[0], free)


def test_samples_follow_the_probabilities(tmp_path):
    agent = made(tmp_path, recurrent=False)
    x = np.repeat(np.random.default_rng(0).normal(size=(1, 9)), 20_000, 0)
    logits, _ = agent.logits(x.astype(np.float32), None)
    want = np.exp(logits[0].astype(float)) / np.exp(logits[0].astype(float)).sum()
    keys, tick = np.full(20_000, 77, np.uint64), np.arange(20_000)
    got = np.bincount(agent.act_array(x, None, keys, tick, None)[0], minlength=3) / 20_000
    assert (abs(got - want) < 4 * np.sqrt(want * (1 - want) / 20_000)).all()
    agent.sample = False
    assert (agent.act_array(x, None, keys, tick, None)[0] == logits[0].argmax()).all()


def test_memory_travels_through_the_memo(tmp_path):
    """A recurrent policy plays the same under the loop and in columns, and its memo is plain data."""
    env = make_batch("spread", 1)
    agent = made(tmp_path, shape=(18,), actions=env.action_spec.names, env="spread")
    lineup, at = dict.fromkeys(env.seats, agent), Block(0, 1)
    episode = play(make_env("spread"), lineup, at)
    kinds = []
    outcome = loop(
        episode, on_tick=lambda e: kinds.append([None if m is None else np.asarray(m).shape for m in e.memos])
    )
    assert kinds[0] == [None] * 3 and kinds[-1] == [(24,)] * 3
    for width in WIDTHS:
        ((_, same),) = columns(make_batch("spread", width), lineup, [at])
        assert same.world == outcome.world


# -- refusals --------------------------------------------------------------------------------------------
def refusal(call, *args):
    with pytest.raises(CrossplayError) as error:
        call(*args)
    return str(error.value)


def test_wrong_space():
    agent = make_agent("policy:kitchen/cramped_room-1")
    agent.check(make_env("kitchen/cramped_room"), "p1")
    agent.check(make_env("kitchen/cramped_room", {"horizon": 50}), "p0")
    said = refusal(agent.check, make_env("pitch/soccer-1v1"), "left0")
    assert "was trained on kitchen/cramped_room@1 (array 5x4x26, 6 actions: north" in said
    assert "pitch/soccer-1v1@1 has array" in said and "8 actions: noop" in said
    assert "has array 5x5x26" in refusal(agent.check, make_env("kitchen/coordination_ring"), "p0")
    newer = make_env("kitchen/cramped_room")
    newer.version = 2
    assert "this is version 2: train it again" in refusal(agent.check, newer, "p0")


def test_damaged_or_missing_files(tmp_path):
    made(tmp_path)
    path = tmp_path / "made.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert "not those that made.json describes" in refusal(PolicyAgent, path)
    about = json.loads(path.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps({**about, "format": 9}))
    assert "format 9 is not known" in refusal(PolicyAgent, path)
    path.with_suffix(".json").unlink()
    assert "made.json is missing" in refusal(PolicyAgent, path)


def test_names_and_paths(tmp_path):
    made(tmp_path)
    context = Context(folder=tmp_path)
    by_path = make_agent({"type": "policy", "path": "made.safetensors"}, context)
    assert by_path.digest == make_agent("policy:made", context).digest
    (tmp_path / "run").mkdir()
    for suffix in (".safetensors", ".json"):
        (tmp_path / "run" / f"policy{suffix}").write_bytes((tmp_path / f"made{suffix}").read_bytes())
    assert make_agent({"type": "policy", "path": "run"}, context, "mine").name == "mine"
    assert 'Did you mean "kitchen/cramped_room-' in refusal(make_agent, "policy:kitchen/cramped_room-9")
    assert "name one policy" in refusal(make_agent, "policy")
    assert 'unknown option "smaple"' in refusal(make_agent, {"type": "policy:made", "smaple": True})


def test_manifest():
    agent = make_agent({"type": "policy:kitchen/cramped_room-2", "sample": False}, name="cook")
    manifest = agent.manifest()
    assert manifest["sha256"] == agent.digest and manifest["seed"] == 2 and manifest["sample"] is False
    assert manifest["name"] == "cook" and manifest["config"]["total_steps"] >= manifest["env_steps"] - 6400
