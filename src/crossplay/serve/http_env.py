"""Environments over HTTP in the form that AgentGym's servers have: create, reset, step, observation, available_actions.

The form is that of https://github.com/WooooDyy/AgentGym (servers `agentenv-*`, their clients `agentenv/envs/*.py`):

    POST /create {}                     -> {"id", "observation", "reward", "done", ...}
    POST /reset  {"id", "data_idx"}     -> the same; data_idx is the block
    POST /step   {"id", "action"}       -> {"observation", "reward", "score", "done", "available_actions", ...}
    GET  /observation?id=               -> text
    GET  /available_actions?id=         -> a list of action names
    GET  /detail?id=                    -> what is known of the episode
    POST /close  {"id"}                 -> {"closed": true}

What is beyond that form: errors are HTTP errors with {"error": text}; "say" may stand beside "action"; replies
tell what was served for an action that was not allowed ("origin", "fault") and, at the end, the world digest.
One seat is played over HTTP, the others by agents; each episode is one of the engine's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from crossplay.agents.open_turn import game_of
from crossplay.agents.prompt import Unreadable, find_json
from crossplay.kernel import (
    Action,
    Agent,
    Block,
    Conduct,
    CrossplayError,
    Env,
    Fault,
    Lineup,
    Msg,
    Observation,
    Outcome,
    aio,
    play,
)
from crossplay.wire.http.bodies import BODY, refuse_body, refuse_headers
from crossplay.wire.http.guard import Guard

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["Bad", "EnvServer", "Limits", "serving_env"]

ITEMS = ("data_idx", "game", "session_id", "item_id", "seed", "idx")
"""Names under which clients of that form say which item they want."""


class Bad(CrossplayError):
    """A request that cannot be answered. status: of HTTP."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Limits(msgspec.Struct, frozen=True):
    """open: environments at a time; idle_s: after which an unused one is closed; step_s: a step may take."""

    open: int = 64
    idle_s: float = 3600.0
    step_s: float = 600.0


