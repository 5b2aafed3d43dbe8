"""One segment in work: from its message to exactly one terminal message."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from voicebox_protocol.capabilities import Capabilities
from voicebox_protocol.errors import InvalidText, ProviderFailed, Unspeakable, VoiceboxError
from voicebox_protocol.schema import Message, SegmentCancelled, SegmentDone, SegmentFailed
from voicebox_provider import requests
from voicebox_provider.arena import Arena
from voicebox_provider.chunk_writer import ChunkWriter, checked
from voicebox_provider.conversation import Job
from voicebox_provider.engine import Engine, Mark
from voicebox_provider.speakable import quoted, speakable, spoken_words
from voicebox_provider.style import Style, shared

if TYPE_CHECKING:
    from voicebox_provider.engine import Samples, Sound
    from voicebox_provider.stretch import Stretcher

_NOTE_CHARS = 4096


class Outlet(Protocol):
    """Where a segment's messages go: the link, or a test's list."""

    def send(self, message: Message, payload: memoryview | None = None) -> None:
        """Say something to the daemon."""

    def step(self) -> None:
        """The engine got on."""

    def beat(self, memory: Mapping[str, int | None]) -> None:
        """Say at once that it lives, and what it holds of its device: the fields of Beat."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What all segments of a process share. `own` is the engine's document, `offered` the published one; without `arena`
    sound travels in the messages."""

    provider: str
    engine: Engine
    own: Capabilities
    offered: Capabilities
    outlet: Outlet
    arena: Arena | None = None

    def memory_fields(self) -> dict[str, int | None]:
        """What the engine holds of its device, as fields of Ready and Beat; empty if it holds nothing or cannot tell."""
        try:
            found = self.engine.device_memory()
        except Exception as error:
            # A device that breaks down fails the segment, or has: it need not take the words about that with it.
            log_trace(error)
            return {}
        if found is None:
            return {}
        return {"vram_bytes": found.own, "vram_used_bytes": found.used, "vram_total_bytes": found.total}


class Segment:
    """Owns an engine's iterator, the stretcher behind it if one is needed, and the writer behind that."""

    def __init__(self, job: Job, desk: Desk) -> None:
        self._job = job
        self._desk = desk
        self._text = ""
        self._writer: ChunkWriter | None = None
        self._stretcher: Stretcher | None = None
        self._style = Style()
        self._sounds: Iterator[Sound] = iter(())

    def step(self) -> bool:
        """One array further. True once the terminal message was sent; whatever the engine raises ends up in it."""
        try:
            return self._advance()
        except VoiceboxError as error:
            self._fail(error.code, str(error))
        except Exception as error:
            log_trace(error)
            self._fail(ProviderFailed.code, f"the engine failed with {type(error).__name__}: {error}")
        return True

    def _advance(self) -> bool:
        if self._job.is_cancelled():
            return self._cancel()
        writer = self._writer or self._begin()
        for sound in self._sounds:
            if not self._job.is_cancelled():
                self._desk.outlet.step()
                self._write(writer, *_parts(sound))
            return False
        # An engine that heard of the cancelling by itself ends early, and that is no finished segment.
        return self._cancel() if self._job.is_cancelled() else self._finish(writer)

    def _begin(self) -> ChunkWriter:
        request, desk = self._job.request, self._desk
        self._text = _decoded(self._job.text)
        wish = requests.utterance(request, self._text, desk.provider, desk.offered, self._job.prompt)
        asked, self._style = shared(wish, desk.own)
        if self._style.stretches:
            from voicebox_provider.stretch import Stretcher

            self._stretcher = Stretcher(desk.own.sample_rate, self._style.speed, self._style.pitch)
        self._writer = ChunkWriter(
            request, desk.outlet.send, own_rate=desk.own.sample_rate, gain=self._style.volume, arena=desk.arena
        )
        heard = replace(asked, keep=self._writer.keep, cancelled=self._job.is_cancelled, progress=desk.outlet.step)
        self._sounds = iter(desk.engine.synthesize(heard))
        return self._writer

    def _write(self, writer: ChunkWriter, samples: Samples, marks: Sequence[Mark]) -> None:
        if not all(0 <= mark.char_start < mark.char_end <= len(self._text) and mark.frame >= 0 for mark in marks):
            raise ProviderFailed("the engine gave a mark that lies outside the text or the sound")
        if self._stretcher:
            self._stretcher.write(checked(samples))
            samples = samples[:0]
            marks = [mark._replace(frame=int(mark.frame / self._style.speed)) for mark in marks]
        writer.write(samples, marks)

    def _finish(self, writer: ChunkWriter) -> bool:
        if self._stretcher:
            writer.write(self._stretcher.finish())
        frames = writer.finish()
        if not frames and speakable(self._text):
            raise Unspeakable(f"the voice has no sound for {quoted(spoken_words(self._text))}")
        own = self._job.request
        self._send(SegmentDone(epoch=own.epoch, req=own.req, attempt=own.attempt, segment=own.segment, frames=frames))
        return True

    def _cancel(self) -> bool:
        self._close()
        own = self._job.request
        self._send(SegmentCancelled(epoch=own.epoch, req=own.req, attempt=own.attempt, segment=own.segment))
        return True

    def _fail(self, code: str, words: str) -> None:
        self._close()
        own = self._job.request
        note = words[:_NOTE_CHARS]
        self._send(
            SegmentFailed(
                epoch=own.epoch, req=own.req, attempt=own.attempt, segment=own.segment, code=code, message=note
            )
        )

    def _send(self, message: Message) -> None:
        # First, for the daemon weighs a provider when a segment is done.
        if memory := self._desk.memory_fields():
            self._desk.outlet.beat(memory)
        self._desk.outlet.send(message)

    def _close(self) -> None:
        """Let a generator run its `finally`; what it raises there changes nothing any more."""
        sounds, self._sounds = self._sounds, iter(())
        try:
            getattr(sounds, "close", lambda: None)()
        except Exception as error:
            log_trace(error)


def _parts(sound: Sound) -> tuple[Samples, Sequence[Mark]]:
    return sound if isinstance(sound, tuple) else (sound, ())


def _decoded(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise InvalidText(f"the segment is not UTF-8 at byte {error.start}") from None


def log_trace(error: Exception) -> None:
    """Where it broke, without the words of the error: they may quote the text, which no log may hold."""
    trace = "".join(traceback.format_tb(error.__traceback__))
    sys.stderr.write(f"the engine raised {type(error).__name__}:\n{trace}")
    sys.stderr.flush()
