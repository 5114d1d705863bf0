"""Commands that serve: `serve` (the page), `serve-agent` (A2A), `serve-env` (HTTP)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from crossplay.cli import out

__all__ = ["serve", "serve_agent", "serve_env"]

Flag = Annotated[bool, Parameter(negative=())]


def serve(
    folder: Path = Path("runs"),
    /,
    *,
    host: str = "127.0.0.1",
    port: int = 8765,
    token_env: str = "",
    name: list[str] | None = None,
    proxy: list[str] | None = None,
    open_: Annotated[bool, Parameter(name="--open", negative=())] = False,
) -> int:
    """Serve the page: watch runs, read results, replay, compare, play. Until Ctrl-C.

    Parameters
    ----------
    folder
        Where the runs are (new ones go there too), or one run.
    host
        The address to serve at; beyond this machine a token is needed.
    port
        0: any free one.
    token_env
        Environment variable that holds the token of the owner.
    name
        A host name under which others reach it, e.g. behind a proxy; may come again. Then a token is needed.
    proxy
        The address of a proxy before it, e.g. 127.0.0.1, or a network; may come again. Its X-Forwarded-For and
        X-Forwarded-Proto are believed, nobody else's.
    open_
        Open it in the browser.

    """
    from crossplay.kernel import CrossplayError
    from crossplay.wire import is_loopback
    from crossplay.wire.http.guard import token_from
    from crossplay.wire.http.house import House

    try:
        from crossplay.web.app import make_app
        from crossplay.web.desk import Desk
        from crossplay.web.warm import warm
    except ImportError as error:
        raise CrossplayError(f"the page needs {error.name}: pip install 'crossplay[web]'") from error

    outside = next((n for n in (host, *(name or ())) if not is_loopback(n)), host)  # any way in from elsewhere
    token = token_from(token_env, outside, "--host" if outside == host else "--name")
    folder.mkdir(parents=True, exist_ok=True)
    desk = Desk(folder)
    house = House(make_app(desk, host, token, name or (), proxy or ()), host, port, sockets=True, extra="web")
    house.open()
    warm(desk)
    try:
        address = f"http://{house.authority}/"
        out.line(f"{folder} is shown at {address}{' (the token is asked for)' if token else ''}. Ctrl-C ends.")
        if open_:
            import webbrowser

            webbrowser.open(address)
        _until_interrupted()
    finally:
        desk.close()  # first: streams of events end with it, and the house waits for open requests
        house.close()
    return 0


def serve_agent(
    agent: str,
    /,
    *,
    study: Path | None = None,
    env: str = "",
    option: list[str] | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    token_env: str = "",
    address: str = "",
    contexts: int = 1024,
    age: float = 3600.0,
    seconds: float = 600.0,
    trust: Flag = False,
) -> int:
    """Serve an agent over A2A, so that it fills seats of others; until Ctrl-C.

    What it answers is recorded where the episode is played, not here.

    Parameters
    ----------
    agent
        A type, e.g. policy:kitchen/cramped_room-1; with --study, an agent of the study.
    study
        A study file that describes the agent and its models.
    env
        Serve it for this environment only, and use the environment for what questions do not bring
        (skills, verifiers, views made of data).
    option
        An option of that environment, NAME=VALUE; may come again.
    host
        The address to serve at; beyond this machine a token is needed.
    port
        0: any free one.
    token_env
        Environment variable that holds the token clients must send.
    address
        Where others reach it, e.g. https://agents.example, if that is not where it is served.
    contexts
        Conversations that are remembered at most.
    age
        Seconds without a question after which one is forgotten.
    seconds
        An answer may take.
    trust
        Load code that the study names.

    """
    from crossplay.kernel import make_env
    from crossplay.serve.a2a_agent import a2a_house
    from crossplay.serve.answering import Answering, Limits
    from crossplay.serve.staging import served_agent
    from crossplay.wire.http.guard import token_from

    token = token_from(token_env, host, "--host")
    found, end = served_agent(agent, study, trust)
    try:
        local = make_env(env, _options(option)) if env else None
        if local is not None:
            found.check(local, local.seats[0])
        answering = Answering(found, Limits(contexts, age, seconds=seconds), local)
        house = a2a_house(answering, host, port, token, local.id if local is not None else "", address)
        house.open()
        try:
            out.line(
                f"{found.name} answers at http://{house.authority}{' (with the token)' if token else ''}. Ctrl-C ends."
            )
            out.line(f'elsewhere: type = "a2a:http://{house.authority}"')
            _until_interrupted()
        finally:
            house.close()
    finally:
        end()
    return 0


def serve_env(
    env: str,
    /,
    *,
    seat: str = "",
    with_: Annotated[list[str] | None, Parameter(name="--with")] = None,
    option: list[str] | None = None,
    root: int = 0,
    host: str = "127.0.0.1",
    port: int = 0,
    token_env: str = "",
    open_: Annotated[int, Parameter(name="--open")] = 64,
    idle: float = 3600.0,
    out_: Annotated[Path | None, Parameter(name="--out")] = None,
) -> int:
    """Serve a seat of an environment over HTTP in the form of AgentGym; until Ctrl-C.

    Parameters
    ----------
    env
        The environment, e.g. kitchen/cramped_room.
    seat
        The seat that is played over HTTP; default: the first.
    with_
        SEAT=AGENT for another seat, may come again; or one AGENT for all others. Default: the environment's
        scripted expert, or random.
    option
        An option of the environment, NAME=VALUE, e.g. horizon=50; may come again.
    root
        The root seed; data_idx is the block.
    host
        The address to serve at; beyond this machine a token is needed.
    port
        0: any free one.
    token_env
        Environment variable that holds the token clients must send.
    open_
        Environments open at a time.
    idle
        Seconds without a request after which one is closed.
    out_
        Record the finished episodes in this run folder.

    """
    import asyncio
    import contextlib

    from crossplay.serve.http_env import Limits, serving_env
    from crossplay.serve.staging import HttpRun, env_study
    from crossplay.wire.http.guard import token_from

    token = token_from(token_env, host, "--host")
    study = env_study(env, seat, with_ or (), root=root, options=_options(option))
    run = HttpRun(study, out_, Limits(open_, idle))

    async def serve() -> None:
        async with serving_env(run.server, host, port, token) as url:
            out.line(f"{run.server.probe.id}, seat {run.server.seat}, at {url}. Ctrl-C ends.")
            out.line(f'elsewhere: name = "agentgym:{url}", or any client of AgentGym')
            await asyncio.Event().wait()

    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve())
    finally:
        run.close()
    if out_ is not None:
        left = f", {run.server.left} were left unfinished" if run.server.left else ""
        out.line(f"{run.kept} episodes are recorded in {out_}{left}: crossplay show {out_}")
    return 0


def _options(given: list[str] | None) -> dict[str, Any]:
    from crossplay.cli.playing import _option

    return dict(map(_option, given or ()))


def _until_interrupted() -> None:
    import contextlib
    import threading

    never = threading.Event()
    with contextlib.suppress(KeyboardInterrupt):
        while not never.wait(0.5):  # a signal may reach another thread: this one must look up to hear of it
            pass
