"""Commands for trainers and training jobs: `worker envs`, `jobs list|show|tail|stop|resume`."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

__all__ = ["worker_envs"]

Flag = Annotated[bool, Parameter(negative=())]


def worker_envs(*, trust: Flag = False) -> int:
    """Serve environments to the trainer that started this command (see `crossplay_worker.envs.make`).

    Parameters
    ----------
    trust
        Agents that fill seats may name commands and code.

    """
    from crossplay.jobs.envserver import inherited, serve

    sock, ring = inherited()
    serve(sock, ring=ring, trust=trust)
    return 0
