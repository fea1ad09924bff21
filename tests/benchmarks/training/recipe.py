"""The public recipe, plainly: `python -m tests.benchmarks.training.recipe JOB.json`, in a process of its own.

One utterance a window, the processor called on every clip in every epoch, logits at every position, transformers' Trainer. What is
known to be wrong in it is put right, so that only the cost differs: the end token is learned, each row names its own language, and
adapters stay out of the audio tower. It takes the rows in the order of a written plan, so that both make the same updates.
"""

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks.contracts import SAMPLE_RATE_HZ, Checkpoint, Contract, DatasetVersion, Split
from tasks.training.options import TrainingOptions
from tasks.training.plan import PlanRow
from tasks.voxtral.features import MEL_HOP_SAMPLES
from tests.benchmarks.training.measured import Measured, peak_bytes

if TYPE_CHECKING:
    import torch

_IGNORED = -100


class Job(Contract):
    """What the recipe is to do."""

    folder: Path  # result.json and epoch-N/ adapters go here
    base: Checkpoint
    datasets: tuple[DatasetVersion, ...]
    plan: Path
    options: TrainingOptions
    keep_epochs: bool = False  # save the adapter after each epoch, its time left out


class Clips:
    """The rows: what the audio file holds, what is said in it, its language."""

    def __init__(self, job: Job) -> None:
        from tasks.dataset.version import read_utterances

        rows = [PlanRow.model_validate_json(line) for line in job.plan.read_text().splitlines()]
        spoken = {u.id: (version.folder, u) for version in job.datasets for u in read_utterances(version, Split.TRAIN)}
        self.rows = [(*spoken[row.utterances[0]], row.language, row.epoch) for row in rows]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        import soundfile

        folder, utterance, language, _ = self.rows[index]
        samples, _ = soundfile.read(folder / utterance.audio_path, dtype="float32")
        return {"audio": samples, "text": utterance.text, "language": language}


class Collator:
    """Prompt by the processor, transcript and end token behind it; left-padded; learned are transcript and end token."""

    def __init__(self, processor: Any, name: str, window_frames: int) -> None:
        self._processor, self._name = processor, name
        # The processor's own defaults for windows of 30 s: voxfactory-tiny has shorter ones.
        self._window = {"pad_to_multiple_of": window_frames * MEL_HOP_SAMPLES, "max_source_positions": window_frames}
        self._tekken = processor.tokenizer.tokenizer.instruct_tokenizer.tokenizer

    def __call__(self, examples: "list[dict[str, Any]]") -> "dict[str, torch.Tensor]":
        import torch

        rows, features = [], []
        for example in examples:
            prompt = self._processor.apply_transcription_request(
                audio=[example["audio"]],
                model_id=self._name,
                language=example["language"],
                sampling_rate=SAMPLE_RATE_HZ,
                format=["WAV"],
                audio_kwargs=self._window,
            )
            target = [*self._tekken.encode(example["text"], bos=False, eos=False), 2]
            rows.append((prompt["input_ids"][0].tolist(), target))
            features.append(prompt["input_features"])
        length = max(len(prompt) + len(target) for prompt, target in rows)
        ids = torch.full((len(rows), length), 11)
        labels = torch.full((len(rows), length), _IGNORED)
        mask = torch.zeros((len(rows), length), dtype=torch.long)
        for row, (prompt, target) in enumerate(rows):
            whole = prompt + target
            ids[row, -len(whole) :] = torch.tensor(whole)
            mask[row, -len(whole) :] = 1
            labels[row, -len(target) :] = torch.tensor(target)
        return {"input_ids": ids, "attention_mask": mask, "labels": labels, "input_features": torch.cat(features)}


def main(job: Job) -> None:
    """Train, and write result.json."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import (
        PrinterCallback,
        Trainer,
        TrainerCallback,
        TrainingArguments,
        VoxtralForConditionalGeneration,
        set_seed,
    )

    from tasks.voxtral.checkpoint import load_processor, window_frames

    options, clips = job.options, Clips(job)
    set_seed(options.seed)
    processor = load_processor(job.base)
    on_gpu = torch.cuda.is_available()
    dtype = torch.bfloat16 if on_gpu else torch.float32
    model = VoxtralForConditionalGeneration.from_pretrained(job.base.folder, dtype=dtype)
    pattern = r".*language_model\.layers\.\d+\.(self_attn\.(q|k|v|o)_proj|mlp\.(gate|up|down)_proj)"
    lora = LoraConfig(
        task_type="CAUSAL_LM",
        r=options.lora_rank,
        lora_alpha=options.lora_alpha,
        lora_dropout=options.lora_dropout,
        target_modules=pattern,
    )
    adapted = get_peft_model(model, lora)

    class InOrder(Trainer):
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return torch.utils.data.SequentialSampler(train_dataset if train_dataset is not None else self.train_dataset)

    class Watch(TrainerCallback):
        """Wall-clock time of training, without what saving takes."""

        def __init__(self) -> None:
            self.begun_s, self.spent_s, self.losses = 0.0, 0.0, []
            self.epochs_s: list[float] = []

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            self.begun_s = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
            seen = state.global_step * options.batch_size
            ended = seen >= len(clips) or clips.rows[seen][3] > len(self.epochs_s)
            if not ended:
                return
            self.spent_s += time.perf_counter() - self.begun_s
            self.epochs_s.append(self.spent_s)
            if job.keep_epochs:
                adapted.save_pretrained(job.folder / f"epoch-{len(self.epochs_s)}")
            self.begun_s = time.perf_counter()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if "loss" in logs:
                self.losses.append(logs["loss"])

    watch = Watch()
    arguments = TrainingArguments(
        output_dir=str(job.folder),
        max_steps=-(-len(clips) // options.batch_size),
        per_device_train_batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        lr_scheduler_type=options.schedule,
        warmup_steps=options.warmup_share,
        weight_decay=options.weight_decay,
        max_grad_norm=options.gradient_clip,
        seed=options.seed,
        use_cpu=not on_gpu,
        bf16=on_gpu,
        save_strategy="no",
        logging_steps=1,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        disable_tqdm=True,
        report_to=[],
    )
    trainer = InOrder(
        model=adapted,
        args=arguments,
        train_dataset=clips,
        data_collator=Collator(processor, job.base.label, window_frames(job.base.folder)),
        callbacks=[watch],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    measured = Measured(
        seconds=watch.epochs_s[-1], epochs_s=tuple(watch.epochs_s), losses=tuple(watch.losses), peak_bytes=peak_bytes()
    )
    (job.folder / "result.json").write_text(measured.model_dump_json())


if __name__ == "__main__":
    main(Job.model_validate(json.loads(Path(sys.argv[1]).read_text())))
