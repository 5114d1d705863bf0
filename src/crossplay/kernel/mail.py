"""`Mail`: how messages travel between seats. The environment says who may hear whom, this carries.

Zero-message, shuffled, delayed, limited and noisy mail are conduct, so they work in every
environment with no code in it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from crossplay.kernel.conduct import Channel
from crossplay.kernel.seeds import key, pick, uniform
from crossplay.kernel.types import Msg, pack

__all__ = ["Mail"]


class Mail:
    """The mailboxes of one episode; plain data, part of the snapshot."""

    def __init__(self, channel: Channel, seats: Sequence[str], stream: tuple[Any, ...]) -> None:
        """stream: the names that address the episode's mail (shuffling and noise are drawn from it)."""
        self.channel, self.seats, self.stream = channel, seats, stream
        self.index = {s: i for i, s in enumerate(seats)}
        self.inbox: list[list[Msg]] = [[] for _ in seats]
        self.waiting: list[tuple[int, int, int, Msg]] = []  # due tick, sender, ordinal, envelope
        self.said: list[Any] = []  # bodies so far, for "shuffle"

    def say(
        self,
        sender: int,
        messages: Sequence[Msg],
        tick: int,
        audience: Callable[[], Sequence[str]],
        count: Callable[[str, int], None],
    ) -> None:
        """Accept what a seat says at a tick; count what the channel does to it."""
        channel = self.channel
        hearers = tuple(audience())
        room = channel.capacity
        for ordinal, msg in enumerate(messages):
            count("said", 1)
            wanted = hearers if msg.dst == "*" else (msg.dst,)
            good = [d for d in wanted if d in hearers and d in self.index]
            if len(good) < len(wanted) or not wanted:
                count("bad_address", 1)
            if not good:
                continue
            body = msg.body
            if room is not None:
                size = len(body) if isinstance(body, str) else len(pack(body))
                if size > room:
                    count("cut", 1)
                    if not isinstance(body, str) or room == 0:
                        continue
                    body, size = body[:room], room
                room -= size
            body, erased = self._noise(body, tick, sender, ordinal)
            if erased:
                count("erased", erased)
            if body is None and erased:
                continue
            self.said.append(body)
            if channel.mode == "off":
                continue
            if channel.mode == "shuffle":
                body = self.said[pick(self.key, len(self.said), tick, sender, ordinal)]
            for dst in good:
                envelope = Msg(dst, body, msg.channel, self.seats[sender], tick)
                self.waiting.append((tick + channel.delay, sender, ordinal, envelope))

    def _noise(self, body: Any, tick: int, sender: int, ordinal: int) -> tuple[Any, int]:
        noise = self.channel.noise
        if noise <= 0.0:
            return body, 0
        if not isinstance(body, str):
            gone = uniform(self.key, tick, sender, ordinal, 1) < noise
            return (None, 1) if gone else (body, 0)
        words = body.split(" ")
        kept = [w if uniform(self.key, tick, sender, ordinal, i + 2) >= noise else "…" for i, w in enumerate(words)]
        return " ".join(kept), sum(a != b for a, b in zip(words, kept, strict=True))

    def deliver(self, tick: int) -> list[Msg]:
        """Move what is due into the inboxes; the envelopes, by (tick said, sender, ordinal, addressee)."""
        if not self.waiting:
            return []
        due = [w for w in self.waiting if w[0] <= tick]
        if not due:
            return []
        self.waiting = [w for w in self.waiting if w[0] > tick]
        due.sort(key=lambda w: (w[3].tick, w[1], w[2], self.index[w[3].dst]))
        for *_, envelope in due:
            self.inbox[self.index[envelope.dst]].append(envelope)
        return [w[3] for w in due]

    @property
    def key(self) -> bytes:
        """The key of the stream; most episodes never ask for it."""
        return key(*self.stream)

    def take(self, seat: int) -> list[Msg]:
        """Empty a seat's inbox."""
        box = self.inbox[seat]
        if box:
            self.inbox[seat] = []
        return box

    def state(self) -> Any:
        """Plain data for a snapshot."""
        return [
            [[_plain(m) for m in box] for box in self.inbox],
            [[a, b, c, _plain(m)] for a, b, c, m in self.waiting],
            list(self.said),
        ]

    def load(self, state: Any) -> None:
        """The inverse of `state`."""
        boxes, waiting, said = state
        self.inbox = [[Msg(*m) for m in box] for box in boxes]
        self.waiting = [(a, b, c, Msg(*m)) for a, b, c, m in waiting]
        self.said = list(said)


def _plain(m: Msg) -> list[Any]:
    return [m.dst, m.body, m.channel, m.src, m.tick]
