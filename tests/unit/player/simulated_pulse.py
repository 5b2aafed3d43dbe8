"""A stream at a sound server in virtual time, which records what was heard. What it tells comes a tick late, as over a socket."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from voicebox_player.playback import Played
from voicebox_player.pulse_device import PulseDevice
from voicebox_player.speaker import RATE, Speaker
from voicebox_player.turn import Samples
from voicebox_protocol.errors import NoAudioDevice
from voicebox_protocol.position import PositionPage

NOTHING = np.zeros(0, np.float32)
TICK_S = 0.02
TICK = round(RATE * TICK_S)

_BUFFER = RATE


class Clock:
    """Seconds, which pass when the server waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Server:
    """Owns what was written, by its place in the stream. `heard` is what came out of the loudspeaker, with the silence of an empty stream.

    PulseAudio plays what there is and waits for more. With `whole`, as PipeWire, it plays nothing where less than a tick is left, and reads
    on past the end once it was told that there will be no more.
    """

    def __init__(self, clock: Clock, *, whole: bool = False) -> None:
        self.clock = clock
        self.heard = NOTHING
        self.corked = True
        self.hangs = self.dead = self.closed = False
        self.latency_known = True
        self.rewritten = 0
        self.sink = b"out"
        self.script: Iterator[Callable[[], None]] = iter(())
        self._whole = whole
        self._tape = NOTHING
        self._read = 0
        self._playing = False
        self._dry_at = self._dry_known = self._dry_told = -1
        # The server's own request, which only it forgets, and the answer that whoever asked waits for.
        self._to_drain = self._drained = False
        self._asked = self._answered = False

    @property
    def room(self) -> int:
        return max(0, _BUFFER - self._left)

    @property
    def unheard(self) -> int | None:
        return max(0, self._left) if self.latency_known else None

    def write(self, samples: Samples, back: int = 0) -> None:
        assert len(samples)
        begin = len(self._tape) - back
        assert begin >= 0
        if back:
            assert len(samples) == back
            self.rewritten += 1
        else:
            self._asked = self._answered = False
        self._tape = np.concatenate([self._tape[:begin], samples])
        assert self._left <= _BUFFER

    def cork(self, corked: bool) -> None:
        self.corked = corked

    def flush(self) -> None:
        self._tape = np.concatenate([self._tape, np.zeros(max(0, -self._left), np.float32)])[: self._read]
        self._asked = self._answered = False

    def is_drained(self) -> bool:
        if not self._asked:
            self._asked = self._to_drain = True
            self._answered = False
        if self._answered:
            self._asked = self._answered = False
            return True
        return False

    def held(self) -> int:
        self.corked = True
        return max(0, self._left)

    def written_since_dry(self) -> int | None:
        if self._dry_told == self._dry_known:
            return None
        self._dry_told = self._dry_known
        return max(0, len(self._tape) - self._dry_told)

    def description(self, sink: bytes) -> str | None:
        return {b"out": "Loudspeaker", b"head": "Headphones"}.get(sink)

    def wait(self, seconds: float) -> None:
        """A tick, or several while it is silent; then the script goes on."""
        if self.dead:
            raise NoAudioDevice("it is gone")
        self._dry_known = self._dry_at
        self._answered |= self._asked and self._drained
        self._drained = False
        took = min(seconds, TICK_S) if not self.corked else min(seconds, 10 * TICK_S)
        self.clock.now += took
        if not self.corked and not self.hangs:
            sound = self._render(round(took * RATE))
            self.heard = np.concatenate([self.heard, sound])
        for what in self.script:
            what()
            break

    def wake(self) -> None:
        pass

    def close(self) -> None:
        self.closed = True

    @property
    def _left(self) -> int:
        return len(self._tape) - self._read

    def _render(self, frames: int) -> Samples:
        out = np.zeros(frames, np.float32)
        there = max(0, min(frames, self._left))
        if there < frames:
            if self._to_drain:
                self._to_drain, self._drained = False, True
            else:
                if self._playing:
                    self._dry_at = self._read if self._whole else self._read + there
                there = 0 if self._whole else there
            ahead = frames if self._whole and self._drained else there
        else:
            ahead = frames
        self._playing = there == frames
        out[:there] = self._tape[self._read : self._read + there]
        self._read += ahead
        return out


class Room:
    """A speaker, a device, and a server. What a test does comes in between the server's ticks, until it has no more to do."""

    def __init__(self, page: PositionPage, clock: Clock) -> None:
        self.clock = clock
        self.told: list[Any] = []
        self.speaker = Speaker(page, lambda: None)
        self.playback = self.speaker.playback
        self.server = Server(clock)
        self.device = PulseDevice(self.server, clock.monotonic)
        self.over = False
        self.seq = 0

    def play(self, script: Iterator[None] | None = None) -> None:
        """Until the device is not to be open any longer."""
        self.server.script = iter(lambda: lambda: self._go(script), None)
        self.device.play(self.speaker, lambda: self.over)

    def _go(self, script: Iterator[None] | None) -> None:
        if script is not None:
            next(script, None)
        self.told += self.speaker.news()

    def begin(self, req: str = "r", sound: Samples = NOTHING) -> None:
        with self.speaker.changed:
            self.playback.begin(req, RATE, 0, 0)
            self.seq = 0
            self.speaker.stir()
        if len(sound):
            self.append(sound, req)

    def append(self, sound: Samples, req: str = "r") -> None:
        with self.speaker.changed:
            self.playback.append(req, self.seq, sound)
            self.seq += 1
            self.speaker.stir()

    def finish(self, frames: int, req: str = "r") -> None:
        with self.speaker.changed:
            self.playback.finish(req, frames)
            self.speaker.stir()

    def change(self, **how: Any) -> None:
        with self.speaker.changed:
            for name, value in how.items():
                setattr(self.playback, name, value)
            self.speaker.stir()

    def sound(self) -> Samples:
        """What was heard, without the silence."""
        return self.server.heard[self.server.heard != 0]

    def ends(self, req: str = "r") -> list[Played]:
        return [told for told in self.told if isinstance(told, Played) and told.req == req and told.last]
