"""The equal-cost control in studies: which lineups there are, who is asked how often, what that costs."""

import re
import shutil

import pytest

from crossplay.cli.tables import print_result
from crossplay.envs.qa import choice
from crossplay.kernel import CrossplayError, unpack
from crossplay.models import Door, ScriptedBackend
from crossplay.records import RunFolder
from crossplay.records.cassette import Cassette
from crossplay.study.api import result
from crossplay.study.runner import run_study
from crossplay.study.spec import parse_study
from crossplay.study.stage import Stage
from crossplay.study.verify import load_run, verify

ROLES = {
    "control: first votes": "debate first votes",
    "control: zero-message": "debate silent",
    "control: equal tokens": "debate equal tokens",
    "control: equal cost": "debate equal cost",
}


def tables(agents, models=None, team=None, dev=6, blocks=8, env="qa/synthetic", **more):
    """A study of one team called debate."""
    controls = {"floor": False, "ceiling": False, "dev": dev, **more.pop("controls", {})}
    return {
        "study": {"name": "equal", "blocks": blocks, "margin": 0.1, "root": 3, **more},
        "environments": {"q": {"name": env}},
        "agents": {**agents, "debate": {"type": "team:debate", "protocol": {"rounds": 1}, **(team or {})}},
        "models": models or {},
        "lineups": {"debate": ["debate"]},
        "controls": controls,
    }


SYNTHETIC = {
    "weak": {"type": "answerer", "channel": 0, "skill": 0.3},
    "strong": {"type": "answerer", "channel": 1, "skill": 0.6},
}


def played(data, folder, only=None):
    stage = Stage(parse_study(data), folder)
    if only is not None:
        stage.cells = [c for c in stage.cells if only(c)]
    run_study(stage, folder)
    stage.close()
    return folder


def run_with(data, folder, **backends):
    """Play with these backends in place of the models of those names."""
    study = parse_study(data)
    stage = Stage(study, folder)
    stage.use(Door({**study.models, **backends}, Cassette(folder / "cassette")))
    run_study(stage, folder)
    stage.close()
    return folder


def read(folder):
    """Lineup -> the records of its episodes, and what its seat noted of the control."""
    found, fits = {}, {}
    with RunFolder.open(folder) as run:
        for r in run.records():
            found.setdefault(r.lineup, []).append(r)
            for e in run.events(r.id):
                note = unpack(e.note) if e.kind == "note" else {}
                if "equal" in note:
                    fits.setdefault(r.lineup, []).append(note)
    return found, fits


def mean(records, *names):
    """Sum of these counters per decision."""
    total = sum(r.counts["solver"].get(n, 0) for r in records for n in names)
    return total / sum(r.counts["solver"]["decisions"] for r in records)


# -- which lineups ---------------------------------------------------------------------------------


def lineups(data):
    return Stage(parse_study(data)).study.lineups


def test_a_study_with_a_team_gets_its_controls():
    found = lineups(tables(SYNTHETIC, team={"members": ["weak", "strong", "strong"]}))
    roles = {s.role: n for n, s in found.items()}
    assert {r: roles[r] for r in ROLES} == ROLES
    dev = {n: s for n, s in found.items() if s.role == "dev"}
    assert set(dev) == {"weak (dev)", "strong (dev)"} and all(s.dev == 6 for s in dev.values())
    again = Stage(parse_study(tables(SYNTHETIC, team={"members": ["weak", "strong", "strong"]})))
    assert Stage(again.study).study.lineups == again.study.lineups  # expanding twice changes nothing


def test_the_dev_split_is_apart():
    stage = Stage(parse_study(tables(SYNTHETIC, team={"members": ["weak", "strong"]}, dev=5)))
    blocks = {c.role: set(c.blocks) for c in stage.cells}
    assert blocks["dev"] == {8, 9, 10, 11, 12} and blocks[""] == set(range(8)) == blocks["control: equal tokens"]
    named = Stage(parse_study(tables(SYNTHETIC, team={"members": ["weak"]}, blocks=[4, 9], dev=2)))
    assert {c.blocks for c in named.cells if c.role == "dev"} == {(10, 11)}


