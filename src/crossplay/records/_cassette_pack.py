"""A cassette as one file to send: canonical JSON lines under xz, each message stored once.

    line 1   {"crossplay": "cassette", "format": 1, "rows", "seal", and what the exporter says of it}
    line 2   shapes: canonical requests without their messages and seed, each once
    line 3   messages of requests, each once
    others   one per episode: {"at": [root, env id, block, replicate], "seal", "rows": [...]}

`seal` of the file is the sha256 of all lines after the first, that of an episode the sha256 over its
rows. Equal rows give an equal file, byte for byte. Keys and digests are not stored where they follow
from what is. Python 3.11 has no zstd of its own; xz comes with it and packs repeated prompts closer.
"""

from __future__ import annotations

import base64
import hashlib
import lzma
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import msgspec

from crossplay.kernel.types import Usage, pack, unpack
from crossplay.records._cassette_rows import Address, Call, Damaged, Missing, Row, Stored, call_key

__all__ = ["SUFFIX", "Packed", "write_packed"]

SUFFIX = ".mcz"
FORMAT = 1
_json = msgspec.json.Encoder(order="sorted")
_plain = msgspec.json.Encoder()
_load = msgspec.json.Decoder().decode
_msgpack = msgspec.msgpack.Encoder()
_Raw = msgspec.Raw


def write_packed(rows: Iterable[Row], path: Path, about: Mapping[str, Any]) -> dict[str, Any]:
    """Write rows (in the order of `Cassette.rows`) as one file; returns its header.

    about: what stands in the header beside (digests of the study and of the price table).
    """
    shapes, messages = _Once(), _Once()
    lines = []
    n = 0
    for episode, found in groupby(rows, key=lambda row: row.episode):
        seal = hashlib.sha256()
        packed = []
        for row in found:
            seal.update(_row_bytes(row))
            packed.append(_pack_row(row, shapes, messages))
        n += len(packed)
        # Replies keep the order of their keys, which is part of their bytes.
        lines.append(_plain.encode({"at": list(episode), "seal": _text(seal.digest()), "rows": packed}))
    body = b"\n".join([_json.encode(shapes.values), _json.encode(messages.values), *lines]) + b"\n"
    header = {**about, "crossplay": "cassette", "format": FORMAT, "rows": n, "seal": hashlib.sha256(body).hexdigest()}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lzma.compress(_json.encode(header) + b"\n" + body, preset=6))
    return header


class _Once:
    """Values, each kept once; `of` gives its number."""

    def __init__(self) -> None:
        self.values: list[Any] = []
        self._known: dict[bytes, int] = {}

    def of(self, value: Any) -> int:
        key = pack(value)
        n = self._known.get(key)
        if n is None:
            n = self._known[key] = len(self.values)
            self.values.append(value)
        return n


def _row_bytes(row: Row) -> bytes:
    """All that a row holds, as its episode's seal takes it."""
    u = row.usage
    return pack(
        [
            [row.call.key, row.call.digest, row.call.model, row.call.address, row.call.k, row.call.request],
            [row.status, row.reply, u.calls, u.tok_in, u.tok_out, u.cpu_us],
            [row.attempts, row.doubtful, row.idempotency, row.asked, row.settled],
        ]
    )


def _pack_row(row: Row, shapes: _Once, messages: _Once) -> list[Any]:
    c, u = row.call, row.usage
    *_, seat, tick, path = c.address
    digest = hashlib.blake2b(c.request, digest_size=16).digest()
    extra = []
    if c.digest != digest or c.key != call_key(digest, c.address, c.k):
        extra = [_text(c.digest), _text(c.key)]
    return [
        [seat, tick, list(path), c.k, c.model, row.status],
        _pack_request(c.request, shapes, messages),
        _pack_reply(row.reply),
        [u.calls, u.tok_in, u.tok_out, u.cpu_us, row.attempts, row.doubtful],
        [row.idempotency, row.asked, row.settled, *extra],
    ]


def _pack_request(request: bytes, shapes: _Once, messages: _Once) -> list[Any] | str:
    """[shape, messages, seed], or the bytes as text where JSON does not give them back."""
    try:
        body = unpack(request)
        if isinstance(body, dict) and pack(_load(_json.encode(body))) == request:
            rest = {name: value for name, value in body.items() if name not in ("messages", "seed")}
            asked = body.get("messages")
            ids = [messages.of(m) for m in asked] if isinstance(asked, list) else asked
            shape = shapes.of([rest, [name for name in ("messages", "seed") if name in body]])
            return [shape, ids, body.get("seed")]
    except (TypeError, ValueError, msgspec.MsgspecError):
        pass
    return _text(request)


