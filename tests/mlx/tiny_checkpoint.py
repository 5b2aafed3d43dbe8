"""Random weights in the form of a Qwen3-TTS 12 Hz checkpoint, written with numpy alone: what writes it for PyTorch cannot live beside MLX.

    python -m tests.mlx.tiny_checkpoint DIRECTORY [VARIANT]

The configuration is that of `tests.qwen.tiny_checkpoint`, and the package qwen-tts loads the files too. No weight is idle: no norm is
all one, no book of codes all zero, no residual nearly nothing. The end of speech is as likely as any code when codes are sampled, and
never the likeliest.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tests.qwen import tiny_checkpoint as for_torch

VARIANTS = for_torch.VARIANTS
BOOK_SIZE = 64

_BOOKS = 16
_ENCODER = for_torch._CODEC_ENCODERS["tiny"]
_DECODER = {
    **for_torch._CODEC_DECODERS["tiny"],
    "codebook_size": BOOK_SIZE,
    "num_quantizers": _BOOKS,
    "upsample_rates": [8, 5, 4, 3],
    "upsampling_ratios": [2, 2],
}
# As loud as speech: beyond 1 the decoder clips, and one clipped sample is as good as another.
_LOUDNESS = 0.07

Weights = dict[str, npt.NDArray[np.float32]]


class _Random:
    """Owns the weights of one file and what they are drawn from."""

    def __init__(self, seed: int) -> None:
        self.weights: Weights = {}
        self._draw = np.random.default_rng(seed)

    def normal(self, name: str, *shape: int, scale: float = 1.0) -> None:
        self.weights[name] = (self._draw.standard_normal(shape) * scale).astype(np.float32)

    def uniform(self, name: str, *shape: int, low: float = 0.5, high: float = 1.5) -> None:
        self.weights[name] = self._draw.uniform(low, high, shape).astype(np.float32)

    def layer(self, name: str, *shape: int, bias: int = 0, scale: float = 0.0) -> None:
        """A linear layer or a convolution, (out, in, ...); by itself it makes nothing louder or quieter."""
        self.normal(f"{name}.weight", *shape, scale=scale or (shape[0] / np.prod(shape)) ** 0.5)
        if bias:
            self.normal(f"{name}.bias", bias, scale=0.1)


def write(directory: Path, variant: str = "custom_voice", *, seed: int = 0, max_new_tokens: int = 64) -> Path:
    """Write a checkpoint of a variant into `directory`, which is returned. Equal arguments give equal weights."""
    codec = directory / "speech_tokenizer"
    codec.mkdir(parents=True, exist_ok=True)
    tokens = _write_text_tokenizer(directory)
    config = for_torch._config(variant, "tiny", tokens, "float32")
    _write_json(directory / "config.json", config)
    _write_json(directory / "generation_config.json", for_torch._generation(max_new_tokens))
    _write_weights(directory / "model.safetensors", _model(config, seed))
    _write_json(codec / "config.json", _codec_config())
    _write_json(codec / "preprocessor_config.json", _LISTENING)
    _write_weights(codec / "model.safetensors", _codec(seed))
    return directory


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")


def _write_weights(path: Path, weights: Weights) -> None:
    """https://github.com/huggingface/safetensors#format"""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, values in weights.items():
        header[name] = {"dtype": "F32", "shape": values.shape, "data_offsets": [end, end + values.nbytes]}
        end += values.nbytes
    encoded = json.dumps(header).encode()
    encoded += b" " * (-len(encoded) % 8)
    with path.open("wb") as file:
        file.write(len(encoded).to_bytes(8, "little") + encoded)
        for values in weights.values():
            file.write(values.tobytes())


# --- the text


