"""The word error rate of a model in training: what picks the best one, since the loss goes on falling or rises while WER does not.

Utterances of the validation rows are transcribed as evaluation does it, up to MOST_DECODED of them, so that a large dataset does not
hold training up. No random number is drawn.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from typing import TYPE_CHECKING

from tasks.contracts import SAMPLE_RATE_HZ, Utterance
from tasks.speech.error_rates import count_errors
from tasks.training.plan import PlanRow
from tasks.voxtral.decoding import decode, longest_transcript
from tasks.voxtral.prompt import VoxtralPrompt

if TYPE_CHECKING:
    import torch
    from accelerate import Accelerator
    from peft import PeftModel
    from transformers import VoxtralForConditionalGeneration

MOST_DECODED = 200  # utterances
_MOST_AT_A_TIME = 32
_FOR_A_TRAINED_ROW = 4  # so many fit where one row with what its gradient needs does


class Validation:
    """Transcribes held-back utterances with a model in training.

    Args:
        rows: of validation, in the plan's order, an utterance each; the first MOST_DECODED are transcribed, by length.
        utterances: of each id.
        features: of a row, (windows, mel bins, frames) or (windows, positions, hidden size), whichever the model takes.
        prompt: of the model's tokenizer.
        trained_rows: how many rows are trained on at a time, which tells how much memory there is.

    """

    def __init__(
        self,
        rows: Sequence[PlanRow],
        utterances: Mapping[str, Utterance],
        features: "Callable[[PlanRow], torch.Tensor]",
        prompt: VoxtralPrompt,
        trained_rows: int,
    ) -> None:
        chosen = [(row, utterances[row.utterances[0]]) for row in rows[:MOST_DECODED]]
        self._spoken = sorted(chosen, key=lambda one: (one[1].duration_s, one[1].id))
        self._features, self._prompt = features, prompt
        self._at_a_time = min(_MOST_AT_A_TIME, _FOR_A_TRAINED_ROW * trained_rows)

    def wer(self, model: "VoxtralForConditionalGeneration | PeftModel", accelerator: "Accelerator") -> float:
        """A fraction; each process transcribes a share, and all learn the same figure. The model's mode is kept."""
        import torch

        rank, processes = accelerator.process_index, accelerator.num_processes
        own = self._spoken[rank::processes]
        # As many batches in every process: where the weights are spread over them, they compute together.
        dealt = [*own, *islice(cycle(self._spoken), -(-len(self._spoken) // processes) - len(own))]
        was_training = model.training
        model.eval()
        with torch.autocast(model.device.type, torch.bfloat16, enabled=model.device.type == "cuda"):
            heard = [
                text
                for start in range(0, len(dealt), self._at_a_time)
                for text in self._heard(model, dealt[start:][: self._at_a_time])
            ]
        model.train(was_training)
        errors = words = 0
        if own:
            counts = count_errors([utterance.text for _, utterance in own], heard[: len(own)])
            errors, words = int(counts.word_errors.sum()), int(counts.words.sum())
        both = accelerator.reduce(torch.tensor([errors, words], device=model.device), reduction="sum")
        return float(both[0] / both[1])

    def _heard(
        self, model: "VoxtralForConditionalGeneration | PeftModel", batch: Sequence[tuple[PlanRow, Utterance]]
    ) -> list[str]:
        import torch

        heard = decode(
            model,
            self._prompt,
            [self._prompt.prompt(utterance.language, row.windows) for row, utterance in batch],
            torch.cat([self._features(row) for row, _ in batch]),
            [longest_transcript(round(utterance.duration_s * SAMPLE_RATE_HZ)) for _, utterance in batch],
        )
        return [one.text for one in heard]
