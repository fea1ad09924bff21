"""Voxtral checkpoints: found by name, folder or Hub id, checked before they are loaded, loaded with their processor.

A checkpoint is a full model or a LoRA adapter beside its base's configuration. `voxfactory-tiny` is the one that is shipped.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from infra.errors import HubUnreachable, ModelError
from infra.hub import source_of
from infra.settings import settings
from infra.storage import content_hash, folder_hash, readable
from tasks.contracts import Checkpoint
from tasks.voxtral.quantised import quantised_model
from tasks.voxtral.tiny import TINY_NAME, tiny_model_folder

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import VoxtralForConditionalGeneration, VoxtralProcessor

_WEIGHTS, _DESCRIPTION = ["*.safetensors"], ["*.json"]
_MISTRALS_OWN_COPY = ["consolidated*"]  # the same weights again, in a layout that transformers does not read
_DECIDING_FILES = ("*.safetensors", "config.json", "tekken.json", "processor_config.json", "adapter_config.json")
_PASSING = (408, 429)  # HTTP status: time-out, too many requests
_SERVER_ERROR = 500


def find_checkpoint(name: str, revision: str | None = None, weights: bool = True) -> Checkpoint:
    """Resolve `voxfactory-tiny`, a folder, or a Hub id to a folder on this machine, and check that it holds a Voxtral.

    Args:
        name: which one.
        revision: of a Hub id.
        weights: they are needed; else nothing large is downloaded.

    Raises:
        ModelError: it does not exist, or is no Voxtral.

    """
    if name == TINY_NAME:
        return _in_folder(name, tiny_model_folder(), weights)
    if Path(name).expanduser().is_dir():
        folder = Path(name).expanduser().resolve()
        return _in_folder(str(folder), folder, weights)
    return _from_hub(name, revision, weights)


def _from_hub(name: str, revision: str | None, weights: bool) -> Checkpoint:
    from huggingface_hub import snapshot_download
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    advice = f"Name a folder, a Hub id such as mistralai/Voxtral-Mini-3B-2507, or {TINY_NAME}"
    if name.startswith((".", "/", "~")):
        raise ModelError(f"{name} is not a folder", advice)
    try:
        with source_of(settings(), "model", name) as source:
            found = snapshot_download(
                name,
                revision=revision,
                endpoint=source.endpoint,
                token=source.token,
                allow_patterns=[*_DESCRIPTION, *(_WEIGHTS if weights else [])],
                ignore_patterns=_MISTRALS_OWN_COPY,
            )
        folder = Path(found)
    except HFValidationError as error:
        raise ModelError(f"{name!r} is neither a folder nor a Hub id", advice) from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"The Hub has no model {name}, or not for your token", advice) from error
    except RevisionNotFoundError as error:
        raise ModelError(f"{name} has no revision {revision}", "Name a branch, tag or commit of it") from error
    except LocalEntryNotFoundError as error:
        if HF_HUB_OFFLINE:
            raise ModelError(
                f"{name} is not in this machine's cache, and HF_HUB_OFFLINE is set", "Unset it, or name a folder"
            ) from error
        raise HubUnreachable(
            f"The Hub did not answer when asked for {name}", "Check the network and run the command again"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if status in _PASSING or status >= _SERVER_ERROR:
            raise HubUnreachable(f"The Hub answered {status} when asked for {name}", "Run the command again later") from error
        raise ModelError(f"The Hub refuses {name} with {status}", advice) from error
    _check(folder, name, weights)
    return Checkpoint(name=name, folder=folder, revision=folder.name)  # a snapshot's folder is named after its commit


def _in_folder(name: str, folder: Path, weights: bool) -> Checkpoint:
    _check(folder, name, weights)
    return Checkpoint(name=name, folder=folder, revision=checkpoint_hash(folder))


def checkpoint_hash(folder: Path) -> str:
    """Hex SHA-256 over every file of a checkpoint folder that decides what the model hears."""
    return content_hash([folder_hash(folder, pattern) for pattern in _DECIDING_FILES])


def _check(folder: Path, name: str, weights: bool) -> None:
    config = folder / "config.json"
    if not config.is_file():
        raise ModelError(f"{name} has no config.json", "Name the folder of a Voxtral checkpoint")
    with readable(config, ModelError):
        kind = json.loads(config.read_text())["model_type"]
    if kind != "voxtral":
        raise ModelError(f"{name} is a {kind} model, not a Voxtral", "Use mistralai/Voxtral-Mini-3B-2507 or a fine-tune of it")
    if weights and not any(folder.glob("*.safetensors")):
        raise ModelError(f"{name} has no safetensors weights", "Save it with save_pretrained, or download it again")
    if not (folder / "tekken.json").is_file():
        raise ModelError(f"{name} has no tekken.json", "Copy the tokenizer file of its base model into the folder")


def default_device() -> "torch.device":
    """The GPU that is this process's, else the processor."""
    import torch

    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")


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
    checkpoint: Checkpoint, device: "torch.device", dtype: "torch.dtype", quantised: bool = False
) -> "VoxtralForConditionalGeneration | PeftModel":
    """Load the weights; an adapter is put on the base that it was trained on.

    Args:
        checkpoint: a full model, or an adapter.
        device: where they are to lie.
        dtype: of the weights.
        quantised: those of a full model's language model in 4 bits, `dtype` for the rest; needs bitsandbytes.

    Raises:
        ModelError: the weights do not fit the configuration, or the adapter's base cannot be found.

    """
    from safetensors import SafetensorError
    from transformers import VoxtralForConditionalGeneration

    if checkpoint.is_adapter:
        from peft import PeftModel

        base = load_model(checkpoint.base or _named_base(checkpoint), device, dtype)
        return PeftModel.from_pretrained(base, str(checkpoint.folder)).eval()
    try:
        if quantised:
            return quantised_model(checkpoint.folder, device, dtype)
        model = VoxtralForConditionalGeneration.from_pretrained(checkpoint.folder, dtype=dtype)
    except (SafetensorError, RuntimeError, OSError) as error:
        raise ModelError(
            f"{checkpoint.name} cannot be loaded: {str(error).splitlines()[0]}", "Download or save it again"
        ) from error
    return model.to(device).eval()


def _named_base(adapter: Checkpoint) -> Checkpoint:
    """The base that an adapter's own configuration names."""
    path = adapter.folder / "adapter_config.json"
    with readable(path, ModelError):
        named = json.loads(path.read_text())
        return find_checkpoint(named["base_model_name_or_path"], named.get("revision"))


def window_frames(folder: Path) -> int:
    """Mel frames in one window of a checkpoint: 3000 for Mistral's, which is 30 s."""
    return 2 * int(json.loads((folder / "config.json").read_text())["audio_config"]["max_source_positions"])
