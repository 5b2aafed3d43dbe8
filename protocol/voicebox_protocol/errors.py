"""Every way to fail, once: the code on the wire, the exception in the client and the exit code of the CLI.

    VoiceboxError
    ├── UsageError          2   change the request
    │   ├── BadRequest BadOption NoSuchLanguage BadFormat TextTooLong InvalidText InvalidConfig
    │   ├── BadReference BadPrompt
    ├── DaemonError         3   the daemon is away, or speaks another language
    │   ├── DaemonUnreachable DaemonLost ShuttingDown Incompatible BadMessage Unsupported HelloFirst BadPlace
    ├── NotFound            4   name something that exists
    │   ├── NoSuchVoice NoSuchProvider NoSuchRequest
    ├── SpeechError         1   the text, or the place it should go
    │   ├── Unspeakable NothingToSay Stalled NoAudioDevice OutputFailed
    ├── ProviderFailed      5   no provider is left that could do it
    ├── DeadlineExceeded    6   give it more time
    ├── QueueFull          75   try again later
    ├── Refused            77   not allowed
    │   └── DuplicateRequest
    ├── InternalFault       1   our fault
    └── CancelledByRequest 130  somebody stopped it

A leaf's docstring says when it happens and what to do; `docs/protocol.md` prints it.
"""

from __future__ import annotations

from typing import Any, ClassVar


class VoiceboxError(Exception):
    """Anything that went wrong. `code` is its name on the wire, `retry` whether the same call may succeed later.

    In the client `result` is how the request ended, if it came as far.
    """

    code: ClassVar[str] = "FAILED"
    exit_code: ClassVar[int] = 1
    retry: ClassVar[bool] = False
    result: Any = None

    @classmethod
    def when(cls) -> str:
        """The docstring as one line."""
        return " ".join((cls.__doc__ or "").split())


class UsageError(VoiceboxError):
    """The request itself is wrong; it was refused and nothing was spoken."""

    exit_code = 2


class BadRequest(UsageError):
    """A field has a value that it cannot have. The message names the field and what it takes."""

    code = "BAD_REQUEST"


class BadOption(UsageError):
    """The engine has no such option, or cannot honour its value. The message names the nearest option."""

    code = "BAD_OPTION"


class NoSuchLanguage(UsageError):
    """No installed voice speaks the language. `voicebox voices` lists those there are."""

    code = "NO_SUCH_LANGUAGE"


class BadFormat(UsageError):
    """The audio format is not known. The message lists the formats."""

    code = "BAD_FORMAT"


class TextTooLong(UsageError):
    """One request holds at most 1 MiB of text. Stream it instead: `voicebox say -f FILE`, or an iterable of strings."""

    code = "TEXT_TOO_LONG"


class InvalidText(UsageError):
    """The text is not UTF-8. The message says at which byte; convert it first."""

    code = "INVALID_TEXT"


class InvalidConfig(UsageError):
    """The configuration file cannot be read as it stands. The message names the place and the nearest key."""

    code = "INVALID_CONFIG"


class BadReference(UsageError):
    """The recording cannot be cloned: too short, too long, silent, or not of the text given. The message says which."""

    code = "BAD_REFERENCE"


class BadPrompt(UsageError):
    """The voice prompt is damaged, or of another model than the one that is to speak. Prepare it again from the recording."""

    code = "BAD_PROMPT"


class DaemonError(VoiceboxError):
    """The daemon is not there, went away, or cannot be talked to."""

    exit_code = 3


class DaemonUnreachable(DaemonError):
    """No daemon answers and none could be started. `voicebox daemon run` shows why."""

    code = "DAEMON_UNREACHABLE"
    retry = True


class DaemonLost(DaemonError):
    """The daemon died while it worked for this request. Ask again: the next call starts a new one."""

    code = "DAEMON_LOST"
    retry = True


class ShuttingDown(DaemonError):
    """The daemon is ending and takes no more work. Ask again: the next call starts a new one."""

    code = "SHUTTING_DOWN"
    retry = True


