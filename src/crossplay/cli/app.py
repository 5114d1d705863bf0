"""The commands and where they live."""

from __future__ import annotations

from cyclopts import App, Group

import crossplay

__all__ = ["app"]

app = App(
    name="crossplay",
    help="Mix RL policies, language models, people, scripts and teams in the same environments under the same seeds.",
    version=crossplay.__version__,
    help_format="plaintext",
)
_studies, _look, _more = (
    Group.create_ordered("Studies"),
    Group.create_ordered("Look around"),
    Group.create_ordered("Train and play"),
)

for name, group in (
    ("demo", _studies),
    ("run", _studies),
    ("show", _studies),
    ("verify", _studies),
    ("replay", _studies),
    ("report", _studies),
    ("team", _studies),
    ("sweep", _studies),
    ("ablate", _studies),
    ("merge", _studies),
    ("export", _studies),
    ("withdraw", _studies),
    ("train", _more),
    ("play", _more),
    ("call", _more),
    ("doctor", _look),
):
    where = {
        "train": "training",
        "play": "playing",
        "replay": "playing",
        "doctor": "looking",
        "demo": "studies",
        "call": "models",
        "team": "teams",
        "sweep": "teams",
        "ablate": "teams",
    }.get(name, "studies")
    app.command(f"crossplay.cli.{where}:{name}", name=name, group=group)

env = App(name="env", help="Environments: list, show, check.", group=_look)
env.command("crossplay.cli.looking:env_list", name="list")
env.command("crossplay.cli.looking:env_show", name="show")
env.command("crossplay.cli.looking:env_check", name="check")
app.command(env)

agent = App(name="agent", help="Agents: list.", group=_look)
agent.command("crossplay.cli.looking:agent_list", name="list")
app.command(agent)

models = App(name="models", help="Models: list, pull, add, probe, bench.", group=_look)
models.command("crossplay.cli.models:models_list", name="list")
models.command("crossplay.cli.models:models_pull", name="pull")
models.command("crossplay.cli.models:models_add", name="add")
models.command("crossplay.cli.models:models_probe", name="probe")
models.command("crossplay.cli.models:models_bench", name="bench")
app.command(models)

cassette = App(name="cassette", help="Cassettes: export, import.", group=_studies)
cassette.command("crossplay.cli.cassettes:cassette_export", name="export")
cassette.command("crossplay.cli.cassettes:cassette_import", name="import")
app.command(cassette)

gallery = App(name="gallery", help="Published systems: list, show, check, run.", group=_studies)
for verb in ("list", "show", "check", "run", "page"):
    gallery.command(f"crossplay.cli.gallery:gallery_{verb}", name=verb)
app.command(gallery)

_open = Group.create_ordered("Open to others")
seat = App(name="seat", help="Open seats to outside parties: mcp.", group=_open)
seat.command("crossplay.cli.seats:seat_mcp", name="mcp")
app.command(seat)
app.command("crossplay.cli.serving:serve", name="serve", group=_look)
app.command("crossplay.cli.serving:serve_agent", name="serve-agent", group=_open)
app.command("crossplay.cli.serving:serve_env", name="serve-env", group=_open)

worker = App(name="worker", help="Agents in processes of their own: check, envs, env.", group=_open)
worker.command("crossplay.cli.workers:worker_check", name="check")
worker.command("crossplay.cli.jobs:worker_envs", name="envs")
env_of = App(name="env", help="Interpreters for workers: create, list.")
env_of.command("crossplay.cli.worker_envs:worker_env_create", name="create")
env_of.command("crossplay.cli.worker_envs:worker_env_list", name="list")
worker.command(env_of)
app.command(worker)

jobs = App(name="jobs", help="Trainings by workers: list, show, tail, stop, resume.", group=_more)
for verb in ("list", "show", "tail", "stop", "resume"):
    jobs.command(f"crossplay.cli.jobs:jobs_{verb}", name=verb)
app.command(jobs)
