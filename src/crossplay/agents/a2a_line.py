"""The line to one A2A agent, through the official SDK (extra `a2a`): its card, and a message with its answer.

The SDK's client lives on an event loop in a thread of its own, so that it outlives the loops that episodes are
played on. Answers are bounded, redirects are not followed, and a token goes to the address it was given for only.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import uuid
import weakref
from collections.abc import Coroutine, Mapping
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import msgspec

from crossplay.agents.a2a_form import packed, unpacked
from crossplay.agents.prompt import Unreadable
from crossplay.kernel import CrossplayError
from crossplay.wire import without

__all__ = ["Late", "Line", "Lost", "Refused", "Sent", "shown", "token_of"]

CONNECTING = 10.0
"""Seconds until an address that does not answer counts as lost."""
LARGEST = 4 << 20
"""Bytes of an answer at most."""
PARTS = 64
"""Parts of an answer that are read."""
AGAIN = {429, 502, 503, 504}
"""Answers of HTTP after which a message is sent again."""
BINDINGS = ("JSONRPC", "HTTP+JSON")
"""Forms of A2A that are spoken here."""
AT_ONCE = 32
"""Messages to one agent at a time; the others wait, and their time has not begun."""
SAME = {"127.0.0.1", "::1", "localhost"}
"""Names of one place; other addresses of loopback may be somebody else's."""


class Lost(Exception):
    """Nobody is at the address (any more). doubtful: messages that may have been worked on."""

    def __init__(self, text: str, doubtful: int = 0) -> None:
        super().__init__(text)
        self.doubtful = doubtful


class Late(Exception):
    """No answer within the time of one message."""


class Refused(Exception):
    """The agent does not let us in: the token is missing or wrong."""


class Sent(msgspec.Struct):
    """What came back of a message, as plain data. failed: the agent said that it failed, in `text`."""

    text: str = ""
    data: list[Any] = []
    failed: bool = False
    attempts: int = 1
    doubtful: int = 0


