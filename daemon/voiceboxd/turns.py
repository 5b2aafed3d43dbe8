"""Who has the loudspeaker, and who waits for it: five priorities, one turn at a time. A pure core: no clock, no sound.

The rules stand in docs/loudspeaker.md ("Turns") as a table for users; what the priorities mean is from SSIP, the protocol of
speech-dispatcher ("Priority Categories"). Nobody is ended but by the coming of another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from voicebox_protocol.wire import PRIORITIES

# Whom a newcomer ends, by its own priority, whether they wait or speak. Beside it: an important one ends whoever else speaks,
# and progress ends progress that waits.
_ENDS = {
    "important": ("notification", "progress"),
    "message": ("text", "notification", "progress"),
    "text": ("text", "notification", "progress"),
    "notification": ("notification",),
    "progress": ("notification",),
}


class Begin(NamedTuple):
    """It has the turn: from its start, or, after `SetAside`, from where it was."""

    req: str


class Cancel(NamedTuple):
    """It is over, before its end or unheard; `reason` is for its client. Nothing is remembered of it."""

    req: str
    reason: str


class SetAside(NamedTuple):
    """It loses the turn and keeps its position: `Begin` comes again."""

    req: str


class Silence(NamedTuple):
    """The loudspeaker itself pauses (`on`), or goes on."""

    on: bool


Effect = Begin | Cancel | SetAside | Silence


@dataclass(slots=True, eq=False)
class _Turn:
    """One request. `held`: it was paused by itself. `last`: of its burst of progress, and not yet begun: no rule but a newer
    progress ends it, and it is spoken as a message."""

    req: str
    priority: str
    held: bool = False
    last: bool = False


class Turns:
    """Owns who has the loudspeaker and who waits for it. Effects are to be carried out in the order in which they are given."""

    def __init__(self) -> None:
        # Everybody known, the current one too: in order of arrival, but who was held and goes on stands in front.
        self._turns: list[_Turn] = []
        self._current: _Turn | None = None
        # Lost its turn to something important that could not wait: it comes before all that is not important.
        self._aside: _Turn | None = None
        self._pause_asked = False
        # The pause is lifted while important ones are spoken that came in it.
        self._lifted = False

    @property
    def current(self) -> str | None:
        """Whose turn it is, heard or paused."""
        return self._current.req if self._current else None

    @property
    def paused(self) -> bool:
        """Whether the loudspeaker is paused: nothing is heard. False while something important is spoken in a pause."""
        return self._pause_asked and not self._lifted

    @property
    def upcoming(self) -> str | None:
        """Who would have the next turn: its sound may be made already."""
        head = self._head()
        return head.req if head else None

    @property
    def waiting(self) -> list[str]:
        """Everybody but the current one, in the order in which they would be spoken; held ones wait for their user, and come last."""
        return [turn.req for turn in self._line()]

    def knows(self, req: str) -> bool:
        return any(turn.req == req for turn in self._turns)

    def arrive(self, req: str, priority: str) -> list[Effect]:
        """A request comes. Raises ValueError if its name is taken or its priority is none."""
        if self.knows(req):
            raise ValueError(f"{req} waits for the loudspeaker already")
        if priority not in PRIORITIES:
            raise ValueError(f"{priority} is no priority; there are {', '.join(PRIORITIES)}")
        if priority == "notification" and any(turn.priority != priority for turn in self._turns):
            return [Cancel(req, "something else was to be said, and a notification does not wait")]
        newcomer = _Turn(req, priority)
        effects = self._make_way(newcomer)
        self._turns.append(newcomer)
        effects += self._lift(newcomer) + self._next()
        newcomer.last = priority == "progress" and self._current is not newcomer
        return effects

    def ended(self, req: str) -> list[Effect]:
        """It is over: heard, failed, stopped, or its client is gone. A name that is not known is ignored."""
        if not self.knows(req):
            return []
        self._forget(self._find(req))
        return self._next()

    def pause(self, req: str | None = None) -> list[Effect]:
        """Pauses the loudspeaker, whoever speaks, or one request by itself, and others go on. Raises KeyError if it is unknown."""
        if req is not None:
            return self._hold(self._find(req))
        if self.paused:
            return []
        self._pause_asked, self._lifted = True, False
        return [Silence(True)]

    def resume(self, req: str | None = None) -> list[Effect]:
        """The loudspeaker goes on, or one request that was paused by itself. What was not paused gives no effects. Raises
        KeyError if the request is unknown."""
        if req is not None:
            return self._release(self._find(req))
        effects: list[Effect] = [Silence(False)] if self.paused else []
        self._pause_asked = self._lifted = False
        return effects + self._next()

    def _make_way(self, newcomer: _Turn) -> list[Effect]:
        """Ends whom the newcomer ends. In a pause the one who speaks is set aside instead: its user had asked it to wait."""
        effects: list[Effect] = []
        current = self._current
        if newcomer.priority == "important" and current is not None:
            if current.priority == "important":
                return []
            effects += self._set_aside(current) if self.paused else self._cancel(current, newcomer)
        for turn in [turn for turn in self._turns if self._gives_way(turn, newcomer)]:
            effects += self._cancel(turn, newcomer)
        return effects

    def _gives_way(self, turn: _Turn, newcomer: _Turn) -> bool:
        """Whether the newcomer ends this one, but for who speaks when something important comes."""
        if turn is self._aside and newcomer.priority == "important":
            return False
        if turn.last:
            return newcomer.priority == "progress"
        if turn.priority == newcomer.priority == "progress":
            return turn is not self._current
        return turn.priority in _ENDS[newcomer.priority]

    def _line(self) -> list[_Turn]:
        """Who waits, in the order of their turns."""

        def rank(turn: _Turn) -> tuple[bool, bool, bool, int]:
            important = turn.priority == "important"
            return turn.held, not important, turn is not self._aside, PRIORITIES.index(turn.priority)

        return sorted((turn for turn in self._turns if turn is not self._current), key=rank)

    def _head(self) -> _Turn | None:
        return next((turn for turn in self._line() if not turn.held), None)

    def _next(self) -> list[Effect]:
        """Gives the turn to the next, if nobody has it; in a pause only to whom the pause has set aside."""
        if self._current is not None:
            return []
        head, effects = self._head(), list[Effect]()
        if self._lifted and (head is None or head.priority != "important"):
            self._lifted = False
            effects.append(Silence(True))
        if head is None or (self.paused and head is not self._aside):
            return effects
        return [*effects, self._begin(head)]

    def _begin(self, turn: _Turn) -> Effect:
        if turn.last:
            turn.priority, turn.last = "message", False
        self._current = turn
        return Begin(turn.req)

    def _lift(self, turn: _Turn) -> list[Effect]:
        """Something important is heard in a pause too."""
        if turn.priority != "important" or not self.paused:
            return []
        self._lifted = True
        return [Silence(False)]

    def _set_aside(self, turn: _Turn) -> list[Effect]:
        """It loses the turn, for something important, and will have it again."""
        self._current, self._aside = None, turn
        return [SetAside(turn.req)]

    def _hold(self, turn: _Turn) -> list[Effect]:
        if turn.held:
            return []
        turn.held = True
        if turn is self._aside:
            self._aside = None
        if turn is not self._current:
            return []
        self._current = None
        return [SetAside(turn.req), *self._next()]

    def _release(self, turn: _Turn) -> list[Effect]:
        if not turn.held:
            return []
        turn.held = False
        self._turns.remove(turn)
        self._turns.insert(0, turn)
        effects: list[Effect] = []
        if turn.priority == "important" and self._current is not None and self._current.priority != "important":
            effects += self._set_aside(self._current)
        return effects + self._lift(turn) + self._next()

    def _cancel(self, turn: _Turn, newcomer: _Turn) -> list[Effect]:
        self._forget(turn)
        if newcomer.priority == turn.priority:
            return [Cancel(turn.req, f"a newer one of priority {turn.priority} took its place")]
        return [Cancel(turn.req, f"something of priority {newcomer.priority} came")]

    def _forget(self, turn: _Turn) -> None:
        self._turns.remove(turn)
        if turn is self._current:
            self._current = None

    def _find(self, req: str) -> _Turn:
        for turn in self._turns:
            if turn.req == req:
                return turn
        raise KeyError(f"{req} is not at the loudspeaker")
