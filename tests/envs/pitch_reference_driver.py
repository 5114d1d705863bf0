"""Runs inside the reference package's own interpreter: plays episodes and records all of them.

Usage: python pitch_reference_driver.py OUT.npz < jobs.json

jobs: [{"game": "soccer-2v2", "view": 3, "seed": 1, "chance": 0.2, "options": {...}}, ...]; chance is
the share of random actions among those of a simple ball-chaser. Arrays of episode k are called
"k.name": agents[N, 3], balls[balls, 2] at the start; orders[T, N], passes[T, N], spots[T, 2] as drawn;
actions[T, N] (-1: left out); and per tick, the start included (T + 1): state[N, 5] of x, y, facing,
carrying, cooldown; loose[balls, 2], sorted, (0, 0) where gone; images[N, v, v, 3]; facings[N] as
observed. Per tick played: rewards[T, N], terminated[T, N], truncated[T, N], events[T, 5] as 1 + index
of scorer, passer, receiver, stealer, victim. It uses numpy and the reference package only.
"""

import json
import sys

import numpy as np
from mosaic_multigrid.envs import CONFIGURATIONS

SPORTS = {"soccer": "S", "basketball": "BB", "football": "AF", "collect": "C"}


def reference_id(game):
    sport, size = game.split("-")
    code = SPORTS[sport]
    if size == "solo":
        return f"MosaicMultiGrid-{code}-IndAgObs-v1"
    if sport != "collect" and "0" in size:
        code += "-G" if size.endswith("0") else "-B"
        if size in ("1v0", "0v1"):
            return f"MosaicMultiGrid-{code}-{size}-v1"
    return f"MosaicMultiGrid-{code}-{size}-IndAgObs-v1"


class Chance:
    """The environment's generator, which writes down orders and choices of team-mates."""

    def __init__(self, generator, log):
        self.generator, self.log = generator, log

    def random(self, size):
        drawn = self.generator.random(size=size)
        self.log["order"] = drawn.argsort()
        return drawn

    def integers(self, *args):
        drawn = self.generator.integers(*args)
        self.log["passes"][self.log["who"]] = drawn
        return drawn


def watch(env, log):
    place, drop = env.place_obj, env._handle_drop

    def place_obj(*args, **kwargs):
        log["spot"] = place(*args, **kwargs)
        return log["spot"]

    def handle_drop(index, *args):
        log["who"] = index
        return drop(index, *args)

    env.place_obj, env._handle_drop = place_obj, handle_drop
    env._np_random = Chance(env._np_random, log)


def balls_of(env):
    kinds = env.grid.state[..., 0]
    return [tuple(map(int, p)) for p in np.argwhere(kinds == 6)]


def chase(env, agent, rng, chance):
    """Towards the ball, then towards a goal: enough to make goals, steals and passes happen."""
    if rng.random() < chance:
        return int(rng.integers(-1, 8))
    x, y = map(int, agent.state.pos)
    balls = balls_of(env)
    if agent.state.carrying is not None:
        if rng.random() < 0.06:
            return 5
        left = agent.team_index == min(a.team_index for a in env.agents if True) and agent.index == 0
        if hasattr(env, "goal_pos"):
            cells = [p for p, t in zip(env.goal_pos, env.goal_index, strict=False) if t != agent.team_index]
        elif hasattr(env, "endzone_positions"):
            cells = [p for p, t in env.endzone_positions.items() if t != agent.team_index]
        else:
            cells = [(x + (1 if left else -1), y)]
        goal, near = min(cells, key=lambda c: abs(c[0] - x) + abs(c[1] - y)), 0
    elif balls:
        goal, near = min(balls, key=lambda c: abs(c[0] - x) + abs(c[1] - y)), 1
    else:
        holder = next((a for a in env.agents if a.state.carrying is not None), None)
        if holder is None:
            return 0
        if holder.team_index == agent.team_index:
            return int(rng.integers(1, 4))
        goal, near = tuple(map(int, holder.state.pos)), 1
    dx, dy = goal[0] - x, goal[1] - y
    if dx == 0 and dy == 0:
        return 3
    wanted = (0 if dx > 0 else 2) if abs(dx) >= abs(dy) else (1 if dy > 0 else 3)
    turn = (wanted - int(agent.state.dir)) % 4
    if turn:
        return 1 if turn == 3 else 2
    return 4 if near and abs(dx) + abs(dy) == 1 else 3


def state_of(env):
    return [
        [
            int(a.state.pos[0]),
            int(a.state.pos[1]),
            int(a.state.dir),
            int(a.state.carrying is not None),
            int(getattr(a, "action_cooldown", 0)),
        ]
        for a in env.agents
    ]


def loose_of(env, count):
    found = sorted(balls_of(env))
    return [(0, 0)] * (count - len(found)) + found


def events_of(info):
    goal, passed, steal = (info.get(k) for k in ("goal_scored_by", "pass_completed", "steal_completed"))
    return [
        goal["scorer"] + 1 if goal else 0,
        passed["passer"] + 1 if passed else 0,
        passed["receiver"] + 1 if passed else 0,
        steal["stealer"] + 1 if steal else 0,
        steal["victim"] + 1 if steal else 0,
    ]


def play(job):
    kind, fixed = CONFIGURATIONS[reference_id(job["game"])]
    env = kind(**fixed, view_size=job["view"], **job["options"])
    rng = np.random.default_rng(job["seed"])
    observed, _ = env.reset(seed=job["seed"])
    n = env.num_agents
    first = balls_of(env)
    out = {k: [] for k in ("orders", "passes", "spots", "actions", "rewards", "terminated", "truncated", "events")}
    out["agents"], out["balls"] = [row[:3] for row in state_of(env)], first
    out["state"], out["loose"] = [state_of(env)], [loose_of(env, len(first))]
    out["images"] = [[observed[i]["image"] for i in range(n)]]
    out["facings"] = [[observed[i]["direction"] for i in range(n)]]
    log = {}
    watch(env, log)
    while True:
        log.update(order=np.arange(n), passes=np.full(n, -1), spot=(0, 0), who=-1)
        actions = [chase(env, a, rng, job["chance"]) for a in env.agents]
        given = {i: a for i, a in enumerate(actions) if a >= 0}
        observed, rewards, terminated, truncated, infos = env.step(given)
        out["orders"].append(log["order"])
        out["passes"].append(log["passes"])
        out["spots"].append(log["spot"])
        out["actions"].append(actions)
        out["rewards"].append([float(rewards[i]) for i in range(n)])
        out["terminated"].append([bool(terminated[i]) for i in range(n)])
        out["truncated"].append([bool(truncated[i]) for i in range(n)])
        out["events"].append(events_of(infos[0]))
        out["state"].append(state_of(env))
        out["loose"].append(loose_of(env, len(first)))
        out["images"].append([observed[i]["image"] for i in range(n)])
        out["facings"].append([observed[i]["direction"] for i in range(n)])
        if all(terminated.values()) or all(truncated.values()):
            break
    small = {"rewards": np.float64, "images": np.uint8}
    return {name: np.asarray(value, small.get(name, np.int16)) for name, value in out.items()}


if __name__ == "__main__":
    jobs = json.load(sys.stdin)
    arrays = {f"{k}.{name}": value for k, job in enumerate(jobs) for name, value in play(job).items()}
    np.savez_compressed(sys.argv[1], jobs=json.dumps(jobs), **arrays)
