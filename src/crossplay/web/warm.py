"""`warm`: what first visits of pages would wait for is loaded while nobody waits yet."""

from __future__ import annotations

import contextlib
import threading

from crossplay.kernel import CrossplayError
from crossplay.web.desk import Desk

__all__ = ["warm"]


def warm(desk: Desk) -> threading.Thread:
    """Load, in a thread of its own, the libraries of tables and pictures and the list of environments (beside the server)."""
    thread = threading.Thread(target=_load, args=(desk,), name="warm", daemon=True)
    thread.start()
    return thread


def _load(desk: Desk) -> None:
    from crossplay.web.service import forms

    with contextlib.suppress(CrossplayError, OSError, ImportError):  # whoever needs it is told then
        forms.agents(desk)
        forms.studies(desk)
        import polars  # noqa: F401

        forms.environments(desk)
