"""Decision rules on rankings: Borda, instant run-off, Condorcet.

rankings int[..., V, R]: rankings[v, r] is the option at rank r (0 = best), padded with -1; R <= M or
padding beyond it. A ballot may rank some options only; what it does not rank stands below all it
ranks, without order. Rejected: an option out of range or ranked twice, a gap between ranks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from crossplay.kernel.types import CrossplayError
from crossplay.measure.ballots import Decision, drawn, elected, highest, matrix, options_checked, tallied

__all__ = ["FALLBACKS", "borda", "condorcet", "instant_runoff", "pairwise"]

FALLBACKS = ("borda", "copeland", "irv", "undecided")


def _rankings_of(rankings: Any, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(ranking int64[..., V, R], counted bool[..., V], valid int64[...], rejected int64[...]).

    Ballots that do not count become rows of -1.
    """
    r = matrix(rankings, 2, "rankings", whole=True)
    inside = ((r >= -1) & (r < m)).all(-1)
    given = r >= 0
    gap = (given[..., 1:] & ~given[..., :-1]).any(-1)
    ordered = np.sort(r, axis=-1)
    twice = ((ordered[..., 1:] == ordered[..., :-1]) & (ordered[..., 1:] >= 0)).any(-1)
    absent = (r == -1).all(-1)
    good = inside & ~gap & ~twice & ~absent
    r = np.where(good[..., None], r, -1)
    return r, good, good.sum(-1), (~good & ~absent).sum(-1)


def _rank_counts(r: np.ndarray, m: int) -> np.ndarray:
    """float64[..., R, M]: how many ballots put each option at each rank."""
    return tallied(np.moveaxis(r, -1, -2), m)


def _borda_tally(r: np.ndarray, m: int, top: int | None, unranked: str) -> np.ndarray:
    ranks = np.arange(r.shape[-1])
    points = np.maximum((m - 1 if top is None else min(top, m)) - ranks, 0).astype(np.float64)
    tally = np.einsum("...rm,r->...m", _rank_counts(r, m), points)
    if unranked == "zero":
        return tally
    # Each ballot of length n leaves m - n options, which share the points of ranks n .. m - 1.
    all_points = np.maximum((m - 1 if top is None else min(top, m)) - np.arange(m), 0).astype(np.float64)
    rest = np.append(np.cumsum(all_points[::-1])[::-1], 0.0)  # rest[n]: points of the ranks from n on
    length = (r >= 0).sum(-1)
    mean = np.where(length > 0, rest[length] / np.maximum(m - length, 1), 0.0)
    listed = tallied(r.reshape(*r.shape[:-2], -1), m, np.broadcast_to(mean[..., None], r.shape))
    return tally + mean.sum(-1)[..., None] - listed


def borda(
    rankings: Any,
    n_options: int,
    *,
    key: bytes,
    index: Any = None,
    top: int | None = None,
    unranked: str = "zero",
    ties: str = "draw",
) -> Decision:
    """Most rank points win. tally: points per option.

    top = None: M - 1 - r points at rank r (0 = best). top = t: min(t, M) - r points down to 0, so that
    only the first ranks count (MALLM 1.0.5: t = 5). unranked: "zero" gives options that a ballot
    leaves out no points; "average" gives them the mean of the points it did not hand out.
    """
    m = options_checked(n_options)
    if top is not None and top < 1:
        raise CrossplayError(f"top: expected at least 1, got {top!r}")
    if unranked not in ("zero", "average"):
        raise CrossplayError(f'unranked: expected "zero" or "average", got {unranked!r}')
    r, _, valid, rejected = _rankings_of(rankings, m)
    return elected(_borda_tally(r, m, top, unranked), valid, rejected, key, index, ties=ties)


def _standing(r: np.ndarray, alive: np.ndarray) -> np.ndarray:
    """int64[E, V]: the best option of each ballot that is still in, -1 where all its options are out.

    r int64[E, V, R]; alive bool[E, M].
    """
    if r.shape[-1] == 0:
        return np.full(r.shape[:-1], -1)
    elections = np.arange(r.shape[0])[:, None, None]
    stays = (r >= 0) & alive[elections, np.maximum(r, 0)]
    best = np.take_along_axis(r, stays.argmax(-1)[..., None], -1)[..., 0]
    return np.where(stays.any(-1), best, -1)


