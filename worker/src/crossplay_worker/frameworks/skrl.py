"""skrl: its PPO agent, with models of its own kind.

    crossplay train spread --worker skrl --python .venvs/skrl/bin/python --steps 300000

Seats share one policy. skrl's own checkpoints are pickled and neither written nor read: weights and the optimiser's
moments go into safetensors. Masked actions are played as the first legal one, since skrl's models know no masks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..gym import action_space, legal_only
from ..train import Job
from ..weights import load
from ..worker import Refused
from ._common import Books, Forward, PolicyWorker, flat, serve, settings

__all__ = ["Skrl"]

DEFAULTS: dict[str, Any] = {
    "rows": 16,  # episodes side by side
    "reward": "own",  # or mean: of the trained seats
    "hidden": [64, 64],
    "learning_rate": 1e-3,
    "discount_factor": 0.95,
    "gae_lambda": 0.95,
    "rollouts": 32,  # steps of each track between updates
    "learning_epochs": 4,
    "mini_batches": 4,
    "entropy_loss_scale": 0.01,
    "value_clip": 0.0,
    "value_loss_scale": 0.5,
    "checkpoint_every": 100_000,  # decisions
    "threads": 1,
}
_PPO = ("learning_rate", "discount_factor", "gae_lambda", "rollouts", "learning_epochs", "mini_batches", "entropy_loss_scale", "value_clip", "value_loss_scale")  # fmt: skip


def _stack(size: int, hidden: list[int], out: int) -> Any:
    from torch import nn

    layers: list[Any] = []
    sizes = [size, *hidden]
    for before, after in zip(sizes, sizes[1:]):
        layers += [nn.Linear(before, after), nn.Tanh()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], out))


class Skrl(PolicyWorker):
    """Trains with skrl, plays what it trained."""

    framework = "skrl"
    packages = ("skrl", "torch", "gymnasium", "numpy")

    def forward(self, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> Forward:
        """The policy's network with the stored weights."""
        import torch

        torch.set_num_threads(1)
        net = _stack(int(np.prod(about["shape"])), list(about["hidden"]), len(about["spec"]["names"]))
        net.load_state_dict({k[11:]: torch.tensor(v) for k, v in arrays.items() if k.startswith("policy.net.")})

        def scores(views: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return net(torch.as_tensor(views)).numpy()

        return scores

    def train(self, job: Job) -> Any:
        """Train to `job.steps` decisions; checkpoints on the way, `policy` at the end."""
        import torch

        given = settings(job.config, DEFAULTS, self.name)
        torch.set_num_threads(given["threads"])
        stored, before = load(job.resume, self.framework) if job.resume else ({}, {})
        step = int(before.get("step", 0))
        torch.manual_seed(job.seed + step)
        tracks = job.tracks(rows=given["rows"], reward=given["reward"], first=before.get("block", 0))
        if tracks.spec["kind"] != "names":
            raise Refused("BAD_SPACE", "skrl: actions with names are trained here, not %s" % tracks.spec["kind"])
        agent = _agent(job, tracks, given)
        books = Books(job, tracks, self.framework, {"hidden": given["hidden"], "settings": given}, given["checkpoint_every"])  # fmt: skip
        if stored:
            _restore(agent, stored)
            books.episodes = before["episodes"]
        books.begin(step)
        seen, tick, ticks = tracks.reset(), 0, -(-(job.steps - step) // tracks.K)
        replaced = 0
        while step < job.steps:
            agent.pre_interaction(timestep=tick, timesteps=ticks)
            view = torch.as_tensor(flat(seen.obs))
            with torch.no_grad():
                actions = agent.act(view, None, timestep=tick, timesteps=ticks)[0]
            chosen, some = legal_only(actions.squeeze(-1).numpy(), seen.legal)
            replaced += some
            seen = tracks.step(chosen)
            after = flat(seen.obs).copy()
            for track, last in seen.final.items():
                after[track] = flat(last[None])[0]
            with torch.no_grad():
                agent.record_transition(
                    observations=view, states=None, actions=torch.as_tensor(chosen).unsqueeze(-1),
                    rewards=torch.as_tensor(seen.reward, dtype=torch.float32).unsqueeze(-1),
                    next_observations=torch.as_tensor(after), next_states=None,
                    terminated=torch.as_tensor(seen.ended & ~seen.cut).unsqueeze(-1),
                    truncated=torch.as_tensor(seen.cut).unsqueeze(-1), infos={}, timestep=tick, timesteps=ticks,
                )  # fmt: skip
            agent.post_interaction(timestep=tick, timesteps=ticks)
            tick += 1
            step += tracks.K
            if tick % given["rollouts"] == 0:
                books.note(step, **({"replaced": replaced} if replaced else {}))
                if books.due(step) or job.cancelled:
                    books.write(step, _arrays(agent))
                    job.stop_if_cancelled()
        return books.finish(step, _arrays(agent))


def _agent(job: Job, tracks: Any, given: Mapping[str, Any]) -> Any:
    import torch
    from gymnasium import spaces
    from skrl.agents.torch.ppo import PPO, PPO_CFG
    from skrl.memories.torch import RandomMemory
    from skrl.models.torch import CategoricalMixin, DeterministicMixin, Model

    size = int(np.prod(tracks.shape))
    views, actions = spaces.Box(-np.inf, np.inf, (size,), np.float32), action_space(tracks.spec)
    cpu = torch.device("cpu")

    class Policy(CategoricalMixin, Model):
        """Logits of the actions."""

        def __init__(self) -> None:
            Model.__init__(self, observation_space=views, action_space=actions, device=cpu)
            CategoricalMixin.__init__(self)
            self.net = _stack(size, list(given["hidden"]), int(actions.n))

        def compute(self, inputs: Any, role: str = "") -> Any:
            return self.net(inputs["observations"]), {}

    class Value(DeterministicMixin, Model):
        """What is still to be earned."""

        def __init__(self) -> None:
            Model.__init__(self, observation_space=views, action_space=actions, device=cpu)
            DeterministicMixin.__init__(self)
            self.net = _stack(size, list(given["hidden"]), 1)

        def compute(self, inputs: Any, role: str = "") -> Any:
            return self.net(inputs["observations"]), {}

    config = PPO_CFG(time_limit_bootstrap=True, **{k: given[k] for k in _PPO})
    config.experiment.directory, config.experiment.experiment_name = str(job.folder), "skrl"
    config.experiment.write_interval = config.experiment.checkpoint_interval = 0
    agent = PPO(
        models={"policy": Policy(), "value": Value()}, observation_space=views, action_space=actions, device=cpu,
        memory=RandomMemory(memory_size=given["rollouts"], num_envs=tracks.K, device=cpu), cfg=config,
    )  # fmt: skip
    agent.init()
    agent.enable_training_mode(True)
    return agent


def _arrays(agent: Any) -> dict[str, np.ndarray]:
    found = {"policy." + k: v.numpy() for k, v in agent.policy.state_dict().items()}
    found.update({"value." + k: v.numpy() for k, v in agent.value.state_dict().items()})
    for number, state in agent.optimizer.state_dict()["state"].items():
        for key, value in state.items():
            found["adam.%d.%s" % (number, key)] = np.asarray(value)
    return found


def _restore(agent: Any, stored: Mapping[str, np.ndarray]) -> None:
    import torch

    for part in ("policy", "value"):
        own = {k[len(part) + 1 :]: torch.tensor(v) for k, v in stored.items() if k.startswith(part + ".")}
        getattr(agent, part).load_state_dict(own)
    whole = agent.optimizer.state_dict()
    for name, value in stored.items():
        if name.startswith("adam."):
            _, number, key = name.split(".", 2)
            whole["state"].setdefault(int(number), {})[key] = torch.tensor(value)
    agent.optimizer.load_state_dict(whole)


if __name__ == "__main__":
    serve(Skrl())
