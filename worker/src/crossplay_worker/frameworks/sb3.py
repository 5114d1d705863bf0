"""Stable-Baselines3 and SB3-Contrib: PPO, A2C, DQN, and MaskablePPO where seats have masks.

    crossplay train spread --worker sb3 --python .venvs/sb3/bin/python --steps 300000

Seats share one policy; their tracks are SB3's parallel environments. Checkpoints are safetensors and JSON; SB3's own
.zip holds pickled data and is neither written nor read. A resumed run has the weights, the optimiser's moments and the
step; replay memory (DQN) and the position in mid-episode are not kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..envs import Tracks
from ..gym import action_space, legal_only
from ..train import Job
from ..weights import load
from ..worker import Refused
from ._common import Books, Forward, PolicyWorker, flat, serve, settings

__all__ = ["Sb3"]

DEFAULTS: dict[str, Any] = {
    "algorithm": "",  # PPO, or MaskablePPO where seats have masks
    "rows": 16,  # episodes side by side
    "reward": "own",  # or mean: of the trained seats
    "hidden": [64, 64],
    "learning_rate": 1e-3,
    "gamma": 0.95,
    "n_steps": 32,  # of each track between updates
    "batch_size": 512,
    "n_epochs": 4,
    "ent_coef": 0.01,
    "gae_lambda": 0.95,
    "checkpoint_every": 100_000,  # decisions
    "threads": 1,
}
_COMMON = ("learning_rate", "gamma")
_USED = {
    "PPO": (*_COMMON, "n_steps", "batch_size", "n_epochs", "ent_coef", "gae_lambda"),
    "MaskablePPO": (*_COMMON, "n_steps", "batch_size", "n_epochs", "ent_coef", "gae_lambda"),
    "A2C": (*_COMMON, "n_steps", "ent_coef", "gae_lambda"),
    "DQN": (*_COMMON, "batch_size"),
}


class Sb3(PolicyWorker):
    """Trains with SB3, plays what it trained."""

    framework = "sb3"
    packages = ("stable-baselines3", "sb3-contrib", "torch", "gymnasium", "numpy")

    # -- playing -----------------------------------------------------------------------------------------
    def forward(self, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> Forward:
        """The policy built from its description, with the stored weights."""
        import torch

        torch.set_num_threads(1)
        policy = _policy(about)
        policy.load_state_dict({k[7:]: torch.tensor(v) for k, v in arrays.items() if k.startswith("policy.")})
        policy.set_training_mode(False)

        def scores(views: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                if about["algorithm"] == "DQN":
                    # Q values are no odds: the best action, whatever `sample` says.
                    values = policy.q_net(torch.as_tensor(views)).numpy()
                    return np.where(values == values.max(1, keepdims=True), 0.0, -1e9)
                return policy.get_distribution(torch.as_tensor(views)).distribution.logits.numpy()

        return scores

    # -- training ----------------------------------------------------------------------------------------
    def train(self, job: Job) -> Any:
        """Train to `job.steps` decisions; checkpoints on the way, `policy` at the end."""
        import torch

        given = settings(job.config, DEFAULTS, self.name)
        torch.set_num_threads(given["threads"])
        arrays, before = load(job.resume, self.framework) if job.resume else ({}, {})
        tracks = job.tracks(rows=given["rows"], reward=given["reward"], first=before.get("block", 0))
        if tracks.spec["kind"] != "names":
            raise Refused("BAD_SPACE", "sb3: actions with names are trained here, not %s" % tracks.spec["kind"])
        name = given["algorithm"] or ("MaskablePPO" if tracks.rows.masked else "PPO")
        model = _model(name, given, tracks, job.seed + before.get("step", 0))
        books = Books(job, tracks, self.framework, {"algorithm": name, "hidden": given["hidden"], "settings": given}, given["checkpoint_every"])  # fmt: skip
        if arrays:
            _restore(model, arrays)
            model.num_timesteps, books.episodes = before["step"], before["episodes"]
        books.begin(model.num_timesteps)
        left = job.steps - model.num_timesteps
        if left > 0:
            model.learn(left, callback=_callback(job, books), reset_num_timesteps=not arrays)
        if job.cancelled:
            books.write(model.num_timesteps, _arrays(model))
            job.stop_if_cancelled()
        return books.finish(model.num_timesteps, _arrays(model))


def _class(name: str) -> Any:
    if name not in _USED:
        raise Refused("BAD_VALUE", "sb3: unknown algorithm %r; known: %s" % (name, ", ".join(_USED)))
    if name == "MaskablePPO":
        import sb3_contrib

        return sb3_contrib.MaskablePPO
    import stable_baselines3

    return getattr(stable_baselines3, name)


def _model(name: str, given: Mapping[str, Any], tracks: Tracks, seed: int) -> Any:
    chosen = {k: given[k] for k in _USED.get(name, ())}
    if "batch_size" in chosen and name != "DQN":
        chosen["batch_size"] = min(chosen["batch_size"], given["n_steps"] * tracks.K)
    return _class(name)(
        "MlpPolicy", _vec(tracks, name == "MaskablePPO"), seed=seed, device="cpu",
        policy_kwargs={"net_arch": list(given["hidden"])}, **chosen,
    )  # fmt: skip


def _policy(about: Mapping[str, Any]) -> Any:
    """A fresh policy of the kind a checkpoint describes."""
    import torch
    from gymnasium import spaces

    name = about["algorithm"]
    views = spaces.Box(-np.inf, np.inf, (int(np.prod(about["shape"])),), np.float32)
    alias = _class(name).policy_aliases["MlpPolicy"]
    return alias(views, action_space(about["spec"]), lambda _: 1e-3, net_arch=list(about["hidden"])).to(torch.device("cpu"))  # fmt: skip


def _arrays(model: Any) -> dict[str, np.ndarray]:
    """Weights and the optimiser's moments, by name."""
    found = {"policy." + k: v.numpy() for k, v in model.policy.state_dict().items()}
    for number, state in model.policy.optimizer.state_dict()["state"].items():
        for key, value in state.items():
            found["optimizer.%d.%s" % (number, key)] = np.asarray(value)
    return found


