"""A worker for tests. argv: state, then what goes wrong: e.g. `own pids=FILE nap=0.01 die=30 hang=5`."""

import os
import sys
import time
from pathlib import Path

import numpy as np
from crossplay_worker import Action, Refused, Worker, run

state = sys.argv[1]
told = dict(word.split("=", 1) for word in sys.argv[2:])
if "pids" in told:
    with Path(told["pids"]).open("a") as file:
        file.write(f"{os.getpid()}\n")

if "once" in told:
    if Path(told["once"]).exists():
        sys.exit("it will not start twice")
    Path(told["once"]).touch()


class Steady(Worker):
    name, version, deterministic = "steady", "1", True
    views = ("smell",) if "smell" in told else ("array", "data")

    def __init__(self):
        self.state = state
        self.seen = 0

    def bind(self, seats, config):
        if config.get("refuse"):
            raise Refused("BAD_SPACE", "it plays nothing today")

    def begin(self, episode):
        episode.data = 0

    def act(self, obs):
        self.seen += 1
        if "nap" in told:
            time.sleep(float(told["nap"]))
        if "nap3" in told and self.seen == 3:
            time.sleep(float(told["nap3"]))
        if "die" in told and self.seen == int(told["die"]):
            os._exit(9)
        if "hang" in told and self.seen == int(told["hang"]):
            time.sleep(60)
        if "fail" in told and self.seen == int(told["fail"]):
            raise ValueError("a planted failure")
        if "again" in told and self.seen == int(told["again"]):
            raise Refused("UPSTREAM", "later", retry=True)
        n = len(obs.seat.spec["names"])
        if "byseat" in told:
            return 1 + obs.tick % 2 if obs.seat.seat == "p0" else 3
        if "odd" in told:
            first = obs.pick(n)
            says = "hello" if obs.tick == 3 else ()
            value = [obs.seat.spec["names"][first], first, 1.7, "2", first][obs.tick % 5]
            return Action(value, says=[says] if says else (), confidence=0.5, usage=(1, 2, 3, 4), counts={"mended": 1})
        if "badrow" in told and obs.pick(50, 7) == 0:
            return Action(0, says=[7])
        if "image" in told:
            return int(np.asarray(obs.view).ravel()[0] + obs.pick(n)) % n
        if self.state == "own":
            obs.episode.data += 1
            return obs.pick(n) if obs.episode.data == obs.tick + 1 else 0
        if self.state == "memo":
            count = (obs.memo or 0) + 1
            return Action(
                obs.pick(n) if count == obs.tick + 1 else 0, memo=count, usage=(1, 2, 3, 4), counts={"mended": 1}
            )
        return obs.pick(n)

    def save(self, episode):
        return episode.data

    def load(self, episode, data):
        episode.data = data


run(Steady())
