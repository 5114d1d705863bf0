"""Whether stated confidence foretells success: Brier score, expected calibration error, AUROC, reliability."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import msgspec
import numpy as np

from crossplay.kernel.types import CrossplayError
from crossplay.measure.stats.blocks import block_means, finite
from crossplay.measure.stats.intervals import check_level, mean_t
from crossplay.measure.stats.results import Estimate

__all__ = ["Calibration", "Reliability", "calibration", "reliability"]


class Calibration(msgspec.Struct, frozen=True):
    """How far stated confidence foretells success.

    brier: mean squared error, lower is better. ece: expected calibration error over equal-width bins.
    auroc: chance that a success was stated with more confidence than a failure (ties half), None
    without both. n: answers with a confidence.
    """

    brier: Estimate
    ece: float
    auroc: float | None
    n: int


class Reliability(msgspec.Struct, frozen=True, eq=False):
    """The data of a reliability diagram: one row per bin [edge, next edge), the last one closed.

    edges: float[bins + 1]. count: int[bins]. confidence, success: float[bins], means, nan in an empty bin.
    ece: sum n_b / n |success - confidence|. mce: the largest gap of a bin that is not empty.
    """

    edges: Any
    count: Any
    confidence: Any
    success: Any
    ece: float
    mce: float


def _checked(confidence: Any, success: Any) -> tuple[np.ndarray, np.ndarray]:
    c, y = finite(confidence, "confidence"), finite(success, "success")
    if c.size != y.size or (c < 0).any() or (c > 1).any() or not np.isin(y, (0, 1)).all():
        raise CrossplayError("calibration: expected equally many confidences in [0, 1] and successes as 0 or 1")
    return c, y


def reliability(confidence: Any, success: Any, bins: int = 10) -> Reliability:
    """Mean confidence and success per equal-width bin of confidences[n] in [0, 1] and success[n] (0 or 1).

    With few answers ece and mce are above 0 by chance alone: compare them at equal n only.
    """
    if bins < 1:
        raise CrossplayError(f"bins: expected at least 1, got {bins!r}")
    c, y = _checked(confidence, success)
    edges = np.arange(bins + 1) / bins
    at = np.minimum(np.searchsorted(edges, c, side="right") - 1, bins - 1)
    count = np.bincount(at, minlength=bins)
    some = np.where(count > 0, count, np.nan)
    stated, came = (np.bincount(at, weights=x, minlength=bins) / some for x in (c, y))
    gaps = np.where(count > 0, np.abs(came - stated), 0.0)
    return Reliability(edges, count, stated, came, float((gaps * count).sum() / c.size), float(gaps.max()))


def calibration(
    confidence: Any, success: Any, blocks: Sequence[Hashable] | np.ndarray, bins: int = 10, level: float = 0.95
) -> Calibration:
    """Calibration of confidences[n] in [0, 1] against success[n] (0 or 1); the block is the unit.

    The bins are those of `reliability`.
    """
    check_level(level)
    c, y = _checked(confidence, success)
    brier = mean_t(block_means((c - y) ** 2, blocks).means, level, (0.0, 1.0))
    won, lost = np.sort(c[y == 1]), np.sort(c[y == 0])
    auroc = None
    if won.size and lost.size:
        below = np.searchsorted(lost, won, "left") + np.searchsorted(lost, won, "right")
        auroc = float(below.sum() / (2 * won.size * lost.size))
    return Calibration(brier, reliability(c, y, bins).ece, auroc, c.size)
