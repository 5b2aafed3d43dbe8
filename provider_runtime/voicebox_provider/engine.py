"""The engine interface: what a speech engine has to do, in the order in which it is asked.

All calls come on the process's main thread, one at a time. Implementations inherit this documentation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

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


def _never() -> bool:
    return False


def _unheard() -> None:
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Utterance:
    """One segment to speak, already checked against the capability document.

    `voice` is an id from that document (None only if it lists none). `speed`, `pitch` and `volume` are 1 where the
    request named none. `seed` is the segment's own, below 2^64: equal utterances of a deterministic engine give equal
    samples. `cancelled()` turns true, from another thread, once nobody wants the rest; `progress()` tells the daemon
    that the engine got on, for stretches in which it yields nothing.
    """

    text: str
    voice: str | None = None
    language: str | None = None
    model: str | None = None
    instruct: str | None = None
    seed: int = 0
    speed: float = 1.0
    pitch: float = 1.0
    volume: float = 1.0
    options: Mapping[str, Any] = field(default_factory=dict)
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

    def unload(self) -> None:  # noqa: B027 (most engines have nothing to add)
        """Give everything back. The process ends afterwards; needed only for what outlives it."""
