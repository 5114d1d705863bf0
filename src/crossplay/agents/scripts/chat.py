"""`speaker:NAME`: scripted participants of `chat`, whose habits a coder of the transcript can recover.

A message is a greeting (`phatic`), or carries each of five traits by chance around one plain
sentence: `meta` (about the discussion), `lead` (gives a named other a task), `arch` (names two
technologies), `agree` (with a named other), `comp` (steps in after an error notice). The codes are
those of "Who Am I, and Who Else Is Here?" (arXiv 2604.00026); the sentences are planted here, so
that the true rates are known. `traits` reads them back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import msgspec

from crossplay.agents.context import options, plain, quick
from crossplay.kernel.agent import Agent
from crossplay.kernel.obs import Observation
from crossplay.kernel.registry import nearest
from crossplay.kernel.seeds import pick, uniform
from crossplay.kernel.types import Action, CrossplayError

__all__ = ["PROFILES", "TRAITS", "Profile", "Speaker", "speaker", "traits"]

TRAITS = ("phatic", "meta", "lead", "arch", "agree", "comp")

_TOOLS = "Postgres Redis Kafka React Docker Kubernetes GraphQL RabbitMQ Django Flutter".split()  # noqa: SIM905
_META = (
    "Let me sum up where this discussion stands.",
    "We should stay with one question at a time.",
    "I suggest that we vote before we go on.",
)
_PHATIC = ("Good morning to all of you!", "Thanks, this is going very well.", "I am happy to be here with you.")
_TASKS = ("write down the first draft", "check the costs", "talk to the first users", "list what could go wrong")
_SIGNS = {
    "meta": re.compile("|".join(re.escape(line) for line in _META)),
    "lead": re.compile(r"\b\w+, please (?:" + "|".join(_TASKS) + ")"),
    "agree": re.compile(r"\bI agree with \w+"),
    "comp": re.compile(r"\breturned an error, so I take over\b"),
}
_TOOL = re.compile(r"\b(?:" + "|".join(_TOOLS) + r")\b")
_NOTICE = re.compile(r"^\[error\]")


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """The habits of a speaker: chances of the traits, and how far others change them.

    mirror, compensate: the chance of meta, lead, arch and agree is (1 - mirror - compensate) * own + mirror * share +
    compensate * (1 - share), share being that of the messages heard since the last own turn which
    carry it. silent: chance to say nothing. words: what the plain sentences are about.
    """

    phatic: float = 0.1
    meta: float = 0.1
    lead: float = 0.1
    arch: float = 0.1
    agree: float = 0.1
    comp: float = 0.5
    mirror: float = 0.0
    compensate: float = 0.0
    silent: float = 0.0
    words: tuple[str, ...] = ("plan", "budget", "team", "schedule")


PROFILES: dict[str, Profile] = {
    "mixed": Profile(phatic=0.15, meta=0.25, lead=0.25, arch=0.25, agree=0.25),
    "planner": Profile(
        phatic=0.02, meta=0.5, lead=0.7, arch=0.05, words=("schedule", "milestone", "budget", "meeting")
    ),
    "architect": Profile(phatic=0.02, arch=0.85, words=("service", "database", "interface", "load")),
    "friend": Profile(phatic=0.5, agree=0.7, arch=0.02, lead=0.02, words=("people", "mood", "idea", "guest")),
    "guardian": Profile(comp=0.95, lead=0.3, agree=0.3, words=("risk", "failure", "reserve", "warning")),
    "quiet": Profile(silent=0.7, phatic=0.3, words=("detail", "note", "remark", "question")),
    "mirror": Profile(mirror=0.8),
    "contrary": Profile(compensate=0.8),
    "error": Profile(),
}
"""Named speakers. `error` returns an error notice every time."""


@lru_cache(maxsize=4096)  # every listener codes every message
def traits(text: str) -> frozenset[str]:
    """The traits of `TRAITS` that a message carries: the planted sentences, and two technologies by name.

    A message of less than 15 words without any other trait is phatic; error notices carry none.
    """
    if _NOTICE.match(text):
        return frozenset()
    found = {name for name, sign in _SIGNS.items() if sign.search(text)}
    if len(set(_TOOL.findall(text))) >= 2:
        found.add("arch")
    return frozenset(found or ({"phatic"} if len(text.split()) < 15 else ()))


class Speaker(Agent):
    """Says what its profile says, by chances at the address of seat and tick."""

    def __init__(self, name: str = "mixed", profile: Profile | None = None) -> None:
        """name: of `PROFILES`; profile: other habits under that name."""
        self.kind_of, self.profile = name, profile or PROFILES[name]
        self.name = f"speaker:{name}" + ("" if self.profile == PROFILES.get(name) else "*")

    def act(self, obs: Observation) -> Action:
        """A message, or the answer to the last question."""
        data = obs.view("data")
        if data["question"]:
            choices = data["choices"] or ["yes", "no"]
            return Action(choices[pick(obs.key("answer"), len(choices))])
        said = data["said"]
        memo = obs.memo or {"seen": 0, "own": ""}
        heard = [list(m) for m in said[memo["seen"] :]]
        mine = next((i for i, m in enumerate(heard) if m[2] == memo["own"]), None)
        if mine is not None:
            del heard[mine]  # the last own message stands in the transcript too
        text = self._message(obs, data, heard)[: obs.spec.max_len]
        return Action(text, memo={"seen": len(said), "own": text})

    def _message(self, obs: Observation, data: Mapping[str, Any], heard: Sequence[Sequence[Any]]) -> str:
        stream, t = obs.key("speaker"), obs.tick
        if self.kind_of == "error":
            return "[error] The scripted speaker fails."
        if uniform(stream, t, 0) < self.profile.silent:
            return ""
        chance = self._chances(heard)
        if uniform(stream, t, 1) < chance["phatic"]:
            return _PHATIC[pick(stream, len(_PHATIC), t, 2)]
        words = self.profile.words
        a, b = (words[pick(stream, len(words), t, 3 + i)] for i in range(2))
        parts = [f"For me the {a} comes first, because all else hangs on the {b} and nobody has looked at that yet."]
        for slot, trait in enumerate(TRAITS[1:]):
            if uniform(stream, t, 10 + slot) < chance[trait]:
                line = self._line(obs, trait, data, heard)
                if not line:
                    obs.count(f"no_{trait}")  # nobody to name, or nothing to react to
                parts += [line] if line else []
        return " ".join(parts)

    def _chances(self, heard: Sequence[Sequence[Any]]) -> dict[str, float]:
        """The chance of each trait, drawn towards or away from what was heard; greetings and reactions to errors are not."""
        p = self.profile
        codes = [traits(text) for _, _, text in heard if not _NOTICE.match(text)]
        chances = {}
        for trait in TRAITS:
            own = getattr(p, trait)
            share = sum(trait in c for c in codes) / len(codes) if codes else None
            if share is None or trait in ("phatic", "comp"):
                chances[trait] = own
            else:
                chances[trait] = (1 - p.mirror - p.compensate) * own + p.mirror * share + p.compensate * (1 - share)
        return chances

    def _line(self, obs: Observation, trait: str, data: Mapping[str, Any], heard: Sequence[Sequence[Any]]) -> str:
        """The sentence of a trait; empty where it cannot be said."""
        stream, t, slot = obs.key("line", trait), obs.tick, 0
        speakers = sorted({who for _, who, text in heard if who not in ("", "you") and not _NOTICE.match(text)})
        if trait == "meta":
            return _META[pick(stream, len(_META), t, slot)]
        if trait == "arch":
            i = pick(stream, len(_TOOLS), t, 0)
            j = (i + 1 + pick(stream, len(_TOOLS) - 1, t, 1)) % len(_TOOLS)
            return f"I would build it with {_TOOLS[i]} and {_TOOLS[j]}."
        if trait == "comp":
            failed = [who or "Somebody" for _, who, text in heard if _NOTICE.match(text)]
            return f"{failed[-1]} returned an error, so I take over that part." if failed else ""
        known = sorted({*speakers, *(data["peers"] or ())}) if trait == "lead" else speakers
        if not known:
            return ""
        name = known[pick(stream, len(known), t, 0)]
        if trait == "agree":
            return f"I agree with {name}."
        return f"{name}, please {_TASKS[pick(stream, len(_TASKS), t, 1)]}."

    def check(self, env: Any, seat: str) -> None:
        """Plays `chat` only."""
        if not env.name.startswith("chat/"):
            raise CrossplayError(f"speaker: plays chat, not {env.id}")

    def manifest(self) -> dict[str, Any]:
        """Kind, name and profile."""
        return {"kind": self.kind, "name": self.name, "profile": msgspec.to_builtins(self.profile)}


def _rate(what: str) -> dict[str, Any]:
    return {"type": "number", "minimum": 0, "maximum": 1, "default": None, "description": what}


@options(
    **{
        trait: _rate(f"chance of the trait {trait} in a message (not given: that of the named profile)")
        for trait in TRAITS
    },
    mirror=_rate("how far the chances follow the share of others' messages that carry a trait"),
    compensate=_rate("how far they follow the share that does not carry it"),
    silent=_rate("chance to say nothing"),
)
@plain(tuple(PROFILES))
@quick
def speaker(rest: str, options: Mapping[str, Any], context: Any = None) -> Agent:
    """A scripted participant of `chat`; rest: mixed (default), planner, architect, friend, guardian, quiet, mirror, contrary or error."""
    name = rest or "mixed"
    if name not in PROFILES:
        raise CrossplayError(f'speaker: unknown name "{name}".{nearest(name, PROFILES)}')
    given = {k: float(v) for k, v in options.items() if v is not None}
    profile = msgspec.structs.replace(PROFILES[name], **given)
    if profile.mirror + profile.compensate > 1.0:
        raise CrossplayError(f"speaker: mirror + compensate = {profile.mirror + profile.compensate:g}: at most 1")
    return Speaker(name, profile)
