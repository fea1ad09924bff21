"""A Trainer whose validation loss depends neither on the number of processes that compute it nor on how many rows they take at a time."""

from typing import TYPE_CHECKING, Any

from transformers import Trainer

from tasks.voxtral.prompt import IGNORED_LABEL

if TYPE_CHECKING:
    import torch


class RankedTrainer(Trainer):
    """The validation loss is the mean over the tokens of the data set.

    transformers weighs each batch's mean by its rows; a row that fills a batch up would count, and so would a token the more, the fewer
    its batch has.
    """

    _batches: "list[tuple[torch.Tensor, torch.Tensor]]"  # of an evaluation: mean loss and tokens, over all processes

    def prediction_step(self, model: Any, inputs: Any, *arguments: Any, **named: Any) -> Any:
        """As transformers', and remember the loss and the tokens of the batch."""
        loss, *others = super().prediction_step(model, inputs, *arguments, **named)
        tokens = inputs["labels"].ne(IGNORED_LABEL).sum().to(loss.device)
        self._batches.append((self.accelerator.reduce(loss, "mean"), self.accelerator.reduce(tokens, "sum")))
        return loss, *others

    def evaluation_loop(self, *arguments: Any, **named: Any) -> Any:
        """As transformers', but for the loss."""
        self._batches = []
        output = super().evaluation_loop(*arguments, **named)
        tokens = sum(int(tokens) for _, tokens in self._batches)
        output.metrics["eval_loss"] = sum(float(loss) * int(tokens) for loss, tokens in self._batches) / tokens
        return output
