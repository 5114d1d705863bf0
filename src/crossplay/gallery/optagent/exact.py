"""The exact distribution of a small discussion: every draw enumerated, no engine involved.

A state is (which debaters are right, the value of each pair). One meeting branches over the pair that is
chosen, over who is talked round, and over the reflector's clue. Two options, debaters of one openness.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator

__all__ = ["debated", "learnt", "majority"]

Right = tuple[bool, ...]
Values = tuple[float, ...]
Law = dict[Right, float]


def majority(law: Law) -> tuple[float, float]:
    """(chance that more than half are right, expected share that is right) of an odd number of debaters."""
    most = sum(p for right, p in law.items() if 2 * sum(right) > len(right))
    return most, sum(p * sum(right) / len(right) for right, p in law.items())


def started(n: int, competence: float, minority: bool = False) -> Law:
    """Independent first answers; minority: given that some are right, and fewer than half."""
    law = {}
    for right in itertools.product((False, True), repeat=n):
        k = sum(right)
        if not minority or 0 < 2 * k < n:
            law[right] = competence**k * (1 - competence) ** (n - k)
    total = sum(law.values())
    return {right: p / total for right, p in law.items()}


def learnt(first: Law, rounds: int, openness: float, reflector: float, eta: float, epsilon: float, cut: float) -> Law:
    """The answers after `rounds` meetings of one pair each, values from 1/2 on."""
    n = len(next(iter(first)))
    pairs = list(itertools.combinations(range(n), 2))
    states = {(right, (0.5,) * len(pairs)): p for right, p in first.items()}
    for _ in range(rounds):
        after: dict[tuple[Right, Values], float] = defaultdict(float)
        for (right, q), p in states.items():
            for i, chance in _chosen(q, epsilon, cut):
                for now, moved in _exchange(right, pairs[i], openness):
                    for score, told in _scores([now[m] for m in pairs[i]], reflector):
                        value = round(q[i] + eta * (score - q[i]), 12)
                        after[now, (*q[:i], value, *q[i + 1 :])] += p * chance * moved * told
            if all(v < cut for v in q):  # nobody is left to meet
                after[right, q] += p
        states = after
    law: Law = defaultdict(float)
    for (right, _), p in states.items():
        law[right] += p
    return law


def debated(first: Law, rounds: int, openness: float) -> Law:
    """The answers after rounds in which everybody hears everybody."""
    law = first
    for _ in range(rounds):
        after: Law = defaultdict(float)
        for right, p in law.items():
            n, k = len(right), sum(right)
            stays = [(1 - openness) * r + openness * (k - r) / (n - 1) for r in right]  # chance to be right next
            for now in itertools.product((False, True), repeat=n):
                chance = p
                for x, yes in zip(stays, now, strict=True):
                    chance *= x if yes else 1 - x
                after[now] += chance
        law = after
    return law


def _chosen(q: Values, epsilon: float, cut: float) -> Iterator[tuple[int, float]]:
    """(pair, chance): the best with 1 - epsilon, ties drawn, any with epsilon; cut ones never."""
    alive = [i for i, v in enumerate(q) if v >= cut]
    if not alive:
        return
    best = [i for i in alive if q[i] == max(q[j] for j in alive)]
    for i in alive:
        yield i, epsilon / len(alive) + (1 - epsilon) * (i in best) / len(best)


def _exchange(right: Right, pair: tuple[int, int], openness: float) -> Iterator[tuple[Right, float]]:
    """(answers, chance) after both heard each other and answered at once."""
    a, b = pair
    for x, y in itertools.product((False, True), repeat=2):
        now = list(right)
        now[a], now[b] = (right[b] if x else right[a]), (right[a] if y else right[b])
        yield tuple(now), (openness if x else 1 - openness) * (openness if y else 1 - openness)


def _scores(answers: list[bool], reflector: float) -> Iterator[tuple[float, float]]:
    """(score, chance): the share of answers that the clue favours, which is right with chance `reflector`."""
    share = sum(answers) / len(answers)
    yield share, reflector
    yield 1 - share, 1 - reflector
