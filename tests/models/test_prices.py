"""Prices and budgets: dated, loud about the unknown, never passed."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossplay.kernel import CrossplayError, Usage
from crossplay.models import Budget, BudgetSpent, Door, ScriptedBackend
from crossplay.models.prices import Price, price_of, table
from crossplay.models.rate import Rate


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSPLAY_HOME", str(tmp_path))
    table.cache_clear()
    yield tmp_path
    table.cache_clear()


def test_the_table_is_dated_and_sourced():
    assert len(table()) >= 10
    for price in table().values():
        assert price.date >= "2026"
        assert price.source.startswith("https://")
        assert 0 < price.input < price.output
        assert price.cache_read is not None
        assert price.cache_read < price.input


def test_cost_by_hand():
    price = Price(input=2.0, output=8.0, cache_read=0.5)
    assert price.cost(1_000_000, 0) == 2.0
    assert price.cost(1_000_000, 500_000, cached=400_000) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 0.5 * 8)
    assert Price(input=2.0, output=8.0).cost(1_000_000, 0, cached=1_000_000) == 2.0  # no discount is known


def test_stored_tokens_are_priced_anew_with_the_cached_ones_apart():
    """The money column of a table: an agent's counts, at the price of today."""
    from crossplay.study.costs import money_of

    identity = {
        "agents": {"a": {"models": ["m"]}},
        "models": {"m": {"priced": "m", "price": {"input": 2.0, "output": 8.0, "cache_read": 0.5}}},
    }
    counts = {"calls": 3, "tok_in": 1_000_000, "tok_out": 100_000, "tok_cached": 400_000}
    assert money_of("a", counts, identity) == pytest.approx(0.6 * 2 + 0.4 * 0.5 + 0.1 * 8)
    identity["models"]["m"] = {"priced": "nobody-7b", "price": None}
    assert money_of("a", counts, identity) is None
    identity["models"]["m"] = {"priced": "gpt-4o-mini", "price": None}
    assert money_of("a", counts, identity) == pytest.approx(0.6 * 0.15 + 0.4 * 0.075 + 0.1 * 0.60)


def test_unknown_models_are_an_error_never_free():
    with pytest.raises(CrossplayError, match=r'"gpt-4o-mimi".* Did you mean "gpt-4o-mini"'):
        price_of("gpt-4o-mimi")
    door = Door(
        {"m": {"backend": "http", "url": "http://127.0.0.1:9/v1", "model": "nobody-7b"}}, budget=Budget(money=1)
    )
    with pytest.raises(CrossplayError, match='no price is known for model "nobody-7b"'):
        door.model("m")
    free = {"backend": "http", "url": "http://127.0.0.1:9/v1", "model": "nobody-7b", "paid": False}
    assert Door({"m": free}, budget=Budget(money=1)).model("m").price() is None


def test_the_users_own_prices_win(own_home):
    (own_home / "models").mkdir()
    (own_home / "models" / "prices.toml").write_text(
        'date = "2027-01-01"\n[me]\nsource = "an invoice"\nmodels."gpt-4o" = { input = 1.0, output = 2.0 }\n'
    )
    assert price_of("gpt-4o") == Price(1.0, 2.0, None, "an invoice", "2027-01-01")
    assert price_of("gpt-4.1").input == 2.0
    table.cache_clear()
    (own_home / "models" / "prices.toml").write_text('[me]\nmodels."x" = { inputt = 1.0, output = 2.0 }\n')
    with pytest.raises(CrossplayError, match=r'unknown option "inputt". Did you mean "input"'):
        table()


@given(
    spends=st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20), st.floats(0, 1)), max_size=30),
    tokens=st.integers(0, 300),
    money=st.floats(0, 0.001),
)
def test_a_budget_is_never_passed(spends, tokens, money):
    """Whatever is reserved and settled, in any overlap, no limit is exceeded."""
    price = Price(1.0, 3.0)
    budget = Budget(calls=10, tokens=tokens, money=money)
    flying = []
    for tok_in, tok_out, share in spends:
        with contextlib.suppress(BudgetSpent):
            flying.append((budget.reserve((tok_in, tok_out), price), int(tok_in * share), int(tok_out * share)))
        if len(flying) > 2:
            ticket, a, b = flying.pop(0)
            budget.settle(ticket, Usage(1, a, b), price)
    for ticket, a, b in flying:
        budget.settle(ticket, Usage(1, a, b), price)
    assert budget.spent.calls <= 10
    assert budget.spent.tok_in + budget.spent.tok_out <= tokens
    assert budget.spent_money <= money * (1 + 1e-12)


def test_wall_limit_and_release():
    now = [0.0]
    budget = Budget(calls=1, wall_s=10, clock=lambda: now[0])
    budget.release(budget.reserve((1, 1)))
    budget.reserve((1, 1))
    with pytest.raises(BudgetSpent, match="calls"):
        budget.reserve((1, 1))
    late = Budget(wall_s=10, clock=lambda: now[0])
    now[0] = 11.0
    with pytest.raises(BudgetSpent, match="wall_s = 10 s are over"):
        late.reserve((1, 1))
    with pytest.raises(CrossplayError, match="negative"):
        Budget(calls=-1)


def test_scripted_prices_are_honoured():
    door = Door({"m": ScriptedBackend("m", price={"input": 1.0, "output": 2.0})}, budget=Budget(money=1))
    assert door.model("m").price() == Price(1.0, 2.0)


def test_rate_spreads_sendings():
    import asyncio

    now = [0.0]

    async def sleep(seconds):
        now[0] += seconds

    rate = Rate(rpm=60, tpm=None, clock=lambda: now[0], sleep=sleep)
    tokens = Rate(rpm=None, tpm=600, clock=lambda: now[0], sleep=sleep)

    async def run():
        for _ in range(120):
            await rate.take(10)
        assert now[0] == pytest.approx(60.0)  # a minute's worth at once, then one a second
        start = now[0]
        await tokens.take(1000)  # larger than the bucket: goes out, in debt
        await tokens.take(100)
        assert now[0] - start == pytest.approx(50.0)

    asyncio.run(run())
