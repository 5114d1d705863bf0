"""What PettingZoo's games call their actions, and their boards and cards as text.

Each text is a pure function of (native observation, mask). Encodings as documented by the games.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

__all__ = ["action_names", "board_text"]

_MOVES = ("noop", "left", "right", "down", "up")
_POKER = ("call", "raise", "fold", "check")
_NO_LIMIT = ("fold", "check_call", "raise_half_pot", "raise_full_pot", "all_in")
_CELLS = tuple(f"{row}_{column}" for column in ("left", "middle", "right") for row in ("top", "centre", "bottom"))
_FIXED: dict[str, tuple[tuple[str, ...], int | None]] = {
    "classic/connect_four": (tuple(f"column_{i + 1}" for i in range(7)), None),
    "classic/tictactoe": (_CELLS, None),
    "classic/leduc_holdem": (_POKER, None),
    "classic/texas_holdem": (_POKER, None),
    "classic/texas_holdem_no_limit": (_NO_LIMIT, None),
    "classic/rps": (("rock", "paper", "scissors"), None),
    "sisl/pursuit": (("left", "right", "up", "down", "stay"), 4),
    "butterfly/knights_archers_zombies": (("forward", "backward", "turn_left", "turn_right", "attack", "none"), 5),
}
_FILES = "abcdefgh"


def action_names(game: str, seat_index: int, n: int) -> tuple[tuple[str, ...] | None, int | None]:
    """(names of n discrete actions of a seat, index of the one that does nothing), where known.

    game: "family/name" without the version.
    """
    if game.startswith("mpe/") and n == len(_MOVES):
        return _MOVES, 0
    if game == "classic/chess":
        return _chess_names(seat_index), None
    if game == "classic/go":
        size = round((n - 1) ** 0.5)
        letters = "ABCDEFGHJKLMNOPQRSTUVWXYZ"  # without I, as Go players write
        return (*(f"{letters[a % size]}{size - a // size}" for a in range(size * size)), "pass"), size * size
    return _FIXED.get(game, (None, None))


def _chess_names(seat_index: int) -> tuple[str, ...]:
    """4672 moves as from-square and to-square, as the board shows them to both players.

    The action is (file * 8 + rank) * 73 + plane, from the mover's side: 56 planes of queen moves
    (distance - 1) * 8 + direction, 8 of knight moves, 9 of underpromotions (direction * 3 + piece).
    A queen promotion has the name of the bare move. Planes that leave the board are named void.
    """
    around = [(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if (x, y) != (0, 0)]
    jumps = [(x, y) for x in range(-2, 3) for y in range(-2, 3) if abs(x) + abs(y) == 3]
    planes = [((x * d, y * d), "") for d in range(1, 8) for x, y in around]
    planes += [(jump, "") for jump in jumps]
    planes += [((x, 1), piece) for x in (-1, 0, 1) for piece in "nbr"]
    side = (lambda rank: 8 - rank) if seat_index else (lambda rank: rank + 1)
    names = []
    for file in range(8):
        for rank in range(8):
            for plane, ((dx, dy), piece) in enumerate(planes):
                x, y = file + dx, rank + dy
                inside = 0 <= x < 8 and 0 <= y < 8 and (not piece or rank == 6)
                here = f"{_FILES[file]}{side(rank)}"
                names.append(f"{here}{_FILES[x]}{side(y)}{piece}" if inside else f"void_{here}_{plane}")
    return tuple(names)


def board_text(game: str) -> Callable[[Any, Sequence[bool] | None], str] | None:
    """The function that writes an observation of this game as text, where there is one."""
    return _TEXTS.get(game)


def _grid(mine: np.ndarray, theirs: np.ndarray, own: str, other: str) -> list[str]:
    marks = np.where(mine != 0, own, np.where(theirs != 0, other, "."))
    return [" ".join(row) for row in marks]


def _connect_four(obs: Any, mask: Sequence[bool] | None) -> str:
    return "\n".join(["You are X, the other is O.", *_grid(obs[..., 0], obs[..., 1], "X", "O"), "1 2 3 4 5 6 7"])


def _tictactoe(obs: Any, mask: Sequence[bool] | None) -> str:
    # The game counts its cells column by column.
    return "\n".join(["You are X, the other is O.", *_grid(obs[..., 0].T, obs[..., 1].T, "X", "O")])


def _go(obs: Any, mask: Sequence[bool] | None) -> str:
    # Planes 0 and 1 hold the stones of whoever moved last and of the other; the mask says whose turn it is.
    my_turn = mask is not None and any(mask)
    mine, theirs = (obs[..., 1], obs[..., 0]) if my_turn else (obs[..., 0], obs[..., 1])
    white = bool(obs[..., 16].any())
    size = len(obs)
    lines = [
        f"{size - i:2d} {row}" for i, row in enumerate(_grid(mine, theirs, *(("O", "X") if white else ("X", "O"))))
    ]
    letters = " ".join("ABCDEFGHJKLMNOPQRSTUVWXYZ"[:size])
    return "\n".join([f"You are {'white (O)' if white else 'black (X)'}.", *lines, f"   {letters}"])


def _chess(obs: Any, mask: Sequence[bool] | None) -> str:
    black = bool(obs[..., 4].any())
    if not obs[..., 7:19].any():  # before the first move the planes are empty: it is the start position
        obs = np.concatenate([obs[..., :7], _chess_start()], axis=2)
    obs = np.array(obs)
    for plane in (7, 13):  # a pawn that may be taken en passant stands on the back row: put it where it is
        for back, place in ((0, 3), (7, 4)):
            obs[place, :, plane] |= obs[back, :, plane]
            obs[back, :, plane] = 0
    board = np.full((8, 8), ".", dtype="<U1")
    for i, letter in enumerate("pnbrqk"):
        board[obs[..., 7 + i] != 0] = letter if black else letter.upper()
        board[obs[..., 13 + i] != 0] = letter.upper() if black else letter
    ranks = range(1, 9) if black else range(8, 0, -1)  # black sees the board from its own side
    lines = [f"{rank} {' '.join(row)}" for rank, row in zip(ranks, board, strict=True)]
    you = "You are black (small letters)." if black else "You are white (capital letters)."
    return "\n".join([you, *lines, "  a b c d e f g h"])


def _chess_start() -> np.ndarray:
    """The 12 piece planes of the start position, as its owner sees them (own pieces first)."""
    planes = np.zeros((8, 8, 12), np.int8)
    planes[6, :, 0] = planes[1, :, 6] = 1
    for file, piece in enumerate((3, 1, 2, 4, 5, 2, 1, 3)):
        planes[7, file, piece] = planes[0, file, 6 + piece] = 1
    return planes


def _leduc(obs: Any, mask: Sequence[bool] | None) -> str:
    cards = ("jack", "queen", "king")
    private = [c for c, x in zip(cards, obs[0:3], strict=True) if x]
    public = [c for c, x in zip(cards, obs[3:6], strict=True) if x]
    chips = [int(np.argmax(obs[a : a + 15])) for a in (6, 21)]
    shown = f"the public card is the {public[0]}" if public else "no public card yet"
    return f"You hold the {private[0] if private else '?'}; {shown}. Chips in the pot: you {chips[0]}, the other {chips[1]}."


def _cards(obs: Any) -> str:
    ranks = ("ace", *(str(i) for i in range(2, 11)), "jack", "queen", "king")
    suits = ("spades", "hearts", "diamonds", "clubs")
    return ", ".join(f"{ranks[i % 13]} of {suits[i // 13]}" for i in np.flatnonzero(np.asarray(obs[:52])))


def _texas(obs: Any, mask: Sequence[bool] | None) -> str:
    raises = [int(np.argmax(obs[52 + 5 * r : 57 + 5 * r])) for r in range(4)]
    return f"Your cards and the public ones: {_cards(obs)}. Raises per round: {', '.join(map(str, raises))}."


def _no_limit(obs: Any, mask: Sequence[bool] | None) -> str:
    return f"Your cards and the public ones: {_cards(obs)}. Your chips in the pot: {float(obs[52]):g}; the most of any player: {float(obs[53]):g}."


def _rps(obs: Any, mask: Sequence[bool] | None) -> str:
    words = ("rock", "paper", "scissors", "nothing yet")
    return f"The other's last move: {words[int(obs)] if 0 <= int(obs) < 4 else int(obs)}."


_TEXTS: dict[str, Callable[[Any, Sequence[bool] | None], str]] = {
    "classic/connect_four": _connect_four,
    "classic/tictactoe": _tictactoe,
    "classic/go": _go,
    "classic/chess": _chess,
    "classic/rps": _rps,
    "classic/leduc_holdem": _leduc,
    "classic/texas_holdem": _texas,
    "classic/texas_holdem_no_limit": _no_limit,
}
