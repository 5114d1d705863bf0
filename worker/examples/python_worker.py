"""A worker in Python: any legal action, drawn at the address (seat's key, tick).

crossplay worker check "python worker/examples/python_worker.py"
"""

from __future__ import annotations

from typing import Any

from crossplay_worker import Obs, Refused, Worker, run


class AnyLegal(Worker):
    """Remembers nothing, so `obs.key` and `obs.tick` are all the chance it needs; the engine's own `random` draws the same."""

    name = "any-legal-python"
    version = "1"
    views = ("array", "text", "data")
    kinds = ("names",)
    state = "none"
    deterministic = True
    codecs = ("msgpack", "json")

    def bind(self, seats: list[Any], config: dict[str, Any]) -> None:
        """Refuse seats that it cannot play, before anything is spent."""
        for seat in seats:
            if seat.spec.get("kind") != "names":
                raise Refused(
                    "BAD_SPACE", "seat %s wants %s; this worker picks names" % (seat.seat, seat.spec.get("kind"))
                )

    def act(self, obs: Obs) -> int:
        """The index of a legal action."""
        count = len(obs.seat.spec["names"])
        legal = [i for i in range(count) if obs.legal is None or obs.legal[i]]
        return legal[obs.pick(len(legal))]


if __name__ == "__main__":
    run(AnyLegal())
