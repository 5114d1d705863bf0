"""The list of runs, a run's head, its episodes, and the stream of what changes."""

import json
import os
import shutil
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import small

from crossplay.kernel import CrossplayError
from crossplay.records.lock import Lock
from crossplay.web.app import make_app
from crossplay.web.desk import Desk, NotFound, TooMany
from crossplay.web.service import events
from crossplay.web.service.events import EventsQuery, Listener, Watcher
from crossplay.web.service.runs import EpisodesQuery, RunsQuery, Shelf, list_episodes, list_runs, shelf_of, show_run
from crossplay.wire.http.house import House
from study import reported


def make(root):
    """Two finished runs, one of them deeper down, and one that is damaged."""
    small.kitchen(root / "kitchen")
    small.dilemma(root / "old" / "dilemma")
    (root / "broken").mkdir()
    (root / "broken" / "manifest.sqlite").write_bytes(b"nothing")


folder, desk, client = small.fixtures(make)


def test_the_list_says_what_there_is(desk):
    found = {r.run: r for r in list_runs(desk, RunsQuery()).rows}
    assert {name: r.state for name, r in found.items()} == {
        "kitchen": "done",
        "old~dilemma": "done",
        "broken": "damaged",
    }
    kitchen = found["kitchen"]
    assert (kitchen.episodes, kitchen.planned, kitchen.study) == (20, 20, "doubles & <b>more</b>")
    assert kitchen.calls > 0 and kitchen.tokens > 0 and kitchen.environments == ["kitchen"]
    assert "not a database" in found["broken"].why