class Line:
    """One agent at an address. token: the value of a bearer token, or "".

    seconds: of one message; retries: how often a message is sent again after a lost connection or an
    answer that says "later". elsewhere: whether the card may name another address (never with a token).
    """

    def __init__(
        self, url: str, token: str = "", seconds: float = 60.0, retries: int = 2, elsewhere: bool = False
    ) -> None:
        self.url, self.secret, self.seconds, self.retries = url, token, seconds, retries
        self._elsewhere = elsewhere and not token
        self._card: Any = None
        self._client: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._lock = threading.Lock()
        self._gate: asyncio.Semaphore = asyncio.Semaphore(AT_ONCE)

    # -- from any thread or loop -------------------------------------------------------------------
    def card(self) -> dict[str, Any]:
        """The agent's card as plain data. Raises Lost, Refused, CrossplayError."""
        return asyncio.run_coroutine_threadsafe(self._read_card(), self._running()).result()

    async def fetch_card(self) -> dict[str, Any]:
        """The same, awaited."""
        card: dict[str, Any] = await self._on_line(self._read_card())
        return card

    async def send(self, text: str, data: Mapping[str, Any], context: str) -> Sent:
        """A message of a text part and a data part, and its answer. Raises Lost, Late, Refused, CrossplayError.

        context: the A2A context, a conversation that the agent may remember.
        """
        sent: Sent = await self._on_line(self._send(text, data, context))
        return sent

    def close(self) -> None:
        """Hang up; may be called more than once, and the line opens again when it is used."""
        with self._lock:
            loop, self._loop = self._loop, None
            client, self._client, self._card = self._client, None, None
        if loop is not None:
            _stop(loop, client)

    # -- the thread --------------------------------------------------------------------------------
    async def _on_line(self, call: Coroutine[Any, Any, Any]) -> Any:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(call, self._running()))

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                loop = self._loop = asyncio.new_event_loop()
                self._gate = asyncio.Semaphore(AT_ONCE)
                threading.Thread(target=_run, args=(loop,), daemon=True, name=f"a2a {self.url}").start()
                weakref.finalize(self, _stop, loop, None)
            return self._loop

    # -- on the line's own loop --------------------------------------------------------------------
    async def _open(self) -> Any:
        """The SDK's client for the address, with its card read."""
        if self._client is not None:
            return self._client
        sdk = _sdk()
        http = _http_client(self.secret, self.seconds)
        try:
            card = await sdk.A2ACardResolver(http, self.url).get_agent_card()
            if not self._elsewhere:
                _same_place(self.url, card, bool(self.secret))
            config = sdk.ClientConfig(streaming=False, httpx_client=http, supported_protocol_bindings=list(BINDINGS))
            client = sdk.ClientFactory(config).create(card)
        except BaseException as error:
            await http.aclose()
            if isinstance(error, Exception):
                raise self._reason(error) from error
            raise
        client.http = http
        self._card, self._client = card, client
        return client

    async def _read_card(self) -> dict[str, Any]:
        _sdk()  # before the clock runs: the first import takes a while
        from google.protobuf.json_format import MessageToDict

        try:
            async with asyncio.timeout(self.seconds):
                await self._open()
        except TimeoutError as error:
            raise self._reason(error) from error
        found: dict[str, Any] = without(self.secret, MessageToDict(self._card))
        found.pop("signatures", None)
        return found

    async def _send(self, text: str, data: Mapping[str, Any], context: str) -> Sent:
        _sdk()
        from a2a.helpers import new_data_part, new_message, new_text_part
        from a2a.types.a2a_pb2 import Role, SendMessageRequest

        parts = [new_text_part(text, "text/plain"), new_data_part(dict(data), "application/json")]
        message = new_message(parts, context_id=context, role=Role.ROLE_USER)
        message.message_id = uuid.uuid4().hex  # the same for every sending: an agent may know it again
        doubtful = 0
        for attempt in range(self.retries + 1):
            if attempt:
                await asyncio.sleep(min(0.2 * 2 ** (attempt - 1), 5.0))
            try:
                async with self._gate, asyncio.timeout(self.seconds):
                    client = await self._open()
                    sent = await self._exchange(client, SendMessageRequest(message=message))
                sent.text, sent.data = without(self.secret, sent.text), _cleaned(self.secret, sent.data)
                sent.attempts, sent.doubtful = attempt + 1, doubtful
                return sent
            except Exception as error:
                reason = self._reason(error)
                if isinstance(reason, Lost):
                    doubtful += reason.doubtful
                    await self._hang_up()
                if attempt == self.retries or not isinstance(reason, (Lost, _Later)):
                    if isinstance(reason, Lost):
                        raise Lost(str(reason), doubtful) from error
                    raise reason from error
        raise AssertionError("a message is sent at least once")

    async def _exchange(self, client: Any, request: Any) -> Sent:
        """One sending, and waiting for a task that goes on after it."""
        from a2a.types.a2a_pb2 import GetTaskRequest, TaskState

        going = {TaskState.TASK_STATE_SUBMITTED, TaskState.TASK_STATE_WORKING, TaskState.TASK_STATE_UNSPECIFIED}
        task = None
        async for event in client.send_message(request):
            if event.HasField("message"):
                return _read(event.message.parts)
            if event.HasField("task"):
                task = event.task
        if task is None:
            raise CrossplayError("it answered with neither a message nor a task")
        pause = 0.05
        while task.status.state in going:
            await asyncio.sleep(pause)
            pause = min(2 * pause, 1.0)
            task = await client.get_task(GetTaskRequest(id=task.id))
        parts = [*(p for a in task.artifacts for p in a.parts), *task.status.message.parts]
        sent = _read(parts)
        if task.status.state not in (TaskState.TASK_STATE_COMPLETED, TaskState.TASK_STATE_INPUT_REQUIRED):
            state = TaskState.Name(task.status.state).removeprefix("TASK_STATE_").lower()
            sent.failed, sent.text = True, f"its task is {state}. {sent.text}".strip()
        return sent

    async def _hang_up(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(Exception):
                await client.http.aclose()

    def _reason(self, error: Exception) -> Exception:
        """What an exception of the SDK or the network means, without our token."""
        reason = self._meaning(error)
        reason.args = tuple(without(self.secret, list(reason.args)))
        return reason

    def _meaning(self, error: Exception) -> Exception:
        import httpx
        from a2a.utils.errors import A2AError

        if isinstance(error, (Lost, Late, Refused, CrossplayError, _Later)):
            return error
        if isinstance(error, TimeoutError):
            return Late(f"no answer within {self.seconds:g} s")
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, (httpx.HTTPError, _TooLong)):
            cause = cause.__cause__ or cause.__context__
        if isinstance(cause, _TooLong):
            return CrossplayError(str(cause))
        if isinstance(cause, httpx.HTTPStatusError):
            code = cause.response.status_code
            if code in (401, 403):
                return Refused(f"{self.url} answers {code}: the token is missing or wrong")
            return _Later(f"HTTP {code}") if code in AGAIN else CrossplayError(f"HTTP {code}")
        if isinstance(cause, (httpx.ConnectError, httpx.ConnectTimeout)):
            return Lost(f"{self.url} cannot be reached ({cause or type(cause).__name__})")
        if isinstance(cause, httpx.TimeoutException):
            return Late(f"no answer within {self.seconds:g} s")
        if isinstance(cause, httpx.TransportError) and not isinstance(cause, httpx.UnsupportedProtocol):
            return Lost(f"the connection to {self.url} was lost ({type(cause).__name__})", doubtful=1)
        what = error.message if isinstance(error, A2AError) else str(error)
        return CrossplayError(f"{type(error).__name__}: {without(self.secret, what)}"[:300])


