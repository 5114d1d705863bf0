"""One episode: what it is, what happened at each tick, what each seat could see there."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import msgspec
import numpy as np

from crossplay.kernel import CrossplayError, nearest
from crossplay.models.types import Picture
from crossplay.study.export import plain
from crossplay.study.named import kind_words
from crossplay.study.progress import stamp_of
from crossplay.study.replay import Replay
from crossplay.study.ticks import Tick, marks, tick_of
from crossplay.web.api import Download, Route
from crossplay.web.desk import Conflict, Desk, NotFound
from crossplay.web.replay import picture_of, replay_socket, words
from crossplay.web.story import Story, finite, names_of, replays, seat_of, story_of

__all__ = [
    "ROUTES",
    "SOCKETS",
    "EpisodeHead",
    "FrameQuery",
    "Seat",
    "TicksQuery",
    "TicksTold",
    "View",
    "Views",
    "ViewsQuery",
    "episode_frame",
    "episode_head",
    "episode_ticks",
    "episode_views",
]

AT_ONCE = 500
"""Ticks of one answer."""
LARGEST = 256 << 10
"""Bytes of a data view that is sent as data."""

AtTick = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
SeatName = Annotated[str, msgspec.Meta(max_length=200)]


class Seat(msgspec.Struct):
    """A seat of an episode. kind: what the agent is, in words; team: whether members sit inside. total: sum of its
    rewards. counts: what the engine counted (decisions, calls, tokens, faults, links ...). given: the views that its
    agent was given, the one of most ticks first.
    """

    seat: str
    agent: str
    kind: str
    team: bool
    total: float | None
    counts: dict[str, int]
    given: list[str]


class EpisodeHead(msgspec.Struct):
    """What an episode is and how it ended.

    env: its label in the study; lineup: in seat order, group: as the study names it. ticks: how many were played; the
    last state is that of tick `ticks`. metrics: name of a score -> what it is. metric: the study's. world, mind:
    digests in hex. marks: kind of event -> ticks where it happened. actions: seat -> names of its actions. replayed:
    whether pictures and views can be made here; why_not otherwise. views: that the environment offers; omits: what
    each leaves out of the complete information. Practice episodes count in no table.
    """

    run: str
    id: str
    cell: str
    env: str
    env_id: str
    lineup: str
    group: str
    role: str
    root: int | str
    block: int | str
    replicate: int
    attempt: int
    status: str
    detail: str
    ticks: int
    score: dict[str, float | None]
    metrics: dict[str, str]
    metric: str
    seats: list[Seat]
    wall_s: float
    world: str
    mind: str
    marks: dict[str, list[int]]
    replayed: bool
    why_not: str = ""
    actions: dict[str, list[str]] = {}
    views: list[str] = []
    omits: dict[str, str] = {}
    practice: bool = False


class TicksQuery(msgspec.Struct, rename={"first": "from", "last": "to"}):
    """from, to: the first and the last tick; at most 500 are answered."""

    first: AtTick = 0
    last: AtTick = AT_ONCE - 1


class TicksTold(msgspec.Struct):
    """Ticks in their order. last: the last tick of the episode, where nothing is played any more."""

    ticks: list[Tick]
    last: int


class ViewsQuery(msgspec.Struct):
    """tick: cut to those that there are. seat: "" for the first."""

    tick: AtTick = 0
    seat: SeatName = ""


class View(msgspec.Struct):
    """One view. given: whether the agent was given this one. text: the view for people to read; picture: whether it is
    one (`frame.png?tick=&seat=`). data: of the data view, as data; null where it is large. omits: what it leaves out.
    """

    name: str
    given: bool
    text: str = ""
    picture: bool = False
    data: Any = None
    omits: str = ""


class Views(msgspec.Struct):
    """What a seat could see before its move. given: the view that its agent was given, "" where none is recorded.
    acting: whether it was its turn. legal: names of the actions that it could take, null where actions have no names.
    """

    tick: int
    seat: str
    agent: str
    acting: bool
    given: str
    legal: list[str] | None
    views: list[View]


class FrameQuery(msgspec.Struct):
    """tick: cut to those that there are. seat: what this seat sees, "" for the whole world. scale: pixels per pixel."""

    tick: AtTick = 0
    seat: SeatName = ""
    scale: Annotated[int, msgspec.Meta(ge=1, le=8)] = 1


def episode_head(desk: Desk, run: str, episode: str) -> EpisodeHead:
    """What an episode is: who sat where, how it ended, and the ticks worth a look.

    episode: its id in hex or the beginning of it, or LINEUP:BLOCK.
    """
    story = story_of(desk, run, episode)
    r, extra = story.record, story.cell.extra
    names, why_not = names_of(desk, story)
    found = EpisodeHead(
        run, story.id, r.cell, extra.get("env", r.env_id), r.env_id, r.lineup, extra.get("group", r.lineup),
        extra.get("role", ""), _number(r.root), _number(r.block), r.replicate, r.attempt, r.status, r.detail, r.ticks,
        {k: finite(v) for k, v in r.score.items()}, extra.get("metrics", {}), story.study.metric or "",
        _seats(desk, story), r.wall_s, r.world.hex(), r.mind.hex(), marks(story.rows), not why_not, why_not,
        {s: list(n) for s, n in names.items() if n}, practice=bool(r.extra.get("practice")),
    )  # fmt: skip
    if not why_not:
        with replays(desk).at(story) as replay:
            found.views = list(replay.env.views)
            found.omits = {v: words for v in found.views if (words := replay.env.omits(v))}
    return found


def _number(value: int | str) -> int | str:
    """Numbers that a browser cannot hold exactly stand as text."""
    return value if isinstance(value, str) or abs(value) < 1 << 53 else str(value)


def _seats(desk: Desk, story: Story) -> list[Seat]:
    from crossplay.records import RunFolder

    def read() -> list[dict[str, Any]]:
        with RunFolder.open(story.folder) as run:
            return run.sources()

    # Runs only gain sources: those of an episode are there with it.
    sources = desk.kept(("sources", story.folder), lambda: stamp_of(story.folder), read)
    manifests = sources[story.record.source].get("agents", {})
    totals = dict(zip(story.seats, story.record.totals, strict=False))
    views: dict[str, Counter[str]] = {s: Counter() for s in story.seats}
    for e in story.rows:
        if e.kind == "act" and e.view:
            views[story.seats[e.seat]][e.view] += 1
    found = []
    for seat in story.seats:
        agent = story.cell.agents.get(seat, "")
        kind = str(manifests.get(agent, {}).get("kind", ""))
        counts = story.record.counts.get(seat, {})
        total = finite(totals[seat]) if seat in totals else None
        given = [v for v, _ in views[seat].most_common()]
        found.append(Seat(seat, agent, kind_words(kind), kind in ("team", "single"), total, counts, given))
    return found


def episode_ticks(desk: Desk, run: str, episode: str, query: TicksQuery) -> TicksTold:
    """What happened from one tick to another: moves and their origin, words, faults, calls, rewards."""
    story = story_of(desk, run, episode)
    if query.last < query.first:
        raise CrossplayError(f"`to` ({query.last}) comes before `from` ({query.first})")
    names, _ = names_of(desk, story)
    last = max(story.ticks, default=0)
    stop = min(query.last, query.first + AT_ONCE - 1, last)
    ticks = [tick_of(t, story.ticks.get(t, ()), story.seats, names) for t in range(query.first, stop + 1)]
    return TicksTold(ticks, last)


def episode_views(desk: Desk, run: str, episode: str, query: ViewsQuery) -> Views:
    """What a seat could see at a tick, in every view of the environment; the one that its agent was given is marked.

    Made by playing the recorded moves again. 409 where that cannot be done here, with the reason.
    """
    story = story_of(desk, run, episode)
    seat = seat_of(story, query.seat)
    with replays(desk).at(story) as replay:
        _seek(replay, query.tick)
        at = replay.tick
        move = next((e for e in story.ticks.get(at, ()) if e.kind == "act" and story.seats[e.seat] == seat), None)
        given = "" if move is None else move.view
        env = replay.env
        ended = env.ended() is not None or env.out(seat) is not None
        acting = not ended and seat in env.to_act()
        offered = (*env.views, "text of skills") if given == "text of skills" else env.views
        spec = env.spec(seat)
        mask = env.legal(seat) if acting else None
        legal = [n for i, n in enumerate(spec.names) if mask is None or mask[i]] if spec.kind == "names" else None
        views = [_view(replay, seat, name, name == given) for name in offered]
        agent = story.cell.agents.get(seat, "") if move is None else move.agent
        return Views(at, seat, agent, acting, given, legal, views)


def _seek(replay: Replay, tick: int) -> None:
    try:
        replay.seek(tick)
    except CrossplayError as error:
        raise Conflict(str(error)) from None


def _view(replay: Replay, seat: str, name: str, given: bool) -> View:
    found = View(name, given, omits=replay.env.omits(name) if name in replay.env.views else "")
    try:
        value = replay.view(seat, name)
    except Exception as error:  # a seat that is out may have no view any more
        found.text = f"(not to be seen at this tick: {error})"
        return found
    found.picture = picture_of(value) is not None
    if not found.picture:
        found.text = words(value, replay.env)
    if name == "data":
        data = plain(value)
        found.data = data if len(msgspec.json.encode(data, enc_hook=str)) <= LARGEST else None
    return found


def episode_frame(desk: Desk, run: str, episode: str, query: FrameQuery) -> Download:
    """The picture of a tick as PNG: the whole world, or what a seat sees."""
    story = story_of(desk, run, episode)
    with replays(desk).at(story) as replay:
        _seek(replay, query.tick)
        if query.seat:
            if "image" not in replay.env.views:
                raise NotFound(f"{replay.env.id} has no image view.{nearest('image', replay.env.views)}")
            picture = picture_of(replay.view(seat_of(story, query.seat), "image"))
        else:
            picture = replay.picture()
    if picture is None:
        raise NotFound(f"{story.record.env_id} draws no picture; its views are text and data")
    large = np.repeat(np.repeat(picture, query.scale, axis=0), query.scale, axis=1)
    return Download(Picture.of(np.ascontiguousarray(large, np.uint8)).png(), "image/png")


ROUTES = [
    Route("GET", "/runs/{run}/episodes/{episode}", episode_head),
    Route("GET", "/runs/{run}/episodes/{episode}/ticks", episode_ticks),
    Route("GET", "/runs/{run}/episodes/{episode}/views", episode_views),
    Route("GET", "/runs/{run}/episodes/{episode}/frame.png", episode_frame, kind="image/png"),
]
SOCKETS = [("/ws/replay/{run}/{episode}", replay_socket, "owner")]
