"""`qa/file`: questions from a table on disk (JSONL, CSV or Parquet), one per row.

An answer of multiple choice may be given as the text of a choice, its label or letter, or its index
from 0; whichever fits first, in this order. What a row lacks is an error that names file and line.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from crossplay.envs.qa.asking import known_item
from crossplay.envs.qa.question import Question, Source, letters_of
from crossplay.kernel.registry import nearest
from crossplay.kernel.types import CrossplayError

__all__ = ["OPTIONS", "READS", "Row", "Table", "file_source", "read_rows"]

READS = ("words", "number", "yesno")
OPTIONS: dict[str, dict[str, Any]] = {
    "path": {"type": "string", "default": "", "description": "A .jsonl, .csv or .parquet file, one question per row."},
    "question": {"type": "string", "default": "question", "description": "The column of the questions."},
    "answer": {"type": "string", "default": "answer", "description": "The column of the right answers."},
    "choices": {
        "type": "string",
        "default": "",
        "description": "The column of the choices: a list, or in CSV texts parted by |. None: open answers.",
    },
    "id": {
        "type": "string",
        "default": "",
        "description": "The column of the ids. None: the number of the row, from 1.",
    },
    "reads": {
        "type": "string",
        "enum": list(READS),
        "default": "words",
        "description": "How open answers are read and compared: words, number or yesno.",
    },
}
Row = tuple[str, dict[str, Any]]  # (where it stands: "file:line", its columns)
Picked = tuple[str, Any, tuple[str, ...] | None, Sequence[str]]  # question, answer, choices, labels


class Table(Source):
    """A finite list of questions, read once."""

    def __init__(
        self, name: str, rows: Sequence[Row], pick: Callable[[dict[str, Any]], Picked], ids: str, reads: Any
    ) -> None:
        """pick: the question, answer, choices and labels of a row's columns; ids: the column of ids, or ""."""
        self.name = name
        self._questions = [_question(i, where, row, pick, ids, reads) for i, (where, row) in enumerate(rows)]
        if not self._questions:
            raise CrossplayError(f"{name}: it holds no rows")
        several = {bool(q.choices) for q in self._questions}
        if len(several) > 1:
            odd = next(i for i, q in enumerate(self._questions) if bool(q.choices) != bool(self._questions[0].choices))
            raise CrossplayError(f"{rows[odd][0]}: choices here, but not in the first row, or the other way round")
        self._ids = [q.id for q in self._questions]
        twice = len(self._ids) - len(set(self._ids))
        if twice:
            seen: set[str] = set()
            odd = next(i for i, q in enumerate(self._ids) if q in seen or seen.add(q))  # type: ignore[func-returns-value]
            raise CrossplayError(f"{rows[odd][0]}: the id {self._ids[odd]!r} comes twice ({twice} such rows)")
        self.size = len(self._questions)
        self.letters = max(len(q.choices) for q in self._questions)
        self.reads = "choice" if self.letters else reads
        self.digest = hashlib.sha256(msgspec.msgpack.encode(self._questions)).hexdigest()[:12]

    def item(self, index: int) -> Question:
        """Row number index."""
        return self._questions[index]

    def named(self, item: str) -> int:
        """The number of the row of that id."""
        return known_item(self.name, item, self._ids)


def _question(
    i: int, where: str, row: dict[str, Any], pick: Callable[[dict[str, Any]], Picked], ids: str, reads: str
) -> Question:
    try:
        text, answer, choices, labels = pick(row)
        if not isinstance(text, str) or not text.strip():
            raise CrossplayError(f"the question is {text!r}, not a text")
        if choices is not None and not 2 <= len(choices) <= 26:
            raise CrossplayError(f"{len(choices)} choices; 2 to 26 can be lettered")
        if choices is None:
            right = _open(answer, reads)
        else:
            right = _place(answer, choices, labels)
    except CrossplayError as error:
        raise CrossplayError(f"{where}: {error}") from None
    name = str(row[ids]) if ids else str(i + 1)
    return Question(name, text, right, tuple(choices or ()))


def _open(answer: Any, reads: str) -> str:
    """The right answer as text; it must itself be readable."""
    if isinstance(answer, bool):
        text = "yes" if answer else "no"
    elif isinstance(answer, (str, int, float)) and str(answer).strip():
        text = str(answer).strip()
    else:
        raise CrossplayError(f"the answer is {answer!r}; a text or a number is expected")
    probe = Source()
    probe.reads = reads  # type: ignore[assignment]
    if probe.read(text).value is None:
        raise CrossplayError(f"the answer {text[:80]!r} cannot be read as {reads}")
    return text


