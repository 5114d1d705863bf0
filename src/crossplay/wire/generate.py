"""From `protocol.toml`: the typed messages, the tables of docs/wire.md, and the worker kit's copies.

    python -m crossplay.wire.generate

Writes files of a checkout; `outputs` is what they should hold (a test compares).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["outputs", "protocol"]

HERE = Path(__file__).parent
START, STOP = "<!-- made from protocol.toml -->", "<!-- end of what is made -->"
_TYPES = {
    "int": "int", "float": "float", "str": "str", "bool": "bool", "bytes": "bytes", "data": "Any", "array": "Any",
    "list[int]": "List[int]", "list[float]": "List[float]", "list[str]": "List[str]", "list[bytes]": "List[bytes]",
    "list[data]": "List[Any]", "map[str,data]": "Dict[str, Any]", "map[int,data]": "Dict[int, Any]",
    "list[Seat]": "List[Seat]",
}  # fmt: skip
_HEAD = '''"""The messages of the wire. Made from protocol.toml by `python -m crossplay.wire.generate`; do not edit."""

from typing import Any, Dict, FrozenSet, List, Union

import msgspec

MAJOR = {major}
MINOR = {minor}

CODES = frozenset(
    (
{codes}
    )
)

'''


def protocol() -> dict[str, Any]:
    """The protocol as data."""
    return tomllib.loads((HERE / "protocol.toml").read_text())


def class_name(name: str) -> str:
    """env.open -> EnvOpen."""
    return "".join(part.capitalize() for part in name.split("."))


def _field(field: Mapping[str, Any]) -> str:
    kind = _TYPES[field["type"]]
    line = f"    {field['name']}: {kind}"
    if "default" not in field:
        return line
    given = field["default"]
    if given in ([], {}):
        return f"{line} = msgspec.field(default_factory={'list' if given == [] else 'dict'})"
    if isinstance(given, list):
        return f"{line} = msgspec.field(default_factory=lambda: {_python(given)})"
    return f"{line} = {'None' if given == 'null' else _python(given)}"


def _python(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value + '"'
    return "[" + ", ".join(map(_python, value)) + "]" if isinstance(value, list) else repr(value)


def messages_py(spec: Mapping[str, Any]) -> str:
    """The module of typed messages."""
    codes = "\n".join(f'        "{code}",' for code in spec["codes"])
    out = [_HEAD.format(major=spec["major"], minor=spec["minor"], codes=codes)]
    for struct in spec["struct"]:
        body = "\n".join(map(_field, struct["field"]))
        out.append(f"\nclass {struct['name']}(msgspec.Struct, omit_defaults=True, kw_only=True):\n{body}\n\n")
    for message in spec["message"]:
        body = "\n".join(map(_field, message["field"]))
        out.append(
            f'\nclass {class_name(message["name"])}(msgspec.Struct, tag_field="t", tag="{message["name"]}", '
            f"omit_defaults=True, kw_only=True, gc=False):\n{body}\n\n"
        )
    names = [class_name(m["name"]) for m in spec["message"]]
    union = "\n".join(f"    {n}," for n in names)
    out.append(f"\nMessage = Union[\n{union}\n]\n")
    since = "\n".join(f'    "{m["name"]}": {m["since"]},' for m in spec["message"] if m.get("since"))
    out.append(
        f'\nSINCE: Dict[str, int] = {{\n{since}\n}}\n"""Minor version in which a message came; those not named: 0."""\n'
    )
    asks = "\n".join(f'        "{m["name"]}",' for m in spec["message"] if m.get("answer") and m["name"] != "hello")
    out.append(
        f'\nREQUESTS: FrozenSet[str] = frozenset(\n    (\n{asks}\n    )\n)\n"""Messages that are answered exactly once."""\n'
    )
    return "".join(out)


def tables_md(spec: Mapping[str, Any]) -> str:
    """The tables of the docs page."""
    lines = [f"Version {spec['major']}.{spec['minor']}.", "", "### Error codes", "", "| code | means |", "|---|---|"]
    lines += [f"| `{code}` | {text} |" for code, text in spec["codes"].items()]
    lines += ["", "### Messages", ""]
    for message in [*spec["message"], *spec["struct"]]:
        since = f", since {spec['major']}.{message['since']}" if message.get("since") else ""
        who = {"worker": "worker to engine", "engine": "engine to worker", "either": "both ways"}.get(
            message.get("from", "")
        )
        head = f"#### `{message['name']}`" + (f" ({who}{since})" if who else "")
        lines += [head, "", message["doc"] + (f" Answer: {message['answer']}." if message.get("answer") else ""), ""]
        lines += ["| field | type | default | holds |", "|---|---|---|---|"]
        for field in message["field"]:
            default = "" if "default" not in field else f"`{field['default']}`".replace("'", '"')
            new = f" (since {spec['major']}.{field['since']})" if field.get("since") else ""
            lines.append(f"| `{field['name']}` | {field['type']} | {default} | {field['doc']}{new} |")
        lines.append("")
    return "\n".join(lines)


def outputs(root: Path) -> dict[Path, str]:
    """File -> what it should hold, for a checkout at `root`."""
    spec = protocol()
    wire, kit = root / "src/crossplay/wire", root / "worker/src/crossplay_worker"
    page = root / "docs/wire.md"
    text = page.read_text() if page.exists() else f"{START}\n{STOP}\n"
    before, after = text.partition(START)[0], text.partition(STOP)[2]
    made = {
        wire / "messages.py": messages_py(spec),
        kit / "messages.py": messages_py(spec),
        page: f"{before}{START}\n\n{tables_md(spec)}\n{STOP}{after}",
    }
    made[kit / "seeds.py"] = (root / "src/crossplay/kernel/seeds.py").read_text()
    for shared in ("frames.py", "arrays.py"):
        made[kit / shared] = (wire / shared).read_text()
    return made


if __name__ == "__main__":
    for path, content in outputs(HERE.parents[2]).items():
        path.write_text(content)
        print(path)
