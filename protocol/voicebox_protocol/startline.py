"""The one line that a daemon writes to a provider's standard input before anything else; the pipe then stays as lifeline.

On the pipe rather than in arguments or the environment, where other programs of the user could read the token.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple


class StartLine(NamedTuple):
    """What a provider must know to reach its daemon. `settings` come from the user's configuration, unread by us.

    `death_fd` and `arena_fd` are descriptors that our own runner inherits, for its death notice and for its sound; None
    where there is none. The arena has a number, `arena`, and so many slots.
    """

    address: str
    provider: str
    epoch: int
    token: str
    parent_pid: int
    engine: str = ""
    server_key: str | None = None
    settings: dict[str, Any] = {}  # noqa: RUF012 (a NamedTuple's default, never changed)
    death_fd: int | None = None
    arena_fd: int | None = None
    arena: int = 0
    arena_slots: int = 0

    def encode(self) -> bytes:
        """One line of JSON, ended by a newline; what JSON does not know (TOML's dates) goes as text."""
        return json.dumps(self._asdict(), default=str).encode() + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> StartLine:
        """The line read back; unknown keys are ignored. Raises `ValueError` if it is not one."""
        try:
            known = json.loads(line)
            return cls(**{name: known[name] for name in cls._fields if name in known})
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"not a start line: {error}") from None
