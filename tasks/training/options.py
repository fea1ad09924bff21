"""Every knob of a training run, each with its trade; conflicts are refused before anything is loaded."""

from typing import Literal, Self

from pydantic import Field, model_validator

from tasks.contracts import Contract, Method


class TrainingOptions(Contract):
    """How a model is fine-tuned. Part of the run's address: equal data and equal options are trained once."""

    method: Method = Field(Method.LORA, description="lora: small and safe; full: every weight, more memory, learns more.")
    epochs: int = Field(3, ge=1, description="Passes over the data.")
    batch_size: int = Field(4, ge=1, description="Windows a step on one device; memory grows with it.")
    gradient_accumulation: int = Field(1, ge=1, description="Steps added up before the weights move.")
    learning_rate: float = Field(2e-4, gt=0, lt=1, description="2e-4 suits LoRA; full fine-tuning of the 3B wants 1e-5.")
    warmup_share: float = Field(0.05, ge=0, lt=1, description="Share of the steps in which the learning rate rises.")
    optimizer: Literal["adamw", "adamw_8bit"] = Field(
        "adamw", description="adamw_8bit: a quarter of the state's memory, CUDA only."
    )
    weight_decay: float = Field(0.01, ge=0, description="Pull of the weights towards zero.")
    gradient_clip: float = Field(1.0, gt=0, description="Largest norm of a gradient.")
    lora_rank: int = Field(16, ge=1, description="Higher learns more and weighs more.")
    lora_alpha: int = Field(32, ge=1, description="Scale of the adapter; usually twice the rank.")
    lora_dropout: float = Field(0.05, ge=0, lt=1, description="Against over-fitting on little data.")
    train_projector: bool = Field(False, description="LoRA also on the projector between encoder and language model.")
    freeze_audio_tower: bool = Field(
        False, description="method=full leaves the encoder as it is: a third less work, learns less."
    )
    without_language: float = Field(0.15, ge=0, lt=1, description="Share of rows without lang:xx, so that detection survives.")
    replay_share: float = Field(0.4, ge=0, le=10, description="Replayed rows for each row of the dataset, against forgetting.")
    validation_share: float = Field(0.05, gt=0, lt=0.5, description="Share of training utterances that pick the best model.")
    checkpoint_steps: int = Field(100, ge=1, description="Steps between checkpoints: what a crash can cost.")
    max_steps: int | None = Field(None, ge=1, description="Stop after so many steps.")
    seed: int = Field(0, ge=0, description="Order of the data, the adapters' first values, dropout.")

    @model_validator(mode="after")
    def _no_conflicts(self) -> Self:
        if self.method is Method.FULL and self.train_projector:
            raise ValueError(
                "method=full trains the projector anyway: train_projector=True is for method=lora; unset one of the two"
            )
        return self
