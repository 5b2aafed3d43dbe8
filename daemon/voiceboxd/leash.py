"""Run as a script: puts a program that is not our runner on a leash, so that the kernel ends it with its daemon, and
becomes that program. Our own runner does this for itself.

    python -I -S leash.py PARENT_PID COMMAND [ARGUMENT...]
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Become the command; exits with 127 if it cannot be started, as a shell would."""
    parent, *command = arguments
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
        if os.getppid() != int(parent):
            # It died before the kernel knew whom to watch.
            sys.exit(1)
    try:
        os.execvp(command[0], command)  # noqa: S606 (what the user configured)
    except OSError as error:
        sys.stderr.write(f"{command[0]}: {error.strerror}\n")
        sys.exit(127)


if __name__ == "__main__":
    main(sys.argv[1:])
