"""The dispatcher: what the ledger says reaches the provider's state machine once."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import anyio

from voicebox_protocol import schema
from voicebox_protocol.capabilities import Capabilities, Voice
from voicebox_protocol.configuration import Config
from voiceboxd import provider_state as fsm
from voiceboxd.arenas import Arenas
from voiceboxd.audio_settings import AudioSettings
from voiceboxd.candidates import Candidate
from voiceboxd.dispatcher import Dispatcher
from voiceboxd.ledger import Ledger
from voiceboxd.tally import Tally
from voiceboxd.timers import Timers

ABLE = Capabilities(engine="e", version="1", voices=[Voice(id="anna", languages=["en"])], concurrency=2)


def test_a_segment_that_ends_twice_is_counted_off_once() -> None:
    """Else the machine thinks that a provider with another segment in work is idle."""

    async def scenario() -> None:
        events: list[fsm.Event] = []
        worker = SimpleNamespace(arena=None, epoch=1, serving=True, phase=fsm.Phase.READY, post=events.append)
        actor = SimpleNamespace(
            id="p",
            workers=(worker,),
            capabilities=ABLE,
            trouble=None,
            depth=0,
            fingerprint="",
            free_worker=lambda in_work: worker if in_work("p", 1) < ABLE.concurrency else None,
            segment_done=lambda worker: None,
            worn=False,
            review=lambda: None,
        )
        gateway = SimpleNamespace(
            actors={"p": actor},
            candidates=lambda: [Candidate("p", ABLE)],
            send=lambda effect: None,
            worker=lambda provider, epoch: worker,
        )
        tally = Tally()
        dispatcher = Dispatcher(
            Ledger("b00t"),
            gateway,
            Arenas(0, 0),
            config=Config(),
            timers=Timers(),
            tally=tally,
            audio=AudioSettings(Path("nowhere")),
        )
        dispatcher.speak_through(SimpleNamespace(send=lambda effect: None))
        session = SimpleNamespace(id="s", attached=True)
        for req in ("one", "two"):
            dispatcher.say(session, schema.Say(boot="b00t", req=req), "Hello.")
        assert events == [fsm.JobStarted(), fsm.JobStarted()]
        common = {"epoch": 1, "req": "one", "attempt": 1, "segment": 0}
        chunk = schema.Chunk(**common, seq=0, descriptors=[(0, 0, 1, 0)])
        dispatcher.from_provider("p", 1, chunk, b"1234")
        for _ in range(3):
            dispatcher.from_provider("p", 1, schema.SegmentDone(**common, frames=1), b"")
        assert events[2:] == [fsm.JobEnded(delivered=True)]
        assert tally.snapshot() == {"stale attempt": 2}
        assert dispatcher.ledger.in_work("p", 1) == 1

    anyio.run(scenario)
