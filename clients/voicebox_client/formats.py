"""The formats of sound files, and which of them a file gets: the one asked for, else that of its suffix, else wav."""

from __future__ import annotations

import os

from voicebox_client import targets
from voicebox_protocol.errors import BadFormat

FORMATS = ("wav", "flac", "mp3", "opus", "pcm")

_BY_SUFFIX = {**{name: name for name in FORMATS}, "ogg": "opus"}


def format_for(path: str | os.PathLike[str], wanted: str | None) -> str:
    """The format of a file. `BadFormat` if one is asked for that is not known, or an ordinary file's suffix is not."""
    if wanted is not None:
        if wanted not in FORMATS:
            raise _unknown(f"the format {wanted!r}")
        return wanted
    suffix = os.path.splitext(os.fspath(path))[1][1:].lower()  # noqa: PTH122
    if suffix and suffix not in _BY_SUFFIX and targets.is_ordinary(path):
        raise _unknown(f"the suffix .{suffix}")
    return _BY_SUFFIX.get(suffix, "wav")


def _unknown(what: str) -> BadFormat:
    return BadFormat(f"{what} is not known; the formats are {', '.join(FORMATS)}")
