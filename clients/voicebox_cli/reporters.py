"""What `say` tells on standard error while it speaks: one line that changes, one line for each event, or nothing but what
nobody should miss."""

from __future__ import annotations

import os
import sys
import time
from typing import Protocol, TypeGuard

import click

from voicebox_cli.tables import printable
from voicebox_client import Accepted, Chunk, Event, Heard, Notice, Reset, Result
from voicebox_client.events import RECONNECTED

_REFRESH_S = 0.1
# What nobody should miss: another voice speaks, or another daemon, or nobody until there is a device.
_LASTING = ("FAILOVER", "WAITING", RECONNECTED)
_CLEAR = "\r\x1b[K"


class Reporter(Protocol):
    """Hears of every event in order, then of the end; `clear` comes before anything else is written there. `follows`: it wants to hear
    of `Heard` too."""

    follows: bool

    def event(self, event: Event) -> None: ...

    def done(self, result: Result, place: str | None) -> None: ...

    def clear(self) -> None: ...


def choose(*, plain: bool, as_json: bool) -> Reporter:
    """The reporter for these wishes and this terminal."""
    if plain:
        return PlainReporter()
    if as_json or os.environ.get("TERM") == "dumb" or not sys.stderr.isatty():
        return QuietReporter()
    return LineReporter()


def summary(result: Result) -> str:
    """How much sound, how fast, and how soon; at the loudspeaker, whose pace is that of speech, how much was heard."""
    speed = result.duration_s / (result.total_ms / 1000) if result.total_ms > 0 else 0.0
    first = "" if result.first_audio_ms is None else f", first after {result.first_audio_ms:.0f} ms"
    if result.heard_s is not None:
        return f"{result.heard_s:.1f} s heard{first}"
    return f"{result.duration_s:.1f} s of sound, {speed:.1f} × real time{first}"


class QuietReporter:
    """Says only who speaks in another's place, that a daemon was lost, or that there is no device yet."""

    follows = False

    def event(self, event: Event) -> None:
        if _lasts(event):
            _tell_lastingly(event)

    def done(self, result: Result, place: str | None) -> None:
        pass

    def clear(self) -> None:
        pass


class PlainReporter:
    """One line for each event, for screen readers and logs. Of what is heard, one for each sentence."""

    follows = True

    def __init__(self) -> None:
        self._segment = -1

    def event(self, event: Event) -> None:
        if isinstance(event, Accepted):
            self._say(f"accepted: {event.provider}/{event.voice}, {event.sample_rate} Hz, seed {event.seed}")
        elif isinstance(event, Notice):
            self._say(f"{event.code.lower()}: {event.message}")
        elif isinstance(event, Reset):
            self._segment = event.segment - 1
            self._say(f"again from the start of segment {event.segment + 1}: {event.reason}")
        elif event.segment > self._segment:
            self._segment = event.segment
            self._say(f"segment {event.segment + 1}: characters {event.char_start} to {event.char_end}")

    def done(self, result: Result, place: str | None) -> None:
        self._say(f"done: {summary(result)}{f', {place}' if place else ''}")

    def clear(self) -> None:
        pass

    def _say(self, line: str) -> None:
        click.echo(printable(line), err=True)


class LineReporter:
    """One line that changes, on a terminal."""

    follows = True

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._shown = 0.0
        self._first_ms: float | None = None
        self._rate = 0

    def event(self, event: Event) -> None:
        now = time.monotonic()
        if isinstance(event, Accepted):
            self._rate = event.sample_rate
        elif isinstance(event, Heard):
            self._show(f"{event.frames / self._rate:.1f} s heard, {event.chars} characters")
        elif isinstance(event, Chunk):
            if self._first_ms is None:
                self._first_ms = (now - self._began) * 1000
            if now - self._shown >= _REFRESH_S:
                self._shown = now
                self._show(self._progress(event, now))
        elif _lasts(event):
            self.clear()
            _tell_lastingly(event)
        elif isinstance(event, Notice):
            self._show(event.message)

    def done(self, result: Result, place: str | None) -> None:
        self._show(f"{place}: {summary(result)}" if place else summary(result))
        click.echo(err=True)

    def clear(self) -> None:
        click.echo(_CLEAR, nl=False, err=True)

    def _progress(self, chunk: Chunk, now: float) -> str:
        seconds = chunk.end / chunk.sample_rate
        speed = seconds / max(now - self._began, 0.001)
        return f"{seconds:.1f} s of sound, {speed:.1f} × real time, first after {self._first_ms:.0f} ms"

    def _show(self, line: str) -> None:
        click.echo(_CLEAR + printable(line), nl=False, err=True)


def _lasts(event: Event) -> TypeGuard[Notice]:
    return isinstance(event, Notice) and event.code in _LASTING


def _tell_lastingly(notice: Notice) -> None:
    """A line that stays."""
    click.echo(f"voicebox: {printable(notice.message)}", err=True)
