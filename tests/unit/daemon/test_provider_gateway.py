"""The providers' door: who is let in, whatever knocks."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest
import zmq

from voicebox_protocol import schema, wire
from voiceboxd import provider_state as fsm
from voiceboxd.provider_gateway import ProviderGateway
from voiceboxd.tally import Tally

ABLE = {"engine": "e", "version": "1"}


class Door:
    """A gateway with one provider of epoch 3; notes what is sent and what happens to the provider."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, bytes]] = []
        self.events: list[fsm.Event] = []
        self.tally = Tally()
        self.worker = SimpleNamespace(
            epoch=3, alive=True, token="secret", post=self.events.append, share=lambda *, mapped: None
        )
        self.actor = SimpleNamespace(
            id="p", capabilities=None, worker=lambda epoch: self.worker if epoch == self.worker.epoch else None
        )
        link = SimpleNamespace(send=lambda peer, header, payload=None, prompt=None: self.sent.append((peer, header)))
        self.gateway = ProviderGateway(link, "b00t", self.tally)
        self.gateway.actors["p"] = self.actor
        self.floor = SimpleNamespace(provider_described=lambda _: None, from_provider=self._from_provider)
        self.segments: list[schema.Message] = []

    def _from_provider(self, provider: str, epoch: int, message: schema.Message, payload: object) -> None:
        self.segments.append(message)

    def take(self, *frames: bytes, peer: bytes = b"peer") -> None:
        self.gateway._take([zmq.Frame(frame) for frame in (peer, *frames)], self.floor)

    def hello(self, *, peer: bytes = b"peer", **fields: object) -> None:
        known = {"proto_min": 1, "proto_max": 1, "agent": "a", "provider": "p", "epoch": 3, "token": "secret"}
        message = schema.Hello(**(known | {"capabilities": ABLE} | fields))
        self.take(wire.MAGIC, schema.encode(message), peer=peer)


def test_the_right_hello_is_welcomed() -> None:
    door = Door()
    door.hello()
    assert door.events == [fsm.HelloCame()]
    assert door.actor.capabilities.engine == "e"
    ((peer, header),) = door.sent
    assert (peer, msgspec.msgpack.decode(header)["kind"]) == (b"peer", "Welcome")


def test_one_that_cannot_say_what_it_can_do_is_welcomed_and_heard_out() -> None:
    """Counted as started, one that nobody waits for would be asked to leave before its Fault told why."""
    door = Door()
    door.hello(capabilities=None)
    assert door.events == []
    assert len(door.sent) == 1
    door.take(wire.MAGIC, schema.encode(schema.Fault(epoch=3, code="INVALID_CONFIG", message="why", permanent=True)))
    assert door.events[-1] == fsm.Faulted("why", permanent=True)


def test_one_that_cannot_now_says_when_to_try_again() -> None:
    door = Door()
    door.hello()
    fault = schema.Fault(epoch=3, code="PROVIDER_FAILED", message="no memory", permanent=False, retry_ms=1500)
    door.take(wire.MAGIC, schema.encode(fault))
    assert door.events[-1] == fsm.Faulted("no memory", permanent=False, rest=1.5)


def test_what_is_known_of_the_devices_memory_is_what_was_told_last() -> None:
    door = Door()
    door.hello()
    ready = schema.Ready(epoch=3, load_ms=1.0, device="cuda", vram_bytes=5, vram_used_bytes=7, vram_total_bytes=9)
    door.take(wire.MAGIC, schema.encode(ready))
    assert (door.worker.device, door.worker.vram) == ("cuda", (5, 7, 9))
    door.take(wire.MAGIC, schema.encode(schema.Beat(epoch=3, steps=1, vram_bytes=6)))
    assert door.worker.vram == (6, 7, 9)
    door.take(wire.MAGIC, schema.encode(schema.Ready(epoch=3, load_ms=1.0)))
    assert (door.worker.device, door.worker.vram) == (None, (None, None, None))


@pytest.mark.parametrize("token", [None, "", "wrong", "é", "秘密"])
def test_another_token_gets_nothing(token: str | None) -> None:
    """A comparison in constant time that takes ASCII only must not end the daemon."""
    door = Door()
    door.hello(token=token)
    assert (door.sent, door.events) == ([], [])
    assert door.tally.snapshot() == {"forged provider": 1}


@pytest.mark.parametrize("fields", [{"epoch": 2}, {"epoch": None}, {"provider": "q"}, {"provider": None}], ids=str)
def test_a_stale_or_unknown_provider_gets_nothing(fields: dict[str, object]) -> None:
    door = Door()
    door.hello(**fields)
    assert (door.sent, door.events) == ([], [])
    assert door.tally.snapshot() == {"stale provider": 1}


@pytest.mark.parametrize(
    "fields",
    [{"proto_min": 9, "proto_max": 9}, {"capabilities": {}}, {"capabilities": ABLE | {"sample_rate": 0}}],
    ids=str,
)
def test_one_that_cannot_be_worked_with_is_a_permanent_fault(fields: dict[str, object]) -> None:
    door = Door()
    door.hello(**fields)
    (fault,) = door.events
    assert isinstance(fault, fsm.Faulted)
    assert fault.permanent
    assert all(msgspec.msgpack.decode(header)["kind"] == "Error" for _, header in door.sent)


@pytest.mark.parametrize("frames", [(b"VB1",), (b"VB1", b"\xc1"), (b"VB2", b"\x80"), (b"VB1", b"\x80", b"", b"")])
def test_what_breaks_the_protocol_is_killed_if_it_is_known_and_counted_if_not(frames: tuple[bytes, ...]) -> None:
    door = Door()
    door.take(*frames)
    assert door.events == []
    door.hello()
    door.take(*frames)
    assert isinstance(door.events[-1], fsm.Violated)
    assert door.tally.snapshot() == {"bad provider message": 2}


def test_messages_of_a_former_incarnation_are_dropped_and_counted() -> None:
    door = Door()
    door.hello(peer=b"old")
    door.worker.epoch = 4
    done = schema.encode(schema.SegmentDone(epoch=3, req="r", attempt=1, segment=0, frames=1))
    door.take(wire.MAGIC, done, peer=b"old")
    door.hello(peer=b"new", epoch=4)
    door.take(wire.MAGIC, done, peer=b"new")
    assert door.segments == []
    assert door.tally.snapshot() == {"stale provider": 1, "stale epoch": 1}
