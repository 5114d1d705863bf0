"""Reading what a run recorded inside its teams: posts, votes, and which posts were right."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

import crossplay
from crossplay import Block, CrossplayError
from crossplay.kernel import unpack
from crossplay.measure.stats.intervals import paired_t
from crossplay.measure.stats.results import Estimate

__all__ = ["Talked", "bounds", "paired", "score_of", "talks"]


class Talked(msgspec.Struct, frozen=True):
    """One episode of a lineup. posts, vote: as recorded; right: id of a post -> whether its answer was right.

    keys: id of a post -> its answer as votes compare it; words: in words, a choice's own where a letter was given.
    """

    block: int | str
    posts: list[dict[str, Any]]
    vote: dict[str, Any]
    right: dict[int, bool]
    keys: dict[int, Any]
    words: dict[int, str] = {}


def talks(folder: Path, lineup: str) -> Iterator[Talked]:
    """The episodes of a lineup of one seat, with every answer graded by the environment on its own question."""
    with crossplay.open_run(folder) as run:
        cells = {c.name: c for c in run.cells() if c.extra.get("group") == lineup}
        plan = crossplay.load_study(folder / "study.toml")
        for record in run.records():
            if record.cell not in cells or record.status == "void":
                continue
            spec = plan.environments[cells[record.cell].extra["env"]]
            env = crossplay.make_env(spec.name, spec.options)
            if env.id != record.env_id:
                raise CrossplayError(f"{folder}: the environment was {record.env_id} and is {env.id} now")
            notes = [(e.kind, unpack(e.note)) for e in run.events(record.id) if e.kind in ("post", "vote")]
            posts = sorted((n for kind, n in notes if kind == "post"), key=lambda p: p["id"])
            vote: dict[str, Any] = next((n for kind, n in notes if kind == "vote"), {})
            at = Block(record.root, record.block, record.replicate)
            right, keys, words = {}, {}, {}
            for post in posts:
                if post.get("fault") or post["act"] not in ("answer", "improve", "candidate"):
                    continue
                env.start(at)
                choices = env.data(env.seats[0]).get("choices")
                words[post["id"]] = str(choices[post["value"]] if choices else post["value"])
                [reward] = env.step({env.seats[0]: post["value"]}, ())
                right[post["id"]] = reward >= 1.0
                keys[post["id"]] = env.canonical(post["value"])
            env.close()
            yield Talked(record.block, posts, vote, right, keys, words)


def score_of(result: Any, lineup: str) -> dict[Any, float]:
    """Block -> score of a lineup, in the only environment of a study; {} where it was not played."""
    return {b: v for s in result.scores if s.lineup == lineup for b, v in zip(s.blocks, s.values, strict=True)}


def paired(result: Any, a: str, b: str) -> Estimate | None:
    """Mean of a - b over the blocks that both played, t interval; None where there are fewer than two."""
    x, y = score_of(result, a), score_of(result, b)
    common = [block for block in x if block in y]
    if len(common) < 2:
        return None
    return paired_t(np.array([x[k] for k in common]), np.array([y[k] for k in common]), bounds=(-1.0, 1.0))


def bounds(e: Estimate) -> tuple[float, float]:
    """(low, high) of an estimate; its value twice where it has no interval."""
    return (e.interval.low, e.interval.high) if e.interval else (e.value, e.value)
