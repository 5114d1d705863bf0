"""One episode inside its teams, post by post: adds up to the ledger, and stands as the trace has it."""

from __future__ import annotations

from collections import Counter

import pytest

from crossplay.kernel import unpack
from crossplay.models import Door
from crossplay.models.scripted import ScriptedBackend
from crossplay.models.types import Reply, Usage
from crossplay.records.cassette import Cassette
from crossplay.study.inside import inside_of
from crossplay.study.inside_one import episode_inside
from crossplay.study.runner import run_study
from crossplay.study.spec import parse_study
from crossplay.study.stage import Stage
from crossplay.study.verify import load_run

STUDY = {
    "study": {"name": "one", "blocks": 10, "root": 3, "margin": 0.05},
    "environments": ["qa/synthetic"],
    "controls": {"equal_cost": False, "floor": False, "ceiling": False, "single": False},
    "agents": {
        "a": {"type": "believer", "calibration": 4.0},
        "b": {"type": "believer", "channel": 1},
        "c": {"type": "answerer", "channel": 2},
        "talk": {
            "type": "team",
            "members": ["c", "a", "b"],
            "protocol": {"name": "debate", "rounds": 2},
            "topology": "ring",
        },
        "inner": {"type": "team", "members": ["b", "c"], "protocol": {"name": "debate", "rounds": 1}},
        "nested": {"type": "team", "members": ["inner", "a"], "protocol": {"name": "debate", "rounds": 1}},
    },
    "lineups": {"talk": ["talk"], "nested": ["nested"], "a": ["a"]},
}
CHANGES = {"right kept": "right_right", "right to wrong": "right_wrong", "wrong to right": "wrong_right", "wrong kept": "wrong_wrong"}  # fmt: skip


def played(study, folder, *backends):
    stage = Stage(parse_study(study), folder)
    if backends:
        stage.use(Door({b.name: b for b in backends}, Cassette(folder / "cassette")))
    stage.check()
    run_study(stage, folder)
    stage.close()
    return folder


def insides(folder, lineup, **more):
    run, study = load_run(folder)
    with run:
        return [episode_inside(run, study, r, **more) for r in run.records() if r.lineup == lineup]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return played(STUDY, tmp_path_factory.mktemp("one") / "run")


@pytest.fixture(scope="module")
def talk(folder):
    return insides(folder, "talk")


def test_posts_are_those_of_the_trace(folder, talk):
    run, _ = load_run(folder)
    with run:
        for one in talk:
            notes = [(e, unpack(e.note)) for e in run.events(int(one.episode, 16)) if e.kind == "post"]
            [d] = one.decisions
            assert len(d.posts) == len(notes) == 9
            for (e, n), p in zip(sorted(notes, key=lambda x: x[1]["id"]), d.posts, strict=True):
                member = d.members[p.member].name
                assert (p.id, p.round, member, p.value, p.sees) == (
                    n["id"],
                    n["round"],
                    n["member"],
                    n["value"],
                    n["sees"],
                )
                assert p.step == "/".join(map(str, (e.tick, one.decisions[0].seat, *e.path)))
                assert (p.answer, p.fault) == (True, "")


def test_who_spoke_to_whom_keeps_to_the_topology(talk):
    for one in talk:
        [d] = one.decisions
        assert [m.name for m in d.members] == ["c", "a", "b"]  # in their places, not by their names
        assert (d.topology, d.protocol, d.rounds) == ("ring", "debate", 3)
        assert sorted(d.links) == [(0, 1), (1, 2), (2, 0)]
        author = {p.id: p.member for p in d.posts}
        spoken = {(author[i], p.member) for p in d.posts for i in p.sees}
        assert {(a, b) for a, b in spoken if a != b} == {(0, 1), (1, 2), (2, 0)}
        assert not any(p.sees for p in d.posts if p.round == 0)


