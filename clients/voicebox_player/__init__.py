"""The loudspeaker's process: one for each daemon, started by it, a client like any other on the wire.

It plays what the daemon sends, one request at a time, and tells what was heard. Whose turn it is, is decided by the daemon.
"""
