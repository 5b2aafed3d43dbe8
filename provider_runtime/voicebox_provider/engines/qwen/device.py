"""The device that a model runs on: whether it computes, whether there is room on it, and what it holds.

What is decided, and in which words, is pure; the functions at the end ask PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

from voicebox_provider import host_memory
from voicebox_provider.engine import DeviceMemory, PermanentFault, TemporaryFault
from voicebox_provider.host_memory import Room

CPU = "cpu"

# What was loaded of a true-size 0.6B took 1.26 times its weights in float32 and 1.27 in bfloat16: some are kept in two forms.
_FORMS = 1.3
# Keys and values of 2,000 positions in 28 layers are 0.24 GB, by arithmetic; on the processor the package itself takes as much.
_BESIDES = 350_000_000

_ELSEWHERE = '`device = "cpu"` needs no card'
# What drivers and PyTorch say, in small letters, and what helps. The first that fits; `True`: it may be otherwise in a moment.
_KNOWN: tuple[tuple[str, bool, str], ...] = (
    (
        "no kernel image",
        False,
        "this PyTorch was not built for this card; its makers have other builds, for older and for newer cards",
    ),
    ("driver version is insufficient", False, "the NVIDIA driver is older than this PyTorch needs; update the driver"),
    ("driver on your system is too old", False, "update the NVIDIA driver"),
    ("found no nvidia driver", False, "no NVIDIA driver is loaded; install it, or load it (`nvidia-smi` tells)"),
    (
        "not compiled with cuda",
        False,
        "this PyTorch is the build for the processor alone; `voicebox provider install pytorch-cuda` brings the one for cards",
    ),
    (
        "invalid device ordinal",
        False,
        'there is no such card; `device = "cuda"` is the first, and `nvidia-smi` lists all',
    ),
    (
        "no cuda gpus are available",
        False,
        "the driver shows no card to this process; `nvidia-smi` tells whether there is one",
    ),
    ("out of memory", True, "close other programs that use the card"),
    ("can't allocate memory", True, "close other programs"),
    ("busy or unavailable", True, "another program has the card to itself"),
    (
        "cuda unknown error",
        False,
        "the driver does not answer, as after sleep: load its module `nvidia_uvm` anew, or restart the machine",
    ),
)


def needed(weights: int) -> int:
    """Bytes that a checkpoint takes on its device, from those of its weights."""
    return round(_FORMS * weights) + _BESIDES


def check_room(needs: int, room: Room | None, *, name: str, device: str, dtype: str) -> None:
    """Raise unless there is room, with both numbers: `TemporaryFault` where others hold it, `PermanentFault` where it would never do."""
    if room is None or needs <= room.free:
        return
    what = f"{name} needs {_gb(needs)} of memory on {device} in {dtype}"
    if needs > room.total:
        raise PermanentFault(f"{what}, and {device} has {_gb(room.total)}; {_smaller(device, dtype)}")
    others = "other programs" if device == CPU else "other programs that use the card"
    raise TemporaryFault(f"{what}, and {_gb(room.free)} are free; close {others}, or {_smaller(device, dtype)}")


def unfit(device: str, words: str, card: str = "") -> PermanentFault | TemporaryFault:
    """Why nothing can be computed on it, from what PyTorch said, and what to do. `card` is what can be told of it all the same."""
    said = words.strip().partition("\n")[0].rstrip(".") + card
    passing, remedy = next(
        ((passing, remedy) for known, passing, remedy in _KNOWN if known in words.lower()), (False, "")
    )
    advice = "; ".join(each for each in (remedy, _ELSEWHERE if device != CPU else "") if each)
    told = f"PyTorch {version('torch')} cannot compute on {device}: {said}; {advice}".rstrip("; ")
    return TemporaryFault(told) if passing else PermanentFault(told)


def _smaller(device: str, dtype: str) -> str:
    """What would take less."""
    ways = ["take a smaller checkpoint"]
    if dtype == "float32":
        ways.append('set `dtype = "bfloat16"`, which takes about half')
    if device != CPU:
        ways.append('set `device = "cpu"`')
    return ", or ".join(ways)


def _gb(size: int) -> str:
    return f"{size / 1e9:.1f} GB"


# --- what PyTorch is asked


def compute(device: str, dtype: str) -> None:
    """Multiply something on it: a card may be there whose kernels this PyTorch has not. Raises what `unfit` makes of a failure."""
    import torch

    try:
        ones = torch.ones(16, 16, device=device, dtype=getattr(torch, dtype))
        found = (ones @ ones).sum().item()
    except (RuntimeError, AssertionError) as error:
        raise unfit(device, str(error), _card(device)) from None
    if found != 16**3:
        raise unfit(device, f"16 times 16 ones, multiplied, came to {found:g} in place of 4096; the device is broken")


@contextmanager
def explained(device: str) -> Iterator[None]:
    """While a model is loaded: one that finds no room after all says so, as a `TemporaryFault`."""
    try:
        yield
    except RuntimeError as error:
        fault = unfit(device, str(error))
        if isinstance(fault, TemporaryFault):
            raise fault from None
        raise


def room(device: str) -> Room | None:
    """What is free on it; None where nobody tells."""
    if device == CPU:
        return host_memory.room()
    import torch

    free, total = torch.cuda.mem_get_info(torch.device(device))
    # What PyTorch keeps for its next tensors is ours to take.
    return Room(free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device), total)


def admit(weights: int, *, name: str, device: str, dtype: str) -> None:
    """Raise as `check_room` does unless there is room for so many bytes of weights. Nothing may be loaded that will be replaced."""
    check_room(needed(weights), room(device), name=name, device=device, dtype=dtype)


def memory(device: str) -> DeviceMemory | None:
    """What a card holds now: our own share is what PyTorch has taken for tensors, without what the driver takes for a process."""
    if device == CPU:
        return None
    import torch

    free, total = torch.cuda.mem_get_info(torch.device(device))
    return DeviceMemory(torch.cuda.memory_reserved(device), total - free, total)


def _card(device: str) -> str:
    """Which card it is and what this PyTorch was built for, as far as both can be told without computing there."""
    import torch

    try:
        name, (major, minor) = torch.cuda.get_device_name(device), torch.cuda.get_device_capability(device)
    except (RuntimeError, AssertionError):
        return ""
    return f" ({name} has compute capability {major}.{minor}; this build has {' '.join(torch.cuda.get_arch_list())})"