def test_which_controls_fit_which_protocol():
    def roles(protocol, **more):
        data = tables(
            SYNTHETIC, team={"type": "team", "members": ["weak", "strong", "weak"], "protocol": protocol, **more}
        )
        return {s.role for s in lineups(data).values()} - {"", "dev"}

    equal = {"control: equal tokens", "control: equal cost"}
    silent, first = {"control: zero-message"}, {"control: first votes"}
    assert roles("vote") == equal
    assert roles("debate") == roles("select") == roles("graph") == equal | silent | first
    assert roles("relay") == roles("review") == roles({"name": "debate", "draft": True}) == equal | silent
    assert roles("debate", silent=True) == equal | first


@pytest.mark.parametrize("on", [True, False])
def test_switched_off_is_marked(on, tmp_path, capsys):
    data = tables(SYNTHETIC, team={"members": ["weak"]}, blocks=2, dev=2, controls={"equal_cost": on})
    folder = played(data, tmp_path / "run")
    found = result(folder)
    assert any("equal-cost controls of teams are switched off" in n for n in found.notes) is not on
    print_result(found, folder)
    assert ("equal-cost controls of teams are switched off" in capsys.readouterr().out) is not on
    assert {r.role for r in found.rows if r.role} == (set(ROLES) if on else set())


def test_without_a_team_nothing_is_said(tmp_path):
    data = tables(SYNTHETIC, team={"members": ["weak"]}, blocks=2, controls={"equal_cost": False})
    data["lineups"] = {"weak": ["weak"]}
    assert not any("equal-cost" in n for n in result(played(data, tmp_path / "run")).notes)


def test_members_that_cannot_be_asked_alone_are_refused():
    with pytest.raises(CrossplayError, match=r"agents.debate: members\[0\] is a table; name it under \[agents\]"):
        lineups(tables({}, team={"members": [{"type": "random"}]}))


# -- how it is sized -------------------------------------------------------------------------------


def test_the_best_member_answers_as_often_as_the_team(tmp_path):
    """Where nothing is spent, answers are what is equal: three members and two rounds are six samples."""
    folder = played(tables(SYNTHETIC, team={"members": ["weak", "strong", "weak"]}, dev=40), tmp_path / "run")
    records, fits = read(folder)
    for name in ("debate equal tokens", "debate equal cost"):
        [fit] = {repr(f) for f in fits[name]}
        fit = fits[name][0]
        assert (fit["member"], fit["samples"], fit["unit"], fit["team"], fit["single"]) == (
            "strong",
            6,
            "answers",
            6.0,
            1.0,
        )
        assert fit["dev"]["strong"] > fit["dev"]["weak"]
        assert all(r.counts["solver"]["asks"] == 6 == r.counts["solver"]["samples:strong"] for r in records[name])
    by_hand = {m: [r.score["accuracy"] for r in records[f"{m} [dev]"]] for m in ("weak", "strong")}
    assert fit["dev"] == {m: sum(v) / len(v) for m, v in by_hand.items()}
    assert {r.block for r in records["strong [dev]"]} == set(range(8, 48))
    found = verify(folder, "agents")
    assert found.ok and found.reexecuted == found.episodes


TALKERS = {
    "cheap": {"type": "llm", "model": "small", "temperature": 1.0},
    "dear": {"type": "llm", "model": "large", "temperature": 1.0},
}
MODELS = {
    "small": {"backend": "scripted", "price": {"input": 1.0, "output": 1.0}},
    "large": {"backend": "scripted", "price": {"input": 10.0, "output": 20.0}},
}


def doubles(right=("large",), data=None, prices=True):
    """Two models that take as many tokens for every question; some know the answer."""

    def answer(knows):
        def say(request):
            if request.json_schema and "reason" in str(request.json_schema):
                return f'{{"reason": "{"so " * 30}", "action": "{_letter(request, knows)}"}}'
            return _letter(request, knows)

        return say

    return {
        name: ScriptedBackend(
            name, answer=answer(name in right), **({"price": MODELS[name]["price"]} if prices else {})
        )
        for name in MODELS
    }


