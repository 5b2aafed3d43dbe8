"""The package mlx-audio: its checkpoints, loaded from a directory and never from a hub, and told where it would guess or only warn."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from voicebox_provider.engine import DeviceMemory, PermanentFault

WRITTEN_FOR = "0.6.2"
"""The version of the package mlx-audio whose layers and prompts this engine uses; other versions move them."""

_NEEDED = ("mlx", "transformers", "mlx_audio")
_WEIGHTS = ("model.safetensors", "speech_tokenizer/model.safetensors")


def require() -> None:
    """Raise `PermanentFault`, with the command that installs what is missing, unless all is there in its version."""
    remedy = f"`pip install -r {Path(__file__).with_name('requirements-mlx.txt')}`"
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise PermanentFault(f"{missing[0]} is not installed; {remedy} does that")
    if (found := version("mlx-audio")) != WRITTEN_FOR:
        raise PermanentFault(f"mlx-audio {found} is installed, and {WRITTEN_FOR} is needed; {remedy} changes that")


def use(device: str) -> None:
    """Compute on "cpu" or "gpu" from now on. Raises `PermanentFault` where nothing can be computed on it."""
    import mlx.core as mx

    try:
        mx.set_default_device(mx.gpu if device == "gpu" else mx.cpu)
        mx.eval(mx.ones(8) + 1)
    except (RuntimeError, ValueError) as error:
        words = str(error).strip().partition("\n")[0]
        raise PermanentFault(
            f'MLX cannot compute on {device}: {words}; `device = "cpu"` needs no graphics processor'
        ) from None
    if device == "cpu":
        # It would call a C++ compiler, where there is one, in the middle of a sentence, and load what lies in /tmp under its results' name.
        mx.disable_compile()
    else:
        mx.enable_compile()


def load(directory: Path, dtype: str) -> Any:
    """mlx-audio's `Model` of a checkpoint's directory, with its text tokenizer and codec. Asks no hub for anything.

    `dtype` is that of the talker's and the predictor's weights, as far as they are not quantized; codec and speaker encoder are float32.
    Raises `PermanentFault` if the package could not load all of it.
    """
    # Read when the package is imported; a directory alone would not keep it from asking whether there is a newer one.
    os.environ["HF_HUB_OFFLINE"] = "1"
    # It only reads the text here, and warns that it has no model for it.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    import mlx.core as mx
    from mlx_audio.tts.utils import load_model

    # What it prints of its progress goes where our log goes.
    with contextlib.redirect_stdout(sys.stderr), _layout_known(directory):
        try:
            model = load_model(directory, model_type="qwen3_tts")
        except (ValueError, KeyError, RuntimeError) as error:
            words = str(error).strip().partition("\n")[0]
            raise PermanentFault(f"mlx-audio cannot load {directory}: {words}; copy the checkpoint again") from None
    # It only warns when one of these fails.
    if model.tokenizer is None or model.speech_tokenizer is None:
        missing = "its text tokenizer" if model.tokenizer is None else "its codec"
        raise PermanentFault(f"mlx-audio cannot load {directory}: {missing} does not load; copy the checkpoint again")
    model.talker.set_dtype(getattr(mx, dtype))
    for listening in (model.speaker_encoder, model.speech_tokenizer.encoder_model):
        if listening is not None:
            listening.set_dtype(mx.float32)
    talker = model.config.talker_config
    # Looked up in small letters, whatever the checkpoint has: a speaker with a capital would be nobody, without a word.
    talker.spk_id, talker.spk_is_dialect = (_small(names) for names in (talker.spk_id, talker.spk_is_dialect))
    return model


def take_decoder(model: Any) -> Any:
    """The decoder of a model's codec, which is the model's no more: it is large. In float32, whatever the rest is in."""
    import mlx.core as mx

    # The package has it compiled; what is behind that says so itself.
    decoder = dict(model.speech_tokenizer.decoder.named_modules())[""]
    model.speech_tokenizer.decoder = None
    decoder.set_dtype(mx.float32)
    return decoder


def tidy() -> None:
    """Give back what MLX keeps of an utterance for the next one: of other lengths, little of it would ever fit again."""
    import mlx.core as mx

    mx.clear_cache()


def memory() -> DeviceMemory:
    """What MLX holds now, its own reserve included, of a memory that it shares with the processor."""
    import mlx.core as mx

    total = mx.device_info().get("memory_size")
    return DeviceMemory(mx.get_active_memory() + mx.get_cache_memory(), None, int(total) if total else None)


def _small(names: dict[str, Any] | None) -> dict[str, Any]:
    return {name.lower(): value for name, value in (names or {}).items()}


@contextlib.contextmanager
def _layout_known(directory: Path) -> Iterator[None]:
    """The package guesses from its shape which way a convolution lies, and guesses wrong for narrow ones.

    A file that was written with PyTorch says so, and then there is nothing to guess.
    """
    from mlx_audio.tts.models.qwen3_tts import qwen3_tts

    guess = qwen3_tts.check_array_shape_qwen3
    if all(_written_with_pytorch(directory / name) for name in _WEIGHTS):
        qwen3_tts.check_array_shape_qwen3 = lambda _: False
    try:
        yield
    finally:
        qwen3_tts.check_array_shape_qwen3 = guess


def _written_with_pytorch(path: Path) -> bool:
    """https://github.com/huggingface/safetensors#format; a model in several files is never narrow."""
    if not path.exists():
        return False
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return bool(header.get("__metadata__", {}).get("format") == "pt")
