"""Which waiting segment a provider speaks next: by priority, then fair between sessions, then first come; a pure choice."""

from __future__ import annotations

from collections.abc import Iterable

from voiceboxd.request import Request
from voiceboxd.window import Window


def pick(requests: Iterable[Request], windows: dict[str, Window], served: dict[str, int]) -> Request | None:
    """The request whose segment goes next, or None. `served` counts, by session, when it was last served.

    A session whose window is full waits. But one request that its client holds nothing of may always begin: a client
    that reads its requests in another order than it asked would else wait for ever.
    """
    return min(
        (request for request in requests if may_begin(request, windows)),
        key=lambda request: rank(request, served),
        default=None,
    )


def rank(request: Request, served: dict[str, int]) -> tuple[int, int, int]:
    """Who goes first: by priority, then whose session was served longest ago, then who came first."""
    return request.priority, served.get(request.listener, 0), request.order


def may_begin(request: Request, windows: dict[str, Window]) -> bool:
    """Whether it has a segment that waits, and its session room for it."""
    window = windows[request.listener]
    return request.waits and (window.open or not window.holds(request.req))