def _letter(request, knows):
    text = request.messages[-1].text + request.messages[0].text
    options = dict(re.findall(r"^([A-H])\) (.+)$", text, re.MULTILINE)) or {"A": "", "B": ""}
    question = next((line.partition(": ")[2] for line in text.splitlines() if line.startswith("question")), "")
    place = choice.solve(question, list(options.values())) if question else None
    letters = list(options)
    right = letters[place] if place is not None else letters[0]
    return right if knows else letters[(letters.index(right) + 1) % len(letters)]


@pytest.fixture(scope="module")
def priced(tmp_path_factory):
    """A team of a cheap and a dear model; the dear one knows the answers."""
    folder = tmp_path_factory.mktemp("priced") / "run"
    data = tables(TALKERS, MODELS, {"members": ["cheap", "dear", "dear"]}, env="qa/choice")
    backends = doubles()
    run_with(data, folder, **backends)
    return folder, data, {n: b.calls for n, b in backends.items()}


def usd(records):
    total = 0.0
    for r in records:
        c = r.counts["solver"]
        for model, table in MODELS.items():
            total += (
                c.get(f"tok_in:{model}", 0) * table["price"]["input"]
                + c.get(f"tok_out:{model}", 0) * table["price"]["output"]
            )
    return total / 1e6 / sum(r.counts["solver"]["decisions"] for r in records)


def test_equal_tokens_and_equal_cost_are_floors_of_what_the_team_spent(priced):
    folder, _, _ = priced
    records, fits = read(folder)
    assert mean(records["dear [dev]"], "calls") == 1 and records["dear [dev]"][0].score["accuracy"] == 1.0
    tokens, cost = fits["debate equal tokens"][0], fits["debate equal cost"][0]
    team, single = (mean(records[n], "tok_in", "tok_out") for n in ("debate", "dear [dev]"))
    assert tokens["unit"] == "tokens" and tokens["member"] == cost["member"] == "dear"
    assert (tokens["team"], tokens["single"]) == pytest.approx((team, single))
    assert tokens["samples"] == int(team / single) > 1
    alone = records["dear [dev]"]
    one = (mean(alone, "tok_in") * 10 + mean(alone, "tok_out") * 20) / 1e6
    assert cost["unit"] == "USD" and (cost["team"], cost["single"]) == pytest.approx((usd(records["debate"]), one))
    assert (
        cost["samples"] == int(cost["team"] / cost["single"] + 1e-9) < tokens["samples"]
    )  # a third of the team was cheap
    for name, fit in (("debate equal tokens", tokens), ("debate equal cost", cost)):
        assert all(r.counts["solver"]["calls"] == fit["samples"] for r in records[name])


def test_equal_spend_stays_within_the_teams(priced):
    """No more than the team's mean, but for what questions of the study are longer than those of the dev split; and no
    less by more than one sample.
    """
    folder, _, _ = priced
    records, fits = read(folder)
    team = mean(records["debate"], "tok_in", "tok_out")
    for name, spend, budget in (
        ("debate equal tokens", lambda r: mean(r, "tok_in", "tok_out"), team),
        ("debate equal cost", usd, usd(records["debate"])),
    ):
        here, there = (mean(records[n], "tok_in", "tok_out") for n in (name, "dear [dev]"))
        longer = here / fits[name][0]["samples"] / there
        assert longer == pytest.approx(1.0, abs=0.05)
        assert spend(records[name]) <= budget * max(1.0, longer) + 1e-12
        assert spend(records[name]) >= (budget - fits[name][0]["single"]) * min(1.0, longer) - 1e-12


def test_ties_on_the_dev_split_go_to_the_cheaper(tmp_path):
    data = tables(TALKERS, MODELS, {"members": ["dear", "cheap"]}, env="qa/choice", blocks=3, dev=3)
    both = run_with(data, tmp_path / "run", **doubles(right=("small", "large")))
    _, fits = read(both)
    assert fits["debate equal cost"][0]["member"] == "cheap" and fits["debate equal cost"][0]["dev"] == {
        "dear": 1.0,
        "cheap": 1.0,
    }