def _runoff(r: np.ndarray, m: int, key: bytes, index: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(winner[E], tally[E, M], tied[E]) of the instant run-off; r int64[E, V, R] with -1 for no ballot."""
    n = r.shape[0]
    alive = np.ones((n, m), bool)
    tally, tied = np.zeros((n, m)), np.zeros(n, bool)
    voted = np.asarray((r >= 0).any((-1, -2)))
    going = voted.copy()
    while going.any():
        votes = tallied(_standing(r, alive), m)
        tally = np.where(alive & going[:, None], votes, tally)
        going &= 2 * votes.max(-1) <= votes.sum(-1)
        # Options without a vote leave together: that moves no ballot, whatever their order.
        empty = alive & (votes == 0)
        low = np.where(alive, votes, np.inf)
        low = alive & (low == low.min(-1, keepdims=True))
        last = drawn(low, key, index, lowest=True)
        out = np.where(empty.any(-1)[:, None], empty, np.arange(m) == last[:, None])
        tied |= going & ~empty.any(-1) & (low.sum(-1) > 1)
        alive &= ~(out & going[:, None])
    # An election that went on has a majority among the options left; the highest of them holds it.
    standing = np.where(alive & voted[:, None], tally, -1.0)
    return np.where(standing.max(-1) > 0, standing.argmax(-1), -1), tally, tied


def instant_runoff(rankings: Any, n_options: int, *, key: bytes, index: Any = None) -> Decision:
    """The option with the fewest first ranks goes out until one holds more than half of what is left.

    tally: the ballots an option held when it went out, or at the end. tied: a seeded draw chose who
    goes out at least once (it may not have mattered). Not monotone: ranking a winner higher can make
    it lose.
    """
    m = options_checked(n_options)
    r, _, valid, rejected = _rankings_of(rankings, m)
    batch = r.shape[:-2]
    flat = r.reshape(int(np.prod(batch)), *r.shape[-2:])
    at = None if index is None else np.broadcast_to(index, batch).reshape(-1)
    winner, tally, tied = _runoff(flat, m, key, at)
    return Decision(winner.reshape(batch), tally.reshape(*batch, m), tied.reshape(batch), valid, rejected)


def _pairwise(r: np.ndarray, m: int) -> np.ndarray:
    """int64[..., M, M]: ballots that place option a above option b; both unranked counts for neither."""
    place = np.full((*r.shape[:-1], m + 1), r.shape[-1], np.int32)
    ranks = np.broadcast_to(np.arange(r.shape[-1], dtype=np.int32), r.shape)
    np.put_along_axis(place, np.where(r < 0, m, r), ranks, -1)
    above = np.zeros((*r.shape[:-2], m, m), np.int64)
    for a in range(m):
        for b in range(m):
            if a != b:
                above[..., a, b] = (place[..., a] < place[..., b]).sum(-1)
    return above


def pairwise(rankings: Any, n_options: int) -> np.ndarray:
    """int64[..., M, M]: valid ballots that rank option a above option b (ranked above unranked)."""
    m = options_checked(n_options)
    return _pairwise(_rankings_of(rankings, m)[0], m)


def condorcet(rankings: Any, n_options: int, *, key: bytes, index: Any = None, fallback: str = "borda") -> Decision:
    """The option that beats every other one in pairs; where no option does, the named fallback decides.

    fallback: "borda" (full), "copeland" (most duels won, a drawn duel is half), "irv" or "undecided".
    tally: the Copeland score of each option. fallback in the result: where it was asked.
    """
    m = options_checked(n_options)
    if fallback not in FALLBACKS:
        raise CrossplayError(f"fallback: expected one of {', '.join(FALLBACKS)}, got {fallback!r}")
    r, _, valid, rejected = _rankings_of(rankings, m)
    above = _pairwise(r, m)
    below = np.swapaxes(above, -1, -2)
    off = ~np.eye(m, dtype=bool)
    wins = ((above > below) & off).sum(-1)
    score = wins + 0.5 * ((above == below) & off).sum(-1)
    champion = (wins == m - 1) & (valid > 0)[..., None]
    has = champion.any(-1)
    asked = ~has & (valid > 0)
    winner, tied = np.where(has, champion.argmax(-1), -1), np.zeros(has.shape, bool)
    if fallback != "undecided" and asked.any():
        if fallback == "irv":
            other = instant_runoff(r, m, key=key, index=index)
        else:
            points = score if fallback == "copeland" else _borda_tally(r, m, None, "zero")
            top = highest(points, np.broadcast_to(asked[..., None], points.shape))
            other = Decision(drawn(top, key, index), points, top.sum(-1) > 1, valid, rejected)
        winner, tied = np.where(asked, other.winner, winner), np.where(asked, other.tied, tied)
    return Decision(winner, score, tied, valid, rejected, asked)
