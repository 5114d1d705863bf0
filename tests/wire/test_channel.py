"""One connection, over a socket and over pipes: answers find their requests by id; late ones are dropped and counted;
ends are told to all who wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import select
import socket
import threading
import time

import numpy as np
import pytest

from crossplay.wire.arrays import Ring
from crossplay.wire.channel import Channel, Gone, welcome
from crossplay.wire.frames import Codec, Reader, WireError
from crossplay.wire.lines import Pipes
from crossplay.wire.messages import Act, Acts, Cancel, EnvOpen, Error, Event, Hello, Load, Ok, Ping, Welcome

LINES = ["socket", "pipes"]


class Far:
    """The worker's ends of two pipes, used as a socket is, or as a line."""

    def __init__(self, pipes):
        self.reads, self.writes = map(os.dup, pipes.theirs)
        os.set_blocking(self.reads, False)
        os.set_blocking(self.writes, False)

    def recv(self, size, seconds=5.0):
        if not select.select([self.reads], [], [], seconds)[0]:
            raise BlockingIOError
        return os.read(self.reads, size)

    def send(self, data):
        return os.write(self.writes, data)

    def sendall(self, data):
        while data:
            if self.writes < 0:  # the test is over
                return
            assert select.select([], [self.writes], [], 5)[1], "nobody reads"
            data = data[self.send(data) :]

    def deaf(self):
        """Close the reading end alone."""
        os.close(self.reads)
        self.reads = -1

    def close(self):
        for fd in (self.reads, self.writes):
            if fd >= 0:
                os.close(fd)
        self.reads = self.writes = -1


def joined(over, small=False):
    """Two ends of a connection. small: it holds a page or two."""
    if over == "socket":
        ours, theirs = socket.socketpair()
        if small:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        theirs.settimeout(5)
        return ours, theirs
    pipes = Pipes()
    far = Far(pipes)
    pipes.handed()
    if small and hasattr(fcntl, "F_SETPIPE_SZ"):
        fcntl.fcntl(pipes.writes, fcntl.F_SETPIPE_SZ, 4096)
    return pipes, far


class Other:
    """The worker's end, moved by hand."""

    def __init__(self, sock, ring=None):
        self.sock, self.codec, self.reader, self.found = sock, Codec(ring=ring), Reader(), []

    def next(self):
        while not self.found:
            data = self.sock.recv(1 << 16)
            assert data, "closed"
            self.found += [self.codec.message(b) for b in self.reader.feed(data)]
        return self.found.pop(0)

    def send(self, *messages):
        self.sock.sendall(b"".join(map(self.codec.frame, messages)))


@pytest.fixture(params=LINES)
def over(request):
    """What the bytes travel over."""
    return request.param


@pytest.fixture
def ends(over):
    ours, theirs = joined(over)
    channel, other = Channel(ours, Codec()), Other(theirs)
    yield channel, other
    channel.close()
    theirs.close()


