"""Answers every act with something else that is wrong, as a process of its own: `python liar.py`."""

import os
import socket
import struct

import msgspec

inf, nan = float("inf"), float("nan")
sock = socket.socket(fileno=int(os.environ["CROSSPLAY_FD"]))
deep = [[[[[[[[[[1]]]]]]]]]]
LIES = [
    {"values": [9999]}, {"values": [-1]}, {"values": ["no such name"]}, {"values": [None]}, {"values": [nan]}, {"values": [{}]},
    {"values": [deep]}, {"values": "a"}, {"values": 5}, {"values": []}, {"values": [0, 0]}, {"values": [True]}, {"values": ["x" * 100_000]},
    {"values": [0], "usage": {0: [inf, nan, -5, 2**64 - 1]}}, {"values": [0], "usage": {0: "much"}}, {"values": [0], "usage": {7: [1]}},
    {"values": [0], "usage": {0: [2**53, 2**53, 2**53, 2**53]}}, {"values": [0], "counts": {0: {"x": nan, "y": 2**64 - 1}}},
    {"values": [0], "counts": {0: {"x" * 500: 1, "": 2, "\u0000": 3}}}, {"values": [0], "confidence": {0: "sure"}},
    {"values": [0], "confidence": {0: nan}}, {"values": [0], "confidence": {0: [1]}}, {"values": [0], "why": {0: {"a": deep}}},
    {"values": [0], "why": {0: "\ud7ff\u0000 because " * 9000}}, {"values": [0], "memo": deep}, {"values": [0], "memo": [{"a": b"\xff"}]},
    {"values": [0], "says": {0: [["p1", {"deep": deep}, "main"]]}}, {"values": [0], "says": {0: "hi"}}, {"values": [0], "says": {0: [[1, 2, 3]]}},
    {"values": [0], "faults": {0: ["NO_SUCH_CODE", {"a": 1}]}}, {"values": [0], "faults": {0: 3}}, {"values": [0], "faults": {5: ["X", "y"]}},
    {"t": "ok"}, {"t": "error", "code": "E_MINE", "message": "m" * 100_000}, {"t": "error", "code": "INTERNAL", "detail": deep},
    {"t": "error", "code": "UPSTREAM", "retry": True},
]  # fmt: skip


def read(size):
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            os._exit(0)
        data += more
    return data


def send(**fields):
    body = msgspec.msgpack.encode(fields)
    sock.sendall(struct.pack("<I", len(body)) + body)


decode = msgspec.msgpack.Decoder(ext_hook=lambda code, data: None).decode
send(t="hello", v=[1, 1], codecs=["msgpack"], name="liar", views=["data"], state="none", batch=1)
said = 0
while True:
    message = decode(read(struct.unpack("<I", read(4))[0]))
    if message["t"] == "act":
        send(**{"t": "acts", "id": message["id"], **LIES[said % len(LIES)]})
        said += 1
    elif "id" in message and message["t"] != "cancel":
        send(t="ok", id=message["id"])
