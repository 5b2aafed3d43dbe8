"""Written by build/write_protocol.py from the table in wire.py; do not edit."""

from typing import Any

import msgspec

class Message(msgspec.Struct, tag_field="kind", omit_defaults=True, kw_only=True):
    pass

class Malformed(ValueError): ...

class Unsupported(Malformed):
    query: int | None
    req: str | None
    def __init__(self, kind: str, query: int | None, req: str | None) -> None: ...

class Decoder:
    def __init__(self, way: str) -> None: ...
    def header(self, data: bytes | memoryview) -> Message: ...
    def message(self, magic: bytes | memoryview, header: bytes | memoryview) -> Message: ...

def encode(message: Message) -> bytes: ...

STRUCTS: dict[str, type[Message]]

class Hello(Message, tag="Hello", kw_only=True):
    proto_min: int
    proto_max: int
    agent: str
    features: list[str] | None = None
    token: str | None = None
    provider: str | None = None
    epoch: int | None = None
    pid: int | None = None
    player: str | None = None
    capabilities: dict[str, Any] | None = None

class Welcome(Message, tag="Welcome", kw_only=True):
    proto: int
    boot: str
    session: str
    token: str | None = None
    version: str
    pid: int
    mode: str | None = None
    features: list[str] | None = None
    limits: dict[str, Any] | None = None

class Error(Message, tag="Error", kw_only=True):
    code: str
    message: str
    query: int | None = None
    req: str | None = None

class Bye(Message, tag="Bye", kw_only=True):
    reason: str | None = None

class Say(Message, tag="Say", kw_only=True):
    boot: str
    req: str
    voice: str | None = None
    language: str | None = None
    provider: str | None = None
    model: str | None = None
    instruct: str | None = None
    speed: float | None = None
    pitch: float | None = None
    volume: float | None = None
    seed: int | None = None
    sample_rate: int | None = None
    priority: str | None = None
    deadline_ms: int | None = None
    on_failure: str | None = None
    any_voice: bool | None = None
    sink: str | None = None
    follow: bool | None = None
    detached: bool | None = None
    wait_device: bool | None = None
    replay: str | None = None
    options: dict[str, Any] | None = None
    more: bool | None = None
    from_segment: int | None = None
    from_char: int | None = None
    base_frames: int | None = None
    from_frame: int | None = None
    crc32: int | None = None

class Text(Message, tag="Text", kw_only=True):
    boot: str
    req: str
    last: bool | None = None

class Credit(Message, tag="Credit", kw_only=True):
    boot: str
    req: str
    first: int
    last: int

class Mapped(Message, tag="Mapped", kw_only=True):
    boot: str
    arena: int

class Cancel(Message, tag="Cancel", kw_only=True):
    boot: str
    req: str
    epoch: int | None = None
    attempt: int | None = None
    segment: int | None = None

class EndAck(Message, tag="EndAck", kw_only=True):
    boot: str
    req: str

class Accepted(Message, tag="Accepted", kw_only=True):
    boot: str
    req: str
    seed: int
    sample_rate: int
    provider: str
    voice: str
    language: str | None = None

class TextCredit(Message, tag="TextCredit", kw_only=True):
    boot: str
    req: str
    upto: int

class Chunk(Message, tag="Chunk", kw_only=True):
    boot: str | None = None
    epoch: int | None = None
    req: str
    attempt: int
    segment: int
    seq: int
    descriptors: list[tuple[int, int, int, int]]
    char_start: int | None = None
    char_end: int | None = None
    marks: list[dict[str, Any]] | None = None
    state: bytes | None = None

class Reset(Message, tag="Reset", kw_only=True):
    boot: str
    req: str
    segment: int
    frames: int
    reason: str

class Notice(Message, tag="Notice", kw_only=True):
    boot: str
    req: str
    code: str
    message: str

class Heard(Message, tag="Heard", kw_only=True):
    boot: str
    req: str
    frames: int
    chars: int
    segment: int
    segment_frame: int
    char_start: int
    char_end: int

