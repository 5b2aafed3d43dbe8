"""The package qwen-tts: imported without what only its 25 Hz models need, and its checkpoints, loaded from a directory and never
from a hub.
"""

from __future__ import annotations

import os
import sys
import warnings
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from voicebox_provider.engine import PermanentFault

if TYPE_CHECKING:
    import torch

_NEEDED = ("torch", "transformers", "librosa", "einops", "qwen_tts")
# torchaudio's wheel wants CUDA's libraries even where torch does without, sox a program of that name, and onnxruntime opens
# a database to report from.
_UNUSED = ("torchaudio", "torchaudio.compliance", "torchaudio.compliance.kaldi", "sox", "onnxruntime")


def require() -> None:
    """Raise `PermanentFault`, with the command that installs what is missing, unless all is there."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise PermanentFault(
            f"{missing[0]} is not installed; `voicebox provider install pytorch-cpu` brings an engine with all its packages"
        )


def import_qwen_tts() -> Any:
    """The module `qwen_tts`. What it imports for models that we do not run is replaced by empty modules first."""
    for name in _UNUSED:
        _stand_in(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import qwen_tts

    return qwen_tts


def load(directory: Path, dtype: torch.dtype, device: str) -> Any:
    """A `Qwen3TTSModel` from a checkpoint's directory, its weights as `dtype` on `device`. Asks no hub for anything."""
    # Read when the package is imported; a directory alone would not keep it from asking whether there is a newer one.
    os.environ["HF_HUB_OFFLINE"] = "1"
    wrapper = import_qwen_tts().Qwen3TTSModel.from_pretrained(
        str(directory), dtype=dtype, attn_implementation="sdpa", local_files_only=True
    )
    wrapper.model.to(device)
    wrapper.model.speech_tokenizer.model.to(device)
    wrapper.device = wrapper.model.device
    talker = wrapper.model.config.talker_config
    # Looked up in small letters, whatever the checkpoint has: a speaker with a capital would never be found.
    talker.spk_id, talker.spk_is_dialect = (_small(names) for names in (talker.spk_id, talker.spk_is_dialect))
    wrapper.model.supported_speakers = talker.spk_id.keys()
    return wrapper


def _small(names: dict[str, Any]) -> dict[str, Any]:
    return {name.lower(): value for name, value in names.items()}


def _stand_in(name: str) -> None:
    if name in sys.modules:
        return
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, loader=None)
    sys.modules[name] = module
    parent, _, own = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], own, module)
