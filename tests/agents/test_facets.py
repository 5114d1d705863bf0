"""Facets of agents: the rules on kinds and settings, declarations, and that nothing else of a manifest changes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossplay.agents import Context, make_agent
from crossplay.agents.facets import VOCABULARY, agent_facets, check_facets, described
from crossplay.kernel import CrossplayError


def facets(spec):
    agent = make_agent(spec, Context())
    return described(agent.manifest(), agent)["facets"]


def test_known_agents():
    llm = facets("llm:scripted")
    assert llm["brain"] == "model" and llm["core"] == "active"
    assert llm["modules"] == ["planning", "memory", "profile", "action"] and llm["perception"] == ["text", "messages"]
    assert facets({"type": "llm:scripted", "memory": 0})["core"] == "passive"
    tools = facets({"type": "llm:scripted", "tools": ["calculator"], "guards": ["privacy"], "talk": True})
    assert tools["action"] == ["choice", "words", "tools"] and "security" in tools["modules"]
    assert facets("vlm:scripted")["perception"] == ["image", "messages"]
    assert facets("random") == {
        "brain": "chance",
        "perception": ["data"],
        "action": ["choice"],
        "modules": ["action"],
        "core": "passive",
    }
    assert facets("chef")["brain"] == "script"
    policy = facets("policy:kitchen/cramped_room-1")
    assert policy["brain"] == "network" and policy["core"] == "passive" and "array" in policy["perception"]
    assert facets("human")["core"] == "active"
    skilled = facets({"type": "llm:scripted", "skills": True})
    assert skilled["action"] == ["choice", "skills"] and skilled["core"] == "active"


MANIFESTS = st.fixed_dictionaries(
    {"kind": st.sampled_from(["llm", "vlm", "policy", "human", "script", "random", "team", "remote", "other"])},
    optional={
        "settings": st.fixed_dictionaries({}, optional={"memory": st.integers(0, 3), "talk": st.booleans()}),
        "tools": st.just({"given": ["x"]}),
        "guards": st.just([{"name": "privacy"}]),
        "skilled": st.booleans(),
    },
)


@given(MANIFESTS, st.lists(st.sampled_from(VOCABULARY["perception"].words[:4]), min_size=1, unique=True))
def test_every_manifest_has_facets_of_the_vocabulary(manifest, views):
    found = agent_facets(manifest, views)
    assert check_facets(found, VOCABULARY) == found and set(found) == set(VOCABULARY)
    full = {"planning", "memory", "profile"} <= set(found["modules"])
    assert found["core"] == ("active" if full else "passive")
    assert ("security" in found["modules"]) == ("guards" in manifest)


def test_declared_facets_override_and_are_checked():
    found = facets({"type": "random", "facets": {"core": "active", "modules": ["planning", "action"]}})
    assert found["core"] == "active" and found["modules"] == ["planning", "action"] and found["brain"] == "chance"
    assert facets({"type": "llm:scripted", "skills": True, "facets": {"core": "passive"}})["core"] == "passive"
    for wrong, why in (
        ({"cor": "active"}, 'agents."x": facets: unknown facet "cor". Did you mean "core"?'),
        ({"core": "activ"}, 'core: unknown word "activ". Did you mean "active"?'),
        ({"core": ["active"]}, "unknown word"),
        ({"modules": ["plan"]}, 'modules: unknown word "plan"'),
        ({"structure": "centralised"}, 'unknown facet "structure"'),
        ("active", "must be a table"),
    ):
        with pytest.raises(CrossplayError) as caught:
            make_agent({"type": "random", "facets": wrong}, Context(), "x")
        assert why in str(caught.value)


def test_a_declaration_belongs_to_one_agent():
    one = make_agent({"type": "random", "facets": {"core": "active"}}, Context())
    other = make_agent("random", Context())
    assert one.facets and not other.facets
    assert {**one.manifest()} == {**other.manifest()}
