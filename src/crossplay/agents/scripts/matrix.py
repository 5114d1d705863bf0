"""`strategy:NAME`: the classic strategies of repeated two-player games, for `matrix`.

Action 0 of a game is "to cooperate" for those that speak of it. Sources: tit for tat and its kin,
Axelrod 1984, "The Evolution of Cooperation"; generous tit for tat, Nowak and Sigmund 1992, Nature
355; win-stay, lose-shift (pavlov), Nowak and Sigmund 1993, Nature 364.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from crossplay.agents.context import options, plain, quick
from crossplay.kernel.agent import Agent
from crossplay.kernel.obs import Observation
from crossplay.kernel.registry import nearest
from crossplay.kernel.seeds import uniform
from crossplay.kernel.types import CrossplayError

__all__ = ["STRATEGIES", "Strategy", "strategy"]

Data = Mapping[str, Any]
Rule = Callable[[Data, Observation, "float | None"], int]


def _tit_for_tat(data: Data, obs: Observation, p: float | None) -> int:
    """Action 0 first, then what the other did last."""
    return int(data["theirs"][-1]) if len(data["theirs"]) else 0


def _suspicious_tit_for_tat(data: Data, obs: Observation, p: float | None) -> int:
    """Action 1 first, then what the other did last."""
    return int(data["theirs"][-1]) if len(data["theirs"]) else 1


def _tit_for_two_tats(data: Data, obs: Observation, p: float | None) -> int:
    """Action 0 unless the other left it in both of the last two rounds; then what it did last."""
    theirs = data["theirs"]
    return int(theirs[-1]) if len(theirs) > 1 and theirs[-1] != 0 and theirs[-2] != 0 else 0


def _generous_tit_for_tat(data: Data, obs: Observation, p: float | None) -> int:
    """Tit for tat that forgives with chance p; by default the most that a defector cannot exploit."""
    answer = _tit_for_tat(data, obs, p)
    if answer == 0:
        return 0
    chance = _generosity(data["payoff"]) if p is None else p
    return 0 if uniform(obs.key("strategy"), obs.tick) < chance else answer


def _generosity(pay: np.ndarray) -> float:
    """min(1 - (T-R)/(R-S), (R-P)/(T-P)) within 0..1; 1/3 for the standard prisoner's dilemma."""
    r, s, t, q = (float(pay[i][j]) for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)))
    bounds = [1 - (t - r) / (r - s) if r != s else 0.0, (r - q) / (t - q) if t != q else 0.0]
    return min(1.0, max(0.0, min(bounds)))


def _grim(data: Data, obs: Observation, p: float | None) -> int:
    """Action 0 until the other once leaves it; action 1 from then on."""
    return int(any(data["theirs"]))


def _pavlov(data: Data, obs: Observation, p: float | None) -> int:
    """Win-stay, lose-shift: repeat the move if it paid at least the table's mean, else the next one."""
    if not len(data["mine"]):
        return 0
    pay, mine = np.asarray(data["payoff"]), int(data["mine"][-1])
    won = pay[mine, int(data["theirs"][-1])] >= pay.mean()
    return mine if won else (mine + 1) % len(data["actions"])


def _alternate(data: Data, obs: Observation, p: float | None) -> int:
    """The actions in turn, from the first."""
    return data["round"] % len(data["actions"])


def _random(data: Data, obs: Observation, p: float | None) -> int:
    """Action 0 with chance p (default: 1/n), else one of the others."""
    n = len(data["actions"])
    chance = 1 / n if p is None else p
    if n == 1 or uniform(obs.key("strategy"), obs.tick, 0) < chance:
        return 0
    return 1 + obs.pick(n - 1, slot=1)


def _best_reply(data: Data, obs: Observation, p: float | None) -> int:
    """The best answer to what the other did last (to a uniform choice at first)."""
    pay = np.asarray(data["payoff"])
    return int((pay[:, int(data["theirs"][-1])] if len(data["theirs"]) else pay.mean(axis=1)).argmax())


