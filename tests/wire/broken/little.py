"""A small worker that keeps every rule, written apart from the kit, so that faults can be planted in each part of it.

Started by fork (`starter`), which takes milliseconds, so that many can be checked in full.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import socket
import struct
import sys
import tempfile
import time
import zlib
from collections import deque
from pathlib import Path

import numpy as np

from crossplay.kernel.seeds import key64, pick
from crossplay.wire.arrays import Ring, Stale
from crossplay.wire.frames import FRAME, BadFrame, Codec, WireError, agree
from crossplay.wire.messages import Acts, Error, Hello, Ok

LENGTH = struct.Struct("<I")


class Bad(Exception):
    """Refuses a request."""

    def __init__(self, code, text=""):
        super().__init__(text)
        self.code = code


class Little:
    """Picks a legal name from its seat's chance and all observations of the episode so far."""

    state, saves, wants_feedback, shm, codecs = "own", True, True, True, ["msgpack", "json"]
    deterministic, batch, name = True, 64, "little"
    version = [1, 1]

    pipes = True

    def __init__(self, fd, given):
        self.reads = self.writes = fd
        self.shm_fd = given.get("CROSSPLAY_SHM", [None])[0]
        self.piped = given.get("CROSSPLAY_PIPES", ())
        self.codec = Codec()
        self.buffer = bytearray()
        self.limit = FRAME
        self.queue = deque()
        self.seats = {}
        self.episodes = {}  # ep -> [slot, key as 64 bits, what was seen]
        self.requests = 0
        self.welcomed = False

    # -- frames ------------------------------------------------------------------------------------------
    def receive(self):
        """Bytes that came, or b"" where the engine is gone."""
        try:
            return os.read(self.reads, 1 << 16)
        except OSError:
            return b""

    def bodies(self):
        """The next whole bodies; [] when the engine is gone."""
        while True:
            found = []
            while len(self.buffer) >= 4:
                need = LENGTH.unpack_from(self.buffer)[0]
                self.allow(need)
                if len(self.buffer) < 4 + need:
                    break
                found.append(bytes(self.buffer[4 : 4 + need]))
                del self.buffer[: 4 + need]
            if found:
                return found
            data = self.receive()
            if not data:
                return []
            self.buffer += data

    def allow(self, need):
        if not 0 < need <= self.limit:
            raise BadFrame(f"a frame of {need} bytes")

    def write(self, data):
        try:
            while data:
                data = data[os.write(self.writes, data) :]
        except OSError:
            self.gone()

    def send(self, message):
        self.write(self.codec.frame(message))

    def gone(self):
        """The engine is gone."""
        os._exit(0)

    # -- the connection ----------------------------------------------------------------------------------
    def hello(self):
        return Hello(
            v=self.version, codecs=self.codecs, name=self.name, views=["array"], kinds=["names"], batch=self.batch,
            state=self.state, saves=self.saves, feedback=self.wants_feedback, deterministic=self.deterministic,
            shm=self.shm and self.shm_fd is not None, pipes=self.pipes and bool(self.piped),
        )  # fmt: skip

    def run(self):
        self.send(self.hello())
        while True:
            for body in self.bodies() or self.gone():
                self.one(body)

    def welcome(self, message):
        self.welcomed = True
        if isinstance(message, Error):
            os._exit(3 if message.code == "VERSION" else 4)
        self.agree(message.v)
        ring = Ring(self.shm_fd, message.shm["slots"], message.shm["size"], False) if message.shm else None
        self.limit = message.frame
        self.codec = Codec(message.codec == "json", message.frame, message.v[1], ring)
        if message.pipes:
            self.go_over()

    def go_over(self):
        os.close(self.reads)
        self.reads, self.writes = self.piped

    def agree(self, version):
        try:
            agree(version)
        except WireError:
            os._exit(3)

    def one(self, body):
        """Handle one frame."""
        try:
            message = self.codec.message(body)
        except BadFrame as error:
            return self.unreadable(error)
        if not self.welcomed:
            return self.welcome(message)
        self.requests += 1
        answer = self.answer(message)
        if answer is not None:
            self.send(answer)
        if type(message).__name__ == "Bye":
            os._exit(self.bye_code)

    bye_code = 0

    def unreadable(self, error):
        if error.id:
            self.send(Error(id=error.id, code=error.code, message=error.message))
            return
        raise error

    def answer(self, message):
        verb = type(message).__name__.lower()
        try:
            return getattr(self, "on_" + verb, self.unknown)(message)
        except Bad as error:
            return Error(id=message.id, code=error.code, message=str(error))
        except Stale as error:
            return Error(id=message.id, code="BAD_FRAME", message=str(error), retry=True)

    def unknown(self, message):
        raise Bad("UNSUPPORTED", "not here")

    # -- verbs -------------------------------------------------------------------------------------------
    def on_ping(self, message):
        return Ok(id=message.id)

    on_bye = on_ping

    def on_cancel(self, message):
        return None

    def on_feedback(self, message):
        return None

    def on_bind(self, message):
        for seat in message.seats:
            if seat.view != "array" or seat.spec.get("kind") != "names" or len(seat.shape) > 4:
                raise Bad("BAD_SPACE", "arrays and names")
        self.seats.update({s.slot: s for s in message.seats})
        return Ok(id=message.id)

    def seat(self, slot):
        if slot not in self.seats:
            raise Bad("BAD_STATE", "not bound")
        return self.seats[slot]

    def begin(self, ep, slot, key):
        self.seat(slot)
        self.episodes[ep] = [slot, key64(key), 0]

    def on_reset(self, message):
        if not len(message.ep) == len(message.slot) == len(message.key):
            raise Bad("BAD_VALUE", "unequal")
        for ep, slot, key in zip(message.ep, message.slot, message.key, strict=True):
            self.begin(ep, slot, key)
        return Ok(id=message.id)

    def on_end(self, message):
        for ep in message.ep:
            self.episodes.pop(ep, None)
        return Ok(id=message.id)

    def on_save(self, message):
        if not self.saves:
            raise Bad("UNSUPPORTED", "not here")
        return Ok(id=message.id, data=self.episode(message.ep)[2])

    def on_load(self, message):
        self.begin(message.ep, message.slot, message.key)
        self.episodes[message.ep][2] = message.data
        return Ok(id=message.id)

    def episode(self, ep):
        if ep not in self.episodes:
            raise Bad("BAD_STATE", "no such episode")
        return self.episodes[ep]

    def equal(self, message):
        """The number of rows."""
        sizes = set()
        for name in ("ep", "slot", "tick", "obs", "legal", "reward", "memo"):
            column = getattr(message, name)
            if (name == "slot" and isinstance(column, int)) or (column is None and name in ("legal", "reward", "memo")):
                continue
            if not isinstance(column, (list, np.ndarray)):
                raise Bad("BAD_VALUE", name)
            sizes.add(len(column))
        if len(sizes) != 1:
            raise Bad("BAD_VALUE", "unequal")
        return sizes.pop()

    def on_act(self, message):
        rows = self.equal(message)
        slots = [message.slot] * rows if isinstance(message.slot, int) else plain(message.slot)
        memos = [None] * rows if message.memo is None else plain(message.memo)
        eps, ticks = plain(message.ep), plain(message.tick)
        values = []
        for row in range(rows):
            seat = self.seat(slots[row])
            if self.state == "own":
                _, key, seen = episode = self.episode(eps[row])
            else:
                key, seen = eps[row], memos[row] or 0
            try:
                seen = self.look(seen, message.obs[row])
            except (TypeError, ValueError):
                raise Bad("BAD_VALUE", "obs") from None
            if self.state == "own":
                episode[2] = seen
            memos[row] = seen
            legal = None if message.legal is None else message.legal[row]
            values.append(self.choose(key, ticks[row], seen, seat, legal))
        if self.codec.ring is not None:
            read, self.codec.ring.read = self.codec.ring.read, []
            self.codec.ring.check(read)
        return Acts(id=message.id, values=values, memo=memos if self.state == "memo" else None)

    def look(self, seen, obs):
        return zlib.crc32(np.ascontiguousarray(obs, "<f4").tobytes(), seen)

    def choose(self, key, tick, seen, seat, legal):
        names = len(seat.spec["names"])
        free = [i for i in range(names) if legal is None or legal[i]]
        return free[(pick(key, len(free), tick, 0) + seen) % len(free)]


