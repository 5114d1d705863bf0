"""Behavioural profiles: which coded acts each agent shows, how unlike agents are, whether that is chance.

A message carries flags: one act of K (see `one_hot`) or any number of them. A profile is an agent's
rate of each flag. Cosines between rates are high by construction, because rates are not negative; so
similarities are shown beside a null in which the messages of a run change their speakers at random.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from crossplay.kernel.seeds import generator
from crossplay.kernel.types import CrossplayError
from crossplay.measure.agreement import jensen_shannon
from crossplay.measure.stats.blocks import factorise

__all__ = [
    "PermutationTest",
    "Profiles",
    "cosine",
    "cosine_test",
    "mean_cosine",
    "one_hot",
    "profile_distances",
    "profiles",
    "profiles_differ",
]

Distance = Literal["cosine", "jensen-shannon"]


class Profiles(msgspec.Struct, frozen=True, eq=False):
    """agents: their names, sorted. rates: float[A, K], share of an agent's messages with each flag.

    messages: int[A]. silent: flags that no message carries, as their positions (coders find nothing there).
    """

    agents: tuple[Any, ...]
    rates: Any
    messages: Any
    silent: tuple[int, ...]


class PermutationTest(msgspec.Struct, frozen=True):
    """An observed statistic against its distribution under random exchange.

    p: (1 + exchanges at least as extreme) / (1 + exchanges). null, low, high: mean, 2.5 % and 97.5 %
    quantile of the exchanges. excess: observed - null.
    """

    observed: float
    null: float
    low: float
    high: float
    p: float
    exchanges: int

    @property
    def excess(self) -> float:
        """How far the observed value stands above the null's mean."""
        return self.observed - self.null


def one_hot(acts: Any, n_acts: int) -> np.ndarray:
    """bool[n, K] of acts int[n] in 0 .. K - 1; -1 = no act, a row of False."""
    a = np.asarray(acts)
    if a.ndim != 1 or a.dtype.kind not in "iu" or (a < -1).any() or (a >= n_acts).any():
        raise CrossplayError(f"acts: expected whole numbers from -1 to {n_acts - 1}")
    return a[:, None] == np.arange(n_acts)


def _flags(flags: Any, agents: Sequence[Hashable] | np.ndarray) -> np.ndarray:
    f = np.asarray(flags)
    if f.ndim != 2 or len(f) != len(agents) or not len(f):
        raise CrossplayError(f"profiles: expected flags [messages, codes] and as many agents, got shape {f.shape}")
    if not np.isin(f, (0, 1)).all():
        raise CrossplayError("profiles: expected flags as 0 or 1")
    return f.astype(np.float64)


def _rates(f: np.ndarray, at: np.ndarray, a: int) -> np.ndarray:
    """[A, K]: mean flags of each agent; every agent has a message."""
    rates = np.stack([np.bincount(at, weights=column, minlength=a) for column in f.T], axis=1)
    return rates / np.bincount(at, minlength=a)[:, None]


def profiles(flags: Any, agents: Sequence[Hashable] | np.ndarray) -> Profiles:
    """The profile of each agent; flags bool[n, K] of n messages, agents[n]: who wrote them."""
    f = _flags(flags, agents)
    names, at = factorise(agents)
    silent = tuple(np.flatnonzero(~f.any(0)).tolist())
    return Profiles(names, _rates(f, at, len(names)), np.bincount(at, minlength=len(names)), silent)


def profile_distances(rates: Any, distance: Distance = "cosine") -> np.ndarray:
    """float[A, A] between profiles rates[A, K]: 1 - cosine, or Jensen-Shannon (bits) of the shares of flags.

    A profile without any flag is at distance 0 from another such one and 1 from every other.
    """
    r = np.asarray(rates, np.float64)
    if distance == "cosine":
        d = 1 - cosine(r[:, None], r[None])
    elif distance == "jensen-shannon":
        d = jensen_shannon(r[:, None], r[None])
    else:
        raise CrossplayError(f'distance: expected "cosine" or "jensen-shannon", got {distance!r}')
    none = np.asarray(~r.any(-1))
    return np.where(none[:, None] & none[None], 0.0, np.where(none[:, None] | none[None], 1.0, d))


