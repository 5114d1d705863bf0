"""OneFlow: the closed form of the advantage, the conversation's requests, and what a trial says."""

from __future__ import annotations

import types

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossplay.gallery.oneflow.claim import ENTRY, advantage, break_even, check, judge
from crossplay.gallery.oneflow.study import LEVELS, Settings, control, flow, study, workflow
from crossplay.measure.stats.results import Interval
from crossplay.study.spec import parse_study

sizes = st.integers(1, 500)


@given(st.integers(1, 12), sizes, sizes, sizes, st.floats(0, 1))
def test_the_closed_form_is_the_sum_over_calls(k, base, turn, out, p_cache):
    team = sum(base + turn + j * out for j in range(k))
    prompts = [base + (j + 1) * turn + j * out for j in range(k)]
    old = [0] + [prompts[j - 1] + out for j in range(1, k)]
    single = sum(p_cache * o + (p - o) for p, o in zip(prompts, old, strict=True))
    assert team - single == pytest.approx(advantage(k, base, turn, out, 1.0, p_cache), abs=1e-6)


@given(st.integers(2, 12), sizes, sizes, sizes)
def test_below_the_break_even_the_conversation_is_cheaper(k, base, turn, out):
    even = break_even(k, base, turn, out)
    assert 0 < even < 1
    assert advantage(k, base, turn, out, 1.0, even * 0.99) > 0 > advantage(k, base, turn, out, 1.0, even * 1.01)


def test_without_a_discount_the_instructions_are_the_loss():
    assert advantage(4, 300, 20, 70, 1.0, 1.0) == pytest.approx(-20 * 6)


def test_one_role_is_one_call_in_both_forms():
    s = Settings(blocks=1)
    [team], [single] = (workflow(s, flow(1), 1, form) for form in ("team", "single"))
    assert len(team) == len(single) == 1


def test_a_worse_price_or_a_team_is_found():
    assert "cheaper" in {f.name for f in check(Settings(p_cache=1.0, blocks=1)) if not f.holds}
    assert "prefix" in {f.name for f in check(Settings(form="team", blocks=1)) if not f.holds}


@pytest.mark.parametrize("level", LEVELS, ids=lambda v: v.name)
def test_studies_are_studies(level):
    for made in (control, study):
        assert ENTRY.trial.single in parse_study(made(["qwen2.5-coder-0.5b"], level, 4)).lineups


def row(lineup, difference, low, high, read=100, cached=0, said=10, cpu=1.0):
    comparison = types.SimpleNamespace(difference=difference, interval=Interval(low, high, 0.95, "t", 60), blocks=60)
    costs = types.SimpleNamespace(tok_in=read, tok_cached=cached, tok_out=said, cpu_s=cpu)
    summary = types.SimpleNamespace(blocks=60)
    return types.SimpleNamespace(lineup=lineup, comparison=comparison, costs=costs, summary=summary)


def test_the_judge_compares_with_the_team():
    rows = [
        row("team", 0, 0, 0, read=1000, cached=200, said=50, cpu=4.0),
        row("conversation", -0.02, -0.08, 0.04, read=1200, cached=900, said=60, cpu=5.0),
        row("one", -0.2, -0.3, -0.1),
    ]
    found = {f.name: f for f in judge(types.SimpleNamespace(rows=rows), None)}
    assert found["as accurate"].holds and found["as accurate"].low == -0.08
    assert found["team over one"].holds and found["team over one"].value == pytest.approx(0.2)
    assert found["reads less"].value == pytest.approx(300 / 800)
    assert found["cheaper"].value == pytest.approx((300 + 90 + 240) / (800 + 20 + 200))
    assert not found["faster"].holds
