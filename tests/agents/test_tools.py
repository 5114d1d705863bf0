"""Tools of agents: schemas, the calculator against Python's own arithmetic, the loop in both forms, faults, replay."""

import ast
import asyncio
import json
import math
import time
from pathlib import Path

import pytest
import tools_beside
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from crossplay.agents import Context, Llm, make_agent
from crossplay.agents.calculator import FUNCTIONS, calculator
from crossplay.agents.context import NeedsTrust
from crossplay.agents.tool_loop import wrapped_schema
from crossplay.agents.tools import AT_ONCE, LONGEST, BadArguments, FunctionTool, Toolbox, ToolError, make_toolbox
from crossplay.kernel import ActionSpec, Block, Conduct, CrossplayError, Env, Lineup, Usage, aio, pack, play, unpack
from crossplay.models import Door, Reply, ScriptedBackend, ToolCall
from crossplay.models.types import Capabilities
from crossplay.records.cassette import Cassette

HERE = Path(__file__).parent


class Sum(Env):
    """One question, answered in text."""

    name, horizon, rules, views, seats = "sum", 1, "Give the value of 17 * 23.", ("data", "text"), ("p0",)

    def __init__(self, spec=None):
        self._spec = spec or ActionSpec("text", max_len=400)

    def reset(self, key, task=None):
        self.t, self.said = 0, None

    def to_act(self):
        return self.seats

    def ended(self):
        return "terminal" if self.t else None

    def spec(self, seat):
        return self._spec

    def data(self, seat):
        return {"question": "17 * 23"}

    def step(self, actions, mail):
        self.t, self.said = 1, actions["p0"]
        return [float(str(self.said) == "391")]

    def score(self):
        return {"right": float(str(self.said) == "391")}

    def snapshot(self):
        return pack([self.t, self.said])

    def restore(self, snapshot):
        self.t, self.said = unpack(snapshot)


class Native(ScriptedBackend):
    """A double with native tools: replies come from a function of the request."""

    def __init__(self, reply, name="m"):
        super().__init__(name, capabilities={"tools": True, "json_schema": True})
        self.reply = reply
        self.seen = []

    def _reply(self, request):
        self.seen.append(request)
        return self.reply(request)


def said(request):
    return [m.text for m in request.messages]


def play_one(door, box, env=None, driver=aio, guards=None, **more):
    agent = Llm(door.model("m"), tools=box, guards=guards, **more)
    episode = play(env or Sum(), Lineup({"p0": agent}), Block(0, 0), Conduct())
    return asyncio.run(driver(episode))


def tool_notes(outcome):
    return [unpack(e[16]) for e in outcome.events if e[3] == "tool"]


def portable(answers):
    """A model that gives these texts in turn, one per request of the decision; what it was asked."""
    asked = []

    def answer(request):
        asked.append(request)
        return answers[min(len(asked), len(answers)) - 1]

    can = {"grammar": True, "json_schema": True}
    return Door({"m": ScriptedBackend("m", answer, capabilities=can)}), asked


def box(*names, door=None, rounds=4, seconds=5.0):
    context = Context(door=door, folder=HERE, trust=True)
    given = [n if n in ("calculator", "python_sandbox") else f"python:tools_beside:{n}" for n in names]
    return make_toolbox(given, context, rounds, seconds)


CALL = '{"tool": "calculator", "arguments": {"expression": "17 * 23"}}'


# -- schemas ---------------------------------------------------------------------------------------
def test_schema_and_texts_come_from_hints_and_docstring():
    tool = FunctionTool(tools_beside.lookup)
    assert tool.name == "lookup" and tool.description == "Looks a word up in a small dictionary."
    assert tool.parameters["required"] == ["word"]
    props = tool.parameters["properties"]
    assert props["word"] == {"type": "string", "description": "the word to look up"}
    assert props["limit"]["minimum"] == 1 and props["limit"]["default"] == 3
    assert props["limit"]["description"] == "how many meanings"
    assert set(props["kind"]["enum"]) == {"noun", "verb"}
    Draft202012Validator.check_schema(tool.parameters)


ARGUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "word": st.one_of(st.text(max_size=4), st.integers()),
        "limit": st.one_of(st.integers(-2, 12), st.floats(allow_nan=False), st.booleans()),
        "kind": st.sampled_from(["noun", "verb", "adverb"]),
        "other": st.none(),
    },
)


