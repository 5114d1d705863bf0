"""An agent that answers questions from outside: its contexts, what it remembers in them, and their limits."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from crossplay.agents.a2a_form import packed, plain
from crossplay.kernel import (
    Action,
    Agent,
    CrossplayError,
    Env,
    Fault,
    Held,
    Invalid,
    Msg,
    Observation,
    Stop,
    Usage,
    pack,
    unpack,
)
from crossplay.serve.asked import Malformed, Question, observation

__all__ = ["Answering", "Busy", "Limits"]


class Busy(CrossplayError):
    """Too many questions are open; ask again later."""


class Limits(msgspec.Struct, frozen=True):
    """contexts: that are remembered; age_s: how long after its last question one is; open: questions at a time;
    seconds: one answer may take; bytes: that are kept of one context.
    """

    contexts: int = 1024
    age_s: float = 3600.0
    open: int = 64
    seconds: float = 600.0
    bytes: int = 256 * 1024


class _Context:
    """One conversation."""

    __slots__ = ("answer", "busy", "known", "lock", "memo", "message", "rules", "used")

    def __init__(self) -> None:
        self.memo: Any = None
        self.known = False  # begun here
        self.lock = asyncio.Lock()  # one question at a time
        self.message = self.rules = ""
        self.answer: dict[str, Any] | None = None
        self.used = 0.0
        self.busy = 0  # questions that are answered in it or wait for that


class Answering:
    """An agent, and the conversations with it. For one event loop.

    local: an environment for what a question cannot bring (see `asked`). A client that hands the memo back
    (exact part) needs no memory here; for the others it is kept per context, the longest unused go first.
    """

    def __init__(
        self, agent: Agent, limits: Limits = Limits(), local: Env | None = None, clock: Callable[[], float] = time.monotonic  # noqa: B008 (frozen)
    ) -> None:  # fmt: skip
        self.agent, self.limits, self.local = agent, limits, local
        self._clock = clock
        self._contexts: OrderedDict[str, _Context] = OrderedDict()
        self._open = 0
        self._plain = ThreadPoolExecutor(1, "answering")  # plain agents one after the other, beside the event loop

    def __len__(self) -> int:
        return len(self._contexts)

    async def answer(self, q: Question, context: str, message: str) -> dict[str, Any]:
        """The data part of the answer. message: the id of the message; the same again gets the same answer.

        Raises Busy, and CrossplayError where the agent cannot answer such questions.
        """
        self._check(q)
        if self._open >= self.limits.open:
            raise Busy(f"{self._open} questions are open")
        self._open += 1
        try:
            at = self._context(context)
            at.busy += 1
            try:
                async with at.lock:
                    if message and at.message == message and at.answer is not None:
                        return at.answer
                    found = at.answer = await self._ask(q, at, context)
                    at.message, at.used = message, self._clock()
                    return found
            finally:
                at.busy -= 1
                self._bound(context, at)
        finally:
            self._open -= 1

    def _bound(self, name: str, at: _Context) -> None:
        """Forget a context that would keep too much: a later question in it is refused, never answered wrongly."""
        if self._contexts.get(name) is at and not at.busy and _bytes(at) > self.limits.bytes:
            del self._contexts[name]

    def close(self) -> None:
        """Forget all conversations."""
        self._contexts.clear()
        self._plain.shutdown(wait=False, cancel_futures=True)

    def _check(self, q: Question) -> None:
        agent = self.agent
        if agent.needs and q.spec.kind not in agent.needs:
            raise Malformed(f"{agent.name} answers {', '.join(agent.needs)} only, not {q.spec.kind}")
        if self.local is not None and q.env != self.local.id:
            raise Malformed(f"{agent.name} is served for {self.local.id}, not for {q.env}")

    def _context(self, name: str) -> _Context:
        """The context of that name; old ones are forgotten, and for a new one the longest unused."""
        now, found = self._clock(), self._contexts
        free = [k for k, c in found.items() if not c.busy]  # the longest unused first
        for k in free:
            if now - found[k].used <= self.limits.age_s:
                break
            del found[k]
        at = found.get(name)
        if at is None:
            if len(found) >= self.limits.contexts:
                oldest = next((k for k in free if k in found), None)
                if oldest is None:
                    raise Busy(f"{len(found)} contexts are open")
                del found[oldest]
            at = found[name] = _Context()
        found.move_to_end(name)
        at.used = now
        return at

    async def _ask(self, q: Question, at: _Context, context: str) -> dict[str, Any]:
        """One question to the agent, and what becomes of its answer."""
        given = q.exact and q.memo is not None
        memo = _memo_of(q.memo) if given else at.memo
        if not given and not at.known:
            if q.turn and not q.exact:
                raise Malformed(f"context {context[:60]!r} is not known here (any more); begin again at turn 0")
            memo = await self._begin(q, context)
        at.known = True
        q.rules = at.rules = q.rules or at.rules  # told once, with the first question
        obs = observation(q, self.agent, context, memo, local=self.local)
        try:
            async with asyncio.timeout(self.limits.seconds):
                answer = await self._of_agent(self.agent, obs)
        except TimeoutError:
            answer = Fault("timeout", f"no answer within {self.limits.seconds:g} s")
        finally:
            obs.close()
        found = _settled(answer, obs)
        at.memo = memo if found.memo is None else found.memo
        return _written(found, obs, q, at.memo)

    async def _begin(self, q: Question, context: str) -> Any:
        if type(self.agent).begin is Agent.begin:
            return None
        obs = observation(q, self.agent, context, None, "begin", self.local)
        memo = self.agent.begin(obs)
        return await memo if inspect.isawaitable(memo) else memo

    async def _of_agent(self, agent: Any, obs: Observation) -> Any:
        """The agent's answer; what it raises becomes a fault."""
        try:
            if hasattr(agent, "act_batch"):
                [answer] = await asyncio.get_running_loop().run_in_executor(self._plain, agent.act_batch, [obs])
            elif inspect.iscoroutinefunction(agent.act):
                answer = await agent.act(obs)
            else:
                answer = await asyncio.get_running_loop().run_in_executor(self._plain, agent.act, obs)
                if inspect.isawaitable(answer):
                    answer = await answer
        except TimeoutError:
            raise
        except Stop as error:  # a model that is gone, a budget that is spent: not an answer
            return Fault("void", str(error)[:500])
        except Exception as error:
            return Fault("error", f"{type(error).__name__}: {error}"[:500])
        return answer


