"""`People`: the part of a study that people play: how many, in which order, what they are told and asked.

The participant is the cluster of the statistics (invariant 9). Participant n has blocks of their own, (n-1) * K to
n * K - 1 for K blocks with each partner: all partners meet a participant in the same K worlds, so that differences
between partners are paired within the participant.

Orders of partners: Williams, E. J. (1949), Experimental designs balanced for the estimation of residual effects
of treatments, Australian Journal of Scientific Research A 2, 149-168. Over a full set of rows (n for an even
number of partners, 2n for an odd one) each partner comes equally often at each place, and equally often right
after each other partner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from crossplay.kernel import CrossplayError, nearest
from crossplay.kernel.seeds import key, key64, permutation

if TYPE_CHECKING:
    from crossplay.study.spec import Cell, Study

__all__ = [
    "Ask",
    "Breaks",
    "People",
    "Practice",
    "Step",
    "blocks_of",
    "check_people",
    "is_person",
    "order_of",
    "partners",
    "partners_beside",
    "people_of",
    "practice_study",
    "read_answers",
    "read_people",
    "rows_of",
    "steps",
    "williams",
]

AGREEMENT = ["strongly disagree", "disagree", "neither", "agree", "strongly agree"]
PARTNERS = "partners"
"""As `choices`: the partners, in the order in which the participant met them."""
WORDS = 4000
"""Characters of a text at most."""
LARGEST = 2.0**53
"""Numbers above are no answer to anything."""


class Ask(msgspec.Struct, forbid_unknown_fields=True):
    """A question to participants.

    name: of its column. ask: the question in words. kind: "likert" (one of the labels, scored 1, 2, ...), "number",
    "choice" or "text". when: after each partner, or once at the end. labels: lowest first. choices: what can be chosen, or
    "partners". low, high: bounds of a number. required: whether it must be answered. scale: likert questions and numbers that name one
    scale are averaged to one score. reverse: counted from the other end. margin: the smallest difference between partners that matters.
    """

    name: str
    ask: str
    kind: Literal["likert", "number", "choice", "text"] = "likert"
    when: Literal["partner", "end"] = "partner"
    labels: list[str] = []
    choices: list[str] | str = []
    low: float | None = None
    high: float | None = None
    required: bool = True
    scale: str = ""
    reverse: bool = False
    margin: float = 0.5

    @property
    def scored(self) -> bool:
        """Whether the answer is a number."""
        return self.kind in ("likert", "number")

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """The least and the largest score, where there are such."""
        return (1.0, float(len(self.labels))) if self.kind == "likert" else (self.low, self.high)

    def points(self, value: float) -> float:
        """The score of an answer; reversed: counted from the other end."""
        low, high = self.bounds
        return float(low + high - value) if self.reverse and low is not None and high is not None else float(value)


class Practice(msgspec.Struct, forbid_unknown_fields=True):
    """Episodes before those that count, recorded in a run of their own. seats: agents in seat order.

    blocks: how many, in each environment.
    """

    seats: list[str] = []
    blocks: int = 0


class Breaks(msgspec.Struct, forbid_unknown_fields=True):
    """Pauses. every: after so many partners (0: none). seconds: at least so long. text: what is said."""

    every: int = 0
    seconds: int = 0
    text: str = ""


class People(msgspec.Struct, forbid_unknown_fields=True):
    """Who takes part, what they are told, in which order they meet their partners, what they are asked.

    participant: the agent whose seat the participant takes (default: the first of type `person`). participants:
    complete sessions that are wanted. blocks: with each partner. order: "counterbalanced", "random" (drawn for each
    participant) or "given". consent: what a participant agrees to, in full. patience: seconds for which an episode waits for a
    participant who has gone; then it is void and played again when they come back. title: what participants see above all (the
    study's name may give away what it is about).
    """

    participant: str = ""
    participants: int = 12
    blocks: int = 1
    order: Literal["counterbalanced", "random", "given"] = "counterbalanced"
    title: str = ""
    consent: str = ""
    instructions: str = ""
    practice: Practice = msgspec.field(default_factory=Practice)
    breaks: Breaks = msgspec.field(default_factory=Breaks)
    thanks: str = ""
    patience: float = 300.0
    questions: list[Ask] = []

    def of(self, block: int | str) -> int | None:
        """The number of the participant to whom a block belongs, from 1; None where it is none of theirs."""
        return block // self.blocks + 1 if isinstance(block, int) and block >= 0 else None

    def asked(self, when: str) -> list[Ask]:
        """The questions after each partner ("partner") or at the end ("end")."""
        return [q for q in self.questions if q.when == when]


class Step(msgspec.Struct, frozen=True):
    """One thing that a participant does. name: its key in the record of the session.

    kind: "consent", "instructions", "practice", "play", "questions", "break" or "thanks". partner: the lineup; place: which
    partner it is, from 1. cell, block: of an episode. of, part: this is episode `part` of `of` with this partner.
    """

    name: str
    kind: str
    partner: str = ""
    place: int = 0
    cell: str = ""
    block: int = -1
    part: int = 0
    of: int = 0


# -- reading ---------------------------------------------------------------------------------------------
def read_people(table: Mapping[str, Any], agents: Mapping[str, Any]) -> People:
    """The table [people] of a study file; complaints name the key. agents: of the study, with their `type`."""
    _known("people", table, People)
    for name, kind in (("practice", Practice), ("breaks", Breaks)):
        if isinstance(table.get(name), Mapping):
            _known(f"people.{name}", table[name], kind)
    for i, question in enumerate(table.get("questions", ())):
        if isinstance(question, Mapping):
            _known(f"people.questions[{i}]", question, Ask)
    try:
        people = msgspec.convert(dict(table), People)
    except msgspec.ValidationError as error:
        raise CrossplayError(f"people: {error}") from None
    people.participant = people.participant or next((n for n, a in agents.items() if is_person(a)), "")
    _check(people, agents)
    for i, question in enumerate(people.questions):
        _check_question(f"people.questions[{i}]", question)
    names = [q.name for q in people.questions]
    for name in names:
        if names.count(name) > 1:
            raise CrossplayError(f'people.questions: two questions are called "{name}"')
    _check_scales(people.questions)
    return people


def _check_scales(questions: Sequence[Ask]) -> None:
    """Raise where answers of one scale cannot be averaged."""
    for scale in dict.fromkeys(q.scale for q in questions if q.scale):
        mine = [q for q in questions if q.scale == scale]
        for what, different in (
            ("asked at different times (when)", len({q.when for q in mine}) > 1),
            ("answered between different bounds (labels, low and high)", len({q.bounds for q in mine}) > 1),
        ):
            if different:
                raise CrossplayError(
                    f'people.questions: {", ".join(q.name for q in mine)} make one scale, "{scale}", and are {what}; '
                    "their mean would mean nothing"
                )


def _known(where: str, table: Mapping[str, Any], kind: type[msgspec.Struct]) -> None:
    for name in table:
        if name not in kind.__struct_fields__:
            raise CrossplayError(f"{where}.{name}: unknown key.{nearest(name, kind.__struct_fields__)}")


def is_person(spec: Any) -> bool:
    """Whether an agent of a study is a person at the page."""
    return bool(spec.type.partition(":")[0] == "person")


def _check(people: People, agents: Mapping[str, Any]) -> None:
    persons = [n for n, a in agents.items() if is_person(a)]
    if not persons:
        raise CrossplayError('people: no agent is a person; name one, e.g. [agents] me = "person"')
    if people.participant not in persons:
        raise CrossplayError(
            f'people.participant: "{people.participant}" is no agent of type person.{nearest(people.participant, persons)}'
        )
    for name, value, low in (
        ("participants", people.participants, 1),
        ("blocks", people.blocks, 1),
        ("practice.blocks", people.practice.blocks, 0),
        ("breaks.every", people.breaks.every, 0),
        ("breaks.seconds", people.breaks.seconds, 0),
        ("patience", people.patience, 1),
    ):
        if not low <= value < 1e6:
            raise CrossplayError(f"people.{name} = {value}: at least {low}")
    if not people.consent.strip():
        raise CrossplayError("people.consent: say what is recorded and what for; nobody takes part without agreeing")
    seats = people.practice.seats
    for i, name in enumerate(seats):
        if name not in agents:
            raise CrossplayError(f'people.practice.seats[{i}]: unknown agent "{name}".{nearest(name, agents)}')
    if people.practice.blocks and seats.count(people.participant) != 1:
        raise CrossplayError(
            f'people.practice.seats: name the agents in seat order, "{people.participant}" once among them'
        )


def _check_question(where: str, q: Ask) -> None:
    if not q.name or not q.ask:
        raise CrossplayError(f"{where}: name and ask must say something")
    if q.kind == "likert":
        q.labels = q.labels or list(AGREEMENT)
        if len(q.labels) < 2:
            raise CrossplayError(f"{where}.labels: at least two, lowest first")
    elif q.labels:
        raise CrossplayError(f"{where}.labels: only likert questions have labels")
    if q.kind == "choice":
        chosen = q.choices == PARTNERS if isinstance(q.choices, str) else len(set(q.choices)) == len(q.choices) > 1
        if not chosen:
            raise CrossplayError(f'{where}.choices: name at least two different ones, or say choices = "{PARTNERS}"')
        if isinstance(q.choices, str) and q.when != "end":
            raise CrossplayError(f'{where}: choices = "{PARTNERS}" can be asked at the end only (when = "end")')
    elif q.choices:
        raise CrossplayError(f"{where}.choices: only choice questions have choices")
    if q.low is not None and q.high is not None and not q.low < q.high:
        raise CrossplayError(f"{where}: low = {q.low:g} must lie below high = {q.high:g}")
    if (q.low is not None or q.high is not None) and q.kind != "number":
        raise CrossplayError(f"{where}: low and high are for numbers; a likert question has labels")
    if q.reverse and q.kind == "number" and (q.low is None or q.high is None):
        raise CrossplayError(f"{where}.reverse: a number is turned round between low and high; name both")
    if (q.scale or q.reverse) and not q.scored:
        raise CrossplayError(f"{where}: only likert questions and numbers make a scale")
    if not q.margin > 0:
        raise CrossplayError(f"{where}.margin = {q.margin:g}: the smallest difference that matters is above 0")


def blocks_of(people: People) -> list[int]:
    """The blocks that a study plans for its participants."""
    return list(range(people.participants * people.blocks))


def check_people(study: Study) -> None:
    """Raise where the lineups of an expanded study cannot be played by its participants."""
    people = study.people
    assert people is not None
    me = people.participant
    if study.replicates != 1:
        raise CrossplayError("study.replicates: people play each block once; more episodes are people.blocks")
    met = partners(study)
    if not met:
        raise CrossplayError(f'lineups: none seats "{me}", so participants have nobody to play with')
    for name in met:
        spec = study.lineups[name]
        if spec.seats.count(me) != 1:
            raise CrossplayError(f'lineups."{name}": the participant "{me}" has one seat, not {spec.seats.count(me)}')
        if spec.blocks is not None or spec.dev is not None or spec.shared_memory:
            raise CrossplayError(
                f'lineups."{name}": every participant plays every partner in all blocks; leave blocks, dev and '
                "shared_memory out"
            )
    for name, lineup in study.lineups.items():
        if name not in met and any(is_person(study.agents[s]) for s in lineup.seats):
            raise CrossplayError(f'lineups."{name}": a person sits there without the participant "{me}"')
    seats = people.practice.seats
    if seats and len(seats) != len(study.lineups[met[0]].seats):
        raise CrossplayError(f"people.practice.seats: {len(seats)} agents for {len(study.lineups[met[0]].seats)} seats")


# -- who meets whom, and when ----------------------------------------------------------------------------
def partners(study: Study) -> list[str]:
    """The lineups that participants play, in the order of the study."""
    assert study.people is not None
    return [name for name, spec in study.lineups.items() if study.people.participant in spec.seats]


def partners_beside(study: Study) -> list[str]:
    """The agents of a study that are people and not the participant."""
    me = study.people.participant if study.people is not None else ""
    return [name for name, spec in study.agents.items() if is_person(spec) and name != me]


def people_of(study: Study, cell: Cell) -> list[str]:
    """The agents of a cell that are people."""
    return [s for s in cell.seats if is_person(study.agents[s])]


def williams(n: int) -> list[list[int]]:
    """The rows of a Williams design for n treatments 0..n-1: n rows where n is even, 2n where it is odd."""
    if n < 1:
        raise CrossplayError(f"an order of {n} partners: at least 1")
    first = [(i + 1) // 2 if i % 2 else (n - i // 2) % n for i in range(n)]  # 0, 1, n-1, 2, n-2, ...
    rows = [[(x + r) % n for x in first] for r in range(n)]
    return rows if n % 2 == 0 or n == 1 else rows + [row[::-1] for row in rows]


def rows_of(n: int, order: str) -> int:
    """Participants after which an order of n partners is balanced; 1 where it never is, or needs not be."""
    return len(williams(n)) if order == "counterbalanced" else 1


def order_of(n: int, slot: int, order: str, k: bytes) -> list[int]:
    """The order in which participant `slot` (from 0) meets n partners. k: the key that it is drawn from.

    Counterbalanced: which partner is which treatment is drawn once; each full set of rows is gone through in an order of
    its own, square by square, so that after any number of participants no partner has been at a place more
    than once oftener than another.
    """
    if order == "given":
        return list(range(n))
    if order == "random":
        return permutation(k, n, 1, slot)
    rows = williams(n)
    again, row = divmod(slot, len(rows))
    square, row = divmod(row, n)
    names = permutation(k, n, 2)
    chosen = rows[square * n + permutation(k, n, 3, again, square)[row]]
    return [names[x] for x in chosen]


def steps(study: Study, cells: Sequence[Cell], practice: Sequence[Cell], number: int, slot: int) -> list[Step]:
    """Everything that participant `number` does, in order. slot: whose turn of the orders they have, from 0.

    practice: the cells that are played before. Within a partner, cells (environments, seat orders) are gone through
    block by block, beginning with another one for each participant and partner.
    """
    people = study.people
    assert people is not None
    found = [Step("consent", "consent")]
    if people.instructions.strip():
        found.append(Step("instructions", "instructions"))
    for j in range(people.practice.blocks):
        block = (number - 1) * people.practice.blocks + j
        found += [Step(f"practice/{c.key}/{block}", "practice", c.group, 0, c.key, block) for c in practice]
    met = partners(study)
    order = order_of(len(met), slot, people.order, key("people", study.root))
    for place, i in enumerate(order, 1):
        found += _visit(people, [c for c in cells if c.group == met[i]], met[i], place, number, slot)
        last = place == len(order)
        if people.breaks.every and place % people.breaks.every == 0 and not last:
            found.append(Step(f"break/{place}", "break", place=place))
    if people.asked("end"):
        found.append(Step("questions", "questions"))
    return [*found, Step("thanks", "thanks")]


def _visit(people: People, cells: Sequence[Cell], partner: str, place: int, number: int, slot: int) -> list[Step]:
    """The episodes with one partner, and the questions after them."""
    found: list[Step] = []
    of = people.blocks * len(cells)
    for j in range(people.blocks):
        block = (number - 1) * people.blocks + j
        for i in range(len(cells)):
            cell = cells[(i + slot + place + j) % len(cells)]
            name = f"play/{cell.key}/{block}"
            found.append(Step(name, "play", partner, place, cell.key, block, len(found) + 1, of))
    if people.asked("partner"):
        found.append(Step(f"questions/{partner}", "questions", partner, place))
    return found


def practice_study(study: Study) -> Study | None:
    """The study of the practice episodes, None where there are none. Its worlds are none of those that count."""
    from crossplay.study.spec import Controls, LineupSpec

    people = study.people
    if people is None or not people.practice.blocks:
        return None
    seats = people.practice.seats
    return msgspec.structs.replace(
        study,
        name=f"{study.name} practice",
        description=f"Practice before {study.name}; not counted there.",
        root=key64(key("practice", study.root)) >> 33,
        blocks=list(range(people.participants * people.practice.blocks)),
        agents={n: a for n, a in study.agents.items() if n in seats},
        lineups={"+".join(seats): LineupSpec(list(seats))},
        questions=[],
        baseline=None,
        template=None,
        people=None,
        controls=Controls(False, False, False, False),
    )


# -- answers ---------------------------------------------------------------------------------------------
def read_answers(questions: Sequence[Ask], given: Mapping[str, Any], met: Sequence[str]) -> dict[str, Any]:
    """Checked answers by the names of their questions; what was not answered is left out. met: partners in order.

    A likert question is answered with the number of its label, from 1; "partners" with the place of one, from 1, and
    kept as the lineup's name. Raises CrossplayError that names the question.
    """
    for name in given:
        if name not in {q.name for q in questions}:
            short = str(name)[:40]
            raise CrossplayError(f'there is no question "{short}".{nearest(short, [q.name for q in questions])}')
    found = {}
    for q in questions:
        value = given.get(q.name)
        if value is None or (isinstance(value, str) and not value.strip()):
            if q.required:
                raise CrossplayError(f'"{q.ask}" is not answered')
            continue
        found[q.name] = _answer(q, value, met)
    return found


def _answer(q: Ask, value: Any, met: Sequence[str]) -> Any:
    number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST
    if q.kind == "likert" or (q.kind == "choice" and q.choices == PARTNERS):
        high = len(q.labels) if q.kind == "likert" else len(met)
        if not number or value != int(value) or not 1 <= value <= high:
            raise CrossplayError(f'"{q.ask}": expected one of 1 to {high}')
        return int(value) if q.kind == "likert" else met[int(value) - 1]
    if q.kind == "number":
        low, high_ = q.low if q.low is not None else float("-inf"), q.high if q.high is not None else float("inf")
        if not number or not low <= value <= high_:
            raise CrossplayError(f'"{q.ask}": expected a number between {low:g} and {high_:g}')
        return value
    if not isinstance(value, str) or len(value) > WORDS:
        raise CrossplayError(f'"{q.ask}": expected a text of at most {WORDS} characters')
    if q.kind == "choice" and value not in q.choices:
        raise CrossplayError(f'"{q.ask}": expected one of {", ".join(q.choices)}')
    return value
