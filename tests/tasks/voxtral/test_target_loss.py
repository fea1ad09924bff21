"""The loss at the targets alone against that of all logits, as transformers computes it."""

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.distributed.fsdp import fully_shard
from torch.nn.functional import cross_entropy, linear, pad
from torch.utils._python_dispatch import TorchDispatchMode

from infra.errors import ModelError
from tasks.contracts import Checkpoint
from tasks.training.examples import Example, collate
from tasks.training.footprint import Footprint
from tasks.training.options import TrainingOptions
from tasks.training.trainer import PlannedTrainer, training_arguments
from tasks.voxtral import target_loss
from tasks.voxtral.checkpoint import load_model
from tasks.voxtral.lora import add_adapters, recompute_activations, train_every_weight
from tasks.voxtral.prompt import END_TOKEN, IGNORED_LABEL
from tasks.voxtral.target_loss import learn_at_targets, sum_of_cross_entropies
from tasks.voxtral.tiny import tiny_config, tiny_model

pytestmark = pytest.mark.fast

VOCABULARY, WIDTH = 500, 24
TARGETS = (7, 3, 12, 1, 5, 9, 2, 4)  # tokens of each example's transcript
CPU = torch.device("cpu")


def rows_a_chunk(rows: int, vocabulary: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a chunk hold the logits of so many positions."""
    monkeypatch.setattr(target_loss, "CHUNK_BYTES", rows * vocabulary * 4)


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five positions of the tiny model a chunk."""
    rows_a_chunk(5, tiny_config().text_config.vocab_size, monkeypatch)


@pytest.fixture(scope="module")
def examples() -> list[Example]:
    """Noise in windows of the tiny model, and transcripts of unequal length after prompts of unequal length."""
    audio, draw = tiny_config().audio_config, random.Random(1)
    noise = torch.Generator().manual_seed(1)
    heard = [24] * (audio.max_source_positions * audio.hidden_size // audio.intermediate_size)
    frames = (1, audio.num_mel_bins, 2 * audio.max_source_positions)
    return [
        Example(
            prompt=(1, 3, 25, *heard, 4, *([108] * (count % 3)), 34),
            target=(*[draw.randrange(128, 512) for _ in range(count)], END_TOKEN),
            features=torch.randn(frames, generator=noise),
        )
        for count in TARGETS
    ]


def collate_whole(examples: Sequence[Example]) -> dict[str, Any]:
    """A batch with labels as long as its rows, for the model as it is."""
    batch = collate(examples)
    missing = batch["input_ids"].shape[1] - batch["labels"].shape[1]
    return batch | {"labels": pad(batch["labels"], (missing, 0), value=IGNORED_LABEL)}


def adapted(model: Any) -> Any:
    return add_adapters(model, rank=4, alpha=8, dropout=0.1, projector=True)


def whole(model: Any) -> Any:
    train_every_weight(model)
    return model


def gradients(model: Any) -> dict[str, torch.Tensor]:
    return {name: weight.grad for name, weight in model.named_parameters() if weight.requires_grad}


def learn(tiny: Checkpoint, trained: Callable[[Any], Any], batch: dict[str, Any], at_targets: bool = True, **given: Any) -> Any:
    """Loss and gradients of the tiny model in training, dropout and all."""
    torch.manual_seed(3)
    model = trained(load_model(tiny, CPU, torch.float32)).train()
    if at_targets:
        learn_at_targets(model)
    loss = model(**batch, **given).loss
    loss.backward()
    return loss.detach(), gradients(model)


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-5, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("trained", [adapted, whole])
@pytest.mark.parametrize("items", [None, 17, torch.tensor(17)])
@pytest.mark.usefixtures("small_chunks")
def test_loss_and_gradients_are_those_of_all_logits(tiny: Checkpoint, examples: list[Example], trained, items):
    expected, expected_gradients = learn(tiny, trained, collate_whole(examples[:4]), False, num_items_in_batch=items)
    found, found_gradients = learn(tiny, trained, collate(examples[:4]), num_items_in_batch=items)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert_same(found_gradients, expected_gradients)
    assert any(gradient.abs().max() > 1e-3 for gradient in expected_gradients.values())
    assert ("lm_head.weight" in found_gradients) is (trained is whole)


def test_labels_as_long_as_the_rows_give_the_same(tiny: Checkpoint, examples: list[Example]):
    short, short_gradients = learn(tiny, adapted, collate(examples[:3]))
    long, long_gradients = learn(tiny, adapted, collate_whole(examples[:3]))
    assert torch.equal(short, long)
    assert_same(long_gradients, short_gradients)


def test_recomputed_activations_give_the_same(tiny: Checkpoint, examples: list[Example]):
    def recomputed(model: Any) -> Any:
        recompute_activations(model)
        return whole(model)

    expected, expected_gradients = learn(tiny, whole, collate(examples[:2]))
    found, found_gradients = learn(tiny, recomputed, collate(examples[:2]))
    torch.testing.assert_close(found, expected)
    assert_same(found_gradients, expected_gradients)


@pytest.mark.parametrize("trained", [adapted, whole])
@pytest.mark.parametrize("items", [None, torch.tensor(0)])
def test_nothing_to_learn_is_a_loss_of_zero_that_reaches_every_weight(tiny: Checkpoint, examples: list[Example], trained, items):
    batch = collate(examples[:2])
    loss, found = learn(
        tiny, trained, batch | {"labels": torch.full_like(batch["labels"], IGNORED_LABEL)}, num_items_in_batch=items
    )
    assert loss == 0
    assert all(gradient is not None and not gradient.any() for gradient in found.values())


@pytest.mark.parametrize("rows", [1, 4, 64])
@pytest.mark.parametrize("count", [0, 1, 30])
def test_a_sum_of_any_number_of_rows_in_chunks_of_any_size(rows: int, count: int, monkeypatch: pytest.MonkeyPatch):
    rows_a_chunk(rows, VOCABULARY, monkeypatch)
    torch.manual_seed(0)
    hidden, weight = torch.randn(count, WIDTH, requires_grad=True), torch.randn(VOCABULARY, WIDTH, requires_grad=True)
    targets = torch.randint(VOCABULARY, (count,))
    expected = torch.autograd.grad(cross_entropy(linear(hidden, weight), targets, reduction="sum") / 3, (hidden, weight))
    found = torch.autograd.grad(sum_of_cross_entropies(hidden, weight, targets) / 3, (hidden, weight))
    for gradient, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, reference, atol=1e-5, rtol=1e-5)


def test_logits_beyond_what_exp_can_hold_are_no_infinity():
    hidden, weight = torch.full((2, 1), 100.0), torch.tensor([[-10.0], [5.0], [9.0]])
    expected = cross_entropy(linear(hidden, weight), torch.tensor([1, 2]), reduction="sum")
    assert sum_of_cross_entropies(hidden, weight, torch.tensor([1, 2])) == expected == 400


@pytest.mark.parametrize("hidden_dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("weight_dtype", [torch.bfloat16, torch.float32])
def test_under_autocast_the_rest_stays_float32(hidden_dtype, weight_dtype, monkeypatch: pytest.MonkeyPatch):
    rows_a_chunk(7, VOCABULARY, monkeypatch)
    torch.manual_seed(0)
    hidden = torch.randn(40, WIDTH, dtype=hidden_dtype, requires_grad=True)
    weight = torch.randn(VOCABULARY, WIDTH, dtype=weight_dtype, requires_grad=True)
    targets = torch.randint(VOCABULARY, (40,))
    with torch.autocast("cpu", torch.bfloat16):
        reference = cross_entropy(linear(hidden, weight).float(), targets, reduction="sum")
        loss = sum_of_cross_entropies(hidden, weight, targets)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, reference)
    found, expected = torch.autograd.grad(loss, (hidden, weight)), torch.autograd.grad(reference, (hidden, weight))
    for gradient, other in zip(found, expected, strict=True):
        assert gradient.dtype == other.dtype
        torch.testing.assert_close(gradient, other, atol=0.05, rtol=0.02)


def test_what_is_not_trained_has_no_gradient_and_a_second_backward_pass_is_refused():
    hidden, weight = torch.randn(4, WIDTH, requires_grad=True), torch.randn(VOCABULARY, WIDTH)
    sum_of_cross_entropies(hidden, weight, torch.arange(4)).backward()
    assert weight.grad is None
    weight.requires_grad_()
    loss = sum_of_cross_entropies(hidden, weight, torch.arange(4))
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


class Logits(TorchDispatchMode):
    """Rows of each tensor as wide as the vocabulary for which memory is taken."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self._vocabulary = vocabulary
        self.rows: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor) and made.dim() > 1 and made.shape[-1] == self._vocabulary:
            given = [each.untyped_storage().data_ptr() for each in args if isinstance(each, torch.Tensor)]
            if made.untyped_storage().data_ptr() not in given:
                self.rows.append(made.numel() // self._vocabulary)
        return made


@pytest.mark.parametrize("trained", [adapted, whole])
def test_never_are_there_more_logits_than_a_chunk_holds(examples: list[Example], trained, monkeypatch: pytest.MonkeyPatch):
    config = tiny_config()
    config.text_config.vocab_size = vocabulary = 3001
    rows_a_chunk(5, vocabulary, monkeypatch)
    monkeypatch.setattr("tasks.voxtral.tiny.tiny_config", lambda: config)
    model = trained(tiny_model(0))
    positions = sum(len(example["target"]) for example in examples[:4])
    assert positions > 5
    with Logits(vocabulary) as plain:
        model(**collate_whole(examples[:4])).loss.backward()
    assert max(plain.rows) > positions
    learn_at_targets(model)
    with Logits(vocabulary) as chunked:
        model(**collate(examples[:4])).loss.backward()
    assert chunked.rows == [5] * (positions // 5) + [positions % 5]


def test_no_gradient_is_computed_where_none_is_wanted(examples: list[Example], tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(target_loss, "_to_gradient", None)
    model = whole(load_model(tiny, CPU, torch.float32))
    learn_at_targets(model)
    with torch.no_grad():
        assert model(**collate(examples[:2])).loss > 0


def test_without_labels_the_model_is_as_before(tiny: Checkpoint, examples: list[Example]):
    model = load_model(tiny, CPU, torch.float32)
    batch = collate(examples[:2])
    batch.pop("labels")
    logits, spoken = model(**batch).logits, model.generate(**batch, max_new_tokens=5)
    learn_at_targets(model)
    assert torch.equal(model(**batch).logits, logits)
    assert torch.equal(model.generate(**batch, max_new_tokens=5), spoken)
    assert model(**batch, logits_to_keep=2).logits.shape[1] == 2


@pytest.mark.parametrize("how", [{"target_modules": ["lm_head"]}, {"target_modules": ["o_proj"], "modules_to_save": ["lm_head"]}])
def test_an_adapter_on_the_head_is_refused_whenever_it_came(tiny: Checkpoint, examples: list[Example], how: dict[str, list[str]]):
    model = load_model(tiny, CPU, torch.float32)
    learn_at_targets(model)
    adapter = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=2, **how))
    with pytest.raises(ModelError, match="lm_head is no plain matrix"):
        adapter(**collate(examples[:1]))
    with pytest.raises(ModelError, match="lm_head is no plain matrix"):
        learn_at_targets(adapter)


@pytest.fixture
def one_process(tmp_path: Path) -> Iterator[None]:
    """A process group of this process alone."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path / 'group'}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("one_process")
def test_distributed_data_parallel_sees_every_gradient(tiny: Checkpoint, examples: list[Example]):
    expected, expected_gradients = learn(tiny, whole, collate(examples[:2]))
    model = whole(load_model(tiny, CPU, torch.float32))
    learn_at_targets(model)
    parallel = torch.nn.parallel.DistributedDataParallel(model)
    batch = collate(examples[:2])
    for labels in (torch.full_like(batch["labels"], IGNORED_LABEL), batch["labels"]):
        loss = parallel(**batch | {"labels": labels}).loss
        loss.backward()  # DDP refuses the next forward pass where a weight had no gradient
    torch.testing.assert_close(loss, expected)
    assert_same(gradients(model), expected_gradients)


@pytest.mark.usefixtures("one_process")
@pytest.mark.parametrize("trained", [adapted, whole])
def test_weights_that_are_divided_learn_the_same(tiny: Checkpoint, examples: list[Example], trained: Callable[[Any], Any]):
    """FSDP divides each layer, and the head, by itself; it gathers the weights of a module that is called."""
    batch = collate(examples[:2])
    expected, expected_gradients = learn(tiny, trained, batch)
    torch.manual_seed(3)
    model = trained(load_model(tiny, CPU, torch.float32)).train()
    learn_at_targets(model)
    mesh = torch.distributed.init_device_mesh("cpu", (1,))
    voxtral = model.get_base_model() if trained is adapted else model
    for divided in (*voxtral.model.audio_tower.layers, *voxtral.model.language_model.layers, voxtral.lm_head, model):
        fully_shard(divided, mesh=mesh)
    loss = model(**batch).loss
    loss.backward()
    torch.testing.assert_close(loss.detach(), expected)
    assert_same({name: gradient.full_tensor() for name, gradient in gradients(model).items()}, expected_gradients)


def trainer(
    model: Any, folder: Path, examples: list[Example], collator: Callable[..., Any] = collate, **options: Any
) -> PlannedTrainer:
    chosen = TrainingOptions(learning_rate=0.1, best_by="loss", **options)
    arguments = training_arguments(folder, chosen, 2, on_gpu=False, fitting=Footprint(rows=chosen.batch_size))
    arguments.optim = "sgd"  # AdamW makes a whole step of the last bit where a gradient is all but zero
    arguments.warmup_steps = 0
    arguments.save_strategy = arguments.eval_strategy = "no"
    made = PlannedTrainer(model=model, args=arguments, train_dataset=examples, eval_dataset=examples, data_collator=collator)
    made.options = chosen
    return made


@pytest.mark.parametrize("trained", [adapted, whole])
def test_accumulated_batches_move_the_weights_as_the_large_batch_does(
    tiny: Checkpoint, examples: list[Example], trained, tmp_path: Path
):
    moved = []
    for options in ({"batch_size": 4}, {"batch_size": 2, "gradient_accumulation": 2}):
        torch.manual_seed(0)
        model = trained(load_model(tiny, CPU, torch.float32))
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0  # it is drawn for a batch as a whole
        learn_at_targets(model)
        before = {name: weight.detach().clone() for name, weight in model.named_parameters() if weight.requires_grad}
        training = trainer(model, tmp_path, examples, **options)
        assert training.model_accepts_loss_kwargs
        training.train()
        moved.append({name: weight.detach() - before[name] for name, weight in model.named_parameters() if weight.requires_grad})
    large, accumulated = moved
    assert max(change.abs().max() for change in large.values()) > 1e-3
    for name, change in large.items():
        torch.testing.assert_close(accumulated[name], change, atol=1e-6, rtol=1e-4)


def test_the_trainers_validation_loss_is_what_it_was(tiny: Checkpoint, examples: list[Example], tmp_path: Path):
    model = adapted(load_model(tiny, CPU, torch.float32))
    before = trainer(model, tmp_path, examples, collate_whole, batch_size=3).evaluate()["eval_loss"]
    learn_at_targets(model)
    assert trainer(model, tmp_path, examples, batch_size=3).evaluate()["eval_loss"] == pytest.approx(before, abs=1e-5)
