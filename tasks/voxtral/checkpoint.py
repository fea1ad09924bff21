"""Voxtral checkpoints: found by name, folder or Hub id, checked before they are loaded, loaded with their processor.

A checkpoint is a full model or a LoRA adapter beside its base's configuration. `voxfactory-tiny` is the one that is shipped.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import ModelError
from infra.storage import folder_hash
from tasks.contracts import Checkpoint
from tasks.voxtral.tiny import TINY_NAME, tiny_model_folder

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import VoxtralForConditionalGeneration, VoxtralProcessor

_CHECKPOINT_FILES = ["*.safetensors", "*.json"]


def find_checkpoint(name: str, revision: str | None = None) -> Checkpoint:
    """Resolve `voxfactory-tiny`, a folder, or a Hub id to a folder on this machine, and check that it holds a Voxtral.

    Raises:
        ModelError: it does not exist, or is no Voxtral.

    """
    if name == TINY_NAME:
        return _in_folder(name, tiny_model_folder())
    if Path(name).expanduser().is_dir():
        folder = Path(name).expanduser().resolve()
        return _in_folder(str(folder), folder)
    return _from_hub(name, revision)


def _from_hub(name: str, revision: str | None) -> Checkpoint:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    advice = f"Name a folder, a Hub id such as mistralai/Voxtral-Mini-3B-2507, or {TINY_NAME}"
    if name.startswith((".", "/", "~")):
        raise ModelError(f"{name} is not a folder", advice)
    try:
        folder = Path(snapshot_download(name, revision=revision, allow_patterns=_CHECKPOINT_FILES))
    except HFValidationError as error:
        raise ModelError(f"{name!r} is neither a folder nor a Hub id", advice) from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"The Hub has no model {name}, or not for your token", advice) from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{name} has no revision {revision}", "Name a branch, tag or commit of it") from error
    _check(folder, name)
    return Checkpoint(name=name, folder=folder, revision=folder.name)  # a snapshot's folder is named after its commit


def _in_folder(name: str, folder: Path) -> Checkpoint:
    _check(folder, name)
    return Checkpoint(name=name, folder=folder, revision=weights_hash(folder))


def weights_hash(folder: Path) -> str:
    """Hex SHA-256 over the weight files of a checkpoint folder."""
    return folder_hash(folder, "*.safetensors")


def _check(folder: Path, name: str) -> None:
    config = folder / "config.json"
    if not config.is_file():
        raise ModelError(f"{name} has no config.json", "Name the folder of a Voxtral checkpoint")
    kind = json.loads(config.read_text()).get("model_type")
    if kind != "voxtral":
        raise ModelError(f"{name} is a {kind} model, not a Voxtral", "Use mistralai/Voxtral-Mini-3B-2507 or a fine-tune of it")
    if not any(folder.glob("*.safetensors")):
        raise ModelError(f"{name} has no safetensors weights", "Save it with save_pretrained, or download it again")
    if not (folder / "tekken.json").is_file():
        raise ModelError(f"{name} has no tekken.json", "Copy the tokenizer file of its base model into the folder")


def default_device() -> "torch.device":
    """The first GPU, else the processor."""
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def default_dtype(device: "torch.device") -> "torch.dtype":
    """bfloat16 on a GPU (float16 clamps in the encoder), float32 on a processor."""
    import torch

    return torch.bfloat16 if device.type == "cuda" else torch.float32


def load_processor(checkpoint: Checkpoint) -> "VoxtralProcessor":
    """The checkpoint's processor: feature extractor and tokenizer."""
    from transformers import MistralCommonBackend, VoxtralProcessor, WhisperFeatureExtractor

    tokenizer = MistralCommonBackend(tokenizer_path=str(checkpoint.folder / "tekken.json"))
    return VoxtralProcessor(WhisperFeatureExtractor.from_pretrained(checkpoint.folder), tokenizer)


def load_model(
    checkpoint: Checkpoint, device: "torch.device", dtype: "torch.dtype"
) -> "VoxtralForConditionalGeneration | PeftModel":
    """Load the weights; an adapter is put on its base.

    Raises:
        ModelError: the weights do not fit the configuration, or the adapter's base cannot be found.

    """
    from transformers import VoxtralForConditionalGeneration

    if checkpoint.is_adapter:
        from peft import PeftModel

        adapter = json.loads((checkpoint.folder / "adapter_config.json").read_text())
        base = load_model(find_checkpoint(adapter["base_model_name_or_path"]), device, dtype)
        return PeftModel.from_pretrained(base, str(checkpoint.folder)).eval()
    try:
        model = VoxtralForConditionalGeneration.from_pretrained(checkpoint.folder, dtype=dtype)
    except (RuntimeError, OSError) as error:
        raise ModelError(f"{checkpoint.name} cannot be loaded: {error}", "Download or save it again") from error
    return model.to(device).eval()
