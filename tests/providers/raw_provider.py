"""A provider written from docs/protocol.md with ZeroMQ and msgpack alone, which tells the lie that its argument names."""

from __future__ import annotations

import json
import os
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

RATE = 16000
FAILS, HARMLESS = "fails", "harmless"
PATIENCE_MS = 1000

LIES: dict[str, tuple[str, Callable[[Liar], None]]] = {}
ROBBERIES: list[str] = []
THE_LIKELY = [(attempt, segment) for attempt in (1, 2) for segment in (0, 1)]


def lie(outcome: str) -> Callable[[Callable[[Liar], None]], Callable[[Liar], None]]:
    def known(told: Callable[[Liar], None]) -> Callable[[Liar], None]:
        LIES[told.__name__.replace("_", "-")] = (outcome, told)
        return told

    return known


class Liar:
    """One life. A lie changes what it is, or replaces `answer`."""

    def __init__(self, start: dict[str, Any]) -> None:
        import msgpack
        import zmq

        self.pack = msgpack.packb
        self.unpack = msgpack.unpackb
        self.start = start
        self.dealer = zmq.Context().socket(zmq.DEALER)
        self.dealer.linger = 0
        self.dealer.connect(start["address"])
        self.epoch = start["epoch"]
        self.hello = {"epoch": self.epoch, "token": start["token"], "provider": start["provider"]}
        self.document: Any = {
            "engine": "raw", "version": "1", "sample_rate": RATE,
            "voices": [{"id": "raw", "languages": ["en"], "default": True}],
        }  # fmt: skip
        self.before: Callable[[], None] = lambda: None
        self.after: Callable[[], None] = lambda: None
        self.answer: Callable[[dict[str, Any]], None] = self.speak

    def frames(self, *frames: bytes) -> None:
        self.dealer.send_multipart(frames)

    def say(self, kind: str, payload: bytes | None = None, **fields: Any) -> None:
        self.frames(b"VB1", self.pack({"kind": kind, **fields}), *([] if payload is None else [payload]))

    def greet(self) -> None:
        self.say("Hello", proto_min=1, proto_max=1, agent="raw/1", capabilities=self.document, **self.hello)

    def live(self) -> None:
        self.before()
        self.greet()
        if not self.dealer.poll(PATIENCE_MS):
            # A stranger is told nothing: it has no business here.
            os._exit(78)
        self.dealer.recv_multipart()
        self.say("Ready", epoch=self.epoch, load_ms=1.0)
        self.after()
        while True:
            _, header, *_ = self.dealer.recv_multipart()
            asked = self.unpack(header)
            if asked["kind"] == "Exit":
                self.say("Bye", epoch=self.epoch)
                return
            if asked["kind"] == "Synthesize":
                self.answer({name: asked[name] for name in ("epoch", "req", "attempt", "segment")})

    def chunk(self, whose: dict[str, Any], frames: int = 1600, **changed: Any) -> None:
        sound = struct.pack("<f", 0.25) * frames
        fields = {"seq": 0, "descriptors": [[0, 0, frames, zlib.crc32(sound)]], "payload": sound, **whose, **changed}
        self.say("Chunk", **fields)

    def speak(self, whose: dict[str, Any]) -> None:
        self.chunk(whose)
        self.say("SegmentDone", frames=1600, **whose)


# --- nothing


@lie(FAILS)
def reads_nothing(liar: Liar) -> None:
    liar.after = lambda: time.sleep(3600)


@lie(FAILS)
def dies_in_mid_sentence(liar: Liar) -> None:
    def answer(whose: dict[str, Any]) -> None:
        liar.chunk(whose)
        time.sleep(0.1)  # until it has left
        os._exit(1)

    liar.answer = answer


# --- bytes


def instead(liar: Liar, *frames: bytes) -> None:
    liar.answer = lambda whose: liar.frames(*frames)


@lie(FAILS)
def one_frame(liar: Liar) -> None:
    instead(liar, b"VB1")


@lie(FAILS)
def five_frames(liar: Liar) -> None:
    instead(liar, b"VB1", liar.pack({"kind": "Beat", "epoch": liar.epoch, "steps": 1}), b"", b"", b"")


@lie(FAILS)
def wrong_magic(liar: Liar) -> None:
    instead(liar, b"VB9", liar.pack({"kind": "Beat", "epoch": liar.epoch, "steps": 1}))


@lie(FAILS)
def truncated_header(liar: Liar) -> None:
    instead(liar, b"VB1", liar.pack({"kind": "Beat", "epoch": liar.epoch, "steps": 1})[:-3])


@lie(FAILS)
def no_map(liar: Liar) -> None:
    instead(liar, b"VB1", b"\xc0")


@lie(FAILS)
def wrong_types(liar: Liar) -> None:
    instead(liar, b"VB1", liar.pack({"kind": "Beat", "epoch": "one", "steps": []}))


@lie(FAILS)
def a_clients_kind(liar: Liar) -> None:
    liar.answer = lambda whose: liar.say("Hello", proto_min=1, proto_max=1, agent="twice", **liar.hello)


