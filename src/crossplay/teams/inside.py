"""What happened inside teams, as frames: the posts of members and the calls behind them, read from events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from crossplay.kernel import unpack

if TYPE_CHECKING:
    import polars as pl

__all__ = ["DECISION", "Inside", "decisions", "read_inside"]

DECISION = ("episode", "tick", "seat", "team")
"""What addresses one decision of one team: team is the path at which it sits in its seat."""
KINDS = ("post", "model", "tool")


class Inside(msgspec.Struct):
    """What happened inside teams. posts, calls: frames with the columns of DECISION and

    posts: id, round, slot, k, member, act, answer (to the seat's own question), ok, key (the packed
    value), words, confidence; votes stand among the posts with act "vote" and answer false.
    calls: round, slot, k, ord, kind, model, call, calls, tok_in, tok_out, wall_s.
    """

    posts: pl.DataFrame
    calls: pl.DataFrame


class _Said(msgspec.Struct):
    id: int
    act: str
    member: str
    value: msgspec.Raw = msgspec.Raw(b"\xc0")
    text: str = ""
    confidence: float | None = None
    fault: str = ""
    side: bool = False


class _Asked(msgspec.Struct):
    model: str = ""
    call: str = ""


_said, _asked = msgspec.msgpack.Decoder(_Said), msgspec.msgpack.Decoder(_Asked)


# -- reading -----------------------------------------------------------------------------------------
def read_inside(events: pl.DataFrame) -> Inside:
    """Posts and calls of the outermost team of every seat, from event rows with an episode column."""
    import polars as pl

    rows = events.filter(pl.col("kind").cast(pl.String).is_in(KINDS)).select(
        "episode", "tick", "seat", "ord", pl.col("kind").cast(pl.String), "path", "calls", "tok_in", "tok_out",
        "wall_us", "note", deep=pl.col("path").list.len().cast(pl.Int64),
    )  # fmt: skip
    post = pl.col("kind") == "post"
    depth = (pl.when(post).then(pl.col("deep")).min().over("episode", "tick", "seat") - 3).alias("depth")
    rows = rows.with_columns(depth).filter(pl.col("depth") >= 0)
    rows = rows.filter(pl.col("deep") >= pl.col("depth") + 3).with_columns(
        team=pl.col("path").list.head(pl.col("depth")).cast(pl.List(pl.String)).list.join("."),
        **{
            n: pl.col("path").list.get(pl.col("depth") + i).cast(pl.Int64) for i, n in enumerate(("round", "slot", "k"))
        },
    )
    outer = rows.filter(post & (pl.col("deep") == pl.col("depth") + 3))
    calls = rows.filter(~post)
    where = [*DECISION, "round", "slot", "k"]
    return Inside(
        outer.select(*where).hstack(_posts(outer["note"].to_list())),
        calls.select(
            *where, "ord", "kind", "calls", "tok_in", "tok_out", wall_s=pl.col("wall_us") / 1e6
        ).hstack(_calls(calls["kind"].to_list(), calls["note"].to_list())),
    )  # fmt: skip


def _posts(notes: list[bytes]) -> pl.DataFrame:
    import polars as pl

    said = [_said.decode(n) for n in notes]
    keys = [bytes(s.value) for s in said]
    return pl.DataFrame(
        {
            "id": pl.Series([s.id for s in said], dtype=pl.Int64),
            "member": pl.Series([s.member for s in said], dtype=pl.String),
            "act": pl.Series([s.act for s in said], dtype=pl.String),
            "ok": pl.Series([not s.fault for s in said], dtype=pl.Boolean),
            "answer": pl.Series([not (s.fault or s.side) for s in said], dtype=pl.Boolean),
            "key": pl.Series(keys, dtype=pl.Binary),
            "words": _words(pl.Series([s.text for s in said], dtype=pl.String))
            + _words(pl.Series([_text(s, k) for s, k in zip(said, keys, strict=True)], dtype=pl.String)),
            "confidence": pl.Series([s.confidence for s in said], dtype=pl.Float64),
        }
    )


def _words(texts: pl.Series) -> pl.Series:
    return texts.str.count_matches(r"\S+").cast(int)


def _text(said: _Said, key: bytes) -> str:
    """A value that is a text of its own, and not what the reasons repeat."""
    if not key or not (0xA0 <= key[0] <= 0xBF or key[0] in (0xD9, 0xDA, 0xDB)):
        return ""
    value = unpack(key)
    return "" if value == said.text else value


def _calls(kinds: list[str], notes: list[bytes]) -> pl.DataFrame:
    import polars as pl

    asked = [_asked.decode(n) if k == "model" else _Asked() for k, n in zip(kinds, notes, strict=True)]
    return pl.DataFrame(
        {
            "model": pl.Series([a.model for a in asked], dtype=pl.String),
            "call": pl.Series([a.call for a in asked], dtype=pl.String),
        }
    )


def decisions(posts: pl.DataFrame) -> pl.DataFrame:
    """The distinct answers of every decision: columns of DECISION, and key; what a caller scores."""
    import polars as pl

    return posts.filter(pl.col("answer")).select(*DECISION, "key").unique(maintain_order=True)
