"""What `voicebox doctor` looks at: facts about this machine, gathered within seconds, and what follows from them."""
