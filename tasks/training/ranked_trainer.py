"""A Trainer whose validation loss does not depend on the number of processes that compute it."""

from typing import TYPE_CHECKING, Any

from transformers import Trainer

from tasks.voxtral.prompt import IGNORED_LABEL

if TYPE_CHECKING:
    import torch


class RankedTrainer(Trainer):
    """Alone, it is transformers' own. With others, rows that only fill a batch up do not count.

    The loss of a batch is the mean over its tokens, over all processes; that of a data set is the mean over the batches, each by its
    number of rows, as transformers has it.
    """

    _batches: "list[tuple[torch.Tensor, torch.Tensor]]"  # of an evaluation: loss and rows

    def prediction_step(self, model: Any, inputs: Any, *arguments: Any, **named: Any) -> Any:
        """As transformers', and remember the loss and the rows of the batch, over all processes."""
        loss, *others = super().prediction_step(model, inputs, *arguments, **named)
        if self.args.world_size > 1:
            rows = inputs["labels"].ne(IGNORED_LABEL).any(dim=1).sum().to(loss.device)
            self._batches.append((self.accelerator.reduce(loss, "mean"), self.accelerator.reduce(rows, "sum")))
        return loss, *others

    def evaluation_loop(self, *arguments: Any, **named: Any) -> Any:
        """As transformers', but for the loss, where there are several processes."""
        self._batches = []
        output = super().evaluation_loop(*arguments, **named)
        if self._batches and output.metrics:
            rows = sum(int(rows) for _, rows in self._batches)
            output.metrics["eval_loss"] = sum(float(loss) * int(rows) for loss, rows in self._batches) / rows
        return output
