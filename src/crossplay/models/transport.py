"""One sending over a pooled asyncio client: what came back, or what went wrong, within a time."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass
from weakref import WeakKeyDictionary

import aiohttp
import msgspec
from yarl import URL

from crossplay.models.answer import Failed
from crossplay.wire import is_loopback

__all__ = ["PROBLEMS", "Sent", "Stream", "Transport", "seconds_to_wait"]

PROBLEMS = {
    408: "timeout",
    409: "server",
    425: "server",
    429: "rate",
    500: "server",
    502: "server",
    503: "server",
    504: "timeout",
    529: "server",
}
"""What is tried again, by status."""
MOST_BYTES = 1 << 26
"""Of one answer: more is no answer."""


class Stream(Protocol):
    """What puts the events of a stream together."""

    whole: bool
    over: bool

    def add(self, data: bytes) -> None:
        """The data of the next event."""
        ...


class Sent(msgspec.Struct, gc=False):
    """What became of one sending: content, or a problem.

    problem: "" or "connect", "timeout", "disconnect", "malformed", "rate", "server", "refused",
    "down"; text: the problem in words; pause: seconds that the endpoint asks to wait. streamed: the
    answer is in the stream that was given, not in content.
    """

    content: bytes = b""
    problem: str = ""
    text: str = ""
    pause: float = 0.0
    streamed: bool = False


class Transport:
    """Connections to one endpoint, kept alive, a pool for each event loop.

    url: up to and without the path. headers: of every request. timeout_s, connect_s: of one sending.
    Proxies are those of the environment, read once; an endpoint on loopback has none.
    """

    def __init__(self, url: str, headers: Mapping[str, str], timeout_s: float, connect_s: float) -> None:
        self.url = url
        self._headers = {"Content-Type": "application/json", **headers}
        self._timeout_s, self._connect_s = timeout_s, connect_s
        self._urls: dict[str, URL] = {}
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()
        self._last: tuple[asyncio.AbstractEventLoop, aiohttp.ClientSession] | None = None

    def _session(self) -> aiohttp.ClientSession:
        loop = asyncio.get_running_loop()
        last = self._last
        if last is not None and last[0] is loop and not last[1].closed:
            return last[1]
        session = self._sessions.get(loop)
        if session is None or session.closed:
            self._drop_ended()
            session = self._sessions[loop] = self._open()
        self._last = (loop, session)
        return session

    def _open(self) -> aiohttp.ClientSession:
        proxy, auth = _proxy(self.url)
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # the limiter keeps the number down
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=self._limit(self._timeout_s),
            headers=self._headers,
            proxy=proxy,
            proxy_auth=auth,
        )

    def _limit(self, seconds: float) -> aiohttp.ClientTimeout:
        return aiohttp.ClientTimeout(total=seconds, sock_connect=min(self._connect_s, seconds))

    def _drop_ended(self) -> None:
        for old, its in list(self._sessions.items()):
            if old.is_closed():
                _discard(its)
                del self._sessions[old]

    def _address(self, path: str) -> URL:
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = URL(self.url + path)
        return url

    async def post(
        self, path: str, raw: bytes, key: str = "", seconds: float | None = None, stream: Stream | None = None
    ) -> Sent:
        """Send once. key: for idempotency. seconds: less time than usual. stream: gets the events, if any come."""
        more = {"Idempotency-Key": key} if key else None
        session, address = self._session(), self._address(path)
        try:
            if seconds is None or seconds >= self._timeout_s:
                asked = session.post(address, data=raw, allow_redirects=False, headers=more)
            else:
                limit = self._limit(seconds)
                asked = session.post(address, data=raw, allow_redirects=False, headers=more, timeout=limit)
            async with asked as response:
                if response.status != 200:
                    return _unwell(response, await _body(response))
                if stream is not None and response.content_type == "text/event-stream":
                    return await _follow(response, stream)
                return Sent(await _body(response))
        except _TooLong:
            return Sent(problem="malformed", text=f"the answer is longer than {MOST_BYTES >> 20} MiB")
        except aiohttp.ConnectionTimeoutError:
            return Sent(problem="connect", text=f"no connection in {min(self._connect_s, self._timeout_s):g} s")
        except TimeoutError:
            waited = self._timeout_s if seconds is None else min(seconds, self._timeout_s)
            return Sent(problem="timeout", text=f"no answer in {waited:.3g} s")
        except aiohttp.ClientConnectorError as error:
            return Sent(problem="connect", text=str(getattr(error, "strerror", None) or error))
        except (aiohttp.ClientError, OSError) as error:
            return Sent(problem="disconnect", text=f"the connection broke ({type(error).__name__})")

    async def status(self, path: str) -> int:
        """The status of a GET; raises OSError or aiohttp's errors when there is none."""
        async with self._session().get(self._address(path), allow_redirects=False) as response:
            return response.status

    async def aclose(self) -> None:
        """Close the connections of this event loop; those of ended loops are dropped."""
        self._last = None
        for loop, session in list(self._sessions.items()):
            if loop is asyncio.get_running_loop():
                await session.close()
            else:
                _discard(session)
        self._sessions.clear()


