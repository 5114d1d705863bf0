"""Known benchmarks: `qa/gsm8k`, `qa/arc`, `qa/mmlu`, `qa/hellaswag`, `qa/commonsenseqa`, `qa/truthfulqa`, `qa/strategyqa`.

Their rows come through the library `datasets` from its hub, or from a Parquet, JSONL or CSV file of the
same columns (option `path`). The digest of the questions joins the environment's id, so that another
release of the data is another environment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from crossplay.envs.qa.table import Picked, Row, Table, as_choices, read_rows
from crossplay.kernel.registry import nearest
from crossplay.kernel.types import CrossplayError

__all__ = ["BENCHMARKS", "options_of", "source"]

Columns = dict[str, Any]


class Benchmark(NamedTuple):
    """Where a benchmark lies on the hub, which columns it has, and what a row asks."""

    repository: str
    subset: str
    part: str
    columns: tuple[str, ...]
    pick: Callable[[Columns], Picked]
    reads: str = "words"
    what: str = ""


def _gsm8k(row: Columns) -> Picked:
    """The number after #### closes the worked solution."""
    _, mark, last = str(row["answer"]).rpartition("####")
    if not mark:
        raise CrossplayError(f"the answer {str(row['answer'])[-60:]!r} has no ####")
    return row["question"], last.strip(), None, ()


def _lettered(row: Columns) -> Picked:
    """Choices as a table of text and label, the answer as a label."""
    choices, labels = as_choices(row["choices"])
    return row["question"], row["answerKey"], choices, labels


def _mmlu(row: Columns) -> Picked:
    """Choices as a list, the answer as its index."""
    choices, _ = as_choices(row["choices"])
    answer = int(row["answer"])
    if not 0 <= answer < len(choices):
        raise CrossplayError(f"the answer {answer} is no index of {len(choices)} choices")
    return row["question"], choices[answer] if choices.count(choices[answer]) == 1 else answer, choices, ()


def _hellaswag(row: Columns) -> Picked:
    """Which ending follows."""
    endings, _ = as_choices(row["endings"])
    label = str(row["label"]).strip()
    if not label.isdigit() or int(label) >= len(endings):
        raise CrossplayError(
            f"the label {row['label']!r} is no index of {len(endings)} endings (the hub's test part has none)"
        )
    return f"Which ending fits best?\n{row['ctx']}", endings[int(label)], endings, ()


def _truthfulqa(row: Columns) -> Picked:
    """The one choice with label 1 (mc1)."""
    targets = row["mc1_targets"]
    if not isinstance(targets, Mapping) or list(targets.get("labels", ())).count(1) != 1:
        raise CrossplayError("mc1_targets: choices and labels with one 1 are expected")
    choices = tuple(map(str, targets["choices"]))
    return row["question"], choices[list(targets["labels"]).index(1)], choices, ()


def _strategyqa(row: Columns) -> Picked:
    """Yes or no."""
    answer = row["answer"]
    if not isinstance(answer, bool) and str(answer).lower() not in ("true", "false"):
        raise CrossplayError(f"the answer {answer!r} is neither true nor false")
    return row["question"], answer if isinstance(answer, bool) else str(answer).lower() == "true", None, ()


BENCHMARKS: dict[str, Benchmark] = {
    "gsm8k": Benchmark("openai/gsm8k", "main", "test", ("question", "answer"), _gsm8k, "number", "school arithmetic"),
    "arc": Benchmark(
        "allenai/ai2_arc",
        "ARC-Challenge",
        "test",
        ("question", "choices", "answerKey"),
        _lettered,
        what="school science",
    ),
    "mmlu": Benchmark("cais/mmlu", "all", "test", ("question", "choices", "answer"), _mmlu, what="57 subjects"),
    "hellaswag": Benchmark(
        "Rowan/hellaswag", "", "validation", ("ctx", "endings", "label"), _hellaswag, what="endings of everyday scenes"
    ),
    "commonsenseqa": Benchmark(
        "tau/commonsense_qa", "", "validation", ("question", "choices", "answerKey"), _lettered, what="common sense"
    ),
    "truthfulqa": Benchmark(
        "truthfulqa/truthful_qa",
        "multiple_choice",
        "validation",
        ("question", "mc1_targets"),
        _truthfulqa,
        what="common errors",
    ),
    "strategyqa": Benchmark(
        "ChilleD/StrategyQA", "", "test", ("question", "answer"), _strategyqa, "yesno", "questions of several steps"
    ),
}


def options_of(name: str) -> dict[str, dict[str, Any]]:
    """The options of a benchmark."""
    known = BENCHMARKS[name]
    return {
        "path": {
            "type": "string",
            "default": "",
            "description": f"A file with the columns {', '.join(known.columns)}, instead of the hub.",
        },
        "part": {"type": "string", "default": known.part, "description": "The part of the data on the hub."},
        "subset": {
            "type": "string",
            "default": known.subset,
            "description": "The configuration of the data on the hub.",
        },
    }


def source(name: str, options: Mapping[str, Any]) -> Table:
    """The questions of a benchmark."""
    known = BENCHMARKS[name]
    rows = read_rows(options["path"]) if options["path"] else _fetched(name, known, options)
    for where, row in rows:
        for column in known.columns:
            if column not in row:
                raise CrossplayError(f'{where}: no column "{column}", which qa/{name} has.{nearest(column, row)}')
    table = Table(f"qa/{name}", rows, known.pick, "", known.reads)
    table.rules = f"A question of {name}: {known.what}."
    return table


def _fetched(name: str, known: Benchmark, options: Mapping[str, Any]) -> list[Row]:
    """The rows from the hub."""
    advice = (
        f"or give path = a Parquet, JSONL or CSV file with the columns {', '.join(known.columns)} "
        f"(the data are {known.repository} on the hub)"
    )
    try:
        import datasets
    except ImportError:
        raise _outside(
            f"qa/{name}: its questions come through the package datasets: pip install datasets, {advice}"
        ) from None
    try:
        data = datasets.load_dataset(known.repository, options["subset"] or None, split=options["part"])
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else ""
        raise _outside(
            f"qa/{name}: {known.repository} cannot be had from the hub ({type(error).__name__}: {reason}); "
            f"try again where the hub can be reached, {advice}"
        ) from None
    return [(f"{known.repository}:{options['part']}:{i}", dict(row)) for i, row in enumerate(data, 1)]


def _outside(text: str) -> CrossplayError:
    error = CrossplayError(text)
    error.exit_code = 3
    return error
