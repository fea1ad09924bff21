"""A dataset version: its sources, its utterances, its split, its fingerprint and its folder."""