class _Later(CrossplayError):
    """The agent asks to be asked later."""


class _TooLong(Exception):
    """An answer over the limit, or packed so that its length cannot be known."""


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        with contextlib.suppress(Exception):
            loop.run_until_complete(asyncio.sleep(0))
            loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def _stop(loop: asyncio.AbstractEventLoop, client: Any) -> None:
    """Close the client on its loop, and end the loop."""

    async def end() -> None:
        if client is not None:
            with contextlib.suppress(Exception):
                await client.http.aclose()
        loop.stop()

    with contextlib.suppress(RuntimeError):  # it has ended
        loop.call_soon_threadsafe(lambda: loop.create_task(end()))


def _sdk() -> Any:
    try:
        import a2a.client as sdk
    except ImportError as error:
        problem = CrossplayError("the package a2a-sdk is not installed; add it with the extra crossplay[a2a]")
        problem.exit_code = 3
        raise problem from error
    return sdk


@cache
def _bounded() -> Any:
    """An HTTP transport whose answers end at LARGEST bytes."""
    import httpx

    class Counted(httpx.AsyncByteStream):
        def __init__(self, stream: Any) -> None:
            self._stream = stream

        async def __aiter__(self) -> Any:
            n = 0
            async for chunk in self._stream:
                n += len(chunk)
                if n > LARGEST:
                    raise _TooLong(f"its answer is longer than {LARGEST} bytes")
                yield chunk

        async def aclose(self) -> None:
            await self._stream.aclose()

    class Bounded(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: Any) -> Any:
            response = await super().handle_async_request(request)
            if response.headers.get("content-encoding", "identity") != "identity":
                await response.aclose()
                raise _TooLong("its answer is compressed, though that was not allowed")
            response.stream = Counted(response.stream)
            return response

    return Bounded


def _http_client(token: str, seconds: float) -> Any:
    import httpx

    headers = {"Accept-Encoding": "identity"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    return httpx.AsyncClient(
        transport=_bounded()(limits=limits),
        headers=headers,
        timeout=httpx.Timeout(seconds, connect=min(CONNECTING, seconds), pool=None),
        follow_redirects=False,
        trust_env=False,
    )


def _same_place(url: str, card: Any, token: bool) -> None:
    """Token and questions may go only where they were meant for: a card may name any other address."""
    for interface in card.supported_interfaces:
        if interface.protocol_binding in BINDINGS and _origin(interface.url) != _origin(url):
            what = "a token is not sent there" if token else "allow it with --trust"
            raise CrossplayError(f"{shown(url)}: its card names another address, {shown(interface.url)}; {what}")


def _origin(url: str) -> tuple[str, str, int | None]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
    return parts.scheme, "loopback" if host in SAME else host, port


def _read(parts: Any) -> Sent:
    """The texts and data of parts as plain data; other parts are left out."""
    from google.protobuf.json_format import MessageToDict

    texts, data = [], []
    for part in list(parts)[:PARTS]:
        if part.HasField("text"):
            texts.append(part.text)
        elif part.HasField("data"):
            try:
                data.append(MessageToDict(part.data))
            except ValueError as error:  # not a number, or infinite
                raise CrossplayError(f"a data part cannot be read: {error}") from None
    return Sent("\n".join(texts), data)


def _cleaned(secret: str, data: list[Any]) -> list[Any]:
    """Data parts without our token, also in what is packed in their exact part."""
    data = without(secret, data)
    for part in data if secret else ():
        if isinstance(part, dict) and isinstance(part.get("exact"), str):
            with contextlib.suppress(Unreadable):
                exact = unpacked(part["exact"])
                if (clean := without(secret, exact)) != exact:
                    part["exact"] = packed(clean)
    return data


def shown(url: str) -> str:
    """An address as records show it: without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def token_of(variable: str, where: str) -> str:
    """The token in an environment variable, "" for none named."""
    if not variable:
        return ""
    value = os.environ.get(variable, "")
    if not value:
        problem = CrossplayError(f"{where}: the environment variable {variable} holds no token")
        problem.exit_code = 3
        raise problem
    return value
