"""`llm` and `vlm`: agents whose decisions a model makes, from the text or the image view."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from crossplay.agents.context import Context, options, plain
from crossplay.agents.facets import described
from crossplay.agents.prompt import (
    MEMBER_TEMPLATE,
    MEMBER_TEXTS,
    TEMPLATE,
    TEXTS,
    Choices,
    Unreadable,
    choices,
    find_json,
    label_grammar,
    read_choice,
    read_fields,
    read_value,
    static_text,
    talked,
)
from crossplay.kernel import Action, Agent, CrossplayError, Fault, Msg, Observation, draw

if TYPE_CHECKING:
    from crossplay.agents.guards import Guards
    from crossplay.agents.tool_loop import ToolTalk
    from crossplay.agents.tools import Toolbox
    from crossplay.models import Message, Model, Picture, Reply

__all__ = ["Llm", "Settings", "Vlm", "llm", "vlm"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How the model is asked; the fields are the options of the agent, see `OPTIONS`."""

    temperature: float = 0.7
    top_p: float = 1.0
    max_tokens: int = 0
    memory: int = 3
    repairs: int = 1
    rotate: bool = False
    talk: bool = False
    confidence: bool = False
    instructions: str = ""
    words: int = 60


OPTIONS: dict[str, dict[str, Any]] = {
    "model": {"holds": "model", "type": "string", "default": "", "description": "model by name; or after the type: llm:NAME"},
    "temperature": {"type": "number", "minimum": 0, "maximum": 5, "default": 0.7, "description": "of sampling; 0: greedy"},
    "top_p": {"type": "number", "minimum": 0.01, "maximum": 1, "default": 1.0, "description": "of sampling"},
    "max_tokens": {"type": "integer", "minimum": 0, "default": 0, "description": "of an answer; 0: what its form needs"},
    "memory": {"type": "integer", "minimum": 0, "default": 3, "description": "own past turns that are shown at least (at most twice as many)"},
    "repairs": {"type": "integer", "minimum": 0, "maximum": 8, "default": 1, "description": "times that an unreadable answer is asked for again"},
    "rotate": {"type": "boolean", "default": False, "description": "list the options in an order drawn each turn, against position bias"},
    "talk": {"type": "boolean", "default": False, "description": "say something with each move, where the environment has hearers"},
    "confidence": {"type": "boolean", "default": False, "description": "report the model's probability of the chosen label"},
    "instructions": {"holds": "words", "type": "string", "default": "", "description": "text added after the rules"},
    "words": {"type": "integer", "minimum": 1, "maximum": 2000, "default": 60, "description": "of a reason at most, where a team asks for reasons"},
    "tools": {"holds": "tools", "type": "array", "default": [], "description": "what it may call: names, python:MODULE:FUNCTION, mcp:COMMAND (see Tools)"},
    "tool_calls": {"type": "integer", "minimum": 1, "maximum": 64, "default": 4, "description": "rounds of tool calls in one decision at most"},
    "tool_seconds": {"type": "number", "minimum": 0.01, "maximum": 3600, "default": 30.0, "description": "that one call may take"},
    "guards": {"holds": "guards", "type": "array", "default": [], "description": "hooks before and after every message: names or tables (see Tools)"},
}  # fmt: skip


