"""`python -m voicebox_player`: the loudspeaker's process, started by the daemon alone."""

from __future__ import annotations

import os
import sys

from voicebox_player.main import main

if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # At once: a sound server that hangs would keep its thread, and us with it.
    os._exit(code)
