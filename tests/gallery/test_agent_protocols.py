"""Agent protocols: the rule and its parties, the counter on the line, the kept figures, and the whole entry with all its processes."""

import json
import socket
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import msgspec
import pytest

from crossplay.gallery.agent_protocols import measure, ways
from crossplay.gallery.agent_protocols.claim import ENTRY, MESSAGES
from crossplay.gallery.agent_protocols.peers import Peer, Standing, Tap, python
from crossplay.gallery.agent_protocols.player import WRONG
from crossplay.gallery.agent_protocols.study import Served, Settings, party, plan_of
from crossplay.gallery.agent_protocols.ways import Played, job
from crossplay.kernel import Block, CrossplayError, draw, seat_key

ROOT = Path(__file__).parents[2]
NAMES = ("rock", "paper", "scissors")


def answers(mine, block, text="", tick=0, names=NAMES):
    return mine.answer(mine.key(block), tick, text, names)


# -- the rule ------------------------------------------------------------------------------------------
def test_the_rule_depends_on_every_byte_and_on_the_chance_of_the_seat():
    mine = party(plan_of(Settings(), ((0, ""),)), "x")
    long = "a" * 500
    texts = [long[:i] + "b" + long[i + 1 :] for i in range(500)]
    other = sum(
        answers(mine, 0, t, names=tuple(range(1009))) != answers(mine, 0, long, names=tuple(range(1009))) for t in texts
    )
    assert other == 500
    assert len({answers(mine, 0, long, tick) for tick in range(30)}) == 3


def test_own_chance_depends_on_the_party_and_no_chance_on_nothing():
    wide = tuple(range(10_000))

    def drawn(chance, name, root=1):
        blocks = ((0, "none"),) if chance == "none" else ((0, ""),)
        s = Settings(root=root, **({} if chance == "none" else {"chance": chance}))
        return answers(party(plan_of(s, blocks), name), 0, names=wide)

    assert drawn("seat", "a") == drawn("seat", "b") != drawn("seat", "a", root=2)
    assert drawn("own", "a") != drawn("own", "b")
    assert drawn("none", "a") == drawn("none", "b", root=2)


def test_the_kit_draws_as_the_kernel():
    seeds = pytest.importorskip("crossplay_worker.seeds")
    for block in range(20):
        key = seat_key(Block(3, block), "row")
        assert key == seeds.seat_key(seeds.Block(3, block), "row")
        assert draw(key, 7, 1) == seeds.draw(key, 7, 1)


def test_a_party_misbehaves_once_in_its_block_and_tick(tmp_path):
    mine = party(plan_of(Settings(at=2, patience=0.05), ((5, "wrong"), (6, "hang"), (7, "")), str(tmp_path)), "x")
    assert [answers(mine, 5, tick=t) == WRONG for t in range(4)] == [False, False, True, False]
    assert mine.answer(mine.key(5), 2, "", NAMES, attempt=1) in NAMES
    assert WRONG not in [answers(mine, b, tick=t) for b in (6, 7) for t in range(4)]
    assert not mine.knows(mine.key(8))


def test_a_dead_process_says_nothing_and_dies_once(tmp_path):
    plan = plan_of(Settings(), ((0, "die"),), str(tmp_path))
    code = (
        f"import json; from crossplay.gallery.agent_protocols.study import party; p = party(json.loads({json.dumps(json.dumps(plan))}), 'x');"
        f"print(p.answer(p.key(0), {Settings().at}, '', {NAMES}))"
    )
    dead = Peer(*python("-c", code))
    assert dead.wait() == -9 and dead.end() == []
    second = Peer(*python("-c", code))
    assert second.wait() == 0 and second.end()[0] in NAMES


def test_served_plans_are_read_again_the_newest_first(tmp_path):
    file = tmp_path / "plans.json"
    old, new = plan_of(Settings(), ((0, ""), (1, ""))), plan_of(Settings(), ((0, "wrong"),))
    file.write_text(json.dumps([old]))
    served = Served(str(file))
    [rule] = served._rules()
    assert rule.party.block(rule.party.key(0))["manner"] == ""
    ways._replace(file, json.dumps([new, old]))
    first, second = served._rules()
    assert first.party.block(first.party.key(0))["manner"] == "wrong" and not first.party.knows(first.party.key(1))
    assert second.party.knows(second.party.key(1))


