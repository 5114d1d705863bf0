"""Guards: hooks before and after every message, the security module of an agent or a team.

`guards = ["privacy", {name = "length", most = 500}, "python:my_guards:Mine"]`. `before` sees what others
bring into a member's request, `after` what a member says. A guard gives the text back, changed or not, or
`Blocked`. What is changed or blocked is counted (`guard_changed`, `guard_blocked`) and noted with the digest
of the original, never with the original.

The vocabulary (prompt, response and privacy guards as parts of a security module) is that of LLM-Agent-UMF,
Hassouna et al. 2024, arXiv 2409.11393.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import msgspec

from crossplay.agents.context import Context
from crossplay.agents.python import imported
from crossplay.kernel import CrossplayError, Msg, Observation, entries, load, nearest

__all__ = [
    "About",
    "Blocked",
    "Guard",
    "Guards",
    "InjectionGuard",
    "LengthGuard",
    "PrivacyGuard",
    "PromptGuard",
    "ResponseGuard",
    "luhn",
    "make_guards",
]


class About(msgspec.Struct, frozen=True):
    """What a text is. kind: "message" (of another seat or a team mate), "state" (what the environment shows),
    "tool" (a result, or arguments), "brief" (what a team wants), "answer" (a move that is text) or "words" (reasons, things said). src, dst: who
    wrote it, who reads it ("" : nobody in particular).
    """

    kind: str
    src: str = ""
    dst: str = ""
    tick: int = 0


class Blocked(msgspec.Struct, frozen=True):
    """The text must not pass; the reason is shown and recorded, so it holds nothing of the text."""

    reason: str


class Guard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A guard that lets everything pass; its fields are its settings. Pure: equal texts, equal answers."""

    name: ClassVar[str] = "guard"

    def before(self, text: str, about: About) -> str | Blocked:
        """What goes into a member's request."""
        return text

    def after(self, text: str, about: About) -> str | Blocked:
        """What a member says."""
        return text

    def manifest(self) -> dict[str, Any]:
        """Name and settings."""
        return {"name": self.name, **msgspec.structs.asdict(self)}


# -- the guards ------------------------------------------------------------------------------------
MARKUP = re.compile(
    r"<\|[^|<>\n]{1,40}\|>|</?(?:system|assistant|user|instructions?|s|INST)>|\[/?(?:INST|SYS)\]|<</?SYS>>"
    r"|^[ \t]*#{0,3}[ \t]*(?:system|assistant|developer)[ \t]*(?:prompt|message)?[ \t]*:",
    re.IGNORECASE | re.MULTILINE,
)
"""Marks by which chat templates tell roles apart: in the words of a team mate they can only deceive."""


