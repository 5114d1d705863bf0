"""Groups that form, talk, vote, work and conclude, nested to a limit: a state machine without I/O.

After the Internet of Agents (arXiv 2407.07061): phases TEAMUP, DISCUSSION, VOTE and EXECUTION, messages that
say their type and who speaks next, assignments that block (sync) or do not (async), pauses that wake when
what they wait for is done. `step(state, message) -> (state, effects)` is a pure function. A message that may not
stand is refused with a reason and counted, and changes nothing else. `due(state)` says who has to be asked for
something now; nobody else needs to be. `silence` stands for somebody who was due and said nothing that could be used: it
is always legal, so no group gets stuck.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import msgspec

from crossplay.kernel import CrossplayError
from crossplay.teams.forming.machine import Refused, counted

__all__ = ["Due", "Effect", "Group", "Limits", "Message", "State", "Task", "allowed", "due", "start", "step"]

Phase = Literal["TEAMUP", "DISCUSSION", "VOTE", "EXECUTION", "CONCLUDED"]
Type = Literal[
    "open", "search", "team_up", "accept", "decline", "discussion", "assign_sync", "assign_async", "progress", "result",
    "pause", "proposal", "vote", "conclude", "conclusion", "silence",
]  # fmt: skip
What = Literal["team_up", "reply", "speak", "vote", "work", "conclusion"]
replace = msgspec.structs.replace


# -- data ------------------------------------------------------------------------------------------
class Limits(msgspec.Struct, frozen=True):
    """depth: how deep groups may be nested below the first. attempts: to form a group, the last of which
    must name members. turns: of a discussion, after which it is concluded. reports: of progress on one task.
    """

    depth: int = 1
    attempts: int = 3
    turns: int = 8
    reports: int = 8


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """What somebody says in a group.

    to: invited (team_up), next speakers (discussion), assignee (assign_*), writer (conclude). task: what a report, or
    a group that is opened, is about. tasks: what a pause waits for. options: of a proposal; choice: the place of one
    of them (None: an abstention). ok: false for work that failed.
    """

    group: int
    src: str
    type: Type
    text: str = ""
    to: tuple[str, ...] = ()
    task: int = -1
    tasks: tuple[int, ...] = ()
    options: tuple[str, ...] = ()
    choice: int | None = None
    ok: bool = True


class Task(msgspec.Struct, frozen=True):
    """An assignment. team: the group that the assignee opened for it, -1: none. reports: of progress so far."""

    id: int
    group: int
    by: str
    to: str
    what: str
    status: Literal["open", "done", "failed"] = "open"
    result: str = ""
    reports: int = 0
    team: int = -1


class Decision(msgspec.Struct, frozen=True):
    """A vote. tally: votes per option; winner: place of the option with the most, -1: a tie or no votes."""

    options: tuple[str, ...]
    tally: tuple[int, ...]
    winner: int


class Group(msgspec.Struct, frozen=True):
    """One group. task: what it was opened for, -1: the first group.

    invited: who has not replied yet; joined: who accepted. turn: who may speak, the first of them is asked; waits:
    open tasks before which nobody speaks; caller: who goes on after a wait or a vote. writer: of the conclusion, ""
    before it is called for.
    """

    id: int
    leader: str
    goal: str
    depth: int = 0
    task: int = -1
    phase: Phase = "TEAMUP"
    attempts: int = 0
    invited: tuple[str, ...] = ()
    joined: tuple[str, ...] = ()
    declined: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    turns: int = 0
    turn: tuple[str, ...] = ()
    waits: tuple[int, ...] = ()
    caller: str = ""
    options: tuple[str, ...] = ()
    ballots: tuple[tuple[str, int], ...] = ()
    decisions: tuple[Decision, ...] = ()
    writer: str = ""
    conclusion: str = ""
    ok: bool = True


class State(msgspec.Struct, frozen=True):
    """Everything. people: who can be invited at all. refused: reason -> messages. silences: asks without an answer."""

    people: tuple[str, ...]
    limits: Limits
    groups: tuple[Group, ...]
    tasks: tuple[Task, ...] = ()
    refused: dict[str, int] = {}
    silences: int = 0

    @property
    def over(self) -> bool:
        """Whether the first group has concluded."""
        return self.groups[0].phase == "CONCLUDED"


class Effect(msgspec.Struct, frozen=True):
    """What a message brought about, for whoever runs the groups."""

    kind: Literal[
        "refused", "opened", "searched", "invited", "formed", "assigned", "done", "woken", "decided", "closed"
    ]
    group: int
    who: tuple[str, ...] = ()
    task: int = -1
    text: str = ""


class Due(msgspec.Struct, frozen=True):
    """Somebody who has to be asked. task: which work, -1 elsewhere. last: whether this is the last attempt or turn."""

    group: int
    who: str
    what: What
    task: int = -1
    last: bool = False


def start(people: Sequence[str], leader: str, goal: str, limits: Limits | None = None) -> State:
    """The first group, to be formed by its leader among these people."""
    if leader not in people or len(set(people)) != len(people):
        raise CrossplayError(f'groups: the leader "{leader}" must be one of the people, and no name may stand twice')
    limits = limits or Limits()
    if limits.depth < 0 or limits.attempts < 1 or limits.turns < 1 or limits.reports < 0:
        raise CrossplayError(f"groups: limits {limits} must allow an attempt and a turn")
    state = State(tuple(people), limits, (Group(0, leader, goal),))
    return _formed(state, state.groups[0])[0] if not _candidates(state, state.groups[0]) else state


# -- who is asked ------------------------------------------------------------------------------------
def due(state: State) -> tuple[Due, ...]:
    """All who have to be asked now, in the order of groups; nobody else has anything to do. () when it is over."""
    found: list[Due] = []
    for g in state.groups:
        if g.phase == "TEAMUP":
            found += [Due(g.id, m, "reply") for m in g.invited]
            if not g.invited:
                found.append(Due(g.id, g.leader, "team_up", last=g.attempts + 1 >= state.limits.attempts))
        elif g.phase == "VOTE":
            voted = dict(g.ballots)
            found += [Due(g.id, m, "vote") for m in g.members if m not in voted]
        elif g.writer and g.phase == "DISCUSSION":
            found.append(Due(g.id, g.writer, "conclusion"))
        elif g.phase == "DISCUSSION":
            found.append(Due(g.id, g.turn[0], "speak", last=g.turns >= state.limits.turns))
    found += [Due(t.group, t.to, "work", t.id) for t in state.tasks if t.status == "open" and t.team < 0]
    return tuple(found) if not state.over else ()


def allowed(state: State, one: Due) -> tuple[Type, ...]:
    """The types of message by which whoever is due may answer; `silence` always stands beside them."""
    g = state.groups[one.group]
    if one.what == "team_up":
        return ("team_up",) if one.last else ("search", "team_up")
    if one.what == "reply":
        return ("accept", "decline")
    if one.what == "vote":
        return ("vote",)
    if one.what == "conclusion":
        return ("conclusion",)
    if one.what == "work":
        report: tuple[Type, ...] = ("progress",) if state.tasks[one.task].reports < state.limits.reports else ()
        return ("result", *report, *(("open",) if g.depth < state.limits.depth else ()))
    end: Type = "pause" if _open(state, g.id) else "conclude"
    return (end,) if one.last else ("discussion", "assign_sync", "assign_async", "proposal", end)


# -- the step ----------------------------------------------------------------------------------------
def step(state: State, m: Message) -> tuple[State, tuple[Effect, ...]]:
    """The state after a message, and what it brought about. A refused one is counted by its reason, no more."""
    try:
        if not 0 <= m.group < len(state.groups):
            raise Refused("group", f"there is no group {m.group}")
        g = state.groups[m.group]
        if g.phase == "CONCLUDED" or state.over:
            raise Refused("over", f"group {m.group} is over")
        return _HANDLERS[m.type](state, g, m)
    except Refused as why:
        after = replace(state, refused=counted(state.refused, why.code))
        return after, (Effect("refused", m.group, (m.src,), m.task, f"{why.code}: {why}"),)


Step = tuple[State, tuple[Effect, ...]]


def _put(state: State, group: Group) -> State:
    return replace(state, groups=(*state.groups[: group.id], group, *state.groups[group.id + 1 :]))


def _candidates(state: State, g: Group) -> tuple[str, ...]:
    """Who could still be invited."""
    return tuple(p for p in state.people if p != g.leader and p not in g.declined)


def _open(state: State, group: int) -> tuple[int, ...]:
    return tuple(t.id for t in state.tasks if t.group == group and t.status == "open")


def _refuse_unless(holds: bool, code: str, text: str) -> None:
    if not holds:
        raise Refused(code, text)


# -- forming -----------------------------------------------------------------------------------------
def _opening(state: State, g: Group, m: Message) -> Step:
    """The assignee of a task forms a group of its own for it."""
    task = _own_task(state, g, m)
    _refuse_unless(g.depth < state.limits.depth, "depth", f"groups may be nested {state.limits.depth} deep")
    new = Group(len(state.groups), m.src, m.text or task.what, g.depth + 1, task.id)
    state = replace(_put_task(state, replace(task, team=new.id)), groups=(*state.groups, new))
    effects = (Effect("opened", new.id, (m.src,), task.id, new.goal),)
    if _candidates(state, new):
        return state, effects
    state, more = _formed(state, new)
    return state, effects + more


def _leading(state: State, g: Group, m: Message) -> None:
    _refuse_unless(g.phase == "TEAMUP" and not g.invited, "phase", f"group {g.id} is not looking for members")
    _refuse_unless(m.src == g.leader, "turn", f"{g.leader} forms group {g.id}")


def _search(state: State, g: Group, m: Message) -> Step:
    _leading(state, g, m)
    _refuse_unless(g.attempts + 1 < state.limits.attempts, "last", "the last attempt must name members")
    return _put(state, replace(g, attempts=g.attempts + 1)), (Effect("searched", g.id, (m.src,), text=m.text),)


def _team_up(state: State, g: Group, m: Message) -> Step:
    _leading(state, g, m)
    fits = bool(m.to) and len(set(m.to)) == len(m.to) and set(m.to) <= set(_candidates(state, g))
    _refuse_unless(fits, "invited", "whom it invites must be known, others than itself, and not have declined")
    return _put(state, replace(g, attempts=g.attempts + 1, invited=m.to)), (Effect("invited", g.id, m.to, text=m.text),)


def _reply(state: State, g: Group, m: Message) -> Step:
    _refuse_unless(m.src in g.invited, "uninvited", f"{m.src} was not invited to group {g.id}")
    side = "joined" if m.type == "accept" else "declined"
    g = replace(g, invited=tuple(x for x in g.invited if x != m.src), **{side: (*getattr(g, side), m.src)})
    return _settle(_put(state, g), g)


def _settle(state: State, g: Group) -> Step:
    """When all have replied, whoever accepted is the group; alone only after the last attempt."""
    if g.invited:
        return state, ()
    if g.joined or g.attempts >= state.limits.attempts or not _candidates(state, g):
        return _formed(state, g)
    return state, ()


def _formed(state: State, g: Group) -> Step:
    members = (g.leader, *g.joined)
    g = replace(g, phase="DISCUSSION", members=members, turn=(g.leader,))
    return _put(state, g), (Effect("formed", g.id, members),)


# -- talking -----------------------------------------------------------------------------------------
def _speaking(state: State, g: Group, m: Message) -> bool:
    """Whether the discussion is at its end; refuses whoever may not speak."""
    _refuse_unless(not g.members or m.src in g.members, "outside", f"{m.src} is no member of group {g.id}")
    _refuse_unless(g.phase == "DISCUSSION" and not g.writer, "phase", f"group {g.id} is not in discussion")
    _refuse_unless(m.src in g.turn, "turn", f"{m.src} has not the word in group {g.id}")
    return g.turns >= state.limits.turns


def _said(state: State, g: Group, src: str, then: Sequence[str] = (), stays: bool = False) -> Group:
    """The group after a turn: who named next, whoever had the word still, else the leader."""
    rest = [x for x in g.turn if x != src]
    turn = tuple(dict.fromkeys(((src,) if stays else ()) + tuple(then) + tuple(rest))) or (g.leader,)
    turns = g.turns + 1
    return replace(g, turns=turns, turn=turn if turns < state.limits.turns else (g.leader,))


def _discussion(state: State, g: Group, m: Message) -> Step:
    _refuse_unless(not _speaking(state, g, m), "last", "the discussion is at its end")
    _refuse_unless(set(m.to) <= set(g.members), "outside", "who is to speak next is no member")
    return _put(state, _said(state, g, m.src, m.to)), ()


def _assign(state: State, g: Group, m: Message) -> Step:
    _refuse_unless(not _speaking(state, g, m), "last", "the discussion is at its end")
    _refuse_unless(len(m.to) == 1 and m.to[0] in g.members, "outside", "work is assigned to one of the members")
    task = Task(len(state.tasks), g.id, m.src, m.to[0], m.text)
    after = _said(state, g, m.src, stays=True)
    if m.type == "assign_sync":
        after = replace(after, phase="EXECUTION", waits=(task.id,), caller=m.src)
    state = replace(_put(state, after), tasks=(*state.tasks, task))
    return state, (Effect("assigned", g.id, m.to, task.id, m.text),)


def _pause(state: State, g: Group, m: Message) -> Step:
    last = _speaking(state, g, m)
    fits = bool(m.tasks) and set(m.tasks) <= set(_open(state, g.id))
    _refuse_unless(fits, "trigger", "a pause waits for open tasks of its own group")
    after = g if last else _said(state, g, m.src, stays=True)
    waits = tuple(sorted(set(m.tasks)))
    return _put(state, replace(after, phase="EXECUTION", waits=waits, caller=m.src)), ()


def _proposal(state: State, g: Group, m: Message) -> Step:
    _refuse_unless(not _speaking(state, g, m), "last", "the discussion is at its end")
    fits = len(m.options) >= 2 and len(set(m.options)) == len(m.options)
    _refuse_unless(fits, "options", "a vote needs two options or more, each once")
    after = replace(_said(state, g, m.src, stays=True), phase="VOTE", options=m.options, ballots=(), caller=m.src)
    return _put(state, after), ()


def _vote(state: State, g: Group, m: Message) -> Step:
    _refuse_unless(m.src in g.members, "outside", f"{m.src} is no member of group {g.id}")
    _refuse_unless(g.phase == "VOTE", "phase", f"group {g.id} does not vote")
    _refuse_unless(m.src not in dict(g.ballots), "twice", f"{m.src} has voted")
    choice = -1 if m.choice is None else m.choice
    _refuse_unless(m.choice is None or 0 <= choice < len(g.options), "options", f"there is no option {m.choice}")
    g = replace(g, ballots=(*g.ballots, (m.src, choice)))
    if len(g.ballots) < len(g.members):
        return _put(state, g), ()
    tally = tuple(sum(c == i for _, c in g.ballots) for i in range(len(g.options)))
    best = [i for i, t in enumerate(tally) if t == max(tally) and t > 0]
    decision = Decision(g.options, tally, best[0] if len(best) == 1 else -1)
    after = _back(state, replace(g, decisions=(*g.decisions, decision)))
    text = g.options[decision.winner] if decision.winner >= 0 else ""
    return _put(state, after), (Effect("decided", g.id, g.members, text=text),)


def _back(state: State, g: Group) -> Group:
    """The discussion goes on with whoever stopped it."""
    turn = (g.caller,) if g.turns < state.limits.turns else (g.leader,)
    return replace(g, phase="DISCUSSION", waits=(), turn=turn, caller="")


# -- work --------------------------------------------------------------------------------------------
def _own_task(state: State, g: Group, m: Message) -> Task:
    """The open task that a message is about, which must be its sender's to do."""
    known = 0 <= m.task < len(state.tasks) and state.tasks[m.task].group == g.id
    _refuse_unless(known, "task", f"group {g.id} has no task {m.task}")
    task = state.tasks[m.task]
    _refuse_unless(task.to == m.src, "assignee", f"task {m.task} is {task.to}'s")
    _refuse_unless(task.status == "open", "done", f"task {m.task} is done")
    _refuse_unless(task.team < 0, "team", f"group {task.team} is at work on task {m.task}")
    return task


