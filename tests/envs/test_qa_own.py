"""The questions of our own: generators, answers, splits, closed forms, conformance."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from crossplay.agents.scripts import qa
from crossplay.envs.check import check
from crossplay.envs.qa import arithmetic, choice, family, synthetic
from crossplay.envs.qa.question import split_of
from crossplay.kernel import Action, CrossplayError, key
from qa_members import asked, made, wired


@pytest.mark.parametrize("options", [{}, {"turns": 3}, {"split": "dev"}])
@pytest.mark.parametrize("name", ["synthetic", "arithmetic", "choice"])
def test_conformance(name: str, options: dict) -> None:
    wired()
    report = check(f"qa/{name}", options=options, blocks=3, processes=False, chance=True)
    assert report.passed, report.text()


# -- the distance of a clue, against scipy ----------------------------------------------------------


@pytest.mark.parametrize(("d", "m"), [(0.0, 4), (0.5, 2), (1.3, 4), (2.5, 10), (4.0, 26)])
def test_accuracy_is_the_forced_choice_integral(d: float, m: int) -> None:
    by_scipy, _ = integrate.quad(lambda t: stats.norm.pdf(t - d) * stats.norm.cdf(t) ** (m - 1), -12, 14)
    assert synthetic.accuracy(d, m) == pytest.approx(by_scipy, abs=1e-9)
    if m == 2:  # one normal difference of variance 2
        assert synthetic.accuracy(d, 2) == pytest.approx(stats.norm.cdf(d / math.sqrt(2)), abs=1e-9)
    assert synthetic.distance(synthetic.accuracy(d, m), m) == pytest.approx(d, abs=1e-6)


def test_pooled_distance_against_the_matrix() -> None:
    d, rho = np.array([0.4, 1.0, 1.7]), 0.6
    cov = (1 - rho) * np.eye(3) + rho
    assert synthetic.pooled_distance(list(d), rho) == pytest.approx(math.sqrt(d @ np.linalg.inv(cov) @ d))


def test_no_clue_no_knowledge() -> None:
    """Clues of chance quality hold nothing about the answer: the best use of all of them is a guess."""
    env = family.make("synthetic", {"quality": 0.25, "channels": 4})
    right = [asked(env, made(qa.scholar), b).score["accuracy"] for b in range(600)]
    assert abs(np.mean(right) - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 600)


def test_data_does_not_hold_the_answer() -> None:
    """Only the clues move when the hidden answer does."""
    env = family.make("synthetic", {"channels": 2})
    seen = {}
    for b in range(60):
        env.reset(key(b))
        data = env.data("solver")
        assert set(data) == {
            *("question", "choices", "reads", "turn", "turns", "wrong"),
            *("id", "clues", "distances", "correlation", "spread"),
        }
        rest = {k: v for k, v in data.items() if k not in ("id", "clues", "question")}
        seen[env.question.answer] = rest
    assert len(seen) == 4 and len({str(v) for v in seen.values()}) == 1


def test_what_is_drawn_has_the_promised_moments() -> None:
    source = family.make("synthetic", {"channels": 3, "correlation": 0.4, "quality": [0.4, 0.6, 0.8]}).source
    noise, at_right, answers = [], [], []
    for b in range(3000):
        q = source.drawn(key("moments", b))
        clues = np.array(q.known["clues"])
        at_right.append(clues[:, q.answer].copy())
        clues[:, q.answer] -= source.distances
        noise.append(clues)
        answers.append(q.answer)
    noise = np.array(noise)  # [questions, channels, options]
    assert np.bincount(answers, minlength=4) == pytest.approx([750] * 4, abs=4 * math.sqrt(3000 * 3 / 16))
    assert np.mean(at_right, axis=0) == pytest.approx(source.distances, abs=4 / math.sqrt(3000))
    flat = noise.transpose(1, 0, 2).reshape(3, -1)
    assert np.cov(flat) == pytest.approx(0.6 * np.eye(3) + 0.4, abs=0.06)
    assert np.corrcoef(noise[:, 0].T) == pytest.approx(np.eye(4), abs=0.08)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quality": 0.1}, "with 4 options it lies from 0.25"),
        ({"quality": [0.5, 0.5], "channels": 3}, "one per channel"),
        ({"channel": 3}, 'Did you mean "channels"'),
        ({"correlation": 1.0}, "outside its bounds"),
    ],
)
def test_wrong_options(options: dict, message: str) -> None:
    with pytest.raises(CrossplayError, match=message):
        family.make("synthetic", options)
    with pytest.raises(CrossplayError, match='Did you mean "synthetic"'):
        family.make("sinthetic", {})


# -- arithmetic and choice ---------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 2, 3]), st.sampled_from(["all", *arithmetic.KINDS]))
def test_arithmetic_has_one_answer_that_the_text_gives(seed: int, level: int, kind: str) -> None:
    question = arithmetic.Arithmetic({"level": level, "kind": kind}).drawn(key(seed))
    assert arithmetic.solve(question.text) == int(question.answer) > 0
    assert question.answer not in question.text.replace("?", " ").replace(".", " ").split()
    assert question.scores["steps"] in (1.0, 2.0)


def test_arithmetic_by_hand() -> None:
    assert arithmetic.solve("Ada has 7 coins and gives away 3 of them. How many coins does Ada have left?") == 4
    assert arithmetic.solve("There are 4 jars of 6 cards. Jun takes out 5 cards. How many cards stay inside?") == 19
    assert arithmetic.solve("Ada has 7 coins and gives away 3 of them. How many coins does Bela have left?") is None


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 2, 3]), st.integers(2, 8))
def test_choice_has_one_right_choice(seed: int, level: int, options: int) -> None:
    question = choice.Choice({"level": level, "options": options}).drawn(key(seed))
    assert len(set(question.choices)) == options
    assert choice.solve(question.text, question.choices) == question.answer


def test_tables_are_disjoint_and_opposites_unique() -> None:
    words = [w for group in choice.GROUPS.values() for w in group]
    assert len(words) == len(set(words))
    pairs = [w for pair in choice.OPPOSITES for w in pair]
    assert len(pairs) == len(set(pairs)) and len(set(choice.PLACES.values())) == len(choice.PLACES)


def test_permuted_choices_put_the_answer_everywhere() -> None:
    env = family.make("choice", {"options": 4})
    places = []
    for b in range(800):
        env.reset(key(b))
        shown = env.data("solver")["choices"]
        assert sorted(shown) == sorted(env.question.choices)
        places.append(shown.index(env.question.choices[env.question.answer]))
    assert stats.chisquare(np.bincount(places, minlength=4)).pvalue > 1e-4
    plain = family.make("choice", {"permute": False})
    plain.reset(key(3))
    assert plain.data("solver")["choices"] == list(plain.question.choices)


@pytest.mark.parametrize("name", ["synthetic", "arithmetic", "choice"])
@pytest.mark.parametrize("level", [1, 3])
def test_scholar_is_an_honest_ceiling(name: str, level: int) -> None:
    options = {} if name == "synthetic" else {"level": level}
    env = family.make(name, options)
    right = [asked(env, made(qa.scholar), b).score["accuracy"] for b in range(120)]
    if name == "synthetic":
        assert np.mean(right) > 0.97  # sixteen clues: accuracy(4 x 1.32, 4)
    else:
        assert right == [1.0] * 120
    assert family.expert(name) == "scholar"


# -- turns, scores, splits ------------------------------------------------------------------------------


def test_turns_tell_what_was_wrong() -> None:
    env = family.make("arithmetic", {"turns": 3})
    env.reset(key(1))
    right = env.question.answer
    assert env.step({"solver": "no idea"}, ()) == [0.0] and env.ended() is None
    assert env.step({"solver": f"{right} or 100000"}, ()) == [0.0]
    data = env.data("solver")
    assert data["wrong"] == ["no idea", f"{right} or 100000"] and data["turn"] == 2
    assert "Answer 3 of at most 3" in env.view("solver", "text")
    assert env.step({"solver": f"answer: {right}"}, ()) == [1.0] and env.ended() == "terminal"
    assert env.score() == {
        **{"accuracy": 1.0, "first_try": 0.0, "turns": 3.0, "unreadable": 2.0, "ambiguous": 1.0},
        "steps": env.score()["steps"],
    }
    assert env.canonical(f"the answer is {right}.0") == right and env.canonical("none") is None


def test_votes_compare_letters_however_they_are_said() -> None:
    env = family.make("choice", {})
    assert [env.canonical(v) for v in (1, "B", "I think B", "A or B", "none")] == [1, 1, 1, None, None]
    assert family.make("arithmetic", {}).canonical("so 3 + 4 = 7") == "7"


def test_letters_are_counted() -> None:
    env = family.make("choice", {"options": 3})
    env.reset(key(1))
    env.step({"solver": 2}, ())
    assert [env.score()[f"chose_{n}"] for n in "ABC"] == [0.0, 0.0, 1.0]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**20), st.integers(0, 50), st.sampled_from(["arithmetic", "choice", "synthetic"]))
def test_splits_are_disjoint(block: int, seed: int, name: str) -> None:
    found = {}
    for split in ("train", "dev", "test"):
        env = family.make(
            name, {"split": split, "split_seed": seed, **({"channels": 1} if name == "synthetic" else {})}
        )
        env.reset(key(split, block))
        assert split_of(env.question.id, seed) == split
        found[split] = env.question.id
    assert len(set(found.values())) == 3


def test_shares_of_splits() -> None:
    counts = dict.fromkeys(("train", "dev", "test"), 0)
    for i in range(5000):
        counts[split_of(f"item {i}")] += 1
    assert stats.chisquare(list(counts.values()), [3000, 1000, 1000]).pvalue > 1e-3
    moved = sum(split_of(f"item {i}", 0) != split_of(f"item {i}", 1) for i in range(1000))
    assert 400 < moved < 700  # 1 - .36 - .04 - .04 = .56


def test_an_action_of_a_letter_name_is_taken() -> None:
    env = family.make("choice", {})
    env.reset(key(5))
    assert env.spec("solver").check("B") == 1 and Action("B").value == "B"