class Llm(Agent):
    """Reads the text view and answers with a label (names), text or JSON.

    Local models answer under a grammar, endpoints with JSON schemas under a schema, others freely:
    then the answer is read tolerantly and asked for again at most `repairs` times. Every repair and
    failure to read is counted; an answer that stays unreadable is a `Fault`, served by the conduct.
    """

    kind = "llm"
    views = ("text",)
    deterministic = False
    replays = True

    def __init__(
        self,
        model: Model,
        settings: Settings | None = None,
        name: str = "",
        *,
        tools: Toolbox | None = None,
        guards: Guards | None = None,
    ) -> None:
        self.model = model
        self.settings = settings or Settings()
        self.name = name or f"{self.kind}:{model.name}"
        self.tools, self.guards = tools, guards

    def manifest(self) -> dict[str, Any]:
        """Kind, model identity, prompt template and settings; tools and guards where it has some; facets."""
        found = {
            "kind": self.kind,
            "name": self.name,
            "models": [self.model.name],
            "model": self.model.identity(),
            "template": TEMPLATE,
            "settings": msgspec.to_builtins(self.settings),
        }
        if self.tools is not None:
            found["tools"] = self.tools.manifest()
        if self.guards is not None:
            found["guards"] = self.guards.manifest()
        return described(found, self)

    def check(self, env: Any, seat: str) -> None:
        """Refuse environments without the view it reads."""
        if self.views[0] not in env.views:
            have = ", ".join(env.views)
            raise CrossplayError(f"{env.id}: no {self.views[0]} view (it has {have}), so {self.name} cannot play it")
        if self.tools is not None:
            self.tools.connect()

    def size(self, obs: Observation) -> tuple[int, int, int]:
        """(calls, tokens in, tokens out) of a decision like this one at most: memory full, every repair
        made, a token a byte at least (as a budget reserves them). What others may say is not in it.
        """
        s = self.settings
        shown = choices(obs, s.rotate) if obs.spec.kind == "names" else None
        form = _Form(obs, shown, s.talk and bool(obs.audience), self.model, s)
        turn = [9999, max(obs.spec.names, key=len, default="?" * 40), "repeat", -0.123456]
        memo = {"turn": -1, "past": [turn] * max(0, 2 * s.memory - 1)}
        per_in, per_out = self._request(obs, form, self._prompt(obs, form, memo), 0).bound()
        # One letter under a grammar is always read; an endpoint may not keep to the grammar.
        sure = self.model.local and form.grammar is not None and form.max_tokens == 1
        calls = 1 if sure and self.tools is None else 1 + s.repairs
        # Each repair repeats what was said before: the answer, and why it could not be read.
        said = sum(k * (per_out + len(TEXTS["repair"]) + len(form.how) + 200) for k in range(calls))
        if self.tools is not None:
            more_in, per_out = self.tools.bound(per_out)
            rounds, calls = self.tools.rounds, calls + self.tools.rounds
            per_in, said = per_in + more_in, said + calls * rounds * (per_out + self.tools.shown)
        return calls, calls * per_in + said, calls * per_out

    async def act(self, obs: Observation) -> Action | Fault:
        """One decision: a call, calls of tools, and repairs where the answer cannot be read."""
        memo = _remember(obs, self.settings.memory)
        shown = choices(obs, self.settings.rotate) if obs.spec.kind == "names" else None
        talk = self.settings.talk and bool(obs.audience)
        if self.guards is not None:
            obs = obs.child()
            obs.inbox = self.guards.inbox(obs.inbox, obs.seat, obs)
        if shown is not None and len(shown.indices) == 1 and not talk and not obs.wants:
            obs.count("forced")  # nothing to decide, nothing to pay
            return Action(shown.indices[0], memo=memo)
        form = _Form(obs, shown, talk, self.model, self.settings)
        try:
            messages = self._prompt(obs, form, memo)
        except _Stopped as stop:
            return Fault("invalid", str(stop))
        talk = None
        if self.tools is not None:
            from crossplay.agents.tool_loop import open_talk

            talk, memo = await open_talk(self.tools, self.model, self.guards, obs, memo)
            messages = talk.introduce(messages)
        return await self._decide(obs, form, messages, memo, talk)

    async def _decide(
        self, obs: Observation, form: _Form, messages: list[Message], memo: Any, talk: ToolTalk | None
    ) -> Action | Fault:
        from crossplay.models import Message, ModelError

        reason = ""
        for attempt in range(self.settings.repairs + 1):
            try:
                if talk is None:
                    [reply] = await self.model.generate([self._request(obs, form, messages, attempt)], at=obs)
                    text: str | None = reply.text
                else:
                    ask = partial(self._ask, obs, form, talk, attempt)
                    text, messages, reply = await talk.answer(obs, messages, ask)
            except ModelError as error:
                return Fault("error", str(error))
            try:
                if text is None:
                    raise Unreadable("no calls of tools are left")
                value, said, sure = form.read(text)
            except Unreadable as error:
                reason = str(error)
                obs.count("parse_fail")
            else:
                sure = self._confidence(form, value, reply) if sure is None else sure
                if self.guards is not None:
                    value, said, blocked = self.guards.said(value, said, obs.seat, obs)
                    if blocked:
                        return Fault("invalid", f"the answer of {self.name} was blocked: {blocked}")
                heard = [Msg("*", said)] if said and form.talk else []
                return Action(value, heard, sure, None if form.talk else said or None, memo=memo)
            if attempt < self.settings.repairs:
                obs.count("repair")
                again = TEXTS["repair"].format(reason=reason, how=form.how)
                messages = [*messages, Message("assistant", reply.text or "(nothing)"), Message("user", again)]
        return Fault("invalid", f"no move in the answer of {self.model.name}: {reason}")

    async def _ask(
        self, obs: Observation, form: _Form, talk: ToolTalk, attempt: int, messages: Sequence[Message]
    ) -> Reply:
        """One reply, with the tools in the request."""
        request = talk.request(self._request(obs, form, messages, attempt), form.wanted)
        [reply] = await self.model.generate([request], at=obs)
        return reply

    # -- the request -------------------------------------------------------------------------------
    def _prompt(self, obs: Observation, form: _Form, memo: Any) -> list[Message]:
        """What never changes first, the state and the options last."""
        from crossplay.models import Message

        state, pictures = self._see(obs)
        if self.guards is not None:
            state = self._guarded(state, obs)
        parts = [_past(memo["past"]), _news(obs), state, talked(obs)]
        if form.shown is not None:
            parts.append(form.shown.text())
        if form.member:  # what tells one member's request from another's comes last: the rest is shared
            parts += [obs.brief, form.how]
        user = "\n\n".join(p for p in parts if p)
        how = "" if form.member else form.how
        static = static_text(obs, how, form.shown is not None and form.shown.fixed, self.settings.instructions)
        return [Message("system", static), Message("user", user, pictures)]

    def _guarded(self, state: str, obs: Observation) -> str:
        """What the environment shows, through the guards."""
        from crossplay.agents.guards import About, Blocked

        found = self.guards.before(state, About("state", "", obs.seat, obs.tick), obs)  # type: ignore[union-attr]
        if isinstance(found, Blocked):
            raise _Stopped(f"what {self.name} was to be shown was blocked: {found.reason}")
        return found

    def _see(self, obs: Observation) -> tuple[str, tuple[Picture, ...]]:
        return "Now:\n" + obs.view("text").strip(), ()

    def _request(self, obs: Observation, form: _Form, messages: Sequence[Message], attempt: int) -> Any:
        from crossplay.models import Request

        s = self.settings
        return Request(
            messages=tuple(messages),
            temperature=s.temperature,
            top_p=s.top_p,
            max_tokens=s.max_tokens or form.max_tokens,
            # Greedy decoding draws nothing: without a seed, equal questions are equal requests.
            seed=draw(obs.key("sample"), obs.tick, attempt) >> 33 if s.temperature > 0 else None,
            grammar=form.grammar,
            json_schema=form.schema,
            top_logprobs=20 if form.sure and self.model.capabilities.logprobs else 0,
            template=MEMBER_TEMPLATE if form.member else TEMPLATE,
        )

    def _confidence(self, form: _Form, value: Any, reply: Reply) -> float | None:
        """The probability of the chosen label among the labels that the model reports, if it was asked for."""
        if not form.sure or not reply.logprobs or form.shown is None or form.says:
            return None
        known = dict(zip(form.shown.labels, form.shown.indices, strict=True))
        mass: dict[int, float] = {}
        for text, logprob in reply.logprobs[0]:
            if text.strip() in known:
                i = known[text.strip()]
                mass[i] = mass.get(i, 0.0) + math.exp(logprob)
        return mass[value] / sum(mass.values()) if value in mass else None


