"""Moves of OpenSpiel's chess as engines write them: `2426` is `e2e4` (or, for black, `e7e5`).

A move's number is from-square * 73 + plane, as the mover sees the board; square = file * 8 + rank. Planes:
9 underpromotions, 56 of queens, 8 of knights. 4672 and 4673 are castling to the left and to the right (of white).
The encoding is that of AlphaZero (Silver et al. 2018), in OpenSpiel's own order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["Board"]

_FILES = "abcdefgh"
_PLANES: list[tuple[int, int]] = (
    [(dx, 1) for _ in "rbn" for dx in (0, 1, -1)]
    + [(0, d) for d in (*range(-7, 0), *range(1, 8))]
    + [(d, 0) for d in (*range(-7, 0), *range(1, 8))]
    + [(d, d) for d in (*range(-7, 0), *range(1, 8))]
    + [(d, -d) for d in (*range(-7, 0), *range(1, 8))]
    + [(dx, dy) for dx in (-2, -1) for dy in (-(3 + dx), 3 + dx)]
    + [(dx, dy) for dx in (2, 1) for dy in (-(3 - dx), 3 - dx)]
)
_CASTLE = {64 * 73: (0, 2, 3), 64 * 73 + 1: (7, 6, 5)}  # files: rook from, king to, rook to


class Board:
    """Where the pieces stand: enough to write moves, not to judge them. Squares are (file, rank) from 0.

    history: numbers of the moves from the start position.
    """

    def __init__(self, history: Iterable[int] = ()) -> None:
        self.white = True
        self.at = {(f, r): p for f in range(8) for r, p in ((0, "rnbqkbnr"[f]), (1, "p"), (6, "p"), (7, "rnbqkbnr"[f]))}
        self.moves = [self.play(action) for action in history]

    def written(self, action: int) -> str:
        """A legal move of the side to move, as engines write it."""
        (x, y), (tx, ty), piece = self._squares(action)
        return _FILES[x] + str(y + 1) + _FILES[tx] + str(ty + 1) + piece

    def named(self, names: Sequence[str]) -> dict[str, str]:
        """Engine's move -> action name, for names that are numbers of legal moves."""
        return {self.written(int(name)): name for name in names}

    def play(self, action: int) -> str:
        """Make a legal move; returns it as engines write it."""
        said = self.written(action)
        source, target, piece = self._squares(action)
        if action in _CASTLE:
            rook, _, then = _CASTLE[action]
            self.at[(then, source[1])] = self.at.pop((rook, source[1]))
        elif self.at[source] == "p" and source[0] != target[0] and target not in self.at:
            del self.at[(target[0], source[1])]  # en passant
        moved = self.at.pop(source)
        self.at[target] = piece or moved
        self.white = not self.white
        return said

    def _squares(self, action: int) -> tuple[tuple[int, int], tuple[int, int], str]:
        """(from, to, piece that a pawn becomes)."""
        if action in _CASTLE:
            rank = 0 if self.white else 7
            return (4, rank), (_CASTLE[action][1], rank), ""
        place, plane = divmod(action, 73)
        x, y = divmod(place, 8)
        dx, dy = _PLANES[plane]
        if not self.white:
            y, dy = 7 - y, -dy
        target = (x + dx, y + dy)
        if plane < 9:
            return (x, y), target, "rbn"[plane // 3]
        return (x, y), target, "q" if target[1] in (0, 7) and self.at.get((x, y)) == "p" else ""