def test_the_list_is_searched_sorted_and_cut(desk):
    def names(**query):
        return [r.run for r in list_runs(desk, RunsQuery(**query)).rows]

    assert names(search="DOUBLES kitchen") == ["kitchen"]
    assert names(search="tft") == ["old~dilemma"]
    assert names(state="damaged") == ["broken"]
    assert names(sort="run", down=False) == ["broken", "kitchen", "old~dilemma"]
    assert names(sort="tokens")[0] == "kitchen"
    assert names(sort="money", down=True)[-1] == names(sort="money", down=False)[-1] == "broken"  # not known comes last
    cut = list_runs(desk, RunsQuery(sort="run", down=False, offset=1, limit=1))
    assert [r.run for r in cut.rows] == ["kitchen"] and cut.total == 3


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize("sort", ["run", "changed", "study", "state", "episodes", "money", "cpu_s"])
def test_pages_of_the_list_put_together_are_the_list_also_where_keys_are_equal(tmp_path, sort, down):
    for name in ("b", "a", "A", "c", "c~d"):
        shutil.copytree(reported.dilemma(), tmp_path.joinpath(*name.split("~")))
    for i, file in enumerate(sorted(tmp_path.rglob("manifest.sqlite"))):
        os.utime(file, (i // 2, i // 2))
    desk = Desk(tmp_path)
    whole = list_runs(desk, RunsQuery(sort=sort, down=down))
    every = list_runs(desk, RunsQuery(sort=sort, down=down, search="dilemma"))  # the way that reads all of them
    cut = [r for i in range(0, 6, 2) for r in list_runs(desk, RunsQuery(sort=sort, down=down, offset=i, limit=2)).rows]
    assert [r.run for r in cut] == [r.run for r in whole.rows] == [r.run for r in every.rows]
    assert whole.total == every.total == len(cut) == 5
    desk.close()


def test_runs_that_vanish_while_they_are_listed_are_left_out(tmp_path, monkeypatch):
    for name in ("a", "b"):
        shutil.copytree(reported.dilemma(), tmp_path / name)
    desk = Desk(tmp_path)
    real = desk.runs

    def runs(most=None):
        found = real(most)
        shutil.rmtree(tmp_path / "a", ignore_errors=True)
        return found

    monkeypatch.setattr(desk, "runs", runs)
    assert [r.run for r in list_runs(desk, RunsQuery()).rows] == ["b"]
    shutil.copytree(reported.dilemma(), tmp_path / "a")
    assert [r.run for r in list_runs(desk, RunsQuery(search="dilemma")).rows] == ["b"]
    desk.close()


def test_the_first_page_reads_only_the_runs_that_it_shows(tmp_path, monkeypatch):
    for i in range(6):
        shutil.copytree(reported.dilemma(), tmp_path / f"run{i}")
        os.utime(tmp_path / f"run{i}" / "manifest.sqlite", (i, i))
    desk = Desk(tmp_path)
    found = list_runs(desk, RunsQuery(limit=2))
    assert [r.run for r in found.rows] == ["run5", "run4"] and found.total == 6
    assert {f.name for f in shelf_of(desk)._watches} == {"run5", "run4"}
    shutil.rmtree(tmp_path / "run5")
    assert list_runs(desk, RunsQuery(search="dilemma")).total == 5
    assert len(shelf_of(desk)._watches) == 5, "what is gone is forgotten"
    desk.close()


def test_a_head_holds_the_study_and_the_progress_of_each_cell(desk):
    head = show_run(desk, "kitchen")
    assert head.row.state == "done" and not head.teams and head.baseline == "chef+chef"
    assert [c.done for c in head.cells] == [c.planned for c in head.cells] == [4] * 5
    assert "doubles" in head.toml and len(head.digest) == 64 and head.sources[0]["agents"]
    assert next(a for a in head.agents if a.name == "talker").words.startswith("language model")
    assert sum(head.costs.by_agent[a]["decisions"] for a in head.costs.by_agent) == head.costs.decisions
    with pytest.raises(CrossplayError, match="not a database"):
        show_run(desk, "broken")


@pytest.mark.parametrize("name", ["nowhere", "..", "~", "old", "", "\0", "x" * 5000, "..~..~etc", "old~..~..~other"])
def test_names_that_are_no_run_are_not_found(desk, name):
    with pytest.raises(NotFound):
        show_run(desk, name)


def test_a_folder_with_a_tilde_in_its_name_is_opened_by_the_name_that_is_listed(tmp_path):
    for parts in (("one ~ two",), ("a", "b"), ("a~b",), ("a", "~c"), ("d~", "e")):
        shutil.copytree(reported.dilemma(), tmp_path.joinpath(*parts))
    desk = Desk(tmp_path)
    listed = [row.run for row in list_runs(desk, RunsQuery(sort="run", down=False)).rows]
    assert listed == ["a~b", "a~~c", "d~~e", "one ~ two"] and desk.run_folder("a~b") == tmp_path / "a" / "b"
    assert all(show_run(desk, run).row.run == run for run in listed)
    assert dict(desk.runs()) == {run: desk.run_folder(run) for run in listed}
    desk.close()


def test_a_folder_that_is_a_run_is_listed_by_its_name():
    desk = Desk(reported.kitchen())
    (row,) = list_runs(desk, RunsQuery()).rows
    assert row.run == reported.kitchen().name and show_run(desk, row.run).row.episodes == 20
    desk.close()


def test_unfinished_runs_say_what_is_missing(tmp_path):
    import sqlite3

    run = shutil.copytree(reported.kitchen(), tmp_path / "cut")
    with sqlite3.connect(run / "manifest.sqlite") as db:
        db.execute("DELETE FROM episodes WHERE seq > 12")
    db.close()
    desk = Desk(tmp_path)
    head = show_run(desk, "cut")
    assert head.row.state == "open" and any("8 of 20" in m for m in head.marks)
    lock = Lock(run / "lock")
    assert show_run(desk, "cut").row.state == "going"
    lock.release()
    desk.close()


def test_episodes_come_filtered_and_with_what_can_be_filtered_by(desk):
    found = list_episodes(desk, "kitchen", EpisodesQuery(lineup="chef+talker", sort="block", limit=3))
    assert found.total == 4 and [r.block for r in found.rows] == ["0", "1", "2"]
    assert found.metric == "return" and found.environments == {"kitchen": 20} and "soups" in found.metrics
    assert sum(found.lineups.values()) == sum(found.statuses.values()) == 20


def test_the_shelf_keeps_the_latest_tables_of_episodes(desk, monkeypatch):
    monkeypatch.setattr("crossplay.web.service.runs.LISTINGS", 1)
    for name in ("kitchen", "old~dilemma", "kitchen"):
        assert list_episodes(desk, name, EpisodesQuery()).total
    assert len(shelf_of(desk)._listings) == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/runs?limit=0", 422),
        ("/runs?limit=501", 422),
        ("/runs?offset=-1", 422),
        ("/runs?sort=size", 422),
        ("/runs?nonsense=1", 422),
        ("/runs?search=" + "x" * 300, 422),
        ("/runs/nothing", 404),
        ("/runs/%00", 404),
        ("/runs/broken", 400),
        ("/runs/broken/episodes", 400),
        ("/runs/kitchen/episodes?sort=nothing", 400),
        ("/runs/kitchen/episodes?offset=99999999999", 200),
        ("/runs/kitchen/episodes?search=%00%F0%9F%8D%85", 200),
        ("/events?nonsense=1", 422),
    ],
)
def test_nonsense_has_a_status_and_words(client, path, status):
    answer = client.get("/api/v1" + path)
    assert answer.status_code == status
    assert status == 200 or answer.json()["error"]


# -- events --------------------------------------------------------------------------------------------------
class Heard(threading.Thread):
    """Somebody who listens to a stream of events."""

    def __init__(self, url):
        super().__init__(daemon=True)
        self.answer = urllib.request.urlopen(url, timeout=20)
        self.events, self.ended = [], False
        self.start()

    def run(self):
        for line in self.answer:
            if line.startswith(b"data: "):
                self.events.append(json.loads(line[6:]))
        self.ended = True

    def wait(self, kind, seconds=15):
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            for event in list(self.events):
                if event["kind"] == kind:
                    return event
            time.sleep(0.02)
        raise AssertionError(f"no {kind} in {self.events}")


