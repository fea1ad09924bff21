"""What the model hears in each window: the outputs of its audio tower where that is frozen, else log-mel features.

Both are computed one window at a time: batches are rounded in another order, and a stored value could not be had again. They come
from the store, or are computed when they are asked for where it has no room; it is the same value.
"""

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from infra.settings import Settings
from infra.storage import content_hash
from tasks.training.augmentation import changed_samples, draw_for, hide_some
from tasks.training.feature_disk import feature_disk
from tasks.training.feature_store import FeatureStore
from tasks.training.options import TrainingOptions
from tasks.training.plan import PlanRow
from tasks.training.window_audio import WindowAudio
from tasks.voxtral.checkpoint import default_dtype
from tasks.voxtral.features import mel_windows, with_silence, without_silence
from tasks.voxtral.prompt import VoxtralPrompt

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import VoxtralForConditionalGeneration, VoxtralProcessor

FEATURE_VERSION = 1  # raise it when equal clips would give other features: it is part of every store's key
_FLOAT32_BYTES = 4
_NOT_DECIDING = ("_name_or_path", "architectures", "dtype", "transformers_version")  # of a tower's configuration
_log = logging.getLogger(__name__)


class MelFeatures:
    """Log-mel features; stored without the silence that fills their window."""

    def __init__(self, processor: "VoxtralProcessor", prompt: VoxtralPrompt) -> None:
        self._processor, self._prompt = processor, prompt
        extractor = processor.feature_extractor
        self.label = "log-mel features"
        self.window_samples = prompt.window_samples
        self.row_bytes = extractor.feature_size * prompt.window_frames * _FLOAT32_BYTES
        self.identity = _machine() | {
            "kind": "mel",
            "extractor": content_hash(extractor.to_json_string()),
            "window_samples": prompt.window_samples,
        }

    def compute(self, samples: np.ndarray) -> "torch.Tensor":
        """float32 samples (n,) of a window to float32 (mel bins, frames until there is only silence)."""
        return without_silence(self.window(samples)[0])

    def restore(self, row: "torch.Tensor") -> "torch.Tensor":
        """float32 (1, mel bins, frames)."""
        return with_silence(row, self._prompt.window_frames)[None]

    def window(self, samples: np.ndarray) -> "torch.Tensor":
        """float32 (1, mel bins, frames)."""
        return mel_windows(samples, self._processor, self.window_samples)


