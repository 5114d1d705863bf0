"""`textarena:GAME`: the text games of TextArena (Guertler et al. 2025, arXiv:2504.11442), several seats, all in words.

TextArena draws from the global generators of Python and numpy, which every game in the process shares: two episodes
that take turns would change each other's cards. Here each instance has generators of its own, put in place of the
global ones for as long as a call into the library takes (`_Dice`); so its chance is its own, and ours stays ours.
Chance is sequential (`paired = "start"`). Observations are kept whole: a seat's text view is all it was ever told.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import random
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crossplay.envs.adapters._foreign import Foreign, check_keywords, keyword_schema, need
from crossplay.kernel.env import Ended, Env
from crossplay.kernel.registry import nearest
from crossplay.kernel.types import ActionSpec, CrossplayError, pack

__all__ = ["TextGame", "family"]

_LOCK = threading.RLock()  # the generators belong to the process: one call into the library at a time
_PLAYERS = (2, 1, *range(3, 16))  # how many are tried where nothing is said, in this order
_OURS: dict[str, Any] = {
    "players": {"type": "integer", "minimum": 1, "maximum": 15, "default": None, "description": "Seats, where a game takes several numbers."},
    "errors": {"type": "integer", "minimum": 0, "default": None, "description": "Invalid moves in a row that are forgiven; default: the game's own."},
    "horizon": {"type": "integer", "minimum": 1, "default": None, "description": "Moves after which an episode is cut; default: the game's rules end it."},
}  # fmt: skip


class _Dice:
    """The generators of one game. `with dice:` they are the process's global ones; its own come back afterwards."""

    def __init__(self, seed: int) -> None:
        self._python: Any = random.Random(seed).getstate()
        self._numpy: Any = np.random.RandomState(seed).get_state(legacy=False)
        self._outside: list[tuple[Any, Any]] = []

    def __enter__(self) -> None:
        _LOCK.acquire()
        self._outside.append((random.getstate(), np.random.get_state(legacy=False)))  # noqa: NPY002
        random.setstate(self._python)
        np.random.set_state(self._numpy)  # noqa: NPY002

    def __exit__(self, *error: object) -> None:
        self._python, self._numpy = random.getstate(), np.random.get_state(legacy=False)  # noqa: NPY002
        python, numpy = self._outside.pop()
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
        _LOCK.release()


@contextlib.contextmanager
def _alone(dice: _Dice) -> Iterator[None]:
    """A call into the library: with the game's generators, without its chatter on standard output, without network."""
    with dice, contextlib.redirect_stdout(io.StringIO()), _no_download():
        yield


@contextlib.contextmanager
def _no_download() -> Iterator[None]:
    """Games that want lists of words load them when they are made: here that is the user's to decide."""
    nltk: Any = need("nltk", "textarena", _EXTRA)
    before = nltk.download
    nltk.download = lambda *names, **more: False
    try:
        yield
    finally:
        nltk.download = before


