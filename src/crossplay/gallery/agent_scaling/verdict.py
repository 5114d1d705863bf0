"""What a trial says of mixing models: against every clone team and the best member at equal cost; K* of the answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from crossplay.gallery.entry import Finding
from crossplay.gallery.recorded import Talked, bounds, paired, talks
from crossplay.measure.diversity import kstar_per_question
from crossplay.measure.stats.intervals import mean_t

__all__ = ["judge", "texts_of"]

EQUAL = ("mixed equal tokens", "mixed equal cost")


def judge(result: Any, folder: Path) -> list[Finding]:
    """A gain counts only above the best of all clone teams and equal-spend controls."""
    against = [r.lineup for r in result.rows if r.lineup.startswith("clones of ") or r.lineup in EQUAL]
    found = []
    for control in against:
        e = paired(result, "mixed", control)
        if e is not None:
            low, high = bounds(e)
            found.append(
                Finding(f"mixed above {control}", f"the mixed team beats {control}", low > 0, e.value, "above 0 (95 %)",
                        "paired by question", low, high, n=e.n)
            )  # fmt: skip
    if found:
        least = min(found, key=lambda f: f.value)
        found.append(
            Finding("mixing helps", "the mixed team beats the best of them", all(f.holds for f in found), least.value,
                    "above 0 against each (95 %)", f"the best control: {least.name.removeprefix('mixed above ')}",
                    least.low, least.high, n=least.n)
        )  # fmt: skip
    clones = [r.lineup for r in result.rows if r.lineup.startswith("clones of ")]
    return found + _diversity(folder, clones)


def _diversity(folder: Path, clones: list[str]) -> list[Finding]:
    """K* of the answers' texts, one per member and question: the mixed team against the most different clones."""
    kstar = {name: _kstar(list(talks(folder, name))) for name in ("mixed", *clones)}
    common = set.intersection(*(set(k) for k in kstar.values())) if clones else set()
    if len(common) < 2:
        return []
    order = sorted(common, key=str)
    values = {name: np.array([k[b] for b in order]) for name, k in kstar.items()}
    most = max(clones, key=lambda c: float(values[c].mean()))
    e = mean_t(values["mixed"] - values[most], scale=3.0)
    low, high = bounds(e)
    return [
        Finding("mixed is more diverse", f"K* of the mixed team's answers ({values['mixed'].mean():.2f}) is above that of {most} "
                f"({values[most].mean():.2f})", low > 0, e.value, "above 0 (95 %)",
                "mode per_question_agent, wordllama, equal numbers of members", low, high, n=e.n)
    ]  # fmt: skip


def _kstar(said: list[Talked]) -> dict[Any, float]:
    """Block -> K* of the members' answers, where every member gave one."""
    from crossplay.models.embedders import embedder

    rows = {t.block: texts_of(t) for t in said}
    size = max((len(r) for r in rows.values()), default=0)
    full = {b: r for b, r in rows.items() if len(r) == size and all(x.strip() for x in r)}
    if not full:
        return {}
    vectors = embedder().embed([x for r in full.values() for x in r]).reshape(len(full), size, -1)
    return dict(zip(full, kstar_per_question(vectors).kstar.tolist(), strict=True))


def texts_of(t: Talked) -> list[str]:
    """The words of each answer: the choice that a letter stands for, or the text itself."""
    return [t.words[p["id"]] for p in t.posts if p["id"] in t.words]
