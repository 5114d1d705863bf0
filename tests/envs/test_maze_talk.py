"""maze/talk: free text read without a model; the same dialogue, the same path as by named actions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossplay.agents.scripts.maze import Grader, talker
from crossplay.envs.maze import family
from crossplay.envs.maze.grade import CONVENTIONS, agreed_path, claims_end, moves_in, read, said
from crossplay.envs.maze.grid import MOVES, step
from crossplay.kernel import Block, loop, play

START, GOAL = (2, 1), (0, 4)


def path(*talk: str, start=START, size: int = 6) -> str:
    """The agreed moves of an alternating talk, as first letters."""
    return "".join(m[0] for m in agreed_path([[i % 2, t] for i, t in enumerate(talk)], start, GOAL, size))


@pytest.mark.parametrize(
    ("talk", "moves"),
    [
        (("Let's go up.", "Agreed."), "u"),
        (("Let's go up.", "No, that is a wall."), ""),
        (("Let's go up.", "I can't agree to that."), ""),
        (("Let's go up.", "There is no wall there, ok."), "u"),
        (("Let's go up.", "What do you see to the left?", "It is open.", "Then yes."), "u"),
        (("I propose: up, right, right.", "Yes. Then let us go down twice.", "Sure!"), "urrdd"),
        (("Next move north 2 steps", "OK", "Now east x3", "ok"), "uurrr"),
        (("U, R, R", "agreed: U, R, R"), "urr"),
        (("Path: UURD", "yes"), "uurd"),
        (("There is a wall to the right and open cells up and left.", "Yes."), ""),
        (("You are right.", "Yes."), ""),
        (("Let us move up.", "Let us move left instead.", "Okay."), "l"),
        (("Let us move up.", "Agreed, up. Then let us move left.", "Agreed."), "ul"),
        (("Do not go up.", "Okay."), ""),
    ],
)
def test_agreement_by_hand(talk: tuple[str, ...], moves: str) -> None:
    assert path(*talk) == moves


@pytest.mark.parametrize("way", CONVENTIONS)
def test_coordinates_are_read_as_their_writer_means_them(way) -> None:
    """Start and goal are named, then a path: whatever the convention, the same moves."""

    def write(cell) -> str:
        row, column = (cell[0] if way.top else 5 - cell[0]) + way.base, cell[1] + way.base
        return f"({row}, {column})" if way.row_first else f"({column},{row})"

    cells = [START]
    for m in ("up", "up", "right", "right", "right"):
        cells.append(step(cells[-1], m))
    talk = [
        [0, f"Our start is {write(START)} and the goal is {write(GOAL)}."],
        [1, "Fine."],
        [0, "I propose to go " + " -> ".join(write(c) for c in cells)],
        [1, "Agreed."],
    ]
    found = read(talk, START, GOAL, 6)
    assert found.path == ("up", "up", "right", "right", "right")
    assert [found.conventions[0].cell((9, 3), 6), found.conventions[0].cell((2, 7), 6)] == [
        way.cell((9, 3), 6),
        way.cell((2, 7), 6),
    ]


def test_two_writers_two_conventions() -> None:
    talk = [
        [0, "I write (row, column) from 0: start (2,1), goal (0,4). Let us move to (1,1)."],
        [1, "I write (x, y) from 0: start (1,2), goal (4,0). Agreed: (1,1). Then go to (1,0)."],
        [0, "Agreed, (0,1). Then go to (0,2)."],
        [1, "Yes."],
    ]
    found = read(talk, START, GOAL, 6)
    assert found.path == ("up", "up", "right")
    assert [c.row_first for c in found.conventions] == [True, False]


@given(st.lists(st.sampled_from(MOVES), min_size=1, max_size=12), st.integers(0, 3))
def test_a_list_of_moves_survives_its_writing(moves: list[str], form: int) -> None:
    text = [", ".join(moves), " ".join(m[0].upper() for m in moves), " -> ".join(moves), " then ".join(moves)][form]
    if form != 1 or len(moves) > 1:
        assert list(moves_in(text)) == moves
        assert list(agreed_path([[0, text], [1, "ok"]], START, GOAL, 6)) == moves


@given(st.lists(st.text(max_size=60), max_size=6))
def test_any_text_can_be_read(texts: list[str]) -> None:
    talk = [[i % 2, t] for i, t in enumerate(texts)]
    assert set(agreed_path(talk, START, GOAL, 6)) <= set(MOVES)
    assert isinstance(claims_end(talk), bool)


def test_the_end_needs_both() -> None:
    say = "We have reached the goal."
    assert not claims_end([[0, say]]) and claims_end([[0, say]], alone=True)
    assert claims_end([[0, say], [1, "Agreed."]]) and claims_end([[0, say], [1, say]])
    assert not claims_end([[0, say], [1, "No, not yet."]]) and not claims_end([[0, say], [1, "Where?"]])
    assert not said("Once we have reached the goal we stop.").done and not said("We have not reached the goal.").done


def test_talkers_say_in_words_what_they_do_by_name() -> None:
    """The same maze and partners: the path read from the words is the path agreed by actions."""
    a, b = talker("strong", {}), talker("weak", {})
    joint, talk = family.make("joint", {}), family.make("talk", {})
    talk_id = talk.id
    talk.__dict__["_id"] = joint.id  # the id addresses the maze: give both the same
    for block in range(60):
        first = loop(play(joint, {"a": a, "b": b}, Block(5, block)))
        second = loop(play(talk, {"a": a, "b": b}, Block(5, block)))
        assert joint.path() == list(talk.path()) and first.score == second.score
        assert first.status == second.status == "terminal"
    assert talk_id != joint.id


def test_a_grader_in_a_seat_decides() -> None:
    from crossplay.kernel import Agent

    class Blind(Agent):
        def act(self, obs):
            return "up"

    env = family.make("talk", {"grader": "seat"})
    lineup = {"a": talker("", {}), "b": talker("", {}), "grader": Grader()}
    for block in range(20):
        by_seat = loop(play(env, lineup, Block(5, block)))
        assert by_seat.status == "terminal" and env.data("grader")["maps"] == []
        assert by_seat.score["success"] == float(by_seat.totals == (1.0, 1.0, 0.0))
        graded = list(env.path())
        env.s["graded"] = None
        assert graded == list(env.path())
        assert loop(play(env, {**lineup, "grader": Blind()}, Block(5, block))).score["success"] == 0