class Done(Message, tag="Done", kw_only=True):
    boot: str
    req: str
    provider: str | None = None
    voice: str | None = None
    sample_rate: int | None = None
    frames: int
    segments: int
    delivered_chars: int
    seed: int | None = None
    resumed: str | None = None
    attempts: list[dict[str, Any]]
    first_audio_ms: float | None = None
    total_ms: float
    heard_chars: int | None = None
    heard_s: float | None = None

class Failed(Message, tag="Failed", kw_only=True):
    boot: str
    req: str
    provider: str | None = None
    voice: str | None = None
    sample_rate: int | None = None
    frames: int
    segments: int
    delivered_chars: int
    seed: int | None = None
    resumed: str | None = None
    attempts: list[dict[str, Any]]
    first_audio_ms: float | None = None
    total_ms: float
    heard_chars: int | None = None
    heard_s: float | None = None
    code: str
    message: str

class Cancelled(Message, tag="Cancelled", kw_only=True):
    boot: str
    req: str
    provider: str | None = None
    voice: str | None = None
    sample_rate: int | None = None
    frames: int
    segments: int
    delivered_chars: int
    seed: int | None = None
    resumed: str | None = None
    attempts: list[dict[str, Any]]
    first_audio_ms: float | None = None
    total_ms: float
    heard_chars: int | None = None
    heard_s: float | None = None
    reason: str | None = None

class Play(Message, tag="Play", kw_only=True):
    boot: str
    req: str
    sample_rate: int
    frame: int
    at: int

class Finish(Message, tag="Finish", kw_only=True):
    boot: str
    req: str
    frames: int

class Hush(Message, tag="Hush", kw_only=True):
    boot: str
    req: str

class Speaker(Message, tag="Speaker", kw_only=True):
    boot: str
    volume: float
    muted: bool
    paused: bool
    device: str | None = None

class Played(Message, tag="Played", kw_only=True):
    boot: str
    req: str
    frames: int
    last: bool | None = None
    underruns: int

class Device(Message, tag="Device", kw_only=True):
    boot: str
    name: str | None = None
    message: str | None = None

class Devices(Message, tag="Devices", kw_only=True):
    query: int

class DevicesReply(Message, tag="DevicesReply", kw_only=True):
    query: int
    devices: list[dict[str, Any]]

class Status(Message, tag="Status", kw_only=True):
    query: int

class StatusReply(Message, tag="StatusReply", kw_only=True):
    query: int
    status: dict[str, Any]

class Voices(Message, tag="Voices", kw_only=True):
    query: int
    provider: str | None = None
    language: str | None = None

class VoicesReply(Message, tag="VoicesReply", kw_only=True):
    query: int
    voices: list[dict[str, Any]]

class PrepareVoice(Message, tag="PrepareVoice", kw_only=True):
    query: int
    provider: str | None = None
    sample_rate: int
    text: str | None = None
    model: str | None = None
    deadline_ms: int | None = None

class VoicePrepared(Message, tag="VoicePrepared", kw_only=True):
    query: int
    provider: str
    model: str | None = None

class Providers(Message, tag="Providers", kw_only=True):
    query: int

class ProvidersReply(Message, tag="ProvidersReply", kw_only=True):
    query: int
    providers: list[dict[str, Any]]

class AddProvider(Message, tag="AddProvider", kw_only=True):
    query: int
    provider: str
    engine: str | None = None
    program: str | None = None
    python: str | None = None
    settings: dict[str, Any] | None = None
    replace: bool | None = None

class ProviderAdded(Message, tag="ProviderAdded", kw_only=True):
    query: int
    provider: dict[str, Any]

class RemoveProvider(Message, tag="RemoveProvider", kw_only=True):
    query: int
    provider: str

class ProviderRemoved(Message, tag="ProviderRemoved", kw_only=True):
    query: int

class ControlProvider(Message, tag="ControlProvider", kw_only=True):
    query: int
    provider: str
    action: str