class Vlm(Llm):
    """Reads the image view instead of the text."""

    kind = "vlm"
    views = ("image",)

    def check(self, env: Any, seat: str) -> None:
        """Refuse environments without an image view, and models that are not said to read images."""
        super().check(env, seat)
        if not self.model.capabilities.images:
            raise CrossplayError(
                f'{self.name}: model "{self.model.name}" is not said to read images; set capabilities.images = true'
            )

    def _see(self, obs: Observation) -> tuple[str, tuple[Picture, ...]]:
        from crossplay.models import Picture

        return "Now: see the picture.", (Picture.of(obs.view("image")),)


class _Stopped(Exception):
    """A guard lets nothing of the state pass, so nothing is asked."""


class _Form:
    """The form of one answer: what is said about it, what constrains it, how it is read."""

    def __init__(self, obs: Observation, shown: Choices | None, talk: bool, model: Model, settings: Settings) -> None:
        self.spec, self.shown, self.talk, self.words = obs.spec, shown, talk, settings.words
        can = model.capabilities
        self.reason = "rationale" in obs.wants
        self.says = talk or self.reason  # words stand before the choice
        self.member = bool(obs.brief or obs.wants or any(m.channel == "team" for m in obs.inbox))
        # Where one letter is all that is answered, its probability says how sure the model is.
        by_letter = shown is not None and not self.says and can.logprobs
        self.states = "confidence" in obs.wants and not by_letter
        self.sure = by_letter and ("confidence" in obs.wants or settings.confidence)
        self.grammar: str | None = None
        self.schema: dict[str, Any] | None = None
        self.wanted = wanted = self._wanted()
        if shown is not None and not self.says and not self.states and can.grammar:
            self.grammar = label_grammar(shown.labels)
        elif wanted is not None and can.json_schema:
            self.schema = wanted
        self.how = self._how()
        self.max_tokens = self._length()

    def _wanted(self) -> dict[str, Any] | None:
        """The schema that an answer is to fit, None for free text."""
        if self.shown is None:
            if not (self.reason or self.states):
                return None if self.spec.kind == "text" else self.spec.json_schema()
            props: dict[str, Any] = {"answer": self.spec.json_schema()}
        else:
            props = {"action": {"type": "string", "enum": list(self.shown.labels)}}
        if self.talk:
            props = {"say": {"type": "string", "maxLength": 200}, **props}
        if self.reason:
            props = {"reason": {"type": "string", "maxLength": 8 * self.words}, **props}
        if self.states:
            props["confidence"] = {"type": "integer", "minimum": 0, "maximum": 10}
        return {"type": "object", "properties": props, "required": list(props), "additionalProperties": False}

    def _how(self) -> str:
        if self.reason or self.states:
            fields = {
                "answer" if self.shown is None else "action": MEMBER_TEXTS[
                    "field_answer" if self.shown is None else "field_action"
                ]
            }
            if self.talk:
                fields = {"say": MEMBER_TEXTS["field_say"], **fields}
            if self.reason:
                fields = {"reason": MEMBER_TEXTS["field_reason"].format(words=self.words), **fields}
            if self.states:
                fields["confidence"] = MEMBER_TEXTS["field_confidence"]
            return MEMBER_TEXTS["object"] + "; ".join(f'"{name}": {about}' for name, about in fields.items()) + "."
        if self.shown is None:
            if self.spec.kind == "text":
                return TEXTS["text"]
            return TEXTS["data"] + msgspec.json.encode(self.spec.json_schema(), order="deterministic").decode()
        return TEXTS["talk" if self.talk else "choose_json" if self.schema else "choose"]

    def _length(self) -> int:
        if self.reason:
            return 64 + 2 * self.words + (256 if self.shown is None or self.talk else 0)
        if self.shown is None or self.talk:
            return 256
        if self.states:
            return 40
        if self.grammar is not None:
            return 1 if len(self.shown.labels[0]) == 1 and self.shown.labels[0].isalpha() else 4
        return 24

    def read(self, text: str) -> tuple[Any, str, float | None]:
        """(value, what is said, how sure it says it is), or `Unreadable`."""
        if self.reason or self.states:
            return read_fields(text, self.spec, self.shown)
        if self.shown is None:
            return read_value(text, self.spec), "", None
        said = ""
        if self.talk and "{" in text:
            try:
                found = find_json(text[text.index("{") :])
            except Unreadable:
                found = None
            if isinstance(found, dict) and isinstance(found.get("say"), str):
                said = found["say"].strip()[:200]
        return read_choice(text, self.shown), said, None


