"""CUDA graphs: the many small kernels of a step, noted once and then started by a single call.

A graph does what was done while it was noted, with the same places in memory and the same numbers of the host. Not proven on a card
yet: on the processor the tests run the same steps through a stand-in that only calls them.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Hashable

import torch

Work = Callable[[], None]

# Each holds the memory of a step's intermediate results; a request with settings of its own has one or two of its own.
_KEPT = 8
# What a library makes when it is first used, it cannot make while its work is noted.
_REHEARSALS = 2


def noted(work: Work) -> Work:
    """A graph of what `work` does on the current CUDA device, as a call. `work` is done a few times before."""
    own = torch.cuda.Stream()
    own.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(own):
        for _ in range(_REHEARSALS):
            work()
    torch.cuda.current_stream().wait_stream(own)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    replay: Work = graph.replay
    return replay


class Graphs:
    """Owns the graphs of one decoder. Where none can be made, the work is done as it is, from then on, and the log says so once."""

    def __init__(self, note: Callable[[Work], Work] = noted) -> None:
        self._note = note
        self._kept: OrderedDict[Hashable, Work] = OrderedDict()
        self._possible = True

    def run(self, key: Hashable, work: Work) -> None:
        """Do `work`, which may be done more than once and is the same for equal keys until `forget`."""
        if self._possible and key not in self._kept:
            self._make(key, work)
        self._kept.get(key, work)()

    def forget(self) -> None:
        """What the graphs were made with is no longer where it was."""
        self._kept.clear()

    def _make(self, key: Hashable, work: Work) -> None:
        while len(self._kept) >= _KEPT:
            self._kept.popitem(last=False)
        try:
            self._kept[key] = self._note(work)
        except RuntimeError as error:
            self._possible = False
            self.forget()
            words = str(error).strip().partition("\n")[0]
            sys.stderr.write(f"no CUDA graph could be made, so each step takes longer: {words}\n")
