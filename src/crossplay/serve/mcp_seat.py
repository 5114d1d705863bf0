"""A seat as an MCP server: tools to look, act and speak; the rules and the own history as resources.

A front on the mailbox of an open seat, through the official SDK (extra `mcp`). It shows what the seat may know
and nothing else. `act` answers with the next observation, so that one call a move suffices; no call waits
longer than `hold` seconds, after which it says "waiting".
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from crossplay.agents.open_mailbox import Mailbox
from crossplay.agents.open_turn import Refused, Turn
from crossplay.kernel import CrossplayError, nearest
from crossplay.serve.words import told
from crossplay.serve.words_mcp import HOW, TOOLS, tool_schemas

if TYPE_CHECKING:
    from mcp.server.lowlevel import Server

    from crossplay.agents.open_seat import OpenSeat

__all__ = ["HOLD", "SeatTools", "make_server", "png"]

HOLD = 25.0
"""Seconds that a call waits for the next turn at most; many clients give up after 30 or 60."""
RULES, HISTORY, ROW = "crossplay://seat/rules", "crossplay://seat/history", "crossplay://seat/history/{turn}"


class SeatTools:
    """The tools of one seat, as functions from arguments to (state, turn, whether it was refused)."""

    def __init__(self, seat: OpenSeat, hold: float = HOLD) -> None:
        self.seat, self.hold = seat, hold

    @property
    def box(self) -> Mailbox:
        """Where the requests are."""
        return self.seat.mailbox

    async def call(self, name: str, given: Mapping[str, Any]) -> tuple[dict[str, Any], Turn | None, bool]:
        """The answer of a tool; arguments are checked here, because clients need not."""
        try:
            if name not in TOOLS or (name == "say" and not self.seat.talks):
                raise Refused(f"there is no tool {name[:40]}.{nearest(name, [t['name'] for t in listed(self.seat)])}")
            read = _check(name, given, tool_schemas(self.seat)[name])
            state, turn = await getattr(self, f"_{name}")(read)
        except Refused as refused:
            state = {"status": "refused", "why": str(refused), "turn_lost": refused.lost}
            return {**state, "now": self.box.state()["status"]}, None, True
        return state, turn, False

    async def _observe(self, given: dict[str, Any]) -> tuple[dict[str, Any], Turn | None]:
        return await self.box.observe(self._seconds(given))

    async def _legal_actions(self, given: dict[str, Any]) -> tuple[dict[str, Any], Turn | None]:
        turn = self.box.turn()
        return {"status": "your_turn", "turn": turn.id, **turn.choice()}, None

    async def _act(self, given: dict[str, Any]) -> tuple[dict[str, Any], Turn | None]:
        said = given.get("say")
        self.box.answer(
            given["action"],
            turn=given["turn"],
            say=[("*", said)] if said else (),
            confidence=given.get("confidence"),
            rationale=given.get("rationale"),
        )
        return await self.box.observe(self._seconds(given))

    async def _say(self, given: dict[str, Any]) -> tuple[dict[str, Any], Turn | None]:
        turn = self.box.say(given["text"], given.get("to") or "*", turn=given.get("turn"))
        waiting = [{"to": m.dst, "text": m.body} for m in turn.said]
        return {"status": "your_turn", "turn": turn.id, "said_with_next_action": waiting}, None

    async def _state_of_play(self, given: dict[str, Any]) -> tuple[dict[str, Any], Turn | None]:
        return self.box.state(), None

    def _seconds(self, given: Mapping[str, Any]) -> float:
        return min(self.hold, max(0.0, float(given.get("wait", self.hold))))


def _check(name: str, given: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments, known and of the right type; the action itself is checked by the seat."""
    read = {}
    for key, value in given.items():
        if key not in schema["properties"]:
            raise Refused(f'{name} takes no "{key}"; it takes {", ".join(schema["properties"]) or "nothing"}.')
        kind = schema["properties"][key].get("type", "") if key != "action" else ""
        if kind == "integer" and isinstance(value, float) and value.is_integer():
            value = int(value)  # 3.0 is a whole number in JSON
        if kind and (not isinstance(value, _TYPES[kind]) or isinstance(value, bool)):
            raise Refused(f'{name}: "{key}" must be of type {kind}.')
        read[key] = value
    for key in schema.get("required", ()):
        if key not in given:
            raise Refused(f'{name} needs "{key}".')
    return read


_TYPES: dict[str, Any] = {"string": str, "integer": int, "number": (int, float)}


