"""The wire as bytes: an example of each kind with every field set, and one with the required ones only.

`golden_v1.json` holds them in hexadecimal. What a released version wrote must be read for ever, so an entry is never
changed; a new kind is added, and a new optional field goes into a new file for its version. To write the entries of
kinds that the file lacks, from the repository's root:

    python -m tests.unit.protocol.golden
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgpack

from voicebox_protocol import wire

FILE = Path(__file__).with_name("golden_v1.json")

VALUES: dict[str, Any] = {
    "bool": True,
    "u16": 2**16 - 1,
    "u32": 2**32 - 1,
    "u64": 2**64 - 1,
    "real": 0.1,
    "id": "id-Ünï",
    "name": "n" * 128,
    "note": "what happened, in words: 日本語",
    "names": ["arena", "marks"],
    "map": {"whole": 1, "part": -0.5, "no": None, "list": [True, "x"], "map": {"deep": b"\x00\xff"}},
    "maps": [{"frame": 0}, {"frame": 2**40, "word": "é"}],
    "descriptors": [[0, 0, 2400, 0xDEADBEEF], [2**32 - 1, 2**64 - 1, 1, 0]],
    "ranges": [[0, 0], [7, 2**32 - 1]],
    "blob": b"\x00\xff of any kind",
}


def example(kind: wire.Kind, *, full: bool) -> dict[str, Any]:
    """The header as a plain map."""
    return {"kind": kind.name} | {field.name: VALUES[field.type] for field in kind.fields if full or field.required}


def read() -> dict[str, dict[str, str]]:
    return json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {}


def write() -> None:
    """Add what is missing; packed by a library that has never seen our table."""
    known = read()
    for kind in wire.KINDS:
        known.setdefault(
            kind.name,
            {name: msgpack.packb(example(kind, full=name == "full")).hex() for name in ("full", "least")},
        )
    FILE.write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()
