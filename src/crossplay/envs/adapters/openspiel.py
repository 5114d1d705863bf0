"""`openspiel:GAME`: the games of OpenSpiel (Lanctot et al. 2019, arXiv:1908.09453), stepped directly.

Chance is ours: each chance node is resolved inside `step` (or `reset`) by a draw addressed by
(key, tick, slot), so games pair on events, not only on the start. Sequential and simultaneous
games; games that draw inside themselves (sampled chance) and mean-field games are refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crossplay.envs.adapters._foreign import need
from crossplay.kernel.env import Ended, Env
from crossplay.kernel.registry import nearest
from crossplay.kernel.seeds import draw, key64, uniform
from crossplay.kernel.types import ActionSpec, CrossplayError, Msg, pack, unpack

__all__ = ["SpielEnv", "family", "replay"]

_CHANCE, _SIMULTANEOUS, _TERMINAL = -1, -2, -4  # pyspiel.PlayerId
_M64 = (1 << 64) - 1
# Games whose action strings are the same in every state: these become the names of actions
# (tested by random play). Elsewhere the name is the number, and the views label the legal ones.
STATIC_NAMES = frozenset(
    ("breakthrough", "goofspiel", "hex", "kuhn_poker", "liars_dice", "nim", "oshi_zumo", "othello", "pig")
)


class SpielEnv(Env):
    """One OpenSpiel game. Seats p0, p1, ... Rewards are the differences of `returns()`.

    Array view: the information state tensor where the game has one, else the observation tensor.
    """

    paired = "events"

    def __init__(self, name: str, game: Any, options: Mapping[str, Any]) -> None:
        """name: for the id; game: a loaded pyspiel game; options: its parameters off their default."""
        self.name, self.options, self._game = name, dict(options), game
        kind = game.get_type()
        self.short = kind.short_name
        self._written = str(game)
        self.seats = tuple(f"p{i}" for i in range(game.num_players()))
        self._n = game.num_distinct_actions()
        self._turns = tuple((s,) for s in self.seats)
        self._zeros = (0.0,) * len(self.seats)
        self._terminal_only = "TERMINAL" in str(kind.reward_model)
        self._chancy = "DETERMINISTIC" not in str(kind.chance_mode)
        self._perfect = str(kind.information).endswith(".PERFECT_INFORMATION")
        self._info, self._obs = kind.provides_information_state_string, kind.provides_observation_string
        self._info_tensor = kind.provides_information_state_tensor
        self._tensor = self._info_tensor or kind.provides_observation_tensor
        self._zero_sum = "ZERO_SUM" in str(kind.utility)
        if not (self._info or self._obs or self._perfect):
            raise CrossplayError(f"{name}: OpenSpiel gives no view of what a player of this game knows")
        self.views = ("data", *(("array",) if self._tensor else ()), "text")
        shape = (
            (game.information_state_tensor_shape() if self._info_tensor else game.observation_tensor_shape())
            if self._tensor
            else None
        )
        self._shape = tuple(shape) if shape is not None else None
        self._specs = {s: ActionSpec(kind="names", names=self._names(i)) for i, s in enumerate(self.seats)}
        self.rules = f"{kind.long_name}, as OpenSpiel plays it."
        self.metrics = {f"return_{s}": f"return of {s}" for s in self.seats} | {"return": "return, mean over seats"}
        if len(self.seats) > 1:
            self.seat_metrics = {"own_return": {s: f"return_{s}" for s in self.seats}}
        limit = game.get_parameters().get("horizon")  # a few games have a parameter of that name
        self.horizon = limit if isinstance(limit, int) and limit > 0 else None
        self.key = b""
        self._begin(None)

    def _names(self, player: int) -> tuple[str, ...]:
        """The actions' names, where they mean the same in every state; else their numbers."""
        numbers = tuple(str(a) for a in range(self._n))
        if self.short == "connect_four":
            return tuple(f"column_{a + 1}" for a in range(self._n))
        try:
            if self.short in STATIC_NAMES:
                state = self._game.new_initial_state()
                while state.is_chance_node():
                    state.apply_action(state.chance_outcomes()[0][0])
                names = tuple(state.action_to_string(player, a) for a in range(self._n))
            else:
                names = tuple(self._game.action_to_string(player, a) for a in range(self._n))
        except Exception:
            return numbers
        return numbers if len(set(names)) < self._n or names[0].startswith("Action(id=") else names

    # -- the game --------------------------------------------------------------------------------
    def _begin(self, history: Sequence[int] | None) -> None:
        self._state = self._game.new_initial_state()
        self._tick, self._hash = 0, draw(key64(self.key), 0) if self.key else 0
        self._returns: Sequence[float] = self._zeros
        if history is None and self.key:
            self._look()

    def reset(self, key: bytes, task: Any = None) -> None:
        """Start; chance before the first move is drawn at tick 0."""
        self.key = key
        self._begin(None)

    def _look(self) -> None:
        """Resolve chance, then find out whose turn it is."""
        state = self._state
        player = state.current_player()
        slot = 0
        while player == _CHANCE:
            action = _outcome(state.chance_outcomes(), uniform(self.key, self._tick, slot))
            state.apply_action(action)
            self._hash = draw(self._hash, action)
            slot += 1
            player = state.current_player()
        self._find(player)

    def _find(self, player: int) -> None:
        self._player = player
        if player >= 0:
            self._acting = self._turns[player]
        elif player == _SIMULTANEOUS:
            # A player without a choice is not asked; OpenSpiel wants action 0 of it.
            self._acting = tuple(s for i, s in enumerate(self.seats) if self._state.legal_actions(i))
        else:
            self._acting = ()

    def step(self, actions: Mapping[str, Any], mail: Sequence[Msg]) -> Sequence[float]:
        """Play the move or the joint move, and the chance that follows it."""
        state = self._state
        if self._player >= 0:
            action = actions[self.seats[self._player]]
            state.apply_action(action)
            self._hash = draw(self._hash, action)
        else:
            joint = [actions.get(seat, 0) for seat in self.seats]
            state.apply_actions(joint)
            for action in joint:
                self._hash = draw(self._hash, action)
        self._tick += 1
        if self._chancy:
            self._look()
        else:
            self._find(state.current_player())
        if self._terminal_only and self._player != _TERMINAL:
            return self._zeros
        before, self._returns = self._returns, state.returns()
        return [now - old for now, old in zip(self._returns, before, strict=True)]

    def to_act(self) -> tuple[str, ...]:
        """One seat, or all that have a choice."""
        return self._acting

    def ended(self) -> Ended:
        """Games end by their rules."""
        return "terminal" if self._player == _TERMINAL else None

    def spec(self, seat: str) -> ActionSpec:
        """All distinct actions of the game."""
        return self._specs[seat]

    def legal(self, seat: str) -> Sequence[bool] | None:
        """The mask; None for a seat that is not asked now."""
        if seat not in self._acting:
            return None
        mask = [False] * self._n
        for action in self._state.legal_actions(self._player if self._player >= 0 else self.seats.index(seat)):
            mask[action] = True
        return mask

    def score(self) -> Mapping[str, float]:
        """The returns so far: of each seat, and their mean (first, unless the game is zero-sum)."""
        seats = {f"return_{s}": float(v) for s, v in zip(self.seats, self._returns, strict=True)}
        mean = {"return": sum(seats.values()) / len(seats)}
        return seats | mean if self._zero_sum else mean | seats

    def forfeit_score(self, seat: str) -> Mapping[str, float]:
        """The least utility for the seat that forfeits; in zero-sum games the others share it."""
        low = float(self._game.min_utility())
        others = -low / max(1, len(self.seats) - 1) if self._zero_sum else None
        values = {
            s: low if s == seat else (float(r) if others is None else others)
            for s, r in zip(self.seats, self._returns, strict=True)
        }
        seats = {f"return_{s}": v for s, v in values.items()}
        mean = {"return": sum(values.values()) / len(values)}
        return seats | mean if self._zero_sum else mean | seats

    # -- what a seat may know -----------------------------------------------------------------------
    def data(self, seat: str) -> dict[str, Any]:
        """Whose turn it is, what OpenSpiel says the player knows (text and tensor), its legal actions.

        game: what `pyspiel.load_game` reads. history: all moves and chance so far, where nothing is hidden
        (with game, enough to build the state again), else None.
        """
        player, state = self.seats.index(seat), self._state
        legal = state.legal_actions(player) if seat in self._acting else []
        out: dict[str, Any] = {"seat": seat, "to_act": list(self._acting), "game": self._written}
        out["history"] = list(state.history()) if self._perfect else None
        out["information"] = state.information_state_string(player) if self._info else None
        out["observation"] = state.observation_string(player) if self._obs else str(state) if self._perfect else None
        out["tensor"] = self._tensor_of(player) if self._tensor else None
        names = self._specs[seat].names
        out["legal"] = [[names[a], state.action_to_string(player, a)] for a in legal]
        return out

    def _tensor_of(self, player: int) -> np.ndarray:
        values = (
            self._state.information_state_tensor(player)
            if self._info_tensor
            else self._state.observation_tensor(player)
        )
        return np.array(values, np.float32).reshape(self._shape)

    def view(self, seat: str, name: str) -> Any:
        """As `Env.view`; the tensor without the rest of data."""
        if name == "array" and self._tensor:
            return self._tensor_of(self.seats.index(seat))
        return super().view(seat, name)

    def view_array(self, data: Mapping[str, Any]) -> np.ndarray:
        """float32 of `array_shape`: the tensor."""
        return np.asarray(data["tensor"], np.float32)

    def view_text(self, data: Mapping[str, Any]) -> str:
        """The board, or all that the player knows, and the legal actions with OpenSpiel's words for them."""
        seen = (
            data["observation"] if self._perfect and data["observation"] else data["information"] or data["observation"]
        )
        lines = [f"You are {data['seat']}.", str(seen).rstrip()]
        if data["legal"]:
            words = (name if name == said else f"{name} ({said})" for name, said in data["legal"])
            lines.append("Legal now: " + ", ".join(words) + ".")
        elif data["to_act"]:
            lines.append(f"To act: {', '.join(data['to_act'])}.")
        return "\n".join(lines)

    def array_shape(self, seat: str) -> tuple[int, ...] | None:
        """Shape of the tensor."""
        return self._shape

    def omits(self, view: str) -> str:
        """What a view leaves out of data."""
        return {
            "array": "the legal actions and whose turn it is",
            "text": "the order of earlier moves where the board does not show it",
        }.get(view, "")

    def text(self) -> str:
        """The whole state."""
        return str(self._state)

    # -- engine ----------------------------------------------------------------------------------
    def snapshot(self) -> bytes:
        """Key, tick and OpenSpiel's history (moves and chance)."""
        return pack((self.key, self._tick, self._hash, list(self._state.history()), list(self._returns)))

    def restore(self, snapshot: bytes) -> None:
        """Play the history again: no draw is made."""
        self.key, tick, mixed, history, returns = unpack(snapshot)
        self._begin(history)
        replay(self._state, history)
        self._tick, self._hash, self._returns = tick, mixed, returns
        self._find(self._state.current_player())

    def fingerprint(self) -> int:
        """64 bits chained over every move and chance outcome since the start."""
        return self._hash & _M64


