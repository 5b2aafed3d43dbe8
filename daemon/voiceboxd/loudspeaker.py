"""The loudspeaker: one request is heard at a time, to its end, and the daemon knows how far.

`Turns` says whose turn it is, the ledger has its sound made, and a player in a process of its own plays it. What was made is kept
until it was heard, so another player goes on where one was killed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

from voicebox_protocol import errors, schema, wire
from voicebox_protocol.position import Position
from voiceboxd import clock, turns
from voiceboxd.aloud import Aloud, At, Replays
from voiceboxd.audio_settings import AudioSettings
from voiceboxd.effects import Effect, ToClient
from voiceboxd.ledger import Ledger
from voiceboxd.logs import log
from voiceboxd.request import SPEAKER, Request
from voiceboxd.timers import Timers
from voiceboxd.window import Window

# A player that was told to be silent says at once how far it came.
_HUSH_S = 3.0
# It reports ten times a second while it plays; opening a device may take this long.
_SILENT_S = 10.0
_LOOK_FOR_DEVICE_S = 2.0


class Host(Protocol):
    """Owns the player's process."""

    sink: str

    @property
    def up(self) -> bool:
        """Whether a player can be told something."""

    def want(self) -> None:
        """Have one."""

    def rest(self) -> None:
        """Nobody needs it for now."""

    def send(self, message: schema.Message, payload: bytes | None = None) -> None:
        """Tell it."""

    def position(self) -> Position | None:
        """How far it came, by the page that it shares."""

    def kill(self, reason: str) -> None:
        """It does not do its work: end it, so that another takes its place."""


