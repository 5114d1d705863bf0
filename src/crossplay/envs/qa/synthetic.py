"""`qa/synthetic`: questions that are only a hidden right answer and noisy clues about it.

For answerers without any knowledge of the world. A question has m options, the right one y drawn
uniformly, and an ease h in 0..1 drawn uniformly. Each of the channels c offers a *clue*, a vector of m
numbers that favours y by a distance d:

    clue[c][o] = d(c, h) 1[o = y] + sqrt(rho) z[o] + sqrt(1 - rho) e[c][o],     z, e ~ N(0, 1)
    d(c, h)    = d(c) (1 + spread (2h - 1))

rho (option `correlation`) is the correlation of the errors of two channels. Who believes the largest
number of one channel is right with the chance that one normal variable with mean d exceeds m - 1
standard ones (the m-alternative forced choice of signal detection: Green and Swets 1966):

    accuracy(d, m) = integral phi(t - d) Phi(t)^(m-1) dt

The option `quality` gives this accuracy per channel at median ease; d(c) is found by inversion.
Clues are drawn from the environment's key: all a seat may know of y is in them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from statistics import NormalDist
from typing import Any

from crossplay.envs.qa.question import Question, Source, letters_of
from crossplay.kernel.seeds import draw, pick, uniform
from crossplay.kernel.types import CrossplayError

__all__ = ["OPTIONS", "Synthetic", "accuracy", "distance", "normal", "pooled_distance", "posterior", "solo_accuracy"]

_N = NormalDist()
_EASES = 9  # points of the rule that averages over the ease
OPTIONS: dict[str, dict[str, Any]] = {
    "options": {
        "type": "integer",
        "minimum": 2,
        "maximum": 26,
        "default": 4,
        "description": "Number of options per question.",
    },
    "channels": {
        "type": "integer",
        "minimum": 1,
        "maximum": 64,
        "default": 16,
        "description": "Number of channels, each with one clue per question.",
    },
    "quality": {
        "default": 0.65,
        "description": "Accuracy of whoever believes one clue, above chance and below 1: one number, or one per channel.",
    },
    "correlation": {
        "type": "number",
        "minimum": 0.0,
        "maximum": 0.99,
        "default": 0.0,
        "description": "Correlation of the errors of two channels.",
    },
    "spread": {
        "type": "number",
        "minimum": 0.0,
        "maximum": 1.0,
        "default": 0.0,
        "description": "How far questions differ in difficulty: 0 all equal, 1 from hopeless to twice as clear.",
    },
}


def normal(k: bytes, *counters: int) -> float:
    """A standard normal number at an address (inverse of the distribution function)."""
    return _N.inv_cdf(max(uniform(k, *counters), 2.0**-54))


@cache
def accuracy(d: float, options: int) -> float:
    """Chance that N(d, 1) exceeds options - 1 standard normal numbers; Simpson's rule, error below 1e-9."""
    low, high, n = -9.0, 9.0 + d, 2 * math.ceil((18.0 + d) * 20)
    step = (high - low) / n
    total = 0.0
    for i in range(n + 1):
        t = low + i * step
        weight = 1 if i in (0, n) else 4 if i % 2 else 2
        total += weight * _N.pdf(t - d) * _N.cdf(t) ** (options - 1)
    return total * step / 3


@cache
def distance(quality: float, options: int) -> float:
    """The distance d at which `accuracy(d, options)` is quality; 0 at chance. Bisection to 1e-12."""
    if not 1 / options - 1e-9 <= quality < 1:
        raise CrossplayError(
            f"qa/synthetic: quality = {quality!r}: with {options} options it lies from {1 / options:.4g} to below 1"
        )
    low, high = 0.0, 20.0
    if accuracy(high, options) < quality:
        raise CrossplayError(f"qa/synthetic: quality = {quality!r} is too near to 1")
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if accuracy(middle, options) < quality else (low, middle)
    return 0.0 if high < 1e-9 else (low + high) / 2


def solo_accuracy(quality: float, options: int, correlation: float = 1.0, spread: float = 0.0) -> float:
    """Accuracy of a reader of one channel who adds noise of its own.

    correlation: of the errors of two such readers of the channel; the reader's noise has variance
    1/correlation - 1, so that d shrinks by sqrt(correlation). Averaged over the ease of questions.
    """
    d = distance(quality, options) * math.sqrt(correlation)
    return sum(w * accuracy(d * scale, options) for scale, w in eases(spread))


