"""What stands behind `crossplay serve-agent` and `serve-env`: agents out of studies, and the record of a served environment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from crossplay.kernel import Block, CrossplayError, Outcome
from crossplay.serve.http_env import EnvServer, Limits
from crossplay.serve.sitting import GUEST, seat_study
from crossplay.study.chunks import record_of
from crossplay.study.runner import open_run
from crossplay.study.spec import Study
from crossplay.study.stage import Stage

__all__ = ["HttpRun", "env_study", "quiet_door", "served_agent"]


def env_study(
    env: str,
    seat: str = "",
    others: Sequence[str] = (),
    *,
    root: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Study:
    """A study with one seat that is played over HTTP. others: as for `seat_study`."""
    return seat_study(env, [seat] if seat else (), others, root=root, options=options)


class HttpRun:
    """An environment server made of a study, and the record of its finished episodes.

    folder: of the run, None for no record. In a record, a block that is played again is its next replicate.
    """

    def __init__(self, study: Study, folder: Path | None = None, limits: Limits = Limits()) -> None:  # noqa: B008 (frozen)
        self.stage = stage = Stage(study, folder)
        if folder is None:
            stage.use(quiet_door(study.models))
        [self.cell] = stage.cells
        seats = stage.lineup(self.cell).seats
        [mine] = [s for s, name in zip(seats, self.cell.seats, strict=True) if name == GUEST]
        others = {s: agent for s, agent in seats.items() if s != mine}
        self.server = EnvServer(
            lambda: stage.env(self.cell.env),
            mine,
            others,
            study.root,
            stage.conduct(self.cell),
            limits,
            at=self._at if folder is not None else None,
            ended=self._keep if folder is not None else None,
            dropped=self._drop if folder is not None else None,
        )
        self.kept = 0
        self._run = None if folder is None else open_run(stage, folder)
        self._taken: dict[int | str, set[int]] = {}
        if self._run is not None:
            for record in self._run.records():
                self._taken.setdefault(record.block, set()).add(record.replicate)

    def close(self) -> None:
        """Close the record, and free models."""
        if self._run is not None:
            self._run.close()
        self.stage.close()

    def _at(self, block: int | str) -> Block:
        """The address of the next episode of a block."""
        taken = self._taken.setdefault(block, set())
        replicate = next(i for i in range(len(taken) + 1) if i not in taken)
        taken.add(replicate)
        return Block(self.stage.study.root, block, replicate)

    def _drop(self, at: Block) -> None:
        """An episode that nobody finished leaves its place to the next."""
        self._taken[at.block].discard(at.replicate)

    def _keep(self, at: Block, outcome: Outcome, wall: float) -> None:
        """Commit a finished episode, before its client hears of the end."""
        assert self._run is not None
        self._run.put_many([record_of(self.stage, self.cell, at, outcome, 0, wall)])
        self.kept += 1


def quiet_door(models: Mapping[str, Any] | None = None) -> Any:
    """A door to models that keeps nothing: whoever asks from outside keeps the record."""
    from crossplay.models import Door
    from crossplay.records.cassette import Cassette

    return Door(models or {}, Cassette(None, "off"))


def served_agent(name: str, study: Path | None, trust: bool) -> Any:
    """(the agent of a type, or of a study, by name; what frees it).

    A `python:` agent named on the command line may load its code; one that a study names needs trust.
    """
    from crossplay.agents import make_agent
    from crossplay.agents.context import Context
    from crossplay.study.spec import load_study

    if study is None:
        context = Context(door=quiet_door(), trust=True, closing=[])

        def end() -> None:
            for close in context.closing:
                close()

        return make_agent(name, context, name), end
    spec = load_study(study)
    if name not in spec.agents:
        from crossplay.kernel import nearest

        raise CrossplayError(f'{study}: no agent "{name}".{nearest(name, spec.agents)}')
    stage = Stage(spec, trust=trust)
    stage.use(quiet_door(spec.models))
    return stage.agent(name), stage.close
