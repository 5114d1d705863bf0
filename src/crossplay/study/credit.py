"""Credit of members: leave-one-out and Shapley values of coalitions, as arithmetic on values per block.

A game gives each coalition (a set of places 0..n-1) its value in every block. Everything here is a pure
function of such values; which coalitions are played, and how, is `study.ablate`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from math import comb

import msgspec
import numpy as np

from crossplay.kernel import CrossplayError, permutation

__all__ = [
    "EXACT",
    "Coalition",
    "Stability",
    "all_coalitions",
    "draw_orders",
    "left_out",
    "of_orders",
    "sampled_shapley",
    "shapley",
    "stability",
    "win_rate",
]

Coalition = frozenset[int]
Values = Mapping[Coalition, np.ndarray]
"""Coalition -> float[blocks]."""
EXACT = 4
"""Up to so many members all coalitions are played: 16 at most."""


def all_coalitions(n: int) -> list[Coalition]:
    """The 2**n coalitions of n members, the empty one first, by size."""
    return [frozenset(c) for k in range(n + 1) for c in itertools.combinations(range(n), k)]


def draw_orders(n: int, draws: int, key: bytes) -> list[tuple[int, ...]]:
    """Seeded orders in which n members join, each drawn with its reverse after it (draws in all).

    The pairs are antithetic: they keep the mean and tend to lessen the scatter.
    """
    if draws < 1:
        raise CrossplayError(f"shapley: {draws} orders are too few, at least 1")
    found: list[tuple[int, ...]] = []
    for i in range((draws + 1) // 2):
        order = tuple(permutation(key, n, i))
        found += [order, order[::-1]]
    return found[:draws]


def of_orders(orders: Iterable[Sequence[int]]) -> list[Coalition]:
    """The coalitions that come about as members join in these orders, by size."""
    found = {frozenset(order[:k]) for order in orders for k in range(len(order) + 1)}
    return sorted(found, key=lambda c: (len(c), sorted(c)))


def left_out(values: Values, n: int) -> np.ndarray:
    """float[n, blocks]: what is lost without each member, v(N) - v(N without i)."""
    whole = frozenset(range(n))
    return np.stack([values[whole] - values[whole - {i}] for i in range(n)])


def shapley(values: Values, n: int) -> np.ndarray:
    """float[n, blocks]: Shapley values of the game in each block, from all 2**n coalitions.

    Source: Shapley 1953, "A value for n-person games": the mean over all orders of joining of what
    member i adds, sum_S |S|! (n - |S| - 1)! / n! (v(S + i) - v(S)).
    """
    found = np.zeros((n, len(values[frozenset()])))
    for i in range(n):
        for without in all_coalitions(n):
            if i not in without:
                found[i] += (values[without | {i}] - values[without]) / (n * comb(n - 1, len(without)))
    return found


def sampled_shapley(values: Values, orders: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray]:
    """(float[n, blocks], float[n]): the mean over these orders of what each member adds as it joins, and
    the standard error of its mean over blocks that comes of drawing orders (nan for fewer than four).

    In every block the values add up to v(N) - v(nobody), whatever the orders are. Orders come in pairs
    with their reverse, so pairs are the unit of the error.
    """
    n = len(orders[0])
    added = np.zeros((len(orders), n, len(values[frozenset()])))
    for o, order in enumerate(orders):
        for k, member in enumerate(order):
            added[o, member] = values[frozenset(order[: k + 1])] - values[frozenset(order[:k])]
    pairs = len(orders) // 2
    means = added.mean(-1)[: 2 * pairs].reshape(pairs, 2, n).mean(1)
    error = means.std(0, ddof=1) / np.sqrt(pairs) if pairs > 1 else np.full(n, np.nan)
    return added.mean(0), error


def win_rate(whole: np.ndarray, without: np.ndarray) -> float:
    """Share of the blocks in which the whole team does better than without a member; ties count half."""
    return float(((whole > without) + 0.5 * (whole == without)).mean())


class Stability(msgspec.Struct, frozen=True):
    """How much a member's win rate depends on the model behind the team.

    sd: of the win rates over models (sample). kind: "universal" where it is at most the limit (the
    member counts, or does not, whatever the model), else "conditional".
    """

    member: str
    sd: float
    low: float
    high: float
    kind: str


def stability(rates: Mapping[str, Mapping[str, float]], limit: float = 0.15) -> list[Stability]:
    """Universal and conditional members by the scatter of their win rates; rates: model -> member -> rate.

    The division of agents into the two follows PublicAgent (leave-one-agent-out over several models);
    the limit is ours. At least two models.
    """
    if len(rates) < 2:
        raise CrossplayError("universal or conditional: a scatter over models needs at least two")
    found = []
    for member in next(iter(rates.values())):
        column = np.array([per_member[member] for per_member in rates.values()])
        sd = float(column.std(ddof=1))
        kind = "universal" if sd <= limit else "conditional"
        found.append(Stability(member, sd, float(column.min()), float(column.max()), kind))
    return found
