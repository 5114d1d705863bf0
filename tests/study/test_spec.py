"""Study files: every mistake is one line that names the key and the nearest valid value."""

import tomllib

import pytest
from study_files import KITCHEN, MATRIX, study

from crossplay.kernel import CrossplayError
from crossplay.study.spec import load_study, parse_study
from crossplay.study.stage import Stage


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            '"script", "errands"]',
            '"script", "erands"]',
            r'lineups."script\+errands"\[1\]: unknown agent "erands". Did you mean "errands"',
        ),
        ("blocks = 5", "blocks = 0", "study.blocks = 0: at least 1"),
        ("blocks = 5", "blcks = 5", 'study.blcks: unknown key. Did you mean "blocks"'),
        ("kitchen/cramped_room", "kitchn/cramped_room", 'unknown environment "kitchn". Did you mean "kitchen"'),
        ("kitchen/cramped_room", "kitchen/cramped_rom", 'unknown layout "cramped_rom". Did you mean "cramped_room"'),
        ('"chef"', '"chf"', 'agents."?script"?: unknown agent "chf". Did you mean "chef"'),
        ('["script", "script"]', '["script"]', r'lineups."script\+script": 1 agents \(script\) for the 2 seats'),
        (
            'baseline = "script+script"',
            'baseline = "script+scrpt"',
            r'study.baseline: unknown lineup "script\+scrpt". Did you mean "script\+script"',
        ),
        ("margin = 10", "margin = 0", "study.margin: name the smallest difference"),
        (
            "margin = 10",
            'margin = 10\nmetric = "retrun"',
            'study.metric: unknown metric "retrun". Did you mean "return"',
        ),
        ('orders = "both"', 'orders = "bth"', "orders = .*Known: given, all"),
        ("skills = true", "skils = true", 'unknown option "skils"'),
        (
            "[agents]",
            '[conduct]\ninvalid = ["nop"]\n[agents]',
            r'conduct.invalid\[0\] = .nop.: not one of these. Did you mean "noop"',
        ),
        ("[agents]", "[budget]\ntokns = 3\n[agents]", 'budget.tokns: unknown key. Did you mean "tokens"'),
    ],
)
def test_a_mistake_is_named(old, new, said):
    assert old in KITCHEN
    with pytest.raises(CrossplayError, match=said) as error:
        stage = Stage(study(KITCHEN.replace(old, new)))
        stage.check()
    assert "\n" not in str(error.value)


def test_a_file_is_named(tmp_path):
    with pytest.raises(CrossplayError, match="none.toml: No such file"):
        load_study(tmp_path / "none.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[study\n")
    with pytest.raises(CrossplayError, match="broken.toml: not valid TOML"):
        load_study(broken)


@pytest.mark.parametrize("text", [KITCHEN, MATRIX])
def test_the_resolved_study_reads_back_as_itself(text):
    first = Stage(study(text)).study
    again = Stage(parse_study(tomllib.loads(first.toml()))).study
    assert again.toml() == first.toml() and again.digest() == first.digest()


def test_templates_and_controls():
    stage = Stage(study(MATRIX))
    assert len([g for g in stage.study.lineups if "random" not in g]) == 4
    assert stage.study.lineups["random+random"].role == "control: floor"
    mix = Stage(study(MATRIX, template="mix"))
    roles = {g: s.role for g, s in mix.study.lineups.items()}
    assert roles["tft+random"] == "" and "tft+defect" in roles
    assert mix.study.lineups["tft+defect"].orders == "all"


def test_code_named_by_a_file_needs_trust():
    text = KITCHEN.replace('random = "random"', 'random = "python:os:getcwd"').replace(
        '["script", "script"]', '["script", "random"]'
    )
    stage = Stage(study(text.replace('baseline = "script+script"', "")))
    with pytest.raises(CrossplayError, match="--trust"):
        stage.check()
