r"""Reading an answer out of free text: numbers, letters, yes or no, short texts, code.

Nothing is guessed. A text that states no answer is `nothing` (or `empty`), one that states several
is `ambiguous`; both read as None and are counted apart from wrong answers. Where an answer may be
stated in several places, the clearest place decides, in this order:

  1. boxed      \\boxed{X}                             what mathematics models are trained to write
  2. hashes     #### X                                the mark of GSM8K's own solutions
  3. marked     "answer: X", "the answer is X"
  4. only       the text names one candidate alone
  5. equals     "... = X" closes the last sentence     (numbers)
  6. last       the last sentence names one candidate alone

Within the deciding place, candidates that differ make the text ambiguous.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fractions import Fraction

import msgspec

__all__ = ["Read", "code", "letter", "number", "same_number", "tagged", "words", "yes_no"]

MAX_TEXT = 20_000  # characters looked at: the end of longer texts
_MAX_DIGITS = 60


class Read(msgspec.Struct, frozen=True):
    """What was read. value: the answer in its canonical form, or None; how: the place that decided;
    problem: "" when read, else "empty", "nothing" or "ambiguous"; candidates: what was in question.
    """

    value: str | None
    how: str = ""
    problem: str = ""
    candidates: tuple[str, ...] = ()


# -- numbers ---------------------------------------------------------------------------------------

_SPACES = "\u00a0\u202f\u2009"  # no-break, narrow and thin space: thousands separators in print
_WHOLE = rf"\d{{1,3}}(?:,\d{{3}})+(?!\d)|\d{{1,3}}(?:[{_SPACES}]\d{{3}})+(?!\d)|\d+"
_NUMBER = re.compile(
    rf"""(?<![\w.])                                # not inside a word, a version or a decimal
    (?P<sign>[-+\u2212]\s?(?=[\d.$€£\\]))?      # a sign stands against its number
    [$€£]?\s?
    (?:\\d?t?frac\{{(?P<tn>\d+)\}}\{{(?P<td>\d+)\}}   # \frac{{3}}{{4}}
      |(?:(?P<mixed>\d+)[ ](?=\d+/\d))?(?P<n>\d+)\s?/\s?(?P<d>\d+)(?![\d/])   # 3/4, 1 1/2
      |(?P<whole>{_WHOLE})(?P<dec>\.\d+)?(?P<exp>[eE][-+]?\d{{1,3}}(?![\w]))?
      |(?P<bare>\.\d+))
    (?!\d)""",
    re.VERBOSE,
)


def _value(match: re.Match[str]) -> Fraction | None:
    """The value of a match of `_NUMBER`; None for a division by zero or absurd length."""
    if len(match[0]) > _MAX_DIGITS:
        return None
    g = match.groupdict()
    if g["tn"] is not None or g["n"] is not None:
        top, bottom = (int(g["tn"]), int(g["td"])) if g["tn"] is not None else (int(g["n"]), int(g["d"]))
        if bottom == 0:
            return None
        value = Fraction(top, bottom) + int(g["mixed"] or 0)
    elif g["bare"] is not None:
        value = Fraction("0" + g["bare"])
    else:
        value = Fraction(re.sub(rf"[,{_SPACES}]", "", g["whole"]) + (g["dec"] or ""))
        power = int(g["exp"][1:]) if g["exp"] else 0
        if abs(power) > 99:
            return None
        value *= Fraction(10) ** power
    return -value if (g["sign"] or "").strip() in ("-", "\u2212") else value


def _numbers(text: str) -> list[str]:
    """All numbers of a text in their canonical form, in order; a minus between two operands is not a sign."""
    found = []
    for match in _NUMBER.finditer(text):
        value = _value(match)
        if value is None:
            continue
        before = text[: match.start()].rstrip()
        if match["sign"] and value and before[-1:].isdigit():  # "9 -4": a difference
            value = abs(value)
        found.append(str(value))
    return found


def number(text: str) -> Read:
    """The number a text gives as its answer: "p" or "p/q" in lowest terms ("0.75" and "3/4" are one).

    Units, currency and percent signs are dropped.
    """
    return _decide(text, _numbers, equals=True)


def same_number(a: str, b: str, tolerance: float = 1e-6) -> bool:
    """Whether two canonical numbers agree within a relative tolerance (decimals of a fraction that has no end)."""
    x, y = Fraction(a), Fraction(b)
    return abs(x - y) <= Fraction(tolerance) * max(abs(x), abs(y))


# -- letters, yes or no, words, code ------------------------------------------------------------------


def letter(text: str, names: Sequence[str], choices: Sequence[str] = ()) -> Read:
    """Which of the letters a text chooses; the full text of exactly one choice counts as its letter.

    A lone "a" or "I" inside a sentence is a word, not a letter: outside of marked places, letters
    must be capital and stand as "B", "(B)", "B." or "B)".
    """
    upper = {n.upper(): n for n in names}
    bare = text.strip().strip("()[]{}.:*\"' ")
    if bare.upper() in upper:
        return Read(upper[bare.upper()], "only")
    pattern = "|".join(sorted(map(re.escape, upper), key=len, reverse=True))

    def capital(part: str) -> list[str]:
        first = re.finditer(rf"(?<![\w'])(?:\(|\[)?({pattern})(?:\)|\]|[.:,;]|(?=\s|$|\*))(?!\w)", part)
        return [upper[m[1]] for m in first if m[1] not in _WORDS or _meant(m, part)]

    def marked(part: str) -> list[str]:
        part = re.split(r"\b(?:because|since|as|not|rather|while|whereas|although|but)\b", part)[0]
        match = re.match(rf"\s*[*_(\[]*({pattern})(?![\w'])", part, re.IGNORECASE)
        if match and match[1].upper() in _WORDS and re.match(r"\s+(?!or\b|and\b)[a-z]", part[match.end() :]):
            match = None  # "a cat"
        return ([upper[match[1].upper()]] if match else []) + capital(part) or whole(part)

    def whole(part: str) -> list[str]:
        low = part.casefold()
        hits = [(m.start(), n) for n, c in zip(names, choices, strict=False) if (m := _find(c.casefold(), low))]
        longest = [
            (at, n)
            for at, n in hits
            if not any(_contains(choices[names.index(o)], choices[names.index(n)]) for _, o in hits if o != n)
        ]
        return [n for _, n in sorted(longest)]

    read = _decide(text, capital, marked=marked)
    return _decide(text, whole, marked=marked) if read.problem == "nothing" and choices else read


_WORDS = ("A", "I")  # article and pronoun: letters only in brackets, at an end, or beside "or" and its like


def _meant(match: re.Match[str], part: str) -> bool:
    """Whether a lone A or I stands where a letter would, not a word."""
    before, after = part[: match.start()], part[match.end() :]
    return (
        match[0][0] in "([" or match[0][-1] in ".:,;)]" or re.match(r"[\s.):*]*$|\s+(?:or|and)\b", after) is not None
    ) or re.search(r"\b(?:either|neither|both|or|and|option|choice|letter)\s+$", before, re.IGNORECASE) is not None


def _find(needle: str, text: str) -> re.Match[str] | None:
    return re.search(rf"(?<!\w){re.escape(needle)}(?!\w)", text) if needle else None


def _contains(longer: str, shorter: str) -> bool:
    return len(longer) > len(shorter) and _find(shorter.casefold(), longer.casefold()) is not None


def yes_no(text: str) -> Read:
    """Either yes or no; true and false, yeah and nope count as they mean. "not" is not "no"."""
    meaning = {"yes": "yes", "true": "yes", "yeah": "yes", "yep": "yes", "no": "no", "false": "no", "nope": "no"}
    opening = re.match(r"\s*[*_\"'(]*(yes|no)\b[*_\"')]*\s*(?:[.,:;!—-]|$)", text, re.IGNORECASE)
    read = _decide(
        text, lambda part: [meaning[w.lower()] for w in re.findall(rf"\b({'|'.join(meaning)})\b", part, re.I)]
    )
    if read.problem == "ambiguous" and opening and read.how in ("", "only"):
        rest = re.findall(r"\b(yes|no)\b[.!]?\s*$", text.strip(), re.IGNORECASE)
        if not rest or rest[0].lower() == opening[1].lower():
            return Read(opening[1].lower(), "opening")
    if read.how == "last" and opening and read.value not in (None, opening[1].lower()):
        return Read(None, "last", "ambiguous", ("yes", "no"))
    return read


def words(text: str) -> Read:
    """The short text of an answer, folded for comparison: lower case, no article, single spaces."""
    places = _places(text)
    stated = next((p for p in places if p[1]), None)
    if stated is not None:
        parts = [_fold(p) for p in stated[1]]
        parts = [p for p in parts if p]
        return _one(parts, stated[0])
    lines = [line for line in text.strip().splitlines() if line.strip()]
    if not lines:
        return Read(None, "", "empty")
    if len(lines) == 1:
        return _one([_fold(lines[0])], "only")
    return Read(None, "", "ambiguous", tuple(_fold(line)[:60] for line in lines[:4]))


def _fold(text: str) -> str:
    first = text.strip().splitlines()[0] if text.strip() else ""
    low = re.sub(r"\s+", " ", first.strip().strip("*_`\"'()[]").rstrip(".!;,:*").strip()).casefold()
    return re.sub(r"^(?:the|a|an) (?=\S)", "", low).strip("\"'`")


def code(text: str, entry: str = "") -> Read:
    """The program in a text: a fenced block, or all of it where there is no fence.

    entry: the function it must define; with several blocks the one that defines it is taken.
    """
    if not text.strip():
        return Read(None, "", "empty")
    blocks = re.findall(r"```[\w+-]*[ \t]*\n(.*?)(?:```|\Z)", text, re.DOTALL)
    if not blocks:
        return Read(text, "only") if "```" not in text else Read(None, "", "nothing")
    if len(blocks) > 1 and entry:
        named = [b for b in blocks if re.search(rf"^\s*(?:async\s+)?def\s+{re.escape(entry)}\b", b, re.MULTILINE)]
        blocks = named or blocks
    if len(set(blocks)) > 1:
        return Read(None, "", "ambiguous", tuple(b.strip()[:60] for b in blocks[:4]))
    return Read(blocks[0], "fenced")


def tagged(text: str) -> Read:
    """What stands in <answer>...</answer>, else after "answer:" to the end, else the whole text. Lines are kept."""
    if not text.strip():
        return Read(None, "", "empty")
    tags = [t.strip() for t in re.findall(r"<answer>(.*?)</answer>", text, re.DOTALL | re.IGNORECASE)]
    if tags:
        distinct = tuple(dict.fromkeys(tags))
        if len(distinct) > 1:
            return Read(None, "tags", "ambiguous", tuple(t[:60] for t in distinct[:8]))
        return Read(tags[0], "tags") if tags[0] else Read(None, "tags", "empty")
    parts = re.split(r"\banswer\s*:", text, flags=re.IGNORECASE)
    if len(parts) == 2:
        return Read(parts[1].strip(), "marked") if parts[1].strip() else Read(None, "marked", "empty")
    return Read(None, "marked", "ambiguous") if len(parts) > 2 else Read(text.strip(), "only")


# -- places ---------------------------------------------------------------------------------------------

Finder = Callable[[str], list[str]]
_MARK = re.compile(
    r"(?:\b(?:final\s+|correct\s+|right\s+|best\s+)?answer\s*(?:is\b\s*:?|:|=|would\s+be\b|to\s+[^.:\n]{1,40}\s+is\b))"
    r"[*_\s]*(?:(?:option|choice|letter)\s+)?",
    re.IGNORECASE,
)


def _boxed(text: str) -> list[str]:
    r"""The contents of every \\boxed{...}, braces balanced."""
    found = []
    for match in re.finditer(r"\\(?:boxed|fbox)\s*\{", text):
        depth, at = 1, match.end()
        while at < len(text) and depth:
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        if not depth:
            inside = text[match.end() : at - 1].strip()
            wrapped = re.fullmatch(r"\\(?:text|mathrm|mathbf)\{(.*)\}", inside)
            found.append(wrapped[1].strip() if wrapped else inside)
    return found


def _places(text: str) -> list[tuple[str, list[str]]]:
    """Where a text says what its answer is, the clearest place first: (name, what stands there)."""
    hashes = re.findall(r"^\s*####[ \t]*(.*)$", text, re.MULTILINE)
    marked = []
    for match in _MARK.finditer(text):
        rest = text[match.end() :]
        end = re.search(r"\n|[.!?;](?=\s|$)", rest)
        marked.append(rest[: end.start()] if end else rest)
    return [("boxed", _boxed(text)), ("hashes", hashes), ("marked", [m for m in marked if m.strip()])]


def _one(found: Sequence[str], how: str) -> Read:
    """The one candidate, or what is wrong with several or none."""
    distinct = tuple(dict.fromkeys(found))
    if len(distinct) == 1:
        return Read(distinct[0], how)
    return Read(None, how if distinct else "", "ambiguous" if distinct else "nothing", distinct[:8])


def _decide(text: str, find: Finder, *, marked: Finder | None = None, equals: bool = False) -> Read:
    """The answer of a text by the order of places in the head of this module."""
    text = text[-MAX_TEXT:]
    if not text.strip():
        return Read(None, "", "empty")
    for how, parts in _places(text):
        found = []
        for part in parts:
            here = (marked or find)(part)
            if equals and len(set(here)) > 1 and "=" in part:  # "answer: 3 + 4 = 7"
                here = find(part.rpartition("=")[2])
            found += here
        if found:
            return _one(found, how)
    everywhere = find(text)
    if len(set(everywhere)) <= 1:
        return _one(everywhere, "only")
    last = _last_sentence(text)
    if equals and "=" in last:
        closing = find(last.rpartition("=")[2])
        if len(set(closing)) == 1:
            return Read(closing[0], "equals")
    found = find(last)
    return _one(found, "last") if found else Read(None, "", "ambiguous", tuple(dict.fromkeys(everywhere))[:8])


def _last_sentence(text: str) -> str:
    sentences = [s for s in re.split(r"\n+|(?<=[.!?])\s+", text.strip()) if s.strip()]
    return sentences[-1] if sentences else ""
