"""Environments behind HTTP servers in the form of AgentGym: `agentgym:http://127.0.0.1:36001`.

One seat that answers with texts. The servers' form (https://github.com/WooooDyy/AgentGym) comes in two dialects:
most call an environment "id" and a state "observation"; some (webshop, sqlgym, the tool environments) call them
"env_idx" and "state". Which one is spoken is seen from the answer to create. The field that names the item
differs (data_idx, game, session_id, item_id, seed, id): option `item`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import urlencode, urlsplit

from crossplay.envs._options import option_schema, settle
from crossplay.envs.adapters._foreign import Foreign, seed31
from crossplay.kernel.env import Ended, Env
from crossplay.kernel.types import ActionSpec, CrossplayError, pack, unpack
from crossplay.wire import is_loopback, without

__all__ = ["AgentGymEnv", "family"]

LARGEST = 16 << 20
"""Bytes of an answer at most."""

SCHEMA = option_schema(
    {
        "label": {"type": "string", "default": "", "description": "Name of the environment, so that its id does not depend on the address."},
        "horizon": {"type": "integer", "minimum": 1, "default": 30, "description": "Steps after which the episode is cut."},
        "items": {"type": "integer", "minimum": 0, "default": 0, "description": "How many items the server has; 0: any index is good."},
        "item": {"type": "string", "default": "data_idx", "description": "The field of reset that holds the item's index."},
        "reset": {"type": "object", "default": {}, "description": "Further fields of reset, e.g. world_type."},
        "create": {"type": "object", "default": {}, "description": "Fields of create."},
        "score": {"enum": ["last", "sum", "max"], "default": "last", "description": "What the score is of the rewards."},
        "rules": {"type": "string", "default": "", "description": "What the seat is told before it plays."},
        "max_len": {"type": "integer", "minimum": 1, "default": 4096, "description": "Characters of an action at most."},
        "seconds": {"type": "number", "minimum": 0.01, "default": 60.0, "description": "That one answer of the server may take."},
        "token_env": {"type": "string", "default": "", "description": "Environment variable that holds a bearer token."},
    }
)  # fmt: skip
OUTSIDE = ("seconds", "token_env", "label")
"""Options that change how the server is reached, and not the game."""


class Server:
    """The HTTP side: one request after the other, each on a connection of its own."""

    def __init__(self, url: str, seconds: float = 60.0, token: str = "") -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise CrossplayError(f'agentgym: "{url}" is no address; say agentgym:http://HOST:PORT')
        self.title = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}"
        self._secure, self._host, self._port = parts.scheme == "https", parts.hostname, parts.port
        self._path, self._seconds, self._token = parts.path.rstrip("/"), seconds, token

    def post(self, route: str, body: Mapping[str, Any]) -> Any:
        """The answer to a POST of JSON."""
        return self._ask("POST", route, json.dumps(body).encode())

    def get(self, route: str, **query: Any) -> Any:
        """The answer to a GET."""
        return self._ask("GET", f"{route}?{urlencode(query)}", None)

    def _ask(self, method: str, route: str, body: bytes | None) -> Any:
        kind = http.client.HTTPSConnection if self._secure else http.client.HTTPConnection
        line = kind(self._host, self._port, timeout=self._seconds)
        headers = {"Accept": "application/json", "Connection": "close"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        where = f"{self.title}/{route.partition('?')[0]}"
        late: list[bool] = []
        try:
            line.connect()
            with _limit(line.sock, self._seconds, late):
                line.request(method, f"{self._path}/{route}", body, headers)
                answer = line.getresponse()
                raw = answer.read(LARGEST + 1)
        except (OSError, http.client.HTTPException) as error:
            what = f"no answer within {self._seconds:g} s" if late else f"{type(error).__name__}: {error}"
            raise _outside(without(self._token, f"{where}: {what}")) from error
        finally:
            line.close()
        if late:
            raise _outside(f"{where}: no answer within {self._seconds:g} s")
        if len(raw) > LARGEST:
            raise _outside(f"{where}: an answer of more than {LARGEST} bytes")
        try:
            found = without(self._token, json.loads(raw))
        except (ValueError, RecursionError):
            start = without(self._token, raw)[:80]
            raise _outside(f"{where}: HTTP {answer.status} and no JSON ({start!r})") from None
        failed = found.get("error") if isinstance(found, dict) else None
        if answer.status != 200 or failed is not None:
            raise _outside(f"{where}: HTTP {answer.status}: {str(failed or found)[:300]}")
        return found


class AgentGymEnv(Foreign):
    """One environment of a server, made when it is first reset. Its chance is the server's."""

    seats = ("agent",)
    views = ("data", "text")
    exact = False
    metrics = {
        "score": "What the server gave for the episode: its last reward, their sum or their greatest, as chosen",
        "reward_sum": "Sum of the rewards",
        "done": "1 where the server ended the episode, 0 where it was cut",
    }

    def __init__(self, url: str, options: Mapping[str, Any]) -> None:
        super().__init__()
        full, off = settle(f"agentgym:{url}", SCHEMA, options)
        token = os.environ.get(full["token_env"], "") if full["token_env"] else ""
        if full["token_env"] and not token:
            raise CrossplayError(f"agentgym:{url}: the environment variable {full['token_env']} holds no token")
        self._server = Server(url, full["seconds"], token)
        self.name = f"agentgym/{full['label']}" if full["label"] else f"agentgym:{self._server.title}"
        self.options = {k: v for k, v in off.items() if k not in OUTSIDE}
        self.horizon = full["horizon"]
        self.items = full["items"] or None
        self._given = full
        self.rules = full["rules"]
        self._spec = ActionSpec("text", max_len=full["max_len"])
        self._id_field, self._number = "", -1
        self._clear(0)

    def _clear(self, item: Any) -> None:
        self._item, self._text = item, ""
        self._actions: list[str] = []
        self._told, self._done, self._ticks = 0.0, False, 0
        self._sum, self._most, self._ended = 0.0, 0.0, None

    # -- the game ------------------------------------------------------------------------------------
    def reset(self, key: bytes, task: Any = None) -> None:
        """Start the item that the task names; without a list of items, the one that 31 bits of the key name."""
        self._clear(seed31(key) if task is None else task)
        self.key, self._log, self._rewards = key, [], (0.0,)
        self._start(0)

    def _start(self, seed: int) -> None:
        if self._number < 0:
            self._create()
        if self._given["item"] == self._id_field:
            raise CrossplayError(f'{self.name}: item = "{self._id_field}" is what this server calls the environment')
        wanted = {self._id_field: self._number, self._given["item"]: self._item, **self._given["reset"]}
        found = self._server.post("reset", wanted)
        if isinstance(found, list):  # (state, info) of the other dialect
            found = {"observation": found[0] if found else None}
        if isinstance(found, str):
            found = {"observation": found}
        text = _text(found)
        if text is None:
            text = self._server.get("observation", **{self._id_field: self._number})
        about = found.get("task_description")
        told = [t for t in (self._given["rules"], about if isinstance(about, str) else "") if t.strip()]
        self.rules = "\n\n".join(told)
        self._take(text, found)

    def _create(self) -> None:
        """A new environment of the server's; its answer shows which dialect it speaks."""
        found = self._server.post("create", self._given["create"])
        number = found.get("id") if isinstance(found, dict) else found
        if not isinstance(number, int) or isinstance(number, bool):
            raise _outside(f"{self._server.title}/create: no id in {str(found)[:100]}")
        self._id_field, self._number = "id" if isinstance(found, dict) else "env_idx", number

    def to_act(self) -> tuple[str, ...]:
        """The one seat."""
        return () if self.ended() else self.seats

    def ended(self) -> Ended:
        """As the server says, or the horizon."""
        if self._done:
            return "terminal"
        return "horizon" if self.horizon is not None and self._ticks >= self.horizon else None

    def spec(self, seat: str) -> ActionSpec:
        """A text."""
        return self._spec

    def _advance(self, actions: Mapping[str, Any]) -> Sequence[float]:
        found = self._server.post("step", {self._id_field: self._number, "action": actions["agent"]})
        if not isinstance(found, dict):
            raise _outside(f"{self._server.title}/step: expected an object, got {str(found)[:100]}")
        reward = found.get("reward", 0.0)
        earned = self._number_of("reward", reward)
        score = found.get("score", reward)
        score = int(score) if isinstance(score, bool) else score
        self._told = self._number_of("score", score) if isinstance(score, (int, float)) else earned
        self._ticks += 1
        self._sum += earned
        self._most = earned if self._ticks == 1 else max(self._most, earned)
        self._done = bool(found.get("done", False))
        self._take(_text(found), found)
        return (earned,)

    def _number_of(self, name: str, value: Any) -> float:
        """A finite number of the server's."""
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= sys.float_info.max:
            raise _outside(f"{self._server.title}/step: {name} = {str(value)[:60]}")
        return float(value)

    def _take(self, text: Any, found: Mapping[str, Any]) -> None:
        """Keep what is seen now."""
        if not isinstance(text, str):
            raise _outside(f"{self._server.title}: no observation in {str(found)[:100]}")
        self._text = text
        actions = found.get("available_actions", [])
        self._actions = [str(a) for a in actions] if isinstance(actions, list) else []

    def score(self) -> Mapping[str, float]:
        """See `metrics`."""
        chosen = {"last": self._told, "sum": self._sum, "max": self._most}[self._given["score"]]
        return {"score": chosen, "reward_sum": self._sum, "done": float(self._done)}

    # -- views ---------------------------------------------------------------------------------------
    def data(self, seat: str) -> Any:
        """What the server showed."""
        return {"observation": self._text, "available_actions": self._actions, "step": self._ticks}

    def view_text(self, data: Any) -> str:
        """The observation, and the actions that the server offers."""
        listed = data["available_actions"]
        more = "\n".join(["Possible now:", *(f"- {a}" for a in listed)]) if listed else ""
        return f"{data['observation']}\n\n{more}".strip()

    def omits(self, view: str) -> str:
        """The text does not count steps."""
        return "the number of steps" if view == "text" else ""

    def text(self) -> str:
        """The seat's view: nobody else knows more."""
        return self.view_text(self.data("agent"))

    def _native(self) -> Any:
        return [self._text, self._actions, self._told, self._done]

    # -- engine --------------------------------------------------------------------------------------
    def snapshot(self) -> bytes:
        """The item and all actions so far."""
        return pack((self.key, self._item, self._log))

    def restore(self, snapshot: bytes) -> None:
        """Start the item again and play the recorded actions, as well as the server repeats itself."""
        key, item, log = unpack(snapshot)
        self.reset(key, item)
        for values in log:
            self.step({"agent": values[0]}, ())

    def close(self) -> None:
        """Tell the server, which need not listen: not every one has such a route."""
        number, self._number = self._number, -1
        if number >= 0:
            try:
                self._server.post("close", {self._id_field: number})
            except CrossplayError:
                return


