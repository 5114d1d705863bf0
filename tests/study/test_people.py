"""Studies with people: orders of partners, sessions and their answers, and what the tables make of them.

The participants here are simulated: scripts in the seats, drawn answers in the questionnaires.
"""

from __future__ import annotations

import itertools
import re
import tomllib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from taking_part import STUDY, answers_of, result, simulate, study

from crossplay.kernel import CrossplayError
from crossplay.kernel.seeds import key
from crossplay.records import RunFolder, merge
from crossplay.records.cassette import Cassette
from crossplay.study.people import (
    Ask,
    Breaks,
    Practice,
    order_of,
    partners,
    people_of,
    practice_study,
    read_answers,
    rows_of,
    steps,
    williams,
)
from crossplay.study.plan import make_plan
from crossplay.study.runner import run_study
from crossplay.study.sessions import Sessions, name_of
from crossplay.study.spec import parse_study
from crossplay.study.stage import Stage
from crossplay.study.verify import load_run, verify


# -- orders ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize("n", range(1, 10))
def test_a_williams_design_is_balanced_for_places_and_for_who_comes_after_whom(n):
    rows = williams(n)
    assert all(sorted(row) == list(range(n)) for row in rows)
    assert len(rows) == (n if n % 2 == 0 or n == 1 else 2 * n)
    for place in range(n):
        assert set(Counter(row[place] for row in rows).values()) == {len(rows) // n}
    after = Counter(pair for row in rows for pair in itertools.pairwise(row))
    if n > 1:
        assert set(after) == set(itertools.permutations(range(n), 2))
        assert len(set(after.values())) == 1


@given(n=st.integers(1, 8), sets=st.integers(1, 3), root=st.integers(0, 99))
def test_full_sets_of_participants_are_balanced(n, sets, root):
    count = sets * rows_of(n, "counterbalanced")
    orders = [order_of(n, slot, "counterbalanced", key("people", root)) for slot in range(count)]
    assert {tuple(sorted(o)) for o in orders} == {tuple(range(n))}
    for place in range(n):
        assert set(Counter(o[place] for o in orders).values()) == {count // n}
    after = Counter(pair for o in orders for pair in itertools.pairwise(o))
    assert len(set(after.values())) <= 1
    assert len(after) == n * (n - 1)


@given(n=st.integers(2, 8), count=st.integers(1, 40), root=st.integers(0, 99))
def test_after_any_number_of_participants_no_place_is_off_by_more_than_one(n, count, root):
    orders = [order_of(n, slot, "counterbalanced", key("people", root)) for slot in range(count)]
    for place in range(n):
        seen = [sum(o[place] == partner for o in orders) for partner in range(n)]
        assert max(seen) - min(seen) <= 1


def test_orders_are_seeded_and_may_be_drawn_or_given():
    def orders(how, root):
        return [order_of(5, slot, how, key("people", root)) for slot in range(20)]

    assert orders("counterbalanced", 1) == orders("counterbalanced", 1) != orders("counterbalanced", 2)
    assert orders("random", 1) != orders("random", 2)
    assert len({tuple(o) for o in orders("random", 1)}) > 10
    assert orders("given", 1) == [[0, 1, 2, 3, 4]] * 20


# -- the study file --------------------------------------------------------------------------------------
def test_blocks_belong_to_participants_and_the_file_reads_back():
    made = study()
    assert made.blocks == list(range(12))
    assert [made.people.of(b) for b in (0, 1, 2, 11, 12)] == [1, 1, 2, 6, 7]
    again = parse_study(tomllib.loads(made.toml()))
    assert again.digest() == made.digest()
    assert again.people == made.people


def test_a_study_without_people_keeps_its_digest():
    """The digest of a file as it was before studies could have people."""
    plain = {k: v for k, v in STUDY.items() if k != "people"}
    plain["agents"] = {**plain["agents"], "me": "random", "nasty": "strategy:always_defect"}
    made = parse_study(plain)
    assert "people" not in made.toml()
    assert made.digest() == "1d82eb90e4a835cf731fd4e8ac93daa8d15abf833747e54f5ce3d63372c153bf"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"consent": " "}, "people.consent: say what is recorded"),
        ({"participant": "m"}, 'people.participant: "m" is no agent of type person. Did you mean "me"'),
        ({"participants": 0}, "people.participants = 0: at least 1"),
        ({"participnts": 3}, 'people.participnts: unknown key. Did you mean "participants"'),
        ({"order": "balanced"}, "people: Invalid enum value 'balanced'"),
        (
            {"practice": {"seats": ["me", "nic"]}},
            r'people.practice.seats\[1\]: unknown agent "nic". Did you mean "nice"',
        ),
        (
            {"practice": {"seats": ["nice", "nice"], "blocks": 1}},
            'people.practice.seats: name the agents in seat order, "me"',
        ),
        ({"questions": [{"name": "a", "ask": "A?"}] * 2}, 'two questions are called "a"'),
        (
            {"questions": [{"name": "a", "ask": "A?", "kind": "choice"}]},
            r"people.questions\[0\].choices: name at least two",
        ),
        ({"questions": [{"name": "a", "ask": "A?", "lables": []}]}, r"people.questions\[0\].lables: unknown key"),
        (
            {"questions": [{"name": "a", "ask": "A?", "kind": "text", "scale": "s"}]},
            "only likert questions and numbers",
        ),
        (
            {"questions": [{"name": "a", "ask": "A?", "kind": "choice", "choices": "partners"}]},
            "can be asked at the end only",
        ),
    ],
)
def test_a_mistake_is_named(change, said):
    with pytest.raises(CrossplayError, match=said):
        study(**change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lineups": {"nice+nice": ["nice", "nice"]}}, 'none seats "me"'),
        ({"lineups": {"me+me": ["me", "me"]}}, 'the participant "me" has one seat, not 2'),
        ({"lineups": {"x": {"seats": ["me", "nice"], "blocks": 1}}}, "leave blocks, dev and shared_memory out"),
        ({"study": {**STUDY["study"], "replicates": 2}}, "people play each block once"),
        ({"study": {**STUDY["study"], "blocks": 5}}, "study.blocks: leave it out"),
    ],
)
def test_a_study_that_people_cannot_play_is_refused(change, said):
    data = {**STUDY, "study": {**STUDY["study"], "baseline": None}, **change}
    data["study"] = {k: v for k, v in data["study"].items() if v is not None}
    with pytest.raises(CrossplayError, match=said):
        Stage(parse_study(data))


