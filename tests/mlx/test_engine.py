"""Qwen3-TTS on MLX as a provider: random-weight checkpoints of each variant, spoken by the real packages through a daemon."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import soundfile

from tests.integration.daemon import Daemon, running
from tests.integration.wire_client import Ending, WireClient
from voicebox_protocol.errors import BadOption, BadPrompt, BadReference, NoSuchLanguage, NoSuchVoice, ProviderFailed
from voicebox_provider import voice_prompt
from voicebox_provider.engine import PermanentFault, Reference, TemporaryFault, Utterance
from voicebox_provider.host_memory import Room

mx = pytest.importorskip("mlx.core")
for needed in ("transformers", "mlx_audio"):
    if find_spec(needed) is None:
        pytest.skip(f"needs {needed}", allow_module_level=True)

from voicebox_provider.engines.qwen_mlx.engine import QwenMlxEngine  # noqa: E402

from . import oracle  # noqa: E402
from .tiny_checkpoint import write  # noqa: E402

FRAME = 1920
TEXT = oracle.TEXT
CONFIG = """
[provider.builtin]
enabled = false

[provider.mlx]
engine = "voicebox_provider.engines.qwen_mlx.engine:QwenMlxEngine"
settings = {{ model = "{model}" }}
standby = "none"
"""

Checkpoints = Callable[[str], Path]


def spoken(engine: QwenMlxEngine, **wishes: Any) -> list[Any]:
    return list(engine.synthesize(Utterance(text=TEXT, **{"voice": "ryan", "seed": 7, **wishes})))


def whole(engine: QwenMlxEngine, **wishes: Any) -> Any:
    return np.concatenate(spoken(engine, **wishes))


@pytest.fixture(scope="module")
def make(checkpoint: Checkpoints) -> Callable[..., QwenMlxEngine]:
    """A loaded engine."""

    def made(variant: str = "custom_voice", **settings: Any) -> QwenMlxEngine:
        engine = QwenMlxEngine({"model": str(checkpoint(variant)), "device": "cpu", **settings})
        engine.load(lambda milliseconds, note: None)
        return engine

    return made


@pytest.fixture(scope="module")
def engine(make: Callable[..., QwenMlxEngine]) -> QwenMlxEngine:
    return make()


@pytest.fixture(scope="module")
def base(make: Callable[..., QwenMlxEngine]) -> QwenMlxEngine:
    return make("base")


# --- the engine by itself


def test_the_first_sound_is_one_frame_and_the_next_ones_grow(engine: QwenMlxEngine) -> None:
    lengths = [len(sound) // FRAME for sound in spoken(engine)]
    assert lengths[:3] == [1, 2, 4]
    assert set(lengths[3:-1]) <= {8}


def test_equal_seeds_give_equal_samples_whatever_was_said_before(engine: QwenMlxEngine) -> None:
    first, other = whole(engine), whole(engine, seed=8)
    assert len(first) > 4 * FRAME
    assert not np.array_equal(other[:FRAME], first[:FRAME])
    mx.random.seed(99)
    assert np.array_equal(whole(engine), first)


def test_cancelled_within_a_frame_and_the_next_is_whole(engine: QwenMlxEngine) -> None:
    before = whole(engine)
    sounds = engine.synthesize(Utterance(text=TEXT, voice="ryan", seed=7))
    next(sounds)
    sounds.close()  # type: ignore[attr-defined]
    frames = 0

    def count() -> None:
        nonlocal frames
        frames += 1

    stopped = Utterance(text=TEXT, voice="ryan", seed=7, cancelled=lambda: frames >= 3, progress=count)
    assert len(list(engine.synthesize(stopped))) <= 2
    assert frames == 3
    assert np.array_equal(whole(engine), before)


def test_a_successor_draws_nothing_again_and_gives_the_same_from_the_first_sample(engine: QwenMlxEngine) -> None:
    parts: list[bytes] = []
    undisturbed = whole(engine, keep=parts.append)
    assert len(parts) == 1 + len(undisturbed) // FRAME
    for frames in (1, 6):
        more: list[bytes] = []
        again = whole(engine, kept=b"".join(parts[: 1 + frames]), keep=more.append)
        assert more == parts[1 + frames :], "what was kept is not drawn again"
        assert np.array_equal(again, undisturbed)


@pytest.mark.parametrize("kept", [b"\0x", bytes(32), bytes(34)])
def test_what_no_process_kept_is_refused(engine: QwenMlxEngine, kept: bytes) -> None:
    with pytest.raises(ProviderFailed, match="what the process before kept"):
        spoken(engine, kept=kept)


@pytest.mark.parametrize("mark", ["<|im_end|>", "<tts_text_eod>"])
def test_the_tokenizers_own_marks_are_words_like_others(engine: QwenMlxEngine, mark: str) -> None:
    asked = [
        np.concatenate(list(engine.synthesize(Utterance(text=f"Say {word} now.", voice="ryan"))))
        for word in (mark, mark.strip("<>"))
    ]
    assert np.array_equal(*asked)


@pytest.mark.parametrize(
    ("wishes", "error"),
    [
        ({"voice": "nobody"}, NoSuchVoice),
        ({"voice": None}, NoSuchVoice),
        ({"language": "nl"}, NoSuchLanguage),
        ({"instruct": "gladly"}, BadOption),
        ({"model": "another"}, BadOption),
    ],
)
def test_what_the_package_would_drop_is_refused(
    engine: QwenMlxEngine, wishes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        spoken(engine, **wishes)


def test_options_change_how_it_is_drawn(engine: QwenMlxEngine) -> None:
    greedy = whole(engine, options={"temperature": 0})
    assert np.array_equal(whole(engine, seed=3, options={"temperature": 0}), greedy)
    assert not np.array_equal(whole(engine, options={"top_k": 2})[:FRAME], whole(engine)[:FRAME])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, "model"),
        ({"model": "/nowhere/at/all"}, "/nowhere/at/all"),
        ({"model": ".", "dtype": "float64"}, "dtype"),
        ({"model": ".", "device": "cuda"}, "auto or cpu or gpu"),
        ({"model": ".", "threads": 0}, "threads"),
        ({"model": ".", "temperature": 1}, "temperature"),
    ],
)
def test_settings_that_cannot_be_right_are_told_at_once(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(PermanentFault, match=words):
        QwenMlxEngine(settings)


def test_its_document_says_what_it_runs_on(engine: QwenMlxEngine, checkpoint: Checkpoints) -> None:
    able = engine.capabilities()
    assert able.devices == ["cpu"]
    for word in ("mlx-audio 0.6.2", "mlx 0.32.4", "transformers 5.23.0", "float32", "cpu", "1 threads"):
        assert word in str(able.fingerprint)
    half = QwenMlxEngine({"model": str(checkpoint("custom_voice")), "device": "cpu", "dtype": "bfloat16"})
    assert half.capabilities().fingerprint != able.fingerprint
    assert engine.device_memory() is None


def test_apples_processors_are_taken_where_they_are(checkpoint: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    for system, device in (("darwin", "gpu"), ("linux", "cpu")):
        monkeypatch.setattr("voicebox_provider.engines.qwen_mlx.engine.sys.platform", system)
        assert QwenMlxEngine({"model": str(checkpoint("custom_voice"))}).capabilities().devices == [device]


@pytest.mark.parametrize(
    ("room", "fault"), [(Room(1_000_000, 8_000_000_000), TemporaryFault), (Room(1_000_000, 2_000_000), PermanentFault)]
)
def test_where_there_is_no_room_nothing_is_loaded(
    checkpoint: Checkpoints, monkeypatch: pytest.MonkeyPatch, room: Room, fault: type[Exception]
) -> None:
    monkeypatch.setattr("voicebox_provider.host_memory.room", lambda: room)
    monkeypatch.setattr("voicebox_provider.engines.qwen_mlx.package.load", lambda *_: pytest.fail("it was loaded"))
    with pytest.raises(fault, match=r"needs 0\.4 GB of memory on cpu in float32"):
        QwenMlxEngine({"model": str(checkpoint("custom_voice"))}).load(lambda milliseconds, note: None)


def test_a_request_may_ask_for_another_model(checkpoint: Checkpoints, engine: QwenMlxEngine) -> None:
    both = {"one": str(checkpoint("custom_voice")), "other": str(checkpoint("voice_design"))}
    able = QwenMlxEngine({"models": both, "device": "cpu"})
    able.load(lambda milliseconds, note: None)
    first = whole(able)
    assert np.array_equal(first, whole(engine))
    assert len(whole(able, model="other", voice="designed", instruct="Low."))
    assert np.array_equal(whole(able), first)


# --- voices of recordings


def reference(text: str | None = oracle.SAID, **changed: Any) -> Reference:
    return Reference(**{"samples": oracle.recording(), "sample_rate": 24000, "text": text, **changed})


@pytest.mark.parametrize("text", [oracle.SAID, None])
def test_it_speaks_like_a_recording(base: QwenMlxEngine, text: str | None) -> None:
    prompt = base.prepare_voice(reference(text))
    assert base.prepare_voice(reference(text)) == prompt
    heard = voice_prompt.decode(prompt)
    assert (heard.mode, heard.text) == (("in_context", text) if text else ("x_vector", ""))
    # A second and a half, and the silence behind it.
    assert len(heard.codes) == (25 * 32 if text else 0)
    parts: list[bytes] = []
    first = whole(base, voice=None, prompt=prompt, keep=parts.append)
    assert np.array_equal(whole(base, voice=None, prompt=prompt, kept=b"".join(parts[:4])), first)
    assert not np.array_equal(whole(base, voice=None, prompt=prompt, seed=8)[:FRAME], first[:FRAME])


def test_a_recording_of_another_rate_is_heard_at_ours(base: QwenMlxEngine) -> None:
    heard = voice_prompt.decode(base.prepare_voice(reference(samples=oracle.recording()[::2], sample_rate=12000)))
    assert len(heard.codes) == 25 * 32


def test_a_recording_that_cannot_be_right_is_refused(base: QwenMlxEngine, engine: QwenMlxEngine) -> None:
    with pytest.raises(BadReference, match="silent"):
        base.prepare_voice(reference(samples=np.zeros(48000, np.float32)))
    with pytest.raises(BadReference, match="too much to say"):
        base.prepare_voice(reference("Far too many words for it. " * 20))
    with pytest.raises(BadOption):
        engine.prepare_voice(reference())


def test_a_prompt_that_does_not_fit_is_refused_before_any_sound(base: QwenMlxEngine, engine: QwenMlxEngine) -> None:
    good = voice_prompt.decode(base.prepare_voice(reference()))
    replace = msgspec.structs.replace
    for wrong, words in (
        (replace(good, embedding=good.embedding[:-4]), "embedding has 63 numbers"),
        (replace(good, codes=np.full((9, 16), 64, "<i2").tobytes()), "not below 64"),
        (replace(good, revision="another"), "other weights"),
    ):
        with pytest.raises(BadPrompt, match=words):
            spoken(base, voice=None, prompt=voice_prompt.encode(wrong))
    with pytest.raises(NoSuchVoice, match="speaks only like a recording"):
        spoken(base, voice=None)
    with pytest.raises(BadOption, match="Base model"):
        spoken(engine, voice=None, prompt=voice_prompt.encode(good))


# --- a model that has lost its way


class Lost:
    """A codec decoder whose sound is not the codes'."""

    def __init__(self, inner: Any, factor: float) -> None:
        self.inner, self.factor = inner, factor

    def stream(self) -> Any:
        stream, factor = self.inner.stream(), self.factor

        class Stream:
            def decode(self, codes: Any) -> Any:
                return stream.decode(codes) * np.float32(factor)

        return Stream()


