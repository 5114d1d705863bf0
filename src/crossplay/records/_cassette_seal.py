"""The seal of a closed cassette: a small file beside it, by which damage to any byte is found."""

from __future__ import annotations

import hashlib
import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from crossplay.kernel.types import pack, unpack
from crossplay.records._cassette_log import log_path, read_log
from crossplay.records._cassette_overlay import lay_over
from crossplay.records._cassette_rows import Damaged, read_row, select_all

__all__ = ["Damage", "check_seal", "seal_path", "verify_cassette", "write_seal"]

_EPISODE = "root, env_id, block, replicate"


class Damage(msgspec.Struct):
    """What `verify_cassette` found; false when every byte is as written.

    calls: keys of damaged rows, hexadecimal. episodes: (root, env id, block, replicate) of rows that
    are damaged or gone. file: what is wrong with the file as a whole. rows: good ones.
    """

    rows: int = 0
    calls: list[str] = msgspec.field(default_factory=list)
    episodes: list[tuple[Any, ...]] = msgspec.field(default_factory=list)
    file: str = ""

    def __bool__(self) -> bool:
        return bool(self.calls or self.episodes or self.file)


def seal_path(path: Path) -> Path:
    """The seal's file: `cassette.seal` beside `cassette.sqlite`."""
    return path.with_suffix(".seal")


def _file_digest(path: Path) -> str:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def write_seal(path: Path) -> None:
    """Seal a closed cassette: digests of the file and of the rows of each episode."""
    if path.with_name(path.name + "-wal").exists() or log_path(path).exists():  # another process is still writing
        seal_path(path).unlink(missing_ok=True)
        return
    db = _open(path)
    try:
        rows = db.execute(f"SELECT {_EPISODE}, seal FROM calls ORDER BY key")
        episodes: dict[tuple[Any, ...], Any] = {}
        for *episode, seal in rows:
            episodes.setdefault(tuple(episode), hashlib.sha256()).update(seal)
    finally:
        db.close()
    content = {
        "version": 1,
        "file": _file_digest(path),
        "episodes": [[*e, h.digest()] for e, h in sorted(episodes.items())],
    }
    whole = pack(content)
    seal_path(path).write_bytes(hashlib.sha256(whole).digest() + whole)


def _open(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


def _read_seal(path: Path) -> dict[str, Any] | str | None:
    """The content of the seal, None where there is none, or what is wrong with it."""
    file = seal_path(path)
    if not file.is_file():
        return None
    raw = file.read_bytes()
    if hashlib.sha256(raw[32:]).digest() != raw[:32]:
        return f"{file} is damaged"
    content: dict[str, Any] = unpack(raw[32:])
    return content


def check_seal(path: Path) -> str:
    """What is wrong with a sealed file ("" when nothing is, or when it was never closed)."""
    seal = _read_seal(path)
    if isinstance(seal, str):
        return seal
    if seal is None or path.with_name(path.name + "-wal").exists():
        return ""
    if not path.is_file():
        return f"{path} is gone, its seal is there"
    return "" if _file_digest(path) == seal["file"] else f"{path} is not what was sealed"


def verify_cassette(path: Path | str) -> Damage:
    """Check every byte of a cassette against its row seals and, where it was closed, its seal file. Of one
    that was not closed, the log is checked as well: its rows stand for those of the file.
    """
    path = Path(path)
    damage = Damage(file=check_seal(path))
    if not path.is_file():
        damage.file = damage.file or f"{path} does not exist"
        return damage
    found: dict[tuple[Any, ...], Any] = {}
    suspects: set[tuple[Any, ...]] = set()
    log = read_log(path)
    if log.damage:
        damage.file = f"{log_path(path)}: {log.damage[0]}"
        damage.calls += [columns[0].hex() for columns in log.suspects]
        suspects |= {columns[3:7] for columns in log.suspects}
    db = _open(path)
    try:
        lay_over(db, log.rows)
        for columns in db.execute(select_all("key")):
            episode = (columns[3], columns[4], columns[5], columns[6])
            try:
                read_row(columns)
                damage.rows += 1
                found.setdefault(episode, hashlib.sha256()).update(columns[-1])
            except Damaged:
                damage.calls.append(columns[0].hex() if isinstance(columns[0], bytes) else repr(columns[0]))
                suspects.add(episode)
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        damage.file = damage.file or f"{path} cannot be read to its end ({error})"
    finally:
        db.close()
    seal = _read_seal(path)
    if isinstance(seal, dict):
        sealed = {tuple(e[:4]): e[4] for e in seal["episodes"]}
        suspects = {e for e, digest in sealed.items() if e not in found or found[e].digest() != digest}
        suspects |= {e for e in found if e not in sealed}
    for root, env_id, block, replicate in sorted(suspects, key=repr):
        try:
            damage.episodes.append((unpack(root), env_id, unpack(block), replicate))
        except Exception:  # the address itself is damaged and no seal tells what it was
            damage.episodes.append((root, env_id, block, replicate))
    return damage
