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
    json: Annotated[bool, Parameter(name="--json", negative=())] = False,
    **settings: str,
) -> int:
    """Train a policy with PPO in self-play; it is then an agent: type = "policy", path = OUT.

    Every field of the configuration is a flag (--total-steps, --learning-rate, --hidden 64,64 ...);
    what is not given comes from the defaults of the environment's family.

    Parameters
    ----------
    env
        The environment, e.g. kitchen/cramped_room.
    seed
        The training seed.
    out_
        The folder of checkpoints, curve and policy; default: runs/train/ENV-SEED.
    resume
        Go on from the last checkpoint in the folder, to the same curve.
    json
        Print the result as JSON.
    settings
        Fields of the configuration.

    """
    import dataclasses

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
