"""Crossplay: any mix of decision-makers, in the same environments, under the same seeds.

`import crossplay` loads nothing: each name below is found in its module when it is first used.

    result = crossplay.run("study.toml", "runs/first")
    outcome = crossplay.loop(crossplay.play(crossplay.make_env("spread"), lineup, crossplay.Block(root=7)))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossplay.agents import make_agent as make_agent
    from crossplay.envs.check import check as check
    from crossplay.kernel import Action as Action
    from crossplay.kernel import ActionSpec as ActionSpec
    from crossplay.kernel import Agent as Agent
    from crossplay.kernel import BatchEnv as BatchEnv
    from crossplay.kernel import Block as Block
    from crossplay.kernel import Channel as Channel
    from crossplay.kernel import Conduct as Conduct
    from crossplay.kernel import CrossplayError as CrossplayError
    from crossplay.kernel import Env as Env
    from crossplay.kernel import Fault as Fault
    from crossplay.kernel import Lineup as Lineup
    from crossplay.kernel import Msg as Msg
    from crossplay.kernel import Observation as Observation
    from crossplay.kernel import aio as aio
    from crossplay.kernel import batch as batch
    from crossplay.kernel import columns as columns
    from crossplay.kernel import loop as loop
    from crossplay.kernel import make_batch as make_batch
    from crossplay.kernel import make_env as make_env
    from crossplay.kernel import play as play
    from crossplay.study.ablate import ablate as ablate
    from crossplay.study.api import episode as episode
    from crossplay.study.api import open_run as open_run
    from crossplay.study.api import result as result
    from crossplay.study.api import run as run
    from crossplay.study.inside import team_ledger as team_ledger
    from crossplay.study.spec import Study as Study
    from crossplay.study.spec import load_study as load_study
    from crossplay.study.spec import parse_study as parse_study
    from crossplay.study.tables import Result as Result
    from crossplay.study.verify import verify as verify
    from crossplay.study.widgets import Episode as Episode

__version__ = "0.1.0"

_WHERE = {
    "Action": "kernel",
    "ActionSpec": "kernel",
    "Agent": "kernel",
    "BatchEnv": "kernel",
    "Block": "kernel",
    "Channel": "kernel",
    "Conduct": "kernel",
    "CrossplayError": "kernel",
    "Env": "kernel",
    "Episode": "study.widgets",
    "Fault": "kernel",
    "Lineup": "kernel",
    "Msg": "kernel",
    "Observation": "kernel",
    "Result": "study.tables",
    "Study": "study.spec",
    "ablate": "study.ablate",
    "aio": "kernel",
    "batch": "kernel",
    "check": "envs.check",
    "columns": "kernel",
    "episode": "study.api",
    "load_study": "study.spec",
    "loop": "kernel",
    "make_agent": "agents",
    "make_batch": "kernel",
    "make_env": "kernel",
    "open_run": "study.api",
    "parse_study": "study.spec",
    "play": "kernel",
    "result": "study.api",
    "run": "study.api",
    "team_ledger": "study.inside",
    "verify": "study.verify",
}

__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'crossplay' has no attribute {name!r}")
    from importlib import import_module

    found = getattr(import_module(f"crossplay.{_WHERE[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_WHERE})
