"""What a trial says of debate with models: paired differences, calibration, another rule on the same posts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crossplay.gallery.entry import Finding
from crossplay.gallery.recorded import Talked, bounds, paired, talks
from crossplay.measure.ballots import Ballots
from crossplay.measure.calibration import calibration
from crossplay.measure.rulebook import make_rule
from crossplay.measure.stats.intervals import paired_t

__all__ = ["judge", "recount"]

BESIDE = {
    "debate first votes": "the vote of its own first answers",
    "debate equal tokens": "the model alone at equal tokens",
    "debate equal cost": "the model alone at equal cost",
    "debate silent": "the same members who hear nothing",
}


def judge(result: Any, folder: Path) -> list[Finding]:
    """Debate against each control, paired by question; then what its confidence is worth."""
    found = []
    for control, words in BESIDE.items():
        e = paired(result, "debate", control)
        if e is not None:
            low, high = bounds(e)
            found.append(
                Finding(f"debate above {control}", f"debate beats {words}", low > 0, e.value, "above 0 (95 %)",
                        "paired by question", low, high, n=e.n)
            )  # fmt: skip
    said = list(talks(folder, "debate"))
    return found + _calibrated(said) + _weighted(said)


def _calibrated(said: Sequence[Talked]) -> list[Finding]:
    """Whether the confidence of first answers tells right from wrong."""
    rows = [
        (p["confidence"], t.right[p["id"]], t.block)
        for t in said
        for p in t.posts
        if p["round"] == 0 and p["id"] in t.right and p.get("confidence") is not None
    ]
    if len({r for _, r, _ in rows}) < 2:
        return []
    sure, right, blocks = zip(*rows, strict=True)
    c = calibration(np.array(sure), np.array(right, float), blocks)
    low, high = bounds(c.brier)
    return [
        Finding("confidence tells", "stated confidence is higher where the answer is right", (c.auroc or 0.5) > 0.6,
                c.auroc or 0.5, "AUROC above .6", f"ECE {c.ece:.3f}, Brier {c.brier.value:.3f} [{low:.3f}, {high:.3f}]",
                n=c.n)
    ]  # fmt: skip


def recount(said: Sequence[Talked], rule: str) -> np.ndarray:
    """float[n]: whether the rule on the last answers of every member was right; no call is made."""
    hits = []
    for i, t in enumerate(said):
        last = {p["member"]: p for p in t.posts if p["id"] in t.right}
        chosen = list(last.values())
        values = list(dict.fromkeys(t.keys[p["id"]] for p in chosen))
        if not values:
            hits.append(0.0)
            continue
        ballots = Ballots(
            choices=np.array([values.index(t.keys[p["id"]]) for p in chosen]),
            confidences=np.array([0.5 if p.get("confidence") is None else p["confidence"] for p in chosen]),
        )
        winner = int(make_rule(rule)(ballots, len(values), key=b"recount", index=i).winner)
        hits.append(float(any(t.right[p["id"]] for p in chosen if t.keys[p["id"]] == values[winner])))
    return np.array(hits)


def _weighted(said: Sequence[Talked]) -> list[Finding]:
    if len(said) < 2:
        return []
    e = paired_t(recount(said, "confidence"), recount(said, "plurality"), bounds=(-1.0, 1.0))
    low, high = bounds(e)
    return [
        Finding("confidence-weighted above plain", "votes weighted by stated confidence beat plain ones on the same answers",
                low > 0, e.value, "above 0 (95 %)", "recount of the recorded answers", low, high, n=e.n)
    ]  # fmt: skip
