"""Settings and experiments: workflows of roles asked as a team and in one conversation, and the trial's studies."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import msgspec

import crossplay
from crossplay import Block
from crossplay.agents.llm import Llm
from crossplay.agents.llm import Settings as Asked
from crossplay.gallery.entry import Level
from crossplay.kernel import Usage, unpack
from crossplay.models import Door, Message, Reply, Request, ScriptedBackend
from crossplay.teams import make_team
from crossplay.teams.single import as_single

__all__ = ["LEVELS", "PROTOCOLS", "Call", "Settings", "control", "flow", "study", "tokens", "workflow"]

PROTOCOLS: tuple[Any, ...] = (
    {"name": "review", "rationale": False},
    {"name": "select", "rationale": False},
    {"name": "plan", "rationale": False},
    {"name": "debate", "rounds": 2, "rationale": False},
    {"name": "compose", "steps": ["plan", "select", "review"], "rationale": False},
    "relay",
)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The experiment.

    form: how a workflow is asked, "single" (one conversation) or "team" (the very same calls apart).
    roles: of the largest workflow. p_in, p_out, p_cache: prices of a token read, written, read from the
    cache. words: of what a role says. blocks: questions.
    """

    form: Literal["single", "team"] = "single"
    roles: int = 6
    p_in: float = 1.0
    p_out: float = 4.0
    p_cache: float = 0.1
    words: int = 60
    blocks: int = 3
    root: int = 0


class Call(msgspec.Struct, frozen=True, eq=False):
    """One call as the double received it, its answer, and the tokens that the record says it used."""

    messages: tuple[Message, ...]
    said: str
    tok_in: int
    tok_out: int


def tokens(message: Message) -> int:
    """The double's measure, which has no tokenizer: a token is four characters, and four frame a message."""
    return len(message.text) // 4 + 4


class _Double(ScriptedBackend):
    """Says the same words wherever words are asked for, and keeps what it was asked."""

    def __init__(self, words: int) -> None:
        super().__init__("double", answer=self._say)
        self._words = " ".join(["word"] * words)
        self.asked: list[tuple[Request, str]] = []

    def _say(self, request: Request) -> Reply:
        text = "A" if request.grammar else self._words
        schema: Any = request.json_schema
        if schema and "properties" in schema:
            text = msgspec.json.encode({name: self._field(p) for name, p in schema["properties"].items()}).decode()
        self.asked.append((request, text))
        tok_in = sum(tokens(m) for m in request.messages)
        return Reply(text, usage=Usage(1, tok_in, min(max(1, len(text) // 4), request.max_tokens)), served=self.name)

    def _field(self, schema: Any) -> Any:
        return schema["enum"][0] if "enum" in schema else self._words


def flow(roles: int) -> dict[str, Any]:
    """A workflow of that many roles, each of which reads all before it; the last one answers."""
    return {"name": "pipeline", "stages": [{"do": f"Do your part of it ({i}).", "sees": "all"} for i in range(roles)]}


def workflow(s: Settings, protocol: Any, members: int, form: str = "") -> list[tuple[Call, ...]]:
    """Per block the calls of a workflow with the double. form: "single" or "team" (default: the settings')."""
    packed = msgspec.msgpack.encode(protocol)
    return [_asked(packed, form or s.form, members, s.words, block, s.root) for block in range(s.blocks)]


@lru_cache(maxsize=512)
def _asked(protocol: bytes, form: str, members: int, words: int, block: int, root: int) -> tuple[Call, ...]:
    double = _Double(words)
    model = Door({"double": double}).model("double")
    clones = [Llm(model, Asked(instructions=f"You are specialist {i}.", memory=0)) for i in range(members)]
    team: Any = make_team(clones, msgspec.msgpack.decode(protocol), names=[f"m{i}" for i in range(members)])
    env = crossplay.make_env("qa/choice", {"level": 2})
    agent = as_single(team) if form == "single" else team
    outcome = asyncio.run(crossplay.aio(crossplay.play(env, {env.seats[0]: agent}, Block(root, block))))
    env.close()
    events = outcome.trace()
    asked = {e.path: unpack(e.note)["id"] for e in events if e.kind == "post"}  # a trace stands in order of paths
    calls = sorted((e for e in events if e.kind == "model"), key=lambda e: asked[e.path])
    used = [(e.tok_in, e.tok_out) for e in calls]
    return tuple(Call(r.messages, said, *u) for (r, said), u in zip(double.asked, used, strict=True))


# -- the trial -----------------------------------------------------------------------------------------------

LEVELS = (
    Level("sums", "word problems with numbers of two digits", {"env": "qa/arithmetic", "level": 2}),
    Level("small-sums", "word problems with numbers of one digit", {"env": "qa/arithmetic", "level": 1}),
    Level("odd-one-out", "multiple choice of the second level, a letter", {"env": "qa/choice", "level": 2}),
    Level("groups", "multiple choice of the first level, a letter", {"env": "qa/choice", "level": 1}),
)
ROLES = {
    "solver": "You solve the task.",
    "critic": "You find mistakes; two sentences at most.",
    "planner": "You plan; three short lines at most.",
}


def _base(models: Sequence[str], level: Level, n: int) -> dict[str, Any]:
    options = dict(level.options)
    name = options.pop("env")
    return {
        "study": {
            "name": f"oneflow-{level.name}",
            "blocks": n,
            "root": 41,
            "metric": "accuracy",
            "margin": 0.1,
            "concurrency": 1,
        },
        "environments": {"task": {"name": name, "options": options}},
        "agents": {"one": {"type": f"llm:{models[0]}", "temperature": 0.0}},
    }


def control(models: Sequence[str], level: Level, n: int) -> dict[str, Any]:
    """One plain answer of the model, a random answer, and the scholar; with letters, one letter always."""
    plan = _base(models, level, n)
    plan["lineups"] = {"one": ["one"]}
    if level.options["env"] == "qa/choice":
        plan["agents"]["constant"] = {"type": "first-legal"}
        plan["lineups"]["constant"] = ["constant"]
    return plan


def study(models: Sequence[str], level: Level, n: int) -> dict[str, Any]:
    """Plan, then draft, critique and revision by three roles of one model: as a team, in one conversation,
    and one plain answer.
    """
    plan = _base(models, level, n)
    for name, instructions in ROLES.items():
        plan["agents"][name] = {
            "type": f"llm:{models[0]}", "temperature": 0.0, "max_tokens": 80, "instructions": instructions,
        }  # fmt: skip
    protocol = {"name": "compose", "steps": ["plan", "review"], "rationale": False,
                "roles": {name: name for name in ROLES}}  # fmt: skip
    plan["agents"]["team"] = {"type": "team", "members": list(ROLES), "protocol": protocol}
    plan["agents"]["conversation"] = {"type": "single", "of": "team"}
    plan["study"]["baseline"] = "team"
    plan["lineups"] = {"team": ["team"], "conversation": ["conversation"], "one": ["one"]}
    plan["controls"] = {"equal_cost": False}
    return plan
