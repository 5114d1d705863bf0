"""One episode inside its teams: every decision with what each member was shown, said and cost, and the vote.

The same as the ledger (`study.inside`) sums up over a run, but post by post. A team that is a member of a team is a
decision of its own, which names the post that it made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from crossplay.kernel import Block, CrossplayError, Env, pack, unpack
from crossplay.kernel.events import Event
from crossplay.records import EpisodeRecord, RunFolder
from crossplay.study.inside import LONG, TEAMS, Judge, prices_of
from crossplay.study.named import of_all
from crossplay.study.spec import Study

if TYPE_CHECKING:
    from crossplay.models.prices import Price
    from crossplay.records.cassette import Cassette

__all__ = ["Decision", "EpisodeInside", "Made", "Member", "Post", "Vote", "episode_inside"]

CANDIDATE = "candidate"  # an answer to choose from; the one that a member adopts stands
Path = tuple[int, ...]


class Made(msgspec.Struct, kw_only=True):
    """One call of a model or tool behind a post. call: its key in the cassette, hexadecimal.

    cached: prompt tokens that the endpoint read from its cache; usd, cpu_s, wall_s: null where nobody knows.
    text: what was answered.
    """

    kind: str
    model: str = ""
    call: str = ""
    calls: int = 0
    tok_in: int = 0
    tok_out: int = 0
    cached: int | None = None
    usd: float | None = None
    cpu_s: float | None = None
    wall_s: float | None = None
    text: str = ""


class Post(msgspec.Struct, kw_only=True):
    """What a member said. id: its number in the decision; member: its place in the list of members.

    answer: whether it answers the seat's own question (plans, critiques, votes and faults do not). value: as recorded;
    words: the same in words. text: reasons. sees: ids of the posts it was shown; told: of those whose words the question
    repeated; adopted: of the post it took over. right, score: by the environment, null where the truth is not known.
    change: against the member's own answer before: "" (none before), "kept", "changed"; where the truth is known,
    "right kept", "right to wrong", "wrong to right", "wrong kept". step: its place, as `crossplay fork` takes it.
    """

    id: int
    round: int
    member: int
    act: str
    answer: bool
    value: Any = None
    words: str = ""
    text: str = ""
    confidence: float | None = None
    fault: str = ""
    sees: list[int] = []
    told: list[int] = []
    adopted: int | None = None
    spoken: int = 0
    right: bool | None = None
    score: float | None = None
    change: str = ""
    step: str = ""
    calls: list[Made] = []
    inside: str = ""
    """The decision of the team that made this post, where its member is one."""


class Member(msgspec.Struct, kw_only=True):
    """A member over this decision. kind: as its manifest says. share: of the words spoken, 0 to 1.

    usd: null where a model has no price; cpu_s: of local models, null where nobody measured it. present: whether it
    took part.
    """

    name: str
    kind: str = ""
    models: list[str] = []
    present: bool = True
    posts: int = 0
    faults: int = 0
    spoken: int = 0
    share: float | None = None
    calls: int = 0
    tok_in: int = 0
    tok_out: int = 0
    cached: int | None = None
    usd: float | None = None
    cpu_s: float | None = None
    wall_s: float | None = None


class Vote(msgspec.Struct, kw_only=True):
    """How the decision was reached. candidates: the distinct answers, in words; ballots: per ballot its candidate, -1: none.

    tally: what the rule counted for each candidate. otherwise: the rule found no winner and another one decided.
    decided: the team's answer in words, "" where there was none, and `why` says why. first: what plurality would have said
    of round 0. right: whether the answer is, null where the truth is not known.
    """

    rule: str = ""
    candidates: list[str] = []
    ballots: list[int] = []
    tally: list[float] = []
    tied: bool = False
    valid: int = 0
    rejected: int = 0
    otherwise: bool = False
    decided: str = ""
    winner: int = -1
    first: str = ""
    first_right: bool | None = None
    right: bool | None = None
    why: str = ""


class Decision(msgspec.Struct, kw_only=True):
    """One decision of one team. key: TICK/SEAT, then the path of a team inside the seat. outer: key of the decision in
    which this team is a member, "" for the team in the seat. links: (writer, reader) by the topology, places of members;
    rounds: how many there were; protocol, topology: their names. question: what the seat could read, "" where it has no text.
    """

    key: str
    tick: int
    seat: str
    team: str
    outer: str = ""
    rounds: int = 0
    protocol: str = ""
    topology: str = ""
    links: list[tuple[int, int]] = []
    members: list[Member] = []
    posts: list[Post] = []
    vote: Vote | None = None
    question: str = ""


class EpisodeInside(msgspec.Struct, kw_only=True):
    """All decisions of the teams of an episode, in the order of ticks, seats and paths. truth: "", or why it is not known."""

    episode: str
    env: str
    lineup: str
    role: str
    block: str
    status: str
    score: dict[str, float]
    decisions: list[Decision]
    truth: str = ""


# -- the whole ---------------------------------------------------------------------------------------
def episode_inside(run: RunFolder, study: Study, record: EpisodeRecord, unjudged: str = "") -> EpisodeInside:
    """The inside of one episode of a run and its resolved study; without decisions where no team played in it.

    unjudged: why its answers are not to be scored again here, "" where they are.
    """
    cell = next(c for c in run.cells() if c.name == record.cell)
    env, group = str(cell.extra["env"]), str(cell.extra["group"])
    seats = list(cell.extra.get("seats", cell.agents))
    manifests = of_all(run.sources())
    role = study.lineups[group].role if group in study.lineups else ""
    found = EpisodeInside(
        episode=f"{record.id:016x}", env=env, lineup=group, role=role, block=str(record.block),
        status=record.status, score=record.score, decisions=[],
    )  # fmt: skip
    teams = {i: cell.agents[s] for i, s in enumerate(seats) if manifests.get(cell.agents[s], {}).get("kind") in TEAMS}
    if not teams:
        return found
    events = run.events(record.id)
    moves = [(e.seat, e.value, e.payload) for e in events if e.kind == "act" and e.tick == 0]
    judge = Judge(study, env, unjudged)
    if judge.env is not None and judge.env.id != record.env_id:
        judge.why = f"the episode was played in {record.env_id}; what is installed here is {judge.env.id}"
        judge.env = None
    with _Costs(run) as costs:
        for (tick, seat), mine in _ticks(events, teams):
            reader = _Reader(seats[seat], tick, _Words(judge, record, seats[seat]), costs)
            reader.moves = moves
            found.decisions += reader.decisions(mine, manifests[teams[seat]], teams[seat])
    acts = {(e.tick, seats[e.seat]): e for e in events if e.kind == "act" and e.seat in teams}
    _judged(found, judge, record, moves, acts)
    return found


def _ticks(events: Sequence[Event], teams: Mapping[int, str]) -> Iterator[tuple[tuple[int, int], list[Event]]]:
    """((tick, seat), what happened inside that seat), in order."""
    groups: dict[tuple[int, int], list[Event]] = {}
    for e in events:
        if e.seat in teams and e.kind in ("post", "vote", "model", "tool"):
            groups.setdefault((e.tick, e.seat), []).append(e)
    for place in sorted(groups):
        if any(e.kind == "post" for e in groups[place]):
            yield place, groups[place]


# -- one seat at one tick ----------------------------------------------------------------------------
class _Reader:
    """Reads the decisions of one seat at one tick."""

    def __init__(self, seat: str, tick: int, words: _Words, costs: _Costs) -> None:
        self.seat, self.tick, self.words, self.costs = seat, tick, words, costs
        self.moves: Sequence[Any] = ()

    def decisions(
        self, events: Sequence[Event], manifest: Mapping[str, Any], team: str, outer: str = ""
    ) -> Iterator[Decision]:
        """The decisions of a team among what happened in it, those of teams inside it after each."""
        depth = min(len(e.path) for e in events if e.kind == "post") - 3
        for base in sorted({e.path[:depth] for e in events if e.kind == "post"}):  # several where it was asked again
            yield from self._one([e for e in events if e.path[:depth] == base], base, manifest, team, outer)

    def _one(
        self, events: Sequence[Event], base: Path, manifest: Mapping[str, Any], team: str, outer: str
    ) -> Iterator[Decision]:
        """Of the team that sits at a path of its seat."""
        depth = len(base)
        own = sorted((e for e in events if e.kind == "post" and len(e.path) == depth + 3), key=_id)
        key = self._step(base)
        members = _members(manifest, own)
        place = {m.name: i for i, m in enumerate(members)}
        topology = manifest.get("topology") or {}
        found = Decision(
            key=key, tick=self.tick, seat=self.seat, team=team, outer=outer,
            rounds=1 + max(e.path[depth] for e in own),
            protocol=str((manifest.get("protocol") or {}).get("name", "")),
            topology=str(topology.get("name", "")),
            links=_links(topology, members),
            members=members, question=self.words.question if not base else "",
        )  # fmt: skip
        inner: list[Decision] = []
        for e in own:
            post = self._post(e, unpack(e.note), place)
            below = [x for x in events if x.path[: depth + 3] == e.path]
            post.calls = [self.costs.made(x) for x in below if x.kind in ("model", "tool")]
            if any(x.kind == "post" and x is not e for x in below):
                name = members[post.member].name
                about = (manifest.get("members") or {}).get(name, {})
                more = list(self.decisions([x for x in below if x is not e], about, name, key))
                post.inside = [d.key for d in more if d.outer == key][-1]
                inner += more
            found.posts.append(post)
        votes = [unpack(e.note) for e in events if e.kind == "vote" and e.path == base]
        found.vote = self._vote(votes[-1]) if votes else None
        _sums(found)
        yield found
        yield from inner

    def _step(self, path: Path) -> str:
        return "/".join(map(str, (self.tick, self.seat, *path)))

    def _post(self, e: Event, note: Mapping[str, Any], place: Mapping[str, int]) -> Post:
        side, fault = bool(note.get("side")), str(note.get("fault") or "")
        value, text = note.get("value"), str(note.get("text") or "")
        own = value if isinstance(value, str) and value != text else ""
        return Post(
            id=int(note["id"]), round=int(note["round"]), member=place[str(note["member"])], act=str(note["act"]),
            answer=not (side or fault), value=value, words="" if value is None else self.words(value, side),
            text=text, confidence=note.get("confidence"), fault=fault, sees=list(note.get("sees") or ()),
            told=list(note.get("told") or ()), adopted=note.get("adopted"), step=self._step(e.path),
            spoken=len(text.split()) + len(own.split()),
        )  # fmt: skip

    def _vote(self, note: Mapping[str, Any]) -> Vote:
        candidates = list(note.get("candidates", ()))
        first = note.get("first") or {}
        tally = [float(t) for t in note.get("tally", ())]
        return Vote(
            rule=str(note.get("rule", "")), candidates=[self.words(c, False) for c in candidates],
            ballots=[int(i) for i in note.get("answers", ())], tally=tally, tied=bool(note.get("tied")),
            valid=int(note.get("valid", 0)), rejected=int(note.get("rejected", 0)),
            otherwise=bool(note.get("otherwise")), why=str(note.get("why", "")),
            first=self.words(first["value"], False) if "value" in first else "",
        )  # fmt: skip


def _id(e: Event) -> int:
    return int(unpack(e.note)["id"])


def _members(manifest: Mapping[str, Any], posts: Sequence[Event]) -> list[Member]:
    """The members in their places, which the paths of their posts tell; those who never spoke come where there is room."""
    places = {e.path[-2]: str(unpack(e.note)["member"]) for e in posts}
    known = manifest.get("members") or {}
    silent = [name for name in known if name not in places.values()]
    size = max(len(known), max(places) + 1)
    names = [places.get(i) or (silent.pop(0) if silent else f"member {i}") for i in range(size)]
    present = manifest.get("present") or names
    about = [known.get(name, {}) for name in names]
    return [
        Member(name=name, kind=str(m.get("kind", "")), models=list(m.get("models", ())), present=name in present)
        for name, m in zip(names, about, strict=True)
    ]


def _links(topology: Mapping[str, Any], members: Sequence[Member]) -> list[tuple[int, int]]:
    """The edges (writer, reader) of a topology, which numbers those who are present."""
    there = [i for i, m in enumerate(members) if m.present]
    if topology.get("n") != len(there):
        return []
    return [(there[int(a)], there[int(b)]) for a, b in topology.get("edges", ()) if a != b]


def _sums(d: Decision) -> None:
    """Add up what each member said and cost."""
    for i, m in enumerate(d.members):
        mine = [p for p in d.posts if p.member == i]
        calls = [c for p in mine for c in p.calls]
        m.posts, m.faults = len(mine), sum(bool(p.fault) for p in mine)
        m.spoken = sum(p.spoken for p in mine)
        m.calls, m.tok_in, m.tok_out = (sum(getattr(c, k) for c in calls) for k in ("calls", "tok_in", "tok_out"))
        m.usd = None if any(c.usd is None for c in calls) else sum(c.usd or 0.0 for c in calls)
        for name in ("cached", "cpu_s", "wall_s"):
            known = [v for c in calls if (v := getattr(c, name)) is not None]
            setattr(m, name, sum(known) if known else None)
    total = sum(m.spoken for m in d.members)
    for m in d.members:
        m.share = m.spoken / total if total else None


# -- costs -------------------------------------------------------------------------------------------
class _Reply(msgspec.Struct):
    cached: int = 0


_reply = msgspec.msgpack.Decoder(_Reply)


class _Costs:
    """What calls cost, from the cassette and the prices of the run."""

    def __init__(self, run: RunFolder) -> None:
        self.path = run.cassette_path
        self.price: Callable[[str], Price | None] = prices_of(run)
        self.cassette: Cassette | None = None

    def __enter__(self) -> _Costs:
        from crossplay.records.cassette import Cassette

        if self.path.is_file():
            self.cassette = Cassette(self.path, mode="strict")
        return self

    def __exit__(self, *_: object) -> None:
        if self.cassette is not None:
            self.cassette.close()

    def made(self, e: Event) -> Made:
        """One call of a model, or of a tool."""
        note = unpack(e.note) if e.note else {}
        found = Made(kind=e.kind, calls=e.calls, tok_in=e.tok_in, tok_out=e.tok_out, text=str(note.get("text", "")))
        if e.kind == "tool":
            found.model, found.usd, found.wall_s = str(note.get("tool", note.get("name", ""))), 0.0, e.wall_us / 1e6
            return found
        found.model, found.call = str(note.get("model", "")), str(note.get("call", ""))
        row = self.cassette.get(bytes.fromhex(found.call)) if self.cassette is not None and found.call else None
        if row is not None and row.reply is not None and row.status == "answered":
            found.cached = _reply.decode(row.reply).cached
            found.cpu_s = row.usage.cpu_us / 1e6 if row.usage.cpu_us else None
            found.wall_s = None if row.settled is None else row.settled - row.asked
        try:
            price = self.price(found.model)
        except CrossplayError:
            return found  # no price is known, so its cost is not
        found.usd = price.cost(found.tok_in, found.tok_out, found.cached or 0) if price else 0.0
        return found


# -- words and truth -----------------------------------------------------------------------------------
class _Words:
    """Answers in words: the names of a choice, and the choices of a question."""

    def __init__(self, judge: Judge, record: EpisodeRecord, seat: str) -> None:
        self.names: Sequence[str] = ()
        self.choices: Sequence[Any] = ()
        self.question = ""
        env = judge.env
        if env is None:
            return
        env.start(Block(record.root, record.block, record.replicate))
        spec = env.spec(seat)
        self.names = spec.names if spec.kind == "names" else ()
        if record.ticks <= 1:
            self.question = _text(env, seat)
            data = env.data(seat)
            choices = data.get("choices") if isinstance(data, dict) else None
            self.choices = choices if isinstance(choices, (list, tuple)) and len(choices) == len(self.names) else ()

    def __call__(self, value: Any, side: bool) -> str:
        if not side and self.names and type(value) is int and 0 <= value < len(self.names):
            more = f": {self.choices[value]}" if self.choices else ""
            return f"{self.names[value]}{more}"
        return value if isinstance(value, str) else _plain(value)


def _text(env: Env, seat: str) -> str:
    try:
        return str(env.view(seat, "text")) if "text" in env.views else ""
    except CrossplayError:
        return ""


def _plain(value: Any) -> str:
    try:
        return msgspec.json.encode(value).decode()[:2000]
    except (TypeError, ValueError):
        return str(value)[:2000]


def _judged(
    found: EpisodeInside, judge: Judge, record: EpisodeRecord, moves: Sequence[Any], acts: Mapping[Any, Event]
) -> None:
    """Score the answers by the environment, and say how each member's changed."""
    known = judge.env is not None and not judge.long([record])
    found.truth = "" if known else judge.why or LONG
    asked = {p.inside for d in found.decisions for p in d.posts if p.inside and p.answer}
    canon: dict[int, bytes] = {}
    for d in found.decisions:
        if judge.env is None or (d.outer and d.key not in asked):
            continue  # a team that plans or judges within another one answers another question
        for p in d.posts:
            if p.answer:
                canon[id(p)], p.score = judge.one(record, moves, d.seat, pack(p.value), score=known)
    scores = [p.score for d in found.decisions for p in d.posts if p.score is not None]
    right = bool(scores) and set(scores) <= {0.0, 1.0}
    if scores and not right:
        found.truth = "scores other than 0 and 1 say how good an answer is, not whether it is right"
    for d in found.decisions:
        for p in d.posts:
            p.right = p.score == 1.0 if right and p.score is not None else None
        _changes(d, canon)
        _outcome(d, canon, _played(d, found, acts))