# -- memory ----------------------------------------------------------------------------------------
def _remember(obs: Observation, window: int) -> dict[str, Any]:
    """The memo of this turn: the last own turns, as they were played, `window` of them at least.

    The oldest are dropped `window` at a time, so that in between the text only grows at its end and a
    prompt cache holds what came before.
    """
    memo = obs.memo or {"turn": -1, "past": []}
    past = list(memo["past"])
    if obs.last is not None and 0 <= memo["turn"] < obs.tick:  # a team may ask several times in one turn
        value, origin = obs.last
        name = obs.spec.names[value] if obs.spec.kind == "names" and 0 <= value < len(obs.spec.names) else str(value)
        past.append([memo["turn"], name, origin, obs.reward])
    if len(past) >= 2 * window:
        past = past[-window:] if window else []
    kept = {"turn": obs.tick, "past": past}
    return kept | {"tools": memo["tools"]} if "tools" in memo else kept


def _past(past: Sequence[Sequence[Any]]) -> str:
    """One line per remembered turn."""
    lines = []
    for turn, name, origin, reward in past:
        served = "" if origin == "own" else f" (served as {origin}: your answer was missing or not allowed)"
        lines.append(f"{turn}: {name}{served}, {reward:g}")
    return "Your last turns (turn: action, reward):\n" + "\n".join(lines) if lines else ""


