"""Decision rules swept over the recorded ballots of a team: what each rule would have decided, without a call."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crossplay.kernel import CrossplayError, key, nearest
from crossplay.measure.ballots import Ballots
from crossplay.measure.rulebook import RULES
from crossplay.measure.sweep import SweepRow, sweep
from crossplay.study.inside import answers_of
from crossplay.study.verify import load_run

if TYPE_CHECKING:
    import polars as pl

__all__ = ["sweep_run"]


def sweep_run(
    folder: str | Path,
    lineup: str,
    rules: Sequence[str | dict[str, Any]] = (),
    when: str = "end",
) -> list[SweepRow]:
    """One row per rule on the answers that the members of a lineup's team gave, round by round.

    rules: names or tables; default: all. when: "end" decides on the last round, "first" at the first
    round at which the rule finds a decision, as a discussion that stops would. Rules that ask for more
    than answers and confidence say how many further calls they need. Raises CrossplayError where the
    lineup has no team, or its answers cannot be scored.
    """
    if when not in ("end", "first"):
        raise CrossplayError(f'--when "{when}" is not "end" or "first"')
    run, study = load_run(Path(folder))
    with run:
        found, truth = answers_of(run, study, lineup)
    ballots, right, blocks, options = _ballots(found, truth)
    chosen = list(rules) or list(RULES)
    for rule in chosen:
        name = rule if isinstance(rule, str) else rule.get("name")
        if name not in RULES:
            raise CrossplayError(f'unknown rule "{name}".{nearest(str(name), RULES)}')
    return sweep(
        ballots,
        chosen,
        options,
        key=key("sweep", study.root, lineup),
        truth=right,
        blocks=blocks,
        when="first" if when == "first" else "end",
    )


def _ballots(posts: pl.DataFrame, truth: str) -> tuple[Ballots, np.ndarray | None, list[Any], int]:
    """Standing answers [E, T, V] of every decision after each round, their options numbered per decision.

    right: the option with the full score, -1 where none of the answers has it; None where scores are unknown.
    """
    decisions = posts.partition_by("episode", "tick", "seat", "team", maintain_order=True)
    rounds = int(posts["round"].max()) + 1 if posts.height else 0  # type: ignore[arg-type]
    slots = sorted(posts["slot"].unique().to_list())
    place = {s: i for i, s in enumerate(slots)}
    e = len(decisions)
    if not e or not rounds:
        raise CrossplayError("the team gave no answer that could be a ballot")
    choices = np.full((e, rounds, len(slots)), -1, np.int64)
    sure = np.full((e, rounds, len(slots)), np.nan)
    right = np.full(e, -1, np.int64)
    blocks: list[Any] = []
    options = 1
    for i, frame in enumerate(decisions):
        known: dict[bytes, int] = {}
        blocks.append(frame["block"][0])
        for row in frame.iter_rows(named=True):
            option = known.setdefault(row["canon"], len(known))
            choices[i, row["round"] :, place[row["slot"]]] = option  # an answer stands until the next one
            sure[i, row["round"] :, place[row["slot"]]] = np.nan if row["confidence"] is None else row["confidence"]
            if row["score"] is not None and row["score"] >= 1.0:
                right[i] = option
        options = max(options, len(known))
    confidences = None if np.isnan(sure[choices >= 0]).all() else np.nan_to_num(sure, nan=0.5)
    return Ballots(choices=choices, confidences=confidences), None if truth else right, blocks, options
