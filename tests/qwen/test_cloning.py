"""Voices of recordings on a Base checkpoint of random weights: by the real package, in both modes, from the command line to the codec."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import soundfile

from tests.integration.daemon import DEADLINE, Daemon, running
from tests.integration.wire_client import Ending, WireClient
from voicebox_client import VoicePrompt as Kept
from voicebox_protocol.errors import BadOption, BadPrompt, BadReference, NoSuchVoice
from voicebox_provider import voice_prompt
from voicebox_provider.engine import Reference, Utterance

torch = pytest.importorskip("torch")
for needed in ("transformers", "qwen_tts"):
    if find_spec(needed) is None:
        pytest.skip(f"needs {needed}", allow_module_level=True)

from voicebox_provider.engines.qwen import cloning, kept  # noqa: E402
from voicebox_provider.engines.qwen.engine import QwenEngine  # noqa: E402

RATE = 24_000
FRAME = 1920
# So much is compared where a near tie might be decided otherwise.
SURE = 3 * FRAME
TEXT = "The harbour was quiet that morning."
SAID = "Nobody spoke, and nobody came."
MODES = {"x_vector": None, "in_context": SAID}
CONFIG = """
[provider.builtin]
enabled = false

[provider.pytorch-cpu]
engine = "voicebox_provider.engines.qwen.engine:QwenEngine"
settings = {{ model = "{model}" }}
standby = "none"
"""

Checkpoints = Callable[[str], Path]


def recording(seconds: float = 2.0) -> npt.NDArray[np.float32]:
    generator = np.random.default_rng(5)
    return (0.1 * generator.standard_normal(int(seconds * RATE))).astype(np.float32)


def made(checkpoint: Path, **settings: Any) -> QwenEngine:
    # In numbers of eight bits it would not be the package's to the last.
    engine = QwenEngine({"model": str(checkpoint), "quantize": "none", **settings})
    engine.load(lambda milliseconds, note: None)
    return engine


@pytest.fixture(scope="module")
def engine(checkpoint: Checkpoints) -> QwenEngine:
    return made(checkpoint("base"))


def listen(engine: QwenEngine, text: str | None = SAID, **changed: Any) -> bytes:
    return engine.prepare_voice(Reference(**{"samples": recording(), "sample_rate": RATE, "text": text, **changed}))


def whole(engine: QwenEngine, prompt: bytes | None, **wishes: Any) -> npt.NDArray[np.float32]:
    return np.concatenate(list(engine.synthesize(Utterance(text=TEXT, prompt=prompt, **{"seed": 7, **wishes}))))


# --- the engine by itself


def test_what_is_heard_is_what_the_package_hears(engine: QwenEngine, loaded: Callable[[str], Any]) -> None:
    padded = np.concatenate((recording(), np.zeros(RATE // 2, np.float32)))
    (theirs,) = loaded("base").create_voice_clone_prompt((padded, RATE), ref_text=SAID)
    ours = voice_prompt.decode(listen(engine))
    assert (ours.mode, ours.text, ours.model) == ("in_context", SAID, "base")
    assert np.array_equal(ours.code_steps, theirs.ref_code.numpy())
    assert np.array_equal(ours.speaker, theirs.ref_spk_embedding.numpy())
    assert listen(engine) == listen(engine)
    alone = voice_prompt.decode(listen(engine, None))
    assert (alone.mode, alone.text, len(alone.codes)) == ("x_vector", "", 0)
    assert alone.embedding == ours.embedding
    assert alone.key != ours.key


@pytest.mark.parametrize("mode", MODES)
def test_what_is_said_is_what_the_package_says(engine: QwenEngine, loaded: Callable[[str], Any], mode: str) -> None:
    """Where nothing is drawn, and as long as no choice of the greedy is a near tie."""
    prompt, package = listen(engine, MODES[mode]), loaded("base")
    item = cloning.item(voice_prompt.decode(prompt), package, SAID)
    (theirs,), _ = package.generate_voice_clone(
        TEXT, language="Auto", voice_clone_prompt=[item], do_sample=False, subtalker_dosample=False
    )
    assert alike(whole(engine, prompt, options={"temperature": 0}), theirs)


def alike(ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> bool:
    return bool(np.abs(ours[:SURE] - theirs[:SURE]).max() < 1e-4) and min(len(ours), len(theirs)) >= SURE


@pytest.mark.parametrize("mode", MODES)
def test_its_sound_is_the_packages_behind_the_recording(
    engine: QwenEngine, loaded: Callable[[str], Any], mode: str
) -> None:
    """The codec has heard the recording before, of which not a sample is to be heard."""
    data = listen(engine, MODES[mode])
    parts: list[bytes] = []
    ours = whole(engine, data, keep=parts.append)
    _, frames = kept.read(b"".join(parts))
    before, codes = voice_prompt.decode(data).code_steps.astype(np.int64), torch.tensor(frames)
    together = torch.cat((torch.from_numpy(before), codes))
    (theirs,), _ = loaded("base").model.speech_tokenizer.decode([{"audio_codes": together}])
    assert np.abs(ours - theirs[len(before) * FRAME :]).max() < 1e-4


def test_the_packages_own_loop_clones_as_well(checkpoint: Checkpoints, engine: QwenEngine) -> None:
    reference = made(checkpoint("base"), loop="reference")
    for text in MODES.values():
        prompt = listen(engine, text)
        assert alike(*(whole(each, prompt, options={"temperature": 0}) for each in (engine, reference)))


@pytest.mark.parametrize("mode", MODES)
def test_equal_seeds_give_equal_samples_and_a_successor_goes_on(engine: QwenEngine, mode: str) -> None:
    prompt = listen(engine, MODES[mode])
    parts: list[bytes] = []
    first = whole(engine, prompt, keep=parts.append)
    listen(engine, MODES[mode])
    assert np.array_equal(whole(engine, prompt), first)
    assert np.array_equal(whole(engine, prompt, kept=b"".join(parts[:6])), first)
    assert not np.array_equal(whole(engine, prompt, seed=8)[:1920], first[:1920])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"text": "Far too many words for two seconds. " * 20}, "too much to say"),
        ({"text": "One.", "samples": recording(30.0)}, "more must have been said"),
        ({"text": "?!"}, "no letter and no digit"),
        ({"samples": np.zeros(2 * RATE, np.float32)}, "silent"),
    ],
)
def test_a_recording_that_cannot_be_right_is_refused(engine: QwenEngine, changed: dict[str, Any], words: str) -> None:
    with pytest.raises(BadReference, match=words):
        listen(engine, **changed)


def test_a_prompt_that_does_not_fit_is_refused_before_any_sound(engine: QwenEngine, tmp_path: Path) -> None:
    good = voice_prompt.decode(listen(engine))
    replace = msgspec.structs.replace
    for wrong, words in (
        (replace(good, embedding=good.embedding[:-4]), "embedding has 63 numbers, and the model's has 64"),
        (replace(good, codes=np.full((9, 16), 64, "<i2").tobytes()), "not below 64"),
        (replace(good, revision="another"), "other weights of base"),
        (replace(good, revision="another", model="Larger-Base"), "made for Larger-Base, and base speaks here"),
    ):
        with pytest.raises(BadPrompt, match=words):
            next(engine.synthesize(Utterance(text=TEXT, prompt=voice_prompt.encode(wrong))))
    with pytest.raises(NoSuchVoice, match="speaks only like a recording"):
        whole(engine, None)
    with pytest.raises(BadOption, match="instruct"):
        whole(engine, listen(engine), instruct="gladly")


def test_the_tokenizers_own_marks_in_a_recordings_text_are_words(engine: QwenEngine) -> None:
    marked, plain = (
        whole(engine, voice_prompt.encode(msgspec.structs.replace(voice_prompt.decode(listen(engine)), text=text)))
        for text in (f"<|im_end|>{SAID}", f"|im_end|{SAID}")
    )
    assert np.array_equal(marked, plain)


def test_a_preset_model_beside_it_does_not_clone(checkpoint: Checkpoints, engine: QwenEngine) -> None:
    both = made(checkpoint("custom_voice"), models={"base": str(checkpoint("base"))})
    able = both.capabilities()
    assert (able.cloning, able.cloning_models, able.models) == (True, ["base"], ["custom_voice", "base"])
    assert able.cloning_model() == "base"
    prompt = listen(both, model="base")
    assert np.array_equal(whole(both, prompt, model="base"), whole(engine, prompt))
    with pytest.raises(BadOption, match="cannot speak like a recording"):
        whole(both, prompt, model="custom_voice")
    with pytest.raises(BadOption, match="custom_voice cannot"):
        listen(both, model="custom_voice")


# --- through the daemon


@pytest.fixture(scope="module")
def daemon(checkpoint: Checkpoints) -> Iterator[Daemon]:
    with running(CONFIG.format(model=checkpoint("base"))) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recordings") / "me.wav"
    soundfile.write(path, recording(), RATE, subtype="FLOAT")
    return path


def say(daemon: Daemon, wav: Path, *more: str) -> dict[str, Any]:
    done = daemon.place.voicebox("say", TEXT, "--clone", str(wav), "--seed", "7", "--json", *more, timeout=3 * DEADLINE)
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("mode", MODES)
def test_the_command_line_clones(daemon: Daemon, engine: QwenEngine, wav: Path, tmp_path: Path, mode: str) -> None:
    text = ["--clone-text", SAID] if mode == "in_context" else []
    for name in ("one.wav", "two.wav"):
        told = say(daemon, wav, *text, "-o", str(tmp_path / name))
        assert (told["provider"], told["voice"]) == ("pytorch-cpu", "cloned")
    assert (tmp_path / "one.wav").read_bytes() == (tmp_path / "two.wav").read_bytes()
    prompts = [Kept.load(path) for path in (daemon.place.root / "data" / "cache" / "voices").iterdir()]
    assert listen(engine, MODES[mode]) in [each.data for each in prompts]


def test_a_text_that_is_not_the_recordings_is_refused(daemon: Daemon, wav: Path, tmp_path: Path) -> None:
    done = daemon.place.voicebox(
        "say", TEXT, "--clone", str(wav), "--clone-text", "Much more than that. " * 30, "-o", str(tmp_path / "x.wav")
    )
    assert (done.returncode, "too much to say" in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "x.wav").exists()


@pytest.mark.parametrize("mode", MODES)
def test_killed_in_mid_sentence_it_goes_on_to_the_sample(daemon: Daemon, engine: QwenEngine, mode: str) -> None:
    prompt = listen(engine, MODES[mode])
    with WireClient(daemon.place) as client:
        whole = client.speak(TEXT, seed=7, prompt=prompt, model="base")
        req = client.say(TEXT, seed=7, prompt=prompt, model="base", on_failure="fail")
        ending, killed = Ending(), False
        while not ending.messages or ending.end["kind"] not in ("Done", "Failed"):
            message, payload = client.receive(3 * DEADLINE)
            ending.take(message, payload)
            if message["kind"] == "Chunk":
                last = message["seq"] + len(message["descriptors"]) - 1
                client.send("Credit", boot=client.boot, req=req, first=message["seq"], last=last)
            if message["kind"] == "Chunk" and not killed:
                killed = True
                for provider in daemon.place.providers():
                    provider.send_signal(signal.SIGKILL)
    assert ending.end["kind"] == "Done", ending.end
    assert ending.samples == whole.samples
    assert ending.end["resumed"] == "exact"
