"""Threads: nobody reads what it had no part in, closed threads are their summaries, waiting asks nobody."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossplay.kernel import CrossplayError, pack, unpack
from crossplay.teams.forming import digest, replay
from crossplay.teams.forming.threads import Board, Move, Type, mentions, ready, size, start, step, visible

PEOPLE = ("ann", "bob", "eve", "kim")


def done(board, *moves):
    for m in moves:
        board, effects = step(board, m)
        assert all(e.kind != "refused" for e in effects), effects
    return board


def refused(board, m, code):
    after, effects = step(board, m)
    assert [e.kind for e in effects] == ["refused"] and effects[0].text.startswith(f"{code}: ")
    assert msgspec.structs.replace(after, refused=board.refused) == board
    return after


def texts(board, agent):
    return [line.text for line in visible(board, agent)]


def opened(*people):
    return done(start(PEOPLE), Move("ann", "open", text="plan", who=people))


def test_only_participants_read_and_speak():
    board = done(opened("bob"), Move("ann", "post", 0, "go", ("bob",)), Move("bob", "post", 0, "gone"))
    assert texts(board, "ann") == texts(board, "bob") == ["go", "gone"] and texts(board, "eve") == []
    assert size(board, "ann") == 6 and size(board, "eve") == 0
    for m in (Move("eve", "post", 0, "me too"), Move("eve", "add", 0, who=("eve",)), Move("eve", "close", 0, "end")):
        board = refused(board, m, "outside")
    board = refused(board, Move("ann", "post", 0, "hey", ("eve",)), "mention")
    board = refused(board, Move("ann", "post", 4, "hey"), "thread")
    board = refused(board, Move("zoe", "post", 0, "hey"), "unknown")
    board = refused(board, Move("ann", "open", who=("zoe",)), "unknown")
    assert board.refused == {"mention": 1, "outside": 3, "thread": 1, "unknown": 2}


def test_participants_come_and_go():
    board = done(opened("bob"), Move("ann", "post", 0, "early"), Move("bob", "add", 0, who=("eve",)))
    assert texts(board, "eve") == ["early"]
    board = refused(board, Move("ann", "add", 0, who=("eve",)), "participants")
    board = done(board, Move("ann", "remove", 0, who=("bob", "eve")))
    assert texts(board, "bob") == texts(board, "eve") == []
    for who in (("ann",), ("bob",), ()):
        refused(board, Move("ann", "remove", 0, who=who), "participants")


def test_a_closed_thread_is_its_summary():
    board = done(
        opened("bob", "eve"), Move("ann", "post", 0, "long talk", ("bob",)), Move("ann", "remove", 0, who=("eve",))
    )
    board = done(board, Move("bob", "close", 0, "short"))
    assert texts(board, "ann") == texts(board, "bob") == ["short"] and texts(board, "eve") == []
    assert not mentions(board, "bob") and visible(board, "ann")[0].note == -1
    for m in (Move("ann", "post", 0, "more"), Move("ann", "close", 0, "again"), Move("ann", "add", 0, who=("kim",))):
        refused(board, m, "closed")


def test_who_waits_is_ready_when_it_is_mentioned():
    board = done(opened("bob", "eve"), Move("bob", "wait"), Move("eve", "wait"))
    assert ready(board) == ("ann", "kim")
    board = done(board, Move("ann", "post", 0, "bob?", ("bob",)), Move("ann", "wait"), Move("kim", "wait"))
    assert ready(board) == ("bob",) and [n.text for n in mentions(board, "bob")] == ["bob?"]
    board = done(board, Move("bob", "read"))
    assert not mentions(board, "bob") and ready(board) == ("bob",)  # it was asked, so it waits no more
    assert ready(done(board, Move("bob", "wait"))) == ()


@pytest.mark.parametrize("people", [(), ("ann", "ann")])
def test_wrong_starts(people):
    with pytest.raises(CrossplayError, match="people"):
        start(people)


# -- properties --------------------------------------------------------------------------------------

MOVES = st.builds(
    Move,
    src=st.sampled_from(PEOPLE),
    type=st.sampled_from([*Type.__args__, "post", "post", "open"]),
    thread=st.integers(0, 2),
    text=st.uuids().map(str),
    who=st.lists(st.sampled_from(PEOPLE), max_size=3, unique=True).map(tuple),
)
LOGS = st.lists(MOVES, max_size=40)


def history(log):
    """The boards after each move."""
    boards = [start(PEOPLE)]
    for m in log:
        boards.append(step(boards[-1], m)[0])
    return boards


@settings(max_examples=150, deadline=None)
@given(LOGS)
def test_the_moves_give_the_board_back(log):
    board = history(log)[-1]
    sent = msgspec.convert(unpack(pack(msgspec.to_builtins(log))), list[Move])
    again = replay(step, start(PEOPLE), sent)
    assert again == board and digest(again) == digest(board)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(board), type=Board) == board


@settings(max_examples=150, deadline=None)
@given(LOGS)
def test_nobody_sees_what_was_said_where_it_was_not(log):
    """By an account of its own: sets of participants, kept by hand from the moves that were applied."""
    board, inside, said, closed = start(PEOPLE), {}, {}, {}
    for m in log:
        before = board
        board, effects = step(before, m)
        if effects and effects[0].kind == "refused":
            assert msgspec.structs.replace(board, refused=before.refused) == before
            continue
        if m.type == "open":
            at = len(inside)
            inside[at], said[at] = {m.src, *m.who}, []
        elif m.type in ("post", "add", "remove", "close"):
            assert m.src in inside[m.thread] and m.thread not in closed
            if m.type == "post":
                assert set(m.who) <= inside[m.thread]
                said[m.thread].append(m.text)
            elif m.type == "add":
                inside[m.thread] |= set(m.who)
            elif m.type == "remove":
                inside[m.thread] -= set(m.who)
            else:
                closed[m.thread] = m.text
        for agent in PEOPLE:
            wanted = [x for t in inside if agent in inside[t] for x in ([closed[t]] if t in closed else said[t])]
            assert texts(board, agent) == wanted


@settings(max_examples=150, deadline=None)
@given(LOGS)
def test_waiting_ends_with_a_mention_and_not_before(log):
    board = start(PEOPLE)
    for m in log:
        before = board
        board, effects = step(board, m)
        woken = set(ready(board)) - set(ready(before))
        posted = m.type == "post" and effects[0].kind == "posted"
        back = m.type == "add" and effects[0].kind == "changed"  # somebody who was mentioned is let in again
        assert woken <= (set(m.who) if posted or back else {m.src} if m.type == "read" else set())
        for p in ready(board):
            assert p not in board.waiting or mentions(board, p)
