"""The state of an open seat in words, for parties that read text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["told"]


def told(state: Mapping[str, Any]) -> str:
    """A state of a mailbox as text: what a person or a language model needs, and nothing twice."""
    status = state["status"]
    if status == "refused":
        return f"Refused: {state['why']}"
    if status == "your_turn" and "environment" in state:
        return _turn(state)
    if status == "episode_over":
        note = f" {state['note'].capitalize()}." if "note" in state else ""
        return (
            f"Episode {state['episode']} has ended ({state['ended']}). Your rewards in it: "
            f"{state['total_reward']:g}.{note} {_tally(state)} Call observe to go on."
        )
    if status == "over":
        return f"It is over; nothing more is played. {_tally(state)}"
    if status == "waiting":
        return f"It is not your turn yet. {_tally(state)} Call observe to go on waiting."
    rest = {k: v for k, v in state.items() if k != "status"}
    return f"{status}: {msgspec.json.encode(rest).decode()}"


def _turn(state: Mapping[str, Any]) -> str:
    lines = [
        f"Your turn {state['turn']}: episode {state['episode']}, {state['environment']}, seat {state['seat']}, "
        f"tick {state['tick']}."
    ]
    if "deadline_s" in state:
        lines.append(f"Seconds left: {state['deadline_s']:g}.")
    last = state["last"]
    if last is not None:
        own = "" if last["origin"] == "own" else f" ({last['origin']}: not your own answer)"
        lines.append(f"Last played: {_say(last['value'])}{own}; reward since then {state['reward']:g}.")
    lines += [f"{m['from']} says: {_say(m['body'])}" for m in state["inbox"]]
    if state.get("brief"):
        lines.append(state["brief"])
    if "text" in state:
        lines.append(str(state["text"]))
    elif "data" in state:
        lines.append(_say(state["data"]))
    choice = state["answer"]
    if choice["kind"] == "names":
        lines.append(f"Legal actions: {', '.join(choice['legal'])}")
    else:
        lines.append(f"Answer: {_say(choice['schema'])}")
    if state["audience"]:
        lines.append(f"Who can hear you: {', '.join(state['audience'])}")
    if state.get("wants"):
        lines.append(f"Wanted beside the action: {', '.join(state['wants'])}")
    return "\n".join(lines)


def _say(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _tally(state: Mapping[str, Any]) -> str:
    left = state.get("episodes_left")
    void = state.get("episodes_void")
    parts = [f"{state['episodes_finished']} finished"]
    parts += [f"{left} left"] if left is not None else []
    parts += [f"{void} void"] if void else []
    return f"Episodes: {', '.join(parts)}."
