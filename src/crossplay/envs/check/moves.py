"""Checks of moves: specifications, illegal moves, masks, turns, rewards, scores, ends, names."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from crossplay.envs.check.case import LONG, Case, Failed, Skipped
from crossplay.kernel.conduct import Conduct, parse_clock
from crossplay.kernel.env import Env, env_id
from crossplay.kernel.seeds import key
from crossplay.kernel.settle import settle
from crossplay.kernel.types import ActionSpec, CrossplayError, Fault, Invalid, pack

__all__ = ["ends", "horizon", "identity", "illegal", "masks", "rewards", "scores", "spaces", "turns"]


def identity(case: Case) -> str:
    """The id holds name, version and every option off its default; other options, another id."""
    env = case.env
    if env.id != env_id(env.name, env.version, env.options, env.clock) or f"@{env.version}" not in env.id:
        raise Failed(f"id {env.id!r} is not name@version?options#clock")
    if not env.seats or len(set(env.seats)) != len(env.seats):
        raise Failed(f"seats {env.seats}: expected different names")
    parse_clock(env.clock)
    if env.idle not in ("hold", "noop") or env.paired not in ("events", "start"):
        raise Failed(f"idle {env.idle!r} and paired {env.paired!r}: expected hold or noop, events or start")
    if case.family is None:
        return f"{env.id} (options not tried: give a registered name)"
    return f"{env.id}; {_options(case)}"


def _options(case: Case) -> str:
    """Other values of every option make another id; a default, said aloud, does not."""
    properties: Mapping[str, Any] = case.family.schema(case.rest).get("properties", {})
    tried = []
    for name, rule in properties.items():
        if not rule.get("description") or "default" not in rule:
            raise Failed(f"option {name}: its schema needs a description and a default")
        default = rule["default"]
        if name not in case.options and default is not None and _made(case, {name: default}) not in (case.id, None):
            raise Failed(f"option {name} = {default!r} is the default, yet it changes the id")
        for other in _others(rule):
            found = _made(case, {name: other})
            if found is not None:
                tried.append(name)
                if found == case.id and case.options.get(name, default) != other:
                    raise Failed(f"option {name} = {other!r} gives the same id as {default!r}")
                break
    return f"options tried: {', '.join(tried)}" if tried else "no options to try"


def _others(rule: Mapping[str, Any]) -> list[Any]:
    """Values beside the default, near to it first."""
    default, kind = rule.get("default"), rule.get("type")
    if "enum" in rule:
        return [v for v in rule["enum"] if v != default]
    if kind == "boolean":
        return [not default]
    if kind == "integer":
        base = int(rule.get("minimum", 3)) + 2 if default is None else int(default)
        values: list[float] = [base + 1, base - 1, base + 2]
    elif kind == "number":
        values = [float(default or 0.0) + 0.25, float(default or 0.0) - 0.25]
    else:
        return []
    return [v for v in values if rule.get("minimum", -math.inf) <= v <= rule.get("maximum", math.inf)]


def _made(case: Case, options: Mapping[str, Any]) -> str | None:
    """The id of the environment with these options as well; None where it refuses them."""
    try:
        env: Env = case.family.make(case.rest, {**case.options, **options})
    except CrossplayError:
        return None
    found = env.id
    env.close()
    return found


def spaces(case: Case) -> str:
    """Specifications are static; drawn values are legal, fit the JSON schema and survive JSON."""
    env = case.started()
    kinds = set()
    for seat in env.seats:
        spec = env.spec(seat)
        kinds.add(spec.kind)
        if spec.kind == "names" and (not spec.names or len(set(spec.names)) != len(spec.names)):
            raise Failed(f"seat {seat}: names {spec.names}: expected different names")
        schema = ActionSpec(kind="data", schema=spec.json_schema())
        for i in range(30):
            value = spec.draw(key("check", "space", seat), i)
            canonical = _accepted(spec, value, f"seat {seat}: the drawn value {value!r}")
            shown = spec.names[canonical] if spec.kind == "names" else _plain(canonical)
            _accepted(schema, shown, f"seat {seat}: {shown!r} does not fit json_schema()")
            back = _accepted(spec, json.loads(json.dumps(shown)), f"seat {seat}: {shown!r}, read back from JSON,")
            if pack(back) != pack(canonical) or pack(spec.check(canonical)) != pack(canonical):
                raise Failed(f"seat {seat}: {value!r} is another action after a way through JSON or check")
        if spec.noop is not None:
            _accepted(spec, spec.noop, f"seat {seat}: the noop {spec.noop!r}")
    for tick in range(min(case.ticks, 20)):
        if env.ended() is not None:
            break
        before = {s: pack(_fields(env.spec(s))) for s in env.to_act()}
        env.step(case.choose(env, 0, tick), case.mail(env, tick))
        for seat, old in before.items():
            if not env.seat_ends and pack(_fields(env.spec(seat))) != old:
                raise Failed(f"seat {seat}: the specification changed at tick {tick}; what changes is the mask")
    return ", ".join(sorted(kinds))


def _fields(spec: ActionSpec) -> list[Any]:
    return [getattr(spec, name) for name in spec.__struct_fields__]


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray) else value


def _accepted(spec: ActionSpec, value: Any, what: str) -> Any:
    try:
        return spec.check(value)
    except Invalid as error:
        raise Failed(f"{what} is refused: {error}") from None


def illegal(case: Case) -> str:
    """What is no move is refused; whatever an agent does wrong, conduct finds a legal move."""
    env, refused, masked = case.started(), 0, 0
    for seat in env.seats:
        spec = env.spec(seat)
        for value in _wrong(spec):
            try:
                spec.check(value)
            except Invalid:
                refused += 1
            else:
                raise Failed(f"seat {seat}: {value!r} is accepted")
    for block in case.blocks:
        env = case.started(block)
        for tick in range(case.ticks):
            if env.ended() is not None:
                break
            for seat in env.to_act():
                spec, legal = env.spec(seat), env.legal(seat)
                for fault in ("timeout", "invalid", "error"):
                    served = settle(Fault(fault), spec, legal, Conduct(), key("check", seat), tick, None)
                    if served.origin == "fail":
                        raise Failed(f"tick {tick}, seat {seat}: no link of the conduct can serve a {fault}")
                for index in () if legal is None else [i for i, ok in enumerate(legal) if not ok][:1]:
                    masked += 1
                    try:
                        spec.check(index, legal)
                    except Invalid:
                        continue
                    raise Failed(f"tick {tick}, seat {seat}: the masked {spec.names[index]!r} is accepted")
            env.step(case.choose(env, block, tick), case.mail(env, tick))
    return f"{refused} wrong values and {masked} masked ones refused"


def _wrong(spec: ActionSpec) -> list[Any]:
    nan = float("nan")
    if spec.kind == "names":
        return [-1, len(spec.names), "no such action", None, nan, 0.5, True, [0]]
    if spec.kind == "box":
        low, high = spec.bounds()
        flat = np.zeros(spec.shape) if math.prod(spec.shape) else None
        wrong: list[Any] = ["east", None, np.zeros((*spec.shape, 2))]
        if flat is not None:
            wrong += [np.full(spec.shape, nan), np.full(spec.shape, math.inf)]
            wrong += [high + 1.0] if np.isfinite(high).all() else []
            wrong += [low - 1.0] if np.isfinite(low).all() else []
        return wrong
    if spec.kind == "text":
        return [None, 3, b"bytes", "x" * (spec.max_len + 1)]
    return [nan, {"nested": [nan]}, object(), {1: "keys must be text"}]


def masks(case: Case) -> str:
    """A mask has one flag per name, and every seat whose turn it is has a legal move."""
    closed = total = 0
    for block in case.blocks:
        env = case.started(block)
        for tick in range(case.ticks):
            if env.ended() is not None:
                break
            for seat in env.to_act():
                legal, spec = env.legal(seat), env.spec(seat)
                if legal is None:
                    continue
                where = f"block {block}, tick {tick}, seat {seat}"
                if spec.kind != "names" or len(legal) != len(spec.names):
                    raise Failed(f"{where}: a mask of {len(legal)} flags for {len(spec.names)} names")
                if not all(isinstance(ok, (bool, np.bool_)) for ok in legal):
                    raise Failed(f"{where}: the mask {list(legal)!r} holds something that is not True or False")
                if not any(legal):
                    raise Failed(f"{where}: no move is legal")
                closed, total = closed + sum(not ok for ok in legal), total + len(legal)
            env.step(case.choose(env, block, tick), case.mail(env, tick))
    return f"{closed} of {total} flags closed" if total else "all moves are always legal"


def turns(case: Case) -> str:
    """Somebody acts while the episode runs: seats of the environment, in seat order; who is out stays out."""
    sizes = set()
    for block in case.blocks:
        env = case.started(block)
        gone: set[str] = set()
        order = {s: i for i, s in enumerate(env.seats)}
        for tick in range(case.ticks):
            ended = env.ended()
            outs = {s: env.out(s) for s in env.seats}
            where = f"block {block}, tick {tick}"
            if any(o not in (None, "terminal", "horizon") for o in outs.values()):
                raise Failed(f"{where}: out() gives {outs}")
            if not env.seat_ends and any(o != ended for o in outs.values()):
                raise Failed(f"{where}: seats are out ({outs}) while ended() is {ended!r}, yet `seat_ends` is False")
            if ended is not None:
                if any(o is None for o in outs.values()):
                    raise Failed(f"{where}: the episode has ended, yet a seat is not out: {outs}")
                break
            acting = env.to_act()
            places = [order.get(s, -1) for s in acting]
            if not isinstance(acting, tuple) or not acting or -1 in places or places != sorted(set(places)):
                raise Failed(f"{where}: to_act() is {acting!r}: some seats in seat order are expected ({env.seats})")
            gone |= {s for s, o in outs.items() if o is not None}
            if gone & set(acting) or any(outs[s] is None for s in gone):
                raise Failed(f"{where}: {', '.join(sorted(gone))} went out and came back")
            sizes.add(len(acting))
            env.step(case.choose(env, block, tick), case.mail(env, tick))
    return f"{' or '.join(map(str, sorted(sizes)))} of {len(case.env.seats)} seats at a time"


def rewards(case: Case) -> str:
    """Rewards are finite numbers, one for each seat."""
    paid = 0
    for block in case.blocks:
        env = case.started(block)
        for tick in range(case.ticks):
            if env.ended() is not None:
                break
            given = env.step(case.choose(env, block, tick), case.mail(env, tick))
            if len(given) != len(env.seats) or not all(math.isfinite(r) for r in given):
                raise Failed(f"block {block}, tick {tick}: rewards {list(given)} for {len(env.seats)} seats")
            paid += any(given)
    return f"{paid} ticks with a reward"


def scores(case: Case) -> str:
    """The score has an entry at any time, finite and described in `metrics`, also when a seat forfeits."""
    env = case.started()
    names: set[str] = set()
    for tick in range(case.ticks + 1):
        found = {"score()": env.score()} | {f"forfeit_score({s!r})": env.forfeit_score(s) for s in env.seats}
        for what, score in found.items():
            if not score:
                raise Failed(f"tick {tick}: {what} is empty; one metric at least is needed")
            bad = [k for k, v in score.items() if not math.isfinite(float(v))]
            if bad:
                raise Failed(f"tick {tick}: {what}: {', '.join(bad)} is not a finite number")
            missing = [k for k in score if not env.metrics.get(k)]
            if missing:
                raise Failed(f"{what}: {', '.join(missing)} is not described in `metrics`")
        if names and set(env.score()) != names:
            raise Failed(f"tick {tick}: the score has other entries ({', '.join(env.score())}) than before")
        names = set(env.score())
        if env.ended() is not None:
            break
        env.step(case.choose(env, 0, tick), case.mail(env, tick))
    return ", ".join(env.score())


def ends(case: Case) -> str:
    """The horizon cuts exactly at its tick and never before; a terminal end is not called a horizon."""
    limit = case.env.horizon
    if limit is not None and limit > LONG:
        raise Skipped(f"the horizon of {limit} ticks is too long to play; see horizon-option")
    found: dict[str, int] = {}
    for block in case.blocks:
        end, ticks = _play_out(case, case.started(block), block, limit)
        found[str(end)] = found.get(str(end), 0) + 1
        if end == "horizon" and limit is not None and ticks != limit:
            raise Failed(f"block {block}: cut at tick {ticks}, the horizon is {limit}")
        if end == "horizon" and limit is None and case.env.paired == "events":
            raise Failed(f"block {block}: ended by a horizon at tick {ticks}, yet `horizon` is None")
    return ", ".join(f"{n} {'still running' if e == 'None' else e}" for e, n in found.items())


def _play_out(case: Case, env: Env, block: int, limit: int | None) -> tuple[Any, int]:
    """(how it ended, after how many ticks); fails when it runs past its horizon."""
    if env.ended() is not None:
        raise Failed(f"block {block}: ended at the start")
    for tick in range(limit or LONG):
        env.step(case.choose(env, block, tick), case.mail(env, tick))
        if env.ended() is not None:
            return env.ended(), tick + 1
    if limit is not None:
        raise Failed(f"block {block}: still running after {limit} ticks, its horizon")
    return None, LONG


def horizon(case: Case) -> str:
    """With a short horizon as an option, the cut comes exactly there, or the rules end it before."""
    if case.family is None:
        raise Skipped("options cannot be set without a registered name")
    rule = case.family.schema(case.rest).get("properties", {}).get("horizon")
    if rule is None:
        raise Skipped("it has no option `horizon`")
    short = max(int(rule.get("minimum", 1)), 3)
    for block in case.blocks:
        env: Env = case.family.make(case.rest, {**case.options, "horizon": short})
        if env.horizon != short:
            raise Failed(f"horizon = {short} was asked for, the environment has {env.horizon}")
        env.reset(case.key(block))
        end, ticks = _play_out(case, env, block, short)
        if end == "horizon" and ticks != short:
            raise Failed(f"cut at tick {ticks}, the horizon is {short}")
    return f"cut at tick {short}"
