"""Checks through the engine: play, replay, resume, columns; and other processes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

from crossplay.envs.check.case import LONG, Case, Failed, Skipped
from crossplay.kernel import columns
from crossplay.kernel.agent import Agent
from crossplay.kernel.drivers import loop, recorded
from crossplay.kernel.fast import compiled
from crossplay.kernel.obs import Observation
from crossplay.kernel.play import Episode, Lineup, play
from crossplay.kernel.seeds import Block

__all__ = ["course_digest", "played", "processes"]


class _Anyone(Agent):
    """Uniform over legal moves, from the seat's own stream; wrong once in a while."""

    name, kind = "anyone", "random"

    def act(self, obs: Observation) -> Any:
        return None if obs.pick(50, slot=1) == 0 else obs.spec.draw(obs.key("anyone"), obs.tick, obs.legal)


def played(case: Case) -> str:
    """The engine plays it to an end; replay, resume and columns have the same digest."""
    horizon = case.env.horizon
    if horizon is not None and horizon > LONG:
        raise Skipped(f"the horizon of {horizon} ticks is too long to play")
    lineup = Lineup(dict.fromkeys(case.env.seats, _Anyone()))
    at = Block(271828, "check" if case.env.items is None else 0)  # where questions are listed, a text names one
    shots: dict[int, bytes] = {}

    def keep(episode: Episode) -> None:
        if episode.tick in (0, 7) and episode.tick not in shots:
            shots[episode.tick] = episode.snapshot()

    env = case.fresh()
    outcome = loop(play(env, lineup, at), keep)
    if outcome.status not in ("terminal", "horizon"):
        raise Failed(f"the episode ended as {outcome.status}: {outcome.detail}")
    ways = {
        "replay": loop(play(case.fresh(), recorded(outcome.trace(), env.seats), at)),
        **{f"resume at tick {t}": loop(play(case.fresh(), lineup, at, resume=s)) for t, s in shots.items()},
    }
    with contextlib.suppress(Skipped):
        ((_, ways["the columnar path"]),) = columns(case.wide(2), lineup, [at])
    for name, other in ways.items():
        if (other.world, other.status, other.score) != (outcome.world, outcome.status, outcome.score):
            raise Failed(f"{name} gives another episode ({other.status} {other.detail}) than play ({outcome.status})")
    return f"{outcome.status} after {outcome.ticks} ticks; equal: {', '.join(ways)}"


def course_digest(name: str, options: Mapping[str, Any], blocks: int, ticks: int) -> str:
    """Hexadecimal digest of the courses of a registered environment: equal in every process."""
    case = Case(name, None, options, blocks, ticks, None, False)
    digest = hashlib.blake2b(digest_size=16)
    for course in case.courses:
        digest.update(b"".join(course))
    for moment in case.moments:
        digest.update(moment.data + b"".join(v for n, v in sorted(moment.views.items()) if n != "image"))
    return digest.hexdigest()


def processes(case: Case) -> str:
    """Another process, with another hash seed and interpreted loops, plays the same episodes."""
    if case.name is None:
        raise Skipped("another process can be given a registered name only")
    if not case.processes:
        raise Skipped("not asked for")
    blocks, ticks = min(len(case.blocks), 2), min(case.ticks, 25)
    here = course_digest(case.name, case.options, blocks, ticks)
    code = (
        "import sys, json; from crossplay.envs.check.engine import course_digest; "
        "print(course_digest(*json.loads(sys.argv[1])))"
    )
    given = json.dumps([case.name, case.options, blocks, ticks])
    for seed in ("1", "2"):
        env = {**os.environ, "CROSSPLAY_FAST": "0", "PYTHONHASHSEED": seed}
        found = subprocess.run([sys.executable, "-c", code, given], env=env, capture_output=True, text=True)
        if found.returncode:
            raise Failed(f"the other process failed: {found.stderr.strip().splitlines()[-1:]}")
        there = found.stdout.split()[-1]
        if there != here:
            raise Failed("another process (interpreted loops, another hash seed) plays other episodes")
        if case.env.paired == "start":
            break  # one is enough: these libraries take seconds to load
    return "compiled and interpreted loops agree" if compiled() else "loops are interpreted here"
