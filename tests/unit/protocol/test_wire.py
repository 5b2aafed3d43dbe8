"""The wire: the table, the Structs, the page and the golden bytes are one; and bytes from anybody do no harm."""

from __future__ import annotations

import importlib.util
import tracemalloc
from pathlib import Path
from types import ModuleType
from typing import Any

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicebox_protocol import schema, wire

from . import golden

WAYS = (wire.CLIENT_TO_DAEMON, wire.DAEMON_TO_CLIENT, wire.PROVIDER_TO_DAEMON, wire.DAEMON_TO_PROVIDER)
DECODERS = {way: schema.Decoder(way) for way in WAYS}
GOLDEN = golden.read()
EXAMPLES = [(kind, which) for kind in wire.KINDS for which in ("full", "least")]
BYTES = [bytes.fromhex(entry[which]) for entry in GOLDEN.values() for which in ("full", "least")]


def built(kind: wire.Kind, which: str) -> schema.Message:
    """The example as a Struct."""
    values = golden.example(kind, full=which == "full")
    for field in kind.fields:
        if field.type in ("descriptors", "ranges") and field.name in values:
            values[field.name] = [tuple(each) for each in values[field.name]]
    del values["kind"]
    return schema.STRUCTS[kind.name](**values)


# --- one table


@pytest.fixture
def generator(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    path = Path(__file__).parents[3] / "build" / "write_protocol.py"
    spec = importlib.util.spec_from_file_location("write_protocol", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.syspath_prepend(str(path.parent))
    spec.loader.exec_module(module)
    return module


def test_the_page_is_written_from_the_table(generator: ModuleType) -> None:
    text = generator.PAGE.read_text(encoding="utf-8")
    assert generator.page(text) == text, "run python build/write_protocol.py"


def test_the_stub_is_written_from_the_table(generator: ModuleType) -> None:
    assert generator.STUB.read_text(encoding="utf-8") == generator.stub(), "run python build/write_protocol.py"


@pytest.mark.parametrize("kind", wire.KINDS, ids=lambda kind: kind.name)
def test_a_struct_has_the_fields_of_the_table(kind: wire.Kind) -> None:
    struct = schema.STRUCTS[kind.name]
    assert struct.__struct_fields__ == tuple(field.name for field in kind.fields)
    assert struct.__struct_config__.tag == kind.name
    required = {field.name for field in msgspec.structs.fields(struct) if field.required}
    assert required == {field.name for field in kind.fields if field.required}


def test_names_are_unique_and_types_known() -> None:
    assert len(wire.BY_NAME) == len(wire.KINDS)
    for kind in wire.KINDS:
        assert set(kind.ways) <= set(WAYS)
        assert len({field.name for field in kind.fields}) == len(kind.fields)
        assert {field.type for field in kind.fields} <= set(wire.TYPES)
        assert "kind" not in {field.name for field in kind.fields}
        assert all(1 <= field.since <= wire.PROTO_MAX for field in kind.fields)


def test_every_request_can_end() -> None:
    assert all(wire.BY_NAME[name].ways == (wire.DAEMON_TO_CLIENT,) for name in wire.TERMINAL)


@pytest.mark.parametrize(
    ("low", "high", "agreed"),
    [(1, 1, 1), (1, 9, wire.PROTO_MAX), (0, 0, None), (wire.PROTO_MAX + 1, 99, None), (3, 2, None)],
)
def test_peers_agree_on_the_newest_version_that_both_speak(low: int, high: int, agreed: int | None) -> None:
    assert wire.agree(low, high) == agreed


# --- golden bytes


def test_every_kind_has_golden_bytes() -> None:
    assert set(GOLDEN) == set(wire.BY_NAME)


@pytest.mark.parametrize(("kind", "which"), EXAMPLES, ids=lambda value: getattr(value, "name", value))
def test_golden_bytes_are_what_is_written_and_read(kind: wire.Kind, which: str) -> None:
    data = bytes.fromhex(GOLDEN[kind.name][which])
    assert msgpack.unpackb(data) == golden.example(kind, full=which == "full")
    assert msgpack.packb(golden.example(kind, full=which == "full")) == data
    # msgspec gives a map of many possible keys a longer head than it needs; packed anew all is equal, order and types too.
    assert msgpack.packb(msgpack.unpackb(schema.encode(built(kind, which)))) == data
    for way in kind.ways:
        assert DECODERS[way].header(data) == built(kind, which)
        assert DECODERS[way].message(b"VB1", memoryview(data)) == built(kind, which)


# --- what others send


@pytest.mark.parametrize("kind", wire.KINDS, ids=lambda kind: kind.name)
def test_a_field_that_is_not_known_is_ignored(kind: wire.Kind) -> None:
    header = golden.example(kind, full=True)
    data = msgpack.packb({"new_a": {"x": [1]}} | header | {"new_b": None})
    assert DECODERS[kind.ways[0]].header(data) == built(kind, "full")


@pytest.mark.parametrize("kind", wire.KINDS, ids=lambda kind: kind.name)
def test_a_field_that_is_null_may_be_sent_or_left_out(kind: wire.Kind) -> None:
    header = golden.example(kind, full=False)
    nulls = {field.name: None for field in kind.fields if not field.required}
    assert DECODERS[kind.ways[0]].header(msgpack.packb(header | nulls)) == built(kind, "least")


@pytest.mark.parametrize(
    "kind", [kind for kind in wire.KINDS if any(f.required for f in kind.fields)], ids=lambda k: k.name
)
def test_a_required_field_is_missed(kind: wire.Kind) -> None:
    for field in kind.fields:
        if field.required:
            header = golden.example(kind, full=True)
            for data in (header | {field.name: None}, {k: v for k, v in header.items() if k != field.name}):
                with pytest.raises(schema.Malformed, match=field.name):
                    DECODERS[kind.ways[0]].header(msgpack.packb(data))


@pytest.mark.parametrize("way", WAYS)
def test_a_kind_that_is_not_known_here_is_unsupported_and_its_query_told(way: str) -> None:
    others = {kind.name for kind in wire.KINDS if way not in kind.ways}
    for name in [*others, "Tomorrow", "x" * 1000]:
        with pytest.raises(schema.Unsupported) as caught:
            DECODERS[way].header(msgpack.packb({"kind": name, "query": 7, "req": "r", "more": [1]}))
        assert (caught.value.query, caught.value.req) == (7, "r")
        assert len(str(caught.value)) < 200


TOO_MUCH: dict[str, list[Any]] = {
    "bool": [1, "true"],
    "u16": [-1, 2**16, 1.5, "1", True],
    "u32": [-1, 2**32, 0.5],
    "u64": [-1, 0.5, "1"],
    "real": [float("nan"), float("inf"), float("-inf"), "1.0"],
    "id": ["x" * 65, 5, b"bytes"],
    "name": ["x" * 129],
    "note": ["x" * 4097],
    "names": [["x"] * 65, ["x" * 129], "x", [5]],
    "map": [[], {1: 2}, 5],
    "maps": [[{}] * 1025, [5], {}],
    "descriptors": [[], [[0, 0, 1, 0]] * 257, [[0, 0, 1]], [[0, 0, 1, 0, 0]], [[0, -1, 1, 0]], [[2**32, 0, 1, 0]]],
    "ranges": [[], [[0, 0]] * 4097, [[0]], [[0, 0, 0]], [[0, -1]], [[0, 2**32]]],
    "blob": ["text", 5, bytes(48 * 1024 + 1)],
}


@pytest.mark.parametrize("kind", wire.KINDS, ids=lambda kind: kind.name)
def test_a_value_out_of_its_bounds_is_malformed_and_the_field_named(kind: wire.Kind) -> None:
    for field in kind.fields:
        for value in TOO_MUCH[field.type]:
            data = msgpack.packb(golden.example(kind, full=True) | {field.name: value})
            with pytest.raises(schema.Malformed, match=field.name) as caught:
                DECODERS[kind.ways[0]].header(data)
            assert not isinstance(caught.value, schema.Unsupported)


@pytest.mark.parametrize("type_", TOO_MUCH)
def test_the_bounds_are_of_types_that_there_are(type_: str) -> None:
    assert type_ in wire.TYPES


def test_the_first_frame_names_the_protocol() -> None:
    data = BYTES[0]
    for magic in (b"", b"VB2", b"VB1 ", data):
        with pytest.raises(schema.Malformed, match="VB1"):
            DECODERS[wire.CLIENT_TO_DAEMON].message(magic, data)


def test_a_header_longer_than_allowed_is_not_even_read() -> None:
    fits = msgpack.packb({"kind": "Status", "query": 1, "pad": ""})
    room = wire.MAX_HEADER - len(fits) - 2
    whole = msgpack.packb({"kind": "Status", "query": 1, "pad": "x" * room})
    assert len(whole) == wire.MAX_HEADER
    assert DECODERS[wire.CLIENT_TO_DAEMON].header(whole) == schema.STRUCTS["Status"](query=1)
    with pytest.raises(schema.Malformed, match="at most 65536"):
        DECODERS[wire.CLIENT_TO_DAEMON].header(whole + b"\xc0")


# --- hostile bytes


def read_somehow(data: bytes) -> None:
    """Whoever reads this gets a message that can be sent on, or `Malformed`, and nothing else."""
    told: list[str] = []
    for decoder in DECODERS.values():
        try:
            schema.encode(decoder.header(data))
        except schema.Malformed as error:
            told.append(str(error))
    assert all(0 < len(words) < 2000 for words in told)


@given(st.binary(max_size=400))
def test_random_bytes(data: bytes) -> None:
    read_somehow(data)


@given(st.sampled_from(BYTES), st.data())
def test_golden_bytes_cut_short(whole: bytes, data: st.DataObject) -> None:
    read_somehow(whole[: data.draw(st.integers(0, len(whole) - 1))])


@settings(max_examples=500)
@given(
    st.sampled_from(BYTES), st.lists(st.tuples(st.integers(0, 10_000), st.binary(min_size=1, max_size=6)), max_size=6)
)
def test_golden_bytes_overwritten(whole: bytes, changes: list[tuple[int, bytes]]) -> None:
    broken = bytearray(whole)
    for at, new in changes:
        at %= len(broken)
        broken[at : at + len(new)] = new
    read_somehow(bytes(broken))


ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.builds(msgpack.ExtType, st.integers(0, 127), st.binary(max_size=9))
    | st.builds(msgpack.Timestamp, st.integers(-(2**62), 2**62), st.integers(0, 999_999_999)),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(max_size=3) | st.integers(0, 9) | st.binary(max_size=2) | st.none(), inner, max_size=4
        )
    ),
    max_leaves=15,
)
FIELDS = st.sampled_from(sorted({field.name for kind in wire.KINDS for field in kind.fields}))


