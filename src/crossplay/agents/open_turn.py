"""What an outside party is shown of one request, and what it may answer: plain data for any front."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

from crossplay.kernel import Action, ActionSpec, CrossplayError, Fault, Invalid, Msg, Observation, nearest

__all__ = ["Refused", "Turn", "game_of", "plain", "read_answer", "turn_of"]

WORDS = 8192
"""Characters of one message or rationale at most."""
MESSAGES = 16
"""Messages of one turn at most."""


class Refused(CrossplayError):
    """An answer or message that is not taken; the text says why, and what would be.

    lost: whether the turn is over because of it (too many wrong answers).
    """

    def __init__(self, text: str, lost: bool = False) -> None:
        super().__init__(text)
        self.lost = lost


class Turn(msgspec.Struct, eq=False):
    """One open request to a seat, as its party may know it.

    id: counts the turns of the seat's mailbox. game: the environment without its options, which may say what
    a seat is not to know (who errs, what is withheld). episode: counts the party's episodes, from 1. views: name ->
    text, plain data, or uint8[h, w, 3]. deadline: on the clock of `time.monotonic`, or None. said: waits
    for the answer. answer: what the engine gets.
    """

    id: int
    episode: int
    seat: str
    game: str
    rules: str
    tick: int
    spec: ActionSpec
    legal: tuple[bool, ...] | None
    views: dict[str, Any]
    inbox: list[dict[str, Any]]
    last: dict[str, Any] | None
    reward: float
    total: float
    audience: tuple[str, ...]
    brief: str
    wants: tuple[str, ...]
    opened: float
    deadline: float | None
    refused: int = 0
    said: list[Msg] = []
    answer: Action | Fault | None = None

    def names(self) -> list[str]:
        """The names of the actions that are legal now; [] where an answer is no name."""
        if self.spec.kind != "names":
            return []
        return [n for i, n in enumerate(self.spec.names) if self.legal is None or self.legal[i]]

    def choice(self) -> dict[str, Any]:
        """What may be answered: kind, the legal names or the JSON schema."""
        found: dict[str, Any] = {"kind": self.spec.kind}
        if self.spec.kind == "names":
            return {**found, "legal": self.names()}
        return {**found, "schema": self.spec.json_schema()}

    def left(self) -> float | None:
        """Seconds until the deadline, or None."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def shown(self) -> dict[str, Any]:
        """The turn as plain data, without pictures."""
        left = self.left()
        found: dict[str, Any] = {
            "turn": self.id,
            "episode": self.episode,
            "seat": self.seat,
            "environment": self.game,
            "tick": self.tick,
            **{name: view for name, view in self.views.items() if name != "image"},
            "answer": self.choice(),
            "inbox": self.inbox,
            "last": self.last,
            "reward": self.reward,
            "total_reward": self.total,
            "audience": list(self.audience),
        }
        if left is not None:
            found["deadline_s"] = round(left, 3)
        if self.brief:
            found["brief"] = self.brief
        if self.wants:
            found["wants"] = list(self.wants)
        return found


def turn_of(obs: Observation, number: int, episode: int, total: float, views: tuple[str, ...]) -> Turn:
    """The turn of a request. Reads everything now: the handle dies with its tick. The fullest view is read last."""
    shown = {name: obs.view(name) for name in sorted(views, key=("image", "text", "data").index)}
    if "data" in shown:
        shown["data"] = plain(shown["data"])
    now = time.monotonic()
    return Turn(
        number,
        episode,
        obs.seat,
        game_of(obs.env_id),
        obs.rules,
        obs.tick,
        obs.spec,
        None if obs.legal is None else tuple(bool(ok) for ok in obs.legal),
        {name: shown[name] for name in views},
        [_heard(m) for m in obs.inbox],
        _last(obs),
        float(obs.reward),
        total,
        tuple(obs.audience),
        obs.brief,
        tuple(obs.wants),
        now,
        None if obs.deadline is None else now + obs.deadline,
        said=[],
    )


def game_of(env_id: str) -> str:
    """`name@version` of an environment's id."""
    return env_id.partition("?")[0].partition("#")[0]


def _heard(m: Msg) -> dict[str, Any]:
    return {"from": m.src, "body": plain(m.body), "channel": m.channel, "tick": m.tick}


def _last(obs: Observation) -> dict[str, Any] | None:
    """What was played for the seat at its previous turn, and whether that was its own answer."""
    if obs.last is None:
        return None
    value, origin = obs.last
    spec = obs.seat_spec
    if spec.kind == "names" and isinstance(value, (int, np.integer)) and 0 <= value < len(spec.names):
        value = spec.names[int(value)]
    return {"value": plain(value), "origin": origin}


def read_answer(turn: Turn, value: Any) -> Any:
    """The canonical value of an answer, or `Refused` with what is legal.

    Clients that can only send text may send numbers and data as JSON text.
    """
    try:
        return turn.spec.check(value, turn.legal)
    except Invalid as error:
        if isinstance(value, str) and turn.spec.kind in ("box", "data"):
            try:
                return turn.spec.check(msgspec.json.decode(value), turn.legal)
            except (msgspec.DecodeError, RecursionError, Invalid):
                pass
        raise Refused(_why(turn, value, error)) from None


def _why(turn: Turn, value: Any, error: Invalid) -> str:
    text = str(error).removeprefix("value: ")
    if turn.spec.kind == "names":
        names = turn.names()
        near = nearest(value, names) if isinstance(value, str) else ""
        hint = near.partition(" Known:")[0]
        return f"{text}.{hint} Legal now: {', '.join(names)}."
    if turn.spec.kind == "text":
        return f"{text}."
    return f"{text}. The answer must fit {msgspec.json.encode(turn.spec.json_schema()).decode()}."


def plain(value: Any) -> Any:
    """JSON data of MessagePack data and arrays: lists, text keys; numbers that JSON has not become text."""
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, bytes):
        return value.hex()
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
