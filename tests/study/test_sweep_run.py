"""Rules swept over a run's recorded answers: as counted by hand, and no call is made."""

from collections import Counter

import pytest

import crossplay
from crossplay.kernel import unpack
from crossplay.study.sweep import sweep_run

STUDY = {
    "environments": ["qa/synthetic"],
    "study": {"name": "sweep", "blocks": 40, "margin": 0.1},
    "agents": {
        "one": {"type": "believer", "calibration": 1.0},
        "two": {"type": "believer", "channel": 1, "calibration": 1.0},
        "debate": {"type": "team", "members": ["one", "two", "one"], "protocol": {"name": "debate", "rounds": 2}},
    },
    "lineups": {"debate": ["debate"]},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "run"
    crossplay.run(STUDY, folder)
    return folder


def by_hand(folder):
    """Per block: the right answer (what the scholar played), and the answers of each round by member."""
    right, said = {}, {}
    with crossplay.open_run(folder) as opened:
        groups = {c.name: c.extra["group"] for c in opened.cells()}
        for record in opened.records():
            events = opened.events(record.id)
            if groups[record.cell] == "scholar":
                right[record.block] = next(e.value for e in events if e.kind == "act")
            if groups[record.cell] == "debate":
                rounds = said[record.block] = {}
                for e in events:
                    if e.kind == "post":
                        post = unpack(e.note)
                        rounds.setdefault(post["round"], []).append(post["value"])
    return right, said


def decided(answers, share):
    (top, n), *_ = Counter(answers).most_common()
    return top if n > share * len(answers) else None


@pytest.mark.parametrize(("rule", "share"), [("majority", 0.5), ("unanimity", 0.99)])
def test_a_rule_at_the_end_and_at_the_first_decision(run, rule, share):
    right, said = by_hand(run)
    assert len(said) == 40
    end = {b: decided(rounds[2], share) for b, rounds in said.items()}
    [row] = sweep_run(run, "debate", [rule])
    assert row.accuracy.value == pytest.approx(sum(end[b] == right[b] for b in said) / 40)
    assert row.decided == pytest.approx(sum(v is not None for v in end.values()) / 40)
    assert row.further_calls == 3 * sum(v is None for v in end.values())
    turns = {b: next((t for t in range(3) if decided(r[t], share) is not None), None) for b, r in said.items()}
    [row] = sweep_run(run, "debate", [rule], "first")
    assert row.calls == sum(3 * (3 if t is None else t + 1) for t in turns.values())
    hits = [b for b, t in turns.items() if t is not None and decided(said[b][t], share) == right[b]]
    assert row.accuracy.value == pytest.approx(len(hits) / 40)


def test_all_rules_and_what_they_lack(run):
    rows = {r.rule: r for r in sweep_run(run, "debate")}
    assert rows["confidence"].accuracy is not None  # believers say how sure they are
    assert rows["borda"].mark == "not recorded: ranking" and rows["borda"].further_calls == 40 * 3


def test_errors_name_the_nearest(run):
    for args, said in ((("debat",), "debate"), (("debate", ["pluralty"]), "plurality")):
        with pytest.raises(crossplay.CrossplayError, match=said):
            sweep_run(run, *args)
    with pytest.raises(crossplay.CrossplayError, match="first"):
        sweep_run(run, "debate", [], "last")