def _write_text_tokenizer(directory: Path) -> dict[str, int]:
    """As `tests.qwen.tiny_checkpoint` writes it: letters, and two words that have to be a token each. The ids of what has a meaning."""
    vocabulary = {letter: number for number, letter in enumerate(_letters())}
    merges = ["#version: 0.2"]
    for word in for_torch._WORDS:
        for end in range(1, len(word)):
            merges.append(f"{word[:end]} {word[end]}")
            vocabulary.setdefault(word[: end + 1], len(vocabulary))
    marks = {mark: len(vocabulary) + number for number, mark in enumerate(("<|endoftext|>", *for_torch._TEXT_MARKS))}
    _write_json(directory / "vocab.json", vocabulary)
    (directory / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")
    plain = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    _write_json(
        directory / "tokenizer_config.json",
        {
            "added_tokens_decoder": {str(number): {"content": mark, **plain} for mark, number in marks.items()},
            "additional_special_tokens": list(for_torch._TEXT_MARKS),
            "eos_token": "<|endoftext|>",
            "pad_token": "<|endoftext|>",
            "unk_token": "<|endoftext|>",
            "errors": "replace",
            "processor_class": "Qwen3TTSProcessor",
            "tokenizer_class": "Qwen2Tokenizer",
        },
    )
    return {**marks, "assistant": vocabulary["assistant"]}


def _letters() -> Iterator[str]:
    """The letter that stands for each byte in GPT-2's tokenizer: itself where it can be seen, else one from 256 on."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    yield from map(chr, seen)
    yield from map(chr, range(256, 512 - len(seen)))


# --- the model


def _model(config: dict[str, Any], seed: int) -> Weights:
    random, talker = _Random(seed), config["talker_config"]
    predictor, width, hearing = talker["code_predictor_config"], talker["hidden_size"], talker["text_hidden_size"]
    random.normal("talker.model.codec_embedding.weight", talker["vocab_size"], width, scale=0.1)
    random.normal("talker.model.text_embedding.weight", talker["text_vocab_size"], hearing, scale=0.1)
    random.layer("talker.text_projection.linear_fc1", hearing, hearing, bias=hearing)
    random.layer("talker.text_projection.linear_fc2", width, hearing, bias=width)
    _transformer(random, "talker.model", talker)
    random.normal("talker.codec_head.weight", talker["vocab_size"], width, scale=0.1)
    # In the middle of the logits, whatever the state.
    random.weights["talker.codec_head.weight"][talker["codec_eos_token_id"]] = 0
    _transformer(random, "talker.code_predictor.model", predictor)
    for book in range(_BOOKS - 1):
        name = "talker.code_predictor"
        random.normal(f"{name}.model.codec_embedding.{book}.weight", BOOK_SIZE, width, scale=0.1)
        random.normal(f"{name}.lm_head.{book}.weight", BOOK_SIZE, predictor["hidden_size"], scale=0.1)
    if predictor["hidden_size"] != width:
        own = predictor["hidden_size"]
        random.layer("talker.code_predictor.small_to_mtp_projection", own, width, bias=own)
    if config["tts_model_type"] == "base":
        _speaker_encoder(random, config["speaker_encoder_config"])
    return random.weights


def _transformer(random: _Random, name: str, config: dict[str, Any]) -> None:
    width, inner, head = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * head, config["num_key_value_heads"] * head
    for number in range(config["num_hidden_layers"]):
        layer = f"{name}.layers.{number}"
        shapes = {"q": (queries, width), "k": (keys, width), "v": (keys, width), "o": (width, queries)}
        for which, shape in shapes.items():
            random.normal(f"{layer}.self_attn.{which}_proj.weight", *shape, scale=0.1)
        for which in ("q", "k"):
            random.uniform(f"{layer}.self_attn.{which}_norm.weight", head)
        for which, shape in {"gate": (inner, width), "up": (inner, width), "down": (width, inner)}.items():
            random.normal(f"{layer}.mlp.{which}_proj.weight", *shape, scale=0.1)
        random.uniform(f"{layer}.input_layernorm.weight", width)
        random.uniform(f"{layer}.post_attention_layernorm.weight", width)
    random.uniform(f"{name}.norm.weight", width)


def _speaker_encoder(random: _Random, config: dict[str, Any]) -> None:
    """ECAPA-TDNN (https://arxiv.org/abs/2005.07143), of which the branches of a Res2Net share the channels."""
    wide, squeezed, whole = config["enc_channels"][0], config["enc_se_channels"], config["enc_channels"][-1]
    attentive, part = config["enc_attention_channels"], wide // 8
    random.layer("speaker_encoder.blocks.0.conv", wide, 128, 5, bias=wide)
    for number in (1, 2, 3):
        name = f"speaker_encoder.blocks.{number}"
        random.layer(f"{name}.tdnn1.conv", wide, wide, 1, bias=wide)
        for branch in range(7):
            random.layer(f"{name}.res2net_block.blocks.{branch}.conv", part, part, 3, bias=part)
        random.layer(f"{name}.tdnn2.conv", wide, wide, 1, bias=wide)
        random.layer(f"{name}.se_block.conv1", squeezed, wide, 1, bias=squeezed)
        random.layer(f"{name}.se_block.conv2", wide, squeezed, 1, bias=wide)
    random.layer("speaker_encoder.mfa.conv", whole, 3 * wide, 1, bias=whole)
    random.layer("speaker_encoder.asp.tdnn.conv", attentive, 3 * whole, 1, bias=attentive)
    random.layer("speaker_encoder.asp.conv", whole, attentive, 1, bias=whole)
    random.layer("speaker_encoder.fc", config["enc_dim"], 2 * whole, 1, bias=config["enc_dim"])


# --- the codec

_LISTENING = {
    "feature_extractor_type": "EncodecFeatureExtractor",
    "feature_size": 1,
    "padding_side": "right",
    "padding_value": 0.0,
    "return_attention_mask": True,
    "sampling_rate": 24000,
}


def _codec_config() -> dict[str, Any]:
    return {
        "architectures": ["Qwen3TTSTokenizerV2Model"],
        "model_type": "qwen3_tts_tokenizer_12hz",
        "encoder_config": {**_ENCODER, "model_type": "mimi", "use_cache": False, "use_streaming": False},
        "decoder_config": _DECODER,
        "encoder_valid_num_quantizers": 16,
        "input_sample_rate": 24000,
        "output_sample_rate": 24000,
        "decode_upsample_rate": 1920,
        "encode_downsample_rate": 1920,
        "dtype": "float32",
        "transformers_version": "4.57.3",
    }


def _codec(seed: int) -> Weights:
    random = _Random(seed + 1)
    _decoder(random)
    _encoder(random)
    return random.weights


def _decoder(random: _Random) -> None:
    wide, latent = _DECODER["codebook_dim"], _DECODER["latent_dim"]
    for half, books in {"first": 1, "rest": _BOOKS - 1}.items():
        name = f"decoder.quantizer.rvq_{half}"
        random.layer(f"{name}.input_proj", wide // 2, wide, 1)
        random.layer(f"{name}.output_proj", wide, wide // 2, 1)
        for book in range(books):
            random.uniform(f"{name}.vq.layers.{book}._codebook.cluster_usage", BOOK_SIZE, high=2)
            random.normal(f"{name}.vq.layers.{book}._codebook.embedding_sum", BOOK_SIZE, wide // 2)
    random.layer("decoder.pre_conv.conv", latent, wide, 3, bias=latent)
    _codec_transformer(random, "decoder.pre_transformer")
    for number, ratio in enumerate(_DECODER["upsampling_ratios"]):
        name = f"decoder.upsample.{number}"
        random.layer(f"{name}.0.conv", latent, latent, ratio, bias=latent)
        random.layer(f"{name}.1.dwconv.conv", latent, 1, 7, bias=latent)
        random.uniform(f"{name}.1.norm.weight", latent)
        random.normal(f"{name}.1.norm.bias", latent, scale=0.1)
        random.layer(f"{name}.1.pwconv1", 4 * latent, latent, bias=4 * latent)
        random.layer(f"{name}.1.pwconv2", latent, 4 * latent, bias=latent)
        random.uniform(f"{name}.1.gamma", latent, low=0.2, high=0.6)
    _sounding(random, latent)


def _codec_transformer(random: _Random, name: str) -> None:
    latent, own, inner = _DECODER["latent_dim"], _DECODER["hidden_size"], _DECODER["intermediate_size"]
    heads = _DECODER["num_attention_heads"] * _DECODER["head_dim"]
    random.layer(f"{name}.input_proj", own, latent, bias=own)
    random.layer(f"{name}.output_proj", latent, own, bias=latent)
    random.uniform(f"{name}.norm.weight", own)
    for number in range(_DECODER["num_hidden_layers"]):
        layer = f"{name}.layers.{number}"
        for which in ("q", "k", "v"):
            random.layer(f"{layer}.self_attn.{which}_proj", heads, own)
        random.layer(f"{layer}.self_attn.o_proj", own, heads)
        for which, shape in {"gate": (inner, own), "up": (inner, own), "down": (own, inner)}.items():
            random.layer(f"{layer}.mlp.{which}_proj", *shape)
        for which in ("input_layernorm", "post_attention_layernorm"):
            random.uniform(f"{layer}.{which}.weight", own)
        for which in ("self_attn_layer_scale", "mlp_layer_scale"):
            random.uniform(f"{layer}.{which}.scale", own, low=0.2, high=0.6)


def _sounding(random: _Random, latent: int) -> None:
    wide = _DECODER["decoder_dim"]
    random.layer("decoder.decoder.0.conv", wide, latent, 7, bias=wide)
    for number, rate in enumerate(_DECODER["upsample_rates"], 1):
        name, narrow = f"decoder.decoder.{number}.block", wide // 2
        _snake(random, f"{name}.0", wide)
        # Each sample is heard from two taps.
        random.layer(f"{name}.1.conv", wide, narrow, 2 * rate, bias=narrow, scale=(2 * wide) ** -0.5)
        for unit in (2, 3, 4):
            _snake(random, f"{name}.{unit}.act1", narrow)
            random.layer(f"{name}.{unit}.conv1.conv", narrow, narrow, 7, bias=narrow)
            _snake(random, f"{name}.{unit}.act2", narrow)
            random.layer(f"{name}.{unit}.conv2.conv", narrow, narrow, 1, bias=narrow, scale=0.3 * narrow**-0.5)
        wide = narrow
    last = len(_DECODER["upsample_rates"]) + 1
    _snake(random, f"decoder.decoder.{last}", wide)
    random.layer(f"decoder.decoder.{last + 1}.conv", 1, wide, 7, bias=1)
    random.weights[f"decoder.decoder.{last + 1}.conv.weight"] *= _LOUDNESS
    random.weights[f"decoder.decoder.{last + 1}.conv.bias"][:] = 0


def _snake(random: _Random, name: str, channels: int) -> None:
    random.normal(f"{name}.alpha", channels, scale=0.2)
    random.normal(f"{name}.beta", channels, scale=0.2)


def _encoder(random: _Random) -> None:
    """Mimi's (https://arxiv.org/abs/2410.00037)."""
    wide, own, inner = _ENCODER["num_filters"], _ENCODER["hidden_size"], _ENCODER["intermediate_size"]
    random.layer("encoder.encoder.layers.0.conv", wide, 1, 7, bias=wide)
    for number, ratio in enumerate((4, 5, 6, 8)):
        name = f"encoder.encoder.layers.{3 * number + 1}.block"
        random.layer(f"{name}.1.conv", wide // 2, wide, 3, bias=wide // 2)
        random.layer(f"{name}.3.conv", wide, wide // 2, 1, bias=wide)
        random.layer(f"encoder.encoder.layers.{3 * number + 3}.conv", 2 * wide, wide, 2 * ratio, bias=2 * wide)
        wide *= 2
    random.layer("encoder.encoder.layers.14.conv", own, wide, 3, bias=own)
    for number in range(_ENCODER["num_hidden_layers"]):
        layer = f"encoder.encoder_transformer.layers.{number}"
        for which in ("q", "k", "v", "o"):
            random.layer(f"{layer}.self_attn.{which}_proj", own, own)
        random.layer(f"{layer}.mlp.fc1", inner, own)
        random.layer(f"{layer}.mlp.fc2", own, inner)
        for which in ("input_layernorm", "post_attention_layernorm"):
            random.uniform(f"{layer}.{which}.weight", own)
            random.normal(f"{layer}.{which}.bias", own, scale=0.1)
        for which in ("self_attn_layer_scale", "mlp_layer_scale"):
            random.uniform(f"{layer}.{which}.scale", own, low=0.2, high=0.6)
    random.layer("encoder.downsample.conv", own, own, 4)
    _encoder_books(random, own)


def _encoder_books(random: _Random, own: int) -> None:
    narrow = _ENCODER["codebook_dim"]
    for half, books in {"semantic": 1, "acoustic": _BOOKS - 1}.items():
        name = f"encoder.quantizer.{half}_residual_vector_quantizer"
        random.layer(f"{name}.input_proj", narrow, own, 1)
        random.layer(f"{name}.output_proj", own, narrow, 1)
        for book in range(books):
            random.uniform(f"{name}.layers.{book}.codebook.cluster_usage", BOOK_SIZE, high=2)
            random.normal(f"{name}.layers.{book}.codebook.embed_sum", BOOK_SIZE, narrow)
            random.weights[f"{name}.layers.{book}.codebook.initialized"] = np.ones(1, np.float32)


if __name__ == "__main__":
    write(Path(sys.argv[1]), *sys.argv[2:3])
