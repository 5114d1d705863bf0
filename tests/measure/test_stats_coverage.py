"""Do the intervals and verdicts keep their promise? Few repetitions here; the long run prints the docs' table."""

import pytest
import stats_simulations as sim


def close(share, nominal, reps, sigmas=4):
    return abs(share - nominal) <= sigmas * sim.standard_error(nominal, reps)


@pytest.mark.parametrize("n", [3, 10, 30])
def test_the_t_interval_covers_95_percent(n):
    share, constant = sim.t_coverage(sim.normal, n, 2000)
    assert close(share, 0.95, 2000)
    assert 0.93 <= share <= 0.97
    assert constant == 0


def test_differences_of_successes_are_covered_from_ten_blocks_on():
    assert sim.t_coverage(sim.success, 10, 2000)[0] >= 0.93


def test_clusters_need_their_own_formula():
    assert close(sim.cluster_coverage(10, 8, 2000, True), 0.95, 2000)
    assert sim.cluster_coverage(10, 8, 1000, False) < 0.75


def test_wilson_covers():
    assert sim.wilson_coverage(0.5, 30, 2000) >= 0.93


def test_the_bootstrap_of_few_runs_covers_too_little():
    assert sim.iqm_coverage(3, 400, 300) < 0.92
    assert sim.iqm_coverage(20, 400, 300) > 0.91


def test_family_errors_stay_below_five_percent():
    reps = 800
    tallies, errors = sim.verdicts([0.0] * 4, 12, reps, margin=2.0)
    assert errors["false better/worse"] <= 0.05 + 3 * sim.standard_error(0.05, reps)
    assert errors["joint coverage"] == 1 - errors["false better/worse"]
    assert sum(t["tied"] for t in tallies) > 3.5 * reps


def test_true_nulls_among_real_effects_keep_their_protection():
    reps = 600
    tallies, errors = sim.verdicts([3.0, -3.0, 0.0], 12, reps)
    assert errors["false better/worse"] <= 0.05 + 3 * sim.standard_error(0.05, reps)
    assert tallies[0]["better"] > 0.99 * reps
    assert tallies[1]["worse"] > 0.99 * reps


def test_the_planned_number_of_blocks_settles():
    for effect in (0.0, 0.5):
        planned, share = sim.settled(effect, 0.5, 1.0, 400)
        assert planned == 44
        assert share >= 0.8 - 4 * sim.standard_error(0.8, 400)
