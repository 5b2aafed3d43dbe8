"""The wire as one table: every kind of message, who sends it, and each field with its type, meaning and first version.

Plain Python on purpose: the thin client reads it without loading a codec. `voicebox_protocol.schema` builds typed
Structs from it, and `docs/protocol.md` prints it; a test holds the three together.

A message is a list of ZeroMQ frames: `MAGIC`, a MessagePack map (the header, at most `MAX_HEADER` bytes, with the kind
under the key ``kind``), then at most one payload frame whose meaning the kind fixes, and after that, where the kind has one, the
frame of a voice prompt.
"""

from __future__ import annotations

from typing import NamedTuple

MAGIC = b"VB1"
PROTO_MIN = 1
PROTO_MAX = 1

MAX_HEADER = 64 * 1024
MAX_TEXT = 1024 * 1024
MAX_FRAME = 8 * 1024 * 1024
MAX_DESCRIPTORS = 256
TEXT_WINDOW = 64 * 1024
MAX_PROMPT = 256 * 1024
MAX_REFERENCE = MAX_FRAME
REFERENCE_S = (1, 60)
MAX_STATE = 48 * 1024
MAX_STATE_PART = 4 * 1024

PRIORITIES = ("important", "message", "text", "notification", "progress")
ON_FAILURE = ("segment", "next", "fail")
SINKS = ("stream", "speaker")
ACTIONS = ("start", "stop", "restart")
PLAYBACK = ("skip", "pause", "resume")
RESUMED = ("exact", "segment", "next")
# What a daemon names in `Welcome.features`. resume: it takes `Say.from_segment`; cloning: it takes `PrepareVoice`, and `Say` with a prompt;
# loudspeaker: `sink` speaker is played by the daemon's own player.
RESUME = "resume"
CLONING = "cloning"
LOUDSPEAKER = "loudspeaker"
FEATURES = (RESUME, CLONING, LOUDSPEAKER)
# What a player names in `Hello.features`.
PLAYER = "player"
# In `Say.replay`: whatever was heard last.
LAST = "last"
MAX_RANGES = 4096

# Types of fields. Text is bounded in characters, lists in items; numbers by their width.
TYPES = {
    "bool": "true or false",
    "u16": "unsigned integer below 2^16",
    "u32": "unsigned integer below 2^32",
    "u64": "unsigned integer below 2^64",
    "real": "float64, neither NaN nor infinite",
    "id": "string of at most 64 characters",
    "name": "string of at most 128 characters",
    "note": "string of at most 4096 characters",
    "names": "list of at most 64 strings of at most 128 characters",
    "map": "map with string keys",
    "maps": "list of at most 1024 maps with string keys",
    "descriptors": "list of 1 to 256 lists [arena u32, offset u64, frames u32, crc32 u32]",
    "ranges": "list of 1 to 4096 lists [first u32, last u32], both inclusive",
    "blob": "binary of at most 48 KiB",
}


class Field(NamedTuple):
    """One field of a header. `type` is a key of `TYPES`; `required` fields have no default, others are null."""

    name: str
    type: str
    meaning: str
    required: bool = False
    since: int = 1


class Kind(NamedTuple):
    """One kind of message: `ways` names who may send it to whom, `payload` what its payload frame holds, if any, and `prompt` what
    the frame after that does; it may be missing."""

    name: str
    ways: tuple[str, ...]
    meaning: str
    fields: tuple[Field, ...]
    payload: str = ""
    prompt: str = ""
    since: int = 1


CLIENT_TO_DAEMON = "client → daemon"
DAEMON_TO_CLIENT = "daemon → client"
PROVIDER_TO_DAEMON = "provider → daemon"
DAEMON_TO_PROVIDER = "daemon → provider"

