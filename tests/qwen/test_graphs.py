"""A step as a CUDA graph would run it: with a stand-in that only calls it, for there is no card here."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
for needed in ("transformers", "qwen_tts"):
    if find_spec(needed) is None:
        pytest.skip(f"needs {needed}", allow_module_level=True)

from voicebox_provider.engines.qwen import graphs as graphs_module  # noqa: E402
from voicebox_provider.engines.qwen.frames import Decoder, capture  # noqa: E402
from voicebox_provider.engines.qwen.graphs import Graphs, Work  # noqa: E402
from voicebox_provider.engines.qwen.package import load  # noqa: E402

from . import oracle  # noqa: E402


class Noted:
    """Notes what was made a graph of. As with a real one, the work is done before that, and the graph is what was noted then."""

    def __init__(self) -> None:
        self.works: list[Work] = []

    def __call__(self, work: Work) -> Work:
        for _ in range(3):
            work()
        self.works.append(work)
        return work


@pytest.fixture(scope="module")
def wrapper(checkpoint: Callable[[str], Path]) -> Any:
    return load(checkpoint("custom_voice"), torch.float32, "cpu")


def test_a_graph_says_what_the_loop_says(wrapper: Any) -> None:
    """Over more positions than one graph sees, with a prompt after a longer one, and after other settings."""
    noted = Noted()
    plain, graphed = Decoder(wrapper.model), Decoder(wrapper.model, graphs=Graphs(noted))
    for settings, most in (({"temperature": 0.5}, 12), ({}, 300), (oracle.GREEDY, 12), ({}, 12)):
        request = oracle.ask("custom_voice", **settings)
        asked = capture(wrapper, request.method, **request.asked)
        # Another end than what comes by chance.
        for seed in (1, 2):
            said, expected = (
                list(islice(decoder.frames(asked.prompt, asked.sampling, seed, most=most), most))
                for decoder in (graphed, plain)
            )
            assert torch.stack(said).equal(torch.stack(expected))
    assert len(noted.works) >= 4


def test_a_graph_is_made_once_for_equal_settings(wrapper: Any) -> None:
    noted = Noted()
    decoder = Decoder(wrapper.model, graphs=Graphs(noted))
    request = oracle.ask("custom_voice")
    asked = capture(wrapper, request.method, **request.asked)
    for seed in range(3):
        list(decoder.frames(asked.prompt, asked.sampling, seed, most=10))
    assert len(noted.works) == 1


def test_no_more_graphs_are_kept_than_there_is_room_for() -> None:
    noted = Noted()
    graphs = Graphs(noted)
    for key in range(2 * graphs_module._KEPT):
        graphs.run(key, lambda: None)
    assert len(graphs._kept) == graphs_module._KEPT


def test_where_no_graph_can_be_made_the_work_is_done_all_the_same(capfd: pytest.CaptureFixture[str]) -> None:
    tries, done = [], []

    def impossible(work: Work) -> Work:
        tries.append(work)
        raise RuntimeError("operation not permitted when stream is capturing\nand more")

    graphs = Graphs(impossible)
    for number in range(3):
        graphs.run(number, lambda number=number: done.append(number))  # type: ignore[misc]
    assert done == [0, 1, 2]
    assert len(tries) == 1
    assert capfd.readouterr().err.count("no CUDA graph could be made") == 1


def test_the_work_of_a_step_may_be_done_again(wrapper: Any) -> None:
    """A graph is rehearsed before it is noted."""
    decoder = Decoder(wrapper.model)
    request = oracle.ask("custom_voice")
    asked = capture(wrapper, request.method, **request.asked)
    list(islice(decoder.frames(asked.prompt, asked.sampling, 1, most=20), 7))
    with torch.inference_mode():
        found = []
        for _ in range(2):
            decoder._advance(asked.sampling, 256)
            found.append((decoder._codes.clone(), decoder._next.clone()))
    assert all(one.equal(other) for one, other in zip(*found, strict=True))
