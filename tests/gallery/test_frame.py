"""The frame of the gallery: checks that can fail, trials that say when nothing can be measured, one page."""

from pathlib import Path

import msgspec
import pytest

import crossplay
from crossplay.gallery import Claim, Entry, Figure, Finding, Level, Mechanism, Trial, check_entry, names
from crossplay.gallery.page import page
from crossplay.gallery.running import UNMEASURABLE, run_trial
from crossplay.gallery.shelf import entry, readme


class Settings(msgspec.Struct, frozen=True):
    weight: float = 1.0


def check(settings):
    effect = 2 * settings.weight
    return [
        Finding("moves", "it moves", effect > 1, effect, "above 1", "closed form 2 w"),
        Finding("rests", "nothing moves what has no weight", True, 0.0, "0", "closed form", null=True),
    ]


def made(**changes):
    given = {
        "name": "toy",
        "title": "Toy",
        "source": "nowhere",
        "about": "A toy.",
        "claims": (Claim("It moves.", (1,)),),
        "figures": (Figure("2", "A"),),
        "settings": Settings,
        "check": check,
        "mechanisms": (Mechanism("weight", {"weight": 0.0}, ("moves",)),),
    }
    return Entry(**{**given, **changes})


def test_a_check_holds_and_fails_where_its_mechanism_is_off():
    found = check_entry(made())
    assert found.ok and found.kind == "mechanism"
    assert [f.name for f in found.off["weight"] if not f.holds] == ["moves"]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"mechanisms": (Mechanism("weight", {"weight": 0.9}, ("moves",)),)}, "cannot fail"),
        ({"mechanisms": (Mechanism("weight", {"weight": 0.0}, ("moved",)),)}, 'no finding "moved"'),
        ({"check": lambda s: check(s)[:1]}, "null"),
        ({"check": lambda s: check(s) + check(s)[:1]}, "twice"),
    ],
)
def test_a_check_that_cannot_fail_is_a_fault(changes, fault):
    found = check_entry(made(**changes))
    assert not found.ok and any(fault in f for f in found.faults)


def test_a_finding_that_fails_is_not_ok():
    failing = check_entry(made(check=lambda s: [msgspec.structs.replace(f, holds=False) for f in check(s)]))
    assert not failing.ok and not failing.faults


def test_a_mechanism_names_settings_that_exist():
    with pytest.raises(crossplay.CrossplayError, match="wieght"):
        made(mechanisms=(Mechanism("weight", {"wieght": 0.0}, ("moves",)),))


def plan(skill, n):
    """Multiple choice about clues; the single agent is a reader of them, or a constant."""
    return {
        "environments": ["qa/synthetic"],
        "study": {"name": "toy", "blocks": n, "margin": 0.05},
        "agents": {"one": skill, "two": {"type": "answerer", "channel": 1}},
        "lineups": {"one": ["one"], "two": ["two"]},
        "controls": {"equal_cost": False},
    }


def judged(result, folder):
    rows = {r.lineup: r.summary.mean for r in result.rows}
    return [Finding("same", "both read alike", abs(rows["one"].value - rows["two"].value) < 0.3, 0.0, "within .3", "-")]


def trial(levels):
    kinds = {"blind": "random", "fair": "answerer", "perfect": "scholar"}
    return Trial(
        levels=tuple(Level(name, f"read by {kinds[name]}") for name in levels),
        control=lambda models, level, n: plan(kinds[level.name], n),
        single="one",
        study=lambda models, level, n: plan(kinds[level.name], n),
        judge=judged,
        models=("none",),
        n=40,
        n_control=40,
    )


def test_a_control_at_the_floor_or_ceiling_measures_nothing(tmp_path):
    said = []
    tried = run_trial(made(trial=trial(["blind", "perfect"])), tmp_path, say=said.append)
    assert tried.verdict == UNMEASURABLE
    assert [s.verdict for s in tried.steps] == [UNMEASURABLE] * 2 and all(s.mde is None for s in tried.steps)
    assert not (tmp_path / "blind").exists()  # the claim was not tried
    assert sum(UNMEASURABLE in line for line in said) == 2


def test_the_next_level_is_tried_and_the_smallest_effect_told_before(tmp_path):
    said = []
    tried = run_trial(made(trial=trial(["blind", "fair"])), tmp_path, say=said.append)
    first, second = tried.steps
    assert first.verdict == UNMEASURABLE and second.measurable and second.findings
    assert 0 < second.mde < 1
    assert [i for i, line in enumerate(said) if "power" in line] < [i for i, line in enumerate(said) if "holds" in line]
    assert tried.verdict == "1 of 1 statements hold"
    kept = msgspec.json.decode((tmp_path / "verdict.json").read_bytes())
    assert kept["steps"][1]["findings"][0]["name"] == "same" and kept["n"] == 40


def test_an_entry_without_a_trial_says_so(tmp_path):
    with pytest.raises(crossplay.CrossplayError, match="no trial"):
        run_trial(made(), tmp_path)


def test_every_entry_has_its_three_files_and_speaks_of_its_tiers():
    folders = {p.parent.name for p in Path(crossplay.gallery.__file__).parent.glob("*/claim.py")}
    assert set(names()) == folders and len(names()) >= 14
    for name in names():
        e = entry(name)
        assert e.name == name
        text = readme(name)
        assert len(text) > 600 and "tier" in text.lower()
        assert "reproduced" not in text.lower().replace("not reproduced", "")
        assert e.mechanisms and e.claims


def test_the_page_lists_all_entries():
    text = page()
    for name in names():
        assert f"## {name}\n" in text


def test_what_cannot_be_checked_here_is_said_and_the_others_go_on(monkeypatch, capsys):
    from crossplay.cli.gallery import gallery_check
    from crossplay.gallery import checking

    real = checking.check_entry

    def without(e, **more):
        if e.name == "orchmas":
            problem = crossplay.CrossplayError("orchmas: package x is not installed; add the extra crossplay[x]")
            problem.exit_code = 3
            raise problem
        return real(e, **more)

    monkeypatch.setattr(checking, "check_entry", without)
    assert gallery_check("orchmas", "optagent", once=True, json=True) == 3
    first, second = msgspec.json.decode(capsys.readouterr().out)
    assert first["ok"] and first["entry"] == "optagent" and second["ok"] is None and "extra" in second["not_checked"]
