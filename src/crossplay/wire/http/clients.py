"""Which client a request comes from: the peer, or, of a proxy that is trusted, whom it says it speaks for.

Everybody can send X-Forwarded-For. It is believed as far as trusted proxies have written it: read from its end, the first
address that is not theirs is the client. Whatever stands before it may be made up.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from contextvars import ContextVar

from crossplay.kernel import CrossplayError

__all__ = ["Proxies", "address_of", "client_now", "now_from"]

LONGEST = 80
"""Characters of an address, with its port and zone, at most."""

_client: ContextVar[str] = ContextVar("client", default="")


def client_now() -> str:
    """The address of the client whose request is being answered here; "" where none is. Also in threads of the request."""
    return _client.get()


def now_from(client: str) -> None:
    """From now on (in this task and what it starts) requests of this client are answered."""
    _client.set(client)


def address_of(text: str) -> str | None:
    """The address in "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]:80" or "fe80::1%eth0", as it is written
    shortest, without port and zone; IPv4 inside IPv6 as IPv4. None where it is no address.
    """
    text = text.strip(" \t")
    if not text.isascii() or len(text) > LONGEST:
        return None
    port = "0"
    if text.startswith("["):
        text, _, rest = text[1:].partition("]")
        if ":" not in text or (rest and not rest.startswith(":")):
            return None
        port = rest[1:] if rest else "0"
    elif text.count(":") == 1:
        text, _, port = text.partition(":")
    if not port.isdigit() or int(port) > 65535:
        return None
    try:
        found = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return str(getattr(found, "ipv4_mapped", None) or found)


class Proxies:
    """The proxies whose word is taken: addresses, or networks such as 10.0.0.0/8. None, unless they are named."""

    def __init__(self, named: Iterable[str] = ()) -> None:
        self.networks = [_network(name) for name in named]

    def trusts(self, address: str) -> bool:
        """Whether it is one of them."""
        if not self.networks:
            return False
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self.networks)

    def client(self, peer: str, said: Iterable[bytes]) -> str:
        """Who asks. peer: the other end of the connection ("" for none, as of a Unix socket). said: the values of all
        X-Forwarded-For headers, in their order.

        Where a hop is no address, the proxy that passed it on is all that is known.
        """
        found = address_of(peer) or peer
        if not self.trusts(found):
            return found
        for hop in reversed(b",".join(said).decode("latin-1").split(",")):
            address = address_of(hop)
            if address is None:
                break
            found = address
            if not self.trusts(found):
                break
        return found

    def encrypted(self, peer: str, said: Iterable[bytes]) -> bool:
        """Whether the proxy is reached by TLS: it says so in X-Forwarded-Proto, and only so. said: all values."""
        values = {part.strip().lower() for value in said for part in value.split(b",")}
        return bool(values) and values <= {b"https", b"wss"} and self.trusts(address_of(peer) or peer)


def _network(name: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(name.strip())
    except ValueError:
        raise CrossplayError(
            f'--proxy "{name}": expected the address of the proxy as the server sees it, e.g. 127.0.0.1, or a network, '
            "e.g. 10.1.0.0/16"
        ) from None
