"""The ledger of a team: who did what inside it, from the events of a trace. Frames in, tables out; no run is opened here.

`inside.read_inside` turns events into two frames, posts and calls; `ledger` sums them up. Whether an answer
is right is not in a trace: the caller scores the answers (`inside.decisions`) and hands the scores in.
Measures after "Multi-Agent Large Language Models for Conversational Task-Solving" (arXiv 2410.22932):
answer changes, drift, turns to agreement, monopolisation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from crossplay.kernel import CrossplayError
from crossplay.measure.answers import inequality
from crossplay.measure.calibration import calibration
from crossplay.teams.inside import DECISION, Inside
from crossplay.teams.single import KvCost, kv_cost

if TYPE_CHECKING:
    import polars as pl

    from crossplay.models.prices import Price

__all__ = ["Member", "Round", "TeamLedger", "ledger"]


class Member(msgspec.Struct):
    """One member over all decisions. share: of the team's words, 0..1. right: of its last answers, None
    where the truth is not known. tok_cached, wall_s: None where nobody measured them. money: USD, None
    where a model has no price. confidence: mean of what it said; brier, ece, auroc: against the truth.
    """

    name: str
    asks: int
    faults: int
    words: int
    share: float | None
    calls: int = 0
    tok_in: int = 0
    tok_out: int = 0
    tok_cached: int | None = None
    money: float | None = None
    wall_s: float | None = None
    right: float | None = None
    confidence: float | None = None
    stated: int = 0
    brier: float | None = None
    ece: float | None = None
    auroc: float | None = None


class Round(msgspec.Struct):
    """One round over all decisions that had it. agreed: share of the decisions in which all standing
    answers are equal (None with one member). score: mean of the standing answers. drift: share of the
    decisions whose score fell from the round before. right_wrong and so on: answers against the same
    member's answer before; None where the truth is not known, or is no right or wrong.
    """

    round: int
    answers: int
    agreed: float | None = None
    score: float | None = None
    drift: float | None = None
    right_right: int | None = None
    right_wrong: int | None = None
    wrong_right: int | None = None
    wrong_wrong: int | None = None


class TeamLedger(msgspec.Struct):
    """A team in one lineup of one environment. role: of the lineup, "" or the control it is.

    gini: of the words of the members (0: all alike; (n - 1) / n: one has all). turns: mean rounds until
    all standing answers were equal, over the decisions that got there; never: share of those that did
    not. gained, lost: share of the decisions whose standing answers score more (less) after the last round
    than after the first. first, last: agreement[i][j], share of decisions in which members i and j gave the same first
    (last) answer. kv: the modelled cost of its calls, in USD, or in tokens where there is no price
    (`kv_unit`); metered: USD by the cached tokens that endpoints reported. truth: "", or why the truth is
    not known.
    """

    env: str
    lineup: str
    role: str
    seat: str
    team: str
    kind: str
    decisions: int
    members: list[Member]
    rounds: list[Round]
    gini: float | None = None
    turns: float | None = None
    never: float | None = None
    gained: float | None = None
    lost: float | None = None
    first: list[list[float | None]] = []
    last: list[list[float | None]] = []
    kv: KvCost | None = None
    kv_unit: str = ""
    metered: float | None = None
    truth: str = ""


def ledger(
    inside: Inside,
    *,
    scores: pl.DataFrame | None = None,
    blocks: Mapping[int, Any] | None = None,
    metered: pl.DataFrame | None = None,
    prices: Callable[[str], Price | None] | None = None,
    truth: str = "",
    **names: str,
) -> TeamLedger:
    """The ledger of one team in one seat of one lineup.

    scores: the columns of `decisions`, canon (what votes compare, Binary) and score (null: not known);
    an answer is right where its score is 1, if all scores are 0 or 1. blocks: episode -> block, the unit
    of calibration. metered: call -> cached (tokens), wall_s. prices: model -> price, None: nothing is
    paid; an unknown price raises. names: env, lineup, role, seat, team and kind of the ledger; kind "single" is
    one conversation.
    """
    import polars as pl

    posts = inside.posts.sort(*DECISION, "id")
    posts = _scored(posts, scores)
    known = posts["score"].drop_nulls()
    binary = bool(known.len()) and bool(known.is_in([0.0, 1.0]).all())
    posts = posts.with_columns(right=pl.when(binary).then(pl.col("score") == 1.0))
    if known.len() and not binary and not truth:
        truth = "scores other than 0 and 1 say how good an answer is, not whether it is right"
    calls = _priced(_metered(inside.calls, metered), prices)
    members = _members(posts, calls, dict(blocks or {}))
    standing = _standing(posts)
    first, last = (_agreement(standing, [m.name for m in members], w) for w in ("first", "last"))
    states = _states(standing)
    turns, never = _turns(states)
    gained, lost = _moved(states)
    found = TeamLedger(
        names.get("env", ""),
        names.get("lineup", ""),
        names.get("role", ""),
        names.get("seat", ""),
        names.get("team", ""),
        names.get("kind", "team"),
        posts.select(*DECISION).n_unique(),
        members,
        _rounds(standing, states),
        _gini(members),
        turns,
        never,
        gained,
        lost,
        first,
        last,
        truth=truth,
    )
    _cost(found, posts, calls, prices)
    return found


def _scored(posts: pl.DataFrame, scores: pl.DataFrame | None) -> pl.DataFrame:
    import polars as pl

    if scores is None:
        return posts.with_columns(canon=pl.col("key"), score=pl.lit(None, pl.Float64))
    joined = posts.join(scores, on=[*DECISION, "key"], how="left", maintain_order="left")
    return joined.with_columns(
        canon=pl.col("canon").fill_null(pl.col("key")), score=pl.when(pl.col("answer")).then(pl.col("score"))
    )


def _metered(calls: pl.DataFrame, metered: pl.DataFrame | None) -> pl.DataFrame:
    """Calls with cached tokens and time, null where nobody measured them."""
    import polars as pl

    own = pl.when(pl.col("kind") == "tool").then(pl.col("wall_s"))
    if metered is None:
        return calls.with_columns(cached=pl.lit(None, pl.Int64), wall_s=own)
    joined = calls.join(metered.rename({"wall_s": "took"}), on="call", how="left", maintain_order="left")
    return joined.with_columns(wall_s=pl.coalesce(own, pl.when(pl.col("calls") > 0).then(pl.col("took")))).drop("took")


def _priced(calls: pl.DataFrame, prices: Callable[[str], Price | None] | None) -> pl.DataFrame:
    """Calls with USD per token in, out and read from a cache; null where the price is not known."""
    import polars as pl

    rows = []
    for model in calls["model"].unique(maintain_order=True).to_list():
        try:
            price = prices(model) if model and prices is not None else None
        except CrossplayError:
            continue  # no price is known, so its cost is not
        if model and prices is None:
            continue
        p_in, p_out = (price.input, price.output) if price else (0.0, 0.0)
        cache = p_in if price is None or price.cache_read is None else price.cache_read
        rows.append((model, p_in / 1e6, p_out / 1e6, cache / 1e6))
    table = pl.DataFrame(
        rows, {"model": pl.String, "p_in": pl.Float64, "p_out": pl.Float64, "p_cache": pl.Float64}, orient="row"
    )
    calls = calls.join(table, on="model", how="left", maintain_order="left")
    cached = pl.col("cached").fill_null(0)
    usd = (
        (pl.col("tok_in") - cached) * pl.col("p_in") + cached * pl.col("p_cache") + pl.col("tok_out") * pl.col("p_out")
    )
    return calls.with_columns(usd=usd)


def _members(posts: pl.DataFrame, calls: pl.DataFrame, blocks: dict[int, Any]) -> list[Member]:
    import polars as pl

    names = posts.group_by("slot").agg(pl.col("member").first()).sort("slot")
    said = posts.group_by("slot").agg(
        asks=pl.len(), faults=(~pl.col("ok")).sum(), words=pl.col("words").sum(),
        confidence=pl.col("confidence").mean(), stated=pl.col("confidence").count(),
    )  # fmt: skip
    final = posts.filter("answer").group_by(*DECISION, "slot").agg(pl.col("right").last())
    right = final.group_by("slot").agg(pl.col("right").mean())
    spent = calls.group_by("slot").agg(
        pl.col("calls", "tok_in", "tok_out").cast(pl.Int64).sum(),
        tok_cached=_sum("cached"), wall_s=_sum("wall_s"),
        money=pl.when(pl.col("usd").is_null().any()).then(None).otherwise(pl.col("usd").sum()),
    )  # fmt: skip
    table = names
    for more in (said, right, spent):
        table = table.join(more, on="slot", how="left", maintain_order="left")
    total = int(table["words"].sum())
    found = []
    for row in table.iter_rows(named=True):
        slot = row.pop("slot")
        member = Member(
            name=row.pop("member"),
            share=row["words"] / total if total else None,
            **{k: v for k, v in row.items() if v is not None},
        )
        _calibrated(member, posts.filter((pl.col("slot") == slot) & pl.col("answer")), blocks)
        found.append(member)
    return found


def _sum(name: str) -> pl.Expr:
    """The sum, null where no value is known."""
    import polars as pl

    return pl.when(pl.col(name).count() > 0).then(pl.col(name).sum())


def _calibrated(member: Member, answers: pl.DataFrame, blocks: dict[int, Any]) -> None:
    known = answers.drop_nulls(["confidence", "right"])
    if not known.height:
        return
    c = calibration(
        known["confidence"].to_numpy(),
        known["right"].cast(int).to_numpy(),
        [blocks.get(e, e) for e in known["episode"].to_list()],
    )
    member.brier, member.ece, member.auroc = c.brier.value, c.ece, c.auroc


def _standing(posts: pl.DataFrame) -> pl.DataFrame:
    """Per decision, member and round of that decision the answer that stands: given now (`new`) or before."""
    import polars as pl

    answers = posts.filter("answer")
    given = answers.group_by(*DECISION, "slot", "round").agg(
        pl.col("member", "canon", "score", "right").last(), new=pl.lit(True)
    )
    grid = given.select(*DECISION, "round").unique().join(
        given.select(*DECISION, "slot").unique(), on=list(DECISION), nulls_equal=True
    )  # fmt: skip
    who = [*DECISION, "slot"]
    full = grid.join(given, on=[*who, "round"], how="left").sort(*who, "round")
    fill = pl.col("canon", "score", "right", "member").forward_fill().over(who)
    full = full.with_columns(fill, new=pl.col("new").fill_null(False)).filter(pl.col("canon").is_not_null())
    return full.with_columns(before=pl.col("right").shift(1).over(who), again=pl.col("canon").shift(1).over(who))


def _states(standing: pl.DataFrame) -> pl.DataFrame:
    """Per decision and round of it: whether all standing answers are equal, their mean score, whether it fell."""
    import polars as pl

    sizes = standing.group_by(*DECISION).agg(size=pl.col("slot").n_unique())
    states = standing.group_by(*DECISION, "round").agg(
        here=pl.len(), kinds=pl.col("canon").n_unique(), score=pl.col("score").mean()
    )
    together = (pl.col("kinds") == 1) & (pl.col("here") == pl.col("size"))
    return states.join(sizes, on=list(DECISION)).sort(*DECISION, "round").with_columns(
        agreed=pl.when(pl.col("size") > 1).then(together),
        fell=pl.col("score").diff().over(DECISION) < -1e-12,
        turn=pl.int_range(1, pl.len() + 1).over(DECISION),
    )  # fmt: skip


def _turns(states: pl.DataFrame) -> tuple[float | None, float | None]:
    """(mean rounds until agreement, share of the decisions of several members that never agreed)."""
    import polars as pl

    several = states.filter(pl.col("size") > 1).group_by(*DECISION)
    turn = several.agg(pl.col("turn").filter(pl.col("agreed")).min())["turn"]
    return (turn.mean(), turn.is_null().mean()) if len(turn) else (None, None)  # type: ignore[return-value]


def _moved(states: pl.DataFrame) -> tuple[float | None, float | None]:
    """Share of the decisions of several rounds that ended better, and worse, than they began."""
    import polars as pl

    ends = states.drop_nulls("score").group_by(*DECISION).agg(
        rounds=pl.len(), by=pl.col("score").last() - pl.col("score").first()
    )  # fmt: skip
    by = ends.filter(pl.col("rounds") > 1)["by"]
    return ((by > 1e-12).mean(), (by < -1e-12).mean()) if len(by) else (None, None)  # type: ignore[return-value]


def _rounds(standing: pl.DataFrame, states: pl.DataFrame) -> list[Round]:
    import polars as pl

    changed = standing.filter(pl.col("new") & pl.col("again").is_not_null())
    now, old = pl.col("right"), pl.col("before")
    counts = changed.group_by("round").agg(
        right_right=(now & old).sum(), right_wrong=(~now & old).sum(),
        wrong_right=(now & ~old).sum(), wrong_wrong=(~now & ~old).sum(), known=(now.is_not_null() & old.is_not_null()).sum(),
    )  # fmt: skip
    by_round = {r["round"]: r for r in counts.iter_rows(named=True)}
    per_round = states.group_by("round").agg(
        pl.col("agreed").mean(), pl.col("score").mean(), drift=pl.col("fell").mean()
    )
    given = standing.filter("new").group_by("round").agg(answers=pl.len())
    found = []
    for row in per_round.join(given, on="round", how="left").sort("round").iter_rows(named=True):
        change = by_round.get(row["round"])
        extra = {k: v for k, v in change.items() if k not in ("round", "known")} if change and change["known"] else {}
        found.append(Round(row["round"], row["answers"] or 0, row["agreed"], row["score"], row["drift"], **extra))
    return found


def _agreement(standing: pl.DataFrame, members: list[str], which: str) -> list[list[float | None]]:
    """[i][j]: share of the decisions in which two members' first (last) answers are equal; None: never both."""
    import polars as pl

    pick = pl.col("canon").first() if which == "first" else pl.col("canon").last()
    answers = standing.filter("new").sort("round").group_by(*DECISION, "member", maintain_order=True).agg(pick)
    if not answers.height:
        return []
    coded = answers.with_columns(code=pl.col("canon").rank("dense").over(DECISION).cast(pl.Int64))
    wide = coded.pivot("member", index=list(DECISION), values="code")
    columns = [
        wide[m].fill_null(-1).to_numpy() if m in wide.columns else np.full(wide.height, -1) for m in members
    ]  # fmt: skip

    def share(a: np.ndarray, b: np.ndarray) -> float | None:
        both = (a >= 0) & (b >= 0)
        return float((a == b)[both].mean()) if both.any() else None

    return [[share(a, b) for b in columns] for a in columns]