class Loudspeaker:
    """Owns all requests for the loudspeaker, and the sound that was not heard yet."""

    def __init__(
        self,
        ledger: Ledger,
        timers: Timers,
        settings: AudioSettings,
        *,
        do: Callable[[list[Effect]], None],
        pump: Callable[[Request], None],
    ) -> None:
        self._ledger = ledger
        self._settings = settings
        self._do = do
        self._pump = pump
        self._turns = turns.Turns()
        self._aloud: dict[str, Aloud] = {}
        self.replays = Replays()
        self._hush = timers.timer(self._hush_ends)
        self._silence = timers.timer(self._player_is_silent)
        self._device_timer = timers.timer(self._look_for_device)
        self._underruns = 0
        self._silenced = False
        self._ending = False
        self.device: str | None = None
        self.trouble: str | None = None
        self._host: Host

    def play_through(self, host: Host) -> None:
        """Who has the player from now on."""
        self._host = host

    # --- requests come, and end

    def enter(self, request: Request, text: str) -> None:
        """A request has come in. It makes no sound before its turn is near."""
        request.held_back = True
        self._aloud[request.req] = Aloud(request, text)

    def queue(self, request: Request) -> None:
        """It is known who speaks it, or will be: it takes its place among the others."""
        aloud = self._aloud.get(request.req)
        if aloud is None or request.verdict is not None:
            return
        if self._turns.paused:
            self._tell(request, "WAITING", "the loudspeaker is paused; voicebox resume goes on")
        self._act(self._turns.arrive(request.req, request.say.priority or "message"))

    def text(self, req: str, text: str) -> None:
        """More text of a request."""
        if (aloud := self._aloud.get(req)) is not None:
            aloud.keep(text)

    def sound(self, chunk: schema.Chunk, payload: bytes) -> None:
        """Sound of a request was made."""
        aloud = self._aloud.get(chunk.req)
        if aloud is None:
            return
        idle = not aloud.is_owed
        kept = aloud.hearing.came(chunk, payload)
        if aloud.at is At.PLAYER:
            self._host.send(kept.chunk, kept.payload)
            if idle:
                self._expect()
        elif self._turns.current == chunk.req and not aloud.waits_for_device:
            self._play(aloud)
        elif aloud.request.held_back:
            self._window.forget(chunk.req)

    @property
    def _window(self) -> Window:
        """The room for sound that is not heard yet. What is set aside takes none, so that others are not kept from speaking by it."""
        return self._ledger.windows[SPEAKER]

    def reset(self, message: schema.Reset) -> None:
        """A segment begins again: what was made of it, and was not heard yet, is not to be."""
        aloud = self._aloud.get(message.req)
        if aloud is None:
            return
        for kept in aloud.hearing.back_to(message.frames):
            self._window.credit(message.req, kept.chunk.seq, kept.last_seq, clock.now())
        aloud.was_reset, aloud.begun_at = True, min(aloud.begun_at, message.frames)
        if aloud.at is At.PLAYER:
            self._host.send(message)

    def decided(self, req: str) -> None:
        """Nothing more is made of it. It ends when what is to be heard was heard."""
        aloud = self._aloud.get(req)
        if aloud is None:
            return
        verdict, at = aloud.request.verdict, aloud.at
        assert verdict is not None
        if isinstance(verdict.error, errors.ShuttingDown):
            self._end_with_daemon(aloud)
        elif self._goes_on(aloud) and not aloud.hearing.heard_all and at is not At.HUSHED:
            if at is At.PLAYER:
                self._finish(aloud)
            self._look_ahead()
        elif at is At.HOME:
            self._settle(aloud)
        else:
            self._silence_player(aloud)
            # What comes now is not to meet one that has ended for everybody but the books.
            self._act([] if self._goes_on(aloud) else self._turns.ended(req))

    def _end_with_daemon(self, aloud: Aloud) -> None:
        """Nobody has the time to ask how much was heard, and nobody else has a turn."""
        self._ending = True
        if aloud.at is At.PLAYER:
            self._silence_player(aloud)
            self._believe_page(aloud)
        self._settle(aloud)

    def _settle(self, aloud: Aloud) -> None:
        """It ends now: what was heard of it is known."""
        request, hearing = aloud.request, aloud.hearing
        if self._aloud.pop(request.req, None) is None:
            return
        if hearing.heard:
            self.replays.note(aloud)
        self._do(self._ledger.settle(request, aloud.heard_part(), clock.now()))
        self._act(self._turns.ended(request.req))
        if not self._aloud:
            self._silence.set(None)
            self._host.rest()

    # --- turns

    def _act(self, effects: list[turns.Effect]) -> None:
        for effect in effects:
            match effect:
                case turns.Begin(req):
                    if (aloud := self._aloud.get(req)) is not None and not self._ending:
                        self._begin(aloud)
                case turns.Cancel(req, reason):
                    if (aloud := self._aloud.get(req)) is not None:
                        self._do(self._ledger.cancel(aloud.request, clock.now(), reason))
                case turns.SetAside(req):
                    if (aloud := self._aloud.get(req)) is not None:
                        self._set_aside(aloud)
                case turns.Silence(on):
                    self._silenced = on
                    self._tell_speaker()
                    self._expect()
        self._look_ahead()

    def _begin(self, aloud: Aloud) -> None:
        aloud.request.held_back = False
        self._play(aloud)
        self._pump(aloud.request)

    def _set_aside(self, aloud: Aloud) -> None:
        """It is not to be heard before its turn comes again."""
        aloud.request.held_back, aloud.again = True, False
        self._silence_player(aloud)

    def _look_ahead(self) -> None:
        """Once all of the present one is made, the next may be."""
        current, upcoming = self._turns.current, self._turns.upcoming
        if current is None or upcoming is None or self._aloud[current].request.verdict is None:
            return
        following = self._aloud[upcoming]
        # One that was set aside has sound enough.
        if following.request.held_back and not following.hearing.kept:
            following.request.held_back = False
            self._pump(following.request)

    # --- to the player

    def _play(self, aloud: Aloud) -> None:
        """Have the player play it, from where its listener is; once there is a player, and once it is known at what rate."""
        request, hearing = aloud.request, aloud.hearing
        self._host.want()
        if aloud.at is At.HUSHED:
            aloud.again = True
            return
        if aloud.at is At.PLAYER or not self._host.up or not aloud.rate:
            return
        aloud.at, aloud.begun_at = At.PLAYER, hearing.heard
        unheard = hearing.unheard()
        begin = unheard[0].start if unheard else hearing.end
        self._host.send(
            schema.Play(
                boot=self._ledger.boot,
                req=request.req,
                sample_rate=aloud.rate,
                frame=max(hearing.heard, begin),
                at=begin,
            )
        )
        self._window.forget(request.req)
        for kept in unheard:
            counts = [frames for _, _, frames, _ in kept.chunk.descriptors]
            self._window.lend(request.req, kept.chunk.seq, counts, aloud.rate, clock.now())
            self._host.send(kept.chunk, kept.payload)
        if request.verdict is not None:
            self._finish(aloud)
        self._expect()
        # It may have more room now than when it fell silent.
        self._pump(request)

    def _finish(self, aloud: Aloud) -> None:
        end = schema.Finish(boot=self._ledger.boot, req=aloud.request.req, frames=aloud.hearing.end)
        self._host.send(end)

    def _silence_player(self, aloud: Aloud) -> None:
        """Nothing more of it is to be heard; how far that was is answered."""
        if aloud.at is At.PLAYER:
            aloud.at, aloud.again, aloud.hushed_at = At.HUSHED, False, clock.now()
            self._host.send(schema.Hush(boot=self._ledger.boot, req=aloud.request.req))
            self._await_answers()

    def _await_answers(self) -> None:
        asked = [each.hushed_at for each in self._aloud.values() if each.at is At.HUSHED]
        self._hush.set(min(asked) + _HUSH_S if asked else None)

    def _tell_speaker(self) -> None:
        if self._host.up:
            own = self._settings
            self._host.send(
                schema.Speaker(
                    boot=self._ledger.boot,
                    volume=own.volume,
                    muted=own.muted,
                    paused=self._silenced,
                    device=own.device,
                )
            )

    def _expect(self) -> None:
        self._silence.set(clock.now() + _SILENT_S)

    # --- from the player

    def player_up(self) -> None:
        """There is one, which knows nothing."""
        self._tell_speaker()
        current = self._current()
        if current is not None:
            self._play(current)

    def player_lost(self, reason: str) -> None:
        """It is gone: what it had is with nobody, but for what was heard."""
        self.device = None
        for aloud in [each for each in self._aloud.values() if each.at is not At.HOME]:
            self._believe_page(aloud)
            aloud.broke_at = aloud.broke_at or clock.now()
            self._fell_silent(aloud)
        current = self._current()
        if current is not None:
            log.warning("the player was lost", reason=reason, req=current.request.req)
            self._play(current)

    def _believe_page(self, aloud: Aloud) -> None:
        """It has had no time to say how far it came."""
        position = self._host.position()
        if position is not None and position.req == aloud.request.req and not aloud.was_reset:
            aloud.hearing.listened(max(position.frames, aloud.begun_at))

    def player_failed(self, reason: str) -> None:
        """There will be none: nobody can be heard."""
        for aloud in list(self._aloud.values()):
            self._do(self._ledger.fail(aloud.request, errors.OutputFailed(reason), clock.now()))

    def played(self, message: schema.Played) -> None:
        """How far it is."""
        aloud = self._aloud.get(message.req)
        if aloud is None or aloud.at is At.HOME:
            return
        hearing = aloud.hearing
        self._underruns += max(0, message.underruns - hearing.underruns)
        hearing.underruns = message.underruns
        done = message.last and aloud.at is At.PLAYER and aloud.request.verdict is not None
        if aloud.at is At.PLAYER or not aloud.was_reset:
            # Else it counts sound that was taken back since.
            hearing.listened(hearing.end if done else max(message.frames, aloud.begun_at))
            aloud.was_reset = False
        self._expect()
        self._tell_gap(aloud)
        if message.last:
            self._fell_silent(aloud)
        elif aloud.request.say.follow and (heard := aloud.place(self._ledger.boot)) is not None:
            self._do([ToClient(aloud.request.session, heard)])

    def credit(self, message: schema.Credit) -> bool:
        """It is done with some sound; gives whether nobody needs that any more. What it drops when it is told to be silent may still
        be wanted: how much was heard of it is said by Played."""
        aloud = self._aloud.get(message.req)
        if aloud is None:
            return True
        if aloud.at is not At.PLAYER:
            return False
        aloud.hearing.credited(message.first, message.last)
        return True

    def device_changed(self, message: schema.Device) -> None:
        """Which device plays, or why none does."""
        self.device, self.trouble = message.name, message.message
        current = self._current()
        if current is not None and message.name is not None:
            current.waits_for_device = False
        if message.name is not None or current is None:
            return
        why = message.message or errors.NoAudioDevice.when()
        if not current.request.say.wait_device:
            self._do(self._ledger.fail(current.request, errors.NoAudioDevice(why), clock.now()))
            return
        if not current.waits_for_device:
            current.waits_for_device = True
            self._tell(current.request, "WAITING", f"waiting for a sound device: {why.partition('. ')[0]}")
        self._silence_player(current)
        self._device_timer.set(clock.now() + _LOOK_FOR_DEVICE_S)

    def _look_for_device(self) -> None:
        current = self._current()
        if current is not None:
            self._play(current)

    def _fell_silent(self, aloud: Aloud) -> None:
        """The player has nothing of it any more."""
        again, aloud.at, aloud.again = aloud.again, At.HOME, False
        aloud.hearing.let_go()
        if self._turns.current != aloud.request.req:
            self._window.forget(aloud.request.req)
        verdict = aloud.request.verdict
        if verdict is not None and not again and (aloud.hearing.heard_all or not self._goes_on(aloud)):
            self._settle(aloud)
        elif again:
            self._play(aloud)
        elif (current := self._current()) is not None:
            self._pump(current.request)

    def _goes_on(self, aloud: Aloud) -> bool:
        """Whether what is left of it is still to be heard."""
        return aloud.resumes(has_turn=self._turns.current == aloud.request.req)

    def _hush_ends(self) -> None:
        """The player does not say how far it came: what it said before has to do, and it cannot be relied on."""
        asked = [each.hushed_at for each in self._aloud.values() if each.at is At.HUSHED]
        if asked and clock.now() < min(asked) + _HUSH_S:
            self._await_answers()
        elif asked:
            self._host.kill(f"it was told to be silent and said nothing for {_HUSH_S:g} s")

    def _player_is_silent(self) -> None:
        current = self._current()
        if current is not None and not self._silenced and current.at is not At.HOME and current.is_owed:
            self._host.kill(f"it has played nothing for {_SILENT_S:g} s")

    # --- told to clients

    def _tell_gap(self, aloud: Aloud) -> None:
        """It is heard again after the player was lost: for how long it was not."""
        broke_at, aloud.broke_at = aloud.broke_at, None
        if broke_at is not None:
            gap = 1000 * (clock.now() - broke_at)
            self._tell(
                aloud.request,
                "PLAYER",
                f"the loudspeaker's process died; another goes on after {gap:.0f} ms of silence",
            )

    def _tell(self, request: Request, code: str, words: str) -> None:
        self._do(
            [
                ToClient(
                    request.session, schema.Notice(boot=self._ledger.boot, req=request.req, code=code, message=words)
                )
            ]
        )

    def _current(self) -> Aloud | None:
        current = self._turns.current
        return None if current is None else self._aloud.get(current)

    # --- control

    def playback(self, action: str, req: str | None, *, everything: bool) -> list[str]:
        """Skip, pause or resume; gives the requests that this touches. Raises `NoSuchRequest` or `BadRequest`."""
        if action not in wire.PLAYBACK:
            raise errors.BadRequest(f"action is {action!r}; it takes {', '.join(wire.PLAYBACK)}")
        if req is not None and not self._turns.knows(req):
            raise errors.NoSuchRequest(f"no request {req!r} is being spoken, or waits for the loudspeaker")
        touched = list(self._touched(req, everything=everything))
        if action == "skip":
            for each in touched:
                if (aloud := self._aloud.get(each)) is not None:
                    self._do(self._ledger.cancel(aloud.request, clock.now(), "it was skipped"))
        elif action == "pause":
            self._act(self._turns.pause(req))
        else:
            self._act(self._turns.resume(req))
        return touched

    def _touched(self, req: str | None, *, everything: bool) -> Iterator[str]:
        if req is not None:
            yield req
        elif everything:
            yield from list(self._aloud)
        elif self._turns.current is not None:
            yield self._turns.current

    @property
    def paused(self) -> bool:
        """Whether its user has silenced it for a while."""
        return self._turns.paused

    def stopped(self) -> None:
        """All that was to be heard has been stopped: what comes next is not to meet a paused loudspeaker."""
        self._act(self._turns.resume())

    def set(self, volume: float | None, muted: bool | None, device: str | None) -> None:
        """Change what is not None, and keep it. Raises `BadRequest`."""
        if volume is not None and not 0 <= volume <= 1:
            raise errors.BadRequest(f"volume is {volume:g}; it takes 0 to 1")
        if (volume, muted, device) != (None, None, None):
            if device is not None:
                # Which one that is, is known when it plays.
                self.device = None
            self._settings.change(volume, muted, device)
            self._tell_speaker()

    def describe(self) -> dict[str, Any]:
        """The map of `AudioReply`, but for the devices."""
        own, current = self._settings, self._turns.current
        return {
            "volume": own.volume,
            "muted": own.muted,
            "paused": self._turns.paused,
            "device": self.device or own.device,
            "playing": self._current() is not None and self._host.up,
            "speaking": current,
            "waiting": self._turns.waiting[:64],
            "underruns": self._underruns,
            "sink": self._host.sink,
            "trouble": self.trouble,
        }
