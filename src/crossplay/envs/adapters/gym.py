"""`gym:ID`: any Gymnasium environment as a Crossplay environment with the one seat p0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crossplay.envs.adapters._foreign import Foreign, check_keywords, keyword_schema, need, own_module, seed31
from crossplay.envs.adapters._spaces import array_of, array_shape, describe, plain, spec_of
from crossplay.kernel.env import Ended, Env
from crossplay.kernel.registry import nearest
from crossplay.kernel.types import ActionSpec, CrossplayError

__all__ = ["GymEnv", "family", "make_gym"]

# What the libraries' documentation calls the actions, and which of them does nothing.
ACTION_NAMES: dict[str, tuple[tuple[str, ...], int | None]] = {
    "CartPole": (("left", "right"), None),
    "MountainCar": (("left", "coast", "right"), 1),
    "Acrobot": (("minus", "none", "plus"), 1),
    "LunarLander": (("none", "left_engine", "main_engine", "right_engine"), 0),
    "FrozenLake": (("left", "down", "right", "up"), None),
    "FrozenLake8x8": (("left", "down", "right", "up"), None),
    "CliffWalking": (("up", "right", "down", "left"), None),
    "Taxi": (("south", "north", "east", "west", "pickup", "dropoff"), None),
    "Blackjack": (("stick", "hit"), None),
}


class GymEnv(Foreign):
    """A Gymnasium environment. `terminated` is "terminal", `truncated` is "horizon".

    Views: data (the observation), text, array (flattened; choices one-hot, texts left out), and
    image where the observation is itself a picture: a rendering may show more than the seat knows.
    """

    seats = ("p0",)
    metrics = {"return": "sum of rewards", "length": "steps played"}

    def __init__(self, name: str, gym_id: str, options: Mapping[str, Any], family: str = "gym") -> None:
        """name: for the id; gym_id: Gymnasium's; options: keywords of `gymnasium.make` off their default."""
        super().__init__()
        self.name, self.gym_id, self.options = name, gym_id, dict(options)
        self._family = family
        self._env = make_gym(gym_id, self.options, family)
        spec = self._env.spec
        self.horizon = spec.max_episode_steps if spec is not None else None
        self._space = self._env.observation_space
        names, noop = self._names()
        self._spec, self._to_native = spec_of(self._env.action_space, names, noop)
        self._shape = array_shape(self._space)
        self._pixels = _is_picture(self._space)
        self.views = ("data", *(("array",) if self._shape else ()), "text", *(("image",) if self._pixels else ()))
        self.rules = f"The Gymnasium environment {gym_id}."
        self._obs: Any = None
        self._mask: list[bool] | None = None
        self._ended: Ended = None
        self._return = 0.0
        self._twin: tuple[Any, bytes, int] | None = None

    def _names(self) -> tuple[Sequence[str] | None, int | None]:
        meanings = getattr(self._env.unwrapped, "get_action_meanings", None)
        if meanings is not None:
            names = [str(m).lower() for m in meanings()]
            return names, names.index("noop") if "noop" in names else None
        return ACTION_NAMES.get(self.gym_id.rpartition("-v")[0].rpartition("/")[2], (None, None))

    def _start(self, seed: int) -> None:
        self._obs, info = self._env.reset(seed=seed)
        self._ended, self._return = None, 0.0
        self._read_mask(info)

    def _advance(self, actions: Mapping[str, Any]) -> Sequence[float]:
        self._obs, reward, terminated, truncated, info = self._env.step(self._to_native(actions["p0"]))
        self._ended = "terminal" if terminated else "horizon" if truncated else None
        self._read_mask(info)
        reward = float(reward)
        self._return += reward
        return (reward,)

    def _read_mask(self, info: Mapping[str, Any]) -> None:
        mask = info.get("action_mask") if self._spec.kind == "names" else None
        usable = isinstance(mask, np.ndarray) and mask.shape == (len(self._spec.names),) and mask.any()
        self._mask = mask.astype(bool).tolist() if usable else None

    def to_act(self) -> tuple[str, ...]:
        """p0."""
        return self.seats

    def ended(self) -> Ended:
        """As the library says."""
        return self._ended

    def spec(self, seat: str) -> ActionSpec:
        """The action space."""
        return self._spec

    def legal(self, seat: str) -> Sequence[bool] | None:
        """`info["action_mask"]`, where the environment gives one."""
        return self._mask

    def data(self, seat: str) -> dict[str, Any]:
        """The native observation and the mask."""
        return {"observation": plain(self._obs), "mask": self._mask}

    def view_array(self, data: Mapping[str, Any]) -> np.ndarray:
        """float32[n]: the flattened observation."""
        return array_of(self._space, data["observation"])

    def view_text(self, data: Mapping[str, Any]) -> str:
        """The observation as lines of text."""
        if self._pixels:
            return f"A picture of {' x '.join(map(str, np.shape(data['observation'])))}; text cannot show it."
        return describe(data["observation"])

    def view_image(self, data: Mapping[str, Any]) -> np.ndarray:
        """uint8[h, w, 3]: the observation, where it is a picture."""
        picture = np.asarray(data["observation"], np.uint8)
        return (
            picture
            if picture.ndim == 3 and picture.shape[2] == 3
            else np.repeat(picture.reshape(*picture.shape[:2], 1), 3, axis=2)
        )

    def array_shape(self, seat: str) -> tuple[int, ...] | None:
        """Length of the flattened observation."""
        return self._shape

    def omits(self, view: str) -> str:
        """What a view leaves out of data."""
        if view == "array":
            return "texts in the observation, and the mask"
        if view == "text":
            return "the picture" if self._pixels else "digits beyond the third, and the mask"
        return "the mask" if view == "image" else ""

    def score(self) -> Mapping[str, float]:
        """Sum of rewards and steps."""
        return {"return": self._return, "length": float(len(self._log))}

    def picture(self) -> np.ndarray | None:
        """The library's own drawing, from a second instance that is stepped with the same actions."""
        if "rgb_array" not in (self._env.metadata.get("render_modes") or ()):
            return None
        if self._twin is None or self._twin[1] != self.key or self._twin[2] > len(self._log):
            twin = self._twin[0] if self._twin else make_gym(self.gym_id, self.options, self._family, "rgb_array")
            twin.reset(seed=seed31(self.key))
            self._twin = (twin, self.key, 0)
        twin, key, done = self._twin
        for values in self._log[done:]:
            twin.step(self._to_native(values[0]))
        self._twin = (twin, key, len(self._log))
        return np.asarray(twin.render(), np.uint8)

    def text(self) -> str:
        """The seat's text view: nobody else knows more."""
        return self.view_text(self.data("p0"))

    def _native(self) -> Any:
        return (plain(self._obs), self._mask, self._ended)

    def close(self) -> None:
        """Close the library's environments."""
        self._env.close()
        if self._twin is not None:
            self._twin[0].close()


