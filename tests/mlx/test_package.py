"""mlx-audio loads a checkpoint, or it is said why not: by itself it would only warn."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

mx = pytest.importorskip("mlx.core")
for needed in ("transformers", "mlx_audio"):
    if find_spec(needed) is None:
        pytest.skip(f"needs {needed}", allow_module_level=True)

from voicebox_provider.engine import PermanentFault  # noqa: E402
from voicebox_provider.engines.qwen.checkpoint import Defaults  # noqa: E402
from voicebox_provider.engines.qwen_mlx import package, prompts  # noqa: E402
from voicebox_provider.engines.qwen_mlx.frames import Decoder  # noqa: E402

Checkpoints = Callable[[str], Path]


@pytest.fixture
def copy(checkpoint: Checkpoints, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint("custom_voice"), tmp_path / "copy"))


def test_another_version_of_the_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is used of it is not what it promises to keep."""
    monkeypatch.setattr(package, "version", lambda name: "0.7.0")
    with pytest.raises(PermanentFault, match=r"mlx-audio 0\.7\.0 is installed, and 0\.6\.2 is needed; `pip install"):
        package.require()


def test_narrow_convolutions_lie_as_their_file_says(checkpoint: Checkpoints, loaded: Callable[[str], Any]) -> None:
    """The package guesses from shapes, wrong for these."""
    encoder = loaded("base").speaker_encoder
    weights = mx.load(str(checkpoint("base") / "model.safetensors"))
    theirs = weights["speaker_encoder.asp.conv.weight"]
    assert np.array_equal(encoder.asp.conv.weight, np.array(theirs).transpose(0, 2, 1))
    from mlx_audio.tts.models.qwen3_tts import qwen3_tts

    assert qwen3_tts.check_array_shape_qwen3(theirs), "it guesses by itself again"


def test_speakers_are_found_in_small_letters(loaded: Callable[[str], Any]) -> None:
    assert set(loaded("custom_voice").config.talker_config.spk_id) == {"serena", "ryan", "vivian"}


def test_half_the_bits_are_the_talkers_alone(checkpoint: Checkpoints) -> None:
    model = package.load(checkpoint("base"), "bfloat16")
    assert model.talker.codec_head.weight.dtype == mx.bfloat16
    assert model.speaker_encoder.fc.weight.dtype == mx.float32
    decoder = package.take_decoder(model)
    assert decoder.pre_conv.conv.weight.dtype == mx.float32
    assert model.speech_tokenizer.decoder is None
    prompt = prompts.described(model, "Yes.", "auto", None, None)
    assert len(list(Decoder(model).frames(prompt, Defaults(), 1, most=2))) == 2


def test_a_quantized_checkpoint_speaks_too(checkpoint: Checkpoints, tmp_path: Path) -> None:
    """As mlx-community has them: eight bits to a weight."""
    greedy = Defaults(do_sample=False, subtalker_dosample=False)

    def said(model: Any) -> list[list[int]]:
        return list(Decoder(model).frames(prompts.described(model, "Yes.", "auto", None, "Low."), greedy, 0, most=2))

    model = package.load(checkpoint("voice_design"), "float32")
    whole = said(model)
    eight = quantized(model, Path(shutil.copytree(checkpoint("voice_design"), tmp_path / "eight")))
    model = package.load(eight, "float32")
    assert "scales" in model.talker.codec_head
    assert sum(one == other for one, other in zip(whole[0], said(model)[0], strict=True)) >= 4


def quantized(model: Any, directory: Path) -> Path:
    """The directory, with the model's weights quantized."""
    from mlx import nn
    from mlx.utils import tree_flatten

    def is_wide(name: str, each: Any) -> bool:
        return isinstance(each, nn.Linear) and each.weight.shape[-1] % 32 == 0

    nn.quantize(model.talker, group_size=32, bits=8, class_predicate=is_wide)
    weights = {f"talker.{name}": each for name, each in tree_flatten(model.talker.parameters())}
    mx.save_safetensors(str(directory / "model.safetensors"), weights, metadata={"format": "pt"})
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps({**config, "quantization": {"group_size": 32, "bits": 8}}))
    return directory


def test_without_a_text_tokenizer_it_is_not_loaded(copy: Path) -> None:
    for name in ("vocab.json", "tokenizer_config.json", "merges.txt"):
        (copy / name).unlink()
    with pytest.raises(PermanentFault, match="text tokenizer does not load"):
        package.load(copy, "float32")


def test_without_its_codec_it_is_not_loaded(copy: Path) -> None:
    (copy / "speech_tokenizer" / "config.json").write_text('{"decoder_config": {"upsample_rates": 8}}')
    with pytest.raises(PermanentFault, match="codec does not load"):
        package.load(copy, "float32")


def test_weights_that_do_not_fit_are_told(copy: Path, checkpoint: Checkpoints) -> None:
    shutil.copy(checkpoint("voice_design") / "model.safetensors", copy)
    with pytest.raises(PermanentFault, match="mlx-audio cannot load"):
        package.load(copy, "float32")


@pytest.mark.skipif(mx.is_available(mx.gpu), reason="there is a graphics processor")
def test_a_device_that_is_not_there_is_told() -> None:
    try:
        with pytest.raises(PermanentFault, match="cannot compute on gpu"):
            package.use("gpu")
    finally:
        package.use("cpu")
