"""Fresh episodes of a policy, in blocks that training never saw."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from crossplay.kernel import Agent, Block, CrossplayError, columns, make_batch

__all__ = ["evaluate"]


def evaluate(
    env: str,
    lineup: Mapping[str, Agent],
    blocks: int,
    *,
    root: int = 0,
    first: int = 0,
    options: Mapping[str, Any] | None = None,
    width: int = 64,
) -> dict[str, np.ndarray]:
    """The scores of a lineup in `blocks` blocks of a root: metric -> float64[blocks], in block order.

    Training worlds have keys of their own, so every block is new to the policy.
    """
    batch = make_batch(env, min(width, blocks), options)
    if batch is None:
        raise CrossplayError(f"evaluate: {env} has no array form")
    ats = [Block(root, first + b) for b in range(blocks)]
    scores = {at: outcome.score for at, outcome in columns(batch, lineup, ats)}
    return {name: np.array([scores[at][name] for at in ats]) for name in scores[ats[0]]}
