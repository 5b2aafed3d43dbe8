"""The thin client of voiceboxd: ask the machine's one voice service to speak, and read the sound as it is made.

    from voicebox_client import Voicebox

    with Voicebox() as box:
        box.say("The kettle is on.").save("kettle.wav")

Loads pyzmq, msgpack and little of the standard library; `AsyncVoicebox`, once it is asked for, anyio as well. One
`Voicebox` belongs to one thread at a time and to the process that made it. Every error is one of
`voicebox_protocol.errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from voicebox_client.client import Touched, Voicebox
from voicebox_client.connection import Daemon
from voicebox_client.door import is_running
from voicebox_client.events import Accepted, Chunk, Event, Heard, Notice, Reset, Result
from voicebox_client.speech import Speech
from voicebox_client.voice_prompt import VoicePrompt
from voicebox_protocol.errors import VoiceboxError

if TYPE_CHECKING:
    from voicebox_client.aio import AsyncSpeech, AsyncVoicebox

__all__ = [
    "Accepted",
    "AsyncSpeech",
    "AsyncVoicebox",
    "Chunk",
    "Daemon",
    "Event",
    "Heard",
    "Notice",
    "Reset",
    "Result",
    "Speech",
    "Touched",
    "VoicePrompt",
    "Voicebox",
    "VoiceboxError",
    "is_running",
]


def __getattr__(name: str) -> Any:
    if name in ("AsyncSpeech", "AsyncVoicebox"):
        from voicebox_client import aio

        return getattr(aio, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
