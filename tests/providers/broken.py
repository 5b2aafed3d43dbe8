"""Engines broken on purpose, one rule each. What the runner would prevent is broken in the runner itself, from inside."""

from __future__ import annotations

import itertools
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec
import numpy as np

from voicebox_protocol.capabilities import Capabilities, Voice
from voicebox_protocol.errors import BadPrompt
from voicebox_protocol.schema import Chunk, Message, Resumed, SegmentDone
from voicebox_provider import conversation, greeting, lifeline, requests
from voicebox_provider.engine import Engine, Extend, Reference, Utterance
from voicebox_provider.link import Link

if TYPE_CHECKING:
    from voicebox_provider.engine import Samples

RATE = 16000


class Sound(Engine):
    """What they have in common, and nothing wrong with it: a tone for each letter."""

    voices: ClassVar = ("one", "two")

    def capabilities(self) -> Capabilities:
        return Capabilities(
            engine="broken",
            version="1",
            voices=[Voice(id=name, languages=["en"], scripts=["Latn"]) for name in self.voices],
            sample_rate=RATE,
            max_chars=300,
            streaming=True,
            deterministic=True,
            fingerprint="broken 1",
            speed=(0.5, 2.0),
        )

    def load(self, extend: Extend) -> None:
        pass

    def synthesize(self, utterance: Utterance) -> Iterator[Samples]:
        for letter in utterance.text:
            yield self.tone(ord(letter) * 7 % 500 + 200, 0.05 / utterance.speed)

    def tone(self, hertz: float, seconds: float, phase: float = 0.0) -> Samples:
        when = np.arange(int(RATE * seconds)) / RATE
        return (0.3 * np.sin(2 * np.pi * hertz * when + phase)).astype(np.float32)


class Garbled(Sound):
    """Base of those whose messages are wrong: `garble` changes what is sent."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        send = Link.send

        def wrong(link: Link, message: Message, payload: memoryview | None = None) -> None:
            send(link, *self.garble(message, payload))

        Link.send = wrong  # type: ignore[method-assign]

    def garble(self, message: Message, payload: memoryview | None) -> tuple[Message, memoryview | None]:
        raise NotImplementedError


def changed(message: Message, **fields: Any) -> Message:
    return msgspec.structs.replace(message, **fields)


class Stranger(Sound):
    """Says Hello with a token of its own."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        hello: Callable[..., Message] = greeting._hello
        greeting._hello = lambda *given: changed(hello(*given), token="guessed")


class TwoDefaults(Sound):
    """Has two default voices."""

    def capabilities(self) -> Capabilities:
        able = super().capabilities()
        return msgspec.structs.replace(able, voices=[changed(v, default=True) for v in able.voices])


class Mute(Sound):
    """Lists a voice that gives silence."""

    def synthesize(self, utterance: Utterance) -> Iterator[Samples]:
        for array in super().synthesize(utterance):
            yield array * (utterance.voice == "one")


class Unhurried(Sound):
    """Lists speeds, and has one."""

    def synthesize(self, utterance: Utterance) -> Iterator[Samples]:
        yield from super().synthesize(replace(utterance, speed=1.0))


class Agreeable(Sound):
    """Takes every wish, and drops it."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        requests.fit.check = lambda *_: None


class Fickle(Sound):
    """Calls itself deterministic, and draws chance from the clock."""

    def tone(self, hertz: float, seconds: float, phase: float = 0.0) -> Samples:
        return super().tone(hertz, seconds, time.monotonic_ns() % 1000 / 1000)


class Mindful(Sound):
    """Goes on from where the text before it ended."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self._count = itertools.count()

    def tone(self, hertz: float, seconds: float, phase: float = 0.0) -> Samples:
        return super().tone(hertz, seconds, next(self._count) / 10)


class BornAnew(Sound):
    """Repeats itself, but not its former life."""

    def tone(self, hertz: float, seconds: float, phase: float = 0.0) -> Samples:
        return super().tone(hertz, seconds, os.getpid() / 100)


