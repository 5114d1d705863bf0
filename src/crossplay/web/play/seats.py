"""`Seat` and `Person`: somebody at the page in a seat, as an agent of the engine; what they are shown, what became of each key.

A seat belongs to a room and lives on the event loop of the server. A person sees exactly the views of the seat
(`Shot` holds its data, views are made of that), and answers through `Seat.answer`. Every answer that arrives
has one fate, counted in `Tally`: nothing is lost, nothing replaced silently.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import secrets
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from crossplay.agents.open_turn import MESSAGES, WORDS, Refused, Turn, read_answer, turn_of
from crossplay.kernel import Action, Agent, Env, Fault, Held, Msg, Observation, Stale

if TYPE_CHECKING:
    from crossplay.web.play.lines import Line

__all__ = ["SPAN", "Person", "Seat", "Shot", "Tally", "hashed", "turn_number"]

SPAN = 1_000_000
"""Turn numbers: episode * SPAN + tick."""
HEARD = 200
"""Messages of an episode that somebody who comes back is told again."""


class Tally(msgspec.Struct):
    """What became of the answers that came to a seat: received = played + replaced + refused + over + those open.

    replaced: a newer one of the same tick came before the tick was played (clock tick). refused: wrong, foreign, not
    at this seat's turn, or too fast. over: the tick, the episode or the sitting ended before it could be played.
    """

    received: int = 0
    played: int = 0
    replaced: int = 0
    refused: int = 0
    over: int = 0


class Shot(msgspec.Struct, frozen=True):
    """What a seat may know at one moment: `data`, of which all its views are made.

    number: of the open turn, 0 where it is not this seat's. facts: what stands beside the views. picture, text:
    of the whole world, for the owner who watches; nothing of a seat.
    """

    tick: int
    env: Env
    data: Any
    number: int
    facts: dict[str, Any]
    picture: Any = None
    text: str = ""
    world: bool = False


def turn_number(episode: int, tick: int) -> int:
    """The number of a seat's turn at a tick of the room's episode, counted from 1. Always above 0."""
    return episode * SPAN + tick


def hashed(token: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


class Person(Agent):
    """Somebody at the page. seat: where they sit; None where the agent is only described."""

    kind = "human"
    deterministic = False
    views = ("image", "text", "data")

    def __init__(self, name: str, seat: Seat | None = None) -> None:
        self.name, self.seat = name, seat

    def manifest(self) -> dict[str, Any]:
        """What a run keeps: that it was a person, at the page. Nothing about who."""
        return {"kind": self.kind, "name": self.name, "views": list(self.views), "front": {"type": "page"}}

    async def act(self, obs: Observation) -> Action | Fault:
        """The person's answer, at the clocks that wait for one."""
        if self.seat is None:
            return Fault("error", "nobody can sit here: the seat is at no page")
        return await self.seat.answered(obs)

    def latest(self, obs: Observation) -> Action | None:
        """The newest key since the last tick, or None (held): at the clock `tick`."""
        return None if self.seat is None else self.seat.newest(obs)