def test_the_plan_shows_the_sessions():
    stage = Stage(study())
    stage.check()
    plan = make_plan(stage)
    assert {r.lineup: r.how for r in plan.rows if "me" in r.lineup.split("+")} == dict.fromkeys(
        ("me+nice", "me+nasty", "me+random"), "people"
    )
    assert "6 sessions with people: 6 episodes with 3 partners each after 1 of practice, 5 questions" in plan.warnings
    assert sum(w.startswith("order ") for w in plan.warnings) == 6


# -- sessions --------------------------------------------------------------------------------------------
def test_a_participant_does_everything_in_order():
    stage = Stage(study())
    practice = Stage(practice_study(stage.study)).cells
    mine = [c for c in stage.cells if people_of(stage.study, c)]
    for slot in range(6):
        done = steps(stage.study, mine, practice, slot + 1, slot)
        order = order_of(3, slot, "counterbalanced", key("people", 3))
        met = [partners(stage.study)[i] for i in order]
        kinds = [s.kind for s in done]
        visit = ["play", "play", "questions"]
        assert kinds == [
            "consent",
            "instructions",
            "practice",
            *visit,
            "break",
            *visit,
            "break",
            *visit,
            "questions",
            "thanks",
        ]
        assert [s.partner for s in done if s.kind == "play"] == [p for p in met for _ in range(2)]
        assert {s.block for s in done if s.kind == "play"} == {2 * slot, 2 * slot + 1}
        assert len({s.name for s in done}) == len(done)


def test_the_practice_worlds_are_none_of_those_that_count():
    made = Stage(study()).study
    apart = practice_study(made)
    assert apart.root != made.root
    assert apart.people is None
    assert [c.name for c in Stage(apart).cells] == ["me+random"]
    assert practice_study(study(practice={})) is None


def test_answers_are_checked_against_their_questions():
    asked = study().people.asked("end")
    met = ["me+nasty", "me+nice"]
    assert read_answers(asked, {"again": 2, "age": 3}, met) == {"again": "me+nice", "age": 3}
    for wrong, said in (
        ({"age": 3}, "With whom again.* is not answered"),
        ({"again": 3, "age": 3}, "expected one of 1 to 2"),
        ({"again": 1, "age": 100}, "expected a number between 0 and 99"),
        ({"again": 1, "age": 10**5000}, "expected a number between 0 and 99"),
        ({"again": 1, "age": 1, "words": "x" * 5000}, "at most 4000"),
        ({"again": 1, "age": 1, "wrds": "x"}, 'no question "wrds". Did you mean "words"'),
        ({"again": True, "age": 1}, "expected one of 1 to 2"),
        ({"again": float("inf"), "age": 1}, "expected one of 1 to 2"),
    ):
        with pytest.raises(CrossplayError, match=said):
            read_answers(asked, wrong, met)
    likert = [Ask("a", "A?", labels=["no", "yes"])]
    assert read_answers(likert, {"a": 2}, ()) == {"a": 2}
    with pytest.raises(CrossplayError, match="expected one of 1 to 2"):
        read_answers(likert, {"a": 0}, ())


