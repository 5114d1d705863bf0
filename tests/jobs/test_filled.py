"""Rows in which agents of ours fill seats: what one row's bad end does to the others."""

import pytest

from crossplay.jobs import rows as rooms
from crossplay.jobs.envserver import Environments, here
from crossplay.jobs.filled import FilledRows
from crossplay.kernel import Agent, CrossplayError, Fault, make_env
from crossplay.wire.messages import EnvClose, EnvOpen, Error, Ok


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


@pytest.fixture
def made(monkeypatch):
    """The environments that were made, each with how often it was closed."""
    found = []

    def counted(name, options=None):
        env = make_env(name, options)
        one, close = [env, 0], env.close
        found.append(one)

        def closed():
            one[1] += 1
            close()

        env.close = closed
        return env

    monkeypatch.setattr(rooms, "make_env", counted)
    return found


def test_every_environment_that_is_made_is_closed(made):
    server = Environments()
    for fill in ({}, {"column": "random"}):
        opened = server.handle(EnvOpen(id=1, name="matrix/stag_hunt", rows=2, view="data", fill=fill))
        assert isinstance(opened, Ok) and [n for _, n in made] == [1, 0, 0], "one to look at, and two rows"
        assert isinstance(server.handle(EnvClose(id=2, env=opened.data["env"])), Ok) and {n for _, n in made} == {1}
        made.clear()
    wrong = [{"view": "no"}, {"fill": {"nobody": "random"}}, {"fill": {"row": "random", "column": "random"}},
             {"fill": {"row": "nobody-at-all"}}, {"options": {"rounds": 5}, "rows": 2, "view": "data"}]  # fmt: skip
    for given in wrong[:4]:
        assert isinstance(server.handle(EnvOpen(id=1, name="matrix/stag_hunt", **given)), Error)
    server.handle(EnvOpen(id=1, name="matrix/stag_hunt", **wrong[4]))
    server.close()
    assert len(made) >= 7 and {n for _, n in made} == {1}


def test_agents_that_fill_seats_are_freed_with_their_environment(monkeypatch):
    import crossplay.agents

    freed = []

    def filling(spec, context):
        agent = make_agent("random", context)
        context.closing.append(lambda: freed.append(spec))
        if spec == "bad":
            raise CrossplayError("not this one")
        return agent

    make_agent = crossplay.agents.make_agent
    monkeypatch.setattr(crossplay.agents, "make_agent", filling)
    server = Environments()
    for spec in ("one", "two"):
        server.handle(EnvOpen(id=1, name="matrix/stag_hunt", fill={"column": spec}))
    assert freed == []
    server.handle(EnvClose(id=2, env=1))
    assert freed == ["one"]
    assert isinstance(server.handle(EnvOpen(id=1, name="matrix/stag_hunt", fill={"column": "bad"})), Error)
    assert freed == ["one", "bad"]
    server.close()
    assert freed == ["one", "bad", "two"]


def test_a_seed_opens_one_environment_and_closes_the_other(made):
    from crossplay_worker import gym, zoo

    line = here()
    for make in (gym.make, zoo.parallel):
        env = make("matrix/stag_hunt", crossplay=line)
        for seed in range(4):
            env.reset(seed=seed)
        assert len(line.environments.open) == 1
        env.close()
        assert not line.environments.open
    assert made and {n for _, n in made} == {1}


def test_without_a_root_blocks_are_those_of_training():
    from crossplay_worker import envs, gym, zoo

    line = here()
    name, mine = "spread", envs.train_root(0)
    assert gym.make(name, crossplay=line).rows.root == gym.make_vec(name, crossplay=line).tracks.rows.root == mine
    assert zoo.parallel(name, crossplay=line).rows.root == mine and mine != 0
    found = envs.make(name, crossplay=line)
    seen, evaluated = found.reset([0], [0]), envs.make(name, root=0, crossplay=line).reset([0], [0])
    assert (seen.obs["agent_0"] != evaluated.obs["agent_0"]).any()
    assert line.environments.open[found.env].root == found.root == mine
    line.close()


def test_finished_episodes_wait_in_a_bounded_place(monkeypatch):
    from crossplay_worker import envs, gym

    monkeypatch.setattr(envs, "KEPT", 5)
    vec = gym.make_vec("matrix/stag_hunt", rows=2, options={"rounds": 1}, crossplay=here())
    vec.reset()
    for _ in range(4):
        vec.step([0] * vec.num_envs)
    assert len(vec.tracks.finished) == 5 and vec.tracks.forgotten == 3
    assert len(vec.tracks.take_finished()) == 5 and not vec.tracks.finished