class Seat:
    """A seat of a room.

    person: whether a person is waited for here. taken: whether somebody has taken it from its agent for now. agent: who
    plays where no person does. stands_in: whether that agent plays in the place of a person who is gone for good.
    asks: whether they are asked for consent. ready, consent: as said with this link. line: the connection of whoever sits here, None while nobody is.
    """

    def __init__(self, name: str, person: bool, agent: str, asks: bool = False) -> None:
        self.name, self.person, self.agent, self.asks = name, person, agent, asks
        self.taken = self.stands_in = self.ready = self.consent = False
        self.token = ""  # its hash
        self.line: Line | None = None
        self.player = Person("person", self)
        self.pace = "wait"
        self.tally = Tally()
        self.heard: deque[dict[str, Any]] = deque(maxlen=HEARD)
        self.shot: Shot | None = None  # what is shown now, for whoever comes (back)
        self.turn: Turn | None = None
        self._obs: Observation | None = None  # of the open turn
        self.audience: tuple[str, ...] = ()
        self._waiting: asyncio.Future[Any] | None = None
        self._given: tuple[int, Any] | None = None  # (turn, value) accepted; kept until another turn opens
        self._counted = 0  # the turn whose answer was counted as played
        self._played: tuple[Action, dict[str, int]] | None = None  # of that turn, in case it is asked again
        self._words: list[Msg] = []
        self._extra: dict[str, int] = {}  # to be counted in the record with the next answer

    # -- who may sit here --------------------------------------------------------------------------------
    def invite(self) -> str:
        """A new token; the one before is worth nothing from now on. Whoever comes with it has agreed to nothing yet."""
        token = secrets.token_urlsafe(18)
        self.token, self.ready, self.consent = hashed(token), False, False
        return token

    def dismiss(self, code: int, why: str) -> None:
        """Whoever sits here goes: their link opens nothing any more, and what they had not said yet is not said."""
        self.token, self.ready, self.consent, self.shot = "", False, False, None
        self._words = []
        if self.line is not None:
            self.line.close(code, why)
            self.line = None

    def knows(self, token: str) -> bool:
        """Whether this is the seat's token."""
        return bool(self.token) and hmac.compare_digest(hashed(token), self.token)

    @property
    def manned(self) -> bool:
        """Whether a person plays here now, connected or not."""
        return self.person or self.taken

    @property
    def comes(self) -> bool:
        """Whether somebody who took the seat from its agent is here to play, and has agreed to do so."""
        return self.taken and self.line is not None and (self.consent or not self.asks)

    # -- the engine's side -------------------------------------------------------------------------------
    def open(self, obs: Observation, episode: int, total: float) -> Turn:
        """A turn of the seat begins."""
        number = turn_number(episode, obs.tick)
        if self.turn is None or self.turn.id != number:
            self._drop()
        self.turn, self._obs = turn_of(obs, number, episode, total, ()), obs
        self.sees()
        self.audience = self.turn.audience
        if self.pace != "tick":
            self._waiting = asyncio.get_running_loop().create_future()
            if self._given is not None and self._given[0] == number:
                self._waiting.set_result(self._given[1])  # asked again after a handover elsewhere: it stands
        for said in self.turn.inbox:
            self.hear(said)
        return self.turn

    def close_turn(self) -> None:
        """It is not this seat's turn (any more)."""
        self._drop()
        self.turn = self._waiting = self._obs = None

    def sees(self) -> None:
        """Note in the record of the open turn what whoever sits here is shown of it first; "" while nobody looks."""
        if self._obs is None:
            return
        shown = (*self.line.views, "image", "text", "data") if self.line is not None else ()
        self._obs.view_used = next((v for v in shown if v in self._obs.views), "")

    def _drop(self) -> None:
        """An answer that was accepted and can no longer be played."""
        if self._given is not None and self._counted != self._given[0]:
            self.tally.over += 1
        self._given = None

    @property
    def has_answered(self) -> bool:
        """Whether an answer to the open turn was accepted."""
        return self.turn is not None and self._given is not None and self._given[0] == self.turn.id

    def now(self) -> Shot | None:
        """What is shown now, for whoever comes (back): the time that is left and what was answered are of this moment."""
        shot, turn = self.shot, self.turn
        if shot is None or turn is None or shot.number != turn.id:
            return shot
        facts = {**shot.facts, "answered": self.has_answered}
        if self.pace == "deadline":
            facts["left"] = turn.left()
        return msgspec.structs.replace(shot, facts=facts)

    def hear(self, said: dict[str, Any]) -> None:
        """Keep and tell what somebody said to this seat."""
        self.heard.append(said)
        if self.line is not None:
            self.line.tell({"kind": "heard", **said})

    async def answered(self, obs: Observation) -> Action:
        """The answer to the open turn, as soon as it comes."""
        turn, waiting = self.turn, self._waiting
        if turn is None or waiting is None or turn.tick != obs.tick:
            raise RuntimeError(f"seat {self.name}: asked at tick {obs.tick} without being shown it")
        try:
            value = await asyncio.shield(waiting)
        except asyncio.CancelledError:
            late = int(waiting.done() and self.pace == "deadline")  # it came when the time was just over
            self._count(obs, **({"late": 1} if late else {}))
            raise
        return self._play(obs, turn, value)

    def newest(self, obs: Observation) -> Action | None:
        """What came last since the tick began; None where nothing did."""
        turn, given = self.turn, self._given
        if turn is None or given is None or turn.tick != obs.tick:
            return self._spoken(obs)
        return self._play(obs, turn, given[1])

    def _play(self, obs: Observation, turn: Turn, value: Any) -> Action:
        if self._counted == turn.id and self._played is not None:  # asked again after a handover elsewhere
            action, extra = self._played
            self._count(obs, **extra)
            return action
        self._counted, extra = turn.id, dict(self._extra)
        self.tally.played += 1
        self._count(obs)
        said, self._words = self._words, []
        self._played = Action(value, said), extra
        return self._played[0]

    def _spoken(self, obs: Observation) -> Action | None:
        """Words without a key: they are said, and the move is held."""
        self._count(obs)
        if not self._words:
            return None
        said, self._words = self._words, []
        return Action(Held(), said)

    def _count(self, obs: Observation, **more: int) -> None:
        """Into the record of the episode, as far as it still takes any."""
        counts, self._extra = {**self._extra, **more}, {}
        with contextlib.suppress(Stale):
            for name, n in counts.items():
                obs.count(name, n)

    # -- the person's side -------------------------------------------------------------------------------
    def answer(self, number: int, value: Any) -> None:
        """Answer a turn. Raises `Refused`, which changes nothing.

        At the clock `tick` a late key counts for the next tick: it may name an earlier turn of this episode, and a
        newer key of the same tick takes the place of an older one.
        """
        self.tally.received += 1
        try:
            self._accept(number, value)
        except Refused:
            self.refuse()
            raise

    def refuse(self, received: int = 0) -> None:
        """Count an answer that was not taken. received: 1 where it is not counted as received yet."""
        self.tally.received += received
        self.tally.refused += 1
        self._extra["refused"] = self._extra.get("refused", 0) + 1

    def _accept(self, number: int, value: Any) -> None:
        turn = self.turn
        if turn is None or not self.manned:
            raise Refused("it is not your turn.")
        self._check_consent()
        same = number // SPAN == turn.id // SPAN
        if number != turn.id and not (self.pace == "tick" and same and number < turn.id):
            raise Refused(f"turn {number} is not open; turn {turn.id} is.")
        read = read_answer(turn, value)
        if self.pace != "tick":
            if self._waiting is None or self._waiting.done():
                raise Refused("you have answered this turn already.")
            self._given = (turn.id, read)
            self._waiting.set_result(read)
            return
        if self._given is not None:
            self.tally.replaced += 1
            self._extra["replaced"] = self._extra.get("replaced", 0) + 1
        self._given = (turn.id, read)

    def _check_consent(self) -> None:
        """Nobody plays who was not asked, also where the owner began without them."""
        if self.asks and not self.consent:
            raise Refused("please read the text and agree to it first.")

    def say(self, text: str, to: str = "*") -> None:
        """Say something with the next move (at the clock `tick`: with the next tick). Raises `Refused`."""
        if not self.manned:
            raise Refused("you do not sit here now.")
        self._check_consent()
        if not self.audience:
            raise Refused("nobody can hear this seat now.")
        if to != "*" and to not in self.audience:
            raise Refused(f'"{to[:40]}" cannot hear this seat; who can: {", ".join(self.audience)}, or * for all.')
        if not text.strip() or len(text) > WORDS:
            raise Refused(f"a message has 1 to {WORDS} characters.")
        if len(self._words) >= MESSAGES:
            raise Refused(f"at most {MESSAGES} messages a turn.")
        self._words.append(Msg(to, text))

    def waiting_words(self) -> Sequence[Msg]:
        """What will be said with the next move."""
        return self._words

    def fresh(self, pace: str) -> None:
        """Another episode begins."""
        self.close_turn()
        self.pace, self.shot, self.audience = pace, None, ()
        self._counted, self._played, self._words, self._extra = 0, None, [], {}
        self.heard.clear()