def make_server(seat: OpenSeat, transport: str, hold: float = HOLD) -> Server[Any]:
    """The MCP server of a seat. transport: "stdio" or "http", as the trace shall say it."""
    try:
        import mcp_types as t
        from mcp.server.lowlevel import Server
    except ImportError as error:
        raise CrossplayError("the package mcp is not installed; add it with the extra crossplay[mcp]") from error
    from crossplay import __version__

    tools, box = SeatTools(seat, hold), seat.mailbox
    here = False

    def contact(ctx: Any) -> Any:
        """Here for this call; over stdio, where a closed stream tells that the client has left, from now on."""
        nonlocal here
        if transport == "stdio" and not here:
            here = True
            box.arrive()
        return box.contact(**_party(ctx, transport))

    async def list_tools(ctx: Any, params: Any) -> Any:
        return t.ListToolsResult(tools=[t.Tool(**one) for one in listed(seat)])

    async def call_tool(ctx: Any, params: Any) -> Any:
        with contact(ctx):
            state, turn, wrong = await tools.call(params.name, params.arguments or {})
            return _result(t, state, turn, wrong)

    async def list_resources(ctx: Any, params: Any) -> Any:
        about = [
            t.Resource(name="rules", uri=RULES, mime_type="text/plain", description="The rules of the game."),
            t.Resource(
                name="history",
                uri=HISTORY,
                mime_type="application/json",
                description="Your own turns of this episode: what you answered, said, heard and earned.",
            ),
        ]
        return t.ListResourcesResult(resources=about)

    async def list_templates(ctx: Any, params: Any) -> Any:
        one = t.ResourceTemplate(
            name="turn",
            uri_template=ROW,
            mime_type="application/json",
            description="One of your own turns of this episode, with what you were shown.",
        )
        return t.ListResourceTemplatesResult(resource_templates=[one])

    async def read_resource(ctx: Any, params: Any) -> Any:
        with contact(ctx):
            mime, text = read(box, str(params.uri))
        content = t.TextResourceContents(uri=str(params.uri), mime_type=mime, text=text)
        return t.ReadResourceResult(contents=[content])

    return Server(
        "crossplay-seat",
        version=__version__,
        title=f"Crossplay: the seat of {seat.name}",
        instructions=HOW,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
    )


def read(box: Mailbox, uri: str) -> tuple[str, str]:
    """(MIME type, text) of a resource: the rules, or the party's own history."""
    if uri == RULES:
        rules = box.rules()
        if not rules:
            return "text/plain", "The rules are known when the first episode has begun."
        return "text/plain", "\n\n".join(
            f"{env}\n{text.strip() or 'No rules are told.'}" for env, text in rules.items()
        )
    rows = box.history()
    if uri == HISTORY:
        brief = [{**{k: v for k, v in row.items() if k != "shown"}, "inbox": row["shown"]["inbox"]} for row in rows]
        return "application/json", msgspec.json.encode(brief).decode()
    number = uri.removeprefix(f"{HISTORY}/")
    found = [row for row in rows if str(row["turn"]) == number]
    if not found:
        from mcp import MCPError
        from mcp_types import INVALID_PARAMS

        raise MCPError(INVALID_PARAMS, f"no resource {uri[:200]}; there are {RULES}, {HISTORY} and {ROW}")
    return "application/json", msgspec.json.encode(found[0]).decode()


def listed(seat: OpenSeat) -> list[dict[str, Any]]:
    """The tools as the SDK describes them; `say` only where somebody may hear."""
    schemas = tool_schemas(seat)
    output = {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]}
    return [
        {
            "name": name,
            "description": text,
            "input_schema": schemas[name],
            "output_schema": output,
            "annotations": {
                "read_only_hint": name not in ("act", "say"),
                "destructive_hint": False,
                "open_world_hint": False,
            },
        }
        for name, text in TOOLS.items()
        if name != "say" or seat.talks
    ]


def _result(t: Any, state: dict[str, Any], turn: Turn | None, wrong: bool) -> Any:
    content: list[Any] = [t.TextContent(text=told(state))]
    if turn is not None and "image" in turn.views:
        content.append(t.ImageContent(data=base64.b64encode(png(turn.views["image"])).decode(), mime_type="image/png"))
    return t.CallToolResult(content=content, structured_content=state, is_error=wrong)


def _party(ctx: Any, transport: str) -> dict[str, Any]:
    """Who the client says it is."""
    params = ctx.session.client_params
    info = params.client_info if params is not None else None
    name = f"{info.name[:80]} {info.version[:40]}".strip() if info is not None else "unknown"
    return {"front": f"mcp {transport}", "client": name, "protocol": str(ctx.session.protocol_version)}


def png(picture: Any) -> bytes:
    """A picture uint8[h, w, 3] as PNG."""
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture).save(out, "PNG")
    return out.getvalue()
