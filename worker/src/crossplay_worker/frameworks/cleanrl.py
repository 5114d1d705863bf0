"""PPO in one file, top to bottom, in the manner of CleanRL: torch and nothing else.

    crossplay train spread --worker cleanrl --steps 300000

Schulman et al. 2017 (arXiv:1707.06347) with generalised advantages (arXiv:1506.02438). Seats share one network. Where
an episode was cut by its horizon, what would have come is added as the critic sees it. Masked actions get no probability.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..train import Job
from ..weights import load
from ..worker import Refused
from ._common import Books, Forward, PolicyWorker, flat, serve, settings

__all__ = ["CleanRL"]

DEFAULTS: dict[str, Any] = {
    "rows": 16,  # episodes side by side
    "reward": "own",  # or mean: of the trained seats
    "hidden": [64, 64],
    "learning_rate": 1e-3,  # falls linearly to 0
    "gamma": 0.95,
    "gae_lambda": 0.95,
    "length": 32,  # steps of each track between updates
    "epochs": 4,
    "minibatches": 4,
    "clip": 0.2,
    "entropy": 0.01,
    "value": 0.5,  # weight of the value loss
    "max_norm": 0.5,  # of the gradient
    "checkpoint_every": 100_000,  # decisions
    "threads": 1,
}


def network(size: int, hidden: list[int], actions: int) -> Any:
    """Actor and critic, two perceptrons with tanh; orthogonal weights, a small last layer of the actor."""
    from torch import nn

    def layer(before: int, after: int, gain: float) -> Any:
        made = nn.Linear(before, after)
        nn.init.orthogonal_(made.weight, gain)
        nn.init.zeros_(made.bias)
        return made

    def stack(out: int, gain: float) -> Any:
        layers: list[Any] = []
        sizes = [size, *hidden]
        for before, after in zip(sizes, sizes[1:]):
            layers += [layer(before, after, float(np.sqrt(2))), nn.Tanh()]
        return nn.Sequential(*layers, layer(sizes[-1], out, gain))

    return nn.ModuleDict({"actor": stack(actions, 0.01), "critic": stack(1, 1.0)})


class CleanRL(PolicyWorker):
    """Trains with the PPO below, plays what it trained."""

    framework = "cleanrl"
    packages = ("torch", "numpy")

    def forward(self, arrays: Mapping[str, np.ndarray], about: Mapping[str, Any]) -> Forward:
        """The actor with the stored weights."""
        import torch

        torch.set_num_threads(1)
        net = network(int(np.prod(about["shape"])), list(about["hidden"]), len(about["spec"]["names"]))
        net.load_state_dict({k[4:]: torch.tensor(v) for k, v in arrays.items() if k.startswith("net.")})

        def scores(views: np.ndarray) -> np.ndarray:
            with torch.no_grad():
                return net["actor"](torch.as_tensor(views)).numpy()

        return scores

    def train(self, job: Job) -> Any:
        """Train to `job.steps` decisions; checkpoints on the way, `policy` at the end."""
        import torch
        from torch.distributions import Categorical

        # -- what there is -------------------------------------------------------------------------------
        given = settings(job.config, DEFAULTS, self.name)
        torch.set_num_threads(given["threads"])
        stored, before = load(job.resume, self.framework) if job.resume else ({}, {})
        step = int(before.get("step", 0))
        torch.manual_seed(job.seed + step)
        tracks = job.tracks(rows=given["rows"], reward=given["reward"], first=before.get("block", 0))
        if tracks.spec["kind"] != "names":
            raise Refused("BAD_SPACE", "cleanrl: actions with names are trained here, not %s" % tracks.spec["kind"])
        T, K, actions = given["length"], tracks.K, len(tracks.spec["names"])
        net = network(int(np.prod(tracks.shape)), given["hidden"], actions)
        optimiser = torch.optim.Adam(net.parameters(), lr=given["learning_rate"], eps=1e-5)
        books = Books(job, tracks, self.framework, {"hidden": given["hidden"], "settings": given}, given["checkpoint_every"])  # fmt: skip
        if stored:
            net.load_state_dict({k[4:]: torch.tensor(v) for k, v in stored.items() if k.startswith("net.")})
            _load_moments(optimiser, stored)
            books.episodes = before["episodes"]
        books.begin(step)

        def policy(obs: Any, legal: Any) -> Any:
            logits = net["actor"](obs)
            return Categorical(logits=logits if legal is None else logits.masked_fill(~legal, -1e9))

        seen = tracks.reset()
        while step < job.steps:
            # -- play T steps ----------------------------------------------------------------------------
            obs, masks, acts, logps, rewards, ends = [], [], [], [], [], []
            with torch.no_grad():
                for _ in range(T):
                    view = torch.as_tensor(flat(seen.obs))
                    legal = None if seen.legal is None else torch.as_tensor(seen.legal)
                    odds = policy(view, legal)
                    action = odds.sample()
                    obs.append(view)
                    masks.append(legal)
                    acts.append(action)
                    logps.append(odds.log_prob(action))
                    seen = tracks.step(action.numpy())
                    reward = torch.as_tensor(seen.reward, dtype=torch.float32)
                    cut = np.flatnonzero(seen.cut).tolist()
                    if cut:
                        last = torch.as_tensor(flat(np.stack([seen.final[k] for k in cut])))
                        reward[cut] += given["gamma"] * net["critic"](last).squeeze(-1)
                    rewards.append(reward)
                    ends.append(torch.as_tensor(seen.ended, dtype=torch.float32))
                step += T * K
                # -- advantages --------------------------------------------------------------------------
                values = net["critic"](torch.stack([*obs, torch.as_tensor(flat(seen.obs))])).squeeze(-1)
                advantage, running = torch.zeros(T, K), torch.zeros(K)
                for t in reversed(range(T)):
                    goes_on = 1 - ends[t]
                    delta = rewards[t] + given["gamma"] * values[t + 1] * goes_on - values[t]
                    running = delta + given["gamma"] * given["gae_lambda"] * goes_on * running
                    advantage[t] = running
                target = (advantage + values[:-1]).reshape(-1)
            # -- learn -----------------------------------------------------------------------------------
            optimiser.param_groups[0]["lr"] = given["learning_rate"] * max(0.0, 1 - (step - T * K) / job.steps)
            flat_obs, flat_acts, flat_logps = torch.cat(obs), torch.cat(acts), torch.cat(logps)
            flat_mask = None if masks[0] is None else torch.cat(masks)
            flat_adv = advantage.reshape(-1)
            for _ in range(given["epochs"]):
                for part in torch.randperm(T * K).chunk(given["minibatches"]):
                    odds = policy(flat_obs[part], None if flat_mask is None else flat_mask[part])
                    ratio = (odds.log_prob(flat_acts[part]) - flat_logps[part]).exp()
                    adv = flat_adv[part]
                    adv = (adv - adv.mean()) / (adv.std() + 1e-8)
                    gain = torch.min(ratio * adv, ratio.clamp(1 - given["clip"], 1 + given["clip"]) * adv).mean()
                    off = (net["critic"](flat_obs[part]).squeeze(-1) - target[part]).pow(2).mean()
                    entropy = odds.entropy().mean()
                    loss = -gain + given["value"] * off - given["entropy"] * entropy
                    optimiser.zero_grad()
                    loss.backward()
                    torch.nn.utils.clip_grad_norm_(net.parameters(), given["max_norm"])
                    optimiser.step()
            books.note(step, value_loss=float(off), entropy=float(entropy), ratio=float(ratio.mean()))
            if books.due(step) or job.cancelled:
                books.write(step, _arrays(net, optimiser))
                job.stop_if_cancelled()
        return books.finish(step, _arrays(net, optimiser))


def _arrays(net: Any, optimiser: Any) -> dict[str, np.ndarray]:
    found = {"net." + k: v.numpy() for k, v in net.state_dict().items()}
    for number, state in optimiser.state_dict()["state"].items():
        for key, value in state.items():
            found["adam.%d.%s" % (number, key)] = np.asarray(value)
    return found


def _load_moments(optimiser: Any, stored: Mapping[str, np.ndarray]) -> None:
    import torch

    whole = optimiser.state_dict()
    for name, value in stored.items():
        if name.startswith("adam."):
            _, number, key = name.split(".", 2)
            whole["state"].setdefault(int(number), {})[key] = torch.tensor(value)
    optimiser.load_state_dict(whole)


if __name__ == "__main__":
    serve(CleanRL())
