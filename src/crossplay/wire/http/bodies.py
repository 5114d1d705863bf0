"""How much a request may hold: size, nesting and kind of a JSON body. Plain ASGI, and functions for others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

__all__ = ["BODY", "DEEPEST", "Bounded", "refuse_body", "refuse_headers", "too_deep"]

BODY = 4 << 20
"""Bytes of a body at most."""
DEEPEST = 64
"""Nesting of a JSON body at most."""
KINDS = ("application/json", "application/a2a+json")


def refuse_headers(method: str, headers: Mapping[bytes, bytes]) -> tuple[int, str]:
    """(0, "") or the HTTP status and the reason of a refusal, from headers (names in lower case) alone."""
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length) > BODY:
        return 413, f"a body has {BODY} bytes at most"
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        return 415, "a body must not be compressed"
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
    if method == "POST" and (length.strip(b"0") or b"transfer-encoding" in headers) and kind not in KINDS:
        # A page of another site may send other kinds without asking first.
        return 415, "a body must be application/json"
    return 0, ""


def refuse_body(body: bytes) -> tuple[int, str]:
    """(0, "") or the HTTP status and the reason of a refusal, from the body."""
    if len(body) > BODY:
        return 413, f"a body has {BODY} bytes at most"
    return (400, f"a body is nested {DEEPEST} deep at most") if too_deep(body) else (0, "")


def too_deep(body: bytes) -> bool:
    """Whether brackets outside of texts are nested deeper than `DEEPEST`; wrong JSON is left to its reader."""
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return False
    depth, quoted, escaped = 0, False, False
    for c in body:
        if escaped:
            escaped = False
        elif quoted:
            escaped, quoted = c == 0x5C, c != 0x22
        elif c == 0x22:
            quoted = True
        elif c in b"[{":
            depth += 1
            if depth > DEEPEST:
                return True
        elif c in b"]}":
            depth -= 1
    return False


class Bounded:
    """An ASGI application that sees no body over the limits: bodies are read whole before it is called."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass what is small enough; say why not otherwise."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, why = refuse_headers(scope["method"], {k.lower(): v for k, v in scope["headers"]})
        chunks: list[bytes] = []
        size, more = 0, True
        while more and not status:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            chunks.append(message.get("body", b""))
            size, more = size + len(chunks[-1]), message.get("more_body", False)
            if size > BODY:
                status, why = refuse_body(b"".join(chunks))
        body = b"".join(chunks)
        if not status:
            status, why = refuse_body(body)
        if status:
            await _say(send, status, why)
            return
        given = False

        async def again() -> Any:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, again, send)


async def _say(send: Any, status: int, why: str) -> None:
    body = msgspec.json.encode({"error": why})
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
