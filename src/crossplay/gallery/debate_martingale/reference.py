"""The urn, written a second time without the engine: one path, all paths, many random paths, pools.

Each of N members holds alpha[i] over m options, at first concentration * p[i]. In every round each draws an
answer from alpha[i] / sum(alpha[i]); then every member adds to each answer's option the weight of who gave it,
w = exp(c (2 p[j][a] - 1)). Option 0 is the right one wherever "right" is said without an index.
"""

from __future__ import annotations

import itertools
import math

import numpy as np

__all__ = [
    "along",
    "distinct_shares",
    "enumerated",
    "pool_coverage",
    "simulated",
    "simulated_pool",
    "variance_bound",
]


def along(first: np.ndarray, answers: np.ndarray, weights: np.ndarray, concentration: float) -> np.ndarray:
    """Beliefs [T + 1, N, m] along given answers int[T, N] with weights [T, N]; first: [N, m]."""
    alpha = concentration * first
    beliefs = [first]
    for said, weight in zip(answers, weights, strict=True):
        heard = np.zeros(first.shape[1])
        np.add.at(heard, said, weight)
        alpha = alpha + heard
        beliefs.append(alpha / alpha.sum(1, keepdims=True))
    return np.array(beliefs)


def enumerated(first: np.ndarray, rounds: int, concentration: float, c: float) -> np.ndarray:
    """Exact mean over members of E[belief] in each option, [m], after `rounds` rounds: all m ** (N rounds) paths."""
    n, m = first.shape
    mean = np.zeros(m)
    for path in itertools.product(itertools.product(range(m), repeat=n), repeat=rounds):
        answers = np.array(path).reshape(rounds, n)
        weights = np.exp(c * (2 * first[np.arange(n), answers] - 1))
        beliefs = along(first, answers, weights, concentration)
        chance = math.prod(beliefs[t, i, answers[t, i]] for t in range(rounds) for i in range(n))
        mean += chance * beliefs[-1].mean(0)
    return mean


def variance_bound(members: int, rounds: int, concentration: float) -> float:
    """No less than the variance of the change of the mean belief at weight 1.

    A round moves it by g (share of an answer - belief), g = N / (S + N), S the weight before; the share of N
    draws with chances b[i] has the variance sum b (1 - b) / N^2 <= 1 / (4 N); changes of rounds are uncorrelated.
    """
    before = concentration + members * np.arange(rounds)
    return float(np.sum((members / (before + members)) ** 2) / (4 * members))


def simulated(
    quality_distance: float, m: int, members: int, rounds: int, concentration: float, c: float, n: int, seed: int
) -> np.ndarray:
    """Change of the mean belief in the right option, [n], of members with a clue each (noise of variance 1)."""
    rng = np.random.default_rng(seed)
    clue = rng.standard_normal((n, members, m))
    clue[:, :, 0] += quality_distance
    first = np.exp(quality_distance * clue)  # likelihood of N(d, 1) against N(0, 1), up to a factor
    first /= first.sum(2, keepdims=True)
    alpha = concentration * first
    for _ in range(rounds):
        belief = alpha / alpha.sum(2, keepdims=True)
        said = (rng.random((n, members, 1)) > belief.cumsum(2)).sum(2).clip(max=m - 1)
        weight = np.exp(c * (2 * np.take_along_axis(first, said[..., None], 2)[..., 0] - 1))
        alpha = alpha + ((said[..., None] == np.arange(m)) * weight[..., None]).sum(1, keepdims=True)
    last = alpha / alpha.sum(2, keepdims=True)
    return (last - first)[:, :, 0].mean(1)


def distinct_shares(draws: int, m: int) -> np.ndarray:
    """P(D = d), d = 0 .. m: different values among `draws` uniform draws of m, by the recursion over draws."""
    chance = np.zeros(m + 1)
    chance[0] = 1.0
    d = np.arange(m + 1)
    for _ in range(draws):
        chance = chance * d / m + np.concatenate([[0.0], (chance * (m - d) / m)[:-1]])
    return chance


def pool_coverage(members: int, candidates: int, m: int) -> float:
    """P(right option kept) when `members` of uniform candidates are kept, as different as can be: E[min(D, N)] / m.

    With m <= members it is 1 - (1 - 1/m) ** candidates.
    """
    kept = np.minimum(np.arange(m + 1), members)
    return float((distinct_shares(candidates, m) * kept).sum() / m)


def simulated_pool(
    distance: float, m: int, members: int, candidates: int, rounds: int, concentration: float, c: float, n: int, *,
    different: bool, knowing: bool = False, seed: int = 0
) -> np.ndarray:  # fmt: skip
    """Final mean belief in the right option, [n], of debates that start from a pool of first answers.

    different: the answers kept are as different as can be, in random order; else drawn. knowing: weights
    exp(+c) for right and exp(-c) for wrong answers, instead of exp(c (2 p - 1)).
    """
    rng = np.random.default_rng(seed)
    clue = rng.standard_normal((n, members, m))
    clue[:, :, 0] += distance
    first = np.exp(distance * clue)
    first /= first.sum(2, keepdims=True)
    of = np.arange(candidates) % members
    said = (rng.random((n, candidates, 1)) > first[:, of].cumsum(2)).sum(2).clip(max=m - 1)
    sure = np.take_along_axis(first[:, of], said[..., None], 2)[..., 0]
    order = rng.permuted(np.tile(np.arange(candidates), (n, 1)), axis=1)
    shuffled = np.take_along_axis(said, order, 1)
    again = np.zeros(shuffled.shape, bool)
    for i in range(1, candidates):
        again[:, i] = (shuffled[:, :i] == shuffled[:, i : i + 1]).any(1)
    if different:
        order = np.take_along_axis(order, np.argsort(again, axis=1, kind="stable"), 1)
    kept = order[:, :members]
    said, sure = np.take_along_axis(said, kept, 1), np.take_along_axis(sure, kept, 1)
    alpha = concentration * first
    for _ in range(rounds):
        told = np.where(said == 0, 1.0, -1.0) if knowing else 2 * sure - 1
        alpha = alpha + ((said[..., None] == np.arange(m)) * np.exp(c * told)[..., None]).sum(1, keepdims=True)
        belief = alpha / alpha.sum(2, keepdims=True)
        said = (rng.random((n, members, 1)) > belief.cumsum(2)).sum(2).clip(max=m - 1)
        sure = np.take_along_axis(first, said[..., None], 2)[..., 0]
    return (alpha / alpha.sum(2, keepdims=True))[:, :, 0].mean(1)
