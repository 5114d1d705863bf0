"""The algebra of the three primitives, written down apart from the protocols: who says what, seeing what.

A shape is the list of contributions in the order made, each as (member, whether it is words aside, the
places of those it sees). A primitive takes the place of the answer before it, or none, and adds to the list.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["Shape", "calls", "composed", "debate", "pipeline", "vote"]

Said = tuple[int, bool, tuple[int, ...]]
Shape = list[Said]
SOLVER, CRITIC, SELECTOR = 0, 1, 2
ROLES = 4
"""Solver, critic, selector, planner: with four members each role has its own."""


def _review(shape: Shape, before: tuple[int, ...], n: int, by: str, rounds: int) -> int | None:
    draft = _said(shape, SOLVER, False, before)
    for _ in range(rounds):
        critique = _said(shape, CRITIC, True, (*before, draft))
        draft = _said(shape, SOLVER, False, (draft, critique))
    return draft


def _select(shape: Shape, before: tuple[int, ...], n: int, by: str, rounds: int) -> int | None:
    all_of = tuple(_said(shape, m, False, before) for m in range(n))
    return _said(shape, min(SELECTOR, n - 1), False, all_of) if by == "selector" else None


def _plan(shape: Shape, before: tuple[int, ...], n: int, by: str, rounds: int) -> int | None:
    plan = _said(shape, min(3, n - 1), True, before)
    return _said(shape, SOLVER, False, (*before, plan))


_STEPS: dict[str, Callable[[Shape, tuple[int, ...], int, str, int], int | None]] = {
    "review": _review,
    "select": _select,
    "plan": _plan,
}


def composed(steps: Sequence[str], n: int, by: str = "selector", rounds: int = 1) -> Shape:
    """The shape of primitives one after the other; with by = "rule" a selection may only come last."""
    shape: Shape = []
    before: tuple[int, ...] = ()
    for step in steps:
        answer = _STEPS[step](shape, before, n, by, rounds)
        before = () if answer is None else (answer,)
    return shape


def calls(steps: Sequence[str], n: int, rounds: int = 1) -> int:
    """Calls of a composition: review 1 + 2 rounds, select n + 1, plan 2."""
    return sum({"review": 1 + 2 * rounds, "select": n + 1, "plan": 2}[s] for s in steps)


def vote(n: int) -> Shape:
    """Everybody answers alone (self-consistency: n samples)."""
    return [(m, False, ()) for m in range(n)]


def debate(n: int, rounds: int) -> Shape:
    """Everybody answers, then in each round everybody again, seeing all last answers."""
    last = [(m, False, tuple(range(n * (r - 1), n * r))) for r in range(1, rounds + 1) for m in range(n)]
    return vote(n) + last


def pipeline(members: Sequence[int]) -> Shape:
    """One after the other, each seeing all before; only the last one answers, the others say words."""
    last = len(members) - 1
    return [(m, i != last, tuple(range(i))) for i, m in enumerate(members)]


def _said(shape: Shape, member: int, aside: bool, sees: tuple[int, ...]) -> int:
    shape.append((member, aside, sees))
    return len(shape) - 1
