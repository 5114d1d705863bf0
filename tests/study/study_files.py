"""Study files for tests."""

from __future__ import annotations

import tomllib
from typing import Any

from crossplay.study.spec import Study, parse_study

KITCHEN = """
[study]
name = "kitchen"
blocks = 5
margin = 10
baseline = "script+script"
[environments.kitchen]
name = "kitchen/cramped_room"
[environments.kitchen.options]
[agents]
script = "chef"
random = "random"
errands = { type = "random", skills = true }
[lineups]
"script+script" = ["script", "script"]
"script+errands" = { seats = ["script", "errands"], orders = "both" }
"""

MATRIX = """
environments = ["matrix/prisoners_dilemma"]
[study]
name = "dilemma"
template = "crossplay"
blocks = 4
margin = 0.1
replicates = 2
[agents]
tft = "strategy:tit_for_tat"
defect = "strategy:always_defect"
random = "random"
"""


def study(text: str, **head: Any) -> Study:
    """A parsed study with some values of its [study] table changed."""
    data = tomllib.loads(text)
    data["study"] |= head
    return parse_study(data)
