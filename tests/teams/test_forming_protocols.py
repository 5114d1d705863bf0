"""`forming` and `threads` as protocols of teams: who is asked what, who reads what, what the record gives back."""

import msgspec
import pytest
from deliberate import Late, Member, Quiz, any_form, decide, fault, members, played, posts, team_of, vote

from crossplay.kernel import Action, Block, CrossplayError, Fault, aio, play
from crossplay.teams import make_team
from crossplay.teams.forming import digest, group, replay, threads
from crossplay.teams.protocols.forming import Forming
from crossplay.teams.protocols.threads import Threads

ABOUT = {"b": "counts apples", "c": "draws pictures", "d": "sings songs and counts"}


def order(outcome):
    return [(p["round"], p["member"], p["act"]) for p in posts(outcome)]


def by_act(**answers):
    """An answer per act; the act is told by the brief's first words."""
    marks = {
        "team_up": "You form a team", "reply": " invites you", "speak": "You are in a team", "alone": "Will you do it alone",
        "work": "Your work", "final": "What your team found", "sum_up": "Your team has done", "plan": "You plan for",
        "answer": "You are named", "mark": "Judge the answer", "change": "No answer was accepted", "close": "This part",
        "ballot": "about to submit", "vote": "Your team votes",
    }  # fmt: skip

    def answer(obs):
        act = next((a for a, words in marks.items() if words in obs.brief), "final")
        given = answers[act]
        if isinstance(given, list):
            given = given.pop(0)
        return given(obs) if callable(given) else given

    return answer


def log_of(outcome):
    """The groups of a decision, again, from the record alone."""
    record = vote(outcome)
    first = msgspec.convert(record["start"], group.State)
    state = replay(group.step, first, msgspec.convert(record["messages"], list[group.Message]))
    assert digest(state) == record["digest"] and state.refused == record["refused"]
    return state


def board_of(outcome):
    record = vote(outcome)
    board = replay(threads.step, threads.start(record["people"]), msgspec.convert(record["moves"], list[threads.Move]))
    assert digest(board) == record["digest"]
    return board


# -- forming -----------------------------------------------------------------------------------------


def say(do, to="a", text="", **more):
    return {"do": do, "to": to, "text": text, **more}


def up(do, query="", names=()):
    return {"do": do, "query": query, "names": list(names)}


def test_an_organiser_searches_invites_assigns_and_concludes():
    lead = by_act(
        team_up=[up("search", "who counts?"), up("team_up", names=["b", "d"])],
        speak=[say("assign_sync", "b", "count them"), say("conclude", "a")],
        final=lambda obs: int(obs.inbox[-2].body["value"]),
    )
    worker = by_act(reply=0, work="2")
    outcome = decide(team_of([lead, worker, worker, by_act(reply=1)], Forming(about=ABOUT, depth=0)))
    assert order(outcome) == [
        (0, "a", "team_up"), (1, "a", "team_up"), (2, "b", "reply"), (2, "d", "reply"), (3, "a", "speak"), (4, "b", "work"),
        (5, "a", "speak"), (6, "a", "answer"),
    ]  # fmt: skip
    assert played(outcome) == ("cat", "own")
    state = log_of(outcome)
    assert state.groups[0].members == ("a", "b") and state.groups[0].declined == ("d",)
    assert vote(outcome)["groups"][0]["members"] == ["a", "b"]
    assert posts(outcome)[-1]["sees"] == [4, 5, 6]  # what was said in the group, not who was invited


def test_a_search_shows_the_best_in_the_next_ask():
    lead = Member(
        "a", by_act(team_up=[up("search", "counts"), up("team_up", names=["d"])], speak=say("conclude"), final=1)
    )
    decide(team_of([lead, 0, 0, by_act(reply=0)], Forming(about=ABOUT, k=2)))
    said = lead.asked[1]["brief"]
    assert "- b: counts apples\n- d: sings" in said and "draws" not in said  # b is shorter, so it fits better
    assert "sings" not in lead.asked[0]["brief"]