def test_sessions_are_kept_and_a_left_place_is_free_again(tmp_path):
    with Cassette(tmp_path / "c.sqlite") as cassette:
        kept = Sessions(cassette, 3)
        first, second = kept.invite(2), kept.invite(2)
        assert (first.number, first.slot, second.slot, first.status) == (1, 0, 1, "invited")
        with pytest.raises(CrossplayError, match="all 2 places are taken"):
            kept.invite(2)
        kept.note(1, "consent", {"agree": True})
        with pytest.raises(CrossplayError, match="p01: consent is answered already"):
            kept.note(1, "consent", {"agree": True})
        kept.note(1, "left", {})
        kept.note(2, "consent", {"agree": False})
        third = kept.invite(2)
        assert (third.number, third.slot) == (3, 0)
        assert [s.status for s in kept.all()] == ["left", "declined", "invited"]
    with Cassette(tmp_path / "c.sqlite", "strict") as cassette:
        again = Sessions(cassette, 3)
        assert again.all() == kept.all()
        assert Sessions(cassette, 4).all() == []


# -- a whole study with simulated participants -----------------------------------------------------------
@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people") / "run"
    simulate(folder)
    return folder


def values(folder, found, lineup):
    """Per participant the mean value of the metric."""
    scores = next(s for s in found.scores if s.lineup == lineup)
    means = {}
    for block, value in zip(scores.blocks, scores.values, strict=True):
        means.setdefault(block // 2, []).append(value)
    return {n: float(np.mean(v)) for n, v in means.items()}


def test_the_tables_are_the_paired_t_over_participants(finished):
    found = result(finished)
    base = values(finished, found, "me+nice")
    assert sorted(base) == list(range(6))
    for row in found.rows:
        if "me" not in row.lineup.split("+") or row.lineup == "me+nice":
            continue
        mine = values(finished, found, row.lineup)
        test = stats.ttest_rel([mine[n] for n in sorted(mine)], [base[n] for n in sorted(base)])
        low, high = test.confidence_interval(0.95)
        assert row.comparison.units == 6
        assert row.comparison.p == pytest.approx(test.pvalue, rel=1e-9)
        assert (row.comparison.interval.low, row.comparison.interval.high) == pytest.approx((low, high), rel=1e-9)
        assert row.comparison.interval.df == 5
        one = stats.ttest_1samp([mine[n] for n in sorted(mine)], 0).confidence_interval(0.95)
        assert (row.summary.mean.interval.low, row.summary.mean.interval.high) == pytest.approx(tuple(one), rel=1e-9)
    assert found.notes[-1] == "6 of 6 participants took part: 6 complete"


def test_the_questionnaire_is_a_metric_in_the_same_tables(finished):
    found = result(finished)
    trust = next(q for q in found.asked if q.name == "trust")

    def points(lineup):
        given = [answers_of(n, lineup) for n in range(1, 7)]
        return [(a["fair"] + 6 - a["tricked"]) / 2 for a in given]

    rows = {r.lineup: r for r in trust.rows}
    assert set(rows) == {"me+nice", "me+nasty", "me+random"}
    for lineup, row in rows.items():
        mine = points(lineup)
        assert row.answers == 6
        one = stats.ttest_1samp(mine, 0).confidence_interval(0.95)
        assert (row.summary.mean.interval.low, row.summary.mean.interval.high) == pytest.approx(tuple(one), rel=1e-9)
        if lineup == "me+nice":
            assert row.comparison is None
            continue
        test = stats.ttest_rel(mine, points("me+nice"))
        assert row.comparison.p == pytest.approx(test.pvalue, rel=1e-9)
        assert row.comparison.interval.low == pytest.approx(test.confidence_interval(0.95).low, rel=1e-9)
    again = next(q for q in found.asked if q.name == "again")
    assert sum(again.rows[0].counts.values()) == 6
    games = next(q for q in found.asked if q.name == "age")
    assert games.rows[0].summary.mean.value == 3.5
    assert [q.name for q in found.asked] == ["trust", "again", "age"]  # nobody wrote anything


def test_a_run_with_people_is_verified_like_any_other(finished, tmp_path):
    found = verify(finished, "agents")
    assert found.ok, found.findings
    assert found.replayed == found.episodes == 6 * 2 * 3 + 12
    assert {k.split(" | ")[1] for k in found.recorded_only} == {"me+nice", "me+nasty", "me+random"}


def test_a_changed_answer_is_found(finished, tmp_path):
    import shutil
    import sqlite3

    copy = tmp_path / "run"
    shutil.copytree(finished, copy)
    with sqlite3.connect(copy / "cassette" / "cassette.sqlite") as db:
        (reply,) = db.execute("SELECT reply FROM calls WHERE seat LIKE 'questions/%' LIMIT 1").fetchone()
        flipped = bytes([*reply[:-1], reply[-1] ^ 1])
        db.execute("UPDATE calls SET reply = ? WHERE reply = ?", (flipped, reply))
    assert not verify(copy, "seals").ok


def test_a_participant_who_leaves_is_counted_and_what_they_finished_stays(tmp_path):
    folder = tmp_path / "run"
    simulate(folder, leaves={2: 7, 5: 0})  # p02 after 2 + 1 episodes, p05 before agreeing
    found = result(folder)
    a = found.attendance
    assert (a.wanted, a.took_part, a.complete, a.left, a.declined) == (6, 5, 4, 1, 1)
    assert a.incomplete == {"p02": 3}
    assert "5 of 6 participants took part: 4 complete, 1 left before the end, 1 declined" in found.notes
    assert any("of 6 episodes each are in the tables: p02 3" in n for n in found.notes)
    assert any("balanced after every 6 complete sessions; there are 4" in n for n in found.notes)
    units = {
        r.lineup: r.comparison.units for r in found.rows if r.comparison is not None and "me" in r.lineup.split("+")
    }
    assert sorted(units.values())[-1] == 5  # p02 met two partners, one of them in one block
    assert verify(folder).ok


def test_lineups_without_people_meet_the_worlds_of_those_who_came_for_others(tmp_path):
    """They had the blocks that were planned alone: the participant who came for p02 was compared with no floor."""
    folder = tmp_path / "run"
    simulate(folder, leaves={2: 3}, numbers=7)
    floor = next(r for r in result(folder).rows if "floor" in r.role)
    assert (floor.comparison.blocks, floor.comparison.units) == (11, 6), "of p02 one block, of p07 none"
    run_study(Stage(study(), folder), folder)
    found = result(folder)
    floor = next(r for r in found.rows if "floor" in r.role)
    with RunFolder.open(folder) as run:
        blocks = {r.block for r in run.records() if r.lineup == floor.lineup}
    assert blocks == set(range(14))
    assert (floor.comparison.blocks, floor.comparison.units) == (13, 7)
    assert verify(folder).ok


def test_parts_of_a_study_are_joined_with_their_sessions(finished, tmp_path):
    """They travel with the cassette, call by call; the same participant is one in both."""
    simulate(tmp_path / "part", numbers=1)
    merge(tmp_path / "part", finished, tmp_path / "both")
    found = result(tmp_path / "both")
    assert found.attendance.complete == 6
    assert found.episodes == 48
    assert [(r.summary, r.comparison) for r in found.rows] == [(r.summary, r.comparison) for r in result(finished).rows]
    assert found.asked == result(finished).asked


def test_names_are_numbers():
    assert [name_of(n) for n in (1, 12, 123)] == ["p01", "p12", "p123"]


def test_the_report_and_the_terminal_show_participants(finished, capsys):
    from crossplay.cli.studies import show
    from crossplay.study.report import report_html

    run, made = load_run(finished)
    with run:
        page = report_html(run, made)
    assert 'id="people"' in page
    assert "trust (1 to 5): mean over participants" in page
    assert "over 12 blocks of 6 participants" in page
    assert show(finished) == 0
    said = capsys.readouterr().out
    assert "Asked: mean of 2 answers (trust, 1 to 5)" in said
    assert "note: 6 of 6 participants took part: 6 complete" in said
    assert "people are needed" not in said
    assert "few participants" in said


def test_running_such_a_study_says_that_people_are_needed(tmp_path, capsys):
    from crossplay.cli.studies import play_study

    assert play_study(study(), tmp_path / "run") == 0
    assert "people are needed for the rest: crossplay serve" in capsys.readouterr().out


def test_the_page_lists_every_key_of_a_question():
    text = (Path(__file__).parents[2] / "docs" / "people.md").read_text()
    table = text.split("`[[people.questions]]`:")[1].split("\n## ")[0]
    keys = [
        k for line in table.splitlines() if line.startswith("| `") for k in re.findall(r"`(\w+)`", line.split("|")[1])
    ]
    assert keys == list(Ask.__struct_fields__)
    for name in (*Practice.__struct_fields__, *Breaks.__struct_fields__):
        assert f"`{name}`" in text


def test_slices_and_comparisons_of_runs_count_participants_too(finished):
    from crossplay.study.slices import Slice, slice_mean

    found = result(finished)
    rows = tuple(r for r in found.rows if r.lineup == "me+nasty")
    mean = slice_mean(Slice("matrix/stag_hunt", "brain", "person", rows), found.scores)
    assert mean.n == 6
    assert mean.interval.low == pytest.approx(rows[0].summary.mean.interval.low)
    scores = next(s for s in found.scores if s.lineup == "me+nasty")
    assert scores.units()[0] == [1, 2, 3, 4, 5, 6]