@pytest.fixture
def served(tmp_path, monkeypatch):
    monkeypatch.setattr(events, "EVERY", 0.05)
    desk = Desk(tmp_path)
    house = House(make_app(desk), "127.0.0.1", 0, sockets=True, extra="web")
    house.open()
    yield tmp_path, desk, f"http://{house.authority}/api/v1/events"
    desk.close()
    house.close()


def test_listeners_hear_of_new_growing_and_gone_runs(served):
    root, desk, url = served
    everything, one = Heard(url), Heard(url + "?run=other")
    everything.wait("hello"), one.wait("hello")
    shutil.copytree(reported.kitchen(), root / "new")
    found = everything.wait("run")
    assert (found["run"], found["episodes"], found["state"], found["new"]) == ("new", 20, "done", True)
    shutil.rmtree(root / "new")
    assert everything.wait("gone")["run"] == "new"
    assert [e["kind"] for e in one.events] == ["hello"]
    watcher = desk.parts["events"]
    assert len(watcher.listeners) == 2 and sum(t.name == "crossplay watcher" for t in threading.enumerate()) >= 1
    desk.close()  # every stream ends, and the one watcher with them
    for heard in (everything, one):
        heard.join(5)
        assert heard.ended
    assert watcher.listeners == [] and watcher._thread is None


def test_a_state_that_changes_alone_is_told(served):
    root, _, url = served
    run = shutil.copytree(reported.kitchen(), root / "cut")
    import sqlite3

    with sqlite3.connect(run / "manifest.sqlite") as db:
        db.execute("DELETE FROM episodes WHERE seq > 12")
    db.close()
    heard = Heard(url)
    heard.wait("hello")
    lock = Lock(run / "lock")
    assert heard.wait("run")["state"] == "going"
    heard.events.clear()
    lock.release()
    assert heard.wait("run")["state"] == "open"


def test_who_hears_hello_misses_nothing_after_it(served):
    """What there was before is no news; what comes after is, for those who listen to one run and for those who come later."""
    root, _, url = served
    for name in ("a", "b"):
        shutil.copytree(reported.dilemma(), root / name)
    one = Heard(url + "?run=a")
    one.wait("hello")
    os.utime(root / "a" / "manifest.sqlite", (1, 1))
    assert one.wait("run")["changed"] == 1.0
    everything = Heard(url)  # now others are looked at too
    everything.wait("hello")
    os.utime(root / "b" / "manifest.sqlite", (2, 2))
    assert everything.wait("run")["run"] == "b"
    shutil.rmtree(root / "a")
    assert one.wait("gone")["run"] == everything.wait("gone")["run"] == "a"
    assert [e["kind"] for e in one.events] == ["hello", "run", "gone"]
    assert not any(e.get("new") for e in everything.events)


def test_news_go_on_after_a_look_that_failed(served, monkeypatch):
    root, _, url = served
    heard = Heard(url)
    heard.wait("hello")
    real, failed = Shelf.rows, threading.Event()

    def rows(self):
        if not failed.is_set():
            failed.set()
            raise OSError("the disk is busy")
        return real(self)

    monkeypatch.setattr(Shelf, "rows", rows)
    assert failed.wait(10)
    shutil.copytree(reported.dilemma(), root / "new")
    assert heard.wait("run")["run"] == "new"


async def _listener(desk, n):
    watcher = desk.part("events", Watcher)
    for _ in range(n):
        watcher.start(Listener(""))
    return watcher


def test_listeners_are_limited_and_the_watcher_ends_with_the_last(tmp_path, monkeypatch):
    import asyncio

    monkeypatch.setattr(events, "EVERY", 0.02)
    monkeypatch.setattr(events, "LISTENERS", 3)
    desk = Desk(tmp_path)

    async def main():
        watcher = await _listener(desk, 3)
        with pytest.raises(TooMany):
            await events.events(desk, EventsQuery())
        late = Listener("")
        watcher.start(late)
        assert late.ended and len(watcher.listeners) == 3
        for listener in list(watcher.listeners):
            watcher.stop(listener)
        for _ in range(200):
            if watcher._thread is None:
                break
            await asyncio.sleep(0.01)
        assert watcher._thread is None
        stream = await events.events(desk, EventsQuery())  # there is room again, and it watches again
        assert b"retry" in await anext(stream.parts) and watcher._thread is not None
        assert b"hello" in await anext(stream.parts)
        await stream.parts.aclose()
        assert watcher.listeners == []

    asyncio.run(main())
    desk.close()


def test_a_slow_listener_finds_the_newest_alone():
    import asyncio

    async def main():
        listener = Listener("")
        for i in range(1000):
            listener.tell("a", {"kind": "run", "episodes": i})
        listener.tell("b", {"kind": "gone", "run": "b"})
        return listener.take()

    assert asyncio.run(main()) == [{"kind": "run", "episodes": 999}, {"kind": "gone", "run": "b"}]


def test_a_watcher_outlives_a_run_that_cannot_be_read(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "manifest.sqlite").write_bytes(b"")
    desk = Desk(tmp_path)
    assert list_runs(desk, RunsQuery()).rows[0].state == "damaged"
    assert Path(desk.root, "x").is_dir()
    desk.close()
