"""`human`: a person at the terminal."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Any

from crossplay.agents.context import Context, options
from crossplay.agents.prompt import Unreadable, choices, read_value
from crossplay.kernel import Action, Agent, CrossplayError, Fault, Msg, Observation, Stop

__all__ = ["Human", "human"]

_terminal = threading.Lock()  # one question at a time, however many people share the terminal


class Human(Agent):
    """Shows the text view and the legal actions, reads one line. The event loop stays free meanwhile.

    A line is the number or the name of an action; `?` shows the rules; `say TEXT` speaks to those who
    may hear and asks again. The end of the input voids the episode: nobody answers for a person.
    read(prompt) -> line and write(text) stand for the terminal; by default they are rich's.
    """

    kind = "human"
    views = ("text",)
    deterministic = False

    def __init__(
        self, name: str = "human", read: Callable[[str], str] | None = None, write: Callable[[str], None] | None = None
    ) -> None:
        self.name = name
        self._read, self._write = read or _read, write or _show

    def check(self, env: Any, seat: str) -> None:
        """Refuse environments without a text view."""
        if "text" not in env.views:
            raise CrossplayError(f"{env.id}: no text view, so a person at the terminal cannot play it")

    async def act(self, obs: Observation) -> Action | Fault:
        """One decision of the person."""
        # Read now: after a deadline the handle is stale, but the person may still be reading.
        screen, rules, audience = self._screen(obs), obs.rules, obs.audience
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        thread = threading.Thread(target=self._ask, args=(obs, screen, rules, audience, answer), daemon=True)
        thread.start()  # not an executor: a thread that waits for a person must not hold up the exit
        result: Action | Fault = await answer
        return result

    def _screen(self, obs: Observation) -> str:
        lines = [f"[{obs.seat}, turn {obs.tick}]"]
        if obs.last is not None:
            value, origin = obs.last
            name = obs.spec.names[value] if obs.spec.kind == "names" and value < len(obs.spec.names) else value
            lines.append(f"last: {name}" + ("" if origin == "own" else f" ({origin})") + f", reward {obs.reward:g}")
        lines += [f"{m.src} says: {m.body}" for m in obs.inbox]
        lines.append(obs.view("text"))
        if obs.spec.kind == "names":
            names = obs.names()
            lines.append("  ".join(f"{i + 1}) {name}" for i, name in enumerate(names)))
        return "\n".join(lines)

    def _ask(
        self, obs: Observation, screen: str, rules: str, audience: tuple[str, ...], answer: asyncio.Future[Any]
    ) -> None:
        loop = answer.get_loop()
        said: list[Msg] = []
        try:
            with _terminal:
                self._write(screen)
                result: Any = None
                while result is None and not answer.cancelled():
                    result = self._line(obs, rules, audience, said)
        except (EOFError, OSError):
            result = Stop("the terminal was closed while a person was asked; the run can be resumed")
        except BaseException as error:
            result = error

        def settle() -> None:
            if not answer.done():
                answer.set_exception(result) if isinstance(result, BaseException) else answer.set_result(result)

        if not loop.is_closed():
            loop.call_soon_threadsafe(settle)

    def _line(self, obs: Observation, rules: str, audience: tuple[str, ...], said: list[Msg]) -> Action | None:
        """One line of the person: an action, or None where it was something else."""
        line = self._read(f"{obs.seat}> ").strip()
        if line in ("?", "help"):
            self._write(rules or "This environment tells no rules.")
            return None
        if line.startswith("say ") and audience:
            said.append(Msg("*", line[4:].strip()))
            return None
        try:
            if obs.spec.kind == "names":
                shown = choices(obs, rotate=False)
                numbers = {str(i + 1): index for i, index in enumerate(shown.indices)}
                value = numbers[line] if line in numbers else _named(line, obs)
            else:
                value = read_value(line, obs.spec)
        except Unreadable as error:
            self._write(f"{error}; ? shows the rules")
            return None
        return Action(value, said)


def _named(line: str, obs: Observation) -> int:
    """The action that a line names in full, or by a beginning that only one has."""
    shown = choices(obs, rotate=False)
    starts = [
        i for i, name in zip(shown.indices, shown.names, strict=True) if name.casefold().startswith(line.casefold())
    ]
    exact = [i for i, name in zip(shown.indices, shown.names, strict=True) if name.casefold() == line.casefold()]
    if exact or (line and len(starts) == 1):
        return (exact or starts)[0]
    raise Unreadable(f'"{line[:40]}" is none of the actions, or more than one')


def _read(prompt: str) -> str:
    return input(prompt)


def _show(text: str) -> None:
    from rich.console import Console

    Console().print(text, markup=False, highlight=False)


@options()
def human(rest: str, options: Mapping[str, Any], context: Context) -> Agent:
    """A person at the terminal; rest: the name that the run shows."""
    return Human(f"human:{rest}" if rest else "human")
