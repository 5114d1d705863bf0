"""`Einstein`: two players bring blocks to their places; each knows some of the relations between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

from crossplay.envs.einstein.board import (
    BINS,
    DESTINATIONS,
    KINDS,
    Game,
    draw_game,
    optimum,
)
from crossplay.envs.einstein.verify import Act, affordance, can_share, communication, verify
from crossplay.kernel.env import Ended, Env
from crossplay.kernel.types import ActionSpec, Msg, pack, unpack

__all__ = ["MODES", "Einstein", "actions"]

MODES = ("none", "provide", "seek", "provide_seek")
_BAD = -0.1  # reward of an action that the board refuses or that cannot be done


def actions(blocks: int, mode: str) -> tuple[tuple[str, Act], ...]:
    """(name, meaning) of every action of a mode: moves to each bin, shares of each pair, asks, pass."""
    found: list[tuple[str, Act]] = [
        (f"move {b} to {name}", ("move", b, i)) for b in range(blocks) for i, name in enumerate(BINS)
    ]
    if mode != "none":
        found += [(f"share {a}-{b}", ("share", a, b)) for a, b in combinations(range(blocks), 2)]
    if mode in ("seek", "provide_seek"):
        found += [(f"ask {b}", ("ask", b)) for b in range(blocks)]
    return (*found, ("pass", ("pass",)))


class Einstein(Env):
    """Turns alternate, the first player begins."""

    name = "einstein"
    seats = ("first", "second")
    views = ("data", "text")
    metrics = {
        "success": "1 where every block is in its place",
        "partial": "share of blocks in their place",
        "step_ratio": "turns taken / least turns possible when both know everything",
        "steps": "turns taken",
        "optimal": "least turns possible when both know everything",
        "wrong_moves": "blocks offered to a destination that is not theirs",
        "redundant": "shares of what the other knew, asks for what the asker could tell",
        "invalid": "actions that cannot be done (where the mask does not exclude them)",
    }

    def __init__(self, full: Mapping[str, Any], off: Mapping[str, Any]) -> None:
        """full: every option with its value; off: those off their default."""
        self.options, self.o = dict(off), dict(full)
        self.horizon = full["limit"]
        self.acts = actions(full["blocks"], full["mode"])
        self._spec = ActionSpec(kind="names", names=tuple(n for n, _ in self.acts), noop=len(self.acts) - 1)
        self.rules = _rules(full)
        self.s: dict[str, Any] = {}

    # -- the game --------------------------------------------------------------------------------------
    def reset(self, key: bytes, task: Any = None) -> None:
        """A fresh game, drawn from the key."""
        game = draw_game(key, self.o["blocks"])
        self.s = {
            "game": [list(part) for part in game],
            "at": list(game.at),
            "heard": [[], []],  # relations that the other shared
            "refused": [],  # [block, bin] that the board refused
            "shared": [],  # pairs of blocks
            "asked": [[], []],  # own asks since the other last said or placed something
            "pending": None,  # the block that was asked about in the last turn
            "log": [],  # [player, action, 1 done | 0 refused by the board | -1 not possible]
            "counts": [0, 0, 0],  # wrong moves, redundant messages, invalid actions
        }

    @property
    def game(self) -> Game:
        """The game of this episode."""
        goal, at, relations, known = self.s["game"]
        return Game(tuple(goal), tuple(at), tuple(tuple(r) for r in relations), tuple(known))

    def to_act(self) -> tuple[str, ...]:
        """The players in turn."""
        return (self.seats[len(self.s["log"]) % 2],)

    def ended(self) -> Ended:
        """Terminal when all blocks are in their place, horizon at the limit."""
        if self.s["at"] == self.s["game"][0]:
            return "terminal"
        return "horizon" if len(self.s["log"]) >= self.horizon else None

    def spec(self, seat: str) -> ActionSpec:
        """Names; the last one is "pass"."""
        return self._spec

    def legal(self, seat: str) -> list[bool] | None:
        """What the hands and the mode allow; None under `legal = "all"`."""
        if self.o["legal"] == "all":
            return None
        data = self.data(seat)
        return [self._can(data, act) for _, act in self.acts]

    @staticmethod
    def _can(data: Mapping[str, Any], act: Act) -> bool:
        if act[0] == "share":
            pair = list(act[1:3])
            return any([r[0], r[1]] == pair for r in data["relations"]) and can_share(data, pair)
        return not affordance(data, act)

    def step(self, actions: Mapping[str, Any], mail: Sequence[Msg]) -> list[float]:
        """One turn. An action that cannot be done changes nothing but the time."""
        s = self.s
        ((seat, index),) = actions.items()
        me = self.seats.index(seat)
        act, data = self.acts[index][1], self.data(seat)
        s["pending"] = None
        result = -1
        if self._can(data, act):
            result = getattr(self, f"_{act[0]}")(me, act, data)
        else:
            s["counts"][2] += 1
        s["log"].append([me, index, result])
        won = float(self.ended() == "terminal")
        return [won + (_BAD if result < 1 and i == me else 0.0) for i in (0, 1)]

    def _move(self, me: int, act: Act, data: Mapping[str, Any]) -> int:
        s, (_, block, target) = self.s, act
        if target in DESTINATIONS and s["game"][0][block] != target:
            s["counts"][0] += 1
            if [block, target] not in s["refused"]:
                s["refused"].append([block, target])
            return 0
        s["at"][block] = target
        if target in DESTINATIONS:
            s["asked"] = [[], []]
        return 1

    def _share(self, me: int, act: Act, data: Mapping[str, Any]) -> int:
        s, pair = self.s, list(act[1:3])
        relation = next(r for r in data["relations"] if r[:2] == pair)
        if relation in self._relations(1 - me):
            s["counts"][1] += 1
        else:
            s["heard"][1 - me].append(list(relation))
        if pair not in s["shared"]:
            s["shared"].append(pair)
        s["asked"][1 - me] = []
        return 1

    def _ask(self, me: int, act: Act, data: Mapping[str, Any]) -> int:
        s = self.s
        s["counts"][1] += bool(communication(data, act))
        s["pending"] = act[1]
        if act[1] not in s["asked"][me]:
            s["asked"][me].append(act[1])
        return 1

    def _pass(self, me: int, act: Act, data: Mapping[str, Any]) -> int:
        return 1

    def verify(self, data: Mapping[str, Any], value: Any) -> list[str]:
        """Affordance, communication and reasoning, see `einstein.verify`."""
        return verify(data, self.acts[value][1])

    def score(self) -> Mapping[str, float]:
        """Counts so far; an unfinished game has the ratio of its turns so far."""
        s = self.s
        home = sum(place in DESTINATIONS for place in s["at"])
        steps, best = len(s["log"]), optimum(self.game)
        wrong, redundant, invalid = s["counts"]
        return {
            "success": float(home == len(s["at"])),
            "partial": home / len(s["at"]),
            "step_ratio": steps / best,
            "steps": float(steps),
            "optimal": float(best),
            "wrong_moves": float(wrong),
            "redundant": float(redundant),
            "invalid": float(invalid),
        }

    # -- what a seat may know ----------------------------------------------------------------------------
    def _relations(self, me: int) -> list[list[int]]:
        _, _, relations, known = self.s["game"]
        return [list(r) for r, who in zip(relations, known, strict=True) if who in (me, 2)] + self.s["heard"][me]

    def data(self, seat: str) -> dict[str, Any]:
        """at: bin of every block; ground: destination of block 0; relations: [block, block, relation] known or heard, the
        first `given` from the start; refused, shared, asked, pending (the block the other just asked about) and the log.
        """
        s, me = self.s, self.seats.index(seat)
        relations = self._relations(me)
        return {
            "player": me,
            "blocks": self.o["blocks"],
            "mode": self.o["mode"],
            "at": list(s["at"]),
            "ground": s["game"][0][0],
            "relations": [list(r) for r in relations],
            "given": len(relations) - len(s["heard"][me]),
            "refused": [list(r) for r in s["refused"]],
            "shared": [list(p) for p in s["shared"]],
            "asked": list(s["asked"][me]),
            "pending": s["pending"] if len(s["log"]) % 2 == me else None,
            "log": [list(e) for e in s["log"]],
            "limit": self.horizon,
            "over": self.ended() is not None,
        }

    def view_text(self, data: Mapping[str, Any]) -> str:
        """What is known from the start, then the turns, which grow at their end, then the board."""
        me, relations, given = data["player"], data["relations"], data["given"]
        lines = [f"You are the {self.seats[me]} player.", f"Block 0 belongs {BINS[data['ground']]}."]
        lines += [_said(r) for r in relations[:given]]
        names = [name for name, _ in self.acts]
        if data["log"]:
            lines.append("Turns so far:")
            results = {1: "", 0: " (refused: not its place)", -1: " (not possible)"}
            lines += [f"{'you' if p == me else 'other'}: {names[a]}{results[r]}" for p, a, r in data["log"]]
        if relations[given:]:
            lines += ["You were told:", *(_said(r) for r in relations[given:])]
        lines.append("Blocks: " + "; ".join(f"{b} {BINS[place]}" for b, place in enumerate(data["at"])) + ".")
        if data["pending"] is not None:
            lines.append(f"The other asks about block {data['pending']}.")
        turn = len(data["log"])
        lines.append("The game is over." if data["over"] else f"Turn {turn + 1} of at most {data['limit']}.")
        return "\n".join(lines)

    def text(self) -> str:
        """The board."""
        return "; ".join(f"{b} {BINS[place]}" for b, place in enumerate(self.s["at"]))

    # -- engine --------------------------------------------------------------------------------------------
    def snapshot(self) -> bytes:
        """The whole state."""
        return pack(self.s)

    def restore(self, snapshot: bytes) -> None:
        """Back to a snapshot."""
        self.s = unpack(snapshot)


def _said(relation: Sequence[int]) -> str:
    a, b, kind = relation
    return (
        f"Block {a} belongs into the {KINDS[kind]} block {b}."
        if kind < 3
        else f"Block {a} belongs {KINDS[3]} block {b}."
    )


def _rules(o: Mapping[str, Any]) -> str:
    lines = [
        "Two players bring every block to its place in a square of four bins: top left, top right, bottom left, bottom right.",
        "The first player reaches the bottom row, the first's own bin and the common bin; the second the top row, the "
        "second's own bin and the common bin.",
        "A block for the other's row is handed over through the common bin. A bin refuses a block that does not belong there.",
        "Each knows where block 0 belongs and some relations between blocks: same bin, same row (the other bin of that row), "
        "same column (the other bin of that column), diagonal (the opposite bin).",
    ]
    mode = o["mode"]
    if mode in ("provide", "provide_seek"):
        lines.append("Instead of moving you may share a relation that you know.")
    if mode in ("seek", "provide_seek"):
        lines.append(
            "Instead of moving you may ask about a block; the other may answer at once with a relation of that block."
        )
    lines.append(f"Turns alternate, at most {o['limit']}. One action a turn.")
    return "\n".join(lines)