def _place(answer: Any, choices: Sequence[str], labels: Sequence[str]) -> int:
    """Which choice an answer means: by its text, its label, its letter or its index from 0."""
    text = str(answer).strip()
    for names in (choices, labels, letters_of(len(choices))):
        if list(names).count(text) == 1:
            return list(names).index(text)
    if not isinstance(answer, bool) and text.isdigit() and int(text) < len(choices):
        return int(text)
    raise CrossplayError(f"the answer {answer!r} is no choice, label, letter or index of {list(choices)!r}"[:300])


def as_choices(value: Any) -> tuple[tuple[str, ...], Sequence[str]]:
    """(choices, labels) of a cell: a list, a table of text and label, or text parted by "|" or in JSON."""
    if isinstance(value, str):
        if value.lstrip().startswith(("[", "{")):
            try:
                return as_choices(msgspec.json.decode(value))
            except msgspec.DecodeError as error:
                raise CrossplayError(f"choices {value[:60]!r}: {error}") from None
        return tuple(part.strip() for part in value.split("|")), ()
    if isinstance(value, Mapping) and "text" in value:
        return tuple(map(str, value["text"])), tuple(map(str, value.get("label", ())))
    if isinstance(value, (list, tuple)):
        return tuple(map(str, value)), ()
    raise CrossplayError(f"choices are {str(value)[:60]!r}; a list is expected")


def file_source(options: Mapping[str, Any]) -> Table:
    """The table of `qa/file`."""
    if not options["path"]:
        raise CrossplayError(
            'qa/file: the option path is missing: a .jsonl, .csv or .parquet file, e.g. path = "trivia.csv"'
        )
    rows = read_rows(options["path"])
    wanted = {n: options[n] for n in ("question", "answer", "choices", "id") if options[n]}
    for where, row in rows:
        for option, column in wanted.items():
            if column not in row:
                raise CrossplayError(f'{where}: no column "{column}" (option {option}).{nearest(column, row)}')

    def pick(row: dict[str, Any]) -> Picked:
        choices, labels = as_choices(row[options["choices"]]) if options["choices"] else (None, ())
        return row[options["question"]], row[options["answer"]], choices, labels

    return Table(f"qa/file ({options['path']})", rows, pick, options["id"], options["reads"])


def read_rows(path: str) -> list[Row]:
    """The rows of a table on disk with the place each stands at."""
    file = Path(path)
    if not file.is_file():
        raise CrossplayError(f"{path}: there is no such file")
    kind = file.suffix.lower()
    if kind == ".jsonl":
        return _jsonl(file)
    if kind == ".csv":
        return _csv(file)
    if kind == ".parquet":
        return _parquet(file)
    raise CrossplayError(f'{path}: unknown kind of table "{kind}".{nearest(kind, [".jsonl", ".csv", ".parquet"])}')


def _jsonl(file: Path) -> list[Row]:
    rows: list[Row] = []
    for i, line in enumerate(file.read_bytes().splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = msgspec.json.decode(line)
        except msgspec.DecodeError as error:
            raise CrossplayError(f"{file}:{i}: no JSON: {error}") from None
        if not isinstance(row, dict):
            raise CrossplayError(f"{file}:{i}: a {type(row).__name__}, where an object with columns is expected")
        rows.append((f"{file}:{i}", row))
    return rows


def _csv(file: Path) -> list[Row]:
    try:
        with file.open(newline="", encoding="utf-8-sig") as lines:
            reader = csv.DictReader(lines, strict=True)
            rows: list[Row] = []
            for row in reader:
                where = f"{file}:{reader.line_num}"
                if None in row or None in row.values():
                    raise CrossplayError(
                        f"{where}: {len(reader.fieldnames or ())} columns are expected, this row has others"
                    )
                rows.append((where, dict(row)))
            return rows
    except (csv.Error, UnicodeDecodeError) as error:
        raise CrossplayError(f"{file}: no CSV: {error}") from None


def _parquet(file: Path) -> list[Row]:
    try:
        import polars
    except ImportError:
        raise CrossplayError(f"{file}: reading Parquet needs the package polars") from None
    try:
        table = polars.read_parquet(file)
    except Exception as error:
        raise CrossplayError(f"{file}: no Parquet: {error}") from None
    return [(f"{file}:{i}", row) for i, row in enumerate(table.to_dicts(), 1)]
