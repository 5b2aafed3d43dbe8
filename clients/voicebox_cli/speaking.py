"""One `say` from its text to its exit code."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from voicebox_cli import exit_codes, outcome, reporters
from voicebox_cli.connect import connect
from voicebox_cli.file_outlet import STANDARD_OUTPUT, FileOutlet
from voicebox_cli.main import complain
from voicebox_cli.player import Player
from voicebox_cli.tables import show_json
from voicebox_client import Accepted, Chunk, Result, Speech
from voicebox_protocol.errors import BadOption, BadPrompt, CancelledByRequest, NotFound, OutputFailed, VoiceboxError

if TYPE_CHECKING:
    from voicebox_cli.likeness import Likeness
    from voicebox_client import Voicebox

# How long an interrupted request is waited for, so that its last word can be told.
_LAST_WORD_S = 2.0


class Outlet(Protocol):
    """Where the sound goes: entered before the request is made, loaded once it has been, left however it ends."""

    place: str | None
    on_failure: str
    sink: str | None

    def __enter__(self) -> Any: ...

    def __exit__(self, *exc: Any) -> None: ...

    def load(self) -> None: ...

    def prepare(self, accepted: Accepted) -> None: ...

    def write(self, chunk: Chunk) -> None: ...

    def finish(self, accepted: Accepted, result: Result) -> None: ...


class Speaking:
    """Owns one spoken request of the command line. `request` holds what `Voicebox.say` takes beside the text, `likeness` the recording
    that it is to sound like, if there is one."""

    def __init__(
        self,
        text: str | Iterator[str],
        request: dict[str, Any],
        likeness: Likeness | None = None,
        *,
        plain: bool,
        as_json: bool,
    ) -> None:
        self._text = text
        self._request = request
        self._likeness = likeness
        self._as_json = as_json
        self._reporter = reporters.choose(plain=plain, as_json=as_json)
        self._speech: Speech | None = None
        self._prepared = False

    def run(self, output: str | None, format: str | None) -> int:  # noqa: A002
        """Speak to a file, or to the loudspeaker where there is none; the exit code."""
        error: VoiceboxError | None = None
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            self._speak(lambda: _outlet(output, format, self._request.get("on_failure")))
        except KeyboardInterrupt:
            error = CancelledByRequest("interrupted")
        except VoiceboxError as failure:
            error = failure
        if output == STANDARD_OUTPUT and _nobody_reads(error):
            return exit_codes.BROKEN_PIPE
        if error is not None:
            self._reporter.clear()
            complain(str(error))
        if self._as_json:
            show_json(outcome.describe(self._speech, error, output), err=output == STANDARD_OUTPUT)
        return error.exit_code if error else 0

    def _speak(self, open_outlet: Callable[[], Outlet]) -> None:
        if self._likeness is not None:
            self._likeness.read()
        with open_outlet() as outlet, connect(autostart=True) as box:
            if self._likeness is None:
                self._say(box, outlet)
                return
            try:
                self._say(box, outlet, prompt=self._likeness.prompt(box))
            except (BadPrompt, BadOption, NotFound):
                # What was kept may be of a model that has changed, or gone.
                if not (self._likeness.forget() and self._may_begin_again):
                    raise
                self._say(box, outlet, prompt=self._likeness.prompt(box))

    @property
    def _may_begin_again(self) -> bool:
        unheard = self._speech is None or self._speech.result is None or not self._speech.result.frames
        return unheard and isinstance(self._text, str)

    def _say(self, box: Voicebox, outlet: Outlet, **more: Any) -> None:
        request = {**self._request, "on_failure": outlet.on_failure, "sink": outlet.sink, **more}
        with box.say(self._text, **request) as self._speech:
            try:
                outlet.load()
                self._follow(self._speech, outlet)
            except KeyboardInterrupt:
                self._speech.cancel(wait=_LAST_WORD_S)
                raise

    def _follow(self, speech: Speech, outlet: Outlet) -> None:
        for event in speech.events():
            self._reporter.event(event)
            if isinstance(event, Accepted) and not self._prepared:
                self._prepared = True
                outlet.prepare(event)
            elif isinstance(event, Chunk):
                outlet.write(event)
        if speech.result is not None:
            outlet.finish(speech.accepted, speech.result)
            self._reporter.done(speech.result, outlet.place)


def _outlet(output: str | None, format: str | None, on_failure: str | None) -> Outlet:  # noqa: A002
    return Player(on_failure) if output is None else FileOutlet(output, format, on_failure)


def _nobody_reads(error: VoiceboxError | None) -> bool:
    return isinstance(error, OutputFailed) and isinstance(error.__cause__, BrokenPipeError)