@given(ARGUMENTS)
def test_what_the_check_takes_is_what_the_schema_takes(arguments):
    tool = FunctionTool(tools_beside.lookup)
    by_schema = Draft202012Validator(tool.parameters).is_valid(arguments)
    limit = arguments.get("limit")
    if isinstance(limit, float) and limit.is_integer():
        return  # JSON Schema takes 3.0 for a whole number, Python's hints do not
    try:
        tool.check(arguments)
    except BadArguments as error:
        assert not by_schema, (arguments, str(error))
        assert "\n" not in str(error)
    else:
        assert by_schema, arguments


def test_nested_types_become_definitions_that_a_call_resolves():
    tool = FunctionTool(tools_beside.at)
    Draft202012Validator.check_schema(tool.parameters)
    assert asyncio.run(tool.call({"place": {"row": 3, "column": 2}}, 1)) == 32
    inner = wrapped_schema([tool], None)["anyOf"][0]["properties"]["arguments"]
    assert "$ref" not in json.dumps(inner) and inner["properties"]["place"]["properties"]["row"]["type"] == "integer"


def test_functions_that_no_model_could_call_are_refused():
    with pytest.raises(CrossplayError, match="no name that a model could give"):
        FunctionTool(tools_beside.unnamed)
    with pytest.raises(CrossplayError, match="not a function"):
        box("not_a_tool")
    with pytest.raises(CrossplayError, match='has no "lokup".*"lookup"'):
        box("lokup")
    with pytest.raises(CrossplayError, match='"calculator"'):
        make_toolbox(["calculater"], Context())
    with pytest.raises(CrossplayError, match="named twice"):
        make_toolbox(["calculator", "calculator"], Context())


def test_code_of_the_user_needs_trust():
    with pytest.raises(NeedsTrust, match="--trust"):
        make_toolbox(["python:tools_beside:lookup"], Context(folder=HERE))
    with pytest.raises(NeedsTrust, match="--trust"):
        make_agent({"type": "llm:scripted", "tools": ["mcp:anything at all"]}, Context(folder=HERE))


# -- the calculator --------------------------------------------------------------------------------
NUMBERS = st.one_of(st.integers(0, 999).map(str), st.floats(0.001, 999, allow_nan=False).map(repr))
EXPRESSIONS = st.recursive(
    NUMBERS,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from([" + ", " - ", " * ", " / ", " // ", " % "]), inner).map("".join),
        inner.map(lambda s: f"({s})"),
        inner.map(lambda s: f"-{s}"),
        st.tuples(inner, inner).map(lambda p: f"max({p[0]}, {p[1]})"),
        inner.map(lambda s: f"abs({s})"),
    ),
    max_leaves=8,
)


@given(EXPRESSIONS)
@settings(max_examples=200)
def test_the_calculator_agrees_with_python(expression):
    try:
        wanted = eval(expression, {"__builtins__": {"max": max, "abs": abs}})
    except (ZeroDivisionError, OverflowError):
        with pytest.raises(ToolError):
            calculator(expression)
        return
    assert ast.literal_eval(calculator(expression)) == wanted


@given(st.text(max_size=40))
def test_the_calculator_runs_nothing_and_raises_nothing_else(text):
    try:
        float(calculator(text))
    except ToolError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("__import__('os').system('id')", "not allowed|unknown"),
        ("(1).__class__", "not allowed"),
        ("[x for x in (1,)]", "not allowed"),
        ("open('x')", 'unknown function "open"'),
        ("9**9**9**9", "too large"),
        ("10**400000", "too large"),
        ("2.0**5000", "too large"),
        ("(-8) ** 0.5", "not a real"),
        ("1/0", "division by zero"),
        ("factorial(10**9)", "0 to 300"),
        ("comb(10**9, 5)", "0 to 1000"),
        ("lambda: 1", "not allowed"),
        ("True + 1", "not allowed"),
        ("'a' * 3", "not allowed"),
        ("1e400", "not finite"),
        ("1" + "+1" * 300, "longer|too long"),
        ("sqrt(-1)", "math domain|expected a nonnegative"),
        ("max()", "max"),
        ("", "no arithmetic"),
    ],
)
def test_the_calculator_is_bounded(expression, why):
    began = time.process_time()
    with pytest.raises(ToolError, match=why):
        calculator(expression)
    assert time.process_time() - began < 5


