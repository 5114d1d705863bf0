"""`policy`: a trained network plays, with numpy alone.

Matrix products run in one fixed shape of 64 rows, whatever the batch: a row's answer then has the
same bits alone, among 7 and among 512, in any order (a product's float bits depend on its shape).
Sampled actions are drawn at the address (seat key, tick), so they do not depend on the batch either.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crossplay.agents.context import Context, options, plain, quick
from crossplay.kernel import Action, Agent, CrossplayError, Observation, key64, nearest, uniform

__all__ = ["SHIPPED", "PolicyAgent", "flat", "policy", "shipped"]

SHIPPED = Path(__file__).parent / "checkpoints"
"""Where the policies lie that come with the package."""
WIDTH = 64
"""Rows of every matrix product."""


def flat(views: np.ndarray, squash: bool) -> np.ndarray:
    """Views [k, ...] as float32[k, D], with squash as sign(x) log(1 + |x|): what networks are fed."""
    x = np.ascontiguousarray(views.reshape(len(views), -1), np.float32)
    return np.copysign(np.log1p(np.abs(x)), x) if squash else x


class PolicyAgent(Agent):
    """A feed-forward or recurrent actor over the array view.

    The likeliest action, or with `sample` one drawn from the probabilities; actions that are not
    legal have none. What a recurrent actor remembers is its memo: float32[m], zeros at the start.
    """

    kind = "policy"
    views = ("array",)
    needs = ("names",)

    def __init__(self, path: Path, sample: bool | None = None, name: str = "policy") -> None:
        """path: the .safetensors file; its .json lies beside it. sample: None is as it was trained to play."""
        self.about = about = _about(path)
        content = path.read_bytes()
        self.digest = hashlib.sha256(content).hexdigest()
        if self.digest != about["sha256"]:
            raise CrossplayError(f"policy {path.name}: the weights are not those that {path.stem}.json describes")
        self.name, self.path = name, path
        self.sample: bool = about["sample"] if sample is None else sample
        self.shape, self.actions = tuple(about["shape"]), tuple(about["actions"])
        self._load(content)

    def _load(self, content: bytes) -> None:
        from safetensors.numpy import load

        found = {k: np.ascontiguousarray(v.T, np.float32) for k, v in load(content).items()}
        network = self.about["network"]
        self._layers = [(found[f"layers.{i}.weight"], found[f"layers.{i}.bias"]) for i in range(len(network["hidden"]))]
        self._head = found["head.weight"], found["head.bias"]
        self._cell: tuple[np.ndarray, ...] | None = None
        if network["recurrent"]:
            self._cell = tuple(found[f"cell.{k}"] for k in ("weight_ih", "bias_ih", "weight_hh", "bias_hh"))
        self._relu = network["activation"] == "relu"
        self._squash: bool = network["squash"]
        self._memory = network["hidden"][-1] if network["recurrent"] else 0
        inputs, outputs = int(np.prod(self.shape)), len(self.actions)
        if self._layers[0][0].shape[0] != inputs or self._head[0].shape[1] != outputs:
            raise CrossplayError(f"policy {self.path.name}: the weights do not fit {self.path.stem}.json")

    # -- playing -----------------------------------------------------------------------------------------
    def act_array(
        self, obs: np.ndarray, legal: np.ndarray | None, keys: np.ndarray, tick: np.ndarray, memo: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Actions int64[k] for views [k, ...], and the new memo float32[k, m] of recurrent actors."""
        logits, memo = self.logits(flat(obs, self._squash), memo)
        if legal is not None:
            logits = np.where(legal, logits, -np.inf)
        if not self.sample:
            return logits.argmax(1), memo
        weight = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
        heap = weight.cumsum(1)  # strictly from left to right, so the bits do not depend on the batch
        point = uniform(np.asarray(keys, np.uint64), np.asarray(tick)) * heap[:, -1]
        return (heap > point[:, None]).argmax(1), memo

    def act_batch(self, asked: Sequence[Observation]) -> list[Action]:
        """The same answers for handles."""
        legal = None
        if any(o.legal is not None for o in asked):
            every = [True] * len(self.actions)
            legal = np.array([every if o.legal is None else o.legal for o in asked], bool)
        empty = np.zeros(self._memory, np.float32)
        memo = np.stack([empty if o.memo is None else o.memo for o in asked]) if self._memory else None
        keys = np.array([key64(o.key()) for o in asked], np.uint64)
        ticks = np.array([o.tick for o in asked], np.int64)
        values, memo = self.act_array(np.stack([o.view("array") for o in asked]), legal, keys, ticks, memo)
        if memo is None:
            return [Action(v) for v in values.tolist()]
        return [Action(v, memo=m) for v, m in zip(values.tolist(), memo, strict=True)]

    def act(self, obs: Observation) -> Action:
        """The answer to one request."""
        return self.act_batch([obs])[0]

    def logits(self, x: np.ndarray, memo: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
        """float32[k, n] for inputs float32[k, D], 64 rows at a time (the last ones padded with zeros)."""
        out = np.empty((len(x), len(self.actions)), np.float32)
        kept = np.zeros((len(x), self._memory), np.float32) if self._memory else None
        for at in range(0, len(x), WIDTH):
            rows = slice(at, at + WIDTH)
            part = _padded(x[rows])
            for weight, bias in self._layers:
                part = part @ weight + bias
                part = np.maximum(part, 0, out=part) if self._relu else np.tanh(part, out=part)
            if kept is not None:
                old = _padded(kept[rows] if memo is None else memo[rows])
                part = self._remember(part, old)
                kept[rows] = part[: len(kept[rows])]
            weight, bias = self._head
            out[rows] = (part @ weight + bias)[: len(out[rows])]
        return out, kept

    def _remember(self, x: np.ndarray, old: np.ndarray) -> np.ndarray:
        """One step of the gated recurrent unit (Cho et al. 2014), gates in torch's order."""
        assert self._cell is not None
        weight_x, bias_x, weight_h, bias_h = self._cell
        from_x, from_h = x @ weight_x + bias_x, old @ weight_h + bias_h
        m = self._memory
        reset, update = (0.5 + 0.5 * np.tanh(0.5 * (from_x[:, g] + from_h[:, g])) for g in (slice(m), slice(m, 2 * m)))
        new = np.tanh(from_x[:, 2 * m :] + reset * from_h[:, 2 * m :])
        return (1 - update) * new + update * old

    # -- plan time ---------------------------------------------------------------------------------------
    def check(self, env: Any, seat: str) -> None:
        """Refuse seats whose array view or actions are not those the policy was trained with."""
        about = self.about
        names, shape = env.spec(seat).names, env.array_shape(seat)
        mine = (
            f"policy {self.name} was trained on {about['env']}@{about['version']} ({_space(self.shape, self.actions)})"
        )
        if shape is None:
            raise CrossplayError(f"{mine}; {env.id} has no array view")
        if tuple(shape) != self.shape or tuple(names) != self.actions:
            raise CrossplayError(f"{mine}; {env.id} has {_space(shape, names)}")
        if env.name == about["env"] and env.version != about["version"]:
            raise CrossplayError(f"{mine}; this is version {env.version}: train it again")

    def manifest(self) -> dict[str, Any]:
        """Digest of the weights, where they come from, how they play."""
        about = self.about
        origin = {k: about[k] for k in ("env", "version", "options", "algorithm", "seed", "env_steps", "config")}
        return {"kind": self.kind, "name": self.name, "sha256": self.digest, "sample": self.sample, **origin}


def _padded(x: np.ndarray) -> np.ndarray:
    if len(x) == WIDTH:
        return x
    out = np.zeros((WIDTH, x.shape[1]), np.float32)
    out[: len(x)] = x
    return out


def _space(shape: Sequence[int], names: Sequence[str]) -> str:
    return f"array {'x'.join(map(str, shape))}, {len(names)} actions: {' '.join(names)}"


def _about(path: Path) -> dict[str, Any]:
    """The description beside the weights."""
    beside = path.with_suffix(".json")
    try:
        about: dict[str, Any] = json.loads(beside.read_text())
    except FileNotFoundError:
        raise CrossplayError(f"policy {path.name}: {beside.name} is missing beside it") from None
    except ValueError as error:
        raise CrossplayError(f"policy {path.name}: {beside.name} is not JSON ({error})") from None
    if about.get("format") != 1:
        raise CrossplayError(f"policy {path.name}: format {about.get('format')!r} is not known here (1 is)")
    return about


def shipped() -> tuple[str, ...]:
    """Names of the policies that come with the package, e.g. "kitchen/cramped_room-1"."""
    return tuple(sorted(str(p.relative_to(SHIPPED).with_suffix("")) for p in SHIPPED.rglob("*.safetensors")))


def find(name: str, folder: Path) -> Path:
    """The weights behind a name: a shipped policy, a file, or the folder of a training run."""
    if name in shipped():
        return SHIPPED / f"{name}.safetensors"
    at = folder / name
    for path in (
        at,
        at / "policy.safetensors",
        at.with_name(at.name + ".safetensors"),
        SHIPPED / f"{name}.safetensors",
    ):
        if path.suffix == ".safetensors" and path.is_file():
            return path
    raise CrossplayError(
        f'policy "{name}" is neither a file, nor a training folder, nor shipped.{nearest(name, shipped())}'
    )


@options(
    path={
        "type": "string",
        "default": "",
        "description": "Weights (.safetensors), the folder of a training run, or the name of a shipped policy.",
    },
    sample={
        "type": "boolean",
        "description": "Draw actions from the probabilities, or take the likeliest; by default as the policy says.",
    },
)
@plain(shipped)
@quick
def policy(rest: str, options: Mapping[str, Any], context: Context) -> PolicyAgent:
    """`policy:kitchen/cramped_room-1` or {"type": "policy", "path": "runs/mine"}."""
    given = [n for n in (rest, options.get("path") or "") if n]
    if len(given) != 1:
        raise CrossplayError(f'policy: name one policy, e.g. "policy:{next(iter(shipped()), "FOLDER")}"')
    return PolicyAgent(find(given[0], context.folder), options.get("sample"), f"policy:{given[0]}")
