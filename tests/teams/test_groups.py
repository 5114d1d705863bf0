"""Groups as a state machine: no message that may not stand is applied, nothing gets stuck, the log gives the run back."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.kernel import CrossplayError, pack, unpack
from crossplay.teams.forming import digest, replay
from crossplay.teams.forming.group import Limits, Message, State, Type, allowed, due, start, step

PEOPLE = ("ann", "bob", "eve", "kim")
TYPES = Type.__args__


def said(state, *messages):
    """The state after messages that must all be applied."""
    for m in messages:
        state, effects = step(state, m)
        assert all(e.kind != "refused" for e in effects), effects
    return state


def refused(state, m, code):
    after, effects = step(state, m)
    assert [e.kind for e in effects] == ["refused"] and effects[0].text.startswith(f"{code}: ")
    assert msgspec.structs.replace(after, refused=state.refused) == state  # counted, and nothing else
    assert after.refused[code] == state.refused.get(code, 0) + 1
    return after


def talking(limits=None, members=("bob", "eve")):
    """A group of ann and others that has formed."""
    state = start(PEOPLE, "ann", "goal", limits or Limits())
    state = said(state, Message(0, "ann", "team_up", to=members))
    return said(state, *(Message(0, m, "accept") for m in members))


def whos(state):
    return [(d.who, d.what) for d in due(state)]


# -- forming -----------------------------------------------------------------------------------------


def test_a_group_forms_of_those_who_accept():
    state = start(PEOPLE, "ann", "goal")
    assert whos(state) == [("ann", "team_up")]
    state = said(state, Message(0, "ann", "search", "who counts?"), Message(0, "ann", "team_up", to=("bob", "eve")))
    assert whos(state) == [("bob", "reply"), ("eve", "reply")]
    state = said(state, Message(0, "eve", "decline"), Message(0, "bob", "accept"))
    g = state.groups[0]
    assert (g.phase, g.members, g.declined, g.attempts) == ("DISCUSSION", ("ann", "bob"), ("eve",), 2)
    assert whos(state) == [("ann", "speak")]


def test_the_last_attempt_must_name_members_and_nobody_is_asked_twice():
    state = start(PEOPLE, "ann", "goal", Limits(attempts=2))
    assert allowed(state, due(state)[0]) == ("search", "team_up")
    state = said(state, Message(0, "ann", "team_up", to=("bob",)), Message(0, "bob", "decline"))
    assert due(state)[0].last and allowed(state, due(state)[0]) == ("team_up",)
    state = refused(state, Message(0, "ann", "search", "x"), "last")
    for wrong in (("bob",), ("ann",), ("zoe",), (), ("eve", "eve")):
        state = refused(state, Message(0, "ann", "team_up", to=wrong), "invited")
    state = refused(state, Message(0, "bob", "team_up", to=("eve",)), "turn")
    state = said(state, Message(0, "ann", "team_up", to=("eve",)))
    state = refused(state, Message(0, "kim", "accept"), "uninvited")
    state = said(state, Message(0, "eve", "decline"))
    assert state.groups[0].members == ("ann",) and state.groups[0].phase == "DISCUSSION"  # alone


def test_who_is_alone_needs_no_forming():
    assert start(["ann"], "ann", "goal").groups[0].phase == "DISCUSSION"
    state = start(["ann", "bob"], "ann", "goal", Limits(attempts=9))
    state = said(state, Message(0, "ann", "team_up", to=("bob",)), Message(0, "bob", "decline"))
    assert state.groups[0].phase == "DISCUSSION"  # nobody is left to ask


@pytest.mark.parametrize("wrong", [("zoe", PEOPLE), ("ann", ("ann", "ann"))])
def test_wrong_starts(wrong):
    with pytest.raises(CrossplayError, match="leader"):
        start(wrong[1], wrong[0], "goal")
    with pytest.raises(CrossplayError, match="limits"):
        start(PEOPLE, "ann", "goal", Limits(turns=0))


# -- talking, working, voting ------------------------------------------------------------------------


def test_the_word_goes_to_whoever_is_named_else_to_the_leader():
    state = talking()
    state = refused(state, Message(0, "bob", "discussion", "hm"), "turn")
    state = refused(state, Message(0, "kim", "discussion", "hm"), "outside")
    state = refused(state, Message(0, "ann", "discussion", "hm", to=("kim",)), "outside")
    state = said(state, Message(0, "ann", "discussion", "you two?", to=("bob", "eve")))
    assert whos(state) == [("bob", "speak")]
    state = said(state, Message(0, "bob", "discussion", "a"))
    assert whos(state) == [("eve", "speak")]
    state = said(state, Message(0, "eve", "discussion", "b"))
    assert whos(state) == [("ann", "speak")]


def test_a_sync_assignment_blocks_until_its_report():
    state = said(talking(), Message(0, "ann", "assign_sync", "count", to=("bob",)))
    assert state.groups[0].phase == "EXECUTION" and whos(state) == [("bob", "work")]
    for m in (
        Message(0, "ann", "discussion", "x"),
        Message(0, "ann", "conclude"),
        Message(0, "eve", "discussion", "x"),
    ):
        state = refused(state, m, "phase")
    state = refused(state, Message(0, "eve", "result", "7", task=0), "assignee")
    state = said(state, Message(0, "bob", "progress", "3", task=0))
    assert state.groups[0].phase == "EXECUTION"
    state, effects = step(state, Message(0, "bob", "result", "7", task=0))
    assert [e.kind for e in effects] == ["done", "woken"] and whos(state) == [("ann", "speak")]
    refused(state, Message(0, "bob", "result", "8", task=0), "done")
    refused(state, Message(0, "bob", "result", "8", task=5), "task")


def test_a_pause_wakes_when_all_it_waits_for_is_done():
    state = said(talking(), *(Message(0, "ann", "assign_async", w, to=(w,)) for w in ("bob", "eve", "bob")))
    assert whos(state) == [("ann", "speak"), ("bob", "work"), ("eve", "work"), ("bob", "work")]
    refused(state, Message(0, "ann", "conclude"), "open")
    refused(state, Message(0, "ann", "pause", tasks=(0, 9)), "trigger")
    refused(state, Message(0, "ann", "pause"), "trigger")
    state = said(state, Message(0, "ann", "pause", tasks=(0, 1)), Message(0, "eve", "result", "e", task=1))
    assert state.groups[0].phase == "EXECUTION"
    state = said(state, Message(0, "bob", "result", "b2", task=2))  # not waited for
    assert state.groups[0].phase == "EXECUTION"
    state = said(state, Message(0, "bob", "result", "", task=0, ok=False))
    assert state.groups[0].phase == "DISCUSSION" and [t.status for t in state.tasks] == ["failed", "done", "done"]


def test_a_pause_waits_for_nothing_but_what_it_names():
    state = said(talking(), *(Message(0, "ann", "assign_async", "w", to=("bob",)) for _ in range(2)))
    state = said(state, Message(0, "ann", "pause", tasks=(1,)), Message(0, "bob", "result", "x", task=1))
    assert state.groups[0].phase == "DISCUSSION" and whos(state) == [("ann", "speak"), ("bob", "work")]


def test_a_leader_that_says_nothing_waits_for_open_work_and_concludes():
    state = said(
        talking(Limits(turns=1)), Message(0, "ann", "assign_async", "w", to=("bob",)), Message(0, "ann", "silence")
    )
    assert state.groups[0].phase == "EXECUTION" and whos(state) == [("bob", "work")]
    state = said(state, Message(0, "bob", "silence", task=0), Message(0, "ann", "silence"))
    assert whos(state) == [("ann", "conclusion")] and state.tasks[0].status == "failed" and state.silences == 3
    state = refused(state, Message(0, "bob", "silence"), "turn")
    assert said(state, Message(0, "ann", "silence")).over


def test_a_vote_ends_with_the_last_ballot():
    state = said(talking(), Message(0, "ann", "discussion", "?", to=("bob",)))
    refused(state, Message(0, "bob", "proposal", options=("a",)), "options")
    refused(state, Message(0, "bob", "proposal", options=("a", "a")), "options")
    state = said(state, Message(0, "bob", "proposal", options=("a", "b")))
    refused(state, Message(0, "ann", "discussion", "x"), "phase")
    refused(state, Message(0, "kim", "vote", choice=0), "outside")
    refused(state, Message(0, "eve", "vote", choice=2), "options")
    state = said(state, Message(0, "ann", "vote", choice=1), Message(0, "bob", "vote"))
    refused(state, Message(0, "ann", "vote", choice=1), "twice")
    state, effects = step(state, Message(0, "eve", "vote", choice=1))
    assert effects[0].kind == "decided" and effects[0].text == "b" and whos(state) == [("bob", "speak")]
    assert state.groups[0].decisions[0].tally == (0, 2)


def test_a_long_discussion_is_concluded():
    state = talking(Limits(turns=2))
    state = said(
        state, Message(0, "ann", "assign_async", "count", to=("bob",)), Message(0, "ann", "discussion", to=("eve",))
    )
    assert due(state)[0].who == "ann" and due(state)[0].last and allowed(state, due(state)[0]) == ("pause",)
    refused(state, Message(0, "ann", "discussion", "more"), "last")
    state = said(state, Message(0, "ann", "pause", tasks=(0,)), Message(0, "bob", "result", "7", task=0))
    assert allowed(state, due(state)[0]) == ("conclude",)
    refused(state, Message(0, "ann", "conclude", to=("kim",)), "outside")
    state = said(state, Message(0, "ann", "conclude", to=("bob",)))
    refused(state, Message(0, "ann", "discussion", "wait"), "phase")
    refused(state, Message(0, "ann", "conclusion", "8"), "writer")
    state = said(state, Message(0, "bob", "conclusion", "7"))
    assert state.over and not due(state) and state.groups[0].conclusion == "7"
    refused(state, Message(0, "ann", "discussion", "x"), "over")
    refused(state, Message(7, "ann", "discussion", "x"), "group")


def test_a_nested_group_reports_by_its_conclusion():
    state = said(talking(), Message(0, "ann", "assign_sync", "build", to=("bob",)))
    state = said(state, Message(0, "bob", "open", task=0))
    assert state.groups[1].depth == 1 and state.groups[1].goal == "build" and whos(state) == [("bob", "team_up")]
    refused(state, Message(0, "bob", "result", "x", task=0), "team")
    refused(state, Message(0, "bob", "open", task=0), "team")
    state = said(
        state, Message(1, "bob", "team_up", to=("kim", "ann")), Message(1, "kim", "accept"), Message(1, "ann", "accept")
    )
    state = said(state, Message(1, "bob", "assign_sync", "saw", to=("kim",)))
    refused(state, Message(1, "kim", "open", task=1), "depth")
    refused(state, Message(0, "kim", "result", "x", task=1), "task")  # another group's
    state = said(state, Message(1, "kim", "result", "sawn", task=1), Message(1, "bob", "conclude"))
    state = said(state, Message(1, "bob", "conclusion", "built"))
    assert (
        state.tasks[0].result == "built" and state.groups[0].phase == "DISCUSSION" and whos(state) == [("ann", "speak")]
    )


# -- properties --------------------------------------------------------------------------------------

LIMITS = st.builds(
    Limits, depth=st.integers(0, 2), attempts=st.integers(1, 3), turns=st.integers(1, 5), reports=st.integers(0, 2)
)
TIGHT = st.builds(
    Limits, depth=st.integers(0, 1), attempts=st.integers(1, 2), turns=st.integers(1, 3), reports=st.integers(0, 1)
)
NAMES = st.sampled_from([*PEOPLE, "zoe"])
ANY = st.builds(
    Message,
    group=st.integers(-1, 4),
    src=NAMES,
    type=st.sampled_from(TYPES),
    text=st.sampled_from(["", "x"]),
    to=st.lists(NAMES, max_size=2).map(tuple),
    task=st.integers(-1, 4),
    tasks=st.lists(st.integers(0, 3), max_size=2).map(tuple),
    options=st.lists(st.sampled_from("ab"), max_size=2).map(tuple),
    choice=st.none() | st.integers(-1, 2),
)


def answer(draw, state, one):
    """A message by which whoever is due answers, of a type that is allowed."""
    g, kind = state.groups[one.group], draw(st.sampled_from([*allowed(state, one), "silence"]))
    more = {}
    if kind == "team_up":
        free = [p for p in state.people if p != g.leader and p not in g.declined]
        more["to"] = tuple(draw(st.lists(st.sampled_from(free), min_size=1, unique=True)))
    elif kind in ("assign_sync", "assign_async"):
        more = {"to": (draw(st.sampled_from(g.members)),), "text": "work"}
    elif kind == "discussion":
        more["to"] = tuple(draw(st.lists(st.sampled_from(g.members), max_size=2)))
    elif kind == "pause":
        left = [t.id for t in state.tasks if t.group == g.id and t.status == "open"]
        more["tasks"] = tuple(draw(st.lists(st.sampled_from(left), min_size=1)))
    elif kind == "proposal":
        more["options"] = ("a", "b")
    elif kind == "vote":
        more["choice"] = draw(st.none() | st.integers(0, 1))
    return Message(one.group, one.who, kind, task=one.task, **more)


@st.composite
def runs(draw, noise=True):
    """(first state, log, states): whoever is due answers, anybody says anything between."""
    first = state = start(PEOPLE, "ann", "goal", draw(LIMITS))
    log, states = [], [state]
    for _ in range(draw(st.sampled_from([3, 12, 30, 70]))):
        waiting = due(state)
        if not waiting:
            break
        m = draw(ANY) if noise and draw(st.integers(0, 3)) == 0 else answer(draw, state, draw(st.sampled_from(waiting)))
        state, _ = step(state, m)
        log.append(m)
        states.append(state)
    return first, log, states


@settings(max_examples=120, deadline=None)
@given(runs())
def test_the_log_gives_the_run_back(run):
    first, log, states = run
    sent = msgspec.convert(unpack(pack(msgspec.to_builtins(log))), list[Message])
    again = replay(step, msgspec.convert(unpack(pack(msgspec.to_builtins(first))), State), sent)
    assert again == states[-1] and digest(again) == digest(states[-1])
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(again), type=State) == again


@settings(max_examples=120, deadline=None)
@given(runs())
def test_what_always_holds(run):
    _, log, states = run
    for m, before, after in zip(log, states[:-1], states[1:], strict=True):
        applied = after.refused == before.refused
        if not applied:
            assert msgspec.structs.replace(after, refused=before.refused) == before
        for g in after.groups:
            assert g.depth <= after.limits.depth and len(set(g.members)) == len(g.members)
            assert set(g.turn) <= set(g.members) and g.attempts <= after.limits.attempts
            open_here = {t.id for t in after.tasks if t.group == g.id and t.status == "open"}
            assert (g.phase == "EXECUTION") == bool(g.waits) and (not g.waits or set(g.waits) & open_here)
        if applied and m.type in ("discussion", "assign_sync", "assign_async", "pause", "proposal", "vote", "conclude"):
            g = before.groups[m.group]
            assert m.src in g.members and g.phase in ("DISCUSSION", "VOTE")
            assert m.type == "vote" or not g.waits  # nobody speaks before what is waited for is there


@settings(max_examples=120, deadline=None)
@given(runs(), st.data())
def test_whoever_is_due_can_answer_in_every_way_that_is_allowed(run, data):
    state = run[2][-1]
    assert bool(due(state)) != state.over
    for one in due(state):
        m = answer(data.draw, state, one)
        _, effects = step(state, m)
        assert all(e.kind != "refused" for e in effects), (m, effects)


@settings(max_examples=60, deadline=None)
@given(runs(), st.data())
def test_everything_comes_to_an_end(run, data):
    """Whatever was said, silence alone leads to the conclusion of every group that was opened."""
    state = run[2][-1]
    most = 0
    while due(state):
        one = data.draw(st.sampled_from(due(state)))
        state = said(state, Message(one.group, one.who, "silence", task=one.task))
        most += 1
        assert most < 400
    assert state.over


@settings(max_examples=60, deadline=None)
@given(st.data(), TIGHT)
def test_no_run_of_legal_messages_goes_on_for_ever(data, limits):
    """Busy answers and drawn ones: at most turns x (work, a group of its own) per level, so 400 is far above all."""
    state, n = start(PEOPLE[:3], "ann", "goal", limits), 0
    busy = data.draw(st.booleans())
    while due(state):
        one = due(state)[0]
        state = said(state, answer_first(state, one) if busy else answer(data.draw, state, one))
        n += 1
        assert n < 400
    assert state.over


def answer_first(state, one):
    """The busiest answer: work is split into groups as deep as may be."""
    kinds, g = allowed(state, one), state.groups[one.group]
    kind = next(
        k
        for k in ("open", "team_up", "accept", "assign_sync", "vote", "pause", "conclude", "conclusion", "result")
        if k in kinds
    )
    more = {"to": (g.members[-1],) if kind == "assign_sync" else ()}
    if kind == "team_up":
        more["to"] = tuple(p for p in state.people if p != g.leader)
    if kind == "pause":
        more["tasks"] = tuple(t.id for t in state.tasks if t.group == g.id and t.status == "open")
    return Message(one.group, one.who, kind, task=one.task, **more)
