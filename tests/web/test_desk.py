"""What all services share: which folders are runs, and what is remembered of them."""

import os
import shutil
import threading
import time

import pytest

from crossplay.web.desk import Desk, NotFound


@pytest.fixture
def desk(tmp_path):
    return Desk(tmp_path / "runs")


def make(folder, name="manifest.sqlite"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(b"")
    return folder


# -- folders ---------------------------------------------------------------------------------------------------
def test_runs_are_looked_for_three_deep(desk):
    for path in ("a", "b/c", "d/e/f", "g/h/i/j", ".hidden"):
        make(desk.root / path)
    (desk.root / "empty").mkdir()
    (desk.root / "x.toml").write_text("")
    assert desk.run_names() == [".hidden", "a", "b~c", "d~e~f"]
    assert all(desk.run_folder(name).is_dir() for name in desk.run_names())
    assert desk.runs(2) == [(name, desk.run_folder(name)) for name in ("b~c", "d~e~f")]


def test_folders_that_go_away_while_they_are_looked_through_are_left_out(desk, monkeypatch):
    for path in ("a/deep", "b", "c"):
        make(desk.root / path)
    real = os.scandir

    def scandir(path):
        found = real(path)
        if str(path) == str(desk.root):
            entries = list(found)
            shutil.rmtree(desk.root / "a")
            found.close()
            return Entries(entries)
        return found

    class Entries(list):
        __enter__ = lambda self: iter(self)  # noqa: E731
        __exit__ = lambda *_: None  # noqa: E731
        close = lambda _: None  # noqa: E731

    monkeypatch.setattr(os, "scandir", scandir)
    assert desk.run_names() == ["b", "c"]


@pytest.mark.parametrize("file", ["study.toml", "manifest.sqlite", "trace", "cassette"])
def test_a_run_whose_files_lie_elsewhere_is_none(desk, tmp_path, file):
    run = make(desk.root / "a")
    outside = make(tmp_path / "outside")
    (outside / file).touch()
    (run / file).unlink(missing_ok=True)
    (run / file).symlink_to(outside / file)
    assert desk.run_names() == []
    with pytest.raises(NotFound):
        desk.run_folder("a")


def test_links_inside_the_folder_may_lead_about_inside(desk):
    run = make(desk.root / "a")
    (desk.root / "traces").mkdir()
    (run / "trace").symlink_to(desk.root / "traces")
    (desk.root / "again").symlink_to(run)
    (desk.root / "circle").symlink_to(desk.root / "circle")
    (desk.root / "b").mkdir()
    (desk.root / "b" / "up").symlink_to(desk.root)
    assert {"a", "again"} <= set(desk.run_names()) and len(desk.run_names()) < 10
    assert desk.run_folder("again") == run


# -- what is remembered ----------------------------------------------------------------------------------------
def test_what_is_kept_is_made_once_and_again_when_it_has_changed(desk):
    made = []
    ask = lambda stamp: desk.kept(("result", "run"), stamp, lambda: made.append(stamp) or len(made))  # noqa: E731
    assert [ask(1), ask(1), ask(2), ask(2), ask(1)] == [1, 1, 2, 2, 3]


def test_whoever_comes_while_something_is_made_waits_for_it(desk):
    made, got = [], []
    began = threading.Event()

    def slow():
        began.set()
        time.sleep(0.1)
        made.append(1)
        return object()

    threads = [threading.Thread(target=lambda: got.append(desk.kept(("x", 1), 0, slow))) for _ in range(8)]
    for thread in threads:
        thread.start()
    began.wait()
    assert desk.kept(("x", 2), 0, lambda: "other") == "other", "other things need not wait"
    for thread in threads:
        thread.join()
    assert made == [1] and len(set(map(id, got))) == 1 and not desk._turns


def test_the_stamp_is_taken_again_when_ones_turn_has_come(desk):
    """Those who waited while a run grew find what was made last, and do not make it once for each time it grew."""
    stamp, made = [0], []
    first = threading.Event()

    def make():
        made.append(stamp[0])
        first.set()
        time.sleep(0.1)
        return stamp[0]

    threads = [threading.Thread(target=desk.kept, args=("x", lambda: stamp[0], make)) for _ in range(4)]
    threads[0].start()
    first.wait()
    for thread in threads[1:]:
        stamp[0] += 1
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [0, 3]


def test_what_fails_is_not_kept_and_holds_nobody_up(desk):
    with pytest.raises(ZeroDivisionError):
        desk.kept("x", 0, lambda: 1 // 0)
    assert desk.kept("x", 0, lambda: "fine") == "fine" and not desk._turns


def test_many_small_things_push_no_large_one_out(desk):
    desk.kept(("result", "run"), 0, lambda: "dear")
    for i in range(1000):
        desk.kept(("models", i), 0, lambda i=i: i, 200)
    assert desk.kept(("result", "run"), 0, lambda: "made again") == "dear"
    assert len(desk._kept["models"]) == 200


def test_memory_is_bounded_by_weight_and_the_newest_stays(desk):
    for weight in (40, 40, 40, 500, 10):
        desk.kept(
            ("story", len(desk._kept.get("story", ())), weight, time.monotonic()), 0, lambda w=weight: w, 100, int
        )
    kept = [k.weight for k in desk._kept["story"].values()]
    assert kept == [10], "one that is too large alone is kept until the next comes"
    for i in range(3):
        desk.kept(("story", "small", i), 0, lambda: 30, 100, int)
    assert sum(k.weight for k in desk._kept["story"].values()) == 100
