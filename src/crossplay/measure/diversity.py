"""Diversity of a team's texts: K*, the number of effective channels, with the yardsticks it needs.

K* = 2**H, where H is the entropy in bits of the normalised eigenvalues of the uncentred Gram matrix of
unit text embeddings ("Understanding Agent Scaling via Diversity", arXiv 2602.03794, as its published
code computes it). It runs from 1 (all texts alike) to the number of texts (orthogonal).

Three things are worth knowing before a table shows it. It does not level off for noisy clones: with
equal cosine rho it grows about as N ** (1 - rho), so K*/N and Kish's effective number stand beside
it. It depends on what is counted as a text, so a result carries its mode and modes are never mixed in
one table. And texts differ for many reasons, so each mode has a shuffled baseline, where the mode
allows one.

Embeddings come as arrays float[..., N, D] (N texts or agents, D dimensions); no model is called here.
A text that does not exist is marked in present bool[..., N] and adds nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np

from crossplay.kernel.seeds import draw, key64
from crossplay.kernel.seeds import key as named
from crossplay.kernel.types import CrossplayError
from crossplay.measure.stats.intervals import mean_t
from crossplay.measure.stats.results import Estimate

__all__ = [
    "Baseline",
    "ByCorrectness",
    "Diversity",
    "contributions",
    "diversity_table",
    "effective_channels",
    "kish",
    "kstar_by_correctness",
    "kstar_cumulative",
    "kstar_per_question",
    "kstar_round_mean",
    "kstar_weighted",
    "shuffled_per_question",
    "shuffled_round_mean",
]

Mode = Literal["per_question_agent", "round_agent_avg", "round_cum_text"]
DUST = 1e-12  # eigenvalue shares up to this are rounding


class Diversity(msgspec.Struct, frozen=True, eq=False):
    """K* in one mode. kstar, share = K*/N, kish, n: [Q] per question or [R] per round, by the mode.

    n: texts (or agents) behind each value. mean: over questions with its interval, None for rounds.
    """

    mode: Mode
    kstar: Any
    share: Any
    kish: Any
    n: Any
    mean: Estimate | None = None


class Baseline(msgspec.Struct, frozen=True, eq=False):
    """K* of shuffled texts in one mode. kstar: float[draws] (mean over questions) or float[draws, R].

    low, mean, high: 2.5 % quantile, mean and 97.5 % quantile over the draws, a number or [R].
    """

    mode: Mode
    kstar: Any
    low: Any
    mean: Any
    high: Any


class ByCorrectness(msgspec.Struct, frozen=True, eq=False):
    """K* among the texts of right and of wrong answers, float[...]; effective = right - 0.5 wrong."""

    right: Any
    wrong: Any
    effective: Any
    n_right: Any
    n_wrong: Any


def _embeddings(embeddings: Any, dims: int, present: Any) -> tuple[np.ndarray, np.ndarray]:
    """(unit rows float64[..., N, D], present bool[..., N]); rows that are absent are zeros."""
    x = np.asarray(embeddings, dtype=np.float64)
    if x.ndim < dims:
        raise CrossplayError(f"embeddings: expected at least {dims} dimensions, got shape {x.shape}")
    there = np.ones(x.shape[:-1], bool) if present is None else np.asarray(present, bool)
    if there.shape != x.shape[:-1]:
        raise CrossplayError(f"present: expected shape {x.shape[:-1]}, got {there.shape}")
    x = np.where(there[..., None], x, 0.0)
    if not np.isfinite(x).all():
        raise CrossplayError("embeddings: a text that is present has numbers that are not finite")
    length = np.sqrt((x * x).sum(-1, keepdims=True))
    return x / np.where(length > 0, length, 1.0), there


def effective_channels(rows: Any) -> np.ndarray:
    """K* float[...] of rows float[..., N, D] as they are: not normalised, not centred; no row or only zeros: 1.

    lambda = eigenvalues of rows rows^T (or rows^T rows, whichever is smaller) over their sum, shares
    up to 1e-12 dropped; K* = 2 ** -sum lambda log2 lambda, in [1, N].
    """
    x = np.asarray(rows, dtype=np.float64)
    if x.shape[-2] == 0:
        return np.ones(x.shape[:-2])
    turned = np.swapaxes(x, -1, -2)
    gram = x @ turned if x.shape[-2] <= x.shape[-1] else turned @ x
    values = np.maximum(np.linalg.eigvalsh(gram), 0.0)
    total = values.sum(-1, keepdims=True)
    shares = values / np.where(total > 0, total, 1.0)
    shares = np.where(shares > DUST, shares, 0.0)
    entropy = -(shares * np.log2(np.where(shares > 0, shares, 1.0))).sum(-1)
    return 2.0**entropy


def kish(embeddings: Any, present: Any = None) -> np.ndarray:
    """Kish's effective number float[...]: n / (1 + (n - 1) rho), rho the mean cosine between the texts.

    Infinite where the texts cancel out (their sum is 0), nan without texts.
    """
    x, there = _embeddings(embeddings, 2, present)
    n = there.sum(-1).astype(np.float64)
    together = np.square(x.sum(-2)).sum(-1)  # sum of all cosines, the n of a text with itself included
    with np.errstate(divide="ignore", invalid="ignore"):
        return n * n / np.where(together > 1e-12 * n * n, together, 0.0)


def _diversity(mode: Mode, kstar: np.ndarray, number: np.ndarray, n: np.ndarray, mean: Estimate | None) -> Diversity:
    return Diversity(mode, kstar, kstar / np.maximum(n, 1), number, n, mean)


def kstar_per_question(embeddings: Any, present: Any = None, level: float = 0.95) -> Diversity:
    """Mode per_question_agent: embeddings [Q, N, D], one text per question and agent; K* over agents.

    The text is an agent's rounds joined, or its last one: the caller says which. Questions without
    any text are refused. mean: over questions, t interval.
    """
    x, there = _embeddings(embeddings, 3, present)
    _dims(x, 3, "[questions, agents, dimensions]")
    n = there.sum(-1)
    if not n.size or (n == 0).any():
        raise CrossplayError("K* per question: every question needs a text of at least one agent")
    k = effective_channels(x)
    return _diversity("per_question_agent", k, kish(x, there), n, mean_t(k, level))


def _dims(x: np.ndarray, dims: int, what: str) -> None:
    if x.ndim != dims:
        raise CrossplayError(f"embeddings: expected {what}, got shape {x.shape}")


def _complete(x: np.ndarray, there: np.ndarray, r: int) -> np.ndarray:
    """[Q', N, D]: the texts of one round on the questions that all agents answered in it."""
    kept = x[r][there[r].all(-1)]
    if not len(kept):
        raise CrossplayError(f"K* of round means: no question was answered by all agents in round {r}")
    return kept


def kstar_round_mean(embeddings: Any, present: Any = None) -> Diversity:
    """Mode round_agent_avg: embeddings [R, Q, N, D]; per round, K* over the agents' mean embeddings.

    The mean is over the questions that all agents answered in that round; the means are not brought
    back to unit length. Averaging first makes agents alike (K* near 1): never compare it with the
    other modes.
    """
    x, there = _embeddings(embeddings, 4, present)
    _dims(x, 4, "[rounds, questions, agents, dimensions]")
    means = np.stack([_complete(x, there, r).mean(0) for r in range(len(x))])
    n = np.full(len(x), x.shape[2])
    return _diversity("round_agent_avg", effective_channels(means), kish(means), n, None)


def kstar_cumulative(embeddings: Any, present: Any = None) -> Diversity:
    """Mode round_cum_text: embeddings [R, Q, N, D]; K* over all texts up to and with each round.

    A diagnostic only: it grows with the number of texts.
    """
    x, there = _embeddings(embeddings, 4, present)
    _dims(x, 4, "[rounds, questions, agents, dimensions]")
    rows, some = x.reshape(len(x), -1, x.shape[-1]), there.reshape(len(x), -1)
    so_far = [np.concatenate(rows[: r + 1]) for r in range(len(x))]
    marks = [np.concatenate(some[: r + 1]) for r in range(len(x))]
    kstar = np.array([float(effective_channels(m)) for m in so_far])
    number = np.array([float(kish(m, s)) for m, s in zip(so_far, marks, strict=True)])
    return _diversity("round_cum_text", kstar, number, np.array([int(s.sum()) for s in marks]), None)


def diversity_table(results: Mapping[str, Diversity]) -> list[dict[str, Any]]:
    """One row per named result: name, mode, K*, K*/N, Kish and N, averaged over questions or per round.

    Refuses results of different modes: their values mean different things.
    """
    modes = {d.mode for d in results.values()}
    if len(modes) > 1:
        named = ", ".join(f"{name} ({d.mode})" for name, d in results.items())
        raise CrossplayError(f"K* of different modes in one table: {named}; make one table per mode")
    rows = []
    for name, d in results.items():
        row: dict[str, Any] = {"name": name, "mode": d.mode, "mean": d.mean}
        for field in ("kstar", "share", "kish", "n"):
            value = getattr(d, field)
            row[field] = value.tolist() if d.mean is None else float(np.mean(value))
        rows.append(row)
    return rows


def _shuffles(key: bytes, draws: int, n: int, size: int) -> np.ndarray:
    """int64[draws, n, size]: independent random orders of range(size)."""
    if draws < 1:
        raise CrossplayError(f"draws: expected at least 1, got {draws}")
    k = np.full((1, 1, 1), key64(key), np.uint64)
    at = draw(k, np.arange(draws)[:, None, None], np.arange(n)[None, :, None], np.arange(size)[None, None, :])
    return at.argsort(-1, kind="stable")


def _baseline(mode: Mode, kstar: np.ndarray) -> Baseline:
    low, high = np.quantile(kstar, [0.025, 0.975], axis=0)
    return Baseline(mode, kstar, low, kstar.mean(0), high)


def shuffled_per_question(embeddings: Any, key: bytes, draws: int = 20, present: Any = None) -> Baseline:
    """Baseline of per_question_agent: each agent's texts [Q, N, D] in a random order of questions.

    It keeps every agent's own style and breaks what the agents share by answering the same question.
    (Exchanging agents within a question would leave K* as it is.)
    """
    x, there = _embeddings(embeddings, 3, present)
    _dims(x, 3, "[questions, agents, dimensions]")
    agents = np.arange(x.shape[1])
    values = []
    for order in _shuffles(key, draws, x.shape[1], x.shape[0]):
        mixed, some = x[order.T, agents], there[order.T, agents]
        values.append(effective_channels(mixed)[some.any(-1)].mean())
    return _baseline("per_question_agent", np.array(values))


def shuffled_round_mean(embeddings: Any, key: bytes, draws: int = 20, present: Any = None) -> Baseline:
    """Baseline of round_agent_avg: within each round and question of [R, Q, N, D] the agents change names.

    What is left is the K* of agents that differ by chance only.
    """
    x, there = _embeddings(embeddings, 4, present)
    _dims(x, 4, "[rounds, questions, agents, dimensions]")
    values = np.empty((draws, len(x)))
    for r in range(len(x)):
        texts = _complete(x, there, r)
        orders = _shuffles(named("round", key, r), draws, len(texts), texts.shape[1])
        for d, order in enumerate(orders):
            values[d, r] = effective_channels(np.take_along_axis(texts, order[..., None], 1).mean(0))
    return _baseline("round_agent_avg", values)


def kstar_by_correctness(embeddings: Any, correct: Any, present: Any = None) -> ByCorrectness:
    """K* among right and among wrong answers; embeddings [..., N, D], correct bool[..., N].

    One text, or none, has K* = 1; so n_right and n_wrong say what a value rests on.
    """
    x, there = _embeddings(embeddings, 2, present)
    good = np.asarray(correct, bool) & there
    bad = ~np.asarray(correct, bool) & there
    right, wrong = (effective_channels(np.where(m[..., None], x, 0.0)) for m in (good, bad))
    return ByCorrectness(right, wrong, right - 0.5 * wrong, good.sum(-1), bad.sum(-1))


def kstar_weighted(
    embeddings: Any,
    correct: Any,
    present: Any = None,
    weights: tuple[float, float, float] = (1.0, 0.5, 0.3),
) -> np.ndarray:
    """K* float[...] with rows scaled by weights for right, unknown and wrong, brought to sum n.

    correct: int[..., N], 1 right, 0 wrong, -1 unknown.
    """
    x, there = _embeddings(embeddings, 2, present)
    c = np.asarray(correct)
    if not np.isin(c, (-1, 0, 1)).all():
        raise CrossplayError("correct: expected 1 (right), 0 (wrong) or -1 (unknown)")
    w = np.select([c == 1, c == -1], weights[:2], weights[2]) * there
    total = w.sum(-1, keepdims=True)
    w = w * there.sum(-1, keepdims=True) / np.where(total > 0, total, 1.0)
    return effective_channels(x * w[..., None])


def contributions(embeddings: Any, present: Any = None) -> np.ndarray:
    """Delta K*_i float[..., N]: K* of all texts minus K* without text i; nan for texts that are absent."""
    x, there = _embeddings(embeddings, 2, present)
    whole = effective_channels(x)
    without = [effective_channels(np.delete(x, i, axis=-2)) for i in range(x.shape[-2])]
    return np.where(there, whole[..., None] - np.stack(without, -1), np.nan)