def test_what_may_not_stand_is_counted_and_passed_over():
    lead = by_act(
        team_up=up("team_up", names=["b"]),
        speak=[say("proposal", options=["x"]), say("discussion", "b"), say("conclude")],
        final=3,
    )
    outcome = decide(team_of([lead, by_act(reply=0, speak=say("discussion", text="hm"))], Forming(depth=0)))
    assert outcome.counts["p0"]["refused"] == 1 and log_of(outcome).refused == {"options": 1}
    assert log_of(outcome).silences == 1 and played(outcome)[0] == "dog"


def test_work_is_done_by_a_group_of_its_own():
    lead = by_act(
        team_up=up("team_up", names=["b"]),
        speak=[say("assign_async", "b", "build"), say("pause"), say("conclude")],
        final=1,
    )
    middle = by_act(
        reply=0, alone=1, team_up=up("team_up", names=["c"]), speak=[say("assign_sync", "c", "saw"), say("conclude", "b")],
        sum_up="built", work="x",
    )  # fmt: skip
    outcome = decide(team_of([lead, middle, by_act(reply=0, work="sawn")], Forming(depth=1)))
    state = log_of(outcome)
    assert [(g.leader, g.depth, g.members) for g in state.groups] == [("a", 0, ("a", "b")), ("b", 1, ("b", "c"))]
    assert [t.result for t in state.tasks] == ["built", "sawn"]
    last = posts(outcome)[-1]
    read = [posts(outcome)[i]["member"] + " " + posts(outcome)[i]["act"] for i in last["sees"]]
    assert read == [
        "a speak",
        "a speak",
        "b conclusion",
        "a speak",
    ]  # and nothing of the nested group but its conclusion
    flat = decide(team_of([by_act(team_up=up("team_up", names=["b"]), speak=[say("assign_sync", "b", "build"), say("conclude")], final=1),
                           middle_alone(), by_act(reply=0)], Forming(depth=0)))  # fmt: skip
    assert len(log_of(flat).groups) == 1


def middle_alone():
    return by_act(reply=0, work="x")


def test_members_vote_in_a_group():
    lead = by_act(
        team_up=up("team_up", names=["b", "c"]),
        speak=[say("proposal", options=["red", "blue"]), say("conclude")],
        vote=1,
        final=0,
    )
    outcome = decide(team_of([lead, by_act(reply=0, vote=1), by_act(reply=0, vote=lambda obs: None)], Forming()))
    assert log_of(outcome).groups[0].decisions[0].tally == (0, 2)


@pytest.mark.parametrize(("by", "who"), [("words", "d"), ("random", None)])
def test_the_engine_leads(by, who):
    worker = by_act(reply=0, work=lambda obs: obs.path[1] and "found")
    team = team_of([2, worker, worker, worker], Forming(about={"d": "turn one"}, lead="engine", by=by, depth=0))
    chosen = set()
    for block in range(8):
        outcome = decide(team, Block(5, block), env=Words_())
        assert [p["act"] for p in posts(outcome)] == ["reply", "work", "answer"]
        chosen.add(posts(outcome)[0]["member"])
        log_of(outcome)
    assert chosen == {who} if who else len(chosen) > 1


class Words_(Quiz):
    """A quiz whose text says "turn"."""

    name = "test/turns"


def test_the_next_best_is_invited_where_one_declines():
    team = team_of([2, by_act(reply=1), by_act(reply=1), by_act(reply=0, work="x")], Forming(lead="engine", depth=0))
    outcome = decide(team)
    assert [p["member"] for p in posts(outcome)] == ["b", "c", "d", "d", "a"]
    alone = decide(team_of([2, *[by_act(reply=1)] * 3], Forming(lead="engine", attempts=2)))
    assert [p["member"] for p in posts(alone)] == ["b", "c", "a"] and log_of(alone).groups[0].members == ("a",)


def test_most_is_kept():
    busy = by_act(
        team_up=up("team_up", names=["b"]),
        reply=0,
        speak=say("assign_sync", "b", "more"),
        alone=1,
        sum_up="x",
        work="x",
        final=1,
    )
    outcome = decide(make_team([Member("a", busy), Member("b", by_act(
        team_up=up("team_up", names=["a"]), reply=0, speak=say("assign_sync", "a", "more"), alone=1, sum_up="x", work="x", final=1))],
        Forming(depth=3, most=30)))  # fmt: skip
    assert len(posts(outcome)) <= 30 and outcome.counts["p0"]["pruned"] > 0 and played(outcome)[0] == "bee"
    assert max(g.depth for g in log_of(outcome).groups) == 3


