"""People at rooms without a browser: `Guest` sits on a line and answers; the same moves headless."""

import asyncio
import json

from crossplay.kernel import Agent, Block, Lineup, loop, make_env, play
from crossplay.records import RunFolder
from crossplay.web.play.lines import apart
from crossplay.web.play.record import RoomSpec

MOVES = ("north", "interact", "west", "south", "east", "stay")


class Guest:
    """Somebody on a line; `moves` answers each turn, None lets it pass."""

    def __init__(self, room, seat, views=("text", "data"), moves=None, token=None):
        self.room, self.seat, self.views, self.moves = room, seat, views, moves
        self.token = token or room.invite(seat)
        self.line = room.join(seat, self.token, views)
        self.seen, self.states, self.pictures = [], [], []
        self.fresh = asyncio.Event()
        self.task = asyncio.create_task(self._listen())

    async def _listen(self):
        while messages := await self.line.next():
            for message in messages:
                if isinstance(message, bytes):
                    message, picture = apart(message)
                    self.pictures.append(picture)
                told = json.loads(message)
                self.seen.append(told)
                if told["kind"] != "state":
                    continue
                self.states.append(told)
                if told["turn"] and not told.get("answered") and self.moves is not None:
                    move = self.moves(told)
                    if move is not None and self.room.seats[self.seat].line is self.line:
                        self.room.answer(self.seat, told["turn"], move)
            self.fresh.set()

    async def until(self, wanted):
        """The first message, come or to come, that fits."""
        while True:
            found = [m for m in self.seen if wanted(m)]
            if found:
                return found[0]
            self.fresh.clear()
            await asyncio.wait_for(self.fresh.wait(), 10)

    async def turn(self, tick):
        """The number of this seat's turn at a tick."""
        return (await self.until(lambda m: m["kind"] == "state" and m["turn"] and m["tick"] == tick))["turn"]


def kitchen(**more):
    given = {
        "environment": "kitchen/cramped_room",
        "options": {"horizon": 12},
        "seats": {"p0": "person", "p1": "person"},
    }
    return RoomSpec(**{**given, "countdown_s": 0.0, **more})


def go(work):
    async def whole():
        await asyncio.wait_for(work(), 60)

    asyncio.run(whole())


async def over(room):
    await asyncio.wait_for(room.closed(), 20)
    await asyncio.wait({room._task})


def cycle(offset):
    return lambda told: MOVES[(told["tick"] * 5 + offset) % len(MOVES)]


def record_of(folder, n=0):
    with RunFolder.open(folder) as run:
        record = run.records()[n]
        return record, run.events(record.id)


class Script(Agent):
    """The same moves, headless."""

    def __init__(self, offset):
        self.name, self.offset = f"script-{offset}", offset

    def act(self, obs):
        return MOVES[(obs.tick * 5 + self.offset) % len(MOVES)]


def headless(spec, agents):
    env = make_env(spec.environment, spec.options, spec.clock)
    clocked, env.clock = env.id, "wait"
    env._id = clocked
    return loop(play(env, Lineup(dict(zip(env.seats, agents, strict=True))), Block(spec.root, spec.block)))
