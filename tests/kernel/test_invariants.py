"""Invariants 2 to 8 of the design, as far as the kernel keeps them (1 is in test_seeds)."""

import pytest

import properties


@pytest.mark.parametrize(
    "check", [p for k in (2, 3, 4, 5, 6, 7, 8) for p in properties.of(k)], ids=lambda p: p.__name__
)
def test_invariant(check):
    check()
