"""Segments spoken before their turn, by workers with nothing else to do: a book uses every core. Pure bookkeeping.

A request has one segment whose sound goes to its client; later ones may be in work elsewhere, and what comes of them is
held until it is their turn. Nobody has heard anything of those: one that fails is simply forgotten, and asked for again when
its turn has come.
"""

from __future__ import annotations

from voiceboxd.request import Request, Work
from voiceboxd.scripts import foreign_words
from voiceboxd.window import Window


def waiting(request: Request, depth: int) -> Work | None:
    """The next segment that could be spoken before its turn, if at most `depth` are; cuts the text further if need be."""
    if not _may_look(request):
        return None
    assert request.segmenter is not None
    found = next((work for work in request.ahead if work.waits), None)
    while found is None and len(request.ahead) < depth:
        segment = request.segmenter.next()
        if segment is None:
            break
        request.text_consumed += len(segment.text.encode())
        work = Work(segment, start=0)
        work.postponed = not segment.speakable or _is_foreign(request, work)
        request.ahead.append(work)
        found = work if work.waits else None
    return found


def _may_look(request: Request) -> bool:
    """Only beside a segment that is being spoken: whatever is wrong with that one comes first. Not where it costs money: what
    came to nothing would be asked for twice."""
    free = request.assignment is not None and not request.assignment.metered
    aloud_later = request.held_back or request.verdict is not None
    return free and not aloud_later and request.runs_now and request.stranded is None and request.part is None


def _is_foreign(request: Request, work: Work) -> bool:
    assert request.assignment is not None
    return bool(foreign_words(work.segment.text, request.assignment.scripts))


def postpone(window: Window | None, work: Work) -> None:
    """It came to nothing: it waits for its turn, and begins anew then."""
    release(window, work)
    work.attempt = work.at = None
    work.again()
    work.seq = 0
    work.done, work.postponed = False, True


def give_back(window: Window | None, request: Request) -> None:
    """Somebody else will go on: whatever was cut for its turn is text again, for the successor may cut it otherwise."""
    for work in request.ahead:
        release(window, work)
    if request.ahead:
        assert request.segmenter is not None
        request.segmenter.unread([work.segment for work in request.ahead])
        request.text_consumed -= sum(len(work.segment.text.encode()) for work in request.ahead)
        request.ahead.clear()


def release(window: Window | None, work: Work) -> None:
    """What is held of it is held no longer."""
    if window is not None:
        for held in work.held:
            window.reserve(-sum(held.counts), held.rate)
    work.held = []
