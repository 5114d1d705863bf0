"""Study files: every mistake is one line that names the key and the nearest valid value."""

import itertools
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from study_files import KITCHEN, MATRIX, study

from crossplay.kernel import CrossplayError
from crossplay.study.spec import LineupSpec, load_study, orders_of, parse_study, seat_orders
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
            'study.metric: unknown metric "retrun" in kitchen. Did you mean "return"',
        ),
        ('orders = "both"', 'orders = "bth"', "orders = .*Known: given, all"),
        ("skills = true", "skils = true", 'unknown option "skils"'),
        (
            "[agents]",
            '[conduct]\ninvalid = ["nop"]\n[agents]',
            r'conduct.invalid\[0\] = .nop.: not one of these. Did you mean "noop"',
        ),
        ("[agents]", "[budget]\ntokns = 3\n[agents]", 'budget.tokns: unknown key. Did you mean "tokens"'),
        ("[agents]", "[budget]\ntokens = nan\n[agents]", "budget.tokens = nan"),
        ("[agents]", "[budget]\ncalls = -1\n[agents]", "budget.calls = -1: a limit is a number from 0 on"),
        ("[agents]", "[conduct]\ntimeout = 5\n[agents]", "conduct.timeout = 5: expected list"),
        ("margin = 10", "margin = nan", "study.margin = nan: expected int or float"),
        ('["script", "script"]', '[["script"], "script"]', r'lineups."script\+script"\[0\] = .*: expected str'),
        ('orders = "both"', 'shared_memory = "no"', "shared_memory = 'no': expected true or false"),
        (
            'orders = "both" }',
            'orders = "both" }\n"the other way" = ["errands", "script"]',
            r'lineups."the other way" and lineups."script\+errands" both play errands\+script',
        ),
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


def test_controls_and_templates_never_take_the_name_of_an_agent_of_the_study():
    """Agents that are named like the expert, random and noop, but are something else."""
    text = MATRIX.replace('random = "random"', 'random = "strategy:tit_for_tat"\nnoop = { type = "random" }')
    for template in ("mix", "crossplay"):
        found = Stage(study(text, template=template)).study
        assert found.agents["random"].type == "strategy:tit_for_tat" and found.agents["noop"].type == "random"
        floor = next(s for s in found.lineups.values() if s.role == "control: floor")
        assert {found.agents[a].type for a in floor.seats} == {"random"}
    mine = (
        KITCHEN.replace('script = "chef"', 'chef = "first-legal"')
        .replace('"script', '"chef')
        .replace("+script", "+chef")
    )
    found = Stage(study(mine)).study
    assert found.agents["chef"].type == "first-legal"
    ceiling = next(s for s in found.lineups.values() if s.role == "control: ceiling")
    assert {found.agents[a].type for a in ceiling.seats} == {"chef"} and ceiling.seats != ["chef", "chef"]


def test_the_same_seats_with_and_without_shared_memory_are_two_cells():
    text = KITCHEN + '"one mind" = { seats = ["script", "script"], shared_memory = true }\n'
    keys = [c.key for c in Stage(study(text)).cells]
    assert len(set(keys)) == len(keys) and "kitchen | script+script [shared memory]" in keys


def test_a_template_leaves_alone_what_the_study_names_itself():
    text = MATRIX + '[lineups]\n"mine" = { seats = ["defect", "tft"], orders = "all" }\n'
    found = Stage(study(text, template="mix")).study
    assert "tft+defect" not in found.lineups and "mine" in found.lineups


def test_code_named_by_a_file_needs_trust():
    text = KITCHEN.replace('random = "random"', 'random = "python:os:getcwd"').replace(
        '["script", "script"]', '["script", "random"]'
    )
    stage = Stage(study(text.replace('baseline = "script+script"', "")))
    with pytest.raises(CrossplayError, match="--trust"):
        stage.check()


@given(st.lists(st.sampled_from("abcd"), max_size=6))
def test_seat_orders_are_the_distinct_permutations(seats):
    spec = LineupSpec(seats, "all")
    assert seat_orders(spec) == list(dict.fromkeys(itertools.permutations(seats)))
    assert orders_of(spec) == len(seat_orders(spec)) and orders_of(LineupSpec(seats)) == 1


def test_a_crowd_of_equal_agents_has_one_order_and_too_many_orders_are_an_error():
    assert seat_orders(LineupSpec(["a"] * 60, "all")) == [("a",) * 60]
    study = parse_study(
        {
            "environments": {"x": "agentsnet/coloring"},
            "agents": {f"a{i}": "random" for i in range(20)},
            "lineups": {"all": {"seats": [f"a{i}" for i in range(20)], "orders": "all"}},
        }
    )
    assert study.planned == 20 * 50_001, "not listed, and not counted further"
    with pytest.raises(CrossplayError, match="more than 50,000 orders"):
        study.cells({"x": [f"s{i}" for i in range(20)]})


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"study": {"blocks": 10**9}}, "study.blocks = 1000000000: at most 1,000,000"),
        ({"study": {"replicates": 10**9}}, "study.replicates"),
        ({"study": {"margin": float("inf")}}, "study.margin = inf must be a number"),
        ({"controls": {"dev": 10**9}}, "controls.dev"),
        ({"lineups": {"a": {"seats": ["a"], "dev": 10**9}}}, 'lineups."a".dev'),
        (
            {
                "agents": {"me": "person"},
                "people": {"consent": "yes", "participants": 10**5, "blocks": 10**5},
            },
            "people.participants times people.blocks",
        ),
    ],
    ids=str,
)
def test_numbers_that_would_fill_the_memory_are_an_error(tables, said):
    with pytest.raises(CrossplayError) as found:
        parse_study({"environments": {"x": "spread"}, "agents": {"a": "random"}, **tables})
    assert said in str(found.value)