@settings(max_examples=500)
@given(st.sampled_from(wire.KINDS), st.dictionaries(FIELDS | st.text(max_size=4), ANYTHING, max_size=4))
def test_well_formed_messages_with_anything_in_their_fields(kind: wire.Kind, fields: dict[str, Any]) -> None:
    read_somehow(msgpack.packb(golden.example(kind, full=False) | fields))


SAY = b"\x84\xa4kind\xa3Say\xa4boot\xa1b\xa3req\xa1r\xa7options"
BOMBS = {
    "a hundred thousand lists": b"\x91" * 100_000,
    "sixty thousand lists where a map may be": SAY + b"\x81\xa1a" + b"\x91" * 60_000,
    "sixty thousand maps": SAY + b"\x81\xa1a" * 20_000,
    "nested keys": b"\x81" * 60_000,
    "sixty thousand empty maps": SAY + b"\x81\xa1a\xdd\x00\x00\xea\x60" + b"\x80" * 60_000,
    "sixty thousand one-letter keys": SAY + b"\xde\xff\xff" + b"\xa1a\xc0" * 20_000,
    "a list of 2^32": SAY + b"\x81\xa1a\xdd\xff\xff\xff\xff",
    "a map of 2^32": SAY + b"\x81\xa1a\xdf\xff\xff\xff\xff",
    "a string of 2^32": SAY + b"\x81\xa1a\xdb\xff\xff\xff\xff",
    "bytes of 2^32": SAY + b"\x81\xa1a\xc6\xff\xff\xff\xff",
    "an extension of 2^32": SAY + b"\x81\xa1a\xc9\xff\xff\xff\xff\x01",
    "lists of 2^32 in one another": SAY + b"\x81\xa1a" + b"\xdd\xff\xff\xff\xff" * 10_000,
    "names of 2^32": b"\x82\xa4kind\xa5Hello\xa8features\xdd\xff\xff\xff\xff",
    "a map as a key": SAY + b"\x81\xa1a\x81\x81\xa1x\x01\x01",
    "a list as a key": SAY + b"\x81\x91\x01\x01",
    "a lone surrogate": SAY + b"\x81\xa1a\xa3\xed\xa0\x80",
    "a time beyond all years": SAY + b"\x81\xa1a\xc7\x0c\xff" + b"\x00" * 4 + b"\x7f" + b"\xff" * 7,
    "the byte that nobody uses": b"\xc1",
    "the kind twice": b"\x82\xa4kind\xa6Status\xa4kind\xa3Say",
    "nothing": b"",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_does_not_go_off(name: str) -> None:
    tracemalloc.start()
    try:
        read_somehow(BOMBS[name])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16_000_000