def _news(obs: Observation) -> str:
    """What was said to this seat since its last turn."""
    lines = [f"{m.src}: {m.body}" for m in obs.inbox if m.channel != "team"]
    return "Said to you:\n" + "\n".join(lines) if lines else ""


# -- factories -------------------------------------------------------------------------------------
def _make(kind: type[Llm], rest: str, given: Mapping[str, Any], context: Context) -> Llm:
    chosen = {k: v for k, v in given.items() if v is not None}
    named = chosen.pop("model", "")
    name = rest or named
    if not name:
        raise CrossplayError(f'{kind.kind}: no model is named; say {kind.kind}:MODEL or model = "MODEL"')
    tools, rounds = chosen.pop("tools", ()), chosen.pop("tool_calls", 4)
    seconds, guards = chosen.pop("tool_seconds", 30.0), chosen.pop("guards", ())
    model, more = context.model(name), {}
    if tools:
        from crossplay.agents.tools import make_toolbox

        more["tools"] = make_toolbox(tools, context, rounds, seconds)
    if guards:
        from crossplay.agents.guards import make_guards

        more["guards"] = make_guards(guards, context)
    return kind(model, Settings(**chosen), **more)


@options(**OPTIONS)
@plain("model")
def llm(rest: str, options: Mapping[str, Any], context: Context) -> Agent:
    """An agent that reads the text view; rest: the model's name."""
    return _make(Llm, rest, options, context)


@options(**OPTIONS)
@plain("model")
def vlm(rest: str, options: Mapping[str, Any], context: Context) -> Agent:
    """An agent that reads the image view; rest: the model's name."""
    return _make(Vlm, rest, options, context)
