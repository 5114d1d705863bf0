"""Several episodes of one block beside each other: where they part, and what each lineup did instead."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import msgspec

from crossplay.kernel import CrossplayError, nearest
from crossplay.study.apart import Apart, first_apart
from crossplay.study.verify import load_run
from crossplay.web.api import Route
from crossplay.web.desk import Desk, NotFound
from crossplay.web.story import Story, finite, names_of, story_of

__all__ = ["ROUTES", "Choices", "CompareQuery", "Compared", "Lane", "compare"]

LANES = 8
Name = Annotated[str, msgspec.Meta(max_length=500)]


class CompareQuery(msgspec.Struct):
    """What is compared. episodes: ids (or LINEUP:BLOCK); else the lineups (of these replicates) in a block.

    env: where the study has several. Nothing given: the baseline and the next lineup in the first block. One episode:
    it and the baseline (or the next lineup). The first one is what the others are compared with. At most 8.
    """

    block: Name = ""
    env: Name = ""
    lineups: list[Name] = []
    replicates: list[Annotated[int, msgspec.Meta(ge=0, lt=1 << 31)]] = []
    episodes: list[Name] = []


class Choices(msgspec.Struct):
    """What can be compared: environments, and of the one that is shown its blocks, lineups in seat order, replicates."""

    envs: list[str]
    blocks: list[str]
    lineups: list[str]
    replicates: list[int]


class Lane(msgspec.Struct):
    """One episode of a comparison. seats: seat -> agent. ticks: how many were played. paid: seat -> [tick, sum of the
    rewards up to and with it], where it changes. replayed: whether pictures can be made here; why_not otherwise.
    apart: where it parts from the first lane; null for the first itself.
    """

    id: str
    lineup: str
    group: str
    role: str
    replicate: int
    status: str
    ticks: int
    score: dict[str, float | None]
    seats: dict[str, str]
    paid: dict[str, list[tuple[int, float]]]
    replayed: bool
    why_not: str
    apart: Apart | None = None


class Compared(msgspec.Struct):
    """Lanes beside each other. first: the first tick at which any of them differs from the first lane; at: all ticks
    at which a seat moves otherwise than in the first lane. metric: the study's.
    """

    run: str
    env: str
    block: str
    metric: str
    lanes: list[Lane]
    first: int | None
    at: list[int]
    choices: Choices


class _Played(NamedTuple):
    """An episode as the manifest lists it."""

    id: str
    env: str
    lineup: str
    group: str
    block: str
    replicate: int


def compare(desk: Desk, run: str, query: CompareQuery) -> Compared:
    """Several lineups, or replicates of one, in the same block of the same environment, tick by tick.

    Says for each where it parts from the first: which seat moves otherwise first, when the state differs, who said
    what else. Pictures come over the WebSocket of each episode.
    """
    if max(len(query.episodes), len(query.lineups) * max(1, len(query.replicates))) > LANES:
        raise CrossplayError(f"at most {LANES} episodes can be compared at a time")
    folder = desk.run_folder(run)
    found, study = load_run(folder)
    with found:
        cells = {c.name: c for c in found.cells()}
        rows = found.stored(["episode", "cell", "block", "replicate", "status"])
    played = []
    for _, episode, cell, block, replicate, status in rows:
        if status != "void":
            c = cells[cell]
            label, group = c.extra.get("env", c.env_id), c.extra.get("group", c.lineup)
            played.append(_Played(episode, label, c.lineup, group, str(block), replicate))
    if not played:
        raise NotFound("the run holds no episode yet")
    stories = [story_of(desk, run, e) for e in _chosen(desk, run, played, query, study.baseline or "")]
    _comparable(stories)
    here = next(p for p in played if p.id == stories[0].id)
    in_env = [p for p in played if p.env == here.env]
    choices = Choices(
        _once(p.env for p in played),
        sorted(_once(p.block for p in in_env), key=lambda b: (not b.isdigit(), b.isdigit() and int(b), b)),
        _once(p.lineup for p in in_env),
        sorted({p.replicate for p in in_env}),
    )
    lanes = [_lane(desk, story, stories[0]) for story in stories]
    parted = [lane.apart for lane in lanes if lane.apart is not None]
    first = min((a.first for a in parted if a.first is not None), default=None)
    at = sorted({t for a in parted for t in a.at})
    return Compared(run, here.env, here.block, study.metric or "", lanes, first, at, choices)


def _once(values: Any) -> list[str]:
    return list(dict.fromkeys(values))


def _chosen(desk: Desk, run: str, played: list[_Played], query: CompareQuery, baseline: str) -> list[str]:
    """Ids of the episodes to compare, in the order of the lanes."""
    if query.episodes:
        ids = list(dict.fromkeys(story_of(desk, run, e).id for e in query.episodes))
        if len(ids) > 1:
            return ids
        this = next((p for p in played if p.id == ids[0]), None)
        if this is None:
            return ids
        beside = [p for p in played if (p.env, p.block) == (this.env, this.block) and p.id != this.id]
        beside.sort(key=lambda p: (p.group != baseline or p.lineup == this.lineup, p.replicate != this.replicate))
        # The baseline comes first: the others are compared with it.
        return [beside[0].id, *ids] if beside and beside[0].group == baseline else [*ids, *(p.id for p in beside[:1])]
    env = _known("environment", query.env, _once(p.env for p in played))
    here = [p for p in played if p.env == env]
    block = _known("block", query.block, _once(p.block for p in here))
    here = [p for p in here if p.block == block]
    groups = {p.group: p.lineup for p in reversed(here)}
    there = {p.lineup for p in here} | groups.keys()
    # A plus that is typed into an address arrives as a space.
    named = [n if n in there else n.replace(" ", "+") for n in query.lineups]
    lineups = [n if n in {p.lineup for p in here} else groups.get(n, n) for n in named]
    if not lineups:
        order = sorted(_once(p.lineup for p in here), key=lambda n: n != groups.get(baseline))
        lineups = order if len(order) == 1 else order[:2]
    wanted = query.replicates or [min(p.replicate for p in here)]
    found = []
    for lineup in dict.fromkeys(lineups):
        _known("lineup", lineup, _once(p.lineup for p in here))
        for replicate in dict.fromkeys(wanted):
            mine = [p.id for p in here if (p.lineup, p.replicate) == (lineup, replicate)]
            if not mine:
                raise NotFound(f"{lineup} was not played in block {block}, replicate {replicate}, yet")
            found.append(mine[-1])
    return found


def _known(what: str, name: str, there: list[str]) -> str:
    if not name:
        return there[0]
    if name not in there:
        raise NotFound(f'no {what} "{name[:80]}" was played.{nearest(name, there)}')
    return name


def _comparable(stories: list[Story]) -> None:
    first = stories[0].record
    for story in stories[1:]:
        r = story.record
        if (r.env_id, str(r.block), r.root) != (first.env_id, str(first.block), first.root):
            raise CrossplayError(
                f"episode {story.id} was played in {r.env_id}, block {r.block}, and not in {first.env_id}, "
                f"block {first.block}: only episodes of one block can be compared tick by tick"
            )


def _lane(desk: Desk, story: Story, first: Story) -> Lane:
    r = story.record
    names, why_not = names_of(desk, story)
    apart = None
    if story is not first:
        key = ("apart", story.folder, first.record.id, r.id)
        apart = desk.kept(
            key, (first.stamp, story.stamp), lambda: first_apart(first.rows, story.rows, story.seats, names)
        )
    return Lane(
        story.id, r.lineup, story.cell.extra.get("group", r.lineup), story.cell.extra.get("role", ""), r.replicate,
        r.status, r.ticks, {k: finite(v) for k, v in r.score.items()}, {s: story.cell.agents.get(s, "") for s in story.seats},
        _paid(story), not why_not, why_not, apart,
    )  # fmt: skip


def _paid(story: Story) -> dict[str, list[tuple[int, float]]]:
    """The running sums of rewards, where they change."""
    found: dict[str, list[tuple[int, float]]] = {s: [] for s in story.seats}
    sums = [0.0] * len(story.seats)
    for e in story.rows:
        if e.kind != "step" or e.rewards is None:
            continue
        for i, (seat, reward) in enumerate(zip(story.seats, e.rewards, strict=False)):
            if reward:
                sums[i] += float(reward)
                found[seat].append((e.tick, sums[i]))
    return found


ROUTES = [Route("GET", "/runs/{run}/compare", compare)]
