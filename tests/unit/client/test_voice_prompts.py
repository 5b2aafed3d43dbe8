"""Recordings and voice prompts on the client's side: what is read, what is sent, what is kept, and what is refused before that."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import numpy.typing as npt
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.client.fake_daemon import FakeDaemon, speak
from tests.unit.client.test_aio import anyio_backend
from voicebox_client import AsyncVoicebox, Voicebox, VoicePrompt, reference_audio
from voicebox_protocol import schema, wire
from voicebox_protocol.errors import BadPrompt, BadReference, BadRequest, DaemonLost, OutputFailed, Unsupported

__all__ = ["anyio_backend"]

PROMPT = VoicePrompt(b"prompt", provider="builtin", model="small")


def tone(seconds: float = 2.0, rate: int = 24_000, level: float = 0.5) -> npt.NDArray[np.float32]:
    when = np.arange(int(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * 200 * when)).astype(np.float32)


def samples_of(recording: reference_audio.Recording) -> npt.NDArray[np.float32]:
    return np.frombuffer(recording.audio, "<f4")


# --- what is read


@pytest.mark.parametrize("suffix", ["wav", "flac", "mp3", "ogg"])
@pytest.mark.parametrize("channels", [1, 2])
def test_a_file_of_any_kind_is_read_and_mixed_down(tmp_path: Path, suffix: str, channels: int) -> None:
    path = tmp_path / f"me.{suffix}"
    soundfile.write(path, np.stack([tone()] * channels, axis=1), 24_000)
    read = reference_audio.read(path)
    assert read.sample_rate == 24_000
    # mp3 has padding of its own.
    assert abs(len(samples_of(read)) - 48_000) < 3000
    assert 0.4 < np.abs(samples_of(read)).max() <= 1


def test_channels_are_averaged() -> None:
    both = np.stack([tone(level=0.2), tone(level=0.6)], axis=1)
    assert np.allclose(samples_of(reference_audio.read(both, 24_000)), tone(level=0.4), atol=1e-6)


@pytest.mark.parametrize(("rate", "sent"), [(8_000, 8_000), (24_000, 24_000), (44_100, 24_000), (192_000, 24_000)])
def test_a_high_rate_is_brought_down(rate: int, sent: int) -> None:
    read = reference_audio.read(tone(rate=rate), rate)
    assert read.sample_rate == sent
    assert len(samples_of(read)) == pytest.approx(2 * sent, abs=2)
    assert np.sqrt(np.mean(samples_of(read) ** 2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.02)


def test_the_longest_fits_the_wire() -> None:
    read = reference_audio.read(tone(60.0, 48_000), 48_000)
    assert len(read.audio) <= wire.MAX_REFERENCE
    assert len(samples_of(read)) <= 60 * 24_000


def test_a_list_of_floats_will_do() -> None:
    assert np.array_equal(samples_of(reference_audio.read([0.5, -0.5] * 8000, 8000)), [0.5, -0.5] * 8000)


@pytest.mark.parametrize(
    ("audio", "rate", "words"),
    [
        (tone(0.99), 24_000, "lasts 0.99 s"),
        (tone(60.01), 24_000, "lasts 60.0 s"),
        (tone(0.0), 24_000, "is empty"),
        (np.zeros((48_000, 0), np.float32), 24_000, "is empty"),
        (np.zeros(48_000, np.float32), 24_000, "is silent"),
        (np.full(48_000, np.nan, np.float32), 24_000, "no numbers"),
        (tone(), 7999, "7999 Hz"),
        (np.ones(48_000, np.int16), 24_000, "floats from -1 to 1"),
        (np.ones((2, 2, 48_000), np.float32), 24_000, "3 dimensions"),
        (["a", "b"], 24_000, "holds no samples"),
        ([[0.1], [0.1, 0.2]], 24_000, "no samples"),
    ],
)
def test_samples_that_cannot_be_right_are_refused(audio: Any, rate: int, words: str) -> None:
    with pytest.raises(BadReference, match=words):
        reference_audio.read(audio, rate)


def test_files_that_cannot_be_right_are_refused(tmp_path: Path) -> None:
    (tmp_path / "noise.wav").write_bytes(b"RIFF but no more of it")
    (tmp_path / "empty.wav").write_bytes(b"")
    soundfile.write(tmp_path / "short.wav", tone(0.5), 24_000)
    # Told from its header: it is not read.
    soundfile.write(tmp_path / "long.flac", np.zeros(61 * 24_000, np.float32), 24_000)
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), 24_000)
    for name, words in (
        ("noise.wav", "no audio file"),
        ("empty.wav", "no audio file"),
        ("short.wav", "lasts 0.50 s; at least 1 s"),
        ("long.flac", "lasts 61.0 s; at most 60 s"),
        ("none.wav", "is empty"),
        ("nowhere.wav", "there is no file"),
        (".", "there is no file"),
    ):
        with pytest.raises(BadReference, match=words) as caught:
            reference_audio.read(tmp_path / name)
        assert str(tmp_path) in str(caught.value)


def test_a_rate_goes_with_samples_only(tmp_path: Path) -> None:
    for audio, rate in ((tone(), None), (tone(), 24_000.0), (tone(), True), (tmp_path / "x.wav", 24_000)):
        with pytest.raises(BadRequest, match="sample_rate"):
            reference_audio.read(audio, rate)  # type: ignore[arg-type]


# --- what is kept


@given(
    st.binary(min_size=1, max_size=100), st.text(min_size=1, max_size=20), st.none() | st.text(min_size=1, max_size=20)
)
def test_what_is_kept_is_the_same(data: bytes, provider: str, model: str | None) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as directory:
        prompt = VoicePrompt(data, provider=provider, model=model)
        prompt.save(f"{directory}/me.voice")
        loaded = VoicePrompt.load(f"{directory}/me.voice")
        assert [path.name for path in Path(directory).iterdir()] == ["me.voice"]
    assert (loaded, loaded.data, loaded.provider, loaded.model) == (prompt, data, provider, model)
    assert bytes(loaded) == data
    assert hash(loaded) == hash(prompt)


def test_only_its_owner_reads_it_and_what_was_there_stays_if_it_cannot_be_written(tmp_path: Path) -> None:
    PROMPT.save(tmp_path / "me.voice")
    assert stat.S_IMODE((tmp_path / "me.voice").stat().st_mode) == 0o600
    (tmp_path / "taken").mkdir()
    for place in (tmp_path / "taken", tmp_path / "nowhere" / "me.voice"):
        with pytest.raises(OutputFailed, match=place.name):
            PROMPT.save(place)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["me.voice", "taken"]


@pytest.mark.parametrize("content", [b"", b"\x80", b"no prompt", b"\x91" * 100_000, bytes(wire.MAX_PROMPT + 9999)])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "me.voice").write_bytes(content)
    with pytest.raises(BadPrompt, match="no voice prompt"):
        VoicePrompt.load(tmp_path / "me.voice")


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    PROMPT.save(tmp_path / "me.voice")
    whole = (tmp_path / "me.voice").read_bytes()
    for broken in (
        whole[:-1],
        whole.replace(b"format\x01", b"format\x02"),
        whole.replace(b"\xc4\x06prompt", b"\xc4\x00"),
    ):
        (tmp_path / "me.voice").write_bytes(broken)
        with pytest.raises(BadPrompt):
            VoicePrompt.load(tmp_path / "me.voice")
    with pytest.raises(BadPrompt, match="cannot be read"):
        VoicePrompt.load(tmp_path / "none.voice")


# --- what is sent


def listening(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
    if isinstance(message, schema.PrepareVoice):
        reply = schema.VoicePrepared(query=message.query, provider="builtin", model="small")
        daemon.send(to, reply, b"%d bytes at %d" % (len(text), message.sample_rate))
    else:
        speak(daemon, to, message, text)


def test_a_recording_is_sent_and_the_prompt_comes_back(daemon: FakeDaemon) -> None:
    daemon.script = listening
    with Voicebox() as box:
        made = box.prepare_voice(tone(rate=48_000), "What I said.", provider="builtin", sample_rate=48_000, timeout=9)
    assert made == VoicePrompt(b"192000 bytes at 24000", provider="builtin", model="small")
    (asked,) = daemon.wait_for("PrepareVoice")
    assert (asked.text, asked.provider, asked.model, asked.deadline_ms) == ("What I said.", "builtin", None, 9000)


@pytest.mark.anyio
async def test_an_event_loop_does_the_same(daemon: FakeDaemon) -> None:
    daemon.script = listening
    async with AsyncVoicebox() as box:
        made = await box.prepare_voice(tone(), sample_rate=24_000)
        assert made.data == b"192000 bytes at 24000"
        await (await box.say("hello", prompt=made)).collect()
    (said,) = await anyio.to_thread.run_sync(lambda: daemon.wait_for("Say"))
    assert said.model == "small"


def test_a_prompt_names_its_model_and_where_there_is_none_its_provider(daemon: FakeDaemon) -> None:
    with Voicebox() as box:
        for prompt, more in (
            (PROMPT, {}),
            (PROMPT, {"provider": "other", "model": "small"}),
            (VoicePrompt(b"x", provider="builtin"), {}),
            (VoicePrompt(b"x", provider="builtin"), {"provider": "other", "model": "tiny"}),
        ):
            box.say("hello", prompt=prompt, **more).collect()  # type: ignore[arg-type]
        box.say("hello").collect()
    asked = [(said.provider, said.model) for said in daemon.wait_for("Say", 5)]
    assert asked == [(None, "small"), ("other", "small"), ("builtin", None), ("other", "tiny"), (None, None)]
    assert [daemon.prompts.get(said.req) for said in daemon.wait_for("Say", 5)] == [
        b"prompt",
        b"prompt",
        b"x",
        b"x",
        None,
    ]


@pytest.mark.parametrize("more", [{"voice": "anna"}, {"any_voice": True}, {"model": "large"}, {"prompt": b"bytes"}])
def test_what_cannot_go_with_a_prompt_is_refused_at_once(runtime_dir: Path, more: dict[str, Any]) -> None:
    with Voicebox() as box, pytest.raises(BadRequest):
        box.say("hello", **{"prompt": PROMPT, **more})


def test_a_daemon_that_knows_nothing_of_prompts_is_not_sent_one(daemon: FakeDaemon) -> None:
    daemon.features = ["resume"]
    with Voicebox() as box:
        with pytest.raises(Unsupported, match="voicebox daemon restart"):
            box.prepare_voice(tone(), sample_rate=24_000)
        with pytest.raises(Unsupported, match="cannot speak like a recording"):
            box.say("hello", prompt=PROMPT)
        box.say("hello").collect()


def breaking_off(daemon: FakeDaemon, to: bytes, message: Any, text: bytes) -> None:
    if isinstance(message, schema.Say):
        daemon.accept(to, message.req, voice="cloned")
        daemon.chunk(to, message.req, 0, tone(0.1).tobytes(), char_start=0, char_end=5)


def after(runtime_dir: Path, features: list[str]) -> tuple[FakeDaemon, Any]:
    """A daemon dies in mid-sentence: the next one, with these features, and what becomes of the speech."""
    with FakeDaemon(runtime_dir, breaking_off) as first, Voicebox() as box:
        speech = box.say("hello", prompt=PROMPT, resume=True)
        next(speech)
        first.die()
        with FakeDaemon(runtime_dir, boot="the next") as second:
            second.features = features
            try:
                return second, [chunk.frames for chunk in speech]
            except DaemonLost as lost:
                return second, lost


def test_the_next_daemon_gets_the_prompt_too(runtime_dir: Path) -> None:
    second, frames = after(runtime_dir, ["resume", "cloning"])
    (said,) = second.wait_for("Say")
    assert (said.voice, said.model, said.from_frame) == ("cloned", "small", 2400)
    assert second.prompts[said.req] == b"prompt"
    assert frames == [2400, 2400]


def test_a_next_daemon_without_prompts_is_the_end(runtime_dir: Path) -> None:
    _, lost = after(runtime_dir, ["resume"])
    assert "cannot speak like a recording" in str(lost)
