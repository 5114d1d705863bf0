"""What a language model is shown, and how its answer is read. Pure functions; no model here."""

from __future__ import annotations

import hashlib
import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from crossplay.kernel import ActionSpec, Invalid, Observation, pack, permutation

__all__ = [
    "TEMPLATE",
    "Choices",
    "Unreadable",
    "choices",
    "find_json",
    "label_grammar",
    "labels",
    "read_choice",
    "static_text",
    "talked",
]

TEXTS = {
    "role": "You play one seat of a game. Each turn you are told what you know, and you decide what to do.",
    "choose": "Answer with the label of one action that is possible now, and nothing else.",
    "choose_json": 'Answer with a JSON object {"action": LABEL}, LABEL being that of an action that is possible now. Nothing else.',
    "talk": 'Answer with a JSON object {"say": TEXT, "action": LABEL}: TEXT is heard by the others (it may be empty), '
    "LABEL is that of an action that is possible now. Nothing else.",
    "text": "Answer with the text of your move and nothing else.",
    "data": "Answer with JSON data that fits this schema and nothing else: ",
    "repair": "That cannot be used: {reason}. {how}",
}
TEMPLATE = hashlib.blake2b(pack(TEXTS), digest_size=8).hexdigest()
"""Digest of the fixed texts of the prompt; part of every request, so that another wording is another call."""


MEMBER_TEXTS = {
    "object": "Answer with one JSON object and nothing else. ",
    "field_reason": "your reasoning in at most {words} words",
    "field_say": "what the others hear (may be empty)",
    "field_action": "the label of an action that is possible now",
    "field_answer": "your answer",
    "field_confidence": "how sure you are, a whole number from 0 (a guess) to 10 (certain)",
    "team": "What your team has said so far:",
    "own": "you",
}
MEMBER_TEMPLATE = hashlib.blake2b(pack([TEXTS, MEMBER_TEXTS]), digest_size=8).hexdigest()
"""The same for requests of a team, whose texts come beside those."""

FIXED = 52
"""Up to so many actions have one-letter labels that stay the same."""


class Unreadable(ValueError):
    """An answer in which no move can be found; the text says why."""


def labels(n: int) -> tuple[str, ...]:
    """N labels: A to Z and a to z, or numbers from 1 where there are more."""
    letters = string.ascii_uppercase + string.ascii_lowercase
    return tuple(letters[:n]) if n <= len(letters) else tuple(str(i + 1) for i in range(n))


class Choices(msgspec.Struct, frozen=True):
    """The options of one request. indices: of the action specification; fixed: each action has the
    same label at every turn, and the list of all stands in the part of the prompt that never changes.
    """

    indices: tuple[int, ...]
    names: tuple[str, ...]
    labels: tuple[str, ...]
    fixed: bool
    all: bool

    def text(self) -> str:
        """What the part that changes says about the options: nothing, the possible labels, or a list."""
        if self.fixed:
            return "" if self.all else "Possible now: " + ", ".join(self.labels)
        return "Possible now:\n" + listed(self.labels, self.names)


def listed(known: Sequence[str], names: Sequence[str]) -> str:
    """One line per option: `A) name`."""
    return "\n".join(f"{label}) {name}" for label, name in zip(known, names, strict=True))


def choices(obs: Observation, rotate: bool) -> Choices:
    """The legal actions with labels; rotate: listed in an order drawn for this seat and tick, against position bias."""
    names = obs.spec.names
    legal = [i for i in range(len(names)) if obs.legal is None or obs.legal[i]]
    fixed = not rotate and len(names) <= FIXED
    if rotate:
        legal = [legal[i] for i in permutation(obs.key("rotate"), len(legal), obs.tick)]
    known = labels(len(names) if fixed else len(legal))
    shown = tuple(known[i] for i in legal) if fixed else known
    return Choices(tuple(legal), tuple(names[i] for i in legal), shown, fixed, len(legal) == len(names))


def label_grammar(known: Sequence[str]) -> str:
    """GBNF that allows exactly one of the labels."""
    return "root ::= " + " | ".join(f'"{label}"' for label in known)


def static_text(obs: Observation, how: str, fixed: bool, instructions: str = "") -> str:
    """What never changes in a seat: role, rules, actions, how to answer. First, so that it is computed once."""
    parts = [TEXTS["role"]]
    if obs.rules:
        parts.append(f"Rules:\n{obs.rules.strip()}")
    if fixed and labels(len(obs.spec.names)) != obs.spec.names:  # letters need no letters
        parts.append("Actions:\n" + listed(labels(len(obs.spec.names)), obs.spec.names))
    if how:
        parts.append(how)
    if instructions:
        parts.append(instructions.strip())
    parts.append(f"Your seat: {obs.seat}")  # what seats share comes before what tells them apart
    return "\n\n".join(parts)


