"""The thin client of voiceboxd: ask the machine's one voice service to speak, and read the sound as it is made.

    from voicebox_client import Voicebox

    with Voicebox() as box:
        box.say("The kettle is on.").save("kettle.wav")

Loads pyzmq, msgpack and little of the standard library. One `Voicebox` belongs to one thread at a time and to the
process that made it. Every error is one of `voicebox_protocol.errors`.
"""

from __future__ import annotations

from voicebox_client.client import Stopped, Voicebox
from voicebox_client.connection import Daemon
from voicebox_client.door import is_running
from voicebox_client.events import Accepted, Chunk, Event, Notice, Reset, Result
from voicebox_client.speech import Speech
from voicebox_protocol.errors import VoiceboxError

__all__ = [
    "Accepted",
    "Chunk",
    "Daemon",
    "Event",
    "Notice",
    "Reset",
    "Result",
    "Speech",
    "Stopped",
    "Voicebox",
    "VoiceboxError",
    "is_running",
]
