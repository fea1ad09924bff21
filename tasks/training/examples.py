"""Rows of the plan as model inputs.

Every batch holds prompts through [TRANSCRIBE], transcripts and end tokens, padded on the left; labels are -100 on all but transcript
and end token, and only the last K positions have any: K = longest target + 1, because position t predicts token t + 1.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from tasks.contracts import Utterance
from tasks.training.plan import PlanRow
from tasks.voxtral.prompt import IGNORED_LABEL, PAD_TOKEN, VoxtralPrompt

if TYPE_CHECKING:
    import torch


class Example(TypedDict):
    """One training example before padding."""

    prompt: tuple[int, ...]
    target: tuple[int, ...]
    features: "torch.Tensor"  # (windows, mel bins, frames), or (windows, positions, hidden size) of the audio tower's outputs


class PlannedExamples:
    """The plan as a map-style dataset: example i is the same in every process and every attempt."""

    def __init__(
        self,
        rows: Sequence[PlanRow],
        utterances: Mapping[str, Utterance],
        features: "Callable[[PlanRow], torch.Tensor]",
        prompt: VoxtralPrompt,
    ) -> None:
        self.rows = rows
        self.utterances = utterances
        self.features = features
        self.prompt = prompt

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Example:
        row = self.rows[index]
        return Example(
            prompt=self.prompt.prompt(row.language, row.windows),
            target=self.prompt.target(transcript_of(row, self.utterances)),
            features=self.features(row),
        )


def transcript_of(row: PlanRow, utterances: Mapping[str, Utterance]) -> str:
    """What is said in the row's windows."""
    return " ".join(utterances[name].text for name in row.utterances)


def collate(examples: Sequence[Example]) -> dict[str, Any]:
    """Pad a batch on the left.

    Returns:
        input_ids and attention_mask (batch, length), labels (batch, K), and input_features (windows, mel bins, frames) or (windows,
        positions, hidden size).

    """
    import torch

    length = max(len(example["prompt"]) + len(example["target"]) for example in examples)
    kept = max(len(example["target"]) for example in examples) + 1
    input_ids = torch.full((len(examples), length), PAD_TOKEN)
    attention_mask = torch.zeros((len(examples), length), dtype=torch.long)
    labels = torch.full((len(examples), kept), IGNORED_LABEL)
    for row, example in enumerate(examples):
        tokens = torch.tensor(example["prompt"] + example["target"])
        input_ids[row, -len(tokens) :] = tokens
        attention_mask[row, -len(tokens) :] = 1
        labels[row, -len(example["target"]) :] = torch.tensor(example["target"])
    return {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "labels": labels,
        "input_features": torch.cat([example["features"] for example in examples]),
    }
