"""Who may talk to the page: Host and Origin of every request and WebSocket, the owner's token, headers of every answer."""

from __future__ import annotations

import contextlib
import hmac
import secrets
from collections.abc import Iterable, Iterator
from typing import Any

from crossplay.web.desk import Desk, Forbidden, NotFound, TooMany
from crossplay.wire.http.bodies import refuse
from crossplay.wire.http.clients import Proxies, client_now, now_from
from crossplay.wire.http.guard import Guard
from crossplay.wire.http.tries import Tries

__all__ = ["COOKIE", "Gate", "Owner", "trial", "vouch"]

COOKIE = "crossplay"
OWNER_TRIES = (20, 0.1)
"""Wrong tokens of the owner that a client may give at once, and a second in the long run."""
GUEST_TRIES = (120, 1.0)
"""Wrong links of guests: drawn by us, so not to be guessed anyhow, and old ones are opened by whole classes."""
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


def _headers(path: str, given: Iterable[tuple[bytes, bytes]] = ()) -> list[tuple[bytes, bytes]]:
    """The headers of an answer, from those that it has: how long it is kept is for the answer to say, or never."""
    api = path.startswith("/api/")
    found = [*given, (b"content-security-policy", (_API_POLICY if api else _POLICY).encode()), *_HEADERS]
    if not any(name.lower() == b"cache-control" for name, _ in found):
        # Files of the page are asked for anew (and not sent again): a newer version of the server has newer ones.
        found.append((b"cache-control", b"no-store" if api else b"no-cache"))
    return found


class Owner:
    """The token of whoever runs the server, and what their browser shows instead. token: "" where all are owners.

    The cookie is drawn when the server starts and has nothing to do with the token: who guesses must guess the token, and is
    counted, while an owner who is logged in stays so whatever others behind the same address do.
    """

    def __init__(self, token: str = "") -> None:
        self.token = token.encode()
        self.cookie = secrets.token_urlsafe(32)
        self.tries = Tries(*OWNER_TRIES)

    def knows(self, token: bytes) -> bool:
        """Whether this is the token. Raises `TooMany` for a client that gave too many wrong ones."""
        if not self.token:
            return True
        client = client_now()
        if not self.tries.may(client):
            raise TooMany("too many wrong tokens from there; wait a minute")
        if hmac.compare_digest(token, self.token):
            return True
        self.tries.wrong(client, token)
        return False

    def shown(self, headers: dict[bytes, bytes]) -> bool:
        """Whether a request has the token (Authorization: Bearer) or the cookie. `TooMany`, as `knows`."""
        if not self.token:
            return True
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer":
            return self.knows(given.strip())
        # Cookies of other servers on this host come along, whatever they hold: none of them hides ours.
        cookies = [part.partition(b"=") for part in headers.get(b"cookie", b"").split(b";")]
        values = [value.strip() for name, _, value in cookies if name.strip() == COOKIE.encode()]
        return any(hmac.compare_digest(value, self.cookie.encode()) for value in values[:4])


@contextlib.contextmanager
def trial(desk: Desk, *given: str) -> Iterator[None]:
    """Around the check of what a guest gave (the token of a seat, a ticket), with what it was for: given.

    `Forbidden`, `NotFound` and `LookupError` raised inside mean that it was wrong, which counts for the client of this
    request; what is right costs nothing, and is heard from then on. Raises `TooMany`, before the check, for a client that
    was wrong too often.
    """
    client, tries, said = client_now(), _tries(desk), "\0".join(given)
    if not tries.may(client, said):
        raise TooMany("too many wrong links from there; wait a minute")
    try:
        yield
    except (Forbidden, NotFound, LookupError):
        tries.wrong(client, said)
        raise
    tries.right(said)


def vouch(desk: Desk, *given: str) -> None:
    """What was drawn just now for a guest who showed a right link (the token of a seat) is right: it is heard from them
    whatever others behind their address guess. given: as for `trial`.
    """
    _tries(desk).right("\0".join(given))


def _tries(desk: Desk) -> Tries:
    return desk.part("tries", lambda _: Tries(*GUEST_TRIES))


class Gate:
    """An ASGI application behind the checks. scope["owner"] tells it whether the token of the server was given.

    owner: whose token it is (where there is none, whoever reaches the server is its owner: loopback alone). names: hosts by
    which it may be called. proxies: whose word about their clients is taken.
    """

    def __init__(
        self, app: Any, host: str, owner: Owner, names: Iterable[str] = (), proxies: Iterable[str] = ()
    ) -> None:
        self.app, self.owner, self.proxies = app, owner, Proxies(proxies)
        self.guard = Guard(app, host, "", names)  # Host and Origin; the token is judged here, because guests have none

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass what may pass; say why not otherwise."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        scope, headers = self._seen(scope), {k.lower(): v for k, v in scope["headers"]}
        status, why = self.guard.verdict(headers, scope["scheme"] in ("https", "wss"))
        if not status and scope["type"] == "websocket" and b"origin" not in headers and b"cookie" in headers:
            status, why = 403, "a browser says where a page comes from\n"
        if not status:
            try:
                scope["owner"] = self.owner.shown(headers)
            except TooMany as error:
                status, why = 429, str(error)
        if status:
            await _refuse(scope, receive, send, status, why)
            return
        over = False

        async def say(message: Any) -> None:
            nonlocal over
            if message["type"] == "http.response.start":
                message = {**message, "headers": _headers(scope["path"], message["headers"])}
            elif scope.get("method") == "HEAD" and message["type"] == "http.response.body":
                if over:
                    return
                # All that there is of it: a stream would go on unheard, and take a listener's place.
                message, over = {"type": "http.response.body"}, True
            await send(message)

        await self.app(scope, receive, say)

    def _seen(self, scope: Any) -> Any:
        """The scope with the client and the scheme as a trusted proxy tells them."""
        peer, _ = scope.get("client") or ("", 0)
        said: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            said.setdefault(name.lower(), []).append(value)
        client = self.proxies.client(peer, said.get(b"x-forwarded-for", ()))
        now_from(client)
        scheme = scope.get("scheme", "http")
        if self.proxies.encrypted(peer, said.get(b"x-forwarded-proto", ())):
            scheme = {"http": "https", "ws": "wss"}.get(scheme, scheme)
        return {**scope, "client": (client, 0), "scheme": scheme}


async def _refuse(scope: Any, receive: Any, send: Any, status: int, why: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": why.strip()[:120]})
        return
    await refuse(scope, receive, send, status, why.strip(), _headers(scope["path"]))
