"""Many rules on one set of recorded ballots: a sweep over decision rules costs no call to a model.

Discussions are recorded at a fixed length of T turns, and every rule decides afterwards. That is exact
and not an approximation: ballots of turn t do not depend on a rule that would have stopped after t.
What the record cannot say is what further turns would bring, so a rule that is still undecided at the
end is shown with the calls that one more turn would cost.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np

from crossplay.kernel.types import CrossplayError
from crossplay.measure.ballots import Ballots
from crossplay.measure.rulebook import FIELD, Rule, make_rule
from crossplay.measure.stats.blocks import block_means
from crossplay.measure.stats.intervals import mean_t
from crossplay.measure.stats.results import Estimate

__all__ = ["SweepRow", "sweep"]

TABLES = ("approvals", "points", "rankings")  # forms with a row per voter


class SweepRow(msgspec.Struct, frozen=True):
    """One rule on all recorded elections.

    accuracy: share of elections decided rightly, an open one counts as wrong; None without truth or
    where the ballots lack the form. correct_if_decided: among the decided ones. decided, tied: shares
    of elections. turn: mean turn of the decision. rejected: malformed ballots met at the turns that
    the rule read. calls: recorded calls up to the decision, summed. spare_calls: recorded calls after it.
    further_calls: what is missing at least: for an election left open, one more turn of its members;
    for a form that was not recorded, one call of each member (for a verdict: of the judge) per election.
    mark: "" | "open elections" | "not recorded: ...".
    """

    rule: str
    parameters: dict[str, Any]
    elections: int
    accuracy: Estimate | None
    correct_if_decided: float | None
    decided: float
    tied: float
    turn: float | None
    rejected: int
    calls: int
    spare_calls: int
    further_calls: int
    mark: str = ""


def _sizes(ballots: Ballots) -> tuple[int, int, int]:
    """(elections, turns, voters) of the recorded forms, which must agree."""
    sizes: dict[str, tuple[int, ...]] = {}
    for name in FIELD.values():
        value = getattr(ballots, name)
        if value is not None:
            shape = np.shape(value)
            if len(shape) != (4 if name in TABLES else 3):
                raise CrossplayError(f"sweep: {name}: expected [elections, turns, voters, ...], got shape {shape}")
            sizes[name] = shape[:3]
    judged = sizes.pop("verdicts", None)
    if not sizes:
        raise CrossplayError("sweep: no ballots of members were recorded")
    if len(set(sizes.values())) > 1 or (judged and judged[:2] != next(iter(sizes.values()))[:2]):
        raise CrossplayError(
            "sweep: the forms disagree about [elections, turns, voters]: "
            + str(sizes | ({"verdicts": judged} if judged else {}))
        )
    e, t, v = next(iter(sizes.values()))
    if not e or not t:
        raise CrossplayError("sweep: needs at least one election and one turn")
    return e, t, v


def _at_turn(ballots: Ballots, t: int) -> Ballots:
    parts = {f: getattr(ballots, f) for f in FIELD.values()}
    return Ballots(**{f: None if v is None else np.asarray(v)[:, t] for f, v in parts.items()})


def _decide(
    rule: Rule, ballots: Ballots, m: int, turns: range, members: np.ndarray, key: bytes
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """(winner[E], tied[E], 0-based turn of the decision or the last one [E], rejected ballots)."""
    winner, at = np.full(len(members), -1), np.full(len(members), turns[-1])
    tied, rejected = np.zeros(len(members), bool), 0
    for t in turns:
        open_ = winner < 0
        d = rule(_at_turn(ballots, t), m, key=key, turn=t + 1, voters=members)
        rejected += int(d.rejected[open_].sum())
        tied = np.where(open_, d.tied, tied)
        at = np.where(open_, t, at)
        winner = np.where(open_, d.winner, winner)
        if (winner >= 0).all():
            break
    return winner, tied, at, rejected


def sweep(
    ballots: Ballots,
    rules: Sequence[str | Mapping[str, Any] | Rule],
    n_options: int,
    *,
    key: bytes,
    truth: Any = None,
    blocks: Sequence[Hashable] | np.ndarray | None = None,
    when: Literal["end", "first"] = "end",
    start: int = 1,
    calls: Any = None,
    voters: Any = None,
    level: float = 0.95,
) -> list[SweepRow]:
    """One row per rule on recorded ballots [E, T, V, ...] of E elections over T turns.

    truth: int[E], the right option. blocks: [E], the question of each election, the unit of the interval
    (default: each election its own). when: "end" decides on the last turn; "first" at the first turn from
    `start` (from 1) at which the rule finds a decision, as a discussion that stops would. calls: int[E, T],
    calls of each turn (default: V each). voters: int[E], members (default V). key: seeds of the draws,
    the same for all rules. Errors: unknown rules, ballots of other shapes.
    """
    e, t, v = _sizes(ballots)
    if when not in ("end", "first"):
        raise CrossplayError(f'when: expected "end" or "first", got {when!r}')
    if not 1 <= start <= t:
        raise CrossplayError(f"start: expected a turn from 1 to {t}, got {start!r}")
    spent = np.full((e, t), v) if calls is None else np.asarray(calls)
    members = np.full(e, v) if voters is None else np.broadcast_to(np.asarray(voters), (e,))
    right = None if truth is None else np.asarray(truth)
    if spent.shape != (e, t) or (right is not None and right.shape != (e,)):
        raise CrossplayError(f"sweep: expected calls [{e}, {t}] and truth [{e}]")
    units = np.arange(e) if blocks is None else blocks
    turns = range(t - 1, t) if when == "end" else range(start - 1, t)
    rows = []
    for rule in map(make_rule, rules):
        parameters = msgspec.structs.asdict(rule)
        lacking = rule.lacks(ballots)
        if lacking:
            need = e if lacking == ("verdict",) else int(members.sum())
            mark = "not recorded: " + ", ".join(lacking)
            rows.append(SweepRow(rule.name, parameters, e, None, None, 0.0, 0.0, None, 0, 0, 0, need, mark))
            continue
        winner, tied, at, rejected = _decide(rule, ballots, n_options, turns, members, key)
        decided = winner >= 0
        accuracy = within = None
        if right is not None:
            hit = (winner == right) & decided
            accuracy = mean_t(block_means(hit, units).means, level, (0.0, 1.0))
            within = float(hit[decided].mean()) if decided.any() else None
        used = int(np.where(np.arange(t) <= at[:, None], spent, 0).sum())
        rows.append(
            SweepRow(
                rule=rule.name,
                parameters=parameters,
                elections=e,
                accuracy=accuracy,
                correct_if_decided=within,
                decided=float(decided.mean()),
                tied=float(tied.mean()),
                turn=float(at[decided].mean() + 1) if decided.any() else None,
                rejected=rejected,
                calls=used,
                spare_calls=int(spent.sum()) - used,
                further_calls=int(members[~decided].sum()),
                mark="" if decided.all() else "open elections",
            )
        )
    return rows
