"""A loudspeaker's process in virtual time: it plays what it is told, dies, hangs and comes back when a test says so."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from voicebox_protocol import schema
from voicebox_protocol.position import Position
from voiceboxd.dispatcher import Dispatcher


@dataclass
class Playing:
    """What the player has of one request: pieces (seq, first frame, one past the last)."""

    req: str
    heard: int
    next: int
    pieces: deque[tuple[int, int, int]] = field(default_factory=deque)
    total: int | None = None


class SimulatedPlayer:
    """Owns what every listener hears: frames of each request in the order in which they were, over all incarnations."""

    sink = "simulated"

    def __init__(self, dispatcher: Dispatcher, ended: Callable[[str], bool]) -> None:
        self._dispatcher = dispatcher
        self._ended = ended
        self.up = False
        self.wanted = self.held = self.killed = self.no_device = False
        self.paused = False
        self.playing: Playing | None = None
        self.heard: dict[str, list[tuple[int, int]]] = {}
        self.begun: list[str] = []
        self._asked: dict[str, int] = {}
        self._inbox: deque[schema.Message] = deque()
        self._page: Position | None = None
        self._frames = 0
        self._blocks = self.kills = 0

    # --- what the daemon asks

    def want(self) -> None:
        self.wanted = True

    def rest(self) -> None:
        self.wanted = False

    def send(self, message: schema.Message, payload: bytes | None = None) -> None:
        assert self.up, "nobody is there to be told"
        if isinstance(message, schema.Chunk):
            assert len(payload or b"") == 4 * sum(frames for _, _, frames, _ in message.descriptors)
        self._inbox.append(message)

    def position(self) -> Position | None:
        return self._page

    def kill(self, _: str) -> None:
        self.killed = True
        self.kills += 1

    # --- what it does

    def come(self) -> None:
        """Its process has said Hello."""
        if self.wanted and not self.up:
            self.up, self.killed = True, False
            self._dispatcher.loudspeaker.player_up()

    def die(self) -> None:
        if self.up:
            self.up, self.playing = False, None
            self._inbox.clear()
            self._dispatcher.loudspeaker.player_lost("it died")

    def move(self, frames: int = 6000) -> bool:
        """Read what came, and play so much; False if there was nothing to do."""
        if self.killed:
            self.die()
            return True
        if not self.up or self.held:
            return False
        read = bool(self._inbox)
        while self._inbox:
            self._take(self._inbox.popleft())
        return self._play(frames) or read

    def _take(self, message: schema.Message) -> None:
        match message:
            case schema.Play():
                assert self.playing is None, f"{message.req} begins while {self.playing} is heard"
                self.playing = Playing(message.req, message.frame, message.at)
                if self._repeats(message.req):
                    # It was told to begin a segment again while nobody played it.
                    self._take_back(message.req, message.frame)
                self._asked[message.req] = message.frame
                self.begun.append(message.req)
                if self.no_device:
                    self.playing = None
                    self._dispatcher.loudspeaker.device_changed(schema.Device(boot=message.boot, message="no device"))
            case schema.Chunk() if self._is(message.req):
                self._append(message)
            case schema.Finish() if self._is(message.req):
                assert self.playing is not None
                assert message.frames == self.playing.next, "it is finished where its sound ends"
                self.playing.total = message.frames
            case schema.Reset() if self._is(message.req):
                self._reset(message.frames)
            case schema.Hush():
                self._end(message.req)
            case schema.Speaker():
                self.paused = message.paused

    def _is(self, req: str) -> bool:
        return self.playing is not None and self.playing.req == req

    def _append(self, chunk: schema.Chunk) -> None:
        assert self.playing is not None
        for index, (arena, _, frames, _) in enumerate(chunk.descriptors):
            assert not arena
            begin, self.playing.next = self.playing.next, self.playing.next + frames
            self.playing.pieces.append((chunk.seq + index, begin, self.playing.next))

    def _reset(self, frames: int) -> None:
        own = self.playing
        assert own is not None
        self._drop(own, [piece for piece in own.pieces if piece[1] >= frames])
        own.next, own.heard, own.total = frames, min(own.heard, frames), None
        self._take_back(own.req, frames)

    def _drop(self, own: Playing, pieces: list[tuple[int, int, int]]) -> None:
        """What it lets go of unheard it gives credit for too."""
        own.pieces = deque(piece for piece in own.pieces if piece not in pieces)
        for seq, _, _ in pieces:
            self._dispatcher.player_credit(schema.Credit(boot="b00t", req=own.req, first=seq, last=seq))

    def _take_back(self, req: str, frames: int) -> None:
        told = self.heard.setdefault(req, [])
        self.heard[req] = [(first, min(last, frames)) for first, last in told if first < frames]

    def _play(self, frames: int) -> bool:
        own = self.playing
        if own is None or self.paused:
            return False
        until = min(own.heard + frames, own.next)
        if until > own.heard:
            assert not self._ended(own.req), f"{own.req} is heard after its end"
            self.heard.setdefault(own.req, []).append((own.heard, until))
            self._frames += until - own.heard
            own.heard = until
            self._page = Position(own.req, until, self._frames)
            self._credit(own)
            # Its messages are fewer than what it has played: a death between two of them is what the page is for.
            self._blocks += 1
            if self._blocks % 3 == 0:
                self._say(own.req, own.heard)
            return True
        if own.total is not None and own.heard >= own.total:
            self._end(own.req)
            return True
        return False

    def _credit(self, own: Playing) -> None:
        while own.pieces and own.pieces[0][2] <= own.heard:
            seq, _, _ = own.pieces.popleft()
            self._dispatcher.player_credit(schema.Credit(boot="b00t", req=own.req, first=seq, last=seq))

    def _end(self, req: str) -> None:
        own, heard = self.playing, self._asked.get(req, 0)
        if own is not None and own.req == req:
            heard, self.playing = own.heard, None
            self._drop(own, list(own.pieces))
        self._say(req, heard, last=True)

    def _say(self, req: str, frames: int, *, last: bool = False) -> None:
        played = schema.Played(boot="b00t", req=req, frames=frames, underruns=0, last=last or None)
        self._dispatcher.loudspeaker.played(played)

    # --- what holds

    def _repeats(self, req: str) -> bool:
        request = self._dispatcher.ledger.requests.get(req)
        return request is not None and request.say.on_failure == "segment"

    def missing(self, req: str, frames: int) -> list[tuple[int, int]]:
        """Where what was heard of a request is not one piece of its timeline after the other, from 0 to `frames`."""
        at, wrong = 0, []
        for first, last in self.heard.get(req, []):
            if first != at:
                wrong.append((at, first))
            at = last
        return wrong + ([(at, frames)] if at != frames else [])
