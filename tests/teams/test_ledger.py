"""The ledger of a team against slow loops over the events of the same run, and against measures of their own."""

from __future__ import annotations

import itertools
from collections import defaultdict

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from crossplay.kernel import Block, CrossplayError, make_env, unpack
from crossplay.measure.answers import answer_changes
from crossplay.models import Door
from crossplay.models.scripted import ScriptedBackend
from crossplay.models.types import Reply
from crossplay.records import RunFolder
from crossplay.records.cassette import Cassette
from crossplay.study.inside import team_ledger
from crossplay.study.runner import run_study
from crossplay.study.spec import parse_study
from crossplay.study.stage import Stage

BASE = {
    "study": {"name": "inside", "blocks": 12, "root": 3, "margin": 0.05},
    "environments": ["qa/synthetic"],
    "controls": {"equal_cost": False, "floor": False, "ceiling": False},
}
SCRIPTS = BASE | {
    "agents": {
        "a": {"type": "believer", "calibration": 4.0},
        "b": {"type": "believer", "channel": 1},
        "c": {"type": "answerer", "channel": 2},
        "talk": {"type": "team", "members": ["a", "b", "c"], "protocol": {"name": "debate", "rounds": 2}},
    },
    "lineups": {"talk": ["talk"], "a": ["a"]},
}
PRICE = {"input": 3.0, "output": 15.0, "cache_read": 0.3}


def played(study, folder, *backends):
    stage = Stage(parse_study(study), folder)
    if backends:
        stage.use(Door({b.name: b for b in backends}, Cassette(folder / "cassette")))
    stage.check()
    run_study(stage, folder)
    stage.close()
    return folder


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    return played(SCRIPTS, tmp_path_factory.mktemp("scripts") / "run")


def posts_of(folder, group):
    """[(block, round, member, value, confidence, words)] of every post, by a plain loop."""
    found = []
    with RunFolder.open(folder) as run:
        for r in run.records():
            if r.lineup == group:
                for e in run.events(r.id):
                    if e.kind == "post":
                        n = unpack(e.note)
                        said = len(n.get("text", "").split())
                        found.append((r.block, n["round"], n["member"], n["value"], n.get("confidence"), said))
    return found


def truth_of(block):
    env = make_env("qa/synthetic")
    env.start(Block(3, block))
    return env.question.answer if not env._order else env._order.index(env.question.answer)


def test_members_rounds_and_agreement_as_slow_loops_count_them(scripts):
    [found] = team_ledger(scripts)
    posts = posts_of(scripts, "talk")
    names = ["a", "b", "c"]
    value = {(b, r, m): v for b, r, m, v, _, _ in posts}
    choices = np.array([[[value[b, r, m] for m in names] for r in range(3)] for b in range(12)])
    truth = np.array([truth_of(b) for b in range(12)])
    right = choices == truth[:, None, None]

    assert (found.decisions, found.truth, [m.name for m in found.members]) == (12, "", names)
    for i, m in enumerate(found.members):
        mine = [p for p in posts if p[2] == m.name]
        assert (m.asks, m.faults, m.words) == (len(mine), 0, sum(p[5] for p in mine))
        assert m.right == pytest.approx(right[:, -1, i].mean())
        sure = [p[4] for p in mine]
        hit = [p[3] == truth[p[0]] for p in mine]
        assert m.confidence == pytest.approx(np.mean(sure))
        assert m.brier == pytest.approx(brier_score_loss(hit, sure))
        assert m.auroc == pytest.approx(roc_auc_score(hit, sure))
    words = np.array([m.words for m in found.members])
    assert found.gini == pytest.approx(np.abs(words[:, None] - words).sum() / (2 * 9 * words.mean()))

    changes = answer_changes(choices, truth)
    for t, r in enumerate(found.rounds[1:]):
        for name in ("right_right", "right_wrong", "wrong_right", "wrong_wrong"):
            assert getattr(r, name) == getattr(changes, name)[t], name
    agreed = (choices == choices[:, :, :1]).all(-1)
    score = right.mean(-1)
    for t, r in enumerate(found.rounds):
        assert (r.answers, r.agreed, r.score) == (
            36,
            pytest.approx(agreed[:, t].mean()),
            pytest.approx(score[:, t].mean()),
        )
        assert t == 0 or r.drift == pytest.approx((score[:, t] < score[:, t - 1] - 1e-9).mean())
    turns = [int(a.argmax()) + 1 for a in agreed if a.any()]
    assert found.turns == pytest.approx(np.mean(turns))
    assert found.never == pytest.approx(1 - agreed.any(-1).mean())
    assert found.lost == pytest.approx((score[:, -1] < score[:, 0]).mean())
    assert found.gained == pytest.approx((score[:, -1] > score[:, 0]).mean())
    for t, matrix in ((0, found.first), (-1, found.last)):
        for i, j in itertools.product(range(3), repeat=2):
            assert matrix[i][j] == pytest.approx((choices[:, t, i] == choices[:, t, j]).mean())


