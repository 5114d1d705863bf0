"""The inside of the teams of an episode: who was shown what by whom, round by round, what they said and cost, the vote."""

from __future__ import annotations

from typing import Annotated

import msgspec

from crossplay.kernel import nearest
from crossplay.records import RunFolder
from crossplay.study.inside_one import Decision, EpisodeInside, episode_inside
from crossplay.web.api import Route
from crossplay.web.desk import Desk, NotFound
from crossplay.web.story import OUTSIDE, Story, story_of

__all__ = ["ROUTES", "DecisionHead", "EpisodeTeam", "TeamQuery", "episode_team", "unjudged"]


class TeamQuery(msgspec.Struct):
    """decision: its key, as listed; "" for the first one. Or tick: the first decision at that tick or after it."""

    decision: Annotated[str, msgspec.Meta(max_length=400)] = ""
    tick: Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)] | None = None


class DecisionHead(msgspec.Struct, kw_only=True):
    """One decision of a team. key: TICK/SEAT, then the path of a team inside the seat. outer: key of the decision that it
    is a part of, "" for none. decided: its answer in words; right: whether it is, null where the truth is not known.
    """

    key: str
    tick: int
    seat: str
    team: str
    outer: str
    rounds: int
    posts: int
    decided: str
    right: bool | None


class EpisodeTeam(msgspec.Struct, kw_only=True):
    """The decisions of the teams of an episode, and one of them whole. truth: why nobody knows which answers are right, or "".

    metric: of the study, a name in score or "reward". decision is null where no team played. Prompts of its calls: GET /runs/{run}/episodes/{episode}/calls.
    """

    episode: str
    env: str
    lineup: str
    role: str
    block: str
    status: str
    score: dict[str, float]
    metric: str
    truth: str
    decisions: list[DecisionHead]
    decision: Decision | None


def unjudged(name: str) -> str:
    """Why the answers in an environment are not scored again where a run is only looked at; "" where they are."""
    for prefix, why in OUTSIDE.items():
        if name == prefix or name.startswith((f"{prefix}:", f"{prefix}/")):
            return f"answers are not scored again here: {why}"
    return ""


def episode_team(desk: Desk, run: str, episode: str, query: TeamQuery) -> EpisodeTeam:
    """The inside of the teams of an episode: all decisions in brief, one of them with its posts, calls and vote."""
    story = story_of(desk, run, episode)
    whole = desk.kept(("team", story.folder, story.record.id), story.stamp, lambda: _read(story))
    told = {name: getattr(whole, name) for name in EpisodeInside.__struct_fields__ if name != "decisions"}
    return EpisodeTeam(
        **told, metric=story.study.metric or "reward", decisions=[_head(d) for d in whole.decisions], decision=_chosen(whole.decisions, query)
    )  # fmt: skip


def _read(story: Story) -> EpisodeInside:
    label = str(story.cell.extra.get("env", ""))
    spec = story.study.environments.get(label)
    with RunFolder.open(story.folder) as run:
        return episode_inside(run, story.study, story.record, unjudged(spec.name) if spec else "")


def _head(d: Decision) -> DecisionHead:
    return DecisionHead(
        key=d.key, tick=d.tick, seat=d.seat, team=d.team, outer=d.outer, rounds=d.rounds, posts=len(d.posts),
        decided=d.vote.decided if d.vote else "", right=d.vote.right if d.vote else None,
    )  # fmt: skip


def _chosen(found: list[Decision], query: TeamQuery) -> Decision | None:
    if query.decision:
        one = next((d for d in found if d.key == query.decision), None)
        if one is None:
            known = [d.key for d in found]
            raise NotFound(f'the episode has no decision "{query.decision[:80]}".{nearest(query.decision, known)}')
        return one
    if query.tick is not None:
        return next((d for d in found if d.tick >= query.tick), found[-1] if found else None)
    return found[0] if found else None


ROUTES = [Route("GET", "/runs/{run}/episodes/{episode}/team", episode_team)]