# -- the counter ---------------------------------------------------------------------------------------
class _Echo(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def test_requests_are_counted_wherever_they_are_cut():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Echo)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    tap = Tap(server.server_address)
    try:
        for i in range(5):
            body = b"x HTTP/1.1 in the body " * i
            with urllib.request.urlopen(
                urllib.request.Request(f"http://127.0.0.1:{tap.at[1]}/a", body or b"-"), timeout=5
            ) as found:
                assert found.read() == (body or b"-")
        line = b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx"
        with socket.create_connection(tap.at, 5) as sock:
            for byte in line * 2:
                sock.sendall(bytes([byte]))
            got = b""
            while got.count(b"\r\n\r\n") < 2:
                got += sock.recv(4096)
        assert tap.sent == 7 and tap.up > 2 * len(line) and tap.down > 0
    finally:
        tap.close()
        server.shutdown()
        server.server_close()


def test_frames_of_the_wire_are_counted_in_both_directions(tmp_path):
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(tmp_path / "to"))
    door.listen(1)
    tap = Tap(str(tmp_path / "to"), str(tmp_path / "at"), wire=True)
    with socket.socket(socket.AF_UNIX) as here:
        here.connect(str(tmp_path / "at"))
        there, _ = door.accept()
        frames = b"".join(len(b).to_bytes(4, "little") + b for b in (b"a", b"bb" * 300, b"ccc"))
        for i in range(0, len(frames), 7):
            here.sendall(frames[i : i + 7])
        sent = b""
        while len(sent) < len(frames):
            sent += there.recv(4096)
        there.sendall(frames[: len(frames) - 1])
        there.close()
        got = b""
        while data := here.recv(4096):
            got += data
    assert sent == frames and got == frames[:-1] and tap.counts() == (3, 2, len(frames), len(frames) - 1)
    tap.close()
    door.close()


class _Sleeper(Standing):
    def start(self, folder):
        peer = Peer(*python("-c", "print('up', flush=True); import time; time.sleep(60)"))
        peer.says("up")
        return peer


def test_a_standing_server_ends_when_nobody_uses_it_and_starts_again():
    server = _Sleeper(idle=0.05)
    with server.used() as folder:
        first = server._peer
        (folder / "x").touch()
    assert first.process.wait(10) != 0
    while folder.exists():
        threading.Event().wait(0.01)
    with server.used():
        second = server._peer
        assert second is not first and second.process.poll() is None
    server.end()
    assert second.process.poll() is not None


def test_a_command_that_ends_at_once_is_an_error_with_its_last_words():
    peer = Peer(*python("-c", "print('no such luck'); raise SystemExit(3)"))
    with pytest.raises(CrossplayError, match="no such luck"):
        peer.says("answers at")
    peer.end()


# -- ways ----------------------------------------------------------------------------------------------
def test_in_process_silence_and_wrong_answers_are_injected():
    s = Settings(rounds=8)
    found = job("process", s, ((0, ""), (1, "hang"), (2, "wrong"), (3, "none")))
    assert [c.get("timeout", 0) for c in found.counts] == [0, 1, 0, 0]
    assert [c.get("invalid", 0) for c in found.counts] == [0, 0, 1, 0]
    assert found.served == [[], ["repeat"], ["random"], []] and found.status == [["horizon"]] * 4
    calm = job("process", s, ((1, ""), (2, "")))
    assert not set(calm.world) & set(found.world)


def test_side_by_side_plays_the_same_worlds():
    s, blocks = Settings(rounds=5), tuple((b, "") for b in range(7))
    one, many = job("process", s, blocks), job("process", s, blocks, width=3)
    assert one.world == many.world and many.seconds > 0 and len(many.took) == 7


def test_a_worker_plays_the_same_worlds_and_its_frames_are_counted():
    pytest.importorskip("crossplay_worker")
    s, blocks = Settings(rounds=6), ((0, ""), (1, ""))
    found = job("wire", s, blocks, how="counted")
    assert not found.error and found.world == job("process", s, blocks).world
    assert found.messages == MESSAGES["wire"](2, 6) and found.asked > found.answered > 0