class Cached(ScriptedBackend):
    """A model whose endpoint says that half of each prompt came from its cache."""

    def _reply(self, request):
        reply = super()._reply(request)
        return Reply(reply.text, usage=reply.usage, cached=reply.usage.tok_in // 2)


def priced(**more):
    llm = {"type": "llm:m", "temperature": 0.7}
    return BASE | {
        "agents": {
            "x": llm | {"instructions": "You check."},
            "y": llm,
            "pair": {"type": "team", "members": ["x", "y"], "protocol": {"name": "debate", "rounds": 1}},
        }
        | more,
        "lineups": {"pair": ["pair"]},
        "models": {"m": {"backend": "scripted"}},
    }


def test_spend_of_members_as_the_cassette_holds_it(tmp_path):
    folder = played(priced(), tmp_path / "run", Cached("m", price=PRICE))
    [found] = team_ledger(folder)
    tokens = defaultdict(lambda: [0, 0, 0])
    with Cassette(folder / "cassette", mode="strict") as cassette:
        for row in cassette.rows():
            mine = tokens[row.call.address[-1][1]]
            mine[0] += 1
            mine[1] += row.usage.tok_in
            mine[2] += row.usage.tok_out
    assert set(tokens) == {0, 1}
    for i, m in enumerate(found.members):
        assert [m.calls, m.tok_in, m.tok_out] == tokens[i]
        half = m.tok_in / 2
        assert abs(m.tok_cached - half) <= m.calls
        usd = ((m.tok_in - m.tok_cached) * 3 + m.tok_cached * 0.3 + m.tok_out * 15) / 1e6
        assert m.money == pytest.approx(usd)
        assert m.wall_s >= 0
    assert found.metered == pytest.approx(sum(m.money for m in found.members))
    assert found.kv_unit == "USD" and found.kv.prefix == 0
    assert found.kv.separate == found.kv.conversation == pytest.approx((found.kv.prompt * 3 + found.kv.out * 15) / 1e6)
    with RunFolder.open(folder) as run:
        counts = [r.counts["solver"] for r in run.records()]
    assert sum(m.tok_cached for m in found.members) == sum(c["tok_cached"] for c in counts)
    assert sum(m.tok_in for m in found.members) == sum(c["tok_in"] for c in counts)


def test_a_conversation_is_priced_by_what_it_already_held(tmp_path, monkeypatch):
    from importlib.metadata import EntryPoint

    from crossplay.kernel import registry

    group = registry._group("agents")
    monkeypatch.setitem(group, "single", EntryPoint("single", "crossplay.teams.single:single", "crossplay.agents"))
    study = priced(one={"type": "single:pair"})
    study["lineups"] = {"pair": ["pair"], "one": ["one"]}
    folder = played(study, tmp_path / "run", Cached("m", price=PRICE))
    pair, one = team_ledger(folder)
    assert (pair.kind, one.kind, one.lineup) == ("team", "single", "one")
    assert [r.answers for r in one.rounds] == [r.answers for r in pair.rounds]
    prompts = defaultdict(list)
    with RunFolder.open(folder) as run:
        for r in run.records():
            if r.lineup == "one":
                prompts[r.id] = [(e.tok_in, e.tok_out) for e in run.events(r.id) if e.kind == "model"]
    prefix = sum(min(b[0], a[0] + a[1]) for calls in prompts.values() for a, b in itertools.pairwise(calls))
    assert one.kv.prefix == prefix > 0
    new = one.kv.prompt - prefix
    assert one.kv.conversation == pytest.approx((prefix * 0.3 + new * 3 + one.kv.out * 15) / 1e6)
    assert one.kv.conversation < one.kv.separate
    assert team_ledger(folder, "one")[0].kv == one.kv


def test_side_posts_are_no_answers_and_words_of_all_count(tmp_path):
    study = priced(review={"type": "team", "members": ["x", "y"], "protocol": {"name": "review"}})
    study["lineups"] = {"review": ["review"]}
    folder = played(study, tmp_path / "run", ScriptedBackend("m"))
    [found] = team_ledger(folder)
    assert [m.asks for m in found.members] == [24, 12]
    assert [r.answers for r in found.rounds] == [12, 12]  # draft and revision, not the critique
    assert found.members[1].right is None and found.members[1].words > 0
    assert found.members[0].right is not None
    assert (found.turns, found.never) == (None, None)  # one member alone answers
    assert found.kv_unit == "tokens" and found.metered is None


def test_where_the_truth_cannot_be_had_is_said(tmp_path):
    study = BASE | {
        "environments": {"matrix": {"name": "matrix/prisoners_dilemma"}},
        "agents": {
            "random": "random",
            "team": {"type": "team", "members": ["random", "random"], "protocol": "vote"},
        },
        "lineups": {"team": ["team", "random"]},
    }
    folder = played(study, tmp_path / "run")
    [found] = team_ledger(folder)
    assert "one step long" in found.truth
    assert found.members[0].right is None and found.rounds[0].score is None
    assert found.rounds[0].agreed is not None
    with pytest.raises(CrossplayError, match='no team in a lineup "taem".*team'):
        team_ledger(folder, "taem")


def test_faults_are_counted_and_leave_the_other_answers(tmp_path):
    study = priced()
    folder = played(study, tmp_path / "run", ScriptedBackend("m", error_rate=0.3))
    [found] = team_ledger(folder)
    faults = sum(m.faults for m in found.members)
    assert 0 < faults < 48
    assert sum(r.answers for r in found.rounds) == 48 - faults


def test_one_step_games_are_scored_beside_the_recorded_moves_of_the_others(tmp_path):
    game = {"name": "matrix/prisoners_dilemma", "options": {"rounds": 1}}
    study = BASE | {
        "study": BASE["study"] | {"metric": "reward"},
        "environments": {"matrix": game},
        "agents": {
            "random": "random",
            "team": {"type": "team", "members": ["random", "random"], "protocol": "vote"},
        },
        "lineups": {"team": ["team", "random"]},
    }
    folder = played(study, tmp_path / "run")
    [found] = team_ledger(folder)
    env, worth = make_env(game["name"], game["options"]), []
    with RunFolder.open(folder) as run:
        for r in run.records():
            if r.lineup != "team+random":
                continue
            events = run.events(r.id)
            other = next(e.value for e in events if e.kind == "act" and e.seat == 1)
            for value in [unpack(e.note)["value"] for e in events if e.kind == "post"]:
                env.start(Block(3, r.block))
                worth.append(env.step({env.seats[0]: value, env.seats[1]: other}, [])[0])
    assert found.rounds[0].score == pytest.approx(np.mean(worth))
    assert found.members[0].right is None and "scores other than 0 and 1" in found.truth


def test_the_report_shows_the_inside_of_its_teams(scripts):
    from crossplay.study.report import write_report

    html = write_report(scripts).read_text()
    [found] = team_ledger(scripts)
    assert 'id="teams"' in html and "Inside the teams" in html
    assert f"{found.members[0].words:,}" in html and "Who agrees with whom" in html
