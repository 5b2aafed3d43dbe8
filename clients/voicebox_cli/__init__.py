"""The command line of voiceboxd, thin over `voicebox_client`."""
