"""Who may talk to a server here: token, Host and Origin, before anything else is read. Plain ASGI.

Loopback by default. Another address needs a token, and a token is compared in constant time. A page in a
browser cannot reach a seat behind its owner's back: requests whose Origin is another site are refused, and
so are names of hosts that are not ours (DNS rebinding).
"""

from __future__ import annotations

import hmac
import ipaddress
import os
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from crossplay.kernel import CrossplayError
from crossplay.wire import is_loopback

__all__ = ["Guard", "split_address", "token_from"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

AT_ONCE = 64
"""Requests that are served at a time, of those that may pass."""
_AUTHORITY = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\s:\[\]@/?#,]+))(?::\d{1,5})?")
SHORTEST = 16
"""Characters of a token at least, where an address other than loopback is served."""


def split_address(address: str) -> tuple[str, int]:
    """("127.0.0.1", 8765) of "127.0.0.1:8765", ":8765" or "8765"; port 0 is any free one."""
    host, _, port = address.rpartition(":")
    host = (host or "127.0.0.1").removeprefix("[").removesuffix("]")
    if not port.isdigit() or not 0 <= int(port) <= 65535:
        raise CrossplayError(f'address "{address}": expected HOST:PORT, e.g. 127.0.0.1:8765, or a port alone')
    return host, int(port)


def is_wildcard(host: str) -> bool:
    """Whether it stands for all addresses of the machine."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False


def token_from(variable: str, host: str, where: str) -> str:
    """The token in an environment variable ("" where none is named); other addresses than loopback need one."""
    token = ""
    if variable:
        token = os.environ.get(variable, "").strip()
        if not token:
            raise CrossplayError(f"{where}: the environment variable {variable} is not set")
    if not is_loopback(host) and len(token) < SHORTEST:
        raise CrossplayError(
            f"{where}: {host} can be reached from other machines, so it needs a token of {SHORTEST} characters or "
            "more; name the environment variable that holds it (token_env, --token-env)"
        )
    return token


class Guard:
    """An ASGI application behind the checks. token: "" for none. names: hosts by which it may be called."""

    def __init__(self, app: App, host: str, token: str = "", names: Iterable[str] = ()) -> None:
        self.app, self.token = app, token.encode()
        self._open = 0
        self.any_host = is_wildcard(host)
        ours = {host, *names, *(("localhost", "127.0.0.1", "::1") if is_loopback(host) else ())}
        self.names = frozenset(name.lower() for name in ours)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass what may pass; say why not otherwise."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, why = self.verdict({k.lower(): v for k, v in scope["headers"]})
        if not status and self._open >= AT_ONCE:
            status, why = 503, f"{self._open} requests are being answered; ask again later\n"
        if not status:
            self._open += 1
            try:
                await self.app(scope, receive, send)
            finally:
                self._open -= 1
            return
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        if status == 401:
            headers.append((b"www-authenticate", b'Bearer realm="crossplay seat"'))
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": why.encode()})

    def verdict(self, headers: dict[bytes, bytes], encrypted: bool = False) -> tuple[int, str]:
        """(0, "") or the HTTP status and the reason of a refusal. encrypted: it is known that the request came by TLS."""
        authority = headers.get(b"host", b"").decode("latin-1").lower()
        if not self.any_host and host_of(authority) not in self.names:
            return 421, f"this server does not answer for the host {authority[:100]!r}\n"
        origin = headers.get(b"origin", b"").decode("latin-1").lower()
        scheme, _, site = origin.partition("://")
        if b"origin" in headers and (
            not site
            or scheme not in (("https",) if encrypted else ("http", "https"))
            or _plain(site, scheme) != _plain(authority, scheme)
        ):
            return 403, "requests from pages of other sites are refused\n"
        if headers.get(b"sec-fetch-site") in (b"cross-site", b"same-site") and not _visit(headers):
            return 403, "requests from pages of other sites are refused\n"
        if self.token:
            kind, _, given = headers.get(b"authorization", b"").partition(b" ")
            if kind.lower() != b"bearer" or not hmac.compare_digest(given.strip(), self.token):
                return 401, "the token is missing or wrong: send Authorization: Bearer TOKEN\n"
        return 0, ""


def _plain(authority: str, scheme: str) -> str:
    """Without the port that the scheme has anyway: browsers leave it out, proxies may not."""
    return authority.removesuffix(":443" if scheme == "https" else ":80")


def _visit(headers: dict[bytes, bytes]) -> bool:
    """Whether a browser follows a link: to a page of its own, not as a part of another one."""
    return headers.get(b"sec-fetch-mode") == b"navigate" and headers.get(b"sec-fetch-dest") == b"document"


def host_of(authority: str) -> str:
    """The host of "host:port", "[::1]:port" or "host"; "" of anything else."""
    found = _AUTHORITY.fullmatch(authority)
    return (found[1] or found[2]) if found else ""
