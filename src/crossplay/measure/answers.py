"""What the answers of a team's members say: spread, changes of mind, coverage of the pool, shares of talk.

Answers are choices int[..., V] as the decision rules read them: an option in 0 .. M - 1, -1 = none.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import msgspec
import numpy as np

from crossplay.kernel.seeds import permutation
from crossplay.kernel.types import CrossplayError
from crossplay.measure.ballots import choices_of, matrix, options_checked, tallied
from crossplay.measure.stats.blocks import block_means
from crossplay.measure.stats.intervals import mean_t
from crossplay.measure.stats.results import Estimate

__all__ = [
    "AnswerChanges",
    "answer_changes",
    "answer_spread",
    "correlations",
    "coverage",
    "coverage_expected",
    "coverage_of_draws",
    "covered",
    "inequality",
    "select_different",
    "select_farthest",
]


def answer_spread(choices: Any, n_options: int) -> tuple[np.ndarray, np.ndarray]:
    """(gini, consensus) float[...] of choices int[..., V]: 1 - sum p**2 and sum p**2 over the options.

    p: share of the valid answers; nan where there is none.
    """
    m = options_checked(n_options)
    c, valid, _ = choices_of(choices, m)
    p = tallied(c, m) / np.where(valid > 0, valid, 1)[..., None]
    consensus = np.where(valid > 0, (p * p).sum(-1), np.nan)
    return 1 - consensus, consensus


def inequality(amounts: Any) -> np.ndarray:
    """Gini coefficient float[...] of amounts[..., n] >= 0: 0 = all alike, (n - 1) / n = one has all.

    On the words of each member it measures monopolisation. sum_ij |x_i - x_j| / (2 n**2 mean); nan
    where all is 0.
    """
    x = np.sort(matrix(amounts, 1, "amounts", whole=False), axis=-1)
    if x.shape[-1] == 0 or not np.isfinite(x).all() or (x < 0).any():
        raise CrossplayError("inequality: expected finite amounts of at least 0, one per member")
    n, total = x.shape[-1], x.sum(-1)
    ranks = 2 * np.arange(1, n + 1) - n - 1
    return np.where(total > 0, (ranks * x).sum(-1) / np.where(total > 0, n * total, 1), np.nan)


class AnswerChanges(msgspec.Struct, frozen=True, eq=False):
    """Members' answers from each turn to the next, int64[T - 1], over all elections and members.

    unchecked: pairs of turns in which one answer at least was missing. net: wrong to right minus right to wrong.
    """

    right_right: Any
    right_wrong: Any
    wrong_right: Any
    wrong_wrong: Any
    unchecked: Any

    @property
    def net(self) -> np.ndarray:
        """int64[T - 1]: how many more answers were mended than spoilt."""
        return self.wrong_right - self.right_wrong


def answer_changes(choices: Any, truth: Any) -> AnswerChanges:
    """The answer-change matrix; choices int[E, T, V] of E elections over T turns, truth int[E].

    Any answer of 0 or more counts as given.
    """
    c, right = matrix(choices, 3, "choices", whole=True), np.asarray(truth)
    if c.ndim != 3 or right.shape != c.shape[:1]:
        raise CrossplayError(f"answer changes: expected choices [E, T, V] and truth [E], got {c.shape}, {right.shape}")
    hit, given = c == right[:, None, None], c >= 0
    both = given[:, :-1] & given[:, 1:]
    before, after = hit[:, :-1], hit[:, 1:]

    def count(mask: np.ndarray) -> np.ndarray:
        return mask.sum((0, 2))

    return AnswerChanges(
        count(both & before & after),
        count(both & before & ~after),
        count(both & ~before & after),
        count(both & ~before & ~after),
        count(~both),
    )


def covered(choices: Any, truth: Any) -> np.ndarray:
    """bool[...]: whether the right answer is in the pool; choices int[..., V], truth int[...]."""
    c = matrix(choices, 1, "choices", whole=True)
    return (c == np.asarray(truth)[..., None]).any(-1)


def coverage(
    choices: Any, truth: Any, blocks: Sequence[Hashable] | np.ndarray | None = None, level: float = 0.95
) -> Estimate:
    """Measured P(right answer in the pool) over elections; choices int[E, V], truth int[E], blocks[E]."""
    hit = covered(choices, truth)
    if hit.ndim != 1:
        raise CrossplayError(f"coverage: expected choices [elections, voters], got shape {np.shape(choices)}")
    return mean_t(block_means(hit, np.arange(hit.size) if blocks is None else blocks).means, level, (0.0, 1.0))


def coverage_expected(p: Any, n: Any) -> np.ndarray:
    """1 - (1 - p)**n: P(right answer among n independent answers), each right with probability p."""
    p, n = np.asarray(p, np.float64), np.asarray(n)
    if not ((p >= 0) & (p <= 1)).all() or (n < 0).any():
        raise CrossplayError("coverage: expected p in [0, 1] and n of at least 0")
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(n == 0, 0.0, -np.expm1(n * np.log1p(-p)))


def coverage_of_draws(right: Any, n: Any, k: Any) -> np.ndarray:
    """P(right answer among k of the n answers), drawn without replacement; `right` of the n are right.

    1 - C(n - right, k) / C(n, k): unbiased for 1 - (1 - p)**k (Chen et al. 2021, arXiv 2107.03374).
    """
    c, n, k = np.broadcast_arrays(np.asarray(right), np.asarray(n), np.asarray(k))
    if ((c < 0) | (c > n) | (k < 0) | (k > n)).any():
        raise CrossplayError("coverage: expected 0 <= right <= n and 0 <= k <= n")
    from scipy.special import gammaln

    some = n - c >= k
    rest = np.where(some, n - c, k)
    log = gammaln(rest + 1) - gammaln(rest - k + 1) - gammaln(n + 1) + gammaln(n - k + 1)
    return np.where(some, -np.expm1(log), 1.0)


def select_different(choices: Any, n: int, key: bytes) -> list[int]:
    """N of the candidates choices int[C] with as many different answers as there can be, in seeded order.

    First one candidate of each answer, then the others; candidates without an answer (-1) come last.
    """
    c = matrix(choices, 1, "choices", whole=True)
    _enough(n, c.size)
    order = permutation(key, c.size)
    seen: set[int] = set()
    first, again, empty = [], [], []
    for i in order:
        answer = int(c[i])
        if answer < 0:
            empty.append(i)
        elif answer in seen:
            again.append(i)
        else:
            seen.add(answer)
            first.append(i)
    return (first + again + empty)[:n]


def select_farthest(embeddings: Any, n: int, key: bytes) -> list[int]:
    """N of the candidates float[C, D], each farthest (in cosine) from those chosen before it.

    The first is drawn; of equally far ones the earlier in a seeded order is taken.
    """
    x = matrix(embeddings, 2, "embeddings", whole=False)
    _enough(n, len(x))
    x = x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-300)
    order = np.array(permutation(key, len(x)), dtype=np.int64)
    chosen = order[:1].tolist()
    near = x @ x[chosen[0]] if n else np.zeros(0)
    while len(chosen) < n:
        near[chosen] = np.inf
        best = order[np.argmin(np.round(near[order], 12))]
        chosen.append(int(best))
        near = np.maximum(near, x @ x[best])
    return chosen[:n]


def _enough(n: int, candidates: int) -> None:
    if not 0 <= n <= candidates:
        raise CrossplayError(f"selection: expected between 0 and {candidates} candidates, got {n}")


def correlations(value: Any, others: dict[str, Any]) -> dict[str, float | None]:
    """Pearson's r of value[n] with each of the others[n], e.g. K* per question with gini and correctness.

    None where fewer than three pairs are finite or one side does not vary.
    """
    x = matrix(value, 1, "value", whole=False)
    found: dict[str, float | None] = {}
    for name, other in others.items():
        y = np.asarray(other, np.float64)
        if y.shape != x.shape:
            raise CrossplayError(f"correlations: {name} has shape {y.shape}, expected {x.shape}")
        both = np.isfinite(x) & np.isfinite(y)
        a, b = x[both], y[both]
        flat = a.size < 3 or np.ptp(a) == 0 or np.ptp(b) == 0
        found[name] = None if flat else float(np.corrcoef(a, b)[0, 1])
    return found
