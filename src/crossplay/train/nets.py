"""The networks: a tower of dense layers, perhaps with memory, once as actor and once as critic."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from crossplay.train.config import PPO

__all__ = ["ActorCritic", "Tower"]


class Tower(nn.Module):
    """Dense layers, an optional gated recurrent unit, a linear head. `policy` plays it without torch."""

    def __init__(self, inputs: int, outputs: int, gain: float, config: PPO, chance: torch.Generator) -> None:
        """gain: scale of the head's first weights (small: an undecided actor)."""
        super().__init__()
        widths = (inputs, *config.hidden)
        last = widths[-1]
        self.layers = nn.ModuleList(_dense(a, b, math.sqrt(2), chance) for a, b in pairwise(widths))
        self.cell = _cell(last, chance) if config.recurrent else None
        self.head = _dense(last, outputs, gain, chance)
        self.bend = torch.tanh if config.activation == "tanh" else torch.relu
        self.memory = last if config.recurrent else 0

    def forward(self, x: Tensor, memo: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor]:
        """X [T, K, inputs], memo [K, memory], fresh bool[T, K] -> (out [T, K, outputs], memo after T).

        Where `fresh` is True an episode starts, and the memory with it.
        """
        for layer in self.layers:
            x = self.bend(layer(x))
        if self.cell is not None:
            steps = []
            for now, new in zip(x, fresh, strict=True):
                memo = self.cell(now, memo * (~new)[:, None])
                steps.append(memo)
            x = torch.stack(steps)
        return self.head(x), memo


class ActorCritic(nn.Module):
    """Two towers that share nothing, so that the actor alone is what gets shipped."""

    def __init__(self, inputs: int, actions: int, config: PPO, chance: torch.Generator) -> None:
        super().__init__()
        self.actor = Tower(inputs, actions, 0.01, config, chance)
        self.critic = Tower(inputs, 1, 1.0, config, chance)

    def values(self, x: Tensor, memo: Tensor, fresh: Tensor) -> tuple[Tensor, Tensor]:
        """The critic's estimates [T, K] and its memory after T."""
        out, memo = self.critic(x, memo, fresh)
        return out[..., 0], memo


def _dense(inputs: int, outputs: int, gain: float, chance: torch.Generator) -> nn.Linear:
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
    nn.init.orthogonal_(layer.weight, gain, generator=chance)
    nn.init.zeros_(layer.bias)
    return layer


def _cell(width: int, chance: torch.Generator) -> nn.GRUCell:
    cell = nn.utils.skip_init(nn.GRUCell, width, width)
    for weight in (cell.weight_ih, cell.weight_hh):
        for gate in weight.data.chunk(3):
            nn.init.orthogonal_(gate, generator=chance)
    nn.init.zeros_(cell.bias_ih)
    nn.init.zeros_(cell.bias_hh)
    return cell


def arrays(module: nn.Module) -> dict[str, np.ndarray]:
    """The weights by name."""
    return {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}
