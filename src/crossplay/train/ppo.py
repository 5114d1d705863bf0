"""Proximal policy optimisation on array environments: the whole algorithm, top to bottom.

One thread. Many seats share one network (or have one each); rows and seats are the batch.
The algorithm is that of Schulman et al. 2017 (arXiv:1707.06347) with generalised advantages
(Schulman et al. 2015, arXiv:1506.02438); the horizon of an episode counts as its end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import log_softmax

from crossplay.kernel import CrossplayError, key, key64
from crossplay.train import files
from crossplay.train.config import PPO, Progress, Result
from crossplay.train.nets import ActorCritic, arrays
from crossplay.train.rows import Rows
from crossplay.train.trials import view_digest

__all__ = ["advantages", "train"]

Curve = list[dict[str, float | None]]


class Batch(NamedTuple):
    """What T steps of K tracks gave; every tensor is [T, K, ...]."""

    views: Tensor
    legal: Tensor | None
    fresh: Tensor
    actions: Tensor
    logp: Tensor
    advantage: Tensor
    target: Tensor


def train(
    env: str,
    config: PPO | None = None,
    out: Path | str = "train",
    *,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Result:
    """Train a policy for an environment and write it, its curve and its state to the folder `out`.

    Files: policy.safetensors and policy.json (what `crossplay.agents.policy` plays; one pair per seat
    with independent networks), config.json, curve.csv, times.csv, progress.json, state.safetensors.
    resume: go on from the state in `out`, to the very same curve as an undisturbed run.
    progress: called after every update. Sets torch to one thread.
    """
    torch.set_num_threads(1)
    return Trainer(env, config or PPO.for_env(env), Path(out), resume).run(progress)


class Trainer:
    """One run: rows, learners (a network and its optimiser per group of seats), curve, clock."""

    def __init__(self, name: str, config: PPO, out: Path, resume: bool) -> None:
        self.name, self.config, self.out = name, config, out
        self.rows = Rows(name, config)
        self.views = view_digest(name, config.options)
        shared = config.sharing == "shared"
        groups = [range(self.rows.N)] if shared else [[i] for i in range(self.rows.N)]
        self.learners = [Learner(self.rows, config, list(seats), not shared) for seats in groups]
        self.update = 0
        self.curve: Curve = []
        self.times: list[dict[str, float]] = []
        if resume:
            self._resume()
        elif (out / "state.safetensors").exists():
            raise CrossplayError(f"train: {out} holds a run already; resume it, or give another folder")
        self._began = time.perf_counter(), time.process_time(), self.rows.env_s
        self._before = self.times[-1] if self.times else {"wall_s": 0.0, "cpu_s": 0.0, "env_s": 0.0}

    def run(self, progress: Callable[[Progress], None] | None) -> Result:
        """Update until the steps are used up or the goal is reached."""
        config = self.config
        while self.update < config.updates and not self._reached():
            self.update += 1
            # Chance has an address here as well, so that a resumed run needs no generator's state.
            chance = torch.Generator().manual_seed(key64(key("train", config.seed, "update", self.update)) >> 1)
            done = (self.update - 1) / config.updates
            shaping = config.shaping * max(0.0, 1.0 - done / config.shaping_until) if config.shaping_until else 0.0
            batches = self.rollout(chance, shaping)
            told = [b.learn(batch, chance, done) for b, batch in zip(self.learners, batches, strict=True)]
            self._book(shaping, {k: float(np.mean([t[k] for t in told])) for k in told[0]})
            if self.update % config.checkpoint_every == 0:
                self.save()
            if progress is not None:
                progress(self._progress())
        digests = self.save()
        return self._result(digests)

    def rollout(self, chance: torch.Generator, shaping: float) -> list[Batch]:
        """Play T steps in all rows; one batch per learner."""
        rows, T = self.rows, self.config.length
        seen: list[tuple[np.ndarray, np.ndarray | None, np.ndarray, np.ndarray]] = []
        paid, over = np.empty((T, rows.K), np.float32), np.empty((T, rows.K), bool)
        starts = [learner.critic_memo for learner in self.learners]
        first = [learner.actor_memo for learner in self.learners]
        for t in range(T):
            views, legal = rows.observe()
            fresh, choice = rows.fresh, np.empty(rows.K, np.int64)
            for learner in self.learners:
                learner.act(views, legal, fresh, choice, chance)
            paid[t], over[t] = rows.step(choice, shaping)
            seen.append((views, legal, fresh, choice))
        after = (rows.observe()[0], rows.fresh)
        stacked = [None if part[0] is None else np.stack(part) for part in zip(*seen, strict=True)]  # type: ignore[arg-type]
        return [
            learner.judge(stacked, paid, over, after, actor, critic)
            for learner, actor, critic in zip(self.learners, first, starts, strict=True)
        ]

    # -- books -------------------------------------------------------------------------------------------
    def _book(self, shaping: float, told: dict[str, float]) -> None:
        value, wins = self.rows.lately()
        steps = self.update * self.config.rows * self.config.length
        self.curve.append(
            {
                "update": self.update,
                "env_steps": steps,
                "episodes": self.rows.episodes - self.rows.B,
                "return": value,
                "wins": wins,
                "shaping": shaping,
                **told,
            }
        )
        wall, cpu, env = self._began
        now = {
            "wall_s": time.perf_counter() - wall,
            "cpu_s": time.process_time() - cpu,
            "env_s": self.rows.env_s - env,
        }
        self.times.append({"update": self.update, **{k: round(v + self._before[k], 3) for k, v in now.items()}})

    def _measure(self) -> str:
        return "wins" if (self.rows.against >= 0).any() else "return"

    def _value(self) -> float | None:
        return self.curve[-1][self._measure()] if self.curve else None

    def _reached(self) -> bool:
        value, goal = self._value(), self.config.stop_at
        full = len(self.rows.recent) == self.config.window
        return goal is not None and value is not None and full and value >= goal

    def _progress(self) -> Progress:
        config, clock, steps = self.config, self.times[-1], self.update * self.config.rows * self.config.length
        speed = steps / max(clock["wall_s"], 1e-9)
        total = config.updates * config.rows * config.length
        done = self.update == config.updates or self._reached()
        return Progress(
            env=self.rows.env.id,
            seed=config.seed,
            update=self.update,
            updates=config.updates,
            env_steps=steps,
            total_steps=total,
            episodes=self.rows.episodes - self.rows.B,
            measure=self._measure(),
            value=self._value(),
            steps_per_s=speed,
            seconds=clock["wall_s"],
            seconds_left=0.0 if done else (total - steps) / speed,
            done=done,
        )

    def _result(self, digests: dict[str, str]) -> Result:
        clock = self.times[-1]
        return Result(
            out=self.out,
            env=self.rows.env.id,
            seed=self.config.seed,
            updates=self.update,
            env_steps=self.update * self.config.rows * self.config.length,
            episodes=self.rows.episodes - self.rows.B,
            measure=self._measure(),
            value=self._value(),
            curve=self.curve,
            wall_s=clock["wall_s"],
            cpu_s=clock["cpu_s"],
            env_share=clock["env_s"] / max(clock["cpu_s"], 1e-9),
            digests=digests,
        )

    # -- files -------------------------------------------------------------------------------------------
    def save(self) -> dict[str, str]:
        """Write everything; the state last, so that it never runs ahead of the rest."""
        about = {"env": self.name, "id": self.rows.env.id, "config": self.config.table()}
        files.put_json(self.out / "config.json", about)
        files.put(self.out / "curve.csv", files.csv_text(self.curve))
        files.put(self.out / "times.csv", files.csv_text(self.times))
        digests = {}
        for learner in self.learners:
            name = f"policy.{learner.seat}" if learner.seat else "policy"
            digests[name] = files.put_arrays(self.out / f"{name}.safetensors", arrays(learner.net.actor))
            files.put_json(self.out / f"{name}.json", self._about_policy(learner, digests[name]))
        if self.times:
            files.put_json(self.out / "progress.json", vars(self._progress()))
        state = {f"rows.{k}": v for k, v in self.rows.state().items()}
        for i, learner in enumerate(self.learners):
            state |= {f"{i}.{k}": v for k, v in learner.state().items()}
        files.put_arrays(self.out / "state.safetensors", state, {**about, "update": self.update})
        return digests

    def _about_policy(self, learner: Learner, digest: str) -> dict[str, Any]:
        """What `crossplay.agents.policy` needs to know, and where the policy comes from."""
        env, config = self.rows.env, self.config
        network = {"activation": config.activation, "recurrent": config.recurrent, "squash": config.squash}
        return {
            "format": 1,
            "env": env.name,
            "version": env.version,
            "options": dict(env.options),
            "seats": [env.seats[i] for i in learner.seats],
            "shape": list(env.array_shape(env.seats[learner.seats[0]]) or ()),
            "actions": list(env.action_spec.names),
            "network": {"hidden": list(config.hidden), **network},
            "sample": config.sample,
            "algorithm": "ppo",
            "seed": config.seed,
            "env_steps": self.update * config.rows * config.length,
            "measure": self._measure(),
            "value": self._value(),
            "config": config.table(),
            "views": self.views,
            "sha256": digest,
        }

    def _resume(self) -> None:
        path = self.out / "state.safetensors"
        if not path.exists():
            raise CrossplayError(f"train: {self.out} holds no run to resume (no state.safetensors)")
        state, note = files.read_arrays(path)
        mine = {"env": self.name, "id": self.rows.env.id, **self.config.table()}
        theirs = {"env": note["env"], "id": note["id"], **note["config"]}
        for name in mine:
            if mine[name] != theirs.get(name):
                raise CrossplayError(
                    f"train: {self.out} was run with {name} = {theirs.get(name)!r}, not {mine[name]!r}"
                )
        self.update = note["update"]
        self.rows.restore({k.removeprefix("rows."): v for k, v in state.items() if k.startswith("rows.")})
        for i, learner in enumerate(self.learners):
            learner.restore({k.removeprefix(f"{i}."): v for k, v in state.items() if k.startswith(f"{i}.")})
        self.curve = files.read_rows(self.out / "curve.csv")[: self.update]
        self.times = files.read_rows(self.out / "times.csv")[: self.update]


class Learner:
    """A network, its optimiser, and the memories of the tracks it plays."""

    def __init__(self, rows: Rows, config: PPO, seats: list[int], named: bool) -> None:
        self.config, self.seats = config, seats
        self.seat = rows.seats[seats[0]] if named else ""
        self.tracks = np.flatnonzero(np.isin(rows.seat_of, seats))
        inputs = int(np.prod(rows.env.array_shape(rows.seats[seats[0]])))
        chance = torch.Generator().manual_seed(key64(key("train", config.seed, "weights", self.seat)) >> 1)
        self.net = ActorCritic(inputs, rows.actions, config, chance)
        self.optimiser = torch.optim.Adam(self.net.parameters(), lr=config.learning_rate, eps=1e-5, fused=True)
        self.actor_memo = torch.zeros(len(self.tracks), self.net.actor.memory)
        self.critic_memo = torch.zeros(len(self.tracks), self.net.critic.memory)

    @torch.no_grad()
    def act(
        self,
        views: np.ndarray,
        legal: np.ndarray | None,
        fresh: np.ndarray,
        choice: np.ndarray,
        chance: torch.Generator,
    ) -> None:
        """Sample actions for this learner's tracks into `choice` int[K]."""
        mine = self.tracks
        x, new = torch.from_numpy(views[mine]), torch.from_numpy(fresh[mine])
        logits, self.actor_memo = self.net.actor(x[None], self.actor_memo, new[None])
        logits = _masked(logits[0], None if legal is None else torch.from_numpy(legal[mine]))
        # Adding exponential noise to log-probabilities and taking the largest is sampling from them.
        noise = torch.empty_like(logits).exponential_(generator=chance)
        choice[mine] = (logits - noise.log()).argmax(-1).numpy()

    @torch.no_grad()
    def judge(
        self,
        seen: list[Any],
        paid: np.ndarray,
        over: np.ndarray,
        after: tuple[np.ndarray, np.ndarray],
        actor_memo: Tensor,
        critic_memo: Tensor,
    ) -> Batch:
        """The batch of this learner: what was tried, how likely it was, how much better than expected."""
        mine, config = self.tracks, self.config
        views, legal, fresh, actions = (None if a is None else torch.from_numpy(a[:, mine]) for a in seen)
        assert views is not None and fresh is not None and actions is not None
        values, self.critic_memo = self.net.values(views, critic_memo, fresh)
        last, _ = self.net.values(
            torch.from_numpy(after[0][mine])[None], self.critic_memo, torch.from_numpy(after[1][mine])[None]
        )
        logits, _ = self.net.actor(views, actor_memo, fresh)
        logp = log_softmax(_masked(logits, legal), -1).gather(-1, actions[..., None])[..., 0]
        gain = torch.from_numpy(
            advantages(paid[:, mine], values.numpy(), last[0].numpy(), over[:, mine], config.gamma, config.gae_lambda)
        )
        self._memos = actor_memo, critic_memo
        return Batch(views, legal, fresh, actions, logp, gain, gain + values)

    def learn(self, batch: Batch, chance: torch.Generator, done: float) -> dict[str, float]:
        """Epochs of clipped gradient steps; done: share of the run behind us. Returns means for the curve."""
        config = self.config
        last = config.entropy if config.entropy_end is None else config.entropy_end
        entropy_weight = config.entropy + (last - config.entropy) * done
        for group in self.optimiser.param_groups:
            group["lr"] = config.learning_rate * (1 - done if config.anneal else 1)
        if not config.recurrent:  # without memory, every step of every track is a sample of its own
            batch = Batch(*(None if a is None else a.flatten(0, 1)[None] for a in batch))
        size = batch.actions.shape[1]
        told: list[Tensor] = []
        for _ in range(config.epochs):
            order = torch.randperm(size, generator=chance)
            told += [self._descend(batch, part, entropy_weight) for part in order.chunk(config.minibatches)]
        policy, value, entropy, kl, clipped = torch.stack(told).mean(0).tolist()
        return {"policy_loss": policy, "value_loss": value, "entropy": entropy, "kl": kl, "clipped": clipped}

    def _descend(self, batch: Batch, part: Tensor, entropy_weight: float) -> Tensor:
        """One gradient step on some of the samples (with memory: of the tracks)."""
        config = self.config
        b = Batch(*(None if a is None else a[:, part] for a in batch))
        memos = [m[part] for m in self._memos] if config.recurrent else self._memos
        logits, _ = self.net.actor(b.views, memos[0], b.fresh)
        every = log_softmax(_masked(logits, b.legal), -1)
        entropy = -(every.exp() * every).sum(-1).mean()
        change = every.gather(-1, b.actions[..., None])[..., 0] - b.logp
        ratio = change.exp()
        gain = (b.advantage - b.advantage.mean()) / (b.advantage.std() + 1e-8)
        policy = -torch.min(gain * ratio, gain * ratio.clamp(1 - config.clip, 1 + config.clip)).mean()
        values, _ = self.net.values(b.views, memos[1], b.fresh)
        value = (values - b.target).square().mean()
        loss = policy + config.value_weight * value - entropy_weight * entropy
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), config.max_grad_norm)
        self.optimiser.step()
        with torch.no_grad():
            kl = (ratio - 1 - change).mean()
            clipped = ((ratio - 1).abs() > config.clip).float().mean()
            return torch.stack([policy, value, entropy, kl, clipped])

    def state(self) -> dict[str, np.ndarray]:
        """Weights, the optimiser's moments, memories."""
        state = {f"net.{k}": v for k, v in arrays(self.net).items()}
        for i, moments in self.optimiser.state_dict()["state"].items():
            state |= {f"adam.{i}.{k}": v.numpy() for k, v in moments.items()}
        return {**state, "actor_memo": self.actor_memo.numpy(), "critic_memo": self.critic_memo.numpy()}

    def restore(self, state: dict[str, np.ndarray]) -> None:
        """Return to a state."""
        tensors = {k: torch.from_numpy(v.copy()) for k, v in state.items()}
        self.net.load_state_dict({k.removeprefix("net."): v for k, v in tensors.items() if k.startswith("net.")})
        whole = self.optimiser.state_dict()
        moments: dict[int, dict[str, Tensor]] = {}
        for name, tensor in tensors.items():
            if name.startswith("adam."):
                _, i, what = name.split(".")
                moments.setdefault(int(i), {})[what] = tensor
        self.optimiser.load_state_dict({**whole, "state": moments})
        self.actor_memo, self.critic_memo = tensors["actor_memo"], tensors["critic_memo"]


def _masked(logits: Tensor, legal: Tensor | None) -> Tensor:
    """Actions that are not legal get no probability."""
    return logits if legal is None else logits.masked_fill(~legal, -1e9)


def advantages(
    paid: np.ndarray, values: np.ndarray, last: np.ndarray, over: np.ndarray, gamma: float, lam: float
) -> np.ndarray:
    """Generalised advantages float32[T, K] (Schulman et al. 2015, equation 16).

    paid [T, K]: rewards; values [T, K]: the critic before each step; last [K]: after the last one;
    over bool[T, K]: the step ended the episode, so that nothing follows.
    """
    gain = np.zeros_like(last)
    out = np.empty_like(values)
    for t in range(len(paid) - 1, -1, -1):
        goes_on = (~over[t]).astype(values.dtype)
        surprise = paid[t] + gamma * goes_on * last - values[t]
        gain = surprise + gamma * lam * goes_on * gain
        out[t], last = gain, values[t]
    return out
