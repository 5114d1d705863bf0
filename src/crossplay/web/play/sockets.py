"""The WebSocket of a room, /ws/play/{room}: what a person (or the owner who watches) and the server say to each other.

First message of the client, within ten seconds: {"seat": "p0", "token": "...", "views": ["image"]}, or, for the owner,
{"watch": true}. Then, as JSON texts of 32 KiB at most:

    {"ready": true, "consent": true}     for the waiting room; consent where there is a text of it
    {"turn": 1000012, "value": "north"}  an answer to the open turn: a name or index, numbers, text or data
    {"say": "text", "to": "*"}           said with the next move
    {"views": ["image", "text"]}         what to be shown from now on

The server sends JSON texts, told apart by "kind". A state with its picture comes as one binary message: u8 2, three zeros,
u32 length of the JSON (little-endian), JSON, and the picture as web/pictures.py makes it.

    room      how the room stands: status, seats, the form of answer of one's own seat; again whenever that changes
    countdown seconds until the first tick
    state     a moment: tick, turn (null where it is not one's turn), legal (names, where not all are), last (what was
              played for the seat, and whether it was its own answer), reward, total, left (seconds, clock deadline), text,
              data, tally (what became of the answers that came). Of moments that wait to be sent only the newest is.
    heard     what somebody said to this seat; said: what one said is waiting for the next move
    refused   why an answer was not taken; it is counted, and nothing was played
    end       how an episode ended
    closed    that there is no more

Codes of closing: 1008 the first message or the token is wrong, or too much is sent; 4002 the link was opened in
another place; 4003 another link was made; 4001 the seat was handed back to its agent, 4005 given to one; 1013 nothing is read; 4429 too many tries; 4404 no such room (now).
"""

from __future__ import annotations

import asyncio
import contextlib
from types import NoneType
from typing import Any

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect, WebSocketState

from crossplay.agents.open_turn import Refused
from crossplay.kernel import CrossplayError
from crossplay.web.desk import Desk, Forbidden, TooMany
from crossplay.web.gate import trial
from crossplay.web.play.clock import Bucket
from crossplay.web.play.lines import Line
from crossplay.web.play.room import Room
from crossplay.web.play.rooms import hall

__all__ = ["SOCKETS"]

LARGEST = 32 << 10
"""Characters of one message at most."""
FIRST_S = 10.0
"""Seconds for the first message."""
FAREWELL_S = 3.0
"""To send what was told before the end."""
LINGER_S = 1.0
"""After the last game: what is still on its way is heard, until the client leaves."""
RATE, BURST = 40.0, 120.0
"""Messages a second in the long run, and at once; those above are refused and counted."""
PATIENCE = 200
"""Refusals for speed until the connection is closed."""


