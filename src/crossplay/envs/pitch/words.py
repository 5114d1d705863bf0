"""The pitch games in words: rules, scores, and what a seat knows, told relative to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from crossplay.envs.pitch.games import FACES, Game, parse_game

__all__ = ["Facts", "Person", "facts", "field_text", "metrics", "rules", "score", "text"]

DX, DY = (1, 0, -1, 0), (0, 1, 0, -1)
TEAMS = ("left", "right", "third")


class Person(NamedTuple):
    """An agent that a seat knows of. seat: "" where the view does not tell who it is."""

    seat: str
    mate: bool
    x: int
    y: int
    face: int
    carries: bool
    cooldown: int


class Facts(NamedTuple):
    """What a seat knows, in coordinates of the field, whatever `observe` is."""

    game: Game
    side: int
    x: int
    y: int
    face: int
    carries: bool
    cooldown: int
    people: tuple[Person, ...]  # the others, team-mates and opponents
    balls: tuple[tuple[int, int], ...]  # loose balls
    sure: bool  # nothing is hidden: what is not listed is not there


def facts(data: Mapping[str, Any]) -> Facts:
    """The same facts from the data of any `observe`. A pure function of data."""
    game = parse_game(data["game"])
    me = game.seats.index(data["seat"])
    side = game.side[me]
    if data["observe"] == "own":
        x, y, face = *data["at"], data["facing"]
        people, balls = _read_image(np.asarray(data["image"]), x, y, face, data["colour"])
        return Facts(game, side, x, y, face, data["carrying"], data["cooldown"], people, balls, False)
    x, y, face, carries, cooldown = data["agents"][me]
    people = tuple(
        Person(game.seats[j], game.side[j] == side, a[0], a[1], a[2], bool(a[3]), a[4])
        for j, a in enumerate(data["agents"])
        if a is not None and j != me
    )
    balls = tuple((b[0], b[1]) for b in data["balls"])
    return Facts(game, side, x, y, face, bool(carries), cooldown, people, balls, data["observe"] == "full")


def _read_image(
    image: np.ndarray, x: int, y: int, face: int, colour: int
) -> tuple[tuple[Person, ...], tuple[tuple[int, int], ...]]:
    view, fx, fy = len(image), DX[face], DY[face]
    raw = image.tobytes()
    kinds = raw[::3]
    people, balls = [], []
    if b"\x0a" in kinds or b"\x06" in kinds:
        for cell, kind in enumerate(kinds):
            if kind != 10 and kind != 6:
                continue
            ahead, right = view - 1 - cell % view, cell // view - view // 2
            if ahead == 0 and right == 0:
                continue
            px, py, state = x + ahead * fx - right * fy, y + ahead * fy + right * fx, raw[3 * cell + 2]
            if kind == 6:
                balls.append((px, py))
            else:
                people.append(Person("", raw[3 * cell + 1] == colour, px, py, state % 100, state >= 100, 0))
    return tuple(people), tuple(balls)


# -- rules and scores ----------------------------------------------------------------------------------
def rules(env: Any) -> str:
    """The rules of a game with its options, for people and language models."""
    g: Game = env.game
    lines = [
        f"{' against '.join(str(n) for n in g.teams)} agents on a field of {g.width - 2} by {g.height - 2} cells with a wall around it."
        if not g.cooperative
        else f"{sum(g.teams)} agents of one team on a field of {g.width - 2} by {g.height - 2} cells with a wall around it.",
        "Each tick every agent does one thing, in a random order: left or right (turn on the spot by a quarter), forward "
        "(one cell), pickup, drop; noop, toggle and done do nothing.",
    ]
    if env.reference:
        lines.append("Walls and loose balls stop you; agents share cells.")
    else:
        lines.append(
            "Walls, loose balls and other agents stop you."
            + ("" if g.collect else " You may not enter the goal that your team defends.")
        )
    if g.collect:
        lines.append(
            f"{g.balls} balls lie on the field. pickup takes the ball in the cell ahead for your team: it is worth 1 plus 0.05 for "
            "every tick left, and costs everybody else as much. The game ends when no ball is left."
        )
    else:
        cells = {s: ", ".join(f"({x}, {y})" for x, y in g.attacks(s)) for s in range(2) if g.teams[s]}
        lines += [
            " ".join(f"The {TEAMS[s]} team scores on the cells (column, row) {c}." for s, c in cells.items()),
            "pickup takes the ball in the cell ahead if your hands are empty. It also steals the ball from an opponent in the cell "
            f"ahead; thief and victim then cannot steal for {env.steal_cooldown} ticks.",
            "drop passes the ball to a random team-mate, however far away; without team-mates it puts the ball on the cell ahead.",
            "A team scores when its agent stands on a goal cell with the ball, even if it was passed the ball there. The ball then "
            f"reappears at random. {env.goals_to_win} goals win.",
            "Every member of the scoring team is rewarded with 1 plus 0.05 for every tick left."
            + (
                " Small rewards guide the way: 0.3 for a steal, 0.01 per cell gained towards the ball or, with it, the goal."
                if env.shaping
                else ""
            ),
        ]
    lines.append(
        f"After {env.horizon} ticks the game is over."
        + (f" You see {env.view_size} by {env.view_size} cells ahead of you." if env.observe != "full" else "")
    )
    return "\n".join(lines)


def metrics(env: Any) -> dict[str, str]:
    """Names of the scores, the first one primary, with what they say."""
    g: Game = env.game
    what = "balls" if g.collect else "goals"
    if g.cooperative:
        return {"goals": f"goals scored, 0 to {env.goals_to_win}", "ticks": "ticks played"}
    if len(g.teams) == 3:
        own = {f"balls_{s}": f"balls taken by {s}" for s in g.seats}
        return {
            "first_win": f"share of the win of {g.seats[0]}: 1 alone, 1/k in a tie of k, 0 otherwise",
            **own,
            "ticks": "ticks played",
        }
    return {
        "left_win": f"1 if the left team has more {what}, 0.5 in a tie, 0 otherwise",
        "right_win": f"1 if the right team has more {what}, 0.5 in a tie, 0 otherwise",
        f"{what}_left": f"{what} of the left team",
        f"{what}_right": f"{what} of the right team",
        f"{what[:-1]}_difference": f"{what} of the left team minus those of the right team",
        "ticks": "ticks played",
    }


def seat_metrics(env: Any) -> dict[str, dict[str, str]]:
    """`win`: what a seat's own team has of the win; its goals or balls likewise."""
    g: Game = env.game
    if g.cooperative or len(g.teams) != 2:
        return {}
    what = "balls" if g.collect else "goals"
    side = {s: "left" if s.startswith("left") else "right" for s in g.seats}
    return {"win": {s: f"{t}_win" for s, t in side.items()}, f"own_{what}": {s: f"{what}_{t}" for s, t in side.items()}}


