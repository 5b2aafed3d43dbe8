"""Whether there is a device to play on. A sound server that hangs holds its caller up, so a process of its own looks for it:
`python -m voicebox_cli.checkup.sound` opens it, plays nothing, and says which system it is of.
"""

from __future__ import annotations

import sys

from voicebox_cli.checkup.facts import Sound
from voicebox_cli.checkup.program import Asked

_RATE = 24_000


class Search:
    """Owns the process that looks. `result` bounds how long that may take."""

    def __init__(self) -> None:
        self._asked = Asked([sys.executable, "-P", "-m", "voicebox_cli.checkup.sound"])

    def result(self, timeout: float) -> Sound:
        """What it found within `timeout` seconds."""
        code, out, err = self._asked.answer(timeout)
        if code is None:
            return Sound(trouble=f"the sound system gave no answer within {timeout:g} s")
        words = (out if code == 0 else err).strip().splitlines() or ["it could not be looked for"]
        return Sound(backend=words[-1]) if code == 0 else Sound(trouble=words[-1])


def main() -> int:
    """Print the system that a device is of, and give 0; or why there is none, to standard error, and give 1."""
    from voicebox_player.device import open_device
    from voicebox_protocol.errors import VoiceboxError

    try:
        device = open_device(_RATE)
    except VoiceboxError as error:
        # What to do instead is told by whoever asked.
        print(str(error).partition(". ")[0], file=sys.stderr)  # noqa: T201
        return 1
    print(device.system)  # noqa: T201
    device.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
