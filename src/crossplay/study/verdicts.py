"""The questions of a study and their answers; a comparison as one plain sentence."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from crossplay.measure.stats.compare import Cell, compare
from crossplay.measure.stats.resampling import Resamples
from crossplay.measure.stats.results import Comparison
from crossplay.study.spec import Study

__all__ = ["Answer", "answers_of", "over", "sentence"]


class Answer(msgspec.Struct):
    """A question of the study with its comparison and one plain sentence."""

    env: str
    ask: str
    comparison: Comparison
    sentence: str


def answers_of(
    env: str, study: Study, cells: Mapping[str, Cell], metric: str, resamples: Resamples
) -> tuple[list[Answer], list[str]]:
    """(the study's questions of one environment, answered as far as it was played; notes on what cannot be answered)."""
    found, notes = [], []
    for q in study.questions:
        if q.candidate in cells and q.baseline in cells:
            a, b = cells[q.candidate], cells[q.baseline]
            if not share(a, b):
                notes.append(apart(env, q.candidate, q.baseline))
                continue
            (c,) = compare([a], b, study.margin, study.level, metric=metric, pairing="common", resamples=resamples)
            found.append(Answer(env, q.ask or f"{q.candidate} against {q.baseline}?", c, sentence(c)))
    return found, notes


def share(a: Cell, b: Cell) -> bool:
    """Whether two lineups met a block in common."""
    return not set(a.blocks).isdisjoint(b.blocks)


def apart(env: str, candidate: str, baseline: str) -> str:
    """The note on two lineups that cannot be compared yet."""
    return f"{env}: {candidate} and {baseline} share no block so far; they are not compared"


def over(c: Comparison) -> str:
    """What a comparison rests on: its blocks, and the participants where these are fewer."""
    people = f" of {c.units} participants" if c.adjusted_interval is not None and c.units < c.blocks else ""
    return f"over {c.blocks} blocks{people}"


def sentence(c: Comparison) -> str:
    """The verdict of a comparison in words."""
    i = c.adjusted_interval
    by = f"by {c.difference:+.2f}" + (f" [{i.low:.2f}, {i.high:.2f}]" if i else "") + f" {c.metric} {over(c)}"
    match c.verdict:
        case "better":
            return f"Yes: {c.candidate} is better than {c.baseline} {by}."
        case "worse":
            return f"No: {c.candidate} is worse than {c.baseline} {by}."
        case "tied":
            return f"No: {c.candidate} and {c.baseline} are tied within the margin of {c.margin:g}, {by}."
    if i is None:
        return f"No answer: neither {c.candidate} nor {c.baseline} varies between blocks, so the difference of {c.difference:+.2f} {c.metric} has no interval."
    need = f"; about {c.episodes_needed} episodes per lineup would settle it" if c.episodes_needed else ""
    return f"Not shown: {c.candidate} against {c.baseline} is underpowered, {by}{need}."
