"""`Room`: people and agents play the episodes of a study together, on the event loop of the server.

    room = await Room.create(desk, RoomSpec(environment="kitchen/cramped_room", seats={"p0": "person"}))
    token = room.invite("p0")                     # the link of a person; again: a new one, the old one is worth nothing
    line = room.join("p0", token, views=["image"])  # a connection; `await line.next()` gives what is to be sent
    room.ready("p0", consent=True)                # when all have said so, it starts (or `room.start()`)
    room.answer("p0", turn, value)                # raises `Refused`; `room.say("p0", text)`
    room.leave(line)                              # the seat waits for its person, or the conduct serves
    room.watch(views)                             # a connection that sees the whole world: the owner's
    room.take("p1"); room.give_back("p1")         # a person in the seat of an agent, from the next tick on, and back
    await room.closed(); room.close()             # the end of all; the end now

Episodes are driven by the engine's own driver (`kernel.aio`) and committed through the same functions as those of
any study, so a run that people played is a run like any other. All methods are called on the event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from crossplay.kernel import (
    Agent,
    CrossplayError,
    Episode,
    Lineup,
    Outcome,
    aio,
    make_env,
    play,
)
from crossplay.kernel.conduct import parse_clock
from crossplay.records import EpisodeRecord
from crossplay.study.chunks import ATTEMPTS, record_of
from crossplay.study.spec import Cell
from crossplay.study.templates import expert_of
from crossplay.web.desk import Conflict, Desk, Forbidden, NotFound
from crossplay.web.play.clock import Beat
from crossplay.web.play.lines import Line
from crossplay.web.play.record import (
    PERSON,
    SEATED,
    Game,
    Keeper,
    Kept,
    KeptSeat,
    Play,
    RoomSpec,
    Shelved,
    allowed_env,
    free_folder,
    game_of,
    reopened,
    study_of,
)
from crossplay.web.play.seats import Seat, Shot
from crossplay.web.play.threaded import threaded

__all__ = ["Room", "Status"]

Status = Literal["waiting", "starting", "playing", "between", "over", "stopped"]
SNAPSHOT_S = {"wait": 0.25, "deadline": 0.25, "tick": 2.0}
"""Seconds between two snapshots at least, by the kind of the clock."""
WATCHED_S = 0.1
"""Seconds between two pictures of the whole world at least."""
AGAIN = "somebody else sits here now: the link was opened in another place"


class Room:
    """A room. status: waiting (for people), starting (countdown), playing, between (two episodes), over, stopped.

    game: the episodes. seats: by name. folder: the run's. why: what stopped it. on_record: called with each record after its commit.
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
        agents = game.stage.study.agents
        self.seats = {s: Seat(s, agents[a].type in SEATED, a) for s, a in zip(self.env.seats, first.seats, strict=True)}
        self.status: Status = "waiting"
        self.why = self.broken = ""  # why it was stopped; what people in seats are told instead
        self.pace, self.speed = parse_clock(self.env.clock)
        self.beat = Beat(self.speed) if self.pace == "tick" else None
        self.watchers: set[Line] = set()
        self.watched = False  # whether somebody saw the whole world in this episode
        self.episode: Episode | None = None
        self.number = 0  # of the episode, from 1
        self.results: list[dict[str, Any]] = []
        self.final = False  # closed for good: nobody is offered to go on
        self.made = time.time()
        self._keeper = keep if isinstance(keep, Keeper) else Keeper(game.run.path) if keep else None
        self._keeping: asyncio.Task[None] | None = None
        self._last: Shelved | None = None  # the newest snapshot that is not on disk yet
        self._dirty = False
        self._agents: dict[str, Agent] = {}
        self._timer: asyncio.TimerHandle | None = None  # of a snapshot
        self._kept_at = self._watched_at = float("-inf")
        self._shelved = shelved  # to go on from
        self._again: bytes | None = None  # a snapshot of this very tick, to be asked anew
        self._playing: asyncio.Task[Outcome] | None = None
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self._now: Play | None = None

    # -- making ----------------------------------------------------------------------------------------------
    @classmethod
    async def create(cls, desk: Desk, spec: RoomSpec, **options: Any) -> Room:
        """A room with a study and a run folder of its own below the served folder. Raises `CrossplayError` that names what is wrong."""
        name = secrets.token_hex(4)
        room = cls(name, await asyncio.to_thread(_game, desk.root, spec), spec, **options)
        await asyncio.to_thread(room.save)
        return room

    @classmethod
    async def reopen(cls, folder: Path, kept: Kept, **options: Any) -> Room:
        """A room that was cut off, as it was at its last snapshot; people come back with their links."""
        game, shelved = await asyncio.to_thread(reopened, folder)
        room = cls(kept.room, game, kept.spec, **options)
        room.number = len(game.stage.cells[0].blocks) * game.stage.study.replicates - len(game.plays)
        room._shelved = shelved
        for name, seat in room.seats.items():
            known = kept.seats.get(name, KeptSeat())
            seat.token, seat.consent = known.token, known.consent
            seat.taken = known.taken and not seat.person
        return room

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.game.run.path

    # -- the waiting room --------------------------------------------------------------------------------------
    def seat(self, name: str) -> Seat:
        """A seat by name; `NotFound` otherwise."""
        if name not in self.seats:
            raise NotFound(f"this room has no such seat; it has {', '.join(self.seats)}")
        return self.seats[name]

    def invite(self, name: str) -> str:
        """A new token for a person's seat; the one before is worth nothing from now on."""
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
        if seat.taken and self.episode is not None and not self._sits(seat):
            self.episode.seat(name, seat.player)
        line.tell(self.told(name))
        for said in seat.heard:
            line.tell({"kind": "heard", **said})
        if (shot := seat.now()) is not None:
            line.show(shot)
        elif self.episode is not None and self.status == "playing":
            self._open(self.episode, seat, None)  # whoever takes a seat sees where it stands before they play
        self.changed(but=line)
        return line

    def watch(self, views: Sequence[str] = ()) -> Line:
        """A connection that sees the whole world. Noted in the record of every episode that is watched."""
        line = Line(views)
        self.watchers.add(line)
        line.tell(self.told())
        if self.episode is not None and self.status == "playing":
            self.watched = True
            line.show(self._world(self.episode.env, self.episode.tick, list(self.episode.totals)))
        return line

    def show_again(self, line: Line, name: str = "") -> None:
        """Show the moment anew, e.g. to somebody who wants other views."""
        seat = self.seats.get(name)
        if seat is not None and seat.line is line and (shot := seat.now()) is not None:
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
        """Somebody is ready (or not) for the next episode, and agrees to the text of consent."""
        seat = self.seat(name)
        if ready and self.spec.consent and not (seat.consent or consent):
            raise Conflict("please read the text and agree to it, or leave the page")
        seat.ready, seat.consent = ready, seat.consent or (ready and consent)
        self.changed()
        if ready and self.all_ready() and self.status in ("waiting", "between"):
            self.start()

    def all_ready(self) -> bool:
        """Whether all people are here and ready."""
        return all(s.ready and s.line is not None for s in self.seats.values() if s.person)

    def start(self) -> None:
        """Begin, or go on with the next episode. Seats without a person play by the conduct at once, or wait."""
        if self.status not in ("waiting", "between"):
            return
        self.status = "starting"
        self._changed.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name=f"room {self.name}")
        self.changed()

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
        if self.status in ("over", "stopped"):
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
        if self.episode is not None and self._playing is not None:
            open_turn = seat.turn is not None and self._sits(seat) and self.pace != "tick"
            if open_turn and self.episode.open:
                self._again = self.episode.snapshot()  # the tick is asked again, the agent first
                self._playing.cancel()
            elif self._sits(seat) or self._coming(seat):
                self.episode.seat(name, self._agent(seat.agent))
        seat.taken, seat.token, seat.shot = False, "", None
        if seat.line is not None:
            seat.line.close(4001, "the seat was handed back to its agent")
            seat.line = None
        self.changed()

    def close(self, why: str = "closed by its owner", *, final: bool = False) -> None:
        """End now. What is finished is kept; an episode that is cut off can be gone on with (`reopen`), unless it is final."""
        if self.status in ("over", "stopped"):
            return
        self.final = final
        self.save()
        self._end("stopped", why)
        if self._task is not None:
            self._task.cancel()
        elif self.game.own:
            asyncio.get_running_loop().create_task(self._put_away())

    async def closed(self) -> None:
        """Until all episodes are over, or the room is closed."""
        while self.status not in ("over", "stopped"):
            self._changed.clear()
            await self._changed.wait()

    # -- what is told --------------------------------------------------------------------------------------------
    def told(self, name: str | None = None, *, whole: bool = True) -> dict[str, Any]:
        """The room in words that everybody in it may know. whole: with the rules and the form of answer of a seat,
        which stay the same.
        """
        env, spec = self.env, self.spec
        found: dict[str, Any] = {
            "kind": "room",
            "room": self.name,
            "title": spec.title or env.name.replace("_", " "),
            "environment": env.name,
            "clock": env.clock,
            "pace": self.pace,
            "speed": self.speed,
            "views": [v for v in ("image", "text", "data") if v in env.views],
            "status": self.status,
            "why": self.broken or self.why,
            "episode": self.number,
            "episodes": self.number + len(self.game.plays) - (self._now is not None),
            "seats": [
                {
                    "seat": s.name,
                    "who": PERSON if s.manned else "agent" if spec.blind else s.agent,
                    "here": s.line is not None,
                    "ready": s.ready,
                    "taken": s.taken,
                    "person": s.person,
                }
                for s in self.seats.values()
            ],
        }
        if name is None:
            return {**found, "watching": True}
        seat = self.seats[name]
        found |= {"seat": name, "agreed": seat.consent, "takeover": spec.takeover == "people"}
        if not whole:
            return found
        form = env.spec(name)
        found |= {
            "rules": env.rules,
            "consent": spec.consent,
            "answer": {
                "kind": form.kind,
                "names": list(form.names),
                "noop": form.names[form.noop] if form.kind == "names" and form.noop is not None else None,
                "shape": list(form.shape),
                "schema": form.json_schema() if form.kind != "names" else None,
                "max_len": form.max_len,
            },
        }
        if form.kind == "box":
            low, high = form.bounds()
            finite = {"low": low.tolist(), "high": high.tolist()}
            found["answer"] |= {k: msgspec.json.decode(msgspec.json.encode(v)) for k, v in finite.items()}
        return found

    def changed(self, but: Line | None = None) -> None:
        """Tell everybody how the room stands, and keep it."""
        self._changed.set()
        for seat in self.seats.values():
            if seat.line is not None and seat.line is not but:
                seat.line.tell(self.told(seat.name, whole=False))
        for line in self.watchers:
            line.tell(self.told())
        self._keep_soon()

    # -- inside: playing --------------------------------------------------------------------------------------
    def _sits(self, seat: Seat) -> bool:
        """Whether the person of a seat is the engine's agent there now."""
        return self.episode is not None and self.episode.agents[self.episode.index[seat.name]] is seat.player

    def _coming(self, seat: Seat) -> bool:
        """Whether the person of a seat will be, from the next tick on."""
        return seat.taken and seat.line is not None

    async def _run(self) -> None:
        """All episodes, one after the other."""
        try:
            await self._ready_models()
            while self.game.plays:
                while self.status == "between":
                    self._changed.clear()
                    await self._changed.wait()
                await self._countdown()
                await self._one(self.game.plays[0])
            self._end("over", "")
        except asyncio.CancelledError:
            if self.status not in ("over", "stopped"):
                self._end("stopped", "the server ended")
            raise
        except CrossplayError as error:
            self._fail(str(error))
        except Exception as error:
            self._fail(f"{type(error).__name__}: {error}"[:300])
        finally:
            await self._put_away()

    async def _ready_models(self) -> None:
        models = await asyncio.to_thread(self.game.stage.models)
        if models:
            await self.game.stage.door.ready(models)

    async def _countdown(self) -> None:
        seconds = self.spec.countdown_s
        if seconds is None:
            seconds = 3.0 if self.pace == "tick" else 0.0
        self.status = "starting"
        if seconds:
            self._tell_all({"kind": "countdown", "seconds": seconds})
            await asyncio.sleep(seconds)
        if self.pace == "tick":
            # Each room beats at a moment of its own, so that the ticks of many do not wait for each other.
            period, now = 1.0 / self.speed, asyncio.get_running_loop().time()
            phase = zlib.crc32(self.name.encode()) / 2**32 * period
            await asyncio.sleep((phase - now) % period)

    async def _one(self, this: Play) -> None:
        """One episode: played, committed, told; void ones are played again in the same block."""
        stage, self._now = self.game.stage, this
        env = await asyncio.to_thread(stage.env, this.cell.env)
        self._lay(this.cell)
        shelved, self._shelved = self._shelved, None
        self.number = shelved.episode if shelved is not None else self.number + 1
        self.status, self.watched = "playing", bool(self.watchers)
        for seat in self.seats.values():
            seat.fresh(self.pace)
        if self.beat is not None:
            self.beat.restart()
        self.changed()
        began = time.perf_counter()
        try:
            outcome = await self._played(env, this, shelved)
        finally:
            self.episode = self._playing = None
            for seat in self.seats.values():
                seat.close_turn()
        self._last = None
        record = record_of(stage, this.cell, this.at, outcome, this.attempt, time.perf_counter() - began)
        record.extra |= {**this.extra, **({"watched": True} if self.watched else {})}
        await asyncio.to_thread(self._commit, record)
        self._show_end(env, outcome)
        env.close()
        self._now = None
        again = outcome.status == "void" and (this.attempt + 1) % ATTEMPTS
        if again:
            this.attempt += 1
        else:
            self.game.plays.pop(0)
        self.status = "between" if self.game.plays else "over"
        for seat in self.seats.values():
            seat.ready = False
        if self.on_record is not None and outcome.status != "void":
            self.on_record(record)
        self.changed()

    def _lay(self, cell: Cell) -> None:
        """The seats as a cell fills them; episodes of a room may differ in that."""
        stage = self.game.stage
        self.env = stage.probes[cell.env]
        self.pace, self.speed = parse_clock(self.env.clock)
        self.beat = (self.beat or Beat(self.speed)) if self.pace == "tick" else None
        for name, agent in zip(self.env.seats, cell.seats, strict=True):
            seat = self.seats[name]
            seat.agent, seat.person = agent, stage.study.agents[agent].type in SEATED

    def _agent(self, name: str) -> Agent:
        """An agent of the study, as a room asks it: one object per name."""
        if name not in self._agents:
            stage = self.game.stage
            self._agents[name] = threaded(stage.agent(name), stage.study.agents[name].type)
        return self._agents[name]

    async def _played(self, env: Any, this: Play, shelved: Shelved | None) -> Outcome:
        """The episode on the engine's driver; from the top again where a tick is to be asked anew."""
        stage, resume = self.game.stage, shelved.snapshot if shelved is not None else None
        seated = {s for s in shelved.taken if s in self.seats} if shelved is not None else set()
        while True:
            lineup = stage.lineup(this.cell)
            agents = {n: self._agent(s.agent) for n, s in self.seats.items() if not s.person}
            sitting = {n: s.player if s.person or n in seated else agents[n] for n, s in self.seats.items()}
            episode = play(
                env,
                Lineup(sitting, lineup.shared_memory, lineup.name),
                this.at,
                stage.conduct(this.cell),
                resume=resume,
            )
            for name, seat in self.seats.items():
                if seat.taken and seat.line is not None and name not in seated:
                    episode.seat(name, seat.player)  # who had taken it before goes on
                elif name in seated and not seat.taken:
                    episode.seat(name, agents[name])
            self.episode = episode
            self._playing = asyncio.get_running_loop().create_task(aio(episode, self._tick))
            try:
                await asyncio.wait({self._playing})
            except asyncio.CancelledError:
                self._playing.cancel()
                raise
            if not self._playing.cancelled():
                return self._playing.result()
            if self._again is None:
                raise asyncio.CancelledError
            resume, self._again = self._again, None
            seated = {n for n, s in self.seats.items() if self._sits(s) and not s.person}
            episode.requests.close()

    def _tick(self, episode: Episode) -> None:
        """The requests of a tick are open: show it to everybody, keep a snapshot now and then."""
        asked = {obs.seat: obs for obs in episode.open if obs.op == "act"}
        if not asked:
            return
        now = asyncio.get_running_loop().time()
        if self.beat is not None:
            self.beat.tick(episode.tick, now)
        for name, seat in self.seats.items():
            if seat.manned:
                self._open(episode, seat, asked.get(name))
        if self.watchers:
            self._show_world(episode, now)
        if self._keeper is not None and self._timer is None:
            wait = self._kept_at + SNAPSHOT_S[self.pace] - now
            if wait <= 0:
                self._snap()
            elif self.pace != "tick":  # somebody may think for long about this very turn
                self._timer = asyncio.get_running_loop().call_later(wait, self._snap)
        if self.beat is not None:
            self.beat.shown(episode.tick, asyncio.get_running_loop().time())

    def _snap(self) -> None:
        """Keep the episode as it stands."""
        self._timer, self._kept_at = None, asyncio.get_running_loop().time()
        if self.status == "playing":
            self._last = self.shelved() or self._last
            self._keep_soon()

    def _open(self, episode: Episode, seat: Seat, obs: Any) -> None:
        """A tick as one person may know it."""
        i, number = episode.index[seat.name], 0
        facts: dict[str, Any] = {}
        if obs is not None and obs.agent is seat.player:
            turn = seat.open(obs, self.number, episode.totals[i])
            number = turn.id
            facts = {"last": turn.last, "reward": turn.reward, "audience": list(turn.audience)}
            if seat.has_answered:
                facts["answered"] = True  # the tick is asked again, because another seat was handed over
            if turn.legal is not None:
                facts["legal"] = turn.names()
            if self.pace == "deadline":
                facts["left"] = turn.left()
        else:
            seat.close_turn()
        facts |= {"episode": self.number, "total": episode.totals[i], "tally": seat.tally}
        data = None
        with contextlib.suppress(Exception):  # what a seat may know when it is not asked is not told everywhere
            data = obs.view("data") if obs is not None else episode.env.data(seat.name)
        if number and seat.line is not None:
            obs.view_used = next(iter(seat.line.views), "image" if "image" in episode.env.views else "text")
        seat.shot = Shot(episode.tick, episode.env, data, number, facts)
        if seat.line is not None:
            seat.line.show(seat.shot)

    def _show_world(self, episode: Episode, now: float) -> None:
        self.watched = True
        if now - self._watched_at < WATCHED_S:
            return
        self._watched_at = now
        shot = self._world(episode.env, episode.tick, list(episode.totals))
        for line in self.watchers:
            line.show(shot)

    def _world(self, env: Any, tick: int, totals: list[float]) -> Shot:
        facts = {"episode": self.number, "totals": dict(zip(self.seats, totals, strict=True))}
        picture, text = None, ""
        with contextlib.suppress(Exception):
            picture, text = env.picture(), env.text()
        return Shot(tick, env, None, 0, facts, picture, text, world=True)

    def _show_end(self, env: Any, outcome: Outcome) -> None:
        """The last moment, and how it ended, to everybody."""
        result: dict[str, Any] = {
            "kind": "end",
            "episode": self.number,
            "status": outcome.status,
            "score": outcome.score,
        }
        result |= {"ticks": outcome.ticks, "totals": dict(zip(self.seats, outcome.totals, strict=True))}
        self.results.append(result)
        for seat in self.seats.values():
            data = None
            with contextlib.suppress(Exception):
                data = env.data(seat.name)
            if seat.manned:
                facts = {"episode": self.number, "tally": seat.tally, "total": result["totals"][seat.name]}
                seat.shot = Shot(outcome.ticks, env, data, 0, facts)
                if seat.line is not None:
                    seat.line.show(seat.shot)
        if self.watchers:
            world = self._world(env, outcome.ticks, list(outcome.totals))
            for line in self.watchers:
                line.show(world)
        self._tell_all(result)

    def _tell_all(self, message: Any) -> None:
        for line in [*(s.line for s in self.seats.values() if s.line is not None), *self.watchers]:
            line.tell(message)

    # -- inside: keeping ------------------------------------------------------------------------------------
    def _commit(self, record: EpisodeRecord) -> None:
        """In a thread, so that no other room's tick waits for the disk."""
        self.game.run.put(record)
        if self._keeper is not None:
            self._keeper.clear()

    def kept(self) -> Kept:
        """The state as it is kept."""
        seats = {n: KeptSeat(s.token, s.taken, s.ready, s.consent) for n, s in self.seats.items()}
        return Kept(self.name, self.spec, seats, "over" if self.status == "over" or self.final else "open")

    def save(self) -> None:
        """Keep state and snapshot, now."""
        self._write(self.kept(), self.shelved())

    def shelved(self) -> Shelved | None:
        """The episode as it stands at this tick, to go on from; None where none is open."""
        episode, now = self.episode, self._now
        if episode is None or now is None or not episode.open:
            return None
        try:
            snapshot = episode.snapshot()
        except CrossplayError as error:  # an agent's memo cannot be stored: told, not hidden
            self.why = f"this episode could not be gone on with after a crash: {error}"
            return None
        taken = [n for n, s in self.seats.items() if not s.person and self._sits(s)]
        cell, at = now.cell.key, now.at
        return Shelved(cell, at.root, at.block, at.replicate, now.attempt, self.number, episode.tick, snapshot, taken)

    def _keep_soon(self) -> None:
        """State and snapshot to disk, in a thread; what changes meanwhile is written after it."""
        self._dirty = self._keeper is not None
        if self._dirty and self._keeping is None:
            self._keeping = asyncio.get_running_loop().create_task(self._keep())

    async def _keep(self) -> None:
        try:
            while self._dirty:
                self._dirty, last, self._last = False, self._last, None
                await asyncio.to_thread(self._write, self.kept(), last)
        finally:
            self._keeping = None

    def _write(self, kept: Kept, shelved: Shelved | None) -> None:
        if self._keeper is not None:
            self._keeper.write(kept, shelved)

    def _fail(self, why: str) -> None:
        """Something went wrong. What it was may name who plays, and where people are not to know that they are not told it."""
        self.broken = "something went wrong" if self.spec.blind else ""
        self._end("stopped", why)

    def _end(self, status: Literal["over", "stopped"], why: str) -> None:
        self.status, self.why = status, why
        self.changed()
        why = self.broken or why
        self._tell_all({"kind": "closed", "status": status, "why": why})
        for line in [*(s.line for s in self.seats.values() if s.line is not None), *self.watchers]:
            line.close(1000, why[:100] or status)

    async def _put_away(self) -> None:
        """Free the run and the models."""
        if self._timer is not None:
            self._timer.cancel()
        if self._keeping is not None:
            await asyncio.wait({self._keeping})
        if self.game.own:
            with contextlib.suppress(Exception):
                await self.game.stage.aclose()
            await asyncio.to_thread(self.game.run.close)


def _game(root: Path, spec: RoomSpec) -> Game:
    """The study of a room in a folder of its own. In a thread."""
    allowed_env(spec.environment)
    try:
        probe = make_env(spec.environment, spec.options, spec.clock)
        try:
            seats = probe.seats
        finally:
            probe.close()
        study = study_of(spec, seats, expert_of(spec.environment) or "random")
        return game_of(study, free_folder(root, study.name))
    except (CrossplayError, OSError):
        raise
    except Exception as error:  # worlds of others say in their own way that an option is wrong
        raise CrossplayError(f"{spec.environment}: {type(error).__name__}: {error}"[:500]) from error
