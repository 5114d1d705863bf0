"""`a2a:URL`: an agent somewhere else, asked over the A2A protocol (https://a2a-protocol.org), fills a seat.

Each decision is one message in a context of its own per episode and seat. Card, questions and answers go through
the run's cassette as the results of tools do, so that a run is replayed without the agent. See docs/serving.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal
from urllib.parse import urlsplit

import msgspec

from crossplay.agents.a2a_form import EXTENSION, Answer, exact_question, plain, question, read_answer, told
from crossplay.agents.a2a_line import Late, Line, Lost, Refused, Sent, shown, token_of
from crossplay.agents.context import Context, NeedsTrust, options
from crossplay.agents.prompt import TEXTS, Unreadable
from crossplay.kernel import Action, Agent, CrossplayError, Fault, Observation, pack
from crossplay.wire import is_loopback

__all__ = ["A2a", "a2a"]

KINDS: dict[str, Literal["timeout", "invalid", "error", "void"]] = {
    "timeout": "timeout",
    "invalid": "invalid",
    "void": "void",
}
"""Faults that an agent may report; any other word is an error."""
TOLD_AGAIN = 16
"""Own turns that are told again where the agent does not remember them."""


class A2a(Agent):
    """Asks an A2A agent.

    An agent whose card declares the extension of `a2a_form` gets the views that it names, and hands over
    what it wants to remember, so that nothing is lost when it starts again. Any other agent gets `views`,
    and remembers by itself, in the context. Where the first answers of an episode come from the record,
    its own earlier turns are told again.
    """

    kind = "remote"
    deterministic = False
    replays = True

    def __init__(
        self, line: Line, door: Any, views: Sequence[str] = ("text", "data"), repairs: int = 1, name: str = ""
    ) -> None:
        self.line, self.door = line, door
        self.views, self.repairs = tuple(views), repairs
        self.title = f"a2a:{shown(line.url)}"
        self.name = name or self.title
        self._known: dict[str, Any] | None = None

    # -- plan time ---------------------------------------------------------------------------------
    def check(self, env: Any, seat: str) -> None:
        """Read the card, where answers may have to be asked for; refuse seats whose views nobody sends."""
        if not any(v in env.views for v in self.views):
            raise CrossplayError(f"{env.id}: none of the views {', '.join(self.views)}, so {self.name} cannot play it")
        if self.door.cassette.mode in ("strict", "lenient"):
            return
        try:
            self._known = self._known or self.line.card()
        except (Lost, Late, Refused) as error:
            problem = CrossplayError(f"{self.title}: {error}")
            problem.exit_code = 3
            raise problem from error
        except CrossplayError as error:
            raise CrossplayError(f"{self.title}: {error}") from error
        self._check_card(self._known, env, seat)

    def _check_card(self, card: Mapping[str, Any], env: Any, seat: str) -> None:
        """Refuse what an agent of this package says that it cannot do. Other cards say nothing of seats."""
        mine = _extension(card)
        if mine is None:
            return
        kind, params = env.spec(seat).kind, mine.get("params", {})
        kinds = [str(s.get("id", "")).removeprefix("answer-") for s in card.get("skills", [])]
        views = params.get("views", [])
        if kind not in kinds:
            raise CrossplayError(f"{self.title} answers {', '.join(kinds)}; {env.id} seat {seat} wants {kind}")
        if not set(views) & set(env.views):
            raise CrossplayError(f"{self.title} reads {', '.join(views)}; {env.id} offers {', '.join(env.views)}")
        if params.get("env") not in (None, "", env.id):
            raise CrossplayError(f"{self.title} is served for {params['env']}, not for {env.id}")

    def manifest(self) -> dict[str, Any]:
        """Address, views and limits; the card where it was read."""
        found = {
            "kind": self.kind,
            "name": self.name,
            "agent": self.title,
            "views": list(self.views),
            "repairs": self.repairs,
            "seconds": self.line.seconds,
            "retries": self.line.retries,
        }
        return found if self._known is None else {**found, "card": self._known}

    # -- play --------------------------------------------------------------------------------------
    async def act(self, obs: Observation) -> Action | Fault:
        """One decision: a message, and repairs where the answer cannot be read."""
        memo = dict(obs.memo) if isinstance(obs.memo, dict) else await self._begin(obs)
        if isinstance(memo, Fault):
            return memo
        _remember(memo, obs)
        reason = ""
        for attempt in range(self.repairs + 1):
            sent = await self._ask(obs, memo, reason)
            if isinstance(sent, Fault):
                return sent
            try:
                answer = read_answer(sent.data, sent.text, obs, bool(memo["extension"]))
            except Unreadable as error:
                reason = str(error)
                obs.count("parse_fail")
            else:
                return self._action(answer, obs, memo)
            if attempt < self.repairs:
                obs.count("repair")
        return Fault("invalid", f"no move in the answer of {self.title}: {reason}")

    async def _begin(self, obs: Observation) -> dict[str, Any] | Fault:
        """The memo of a fresh episode: what the agent is, by its card, and a new context."""
        found: Any = await self._through(obs, {"card": True}, self._introduce, repeatable=True)
        if isinstance(found, Fault):
            return found
        # The context is no part of the record: no two episodes may share one, whatever is read from it.
        return {"context": uuid.uuid4().hex, "turn": 0, "asked": False, "digest": b"", "memo": None, "past": [],
                "extension": found.get("extension")}  # fmt: skip

    async def _introduce(self) -> dict[str, Any]:
        """The lines of the card that matter in an episode."""
        card = await self.line.fetch_card()
        mine = _extension(card)
        return {
            "name": str(card.get("name", "")),
            "version": str(card.get("version", "")),
            "extension": None
            if mine is None
            else {
                "views": [str(v) for v in mine.get("params", {}).get("views", [])],
                "env": str(mine.get("params", {}).get("env", "")),
            },
        }

    def _views(self, obs: Observation, memo: Mapping[str, Any]) -> list[str]:
        """What is sent of what the seat may know, best first."""
        wanted = (memo["extension"] or {}).get("views") or self.views
        return [v for v in wanted if v in obs.views] or [v for v in self.views if v in obs.views]

    async def _ask(self, obs: Observation, memo: dict[str, Any], reason: str) -> Sent | Fault:
        """One question and its answer, from the record or from the agent."""
        views, turn = self._views(obs, memo), memo["turn"]
        known = str((memo["extension"] or {}).get("env", ""))
        text, data = told(obs, first=not turn), question(obs, views, turn, not turn, known)
        if reason:
            text = TEXTS["repair"].format(reason=reason, how=text)
        # Equal questions after different conversations are different questions.
        asked = {"text": text, "data": data, "before": memo["digest"]}

        async def run() -> dict[str, Any]:
            sent, form = text, data
            if turn and not memo["asked"]:
                sent, form = told(obs, True, memo["past"][-TOLD_AGAIN:]), question(obs, views, turn, True, known)
            if memo["extension"]:
                form = {**form, "views": {}, "exact": exact_question(obs, views, memo["memo"])}
            memo["asked"] = True
            found: dict[str, Any] = msgspec.to_builtins(await self.line.send(sent, form, memo["context"]))
            return found

        found = await self._through(obs, asked, run)
        if isinstance(found, Fault):
            return found
        obs.count("a2a_calls")
        sent = msgspec.convert(found, Sent)
        if sent.attempts > 1:
            obs.count("retry", sent.attempts - 1)
        if sent.doubtful:
            obs.count("maybe_done_twice", sent.doubtful)
        memo["turn"] = turn + 1
        memo["digest"] = hashlib.blake2b(pack([asked, sent.text, sent.data]), digest_size=16).digest()
        if sent.failed:
            return Fault("error", f"{self.title}: {sent.text}"[:500])
        return sent

    async def _through(self, obs: Observation, asked: Any, run: Any, repeatable: bool = False) -> Any:
        """The result of a call through the cassette, or the fault that it is."""
        from crossplay.models import ModelDown
        from crossplay.models.door import ToolError

        away = _away()

        async def call() -> Any:
            try:
                return await run()
            except Lost as error:
                raise away(str(error), error.doubtful) from error
            except Refused as error:
                raise ModelDown(f"{self.title}: {error}") from error
            except Late as error:
                raise TimeoutError(str(error)) from error

        try:
            return await self.door.tool(self.title, asked, obs, call, repeatable=repeatable)
        except away as error:
            if error.doubtful:
                obs.count("maybe_done_twice", error.doubtful)
            obs.count("a2a_lost")
            return Fault("void", f"{self.title}: {error}")
        except ToolError as error:
            return Fault("timeout" if error.kind == "TimeoutError" else "error", str(error)[:500])

    def _action(self, answer: Answer, obs: Observation, memo: dict[str, Any]) -> Action | Fault:
        """The move of an answer, with what it spent and counted on its side."""
        for name, n in answer.counts.items():
            obs.count(f"remote_{name}", n)
        if answer.memo is not None:
            memo["memo"] = answer.memo
        if answer.fault is not None:
            kind, detail = answer.fault
            fault = Fault(KINDS.get(kind, "error"), f"{self.title}: {detail}"[:500], answer.messages)
            return fault if fault.kind == "void" else Action(fault, usage=answer.usage, memo=memo)
        memo["said"] = [obs.tick, _short(answer.value, obs)]
        return Action(answer.value, answer.messages, answer.confidence, answer.rationale, answer.usage, memo)


def _extension(card: Mapping[str, Any]) -> Any:
    """What a card says of the extension, or None."""
    extensions = card.get("capabilities", {}).get("extensions", [])
    return next((e for e in extensions if e.get("uri") == EXTENSION), None)


@cache
def _away() -> type[Any]:
    """An error that keeps what was no answer out of the record (made late: models are not needed to import this)."""
    from crossplay.models import ModelDown

    return type("Away", (ModelDown,), {})


def _remember(memo: dict[str, Any], obs: Observation) -> None:
    """Write down how the last own turn ended."""
    said = memo.pop("said", None)
    if said is not None:
        memo["past"] = [*memo["past"], [*said, obs.reward]][-TOLD_AGAIN:]


def _short(value: Any, obs: Observation) -> str:
    if obs.spec.kind == "names" and isinstance(value, int) and 0 <= value < len(obs.spec.names):
        return obs.spec.names[value]
    return str(plain(value))[:200]


OPTIONS: dict[str, dict[str, Any]] = {
    "token_env": {"type": "string", "default": "", "description": "environment variable that holds a bearer token"},
    "timeout": {"type": "number", "minimum": 0.01, "maximum": 86400, "default": 60.0, "description": "seconds of one message"},
    "retries": {"type": "integer", "minimum": 0, "maximum": 10, "default": 2, "description": "times that a message is sent again after a lost connection"},
    "repairs": {"type": "integer", "minimum": 0, "maximum": 8, "default": 1, "description": "times that an unreadable answer is asked for again"},
    "views": {"type": "array", "default": ["text", "data"], "description": "what is sent of what the seat may know, where its card names nothing: text, data, array"},
}  # fmt: skip


@options(**OPTIONS)
def a2a(rest: str, options: Mapping[str, Any], context: Context) -> Agent:
    """`a2a:http://host:port`: the agent whose card lies at /.well-known/agent-card.json there."""
    parts = None
    with contextlib.suppress(ValueError):
        parts = urlsplit(rest)
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise CrossplayError(f'a2a: "{rest}" is no address; say a2a:http://HOST:PORT')
    if parts.username or parts.password:
        raise CrossplayError("a2a: an address holds no password; name a variable with token_env")
    views = options["views"]
    for view in views:
        if view not in ("text", "data", "array"):
            raise CrossplayError(f'a2a: views = {views!r}: "{view}" is none of text, data, array')
    token = options["token_env"]
    if context.door is None:
        from crossplay.models import Door

        context.door = Door()
    replayed = context.door.cassette.mode == "strict"  # then nobody is asked
    if not is_loopback(parts.hostname) and not (context.trust or replayed):
        what = f"the variable {token} and what a seat sees" if token else "what a seat sees"
        raise NeedsTrust(f"a2a: a file sends {what} to {parts.hostname}; allow it with --trust")
    secret = "" if replayed else token_of(token, f"a2a:{shown(rest)}")
    line = Line(rest, secret, options["timeout"], options["retries"], elsewhere=context.trust)
    context.closing.append(line.close)
    return A2a(line, context.door, views, options["repairs"], f"a2a:{shown(rest)}")