# -- threads -----------------------------------------------------------------------------------------


def plan(*to, text="do it"):
    return {"plan": text, "to": list(to)}


def team_of_threads(mark, change, planner=None, **settings):
    """Planner a, critic b, workers c, d, e, of whom each answers its place."""
    lead = by_act(plan=planner or plan("c"), change=0, ballot=0, close="so far")
    workers = [by_act(answer=i, change=c, ballot=0) for i, c in enumerate(change)]
    return team_of([lead, by_act(mark=mark, ballot=0), *workers], Threads(**settings))


def test_who_is_not_mentioned_is_not_asked():
    outcome = decide(team_of_threads(0, [0, 0, 0]))
    assert order(outcome) == [(0, "a", "plan"), (1, "c", "answer"), (2, "b", "mark")] and played(outcome)[0] == "ape"
    assert vote(outcome)["worked"] == vote(outcome)["accepted"] == ["c"]
    assert threads.ready(board_of(outcome)) == ()


def test_a_worker_takes_over_and_all_vote():
    """c answers, is not accepted; e proposes itself, d nobody; all vote between two answers."""
    outcome = decide(team_of_threads([1, 0], [0, 0, 2], replan="workers"))
    acts = [
        ("a", "plan"),
        ("c", "answer"),
        ("b", "mark"),
        ("d", "change"),
        ("e", "change"),
        ("e", "answer"),
        ("b", "mark"),
    ]
    assert [o[1:] for o in order(outcome)] == [*acts, *[(m, "vote") for m in "abcde"]]
    second = posts(outcome)[5]
    assert second["sees"] == [] and set(second["told"]) == {0, 1, 2, 3, 4}  # the closed part is its summary
    board = board_of(outcome)
    assert board.threads[0].closed and board.threads[0].summary == "c: ape (uncertain)"
    whole = decide(team_of_threads([1, 0], [0, 0, 2], replan="workers", summary="none"))
    assert posts(whole)[5]["sees"] == [0, 1, 2, 3, 4] and len(board_of(whole).threads) == 1


@pytest.mark.parametrize(
    ("replan", "asked"),
    [("all", ["a", "d", "e"]), ("workers", ["d", "e"]), ("planner", ["a"]), ("nobody", [])],
)
def test_who_may_change_the_plan(replan, asked):
    outcome = decide(team_of_threads(1, [0, 0, 0], replan=replan))
    assert [p["member"] for p in posts(outcome) if p["act"] == "change"] == asked


def test_the_planner_sums_up_where_it_is_asked_to():
    outcome = decide(team_of_threads([1, 0], [0, 0, 2], summary="planner"))
    assert board_of(outcome).threads[0].summary == "so far" and [p["act"] for p in posts(outcome)].count("summary") == 1


def test_a_rule_decides_on_the_votes():
    lead = by_act(plan=plan("c", "d"), ballot=1)
    team = [lead, by_act(mark=1, ballot=1), by_act(answer=2, ballot=0), by_act(answer=3, ballot=0)]
    tied = decide(team_of(team, Threads(changes=0, rule={"name": "majority"}, otherwise="")))
    assert "majority reached no decision" in fault(tied)
    lead2 = by_act(plan=plan("c", "d"), ballot=1)
    won = decide(
        team_of(
            [lead2, by_act(mark=1, ballot=1), by_act(answer=2, ballot=1), by_act(answer=3, ballot=0)],
            Threads(changes=0),
        )
    )
    assert played(won)[0] == "dog" and vote(won)["tally"] == [3.0, 1.0]


def test_a_planner_that_fails_leaves_the_plan_to_the_workers():
    outcome = decide(
        team_of([Fault_(), by_act(mark=0, ballot=0), by_act(change=1, answer=3), by_act(change=0)], Threads())
    )
    assert played(outcome)[0] == "dog" and outcome.counts["p0"]["member_faults"] == 2


def Fault_():
    return lambda obs: Fault("error", "no line")


