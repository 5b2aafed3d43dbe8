"""What the loudspeaker is to play next, and what was heard of it. Its only clock are the frames that were heard.

A device may take sound long before it is heard, if it can give back what it holds. One that asks for so many frames at a time, and wants
silence where there is no sound, counts as having played what it has taken.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np

from voicebox_player.turn import Samples, Turn, ranges

# How often a second a listener's position is told.
_TELL_HZ = 10


class Credit(NamedTuple):
    """The pieces `first` to `last` need not be kept any more."""

    req: str
    first: int
    last: int


class Played(NamedTuple):
    """So many frames of the request's timeline were heard; with `last` nothing more of it will be."""

    req: str
    frames: int
    underruns: int
    last: bool = False


News: TypeAlias = Credit | Played


class Playback:
    """Owns the turn at a loudspeaker that takes `rate` frames a second. Whoever calls keeps other threads out."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.volume = 1.0
        self.muted = False
        self.paused = False
        # What the device has taken is not what is to be heard: it is to give that back.
        self.stale = False
        self.position: tuple[str, int] | None = None
        self.turns = 0
        self._turn: Turn | None = None
        self._flowing = False
        self._underruns = 0
        self._untold = 0
        self._news: list[News] = []

    @property
    def is_wanted(self) -> bool:
        """Whether the next pull gives sound, or finds that there should have been some."""
        return not self.paused and self._turn is not None and (self._flowing or self._turn.is_ready)

    @property
    def has_turn(self) -> bool:
        """Whether a request is being played that is not paused: sound comes, or will come."""
        return self._turn is not None and not self.paused

    @property
    def is_taken(self) -> bool:
        """Whether the device has all that there will be of the turn."""
        return self._turn is not None and self._turn.is_taken

    # --- what the daemon says

    def begin(self, req: str, rate: int, frame: int, at: int) -> None:
        """A request's turn. Raises `ValueError` if it cannot be one."""
        turn = Turn(req, rate, self.rate, frame, at)
        if self._turn is not None:
            self._silence(self._turn)
        self._turn, self._flowing, self._underruns = turn, False, 0
        self.turns += 1
        # The first sound is told at once.
        self._untold = self.rate

    def append(self, req: str, seq: int, samples: Samples) -> None:
        """The next piece of a request. One of a request that has no turn is credited and not heard."""
        if (turn := self._of(req)) is None:
            self._news.append(Credit(req, seq, seq))
            return
        turn.append(seq, samples)
        self._credit(turn)

    def drop(self, req: str, first: int, last: int) -> None:
        """Pieces that are not to be heard any more."""
        self._news.append(Credit(req, first, last))

    def reset(self, req: str, frames: int) -> None:
        """The request's timeline goes back. Raises `ValueError` if there is nothing to go back to."""
        if (turn := self._of(req)) is not None:
            taken, was_taken = turn.taken, turn.is_taken
            turn.reset(frames)
            # A device that has been told that this is all of it has to be told otherwise.
            self.stale |= turn.taken < taken or (was_taken and taken > 0)
            self._credit(turn)
            self.position = (req, turn.heard)

    def finish(self, req: str, frames: int) -> None:
        """No more sound of it comes. Raises `ValueError` if it has not all come that was sent."""
        if (turn := self._of(req)) is None:
            return
        if (come := turn.finish()) != frames:
            raise ValueError(f"Finish after {frames} frames, of which {come} have come")
        if turn.is_over:
            self._end(turn)

    def hush(self, req: str) -> None:
        """Nothing more of it is heard from now on."""
        if (turn := self._of(req)) is not None:
            self._silence(turn)

    # --- what the device takes

    def read(self, frames: int) -> Samples:
        """What the device is to have next, shape (up to `frames`,). None of it counts as heard yet."""
        turn = self._turn
        if turn is None or not self.is_wanted:
            return np.zeros(0, np.float32)
        out = np.empty(frames, np.float32)
        out = out[: turn.read(out)]
        self._flowing = True
        return self._loud(out)

    def hear(self, frames: int) -> None:
        """So many more frames, of those that the device has taken, were heard."""
        turn = self._turn
        # What the device had of one who was hushed meanwhile is no sound of the one who has the turn now.
        if turn is None or (frames and not turn.taken):
            return
        turn.hear(frames)
        self.position = (turn.req, turn.heard)
        self._credit(turn)
        if turn.is_over:
            self._end(turn)
        else:
            self._tell(turn, frames)

    def read_again(self, frames: int) -> Samples:
        """The last frames that the device has taken, up to so many of them, as they are to be heard now."""
        if (turn := self._turn) is None:
            return np.zeros(0, np.float32)
        out = np.empty(min(frames, turn.taken), np.float32)
        turn.take_back(len(out))
        turn.read(out)
        return self._loud(out)

    def take_all_back(self) -> None:
        """The device has given back all that it had, and waits for what is to be heard."""
        self.stale = self._flowing = False
        if self._turn is not None:
            self._turn.take_back(self._turn.taken)

    def run_dry(self) -> None:
        """The device has played all that it had. Where more is to come, that is an underrun."""
        if self._turn is not None and not self.paused and self._flowing:
            self._underruns += 1
            self._flowing = False

    def pull(self, frames: int) -> Samples:
        """What is heard next, shape (frames,): silence where there is nothing, or where it is not to be heard."""
        out = np.zeros(frames, np.float32)
        if self.is_wanted:
            sound = self.read(frames)
            out[: len(sound)] = sound
            self.hear(len(sound))
            if len(sound) < frames:
                self.run_dry()
        return out

    def miss(self) -> None:
        """The device had to go without sound, for we came too late."""
        self._underruns += self.is_wanted

    def news(self) -> list[News]:
        """What happened since this was asked last."""
        news, self._news = self._news, []
        return news

    @property
    def has_news(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._news)

    # --- its own books

    def _of(self, req: str) -> Turn | None:
        return self._turn if self._turn is not None and self._turn.req == req else None

    def _loud(self, out: Samples) -> Samples:
        if self.muted:
            out[:] = 0
        elif self.volume != 1:
            out *= np.float32(self.volume)
        return out

    def _tell(self, turn: Turn, frames: int) -> None:
        self._untold += frames
        if self._untold * _TELL_HZ >= self.rate:
            self._untold = 0
            self._news.append(Played(turn.req, turn.heard, self._underruns))

    def _credit(self, turn: Turn) -> None:
        self._news += (Credit(turn.req, first, last) for first, last in ranges(turn.credits()))

    def _silence(self, turn: Turn) -> None:
        self.stale |= turn.taken > 0
        turn.drop()
        self._end(turn)

    def _end(self, turn: Turn) -> None:
        self._credit(turn)
        self._news.append(Played(turn.req, turn.heard, self._underruns, last=True))
        self._turn, self._flowing = None, False
