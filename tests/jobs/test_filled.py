"""Rows in which agents of ours fill seats: what one row's bad end does to the others."""

import pytest

from crossplay.jobs.filled import FilledRows
from crossplay.kernel import Agent, CrossplayError, Fault, make_env


class Leaving(Agent):
    """Plays "stag"; in the blocks `gone` it leaves at its last turn."""

    name, kind, views = "leaving", "script", ("data",)

    def __init__(self, *gone):
        self.gone = gone

    def act(self, obs):
        from crossplay.kernel import Action

        turn = (obs.memo or 0) + 1
        if turn == 3 and obs._scope.at.block in self.gone:
            return Fault("void", "gone")
        return Action("stag", memo=turn)


def rows(*gone):
    envs = [make_env("matrix/stag_hunt", {"rounds": 3}) for _ in range(3)]
    return FilledRows(envs, 1, "data", ("row",), {"column": Leaving(*gone)})


@pytest.mark.parametrize(
    ("gone", "ended", "said"),
    [((0,), [None, "horizon", "horizon"], "row 0: .*gone"), ((0, 2), [None, "horizon", None], "row 0: .*2 rows")],
)
def test_rows_that_end_beside_a_bad_one_are_over_as_well(gone, ended, said):
    mine = rows(*gone)
    mine.reset([0, 1, 2], [0, 1, 2])
    for _ in range(2):
        mine.step({"row": ["stag"] * 3})
    with pytest.raises(CrossplayError, match=said):
        mine.step({"row": ["stag"] * 3})
    assert (
        mine.ended == ended
        and mine.reward["row"][1] == 4.0
        and list(mine.scores) == [n for n, how in enumerate(ended) if how]
    )
    mine.reset([0], [3])  # the trainer goes on with the rows that it begins again
    for _ in range(3):
        mine.step({"row": ["stag"] * 3})
    assert mine.ended == ["horizon", *ended[1:]]
    mine.close()
