"""`search`: alpha-beta on OpenSpiel states, with iterative deepening within a number of positions.

Source: Knuth and Moore 1975, "An analysis of alpha-beta pruning"; fail-soft negamax with a table of bounds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["Found", "search"]

# Games whose written state says all that matters, so that equal positions may share what was found.
_WRITTEN = frozenset(("connect_four", "mnk", "nim", "tic_tac_toe"))
_EXACT, _LOWER, _UPPER = range(3)


class Found(NamedTuple):
    """best: the equally good moves, in order of their number. value: what the mover gets with them; an estimate
    (0 for what lies beyond the horizon) unless proven. proven: every line was searched to the end of the game, or
    what was found cannot be bettered. depth: plies searched. nodes: positions visited.
    """

    best: tuple[int, ...]
    value: float
    proven: bool
    depth: int
    nodes: int


class _Spent(Exception):
    """No positions are left."""


class _Search:
    def __init__(self, state: Any, nodes: int) -> None:
        game = state.get_game()
        self.left = nodes
        self.actions = game.num_distinct_actions()
        self.most = float(game.max_utility())
        self.table: dict[tuple[str, int], tuple[float, int, bool]] | None = (
            {} if game.get_type().short_name in _WRITTEN else None
        )

    def value(self, state: Any, depth: int, low: float, high: float) -> tuple[float, bool]:
        """(value for the player to move, whether no line was cut at the horizon), within low..high."""
        mover = state.current_player()
        if depth == 0:
            return 0.0, False
        place = (str(state), depth)
        if self.table is not None and (known := self.table.get(place)) is not None:
            value, bound, whole = known
            if bound == _EXACT or (bound == _LOWER and value >= high) or (bound == _UPPER and value <= low):
                return value, whole
        best, sure, floor = -float("inf"), True, low
        for action in self.order(state):
            value, whole = self.after(state, mover, action, depth, floor, high)
            sure = sure and whole
            best = max(best, value)
            floor = max(floor, best)
            if floor >= high or best >= self.most:  # the others cannot matter
                sure = whole
                break
        if self.table is not None:
            bound = _LOWER if best >= high else _UPPER if best <= low else _EXACT
            self.table[place] = best, bound, sure
        return best, sure

    def order(self, state: Any) -> list[int]:
        """The legal moves; on small boards from the middle outwards, where the better ones are."""
        legal: list[int] = state.legal_actions()
        if self.table is not None:
            legal.sort(key=lambda a: abs(2 * a + 1 - self.actions))
        return legal

    def after(self, state: Any, mover: int, action: int, depth: int, low: float, high: float) -> tuple[float, bool]:
        """The same for one move, seen by the mover."""
        if self.left <= 0:
            raise _Spent
        self.left -= 1
        then = state.child(action)
        if then.is_terminal():
            return float(then.player_return(mover)), True
        if then.current_player() == mover:  # some games let a player move twice
            return self.value(then, depth - 1, low, high)
        value, whole = self.value(then, depth - 1, -high, -low)
        return -value, whole

    def moves(self, state: Any, depth: int) -> tuple[list[int], float, bool]:
        """(the best moves, their value, whether it is proven) at a depth."""
        mover, best, moves, sure = state.current_player(), -float("inf"), [], True
        for action in self.order(state):
            # A window that is open by a little tells equally good moves from worse ones.
            value, whole = self.after(state, mover, action, depth, best - 1e-9, self.most + 1.0)
            if value > best:
                best, moves = value, [action]
            elif value == best:
                moves.append(action)
            sure = sure and whole
        return sorted(moves), best, sure or best >= self.most


def search(state: Any, depth: int, nodes: int) -> Found:
    """The best moves of the player to move.

    state: of a two-player zero-sum game without chance, not terminal. depth: plies at most. nodes: positions that
    may be visited; the deepest search that was finished within them counts. With none finished, all legal moves.
    """
    work = _Search(state, nodes)
    found = Found(tuple(state.legal_actions()), 0.0, False, 0, 0)
    for plies in range(1, depth + 1):
        if work.table is not None:
            work.table = {}
        try:
            moves, value, sure = work.moves(state, plies)
        except _Spent:
            return found._replace(nodes=nodes)
        if sure and value <= -work.most and found.depth:  # lost: play what was seen to be lost last
            moves = list(found.best)
        found = Found(tuple(moves), value, sure, plies, nodes - work.left)
        if sure:
            return found
    return found
