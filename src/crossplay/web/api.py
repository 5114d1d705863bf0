"""Service functions as HTTP routes: a table says method, path, function; types say what is read and answered.

A function takes the desk, then the parts of the path by name (str or int), then `query: SomeStruct` and/or `body:
SomeStruct` (msgspec Structs). It returns a Struct or plain data (JSON), a `Download` (bytes), a `Stream`, or None (204). Plain
functions run in a thread, `async def` on the event loop. Errors of ours become {"error": text} with their status.
"""

from __future__ import annotations

import inspect
import logging
import typing
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route as StarletteRoute

from crossplay.kernel import CrossplayError
from crossplay.web.desk import Conflict, Desk, Forbidden, NotFound, TooMany

__all__ = ["PREFIX", "Download", "Route", "Stream", "bind", "failed"]

PREFIX = "/api/v1"
_log = logging.getLogger("crossplay.web")
STATUS = ((NotFound, 404), (Forbidden, 403), (Conflict, 409), (TooMany, 429), (CrossplayError, 400))


class Download(msgspec.Struct):
    """Bytes with their kind. name: of the file, where it is to be saved rather than shown. lasts: seconds a browser may keep it."""

    content: bytes
    kind: str = "application/octet-stream"
    name: str = ""
    lasts: int = 0


class Stream(msgspec.Struct):
    """Bytes as they come, until the other side goes away. kind: of server-sent events, unless said otherwise."""

    parts: AsyncIterator[bytes]
    kind: str = "text/event-stream"


class Route(msgspec.Struct, frozen=True):
    """One line of the table. access: "owner" (whoever runs the server) or "guest" (anybody; the function itself asks
    for what it needs, e.g. the token of a seat). kind: of a `Download`.
    """

    method: str
    path: str
    call: Callable[..., Any]
    access: str = "owner"
    kind: str = "application/json"

    @property
    def name(self) -> str:
        """What OpenAPI calls the operation."""
        return self.call.__name__

    def shape(self) -> Shape:
        """What the function reads."""
        hints = typing.get_type_hints(self.call)
        names = list(inspect.signature(self.call).parameters)[1:]
        inside = [n for n in names if n not in ("query", "body")]
        return Shape(
            {n: hints.get(n, str) for n in inside}, hints.get("query"), hints.get("body"), hints.get("return", Any)
        )


class Shape(msgspec.Struct, frozen=True):
    """The types of a route: path parts by name, query, body, answer."""

    parts: dict[str, Any]
    query: Any
    body: Any
    answer: Any


def bind(desk: Desk, routes: Iterable[Route]) -> list[StarletteRoute]:
    """Starlette routes of a table."""
    return [StarletteRoute(PREFIX + r.path, _endpoint(desk, r), methods=[r.method], name=r.name) for r in routes]


def _endpoint(desk: Desk, route: Route) -> Callable[[Request], Any]:
    shape = route.shape()
    waits = inspect.iscoroutinefunction(route.call)

    async def endpoint(request: Request) -> Response:
        try:
            given: dict[str, Any] = {
                name: msgspec.convert(request.path_params[name], kind, strict=False)
                for name, kind in shape.parts.items()
            }
            if shape.query is not None:
                given["query"] = _query(request, shape.query)
            if shape.body is not None:
                given["body"] = msgspec.json.decode(await request.body() or b"{}", type=shape.body)
        except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            return JSONResponse({"error": f"{route.method} {request.url.path}: {error}"}, 422)
        try:
            return answered(
                await route.call(desk, **given) if waits else await run_in_threadpool(route.call, desk, **given)
            )
        except CrossplayError as error:
            return failed(error)
        except FileNotFoundError as error:  # whoever owns the folder may take things away at any time
            return JSONResponse({"error": f"{Path(str(error.filename)).name} is not there any more"}, 404)
        except Exception as error:
            if why := await run_in_threadpool(_damaged, desk, given):
                return JSONResponse({"error": why}, 400)
            _log.exception("%s %s", route.method, request.url.path)
            said = f"something went wrong here: {type(error).__name__}; what the server printed says more"
            return JSONResponse({"error": said}, 500)

    return endpoint


def _damaged(desk: Desk, given: dict[str, Any]) -> str:
    """Whether one of the runs that were asked about is not as it was written: then nothing else need be wrong."""
    runs = [given["run"]] if "run" in given else getattr(given.get("query"), "runs", ())
    return next(filter(None, map(desk.damage, runs)), "")


def _query(request: Request, kind: Any) -> Any:
    """The query as a Struct: names that it does not have are refused, lists are given by repeating a name."""
    found: dict[str, Any] = {}
    fields = msgspec.structs.fields(kind)
    lists = {f.encode_name for f in fields if typing.get_origin(_plain(f.type)) in (list, tuple)}
    known = {f.encode_name for f in fields}
    for name in request.query_params:
        if name not in known:
            raise msgspec.ValidationError(f"unknown option {name[:40]!r}; there are {', '.join(sorted(known))}")
        found[name] = request.query_params.getlist(name) if name in lists else request.query_params[name]
    return msgspec.convert(found, kind, strict=False)


def _plain(kind: Any) -> Any:
    """A type without what `Annotated` says about it."""
    return typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind


def answered(answer: Any) -> Response:
    """A response of what a service function gave."""
    if isinstance(answer, Response):
        return answer
    if answer is None:
        return Response(status_code=204)
    if isinstance(answer, Stream):
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}  # a proxy must not collect it
        return StreamingResponse(answer.parts, media_type=answer.kind, headers=headers)
    if isinstance(answer, Download):
        headers = {"cache-control": f"private, max-age={answer.lasts}" if answer.lasts else "no-store"}
        if answer.name:
            plain = "".join(c if (c.isascii() and c.isalnum()) or c in "-_." else "-" for c in answer.name)
            headers["content-disposition"] = f'attachment; filename="{plain}"'
        return Response(answer.content, media_type=answer.kind, headers=headers)
    return Response(msgspec.json.encode(answer), media_type="application/json", headers={"cache-control": "no-store"})


def failed(error: CrossplayError) -> Response:
    """An error of ours, with the status of its kind."""
    status = next(code for kind, code in STATUS if isinstance(error, kind))
    return JSONResponse({"error": str(error)}, status)
