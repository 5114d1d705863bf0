"""Pairing: from one value per episode to one value per block, aligned by block id."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import msgspec
import numpy as np

from crossplay.kernel.types import CrossplayError

__all__ = ["BlockMeans", "align", "block_means", "factorise", "finite"]


class BlockMeans(msgspec.Struct, frozen=True):
    """Replicates averaged within each block. blocks: ids in sorted order; means, counts: [G]."""

    blocks: tuple[Any, ...]
    means: Any
    counts: Any


LARGEST = 1e150
"""Beyond it the square of a value, which every interval needs, is no float."""


def finite(values: Any, what: str = "values") -> np.ndarray:
    """float64[n] of the values (booleans become 0 and 1); refuses empty, non-numeric, NaN and what has no square."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise CrossplayError(f"{what}: expected numbers") from None
    if array.ndim != 1:
        raise CrossplayError(f"{what}: expected one dimension, got shape {array.shape}")
    if array.size == 0:
        raise CrossplayError(f"{what}: no values; play at least one episode")
    bad = np.flatnonzero(~np.isfinite(array))
    if bad.size:
        raise CrossplayError(f"{what}: {bad.size} of {array.size} are not finite, the first at position {bad[0]}")
    if (size := np.abs(array).max()) > LARGEST:
        raise CrossplayError(f"{what}: {size:g} is too large for an interval; values may be up to {LARGEST:g}")
    return array


def _order(name: Any) -> tuple[int, Any]:
    return (1, name) if isinstance(name, str) else (0, name)


def factorise(names: Sequence[Hashable] | np.ndarray) -> tuple[tuple[Any, ...], np.ndarray]:
    """(distinct ids, numbers before texts and each sorted; int64[n] position of every row in them).

    The number 1 and the text "1" stay different blocks.
    """
    if isinstance(names, np.ndarray) and names.dtype != object:
        unique, inverse = np.unique(names, return_inverse=True)
        return tuple(unique.tolist()), inverse.reshape(-1).astype(np.int64)
    rows = [n.item() if isinstance(n, np.generic) else n for n in names]
    try:
        unique_names = sorted(set(rows), key=_order)
    except TypeError:
        raise CrossplayError("block ids: expected numbers or texts") from None
    where = {name: i for i, name in enumerate(unique_names)}
    return tuple(unique_names), np.array([where[name] for name in rows], dtype=np.int64)


def block_means(values: Any, blocks: Sequence[Hashable] | np.ndarray, what: str = "values") -> BlockMeans:
    """One mean per block: values[n] with block ids[n] (replicates share an id)."""
    x = finite(values, what)
    if len(blocks) != x.size:
        raise CrossplayError(f"{what}: {x.size} values but {len(blocks)} block ids")
    names, at = factorise(blocks)
    counts = np.bincount(at, minlength=len(names))
    # Rows are summed in order of value, so that the order of episodes cannot move the last bit.
    order = np.lexsort((x, at))
    sums = np.add.reduceat(x[order], np.concatenate(([0], np.cumsum(counts)[:-1])))
    return BlockMeans(names, sums / counts, counts)


def align(a: BlockMeans, b: BlockMeans, names: tuple[str, str] = ("candidate", "baseline")) -> np.ndarray:
    """float64[G] of a minus b block by block; refuses when they did not meet the same blocks."""
    if a.blocks != b.blocks:
        only_a = sorted(set(a.blocks) - set(b.blocks), key=_order)
        only_b = sorted(set(b.blocks) - set(a.blocks), key=_order)
        lacking = [
            f"{len(rest)} blocks only in {name} (e.g. {', '.join(map(repr, rest[:3]))})"
            for name, rest in zip(names, (only_a, only_b), strict=True)
            if rest
        ]
        raise CrossplayError(
            f"{names[0]} and {names[1]} are not paired: {'; '.join(lacking)}. "
            'Play the missing blocks, or ask for pairing = "common" or "unpaired".'
        )
    return np.asarray(a.means - b.means)