def test_a_worker_of_another_version_is_refused():
    pytest.importorskip("crossplay_worker")
    found = job("wire", Settings(speaks=9), ((0, ""),))
    assert "VERSION" in found.error and found.world == [""] and not found.status


def test_a_missing_package_is_an_error_that_says_what_to_add(monkeypatch):
    monkeypatch.setattr(ways, "find_spec", lambda name: None)
    for way, text in (("mcp", r"crossplay\[mcp\]"), ("a2a", r"crossplay\[a2a\]"), ("wire", "crossplay-worker")):
        with pytest.raises(CrossplayError, match=f"agent_protocols: .* is not installed; add .*{text}"):
            job(way, Settings(), ((0, ""),))


@pytest.mark.full
@pytest.mark.parametrize("way", ways.WAYS)
def test_all_ways_play_the_same_worlds_side_by_side(way):
    s, blocks = Settings(rounds=4), tuple((b, "") for b in range(6))
    found = job(way, s, blocks, how="apart", width=3)
    assert not found.error and found.world == job("process", s, blocks).world


@pytest.mark.full
def test_a_measurement_holds_what_the_page_shows():
    figures = measure.measured(rounds=1, blocks=1, width=2, decisions=3)
    assert set(figures["ways"]) == {"process", *ways.WAYS} and all(figures["findings"].values())
    assert measure.written(f"a\n{measure.BEGIN}\n{measure.END}\nb", figures).endswith(f"{measure.END}\nb")


# -- the page ------------------------------------------------------------------------------------------
def test_the_page_shows_the_kept_figures():
    page = (ROOT / "docs" / "protocols.md").read_text()
    assert measure.written(page, measure.kept()) == page


def test_kept_figures_hold_all_samples_and_every_finding():
    figures = measure.kept()
    n = figures["rounds"] * figures["blocks"] * figures["decisions"]
    for way in ("process", *ways.WAYS):
        assert measure.row(figures, way)["n"] == n
        assert len(figures["ways"][way]["seconds"]) == len(figures["ways"][way]["beside_s"]) == figures["rounds"]
    for way, by_hand in MESSAGES.items():
        assert figures["ways"][way]["messages"] == by_hand(figures["blocks"], figures["decisions"])
    assert all(figures["findings"].values())
    broken = {b for m in ENTRY.mechanisms for b in m.breaks}
    assert broken <= set(figures["findings"])


def test_a_finding_that_fails_is_shown_as_one():
    figures = measure.kept()
    figures["findings"]["killed: a2a"] = False
    assert "| FAILS |" in measure.table(figures) and "FAILS" not in measure.table(measure.kept())


def test_a_page_without_marks_is_an_error():
    with pytest.raises(CrossplayError, match="no marks"):
        measure.written("nothing", measure.kept())


def test_settings_change_only_what_depends_on_them():
    from crossplay.gallery.agent_protocols.claim import _wanted

    usual = _wanted(Settings())
    for off, moved in (
        ({"refusals": 1}, {"bad mcp"}),
        ({"plays": 1}, {f"killed {w}" for w in ways.WAYS}),
        ({"speaks": 9}, {"good wire"}),
        ({"chance": "own"}, {f"good {w}" for w in ways.WAYS}),
    ):
        other = _wanted(msgspec.structs.replace(Settings(), **off))
        assert {n for n in usual if usual[n] != other[n]} == moved


def test_what_was_never_played_never_holds():
    from crossplay.gallery.agent_protocols import claim

    s = Settings(rounds=6)
    got = {
        name: job(*j) if j[0] == "process" else Played(error="nobody came", world=[""] * len({b for b, _ in j[2]}))
        for name, j in claim._wanted(s).items()
    }
    for way in ways.WAYS:
        assert not claim._same(s, way, got).holds and "nobody came" in claim._same(s, way, got).says
        assert not claim._killed(s, way, got).holds and not claim._messages(s, way, got).holds
    assert not any(claim._silent(s, w, got).holds for w in claim.CLOCKED)
    assert not any(claim._wrong(s, w, got).holds for w in ("wire", "a2a", "http"))
    assert not claim._asked_again(s, got).holds and not claim._waits(s, got).holds and not claim._versions(got).holds
