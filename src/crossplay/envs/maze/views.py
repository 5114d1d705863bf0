"""What a seat of `maze` reads and sees: the rules, the map as a drawing or in relative words, the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from crossplay.envs.maze.grid import HIDDEN, MOVES, WALL

__all__ = ["cell_words", "grid_image", "rules", "view_image", "view_text"]

_COLOURS = {HIDDEN: (190, 190, 190), 0: (255, 255, 255), WALL: (60, 60, 60)}
_START, _GOAL, _AT, _SIDE = (90, 150, 220), (100, 180, 100), (220, 120, 60), 16


def rules(protocol: str, solo: str, words: bool, turns: int, grader: bool) -> str:
    """The rules of one variant, for people and language models."""
    lines = ["A walk through a grid from S to G, one cell up, down, left or right at a time; # cells are walls."]
    if solo:
        lines.append(
            "You walk alone." + (" You have two maps; each hides cells that the other shows." * (solo == "merged"))
        )
        lines.append(
            "Choose a move, or stop at the goal. Nobody tells you when you run into a wall: the walk counts up to there."
            if protocol == "joint"
            else 'Write your moves in words, e.g. "up, right, right", and say that you have reached the goal when you have.'
        )
    else:
        lines.append(
            "Two walk together and take turns. Each has a map on which about half of the cells are hidden (?);"
        )
        lines.append("what one map hides, the other shows. Tell each other what you know.")
        if protocol == "joint":
            lines.append("A move counts only if one proposes it and the other agrees. Talk goes with any action.")
            lines.append("When you stand on the goal, one proposes to stop and the other agrees.")
        else:
            lines.append("You only talk. A move counts only if one proposes it and the other explicitly agrees.")
            lines.append("When both have said that the goal is reached, the talk is over.")
        lines.append("Nobody tells you when you run into a wall: the walk counts up to there.")
    if words:
        lines.append('Cells are named as seen from S, e.g. "2 up 1 right". Use these names when you talk.')
    lines.append(f"At most {turns} turns.")
    if grader:
        lines.append(
            "Seat grader reads the talk afterwards and writes down the moves that both agreed on, in order, as words: "
            '"up, right, right".'
        )
    return "\n".join(lines)


def cell_words(cell: Sequence[int], start: Sequence[int]) -> str:
    """A cell as seen from the start: "2 up 1 right"; the start itself is "here"."""
    down, right = cell[0] - start[0], cell[1] - start[1]
    parts = [f"{abs(down)} {'down' if down > 0 else 'up'}"] if down else []
    parts += [f"{abs(right)} {'right' if right > 0 else 'left'}"] if right else []
    return " ".join(parts) or "here"


def view_text(data: Mapping[str, Any]) -> str:
    """What does not change first (the maps), then the talk, which grows at its end, then where it stands."""
    lines: list[str] = []
    for i, known in enumerate(data["maps"]):
        name = "Your map" if len(data["maps"]) == 1 else f"Map {i + 1}"
        lines += [f"{name}:", *(_listed(known, data) if data["words"] else _drawn(known, data))]
    seats = data["seats"]
    for seat, text in data["talk"]:
        lines.append(f"{_who(data, seats[seat])}: {text}")
    if not data["maps"]:
        lines.append(f"The grid has {data['size']} rows and columns. S is in line {data['start'][0] + 1} from the top,")
        lines.append(
            f"{data['start'][1] + 1} from the left; G in line {data['goal'][0] + 1} from the top, {data['goal'][1] + 1} from the left."
        )
    if "log" in data:
        lines += _position(data)
    lines.append(f"Turn {data['turn'] + 1} of at most {data['turns']}." if not data["over"] else "It is over.")
    return "\n".join(lines)


def _who(data: Mapping[str, Any], seat: str) -> str:
    return "You" if seat == data["seat"] else f"Seat {seat}"


def _position(data: Mapping[str, Any]) -> list[str]:
    names, seats = data["actions"], data["seats"]
    log = "; ".join(f"{_who(data, seats[seat])}: {names[action]}" for seat, action in data["log"])
    lines = [f"Actions so far: {log or 'none'}."]
    lines.append(f"Walked so far: {', '.join(MOVES[m] for m in data['path']) or 'nothing'}.")
    if data["words"]:
        lines.append(f"You stand at: {cell_words(data['at'], data['start'])} (from S).")
    else:
        lines.append(f"You stand in line {data['at'][0] + 1} from the top, {data['at'][1] + 1} from the left.")
    if data["pending"] is not None:
        action, seat = data["pending"]
        lines.append(f"{_who(data, seats[seat])} proposed: {names[action].removeprefix('propose ')}.")
    return lines


def _drawn(known: np.ndarray, data: Mapping[str, Any]) -> list[str]:
    lines = [["?.#"[v + 1] for v in row] for row in np.asarray(known)]
    for cell, mark in ((data["start"], "S"), (data["goal"], "G")):
        lines[cell[0]][cell[1]] = mark
    return ["".join(line) for line in lines]


def _listed(known: np.ndarray, data: Mapping[str, Any]) -> list[str]:
    start, n = data["start"], len(known)
    groups: dict[int, list[str]] = {HIDDEN: [], 0: [], WALL: []}
    for cell in np.ndindex(n, n):
        if list(cell) != list(start):
            groups[int(known[cell])].append(cell_words(cell, start))
    edge = f"{start[0]} up, {n - 1 - start[0]} down, {start[1]} left, {n - 1 - start[1]} right"
    return [
        f"The grid reaches from S {edge}. The goal is {cell_words(data['goal'], start)}.",
        f"Open: {', '.join(groups[0])}.",
        f"Walls: {', '.join(groups[WALL])}.",
        f"Hidden: {', '.join(groups[HIDDEN])}.",
    ]


def view_image(data: Mapping[str, Any]) -> np.ndarray:
    """uint8[16 n, 16 n k + 16 (k - 1), 3]: the k maps side by side; start blue, goal green, position orange."""
    parts: list[np.ndarray] = []
    for i, known in enumerate(data["maps"]):
        if i:
            parts.append(np.full((len(known) * _SIDE, _SIDE, 3), 255, np.uint8))
        parts.append(grid_image(known, data["start"], data["goal"], data.get("at")))
    return np.concatenate(parts, axis=1)


def grid_image(known: np.ndarray, start: Sequence[int], goal: Sequence[int], at: Sequence[int] | None) -> np.ndarray:
    """One map as uint8[16 n, 16 n, 3]."""
    n = len(known)
    image = np.zeros((n, n, 3), np.uint8)
    for value, colour in _COLOURS.items():
        image[np.asarray(known) == value] = colour
    image[tuple(start)], image[tuple(goal)] = _START, _GOAL
    image = image.repeat(_SIDE, axis=0).repeat(_SIDE, axis=1)
    image[::_SIDE] = image[:, ::_SIDE] = 150
    if at is not None:
        r, c, pad = int(at[0]) * _SIDE, int(at[1]) * _SIDE, _SIDE // 4
        image[r + pad : r + _SIDE - pad, c + pad : c + _SIDE - pad] = _AT
    return image
