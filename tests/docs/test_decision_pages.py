"""docs/decision-rules.md and docs/team-measures.md say what the code does: examples, rules, parameters, names, figures."""

import contextlib
import importlib
import io
import re

import numpy as np
import pytest
from doc_pages import DOCS, fences, rows

from crossplay.measure import diversity
from crossplay.measure.rulebook import RULES, make_rule

RULE_PAGE, TEAM_PAGE = DOCS / "decision-rules.md", DOCS / "team-measures.md"


def test_the_examples_print_what_they_say():
    names = {}
    for block in fences(RULE_PAGE, "python"):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(block.text, names)
        said = re.findall(r"^(?:print\(.*?\) *)?# (.+)$", block.text, re.M)
        assert out.getvalue().splitlines() == said


def test_every_rule_is_listed_with_what_it_asks_and_takes():
    table = {line[0].strip("`"): line for line in rows(RULE_PAGE, "Rules")}
    assert list(table) == list(RULES)
    for name, line in table.items():
        assert line[1] == ", ".join(make_rule(name).asks)
        for parameter in RULES[name].__struct_fields__:
            assert f"`{parameter}`" in line[2] + line[3], (name, parameter)


def test_every_measure_named_exists():
    text = TEAM_PAGE.read_text()
    modules = re.findall(r"`crossplay\.measure\.(\w+)`", text)
    assert set(modules) == {"diversity", "answers", "agreement", "calibration", "profiles"}
    known = {n for m in modules for n in importlib.import_module(f"crossplay.measure.{m}").__all__}
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", text)) - {
        "per_question_agent",
        "round_agent_avg",
        "round_cum_text",
    }
    assert named <= known


@pytest.mark.parametrize("line", range(5))
def test_the_table_of_noisy_clones(line):
    lines = [x.split("|")[1:-1] for x in TEAM_PAGE.read_text().splitlines() if re.match(r"\| [\d.]+ \|", x)]
    rho, *values, kish = map(float, lines[line])
    for n, value in zip((2, 4, 8, 16, 64), values, strict=True):
        gram = (1 - rho) * np.eye(n) + rho
        w, v = np.linalg.eigh(gram)
        x = v * np.sqrt(np.maximum(w, 0))
        assert float(diversity.effective_channels(x)) == pytest.approx(value, abs=0.0051)
        if n == 16:
            assert float(diversity.kish(x)) == pytest.approx(kish, abs=0.0051)
