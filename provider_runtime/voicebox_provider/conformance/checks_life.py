"""Checks of how a provider comes, listens and goes."""

from __future__ import annotations

from typing import Any

import msgspec

from voicebox_protocol import wire
from voicebox_protocol.capabilities import Capabilities
from voicebox_protocol.errors import BadOption
from voicebox_protocol.fit import check_options
from voicebox_protocol.schema import Bye, Error, Hello, SegmentCancelled
from voicebox_provider.conformance.bench import HELLO_S, Bench
from voicebox_provider.conformance.life import Life
from voicebox_provider.conformance.verdicts import (
    BEATS,
    CANCELS,
    DOCUMENT,
    HELLO,
    LEAVES,
    MESSAGES,
    START,
    Broken,
    Skipped,
)

CANCEL_S = 10.0
LEAVE_S = 5.0
LIFELINE_S = 2.0
OWED_BEAT_S = 2.5

# Well into the work, on a busy machine too, and before it. More would cost slow engines a long text each.
_PAUSES_S = (1.0, 0.0)
_SILENCE_S = 0.4


def hello(bench: Bench) -> str:
    """Hello comes in time, with what the start line said; nothing else comes before Welcome."""
    life = bench.begin()
    said, _ = life.hear(HELLO_S, HELLO)
    if not isinstance(said, Hello):
        raise Broken(HELLO, f"the first thing it says is {type(said).__name__}, not Hello")
    took = bench.budget.now() - life.born
    for name in ("provider", "epoch", "token"):
        if getattr(said, name) != getattr(life.start, name):
            raise Broken(HELLO, f"Hello's {name} is {getattr(said, name)!r}, not that of the start line")
    if wire.agree(said.proto_min, said.proto_max) is None:
        raise Broken(HELLO, f"it speaks protocol {said.proto_min} to {said.proto_max}; there is {wire.PROTO_MAX}")
    if said.capabilities is None:
        life.welcome(said)
        bench.await_ready(life)
        raise Broken(HELLO, "Hello has no capabilities, and no Fault followed")
    if not life.silent(_SILENCE_S):
        raise Broken(HELLO, f"it said {type(life.hear(1.0, HELLO)[0]).__name__} before Welcome")
    bench.able = _document(said)
    life.welcome(said)
    return f"after {took:.2f} s"


def _document(said: Hello) -> Capabilities:
    try:
        return msgspec.convert(said.capabilities, Capabilities)
    except msgspec.ValidationError as error:
        raise Broken(DOCUMENT, str(error)) from None


def ready(bench: Bench) -> str:
    """It loads and says Ready, and is heard of while it loads."""
    began = bench.budget.now()
    longest = bench.await_ready(bench.begun)
    if longest > OWED_BEAT_S:
        raise Broken(BEATS, f"it was silent for {longest:.1f} s while it loaded")
    return f"after {bench.budget.now() - began:.2f} s"


def document(bench: Bench) -> str:
    """The capability document does not contradict itself."""
    able = bench.able
    names = [voice.id for voice in able.voices]
    for bad, words in (
        ("tts" not in able.kinds, f"kinds are {able.kinds}; there is no tts among them"),
        (not names and not able.cloning, "it lists no voice"),
        (able.cloning and not able.languages, "it clones, but lists no language"),
        (not set(able.cloning_models) <= set(able.models), "a cloning model is none of its models"),
        (len(set(names)) < len(names), "two voices have the same id"),
        (sum(voice.default for voice in able.voices) > 1, "more than one voice is the default"),
        (able.deterministic and not able.fingerprint, "it is deterministic, but has no fingerprint"),
    ):
        if bad:
            raise Broken(DOCUMENT, words)
    for name in ("speed", "pitch", "volume"):
        between = getattr(able, name)
        if between is not None and not 0 <= between[0] <= 1.0 <= between[1] < float("inf"):
            raise Broken(DOCUMENT, f"{name} is {list(between)}; it takes [lowest, highest] with 1 between them")
    for voice in able.voices:
        if not voice.languages:
            raise Broken(DOCUMENT, f"the voice {voice.id!r} lists no language")
    _check_schema(able)
    return f"{able.engine} {able.version}, voices: {len(names)}, {able.sample_rate} Hz"