@cache
def eases(spread: float) -> tuple[tuple[float, float], ...]:
    """(factor of d, weight): a rule of nine points (Gauss and Legendre) over the ease; one point without spread."""
    if spread == 0:
        return ((1.0, 1.0),)
    import numpy as np

    points, weights = np.polynomial.legendre.leggauss(_EASES)
    return tuple((1 + spread * float(p), float(w) / 2) for p, w in zip(points, weights, strict=True))


def pooled_distance(distances: Sequence[float], correlation: float) -> float:
    """The distance that all channels have together: sqrt(d' S^-1 d), S = (1 - rho) I + rho 11'.

    S^-1 = (I - rho / (1 + (n - 1) rho) 11') / (1 - rho) (Sherman and Morrison).
    """
    n, total = len(distances), sum(distances)
    square = sum(d * d for d in distances) - correlation / (1 + (n - 1) * correlation) * total * total
    return math.sqrt(max(0.0, square) / (1 - correlation))


def posterior(evidence: Sequence[float], d: float, variance: float = 1.0, spread: float = 0.0) -> list[float]:
    """Chance of each option given evidence N(d 1[o = y], variance), uniform before; averaged over the ease."""
    rule = eases(spread)
    logs = [[(s * d * x - s * s * d * d / 2) / variance + math.log(w) for s, w in rule] for x in evidence]
    top = max(max(row) for row in logs)
    mass = [sum(math.exp(v - top) for v in row) for row in logs]
    total = sum(mass)
    return [m / total for m in mass]


class Synthetic(Source):
    """Hidden answers and clues."""

    reads = "choice"
    permutes = False  # the right answer is drawn uniformly
    metrics = {"ease": "ease of the question, 0 hard to 1 easy"}

    def __init__(self, options: Mapping[str, Any]) -> None:
        """options: of `OPTIONS`."""
        self.letters = self.m = options["options"]
        self.rho, self.spread = float(options["correlation"]), float(options["spread"])
        n, quality = options["channels"], options["quality"]
        qualities = [quality] * n if isinstance(quality, (int, float)) else list(quality)
        if len(qualities) != n or not all(isinstance(q, (int, float)) for q in qualities):
            raise CrossplayError(f"qa/synthetic: quality = {quality!r}: one number, or {n}, one per channel")
        self.distances = [distance(float(q), self.m) for q in qualities]
        self.rules = (
            f"Each question has {self.m} options, and one is right; nothing but the clues says which. A channel's clue "
            "holds one number per option: normal noise, and more for the right option."
        )

    def drawn(self, k: bytes) -> Question:
        """A question at a key: id, right answer, ease and clues are addressed draws."""
        m, right, ease = self.m, pick(k, self.m, 1), uniform(k, 2)
        scale = 1 + self.spread * (2 * ease - 1)
        shared, own = math.sqrt(self.rho), math.sqrt(1 - self.rho)
        common = [normal(k, 3, o) for o in range(m)]
        clues = [
            [shared * common[o] + own * normal(k, 4, c, o) + (d * scale if o == right else 0.0) for o in range(m)]
            for c, d in enumerate(self.distances)
        ]
        name = f"{draw(k, 0):016x}"
        known = {
            "id": name,
            "clues": clues,
            "distances": list(self.distances),
            "correlation": self.rho,
            "spread": self.spread,
        }
        choices = tuple(f"option {i + 1}" for i in range(m))
        return Question(name, f"Question {name}: which option is right?", right, choices, known, {"ease": ease})

    def view(self, data: Mapping[str, Any]) -> str:
        """One line per channel."""
        names = letters_of(self.m)
        return "\n".join(
            f"Clue of channel {c} (distance {d:.2f}): "
            + ", ".join(f"{n} {x:+.2f}" for n, x in zip(names, clue, strict=True))
            for c, (clue, d) in enumerate(zip(data["clues"], data["distances"], strict=True))
        )

    def omits(self, view: str) -> str:
        """The text rounds."""
        return "digits of clues and distances beyond the second, correlation and spread" if view == "text" else ""