class WrongSums(Garbled):
    """Sends a CRC that is not that of the samples."""

    def garble(self, message: Message, payload: memoryview | None) -> tuple[Message, memoryview | None]:
        if isinstance(message, Chunk):
            wrong = [(arena, offset, frames, crc ^ 1) for arena, offset, frames, crc in message.descriptors]
            return changed(message, descriptors=wrong), payload
        return message, payload


class TooLoud(Garbled):
    """Sends samples beyond 1."""

    def garble(self, message: Message, payload: memoryview | None) -> tuple[Message, memoryview | None]:
        if not isinstance(message, Chunk) or payload is None:
            return message, payload
        loud = memoryview((np.frombuffer(payload, "<f4") * 5).tobytes())
        sums = [
            (arena, offset, frames, zlib.crc32(loud[offset : offset + 4 * frames]))
            for arena, offset, frames, _ in message.descriptors
        ]
        return changed(message, descriptors=sums), loud


class Miscounted(Garbled):
    """Numbers its pieces from 1."""

    def garble(self, message: Message, payload: memoryview | None) -> tuple[Message, memoryview | None]:
        return (changed(message, seq=message.seq + 1) if isinstance(message, Chunk) else message), payload


class Boastful(Garbled):
    """Says that there was more than there was."""

    def garble(self, message: Message, payload: memoryview | None) -> tuple[Message, memoryview | None]:
        return (changed(message, frames=message.frames + 1) if isinstance(message, SegmentDone) else message), payload


class Swears(Garbled):
    """Swears to a prefix that it did not make."""

    def garble(self, message: Message, payload: memoryview | None) -> tuple[Message, memoryview | None]:
        return (changed(message, crc32=message.crc32 ^ 1) if isinstance(message, Resumed) else message), payload


class Stubborn(Sound):
    """Does not hear of Cancel for longer than it may."""

    def synthesize(self, utterance: Utterance) -> Iterator[Samples]:
        if len(utterance.text) > 100:
            time.sleep(13)
        yield from super().synthesize(utterance)


class Unaware(Sound):
    """Answers to whatever is asked in anybody's name."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        conversation.Conversation._is_stale = lambda *_: False  # type: ignore[method-assign]


class Silent(Sound):
    """Says nothing while it loads."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        conversation.BEAT_S = 1000.0

    def load(self, extend: Extend) -> None:
        time.sleep(3)


class Swallows(Sound):
    """Ends at the first emoji, and says that all is well."""

    def synthesize(self, utterance: Utterance) -> Iterator[Samples]:
        yield from super().synthesize(replace(utterance, text=utterance.text.partition("🙂")[0]))


class Breathless(Sound):
    """Leaves out what is long about a word."""

    def synthesize(self, utterance: Utterance) -> Iterator[Samples]:
        text = " ".join(word[:40] for word in utterance.text.split())
        yield from super().synthesize(replace(utterance, text=text))


class Listener(Sound):
    """Nothing is wrong with it either: it has no voice but those of recordings."""

    voices: ClassVar = ()

    def capabilities(self) -> Capabilities:
        return msgspec.structs.replace(super().capabilities(), cloning=True, languages=["en"], scripts=["Latn"])

    def prepare_voice(self, reference: Reference) -> bytes:
        return b"loud as %.6f" % abs(reference.samples).max()

    def synthesize(self, utterance: Utterance) -> Iterator[Samples]:
        if not (utterance.prompt or b"").startswith(b"loud as 0.3") or len(utterance.prompt or b"") != 16:
            raise BadPrompt("it was not made here")
        yield from super().synthesize(utterance)


class Gullible(Listener):
    """Speaks whatever the voice prompt is."""

    def synthesize(self, utterance: Utterance) -> Iterator[Samples]:
        yield from super().synthesize(replace(utterance, prompt=b"loud as 0.300000"))


class Leaky(Sound):
    """Keeps a megabyte of each segment."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self._kept: list[bytes] = []

    def synthesize(self, utterance: Utterance) -> Iterator[Samples]:
        self._kept.append(os.urandom(1_000_000))
        yield from super().synthesize(utterance)


class Hasty(Sound):
    """Is gone before it has said Bye."""

    def unload(self) -> None:
        os._exit(3)


class Orphan(Sound):
    """Lives on without its daemon."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        lifeline.is_cut = lambda *_: time.sleep(0.01)  # type: ignore[assignment]
