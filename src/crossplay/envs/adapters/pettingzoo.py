"""`pettingzoo:FAMILY/NAME`: any PettingZoo environment, one seat at a time (AEC) or all at once (parallel).

`pettingzoo:classic/connect_four_v3` is AEC, `pettingzoo:mpe/simple_spread_v3` (from mpe2) parallel;
the option `api` chooses the other form, which is another environment with another id.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crossplay.envs.adapters._boards import action_names, board_text
from crossplay.envs.adapters._foreign import Foreign, check_keywords, keyword_schema, missing, need, own_module
from crossplay.envs.adapters._spaces import array_of, array_shape, describe, plain, spec_of
from crossplay.kernel.env import Ended, Env
from crossplay.kernel.registry import nearest
from crossplay.kernel.types import ActionSpec, CrossplayError

__all__ = ["AecGame", "ParallelGame", "family"]

_FAMILIES = {
    "classic": "pettingzoo.classic",
    "butterfly": "pettingzoo.butterfly",
    "sisl": "pettingzoo.sisl",
    "atari": "pettingzoo.atari",
    "mpe": "mpe2",
}
_TURNS = ("classic",)  # families whose games are written as AEC


class _Zoo(Foreign):
    """What both forms share: seats, specifications, views, ends."""

    seat_ends = True

    def __init__(self, name: str, game: str, options: Mapping[str, Any], native: Any) -> None:
        super().__init__()
        self.name, self.options, self._zoo = name, dict(options), native
        self.game = re.sub(r"_v\d+$", "", game)
        self.seats = tuple(native.possible_agents)
        self._index = {seat: i for i, seat in enumerate(self.seats)}
        spaces = {seat: native.observation_space(seat) for seat in self.seats}
        self._space = {seat: _inner(space) for seat, space in spaces.items()}
        self._specs: dict[str, ActionSpec] = {}
        self._native_of: dict[str, Any] = {}
        for i, seat in enumerate(self.seats):
            space = native.action_space(seat)
            names, noop = action_names(self.game, i, int(space.n)) if hasattr(space, "n") else (None, None)
            self._specs[seat], self._native_of[seat] = spec_of(space, names, noop)
        self._shapes = {seat: array_shape(space) for seat, space in self._space.items()}
        self._write = board_text(self.game)
        pixels = all(_is_picture(space) for space in self._space.values())
        arrays = all(shape is not None for shape in self._shapes.values())
        self.views = ("data", *(("array",) if arrays else ()), "text", *(("image",) if pixels else ()))
        self._pixels = pixels
        self.rules = f"The PettingZoo environment {game}."
        self.metrics = {"return": "sum of rewards, mean over seats"} | {
            f"return_{s}": f"sum of rewards of {s}" for s in self.seats
        }
        if len(self.seats) > 1:
            self.seat_metrics = {"own_return": {s: f"return_{s}" for s in self.seats}}
        self._totals: dict[str, float] = {}
        self._out: dict[str, Ended] = {}
        self._last: dict[str, tuple[Any, list[bool] | None]] = {}

    def _begin(self) -> None:
        self._totals = dict.fromkeys(self.seats, 0.0)
        self._out = dict.fromkeys(self.seats)
        self._last = {}

    def _see(self, seat: str, observation: Any, info: Mapping[str, Any]) -> None:
        """Keep what the library gave a seat: the plain observation and the mask."""
        mask = info.get("action_mask")
        if isinstance(observation, Mapping) and "action_mask" in observation:
            mask = observation["action_mask"]
            rest = {k: v for k, v in observation.items() if k != "action_mask"}
            observation = rest["observation"] if set(rest) == {"observation"} else rest
        names = self._specs[seat].kind == "names"
        usable = names and mask is not None and len(mask) == len(self._specs[seat].names)
        self._last[seat] = (plain(observation), np.asarray(mask).astype(bool).tolist() if usable else None)

    def _pay(self, rewards: Mapping[str, Any]) -> list[float]:
        paid = [float(rewards.get(seat, 0.0)) for seat in self.seats]
        for seat, reward in zip(self.seats, paid, strict=True):
            self._totals[seat] += reward
        return paid

    def _mark(self, terminations: Mapping[str, bool], truncations: Mapping[str, bool]) -> None:
        for seat in self.seats:
            if self._out[seat] is None and (terminations.get(seat) or truncations.get(seat)):
                self._out[seat] = "terminal" if terminations.get(seat) else "horizon"

    def ended(self) -> Ended:
        """Over when no seat lives; "horizon" when all that lived were cut."""
        if self._zoo.agents and not all(self._out[s] for s in self._zoo.agents):
            return None
        return "terminal" if "terminal" in self._out.values() else "horizon"

    def out(self, seat: str) -> Ended:
        """The end of one seat; a seat that is not born yet is not out."""
        return self._out[seat]

    def spec(self, seat: str) -> ActionSpec:
        """The action space of a seat."""
        return self._specs[seat]

    def legal(self, seat: str) -> Sequence[bool] | None:
        """The mask that the environment gives, if it gives one and it is not empty."""
        _, mask = self._last.get(seat, (None, None))
        return mask if mask is not None and any(mask) else None

    def data(self, seat: str) -> dict[str, Any]:
        """The native observation (the last one, once a seat is out; None before it is born) and the mask."""
        observation, mask = self._last.get(seat, (None, None))
        return {"seat": seat, "observation": observation, "mask": mask}

    def view_array(self, data: Mapping[str, Any]) -> np.ndarray:
        """float32[n]: the flattened observation; zeros before the seat is born."""
        seat = data["seat"]
        if data["observation"] is None:
            return np.zeros(self._shapes[seat] or (0,), np.float32)
        return array_of(self._space[seat], data["observation"])

    def view_text(self, data: Mapping[str, Any]) -> str:
        """Boards and cards where the game is known, else the numbers."""
        observation = data["observation"]
        if observation is None:
            return "You are not in play yet."
        if self._pixels:
            return f"A picture of {' x '.join(map(str, np.shape(observation)))}; text cannot show it."
        text = self._write(observation, data["mask"]) if self._write else describe(observation)
        names = self._specs[data["seat"]].names
        if data["mask"] is not None and any(data["mask"]):
            text += "\nLegal now: " + ", ".join(n for n, ok in zip(names, data["mask"], strict=True) if ok) + "."
        return text

    def view_image(self, data: Mapping[str, Any]) -> np.ndarray:
        """uint8[h, w, 3]: the observation, where it is a picture."""
        return np.asarray(data["observation"], np.uint8)

    def array_shape(self, seat: str) -> tuple[int, ...] | None:
        """Length of the flattened observation of a seat."""
        return self._shapes[seat]

    def omits(self, view: str) -> str:
        """What a view leaves out of data."""
        if view == "text" and not self._pixels:
            return (
                "what the board or the cards do not show (history planes)" if self._write else "digits beyond the third"
            )
        return {"array": "the mask", "image": "the mask", "text": "the picture"}.get(view, "")

    def score(self) -> Mapping[str, float]:
        """Sums of rewards: of each seat and their mean; the mean first where all act at once."""
        return self._scores(self._totals)

    def _scores(self, totals: Mapping[str, float]) -> dict[str, float]:
        seats = {f"return_{s}": v for s, v in totals.items()}
        mean = {"return": sum(totals.values()) / max(1, len(totals))}
        return mean | seats if isinstance(self, ParallelGame) else seats | mean

    def forfeit_score(self, seat: str) -> Mapping[str, float]:
        """The score so far; in the two-player games of `classic` a forfeit is at least a loss by 1."""
        totals = dict(self._totals)
        if self.game.startswith("classic/") and self.game != "classic/hanabi" and len(totals) == 2:
            totals[seat] = min(totals[seat], 0.0) - 1.0
            other = next(s for s in self.seats if s != seat)
            totals[other] = max(totals[other], 0.0) + 1.0
        return self._scores(totals)

    def text(self) -> str:
        """The text views of all seats in play."""
        return "\n\n".join(f"{s}:\n{self.view_text(self.data(s))}" for s in self._zoo.agents)

    def _native(self) -> Any:
        live = sorted(self._zoo.agents)
        return (live, [self._last.get(s) for s in live], list(self._out.values()))

    def close(self) -> None:
        """Close the library's environment."""
        self._zoo.close()


