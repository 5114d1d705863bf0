"""Checks of what a message may hold: unknown verbs and keys, columns of unequal length, fields of a wrong type."""

from __future__ import annotations

from typing import Any

import numpy as np

from crossplay.wire.check.case import Case, Play, done, refused
from crossplay.wire.check.line import Failed, Line
from crossplay.wire.generate import protocol
from crossplay.wire.messages import MAJOR, MINOR, Acts, Error

__all__ = ["errors", "invalid_input", "unequal", "unknown_keys", "unknown_verb", "wrong_types"]

# What each type may not be. data may be anything.
_WRONG: dict[str, list[Any]] = {
    "int": ["text"], "float": ["text"], "str": [7], "bool": ["text"], "bytes": [7], "array": [7, {"a": 1}],
    "list[int]": ["text", ["text"]], "list[float]": ["text"], "list[str]": [7, [7]], "list[bytes]": [7, [7]],
    "list[data]": [7], "map[str,data]": [[1], 7], "map[int,data]": [[1], {"text": 1}], "list[Seat]": [7, [7]],
}  # fmt: skip


def unknown_verb(case: Case) -> str:
    """A verb that it does not know is answered with UNSUPPORTED."""
    line = case.line
    refused(line.ask("dance", steps=3), "a verb that there is not", "UNSUPPORTED")
    refused(line.ask("env.reset", env=1, row=[0], block=[1]), "env.reset, which is not for workers", "UNSUPPORTED")
    if not case.hello.saves:
        refused(line.ask("save", ep=1), "save, which it does not claim", "UNSUPPORTED", "BAD_STATE")
    _alive(line, "an unknown verb")
    return "UNSUPPORTED"


def errors(case: Case) -> str:
    """Every error had a code of the protocol and a line for people."""
    line = case.line
    line.ask("dance")
    line.ask("act", ep=[1], slot=[0, 0], tick=[0], obs=[0])
    line.ask("end", ep="text")
    return "codes of the protocol, each with a message"


def unknown_keys(case: Case) -> str:
    """Keys of a newer minor version are ignored, in every message."""
    line = case.raw()
    line.greet(case.start_s)
    line.welcome(v=[MAJOR, MINOR], mood="good", later={"deep": [1, {"x": None}]})
    seats = []
    for sample in case.samples:
        fields = {name: getattr(sample.seat, name) for name in sample.seat.__struct_fields__}
        seats.append({**fields, "colour": "blue", "spec": {**sample.seat.spec, "taste": [1]}})
    done(line.ask("bind", seats=seats, config=case.config, extra=None), "bind with unknown keys")
    done(line.ask("ping", why="because"), "ping with unknown keys")
    play = case.begin(line, "keys")
    case.act(line, [play], [0], mood=np.zeros(3), later={1: "x"})
    case.end(line, play)
    case.drop(line)
    return "in welcome, bind, seats, act, ping"


def unequal(case: Case) -> str:
    """Columns of unequal length are refused with BAD_VALUE."""
    line = case.line
    play, beside = case.begin(line, "unequal"), case.begin(line, "unequal beside", 1)
    tried = 0
    if case.own:
        slot = play.sample.seat.slot
        refused(
            line.ask("reset", ep=[71, 72], slot=[slot], key=[bytes(16)] * 2), "reset with 2 ep and 1 slot", "BAD_VALUE"
        )
        tried += 1
    rows = 2 if case.hello.batch > 1 else 1
    whole = case.fields([play, beside][:rows], [0] * rows)
    for name in ("slot", "tick", "obs"):
        column = whole[name]
        longer = [*column, column[0]] if isinstance(column, list) else np.concatenate([column, column[:1]])
        refused(
            line.ask("act", **{**whole, name: longer}), f"act with {rows} rows and {rows + 1} of {name}", "BAD_VALUE"
        )
        tried += 1
    names = len(play.sample.seat.spec.get("names", ())) or 1
    for name, column in (
        ("legal", np.ones((rows + 1, names), bool)),
        ("reward", np.zeros(rows + 1)),
        ("memo", [None] * (rows + 1)),
    ):
        refused(
            line.ask("act", **{**whole, name: column}), f"act with {rows} rows and {rows + 1} of {name}", "BAD_VALUE"
        )
        tried += 1
    case.end(line, play, beside)
    _alive(line, "columns of unequal length")
    return f"BAD_VALUE, {tried} times"