def _put_task(state: State, task: Task) -> State:
    return replace(state, tasks=(*state.tasks[: task.id], task, *state.tasks[task.id + 1 :]))


def _progress(state: State, g: Group, m: Message) -> Step:
    task = _own_task(state, g, m)
    _refuse_unless(task.reports < state.limits.reports, "reports", f"task {m.task} has been reported on often enough")
    return _put_task(state, replace(task, reports=task.reports + 1)), ()


def _result(state: State, g: Group, m: Message) -> Step:
    return _done(state, _own_task(state, g, m), m.text, m.ok)


def _done(state: State, task: Task, text: str, ok: bool) -> Step:
    """A task is done; its group wakes when nothing it waits for is open."""
    state = _put_task(state, replace(task, status="done" if ok else "failed", result=text))
    g, effects = state.groups[task.group], (Effect("done", task.group, (task.to,), task.id, text),)
    if g.phase != "EXECUTION" or set(g.waits) & set(_open(state, g.id)):
        return state, effects
    return _put(state, _back(state, g)), (*effects, Effect("woken", g.id, (g.caller,)))


# -- the end -----------------------------------------------------------------------------------------
def _conclude(state: State, g: Group, m: Message) -> Step:
    _speaking(state, g, m)
    _refuse_unless(not _open(state, g.id), "open", "there is work to wait for")
    _refuse_unless(len(m.to) <= 1 and set(m.to) <= set(g.members), "outside", "one member writes the conclusion")
    return _put(state, replace(g, writer=m.to[0] if m.to else g.leader)), ()