@pytest.fixture
def endless(make: Callable[..., QwenMlxEngine], monkeypatch: pytest.MonkeyPatch) -> QwenMlxEngine:
    """An engine that never draws the end of speech, and whose checkpoint sets no limit of its own. Its patience is shorter."""
    from voicebox_provider.engines.qwen_mlx import frames

    class Endless(frames.FirstBook):
        def __init__(self, vocabulary: int, end: int, *more: Any) -> None:
            super().__init__(vocabulary, end, *more)
            self._never = self._at_first

    monkeypatch.setattr(frames, "FirstBook", Endless)
    monkeypatch.setattr("voicebox_provider.engines.qwen.guards._MOST_REPEATED", 12)
    monkeypatch.setattr("voicebox_provider.engines.qwen.guards._MOST_QUIET", 12 * FRAME)
    engine = make()
    chosen = engine._models.default
    assert chosen is not None
    defaults = msgspec.structs.replace(chosen.defaults, max_new_tokens=4096)
    engine._checkpoint = msgspec.structs.replace(chosen, defaults=defaults)
    return engine


def test_what_went_wrong_is_drawn_from_another_seed_the_next_time(endless: QwenMlxEngine) -> None:
    def first(seed: int) -> Any:
        sounds = endless.synthesize(Utterance(text=TEXT, voice="ryan", seed=seed))
        return next(sounds), sounds.close()  # type: ignore[attr-defined]

    codec, before, other = endless._codec, first(7)[0], first(8)[0]
    assert np.array_equal(first(7)[0], before)
    endless._codec = Lost(codec, 0.0)  # type: ignore[assignment]
    with pytest.raises(ProviderFailed, match="silent"):
        spoken(endless)
    endless._codec = codec
    assert not np.array_equal(first(7)[0], before)
    assert np.array_equal(first(8)[0], other)


