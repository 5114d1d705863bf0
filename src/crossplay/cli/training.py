"""The command `train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from crossplay.cli import out

__all__ = ["train"]

Flag = Annotated[bool, Parameter(negative=())]


def train(
    env: str,
    /,
    *,
    seed: int = 1,
    out_: Annotated[Path | None, Parameter(name="--out")] = None,
    resume: Flag = False,
    worker: str = "",
    python: str = "",
    steps: int = 0,
    seat: str = "",
    fill: list[str] | None = None,
    option: list[str] | None = None,
    gpus: int = 0,
    restarts: int = 3,
    silence_s: float = 300.0,
    detach: Flag = False,
    json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    **settings: str,
) -> int:
    """Train a policy with PPO in self-play; it is then an agent: type = "policy", path = OUT.

    Every field of the configuration is a flag (--total-steps, --learning-rate, --hidden 64,64 ...);
    what is not given comes from the defaults of the environment's family.

    With --worker another framework trains, in an interpreter of its own, as a job that can be listed, stopped and
    resumed (crossplay jobs). Further flags are then settings of the framework's trainer.

    Parameters
    ----------
    env
        The environment, e.g. kitchen/cramped_room.
    seed
        The training seed.
    out_
        The folder of checkpoints, curve and policy; default: runs/train/ENV-SEED. With --worker: the folder of
        jobs; default: runs/jobs.
    resume
        Go on from the last checkpoint in the folder, to the same curve. (A worker's job: crossplay jobs resume.)
    worker
        sb3, cleanrl, rllib, skrl, or a Python file with a trainer.
    python
        The interpreter of the worker; default: .venvs/WORKER where there is one, else this one.
    steps
        With --worker: decisions of the trained seats in all; default 100,000.
    seat
        With --worker: the one seat that is trained, others being filled; default: all seats share one policy.
    fill
        With --worker: SEAT=AGENT for a seat that an agent of Crossplay plays, may come again; or one AGENT for all
        seats but the trained one.
    option
        With --worker: an option of the environment, NAME=VALUE; may come again.
    gpus
        With --worker: GPU slots that the job waits for; without, it sees none.
    restarts
        With --worker: how often a worker that died is started again from its last checkpoint.
    silence_s
        With --worker: seconds without a step, metrics or a checkpoint, after which a worker counts as hung and is ended.
    detach
        With --worker: in the background, independent of this terminal.
    json
        Print the result as JSON.
    settings
        Fields of the configuration.

    """
    import dataclasses

    from crossplay.kernel import CrossplayError

    if worker:
        if resume:
            raise CrossplayError("train --worker: a job goes on with: crossplay jobs resume JOB")
        return _by_worker(
            env, worker, python, out_, json, detach, settings, fill or [], option or [],
            seed=seed, steps=steps or 100_000, seat=seat, gpus=gpus, restarts=restarts, silence_s=silence_s,
        )  # fmt: skip
    foreign = {"python": python, "steps": steps, "seat": seat, "fill": fill, "option": option, "gpus": gpus, "detach": detach}  # fmt: skip
    if used := [f"--{name}" for name, value in foreign.items() if value]:
        raise CrossplayError(f"train: {used[0]} belongs to --worker")
    from crossplay.train import PPO
    from crossplay.train import train as learn

    defaults = PPO.for_env(env, seed=seed)
    config = dataclasses.replace(defaults, **_settings(settings, type(defaults)))
    folder = out_ or Path("runs/train") / f"{env.replace('/', '-')}-{seed}"
    with out.progress(f"training {env}, seed {seed}") as (update, say):

        def heard(p: Any) -> None:
            update(p.env_steps, p.total_steps)
            value = "no episode yet" if p.value is None else f"{p.measure} {p.value:.2f}"
            say(f"{value}, {p.steps_per_s:,.0f} steps/s")

        result = learn(env, config, folder, resume=resume, progress=heard)
    if json:
        out.print_json(result)
        return 0
    value = "none" if result.value is None else f"{result.value:.2f}"
    out.line(
        f"trained {env}, seed {seed}: {result.measure} {value} over the last episodes, {result.env_steps:,} steps, {result.wall_s:.0f} s"
    )
    out.line(f'policy: {result.out}; in a study: type = "policy", path = "{result.out}"')
    return 0


def _by_worker(
    env: str,
    worker: str,
    python: str,
    root: Path | None,
    json: bool,
    detach: bool,
    settings: dict[str, str],
    fill: list[str],
    option: list[str],
    **wanted: Any,
) -> int:
    """Make a job of it, and run it here or in the background."""
    from crossplay.cli.jobs import FOLDER, run_job
    from crossplay.cli.playing import _option
    from crossplay.jobs.frameworks import command, kit
    from crossplay.jobs.registry import Spec, create
    from crossplay.kernel import CrossplayError, make_env

    options = dict(map(_option, option))
    seats = make_env(env, options).seats
    named = dict(f.split("=", 1) for f in fill if "=" in f)
    if len(named) < len(fill) and (named or len(fill) > 1):
        raise CrossplayError("--fill: SEAT=AGENT once for each filled seat, or one AGENT for all others")
    filled: Any = named or (fill[0] if fill else "random" if wanted["seat"] else None)
    for name in (*named, *([wanted["seat"]] if wanted["seat"] else [])):
        if name not in seats:
            raise CrossplayError(f'train: {env} has no seat "{name}"; it has {", ".join(seats)}')
    config = {name.replace("-", "_"): _plain(text) for name, text in settings.items()}
    spec = Spec(
        id=f"{env}-{Path(worker).stem}-{wanted['seed']}", name=Path(worker).stem, command=command(worker, python), env=env,
        options=options, fill=filled, config=config, variables=kit(), folder=str(Path.cwd()), **wanted,
    )  # fmt: skip
    return run_job(create(root or FOLDER, spec), detach, json)


def _plain(text: str) -> Any:
    """A setting as JSON says it; what is no JSON is text."""
    import msgspec

    try:
        return msgspec.json.decode(text.encode())
    except msgspec.DecodeError:
        return text


def _settings(given: dict[str, str], config: type) -> dict[str, Any]:
    """Flags as fields of the configuration, in their types."""
    import dataclasses
    import typing

    import msgspec

    from crossplay.kernel.registry import nearest
    from crossplay.kernel.types import CrossplayError

    kinds = typing.get_type_hints(config)
    known = [f.name for f in dataclasses.fields(config)]
    found = {}
    for flag, text in given.items():
        name = flag.replace("-", "_")
        if name not in known:
            raise CrossplayError(f"train: unknown setting --{flag}.{nearest(name, known)}")
        value: Any = text
        if typing.get_origin(kinds[name]) is tuple:
            value = [v for v in text.split(",") if v]
        elif typing.get_origin(kinds[name]) is dict:
            value = msgspec.json.decode(text.encode())
        try:
            found[name] = msgspec.convert(value, kinds[name], strict=False)
        except msgspec.ValidationError as error:
            raise CrossplayError(f"train: --{flag} {text}: {error}") from None
    return found
