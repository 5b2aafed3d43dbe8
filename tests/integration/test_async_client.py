"""`AsyncVoicebox` and a real daemon: text goes in while sound comes out, and cancelling ends the work as well."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
import soundfile

from tests.integration.daemon import DEADLINE, Daemon, eventually
from tests.unit.client.test_aio import anyio_backend
from voicebox_client import AsyncVoicebox, Voicebox

__all__ = ["anyio_backend"]

pytestmark = pytest.mark.anyio

STORY = "It was late. The lamp was still burning in the window. Nobody had come to put it out. "


@pytest.fixture
def real(shared: Daemon, monkeypatch: pytest.MonkeyPatch) -> Daemon:
    """A daemon that a client in this process finds."""
    for name, value in shared.place.environment.items():
        if name.startswith("VOICEBOX_"):
            monkeypatch.setenv(name, value)
    return shared


async def test_sound_comes_out_while_text_goes_in(real: Daemon) -> None:
    heard = anyio.Event()

    async def text() -> AsyncIterator[str]:
        for word in STORY.split():
            yield word + " "
        with anyio.fail_after(DEADLINE):
            await heard.wait()
        yield "The end."

    async with AsyncVoicebox() as box:
        speech = await box.say(text(), seed=7)
        starts = []
        async for chunk in speech:
            heard.set()
            starts.append(chunk.start)
        assert speech.result is not None
        assert (speech.result.state, starts[0]) == ("done", 0)
        streamed = await (await box.say(STORY + "The end.", seed=7)).collect()
    with Voicebox() as plain:
        assert plain.say(STORY + "The end.", seed=7).collect().data == streamed.data


async def test_many_at_once_each_get_their_own(real: Daemon, tmp_path: Path) -> None:
    frames: dict[int, int] = {}

    async def one(box: AsyncVoicebox, number: int) -> None:
        result = await (await box.say(f"Number {number}. " * number)).save(tmp_path / f"{number}.flac")
        frames[number] = result.frames

    async with AsyncVoicebox() as box, anyio.create_task_group() as tasks:
        for number in range(1, 9):
            tasks.start_soon(one, box, number)
    assert {number: soundfile.info(tmp_path / f"{number}.flac").frames for number in frames} == frames
    assert sorted(frames.values()) == [frames[number] for number in range(1, 9)]


async def test_cancelling_ends_the_work(real: Daemon) -> None:
    async with AsyncVoicebox() as box:
        with anyio.move_on_after(0.5):
            await (await box.say(STORY * 2000)).collect()

        def requests() -> Any:
            return real.status()["requests"]

        await anyio.to_thread.run_sync(eventually, lambda: not requests()["active"], "nothing is being spoken")
        assert requests()["cancelled"] >= 1
