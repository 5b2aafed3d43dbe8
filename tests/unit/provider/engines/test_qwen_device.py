"""What is said of a device that is unfit, and when there is room on one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from voicebox_provider.engine import PermanentFault, TemporaryFault
from voicebox_provider.engines.qwen import device, footprint
from voicebox_provider.host_memory import Room

# As PyTorch 2.13, its CPU build and older ones word them.
NO_KERNEL = (
    "CUDA error: no kernel image is available for execution on the device\nSearch for `cudaErrorNoKernelImageForDevice'"
)
TOO_OLD = (
    "The NVIDIA driver on your system is too old (found version 11040). Please update your GPU driver by downloading and"
    " installing a new version."
)
FOUND_NONE = "Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed a driver from the net"


@pytest.fixture(autouse=True)
def _torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "version", lambda _: "2.13.0")


@pytest.mark.parametrize(
    ("said", "kind", "helps"),
    [
        (NO_KERNEL, PermanentFault, "was not built for this card"),
        ("CUDA driver version is insufficient for CUDA runtime version", PermanentFault, "update the driver"),
        (TOO_OLD, PermanentFault, "update the NVIDIA driver"),
        (FOUND_NONE, PermanentFault, "nvidia-smi"),
        ("Torch not compiled with CUDA enabled", PermanentFault, "voicebox provider install pytorch-cuda"),
        ("CUDA error: invalid device ordinal", PermanentFault, '`device = "cuda"` is the first'),
        ("No CUDA GPUs are available", PermanentFault, "shows no card"),
        ("CUDA out of memory. Tried to allocate 2.00 MiB.", TemporaryFault, "close other programs"),
        ("CUDA error: all CUDA-capable devices are busy or unavailable", TemporaryFault, "another program"),
        ("CUDA unknown error - this may be due to an incorrectly set up environment", PermanentFault, "after sleep"),
        ("something that nobody has seen", PermanentFault, "something that nobody has seen"),
    ],
)
def test_what_the_library_says_is_quoted_with_what_to_do(said: str, kind: type[Exception], helps: str) -> None:
    fault = device.unfit("cuda", said)
    words = str(fault)
    assert isinstance(fault, kind)
    assert words.startswith(f"PyTorch 2.13.0 cannot compute on cuda: {said.splitlines()[0].rstrip('.')}")
    assert helps in words
    assert words.endswith('`device = "cpu"` needs no card')
    assert "\n" not in words


def test_the_card_is_named_where_that_explains_something() -> None:
    words = str(device.unfit("cuda", NO_KERNEL, " (Tesla P40 has compute capability 6.1; this build has sm_75 sm_80)"))
    assert (
        "on the device (Tesla P40 has compute capability 6.1; this build has sm_75 sm_80); this PyTorch was not"
        in words
    )


def test_the_processor_has_no_other_advice_than_what_was_said() -> None:
    assert (
        str(device.unfit("cpu", "no such instruction.")) == "PyTorch 2.13.0 cannot compute on cpu: no such instruction"
    )


def test_one_that_finds_no_room_after_all_is_tried_again_later() -> None:
    said = "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried 8 bytes"
    with pytest.raises(TemporaryFault, match=r"can't allocate memory.*close other programs$"), device.explained("cpu"):
        raise RuntimeError(said)
    with pytest.raises(RuntimeError, match=r"^size mismatch$"), device.explained("cpu"):
        raise RuntimeError("size mismatch")


@pytest.mark.parametrize("room", [None, Room(4_000_000_000, 8_000_000_000)])
def test_where_there_is_room_or_nobody_tells_all_is_well(room: Room | None) -> None:
    device.check_room(4_000_000_000, room, name="m", device="cuda", dtype="float32")


@pytest.mark.parametrize(
    ("where", "dtype", "room", "kind", "words"),
    [
        (
            "cuda:1",
            "bfloat16",
            Room(3_210_000_000, 8_000_000_000),
            TemporaryFault,
            (
                "tts-1.7B needs 5.6 GB of memory on cuda:1 in bfloat16, and 3.2 GB are free; close other programs that use the"
                ' card, or take a smaller checkpoint, or set `device = "cpu"`'
            ),
        ),
        (
            "cpu",
            "float32",
            Room(3_210_000_000, 8_000_000_000),
            TemporaryFault,
            (
                "tts-1.7B needs 5.6 GB of memory on cpu in float32, and 3.2 GB are free; close other programs, or take a smaller"
                ' checkpoint, or set `dtype = "bfloat16"`, which takes about half'
            ),
        ),
        (
            "cuda",
            "float32",
            Room(1, 4_000_000_000),
            PermanentFault,
            (
                "tts-1.7B needs 5.6 GB of memory on cuda in float32, and cuda has 4.0 GB; take a smaller checkpoint, or set `dtype ="
                ' "bfloat16"`, which takes about half, or set `device = "cpu"`'
            ),
        ),
    ],
)
def test_too_little_memory_is_told_in_numbers(
    where: str, dtype: str, room: Room, kind: type[Exception], words: str
) -> None:
    """What others hold may come back; what is not there never will."""
    with pytest.raises(kind) as caught:
        device.check_room(5_600_000_000, room, name="tts-1.7B", device=where, dtype=dtype)
    assert str(caught.value) == words


def written(path: Path, tensors: dict[str, tuple[str, list[int]]]) -> Path:
    header = {name: {"dtype": kind, "shape": shape, "data_offsets": [0, 0]} for name, (kind, shape) in tensors.items()}
    text = json.dumps({"__metadata__": {"format": "pt"}, **header}).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text)
    return path


def test_weights_are_counted_from_headers_in_the_type_that_they_will_have(tmp_path: Path) -> None:
    one = written(tmp_path / "one", {"a": ("BF16", [2, 3]), "scalar": ("F32", [])})
    two = written(tmp_path / "two", {"b": ("F32", [5, 5]), "none": ("F32", [0, 9])})
    codec = written(tmp_path / "codec", {"c": ("BF16", [10])})
    assert footprint.weights([one, two, codec], "float32") == 4 * (7 + 25 + 10)
    assert footprint.weights([one, two, codec], "bfloat16") == 2 * (7 + 25) + 4 * 10


def test_what_is_needed_covers_what_was_measured() -> None:
    """A true-size 0.6B: 906 million weights and the codec's 171 million, as they lay in memory after speaking."""
    model, codec = 906_000_000, 171_000_000
    for size, measured in ((4, 5_446_000_000), (2, 2_832_000_000)):
        needs = device.needed(size * model + 4 * codec)
        assert measured <= needs <= 1.3 * measured
