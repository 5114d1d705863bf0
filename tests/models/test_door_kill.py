"""SIGKILL in the middle, at random moments: nothing answered is sent again, nothing lost, all counted."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crossplay.models.loopback import Loopback
from crossplay.records.cassette import Cassette, verify_cassette

AT_ONCE = 64

CHILD = """
import asyncio, json, sys
sys.path.insert(0, sys.argv[1])
from asked import handle, request
from crossplay.models import Door
from crossplay.records.cassette import Cassette

url, path, questions, members, rounds = sys.argv[2], sys.argv[3], *map(int, sys.argv[4:7])

async def main():
    table = {"backend": "http", "url": url, "model": "hash", "paid": False, "concurrency": 64}
    door = Door({"m": table}, Cassette(path))
    model, counts = door.model("m"), {}

    async def question(q):
        at, heard = handle(block=q), ""
        for r in range(rounds):  # each round reads what the one before said
            asked = [request(f"question {q}, member {m}, heard: {heard}", temperature=1.0) for m in range(members)]
            replies = await asyncio.gather(
                *(model.generate([a], at=at.child(r, m)) for m, a in enumerate(asked))
            )
            heard = " ".join(reply.text for [reply] in replies)
        for name, n in at.counts.items():
            counts[name] = counts.get(name, 0) + n
        return heard

    said = await asyncio.gather(*(question(q) for q in range(questions)))
    await door.aclose()
    print(json.dumps([said, counts]))

asyncio.run(main())
"""


class Sweep:
    """A process that asks, and the endpoint that it asks."""

    def __init__(self, server, path, questions, members, rounds):
        self.server, self.path = server, path
        self.calls = questions * members * rounds
        here = str(Path(__file__).parent)
        self.args = [sys.executable, "-c", CHILD, here, server.url, str(path), *map(str, (questions, members, rounds))]

    def run(self):
        """To the end: what was said, and what the handles counted."""
        done = subprocess.run(self.args, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout.splitlines()[-1])

    def kill(self, after, pause):
        """Start, wait until so many more requests have come and a little longer, then SIGKILL."""
        before = len(self.server.requests)
        child = subprocess.Popen(self.args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while len(self.server.requests) < before + after and child.poll() is None:
            time.sleep(0.001)
        time.sleep(pause)
        child.send_signal(signal.SIGKILL)
        child.wait()
        time.sleep(0.1)  # requests that were on their way arrive
        with Cassette(self.path, "strict") as c:
            return list(c.rows())


def check(tmp_path, questions, members, rounds, kills, seed):
    rng = random.Random(seed)
    with Loopback(latency_s=0.03) as server:
        undisturbed, counts = Sweep(server, tmp_path / "whole", questions, members, rounds).run()
        assert counts == {} and set(server.keys.values()) == {1}
    with Loopback(latency_s=0.03) as server:
        sweep = Sweep(server, tmp_path / "cut", questions, members, rounds)
        answered: dict[str, int] = {}
        lost = 0  # sendings in flight at a kill
        for kill in range(kills):
            # The first kill finds calls in flight and nothing answered, the others some of both.
            after = rng.randrange(1, AT_ONCE) if kill == 0 else rng.randrange(AT_ONCE + 1, AT_ONCE + 40)
            rows = sweep.kill(after, rng.random() * 0.03)
            for row in rows:
                if row.status == "answered":
                    answered.setdefault(row.idempotency, server.keys[row.idempotency])
            flying = [r for r in rows if r.status == "intent"]
            assert len(flying) <= AT_ONCE
            lost += len(flying)
        said, counts = sweep.run()
        sent = dict(server.keys)
    assert said == undisturbed
    assert answered and all(sent[key] == n for key, n in answered.items()), "an answered call was sent again"
    assert len(sent) == sweep.calls, "a call has one idempotency key, whatever happens to it"
    with Cassette(tmp_path / "cut", "strict") as c:
        rows = list(c.rows())
        assert len(rows) == sweep.calls and all(r.status == "answered" for r in rows)
        assert all(sent[r.idempotency] <= r.attempts == r.doubtful + 1 for r in rows)
        doubtful = sum(r.doubtful for r in rows)
        assert doubtful == lost  # once per kill, each counted
        assert counts.get("maybe_paid_twice", 0) == counts.get("retry", 0) == doubtful
        assert sum(sent.values()) - sweep.calls <= doubtful
    assert not verify_cassette(tmp_path / "cut" / "cassette.sqlite")


def test_40_questions_of_5_members_killed_twice(tmp_path):
    check(tmp_path, 40, 5, 1, kills=2, seed=1)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(4))
def test_200_questions_of_5_members_in_3_rounds_killed_six_times(tmp_path, seed):
    check(tmp_path, 200, 5, 3, kills=6, seed=seed)
