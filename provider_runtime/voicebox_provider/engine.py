"""The engine interface: what a speech engine has to do, in the order in which it is asked.

All calls come on the process's main thread, one at a time. Implementations inherit this documentation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from voicebox_protocol.errors import BadOption

if TYPE_CHECKING:
    # Never at run time: the thread counts of native libraries are fixed before numpy comes in.
    import numpy as np
    import numpy.typing as npt

    from voicebox_protocol.capabilities import Capabilities

    Samples: TypeAlias = npt.NDArray[np.float32]
    Sound: TypeAlias = "Samples | tuple[Samples, Sequence[Mark]]"

Extend: TypeAlias = Callable[[int, str], None]
"""`extend(milliseconds, note)`: loading goes on and needs this much longer from now, because of `note`."""


class Mark(NamedTuple):
    """Where a word begins: its first frame, at the engine's own rate, and its place in the text, in characters.

    Both count from the beginning of the segment; `char_end` is one past the word's last character.
    """

    frame: int
    char_start: int
    char_end: int


class PermanentFault(Exception):
    """The engine cannot be used, and starting it again would not help: missing weights, a wrong setting.

    Raise it from the constructor, `capabilities` or `load`, with words that say what to change. The process ends with
    exit code 78 and is not started again until the user changes something.
    """


class TemporaryFault(Exception):
    """The engine cannot be used now, and may be later: other programs hold the memory that it needs.

    Raise it from `load`, before much is loaded, with words that say what is lacking. The process ends and is left alone for
    `retry_s` seconds; then the next request has it tried again.
    """

    def __init__(self, words: str, retry_s: float = 30.0) -> None:
        super().__init__(words)
        self.retry_s = retry_s


class DeviceMemory(NamedTuple):
    """The memory of an accelerator, in bytes: what this process holds of it, what all programs hold, and what it has."""

    own: int
    used: int | None = None
    total: int | None = None


def _never() -> bool:
    return False


def _unheard() -> None:
    return None


def _forgotten(_: bytes) -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """One segment to speak, already checked against the capability document.

    `voice` is an id from that document (None only if it lists none, or with `prompt`). `prompt` is what `prepare_voice` gave, of this
    engine or another of its kind, and in its place: only an engine whose document says `cloning` is given one, and nobody has
    looked into it before. `speed`, `pitch` and `volume` are 1 where the
    request named none. `seed` is the segment's own, below 2^64: equal utterances of a deterministic engine give equal
    samples. `cancelled()` turns true, from another thread, once nobody wants the rest; `progress()` tells the daemon
    that the engine got on, for stretches in which it yields nothing.

    An engine that is slow may have a successor go on quickly where it died itself: what it gives to `keep` travels with the sound
    that it yields next, and is `kept`, joined, for whoever has to speak the segment again. That one still yields it from its
    first sample, the same, but need not think of it again; it keeps only what is new. A segment may keep 48 KiB: more is dropped.
    """

    text: str
    voice: str | None = None
    prompt: bytes | None = None
    language: str | None = None
    model: str | None = None
    instruct: str | None = None
    seed: int = 0
    speed: float = 1.0
    pitch: float = 1.0
    volume: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
    kept: bytes = b""
    keep: Callable[[bytes], None] = _forgotten
    cancelled: Callable[[], bool] = _never
    progress: Callable[[], None] = _unheard


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A recording of somebody whose voice is wanted: mono samples, shape (frames,), float32, finite, from 1 to 60 s.

    `text` is what is said in it, if the user told. `model` as in `Utterance`, and `cancelled` and `progress` too.
    """

    samples: Samples
    sample_rate: int
    text: str | None = None
    model: str | None = None
    cancelled: Callable[[], bool] = _never
    progress: Callable[[], None] = _unheard


class Engine(ABC):
    """A speech engine. The hooks below stand in call order.

    It is made with the `settings` of the user's configuration; the constructor only looks at them and stays cheap.
    """

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings = settings

    @abstractmethod
    def capabilities(self) -> Capabilities:
        """What the engine can do. Asked once, before `load`, and sent in Hello: must not import or read much.

        `speed`, `pitch` and `volume` are the engine's own ranges, None where it has none. The runner offers wider ones and
        does to the samples what lies outside; the engine is then asked for 1.
        """

    @abstractmethod
    def load(self, extend: Extend) -> None:
        """Get everything into memory and end with a warm-up, so that the first segment is as quick as the next.

        The daemon waits 120 s, or longer where `extend` asked for it. Raises `PermanentFault` for what a restart cannot
        mend; any other exception ends the process too, and it is started again.
        """

    def prepare_voice(self, reference: Reference) -> bytes:  # noqa: ARG002 (for those that can)
        """What `synthesize` needs to speak like a recording, as bytes that the user keeps: the engine forgets them.

        At most 256 KiB. Only an engine whose document says `cloning` is asked. Equal references should give equal bytes. They come back
        from anywhere and in any state, so `synthesize` checks them and raises `voicebox_protocol.errors.BadPrompt`; and never are they
        unpickled. A recording that cannot be used raises `BadReference`; any other exception fails this call alone.
        """
        raise BadOption("this engine cannot speak like a recording (cloning)")

    @abstractmethod
    def synthesize(self, utterance: Utterance) -> Iterator[Sound]:
        """Speak one segment: arrays of mono samples, shape (frames,), float, -1..1, at the engine's own sample rate.

        Yield each array as soon as it is made. An engine that knows when its words begin yields `(array, marks)`: the marks in
        order, each once, with the array that holds its frame or an earlier one.

        Text that cannot be spoken raises `voicebox_protocol.errors.Unspeakable` naming the words, before the first array
        where possible; a voice or option that turns out wrong raises the error that fits. Any other exception fails the
        segment alone, and the next one is asked for as if nothing had happened.

        Cancelling: the iterator is closed between two arrays (`GeneratorExit` in a generator). One that works long on
        an array polls `utterance.cancelled` and returns.
        """

    def device_memory(self) -> DeviceMemory | None:
        """What the accelerator's memory holds now; None for an engine that uses none, or cannot tell.

        Asked after `load` and at the end of each segment, whose last message waits for it: it should take no longer than a
        millisecond.
        """
        return None

    def unload(self) -> None:  # noqa: B027 (most engines have nothing to add)
        """Give everything back. The process ends afterwards; needed only for what outlives it."""