def _conclusion(state: State, g: Group, m: Message) -> Step:
    """The group is over. What a nested group concludes is the result of the task that it was opened for."""
    _refuse_unless(bool(g.writer) and m.src == g.writer, "writer", f"{m.src} was not asked for the conclusion")
    state = _put(state, replace(g, phase="CONCLUDED", conclusion=m.text, ok=m.ok))
    effects = (Effect("closed", g.id, g.members, g.task, m.text),)
    if g.task < 0:
        return state, effects
    state, more = _done(state, state.tasks[g.task], m.text, m.ok)
    return state, effects + more


def _silence(state: State, g: Group, m: Message) -> Step:
    """Somebody who was due said nothing that can be used: declined, abstained, failed, or the word goes on."""
    mine = [d for d in due(state) if d.group == g.id and d.who == m.src and d.task == m.task]
    _refuse_unless(bool(mine), "turn", f"nobody waits for {m.src} in group {g.id}")
    state = replace(state, silences=state.silences + 1)
    one = mine[0]
    if one.what == "work":
        return _done(state, state.tasks[m.task], "", False)
    if one.what == "reply":
        return _reply(state, g, Message(g.id, m.src, "decline"))
    if one.what == "vote":
        return _vote(state, g, Message(g.id, m.src, "vote"))
    if one.what == "conclusion":
        return _conclusion(state, g, Message(g.id, m.src, "conclusion", ok=False))
    if one.what == "team_up":
        g = replace(g, attempts=g.attempts + 1)
        return _settle(_put(state, g), g)
    if not one.last:
        return _put(state, _said(state, g, m.src)), ()
    left = _open(state, g.id)  # the discussion is at its end: wait for what is open, then conclude
    if left:
        return _pause(state, g, Message(g.id, m.src, "pause", tasks=left))
    return _conclude(state, g, Message(g.id, m.src, "conclude"))


_HANDLERS: dict[str, Callable[[State, Group, Message], Step]] = {
    "open": _opening,
    "search": _search,
    "team_up": _team_up,
    "accept": _reply,
    "decline": _reply,
    "discussion": _discussion,
    "assign_sync": _assign,
    "assign_async": _assign,
    "progress": _progress,
    "result": _result,
    "pause": _pause,
    "proposal": _proposal,
    "vote": _vote,
    "conclude": _conclude,
    "conclusion": _conclusion,
    "silence": _silence,
}
