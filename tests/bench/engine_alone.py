"""An engine in a process of its own, called directly and without a daemon: python -m tests.bench.engine_alone ENGINE

A child of the bench. Fixes the thread counts of native libraries as the provider's runner does.
"""

from __future__ import annotations

import sys
import time

from voicebox_provider import native_threads
from voicebox_provider.engine import Utterance
from voicebox_provider.engine_reference import make_engine


def main(reference: str) -> None:
    native_threads.pin(native_threads.thread_count({}))
    engine = make_engine(reference, {})
    voice = engine.capabilities().default_voice()
    engine.load(lambda milliseconds, note: None)

    def first(said: str) -> float:
        """Milliseconds to the first array; the rest is made too, as it is for a listener."""
        begun = time.perf_counter_ns()
        arrays = iter(engine.synthesize(Utterance(text=said, voice=voice.id if voice else None, seed=1)))
        next(arrays)
        took = (time.perf_counter_ns() - begun) / 1e6
        for _ in arrays:
            pass
        return took

    from tests.bench.children import serve

    serve(first=lambda said, count: [first(said) for _ in range(count)])


if __name__ == "__main__":
    main(sys.argv[1])
