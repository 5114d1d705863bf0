"""`Line`: what goes to one connection. Words wait in order; of moments only the newest, so that a slow reader stalls nobody."""

from __future__ import annotations

import asyncio
import struct
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from crossplay.agents.open_turn import plain
from crossplay.web.pictures import Encoder
from crossplay.web.play.seats import Shot

__all__ = ["BOTH", "MOMENT", "VIEWS", "Line", "apart"]

VIEWS = ("image", "text", "data")
"""The views that can be asked for."""
MOMENT = struct.Struct("<BxxxI")
BOTH = 2
"""A binary message that holds both: u8 kind (2), three zeros, u32 length of the JSON, JSON, picture."""
WAITING = 512
"""Messages that wait for a reader at most; whoever reads none of so many is let go."""
SLOW_S = 0.003
"""An environment whose pictures take longer is drawn beside the event loop, so that no tick waits for it."""

_drawing = ThreadPoolExecutor(1, "crossplay-drawing")  # one: pictures of one environment are drawn one after the other
_slow: dict[str, float] = {}  # name of an environment -> seconds that a picture took, smoothed
_brushes: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


def known(views: Sequence[str]) -> tuple[str, ...]:
    """The views among these that there are, each once: whoever asks a thousand times is drawn for once."""
    return tuple(dict.fromkeys(v for v in views if v in VIEWS))


def _brush() -> asyncio.Lock:
    """Whoever draws holds it: one drawing at a time, so that under load pictures come later and ticks do not."""
    loop = asyncio.get_running_loop()
    if loop not in _brushes:
        _brushes[loop] = asyncio.Lock()
    return _brushes[loop]


class Line:
    """One connection. views: what it is sent of each moment, of those there are.

    skipped: moments that a newer one overtook before they were sent.
    """

    def __init__(self, views: Sequence[str] = ()) -> None:
        self.views = known(views)
        self.skipped = 0
        self.closed: tuple[int, str] | None = None  # (code, why)
        self._words: deque[bytes] = deque()
        self._shot: Shot | None = None
        self._place = 0  # how many of the words come before the moment
        self._wake = asyncio.Event()
        self.ended = asyncio.Event()  # no more is told
        self._encoder = Encoder()

    def tell(self, message: Any) -> None:
        """Send a message; those told are sent in order."""
        if len(self._words) >= WAITING:
            self.close(1013, "nothing is read here")
            return
        self._words.append(msgspec.json.encode(message))
        self._wake.set()

    def show(self, shot: Shot) -> None:
        """Show a moment, in the place of one that was not sent yet."""
        self.skipped += self._shot is not None
        self._shot, self._place = shot, len(self._words)
        self._wake.set()

    def look(self, views: Sequence[str]) -> None:
        """Other views from now on."""
        self.views = known(views)
        self._encoder.forget()

    def close(self, code: int = 1000, why: str = "") -> None:
        """No more after what was told."""
        if self.closed is None:
            self.closed = (code, why)
        self.ended.set()
        self._wake.set()

    async def next(self) -> list[str | bytes]:
        """What is to be sent now: texts (JSON) and bytes (pictures), in order. [] when the line is closed."""
        while not self._words and self._shot is None:
            if self.closed is not None:
                return []
            self._wake.clear()
            await self._wake.wait()
        if self._shot is None:
            return self._said()
        async with _brush():
            shot, self._shot = self._shot, None  # the newest, whatever came while others were drawn
            place, words = self._place, self._said()
            if shot is not None:
                words[place:place] = await self._drawn(shot)
            await asyncio.sleep(0)  # ticks that are due come before the next drawing
        return words

    def _said(self) -> list[str | bytes]:
        words: list[str | bytes] = [word.decode() for word in self._words]
        self._words.clear()
        return words

    async def _drawn(self, shot: Shot) -> list[str | bytes]:
        """A moment as one message: JSON, or JSON and picture in one, because every message costs a wake-up of the other side."""
        views = self.views or tuple(v for v in VIEWS if _has(shot, v))[:1]
        message = {"kind": "state", "tick": shot.tick, "turn": shot.number or None, **shot.facts}
        drawn = b""
        for view in views:
            if not _has(shot, view):
                continue
            if view == "image":
                picture = await _picture(shot)
                if picture is not None:
                    drawn = self._encoder.encode(picture, shot.tick)
            elif view == "text":
                message["text"] = shot.text if shot.world else shot.env.view_text(shot.data)
            else:
                message["data"] = plain(shot.data)
        told = msgspec.json.encode(message)
        return [MOMENT.pack(BOTH, len(told)) + told + drawn if drawn else told.decode()]


def apart(message: bytes) -> tuple[bytes, bytes]:
    """(JSON, picture) of a binary message."""
    _, size = MOMENT.unpack_from(message)
    return message[MOMENT.size : MOMENT.size + size], message[MOMENT.size + size :]


def _has(shot: Shot, view: str) -> bool:
    """Whether a moment has a view. The world has no data: that is what the seats have."""
    if shot.world:
        return view == "text" or (view == "image" and shot.picture is not None)
    return view in shot.env.views and shot.data is not None


async def _picture(shot: Shot) -> Any:
    if shot.world:
        return shot.picture
    name = shot.env.name
    if _slow.get(name, 0.0) > SLOW_S:
        return await asyncio.get_running_loop().run_in_executor(_drawing, _timed, shot)
    return _timed(shot)


def _timed(shot: Shot) -> Any:
    began = time.perf_counter()
    picture = shot.env.view_image(shot.data)
    took, before = time.perf_counter() - began, _slow.get(shot.env.name)
    _slow[shot.env.name] = took if before is None else 0.8 * before + 0.2 * took
    return picture