def invalid_input(case: Case) -> str:
    """Observations of a wrong type or shape and unknown slots do no lasting harm."""
    line = case.line
    play = case.begin(line, "invalid")
    whole = case.fields([play], [0])
    refused(
        line.ask("act", **{**whole, "slot": np.array([4242])}),
        "act in a slot that is not bound",
        "BAD_STATE",
        "BAD_VALUE",
    )
    if case.own:
        refused(line.ask("reset", ep=[73], slot=[4242], key=[bytes(16)]), "reset in a slot that is not bound", "BAD_STATE", "BAD_VALUE")  # fmt: skip
    strange: dict[str, Any] = {"a text where it reads arrays": ["?"], "nothing": [None]}
    if isinstance(whole["obs"], np.ndarray):
        obs = whole["obs"]
        strange = {"float64": obs.astype(np.float64), "another shape": np.zeros((1, 3, 1), np.float32),
                   "no numbers": np.full_like(obs, np.nan) if obs.dtype.kind == "f" else obs, **strange}  # fmt: skip
    else:
        strange = {"a number": [7], "an empty map": [{}], **strange}
    refusals = 0
    for what, obs in strange.items():
        answer = line.ask("act", **{**whole, "obs": obs})
        if not isinstance(answer, (Acts, Error)):
            raise Failed(f"an observation of {what} is answered with {type(answer).__name__.lower()}")
        refusals += isinstance(answer, Error) or bool(answer.faults)
        case.act(line, [play], [1])
    case.end(line, play)
    return f"{refusals} of {len(strange)} strange observations refused; plays on after each"


def wrong_types(case: Case) -> str:
    """Each field of each request with a wrong type, and left out: an error, and the worker lives."""
    line = case.line
    case.bind(line)
    play = case.begin(line, "types")
    internal, tried = [], 0
    for message in protocol()["message"]:
        verb = message["name"]
        if message["from"] == "worker" or not message.get("answer") or verb in ("ping", "bye", "train"):
            continue
        for field in message["field"]:
            name = field["name"]
            if name == "id":
                continue
            wrongs: list[Any] = list(_WRONG.get(field["type"], []))
            if verb == "act" and name in ("obs", "slot"):
                wrongs = [7] if name == "obs" else ["text"]
            if "default" not in field and (field["type"] != "data" or wrongs):
                wrongs.append(_LEFT_OUT)
            for wrong in wrongs:
                code = _one(case, line, play, verb, name, wrong)
                tried += 1
                if code == "INTERNAL":
                    internal.append(f"{verb}.{name}")
    case.bind(line)
    case.act(line, [play], [0])
    case.end(line, play)
    note = f"; INTERNAL instead of BAD_VALUE for {', '.join(dict.fromkeys(internal))}" if internal else ""
    return f"{tried} wrong fields refused{note}"


_LEFT_OUT = object()


def _one(case: Case, line: Line, play: Play, verb: str, name: str, wrong: Any) -> str:
    fields = _good(case, play, verb)
    what = f"{verb} with {name} = {wrong!r}"
    if wrong is _LEFT_OUT:
        fields.pop(name, None)
        what = f"{verb} without {name}"
    else:
        fields[name] = wrong
    answer = line.ask(verb, **fields)
    if isinstance(answer, Acts) and answer.faults:
        return "BAD_VALUE"
    return refused(answer, what)


def _good(case: Case, play: Play, verb: str) -> dict[str, Any]:
    """The fields of a request that would be served."""
    slot = play.sample.seat.slot
    if verb == "bind":
        return {"seats": [s.seat for s in case.samples], "config": case.config}
    if verb == "reset":
        return {"ep": [74], "slot": [slot], "key": [bytes(16)]}
    if verb == "act":
        return case.fields([play], [0])
    if verb == "end":
        return {"ep": [74], "status": ["terminal"]}
    if verb == "save":
        return {"ep": play.ep}
    return {"ep": 75, "slot": slot, "key": bytes(16), "data": None}


def _alive(line: Line, after: str) -> None:
    done(line.ask("ping"), f"ping after {after}")
