"""`Sessions`: what participants said and did, kept as answers of people in the run's cassette.

One call per step at the address (root, "people", participant, 0, step, 0, ()): committed before it counts, sealed,
merged, exported and checked like every other call. There are no names and no addresses: a participant is a
number. Beside them: what the tables say of participants and of what they were asked.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args

import msgspec

from crossplay.kernel.conduct import parse_clock
from crossplay.kernel.seeds import key
from crossplay.kernel.types import CrossplayError, Usage, pack, unpack
from crossplay.measure.stats.compare import Cell as StatCell
from crossplay.measure.stats.compare import compare, summarise
from crossplay.measure.stats.results import CellSummary, Comparison
from crossplay.records.cassette import Call, Cassette, call_key
from crossplay.study.people import Ask, People, order_of, partners, rows_of

if TYPE_CHECKING:
    from crossplay.study.spec import Cell as SpecCell
    from crossplay.study.spec import Study

__all__ = [
    "Asked",
    "AskedRow",
    "Attendance",
    "Session",
    "Sessions",
    "Status",
    "answer_rows",
    "asked_of",
    "attendance_of",
    "call_of",
    "kept_in",
    "name_of",
    "opened",
    "session_notes",
    "session_rows",
    "worlds_of_all",
]

PLACE = "people"
"""What stands in the address of a call where an environment would."""
INVITED, LEFT, WITHDRAWN = "invited", "left", "withdrawn"
Status = Literal["invited", "declined", "unused", "going", "left", "complete", "withdrawn"]


def name_of(number: int) -> str:
    """The pseudonym of a participant."""
    return f"p{number:02d}"


class Session(msgspec.Struct):
    """One participant. slot: whose turn of the orders they have. answers: step -> what was answered."""

    number: int
    slot: int
    answers: dict[str, Any] = {}

    @property
    def mark(self) -> str:
        """What tells the link of this participant from that of the same number in another run of this name."""
        return str(self.answers.get(WITHDRAWN, self.answers.get(INVITED, {})).get("mark", ""))

    @property
    def status(self) -> Status:
        """Invited (has not agreed yet), declined, unused (the owner ended it before that), going, left (before the end), complete,
        withdrawn (all of it is removed).
        """
        agreed = self.answers.get("consent", {}).get("agree")
        if WITHDRAWN in self.answers:
            return "withdrawn"
        if agreed is False:
            return "declined"
        if "thanks" in self.answers:
            return "complete"
        if LEFT in self.answers:
            return "left" if agreed else "unused" if self.answers[LEFT].get("by") == "owner" else "declined"
        return "going" if agreed else "invited"

    @property
    def again(self) -> int:
        """Episodes that were begun anew after an interruption."""
        return sum(name.startswith("begun/") and not name.endswith("/1") for name in self.answers)

    @property
    def resumed(self) -> int:
        """How often an episode that was cut off was gone on with from where it was."""
        return sum(name.startswith("resumed/") for name in self.answers)

    def begun(self, step: str) -> int:
        """How often an episode was begun."""
        return sum(name.startswith(f"begun/{step}/") for name in self.answers)


class Sessions:
    """The sessions of a run. cassette: open in mode "record", or "strict" to read. root: of the study. Thread-safe."""

    def __init__(self, cassette: Cassette, root: int) -> None:
        self._cassette, self._root = cassette, root
        self._lock = threading.RLock()
        self._all: dict[int, Session] = {}
        self._beside: dict[str, dict[str, Any]] = {}  # what partners who are people answered, by their agent
        for row in cassette.of_env(PLACE):
            if row.status != "answered" or row.reply is None or row.call.address[0] != root:
                continue
            number, step = row.call.address[2], row.call.address[4]
            reply = unpack(row.reply)
            if isinstance(number, str):
                self._beside.setdefault(number, {})[step] = reply
                continue
            session = self._all.setdefault(number, Session(number, 0, {}))
            session.answers[step] = reply
            if step in (INVITED, WITHDRAWN):
                session.slot = reply["slot"]

    def all(self) -> list[Session]:
        """All sessions by number."""
        with self._lock:
            return [self._all[n] for n in sorted(self._all)]

    def get(self, number: int) -> Session | None:
        """The session of a participant."""
        return self._all.get(number)

    def invite(self, wanted: int, mark: str = "") -> Session:
        """A new participant, in the first place of the orders that nobody holds. Raises where all `wanted` are held.

        mark: see `Session.mark`.
        """
        with self._lock:
            held = {s.slot for s in self._all.values() if s.status in ("invited", "going", "complete")}
            free = [slot for slot in range(wanted) if slot not in held]
            if not free:
                raise CrossplayError(
                    f"all {wanted} places are taken (people.participants); end a session that will not be finished, "
                    "and its place is free again"
                )
            session = Session(1 + max(self._all, default=0), free[0], {})
            self._all[session.number] = session
            try:
                self.note(session.number, INVITED, {"slot": session.slot, **({"mark": mark} if mark else {})})
            except BaseException:
                del self._all[session.number]
                raise
            return session

    def note(self, number: int, step: str, answer: Mapping[str, Any], question: Any = None) -> None:
        """Keep what a participant answered at a step, once. question: what was shown."""
        with self._lock:
            session = self._all[number]
            if step in session.answers:
                raise CrossplayError(f"{name_of(number)}: {step} is answered already")
            self._write(number, name_of(number), step, answer, question)
            session.answers[step] = dict(answer)

    def agreed(self, agent: str) -> bool:
        """Whether the person who plays this agent, a partner, has agreed to the consent."""
        return "consent" in self._beside.get(agent, {})

    def agree(self, agent: str, question: Any = None) -> None:
        """Keep that they have."""
        self._note_beside(agent, "consent", {"agree": True}, question)

    def expect(self, agent: str, mark: str) -> None:
        """Keep the mark of the link of a partner who is a person, once."""
        self._note_beside(agent, INVITED, {"mark": mark})

    def mark_of(self, agent: str) -> str:
        """The mark of their link."""
        return str(self._beside.get(agent, {}).get(INVITED, {}).get("mark", ""))

    def _note_beside(self, agent: str, step: str, answer: Mapping[str, Any], question: Any = None) -> None:
        with self._lock:
            if step not in self._beside.get(agent, {}):
                self._write(agent, agent, step, answer, question)
                self._beside.setdefault(agent, {})[step] = dict(answer)

    def _write(self, place: int | str, name: str, step: str, answer: Mapping[str, Any], question: Any) -> None:
        """One call with its answer; committed when this returns."""
        row = self._cassette.intend(call_of(self._root, place, name, step, question)).result()
        self._cassette.answer(row, pack(dict(answer)), Usage()).result()


def call_of(root: int, place: int | str, name: str, step: str, question: Any = None) -> Call:
    """The call by which a step is kept. place: the number of a participant, or the agent of a partner."""
    request = pack({"person": name, "step": step, "question": question})
    digest = hashlib.blake2b(request, digest_size=16).digest()
    address = (root, PLACE, place, 0, step, 0, ())
    return Call(call_key(digest, address, 0), digest, f"person:{name}", address, 0, request)


# -- what tables say -------------------------------------------------------------------------------------
class Attendance(msgspec.Struct):
    """Who took part. wanted: complete sessions that the study plans. took_part: agreed. complete, going, left, invited,
    declined, unused (links that were taken back before they were used), withdrawn: how many. incomplete: pseudonym -> finished episodes of those that counted, of `episodes` each.
    rows: participants after which the orders are balanced. again: episodes that were begun anew after an interruption;
    resumed: how often one was gone on with; cut: those that were begun by somebody who left, and never finished.
    returned: withdrawn participants of whom there is something here nevertheless (a merge brought it back).
    """

    wanted: int
    took_part: int
    complete: int
    going: int
    left: int
    invited: int
    declined: int
    incomplete: dict[str, int]
    episodes: int
    rows: int
    again: int = 0
    resumed: int = 0
    cut: int = 0
    withdrawn: int = 0
    unused: int = 0
    returned: list[str] = []


class AskedRow(msgspec.Struct):
    """Answers about one partner ("" at the end). summary, comparison: of scored questions, over participants.
    counts: answer -> how often, of a choice. texts: pseudonym -> what was written.
    """

    lineup: str
    answers: int
    summary: CellSummary | None = None
    comparison: Comparison | None = None
    counts: dict[str, int] = {}
    texts: dict[str, str] = {}


class Asked(msgspec.Struct):
    """A question, or a scale of several. low, high: the bounds of its scores, where it has some."""

    name: str
    ask: str
    kind: str
    when: str
    rows: list[AskedRow]
    low: float | None = None
    high: float | None = None


def kept_in(run: Any, study: Study) -> Sessions:
    """The sessions of a run that is open to read."""
    there = run.cassette_path.is_file()
    with Cassette(run.cassette_path, mode="strict") if there else Cassette() as cassette:
        return Sessions(cassette, study.root)


def opened(run: Any, study: Study) -> list[Session]:
    """The sessions of a run that is open to read; [] where nobody was invited yet."""
    return kept_in(run, study).all()


def worlds_of_all(study: Study, cells: Iterable[SpecCell], sessions: Sequence[Session]) -> list[SpecCell]:
    """Cells of lineups without people, with the blocks of those who came in the place of others: these have worlds that
    the study did not plan, and nothing could be compared with what they did there.
    """
    people = study.people
    assert people is not None
    more = tuple(
        block
        for s in sessions
        if s.number > people.participants and s.status in ("going", "left", "complete")
        for block in range((s.number - 1) * people.blocks, s.number * people.blocks)
    )
    planned = tuple(study.blocks)
    return [msgspec.structs.replace(c, blocks=planned + more) if c.blocks == planned else c for c in cells]


def attendance_of(study: Study, sessions: Sequence[Session], done: Iterable[tuple[str, Any]]) -> Attendance:
    """done: (lineup, block) of each finished episode."""
    people = study.people
    assert people is not None
    met = partners(study)
    finished: dict[int, int] = {}
    for lineup, block in done:
        number = people.of(block)
        if lineup in met and number is not None:
            finished[number] = finished.get(number, 0) + 1
    by = {status: [s for s in sessions if s.status == status] for status in get_args(Status)}
    wanting = [*by["going"], *by["left"]]
    return Attendance(
        wanted=people.participants,
        took_part=len(wanting) + len(by["complete"]),
        complete=len(by["complete"]),
        going=len(by["going"]),
        left=len(by["left"]),
        invited=len(by["invited"]),
        declined=len(by["declined"]),
        incomplete={name_of(s.number): finished.get(s.number, 0) for s in sorted(wanting, key=lambda s: s.number)},
        episodes=episodes_each(study),
        rows=rows_of(len(met), people.order),
        again=sum(s.again for s in sessions),
        resumed=sum(s.resumed for s in sessions),
        cut=sum(_cut(s, finished.get(s.number, 0)) for s in by["left"]),
        withdrawn=len(by["withdrawn"]),
        unused=len(by["unused"]),
        returned=[name_of(s.number) for s in by["withdrawn"] if len(s.answers) > 1 or finished.get(s.number)],
    )


def session_rows(
    study: Study, sessions: Sequence[Session], done: Iterable[tuple[str, Any]]
) -> list[dict[str, str | int | None]]:
    """One line per participant: how far they came, in which order they met their partners. done: as in `attendance_of`."""
    people = study.people
    assert people is not None
    finished: dict[int | None, int] = {}
    met = partners(study)
    for lineup, block in done:
        if lineup in met:
            finished[people.of(block)] = finished.get(people.of(block), 0) + 1
    k = key("people", study.root)
    return [
        {
            "participant": name_of(s.number),
            "status": s.status,
            "order": s.slot + 1,
            "partners": " > ".join(met[i] for i in order_of(len(met), s.slot, people.order, k)),
            "episodes": finished.get(s.number, 0),
            "of": episodes_each(study),
            "begun_anew": s.again,
            "resumed": s.resumed,
        }
        for s in sessions
    ]


def answer_rows(study: Study, sessions: Sequence[Session]) -> list[dict[str, str | int | float | None]]:
    """One line per answer: who, about whom (which partner it was for them), as it was given, and its score."""
    people = study.people
    assert people is not None
    met, k = partners(study), key("people", study.root)
    found: list[dict[str, str | int | float | None]] = []
    for s in sessions:
        order = [met[i] for i in order_of(len(met), s.slot, people.order, k)]
        for place, lineup in [*enumerate(order, 1), (None, "")]:
            answers = s.answers.get(f"questions/{lineup}" if lineup else "questions", {})
            for q in people.asked("partner" if lineup else "end"):
                if q.name in answers:
                    value = answers[q.name]
                    found.append(
                        {
                            "participant": name_of(s.number),
                            "status": s.status,
                            "lineup": lineup,
                            "place": place,
                            "question": q.name,
                            "kind": q.kind,
                            "answer": str(value),
                            "score": q.points(value) if q.scored else None,
                        }
                    )
    return found


def _cut(session: Session, finished: int) -> int:
    """Episodes that count which were begun and are not finished."""
    begun = {name.rpartition("/")[0] for name in session.answers if name.startswith("begun/play/")}
    return max(0, len(begun) - finished)


def episodes_each(study: Study) -> int:
    """Episodes that one participant plays, practice apart."""
    from crossplay.study.spec import seat_orders

    people = study.people
    assert people is not None
    return people.blocks * len(study.environments) * sum(len(seat_orders(study.lineups[p])) for p in partners(study))


def session_notes(study: Study, cells: Sequence[SpecCell], probes: Mapping[str, Any]) -> list[str]:
    """The sessions that a study plans, in words: how many, how long, in which orders."""
    people = study.people
    assert people is not None
    met = partners(study)
    rows = rows_of(len(met), people.order)
    seconds = 0.0
    mine = [c for c in cells if c.group in met]
    for cell in mine:
        env = probes[cell.env]
        kind, value = parse_clock(env.clock)
        seconds += people.blocks * (env.horizon or 0) * {"wait": 0.0, "deadline": value, "tick": 1 / (value or 1)}[kind]
    practice = people.practice.blocks * len(study.environments)
    notes = [
        f"{people.participants} sessions with people: {episodes_each(study)} episodes with {len(met)} partners each"
        + (f" after {practice} of practice" if practice else "")
        + (f", {len(people.questions)} questions" if people.questions else "")
    ]
    if seconds:
        notes.append(
            f"a session takes at most {max(1, round(seconds / 60))} min of play by the clock, practice and questions apart"
        )
    if people.order == "counterbalanced" and people.participants % rows:
        notes.append(
            f"orders of {len(met)} partners are balanced after every {rows} participants; {people.participants} is no multiple of it"
        )
    k = key("people", study.root)
    for slot in range(min(people.participants, 12)):
        order = " > ".join(met[i] for i in order_of(len(met), slot, people.order, k))
        notes.append(f"order {slot + 1}: {order}")
    return notes


def asked_of(study: Study, sessions: Sequence[Session]) -> list[Asked]:
    """The questionnaire as tables: scored questions as metrics, paired by participant, with t intervals over participants."""
    people = study.people
    assert people is not None
    took_part = [s for s in sessions if s.status in ("going", "left", "complete")]
    found = []
    for when in ("partner", "end"):
        places = partners(study) if when == "partner" else [""]
        given = {
            (s.number, place): answers
            for s in took_part
            for place in places
            if (answers := s.answers.get(f"questions/{place}" if place else "questions")) is not None
        }
        for group in _columns(people, when):
            rows = [_row(place, group, given) for place in places]
            rows = [r for r in rows if r.answers]
            if not rows:
                continue
            if group[0].scored:
                _score(study, group, given, rows)
            low, high = group[0].bounds
            name = group[0].scale or group[0].name
            ask = f"mean of {len(group)} answers" if len(group) > 1 else group[0].ask
            found.append(Asked(name, ask, "scale" if len(group) > 1 else group[0].kind, when, rows, low, high))
    return found


def _columns(people: People, when: str) -> list[list[Ask]]:
    """Questions that make one column of numbers each; those of one scale stand together."""
    found: dict[str, list[Ask]] = {}
    for q in people.asked(when):
        found.setdefault(f"scale {q.scale}" if q.scale else f"question {q.name}", []).append(q)
    return list(found.values())


def _value(group: Sequence[Ask], answers: Mapping[str, Any]) -> float | None:
    """The mean over those of a scale that were answered."""
    points = [q.points(answers[q.name]) for q in group if q.name in answers]
    return sum(points) / len(points) if points else None


def _row(place: str, group: Sequence[Ask], given: Mapping[tuple[int, str], Mapping[str, Any]]) -> AskedRow:
    mine = {n: answers for (n, p), answers in given.items() if p == place}
    row = AskedRow(place, sum(any(q.name in a for q in group) for a in mine.values()), counts={}, texts={})
    for number, answers in mine.items():
        value = answers.get(group[0].name)
        if group[0].kind == "choice" and value is not None:
            row.counts[value] = row.counts.get(value, 0) + 1
        if group[0].kind == "text" and value is not None:
            row.texts[name_of(number)] = value
    return row


def _score(
    study: Study, group: Sequence[Ask], given: Mapping[tuple[int, str], Mapping[str, Any]], rows: Sequence[AskedRow]
) -> None:
    """Summary and comparison of each row: one value per participant, who is the block."""
    cells = {}
    for row in rows:
        values = {
            n: v for (n, p), a in sorted(given.items()) if p == row.lineup and (v := _value(group, a)) is not None
        }
        cells[row.lineup] = StatCell(row.lineup or "all", list(values.values()), list(values))
        row.summary = summarise(cells[row.lineup], study.level)
    baseline = study.baseline if study.baseline in cells else rows[0].lineup
    others = [r for r in rows if r.lineup != baseline]
    if not others:
        return
    name = group[0].scale or group[0].name
    base, margin = cells[baseline or ""], min(q.margin for q in group)
    shared = [r for r in others if set(cells[r.lineup].blocks) & set(base.blocks)]
    family = compare([cells[r.lineup] for r in shared], base, margin, study.level, metric=name, pairing="common")
    for row, comparison in zip(shared, family, strict=True):
        row.comparison = comparison
