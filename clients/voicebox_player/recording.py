"""The sinks without a device: `wav:PATH` records what one would have played, `null` only takes as long."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import Any, Protocol

from voicebox_player.speaker import RATE, Opened, Speaker
from voicebox_player.turn import Samples
from voicebox_player.wave_file import WaveFile

BLOCK = RATE // 100
# What a device's buffers would have bridged when we come late; beyond it a listener hears a gap.
BUFFERED = 3 * BLOCK
_RETRY_S = 1.0
_NAME_CHARS = 128


class Tape(Protocol):
    """What is recorded on. `frames` stand there."""

    frames: int

    def write(self, samples: Samples) -> None:
        """Append samples, shape (frames,). Raises `OSError`."""

    def silence(self, frames: int) -> None:
        """Append so many frames of it. Raises `OSError`."""

    def close(self) -> None:
        """Let go of it."""


class NullTape:
    """Forgets what it is given."""

    def __init__(self, frames: int) -> None:
        self.frames = frames

    def write(self, samples: Samples) -> None:
        self.frames += len(samples)

    def silence(self, frames: int) -> None:
        self.frames += frames

    def close(self) -> None:
        pass


class Recorder:
    """Owns a thread that takes sound as a device does, a block every 10 ms, while there is any; without it sleeps. A file that
    cannot be written is tried again as long as there is something to write."""

    def __init__(self, speaker: Speaker, sink: str, frames: int) -> None:
        """`sink` is null or wav:PATH, of which `frames` stand from processes before this one."""
        self._speaker = speaker
        self._name = sink[:_NAME_CHARS]
        self._path = sink.removeprefix("wav:") if sink.startswith("wav:") else None
        self._frames = frames
        self._tape: Tape | None = None
        # When the first frame of the tape was heard, by the monotonic clock.
        self._begun = 0.0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="voicebox-recorder", daemon=True)
        self._thread.start()

    def use(self, device: str | None) -> None:
        """A recorder is the same whatever device is wished for."""

    def list_devices(self) -> list[dict[str, Any]]:
        """Where can be played: here alone."""
        return [{"name": self._name, "default": True, "backend": "null" if self._path is None else "wav"}]

    def close(self) -> None:
        """End the thread; what was recorded is whole."""
        with self._speaker.changed:
            self._closing = True
            self._speaker.changed.notify_all()
        self._thread.join()

    # --- everything below runs on the thread

    def _run(self) -> None:
        while (idle := self._wait()) is not None:
            try:
                tape = self._tape or self._open()
                self._keep_time(tape, idle=idle)
                self._speaker.play(BLOCK, tape.write)
            except OSError as error:
                self._fail(error)
        if self._tape is not None:
            self._tape.close()

    def _wait(self) -> bool | None:
        """Until there is something to be heard: whether that took any waiting, or None at the end."""
        speaker = self._speaker
        with speaker.changed:
            idle = not speaker.playback.is_wanted
            speaker.changed.wait_for(lambda: self._closing or speaker.playback.is_wanted)
            return None if self._closing else idle

    def _open(self) -> Tape:
        silent_s = 0.0
        if self._path is not None and self._frames:
            # Nobody else tells how long nothing was heard: it was written when its last block began.
            with contextlib.suppress(FileNotFoundError):
                silent_s = max(0.0, time.time() - Path(self._path).stat().st_mtime - BLOCK / RATE)
        self._tape = NullTape(self._frames) if self._path is None else _File(self._path, self._frames)
        self._begun = time.monotonic() - silent_s - self._tape.frames / RATE
        self._speaker.stand_at(self._tape.frames)
        self._speaker.tell(Opened(self._name))
        return self._tape

    def _keep_time(self, tape: Tape, *, idle: bool) -> None:
        """Until the next block is due. The blocks that we are late for are silence: a rest, or what no buffer would have bridged."""
        late = time.monotonic() - self._begun - tape.frames / RATE
        if late < 0:
            time.sleep(-late)
        gap = int(late * RATE) // BLOCK * BLOCK
        if gap <= (0 if idle else BUFFERED):
            return
        tape.silence(gap)
        self._speaker.stand_at(tape.frames)
        if not idle:
            self._speaker.miss()

    def _fail(self, error: OSError) -> None:
        if self._tape is not None:
            self._frames = self._tape.frames
            self._tape.close()
            self._tape = None
        words = f"cannot write {self._path}: {error.strerror or error}; set VOICEBOX_AUDIO_SINK to wav:PATH of a file that can be"
        self._speaker.tell(Opened(None, words))
        with self._speaker.changed:
            playback, turns = self._speaker.playback, self._speaker.playback.turns
            self._speaker.changed.wait_for(lambda: self._closing or playback.turns != turns, _RETRY_S)


class _File(WaveFile):
    """A wav file as a tape."""

    def __init__(self, path: str, frames: int) -> None:
        super().__init__(path, RATE, frames)

    def write(self, samples: Samples) -> None:
        self.append(samples.data)
