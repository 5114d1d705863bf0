"""Who may ask a server of this package, and how much: token, Host and Origin, size and nesting of a body."""

from __future__ import annotations

import hmac
import ipaddress
import os
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from crossplay.kernel import CrossplayError

__all__ = ["BODY", "DEEPEST", "Guard", "Refusal", "guard_for", "too_deep"]

BODY = 4 << 20
"""Bytes of a request's body at most."""
DEEPEST = 64
"""Nesting of a JSON body at most."""
LOOPBACK = ("127.0.0.1", "localhost", "[::1]", "::1")


class Refusal(NamedTuple):
    """Why a request is not answered: HTTP status and text."""

    status: int
    text: str


class Guard:
    """What every request must have. token: a bearer token, "" for none; hosts: names in the Host header
    that are ours, () for any (only with a token). public: paths that need no token.
    """

    def __init__(self, token: str = "", hosts: tuple[str, ...] = LOOPBACK, public: tuple[str, ...] = ()) -> None:
        self._token, self._hosts, self._public = token, hosts, public

    def refuse(self, method: str, path: str, headers: Mapping[str, str]) -> Refusal | None:
        """Why a request with these headers (names in lower case) is refused, or None."""
        host = headers.get("host", "")
        if self._hosts and _name(host) not in self._hosts:
            # A page in a browser can reach loopback under a name of its own (DNS rebinding).
            return Refusal(421, f"this server is not {host[:100]!r}")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return Refusal(403, "requests from other sites are not answered")
        if self._token and path not in self._public:
            given = headers.get("authorization", "")
            if not hmac.compare_digest(given.encode("utf-8", "replace"), f"Bearer {self._token}".encode()):
                return Refusal(401, "a bearer token is needed")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > BODY:
            return Refusal(413, f"a body has at most {BODY} bytes")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        sized = length != "0" or "transfer-encoding" in headers
        if method == "POST" and sized and kind not in ("application/json", "application/a2a+json"):
            return Refusal(415, "a body must be application/json")
        return None

    def refuse_body(self, body: bytes) -> Refusal | None:
        """Why a body is refused, or None."""
        if len(body) > BODY:
            return Refusal(413, f"a body has at most {BODY} bytes")
        return Refusal(400, f"a body is nested {DEEPEST} deep at most") if too_deep(body) else None


def guard_for(host: str, token_env: str, public: tuple[str, ...] = ()) -> Guard:
    """The guard of a server at this address; an address beyond this machine needs a token.

    token_env: the environment variable that holds the token, or "".
    """
    token = os.environ.get(token_env, "") if token_env else ""
    if token_env and len(token) < 16:
        raise CrossplayError(f"--token-env: the variable {token_env} must hold a token of 16 characters or more")
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    if not local and not token:
        raise CrossplayError(
            f"--host {host}: an address beyond this machine needs a token; name a variable with --token-env"
        )
    return Guard(token, LOOPBACK if local else (), public)


def too_deep(body: bytes) -> bool:
    """Whether brackets outside of strings are nested deeper than `DEEPEST`; wrong JSON is left to the reader."""
    depth, quoted, escaped = 0, False, False
    if body.count(b"[") + body.count(b"{") <= DEEPEST:
        return False
    for c in body:
        if quoted:
            if escaped:
                escaped = False
            elif c == 92:
                escaped = True
            elif c == 34:
                quoted = False
        elif c == 34:
            quoted = True
        elif c in (91, 123):
            depth += 1
            if depth > DEEPEST:
                return True
        elif c in (93, 125):
            depth -= 1
    return False


def _name(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host.partition("]")[0] + "]"
    return host.partition(":")[0].lower()


def headers_of(raw: Any) -> dict[str, str]:
    """ASGI's headers as text."""
    return {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in raw}