def test_the_calculator_knows_its_functions():
    assert calculator("sqrt(2) * pi") == repr(math.sqrt(2) * math.pi)
    assert calculator("10**400 // 10**398") == "100"  # whole numbers stay exact where floats end
    assert calculator("2^10") == "1024" and calculator("comb(10, 3)") == "120"
    text = calculator.__doc__
    assert all(name in text for name in FUNCTIONS)


# -- the loop, portable ----------------------------------------------------------------------------
def test_a_call_by_json_then_the_answer():
    door, asked = portable([CALL, '{"answer": "391"}'])
    outcome = play_one(door, box("calculator", door=door))
    assert outcome.score == {"right": 1.0}
    assert outcome.counts["p0"]["tool_calls"] == 1 and "tool_errors" not in outcome.counts["p0"]
    first, second = asked
    assert "- calculator: Evaluates one arithmetic expression" in said(first)[0]
    assert said(second)[-1].startswith("Result of calculator: 391") and said(second)[-2] == CALL
    kinds = [list(s["properties"]) for s in first.json_schema["anyOf"]]
    assert kinds == [["tool", "arguments"], ["answer"]] and first.grammar is None
    by_door, ours = tool_notes(outcome)
    assert by_door["result"] == "391"
    assert ours == {"called": "calculator", "arguments": {"expression": "17 * 23"}, "shown": "391"}


def test_durations_are_in_a_column_and_in_no_digest():
    minds = set()
    for pause in (0.0, 0.05):
        door, _ = portable(['{"tool": "nap", "arguments": {}}', '{"answer": "391"}'])

        def nap(pause=pause):
            """Naps."""
            time.sleep(pause)
            return "done"

        tool = FunctionTool(lambda: nap(), "nap")
        outcome = play_one(door, Toolbox([tool], door=door))
        walls = [e[15] for e in outcome.events if e[3] == "tool"]
        assert max(walls) >= pause * 1e6
        minds.add(outcome.mind)
    assert len(minds) == 1


def test_rounds_are_bounded_and_the_last_request_offers_no_tools():
    door, asked = portable([CALL] * 3 + ["391"])
    outcome = play_one(door, box("calculator", door=door, rounds=3))
    assert outcome.score == {"right": 1.0} and outcome.counts["p0"]["tool_calls"] == 3
    assert "anyOf" not in asked[-1].json_schema and "No calls are left" in said(asked[-1])[-1]
    door, asked = portable([CALL] * 20)
    outcome = play_one(door, box("calculator", door=door, rounds=2))
    assert outcome.counts["p0"]["tool_calls"] == 2 and outcome.counts["p0"]["tool_calls_refused"] == 2
    assert len(asked) == 4  # two rounds, an answer, one repair
    spent, _, _ = Llm(door.model("m"), tools=box("calculator", rounds=2)).size(_handle())
    assert spent == 4


def _handle():
    from crossplay.kernel.obs import Observation, Scope

    env = Sum()
    env.start(Block())
    return Observation(Scope(env, env.id, Block(), "p0"), "act", 0)


@pytest.mark.parametrize(
    ("call", "line"),
    [
        ('{"tool": "calculater", "arguments": {}}', 'unknown tool "calculater". Did you mean "calculator"?'),
        ('{"tool": "calculator", "arguments": {"expr": "1"}}', "unknown field `expr`"),
        ('{"tool": "calculator", "arguments": {"expression": 7}}', "Expected `str`, got `int` - at `$.expression`"),
        ('{"tool": "calculator", "arguments": "1+1"}', "arguments must be one JSON object"),
        ('{"tool": "calculator"}', "expression"),
        ('{"tool": "calculator", "arguments": {"expression": "1/0"}}', "division by zero"),
        ('{"tool": "broken", "arguments": {}}', "ValueError: no luck today"),
        ('{"tool": "leaves", "arguments": {}}', "SystemExit: 3"),
        ('{"tool": "slow", "arguments": {"seconds": 60}}', "no result within 0.05 s"),
    ],
)
def test_what_goes_wrong_is_one_line_to_the_model_and_counted(call, line):
    door, asked = portable([call, '{"answer": "391"}'])
    outcome = play_one(door, box("calculator", "broken", "leaves", "slow", door=door, seconds=0.05))
    assert outcome.score == {"right": 1.0}
    assert outcome.counts["p0"]["tool_errors"] == 1
    shown = said(asked[1])[-1]
    assert "error: " in shown and line in shown and "\n" not in shown
    assert tool_notes(outcome)[-1]["error"]


