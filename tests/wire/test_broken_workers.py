"""Each fault that is planted in a worker is caught, and named by the check it belongs to."""

from __future__ import annotations

import os

import pytest
from broken.faults import FAULTS, Memo, Waited
from broken.little import Little, starter

from crossplay.wire.check import CHECKS, check_worker

PATIENT = {"patience": 20.0, "deadline": 0.4}
HURRIED = {"patience": 1.0, "start_s": 1.0, "exit_s": 1.0, "deadline": 0.4}


def tried(name, **options):
    kind = FAULTS[name]
    return kind, check_worker(starter(kind), **(HURRIED if issubclass(kind, Waited) else PATIENT), **options)


def failed(findings):
    return {f.name for f in findings if f.status == "failed"}


class Bare(Memo):
    """Remembers nothing at all."""

    state = "none"

    def look(self, seen, obs):
        return super().look(0, obs)


@pytest.mark.parametrize("kind", [Little, Memo, Bare])
def test_workers_without_a_fault_pass(kind):
    found = check_worker(starter(kind), patience=20.0, deadline=5.0)
    assert {f.name: f.text for f in found if f.status == "failed"} == {}
    skipped = {f.name for f in found if f.status == "skipped"}
    assert (
        skipped
        == {
            "own": {"memo"},
            "memo": {"reset", "feedback", "save-load"},
            "none": {"reset", "feedback", "memo", "save-load"},
        }[kind.state]
    )
    assert [f.name for f in found] == list(CHECKS)


class Chatty(Little):
    """Libraries print: a megabyte to both, when it starts and while it plays."""

    def run(self):
        self.chat(1 << 20)
        super().run()

    def on_act(self, message):
        self.chat(1 << 14)
        return super().on_act(message)

    def chat(self, size):
        for fd in (1, 2):
            os.write(fd, b"loading: 100% \x00\xff\x05\x00\x00\x00hello\r" * (size // 28))


def test_what_libraries_print_does_no_harm():
    found = check_worker(starter(Chatty), deadline=5.0, only=["batch", "ids", "chatter", "frames", "bye"])
    assert failed(found) == set()
    assert int(next(f.text for f in found if f.name == "chatter").split()[0]) == 1 << 16  # the end of it


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named(name):
    kind, found = tried(name, only=[FAULTS[name].check])
    assert kind.check in failed(found) and failed(found) <= {kind.check} | kind.also, found
    assert all(f.text for f in found)


@pytest.mark.full
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_by_few_checks(name):
    kind, findings = tried(name)
    found = failed(findings)
    assert kind.check in found
    assert found <= {kind.check} | kind.also, name


def test_every_check_names_some_fault():
    named = {kind.check for kind in FAULTS.values()}
    # These fail only together with others: they are the ground that the others stand on.
    assert set(CHECKS) - named <= {"reset", "in-flight", "cancel"}
