"""`Tries`: how often a client may be wrong about tokens, links and tickets."""

from __future__ import annotations

import hashlib
import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable

__all__ = ["Tries"]

CLIENTS = 4096
"""Clients that are remembered; those that were wrong longest ago are forgotten first."""


class Tries:
    """So many wrong ones at once, and `rate` a second in the long run, for each client by itself. From any thread.

    What is right costs nothing: a class behind one address gets in, however many they are and often they come back. Nor
    does the very same wrong one again, which tells a guesser nothing: an old link that is opened by everybody, or asks
    again and again, shuts nobody out. A client that has used up its tries is not listened to at all (`may`), or else
    its guesses would be answered after all; but what was right before (`right`, for what is drawn, and too long to be
    guessed) is heard from everybody, so that whoever is in stays in while somebody beside them guesses.

        if not tries.may(client, what was given): refuse
        elif it is wrong: tries.wrong(client, what was given)
        else: tries.right(what was given)
    """

    def __init__(self, at_once: int, rate: float, now: Callable[[], float] = time.monotonic) -> None:
        self.at_once, self.rate, self.now = at_once, rate, now
        self._known: OrderedDict[str, _Client] = OrderedDict()
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    def may(self, client: str, given: str | bytes = b"") -> bool:
        """Whether this client may try (this)."""
        with self._lock:
            known = self._known.get(name_of(client))
            return known is None or self._left(known) >= 1 or digest_of(given) in self._right

    def right(self, given: str | bytes) -> None:
        """What was given was right."""
        digest = digest_of(given)
        with self._lock:
            self._right[digest] = None
            self._right.move_to_end(digest)
            while len(self._right) > CLIENTS:
                self._right.popitem(last=False)

    def wrong(self, client: str, given: str | bytes) -> None:
        """What the client gave was wrong. given: all of it, with what it was for (the seat, the room)."""
        digest, name = digest_of(given), name_of(client)
        with self._lock:
            self._right.pop(digest, None)
            known = self._known.setdefault(name, _Client(float(self.at_once), self.now()))
            self._known.move_to_end(name)
            while len(self._known) > CLIENTS:
                self._known.popitem(last=False)
            known.left, known.at = self._left(known), self.now()
            if digest not in known.given:
                known.left = max(0.0, known.left - 1)
            known.given[digest] = None
            known.given.move_to_end(digest)
            while len(known.given) > self.at_once:
                known.given.popitem(last=False)

    def _left(self, known: _Client) -> float:
        return min(self.at_once, known.left + (self.now() - known.at) * self.rate)


class _Client:
    """left: tries, as they were at `at`. given: what was wrong lately, as digests."""

    def __init__(self, left: float, at: float) -> None:
        self.left, self.at = left, at
        self.given: OrderedDict[bytes, None] = OrderedDict()


def digest_of(given: str | bytes) -> bytes:
    """What is remembered of something given."""
    return hashlib.blake2b(
        given if isinstance(given, bytes) else given.encode(errors="replace"), digest_size=16
    ).digest()


def name_of(client: str) -> str:
    """What is counted as one client: an address; of IPv6 its first 64 bits, of which whoever has one has them all."""
    try:
        address = ipaddress.ip_address(client)
    except ValueError:
        return client
    return str(address) if address.version == 4 else str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