class AecGame(_Zoo):
    """Turn by turn: the seat to act is `agent_selection`. Rewards are those of the step, not the
    running sum of `last()`; seats that are out are stepped with None inside.
    """

    def _start(self, seed: int) -> None:
        self._begin()
        self._zoo.reset(seed=seed)
        self._settle()

    def _advance(self, actions: Mapping[str, Any]) -> Sequence[float]:
        seat = self._zoo.agent_selection
        self._zoo.step(self._native_of[seat](actions[seat]))
        paid = self._pay(self._zoo.rewards)
        self._settle()
        return paid

    def _settle(self) -> None:
        """Note who is out, look for everybody in play, then play the empty turns of the dead."""
        zoo = self._zoo
        self._mark(zoo.terminations, zoo.truncations)
        for seat in zoo.agents:
            self._see(seat, zoo.observe(seat), zoo.infos.get(seat) or {})
        while zoo.agents and (zoo.terminations[zoo.agent_selection] or zoo.truncations[zoo.agent_selection]):
            zoo.step(None)
            self._mark(zoo.terminations, zoo.truncations)

    def to_act(self) -> tuple[str, ...]:
        """The selected seat."""
        return (self._zoo.agent_selection,) if self._zoo.agents else ()


class ParallelGame(_Zoo):
    """All seats in play at once; seats may be born and may leave within `possible_agents`."""

    def _start(self, seed: int) -> None:
        self._begin()
        observations, infos = self._zoo.reset(seed=seed)
        for seat in self._zoo.agents:
            self._see(seat, observations[seat], infos.get(seat) or {})
        self._live = self._order()

    def _advance(self, actions: Mapping[str, Any]) -> Sequence[float]:
        values = {seat: self._native_of[seat](actions[seat]) for seat in self._live}
        observations, rewards, terminations, truncations, infos = self._zoo.step(values)
        self._mark(terminations, truncations)
        for seat in observations:
            if seat in self._index:  # some games add keys of their own
                self._see(seat, observations[seat], infos.get(seat) or {})
        self._live = self._order()
        return self._pay(rewards)

    def _order(self) -> tuple[str, ...]:
        return tuple(sorted(self._zoo.agents, key=self._index.__getitem__))

    def to_act(self) -> tuple[str, ...]:
        """Everybody in play, in the order of seats."""
        return self._live