class Incompatible(DaemonError):
    """Client and daemon share no protocol version. `voicebox daemon restart` starts the installed one."""

    code = "INCOMPATIBLE"


class BadMessage(DaemonError):
    """The peer could not read a message. One of the two has a fault, or is no voicebox program."""

    code = "BAD_MESSAGE"


class Unsupported(DaemonError):
    """The peer does not know this kind of message. Update the older of the two."""

    code = "UNSUPPORTED"


class HelloFirst(DaemonError):
    """A message came before Hello, or before session.sock was opened. Begin again with Hello."""

    code = "HELLO_FIRST"
    retry = True


class BadPlace(DaemonError):
    """A directory of ours belongs to others, is open to them, or its path is too long. The message says what to change."""

    code = "BAD_PLACE"


class NotFound(VoiceboxError):
    """Something was named that does not exist."""

    exit_code = 4


class NoSuchVoice(NotFound):
    """No installed provider has this voice. The message names the nearest; `voicebox voices` lists all."""

    code = "NO_SUCH_VOICE"


class NoSuchProvider(NotFound):
    """No provider of this name is installed. `voicebox provider list` lists all."""

    code = "NO_SUCH_PROVIDER"


class NoSuchRequest(NotFound):
    """No request of this name is queued or being spoken. It may have ended already."""

    code = "NO_SUCH_REQUEST"


class SpeechError(VoiceboxError):
    """The text cannot be spoken, or the sound cannot go where it should."""


class Unspeakable(SpeechError):
    """The voice cannot speak some of the words; the message names them. Choose a voice that has their script."""

    code = "UNSPEAKABLE"


class NothingToSay(SpeechError):
    """The text holds no letter and no digit."""

    code = "NOTHING_TO_SAY"


class Stalled(SpeechError):
    """The client took nothing for more than a minute while memory was needed. Read faster, or write to a file."""

    code = "STALLED"
    retry = True


class NoAudioDevice(SpeechError):
    """There is no sound device to play on. Write a file instead, `voicebox say ... -o speech.wav`, or wait for one, `--wait-device`."""

    code = "NO_AUDIO_DEVICE"


class OutputFailed(SpeechError):
    """The sound could not be written. The message names the place and the reason."""

    code = "OUTPUT_FAILED"


class ProviderFailed(VoiceboxError):
    """The provider failed and no other may speak in its place. `voicebox status` and the message say why."""

    code = "PROVIDER_FAILED"
    exit_code = 5
    retry = True


class DeadlineExceeded(VoiceboxError):
    """The request was not finished within its deadline."""

    code = "DEADLINE"
    exit_code = 6
    retry = True


class QueueFull(VoiceboxError):
    """Too many requests wait already. Try again later."""

    code = "QUEUE_FULL"
    exit_code = 75
    retry = True


class Refused(VoiceboxError):
    """The daemon does not do this for this caller."""

    code = "REFUSED"
    exit_code = 77


class DuplicateRequest(Refused):
    """A request with this id exists already. Draw a new random id."""

    code = "DUPLICATE_REQUEST"


class InternalFault(VoiceboxError):
    """The daemon has a fault of its own. `voicebox daemon logs` has the details; please report them."""

    code = "INTERNAL"


class CancelledByRequest(VoiceboxError):
    """The request was stopped, by its client or by `voicebox stop`."""

    code = "CANCELLED"
    exit_code = 130


def _leaves(base: type[VoiceboxError]) -> list[type[VoiceboxError]]:
    own = [base] if "code" in vars(base) and base is not VoiceboxError else []
    return own + [leaf for child in base.__subclasses__() for leaf in _leaves(child)]


LEAVES: tuple[type[VoiceboxError], ...] = tuple(_leaves(VoiceboxError))
BY_CODE: dict[str, type[VoiceboxError]] = {leaf.code: leaf for leaf in LEAVES}


def from_wire(code: str, message: str) -> VoiceboxError:
    """The exception for a code; one that this version does not know becomes a plain `VoiceboxError`."""
    known = BY_CODE.get(code)
    return known(message) if known else VoiceboxError(f"{code}: {message}")
