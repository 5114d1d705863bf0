"""Reading answers out of free text: a table of hard cases. None: nothing may be guessed."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossplay.envs.qa import extract

NUMBERS = [
    # plain forms
    ("7", "7"),
    (" 7. ", "7"),
    ("-5", "-5"),
    ("\u22125", "-5"),
    ("+5", "5"),
    ("0.75", "3/4"),
    (".5", "1/2"),
    ("3/4", "3/4"),
    ("6/8", "3/4"),
    ("1 1/2", "3/2"),
    ("-3/4", "-3/4"),
    ("1e3", "1000"),
    ("2.5e-1", "1/4"),
    ("007", "7"),
    ("1.0", "1"),
    # separators, units, signs of currency
    ("1,234", "1234"),
    ("12,345,678.9", "123456789/10"),
    ("10\u202f000", "10000"),
    ("1\u00a0234\u00a0567", "1234567"),
    ("$1,200.50", "2401/2"),
    ("\u20ac 30", "30"),
    ("$-3", "-3"),
    ("-$3", "-3"),
    ("50%", "50"),
    ("12 km/h", "12"),
    ("5 apples", "5"),
    ("12.", "12"),
    # places
    ("The answer is 42.", "42"),
    ("Answer: **12**", "12"),
    ("Final Answer: 9", "9"),
    ("the correct answer would be 8", "8"),
    ("answer = 8", "8"),
    ("\\boxed{17}", "17"),
    ("\\boxed{\\frac{3}{4}}", "3/4"),
    ("so $\\boxed{1{,}000}$", None),
    ("work 3 and 4\n#### 72", "72"),
    ("First 3 apples, then 4. So 7 apples.", "7"),
    ("3 + 4 = 7", "7"),
    ("9 - 4 = 5", "5"),
    ("The answer is 3 + 4 = 7.", "7"),
    ("We have 12 of 5 each.\nThat is 60", "60"),
    ("answer: 5\nagain, answer: 5.0", "5"),
    ("I said 6, but the answer is 7", "7"),
    ("\\boxed{7}, not 8 or 9. The answer is 8", "7"),
    # nothing to read
    ("", None),
    ("   \n", None),
    ("none", None),
    ("seven", None),
    ("v1.2.3", None),
    ("2/0", None),
    ("abc7", None),
    ("9" * 500, None),
    # several
    ("5 or 6", None),
    ("answer: 5\nanswer: 6", None),
    ("\\boxed{1} \\boxed{2}", None),
    ("12 dollars and 50 cents", None),
    ("answer: between 5 and 6", None),
    ("5:30", None),
]


@pytest.mark.parametrize(("text", "value"), NUMBERS)
def test_numbers(text: str, value: str | None) -> None:
    read = extract.number(text)
    assert read.value == value, read
    assert (read.problem == "") == (value is not None)


def test_problems_have_names() -> None:
    assert extract.number("").problem == "empty" and extract.number("none").problem == "nothing"
    read = extract.number("5 or 6")
    assert read.problem == "ambiguous" and read.candidates == ("5", "6")


CHOICES = ("Paris", "Rome", "cat", "a cat on a mat")
LETTERS = [
    ("B", "B"),
    ("(b)", "B"),
    ("b.", "B"),
    ("**C**", "C"),
    ("The answer is B", "B"),
    ("Answer: b", "B"),
    ("Answer: A", "A"),
    ("Answer: (D) a cat on a mat", "D"),
    ("The correct answer is (D) because A is wrong", "D"),
    ("I think it is C.", "C"),
    ("I would say (A)", "A"),
    ("option B", "B"),
    ("\\boxed{B}", "B"),
    ("\\boxed{\\text{B}}", "B"),
    ("C) cat", "C"),
    ("A is wrong. B is wrong. It must be D", "D"),
    ("paris", "A"),
    ("It is Paris.", "A"),
    ("The answer is a cat on a mat", "D"),
    ("the answer is cat", "C"),
    ("A dog is an animal", None),
    ("I am not sure", None),
    ("either A or C", None),
    ("B or C", None),
    ("A and B are both right", None),
    ("The answer is B or C", None),
    ("Answer: A. Answer: B.", None),
    ("Paris and Rome", None),
    ("", None),
    ("E", None),
    ("Because", None),
    ("Vitamin C is in B", None),
]


@pytest.mark.parametrize(("text", "value"), LETTERS)
def test_letters(text: str, value: str | None) -> None:
    assert extract.letter(text, "ABCD", CHOICES).value == value, extract.letter(text, "ABCD", CHOICES)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("yes", "yes"), ("No.", "no"), ("TRUE", "yes"), ("The answer is no", "no"), ("Answer: **Yes**", "yes")),
        *(("Yes, they do.", "yes"), ("No, the sun is a star.", "no"), ("It is false", "no"), ("Nope!", "no")),
        *(("Yes. It is not true that no bird sings", None), ("yes and no", None), ("maybe", None), ("", None)),
        *(("It is not so", None), ("I know nothing", None), ("Yes... actually no", None)),
    ],
)
def test_yes_or_no(text: str, value: str | None) -> None:
    assert extract.yes_no(text).value == value, extract.yes_no(text)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(
            ("Paris", "paris"),
            ("The Eiffel  Tower.", "eiffel tower"),
            ("answer: an apple", "apple"),
            ('"Rome"', "rome"),
        ),
        *(("So it is long.\nThe answer is Rome.", "rome"), ("one\ntwo", None), ("", None), ("\n", None)),
        *(("answer: Rome\nanswer: Paris", None), ("Answer: A cat", "cat")),
    ],
)
def test_words(text: str, value: str | None) -> None:
    assert extract.words(text).value == value, extract.words(text)


def test_code() -> None:
    assert extract.code("    return 1\n").value == "    return 1\n"
    assert extract.code("Sure:\n```python\ndef f(): pass\n```\nDone").value == "def f(): pass\n"
    two = "```\nx = 1\n```\n```python\ndef f():\n    return 2\n```"
    assert extract.code(two, "f").value == "def f():\n    return 2\n" and extract.code(two).problem == "ambiguous"
    assert extract.code("```python\ndef f(): pass").value == "def f(): pass"  # cut off before the fence closed
    assert extract.code(" ").problem == "empty"


def test_tags() -> None:
    assert extract.tagged("so <answer> 1 2\n3 4 </answer> it is").value == "1 2\n3 4"
    assert extract.tagged("why not. Answer: [1, 2]\n[3]").value == "[1, 2]\n[3]"
    assert extract.tagged("12").value == "12" and extract.tagged("").problem == "empty"
    assert extract.tagged("<answer>1</answer> <answer>2</answer>").problem == "ambiguous"
    assert extract.tagged("<answer></answer>").problem == "empty" and extract.tagged("answer:").problem == "empty"


@given(st.fractions(max_denominator=10**6), st.sampled_from(["{}", "answer: {}", "The answer is {}.", "\\boxed{{{}}}"]))
def test_every_fraction_comes_back(value: Fraction, form: str) -> None:
    assert extract.number(form.format(value)).value == str(value)


@given(st.integers(-(10**15), 10**15), st.sampled_from(["{:,}", "{:_}", "{}.0", "${}", "{} kg"]))
def test_integers_in_print_come_back(value: int, form: str) -> None:
    shown = form.format(value).replace("_", "\u202f")
    assert extract.number(shown).value == str(value)


@given(st.text(max_size=300))
def test_any_text_is_read_or_has_a_problem(text: str) -> None:
    reads = [extract.number(text), extract.letter(text, "ABCD", CHOICES), extract.yes_no(text), extract.words(text)]
    for read in [*reads, extract.tagged(text), extract.code(text, "f")]:
        assert (read.value is None) == (read.problem in ("empty", "nothing", "ambiguous"))


def test_same_number() -> None:
    assert extract.same_number("333333333/1000000000", "1/3") and not extract.same_number("33/100", "1/3")
    assert extract.same_number("0", "0") and not extract.same_number("0", "1")
