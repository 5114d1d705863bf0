"""`python:module:object`: an agent from the user's own code, named on the local command line."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import sys
from collections.abc import Mapping
from typing import Any

from crossplay.agents.context import Context, NeedsTrust
from crossplay.kernel import Agent, CrossplayError, nearest

__all__ = ["imported", "python"]


def imported(given: str, context: Context, what: str) -> tuple[Any, str]:
    """(the object behind `python:MODULE:OBJECT`, digest of its module's file); needs trust.

    The folder of the study file is searched for the module first.
    """
    module_name, _, name = given.removeprefix("python:").partition(":")
    if not module_name or not name:
        raise CrossplayError(f'{what} "{given}": expected python:MODULE:OBJECT')
    if not context.trust:
        raise NeedsTrust(f'{what} "{given}" runs code of {module_name}; allow it with --trust')
    folder = str(context.folder.resolve())
    sys.path.insert(0, folder)
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise CrossplayError(f'{what} "{given}": cannot import {module_name} ({error})') from error
    finally:
        sys.path.remove(folder)
    if not hasattr(module, name):
        known = [n for n in vars(module) if not n.startswith("_")]
        raise CrossplayError(f'{what} "{given}": {module_name} has no "{name}".{nearest(name, known)}')
    try:
        code = inspect.getsource(module).encode()
    except (OSError, TypeError):
        code = b""
    return getattr(module, name), hashlib.sha256(code).hexdigest()[:16]


def python(rest: str, options: Mapping[str, Any], context: Context) -> Agent:
    """The agent behind module:object; object is an Agent, an Agent class, or a function that gives one.

    Options go to the class or function as keyword arguments. Needs `--trust`, because it runs code.
    The folder of the study file (or the working directory) is searched for the module first.
    """
    found, _ = imported(f"python:{rest}", context, "agent")
    if isinstance(found, Agent):
        if options:
            raise CrossplayError(f'agent "python:{rest}" is ready-made and takes no options, got {", ".join(options)}')
        return found
    try:
        agent = found(**options)
    except TypeError as error:
        raise CrossplayError(f'agent "python:{rest}": {error}') from error
    if not isinstance(agent, Agent):
        raise CrossplayError(f'agent "python:{rest}" gave a {type(agent).__name__}, not a crossplay.kernel.Agent')
    return agent