class _Caller(Agent):
    """Fills the seat that is played over HTTP: hands each request out, and waits for its answer."""

    name, kind, deterministic, views = "http", "remote", False, ("text",)

    def __init__(self, asked: Callable[[Observation, asyncio.Future[Any]], None]) -> None:
        self._asked = asked

    async def act(self, obs: Observation) -> Any:
        """What the client answers."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked(obs, answer)
        return await answer


class Session:
    """One environment of a client, and the episode that is played in it."""

    def __init__(self, env: Env, server: EnvServer) -> None:
        self.env, self.server, self.seat = env, server, server.seat
        caller = _Caller(self._hold)
        self.lineup = Lineup({s: caller if s == self.seat else server.others[s] for s in env.seats})
        self.used = time.monotonic()
        self.lock = asyncio.Lock()
        self.block: int | str = 0
        self._task: asyncio.Task[Any] | None = None
        self._episode: Any = None
        self._now: dict[str, Any] = {}
        self._obs: Observation | None = None
        self._answer: asyncio.Future[Any] | None = None
        self._turn = asyncio.Event()
        self._earned = 0.0
        self.unseen = False  # the reply to an action came too late: nothing is played until somebody has looked

    # -- one episode -----------------------------------------------------------------------------------
    async def reset(self, block: int | str) -> dict[str, Any]:
        """Begin the episode of a block; what the seat sees first."""
        await self.stop()
        self.block, self._earned, self._now, self.unseen = block, 0.0, {}, False
        self._turn.clear()
        at = self.server.at(block)
        self._episode = play(self.env, self.lineup, at, self.server.conduct)
        self._task = asyncio.create_task(self._play(at))
        await self._wait()
        return {**self._now, "task_description": self.env.rules}

    async def step(self, text: Any, say: Any = None) -> dict[str, Any]:
        """Answer the open request; what the seat sees next."""
        if self._task is None or (self._task.done() and not self.unseen):
            raise Bad(409, "the episode is over; reset begins another")
        if self.unseen or self._answer is None or self._answer.done() or self._obs is None:
            raise Bad(409, "the last action was taken, and its reply came too late: /observation shows what came of it")
        words = [Msg("*", say)] if isinstance(say, str) and say.strip() and self._obs.audience else ()
        value = read_action(text, self._obs)
        answer = Fault("invalid", value.detail, words) if isinstance(value, Fault) else Action(value, words)
        self._turn.clear()
        self._answer.set_result(answer)
        self.unseen = True
        await self._wait()
        self.unseen = False
        return self._now

    def now(self) -> dict[str, Any]:
        """The last reply."""
        if not self._now:
            raise Bad(409, "reset begins an episode")
        if self.unseen and not self._turn.is_set() and self._task is not None and not self._task.done():
            raise Bad(409, "the other seats are still playing; ask again")
        self.unseen = False
        return self._now

    async def stop(self) -> None:
        """End the episode where it stands."""
        task, self._task, self._answer, self._obs = self._task, None, None, None
        if task is not None:
            if not task.done():
                self.server.left += bool(self._episode.tick)
                if self.server.dropped is not None:
                    self.server.dropped(self._episode.at)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task

    # -- inside ----------------------------------------------------------------------------------------
    async def _wait(self) -> None:
        """Until it is the seat's turn, or the episode is over."""
        assert self._task is not None
        waiting = asyncio.create_task(self._turn.wait())
        try:
            await asyncio.wait({waiting, self._task}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._task.done() and not self._turn.is_set():
            if self._task.cancelled():
                raise Bad(409, "the episode was ended")
            raise Bad(500, f"the episode failed: {self._task.exception()}"[:300])

    def _hold(self, obs: Observation, answer: asyncio.Future[Any]) -> None:
        """The seat is asked."""
        self._obs, self._answer = obs, answer
        legal = list(obs.names()) if obs.spec.kind == "names" else []
        # What was earned on the way; the index of the seat's total is that of its name.
        reward = self._since()
        self._now = {
            "observation": shown(obs),
            "reward": reward,
            "score": _first(self.env.score()),
            "done": False,
            "available_actions": legal,
            **_served(obs),
        }
        self._turn.set()

    async def _play(self, at: Block) -> None:
        began = time.perf_counter()
        outcome = await aio(self._episode)
        if self.server.ended is not None:
            self.server.ended(at, outcome, time.perf_counter() - began)
        i = self.env.seats.index(self.seat)
        text = f"The episode is over ({outcome.status})."
        if "text" in self.env.views and outcome.status in ("terminal", "horizon"):
            text = f"{self.env.view(self.seat, 'text').strip()}\n\n{text}"
        self._now = {
            "observation": text,
            "reward": float(outcome.totals[i]) - self._earned,
            "score": _first(outcome.score),
            "done": True,
            "available_actions": [],
            "status": outcome.status,
            "scores": {k: float(v) for k, v in outcome.score.items()},
            "world": outcome.world.hex(),
            "counts": outcome.counts.get(self.seat, {}),
        }
        self._turn.set()

    def _since(self) -> float:
        """What the seat earned since it was asked last."""
        total = float(self._episode.totals[self.env.seats.index(self.seat)])
        reward, self._earned = total - self._earned, total
        return reward


def shown(obs: Observation) -> str:
    """What a client is shown: news, then the text view."""
    said = [f"{m.src}: {m.body}" for m in obs.inbox]
    news = "\n".join(["Said to you:", *said]) + "\n\n" if said else ""
    return news + str(obs.view("text")).strip()


def read_action(text: Any, obs: Observation) -> Any:
    """The value of an action in words, or a `Fault`. JSON values of other kinds are taken as they are."""
    spec = obs.spec
    if not isinstance(text, str):
        return Fault("invalid", "an action is a text") if spec.kind in ("names", "text") else text
    if spec.kind == "text":
        return text
    if spec.kind == "names":
        folded = text.strip().casefold()
        return next((n for n in spec.names if n.casefold() == folded), text.strip())
    try:
        return find_json(text)
    except Unreadable as error:
        return Fault("invalid", str(error))


def _served(obs: Observation) -> dict[str, Any]:
    """What was played for the seat's last answer, where it was not the answer."""
    if obs.last is None or obs.last[1] == "own":
        return {}
    return {"origin": obs.last[1]}


def _first(score: Mapping[str, float]) -> float:
    return float(next(iter(score.values()), 0.0))


# -- the server --------------------------------------------------------------------------------------
class EnvServer:
    """Environments of one kind for clients. make: a fresh environment; seat: which is played over HTTP.

    others: seat -> agent for all other seats. at(block): the address of the next episode of a block;
    ended(address, outcome, seconds): told of each that is over; dropped(address): of each that is not and will not be.
    For one event loop.
    """

    def __init__(
        self,
        make: Callable[[], Env],
        seat: str,
        others: Mapping[str, Agent],
        root: int = 0,
        conduct: Conduct = Conduct(),  # noqa: B008 (frozen)
        limits: Limits = Limits(),  # noqa: B008 (frozen)
        *,
        at: Callable[[int | str], Block] | None = None,
        ended: Callable[[Block, Outcome, float], None] | None = None,
        dropped: Callable[[Block], None] | None = None,
    ) -> None:
        self._make, self.seat, self.others = make, seat, others
        self.root, self.conduct, self.limits = root, conduct, limits
        self.at, self.ended, self.dropped = at or (lambda block: Block(root, block)), ended, dropped
        self.probe = make()
        if seat not in self.probe.seats:
            raise CrossplayError(f"{self.probe.id}: no seat {seat!r}; it has {', '.join(self.probe.seats)}")
        if missing := [s for s in self.probe.seats if s != seat and s not in others]:
            raise CrossplayError(f"{self.probe.id}: nobody fills {', '.join(missing)}")
        if "text" not in self.probe.views:
            raise CrossplayError(f"{self.probe.id} has no text view, which this form shows")
        for name, agent in others.items():
            agent.check(self.probe, name)
        self.sessions: dict[int, Session] = {}
        self.left = 0  # episodes that their clients did not finish

    def app(self, host: str = "127.0.0.1", token: str = "") -> web.Application:
        """The aiohttp application, behind its checks."""
        from aiohttp import web

        guard = Guard(None, host, token)  # type: ignore[arg-type]

        @web.middleware
        async def checked(request: web.Request, handler: Any) -> web.StreamResponse:
            headers = {k.lower().encode(): v.encode("latin-1", "replace") for k, v in request.headers.items()}
            status, why = guard.verdict(headers)
            if not status:
                status, why = refuse_headers(request.method, headers)
            if status:
                return web.json_response({"error": why.strip()}, status=status)
            try:
                return web.json_response(await handler(request))
            except Bad as error:
                return web.json_response({"error": str(error)}, status=error.status)

        app = web.Application(middlewares=[checked], client_max_size=BODY)
        asked: dict[str, Callable[[web.Request], Awaitable[Any]]] = {
            "/": self._hello,
            "/observation": self._observation,
            "/available_actions": self._actions,
            "/detail": self._detail,
        }
        told: dict[str, Callable[[web.Request], Awaitable[Any]]] = {
            "/create": self._create,
            "/reset": self._reset,
            "/step": self._step,
            "/close": self._close,
        }
        for path, answer in asked.items():
            app.router.add_get(path, answer)
        for path, answer in told.items():
            app.router.add_post(path, answer)
        app.on_cleanup.append(self._end)
        return app

    # -- routes --------------------------------------------------------------------------------------
    async def _hello(self, _: web.Request) -> str:
        return f"This is environment {self.probe.name}."

    async def _create(self, request: web.Request) -> dict[str, Any]:
        body = await _body(request)
        await self._sweep()
        if len(self.sessions) >= self.limits.open:
            raise Bad(429, f"{len(self.sessions)} environments are open; close one")
        item = _item(body)
        session = Session(self._make(), self)
        # Nobody can guess it, so that no client plays another's environment; a double holds it.
        number = next(n for n in iter(lambda: secrets.randbelow(1 << 53), None) if n not in self.sessions)
        self.sessions[number] = session
        try:
            async with session.lock:
                return {"id": number, **await self._timed(session.reset(item))}
        except BaseException:  # its client never hears the id
            await self._drop(number)
            raise

    async def _reset(self, request: web.Request) -> dict[str, Any]:
        body = await _body(request)
        number, session = self._session(body)
        async with session.lock:
            return {"id": number, **await self._timed(session.reset(_item(body)))}

    async def _step(self, request: web.Request) -> dict[str, Any]:
        body = await _body(request)
        _, session = self._session(body)
        if "action" not in body:
            raise Bad(400, '"action" is missing')
        async with session.lock:
            return await self._timed(session.step(body["action"], body.get("say")))

    async def _close(self, request: web.Request) -> dict[str, Any]:
        number, _ = self._session(await _body(request))
        await self._drop(number)
        return {"closed": True}

    async def _observation(self, request: web.Request) -> str:
        found: str = self._session(request.query)[1].now()["observation"]
        return found

    async def _actions(self, request: web.Request) -> list[str]:
        found: list[str] = self._session(request.query)[1].now()["available_actions"]
        return found

    async def _detail(self, request: web.Request) -> dict[str, Any]:
        number, session = self._session(request.query)
        env = session.env
        # No root and no options, which give the world's chance away, and nothing of the other agents.
        told = {"id": number, "env": game_of(env.id), "seat": self.seat, "data_idx": session.block}
        schema = env.spec(self.seat).json_schema()
        return {**told, "rules": env.rules, "items": env.items, "action": schema, **session.now()}

    # -- sessions ------------------------------------------------------------------------------------
    def _session(self, given: Mapping[str, Any]) -> tuple[int, Session]:
        key = given.get("id", given.get("env_idx"))
        try:
            number = int(str(key))
            session = self.sessions[number]
        except (TypeError, ValueError):
            raise Bad(400, '"id" is missing or no number') from None
        except KeyError:
            raise Bad(404, f"no environment {number} is open") from None
        session.used = time.monotonic()
        return number, session

    async def _timed(self, call: Any) -> dict[str, Any]:
        try:
            async with asyncio.timeout(self.limits.step_s):
                found: dict[str, Any] = await call
        except TimeoutError:
            raise Bad(504, f"the other seats took more than {self.limits.step_s:g} s") from None
        return found

    async def _sweep(self) -> None:
        """Close what nobody has used for long."""
        now = time.monotonic()
        for number, session in list(self.sessions.items()):
            if now - session.used > self.limits.idle_s and not session.lock.locked():
                await self._drop(number)

    async def _drop(self, number: int) -> None:
        """Forget an environment."""
        session = self.sessions.pop(number, None)
        if session is not None:
            await session.stop()
            session.env.close()

    async def _end(self, _: Any) -> None:
        for number in list(self.sessions):
            await self._drop(number)


async def _body(request: web.Request) -> dict[str, Any]:
    """The JSON object of a request ({} for none)."""
    from aiohttp import web

    try:
        raw = await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise Bad(413, f"a body has {BODY} bytes at most") from None
    status, why = refuse_body(raw)
    if status:
        raise Bad(status, why)
    try:
        body = msgspec.json.decode(raw) if raw.strip() else {}
    except (msgspec.DecodeError, RecursionError) as error:
        raise Bad(400, f"the body is not JSON ({error})"[:200]) from None
    if not isinstance(body, dict):
        raise Bad(400, "the body must be a JSON object")
    return body


def _item(body: Mapping[str, Any]) -> int | str:
    """Which block a client wants."""
    found = next((body[name] for name in ITEMS if body.get(name) is not None), 0)
    if isinstance(found, str) and 0 < len(found) <= 200:
        return found
    if not isinstance(found, int) or isinstance(found, bool) or not -(1 << 62) < found < 1 << 62:
        raise Bad(400, f"data_idx = {found!r} is neither a whole number nor an id")
    return found


@contextlib.asynccontextmanager
async def serving_env(server: EnvServer, host: str = "127.0.0.1", port: int = 0, token: str = "") -> Any:
    """The address of the server, which runs while the context is open. port 0: any free one."""
    from aiohttp import web

    runner = web.AppRunner(server.app(host, token), access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            problem = CrossplayError(f"cannot serve at {host}:{port}: {error.strerror or error}")
            problem.exit_code = 3
            raise problem from None
        [(bound, number, *_)] = runner.addresses[:1]
        yield f"http://{f'[{bound}]' if ':' in bound else bound}:{number}"
    finally:
        await runner.cleanup()
