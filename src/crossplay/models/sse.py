"""Server-sent events: the data of each event, from bytes that come in any pieces."""

from __future__ import annotations

__all__ = ["EventLines"]


class EventLines:
    """Cuts a stream into events. An event that the stream leaves unfinished is never given.

    Source: the HTML standard, section 9.2, Server-sent events. Of the fields only `data` is read:
    model endpoints repeat the type of an event inside its data.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._first = True
        self._after_cr = False

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of the events that this piece completes."""
        if self._after_cr and piece:  # the line feed of a pair that was cut in two ends no line of its own
            piece = piece.removeprefix(b"\n")
            self._after_cr = False
        text = self._rest + piece
        if self._first and text:
            if b"\xef\xbb\xbf".startswith(text[:3]) and len(text) < 3:
                self._rest = text
                return []
            text = text.removeprefix(b"\xef\xbb\xbf")
            self._first = False
        if b"\r" in text:
            self._after_cr = text.endswith(b"\r")
            text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, self._rest = text.split(b"\n")
        found = []
        for line in lines:
            if line.startswith(b"data:"):
                self._data.append(line[6:] if line.startswith(b"data: ") else line[5:])
            elif line == b"data":
                self._data.append(b"")
            elif not line and self._data:
                found.append(b"\n".join(self._data))
                self._data = []
        return found
