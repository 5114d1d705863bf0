"""Ballots and decisions: what every decision rule reads, checks and answers.

A batch of elections has any number of leading dimensions, written `...`; V is the number of voters
and M the number of options of one election. One election of a million voters is the batch of shape ().
A ballot is *valid*, *absent* (the voter gave none: -1, or a row of -1 or NaN) or *rejected*
(out of range, a rank given twice, negative points, not a number). Rejected ballots are counted and
never replaced by anything.

Ties are broken by a draw addressed by (key, index of the election, option), never by the order of
options: the option with the highest draw wins. Rules that meet the same election under the same key
therefore break the same tie in the same way.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np

from crossplay.kernel.seeds import draw, key64
from crossplay.kernel.types import CrossplayError

__all__ = ["Ballots", "Decision", "options_checked"]

TIE = 1e-9  # tallies closer than this (relative, at least absolute) are equal: sums of floats lose their order


class Decision(msgspec.Struct, frozen=True, eq=False):
    """What a rule answers for a batch of elections.

    winner: int64[...], -1 = no decision. tally: float64[..., M], what the rule counted (each rule says
    what). tied: bool[...], whether options stood equal where that mattered, so that a seeded draw chose
    or, with ties = "undecided", nobody did. valid, rejected: int64[...], ballots counted and refused;
    the others were absent. fallback: bool[...], where a rule has one: whether it decided, else None.
    """

    winner: Any
    tally: Any
    tied: Any
    valid: Any
    rejected: Any
    fallback: Any = None

    def __post_init__(self) -> None:
        """One election gives arrays of shape () and not numpy scalars, as a batch gives arrays."""
        for name in self.__struct_fields__:
            if getattr(self, name) is not None:
                msgspec.structs.force_setattr(self, name, np.asarray(getattr(self, name)))


class Ballots(msgspec.Struct, frozen=True, eq=False, kw_only=True):
    """The ballots of a batch of elections, in the forms that were asked for (the others are None).

    verdicts: int[..., 1], what a judge says, who is not one of the V voters. choices: int[..., V], -1 = absent. confidences: float[..., V] in [0, 1], of the choices.
    scores: float[..., V], a verifier's score of each choice. approvals: bool[..., V, M], or integers
    with a row of -1 = absent. points: float[..., V, M], a row of NaN = absent. rankings:
    int[..., V, R], rankings[v, r] = option at rank r, padded with -1; a row of -1 = absent.
    """

    choices: Any = None
    confidences: Any = None
    scores: Any = None
    approvals: Any = None
    points: Any = None
    rankings: Any = None
    verdicts: Any = None


def options_checked(n_options: int) -> int:
    """The number of options as an integer of at least 1."""
    if isinstance(n_options, bool) or not isinstance(n_options, (int, np.integer)) or n_options < 1:
        raise CrossplayError(f"n_options: expected a whole number of at least 1, got {n_options!r}")
    return int(n_options)


def matrix(values: Any, dims: int, what: str, whole: bool) -> np.ndarray:
    """int64 (whole) or float64 array with at least `dims` dimensions.

    Where whole numbers are asked for, anything that is none becomes -2, which every rule rejects.
    """
    a = np.asarray(values)
    if a.dtype.kind not in "iuf" and not (a.dtype.kind == "b" and what == "approvals"):
        raise CrossplayError(f"{what}: expected numbers, got an array of {a.dtype}")
    if a.ndim < dims:
        raise CrossplayError(f"{what}: expected at least {dims} dimensions (voters last), got shape {a.shape}")
    if not whole:
        return a.astype(np.float64, copy=False)
    if a.dtype.kind == "f":
        good = np.isfinite(a) & (np.abs(a) < 2.0**53) & (a == np.floor(a))
        return np.where(good, a, -2).astype(np.int64)
    if a.dtype.kind == "u":
        return np.where(a >= 2**31, 2**31, a).astype(np.int64)
    return a.astype(np.int64, copy=False)


def choices_of(choices: Any, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(choice int64[..., V] with -1 where none counts, valid int64[...], rejected int64[...])."""
    c = matrix(choices, 1, "choices", whole=True)
    good = (c >= 0) & (c < m)
    rejected = ((c != -1) & ~good).sum(-1)
    return np.where(good, c, -1), good.sum(-1), rejected


