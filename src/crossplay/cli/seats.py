"""Commands that open seats to outside parties: `seat mcp`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from crossplay.cli import out

__all__ = ["seat_mcp"]

Flag = Annotated[bool, Parameter(negative=())]


def seat_mcp(
    env: str,
    /,
    *,
    seat: list[str] | None = None,
    with_: Annotated[list[str] | None, Parameter(name="--with")] = None,
    episodes: int = 1,
    root: int = 0,
    margin: float = 0.0,
    option: list[str] | None = None,
    clock: str = "wait",
    skills: Flag = False,
    image: Flag = False,
    http: str = "",
    token_env: list[str] | None = None,
    out_: Annotated[Path | None, Parameter(name="--out")] = None,
    wait: float = 600.0,
    grace: float = 300.0,
    turn: float = 600.0,
    hold: float = 25.0,
) -> int:
    """Open seats to MCP clients, and play a study with whoever takes them.

    Over stdin and stdout (a client starts this command), or over HTTP with --http. The other seats are filled by
    agents. The run is one like any other: it can be shown, verified and replayed.

    Parameters
    ----------
    env
        The environment, e.g. kitchen/cramped_room.
    seat
        The open seat; default: the first. With --http it may come again: each seat gets an address.
    with_
        SEAT=AGENT for another seat, may come again; or one AGENT for all others. Default: the environment's
        scripted expert, or random.
    episodes
        How many blocks are played, one after the other.
    root
        The root seed.
    margin
        The smallest difference that matters, in units of the environment's metric. With it, the floor and the
        ceiling play the same blocks, and the table says where the client stands.
    option
        An option of the environment, NAME=VALUE, e.g. horizon=50; may come again.
    clock
        "wait": the world waits for the client; "deadline:SECONDS"; "tick:HZ".
    skills
        The client chooses among the environment's skills instead of single moves.
    image
        Show pictures as well, where the environment draws them.
    http
        Serve at HOST:PORT instead of stdin and stdout; a port alone is one on loopback, 0 any free one.
    token_env
        Environment variable with the token that clients must send; needed off loopback. With several open seats
        SEAT=VARIABLE for each: whoever holds a seat's token plays it.
    out_
        The run folder; default: a new one under runs/. The same folder goes on with a run that was stopped.
    wait
        Seconds to wait for a client before an episode; then the run stops, and can be resumed.
    grace
        Seconds without a sign of the client in its turn after which the episode is void and played again.
    turn
        Seconds after which an unanswered turn is a timeout, served by the conduct.
    hold
        Seconds that one call of a client waits at most.

    """
    from crossplay.cli.playing import _fresh, _option
    from crossplay.kernel.types import CrossplayError
    from crossplay.serve.sitting import episodes_of, open_seats, seat_study
    from crossplay.study.stage import Stage

    if not http and seat and len(seat) > 1:
        raise CrossplayError("--seat: one client talks over stdin and stdout; open several seats with --http")
    views = ["text", "data", *(["image"] if image else [])]
    study = seat_study(
        env,
        seat or (),
        with_ or (),
        episodes=episodes,
        root=root,
        margin=margin,
        clock=clock,
        skills=skills,
        options=dict(map(_option, option or ())),
        guest={"views": views},
    )
    folder = out_ or _fresh(study.name)
    stage = Stage(study, folder)
    stage.check()
    opened = open_seats(stage)
    for name, one in opened.items():
        # Limits of this sitting, not of the study: the run may go on with others.
        one.mailbox.wait_s, one.mailbox.grace, one.mailbox.turn_s = wait, grace, turn
        one.mailbox.expected = episodes_of(stage, name, folder)
    if http:
        return _over_http(stage, folder, opened, http, token_env or (), hold)
    (only,) = opened.values()
    return _over_stdio(stage, folder, only, hold)


def _over_http(
    stage: Any, folder: Path, opened: dict[str, Any], address: str, token_env: Sequence[str], hold: float
) -> int:
    """Serve each seat at an address of its own while the study is played; then show it."""
    from crossplay.cli.studies import show
    from crossplay.serve.mcp_http import McpHouse
    from crossplay.serve.open import TOLD
    from crossplay.wire.http.guard import split_address

    host, port = split_address(address)
    tokens = _tokens(stage, opened, token_env, host)
    houses = []
    try:
        for k, (name, one) in enumerate(opened.items()):
            token = tokens[name]
            houses.append(McpHouse(one, host, port + k if port else 0, token, hold=hold))
            houses[-1].open()
            out.fail(f"{name} is open at {houses[-1].url}{' (with the token)' if token else ''}")
        try:
            _play(stage, folder)
        except KeyboardInterrupt:
            out.fail(f"stopped; what had finished is kept in {folder}, and --out {folder} goes on")
            return 130
        finally:
            for one in opened.values():
                one.mailbox.farewell(TOLD)
    finally:
        for house in houses:
            house.close()
    return show(folder)


def _tokens(stage: Any, opened: Mapping[str, Any], given: Sequence[str], host: str) -> dict[str, str]:
    """The token of each open seat by the name of its agent ("" for none, on loopback); each has one of its own."""
    from crossplay.kernel import CrossplayError, nearest
    from crossplay.wire.http.guard import token_from

    cell = next(c for c in stage.cells if not c.role)
    seats = {s: name for s, name in zip(stage.lineup(cell).seats, cell.seats, strict=True) if name in opened}
    variables: dict[str, str] = {}
    for one in given:
        seat, equals, variable = one.partition("=")
        if not equals:
            if len(seats) > 1:
                raise CrossplayError(
                    f'--token-env "{one}": {len(seats)} seats are open, and who holds the token of one must not play '
                    "another; say SEAT=VARIABLE for each"
                )
            seat, variable = next(iter(seats)), one
        if seat not in seats:
            raise CrossplayError(f'--token-env "{one}": the seat "{seat}" is not open.{nearest(seat, seats)}')
        variables[seat] = variable
    found: dict[str, str] = {}
    for seat, name in seats.items():
        token = token_from(variables.get(seat, ""), host, f"--http, seat {seat}")
        if token and token in found.values():
            raise CrossplayError(f"--token-env: the seat {seat} has the token of another seat; give it one of its own")
        found[name] = token
    return found


def _over_stdio(stage: Any, folder: Path, seat: Any, hold: float) -> int:
    """Serve the seat to whoever started this process."""
    import asyncio

    from crossplay.serve.mcp_stdio import beside_stdio

    asyncio.run(beside_stdio(seat, lambda: _play(stage, folder), out.fail, hold))
    out.fail(f"recorded in {folder}: crossplay show {folder}, crossplay verify {folder}")
    return 0


def _play(stage: Any, folder: Path) -> None:
    """Play what is missing, with progress on standard error."""
    from crossplay.kernel.types import Stop
    from crossplay.study.runner import run_study

    total = [0, 0]
    with out.progress(f"playing {stage.study.name}") as (update, _):

        def start(done: int, planned: int) -> None:
            total[:] = [done, planned]
            update(done, planned)

        def episode(record: Any) -> None:
            total[0] += 1
            update(*total)

        try:
            run_study(stage, folder, on_episode=episode, on_start=start)
        except Stop as stop:
            raise type(stop)(
                f"{stop} ({total[0]} of {total[1]} episodes are kept in {folder}; --out {folder} goes on)"
            ) from stop
