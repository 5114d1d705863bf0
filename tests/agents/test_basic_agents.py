"""The floor agents, agents from the user's own code, and how options are declared."""

from collections import Counter

import pytest

from crossplay.agents import Context, make_agent
from crossplay.agents.context import options, read_options
from crossplay.kernel import ActionSpec, Agent, Block, CrossplayError, Env, Observation
from crossplay.kernel.obs import Scope


class Any1(Env):
    name, seats = "any", ("p0",)

    def __init__(self, spec):
        self._spec = spec

    def spec(self, seat):
        return self._spec


NAMES = ActionSpec("names", ("a", "b", "c", "d"), noop=2)


def obs(spec=NAMES, legal=None, tick=0, block=0):
    return Observation(Scope(Any1(spec), "any@1", Block(0, block), "p0"), "act", tick, legal)


def test_random_is_uniform_over_what_is_legal():
    agent = make_agent("random")
    seen = Counter(agent.act(obs(legal=[True, False, True, True], tick=t)) for t in range(3000))
    assert set(seen) == {0, 2, 3}
    assert all(abs(n - 1000) < 120 for n in seen.values())  # four standard deviations are 103
    assert [agent.act(obs(tick=t)) for t in range(9)] == [agent.act(obs(tick=t)) for t in range(9)]
    assert [agent.act(obs(tick=t)) for t in range(9)] != [agent.act(obs(tick=t, block=1)) for t in range(9)]


@pytest.mark.parametrize(
    "spec",
    [
        ActionSpec("box", low=-2.0, high=3.0, shape=(2, 2)),
        ActionSpec("text", max_len=8),
        ActionSpec("data", schema={"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}),
    ],
)
def test_random_answers_every_kind(spec):
    for tick in range(20):
        spec.check(make_agent("random").act(obs(spec, tick=tick)))


def test_noop_and_first_legal():
    assert make_agent("noop").act(obs()) == 2
    assert make_agent("first-legal").act(obs()) == 0
    assert make_agent("first-legal").act(obs(legal=[False, False, True, True])) == 2
    with pytest.raises(CrossplayError, match="no action that does nothing"):
        make_agent("noop").check(Any1(ActionSpec("names", ("a",))), "p0")
    with pytest.raises(CrossplayError, match=r'agents."k": agent "random" takes nothing after its name, got "x"'):
        make_agent("random:x", name="k")
    with pytest.raises(CrossplayError, match=r'unknown option "seed". It takes none.'):
        make_agent({"type": "random", "seed": 1})


MODULE = """
from crossplay.kernel import Agent

class Mine(Agent):
    def __init__(self, step=1):
        self.step = step
    def act(self, obs):
        return self.step

ready = Mine(3)

def make(step):
    return Mine(step * 2)

def wrong():
    return 5
"""


@pytest.fixture
def context(tmp_path, request):
    name = f"mine_{request.node.name.split('[')[0]}"
    (tmp_path / f"{name}.py").write_text(MODULE)
    return Context(folder=tmp_path, trust=True), name


def test_python_agents(context):
    where, module = context
    assert make_agent(f"python:{module}:Mine", where).act(obs()) == 1
    assert make_agent({"type": f"python:{module}:Mine", "step": 2}, where).act(obs()) == 2
    assert make_agent({"type": f"python:{module}:make", "step": 2}, where).act(obs()) == 4
    one, two = (make_agent(f"python:{module}:ready", where, n) for n in ("one", "two"))
    assert (one.name, two.name, one.act(obs())) == ("one", "two", 3)


@pytest.mark.parametrize(
    ("rest", "table", "says"),
    [
        ("{m}:Mien", {}, 'has no "Mien". Did you mean "Mine"'),
        ("{m}", {}, "expected python:MODULE:OBJECT"),
        ("no_such_module:x", {}, "cannot import no_such_module"),
        ("{m}:Mine", {"stepp": 1}, "stepp"),
        ("{m}:ready", {"step": 1}, "takes no options, got step"),
        ("{m}:wrong", {}, "gave a int, not a"),
    ],
)
def test_python_agents_that_cannot_be(context, rest, table, says):
    where, module = context
    with pytest.raises(CrossplayError) as caught:
        make_agent({"type": f"python:{rest.format(m=module)}", **table}, where, "k")
    assert says in str(caught.value)
    assert str(caught.value).startswith('agents."k": ')
    assert "\n" not in str(caught.value)


def test_code_runs_only_with_trust(context):
    where, module = context
    with pytest.raises(CrossplayError, match="--trust"):
        make_agent(f"python:{module}:ready", Context(folder=where.folder))


def test_declared_options():
    @options(
        n={"type": "integer", "minimum": 1, "default": 2}, mode={"type": "string", "enum": ["x", "y"], "default": "x"}
    )
    def factory(rest, options, context):
        return Agent()

    assert read_options(factory.options, {}, "w") == {"n": 2, "mode": "x"}
    assert read_options(factory.options, {"n": 5}, "w") == {"n": 5, "mode": "x"}
    for given, says in [({"m": 1}, 'unknown option "m"'), ({"n": 0}, "n = 0"), ({"mode": "z"}, "mode = 'z'")]:
        with pytest.raises(CrossplayError, match=f"w: {says}"):
            read_options(factory.options, given, "w")
