"""How much a request may hold: size, nesting and kind of a JSON body. Plain ASGI, and functions for others."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np

__all__ = ["BODY", "DEEPEST", "GUESTS", "Bounded", "refuse", "refuse_body", "refuse_headers", "too_deep"]

BODY = 4 << 20
"""Bytes of a body at most."""
GUESTS = 256 << 10
"""Bytes of a body of somebody who has no token, where that is known: hundreds of them may come at once."""
HEARD = 16 << 20
"""Bytes of a body that is refused which are heard, and dropped."""
DEEPEST = 64
"""Nesting of a JSON body at most."""
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?$)', re.DOTALL)  # also one that never ends
_STEP = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")
_OTHER = bytes(c for c in range(256) if c not in b"[{]}")
KINDS = ("application/json", "application/a2a+json")


def refuse_headers(method: str, headers: Mapping[bytes, bytes], most: int = BODY) -> tuple[int, str]:
    """(0, "") or the HTTP status and the reason of a refusal, from headers (names in lower case) alone."""
    length = headers.get(b"content-length", b"0")
    if b"content-length" in headers and b"transfer-encoding" in headers:
        return 400, "a body is as long as Content-Length says, or chunked"  # two readers could see two ends
    if not length.isdigit() or len(length) > 20 or int(length) > most:
        return 413, f"a body has {most} bytes at most"
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        return 415, "a body must not be compressed"
    kind = headers.get(b"content-type", b"").partition(b";")[0].strip().lower().decode("latin-1")
    if method == "POST" and (length.strip(b"0") or b"transfer-encoding" in headers) and kind not in KINDS:
        # A page of another site may send other kinds without asking first.
        return 415, "a body must be application/json"
    return 0, ""


def refuse_body(body: bytes, most: int = BODY) -> tuple[int, str]:
    """(0, "") or the HTTP status and the reason of a refusal, from the body."""
    if len(body) > most:
        return 413, f"a body has {most} bytes at most"
    return (400, f"a body is nested {DEEPEST} deep at most") if too_deep(body) else (0, "")


def too_deep(body: bytes) -> bool:
    """Whether brackets outside of texts are nested deeper than `DEEPEST`; wrong JSON is left to its reader."""
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return False
    # Not byte by byte: others are being served meanwhile.
    steps = np.frombuffer(_TEXT.sub(b"", body).translate(_STEP, _OTHER), np.int8)
    return bool(steps.size) and int(steps.cumsum(dtype=np.int32).max()) > DEEPEST


class Bounded:
    """An ASGI application that sees no body over the limits: bodies are read whole before it is called."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass what is small enough; say why not otherwise."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = BODY if scope.get("owner", True) else GUESTS
        status, why = refuse_headers(scope["method"], {k.lower(): v for k, v in scope["headers"]}, most)
        chunks: list[bytes] = []
        size, more = 0, True
        while more and not status:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            chunks.append(message.get("body", b""))
            size, more = size + len(chunks[-1]), message.get("more_body", False)
            if size > most:
                status, why = refuse_body(b"".join(chunks), most)
        body = b"".join(chunks)
        if not status:
            status, why = refuse_body(body, most)
        if status:
            await refuse(scope, receive, send, status, why, size=size if more else HEARD)
            return
        given = False

        async def again() -> Any:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, again, send)


async def refuse(scope: Any, receive: Any, send: Any, status: int, why: str, headers: Any = (), size: int = 0) -> None:
    """Answer a request that is refused with {"error": why}, then drop what still comes of its body, of which `size` bytes
    have come: whoever sends while the connection ends never reads why.
    """
    body = msgspec.json.encode({"error": why})
    length = (b"content-length", str(len(body)).encode())
    said = [(b"content-type", b"application/json"), length, *headers]
    await send({"type": "http.response.start", "status": status, "headers": said})
    await send({"type": "http.response.body", "body": body, "more_body": True})
    while size < HEARD:
        message = await receive()
        size += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body"):
            break
    await send({"type": "http.response.body"})
