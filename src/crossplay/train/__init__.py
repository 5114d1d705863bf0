"""Floor 4, train: learners that step array environments and leave policies behind.

Lives here: the configuration (`config`), PPO (`ppo`), its networks (`nets`), the rows it learns from
(`rows`), what it writes (`files`), trials in fresh blocks (`trials`), pictures of curves (`curves`).
Torch is imported by the modules that compute, not by this one.
Does not: agents that play (below), who plays whom in an experiment (study).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossplay.train.config import PPO, Progress, Result
    from crossplay.train.curves import draw_curves, read_curve
    from crossplay.train.ppo import train
    from crossplay.train.trials import evaluate, ship, versus, view_digest

__all__ = [
    "PPO",
    "Progress",
    "Result",
    "draw_curves",
    "evaluate",
    "read_curve",
    "ship",
    "train",
    "versus",
    "view_digest",
]

_WHERE = {
    "PPO": "config",
    "Progress": "config",
    "Result": "config",
    "draw_curves": "curves",
    "evaluate": "trials",
    "ship": "trials",
    "versus": "trials",
    "view_digest": "trials",
    "read_curve": "curves",
    "train": "ppo",
}


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    from crossplay.kernel import CrossplayError

    try:
        return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
    except ImportError as error:
        if (error.name or "").split(".")[0] == "torch":
            raise CrossplayError("training needs torch: install crossplay[rl]") from error
        raise
