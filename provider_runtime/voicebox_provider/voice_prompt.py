"""The voice prompt of the Qwen3-TTS engines: what is left of a recording once it has been listened to, as a few kilobytes.

The bytes are a MessagePack map and the same whatever made them, so that a prompt made on one device, or by one of the engines, serves
another with the same checkpoint. They come from outside: everything in them is bounded and looked at before it is used.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from voicebox_protocol.errors import BadPrompt

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FORMAT = 1
BOOKS = 16
MAX_BYTES = 128 * 1024
MAX_STEPS = 1024
MAX_WIDTH = 8192
MAX_TEXT = 4096

_KEY = re.compile(r"[0-9a-f]{64}")
_AGAIN = "prepare it again from the recording"


class VoicePrompt(msgspec.Struct, frozen=True, kw_only=True):
    """How a speaker sounds. `codes` are int16 little-endian of shape (T, 16), step by step; `embedding` is float32
    little-endian of shape (D,). In mode `in_context` the model hears `codes` and `text`, which belong together, as its own past;
    in mode `x_vector` it knows the embedding alone, and both are empty. `key` is what `key_of` gave.
    """

    format: int = FORMAT
    key: Annotated[str, msgspec.Meta(min_length=64, max_length=64)]
    model: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    revision: Annotated[str, msgspec.Meta(max_length=64)]
    mode: Literal["in_context", "x_vector"]
    codes: Annotated[bytes, msgspec.Meta(max_length=MAX_STEPS * BOOKS * 2)] = b""
    embedding: Annotated[bytes, msgspec.Meta(min_length=4, max_length=MAX_WIDTH * 4)]
    text: Annotated[str, msgspec.Meta(max_length=MAX_TEXT)] = ""

    @property
    def code_steps(self) -> npt.NDArray[np.int16]:
        """`codes` as an array, (T, 16), that cannot be written."""
        import numpy as np

        return np.frombuffer(self.codes, "<i2").reshape(-1, BOOKS)

    @property
    def speaker(self) -> npt.NDArray[np.float32]:
        """`embedding` as an array, (D,), that cannot be written."""
        import numpy as np

        return np.frombuffer(self.embedding, "<f4")


class _Version(msgspec.Struct):
    format: int


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(VoicePrompt).decode
_decode_version = msgspec.msgpack.Decoder(_Version).decode


def encode(prompt: VoicePrompt) -> bytes:
    """A prompt to bytes, at most `MAX_BYTES`. Equal prompts give equal bytes. Raises `BadPrompt` for one that `decode` would refuse."""
    data = _encode(prompt)
    decode(data)
    return data


def decode(data: bytes, *, model: str = "", revision: str = "", book_size: int = 32768, width: int = 0) -> VoicePrompt:
    """Bytes from anywhere to a prompt that is whole.

    With `revision` it has to be made for that checkpoint, whatever `model` is called; `book_size` and `width` are how many codes its codec
    has and how wide its embedding is. Raises `BadPrompt`, naming both models where they differ, and nothing else.
    """
    if len(data) > MAX_BYTES:
        raise BadPrompt(
            f"the voice prompt has {len(data)} bytes, more than the {MAX_BYTES} that one can have; {_AGAIN}"
        )
    try:
        found = _decode_version(data).format
        if found != FORMAT:
            raise BadPrompt(f"the voice prompt is of format {found}, and format {FORMAT} is read here; {_AGAIN}")
        prompt = _decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise BadPrompt(f"these bytes are no voice prompt: {error}; {_AGAIN}") from None
    _check_whole(prompt)
    _check_numbers(prompt, book_size, width)
    if revision and prompt.revision != revision:
        raise BadPrompt(_foreign(prompt, model, revision))
    return prompt


def key_of(samples: npt.NDArray[np.float32], sample_rate: int, text: str, model: str, revision: str) -> str:
    """What names a prompt: the SHA-256, in hexadecimal, of all that it is made from. `text` is empty in mode x_vector.

    `samples` have shape (frames,).
    """
    digest = hashlib.sha256()
    mode = "in_context" if text else "x_vector"
    for part in (f"{FORMAT}", model, revision, mode, text, f"{sample_rate}"):
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(4, "little"))
        digest.update(encoded)
    digest.update(samples.astype("<f4", copy=False).tobytes())
    return digest.hexdigest()


def _check_whole(prompt: VoicePrompt) -> None:
    whole = _KEY.fullmatch(prompt.key) and not len(prompt.codes) % (2 * BOOKS) and not len(prompt.embedding) % 4
    in_context = prompt.mode == "in_context"
    if not whole or in_context != bool(prompt.codes) or in_context != bool(prompt.text):
        raise BadPrompt(f"the voice prompt is damaged: its parts do not fit one another; {_AGAIN}")


def _check_numbers(prompt: VoicePrompt, book_size: int, width: int) -> None:
    """Codes index a table, and an embedding that is not finite would make all of the sound so."""
    import numpy as np

    codes, speaker = prompt.code_steps, prompt.speaker
    if codes.size and not 0 <= codes.min() <= codes.max() < book_size:
        raise BadPrompt(f"the voice prompt is damaged: a code is not below {book_size}; {_AGAIN}")
    if not np.isfinite(speaker).all():
        raise BadPrompt(f"the voice prompt is damaged: its embedding is not finite; {_AGAIN}")
    if width and len(speaker) != width:
        raise BadPrompt(
            f"the voice prompt's embedding has {len(speaker)} numbers, and the model's has {width}; {_AGAIN}"
        )


def _foreign(prompt: VoicePrompt, model: str, revision: str) -> str:
    if prompt.model != model:
        return f"the voice prompt was made for {prompt.model}, and {model} speaks here; {_AGAIN} with this model"
    return f"the voice prompt was made for other weights of {model} ({prompt.revision}, not {revision}); {_AGAIN}"
