"""Honest names: what an agent is, in words, from its manifest; scripted is called scripted, fake is called fake."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from crossplay.kernel import CrossplayError, make_env

if TYPE_CHECKING:
    from crossplay.records import RunFolder
    from crossplay.study.spec import Study
    from crossplay.study.tables import Row

__all__ = ["agent_words", "kind_words", "lineup_words", "of_all", "seat_orders_of"]

KINDS = {
    "script": "scripted",
    "random": "random",
    "policy": "trained policy",
    "llm": "language model",
    "vlm": "vision-language model",
    "human": "person",
    "remote": "outside agent",
    "team": "team",
    "single": "team in one conversation",
    "recorded": "recorded",
}


def kind_words(kind: str) -> str:
    """A kind of agent in words."""
    return KINDS.get(kind, kind or "unknown")


def of_all(sources: Iterable[Mapping[str, Any]], part: str = "agents") -> dict[str, Any]:
    """The agents (or models) of all sources of a run by name; what played last counts."""
    found: dict[str, Any] = {}
    for source in sources:
        found.update(source.get(part, {}))
    return found


def agent_words(name: str, study: Study, manifests: Mapping[str, Mapping[str, Any]]) -> str:
    """What an agent of a run is: kind, model or checkpoint, and whether that is a stand-in."""
    manifest = manifests.get(name, {})
    spec = study.agents.get(name)
    kind = str(manifest.get("kind", ""))
    words = [kind_words(kind) if manifest else "not seated"]
    if spec is not None and spec.type.startswith("python:"):
        words.append("code of the study's author")
    models = _models(manifest)
    for model in models:
        stand_in = " (a scripted stand-in, no model)" if _is_double(model) else ""
        words.append(f"{model.get('name', '?')}{stand_in}")
    if kind == "policy" and manifest.get("sha256"):
        words.append(f"checkpoint {str(manifest['sha256'])[:12]}")
        if manifest.get("seed") is not None:
            words.append(f"training seed {manifest['seed']}")
    if manifest.get("skilled"):
        words.append("chooses skills")
    return ", ".join(words)


def lineup_words(row: Row, study: Study, manifests: Mapping[str, Mapping[str, Any]]) -> str:
    """What sits in a lineup, seat by seat without repeats, and its role."""
    kinds = []
    for name in study.lineups[row.lineup].seats:
        manifest = manifests.get(name, {})
        word = kind_words(str(manifest.get("kind", "")))
        kinds.append(word + (" (scripted stand-in)" if any(map(_is_double, _models(manifest))) else ""))
    found = " and ".join(dict.fromkeys(kinds))
    return f"{found}; {row.role}" if row.role else found


def _models(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The identities of the models behind an agent; of a team, those of its members."""
    if isinstance(manifest.get("members"), Mapping):
        of_members = [m for member in manifest["members"].values() for m in _models(member)]
        return list({str(m.get("name")): m for m in of_members}.values())
    found, names = manifest.get("model"), list(manifest.get("models", ()))
    if isinstance(found, Mapping):
        return [{"name": names[0] if names else "?", **found}]
    return [m if isinstance(m, dict) else {"name": str(m)} for m in ([found] if found else names)]


def _is_double(model: Mapping[str, Any]) -> bool:
    return model.get("backend") == "scripted" or str(model.get("name", "")).startswith("fake-")


def seat_orders_of(run: RunFolder, study: Study) -> dict[str, tuple[str, ...]]:
    """Cell -> its seats in the order of its environment.

    Read from the cell where the run tells it, else from the installed environment of the same id,
    else by name (a run folder keeps seats by name, not in order).
    """
    asked: dict[str, tuple[str, ...]] = {}
    found = {}
    for cell in run.cells():
        label = cell.extra.get("env", "")
        if cell.env_id not in asked and label in study.environments:
            spec = study.environments[label]
            try:
                env = make_env(spec.name, spec.options, spec.clock)
                if env.id == cell.env_id:
                    asked[cell.env_id] = tuple(env.seats)
                env.close()
            except CrossplayError:
                pass  # not installed here: the names have to do
        told = tuple(cell.extra.get("seats", ())) or asked.get(cell.env_id, ())
        found[cell.name] = told if sorted(told) == sorted(cell.agents) else tuple(sorted(cell.agents))
    return found