_TO_DAEMON = (CLIENT_TO_DAEMON, PROVIDER_TO_DAEMON)
_FROM_DAEMON = (DAEMON_TO_CLIENT, DAEMON_TO_PROVIDER)
_C2D, _D2C = (CLIENT_TO_DAEMON,), (DAEMON_TO_CLIENT,)
_P2D, _D2P = (PROVIDER_TO_DAEMON,), (DAEMON_TO_PROVIDER,)

_BOOT = Field("boot", "id", "the daemon's boot id, as Welcome gave it; a message with another one is stale", True)
_REQ = Field("req", "id", "the request, named by its client with a random id", True)
_EPOCH = Field("epoch", "u32", "the provider's incarnation, as it was told at its start; another one is stale", True)
_ATTEMPT = Field("attempt", "u32", "counts the dispatches of a request; another than the current one is stale", True)
_SEGMENT = Field("segment", "u32", "index of the segment in the request's text, from 0", True)
_QUERY = Field("query", "u32", "number chosen by the client; the answer repeats it", True)
_MEMORY_FIELDS = (
    Field("vram_bytes", "u64", "memory of an accelerator that the provider itself holds"),
    Field("vram_used_bytes", "u64", "memory of that accelerator in use, by whatever program"),
    Field("vram_total_bytes", "u64", "memory that it has"),
)

_VOICE_FIELDS = (
    Field("voice", "name", "voice id, or provider/voice"),
    Field("language", "name", "BCP 47 tag, as en or en-US"),
)
_STYLE_FIELDS = (
    Field("model", "name", "the engine's model, where it has several"),
    Field("instruct", "note", "how to speak, in words, for engines that understand it"),
    Field("speed", "real", "1 is the voice's own pace, 2 twice as fast"),
    Field("pitch", "real", "1 is the voice's own pitch, 2 an octave up"),
    Field("volume", "real", "1 leaves the samples as they are"),
)
_REFERENCE_FIELDS = (
    Field("sample_rate", "u32", "Hz of the recording", True),
    Field("text", "note", "what is said in it, word for word: the voice comes out closer; null if nobody knows"),
    Field("model", "name", "the engine's model that is to speak, where it has several"),
)
_TERMINAL_FIELDS = (
    _BOOT,
    _REQ,
    Field("provider", "id", "who spoke the last segment"),
    Field("voice", "name", "the voice that spoke it"),
    Field("sample_rate", "u32", "Hz"),
    Field("frames", "u64", "PCM frames that stand in the client's timeline at the end", True),
    Field("segments", "u32", "segments that stand complete in it", True),
    Field("delivered_chars", "u64", "characters of the text that those segments cover", True),
    Field("seed", "u64", "the request's seed"),
    Field("resumed", "id", "weakest thing that happened after a failure: exact, segment, next; null if nothing broke"),
    Field("attempts", "maps", "{provider, voice, epoch, outcome, reason} for each run of one incarnation", True),
    Field("first_audio_ms", "real", "from the request's arrival to its first chunk's departure"),
    Field("total_ms", "real", "from the request's arrival to this message", True),
    Field("heard_chars", "u64", "characters heard at the loudspeaker; null for sink stream"),
    Field("heard_s", "real", "seconds heard at the loudspeaker; null for sink stream"),
)
_ERROR_FIELDS = (
    Field("code", "id", "one of the error codes below", True),
    Field("message", "note", "what happened, in words, and what to do", True),
)

