"""Small studies that the properties above the kernel play, and agents to put in their seats."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from crossplay.kernel import Action, Agent, Fault, Msg
from crossplay.records import RunFolder
from crossplay.study.runner import run_study
from crossplay.study.spec import parse_study
from crossplay.study.stage import Stage

SEATS = ("row", "column")


def tables(lineups, *, agents=None, blocks=4, controls=None, **more):
    """The tables of a study of a repeated game of 6 rounds. more: tables, or keys of [study]."""
    tops = {k: more.pop(k) for k in ("conduct", "questions", "models") if k in more}
    return {
        "study": {"name": "small", "blocks": blocks, "margin": 0.1, **more},
        "environments": {"game": {"name": "matrix/prisoners_dilemma", "options": {"rounds": 6}}},
        "agents": {"random": "random", "tft": "strategy:tit_for_tat", **(agents or {})},
        "lineups": lineups,
        "controls": {"floor": False, **(controls or {})},
        **tops,
    }


def stage(data, folder=None, **agents):
    """The study, built; agents: objects that sit where the study names them."""
    built = Stage(parse_study(data), folder)
    built._agents.update(agents)
    return built


@contextmanager
def folder() -> Iterator[Path]:
    """The path of a run that does not exist yet, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="crossplay-test-") as name:
        yield Path(name) / "run"


@contextmanager
def copied(source: Path) -> Iterator[Path]:
    """A copy of a run, to be damaged."""
    with folder() as path:
        shutil.copytree(source, path)
        yield path


def play(data, path, agents=None, **how):
    """Play a study; its episodes in the order of their commits."""
    run_study(stage(data, path, **(agents or {})), path, **how)
    with RunFolder.open(path) as run:
        return run.records()


def digests(records):
    """What must not depend on how often a study was stopped."""
    return {(r.cell, r.block, r.replicate): (r.world, r.mind, r.status, tuple(r.totals), r.score) for r in records}


class Wrong(Agent):
    """Draws its moves; at some ticks it gives no move at all, or fails."""

    name = "wrong"

    def act(self, obs):
        if obs.tick in (0, 3):
            return "nowhere"
        return Fault("error", "broken") if obs.tick == 4 else obs.pick(2)


class Vanishes(Agent):
    """Its worker goes away in block 1, as often as it is told to."""

    name = "vanishes"

    def __init__(self, times):
        self.times = times

    def act(self, obs):
        if obs.ordinal[2] == 1 and obs.tick == 1 and self.times:
            self.times -= 1
            return Fault("void", "worker gone")
        return obs.pick(2)


class VanishesWaiting(Vanishes):
    """The same, for a seat that waits for something outside."""

    async def act(self, obs):
        return super().act(obs)


class Speaks(Agent):
    """Says its move to everybody, and counts what it hears."""

    name = "speaks"

    def act(self, obs):
        obs.count("heard", len(obs.inbox))
        move = obs.pick(2)
        return Action(move, messages=[Msg("*", str(move))])


@cache
def finished() -> Path:
    """A closed run of 42 episodes: seat orders, replicates, a lineup that never varies, wrong moves."""
    path = Path(tempfile.mkdtemp(prefix="crossplay-test-")) / "run"
    lineups = {
        "random+random": ["random", "random"],
        "tft+random": {"seats": ["tft", "random"], "orders": "all"},
        "tft+tft": ["tft", "tft"],
        "wrong+random": ["wrong", "random"],
        "wrong+tft": {"seats": ["wrong", "tft"], "blocks": 1},
    }
    data = tables(lineups, agents={"wrong": "random"}, replicates=2, metric="payoff_row")
    data["conduct"] = {"invalid": ["repeat", "noop", "random"], "error": ["random"], "fault_limit": 0.2}
    play(data, path, {"wrong": Wrong()})
    return path


@cache
def plain() -> Path:
    """A closed run of 6 episodes of installed agents, which can be asked again."""
    path = Path(tempfile.mkdtemp(prefix="crossplay-test-")) / "run"
    play(tables({"random+tft": ["random", "tft"], "tft+tft": ["tft", "tft"]}, blocks=3), path)
    return path
