"""What a trial says of paradigms with models: gains over the first vote, changed minds, rules on the same ballots."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crossplay.gallery.entry import Finding
from crossplay.gallery.mallm.reference import PARADIGMS
from crossplay.gallery.mallm.study import RULES
from crossplay.gallery.recorded import Talked, bounds, paired, talks
from crossplay.kernel import key
from crossplay.measure.answers import answer_changes
from crossplay.measure.ballots import Ballots
from crossplay.measure.stats.intervals import mean_t
from crossplay.measure.sweep import sweep

__all__ = ["judge", "turns_of"]


def judge(result: Any, folder: Path) -> list[Finding]:
    """Every paradigm against the vote of the same first answers; then what the discussion did to single answers."""
    rows = {r.lineup: r for r in result.rows}
    found = []
    for paradigm in (p for p in PARADIGMS if p in rows):
        e = paired(result, paradigm, f"{PARADIGMS[0]} first votes")
        if e is None:
            continue
        low, high = bounds(e)
        costs = rows[paradigm].costs
        found.append(
            Finding(f"{paradigm} gains", f"the paradigm {paradigm} beats the vote of its first answers", low > 0, e.value,
                    "above 0 (95 %)", f"paired by question; {costs.tok_in + costs.tok_out} tokens in {costs.calls} calls",
                    low, high, n=e.n)
        )  # fmt: skip
        found += _changes(paradigm, list(talks(folder, paradigm)))
    return found


def turns_of(said: Sequence[Talked]) -> tuple[np.ndarray, np.ndarray]:
    """(choices int[E, T, V], truth int[E]): every member's last answer of each round, options in order of appearance.

    The truth is the option of a right answer, -2 where nobody gave it; -1 stands for a missing answer.
    """
    rounds = 1 + max(p["round"] for t in said for p in t.posts)
    members = list(dict.fromkeys(p["member"] for t in said for p in t.posts))
    choices = np.full((len(said), rounds, len(members)), -1)
    truth = np.full(len(said), -2)
    for i, t in enumerate(said):
        options: dict[Any, int] = {}
        for p in t.posts:
            if p["id"] not in t.keys:
                continue
            option = options.setdefault(t.keys[p["id"]], len(options))
            choices[i, p["round"] :, members.index(p["member"])] = option
            if t.right[p["id"]]:
                truth[i] = option
    return choices, truth


def _changes(paradigm: str, said: Sequence[Talked]) -> list[Finding]:
    """Minds that were changed, and what other rules make of the same last ballots."""
    if len(said) < 2:
        return []
    choices, truth = turns_of(said)
    matrix = answer_changes(choices, truth)
    mended, spoilt = int(matrix.wrong_right.sum()), int(matrix.right_wrong.sum())
    right = (choices == truth[:, None, None]).mean(2)
    e = mean_t(right[:, -1] - right[:, 0], bounds=(-1.0, 1.0))
    low, high = bounds(e)
    rows = sweep(Ballots(choices=choices), RULES, int(choices.max()) + 1, key=key("trial"), truth=truth)
    rules = ", ".join(f"{r.rule} {r.accuracy.value:.2f} ({r.decided:.0%} decided)" for r in rows if r.accuracy)
    return [
        Finding(f"{paradigm} mends more than it spoils", f"in {paradigm}, {mended} answers were mended and {spoilt} spoilt",
                low > 0, e.value, "change of the share of right answers above 0 (95 %)",
                f"rules on the last ballots: {rules}", low, high, n=e.n)
    ]  # fmt: skip
