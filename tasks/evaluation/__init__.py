"""Is it better? Transcribe, normalise, count errors, put an interval around them, decide."""
