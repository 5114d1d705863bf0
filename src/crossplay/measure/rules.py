"""Decision rules on choices, approvals, points, confidences and scores; rankings are in `rules_ranked`.

Pure functions on ballot matrices. The same call decides one election of a million voters and a batch
of a million small elections: leading dimensions are elections, see `ballots` for the forms and for
what makes a ballot valid. Every rule takes the number of options and a key for seeded ties, and an
optional `index` (int[...], the address of each election; default its position in the batch), so that
a batch decides as its elections do one by one.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from crossplay.kernel.types import CrossplayError
from crossplay.measure.ballots import (
    Decision,
    choices_of,
    elected,
    matrix,
    options_checked,
    same_shape,
    tallied,
)

__all__ = [
    "approval",
    "best_of_n",
    "confidence_weighted",
    "cumulative",
    "hybrid_consensus",
    "judge",
    "majority",
    "plurality",
    "supermajority",
    "unanimity",
]


def plurality(choices: Any, n_options: int, *, key: bytes, index: Any = None, ties: str = "draw") -> Decision:
    """Most ballots win. choices int[..., V]; tally: ballots per option.

    ties: "draw" breaks a tie by seeded draw; "undecided" decides nothing (the discussion goes on).
    """
    m = options_checked(n_options)
    c, valid, rejected = choices_of(choices, m)
    tally = tallied(c, m)
    return elected(tally, valid, rejected, key, index, tally > 0, ties)


def _electorate(valid: np.ndarray, voters: Any, size: int, of: str) -> np.ndarray:
    """The number that shares are taken of: valid ballots, or all voters (absent ones against)."""
    if of == "valid":
        return valid
    if of != "all":
        raise CrossplayError(f'of: expected "valid" or "all", got {of!r}')
    members = np.broadcast_to(np.asarray(size if voters is None else voters, np.int64), valid.shape)
    if (members < valid).any():
        raise CrossplayError("voters: an election has more valid ballots than voters")
    return members


def _by_share(
    choices: Any,
    n_options: int,
    share: Any,
    strict: bool,
    of: str,
    voters: Any,
    key: bytes,
    index: Any,
) -> Decision:
    """The option held by more than (strict) or at least `share` (float or float[...]) of the electorate."""
    m = options_checked(n_options)
    c, valid, rejected = choices_of(choices, m)
    whole = _electorate(valid, voters, c.shape[-1], of)
    tally = tallied(c, m)
    # The quotient is the double nearest to the true share, so that 33 of 50 is at least 0.66.
    held = tally / np.maximum(whole, 1)[..., None]
    need = np.asarray(share, np.float64)[..., None]
    may_win = (held > need if strict else held >= need) & (tally > 0)
    return elected(tally, valid, rejected, key, index, may_win)


def _share_checked(share: float) -> float:
    if not 0.0 < share <= 1.0:
        raise CrossplayError(f"share: expected a number in (0, 1], got {share!r}")
    return float(share)


def majority(
    choices: Any,
    n_options: int,
    *,
    key: bytes,
    index: Any = None,
    at_least: bool = False,
    of: str = "valid",
    voters: Any = None,
) -> Decision:
    """The option held by more than half; choices int[..., V]; tally: ballots per option.

    at_least: half is enough, as in MALLM 1.0.5 (two options may then hold half each: seeded draw).
    of: "valid" takes half of the valid ballots, "all" of all voters (`voters` int[...], default V).
    """
    return _by_share(choices, n_options, 0.5, not at_least, of, voters, key, index)


def supermajority(
    choices: Any,
    n_options: int,
    *,
    key: bytes,
    index: Any = None,
    share: float = 2 / 3,
    of: str = "valid",
    voters: Any = None,
) -> Decision:
    """The option held by at least `share` in (0, 1] (MALLM 1.0.5: 0.66); otherwise as `majority`."""
    return _by_share(choices, n_options, _share_checked(share), False, of, voters, key, index)


def unanimity(
    choices: Any, n_options: int, *, key: bytes, index: Any = None, of: str = "valid", voters: Any = None
) -> Decision:
    """The option held by everybody: by all valid ballots, or with of = "all" by all voters."""
    return _by_share(choices, n_options, 1.0, False, of, voters, key, index)


def hybrid_consensus(
    choices: Any,
    n_options: int,
    *,
    key: bytes,
    turn: Any,
    index: Any = None,
    until: int = 5,
    few: int = 3,
    share: float = 0.75,
    of: str = "valid",
    voters: Any = None,
) -> Decision:
    """Unanimous while turn < until or with at most `few` voters, afterwards at least `share`.

    turn: int or int[...], from 1. voters: int[...], default V. The defaults are those of MALLM 1.0.5.
    """
    later = _share_checked(share)
    c = matrix(choices, 1, "choices", whole=True)
    size = np.broadcast_to(np.asarray(c.shape[-1] if voters is None else voters, np.int64), c.shape[:-1])
    strict = (np.asarray(turn) < until) | (size <= few)
    return _by_share(c, n_options, np.where(strict, 1.0, later), False, of, voters, key, index)


def confidence_weighted(
    choices: Any,
    confidences: Any,
    n_options: int,
    *,
    key: bytes,
    index: Any = None,
    clip: float = 0.01,
    prior: str = "even",
) -> Decision:
    """Votes weighted by the log-odds of their confidence; choices int[..., V], confidences float[..., V].

    weight = ln(c / (1 - c)), c cut to [clip, 1 - clip]; for two options and independent voters whose
    confidence is their accuracy this is the optimal rule (Nitzan and Paroush 1982). prior: "even" as
    it stands; "uniform" adds ln(M - 1), which is optimal for M options with wrong answers equally
    likely, so that a confidence of 1 / M weighs nothing. A weight below 0 counts against its option.
    tally: summed weights; only options with a ballot can win. A choice without a confidence in
    [0, 1] is rejected.
    """
    m = options_checked(n_options)
    if not 0.0 < clip < 0.5:
        raise CrossplayError(f"clip: expected a number in (0, 0.5), got {clip!r}")
    if prior not in ("even", "uniform"):
        raise CrossplayError(f'prior: expected "even" or "uniform", got {prior!r}')
    c, valid, rejected = choices_of(choices, m)
    p = matrix(confidences, 1, "confidences", whole=False)
    same_shape(c, p, "choices and confidences")
    bad = (c >= 0) & ~((p >= 0) & (p <= 1))
    c, valid, rejected = np.where(bad, -1, c), valid - bad.sum(-1), rejected + bad.sum(-1)
    p = np.clip(np.where(bad, 0.5, np.nan_to_num(p, nan=0.5)), clip, 1 - clip)
    w = np.log(p) - np.log1p(-p) + (np.log(m - 1) if prior == "uniform" and m > 1 else 0.0)
    return elected(tallied(c, m, w), valid, rejected, key, index, tallied(c, m) > 0)


def best_of_n(
    choices: Any, scores: Any, n_options: int, *, key: bytes, index: Any = None, combine: str = "max"
) -> Decision:
    """The choice that a verifier scores highest; choices int[..., V], scores float[..., V].

    combine: "max", the best single score of an option; "sum", the sum over its ballots (weighted
    best of n). tally: that score, -inf for options nobody chose. Equal scores of different options
    are a tie. A choice without a finite score is rejected.
    """
    m = options_checked(n_options)
    if combine not in ("max", "sum"):
        raise CrossplayError(f'combine: expected "max" or "sum", got {combine!r}')
    c, valid, rejected = choices_of(choices, m)
    s = matrix(scores, 1, "scores", whole=False)
    same_shape(c, s, "choices and scores")
    bad = (c >= 0) & ~np.isfinite(s)
    c, valid, rejected = np.where(bad, -1, c), valid - bad.sum(-1), rejected + bad.sum(-1)
    chosen = tallied(c, m) > 0
    if combine == "sum":
        tally = np.where(chosen, tallied(c, m, np.where(c >= 0, s, 0.0)), -np.inf)
        return elected(tally, valid, rejected, key, index, chosen)
    n = int(np.prod(c.shape[:-1]))
    flat, best = c.reshape(n, -1), np.full(n * m, -np.inf)
    good = flat >= 0
    np.maximum.at(best, (np.arange(n)[:, None] * m + flat)[good], s.reshape(flat.shape)[good])
    return elected(best.reshape(chosen.shape), valid, rejected, key, index, chosen, exact=True)


def judge(verdicts: Any, n_options: int, *, key: bytes, index: Any = None) -> Decision:
    """What one judge says; verdicts int[..., 1]. No valid ballot, no decision; never a tie."""
    m = options_checked(n_options)
    c, valid, rejected = choices_of(verdicts, m)
    if c.shape[-1] != 1:
        raise CrossplayError(f"judge: expected one ballot, got {c.shape[-1]}; several judges vote by another rule")
    return elected(tallied(c, m), valid, rejected, key, index, tallied(c, m) > 0)


def approval(approvals: Any, n_options: int, *, key: bytes, index: Any = None, ties: str = "draw") -> Decision:
    """Most approvals win; approvals bool[..., V, M] or integers 0, 1, a row of -1 = absent.

    An empty approval is a valid ballot; where nobody approves of anything there is no decision.
    tally: approvals per option.
    """
    m = options_checked(n_options)
    a = matrix(approvals, 2, "approvals", whole=True)
    _columns(a, m, "approvals")
    absent = (a == -1).all(-1)
    good = ((a == 0) | (a == 1)).all(-1)
    tally = np.where(good[..., None], a, 0).sum(-2).astype(np.float64)
    rejected = (~good & ~absent).sum(-1)
    return elected(tally, good.sum(-1), rejected, key, index, tally > 0, ties)


def cumulative(
    points: Any, n_options: int, *, key: bytes, index: Any = None, total: float | None = None, ties: str = "draw"
) -> Decision:
    """Most points win, every voter with the same weight; points float[..., V, M], a row of NaN = absent.

    total: what a ballot has to hand out, exactly (relative 1e-6); None accepts any positive sum. Each
    ballot is divided by its sum. Rejected: negative or infinite points, NaN beside numbers, a wrong
    total. tally: summed shares, so at most one per valid ballot.
    """
    m = options_checked(n_options)
    if total is not None and not total > 0:
        raise CrossplayError(f"total: expected a number above 0, got {total!r}")
    p = matrix(points, 2, "points", whole=False)
    _columns(p, m, "points")
    absent = np.isnan(p).all(-1)
    good = (np.isfinite(p) & (p >= 0)).all(-1)
    sums = np.where(good, np.where(good[..., None], p, 0.0).sum(-1), 0.0)
    good &= sums > 0 if total is None else np.abs(sums - total) <= 1e-6 * total
    shares = np.where(good[..., None], p, 0.0) / np.where(good, sums, 1.0)[..., None]
    tally = shares.sum(-2)
    return elected(tally, good.sum(-1), (~good & ~absent).sum(-1), key, index, tally > 0, ties)


def _columns(a: np.ndarray, m: int, what: str) -> None:
    if a.shape[-1] != m:
        raise CrossplayError(f"{what}: expected {m} columns, one per option, got shape {a.shape}")
