"""Typed Structs for every kind, built from the table in `voicebox_protocol.wire`, and a decoder for each direction.

`schema.pyi` beside this file spells the Structs out for readers and type checkers; `build/write_protocol.py` writes it
and a test holds it to the table.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any, Union

import msgspec

from voicebox_protocol import wire

_U32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
# msgspec bounds integers below 2^63 only; MessagePack itself bounds them above.
_U64 = Annotated[int, msgspec.Meta(ge=0)]

_PYTHON: dict[str, Any] = {
    "bool": bool,
    "u16": Annotated[int, msgspec.Meta(ge=0, le=2**16 - 1)],
    "u32": _U32,
    "u64": _U64,
    # A comparison with NaN is false, so two bounds refuse it along with the infinities.
    "real": Annotated[float, msgspec.Meta(ge=-sys.float_info.max, le=sys.float_info.max)],
    "id": Annotated[str, msgspec.Meta(max_length=64)],
    "name": Annotated[str, msgspec.Meta(max_length=128)],
    "note": Annotated[str, msgspec.Meta(max_length=4096)],
    "names": Annotated[list[Annotated[str, msgspec.Meta(max_length=128)]], msgspec.Meta(max_length=64)],
    "map": dict[str, Any],
    "maps": Annotated[list[dict[str, Any]], msgspec.Meta(max_length=1024)],
    "descriptors": Annotated[
        list[tuple[_U32, _U64, _U32, _U32]],
        msgspec.Meta(min_length=1, max_length=wire.MAX_DESCRIPTORS),
    ],
    "ranges": Annotated[
        list[tuple[_U32, _U32]],
        msgspec.Meta(min_length=1, max_length=wire.MAX_RANGES),
    ],
    "blob": Annotated[bytes, msgspec.Meta(max_length=wire.MAX_STATE)],
}


class Message(msgspec.Struct, tag_field="kind", omit_defaults=True, kw_only=True):
    """Base of every kind. Fields that a peer does not know are ignored; null fields are not sent."""


class Unknown(msgspec.Struct):
    """What is read of a message whose kind this version does not know."""

    kind: str
    query: int | None = None
    req: str | None = None


def _build(kind: wire.Kind) -> type[Message]:
    fields: list[Any] = [
        (field.name, _PYTHON[field.type]) if field.required else (field.name, _PYTHON[field.type] | None, None)
        for field in kind.fields
    ]
    built = msgspec.defstruct(
        kind.name,
        fields,
        bases=(Message,),
        module=__name__,
        tag=kind.name,
        kw_only=True,
        omit_defaults=True,
        gc=any(field.type in ("map", "maps", "names", "descriptors", "ranges") for field in kind.fields),
    )
    built.__doc__ = kind.meaning
    return built


STRUCTS: dict[str, type[Message]] = {kind.name: _build(kind) for kind in wire.KINDS}
globals().update(STRUCTS)

_encode = msgspec.msgpack.Encoder().encode
_decode_unknown = msgspec.msgpack.Decoder(Unknown).decode


class Malformed(ValueError):
    """A peer's bytes are not a message. The text says what is wrong; answer `BAD_MESSAGE`, or end a provider."""


class Unsupported(Malformed):
    """A well-formed message of a kind that this side does not know. Answer `UNSUPPORTED`."""

    def __init__(self, kind: str, query: int | None, req: str | None) -> None:
        super().__init__(f"kind {kind[:64]!r} is not known here")
        self.query = query
        self.req = req


class Decoder:
    """Reads the messages of one direction from frames; raises `Malformed` or `Unsupported` and nothing else."""

    def __init__(self, way: str) -> None:
        self._kinds = {kind.name for kind in wire.kinds_of(way)}
        structs = tuple(STRUCTS[name] for name in self._kinds)
        self._decode = msgspec.msgpack.Decoder(Union[structs]).decode  # type: ignore[var-annotated]  # noqa: UP007

    def header(self, data: bytes | memoryview) -> Message:
        """One header's bytes to its Struct."""
        if len(data) > wire.MAX_HEADER:
            raise Malformed(f"header of {len(data)} bytes; at most {wire.MAX_HEADER}")
        try:
            return self._decode(data)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, ValueError) as error:
            raise self._explain(data, error) from None

    def message(self, magic: bytes | memoryview, header: bytes | memoryview) -> Message:
        """The first two frames of a message to its Struct."""
        if magic != wire.MAGIC:
            raise Malformed("the first frame is not VB1")
        return self.header(header)

    def _explain(self, data: bytes | memoryview, error: Exception) -> Malformed:
        try:
            peek = _decode_unknown(data)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError, ValueError):
            return Malformed(f"not a message: {error or 'nested too deep'}")
        if peek.kind not in self._kinds:
            return Unsupported(peek.kind, peek.query, peek.req)
        return Malformed(f"{peek.kind}: {error}")


def encode(message: Message) -> bytes:
    """A Struct to header bytes."""
    return _encode(message)
