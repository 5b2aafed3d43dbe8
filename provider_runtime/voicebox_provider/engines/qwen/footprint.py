"""How much memory a checkpoint takes, told from the headers of its files before anything of it is loaded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import msgspec

_SIZES = {"float32": 4, "bfloat16": 2}


class _Tensor(msgspec.Struct):
    """A line of a safetensors header. `__metadata__` stands among them, and has no values."""

    shape: tuple[int, ...] = (0,)


def values(file: Path) -> int:
    """How many numbers a safetensors file holds, which has been read before and is whole."""
    with file.open("rb") as opened:
        header = opened.read(int.from_bytes(opened.read(8), "little"))
    return sum(math.prod(each.shape) for each in msgspec.json.decode(header, type=dict[str, _Tensor]).values())


def weights(files: Sequence[Path], dtype: str) -> int:
    """Bytes of all weights. The last file is the codec's, which are float32 in any case."""
    *model, codec = files
    return _SIZES[dtype] * sum(values(file) for file in model) + _SIZES["float32"] * values(codec)
