"""One `say` from its text to its exit code."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from voicebox_cli import exit_codes, outcome, reporters
from voicebox_cli.connect import connect
from voicebox_cli.file_outlet import STANDARD_OUTPUT, FileOutlet
from voicebox_cli.loudspeaker import Loudspeaker
from voicebox_cli.main import complain
from voicebox_cli.tables import show_json
from voicebox_client import Accepted, Chunk, Result, Speech
from voicebox_protocol.errors import (
    BadOption,
    BadPrompt,
    CancelledByRequest,
    NoAudioDevice,
    NotFound,
    OutputFailed,
    VoiceboxError,
)

if TYPE_CHECKING:
    from voicebox_cli.likeness import Likeness
    from voicebox_client import Voicebox

# How long an interrupted request is waited for, so that its last word can be told.
_LAST_WORD_S = 10.0


class Outlet(Protocol):
    """Where the sound goes: entered before the request is made, loaded once it has been, left however it ends. `fields` go into the
    request; one that is `detached` ends when that was accepted."""

    place: str | None
    detached: bool
    fields: dict[str, Any]

    def __enter__(self) -> Any: ...

    def __exit__(self, *exc: Any) -> None: ...

    def load(self) -> None: ...

    def write(self, chunk: Chunk) -> None: ...

    def finish(self, accepted: Accepted, result: Result) -> None: ...


class Speaking:
    """Owns one spoken request of the command line. `ask` makes it, and may do so again if it is `repeatable`; `likeness` is the recording
    that it is to sound like, if there is one."""

    def __init__(
        self,
        ask: Callable[..., Speech],
        likeness: Likeness | None = None,
        *,
        repeatable: bool = True,
        autostart: bool = True,
        plain: bool,
        as_json: bool,
    ) -> None:
        self._ask = ask
        self._likeness = likeness
        self._repeatable = repeatable
        self._autostart = autostart
        self._as_json = as_json
        self._reporter = reporters.choose(plain=plain, as_json=as_json)
        self._speech: Speech | None = None

    def into_file(self, output: str, format: str | None, on_failure: str | None) -> int:  # noqa: A002
        """Speak to a file, a pipe or standard output; the exit code."""
        return self._run(lambda: FileOutlet(output, format, on_failure), output)

    def aloud(self, *, detached: bool) -> int:
        """Speak at the loudspeaker, until it was heard or, if it is `detached`, accepted; the exit code."""
        return self._run(lambda: Loudspeaker(follow=self._reporter.follows, detached=detached), None)

    def _run(self, open_outlet: Callable[[], Outlet], output: str | None) -> int:
        error: VoiceboxError | None = None
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            self._speak(open_outlet)
        except KeyboardInterrupt:
            error = CancelledByRequest("interrupted")
        except VoiceboxError as failure:
            error = failure
        if output == STANDARD_OUTPUT and _nobody_reads(error):
            return exit_codes.BROKEN_PIPE
        if error is not None:
            self._reporter.clear()
            complain(f"{error}{_where_it_would_sound(error)}")
        if self._as_json:
            show_json(outcome.describe(self._speech, error, output), err=output == STANDARD_OUTPUT)
        return error.exit_code if error else 0

    def _speak(self, open_outlet: Callable[[], Outlet]) -> None:
        if self._likeness is not None:
            self._likeness.read()
        with open_outlet() as outlet, connect(autostart=self._autostart) as box:
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
        return unheard and self._repeatable

    def _say(self, box: Voicebox, outlet: Outlet, **more: Any) -> None:
        with self._ask(box, **outlet.fields, **more) as self._speech:
            try:
                outlet.load()
                self._follow(self._speech, outlet)
            except KeyboardInterrupt:
                self._speech.cancel(wait=_LAST_WORD_S)
                raise

    def _follow(self, speech: Speech, outlet: Outlet) -> None:
        for event in speech.events():
            self._reporter.event(event)
            if isinstance(event, Chunk):
                outlet.write(event)
            elif isinstance(event, Accepted) and outlet.detached and not speech.ended:
                return
        if speech.result is not None:
            outlet.finish(speech.accepted, speech.result)
            self._reporter.done(speech.result, outlet.place)


def _where_it_would_sound(error: VoiceboxError) -> str:
    """For somebody in a remote shell, who may expect to hear it where the keyboard is."""
    if isinstance(error, NoAudioDevice) and "SSH_CONNECTION" in os.environ:
        return f"\nthis is a remote shell: it would be heard at {socket.gethostname()}, where the daemon runs"
    return ""


def _nobody_reads(error: VoiceboxError | None) -> bool:
    return isinstance(error, OutputFailed) and isinstance(error.__cause__, BrokenPipeError)