KINDS: tuple[Kind, ...] = (
    Kind(
        "Hello",
        _TO_DAEMON,
        "Opens the conversation; nothing else is read before it.",
        (
            Field("proto_min", "u16", "oldest protocol version the sender speaks", True),
            Field("proto_max", "u16", "newest protocol version the sender speaks", True),
            Field("agent", "name", "program and version, as voicebox_client/0.1.0", True),
            Field("features", "names", "optional abilities: arena (clients: shared memory; providers: it is mapped)"),
            Field("token", "id", "the secret that the endpoint file or the start line gave, where it gave one"),
            Field("provider", "id", "providers only: its id, as it was told at its start"),
            Field("epoch", "u32", "providers only: its incarnation, as it was told at its start"),
            Field("pid", "u32", "the sender's process id"),
            Field("player", "id", "the daemon's own player only: the secret that its start line gave"),
            Field(
                "capabilities",
                "map",
                "providers only: what the engine can do; null if it cannot even be asked, and Fault follows",
            ),
        ),
    ),
    Kind(
        "Welcome",
        _FROM_DAEMON,
        "Answers Hello: the version both will speak, and who the daemon is.",
        (
            Field("proto", "u16", "the newest version that both speak", True),
            _BOOT,
            Field("session", "id", "the sender's session", True),
            Field("token", "id", "clients only: the word to say on session.sock"),
            Field("version", "name", "the daemon's version", True),
            Field("pid", "u32", "the daemon's process id", True),
            Field("mode", "id", "how the daemon was started: auto, start or run"),
            Field(
                "features",
                "names",
                "optional abilities: resume (it takes Say.from_segment), cloning (it takes PrepareVoice), "
                "loudspeaker (it plays sink speaker)",
            ),
            Field("limits", "map", "max_text, text_window (bytes)"),
        ),
    ),
    Kind(
        "Error",
        (*_FROM_DAEMON, PROVIDER_TO_DAEMON),
        "Something was wrong with a message, or a query failed. Requests end with Failed instead.",
        (
            *_ERROR_FIELDS,
            Field("query", "u32", "the query that failed, if it was one"),
            Field("req", "id", "the request that the message named, if any"),
        ),
    ),
    Kind("Bye", (*_TO_DAEMON, *_FROM_DAEMON), "The sender leaves in order.", (Field("reason", "note", "why"),)),
    # --- speaking, between client and daemon
    Kind(
        "Say",
        _C2D,
        "Asks for speech. Ends in exactly one of Done, Failed, Cancelled.",
        (
            _BOOT,
            _REQ,
            *_VOICE_FIELDS,
            Field("provider", "id", "speak with this provider and no other"),
            *_STYLE_FIELDS,
            Field("seed", "u64", "equal seeds give equal samples; drawn by the daemon if null"),
            Field("sample_rate", "u32", "Hz; the provider's own if null"),
            Field("priority", "id", "important, message (default), text, notification or progress"),
            Field("deadline_ms", "u64", "milliseconds from arrival to the end of the request"),
            Field("on_failure", "id", "what follows a failure that cannot be mended exactly: segment, next or fail"),
            Field("any_voice", "bool", "another voice may speak when the asked one cannot"),
            Field(
                "sink", "id", "stream (default): chunks to this client; speaker: the loudspeaker, and no chunks come"
            ),
            Field("follow", "bool", "with sink speaker: tell in Heard how far the listener is"),
            Field("detached", "bool", "with sink speaker: it is spoken even if its client goes"),
            Field("wait_device", "bool", "with sink speaker: where there is no sound device, wait for one"),
            Field(
                "replay",
                "id",
                "with sink speaker and no text: speak again this request of the last 16 heard, or `last`",
            ),
            Field("options", "map", "engine options, validated against its capability document"),
            Field("more", "bool", "text follows in Text messages"),
            Field(
                "from_segment", "u32", "to go on after another daemon's end: the segment that the payload begins with"
            ),
            Field("from_char", "u64", "with `from_segment`: first character of that segment in the whole text"),
            Field("base_frames", "u64", "with `from_segment`: frames in the client's timeline before that segment"),
            Field("from_frame", "u64", "with `from_segment`: frames that the client has of that segment itself"),
            Field("crc32", "u32", "with `from_frame`: CRC-32 of their samples"),
        ),
        payload="text, UTF-8, at most 1 MiB; may be empty if `more`; with `from_segment` only the text from there on",
        prompt="what VoicePrepared gave, at most 256 KiB: speak like that recording; `voice` is then null or cloned",
    ),
    Kind(
        "Text",
        _C2D,
        "More text of a request that said `more`; within the window that TextCredit opened.",
        (_BOOT, _REQ, Field("last", "bool", "the text ends here")),
        payload="text, UTF-8, whole characters",
    ),
    Kind(
        "Credit",
        _C2D,
        "The client is done with these chunks; opens the window for more.",
        (_BOOT, _REQ, Field("first", "u64", "first `seq`", True), Field("last", "u64", "last `seq`, inclusive", True)),
    ),
    Kind(
        "Mapped",
        _C2D,
        "The client has mapped an arena that the session door offered; from now on its pieces need no payload.",
        (_BOOT, Field("arena", "u32", "which one", True)),
    ),
    Kind(
        "Cancel",
        (CLIENT_TO_DAEMON, DAEMON_TO_PROVIDER),
        "Stop this request; may come at any time, any number of times.",
        (
            _BOOT,
            _REQ,
            Field("epoch", "u32", "to providers: the incarnation"),
            Field("attempt", "u32", "to providers: the attempt to stop"),
            Field("segment", "u32", "to providers: the segment to stop"),
        ),
    ),
    Kind("EndAck", _C2D, "The terminal message has arrived; the daemon may forget the request.", (_BOOT, _REQ)),
    Kind(
        "Accepted",
        _D2C,
        "The request will be spoken, by whom and in what form. The form is fixed from here on; who speaks may change with a Notice.",
        (
            _BOOT,
            _REQ,
            Field("seed", "u64", "the request's seed", True),
            Field("sample_rate", "u32", "Hz", True),
            Field("provider", "id", "who will speak", True),
            Field("voice", "name", "the voice", True),
            Field("language", "name", "the language"),
        ),
    ),
    Kind(
        "TextCredit",
        _D2C,
        "The client may send text of this request up to this many bytes, counted from its beginning.",
        (_BOOT, _REQ, Field("upto", "u64", "bytes", True)),
    ),
    Kind(
        "Chunk",
        (DAEMON_TO_CLIENT, PROVIDER_TO_DAEMON),
        "Finished sound, in one or more pieces of at most 0.5 s each.",
        (
            Field("boot", "id", "to clients: the daemon's boot id"),
            Field("epoch", "u32", "from providers: the incarnation"),
            _REQ,
            _ATTEMPT,
            _SEGMENT,
            Field(
                "seq",
                "u64",
                "number of the first piece; counts pieces of the request (client) or attempt (provider)",
                True,
            ),
            Field(
                "descriptors",
                "descriptors",
                "arena 0: the piece lies in the payload at `offset` bytes; else in that arena, and there is no payload",
                True,
            ),
            Field("char_start", "u64", "to clients: first character of the segment in the request's text"),
            Field("char_end", "u64", "to clients: one past its last character"),
            Field("marks", "maps", "word times {frame, char_start, char_end}, where the engine knows them"),
            Field("state", "blob", "from providers: a part of what a successor may go on from, at most 4 KiB"),
        ),
        payload="samples, float32 little-endian mono, -1..1",
    ),
    Kind(
        "Reset",
        _D2C,
        "The running segment begins again: the client's timeline goes back to `frames`.",
        (
            _BOOT,
            _REQ,
            _SEGMENT,
            Field("frames", "u64", "frames that stand", True),
            Field("reason", "note", "why", True),
        ),
    ),
    Kind(
        "Notice",
        _D2C,
        "Something worth telling on the way.",
        (
            _BOOT,
            _REQ,
            Field(
                "code",
                "id",
                "STARTING (a provider), RESUMED (exactly), SKIPPED (the rest of a segment), FAILOVER (another speaks), "
                "PLAYER (the loudspeaker's process was started again), WAITING (for a sound device)",
                True,
            ),
            Field("message", "note", "what happened, in words", True),
        ),
    ),
    Kind(
        "Heard",
        _D2C,
        "How far the listener is, for a request with `follow`: where a sentence begins, and ten times a second.",
        (
            _BOOT,
            _REQ,
            Field("frames", "u64", "PCM frames of the client's timeline that were heard", True),
            Field(
                "chars", "u64", "characters of the text that were heard: to the word where the engine gives marks", True
            ),
            Field("segment", "u32", "the segment that is being heard", True),
            Field("segment_frame", "u64", "its first frame in the timeline", True),
            Field("char_start", "u64", "its first character in the text", True),
            Field("char_end", "u64", "one past its last character", True),
        ),
    ),
    Kind("Done", _D2C, "The request was spoken to its end; one for the loudspeaker was heard.", _TERMINAL_FIELDS),
    Kind("Failed", _D2C, "The request could not be spoken to its end.", (*_TERMINAL_FIELDS, *_ERROR_FIELDS)),
    Kind(
        "Cancelled",
        _D2C,
        "The request was stopped.",
        (*_TERMINAL_FIELDS, Field("reason", "note", "why, where it was neither its client nor Stop")),
    ),
    # --- the loudspeaker: what is played is the player's only, a client that the daemon itself has started
    Kind(
        "Play",
        _D2C,
        "To the player: this request's turn. The sound that follows as Chunk is to be heard from this frame of its timeline on.",
        (
            _BOOT,
            _REQ,
            Field("sample_rate", "u32", "Hz of its chunks", True),
            Field("frame", "u64", "first frame to be heard; what comes before it has been heard", True),
            Field("at", "u64", "frame at which the first Chunk that follows begins", True),
        ),
    ),
    Kind(
        "Finish",
        _D2C,
        "To the player: no more sound of this request comes; answered by Played with `last` when all of it was heard.",
        (_BOOT, _REQ, Field("frames", "u64", "frames in its timeline", True)),
    ),
    Kind(
        "Hush",
        _D2C,
        "To the player: nothing more of this request is to be heard, from now on; answered by Played with `last`.",
        (_BOOT, _REQ),
    ),
    Kind(
        "Speaker",
        _D2C,
        "To the player: how the loudspeaker is to be, after Welcome and whenever that changes.",
        (
            _BOOT,
            Field("volume", "real", "0 to 1", True),
            Field("muted", "bool", "nothing is heard, and what is spoken goes on", True),
            Field("paused", "bool", "nothing is heard, and nothing goes on", True),
            Field("device", "name", "which device; the system's default if null"),
        ),
    ),
    Kind(
        "Played",
        _C2D,
        "From the player: how much of a request was heard at the device.",
        (
            _BOOT,
            _REQ,
            Field("frames", "u64", "frames of its timeline that were heard", True),
            Field("last", "bool", "nothing more of it will be heard"),
            Field("underruns", "u32", "how often the device wanted sound that was not there yet", True),
        ),
    ),
    Kind(
        "Device",
        _C2D,
        "From the player: which device plays, or why none does.",
        (
            _BOOT,
            Field("name", "name", "the device; null if there is none"),
            Field("message", "note", "why there is none, and what to do"),
        ),
    ),
    Kind("Devices", _D2C, "To the player: which devices are there?", (_QUERY,)),
    Kind(
        "DevicesReply",
        _C2D,
        "From the player: answers Devices.",
        (_QUERY, Field("devices", "maps", "{name, default, backend}", True)),
    ),
    # --- queries
    Kind("Status", _C2D, "How are you?", (_QUERY,)),
    Kind("StatusReply", _D2C, "Answers Status.", (_QUERY, Field("status", "map", "see Status below", True))),
    Kind(
        "Voices",
        _C2D,
        "Which voices are there?",
        (_QUERY, Field("provider", "id", "only of this one"), Field("language", "name", "only those that speak it")),
    ),
    Kind(
        "VoicesReply",
        _D2C,
        "Answers Voices.",
        (_QUERY, Field("voices", "maps", "{id, provider, name, languages, scripts, gender, kind, default}", True)),
    ),
    Kind(
        "PrepareVoice",
        _C2D,
        "Let a provider listen to a recording, so that it can speak like it; its turn comes after the segment in work.",
        (
            _QUERY,
            Field("provider", "id", "this provider and no other"),
            *_REFERENCE_FIELDS,
            Field("deadline_ms", "u64", "milliseconds from arrival to the answer; 600000 if null"),
        ),
        payload="the recording: samples, float32 little-endian mono, -1..1; from 1 to 60 s, at most 8 MiB",
    ),
    Kind(
        "VoicePrepared",
        _D2C,
        "Answers PrepareVoice, with what Say takes to speak like the recording; the daemon keeps nothing of it.",
        (
            _QUERY,
            Field("provider", "id", "who listened", True),
            Field("model", "name", "the model that the prompt is for: Say names it; null if the engine has only one"),
        ),
        payload="the voice prompt, at most 256 KiB",
    ),
    Kind("Providers", _C2D, "Which providers are there, and what can they do?", (_QUERY,)),
    Kind(
        "ProvidersReply",
        _D2C,
        "Answers Providers.",
        (_QUERY, Field("providers", "maps", "{id, engine, source, state, reason, capabilities}", True)),
    ),
    Kind(
        "AddProvider",
        _C2D,
        "Install a provider. It is started once and asked what it can do; one that fails leaves nothing behind.",
        (
            _QUERY,
            Field("provider", "id", "the id it shall have: 1 to 32 of a-z, 0-9, - and _", True),
            Field(
                "engine",
                "note",
                "an entry point, module or module:Class; or FILE.py, FILE.py:Class with the file as payload",
            ),
            Field("program", "note", "instead of `engine`: absolute path of a program that speaks the wire"),
            Field(
                "python", "note", "with `engine`: absolute path of the Python that runs it; the daemon's own if null"
            ),
            Field("settings", "map", "with `engine`: what it is made with"),
            Field("replace", "bool", "one of this id that was added before makes room, after the segments in its work"),
        ),
        payload="the source of FILE.py, at most 1 MiB; it is kept",
    ),
    Kind(
        "ProviderAdded",
        _D2C,
        "Answers AddProvider.",
        (_QUERY, Field("provider", "map", "{id, engine, source, state, reason, capabilities}", True)),
    ),
    Kind(
        "RemoveProvider",
        _C2D,
        "Take away a provider that AddProvider installed; what it was to speak is handed on to another, or fails.",
        (_QUERY, Field("provider", "id", "which one", True)),
    ),
    Kind("ProviderRemoved", _D2C, "Answers RemoveProvider, once its process is gone.", (_QUERY,)),
    Kind(
        "ControlProvider",
        _C2D,
        "Start, stop or restart a provider by hand. One that had failed or was quarantined is tried anew.",
        (
            _QUERY,
            Field("provider", "id", "which one", True),
            Field("action", "id", "start, stop (what was asked of it is spoken first) or restart", True),
        ),
    ),
    Kind(
        "ProviderControlled",
        _D2C,
        "Answers ControlProvider once it has happened: it is ready, or no process of it is left. Loading may take minutes.",
        (_QUERY, Field("provider", "map", "{id, engine, source, state, reason, capabilities}", True)),
    ),
    Kind(
        "Ping",
        (CLIENT_TO_DAEMON, DAEMON_TO_PROVIDER),
        "Do you answer? A provider does so at once, whatever its engine is at.",
        (
            _QUERY,
            Field("provider", "id", "from clients: which one"),
            Field("deadline_ms", "u64", "from clients: how long to wait, in milliseconds; 5000 if null"),
            Field("boot", "id", "to providers: the daemon's boot id"),
            Field("epoch", "u32", "to providers: the incarnation"),
        ),
    ),
    Kind(
        "Pong",
        (DAEMON_TO_CLIENT, PROVIDER_TO_DAEMON),
        "Answers Ping.",
        (_QUERY, Field("epoch", "u32", "the incarnation that answers", True)),
    ),
    Kind(
        "Stop",
        _C2D,
        "Cancel requests of any client: one, all, or those that are being played.",
        (_QUERY, Field("req", "id", "this request"), Field("all", "bool", "every request")),
    ),
    Kind(
        "Stopped",
        _D2C,
        "Answers Stop.",
        (
            _QUERY,
            Field("reqs", "names", "the requests that were cancelled (the first 64)", True),
            Field("count", "u32", "how many", True),
        ),
    ),
    Kind(
        "Playback",
        _C2D,
        "Act on the loudspeaker: skip what is being spoken, pause it, or go on with it.",
        (
            _QUERY,
            Field("action", "id", "skip, pause or resume", True),
            Field("req", "id", "this request; what is being spoken if null"),
            Field("all", "bool", "every request for the loudspeaker"),
        ),
    ),
    Kind(
        "PlaybackReply",
        _D2C,
        "Answers Playback.",
        (
            _QUERY,
            Field("reqs", "names", "the requests that this touched (the first 64)", True),
            Field("count", "u32", "how many", True),
        ),
    ),
    Kind(
        "Audio",
        _C2D,
        "How is the loudspeaker? Sets first what is not null; that is kept over restarts.",
        (
            _QUERY,
            Field("volume", "real", "0 to 1"),
            Field("muted", "bool", "whether nothing is heard"),
            Field("device", "name", "the device to play at, or an empty string for the system's default"),
            Field("devices", "bool", "ask too which devices there are"),
        ),
    ),
    Kind(
        "AudioReply",
        _D2C,
        "Answers Audio.",
        (
            _QUERY,
            Field(
                "audio",
                "map",
                "{volume, muted, paused, device, playing, speaking, waiting, underruns, sink, trouble, devices}",
                True,
            ),
        ),
    ),
    Kind(
        "Shutdown",
        _C2D,
        "End the daemon.",
        (_QUERY, Field("if_idle", "bool", "only if no request is active or queued")),
    ),
    Kind("ShuttingDown", _D2C, "Answers Shutdown.", (_QUERY,)),
    # --- between provider and daemon
    Kind(
        "Loading",
        _P2D,
        "The engine is still loading and needs this much longer.",
        (_EPOCH, Field("extend_ms", "u32", "milliseconds from now", True), Field("note", "note", "what it is doing")),
    ),
    Kind(
        "Ready",
        _P2D,
        "The engine is loaded and warm.",
        (
            _EPOCH,
            Field("load_ms", "real", "how long that took", True),
            Field("device", "name", "where it runs"),
            *_MEMORY_FIELDS,
        ),
    ),
    Kind(
        "Fault",
        _P2D,
        "The engine cannot be used.",
        (
            _EPOCH,
            *_ERROR_FIELDS,
            Field("permanent", "bool", "a restart would not help"),
            Field("retry_ms", "u32", "a restart may help, but not before so many milliseconds have passed"),
        ),
    ),
    Kind(
        "Beat",
        _P2D,
        "Sent every second while there is work, by the I/O thread, and best within a tenth of one when work comes after a rest; sound "
        "that goes out does as well. `steps` counts the engine's progress.",
        (
            _EPOCH,
            Field("steps", "u64", "grows whenever the engine got on", True),
            *_MEMORY_FIELDS,
        ),
    ),
    Kind(
        "Synthesize",
        _D2P,
        "Speak one segment. Ends in exactly one of SegmentDone, SegmentFailed, SegmentCancelled.",
        (
            _BOOT,
            _EPOCH,
            _REQ,
            _ATTEMPT,
            _SEGMENT,
            *_VOICE_FIELDS,
            *_STYLE_FIELDS,
            Field("seed", "u64", "the segment's own seed", True),
            Field("sample_rate", "u32", "Hz of the samples to send", True),
            Field("options", "map", "engine options"),
            Field(
                "from_frame", "u64", "frames that the client already has; answer Resumed, then send only what follows"
            ),
            Field("state", "blob", "with `from_frame`: what came as `state` with the sound of this segment, joined"),
            Field("deadline_ms", "u64", "milliseconds left"),
            Field("free_slots", "ranges", "slots of the provider's arena that are free again, as in Release"),
        ),
        payload="the segment's text, UTF-8",
        prompt="what the engine's own `Prepared` gave, or that of another with the same model: speak like that recording",
    ),
    Kind(
        "Prepare",
        _D2P,
        "Listen to a recording. Only for engines with `cloning`. Ends in exactly one of Prepared, SegmentFailed, SegmentCancelled.",
        (
            _BOOT,
            _EPOCH,
            Field("req", "id", "names this preparation", True),
            _ATTEMPT,
            Field("segment", "u32", "0", True),
            *_REFERENCE_FIELDS,
            Field("deadline_ms", "u64", "milliseconds left"),
        ),
        payload="the recording: samples, float32 little-endian mono, -1..1",
    ),
    Kind(
        "Prepared",
        _P2D,
        "The recording has been listened to.",
        (
            _EPOCH,
            Field("req", "id", "the preparation", True),
            _ATTEMPT,
            _SEGMENT,
            Field("model", "name", "the model that the prompt is for, where the engine names its models"),
        ),
        payload="the voice prompt, at most 256 KiB; the daemon does not look into it",
    ),
    Kind(
        "Resumed",
        _P2D,
        "The first `frames` frames were made again; the daemon compares their CRC with what it handed out.",
        (
            _EPOCH,
            _REQ,
            _ATTEMPT,
            _SEGMENT,
            Field("frames", "u64", "frames", True),
            Field("crc32", "u32", "CRC-32 of their samples", True),
        ),
    ),
    Kind(
        "SegmentDone",
        _P2D,
        "The segment is complete.",
        (
            _EPOCH,
            _REQ,
            _ATTEMPT,
            _SEGMENT,
            Field("frames", "u64", "frames of the whole segment, those before `from_frame` included", True),
        ),
    ),
    Kind(
        "SegmentFailed",
        _P2D,
        "The segment cannot be spoken; the provider lives on.",
        (_EPOCH, _REQ, _ATTEMPT, _SEGMENT, *_ERROR_FIELDS),
    ),
    Kind("SegmentCancelled", _P2D, "The segment was stopped, as Cancel asked.", (_EPOCH, _REQ, _ATTEMPT, _SEGMENT)),
    Kind(
        "Release",
        _D2P,
        "These slots of the provider's arena are free again, and may be written anew; while it speaks, else with Synthesize.",
        (_BOOT, _EPOCH, Field("slots", "ranges", "numbers of slots", True)),
    ),
    Kind(
        "Exit",
        _D2P,
        "Unload and leave; answered by Bye and the end of the process.",
        (_BOOT, Field("reason", "note", "why")),
    ),
)

BY_NAME: dict[str, Kind] = {kind.name: kind for kind in KINDS}
TERMINAL = ("Done", "Failed", "Cancelled")


def kinds_of(way: str) -> tuple[Kind, ...]:
    """The kinds that travel one way, in the table's order."""
    return tuple(kind for kind in KINDS if way in kind.ways)


def agree(proto_min: int, proto_max: int) -> int | None:
    """The newest protocol version that a peer's range and ours share, or None."""
    newest = min(proto_max, PROTO_MAX)
    return newest if newest >= max(proto_min, PROTO_MIN) else None
