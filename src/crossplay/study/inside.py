"""Inside the teams of a run: the ledgers of all teams, with the answers of members scored again where that is possible.

An answer is scored by the environment itself: a fresh episode of the same block, one step with the
answer in the team's seat (and the recorded moves of the others). So it is known where an episode is one
step long, and for questions (`qa`) at any turn; elsewhere the ledger says that it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from crossplay.envs.qa.asking import Asking
from crossplay.kernel import Block, CrossplayError, Env, make_env, nearest, pack, unpack
from crossplay.records import EpisodeRecord, RunFolder
from crossplay.records.parts import with_episodes
from crossplay.study.named import of_all
from crossplay.study.spec import Study
from crossplay.study.verify import load_run
from crossplay.teams.inside import DECISION, Inside, decisions, read_inside
from crossplay.teams.ledger import TeamLedger, ledger

if TYPE_CHECKING:
    import polars as pl

    from crossplay.models.prices import Price

__all__ = ["LONG", "TEAMS", "Judge", "answers_of", "inside_of", "places", "prices_of", "team_ledger"]

TEAMS = ("team", "single")
"""Kinds of agents with members inside."""
TOGETHER = 256
"""Episodes whose rows are in memory at a time."""
LONG = "the truth of an answer is known where an episode is one step long, and for questions; here episodes go on"


def team_ledger(folder: str | Path, lineup: str | None = None) -> list[TeamLedger]:
    """The ledger of every team of a run, in the order of its lineups; lineup: of one alone.

    Raises CrossplayError where there is no such lineup, or no team in it.
    """
    run, study = load_run(Path(folder))
    with run:
        return inside_of(run, study, lineup)


def inside_of(
    run: RunFolder, study: Study, lineup: str | None = None, unjudged: Mapping[str, str] | None = None
) -> list[TeamLedger]:
    """The same of an open run and its resolved study.

    unjudged: environment of the study -> why its answers are not to be scored again here.
    """
    seated = places(run, study)
    if lineup is not None:
        known = dict.fromkeys(g for _, g, *_ in seated)
        if lineup not in known:
            raise CrossplayError(f'no team in a lineup "{lineup}".{nearest(lineup, known)}')
        seated = [p for p in seated if p[1] == lineup]
    if not seated:
        return []
    records: dict[str, list[EpisodeRecord]] = {}
    for record in run.records():
        if record.status not in ("void", "env-fault"):
            records.setdefault(record.cell, []).append(record)
    wanted = [r for p in seated for c in p[2] for r in records.get(c, ())]
    if not wanted:
        return []
    whole, moves = _read(run, {r.id for r in wanted})
    metered = _metered(run)
    prices = prices_of(run)
    judges: dict[str, Judge] = {}
    found = []
    for env, group, cells, seat, index, agent, kind in seated:
        mine = {r.id: r for c in cells for r in records.get(c, ())}
        part = Inside(_of(whole.posts, mine, index), _of(whole.calls, mine, index))
        if not part.posts.height:
            continue
        if env not in judges:
            judges[env] = Judge(study, env, (unjudged or {}).get(env, ""))
        scores, truth = judges[env].scores(decisions(part.posts), mine, moves, seat)
        blocks = {i: r.block for i, r in mine.items()}
        role = study.lineups[group].role if group in study.lineups else ""
        found.append(
            ledger(
                part, scores=scores, blocks=blocks, metered=metered, prices=prices, truth=truth,
                env=env, lineup=group, role=role, seat=seat, team=agent, kind=kind,
            )
        )  # fmt: skip
    return found


def answers_of(run: RunFolder, study: Study, lineup: str) -> tuple[pl.DataFrame, str]:
    """(answers of the members of a lineup's teams: posts with block, canon and score; "" or why scores are not known).

    Raises CrossplayError where no team sits in that lineup.
    """
    import polars as pl

    seated = places(run, study)
    known = dict.fromkeys(g for _, g, *_ in seated)
    if lineup not in known:
        raise CrossplayError(f'no team in a lineup "{lineup}".{nearest(lineup, known)}')
    records = {r.id: r for r in run.records() if r.status not in ("void", "env-fault")}
    found, why = [], ""
    for env, _, cells, seat, index, *_ in [p for p in seated if p[1] == lineup]:
        mine = {i: r for i, r in records.items() if r.cell in cells}
        if not mine:
            continue
        whole, moves = _read(run, set(mine))
        posts = _of(whole.posts, mine, index).filter(pl.col("answer"))
        judge = Judge(study, env)
        scores, truth = judge.scores(decisions(posts), mine, moves, seat)
        why = why or truth
        if scores is None:
            raise CrossplayError(truth)
        blocks = pl.Series([str(mine[e].block) for e in posts["episode"]], dtype=pl.String)
        found.append(posts.with_columns(block=blocks).join(scores, on=[*DECISION, "key"], how="left"))
    if not found:
        raise CrossplayError(f'"{lineup}": none of its episodes is there yet')
    return pl.concat(found), why


Place = tuple[str, str, list[str], str, int, str, str]
"""Environment, lineup, its cells, seat, index of the seat, agent, kind."""


def places(run: RunFolder, study: Study) -> list[Place]:
    """Every seat of every lineup that a team sits in, in the order of the study."""
    agents = of_all(run.sources())
    found: dict[tuple[str, str, str, str], Place] = {}
    order = {name: i for i, name in enumerate(study.lineups)}
    for cell in run.cells():
        group, env = cell.extra["group"], cell.extra["env"]
        for i, seat in enumerate(cell.extra.get("seats", cell.agents)):
            agent = cell.agents[seat]
            kind = agents.get(agent, {}).get("kind", "")
            if kind in TEAMS:
                place = found.setdefault((env, group, seat, agent), (env, group, [], seat, i, agent, kind))
                place[2].append(cell.name)
    return sorted(found.values(), key=lambda p: (p[0], order.get(p[1], len(order)), p[4]))


def _of(frame: pl.DataFrame, episodes: Mapping[int, Any], seat: int) -> pl.DataFrame:
    import polars as pl

    return frame.filter(pl.col("episode").is_in(list(episodes)) & (pl.col("seat") == seat))


def _read(run: RunFolder, episodes: set[int]) -> tuple[Inside, dict[int, list[tuple[int, int, Any]]]]:
    """(posts and calls of these episodes, episode -> the moves of its first tick as (seat, value))."""
    import polars as pl

    parts: list[Inside] = []
    moves: dict[int, list[tuple[int, int, Any]]] = {}
    ids: list[int] = []
    tables: list[Any] = []

    def settle() -> None:
        frame = with_episodes(ids, tables)
        parts.append(read_inside(frame))
        acts = frame.filter((pl.col("kind").cast(pl.String) == "act") & (pl.col("tick") == 0))
        for e, seat, value, payload in acts.select("episode", "seat", "value", "payload").iter_rows():
            moves.setdefault(e, []).append((seat, value, payload))
        ids.clear()
        tables.clear()

    for episode, table in run.tables(episodes):
        ids.append(episode)
        tables.append(table)
        if len(ids) == TOGETHER:
            settle()
    if ids:
        settle()
    return Inside(pl.concat([p.posts for p in parts]), pl.concat([p.calls for p in parts])), moves


class _Cached(msgspec.Struct):
    cached: int = 0


_reply = msgspec.msgpack.Decoder(_Cached)


def _metered(run: RunFolder) -> pl.DataFrame | None:
    """Call -> cached tokens as the endpoint reported them and seconds it took, from the cassette; None without one."""
    import polars as pl

    from crossplay.records.cassette import Cassette

    if not run.cassette_path.exists():
        return None
    with Cassette(run.cassette_path, mode="strict") as cassette:
        rows = [
            (r.call.key.hex(), _reply.decode(r.reply).cached, None if r.settled is None else r.settled - r.asked)
            for r in cassette.rows()
            if r.status == "answered" and r.reply is not None and not r.call.model.startswith(("tool:", "person:"))
        ]
    return pl.DataFrame(rows, {"call": pl.String, "cached": pl.Int64, "wall_s": pl.Float64}, orient="row")


def prices_of(run: RunFolder) -> Callable[[str], Price | None]:
    """The price of a model of this run: its own, or of the dated table; None where nothing is paid."""
    from crossplay.models.prices import Price, price_of

    models = of_all(run.sources(), "models")

    def price(name: str) -> Price | None:
        model = models.get(name)
        if model is None:
            raise CrossplayError(f'the run holds no model "{name}"')
        if not model["priced"]:
            return None
        return Price(**model["price"]) if model["price"] else price_of(model["priced"])

    return price


class Judge:
    """Scores answers of members by the environment itself; each answer of a block once.

    why: "", or why there is no environment to do it; one that is given is not made.
    """

    def __init__(self, study: Study, label: str, why: str = "") -> None:
        spec = study.environments[label]
        self.metric = study.metric or "reward"
        self.env: Env | None = None
        self.known: dict[tuple[Any, ...], tuple[bytes, float | None]] = {}
        self.why = why
        if why:
            return
        try:
            self.env = make_env(spec.name, spec.options, spec.clock)
        except CrossplayError as error:
            self.why = f"the environment cannot be made here: {error}"

    def scores(
        self,
        answers: pl.DataFrame,
        records: Mapping[int, EpisodeRecord],
        moves: Mapping[int, Sequence[tuple[int, int, Any]]],
        seat: str,
    ) -> tuple[pl.DataFrame | None, str]:
        """(answers with canon and score, "" or why scores are not known)."""
        import polars as pl

        if self.env is None:
            return None, self.why
        long = self.long(records.values())
        rows = [
            self.one(records[e], moves.get(e, ()), seat, key, score=not long)
            for e, key in answers.select("episode", "key").iter_rows()
        ]
        canon, score = ([r[i] for r in rows] for i in (0, 1))
        found = answers.with_columns(canon=pl.Series(canon, dtype=pl.Binary), score=pl.Series(score, dtype=pl.Float64))
        return found.select(*DECISION, "key", "canon", "score"), LONG if long else ""

    def long(self, records: Iterable[EpisodeRecord]) -> bool:
        """Whether the truth of answers is not known, because episodes go on after them."""
        return not isinstance(self.env, Asking) and any(r.ticks > 1 for r in records)

    def one(
        self, record: EpisodeRecord, moves: Iterable[tuple[int, int, Any]], seat: str, key: bytes, score: bool
    ) -> tuple[bytes, float | None]:
        """(what votes compare, the score or None) of one answer; moves: of the first tick, as (seat, value, payload)."""
        env = self.env
        assert env is not None
        others = record.id if len(env.seats) > 1 else 0
        slot = (record.root, record.block, others, seat, key, score)
        if slot not in self.known:
            value = unpack(key)
            worth = None
            if score:
                env.start(Block(record.root, record.block, record.replicate))
                worth = self._score(env, moves, seat, value)
            self.known[slot] = pack(env.canonical(value)), worth
        return self.known[slot]

    def _score(self, env: Env, moves: Iterable[tuple[int, int, Any]], seat: str, value: Any) -> float | None:
        played = {env.seats[i]: unpack(p) if v is None else v for i, v, p in moves}
        acting = env.to_act()
        if seat not in acting or any(s not in played for s in acting if s != seat):
            return None  # a seat that forfeited left no move to stand beside the answer
        rewards = env.step({s: value if s == seat else played[s] for s in acting}, [])
        name = env.seat_metrics.get(self.metric, {}).get(seat, self.metric)
        if name == "reward":
            return float(rewards[env.seats.index(seat)])
        found = env.score().get(name)
        return None if found is None else float(found)