def test_all_episodes_add_up_to_the_ledger(folder, talk):
    run, study = load_run(folder)
    with run:
        [ledger] = inside_of(run, study, "talk")
    counts = Counter((p.round, p.change) for one in talk for p in one.decisions[0].posts)
    for r in ledger.rounds[1:]:
        assert {k: counts[r.round, k] for k in CHANGES} == {k: getattr(r, v) for k, v in CHANGES.items()}
    for i, m in enumerate(ledger.members):
        mine = [one.decisions[0].members[i] for one in talk]
        assert (m.asks, m.words, m.calls) == (sum(x.posts for x in mine), sum(x.spoken for x in mine), 0)
        last = [[p for p in one.decisions[0].posts if p.member == i][-1].right for one in talk]
        assert m.right == pytest.approx(sum(last) / len(last))


def test_the_vote_names_what_the_team_played_and_whether_it_is_right(talk):
    for one in talk:
        [d] = one.decisions
        assert d.vote.rule == "plurality" and d.vote.decided == d.vote.candidates[d.vote.winner]
        assert sum(d.vote.tally) == 3 and d.vote.tied == (max(d.vote.tally) == 1)
        assert d.vote.right == (one.score["accuracy"] == 1.0)
    assert len({one.decisions[0].vote.right for one in talk}) == 2


def test_a_team_within_a_team_is_a_decision_of_its_own(folder):
    for one in insides(folder, "nested"):
        outer, *inner = one.decisions
        assert [d.team for d in one.decisions] == ["nested", "inner", "inner"]
        made = [p for p in outer.posts if p.inside]
        assert [p.inside for p in made] == [d.key for d in inner] and all(d.outer == outer.key for d in inner)
        for p, d in zip(made, inner, strict=True):
            assert outer.members[p.member].name == "inner" and [m.name for m in d.members] == ["b", "c"]
            assert d.vote.right == p.right is not None


def test_where_answers_are_not_scored_the_page_says_why_and_still_compares_them(folder):
    for one in insides(folder, "talk", unjudged="its answers are programs"):
        assert one.truth == "its answers are programs"
        posts = one.decisions[0].posts
        assert {p.right for p in posts} == {None}
        before = {}
        for p in posts:
            same = "" if p.member not in before else "kept" if before[p.member] == p.value else "changed"
            assert p.change == same
            before[p.member] = p.value


def test_lineups_without_teams_have_no_decisions(folder):
    assert all(one.decisions == [] for one in insides(folder, "a"))


def test_calls_and_their_cost_are_the_members(tmp_path):
    price = {"input": 3.0, "output": 15.0, "cache_read": 0.3}
    usage = Usage(calls=1, tok_in=100, tok_out=10, cpu_us=2_000_000)
    backend = ScriptedBackend("double", lambda request: Reply("A", usage=usage, cached=40), price=price)
    agents = {
        "solver": {"type": "llm:double"},
        "three": {"type": "team", "members": ["solver"], "size": 3, "protocol": {"name": "debate", "rounds": 1}},
    }
    study = STUDY | {
        "environments": ["qa/choice"],
        "study": STUDY["study"] | {"blocks": 2},
        "agents": agents,
        "lineups": {"three": ["three"]},
        "models": {"double": {"backend": "scripted", "price": price, "answers": ["A"]}},
    }
    for one in insides(played(study, tmp_path / "run", backend), "three"):
        [d] = one.decisions
        assert d.question and all(p.words.startswith("A") and ":" in p.words for p in d.posts)
        for m in d.members:
            assert (m.calls, m.tok_in, m.tok_out, m.cached, m.cpu_s) == (2, 200, 20, 80, 4.0)
            assert m.usd == pytest.approx((120 * 3.0 + 80 * 0.3 + 20 * 15.0) / 1e6)
        assert all(len(p.calls) == 1 and len(p.calls[0].call) == 32 for p in d.posts)


def test_members_that_are_left_out_keep_their_place(tmp_path):
    study = STUDY | {
        "agents": STUDY["agents"] | {"two": {**STUDY["agents"]["talk"], "present": ["c", "b"]}},
        "lineups": {"two": ["two"]},
    }
    for one in insides(played(study, tmp_path / "run"), "two"):
        [d] = one.decisions
        assert [(m.name, m.present) for m in d.members] == [("c", True), ("a", False), ("b", True)]
        assert sorted(d.links) == [(0, 2), (2, 0)] and {p.member for p in d.posts} == {0, 2}