def talked(obs: Observation) -> str:
    """The posts of team mates that this member is shown, in schedule order, one line each."""
    posts = [m for m in obs.inbox if m.channel == "team"]
    if not posts:
        return ""
    names = obs.seat_spec.names if obs.seat_spec.kind == "names" else ()
    return "\n".join([MEMBER_TEXTS["team"], *(_post(m.src, m.body, names) for m in posts)])


def _post(src: str, body: Mapping[str, Any], names: Sequence[str]) -> str:
    """One line: who (what kind of post, the answer, how sure): the words."""
    value, who = body.get("value"), MEMBER_TEXTS["own"] if body.get("own") else src
    said = names[value] if isinstance(value, int) and 0 <= value < len(names) else value
    marks = [] if body["act"] in ("answer", "improve") else [body["act"]]
    text = body.get("text") or ""
    if said is not None and str(said) != text:
        marks.append(f"answer {said}")
    if body.get("confidence") is not None:
        marks.append(f"{100 * body['confidence']:.0f} % sure")
    return f"- {who}{' (' + ', '.join(marks) + ')' if marks else ''}{': ' + ' '.join(text.split()) if text else ''}"


# -- reading ---------------------------------------------------------------------------------------
def find_json(text: str) -> Any:
    """The first JSON object or array in a text, prose and code fences around it allowed; or the whole text as JSON."""
    import json

    decoder = json.JSONDecoder()
    for match in re.finditer(r"[{\[]", text):
        try:
            return decoder.raw_decode(text, match.start())[0]
        except ValueError:
            continue
    try:
        return json.loads(text)
    except ValueError:
        raise Unreadable("there is no JSON in it") from None


def read_fields(text: str, spec: ActionSpec, shown: Choices | None) -> tuple[Any, str, float | None]:
    """(value, reason, confidence in 0..1 or None) of a JSON object; an answer outside of one is still read."""
    try:
        found = find_json(text[text.index("{") :]) if "{" in text else None
    except Unreadable:
        found = None
    name = "answer" if shown is None else "action"
    if not isinstance(found, dict) or name not in found:
        return (read_value(text, spec) if shown is None else read_choice(text, shown)), "", None
    value = found[name]
    if shown is not None:
        value = read_choice(str(value).replace("{", ""), shown)
    else:
        as_text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
        value = read_value(as_text, spec)
    said = found.get("reason") or found.get("say") or ""
    sure = found.get("confidence")
    known = isinstance(sure, (int, float)) and not isinstance(sure, bool) and 0 <= sure <= 10
    return value, str(said).strip(), sure / 10 if known else None


_WRAPPING = " \t\r\n*_`\"'()[]{}.:;,!"


def read_choice(text: str, shown: Choices) -> int:
    """The index of the action that an answer names, or `Unreadable`.

    Taken: a label alone or before punctuation (`B`, `(B)`, `**B**.`, `B) up`), a name alone, JSON
    with "action", `answer: B`, or prose that names exactly one of the options.
    """
    if "{" in text:
        try:
            found = find_json(text[text.index("{") :])
        except Unreadable:
            found = None
        if isinstance(found, dict) and "action" in found:
            return read_choice(str(found["action"]).replace("{", ""), shown)
    bare = text.strip(_WRAPPING)
    by_label = dict(zip(shown.labels, shown.indices, strict=True))
    by_name = {name.casefold(): i for name, i in zip(shown.names, shown.indices, strict=True)}
    if bare in by_label:
        return by_label[bare]
    if bare.casefold() in by_name:
        return by_name[bare.casefold()]
    if len(shown.labels) <= 26 and bare.upper() in by_label:
        return by_label[bare.upper()]
    lead = re.match(r"[\s*_`(\[\"']*(\w+)\s*[).:\]*]", text)
    if lead and lead[1] in by_label:
        return by_label[lead[1]]
    named = re.findall(r"(?i:answer|action|label|option|choice|choose)\W{1,6}(?:is\W{1,3})?(\w+)\b", text)
    for word in reversed(named):
        if word in by_label and not (
            word == "a" or (word == "A" and len(named) == 1 and re.search(r"\bA [a-z]", text))
        ):
            return by_label[word]
    return _only_name(text, by_name)


def _only_name(text: str, by_name: dict[str, int]) -> int:
    """The one option that prose names; longer names hide shorter ones inside them."""
    low, found = text.casefold(), set()
    for name in sorted(by_name, key=len, reverse=True):
        pattern = rf"(?<!\w){re.escape(name)}(?!\w)"
        if re.search(pattern, low):
            found.add(by_name[name])
            low = re.sub(pattern, " ", low)
    if len(found) == 1:
        return found.pop()
    raise Unreadable("it names none of the options" if not found else f"it names {len(found)} of the options")


def read_value(text: str, spec: ActionSpec) -> Any:
    """The value of a text, data or box specification, or `Unreadable`."""
    value: Any = text.strip() if spec.kind == "text" else find_json(text)
    if spec.kind == "text":
        if not value:
            raise Unreadable("it is empty")
        value = value[: spec.max_len]
    try:
        return spec.check(value)
    except Invalid as error:
        raise Unreadable(str(error)) from None
