"""What takes long within one segment, and cannot say by itself that it gets on."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

_EVERY_S = 5.0


@contextlib.contextmanager
def steadily(progress: Callable[[], None], most_s: float) -> Iterator[None]:
    """While the block lasts, tell every few seconds that it goes on; after `most_s` seconds no more: then it hangs."""
    over = threading.Event()
    until = time.monotonic() + most_s

    def tell() -> None:
        while not over.wait(_EVERY_S) and time.monotonic() < until:
            progress()

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()
