"""How the command line ends, for people and for scripts; each error of `voicebox_protocol.errors` knows its own."""

from __future__ import annotations

INTERRUPTED = 130
BROKEN_PIPE = 141

HELP = """\b
Exit codes:
  0    done
  1    failed, also text that cannot be spoken
  2    usage: a bad option, language or format, or a text too long
  3    the daemon cannot be reached, or was lost
  4    no such voice, provider, request or device
  5    the provider failed and none is left
  6    not finished within its deadline
  75   too many requests wait already
  77   refused
  130  interrupted or cancelled
  141  the reader of standard output went away
"""
