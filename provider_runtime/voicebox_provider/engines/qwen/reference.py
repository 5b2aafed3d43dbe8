"""The package's own loop, frame by frame: the oracle that ours is held against, and what `engine = "reference"` speaks with.

The package tells nobody of a frame before all of them are there; a hook on its talker does. It runs in a thread of its own, for the
hook is called from deep inside the call that ends with the last frame.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


class _Stopped(Exception):
    """Raised in the hook when nobody wants the rest."""


def frames(wrapper: Any, speak: Callable[[], object], seed: int) -> Iterator[torch.Tensor]:
    """The codes of each frame, shape (16,), as `speak`, a call of one of the package's generate methods, comes to them.

    The seed is that of torch as a whole, so equal seeds give equal codes only while nothing else draws. A consumer that stops
    iterating ends the call within a frame.
    """
    import torch

    talker, tokenizer = wrapper.model.talker, wrapper.model.speech_tokenizer
    end_of_speech = wrapper.model.config.talker_config.codec_eos_token_id
    found: queue.SimpleQueue[torch.Tensor | BaseException | None] = queue.SimpleQueue()
    stop = threading.Event()

    def note(_module: object, _arguments: object, output: Any) -> None:
        if stop.is_set():
            raise _Stopped
        codes = output.hidden_states[1]
        if codes is not None:
            found.put(codes[0].clone())

    def work() -> None:
        hook = talker.register_forward_hook(note)
        # All of it is decoded at the end, which has been done by then.
        tokenizer.decode = lambda _: ([], 0)
        try:
            torch.manual_seed(seed)
            speak()
            found.put(None)
        except BaseException as error:
            found.put(error)
        finally:
            hook.remove()
            del tokenizer.decode

    thread = threading.Thread(target=work, name="qwen-reference", daemon=True)
    thread.start()
    try:
        while (codes := found.get()) is not None:
            if isinstance(codes, BaseException):
                raise codes
            if int(codes[0]) == end_of_speech:
                return
            yield codes
    finally:
        stop.set()
        thread.join()