def _inner(space: Any) -> Any:
    """The observation space without the mask."""
    if type(space).__name__ != "Dict" or "action_mask" not in space.spaces:
        return space
    rest = {k: v for k, v in space.spaces.items() if k != "action_mask"}
    return rest["observation"] if set(rest) == {"observation"} else type(space)(rest)


def _is_picture(space: Any) -> bool:
    shape = getattr(space, "shape", None) or ()
    return (
        type(space).__name__ == "Box"
        and space.dtype == np.uint8
        and len(shape) == 3
        and shape[2] == 3
        and min(shape[:2]) >= 16
    )


def _known() -> list[str]:
    """All FAMILY/NAME that the installed packages have, without importing the games."""
    from importlib.util import find_spec

    found = []
    for prefix, package in _FAMILIES.items():
        try:
            spec = find_spec(package)
        except ImportError:
            continue
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            found += [f"{prefix}/{p.stem}" for p in Path(folder).glob("*_v[0-9]*.py")]
    return sorted(found)


def _open(rest: str, options: Mapping[str, Any]) -> tuple[str, Any, dict[str, Any]]:
    """(api, constructor, option properties) of a game."""
    need("pettingzoo", "pettingzoo")
    prefix, _, name = rest.partition("/")
    if rest not in _known() and name == "":
        module = own_module(rest, f"pettingzoo:{rest}", _known())
        if not hasattr(module, "env") and not hasattr(module, "parallel_env"):
            raise CrossplayError(f"pettingzoo:{rest}: the module {rest} has neither env nor parallel_env")
    elif rest not in _known():
        if prefix == "mpe":
            need("mpe2", "pettingzoo")
        raise CrossplayError(f'pettingzoo: unknown environment "{rest}".{nearest(rest, _known())}')
    else:
        module = need(f"{_FAMILIES[prefix]}.{name}", f"pettingzoo:{rest}", f"pettingzoo[{prefix}]")
    usual = "aec" if prefix in _TURNS or not hasattr(module, "parallel_env") else "parallel"
    api = options.get("api", usual)
    known = ["aec", *(["parallel"] if hasattr(module, "parallel_env") else [])]
    if api not in known:
        raise CrossplayError(f'pettingzoo:{rest}: api = "{api}".{nearest(str(api), known)}')
    # The engine checks actions and masks itself: the game without its wrappers is 1.4 times as fast.
    bare = getattr(module, "raw_env", module.env) if prefix in ("classic", "mpe") else module.env
    props, more = keyword_schema(getattr(module, "raw_env", bare))
    props["api"] = {
        "type": "string",
        "enum": known,
        "default": usual,
        "description": "aec: one seat after the other; parallel: all seats at once.",
    }
    return api, module.parallel_env if api == "parallel" else bare, {"props": props, "more": more}


class _Family:
    summary = "Any PettingZoo environment, by family and name: pettingzoo:classic/connect_four_v3."

    def names(self) -> Sequence[str]:
        """What the installed packages have."""
        return _known()

    def code(self, rest: str) -> bool:
        """Whether the name is that of a module of the user's: pettingzoo:my_package.my_game."""
        from importlib.util import find_spec

        root = rest.partition(".")[0]
        return "/" not in rest and (find_spec(root) is not None or Path(root).exists() or Path(f"{root}.py").exists())

    def make(self, rest: str, options: Mapping[str, Any]) -> Env:
        """A fresh environment; options but `api` go to its constructor."""
        api, build, known = _open(rest, options)
        off = check_keywords(f"pettingzoo:{rest}", options, known["props"], known["more"])
        try:
            native = build(**{k: v for k, v in off.items() if k != "api"})
        except ImportError as error:
            raise missing(f"pettingzoo:{rest}", error, extra=f"pettingzoo[{rest.partition('/')[0]}]") from error
        except Exception as error:  # whatever a constructor says of its keywords
            raise CrossplayError(f"pettingzoo:{rest}: {type(error).__name__}: {error}") from error
        return (ParallelGame if api == "parallel" else AecGame)(f"pettingzoo:{rest}", rest, off, native)

    def batch(self, rest: str, width: int, options: Mapping[str, Any]) -> None:
        """There is no array form."""

    def schema(self, rest: str) -> dict[str, Any]:
        """JSON schema of the constructor's keywords, and `api`."""
        _, _, known = _open(rest, {})
        return {"type": "object", "properties": known["props"], "additionalProperties": known["more"]}


family = _Family()