def _text(found: Mapping[str, Any]) -> Any:
    """The observation in an answer, under the name of either dialect."""
    return found.get("observation", found.get("state"))


@contextlib.contextmanager
def _limit(sock: socket.socket, seconds: float, late: list[bool]) -> Iterator[None]:
    """Hang up after so many seconds, and write it into `late`: the time-out of a socket begins anew with every byte."""

    def hang_up() -> None:
        late.append(True)
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _outside(text: str) -> CrossplayError:
    problem = CrossplayError(text)
    problem.exit_code = 3
    return problem


class _Family:
    summary = "An environment behind an HTTP server in the form of AgentGym: agentgym:http://HOST:PORT."

    def names(self) -> Sequence[str]:
        """Open-ended: wherever a server is."""
        return ()

    def code(self, rest: str) -> bool:
        """Whether the name leads beyond this machine, where only a command line may send what is played."""
        return not is_loopback(urlsplit(rest).hostname)

    def make(self, rest: str, options: Mapping[str, Any]) -> Env:
        """A fresh environment; the server is asked when it is reset."""
        return AgentGymEnv(rest, options)

    def batch(self, rest: str, width: int, options: Mapping[str, Any]) -> None:
        """There is no array form."""

    def schema(self, rest: str) -> dict[str, Any]:
        """JSON schema of the options."""
        return SCHEMA


family = _Family()