def _mean_distance(rates: np.ndarray, distance: Distance) -> float:
    d = profile_distances(rates, distance)
    return float(d[np.triu_indices(len(d), 1)].mean())


def _test(observed: float, null: np.ndarray) -> PermutationTest:
    """One-sided: large values are extreme. Sums in another order are not counted as smaller."""
    reached = int((null >= observed - 1e-12 * max(1.0, abs(observed))).sum())
    low, high = np.quantile(null, [0.025, 0.975])
    return PermutationTest(
        observed, float(null.mean()), float(low), float(high), (1 + reached) / (1 + null.size), null.size
    )


def profiles_differ(
    flags: Any,
    agents: Sequence[Hashable] | np.ndarray,
    runs: Sequence[Hashable] | np.ndarray,
    *,
    key: bytes,
    distance: Distance = "cosine",
    exchanges: int = 999,
) -> PermutationTest:
    """Whether agents behave differently: mean distance of their profiles against exchanged speakers.

    flags bool[n, K], agents[n], runs[n]: the run (or group) of each message; speakers are exchanged
    within a run only, so that what all agents of a run share stays in the null. Messages of one agent
    that follow from each other make p too small: thin them or use one flag row per agent and run.
    """
    f = _flags(flags, agents)
    names, at = factorise(agents)
    groups, run = factorise(runs)
    if len(run) != len(at):
        raise CrossplayError(f"profiles: {len(at)} messages but {len(run)} runs")
    if len(names) < 2 or exchanges < 1:
        raise CrossplayError("profiles: a comparison needs two agents at least, and one exchange")
    r = generator(key)
    members = [np.flatnonzero(run == g) for g in range(len(groups))]
    null = np.empty(exchanges)
    for i in range(exchanges):
        speaker = at.copy()
        for rows in members:
            speaker[rows] = at[r.permutation(rows)]
        null[i] = _mean_distance(_rates(f, speaker, len(names)), distance)
    return _test(_mean_distance(_rates(f, at, len(names)), distance), null)


def cosine(a: Any, b: Any) -> np.ndarray:
    """Cosine similarity float[...] of vectors a, b [..., D]; 0 where one of them is 0."""
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise CrossplayError("cosine: expected finite numbers")
    length = np.linalg.norm(x, axis=-1) * np.linalg.norm(y, axis=-1)
    return np.clip((x * y).sum(-1) / np.where(length > 0, length, 1.0), -1.0, 1.0)


def mean_cosine(vectors: Any) -> np.ndarray:
    """Mean cosine float[...] over the pairs of vectors [..., N, D], N >= 2."""
    x = np.asarray(vectors, np.float64)
    if x.ndim < 2 or x.shape[-2] < 2:
        raise CrossplayError(f"mean cosine: expected at least two vectors, got shape {x.shape}")
    i, j = np.triu_indices(x.shape[-2], 1)
    return cosine(x[..., i, :], x[..., j, :]).mean(-1)


def cosine_test(a: Any, b: Any, *, key: bytes, exchanges: int = 999) -> PermutationTest:
    """Whether rows that belong together are more alike than rows matched at random; a, b [n, D].

    Statistic: mean cosine of the n pairs; null: the rows of b in random order.
    """
    x, y = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if x.ndim != 2 or x.shape != y.shape or len(x) < 2 or exchanges < 1:
        raise CrossplayError(f"cosine test: expected two arrays [n, D] with n >= 2, got {x.shape} and {y.shape}")
    all_pairs = cosine(x[:, None], y[None]) if len(x) <= 1000 else None
    r, rows = generator(key), np.arange(len(x))

    def statistic(order: np.ndarray) -> float:
        return float((cosine(x, y[order]) if all_pairs is None else all_pairs[rows, order]).mean())

    return _test(statistic(rows), np.array([statistic(r.permutation(len(x))) for _ in range(exchanges)]))