def test_long_results_are_cut_and_say_so():
    door, asked = portable(['{"tool": "long", "arguments": {}}', '{"answer": "391"}'])
    play_one(door, box("long", door=door))
    shown = said(asked[1])[-1]
    assert "[cut: 5000 characters in all]" in shown and len(shown.encode()) < LONGEST + 200


def test_async_functions_and_labels():
    env = Sum(ActionSpec("names", ("391", "392", "393"), noop=2))
    env.rules = "Which is 17 * 23?"
    door, asked = portable(['{"tool": "later", "arguments": {"a": 1, "b": 2}}', '{"answer": {"action": "B"}}'])
    outcome = play_one(door, box("later", door=door), env)
    assert said(asked[1])[-1].startswith("Result of later: 3")
    assert [e[5] for e in outcome.events if e[3] == "act"] == [1]
    answer = asked[0].json_schema["anyOf"][-1]["properties"]["answer"]
    assert answer["properties"]["action"]["enum"] == ["A", "B", "C"]


def test_models_without_schemas_are_read_tolerantly():
    answers = ["Let me see.\n```json\n" + CALL + "\n```", "It is clear now: 391"]
    asked = []

    def answer(request):
        asked.append(request)
        return answers[len(asked) - 1]

    door = Door({"m": ScriptedBackend("m", answer, capabilities={})})
    outcome = play_one(door, box("calculator", door=door))
    assert asked[0].json_schema is None
    assert [unpack(e[6]) for e in outcome.events if e[3] == "act"] == ["It is clear now: 391"]


# -- the loop, native ------------------------------------------------------------------------------
def native(calls, then="391"):
    def reply(request):
        results = [m for m in request.messages if m.role == "tool"]
        if request.tool_choice == "none" or len(results) >= len(calls):
            return Reply(text=then, usage=Usage(calls=1))
        return Reply(text="", usage=Usage(calls=1), finish="tool_calls", tool_calls=calls)

    return Native(reply)


def test_native_tools_are_offered_and_answered():
    calls = [ToolCall("c1", "calculator", '{"expression": "17*23"}'), ToolCall("c2", "calculator", "not json")]
    backend = native(calls)
    door = Door({"m": backend})
    outcome = play_one(door, box("calculator", door=door))
    assert outcome.score == {"right": 1.0}
    first, second = backend.seen
    assert [t.name for t in first.tools] == ["calculator"] and first.json_schema is None and first.tool_choice == "auto"
    assert first.tools[0].parameters["required"] == ["expression"]
    assert second.messages[-3].tool_calls == tuple(calls)
    assert [(m.role, m.tool_call_id) for m in second.messages[-2:]] == [("tool", "c1"), ("tool", "c2")]
    assert second.messages[-2].text == "391" and second.messages[-1].text.startswith("error: arguments must be")
    assert outcome.counts["p0"]["tool_calls"] == 2 and outcome.counts["p0"]["tool_errors"] == 1


def test_native_rounds_and_calls_at_once_are_bounded():
    many = [ToolCall(f"c{i}", "calculator", '{"expression": "1"}') for i in range(AT_ONCE + 3)]
    backend = Native(
        lambda r: Reply(text="391", usage=Usage(calls=1), tool_calls=[] if r.tool_choice == "none" else many)
    )
    door = Door({"m": backend})
    outcome = play_one(door, box("calculator", door=door, rounds=2))
    assert outcome.score == {"right": 1.0} and len(backend.seen) == 3
    assert outcome.counts["p0"]["tool_calls"] == 2 * AT_ONCE
    assert outcome.counts["p0"]["tool_calls_refused"] == 6
    assert backend.seen[-1].tool_choice == "none" and backend.seen[-1].tools


