"""The conformance kit: every environment of ours passes, and every check fails on a world broken for it."""

from __future__ import annotations

import re

import pytest

from broken_rows import Ring
from broken_worlds import BROKEN, Fair, ShortPrint, Unruly
from crossplay.envs.check import CHECKS, check
from crossplay.kernel import CrossplayError, entries, load, registry


def ring(width):
    return Ring(width)


GOOD = {"object": (Fair, None), "array": (lambda: Ring(1).single(), ring)}


@pytest.mark.parametrize("kind", GOOD)
def test_a_good_world_passes(kind):
    make, batch = GOOD[kind]
    report = check(make, batch, chance=True)
    assert report, report.text()
    tried = {f.name for f in report.findings if not f.skipped}
    assert tried >= {"determinism", "snapshots", "equal-views", "played"} and ("batch-widths" in tried) == (
        batch is not None
    )


@pytest.mark.parametrize(("name", "match", "make", "batch"), BROKEN, ids=[f"{b[0]}-{i}" for i, b in enumerate(BROKEN)])
def test_a_broken_world_is_refused(name, match, make, batch):
    report = check(make, batch, ticks=20, only=[name], chance=True)
    assert not report and re.search(match, report.findings[0].detail), report.text()


# -- what needs a registered name -----------------------------------------------------------------------------


class _Registered:
    """A family with two options; `fault` names what is wrong with it."""

    summary = "worlds for the kit"

    def __init__(self, fault=""):
        self.fault = fault

    def names(self):
        return ()

    def make(self, rest, options):
        env = Fair()
        full = {"horizon": 12, "loud": False} | dict(options)
        env.name = "test"
        env.options = (
            {} if self.fault == "silent" else {k: v for k, v in full.items() if v != {"horizon": 12, "loud": False}[k]}
        )
        if self.fault == "default":
            env.options = dict(options)
        env.horizon = (
            12
            if self.fault == "deaf"
            else full["horizon"] + (1 if self.fault == "late" and full["horizon"] == 3 else 0)
        )
        return env

    def batch(self, rest, width, options):
        return None

    def schema(self, rest):
        props = {
            "horizon": {"type": "integer", "minimum": 1, "maximum": 99, "default": 12, "description": "Ticks."},
            "loud": {"type": "boolean", "default": False, "description": "Loud."},
        }
        if self.fault == "mute":
            del props["loud"]["description"]
        return {"type": "object", "properties": props}


@pytest.fixture
def registered(monkeypatch):
    def put(fault=""):
        class Entry:
            load = staticmethod(lambda: _Registered(fault))

        monkeypatch.setattr(registry, "_group", lambda group: {"test": Entry})

    return put


def test_a_registered_world_has_its_options_tried(registered):
    registered()
    report = check("test", only=["identity", "horizon-option", "determinism"], chance=True)
    assert report, report.text()
    assert "options tried: horizon, loud" in report.findings[0].detail and "cut at tick 3" in report.text()


@pytest.mark.parametrize(
    ("fault", "name", "match"),
    [
        ("silent", "identity", "gives the same id"),
        ("default", "identity", "is the default, yet it changes the id"),
        ("mute", "identity", "needs a description"),
        ("deaf", "horizon-option", "was asked for"),
        ("late", "horizon-option", "was asked for"),
    ],
)
def test_a_broken_family_is_refused(registered, fault, name, match):
    registered(fault)
    report = check("test", only=[name])
    assert not report and match in report.findings[0].detail, report.text()


def test_another_process_that_plays_another_game_is_seen(monkeypatch):
    assert check("matrix/chicken", only=["processes"], ticks=5)
    from crossplay.envs import matrix

    monkeypatch.setitem(matrix.GAMES, "chicken", (("swerve", "straight"), [[(3, 3), (1, 5)], [(5, 1), (0, 9)]], ""))
    report = check("matrix/chicken", only=["processes"], ticks=5)
    assert not report and "other episodes" in report.findings[0].detail


def test_every_check_has_a_world_that_it_refuses():
    proved = {b[0] for b in BROKEN} | {"horizon-option", "processes"}
    assert proved == set(CHECKS)


# -- the report -------------------------------------------------------------------------------------------------


