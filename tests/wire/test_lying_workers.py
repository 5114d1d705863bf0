"""Whatever a worker sends, the engine has an answer, a coded error or the end of the connection: nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import crossplay
from crossplay.agents.remote.agent import read_acts
from crossplay.kernel import Action, Block, Fault, loop, make_env, play
from crossplay.kernel.agent import Agent
from crossplay.study.verify import verify
from crossplay.wire.channel import Channel, Gone, welcome
from crossplay.wire.frames import Codec, WireError
from crossplay.wire.messages import Acts, Hello, Ping

LIAR = Path(__file__).parent / "broken/liar.py"

scraps = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
arrays = st.sampled_from(
    [np.zeros(2), np.array([1, 0], "u1"), np.zeros((2, 3)), np.array([np.nan, np.inf]), np.array(3), np.zeros((2, 0))]
)
rows = st.dictionaries(st.integers(0, 3), scraps, max_size=3)
answers = st.builds(
    Acts, id=st.just(1), values=scraps | arrays | st.lists(scraps, min_size=2, max_size=2),
    faults=rows, says=rows, confidence=rows, why=rows, memo=scraps | arrays | st.none(), usage=rows, counts=rows,
)  # fmt: skip


@settings(deadline=None, max_examples=400)
@given(answers)
@example(Acts(id=1, values=[0, 0], usage={0: [float("inf"), 0, 0, 0]}))
@example(Acts(id=1, values=[0, 0], counts={1: {"x": float("nan")}}))
@example(Acts(id=1, values=[0, 0], memo=np.array(3)))
@example(Acts(id=1, values=np.array(3)))
def test_any_acts_are_read_or_refused(message):
    try:
        found = read_acts(message, 2)
    except WireError as error:
        assert error.code == "BAD_VALUE"
        return
    assert len(found) == 2 and all(isinstance(a, (Action, Fault, WireError)) for a in found)


class Said(Agent):
    """Answers with what a worker said."""

    name = "said"

    def __init__(self, found):
        self.found = found

    def act(self, obs):
        return self.found


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(answers)
@example(Acts(id=1, values=[0, 0], confidence={0: "sure"}))
@example(Acts(id=1, values=[0, 0], confidence={0: float("nan")}))
@example(Acts(id=1, values=[0, 0], why={0: {"a": 1}}))
@example(Acts(id=1, values=[0, 0], says={0: [["p1", {"deep": [None]}, "main"]]}))
def test_what_was_read_is_played_and_counted_never_fatal(message):
    try:
        answer, _ = read_acts(message, 2)
    except WireError:
        return
    if isinstance(answer, WireError):
        return
    env = make_env("matrix/prisoners_dilemma", {"rounds": 2})
    outcome = loop(play(env, dict.fromkeys(env.seats, Said(answer)), Block(1, 0)))
    assert outcome.status in ("horizon", "terminal") or outcome.status.startswith("forfeit")


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.binary(min_size=1, max_size=80)
        | st.dictionaries(
            st.sampled_from(["t", "id", "values", "code", "data"]),
            scraps | st.sampled_from(["ok", "acts", "error", "event", "hello", "env.open"]),
            max_size=4,
        ).map(msgspec.msgpack.encode),
        max_size=4,
    ),
    st.booleans(),
)
def test_any_bytes_answer_fail_or_end(bodies, on_loop):
    ours, theirs = socket.socketpair()
    channel = Channel(ours, Codec())
    for body in bodies:
        theirs.sendall(struct.pack("<I", len(body)) + body)
    theirs.shutdown(socket.SHUT_WR)
    with contextlib.closing(theirs), contextlib.closing(channel):
        try:
            if on_loop:
                asyncio.run(channel.aask(Ping(id=channel.number()), 2.0))
            else:
                channel.ask(Ping(id=channel.number()), 2.0)
        except (Gone, WireError, TimeoutError):
            pass
        assert channel.gone or channel.inflight == 0


@settings(deadline=None, max_examples=200)
@given(
    st.binary(max_size=60)
    | st.builds(
        Hello,
        v=st.lists(st.integers(-1, 3), max_size=3),
        codecs=st.lists(st.sampled_from(["msgpack", "json", "x"]), max_size=2),
        name=st.text(max_size=3),
    ).map(lambda h: Codec().frame(h))
)
def test_any_first_bytes_are_welcomed_or_refused(data):
    ours, theirs = socket.socketpair()
    theirs.sendall(data)
    theirs.shutdown(socket.SHUT_WR)
    with contextlib.closing(theirs):
        try:
            channel, hello = welcome(ours, timeout=2.0)
        except (Gone, WireError, TimeoutError):
            ours.close()
            return
        assert isinstance(hello, Hello)
        channel.close()


@pytest.mark.parametrize("size", [1 << 25, 0xFFFFFFFF])
def test_a_claim_of_a_large_frame_takes_no_memory(size):
    ours, theirs = socket.socketpair()
    theirs.sendall(struct.pack("<I", size) + bytes(1000))
    with pytest.raises(WireError, match="a frame of"):
        welcome(ours, timeout=2.0)
    ours.close()
    theirs.close()


def test_a_lying_worker_corrupts_no_run(tmp_path):
    study = {
        "study": {"name": "lies", "blocks": 12, "root": 2, "margin": 0.1, "baseline": "here"},
        "environments": ["matrix/prisoners_dilemma"],
        "agents": {"liar": {"type": "worker", "command": ["python", str(LIAR)]}, "here": {"type": "random"}},
        "lineups": {"liar": ["liar", "here"], "here": ["here", "here"]},
        "conduct": {"invalid": ["random"], "error": ["random"], "timeout": ["random"]},
    }
    crossplay.run(study, tmp_path / "run", trust=True)
    with crossplay.open_run(tmp_path / "run") as run:
        records = list(run.records())
        assert {r.status for r in records} == {"horizon"}
        faults = [count for r in records for count in r.counts.values()]
        assert sum(c.get("invalid", 0) for c in faults) > 10 and sum(c.get("error", 0) for c in faults) > 10
        for record in records:
            assert len(list(run.events(record.id))) > 0
    checked = verify(tmp_path / "run", "actions")
    assert checked.findings == [] and checked.episodes == len(records)