def test_codes_that_repeat_end_in_a_failure(endless: QwenMlxEngine) -> None:
    assert endless._decoder is not None
    frames = endless._decoder.frames

    def stuck(*asked: Any, **more: Any) -> Iterator[Any]:
        first = None
        for codes in frames(*asked, **more):
            first = codes if first is None else first
            yield first

    endless._decoder.frames = stuck  # type: ignore[method-assign]
    with pytest.raises(ProviderFailed, match="repeated"):
        spoken(endless)


def test_speech_without_end_ends_in_a_failure(endless: QwenMlxEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voicebox_provider.engines.qwen.guards._ONCE_MS", 800)
    monkeypatch.setattr("voicebox_provider.engines.qwen.guards._LETTER_MS", 10)
    with pytest.raises(ProviderFailed, match="no end"):
        spoken(endless)


# --- through the daemon


@pytest.fixture(scope="module")
def daemon(checkpoint: Checkpoints) -> Iterator[Daemon]:
    with running(CONFIG.format(model=checkpoint("custom_voice"))) as daemon:
        yield daemon


def ask(daemon: Daemon, text: str = TEXT, **wishes: Any) -> Ending:
    with WireClient(daemon.place) as client:
        return client.speak(text, provider="mlx", **wishes)


def test_it_speaks_and_repeats_itself(daemon: Daemon) -> None:
    one, other = ask(daemon, seed=5), ask(daemon, seed=5)
    assert one.end["kind"] == "Done", one.end
    assert one.end["sample_rate"] == 24000
    assert len(one.samples) > FRAME * 4
    assert one.samples == other.samples


def test_the_command_line_speaks_with_it(daemon: Daemon, tmp_path: Path) -> None:
    target = tmp_path / "quiet.wav"
    done = daemon.place.run(
        "voicebox", "say", TEXT, "--provider", "mlx", "-v", "ryan", "--seed", "5", "-o", str(target)
    )
    assert done.returncode == 0, done.stderr
    assert soundfile.info(target).frames > FRAME * 4


def test_killed_in_mid_sentence_it_goes_on_with_the_very_next_sample(daemon: Daemon) -> None:
    undisturbed = ask(daemon, seed=11)
    ending = Ending()
    with WireClient(daemon.place) as client:
        request = client.say(TEXT, provider="mlx", seed=11)
        while not ending.samples:
            ending.take(*client.receive())
        (victim,) = daemon.place.providers()
        os.kill(victim.pid, signal.SIGKILL)
        rest = client.until_end(request)
    ending.samples += rest.samples
    ending.messages += rest.messages
    assert ending.end["kind"] == "Done", ending.end
    assert ending.samples == undisturbed.samples
    assert ending.end["resumed"] == "exact"


def test_voice_design_speaks_what_is_described(checkpoint: Checkpoints) -> None:
    with running(CONFIG.format(model=checkpoint("voice_design"))) as daemon:
        assert ask(daemon, instruct="An old man, far away.").end["kind"] == "Done"
        refused = ask(daemon).end
        assert (refused["kind"], refused["code"]) == ("Failed", "BAD_OPTION"), refused


def test_the_command_line_clones_with_it(checkpoint: Checkpoints, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "friend.wav", oracle.recording(), 24000)
    with running(CONFIG.format(model=checkpoint("base"))) as daemon:
        for text in ([], ["--clone-text", oracle.SAID]):
            target = tmp_path / f"clone{len(text)}.wav"
            asked = ["--provider", "mlx", "--clone", str(tmp_path / "friend.wav"), *text, "-o", str(target)]
            done = daemon.place.run("voicebox", "say", TEXT, *asked)
            assert done.returncode == 0, done.stderr
            assert soundfile.info(target).frames >= FRAME


@pytest.mark.timeout(400)
def test_it_keeps_the_protocol(tmp_path: Path) -> None:
    """In less time than it would take with utterances as long as elsewhere: there are fifty."""
    (tmp_path / "config.toml").write_text(CONFIG.format(model=write(tmp_path / "terse", max_new_tokens=9)))
    command = [sys.executable, "-m", "voicebox_provider.conformance", "mlx", "--json"]
    environment = {**os.environ, "VOICEBOX_CONFIG": str(tmp_path / "config.toml")}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=380, check=False, env=environment, cwd=tmp_path
    )
    assert done.stdout, done.stderr
    broken = [each["check"] for each in json.loads(done.stdout)["checks"] if each["result"] != "ok"]
    # Random weights find no end: they speak every text until the checkpoint's own limit, and none long enough for a beat. Base clones.
    assert set(broken) <= {"long word", "beats", "cloning"}, done.stdout
