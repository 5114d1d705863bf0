"""The ASGI application: the REST API, its description, WebSockets, the files of the page."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Mount, WebSocketRoute
from starlette.routing import Route as StarletteRoute
from starlette.staticfiles import StaticFiles

import crossplay.web.play
import crossplay.web.service
from crossplay.study.page import LOOK
from crossplay.web.api import PREFIX, Route, bind, failed
from crossplay.web.desk import Desk, TooMany
from crossplay.web.gate import COOKIE, Gate, Owner
from crossplay.web.openapi import openapi
from crossplay.wire.http.bodies import Bounded

__all__ = ["make_app", "tables"]

STATIC = Path(__file__).parent / "static"
METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"]
"""All that could be tried, so that a wrong one is answered in words."""


def tables() -> tuple[list[Route], list[tuple[str, Any, str]]]:
    """(routes, sockets) of all modules of `service` and `play`: their ROUTES, and their SOCKETS as (path, handler, access)."""
    routes: list[Route] = []
    sockets: list[tuple[str, Any, str]] = []
    for package in (crossplay.web.service, crossplay.web.play):
        for found in sorted(m.name for m in pkgutil.iter_modules(package.__path__)):
            module = importlib.import_module(f"{package.__name__}.{found}")
            routes += getattr(module, "ROUTES", ())
            sockets += getattr(module, "SOCKETS", ())
    return routes, sockets


def make_app(
    desk: Desk, host: str = "127.0.0.1", token: str = "", names: Iterable[str] = (), proxies: Iterable[str] = ()
) -> Any:
    """The application behind its checks. token: "" where whoever reaches the server is its owner. proxies: addresses of
    those whose word about their clients is taken.
    """
    routes, sockets = tables()
    owner = Owner(token)
    described = msgspec.json.encode(openapi(routes))

    async def description(_: Request) -> Response:
        return Response(described, media_type="application/json")

    async def login(request: Request) -> Response:
        try:
            given = msgspec.json.decode(await request.body(), type=dict[str, str]).get("token", "")
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return JSONResponse({"error": 'expected {"token": "..."}'}, 422)
        try:
            if not owner.knows(given.encode()):
                return JSONResponse({"error": "the token is wrong"}, 401)
        except TooMany as error:
            return failed(error)
        answer = JSONResponse({"owner": True})
        if token:
            # The browser says whether it came by TLS (the gate has compared the rest of the Origin with the Host).
            tls = request.url.scheme == "https" or request.headers.get("origin", "").startswith("https://")
            answer.set_cookie(COOKIE, owner.cookie, httponly=True, samesite="strict", path="/", secure=tls)
        return answer

    async def who(request: Request) -> Response:
        return JSONResponse({"owner": bool(request.scope.get("owner")), "token": bool(token)})

    async def page(_: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})

    async def look(_: Request) -> Response:
        return FileResponse(LOOK, headers={"cache-control": "no-cache"})

    guests = {PREFIX + r.path for r in routes if r.access == "guest"}
    owned = [_Owned(route) if route.path not in guests else route for route in bind(desk, routes)]
    api: list[BaseRoute] = [
        StarletteRoute(f"{PREFIX}/openapi.json", description),
        StarletteRoute(f"{PREFIX}/login", login, methods=["POST"]),
        StarletteRoute(f"{PREFIX}/who", who),
        *owned,
    ]

    async def nothing(request: Request) -> Response:
        known = sorted(
            {
                m
                for r in api
                if isinstance(r, StarletteRoute) and r.path_regex.match(request.url.path)
                for m in r.methods or ()
            }
        )
        if known:
            return JSONResponse(
                {"error": f"{request.url.path} knows {', '.join(known)}"}, 405, {"allow": ", ".join(known)}
            )
        text = f"there is no {request.url.path}; {PREFIX}/openapi.json says what there is"
        return JSONResponse({"error": text}, 404)

    table: list[BaseRoute] = [
        *api,
        *(WebSocketRoute(path, _socket(desk, handler, access)) for path, handler, access in sockets),
        StarletteRoute(f"{PREFIX}/{{rest:path}}", nothing, methods=METHODS),
        StarletteRoute("/static/look.css", look),
        Mount("/static", StaticFiles(directory=STATIC)),
        StarletteRoute("/{rest:path}", page),
    ]

    @contextlib.asynccontextmanager
    async def life(_: Any) -> AsyncIterator[None]:
        yield
        desk.close()

    return Gate(Bounded(Starlette(routes=table, lifespan=life)), host, owner, names, proxies)


class _Owned(StarletteRoute):
    """A route for the owner alone."""

    def __init__(self, route: StarletteRoute) -> None:
        async def endpoint(request: Request) -> Response:
            if not request.scope.get("owner"):
                return JSONResponse({"error": "this needs the token that the server was started with"}, 401)
            answer: Response = await route.endpoint(request)
            return answer

        super().__init__(route.path, endpoint, methods=sorted(route.methods or ()), name=route.name)


def _socket(desk: Desk, handler: Any, access: str) -> Any:
    async def endpoint(socket: Any) -> None:
        connection: HTTPConnection = socket
        if access == "owner" and not connection.scope.get("owner"):
            await socket.close(1008, "this needs the token that the server was started with")
            return
        await handler(desk, socket)

    return endpoint