def _changes(d: Decision, canon: Mapping[int, bytes]) -> None:
    """Each member's answers against its standing answer of the rounds before."""
    standing: dict[int, Post] = {}
    for n in range(d.rounds):
        here = [p for p in d.posts if p.round == n and p.answer]
        for p in here:
            before = standing.get(p.member)
            if before is None:
                continue
            if p.right is None or before.right is None:
                same = canon.get(id(p), pack(p.value)) == canon.get(id(before), pack(before.value))
                p.change = "kept" if same else "changed"
            elif p.right == before.right:
                p.change = "right kept" if p.right else "wrong kept"
            else:
                p.change = "wrong to right" if p.right else "right to wrong"
        for p in here:
            standing[p.member] = p


def _played(d: Decision, found: EpisodeInside, acts: Mapping[Any, Event]) -> bytes | None:
    """What the team answered, packed, as far as it is known: the move of its seat, or the post of the team within a team."""
    if d.outer:
        outer = next(x for x in found.decisions if x.key == d.outer)
        post = next((p for p in outer.posts if p.step and d.key.startswith(p.step)), None)
        return None if post is None or post.fault else pack(post.value)
    e = acts.get((d.tick, d.seat))
    if e is None or e.origin != "own" or d.key.count("/") > 1:
        return None  # another move was served, or the team sits inside something that may answer otherwise
    return pack(e.value) if e.value is not None else e.payload


def _outcome(d: Decision, canon: Mapping[int, bytes], played: bytes | None) -> None:
    """Which candidate won, and whether that is right."""
    vote = d.vote
    if vote is None or vote.why:
        return
    answers = [p for p in d.posts if p.answer]
    same = [p for p in answers if played is not None and pack(p.value) == played]
    if same:
        vote.decided, vote.right = same[0].words, same[0].right
        alike = {p.words for p in answers if canon.get(id(p)) == canon.get(id(same[0]))} | {vote.decided}
        vote.winner = next((i for i, c in enumerate(vote.candidates) if c in alike), -1)
    elif vote.tally:
        leaders = [i for i, t in enumerate(vote.tally) if t == max(vote.tally)]
        vote.winner = leaders[0] if len(leaders) == 1 else -1
        vote.decided = vote.candidates[vote.winner] if vote.winner >= 0 else ""
        vote.right = next((p.right for p in answers if p.words == vote.decided), None)
    vote.first_right = next((p.right for p in answers if p.words == vote.first), None)
