"""What rooms can be made of, over REST: environments, agents, models; one environment with its seats."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import msgspec

from crossplay.kernel import Block, CrossplayError, entries, load, make_env, split_name
from crossplay.models.catalog import known as known_models
from crossplay.study.templates import expert_of
from crossplay.web.api import Route
from crossplay.web.desk import Desk
from crossplay.web.play.record import allowed_env, installed

__all__ = ["ROUTES"]


class Choices(msgspec.Struct):
    """What rooms can be made of. environments: names by family (none: a name of one's own follows, e.g. gym:...);
    agents: families of types; models: of this machine, for the types llm and vlm.
    """

    environments: dict[str, list[str]]
    agents: list[str]
    models: list[str]


async def room_choices(desk: Desk) -> Choices:
    """What a room can be made of."""
    return await asyncio.to_thread(_choices)


def _choices() -> Choices:
    environments: dict[str, list[str]] = {}
    for family in entries("envs"):
        try:
            environments[family] = sorted(str(n) for n in load("envs", family).names())
        except CrossplayError:
            continue  # its package is not installed
    return Choices(environments, installed(), sorted(known_models()))


class Look(msgspec.Struct, forbid_unknown_fields=True):
    """An environment to look at, with its options."""

    environment: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    options: dict[str, Any] = {}


class SeatForm(msgspec.Struct):
    """A seat: what kind of answer it gives (names, box, text, data), and how many names there are."""

    seat: str
    kind: str
    names: list[str]


class Looked(msgspec.Struct):
    """An environment. id: its full name. views: what a person can be shown. expert: the scripted agent that plays it, or "".
    schema: of its options. talks: whether seats can speak to each other.
    """

    id: str
    seats: list[SeatForm]
    views: list[str]
    rules: str
    expert: str
    horizon: int | None
    talks: bool
    schema: dict[str, Any]


async def look_at_environment(desk: Desk, body: Look) -> Looked:
    """The seats, views and rules of an environment, to fill a room with."""
    return await asyncio.to_thread(_looked, body)


def _looked(body: Look) -> Looked:
    allowed_env(body.environment, body.options)
    family, rest = split_name(body.environment)
    try:
        env = make_env(body.environment, body.options)
    except CrossplayError:
        raise
    except Exception as error:  # worlds of others say in their own way that an option is wrong
        raise CrossplayError(f"{body.environment}: {type(error).__name__}: {error}"[:500]) from error
    try:
        talks = False
        try:
            env.start(Block())
            talks = any(env.audience(s) for s in env.seats)
        except Exception:
            talks = False  # it wants to be started otherwise; the room says what is wrong
        forms = [SeatForm(s, env.spec(s).kind, list(env.spec(s).names[:200])) for s in env.seats]
        views: list[str] = [v for v in ("image", "text", "data") if v in env.views]
        schema = load("envs", family).schema(rest)
        return Looked(env.id, forms, views, env.rules, expert_of(body.environment) or "", env.horizon, talks, schema)
    finally:
        env.close()


ROUTES = [
    Route("GET", "/play-choices", room_choices),
    Route("POST", "/play-look", look_at_environment),
]
