"""The plan: what a study will play, call and cost, before anything is spent."""

from __future__ import annotations

from typing import Any

import msgspec

from crossplay.kernel import Block, CrossplayError, Observation
from crossplay.kernel.obs import Scope
from crossplay.study.chunks import waits
from crossplay.study.people import people_of
from crossplay.study.sessions import session_notes
from crossplay.study.spec import Cell
from crossplay.study.stage import Stage

__all__ = ["Plan", "PlanRow", "make_plan"]

DECISION_S = 40e-6  # CPU seconds of a scripted or policy decision, engine included (docs/benchmarks.md)
LOCAL_S, REMOTE_S = 0.3, 1.0  # seconds assumed of one call to a model here, and elsewhere
HORIZON = 200  # ticks assumed of an environment that names no horizon


class PlanRow(msgspec.Struct):
    """One cell. calls, tok_in, tok_out and seconds are upper bounds; money is None without a price."""

    cell: str
    lineup: str
    role: str
    episodes: int
    decisions: int
    calls: int
    tok_in: int
    tok_out: int
    money: float | None
    seconds: float
    how: str


class Plan(msgspec.Struct):
    """All cells of a study and their sums."""

    study: str
    rows: list[PlanRow]
    episodes: int
    calls: int
    tok_in: int
    tok_out: int
    money: float | None
    seconds: float
    warnings: list[str]


def make_plan(stage: Stage) -> Plan:
    """The plan of a checked stage. Prompts are measured on the first tick of the first block, as if every decision asked."""
    rows: list[PlanRow] = []
    warnings: list[str] = []
    sizes: dict[tuple[str, str], tuple[int, int, int, float, float | None]] = {}
    for cell in stage.cells:
        row = _row(stage, cell, sizes, warnings)
        rows.append(row)
    if stage.study.people is not None:
        warnings += session_notes(stage.study, stage.cells, stage.probes)
    money = None if any(r.money is None for r in rows) else sum(r.money or 0.0 for r in rows)
    return Plan(
        stage.study.name,
        rows,
        sum(r.episodes for r in rows),
        sum(r.calls for r in rows),
        sum(r.tok_in for r in rows),
        sum(r.tok_out for r in rows),
        money,
        sum(r.seconds for r in rows),
        list(dict.fromkeys(warnings)),
    )


def _row(stage: Stage, cell: Cell, sizes: dict[Any, Any], warnings: list[str]) -> PlanRow:
    env = stage.probes[cell.env]
    episodes = len(cell.blocks) * stage.study.replicates
    if any(getattr(stage.agent(a), "agent", None) is not None for a in cell.seats):
        warnings.append("agents that choose skills are asked when one has ended, far less often than at every tick")
    if env.horizon is None:
        warnings.append(f"{env.id} names no horizon: {HORIZON} ticks are assumed")
    ticks = (env.horizon or HORIZON) * episodes
    calls = tok_in = tok_out = 0
    seconds, money = ticks * len(cell.seats) * DECISION_S, 0.0
    priced = True
    for seat, name in zip(env.seats, cell.seats, strict=True):
        agent = stage.agent(name)
        models = agent.manifest().get("models", ())
        if not models:
            continue
        if (cell.env, name) not in sizes:
            sizes[cell.env, name] = _one_decision(stage, cell, seat, name, warnings)
        per_calls, per_in, per_out, per_s, per_usd = sizes[cell.env, name]
        calls, tok_in, tok_out = calls + ticks * per_calls, tok_in + ticks * per_in, tok_out + ticks * per_out
        seconds += ticks * per_s
        priced &= per_usd is not None
        money += ticks * (per_usd or 0.0)
    return PlanRow(
        cell.key,
        cell.lineup,
        cell.role,
        episodes,
        ticks * len(cell.seats),
        calls,
        tok_in,
        tok_out,
        money if priced else None,
        seconds,
        "people" if people_of(stage.study, cell) else "asyncio" if waits(stage, cell) else "batched",
    )


def _one_decision(
    stage: Stage, cell: Cell, seat: str, name: str, warnings: list[str]
) -> tuple[int, int, int, float, float | None]:
    """(calls, prompt tokens, answer tokens, seconds, USD) of one decision, from the prompt of a first tick."""
    agent: Any = stage.agent(name)
    if hasattr(agent, "size"):
        env = stage.env(cell.env)
        try:
            at = Block(stage.study.root, cell.blocks[0], 0)
            env.start(at)
            legal = env.legal(seat)  # of a seat whose turn it is not, nothing may be legal: then every name counts
            obs = Observation(Scope(env, env.id, at, seat), "act", 0, legal if legal is None or any(legal) else None)
            obs.agent = agent
            calls, tokens_in, tokens_out = agent.size(obs)
        finally:
            env.close()
    else:
        warnings.append(f"agents.{name} does not say how long its prompts are: one call of 1000 tokens is assumed")
        calls, tokens_in, tokens_out = 1, 1000, 64
    model = stage.door.model(agent.manifest()["models"][0])
    seconds = calls * (LOCAL_S if model.local else REMOTE_S)
    try:
        price = model.price()
    except CrossplayError as error:
        warnings.append(str(error))
        return calls, tokens_in, tokens_out, seconds, None
    return calls, tokens_in, tokens_out, seconds, price.cost(tokens_in, tokens_out) if price else 0.0
