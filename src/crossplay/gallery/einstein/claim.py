"""What is checked of the Einstein puzzles: enumeration of all placements, exhaustive search, rejection sampling.

A candidate is refused with chance x (counted over all actions of the state). With k candidates, all are refused with
chance x^k, and x (1 - x^k) / (1 - x) refusals are expected.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

import crossplay
from crossplay import make_agent
from crossplay.gallery.einstein.study import Games, Settings, Start, Watched, control, games, noisy, study
from crossplay.gallery.entry import Claim, Entry, Figure, Finding, Level, Mechanism, Trial
from crossplay.measure.stats import mean_t, paired_t, welch

__all__ = ["ENTRY", "check", "judge", "least_turns", "placements", "refusals", "won_in_silence"]

WIDE = 3.29  # standard deviations: two-sided chance .001


# -- references ------------------------------------------------------------------------------------
def placements(blocks: int, ground: int, relations: Sequence[Sequence[int]]) -> np.ndarray:
    """int[m, blocks]: every placement into the bins 0..3 (rows of two) that agrees with what is known."""
    every = np.array(np.unravel_index(np.arange(4**blocks), (4,) * blocks)).T
    row, column = np.divmod(every, 2)
    fits = every[:, 0] == ground
    for a, b, kind in relations:
        fits &= (row[:, a] != row[:, b]) == (kind in (2, 3))
        fits &= (column[:, a] != column[:, b]) == (kind in (1, 3))
    found: np.ndarray = every[fits]
    return found


def won_in_silence(start: Start) -> bool:
    """Whether two who say nothing and never guess can bring every block home: what follows is done until nothing does.

    A player knows a block's place when all placements that agree with what it knows, and with the blocks at home, agree.
    """
    n = len(start.at)
    left = [placements(n, start.ground, r) for r in start.known]
    (goal,) = placements(n, start.ground, [*start.known[0], *start.known[1]])
    home, common = set[int](), set[int]()
    while True:
        before = (len(home), len(common))
        for me, bottom in ((0, True), (1, False)):
            for block in range(n):
                in_reach = block in common or start.at[block] == 4 + me
                if block in home or not in_reach or np.ptp(left[me][:, block]):
                    continue
                if (goal[block] >= 2) == bottom:
                    home.add(block)
                    left = [p[p[:, block] == goal[block]] for p in left]
                elif block not in common:
                    common.add(block)
        if (len(home), len(common)) == before:
            return len(home) == n


def least_turns(start: Start) -> int:
    """The fewest turns when both know everything: breadth first over all boards."""
    (goal,) = placements(len(start.at), start.ground, [*start.known[0], *start.known[1]])
    kinds = sorted((at - 4, int((place >= 2) != (at == 4))) for at, place in zip(start.at, goal, strict=True))
    return _search(tuple(kinds))


@functools.cache
def _search(kinds: tuple[tuple[int, int], ...]) -> int:
    """kinds: per block (owner, whether it belongs to the other's row). A block is 0 own bin, 1 common bin, 2 home."""
    boards, player, turns = {(0,) * len(kinds)}, 0, 0
    while (2,) * len(kinds) not in boards:
        following = set(boards)  # a pass
        for board in boards:
            for i, (owner, other) in enumerate(kinds):
                if board[i] == 0 and owner == player:
                    following.add((*board[:i], 1 if other else 2, *board[i + 1 :]))
                elif board[i] == 1 and owner != player:
                    following.add((*board[:i], 2, *board[i + 1 :]))
        boards, player, turns = following, 1 - player, turns + 1
    return turns


def refusals(odds: np.ndarray, k: int) -> tuple[tuple[float, float], tuple[float, float]]:
    """((expected refusals, variance), (expected decisions without an accepted candidate, variance)).

    odds: x of every decision. The number of refusals R has P(R >= j) = x^j for j = 1..k.
    """
    powers = odds[:, None] ** np.arange(1, k + 1)
    mean = powers.sum(1)
    second = (powers * (2 * np.arange(1, k + 1) - 1)).sum(1)  # E R^2 = sum (2 j - 1) P(R >= j)
    none = powers[:, -1]
    return (float(mean.sum()), float((second - mean**2).sum())), (float(none.sum()), float((none * (1 - none)).sum()))


# -- tier 0 ----------------------------------------------------------------------------------------
def check(settings: Settings) -> list[Finding]:
    """Scripted reasoners against enumeration, search and closed forms."""
    s = settings
    quiet = {"blocks": s.blocks, "mode": "none"}
    plain, guess = make_agent("reasoner"), make_agent({"type": "reasoner", "guess": s.guess})
    silent, tried = games(plain, s.games, s.root, **quiet), games(guess, s.games, s.root, **quiet)
    told = games(plain, s.games, s.root, blocks=s.blocks, mode=s.told)
    alone = {q: _noisy_games(s, noisy(s, q)).score["success"] for q in s.noise}
    high = max(s.noise)
    return [
        *_silence(silent, tried, told),
        *(_lifts(s, q, alone[q]) for q in s.noise),
        *_rejection(s, high),
        _coin(s, high, alone[high]),
        _faultless(s),
    ]


def _silence(silent: Games, tried: Games, told: Games) -> list[Finding]:
    n = len(silent.world)
    won = [won_in_silence(s) for s in silent.start]
    wrong = int((silent.score["success"] != won).sum())
    short = sum(
        int(o != least_turns(s)) for g in (silent, told) for o, s in zip(g.score["optimal"], g.start, strict=True)
    )
    missed = mean_t(tried.score["wrong_moves"], 0.99)
    low, high = (missed.interval.low, missed.interval.high) if missed.interval else (missed.value, missed.value)
    return [
        Finding(
            "silence", "without a word and without guessing, exactly the games are won whose moves all follow", wrong == 0,
            wrong, "= 0 games otherwise", "enumeration of all placements", n=n,
        ),
        Finding(
            "least turns", "no play needs fewer turns than the score's optimum, and one needs no more", short == 0, short,
            "= 0 games otherwise", "breadth-first search over all boards", n=2 * n,
        ),
        Finding(
            "guessing wins in silence", "without a word every game is still won, because the board refuses what is wrong",
            bool((tried.score["success"] == 1).all()), float(tried.score["success"].mean()),
            f"= 1 (without guessing {np.mean(won):.3f})", "the same games, enumerated", n=n,
        ),
        Finding(
            "guessing shows in wrong moves", "what tells a guesser from one who understands are wrong moves", low > 1,
            missed.value, "lower end > 1", "0, what follows is never refused", low, high, n=n,
        ),
        Finding(
            "telling wins", "with one's relations told, every game is won by what follows", bool((told.score["success"] == 1).all()),
            float(told.score["success"].mean()), "= 1", "a tree of relations places every block", n=n,
        ),
        Finding(
            "nothing wrong follows", "who never guesses makes no wrong move, silent or not",
            not (silent.score["wrong_moves"].any() or told.score["wrong_moves"].any()),
            float(silent.score["wrong_moves"].sum() + told.score["wrong_moves"].sum()), "= 0 wrong moves", "construction",
            null=True, n=2 * n,
        ),
    ]  # fmt: skip


def _noisy_games(s: Settings, agent: Any, n: int = 0) -> Games:
    return games(agent, n or s.games, s.root, blocks=s.blocks, mode="provide", limit=s.limit, legal="all")


def _lifts(s: Settings, q: float, alone: np.ndarray) -> Finding:
    verified = _noisy_games(s, noisy(s, q, s.k)).score["success"]
    gain = paired_t(verified, alone, 0.99, (-1.0, 1.0))
    low, high = (gain.interval.low, gain.interval.high) if gain.interval else (gain.value, gain.value)
    return Finding(
        f"verifier, noise {q:g}", f"reject and resample repairs players who act at random with chance {q:g}",
        low > 0.05 and float(verified.mean()) >= 0.97, gain.value,
        f"lower end > 0.05, and verified >= 0.97 (is {verified.mean():.3f})", "the same games without", low, high, n=len(alone),
    )  # fmt: skip


def _rejection(s: Settings, q: float) -> list[Finding]:
    """The same state by state: what the wrapper counted against what chance says of the states it met."""
    plan = make_agent("reasoner")
    found = []
    for k in (2, 3):
        watched = Watched(noisy(s, q, min(k, s.k)), plan, q)
        played = _noisy_games(s, watched, s.watched)
        refused, none = refusals(np.array(watched.odds), k)
        found += [
            _counted(f"refusals, k = {k}", f"of up to {k} candidates, as many are refused as chance says", played.total("rejected"),
                     refused, "sum over decisions of x + x^2 + .. + x^k", len(watched.odds)),
            _counted(f"nothing accepted, k = {k}", f"all {k} candidates are refused as often as chance says",
                     played.total("unverified"), none, "sum over decisions of x^k", len(watched.odds)),
        ]  # fmt: skip
    return found


def _counted(name: str, says: str, value: int, expected: tuple[float, float], reference: str, n: int) -> Finding:
    half = WIDE * math.sqrt(expected[1]) + 0.5
    holds = abs(value - expected[0]) <= half
    return Finding(
        name, says, holds, value, f"{expected[0]:.1f} +- {half:.1f}", reference, value - half, value + half, n=n
    )


def _coin(s: Settings, q: float, alone: np.ndarray) -> Finding:
    tossed = _noisy_games(s, noisy(s, q, s.k, verdict=0.5)).score["success"]
    gain = paired_t(tossed, alone, 0.999, (-1.0, 1.0))
    low, high = (gain.interval.low, gain.interval.high) if gain.interval else (gain.value, gain.value)
    return Finding(
        "a coin repairs nothing", "a verifier that tosses a coin leaves success where it was", low <= 0 <= high, gain.value,
        "interval at .999 holds 0", "the same games without", low, high, null=True, n=len(alone),
    )  # fmt: skip


def _faultless(s: Settings) -> Finding:
    alone, verified = _noisy_games(s, noisy(s, 0.0)), _noisy_games(s, noisy(s, 0.0, s.k, verdict=0.0))
    other = sum(a != b for a, b in zip(alone.world, verified.world, strict=True)) + verified.total("rejected")
    return Finding(
        "nothing to repair", "a player without noise is never refused, and its games stay the same to the last move", other == 0,
        other, "= 0 refusals and games that differ", "digest of every game", null=True, n=s.games,
    )  # fmt: skip


# -- tiers 1 and 2 -----------------------------------------------------------------------------------
def judge(result: Any, folder: Any) -> list[Finding]:
    """What telling and verifying do, with intervals; wrong moves come from the records of the run."""
    won = {(x.env, x.lineup): np.array(x.values) for x in result.scores}
    missed = _wrong_moves(folder)
    floor = next(r.lineup for r in result.rows if r.role == "control: floor")
    return [
        _above("silence, success", "without a word the pair still wins more games than random players",
               paired_t(won["none", "alone"], won["none", floor], 0.95, (-1.0, 1.0)), "the same games"),
        _above("silence, wrong moves", "the silent pair makes more wrong moves than the telling one",
               welch(missed["none", "alone"], missed["provide", "alone"]), "other games of the same kind"),
        *(_above(f"verifier, {mode}", f"the verifier lifts success (mode {mode})",
                 paired_t(won[mode, "verified"], won[mode, "alone"], 0.95, (-1.0, 1.0)), "the same games")
          for mode in ("none", "provide")),
        *(_above(f"verifier, wrong moves, {mode}", f"the verifier saves wrong moves (mode {mode})",
                 paired_t(missed[mode, "alone"], missed[mode, "verified"]), "the same games")
          for mode in ("none", "provide")),
    ]  # fmt: skip


def _above(name: str, says: str, e: Any, reference: str) -> Finding:
    """Without an interval (one game, no variation) nothing is shown."""
    low, high = (e.interval.low, e.interval.high) if e.interval else (None, None)
    return Finding(name, says, low is not None and low > 0, e.value, "lower end > 0", reference, low, high, n=e.n)


def _wrong_moves(folder: Any) -> dict[tuple[str, str], np.ndarray]:
    """(environment, lineup) -> wrong moves per game, in the order of the games."""
    found: dict[tuple[str, str], dict[Any, float]] = {}
    with crossplay.open_run(folder) as run:
        cells = {c.name: c.extra for c in run.cells()}
        for r in run.records():
            extra = cells[r.cell]
            found.setdefault((extra["env"], extra["group"]), {})[r.block] = r.score["wrong_moves"]
    return {name: np.array([v for _, v in sorted(by.items())]) for name, by in found.items()}


ENTRY = Entry(
    name="einstein",
    title="Communication and Verification in LLM Agents towards Collaboration under Information Asymmetry",
    source="arXiv 2510.25595; its code is MIT, none of it is used here",
    about="Two players bring blocks to their places in a 2 x 2 square. Each knows some of the relations between blocks and "
    "reaches one row, so they tell, ask or guess; a verifier of the environment may refuse a candidate action before it is "
    "played (reject and resample).",
    claims=(
        Claim("Agents that say nothing still do well on the task, without understanding its rules.", (1, 2)),
        Claim(
            "A verifier of the environment, without any training, lets agents finish more tasks by the rules.", (1, 2)
        ),
        Claim("Aligned communication matters most where both can ask and tell."),
        Claim("People trust agents that communicate more."),
    ),
    figures=(
        Figure(
            "Agents without communication still reach high task performance, with a lack of rule understanding.", "A"
        ),
    ),
    settings=Settings,
    check=check,
    mechanisms=(
        Mechanism("what is known is told", {"told": "none"}, ("telling wins",)),
        Mechanism(
            "silent players guess", {"guess": False}, ("guessing wins in silence", "guessing shows in wrong moves")
        ),
        Mechanism(
            "the verifier is right",
            {"verdict": 0.5},
            ("verifier, noise 0.3", "verifier, noise 0.6", "refusals, k = 2", "nothing accepted, k = 2"),
        ),
        Mechanism(
            "there are candidates to choose from",
            {"k": 1},
            ("verifier, noise 0.3", "verifier, noise 0.6", "refusals, k = 2", "refusals, k = 3"),
        ),
    ),
    trial=Trial(
        levels=(
            Level("5-blocks", "5 blocks, 16 turns", {"blocks": 5, "limit": 16}),
            Level("4-blocks", "4 blocks, 12 turns", {"blocks": 4, "limit": 12}),
            Level("4-blocks-long", "4 blocks, 20 turns: more time for guesses", {"blocks": 4, "limit": 20}),
        ),
        control=control,
        single="model, expert",
        study=study,
        judge=judge,
        models=("qwen2.5-coder-1.5b",),
        n=24,
        n_control=40,
        effect=0.2,
    ),
    missing="Fine-tuning of the players, and the study of trust with people. The claim on asking and telling needs stronger models.",
)