def test_a_model_without_a_price_is_compared_by_time_or_tokens(tmp_path):
    models = {n: {"backend": "scripted"} for n in MODELS}
    data = tables(TALKERS, models, {"members": ["cheap", "dear"]}, env="qa/choice", blocks=3, dev=3)
    plain = run_with(data, tmp_path / "run", **doubles(prices=False))
    assert read(plain)[1]["debate equal cost"][0]["unit"] == "tokens"

    class Clocked(ScriptedBackend):
        """100 us of CPU a call."""

        def _reply(self, request):
            reply = super()._reply(request)
            reply.usage.cpu_us = 100
            return reply

    timed = run_with(data, tmp_path / "timed", **{n: Clocked(n, answer=b._answer) for n, b in doubles().items()})
    fit = read(timed)[1]["debate equal cost"][0]
    assert (fit["unit"], fit["samples"]) == ("CPU s", 4) and fit["single"] == pytest.approx(1e-4)


# -- going on --------------------------------------------------------------------------------------


def test_a_run_that_was_cut_gives_the_same_tables(priced, tmp_path):
    folder, data, calls = priced
    whole = result(folder)
    cut, paid = tmp_path / "cut", dict.fromkeys(MODELS, 0)

    class Enough(Exception):
        pass

    left = [11, 17, 10**6]
    for limit in left:
        backends, seen = doubles(), [0]

        def count(record, seen=seen, limit=limit):
            seen[0] += 1
            if seen[0] >= limit:
                raise Enough

        study = parse_study(data)
        stage = Stage(study, cut)
        stage.use(Door({**study.models, **backends}, Cassette(cut / "cassette")))
        try:
            run_study(stage, cut, on_episode=count)
        except* Enough:
            pass
        finally:
            stage.close()
        for n, b in backends.items():
            paid[n] += b.calls
    again = result(cut)
    assert paid == calls
    assert [(r.lineup, r.role, r.summary.mean.value, r.costs.calls) for r in again.rows] == [
        (r.lineup, r.role, r.summary.mean.value, r.costs.calls) for r in whole.rows
    ]
    assert read(cut)[1] == read(folder)[1]


def test_the_control_verifies_at_the_level_of_agents(priced):
    folder, _, _ = priced
    found = verify(folder, "agents")
    assert found.ok and found.reexecuted == found.episodes > 40


def test_without_its_team_the_control_stops_the_run(tmp_path):
    data = tables(SYNTHETIC, team={"members": ["weak", "strong"]}, blocks=2, dev=2)
    with pytest.raises((CrossplayError, ExceptionGroup)) as caught:
        played(data, tmp_path / "run", lambda c: c.role != "")
    assert "its own episodes come first" in str(caught.value) or "debate" in str(caught.getrepr())
    with pytest.raises((CrossplayError, ExceptionGroup)) as caught:
        played(data, tmp_path / "more", lambda c: c.role != "dev")
    assert "dev split" in str(caught.value)


def test_a_team_in_two_seats_is_measured_in_its_own(tmp_path):
    """In a lineup beside one of its own members only the team's seat counts, alone and together."""
    data = tables(
        {"random": "random", "tft": "strategy:tit_for_tat"},
        team={"members": ["random", "tft", "tft"]},
        env="matrix/prisoners_dilemma",
        blocks=3,
        dev=3,
    )
    data["environments"]["q"]["options"] = {"rounds": 4}
    data["lineups"] = {"debate+tft": ["debate", "tft"]}
    folder = played(data, tmp_path / "run")
    with RunFolder.open(folder) as run:
        records = {}
        for r in run.records():
            records.setdefault(r.lineup, []).append(r)
    assert {"random+tft [dev]", "tft+tft [dev]"} <= set(records)
    equal = records["debate equal tokens+tft"]
    alone = {m: sum(r.score["payoff_row"] for r in records[f"{m}+tft [dev]"]) / 3 for m in ("random", "tft")}
    best = max(alone, key=alone.get)
    assert all(r.counts["row"][f"samples:{best}"] == 6 * 4 and "asks" not in r.counts["column"] for r in equal)


def test_copies_of_a_run_read_the_same(priced, tmp_path):
    """Sizes are read from the run that is there, also when its folder was moved."""
    folder, _, _ = priced
    shutil.copytree(folder, tmp_path / "moved")
    with load_run(tmp_path / "moved")[0]:
        pass
    assert verify(tmp_path / "moved", "agents").ok
