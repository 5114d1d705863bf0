"""`Room`: people and agents play the episodes of a study together, on the event loop of the server.

    room = await Room.create(desk, RoomSpec(environment="kitchen/cramped_room", seats={"p0": "person"}))
    token = room.invite("p0")                     # the link of a person; again: a new one, the old one is worth nothing
    line = room.join("p0", token, views=["image"])  # a connection; `await line.next()` gives what is to be sent
    room.ready("p0", consent=True)                # when all have said so, it starts (or `room.start()`)
    room.answer("p0", turn, value)                # raises `Refused`; `room.say("p0", text)`
    room.leave(line)                              # the seat waits for its person, or the conduct serves
    room.watch(views)                             # a connection that sees the whole world: the owner's
    room.take("p1"); room.give_back("p1")         # a person in the seat of an agent, from the next tick on, and back
    await room.hand_over("p0", "chef")            # an agent in the place of a person who is gone for good
    await room.closed(); room.close()             # the end of all; the end now

Episodes are driven by the engine's own driver (playing.py, driving.py) and committed through the same functions as those of
any study, so a run that people played is a run like any other. All methods are called on the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from crossplay.agents.facets import described
from crossplay.kernel import Agent, Episode
from crossplay.kernel.conduct import parse_clock
from crossplay.records import EpisodeRecord
from crossplay.study.spec import AgentSpec, Cell
from crossplay.web.desk import Conflict, Desk, Forbidden, NotFound
from crossplay.web.play.clock import Beat
from crossplay.web.play.keeping import Keeping
from crossplay.web.play.lines import Line
from crossplay.web.play.playing import Playing
from crossplay.web.play.record import (
    SEATED,
    Game,
    Keeper,
    Kept,
    KeptSeat,
    RoomSpec,
    Shelved,
    allowed,
    name_for,
    new_game,
    reopened,
)
from crossplay.web.play.seats import Seat
from crossplay.web.play.shown import told, world
from crossplay.web.play.threaded import threaded

__all__ = ["OVER", "Room", "Status"]

Status = Literal["waiting", "starting", "playing", "between", "over", "stopped"]
OVER = ("over", "stopped")
AGAIN = "somebody else sits here now: the link was opened in another place"


class Room:
    """A room. status: waiting (for people), starting (countdown), playing, between (two episodes), over, stopped.

    game: the episodes. seats: by name. folder: the run's. why: what stopped it; broken: what people in seats are told
    instead. on_record: called with each record after its commit.
    """

    def __init__(
        self,
        name: str,
        game: Game,
        spec: RoomSpec,
        *,
        keep: bool | Keeper = True,
        shelved: Shelved | None = None,
        on_record: Callable[[EpisodeRecord], Any] | None = None,
    ) -> None:
        """keep: whether it can go on after a kill, or who keeps what that needs. shelved: from where the first episode goes on.
        The seats for people are those of the first episode's cell.
        """
        self.name, self.game, self.spec, self.on_record = name, game, spec, on_record
        first = game.plays[0].cell if game.plays else game.stage.cells[0]
        self.env = game.stage.probes[first.env]
        self.seats = {s: Seat(s, False, "", bool(spec.consent)) for s in self.env.seats}
        self.stand_ins: dict[str, dict[str, Any]] = {}  # seat -> the agent (name, table, manifest) in a person's place
        self.status: Status = "waiting"
        self.why = self.broken = ""
        self.watchers: set[Line] = set()
        self.watched = False  # whether somebody saw the whole world in this episode
        self.number = 0  # of the episode, from 1
        self.results: list[dict[str, Any]] = []
        self.final = False  # closed for good: nobody is offered to go on
        self.made = time.time()
        self.beat: Beat | None = None
        self.lay(first)
        keeper = keep if isinstance(keep, Keeper) else Keeper(game.run.path) if keep else None
        self.keeping = Keeping(keeper, self.kept, self._shelf)
        self._agents: dict[str, Agent] = {}
        self._playing = Playing(self, shelved)
        self._task: asyncio.Task[None] | None = None
        self.news = asyncio.Event()  # set whenever the status may have changed

    # -- making ----------------------------------------------------------------------------------------------
    @classmethod
    async def create(cls, desk: Desk, spec: RoomSpec, **options: Any) -> Room:
        """A room with a study and a run folder of its own below the served folder. Raises `CrossplayError` that names what is wrong."""
        room = cls(secrets.token_hex(4), await asyncio.to_thread(new_game, desk.root, spec), spec, **options)
        await asyncio.to_thread(room.keeping.save)
        return room

    @classmethod
    async def reopen(cls, folder: Path, kept: Kept, **options: Any) -> Room:
        """A room that was cut off, as it was at its last snapshot; people come back with their links."""
        game, shelved = await asyncio.to_thread(reopened, folder)
        room = cls(kept.room, game, kept.spec, shelved=shelved, **options)
        room.number = len(game.stage.cells[0].blocks) * game.stage.study.replicates - len(game.plays)
        try:
            for name, seat in room.seats.items():
                known = kept.seats.get(name, KeptSeat())
                if known.stands_in:
                    await room._stand_in(seat, known.stands_in)
                seat.token, seat.consent = known.token, known.consent
                seat.taken = known.taken and not seat.person
        except BaseException:
            await room._release()
            raise
        if not game.plays:  # it was killed between its last commit and its end
            room.end("over", "")
            await room.put_away()
        return room

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.game.run.path

    @property
    def episode(self) -> Episode | None:
        """The episode that is being played, as the engine has it."""
        return self._playing.driven.episode if self._playing.driven is not None else None

    @property
    def episodes(self) -> int:
        """How many there are, with those that are over."""
        return self.number + len(self.game.plays) - (self._playing.now is not None)

    # -- the waiting room --------------------------------------------------------------------------------------
    def seat(self, name: str) -> Seat:
        """A seat by name; `NotFound` otherwise."""
        if name not in self.seats:
            raise NotFound(f"this room has no such seat; it has {', '.join(self.seats)}")
        return self.seats[name]

    def invite(self, name: str) -> str:
        """A new token for a person's seat; the one before is worth nothing from now on, and who comes is asked for consent anew."""
        seat = self.seat(name)
        if not seat.manned:
            raise Conflict(f"an agent plays {name}; take the seat over instead")
        if seat.line is not None:
            seat.line.close(4003, "another link was made for this seat")
            seat.line = None
        token = seat.invite()
        self.changed()
        return token

    def check(self, name: str, token: str) -> Seat:
        """The seat of this name, for whoever holds its token. `Forbidden` otherwise."""
        seat = self.seats.get(name)
        if seat is None or not seat.knows(token):
            raise Forbidden("this link is not valid for a seat of this room (any more)")
        return seat

    def join(self, name: str, token: str, views: Sequence[str] = ()) -> Line:
        """A connection of whoever holds the seat's token; an older one of the same seat ends. `Forbidden` otherwise."""
        seat = self.check(name, token)
        if seat.line is not None:
            seat.line.close(4002, AGAIN)
        seat.line = line = Line(views)
        seat.sees()
        self._hand(seat)
        line.tell(self.told(name))
        for said in seat.heard:
            line.tell({"kind": "heard", **said})
        if (shot := seat.now()) is not None:
            line.show(shot)
        elif self.episode is not None and self.status == "playing":
            self._playing.show(self.episode, seat, None)  # whoever takes a seat sees where it stands before they play
        self.changed(but=line)
        return line

    def watch(self, views: Sequence[str] = ()) -> Line:
        """A connection that sees the whole world. Noted in the record of every episode that is watched."""
        line = Line(views)
        line.tell(self.told())
        if self.status in OVER:
            for result in self.results[-1:]:
                line.tell(result)
            self._farewell(line)
            return line
        self.watchers.add(line)
        if self.episode is not None and self.status == "playing":
            self.watched = True
            line.show(world(self, self.episode.env, self.episode.tick, list(self.episode.totals)))
        return line

    def look(self, line: Line, views: Sequence[str], name: str = "") -> None:
        """Show other views from now on, and the moment anew. name: of the line's seat."""
        line.look(views)
        seat = self.seats.get(name)
        if seat is not None and seat.line is line:
            seat.sees()
            if (shot := seat.now()) is not None:
                line.show(shot)

    def leave(self, line: Line) -> None:
        """A connection is gone. Nobody is replaced: the seat waits for its person, or the conduct serves."""
        line.close()
        self.watchers.discard(line)
        for seat in self.seats.values():
            if seat.line is line:
                seat.line = None
                if self.status in ("waiting", "between"):
                    seat.ready = False
                self.changed()

    def ready(self, name: str, ready: bool = True, consent: bool = False) -> None:
        """Somebody is ready (or not) for the next episode, and agrees to the text of consent.

        Whoever has taken a seat from its agent plays from the next tick on after they have agreed.
        """
        seat = self.seat(name)
        if ready and seat.asks and not (seat.consent or consent):
            raise Conflict("please read the text and agree to it, or leave the page")
        seat.consent = seat.consent or (ready and consent)
        if self.status in ("waiting", "between"):
            seat.ready = ready
        self._hand(seat)
        self.changed()
        if ready:
            self._start_if_ready()

    def all_ready(self) -> bool:
        """Whether all people are here and ready."""
        return all(s.ready and s.line is not None for s in self.seats.values() if s.person)

    def start(self) -> None:
        """Begin, or go on with the next episode. Seats without a person play by the conduct at once, or wait."""
        if self.status not in ("waiting", "between"):
            return
        self.status = "starting"
        self.news.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._playing.run(), name=f"room {self.name}")
        self.changed()

    def _start_if_ready(self) -> None:
        if self.status in ("waiting", "between") and self.all_ready():
            self.start()

    # -- play --------------------------------------------------------------------------------------------------
    def answer(self, name: str, turn: int, value: Any) -> None:
        """Answer a seat's turn. Raises `Refused` (crossplay.agents.open_turn), which changes nothing and is counted."""
        self.seat(name).answer(turn, value)

    def say(self, name: str, text: str, to: str = "*") -> None:
        """Say something with the seat's next move. Raises `Refused`."""
        seat = self.seat(name)
        seat.say(text, to)
        if seat.line is not None:
            seat.line.tell({"kind": "said", "to": to, "body": text})

    def take(self, name: str) -> str:
        """Take the seat of an agent: the token for it. From the tick after whoever holds it has come, they play."""
        seat = self.seat(name)
        if seat.person:
            raise Conflict(f"{name} is a person's seat; make a new link for it instead")
        if seat.taken:
            raise Conflict(f"somebody has taken {name} already")
        if self.status in OVER:
            raise Conflict("the room is closed")
        seat.taken = True
        token = seat.invite()
        self.changed()
        return token

    def give_back(self, name: str) -> None:
        """Hand a taken seat back to its agent: from the next tick on, or for this very turn where the clock waits for it."""
        seat = self.seat(name)
        if seat.person or not seat.taken:
            raise Conflict(f"nobody has taken {name} from an agent")
        with self._asked_anew(seat):
            seat.taken = False
        seat.dismiss(4001, "the seat was handed back to its agent")
        self.changed()

    async def hand_over(self, name: str, given: str | Mapping[str, Any]) -> None:
        """Let an agent play in the place of a person who is gone for good: from the next tick on, or for this very turn where
        the clock waits for it. Their link is worth nothing then. The record names the agent, and from which tick on it played; the
        seat can be taken from it as from any agent. given: the type of an installed agent, or a table.
        """
        seat = self.seat(name)
        self._check_stand_in(seat)
        table = allowed(given, f"seats.{name}")
        agents = {n: {"type": a.type, **a.options} for n, a in self.game.stage.study.agents.items()}
        agents |= {one["agent"]: one["table"] for one in self.stand_ins.values()}
        stand_in = await self._make_stand_in(seat, name_for(table, agents), table)
        self._check_stand_in(seat)  # much may have happened meanwhile
        with self._asked_anew(seat):
            self._seat_stand_in(seat, *stand_in)
        seat.dismiss(4005, "the seat was given to an agent")
        self.changed()
        if any(s.person for s in self.seats.values()):
            self._start_if_ready()

    def close(self, why: str = "closed by its owner", *, final: bool = False) -> None:
        """End now. What is finished is kept; an episode that is cut off can be gone on with (`reopen`), unless it is final."""
        if self.status in OVER:
            return
        self.final = final
        with contextlib.suppress(OSError):  # said by `keeping.problem`, tried again below
            self.keeping.save()
        self.end("stopped", why)
        if self._task is not None:
            self._task.cancel()
        else:
            self._task = asyncio.get_running_loop().create_task(self.put_away())

    async def closed(self) -> None:
        """Until all episodes are over, or the room is closed."""
        while self.status not in OVER:
            self.news.clear()
            await self.news.wait()

    async def gone(self) -> None:
        """Until a closed room has let go of its run."""
        if self._task is not None:
            await asyncio.wait({self._task})

    # -- what is told --------------------------------------------------------------------------------------------
    def told(self, name: str | None = None, *, whole: bool = True) -> dict[str, Any]:
        """The room in words that everybody in it may know: see `shown.told`."""
        return told(self, name, whole=whole)

    def changed(self, but: Line | None = None) -> None:
        """Tell everybody how the room stands, and keep it."""
        self.news.set()
        for seat in self.seats.values():
            if seat.line is not None and seat.line is not but:
                seat.line.tell(self.told(seat.name, whole=False))
        for line in self.watchers:
            line.tell(self.told())
        self.keeping.changed()

    def _lines(self) -> list[Line]:
        return [*(s.line for s in self.seats.values() if s.line is not None), *self.watchers]

    def tell_all(self, message: Any) -> None:
        """Tell everybody who is connected."""
        for line in self._lines():
            line.tell(message)

    def _farewell(self, line: Line) -> None:
        why = self.broken or self.why
        line.tell({"kind": "closed", "status": self.status, "why": why})
        line.close(1000, why[:100] or self.status)

    # -- inside: who sits where -----------------------------------------------------------------------------------
    def lay(self, cell: Cell) -> None:
        """The seats as a cell fills them (episodes of a room may differ in that), and who stands in for whom."""
        stage = self.game.stage
        self.env = stage.probes[cell.env]
        self.pace, self.speed = parse_clock(self.env.clock)
        self.beat = (self.beat or Beat(self.speed)) if self.pace == "tick" else None
        for (name, seat), agent in zip(self.seats.items(), cell.seats, strict=True):
            seat.person = stage.study.agents[agent].type in SEATED and name not in self.stand_ins
            seat.stands_in = name in self.stand_ins
            seat.agent = self.stand_ins[name]["agent"] if seat.stands_in else agent

    def agent(self, name: str) -> Agent:
        """An agent of the study, or one that stands in, as a room asks it: one object per name."""
        if name not in self._agents:
            stage = self.game.stage
            self._agents[name] = threaded(stage.agent(name), stage.study.agents[name].type)
        return self._agents[name]

    def _hand(self, seat: Seat) -> None:
        """Whoever is to play in a seat now sits there from the next tick on."""
        if self._playing.driven is not None:
            self._playing.driven.hand(seat)

    @contextlib.contextmanager
    def _asked_anew(self, seat: Seat) -> Iterator[None]:
        """Somebody else is to play in a seat after what is done inside: from this very tick on, where the clock waits for it."""
        driven = self._playing.driven
        again = driven.ask_again() if driven is not None and driven.waits_for(seat) else None
        yield
        if again is not None:
            again()
        else:
            self._hand(seat)

    def _check_stand_in(self, seat: Seat) -> None:
        """Raise `Conflict` where nobody can stand in."""
        if not seat.person:
            raise Conflict(f"an agent plays {seat.name} already")
        if self.status in OVER:
            raise Conflict("the room is closed")
        if not self.game.own:
            raise Conflict("in a study with people nobody stands in for a participant: end the session instead")

    async def _make_stand_in(self, seat: Seat, name: str, table: dict[str, Any]) -> tuple[Agent, dict[str, Any]]:
        """The agent of a table for a seat, and what is kept of it. Raises `CrossplayError` where it cannot play there."""
        stage, env = (
            self.game.stage,
            next(label for label, probe in self.game.stage.probes.items() if probe is self.env),
        )
        spec = AgentSpec(table["type"], {k: v for k, v in table.items() if k != "type"})
        agent = await asyncio.to_thread(stage.another, name, spec, env, seat.name)
        manifest = described(agent.manifest(), agent)
        if manifest.get("models"):
            await stage.door.ready(list(manifest["models"]))
        if name in stage.study.agents or name in self._agents:  # one that plays here already: the very same
            return self.agent(name), {"agent": name, "table": table, "manifest": manifest}
        return threaded(agent, spec.type), {"agent": name, "table": table, "manifest": manifest}

    def _seat_stand_in(self, seat: Seat, agent: Agent, kept: dict[str, Any]) -> None:
        self._agents[kept["agent"]] = agent
        self.stand_ins[seat.name] = kept
        seat.person, seat.taken, seat.stands_in, seat.agent = False, False, True, kept["agent"]

    async def _stand_in(self, seat: Seat, kept: Mapping[str, Any]) -> None:
        """An agent that stood in before the room was cut off."""
        table = allowed(kept["table"], f"seats.{seat.name}")
        self._seat_stand_in(seat, *await self._make_stand_in(seat, str(kept["agent"]), table))

    # -- inside: keeping, and the end ----------------------------------------------------------------------------
    def kept(self, order: int) -> Kept:
        """The state as it is kept. order: counts up."""
        seats = {
            n: KeptSeat(s.token, s.taken, s.ready, s.consent, self.stand_ins.get(n, {})) for n, s in self.seats.items()
        }
        over = self.status == "over" or self.final or not self.game.plays
        return Kept(self.name, self.spec, seats, "over" if over else "open", order)

    def _shelf(self) -> Shelved | None:
        """The episode as it stands, to go on from."""
        driven = self._playing.driven
        return driven.shelved(self.number) if driven is not None and self.status == "playing" else None

    def fail(self, why: str) -> None:
        """Something went wrong. What it was may name who plays, and where people are not to know that they are not told it."""
        self.broken = "something went wrong" if self.spec.blind else ""
        self.end("stopped", why)

    def end(self, status: Literal["over", "stopped"], why: str) -> None:
        """There is no more; everybody is told."""
        self.status, self.why = status, why
        self.changed()
        for line in self._lines():
            self._farewell(line)

    async def put_away(self) -> None:
        """Keep how it ended; free the run, the models and what was shown."""
        self.keeping.changed()
        await self.keeping.finish()
        await self._release()

    async def _release(self) -> None:
        for seat in self.seats.values():
            seat.shot = None
        self._agents.clear()
        if self.game.own:
            with contextlib.suppress(Exception):
                await self.game.stage.aclose()
            await asyncio.to_thread(self.game.run.close)
