"""The main thread's work: do what the daemon says, tell it what was heard, and end with it."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from typing import Any, Protocol

import numpy as np
import zmq

from voicebox_player.link import Link
from voicebox_player.playback import Credit, Played
from voicebox_player.speaker import Listed, Opened, Speaker, Told
from voicebox_player.urgency import Come, urgent_first
from voicebox_protocol import schema
from voicebox_protocol.schema import Chunk, Devices, Finish, Hush, Message, Play, Reset

_STDIN = 0
_WIDTH = 4


class Output(Protocol):
    """What plays: a device, or what stands for one. It takes from the speaker by a thread of its own."""

    def use(self, device: str | None) -> None:
        """Play at this device; the system's default if None."""

    def list_devices(self) -> list[dict[str, Any]]:
        """{name, default, backend} of each; may take long."""

    def close(self) -> None:
        """Play no more."""


class Player:
    """Owns the conversation after Welcome."""

    def __init__(self, link: Link, speaker: Speaker, output: Output, woken: socket.socket) -> None:
        self._link = link
        self._speaker = speaker
        self._playback = speaker.playback
        self._output = output
        self._woken = woken

    def run(self) -> None:
        """Until the daemon goes. Raises `ValueError` for what it cannot have meant."""
        link, door, wake = self._link, self._link.door.fileno(), self._woken.fileno()
        poller = zmq.Poller()
        for source in (link.dealer, door, wake):
            poller.register(source, zmq.POLLIN)
        if sys.platform != "win32":  # where only sockets can be polled, and the door tells as much
            poller.register(_STDIN, zmq.POLLIN)
        while True:
            ready = dict(poller.poll())
            if (_STDIN in ready and not _read(_STDIN)) or (door in ready and link.is_cut()):
                return
            if wake in ready:
                _empty(self._woken)
            for come in urgent_first(link.received()):
                if isinstance(come.message, schema.Bye):
                    return
                self._act(come)
            for told in self._speaker.news():
                link.send(self._message(told))

    def _act(self, come: Come) -> None:
        message = come.message
        if getattr(message, "boot", self._link.boot) not in (None, self._link.boot):
            return
        if come.pointless:
            self._pass_over(message)
        elif isinstance(message, Chunk):
            self._append(message, come.payload)
        elif isinstance(message, Devices):
            threading.Thread(target=self._list, args=(message.query,), name="voicebox-devices", daemon=True).start()
        elif isinstance(message, schema.Error):
            sys.stderr.write(f"the daemon says {message.code}: {message.message}\n")
        else:
            with self._speaker.changed:
                self._change(message)
                self._speaker.stir()

    def _change(self, message: Message) -> None:
        playback = self._playback
        if isinstance(message, Play):
            playback.begin(message.req, message.sample_rate, message.frame, message.at)
        elif isinstance(message, Finish):
            playback.finish(message.req, message.frames)
        elif isinstance(message, Hush):
            playback.hush(message.req)
        elif isinstance(message, Reset):
            playback.reset(message.req, message.frames)
            # Whoever is killed now is to go on from there.
            self._speaker.note()
        elif isinstance(message, schema.Speaker):
            playback.volume = min(1.0, max(0.0, message.volume))
            playback.muted, playback.paused = message.muted, message.paused
            self._output.use(message.device)

    def _pass_over(self, message: Message) -> None:
        if isinstance(message, Chunk):
            with self._speaker.changed:
                self._playback.drop(message.req, message.seq, message.seq + len(message.descriptors) - 1)

    def _append(self, chunk: Chunk, payload: bytes) -> None:
        for index, (arena, offset, frames, _) in enumerate(chunk.descriptors):
            if arena or offset + frames * _WIDTH > len(payload):
                raise ValueError(f"a piece of {frames} frames at byte {offset} of {len(payload)} in arena {arena}")
            # One by one: in between the device's thread may have its turn.
            with self._speaker.changed:
                self._playback.append(chunk.req, chunk.seq + index, np.frombuffer(payload, "<f4", frames, offset))
                self._speaker.stir()

    def _list(self, query: int) -> None:
        self._speaker.tell(Listed(query, self._output.list_devices()))

    def _message(self, told: Told) -> Message:
        boot = self._link.boot
        if isinstance(told, Credit):
            return schema.Credit(boot=boot, req=told.req, first=told.first, last=told.last)
        if isinstance(told, Played):
            return schema.Played(
                boot=boot, req=told.req, frames=told.frames, last=told.last or None, underruns=told.underruns
            )
        if isinstance(told, Opened):
            return schema.Device(boot=boot, name=told.name, message=told.message)
        return schema.DevicesReply(query=told.query, devices=told.devices)


def _read(source: int) -> bytes:
    with contextlib.suppress(OSError):
        return os.read(source, 4096)
    return b""


def _empty(woken: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while woken.recv(4096):
            pass
