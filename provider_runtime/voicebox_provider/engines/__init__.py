"""The engines that come with voiceboxd."""
