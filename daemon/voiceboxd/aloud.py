"""One request for the loudspeaker, beside what the ledger has of it; and those that were heard, for whoever wants to hear them again."""

from __future__ import annotations

from collections import OrderedDict
from enum import Enum
from typing import NamedTuple

from msgspec.structs import replace

from voicebox_protocol import errors, schema, wire
from voiceboxd.hearing import Hearing
from voiceboxd.request import HeardPart, Request

_REMEMBERED = 16
# How a request ends that is not to be heard to the end of what there is.
_AT_ONCE = (errors.DeadlineExceeded, errors.ShuttingDown, errors.Stalled, errors.NoAudioDevice, errors.OutputFailed)
# What a player may keep back of sound that goes on, and what it plays between two reports.
_TAIL_S = 0.5


class At(Enum):
    """Where a request's sound is."""

    HOME = "nowhere but here"
    PLAYER = "with the player"
    HUSHED = "with the player, which was told to be silent"


class Aloud:
    """Owns what is known of one request: what was heard of it, where its sound is, and what is to happen once the player is silent.

    `again`: it is to be played anew then. `was_reset`: since it was told to begin a segment again, the player may still count sound
    that was taken back. `begun_at`: where the player was to begin; it can be no further back, even if it never began.
    """

    def __init__(self, request: Request, text: str) -> None:
        self.request = request
        self.hearing = Hearing(request.frames, request.delivered_chars)
        self.at = At.HOME
        self.again = False
        self.was_reset = False
        self.begun_at = 0
        self.hushed_at = 0.0
        self.broke_at: float | None = None
        self.waits_for_device = False
        self._text = [text]
        self._room = wire.MAX_TEXT

    @property
    def rate(self) -> int:
        """Hz, 0 before it is known."""
        return self.request.assignment.sample_rate if self.request.assignment else 0

    def keep(self, text: str) -> None:
        """More of its text has come. What does not fit is not kept, nor what follows: nothing is heard again after a hole."""
        self._room -= len(text)
        if self._room >= 0:
            self._text.append(text)

    @property
    def text(self) -> str:
        """As much of its text as is kept."""
        return "".join(self._text)

    @property
    def is_owed(self) -> bool:
        """Whether the player has enough to play: it may keep the last of it back until more comes, or until it hears that none does."""
        behind = self.hearing.end - self.hearing.heard
        return behind > (0 if self.request.verdict is not None else self.rate * _TAIL_S)

    def resumes(self, *, has_turn: bool) -> bool:
        """Whether what is left of one of which nothing more is made is still to be heard: one that failed has no other turn."""
        verdict = self.request.verdict
        assert verdict is not None
        failed_well = verdict.kind == "Failed" and has_turn and not isinstance(verdict.error, _AT_ONCE)
        return verdict.kind == "Done" or failed_well

    def heard_part(self) -> HeardPart:
        """What its terminal message tells."""
        hearing, whole = self.hearing, self.request.verdict is not None and self.request.verdict.kind == "Done"
        if whole and hearing.heard_all:
            return HeardPart(hearing.heard, self.request.delivered_chars)
        return HeardPart(hearing.heard, hearing.chars(self.rate or 1, whole=whole))

    def place(self, boot: str) -> schema.Heard | None:
        """How far its listener is; None before the first sound."""
        hearing, span = self.hearing, self.hearing.place
        if span is None or not self.rate:
            return None
        return schema.Heard(
            boot=boot,
            req=self.request.req,
            frames=hearing.heard,
            chars=hearing.chars(self.rate, whole=self.request.verdict is not None),
            segment=span.segment,
            segment_frame=span.start,
            char_start=span.char_start,
            char_end=span.char_end,
        )


class _Spoken(NamedTuple):
    say: schema.Say
    text: str
    prompt: bytes | None


class Replays:
    """Owns the last requests that were heard, as they were asked for."""

    def __init__(self) -> None:
        self._spoken: OrderedDict[str, _Spoken] = OrderedDict()

    def note(self, aloud: Aloud) -> None:
        """Something of it was heard."""
        request = aloud.request
        say = replace(
            request.say,
            seed=request.seed,
            more=None,
            from_segment=None,
            from_char=None,
            base_frames=None,
            from_frame=None,
            crc32=None,
        )
        self._spoken[request.req] = _Spoken(say, aloud.text, request.prompt)
        self._spoken.move_to_end(request.req)
        if len(self._spoken) > _REMEMBERED:
            self._spoken.popitem(last=False)

    def again(self, say: schema.Say) -> tuple[schema.Say, str, bytes | None]:
        """What `say.replay` names, as a request of its own, with its text and its voice prompt. Raises `NoSuchRequest`."""
        named = next(reversed(self._spoken), None) if say.replay == wire.LAST else say.replay
        if named is None or named not in self._spoken:
            raise errors.NoSuchRequest(
                "nothing was heard yet" if named is None else f"{named!r} is not among the last {_REMEMBERED} heard"
            )
        before = self._spoken[named]
        own = {name: getattr(say, name) for name in ("boot", "req", "follow", "detached", "wait_device", "deadline_ms")}
        return replace(before.say, **own, priority=say.priority or before.say.priority), before.text, before.prompt
