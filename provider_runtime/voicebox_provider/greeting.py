"""What a provider says first: who it is and what its engine can do, or why it cannot be used."""

from __future__ import annotations

import os
from dataclasses import dataclass

import msgspec

from voicebox_protocol import __version__, wire
from voicebox_protocol.arena import FEATURE
from voicebox_protocol.capabilities import Capabilities
from voicebox_protocol.schema import Hello
from voicebox_protocol.startline import StartLine
from voicebox_provider import native_threads, telemetry
from voicebox_provider.engine import Engine, PermanentFault
from voicebox_provider.engine_reference import make_engine
from voicebox_provider.style import widened


@dataclass(frozen=True, slots=True)
class Greeting:
    """`engine` is the engine, or the exception that kept it from being made. `own` is its document, `offered` what Hello publishes."""

    hello: Hello
    own: Capabilities
    offered: Capabilities
    engine: Engine | Exception


def greet(start: StartLine, *, shares: bool = False) -> Greeting:
    """Make the engine, ask what it can do, and put both into words. Loads nothing that is heavy. `shares`: the arena is mapped.

    A broken engine greets as well, without a document, so that its Fault can follow.
    """
    telemetry.switch_off()
    try:
        native_threads.pin(native_threads.thread_count(start.settings))
        engine = make_engine(start.engine, start.settings)
        own = _checked(engine.capabilities())
    except Exception as error:
        nothing = Capabilities(engine=start.engine[:128] or "none", version="")
        return Greeting(_hello(start, None, shares=shares), nothing, nothing, error)
    offered = widened(own)
    return Greeting(_hello(start, offered, shares=shares), own, offered, engine)


def _checked(document: Capabilities) -> Capabilities:
    """The document as the daemon will read it: Structs do not look at their fields until they are decoded."""
    try:
        return msgspec.convert(msgspec.to_builtins(document), Capabilities)
    except msgspec.ValidationError as error:
        raise PermanentFault(f"the engine's capability document is wrong: {error}") from None


def _hello(start: StartLine, offered: Capabilities | None, *, shares: bool) -> Hello:
    return Hello(
        proto_min=wire.PROTO_MIN,
        proto_max=wire.PROTO_MAX,
        agent=f"voicebox_provider/{__version__}",
        token=start.token,
        provider=start.provider,
        epoch=start.epoch,
        pid=os.getpid(),
        features=[FEATURE] if shares else None,
        capabilities=None if offered is None else msgspec.to_builtins(offered),
    )
