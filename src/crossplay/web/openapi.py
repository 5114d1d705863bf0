"""The REST API described as OpenAPI 3.1, made from the table of routes and the types of their functions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import msgspec

import crossplay
from crossplay.web.api import PREFIX, Download, Route, Stream

__all__ = ["openapi"]

_ERROR = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}


def openapi(routes: Iterable[Route]) -> dict[str, Any]:
    """The description; every schema stands under components."""
    routes = list(routes)
    kinds: list[Any] = []
    for route in routes:
        shape = route.shape()
        kinds += [kind for kind in (shape.query, shape.body, shape.answer) if _told(kind)]
        kinds += shape.parts.values()
    schemas, components = msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")
    rest = iter(schemas)
    paths: dict[str, Any] = {}
    for route in routes:
        shape = route.shape()
        query = next(rest) if _told(shape.query) else None
        body = next(rest) if _told(shape.body) else None
        answer = next(rest) if _told(shape.answer) else None
        parts = {name: next(rest) for name in shape.parts}
        paths.setdefault(PREFIX + re.sub(r"{(\w+):\w+}", r"{\1}", route.path), {})[route.method.lower()] = _operation(
            route, parts, _resolved(query, components), body, answer
        )
    return {
        "openapi": "3.1.0",
        "info": {"title": "Crossplay", "version": crossplay.__version__},
        "paths": paths,
        "components": {
            "schemas": {**components, "Error": _ERROR},
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _told(kind: Any) -> bool:
    return kind is not None and kind is not type(None) and kind not in (Download, Stream)


def _resolved(schema: Any, components: dict[str, Any]) -> Any:
    while isinstance(schema, dict) and "$ref" in schema:
        schema = components[schema["$ref"].rpartition("/")[2]]
    return schema


def _operation(route: Route, parts: dict[str, Any], query: Any, body: Any, answer: Any) -> dict[str, Any]:
    text = (route.call.__doc__ or "").strip()
    found: dict[str, Any] = {
        "operationId": route.name,
        "summary": text.partition("\n")[0],
        "description": text,
        "parameters": [{"name": n, "in": "path", "required": True, "schema": schema} for n, schema in parts.items()],
        "responses": _responses(route, answer),
    }
    for name, schema in (query or {}).get("properties", {}).items():
        needed = name in query.get("required", [])
        found["parameters"].append({"name": name, "in": "query", "required": needed, "schema": schema})
    if body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    if route.access == "owner":
        found["security"] = [{"token": []}]
    return found


def _responses(route: Route, answer: Any) -> dict[str, Any]:
    error = {
        "description": "why not",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    if answer is None and route.kind == "application/json":
        good: dict[str, Any] = {"204": {"description": "done"}}
    else:
        schema = answer if answer is not None else {"type": "string", "format": "binary"}
        said = {} if route.kind == "text/event-stream" else {"schema": schema}  # a stream has no schema in OpenAPI 3.1
        good = {"200": {"description": "the answer", "content": {route.kind: said}}}
    return {**good, **dict.fromkeys(("400", "401", "403", "404", "409", "413", "415", "422", "429"), error)}
