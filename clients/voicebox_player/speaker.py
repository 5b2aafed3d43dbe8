"""The loudspeaker as two threads see it: one says what to play, the other, which the device or a clock drives, takes it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from voicebox_player.playback import News, Playback
from voicebox_player.turn import Samples
from voicebox_protocol.position import Position, PositionPage

RATE = 48_000


class Opened(NamedTuple):
    """A device plays from now on; `name` is None where none can, and `message` says why and what to do."""

    name: str | None
    message: str | None = None


class Listed(NamedTuple):
    """The devices that were asked for by query number `query`; None and why if they could not be listed."""

    query: int
    devices: list[dict[str, Any]]


Told: TypeAlias = News | Opened | Listed


class Speaker:
    """Owns the playback, the page with its position, and what is to be told. `changed` is the lock over all of it, and is notified
    when there may be something to play."""

    def __init__(self, page: PositionPage, wake: Callable[[], None]) -> None:
        """`wake` is called from any thread when there is something to tell."""
        self.changed = threading.Condition()
        self.playback = Playback(RATE)
        self._sounded = 0.0
        self._rouse: Callable[[], None] | None = None
        self._page = page
        self._wake = wake
        self._device_frames = 0
        self._told: deque[Told] = deque()

    # --- for the thread that hears the daemon

    def stir(self) -> None:
        """Sound comes, or how it is to be heard has changed. The caller holds `changed`."""
        self.sound()
        self.rouse()

    def rouse(self) -> None:
        """Have the thread that plays look what there is to do. The caller holds `changed`."""
        self.changed.notify_all()
        if self._rouse is not None:
            self._rouse()

    def news(self) -> list[Told]:
        """What is to be told since this was asked last."""
        with self.changed:
            told: list[Told] = [*self._told, *self.playback.news()]
            self._told.clear()
            return told

    # --- for the thread that plays

    @property
    def quiet_s(self) -> float:
        """For how long no sound has come or been heard."""
        return time.monotonic() - self._sounded

    def sound(self) -> None:
        """There is sound now. The caller holds `changed`."""
        self._sounded = time.monotonic()

    def rouse_by(self, wake: Callable[[], None] | None) -> None:
        """By what else than `changed` it is to be roused. The caller holds `changed`."""
        self._rouse = wake

    def hear(self, frames: int) -> None:
        """So many more frames, of those that the device has taken, were heard. The caller holds `changed`."""
        self.playback.hear(frames)
        self._device_frames += frames
        self.note()

    def play(self, frames: int, write: Callable[[Samples], None]) -> None:
        """Hand the next frames to the device, and note that they were heard."""
        with self.changed:
            if self.playback.is_wanted:
                self.sound()
            write(self.playback.pull(frames))
            self._device_frames += frames
            self.note()

    def stand_at(self, device_frames: int) -> None:
        """So many frames have gone to the device, as who counts them himself knows."""
        with self.changed:
            self._device_frames = device_frames
            self.note()

    def miss(self) -> None:
        """The device had to go without sound, for we came too late."""
        with self.changed:
            self.playback.miss()

    def tell(self, what: Told) -> None:
        """Have it told."""
        with self.changed:
            self._told.append(what)
        self._wake()

    def note(self) -> None:
        """Write the position to the page, and see to it that what there is to tell is told. The caller holds `changed`."""
        req, heard = self.playback.position or ("", 0)
        self._page.write(Position(req, heard, self._device_frames))
        if self.playback.has_news:
            self._wake()
