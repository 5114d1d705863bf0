"""Floor 1, the wire: frames and messages for agents and trainers in other processes, languages and machines.

Lives here: `protocol.toml` (the one source), the messages made from it, frames, arrays inline and in shared
memory, one connection as the engine holds it, and the check of workers (`check/`).
Does not: starting or watching processes (agents.remote, jobs), seats served to the outside (serve).
`frames.py` and `arrays.py` are copied into the worker kit by `generate.py`: numpy, msgspec, Python 3.9.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["is_loopback", "without"]


def is_loopback(host: str | None) -> bool:
    """Whether only this machine reaches it."""
    import ipaddress

    try:
        return host == "localhost" or (host is not None and ipaddress.ip_address(host).is_loopback)
    except ValueError:
        return False


def without(secret: str, found: Any) -> Any:
    """Plain data that others sent, without a token of ours, should they say it: in texts, keys and bytes.

    Bytes keep their length, so that what is packed in them can still be read.
    """
    if not secret:
        return found
    if isinstance(found, str):
        return found.replace(secret, "[redacted]")
    if isinstance(found, bytes):
        return found.replace(secret.encode(), b"*" * len(secret.encode()))
    if isinstance(found, Mapping):
        return {without(secret, k): without(secret, v) for k, v in found.items()}
    return [without(secret, v) for v in found] if isinstance(found, (list, tuple)) else found
