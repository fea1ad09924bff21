"""One clip and its transcript: decode, resample, check, synthesise."""
