"""`Playing`: the episodes of a room, one after the other: countdown, play, commit, the last moment; and what people see meanwhile."""

from __future__ import annotations

import asyncio
import time
import zlib
from typing import TYPE_CHECKING, Any

from crossplay.kernel import CrossplayError, Env, Episode, Outcome
from crossplay.records import EpisodeRecord
from crossplay.study.chunks import ATTEMPTS, record_of
from crossplay.web.play.driving import Driven
from crossplay.web.play.record import Play, Shelved
from crossplay.web.play.seats import Seat, Shot
from crossplay.web.play.shown import known, result_of, world

if TYPE_CHECKING:
    from crossplay.web.play.room import Room

__all__ = ["Playing"]

SNAPSHOT_S = {"wait": 0.25, "deadline": 0.25, "tick": 2.0}
"""Seconds between two snapshots at least, by the kind of the clock."""
WATCHED_S = 0.1
"""Seconds between two pictures of the whole world at least."""


class Playing:
    """Plays what a room has to play. driven: the episode that is on, None between two. now: which one, until it is committed."""

    def __init__(self, room: Room, shelved: Shelved | None) -> None:
        """shelved: from where the first episode goes on."""
        self.room = room
        self.driven: Driven | None = None
        self.now: Play | None = None
        self._shelved = shelved
        self._watched_at = float("-inf")

    async def run(self) -> None:
        """All episodes, one after the other."""
        room = self.room
        try:
            await self._ready_models()
            while room.game.plays:
                while room.status == "between":
                    room.news.clear()
                    await room.news.wait()
                await self._countdown()
                await self._one(room.game.plays[0])
            room.end("over", "")
        except asyncio.CancelledError:
            if room.status not in ("over", "stopped"):
                room.end("stopped", "the server ended")
            raise
        except CrossplayError as error:
            room.fail(str(error))
        except Exception as error:
            room.fail(f"{type(error).__name__}: {error}"[:300])
        finally:
            await room.put_away()

    async def _ready_models(self) -> None:
        room = self.room
        models = await asyncio.to_thread(room.game.stage.models)
        if models:
            await room.game.stage.door.ready(models)

    async def _countdown(self) -> None:
        room = self.room
        seconds = room.spec.countdown_s
        if seconds is None:
            seconds = 3.0 if room.pace == "tick" else 0.0
        room.status = "starting"
        if seconds:
            room.tell_all({"kind": "countdown", "seconds": seconds})
            await asyncio.sleep(seconds)
        if room.pace == "tick":
            # Each room beats at a moment of its own, so that the ticks of many do not wait for each other.
            period, now = 1.0 / room.speed, asyncio.get_running_loop().time()
            phase = zlib.crc32(room.name.encode()) / 2**32 * period
            await asyncio.sleep((phase - now) % period)

    async def _one(self, this: Play) -> None:
        """One episode: played, committed, told; void ones are played again in the same block."""
        room = self.room
        stage = room.game.stage
        env = await asyncio.to_thread(stage.env, this.cell.env)
        room.lay(this.cell)
        shelved, self._shelved = self._shelved, None
        room.number = shelved.episode if shelved is not None else room.number + 1
        self.now, room.status, room.watched = this, "playing", bool(room.watchers)
        for seat in room.seats.values():
            seat.fresh(room.pace)
        if room.beat is not None:
            room.beat.restart()
        driven = self.driven = Driven(stage, this, room.seats, room.agent, self._tick)
        room.changed()
        began = time.perf_counter()
        try:
            try:
                outcome = await driven.play(env, shelved)
            finally:
                self.driven = None
                for seat in room.seats.values():
                    seat.close_turn()
            await self._commit(self._record(this, driven, outcome, time.perf_counter() - began))
            self._finish(env, outcome)
        finally:
            env.close()

    def _record(self, this: Play, driven: Driven, outcome: Outcome, wall: float) -> EpisodeRecord:
        """What is kept of an episode, with all that was out of the ordinary in it."""
        room = self.room
        record = record_of(room.game.stage, this.cell, this.at, outcome, this.attempt, wall)
        handed = driven.handed(outcome)
        for name in handed:
            record.counts[name]["by_hand"] = 1  # an episode whose lineup is not the whole truth: the tables say so
        sat = {agent for changes in handed.values() for _, agent in changes}
        stand_ins = {n: one for n, one in room.stand_ins.items() if one["agent"] in sat}
        found = {"watched": room.watched, "resumed": driven.resumed, "handed": handed, "stand_ins": stand_ins}
        record.extra |= {**{k: v for k, v in found.items() if v}, **this.extra}
        return record

    async def _commit(self, record: EpisodeRecord) -> None:
        """In a thread, so that no other room's tick waits for the disk; a room that is closed meanwhile waits for it."""
        room = self.room
        clear = room.keeping.done()

        def work() -> None:
            room.game.run.put(record)
            clear()

        committing = asyncio.ensure_future(asyncio.to_thread(work))
        try:
            await asyncio.shield(committing)
        except asyncio.CancelledError:
            await asyncio.wait({committing})
            if not committing.cancelled() and committing.exception() is None:
                self._committed(record)
            raise
        self._committed(record)

    def _committed(self, record: EpisodeRecord) -> None:
        """An episode is in the run: it is not played again."""
        room = self.room
        void = record.status == "void"
        this, self.now = room.game.plays[0], None
        room.results.append(result_of(room, record))
        if void and (this.attempt + 1) % ATTEMPTS:
            this.attempt += 1
        else:
            room.game.plays.pop(0)
        if room.on_record is not None and not void:
            room.on_record(record)

    def _finish(self, env: Env, outcome: Outcome) -> None:
        """The last moment, and how it ended, to everybody; then the next one can begin."""
        room = self.room
        result = room.results[-1]
        for seat in room.seats.values():
            if seat.manned:
                facts = {"episode": room.number, "tally": seat.tally, "total": result["totals"][seat.name]}
                seat.shot = Shot(outcome.ticks, env, known(env, seat.name), 0, facts)
                if seat.line is not None:
                    seat.line.show(seat.shot)
        if room.watchers:
            last = world(room, env, outcome.ticks, list(outcome.totals))
            for line in room.watchers:
                line.show(last)
        room.tell_all(result)
        room.status = "between" if room.game.plays else "over"
        for seat in room.seats.values():
            seat.ready = False
        room.changed()

    def _tick(self, episode: Episode) -> None:
        """The requests of a tick are open: show it to everybody, keep a snapshot now and then."""
        room = self.room
        asked = {obs.seat: obs for obs in episode.open if obs.op == "act"}
        if not asked:
            return
        now = asyncio.get_running_loop().time()
        if room.beat is not None:
            room.beat.tick(episode.tick, now)
        for name, seat in room.seats.items():
            if seat.manned:
                self.show(episode, seat, asked.get(name))
        if room.watchers:
            self._show_world(episode, now)
        room.keeping.tick(SNAPSHOT_S[room.pace], patient=room.pace != "tick")
        if room.beat is not None:
            room.beat.shown(episode.tick, asyncio.get_running_loop().time())

    def show(self, episode: Episode, seat: Seat, obs: Any) -> None:
        """A tick as one person may know it."""
        room = self.room
        i, number = episode.index[seat.name], 0
        facts: dict[str, Any] = {}
        if obs is not None and obs.agent is seat.player:
            turn = seat.open(obs, room.number, episode.totals[i])
            number = turn.id
            facts = {"last": turn.last, "reward": turn.reward, "audience": list(turn.audience)}
            if seat.has_answered:
                facts["answered"] = True  # the tick is asked again, because another seat was handed over
            if turn.legal is not None:
                facts["legal"] = turn.names()
            if room.pace == "deadline":
                facts["left"] = turn.left()
        else:
            seat.close_turn()
        facts |= {"episode": room.number, "total": episode.totals[i], "tally": seat.tally}
        data = known(episode.env, seat.name, obs)
        seat.sees()
        seat.shot = Shot(episode.tick, episode.env, data, number, facts)
        if seat.line is not None:
            seat.line.show(seat.shot)

    def _show_world(self, episode: Episode, now: float) -> None:
        room = self.room
        room.watched = True
        if now - self._watched_at < WATCHED_S:
            return
        self._watched_at = now
        shot = world(room, episode.env, episode.tick, list(episode.totals))
        for line in room.watchers:
            line.show(shot)
