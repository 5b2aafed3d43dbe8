"""The loudspeaker: one request is heard at a time, to its end, and the daemon knows how far.

`Turns` says whose turn it is, the ledger has its sound made, and a player in a process of its own plays it. What was made is kept
until it was heard, so another player goes on where one was killed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any, NamedTuple, Protocol

from msgspec.structs import replace

from voicebox_protocol import errors, schema, wire
from voicebox_protocol.position import Position
from voiceboxd import clock, turns
from voiceboxd.audio_settings import AudioSettings
from voiceboxd.effects import Effect, ToClient
from voiceboxd.hearing import Hearing
from voiceboxd.ledger import Ledger
from voiceboxd.logs import log
from voiceboxd.request import SPEAKER, HeardPart, Request
from voiceboxd.timers import Timers
from voiceboxd.window import Window

# A player that was told to be silent says at once how far it came.
_HUSH_S = 3.0
# It reports ten times a second while it plays; opening a device may take this long.
_SILENT_S = 10.0
# What a player may keep back of sound that goes on, and what it plays between two reports.
_TAIL_S = 0.5
_LOOK_FOR_DEVICE_S = 2.0
_REMEMBERED = 16
# How a request ends that is not to be heard to the end of what there is.
_AT_ONCE = (errors.DeadlineExceeded, errors.ShuttingDown, errors.Stalled, errors.NoAudioDevice, errors.OutputFailed)


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


class At(Enum):
    """Where a request's sound is."""

    HOME = "nowhere but here"
    PLAYER = "with the player"
    HUSHED = "with the player, which was told to be silent"


class Aloud(NamedTuple):
    """What is known of one request for the loudspeaker; `state` is what changes."""

    request: Request
    hearing: Hearing
    text: list[str]
    state: State


