"""Env verbs: what a trainer meets is what a study plays, whatever kind of rows it is; limits; refusals that say why."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.agents import make_agent
from crossplay.jobs.envserver import Environments, Limits
from crossplay.kernel import Agent, Block, draw, loop, make_env, play
from crossplay.wire.messages import EnvClose, EnvOpen, EnvReset, EnvStep, Error, Ok, Ping, State

ROOT = 7


def rule(block, turn, seat, legal):
    """Some legal action, a pure function of the address."""
    return int(legal[(draw(3, block, turn, seat) >> 8) % len(legal)])


class Ruled(Agent):
    """Plays `rule`; turn: of the seat in the episode, carried in the memo."""

    views = ("data",)

    def act(self, obs):
        from crossplay.kernel import Action

        turn = obs.memo or 0
        legal = np.arange(len(obs.spec.names)) if obs.legal is None else np.flatnonzero(obs.legal)
        seats = obs._scope.env.seats
        return Action(rule(obs._scope.at.block, turn, seats.index(obs.seat), legal), memo=turn + 1)


_servers = []


@pytest.fixture(autouse=True)
def closed():
    yield
    while _servers:
        _servers.pop().close()


def opened(name, rows=1, **more):
    server = Environments()
    _servers.append(server)
    answer = server.handle(EnvOpen(id=1, name=name, rows=rows, root=ROOT, **more))
    assert isinstance(answer, Ok), answer
    return server, answer.data


def rolled(name, rows, blocks, **more):
    """Blocks played through env verbs: {block: (summed rewards of the trained seats, score, how it ended)}."""
    server, about = opened(name, rows, **more)
    mine, waiting = about["trained"], list(blocks)
    at = {row: waiting.pop(0) for row in range(rows)}
    state = server.handle(EnvReset(id=2, env=about["env"], row=list(at), block=list(at.values())))
    sums, turns, found = np.zeros((rows, len(mine))), np.zeros((rows, len(mine)), int), {}
    while len(found) < len(blocks):
        actions = {}
        for i, seat in enumerate(mine):
            names = np.arange(len(about["specs"][seat]["names"]))
            actions[seat] = np.zeros(rows, int)
            for row in range(rows):
                acts = not state.acting or seat in state.acting[row]
                legal = np.flatnonzero(state.legal[seat][row]) if seat in state.legal else names
                if acts and not state.ended[row]:
                    actions[seat][row] = rule(at[row], int(turns[row, i]), about["seats"].index(seat), legal)
                    turns[row, i] += 1
        before = list(state.ended)
        state = server.handle(EnvStep(id=3, env=about["env"], actions=actions))
        assert isinstance(state, State), state
        sums += np.stack([state.reward[s] for s in mine], axis=1)
        now = state
        for row in [r for r in range(rows) if now.ended[r] and not before[r]]:
            found[at[row]] = (tuple(sums[row]), dict(now.score[row]), now.ended[row])
            if waiting:
                at[row] = waiting.pop(0)
                sums[row], turns[row] = 0.0, 0
                state = server.handle(EnvReset(id=4, env=about["env"], row=[row], block=[at[row]]))
    server.close()
    return found


def played(name, block, fill=()):
    env = make_env(name)
    agents = {s: make_agent(dict(fill)[s]) if s in dict(fill) else Ruled() for s in env.seats}
    outcome = loop(play(env, agents, Block(ROOT, block)))
    mine = tuple(r for s, r in zip(env.seats, outcome.totals, strict=True) if s not in dict(fill))
    return mine, dict(outcome.score), outcome.status


CASES = [
    ("spread", "array", ()),  # arrays
    ("spread", "data", ()),  # the same, one by one
    ("matrix/prisoners_dilemma", "array", ()),
    ("gym:CartPole-v1", "array", ()),  # somebody else's
    ("openspiel:tic_tac_toe", "array", ()),  # turns and masks
    ("openspiel:tic_tac_toe", "array", (("p1", "random"),)),  # filled
    ("matrix/prisoners_dilemma", "array", (("column", "strategy:tit_for_tat"),)),
    ("spread", "array", (("agent_0", "scout"), ("agent_2", "random"))),
]


@pytest.mark.parametrize(("name", "view", "fill"), CASES)
def test_a_trainer_meets_the_episodes_of_a_study(name, view, fill):
    blocks = list(range(5))
    found = rolled(name, 3, blocks, view=view, fill=dict(fill))
    for block in blocks:
        rewards, score, status = played(name, block, fill)
        assert found[block][1:] == (score, status)
        assert found[block][0] == pytest.approx(rewards, abs=1e-9)


def test_views_are_those_of_the_environment():
    server, about = opened("kitchen/cramped_room", 2)
    state = server.handle(EnvReset(id=2, env=about["env"], row=[0, 1], block=[4, 9]))
    for row, block in enumerate((4, 9)):
        env = make_env("kitchen/cramped_room")
        env.start(Block(ROOT, block))
        for seat in env.seats:
            assert np.array_equal(state.obs[seat][row], env.view(seat, "array"))
    assert about["shapes"]["p0"] == list(state.obs["p0"].shape[1:])
    assert about["dtypes"]["p0"] == state.obs["p0"].dtype.str


def test_items_of_lists_are_blocks():
    server, about = opened("qa/humaneval", 1, view="text")
    assert about["items"] > 0 and about["shapes"] == {}
    state = server.handle(EnvReset(id=2, env=about["env"], row=[0], block=[3]))
    env = make_env("qa/humaneval")
    env.start(Block(ROOT, 3))
    assert state.obs[env.seats[0]] == [env.view(env.seats[0], "text")]


def refused(answer, code, *words):
    assert isinstance(answer, Error) and answer.code == code, answer
    for word in words:
        assert word in answer.message, answer.message


def test_what_cannot_be_opened_is_refused_with_what_can():
    server = Environments(Limits(envs=1, rows=8, total_rows=8, state=10_000))
    for message, code, *words in (
        (EnvOpen(id=1, name="spraed"), "BAD_VALUE", 'Did you mean "spread"'),
        (EnvOpen(id=1, name="spread", options={"m": 3}), "BAD_VALUE", "m"),
        (EnvOpen(id=1, name="spread", view="smell"), "BAD_VALUE", "data, array, text"),
        (EnvOpen(id=1, name="spread", rows=0), "BAD_VALUE", "1 to 8"),
        (EnvOpen(id=1, name="spread", rows=9), "BAD_VALUE", "1 to 8"),
        (EnvOpen(id=1, name="spread", view="image", rows=8), "BAD_VALUE", "bytes"),
        (EnvOpen(id=1, name="spread", fill={"agent_9": "random"}), "BAD_VALUE", "agent_0"),
        (EnvOpen(id=1, name="spread", fill={"agent_1": "rnadom"}), "BAD_VALUE", 'Did you mean "random"'),
        (EnvOpen(id=1, name="spread", fill={"agent_1": 3}), "BAD_VALUE", "a name or a table"),
        (EnvOpen(id=1, name="gym:CartPole-v1", fill={"p0": "random"}), "BAD_VALUE", "none is left"),
        (EnvOpen(id=1, name="spread", fill={"agent_1": {"type": "worker", "command": ["x"]}}), "BAD_VALUE", "--trust"),
        (EnvStep(id=1, env=1, actions={}), "BAD_STATE", "not open"),
        (EnvClose(id=1, env=5), "BAD_STATE", "not open"),
        (Ping(id=1), "UNSUPPORTED", "ping"),
    ):
        refused(server.handle(message), code, *words)
    assert isinstance(server.handle(EnvOpen(id=1, name="spread")), Ok)
    refused(server.handle(EnvOpen(id=1, name="spread")), "BUDGET", "at most 1")
    assert isinstance(server.handle(EnvClose(id=2, env=1)), Ok)
    assert isinstance(server.handle(EnvOpen(id=3, name="spread")), Ok)


@pytest.mark.parametrize(("name", "seat", "fill"), [("matrix/stag_hunt", "row", {}), ("openspiel:tic_tac_toe", "p0", {"p1": "random"}), ("matrix/stag_hunt", "row", {"column": "random"})])  # fmt: skip
def test_a_value_that_may_not_be_played_moves_nothing(name, seat, fill):
    server, about = opened(name, 2, fill=fill)
    env, mine = about["env"], about["trained"]
    refused(server.handle(EnvStep(id=2, env=env, actions={seat: [0, 0]})), "BAD_STATE", "reset")
    first = server.handle(EnvReset(id=2, env=env, row=[0, 1], block=[0, 1]))
    good = {s: [0, 0] for s in mine}
    for bad, word in (
        ({**good, seat: [0, 99]}, "row 1"),
        ({**good, seat: [0, -1]}, "row 1"),
        ({**good, seat: [0]}, "1 values for 2 rows"),
        ({**good, seat: ["hurrah", 0]}, seat),
        ({**good, seat: [0.5, 0.5]}, seat),
        ({**good, "nobody": [0, 0]}, "nobody"),
    ):
        refused(server.handle(EnvStep(id=3, env=env, actions=bad)), "BAD_VALUE", word)
    same = server.handle(EnvReset(id=4, env=env, row=[], block=[]))
    assert all(np.array_equal(first.obs[s], same.obs[s]) for s in mine)
    assert isinstance(server.handle(EnvStep(id=5, env=env, actions=good)), State)
    for row, block, word in (([2], [0], "there are 2"), ([0], [0, 1], "one entry"), ([0, 0], [1, 2], "twice"), ([0], [-1], "-1"), ([0], [0.5], "0.5")):  # fmt: skip
        refused(server.handle(EnvReset(id=6, env=env, row=row, block=block)), "BAD_VALUE", word)


def test_masked_actions_are_refused_and_names_are_understood():
    server, about = opened("openspiel:tic_tac_toe", 1, fill={"p1": "random"})
    server.handle(EnvReset(id=2, env=1, row=[0], block=[0]))
    state = server.handle(EnvStep(id=3, env=1, actions={"p0": [4]}))
    assert about["masked"] == ["p0"] and not state.legal["p0"][0, 4]
    refused(server.handle(EnvStep(id=4, env=1, actions={"p0": [4]})), "BAD_VALUE", "not legal")
    server, _ = opened("matrix/stag_hunt", 2)
    server.handle(EnvReset(id=2, env=1, row=[0, 1], block=[0, 1]))
    state = server.handle(EnvStep(id=3, env=1, actions={"row": ["stag", "hare"], "column": np.array([0, 0])}))
    assert state.reward["row"].tolist() == [4, 3] and state.reward["column"].tolist() == [4, 0]


def test_rows_that_are_over_stand_still():
    server, _ = opened("matrix/stag_hunt", 2, options={"rounds": 2})
    server.handle(EnvReset(id=2, env=1, row=[0], block=[0]))
    step = {"row": [0, 0], "column": [0, 0]}
    server.handle(EnvStep(id=3, env=1, actions=step))
    server.handle(EnvReset(id=4, env=1, row=[1], block=[1]))
    state = server.handle(EnvStep(id=5, env=1, actions=step))
    assert state.ended == ["horizon", ""] and set(state.score) == {0}
    state = server.handle(EnvStep(id=6, env=1, actions={"row": [77, 0], "column": [0, 0]}))
    assert state.ended == ["horizon", "horizon"] and state.reward["row"].tolist() == [0, 4] and set(state.score) == {1}
    assert server.steps == 1 + 2 + 1


def test_an_agent_that_cannot_play_is_refused_at_once():
    refused(
        Environments().handle(EnvOpen(id=1, name="openspiel:tic_tac_toe", fill={"p1": "noop"})), "BAD_VALUE", "noop"
    )


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | st.text(max_size=5) | st.binary(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
SEATS = st.sampled_from(["row", "column", "nobody", ""])
MESSAGES = st.one_of(
    st.builds(
        EnvOpen, id=st.just(1), name=st.sampled_from(["matrix/stag_hunt", "matrix/x", "", ":", "openspiel:tic_tac_toe"]),
        rows=st.integers(-1, 3), view=st.sampled_from(["array", "text", "x"]), options=st.dictionaries(st.just("rounds"), PLAIN),
        fill=st.dictionaries(SEATS, st.sampled_from(["random", "noop", "", None, {}, {"type": 3}])),
    ),
    st.builds(EnvReset, id=st.just(2), env=st.integers(0, 3), row=st.lists(st.integers(-1, 3), max_size=3), block=st.lists(st.integers(-1, 3) | PLAIN, max_size=3)),
    st.builds(EnvStep, id=st.just(3), env=st.integers(0, 3), actions=st.dictionaries(SEATS, PLAIN | st.lists(st.integers(0, 1), min_size=1, max_size=3))),
    st.builds(EnvClose, id=st.just(4), env=st.integers(0, 3)),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(st.lists(MESSAGES, max_size=12))
def test_whatever_comes_is_answered_once_and_harms_nothing(messages):
    server = Environments(Limits(envs=3))
    for message in messages:
        answer = server.handle(message)
        assert isinstance(answer, (Ok, State, Error)) and answer.id == message.id
        assert not isinstance(answer, Error) or answer.code in ("BAD_VALUE", "BAD_STATE", "BUDGET"), (message, answer)
    for rows in server.open.values():
        for ended, reward in zip(rows.ended, rows.reward[rows.trained[0]], strict=True):
            assert ended in (None, "", "terminal", "horizon") and np.isfinite(reward)
    server.close()