def _fictitious_play(data: Data, obs: Observation, p: float | None) -> int:
    """The best answer to how often the other chose each action so far (Brown 1951)."""
    counts = np.bincount(np.asarray(data["theirs"], np.int64), minlength=len(data["actions"]))
    return int((np.asarray(data["payoff"]) * (counts + 1)).sum(axis=1).argmax())


def _maximin(data: Data, obs: Observation, p: float | None) -> int:
    """The action whose worst payoff is highest."""
    return int(np.asarray(data["payoff"]).min(axis=1).argmax())


STRATEGIES: dict[str, Rule] = {
    "tit_for_tat": _tit_for_tat,
    "suspicious_tit_for_tat": _suspicious_tit_for_tat,
    "tit_for_two_tats": _tit_for_two_tats,
    "generous_tit_for_tat": _generous_tit_for_tat,
    "grim": _grim,
    "pavlov": _pavlov,
    "alternate": _alternate,
    "random": _random,
    "best_reply": _best_reply,
    "fictitious_play": _fictitious_play,
    "maximin": _maximin,
}
_ALIASES = {"win_stay_lose_shift": "pavlov"}
_WITH_P = ("generous_tit_for_tat", "random")


class Strategy(Agent):
    """One rule: it sees the whole history in `data` and remembers nothing."""

    def __init__(self, name: str, p: float | None = None) -> None:
        """name: of `STRATEGIES`, or `always_ACTION`. p: a chance, for those that take one."""
        self.rule, self.p = STRATEGIES.get(name), p
        self.constant = name.removeprefix("always_") if self.rule is None else ""
        self.name = name if p is None else f"{name}({p:g})"

    def act(self, obs: Observation) -> int | str:
        """The action."""
        if self.rule is None:
            return self.constant
        return self.rule(obs.view("data"), obs, self.p)

    def check(self, env: Any, seat: str) -> None:
        """Plays `matrix`; `always_ACTION` needs a game with that action."""
        if not env.name.startswith("matrix/"):
            raise CrossplayError(f"strategy: plays matrix, not {env.id}")
        names: Sequence[str] = env.spec(seat).names
        if self.rule is None and self.constant not in names:
            raise CrossplayError(
                f"strategy: always_{self.constant}: {env.id} has no such action.{nearest(self.constant, names)}"
            )

    def manifest(self) -> dict[str, Any]:
        """Kind, name and chance."""
        return {"kind": self.kind, "name": self.name, "p": self.p}


@options(p={"default": None, "description": "the chance of generous_tit_for_tat or random, in 0..1"})
@plain("words")
@quick
def strategy(rest: str, options: Mapping[str, Any], context: Any = None) -> Agent:
    """A classic strategy for `matrix`: `strategy:tit_for_tat`, `strategy:always_defect`, `strategy:random(0.3)`.

    The chance may also be the option p.
    """
    match = re.fullmatch(r"([a-z_0-9]+?)(?:[(:]\s*([0-9.]+)\s*\)?)?", rest or "tit_for_tat")
    name = _ALIASES.get(match[1], match[1]) if match else rest
    if not match or not (name in STRATEGIES or (name.startswith("always_") and len(name) > 7)):
        known = [*STRATEGIES, *_ALIASES, "always_cooperate", "always_defect"]
        raise CrossplayError(f'strategy: unknown "{rest}".{nearest(name, known)}')
    extra = set(options) - {"p"}
    if extra:
        raise CrossplayError(f'strategy: unknown option "{min(extra)}".{nearest(min(extra), ["p"])}')
    p = options.get("p", match[2])
    if p is None:
        return Strategy(name)
    try:
        chance = float(p)
    except (TypeError, ValueError):
        chance = -1.0
    if name not in _WITH_P or not 0.0 <= chance <= 1.0:
        raise CrossplayError(f"strategy: {name}: p = {p!r}; a chance in 0..1 is taken by {', '.join(_WITH_P)}")
    return Strategy(name, chance)
