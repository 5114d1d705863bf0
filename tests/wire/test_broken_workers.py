"""Each fault that is planted in a worker is caught, and named by the check it belongs to."""

from __future__ import annotations

import pytest
from broken.faults import FAULTS, Memo
from broken.little import Little, starter

from crossplay.wire.check import CHECKS, check_worker

QUICK = {"patience": 0.8, "start_s": 0.8, "exit_s": 0.8, "deadline": 0.3}
SLOW = {"memory", "at-rest"}


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
    kind = FAULTS[name]
    found = check_worker(starter(kind), only=[kind.check], **QUICK)
    assert failed(found) == {kind.check}, found
    assert all(f.text for f in found)


@pytest.mark.full
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named_by_few_checks(name):
    kind = FAULTS[name]
    found = failed(check_worker(starter(kind), **QUICK))
    assert kind.check in found
    assert found <= {kind.check} | kind.also, name


def test_every_check_names_some_fault():
    named = {kind.check for kind in FAULTS.values()}
    # These fail only together with others: they are the ground that the others stand on.
    assert set(CHECKS) - named <= {"reset", "in-flight", "cancel"}
