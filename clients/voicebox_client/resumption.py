"""What a Speech needs so that another daemon can go on with it: its request, its text, and an account of what it has."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from voicebox_client.events import BYTES_PER_FRAME, Accepted, Result
from voicebox_client.kept_text import KeptText
from voicebox_protocol import checksum, wire

if TYPE_CHECKING:
    from voicebox_client.connection import Connection
    from voicebox_client.feeder import TextSource

# How many daemons in a row may bring no new sound.
MOST_TRIES = 3


class Standing:
    """Owns the account of what has come: of segment `segment`, which begins at character `char` and frame `base`, `frames`
    with the CRC-32 `crc`. `complete` segments stand before it: all but those of which the rest was skipped."""

    def __init__(self) -> None:
        self.segment = 0
        self.char = 0
        self.base = 0
        self.frames = 0
        self.crc = 0
        self.complete = 0
        self._char_end = 0

    @property
    def end(self) -> int:
        """Frames in the timeline."""
        return self.base + self.frames

    def book(self, header: dict[str, Any]) -> None:
        """A `Chunk` came. Its samples need not be read: the CRCs of its pieces make that of the whole."""
        if header["segment"] != self.segment:
            self._pass_on(header["segment"], complete=self.frames > 0)
        self.char, self._char_end = header["char_start"], header["char_end"]
        for _, _, frames, crc in header["descriptors"]:
            self.crc = checksum.combine(self.crc, crc, frames * BYTES_PER_FRAME)
            self.frames += frames

    def skip(self) -> None:
        """The rest of the segment will not come."""
        if self.frames:
            self._pass_on(self.segment + 1, complete=False)
            self.char = self._char_end

    def take_back(self, frames: int) -> None:
        """The segment begins again, at frame `frames`."""
        self.base, self.frames, self.crc = frames, 0, 0

    def part(self) -> dict[str, int]:
        """What the next daemon is told of a segment that there is something of."""
        return {"from_frame": self.frames, "crc32": self.crc} if self.frames else {}

    def _pass_on(self, segment: int, *, complete: bool) -> None:
        self.base, self.frames, self.crc = self.end, 0, 0
        self.complete += complete
        self.segment = segment


class Hearing(Standing):
    """The account of one for the loudspeaker: of segment `segment`, `frames` were *heard*. It will be said again from its start, so
    nobody need know what these were. `chars` of the text were heard in all."""

    def __init__(self) -> None:
        super().__init__()
        self.chars = 0
        self._skipped = 0

    def listen(self, header: dict[str, Any]) -> None:
        """A `Heard` came."""
        if header["segment"] != self.segment and self._char_end:
            # Which one is not whole is not told; one of those that are heard from then on.
            self.complete += not self._skipped
            self._skipped = max(0, self._skipped - 1)
        self.segment, self.base = header["segment"], header["segment_frame"]
        self.frames = header["frames"] - self.base
        self.char, self._char_end, self.chars = header["char_start"], header["char_end"], header["chars"]

    def skip(self) -> None:
        self._skipped += 1

    def part(self) -> dict[str, int]:
        return {}


class Resumption:
    """Owns the request as it was made, and what has become of it over all daemons.

    `text` is the whole of it, or the keeper of one that is still being written.
    """

    def __init__(self, fields: dict[str, Any], text: bytes | KeptText) -> None:
        self._fields = fields
        self._text = text
        self._asked_at = time.monotonic()
        self._first_sound_at: float | None = None
        self._standing: Standing = Hearing() if fields.get("sink") == "speaker" else Standing()
        self._furthest = 0
        self._tries = 0
        self._weakest: str | None = None
        self._broken: list[dict[str, Any]] = []
        self._moved = False
        self._not_complete = 0

    # --- what comes

    def hear(self, kind: str, header: dict[str, Any]) -> None:
        """Take a message of the daemon's into the account."""
        if kind == "Chunk":
            self._standing.book(header)
            self._get_on()
        elif kind == "Heard" and isinstance(self._standing, Hearing):
            self._standing.listen(header)
            self._get_on()
        elif kind == "Reset":
            self._standing.take_back(header["frames"])
            self._weaken("segment")
        elif kind == "Notice" and header["code"] == "SKIPPED":
            self._standing.skip()
            self._weaken("next")
        elif kind == "Notice" and header["code"] == "RESUMED":
            self._weaken("exact")

    def _get_on(self) -> None:
        if self.kept is not None:
            self.kept.forget_before(self._standing.char)
        if self._first_sound_at is None:
            self._first_sound_at = time.monotonic()
        if self._standing.end > self._furthest:
            self._furthest, self._tries = self._standing.end, 0

    def _weaken(self, what: str | None) -> None:
        self._weakest = max(self._weakest, what, key=(None, *wire.RESUMED).index)

    # --- the next daemon

    @property
    def kept(self) -> KeptText | None:
        """The text, if it is one that is still being written."""
        return self._text if isinstance(self._text, KeptText) else None

    @property
    def hindrance(self) -> str | None:
        """Why it cannot go on with another daemon, or None."""
        if self.kept is not None and self.kept.lost:
            return "more text without a word had come than is kept"
        if self._tries >= MOST_TRIES:
            return f"{self._tries} others in a row had brought no new sound"
        return None

    @property
    def in_the_middle(self) -> bool:
        """Whether the next daemon must be one that can begin elsewhere than at the beginning."""
        return bool(self._standing.segment or self._standing.frames)

    def move(self, accepted: Accepted | None, reason: str) -> tuple[dict[str, Any], bytes]:
        """A daemon is gone: the fields and the payload of the `Say` by which the next one goes on."""
        self._moved = True
        self._tries += 1
        fields = self._fields | self._time_left()
        if accepted is not None:
            run = {"provider": accepted.provider, "voice": accepted.voice, "epoch": None}
            self._broken.append({**run, "outcome": "failed", "reason": reason})
            fields |= _named(accepted)
        if self.in_the_middle:
            fields |= self._where()
        return fields, b"" if isinstance(self._text, KeptText) else self._text.decode()[self._standing.char :].encode()

    def rejoin(self, link: Connection) -> TextSource | None:
        """Where the next daemon gets more text from than that payload, if there is more."""
        if self.kept is not None:
            self.kept.rejoin(link)
        return self.kept

    def _time_left(self) -> dict[str, int]:
        if (deadline := self._fields.get("deadline_ms")) is None:
            return {}
        return {"deadline_ms": max(0, deadline - int((time.monotonic() - self._asked_at) * 1000))}

    def _where(self) -> dict[str, int]:
        own = self._standing
        self._not_complete = own.segment - own.complete
        return {"from_segment": own.segment, "from_char": own.char, "base_frames": own.base} | own.part()

    # --- the end

    def whole(self, last: Result, accepted: Accepted | None) -> Result:
        """The result over all daemons, from that of the last one. With more than one, times are by this side's clock."""
        if not self._moved:
            return last
        self._weaken(last.resumed)
        result = last._replace(
            segments=last.segments - self._not_complete,
            resumed=self._weakest,
            attempts=[*self._broken, *last.attempts],
            first_audio_ms=None if self._first_sound_at is None else self._after(self._first_sound_at),
            total_ms=self._after(time.monotonic()),
        )
        return result if accepted is None or last.provider is not None else self._left(result, accepted)

    def _left(self, result: Result, accepted: Accepted) -> Result:
        """The last daemon did not even begin: what there is comes from those before."""
        own = self._standing
        if isinstance(own, Hearing):
            result = result._replace(heard_chars=own.chars, heard_s=own.end / accepted.sample_rate)
        return result._replace(
            provider=accepted.provider,
            voice=accepted.voice,
            sample_rate=accepted.sample_rate,
            seed=accepted.seed,
            frames=own.end,
            segments=own.complete,
            delivered_chars=own.char,
        )

    def _after(self, moment: float) -> float:
        return (moment - self._asked_at) * 1000


def _named(accepted: Accepted) -> dict[str, Any]:
    """Who spoke is to go on. The language follows, as it did then, from the voice and from what was asked."""
    return {
        "provider": accepted.provider,
        "voice": accepted.voice,
        "seed": accepted.seed,
        "sample_rate": accepted.sample_rate,
    }
