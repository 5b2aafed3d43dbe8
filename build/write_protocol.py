"""Writes what follows from the wire table: `schema.pyi`, and the tables in `docs/protocol.md`.

python build/write_protocol.py           write both
python build/write_protocol.py --check   exit 1 if either is out of date
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "protocol"))

from voicebox_protocol import errors, wire  # noqa: E402

STUB = ROOT / "protocol" / "voicebox_protocol" / "schema.pyi"
PAGE = ROOT / "docs" / "protocol.md"

PYTHON = {
    "bool": "bool",
    "u16": "int",
    "u32": "int",
    "u64": "int",
    "real": "float",
    "id": "str",
    "name": "str",
    "note": "str",
    "names": "list[str]",
    "map": "dict[str, Any]",
    "maps": "list[dict[str, Any]]",
    "descriptors": "list[tuple[int, int, int, int]]",
    "ranges": "list[tuple[int, int]]",
    "blob": "bytes",
}

STUB_HEAD = '''\
"""Written by build/write_protocol.py from the table in wire.py; do not edit."""

from typing import Any, ClassVar

import msgspec

class Message(msgspec.Struct, tag_field="kind", omit_defaults=True, kw_only=True):
    __kind__: ClassVar[str]

class Malformed(ValueError): ...

class Unsupported(Malformed):
    query: int | None
    req: str | None
    def __init__(self, kind: str, query: int | None, req: str | None) -> None: ...

class Decoder:
    def __init__(self, way: str) -> None: ...
    def header(self, data: bytes | memoryview) -> Message: ...
    def message(self, magic: bytes | memoryview, header: bytes | memoryview) -> Message: ...

def encode(message: Message) -> bytes: ...

STRUCTS: dict[str, type[Message]]
'''


def stub() -> str:
    """The text of `schema.pyi`: one class a kind."""
    parts = [STUB_HEAD.replace("    __kind__: ClassVar[str]\n", "    pass\n").replace("Any, ClassVar", "Any")]
    for kind in wire.KINDS:
        fields = [
            f"    {field.name}: {PYTHON[field.type]}" + ("" if field.required else " | None = None")
            for field in kind.fields
        ]
        parts.append(
            "\n".join([f"class {kind.name}(Message, tag={kind.name!r}, kw_only=True):", *(fields or ["    pass"]), ""])
        )
    return "\n".join(parts).replace("'", '"')


def kinds_table() -> str:
    """Each kind as a heading, its ways, its payload and a table of its fields."""
    parts = []
    for kind in wire.KINDS:
        parts.append(f"### {kind.name}\n\n{' · '.join(kind.ways)} · since {kind.since}\n\n{kind.meaning}\n")
        if kind.fields:
            rows = [
                f"| `{field.name}` | {field.type} | {'yes' if field.required else ''} | {field.since} | {field.meaning} |"
                for field in kind.fields
            ]
            parts.append(
                "\n".join(["| field | type | required | since | meaning |", "|---|---|---|---|---|", *rows, ""])
            )
        if kind.payload:
            parts.append(f"Payload: {kind.payload}.\n")
        if kind.prompt:
            parts.append(f"Prompt: {kind.prompt}.\n")
    return "\n".join(parts)


def types_table() -> str:
    """The field types."""
    return "\n".join(
        ["| type | is |", "|---|---|", *(f"| `{name}` | {what} |" for name, what in wire.TYPES.items()), ""]
    )


def errors_table() -> str:
    """Every error code with its exception, exit code and whether a retry makes sense."""
    rows = [
        f"| `{leaf.code}` | `{leaf.__name__}` | {leaf.exit_code} | {'yes' if leaf.retry else 'no'} | {leaf.when()} |"
        for leaf in errors.LEAVES
    ]
    return "\n".join(
        ["| code | exception | exit code | retry | when, and what to do |", "|---|---|---|---|---|", *rows, ""]
    )


def page(text: str) -> str:
    """`docs/protocol.md` with its generated parts renewed; what stands between the markers is ours."""
    for name, body in (("types", types_table()), ("kinds", kinds_table()), ("errors", errors_table())):
        begin, end = f"<!-- {name}: written by build/write_protocol.py -->", f"<!-- end of {name} -->"
        text, found = re.subn(
            re.escape(begin) + ".*?" + re.escape(end), lambda _, t=f"{begin}\n\n{body}\n{end}": t, text, flags=re.S
        )  # type: ignore[misc]
        if not found:
            raise SystemExit(f"{PAGE} lacks the marker {begin}")
    return text


def main() -> int:
    """Write, or with --check compare."""
    wanted = {STUB: stub(), PAGE: page(PAGE.read_text(encoding="utf-8"))}
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv[1:]:
        for path in stale:
            print(f"{path.relative_to(ROOT)} is out of date: run python build/write_protocol.py")
        return 1 if stale else 0
    for path in stale:
        path.write_text(wanted[path], encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
