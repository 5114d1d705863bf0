"""Drafts: studies that somebody is writing, and what can be put into them, as plain data for forms.

Whatever is installed says itself what it takes (JSON schema), so nothing here knows one environment or agent from
another. Environments are made to be looked at: whoever serves others does that in a process of its own.
"""

from __future__ import annotations

import contextlib
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

import msgspec

from crossplay.kernel import Conduct, CrossplayError, entries, load, make_env, split_name
from crossplay.study.plain import Problem, env_problems, plain_problems
from crossplay.study.plan import Plan, make_plan
from crossplay.study.problems import place_of, problems
from crossplay.study.spec import Controls, EnvSpec, LineupSpec, Question, Study, parse_study
from crossplay.study.stage import Stage
from crossplay.study.templates import expert_of

__all__ = [
    "AgentForm", "Draft", "EnvForm", "Family", "Lineup", "ModelForm", "StudyForm", "Template",
    "agent_forms", "check_draft", "draft_of_text", "env_form", "families", "long_form", "model_forms", "study_form", "to_toml",
]  # fmt: skip

DEEPEST = 32
"""Nesting of a study at most."""
EXACT = (1 << 53) - 1
"""Whole numbers up to here are the same to everybody who reads JSON."""
CLOCK = {
    "type": "string",
    "default": "wait",
    "pattern": r"^(wait|deadline: *[0-9.]+|tick: *[0-9.]+)$",
    "description": "wait: the world waits for answers; deadline: S: each has S seconds; tick: HZ: so many ticks a second",
    "examples": ["wait", "deadline: 10", "tick: 5"],
}
ORDER = ("study", "environments", "agents", "models", "lineups", "questions", "conduct", "budget", "controls", "people")


class Family(msgspec.Struct):
    """A family of environments. names: what stands after the family's name; open: other names may stand there too.
    expert: the type of the scripted agent that studies show as the ceiling. error: why it cannot be used here.
    """

    family: str
    about: str
    names: list[str]
    open: bool = False
    expert: str | None = None
    error: str = ""


class EnvForm(msgspec.Struct):
    """An environment as forms show it.

    options: JSON schema of an object. elsewhere: those of them that only a study file on this machine may set.
    views: what each leaves out. scores: what each is. paired: whether chance stays common after the first move.
    """

    name: str
    id: str
    about: str
    options: dict[str, Any]
    elsewhere: list[str]
    clock: dict[str, Any]
    seats: list[str]
    horizon: int | None
    views: dict[str, str]
    scores: dict[str, str]
    paired: str
    expert: str | None
    skills: list[str]


class AgentForm(msgspec.Struct):
    """A type of agent as forms show it.

    plain: whether a study that comes from elsewhere may name it. after: what may follow the type, "type:...": nothing,
    one of `names`, plain words, an agent, or a model. elsewhere: options that only a file on this machine may set.
    """

    type: str
    about: str
    options: dict[str, Any]
    plain: bool
    after: Literal["nothing", "names", "words", "agent", "model"] = "nothing"
    names: list[str] = []
    elsewhere: list[str] = []
    error: str = ""


class ModelForm(msgspec.Struct):
    """A model that agents can name. here: whether its file is on this machine."""

    name: str
    about: str
    here: bool


class Template(msgspec.Struct):
    """A template of lineups, or a study to begin with (toml)."""

    name: str
    about: str
    toml: str = ""


class StudyForm(msgspec.Struct):
    """What else a study says: templates of lineups, studies to begin with, JSON schemas of its tables."""

    templates: list[Template]
    examples: list[Template]
    head: dict[str, Any]
    lineup: dict[str, Any]
    question: dict[str, Any]
    controls: dict[str, Any]
    budget: dict[str, Any]
    conduct: dict[str, Any]
    protocols: list[str]
    topologies: list[str]


class Lineup(msgspec.Struct):
    """A lineup of the resolved study: role "" for those that are asked about, else control, solo or dev."""

    name: str
    seats: list[str]
    role: str


class Draft(msgspec.Struct):
    """What is known of a study that is being written.

    problems: what is wrong, by place. study: its tables in the long form that forms show. toml: the same as text.
    The rest is there where nothing is wrong: resolved: the study with templates and controls written out; digest: of
    it; seats: of each environment; lineups; plan: what it will play, call and cost.
    """

    problems: list[Problem]
    study: dict[str, Any]
    toml: str = ""
    resolved: str = ""
    digest: str = ""
    metric: str = ""
    metrics: list[str] = []
    baseline: str = ""
    seats: dict[str, list[str]] = {}
    lineups: list[Lineup] = []
    plan: Plan | None = None


