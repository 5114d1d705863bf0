"""Who may talk to the page: Host and Origin of every request and WebSocket, the owner's token, headers of every answer."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from typing import Any

from crossplay.wire.http.guard import Guard

__all__ = ["COOKIE", "Gate", "cookie_of"]

COOKIE = "crossplay"
_POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; style-src 'self'; object-src 'none'; base-uri 'none'; "
    "frame-ancestors 'none'; form-action 'self'"
)
# Answers of the API are read by scripts of ours. Opened by themselves (a drawing made from the run of somebody
# else), they may show themselves and nothing more.
_API_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),  # addresses may hold the token of a seat
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


def cookie_of(token: str) -> str:
    """What the owner's browser is given to show again: a digest, so that the token itself is in no browser's store."""
    return hmac.new(token.encode(), b"crossplay owner", hashlib.sha256).hexdigest()


def _headers(path: str) -> list[tuple[bytes, bytes]]:
    policy = _API_POLICY if path.startswith("/api/") else _POLICY
    return [(b"content-security-policy", policy.encode()), *_HEADERS]


class Gate:
    """An ASGI application behind the checks. scope["owner"] tells it whether the token of the server was given.

    token: "" where whoever reaches the server is its owner (loopback alone). names: hosts by which it may be called.
    """

    def __init__(self, app: Any, host: str, token: str = "", names: Iterable[str] = ()) -> None:
        self.app, self.token = app, token.encode()
        self.cookie = cookie_of(token).encode()
        self.guard = Guard(app, host, "", names)  # Host and Origin; the token is judged here, because guests have none

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass what may pass; say why not otherwise."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = {k.lower(): v for k, v in scope["headers"]}
        status, why = self.guard.verdict(headers)
        if not status and scope["type"] == "websocket" and b"origin" not in headers and b"cookie" in headers:
            status, why = 403, "a browser says where a page comes from\n"
        if status:
            await _refuse(scope, receive, send, status, why)
            return
        scope["owner"] = self._owner(headers)

        async def say(message: Any) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message["headers"], *_headers(scope["path"])]}
            await send(message)

        await self.app(scope, receive, say)

    def _owner(self, headers: dict[bytes, bytes]) -> bool:
        if not self.token:
            return True
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer":
            return hmac.compare_digest(given.strip(), self.token)
        try:
            cookies = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1"))
        except CookieError:
            return False
        return COOKIE in cookies and hmac.compare_digest(cookies[COOKIE].value.encode(), self.cookie)


async def _refuse(scope: Any, receive: Any, send: Any, status: int, why: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": why.strip()[:120]})
        return
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close"), *_headers(scope["path"])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": why.encode()})
