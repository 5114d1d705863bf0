"""Independent references: K* of equicorrelated vectors, the ceiling of pooled evidence, simulated votes."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

__all__ = ["accuracy", "ceiling", "distance", "equicorrelated", "kish", "kstar", "likeness", "votes"]

_T = np.linspace(-10.0, 24.0, 6801)


@lru_cache(maxsize=256)
def accuracy(d: float, m: int) -> float:
    """Chance that N(d, 1) exceeds m - 1 standard normal numbers (trapezoids)."""
    return float(np.trapezoid(norm.pdf(_T - d) * norm.cdf(_T) ** (m - 1), _T))


@lru_cache(maxsize=64)
def distance(skill: float, m: int) -> float:
    """The inverse of `accuracy`."""
    return float(brentq(lambda d: accuracy(d, m) - skill, 0.0, 12.0))


def kstar(rho: float, n: float) -> float:
    """K* of n unit vectors with equal cosine rho: eigenvalue 1 + (n - 1) rho once, 1 - rho n - 1 times."""
    first, rest = (1 + (n - 1) * rho) / n, (1 - rho) / n
    entropy = -first * math.log(first) - ((n - 1) * rest * math.log(rest) if rest > 0 else 0.0)
    return math.exp(entropy)


def kish(rho: float, n: int) -> float:
    """Kish's effective number n / (1 + (n - 1) rho)."""
    return n / (1 + (n - 1) * rho)


def equicorrelated(rho: float, n: int) -> np.ndarray:
    """N unit vectors of equal cosine rho in n dimensions: rows of a root of the Gram matrix."""
    return np.linalg.cholesky((1 - rho) * np.eye(n) + rho + 1e-15 * np.eye(n))


def ceiling(skill: float, m: int, rho: float, n: int) -> float:
    """Accuracy of whoever adds up the evidence of n readers with error correlation rho: distance grows by sqrt(Kish)."""
    return accuracy(distance(skill, m) * math.sqrt(kish(rho, n)), m)


def likeness(skill: float, m: int, rho: float) -> float:
    """Expected cosine of two readers' perceptions over many questions: shared noise and the signal itself.

    Per question m numbers with noise of variance 1 (in units of the noise) and the signal d at one of them.
    """
    d = distance(skill, m)
    return (rho * m + d * d) / (m + d * d)


@lru_cache(maxsize=64)
def votes(skill: float, m: int, rho: float, n: int, questions: int, seed: int) -> tuple[float, float]:
    """(accuracy of the plurality, ties shared out; accuracy of votes weighted by log-odds of confidence), simulated.

    Readers of equal skill whose noise has correlation rho; confidence is the posterior of the own answer, its weight
    ln(c / (1 - c)) + ln(m - 1), c kept within [.01, .99].
    """
    rng = np.random.default_rng(seed)
    d = distance(skill, m)
    seen = math.sqrt(1 - rho) * rng.standard_normal((questions, n, m))
    seen += math.sqrt(rho) * rng.standard_normal((questions, 1, m))
    seen[:, :, 0] += d
    said = seen.argmax(2)
    mass = np.exp(d * (seen - seen.max(2, keepdims=True)))
    sure = np.clip(mass.max(2) / mass.sum(2), 0.01, 0.99)
    chosen = said[..., None] == np.arange(m)
    counts = chosen.sum(1)
    top = counts == counts.max(1, keepdims=True)
    weights = (chosen * (np.log(sure / (1 - sure)) + math.log(m - 1))[..., None]).sum(1)
    weights = np.where(counts > 0, weights, -np.inf)
    return float((top[:, 0] / top.sum(1)).mean()), float((weights.argmax(1) == 0).mean())
