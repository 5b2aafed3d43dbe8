"""One request to speak, from its `Say` to its last message: an iterator over the sound as it arrives."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from voicebox_client.connection import Connection
from voicebox_client.events import (
    RECONNECTED,
    Accepted,
    Chunk,
    Event,
    Notice,
    Reset,
    Result,
    accepted_from,
    heard_from,
    result_from,
)
from voicebox_protocol import wire
from voicebox_protocol.errors import (
    BadMessage,
    BadRequest,
    CancelledByRequest,
    DaemonLost,
    VoiceboxError,
    from_wire,
)

if TYPE_CHECKING:
    from voicebox_client.audio import Audio
    from voicebox_client.feeder import TextSource
    from voicebox_client.resumption import Resumption

# Whoever plays a long message in real time gives credit this often, in seconds; whoever reads it at once, when it is read.
_CREDIT_EVERY_S = 2.0
_KEPT = "sound was kept beyond its chunk, which costs a copy: copy it yourself, as chunk.as_array().copy() or bytes(chunk.data)"


class Speech:
    """Owns one request. Iterate it for `Chunk`s, or `events()` for all that happens; closing or dropping it cancels.

    Raises the error that ended the request, with the `Result` as its attribute ``result``, once all that came before
    has been read. Sound that the daemon takes back shows as a `Chunk` whose `start` lies before the end of the last
    one; `collect` and `save` see to that. Text that is still being written is sent while this is being read.

    One for the loudspeaker brings no chunks: `wait`, or read its `events()`, until it was heard.
    """

    def __init__(self, link: Connection, request_id: str, next_link: Callable[[], Connection] | None = None) -> None:
        self.request_id = request_id
        self.notices: list[Notice] = []
        self.result: Result | None = None
        self.on_failure: str | None = None
        self._aloud = False
        self._detached = False
        self._link = link
        self._next_link = next_link
        self._adrift: VoiceboxError | None = None
        self._resumption: Resumption | None = None
        self._prompt: bytes | None = None
        self._feeder: TextSource | None = None
        self._text_window = link.text_window
        self._text_sent = 0
        self._accepted: Accepted | None = None
        self._events: deque[Event] = deque()
        self._frames = 0
        self._lent: Chunk | None = None
        self._shared = False
        self._warned = False
        self._first_seq = 0
        self._arrived = -1
        self._credited = -1
        self._credited_at = time.monotonic()
        self._error: BaseException | None = None
        link.speeches[request_id] = self

    def begin(
        self,
        fields: dict[str, Any],
        payload: bytes,
        feeder: TextSource | None,
        *,
        prompt: bytes | None = None,
        resume: bool = False,
    ) -> None:
        """Send the `Say`, with a voice prompt if there is one; with a feeder, the text goes on in `Text` messages. With
        `resume`, a lost daemon is not the end."""
        self._prompt = prompt
        self.on_failure = fields.get("on_failure")
        self._aloud = fields.get("sink") == "speaker"
        self._detached = fields.get("detached", False)
        self._feeder = feeder
        if resume:
            self._feeder, self._resumption = _resumable(fields, payload, feeder)
        self._text_sent = len(payload)
        self._link.tell("Say", self.request_id, payload, prompt, more=feeder is not None or None, **fields)

    # --- reading

    @property
    def ended(self) -> bool:
        """Whether nothing more will come, though there may be something left to read."""
        return self.result is not None or self._error is not None

    @property
    def known(self) -> Accepted | None:
        """Who speaks, if the daemon has said so already."""
        return self._accepted

    @property
    def accepted(self) -> Accepted:
        """Who speaks, and at which rate: waits until the daemon has said so."""
        while self._accepted is None and not self.ended:
            with self._link.guard:
                self._wait()
        return self.acceptance()

    def acceptance(self) -> Accepted:
        """What `accepted` waits for; raises what came instead."""
        if self._accepted is None:
            raise self._failure() or BadMessage("the request ended without being accepted")
        return self._accepted

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        while (event := self._next()) is not None:
            if isinstance(event, Chunk):
                return event
        raise StopIteration

    def events(self) -> Iterator[Event]:
        """All that happens, in order: `Accepted`, `Notice`, `Reset` and `Chunk`; from the loudspeaker `Heard`, with `follow` or `resume`.
        Iterating the Speech gives the chunks."""
        while (event := self._next()) is not None:
            yield event

    def wait(self) -> Result:
        """Wait for the end, that of hearing if it is for the loudspeaker, and return it. Raises what iterating raises."""
        for _ in self.events():
            pass
        return self.ending()

    def ending(self) -> Result:
        """The result of a Speech that has been read to its end."""
        if self.result is None:
            raise RuntimeError("the speech has not ended")
        return self.result

    def must_bring_sound(self) -> None:
        """Raise `BadRequest` for one that the loudspeaker plays."""
        if self._aloud:
            raise BadRequest("the loudspeaker plays this: leave out sink='speaker' to have the sound here")

    def collect(self) -> Audio:
        """The whole sound, in memory."""
        self.must_bring_sound()
        from voicebox_client.audio import collect

        return collect(self)

    def save(self, path: str | os.PathLike[str], format: str | None = None) -> Result:  # noqa: A002
        """Write the sound to a file as it comes; the format is that of the name
        (.wav, .flac, .mp3, .opus, .ogg, .pcm; else wav) unless given.

        An ordinary file appears when it is whole, under the mode it had; a device or FIFO is written as the sound
        comes. Raises `BadFormat`, or `OutputFailed` with the place and the reason; the request is cancelled then.
        """
        self.must_bring_sound()
        from voicebox_client.audio import save

        with self:
            return save(self, path, format)

    def _next(self) -> Event | None:
        with self._link.guard:
            self.catch_up()
            while not self.ready:
                self._wait()
        return self.take()

    @property
    def ready(self) -> bool:
        """Whether `take` need not be waited for."""
        return bool(self._events) or self.ended

    def catch_up(self) -> None:
        """The reader is back: give credit for what it had, and send what there is to send."""
        self._give_back()
        self._link.flush()
        self.feed()

    def take(self) -> Event | None:
        """The next event that lies here; at the end None, or the error that it ended with."""
        if self._events:
            if self._lent is not None:  # another task's, that it still reads
                self._lent.detach()
            event = self._events.popleft()
            self._lent = event if isinstance(event, Chunk) else None
            return event
        if error := self._failure():
            raise error
        return None

    def _wait(self) -> None:
        if self.adrift:
            self._find_next_daemon()
            return
        # Others of this connection fill the same window: what of theirs lies here unread must not hold it closed.
        for speech in list(self._link.speeches.values()):
            speech.feed()
            if speech is not self:
                speech.settle()
        with contextlib.suppress(DaemonLost):  # every Speech has been told
            self._link.listen()

    def _failure(self) -> BaseException | None:
        if self._error is not None or self.result is None or self.result.state == "done":
            return self._error
        code = self.result.code or CancelledByRequest.code
        error = from_wire(code, self.result.message or _why(self.result.reason))
        error.result = self.result
        return error

    # --- credit and text

    def _give_back(self) -> None:
        chunk, self._lent = self._lent, None
        if chunk is None:
            return
        if not chunk.release() and not self._warned:
            self._warned = True
            warnings.warn(_KEPT, RuntimeWarning, stacklevel=5)
        if chunk.closes or time.monotonic() >= self._credited_at + _CREDIT_EVERY_S:
            self._credit(chunk.seq)

    def settle(self) -> None:
        """Give credit for all that has arrived, read or not."""
        if self._arrived > self._credited:
            self._detach()
            self._credit(self._arrived)

    def _detach(self) -> None:
        """What lies here, or with the reader, is to be given back."""
        for event in (*self._events, self._lent):
            if isinstance(event, Chunk):
                event.detach()

    def _credit(self, seq: int) -> None:
        """The daemon forgets the window of a request that has ended, but not where its sound lies."""
        if seq > self._credited and (self._shared or not self.ended) and self._link.lost is None:
            first = self._first_seq
            self._tell("Credit", first=self._credited + 1 - first, last=seq - first)
            self._credited, self._credited_at = seq, time.monotonic()

    @property
    def _owes(self) -> bool:
        """Whether a provider waits for what lies here to be given back, even if the request has ended."""
        return self._shared and self._arrived > self._credited and self._link.lost is None

    def feed(self) -> None:
        """Send as much of the text that has been written as the daemon has room for."""
        while self._feeder is not None and not self.ended and not self.adrift:
            if (error := self._feeder.error) is not None:
                self._give_up(error)
                return
            piece, last = self._feeder.take(self._text_window - self._text_sent)
            if not piece and not last:
                return
            self._tell("Text", piece, last=last or None)
            self._text_sent += len(piece)
            if last:
                self._feeder = None

    def _give_up(self, error: BaseException) -> None:
        if not self._detached:
            self._tell("Cancel")
        self._end(error)

    def _tell(self, kind: str, payload: bytes | None = None, **fields: Any) -> None:
        """Send, if there is anybody; who is lost over it has told every Speech."""
        if not self.adrift:
            with contextlib.suppress(DaemonLost):
                self._link.tell(kind, self.request_id, payload, **fields)

    # --- ending

    def cancel(self, wait: float = 0.0) -> Result | None:
        """Ask the daemon to stop; wait at most so many seconds for its last word, and return it if it came."""
        with self._link.guard:
            self.ask_to_stop()
            until = time.monotonic() + wait
            while not self.ended and (left := until - time.monotonic()) > 0:
                self._link.listen(left)
        return self.result

    def ask_to_stop(self) -> None:
        """Tell the daemon, if it has not ended this already; its last word is still to come."""
        if self.adrift:
            self._end(CancelledByRequest("the request was cancelled while its daemon was gone"))
        elif not self.ended:
            self._stop_text()
            self._tell("Cancel")

    def close(self) -> None:
        """Cancel, and forget what was not read, if it is still going; one that is detached goes on without you. Harmless when done,
        and in a forked child."""
        if self._link.guard.forked or (self.ended and not self._owes):
            return
        with self._link.guard:
            if not self.ended:
                self._give_up(CancelledByRequest("the Speech was closed"))
                self._events.clear()
            self.settle()

    def __enter__(self) -> Speech:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        if self._link.guard.forked or (self.ended and not self._owes):
            return
        self._stop_text()
        if self._lent is not None:
            self._lent.detach()
        if self._detached:
            return
        self._link.drop(self.request_id, self._credited + 1 - self._first_seq, self._arrived - self._first_seq)

    def _end(self, error: BaseException | None) -> None:
        self._error = error
        self._adrift = None
        self._stop_text()
        self._link.speeches.pop(self.request_id, None)

    def _stop_text(self) -> None:
        if self._feeder is not None:
            self._feeder.stop()
            self._feeder = None

    # --- what the connection hands over

    def lose(self, error: VoiceboxError) -> None:
        """The connection ended before the request did: the end, unless the next daemon is to go on."""
        if self.ended or self.adrift:
            return
        if self._resumption is None or not isinstance(error, DaemonLost):
            self._end(error)
        elif hindrance := self._resumption.hindrance:
            self._end(DaemonLost(f"{_what(error)}, and {hindrance}"))
        else:
            self._adrift = error

    def receive(self, kind: str, header: dict[str, Any], payload: memoryview) -> None:
        """One message about this request."""
        if self._resumption is not None:
            self._resumption.hear(kind, header)
        if kind == "Chunk":
            self._receive_chunk(header, payload)
        elif kind == "Accepted":
            self._receive_accepted(accepted_from(header))
        elif kind == "Notice":
            self._notice(Notice(header["code"], header["message"]))
        elif kind == "Reset":
            self._frames = header["frames"]
            self._events.append(Reset(header["segment"], header["frames"], header["reason"]))
        elif kind == "Heard":
            self._events.append(heard_from(header))
        elif kind == "TextCredit":
            self._text_window = max(self._text_window, header["upto"])
        elif kind == "Error":
            self._end(from_wire(header["code"], header["message"]))
        elif kind in wire.TERMINAL:
            self._receive_last(header)

    def _receive_accepted(self, accepted: Accepted) -> None:
        if self._accepted is None:
            self._accepted = accepted
            self._events.append(accepted)
        elif (accepted.seed, accepted.sample_rate) != (self._accepted.seed, self._accepted.sample_rate):
            raise ValueError("the next daemon accepted another seed or rate")

    def _notice(self, notice: Notice) -> None:
        self.notices.append(notice)
        self._events.append(notice)

    def _receive_chunk(self, header: dict[str, Any], payload: memoryview) -> None:
        if self._accepted is None:
            raise ValueError("a chunk before Accepted")
        header["seq"] += self._first_seq
        for index in range(len(header["descriptors"])):
            rate = self._accepted.sample_rate
            chunk = Chunk(header, index, payload, start=self._frames, sample_rate=rate, arenas=self._link.arenas)
            self._shared = self._shared or chunk.shared
            self._events.append(chunk)
            self._frames = chunk.end
            self._arrived = chunk.seq

    def _receive_last(self, header: dict[str, Any]) -> None:
        self._tell("EndAck")
        result = result_from(header)
        self.result = result if self._resumption is None else self._resumption.whole(result, self._accepted)
        self._end(None)

    # --- the next daemon

    @property
    def adrift(self) -> bool:
        """Whether its daemon is gone and the next one is not found yet."""
        return self._adrift is not None

    def _find_next_daemon(self) -> None:
        assert self._next_link is not None
        try:
            link = self._next_link()
        except VoiceboxError as error:
            self.strand(error)
        else:
            self.rejoin(link)

    def strand(self, error: VoiceboxError) -> None:
        """There is no next daemon, for this reason. Does nothing to a Speech that was closed meanwhile; neither does `rejoin`."""
        if self._adrift is None:
            return
        if not isinstance(error, CancelledByRequest):
            error = DaemonLost(f"{_what(self._adrift)}, and the next one cannot be reached: {error}")
        self._end(error)

    def rejoin(self, link: Connection) -> None:
        """Go on with the next daemon from where the last one was; of that, whoever reads is given a Notice."""
        lost, self._adrift = self._adrift, None
        if lost is None or self._resumption is None:
            return
        if link.boot == self._link.boot:
            self._end(lost)  # it lives, and did not want to hear of this request any more
        elif lacking := self._lacking(link.features):
            self._end(DaemonLost(f"{_what(lost)}; the next one ({link.daemon.version}) cannot {lacking}"))
        else:
            what = f"{_what(lost)}; the next one (pid {link.daemon.pid}) goes on"
            self._notice(Notice(RECONNECTED, what))
            self._begin_again(link, self._resumption, _what(lost))

    def _lacking(self, features: frozenset[str]) -> str | None:
        """What a daemon would have to do for this and cannot."""
        if self._prompt is not None and wire.CLONING not in features:
            return "speak like a recording"
        if self._aloud and wire.LOUDSPEAKER not in features:
            return "play on the loudspeaker"
        if self._resumption is not None and self._resumption.in_the_middle and wire.RESUME not in features:
            return "go on in the middle"
        return None

    def _begin_again(self, link: Connection, resumption: Resumption, reason: str) -> None:
        fields, payload = resumption.move(self._accepted, reason)
        self._link, self._feeder = link, resumption.rejoin(link)
        self._text_window, self._text_sent = link.text_window, len(payload)
        # The numbers of what this daemon sends begin anew; what the last one sent needs no credit any more.
        self._first_seq, self._credited = self._arrived + 1, self._arrived
        link.speeches[self.request_id] = self
        try:
            more = self._feeder is not None or None
            link.tell("Say", self.request_id, payload, self._prompt, more=more, **fields)
        except VoiceboxError as error:
            self.lose(error)
        self.feed()


def _resumable(
    fields: dict[str, Any], payload: bytes, feeder: TextSource | None
) -> tuple[TextSource | None, Resumption]:
    # Few ask for it, and everybody would wait while it is loaded.
    from voicebox_client.kept_text import KeptText
    from voicebox_client.resumption import Resumption

    if feeder is None:
        return None, Resumption(fields, payload)
    kept = KeptText(feeder)
    return kept, Resumption(fields, kept)


def _why(reason: str | None) -> str:
    """Why a request was cancelled, in words."""
    return f"the request was cancelled: {reason}" if reason else "the request was cancelled"


def _what(lost: VoiceboxError) -> str:
    """What happened to a daemon, less the advice of what to do."""
    return str(lost).partition(";")[0]
