"""Checks of determinism, where it is claimed: seeds, numbers of episodes, neighbours."""

from __future__ import annotations

from crossplay.wire.check.case import Case, same
from crossplay.wire.check.line import Failed

__all__ = ["again", "interleaved", "same_seed"]

TICKS = 12


def same_seed(case: Case) -> str:
    """Two processes give the same actions for the same keys and observations."""
    case.deterministic()
    found = []
    first = case._ep
    for _ in range(2):
        line = case.fresh()
        case._ep = first  # equal numbers of episodes, too
        plays = [case.begin(line, f"seed {i}", i) for i in range(2)]
        found.append([case.played(line, p, TICKS) for p in plays])
        case.end(line, *plays)
    case.keep(line)
    if not same(found[0], found[1]):
        raise Failed(
            "two processes give other actions for the same keys: draw from the episode's key, never from a clock, a "
            "process or a global generator, or say deterministic = False"
        )
    return f"2 processes, {2 * TICKS} actions each"


def again(case: Case) -> str:
    """A second episode with the same key is played as the first, whatever its number and what was played before."""
    case.deterministic()
    line = case.line
    first = case.begin(line, "again")
    one = case.played(line, first, TICKS)
    case.end(line, first)
    other = case.begin(line, "something else", 1)
    case.played(line, other, 3)
    second = case.begin(line, "again")
    two = case.played(line, second, TICKS)
    case.end(line, other, second)
    if not same(one, two):
        raise Failed("a second episode with the same key is played otherwise: something is left over, or the number of "
                     "the episode decides")  # fmt: skip
    return f"{TICKS} actions again"


def interleaved(case: Case) -> str:
    """Two episodes played in turns give the same as one after the other."""
    case.deterministic()
    line = case.line
    apart = []
    for i in range(2):
        play = case.begin(line, f"turns {i}", i)
        apart.append(case.played(line, play, TICKS))
        case.end(line, play)
    plays = [case.begin(line, f"turns {i}", i) for i in range(2)]
    turns: list[list] = [[], []]
    for tick in range(TICKS):
        for i in (0, 1) if tick % 2 else (1, 0):
            turns[i].append(case.act(line, [plays[i]], [tick])[0])
    case.end(line, *plays)
    if not same(apart, turns):
        raise Failed("two episodes in turns are played otherwise than apart: keep what is remembered by ep")
    return f"2 episodes, {TICKS} ticks each"
