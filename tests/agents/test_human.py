"""A person at the terminal, with lines that stand for the keyboard."""

import asyncio
import threading

import pytest

from crossplay.agents import Human, make_agent
from crossplay.kernel import (
    ActionSpec,
    Agent,
    Block,
    CrossplayError,
    Env,
    Lineup,
    Stop,
    aio,
    loop,
    pack,
    play,
    unpack,
)  # fmt: skip


class Room(Env):
    """Two seats; each may hear the other."""

    name, horizon, rules = "room", 2, "Open the door."
    views = ("data", "text")

    def __init__(self, spec=None, seats=("me", "you")):
        self.seats = seats
        self._spec = spec or ActionSpec("names", ("open door", "open window", "wait"), noop=2)

    def reset(self, key, task=None):
        self.t, self.heard = 0, []

    def to_act(self):
        return self.seats

    def ended(self):
        return "horizon" if self.t >= self.horizon else None

    def spec(self, seat):
        return self._spec

    def audience(self, seat):
        return tuple(s for s in self.seats if s != seat)

    def data(self, seat):
        return {"door": "shut", "turn": self.t}

    def step(self, actions, mail):
        self.t += 1
        self.heard += [m.body for m in mail]
        return [0.0] * len(self.seats)

    def snapshot(self):
        return pack(self.t)

    def restore(self, snapshot):
        self.t = unpack(snapshot)


class Waits(Agent):
    def act(self, obs):
        return 2


def person(lines):
    said, todo = [], list(lines)

    def read(prompt):
        said.append(prompt)
        if not todo:
            raise EOFError
        return todo.pop(0)

    return Human("ada", read, said.append), said


def run(env, human, driver=None):
    episode = play(env, Lineup({s: human if s == "me" else Waits() for s in env.seats}), Block(0, 1))
    return loop(episode) if driver == "loop" else asyncio.run(aio(episode))


def acts(outcome):
    return [e[5] for e in outcome.events if e[3] == "act" and e[1] == 0]


@pytest.mark.parametrize("driver", ["loop", "aio"])
def test_numbers_names_and_beginnings(driver):
    human, said = person(["2", "OPEN DOOR"])
    assert acts(run(Room(), human, driver)) == [1, 0]
    assert "1) open door  2) open window  3) wait" in said[0]
    assert "door: shut" in said[0]
    assert "last: open window, reward 0" in said[2]
    human, _ = person(["w", "open w"])
    assert acts(run(Room(), human, driver)) == [2, 1]


def test_questions_mistakes_and_words():
    human, said = person(["?", "fly", "open", "4", "say hello you", "1", "", "3"])
    env = Room()
    outcome = run(env, human)
    assert acts(outcome) == [0, 2]
    assert "Open the door." in said
    assert sum("none of the actions" in s for s in said) == 4
    assert env.heard == ["hello you"]


def test_text_moves():
    human, _ = person(["good morning", "bye"])
    outcome = run(Room(ActionSpec("text")), human)
    assert [unpack(e[6]) for e in outcome.events if e[3] == "act" and e[1] == 0] == ["good morning", "bye"]


def test_a_closed_terminal_stops_the_run():
    human, _ = person(["1"])
    with pytest.raises(Stop, match="terminal was closed"):
        run(Room(), human)


def test_others_go_on_while_a_person_thinks():
    go = threading.Event()

    class Busy(Agent):
        async def act(self, obs):
            await asyncio.sleep(0)
            go.set()
            return 2

    def read(prompt):
        assert go.wait(20), "the other seat was not asked while the person was thinking"
        return "1"

    episode = play(Room(), Lineup({"me": Human("ada", read, lambda text: None), "you": Busy()}), Block(0, 1))
    outcome = asyncio.run(aio(episode))
    assert acts(outcome) == [0, 0]


def test_two_people_are_asked_one_after_the_other():
    asked, at_once = [], []

    def read(prompt):
        at_once.append(prompt)
        assert len(at_once) == 1
        asked.append(prompt)
        at_once.clear()
        return "3"

    human = Human("both", read, lambda text: None)
    outcome = asyncio.run(aio(play(Room(), Lineup({"me": human, "you": human}), Block(0, 1))))
    assert outcome.status == "horizon"
    assert sorted(asked) == ["me> ", "me> ", "you> ", "you> "]


def test_a_missed_deadline_leaves_nothing_behind():
    release = threading.Event()

    def read(prompt):
        release.wait(20)
        return "1"

    env = Room(seats=("me",))
    env.clock = "deadline:0.05"
    env.horizon = 1
    outcome = run(env, Human("slow", read, lambda text: None))
    release.set()
    assert [e[9] for e in outcome.events if e[3] == "act"] == ["noop"]


def test_make_human():
    assert make_agent("human").kind == "human"
    assert make_agent("human:ada").name == "human:ada"
    blind = Room()
    blind.views = ("data",)
    with pytest.raises(CrossplayError, match="no text view"):
        make_agent("human").check(blind, "me")