def _check_schema(able: Capabilities) -> None:
    properties = able.options.get("properties", {})
    if able.options and not isinstance(properties, dict):
        raise Broken(DOCUMENT, "options is no JSON Schema of an object with properties")
    for name in properties:
        try:
            check_options({name: None}, able.engine, able.options)
        except BadOption as error:
            if "describes its options wrongly" in str(error):
                raise Broken(DOCUMENT, str(error)) from None


def cancel(bench: Bench) -> str:
    """Cancel is answered in time, whenever it comes, and the next segment is whole."""
    before = bench.reference
    slowest, stopped = 0.0, 0
    for pause in _PAUSES_S:
        life = bench.life
        asked = life.ask(bench.long_text, sample_rate=bench.able.sample_rate)
        life.silent(pause)
        life.cancel(asked)
        sent = bench.budget.now()
        spoken = bench.take(life.answer(asked, CANCEL_S, CANCELS))
        took = bench.budget.now() - sent
        if took > CANCEL_S:
            raise Broken(CANCELS, f"Cancel was answered after {took:.1f} s; it may take {CANCEL_S:g} s")
        slowest, stopped = max(slowest, took), stopped + isinstance(spoken.end, SegmentCancelled)
    after = bench.speak(bench.first, paragraph=CANCELS)
    if bench.able.deterministic and after.pieces != before.pieces:
        raise Broken(CANCELS, "the segment after a cancelled one has other samples than before it")
    return f"{stopped} of {len(_PAUSES_S)} stopped, {slowest * 1000:.0f} ms at most"


def stale(bench: Bench) -> str:
    """What belongs to another life of the daemon or the provider is dropped."""
    life, rate = bench.life, bench.able.sample_rate
    for name, value in (("boot", "another-boot"), ("epoch", life.start.epoch + 1)):
        wishes: dict[str, Any] = {"sample_rate": rate, name: value}
        life.ask(bench.first, **wishes)
        if not life.silent(_SILENCE_S):
            said = type(life.hear(1.0, MESSAGES)[0]).__name__
            raise Broken(MESSAGES, f"a Synthesize with a stale {name} was answered with {said}")
    asked = life.ask(bench.brief, sample_rate=rate)
    life.cancel(asked, epoch=life.start.epoch + 1)
    if not bench.take(life.answer(asked)).done:
        raise Broken(MESSAGES, "a Cancel with a stale epoch stopped a segment")
    return "dropped"


def unknown(bench: Bench) -> str:
    """A kind of message that it does not know is answered, and does no harm."""
    bench.life.send(msgspec.msgpack.encode({"kind": "NotOfThisVersion", "boot": "conformance", "x": {"y": [1, None]}}))
    answer = bench.life.expect(Error, LEAVE_S, MESSAGES)
    if answer.code != "UNSUPPORTED":
        raise Broken(MESSAGES, f"an unknown kind was answered with {answer.code}, not UNSUPPORTED")
    bench.speak(bench.brief)
    return "answered with UNSUPPORTED"


def beats(bench: Bench) -> str:
    """It is heard of while it works."""
    bench.listen()
    longest = max(spoken.longest_silence for spoken in bench.spoken)
    if longest > OWED_BEAT_S:
        raise Broken(BEATS, f"it was silent for {longest:.1f} s while it worked")
    if all(spoken.seconds < OWED_BEAT_S for spoken in bench.spoken):
        raise Skipped("no segment took long enough for one to be owed")
    return f"never silent for more than {longest:.1f} s"


def leaving(bench: Bench) -> str:
    """On Exit it says Bye and ends with 0."""
    life = bench.life
    life.leave()
    began = bench.budget.now()
    life.expect(Bye, LEAVE_S, LEAVES)
    code = life.exit_code(LEAVE_S)
    if code != 0:
        how = "its process did not end" if code is None else f"its process ended with code {code}, not 0"
        raise Broken(LEAVES, f"after Bye {how}")
    return f"gone after {bench.budget.now() - began:.2f} s"


def lifeline(bench: Bench) -> str:
    """When the daemon is gone, so is the provider, even in the middle of a segment."""
    with bench.another() as life:
        life.ask(bench.long_text, sample_rate=bench.able.sample_rate)
        return _cut(life, bench)


def _cut(life: Life, bench: Bench) -> str:
    began = bench.budget.now()
    life.cut_lifeline()
    if life.exit_code(LIFELINE_S) is None:
        raise Broken(START, f"it still ran {LIFELINE_S:g} s after the end of its standard input")
    return f"gone after {bench.budget.now() - began:.2f} s"
