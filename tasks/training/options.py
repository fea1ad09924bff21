"""Every knob of a training run, each with its trade; conflicts are refused before anything is loaded."""

from typing import Literal, Self

from pydantic import Field, model_validator

from tasks.contracts import Contract, Method


class TrainingOptions(Contract):
    """How a model is fine-tuned. Part of the run's address: equal data and equal options are trained once."""

    method: Method = Field(Method.LORA, description="lora: small and safe; full: every weight, more memory, learns more.")
    epochs: int = Field(3, ge=1, description="Passes over the data.")
    batch_size: int = Field(4, ge=1, description="Windows a step, of all devices together; memory grows with it.")
    gradient_accumulation: int = Field(1, ge=1, description="Steps added up before the weights move.")
    learning_rate: float = Field(2e-4, gt=0, lt=1, description="2e-4 suits LoRA; full fine-tuning of the 3B wants 1e-5.")
    schedule: Literal["cosine", "linear"] = Field("cosine", description="How the learning rate falls after warm-up.")
    warmup_share: float = Field(0.05, ge=0, lt=1, description="Share of the steps in which the learning rate rises.")
    optimizer: Literal["adamw", "adamw_8bit"] = Field(
        "adamw", description="adamw_8bit: a quarter of the state's memory, CUDA only."
    )
    weight_decay: float = Field(0.01, ge=0, description="Pull of the weights towards zero.")
    gradient_clip: float = Field(1.0, gt=0, description="Largest norm of a gradient.")
    lora_rank: int = Field(16, ge=1, description="Higher learns more and weighs more.")
    lora_alpha: int = Field(32, ge=1, description="Scale of the adapter; usually twice the rank.")
    lora_dropout: float = Field(
        0.0, ge=0, lt=1, description="Against over-fitting on little data, such as 0.05; it takes a sixth of a step's time."
    )
    lora_plus_ratio: float = Field(
        4.0, ge=1, description="LoRA+: the adapters' second matrix learns at so many times learning_rate; 1: as the first."
    )
    lora_average: float = Field(
        0.95,
        ge=0,
        lt=1,
        description="Validated and kept is a running mean of the adapters, in which a step counts so much of the next; 0: the last.",
    )
    lora_rank_stabilised: bool = Field(
        False, description="Scale by alpha / sqrt(rank) instead of alpha / rank: high ranks learn more (rsLoRA)."
    )
    lora_dora: bool = Field(False, description="Learn length and direction of each weight apart (DoRA): slower, learns more.")
    quantise_base: bool = Field(
        False, description="QLoRA: the base in 4 bits, a quarter of its memory, slower, a little worse; CUDA only."
    )
    train_projector: bool = Field(
        True, description="LoRA also on the projector between encoder and language model: new voices are learned sooner."
    )
    freeze_audio_tower: bool = Field(
        False, description="method=full leaves the encoder as it is: a third less work, learns less."
    )
    activation_checkpointing: Literal["auto", "on", "off"] = Field(
        "auto", description="Compute activations twice to save memory; auto: where they would not fit otherwise."
    )
    packing: Literal["off", "same-language", "same-speaker"] = Field(
        "off", description="Whose utterances share a window. Every window costs the same, whatever it holds."
    )
    packed_share: float = Field(
        0.5, gt=0, le=1, description="With packing: share of the epochs, from the first, in which they do."
    )
    length_buckets: bool = Field(False, description="Rows with transcripts of like length stand in one step: less padding.")
    long_utterances: Literal["skip", "cut"] = Field(
        "skip", description="cut: one that is longer than a window fills several, cut where it is quietest."
    )
    cache: Literal["tower", "mel", "off"] = Field(
        "tower", description="What is computed once and kept: outputs of a frozen audio tower, log-mel features, or nothing."
    )
    speed_change: float = Field(
        0.0, ge=0, le=0.3, description="Clips are played faster or slower by up to this share, otherwise each time; cache=off."
    )
    noise_snr_db: float | None = Field(
        None, ge=0, le=60, description="White noise at least so far below the speech, otherwise each time; cache=off."
    )
    spec_augment: bool = Field(
        False, description="Hide bands and moments of the features, others each time; not with cache=tower."
    )
    without_language: float = Field(0.15, ge=0, lt=1, description="Share of rows without lang:xx, so that detection survives.")
    replay_share: float = Field(0.4, ge=0, le=10, description="Replayed rows for each row of the dataset, against forgetting.")
    validation_share: float = Field(0.05, gt=0, lt=0.5, description="Share of training utterances that pick the best model.")
    checkpoint_steps: int = Field(100, ge=1, description="Steps between checkpoints: what a crash can cost.")
    best_by: Literal["wer", "loss"] = Field("wer", description="What picks the best model: WER needs a generation pass.")
    patience: int | None = Field(
        None, ge=1, description="Stop once so many checkpoints in a row were not better than the best before."
    )
    max_steps: int | None = Field(None, ge=1, description="Stop after so many steps.")
    seed: int = Field(0, ge=0, description="Order of the data, the adapters' first values, dropout.")

    @model_validator(mode="after")
    def _no_conflicts(self) -> Self:
        conflict = next((said for conflicts, said in self._conflicts() if conflicts), None)
        if conflict:
            raise ValueError(conflict)
        return self

    def _conflicts(self) -> tuple[tuple[bool, str], ...]:
        """Whether each conflict is there, and what is said of it: both settings and the fix."""
        full = self.method is Method.FULL
        live = "needs features that are computed anew each time"
        return (
            (
                full and not self.train_projector,
                "method=full trains the projector anyway: train_projector=False is for method=lora; unset one of the two",
            ),
            (
                full and self.lora_rank_stabilised,
                "method=full has no adapters to scale: lora_rank_stabilised=True is for method=lora; unset one of the two",
            ),
            (
                full and self.lora_dora,
                "method=full has no adapters: lora_dora=True is for method=lora; unset one of the two",
            ),
            (
                full and self.quantise_base,
                "method=full trains every weight, which weights in 4 bits cannot be: quantise_base=True is for method=lora; "
                "unset one of the two",
            ),
            (
                self.speed_change > 0 and self.cache != "off",
                f"speed_change={self.speed_change:g} {live}, cache={self.cache} keeps them: set cache=off or speed_change=0",
            ),
            (
                self.noise_snr_db is not None and self.cache != "off",
                f"noise_snr_db={self.noise_snr_db} {live}, cache={self.cache} keeps them: set cache=off or unset noise_snr_db",
            ),
            (
                self.spec_augment and self.cache == "tower",
                "spec_augment=True hides parts of log-mel features, cache=tower keeps what the audio tower made of them: "
                "set cache=mel or cache=off, or unset spec_augment",
            ),
        )

    @property
    def averages(self) -> bool:
        """Whether a mean of the trained weights is kept."""
        return self.method is Method.LORA and self.lora_average > 0

    @property
    def needs_bitsandbytes(self) -> bool:
        """Whether the library for optimizer states in 8 bits and weights in 4 is used, which takes a CUDA GPU."""
        return self.quantise_base or self.optimizer == "adamw_8bit"
