"""Finding damage: seals of episodes, parts, manifest rows and cassette (being built)."""
