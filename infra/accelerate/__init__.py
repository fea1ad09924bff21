"""Configurations of `accelerate launch`, one file for each way to train: `VOXFACTORY_ACCELERATE` names one, or a file of one's own."""

from pathlib import Path

CONFIGURATIONS = ("cpu", "gpu", "ddp", "fsdp")


def configuration_file(name: str) -> Path:
    """The file of a configuration that is shipped, or the one that is named."""
    return Path(__file__).with_name(f"{name}.yaml") if name in CONFIGURATIONS else Path(name).expanduser().resolve()
