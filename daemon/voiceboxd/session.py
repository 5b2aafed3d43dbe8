"""Clients' sessions: who is connected, under which routing id, and whether its session door is open."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator

import msgspec

from voiceboxd.tokens import same, token

MAX_UNATTACHED = 256


class Session(msgspec.Struct):
    """One client. `attached` while it holds the session door open, which it must to ask for speech; `hang_up` closes it, and
    `tell` says something there: False if that cannot be said. Arenas that it was offered it may map, and say so."""

    id: str
    peer: bytes
    agent: str
    token: str = msgspec.field(default_factory=lambda: token(16))
    attached: bool = False
    player: bool = False
    hang_up: Callable[[], None] = lambda: None
    tell: Callable[[bytes, list[int]], bool] = lambda _line, _descriptors: False
    shares: bool = False
    offered: set[int] = msgspec.field(default_factory=set)
    mapped: set[int] = msgspec.field(default_factory=set)


class Sessions:
    """Owns the sessions. Those that never opened the door have no end of file to tell of their death: the oldest go."""

    def __init__(self) -> None:
        self._by_peer: OrderedDict[bytes, Session] = OrderedDict()
        self._by_id: dict[str, Session] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def attached(self) -> int:
        """How many clients are there; the loudspeaker's player is none."""
        return sum(session.attached and not session.player for session in self._by_id.values())

    def open(self, peer: bytes, agent: str) -> tuple[Session, list[Session]]:
        """A new session for a peer, and those that had to go for it, the peer's own former one among them."""
        gone = [old] if (old := self._by_peer.get(peer)) is not None else []
        for former in gone:
            self.close(former)
        unattached = [session for session in self._by_id.values() if not session.attached]
        for oldest in unattached[: max(0, len(unattached) - MAX_UNATTACHED + 1)]:
            self.close(oldest)
            gone.append(oldest)
        session = Session(token(8), peer, agent)
        self._by_peer[peer] = self._by_id[session.id] = session
        return session, gone

    def __iter__(self) -> Iterator[Session]:
        return iter(self._by_id.values())

    def of_peer(self, peer: bytes) -> Session | None:
        return self._by_peer.get(peer)

    def get(self, session: str) -> Session | None:
        return self._by_id.get(session)

    def attach(self, token: str) -> Session | None:
        """The session that this token opens, if it is one and is not open already."""
        for session in self._by_id.values():
            if not session.attached and same(session.token, token):
                session.attached = True
                return session
        return None

    def close(self, session: Session) -> None:
        self._by_id.pop(session.id, None)
        if self._by_peer.get(session.peer) is session:
            del self._by_peer[session.peer]