def same_shape(a: np.ndarray, b: np.ndarray, what: str) -> None:
    """Refuses two arrays that belong to the same ballots but differ in shape."""
    if a.shape != b.shape:
        raise CrossplayError(f"{what}: shapes {a.shape} and {b.shape} differ")


def tallied(c: np.ndarray, m: int, weights: np.ndarray | None = None) -> np.ndarray:
    """float64[..., M]: ballots (or summed weights) per option; c int64[..., V], -1 is not counted."""
    batch = c.shape[:-1]
    flat = c.reshape(-1, c.shape[-1]) if c.size else np.empty((int(np.prod(batch)), 0), np.int64)
    n = flat.shape[0]
    good = flat >= 0
    at = (np.arange(n)[:, None] * m + flat)[good]
    w = None if weights is None else weights.reshape(flat.shape)[good]
    return np.bincount(at, weights=w, minlength=n * m).astype(np.float64).reshape(*batch, m)


def indices(index: Any, batch: tuple[int, ...]) -> np.ndarray:
    """int64[E]: the address of each election, by default its position in the batch."""
    if index is None:
        return np.arange(int(np.prod(batch)))
    a = np.asarray(index)
    if a.dtype.kind not in "iu" or (a < 0).any():
        raise CrossplayError("index: expected whole numbers of at least 0, one per election")
    try:
        return np.broadcast_to(a, batch).reshape(-1).astype(np.int64)
    except ValueError:
        raise CrossplayError(f"index: shape {a.shape} does not fit elections of shape {batch}") from None


def priorities(key: bytes | int, at: np.ndarray, m: int) -> np.ndarray:
    """uint64[E, M]: the draw of each option in each election; the higher one wins a tie."""
    k = np.full((len(at), 1), key64(key) if isinstance(key, bytes) else key, np.uint64)
    return draw(k, at[:, None], np.arange(m)[None, :])


def drawn(top: np.ndarray, key: bytes | int, index: Any, lowest: bool = False) -> np.ndarray:
    """int64[...]: one option out of those marked in top bool[..., M] (-1 where none is), by seeded draw.

    lowest: the one with the lowest draw instead, which is who goes out of a run-off.
    """
    batch, m = top.shape[:-1], top.shape[-1]
    flat = top.reshape(-1, m)
    n = flat.sum(-1)
    chosen = np.where(n > 0, flat.argmax(-1), -1)
    rows = np.flatnonzero(n > 1)
    if rows.size:
        p = priorities(key, indices(index, batch)[rows], m)
        if lowest:
            p = ~p
        chosen[rows] = np.where(flat[rows], p | np.uint64(1), np.uint64(0)).argmax(-1)
    return chosen.reshape(batch)


def highest(tally: np.ndarray, may_win: np.ndarray, exact: bool = False) -> np.ndarray:
    """bool[..., M]: the options with the highest tally among those that may win."""
    t = np.where(may_win, tally, -np.inf)
    best = t.max(-1, keepdims=True)
    slack = 0.0 if exact else TIE * np.maximum(1.0, np.abs(np.where(np.isfinite(best), best, 0.0)))
    return may_win & (t >= best - slack)


def elected(
    tally: np.ndarray,
    valid: np.ndarray,
    rejected: np.ndarray,
    key: bytes | int,
    index: Any,
    may_win: np.ndarray | None = None,
    ties: str = "draw",
    exact: bool = False,
) -> Decision:
    """The option with the highest tally among those that may win (default: all, where a ballot is valid)."""
    if ties not in ("draw", "undecided"):
        raise CrossplayError(f'ties: expected "draw" or "undecided", got {ties!r}')
    allowed = np.broadcast_to((valid > 0)[..., None], tally.shape)
    top = highest(tally, allowed if may_win is None else allowed & may_win, exact)
    tied = top.sum(-1) > 1
    winner = drawn(top & ~tied[..., None] if ties == "undecided" else top, key, index)
    return Decision(winner, tally, tied, valid, rejected)
