"""What is fuzzed: for each decoder a function that takes any bytes and lets out nothing but what the decoder may raise.

They need no fuzzer: the default test run plays the corpus, which the fuzzer has found, through them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgpack
import msgspec
import zmq

from tests.unit.protocol import golden
from voicebox_client.connection import _unpack
from voicebox_client.voice_prompt import VoicePrompt
from voicebox_protocol import fit, schema, wire
from voicebox_protocol.errors import BadOption, BadPrompt, VoiceboxError
from voicebox_protocol.plain import is_plain
from voicebox_protocol.schema import Decoder, Malformed
from voicebox_protocol.startline import StartLine
from voicebox_provider import voice_prompt
from voiceboxd import dispatcher, segmentation
from voiceboxd.candidates import Candidate, Undecided, Wish
from voiceboxd.choice import choose
from voiceboxd.effects import Violation
from voiceboxd.provider_gateway import _capabilities

CORPUS = Path(__file__).parent / "corpus"
WAYS = (wire.CLIENT_TO_DAEMON, wire.DAEMON_TO_CLIENT, wire.PROVIDER_TO_DAEMON, wire.DAEMON_TO_PROVIDER)
LANGUAGES = ("en", "ja", "zh-Hans", "hi", "am", "de-DE", "xx", "")


class Target(NamedTuple):
    """One decoder: `check` fails if it does what it may not; `seeds` are well-formed inputs, `longest` bounds others.
    `structured` inputs are MessagePack: the fuzzer then also changes values, not only bytes."""

    check: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]
    longest: int = 2048
    structured: bool = False


# --- headers


def header(decoder: Decoder, way: str, data: bytes) -> None:
    """What is read can be written and read again, to the same."""
    try:
        message = decoder.message(wire.MAGIC, data)
    except Malformed:
        return
    assert type(message).__name__ in {kind.name for kind in wire.kinds_of(way)}
    # By their bytes: a NaN in a map equals nothing, and an extension type shows its address.
    written = schema.encode(message)
    assert schema.encode(decoder.message(wire.MAGIC, written)) == written


def headers(way: str) -> Iterator[bytes]:
    for kind in wire.kinds_of(way):
        for example in golden.read()[kind.name].values():
            yield bytes.fromhex(example)


# --- the start line


def start_line(data: bytes) -> None:
    try:
        read = StartLine.decode(data)
    except ValueError:
        return
    assert repr(StartLine.decode(read.encode())) == repr(read)


def start_lines() -> Iterator[bytes]:
    least = StartLine("ipc:///run/p.sock", "builtin", 3, "token", 77)
    yield least.encode()
    yield least._replace(engine="a:B", server_key="k" * 40, settings={"deep": [{"list": [1, None, 0.5, "é"]}]}).encode()


# --- capability documents


def document(data: bytes) -> None:
    """All that the daemon does with one: as of a Hello that came, whose last field is `data`."""
    frame = _HELLO + data
    try:
        hello = _FROM_PROVIDERS.message(wire.MAGIC, frame)
    except Malformed:
        return
    assert isinstance(hello, schema.Hello)
    try:
        able = _capabilities(hello)
    except Violation:
        return
    if able is None:
        return
    told = dispatcher.voices_of("p", able)
    schema.encode(schema.VoicesReply(query=1, voices=told))
    schema.encode(schema.ProvidersReply(query=1, providers=[{"capabilities": msgspec.to_builtins(able)}]))
    for say in (
        schema.Say(boot="b", req="r"),
        schema.Say(boot="b", req="r", language="en", speed=1.1, voice="a", options={"n": 1}),
    ):
        for cloned in (False, True):
            with contextlib.suppress(VoiceboxError):
                assert not isinstance(choose(say, [Candidate("p", able, None)], Wish(), cloned=cloned), Undecided)


_FROM_PROVIDERS = Decoder(wire.PROVIDER_TO_DAEMON)
_HELLO = (
    b"\x85"
    + b"".join(map(msgpack.packb, ("kind", "Hello", "proto_min", 1, "proto_max", 1, "agent", "a", "capabilities")))
)  # fmt: skip


def documents() -> Iterator[bytes]:
    voice = {"id": "a", "name": "A", "languages": ["en-US"], "scripts": ["Latn"], "gender": None, "default": True}
    least = {"engine": "e", "version": "1"}
    yield msgpack.packb(least)
    yield msgpack.packb(
        {
            **least,
            "kinds": ["tts"],
            "voices": [voice, {"id": "b"}],
            "sample_rate": 24000,
            "max_chars": 400,
            "streaming": True,
            "deterministic": True,
            "fingerprint": "f",
            "concurrency": 2,
            "speed": [0.5, 2.0],
            "pitch": None,
            "runner": ["volume"],
            "cloning": True,
            "cloning_models": ["m"],
            "languages": ["en"],
            "scripts": ["Latn"],
            "models": ["m"],
            "devices": ["cpu"],
            "memory_bytes": 1 << 40,
            "options": {"type": "object", "properties": {"n": {"type": "number", "minimum": 0}}},
        }
    )


# --- options


def options(data: bytes) -> None:
    """`data` is a list of a schema and of options, both as a peer may send them."""
    try:
        asked = _AN_OPTIONS_PAIR.decode(data)
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return
    if not is_plain(asked[0]):
        # Such a capability document is not let in.
        return
    with contextlib.suppress(BadOption):
        fit.check_options(asked[1], "engine", asked[0])


_AN_OPTIONS_PAIR = msgspec.msgpack.Decoder(tuple[dict[str, Any], dict[str, Any]])


def option_pairs() -> Iterator[bytes]:
    number = {"type": "number", "minimum": 0, "exclusiveMaximum": 9, "multipleOf": 0.5, "default": 1}
    word = {"type": "string", "minLength": 1, "maxLength": 5, "pattern": "^[a-z]+$", "enum": ["a", "b"], "const": "a"}
    many = {"type": "array", "items": number, "prefixItems": [word], "uniqueItems": True, "contains": {}, "maxItems": 3}
    deep = {"type": "object", "required": ["n"], "additionalProperties": False, "dependentRequired": {"n": ["w"]}}
    either = {
        "anyOf": [word, number],
        "not": many,
        "oneOf": [True],
        "allOf": [{}],
        "if": word,
        "then": {},
        "else": False,
    }
    schemas = {"n": number, "w": word, "many": many, "deep": deep, "either": either, "again": {"$ref": "#"}}
    values = {"n": 1.5, "w": "a", "many": ["a", 1, 2], "deep": {"n": 1, "w": 2}, "either": 1, "again": {"n": 1}}
    for name, own in schemas.items():
        yield msgpack.packb([{"type": "object", "properties": {name: own}}, {name: values[name]}])
    yield msgpack.packb([{"properties": schemas, "patternProperties": {"^x": number}}, values])


# --- the client


def frames(data: bytes) -> None:
    """The client takes these for the end of its connection; anything else would end the program."""
    payload = [zmq.Frame(data)] if len(data) % 2 else []
    try:
        read, rest = _unpack([zmq.Frame(wire.MAGIC), zmq.Frame(data), *payload])
    except (LookupError, TypeError, ValueError):
        return
    assert isinstance(read, dict)
    assert rest.readonly
    assert len(rest) == (len(data) if payload else 0)


# --- voice prompts


def prompt(data: bytes) -> None:
    """What an engine reads; all of it can be used."""
    with contextlib.suppress(BadPrompt):
        read = voice_prompt.decode(data, book_size=64)
        assert voice_prompt.decode(voice_prompt.encode(read)) == read
        assert read.code_steps.shape[1] == voice_prompt.BOOKS
        assert len(read.speaker)


def prompts() -> Iterator[bytes]:
    known: dict[str, Any] = {"format": 1, "key": "0f" * 32, "model": "m", "revision": "r", "embedding": bytes(8)}
    yield msgpack.packb({**known, "mode": "x_vector"})
    yield msgpack.packb({**known, "mode": "in_context", "codes": bytes(range(64)), "text": "Nobody spoke."})


def kept_prompt(data: bytes) -> None:
    """What a client reads from a file."""
    with contextlib.suppress(BadPrompt):
        read = VoicePrompt._read(data, "a file")
        assert 0 < len(read.data) <= wire.MAX_PROMPT
        assert read.provider


def kept_prompts() -> Iterator[bytes]:
    for model in ("m", None):
        yield msgpack.packb(
            {"kind": "voicebox voice prompt", "format": 1, "provider": "p", "model": model, "prompt": b"prompt"}
        )


# --- text


def text(data: bytes) -> None:
    """Nothing is lost, no segment is longer than the voice's longest, and when the pieces came does not matter."""
    if len(data) < 4:
        return
    language, most = LANGUAGES[data[0] % len(LANGUAGES)], 20 + data[1]
    written = data[4:].decode("utf-8", "ignore")
    whole = _cut(language, most, data[2] % 2 == 1, [written])
    assert "".join(segment.text for segment in whole) == written
    assert all(0 < len(segment.text) <= most for segment in whole)
    assert [segment.start for segment in whole[1:]] == [segment.end for segment in whole[:-1]]
    step = data[3] + 1
    pieces = [written[at : at + step] for at in range(0, len(written), step)]
    assert _cut(language, most, data[2] % 2 == 1, pieces) == whole


