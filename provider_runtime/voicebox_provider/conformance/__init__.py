"""Whether a provider keeps to docs/protocol.md: plays the daemon's side to it and names each paragraph that it breaks.

`voicebox provider test` runs it; so does `python -m voicebox_provider.conformance TARGET`.
"""
