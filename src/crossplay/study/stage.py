"""`Stage`: the living things of a study: environments, agents, the door to models, cells.

Everything that can be wrong is found here, before anything is spent.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from crossplay.kernel import (
    Agent,
    BatchEnv,
    Block,
    Conduct,
    CrossplayError,
    Env,
    Lineup,
    entries,
    load,
    make_batch,
    make_env,
    nearest,
    split_name,
)
from crossplay.study.calls import Calls
from crossplay.study.spec import AgentSpec, Cell, EnvSpec, Study
from crossplay.study.templates import expand

__all__ = ["Stage"]


class Stage:
    """A study, built: its expanded spec, fresh environments on demand, agents made once.

    folder: the run folder (its cassette is used), or None. strict: models are read from the
    cassette only. calls: how else (default: live, or the file that the study names). trust: code named in the study (`python:` agents) may be loaded.
    """

    def __init__(
        self,
        study: Study,
        folder: Path | None = None,
        *,
        strict: bool = False,
        trust: bool = False,
        only: set[str] | None = None,
        calls: Calls | None = None,
    ) -> None:
        self.folder, self.trust = folder, trust
        self.base = study.base
        self.calls = calls or _calls_of(study, strict)
        self.limits = study.budget  # of this sitting; a run may go on with others than it began with
        self._door: Any = None
        probes = {label: self._probe(label, spec) for label, spec in study.environments.items()}
        counts = {len(env.seats) for env in probes.values()}
        if len(counts) > 1:
            listed = ", ".join(f"{label} has {len(env.seats)}" for label, env in probes.items())
            raise CrossplayError(f"environments: one study needs equally many seats everywhere: {listed}")
        for label, env in probes.items():
            study.check_seats(label, env.seats)
        talks = any(_talks(env) for env in probes.values())
        idle = all(env.spec(s).noop is not None for env in probes.values() for s in env.seats)
        self.study = expand(study, counts.pop(), talks, idle)
        self.probes = probes
        self.seats = {label: env.seats for label, env in probes.items()}
        self.cells = self.study.cells(self.seats)
        if only is not None:
            self.cells = [c for c in self.cells if c.key in only]
        self.metric = self.study.metric = self._metric()
        self._agents: dict[str, Agent] = {}
        self._making: list[str] = []
        self._closing: list[Callable[[], None]] = []  # sessions of agents with servers of tools

    def record_in(self, folder: Path) -> None:
        """Keep the answers of models in this run folder; agents made before are made anew."""
        if self.folder != folder:
            self.folder, self._door = folder, None
            self._agents.clear()
            self._end_sessions()

    def use(self, door: Any) -> None:
        """Ask models through this door; agents made before are made anew."""
        self._end_sessions()
        self._door = door
        self._agents.clear()

    # -- environments ----------------------------------------------------------------------------------
    def _probe(self, label: str, spec: EnvSpec) -> Env:
        family, rest = split_name(spec.name)
        names_code = getattr(load("envs", family, "environment"), "code", None) if family in entries("envs") else None
        if names_code is not None and names_code(rest) and not self.trust:
            raise CrossplayError(
                f'environments."{label}": {spec.name} is code named by a file; add --trust to load it from this command line'
            )
        try:
            return make_env(spec.name, spec.options, spec.clock)
        except CrossplayError as error:
            raise type(error)(f'environments."{label}": {error}') from error

    def env(self, label: str) -> Env:
        """A fresh environment."""
        spec = self.study.environments[label]
        return make_env(spec.name, spec.options, spec.clock)

    def batch(self, label: str, width: int) -> BatchEnv | None:
        """The same as arrays, where the family has it (never with a clock)."""
        spec = self.study.environments[label]
        return make_batch(spec.name, width, spec.options) if spec.clock == "wait" else None

    def _metric(self) -> str:
        """The metric that is compared: the study's, or the first of all its environments.

        In games whose seats earn apart it is a seat's own: the value of the agent that a lineup names
        first, wherever the order of seats puts it. `reward` (sum of rewards) exists everywhere.
        """
        found = {label: _metrics_of(env) for label, env in self.probes.items()}
        metric = self.study.metric
        firsts = {label: names[0] for label, names in found.items()}
        if metric is None and len(set(firsts.values())) > 1:
            listed = ", ".join(f"{label}: {name}" for label, name in firsts.items())
            raise CrossplayError(
                f"study.metric: name one that all environments have; their first ones differ ({listed})"
            )
        chosen = metric or next(iter(firsts.values()))
        for label, names in found.items():
            if chosen not in names:
                raise CrossplayError(f'study.metric: unknown metric "{chosen}" in {label}.{nearest(chosen, names)}')
        return chosen

    # -- agents -------------------------------------------------------------------------------------------
    @property
    def door(self) -> Any:
        """The door to models: the run's cassette and budget behind it."""
        if self._door is None:
            from crossplay.models import Budget, Door
            from crossplay.study.calls import open_cassette

            cassette = None if self.folder is None else open_cassette(self.folder, self.calls)
            limits = {k: (int(v) if k in ("calls", "tokens") else v) for k, v in self.limits.items()}
            self._door = Door(self.study.models, cassette, Budget(**limits) if limits else None)
        return self._door

    def agent(self, name: str) -> Agent:
        """The agent of that name; one object per name, so that its seats are batched."""
        if name not in self._agents:
            if name in self._making:
                raise CrossplayError(f"agents.{name}: it is made of itself ({' of '.join([*self._making, name])})")
            self._making.append(name)
            try:
                self._agents[name] = self._made(name, self.study.agents[name])
            finally:
                self._making.pop()
        return self._agents[name]

    def _made(self, name: str, spec: AgentSpec) -> Agent:
        from crossplay.agents import make_agent
        from crossplay.agents.context import Context, NeedsTrust

        if spec.type.startswith("python:") and not self.trust:
            raise NeedsTrust(
                f"agents.{name}: {spec.type} is code named by a file; add --trust to load it from this command line"
            )
        door = _LazyDoor(self)
        context = Context(
            door=door, folder=self.base, trust=self.trust, agents=self._named, closing=self._closing, fit=self.fit
        )
        return make_agent({"type": spec.type, **spec.options}, context, name)

    def another(self, name: str, spec: AgentSpec, label: str, seat: str) -> Agent:
        """An agent that the study does not name, made as its own are, for a seat of an environment; nothing remembers it.

        Raises CrossplayError where it cannot play there.
        """
        agent = self._made(name, spec)
        _check(name, agent, label, self.probes[label], seat)
        return agent

    def fill(self, name: str, agent: Agent) -> None:
        """Let this object play where the study names an open agent (a person at the page); checked and recorded as any."""
        if self.study.agents[name].type != "open":
            raise CrossplayError(
                f"agents.{name}: its type is {self.study.agents[name].type}, so nobody from outside sits there"
            )
        self._agents[name] = agent

    def _named(self, name: str) -> Agent | None:
        """A member of a team: an agent of the study, or None where the name is a type."""
        return self.agent(name) if name in self.study.agents else None

    def fit(self, team: str, by: str) -> Any:
        """What the equal-cost control of a team plays, measured on the episodes of this run."""
        from crossplay.records import RunFolder
        from crossplay.study.equal import fit_of
        from crossplay.study.values import metric_of

        if self.folder is None:
            raise CrossplayError(f"{team}: its equal-cost control needs a run folder to be measured on")
        with RunFolder.open(self.folder) as run:
            value = metric_of(run, self.study)
            return fit_of(
                self.cells,
                self.seats,
                run.records(),
                self.agent,
                lambda m: self.door.model(m).price(),
                value,
                team,
                by,
            )

    def check(self) -> None:
        """Make every agent and ask it whether it can play its seats; raises CrossplayError."""
        seen = set()
        for cell in self.cells:
            env = self.probes[cell.env]
            for seat, name in zip(env.seats, cell.seats, strict=True):
                if (cell.env, seat, name) in seen:
                    continue
                seen.add((cell.env, seat, name))
                _check(name, self.agent(name), cell.env, env, seat)

    def lineup(self, cell: Cell) -> Lineup:
        """The agents in their seats."""
        agents = [self.agent(a) for a in cell.seats]
        return Lineup(dict(zip(self.seats[cell.env], agents, strict=True)), cell.shared_memory, cell.lineup)

    def conduct(self, cell: Cell) -> Conduct:
        """The study's conduct, with the cell's mail mode."""
        base = self.study.conduct
        if cell.mail is None:
            return base
        return msgspec.structs.replace(base, mail=msgspec.structs.replace(base.mail, mode=cell.mail))

    def models(self) -> list[str]:
        """Names of the models behind the agents."""
        found = []
        for name in self.study.agents:
            for model in self.agent(name).manifest().get("models", ()):
                if model not in found:
                    found.append(model)
        return found

    async def aclose(self) -> None:
        """Free models, servers of tools and the cassette."""
        self._end_sessions()
        if self._door is not None:
            await self._door.aclose()

    def close(self) -> None:
        """As aclose, where no event loop runs."""
        import asyncio

        self._end_sessions()
        with contextlib.suppress(RuntimeError):
            if self._door is not None:
                asyncio.run(self._door.aclose())

    def _end_sessions(self) -> None:
        while self._closing:
            self._closing.pop()()


