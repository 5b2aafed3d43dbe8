"""One recording to listen to: from its message to exactly one terminal message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from voicebox_protocol import fit, wire
from voicebox_protocol.errors import BadOption, BadReference, ProviderFailed, VoiceboxError
from voicebox_protocol.schema import Message, Prepared, SegmentCancelled, SegmentFailed
from voicebox_provider.conversation import Listening
from voicebox_provider.engine import Reference
from voicebox_provider.segment import Desk, log_trace

if TYPE_CHECKING:
    from voicebox_provider.engine import Samples

_NOTE_CHARS = 4096
_BYTES_PER_FRAME = 4


class Preparation:
    """Owns nothing but its job: the engine is asked once, and what it says is passed on."""

    def __init__(self, job: Listening, desk: Desk) -> None:
        self._job = job
        self._desk = desk

    def step(self) -> bool:
        """Do all of it. Always True: the terminal message was sent, with whatever the engine raised."""
        try:
            self._listen()
        except VoiceboxError as error:
            self._fail(error.code, str(error))
        except Exception as error:
            log_trace(error)
            self._fail(ProviderFailed.code, f"the engine failed with {type(error).__name__}: {error}")
        return True

    def _listen(self) -> None:
        own, desk = self._job.request, self._desk
        if not self._job.is_cancelled():
            prompt = desk.engine.prepare_voice(self._reference())
            if not isinstance(prompt, bytes) or not 0 < len(prompt) <= wire.MAX_PROMPT:
                raise ProviderFailed(f"the engine gave no voice prompt of 1 to {wire.MAX_PROMPT} bytes")
        if self._job.is_cancelled():
            self._send(SegmentCancelled(epoch=own.epoch, req=own.req, attempt=own.attempt, segment=own.segment))
            return
        model = own.model or desk.offered.cloning_model()
        done = Prepared(epoch=own.epoch, req=own.req, attempt=own.attempt, segment=own.segment, model=model)
        desk.outlet.send(done, memoryview(prompt))

    def _reference(self) -> Reference:
        """The second net: the daemon has looked at all of this but the samples."""
        own, desk = self._job.request, self._desk
        if not desk.offered.cloning:
            raise BadOption(f"{desk.provider} cannot speak like a recording (cloning)")
        fit.check_model(own.model, desk.provider, desk.offered)
        return Reference(
            samples=_samples(self._job.audio),
            sample_rate=own.sample_rate,
            text=own.text or None,
            model=own.model or desk.offered.cloning_model(),
            cancelled=self._job.is_cancelled,
            progress=desk.outlet.step,
        )

    def _fail(self, code: str, words: str) -> None:
        own = self._job.request
        self._send(
            SegmentFailed(
                epoch=own.epoch,
                req=own.req,
                attempt=own.attempt,
                segment=own.segment,
                code=code,
                message=words[:_NOTE_CHARS],
            )
        )

    def _send(self, message: Message) -> None:
        self._desk.outlet.send(message)


def _samples(audio: bytes) -> Samples:
    import numpy as np

    if not audio or len(audio) % _BYTES_PER_FRAME:
        raise BadReference(f"a recording of {len(audio)} bytes is none of float32 samples")
    samples = np.frombuffer(audio, "<f4").astype(np.float32)
    if not np.isfinite(samples).all():
        raise BadReference("the recording holds samples that are no numbers (NaN or infinite)")
    return samples