def _bytes(at: _Context) -> int:
    """Bytes that a context keeps, as they would be packed; memos that cannot be packed count as none."""
    kept = len(at.message) + len(at.rules.encode(errors="replace"))
    for part in (at.memo, at.answer):
        with contextlib.suppress(TypeError, ValueError, OverflowError, RecursionError):
            kept += 0 if part is None else len(pack(part))
    return kept


def _memo_of(packed: bytes | None) -> Any:
    """The memo that a client hands back."""
    try:
        return None if packed is None else unpack(packed)
    except (ValueError, TypeError, RecursionError, msgspec.DecodeError) as error:
        raise Malformed(f"the memo cannot be read ({type(error).__name__})") from None


def _settled(answer: Any, obs: Observation) -> Action:
    """An answer as an Action whose value is legal, or a Fault."""
    action = answer if isinstance(answer, Action) else Action(answer)
    value = action.value
    if isinstance(value, Fault):
        said = value.messages
    elif isinstance(value, Held) or value is None:
        value, said = Fault("error", "the agent gave no answer"), ()
    else:
        said = action.messages
        try:
            value = obs.spec.check(value, obs.legal)
        except Invalid as error:
            value = Fault("invalid", str(error))
        except Exception as error:  # a schema of the question's that is none
            value = Fault("error", f"{type(error).__name__}: {error}"[:200])
    return Action(value, tuple(said), action.confidence, action.rationale, action.usage, action.memo)


def _written(action: Action, obs: Observation, q: Question, memo: Any) -> dict[str, Any]:
    """The data part of an answer."""
    spent = Usage()
    for usage in [action.usage, *(n[3] for n in obs.notes)]:
        if usage is not None:
            spent.add(usage)
    value = action.value
    said = [m for m in action.messages if isinstance(m, Msg)]
    found: dict[str, Any] = {}
    if isinstance(value, Fault):
        found["fault"] = {"kind": value.kind, "detail": value.detail}
    else:
        found["value"] = q.spec.names[value] if q.spec.kind == "names" else plain(value)
    if said:
        found["say"] = "\n".join(str(m.body) for m in said)
    if action.confidence is not None:
        found["confidence"] = float(action.confidence)
    if action.rationale:
        found["rationale"] = action.rationale
    if q.exact:
        fault = isinstance(value, Fault)
        found["exact"] = packed(
            {
                "value": None if fault else value,
                "fault": [value.kind, value.detail] if fault else None,
                "messages": [[m.dst, m.body, m.channel] for m in said],
                "confidence": action.confidence,
                "rationale": action.rationale,
                "usage": [spent.calls, spent.tok_in, spent.tok_out, spent.cpu_us],
                "memo": None if memo is None else pack(memo),
                "counts": obs.counts,
            }
        )
    return found