class ProviderControlled(Message, tag="ProviderControlled", kw_only=True):
    query: int
    provider: dict[str, Any]

class Ping(Message, tag="Ping", kw_only=True):
    query: int
    provider: str | None = None
    deadline_ms: int | None = None
    boot: str | None = None
    epoch: int | None = None

class Pong(Message, tag="Pong", kw_only=True):
    query: int
    epoch: int

class Stop(Message, tag="Stop", kw_only=True):
    query: int
    req: str | None = None
    all: bool | None = None

class Stopped(Message, tag="Stopped", kw_only=True):
    query: int
    reqs: list[str]
    count: int

class Playback(Message, tag="Playback", kw_only=True):
    query: int
    action: str
    req: str | None = None
    all: bool | None = None

class PlaybackReply(Message, tag="PlaybackReply", kw_only=True):
    query: int
    reqs: list[str]
    count: int

class Audio(Message, tag="Audio", kw_only=True):
    query: int
    volume: float | None = None
    muted: bool | None = None
    device: str | None = None
    devices: bool | None = None

class AudioReply(Message, tag="AudioReply", kw_only=True):
    query: int
    audio: dict[str, Any]

class Shutdown(Message, tag="Shutdown", kw_only=True):
    query: int
    if_idle: bool | None = None

class ShuttingDown(Message, tag="ShuttingDown", kw_only=True):
    query: int

class Loading(Message, tag="Loading", kw_only=True):
    epoch: int
    extend_ms: int
    note: str | None = None

class Ready(Message, tag="Ready", kw_only=True):
    epoch: int
    load_ms: float
    device: str | None = None
    vram_bytes: int | None = None
    vram_used_bytes: int | None = None
    vram_total_bytes: int | None = None

class Fault(Message, tag="Fault", kw_only=True):
    epoch: int
    code: str
    message: str
    permanent: bool | None = None
    retry_ms: int | None = None

class Beat(Message, tag="Beat", kw_only=True):
    epoch: int
    steps: int
    vram_bytes: int | None = None
    vram_used_bytes: int | None = None
    vram_total_bytes: int | None = None

class Synthesize(Message, tag="Synthesize", kw_only=True):
    boot: str
    epoch: int
    req: str
    attempt: int
    segment: int
    voice: str | None = None
    language: str | None = None
    model: str | None = None
    instruct: str | None = None
    speed: float | None = None
    pitch: float | None = None
    volume: float | None = None
    seed: int
    sample_rate: int
    options: dict[str, Any] | None = None
    from_frame: int | None = None
    state: bytes | None = None
    deadline_ms: int | None = None
    free_slots: list[tuple[int, int]] | None = None

class Prepare(Message, tag="Prepare", kw_only=True):
    boot: str
    epoch: int
    req: str
    attempt: int
    segment: int
    sample_rate: int
    text: str | None = None
    model: str | None = None
    deadline_ms: int | None = None

class Prepared(Message, tag="Prepared", kw_only=True):
    epoch: int
    req: str
    attempt: int
    segment: int
    model: str | None = None

class Resumed(Message, tag="Resumed", kw_only=True):
    epoch: int
    req: str
    attempt: int
    segment: int
    frames: int
    crc32: int

class SegmentDone(Message, tag="SegmentDone", kw_only=True):
    epoch: int
    req: str
    attempt: int
    segment: int
    frames: int

class SegmentFailed(Message, tag="SegmentFailed", kw_only=True):
    epoch: int
    req: str
    attempt: int
    segment: int
    code: str
    message: str

class SegmentCancelled(Message, tag="SegmentCancelled", kw_only=True):
    epoch: int
    req: str
    attempt: int
    segment: int

class Release(Message, tag="Release", kw_only=True):
    boot: str
    epoch: int
    slots: list[tuple[int, int]]

class Exit(Message, tag="Exit", kw_only=True):
    boot: str
    reason: str | None = None