class _TooLong(Exception):
    """An answer went over `MOST_BYTES`."""


async def _body(response: aiohttp.ClientResponse) -> bytes:
    length = response.content_length
    if length is not None and length <= MOST_BYTES and "Content-Encoding" not in response.headers:
        return await response.read()
    pieces, size = [], 0
    async for piece in response.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > MOST_BYTES:
            raise _TooLong
    return b"".join(pieces)


async def _follow(response: aiohttp.ClientResponse, stream: Stream) -> Sent:
    """Read events until the stream is over. What ends before it is whole is a broken connection."""
    from crossplay.models.sse import EventLines

    events, size = EventLines(), 0
    async for piece in response.content.iter_any():
        size += len(piece)
        if size > MOST_BYTES:
            raise _TooLong
        try:
            for data in events.feed(piece):
                stream.add(data)
        except Failed as error:
            return failed(error)
        except (ValueError, TypeError, AttributeError) as error:
            return Sent(problem="malformed", text=f"an event of the stream is not what it should be ({error})")
        if stream.over:
            break
    if not stream.whole:
        return Sent(problem="disconnect", text="the stream ended before the answer was whole")
    with contextlib.suppress(TimeoutError, aiohttp.ClientError):
        async with asyncio.timeout(0.25):  # the end of the body, so that the connection can be kept
            while not response.content.at_eof():
                await response.content.readany()
    return Sent(streamed=True)


def failed(error: Failed) -> Sent:
    """An endpoint that says in a good answer that it failed."""
    return Sent(problem=PROBLEMS.get(error.status, "refused"), text=f"the endpoint says: {error}")


def _unwell(response: aiohttp.ClientResponse, content: bytes) -> Sent:
    status, text = response.status, _error_text(response.status, content)
    if status in PROBLEMS:
        return Sent(problem=PROBLEMS[status], text=text, pause=seconds_to_wait(response.headers))
    if 300 <= status < 400:
        text += f" (redirected to {response.headers.get('Location', '?')[:200]}; set url)"
    return Sent(problem="down" if status in (401, 403, 404) else "refused", text=text)


def seconds_to_wait(headers: Mapping[str, str]) -> float:
    """What `Retry-After` asks for, as seconds or as a date; 0 where it says nothing that can be read.

    A date is compared with the endpoint's own clock where it tells the time. Source: RFC 9110, 10.2.3.
    """
    said = headers.get("Retry-After", "").strip()
    if re.fullmatch(r"\d{1,9}(\.\d+)?", said):
        return float(said)
    try:
        then = parsedate_to_datetime(said).timestamp()
    except (ValueError, TypeError, OverflowError):
        return 0.0
    try:
        now = parsedate_to_datetime(headers.get("Date", "")).timestamp()
    except (ValueError, TypeError, OverflowError):
        now = time.time()
    wait = then - now
    return wait if math.isfinite(wait) and wait > 0 else 0.0


def _error_text(status: int, content: bytes) -> str:
    """The endpoint's own words, cut to one line."""
    try:
        error = msgspec.json.decode(content)["error"]
        text = error["message"] if isinstance(error, dict) else str(error)
    except (msgspec.MsgspecError, KeyError, TypeError):
        text = content[:2000].decode(errors="replace")
    return f"status {status}: {' '.join(str(text).split())[:200]}"


def _proxy(url: str) -> tuple[URL | None, aiohttp.BasicAuth | None]:
    """The environment's proxy for an address, and its password."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if is_loopback(host) or proxy_bypass(host):
        return None, None
    found = getproxies().get(parts.scheme)
    if not found:
        return None, None
    proxy = URL(found if "://" in found else f"http://{found}")
    auth = aiohttp.BasicAuth(proxy.user, proxy.password or "") if proxy.user else None
    return proxy.with_user(None), auth


def _discard(session: aiohttp.ClientSession) -> None:
    """Free a session whose event loop has ended, so that it cannot be closed the usual way."""
    connector = session.connector
    session.detach()
    if connector is not None:
        closing: Any = connector.close().__await__()
        with contextlib.suppress(StopIteration, RuntimeError):
            next(closing)  # with its loop gone there is nothing to wait for
        closing.close()