class TowerOutputs:
    """The outputs of a frozen audio tower, before the projector, which may be trained.

    The tower is taken out of the model, which hears what it is given instead. On a GPU, outputs are bfloat16: autocast rounds them so
    before the projector.
    """

    def __init__(self, model: "VoxtralForConditionalGeneration | PeftModel", mel: MelFeatures, name: str) -> None:
        voxtral = model.get_base_model() if hasattr(model, "get_base_model") else model
        self._place, self._mel = voxtral.model, mel
        self._tower = voxtral.model.audio_tower.eval()
        self._device = voxtral.device
        self._dtype = default_dtype(self._device)
        config = voxtral.config.audio_config
        self.label = f"outputs of the audio tower of {name}"
        self.row_bytes = config.max_source_positions * config.hidden_size * self._dtype.itemsize
        deciding = {key: value for key, value in config.to_dict().items() if key not in _NOT_DECIDING}
        self.identity = mel.identity | {
            "kind": "tower",
            "tower": weights_hash(self._tower),
            "config": content_hash(deciding),
            "attention": config._attn_implementation,
            "dtype": str(self._dtype),
            "device": _device_name(self._device),
        }
        self._place.audio_tower = _given_outputs()

    def compute(self, samples: np.ndarray) -> "torch.Tensor":
        """float32 samples (n,) of a window to (positions, hidden size)."""
        import torch

        heard = self._mel.window(samples).to(self._device)
        with torch.no_grad(), torch.autocast(self._device.type, torch.bfloat16, enabled=self._device.type == "cuda"):
            outputs = self._tower(heard).last_hidden_state
        return outputs[0].to(self._dtype).cpu()

    def restore(self, row: "torch.Tensor") -> "torch.Tensor":
        """(1, positions, hidden size)."""
        return row[None]

    def rest(self) -> None:
        """Leave the device: nothing more is to be computed."""
        import torch

        self._tower.cpu()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model is whole while the block runs, to be saved, loaded or counted."""
        given = self._place.audio_tower
        self._place.audio_tower = self._tower
        try:
            yield
        finally:
            self._place.audio_tower = given


class WindowFeatures:
    """Features of the rows of a plan.

    Args:
        source: computes them.
        audio: what is heard in each row.
        kept: whether they come from the store.
        settings: how much of the home they may take.

    """

    def __init__(self, source: MelFeatures | TowerOutputs, audio: WindowAudio, kept: bool, settings: Settings) -> None:
        self._source, self._audio = source, audio
        self._limit_gb = settings.cache_gb
        keeps = kept and settings.cache_gb
        self._store = FeatureStore(feature_disk(settings), source.label, source.identity) if keeps else None

    def __call__(self, row: PlanRow) -> "torch.Tensor":
        """(windows, mel bins, frames) or (windows, positions, hidden size)."""
        return self.restored(self.bare(row))

    def bare(self, row: PlanRow) -> "list[torch.Tensor]":
        """What is stored of each window of the row."""
        names = self._audio.names(row)
        if self._store is not None and all(name in self._store for name in names):
            return [self._store.read(name) for name in names]
        return [self._source.compute(samples) for samples in self._audio.samples(row)]

    def restored(self, windows: "list[torch.Tensor]") -> "torch.Tensor":
        """What the model is given of them."""
        import torch

        return torch.cat([self._source.restore(window) for window in windows])

    def prepare(self, rows: Iterable[PlanRow], stopped: Callable[[], bool], report: Callable[[int, int], None]) -> None:
        """Compute what is not in the store yet, until `stopped`; `report` is told how many windows are there, of how many."""
        if self._store is None:
            return
        windows = {name: (row, place) for row in rows for place, name in enumerate(self._audio.names(row))}
        computed = 0

        def compute(name: str) -> "torch.Tensor":
            nonlocal computed
            computed += 1
            row, place = windows[name]
            return self._source.compute(self._audio.samples(row)[place])

        self._store.fill(windows, compute, self._source.row_bytes, stopped, lambda done: report(done, len(windows)))
        held = sum(name in self._store for name in windows)
        _log.info("%s: %d computed, %d of %d in the store", self._source.label, computed, held, len(windows))
        if held < len(windows) and not stopped():
            _log.warning(
                "Features of %d windows are computed anew whenever they are needed: there is no room for them. See "
                "VOXFACTORY_CACHE_GB=%g and the free space of VOXFACTORY_HOME",
                len(windows) - held,
                self._limit_gb,
            )
        if held == len(windows) and isinstance(self._source, TowerOutputs):
            self._source.rest()


class ChangedFeatures:
    """Log-mel features of the rows of a plan, changed otherwise each time: see `augmentation`.

    Args:
        features: the unchanged ones.
        mel: computes others.
        audio: what is heard in each row.
        options: what is changed.

    """

    def __init__(self, features: WindowFeatures, mel: MelFeatures, audio: WindowAudio, options: TrainingOptions) -> None:
        self._features, self._mel, self._audio, self._options = features, mel, audio, options

    def __call__(self, row: PlanRow) -> "torch.Tensor":
        """(windows, mel bins, frames)."""
        draw = draw_for(self._options, row)
        if self._options.speed_change or self._options.noise_snr_db is not None:
            changed = (
                changed_samples(samples, self._options, self._mel.window_samples, draw) for samples in self._audio.samples(row)
            )
            windows = [self._mel.compute(samples) for samples in changed]
        else:
            windows = self._features.bare(row)
        if self._options.spec_augment:
            windows = [hide_some(window, draw) for window in windows]
        return self._features.restored(windows)


def weights_hash(module: "torch.nn.Module") -> str:
    """Hex SHA-256 over names, types, shapes and bytes of weights."""
    import hashlib

    import torch

    digest = hashlib.sha256()
    for name, weight in sorted(module.state_dict().items()):
        digest.update(f"{name} {weight.dtype} {tuple(weight.shape)}\n".encode())
        digest.update(weight.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def _given_outputs() -> "torch.nn.Module":
    """A module in the place of the tower: it is given the tower's outputs, and returns them."""
    import torch
    from transformers.modeling_outputs import BaseModelOutputWithPooling

    class GivenOutputs(torch.nn.Module):
        def forward(self, input_features: "torch.Tensor", **_: Any) -> BaseModelOutputWithPooling:
            return BaseModelOutputWithPooling(last_hidden_state=input_features)

    return GivenOutputs()


def _machine() -> dict[str, object]:
    """What decides the last bits beside the weights."""
    import torch
    import transformers

    return {
        "version": FEATURE_VERSION,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "processor": torch.backends.cpu.get_cpu_capability(),
    }


def _device_name(device: "torch.device") -> str:
    import torch

    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
