"""`VoicePrompt`: what an engine made of a recording, so that it can speak like it; a few kilobytes that belong to the user."""

from __future__ import annotations

import contextlib
import os
from typing import Any, TypeGuard

import msgpack

from voicebox_protocol import wire
from voicebox_protocol.errors import BadPrompt, OutputFailed

_FORMAT = 1
_KIND = "voicebox voice prompt"
# Beside the prompt itself there are two names.
_MOST = wire.MAX_PROMPT + 1024
_NAME = 128


class VoicePrompt:
    """The bytes of a voice prompt, `data`, and what they are for: the `model` that made them (None where an engine has only one) and
    its `provider`. Two are equal if all of that is. They are nobody's secret, but somebody's voice: `save` lets only their owner
    read the file.
    """

    __slots__ = ("data", "model", "provider")

    def __init__(self, data: bytes, *, provider: str, model: str | None = None) -> None:
        self.data = bytes(data)
        self.provider = provider
        self.model = model

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, whole or not at all. Raises `OutputFailed`."""
        said = {"kind": _KIND, "format": _FORMAT, "provider": self.provider, "model": self.model, "prompt": self.data}
        half = f"{os.fspath(path)}.{os.urandom(4).hex()}.part"
        try:
            with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123 (no pathlib)
                file.write(msgpack.packb(said))
            os.replace(half, path)  # noqa: PTH105
        except OSError as error:
            _remove(half)
            raise OutputFailed(f"the voice prompt cannot be written to {os.fspath(path)}: {error.strerror}") from None

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> VoicePrompt:
        """One that `save` wrote. Raises `BadPrompt` with the reason."""
        try:
            with open(path, "rb") as file:  # noqa: PTH123
                content = file.read(_MOST + 1)
        except OSError as error:
            raise BadPrompt(f"{os.fspath(path)} cannot be read: {error.strerror}") from None
        return cls._read(content, os.fspath(path))

    @classmethod
    def _read(cls, content: bytes, place: str) -> VoicePrompt:
        try:
            said = msgpack.unpackb(content) if len(content) <= _MOST else None
        except (ValueError, TypeError, RecursionError, msgpack.UnpackException):
            said = None
        if not isinstance(said, dict) or said.get("kind") != _KIND:
            raise BadPrompt(f"{place} holds no voice prompt")
        if said.get("format") != _FORMAT:
            raise BadPrompt(f"{place} holds a voice prompt of another version; prepare it again from the recording")
        data, provider, model = said.get("prompt"), said.get("provider"), said.get("model")
        if not (_is_prompt(data) and _is_name(provider) and (model is None or _is_name(model))):
            raise BadPrompt(f"{place} holds a voice prompt that is damaged; prepare it again from the recording")
        return cls(data, provider=provider, model=model)

    def __bytes__(self) -> bytes:
        return self.data

    def __len__(self) -> int:
        return len(self.data)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, VoicePrompt) and self._all == other._all

    def __hash__(self) -> int:
        return hash(self._all)

    def __repr__(self) -> str:
        return f"VoicePrompt({len(self.data)} bytes, provider={self.provider!r}, model={self.model!r})"

    @property
    def _all(self) -> tuple[bytes, str, str | None]:
        return self.data, self.provider, self.model


def _is_prompt(value: Any) -> TypeGuard[bytes]:
    return isinstance(value, bytes) and 0 < len(value) <= wire.MAX_PROMPT


def _is_name(value: Any) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= _NAME


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)  # noqa: PTH108
