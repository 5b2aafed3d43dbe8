"""The main thread's work: load the engine, speak what comes, leave in order."""

from __future__ import annotations

import sys
import time
import traceback
from collections import deque

from voicebox_protocol.errors import InvalidConfig, ProviderFailed
from voicebox_protocol.schema import Bye, Fault, Loading, Ready
from voicebox_provider.conversation import EXIT_LOST, EXIT_OK, EXIT_PERMANENT, Delivery, Job, Leave, Listening
from voicebox_provider.engine import PermanentFault, TemporaryFault
from voicebox_provider.link import Link
from voicebox_provider.preparation import Preparation
from voicebox_provider.segment import Desk, Segment

_NOTE_CHARS = 4096


class Runner:
    """Owns the engine and the segments in work. All of it happens on the thread that calls `run`."""

    def __init__(self, link: Link, epoch: int, desk: Desk) -> None:
        self._link = link
        self._epoch = epoch
        self._desk = desk
        self._running: deque[Segment | Preparation] = deque()
        self._waiting: deque[Job | Listening] = deque()
        self._leaving: Leave | None = None

    def run(self) -> int:
        """From loading to the end; gives the process's exit code."""
        try:
            self._load()
        except Exception as error:
            return report_fault(self._link, self._epoch, error)
        while self._leaving is None or self._running or self._waiting:
            self._listen()
            self._work()
        self._unload()
        self._link.send(Bye(reason=self._leaving.reason))
        self._link.close()
        return EXIT_OK

    def _load(self) -> None:
        began = time.monotonic()
        self._desk.engine.load(self._extend)
        self._link.step()
        devices = self._desk.offered.devices
        self._link.send(
            Ready(
                epoch=self._epoch,
                load_ms=(time.monotonic() - began) * 1000,
                device=devices[0] if len(devices) == 1 else None,
                **self._desk.memory_fields(),
            )
        )

    def _extend(self, milliseconds: int, note: str) -> None:
        self._link.step()
        self._link.send(Loading(epoch=self._epoch, extend_ms=milliseconds, note=note[:_NOTE_CHARS]))

    def _listen(self) -> None:
        """Sleep while there is nothing to do; otherwise only look."""
        idle = not (self._running or self._waiting)
        delivery = self._link.receive(block=idle)
        while delivery is not None:
            self._accept(delivery)
            delivery = self._link.receive(block=False)

    def _accept(self, delivery: Delivery) -> None:
        if isinstance(delivery, Leave):
            self._leaving = delivery
        else:
            self._waiting.append(delivery)

    def _work(self) -> None:
        """One array of the segment whose turn it is; an engine that says so has several in work."""
        while self._waiting and len(self._running) < self._desk.offered.concurrency:
            self._running.append(_begun(self._waiting.popleft(), self._desk))
        if self._running:
            segment = self._running.popleft()
            if not segment.step():
                self._running.append(segment)

    def _unload(self) -> None:
        try:
            self._desk.engine.unload()
        except Exception:
            traceback.print_exc()


def _begun(job: Job | Listening, desk: Desk) -> Segment | Preparation:
    return Segment(job, desk) if isinstance(job, Job) else Preparation(job, desk)


def report_fault(link: Link, epoch: int, error: Exception) -> int:
    """Say why the engine cannot be used, in Fault and in the log; gives the process's exit code."""
    permanent = isinstance(error, PermanentFault)
    told = isinstance(error, PermanentFault | TemporaryFault)
    if not told:
        traceback.print_exception(error, file=sys.stderr)
    words = str(error) if told else f"{type(error).__name__}: {error}"
    link.send(
        Fault(
            epoch=epoch,
            code=InvalidConfig.code if permanent else ProviderFailed.code,
            message=words[:_NOTE_CHARS],
            permanent=permanent,
            retry_ms=round(error.retry_s * 1000) if isinstance(error, TemporaryFault) else None,
        )
    )
    link.close()
    return EXIT_PERMANENT if permanent else EXIT_LOST
