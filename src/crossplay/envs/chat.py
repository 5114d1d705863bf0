"""`chat/group`: an open discussion. Seats say something in turn, or all at once; nothing is won.

What is said is the action, so the words stand in the world chain. The set-ups of "Who Am I, and Who
Else Is Here?" (arXiv 2604.00026) are options: names, lists of peers, isolation, a participant that
only returns an error notice. What is measured here are counts; coders of what was meant work on traces.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from crossplay.envs._options import option_schema, settle
from crossplay.kernel.env import Ended, Env
from crossplay.kernel.registry import nearest
from crossplay.kernel.seeds import key, key64, permutation
from crossplay.kernel.types import ActionSpec, CrossplayError, Msg, pack, unpack

__all__ = ["NICKS", "NOTICE", "TOPICS", "Group", "family"]

NOTICE = "[error] No answer could be generated for this turn."
"""What the participant of the option `error` says, every time."""

_WORDS = """
Amber Birch Cedar Dune Ember Fjord Glade Heron Indigo Juniper Kestrel Lichen Maple Nimbus Onyx Pebble Quartz
Raven Sable Thistle Umber Vetch Willow Xylo Yarrow Zephyr Basil Coral Drift Echo Flint Grove Hazel
"""

NICKS: tuple[str, ...] = tuple(_WORDS.split())
"""33 names that say nothing about who speaks."""

TOPICS: dict[str, str] = {
    "delivery": "Plan a new application for ordering food from restaurants in one town, from its first users to its "
    "first year: what it does, how it is built, who does what, and what could go wrong.",
    "festival": "Plan a music festival of three days on a meadow near a small town: the programme, the money, who does "
    "what, and what could go wrong.",
}
"""Briefs by name; any other text is a brief itself."""

_SCHEMA = option_schema(
    {
        "n": {
            "type": "integer",
            "minimum": 2,
            "maximum": 32,
            "default": 7,
            "description": "Number of seats that speak.",
        },
        "rounds": {
            "type": "integer",
            "minimum": 1,
            "maximum": 1000,
            "default": 11,
            "description": "How often everybody speaks.",
        },
        "order": {
            "type": "string",
            "enum": ["fixed", "shuffled", "together"],
            "default": "fixed",
            "description": "One after the other, the same way each round or in an order drawn each round; or all at once.",
        },
        "topic": {
            "holds": "words",
            "type": "string",
            "default": "delivery",
            "description": f"The brief: {', '.join(TOPICS)}, or any text.",
        },
        "names": {
            "type": "string",
            "enum": ["nick", "real", "none"],
            "default": "nick",
            "description": "What speakers are called: nicknames dealt out by the block; the names of `people`; or nothing.",
        },
        "people": {
            "holds": "words",
            "type": "array",
            "items": {"type": "string"},
            "default": None,
            "description": 'Names in the order of the participants, for names = "real"; or the nicknames to deal out.',
        },
        "tell_name": {
            "type": "boolean",
            "default": True,
            "description": "Whether a seat is told which name is its own.",
        },
        "list_peers": {
            "type": "boolean",
            "default": True,
            "description": "Whether a seat is told the names of the others.",
        },
        "briefing": {
            "type": "boolean",
            "default": True,
            "description": "false: no rules, names or rounds are told; the topic and what was said stand alone.",
        },
        "isolated": {
            "type": "boolean",
            "default": False,
            "description": "Nobody hears anybody: a seat sees its own words only.",
        },
        "error": {
            "type": "integer",
            "minimum": 0,
            "maximum": 33,
            "default": 0,
            "description": "Place of one more participant who always returns an error notice; 0: none.",
        },
        "language": {
            "holds": "words",
            "type": "string",
            "default": "",
            "description": 'A language that is asked for, e.g. "English"; empty: none.',
        },
        "max_chars": {
            "type": "integer",
            "minimum": 1,
            "maximum": 100000,
            "default": 1200,
            "description": "Longest message, in characters.",
        },
        "question": {
            "holds": "words",
            "type": "string",
            "default": "",
            "description": "A last question that all answer at once after the discussion; empty: none.",
        },
        "choices": {
            "holds": "words",
            "type": "array",
            "items": {"type": "string"},
            "default": None,
            "description": "The possible answers to the question, as they are told; none: any text.",
        },
    }
)


class Group(Env):
    """A discussion of n seats, and one participant more with the option `error`.

    A seat's data: its name, the others' names, the topic, and the words it could hear in the order
    they were said. The text view only grows at its end, but for its last line.
    """

    name = "chat/group"
    views = ("data", "text")

    def __init__(self, **options: Any) -> None:
        """Options as in `family.schema`. Raises CrossplayError on wrong ones."""
        o, self.options = settle(self.name, _SCHEMA, options)
        self.o = o
        self.n: int = o["n"]
        self.seats = tuple(f"s{i + 1}" for i in range(self.n))
        # Who speaks, in fixed order: index of a seat, or -1 for the participant that errs.
        self.parts = list(range(self.n))
        if o["error"] > self.n + 1:
            raise CrossplayError(f"{self.name}: option error = {o['error']}: places are 1 to {self.n + 1}, 0 is none")
        if o["error"]:
            self.parts.insert(o["error"] - 1, -1)
        self.people = self._people()
        self.together = o["order"] == "together"
        if o["choices"] is not None and (not o["question"] or len(set(o["choices"])) < 2):
            raise CrossplayError(f"{self.name}: option choices = {o['choices']}: two answers to a question are needed")
        self.topic: str = TOPICS.get(o["topic"], o["topic"])
        if not self.topic.strip():
            raise CrossplayError(f"{self.name}: option topic is empty.{nearest('', TOPICS)}")
        self.horizon = o["rounds"] * (1 if self.together else self.n) + bool(o["question"])
        self.action_spec = ActionSpec(kind="text", max_len=o["max_chars"], noop="")
        self.rules = self._rules()
        self._metrics()

    def _people(self) -> tuple[str, ...]:
        """The names to be dealt out or given, one per participant."""
        o, total = self.o, len(self.parts)
        if o["people"] is None:
            if o["names"] == "real":
                raise CrossplayError(f'{self.name}: names = "real" needs the option people: {total} names')
            return NICKS[:total]
        people = tuple(o["people"])
        if o["names"] == "none" or len(people) != total or len({*people, "you", "someone"}) != total + 2:
            raise CrossplayError(
                f"{self.name}: option people = {list(people)}: {total} different names are needed, and names that are shown"
            )
        return people

    def _metrics(self) -> None:
        self.metrics = {
            "words": "words said by all seats",
            "messages": "messages said by all seats",
            "silent": "turns in which nothing was said",
            "words_per_message": "words per message",
            "largest_share": "largest share of all words that one seat said (1/n: equal shares)",
        }
        if self.o["question"]:
            self.metrics |= {
                "answered": "share of seats that answered the last question",
                "agreement": "share of all seats that gave the most frequent answer",
            }
        for seat in self.seats:
            self.metrics[f"words_{seat}"] = f"words said by {seat}"
            self.metrics[f"messages_{seat}"] = f"messages said by {seat}"
            self.metrics[f"share_{seat}"] = f"share of all words that {seat} said"
        self.seat_metrics = {
            f"own_{what}": {seat: f"{what}_{seat}" for seat in self.seats} for what in ("words", "messages", "share")
        }

    def _rules(self) -> str:
        o = self.o
        if not o["briefing"]:
            return "Answer with text."
        rounds = o["rounds"]
        times = "once" if rounds == 1 else f"{rounds} times"
        how = {
            "fixed": "One speaks after the other, in the same order each round.",
            "shuffled": "One speaks after the other, in another order each round.",
            "together": "In each round all speak at the same time, and hear the others afterwards.",
        }[o["order"]]
        lines = [f"{len(self.parts)} participants discuss a topic; each speaks {times}. {how}"]
        lines.append(f"Your move is what you say: a text of at most {o['max_chars']} characters.")
        lines += [f"Speak {o['language']}."] if o["language"] else []
        lines += ["At the end all are asked one question."] if o["question"] else []
        return "\n".join(lines)

    # -- the game ----------------------------------------------------------------------------------
    def reset(self, key: bytes, task: Any = None) -> None:
        """Deal out the nicknames; nobody has spoken."""
        self._draw(key)
        self.round, self.turn = 0, 0  # turn: place in the order of this round
        self.said: list[list[Any]] = []  # [round, participant, text]
        self.digest = b""  # of everything said
        self.answers: list[str] | None = None
        self.silent = 0
        self._errs()

    def _draw(self, k: bytes) -> None:
        self.key = k
        names = list(self.people)
        if self.o["names"] == "nick":
            names = [names[i] for i in permutation(key(k, "names"), len(names))]
        self.shown = names

    def _order(self) -> list[int]:
        """The participants (places in `parts`) in the order of this round."""
        if self.o["order"] == "shuffled":
            return permutation(key(self.key, "order"), len(self.parts), self.round)
        return list(range(len(self.parts)))

    def _errs(self) -> None:
        """Whoever always errs speaks as soon as it is their turn; a round that is over begins anew."""
        while self.round < self.o["rounds"] and not self.together:
            if self.turn == len(self.parts):
                self.round, self.turn = self.round + 1, 0
                continue
            part = self._order()[self.turn]
            if self.parts[part] >= 0:
                return
            self._say(part, NOTICE)
            self.turn += 1

    def to_act(self) -> tuple[str, ...]:
        """Whose turn it is; everybody where all speak at once, and at the question."""
        if self.together or self.round >= self.o["rounds"]:
            return self.seats
        return (self.seats[self.parts[self._order()[self.turn]]],)

    def ended(self) -> Ended:
        """After the last round, and the question where there is one."""
        talked = self.round >= self.o["rounds"]
        return "terminal" if talked and (self.answers is not None or not self.o["question"]) else None

    def spec(self, seat: str) -> ActionSpec:
        """A text; an empty one says nothing."""
        return self.action_spec

    def step(self, actions: Mapping[str, str], mail: Sequence[Msg]) -> Sequence[float]:
        """Add what was said. There are no rewards."""
        if self.round >= self.o["rounds"]:
            self.answers = [actions[s].strip() for s in self.seats]
        elif self.together:
            for part, i in enumerate(self.parts):
                self._say(part, actions[self.seats[i]] if i >= 0 else NOTICE)
            self.round += 1
        else:
            [text] = actions.values()
            self._say(self._order()[self.turn], text)
            self.turn += 1
            self._errs()
        return (0.0,) * self.n

    def _say(self, part: int, text: str) -> None:
        if text.strip():
            entry = [self.round, part, text.strip()]
            self.said.append(entry)
            self.digest = key(self.digest, *entry)
        else:
            self.silent += 1

    def score(self) -> Mapping[str, float]:
        """Counts of words and messages; how far the answers agree."""
        words, messages = [0] * self.n, [0] * self.n
        for _, part, text in self.said:
            i = self.parts[part]
            if i >= 0:
                words[i] += len(text.split())
                messages[i] += 1
        total, spoken = sum(words), sum(messages)
        shares = [w / total if total else 0.0 for w in words]
        found: dict[str, float] = {
            "words": float(total),
            "messages": float(spoken),
            "silent": float(self.silent),
            "words_per_message": total / spoken if spoken else 0.0,
            "largest_share": max(shares),
        }
        if self.o["question"]:
            given = [a for a in map(self._answer, self.answers or ()) if a]
            found["answered"] = len(given) / self.n
            found["agreement"] = max(Counter(given).values(), default=0) / self.n
        for i, seat in enumerate(self.seats):
            found |= {f"words_{seat}": words[i], f"messages_{seat}": messages[i], f"share_{seat}": shares[i]}
        return found

    def _answer(self, text: str) -> str:
        """What answers are compared by: the one choice that is named, or the text without case and marks."""
        plain = _plain(text)
        if self.o["choices"] is None:
            return plain
        named = [c for c in self.o["choices"] if f" {_plain(c)} " in f" {plain} "]
        return named[0] if len(named) == 1 else ""

    # -- what a seat may know ----------------------------------------------------------------------
    def data(self, seat: str) -> dict[str, Any]:
        """Own name and those of the others (None: not told), topic, what was heard, and what is to be done.

        said: [round, speaker, text] in the order of speaking; speaker "" where nobody has a name.
        """
        own = self.parts.index(self.seats.index(seat))
        o, told = self.o, self.o["briefing"]
        named = o["names"] != "none"
        over = self.ended() is not None
        return {
            "name": self.shown[own] if named and told and o["tell_name"] else None,
            "peers": [p for i, p in enumerate(self.shown) if i != own] if named and told and o["list_peers"] else None,
            "topic": self.topic,
            "round": min(self.round, o["rounds"] - 1) + 1,
            "rounds": o["rounds"],
            "said": [
                [r + 1, self._label(part, own), text] for r, part, text in self.said if part == own or not o["isolated"]
            ],
            "question": o["question"] if self.round >= o["rounds"] else "",
            "choices": o["choices"],
            "turn": not over and seat in self.to_act(),
            "briefing": told,
        }

    def _label(self, part: int, own: int) -> str:
        if self.o["names"] != "none":
            return self.shown[part]
        return "you" if part == own and self.o["tell_name"] and self.o["briefing"] else ""

    def view_text(self, data: Mapping[str, Any]) -> str:
        """Names and topic, then all that was heard, newest last, then what is to be done."""
        lines = []
        if data["name"] is not None:
            lines.append(f"You are {data['name']}.")
        if data["peers"] is not None:
            lines.append(f"The others: {', '.join(data['peers'])}.")
        lines.append(f"Topic: {data['topic']}" if data["briefing"] else data["topic"])
        last = 0
        for r, speaker, text in data["said"]:
            if r != last and data["briefing"]:
                lines.append(f"Round {r}:")
            last = r
            # Further lines of a message are indented, so that nobody can write a line of somebody else.
            lines.append(f"{speaker or 'someone'}: " + text.replace("\n", "\n    "))
        return "\n".join([*lines, *_now(data)])

    def omits(self, view: str) -> str:
        """What a view leaves out of data."""
        if view == "text" and not self.o["briefing"]:
            return "the rounds, and whose turn it is"
        return "the possible answers, before the question" if view == "text" and self.o["choices"] else ""

    def text(self) -> str:
        """Everything that was said, for spectators; speakers by seat and name."""
        who = [
            (f"{self.seats[i]} " if i >= 0 else "") + (f"({name})" if self.o["names"] != "none" else "")
            for i, name in zip(self.parts, self.shown, strict=True)
        ]
        lines = [f"{r + 1} {who[part].strip() or 'error'}: {text}" for r, part, text in self.said]
        if self.answers is not None:
            lines += [f"answer of {s}: {a}" for s, a in zip(self.seats, self.answers, strict=True)]
        return "\n".join(lines)

    # -- engine ------------------------------------------------------------------------------------
    def snapshot(self) -> bytes:
        """Key, place, and what was said; names follow from the key."""
        return pack([self.key, self.round, self.turn, self.said, self.digest, self.answers, self.silent])

    def restore(self, snapshot: bytes) -> None:
        """The inverse."""
        k, self.round, self.turn, self.said, self.digest, self.answers, self.silent = unpack(snapshot)
        self._draw(k)

    def fingerprint(self) -> int:
        """64 bits of key, place, answers and the chain over what was said."""
        return key64(key(self.key, self.round, self.turn, self.digest, self.answers, self.silent))


def _plain(text: str) -> str:
    """The words of a text, without case and marks."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.casefold()).split())


