"""What a training run is told (`PPO`), and what it tells (`Progress`, `Result`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from crossplay.kernel import CrossplayError, nearest, split_name

__all__ = ["PPO", "Progress", "Result", "teams_of"]


def teams_of(seats: Sequence[str]) -> list[str]:
    """The team of each seat: its name without the number ("left0" -> "left", "agent_2" -> "agent")."""
    return [s.rstrip("0123456789").rstrip("_") for s in seats]


@dataclass(frozen=True, kw_only=True)
class PPO:
    """Every setting of a training run. The same settings give the same curve, bit by bit."""

    total_steps: int = 1_000_000
    """Steps of the environment in all rows together (a step of N seats counts once)."""
    seed: int = 1
    """Addresses all chance of the run: weights, worlds, actions, order of minibatches."""
    rows: int = 64
    """Copies of the environment that are stepped together."""
    length: int = 128
    """Steps of every row between two updates."""
    epochs: int = 4
    """How often an update goes over its samples."""
    minibatches: int = 4
    """Gradient steps per epoch."""
    learning_rate: float = 1e-3
    """Step size of Adam at the start."""
    anneal: bool = True
    """Let the step size fall to zero in a straight line."""
    gamma: float = 0.99
    """Discount per tick."""
    gae_lambda: float = 0.95
    """Weight of longer returns in the advantage; 0: one step, 1: the whole return."""
    clip: float = 0.2
    """How far the probability of an action may move from where it was when it was sampled."""
    entropy: float = 0.01
    """Reward for undecided policies at the start."""
    entropy_end: float | None = None
    """The same at the end; it moves in a straight line (default: it stays)."""
    value_weight: float = 0.5
    """Weight of the critic's squared error in the loss."""
    max_grad_norm: float = 0.5
    """Longer gradients are cut to this length."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the hidden layers, of actor and critic alike."""
    activation: Literal["tanh", "relu"] = "relu"
    """Nonlinearity after each hidden layer."""
    recurrent: bool = False
    """Put a gated recurrent unit after the last hidden layer, so that the policy remembers."""
    squash: bool = False
    """Feed sign(x) log(1 + |x|) instead of x, for views that hold counts and clocks."""
    sharing: Literal["shared", "independent"] = "shared"
    """One network for all seats, or one for each seat."""
    reward_scale: float = 1.0
    """Rewards are multiplied by this before learning."""
    shaping: float = 1.0
    """Weight of the environment's shaped reward at the start, where it has one."""
    shaping_until: float = 1.0
    """Share of the run after which the shaped reward counts nothing; it falls in a straight line."""
    team_reward: float = 0.0
    """0: each seat learns from its own reward; 1: from the mean of its team; between: a mixture."""
    random_rows: float = 0.0
    """Share of rows in which one team plays at random (sides take turns); the rest is self-play."""
    stop_at: float | None = None
    """End as soon as the mean return (with random_rows: the share of wins) of the window reaches this."""
    window: int = 200
    """Episodes over which curves are averaged."""
    checkpoint_every: int = 25
    """Updates between two checkpoints."""
    sample: bool = True
    """How the trained policy plays by default: draw from its probabilities, or take the likeliest."""
    options: dict[str, Any] = field(default_factory=dict)
    """Options of the environment."""

    def __post_init__(self) -> None:
        at_least_one = ("total_steps", "rows", "length", "epochs", "minibatches", "window", "checkpoint_every")
        for name in at_least_one:
            if getattr(self, name) < 1:
                raise CrossplayError(f"train: {name} = {getattr(self, name)} must be at least 1")
        for name in ("gamma", "gae_lambda", "team_reward", "random_rows", "shaping_until"):
            if not 0 <= getattr(self, name) <= 1:
                raise CrossplayError(f"train: {name} = {getattr(self, name)} must lie in 0..1")
        if not self.hidden or min(self.hidden) < 1:
            raise CrossplayError(f"train: hidden = {self.hidden} must name at least one width")
        for name, known in (("activation", ("tanh", "relu")), ("sharing", ("shared", "independent"))):
            if getattr(self, name) not in known:
                raise CrossplayError(f'train: {name} = "{getattr(self, name)}".{nearest(getattr(self, name), known)}')

    @property
    def updates(self) -> int:
        """Updates of the whole run."""
        return -(-self.total_steps // (self.rows * self.length))

    @classmethod
    def for_env(cls, name: str, **changes: Any) -> PPO:
        """The settings that are known to work for a family, with some of them changed."""
        return replace(cls(**_FAMILIES.get(split_name(name)[0], {})), **changes)

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> PPO:
        """From a table (a configuration file, the command line); errors name the nearest valid key."""
        known = [f.name for f in fields(cls)]
        for name in table:
            if name not in known:
                raise CrossplayError(f'train: unknown setting "{name}".{nearest(name, known)}')
        given = dict(table)
        if "hidden" in given:
            given["hidden"] = tuple(given["hidden"])
        return cls(**given)

    def table(self) -> dict[str, Any]:
        """Plain data, for files; `of` reads it back."""
        return {**asdict(self), "hidden": list(self.hidden)}


_FAMILIES: dict[str, dict[str, Any]] = {
    "spread": {
        "total_steps": 300_000,
        "rows": 128,
        "length": 25,
        "gamma": 0.95,
        "learning_rate": 2e-3,
        "reward_scale": 0.2,
        "entropy": 0.003,
    },
    "kitchen": {
        "total_steps": 1_000_000,
        "rows": 64,
        "length": 100,
        "squash": True,
        "reward_scale": 0.1,
        "shaping_until": 0.6,
    },
    "pitch": {"total_steps": 2_000_000, "reward_scale": 0.2, "random_rows": 0.5},
}
"""Settings by environment family, on top of the defaults."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands, given to the callback after every update."""

    env: str
    seed: int
    update: int
    updates: int
    env_steps: int
    total_steps: int
    episodes: int
    measure: str
    """What `value` is: "return", or "wins" where there are random rows."""
    value: float | None
    """Mean return of the window, or the share of wins against random; None before an episode ended."""
    steps_per_s: float
    seconds: float
    seconds_left: float
    done: bool = False


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run left behind."""

    out: Path
    env: str
    seed: int
    updates: int
    env_steps: int
    episodes: int
    measure: str
    """What `value` is: "return" or "wins"."""
    value: float | None
    """The last point of the curve; see `Progress.value`."""
    curve: list[dict[str, float | None]]
    """The rows of curve.csv."""
    wall_s: float
    cpu_s: float
    env_share: float
    """Share of the CPU time that the environment took (steps, views and resets)."""
    digests: dict[str, str]
    """sha256 of the policy files, by name."""
