"""The columnar generator keeps the very same books as the scalar one."""

import numpy as np
import pytest

from crossplay.kernel import Action, Agent, Block, Channel, Conduct, Msg, columns, loop, play
from worlds import Counter, Rows, Slow, Troubled, Uniform, Walk, state


class Wild(Rows):
    """Columnar, and sometimes out of range or not legal."""

    name = "wild"

    def act_array(self, obs, legal, keys, tick, memo):
        values, memo = super().act_array(obs, None, keys, tick, memo)
        return np.where(values == 4, 17, values), memo


class Bursts(Rows):
    """Columnar; raises when any of its rows stands on cell 5."""

    name = "bursts"

    def act_array(self, obs, legal, keys, tick, memo):
        if (obs[:, 1] == 5).any():
            raise RuntimeError("cell 5")
        return super().act_array(obs, legal, keys, tick, memo)


class Gossip(Agent):
    name = "gossip"

    def act(self, obs):
        heard = len(obs.inbox) + (obs.memo or 0)
        return Action(obs.pick(3), messages=[Msg("*", f"{obs.tick}")] if obs.tick % 3 == 0 else (), memo=heard)


LINEUPS = {
    "rows": lambda: dict.fromkeys("abc", Rows()),
    "two-policies": lambda: {"a": Rows(), "b": Rows(), "c": Rows()},
    "mixed": lambda: {"a": Rows(), "b": Counter(), "c": Slow()},
    "handles": lambda: {"a": Uniform(), "b": Counter(), "c": Uniform()},
    "trouble": lambda: {"a": Wild(), "b": Troubled(), "c": Bursts()},
    "mail": lambda: {"a": Rows(), "b": Gossip(), "c": Gossip()},
}


@pytest.mark.parametrize("lineup", LINEUPS)
@pytest.mark.parametrize(
    "conduct",
    [Conduct(), Conduct(invalid=("fail",)), Conduct(mail=Channel(delay=1))],
    ids=["plain", "forfeit", "delay"],
)
def test_columns_equal_the_loop(lineup, conduct):
    agents = LINEUPS[lineup]()
    ats = [Block(2, b) for b in range(9)]
    want = {at: state(loop(play(Walk(1).single(), agents, at, conduct))) for at in ats}
    for width in (1, 2, 7, 64):
        got = {at: state(outcome) for at, outcome in columns(Walk(width), agents, ats, conduct)}
        assert got.keys() == want.keys()
        for at in ats:
            for a, b in zip(got[at][:-1], want[at][:-1], strict=True):
                assert a == b
            mine, theirs = ([e[:10] + e[11:] for e in s[-1]] for s in (got[at], want[at]))
            assert mine == theirs


def test_replay_of_a_columnar_episode():
    from crossplay.kernel import Event, recorded

    at = Block(4, 4)
    ((_, outcome),) = columns(Walk(3), LINEUPS["trouble"](), [at])
    again = loop(play(Walk(1).single(), recorded([Event(*e) for e in outcome.events], Walk.seats), at))
    assert again.world == outcome.world