# -- both --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "protocol", [Forming(depth=2), Forming(lead="engine"), Threads(changes=3), Threads(summary="planner", changes=2)]
)
@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_any_members_come_to_an_end_within_the_plan(protocol, n):
    for block in range(8):
        outcome = decide(team_of([any_form(lambda obs: obs.pick(4))] * n, protocol), Block(3, block))
        assert (
            0 < outcome.counts["p0"]["asks"] <= protocol.calls(n) and outcome.counts["p0"].get("member_faults", 0) == 0
        )
        (log_of if isinstance(protocol, Forming) else board_of)(outcome)


@pytest.mark.parametrize("protocol", [Forming(depth=2), Forming(lead="engine"), Threads(changes=2)])
def test_the_order_of_arrival_changes_nothing(protocol):
    import asyncio

    for block in range(4):
        answer = any_form(lambda obs: obs.pick(4))
        late = make_team([Late(x, answer) for x in "abcd"], protocol)
        found = asyncio.run(aio(play(Quiz(), {"p0": late}, Block(2, block))))
        plain = decide(make_team([Member(x, answer) for x in "abcd"], protocol), Block(2, block))
        assert (found.mind, found.world, vote(found)) == (plain.mind, plain.world, vote(plain))


@pytest.mark.parametrize("protocol", [Forming(depth=1), Threads(changes=2)])
def test_in_a_silent_team_nobody_is_shown_anything(protocol):
    secret = "MADE-UP-WORDS"

    def leaky(obs):
        value = any_form(lambda o: o.pick(4))(obs)
        if obs.spec.kind == "text":
            return secret
        if isinstance(value, dict):
            return {k: secret if k in ("text", "plan", "query") else v for k, v in value.items()}
        return value

    for silent in (True, False):
        shown = []
        for block in range(6):
            mine = members(*[leaky] * 4)
            outcome = decide(make_team(mine, protocol, silent=silent), Block(4, block))
            shown += [bool(a["posts"]) or secret in a["brief"] for m in mine for a in m.asked]
            assert not silent or all(p["sees"] == [] and "told" not in p for p in posts(outcome))
        assert any(shown) != silent


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: Forming(k=0), "k = 0"),
        (lambda: Forming(depth=-1), "depth = -1"),
        (lambda: Forming(most=1), "most = 1"),
        (lambda: Threads(changes=-1), "changes = -1"),
        (lambda: team_of([0, 1], Forming(about={"zz": "x"})), 'unknown member "zz"'),
        (lambda: team_of([0, 1], Threads(about={"zz": "x"})), 'unknown member "zz"'),
    ],
)
def test_wrong_settings(made, words):
    with pytest.raises(CrossplayError, match=words):
        made()


def test_cards_may_be_tables():
    lead = Member(
        "a",
        by_act(
            team_up=[up("search", "adds numbers"), up("team_up", names=["c"])],
            speak=say("conclude"),
            final=lambda o: Action(1),
        ),
    )
    about = {"c": {"description": "Knows maths.", "skills": [{"name": "sums", "description": "adds numbers"}]}}
    decide(team_of([lead, 0, by_act(reply=0)], Forming(about=about, k=1)))
    assert "- c: Knows maths. sums: adds numbers" in lead.asked[1]["brief"]


def test_what_is_no_answer_is_read_as_words():
    """A mark is no option of the seat, although both are numbers; nor is an order."""
    from crossplay.agents.prompt import talked

    read = []

    def second(obs):
        read.append(talked(obs))
        return 3

    lead = by_act(plan=plan("c"), ballot=0, change=0)
    decide(team_of([lead, by_act(mark=1, ballot=0), 1, by_act(answer=second, change=1, ballot=0), by_act(change=0, ballot=0)],
                   Threads(summary="none", replan="workers")))  # fmt: skip
    assert (
        "- a (plan): do it For: c." in read[0] and "- c (answer bee)" in read[0] and "- b (mark): uncertain" in read[0]
    )
    boss = by_act(
        team_up=up("team_up", names=["b"]), speak=[say("assign_sync", "b", "count"), say("conclude")], final=second
    )
    decide(team_of([boss, by_act(reply=0, work="2")], Forming(depth=0)))
    assert "- you (speak): assign_sync (b): count\n- b (work, answer 2)" in read[-1]
