"""Checks of fair information: data, views as pure functions of it, what they leave out, spectators."""

from __future__ import annotations

from typing import Any

import numpy as np

from crossplay.envs.check.case import Case, Failed, Skipped
from crossplay.kernel.env import VIEWS
from crossplay.kernel.types import CrossplayError, pack, unpack

__all__ = ["data", "equal_views", "omitted", "shapes", "skills", "spectators"]


def data(case: Case) -> str:
    """What a seat may know is plain data, a copy of the state, and the same when asked twice."""
    taken: list[tuple[str, Any, bytes]] = []
    for block in case.blocks:
        env = case.started(block)
        for tick in range(case.ticks):
            if env.ended() is not None:
                break
            for seat in case.known(env):
                where = f"block {block}, tick {tick}, seat {seat}"
                found = env.data(seat)
                try:
                    packed = pack(found)
                except (TypeError, ValueError, OverflowError) as error:
                    raise Failed(f"{where}: data is not MessagePack data and arrays: {error}") from None
                if pack(unpack(packed)) != packed:
                    raise Failed(f"{where}: data changes on the way through MessagePack")
                if pack(env.data(seat)) != packed:
                    raise Failed(f"{where}: asked twice, data differs")
                taken.append((where, found, packed))
            env.step(case.choose(env, block, tick), case.mail(env, tick))
    for where, found, packed in taken:
        if pack(found) != packed:
            raise Failed(f"{where}: data changed when the world went on; give copies, not views of the state")
    return f"{len(taken)} moments"


def equal_views(case: Case) -> str:
    """Equal data gives equal views: each can be computed from the data alone, by any instance."""
    stranger = case.fresh()  # never reset: whatever it shows comes from the data
    seen: dict[bytes, dict[str, bytes]] = {}
    for moment in case.moments:
        again = unpack(moment.data)
        for name, shown in moment.views.items():
            try:
                other = pack(getattr(stranger, f"view_{name}")(again))
            except Exception as error:
                raise Failed(
                    f"{moment}: view_{name}(data) on a new instance: {type(error).__name__}: {error}"
                ) from None
            if other != shown:
                raise Failed(f"{moment}: the {name} view is not a function of data")
            if seen.setdefault(moment.data, {}).setdefault(name, shown) != shown:
                raise Failed(f"{moment}: equal data was shown before with another {name} view")
    return f"{len(case.moments)} moments, {len(seen)} different data"


def shapes(case: Case) -> str:
    """Views have the form they promise."""
    env = case.env
    if "data" not in env.views or not set(env.views) <= set(VIEWS) or len(set(env.views)) != len(env.views):
        raise Failed(f"views {env.views}: expected data and any of {', '.join(VIEWS[1:])}")
    kinds: dict[tuple[str, str], str] = {}
    for moment in case.moments:
        for name, packed in moment.views.items():
            view = unpack(packed)
            if name == "text":
                if not isinstance(view, str) or not view.strip():
                    raise Failed(f"{moment}: the text view is {view!r}, not readable text")
                continue
            if not isinstance(view, np.ndarray):
                raise Failed(f"{moment}: the {name} view is a {type(view).__name__}, not an array")
            if name == "image" and (view.dtype != np.uint8 or view.ndim != 3 or view.shape[2] != 3 or not view.size):
                raise Failed(f"{moment}: the image view is {view.dtype}{view.shape}, not uint8[height, width, 3]")
            if name == "array":
                promised = env.array_shape(moment.seat)
                if promised is None or view.shape != tuple(promised):
                    raise Failed(f"{moment}: the array view has shape {view.shape}, array_shape says {promised}")
                if view.dtype.kind not in "fiub" or not np.isfinite(view.astype(np.float64)).all():
                    raise Failed(f"{moment}: the array view ({view.dtype}) holds something that is not a finite number")
            form = f"{view.dtype}{list(view.shape)}"
            if name == "array" and kinds.setdefault((name, moment.seat), form) != form:
                raise Failed(f"{moment}: the array view is {form}, it was {kinds[name, moment.seat]} before")
    try:
        case.started().view(env.seats[0], "smell")
    except CrossplayError:
        pass
    else:
        raise Failed("a view that does not exist is given")
    return ", ".join(env.views)


def omitted(case: Case) -> str:
    """Every view says what it leaves out; one that says "nothing" tells different data apart."""
    env = case.env
    for name in env.views:
        said = env.omits(name)
        if not isinstance(said, str):
            raise Failed(f"omits({name!r}) gives {type(said).__name__}, not text")
        if name == "data" and said:
            raise Failed(f"data is the complete information set, yet omits says {said!r}")
    shown: dict[tuple[str, str, bytes], bytes] = {}
    for moment in case.moments:
        for name, view in moment.views.items():
            if env.omits(name) == "" and shown.setdefault((name, moment.seat, view), moment.data) != moment.data:
                parts = _differing(unpack(shown[name, moment.seat, view]), unpack(moment.data))
                raise Failed(f'{moment}: omits("{name}") is empty, yet the view looked the same when {parts} differed')
    return f"{sum(env.omits(n) != '' for n in env.views)} of {len(env.views)} views leave something out"


def _differing(a: Any, b: Any) -> str:
    if isinstance(a, dict) and isinstance(b, dict):
        return ", ".join(k for k in a if k not in b or pack(a[k]) != pack(b[k])) or "the keys"
    return "data"


def skills(case: Case) -> str:
    """Skills are functions of data that end in primitive actions, and one at least can be started."""
    found = case.env.skills
    if found is None:
        raise Skipped("it has no skills")
    names = found.names
    if not names or len(set(names)) != len(names) or not all(found.describe(i) for i in range(len(names))):
        raise Failed("skills need different names and a description each")
    spec, tried = case.env.spec(case.env.seats[0]), 0
    for moment in case.moments[:: max(1, len(case.moments) // 40)]:
        known = unpack(moment.data)
        legal = list(found.legal(known))
        if len(legal) != len(names) or not any(legal):
            raise Failed(f"{moment}: legal(data) must hold {len(names)} flags, one at least True; it is {legal}")
        for i in range(len(names)):
            if not legal[i]:
                continue
            first, again = found.step(known, i, None), found.step(unpack(moment.data), i, None)
            if pack(list(first)) != pack(list(again)) or pack(known) != moment.data:
                raise Failed(f"{moment}: skill {names[i]!r} is not a pure function of data")
            spec.check(first[0])
            tried += 1
    return f"{len(names)} skills, {tried} starts"


def spectators(case: Case) -> str:
    """What spectators see has its form, and rules and metrics are told in words."""
    env = case.started()
    if not isinstance(env.rules, str) or not env.rules.strip():
        raise Failed("`rules` is empty: people and language models are told nothing")
    for when in ("at the start", "after some ticks"):
        picture, text = env.picture(), env.text()
        if picture is not None and (picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3):
            raise Failed(f"{when}: picture() is {picture.dtype}{picture.shape}, not uint8[height, width, 3] or None")
        if not isinstance(text, str):
            raise Failed(f"{when}: text() gives {type(text).__name__}")
        for tick in range(5):
            if env.ended() is None:
                env.step(case.choose(env, 0, tick), case.mail(env, tick))
    return "picture and text" if env.picture() is not None else "text" if env.text() else "nothing to watch"
