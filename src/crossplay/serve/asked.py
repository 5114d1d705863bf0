"""A question that came from outside, as an agent's `Observation`: no environment is needed here.

What an agent reads of an observation stands in the question (form: `agents/a2a_form.py`): rules, specification,
legal actions, views, inbox, and, in its exact part, the random stream and the memo. `Asked` stands for the
environment. What only the real one can do (skills, `verify`, `canonical`, views that were not sent) is done by a
local environment of the same id, where the server was started with one.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from crossplay.agents.a2a_form import spec_of, unpacked, whole
from crossplay.agents.prompt import Unreadable
from crossplay.kernel import ActionSpec, Agent, Block, CrossplayError, Env, Msg, Observation
from crossplay.kernel.obs import Scope

__all__ = ["Asked", "Malformed", "Question", "observation", "question_of"]

VIEWS = ("data", "array", "text", "image")
LETTERS = 1024
"""Messages of an inbox at most."""


class Malformed(ValueError):
    """A question that is not of the form; the text says where."""


class Question(msgspec.Struct):
    """A question, checked for form. memo, key, path: of the exact part; turn: questions before it in its context."""

    spec: ActionSpec
    seat_spec: ActionSpec
    env: str = "asked"
    seat: str = "seat"
    tick: int = 0
    turn: int = 0
    rules: str = ""
    views: dict[str, Any] = {}
    legal: list[bool] | None = None
    inbox: list[Msg] = []
    audience: tuple[str, ...] = ()
    last: tuple[Any, str] | None = None
    reward: float = 0.0
    brief: str = ""
    wants: tuple[str, ...] = ()
    seconds: float | None = None
    exact: bool = False
    key: bytes | None = None
    path: tuple[int, ...] = ()
    memo: bytes | None = None


class _Plain(msgspec.Struct):
    """The JSON object of a question, as it comes."""

    crossplay: float = 1
    env: str = "asked"
    seat: str = "seat"
    tick: float = 0
    turn: float = 0
    spec: dict[str, Any] = msgspec.field(default_factory=lambda: {"kind": "text"})
    rules: str = ""
    views: dict[str, Any] = {}
    legal: list[str] | None = None
    inbox: list[dict[str, Any]] = []
    audience: list[str] = []
    last: dict[str, Any] | None = None
    reward: float = 0.0
    brief: str = ""
    wants: list[str] = []
    seconds: float | None = None
    exact: str | None = None


class _Exact(msgspec.Struct):
    """What JSON cannot carry."""

    key: bytes
    views: dict[str, Any]
    spec: dict[str, Any]
    path: list[int] = []
    memo: bytes | None = None
    legal: list[bool] | None = None
    inbox: list[tuple[str, Any, str, str, int]] = []
    last: tuple[Any, str] | None = None
    seat_spec: dict[str, Any] | None = None
    reward: float = 0.0
    rules: str = ""


def question_of(data: Mapping[str, Any]) -> Question:
    """The question in a data part; raises `Malformed`."""
    try:
        p = msgspec.convert(dict(data), _Plain)
        if int(p.crossplay) != 1:
            raise Malformed(f"form {p.crossplay:g} is not known here (1 is)")
        spec = spec_of(p.spec)
        found = Question(
            spec,
            spec,
            p.env,
            p.seat,
            int(p.tick),
            int(p.turn),
            p.rules,
            _views(p.views),
            _mask(p.legal, spec),
            [_letter(m) for m in p.inbox[:LETTERS]],
            tuple(p.audience),
            _last(p.last, spec),
            p.reward,
            p.brief,
            tuple(p.wants),
            p.seconds,
        )
        if p.exact is not None:
            _exactly(found, msgspec.convert(unpacked(p.exact), _Exact, builtin_types=(bytes,)))
    except Malformed:
        raise
    except (msgspec.ValidationError, Unreadable, ValueError, TypeError, KeyError, OverflowError) as error:
        raise Malformed(f"the question is not of the form: {type(error).__name__} {error}"[:300]) from None
    return found


def _exactly(q: Question, e: _Exact) -> None:
    """Put the exact part in the place of what came as JSON."""
    if len(e.key) != 16:
        raise Malformed("a key has 16 bytes")
    q.exact, q.key, q.path, q.memo = True, e.key, tuple(e.path), e.memo
    q.spec = spec_of(e.spec)
    q.seat_spec = q.spec if e.seat_spec is None else spec_of(e.seat_spec)
    q.views = {k: v for k, v in e.views.items() if k in VIEWS}
    if e.legal is not None and (q.spec.kind != "names" or len(e.legal) != len(q.spec.names)):
        raise Malformed(f"a mask of {len(e.legal)} over {len(q.spec.names)} actions")
    q.legal, q.last, q.reward, q.rules = e.legal, e.last, e.reward, e.rules or q.rules
    q.inbox = [Msg(*m) for m in e.inbox[:LETTERS]]


def _views(given: Mapping[str, Any]) -> dict[str, Any]:
    """Views as they came: numbers whole again, arrays made of {dtype, shape, base64} or of lists."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        if name not in VIEWS:
            continue
        if name in ("array", "image"):
            found[name] = _array(value)
        elif name == "text" and not isinstance(value, str):
            raise Malformed(f"views.text is a {type(value).__name__}, not text")
        else:
            found[name] = whole(value)
    return found


