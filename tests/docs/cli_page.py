"""Writes docs/cli.md from the commands themselves: `python tests/docs/cli_page.py`.

The test compares the page with what this gives, so it cannot drift.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import docstring_parser
from doc_pages import DOCS

PAGE = DOCS / "cli.md"

HEAD = """# The command line

<!-- Written by tests/docs/cli_page.py; change the commands, not this page. -->

All commands go through `crossplay`; `crossplay COMMAND --help` prints the same. Output goes to standard output, progress and
errors to standard error, errors in one line. `--json` prints JSON where a command has it.

| exit code | means |
|---|---|
| 0 | done |
| 1 | checked, and found wrong (`verify`, `env check`) |
| 2 | the input is wrong: a file, a name, an option |
| 3 | something outside is missing: a model, an endpoint, disk space, a spent budget; what had finished is kept |
| 130 | interrupted; what had finished is kept, and the same command goes on |
"""


COMMON = {
    "--json": "Print JSON.",
    "--out": "Where to write.",
    "--jobs": "Worker processes for fast episodes.",
    "--trust": "Load code that the study names (python: agents).",
    "RUN": "The run folder.",
}
"""What commands do not say themselves, because it is the same everywhere."""


def page() -> str:
    """The whole page."""
    from crossplay.cli.app import app

    parts = [HEAD]
    for name in sorted(n for n in app if not n.startswith("-")):
        parts += _command((name,), app[name])
    return "\n".join(parts).rstrip() + "\n"


def _command(path: tuple[str, ...], command: Any) -> list[str]:
    """The section of a command, or those of its subcommands."""
    below = sorted(n for n in command if not n.startswith("-"))
    if below:
        return [line for n in below for line in _command((*path, n), command[n])]
    function = command.default_command
    doc = docstring_parser.parse(function.__doc__ or "")
    told = {p.arg_name: " ".join((p.description or "").split()) for p in doc.params}
    about = "\n\n".join(t for t in (doc.short_description, doc.long_description) if t)
    rows, usage = [], ["crossplay", *path]
    for argument in command.assemble_argument_collection():
        names = [n for n in argument.names if n.startswith("-")]
        positional = not names
        shown = argument.name if positional else names[0].replace("[KEYWORD]", "FIELD")
        kind = "VALUE" if shown == "--FIELD" else _kind(argument)
        if positional:
            usage.append(argument.name if argument.required else f"[{argument.name}]")
        elif argument.required:
            usage.append(f"{shown} {kind}")
        default = argument.field_info.default
        said = "" if any(default is none for none in (inspect.Parameter.empty, None, False, "")) else f"`{default}`"
        what = shown if positional or not kind else f"{shown} {kind}"
        rows.append(f"| `{what}` | {said} | {_cell(told.get(argument.field_info.name, COMMON.get(shown, '')))} |")
    lines = [f"## {' '.join(path)}\n", f"`{' '.join(usage)}`\n", f"{about}\n"]
    if any(row.split(" | ", 1)[1].strip(" |") for row in rows):
        lines += ["| | default | |", "|---|---|---|", *rows, ""]
    return lines


def _kind(argument: Any) -> str:
    """What follows an option: nothing (a flag), one of several words, or a kind of value."""
    if argument.field_info.annotation is bool or argument.hint is bool:
        return ""
    choices = argument.get_choices()
    if choices:
        return "/".join(choices)
    words = set(re.findall(r"\w+", getattr(argument.hint, "__name__", "") + " " + str(argument.hint)))
    for word, shown in (("list", "TEXT ..."), ("Path", "PATH"), ("int", "N"), ("float", "X")):
        if word in words:
            return shown
    return "TEXT"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
    print(f"wrote {PAGE}")