@lie(FAILS)
def oversized_frame(liar: Liar) -> None:
    instead(liar, b"VB1", b"x" * (8 * 1024 * 1024 + 1))


@lie(FAILS)
def nested_100_000_deep(liar: Liar) -> None:
    instead(liar, b"VB1", b"\x91" * 100_000 + b"\xc0")


@lie(FAILS)
def nested_60_000_deep_in_a_field(liar: Liar) -> None:
    instead(
        liar, b"VB1", b"\x82" + liar.pack("kind") + liar.pack("Beat") + liar.pack("steps") + b"\x91" * 60_000 + b"\xc0"
    )


@lie(HARMLESS)
def unknown_kind(liar: Liar) -> None:
    liar.after = lambda: [liar.say("Levitate", epoch=liar.epoch, height=n) for n in range(100)] and None


@lie(HARMLESS)
def unknown_field(liar: Liar) -> None:
    liar.after = lambda: liar.say("Beat", epoch=liar.epoch, steps=1, colour={"deep": [[[]]]})


# --- names


@lie(FAILS)
def forged_token(liar: Liar) -> None:
    liar.hello["token"] = "f" * 32


@lie(FAILS)
def forged_epoch(liar: Liar) -> None:
    liar.hello["epoch"] = liar.epoch + 1


@lie(FAILS)
def anothers_name(liar: Liar) -> None:
    liar.hello["provider"] = "builtin"


@lie(FAILS)
def ready_without_hello(liar: Liar) -> None:
    liar.greet = lambda: liar.say("Ready", epoch=liar.epoch, load_ms=1.0)  # type: ignore[method-assign]


@lie(FAILS)
def hello_twice(liar: Liar) -> None:
    liar.after = lambda: liar.greet()


@lie(HARMLESS)
def ready_twice(liar: Liar) -> None:
    liar.after = lambda: liar.say("Ready", epoch=liar.epoch, load_ms=1.0)


def first(liar: Liar, **changed: Any) -> None:
    """Sound in somebody else's name, and an end of it; then what was asked for."""

    def answer(whose: dict[str, Any]) -> None:
        for name, value in changed.items():
            forged = {**whose, name: value(whose[name])}
            liar.chunk(forged, 800)
            liar.say("SegmentDone", frames=800, **forged)
        liar.speak(whose)

    liar.answer = answer


@lie(HARMLESS)
def stale_epoch(liar: Liar) -> None:
    first(liar, epoch=lambda epoch: epoch - 1)


@lie(HARMLESS)
def future_epoch(liar: Liar) -> None:
    first(liar, epoch=lambda epoch: epoch + 1)


@lie(HARMLESS)
def forged_request(liar: Liar) -> None:
    first(liar, req=lambda _: "somebody-elses")


@lie(HARMLESS)
def forged_attempt(liar: Liar) -> None:
    first(liar, attempt=lambda attempt: attempt + 1)


@lie(HARMLESS)
def forged_boot_and_session(liar: Liar) -> None:
    def answer(whose: dict[str, Any]) -> None:
        names: dict[str, Any] = {"boot": "f" * 16, "session": "f" * 16}
        liar.chunk(whose, **names)
        liar.say("SegmentDone", frames=1600, **whose, **names)

    liar.answer = answer


@lie(FAILS)
def forged_segment(liar: Liar) -> None:
    first(liar, segment=lambda segment: segment + 1)


def robbery(kind: str, **fields: Any) -> None:
    """A lie that speaks for the request of the setting `victim`, which another provider may be at this moment.

    It cannot know how far that is, so it tries the likely attempts and segments.
    """

    def told(liar: Liar) -> None:
        victim = liar.start["settings"].get("victim", "nobodys")

        def answer(whose: dict[str, Any]) -> None:
            for attempt, segment in THE_LIKELY:
                forged = {**whose, "req": victim, "attempt": attempt, "segment": segment}
                if kind == "Chunk":
                    liar.chunk(forged, 800, seq=attempt)
                else:
                    liar.say(kind, **forged, **fields)
            liar.speak(whose)

        liar.answer = answer

    ROBBERIES.append(f"anothers-{kind.lower()}")
    LIES[ROBBERIES[-1]] = (HARMLESS, told)


robbery("Chunk")
robbery("SegmentDone", frames=1600)
robbery("SegmentFailed", code="UNSPEAKABLE", message="no, it cannot be spoken")
robbery("SegmentCancelled")
robbery("Resumed", frames=1600, crc32=0)


@lie(HARMLESS)
def sound_unasked(liar: Liar) -> None:
    liar.after = lambda: liar.chunk({"epoch": liar.epoch, "req": "nobodys", "attempt": 1, "segment": 0})


# --- sound


@lie(FAILS)
def wrong_seq(liar: Liar) -> None:
    liar.answer = lambda whose: liar.chunk(whose, seq=7)


@lie(FAILS)
def offset_outside(liar: Liar) -> None:
    liar.answer = lambda whose: liar.chunk(whose, descriptors=[[0, 2**64 - 4, 1600, 0]])


