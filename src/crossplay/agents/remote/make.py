"""The factory of `type = "worker"`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crossplay.agents.context import Context, NeedsTrust, options
from crossplay.kernel import Agent, CrossplayError

__all__ = ["worker"]


@options(
    command={"default": None, "description": "how to start it; `python` is the interpreter below"},
    python={
        "type": "string",
        "default": "",
        "description": "interpreter of a Python worker, relative to the study file",
    },
    listen={
        "type": "string",
        "default": "",
        "description": "tcp://HOST:PORT or unix:PATH where a worker from elsewhere connects",
    },
    token_env={
        "type": "string",
        "default": "",
        "description": "environment variable with the token that it must send; always on TCP",
    },
    config={"type": "object", "default": {}, "description": "passed to the worker with bind"},
    env={"type": "object", "default": {}, "description": "further environment variables of the process"},
    keep_env={
        "type": "array",
        "items": {"type": "string"},
        "default": [],
        "description": "variables with secrets that it may see",
    },
    timeout={"type": "number", "minimum": 0.001, "default": 60.0, "description": "seconds an answer may take"},
    start_timeout={"type": "number", "minimum": 0.1, "default": 60.0, "description": "seconds from start to hello"},
    restarts={
        "type": "integer",
        "minimum": 0,
        "default": 20,
        "description": "how often it is started again after it ended",
    },
    memory_mb={"type": "integer", "minimum": 0, "default": 0, "description": "limit of address space; 0: none"},
    cpu_s={"type": "integer", "minimum": 0, "default": 0, "description": "limit of processor time; 0: none"},
    snapshots={
        "type": "boolean",
        "default": False,
        "description": "save its memory after each decision, for branches and continuations",
    },
    shared_memory={"type": "boolean", "default": True, "description": "large arrays through shared memory"},
)
def worker(rest: str, options: Mapping[str, Any], context: Context) -> Agent:
    """An agent in a process of its own, over the wire; rest: a name for it."""
    from crossplay.agents.remote.agent import Remote, RemoteColumns
    from crossplay.agents.remote.link import Link, Start
    from crossplay.agents.remote.process import split_command

    name = rest or "worker"
    command, listen = options["command"], options["listen"]
    if bool(command) == bool(listen):
        raise CrossplayError('worker: give either command = ["python", "mine.py"] or listen = "tcp://127.0.0.1:7070"')
    if not context.trust:
        raise NeedsTrust(f"worker: {command or listen} is named by a file; allow it with --trust")
    token = os.environ.get(options["token_env"], "") if options["token_env"] else ""
    if options["token_env"] and not token:
        raise CrossplayError(f"worker: the environment variable {options['token_env']} is empty")
    if listen and not listen.startswith("unix:") and not token:
        raise CrossplayError(
            f'worker: listen = "{listen}" needs a token: token_env = "NAME" of an environment variable'
        )
    start = Start(
        command=split_command(command, options["python"], context.folder) if command else (),
        listen=listen, token=token, folder=Path(context.folder).resolve(), env={str(k): str(v) for k, v in options["env"].items()},
        keep=tuple(options["keep_env"]), memory_mb=options["memory_mb"], cpu_s=options["cpu_s"],
        start_s=options["start_timeout"], restarts=options["restarts"], shm_slots=8 if options["shared_memory"] else 0,
    )  # fmt: skip
    link = Link(name, start, options["config"])
    context.closing.append(link.close)
    link.channel  # noqa: B018  (starts it)
    hello = link.hello
    assert hello is not None
    if "agent" not in hello.roles:
        link.close()
        raise CrossplayError(f"worker {name}: {hello.name} fills no seats (roles: {', '.join(hello.roles)})")
    columns = (
        hello.state == "none"
        and not hello.feedback
        and list(hello.views[:1]) == ["array"]
        and hello.kinds in ([], ["names"])
    )
    kind = RemoteColumns if columns and hello.batch > 1 else Remote
    return kind(link, options["timeout"], options["snapshots"])
