"""The puzzle itself: bins, who reaches them, relations, how a game is drawn, its optimum.

Bins 0..3 are the destinations, a 2 x 2 square (top left, top right, bottom left, bottom right), 4 and 5
the players' own bins, 6 the common one. A relation between two blocks is the step from the bin of one to
the bin of the other as (row, column) modulo 2, written as a number 0..3: bin XOR relation is the other
bin. So a tree of n - 1 relations and the place of one block give the place of every block.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from crossplay.kernel.seeds import permutation, pick

__all__ = [
    "BINS",
    "COMMON",
    "DESTINATIONS",
    "KINDS",
    "OWN",
    "Game",
    "Relation",
    "closure",
    "draw_game",
    "optimum",
    "reaches",
]

BINS = ("top left", "top right", "bottom left", "bottom right", "first's own", "second's own", "common")
DESTINATIONS = (0, 1, 2, 3)
OWN = (4, 5)
COMMON = 6
KINDS = ("same bin as", "same row as", "same column as", "diagonal to")
"""Relations by number: 1 changes the column (so the row is the same), 2 the row, 3 both."""

Relation = tuple[int, int, int]
"""(block, block, relation), the lower block first."""

_REACH = (frozenset({2, 3, OWN[0], COMMON}), frozenset({0, 1, OWN[1], COMMON}))


class Game(NamedTuple):
    """goal: destination of every block; at: bin of every block at the start; relations: the tree; known: for each
    relation who knows it (0 the first player, 1 the second, 2 both).
    """

    goal: tuple[int, ...]
    at: tuple[int, ...]
    relations: tuple[Relation, ...]
    known: tuple[int, ...]


def reaches(player: int) -> frozenset[int]:
    """The bins that a player takes from and puts into: the first the bottom row, the second the top row."""
    return _REACH[player]


def draw_game(key: bytes, blocks: int) -> Game:
    """A game of 4 or 5 blocks: every destination used, blocks split evenly between the own bins (the odd one drawn),
    a random tree of relations, of which each player alone and both know one at least.
    """
    order = permutation(key, blocks, 0)
    goal = [0] * blocks
    for i, block in enumerate(order):
        goal[block] = DESTINATIONS[i] if i < 4 else pick(key, 4, 1, i)
    extra = pick(key, 2, 2) if blocks % 2 else 0
    at = [0] * blocks
    for i, block in enumerate(permutation(key, blocks, 3)):
        at[block] = OWN[int(i >= blocks // 2 + (1 - extra if blocks % 2 else 0))]
    grown = permutation(key, blocks, 4)
    relations: list[Relation] = []
    for i in range(1, blocks):
        a, b = sorted((grown[i], grown[pick(key, i, 5, i)]))
        relations.append((a, b, goal[a] ^ goal[b]))
    known = [i if i < 3 else pick(key, 3, 6, i) for i in range(blocks - 1)]
    known = [known[i] for i in permutation(key, blocks - 1, 7)]
    pairs = sorted(zip(relations, known, strict=True))
    return Game(tuple(goal), tuple(at), tuple(r for r, _ in pairs), tuple(k for _, k in pairs))


def closure(places: dict[int, int], relations: Sequence[Sequence[int]]) -> dict[int, int]:
    """Every block whose destination follows: block -> bin, from known places and relations."""
    found = dict(places)
    grown = True
    while grown:
        grown = False
        for a, b, relation in relations:
            for x, y in ((a, b), (b, a)):
                if x in found and y not in found:
                    found[y] = found[x] ^ relation
                    grown = True
    return found


def optimum(game: Game) -> int:
    """The least number of turns when both know everything: max(2 m1 - 1, 2 m2).

    A player moves each block of its own bin once (home, or to the common bin) and each block that is
    handed over to it once: m1 and m2 moves. Players alternate, the first begins, and whoever hands over
    first never lets the other wait; the tests compare it with an exhaustive search.
    """
    moves = [0, 0]
    for goal, at in zip(game.goal, game.at, strict=True):
        owner = OWN.index(at)
        moves[owner] += 1
        if goal not in reaches(owner):
            moves[1 - owner] += 1
    return max(2 * moves[0] - 1, 2 * moves[1])