def plain(column):
    return column.tolist() if isinstance(column, np.ndarray) else list(column)


class Forked:
    """A worker forked from this process, as the check holds processes."""

    def __init__(self, kind, fd, given):
        self.log = tempfile.TemporaryFile()  # noqa: SIM115
        self.code = None
        self.pid = os.fork()
        if self.pid:
            return
        try:
            faulthandler.disable()
            os.setsid()
            os.dup2(self.log.fileno(), 1)
            os.dup2(self.log.fileno(), 2)
            own = {0, 1, 2, fd, *(number for numbers in given.values() for number in numbers)}
            for other in {int(path.name) for path in Path("/dev/fd").iterdir()} - own:
                with contextlib.suppress(OSError):
                    os.close(other)  # of other workers, and the engine's ends of its own
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            worker = kind(fd, given)
            worker.run()
            os._exit(0)
        except WireError as error:
            try:
                os.write(worker.writes, Codec().frame(Error(id=0, code=error.code, message=error.message)))
            finally:
                os._exit(4)
        except SystemExit as end:
            os._exit(end.code if isinstance(end.code, int) else 1)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)

    @property
    def alive(self):
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is None

    def wait(self, seconds):
        until = time.monotonic() + seconds
        while self.alive and time.monotonic() < until:
            time.sleep(0.002)
        return not self.alive

    def kill(self):
        if self.alive:
            os.kill(self.pid, signal.SIGKILL)
            self.wait(5.0)

    def close(self, patience=0.0):
        self.wait(patience)
        self.kill()
        self.log.close()

    def printed(self):
        _ = self.alive
        size = os.fstat(self.log.fileno()).st_size
        return os.pread(self.log.fileno(), 1 << 16, max(0, size - (1 << 16)))


def starter(kind):
    """Starts workers of this class for a check."""

    def start(given):
        ours, theirs = socket.socketpair()
        process = Forked(kind, theirs.fileno(), given)
        theirs.close()
        return ours, process

    return start
