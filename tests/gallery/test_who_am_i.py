"""Who am I: closed forms against slow references, the coders, and the series as studies."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

import crossplay
from crossplay import CrossplayError
from crossplay.gallery.who_am_i.claim import ENTRY, kappa_law, mirrored_rates, planted_rates, possible, slope
from crossplay.gallery.who_am_i.study import (
    PLANTED,
    SERIES,
    TRAITS,
    Settings,
    chats,
    habits,
    heard_shares,
    noisy,
    plan,
    second,
    transcripts,
)

rng = np.random.default_rng(7)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.3, 0.5])
def test_the_law_of_kappa_against_sklearn(noise):
    truth = np.arange(90) < 30
    drawn = [cohen_kappa_score(truth, truth ^ (rng.random(90) < noise)) for _ in range(300)]
    mean, sd = kappa_law(30, 60, noise)
    assert np.mean(drawn) == pytest.approx(mean, abs=4 * sd / 300**0.5 + 1e-12)
    assert np.std(drawn) == pytest.approx(sd, rel=0.2)


def test_noise_flips_so_many_codes():
    flags = np.zeros((10, 7, 11, 6), bool)
    assert noisy(flags, 0.2, 1).mean() == pytest.approx(0.2, abs=0.03)
    assert not noisy(flags, 0.0, 1).any() and (noisy(flags, 0.2, 1) == noisy(flags, 0.2, 1)).all()


def test_what_is_possible_in_a_drawn_order_by_listing_orders():
    """Two rounds of three seats (0 speaks to us) and one that errs (3): how often others or the error lie between own turns."""
    between_others = between_error = total = 0
    for one in permutations(range(4)):
        for two in permutations(range(4)):
            heard = {*one[one.index(0) + 1 :], *two[: two.index(0)]}
            between_others += bool(heard & {1, 2})
            between_error += 3 in heard
            total += 1
    assert between_others / total == pytest.approx(1 - 1 / 3**2) and between_error / total == pytest.approx(3 / 4)
    q = possible("E")
    assert q[TRAITS.index("agree")] == pytest.approx(1 - 1 / 7**2) and q[TRAITS.index("comp")] == 3 / 4


def test_planted_rates_add_up():
    rates = planted_rates(PLANTED, possible("A"))
    assert rates[0] == pytest.approx([0.1, 0.45, 0.63, 0.09, 0.18, 0.27])
    assert planted_rates(PLANTED, possible("A", error=False))[:, -1].max() == 0


def test_recursion_against_drawn_chats():
    own, phatic, m, rounds, times = [0.1, 0.8, 0.3], 0.2, 0.6, 4, 40_000
    flags = np.zeros((times, 3, rounds))
    for r in range(rounds):
        for i in range(3):
            before = [flags[:, j, r - 1] for j in range(i + 1, 3) if r] + [flags[:, j, r] for j in range(i)]
            chance = (1 - m) * own[i] + m * np.mean(before, 0) if before else np.full(times, own[i])
            flags[:, i, r] = (rng.random(times) < chance) & (rng.random(times) >= phatic)
    expected = mirrored_rates(own, phatic, m, rounds)
    np.testing.assert_allclose(flags.mean(0), expected, atol=4.5 * 0.5 / times**0.5)
    assert mirrored_rates(own, phatic, m, rounds, anyone=False)[0, 0] == 0


def test_without_mirroring_the_recursion_is_the_planted_rate():
    np.testing.assert_allclose(mirrored_rates([0.5, 0.2], 0.1, 0.0, 3), [[0.45] * 3, [0.18] * 3])


def test_slope_of_known_data():
    x = rng.random((30, 7, 11, 6))
    flags = rng.random(x.shape) < 0.2 + 0.5 * x
    b, se = slope(flags, x, [1, 2])
    assert abs(b - 0.5) < 4 * se < 0.25


def test_heard_shares_by_walking_through_the_chat():
    found = chats("E", habits(Settings()), 2, root=3)
    shares = heard_shares(found)
    for run in range(2):
        order = sorted((found.ticks[run, i, r], i, r) for i in range(7) for r in range(11))
        heard = {i: [] for i in range(7)}
        for _, i, r in order:
            expected = np.mean(heard[i], 0) if heard[i] else np.full(6, np.nan)
            np.testing.assert_allclose(shares[run, i, r], expected)
            heard[i] = []
            for j in range(7):
                if j != i:
                    heard[j].append(found.flags[run, i, r].astype(float))


def test_the_second_coder_reads_sentences_it_never_saw():
    assert second("Wren, please fix the gate. I agree with Otter.") == {"lead", "agree"}
    assert second("We could take Nginx and Celery for that, since both are known to all of us here and there.") == {
        "arch"
    }
    assert second("Rook had an error and I take it over.") == {"comp"}
    assert second("Good day.") == {"phatic"} and second("[error] no") == frozenset()


def test_settings_draw_speakers_together():
    alike = habits(Settings(spread=0.0))
    assert len(set(alike)) == 1 and habits(Settings()) == PLANTED
    assert alike[0].lead == pytest.approx(np.mean([h.lead for h in PLANTED]))


def test_series_are_those_published():
    assert sum(s.runs for s in SERIES.values()) == 208 and len(SERIES) == 12
    with pytest.raises(CrossplayError, match="temperature"):
        chats("I", habits(Settings()), 1)
    with pytest.raises(CrossplayError, match="unknown series"):
        plan("D", [{}] * 7)
    with pytest.raises(CrossplayError, match="6 agents for 7 seats"):
        plan("A", [{}] * 6)


def test_a_study_of_a_series_gives_the_same_transcripts(tmp_path):
    speakers = habits(Settings())
    agents = [{"type": "speaker", **{t: getattr(h, t) for t in TRAITS}} for h in speakers]
    crossplay.run(plan("C", agents, runs=2), out=tmp_path / "c")
    read, played = transcripts(tmp_path / "c"), chats("C", speakers, 2)
    assert (read.texts == played.texts).all() and (read.ticks == played.ticks).all()
    assert (read.flags == played.flags).all() and read.ended == ("terminal",) * 2
    crossplay.run(
        {**plan("A", agents, runs=2), "lineups": {"A": [f"speaker {i}" for i in (2, 1, 3, 4, 5, 6, 7)]}},
        out=tmp_path / "a",
    )
    assert (transcripts(tmp_path / "a").flags != played.flags).any()


def test_names_are_for_those_who_are_there():
    options = plan("C", [{}] * 7, error=False)["environments"]["chat"]["options"]
    assert len(options["people"]) == 7 and options["error"] == 0


def test_entry_states_only_marked_figures():
    assert {f.mark for f in ENTRY.figures} == {"P"} and ENTRY.trial is None