def _gini(members: list[Member]) -> float | None:
    words = np.array([float(m.words) for m in members])
    return float(inequality(words)) if words.sum() else None


def _cost(
    found: TeamLedger, posts: pl.DataFrame, calls: pl.DataFrame, prices: Callable[[str], Price | None] | None
) -> None:
    """The two forms of the cost model, and the money by what endpoints reported."""
    import polars as pl

    calls = calls.filter(pl.col("kind") == "model")
    if not calls.height:
        return
    where = [*DECISION, "round", "slot", "k"]
    calls = calls.join(posts.select(*where, "id"), on=where, how="left").sort(*DECISION, "id", "ord", nulls_last=True)
    whole = pl.col("tok_in").cast(pl.Int64)
    before = (whole + pl.col("tok_out")).shift(1, fill_value=0).over(DECISION)
    prefix = pl.min_horizontal(whole, before) if found.kind == "single" else pl.lit(0, pl.Int64)
    calls = calls.with_columns(prefix=prefix)
    unpriced = calls["p_in"].null_count() > 0 or not float(calls["p_in"].sum())
    found.kv_unit = "tokens" if unpriced else "USD"
    total = [0.0, 0.0, 0, 0, 0]
    for (p_in, p_out, p_cache), part in calls.group_by("p_in", "p_out", "p_cache"):
        price = (1.0, 1.0, 0.0) if unpriced else (p_in, p_out, p_cache)
        cost = kv_cost(
            part["tok_in"].to_list(), part["tok_out"].to_list(), part["prefix"].to_list(), *price  # type: ignore[arg-type]
        )  # fmt: skip
        total = [a + b for a, b in zip(total, msgspec.structs.astuple(cost), strict=True)]
    found.kv = KvCost(total[0], total[1], int(total[2]), int(total[3]), int(total[4]))
    found.metered = None if calls["usd"].null_count() or unpriced else float(calls["usd"].sum())
