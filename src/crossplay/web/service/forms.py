"""What a new study can be made of, and what is known of one that is being written."""

from __future__ import annotations

from typing import Any

import msgspec

from crossplay.kernel import CrossplayError
from crossplay.study.drafts import (
    AgentForm,
    Draft,
    EnvForm,
    Family,
    ModelForm,
    StudyForm,
    agent_forms,
    check_draft,
    draft_of_text,
    env_form,
    families,
    model_forms,
    study_form,
)
from crossplay.web.api import Route
from crossplay.web.aside import aside
from crossplay.web.desk import Desk

__all__ = ["ROUTES", "checked"]

LONGEST = 1 << 20
"""Characters of a study file at most."""


class Environments(msgspec.Struct):
    """The families of environments that are installed here."""

    families: list[Family]


class Agents(msgspec.Struct):
    """agents: the types that are installed here. models: those that agents can name without a table of their own."""

    agents: list[AgentForm]
    models: list[ModelForm]


class Written(msgspec.Struct):
    """A study, as text or as its tables (then toml is ""). plan: whether to reckon what it will play and cost."""

    toml: str = ""
    study: dict[str, Any] = {}
    plan: bool = True


class Text(msgspec.Struct):
    """The text of a study file."""

    toml: str


def environments(desk: Desk) -> Environments:
    """The families of environments that are installed, with their names."""
    found: Environments = desk.kept("forms environments", 0, lambda: Environments(aside(desk, families)))
    return found


def environment(desk: Desk, name: str) -> EnvForm:
    """One environment, e.g. kitchen/cramped_room: its options as JSON schema, clock, seats, views, scores, rules."""
    found: EnvForm = desk.kept(("forms environment", name), 0, lambda: aside(desk, env_form, name))
    return found


def agents(desk: Desk) -> Agents:
    """The types of agents that are installed, their options as JSON schema; and the models of the catalogue."""
    found = desk.kept("forms agents", 0, agent_forms)
    return Agents(found, model_forms())


def studies(desk: Desk) -> StudyForm:
    """Templates of lineups, studies to begin with, and JSON schemas of what else a study says."""
    found: StudyForm = desk.kept("forms studies", 0, study_form)
    return found


def validate(desk: Desk, body: Written) -> Draft:
    """Say all that is wrong with a study, by place and with the nearest valid name; or else what it will play and cost.

    Code, commands, files, keys and addresses beyond this machine cannot be named: `refused` says so.
    """
    return checked(desk, body)


def parse(desk: Desk, body: Text) -> Draft:
    """Read the text of a study file into the tables that forms show."""
    return draft_of_text(_short(body.toml))


def checked(desk: Desk, body: Written) -> Draft:
    """The draft of what was written, with its own text where it is text."""
    if bool(body.toml) == bool(body.study):
        raise CrossplayError("give either toml or study")
    if not body.toml:
        return aside(desk, check_draft, body.study, body.plan)
    read = draft_of_text(_short(body.toml))
    if read.problems and not read.study:
        return read
    found = aside(desk, _check_text, body.toml, body.plan)
    found.toml = body.toml
    return found


def _check_text(text: str, plan: bool) -> Draft:
    import tomllib

    return check_draft(tomllib.loads(text), plan)


def _short(text: str) -> str:
    if len(text) > LONGEST:
        raise CrossplayError(f"a study file has {LONGEST} characters at most")
    return text


ROUTES = [
    Route("GET", "/schemas/environments", environments),
    Route("GET", "/schemas/environments/{name:path}", environment),
    Route("GET", "/schemas/agents", agents),
    Route("GET", "/schemas/studies", studies),
    Route("POST", "/studies/validate", validate),
    Route("POST", "/studies/parse", parse),
]
