"""`Voicebox`: the one object that most programs need."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple, TypeVar

from voicebox_client import door, request
from voicebox_client.connection import Connection, Daemon
from voicebox_client.feeder import Feeder
from voicebox_client.guard import Guard
from voicebox_client.speech import Speech
from voicebox_client.voice_prompt import VoicePrompt
from voicebox_protocol import wire
from voicebox_protocol.errors import CancelledByRequest, DaemonLost, DaemonUnreachable

# An engine's loading is given this much; the daemon itself waits for as long as the engine asks.
LOADING_S = 600.0
# A sound system may take its time to say which devices it has.
DEVICES_S = 30.0
# A daemon may be just ending when it is reached; the next one is found, or started, at once.
_TRIES = 3
# How often to look for a daemon that somebody else is to start.
LOOK_EVERY_S = 0.1

_Link = TypeVar("_Link", bound=Connection)


class Touched(NamedTuple):
    """The requests that a call reached: the first 64, and how many in all."""

    requests: list[str]
    total: int


class Voicebox:
    """The voice service of this machine. Connects at the first call, and again after a daemon has gone.

    With `autostart`, starts a daemon where none runs; `VOICEBOX_AUTOSTART=0` forbids it. `timeout` bounds, in seconds,
    how long the daemon may take for any answer; speech takes as long as it takes. Several `Speech`es may go on at once
    and be read in any order, but only in one thread at a time: make one Voicebox for each thread, and a new one after
    a fork. Any other use raises `RuntimeError`.
    """

    def __init__(self, *, autostart: bool = True, timeout: float = 10.0) -> None:
        self._autostart = autostart
        self._timeout = timeout
        self._guard = Guard()
        self._openings = 0
        self._link: Connection | None = None

    def say(
        self,
        text: str | Iterable[str],
        *,
        voice: str | None = None,
        language: str | None = None,
        provider: str | None = None,
        model: str | None = None,
        instruct: str | None = None,
        seed: int | None = None,
        speed: float | None = None,
        pitch: float | None = None,
        volume: float | None = None,
        options: Mapping[str, Any] | None = None,
        sample_rate: int | None = None,
        priority: str | None = None,
        deadline: float | None = None,
        on_failure: str | None = None,
        any_voice: bool | None = None,
        sink: str | None = None,
        follow: bool = False,
        detached: bool = False,
        wait_device: bool = False,
        resume: bool = False,
        prompt: VoicePrompt | None = None,
    ) -> Speech:
        """Ask for speech, and return at once; read the `Speech` for sound, errors and the result.

        `text` is a string of at most 1 MiB in UTF-8, or an iterable of strings without limit, pulled in a thread of its
        own and spoken while it is still being written. `seed` makes the samples repeatable, `sample_rate` is in Hz,
        `deadline` in seconds. `on_failure` says what follows where a failed provider's sound cannot be continued
        exactly: segment (from the segment's start), next (skip the rest of it; the default) or fail. With `resume`, that
        holds for a daemon that dies as well: the next one is found or started, and goes on. `prompt` is what `prepare_voice`
        gave: its voice speaks, by the model that it was made for. Raises `BadRequest`, `TextTooLong`, `InvalidText`,
        `DaemonUnreachable`.

        With `sink` "speaker" the machine's loudspeaker plays it, in its turn among those of all clients, which is what `priority` is
        about; no chunks come, and the Speech ends when it was heard. `follow` has `Heard` tell how far the listener is, `wait_device`
        has it wait where there is no sound device, and one that is `detached` is spoken even if you close it or leave.
        """
        asked = {name: value for name, value in locals().items() if name not in ("self", "text", "deadline", "prompt")}
        sounds_like = request.like(prompt, asked)
        fields = request.fields(deadline, asked)
        request.whole_if_detached(text, asked)
        streamed = not isinstance(text, str)
        payload = b"" if not isinstance(text, str) else request.whole(text)
        with self._guard:
            link = self._connected()
            if sounds_like is not None:
                link.must_clone()
            if sink == "speaker":
                link.must_play()
            speech = Speech(link, request.new_id(), partial(self._next_link, self._openings))
            feeder = Feeder(text, link.waker()) if streamed else None
            speech.begin(fields, payload, feeder, prompt=sounds_like, resume=resume)
        return speech

    def replay(self, req: str | None = None, *, follow: bool = False, detached: bool = False) -> Speech:
        """Have the loudspeaker play again one of the last 16 requests that were heard, or the very last; everything else is as in
        `say`. The Speech raises `NoSuchRequest` if that is none of them."""
        asked = {"sink": "speaker", "replay": req or wire.LAST, "follow": follow, "detached": detached}
        fields = request.fields(None, asked)
        with self._guard:
            link = self._connected()
            link.must_play()
            speech = Speech(link, request.new_id())
            speech.begin(fields, b"", None)
        return speech

    def prepare_voice(
        self,
        audio: Any,
        text: str | None = None,
        *,
        provider: str | None = None,
        model: str | None = None,
        sample_rate: int | None = None,
        timeout: float = LOADING_S,
    ) -> VoicePrompt:
        """Have a provider listen to a recording of 1 to 60 s, and return what `say` takes to speak like it.

        `audio` is the path of a file (wav, flac, mp3, ogg), or samples (floats from -1 to 1, of shape (frames,) or (frames, channels))
        with their `sample_rate` in Hz. With `text`, what is said in it word for word, the voice comes out closer; it is refused where
        it cannot be that of the recording. Without `provider`, whoever can do it does. Use a recording only of who agreed to that.
        Raises `BadReference`, `BadRequest`, `BadOption`, `NoSuchProvider`, `ProviderFailed`, or `DeadlineExceeded` after `timeout`
        seconds.
        """
        payload, fields = request.listening(audio, text, provider, model, sample_rate, timeout)
        with self._guard:
            link = self._connected()
            link.must_clone()
            answer = link.query("PrepareVoice", within=timeout + self._timeout, payload=payload, **fields)
        return request.prepared(answer)

    def status(self) -> dict[str, Any]:
        """How daemon, providers and requests are; the shape stands in docs/protocol.md, "Status"."""
        return dict(self._ask("Status")["status"])

    def voices(self, provider: str | None = None, language: str | None = None) -> list[dict[str, Any]]:
        """The voices there are: {id, provider, name, languages, scripts, gender, kind, default} each."""
        return list(self._ask("Voices", provider=provider, language=language)["voices"])

    def providers(self) -> list[dict[str, Any]]:
        """The providers there are: {id, engine, source, state, reason, capabilities} each."""
        return list(self._ask("Providers")["providers"])

    def add_provider(
        self,
        provider: str,
        *,
        engine: str | None = None,
        program: str | None = None,
        source: bytes | None = None,
        python: str | None = None,
        settings: Mapping[str, Any] | None = None,
        replace: bool = False,
    ) -> dict[str, Any]:
        """Install a provider as `provider`, and return what `providers` says of it.

        `engine` is an entry point, `module`, `module:Class`, or `FILE.py[:Class]` with the file as `source`, made with
        `settings` and run by the interpreter `python`; or `program` is the absolute path of one that speaks the wire. It is
        started once, for which `timeout` must leave time. With `replace`, one of that name that was added before makes room
        when the sentence in its work is finished. Raises `BadRequest`, `Refused` if there is one of that name, or
        `ProviderFailed` with its own words.
        """
        answer = self._ask(
            "AddProvider",
            provider=provider,
            engine=engine,
            program=program,
            python=python,
            settings=settings and dict(settings),
            replace=replace or None,
            payload=source,
        )
        return dict(answer["provider"])

    def remove_provider(self, provider: str) -> None:
        """Remove a provider that was added; its requests fail. Raises `NoSuchProvider`, or `Refused` for any other."""
        self._ask("RemoveProvider", provider=provider)

    def start_provider(self, provider: str, *, timeout: float = LOADING_S) -> dict[str, Any]:
        """Have a provider loaded, and return what `providers` says of it once it is ready.

        One that had failed or was quarantined is tried anew. Raises `NoSuchProvider`, `ProviderFailed` with the reason and
        what it wrote, or `DeadlineExceeded` after `timeout` seconds, in which case the daemon goes on with it.
        """
        return self._control("start", provider, timeout)

    def stop_provider(self, provider: str, *, timeout: float = LOADING_S) -> dict[str, Any]:
        """End a provider's process once what was asked of it has been spoken; done when it is gone. Raises as `start_provider`.

        Whoever asks it to speak later has it started again.
        """
        return self._control("stop", provider, timeout)

    def restart_provider(self, provider: str, *, timeout: float = LOADING_S) -> dict[str, Any]:
        """Put a fresh process in the place of a provider's; requests go on with that one. Raises as `start_provider`."""
        return self._control("restart", provider, timeout)

    def ping(self, provider: str, *, timeout: float = 5.0) -> float:
        """Ask a provider's process whether it answers, and return the seconds that took.

        Whatever its engine is at, a process that runs answers at once. Raises `NoSuchProvider`, `Refused` if none is
        running, or `DeadlineExceeded` after `timeout` seconds.
        """
        begun = time.perf_counter()
        deadline = request.milliseconds(timeout, "timeout")
        self._ask("Ping", within=timeout + self._timeout, provider=provider, deadline_ms=deadline)
        return time.perf_counter() - begun

    def stop(self, req: str | None = None, *, all: bool = False) -> Touched:  # noqa: A002
        """Cancel a request of any client, all of them, or those for the loudspeaker. Raises `NoSuchRequest`."""
        answer = self._ask("Stop", req=req, all=all or None)
        return Touched(answer["reqs"], answer["count"])

    def skip(self, req: str | None = None, *, all: bool = False) -> Touched:  # noqa: A002
        """Cancel what the loudspeaker is speaking, and let the next one speak; or that request, or all of them. Raises
        `NoSuchRequest`."""
        return self._playback("skip", req, everything=all)

    def pause(self, req: str | None = None, *, all: bool = False) -> Touched:  # noqa: A002
        """Silence the loudspeaker where it is, until `resume`; not a sample is lost. Raises `NoSuchRequest`."""
        return self._playback("pause", req, everything=all)

    def resume(self, req: str | None = None, *, all: bool = False) -> Touched:  # noqa: A002
        """Go on after `pause`, with the very next sample. Raises `NoSuchRequest`."""
        return self._playback("resume", req, everything=all)

    def audio(
        self,
        *,
        volume: float | None = None,
        muted: bool | None = None,
        device: str | None = None,
        devices: bool = False,
    ) -> dict[str, Any]:
        """Set what is given, and return how the loudspeaker is then; its shape stands in docs/protocol.md, "AudioReply".

        `volume` is 0 to 1. `device` is the name of one, or an empty string for the system's default; with `devices` the answer lists
        them as {name, default, backend} each. What is set is kept when the daemon ends. Raises `BadRequest`.
        """
        fields = request.audio(volume, muted, device)
        within = DEVICES_S if devices else None
        return dict(self._ask_player("Audio", within=within, devices=devices or None, **fields)["audio"])

    def shutdown(self, *, if_idle: bool = False) -> None:
        """Have the daemon end; with `if_idle`, only if no request is active or queued (raises what it answers)."""
        try:
            self._ask("Shutdown", if_idle=if_idle or None)
        except DaemonLost:
            return  # its end was noticed before its answer

    def connect(self) -> Daemon:
        """Connect now rather than at the first call, and say to whom."""
        with self._guard:
            return self._connected().daemon

    def close(self) -> None:
        """Leave. What is still being spoken is cancelled, unless it is detached. In a forked child, the parent's connection is left
        alone."""
        link, self._link = self._link, None
        self._openings += 1
        if link is not None and not self._guard.forked:
            link.close(CancelledByRequest("the Voicebox was closed"))

    def __enter__(self) -> Voicebox:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _control(self, action: str, provider: str, timeout: float) -> dict[str, Any]:
        return dict(self._ask("ControlProvider", within=timeout, provider=provider, action=action)["provider"])

    def _playback(self, action: str, req: str | None, *, everything: bool) -> Touched:
        answer = self._ask_player("Playback", action=action, req=req, all=everything or None)
        return Touched(answer["reqs"], answer["count"])

    def _ask_player(self, kind: str, *, within: float | None = None, **fields: Any) -> dict[str, Any]:
        with self._guard:
            link = self._connected()
            link.must_play()
            return link.query(kind, within=within, **fields)

    def _ask(self, kind: str, *, within: float | None = None, **fields: Any) -> dict[str, Any]:
        with self._guard:
            return self._connected().query(kind, within=within, **fields)

    def _connected(self) -> Connection:
        if self._link is not None and self._link.alive():
            return self._link
        self._link = connect(Connection, self._guard, autostart=self._autostart, timeout=self._timeout)
        return self._link

    def _next_link(self, opening: int) -> Connection:
        """The connection to the next daemon, for a Speech that lost its own and was made before the last `close`, or not."""
        until = time.monotonic() + self._timeout
        while opening == self._openings:
            try:
                return self._connected()
            except DaemonUnreachable:
                if not left_to_others(autostart=self._autostart) or time.monotonic() >= until:
                    raise
            time.sleep(LOOK_EVERY_S)
        raise CancelledByRequest("the Voicebox was closed")


def left_to_others(*, autostart: bool) -> bool:
    """Whether somebody else has to start the next daemon, as a service manager does after a moment."""
    return not (autostart and door.autostart_allowed())


def connect(kind: type[_Link], guard: Guard, *, autostart: bool, timeout: float) -> _Link:
    """A connection to the daemon there is, or to one that was started for it; takes as long as that takes."""
    for _ in range(_TRIES):
        reached = door.reach(autostart=autostart, timeout=timeout)
        try:
            return kind(door.transport(), reached, guard, timeout)
        except DaemonLost as lost:
            reason = lost
    raise DaemonUnreachable(f"each daemon that answered went away at once: {reason}")
