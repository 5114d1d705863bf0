"""The messages of the wire. Made from protocol.toml by `python -m crossplay.wire.generate`; do not edit."""

from typing import Any, Dict, FrozenSet, List, Union

import msgspec

MAJOR = 1
MINOR = 1

CODES = frozenset(
    (
        "BAD_FRAME",
        "VERSION",
        "TOKEN",
        "UNSUPPORTED",
        "BAD_SPACE",
        "BAD_STATE",
        "BAD_VALUE",
        "DEADLINE",
        "CANCELLED",
        "UPSTREAM",
        "BUDGET",
        "INTERNAL",
    )
)


class Seat(msgspec.Struct, omit_defaults=True, kw_only=True):
    slot: int
    seat: str
    agent: str
    env: str
    view: str
    spec: Dict[str, Any]
    shape: List[int] = msgspec.field(default_factory=list)
    dtype: str = ""
    rules: str = ""
    horizon: int = 0


class Hello(msgspec.Struct, tag_field="t", tag="hello", omit_defaults=True, kw_only=True, gc=False):
    v: List[int]
    codecs: List[str]
    name: str
    version: str = ""
    token: str = ""
    roles: List[str] = msgspec.field(default_factory=lambda: ["agent"])
    views: List[str] = msgspec.field(default_factory=list)
    kinds: List[str] = msgspec.field(default_factory=list)
    batch: int = 1
    state: str = "own"
    saves: bool = False
    feedback: bool = False
    deterministic: bool = False
    shm: bool = False
    pipes: bool = False
    needs: Dict[str, Any] = msgspec.field(default_factory=dict)
    about: Dict[str, Any] = msgspec.field(default_factory=dict)


class Welcome(msgspec.Struct, tag_field="t", tag="welcome", omit_defaults=True, kw_only=True, gc=False):
    v: List[int]
    codec: str
    session: str
    frame: int
    inflight: int
    shm: Dict[str, Any] = msgspec.field(default_factory=dict)
    pipes: bool = False


class Bind(msgspec.Struct, tag_field="t", tag="bind", omit_defaults=True, kw_only=True, gc=False):
    id: int
    seats: List[Seat]
    config: Dict[str, Any] = msgspec.field(default_factory=dict)


class Reset(msgspec.Struct, tag_field="t", tag="reset", omit_defaults=True, kw_only=True, gc=False):
    id: int
    ep: List[int]
    slot: List[int]
    key: List[bytes]


class Act(msgspec.Struct, tag_field="t", tag="act", omit_defaults=True, kw_only=True, gc=False):
    id: int
    ep: Any
    slot: Any
    tick: Any
    obs: Any
    legal: Any = None
    reward: Any = None
    last: Dict[int, Any] = msgspec.field(default_factory=dict)
    inbox: Dict[int, Any] = msgspec.field(default_factory=dict)
    memo: Any = None
    brief: Dict[int, Any] = msgspec.field(default_factory=dict)
    deadline_ms: int = 0


class Acts(msgspec.Struct, tag_field="t", tag="acts", omit_defaults=True, kw_only=True, gc=False):
    id: int
    values: Any
    faults: Dict[int, Any] = msgspec.field(default_factory=dict)
    says: Dict[int, Any] = msgspec.field(default_factory=dict)
    confidence: Dict[int, Any] = msgspec.field(default_factory=dict)
    why: Dict[int, Any] = msgspec.field(default_factory=dict)
    memo: Any = None
    usage: Dict[int, Any] = msgspec.field(default_factory=dict)
    counts: Dict[int, Any] = msgspec.field(default_factory=dict)


class Feedback(msgspec.Struct, tag_field="t", tag="feedback", omit_defaults=True, kw_only=True, gc=False):
    ep: Any
    reward: Any
    ended: List[str] = msgspec.field(default_factory=list)


class End(msgspec.Struct, tag_field="t", tag="end", omit_defaults=True, kw_only=True, gc=False):
    id: int
    ep: List[int]
    status: List[str] = msgspec.field(default_factory=list)