def _restore(model: Any, arrays: Mapping[str, np.ndarray]) -> None:
    import torch

    model.policy.load_state_dict({k[7:]: torch.tensor(v) for k, v in arrays.items() if k.startswith("policy.")})
    states: dict[int, dict[str, Any]] = {}
    for name, value in arrays.items():
        if name.startswith("optimizer."):
            _, number, key = name.split(".", 2)
            states.setdefault(int(number), {})[key] = torch.tensor(value)
    whole = model.policy.optimizer.state_dict()
    whole["state"] = states
    model.policy.optimizer.load_state_dict(whole)


def _callback(job: Job, books: Books) -> Any:
    from stable_baselines3.common.callbacks import BaseCallback

    class Report(BaseCallback):
        """Metrics, checkpoints, and whether to go on."""

        told = 0

        def _on_step(self) -> bool:
            if self.num_timesteps - self.told >= 2048:
                self.told = self.num_timesteps
                losses = {k[6:]: float(v) for k, v in self.logger.name_to_value.items() if k.startswith("train/")}
                books.note(self.num_timesteps, **losses)
                if books.due(self.num_timesteps):
                    books.write(self.num_timesteps, _arrays(self.model))
                return not job.cancelled
            return True

    return Report()


def _vec(tracks: Tracks, masked: bool) -> Any:
    from gymnasium import spaces
    from stable_baselines3.common.vec_env import VecEnv

    class Vec(VecEnv):
        """Tracks as SB3's parallel environments."""

        def __init__(self) -> None:
            views = spaces.Box(-np.inf, np.inf, (int(np.prod(tracks.shape)),), np.float32)
            self.legal: Any = None
            self.replaced = 0
            self._chosen: Any = None
            super().__init__(tracks.K, views, action_space(tracks.spec))

        def reset(self) -> np.ndarray:
            step = tracks.reset()
            self.legal = step.legal
            return flat(step.obs)

        def step_async(self, actions: np.ndarray) -> None:
            # Learners that know no masks may choose what is illegal: the first legal action is played instead.
            self._chosen, replaced = legal_only(actions, self.legal)
            self.replaced += replaced

        def step_wait(self) -> Any:
            step = tracks.step(self._chosen)
            self.legal = step.legal
            infos: list[dict[str, Any]] = [{} for _ in range(tracks.K)]
            for track, last in step.final.items():
                infos[track]["terminal_observation"] = flat(last[None])[0]
                infos[track]["TimeLimit.truncated"] = bool(step.cut[track])
            return flat(step.obs), step.reward.astype(np.float32), step.ended, infos

        def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
            if method_name != "action_masks":
                raise AttributeError(method_name)
            whole = np.ones((tracks.K, len(tracks.spec["names"])), bool)
            return list(whole if self.legal is None else self.legal)

        def has_attr(self, attr_name: str) -> bool:
            return attr_name == "action_masks" and masked

        def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
            if attr_name == "render_mode":
                return [None] * tracks.K
            raise AttributeError(attr_name)

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
            raise AttributeError(attr_name)

        def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
            return [False] * tracks.K

        def close(self) -> None:
            tracks.close()

    return Vec()


if __name__ == "__main__":
    serve(Sb3())
