"""Each fault that is planted in a worker is caught, and named by the check it belongs to."""

from __future__ import annotations

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


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named(name):
    kind, found = tried(name, only=[FAULTS[name].check])
    assert failed(found) == {kind.check}, found
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