class Save(msgspec.Struct, tag_field="t", tag="save", omit_defaults=True, kw_only=True, gc=False):
    id: int
    ep: int


class Load(msgspec.Struct, tag_field="t", tag="load", omit_defaults=True, kw_only=True, gc=False):
    id: int
    ep: int
    slot: int
    key: bytes
    data: Any


class Cancel(msgspec.Struct, tag_field="t", tag="cancel", omit_defaults=True, kw_only=True, gc=False):
    id: int


class Ping(msgspec.Struct, tag_field="t", tag="ping", omit_defaults=True, kw_only=True, gc=False):
    id: int


class Bye(msgspec.Struct, tag_field="t", tag="bye", omit_defaults=True, kw_only=True, gc=False):
    id: int


class EnvOpen(msgspec.Struct, tag_field="t", tag="env.open", omit_defaults=True, kw_only=True, gc=False):
    id: int
    name: str
    options: Dict[str, Any] = msgspec.field(default_factory=dict)
    rows: int = 1
    view: str = "array"
    root: int = 0
    fill: Dict[str, Any] = msgspec.field(default_factory=dict)


class EnvReset(msgspec.Struct, tag_field="t", tag="env.reset", omit_defaults=True, kw_only=True, gc=False):
    id: int
    env: int
    row: List[int]
    block: List[Any]


class EnvStep(msgspec.Struct, tag_field="t", tag="env.step", omit_defaults=True, kw_only=True, gc=False):
    id: int
    env: int
    actions: Dict[str, Any]


class State(msgspec.Struct, tag_field="t", tag="state", omit_defaults=True, kw_only=True, gc=False):
    id: int
    obs: Dict[str, Any]
    legal: Dict[str, Any] = msgspec.field(default_factory=dict)
    reward: Dict[str, Any] = msgspec.field(default_factory=dict)
    ended: List[str] = msgspec.field(default_factory=list)
    acting: List[Any] = msgspec.field(default_factory=list)
    score: Dict[int, Any] = msgspec.field(default_factory=dict)


class EnvClose(msgspec.Struct, tag_field="t", tag="env.close", omit_defaults=True, kw_only=True, gc=False):
    id: int
    env: int


class Train(msgspec.Struct, tag_field="t", tag="train", omit_defaults=True, kw_only=True, gc=False):
    id: int
    spec: Dict[str, Any]
    folder: str
    resume: str = ""


class Event(msgspec.Struct, tag_field="t", tag="event", omit_defaults=True, kw_only=True, gc=False):
    seq: int
    kind: str
    data: Dict[str, Any] = msgspec.field(default_factory=dict)


class Ok(msgspec.Struct, tag_field="t", tag="ok", omit_defaults=True, kw_only=True, gc=False):
    id: int
    data: Any = None


class Error(msgspec.Struct, tag_field="t", tag="error", omit_defaults=True, kw_only=True, gc=False):
    id: int
    code: str
    message: str = ""
    retry: bool = False
    detail: Any = None


Message = Union[
    Hello,
    Welcome,
    Bind,
    Reset,
    Act,
    Acts,
    Feedback,
    End,
    Save,
    Load,
    Cancel,
    Ping,
    Bye,
    EnvOpen,
    EnvReset,
    EnvStep,
    State,
    EnvClose,
    Train,
    Event,
    Ok,
    Error,
]

SINCE: Dict[str, int] = {
    "env.open": 1,
    "env.reset": 1,
    "env.step": 1,
    "state": 1,
    "env.close": 1,
    "train": 1,
    "event": 1,
}
"""Minor version in which a message came; those not named: 0."""

REQUESTS: FrozenSet[str] = frozenset(
    (
        "bind",
        "reset",
        "act",
        "end",
        "save",
        "load",
        "ping",
        "bye",
        "env.open",
        "env.reset",
        "env.step",
        "env.close",
        "train",
    )
)
"""Messages that are answered exactly once."""
