"""Independent references: who sees what by each paradigm's own words, rules counted one election at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

__all__ = [
    "PARADIGMS",
    "approval",
    "borda",
    "consensus",
    "cumulative",
    "expected_sees",
    "gini_of_one_loud",
    "plurality",
]

PARADIGMS = ("collective", "memory", "report", "relay", "debate")
Place = tuple[int, int]  # (member, how many posts of that member came before)


def expected_sees(paradigm: str, n: int, rounds: int, inner: int) -> list[tuple[int, list[Place]]]:
    """(member, what it sees) of every post in order. Everybody answers first, seeing nothing; then
    each sees the last word of whom it hears, and its own, but in relay only that of the one before it.

    memory, relay: one after the other. collective: all at once. report: the first, then all others at once.
    debate: the first, then the others `inner` times at once.
    """
    said = dict.fromkeys(range(n), 1)
    posts: list[tuple[int, list[Place]]] = [(i, []) for i in range(n)]
    waves: dict[str, list[tuple[int, ...]]] = {
        "collective": [tuple(range(n))],
        "memory": [(i,) for i in range(n)],
        "relay": [(i,) for i in range(n)],
        "report": [(0,), tuple(range(1, n))],
        "debate": [(0,)] + [tuple(range(1, n))] * inner,
    }
    for _ in range(rounds):
        for wave in waves[paradigm]:
            seen = {i: sorted((j, said[j] - 1) for j in _hears(paradigm, i, n)) for i in wave}
            posts += [(i, seen[i]) for i in wave]
            for i in wave:
                said[i] += 1
    return posts


def _hears(paradigm: str, i: int, n: int) -> set[int]:
    if paradigm == "relay":
        return {(i - 1) % n}
    if paradigm == "report":
        return set(range(n)) if i == 0 else {0, i}
    return set(range(n))


def consensus(ballots: Sequence[int], share: Fraction, strict: bool = False) -> int:
    """The option with at least (strict: more than) the share of the ballots, -1 where none has."""
    option, k = Counter(ballots).most_common(1)[0]
    enough = Fraction(k, len(ballots)) > share if strict else Fraction(k, len(ballots)) >= share
    tied = sum(v == k for v in Counter(ballots).values()) > 1
    return option if enough and not tied else -1


def plurality(ballots: Sequence[int]) -> set[int]:
    """The options with the most ballots."""
    return _most(Counter(ballots))


def approval(ballots: Sequence[Sequence[int]]) -> set[int]:
    """The options with the most approvals; a ballot is a row of 0 and 1."""
    return _most(Counter({i: sum(b[i] for b in ballots) for i in range(len(ballots[0]))}))


def cumulative(ballots: Sequence[Sequence[int]]) -> set[int]:
    """The options with the most points, every ballot with the same weight in all."""
    return _most({i: sum((Fraction(b[i], sum(b)) for b in ballots), Fraction(0)) for i in range(len(ballots[0]))})


def borda(ballots: Sequence[Sequence[int]]) -> set[int]:
    """The options with the most rank points: of m options the first gets m - 1."""
    m = len(ballots[0])
    return _most(Counter({o: sum(m - 1 - list(b).index(o) for b in ballots) for o in range(m)}))


def _most(tally: Counter[int] | dict[int, Fraction]) -> set[int]:
    top = max(tally.values())
    return {o for o, k in tally.items() if k == top}


def gini_of_one_loud(n: int, words: float) -> float:
    """Gini coefficient of n members of whom one says `words` times as much as each other one."""
    return (n - 1) * (words - 1) / (n * (n - 1 + words))