# -- records ---------------------------------------------------------------------------------------
@pytest.mark.parametrize("form", ["portable", "native"])
def test_replay_returns_the_recorded_results_and_calls_nothing(tmp_path, form):
    def backend():
        if form == "native":
            return native([ToolCall("c1", "lookup", '{"word": "owl"}')])
        return ScriptedBackend(
            "m",
            lambda r: (
                '{"answer": "391"}' if len(r.messages) > 2 else '{"tool": "lookup", "arguments": {"word": "owl"}}'
            ),
        )

    tools_beside.calls.clear()
    door = Door({"m": backend()}, Cassette(tmp_path))
    live = play_one(door, box("lookup", door=door))
    asyncio.run(door.aclose())
    assert tools_beside.calls == ["owl"]
    door = Door({"m": backend()}, Cassette(tmp_path, mode="strict"))
    again = play_one(door, box("lookup", door=door))
    asyncio.run(door.aclose())
    assert tools_beside.calls == ["owl"]
    assert (again.world, again.mind) == (live.world, live.mind)
    assert again.counts["p0"]["tool_calls"] == 1


def test_failures_are_replayed_too(tmp_path):
    minds = []
    for mode in ("record", "strict"):
        backend = ScriptedBackend(
            "m", lambda r: '{"answer": "391"}' if len(r.messages) > 2 else '{"tool": "broken", "arguments": {}}'
        )
        door = Door({"m": backend}, Cassette(tmp_path, mode=mode))
        outcome = play_one(door, box("broken", door=door))
        asyncio.run(door.aclose())
        minds.append(outcome.mind)
        assert outcome.counts["p0"]["tool_errors"] == 1
        assert "no luck today" in tool_notes(outcome)[-1]["error"]
    assert len(set(minds)) == 1


def test_agents_without_tools_are_as_before():
    door, asked = portable(["391"])
    agent = Llm(door.model("m"))
    assert "tools" not in agent.manifest() and "guards" not in agent.manifest()
    play_one(door, None)
    assert asked[0].json_schema is None and "tool" not in said(asked[0])[0]
    assert asked[0].tools == ()


def test_a_table_makes_an_agent_with_tools():
    context = Context(door=Door({"m": ScriptedBackend("m")}), folder=HERE, trust=True)
    agent = make_agent(
        {"type": "llm:m", "tools": ["calculator", "python:tools_beside:lookup"], "tool_calls": 2, "tool_seconds": 1.5},
        context,
    )
    found = agent.manifest()["tools"]
    assert found["rounds"] == 2 and found["seconds"] == 1.5 and set(found["schemas"]) == {"calculator", "lookup"}
    assert found["given"][1].startswith("python:tools_beside:lookup sha256 ")
    assert agent.tools.door is context.door
    agent.check(Sum(), "p0")


def test_the_sandbox_is_a_tool_where_code_can_be_shut_in():
    from crossplay.envs import sandbox

    if not sandbox.available()[0]:
        with pytest.raises(CrossplayError, match="cannot be shut in"):
            make_toolbox(["python_sandbox"], Context()).connect()
        pytest.skip("the sandbox has no means of isolation on this system")
    tool = make_toolbox(["python_sandbox"], Context()).tools[0]
    assert asyncio.run(tool.call({"code": "print(6 * 7)"}, 20)) == "42"
    with pytest.raises(ToolError, match="ZeroDivisionError"):
        asyncio.run(tool.call({"code": "1 / 0"}, 20))


@pytest.mark.parametrize("rounds", [1, 4])
@pytest.mark.parametrize("can", [{"json_schema": True}, {"tools": True}])
def test_a_plan_knows_the_most_that_a_decision_can_ask(rounds, can):
    asked = []

    def reply(request):
        asked.append(request)
        if can.get("tools"):
            calls = [ToolCall(f"c{i}", "long", "{}") for i in range(AT_ONCE)]
            return Reply(text="", usage=Usage(calls=1), tool_calls=calls)
        return Reply(text='{"tool": "long", "arguments": {}}', usage=Usage(calls=1))

    backend = Native(reply)
    backend.capabilities = Capabilities(**can)
    door = Door({"m": backend})
    agent = Llm(door.model("m"), tools=box("long", "lookup", "calculator", rounds=rounds, door=door))
    calls, tok_in, tok_out = agent.size(_handle())
    asyncio.run(aio(play(Sum(), Lineup({"p0": agent}), Block(0, 0), Conduct())))
    assert len(asked) == calls == rounds + 2
    assert sum(r.bound()[0] for r in asked) <= tok_in and sum(r.max_tokens for r in asked) <= tok_out