def test_the_report_says_what_to_do():
    report = check(Unruly, only=["spectators", "batch-form", "turns"])
    assert not report.passed and [f.name for f in report.failures] == ["spectators"]
    text = report.text()
    assert "FAIL  spectators" in text and "skip  batch-form" in text and 'Next: repair "spectators"' in text
    assert "image leaves out: all but the rain" in text and "events (chance is addressed" in text
    found = report.to_dict()
    assert found["passed"] is False and {f["name"]: f["passed"] for f in found["findings"]}["turns"] is True
    with pytest.raises(CrossplayError, match='Did you mean "spaces"'):
        check(Fair, only=["space"])


def test_whatever_a_world_raises_is_a_failed_check():
    class Raises(Fair):
        def score(self):
            raise KeyError("wet")

    assert check(Raises, only=["scores"]).findings[0].detail == "KeyError: 'wet'"


def test_sequential_chance_is_exempt_and_said():
    class Foreign(ShortPrint):
        paired = "start"

    report = check(Foreign, only=["fingerprint"])
    assert report and "start (chance is drawn in sequence" in report.text()


# -- every environment that is here --------------------------------------------------------------------------------

FIRST: dict[str, dict] = {
    "kitchen/cramped_room": {"ticks": 30},
    "kitchen/forced_coordination": {"ticks": 30, "options": {"cooking": "interact", "horizon": 60}},
    "pitch/soccer-2v2": {"ticks": 25, "options": {"horizon": 50}},
    "pitch/collect-solo": {"ticks": 25, "options": {"observe": "full", "horizon": 50}},
    "spread": {"ticks": 25},
    "matrix/prisoners_dilemma": {"ticks": 20, "options": {"continuation": 0.9}},
}


@pytest.mark.parametrize("name", FIRST)
def test_ours_conform(name):
    report = check(name, blocks=2, chance=True, processes=False, **FIRST[name])
    assert report, report.text()
    assert not {f.name for f in report.findings if f.skipped} - {"skills", "horizon-option", "processes"}, report.text()


def _names():
    for family in ("kitchen", "pitch", "spread", "matrix"):
        yield from (
            f"{family}/{rest}".rstrip("/")
            for rest in [r for r in load("envs", family).names() if r != "custom"] or [""]
        )


@pytest.mark.parametrize("name", _names())
def test_every_environment_of_ours_conforms(name):
    report = check(name, blocks=1, ticks=8, processes=False)
    assert report, report.text()


def _ours():
    for family in ("kitchen", "pitch", "spread", "matrix"):
        if family not in entries("envs"):
            continue
        rests = [r for r in load("envs", family).names() if r != "custom"] or [""]
        for rest in rests[:: 7 if family == "pitch" else 1]:
            yield f"{family}/{rest}".rstrip("/"), {}
    yield "spread", {"n": 5, "stop_when_covered": True}
    yield "spread", {"n": 1}
    for observe in ("own", "full", "team"):
        for reference in (False, True):
            yield "pitch/soccer-2v2", {"observe": observe, "reference": reference, "view_size": 5}
    yield "kitchen/cramped_room", {"start": "standard", "cooking": "interact"}
    yield "matrix/custom", {"payoff": [[[1, 2], [0, 0], [3, 3]]] * 3, "continuation": 0.8}


@pytest.mark.full
@pytest.mark.parametrize(("name", "options"), list(_ours()), ids=str)
def test_ours_conform_in_full(name, options):
    report = check(name, options=options)
    assert report, report.text()


FOREIGN = (
    *(f"gym:{n}" for n in ("CartPole-v1", "FrozenLake-v1", "MountainCarContinuous-v0", "Blackjack-v1")),
    *(f"minigrid:{n}" for n in ("MiniGrid-Empty-5x5-v0", "MiniGrid-DoorKey-5x5-v0", "BabyAI-GoToLocal-v0")),
    *(f"pettingzoo:classic/{n}" for n in ("tictactoe_v3", "connect_four_v3", "rps_v2", "leduc_holdem_v4")),
    *(f"pettingzoo:mpe/{n}" for n in ("simple_spread_v3", "simple_speaker_listener_v4")),
    *(f"openspiel:{n}" for n in ("tic_tac_toe", "kuhn_poker", "connect_four", "backgammon", "goofspiel", "hanabi")),
)


@pytest.mark.full
@pytest.mark.parametrize("name", FOREIGN)
def test_adapters_conform(name):
    pytest.importorskip({"gym": "gymnasium", "openspiel": "pyspiel"}.get(name.split(":")[0], name.split(":")[0]))
    report = check(name)
    assert report, report.text()
