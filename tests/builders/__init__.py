"""Builders shared by the tests: speech, sources, dataset versions."""