def replay(state: Any, history: Sequence[int]) -> None:
    """Apply moves and chance outcomes to a state, as OpenSpiel's `history()` lists them."""
    players, at = state.num_players(), 0
    while at < len(history):
        if state.current_player() == _SIMULTANEOUS:
            state.apply_actions(history[at : at + players])
            at += players
        else:
            state.apply_action(history[at])
            at += 1


def _outcome(outcomes: Sequence[tuple[int, float]], u: float) -> int:
    """The outcome at place u in [0, 1) of the cumulated probabilities."""
    total = 0.0
    for action, p in outcomes:
        total += p
        if u < total:
            return int(action)
    return int(outcomes[-1][0])  # the probabilities sum to a little less than 1


class _Family:
    summary = "The games of OpenSpiel, with addressed chance: openspiel:leduc_poker."

    def names(self) -> Sequence[str]:
        """The games that can be played here, or () where OpenSpiel is missing."""
        from importlib.util import find_spec

        if find_spec("pyspiel") is None:
            return ()
        return sorted(
            g.short_name
            for g in need("pyspiel", "openspiel").registered_games()
            if g.default_loadable and _refusal(g) is None
        )

    def make(self, rest: str, options: Mapping[str, Any]) -> Env:
        """A fresh game; options are OpenSpiel's game parameters."""
        pyspiel, kind = _kind(rest)
        specification = dict(kind.parameter_specification)
        for name, value in options.items():
            if name not in specification:
                raise CrossplayError(
                    f'openspiel:{rest}: unknown option "{name}" (value {value!r}).{nearest(name, specification)}'
                )
        off = {k: v for k, v in options.items() if v != specification[k]}
        fewest, most = kind.min_num_players, kind.max_num_players
        if isinstance(off.get("players"), int) and not fewest <= off["players"] <= most:  # some games abort the process
            raise CrossplayError(f"openspiel:{rest}: players = {off['players']} must lie in {fewest}..{most}")
        try:
            game = pyspiel.load_game(rest, off)
        except pyspiel.SpielError as error:
            raise CrossplayError(f"openspiel:{rest}: {error}") from None
        return SpielEnv(f"openspiel:{rest}", game, off)

    def batch(self, rest: str, width: int, options: Mapping[str, Any]) -> None:
        """There is no array form."""

    def schema(self, rest: str) -> dict[str, Any]:
        """JSON schema of the game's parameters."""
        _, kind = _kind(rest)
        words = {bool: "boolean", int: "integer", float: "number", str: "string"}
        props = {
            name: {"description": f"{name}, as OpenSpiel defines it."}
            | ({"type": words[type(default)], "default": default} if type(default) in words else {})
            for name, default in kind.parameter_specification.items()
        }
        return {"type": "object", "properties": props, "additionalProperties": False}


def _kind(rest: str) -> tuple[Any, Any]:
    """(the module, the type of a game), or an error that says why it cannot be played here."""
    pyspiel = need("pyspiel", "openspiel")
    kinds = {g.short_name: g for g in pyspiel.registered_games()}
    if rest not in kinds:
        raise CrossplayError(f'openspiel: unknown game "{rest}".{nearest(rest, sorted(kinds))}')
    why = _refusal(kinds[rest])
    if why is not None:
        raise CrossplayError(f"openspiel:{rest}: {why}")
    return pyspiel, kinds[rest]


def _refusal(kind: Any) -> str | None:
    """Why a game cannot be played here, or None."""
    if "SAMPLED" in str(kind.chance_mode):
        return "it draws its chance inside itself, so episodes could not be repeated"
    if "MEAN_FIELD" in str(kind.dynamics):
        return "it is a mean-field game: its state is a distribution over a population, not a play of seats"
    return None


family = _Family()
