"""Synthetic answerers: closed forms against simulation, votes of clones and of channels, beliefs."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from scipy import stats

from crossplay.agents.scripts import qa
from crossplay.envs.qa import family, synthetic
from crossplay.kernel import ActionSpec, Agent, Block, CrossplayError, Fault, loop, play
from qa_members import Panel, asked, made


def panel_of(members, options, blocks, rounds=1):
    """(env questions' answers int[Q], answers int[Q, rounds, members], confidence alike)."""
    env, panel = family.make("synthetic", options), Panel(members, rounds)
    truth, said, sure = [], [], []
    for b in range(blocks):
        asked(env, panel, b)
        truth.append(env.question.answer)
        said.append([["ABCDEFGH".index(a.value) for a in r] for r in panel.rounds])
        sure.append([[a.confidence for a in r] for r in panel.rounds])
    return np.array(truth), np.array(said), np.array(sure)


def within(share: float, expected: float, n: int, sds: float = 4.0) -> bool:
    return abs(share - expected) < sds * math.sqrt(expected * (1 - expected) / n) + 1e-9


@pytest.mark.parametrize(
    ("quality", "r", "spread", "m"), [(0.65, 1.0, 0.0, 4), (0.7, 0.5, 0.0, 3), (0.6, 0.85, 1.0, 4)]
)
def test_solo_accuracy_is_the_closed_form(quality: float, r: float, spread: float, m: int) -> None:
    agent = made(qa.answerer, correlation=r)
    truth, said, sure = panel_of([agent], {"quality": quality, "spread": spread, "options": m, "channels": 1}, 2000)
    right = said[:, 0, 0] == truth
    assert within(right.mean(), synthetic.solo_accuracy(quality, m, r, spread), len(truth))
    # c = 1: the mean confidence is the accuracy, overall and in each half.
    order = np.argsort(sure[:, 0, 0])
    for part in (order, order[:1000], order[1000:]):
        assert abs(sure[part, 0, 0].mean() - right[part].mean()) < 4 * 0.5 / math.sqrt(len(part))


def test_skill_sets_the_correlation() -> None:
    agent = made(qa.answerer, skill=0.5)
    truth, said, _ = panel_of([agent], {"quality": 0.8, "channels": 1}, 1500)
    assert within((said[:, 0, 0] == truth).mean(), 0.5, 1500)


def test_errors_of_clones_and_of_channels_correlate_as_said() -> None:
    options = {"quality": 0.65, "channels": 2, "correlation": 0.5}
    env = family.make("synthetic", options)
    panel = Panel([made(qa.answerer, c, correlation=0.8) for c in ("0", "0", "1")])
    noise = []
    for b in range(1500):
        asked(env, panel, b)
        seen = np.array([a.memo for a in panel.rounds[0]])
        seen[:, env.question.answer] -= env.source.distances[0]
        noise.append(seen)
    found = np.corrcoef(np.array(noise).transpose(1, 0, 2).reshape(3, -1))
    assert found[0, 1] == pytest.approx(0.8, abs=0.03)
    assert found[0, 2] == pytest.approx(0.8 * 0.5, abs=0.05)


def vote(said: np.ndarray, sure: np.ndarray | None = None) -> int:
    tally: Counter[int] = Counter()
    for i, a in enumerate(said):
        tally[int(a)] += 1 if sure is None else math.log(sure[i] / (1 - sure[i])) + 5
    top = max(tally.values())
    return next(int(a) for a in said if tally[int(a)] == top)


def test_many_clones_gain_little_and_many_channels_much() -> None:
    """The scaling of votes with equal solo accuracy: clones (error correlation .85) stay, channels grow."""
    n, blocks, options = 16, 500, {"quality": 0.65, "channels": 16}
    clones = [made(qa.answerer, "0") for _ in range(n)]
    mixed = [made(qa.answerer, str(c)) for c in range(n)]
    truth, said, _ = panel_of(clones, options, blocks)
    accuracy = {k: np.mean([vote(s[0, :k]) == y for s, y in zip(said, truth, strict=True)]) for k in (1, 4, 16)}
    assert abs(accuracy[16] - accuracy[4]) < 0.05 and accuracy[16] - accuracy[1] < 0.08
    truth, said, sure = panel_of(mixed, options, blocks)
    several = {k: np.mean([vote(s[0, :k]) == y for s, y in zip(said, truth, strict=True)]) for k in (1, 2, 4, 16)}
    assert several[16] > 0.93 and several[4] > accuracy[16] + 0.05 and abs(several[2] - several[1]) < 1e-9
    two = np.mean([vote(s[0, :2], c[0, :2]) == y for s, c, y in zip(said, sure, truth, strict=True)])
    assert two > accuracy[16]  # two different ones with calibrated confidence against sixteen clones


@pytest.mark.parametrize(("c", "relation"), [(0.0, "none"), (3.0, "over"), (-1.0, "inverse")])
def test_calibration_of_confidence(c: float, relation: str) -> None:
    truth, said, sure = panel_of([made(qa.answerer, calibration=c)], {"quality": 0.6, "channels": 1}, 600)
    right, sure = said[:, 0, 0] == truth, sure[:, 0, 0]
    if relation == "none":
        assert np.allclose(sure, 0.25)
    elif relation == "over":
        assert sure.mean() > right.mean() + 0.1
    else:
        assert stats.pointbiserialr(right, sure).statistic < -0.2


def test_noise_on_confidence() -> None:
    _, _, sure = panel_of([made(qa.answerer, calibration=0.0, confidence_noise=1.0)], {"channels": 1}, 400)
    logits = np.log(sure / (1 - sure)).ravel()
    assert stats.kstest(logits - math.log(1 / 3), "norm").pvalue > 1e-3


# -- beliefs -----------------------------------------------------------------------------------------------

DEBATE = {"quality": 0.55, "channels": 5}


def debate(c: float, blocks: int = 500, rounds: int = 6):
    members = [made(qa.believer, str(i), correlation=1.0, calibration=c) for i in range(5)]
    env, panel = family.make("synthetic", DEBATE), Panel(members, rounds)
    before, after = [], []
    for b in range(blocks):
        asked(env, panel, b)
        y = env.question.answer
        alphas = [[np.array(a.memo["alpha"]) for a in r] for r in panel.rounds]
        before.append(np.mean([al[y] / al.sum() for al in alphas[0]]))
        after.append(np.mean([al[y] / al.sum() for al in alphas[-1]]))
    return np.array(before), np.array(after)


def test_vanilla_belief_is_a_martingale_and_confidence_moves_it() -> None:
    moved = {}
    for c in (-2.0, 0.0, 1.0, 3.0):
        before, after = debate(c)
        moved[c] = (after - before).mean()
        if c == 0.0:
            assert abs(moved[c]) < 3 * (after - before).std() / math.sqrt(len(after))
    assert moved[-2.0] < -0.02 < moved[0.0] < moved[1.0] < moved[3.0] and moved[1.0] > 0.01


def test_solo_accuracy_of_a_sampled_belief_is_its_mean_in_the_truth() -> None:
    env, panel = family.make("synthetic", DEBATE), Panel([made(qa.believer)])
    right, belief = [], []
    for b in range(1500):
        asked(env, panel, b)
        (a,) = panel.rounds[0]
        right.append("ABCD".index(a.value) == env.question.answer)
        belief.append(a.memo["first"][env.question.answer])
    assert within(np.mean(right), np.mean(belief), 1500)


def test_weights_by_hand() -> None:
    assert qa.weight(None) == 1.0 == qa.weight(0.5)
    assert qa.weight(1 / (1 + math.exp(-0.7))) == pytest.approx(math.exp(0.7))
    assert qa.weight(1.0) == pytest.approx(math.exp(20)) and qa.weight(0.0) == pytest.approx(math.exp(-20))


def test_posts_heard_twice_count_once() -> None:
    env, panel = family.make("synthetic", {"channels": 2}), Panel([made(qa.believer, "0"), made(qa.believer, "1")], 3)
    asked(env, panel, 0)
    sums = [[sum(a.memo["alpha"]) for a in r] for r in panel.rounds]
    assert np.allclose(sums, [[2, 2], [3, 3], [4, 4]])
    assert panel.rounds[2][0].memo["heard"] == [1, 3]


def test_wrong_options_are_left_after_a_wrong_answer() -> None:
    env = family.make("synthetic", {"quality": 0.3, "channels": 1, "turns": 4})
    for agent in (made(qa.answerer), made(qa.believer), made(qa.scholar)):
        for b in range(20):
            outcome = asked(env, agent, b)
            assert outcome.score["accuracy"] == 1.0 and not outcome.counts.get("faults")


def test_agents_say_what_they_cannot_play() -> None:
    env = family.make("synthetic", {"channels": 2, "quality": 0.6})
    with pytest.raises(CrossplayError, match="has 2 channels"):
        made(qa.answerer, "5").check(env, "solver")
    with pytest.raises(CrossplayError, match="allows above 0.25 up to 0.6"):
        made(qa.answerer, skill=0.7).check(env, "solver")
    with pytest.raises(CrossplayError, match="plays qa/synthetic alone"):
        made(qa.believer).check(family.make("choice", {}), "solver")
    with pytest.raises(CrossplayError, match="skill = 2"):
        made(qa.answerer, skill=2)
    with pytest.raises(CrossplayError, match="number of a channel"):
        made(qa.believer, "x")
    made(qa.answerer, skill=0.6).check(env, "solver")


def test_rationale_when_wanted() -> None:
    found = []

    class Asks(Agent):
        def act(self, obs):
            member = made(qa.answerer)
            found.append(member.act(obs.for_member((0,), spec=ActionSpec(kind="text"), wants=("rationale",))))
            found.append(member.act(obs.for_member((1,), spec=ActionSpec(kind="box", shape=(1,)))))
            return 0

    loop(play(family.make("synthetic", {}), {"solver": Asks()}, Block(0, 0)))
    assert found[0].value in "ABCD" and "channel 0" in found[0].rationale and isinstance(found[1], Fault)
