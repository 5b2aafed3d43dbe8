"""Random weights in the form of a Qwen3-TTS 12 Hz checkpoint, which the package loads like any other: nothing is downloaded.

    python -m tests.qwen.tiny_checkpoint DIRECTORY [VARIANT] [SCALE]

No weight is as idle as the package makes it: norms are not all one and codebooks not all zero, so that leaving one out shows. The end
of speech is as likely as any code when codes are sampled, and never the likeliest.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from voicebox_provider.engines.qwen.package import import_qwen_tts

if TYPE_CHECKING:
    import torch

VARIANTS = ("custom_voice", "voice_design", "base")

_LANGUAGES = {
    "chinese": 2055,
    "english": 2050,
    "german": 2053,
    "italian": 2070,
    "portuguese": 2071,
    "spanish": 2054,
    "japanese": 2058,
    "korean": 2064,
    "french": 2061,
    "russian": 2069,
}
_SPEAKERS = {"serena": 3066, "ryan": 3061, "vivian": 3065}
_MARKS = {
    "codec_pad_id": 2148,
    "codec_bos_id": 2149,
    "codec_eos_token_id": 2150,
    "codec_think_id": 2154,
    "codec_nothink_id": 2155,
    "codec_think_bos_id": 2156,
    "codec_think_eos_id": 2157,
}
_TEXT_MARKS = ("<|im_start|>", "<|im_end|>", "<tts_pad>", "<tts_text_bos>", "<tts_text_eod>")
_WORDS = ("assistant", "user")
_CONTROLS = 1024

_TALKERS: dict[str, dict[str, Any]] = {
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rope_scaling": {"interleaved": True, "mrope_section": [4, 2, 2], "rope_type": "default"},
        "text_hidden_size": 48,
        "text_vocab_size": 320,
        "initializer_range": 0.1,
    },
    "1.7b": {
        "hidden_size": 2048,
        "intermediate_size": 6144,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "rope_scaling": {"interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default"},
        "text_hidden_size": 2048,
        "text_vocab_size": 151936,
    },
    "0.6b": {
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "rope_scaling": {"interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default"},
        "text_hidden_size": 2048,
        "text_vocab_size": 151936,
    },
}
_PREDICTORS: dict[str, dict[str, Any]] = {
    "tiny": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "initializer_range": 0.1,
    },
    "0.6b": {
        "hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 5,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
    },
}
_SPEAKER_ENCODERS: dict[str, dict[str, Any]] = {
    "tiny": {"enc_channels": [32, 32, 32, 32, 96], "enc_attention_channels": 16, "enc_se_channels": 16},
    "0.6b": {},
}
_CODEC_ENCODERS: dict[str, dict[str, Any]] = {
    "tiny": {
        "hidden_size": 32,
        "num_filters": 4,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "intermediate_size": 64,
        "codebook_size": 64,
        "codebook_dim": 16,
        "num_quantizers": 16,
        "vector_quantization_hidden_dimension": 16,
        "upsample_groups": 32,
    },
    "0.6b": {},
}
_CODEC_DECODERS: dict[str, dict[str, Any]] = {
    "tiny": {
        "codebook_dim": 32,
        "decoder_dim": 64,
        "latent_dim": 32,
        "hidden_size": 32,
        "intermediate_size": 64,
        "head_dim": 16,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "num_hidden_layers": 1,
    },
    "0.6b": {
        "codebook_dim": 512,
        "decoder_dim": 1536,
        "latent_dim": 1024,
        "hidden_size": 512,
        "intermediate_size": 1024,
        "head_dim": 64,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "num_hidden_layers": 8,
    },
}
_BOOK_SIZES = {"tiny": 64, "0.6b": 2048}
# The two sizes differ in the talker alone.
for _same in (_PREDICTORS, _SPEAKER_ENCODERS, _CODEC_ENCODERS, _CODEC_DECODERS, _BOOK_SIZES):
    _same["1.7b"] = _same["0.6b"]  # type: ignore[index]


def write(
    directory: Path,
    variant: str = "custom_voice",
    *,
    scale: str = "tiny",
    seed: int = 0,
    max_new_tokens: int = 64,
    dtype: str = "float32",
) -> Path:
    """Write a checkpoint of a variant into `directory`, which is returned. Equal arguments give equal weights.

    The voice design model is of the larger kind, as it is in the world: its code predictor is narrower than its talker.
    """
    import_qwen_tts()
    import torch

    directory.mkdir(parents=True, exist_ok=True)
    tokens = _write_text_tokenizer(directory)
    config = _config(variant, scale, tokens, dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        _talking_model(config).to(getattr(torch, dtype)).save_pretrained(directory)
        _write_codec(directory / "speech_tokenizer", scale, dtype)
    # The package cannot write its own speaker encoder's configuration.
    (directory / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    (directory / "generation_config.json").write_text(
        json.dumps(_generation(max_new_tokens), indent=1), encoding="utf-8"
    )
    return directory


def _write_text_tokenizer(directory: Path) -> dict[str, int]:
    """Letters, and the two words that a prompt is cut by, which have to be a token each. The ids of what has a meaning."""
    from qwen_tts.core.models.processing_qwen3_tts import Qwen3TTSProcessor
    from transformers import Qwen2TokenizerFast
    from transformers.models.gpt2.tokenization_gpt2 import bytes_to_unicode

    vocabulary = {letter: number for number, letter in enumerate(bytes_to_unicode().values())}
    merges = ["#version: 0.2"]
    for word in _WORDS:
        for end in range(1, len(word)):
            merges.append(f"{word[:end]} {word[end]}")
            vocabulary.setdefault(word[: end + 1], len(vocabulary))
    vocabulary_file, merges_file = directory / "vocab.json", directory / "merges.txt"
    vocabulary_file.write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    merges_file.write_text("\n".join(merges) + "\n", encoding="utf-8")
    tokenizer = Qwen2TokenizerFast(vocab_file=str(vocabulary_file), merges_file=str(merges_file))
    tokenizer.add_special_tokens({"additional_special_tokens": list(_TEXT_MARKS)})
    Qwen3TTSProcessor(tokenizer=tokenizer).save_pretrained(directory)
    return {token: tokenizer.convert_tokens_to_ids(token) for token in (*_TEXT_MARKS, "assistant")}


def _config(variant: str, scale: str, tokens: dict[str, int], dtype: str) -> dict[str, Any]:
    book_size = _BOOK_SIZES[scale]
    # Above the codes, in the order that they have in the world.
    shift = book_size - _BOOK_SIZES["0.6b"]
    speakers = _SPEAKERS if variant == "custom_voice" else {}
    predictor = {**_PREDICTORS[scale], "vocab_size": book_size, "num_code_groups": 16, "rope_theta": 1000000}
    if variant == "voice_design" and scale != "1.7b":
        predictor["hidden_size"] //= 2
    talker = {
        **_TALKERS[scale],
        **{name: number + shift for name, number in _MARKS.items()},
        "model_type": "qwen3_tts_talker",
        "vocab_size": book_size + _CONTROLS,
        "rope_theta": 1000000,
        "num_code_groups": 16,
        "codec_language_id": {name: number + shift for name, number in _LANGUAGES.items()},
        "spk_id": {name: number + shift for name, number in speakers.items()},
        "spk_is_dialect": dict.fromkeys(speakers, False),
        "pad_token_id": None,
        "code_predictor_config": predictor,
    }
    return {
        "architectures": ["Qwen3TTSForConditionalGeneration"],
        "model_type": "qwen3_tts",
        "tokenizer_type": "qwen3_tts_tokenizer_12hz",
        "tts_model_size": "1b7" if variant == "voice_design" or scale == "1.7b" else "0b6",
        "tts_model_type": variant,
        "im_start_token_id": tokens["<|im_start|>"],
        "im_end_token_id": tokens["<|im_end|>"],
        "tts_pad_token_id": tokens["<tts_pad>"],
        "tts_bos_token_id": tokens["<tts_text_bos>"],
        "tts_eos_token_id": tokens["<tts_text_eod>"],
        "assistant_token_id": tokens["assistant"],
        "speaker_encoder_config": {**_SPEAKER_ENCODERS[scale], "enc_dim": talker["hidden_size"], "sample_rate": 24000},
        "talker_config": talker,
        "dtype": dtype,
        "transformers_version": "4.57.3",
    }


def _generation(max_new_tokens: int) -> dict[str, Any]:
    return {
        "do_sample": True,
        "top_k": 50,
        "top_p": 1.0,
        "temperature": 0.9,
        "repetition_penalty": 1.05,
        "subtalker_dosample": True,
        "subtalker_top_k": 50,
        "subtalker_top_p": 1.0,
        "subtalker_temperature": 0.9,
        "max_new_tokens": max_new_tokens,
    }


def _talking_model(config: dict[str, Any]) -> Any:
    import torch
    from qwen_tts.core.models.configuration_qwen3_tts import Qwen3TTSConfig
    from qwen_tts.core.models.modeling_qwen3_tts import Qwen3TTSForConditionalGeneration

    # As keywords, and without the kind of the talker, which its class knows.
    talker = {name: setting for name, setting in config["talker_config"].items() if name != "model_type"}
    model = Qwen3TTSForConditionalGeneration(Qwen3TTSConfig(**{**config, "talker_config": talker})).eval()
    with torch.no_grad():
        for name, weights in model.named_parameters():
            if name.endswith("norm.weight"):
                weights.uniform_(0.5, 1.5)
        # In the middle of the logits, whatever the state.
        model.talker.codec_head.weight[config["talker_config"]["codec_eos_token_id"]] = 0
    return model


def _write_codec(directory: Path, scale: str, dtype: str) -> None:
    import torch
    from qwen_tts.core.tokenizer_12hz.configuration_qwen3_tts_tokenizer_v2 import Qwen3TTSTokenizerV2Config
    from qwen_tts.core.tokenizer_12hz.modeling_qwen3_tts_tokenizer_v2 import Qwen3TTSTokenizerV2Model
    from transformers import EncodecFeatureExtractor

    decoder = {
        **_CODEC_DECODERS[scale],
        "codebook_size": _BOOK_SIZES[scale],
        "num_quantizers": 16,
        "upsample_rates": [8, 5, 4, 3],
        "upsampling_ratios": [2, 2],
    }
    config = Qwen3TTSTokenizerV2Config(encoder_config=_CODEC_ENCODERS[scale], decoder_config=decoder)
    model = Qwen3TTSTokenizerV2Model(config).eval()
    with torch.no_grad():
        for name, values in (*model.named_parameters(), *model.named_buffers()):
            if name.endswith(("embedding_sum", "embed_sum")):
                values.normal_()
        _tame(model.decoder, _BOOK_SIZES[scale])
    model.to(getattr(torch, dtype)).save_pretrained(directory)
    EncodecFeatureExtractor(
        feature_size=1, sampling_rate=24000, padding_value=0.0, return_attention_mask=True
    ).save_pretrained(directory)


def _tame(decoder: torch.nn.Module, book_size: int) -> None:
    """Make it as loud as speech: beyond ±1 the decoder clips, and one clipped sample is as good as another."""
    import torch

    loudness = decoder(torch.randint(0, book_size, (1, 16, 20))).std().item()
    last = decoder.decoder[-1].conv
    last.weight.mul_(0.1 / max(loudness, 1e-9))
    if last.bias is not None:
        last.bias.zero_()


if __name__ == "__main__":
    write(Path(sys.argv[1]), *sys.argv[2:3], scale=(*sys.argv[3:4], "tiny")[0])
