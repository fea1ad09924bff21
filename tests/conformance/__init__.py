"""The local hub against huggingface_hub's own tests: `python -m tests.conformance`. `pytest` runs only the test of the verdict."""
