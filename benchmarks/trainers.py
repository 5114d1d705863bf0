"""Trains with each framework through a job, then plays what came out, beside random, in blocks that it never saw.

    python -m benchmarks.trainers --env spread --steps 300000 --seeds 1 2 -- sb3 cleanrl skrl rllib

One line of JSON per training: score with its 95 % t interval over blocks, the random agent's, the paired difference,
wall seconds of the training (start of the interpreter included), decisions. The trained seat is the first where agents
fill the others (--fill), else all.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from crossplay.agents import Context, make_agent
from crossplay.jobs.frameworks import command, kit
from crossplay.jobs.registry import Spec, create
from crossplay.jobs.running import Runner
from crossplay.kernel import Block, batch, make_env, play


def scores(env: str, seats: dict[str, Any], blocks: int) -> np.ndarray:
    """The primary metric in blocks 0.. of root 0."""
    episodes = (play(make_env(env), seats, Block(0, b)) for b in range(blocks))
    found = {e.at.block: next(iter(outcome.score.values())) for e, outcome in batch(episodes)}
    return np.array([found[b] for b in range(blocks)])


def interval(x: np.ndarray) -> list[float]:
    """Mean and 95 % t interval."""
    from scipy import stats

    half = stats.sem(x) * stats.t.ppf(0.975, len(x) - 1)
    return [round(float(v), 2) for v in (x.mean(), x.mean() - half, x.mean() + half)]


def one(name: str, args: argparse.Namespace, seed: int) -> dict[str, Any]:
    spec = Spec(
        id=f"{args.env}-{name}-{seed}", name=name, command=command(name), env=args.env, steps=args.steps, seed=seed,
        fill=args.fill or None, config=json.loads(args.config), variables=kit() | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    folder = create(args.out, spec)
    began = time.perf_counter()
    state = Runner(folder).run()
    wall = time.perf_counter() - began
    if state.state != "done":
        return {"worker": name, "env": args.env, "seed": seed, "state": state.state, "why": state.why}
    context = Context(trust=True, folder=Path(), closing=[])
    agent = make_agent(
        {"type": f"worker:{name}", "command": spec.command, "env": kit(), "config": {"checkpoint": str(folder.path.resolve() / "policy")}},
        context,
    )  # fmt: skip
    seats = list(make_env(args.env).seats)
    mine = seats[:1] if args.fill else seats
    other = {s: make_agent(args.fill) for s in seats if s not in mine}
    trained = scores(args.env, dict.fromkeys(mine, agent) | other, args.blocks)
    random = scores(args.env, {s: make_agent("random") for s in mine} | other, args.blocks)
    for close in context.closing:
        close()
    return {
        "worker": name, "env": args.env, "seed": seed, "decisions": state.step, "wall_s": round(wall, 1), "blocks": args.blocks,
        "trained": interval(trained), "random": interval(random), "difference": interval(trained - random),
        "packages": state.worker["about"].get("packages"), "lost_events": state.lost_events,
    }  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", default="spread")
    parser.add_argument("--steps", type=int, default=300_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--blocks", type=int, default=100)
    parser.add_argument("--fill", default="")
    parser.add_argument("--config", default="{}")
    parser.add_argument("--out", type=Path, default=Path("runs/jobs"))
    parser.add_argument("workers", nargs="+")
    given = parser.parse_args()
    for worker in given.workers:
        for number in given.seeds:
            print(json.dumps(one(worker, given, number)), flush=True)
