"""The WebSocket of a replay: a page says which tick or how fast, and gets pictures and texts.

The page sends JSON: {"watch": ["world", "SEAT:VIEW", ...]} (what is shown; screen 0 is the first of the list, and so
on), {"tick": 12}, {"from": 0, "to": 400, "speed": 30}, {"stop": true}, also together, each with a number "turn" of its
choice. The server answers a tick by a binary message for each picture that is watched (`web/pictures.py`) and then
{"tick", "turn", "texts": {screen: text}, "playing", "parted", "drift"}, where turn is that of the latest wish it
answers; texts only where they changed. {"watching": turn}: from here on the new list holds. {"why": text}: there are no
pictures, and why. {"error": text}: a message was not understood. Who asks again before an answer is there gets what was
asked last.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Annotated, Any

import msgspec
import numpy as np
from starlette.concurrency import run_in_threadpool

from crossplay.kernel import CrossplayError, Env
from crossplay.study.export import plain
from crossplay.study.replay import Parted, Replay
from crossplay.web.desk import Desk, NotFound
from crossplay.web.pictures import Encoder
from crossplay.web.story import Story, replays, story_of

__all__ = ["SCREENS", "Ask", "Show", "picture_of", "replay_socket", "words"]

_log = logging.getLogger("crossplay.web")
IDLE_S = 300.0
"""A page that says nothing for so long is gone; it connects again when it wants something."""
FASTEST = 60.0
"""Pictures a second. Faster replays leave ticks out."""
SCREENS = 32
LONGEST = 200_000
"""Letters of a text that are sent."""

Number = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]


class Ask(msgspec.Struct, rename={"first": "from", "last": "to"}):
    """What a page says: see the top of this module. speed: ticks a second."""

    watch: Annotated[list[Annotated[str, msgspec.Meta(max_length=240)]], msgspec.Meta(max_length=SCREENS)] | None = None
    tick: Number | None = None
    first: Number | None = None
    last: Number | None = None
    speed: Annotated[float, msgspec.Meta(gt=0, le=1000)] = 10.0
    stop: bool = False
    turn: Number = 0


def picture_of(value: Any) -> np.ndarray | None:
    """A view as a picture, None where it is none."""
    if isinstance(value, np.ndarray) and value.dtype == np.uint8 and value.ndim == 3 and value.shape[2] == 3:
        return value if value.size else None
    return None


def words(value: Any, env: Env) -> str:
    """A view as text that people can read."""
    if isinstance(value, str):
        text = value
    elif isinstance(value, np.ndarray):
        text = f"{value.dtype}{list(value.shape)}\n{np.array2string(value, precision=4, threshold=4000, max_line_width=100)}"
    else:
        text = Env.view_text(env, value)  # plain lines of any data, whatever the environment's own text says
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}\n... ({len(text)} letters)"


class Show:
    """What one page watches of one replay."""

    def __init__(self, replay: Replay) -> None:
        self.replay = replay
        self.watch(["world"])

    def watch(self, items: list[str]) -> None:
        """From now on these. Raises `NotFound` for what there is not."""
        seats, views = self.replay.env.seats, (*self.replay.env.views, "text of skills")
        parts = [item.rpartition(":") for item in items]
        for item, (seat, _, view) in zip(items, parts, strict=True):
            if item not in ("world", "world:text") and (seat not in seats or view not in views):
                raise NotFound(f'there is no "{item[:60]}" to watch; say "world", "world:text" or SEAT:VIEW')
        self.items = items
        self._encoders = [Encoder(i) for i in range(len(items))]
        self._texts: dict[int, str] = {}

    def at(self, tick: int) -> tuple[list[bytes], dict[str, str]]:
        """(pictures that changed hands, texts that changed) of a tick. Raises `Parted`."""
        self.replay.seek(tick)
        pictures, texts = [], {}
        for screen, item in enumerate(self.items):
            value = self._value(item)
            picture = picture_of(value)
            if picture is not None:
                pictures.append(self._encoders[screen].encode(picture, self.replay.tick))
                continue
            text = words(value, self.replay.env)
            if self._texts.get(screen) != text:
                self._texts[screen] = texts[str(screen)] = text
        return pictures, texts

    def _value(self, item: str) -> Any:
        if item == "world":
            picture = self.replay.picture()
            return self.replay.text() if picture is None else picture
        if item == "world:text":
            return self.replay.text()
        seat, _, view = item.rpartition(":")
        try:
            return self.replay.view(seat, view)
        except Exception as error:  # a seat that is out may have no view any more
            return f"(not to be seen at this tick: {error})"


class _Box:
    """What the page asked last."""

    def __init__(self) -> None:
        self.came = asyncio.Event()
        self.watch: Ask | None = None
        self.motion: Ask | None = None
        self.errors: list[str] = []
        self.gone = False

    def put(self, ask: Ask) -> None:
        """Later wishes take the place of earlier ones."""
        if ask.watch is not None:
            self.watch = ask
        if ask.stop or ask.tick is not None or ask.first is not None:
            self.motion = ask
        self.came.set()

    def take(self) -> Ask | None:
        """The motion that is wished, once."""
        motion, self.motion = self.motion, None
        return motion


async def replay_socket(desk: Desk, socket: Any) -> None:
    """Serve one page that watches one episode."""
    from starlette.websockets import WebSocketDisconnect

    with contextlib.suppress(WebSocketDisconnect):  # the page went while something was sent
        await _watched(desk, socket)


async def _watched(desk: Desk, socket: Any) -> None:
    await socket.accept()
    parts = socket.path_params
    try:
        story = await run_in_threadpool(story_of, desk, parts["run"], parts["episode"])
        own = replays(desk).own(story)
        replay = await run_in_threadpool(own.__enter__)
    except Exception as error:  # of a run that is damaged, or an environment of others
        if not isinstance(error, CrossplayError):
            _log.exception("replay of %s", parts["run"])
        await _say(socket, {"why": str(error) or type(error).__name__})
        await socket.close(1000, "no pictures")
        return
    try:
        await _Watching(socket, story, Show(replay)).go()
    finally:
        await run_in_threadpool(own.__exit__, None, None, None)


class _Watching:
    """The talk with one page."""

    def __init__(self, socket: Any, story: Story, show: Show) -> None:
        self.socket, self.story, self.show, self.box = socket, story, show, _Box()
        self.tick = self.turn = 0
        self._sent = 0.0

    async def go(self) -> None:
        """Until the page is gone, or says nothing for long."""
        reader = asyncio.create_task(self._read())
        try:
            while not self.box.gone:
                try:
                    await asyncio.wait_for(self.box.came.wait(), IDLE_S)
                except TimeoutError:
                    await self.socket.close(1000, "idle")
                    return
                await self._once()
        except (RuntimeError, OSError):  # the page went before something was sent
            pass
        finally:
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader

    async def _read(self) -> None:
        box = self.box
        while True:
            message = await self.socket.receive()
            if message["type"] == "websocket.disconnect":
                box.gone = True
                box.came.set()
                return
            try:
                box.put(msgspec.json.decode(message.get("text") or message.get("bytes") or b"", type=Ask))
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                box.errors = [*box.errors[-3:], str(error)]
                box.came.set()

    async def _once(self) -> None:
        """Do what was wished last."""
        box = self.box
        box.came.clear()
        again = await self._wishes()
        motion = box.take()
        self.turn = self.turn if motion is None else motion.turn
        if motion is None:
            if again:
                await self._send(self.tick, False)
        elif motion.first is not None:
            await self._play(motion.first, self.show.replay.last if motion.last is None else motion.last, motion.speed)
        else:
            await self._send(self.tick if motion.tick is None else motion.tick, False)

    async def _wishes(self) -> bool:
        """Errors are told, what is watched is changed; whether it was."""
        box = self.box
        while box.errors:
            await _say(self.socket, {"error": box.errors.pop(0)})
        if box.watch is None:
            return False
        asked, box.watch = box.watch, None
        try:
            self.show.watch(asked.watch or [])
            await _say(self.socket, {"watching": asked.turn})
        except NotFound as error:
            await _say(self.socket, {"error": str(error)})
            return False
        return True

    async def _play(self, first: int, last: int, speed: float) -> None:
        """Tick after tick at a speed; ticks are left out where they do not come in time."""
        clock = asyncio.get_running_loop().time
        last = min(last, self.show.replay.last)
        tick, began = min(first, last), clock()
        while True:
            playing = tick < last
            if not await self._send(tick, playing) or not playing:
                return
            due = began + max((tick + 1 - first) / speed, 0.0)
            due = max(due, clock() if speed <= FASTEST else self._sent + 1 / FASTEST)
            if await self._wished(due - clock()):
                return
            tick = min(max(tick + 1, first + int((clock() - began) * speed)), last)

    async def _wished(self, seconds: float) -> bool:
        """Wait; whether the page wants something else before that time."""
        box = self.box
        if seconds > 0 and not box.came.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(box.came.wait(), seconds)
        if not box.came.is_set():
            await asyncio.sleep(0)
            return False
        if box.motion is None and not box.gone:  # it goes on, with other things to see
            box.came.clear()
            await self._wishes()
            return False
        return True

    async def _send(self, tick: int, playing: bool) -> bool:
        """Show a tick; whether it could be shown."""
        self._sent = asyncio.get_running_loop().time()
        replay = self.show.replay
        parted = ""
        try:
            pictures, texts = await run_in_threadpool(self.show.at, tick)
        except Parted as error:
            # The last tick that is as recorded stays on the screen.
            parted, playing = str(error), False
            pictures, texts = await run_in_threadpool(self.show.at, error.tick)
        self.tick = replay.tick
        for picture in pictures:
            await self.socket.send_bytes(picture)
        told: dict[str, Any] = {"tick": self.tick, "turn": self.turn, "texts": texts, "playing": playing}
        if parted:
            told["parted"] = parted
        if replay.drift is not None:
            told["drift"] = replay.drift
        await _say(self.socket, told)
        return not parted


async def _say(socket: Any, data: dict[str, Any]) -> None:
    await socket.send_text(msgspec.json.encode(plain(data)).decode())