class State:
    """What changes about a request while it is here: where its sound is, and what is to happen when the player has fallen silent."""

    def __init__(self) -> None:
        self.at = At.HOME
        self.again = False
        self.waits_for_device = False
        self.broke_at: float | None = None
        self.hushed_at = 0.0
        self.room = wire.MAX_TEXT
        # Since it was told to begin a segment again, the player's page may still say how far it was before.
        self.was_reset = False
        # Where the player was to begin: it can be no further back, even if it never began.
        self.begun_at = 0


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
        self._spoken: OrderedDict[str, tuple[schema.Say, str, bytes | None]] = OrderedDict()
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
        hearing = Hearing(request.frames, request.delivered_chars)
        self._aloud[request.req] = Aloud(request, hearing, [text], State())

    def queue(self, request: Request) -> None:
        """It is known who speaks it, or will be: it takes its place among the others."""
        aloud = self._aloud.get(request.req)
        if aloud is None or request.verdict is not None:
            return
        if self._turns.paused:
            self._tell(request, "WAITING", "the loudspeaker is paused; voicebox resume goes on")
        self._act(self._turns.arrive(request.req, request.say.priority or "message"))

    def text(self, req: str, text: str) -> None:
        """More text of a request, kept for whoever wants to hear it again."""
        aloud = self._aloud.get(req)
        if aloud is not None and aloud.state.room >= len(text):
            aloud.state.room -= len(text)
            aloud.text.append(text)
        elif aloud is not None:
            # Its beginning can be heard again, and nothing after a hole.
            aloud.state.room = 0

    def again(self, say: schema.Say) -> tuple[schema.Say, str, bytes | None]:
        """What `say.replay` names, as a request of its own, with its text and its voice prompt. Raises `NoSuchRequest`."""
        named = next(reversed(self._spoken), None) if say.replay == wire.LAST else say.replay
        if named is None or named not in self._spoken:
            raise errors.NoSuchRequest(
                "nothing was heard yet" if named is None else f"{named!r} is not among the last {_REMEMBERED} heard"
            )
        before, text, prompt = self._spoken[named]
        own = {name: getattr(say, name) for name in ("boot", "req", "follow", "detached", "wait_device", "deadline_ms")}
        return replace(before, **own, priority=say.priority or before.priority), text, prompt

    def sound(self, chunk: schema.Chunk, payload: bytes) -> None:
        """Sound of a request was made."""
        aloud = self._aloud.get(chunk.req)
        if aloud is None:
            return
        idle = not self._is_owed(aloud)
        kept = aloud.hearing.came(chunk, payload)
        if aloud.state.at is At.PLAYER:
            self._host.send(kept.chunk, kept.payload)
            if idle:
                self._expect()
        elif self._turns.current == chunk.req and not aloud.state.waits_for_device:
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
        aloud.state.was_reset, aloud.state.begun_at = True, min(aloud.state.begun_at, message.frames)
        if aloud.state.at is At.PLAYER:
            self._host.send(message)

    def decided(self, req: str) -> None:
        """Nothing more is made of it. It ends when what is to be heard was heard."""
        aloud = self._aloud.get(req)
        if aloud is None:
            return
        verdict, at = aloud.request.verdict, aloud.state.at
        assert verdict is not None
        if isinstance(verdict.error, errors.ShuttingDown):
            self._end_with_daemon(aloud)
        elif self._resumes(aloud) and not aloud.hearing.heard_all and at is not At.HUSHED:
            if at is At.PLAYER:
                self._finish(aloud)
            self._look_ahead()
        elif at is At.HOME:
            self._settle(aloud)
        else:
            self._silence_player(aloud)
            # What comes now is not to meet one that has ended for everybody but the books.
            self._act([] if self._resumes(aloud) else self._turns.ended(req))

    def _end_with_daemon(self, aloud: Aloud) -> None:
        """Nobody has the time to ask how much was heard, and nobody else has a turn."""
        self._ending = True
        if aloud.state.at is At.PLAYER:
            self._silence_player(aloud)
            self._believe_page(aloud)
        self._settle(aloud)

    def _settle(self, aloud: Aloud) -> None:
        """It ends now: what was heard of it is known."""
        request, hearing = aloud.request, aloud.hearing
        if self._aloud.pop(request.req, None) is None:
            return
        rate = request.assignment.sample_rate if request.assignment else 1
        whole = request.verdict is not None and request.verdict.kind == "Done"
        if hearing.heard:
            self._remember(aloud)
        chars = hearing.chars(rate, whole=whole)
        if whole and hearing.heard_all:
            chars = request.delivered_chars
        self._do(self._ledger.settle(request, HeardPart(hearing.heard, chars), clock.now()))
        self._act(self._turns.ended(request.req))
        if not self._aloud:
            self._silence.set(None)
            self._host.rest()

    def _remember(self, aloud: Aloud) -> None:
        request = aloud.request
        say = replace(request.say, seed=request.seed, more=None, from_segment=None, from_char=None, base_frames=None)
        say = replace(say, from_frame=None, crc32=None)
        self._spoken[request.req] = say, "".join(aloud.text), request.prompt
        self._spoken.move_to_end(request.req)
        if len(self._spoken) > _REMEMBERED:
            self._spoken.popitem(last=False)

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
        aloud.request.held_back, aloud.state.again = True, False
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
        request, hearing, state = aloud.request, aloud.hearing, aloud.state
        self._host.want()
        if state.at is At.HUSHED:
            state.again = True
            return
        if state.at is At.PLAYER or not self._host.up or request.assignment is None:
            return
        state.at, state.begun_at = At.PLAYER, hearing.heard
        unheard = hearing.unheard()
        begin = unheard[0].start if unheard else hearing.end
        self._host.send(
            schema.Play(
                boot=self._ledger.boot,
                req=request.req,
                sample_rate=request.assignment.sample_rate,
                frame=max(hearing.heard, begin),
                at=begin,
            )
        )
        self._window.forget(request.req)
        for kept in unheard:
            counts = [frames for _, _, frames, _ in kept.chunk.descriptors]
            self._window.lend(request.req, kept.chunk.seq, counts, request.assignment.sample_rate, clock.now())
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
        if aloud.state.at is At.PLAYER:
            aloud.state.at, aloud.state.again, aloud.state.hushed_at = At.HUSHED, False, clock.now()
            self._host.send(schema.Hush(boot=self._ledger.boot, req=aloud.request.req))
            self._await_answers()

    def _await_answers(self) -> None:
        asked = [each.state.hushed_at for each in self._aloud.values() if each.state.at is At.HUSHED]
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
        for aloud in [each for each in self._aloud.values() if each.state.at is not At.HOME]:
            self._believe_page(aloud)
            aloud.state.broke_at = aloud.state.broke_at or clock.now()
            self._fell_silent(aloud)
        current = self._current()
        if current is not None:
            log.warning("the player was lost", reason=reason, req=current.request.req)
            self._play(current)

    def _believe_page(self, aloud: Aloud) -> None:
        """It has had no time to say how far it came."""
        position = self._host.position()
        if position is not None and position.req == aloud.request.req and not aloud.state.was_reset:
            aloud.hearing.listened(max(position.frames, aloud.state.begun_at))

    def player_failed(self, reason: str) -> None:
        """There will be none: nobody can be heard."""
        for aloud in list(self._aloud.values()):
            self._do(self._ledger.fail(aloud.request, errors.OutputFailed(reason), clock.now()))

    def played(self, message: schema.Played) -> None:
        """How far it is."""
        aloud = self._aloud.get(message.req)
        if aloud is None or aloud.state.at is At.HOME:
            return
        hearing, state = aloud.hearing, aloud.state
        self._underruns += max(0, message.underruns - hearing.underruns)
        hearing.underruns = message.underruns
        done = message.last and state.at is At.PLAYER and aloud.request.verdict is not None
        if state.at is At.PLAYER or not state.was_reset:
            # Else it counts sound that was taken back since.
            hearing.listened(hearing.end if done else max(message.frames, state.begun_at))
            state.was_reset = False
        self._expect()
        self._tell_gap(aloud)
        if message.last:
            self._fell_silent(aloud)
        elif aloud.request.say.follow and (heard := self._heard(aloud)) is not None:
            self._do([ToClient(aloud.request.session, heard)])

    def credit(self, message: schema.Credit) -> bool:
        """It is done with some sound; gives whether nobody needs that any more. What it drops when it is told to be silent may still
        be wanted: how much was heard of it is said by Played."""
        aloud = self._aloud.get(message.req)
        if aloud is None:
            return True
        if aloud.state.at is not At.PLAYER:
            return False
        aloud.hearing.credited(message.first, message.last)
        return True

    def device_changed(self, message: schema.Device) -> None:
        """Which device plays, or why none does."""
        self.device, self.trouble = message.name, message.message
        current = self._current()
        if current is not None and message.name is not None:
            current.state.waits_for_device = False
        if message.name is not None or current is None:
            return
        why = message.message or errors.NoAudioDevice.when()
        if not current.request.say.wait_device:
            self._do(self._ledger.fail(current.request, errors.NoAudioDevice(why), clock.now()))
            return
        if not current.state.waits_for_device:
            current.state.waits_for_device = True
            self._tell(current.request, "WAITING", f"waiting for a sound device: {why.partition('. ')[0]}")
        self._silence_player(current)
        self._device_timer.set(clock.now() + _LOOK_FOR_DEVICE_S)

    def _look_for_device(self) -> None:
        current = self._current()
        if current is not None:
            self._play(current)

    def _fell_silent(self, aloud: Aloud) -> None:
        """The player has nothing of it any more."""
        again, aloud.state.at, aloud.state.again = aloud.state.again, At.HOME, False
        aloud.hearing.let_go()
        if self._turns.current != aloud.request.req:
            self._window.forget(aloud.request.req)
        verdict = aloud.request.verdict
        if verdict is not None and not again and (aloud.hearing.heard_all or not self._resumes(aloud)):
            self._settle(aloud)
        elif again:
            self._play(aloud)
        elif (current := self._current()) is not None:
            self._pump(current.request)

    def _resumes(self, aloud: Aloud) -> bool:
        """Whether what is left of one of which nothing more is made is still to be heard: one that failed has no other turn."""
        verdict = aloud.request.verdict
        assert verdict is not None
        has_turn = self._turns.current == aloud.request.req
        return verdict.kind == "Done" or (
            verdict.kind == "Failed" and has_turn and not isinstance(verdict.error, _AT_ONCE)
        )

    def _hush_ends(self) -> None:
        """The player does not say how far it came: what it said before has to do, and it cannot be relied on."""
        asked = [each.state.hushed_at for each in self._aloud.values() if each.state.at is At.HUSHED]
        if asked and clock.now() < min(asked) + _HUSH_S:
            self._await_answers()
        elif asked:
            self._host.kill(f"it was told to be silent and said nothing for {_HUSH_S:g} s")

    def _player_is_silent(self) -> None:
        current = self._current()
        if current is not None and not self._silenced and current.state.at is not At.HOME and self._is_owed(current):
            self._host.kill(f"it has played nothing for {_SILENT_S:g} s")

    def _is_owed(self, aloud: Aloud) -> bool:
        """Whether the player has enough to play: it may keep the last of it back until more comes, or until it hears that none does."""
        request, hearing = aloud.request, aloud.hearing
        rate = request.assignment.sample_rate if request.assignment else 0
        return not hearing.heard_all if request.verdict is not None else hearing.end - hearing.heard > rate * _TAIL_S

    # --- told to clients

    def _heard(self, aloud: Aloud) -> schema.Heard | None:
        request, span = aloud.request, aloud.hearing.place
        if span is None or request.assignment is None:
            return None
        whole = request.verdict is not None
        return schema.Heard(
            boot=self._ledger.boot,
            req=request.req,
            frames=aloud.hearing.heard,
            chars=aloud.hearing.chars(request.assignment.sample_rate, whole=whole),
            segment=span.segment,
            segment_frame=span.start,
            char_start=span.char_start,
            char_end=span.char_end,
        )

    def _tell_gap(self, aloud: Aloud) -> None:
        """It is heard again after the player was lost: for how long it was not."""
        broke_at, aloud.state.broke_at = aloud.state.broke_at, None
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