@lie(FAILS)
def frames_outside(liar: Liar) -> None:
    liar.answer = lambda whose: liar.chunk(whose, descriptors=[[0, 0, 1601, 0]])


@lie(FAILS)
def unknown_arena(liar: Liar) -> None:
    liar.answer = lambda whose: liar.chunk(whose, descriptors=[[9, 0, 1600, 0]])


@lie(FAILS)
def anothers_arena(liar: Liar) -> None:
    liar.answer = lambda whose: liar.chunk(whose, descriptors=[[1, 0, 1600, 0]], payload=None)


@lie(FAILS)
def an_arena_it_says_it_has(liar: Liar) -> None:
    liar.hello["features"] = ["arena"]
    anothers_arena(liar)


@lie(FAILS)
def surplus_bytes(liar: Liar) -> None:
    liar.answer = lambda whose: liar.chunk(whose, payload=bytes(1600 * 4 + 1))


@lie(FAILS)
def no_payload(liar: Liar) -> None:
    liar.answer = lambda whose: liar.chunk(whose, payload=None)


@lie(FAILS)
def piece_too_long(liar: Liar) -> None:
    liar.answer = lambda whose: liar.chunk(whose, RATE)


@lie(FAILS)
def without_end(liar: Liar) -> None:
    liar.answer = lambda whose: [liar.chunk(whose, RATE // 2, seq=n) for n in range(400)] and None


@lie(FAILS)
def tiny_pieces(liar: Liar) -> None:
    def answer(whose: dict[str, Any]) -> None:
        one = zlib.crc32(bytes(4))
        for n in range(20):
            pieces = [[0, 4 * at, 1, one] for at in range(256)]
            liar.chunk(whose, seq=256 * n, descriptors=pieces, payload=bytes(4 * 256))

    liar.answer = answer


@lie(FAILS)
def huge_marks(liar: Liar) -> None:
    mark = {"frame": 2**64 - 1, "char_start": 2**64 - 1, "char_end": 2**64 - 1}
    liar.answer = lambda whose: liar.chunk(whose, marks=[mark])


@lie(FAILS)
def negative_marks(liar: Liar) -> None:
    liar.answer = lambda whose: liar.chunk(whose, marks=[{"frame": -1, "char_start": 0, "char_end": 1}])


@lie(FAILS)
def marks_that_are_none(liar: Liar) -> None:
    liar.answer = lambda whose: liar.chunk(whose, marks=[{"frame": [], "char_start": "x"}])


# --- ends


@lie(FAILS)
def wrong_count(liar: Liar) -> None:
    def answer(whose: dict[str, Any]) -> None:
        liar.chunk(whose)
        liar.say("SegmentDone", frames=1601, **whose)

    liar.answer = answer


@lie(FAILS)
def resumed_unasked(liar: Liar) -> None:
    liar.answer = lambda whose: liar.say("Resumed", frames=0, crc32=0, **whose)


@lie(FAILS)
def cancelled_unasked(liar: Liar) -> None:
    liar.answer = lambda whose: liar.say("SegmentCancelled", **whose)


@lie(HARMLESS)
def two_ends(liar: Liar) -> None:
    def answer(whose: dict[str, Any]) -> None:
        liar.speak(whose)
        liar.say("SegmentDone", frames=1600, **whose)
        liar.say("SegmentFailed", code="INTERNAL", message="no, it did not", **whose)
        liar.say("SegmentCancelled", **whose)
        liar.chunk(whose, seq=1)

    liar.answer = answer


# --- capability documents


def describe(name: str, change: Callable[[Any, Liar], Any]) -> None:
    def told(liar: Liar) -> None:
        liar.document = change(liar.document, liar)

    LIES[f"document-{name}"] = (FAILS, told)


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def ext() -> Any:
    import msgpack

    return msgpack.ExtType(5, b"ext")


describe("rate-0", lambda own, _: {**own, "sample_rate": 0})
describe("wrong-types", lambda own, _: {**own, "voices": "many", "engine": 5})
describe("no-engine", lambda own, _: {"version": "1"})
describe("int-keys", lambda own, _: {**own, "options": {1: 2}})
describe("nested", lambda own, _: {**own, "options": {"deep": nested(400)}})
describe("extension", lambda own, _: {**own, "options": {"ext": ext()}})
describe("nan", lambda own, _: {**own, "speed": [float("nan"), 2.0]})
describe("bytes", lambda own, _: {**own, "options": {"bytes": b"\xff"}})
describe("list", lambda own, _: [own])
describe("100-kb", lambda own, _: {**own, "fingerprint": "x" * 100_000})
describe("10-mb", lambda own, _: {**own, "fingerprint": "x" * 10_000_000})
describe("none", lambda own, _: None)


def lifeline() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def main() -> None:
    liar = Liar(json.loads(sys.stdin.buffer.readline()))
    LIES[sys.argv[1]][1](liar)
    threading.Thread(target=lifeline, daemon=True).start()
    liar.live()


if __name__ == "__main__":
    main()