class TextGame(Foreign):
    """One game. Seats p0, p1, ...; one acts at a time, with free text.

    An invalid move costs a tick, is counted in the score (`invalid_p0`), and the game tells its reason; who makes
    more of them in a row than the game forgives has lost, or is out, as the game's rules say.
    """

    def __init__(
        self,
        name: str,
        game: str,
        options: Mapping[str, Any],
        make: Any,
        players: int,
        wraps: Sequence[Any],
        longest: int,
    ) -> None:
        """make: a function that makes the library's game; wraps: its wrappers of actions; longest: characters."""
        super().__init__()
        self.name, self.game, self.options = name, game, dict(options)
        self._make, self._wraps = make, tuple(wraps)
        self.seats = tuple(f"p{i}" for i in range(players))
        self.horizon = options.get("horizon")
        self._spec = ActionSpec(kind="text", max_len=longest)
        self.rules = f"{game}, a text game of TextArena. The first message says the rules and how to write a move."
        self.metrics = {"reward": "reward at the end, mean over seats"}
        self.metrics |= {f"reward_{s}": f"reward of {s} at the end, usually -1, 0 or 1" for s in self.seats}
        self.metrics |= {f"invalid_{s}": f"invalid moves of {s}" for s in self.seats}
        if players > 1:
            self.seat_metrics = {"own_reward": {s: f"reward_{s}" for s in self.seats}}
        self._dice = _Dice(0)
        self._native_game: Any = None
        self._told: list[list[list[Any]]] = []
        self._invalid = [0] * players
        self._hash = b""
        self._done = False

    # -- the game --------------------------------------------------------------------------------
    def _start(self, seed: int) -> None:
        self._dice = _Dice(seed)
        self._told = [[] for _ in self.seats]
        self._invalid, self._hash, self._done = [0] * len(self.seats), b"", False
        with _alone(self._dice):
            self._native_game = self._make()
            self._native_game.reset(num_players=len(self.seats), seed=seed)
            self._state = self._native_game.state
            if (errors := self.options.get("errors")) is not None:
                self._state.error_allowance = errors
            self._watch()
            self._done = bool(self._state.done)
            self._listen()

    def _watch(self) -> None:
        """Count what the game calls an invalid move; what it does then stays as it is."""
        judge = self._state.set_invalid_move

        def counted(*args: Any, **more: Any) -> Any:
            self._wrong = True
            return judge(*args, **more)

        self._state.set_invalid_move = counted

    def _advance(self, actions: Mapping[str, Any]) -> Sequence[float]:
        (seat,) = self.to_act()
        text = actions[seat]
        for wrap in self._wraps:
            text = wrap(self._native_game).action(text)
        self._wrong = False
        with _alone(self._dice):
            self._done = bool(self._native_game.step(text)[0])
            if self._wrong:
                self._invalid[self.seats.index(seat)] += 1
            self._listen()
        return self._paid() if self._done else (0.0,) * len(self.seats)

    def _listen(self) -> None:
        """What the seat to act is told now; the others hear theirs when they read."""
        if not self._done:
            player, heard = self._native_game.get_observation()
            self._told[player] += [_message(m) for m in heard]
        self._hash = hashlib.blake2b(
            self._hash + pack([self._heard(i) for i in range(len(self.seats))]), digest_size=16
        ).digest()

    def _heard(self, player: int) -> list[list[Any]]:
        """What waits for a seat until its turn."""
        return [_message(m) for m in self._state.observations[player]]

    def _paid(self) -> tuple[float, ...]:
        paid = self._state.rewards or {}
        for player, reward in paid.items():
            if not isinstance(reward, (int, float)):  # a few games mix up reward and reason
                raise ValueError(f"{self.game} pays player {player} {reward!r}, which is no number")
        return tuple(float(paid.get(i, 0.0)) for i in range(len(self.seats)))

    def to_act(self) -> tuple[str, ...]:
        """The current player."""
        return () if self._done else (self.seats[self._state.current_player_id],)

    def ended(self) -> Ended:
        """By the rules, or cut at the option `horizon`."""
        if self._done:
            return "terminal"
        return "horizon" if self.horizon is not None and len(self._log) >= self.horizon else None

    def spec(self, seat: str) -> ActionSpec:
        """Text."""
        return self._spec

    def score(self) -> Mapping[str, float]:
        """Rewards (0 until the end) and invalid moves."""
        paid = self._paid()
        seats = {f"reward_{s}": r for s, r in zip(self.seats, paid, strict=True)}
        wrong = {f"invalid_{s}": float(n) for s, n in zip(self.seats, self._invalid, strict=True)}
        return {"reward": sum(paid) / len(paid)} | seats | wrong

    def forfeit_score(self, seat: str) -> Mapping[str, float]:
        """-1 for the seat that forfeits; of two players the other gets 1."""
        score = dict(self.score())
        score[f"reward_{seat}"] = -1.0
        if len(self.seats) == 2:
            score[f"reward_{next(s for s in self.seats if s != seat)}"] = 1.0
        score["reward"] = sum(score[f"reward_{s}"] for s in self.seats) / len(self.seats)
        return score

    # -- what a seat may know -----------------------------------------------------------------------
    def data(self, seat: str) -> dict[str, Any]:
        """All it was ever told: messages [from (-1: the game), name of the sender, kind, text], oldest first."""
        player = self.seats.index(seat)
        messages = self._told[player] + self._heard(player)
        names = self._state.role_mapping
        return {
            "seat": seat,
            "game": self.game,
            "role": str(self._state.game_info.get(player, {}).get("role", "")),
            "to_act": list(self.to_act()),
            "messages": [
                [m[0], "GAME" if m[0] < 0 else str(names.get(m[0], f"Player {m[0]}")), *m[1:]] for m in messages
            ],
        }

    def view_text(self, data: Mapping[str, Any]) -> str:
        """The messages, each after its sender's name, as TextArena writes them for language models."""
        return "\n".join(f"[{name}] {text}" for _, name, _, text in data["messages"])

    def omits(self, view: str) -> str:
        """What a view leaves out of data."""
        return "kinds of messages, and whose turn it is where no message says so" if view == "text" else ""

    def text(self) -> str:
        """The board where the game draws one, else the messages of all seats."""
        board = getattr(self._native_game, "get_board_str", None)
        if board is not None:
            with contextlib.suppress(Exception), _alone(_Dice(0)):  # a drawing, for spectators: some fail at the end
                return str(board())
        return "\n\n".join(f"{s}:\n{self.view_text(self.data(s))}" for s in self.seats)

    def _native(self) -> Any:
        return (self._hash, self._done, list(self.to_act()), self._invalid)

    def close(self) -> None:
        """Forget the game."""
        self._native_game = None


def _message(given: Sequence[Any]) -> list[Any]:
    """[from, kind, text] of a message as TextArena holds it: a number, an enumeration and a text.

    They are told apart by their types, because a few games pass them in another order.
    """
    source = next((part for part in given if isinstance(part, int)), -1)
    text = next((part for part in given if isinstance(part, str)), "")
    kind = next((part.name for part in given if hasattr(part, "name")), "")
    return [source, kind, text]