# -- what there is ----------------------------------------------------------------------------------------
def families() -> list[Family]:
    """The families of environments that are installed; whatever fails says why."""
    found = []
    for name in entries("envs"):
        try:
            family = load("envs", name, "environment")
            names = list(family.names())
            expert = getattr(family, "expert", None)
            told = expert if isinstance(expert, str) else None
            found.append(Family(name, family.summary, names, hasattr(family, "plain"), told))
        except Exception as error:  # one broken package takes no other environment away
            found.append(Family(name, "", [], False, None, f"{error}"))
    return found


def env_form(name: str) -> EnvForm:
    """The form of an environment, made with its default options. Raises `CrossplayError` for what may not be named."""
    wrong = env_problems(EnvSpec(name))
    if wrong:
        raise CrossplayError(wrong[0].text)
    family, rest = split_name(name)
    schema = load("envs", family, "environment").schema(rest)
    env = make_env(name)
    try:
        properties, elsewhere = _settable(schema.get("properties", {}))
        return EnvForm(
            name, env.id, env.rules, {**schema, "properties": properties}, elsewhere, CLOCK, list(env.seats), env.horizon,
            {v: env.omits(v) for v in env.views}, {k: str(v) for k, v in env.metrics.items()}, env.paired, expert_of(name),
            list(env.skills.names) if env.skills else [],
        )  # fmt: skip
    finally:
        env.close()


def agent_forms() -> list[AgentForm]:
    """The types of agents that are installed."""
    from crossplay.agents.context import options_schema

    found = []
    for kind in entries("agents"):
        try:
            factory = load("agents", kind, "agent")
        except CrossplayError as error:
            found.append(AgentForm(kind, "", {"type": "object", "properties": {}}, False, error=str(error)))
            continue
        schema = options_schema(factory)
        properties, elsewhere = _settable(schema["properties"])
        rule = getattr(factory, "plain", None)
        names = list(rule() if callable(rule) else rule) if rule and not isinstance(rule, str) else []
        after: Any = rule if isinstance(rule, str) else "names" if names else "nothing"
        about = (factory.__doc__ or "").strip().split("\n")[0]
        told = {**schema, "properties": properties}
        found.append(AgentForm(kind, about, told, rule is not None, after, names, elsewhere))
    return found


def model_forms() -> list[ModelForm]:
    """The models that agents can name without a table of their own."""
    from crossplay.models.catalog import status

    found = [ModelForm(s.model.name, s.model.about, s.state == "here") for s in status()]
    return [*found, ModelForm("scripted", "a deterministic double: it answers by a hash of the question", True)]


def study_form() -> StudyForm:
    """Everything about studies that is not an environment, an agent or a model."""
    from importlib.resources import files

    from crossplay.teams.topology import TOPOLOGIES

    folder = files("crossplay.study") / "studies"
    texts = sorted((f.name.removesuffix(".toml"), f.read_text("utf-8")) for f in folder.iterdir() if f.name.endswith(".toml"))  # fmt: skip
    examples = [
        Template(name, tomllib.loads(text).get("study", {}).get("description", ""), text) for name, text in texts
    ]
    templates = [
        Template("mix", "every combination of the agents, each of them with random partners and alone"),
        Template("crossplay", "everybody with everybody: every agent in every seat, a payoff matrix"),
    ]
    return StudyForm(
        templates, examples, HEAD, _schema(LineupSpec), _schema(Question), _schema(Controls), BUDGET, _schema(Conduct),
        list(entries("teams")), list(TOPOLOGIES),
    )  # fmt: skip


def _number(about: str, kind: str = "integer", **more: Any) -> dict[str, Any]:
    return {"type": kind, "description": about, **more}


HEAD: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "study", "description": "what the study is called"},
        "description": {"type": "string", "default": "", "description": "what is asked, in a sentence or two"},
        "blocks": _number("blocks, the unit of pairing: all lineups meet the same", minimum=1, default=20),
        "replicates": _number("plays of each lineup in each block", minimum=1, default=1),
        "margin": _number("the smallest difference that matters, in units of the metric", "number", minimum=0),
        "metric": {"type": "string", "description": "the score that is compared; left out: the environment's first"},
        "level": _number("of the intervals", "number", minimum=0.5, exclusiveMaximum=1, default=0.95),
        "baseline": {"type": "string", "description": "the lineup that all others are compared with; left out: the first"},
        "template": {"type": "string", "enum": ["mix", "crossplay"], "description": "lineups made of all agents"},
        "root": _number("the seed of everything", default=0),
        "concurrency": _number("episodes at a time, where models or people are waited for", minimum=1, default=8),
    },
}  # fmt: skip
BUDGET: dict[str, Any] = {
    "type": "object",
    "properties": {
        "calls": _number("calls to models at most", minimum=0),
        "tokens": _number("tokens at most", minimum=0),
        "money": _number("USD at most", "number", minimum=0),
        "wall_s": _number("seconds at most", "number", minimum=0),
    },
}