def _now(data: Mapping[str, Any]) -> list[str]:
    """The last line of the text view: what is to be done."""
    if data["question"]:
        choices = f" Answer with one of: {', '.join(data['choices'])}." if data["choices"] else ""
        return [f"Now: {data['question']}{choices}" if data["turn"] else "Now: the question was answered."]
    if not data["briefing"]:
        return []
    turn = "It is your turn." if data["turn"] else "It is not your turn."
    return [f"Now: round {data['round']} of {data['rounds']}. {turn}"]


class _Family:
    """`chat/group`."""

    summary = (
        "an open discussion in a group, in turn or all at once: names, isolation and an erring participant as options"
    )
    expert = None  # nothing is won, so there is no ceiling

    def names(self) -> Sequence[str]:
        """One environment."""
        return ("group",)

    def make(self, rest: str, options: Mapping[str, Any]) -> Env:
        """A discussion."""
        if rest not in ("", "group"):
            raise CrossplayError(f'chat: unknown environment "{rest}".{nearest(rest, self.names())}')
        return Group(**options)

    def batch(self, rest: str, width: int, options: Mapping[str, Any]) -> None:
        """There is no array form: words are no columns."""

    def schema(self, rest: str) -> dict[str, Any]:
        """JSON schema of the options."""
        return _SCHEMA


family = _Family()