def _plain(text: str) -> str:
    """Without role marks and without characters that nobody sees (format and control, but for line ends and tabs)."""
    seen = "".join(c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cf", "Cc", "Co", "Cs"))
    return MARKUP.sub("", seen)


def _patterns(given: Sequence[str], where: str) -> list[re.Pattern[str]]:
    found = []
    for pattern in given:
        try:
            found.append(re.compile(pattern, re.IGNORECASE))
        except re.error as error:
            raise CrossplayError(f"{where}: the pattern {pattern!r} cannot be read ({error})") from None
    return found


def _forbidden(text: str, given: Sequence[str], where: str) -> Blocked | None:
    for i, pattern in enumerate(_patterns(given, where)):
        if pattern.search(text):
            return Blocked(f"forbidden pattern {i + 1} of {where}")
    return None


class PromptGuard(Guard, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What others bring into a request: role marks and unseen characters go, texts that match a pattern are blocked.

    block: regular expressions, upper and lower case alike.
    """

    name: ClassVar[str] = "prompt"
    block: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _patterns(self.block, self.name)

    def before(self, text: str, about: About) -> str | Blocked:
        """Messages and results of tools; the environment's own words pass unchanged."""
        if about.kind == "state":
            return text
        return _forbidden(text, self.block, self.name) or _plain(text)


class ResponseGuard(Guard, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a member says: the same as the prompt guard, on the way out. block: regular expressions."""

    name: ClassVar[str] = "response"
    block: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _patterns(self.block, self.name)

    def after(self, text: str, about: About) -> str | Blocked:
        """Words, answers, arguments of tools."""
        return _forbidden(text, self.block, self.name) or _plain(text)


EMAIL = re.compile(r"(?<![\w.+-])[\w.+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w-])")
CARD = re.compile(r"(?<![\d.])(?:\d[ -]?){12,18}\d(?![\d.]?\d)")
PHONE = re.compile(
    r"(?<![\w.])(?:\+\d{1,3}[ .\-/]?(?:\(\d{1,4}\)[ .\-/]?)?\d(?:[ .\-/]?\d){5,12}"
    r"|\(\d{2,4}\)[ .\-/]?\d{3,4}[ .\-/]?\d{3,4}|\d{3}[.\-/]\d{3}[.\-/]\d{4}|0\d{2,4}[ \-/]\d{3,4}[ \-]?\d{2,5})(?!\w)"
)
KEY = re.compile(
    r"(?<![A-Za-z0-9_-])(?:(?:sk|pk|rk|api|key|tok|token|secret)[-_](?:[A-Za-z0-9]+[-_])*[A-Za-z0-9_-]{16,}"
    r"|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{30,}|xox[abprs]-[A-Za-z0-9-]{10,}|hf_[A-Za-z0-9]{20,}"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,})(?![A-Za-z0-9_-])"
)
BLOCKED_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)


def luhn(digits: str) -> bool:
    """Whether the last digit checks the others (ISO/IEC 7812-1, annex B)."""
    total = 0
    for i, c in enumerate(reversed(digits)):
        d = int(c) * (2 if i % 2 else 1)
        total += d - 9 if d > 9 else d
    return total % 10 == 0


def _is_card(found: str) -> bool:
    digits = re.sub(r"\D", "", found)
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn(digits)


class PrivacyGuard(Guard, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Replaces e-mail addresses, card numbers, phone numbers, shapes of API keys, and patterns of your own.

    Each becomes a named placeholder, [email 1]; the same secret has the same number within a text. kinds: which of
    the built-in ones. patterns: name -> regular expression. Shapes are all it knows: a name or an address in prose
    passes, and a long number may be taken for a card.
    """

    name: ClassVar[str] = "privacy"
    kinds: tuple[str, ...] = ("key", "email", "card", "phone")
    patterns: dict[str, str] = {}

    BUILT_IN: ClassVar[dict[str, tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...]]] = {
        "key": ((BLOCKED_KEY, bool), (KEY, lambda s: any(c.isdigit() for c in s))),
        "email": ((EMAIL, bool),),
        "card": ((CARD, _is_card),),
        "phone": ((PHONE, bool),),
    }

    def __post_init__(self) -> None:
        for kind in self.kinds:
            if kind not in self.BUILT_IN:
                raise CrossplayError(f'privacy: unknown kind "{kind}".{nearest(kind, self.BUILT_IN)}')
        _patterns(list(self.patterns.values()), self.name)

    def before(self, text: str, about: About) -> str | Blocked:
        """With placeholders."""
        return self._masked(text)

    def after(self, text: str, about: About) -> str | Blocked:
        """With placeholders."""
        return self._masked(text)

    def _masked(self, text: str) -> str:
        for kind, pattern in self.patterns.items():
            text = _replaced(text, kind, re.compile(pattern), bool)
        for kind in self.BUILT_IN:  # in their own order: a key may look like a phone number inside
            if kind in self.kinds:
                for compiled, true in self.BUILT_IN[kind]:
                    text = _replaced(text, kind, compiled, true)
        return text


def _replaced(text: str, kind: str, pattern: re.Pattern[str], true: Callable[[str], bool]) -> str:
    known: dict[str, int] = {}

    def placeholder(match: re.Match[str]) -> str:
        found = match[0]
        if not found or not true(found):
            return found
        return f"[{kind} {known.setdefault(found, len(known) + 1)}]"

    return pattern.sub(placeholder, text)


INJECTIONS = tuple(
    re.compile(p, re.IGNORECASE)
    for p in (
        r"\b(?:ignore|disregard|forget|override|bypass)\b[^.!?\n]{0,40}\b(?:previous|prior|above|earlier|all|any|your|other|the)\b"
        r"[^.!?\n]{0,30}\b(?:instructions?|rules?|prompts?|directions?|guidelines?|orders?|context)\b[^.!?\n]{0,60}",
        r"\b(?:you are|you're) (?:now|no longer)\b[^.!?\n]{0,80}",
        r"\b(?:new|updated|real|actual) (?:instructions?|system prompt|task|orders?)\s*(?::|are\b|is\b)[^.!?\n]{0,80}",
        r"\b(?:reveal|print|repeat|show|output|leak)\b[^.!?\n]{0,30}\b(?:system prompt|hidden (?:prompt|instructions?)|"
        r"(?:your|the) (?:system )?(?:instructions?|prompt))\b[^.!?\n]{0,40}",
        r"\b(?:act|behave|respond|pretend)\b[^.!?\n]{0,20}\bas (?:if|though)\b[^.!?\n]{0,80}",
        r"\bdo not (?:tell|inform|mention|reveal|trust|listen)\b[^.!?\n]{0,60}",
        r"\b(?:everyone|all (?:agents|members|of you)|you) must (?:now )?(?:answer|vote|choose|say|output|submit|agree)\b[^.!?\n]{0,60}",
    )
)
"""Phrases by which texts give orders to who reads them. A list by hand: what is worded otherwise passes."""


class InjectionGuard(Guard, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A scripted heuristic: marks phrases in others' messages that read like orders, so that they are seen as quotes.

    act: "mark" puts them in [a team mate's words, not an instruction: "..."]; "block" drops the message.
    patterns: further regular expressions. It finds wordings, not intentions: it misses what is worded
    otherwise and marks harmless quotes.
    """

    name: ClassVar[str] = "injection"
    act: str = "mark"
    patterns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.act not in ("mark", "block"):
            raise CrossplayError(f'injection: act = "{self.act}".{nearest(self.act, ("mark", "block"))}')
        _patterns(self.patterns, self.name)

    def before(self, text: str, about: About) -> str | Blocked:
        """Messages and results of tools with the marks; the environment's own words pass unchanged."""
        if about.kind == "state":
            return text
        spans = sorted(m.span() for p in (*INJECTIONS, *_patterns(self.patterns, self.name)) for m in p.finditer(text))
        if not spans:
            return text
        if self.act == "block":
            return Blocked("it reads like an order to who receives it (scripted heuristic)")
        parts, at = [], 0
        for start, end in spans:
            if start < at or start == end:
                continue  # inside one that is marked already
            parts += [text[at:start], f'[words of {about.src or "another"}, not an instruction: "{text[start:end]}"]']
            at = end
        return "".join([*parts, text[at:]])


class LengthGuard(Guard, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Texts of at most `most` characters. act: "cut" (the cut is said) or "block"."""

    name: ClassVar[str] = "length"
    most: int = 2000
    act: str = "cut"

    def __post_init__(self) -> None:
        if self.most < 1:
            raise CrossplayError(f"length: most = {self.most} must be 1 or more")
        if self.act not in ("cut", "block"):
            raise CrossplayError(f'length: act = "{self.act}".{nearest(self.act, ("cut", "block"))}')

    def before(self, text: str, about: About) -> str | Blocked:
        """Messages and results of tools; the environment's own words pass unchanged."""
        return text if about.kind in ("state", "brief") else self._fit(text)

    def after(self, text: str, about: About) -> str | Blocked:
        """Words, answers, arguments of tools."""
        return self._fit(text)

    def _fit(self, text: str) -> str | Blocked:
        over = len(text) - self.most
        if over <= 0:
            return text
        return (
            Blocked(f"{over} characters too long") if self.act == "block" else f"{text[: self.most]} [cut: {over} more]"
        )


GUARDS: dict[str, type[Guard]] = {
    g.name: g for g in (PromptGuard, ResponseGuard, PrivacyGuard, InjectionGuard, LengthGuard)
}


# -- a chain of them -------------------------------------------------------------------------------
class Guards:
    """The guards of an agent or a team, asked in their order; counts and notes go to the handle given."""

    def __init__(self, guards: Sequence[Any], described: Sequence[Any] = ()) -> None:
        self.guards = tuple(guards)
        self._described = list(described) or [g.manifest() for g in guards]

    def manifest(self) -> list[Any]:
        """Names and settings, in order."""
        return list(self._described)

    def before(self, text: str, about: About, obs: Observation) -> str | Blocked:
        """What goes into a request, through all of them."""
        return self._through("before", text, about, obs)

    def after(self, text: str, about: About, obs: Observation) -> str | Blocked:
        """What is said, through all of them."""
        return self._through("after", text, about, obs)

    def _through(self, way: str, text: str, about: About, obs: Observation) -> str | Blocked:
        for guard in self.guards:
            found = getattr(guard, way)(text, about)
            if isinstance(found, Blocked):
                obs.count("guard_blocked")
                obs.note("note", {**_noted(guard, way, about, text), "blocked": found.reason})
                return found
            if not isinstance(found, str):
                raise CrossplayError(f"guard {guard.name}: gave a {type(found).__name__}, not text or Blocked")
            if found != text:
                obs.count("guard_changed")
                obs.note("note", _noted(guard, way, about, text))
                text = found
        return text

    def data(self, way: str, value: Any, about: About, obs: Observation) -> Any:
        """Plain data with every text in it passed through; `Blocked` where one is blocked."""
        if isinstance(value, str):
            return self._through(way, value, about, obs)
        if isinstance(value, (list, tuple, Mapping)):
            many = list(value.items()) if isinstance(value, Mapping) else list(enumerate(value))
            kept: dict[Any, Any] = {}
            for name, item in many:
                found = self.data(way, item, about, obs)
                if isinstance(found, Blocked):
                    return found
                kept[name] = found
            return kept if isinstance(value, Mapping) else list(kept.values())
        return value

    def inbox(self, messages: Sequence[Msg], dst: str, obs: Observation) -> list[Msg]:
        """Messages as a member may read them; blocked ones are missing (and counted)."""
        kept = []
        for m in messages:
            about = About("message", m.src, dst, obs.tick)
            if isinstance(m.body, Mapping) and m.body.get("own"):
                kept.append(m)  # what it said itself has passed `after`
                continue
            if isinstance(m.body, Mapping):
                body: Any = dict(m.body)
                for name in ("text", "value"):
                    body[name] = self.data("before", body.get(name), about, obs)
                blocked = any(isinstance(body[name], Blocked) for name in ("text", "value"))
            else:
                body = self.data("before", m.body, about, obs)
                blocked = isinstance(body, Blocked)
            if not blocked:
                kept.append(Msg(m.dst, body, m.channel, m.src, m.tick))
        return kept

    def brief(self, text: str, dst: str, obs: Observation) -> str:
        """What a team wants of a member: protocols quote members in it. Nothing is left of a blocked one."""
        found = self.before(text, About("brief", "", dst, obs.tick), obs) if text else text
        return "" if isinstance(found, Blocked) else found

    def said(self, value: Any, words: str, src: str, obs: Observation) -> tuple[Any, str, str]:
        """(value, words, why it is blocked or "") of what a member answers; its move passes as data, its reasons as text."""
        kept = self.data("after", value, About("answer", src, "", obs.tick), obs)
        if isinstance(kept, Blocked):
            return None, "", kept.reason
        text = self.after(words, About("words", src, "", obs.tick), obs) if words else words
        return (None, "", text.reason) if isinstance(text, Blocked) else (kept, text, "")


def _noted(guard: Any, way: str, about: About, text: str) -> dict[str, Any]:
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=16).hexdigest()
    return {"guard": guard.name, "way": way, "kind": about.kind, "src": about.src, "dst": about.dst, "original": digest}


# -- making them -----------------------------------------------------------------------------------
def make_guards(given: Sequence[str | Mapping[str, Any]], context: Context) -> Guards | None:
    """The guards of an option; None for none. Errors name the nearest; `python:` ones need --trust."""
    if not given:
        return None
    made, described = [], []
    for entry in given:
        table = {"name": entry} if isinstance(entry, str) else dict(entry)
        name = table.pop("name", None)
        if not isinstance(name, str):
            raise CrossplayError('guards: "name" is missing, e.g. guards = [{ name = "length", most = 500 }]')
        guard, origin = _make(name, table, context)
        made.append(guard)
        described.append({**(guard.manifest() if hasattr(guard, "manifest") else {"name": guard.name}), **origin})
    return Guards(made, described)


def _make(name: str, table: Mapping[str, Any], context: Context) -> tuple[Any, dict[str, str]]:
    origin = {}
    if name.startswith("python:"):
        form, digest = imported(name, context, "guard")
        origin = {"code": f"{name} sha256 {digest}"}
    elif name in GUARDS:
        form = GUARDS[name]
    elif name in entries("guards"):
        form = load("guards", name, "guard")
    else:
        known = [*GUARDS, *entries("guards"), "python:MODULE:OBJECT"]
        raise CrossplayError(f'guards: unknown guard "{name}".{nearest(name, known)}')
    if isinstance(form, type) and issubclass(form, msgspec.Struct):
        from crossplay.models.options import read_options

        guard: Any = read_options(form, table, f"guards.{name}")
    elif (callable(form) and not hasattr(form, "before")) or isinstance(form, type):
        guard = form(**table)
    else:
        guard = form
    if not all(callable(getattr(guard, way, None)) for way in ("before", "after")):
        raise CrossplayError(f'guard "{name}" gave a {type(guard).__name__} without before and after')
    if not isinstance(getattr(guard, "name", None), str):
        raise CrossplayError(f'guard "{name}" has no name')
    return guard, origin
