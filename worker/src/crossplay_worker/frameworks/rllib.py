"""Ray RLlib: PPO of the new API stack, in one process.

    crossplay train spread --worker rllib --python .venvs/rllib/bin/python --steps 300000

Seats share one module; their tracks are the parallel environments of one local env runner. RLlib's own checkpoints
hold pickled data and are neither written nor read: the module's weights and the optimiser's moments go into safetensors.
Masked actions are played as the first legal one, since the default module knows no masks.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..gym import action_space, vector
from ..train import Job
from ..weights import load
from ..worker import Refused
from ._common import Books, Forward, PolicyWorker, serve, settings

__all__ = ["Rllib"]

DEFAULTS: dict[str, Any] = {
    "rows": 16,  # episodes side by side
    "reward": "own",  # or mean: of the trained seats
    "hidden": [64, 64],
    "lr": 1e-3,
    "gamma": 0.95,
    "lambda_": 0.95,
    "length": 32,  # steps of each track between updates
    "minibatch_size": 512,
    "num_epochs": 4,
    "entropy_coeff": 0.01,
    "vf_clip_param": 100.0,
    "checkpoint_every": 100_000,  # decisions
}
_PPO = ("lr", "gamma", "lambda_", "minibatch_size", "num_epochs", "entropy_coeff", "vf_clip_param")


def _model(hidden: list[int]) -> Any:
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    return DefaultModelConfig(fcnet_hiddens=list(hidden), fcnet_activation="tanh", vf_share_layers=False)


class Rllib(PolicyWorker):
    """Trains with RLlib, plays what it trained."""

    framework = "rllib"
    packages = ("ray", "torch", "gymnasium", "numpy")

    def forward(self, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> Forward:
        """The module with the stored weights."""
        import torch
        from gymnasium import spaces
        from ray.rllib.algorithms.ppo.ppo_catalog import PPOCatalog
        from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
        from ray.rllib.core.rl_module.rl_module import RLModuleSpec

        torch.set_num_threads(1)
        module = RLModuleSpec(
            module_class=DefaultPPOTorchRLModule, catalog_class=PPOCatalog, model_config=_model(about["hidden"]),
            observation_space=spaces.Box(-np.inf, np.inf, (int(np.prod(about["shape"])),), np.float32),
            action_space=action_space(about["spec"]),
        ).build()  # fmt: skip
        module.load_state_dict({k[7:]: torch.tensor(v) for k, v in arrays.items() if k.startswith("module.")})

        def scores(views: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return module.forward_inference({"obs": torch.as_tensor(views)})["action_dist_inputs"].numpy()

        return scores

    def train(self, job: Job) -> Any:
        """Train to `job.steps` decisions; checkpoints on the way, `policy` at the end."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        given = settings(job.config, DEFAULTS, self.name)
        stored, before = load(job.resume, self.framework) if job.resume else ({}, {})
        step = int(before.get("step", 0))
        tracks = job.tracks(rows=given["rows"], reward=given["reward"], first=before.get("block", 0), restart="next")
        if tracks.spec["kind"] != "names":
            raise Refused("BAD_SPACE", "rllib: actions with names are trained here, not %s" % tracks.spec["kind"])
        ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
        try:
            algorithm = _algorithm(tracks, given, job.seed + step)
            learner = algorithm.learner_group._learner
            books = Books(job, tracks, self.framework, {"hidden": given["hidden"], "settings": given}, given["checkpoint_every"])  # fmt: skip
            if stored:
                _restore(algorithm, learner, stored)
                books.episodes = before["episodes"]
            books.begin(step)
            while step < job.steps:
                algorithm.train()
                step += given["length"] * tracks.K
                books.note(step)
                if books.due(step) or job.cancelled:
                    books.write(step, _arrays(learner))
                    job.stop_if_cancelled()
            return books.finish(step, _arrays(learner))
        finally:
            ray.shutdown()


def _algorithm(tracks: Any, given: Mapping[str, Any], seed: int) -> Any:
    import gymnasium
    from ray.rllib.algorithms.ppo import PPOConfig

    env = _Flat(vector(tracks, "replace"))
    # Through Gymnasium's own registry: Ray's would pickle the environment, and it holds a connection.
    gymnasium.register("Crossplay-v0", entry_point=lambda: env, vector_entry_point=lambda num_envs: env)
    config = (
        PPOConfig()
        .environment(
            "Crossplay-v0", observation_space=env.single_observation_space, action_space=env.single_action_space
        )
        .env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=tracks.K,
            gym_env_vectorize_mode=gymnasium.VectorizeMode.VECTOR_ENTRY_POINT,
        )
        .learners(num_learners=0, num_gpus_per_learner=0)
        .rl_module(model_config=_model(given["hidden"]))
        .training(train_batch_size_per_learner=given["length"] * tracks.K, grad_clip=0.5, **{k: given[k] for k in _PPO})
        .debugging(seed=seed % (1 << 31), log_level="ERROR")
    )
    return config.build_algo()


def _Flat(env: Any) -> Any:
    """Views as float32 [D], for the default network."""
    from gymnasium import spaces
    from gymnasium.vector import VectorWrapper
    from gymnasium.vector.utils import batch_space

    from ._common import flat

    class Flat(VectorWrapper):
        def __init__(self) -> None:
            super().__init__(env)
            self.single_observation_space = spaces.Box(
                -np.inf, np.inf, (int(np.prod(env.single_observation_space.shape)),), np.float32
            )
            self.observation_space = batch_space(self.single_observation_space, env.num_envs)

        def reset(self, **given: Any) -> Any:
            obs, info = self.env.reset(**given)
            return flat(obs), info

        def step(self, actions: Any) -> Any:
            obs, *rest = self.env.step(actions)
            return (flat(obs), *rest)

    return Flat()


def _module(learner: Any) -> Any:
    return learner.module["default_policy"].unwrapped()


def _arrays(learner: Any) -> dict[str, np.ndarray]:
    found = {"module." + k: v.detach().cpu().numpy() for k, v in _module(learner).state_dict().items()}
    for number, state in learner.get_optimizer("default_policy").state_dict()["state"].items():
        for key, value in state.items():
            found["adam.%d.%s" % (number, key)] = np.asarray(value)
    return found


def _restore(algorithm: Any, learner: Any, stored: Mapping[str, np.ndarray]) -> None:
    import torch

    _module(learner).load_state_dict({k[7:]: torch.tensor(v) for k, v in stored.items() if k.startswith("module.")})
    optimiser = learner.get_optimizer("default_policy")
    whole = optimiser.state_dict()
    for name, value in stored.items():
        if name.startswith("adam."):
            _, number, key = name.split(".", 2)
            whole["state"].setdefault(int(number), {})[key] = torch.tensor(value)
    optimiser.load_state_dict(whole)
    algorithm.env_runner.set_state({"rl_module": {"default_policy": _module(learner).get_state()}})


if __name__ == "__main__":
    serve(Rllib())
