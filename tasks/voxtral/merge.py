"""An adapter becomes part of its base: a whole model that loads without peft. Weights lie in files of at most 2 GB."""

import shutil
from pathlib import Path

from infra.errors import ModelError
from tasks.contracts import Checkpoint
from tasks.voxtral.checkpoint import default_device, default_dtype, load_model

_BESIDE_WEIGHTS = ("config.json", "generation_config.json", "processor_config.json", "tekken.json")
LARGEST_SHARD_BYTES = 2_000_000_000  # an interrupted upload sends at most one of them again


def merge_adapter(adapter: Checkpoint, folder: Path) -> None:
    """Write the merged model into an empty folder.

    Raises:
        ModelError: it is no adapter.

    """
    if not adapter.is_adapter:
        raise ModelError(f"{adapter.folder} holds no adapter", "Name the folder of a model trained with method=lora")
    device = default_device()
    merged = load_model(adapter, device, default_dtype(device)).merge_and_unload()
    merged.save_pretrained(folder, max_shard_size=LARGEST_SHARD_BYTES)
    sources = (adapter.folder, adapter.base.folder if adapter.base else adapter.folder)
    for name in _BESIDE_WEIGHTS:
        found = next((source / name for source in sources if (source / name).is_file()), None)
        if found and not (folder / name).exists():
            shutil.copy2(found, folder)


def split_weights(folder: Path, largest_bytes: int = LARGEST_SHARD_BYTES) -> None:
    """Let no weights file of a model's folder be larger than that, unless one tensor is."""
    whole = folder / "model.safetensors"
    if not whole.is_file() or whole.stat().st_size <= largest_bytes:
        return
    from huggingface_hub import save_torch_state_dict
    from safetensors.torch import load_file

    tensors = load_file(whole)
    whole.unlink()  # the tensors are read already, or mapped: the file stays until they are gone
    save_torch_state_dict(tensors, folder, max_shard_size=largest_bytes)
