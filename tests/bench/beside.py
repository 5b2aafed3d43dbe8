"""Ours beside speech-dispatcher: python -m tests.bench.beside [--rounds 50] [--faults 5] [--write]

Needs speech-dispatcher, its module for espeak-ng and PulseAudio, which no Python package brings: on Debian, `apt install
speech-dispatcher speech-dispatcher-espeak-ng speech-dispatcher-audio-plugins espeak-ng pulseaudio pulseaudio-utils`. Both daemons are
private instances at a loudspeaker that nobody hears. A round takes about fifteen seconds, and one of the faults about five minutes.
With --write what was found becomes docs/rivals.md. Exit code 1 if a promise does not hold.
"""

from __future__ import annotations

import argparse
import signal
import sys

from tests.bench import beside_dispatcher, beside_faults, beside_latency, beside_page, beside_voicebox
from tests.bench.beside_sound import sink
from tests.bench.claims import tell


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--faults", type=int, default=5)
    parser.add_argument("--write", action="store_true")
    chosen = parser.parse_args()
    if missing := beside_dispatcher.missing() + beside_voicebox.missing():
        print(f"not installed, so there is nothing to compare with: {', '.join(missing)}", file=sys.stderr)
        return 2
    # Whoever ends it early leaves no process behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    measured = beside_page.measured(chosen.rounds, chosen.faults, beside_dispatcher.version())
    print(f"{measured}\n", flush=True)
    with sink() as loudspeaker:
        with beside_dispatcher.dispatcher(loudspeaker) as theirs:
            modules = theirs.modules()
        parts = []
        for measure, rounds in ((beside_latency.measure, chosen.rounds), (beside_faults.measure, chosen.faults)):
            found = measure(loudspeaker, rounds)
            print("\n".join(part.text() for part in found), flush=True)
            parts += found
    if chosen.write:
        beside_page.write(parts, measured, modules)
    return tell([claim for part in parts for claim in part.claims])


if __name__ == "__main__":
    sys.exit(main())