_EXTRA = "textarena==0.7.4"


@functools.lru_cache(1)
def _known() -> tuple[str, ...]:
    """The games that the installed package registers, read without importing it (that takes seconds)."""
    from importlib.util import find_spec

    found = find_spec("textarena")
    if found is None or not found.submodule_search_locations:
        return ()
    text = (Path(next(iter(found.submodule_search_locations))) / "envs" / "__init__.py").read_text("utf-8")
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return tuple(sorted(set(re.findall(r"register(?:_with_versions)?\(\s*id=\"([^\"]+)\"", lines))))


def _entry(rest: str) -> tuple[Any, Any]:
    """(the registry's entry, the class) of a game, or an error that says why it cannot be played here."""
    dice = _Dice(0)
    with dice:
        need("textarena", f"textarena:{rest}", _EXTRA)
    from textarena.envs.registration import ENV_REGISTRY

    if rest not in ENV_REGISTRY or rest.endswith("-raw") or rest.endswith("-train"):
        known = _known() or sorted(ENV_REGISTRY)
        raise CrossplayError(f'textarena: unknown game "{rest}".{nearest(rest, known)}')
    entry = ENV_REGISTRY[rest]
    module, _, name = entry.entry_point.partition(":")
    try:
        with _alone(dice):
            import importlib

            return entry, getattr(importlib.import_module(module), name)
    except Exception as error:
        raise _trouble(rest, error) from error


def _trouble(rest: str, error: Exception) -> CrossplayError:
    """Why a game does not work here, in one line."""
    if isinstance(error, LookupError) and "NLTK" in str(error):
        wanted = re.search(r"Resource\s+(?:\x1b\[\d+m)?'?([\w./]+)'?", str(error))
        what = wanted.group(1) if wanted else "its word lists"
        problem = CrossplayError(f"textarena:{rest}: needs NLTK's {what}; python -m nltk.downloader {what}")
        problem.exit_code = 3
        return problem
    if isinstance(error, SyntaxError):
        return CrossplayError(f"textarena:{rest}: its code does not load on this Python: {error.msg}")
    said = str(error).strip().split("\n")[0]
    return CrossplayError(f"textarena:{rest}: {type(error).__name__}: {said}")


class _Family:
    summary = "The text games of TextArena, each with chance of its own: textarena:KuhnPoker-v0."

    def names(self) -> Sequence[str]:
        """What the installed package registers; some need more than the package."""
        return _known()

    def make(self, rest: str, options: Mapping[str, Any]) -> Env:
        """A fresh game; options but players, errors and horizon go to its constructor."""
        from textarena import ActionWrapper

        entry, kind = _entry(rest)
        props, more = self._props(entry, kind)
        off = check_keywords(f"textarena:{rest}", options, props, more)
        native = {**entry.kwargs, **{k: v for k, v in off.items() if k not in _OURS}}
        make = functools.partial(kind, **native)
        players = off.get("players") or _players(rest, make, repr(sorted(native.items())))
        wraps = [w for w in entry.default_wrappers or () if issubclass(w, ActionWrapper)]
        clipped = any("Clip" in w.__name__ for w in wraps)  # a text that is too long is invalid here, not cut
        env = TextGame(
            f"textarena:{rest}", rest, off, make, players,
            [w for w in wraps if "Clip" not in w.__name__], 1000 if clipped else 4096,
        )  # fmt: skip
        try:
            env.reset(bytes(16))
        except Exception as error:
            raise _trouble(rest, error) from error
        return env

    def batch(self, rest: str, width: int, options: Mapping[str, Any]) -> None:
        """There is no array form."""

    def _props(self, entry: Any, kind: Any) -> tuple[dict[str, Any], bool]:
        props, more = keyword_schema(kind)
        for name, value in entry.kwargs.items():
            if name in props:
                props[name] = {**props[name], "default": value}
        return {**props, **_OURS}, more

    def schema(self, rest: str) -> dict[str, Any]:
        """JSON schema of the constructor's keywords, players, errors and horizon."""
        props, more = self._props(*_entry(rest))
        return {"type": "object", "properties": props, "additionalProperties": more}


_FOUND: dict[tuple[str, str], int] = {}


def _players(rest: str, make: Any, how: str) -> int:
    """The first number of players that a game, made with the keywords `how`, begins with."""
    trouble: Exception = AssertionError("no number of players fits")
    if (rest, how) in _FOUND:
        return _FOUND[rest, how]
    for players in _PLAYERS:
        try:
            with _alone(_Dice(0)):
                make().reset(num_players=players, seed=0)
        except Exception as error:
            trouble = error if not isinstance(error, AssertionError) else trouble
        else:
            _FOUND[rest, how] = players
            return players
    raise _trouble(rest, trouble)


family = _Family()
