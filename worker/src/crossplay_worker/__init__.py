"""The worker kit: an agent or a trainer of any framework, in an interpreter of its own.

Lives here: `Worker` and `run` (seats), `envs` (our environments for foreign trainers, with a Gymnasium and a
PettingZoo face), `train` (jobs). Needs numpy and msgspec alone, Python 3.9, nothing of crossplay.
"""

from .seeds import draw, key64, pick, uniform
from .worker import Action, Batch, Episode, Obs, Refused, Worker, connect, run

__all__ = [
    "Action",
    "Batch",
    "Episode",
    "Obs",
    "Refused",
    "Worker",
    "connect",
    "draw",
    "key64",
    "pick",
    "run",
    "uniform",
]
__version__ = "0.1.0"