def _check(name: str, agent: Agent, label: str, env: Env, seat: str) -> None:
    """Raise CrossplayError where an agent cannot play a seat of an environment."""
    kind = env.spec(seat).kind
    if agent.needs and kind not in agent.needs:
        raise CrossplayError(
            f"agents.{name}: {label} seat {seat} wants an action of kind {kind!r}, "
            f"but a {agent.kind} agent answers {', '.join(agent.needs)} only"
        )
    if not set(agent.views) & set(env.views):
        raise CrossplayError(
            f"agents.{name}: {label} offers the views {', '.join(env.views)}; it reads {', '.join(agent.views)}"
        )
    try:
        agent.check(env, seat)
    except CrossplayError as error:
        raise type(error)(f"agents.{name}: {error}") from error


def _calls_of(study: Study, strict: bool) -> Calls:
    """Strict where it is asked for, or where the study names a cassette; else live."""
    if strict or not study.cassette:
        return Calls("strict" if strict else "record")
    return Calls("strict", study.base / study.cassette)


def _metrics_of(env: Env) -> list[str]:
    """Names of the metrics of an environment, the default first."""
    apart = [m for m in env.seat_metrics if m.startswith(("win", "own_return"))]
    return list(dict.fromkeys([*apart, *env.metrics, *env.seat_metrics, "reward"]))


class _LazyDoor:
    """Opens the run's cassette only when an agent asks for a model."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def model(self, name: str) -> Any:
        return self._stage.door.model(name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stage.door, name)


def _talks(env: Env) -> bool:
    """Whether any seat may be heard by another (asked of a fresh episode)."""
    try:
        env.start(Block())
        return any(env.audience(s) for s in env.seats)
    except Exception:
        return False
