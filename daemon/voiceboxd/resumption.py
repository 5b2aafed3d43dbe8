"""A request that another daemon began: what its client says it has of it, checked as far as that can be without the text.

Nobody here can know whether it is true. A client that lies gets its own request wrong and no other: the part of a segment
that it claims must come out again with the same CRC before anything follows, and its counts are only counted on from.
"""

from __future__ import annotations

from typing import NamedTuple

from voicebox_protocol import errors, schema

# All that is counted on from these numbers must still fit the wire.
_MOST_SEGMENTS = 2**31
_MOST = 2**53


class Part(NamedTuple):
    """What a client has of the segment that its request goes on with: so many frames, and the CRC-32 of their samples."""

    frames: int
    crc: int


class Standing(NamedTuple):
    """Where a request stands: `segment`, which begins at character `char` and frame `base`, comes next; the client has a
    `part` of it already, if there is one."""

    segment: int = 0
    char: int = 0
    base: int = 0
    part: Part | None = None

    @property
    def frames(self) -> int:
        """Frames in the client's timeline."""
        return self.base + (self.part.frames if self.part else 0)


def standing(say: schema.Say) -> Standing:
    """Where a request stands when it comes in; `BadRequest` if its numbers cannot be right together."""
    claims = {name: getattr(say, name) or 0 for name in ("from_char", "base_frames", "from_frame", "crc32")}
    if say.from_segment is None:
        for name in claims:
            if getattr(say, name) is not None:
                raise errors.BadRequest(f"{name} goes with from_segment, which is missing")
        return Standing()
    _check_before(say.from_segment, claims)
    _check_part(say.from_frame, say.crc32)
    if say.from_segment or say.from_frame:
        _check_named(say)
    part = Part(say.from_frame, say.crc32 or 0) if say.from_frame else None
    return Standing(say.from_segment, claims["from_char"], claims["base_frames"], part)


def _check_before(segment: int, claims: dict[str, int]) -> None:
    if segment > _MOST_SEGMENTS:
        raise errors.BadRequest(f"from_segment is {segment}; it takes at most {_MOST_SEGMENTS}")
    for name, value in claims.items():
        if value > _MOST:
            raise errors.BadRequest(f"{name} is {value}; it takes at most {_MOST}")
    if claims["from_char"] < segment:
        raise errors.BadRequest(
            f"from_char is {claims['from_char']}; {segment} segments before it have more characters"
        )
    if not segment:
        for name in ("from_char", "base_frames"):
            if claims[name]:
                raise errors.BadRequest(f"{name} is {claims[name]}, but nothing lies before segment 0")


def _check_part(frames: int | None, crc: int | None) -> None:
    if frames and crc is None:
        raise errors.BadRequest(f"from_frame is {frames}; crc32, that of their samples, is missing")
    if crc and not frames:
        raise errors.BadRequest("crc32 goes with from_frame, which is missing")


def _check_named(say: schema.Say) -> None:
    """Another voice, seed or rate than those before would be a swap in the middle of the timeline."""
    for name in ("provider", "voice", "seed", "sample_rate"):
        if getattr(say, name) is None:
            raise errors.BadRequest(f"{name} is missing: to go on takes what Accepted said")
