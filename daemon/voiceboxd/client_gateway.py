"""The clients' door: reads their messages, keeps their sessions, and answers queries. Speech goes to the `Dispatcher`."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import anyio.abc
import zmq

from voicebox_protocol import __version__, errors, schema, wire
from voicebox_protocol.arena import FEATURE, Gone, Offer
from voiceboxd.arenas import Arena
from voiceboxd.dispatcher import Dispatcher
from voiceboxd.effects import Payload, ToClient
from voiceboxd.installer import Installer
from voiceboxd.link import Link
from voiceboxd.logs import log
from voiceboxd.pings import Pings
from voiceboxd.player_host import PlayerHost
from voiceboxd.provider_actor import description_of
from voiceboxd.provider_control import ProviderControl
from voiceboxd.session import Session, Sessions
from voiceboxd.tally import Tally
from voiceboxd.tokens import same

# Less than clients wait for an answer.
_DESCRIBE_WAIT = 8.0
_STOPPED_TOLD = 64

_PLAYERS = schema.Played | schema.Device | schema.DevicesReply
_LAST_WORDS = schema.Bye | schema.EndAck | schema.Credit | schema.Cancel

Handler = Callable[[Session, Any, memoryview], None]


class ClientGateway:
    """Owns the clients' ROUTER and the sessions."""

    def __init__(
        self,
        link: Link,
        dispatcher: Dispatcher,
        sessions: Sessions,
        *,
        boot: str,
        mode: str,
        token: str | None,
        tally: Tally,
        tasks: anyio.abc.TaskGroup,
        status: Callable[[], dict[str, Any]],
        providers: Callable[[], list[dict[str, Any]]],
        installer: Installer,
        control: ProviderControl,
        pings: Pings,
        player: PlayerHost,
        shutdown: Callable[[str], None],
    ) -> None:
        self._link = link
        self._dispatcher = dispatcher
        self._sessions = sessions
        self._boot = boot
        self._mode = mode
        self._token = token
        self._tally = tally
        self._tasks = tasks
        self._status = status
        self._providers = providers
        self._installer = installer
        self._control = control
        self._pings = pings
        self._player = player
        self._shutdown = shutdown
        self._decoder = schema.Decoder(wire.CLIENT_TO_DAEMON)
        self._handlers: dict[type[schema.Message], Handler] = {
            schema.Text: self._text,
            schema.Credit: self._credit,
            schema.Cancel: lambda session, message, _: dispatcher.cancel(session, message.req),
            schema.Mapped: self._mapped,
            schema.EndAck: lambda session, message, _: dispatcher.acknowledge(session, message.req),
            schema.Status: self._answer_status,
            schema.Voices: self._answer_voices,
            schema.PrepareVoice: self._answer_prepare_voice,
            schema.Providers: self._answer_providers,
            schema.AddProvider: self._answer_add,
            schema.RemoveProvider: self._answer_remove,
            schema.ControlProvider: self._answer_control,
            schema.Ping: self._answer_ping,
            schema.Stop: self._answer_stop,
            schema.Playback: self._answer_playback,
            schema.Audio: self._answer_audio,
            schema.Played: lambda _, message, _payload: dispatcher.loudspeaker.played(message),
            schema.Device: lambda _, message, _payload: dispatcher.loudspeaker.device_changed(message),
            schema.DevicesReply: lambda _, message, _payload: player.devices_told(message),
            schema.Shutdown: self._answer_shutdown,
            schema.Bye: lambda session, _message, _payload: self.closed(session),
        }

    async def serve(self) -> None:
        """Takes what clients send, for ever."""
        await self._link.serve(self._take)

    def send(self, effect: ToClient) -> None:
        """Send to a session; one that is gone, or takes nothing any more, is closed."""
        session = self._sessions.get(effect.session)
        if session is not None:
            self._send(session, schema.encode(effect.message), effect.payload)

    def _send(self, session: Session, header: bytes, payload: Payload | None) -> None:
        if not self._link.send(session.peer, header, payload):
            self._tally.count("lost client")
            self._tasks.start_soon(self._close_later, session)

    def offer(self, session_id: str, arena: Arena) -> None:
        """Let a session map an arena, if it can; until it says that it has, its sound comes in the messages."""
        session = self._sessions.get(session_id)
        if session is None or not session.shares or arena.id in session.offered:
            return
        if session.tell(Offer(arena.id, arena.slots).encode(), [arena.descriptor]):
            session.offered.add(arena.id)
        else:
            session.shares = False

    def maps(self, session_id: str, arena: int) -> bool:
        """Whether a session has mapped it."""
        session = self._sessions.get(session_id)
        return session is not None and arena in session.mapped

    def arena_gone(self, arena: int) -> None:
        """Nothing of an arena is lent any more, nor will be."""
        for session in self._sessions:
            if arena in session.offered:
                session.offered.discard(arena)
                session.mapped.discard(arena)
                session.tell(Gone(arena).encode(), [])

    def _mapped(self, session: Session, message: schema.Mapped, _: memoryview) -> None:
        if message.arena in session.offered:
            session.mapped.add(message.arena)

    async def _close_later(self, session: Session) -> None:
        # In a task of its own: the ledger may be in the middle of what this message was a part of.
        self.closed(session)

    def closed(self, session: Session) -> None:
        """A client is gone: so is all that it asked for. If it still lives, its session door tells it."""
        session.hang_up()
        self._sessions.close(session)
        self._pings.session_closed(session.id)
        self._dispatcher.session_closed(session.id)
        self._player.session_closed(session.id)

    def left(self, session: Session) -> None:
        """It has let go of its session door: nobody reads what was lent to it, as it may have done after it was closed."""
        self.closed(session)
        self._dispatcher.session_left(session.id)

    # --- reading

    def _take(self, frames: list[zmq.Frame]) -> None:
        peer = frames[0].bytes
        if not 3 <= len(frames) <= 5:
            self._complain(peer, errors.BadMessage(f"a message of {len(frames) - 1} frames; it takes 2 to 4"))
            return
        try:
            message = self._decoder.message(frames[1].bytes, frames[2].buffer)
        except schema.Unsupported as error:
            self._complain(peer, errors.Unsupported(str(error)), query=error.query, req=error.req)
            return
        except schema.Malformed as error:
            self._complain(peer, errors.BadMessage(str(error)))
            return
        if len(frames) == 5 and not wire.BY_NAME[type(message).__name__].prompt:
            self._complain(peer, errors.BadMessage(f"{type(message).__name__} with 4 frames; it takes 2 or 3"))
            return
        try:
            payload, *prompt = [frame.buffer for frame in frames[3:]] or [memoryview(b"")]
            self._route(peer, message, payload, *prompt)
        except Exception as error:
            # The last line of defence: whatever one client's message breaks, the others are not to feel it.
            log.exception("a client's message could not be handled", kind=type(message).__name__)
            self._give_up(peer, message, errors.InternalFault(f"{type(error).__name__}; the log has more"))

    def _route(
        self, peer: bytes, message: schema.Message, payload: memoryview, prompt: memoryview | None = None
    ) -> None:
        if isinstance(message, schema.Hello):
            self._hello(peer, message)
            return
        session = self._sessions.of_peer(peer)
        if session is None and isinstance(message, _LAST_WORDS):
            # What a client said while leaving may come after its session door has closed.
            self._tally.count("late")
        elif session is None:
            query, req = getattr(message, "query", None), getattr(message, "req", None)
            self._complain(peer, errors.HelloFirst("say Hello first"), query=query, req=req)
        elif getattr(message, "boot", None) not in (None, self._boot):
            self._tally.count("stale boot")
        elif isinstance(message, _PLAYERS) and not self._player.plays(session.id):
            self._complain(
                peer,
                errors.Refused(f"{type(message).__name__} is the player's to say"),
                req=getattr(message, "req", None),
            )
        elif isinstance(message, schema.Say):
            self._say(session, message, payload, prompt)
        else:
            self._handlers[type(message)](session, message, payload)

    def _complain(
        self, peer: bytes, error: errors.VoiceboxError, *, query: int | None = None, req: str | None = None
    ) -> None:
        self._tally.count(error.code.lower())
        reply = schema.Error(code=error.code, message=str(error)[:4096], query=query, req=req)
        self._link.send(peer, schema.encode(reply))

    def _give_up(self, peer: bytes, message: schema.Message, error: errors.VoiceboxError) -> None:
        req, session = getattr(message, "req", None), self._sessions.of_peer(peer)
        if session is not None and req is not None:
            self._dispatcher.give_up(session, req, error)
        self._complain(peer, error, query=getattr(message, "query", None), req=req)

    def _hello(self, peer: bytes, hello: schema.Hello) -> None:
        if self._token is not None and not same(hello.token or "", self._token):
            self._complain(peer, errors.Refused("the token of endpoint.json is wrong or missing"))
            return
        proto = wire.agree(hello.proto_min, hello.proto_max)
        if proto is None:
            ours = f"{wire.PROTO_MIN} to {wire.PROTO_MAX}"
            self._complain(
                peer,
                errors.Incompatible(
                    f"this daemon ({__version__}) speaks protocol {ours}, the client {hello.proto_min} to "
                    f"{hello.proto_max}; run: voicebox daemon restart"
                ),
            )
            return
        session, gone = self._sessions.open(peer, hello.agent)
        for former in gone:
            self._dispatcher.session_closed(former.id)
            self._player.session_closed(former.id)
        if hello.player is not None:
            try:
                self._player.admit(hello.player, session.id)
            except errors.Refused as error:
                self._sessions.close(session)
                self._complain(peer, error)
                return
            session.player = True
        session.shares = FEATURE in (hello.features or ())
        welcome = schema.Welcome(
            proto=proto,
            boot=self._boot,
            session=session.id,
            token=session.token,
            version=__version__,
            pid=os.getpid(),
            mode=self._mode,
            features=list(wire.FEATURES),
            limits={"max_text": wire.MAX_TEXT, "text_window": wire.TEXT_WINDOW},
        )
        self._link.send(peer, schema.encode(welcome))
        if session.player:
            self._player.greeted()

    # --- speech

    def _say(self, session: Session, say: schema.Say, payload: memoryview, prompt: memoryview | None) -> None:
        try:
            text = read_text(payload, wire.TEXT_WINDOW if say.more else wire.MAX_TEXT)
            kept = None if prompt is None else read_prompt(prompt)
        except errors.VoiceboxError as error:
            self._dispatcher.refuse(session, say, error)
        else:
            self._dispatcher.say(session, say, text, kept)

    def _text(self, session: Session, message: schema.Text, payload: memoryview) -> None:
        try:
            text = read_text(payload, wire.TEXT_WINDOW)
        except errors.VoiceboxError as error:
            self._dispatcher.give_up(session, message.req, error)
        else:
            self._dispatcher.text(session, message, text)

    def _credit(self, session: Session, message: schema.Credit, _: memoryview) -> None:
        if not session.player:
            self._dispatcher.credit(session, message)
        elif self._player.plays(session.id):
            self._dispatcher.player_credit(message)

    # --- queries

    def _reply(self, session: Session, reply: schema.Message) -> None:
        header = schema.encode(reply)
        if len(header) > wire.MAX_HEADER:
            why = f"the answer has {len(header)} bytes and a header holds {wire.MAX_HEADER}; ask for one provider or language"
            self._complain(session.peer, errors.BadRequest(why), query=getattr(reply, "query", None))
        elif self._sessions.get(session.id) is session:
            self._send(session, header, None)

    def _answer_status(self, session: Session, message: schema.Status, _: memoryview) -> None:
        self._reply(session, schema.StatusReply(query=message.query, status=self._status()))

    def _answer_providers(self, session: Session, message: schema.Providers, _: memoryview) -> None:
        def answer() -> None:
            self._reply(session, schema.ProvidersReply(query=message.query, providers=self._providers()))

        self._when_described(answer)

    def _answer_voices(self, session: Session, message: schema.Voices, _: memoryview) -> None:
        def answer() -> None:
            try:
                voices = self._dispatcher.voices(message.provider, message.language)
            except errors.VoiceboxError as error:
                self._complain(session.peer, error, query=message.query)
            else:
                self._reply(session, schema.VoicesReply(query=message.query, voices=voices))

        self._when_described(answer)

    def _answer_prepare_voice(self, session: Session, message: schema.PrepareVoice, payload: memoryview) -> None:
        try:
            self._dispatcher.prepare_voice(session, message, bytes(payload))
        except errors.VoiceboxError as error:
            self._complain(session.peer, error, query=message.query)

    def _when_described(self, answer: Callable[[], None]) -> None:
        if self._dispatcher.all_described:
            answer()
        else:
            self._tasks.start_soon(self._describe_and, answer)

    async def _describe_and(self, answer: Callable[[], None]) -> None:
        self._dispatcher.describe_all()
        with anyio.move_on_after(_DESCRIBE_WAIT):
            while not self._dispatcher.all_described:
                await self._dispatcher.described.wait()
        answer()

    def _answer_add(self, session: Session, message: schema.AddProvider, payload: memoryview) -> None:
        source = bytes(payload)

        async def add() -> schema.Message:
            actor = await self._installer.add(message, source)
            return schema.ProviderAdded(query=message.query, provider=description_of(actor))

        self._tasks.start_soon(self._carry_out, session, message.query, add)

    def _answer_remove(self, session: Session, message: schema.RemoveProvider, _: memoryview) -> None:
        async def remove() -> schema.Message:
            await self._installer.remove(message.provider)
            return schema.ProviderRemoved(query=message.query)

        self._tasks.start_soon(self._carry_out, session, message.query, remove)

    def _answer_control(self, session: Session, message: schema.ControlProvider, _: memoryview) -> None:
        async def control() -> schema.Message:
            actor = await self._control.carry_out(message.action, message.provider)
            return schema.ProviderControlled(query=message.query, provider=description_of(actor))

        self._tasks.start_soon(self._carry_out, session, message.query, control)

    async def _carry_out(self, session: Session, query: int, work: Callable[[], Awaitable[schema.Message]]) -> None:
        """Answer with what `work` comes to, once it has."""
        try:
            self._reply(session, await work())
        except errors.VoiceboxError as error:
            self._complain(session.peer, error, query=query)

    def _answer_ping(self, session: Session, message: schema.Ping, _: memoryview) -> None:
        def answer(found: schema.Pong | errors.VoiceboxError) -> None:
            if isinstance(found, schema.Pong):
                self._reply(session, found)
            else:
                self._complain(session.peer, found, query=message.query)

        try:
            self._pings.ask(session.id, message, answer)
        except errors.VoiceboxError as error:
            self._complain(session.peer, error, query=message.query)

    def _answer_stop(self, session: Session, message: schema.Stop, _: memoryview) -> None:
        try:
            stopped = self._dispatcher.stop(message.req, bool(message.all))
        except errors.VoiceboxError as error:
            self._complain(session.peer, error, query=message.query)
            return
        reply = schema.Stopped(query=message.query, reqs=stopped[:_STOPPED_TOLD], count=len(stopped))
        self._reply(session, reply)

    def _answer_playback(self, session: Session, message: schema.Playback, _: memoryview) -> None:
        try:
            reqs = self._dispatcher.loudspeaker.playback(message.action, message.req, everything=bool(message.all))
        except errors.VoiceboxError as error:
            self._complain(session.peer, error, query=message.query)
            return
        self._reply(session, schema.PlaybackReply(query=message.query, reqs=reqs[:_STOPPED_TOLD], count=len(reqs)))

    def _answer_audio(self, session: Session, message: schema.Audio, _: memoryview) -> None:
        async def answer() -> schema.Message:
            devices = await self._player.devices() if message.devices else None
            loudspeaker = self._dispatcher.loudspeaker
            loudspeaker.set(message.volume, message.muted, message.device)
            return schema.AudioReply(query=message.query, audio={**loudspeaker.describe(), "devices": devices})

        self._tasks.start_soon(self._carry_out, session, message.query, answer)

    def _answer_shutdown(self, session: Session, message: schema.Shutdown, _: memoryview) -> None:
        if message.if_idle and not self._dispatcher.idle:
            busy = errors.Refused("requests are being spoken; the daemon goes on")
            self._complain(session.peer, busy, query=message.query)
            return
        self._reply(session, schema.ShuttingDown(query=message.query))
        self._shutdown(f"asked by {session.agent}")


def read_text(payload: memoryview, most: int) -> str:
    """A payload as text. Raises `TextTooLong` or `InvalidText`."""
    if len(payload) > most:
        raise errors.TextTooLong(f"{len(payload)} bytes of text in one message; at most {most}: stream it instead")
    try:
        return str(payload, "utf-8")
    except UnicodeDecodeError as error:
        raise errors.InvalidText(f"the text is not UTF-8: byte {error.start} is {payload[error.start]:#04x}") from None


def read_prompt(frame: memoryview) -> bytes:
    """A voice prompt's bytes, into which only engines look. Raises `BadPrompt`."""
    if not 0 < len(frame) <= wire.MAX_PROMPT:
        raise errors.BadPrompt(f"a voice prompt of {len(frame)} bytes; it has 1 to {wire.MAX_PROMPT}")
    return bytes(frame)
