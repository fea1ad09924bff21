"""The engine against the public recipe: see `__main__`."""
