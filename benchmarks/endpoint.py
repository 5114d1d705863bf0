"""An endpoint that costs next to nothing: `python -m benchmarks.endpoint` prints its port and serves.

A raw asyncio protocol with answers made beforehand, in a process of its own, so that the CPU time of
the process that asks is the client's alone. Chat completions, as JSON and as a stream, and responses.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

TEXT = "The answer is B, because the second option keeps the balance that the question asks for."
USAGE = {"prompt_tokens": 60, "completion_tokens": 20, "total_tokens": 80}
CHAT = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "hash",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop", "logprobs": None}
    ],
    "usage": USAGE,
}
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "hash",
    "status": "completed",
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": TEXT, "annotations": []}],
        }
    ],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": {
        "input_tokens": 60,
        "output_tokens": 20,
        "total_tokens": 80,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    },
}


def _http(body: bytes, kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def _stream() -> bytes:
    piece = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "hash"}
    words = [{"role": "assistant", "content": ""}, *({"content": w + " "} for w in TEXT.split())]
    events = [{**piece, "choices": [{"index": 0, "delta": d, "finish_reason": None}]} for d in words]
    events.append({**piece, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
    events.append({**piece, "choices": [], "usage": USAGE})
    return "".join(f"data: {e}\n\n" for e in [*map(json.dumps, events), "[DONE]"]).encode()


ANSWERS = {
    "chat": _http(json.dumps(CHAT).encode()),
    "responses": _http(json.dumps(RESPONSE).encode()),
    "stream": _http(_stream(), "text/event-stream"),
}


class Endpoint(asyncio.Protocol):
    """One connection: whole requests in, ready answers out."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport, self._rest = transport, b""

    def data_received(self, data: bytes) -> None:
        self._rest += data
        while (end := self._rest.find(b"\r\n\r\n")) >= 0:
            head = self._rest[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 : (head + b"\r\n").index(b"\r\n", at)]) if at >= 0 else 0
            if len(self._rest) < end + 4 + length:
                return
            body, self._rest = self._rest[end + 4 : end + 4 + length], self._rest[end + 4 + length :]
            kind = "responses" if b"/responses" in head[: head.find(b"\r\n")] else "chat"
            streamed = b'"stream":true' in body or b'"stream": true' in body
            self._transport.write(ANSWERS["stream" if streamed else kind])


async def serve() -> None:
    """Print the port, then serve for ever."""
    server = await asyncio.get_running_loop().create_server(Endpoint, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


@contextmanager
def running() -> Iterator[str]:
    """The endpoint in a process of its own; gives its address."""
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.endpoint"], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    asyncio.run(serve())