def _cut(language: str, most: int, shorten: bool, pieces: list[str]) -> list[segmentation.Segment]:
    segmenter = segmentation.Segmenter(language, most, shorten_first=shorten)
    found = []
    for piece in pieces:
        segmenter.feed(piece)
        while segment := segmenter.next():
            found.append(segment)
    segmenter.finish()
    while segment := segmenter.next():
        found.append(segment)
    assert segmenter.exhausted
    return found


def texts() -> Iterator[bytes]:
    samples = (
        'Dr. Smith paid 3.50 at 5 p.m. He left! Did he? "Yes," she said.\n\nA new paragraph; with clauses: many — of them.',
        "吾輩は猫である。名前はまだ無い！「どこで生れたか」とんと見当がつかぬ。",
        "नमस्ते। आप कैसे हैं? ok… e\u0301\u200d👩\u200d👩\u200d👧 ۔ ؟ 12.5.",
        "\u0085 .\x1c\u2028! a\u00a0b " * 9,
        "x" * 300,
    )
    for number, sample in enumerate(samples):
        for language in range(len(LANGUAGES)):
            yield bytes([language, 40 * number, number % 2, 7 * language]) + sample.encode()


TARGETS: dict[str, Target] = {
    **{
        f"header-{way.replace(' → ', '-to-')}": Target(
            partial(header, Decoder(way), way), partial(headers, way), longest=4096, structured=True
        )
        for way in WAYS
    },
    "start-line": Target(start_line, start_lines),
    "capabilities": Target(document, documents, structured=True),
    "options": Target(options, option_pairs, structured=True),
    "client-frames": Target(frames, partial(headers, wire.DAEMON_TO_CLIENT), structured=True),
    "voice-prompt": Target(prompt, prompts, structured=True),
    "kept-voice-prompt": Target(kept_prompt, kept_prompts, structured=True),
    "segmenter": Target(text, texts, longest=1024),
}
