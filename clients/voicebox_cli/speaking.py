"""One `say` from its text to its exit code."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from voicebox_cli import exit_codes, outcome, reporters
from voicebox_cli.connect import connect
from voicebox_cli.file_outlet import STANDARD_OUTPUT, FileOutlet
from voicebox_cli.main import complain
from voicebox_cli.player import Player
from voicebox_cli.tables import show_json
from voicebox_client import Accepted, Chunk, Result, Speech
from voicebox_protocol.errors import CancelledByRequest, OutputFailed, VoiceboxError

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
    """Owns one spoken request of the command line. `request` holds what `Voicebox.say` takes beside the text."""

    def __init__(self, text: str | Iterator[str], request: dict[str, Any], *, plain: bool, as_json: bool) -> None:
        self._text = text
        self._request = request
        self._as_json = as_json
        self._reporter = reporters.choose(plain=plain, as_json=as_json)
        self._speech: Speech | None = None

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
        with open_outlet() as outlet, connect(autostart=True) as box:
            request = {**self._request, "on_failure": outlet.on_failure, "sink": outlet.sink}
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
            if isinstance(event, Accepted):
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