def _pack_reply(reply: bytes | None) -> Any:
    """None, [value], or the bytes as text where JSON does not give them back."""
    if reply is None:
        return None
    try:
        value = msgspec.msgpack.decode(reply)
        if _msgpack.encode(_load(_plain.encode(value))) == reply:
            return [value]
    except (TypeError, ValueError, msgspec.MsgspecError):
        pass
    return _text(reply)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


class Packed:
    """An exported cassette, read as it is: decoded once, rows made an episode at a time."""

    def __init__(self, path: Path, header: dict[str, Any], lines: Sequence[bytes]) -> None:
        self.path, self.header = path, header
        self._shapes = [({k: _Raw(pack(v)) for k, v in rest.items()}, names) for rest, names in _load(lines[0])]
        self._messages = [_Raw(pack(m)) for m in _load(lines[1])]
        self._lines: dict[bytes, bytes] = {}
        for line in lines[2:]:
            self._lines[pack(_head.decode(line).at)] = line

    @classmethod
    def open(cls, path: Path) -> Packed:
        """The file, its seal checked; raises `Damaged`, or `Missing` where there is none."""
        if not path.is_file():
            raise Missing(f"cassette: {path} does not exist")
        try:
            first, _, body = lzma.decompress(path.read_bytes()).partition(b"\n")
            header = msgspec.json.decode(first, type=dict[str, Any])
        except (lzma.LZMAError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise Damaged(f"cassette: {path} cannot be read ({error})") from None
        if header.get("crossplay") != "cassette" or not isinstance(header.get("format"), int):
            raise Damaged(f"cassette: {path} is not an exported cassette")
        if header["format"] > FORMAT:
            raise Damaged(f"cassette: {path} has format {header['format']}; this release reads up to {FORMAT}")
        if hashlib.sha256(body).hexdigest() != header["seal"]:
            raise Damaged(f"cassette: {path} is not what was sealed")
        return cls(path, header, body.splitlines())

    def episode(self, address: Address) -> Mapping[bytes, Stored]:
        """The rows of an episode by key."""
        line = self._lines.get(pack(list(address)))
        if line is None:
            return {}
        at = list(address)
        found: dict[bytes, Stored] = {}
        for where, request, reply, spent, rest in _load(line)["rows"]:
            seat, tick, path, k, _, status = where
            key = base64.b64decode(rest[4]) if len(rest) > 3 else b""
            if not key:
                digest = hashlib.blake2b(self._request(request), digest_size=16).digest()
                key = call_key(digest, (*at, seat, tick, path), k)
            found[key] = (status, _unpack_reply(reply), *spent, *rest[:3])
        return found

    def rows(self) -> Iterator[Row]:
        """All rows, in the order of the file; raises `Damaged` where an episode's seal does not fit."""
        n = 0
        for line in self._lines.values():
            content = _load(line)
            seal = hashlib.sha256()
            rows = [self._row(content["at"], *packed) for packed in content["rows"]]
            for row in rows:
                seal.update(_row_bytes(row))
            if _text(seal.digest()) != content["seal"]:
                root, env_id, block, replicate = content["at"]
                where = f"{env_id}, root {root}, block {block}, replicate {replicate}"
                raise Damaged(f"cassette: {self.path}: the calls of {where} are not what was sealed")
            n += len(rows)
            yield from rows
        if n != self.header["rows"]:
            raise Damaged(f"cassette: {self.path} holds {n} calls; its header says {self.header['rows']}")

    def _row(self, at: list[Any], where: Any, request: Any, reply: Any, spent: Any, rest: Any) -> Row:
        seat, tick, path, k, model, status = where
        body = self._request(request)
        address = (*at, seat, tick, tuple(path))
        if len(rest) > 3:
            digest, key = map(base64.b64decode, rest[3:])
        else:
            digest = hashlib.blake2b(body, digest_size=16).digest()
            key = call_key(digest, address, k)
        call = Call(key, digest, model, address, k, body)
        return Row(call, status, _unpack_reply(reply), Usage(*spent[:4]), *spent[4:], *rest[:3])

    def _request(self, packed: Any) -> bytes:
        if isinstance(packed, str):
            return base64.b64decode(packed)
        shape, ids, seed = packed
        rest, names = self._shapes[shape]
        body = dict(rest)
        if "messages" in names:
            known = self._messages
            body["messages"] = [known[i] for i in ids] if isinstance(ids, list) else ids
        if "seed" in names:
            body["seed"] = seed
        return pack(body)


class _Head(msgspec.Struct):
    """The place of an episode's line; the rest is read when it is asked for."""

    at: list[Any]


_head = msgspec.json.Decoder(_Head)


def _unpack_reply(packed: Any) -> bytes | None:
    if packed is None:
        return None
    return base64.b64decode(packed) if isinstance(packed, str) else _msgpack.encode(packed[0])