def _array(value: Any) -> np.ndarray:
    if not isinstance(value, Mapping):
        return np.asarray(value, np.float32)
    dtype = np.dtype(str(value["dtype"]))
    if dtype.hasobject:
        raise Malformed("an array of objects")
    raw = base64.b64decode(value["base64"], validate=True)
    return np.frombuffer(raw, dtype).reshape([int(n) for n in value["shape"]]).copy()


def _mask(legal: Sequence[str] | None, spec: ActionSpec) -> list[bool] | None:
    if legal is None or spec.kind != "names":
        return None
    allowed = set(legal)
    if unknown := allowed - set(spec.names):
        raise Malformed(f"legal: {sorted(unknown)[0][:60]!r} is none of the actions")
    return [name in allowed for name in spec.names]


def _letter(m: Mapping[str, Any]) -> Msg:
    return Msg(
        str(m.get("to", "*")), whole(m["body"]), str(m.get("channel", "main")), str(m.get("from", "")), int(m.get("tick", -1))
    )  # fmt: skip


def _last(last: Mapping[str, Any] | None, spec: ActionSpec) -> tuple[Any, str] | None:
    if last is None:
        return None
    value = last["value"]
    if spec.kind == "names":
        value = spec.names.index(value) if isinstance(value, str) else int(value)
    return value, str(last.get("origin", "own"))


class Asked(Env):
    """Stands for the environment of one question. local: a real one of the same id, or None."""

    def __init__(self, question: Question, local: Env | None = None) -> None:
        q = self.question = question
        self._local = local
        self.name = q.env.partition("@")[0]
        self._id = q.env
        self.seats = (q.seat,)
        self.rules = q.rules or (local.rules if local is not None else "")
        more = local.views if local is not None and "data" in q.views else ()
        self.views = tuple(v for v in VIEWS if v in q.views or v in more or (v == "text" and "data" in q.views))
        self.skills = local.skills if local is not None else None

    def spec(self, seat: str) -> ActionSpec:
        """The seat's form of answer."""
        return self.question.seat_spec

    def audience(self, seat: str) -> tuple[str, ...]:
        """Who may hear it."""
        return self.question.audience

    def data(self, seat: str) -> Any:
        """The data view that was sent."""
        return self.view(seat, "data")

    def view(self, seat: str, name: str) -> Any:
        """A view that was sent, or is made here of the data that was."""
        sent = self.question.views
        if name in sent:
            return sent[name]
        if name not in self.views:
            brings = ", ".join(sent) or "none"
            raise CrossplayError(f"the question brings no view {name!r} (it brings {brings})")
        maker = self if self._local is None else self._local
        return getattr(maker, f"view_{name}")(sent["data"])

    def canonical(self, value: Any) -> Any:
        """By the local environment, if there is one."""
        return value if self._local is None else self._local.canonical(value)

    def verify(self, data: Any, value: Any) -> list[str]:
        """By the local environment, if there is one."""
        return [] if self._local is None else self._local.verify(data, value)


def observation(
    q: Question, agent: Agent, context: str, memo: Any, op: str = "act", local: Env | None = None
) -> Observation:
    """The handle for a question. context: stands for the block, so that contexts have streams of their own."""
    env = Asked(q, local)
    scope = Scope(env, env.id, Block(0, context, 0), q.seat)
    if q.key is not None:
        scope._key = q.key  # the seat's own stream, as where the episode is played
    obs = Observation(scope, op, q.tick, q.legal, q.inbox, q.last, q.reward, memo, q.seconds, q.path)
    obs.spec, obs.brief, obs.wants, obs.agent = q.spec, q.brief, q.wants, agent
    return obs