def score(game: Game, goals: Sequence[int], ticks: int) -> dict[str, float]:
    """Values for the names in `metrics`."""
    if game.cooperative:
        return {"goals": float(sum(goals)), "ticks": float(ticks)}
    if len(game.teams) == 3:
        best = max(goals)
        win = 1.0 / goals.count(best) if goals[0] == best else 0.0  # type: ignore[attr-defined]
        return {
            "first_win": win,
            **{f"balls_{s}": float(n) for s, n in zip(game.seats, goals, strict=True)},
            "ticks": float(ticks),
        }
    what, left, right = "balls" if game.collect else "goals", goals[0], goals[1]
    return {
        "left_win": 1.0 if left > right else 0.5 if left == right else 0.0,
        "right_win": 1.0 if right > left else 0.5 if left == right else 0.0,
        f"{what}_left": float(left),
        f"{what}_right": float(right),
        f"{what[:-1]}_difference": float(left - right),
        "ticks": float(ticks),
    }


# -- the text view -------------------------------------------------------------------------------------
def where(f: Facts, x: int, y: int) -> str:
    """A cell relative to the agent: "3 ahead, 1 to your left"."""
    dx, dy, fx, fy = x - f.x, y - f.y, DX[f.face], DY[f.face]
    ahead, right = dx * fx + dy * fy, dy * fx - dx * fy
    parts = []
    if ahead:
        parts.append(f"{abs(ahead)} {'ahead' if ahead > 0 else 'behind'}")
    if right:
        parts.append(f"{abs(right)} to your {'right' if right > 0 else 'left'}")
    return ", ".join(parts) or "on your cell"


def _ahead(f: Facts) -> str:
    x, y = f.x + DX[f.face], f.y + DY[f.face]
    for p in f.people:
        if (p.x, p.y) == (x, y):
            return ("a team-mate" if p.mate else "an opponent") + (" with the ball" if p.carries else "")
    if (x, y) in f.balls:
        return "a ball" if f.game.collect else "the ball"
    if not (0 < x < f.game.width - 1 and 0 < y < f.game.height - 1):
        return "the wall"
    if f.game.goals and (x, y) in f.game.goals[f.side]:
        return "the goal that your team defends"
    if f.game.goals and (x, y) in f.game.attacks(f.side):
        return "a goal cell on which you score"
    return "a free cell"