def beside(work):
    """Do this in another thread while the test asks."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_an_answer_comes_to_who_asked(ends):
    channel, other = ends
    beside(lambda: other.send(Ok(id=other.next().id, data="yes")))
    assert channel.ask(Ping(id=channel.number()), 5.0).data == "yes"
    assert channel.inflight == 0


def test_an_error_is_raised_with_its_code(ends):
    channel, other = ends
    beside(lambda: other.send(Error(id=other.next().id, code="UPSTREAM", message="busy", retry=True)))
    with pytest.raises(WireError, match="busy") as found:
        channel.ask(Ping(id=channel.number()), 5.0)
    assert found.value.code == "UPSTREAM" and found.value.retry


def test_a_late_answer_is_never_taken_for_the_next_one(ends):
    channel, other = ends
    with pytest.raises(TimeoutError, match="no answer"):
        channel.ask(Ping(id=channel.number()), 0.05)
    asked = other.next()
    given_up = other.next()
    assert isinstance(given_up, Cancel) and given_up.id == asked.id
    beside(lambda: other.send(Ok(id=asked.id, data="late"), Ok(id=other.next().id, data="mine")))
    assert channel.ask(Ping(id=channel.number()), 5.0).data == "mine"
    assert channel.late == 1 and channel.inflight == 0


def test_answers_in_any_order_and_two_in_one_piece(ends):
    channel, other = ends

    async def ask_all():
        return await asyncio.gather(*(channel.aask(Ping(id=channel.number()), 5.0) for _ in range(6)))

    def answer():
        asked = [other.next().id for _ in range(6)]
        other.send(*(Ok(id=n, data=n) for n in asked[::-1]))

    beside(answer)
    found = asyncio.run(ask_all())
    assert [ok.data for ok in found] == [1, 2, 3, 4, 5, 6]


def test_a_cancelled_wait_cancels_the_request(ends):
    channel, other = ends

    async def play():
        task = asyncio.create_task(channel.aask(Ping(id=channel.number()), 30.0))
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(TimeoutError):
            await channel.aask(Ping(id=channel.number()), 0.05)

    asyncio.run(play())
    found = [other.next() for _ in range(4)]
    assert [(type(m), m.id) for m in found] == [(Ping, 1), (Cancel, 1), (Ping, 2), (Cancel, 2)]
    assert channel.inflight == 0


def test_two_threads_ask_on_one_connection(ends):
    channel, other = ends
    answers = {}

    def answer():
        asked = [other.next().id for _ in range(2)]
        other.send(*(Ok(id=n, data=n * 10) for n in asked[::-1]))

    def ask():
        number = channel.number()
        answers[number] = channel.ask(Ping(id=number), 5.0).data

    async def both():
        number = channel.number()
        thread = beside(ask)
        time.sleep(0.02)
        answers[number] = (await channel.aask(Ping(id=number), 5.0)).data
        while thread.is_alive():
            await asyncio.sleep(0.01)

    beside(answer)
    asyncio.run(both())
    assert answers == {1: 10, 2: 20}


def test_everybody_who_waits_is_told_of_the_end(ends):
    channel, other = ends

    async def play():
        waits = [asyncio.create_task(channel.aask(Ping(id=channel.number()), 30.0)) for _ in range(3)]
        await asyncio.sleep(0.02)
        other.sock.close()
        return await asyncio.gather(*waits, return_exceptions=True)

    assert [type(e) for e in asyncio.run(play())] == [Gone] * 3
    with pytest.raises(Gone):
        channel.ask(Ping(id=channel.number()), 1.0)


@pytest.mark.parametrize(
    "junk", [b"hello there, this is a print\n", b"\x04\x00\x00\x00\xff\xff\xff\xff", b"\x00\x00\x00\x00"]
)
def test_what_is_no_frame_ends_the_connection(ends, junk):
    channel, other = ends
    beside(lambda: (other.next(), other.sock.sendall(junk), other.sock.sendall(bytes(64))))
    with pytest.raises(Gone):
        channel.ask(Ping(id=channel.number()), 5.0)
    assert channel.gone


def test_an_error_of_the_connection_itself_ends_it(ends):
    channel, other = ends
    beside(lambda: (other.next(), other.send(Error(id=0, code="BAD_FRAME", message="cannot go on"))))
    with pytest.raises(Gone, match="cannot go on"):
        channel.ask(Ping(id=channel.number()), 5.0)


def test_requests_that_are_not_for_this_connection_are_refused(ends):
    channel, other = ends

    def work():
        asked = other.next().id
        other.send(EnvOpen(id=9, name="kitchen"), Event(seq=1, kind="log"), Ok(id=asked))

    beside(work)
    channel.ask(Ping(id=channel.number()), 5.0)
    answer = other.next()
    assert isinstance(answer, Error) and (answer.id, answer.code) == (9, "UNSUPPORTED")


def test_slots_of_shared_memory_are_free_again_after_the_answer(over):
    ours, theirs = joined(over)
    ring = Ring.create(2, 1 << 12)
    channel, other = Channel(ours, Codec(ring=ring, shared=1)), Other(theirs, Ring(ring.fd, 2, 1 << 12, False))
    try:

        def work():
            for _ in range(5):
                act = other.next()
                other.send(Acts(id=act.id, values=[float(np.sum(act.obs))]))

        beside(work)
        for i in range(5):
            message = Act(id=channel.number(), ep=[1], slot=0, tick=[i], obs=np.full((1, 8), i, "<f4"))
            assert channel.ask(message, 5.0).values == [8.0 * i]
            assert sorted(ring.free) == [0, 1]
        with pytest.raises(TimeoutError):
            channel.ask(Act(id=channel.number(), ep=[1], slot=0, tick=[0], obs=np.zeros((1, 8), "<f4")), 0.05)
        assert sorted(ring.free) == [0, 1]
    finally:
        channel.close()
        theirs.close()


@pytest.mark.parametrize("way", ["loop", "thread"])
def test_writes_that_do_not_fit_are_finished_when_there_is_room(over, way):
    ours, theirs = joined(over, small=True)
    channel, other = Channel(ours, Codec()), Other(theirs)

    def work():
        time.sleep(0.05)
        act = other.next()
        other.send(Acts(id=act.id, values=[int(np.asarray(act.obs).sum())]))

    message = Act(id=channel.number(), ep=[1], slot=0, tick=[0], obs=np.ones((1, 400_000), "u1"))
    beside(work)
    found = asyncio.run(channel.aask(message, 10.0)) if way == "loop" else channel.ask(message, 10.0)
    assert found.values == [400_000]
    channel.close()
    theirs.close()


# -- welcome -------------------------------------------------------------------------------------------------


def hello(**changes):
    return Hello(**{"v": [1, 1], "codecs": ["msgpack"], "name": "x", "views": ["array"], **changes})


def greeted(said, **options):
    ours, theirs = socket.socketpair()
    theirs.settimeout(5)
    other = Other(theirs)
    other.sock.sendall(said if isinstance(said, bytes) else other.codec.frame(said))
    try:
        channel, found = welcome(ours, timeout=2.0, **options)
    except Exception as error:
        return error, other
    return (channel, found), other


def test_a_good_hello_is_welcomed_with_the_lower_minor_and_the_first_codec():
    (channel, found), other = greeted(hello(v=[1, 0], codecs=["smoke", "json", "msgpack"]))
    answer = other.next()
    assert isinstance(answer, Welcome) and answer.v == [1, 0] and answer.codec == "json" and found.name == "x"
    channel.close()


@pytest.mark.parametrize(
    ("said", "options", "code"),
    [
        (hello(v=[2, 0]), {}, "VERSION"),
        (hello(codecs=["smoke"]), {}, "UNSUPPORTED"),
        (hello(), {"token": "secret"}, "TOKEN"),
        (hello(token="secreT"), {"token": "secret"}, "TOKEN"),
        (Ping(id=1), {}, "BAD_FRAME"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", {}, "BAD_FRAME"),
        (b"\x05\x00\x00\x00abcde", {}, "BAD_FRAME"),
    ],
)
def test_a_bad_hello_is_refused_with_its_code(said, options, code):
    error, other = greeted(said, **options)
    assert isinstance(error, WireError) and error.code == code
    answer = other.next()
    assert isinstance(answer, Error) and (answer.id, answer.code) == (0, code)


def test_a_right_token_opens():
    (channel, _), _ = greeted(hello(token="secret"), token="secret")
    channel.close()


def test_nobody_says_hello():
    ours, theirs = socket.socketpair()
    with pytest.raises(TimeoutError, match="no hello"):
        welcome(ours, timeout=0.05)
    theirs.close()
    with pytest.raises(Gone):
        welcome(ours, timeout=1.0)


def test_shared_memory_only_where_the_worker_maps_it():
    for said, shared in ((hello(), False), (hello(shm=True), True), (hello(shm=True, v=[1, 0]), False)):
        ring = Ring.create(2, 1024)
        (channel, _), other = greeted(said, ring=ring)
        assert bool(other.next().shm) == shared == (channel.codec.ring is not None)
        channel.close()


def test_pipes_only_where_the_worker_uses_them():
    for said, piped in ((hello(), False), (hello(pipes=True), True), (hello(pipes=True, v=[1, 0]), False)):
        pipes = Pipes()
        far = Far(pipes)
        pipes.handed()
        (channel, _), other = greeted(said, pipes=pipes)
        assert other.next().pipes == piped == (channel.line is pipes)
        left, used = (other.sock, far) if piped else (far, other.sock)
        assert left.recv(1) == b""  # nobody holds the other end any more
        beside(lambda: used.sendall(other.codec.frame(Ok(id=channel.codec.message(used.recv(99)[4:]).id))))  # noqa: B023
        assert isinstance(channel.ask(Ping(id=channel.number()), 5.0), Ok)
        channel.close()
        assert used.recv(1) == b""
        far.close()
        other.sock.close()


def test_a_side_that_reads_nothing_is_given_up_in_time(over):
    ours, theirs = joined(over)
    channel = Channel(ours, Codec())
    big = Ok(id=channel.number(), data=b"x" * (4 << 20))
    with (
        contextlib.closing(theirs),
        contextlib.closing(channel),
        pytest.raises(Gone, match="did not read a frame in 0.2 s"),
    ):
        channel.ask(big, 0.2)


def test_two_sides_that_write_at_once_do_not_wait_for_each_other(over):
    ours, theirs = joined(over)
    channel, other = Channel(ours, Codec()), Channel(theirs, Codec())
    large = b"x" * (4 << 20)
    ends = []

    def answer():
        other.on_message = lambda m: other.tell(Ok(id=m.id, data=large))
        other.tell(Ok(id=999, data=large))  # late, and larger than the pipe: sent while the other side sends
        ends.append(other.listen())

    thread = threading.Thread(target=answer)
    thread.start()
    asked = Load(id=channel.number(), ep=1, slot=0, key=b"", data=large)
    assert len(channel.ask(asked, 20.0).data) == len(large) and channel.late == 1
    channel.close()
    thread.join(10)
    assert ends


def test_what_could_not_be_sent_in_one_loop_is_sent_in_the_next(over):
    ours, theirs = joined(over)
    channel = Channel(ours, Codec())

    async def ask(timeout):
        await channel.aask(Load(id=channel.number(), ep=1, slot=0, key=b"", data=b"x" * (4 << 20)), timeout)

    with pytest.raises(TimeoutError):
        asyncio.run(ask(0.1))
    got = []

    def read():
        while data := theirs.recv(1 << 20):
            got.append(len(data))

    thread = threading.Thread(target=read)
    thread.start()
    with pytest.raises(TimeoutError):
        asyncio.run(ask(1.0))
    channel.close()
    thread.join(10)
    theirs.close()
    assert sum(got) >= 8 << 20


# -- ends of pipes -------------------------------------------------------------------------------------------


def large(channel):
    return Load(id=channel.number(), ep=1, slot=0, key=b"", data=b"x" * (4 << 20))


@pytest.mark.parametrize("way", ["loop", "thread"])
def test_a_reader_that_is_gone_is_the_end_also_in_the_middle_of_a_frame(way):
    pipes, far = joined("pipes")
    channel = Channel(pipes, Codec())

    def ask(message):
        return asyncio.run(channel.aask(message, 10.0)) if way == "loop" else channel.ask(message, 10.0)

    # It has read a part, the rest of the pipe is full, and its answers would still come.
    thread = beside(lambda: (far.recv(1000), time.sleep(0.05), far.deaf()))
    with pytest.raises(Gone, match="cannot write: Broken pipe"):
        ask(large(channel))
    thread.join(5)
    with pytest.raises(Gone, match="cannot write"):
        ask(Ping(id=channel.number()))
    channel.close()
    pipes, far = joined("pipes")
    channel = Channel(pipes, Codec())
    far.deaf()
    with contextlib.closing(far), pytest.raises(Gone, match="cannot write: Broken pipe"):
        ask(Ping(id=channel.number()))
    channel.close()


def test_who_waits_while_the_pipes_are_closed_reads_nothing_of_others():
    pipes, far = joined("pipes")
    numbers = {pipes.reads, pipes.writes}
    channel = Channel(pipes, Codec())
    found = []

    def ask():
        try:
            found.append(channel.ask(Ping(id=channel.number()), 20.0))
        except Gone as gone:
            found.append(str(gone))

    thread = beside(ask)
    assert far.recv(99)  # it was asked, and waits
    time.sleep(0.02)
    channel.close()
    taken = [socket.socketpair() for _ in range(2)]  # these get the numbers that are free again
    assert numbers <= {s.fileno() for pair in taken for s in pair}
    for pair in taken:
        for sock in pair:
            sock.sendall(Codec().frame(Ok(id=1, data="not for the worker")))
    assert far.recv(99) == b""
    far.close()
    thread.join(5)
    assert found == ["closed here"]
    for pair in taken:
        for sock in pair:
            assert len(sock.recv(99)) > 20  # all is still there
            sock.close()


def test_closed_pipes_stay_closed(over):
    ours, theirs = joined(over)
    channel = Channel(ours, Codec())
    with pytest.raises(TimeoutError):
        asyncio.run(channel.aask(large(channel), 0.05))  # a part of it waits to be sent
    channel.close()
    channel.close()
    with pytest.raises(Gone, match="closed here"):
        channel.tell(Ping(id=channel.number()))
    with pytest.raises(Gone, match="closed here"):
        channel.reply(Ok(id=1))
    theirs.close()
    Pipes.__new__(Pipes).close()  # one that could not be made has nothing to give back


def test_pipes_are_there_where_their_size_cannot_be_set(monkeypatch):
    monkeypatch.delattr(fcntl, "F_SETPIPE_SZ", raising=False)
    pipes, far = joined("pipes", small=True)
    assert pipes.send(b"x") == 1 and far.recv(9) == b"x"
    pipes.close()
    far.close()


def test_an_answer_may_be_waited_for_as_long_as_one_likes(ends):
    channel, other = ends
    beside(lambda: other.send(Ok(id=other.next().id, data="late")))
    assert channel.ask(Ping(id=channel.number()), 1e9).data == "late"
    beside(lambda: (time.sleep(0.05), [other.send(Ok(id=other.next().id)) for _ in range(1)]))
    assert isinstance(channel.ask(large(channel), 1e9), Ok)


def test_a_forked_process_holds_no_pipes_and_closes_none(over):
    from crossplay.agents.remote.link import Link, Start

    ours, theirs = joined(over)
    link, other = Link("forked", Start(), {}), Other(theirs)
    link._channel = Channel(ours, Codec())
    del ours
    told, tell = os.pipe()
    stay, leave = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            theirs.close()
            os.close(leave)
            os.write(tell, b"yes" if not link.alive else b"no")
            os.read(stay, 1)  # lives on until the test is over
        finally:
            os._exit(0)
    try:
        os.close(stay)
        assert os.read(told, 3) == b"yes"
        beside(lambda: other.send(Ok(id=other.next().id, data="yes")))
        assert link.channel.ask(Ping(id=link.channel.number()), 5.0).data == "yes"
        link._channel.close()
        assert theirs.recv(1) == b""  # the fork holds no end of it
    finally:
        for fd in (leave, told, tell):
            os.close(fd)
        os.waitpid(pid, 0)
        theirs.close()
