"""scout: solves spread, the same in every form of asking, and agrees with an independent assignment."""

from __future__ import annotations

import numpy as np
import pytest

from crossplay.agents.scripts.spread import _choose, _own_landmark, scout
from crossplay.envs.spread import SpreadBatch, family
from crossplay.kernel import Block, CrossplayError, loop, play
from crossplay.kernel.seeds import key


def test_scout_covers_most_landmarks() -> None:
    returns, random = [], []
    agent = scout("", {})
    for block in range(30):
        env = family.make("", {})
        outcome = loop(play(env, dict.fromkeys(env.seats, agent), Block(0, block)))
        returns.append(outcome.score["return"])
        env.reset(key(block))
        while env.ended() is None:
            env.step({s: int(np.random.default_rng([block, i]).integers(5)) for i, s in enumerate(env.seats)}, ())
        random.append(env.score()["return"])
    assert np.mean(returns) > -10 and np.mean(returns) > np.mean(random) + 8


@pytest.mark.parametrize("n", [1, 2, 3, 5, 6])
def test_forms_of_asking_agree(n: int) -> None:
    env = SpreadBatch(40, n=n)
    env.reset(range(40), [key("s", i) for i in range(40)])
    for _ in range(6):
        together = np.stack([_choose(env.obs_array(s)) for s in range(n)], axis=1)
        for row in (0, 13, 39):
            for seat in range(n):
                assert _choose(env.obs_array(seat, np.array([row])))[0] == together[row, seat]
        env.step(together)


def test_seats_find_the_optimal_assignment_without_talking() -> None:
    from scipy.optimize import linear_sum_assignment

    env = SpreadBatch(50, n=4)
    env.reset(range(50), [key("a", i) for i in range(50)])
    gap = env.f.pos[:, :, None] - env.f.land[:, None]
    square = (gap**2).sum(axis=3)
    for row in range(50):
        _, expected = linear_sum_assignment(square[row])
        for seat in range(4):
            order = [seat, *(j for j in range(4) if j != seat)]
            assert _own_landmark(square[row][order][None])[0] == expected[seat]


def test_scout_refuses_what_it_does_not_know() -> None:
    from crossplay.envs.matrix import family as matrix

    with pytest.raises(CrossplayError, match="plays spread"):
        scout("", {}).check(matrix.make("", {}), "row")
    with pytest.raises(CrossplayError, match="takes nothing"):
        scout("fast", {})


def test_columns_and_loop_play_the_same_episodes() -> None:
    from crossplay.kernel import columns

    agent = scout("", {})
    ats = [Block(2, b) for b in range(20)]
    batch = SpreadBatch(7)
    lineup = dict.fromkeys(batch.seats, agent)
    together = {at.block: outcome for at, outcome in columns(batch, lineup, ats)}
    for at in ats:
        alone = loop(play(family.make("", {}), lineup, at))
        assert together[at.block].world == alone.world and together[at.block].score == alone.score
