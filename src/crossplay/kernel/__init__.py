"""Floor 0, the kernel: Env, Agent, Observation, Action, Channel, play(), events, seeds.

Everything that runs goes through `play` or `play_batch`, generators without I/O, and a driver.
Imports numpy and msgspec alone. No file access, no clock (drivers have one), no network here.
"""

from crossplay.kernel.agent import Agent
from crossplay.kernel.batch import ENDED, BatchEnv, Single
from crossplay.kernel.column_driver import columns
from crossplay.kernel.conduct import Channel, Conduct
from crossplay.kernel.drivers import aio, aio_many, batch, loop, recorded
from crossplay.kernel.env import Env, Skills, env_id
from crossplay.kernel.events import WORLD, Event
from crossplay.kernel.fast import jit
from crossplay.kernel.obs import Observation
from crossplay.kernel.play import Episode, Lineup, Outcome, play
from crossplay.kernel.play_batch import Columns, play_batch
from crossplay.kernel.registry import EnvFamily, entries, load, make_batch, make_env, nearest, split_name
from crossplay.kernel.seeds import (
    Block,
    draw,
    env_key,
    generator,
    item_of,
    key,
    key64,
    permutation,
    pick,
    seat_key,
    uniform,
)
from crossplay.kernel.types import (
    Action,
    ActionSpec,
    CrossplayError,
    Failed,
    Fault,
    Held,
    Invalid,
    Msg,
    Stale,
    Stop,
    Usage,
    pack,
    unpack,
)

__all__ = [
    "ENDED",
    "WORLD",
    "Action",
    "ActionSpec",
    "Agent",
    "BatchEnv",
    "Block",
    "Channel",
    "Columns",
    "Conduct",
    "CrossplayError",
    "Env",
    "EnvFamily",
    "Episode",
    "Event",
    "Failed",
    "Fault",
    "Held",
    "Invalid",
    "Lineup",
    "Msg",
    "Observation",
    "Outcome",
    "Single",
    "Skills",
    "Stale",
    "Stop",
    "Usage",
    "aio",
    "aio_many",
    "batch",
    "columns",
    "draw",
    "entries",
    "env_id",
    "env_key",
    "generator",
    "item_of",
    "jit",
    "key",
    "key64",
    "load",
    "loop",
    "make_batch",
    "make_env",
    "nearest",
    "pack",
    "permutation",
    "pick",
    "play",
    "play_batch",
    "recorded",
    "seat_key",
    "split_name",
    "uniform",
    "unpack",
]