class Said(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One message of a client; which fields there are says what it is."""

    seat: str = ""
    token: str = ""
    watch: bool = False
    views: list[str] | None = None
    ready: bool | None = None
    consent: bool = False
    turn: int | None = None
    value: Any = None
    say: str | None = None
    to: str = "*"


class TooLarge(Exception):
    """A message over the limit."""


_decode = msgspec.json.Decoder(Said).decode


async def serve_room(desk: Desk, socket: WebSocket) -> None:
    """One connection, from its first message to its end."""
    await socket.accept()
    try:
        found = await _enter(desk, socket)
        if found is None:
            return
        room, line, seat = found
        sending = asyncio.create_task(_send(socket, line))
        hearing = asyncio.create_task(_hear(socket, room, line, seat))
        ending = asyncio.create_task(line.ended.wait())
        tasks = {sending, hearing, ending}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not hearing.done():
                await asyncio.wait({sending}, timeout=FAREWELL_S)  # who reads nothing is not waited for
            if line.closed is not None and line.closed[0] == 1000:
                await asyncio.wait({hearing}, timeout=LINGER_S)  # keys on their way are counted, as refused
        finally:
            room.leave(line)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in (sending, hearing):
            if not task.cancelled() and not isinstance(task.exception(), (WebSocketDisconnect, NoneType)):
                task.result()
        await _close(socket, *(line.closed or (1000, "")))
    except WebSocketDisconnect:
        return


async def _enter(desk: Desk, socket: WebSocket) -> tuple[Room, Line, str] | None:
    """The first message: who comes. None where nobody may."""
    here = hall(desk)
    try:
        first = _decode(await asyncio.wait_for(_text(socket), FIRST_S))
        room = here.rooms.get(str(socket.path_params["room"]))
        if first.watch:
            if not socket.scope.get("owner"):
                raise Forbidden("only the owner of the server watches")
            if room is None:
                raise LookupError
            return room, room.watch(first.views or ()), ""
        if room is None:
            with trial(desk, str(socket.path_params["room"])):  # perhaps it is opened again: one try for all its seats
                raise LookupError
        with trial(desk, room.name, first.seat, first.token):
            room.check(first.seat, first.token)
        if room.status in ("over", "stopped"):
            raise LookupError
        here.knock(room.name, first.seat)
        return room, room.join(first.seat, first.token, first.views or ()), first.seat
    except TooMany as error:
        await _close(socket, 4429, str(error))
    except LookupError:
        await _close(socket, 4404, "this room is not open (now); whoever invited you can open it again")
    except (CrossplayError, TooLarge, TimeoutError, msgspec.MsgspecError, RecursionError) as error:
        await _close(socket, 1008, str(error) or "nothing was said")
    return None


async def _send(socket: WebSocket, line: Line) -> None:
    """Everything that is told and shown, until the line is closed."""
    while messages := await line.next():
        for message in messages:
            if isinstance(message, str):
                await socket.send_text(message)
            else:
                await socket.send_bytes(message)


async def _hear(socket: WebSocket, room: Room, line: Line, seat: str) -> None:
    """Everything that the client says."""
    bucket, refused = Bucket(RATE, BURST), 0
    with contextlib.suppress(WebSocketDisconnect):
        while True:
            try:
                said = _decode(await _text(socket))
            except TooLarge:
                line.close(1008, f"a message has {LARGEST} characters at most")
                return
            except (msgspec.MsgspecError, RecursionError, ValueError) as error:
                _refuse(room, line, seat, f"this cannot be read: {error}", False)
                said = None
            if not bucket.take():
                refused += 1
                _refuse(room, line, seat, "too fast; it was not taken", said is not None and said.turn is not None)
                if refused > PATIENCE:
                    line.close(1008, "too much is sent")
                    return
                continue
            if said is not None:
                _take(room, line, seat, said)


def _take(room: Room, line: Line, seat: str, said: Said) -> None:
    """One message."""
    if said.views is not None:
        room.look(line, said.views, seat)
    if not seat:
        return
    if room.seats[seat].line is not line:
        return  # the seat is somebody else's by now; this line is about to end
    try:
        if said.turn is not None:
            room.answer(seat, said.turn, said.value)
        if said.say is not None:
            room.say(seat, said.say, said.to)
        if said.ready is not None:
            room.ready(seat, said.ready, said.consent)
    except Refused as why:
        line.tell({"kind": "refused", "why": str(why), "turn": said.turn})
    except CrossplayError as why:
        line.tell({"kind": "refused", "why": str(why), "turn": None})


def _refuse(room: Room, line: Line, seat: str, why: str, answer: bool) -> None:
    if seat and answer:
        room.seats[seat].refuse(received=1)
    line.tell({"kind": "refused", "why": why[:300], "turn": None})


async def _text(socket: WebSocket) -> str:
    """The next message; `TooLarge` over the limit, ValueError where it is not text."""
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1000))
    text = message.get("text")
    if text is None:
        raise msgspec.DecodeError("expected JSON text")
    if len(text) > LARGEST:
        raise TooLarge(f"a message has {LARGEST} characters at most")
    return str(text)


async def _close(socket: WebSocket, code: int, why: str) -> None:
    if socket.application_state is WebSocketState.CONNECTED and socket.client_state is WebSocketState.CONNECTED:
        with contextlib.suppress(RuntimeError, TimeoutError):  # it went away at this very moment, or reads nothing
            await asyncio.wait_for(socket.close(code, why.encode()[:120].decode("utf-8", "ignore")), FAREWELL_S)


SOCKETS = [("/ws/play/{room}", serve_room, "guest")]
