"""A server that is killed with SIGKILL after every step of a participant: nothing that was done is lost, nothing is done twice."""

from __future__ import annotations

import time

import pytest
from participants import FILE, result
from test_play_killed import Served, Sitting

from crossplay.records import RunFolder
from crossplay.study.verify import verify
from crossplay.web.play.panel import Shelf

pytestmark = pytest.mark.full
SHORT = FILE.replace("blocks = 2", "blocks = 1").replace('"me+odd" = ["me", "odd"]\n', "")


@pytest.fixture
def server(tmp_path):
    (tmp_path / "hunt.toml").write_text(SHORT)
    made = [Served(tmp_path)]

    def again():
        made[-1].kill()
        made.append(Served(tmp_path))
        return made[-1]

    yield made[0], again
    made[-1].kill()


def test_a_participant_goes_on_wherever_the_server_was_killed(server, tmp_path):
    here, again = server
    view = here.ask("POST", "/people/hunt.toml/invite", {"count": 1})
    ticket = view["sessions"][0]["link"].partition("#ticket=")[2]

    def say(where="", **body):
        return here.ask("POST", f"/take-part{where}", {"ticket": ticket, **body})

    seen, first, cut = [], {}, 0
    while (part := say())["kind"] != "thanks":
        at, kind = part["at"], part["kind"]
        seen.append(kind)
        if kind in ("practice", "play"):
            given = say("/seat", at=at)
            sitting = Sitting(here, given["room"], given, 0)
            sitting.say(ready=True)
            told = sitting.until("state")
            while not told["turn"]:
                told = sitting.until("state")
            if first.get(at) is None and kind == "play":  # in the middle: killed, and gone on with
                for _ in range(3):
                    sitting.say(turn=told["turn"], value="stag")
                    told = sitting.until("state")
                    while not told["turn"]:
                        told = sitting.until("state")
                first[at], cut = told["tick"], cut + 1
                shelf = Shelf(tmp_path / "hunt" / "games" / "p01")
                while (kept := shelf.read()) is None or kept.tick < first[at]:
                    time.sleep(0.02)
                here = again()
                seen.pop()
                continue
            if kind == "play":
                assert told["tick"] == first[at] == 3, "it goes on from its snapshot"
            while told["kind"] != "end":
                if told["turn"]:
                    sitting.say(turn=told["turn"], value="stag")
                told = sitting.until("state", "end")
            while say()["at"] == at:
                pass
        elif kind == "questions":
            answers = {q["name"]: 2 for q in part["questions"] if q["kind"] != "text"}
            say("/step", at=at, answers=answers)
        else:
            say("/step", at=at, agree=True if kind == "consent" else None)
        here = again()
    visit = ["play", "questions"]
    assert seen == ["consent", "instructions", "practice", *visit, *visit, "questions"]
    again()
    found = result(tmp_path / "hunt")
    assert (found.attendance.complete, found.attendance.again, found.attendance.resumed) == (1, 0, cut)
    with RunFolder.open(tmp_path / "hunt") as run:
        records = run.records()
        assert [r.extra["resumed"] for r in records] == [1, 1]
        for r in records:
            acts = [(e.tick, e.seat) for e in run.events(r.id) if e.kind == "act"]
            assert len(acts) == len(set(acts)) == 2 * r.ticks
    assert all(r.answers == 1 for q in found.asked for r in q.rows if q.name == "fair")
    assert verify(tmp_path / "hunt", "agents").ok
    assert verify(tmp_path / "hunt" / "practice").ok
