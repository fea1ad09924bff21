"""The running mean of the weights in training, which is what is validated and kept.

While the learning rate is high, weights swing around where they are going; their mean over the last steps is there sooner. What it costs
is a copy of the trained weights. A checkpoint's own weights are the mean, those that training goes on with lie beside it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

if TYPE_CHECKING:
    import torch

_TRAINED = "trained.safetensors"


class Average(TrainerCallback):
    """Of the weights of a model that are trained; each step counts for the less, the longer it is past.

    Args:
        model: whose weights are those of the last step, but while `in_place`.
        decay: what a step counts, of the one after it. Of the first steps, less: the mean at step t forgets as if it knew 10 + t alone.

    """

    def __init__(self, model: "torch.nn.Module", decay: float) -> None:
        self._weights = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
        self._decay = decay
        self._mean = {name: weight.detach().clone() for name, weight in self._weights.items()}

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Take the step's weights in."""
        decay = min(self._decay, state.global_step / (10 + state.global_step))
        for name, weight in self._weights.items():
            self._mean[name].lerp_(weight.detach(), 1 - decay)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Put the last step's weights beside the checkpoint's own."""
        from safetensors.torch import save_file

        if state.is_world_process_zero:
            trained = {name: weight.detach().contiguous() for name, weight in self._weights.items()}
            save_file(trained, Path(args.output_dir) / f"checkpoint-{state.global_step}" / _TRAINED)

    def go_on_from(self, checkpoint: Path) -> None:
        """The model was given the checkpoint's own weights, the mean; it gets those of the last step."""
        import torch
        from safetensors.torch import load_file

        trained = load_file(checkpoint / _TRAINED)
        with torch.no_grad():
            for name, weight in self._weights.items():
                self._mean[name].copy_(weight)
                weight.copy_(trained[name])

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The model has the mean while the block runs."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for name, weight in self._weights.items():
            weight.data, self._mean[name] = self._mean[name], weight.data