def _schema(kind: Any) -> dict[str, Any]:
    """JSON schema of a Struct, with the parts that it refers to inside."""
    (schema,), parts = msgspec.json.schema_components([kind], ref_template="{name}")
    return _inside(schema, parts)


def _inside(schema: Any, parts: Mapping[str, Any]) -> Any:
    if isinstance(schema, Mapping):
        if "$ref" in schema:
            return _inside(parts[schema["$ref"]], parts)
        return {k: _inside(v, parts) for k, v in schema.items()}
    return [_inside(v, parts) for v in schema] if isinstance(schema, list) else schema


def _settable(properties: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """(properties as JSON, names of those whose text may lead to files or code)."""
    shown, elsewhere = {}, []
    for name, prop in properties.items():
        shown[name] = {k: _json(v) for k, v in prop.items()}
        kind = prop.get("type", type(prop.get("default")).__name__)
        if "enum" not in prop and "holds" not in prop and kind in ("string", "str", "object", "type", "NoneType"):
            elsewhere.append(name)
    return shown, elsewhere


def _json(value: Any) -> Any:
    """The value where it is JSON data, else how it is written."""
    try:
        return json.loads(json.dumps(value, allow_nan=False))
    except (TypeError, ValueError):
        return str(value)


# -- a draft -------------------------------------------------------------------------------------------------
def draft_of_text(text: str) -> Draft:
    """The tables of a study file, in the long form, with what is wrong in it as far as reading tells."""
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of thousands of digits
        return Draft([Problem([], f"not valid TOML: {error}")], {}, text)
    if too_deep(data):
        return Draft([Problem([], f"tables are nested {DEEPEST} deep at most")], {}, text)
    return Draft([*too_exact(data), *problems(data)], long_form(data), text)


def too_deep(data: Any) -> bool:
    """Whether tables and lists are nested deeper than `DEEPEST`."""
    level = [data]
    for _ in range(DEEPEST):
        level = [v for one in level for v in _inner(one) if isinstance(v, (dict, list))]
    return bool(level)


def too_exact(data: Any, place: tuple[str | int, ...] = ()) -> Iterator[Problem]:
    """Numbers that a form cannot hold: it would write others into the study than were read."""
    if isinstance(data, (dict, list)):
        for key, inside in data.items() if isinstance(data, dict) else enumerate(data):
            yield from too_exact(inside, (*place, key))
    elif isinstance(data, int) and abs(data) > EXACT:
        yield Problem([*place], f"{data} has more digits than a browser keeps; play this study from the command line")


def _inner(data: Any) -> Iterable[Any]:
    return data.values() if isinstance(data, dict) else data


def check_draft(data: Mapping[str, Any], plan: bool = True) -> Draft:
    """All that can be said of a study before it is played. Nothing but plain data is accepted (`study.plain`)."""
    if too_deep(data):
        return Draft([Problem([], f"tables are nested {DEEPEST} deep at most")], {})
    draft = Draft([*too_exact(data), *problems(data)], long_form(data), to_toml(data))
    if draft.problems:
        draft.problems += _of_the_rest(draft)
        draft.seats = _seats(draft.study["environments"])
        return draft
    try:
        study = parse_study(data)
        draft.problems = plain_problems(study)
        if not draft.problems:
            _resolve(draft, study, plan)
    except CrossplayError as error:
        from crossplay.agents.context import NeedsTrust

        draft.problems = [Problem(place_of(str(error)), str(error), isinstance(error, NeedsTrust))]
    if not draft.seats:
        draft.seats = _seats(draft.study["environments"])
    return draft


def _of_the_rest(draft: Draft) -> list[Problem]:
    """What else is wrong in the environments, agents and models that can be read."""
    bad = {tuple(p.place[:2]) for p in draft.problems}
    kept = {
        part: {k: v for k, v in _table(draft.study.get(part)).items() if (part, k) not in bad and (part,) not in bad}
        for part in ("environments", "agents", "models", "controls")
    }
    kept["environments"] = kept["environments"] or {"any": {"name": "spread"}}
    try:
        return plain_problems(parse_study(kept))
    except CrossplayError:
        return []


def _seats(environments: Mapping[str, Any]) -> dict[str, list[str]]:
    """The seats of those environments that can be made, whatever else is wrong."""
    found = {}
    for label, table in environments.items():
        with contextlib.suppress(CrossplayError, msgspec.ValidationError):
            spec = msgspec.convert(table, EnvSpec)
            if not env_problems(spec):
                env = make_env(spec.name, spec.options, spec.clock)
                found[label] = list(env.seats)
                env.close()
    return found


def _resolve(draft: Draft, study: Study, plan: bool) -> None:
    from crossplay.study.stage import _metrics_of

    stage = Stage(study)
    try:
        draft.seats = {label: list(seats) for label, seats in stage.seats.items()}
        names = [_metrics_of(env) for env in stage.probes.values()]
        draft.metrics = [m for m in names[0] if all(m in others for others in names)]
        stage.check()
        draft.resolved, draft.digest = stage.study.toml(), stage.study.digest()
        draft.metric, draft.baseline = stage.metric, stage.study.baseline or ""
        draft.lineups = [Lineup(name, spec.seats, spec.role) for name, spec in stage.study.lineups.items()]
        draft.plan = make_plan(stage) if plan else None
    finally:
        for env in stage.probes.values():
            env.close()
        stage.close()


def to_toml(data: Mapping[str, Any]) -> str:
    """Tables as the text of a study file; what is unset is left out. "" where it cannot be written."""
    import tomli_w

    kept = {k: v for k, v in _set(data).items() if v != {}}
    for part, key in (("environments", "name"), ("agents", "type"), ("lineups", "seats")):
        # TOML writes what is no table first: where some are, all must be, or their order would be another.
        table = _table(kept.get(part))
        if any(isinstance(v, dict) for v in table.values()):
            kept[part] = {k: _filled(v) if isinstance(v, dict) else {key: v} for k, v in table.items()}
    try:
        return tomli_w.dumps({k: kept[k] for k in (*ORDER, *kept) if k in kept})
    except (TypeError, ValueError, RecursionError):
        return ""


def _filled(table: dict[str, Any]) -> dict[str, Any]:
    """A table without empty options: a form holds them where it shows none."""
    return {k: v for k, v in table.items() if k != "options" or v != {}}


def _set(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {str(k): _set(v) for k, v in data.items() if v is not None}
    return [_set(v) for v in data if v is not None] if isinstance(data, (list, tuple)) else data


def long_form(data: Mapping[str, Any]) -> dict[str, Any]:
    """The same study, each thing in the table where forms show it, without what is left at its default."""
    found: dict[str, Any] = dict(data)
    found["study"] = dict(_table(data.get("study")))
    blocks = found["study"].get("blocks")
    if isinstance(blocks, list) and blocks and blocks == list(range(len(blocks))):
        found["study"]["blocks"] = len(blocks)
    if isinstance(data.get("conduct"), Mapping):
        found["conduct"] = {k: v for k, v in data["conduct"].items() if not _is(v, _CONDUCT.get(k, ...))}
    if data.get("questions") == []:
        del found["questions"]
    environments = data.get("environments")
    if isinstance(environments, str):
        environments = [environments]
    if isinstance(environments, list):
        environments = {str(name): str(name) for name in environments}
    found["environments"] = {
        label: {"name": label, **({"name": table} if isinstance(table, str) else _table(table))}
        for label, table in _table(environments).items()
    }
    found["agents"] = {name: _agent(name, table) for name, table in _table(data.get("agents")).items()}
    lineups = data.get("lineups")
    if isinstance(lineups, list):
        lineups = {str(name): str(name).split("+") for name in lineups}
    found["lineups"] = {
        name: {"seats": table} if isinstance(table, list) else {"seats": name.split("+"), **_own(_table(table))}
        for name, table in _table(lineups).items()
    }
    return found


_CONDUCT: dict[str, Any] = _set(msgspec.json.decode(msgspec.json.encode(Conduct())))
_LINEUP = {"orders": "given", "shared_memory": False, "role": ""}


def _is(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)


def _own(lineup: Mapping[str, Any]) -> dict[str, Any]:
    """A lineup without its defaults."""
    return {k: v for k, v in lineup.items() if not _is(v, _LINEUP.get(k, ...))}


def _agent(name: str, table: Any) -> dict[str, Any]:
    if isinstance(table, str):
        return {"type": table}
    flat = {k: v for k, v in _table(table).items() if k != "options"}
    return {"type": name, **_table(_table(table).get("options")), **flat}


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