def _is_picture(space: Any) -> bool:
    """Whether the observation is a grey or coloured picture of at least 16 x 16."""
    if type(space).__name__ != "Box" or space.dtype != np.uint8 or len(space.shape) not in (2, 3):
        return False
    return min(space.shape[:2]) >= 16 and (len(space.shape) == 2 or space.shape[2] in (1, 3))


def make_gym(gym_id: str, options: Mapping[str, Any], family: str, render_mode: str | None = None) -> Any:
    """`gymnasium.make` with errors that say what to do."""
    gymnasium = need("gymnasium", family)
    if family == "minigrid":
        need("minigrid", family)
    if gym_id not in gymnasium.registry:
        raise CrossplayError(f'{family}: unknown environment "{gym_id}".{nearest(gym_id, sorted(gymnasium.registry))}')
    more = {} if render_mode is None else {"render_mode": render_mode}
    try:
        return gymnasium.make(gym_id, disable_env_checker=True, **options, **more)
    except gymnasium.error.DependencyNotInstalled as error:
        problem = CrossplayError(f"{family}:{gym_id}: {str(error).splitlines()[0]}")
        problem.exit_code = 3
        raise problem from error
    except Exception as error:  # whatever a constructor says of its keywords
        raise CrossplayError(f"{family}:{gym_id}: {type(error).__name__}: {error}") from error


def gym_properties(gym_id: str, family: str) -> tuple[dict[str, Any], bool]:
    """Option properties of a registered environment, read from its constructor."""
    gymnasium = need("gymnasium", family)
    if gym_id not in gymnasium.registry:
        raise CrossplayError(f'{family}: unknown environment "{gym_id}".{nearest(gym_id, sorted(gymnasium.registry))}')
    spec = gymnasium.registry[gym_id]
    call = (
        spec.entry_point
        if callable(spec.entry_point)
        else gymnasium.envs.registration.load_env_creator(spec.entry_point)
    )
    props, more = keyword_schema(call, hidden=tuple(spec.kwargs))
    for name, default in spec.kwargs.items():
        props[name] = {"description": f"{name}, as the library defines it.", "default": default}
    props["max_episode_steps"] = {
        "type": "integer",
        "default": spec.max_episode_steps,
        "description": "Steps after which the episode is cut.",
    }
    return props, more


def _registered(rest: str) -> str:
    """The id in MODULE:ID, after importing the module that registers it; plain ids as they are."""
    module, _, gym_id = rest.rpartition(":")
    if module:
        own_module(module, f"gym:{rest}")
    return gym_id


class _Family:
    summary = "Any Gymnasium environment, by its id: gym:CartPole-v1."

    def names(self) -> Sequence[str]:
        """Open-ended: whatever Gymnasium has registered."""
        return ()

    def code(self, rest: str) -> bool:
        """Whether the name loads a module of the user's: gym:my_package:MyGame-v0."""
        return ":" in rest

    def plain(self, rest: str) -> bool:
        """Whether Gymnasium has registered it, and it is no wrapper of other modules' environments."""
        return rest in need("gymnasium", "gym").registry and not rest.startswith("GymV")

    def make(self, rest: str, options: Mapping[str, Any]) -> Env:
        """A fresh environment."""
        gym_id = _registered(rest)
        props, more = gym_properties(gym_id, "gym")
        return GymEnv(f"gym:{rest}", gym_id, check_keywords(f"gym:{rest}", options, props, more))

    def batch(self, rest: str, width: int, options: Mapping[str, Any]) -> None:
        """There is no array form."""

    def schema(self, rest: str) -> dict[str, Any]:
        """JSON schema of the constructor's keywords."""
        props, more = gym_properties(_registered(rest), "gym")
        return {"type": "object", "properties": props, "additionalProperties": more}


family = _Family()
