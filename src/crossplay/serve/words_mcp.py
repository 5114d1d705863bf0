"""What clients of the MCP seat are told: how to play, the tools, their arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossplay.agents.open_seat import OpenSeat

__all__ = ["HOW", "TOOLS", "tool_schemas"]

HOW = (
    "You fill one seat of a game that is played in turns, perhaps over several episodes. Call observe: it waits "
    "until it is your turn and shows what your seat may know and which actions are legal. Then call act with one "
    "of them and the number of the turn; it answers with your next observation. When a status is waiting or episode_over, call observe again. "
    "When it is over, everything is played. The rules are the resource crossplay://seat/rules."
)

TOOLS = {
    "observe": "Wait for your turn and see what your seat may know, what may be answered, and what was said to you.",
    "legal_actions": "What may be answered in your open turn: the names of the legal actions, or a JSON schema.",
    "act": "Answer your open turn. The result is your next observation, or how the episode ended.",
    "say": "Say something to seats that can hear you. It is sent with your next action.",
    "state_of_play": "Whose turn it is, which episode you are in, how many are finished and left.",
}
"""Name -> description, in the order listed."""


def tool_schemas(seat: OpenSeat) -> dict[str, dict[str, Any]]:
    """The JSON schema of the arguments of each tool. The action's is the seat's own where all its games share one."""
    wait = {"type": "number", "minimum": 0, "description": "Seconds to wait at most (the server has a limit too)."}
    turn = {"type": "integer", "description": "The number of the turn that is meant, as observe shows it."}
    schemas: dict[str, dict[str, Any]] = {
        "observe": {"wait": wait},
        "legal_actions": {},
        "act": {
            "action": action_schema(seat),
            "turn": turn,
            "confidence": {"type": "number", "minimum": 0, "maximum": 1, "description": "How sure you are."},
            "rationale": {"type": "string", "description": "Why, in your words; kept in the record."},
            "wait": wait,
        },
        "say": {
            "text": {"type": "string"},
            "to": {"type": "string", "description": "A seat, or * for all who can hear you."},
            "turn": turn,
        },
        "state_of_play": {},
    }
    if seat.talks:
        schemas["act"]["say"] = {"type": "string", "description": "Said to all who can hear you, with this action."}
    # A call that is sent again, because its reply was lost, must not be taken for the next turn.
    required = {"act": ["action", "turn"], "say": ["text"]}
    return {
        name: {
            "type": "object",
            "properties": properties,
            "additionalProperties": False,
            **({"required": required[name]} if name in required else {}),
        }
        for name, properties in schemas.items()
    }


def action_schema(seat: OpenSeat) -> dict[str, Any]:
    """The schema of an action: the seat's, or any value where the games differ or are not known yet."""
    if len(seat.specs) == 1 and seat.specs[0] is not None:
        spec = seat.specs[0]
        about = "One of the actions that are legal now." if spec.kind == "names" else "Your answer."
        return {**spec.json_schema(), "description": about}
    return {"description": "The name of a legal action, or data of the form that observe shows."}
