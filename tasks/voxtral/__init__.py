"""The model: checkpoints, prompts, features, batches, adapters, transcription, and the tiny model."""