def _person(f: Facts, p: Person) -> str:
    turned = ("the same way as you", "to your right", "towards you", "to your left")[(p.face - f.face) % 4]
    if (p.face - f.face) % 4 == 2:
        turned = "the opposite way"
    words = f"{where(f, p.x, p.y)}, facing {turned}" + (", with the ball" if p.carries else "")
    return (
        (f"{p.seat}: " if p.seat else "")
        + words
        + (f", cannot steal for {p.cooldown - 1} ticks" if p.cooldown > 1 else "")
    )


def text(env: Any, data: Mapping[str, Any]) -> str:
    """The text view: score, yourself, the goal, balls, team-mates, opponents, the cell ahead."""
    f = facts(data)
    g = f.game
    own, what = data["goals"][f.side], "balls" if g.collect else "goals"
    lines = [f"{g.sport}, tick {data['tick']} of {env.horizon}. You are {data['seat']}."]
    others = [n for s, n in enumerate(data["goals"]) if s != f.side and g.teams[s]]
    lines.append(
        f"{what.capitalize()}: your team {own}"
        + (f", {'others' if len(others) > 1 else 'opponents'} {' and '.join(map(str, others))}." if others else ".")
    )
    hands = "" if g.collect else " You have the ball." if f.carries else " Your hands are empty."
    if f.cooldown > 1:
        hands += f" You cannot steal for {f.cooldown - 1} ticks."
    lines.append(f"You stand at column {f.x}, row {f.y}, facing {FACES[f.face]}.{hands}")
    if not g.collect:
        cells = g.attacks(f.side)
        x, y = min(cells, key=lambda c: (abs(c[0] - f.x) + abs(c[1] - f.y), c))
        lines.append(
            f"You score at column {x}, rows {cells[0][1]} to {cells[-1][1]}: the nearest goal cell is {where(f, x, y)}."
        )
    lines.append(f"Ahead of you: {_ahead(f)}.")
    if g.collect:
        seen = "; ".join(where(f, *b) for b in sorted(f.balls, key=lambda b: (abs(b[0] - f.x) + abs(b[1] - f.y), b)))
        lines.append(
            f"Balls left: {g.balls - sum(data['goals'])}. {'Balls' if f.sure else 'In sight'}: {seen or 'none'}."
        )
    elif f.balls:
        lines.append(f"The ball lies {where(f, *f.balls[0])}.")
    elif not f.carries and not any(p.carries for p in f.people):
        lines.append("You do not see the ball.")
    for title, mate in (("Team-mates", True), ("Opponents", False)):
        known = [p for p in f.people if p.mate == mate]
        if known or (not f.sure and sum(1 for s in g.side if (s == f.side) == mate) > mate):
            lines.append(f"{title}: " + ("; ".join(_person(f, p) for p in known) or "none in sight") + ".")
    if data.get("events"):
        lines.append(f"Last tick: {_events(data['events'])}.")
    return "\n".join(lines)


def _events(e: Mapping[str, str]) -> str:
    told = []
    if "stealer" in e:
        told.append(f"{e['stealer']} stole the ball from {e['victim']}")
    if "passer" in e:
        told.append(f"{e['passer']} passed to {e['receiver']}")
    if "goal" in e:
        told.append(f"{e['goal']} scored")
    return ", ".join(told)


def field_text(
    game: Game,
    agents: Sequence[tuple[int, int, int, int, bool]],
    balls: Sequence[tuple[int, int]],
    goals: Sequence[int],
    tick: int,
) -> str:
    """The field as characters: # wall, [ and ] goals, o ball, agents by facing, two characters a cell.

    An agent is its facing (> v < ^) and its team (l, r, t; a capital letter carries the ball).
    """
    rows = [
        ["##" if x in (0, game.width - 1) or y in (0, game.height - 1) else " ." for x in range(game.width)]
        for y in range(game.height)
    ]
    for sign, cells in zip((" [", " ]"), game.goals, strict=False):
        for x, y in cells:
            rows[y][x] = sign
    for x, y in balls:
        rows[y][x] = " o"
    for x, y, face, side, carries in agents:
        letter = TEAMS[side][0]
        rows[y][x] = ">v<^"[face] + (letter.upper() if carries else letter)
    return f"tick {tick}, score {' : '.join(map(str, goals))}\n" + "\n".join("".join(r) for r in rows)
